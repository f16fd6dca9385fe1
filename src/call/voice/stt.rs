//! The recogniser's line: every frame goes in, transcripts come out, a dead session is replaced.
//!
//! What no final transcript accounts for is kept, at most 10 s of it: a session that takes over hears it first, so
//! that an utterance outlives the recogniser it was spoken to.

mod link;
mod ring;

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::link::{Link, State, Told};
use self::ring::Ring;
use super::route::{Route, SLOW};
use super::{VoiceEvent, WatchdogConfig, call_error, ms};
use crate::call::agent::AgentSnapshot;
use crate::call::breaker::Breakers;
use crate::net::clock;
use crate::providers::stt::{Stt, SttEvent, SttInput, SttParams};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::telemetry::metrics;
use crate::types::{SampleRate, Usage, UsageKind, UsageUnit};
use crate::usage::meter::{self, Service};

/// Pause before a recogniser that failed for good is tried again, so that a long call can heal.
const REOPEN_AFTER: Duration = Duration::from_secs(5);
/// Reason of a failover whose provider found no words where another did.
const EMPTY: &str = "empty";
/// Shortest speech that must have words in it, as far as another recogniser is asked for them.
const WORDS_IN: Duration = Duration::from_millis(400);

/// A finalize that is not answered.
struct Asked {
    id: u32,
    /// When the session is taken for dead.
    by: Instant,
    /// When a fallback hears the same.
    hedge_at: Option<Instant>,
    /// Samples of the call until then, and of its speech.
    position: u64,
    speech: u64,
}

/// The line.
pub struct SttLine {
    agent: Arc<AgentSnapshot>,
    watchdog: WatchdogConfig,
    route: Route<Arc<dyn Stt>>,
    main: Link,
    /// A fallback that hears the same, because the recogniser is slow or found no words: the first words win.
    rival: Option<Link>,
    attempts: u32,
    was_ready: bool,
    reported: bool,
    /// What no transcript accounts for; `None` until the line's rate is known.
    ring: Option<Ring>,
    asked: Option<Asked>,
    /// An answer without words that waits for the rival's.
    empty: Option<VoiceEvent>,
    /// Where the newest speech began.
    speech_from: u64,
    /// What is to be told next.
    ready: VecDeque<VoiceEvent>,
    /// Samples that earlier sessions of each leg took.
    sent: Vec<u64>,
}

impl SttLine {
    /// Begins to open a session.
    pub(super) fn open(
        agent: Arc<AgentSnapshot>,
        watchdog: WatchdogConfig,
        breakers: &Breakers,
    ) -> Self {
        let engines = [&agent.stt].into_iter().chain(&agent.fallbacks.stt);
        let engines = engines.map(|stt| (Arc::clone(stt), stt.name().to_owned()));
        let mut route = Route::new(Stage::Stt, engines, breakers, &agent.facts.organization_id);
        let leg = route.begin(0, clock::now());
        let ready = route.passed_over(0, leg).into_iter().collect();
        Self {
            main: link(&route, leg, &agent, &watchdog),
            sent: vec![0; route.len()],
            agent,
            watchdog,
            route,
            rival: None,
            attempts: 1,
            was_ready: false,
            reported: false,
            ring: None,
            asked: None,
            empty: None,
            speech_from: 0,
            ready,
        }
    }

    fn begin(&self, leg: usize) -> Link {
        link(&self.route, leg, &self.agent, &self.watchdog)
    }

    /// Another session in the place of the main one.
    fn replace(&mut self, next: Link) {
        let old = std::mem::replace(&mut self.main, next);
        self.retire(&old);
    }

    fn retire(&mut self, old: &Link) {
        if let Some(sum) = self.sent.get_mut(old.leg) {
            *sum += old.sent;
        }
    }

    /// The line's rate, once the codec is known.
    pub fn set_line_rate(&mut self, rate: SampleRate) {
        self.ring = Some(Ring::new(rate));
        self.main.set_line_rate(rate);
        if let Some(rival) = &mut self.rival {
            rival.set_line_rate(rate);
        }
    }

    /// Takes 20 ms of the caller, to be sent with the next [`SttLine::flush`].
    pub fn push(&mut self, samples: &[i16]) {
        if let Some(ring) = &mut self.ring {
            ring.push(samples);
        }
        self.main.push(samples);
        if let Some(rival) = &mut self.rival {
            rival.push(samples);
        }
    }

    /// Sends what was pushed.
    pub fn flush(&mut self) {
        self.main.flush();
        if let Some(rival) = &mut self.rival {
            rival.flush();
        }
    }

