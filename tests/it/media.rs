//! RTP at the sockets of a running server: whose packets count, what flows when nobody speaks.

use std::time::Duration;

use tokio::net::UdpSocket;
use trunkline::sip::Transport;
use trunkline::types::{CallEventKind, CallRecord, CallStatus, EndReason};

use crate::support::line::{Line, packet};
use crate::support::peer::{Caller, SILENCE};
use crate::support::server::{self, Server};
use crate::support::{sound, wait};

/// A call that is up, its line connected.
async fn call(server: &Server, user: &str) -> (Caller, Line) {
    let line = Line::new().await;
    let mut caller = Caller::new(server, Transport::Udp, user).await;
    let ok = caller.call(line.local).await;
    line.connect(ok.media());
    (caller, line)
}

async fn finish(server: &Server, mut caller: Caller) -> CallRecord {
    caller.hang_up().await;
    let record = server.ended_to(&caller.user).await;
    assert_eq!(record.end_reason, Some(EndReason::UserHangup));
    assert_eq!(record.status, CallStatus::Completed);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_packets_reach_neither_the_recording_nor_an_attacker() {
    let server = Server::start().await;
    let (caller, line) = call(&server, "bleed").await;
    line.hears(0, 200).await;
    let media =
        wait::until("the caller is known", async || (line.count() > 20).then(|| line.target()))
            .await;
    let attacker = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let forged: Vec<u8> =
        sound::tone(1_000.0, 20).into_iter().map(trunkline::audio::g711::encode_ulaw).collect();
    line.say(&sound::tone(440.0, 1_500));
    let seen = line.heard().len();
    // The right payload type; a random SSRC, then the caller's own.
    for n in 0..1_500_u32 {
        let ssrc = if n % 2 == 0 { 0xdead_beef } else { 0x1122_3344 };
        let octets = packet(0, n as u16, n * 160, ssrc, &forged);
        attacker.send_to(&octets, media).await.expect("loopback");
        if n % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    line.said().await;
    wait::until("two more seconds of packets", async || (line.count() > seen + 60).then_some(()))
        .await;
    let mut octets = [0; 2_048];
    wait::stays_away("audio for the attacker", SILENCE, attacker.recv_from(&mut octets)).await;
    let record = finish(&server, caller).await;
    let [left, _] = server.recording(&record);
    assert!(sound::tone_ms(&left, 440.0, 8_000) >= 1_000, "the caller's tone is recorded");
    assert_eq!(sound::tone_ms(&left, 1_000.0, 8_000), 0, "the forged tone is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_are_no_rtp_are_dropped_and_the_call_goes_on() {
    let server = Server::start().await;
    let (caller, line) = call(&server, "junk").await;
    let media = line.target();
    let voice = [0xff; 160];
    let junk: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0x80],
        vec![0x80; 11],
        packet(0, 1, 1, 9, &[]),
        packet(0, 1, 1, 9, &[0; 4_000]),
        packet(97, 1, 1, 9, &voice),
        [&[0x00], &packet(0, 1, 1, 9, &voice)[1..]].concat(),
        [&[0xc0], &packet(0, 1, 1, 9, &voice)[1..]].concat(),
        // Fifteen CSRC, an extension and padding that are not there.
        [&[0x8f], &packet(0, 1, 1, 9, &[])[1..]].concat(),
        [&[0x90], &packet(0, 1, 1, 9, &[0xbe, 0xde, 0xff, 0xff])[1..]].concat(),
        [&[0xa0], &packet(0, 1, 1, 9, &[255])[1..]].concat(),
        packet(101, 1, 1, 9, &[1]),
        // RTCP on the RTP port: a goodbye and a truncated report.
        vec![0x81, 203, 0, 1, 0, 0, 0, 9],
        vec![0x81, 200, 0, 6, 0, 0],
    ];
    for _ in 0..5 {
        for octets in &junk {
            line.send_raw(octets, media).await;
        }
    }
    line.say(&sound::tone(440.0, 800));
    line.said().await;
    line.hears(0, 200).await;
    let record = finish(&server, caller).await;
    let [left, right] = server.recording(&record);
    assert!(sound::tone_ms(&left, 440.0, 8_000) >= 600, "the caller is heard all the same");
    assert!(sound::loud_ms(&right) >= 200, "and so is the agent");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_packets_a_second_flow_while_the_agent_is_quiet() {
    let server = Server::start().await;
    let (caller, line) = call(&server, "quiet").await;
    line.hears(0, 100).await;
    line.hears_silence(400).await;
    let from = line.count();
    wait::until("two seconds of silence", async || (line.count() >= from + 100).then_some(()))
        .await;
    let heard: Vec<_> = line.heard().split_off(from);
    let span = heard[100.min(heard.len() - 1)].at - heard[0].at;
    let count = 100.min(heard.len() - 1) as f64;
    let rate = count / span.as_secs_f64();
    assert!((48.0..=52.0).contains(&rate), "{rate} packets a second");
    for pair in heard.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1), "in order");
        assert_eq!(pair[1].timestamp, pair[0].timestamp.wrapping_add(160), "20 ms each");
        assert_eq!(pair[1].payload.len(), 160);
    }
    finish(&server, caller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_falls_silent_on_the_wire_ends_the_call() {
    let server = Server::with(|config| config.media.timeout_seconds = 1).await;
    let (mut caller, line) = call(&server, "gone").await;
    line.hears(0, 100).await;
    line.mute(true);
    caller.hung_up().await;
    let record = server.ended_to("gone").await;
    assert_eq!(record.end_reason, Some(EndReason::MediaTimeout));
    assert_eq!(record.error.expect("an error").code, "media_timeout");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_on_hold_is_not_taken_for_gone() {
    let server = Server::with(|config| config.media.timeout_seconds = 1).await;
    let mut events = server.events();
    let (mut caller, line) = call(&server, "hold").await;
    line.hears(0, 100).await;
    let hold = crate::support::peer::sdp(line.local).replace("sendrecv", "sendonly");
    caller.send("INVITE", "Content-Type: application/sdp\r\n", &hold).await;
    let ok = caller.peer.final_to("INVITE").await;
    assert_eq!(ok.status(), 200);
    assert!(ok.body().contains("a=recvonly"), "{}", ok.text);
    caller.ack("").await;
    server::event(&mut events, "hold", |event| {
        matches!(event.kind, CallEventKind::Held { by_remote: true }).then_some(())
    })
    .await;
    line.mute(true);
    wait::stays_away("the end of a held call", Duration::from_secs(2), caller.peer.request("BYE"))
        .await;
    line.mute(false);
    let resume = crate::support::peer::sdp(line.local);
    let ok = caller.ask("INVITE", "Content-Type: application/sdp\r\n", &resume).await;
    assert!(ok.body().contains("a=sendrecv"), "{}", ok.text);
    caller.ack("").await;
    server::event(&mut events, "resume", |event| {
        matches!(event.kind, CallEventKind::Resumed { by_remote: true }).then_some(())
    })
    .await;
    finish(&server, caller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_ssrc_is_heard_on() {
    let server = Server::start().await;
    let (caller, line) = call(&server, "ssrc").await;
    line.say(&sound::tone(440.0, 1_000));
    line.said().await;
    line.change_ssrc(0x5566_7788);
    line.say(&sound::tone(880.0, 1_000));
    line.said().await;
    let record = finish(&server, caller).await;
    let [left, _] = server.recording(&record);
    assert!(sound::tone_ms(&left, 440.0, 8_000) >= 800, "before the change");
    assert!(sound::tone_ms(&left, 880.0, 8_000) >= 700, "and after it");
}

/// A trunk with `dtmf = "info"`: keys leave as requests, each with its answer, and none as RTP.
#[tokio::test(flavor = "multi_thread")]
async fn keys_leave_by_info_where_the_trunk_wants_it() {
    let server = Server::with(|config| {
        let trunk = config.trunks.get_mut("local").expect("the trunk of callers here");
        trunk.dtmf = trunkline::schema::telephony::TrunkDtmf::Info;
    })
    .await;
    let (mut caller, line) = call(&server, "by-info").await;
    let id = server.call_to("by-info").await.id;
    server.live(id).await;
    let keys = trunkline::call::CallCommand::Dtmf {
        digits: "1a#".to_owned().into(),
        duration_ms: 120,
        gap_ms: 60,
    };
    server.running.switchboard().command(id, keys).await.expect("it is live");
    for key in ["1", "A", "#"] {
        let info = caller.peer.request("INFO").await;
        caller.peer.answer(&info, "200 OK", "", "").await;
        assert_eq!(info.header("content-type"), "application/dtmf-relay");
        assert_eq!(info.body(), format!("Signal={key}\r\nDuration=120\r\n"));
    }
    assert!(line.heard().iter().all(|packet| packet.kind & 0x7f == 0), "no telephone-event");
    finish(&server, caller).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn digits_drive_the_dialogue_by_rtp_and_by_info() {
    let server = Server::start().await;
    for (user, way) in [("marker", 0), ("no-marker", 1), ("relay", 2), ("plain", 3)] {
        let (mut caller, line) = call(&server, user).await;
        line.hears(0, 100).await;
        line.hears_silence(300).await;
        let from = line.count();
        match way {
            0 => line.press('1', true).await,
            1 => line.press('1', false).await,
            2 => {
                let kind = "Content-Type: application/dtmf-relay\r\n";
                let ok = caller.ask("INFO", kind, "Signal=1\r\nDuration=160\r\n").await;
                assert_eq!(ok.status(), 200);
            }
            _ => {
                let ok = caller.ask("INFO", "Content-Type: application/dtmf\r\n", "1").await;
                assert_eq!(ok.status(), 200);
            }
        }
        line.hears(from, 1_000).await;
        let record = finish(&server, caller).await;
        let journal = server.journal(record.id).await;
        let digits: String = journal
            .iter()
            .filter_map(|kind| match kind {
                CallEventKind::DtmfReceived { digit } => Some(*digit.reveal()),
                _ => None,
            })
            .collect();
        assert_eq!(digits, "1", "{user}: one press is one digit");
        let turns = server.turns(record.id).await;
        let said = turns.iter().any(|turn| turn.content.reveal().contains("open from Tuesday"));
        assert!(said, "{user}: {turns:?}");
    }
}
