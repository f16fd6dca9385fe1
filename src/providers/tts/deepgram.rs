//! Deepgram Aura `speak` v1 over WebSocket.
//!
//! Audio carries no name of its sentence: it belongs to the oldest one that is not flushed. After
//! `Clear` everything is dropped until `Cleared`.
//! Source: developers.deepgram.com, `text-to-speech/speak-streaming`.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use super::decoder::Raw;
use super::ws::{self, Cancel, Dialect, Meaning, SentenceId};
use super::{Tts, TtsParams, TtsSession};
use crate::providers::config::{ConfigError, Encoding, ProviderConfig, or_default};
use crate::providers::socket::{Endpoint, Incoming, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::types::{Generation, Pcm, SampleRate, Secret};

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Tts> = Maker {
    capabilities: &["streaming", "voice"],
    models: &["aura-2-thalia-en", "aura-2-andromeda-en"],
    build,
};

const RATES: &str = "8000, 16000, 24000, 32000, 48000";

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Tts>, ConfigError> {
    let encoding = config.encoding()?;
    let rates = if encoding == Encoding::Mulaw { "8000" } else { RATES };
    Ok(Arc::new(DeepgramTts {
        name: name.to_owned(),
        base_url: config.url("wss://api.deepgram.com")?,
        api_key: key,
        model: or_default(&config.voice, &or_default(&config.model, "aura-2-thalia-en")),
        sample_rate: config.rate(SampleRate::HZ_8000, rates)?,
        encoding,
    }))
}

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
    /// How samples are written on the wire.
    pub encoding: Encoding,
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
        push_query(
            &mut url,
            "encoding",
            match self.encoding {
                Encoding::Pcm => "linear16",
                Encoding::Mulaw => "mulaw",
            },
        );
        push_query(&mut url, "sample_rate", &self.sample_rate.hz().to_string());
        let key = format!("Token {}", self.api_key.expose());
        let endpoint = Endpoint {
            provider: self.name.clone(),
            stage: Stage::Tts,
            url,
            auth: (!self.api_key.is_empty()).then(|| ("authorization", Secret::new(key))),
        };
        ws::open(endpoint.clone(), Aura::new(endpoint, self.sample_rate, self.encoding))
    }
}

/// The sentences the server was asked for, in order.
struct Aura {
    endpoint: Endpoint,
    rate: SampleRate,
    speaking: VecDeque<SentenceId>,
    /// `Clear`s that are not answered.
    clearing: u32,
    raw: Raw,
    encoding: Encoding,
}

impl Aura {
    fn new(endpoint: Endpoint, rate: SampleRate, encoding: Encoding) -> Self {
        let raw = Raw::new(encoding);
        Self { endpoint, rate, speaking: VecDeque::new(), clearing: 0, raw, encoding }
    }
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum ServerMessage {
    Flushed,
    Cleared,
    Error {},
    #[serde(other)]
    Other,
}

impl Dialect for Aura {
    fn say(&mut self, sentence: SentenceId, text: &str) -> Vec<String> {
        self.speaking.push_back(sentence);
        vec![json!({"type": "Speak", "text": text}).to_string(), r#"{"type":"Flush"}"#.to_owned()]
    }

    fn cancel(&mut self, generation: Generation) -> Cancel {
        if !self.speaking.iter().any(|sentence| sentence.generation <= generation) {
            return Cancel::default();
        }
        // `Clear` knows no sentences: it drops the newer ones as well.
        self.speaking.clear();
        self.clearing += 1;
        self.raw = Raw::new(self.encoding);
        Cancel { messages: vec![r#"{"type":"Clear"}"#.to_owned()], dropped_all: true }
    }

    fn understand(&mut self, incoming: Incoming, out: &mut VecDeque<Meaning>) {
        match incoming {
            Incoming::Binary(bytes) => {
                if self.clearing > 0 {
                    return;
                }
                let samples = self.raw.samples(&bytes);
                if let Some(sentence) = self.speaking.front()
                    && !samples.is_empty()
                {
                    out.push_back(Meaning::Audio(*sentence, Pcm { rate: self.rate, samples }));
                }
            }
            Incoming::Text(text) => match serde_json::from_str(&text) {
                Ok(ServerMessage::Flushed) if self.clearing == 0 => {
                    self.raw = Raw::new(self.encoding);
                    if let Some(sentence) = self.speaking.pop_front() {
                        out.push_back(Meaning::Done(sentence));
                    }
                }
                Ok(ServerMessage::Cleared) => self.clearing = self.clearing.saturating_sub(1),
                Ok(ServerMessage::Error {}) => {
                    // The vendor's own words may quote the text: they are left out.
                    let detail = "the provider reports an error";
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

    fn restart(&mut self) {
        self.speaking.clear();
        self.clearing = 0;
        self.raw = Raw::new(self.encoding);
    }
}

/// Reads any message as a session does. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(incoming: Incoming) -> usize {
    let mut aura = Aura::new(ws::nowhere(), SampleRate::HZ_8000, Encoding::Pcm);
    aura.say(SentenceId { generation: Generation(0), seq: 0 }, "x");
    let mut out = VecDeque::new();
    aura.understand(incoming, &mut out);
    out.len()
}