    fn input(&mut self, input: SttInput) {
        self.flush();
        if let Some(rival) = &self.rival {
            rival.input(input.clone());
        }
        self.main.input(input);
    }

    /// Adds the seconds of audio that were sent.
    pub(super) fn add_usage(&self, usage: &mut Vec<Usage>) {
        let now = [Some(&self.main), self.rival.as_ref()];
        for (leg, sent) in self.sent.iter().enumerate() {
            let live = now.iter().flatten().filter(|link| link.leg == leg).map(|link| link.sent);
            let samples = *sent + live.sum::<u64>();
            let Some(stt) = self.route.engine(leg).filter(|_| leg == 0 || samples > 0) else {
                continue;
            };
            let service =
                Service { kind: UsageKind::Stt, provider: stt.name(), model: stt.model() };
            let seconds = stt.sample_rate().duration_of(samples).as_secs_f64();
            meter::add(usage, service, UsageUnit::Second, seconds);
        }
    }

    /// VAD says that the caller began to speak.
    pub fn speech_started(&mut self) {
        if let Some(ring) = &mut self.ring {
            ring.speech_started();
            self.speech_from = ring.position();
        }
        self.input(SttInput::SpeechStarted);
    }

    /// VAD says that the caller stopped.
    pub fn finalize(&mut self, id: u32) {
        let now = clock::now();
        let hedges = self.watchdog.stt_hedge_ms > 0 && !self.route.is_alone();
        let position = self.ring.as_ref().map_or(0, Ring::position);
        self.asked = Some(Asked {
            id,
            by: now + ms(self.watchdog.stt_final_ms),
            hedge_at: hedges.then(|| now + ms(self.watchdog.stt_hedge_ms)),
            position,
            speech: position.saturating_sub(self.speech_from),
        });
        // The words of the one before come with this one's.
        self.empty = None;
        self.input(SttInput::Finalize { id });
    }

