//! vosk-server: streaming recognition on a machine of one's own, at the line's 8 kHz and without a GPU.
//!
//! Strictly one answer for one message, so that the next message waits for it. `{"reset" : 1}` asks for the
//! final transcript and `{"eof" : 1}` ends the session; the server compares both as text, spaces included.
//! Key terms are not sent: a phrase list would be all that is recognised.
//! Source: alphacep/vosk-server, `websocket/asr_server.py`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::ws::{
    Answers, Defaults, Dialect, Habits, Meaning, Outgoing, Reach, Recogniser, Settings, Words, mean,
};
use super::{Stt, SttParams};
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::socket::{Endpoint, Incoming, ws_base};
use crate::providers::vendors::Maker;
use crate::types::{SampleRate, Secret};

/// The server answers each request, but on a busy machine not at once.
const FINALIZE_GRACE: Duration = Duration::from_secs(3);

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Stt> =
    Maker { capabilities: &["streaming"], models: &[], build };

const DEFAULTS: Defaults = Defaults {
    base_url: "ws://127.0.0.1:2700",
    model: "",
    rate: SampleRate::HZ_8000,
    rates: "8000, 16000",
    mulaw: false,
};

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Stt>, ConfigError> {
    recogniser(name, config, key).map(Recogniser::shared)
}

pub(super) fn recogniser(
    name: &str,
    config: &ProviderConfig,
    key: Secret,
) -> Result<Recogniser, ConfigError> {
    let habits = Habits { chunk_ms: 100, grace: FINALIZE_GRACE, ..Habits::default() };
    let settings = Settings::new(name, config, key, &DEFAULTS)?;
    Ok(Recogniser { settings, habits, ends_turns: false, dial })
}

fn dial(settings: &Settings, _: &SttParams) -> (Endpoint, Box<dyn Dialect>) {
    let config = json!({"config": {"sample_rate": settings.rate.hz(), "words": true}}).to_string();
    // The server itself knows no key; one in front of it may.
    let endpoint = settings.endpoint(ws_base(&settings.base_url), settings.bearer("Bearer"));
    (endpoint, Box::new(LockStep { config, owed: Owed::Nothing }))
}

/// The answer the server owes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owed {
    Nothing,
    Result,
    Final,
}

struct LockStep {
    config: String,
    owed: Owed,
}

#[derive(Deserialize)]
struct Wire {
    partial: Option<String>,
    text: Option<String>,
    #[serde(default)]
    result: Vec<Word>,
}

#[derive(Deserialize)]
struct Word {
    conf: Option<f32>,
}

impl Dialect for LockStep {
    fn hello(&mut self) -> Vec<Outgoing> {
        self.owed = Owed::Nothing;
        // The only message without an answer.
        Outgoing::text(&self.config)
    }

    fn is_open(&self) -> bool {
        self.owed == Owed::Nothing
    }

    fn audio(&mut self, octets: Bytes, _samples: usize) -> Outgoing {
        self.owed = Owed::Result;
        Outgoing::Binary(octets)
    }

    fn finalize(&mut self) -> Vec<Outgoing> {
        self.owed = Owed::Final;
        Outgoing::text(r#"{"reset" : 1}"#)
    }

    fn goodbye(&self) -> Option<String> {
        Some(r#"{"eof" : 1}"#.to_owned())
    }

    fn understand(&mut self, incoming: Incoming, out: &mut Vec<Meaning>) {
        let Incoming::Text(text) = incoming else { return };
        let Ok(wire) = serde_json::from_str::<Wire>(&text) else {
            out.push(Meaning::NOT_THE_PROTOCOL);
            return;
        };
        let owed = std::mem::replace(&mut self.owed, Owed::Nothing);
        if let Some(text) = wire.text {
            out.push(Meaning::Final(Words {
                text: text.trim().to_owned(),
                confidence: mean(wire.result.iter().map(|word| word.conf)),
                reach: if owed == Owed::Final { Reach::Finalize } else { Reach::Sent },
                answers: if owed == Owed::Final { Answers::Yes } else { Answers::No },
            }));
        } else if let Some(partial) = wire.partial {
            out.push(Meaning::Interim(partial.trim().to_owned()));
        }
    }
}

/// A dialect for the parser's tests.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn dialect() -> Box<dyn Dialect> {
    Box::new(LockStep { config: String::new(), owed: Owed::Final })
}
