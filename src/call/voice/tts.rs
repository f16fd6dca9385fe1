//! The voice's line: sentences in, audio out in order; a dead session is replaced and its sentences said again.
//!
//! A sentence becomes its spoken form here, and marks come back as characters of the sentence. What is kept already needs
//! no session: it sounds as soon as the sentences before it are done.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;

use super::cache::{Key, TtsCache};
use super::sentence::Sentence;
use super::{VoiceEvent, WatchdogConfig, call_error, ms};
use crate::call::agent::AgentSnapshot;
use crate::net::clock;
use crate::providers::tts::{AlignmentMark, TtsEvent, TtsInput, TtsParams, TtsSession};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::speech::Speech;
use crate::telemetry::metrics;
use crate::types::{Generation, Pii, Usage, UsageKind, UsageUnit};
use crate::usage::meter::{self, Service};

/// Sentences that may wait for a voice; the turn machine never makes more in one reply.
const PENDING_MAX: usize = 128;

type Opening = BoxFuture<'static, Result<TtsSession, ProviderError>>;

enum State {
    Opening {
        opening: Opening,
        by: Instant,
    },
    Open(TtsSession),
    /// Given up until the next sentence asks for it.
    Closed,
    Dead(ProviderError),
}

/// The line.
pub struct TtsLine {
    agent: Arc<AgentSnapshot>,
    watchdog: WatchdogConfig,
    voice: String,
    speech: Speech,
    cache: Arc<TtsCache>,
    state: State,
    attempts: u32,
    was_ready: bool,
    pending: VecDeque<Sentence>,
    /// What is to be told next.
    ready: VecDeque<VoiceEvent>,
    failed: VecDeque<(Generation, u32, ProviderError)>,
    ended: VecDeque<(Generation, u32)>,
    first_audio_by: Option<Instant>,
    /// Characters that sessions took, those said again included.
    characters: u64,
}

impl TtsLine {
    /// Begins to open a session.
    pub(super) fn open(
        agent: Arc<AgentSnapshot>,
        watchdog: WatchdogConfig,
        voice: String,
        cache: Arc<TtsCache>,
    ) -> Self {
        let state = Self::opening(&agent, &watchdog, &voice);
        Self {
            speech: Speech::new(&agent.speech, &agent.language),
            cache,
            agent,
            watchdog,
            voice,
            state,
            attempts: 1,
            was_ready: false,
            pending: VecDeque::new(),
            ready: VecDeque::new(),
            failed: VecDeque::new(),
            ended: VecDeque::new(),
            first_audio_by: None,
            characters: 0,
        }
    }

