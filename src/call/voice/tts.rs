//! The voice's line: sentences in, audio out in order; a dead session is replaced and its sentences said again.
//!
//! A sentence becomes its spoken form here, and marks come back as characters of the sentence. What is kept already needs
//! no session: it sounds as soon as the sentences before it are done.

mod link;
pub(super) mod signal;

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::link::{Link, State, Told};
use super::cache::{Key, TtsCache};
use super::route::{Route, SLOW};
use super::sentence::Sentence;
use super::{VoiceEvent, WatchdogConfig, call_error, ms};
use crate::call::agent::{AgentSnapshot, FallbackVoice};
use crate::call::breaker::Breakers;
use crate::net::clock;
use crate::providers::tts::{AlignmentMark, TtsEvent, TtsInput, TtsParams, TtsSession};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::speech::Speech;
use crate::telemetry::metrics;
use crate::types::{Generation, Pcm, Pii, Usage, UsageKind, UsageUnit};
use crate::usage::meter::{self, Service};

/// Sentences that may wait for a voice; the turn machine never makes more in one reply.
const PENDING_MAX: usize = 128;

/// How long before the agent falls silent a fallback is asked: about what it takes to speak.
const HEDGE_LEAD: Duration = Duration::from_millis(300);

/// The line.
pub struct TtsLine {
    agent: Arc<AgentSnapshot>,
    watchdog: WatchdogConfig,
    speech: Speech,
    cache: Arc<TtsCache>,
    route: Route<FallbackVoice>,
    main: Link,
    /// A fallback that is asked for the same, because the voice is slow: whoever sounds first stays.
    rival: Option<Link>,
    /// Whether a rival was looked for since the sentence at the head is owed.
    hedged: bool,
    attempts: u32,
    was_ready: bool,
    pending: VecDeque<Sentence>,
    /// What is to be told next.
    ready: VecDeque<VoiceEvent>,
    failed: VecDeque<(Generation, u32, ProviderError)>,
    ended: VecDeque<(Generation, u32)>,
    /// Since when the sentence at the head is owed.
    owed_since: Option<Instant>,
    /// Until when what was given sounds, as far as the line can know: nobody waits while the agent talks.
    plays_until: Instant,
    first_audio_by: Option<Instant>,
    /// Characters that sessions took, those said again included; for each leg.
    characters: Vec<u64>,
}

impl TtsLine {
    /// Begins to open a session.
    pub(super) fn open(
        agent: Arc<AgentSnapshot>,
        watchdog: WatchdogConfig,
        voice: String,
        cache: Arc<TtsCache>,
        breakers: &Breakers,
    ) -> Self {
        let (tts, service) = (Arc::clone(&agent.tts), agent.tts_service.clone());
        let own = FallbackVoice { tts, service, voice };
        let voices = [own].into_iter().chain(agent.fallbacks.tts.iter().cloned());
        let voices = voices.map(|voice| {
            let name = voice.tts.name().to_owned();
            (voice, name)
        });
        let mut route = Route::new(Stage::Tts, voices, breakers, &agent.facts.organization_id);
        let leg = route.begin(0, clock::now());
        let ready = route.passed_over(0, leg).into_iter().collect();
        let main = link(&route, leg, &agent, &watchdog);
        Self {
            speech: Speech::new(&agent.speech, &agent.language),
            cache,
            agent,
            watchdog,
            characters: vec![0; route.len()],
            route,
            main,
            rival: None,
            hedged: false,
            attempts: 1,
            was_ready: false,
            pending: VecDeque::new(),
            ready,
            failed: VecDeque::new(),
            ended: VecDeque::new(),
            owed_since: None,
            plays_until: clock::now(),
            first_audio_by: None,
        }
    }

    fn begin(&self, leg: usize) -> Link {
        link(&self.route, leg, &self.agent, &self.watchdog)
    }

    fn key(&self, spoken: &str) -> Option<Key> {
        let voice = self.route.engine(self.main.leg)?;
        let said_by = (voice.tts.as_ref(), voice.service.as_str(), voice.voice.as_str());
        Some(Key::said_by(&self.agent, said_by, spoken))
    }

