//! Hostile and broken SIP at the sockets of a running server: RFC 4475, RFC 5118, bombs.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;
use trunkline::sip::Transport;

use crate::support::peer::{Caller, Peer, SILENCE, sdp, sdp_with};
use crate::support::server::Server;
use crate::support::{fixture, wait};

#[derive(Deserialize)]
struct Verdicts {
    message: Vec<Verdict>,
}

#[derive(Deserialize)]
struct Verdict {
    file: String,
    parse: String,
    status: u16,
    agent: String,
}

/// What a message must get. `None`: no answer at all.
enum Expected {
    Status(u16),
    Silence,
    Anything,
}

impl Verdict {
    fn expected(&self) -> Expected {
        match (self.parse.as_str(), self.agent.as_str()) {
            ("answer", _) => Expected::Status(self.status),
            ("drop", _) | ("accept", "drop") => Expected::Silence,
            ("accept", "") => Expected::Anything,
            ("accept", status) => Expected::Status(status.parse().expect("a status")),
            (other, _) => panic!("{}: no verdict {other}", self.file),
        }
    }
}

fn verdicts() -> Vec<Verdict> {
    let text = std::fs::read_to_string(fixture("sip/verdicts.toml")).expect("verdicts");
    let verdicts: Verdicts = toml::from_str(&text).expect("verdicts");
    assert_eq!(verdicts.message.len(), 61, "49 of RFC 4475 and 12 of RFC 5118");
    verdicts.message
}

/// Reads until the probe is answered; gives the final statuses of everything else.
async fn statuses_until_probe(peer: &mut Peer, sent: &[u8], mark: &str) -> Vec<u16> {
    let sent = String::from_utf8_lossy(sent);
    let mut statuses = Vec::new();
    loop {
        let message = peer.next().await;
        if message.header("call-id") == format!("probe-{mark}") {
            assert_eq!(message.status(), 200, "{}", message.text);
            return statuses;
        }
        // The 200 of an earlier INVITE is repeated until its ACK, which nobody sends.
        // A folded Call-ID, as one of the messages has it, reads as empty here.
        let call_id = message.header("call-id");
        let of_another = call_id.is_empty() || !sent.contains(call_id);
        let repeated = message.status() == 200 && of_another;
        if message.status() >= 200 && !repeated {
            statuses.push(message.status());
        }
    }
}

fn probe_text(peer: &Peer, mark: &str) -> String {
    let transport = match peer.transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
        Transport::Tls => "TLS",
    };
    format!(
        "OPTIONS sip:probe@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} {};branch=z9hG4bKp{mark};rport\r\n\
         From: <sip:p@127.0.0.1>;tag=p\r\nTo: <sip:probe@127.0.0.1>\r\nCall-ID: probe-{mark}\r\n\
         CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        peer.local
    )
}

fn check(verdict: &Verdict, over: &str, statuses: &[u16], wrong: &mut Vec<String>) {
    let fits = match verdict.expected() {
        Expected::Status(status) => statuses == [status],
        Expected::Silence => statuses.is_empty(),
        Expected::Anything => true,
    };
    if !fits {
        let Verdict { file, parse, status, agent } = verdict;
        wrong.push(format!("{file} over {over}: {statuses:?}; verdict {parse} {status} {agent}"));
    }
}

