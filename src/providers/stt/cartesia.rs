//! Cartesia Ink: streaming recognition that gives its words when `finalize` asks for them.
//!
//! Commands are bare words, not JSON. Text comes in pieces that are joined as they stand; `flush_done` ends
//! the answer to a `finalize`.
//! Source: docs.cartesia.ai, `api-reference/stt/websocket`, `stt-manual-finalize-websocket`.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::ws::{
    Answers, Defaults, Dialect, Habits, KeepAlive, Meaning, Outgoing, Reach, Recogniser, Settings,
    TEXT_BYTES_MAX, Words, append, language,
};
use super::{Stt, SttParams};
use crate::providers::FailureKind;
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::http::kind_of_status;
use crate::providers::socket::{Endpoint, Incoming, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::types::{SampleRate, Secret};

/// Version of the API that this is written for.
const API_VERSION: &str = "2026-03-01";

/// The server answers each request, but transcription begins with it.
const FINALIZE_GRACE: Duration = Duration::from_millis(1_500);

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Stt> =
    Maker { capabilities: &["streaming", "language"], models: &["ink-whisper", "ink-2"], build };

const DEFAULTS: Defaults = Defaults {
    base_url: "wss://api.cartesia.ai",
    model: "ink-whisper",
    rate: SampleRate::HZ_8000,
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
        // An idle connection is closed after 20 s.
        keep_alive: (KeepAlive::Silence(100), Duration::from_secs(8)),
        grace: FINALIZE_GRACE,
        replay_seconds: 30,
        ..Habits::default()
    };
    let settings = Settings::new(name, config, key, &DEFAULTS)?;
    Ok(Recogniser { settings, habits, ends_turns: false, dial })
}

fn dial(settings: &Settings, params: &SttParams) -> (Endpoint, Box<dyn Dialect>) {
    let mut url = format!("{}/stt/websocket", ws_base(&settings.base_url));
    push_query(&mut url, "model", &settings.model);
    push_query(&mut url, "language", language(params).unwrap_or("en"));
    push_query(&mut url, "encoding", settings.encoding.word("pcm_s16le", "pcm_mulaw"));
    push_query(&mut url, "sample_rate", &settings.rate.hz().to_string());
    push_query(&mut url, "cartesia_version", API_VERSION);
    let auth = Some(("x-api-key", settings.key.clone()));
    (settings.endpoint(url, auth), Box::new(Ink::default()))
}

#[derive(Default)]
struct Ink {
    /// Final pieces since the last answer.
    text: String,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    is_final: bool,
    #[serde(alias = "code")]
    status_code: Option<u16>,
}

impl Dialect for Ink {
    fn hello(&mut self) -> Vec<Outgoing> {
        self.text.clear();
        Vec::new()
    }

    fn finalize(&mut self) -> Vec<Outgoing> {
        Outgoing::text("finalize")
    }

    fn goodbye(&self) -> Option<String> {
        Some("close".to_owned())
    }

    fn understand(&mut self, incoming: Incoming, out: &mut Vec<Meaning>) {
        let Incoming::Text(text) = incoming else { return };
        let Ok(wire) = serde_json::from_str::<Wire>(&text) else {
            out.push(Meaning::NOT_THE_PROTOCOL);
            return;
        };
        match wire.kind.as_str() {
            "transcript" => {
                let mut text = self.text.clone();
                append(&mut text, &wire.text);
                out.push(Meaning::Interim(text.trim().to_owned()));
                if wire.is_final {
                    self.text = text;
                }
                // A caller whom VAD does not hear is not forgotten.
                if self.text.len() > TEXT_BYTES_MAX / 2 {
                    out.push(self.words(Reach::Unknown, Answers::No));
                }
            }
            "flush_done" => out.push(self.words(Reach::Finalize, Answers::Yes)),
            "error" => {
                let kind = wire.status_code.map_or(FailureKind::Unavailable, kind_of_status);
                out.push(Meaning::error(kind));
            }
            _ => {}
        }
    }
}

impl Ink {
    fn words(&mut self, reach: Reach, answers: Answers) -> Meaning {
        let text = std::mem::take(&mut self.text).trim().to_owned();
        Meaning::Final(Words { text, confidence: None, reach, answers })
    }
}

/// A dialect for the parser's tests.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn dialect() -> Box<dyn Dialect> {
    Box::new(Ink::default())
}
