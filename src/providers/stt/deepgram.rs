//! Deepgram `listen` v1: streaming recognition over one WebSocket a call.
//!
//! `Finalize` asks for the final transcript at once; the answer is likely but not guaranteed.
//! Source: developers.deepgram.com, `listen-streaming`, `finalize`, `audio-keep-alive`.

mod message;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::ws::{self, Answers, Dialect, Encoding, Habits, KEYTERMS_MAX, KeepAlive};
use super::ws::{Meaning, Outgoing, Reach, Words};
use super::{Stt, SttParams, SttSession};
use crate::providers::config::{ConfigError, ProviderConfig, or_default};
use crate::providers::socket::{Endpoint, Incoming, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::providers::{ProviderError, Stage};
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

const RATES: &str = "8000, 16000, 24000, 32000, 48000";

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Stt>, ConfigError> {
    let mulaw = config.mulaw(true)?;
    Ok(Arc::new(DeepgramStt {
        name: name.to_owned(),
        base_url: config.url("wss://api.deepgram.com")?,
        api_key: key,
        model: or_default(&config.model, "nova-3"),
        sample_rate: config.rate(SampleRate::HZ_8000, if mulaw { "8000" } else { RATES })?,
        encoding: if mulaw { Encoding::MuLaw } else { Encoding::Pcm },
    }))
}

/// Settings of one Deepgram recogniser.
#[derive(Clone, Debug)]
pub struct DeepgramStt {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `wss://api.deepgram.com`.
    pub base_url: String,
    /// API key.
    pub api_key: Secret,
    /// Model, by default `nova-3`.
    pub model: String,
    /// Rate of the audio we send.
    pub sample_rate: SampleRate,
    /// How it is written.
    pub(super) encoding: Encoding,
}

impl DeepgramStt {
    fn endpoint(&self, params: &SttParams) -> Endpoint {
        let mut url = format!("{}/v1/listen", ws_base(&self.base_url));
        push_query(&mut url, "model", &self.model);
        push_query(&mut url, "encoding", self.encoding.word("linear16", "mulaw"));
        push_query(&mut url, "sample_rate", &self.sample_rate.hz().to_string());
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
        let key = format!("Token {}", self.api_key.expose());
        Endpoint {
            provider: self.name.clone(),
            stage: Stage::Stt,
            url,
            auth: (!self.api_key.is_empty()).then(|| ("authorization", Secret::new(key))),
        }
    }
}

impl Stt for DeepgramStt {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn sample_rate(&self) -> SampleRate {
        self.sample_rate
    }

    fn open(&self, params: SttParams) -> BoxFuture<'static, Result<SttSession, ProviderError>> {
        let format = (self.sample_rate, self.encoding);
        ws::open(self.endpoint(&params), Box::new(Listen), habits(), format)
    }
}

pub(super) fn habits() -> Habits {
    Habits {
        keep_alive: (KeepAlive::Text(r#"{"type":"KeepAlive"}"#), KEEP_ALIVE),
        grace: FINALIZE_GRACE,
        silent_server: SILENT_SERVER,
        ..Habits::default()
    }
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

/// Reads any message as a session does. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(text: &str) -> bool {
    matches!(message::parse(text), Ok(Some(_)))
}

#[cfg(test)]
mod tests;
