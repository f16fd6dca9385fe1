use std::time::Duration;

use crate::net::clock;
use crate::providers::FailureKind;
use crate::providers::config::ProviderConfig;
use crate::providers::stt::ws::Recogniser;
use crate::providers::stt::ws::replay::Replay;
use crate::providers::stt::{Stt, SttEvent, SttInput, SttParams, SttSession};
use crate::sim::providers::{Fault, MockProviders, MockStage, Recognise, Script, What};
use crate::types::{SampleRate, Secret};

const LONG: Duration = Duration::from_secs(8);
const KEY: &str = "canary-of-the-key";

fn stt(mock: &MockProviders) -> Recogniser {
    let config = ProviderConfig { base_url: mock.stt_url.clone(), ..ProviderConfig::default() };
    super::recogniser("deepgram", &config, Secret::new(KEY)).unwrap()
}

async fn mock(recognise: Recognise) -> MockProviders {
    let mut script = Script::default();
    script.stt.recognise = recognise;
    script.stt.final_delay = Duration::from_millis(20);
    MockProviders::start(script).await.unwrap()
}

async fn next(session: &mut SttSession) -> SttEvent {
    tokio::time::timeout(LONG, session.events.recv()).await.unwrap().unwrap()
}

/// Events until a final that answers something, the failure, or the end.
async fn until_answer(session: &mut SttSession) -> Vec<SttEvent> {
    let mut events = Vec::new();
    loop {
        let event = next(session).await;
        let over = matches!(event, SttEvent::Final { answers: Some(_), .. } | SttEvent::Failed(_));
        events.push(event);
        if over {
            return events;
        }
    }
}

fn finals(events: &[SttEvent]) -> String {
    let texts: Vec<&str> = events
        .iter()
        .filter_map(|event| match event {
            SttEvent::Final { text, .. } if !text.reveal().is_empty() => {
                Some(text.reveal().as_str())
            }
            _ => None,
        })
        .collect();
    texts.join(" ")
}

/// A word of 200 ms and a pause of 100 ms, in 20 ms frames.
async fn say(session: &SttSession, word: i16) {
    for frame in 0..15 {
        let level = if frame < 10 { word } else { 0 };
        session.input.send(SttInput::Audio(vec![level; 160])).await.unwrap();
    }
}

#[tokio::test]
async fn finalize_is_answered_and_measured() {
    let mock = mock(Recognise::Scripted(vec!["one".into(), "two".into()])).await;
    let mut session = stt(&mock).open(SttParams::default()).await.unwrap();
    for (id, wanted) in [(1, "one"), (2, "two"), (3, "one")] {
        say(&session, 5).await;
        session.input.send(SttInput::Finalize { id }).await.unwrap();
        let events = until_answer(&mut session).await;
        let Some(SttEvent::Final { text, answers, understood, at, confidence }) = events.last()
        else {
            panic!("{events:?}");
        };
        assert_eq!((text.reveal().as_str(), *answers, *understood), (wanted, Some(id), true));
        assert_eq!(*confidence, Some(0.98));
        let sent = mock
            .log
            .wait(id as usize, LONG, |e| matches!(e.what, What::FinalSent(_)))
            .await
            .unwrap();
        let took = at.max(&sent.at).duration_since(sent.at.min(*at));
        assert!(took < Duration::from_millis(25), "{took:?} between mock and provider");
    }
}

#[tokio::test]
async fn partials_grow_and_endpointing_finals_merge() {
    let mock = mock(Recognise::Levels).await;
    let mut session = stt(&mock).open(SttParams::default()).await.unwrap();
    for word in 1..=7 {
        say(&session, word).await;
    }
    session.input.send(SttInput::Finalize { id: 9 }).await.unwrap();
    let events = until_answer(&mut session).await;
    assert_eq!(finals(&events), "w1 w2 w3 w4 w5 w6 w7");
    let longest = events.iter().rev().find_map(|event| match event {
        SttEvent::Partial { text } => Some(text.reveal().clone()),
        _ => None,
    });
    assert_eq!(longest.as_deref(), Some("w1 w2 w3 w4 w5 w6 w7"));
}

