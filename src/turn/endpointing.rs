//! The caller's side of the conversation: one utterance from its onset to the decision that it ended.
//!
//! When VAD says that speech ended, the recogniser is told to finalize at once; the end-of-turn wait
//! runs beside it. How much silence is enough follows from what is known: the words so far, what the
//! agent asked for, how long this caller pauses within sentences, and what the recogniser thinks.
//! The decision E falls when that much has passed after the last voiced frame S; the reply starts at
//! the later of E and the final transcript T, within bounds.

use std::time::{Duration, Instant};

use super::completeness::{self, Asked, Completeness};
use super::config::{EndpointingMode, TurnConfig};
use super::interruption::words;
use crate::types::TurnId;
use crate::types::call::CallError;

/// Characters kept of one utterance: ten minutes of fast speech. More is dropped.
pub const UTTERANCE_CHARS_MAX: usize = 10_000;

/// Words that have not changed for so long are unlikely to: recognisers tell what they have every 100
/// to 250 ms.
pub const STABLE_FOR: Duration = Duration::from_millis(150);

/// Characters at the end of an utterance that are asked whether it is complete.
const JUDGED_CHARS_MAX: usize = 200;

/// Pauses within sentences that must have been seen before they count.
const PAUSES_MIN: u32 = 2;

/// Weight of the newest pause.
const PAUSE_WEIGHT: f32 = 0.4;

/// How this caller pauses within what they say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pauses {
    mean_ms: f32,
    seen: u32,
}

impl Pauses {
    /// Speech went on after a silence of this length.
    pub fn learn(&mut self, pause: Duration) {
        let ms = pause.as_millis().min(5_000) as f32;
        self.mean_ms = match self.seen {
            0 => ms,
            _ => self.mean_ms + PAUSE_WEIGHT * (ms - self.mean_ms),
        };
        self.seen = self.seen.saturating_add(1);
    }

    /// Silence that is longer than most of this caller's pauses.
    fn longer_ms(self) -> Option<u32> {
        (self.seen >= PAUSES_MIN).then_some((self.mean_ms * 1.25) as u32)
    }
}

/// What the end of a turn depends on besides the utterance.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Settings.
    pub config: &'a TurnConfig,
    /// The caller's habit.
    pub pauses: Pauses,
}

/// What is known of one utterance.
#[derive(Clone, Debug)]
pub struct Utterance {
    /// Arrival of its first voiced frame.
    pub onset: Instant,
    /// Onset of its last stretch of speech.
    pub speech_onset: Instant,
    /// Its user turn, once there are words.
    pub turn: Option<TurnId>,
    /// Whether it stopped the agent.
    pub interrupted_agent: bool,
    /// The recogniser failed meanwhile.
    pub error: Option<CallError>,
    /// The recogniser thinks that the turn is probably over.
    pub likely_over: bool,
    /// The recogniser said that the turn is over.
    pub over: Option<Instant>,
    /// First finalize request that can be about it: answers to older ones are late.
    pub finalize_from: u32,
    finals: String,
    partial: String,
    confidence_sum: f32,
    confidence_n: u16,
    unclear: bool,
    completeness: Completeness,
    /// When its words were last different.
    changed: Option<Instant>,
}

impl Utterance {
    /// An utterance without words yet.
    pub fn new(onset: Instant, finalize_from: u32) -> Self {
        Self {
            onset,
            speech_onset: onset,
            turn: None,
            interrupted_agent: false,
            error: None,
            likely_over: false,
            over: None,
            finalize_from,
            finals: String::new(),
            partial: String::new(),
            confidence_sum: 0.0,
            confidence_n: 0,
            unclear: false,
            completeness: Completeness::Neutral,
            changed: None,
        }
    }

    /// Takes a hypothesis of the whole utterance so far.
    pub fn set_partial(&mut self, text: &str) {
        self.partial = text.trim().chars().take(UTTERANCE_CHARS_MAX).collect();
    }

    /// Appends text that will not change.
    pub fn push_final(&mut self, text: &str, confidence: Option<f32>, understood: bool) {
        let text = text.trim();
        self.unclear |= !understood;
        self.error = None;
        self.partial.clear();
        if text.is_empty() || self.finals.chars().count() >= UTTERANCE_CHARS_MAX {
            return;
        }
        join(&mut self.finals, text);
        if let Some(confidence) = confidence.filter(|c| c.is_finite()) {
            self.confidence_sum += confidence.clamp(0.0, 1.0);
            self.confidence_n = self.confidence_n.saturating_add(1);
        }
    }

    /// Puts an earlier utterance, which ended too early, in front of this one.
    pub fn prepend(&mut self, earlier: Utterance) {
        let mut finals = earlier.finals;
        if !self.finals.is_empty() {
            join(&mut finals, &self.finals);
        }
        self.finals = finals;
        self.onset = earlier.onset;
        self.turn = self.turn.or(earlier.turn);
        self.confidence_sum += earlier.confidence_sum;
        self.confidence_n = self.confidence_n.saturating_add(earlier.confidence_n);
    }

    /// Everything recognised: finals, and the hypothesis beyond them.
    pub fn text(&self) -> String {
        if self.partial.starts_with(&self.finals) {
            return self.partial.clone();
        }
        let mut text = self.finals.clone();
        if !self.partial.is_empty() {
            join(&mut text, &self.partial);
        }
        text
    }

    /// Makes what is known final, so that an earlier utterance keeps it when it is continued.
    pub fn settle(&mut self) {
        self.finals = self.text();
        self.partial.clear();
    }

