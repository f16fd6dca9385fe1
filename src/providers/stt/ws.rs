//! Recognition over one WebSocket a call: connecting again with a replay of what was not accounted for,
//! keep-alive, the wait for a final transcript, a polite goodbye. What differs between vendors is a
//! [`Dialect`] (messages) and its [`Habits`] (figures).
//!
//! Audio is kept until a result accounts for it, so that an utterance survives a cut connection. A
//! `Finalize` asks for the final transcript at once; where no answer comes, a short wait stands in for it.

mod line;
pub(super) mod replay;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use self::line::Line;
use super::{STT_EVENT_QUEUE, STT_INPUT_QUEUE, Stt, SttParams, SttSession};
use crate::audio::g711;
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::socket::{Endpoint, Incoming, Socket};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::types::{SampleRate, Secret, TurnSignal};

/// Text kept of one utterance, and of one message.
pub(super) const TEXT_BYTES_MAX: usize = 8 * 1024;

/// Key terms sent along: the strictest provider takes no more.
pub(super) const KEYTERMS_MAX: usize = 100;

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    Text(String),
    Binary(Bytes),
}

impl Outgoing {
    pub(super) fn text(text: &str) -> Vec<Self> {
        vec![Self::Text(text.to_owned())]
    }
}

/// How samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Signed 16 bits, little-endian.
    Pcm,
    /// G.711 mu-law: what came as mu-law leaves as the same octets.
    MuLaw,
    /// 32-bit floats from -1 to 1, little-endian.
    Float,
}

impl Encoding {
    pub(super) fn encode(self, samples: &[i16]) -> Bytes {
        match self {
            Self::Pcm => {
                let mut octets = Vec::with_capacity(samples.len() * 2);
                octets.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
                octets.into()
            }
            Self::MuLaw => samples.iter().map(|sample| g711::encode_ulaw(*sample)).collect(),
            Self::Float => {
                let mut octets = Vec::with_capacity(samples.len() * 4);
                let floats = samples.iter().map(|sample| f32::from(*sample) / 32_768.0);
                octets.extend(floats.flat_map(f32::to_le_bytes));
                octets.into()
            }
        }
    }

    /// `mu-law` or the vendor's word for 16-bit samples.
    pub(super) fn word(self, pcm: &'static str, mulaw: &'static str) -> &'static str {
        match self {
            Self::MuLaw => mulaw,
            Self::Pcm | Self::Float => pcm,
        }
    }
}

/// What keeps an idle connection open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeepAlive {
    /// Nothing is needed.
    None,
    /// A message.
    Text(&'static str),
    /// So much silence, ms.
    Silence(u32),
}

/// Figures of a provider.
#[derive(Clone, Debug)]
pub(super) struct Habits {
    /// Audio is gathered into messages of this length, ms; 0: sent as it comes.
    pub(super) chunk_ms: u32,
    /// Shortest message, ms: silence fills the last one of an utterance.
    pub(super) chunk_ms_min: u32,
    /// Keep-alive, and how long nothing was sent before it.
    pub(super) keep_alive: (KeepAlive, Duration),
    /// How long a `Finalize` may go unanswered.
    pub(super) grace: Duration,
    /// A `Finalize` unanswered by a server that said nothing for so long, although it got audio, means a
    /// dead connection.
    pub(super) silent_server: Duration,
    /// How far audio may run ahead of 1.25 times real time; `None`: as far as it likes.
    pub(super) lead: Option<Duration>,
    /// Audio that may wait for its words, s.
    pub(super) replay_seconds: usize,
    /// Audio is sent only between the onset and the end that VAD reports.
    pub(super) gated: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            chunk_ms: 0,
            chunk_ms_min: 0,
            keep_alive: (KeepAlive::None, Duration::from_secs(4)),
            grace: Duration::from_millis(700),
            silent_server: Duration::from_secs(3),
            lead: None,
            replay_seconds: 10,
            gated: false,
        }
    }
}

/// How far a result reaches on the connection's time axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Reach {
    /// In seconds of audio.
    Seconds(f64),
    /// Up to the oldest `Finalize` that is unanswered: the provider answers each one.
    Finalize,
    /// Everything that was sent.
    Sent,
    /// Nobody knows.
    Unknown,
}

