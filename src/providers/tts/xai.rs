//! xAI speech over WebSocket: one utterance after the other.
//!
//! Audio carries no name of its sentence: it belongs to the one that was sent last, so a sentence is sent
//! when the one before it is done. After `text.clear` everything is dropped until `audio.clear`, or until
//! the end of what was already spoken. Timing of words is not asked for: its form is not documented.
//! Source: docs.x.ai, `developers/model-capabilities/audio/text-to-speech`.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use super::contexts::Contexts;
use super::ws::{self, Cancel, Dialect, Meaning, SentenceId};
use super::{Tts, TtsParams, TtsSession};
use crate::providers::config::{ConfigError, Encoding, ProviderConfig, or_default};
use crate::providers::socket::{Endpoint, Incoming, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::types::{Generation, SampleRate, Secret};

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Tts> =
    Maker { capabilities: &["streaming", "speed", "voice", "language"], models: &[], build };

const RATES: &str = "8000, 16000, 22050, 24000, 44100, 48000";

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Tts>, ConfigError> {
    let encoding = config.encoding()?;
    let rates = if encoding == Encoding::Mulaw { "8000" } else { RATES };
    Ok(Arc::new(XaiTts {
        name: name.to_owned(),
        base_url: config.url("wss://api.x.ai")?,
        api_key: key,
        voice: or_default(&config.voice, "eve"),
        sample_rate: config.rate(SampleRate::HZ_8000, rates)?,
        encoding,
    }))
}

/// Settings of one voice.
#[derive(Clone, Debug)]
pub struct XaiTts {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `wss://api.x.ai`.
    pub base_url: String,
    /// API key.
    pub api_key: Secret,
    /// Voice when the agent names none, for example `eve`.
    pub voice: String,
    /// Rate to ask for.
    pub sample_rate: SampleRate,
    /// How samples are written on the wire.
    pub encoding: Encoding,
}

impl Tts for XaiTts {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.voice)
    }

    fn open(&self, params: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let voice = if params.voice.is_empty() { &self.voice } else { &params.voice };
        let language = if params.language.is_empty() { "auto" } else { &params.language };
        let codec = if self.encoding == Encoding::Mulaw { "mulaw" } else { "pcm" };
        let mut url = format!("{}/v1/tts", ws_base(&self.base_url));
        push_query(&mut url, "voice", voice);
        push_query(&mut url, "language", language);
        push_query(&mut url, "codec", codec);
        push_query(&mut url, "sample_rate", &self.sample_rate.hz().to_string());
        if params.speed > 0.0 && (params.speed - 1.0).abs() > f32::EPSILON {
            // What the vendor takes.
            push_query(&mut url, "speed", &format!("{:.2}", params.speed.clamp(0.7, 1.5)));
        }
        let key = format!("Bearer {}", self.api_key.expose());
        let endpoint = Endpoint {
            provider: self.name.clone(),
            stage: Stage::Tts,
            url,
            auth: (!self.api_key.is_empty()).then(|| ("authorization", Secret::new(key))),
        };
        let contexts = Contexts::new(self.sample_rate, self.encoding);
        ws::open(endpoint.clone(), Grok::new(endpoint, contexts))
    }
}

struct Grok {
    endpoint: Endpoint,
    contexts: Contexts,
    /// The name of what the server speaks.
    speaking: Option<String>,
    /// What waits for its turn.
    waiting: VecDeque<(String, String)>,
    /// A `text.clear` is not answered.
    clearing: bool,
}

#[derive(Deserialize)]
struct ServerMessage {
    #[serde(rename = "type")]
    kind: String,
    delta: Option<String>,
}

impl Grok {
    fn new(endpoint: Endpoint, contexts: Contexts) -> Self {
        let waiting = VecDeque::new();
        Self { endpoint, contexts, speaking: None, waiting, clearing: false }
    }

