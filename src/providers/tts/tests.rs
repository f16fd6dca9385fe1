//! The three network voices pass the same tests: what a call relies on is not a vendor's matter.

use std::sync::Arc;
use std::time::Duration;

use super::deepgram::DeepgramTts;
use super::elevenlabs::ElevenLabsTts;
use super::openai::OpenAiTts;
use super::{Tts, TtsEvent, TtsInput, TtsParams, TtsSession};
use crate::net::clock;
use crate::providers::FailureKind;
use crate::sim::providers::{Fault, MockProviders, MockStage, Script, What};
use crate::types::{Generation, SampleRate, Secret};

const LONG: Duration = Duration::from_secs(10);

async fn mock() -> MockProviders {
    let mut script = Script::default();
    script.tts.first_audio = Duration::from_millis(10);
    script.tts.chunk = Duration::from_millis(50);
    script.tts.per_char = Duration::from_millis(20);
    script.tts.pace = 5.0;
    MockProviders::start(script).await.unwrap()
}

fn voices(mock: &MockProviders) -> Vec<Arc<dyn Tts>> {
    let (base_url, api_key) = (mock.tts_url.clone(), Secret::new("canary-of-the-key"));
    vec![
        Arc::new(OpenAiTts {
            name: "openai".into(),
            base_url: format!("{base_url}/v1"),
            api_key: api_key.clone(),
            model: "tts".into(),
            voice: "alloy".into(),
            sample_rate: SampleRate::HZ_24000,
        }),
        Arc::new(DeepgramTts {
            name: "aura".into(),
            base_url: base_url.clone(),
            api_key: api_key.clone(),
            model: "aura-2-thalia-en".into(),
            sample_rate: SampleRate::HZ_8000,
            encoding: crate::providers::config::Encoding::Pcm,
        }),
        Arc::new(ElevenLabsTts {
            name: "elevenlabs".into(),
            base_url,
            api_key,
            model: "flash".into(),
            voice: "v1".into(),
            sample_rate: SampleRate::HZ_16000,
            encoding: crate::providers::config::Encoding::Pcm,
        }),
    ]
}

async fn open(voice: &Arc<dyn Tts>) -> TtsSession {
    voice.open(TtsParams { language: "en".into(), ..TtsParams::default() }).await.unwrap()
}

async fn say(session: &TtsSession, generation: u32, seq: u32, text: &str) {
    let generation = Generation(generation);
    let text = text.to_owned().into();
    session.input.send(TtsInput::Say { generation, seq, text }).await.unwrap();
}

async fn next(session: &mut TtsSession) -> TtsEvent {
    tokio::time::timeout(LONG, session.events.recv()).await.unwrap().unwrap()
}

/// What a sentence came to: how long its audio is, in ms, and how it ended.
async fn sentence(session: &mut TtsSession, wanted: (u32, u32)) -> (u128, Option<FailureKind>) {
    let mut audio = Duration::ZERO;
    loop {
        match next(session).await {
            TtsEvent::Audio { generation, seq, pcm, .. } => {
                assert_eq!((generation.0, seq), wanted);
                audio += pcm.duration();
            }
            TtsEvent::Alignment { generation, seq, .. } => {
                assert_eq!((generation.0, seq), wanted);
            }
            TtsEvent::Done { generation, seq } => {
                assert_eq!((generation.0, seq), wanted);
                return (audio.as_millis(), None);
            }
            TtsEvent::Failed { error, .. } => {
                assert!(!format!("{error:?}").contains("canary"), "{error:?}");
                return (audio.as_millis(), Some(error.kind));
            }
        }
    }
}

#[tokio::test]
async fn sentences_come_in_order_and_whole_over_one_connection() {
    let mock = mock().await;
    for voice in voices(&mock) {
        let mut session = open(&voice).await;
        let before = mock.log.count(|e| e.what == What::Connected);
        for seq in 0..4 {
            say(&session, 1, seq, "ten chars.").await;
        }
        say(&session, 1, 4, "  ").await;
        for seq in 0..4 {
            assert_eq!(sentence(&mut session, (1, seq)).await, (200, None), "{}", voice.name());
        }
        assert_eq!(sentence(&mut session, (1, 4)).await, (0, None));
        if voice.name() != "openai" {
            assert_eq!(mock.log.count(|e| e.what == What::Connected), before);
        }
    }
}

