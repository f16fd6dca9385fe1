//! OpenAI Realtime, transcription sessions: one item of text for every stretch of speech that is committed.
//!
//! The server's own voice activity detection is off: what VAD here takes for speech is sent and committed,
//! silence is not. Transcripts of items may be completed out of order; they are given in the order of
//! their `previous_item_id`.
//! Source: OpenAI API reference, `realtime`, client and server events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::ws::{
    Answers, Defaults, Dialect, Encoding, Habits, Meaning, Outgoing, Reach, Recogniser, Settings,
    Words, append, join, language,
};
use super::{Stt, SttParams};
use crate::providers::FailureKind;
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::socket::{Endpoint, Incoming, ws_base};
use crate::providers::vendors::Maker;
use crate::types::{SampleRate, Secret};

/// Items that may wait for their text.
const ITEMS_MAX: usize = 16;

/// Transcription begins with the commit, so it takes longer than where words are known by then.
const FINALIZE_GRACE: Duration = Duration::from_secs(3);

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Stt> = Maker {
    capabilities: &["streaming", "language", "keyterms"],
    models: &["gpt-4o-transcribe", "gpt-4o-mini-transcribe", "whisper-1"],
    build,
};

const DEFAULTS: Defaults = Defaults {
    base_url: "wss://api.openai.com/v1",
    model: "gpt-4o-transcribe",
    rate: SampleRate::HZ_24000,
    rates: "24000",
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
        grace: FINALIZE_GRACE,
        // A commit of less than 100 ms is refused.
        chunk_ms: 100,
        chunk_ms_min: 100,
        replay_seconds: 30,
        gated: true,
        ..Habits::default()
    };
    let settings = Settings::new(name, config, key, &DEFAULTS)?;
    Ok(Recogniser { settings, habits, ends_turns: false, dial })
}

fn dial(settings: &Settings, params: &SttParams) -> (Endpoint, Box<dyn Dialect>) {
    let url = format!("{}/realtime?intent=transcription", ws_base(&settings.base_url));
    let format = match settings.encoding {
        Encoding::MuLaw => json!({"type": "audio/pcmu"}),
        Encoding::Pcm | Encoding::Float => json!({"type": "audio/pcm", "rate": settings.rate.hz()}),
    };
    let mut transcription = json!({"model": settings.model});
    if let Some(map) = transcription.as_object_mut() {
        if let Some(language) = language(params) {
            map.insert("language".to_owned(), language.into());
        }
        if !params.keyterms.is_empty() {
            map.insert("prompt".to_owned(), params.keyterms.join(", ").into());
        }
    }
    let session = json!({
        "type": "session.update",
        "session": {
            "type": "transcription",
            "audio": {"input": {
                "format": format,
                "transcription": transcription,
                "turn_detection": null,
            }},
        },
    });
    let dialect = Transcription { session: session.to_string(), items: VecDeque::new() };
    (settings.endpoint(url, settings.bearer("Bearer")), Box::new(dialect))
}

struct Item {
    id: String,
    previous: Option<String>,
    text: String,
    done: bool,
}

struct Transcription {
    session: String,
    /// Committed speech in order.
    items: VecDeque<Item>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    item_id: String,
    previous_item_id: Option<String>,
    #[serde(default)]
    delta: String,
    #[serde(default)]
    transcript: String,
    error: Option<WireError>,
}

#[derive(Deserialize)]
struct WireError {
    #[serde(rename = "type")]
    kind: Option<String>,
    code: Option<String>,
}

impl Dialect for Transcription {
    fn hello(&mut self) -> Vec<Outgoing> {
        self.items.clear();
        Outgoing::text(&self.session)
    }

    fn audio(&mut self, octets: Bytes, _samples: usize) -> Outgoing {
        let audio = STANDARD.encode(octets);
        Outgoing::Text(json!({"type": "input_audio_buffer.append", "audio": audio}).to_string())
    }

