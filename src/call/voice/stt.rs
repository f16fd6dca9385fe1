//! The recogniser's line: every frame goes in, transcripts come out, a dead session is replaced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::{VoiceEvent, WatchdogConfig, call_error, ms};
use crate::audio::resample::Resampler;
use crate::call::agent::AgentSnapshot;
use crate::net::clock;
use crate::providers::stt::{SttEvent, SttInput, SttParams, SttSession};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::telemetry::metrics;
use crate::types::{SampleRate, Usage, UsageKind, UsageUnit};
use crate::usage::meter::{self, Service};

/// Pause before a recogniser that failed for good is tried again, so that a long call can heal.
const REOPEN_AFTER: Duration = Duration::from_secs(5);

type Opening = BoxFuture<'static, Result<SttSession, ProviderError>>;

enum State {
    Opening {
        opening: Opening,
        by: Instant,
    },
    Open(SttSession),
    /// Waiting to try again.
    Broken {
        until: Instant,
    },
    /// The watchdog or a full stop found the session dead; `next` reports it.
    Dead(ProviderError),
}

/// The line.
pub struct SttLine {
    agent: Arc<AgentSnapshot>,
    watchdog: WatchdogConfig,
    state: State,
    attempts: u32,
    was_ready: bool,
    reported: bool,
    resampler: Option<Resampler>,
    finalize_by: Option<Instant>,
    /// A finalize the session has not seen because it was not open.
    owed: Option<u32>,
    /// Audio since the last flush, at the recogniser's rate.
    pending: Vec<i16>,
    /// Samples that sessions took.
    sent: u64,
}

impl SttLine {
    /// Begins to open a session.
    pub(super) fn open(agent: Arc<AgentSnapshot>, watchdog: WatchdogConfig) -> Self {
        let state = Self::opening(&agent, &watchdog);
        Self {
            agent,
            watchdog,
            state,
            attempts: 1,
            was_ready: false,
            reported: false,
            resampler: None,
            finalize_by: None,
            owed: None,
            pending: Vec::new(),
            sent: 0,
        }
    }

    fn opening(agent: &Arc<AgentSnapshot>, watchdog: &WatchdogConfig) -> State {
        let language = agent.facts.stt_language.as_ref().unwrap_or(&agent.language);
        let params = SttParams { language: language.clone(), keyterms: agent.keyterms.clone() };
        State::Opening { opening: agent.stt.open(params), by: clock::now() + ms(watchdog.open_ms) }
    }

    /// The line's rate, once the codec is known.
    pub fn set_line_rate(&mut self, rate: SampleRate) {
        let wanted = self.agent.stt.sample_rate();
        self.resampler = if wanted == rate { None } else { Resampler::new(rate, wanted).ok() };
    }

    /// Takes 20 ms of the caller, to be sent with the next [`SttLine::flush`].
    pub fn push(&mut self, samples: &[i16]) {
        if !matches!(self.state, State::Open(_)) {
            return;
        }
        match &mut self.resampler {
            None => self.pending.extend_from_slice(samples),
            Some(resampler) => resampler.push(samples, &mut self.pending),
        }
    }

