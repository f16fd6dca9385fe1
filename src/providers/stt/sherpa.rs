//! sherpa-onnx streaming WebSocket server: recognition on a machine of one's own.
//!
//! Audio is 32-bit floats at 16 kHz. The text `Done` ends a stream: what is still to come follows, then the
//! text `Done!`, and the next audio on the connection begins another stream. Between the two no audio may
//! be sent: the server would stop.
//! Source: k2-fsa/sherpa-onnx, `online-websocket-server-impl.cc`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::ws::{
    Answers, Defaults, Dialect, Encoding, Habits, Meaning, Outgoing, Reach, Recogniser, Settings,
    Words, clip,
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
    base_url: "ws://127.0.0.1:6006",
    model: "",
    rate: SampleRate::HZ_16000,
    rates: "16000",
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
    let mut settings = Settings::new(name, config, key, &DEFAULTS)?;
    settings.encoding = Encoding::Float;
    Ok(Recogniser { settings, habits, ends_turns: false, dial })
}

fn dial(settings: &Settings, _: &SttParams) -> (Endpoint, Box<dyn Dialect>) {
    // The server itself knows no key; one in front of it may.
    let endpoint = settings.endpoint(ws_base(&settings.base_url), settings.bearer("Bearer"));
    (endpoint, Box::new(Streams::new(settings.rate)))
}

struct Streams {
    rate: SampleRate,
    /// `Done` was sent and not answered.
    ending: bool,
    /// Samples sent on this connection.
    sent: u64,
    /// Where the stream began, samples.
    begun: u64,
    /// The newest text of the segment.
    text: String,
}

impl Streams {
    fn new(rate: SampleRate) -> Self {
        Self { rate, ending: false, sent: 0, begun: 0, text: String::new() }
    }
}

#[derive(Deserialize)]
struct Wire {
    text: String,
    #[serde(default)]
    is_final: bool,
    #[serde(default)]
    is_eof: bool,
    /// Of the segment in its stream, s.
    #[serde(default)]
    start_time: f64,
    /// Of each token in its segment, s.
    #[serde(default)]
    timestamps: Vec<f64>,
}

impl Dialect for Streams {
    fn hello(&mut self) -> Vec<Outgoing> {
        *self = Self::new(self.rate);
        Vec::new()
    }

    fn is_open(&self) -> bool {
        !self.ending
    }

    fn audio(&mut self, octets: Bytes, samples: usize) -> Outgoing {
        self.sent += samples as u64;
        Outgoing::Binary(octets)
    }

    fn finalize(&mut self) -> Vec<Outgoing> {
        self.ending = true;
        Outgoing::text("Done")
    }

    fn understand(&mut self, incoming: Incoming, out: &mut Vec<Meaning>) {
        let Incoming::Text(text) = incoming else { return };
        if text == "Done!" {
            self.begun = self.sent;
            if std::mem::take(&mut self.ending) {
                let (reach, answers) = (Reach::Finalize, Answers::Yes);
                let text = std::mem::take(&mut self.text);
                out.push(Meaning::Final(Words { text, confidence: None, reach, answers }));
            }
            return;
        }
        let Ok(wire) = serde_json::from_str::<Wire>(&text) else {
            out.push(Meaning::NOT_THE_PROTOCOL);
            return;
        };
        self.text = clip(wire.text.trim().to_owned());
        if wire.is_final && !wire.is_eof {
            let text = std::mem::take(&mut self.text);
            let begun = self.begun as f64 / f64::from(self.rate.hz());
            let last = wire.timestamps.last().copied().unwrap_or_default();
            let reach = Reach::Seconds(begun + wire.start_time + last);
            let answers = Answers::No;
            out.push(Meaning::Final(Words { text, confidence: None, reach, answers }));
        } else {
            out.push(Meaning::Interim(self.text.clone()));
        }
    }
}

/// A dialect for the parser's tests.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn dialect() -> Box<dyn Dialect> {
    Box::new(Streams::new(SampleRate::HZ_16000))
}
