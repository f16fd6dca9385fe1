//! ElevenLabs streaming input over WebSocket, with a context a sentence (`multi-stream-input`), so that
//! a sentence can be dropped without losing the connection. It says when each character sounds
//! (`sync_alignment`), counted from the beginning of each piece of audio.
//!
//! Source: ElevenLabs API reference, `text-to-speech/v-1-text-to-speech-voice-id-multi-stream-input`.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::contexts::Contexts;
use super::ws::{self, Cancel, Dialect, Meaning, SentenceId};
use super::{Tts, TtsParams, TtsSession};
use crate::providers::config::{ConfigError, Encoding, ProviderConfig, or_default};
use crate::providers::socket::{Endpoint, Incoming, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::types::{Generation, SampleRate, Secret};

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Tts> = Maker {
    capabilities: &["streaming", "speed", "voice", "language"],
    models: &["eleven_flash_v2_5", "eleven_turbo_v2_5", "eleven_multilingual_v2"],
    build,
};

const RATES: &str = "8000, 16000, 22050, 24000, 44100";

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Tts>, ConfigError> {
    if config.voice.is_empty() {
        return Err(ConfigError::Voice);
    }
    let encoding = config.encoding()?;
    let rates = if encoding == Encoding::Mulaw { "8000" } else { RATES };
    Ok(Arc::new(ElevenLabsTts {
        name: name.to_owned(),
        base_url: config.url("wss://api.elevenlabs.io")?,
        api_key: key,
        model: or_default(&config.model, "eleven_flash_v2_5"),
        voice: config.voice.clone(),
        sample_rate: config.rate(SampleRate::HZ_8000, rates)?,
        encoding,
    }))
}

/// Settings of one ElevenLabs voice.
#[derive(Clone, Debug)]
pub struct ElevenLabsTts {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `wss://api.elevenlabs.io`.
    pub base_url: String,
    /// API key.
    pub api_key: Secret,
    /// Model, for example `eleven_flash_v2_5`.
    pub model: String,
    /// Voice id when the agent names none.
    pub voice: String,
    /// Rate to ask for: 8, 16, 22.05, 24 or 44.1 kHz.
    pub sample_rate: SampleRate,
    /// How samples are written on the wire.
    pub encoding: Encoding,
}

impl Tts for ElevenLabsTts {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn open(&self, params: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let voice = if params.voice.is_empty() { &self.voice } else { &params.voice };
        let safe = voice.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
        let base = ws_base(&self.base_url);
        let mut url = format!("{base}/v1/text-to-speech/{voice}/multi-stream-input");
        push_query(&mut url, "model_id", &self.model);
        let format = match self.encoding {
            Encoding::Pcm => format!("pcm_{}", self.sample_rate.hz()),
            Encoding::Mulaw => "ulaw_8000".to_owned(),
        };
        push_query(&mut url, "output_format", &format);
        push_query(&mut url, "sync_alignment", "true");
        push_query(&mut url, "inactivity_timeout", "180");
        push_query(&mut url, "auto_mode", "true");
        if !params.language.is_empty() {
            let language = params.language.split('-').next().unwrap_or_default();
            push_query(&mut url, "language_code", language);
        }
        let endpoint = Endpoint {
            provider: self.name.clone(),
            stage: Stage::Tts,
            url,
            auth: (!self.api_key.is_empty()).then(|| ("xi-api-key", self.api_key.clone())),
        };
        if voice.is_empty() || !safe {
            let error = endpoint.error(
                FailureKind::BadRequest,
                "the voice is an id of letters, digits, `-` and `_`",
            );
            return Box::pin(async move { Err(error) });
        }
        let speed = (params.speed > 0.0).then_some(params.speed);
        let contexts = Contexts::new(self.sample_rate, self.encoding);
        let dialect = Multi { endpoint: endpoint.clone(), speed, contexts };
        ws::open(endpoint, dialect)
    }
}

struct Multi {
    endpoint: Endpoint,
    speed: Option<f32>,
    contexts: Contexts,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alignment {
    #[serde(default)]
    chars: Vec<String>,
    #[serde(default)]
    char_start_times_ms: Vec<f64>,
    #[serde(default, alias = "charsDurationsMs")]
    char_durations_ms: Vec<f64>,
}

#[derive(Deserialize)]
struct ServerMessage {
    audio: Option<String>,
    alignment: Option<Alignment>,
    #[serde(rename = "isFinal")]
    is_final: Option<bool>,
    #[serde(rename = "contextId")]
    context: Option<String>,
    #[serde(rename = "context_id")]
    context_old: Option<String>,
    error: Option<Value>,
    code: Option<Value>,
}

/// What kind of failure the vendor's words mean.
fn kind_of(message: &ServerMessage) -> FailureKind {
    let words = [&message.error, &message.code].map(|word| word.as_ref().and_then(Value::as_str));
    let says = |needle: &str| words.iter().flatten().any(|word| word.contains(needle));
    if says("quota") || says("limit") || says("too_many") {
        FailureKind::RateLimited
    } else if says("auth") || says("api_key") {
        FailureKind::Auth
    } else if says("invalid") || says("not_found") {
        FailureKind::BadRequest
    } else {
        FailureKind::Unavailable
    }
}

impl Multi {
    fn on(&mut self, message: ServerMessage, out: &mut VecDeque<Meaning>) {
        // Audio of a context that was dropped is nobody's.
        let Some(id) = message.context.or(message.context_old) else { return };
        let base_ms = self.contexts.given_ms(&id);
        if let Some(encoded) = message.audio.filter(|encoded| !encoded.is_empty()) {
            match self.contexts.audio(&id, &encoded) {
                Ok(meaning) => out.extend(meaning),
                Err(_) => {
                    let detail = "audio that is not base64";
                    let error = self.endpoint.error(FailureKind::Protocol, detail);
                    out.push_back(Meaning::Fatal(error));
                }
            }
        }
        if let Some(alignment) = message.alignment
            && let Some(context) = self.contexts.get(&id)
        {
            let Alignment { chars, char_start_times_ms, char_durations_ms } = alignment;
            let starts = &char_start_times_ms;
            let marks = context.aligner.chars(base_ms, &chars, starts, &char_durations_ms);
            if !marks.is_empty() {
                out.push_back(Meaning::Marks(context.sentence, marks));
            }
        }
        if message.is_final == Some(true) {
            out.extend(self.contexts.remove(&id).map(Meaning::Done));
        }
    }
}

impl Dialect for Multi {
    fn say(&mut self, sentence: SentenceId, text: &str) -> Vec<String> {
        let id = self.contexts.add(sentence, text);
        let mut first = json!({"text": " ", "context_id": id});
        if let (Some(speed), Some(map)) = (self.speed, first.as_object_mut()) {
            map.insert("voice_settings".to_owned(), json!({"speed": speed}));
        }
        // The vendor wants text to end with a space.
        let words = format!("{} ", text.trim_end());
        vec![
            first.to_string(),
            json!({"text": words, "context_id": id, "flush": true}).to_string(),
            json!({"context_id": id, "close_context": true}).to_string(),
        ]
    }

    fn cancel(&mut self, generation: Generation) -> Cancel {
        let gone = self.contexts.cancel(generation);
        let close = |id| json!({"context_id": id, "close_context": true}).to_string();
        let messages = gone.into_iter().map(close).collect();
        Cancel { messages, dropped_all: false }
    }

    fn understand(&mut self, incoming: Incoming, out: &mut VecDeque<Meaning>) {
        let Incoming::Text(text) = incoming else { return };
        let message: ServerMessage = match serde_json::from_str(&text) {
            Ok(message) => message,
            Err(_) => {
                let detail = "a message that is not the protocol's JSON";
                out.push_back(Meaning::Fatal(self.endpoint.error(FailureKind::Protocol, detail)));
                return;
            }
        };
        if message.error.is_some() {
            // The vendor's own words may quote the text: they are left out.
            let detail = "the provider reports an error";
            let kind = kind_of(&message);
            out.push_back(Meaning::Fatal(self.endpoint.error(kind, detail)));
            return;
        }
        self.on(message, out);
    }

    fn restart(&mut self) {
        self.contexts.clear();
    }
}

/// Reads any message as a session does. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(incoming: Incoming) -> usize {
    let contexts = Contexts::new(SampleRate::HZ_8000, Encoding::Pcm);
    let mut multi = Multi { endpoint: ws::nowhere(), speed: None, contexts };
    multi.say(SentenceId { generation: Generation(0), seq: 0 }, "x, y 2");
    let mut out = VecDeque::new();
    multi.understand(incoming, &mut out);
    out.len()
}
