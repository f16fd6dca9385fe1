//! AssemblyAI Universal-Streaming v3: streaming recognition that says when the caller's turn ends.
//!
//! Messages hold 50 to 1000 ms of audio and may not come faster than real time, so a backlog is paced. The
//! unformatted end of a turn is taken: the formatted one only repeats it later. Words never change once
//! they are final.
//! Source: AssemblyAI API reference, `universal-streaming`; `common-session-errors-and-closures`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::ws::{
    Answers, Defaults, Dialect, Habits, KEYTERMS_MAX, KeepAlive, Meaning, Outgoing, Reach,
    Recogniser, Settings, Words, append, mean,
};
use super::{Stt, SttParams, TurnSignal};
use crate::providers::FailureKind;
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::socket::{Endpoint, Incoming, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::types::{SampleRate, Secret};

/// Longest key term that is taken, characters.
const KEYTERM_CHARS_MAX: usize = 50;

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Stt> = Maker {
    capabilities: &["streaming", "keyterms", "turns"],
    models: &["universal-streaming-multilingual", "universal-streaming-english", "u3-rt-pro"],
    build,
};

const DEFAULTS: Defaults = Defaults {
    base_url: "wss://streaming.assemblyai.com",
    model: "universal-streaming-multilingual",
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
        chunk_ms: 60,
        chunk_ms_min: 60,
        keep_alive: (KeepAlive::Silence(60), Duration::from_secs(4)),
        lead: Some(Duration::from_millis(500)),
        replay_seconds: 30,
        // Nothing comes while nobody speaks.
        silent_server: Duration::from_secs(20),
        ..Habits::default()
    };
    let settings = Settings::new(name, config, key, &DEFAULTS)?;
    Ok(Recogniser { settings, habits, ends_turns: true, dial })
}

fn dial(settings: &Settings, params: &SttParams) -> (Endpoint, Box<dyn Dialect>) {
    let mut url = format!("{}/v3/ws", ws_base(&settings.base_url));
    push_query(&mut url, "sample_rate", &settings.rate.hz().to_string());
    push_query(&mut url, "encoding", settings.encoding.word("pcm_s16le", "pcm_mulaw"));
    push_query(&mut url, "speech_model", &settings.model);
    push_query(&mut url, "format_turns", "false");
    let short = |term: &&String| term.chars().count() <= KEYTERM_CHARS_MAX;
    let terms: Vec<&String> = params.keyterms.iter().filter(short).take(KEYTERMS_MAX).collect();
    if !terms.is_empty() {
        push_query(&mut url, "keyterms_prompt", &serde_json::json!(terms).to_string());
    }
    let auth = Some(("authorization", settings.key.clone()));
    (settings.endpoint(url, auth), Box::new(Universal::new(settings.rate)))
}

/// Words that end this much after a request for the end of the turn were spoken before it, s.
const ASKED_TOLERANCE_SECONDS: f64 = 0.1;

struct Universal {
    rate: SampleRate,
    /// Samples sent on this connection.
    sent: u64,
    /// The turn that words belong to.
    open: Option<u64>,
    /// The newest turn that ended: its formatted repetition is none of our business.
    ended: Option<u64>,
    /// Where the end of the turn was asked for, s.
    forced: Option<f64>,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    turn_order: u64,
    #[serde(default)]
    end_of_turn: bool,
    #[serde(default)]
    transcript: String,
    #[serde(default)]
    words: Vec<Word>,
    error_code: Option<u16>,
}

#[derive(Deserialize)]
struct Word {
    #[serde(default)]
    text: String,
    /// Milliseconds.
    #[serde(default)]
    end: f64,
    confidence: Option<f32>,
}

impl Dialect for Universal {
    fn hello(&mut self) -> Vec<Outgoing> {
        *self = Self::new(self.rate);
        Vec::new()
    }

    fn audio(&mut self, octets: Bytes, samples: usize) -> Outgoing {
        self.sent += samples as u64;
        Outgoing::Binary(octets)
    }

    fn finalize(&mut self) -> Vec<Outgoing> {
        self.forced = Some(self.rate.duration_of(self.sent).as_secs_f64());
        Outgoing::text(r#"{"type":"ForceEndpoint"}"#)
    }

    fn goodbye(&self) -> Option<String> {
        Some(r#"{"type":"Terminate"}"#.to_owned())
    }

    fn understand(&mut self, incoming: Incoming, out: &mut Vec<Meaning>) {
        let Incoming::Text(text) = incoming else { return };
        let Ok(wire) = serde_json::from_str::<Wire>(&text) else {
            out.push(Meaning::NOT_THE_PROTOCOL);
            return;
        };
        match wire.kind.as_str() {
            "Turn" => self.turn(wire, out),
            "Error" => {
                let kind = wire.error_code.and_then(kind_of_code);
                out.push(Meaning::error(kind.unwrap_or(FailureKind::Unavailable)));
            }
            _ => {}
        }
    }

    fn turn_is_over(&self) -> bool {
        self.open.is_none() && self.ended.is_some()
    }

    fn closes(&self) -> fn(u16) -> Option<FailureKind> {
        kind_of_code
    }
}

impl Universal {
    fn new(rate: SampleRate) -> Self {
        Self { rate, sent: 0, open: None, ended: None, forced: None }
    }

    fn turn(&mut self, wire: Wire, out: &mut Vec<Meaning>) {
        if self.ended == Some(wire.turn_order) {
            return;
        }
        let has_words = !wire.words.is_empty() || !wire.transcript.is_empty();
        if has_words && self.open != Some(wire.turn_order) {
            self.open = Some(wire.turn_order);
            out.push(Meaning::Turn(TurnSignal::Started));
        }
        if !wire.end_of_turn {
            // The transcript holds the words that are final; the others stand only in the list.
            let mut text = String::new();
            for word in &wire.words {
                let gap = if text.is_empty() { "" } else { " " };
                append(&mut text, gap);
                append(&mut text, &word.text);
            }
            out.push(Meaning::Interim(if text.is_empty() { wire.transcript } else { text }));
            return;
        }
        self.open = None;
        self.ended = Some(wire.turn_order);
        let end_ms = wire.words.last().map(|word| word.end);
        // A request that came while nobody spoke was ignored: the turn after it ends by itself.
        let end = end_ms.map_or(0.0, |ms| ms / 1_000.0);
        let forced = self.forced.take().is_some_and(|at| end <= at + ASKED_TOLERANCE_SECONDS);
        out.push(Meaning::Final(Words {
            text: wire.transcript,
            confidence: mean(wire.words.iter().map(|word| word.confidence)),
            reach: end_ms.map_or(Reach::Unknown, |ms| Reach::Seconds(ms / 1_000.0)),
            answers: if forced { Answers::Yes } else { Answers::IfCovered },
        }));
        // An end that was asked for is not the provider's opinion.
        out.extend((!forced).then_some(Meaning::Turn(TurnSignal::Over)));
    }
}

fn kind_of_code(code: u16) -> Option<FailureKind> {
    match code {
        1008 => Some(FailureKind::Auth),
        3005 => Some(FailureKind::Unavailable),
        3006 | 3007 => Some(FailureKind::BadRequest),
        // The session is as long as it may be: another one goes on.
        3008 => Some(FailureKind::Cut),
        3009 => Some(FailureKind::RateLimited),
        _ => None,
    }
}

/// A dialect for the parser's tests.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn dialect() -> Box<dyn Dialect> {
    Box::new(Universal::new(SampleRate::HZ_8000))
}