/// Whether words answer a `Finalize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// They do.
    Yes,
    /// They do if they reach as far.
    IfCovered,
    /// They do not.
    No,
}

/// Words that will not change.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Words {
    pub(super) text: String,
    pub(super) confidence: Option<f32>,
    pub(super) reach: Reach,
    pub(super) answers: Answers,
}

/// What a vendor's message means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Meaning {
    /// Words after the last final ones; they may change.
    Interim(String),
    /// Words that stay.
    Final(Words),
    /// What the provider thinks of the turn.
    Turn(TurnSignal),
    /// No words wait for audio up to here, s.
    Quiet(f64),
    /// The connection is of no more use.
    Fatal(FailureKind, &'static str),
}

impl Meaning {
    /// A message that is not the protocol's.
    pub(super) const NOT_THE_PROTOCOL: Self =
        Self::Fatal(FailureKind::Protocol, "a message that is not the protocol's JSON");

    /// The vendor's own words may quote the caller: they are left out.
    pub(super) fn error(kind: FailureKind) -> Self {
        Self::Fatal(kind, "the provider reports an error")
    }
}

/// A vendor's messages.
pub(super) trait Dialect: Send + Sync {
    /// A new connection: the old one is forgotten. Gives what opens it.
    fn hello(&mut self) -> Vec<Outgoing> {
        Vec::new()
    }
    /// Whether audio and commands may be sent now.
    fn is_open(&self) -> bool {
        true
    }
    /// A message of encoded audio.
    fn audio(&mut self, octets: Bytes, _samples: usize) -> Outgoing {
        Outgoing::Binary(octets)
    }
    /// Asks for the final transcript of what was sent.
    fn finalize(&mut self) -> Vec<Outgoing>;
    /// The last message of a call.
    fn goodbye(&self) -> Option<String> {
        None
    }
    /// What a message means.
    fn understand(&mut self, incoming: Incoming, out: &mut Vec<Meaning>);
    /// Whether the provider ended the turn and no other began: there is nothing to ask for.
    fn turn_is_over(&self) -> bool {
        false
    }
    /// What a close code of this vendor's own means.
    fn closes(&self) -> fn(u16) -> Option<FailureKind> {
        |_| None
    }
}

/// Settings that all of them have.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) name: String,
    pub(super) base_url: String,
    pub(super) key: Secret,
    pub(super) model: String,
    pub(super) rate: SampleRate,
    pub(super) encoding: Encoding,
}

impl Settings {
    /// Settings of a provider that takes 16-bit samples, and mu-law where `mulaw` says so.
    pub(super) fn new(
        name: &str,
        config: &ProviderConfig,
        key: Secret,
        defaults: &Defaults,
    ) -> Result<Self, ConfigError> {
        let mulaw = config.mulaw(defaults.mulaw)?;
        let (rate, rates) =
            if mulaw { (SampleRate::HZ_8000, "8000") } else { (defaults.rate, defaults.rates) };
        Ok(Self {
            name: name.to_owned(),
            base_url: config.url(defaults.base_url)?,
            key,
            model: crate::providers::config::or_default(&config.model, defaults.model),
            rate: config.rate(rate, rates)?,
            encoding: if mulaw { Encoding::MuLaw } else { Encoding::Pcm },
        })
    }

    pub(super) fn endpoint(&self, url: String, auth: Option<(&'static str, Secret)>) -> Endpoint {
        let auth = auth.filter(|_| !self.key.is_empty());
        Endpoint { provider: self.name.clone(), stage: Stage::Stt, url, auth }
    }

    /// The key behind a word, in the usual header.
    pub(super) fn bearer(&self, scheme: &str) -> Option<(&'static str, Secret)> {
        Some(("authorization", Secret::new(format!("{scheme} {}", self.key.expose()))))
    }
}

/// What empty settings mean.
pub(super) struct Defaults {
    pub(super) base_url: &'static str,
    pub(super) model: &'static str,
    pub(super) rate: SampleRate,
    /// Rates that are taken, with ", " between them.
    pub(super) rates: &'static str,
    pub(super) mulaw: bool,
}

/// Gives the endpoint and the dialect of one call.
pub(super) type Dial = fn(&Settings, &SttParams) -> (Endpoint, Box<dyn Dialect>);

/// A recogniser that is nothing but its dialect.
pub(super) struct Recogniser {
    pub(super) settings: Settings,
    pub(super) habits: Habits,
    pub(super) ends_turns: bool,
    pub(super) dial: Dial,
}

impl Recogniser {
    pub(super) fn shared(self) -> Arc<dyn Stt> {
        Arc::new(self)
    }
}

impl Stt for Recogniser {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn model(&self) -> Option<&str> {
        Some(self.settings.model.as_str()).filter(|model| !model.is_empty())
    }

