//! Soniox: streaming recognition in sub-word tokens.
//!
//! A token is final or may still change; those of a result are joined as they stand. `<end>` marks the end
//! the server found, `<fin>` the answer to `finalize`.
//! Source: soniox.com, `websocket-api`, `manual-finalization`, `error-handling`.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::ws::{
    Answers, Defaults, Dialect, Habits, KEYTERMS_MAX, KeepAlive, Meaning, Outgoing, Reach,
    Recogniser, Settings, Words, append, confidence, language,
};
use super::{Stt, SttParams, TurnSignal};
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::http::kind_of_status;
use crate::providers::socket::{Endpoint, Incoming, ws_base};
use crate::providers::vendors::Maker;
use crate::types::{SampleRate, Secret};

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Stt> = Maker {
    capabilities: &["streaming", "language", "keyterms", "turns"],
    models: &["stt-rt-v5", "stt-rt-v4"],
    build,
};

const DEFAULTS: Defaults = Defaults {
    base_url: "wss://stt-rt.soniox.com",
    model: "stt-rt-v5",
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
        chunk_ms: 60,
        keep_alive: (KeepAlive::Text(r#"{"type":"keepalive"}"#), Duration::from_secs(5)),
        // Long bursts may be hung up on; a short one is as good as jitter.
        lead: Some(Duration::from_secs(2)),
        replay_seconds: 30,
        ..Habits::default()
    };
    let settings = Settings::new(name, config, key, &DEFAULTS)?;
    Ok(Recogniser { settings, habits, ends_turns: true, dial })
}

fn dial(settings: &Settings, params: &SttParams) -> (Endpoint, Box<dyn Dialect>) {
    let url = format!("{}/transcribe-websocket", ws_base(&settings.base_url));
    let mut start = json!({
        "model": settings.model,
        "audio_format": settings.encoding.word("pcm_s16le", "mulaw"),
        "sample_rate": settings.rate.hz(),
        "num_channels": 1,
        "enable_endpoint_detection": true,
    });
    if let Some(map) = start.as_object_mut() {
        if let Some(language) = language(params) {
            map.insert("language_hints".to_owned(), json!([language]));
        }
        if !params.keyterms.is_empty() {
            let terms: Vec<&String> = params.keyterms.iter().take(KEYTERMS_MAX).collect();
            map.insert("context".to_owned(), json!({"terms": terms}));
        }
    }
    let dialect = Tokens { start: start.to_string(), ..Tokens::default() };
    (settings.endpoint(url, settings.bearer("Bearer")), Box::new(dialect))
}

#[derive(Default)]
struct Tokens {
    start: String,
    /// Final text since the last end.
    text: String,
    confidence_sum: f32,
    confidence_n: u16,
    /// Where the newest final token ends, ms.
    end_ms: f64,
    /// A turn has words.
    open: bool,
    /// A turn is over and no other began.
    over: bool,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    tokens: Vec<Token>,
    error_code: Option<u16>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    text: String,
    #[serde(default)]
    is_final: bool,
    end_ms: Option<f64>,
    confidence: Option<f32>,
}

impl Dialect for Tokens {
    fn hello(&mut self) -> Vec<Outgoing> {
        let start = std::mem::take(&mut self.start);
        *self = Self { start, ..Self::default() };
        Outgoing::text(&self.start)
    }

    fn finalize(&mut self) -> Vec<Outgoing> {
        Outgoing::text(r#"{"type":"finalize"}"#)
    }

    fn goodbye(&self) -> Option<String> {
        // An empty message ends the stream.
        Some(String::new())
    }

    fn understand(&mut self, incoming: Incoming, out: &mut Vec<Meaning>) {
        let Incoming::Text(text) = incoming else { return };
        let Ok(wire) = serde_json::from_str::<Wire>(&text) else {
            out.push(Meaning::NOT_THE_PROTOCOL);
            return;
        };
        if let Some(code) = wire.error_code {
            out.push(Meaning::error(kind_of_status(code)));
            return;
        }
        let mut interim = String::new();
        let mut news = false;
        for token in wire.tokens {
            match token.text.as_str() {
                "<end>" | "<fin>" => {
                    self.end(token.text == "<fin>", out);
                    news = false;
                }
                "" => {}
                _ => {
                    news = true;
                    if !std::mem::replace(&mut self.open, true) {
                        self.over = false;
                        out.push(Meaning::Turn(TurnSignal::Started));
                    }
                    if token.is_final {
                        self.take(&token);
                    } else {
                        append(&mut interim, &token.text);
                    }
                }
            }
        }
        if news {
            let text = format!("{}{interim}", self.text);
            out.push(Meaning::Interim(text.trim().to_owned()));
        }
    }

    fn turn_is_over(&self) -> bool {
        self.over
    }
}

impl Tokens {
    fn take(&mut self, token: &Token) {
        append(&mut self.text, &token.text);
        self.end_ms = token.end_ms.unwrap_or(self.end_ms);
        if let Some(confidence) = confidence(token.confidence) {
            self.confidence_sum += confidence;
            self.confidence_n = self.confidence_n.saturating_add(1);
        }
    }

    fn end(&mut self, asked: bool, out: &mut Vec<Meaning>) {
        let text = std::mem::take(&mut self.text);
        let confidence =
            (self.confidence_n > 0).then(|| self.confidence_sum / f32::from(self.confidence_n));
        (self.confidence_sum, self.confidence_n) = (0.0, 0);
        self.open = false;
        let (reach, answers) = if asked {
            (Reach::Finalize, Answers::Yes)
        } else {
            (Reach::Seconds(self.end_ms / 1_000.0), Answers::No)
        };
        let text = text.trim().to_owned();
        out.push(Meaning::Final(Words { text, confidence, reach, answers }));
        // An end that was asked for is not the provider's opinion.
        if !asked {
            self.over = true;
            out.push(Meaning::Turn(TurnSignal::Over));
        }
    }
}

/// A dialect for the parser's tests.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn dialect() -> Box<dyn Dialect> {
    Box::new(Tokens::default())
}