    /// Cancellation-safe.
    pub(super) async fn next(&mut self) -> VoiceEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            let rival = async {
                match &mut self.rival {
                    Some(rival) => rival.step().await,
                    None => pending().await,
                }
            };
            let (of_rival, told) = tokio::select! {
                biased;
                told = self.main.step() => (false, told),
                told = rival => (true, told),
            };
            let event = if of_rival { self.on_rival(told) } else { self.on_main(told) };
            if let Some(event) = event {
                return event;
            }
            if self.main.is_open() {
                tokio::task::consume_budget().await;
            }
        }
    }

    fn on_main(&mut self, told: Told) -> Option<VoiceEvent> {
        match told {
            Told::Opened(Some(Ok(session))) => {
                let asked = self.asked.as_ref().map(|asked| asked.id);
                self.main.opened(session, self.ring.as_ref(), asked);
                if asked.is_none() {
                    self.rival = None;
                }
                self.reported = false;
                Some(self.is_ready())
            }
            Told::Opened(Some(Err(error))) | Told::Dead(error) => Some(self.on_error(error)),
            Told::Opened(None) => {
                let detail =
                    format!("the session did not open within {} ms", self.watchdog.open_ms);
                Some(self.on_error(self.error(FailureKind::Stalled, &detail)))
            }
            Told::Event(Some(event)) => self.on_event(event),
            Told::Event(None) => {
                Some(self.on_error(self.error(FailureKind::Cut, "the session ended")))
            }
            Told::Again => {
                self.attempts = 1;
                let from = self.main.leg;
                let leg = self.route.begin(from, clock::now());
                let next = self.begin(leg);
                self.replace(next);
                self.route.passed_over(from, leg)
            }
        }
    }

    fn is_ready(&mut self) -> VoiceEvent {
        if std::mem::replace(&mut self.was_ready, true) {
            VoiceEvent::Recovered(Stage::Stt)
        } else {
            VoiceEvent::Ready(Stage::Stt)
        }
    }

    fn on_event(&mut self, event: SttEvent) -> Option<VoiceEvent> {
        match event {
            SttEvent::Partial { text } => {
                self.main.understood |= !text.reveal().trim().is_empty();
                Some(VoiceEvent::SttPartial(text))
            }
            SttEvent::Final { text, confidence, answers, understood, at } => {
                let has_words = !text.reveal().trim().is_empty();
                self.main.understood |= has_words;
                let event = VoiceEvent::SttFinal { text, confidence, answers, understood, at };
                if answers.is_none() {
                    if let Some(ring) = self.ring.as_mut().filter(|_| has_words) {
                        ring.partly_accounted();
                    }
                    return Some(event);
                }
                if !has_words && !understood && self.second_opinion(answers) {
                    self.empty = Some(event);
                    return None;
                }
                self.attempts = 1;
                metrics::provider_request("stt", self.name(), "ok");
                self.route.worked(self.main.leg);
                self.answered(answers);
                Some(event)
            }
            SttEvent::Turn { signal, at } => Some(VoiceEvent::SttTurn(signal, at)),
            SttEvent::Failed(error) => Some(self.on_error(error)),
            SttEvent::Reconnected => Some(VoiceEvent::Recovered(Stage::Stt)),
        }
    }

    /// The newest finalize has its answer: what it is about is accounted for.
    fn answered(&mut self, id: Option<u32>) {
        let Some(asked) = self.asked.take_if(|asked| Some(asked.id) == id) else { return };
        if let Some(ring) = &mut self.ring {
            ring.accounted(asked.position, true);
        }
        self.empty = None;
        if let Some(rival) = self.rival.take() {
            self.retire(&rival);
        }
    }

    /// Whether somebody else is asked for the words of speech in which a recogniser that never understood any on
    /// this call found none. A cough has no words for the other one either.
    fn second_opinion(&mut self, id: Option<u32>) -> bool {
        let Some(asked) = self.asked.as_mut().filter(|asked| Some(asked.id) == id) else {
            return false;
        };
        let rate = self.ring.as_ref().map_or(SampleRate::HZ_8000, Ring::rate);
        if self.main.understood || rate.duration_of(asked.speech) < WORDS_IN {
            return false;
        }
        asked.hedge_at = None;
        asked.by = clock::now() + ms(self.watchdog.stt_final_ms / 2);
        if self.rival.is_none() {
            self.challenge();
        }
        self.rival.is_some()
    }

    fn challenge(&mut self) {
        if let Some(leg) = self.route.rival_of(self.main.leg, clock::now()) {
            self.rival = Some(self.begin(leg));
        }
    }

    /// The rival's first words make it the recogniser of the call; its failure costs nothing.
    fn on_rival(&mut self, told: Told) -> Option<VoiceEvent> {
        match told {
            Told::Opened(Some(Ok(session))) => {
                let asked = self.asked.as_ref().map(|asked| asked.id);
                self.rival.as_mut()?.opened(session, self.ring.as_ref(), asked);
                if !self.main.is_open() {
                    self.promote(SLOW, FailureKind::Stalled);
                    let ready = self.is_ready();
                    self.ready.push_back(ready);
                    return self.ready.pop_front();
                }
                None
            }
            Told::Event(Some(SttEvent::Final { text, confidence, answers, understood, at })) => {
                let ours = answers.is_some() && answers == self.asked.as_ref().map(|own| own.id);
                if !ours {
                    return None;
                }
                let event = SttEvent::Final { text, confidence, answers, understood, at };
                if !understood && self.empty.is_some() {
                    // Nobody found words: there are none.
                    let empty = self.empty.take();
                    self.route.worked(self.main.leg);
                    self.answered(answers);
                    return empty;
                }
                let (reason, kind) = match self.empty.take() {
                    Some(_) => (EMPTY, FailureKind::Protocol),
                    None => (SLOW, FailureKind::Stalled),
                };
                self.promote(reason, kind);
                let event = self.on_event(event);
                self.ready.extend(event);
                self.ready.pop_front()
            }
            Told::Event(Some(SttEvent::Failed(error)))
            | Told::Opened(Some(Err(error)))
            | Told::Dead(error) => {
                self.drop_rival(error.kind);
                Some(VoiceEvent::Retrying(error))
            }
            Told::Opened(None) => self.drop_rival(FailureKind::Stalled),
            Told::Event(None) => self.drop_rival(FailureKind::Cut),
            Told::Event(Some(_)) | Told::Again => None,
        }
    }

    /// Without a rival the answer without words has to do.
    fn drop_rival(&mut self, kind: FailureKind) -> Option<VoiceEvent> {
        let rival = self.rival.take()?;
        self.retire(&rival);
        metrics::provider_request("stt", self.route.name(rival.leg), kind.as_str());
        self.route.failed(rival.leg, kind, clock::now());
        self.give_empty()
    }

    fn give_empty(&mut self) -> Option<VoiceEvent> {
        let empty = self.empty.take();
        if empty.is_some() {
            let id = self.asked.as_ref().map(|asked| asked.id);
            self.answered(id);
            self.ready.extend(empty);
        }
        self.ready.pop_front()
    }

    fn promote(&mut self, reason: &'static str, kind: FailureKind) {
        let Some(rival) = self.rival.take() else { return };
        let event = self.route.failover(self.main.leg, rival.leg, reason);
        metrics::provider_request("stt", self.name(), kind.as_str());
        self.route.failed(self.main.leg, kind, clock::now());
        self.replace(rival);
        self.moved(event);
    }

    fn moved(&mut self, event: VoiceEvent) {
        self.ready.push_back(event);
        self.attempts = 1;
        if let Some(asked) = &mut self.asked {
            asked.by = clock::now() + ms(self.watchdog.stt_final_ms);
            asked.hedge_at = None;
        }
    }

    fn on_error(&mut self, error: ProviderError) -> VoiceEvent {
        if self.rival.is_some() {
            self.promote(error.kind.as_str(), error.kind);
            return VoiceEvent::Retrying(error);
        }
        metrics::provider_request("stt", self.name(), error.kind.as_str());
        let now = clock::now();
        let from = self.main.leg;
        self.route.failed(from, error.kind, now);
        let again = error.kind.is_retryable() && self.attempts < self.watchdog.attempts_max;
        // One that says nothing is not waited for twice if there is another.
        let again = again && (error.kind != FailureKind::Stalled || self.route.is_alone());
        if again {
            self.attempts += 1;
            let next = self.begin(from);
            self.replace(next);
            return VoiceEvent::Retrying(error);
        }
        if let Some(leg) = self.route.after(from, now) {
            let event = self.route.failover(from, leg, error.kind.as_str());
            let next = self.begin(leg);
            self.replace(next);
            self.moved(event);
            return VoiceEvent::Retrying(error);
        }
        self.asked = None;
        self.empty = None;
        self.route.forget();
        self.main.state = State::Broken { until: now + REOPEN_AFTER };
        // One report for one outage: the machine apologises once, not every five seconds.
        if std::mem::replace(&mut self.reported, true) {
            VoiceEvent::Retrying(error)
        } else {
            VoiceEvent::SttFailed(call_error(&error))
        }
    }

    fn name(&self) -> &str {
        self.route.name(self.main.leg)
    }

    fn error(&self, kind: FailureKind, detail: &str) -> ProviderError {
        ProviderError {
            provider: self.name().to_owned(),
            stage: Stage::Stt,
            kind,
            detail: detail.to_owned(),
        }
    }

    /// When a fallback hears the same.
    fn hedge_at(&self) -> Option<Instant> {
        if self.rival.is_some() || self.route.is_alone() || self.watchdog.stt_hedge_ms == 0 {
            return None;
        }
        let asked = self.asked.as_ref().and_then(|asked| asked.hedge_at);
        match self.main.state {
            State::Opening { .. } if self.main.hedges => {
                let at = self.main.since + ms(self.watchdog.stt_hedge_ms);
                Some(asked.map_or(at, |asked| asked.min(at)))
            }
            State::Opening { .. } | State::Open(_) => asked,
            State::Broken { .. } | State::Dead(_) => None,
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        let by = self.asked.as_ref().map(|asked| asked.by).filter(|_| self.main.is_open());
        [by, self.hedge_at()].into_iter().flatten().min()
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        if self.hedge_at().is_some_and(|at| at <= now) {
            self.main.hedges = false;
            if let Some(asked) = &mut self.asked {
                asked.hedge_at = None;
            }
            self.challenge();
        }
        if !self.main.is_open() || self.asked.as_ref().is_none_or(|asked| now < asked.by) {
            return;
        }
        if self.empty.is_some() {
            // The rival does not know either.
            if let Some(rival) = self.rival.take() {
                self.retire(&rival);
            }
            let event = self.give_empty();
            self.ready.extend(event);
            return;
        }
        if let Some(asked) = &mut self.asked {
            asked.by = now + ms(self.watchdog.stt_final_ms);
        }
        let detail = format!("no final transcript within {} ms", self.watchdog.stt_final_ms);
        self.main.state = State::Dead(self.error(FailureKind::Stalled, &detail));
    }
}

fn link(
    route: &Route<Arc<dyn Stt>>,
    leg: usize,
    agent: &AgentSnapshot,
    watchdog: &WatchdogConfig,
) -> Link {
    let language = agent.facts.stt_language.as_ref().unwrap_or(&agent.language);
    let params = SttParams { language: language.clone(), keyterms: agent.keyterms.clone() };
    let stt = route.engine(leg).unwrap_or(&agent.stt);
    Link::begin(leg, stt.as_ref(), params, watchdog.open_ms)
}

#[cfg(test)]
mod tests;
