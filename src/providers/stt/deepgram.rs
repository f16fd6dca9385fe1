//! Deepgram `listen` v1: streaming recognition over one WebSocket a call.
//!
//! `Finalize` asks for the final transcript at once; the answer is likely but not guaranteed.
//! Source: developers.deepgram.com, `listen-streaming`, `finalize`, `audio-keep-alive`.

mod message;

use std::sync::Arc;
use std::time::Duration;

use super::ws::{
    Answers, Defaults, Dialect, Habits, KEYTERMS_MAX, KeepAlive, Meaning, Outgoing, Reach,
    Recogniser, Settings, Words,
};
use super::{Stt, SttParams};
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::socket::{Endpoint, Incoming, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::types::{SampleRate, Secret};

/// The server closes after 10 s without audio or keep-alive.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// How long a `Finalize` may go unanswered: none comes when no audio was buffered.
const FINALIZE_GRACE: Duration = Duration::from_millis(700);

/// A living server sends a result about every second.
const SILENT_SERVER: Duration = Duration::from_secs(3);

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Stt> = Maker {
    capabilities: &["streaming", "language", "keyterms"],
    models: &["nova-3", "nova-2"],
    build,
};

const DEFAULTS: Defaults = Defaults {
    base_url: "wss://api.deepgram.com",
    model: "nova-3",
    rate: SampleRate::HZ_8000,
    rates: "8000, 16000, 24000, 32000, 48000",
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
        keep_alive: (KeepAlive::Text(r#"{"type":"KeepAlive"}"#), KEEP_ALIVE),
        grace: FINALIZE_GRACE,
        silent_server: SILENT_SERVER,
        ..Habits::default()
    };
    let settings = Settings::new(name, config, key, &DEFAULTS)?;
    Ok(Recogniser { settings, habits, ends_turns: false, dial })
}

fn dial(settings: &Settings, params: &SttParams) -> (Endpoint, Box<dyn Dialect>) {
    let mut url = format!("{}/v1/listen", ws_base(&settings.base_url));
    push_query(&mut url, "model", &settings.model);
    push_query(&mut url, "encoding", settings.encoding.word("linear16", "mulaw"));
    push_query(&mut url, "sample_rate", &settings.rate.hz().to_string());
    push_query(&mut url, "channels", "1");
    push_query(&mut url, "interim_results", "true");
    push_query(&mut url, "punctuate", "true");
    push_query(&mut url, "endpointing", "300");
    if !params.language.is_empty() {
        push_query(&mut url, "language", &params.language);
    }
    for term in params.keyterms.iter().take(KEYTERMS_MAX) {
        push_query(&mut url, "keyterm", term);
    }
    (settings.endpoint(url, settings.bearer("Token")), Box::new(Listen))
}

struct Listen;

impl Dialect for Listen {
    fn finalize(&mut self) -> Vec<Outgoing> {
        Outgoing::text(r#"{"type":"Finalize"}"#)
    }

    fn goodbye(&self) -> Option<String> {
        Some(r#"{"type":"CloseStream"}"#.to_owned())
    }

    fn understand(&mut self, incoming: Incoming, out: &mut Vec<Meaning>) {
        let Incoming::Text(text) = incoming else { return };
        match message::parse(&text) {
            Ok(Some(results)) if results.is_final => out.push(Meaning::Final(Words {
                text: results.transcript,
                confidence: results.confidence,
                reach: Reach::Seconds(results.end_seconds),
                answers: if results.from_finalize { Answers::Yes } else { Answers::No },
            })),
            Ok(Some(results)) => out.push(Meaning::Interim(results.transcript)),
            // Other messages are none of our business; new kinds come without notice.
            Ok(None) => {}
            Err(message::NotTheProtocol) => out.push(Meaning::NOT_THE_PROTOCOL),
        }
    }
}

/// A dialect for the parser's tests.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn dialect() -> Box<dyn Dialect> {
    Box::new(Listen)
}

#[cfg(test)]
mod tests;
