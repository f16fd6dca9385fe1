//! An agent whose voice does what a test says, and notes what it was asked.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::call::agent::{AgentFacts, AgentSnapshot, RecordingPolicy};
use crate::call::fixed::FixedSpeech;
use crate::net::clock;
use crate::providers::ProviderError;
use crate::providers::scripted::{Plan, ScriptedLlm};
use crate::providers::stt::keypad::KeypadStt;
use crate::providers::tts::{AlignmentMark, Tts, TtsEvent, TtsInput, TtsParams, TtsSession};
use crate::turn::TurnConfig;
use crate::types::{AgentId, Pcm, Pii, SampleRate};

/// Says each character for 10 ms at 8 kHz; knows what it was asked.
#[derive(Default)]
pub(super) struct Parrot {
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    pub(super) aligns: bool,
    pub(super) mute: bool,
}

impl Tts for Parrot {
    fn name(&self) -> &str {
        "parrot"
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn open(&self, _: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let (asked, aligns, mute) = (Arc::clone(&self.asked), self.aligns, self.mute);
        async move {
            let (input, mut said) = mpsc::channel(64);
            let (told, events) = mpsc::channel(64);
            tokio::spawn(async move {
                while let Some(TtsInput::Say { generation, seq, text }) = said.recv().await {
                    if mute {
                        return;
                    }
                    let chars = text.reveal().chars().count();
                    asked.lock().unwrap().push(text.reveal().clone());
                    let pcm = Pcm { rate: SampleRate::HZ_8000, samples: vec![1_000; chars * 80] };
                    let at = clock::now();
                    let _ = told.send(TtsEvent::Audio { generation, seq, pcm, at }).await;
                    if aligns {
                        let mark = |chars: u32| AlignmentMark { offset_ms: chars * 10, chars };
                        let marks = vec![mark(chars as u32 / 2), mark(chars as u32)];
                        let _ = told.send(TtsEvent::Alignment { generation, seq, marks }).await;
                    }
                    let _ = told.send(TtsEvent::Done { generation, seq }).await;
                }
            });
            Ok(TtsSession { input, events })
        }
        .boxed()
    }
}

/// Lets virtual time pass: what a provider takes.
pub(super) async fn after_ms(ms: u64) {
    let due = clock::now() + std::time::Duration::from_millis(ms);
    tokio::time::sleep_until(due.into()).await;
}

/// An agent with that voice and one fixed sentence.
pub(super) fn agent(tts: Parrot) -> AgentSnapshot {
    let mut turn = TurnConfig::default();
    turn.greeting.text = "Hello there. I am {{name}}.".to_owned();
    turn.inactivity.prompts = vec!["Are you there?".to_owned()];
    let fixed = FixedSpeech::of(&turn, []);
    AgentSnapshot {
        id: AgentId("a".to_owned()),
        name: "a".to_owned(),
        prompt: Pii::new(String::new()),
        language: "en".to_owned(),
        turn,
        vad: Default::default(),
        background: None,
        noise_suppression: None,
        speech: Default::default(),
        keyterms: Vec::new(),
        voice: String::new(),
        speed: 1.0,
        temperature: None,
        max_tokens: None,
        recording: RecordingPolicy::Off,
        facts: AgentFacts::default(),
        tools: Vec::new(),
        stt: Arc::new(KeypadStt),
        llm: Arc::new(ScriptedLlm(Plan::new(Vec::new()))),
        tts: Arc::new(tts),
        tts_service: String::new(),
        realtime: None,
        fixed,
        fallbacks: Default::default(),
    }
}
