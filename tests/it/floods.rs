//! Floods, scanners and forged media while calls go on: none of the calls drops, what is dropped is counted under its
//! reason, and strangers learn nothing.
//!
//! The floods are short here. `TRUNKLINE_FLOOD_SECONDS=30 TRUNKLINE_FLOOD_RATE=5000 cargo test --release --test it --
//! floods --nocapture` runs them at full length.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, UdpSocket};
use trunkline::audio::g711;
use trunkline::config::Config;
use trunkline::config::sections::Trunk;
use trunkline::net::clock;
use trunkline::sip::Transport;
use trunkline::types::{CallId, EndReason};

use crate::support::http::Client;
use crate::support::line::{Line, packet};
use crate::support::peer::{Caller, Peer, SILENCE};
use crate::support::server::Server;
use crate::support::{has_program, sound, wait};

/// Callers of the trunk; everybody else is a stranger.
const FRIEND: [u8; 4] = [127, 0, 0, 2];

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

fn only_friends(config: &mut Config) {
    let network = "127.0.0.2".parse().expect("a network");
    let trunk = Trunk { allowed_networks: vec![network], ..Trunk::default() };
    config.trunks.insert("local".to_owned(), trunk);
}

struct Live {
    caller: Caller,
    line: Line,
    id: CallId,
}

async fn live_calls(server: &Server, count: usize) -> Vec<Live> {
    let mut calls = Vec::new();
    for n in 0..count {
        let user = format!("live{n}");
        let line = Line::new().await;
        let peer = Peer::from_ip(FRIEND, server.sip(Transport::Udp), Transport::Udp).await;
        let mut caller = Caller::over(peer, &user);
        let ok = caller.call(line.local).await;
        line.connect(ok.media());
        let id = server.call_to(&user).await.id;
        calls.push(Live { caller, line, id });
    }
    for call in &calls {
        server.live(call.id).await;
    }
    calls
}

/// Every call is still there, was never without sound for long, and ends when its caller hangs up.
async fn all_survived(server: &Server, calls: Vec<Live>) {
    let mut worst = Duration::ZERO;
    for mut call in calls {
        let heard = call.line.heard();
        let gaps = heard.windows(2).map(|pair| pair[1].at.saturating_duration_since(pair[0].at));
        worst = worst.max(gaps.max().unwrap_or_default());
        call.caller.hang_up().await;
        let record = server.ended(call.id).await;
        assert_eq!(record.end_reason, Some(EndReason::UserHangup), "{record:?}");
        assert!(heard.len() > 50, "{} packets", heard.len());
    }
    eprintln!("longest time between two packets of a call: {worst:?}");
}

/// Refusals of `/metrics`, by reason, and full queues by their names.
async fn rejected(client: &Client) -> BTreeMap<String, u64> {
    let page = client.request("GET", "/metrics").send().await.expect("a page");
    let page = page.text().await.expect("text");
    let lines = page.lines().filter_map(|line| {
        let labels = line
            .strip_prefix("trunkline_sip_rejected_total{reason=\"")
            .or_else(|| line.strip_prefix("trunkline_queue_full_total{queue=\""))?;
        let (reason, count) = labels.split_once("\"} ")?;
        Some((reason.to_owned(), count.parse().ok()?))
    });
    lines.collect()
}

/// Datagrams that the kernel dropped because the socket's buffer was full.
fn kernel_drops(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let of_port = table.lines().filter(|line| line.contains(&format!(":{port:04X} 00000000:0000")));
    let drops = of_port.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
    drops.sum()
}

/// Resident memory of this process, bytes.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4_096
}

struct Flood {
    from: [u8; 4],
    ports: usize,
    method: &'static str,
    rate: u64,
    seconds: u64,
}