    fn sample_rate(&self) -> SampleRate {
        self.settings.rate
    }

    fn ends_turns(&self) -> bool {
        self.ends_turns
    }

    fn open(&self, params: SttParams) -> BoxFuture<'static, Result<SttSession, ProviderError>> {
        let (endpoint, dialect) = (self.dial)(&self.settings, &params);
        let format = (self.settings.rate, self.settings.encoding);
        open(endpoint, dialect, self.habits.clone(), format)
    }
}

/// Connects and runs a session.
pub(super) fn open(
    endpoint: Endpoint,
    dialect: Box<dyn Dialect>,
    habits: Habits,
    format: (SampleRate, Encoding),
) -> BoxFuture<'static, Result<SttSession, ProviderError>> {
    Box::pin(async move {
        let socket = Socket::connect(endpoint.clone()).await?;
        let (input, inbox) = mpsc::channel(STT_INPUT_QUEUE);
        let (outbox, events) = mpsc::channel(STT_EVENT_QUEUE);
        let line = Line::new(endpoint, dialect, habits, format, outbox);
        tokio::spawn(line.run(socket, inbox));
        Ok(SttSession { input, events })
    })
}

/// Cuts a text that is too long, between characters.
pub(super) fn clip(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        let mut end = TEXT_BYTES_MAX;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}

/// Adds text as it stands, up to [`TEXT_BYTES_MAX`].
pub(super) fn append(head: &mut String, tail: &str) {
    if head.len() + tail.len() <= TEXT_BYTES_MAX {
        head.push_str(tail);
    }
}

/// Two pieces with a space between them.
pub(super) fn join(head: &str, tail: &str) -> String {
    match (head.is_empty(), tail.is_empty()) {
        (true, _) => tail.to_owned(),
        (false, true) => head.to_owned(),
        (false, false) => format!("{head} {tail}"),
    }
}

/// A confidence as it is given on: 0 to 1.
pub(super) fn confidence(value: Option<f32>) -> Option<f32> {
    value.filter(|value| value.is_finite()).map(|value| value.clamp(0.0, 1.0))
}

/// The mean of confidences.
pub(super) fn mean(values: impl Iterator<Item = Option<f32>>) -> Option<f32> {
    let (sum, count) = values
        .filter_map(confidence)
        .fold((0.0f32, 0u16), |(sum, count), value| (sum + value, count.saturating_add(1)));
    (count > 0).then(|| sum / f32::from(count))
}

/// The language of a tag: `de` of `de-CH`.
pub(super) fn language(params: &SttParams) -> Option<&str> {
    params.language.split('-').next().filter(|language| !language.is_empty())
}

/// Shows a message to every dialect, as an open connection does. Gives the most meanings it had.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(incoming: &Incoming) -> usize {
    let dialects = [
        super::deepgram::dialect,
        super::flux::dialect,
        super::assemblyai::dialect,
        super::openai_realtime::dialect,
        super::soniox::dialect,
        super::speechmatics::dialect,
        super::vosk::dialect,
        super::sherpa::dialect,
        super::cartesia::dialect,
        super::scribe::dialect,
    ];
    let count = |make: fn() -> Box<dyn Dialect>| {
        let mut dialect = make();
        let mut out = Vec::new();
        // Whatever came before, and whether or not something was asked for.
        dialect.understand(incoming.clone(), &mut out);
        dialect.finalize();
        dialect.understand(incoming.clone(), &mut out);
        out.len()
    };
    dialects.into_iter().map(count).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
