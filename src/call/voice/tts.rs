//! The voice's line: sentences in, audio out in order; a dead session is replaced and its sentences said again.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;

use super::{VoiceEvent, WatchdogConfig, call_error, ms};
use crate::call::agent::AgentSnapshot;
use crate::net::clock;
use crate::providers::tts::{TtsEvent, TtsInput, TtsParams, TtsSession};
use crate::providers::{FailureKind, ProviderError, Stage};
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

struct Sentence {
    generation: Generation,
    seq: u32,
    text: Pii<String>,
    heard: bool,
}

/// The line.
pub struct TtsLine {
    agent: Arc<AgentSnapshot>,
    watchdog: WatchdogConfig,
    voice: String,
    state: State,
    attempts: u32,
    was_ready: bool,
    pending: VecDeque<Sentence>,
    failed: VecDeque<(Generation, u32, ProviderError)>,
    ended: VecDeque<(Generation, u32)>,
    first_audio_by: Option<Instant>,
    /// Characters that sessions took, those said again included.
    characters: u64,
}

impl TtsLine {
    /// Begins to open a session.
    pub(super) fn open(agent: Arc<AgentSnapshot>, watchdog: WatchdogConfig, voice: String) -> Self {
        let state = Self::opening(&agent, &watchdog, &voice);
        Self {
            agent,
            watchdog,
            voice,
            state,
            attempts: 1,
            was_ready: false,
            pending: VecDeque::new(),
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
        self.pending.push_back(Sentence { generation, seq, text, heard: false });
        match &self.state {
            State::Open(session) => {
                let Some(sentence) = self.pending.back() else { return };
                if session.input.try_send(input_of(sentence)).is_ok() {
                    self.characters += characters(sentence);
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
        self.arm();
    }

    /// Stops everything of `generation` and before.
    pub fn cancel(&mut self, generation: Generation) {
        self.pending.retain(|sentence| sentence.generation > generation);
        self.failed.retain(|(of, _, _)| *of > generation);
        self.ended.retain(|(of, _)| *of > generation);
        if let State::Open(session) = &self.state {
            let _ = session.input.try_send(TtsInput::Cancel { generation });
        }
        self.first_audio_by = None;
        self.arm();
    }

    /// The watchdog waits for the sentence at the head only: those behind it wait their turn.
    fn arm(&mut self) {
        match self.pending.front() {
            Some(head) if !head.heard => {
                self.first_audio_by
                    .get_or_insert_with(|| clock::now() + ms(self.watchdog.tts_first_audio_ms));
            }
            _ => self.first_audio_by = None,
        }
    }

    /// Cancellation-safe.
    pub(super) async fn next(&mut self) -> VoiceEvent {
        loop {
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
                for sentence in &self.pending {
                    if session.input.try_send(input_of(sentence)).is_ok() {
                        self.characters += characters(sentence);
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
                sentence.heard = true;
                self.attempts = 1;
                self.arm();
                Some(VoiceEvent::TtsAudio { generation, seq, pcm, at })
            }
            TtsEvent::Alignment { generation, seq, marks } => {
                self.pending.iter().find(|s| s.generation == generation && s.seq == seq)?;
                Some(VoiceEvent::TtsAligned(generation, seq, marks))
            }
            TtsEvent::Done { generation, seq } => {
                let known = self.take(generation, seq)?;
                metrics::provider_request("tts", self.agent.tts.name(), "ok");
                Some(VoiceEvent::TtsDone(known.generation, known.seq))
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
        for sentence in self.pending.drain(..) {
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

fn characters(sentence: &Sentence) -> u64 {
    sentence.text.reveal().chars().count() as u64
}

fn input_of(sentence: &Sentence) -> TtsInput {
    TtsInput::Say {
        generation: sentence.generation,
        seq: sentence.seq,
        text: sentence.text.clone(),
    }
}
