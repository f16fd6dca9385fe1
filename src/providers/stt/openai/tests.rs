use std::time::Duration;

use super::OpenAiStt;
use crate::providers::FailureKind;
use crate::providers::stt::{Stt, SttEvent, SttInput, SttParams, SttSession};
use crate::sim::providers::{Fault, MockProviders, MockStage, Recognise, Script, What};
use crate::types::Secret;

const LONG: Duration = Duration::from_secs(10);

async fn mock() -> MockProviders {
    let mut script = Script::default();
    script.stt.recognise = Recognise::Scripted(vec!["good morning".into()]);
    script.stt.final_delay = Duration::from_millis(10);
    MockProviders::start(script).await.unwrap()
}

async fn open(mock: &MockProviders) -> SttSession {
    let stt = OpenAiStt {
        name: "whisper".to_owned(),
        base_url: format!("{}/v1", mock.stt_url),
        api_key: Secret::new("canary-of-the-key"),
        model: "whisper-1".to_owned(),
    };
    let params = SttParams { language: "de-CH".into(), keyterms: vec!["Müller".into()] };
    stt.open(params).await.unwrap()
}

async fn utterance(session: &mut SttSession, id: u32) -> SttEvent {
    session.input.send(SttInput::Audio(vec![1; 320])).await.unwrap();
    session.input.send(SttInput::SpeechStarted).await.unwrap();
    for _ in 0..10 {
        session.input.send(SttInput::Audio(vec![9; 320])).await.unwrap();
    }
    session.input.send(SttInput::Finalize { id }).await.unwrap();
    tokio::time::timeout(LONG, session.events.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_segment_becomes_a_transcript() {
    let mock = mock().await;
    let mut session = open(&mock).await;
    let event = utterance(&mut session, 7).await;
    let SttEvent::Final { text, answers, understood, .. } = event else { panic!("{event:?}") };
    assert_eq!((text.reveal().as_str(), answers, understood), ("good morning", Some(7), true));
    let octets = mock.log.entries().into_iter().find_map(|e| match e.what {
        What::SegmentReceived(octets) => Some(octets),
        _ => None,
    });
    // 11 frames of 640 octets, the header of 44 and the form around them.
    assert!((7_084..8_500).contains(&octets.unwrap()), "{octets:?}");
    // Nothing was said: answered at once, nothing sent.
    session.input.send(SttInput::Finalize { id: 8 }).await.unwrap();
    let event = tokio::time::timeout(LONG, session.events.recv()).await.unwrap().unwrap();
    assert!(matches!(event, SttEvent::Final { answers: Some(8), understood: false, .. }));
    assert_eq!(mock.log.count(|e| matches!(e.what, What::SegmentReceived(_))), 1);
}

#[tokio::test]
async fn every_fault_is_told_apart() {
    let mock = mock().await;
    for (fault, kind) in [
        (Fault::Status(401), FailureKind::Auth),
        (Fault::Status(429), FailureKind::RateLimited),
        (Fault::Status(500), FailureKind::Unavailable),
        (Fault::Status(400), FailureKind::BadRequest),
        (Fault::Status(302), FailureKind::Protocol),
        (Fault::BadJson, FailureKind::Protocol),
        (Fault::Cut { after: 0 }, FailureKind::Cut),
    ] {
        mock.fault(MockStage::Stt, fault.clone());
        let mut session = open(&mock).await;
        let event = utterance(&mut session, 1).await;
        let SttEvent::Failed(error) = event else { panic!("{fault:?}: {event:?}") };
        assert_eq!(error.kind, kind, "{fault:?}: {error:?}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
    // A failure that passes is not seen: the segment is sent again.
    mock.fault(MockStage::Stt, Fault::Once(Box::new(Fault::Status(503))));
    let mut session = open(&mock).await;
    assert!(matches!(utterance(&mut session, 1).await, SttEvent::Final { understood: true, .. }));
}

#[tokio::test]
async fn dropping_the_session_cancels_the_request() {
    let mock = mock().await;
    mock.fault(MockStage::Stt, Fault::Hang);
    let session = open(&mock).await;
    session.input.send(SttInput::SpeechStarted).await.unwrap();
    session.input.send(SttInput::Audio(vec![9; 320])).await.unwrap();
    session.input.send(SttInput::Finalize { id: 1 }).await.unwrap();
    assert!(mock.log.wait(1, LONG, |e| e.what == What::Connected).await.is_some());
    drop(session);
    assert!(
        mock.log.wait(1, Duration::from_millis(500), |e| e.what == What::Closed).await.is_some()
    );
}

#[test]
fn the_path_of_a_whisper_server_is_taken_as_it_is() {
    assert_eq!(super::address("http://h:1/v1/"), "http://h:1/v1/audio/transcriptions");
    assert_eq!(super::address("http://h:1/inference"), "http://h:1/inference");
}