    /// Speaks a sentence after those before it.
    pub fn say(&mut self, generation: Generation, seq: u32, text: Pii<String>) {
        if self.pending.len() >= PENDING_MAX {
            metrics::queue_full("tts_pending");
            let error = self.error(FailureKind::Stalled, "too many sentences wait for the voice");
            self.failed.push_back((generation, seq, error));
            return;
        }
        let spoken = self.speech.say(text.reveal());
        if spoken.is_silent() {
            // It stays in the text and makes no sound.
            self.ended.push_back((generation, seq));
            return;
        }
        let mut sentence = Sentence::new((generation, seq), spoken);
        if let Some(tier) = self.cache.tier(&self.agent, text.reveal())
            && let Some(key) = self.key(sentence.text())
        {
            sentence.kept = self.cache.find(key);
            if sentence.kept.is_none() {
                sentence.take = self.cache.take(key, tier);
            }
        }
        let needs_session = sentence.kept.is_none();
        self.pending.push_back(sentence);
        if needs_session {
            self.send_last();
        }
        self.arm();
    }

    /// Gives the last sentence to the session, or has one opened.
    fn send_last(&mut self) {
        match &self.main.state {
            State::Open(_) => {
                let Some(sentence) = self.pending.back() else { return };
                let (input, characters) = (sentence.input(), sentence.characters());
                if self.main.input(input.clone()) {
                    self.count(self.main.leg, characters);
                } else {
                    metrics::queue_full("tts_input");
                    let error = self.error(FailureKind::Stalled, "the session takes no text");
                    self.main.state = State::Dead(error);
                }
                let rival = self.rival.as_ref().filter(|rival| rival.input(input));
                if let Some(leg) = rival.map(|rival| rival.leg) {
                    self.count(leg, characters);
                }
            }
            State::Closed => {
                self.attempts = 1;
                let now = clock::now();
                let leg = self.route.begin(self.main.leg, now);
                self.ready.extend(self.route.passed_over(self.main.leg, leg));
                self.main = self.begin(leg);
            }
            State::Opening { .. } | State::Dead(_) => {}
        }
    }

    fn count(&mut self, leg: usize, characters: u64) {
        if let Some(sum) = self.characters.get_mut(leg) {
            *sum += characters;
        }
    }

    /// Gives a session that is open now all that waits. What is kept needs no session.
    fn send_all(&mut self, leg: usize, session: &TtsSession) {
        let mut characters = 0;
        for sentence in self.pending.iter().filter(|sentence| sentence.kept.is_none()) {
            if session.input.try_send(sentence.input()).is_ok() {
                characters += sentence.characters();
            }
        }
        self.count(leg, characters);
    }

    /// The sentence whose turn it is sounds at once if it is kept.
    fn play_kept(&mut self) {
        while let Some(rendering) = self.pending.front().and_then(|head| head.kept.clone()) {
            let Some(mut sentence) = self.pending.pop_front() else { return };
            let (generation, seq) = (sentence.generation, sentence.seq);
            let (pcm, at) = (rendering.pcm.clone(), clock::now());
            self.plays(&pcm);
            sentence.audio(&pcm);
            let marks = sentence.align(rendering.marks.clone());
            self.ready.push_back(VoiceEvent::TtsAudio { generation, seq, pcm, is_kept: true, at });
            self.finish(&sentence, marks);
        }
        self.arm();
    }

    fn plays(&mut self, pcm: &Pcm) {
        self.plays_until = self.plays_until.max(clock::now()) + pcm.duration();
    }

    /// All of a sentence's audio is there.
    fn finish(&mut self, sentence: &Sentence, marks: Vec<AlignmentMark>) {
        let (generation, seq) = (sentence.generation, sentence.seq);
        let estimated = sentence.estimated();
        for marks in [marks, estimated].into_iter().filter(|marks| !marks.is_empty()) {
            self.ready.push_back(VoiceEvent::TtsAligned(generation, seq, marks));
        }
        self.ready.push_back(VoiceEvent::TtsDone(generation, seq));
    }

    /// Stops everything of `generation` and before.
    pub fn cancel(&mut self, generation: Generation) {
        self.pending.retain(|sentence| sentence.generation > generation);
        self.failed.retain(|(of, _, _)| *of > generation);
        self.ended.retain(|(of, _)| *of > generation);
        self.ready.retain(|event| generation_of(event).is_none_or(|of| of > generation));
        self.plays_until = clock::now();
        self.main.input(TtsInput::Cancel { generation });
        if let Some(rival) = &self.rival {
            rival.input(TtsInput::Cancel { generation });
        }
        self.owed_since = None;
        self.first_audio_by = None;
        self.arm();
    }