#[tokio::test]
async fn no_word_is_lost_or_doubled_when_the_connection_is_cut() {
    // Each cut lies somewhere else: in a word, in a pause, before and after an endpointing final.
    for after in [3, 17, 44, 46, 52, 75, 101] {
        let mock = mock(Recognise::Levels).await;
        mock.fault(MockStage::Stt, Fault::Once(Box::new(Fault::Cut { after })));
        let mut session = stt(&mock).open(SttParams::default()).await.unwrap();
        let input = session.input.clone();
        let talking = tokio::spawn(async move {
            input.send(SttInput::SpeechStarted).await.unwrap();
            for word in 1..=8i16 {
                for frame in 0..15 {
                    let level = if frame < 10 { word } else { 0 };
                    input.send(SttInput::Audio(vec![level; 160])).await.unwrap();
                }
            }
            input.send(SttInput::Finalize { id: 1 }).await.unwrap();
        });
        let events = until_answer(&mut session).await;
        talking.await.unwrap();
        assert_eq!(finals(&events), "w1 w2 w3 w4 w5 w6 w7 w8", "cut after {after}");
        assert!(events.iter().any(|event| matches!(event, SttEvent::Reconnected)));
    }
}

#[tokio::test]
async fn a_finalize_nobody_answers_is_answered_by_the_timer() {
    let mock = mock(Recognise::Levels).await;
    let mut script = Script::default();
    script.stt.recognise = Recognise::Levels;
    script.stt.answers_finalize = false;
    mock.script(script);
    let mut session = stt(&mock).open(SttParams::default()).await.unwrap();
    let begun = clock::now();
    session.input.send(SttInput::Finalize { id: 4 }).await.unwrap();
    let events = until_answer(&mut session).await;
    assert!(matches!(
        events.last(),
        Some(SttEvent::Final { answers: Some(4), understood: false, .. })
    ));
    assert!(clock::now() - begun >= super::FINALIZE_GRACE);
}

#[tokio::test]
async fn an_idle_line_is_kept_alive_by_text() {
    let mock = mock(Recognise::Levels).await;
    let session = stt(&mock).open(SttParams::default()).await.unwrap();
    let kept = mock.log.wait(1, LONG, |e| e.what == What::KeepAliveReceived).await;
    assert!(kept.is_some());
    drop(session);
}

#[tokio::test]
async fn dropping_the_session_closes_the_connection_within_100_ms() {
    let mock = mock(Recognise::Levels).await;
    let session = stt(&mock).open(SttParams::default()).await.unwrap();
    say(&session, 1).await;
    let dropped = clock::now();
    drop(session);
    let closed = mock.log.wait(1, LONG, |e| e.what == What::Closed).await.unwrap();
    let took = closed.at.saturating_duration_since(dropped);
    assert!(took < Duration::from_millis(100), "{took:?}");
}

