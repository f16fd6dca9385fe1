//! Speechmatics realtime: streaming recognition with a handshake of its own and an end of utterance.
//!
//! Audio may be sent once recognition started. Final pieces are gathered until the utterance ends, since
//! punctuation comes as a piece that belongs to the word before it.
//! Source: docs.speechmatics.com, realtime API reference (`spec/realtime.yaml`), turn detection, limits.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::ws::{
    Answers, Defaults, Dialect, Habits, KEYTERMS_MAX, KeepAlive, Meaning, Outgoing, Reach,
    Recogniser, Settings, Words, append, language, mean,
};
use super::{Stt, SttParams, TurnSignal};
use crate::providers::FailureKind;
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::socket::{Endpoint, Incoming, ws_base};
use crate::providers::vendors::Maker;
use crate::types::{SampleRate, Secret};

/// Time without a word after which the provider takes the turn for over, s. It recommends 0.5 to 0.8.
const END_OF_UTTERANCE_SECONDS: f64 = 0.6;

/// Longest delay of a final piece, s: above [`END_OF_UTTERANCE_SECONDS`], or that is never seen.
const DELAY_SECONDS_MAX: f64 = 1.0;

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Stt> = Maker {
    capabilities: &["streaming", "language", "keyterms", "turns"],
    models: &["enhanced", "standard"],
    build,
};

const DEFAULTS: Defaults = Defaults {
    base_url: "wss://eu.rt.speechmatics.com",
    model: "enhanced",
    rate: SampleRate::HZ_8000,
    rates: "8000, 16000, 24000, 44100, 48000",
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
        // A session without audio for three minutes is ended.
        keep_alive: (KeepAlive::Silence(100), Duration::from_secs(60)),
        replay_seconds: 30,
        ..Habits::default()
    };
    let settings = Settings::new(name, config, key, &DEFAULTS)?;
    Ok(Recogniser { settings, habits, ends_turns: true, dial })
}

fn dial(settings: &Settings, params: &SttParams) -> (Endpoint, Box<dyn Dialect>) {
    let url = format!("{}/v2", ws_base(&settings.base_url));
    let terms: Vec<&String> = params.keyterms.iter().take(KEYTERMS_MAX).collect();
    let start = json!({
        "message": "StartRecognition",
        "audio_format": {
            "type": "raw",
            "encoding": settings.encoding.word("pcm_s16le", "mulaw"),
            "sample_rate": settings.rate.hz(),
        },
        "transcription_config": {
            "language": language(params).unwrap_or("en"),
            "model": settings.model,
            "enable_partials": true,
            "max_delay": DELAY_SECONDS_MAX,
            "additional_vocab": terms,
            "conversation_config": {
                "end_of_utterance_silence_trigger": END_OF_UTTERANCE_SECONDS,
            },
        },
    });
    let dialect = Realtime { start: start.to_string(), ..Realtime::default() };
    (settings.endpoint(url, settings.bearer("Bearer")), Box::new(dialect))
}

#[derive(Default)]
struct Realtime {
    start: String,
    started: bool,
    /// Audio messages sent.
    sent: u64,
    /// Final pieces of the utterance.
    text: String,
    confidence_sum: f32,
    confidence_n: u16,
    /// Where the newest piece ends, s.
    end_seconds: f64,
    /// A turn has words.
    open: bool,
    /// A turn is over and no other began.
    over: bool,
}

#[derive(Deserialize)]
struct Wire {
    message: String,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    results: Vec<Piece>,
    #[serde(default)]
    forced: bool,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    end_time: f64,
    #[serde(default)]
    transcript: String,
}

#[derive(Deserialize)]
struct Piece {
    attaches_to: Option<String>,
    #[serde(default)]
    alternatives: Vec<Alternative>,
}

#[derive(Deserialize)]
struct Alternative {
    confidence: Option<f32>,
}

impl Dialect for Realtime {
    fn hello(&mut self) -> Vec<Outgoing> {
        let start = std::mem::take(&mut self.start);
        *self = Self { start, ..Self::default() };
        Outgoing::text(&self.start)
    }

    fn is_open(&self) -> bool {
        self.started
    }

    fn audio(&mut self, octets: Bytes, _samples: usize) -> Outgoing {
        self.sent += 1;
        Outgoing::Binary(octets)
    }