    fn on(&mut self, message: ServerMessage) -> Option<Meaning> {
        match message.kind.as_str() {
            "audio.delta" if !self.clearing => {
                let encoded = message.delta.unwrap_or_default();
                let id = self.speaking.clone()?;
                self.contexts.audio(&id, &encoded).unwrap_or_else(|_| {
                    let detail = "audio that is not base64";
                    Some(Meaning::Fatal(self.endpoint.error(FailureKind::Protocol, detail)))
                })
            }
            "audio.clear" | "audio.done" if self.clearing => {
                self.clearing = false;
                None
            }
            "audio.done" => {
                let id = self.speaking.take()?;
                self.contexts.remove(&id).map(Meaning::Done)
            }
            "error" => {
                // The vendor's own words may quote the text: they are left out.
                let detail = "the provider reports an error";
                Some(Meaning::Fatal(self.endpoint.error(FailureKind::Unavailable, detail)))
            }
            _ => None,
        }
    }
}

impl Dialect for Grok {
    fn say(&mut self, sentence: SentenceId, text: &str) -> Vec<String> {
        let id = self.contexts.add(sentence, text);
        self.waiting.push_back((id, text.to_owned()));
        self.more()
    }

    fn more(&mut self) -> Vec<String> {
        if self.speaking.is_some() || self.clearing {
            return Vec::new();
        }
        let Some((id, text)) = self.waiting.pop_front() else { return Vec::new() };
        self.speaking = Some(id);
        vec![
            json!({"type": "text.delta", "delta": text}).to_string(),
            r#"{"type":"text.done"}"#.to_owned(),
        ]
    }

    fn cancel(&mut self, generation: Generation) -> Cancel {
        let gone = self.contexts.cancel(generation);
        self.waiting.retain(|(id, _)| !gone.contains(id));
        let Some(id) = self.speaking.take_if(|id| gone.contains(id)) else {
            return Cancel::default();
        };
        drop(id);
        self.clearing = true;
        Cancel { messages: vec![r#"{"type":"text.clear"}"#.to_owned()], dropped_all: false }
    }

    fn understand(&mut self, incoming: Incoming, out: &mut VecDeque<Meaning>) {
        let Incoming::Text(text) = incoming else { return };
        match serde_json::from_str(&text) {
            Ok(message) => out.extend(self.on(message)),
            Err(_) => {
                let detail = "a message that is not the protocol's JSON";
                out.push_back(Meaning::Fatal(self.endpoint.error(FailureKind::Protocol, detail)));
            }
        }
    }

    fn restart(&mut self) {
        self.contexts.clear();
        self.waiting.clear();
        self.speaking = None;
        self.clearing = false;
    }
}

/// Reads any message as a session does. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(incoming: Incoming) -> usize {
    let contexts = Contexts::new(SampleRate::HZ_8000, Encoding::Pcm);
    let mut grok = Grok::new(ws::nowhere(), contexts);
    grok.say(SentenceId { generation: Generation(0), seq: 0 }, "x, y 2");
    let mut out = VecDeque::new();
    grok.understand(incoming, &mut out);
    out.len()
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{Contexts, Dialect, Encoding, Generation, Grok, Incoming, Meaning, SampleRate};
    use super::{SentenceId, ws};

    fn hear(grok: &mut Grok, text: &str) -> VecDeque<Meaning> {
        let mut out = VecDeque::new();
        grok.understand(Incoming::Text(text.to_owned()), &mut out);
        out
    }

    #[test]
    fn what_was_cleared_is_over_by_its_answer_or_by_its_end() {
        let contexts = Contexts::new(SampleRate::HZ_8000, Encoding::Pcm);
        let mut grok = Grok::new(ws::nowhere(), contexts);
        let audio = r#"{"type":"audio.delta","delta":"AAAA"}"#;
        for (generation, end) in [(1, "audio.clear"), (3, "audio.done")] {
            let sentence = |generation| SentenceId { generation: Generation(generation), seq: 0 };
            assert_eq!(grok.say(sentence(generation), "old").len(), 2);
            assert_eq!(grok.cancel(Generation(generation)).messages.len(), 1);
            let new = sentence(generation + 1);
            assert_eq!(grok.say(new, "new").len(), 0);
            assert!(hear(&mut grok, audio).is_empty());
            assert!(hear(&mut grok, &format!(r#"{{"type":"{end}"}}"#)).is_empty());
            assert_eq!(grok.more().len(), 2);
            let told = hear(&mut grok, audio);
            assert!(matches!(told.front(), Some(Meaning::Audio(of, _)) if *of == new));
            let told = hear(&mut grok, r#"{"type":"audio.done"}"#);
            assert!(matches!(told.front(), Some(Meaning::Done(of)) if *of == new));
        }
    }
}