    fn opening(agent: &AgentSnapshot, watchdog: &WatchdogConfig, voice: &str) -> State {
        let params = TtsParams {
            language: agent.language.clone(),
            voice: voice.to_owned(),
            speed: agent.speed,
        };
        State::Opening { opening: agent.tts.open(params), by: clock::now() + ms(watchdog.open_ms) }
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
        if let Some(tier) = self.cache.tier(&self.agent, text.reveal()) {
            let key = Key::new(&self.agent, &self.voice, sentence.text());
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
        match &self.state {
            State::Open(session) => {
                let Some(sentence) = self.pending.back() else { return };
                if session.input.try_send(sentence.input()).is_ok() {
                    self.characters += sentence.characters();
                } else {
                    metrics::queue_full("tts_input");
                    let error = self.error(FailureKind::Stalled, "the session takes no text");
                    self.state = State::Dead(error);
                }
            }
            State::Closed => {
                self.attempts = 1;
                self.state = Self::opening(&self.agent, &self.watchdog, &self.voice);
            }
            State::Opening { .. } | State::Dead(_) => {}
        }
    }

    /// The sentence whose turn it is sounds at once if it is kept.
    fn play_kept(&mut self) {
        while let Some(rendering) = self.pending.front().and_then(|head| head.kept.clone()) {
            let Some(mut sentence) = self.pending.pop_front() else { return };
            let (generation, seq) = (sentence.generation, sentence.seq);
            let (pcm, at) = (rendering.pcm.clone(), clock::now());
            sentence.audio(&pcm);
            let marks = sentence.align(rendering.marks.clone());
            self.ready.push_back(VoiceEvent::TtsAudio { generation, seq, pcm, is_kept: true, at });
            self.finish(&sentence, marks);
        }
        self.arm();
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
        if let State::Open(session) = &self.state {
            let _ = session.input.try_send(TtsInput::Cancel { generation });
        }
        self.first_audio_by = None;
        self.arm();
    }

    /// The watchdog waits for the sentence at the head only: those behind it wait their turn.
    fn arm(&mut self) {
        match self.pending.front() {
            Some(head) if !head.heard && head.kept.is_none() => {
                self.first_audio_by
                    .get_or_insert_with(|| clock::now() + ms(self.watchdog.tts_first_audio_ms));
            }
            _ => self.first_audio_by = None,
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
            let event = match &mut self.state {
                State::Opening { opening, by } => {
                    let by = *by;
                    let opened = tokio::time::timeout_at(by.into(), opening).await;
                    self.on_opened(opened.ok())
                }
                State::Open(session) => match session.events.recv().await {
                    Some(event) => self.on_event(event),
                    None => self.on_dead(self.error(FailureKind::Cut, "the session ended")),
                },
                State::Closed => return pending().await,
                State::Dead(error) => {
                    let error = error.clone();
                    self.on_dead(error)
                }
            };
            if let Some(event) = event {
                return event;
            }
        }
    }

    fn on_opened(
        &mut self,
        opened: Option<Result<TtsSession, ProviderError>>,
    ) -> Option<VoiceEvent> {
        match opened {
            Some(Ok(session)) => {
                for sentence in self.pending.iter().filter(|sentence| sentence.kept.is_none()) {
                    if session.input.try_send(sentence.input()).is_ok() {
                        self.characters += sentence.characters();
                    }
                }
                self.state = State::Open(session);
                self.first_audio_by = None;
                self.arm();
                let first = !std::mem::replace(&mut self.was_ready, true);
                Some(if first {
                    VoiceEvent::Ready(Stage::Tts)
                } else {
                    VoiceEvent::Recovered(Stage::Tts)
                })
            }
            Some(Err(error)) => self.on_dead(error),
            None => self.on_dead(self.error(
                FailureKind::Stalled,
                &format!("the session did not open within {} ms", self.watchdog.open_ms),
            )),
        }
    }

    fn on_event(&mut self, event: TtsEvent) -> Option<VoiceEvent> {
        match event {
            TtsEvent::Audio { generation, seq, pcm, at } => {
                let sentence =
                    self.pending.iter_mut().find(|s| s.generation == generation && s.seq == seq)?;
                sentence.audio(&pcm);
                self.attempts = 1;
                self.arm();
                Some(VoiceEvent::TtsAudio { generation, seq, pcm, is_kept: false, at })
            }
            TtsEvent::Alignment { generation, seq, marks } => {
                let sentence =
                    self.pending.iter_mut().find(|s| s.generation == generation && s.seq == seq)?;
                Some(VoiceEvent::TtsAligned(generation, seq, sentence.align(marks)))
            }
            TtsEvent::Done { generation, seq } => {
                let mut known = self.take(generation, seq)?;
                metrics::provider_request("tts", self.agent.tts.name(), "ok");
                if let Some(take) = known.take.take() {
                    self.cache.keep(take);
                }
                self.finish(&known, Vec::new());
                self.ready.pop_front()
            }
            TtsEvent::Failed { generation, seq, error, fatal } => {
                if fatal {
                    return self.on_dead(error);
                }
                metrics::provider_request("tts", self.agent.tts.name(), error.kind.as_str());
                let known = self.take(generation, seq)?;
                Some(VoiceEvent::TtsFailed(known.generation, known.seq, call_error(&error)))
            }
        }
    }

    fn take(&mut self, generation: Generation, seq: u32) -> Option<Sentence> {
        let at = self.pending.iter().position(|s| s.generation == generation && s.seq == seq)?;
        let sentence = self.pending.remove(at);
        self.first_audio_by = None;
        self.arm();
        sentence
    }

    /// The session is gone. What was begun is over (saying it twice is worse than a cut word); the
    /// rest is said again by the next session, or reported when the attempts are used up.
    fn on_dead(&mut self, error: ProviderError) -> Option<VoiceEvent> {
        metrics::provider_request("tts", self.agent.tts.name(), error.kind.as_str());
        self.first_audio_by = None;
        while self.pending.front().is_some_and(|sentence| sentence.heard) {
            if let Some(cut) = self.pending.pop_front() {
                self.ended.push_back((cut.generation, cut.seq));
            }
        }
        let again = error.kind.is_retryable() && self.attempts < self.watchdog.attempts_max;
        if again {
            self.attempts += 1;
            self.state = Self::opening(&self.agent, &self.watchdog, &self.voice);
            return Some(VoiceEvent::Retrying(error));
        }
        self.state = State::Closed;
        // What is kept needs no session.
        let (kept, lost) = self.pending.drain(..).partition(|sentence| sentence.kept.is_some());
        self.pending = kept;
        let lost: VecDeque<Sentence> = lost;
        for sentence in lost {
            self.failed.push_back((sentence.generation, sentence.seq, error.clone()));
        }
        Some(VoiceEvent::Retrying(error))
    }

    fn error(&self, kind: FailureKind, detail: &str) -> ProviderError {
        ProviderError {
            provider: self.agent.tts.name().to_owned(),
            stage: Stage::Tts,
            kind,
            detail: detail.to_owned(),
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        if matches!(self.state, State::Open(_)) { self.first_audio_by } else { None }
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        if self.first_audio_by.is_some_and(|by| by <= now) && matches!(self.state, State::Open(_)) {
            let detail = format!("no audio within {} ms", self.watchdog.tts_first_audio_ms);
            self.state = State::Dead(self.error(FailureKind::Stalled, &detail));
        }
    }

    /// Adds the characters that were sent.
    pub(super) fn add_usage(&self, usage: &mut Vec<Usage>) {
        let tts = &self.agent.tts;
        let service = Service { kind: UsageKind::Tts, provider: tts.name(), model: tts.model() };
        meter::add(usage, service, UsageUnit::Character, self.characters as f64);
    }

    /// Whether a session is open: an answer needs a voice.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether the line gave up.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }
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