#[tokio::test]
async fn nothing_of_a_canceled_generation_comes_out() {
    let mock = mock().await;
    for voice in voices(&mock) {
        let mut session = open(&voice).await;
        for seq in 0..3 {
            say(&session, 1, seq, "a long sentence that is interrupted in the middle.").await;
        }
        assert!(matches!(next(&mut session).await, TtsEvent::Audio { seq: 0, .. }));
        session.input.send(TtsInput::Cancel { generation: Generation(1) }).await.unwrap();
        say(&session, 2, 0, "ten chars.").await;
        // What was in the channel when the cancel was sent may still be read.
        let mut stale = 0;
        let first = loop {
            match next(&mut session).await {
                TtsEvent::Audio { generation, pcm, .. } if generation.0 == 2 => break pcm,
                TtsEvent::Audio { .. } => stale += 1,
                other => panic!("{}: {other:?}", voice.name()),
            }
        };
        assert!(stale <= 2, "{}: {stale} stale chunks", voice.name());
        let (rest, failure) = sentence(&mut session, (2, 0)).await;
        assert_eq!(failure, None, "{}", voice.name());
        let whole = rest + first.duration().as_millis();
        assert!((199..=200).contains(&whole), "{}: {whole} ms", voice.name());
        let canceled = mock.log.wait(1, LONG, |e| e.what == What::TtsCanceled).await;
        assert!(canceled.is_some() || voice.name() == "openai");
    }
}

#[tokio::test]
async fn dropping_the_session_closes_the_connection_within_100_ms() {
    for index in 0..3 {
        let mock = mock().await;
        mock.fault(MockStage::Tts, Fault::Stall);
        let voice = voices(&mock).remove(index);
        let mut session = open(&voice).await;
        say(&session, 1, 0, "a sentence that never ends.").await;
        assert!(matches!(next(&mut session).await, TtsEvent::Audio { .. }));
        let dropped = clock::now();
        drop(session);
        let speaking = mock.log.wait(1, LONG, |e| e.what == What::TtsFirstAudio).await.unwrap();
        let closed = mock
            .log
            .wait(1, LONG, |e| e.what == What::Closed && e.connection == speaking.connection)
            .await
            .unwrap();
        let took = closed.at.saturating_duration_since(dropped);
        assert!(took < Duration::from_millis(100), "{}: {took:?}", voice.name());
    }
}

#[tokio::test]
async fn every_fault_of_a_sentence_is_told_apart() {
    for index in 0..3 {
        for (fault, wanted) in [
            (Fault::BadJson, FailureKind::Protocol),
            (Fault::Empty, FailureKind::Protocol),
            (Fault::Cut { after: 1 }, FailureKind::Cut),
            (Fault::Stall, FailureKind::Stalled),
        ] {
            let mock = mock().await;
            let voice = voices(&mock).remove(index);
            let mut session = open(&voice).await;
            mock.fault(MockStage::Tts, fault.clone());
            say(&session, 3, 1, "ten chars.").await;
            let (_, failure) = sentence(&mut session, (3, 1)).await;
            assert_eq!(failure, Some(wanted), "{} {fault:?}", voice.name());
            if matches!(fault, Fault::Cut { .. } | Fault::Empty | Fault::Stall) {
                // The session goes on, over a new connection if need be.
                mock.fault(MockStage::Tts, Fault::None);
                say(&session, 3, 2, "ten chars.").await;
                let next = sentence(&mut session, (3, 2)).await;
                assert_eq!(next, (200, None), "{} after {fault:?}", voice.name());
            }
        }
    }
}

