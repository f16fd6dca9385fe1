//! The server as a process: killed in the middle of a call, asked to read its configuration again, and asked to stop.

use std::time::Duration;

use tempfile::TempDir;
use trunkline::net::clock;
use trunkline::sip::Transport;
use trunkline::store::Store;
use trunkline::store::{PageRequest, Query};
use trunkline::types::call::RecordingStatus;
use trunkline::types::{CallRecord, CallStatus, EndReason};

use crate::support::child::{ServerProcess, write_config};
use crate::support::line::Line;
use crate::support::peer::{Caller, Peer, sdp};
use crate::support::{sound, wait};

/// How much of the audio a killed process may lose.
const LOST_MAX: Duration = Duration::from_secs(1);

/// When the process is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Moment {
    Trying,
    Answered,
    Acknowledged,
    FirstPacket,
    GreetingBegins,
    GreetingGoesOn,
    GreetingOver,
    CallerSpeaks,
    ReplyBegins,
    Goodbye,
}

const MOMENTS: [Moment; 10] = [
    Moment::Trying,
    Moment::Answered,
    Moment::Acknowledged,
    Moment::FirstPacket,
    Moment::GreetingBegins,
    Moment::GreetingGoesOn,
    Moment::GreetingOver,
    Moment::CallerSpeaks,
    Moment::ReplyBegins,
    Moment::Goodbye,
];

/// Brings a call to the moment; gives how long it was recorded until then.
async fn reach(moment: Moment, caller: &mut Caller, line: &Line) -> Duration {
    caller.invite(&sdp(line.local)).await;
    if moment == Moment::Trying {
        caller.peer.next().await;
        return Duration::ZERO;
    }
    let ok = caller.peer.final_to("INVITE").await;
    assert_eq!(ok.status(), 200, "{}", ok.text);
    if moment == Moment::Answered {
        return Duration::ZERO;
    }
    caller.learn(&ok);
    line.connect(ok.media());
    caller.ack("").await;
    let start = clock::now();
    match moment {
        Moment::Trying | Moment::Answered | Moment::Acknowledged => {}
        Moment::FirstPacket => {
            wait::until("a packet", async || (line.count() > 0).then_some(())).await;
        }
        Moment::GreetingBegins => line.hears(0, 100).await,
        Moment::GreetingGoesOn => line.hears(0, 1_500).await,
        Moment::GreetingOver => {
            line.hears(0, 1_500).await;
            line.hears_silence(500).await;
        }
        Moment::CallerSpeaks => {
            line.say(&sound::tone(440.0, 2_500));
            line.said().await;
        }
        Moment::ReplyBegins => {
            line.hears(0, 1_500).await;
            line.hears_silence(300).await;
            let from = line.count();
            line.press('1', true).await;
            line.hears(from, 500).await;
        }
        Moment::Goodbye => {
            line.hears(0, 500).await;
            caller.send("BYE", "", "").await;
        }
    }
    start.elapsed()
}

async fn only_call(dir: &TempDir) -> Option<CallRecord> {
    let store = Store::open(&dir.path().join("trunkline.db")).await.expect("the store");
    let page = PageRequest::new(Some(1), Some(10)).expect("a page");
    let calls = store.list(&Query::default(), page).await.expect("the store").items;
    store.close().await;
    assert!(calls.len() <= 1, "{calls:?}");
    calls.into_iter().next()
}

