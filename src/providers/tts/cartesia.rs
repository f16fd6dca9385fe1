//! Cartesia over WebSocket, with a context a sentence and the timing of its words.
//!
//! A cancel stops only what is not generated yet: audio of a dropped context goes on coming and is told by
//! its name. A context expires a second after its last audio, so each sentence is whole when it is sent
//! and nothing is ever added to one. The server closes idle connections; they are opened again.
//! Source: docs.cartesia.ai, `api-reference/tts/websocket` and the guide to contexts.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::contexts::Contexts;
use super::ws::{self, Cancel, Dialect, Meaning, SentenceId};
use super::{Tts, TtsParams, TtsSession};
use crate::providers::config::{ConfigError, Encoding, ProviderConfig, or_default};
use crate::providers::http::kind_of_status;
use crate::providers::socket::{Endpoint, Incoming, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::types::{Generation, SampleRate, Secret};

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Tts> = Maker {
    capabilities: &["streaming", "speed", "voice", "language"],
    models: &["sonic-3", "sonic-turbo", "sonic-2"],
    build,
};

/// The form of the messages below.
pub(in crate::providers) const VERSION: &str = "2025-04-16";

const RATES: &str = "8000, 16000, 22050, 24000, 44100, 48000";

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Tts>, ConfigError> {
    if config.voice.is_empty() {
        return Err(ConfigError::Voice);
    }
    let encoding = config.encoding()?;
    let rates = if encoding == Encoding::Mulaw { "8000" } else { RATES };
    Ok(Arc::new(CartesiaTts {
        name: name.to_owned(),
        base_url: config.url("wss://api.cartesia.ai")?,
        api_key: key,
        model: or_default(&config.model, "sonic-3"),
        voice: config.voice.clone(),
        sample_rate: config.rate(SampleRate::HZ_8000, rates)?,
        encoding,
    }))
}

/// Settings of one voice.
#[derive(Clone, Debug)]
pub struct CartesiaTts {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `wss://api.cartesia.ai`.
    pub base_url: String,
    /// API key.
    pub api_key: Secret,
    /// Model, for example `sonic-3`.
    pub model: String,
    /// Voice id when the agent names none.
    pub voice: String,
    /// Rate to ask for.
    pub sample_rate: SampleRate,
    /// How samples are written on the wire.
    pub encoding: Encoding,
}

impl Tts for CartesiaTts {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn open(&self, params: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let mut url = format!("{}/tts/websocket", ws_base(&self.base_url));
        push_query(&mut url, "cartesia_version", VERSION);
        let endpoint = Endpoint {
            provider: self.name.clone(),
            stage: Stage::Tts,
            url,
            auth: (!self.api_key.is_empty()).then(|| ("x-api-key", self.api_key.clone())),
        };
        let contexts = Contexts::new(self.sample_rate, self.encoding);
        let sonic = Sonic { endpoint: endpoint.clone(), request: self.request(&params), contexts };
        ws::open(endpoint, sonic)
    }
}

impl CartesiaTts {
    /// What every request of a session holds: within a context it must be the same each time.
    fn request(&self, params: &TtsParams) -> Value {
        let voice = if params.voice.is_empty() { &self.voice } else { &params.voice };
        let encoding = match self.encoding {
            Encoding::Pcm => "pcm_s16le",
            Encoding::Mulaw => "pcm_mulaw",
        };
        let rate = self.sample_rate.hz();
        let mut request = json!({
            "model_id": self.model,
            "voice": {"mode": "id", "id": voice},
            "output_format": {"container": "raw", "encoding": encoding, "sample_rate": rate},
            "add_timestamps": true,
            "continue": false,
        });
        if let Value::Object(fields) = &mut request {
            if let Some(language) = params.language.split('-').next().filter(|l| !l.is_empty()) {
                fields.insert("language".to_owned(), json!(language));
            }
            if params.speed > 0.0 && (params.speed - 1.0).abs() > f32::EPSILON {
                // What the vendor takes.
                let speed = f64::from(params.speed.clamp(0.6, 1.5));
                fields.insert("generation_config".to_owned(), json!({"speed": speed}));
            }
        }
        request
    }
}

struct Sonic {
    endpoint: Endpoint,
    request: Value,
    contexts: Contexts,
}

#[derive(Deserialize)]
struct Words {
    #[serde(default)]
    words: Vec<String>,
    #[serde(default)]
    end: Vec<f64>,
}

#[derive(Deserialize)]
struct ServerMessage {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    context_id: Option<String>,
    data: Option<String>,
    word_timestamps: Option<Words>,
    status_code: Option<u16>,
}

impl Sonic {
    fn on(&mut self, message: ServerMessage) -> Option<Meaning> {
        let id = message.context_id.unwrap_or_default();
        match message.kind.as_str() {
            "chunk" => {
                let encoded = message.data.unwrap_or_default();
                self.contexts.audio(&id, &encoded).unwrap_or_else(|_| {
                    let detail = "audio that is not base64";
                    Some(Meaning::Fatal(self.endpoint.error(FailureKind::Protocol, detail)))
                })
            }
            "timestamps" => {
                let words = message.word_timestamps?;
                let context = self.contexts.get(&id)?;
                let marks = context.aligner.words(&words.words, &words.end);
                (!marks.is_empty()).then_some(Meaning::Marks(context.sentence, marks))
            }
            "done" => self.contexts.remove(&id).map(Meaning::Done),
            "error" => {
                let kind = message.status_code.map_or(FailureKind::Unavailable, kind_of_status);
                // The vendor's own words may quote the text: they are left out.
                let error = self.endpoint.error(kind, "the provider reports an error");
                if id.is_empty() {
                    return Some(Meaning::Fatal(error));
                }
                let sentence = self.contexts.remove(&id)?;
                Some(Meaning::Failed(sentence, error))
            }
            _ => None,
        }
    }
}

impl Dialect for Sonic {
    fn say(&mut self, sentence: SentenceId, text: &str) -> Vec<String> {
        let id = self.contexts.add(sentence, text);
        let mut request = self.request.clone();
        if let Value::Object(fields) = &mut request {
            fields.insert("context_id".to_owned(), json!(id));
            fields.insert("transcript".to_owned(), json!(text));
        }
        vec![request.to_string()]
    }

    fn cancel(&mut self, generation: Generation) -> Cancel {
        let gone = self.contexts.cancel(generation);
        let cancel = |id| json!({"context_id": id, "cancel": true}).to_string();
        Cancel { messages: gone.into_iter().map(cancel).collect(), dropped_all: false }
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
    }
}

/// Reads any message as a session does. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(incoming: Incoming) -> usize {
    let contexts = Contexts::new(SampleRate::HZ_8000, Encoding::Pcm);
    let mut sonic = Sonic { endpoint: ws::nowhere(), request: json!({}), contexts };
    sonic.say(SentenceId { generation: Generation(0), seq: 0 }, "x, y 2");
    let mut out = VecDeque::new();
    sonic.understand(incoming, &mut out);
    out.len()
}
