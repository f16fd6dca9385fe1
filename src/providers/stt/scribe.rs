//! ElevenLabs Scribe realtime: streaming recognition whose text is settled by a commit.
//!
//! Audio is base64 in JSON. A commit is answered by one `committed_transcript`; the server commits by
//! itself only after half a minute of audio.
//! Source: ElevenLabs API reference, `speech-to-text/realtime`, events and error types.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::ws::{
    Answers, Defaults, Dialect, Encoding, Habits, KeepAlive, Meaning, Outgoing, Reach, Recogniser,
    Settings, Words, language,
};
use super::{Stt, SttParams};
use crate::providers::FailureKind;
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::socket::{Endpoint, Incoming, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::types::{SampleRate, Secret};

/// The server answers each commit, but the last words are recognised only then.
const FINALIZE_GRACE: Duration = Duration::from_millis(1_500);

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Stt> =
    Maker { capabilities: &["streaming", "language"], models: &["scribe_v2_realtime"], build };

const DEFAULTS: Defaults = Defaults {
    base_url: "wss://api.elevenlabs.io",
    model: "scribe_v2_realtime",
    rate: SampleRate::HZ_16000,
    rates: "8000, 16000, 22050, 24000, 44100, 48000",
    mulaw: true,
};

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Stt>, ConfigError> {
    recogniser(name, config, key).map(Recogniser::shared)
}

pub(super) fn recogniser(
    name: &str,
    config: &ProviderConfig,
    key: Secret,
) -> Result<Recogniser, ConfigError> {
    let habits = Habits {
        chunk_ms: 100,
        // An idle connection is closed after some 15 s.
        keep_alive: (KeepAlive::Silence(20), Duration::from_secs(5)),
        grace: FINALIZE_GRACE,
        replay_seconds: 30,
        ..Habits::default()
    };
    let settings = Settings::new(name, config, key, &DEFAULTS)?;
    Ok(Recogniser { settings, habits, ends_turns: false, dial })
}

fn dial(settings: &Settings, params: &SttParams) -> (Endpoint, Box<dyn Dialect>) {
    let mut url = format!("{}/v1/speech-to-text/realtime", ws_base(&settings.base_url));
    let format = match settings.encoding {
        Encoding::MuLaw => "ulaw_8000".to_owned(),
        Encoding::Pcm | Encoding::Float => format!("pcm_{}", settings.rate.hz()),
    };
    push_query(&mut url, "model_id", &settings.model);
    push_query(&mut url, "audio_format", &format);
    push_query(&mut url, "commit_strategy", "manual");
    if let Some(language) = language(params) {
        push_query(&mut url, "language_code", language);
    }
    let auth = Some(("xi-api-key", settings.key.clone()));
    (settings.endpoint(url, auth), Box::new(Scribe { rate: settings.rate }))
}

struct Scribe {
    rate: SampleRate,
}

impl Scribe {
    fn chunk(&self, audio: &[u8], commit: bool) -> Outgoing {
        let message = json!({
            "message_type": "input_audio_chunk",
            "audio_base_64": STANDARD.encode(audio),
            "commit": commit,
            "sample_rate": self.rate.hz(),
        });
        Outgoing::Text(message.to_string())
    }
}

#[derive(Deserialize)]
struct Wire {
    message_type: String,
    #[serde(default)]
    text: String,
}

impl Dialect for Scribe {
    fn audio(&mut self, octets: Bytes, _samples: usize) -> Outgoing {
        self.chunk(&octets, false)
    }

    fn finalize(&mut self) -> Vec<Outgoing> {
        vec![self.chunk(&[], true)]
    }

    fn understand(&mut self, incoming: Incoming, out: &mut Vec<Meaning>) {
        let Incoming::Text(text) = incoming else { return };
        let Ok(wire) = serde_json::from_str::<Wire>(&text) else {
            out.push(Meaning::NOT_THE_PROTOCOL);
            return;
        };
        let answer = |text: String| {
            let (reach, answers) = (Reach::Finalize, Answers::Yes);
            Meaning::Final(Words { text, confidence: None, reach, answers })
        };
        match wire.message_type.as_str() {
            "partial_transcript" => out.push(Meaning::Interim(wire.text.trim().to_owned())),
            "committed_transcript" => out.push(answer(wire.text.trim().to_owned())),
            // There was too little to commit: there are no words.
            "commit_throttled" => out.push(answer(String::new())),
            kind => out.extend(kind_of(kind).map(Meaning::error)),
        }
    }
}

/// What kind of failure a message of the vendor's is, if it is one.
fn kind_of(kind: &str) -> Option<FailureKind> {
    Some(match kind {
        "auth_error" | "unaccepted_terms" | "unaccepted_terms_error" => FailureKind::Auth,
        "quota_exceeded" | "quota_exceeded_error" | "rate_limited" | "resource_exhausted" => {
            FailureKind::RateLimited
        }
        "input_error" | "invalid_request" | "chunk_size_exceeded" => FailureKind::BadRequest,
        // The session is as long as it may be, or idle: another one goes on.
        "session_time_limit_exceeded" | "insufficient_audio_activity" => FailureKind::Cut,
        "transcriber_error" | "queue_overflow" | "error" => FailureKind::Unavailable,
        _ => return None,
    })
}

/// A dialect for the parser's tests.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn dialect() -> Box<dyn Dialect> {
    Box::new(Scribe { rate: SampleRate::HZ_16000 })
}