impl Flood {
    /// Sends it; how many datagrams went out.
    async fn run(&self, to: SocketAddr) -> u64 {
        let mut sockets = Vec::new();
        for _ in 0..self.ports {
            let any = SocketAddr::from((self.from, 0));
            sockets.push(UdpSocket::bind(any).await.expect("a socket"));
        }
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        let (begun, mut sent) = (clock::now(), 0u64);
        while begun.elapsed() < Duration::from_secs(self.seconds) {
            ticks.tick().await;
            let due = begun.elapsed().as_millis() as u64 * self.rate / 1_000;
            while sent < due {
                let method = self.method;
                let socket = &sockets[sent as usize % sockets.len()];
                let local = socket.local_addr().expect("bound");
                let text = format!(
                    "{method} sip:{sent}@127.0.0.1 SIP/2.0\r\n\
                     Via: SIP/2.0/UDP {local};branch=z9hG4bKflood{sent};rport\r\n\
                     From: <sip:flood@127.0.0.9>;tag=f{sent}\r\nTo: <sip:{sent}@127.0.0.1>\r\n\
                     Call-ID: flood-{sent}-{local}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n\
                     Contact: <sip:flood@{local}>\r\nContent-Length: 0\r\n\r\n"
                );
                if socket.try_send_to(text.as_bytes(), to).is_ok() {
                    sent += 1;
                } else {
                    break;
                }
            }
        }
        sent
    }
}