    /// The watchdog waits for the sentence at the head only: those behind it wait their turn.
    fn arm(&mut self) {
        match self.pending.front() {
            Some(head) if !head.heard && head.kept.is_none() => {
                let now = clock::now();
                if self.owed_since.is_none() {
                    self.owed_since = Some(now);
                    self.hedged = false;
                }
                self.first_audio_by
                    .get_or_insert_with(|| now + ms(self.watchdog.tts_first_audio_ms));
            }
            _ => {
                self.owed_since = None;
                self.first_audio_by = None;
            }
        }
    }

    /// Cancellation-safe.
    pub(super) async fn next(&mut self) -> VoiceEvent {
        loop {
            self.play_kept();
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            if let Some((generation, seq)) = self.ended.pop_front() {
                return VoiceEvent::TtsDone(generation, seq);
            }
            if let Some((generation, seq, error)) = self.failed.pop_front() {
                return VoiceEvent::TtsFailed(generation, seq, call_error(&error));
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
        }
    }

    fn on_main(&mut self, told: Told) -> Option<VoiceEvent> {
        match told {
            Told::Opened(Some(Ok(session))) => {
                self.send_all(self.main.leg, &session);
                self.main.state = State::Open(session);
                if self.pending.is_empty() {
                    // Nothing is to be said, so nobody can be faster.
                    self.rival = None;
                }
                self.first_audio_by = None;
                self.arm();
                let first = !std::mem::replace(&mut self.was_ready, true);
                Some(if first {
                    VoiceEvent::Ready(Stage::Tts)
                } else {
                    VoiceEvent::Recovered(Stage::Tts)
                })
            }
            Told::Opened(Some(Err(error))) | Told::Dead(error) => self.on_dead(error),
            Told::Opened(None) => self.on_dead(self.error(
                FailureKind::Stalled,
                &format!("the session did not open within {} ms", self.watchdog.open_ms),
            )),
            Told::Event(Some(event)) => self.on_event(event),
            Told::Event(None) => self.on_dead(self.error(FailureKind::Cut, "the session ended")),
        }
    }

    /// The rival's first sound makes it the voice of the call; its failure costs nothing.
    fn on_rival(&mut self, told: Told) -> Option<VoiceEvent> {
        match told {
            Told::Opened(Some(Ok(session))) => {
                let leg = self.rival.as_ref()?.leg;
                self.send_all(leg, &session);
                if let Some(rival) = &mut self.rival {
                    rival.state = State::Open(session);
                }
                if !self.main.is_open() {
                    self.promote(SLOW, FailureKind::Stalled);
                    let first = !std::mem::replace(&mut self.was_ready, true);
                    return first.then_some(VoiceEvent::Ready(Stage::Tts));
                }
                None
            }
            Told::Event(Some(event @ TtsEvent::Audio { .. })) => {
                self.promote(SLOW, FailureKind::Stalled);
                self.on_event(event)
            }
            Told::Event(Some(TtsEvent::Alignment { .. })) => None,
            Told::Opened(Some(Err(error)))
            | Told::Dead(error)
            | Told::Event(Some(TtsEvent::Failed { error, .. })) => {
                self.drop_rival(error.kind);
                Some(VoiceEvent::Retrying(error))
            }
            Told::Opened(None) => self.drop_rival(FailureKind::Stalled),
            Told::Event(Some(TtsEvent::Done { .. })) => self.drop_rival(FailureKind::Protocol),
            Told::Event(None) => self.drop_rival(FailureKind::Cut),
        }
    }

    fn drop_rival(&mut self, kind: FailureKind) -> Option<VoiceEvent> {
        let rival = self.rival.take()?;
        metrics::provider_request("tts", self.route.name(rival.leg), kind.as_str());
        self.route.failed(rival.leg, kind, clock::now());
        None
    }

    /// The rival takes over, for the rest of the call.
    fn promote(&mut self, reason: &'static str, kind: FailureKind) {
        let Some(rival) = self.rival.take() else { return };
        let event = self.route.failover(self.main.leg, rival.leg, reason);
        metrics::provider_request("tts", self.route.name(self.main.leg), kind.as_str());
        self.route.failed(self.main.leg, kind, clock::now());
        self.main = rival;
        self.moved(event);
    }

    /// Another voice speaks from here on.
    fn moved(&mut self, event: VoiceEvent) {
        self.ready.push_back(event);
        self.attempts = 1;
        self.hedged = false;
        for sentence in self.pending.iter_mut().filter(|sentence| sentence.kept.is_none()) {
            sentence.begin_again();
        }
        self.owed_since = None;
        self.first_audio_by = None;
        self.arm();
    }

    fn on_event(&mut self, event: TtsEvent) -> Option<VoiceEvent> {
        match event {
            TtsEvent::Audio { generation, seq, pcm, at } => {
                let sentence =
                    self.pending.iter_mut().find(|s| s.generation == generation && s.seq == seq)?;
                sentence.audio(&pcm);
                self.plays(&pcm);
                self.rival = None;
                self.arm();
                let audio = VoiceEvent::TtsAudio { generation, seq, pcm, is_kept: false, at };
                // What was told of the change of voice comes first.
                self.ready.push_back(audio);
                self.ready.pop_front()
            }
            TtsEvent::Alignment { generation, seq, marks } => {
                let sentence =
                    self.pending.iter_mut().find(|s| s.generation == generation && s.seq == seq)?;
                Some(VoiceEvent::TtsAligned(generation, seq, sentence.align(marks)))
            }
            TtsEvent::Done { generation, seq } => self.on_done(generation, seq),
            TtsEvent::Failed { generation, seq, error, fatal } => {
                if fatal || self.goes_on_after(&error) {
                    return self.on_dead(error);
                }
                metrics::provider_request("tts", self.name(), error.kind.as_str());
                self.route.failed(self.main.leg, error.kind, clock::now());
                let known = self.take(generation, seq)?;
                Some(VoiceEvent::TtsFailed(known.generation, known.seq, call_error(&error)))
            }
        }
    }

    /// Whether another voice can say the sentence that this one could not.
    fn goes_on_after(&self, _error: &ProviderError) -> bool {
        self.rival.is_some() || self.route.after(self.main.leg, clock::now()).is_some()
    }

    fn on_done(&mut self, generation: Generation, seq: u32) -> Option<VoiceEvent> {
        let of = |s: &&Sentence| s.generation == generation && s.seq == seq;
        let is_empty = self.pending.iter().find(of).is_some_and(|sentence| !sentence.heard);
        if is_empty && !self.route.is_alone() {
            return self.on_dead(self.error(FailureKind::Protocol, "a sentence without a sound"));
        }
        let mut known = self.take(generation, seq)?;
        metrics::provider_request("tts", self.name(), "ok");
        // Not before: a voice that breaks off in every sentence does not work.
        self.attempts = 1;
        self.route.worked(self.main.leg);
        if let Some(take) = known.take.take() {
            self.cache.keep(take);
        }
        self.finish(&known, Vec::new());
        self.ready.pop_front()
    }

    fn take(&mut self, generation: Generation, seq: u32) -> Option<Sentence> {
        let at = self.pending.iter().position(|s| s.generation == generation && s.seq == seq)?;
        let sentence = self.pending.remove(at);
        self.first_audio_by = None;
        self.arm();
        sentence
    }

    /// The session is gone. What was said for the most part is over (saying it twice is worse than a cut word); the
    /// rest is said again by the next session, or reported when there is none.
    fn on_dead(&mut self, error: ProviderError) -> Option<VoiceEvent> {
        metrics::provider_request("tts", self.name(), error.kind.as_str());
        let now = clock::now();
        self.route.failed(self.main.leg, error.kind, now);
        self.first_audio_by = None;
        while self.pending.front().is_some_and(|own| own.heard && !own.is_hardly_begun()) {
            if let Some(cut) = self.pending.pop_front() {
                self.ended.push_back((cut.generation, cut.seq));
            }
        }
        if self.rival.is_some() {
            self.promote(error.kind.as_str(), error.kind);
            return Some(VoiceEvent::Retrying(error));
        }
        let again = error.kind.is_retryable() && self.attempts < self.watchdog.attempts_max;
        // One that says nothing is not waited for twice if there is another.
        let again = again && (error.kind != FailureKind::Stalled || self.route.is_alone());
        if again {
            self.attempts += 1;
            for sentence in self.pending.iter_mut().filter(|sentence| sentence.heard) {
                sentence.begin_again();
            }
            self.main = self.begin(self.main.leg);
            return Some(VoiceEvent::Retrying(error));
        }
        if let Some(leg) = self.route.after(self.main.leg, now) {
            let event = self.route.failover(self.main.leg, leg, error.kind.as_str());
            self.main = self.begin(leg);
            self.moved(event);
            return Some(VoiceEvent::Retrying(error));
        }
        self.main.state = State::Closed;
        self.route.forget();
        // What is kept needs no session.
        let (kept, lost) = self.pending.drain(..).partition(|sentence| sentence.kept.is_some());
        self.pending = kept;
        let lost: VecDeque<Sentence> = lost;
        for sentence in lost {
            self.failed.push_back((sentence.generation, sentence.seq, error.clone()));
        }
        Some(VoiceEvent::Retrying(error))
    }

    fn name(&self) -> &str {
        self.route.name(self.main.leg)
    }

    fn error(&self, kind: FailureKind, detail: &str) -> ProviderError {
        ProviderError {
            provider: self.name().to_owned(),
            stage: Stage::Tts,
            kind,
            detail: detail.to_owned(),
        }
    }

    /// When a fallback is asked as well.
    fn hedge_at(&self) -> Option<Instant> {
        let wait = self.watchdog.tts_hedge_ms;
        if wait == 0 || self.hedged || self.rival.is_some() || self.route.is_alone() {
            return None;
        }
        match &self.main.state {
            State::Opening { .. } => Some(
                self.owed_since.map_or(self.main.since, |at| at.min(self.main.since)) + ms(wait),
            ),
            // A sentence that is asked for while another sounds may take as long as that.
            State::Open(_) => self.owed_since.map(|at| (at + ms(wait)).max(self.quiet_from())),
            State::Closed | State::Dead(_) => None,
        }
    }

    /// From when on silence is near.
    fn quiet_from(&self) -> Instant {
        self.plays_until.checked_sub(HEDGE_LEAD).unwrap_or(self.plays_until)
    }

    /// When a voice that stopped within a sentence is given up.
    fn stall_at(&self) -> Option<Instant> {
        let head =
            self.pending.front().filter(|_| self.main.is_open() && !self.route.is_alone())?;
        Some(head.stalls_at(ms(self.watchdog.stall_ms))?.max(self.quiet_from()))
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        let first = self.first_audio_by.filter(|_| self.main.is_open());
        [first, self.hedge_at(), self.stall_at()].into_iter().flatten().min()
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        if self.hedge_at().is_some_and(|at| at <= now) {
            self.hedged = true;
            if let Some(leg) = self.route.rival_of(self.main.leg, now) {
                self.rival = Some(self.begin(leg));
            }
        }
        if self.stall_at().is_some_and(|by| by <= now) {
            let detail = format!("no audio for {} ms within a sentence", self.watchdog.stall_ms);
            self.main.state = State::Dead(self.error(FailureKind::Stalled, &detail));
        } else if self.first_audio_by.is_some_and(|by| by <= now) && self.main.is_open() {
            let detail = format!("no audio within {} ms", self.watchdog.tts_first_audio_ms);
            self.main.state = State::Dead(self.error(FailureKind::Stalled, &detail));
        }
    }

    /// Adds the characters that were sent.
    pub(super) fn add_usage(&self, usage: &mut Vec<Usage>) {
        for (leg, characters) in self.characters.iter().enumerate() {
            let Some(voice) = self.route.engine(leg).filter(|_| leg == 0 || *characters > 0) else {
                continue;
            };
            let (provider, model) = (voice.tts.name(), voice.tts.model());
            let service = Service { kind: UsageKind::Tts, provider, model };
            meter::add(usage, service, UsageUnit::Character, *characters as f64);
        }
    }

    /// Whether a session is open: an answer needs a voice.
    pub fn is_open(&self) -> bool {
        self.main.is_open()
    }

    /// Whether the line gave up.
    pub fn is_closed(&self) -> bool {
        matches!(self.main.state, State::Closed)
    }
}

fn link(
    route: &Route<FallbackVoice>,
    leg: usize,
    agent: &AgentSnapshot,
    watchdog: &WatchdogConfig,
) -> Link {
    let engine = route.engine(leg);
    let (tts, voice) = match engine {
        Some(own) => (&own.tts, own.voice.clone()),
        None => (&agent.tts, agent.voice.clone()),
    };
    let params = TtsParams { language: agent.language.clone(), voice, speed: agent.speed };
    Link::begin(leg, tts.open(params), watchdog.open_ms)
}

/// Which reply an event belongs to.
fn generation_of(event: &VoiceEvent) -> Option<Generation> {
    match event {
        VoiceEvent::TtsAudio { generation, .. } => Some(*generation),
        VoiceEvent::TtsAligned(generation, ..) | VoiceEvent::TtsDone(generation, _) => {
            Some(*generation)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