    /// Sends what was pushed. A session that lags loses words and is counted.
    pub fn flush(&mut self) {
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
    fn input(&mut self, input: SttInput) -> bool {
        let State::Open(session) = &self.state else { return false };
        let taken = session.input.try_send(input).is_ok();
        if !taken {
            metrics::queue_full("stt_input");
        }
        taken
    }

    /// Adds the seconds of audio that were sent.
    pub(super) fn add_usage(&self, usage: &mut Vec<Usage>) {
        let stt = &self.agent.stt;
        let service = Service { kind: UsageKind::Stt, provider: stt.name(), model: stt.model() };
        let seconds = stt.sample_rate().duration_of(self.sent).as_secs_f64();
        meter::add(usage, service, UsageUnit::Second, seconds);
    }

    /// VAD says that the caller began to speak.
    pub fn speech_started(&mut self) {
        self.flush();
        self.input(SttInput::SpeechStarted);
    }

    /// VAD says that the caller stopped.
    pub fn finalize(&mut self, id: u32) {
        self.finalize_by = Some(clock::now() + ms(self.watchdog.stt_final_ms));
        self.flush();
        match &self.state {
            State::Open(_) => {
                self.input(SttInput::Finalize { id });
            }
            State::Opening { .. } | State::Broken { .. } | State::Dead(_) => self.owed = Some(id),
        }
    }

    /// Cancellation-safe.
    pub(super) async fn next(&mut self) -> VoiceEvent {
        loop {
            let event = match &mut self.state {
                State::Opening { opening, by } => {
                    let by = *by;
                    let opened = tokio::time::timeout_at(by.into(), opening).await;
                    Some(self.on_opened(opened.ok()))
                }
                State::Open(session) => match session.events.recv().await {
                    Some(event) => self.on_event(event),
                    None => Some(self.on_error(self.error(FailureKind::Cut, "the session ended"))),
                },
                State::Broken { until } => {
                    let until = *until;
                    tokio::time::sleep_until(until.into()).await;
                    self.attempts = 1;
                    self.state = Self::opening(&self.agent, &self.watchdog);
                    None
                }
                State::Dead(error) => {
                    let error = error.clone();
                    Some(self.on_error(error))
                }
            };
            if let Some(event) = event {
                return event;
            }
            if matches!(self.state, State::Open(_)) {
                tokio::task::consume_budget().await;
            }
        }
    }

    fn on_opened(&mut self, opened: Option<Result<SttSession, ProviderError>>) -> VoiceEvent {
        match opened {
            Some(Ok(session)) => {
                if let Some(id) = self.owed.take() {
                    let _ = session.input.try_send(SttInput::Finalize { id });
                }
                self.state = State::Open(session);
                let first = !std::mem::replace(&mut self.was_ready, true);
                self.reported = false;
                if first {
                    VoiceEvent::Ready(Stage::Stt)
                } else {
                    VoiceEvent::Recovered(Stage::Stt)
                }
            }
            Some(Err(error)) => self.on_error(error),
            None => self.on_error(self.error(
                FailureKind::Stalled,
                &format!("the session did not open within {} ms", self.watchdog.open_ms),
            )),
        }
    }

    fn on_event(&mut self, event: SttEvent) -> Option<VoiceEvent> {
        match event {
            SttEvent::Partial { text } => Some(VoiceEvent::SttPartial(text)),
            SttEvent::Final { text, confidence, answers, understood, at } => {
                if answers.is_some() {
                    self.finalize_by = None;
                    self.attempts = 1;
                    metrics::provider_request("stt", self.agent.stt.name(), "ok");
                }
                Some(VoiceEvent::SttFinal { text, confidence, answers, understood, at })
            }
            SttEvent::Turn { signal, at } => Some(VoiceEvent::SttTurn(signal, at)),
            SttEvent::Failed(error) => Some(self.on_error(error)),
            SttEvent::Reconnected => Some(VoiceEvent::Recovered(Stage::Stt)),
        }
    }

    fn on_error(&mut self, error: ProviderError) -> VoiceEvent {
        metrics::provider_request("stt", self.agent.stt.name(), error.kind.as_str());
        self.finalize_by = None;
        if error.kind.is_retryable() && self.attempts < self.watchdog.attempts_max {
            self.attempts += 1;
            self.state = Self::opening(&self.agent, &self.watchdog);
            return VoiceEvent::Retrying(error);
        }
        self.state = State::Broken { until: clock::now() + REOPEN_AFTER };
        // One report for one outage: the machine apologises once, not every five seconds.
        if std::mem::replace(&mut self.reported, true) {
            VoiceEvent::Retrying(error)
        } else {
            VoiceEvent::SttFailed(call_error(&error))
        }
    }

    fn error(&self, kind: FailureKind, detail: &str) -> ProviderError {
        ProviderError {
            provider: self.agent.stt.name().to_owned(),
            stage: Stage::Stt,
            kind,
            detail: detail.to_owned(),
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.finalize_by
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        if self.finalize_by.is_some_and(|by| by <= now) {
            self.finalize_by = None;
            if matches!(self.state, State::Open(_)) {
                let detail =
                    format!("no final transcript within {} ms", self.watchdog.stt_final_ms);
                self.state = State::Dead(self.error(FailureKind::Stalled, &detail));
            }
        }
    }
}