#[tokio::test]
async fn statuses_are_told_apart() {
    let mock = mock().await;
    for (status, wanted) in [
        (401, FailureKind::Auth),
        (429, FailureKind::RateLimited),
        (500, FailureKind::Unavailable),
        (503, FailureKind::Unavailable),
    ] {
        mock.fault(MockStage::Tts, Fault::Status(status));
        for voice in voices(&mock) {
            let kind = match voice.open(TtsParams::default()).await {
                Err(error) => Some(error.kind),
                Ok(mut session) => {
                    say(&session, 1, 0, "hello").await;
                    sentence(&mut session, (1, 0)).await.1
                }
            };
            assert_eq!(kind, Some(wanted), "{} {status}", voice.name());
        }
    }
}

#[tokio::test]
async fn a_wav_header_sets_the_rate_and_slow_audio_is_waited_for() {
    let mock = mock().await;
    let voice = voices(&mock).remove(0);
    let mut session = open(&voice).await;
    mock.fault(MockStage::Tts, Fault::WrongRate);
    say(&session, 1, 0, "ten chars.").await;
    let TtsEvent::Audio { pcm, .. } = next(&mut session).await else { panic!("no audio") };
    assert_eq!(pcm.rate, SampleRate::HZ_48000);
    drop(session);
    for voice in voices(&mock) {
        mock.fault(MockStage::Tts, Fault::SlowFirstByte(Duration::from_millis(300)));
        let mut session = open(&voice).await;
        say(&session, 1, 0, "ten chars.").await;
        assert_eq!(sentence(&mut session, (1, 0)).await, (200, None), "{}", voice.name());
    }
}

#[tokio::test]
async fn a_hanging_or_missing_server_is_noticed() {
    let mock = mock().await;
    mock.fault(MockStage::Tts, Fault::Hang);
    let voice = voices(&mock).remove(1);
    let error = tokio::time::timeout(LONG, voice.open(TtsParams::default())).await.unwrap();
    assert_eq!(error.unwrap_err().kind, FailureKind::Stalled);
    let unsafe_voice = TtsParams { voice: "../x".into(), ..TtsParams::default() };
    let error = voices(&mock).remove(2).open(unsafe_voice).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::BadRequest);
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_reopened_and_a_dead_server_is_fatal() {
    for index in 1..3 {
        let mock = mock().await;
        let voice = voices(&mock).remove(index);
        let mut session = open(&voice).await;
        for seq in 0..3 {
            say(&session, 1, seq, "ten chars.").await;
            assert_eq!(sentence(&mut session, (1, seq)).await, (200, None), "{}", voice.name());
            mock.hang_up(MockStage::Tts);
            let closed = mock.log.wait(seq as usize + 1, LONG, |e| e.what == What::Closed).await;
            assert!(closed.is_some());
        }
        mock.fault(MockStage::Tts, Fault::Status(503));
        say(&session, 7, 3, "ten chars.").await;
        let event = next(&mut session).await;
        let TtsEvent::Failed { generation, seq, error, fatal } = event else { panic!("{event:?}") };
        assert_eq!((generation.0, seq, fatal), (7, 3, true));
        assert_eq!(error.kind, FailureKind::Unavailable);
        // Over: the channel ends.
        assert!(tokio::time::timeout(LONG, session.events.recv()).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_sentence_without_audio_at_the_cut_is_said_again_and_a_half_spoken_one_fails() {
    for index in 1..3 {
        let mock = mock().await;
        let voice = voices(&mock).remove(index);
        let mut session = open(&voice).await;
        mock.fault(MockStage::Tts, Fault::Once(Box::new(Fault::Cut { after: 0 })));
        say(&session, 1, 0, "ten chars.").await;
        assert_eq!(sentence(&mut session, (1, 0)).await, (200, None), "{}", voice.name());
        say(&session, 1, 1, "a sentence that is long enough.").await;
        say(&session, 1, 2, "ten chars.").await;
        assert!(matches!(next(&mut session).await, TtsEvent::Audio { seq: 1, .. }));
        mock.hang_up(MockStage::Tts);
        let (_, failure) = sentence(&mut session, (1, 1)).await;
        assert_eq!(failure, Some(FailureKind::Cut), "{}", voice.name());
        assert_eq!(sentence(&mut session, (1, 2)).await, (200, None), "{}", voice.name());
    }
}