    /// Whether its words say that more follows.
    pub fn goes_on(&self) -> bool {
        self.completeness == Completeness::Incomplete
    }

    /// For how long its words have been the same.
    pub fn stable_for(&self, now: Instant) -> Duration {
        self.changed.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// Asks the words whether their speaker is done. To be called when they changed.
    pub fn judge(&mut self, now: Instant, asked: Asked, language: &str) {
        self.changed = Some(now);
        let text = self.text();
        // The end says it; a number is never longer than this.
        let skip = text.chars().count().saturating_sub(JUDGED_CHARS_MAX);
        let start = text.char_indices().nth(skip).map_or(0, |(at, _)| at);
        self.completeness =
            completeness::judge(text.get(start..).unwrap_or_default(), asked, language);
    }

    /// Number of recognised words.
    pub fn words(&self) -> usize {
        words(&self.text())
    }

    /// Mean confidence of its finals.
    pub fn confidence(&self) -> Option<f32> {
        (self.confidence_n > 0).then(|| self.confidence_sum / f32::from(self.confidence_n))
    }

    /// Whether the recogniser heard speech without words.
    pub fn unclear(&self) -> bool {
        self.unclear
    }
}

fn join(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(more);
}

/// The caller now.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Not speaking, nothing left to answer.
    Quiet,
    /// Speaking.
    Speaking(Utterance),
    /// Not speaking; it is not yet decided that the turn is over, or its text is still missing.
    Pausing(Pause),
}

/// The wait after an utterance.
#[derive(Clone, Debug)]
pub struct Pause {
    /// What was said.
    pub utterance: Utterance,
    /// S.
    pub last_voiced: Instant,
    /// The finalize request that the transcript answers.
    pub finalize: u32,
    /// E, once decided.
    pub decided: Option<Instant>,
    /// T, once received.
    pub answered: Option<Instant>,
}

/// What to do about a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Nothing before this instant.
    Wait(Instant),
    /// The caller's turn is over and everything that can be had is there.
    Over {
        /// E.
        decided: Instant,
    },
}

impl Pause {
    /// An utterance that just ended.
    pub fn new(utterance: Utterance, last_voiced: Instant, finalize: u32) -> Self {
        Self { utterance, last_voiced, finalize, decided: None, answered: None }
    }

    /// Silence that is enough, on what is known now.
    fn silence(&self, known: Known<'_>) -> Duration {
        let config = known.config;
        let endpointing = &config.endpointing;
        if self.finalize == u32::MAX {
            // Words without a voiced frame: the recogniser waited for their end already.
            return Duration::ZERO;
        }
        let ms = match endpointing.mode {
            EndpointingMode::Vad => config.silence_ms,
            // Without the recogniser there is no word to wait for.
            EndpointingMode::Stt if self.utterance.error.is_some() => config.silence_ms,
            EndpointingMode::Stt => config.max_wait_ms,
            EndpointingMode::Hybrid => {
                let learned = known.pauses.longer_ms().filter(|_| endpointing.learn_pauses);
                match self.utterance.completeness {
                    _ if self.utterance.likely_over => endpointing.complete_ms,
                    Completeness::Complete => endpointing.complete_ms,
                    Completeness::Neutral => {
                        let most = endpointing.incomplete_ms.max(config.silence_ms);
                        learned.unwrap_or(0).clamp(config.silence_ms, most)
                    }
                    Completeness::Incomplete => endpointing.incomplete_ms,
                }
            }
        };
        Duration::from_millis(ms.into())
    }

    fn decide_at(&self, known: Known<'_>) -> Instant {
        let silent = self.last_voiced + self.silence(known);
        match (known.config.endpointing.mode, self.utterance.over) {
            (EndpointingMode::Stt | EndpointingMode::Hybrid, Some(over)) => over.min(silent),
            (EndpointingMode::Vad, _) | (_, None) => silent,
        }
    }

    /// Decides. Sets E when its time has come, and takes it back when words came that go on.
    pub fn decide(&mut self, now: Instant, known: Known<'_>) -> Endpoint {
        if now < self.decide_at(known) {
            self.decided = None;
        } else if self.decided.is_none() {
            self.decided = Some(now);
        }
        match self.wait(known) {
            Some(at) if now < at => Endpoint::Wait(at),
            _ => Endpoint::Over { decided: self.decided.unwrap_or(now) },
        }
    }

    /// When [`Pause::decide`] can say more than it did: `None` if it is ready.
    pub fn wait(&self, known: Known<'_>) -> Option<Instant> {
        let Some(decided) = self.decided else { return Some(self.decide_at(known)) };
        let config = known.config;
        let nothing_missing = self.answered.is_some() || config.late_transcripts;
        if nothing_missing || self.utterance.error.is_some() {
            return None;
        }
        let stt = decided + Duration::from_millis(config.stt_wait_max_ms.into());
        let cap = self.last_voiced + Duration::from_millis(config.max_wait_ms.into());
        Some(stt.min(cap).max(decided))
    }
}

impl Caller {
    /// The utterance, if there is one.
    pub fn utterance_mut(&mut self) -> Option<&mut Utterance> {
        match self {
            Self::Quiet => None,
            Self::Speaking(utterance) => Some(utterance),
            Self::Pausing(pause) => Some(&mut pause.utterance),
        }
    }

    /// Whether nothing is under way.
    pub fn is_quiet(&self) -> bool {
        matches!(self, Self::Quiet)
    }
}
