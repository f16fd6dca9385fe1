//! The built-in softphone as a program, against the running server.

use trunkline::sip::Transport;
use trunkline::types::EndReason;

use crate::support::child::run;
use crate::support::server::{self, Server};
use crate::support::{fixture, sound};

async fn says_goodbye(transport: Transport) {
    let server = Server::with(server::listening).await;
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("both.wav");
    let wav = fixture("wav/demo/12_bye.wav");
    let uri = format!("sip:soft@{}", server.sip(transport));
    let mut args = vec!["call", &uri, "--json", "--wav", wav.to_str().expect("a path")];
    args.extend(["--out", out.to_str().expect("a path")]);
    if transport == Transport::Tcp {
        args.push("--tcp");
    }
    let ran = run(&args, &[]).await;
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    let report: serde_json::Value = serde_json::from_str(&ran.out).expect("one JSON object");
    assert!(report.is_object(), "{report}");
    let record = server.ended_to("soft").await;
    assert_eq!(record.end_reason, Some(EndReason::AgentHangup), "{record:?}");
    let turns = server.turns(record.id).await;
    assert!(turns.iter().any(|turn| turn.content.reveal().contains("Goodbye")), "{turns:?}");
    let audio = trunkline::audio::wav::read_file(&out).expect("a recording of the caller's own");
    let [caller, agent] = &audio.channels[..] else { panic!("stereo") };
    assert!(sound::loud_ms(caller) >= 300, "the caller is left");
    assert!(sound::loud_ms(agent) >= 1_500, "the agent is right");
    // Both sides wrote down the same agent.
    let [_, right] = server.recording(&record);
    let (ours, theirs) = (sound::loud_ms(&right), sound::loud_ms(agent));
    assert!(ours.abs_diff(theirs) <= 200, "{ours} ms sent, {theirs} ms heard");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_softphone_calls_over_udp() {
    says_goodbye(Transport::Udp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_softphone_calls_over_tcp() {
    says_goodbye(Transport::Tcp).await;
}