async fn kill_at(moment: Moment) {
    let dir = tempfile::tempdir().expect("a directory");
    let config = write_config(&dir, |config| {
        let greeting = "Hello. This is a sentence that takes a little while to say.";
        crate::support::server::agent(config).turn.greeting.text = greeting.to_owned();
    });
    let server = ServerProcess::start(&config).await;
    let line = Line::new().await;
    let peer = Peer::new(server.sip, Transport::Udp).await;
    let mut caller = Caller::over(peer, "killed");
    let recorded = reach(moment, &mut caller, &line).await;
    server.kill().await;

    let again = ServerProcess::start(&config).await;
    let record = only_call(&dir).await;
    again.terminate();
    assert_eq!(again.wait().await, 0, "{moment:?}");
    let Some(record) = record else {
        // A call is answered when it is on disk; before that nobody was promised anything.
        assert_eq!(moment, Moment::Trying, "no record");
        return;
    };
    assert!(record.status.is_terminal(), "{moment:?}: {record:?}");
    assert!(record.end_reason.is_some(), "{moment:?}");
    assert!(record.ended_at.is_some(), "{moment:?}");
    if moment == Moment::Goodbye && record.end_reason == Some(EndReason::UserHangup) {
        assert_eq!(record.status, CallStatus::Completed);
    } else {
        assert_eq!(record.status, CallStatus::Failed, "{moment:?}");
    }
    let Some(info) = record.recording else {
        assert!(recorded < LOST_MAX, "{moment:?}: {recorded:?} of audio without a recording");
        return;
    };
    if info.status == RecordingStatus::Failed {
        assert!(recorded < LOST_MAX, "{moment:?}: {recorded:?} of audio lost");
        return;
    }
    let path = dir.path().join("recordings").join(&info.filename);
    let audio = trunkline::audio::wav::read_file(&path)
        .unwrap_or_else(|error| panic!("{moment:?}: not playable: {error:?}"));
    let length = Duration::from_millis(audio.channels[0].len() as u64 / 8);
    assert!(length + LOST_MAX >= recorded, "{moment:?}: {length:?} of {recorded:?}");
    if moment == Moment::CallerSpeaks {
        let heard = sound::tone_ms(&audio.channels[0], 440.0, sound::RATE);
        assert!(heard >= 1_000, "{heard} ms of the caller's tone");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_closed_records_and_playable_recordings() {
    for batch in MOMENTS.chunks(5) {
        let mut tasks = tokio::task::JoinSet::new();
        for moment in batch.iter().copied() {
            tasks.spawn(kill_at(moment));
        }
        tasks.join_all().await;
    }
}

/// The final status of a new call to a number; one that is taken is hung up.
async fn answer_to(server: &ServerProcess, number: &str, line: &Line) -> u16 {
    let mut caller = Caller::over(Peer::new(server.sip, Transport::Udp).await, number);
    caller.try_call(line.local).await.status()
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_configuration_again_beside_a_live_call() {
    let dir = tempfile::tempdir().expect("a directory");
    let with = |number: &str, agent: &str| {
        write_config(&dir, |config| {
            // With a second agent nobody answers what no number names.
            config.agents.insert("other".to_owned(), config.agents["demo"].clone());
            config.numbers = [(number.to_owned(), agent.to_owned().into())].into();
        })
    };
    let path = with("+15550100", "demo");
    let mut server = ServerProcess::start(&path).await;
    let line = Line::new().await;
    let mut live = Caller::over(Peer::new(server.sip, Transport::Udp).await, "+15550100");
    let ok = live.call(line.local).await;
    line.connect(ok.media());
    line.hears(0, 100).await;
    assert_ne!(answer_to(&server, "+15550177", &line).await, 200, "nobody answers this number yet");

    with("+15550177", "demo");
    server.reload("configuration reloaded").await;
    assert_eq!(answer_to(&server, "+15550177", &line).await, 200);
    assert_ne!(answer_to(&server, "+15550100", &line).await, 200, "the number is gone");

    with("+15550188", "nobody");
    let said = server.reload("numbers.+15550188").await;
    assert!(said.contains("configuration not reloaded"), "{said}");
    assert!(said.contains("server.toml:") && said.contains("`nobody`"), "{said}");
    assert_eq!(answer_to(&server, "+15550177", &line).await, 200, "refused whole");

    // The live call knows nothing of all this: the keypad still answers, also on a number that is gone.
    line.hears_silence(300).await;
    let from = line.count();
    line.press('1', true).await;
    line.hears(from, 1_000).await;
    live.hang_up().await;
    server.terminate();
    assert_eq!(server.wait().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_refuses_new_calls_and_lets_the_live_one_finish() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = write_config(&dir, |_| {});
    let server = ServerProcess::start(&config).await;
    let line = Line::new().await;
    let mut caller = Caller::over(Peer::new(server.sip, Transport::Udp).await, "stays");
    let ok = caller.call(line.local).await;
    line.connect(ok.media());
    line.hears(0, 100).await;
    server.terminate();
    let address = server.sip;
    let refused = wait::until("a refusal", async || {
        let mut late = Caller::over(Peer::new(address, Transport::Udp).await, "late");
        let answer = late.try_call(line.local).await;
        // Until the signal is seen a call may still be taken.
        (answer.status() != 200).then_some(answer)
    })
    .await;
    assert_eq!(refused.status(), 503, "{}", refused.text);
    assert!(!refused.header("retry-after").is_empty(), "{}", refused.text);
    assert_eq!(caller.peer.probe("draining").await.status(), 503, "a trunk sees it by OPTIONS");
    // The live call goes on: the keypad still answers.
    line.hears_silence(300).await;
    let from = line.count();
    line.press('1', true).await;
    line.hears(from, 1_000).await;
    caller.hang_up().await;
    assert_eq!(server.wait().await, 0);
    let store = Store::open(&dir.path().join("trunkline.db")).await.expect("the store");
    let page = PageRequest::new(Some(1), Some(50)).expect("a page");
    let calls = store.list(&Query::default(), page).await.expect("the store").items;
    let stays = calls.iter().find(|call| call.to_number.reveal() == "stays").expect("the call");
    assert_eq!(stays.end_reason, Some(EndReason::UserHangup));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_does_not_wait_for_the_live_call() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = write_config(&dir, |_| {});
    let server = ServerProcess::start(&config).await;
    let line = Line::new().await;
    let mut caller = Caller::over(Peer::new(server.sip, Transport::Udp).await, "stays");
    caller.call(line.local).await;
    server.terminate();
    wait::limit("the drain", async {
        let mut number = 0;
        while caller.peer.probe(&format!("drain{number}")).await.status() != 503 {
            number += 1;
        }
    })
    .await;
    server.terminate();
    assert_eq!(server.wait().await, 0);
}