#[tokio::test]
async fn failures_at_the_handshake_are_told_apart() {
    let mock = mock(Recognise::Levels).await;
    for (fault, kind) in [
        (Fault::Refused, FailureKind::Unavailable),
        (Fault::Status(401), FailureKind::Auth),
        (Fault::Status(429), FailureKind::RateLimited),
        (Fault::Status(500), FailureKind::Unavailable),
        (Fault::Status(503), FailureKind::Unavailable),
        (Fault::Hang, FailureKind::Stalled),
    ] {
        mock.fault(MockStage::Stt, fault.clone());
        if fault == Fault::Refused {
            // The server closes its port at its own pace.
            while tokio::net::TcpStream::connect(mock.stt_url.trim_start_matches("http://"))
                .await
                .is_ok()
            {
                tokio::task::yield_now().await;
            }
        }
        let error = stt(&mock).open(SttParams::default()).await.unwrap_err();
        assert_eq!(error.kind, kind, "{fault:?}: {error}");
        assert!(!format!("{error:?}").contains(KEY));
        if fault == Fault::Refused {
            mock.fault(MockStage::Stt, Fault::None);
            while tokio::net::TcpStream::connect(mock.stt_url.trim_start_matches("http://"))
                .await
                .is_err()
            {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test]
async fn garbage_ends_the_session_as_a_protocol_failure() {
    let mock = mock(Recognise::Levels).await;
    let mut session = stt(&mock).open(SttParams::default()).await.unwrap();
    mock.fault(MockStage::Stt, Fault::BadJson);
    session.input.send(SttInput::Finalize { id: 1 }).await.unwrap();
    let events = until_answer(&mut session).await;
    let Some(SttEvent::Failed(error)) = events.last() else { panic!("{events:?}") };
    assert_eq!(error.kind, FailureKind::Protocol);
    assert!(!format!("{error:?}").contains("canary"));
}

#[tokio::test]
async fn an_empty_transcript_is_not_understood_and_a_slow_one_is_waited_for() {
    let mock = mock(Recognise::Scripted(vec!["late".into()])).await;
    mock.fault(MockStage::Stt, Fault::Once(Box::new(Fault::Empty)));
    let mut session = stt(&mock).open(SttParams::default()).await.unwrap();
    say(&session, 1).await;
    session.input.send(SttInput::Finalize { id: 1 }).await.unwrap();
    let events = until_answer(&mut session).await;
    assert!(matches!(events.last(), Some(SttEvent::Final { understood: false, .. })));
    drop(session);
    let slow = Fault::SlowFirstByte(Duration::from_millis(300));
    mock.fault(MockStage::Stt, Fault::Once(Box::new(slow)));
    let mut session = stt(&mock).open(SttParams::default()).await.unwrap();
    say(&session, 1).await;
    session.input.send(SttInput::Finalize { id: 2 }).await.unwrap();
    assert_eq!(finals(&until_answer(&mut session).await), "late");
}

#[tokio::test]
async fn a_server_that_is_gone_for_good_fails_the_session() {
    let mock = mock(Recognise::Levels).await;
    mock.fault(MockStage::Stt, Fault::Cut { after: 1 });
    let mut session = stt(&mock).open(SttParams::default()).await.unwrap();
    say(&session, 1).await;
    let events = until_answer(&mut session).await;
    let Some(SttEvent::Failed(error)) = events.last() else { panic!("{events:?}") };
    assert_eq!(error.kind, FailureKind::Cut);
    // Bounded: the first connection and three more, whatever the server does.
    let connections = mock.log.count(|e| e.what == What::Connected);
    assert!(connections <= 4, "{connections} connections");
}

#[tokio::test]
async fn a_late_answer_is_not_taken_for_the_next_one() {
    use super::message;
    let late = r#"{"type":"Results","start":0,"duration":1.0,"is_final":true,"from_finalize":true,"channel":{"alternatives":[{"transcript":"late"}]}}"#;
    let results = message::parse(late).unwrap().unwrap();
    assert_eq!((results.end_seconds, results.confidence), (1.0, None));
    let mut replay = Replay::new(SampleRate::HZ_8000, 10);
    for _ in 0..60 {
        replay.push(vec![0u8; 320].into(), 160);
        assert!(replay.take_next().is_some());
    }
    assert_eq!(replay.position(), 9_600);
    assert_eq!(replay.acknowledge(results.end_seconds), 8_000);
    assert_eq!(replay.position(), 9_600);
    replay.restart();
    assert_eq!(replay.len(), 10);
    assert_eq!(replay.acknowledge(f64::NAN), 0);
    assert_eq!(replay.acknowledge(f64::INFINITY), 0);
}

#[tokio::test]
async fn a_connection_that_is_open_but_dead_is_replaced_and_no_word_is_lost() {
    let mock = mock(Recognise::Levels).await;
    mock.fault(MockStage::Stt, Fault::Once(Box::new(Fault::Stall)));
    let mut session = stt(&mock).open(SttParams::default()).await.unwrap();
    // The line is idle until the keep-alive: longer than a living server stays silent.
    assert!(mock.log.wait(1, LONG, |e| e.what == What::KeepAliveReceived).await.is_some());
    say(&session, 1).await;
    say(&session, 2).await;
    session.input.send(SttInput::Finalize { id: 1 }).await.unwrap();
    let events = until_answer(&mut session).await;
    assert_eq!(finals(&events), "w1 w2");
    assert!(events.iter().any(|event| matches!(event, SttEvent::Reconnected)));
}

#[tokio::test]
async fn a_cut_between_finalize_and_its_answer_costs_nothing() {
    let mock = mock(Recognise::Levels).await;
    let mut session = stt(&mock).open(SttParams::default()).await.unwrap();
    say(&session, 1).await;
    say(&session, 2).await;
    mock.fault(MockStage::Stt, Fault::Once(Box::new(Fault::Cut { after: 0 })));
    let asked = clock::now();
    session.input.send(SttInput::Finalize { id: 1 }).await.unwrap();
    let events = until_answer(&mut session).await;
    assert_eq!(finals(&events), "w1 w2");
    let took = clock::now() - asked;
    assert!(took < Duration::from_secs(1), "reconnected and answered after {took:?}");
}
