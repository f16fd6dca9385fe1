//! ElevenLabs streaming input over WebSocket, with a context a sentence (`multi-stream-input`), so that
//! a sentence can be dropped without losing the connection.
//!
//! Source: ElevenLabs API reference, `text-to-speech/v-1-text-to-speech-voice-id-multi-stream-input`.

use std::collections::VecDeque;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ws::{self, Cancel, Dialect, Meaning, SentenceId};
use super::{Tts, TtsParams, TtsSession};
use crate::providers::config::{ConfigError, ProviderConfig, or_default};
use crate::providers::socket::{Endpoint, Incoming, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::types::{Generation, Pcm, SampleRate, Secret};

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
    Ok(Arc::new(ElevenLabsTts {
        name: name.to_owned(),
        base_url: config.url("wss://api.elevenlabs.io")?,
        api_key: key,
        model: or_default(&config.model, "eleven_flash_v2_5"),
        voice: config.voice.clone(),
        sample_rate: config.rate(SampleRate::HZ_8000, RATES)?,
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
        push_query(&mut url, "output_format", &format!("pcm_{}", self.sample_rate.hz()));
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
        let dialect = Contexts {
            endpoint: endpoint.clone(),
            rate: self.sample_rate,
            speed,
            speaking: VecDeque::new(),
        };
        ws::open(endpoint, dialect)
    }
}

struct Context {
    sentence: SentenceId,
    odd: Option<u8>,
}

struct Contexts {
    endpoint: Endpoint,
    rate: SampleRate,
    speed: Option<f32>,
    speaking: VecDeque<Context>,
}

fn context_id(sentence: SentenceId) -> String {
    format!("g{}s{}", sentence.generation.0, sentence.seq)
}

#[derive(Deserialize)]
struct ServerMessage {
    audio: Option<String>,
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

impl Contexts {
    fn audio(&mut self, at: usize, encoded: &str) -> Result<Option<Meaning>, ProviderError> {
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_| self.endpoint.error(FailureKind::Protocol, "audio that is not base64"))?;
        let rate = self.rate;
        let Some(context) = self.speaking.get_mut(at) else { return Ok(None) };
        let samples = ws::samples(&mut context.odd, &bytes);
        Ok((!samples.is_empty()).then_some(Meaning::Audio(context.sentence, Pcm { rate, samples })))
    }
}

impl Dialect for Contexts {
    fn say(&mut self, sentence: SentenceId, text: &str) -> Vec<String> {
        self.speaking.push_back(Context { sentence, odd: None });
        let id = context_id(sentence);
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
        let messages = self
            .speaking
            .iter()
            .filter(|context| context.sentence.generation <= generation)
            .map(|context| {
                json!({"context_id": context_id(context.sentence), "close_context": true})
                    .to_string()
            })
            .collect();
        self.speaking.retain(|context| context.sentence.generation > generation);
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
        // Audio of a context that was dropped is nobody's.
        let Some(id) = message.context.or(message.context_old) else { return };
        let Some(at) = self.speaking.iter().position(|c| context_id(c.sentence) == id) else {
            return;
        };
        if let Some(encoded) = message.audio.filter(|encoded| !encoded.is_empty()) {
            match self.audio(at, &encoded) {
                Ok(meaning) => out.extend(meaning),
                Err(error) => out.push_back(Meaning::Fatal(error)),
            }
        }
        if message.is_final == Some(true)
            && let Some(context) = self.speaking.remove(at)
        {
            out.push_back(Meaning::Done(context.sentence));
        }
    }

    fn restart(&mut self) {
        self.speaking.clear();
    }
}

/// Reads any message as a session does. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(incoming: Incoming) -> usize {
    let endpoint =
        Endpoint { provider: "fuzz".to_owned(), stage: Stage::Tts, url: String::new(), auth: None };
    let rate = SampleRate::HZ_8000;
    let mut contexts = Contexts { endpoint, rate, speed: None, speaking: VecDeque::new() };
    contexts.say(SentenceId { generation: Generation(0), seq: 0 }, "x");
    let mut out = VecDeque::new();
    contexts.understand(incoming, &mut out);
    out.len()
}
