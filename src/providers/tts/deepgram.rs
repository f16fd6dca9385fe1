//! Deepgram Aura `speak` v1 over WebSocket.
//!
//! Audio carries no name of its sentence: it belongs to the oldest one that is not flushed. After
//! `Clear` everything is dropped until `Cleared`.
//! Source: developers.deepgram.com, `text-to-speech/speak-streaming`.

use std::collections::VecDeque;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use super::ws::{self, Dialect, Meaning, SentenceId};
use super::{Tts, TtsParams, TtsSession};
use crate::providers::socket::{Endpoint, Incoming, push_query, ws_base};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::types::{Generation, Pcm, SampleRate, Secret};

/// Settings of one Aura voice.
#[derive(Clone, Debug)]
pub struct DeepgramTts {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `wss://api.deepgram.com`.
    pub base_url: String,
    /// API key.
    pub api_key: Secret,
    /// Model and voice in one, for example `aura-2-thalia-en`; the agent's voice replaces it.
    pub model: String,
    /// Rate to ask for; 8 kHz needs no conversion on a G.711 call.
    pub sample_rate: SampleRate,
}

impl Tts for DeepgramTts {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn open(&self, params: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let model = if params.voice.is_empty() { &self.model } else { &params.voice };
        let mut url = format!("{}/v1/speak", ws_base(&self.base_url));
        push_query(&mut url, "model", model);
        push_query(&mut url, "encoding", "linear16");
        push_query(&mut url, "sample_rate", &self.sample_rate.hz().to_string());
        let key = format!("Token {}", self.api_key.expose());
        let endpoint = Endpoint {
            provider: self.name.clone(),
            stage: Stage::Tts,
            url,
            auth: (!self.api_key.is_empty()).then(|| ("authorization", Secret::new(key))),
        };
        ws::open(endpoint.clone(), Aura::new(endpoint, self.sample_rate))
    }
}

/// Sentences wait here while a `Clear` is under way.
struct Aura {
    endpoint: Endpoint,
    rate: SampleRate,
    speaking: VecDeque<SentenceId>,
    /// `Clear`s that are not answered.
    clearing: u32,
    odd: Option<u8>,
}

impl Aura {
    fn new(endpoint: Endpoint, rate: SampleRate) -> Self {
        Self { endpoint, rate, speaking: VecDeque::new(), clearing: 0, odd: None }
    }

    fn samples(&mut self, bytes: &[u8]) -> Vec<i16> {
        let mut samples = Vec::with_capacity(bytes.len() / 2 + 1);
        for &octet in bytes {
            match self.odd.take() {
                Some(low) => samples.push(i16::from_le_bytes([low, octet])),
                None => self.odd = Some(octet),
            }
        }
        samples
    }
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum ServerMessage {
    Flushed,
    Cleared,
    Error {
        #[serde(default)]
        code: String,
    },
    #[serde(other)]
    Other,
}

impl Dialect for Aura {
    fn say(&mut self, sentence: SentenceId, text: &str) -> Vec<String> {
        self.speaking.push_back(sentence);
        vec![json!({"type": "Speak", "text": text}).to_string(), r#"{"type":"Flush"}"#.to_owned()]
    }

    fn cancel(&mut self, generation: Generation) -> Vec<String> {
        let before = self.speaking.len();
        self.speaking.retain(|sentence| sentence.generation > generation);
        if before == self.speaking.len() {
            return Vec::new();
        }
        self.clearing += 1;
        self.odd = None;
        vec![r#"{"type":"Clear"}"#.to_owned()]
    }

    fn keep_alive(&self) -> Option<String> {
        None
    }

    fn understand(&mut self, incoming: Incoming, out: &mut VecDeque<Meaning>) {
        match incoming {
            Incoming::Binary(bytes) => {
                if self.clearing > 0 {
                    return;
                }
                let samples = self.samples(&bytes);
                if let Some(sentence) = self.speaking.front()
                    && !samples.is_empty()
                {
                    out.push_back(Meaning::Audio(*sentence, Pcm { rate: self.rate, samples }));
                }
            }
            Incoming::Text(text) => match serde_json::from_str(&text) {
                Ok(ServerMessage::Flushed) if self.clearing == 0 => {
                    self.odd = None;
                    if let Some(sentence) = self.speaking.pop_front() {
                        out.push_back(Meaning::Done(sentence));
                    }
                }
                Ok(ServerMessage::Cleared) => self.clearing = self.clearing.saturating_sub(1),
                Ok(ServerMessage::Error { code }) => {
                    let detail = format!("the provider reports {code}");
                    let error = self.endpoint.error(FailureKind::Unavailable, detail);
                    out.push_back(Meaning::Fatal(error));
                }
                Ok(ServerMessage::Flushed | ServerMessage::Other) => {}
                Err(_) => {
                    let detail = "a message that is not the protocol's JSON";
                    let error = self.endpoint.error(FailureKind::Protocol, detail);
                    out.push_back(Meaning::Fatal(error));
                }
            },
        }
    }

    fn is_idle(&self) -> bool {
        self.speaking.is_empty()
    }

    fn restart(&mut self) {
        self.clearing = 0;
        self.odd = None;
    }
}