    fn finalize(&mut self) -> Vec<Outgoing> {
        Outgoing::text(r#"{"type":"input_audio_buffer.commit"}"#)
    }

    fn understand(&mut self, incoming: Incoming, out: &mut Vec<Meaning>) {
        let Incoming::Text(text) = incoming else { return };
        let Ok(wire) = serde_json::from_str::<Wire>(&text) else {
            out.push(Meaning::NOT_THE_PROTOCOL);
            return;
        };
        match wire.kind.as_str() {
            "input_audio_buffer.committed" => {
                self.committed(wire.item_id, wire.previous_item_id);
            }
            "conversation.item.input_audio_transcription.delta" => {
                if let Some(item) = self.item(wire.item_id) {
                    append(&mut item.text, &wire.delta);
                }
                let join = |text: String, item: &Item| join(&text, &item.text);
                out.push(Meaning::Interim(self.items.iter().fold(String::new(), join)));
            }
            "conversation.item.input_audio_transcription.completed" => {
                if let Some(item) = self.item(wire.item_id) {
                    item.text = wire.transcript.trim().to_owned();
                    item.done = true;
                }
                self.give(out);
            }
            // The audio is at hand and another connection may do better.
            "conversation.item.input_audio_transcription.failed" => {
                out.push(Meaning::error(match kind_of(wire.error) {
                    FailureKind::BadRequest => FailureKind::Unavailable,
                    kind => kind,
                }));
            }
            "error" => match wire.error {
                Some(WireError { code: Some(code), .. })
                    if code == "input_audio_buffer_commit_empty" =>
                {
                    out.push(answer(String::new()));
                }
                error => out.push(Meaning::error(kind_of(error))),
            },
            _ => {}
        }
    }
}

impl Transcription {
    fn committed(&mut self, id: String, previous: Option<String>) {
        if !id.is_empty() && !self.items.iter().any(|item| item.id == id) {
            self.place(id, previous);
        }
    }

    /// Puts an item after the one before it, or before the one after it, or else at the end.
    fn place(&mut self, id: String, previous: Option<String>) -> usize {
        if self.items.len() >= ITEMS_MAX {
            self.items.pop_front();
        }
        let before = self.items.iter().position(|item| Some(&item.id) == previous.as_ref());
        let after = || self.items.iter().position(|item| item.previous.as_ref() == Some(&id));
        let at = before.map(|at| at + 1).or_else(after).unwrap_or(self.items.len());
        self.items.insert(at, Item { id, previous, text: String::new(), done: false });
        at
    }

    fn item(&mut self, id: String) -> Option<&mut Item> {
        let known = self.items.iter().position(|item| item.id == id);
        let at = known.unwrap_or_else(|| self.place(id, None));
        self.items.get_mut(at)
    }

    /// Gives the texts at the front that are complete.
    fn give(&mut self, out: &mut Vec<Meaning>) {
        while let Some(item) = self.items.pop_front_if(|item| item.done) {
            out.push(answer(item.text));
        }
    }
}

fn answer(text: String) -> Meaning {
    let (reach, answers) = (Reach::Finalize, Answers::Yes);
    Meaning::Final(Words { text, confidence: None, reach, answers })
}

/// What kind of failure the vendor's code and type mean.
fn kind_of(error: Option<WireError>) -> FailureKind {
    let Some(error) = error else { return FailureKind::Unavailable };
    let words = [error.code.as_deref(), error.kind.as_deref()];
    let says = |needle: &str| words.iter().flatten().any(|word| word.contains(needle));
    if says("api_key") || says("auth") || says("permission") {
        FailureKind::Auth
    } else if says("rate_limit") || says("quota") || says("insufficient") {
        FailureKind::RateLimited
    } else if says("expired") {
        FailureKind::Cut
    } else if says("server_error") {
        FailureKind::Unavailable
    } else {
        FailureKind::BadRequest
    }
}

/// A dialect for the parser's tests.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn dialect() -> Box<dyn Dialect> {
    let mut dialect = Transcription { session: String::new(), items: VecDeque::new() };
    dialect.committed("item_1".to_owned(), None);
    Box::new(dialect)
}
