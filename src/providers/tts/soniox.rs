//! Soniox speech over WebSocket, with a stream a sentence; up to five share a connection.
//!
//! The key goes with each stream's first message and not with the handshake. A stream is over when it is
//! `terminated`, which also follows a cancel and an error. An idle connection is kept open by a word
//! every 20 s. Timing of words is not asked for: its form is not documented.
//! Source: soniox.com, `docs/api-reference/tts/websocket-api`, `docs/tts/rt/termination` and
//! `connection-keepalive`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::json;

use super::contexts::Contexts;
use super::ws::{self, Cancel, Dialect, Meaning, SentenceId};
use super::{Tts, TtsParams, TtsSession};
use crate::providers::config::{ConfigError, Encoding, ProviderConfig, or_default};
use crate::providers::http::kind_of_status;
use crate::providers::socket::{Endpoint, Incoming, ws_base};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::types::{Generation, SampleRate, Secret};

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Tts> = Maker {
    capabilities: &["streaming", "voice", "language"],
    models: &["tts-rt-v1", "tts-rt-v2"],
    build,
};

/// The vendor asks for a word every 20 to 30 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

const RATES: &str = "8000, 16000, 24000, 44100, 48000";

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Tts>, ConfigError> {
    config.pcm_only()?;
    Ok(Arc::new(SonioxTts {
        name: name.to_owned(),
        base_url: config.url("wss://tts-rt.soniox.com")?,
        api_key: key,
        model: or_default(&config.model, "tts-rt-v1"),
        voice: or_default(&config.voice, "Adrian"),
        sample_rate: config.rate(SampleRate::HZ_8000, RATES)?,
        keep_alive: KEEP_ALIVE,
    }))
}

/// Settings of one voice.
#[derive(Clone, Debug)]
pub struct SonioxTts {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `wss://tts-rt.soniox.com`.
    pub base_url: String,
    /// API key.
    pub api_key: Secret,
    /// Model, for example `tts-rt-v1`.
    pub model: String,
    /// Voice when the agent names none, for example `Adrian`.
    pub voice: String,
    /// Rate to ask for.
    pub sample_rate: SampleRate,
    /// After how long a silence of ours the server is told that we are there.
    pub keep_alive: Duration,
}

impl Tts for SonioxTts {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn open(&self, params: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let endpoint = Endpoint {
            provider: self.name.clone(),
            stage: Stage::Tts,
            url: format!("{}/tts-websocket", ws_base(&self.base_url)),
            auth: None,
        };
        let contexts = Contexts::new(self.sample_rate, Encoding::Pcm);
        let voice = self.clone();
        ws::open(endpoint.clone(), Streams { endpoint, voice, params, contexts })
    }
}

struct Streams {
    endpoint: Endpoint,
    voice: SonioxTts,
    params: TtsParams,
    contexts: Contexts,
}

#[derive(Deserialize)]
struct ServerMessage {
    stream_id: Option<String>,
    audio: Option<String>,
    #[serde(default)]
    terminated: bool,
    error_code: Option<u16>,
    error_message: Option<serde::de::IgnoredAny>,
}

impl Streams {
    fn on(&mut self, message: ServerMessage) -> Option<Meaning> {
        let id = message.stream_id.unwrap_or_default();
        if message.error_code.is_some() || message.error_message.is_some() {
            let kind = message.error_code.map_or(FailureKind::Unavailable, kind_of_status);
            // The vendor's own words may quote the text: they are left out.
            let error = self.endpoint.error(kind, "the provider reports an error");
            if id.is_empty() || kind == FailureKind::Auth {
                return Some(Meaning::Fatal(error));
            }
            let sentence = self.contexts.remove(&id)?;
            return Some(Meaning::Failed(sentence, error));
        }
        if message.terminated {
            return self.contexts.remove(&id).map(Meaning::Done);
        }
        let encoded = message.audio?;
        self.contexts.audio(&id, &encoded).unwrap_or_else(|_| {
            let detail = "audio that is not base64";
            Some(Meaning::Fatal(self.endpoint.error(FailureKind::Protocol, detail)))
        })
    }
}

impl Dialect for Streams {
    fn say(&mut self, sentence: SentenceId, text: &str) -> Vec<String> {
        let id = self.contexts.add(sentence, text);
        let Self { voice, params, .. } = self;
        let name = if params.voice.is_empty() { &voice.voice } else { &params.voice };
        let language = params.language.split('-').next().filter(|language| !language.is_empty());
        vec![
            json!({
                "api_key": voice.api_key.expose(),
                "model": voice.model,
                "language": language.unwrap_or("en"),
                "voice": name,
                "audio_format": "pcm_s16le",
                "sample_rate": voice.sample_rate.hz(),
                "stream_id": id,
            })
            .to_string(),
            json!({"text": text, "text_end": true, "stream_id": id}).to_string(),
        ]
    }

    fn cancel(&mut self, generation: Generation) -> Cancel {
        let gone = self.contexts.cancel(generation);
        let cancel = |id| json!({"stream_id": id, "cancel": true}).to_string();
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

    fn keep_alive(&self) -> Option<(Duration, &'static str)> {
        Some((self.voice.keep_alive, r#"{"keep_alive":true}"#))
    }
}

/// Reads any message as a session does. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(incoming: Incoming) -> usize {
    let (name, url) = ("fuzz".to_owned(), String::new());
    let voice = SonioxTts {
        name,
        base_url: url.clone(),
        api_key: Secret::default(),
        model: url.clone(),
        voice: url,
        sample_rate: SampleRate::HZ_8000,
        keep_alive: KEEP_ALIVE,
    };
    let contexts = Contexts::new(SampleRate::HZ_8000, Encoding::Pcm);
    let params = TtsParams::default();
    let mut streams = Streams { endpoint: ws::nowhere(), voice, params, contexts };
    streams.say(SentenceId { generation: Generation(0), seq: 0 }, "x, y 2");
    let mut out = VecDeque::new();
    streams.understand(incoming, &mut out);
    out.len()
}