/// Counters are the process's: who counts exactly what strangers sent is alone among those who have strangers.
static COUNTERS: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_on_while_strangers_flood_and_every_drop_has_its_reason() {
    let _counters = COUNTERS.write().await;
    let server = Server::with(|config| {
        only_friends(config);
        config.sip.unknown_source = trunkline::config::sections::UnknownSource::Forbid;
        // Nobody says a word for as long as it takes.
        crate::support::server::agent(config).turn.inactivity.prompt_after_ms = 0;
    })
    .await;
    let client = Client::new(&server);
    let to = server.sip(Transport::Udp);
    let calls = live_calls(&server, 20).await;
    let (rate, seconds) =
        (setting("TRUNKLINE_FLOOD_RATE", 2_000), setting("TRUNKLINE_FLOOD_SECONDS", 2));
    for call in &calls {
        // Longer than the floods and what is waited for between them: a line without packets is given up.
        call.line.say(&sound::tone(440.0, seconds as usize * 4_000 + 60_000));
    }
    for (ports, method) in [(1, "INVITE"), (400, "INVITE"), (1, "OPTIONS"), (400, "OPTIONS")] {
        let (before, dropped, memory_before) =
            (rejected(&client).await, kernel_drops(to.port()), memory());
        let flood = Flood { from: [127, 0, 0, 9], ports, method, rate, seconds };
        let sent = flood.run(to).await;
        // A friend's call gets in meanwhile and afterwards.
        let friend = Peer::from_ip(FRIEND, to, Transport::Udp).await;
        let answer =
            Caller::over(friend, "friend").try_call("127.0.0.2:4000".parse().unwrap()).await;
        assert_eq!(answer.status(), 200, "{}", answer.text);
        let counted = wait::until("every datagram's reason", async || {
            let now = rejected(&client).await;
            let of = |reason: &str| {
                now.get(reason).copied().unwrap_or(0) - before.get(reason).copied().unwrap_or(0)
            };
            let reasons = ["unknown_source", "unknown_source_rate", "sip_arrivals"].map(of);
            let kernel = kernel_drops(to.port()) - dropped;
            (reasons.iter().sum::<u64>() + kernel >= sent).then_some((reasons, kernel))
        })
        .await;
        let grown = memory().saturating_sub(memory_before) >> 20;
        eprintln!(
            "{method} from {ports} ports: {sent} sent, {} judged, {} over the rate, {} too many for the driver, {} for the socket; memory +{grown} MB",
            counted.0[0], counted.0[1], counted.0[2], counted.1,
        );
        assert_eq!(counted.0.iter().sum::<u64>() + counted.1, sent, "nothing is counted twice");
        assert!(sent >= rate * seconds * 9 / 10, "{sent} sent");
        assert!(grown <= 50, "{grown} MB are left of a flood");
    }
    all_survived(&server, calls).await;
    let users: Vec<String> =
        server.calls().await.iter().map(|call| call.to_number.reveal().clone()).collect();
    assert!(users.iter().all(|user| user.starts_with("live") || user == "friend"), "{users:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_by_a_trunk_is_cut_to_its_rate_and_its_calls_go_on() {
    let _counters = COUNTERS.read().await;
    let server = Server::with(|config| {
        only_friends(config);
        config.sip.requests_per_second_max = 50;
    })
    .await;
    let client = Client::new(&server);
    let to = server.sip(Transport::Udp);
    let calls = live_calls(&server, 5).await;
    let before = rejected(&client).await;
    let flood = Flood { from: FRIEND, ports: 20, method: "OPTIONS", rate: 1_000, seconds: 2 };
    let sent = flood.run(to).await;
    let over = wait::until("the rest", async || {
        let now = rejected(&client).await.get("source_rate").copied().unwrap_or(0);
        let over = now - before.get("source_rate").copied().unwrap_or(0);
        (over + 50 + 50 * 4 >= sent).then_some(over)
    })
    .await;
    eprintln!("{sent} sent by a trunk, {over} over its rate");
    assert!(over < sent, "what the rate allows is answered");
    all_survived(&server, calls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scanners_find_nobody() {
    let _counters = COUNTERS.read().await;
    let server = Server::with(only_friends).await;
    let to = server.sip(Transport::Udp);
    let (address, port) = (to.ip().to_string(), to.port().to_string());
    let tools: [(&str, Vec<&str>); 4] = [
        ("svmap", vec!["-p", &port, &address]),
        ("svwar", vec!["-p", &port, "-e", "100-160", "--force", &address]),
        ("svwar", vec!["-p", &port, "-m", "INVITE", "-e", "100-160", "--force", &address]),
        ("svcrack", vec!["-p", &port, "-u", "100", "-r", "1-60", &address]),
    ];
    for (tool, arguments) in tools {
        if !has_program(tool) {
            return;
        }
        let mut command = tokio::process::Command::new(tool);
        command.args(&arguments).kill_on_drop(true).stdin(std::process::Stdio::null());
        let output = wait::slow(tool, command.output()).await.expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        eprintln!("$ {tool} {}\n{text}", arguments.join(" "));
        assert!(!text.to_lowercase().contains("trunkline"), "{text}");
        // A table of findings has the address and port, or an extension, in a row.
        let found = text.lines().any(|line| {
            line.starts_with('|') && (line.contains(&port) || line.contains("reqauth"))
        });
        assert!(!found, "{tool} found something: {text}");
    }
    assert!(server.calls().await.is_empty());
    // Somebody who is there and somebody who is not look the same to a stranger.
    let mut answers = Vec::new();
    for user in ["demo", "nobody", "100", "+15550100"] {
        let mut stranger = Caller::new(&server, Transport::Udp, user).await;
        stranger.invite("").await;
        let answer = stranger.peer.final_to("INVITE").await;
        let names: Vec<String> = answer
            .text
            .lines()
            .skip(1)
            .map(|line| line.split(':').next().unwrap_or_default().to_owned())
            .collect();
        answers.push((answer.first().to_owned(), names));
        stranger.send("REGISTER", "", "").await;
        wait::stays_away("an answer to REGISTER", SILENCE, stranger.peer.receive()).await;
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(answers[0].0, "SIP/2.0 403 Forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_media_at_every_port_reaches_nobody() {
    let _counters = COUNTERS.read().await;
    // Above those that `free_port` gives out.
    let first = 28_200 + (std::process::id() as u16 % 20) * 100;
    let ports = first..first + 90;
    let range = format!("{}-{}", ports.start, ports.end - 1);
    let server = Server::with(|config| {
        only_friends(config);
        config.media.rtp_ports = range;
    })
    .await;
    let calls = live_calls(&server, 20).await;
    for call in &calls {
        call.line.hears(0, 200).await;
        call.line.say(&sound::tone(440.0, 3_000));
    }
    let attacker = UdpSocket::bind("127.0.0.9:0").await.expect("a socket");
    let forged: Vec<u8> = sound::tone(1_000.0, 20).into_iter().map(g711::encode_ulaw).collect();
    let seconds = setting("TRUNKLINE_FLOOD_SECONDS", 3);
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let (begun, mut sent) = (clock::now(), 0u32);
    while begun.elapsed() < Duration::from_secs(seconds) {
        ticks.tick().await;
        while u128::from(sent) < begun.elapsed().as_millis() {
            let port = ports.start + (sent % u32::from(ports.end - ports.start)) as u16;
            let to = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            // The callers' own SSRC every other time; a goodbye of theirs to the ports of RTCP.
            let ssrc = if sent.is_multiple_of(2) { 0x1122_3344 } else { sent };
            let octets = if port.is_multiple_of(2) {
                packet(0, (sent / 90) as u16, sent / 90 * 160, ssrc, &forged)
            } else {
                let mut bye = vec![0x81, 203, 0, 1];
                bye.extend(0x1122_3344_u32.to_be_bytes());
                bye
            };
            attacker.send_to(&octets, to).await.expect("loopback");
            sent += 1;
        }
    }
    for call in &calls {
        call.line.said().await;
    }
    let mut octets = [0; 2_048];
    wait::stays_away("audio for the attacker", SILENCE, attacker.recv_from(&mut octets)).await;
    let ids: Vec<CallId> = calls.iter().map(|call| call.id).collect();
    all_survived(&server, calls).await;
    for id in ids {
        let record = server.ended(id).await;
        let [left, _] = server.recording(&record);
        assert_eq!(sound::tone_ms(&left, 1_000.0, sound::RATE), 0, "a forged frame was recorded");
        let own = sound::tone_ms(&left, 440.0, sound::RATE);
        assert!(own >= 2_000, "the caller's own {own} ms are there");
    }
    eprintln!("{sent} forged datagrams in {seconds} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_floods_its_own_line_is_cut_and_the_other_calls_go_on() {
    let _counters = COUNTERS.read().await;
    let server = Server::with(only_friends).await;
    let client = Client::new(&server);
    let calls = live_calls(&server, 20).await;
    for call in &calls {
        call.line.hears(0, 200).await;
    }
    let (flooding, quiet) = calls.split_first().expect("calls");
    for call in quiet {
        call.line.say(&sound::tone(440.0, 3_000));
    }
    let (target, seconds) = (flooding.line.target(), setting("TRUNKLINE_FLOOD_SECONDS", 3));
    let voice: Vec<u8> = sound::tone(1_000.0, 20).into_iter().map(g711::encode_ulaw).collect();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let (begun, mut sent) = (clock::now(), 0u32);
    while begun.elapsed() < Duration::from_secs(seconds) {
        ticks.tick().await;
        // Its own source identifier, five packets a millisecond, one after the other.
        while u128::from(sent) < begun.elapsed().as_millis() * 5 {
            let octets = packet(0, sent as u16, sent * 160, 0x1122_3344, &voice);
            flooding.line.send_raw(&octets, target).await;
            sent += 1;
        }
    }
    for call in quiet {
        call.line.said().await;
    }
    let dropped = wait::until("what was dropped", async || {
        let page = client.request("GET", "/metrics").send().await.ok()?.text().await.ok()?;
        let line = page.lines().find_map(|line| {
            line.strip_prefix("trunkline_rtp_dropped_packets_total{reason=\"rate\"} ")
        });
        line?.parse::<u64>().ok().filter(|count| *count > 0)
    })
    .await;
    let flooded = flooding.id;
    let ids: Vec<CallId> = quiet.iter().map(|call| call.id).collect();
    all_survived(&server, calls).await;
    for id in ids {
        let record = server.ended(id).await;
        let [left, _] = server.recording(&record);
        let own = sound::tone_ms(&left, 440.0, sound::RATE);
        assert!(own >= 2_900, "{own} ms of 3,000 are recorded");
    }
    let record = server.ended(flooded).await;
    let taken = record.quality.expect("a quality").rx_packets;
    let lasted = (clock::now() - begun).as_secs() + 1;
    eprintln!("{sent} packets in {seconds} s: {taken} taken, {dropped} or more beyond the rate");
    assert!(taken <= 500 + 500 * lasted, "{taken} of {sent} in {lasted} s");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_are_bounded_and_calls_go_on() {
    let _counters = COUNTERS.read().await;
    let server = Server::start().await;
    let to = server.sip(Transport::Tcp);
    let mut half_open = Vec::new();
    for n in 0..200u32 {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 1, 9], 0))).expect("loopback");
        let Ok(mut stream) = socket.connect(to).await else { continue };
        let _ = stream.write_all(format!("INVITE sip:{n}@x SIP/2.0\r\nVia: ").as_bytes()).await;
        half_open.push(stream);
    }
    // Those beyond 64 of one address were closed at once; the rest may dawdle, and nobody else waits.
    let closed = wait::until("the connections beyond the limit", async || {
        let mut octets = [0; 1];
        let gone = half_open.iter().filter(|stream| matches!(stream.try_read(&mut octets), Ok(0)));
        let gone = gone.count();
        (gone >= half_open.len() - 64).then_some(gone)
    })
    .await;
    eprintln!("{} half-open connections, {closed} closed at once", half_open.len());
    let mut caller = Caller::new(&server, Transport::Tcp, "meanwhile").await;
    let line = Line::new().await;
    assert_eq!(caller.try_call(line.local).await.status(), 200);
}
