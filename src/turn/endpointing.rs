//! The caller's side of the conversation: one utterance from its onset to the decision that it ended.
//!
//! When VAD says that speech ended, the recogniser is told to finalize at once; the end-of-turn wait
//! runs beside it. The decision E falls `silence_ms` after the last voiced frame S unless speech
//! resumes; the reply starts at the later of E and the final transcript T, within bounds.

use std::time::{Duration, Instant};

use super::config::TurnConfig;
use super::interruption::words;
use crate::types::TurnId;
use crate::types::call::CallError;

/// Characters kept of one utterance: ten minutes of fast speech. More is dropped.
pub const UTTERANCE_CHARS_MAX: usize = 10_000;

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
    /// First finalize request that can be about it: answers to older ones are late.
    pub finalize_from: u32,
    finals: String,
    partial: String,
    confidence_sum: f32,
    confidence_n: u16,
    unclear: bool,
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
            finalize_from,
            finals: String::new(),
            partial: String::new(),
            confidence_sum: 0.0,
            confidence_n: 0,
            unclear: false,
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
    /// Decides. Sets E when its time has come.
    pub fn decide(&mut self, now: Instant, config: &TurnConfig) -> Endpoint {
        let decide_at = self.last_voiced + Duration::from_millis(config.silence_ms.into());
        if self.decided.is_none() && now >= decide_at {
            self.decided = Some(now);
        }
        match self.wait(config) {
            Some(at) if now < at => Endpoint::Wait(at),
            _ => Endpoint::Over { decided: self.decided.unwrap_or(now) },
        }
    }

    /// When [`Pause::decide`] can say more than it did: `None` if it is ready.
    pub fn wait(&self, config: &TurnConfig) -> Option<Instant> {
        let Some(decided) = self.decided else {
            return Some(self.last_voiced + Duration::from_millis(config.silence_ms.into()));
        };
        if self.answered.is_some() || self.utterance.error.is_some() {
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