    fn finalize(&mut self) -> Vec<Outgoing> {
        Outgoing::text(r#"{"message":"ForceEndOfUtterance"}"#)
    }

    fn goodbye(&self) -> Option<String> {
        Some(json!({"message": "EndOfStream", "last_seq_no": self.sent}).to_string())
    }

    fn understand(&mut self, incoming: Incoming, out: &mut Vec<Meaning>) {
        let Incoming::Text(text) = incoming else { return };
        let Ok(wire) = serde_json::from_str::<Wire>(&text) else {
            out.push(Meaning::NOT_THE_PROTOCOL);
            return;
        };
        match wire.message.as_str() {
            "RecognitionStarted" => self.started = true,
            "AddPartialTranscript" => {
                let text = self.joined(&wire);
                self.heard(&text, out);
            }
            "AddTranscript" => {
                self.text = self.joined(&wire);
                self.end_seconds = self.end_seconds.max(wire.metadata.end_time);
                let values = wire.results.iter().filter_map(|piece| piece.alternatives.first());
                if let Some(confidence) = mean(values.map(|alternative| alternative.confidence)) {
                    self.confidence_sum += confidence;
                    self.confidence_n = self.confidence_n.saturating_add(1);
                }
                let text = self.text.clone();
                self.heard(&text, out);
            }
            "EndOfUtterance" => self.end(&wire, out),
            "Error" => out.push(Meaning::error(kind_of(wire.kind.as_deref().unwrap_or_default()))),
            _ => {}
        }
    }

    fn turn_is_over(&self) -> bool {
        self.over
    }

    fn closes(&self) -> fn(u16) -> Option<FailureKind> {
        |code| match code {
            4001 | 4003 => Some(FailureKind::Auth),
            4004 => Some(FailureKind::BadRequest),
            4005 | 4006 => Some(FailureKind::RateLimited),
            4013 => Some(FailureKind::Unavailable),
            _ => None,
        }
    }
}

impl Realtime {
    /// The utterance with the pieces of a message after it.
    fn joined(&self, wire: &Wire) -> String {
        let piece = wire.metadata.transcript.trim();
        let attaches = |piece: &Piece| piece.attaches_to.as_deref() == Some("previous");
        let mut text = self.text.clone();
        if !text.is_empty() && !piece.is_empty() && !wire.results.first().is_some_and(attaches) {
            append(&mut text, " ");
        }
        append(&mut text, piece);
        text
    }

    fn heard(&mut self, text: &str, out: &mut Vec<Meaning>) {
        if text.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.open, true) {
            self.over = false;
            out.push(Meaning::Turn(TurnSignal::Started));
        }
        out.push(Meaning::Interim(text.to_owned()));
    }

    fn end(&mut self, wire: &Wire, out: &mut Vec<Meaning>) {
        let text = std::mem::take(&mut self.text);
        let confidence =
            (self.confidence_n > 0).then(|| self.confidence_sum / f32::from(self.confidence_n));
        (self.confidence_sum, self.confidence_n) = (0.0, 0);
        self.open = false;
        let reach = Reach::Seconds(self.end_seconds.max(wire.metadata.end_time));
        let answers = if wire.forced { Answers::Yes } else { Answers::No };
        out.push(Meaning::Final(Words { text, confidence, reach, answers }));
        // An end that was asked for is not the provider's opinion.
        if !wire.forced {
            self.over = true;
            out.push(Meaning::Turn(TurnSignal::Over));
        }
    }
}

/// What kind of failure the vendor's type means.
fn kind_of(kind: &str) -> FailureKind {
    match kind {
        "not_authorised" | "not_allowed" => FailureKind::Auth,
        "quota_exceeded" | "timelimit_exceeded" => FailureKind::RateLimited,
        // The session is as long as it may be, or idle: another one goes on.
        "idle_timeout" | "session_timeout" => FailureKind::Cut,
        "invalid_message"
        | "invalid_model"
        | "invalid_language"
        | "invalid_config"
        | "invalid_audio_type"
        | "invalid_output_format"
        | "protocol_error" => FailureKind::BadRequest,
        _ => FailureKind::Unavailable,
    }
}

/// A dialect for the parser's tests.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn dialect() -> Box<dyn Dialect> {
    Box::new(Realtime::default())
}