/// Port of the topmost Via, as far as a glance can tell; 5060 where there is none.
fn via_port(octets: &[u8]) -> u16 {
    let text = String::from_utf8_lossy(octets).to_lowercase();
    let via = text.lines().find(|line| line.starts_with("via") || line.starts_with("v:"));
    let rest = via.and_then(|line| line.split_once("udp ")).map_or("", |(_, rest)| rest);
    let sent_by = rest.split([';', ',']).next().unwrap_or_default().trim();
    let port = sent_by.rsplit(']').next().and_then(|tail| tail.rsplit_once(':'));
    port.and_then(|(_, port)| port.trim().parse().ok()).unwrap_or(5060)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_torture_message_gets_its_verdict_over_udp() {
    let server = Server::start().await;
    let mut wrong = Vec::new();
    for (index, verdict) in verdicts().iter().enumerate() {
        let octets = std::fs::read(fixture(&format!("sip/{}", verdict.file))).expect("a fixture");
        // Answers go to the port that Via names (RFC 3261 section 18.2.2): this peer sits there.
        let local = SocketAddr::from(([127, 0, 77, 1], via_port(&octets)));
        let mut peer = Peer::bound(local, server.sip(Transport::Udp), Transport::Udp).await;
        peer.send(&octets).await;
        let mark = format!("u{index}");
        peer.send(probe_text(&peer, &mark).as_bytes()).await;
        let statuses = statuses_until_probe(&mut peer, &octets, &mark).await;
        check(verdict, "udp", &statuses, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_torture_message_gets_its_verdict_over_tcp_octet_by_octet() {
    let server = Server::start().await;
    let mut wrong = Vec::new();
    // Below the server's limit of streams of one address.
    let places = Arc::new(tokio::sync::Semaphore::new(12));
    let tasks: Vec<_> = verdicts()
        .into_iter()
        .enumerate()
        .map(|(index, verdict)| {
            let address = server.sip(Transport::Tcp);
            let places = places.clone();
            tokio::spawn(async move {
                let _place = places.acquire_owned().await.expect("open");
                let mut octets =
                    std::fs::read(fixture(&format!("sip/{}", verdict.file))).expect("a fixture");
                // In a stream a body that its Content-Length announces must come; what the verdict
                // is about is whole messages.
                octets.extend(b"\r\n\r\n");
                let mut peer = Peer::new(address, Transport::Tcp).await;
                let mut statuses = Vec::new();
                let mark = format!("t{index}");
                let probe = probe_text(&peer, &mark);
                let open = peer.send_in_octets(&octets).await
                    && peer.send_in_octets(probe.as_bytes()).await;
                let mut ended = !open;
                while let Ok(message) = tokio::time::timeout(SILENCE, peer.receive()).await {
                    match message {
                        Some(m) if m.header("call-id") == format!("probe-{mark}") => break,
                        Some(m) if m.status() >= 200 => statuses.push(m.status()),
                        Some(_) => {}
                        None => {
                            ended = true;
                            break;
                        }
                    }
                }
                let mut after = Peer::new(address, Transport::Tcp).await;
                assert_eq!(after.probe(&format!("after{index}")).await.status(), 200);
                (verdict, statuses, ended)
            })
        })
        .collect();
    for task in tasks {
        let (verdict, statuses, ended) = wait::limit("a stream", task).await.expect("no panic");
        if statuses.is_empty() && ended {
            // A stream that lost its framing is closed: nothing after it can be trusted. A message
            // without Content-Length has no end there (RFC 3261 section 18.3).
            let text = std::fs::read(fixture(&format!("sip/{}", verdict.file))).expect("a fixture");
            let text = String::from_utf8_lossy(&text).to_lowercase();
            let framed = text.contains("content-length") || text.contains("\nl:");
            assert!(verdict.parse != "accept" || !framed, "{} closed the stream", verdict.file);
            continue;
        }
        match verdict.file.as_str() {
            // Announces more octets than it holds: a stream waits for them.
            "rfc4475/clerr.sip" => assert!(statuses.is_empty(), "{statuses:?}"),
            // What follows the first message is a second one in a stream, and a broken one.
            "rfc4475/dblreq.sip" => check(&verdict, "tcp", &statuses[..1], &mut wrong),
            _ => check(&verdict, "tcp", &statuses, &mut wrong),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn invite(body: &str, headers: &str) -> String {
    format!(
        "INVITE sip:demo@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKbomb;rport\r\n\
         From: <sip:p@127.0.0.1>;tag=p\r\nTo: <sip:demo@127.0.0.1>\r\nCall-ID: bomb\r\n\
         CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:p@127.0.0.1>\r\n{headers}\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn datagrams_of_any_size_and_kind_leave_the_server_alive() {
    let server = Server::start().await;
    let whole = invite("v=0\r\n", "");
    let mut junk: Vec<Vec<u8>> = vec![
        b"\0".to_vec(),
        b"\r\n\r\n".to_vec(),
        b"\xff".repeat(65_507),
        b"INVITE ".repeat(9_000),
        format!("{}{}", invite("", "Via: SIP/2.0/UDP a\r\n").trim_end(), "X: y\r\n".repeat(9_000))
            .into_bytes(),
        invite("", &"Via: SIP/2.0/UDP a;branch=z9hG4bKx\r\n".repeat(1_000)).into_bytes(),
        invite("", &format!("Call-ID: {}\r\n", "c".repeat(4_096))).into_bytes(),
        invite("", &format!("X: {}\r\n", "y".repeat(60_000))).into_bytes(),
        whole.replace("CSeq: 1", "CSeq: 2147483648").into_bytes(),
        whole.replace("CSeq: 1", "CSeq: 99999999999999999999").into_bytes(),
        whole.replace("Content-Length: 5", "Content-Length: -5").into_bytes(),
        whole.replace("Content-Length: 5", "Content-Length: 4294967297").into_bytes(),
        whole.replace("Content-Length: 5", "Content-Length: 50000").into_bytes(),
        whole.replace("From:", "Fram:").into_bytes(),
        whole.replace("SIP/2.0\r\nVia", "SIP/9.9\r\nVia").into_bytes(),
    ];
    let octets = whole.as_bytes();
    junk.extend((0..octets.len()).step_by(7).map(|end| octets[..end].to_vec()));
    for (index, datagram) in junk.iter().enumerate() {
        let mut peer = Peer::new(server.sip(Transport::Udp), Transport::Udp).await;
        peer.send(datagram).await;
        let mark = format!("j{index}");
        peer.send(probe_text(&peer, &mark).as_bytes()).await;
        for status in statuses_until_probe(&mut peer, datagram, &mark).await {
            assert!((400..=513).contains(&status), "datagram {index} got {status}");
        }
    }
    assert_eq!(server.running.switchboard().live(), 0, "nothing of this is a call");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_offers_are_refused_with_the_right_status() {
    let server = Server::start().await;
    let rtp = "127.0.0.1:40000".parse().expect("an address");
    let lines = |line: &str, count: usize| line.repeat(count);
    let good = sdp(rtp);
    let cases: Vec<(&str, String, &[u16])> = vec![
        ("only-video", good.replace("m=audio", "m=video"), &[488]),
        ("no-common-codec", sdp_with(rtp, "3 18", ""), &[488]),
        ("not-sdp", "this is not a description".to_owned(), &[400, 488]),
        ("binary", "\u{0}\u{1}\u{2}".repeat(100), &[400, 488]),
        (
            "many-media",
            format!("{good}{}", lines("m=audio 0 RTP/AVP 0\r\n", 2_000)),
            &[400, 413, 488],
        ),
        ("many-attributes", format!("{good}{}", lines("a=x\r\n", 10_000)), &[400, 413, 488]),
        ("many-formats", sdp_with(rtp, &lines("0 ", 10_000), ""), &[400, 413, 488]),
        ("port-of-70000", good.replace("40000", "70000"), &[400, 488]),
        ("no-media", "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n".to_owned(), &[400, 488]),
        ("broadcast", good.replace("c=IN IP4 127.0.0.1", "c=IN IP4 255.255.255.255"), &[400, 488]),
        ("multicast", good.replace("c=IN IP4 127.0.0.1", "c=IN IP4 239.1.1.1"), &[400, 488]),
        ("metadata", good.replace("c=IN IP4 127.0.0.1", "c=IN IP4 169.254.169.254"), &[400, 488]),
    ];
    for (name, body, allowed) in cases {
        let mut caller = Caller::new(&server, Transport::Tcp, name).await;
        caller.invite(&body).await;
        let answer = caller.peer.final_to("INVITE").await;
        assert!(allowed.contains(&answer.status()), "{name}: {}", answer.text);
        assert_eq!(caller.peer.probe(name).await.status(), 200, "{name}");
    }
    let mut caller = Caller::new(&server, Transport::Udp, "huge").await;
    let huge = format!("{good}{}", lines("a=x:yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n", 1_600));
    caller.invite(&huge).await;
    let status = caller.peer.final_to("INVITE").await.status();
    assert!([400, 413, 488].contains(&status), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_bounded_and_a_slow_one_holds_nobody() {
    let server = Server::start().await;
    let address = server.sip(Transport::Tcp);
    // Sixty half-open streams, each with half a message.
    let mut slow = Vec::new();
    for _ in 0..60 {
        let mut peer = Peer::new(address, Transport::Tcp).await;
        peer.send(b"OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TC").await;
        slow.push(peer);
    }
    let mut endless = Peer::new(address, Transport::Tcp).await;
    let head = "INVITE sip:a@127.0.0.1 SIP/2.0\r\nX: ";
    endless.send(head.as_bytes()).await;
    let flood = vec![b'y'; 65_536];
    wait::limit("an endless header is cut off", async {
        // A stream that the server reads no more stands still; one that it closed fails.
        while let Ok(true) = tokio::time::timeout(SILENCE, endless.send_or_closed(&flood)).await {}
    })
    .await;
    let mut peer = Peer::new(address, Transport::Tcp).await;
    assert_eq!(peer.probe("beside").await.status(), 200);
    peer.send(b"\r\n\r\n").await;
    assert_eq!(peer.probe("after-crlf").await.status(), 200);
}
