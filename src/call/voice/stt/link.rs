//! One session of a recogniser: what it is given, at its own rate.

use std::time::Instant;

use futures_util::future::BoxFuture;

use super::super::ms;
use super::ring::Ring;
use crate::audio::resample::Resampler;
use crate::net::clock;
use crate::providers::ProviderError;
use crate::providers::stt::{Stt, SttEvent, SttInput, SttParams, SttSession};
use crate::telemetry::metrics;
use crate::types::SampleRate;

type Opening = BoxFuture<'static, Result<SttSession, ProviderError>>;

pub(super) enum State {
    Opening {
        opening: Opening,
        by: Instant,
    },
    Open(SttSession),
    /// Waiting to try again.
    Broken {
        until: Instant,
    },
    /// Found dead; `next` reports it.
    Dead(ProviderError),
}

/// A session and whose it is.
pub(super) struct Link {
    /// Place in the route.
    pub(super) leg: usize,
    pub(super) state: State,
    /// When it was begun.
    pub(super) since: Instant,
    /// Whether a fallback is asked as well if it takes long to open.
    pub(super) hedges: bool,
    /// Rate it wants.
    rate: SampleRate,
    resampler: Option<Resampler>,
    /// Audio since the last flush, at its rate.
    pending: Vec<i16>,
    /// Samples it took.
    pub(super) sent: u64,
    /// Whether it ever understood a word.
    pub(super) understood: bool,
}

/// What a session did.
pub(super) enum Told {
    /// It is open; `None`: it is not, and the time is up.
    Opened(Option<Result<SttSession, ProviderError>>),
    /// It spoke; `None`: it ended.
    Event(Option<SttEvent>),
    /// It was found dead before.
    Dead(ProviderError),
    /// It is to be tried again.
    Again,
}

impl Link {
    pub(super) fn begin(leg: usize, stt: &dyn Stt, params: SttParams, within_ms: u64) -> Self {
        let since = clock::now();
        let state = State::Opening { opening: stt.open(params), by: since + ms(within_ms) };
        let (pending, rate) = (Vec::new(), stt.sample_rate());
        Self {
            leg,
            state,
            since,
            hedges: true,
            rate,
            resampler: None,
            pending,
            sent: 0,
            understood: false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// The line's rate is known.
    pub(super) fn set_line_rate(&mut self, line: SampleRate) {
        self.resampler =
            if self.rate == line { None } else { Resampler::new(line, self.rate).ok() };
    }

    /// Takes audio of the line, to be sent with the next flush.
    pub(super) fn push(&mut self, samples: &[i16]) {
        if !self.is_open() {
            return;
        }
        match &mut self.resampler {
            None => self.pending.extend_from_slice(samples),
            Some(resampler) => resampler.push(samples, &mut self.pending),
        }
    }

    /// Sends what was pushed. A session that lags loses words and is counted.
    pub(super) fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let audio = std::mem::take(&mut self.pending);
        let samples = audio.len() as u64;
        if self.input(SttInput::Audio(audio)) {
            self.sent += samples;
        }
    }

    /// Says whether the session took it.
    pub(super) fn input(&self, input: SttInput) -> bool {
        let State::Open(session) = &self.state else { return false };
        let taken = session.input.try_send(input).is_ok();
        if !taken {
            metrics::queue_full("stt_input");
        }
        taken
    }

    /// It is open: it hears what no transcript accounts for, and is asked for what is owed.
    pub(super) fn opened(&mut self, session: SttSession, ring: Option<&Ring>, asked: Option<u32>) {
        self.state = State::Open(session);
        if let Some(ring) = ring {
            self.set_line_rate(ring.rate());
            if ring.is_speaking() || asked.is_some() {
                self.input(SttInput::SpeechStarted);
            }
            for piece in ring.pieces() {
                self.push(&piece);
                self.flush();
            }
        }
        if let Some(id) = asked {
            self.input(SttInput::Finalize { id });
        }
    }

    /// Cancellation-safe.
    pub(super) async fn step(&mut self) -> Told {
        match &mut self.state {
            State::Opening { opening, by } => {
                let opened = tokio::time::timeout_at((*by).into(), opening).await;
                Told::Opened(opened.ok())
            }
            State::Open(session) => Told::Event(session.events.recv().await),
            State::Broken { until } => {
                tokio::time::sleep_until((*until).into()).await;
                Told::Again
            }
            State::Dead(error) => Told::Dead(error.clone()),
        }
    }
}
