//! Deepgram Flux, `listen` v2: streaming recognition that says when the caller's turn ends.
//!
//! A turn's transcript is always the whole turn so far. `ForceEndTurn` ends it at once and is ignored
//! where there is none. There is no keep-alive: silence is sent instead.
//! Source: developers.deepgram.com, `flux/state`, `flux/configuration`, `flux/force-end-turn`.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::ws::{
    Answers, Defaults, Dialect, Habits, KEYTERMS_MAX, KeepAlive, Meaning, Outgoing, Reach,
    Recogniser, Settings, Words, language, mean,
};
use super::{Stt, SttParams, TurnSignal};
use crate::providers::FailureKind;
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::socket::{Endpoint, Incoming, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::types::{SampleRate, Secret};

/// Confidence from which on a turn is reported as likely over. Half of it reports every second pause.
const EAGER_THRESHOLD: &str = "0.4";

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Stt> = Maker {
    capabilities: &["streaming", "language", "keyterms", "turns"],
    models: &["flux-general-en", "flux-general-multi"],
    build,
};

const DEFAULTS: Defaults = Defaults {
    base_url: "wss://api.deepgram.com",
    model: "flux-general-en",
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
        chunk_ms: 80,
        keep_alive: (KeepAlive::Silence(480), Duration::from_millis(480)),
        replay_seconds: 30,
        ..Habits::default()
    };
    let settings = Settings::new(name, config, key, &DEFAULTS)?;
    Ok(Recogniser { settings, habits, ends_turns: true, dial })
}

fn dial(settings: &Settings, params: &SttParams) -> (Endpoint, Box<dyn Dialect>) {
    let mut url = format!("{}/v2/listen", ws_base(&settings.base_url));
    push_query(&mut url, "model", &settings.model);
    push_query(&mut url, "encoding", settings.encoding.word("linear16", "mulaw"));
    push_query(&mut url, "sample_rate", &settings.rate.hz().to_string());
    push_query(&mut url, "eager_eot_threshold", EAGER_THRESHOLD);
    if let Some(language) = language(params).filter(|_| settings.model.ends_with("-multi")) {
        push_query(&mut url, "language_hint", language);
    }
    for term in params.keyterms.iter().take(KEYTERMS_MAX) {
        push_query(&mut url, "keyterm", term);
    }
    (settings.endpoint(url, settings.bearer("Token")), Box::new(Flux::default()))
}

#[derive(Default)]
struct Flux {
    /// A turn is over and no other began.
    over: bool,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    event: String,
    #[serde(default)]
    audio_window_end: f64,
    #[serde(default)]
    transcript: String,
    #[serde(default)]
    words: Vec<Word>,
    trigger: Option<String>,
    code: Option<String>,
}

#[derive(Deserialize)]
struct Word {
    confidence: Option<f32>,
}

impl Dialect for Flux {
    fn hello(&mut self) -> Vec<Outgoing> {
        self.over = false;
        Vec::new()
    }

    fn finalize(&mut self) -> Vec<Outgoing> {
        Outgoing::text(r#"{"type":"ForceEndTurn"}"#)
    }

    fn goodbye(&self) -> Option<String> {
        Some(r#"{"type":"CloseStream"}"#.to_owned())
    }

    fn understand(&mut self, incoming: Incoming, out: &mut Vec<Meaning>) {
        let Incoming::Text(text) = incoming else { return };
        let Ok(wire) = serde_json::from_str::<Wire>(&text) else {
            out.push(Meaning::NOT_THE_PROTOCOL);
            return;
        };
        match wire.kind.as_str() {
            "TurnInfo" => self.turn(wire, out),
            "Error" => out.push(Meaning::error(kind_of(wire.code.as_deref().unwrap_or_default()))),
            // New kinds come without notice.
            _ => {}
        }
    }

    fn turn_is_over(&self) -> bool {
        self.over
    }
}

impl Flux {
    fn turn(&mut self, wire: Wire, out: &mut Vec<Meaning>) {
        let signal = match wire.event.as_str() {
            "StartOfTurn" => Some(TurnSignal::Started),
            "EagerEndOfTurn" => Some(TurnSignal::LikelyOver),
            "TurnResumed" => Some(TurnSignal::Resumed),
            "EndOfTurn" => {
                let is_forced = wire.trigger.as_deref() == Some("manual");
                self.over = true;
                out.push(Meaning::Final(Words {
                    text: wire.transcript,
                    confidence: mean(wire.words.iter().map(|word| word.confidence)),
                    reach: Reach::Seconds(wire.audio_window_end),
                    answers: if is_forced { Answers::Yes } else { Answers::IfCovered },
                }));
                // An end that was asked for is not the provider's opinion.
                out.extend((!is_forced).then_some(Meaning::Turn(TurnSignal::Over)));
                return;
            }
            _ => None,
        };
        if wire.transcript.is_empty() {
            if signal.is_none() {
                out.push(Meaning::Quiet(wire.audio_window_end));
            }
        } else {
            self.over = false;
        }
        if signal == Some(TurnSignal::Started) {
            self.over = false;
            out.push(Meaning::Turn(TurnSignal::Started));
        }
        if !wire.transcript.is_empty() {
            out.push(Meaning::Interim(wire.transcript));
        }
        if let Some(signal) = signal.filter(|signal| *signal != TurnSignal::Started) {
            out.push(Meaning::Turn(signal));
        }
    }
}

/// What kind of failure the vendor's code means.
fn kind_of(code: &str) -> FailureKind {
    let says = |needles: &[&str]| needles.iter().any(|needle| code.contains(needle));
    if says(&["AUTH", "FORBIDDEN", "PERMISSION"]) {
        FailureKind::Auth
    } else if says(&["TOO_MANY", "RATE_LIMIT", "QUOTA", "PAYMENT", "CREDIT"]) {
        FailureKind::RateLimited
    } else if says(&["NET-", "TIMEOUT"]) {
        FailureKind::Cut
    } else if says(&["DATA-", "INVALID", "UNPARSABLE", "BAD_REQUEST"]) {
        FailureKind::BadRequest
    } else {
        FailureKind::Unavailable
    }
}

/// A dialect for the parser's tests.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn dialect() -> Box<dyn Dialect> {
    Box::new(Flux::default())
}
