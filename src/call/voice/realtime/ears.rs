//! The caller's audio on its way to the model, and what of it must be sent again if the session breaks.
//!
//! Only what voice activity detection takes for speech is sent, with what came just before: silence costs
//! as much as words. Where the provider finds the end of turns it hears everything.

use std::collections::VecDeque;

use crate::audio::resample::Resampler;
use crate::providers::llm::Role;
use crate::providers::realtime::RealtimeInput;
use crate::types::{Pii, SampleRate};

/// Audio before the onset that goes with it: voice activity detection needs some to be sure.
const PREROLL_MS: u32 = 400;
/// Speech whose words are not known is kept for another session; older audio is forgotten.
const KEPT_MS: u32 = 10_000;
/// Stretches of speech that are kept.
const STRETCHES_MAX: usize = 16;

/// Speech from an onset to its end.
#[derive(Debug, Default)]
struct Stretch {
    /// Its number, once it is over.
    commit: Option<u32>,
    audio: Vec<i16>,
    text: Option<Pii<String>>,
}

/// What the model is to hear.
pub(super) struct Ears {
    rate: SampleRate,
    resampler: Option<Resampler>,
    hears_all: bool,
    speech: bool,
    preroll: VecDeque<i16>,
    scratch: Vec<i16>,
    pending: Vec<i16>,
    stretches: VecDeque<Stretch>,
}

impl Ears {
    pub(super) fn new(rate: SampleRate, hears_all: bool) -> Self {
        Self {
            rate,
            resampler: None,
            hears_all,
            speech: false,
            preroll: VecDeque::new(),
            scratch: Vec::new(),
            pending: Vec::new(),
            stretches: VecDeque::new(),
        }
    }

    pub(super) fn set_line_rate(&mut self, line: SampleRate) {
        self.resampler =
            if line == self.rate { None } else { Resampler::new(line, self.rate).ok() };
    }

    /// Takes 20 ms of the caller.
    pub(super) fn push(&mut self, samples: &[i16]) {
        let samples = match &mut self.resampler {
            None => samples,
            Some(resampler) => {
                self.scratch.clear();
                resampler.push(samples, &mut self.scratch);
                &self.scratch
            }
        };
        if self.speech || self.hears_all {
            self.pending.extend_from_slice(samples);
            return;
        }
        self.preroll.extend(samples);
        let over = self.preroll.len().saturating_sub(self.rate.samples_in_ms(PREROLL_MS));
        self.preroll.drain(..over);
    }

    /// Speech began, a little while ago.
    pub(super) fn started(&mut self) {
        let goes_on = std::mem::replace(&mut self.speech, true);
        // Where the provider ends turns, nobody here says when speech is over.
        let waits = self.stretches.back().is_some_and(|stretch| stretch.text.is_none());
        let is_known = if self.hears_all { waits } else { goes_on };
        if is_known {
            return;
        }
        self.pending.extend(self.preroll.drain(..));
        if self.stretches.len() >= STRETCHES_MAX {
            self.stretches.pop_front();
        }
        self.stretches.push_back(Stretch::default());
    }

    /// What is to be sent now.
    pub(super) fn take(&mut self) -> Option<Vec<i16>> {
        if self.pending.is_empty() {
            return None;
        }
        let audio = std::mem::take(&mut self.pending);
        let open = |stretch: &&mut Stretch| stretch.commit.is_none() && stretch.text.is_none();
        if let Some(stretch) = self.stretches.back_mut().filter(open) {
            stretch.audio.extend_from_slice(&audio);
        }
        self.forget_old();
        Some(audio)
    }

    fn forget_old(&mut self) {
        let most = self.rate.samples_in_ms(KEPT_MS);
        let kept: usize = self.stretches.iter().map(|stretch| stretch.audio.len()).sum();
        let mut over = kept.saturating_sub(most);
        for stretch in &mut self.stretches {
            let cut = over.min(stretch.audio.len());
            stretch.audio.drain(..cut);
            over -= cut;
        }
    }

    /// Speech ended; whether the model is to be told.
    pub(super) fn ended(&mut self, commit: u32) -> bool {
        let begun = std::mem::take(&mut self.speech);
        if let Some(stretch) = self.stretches.back_mut().filter(|stretch| stretch.commit.is_none())
        {
            stretch.commit = Some(commit);
        }
        begun && !self.hears_all
    }

    /// The words of a stretch are known: of the oldest, where the provider does not say of which.
    pub(super) fn known(&mut self, commit: Option<u32>, text: &Pii<String>) {
        let stretch = match commit {
            Some(_) => self.stretches.iter_mut().find(|stretch| stretch.commit == commit),
            None => self.stretches.iter_mut().find(|stretch| stretch.text.is_none()),
        };
        if let Some(stretch) = stretch {
            stretch.text = Some(text.clone());
            stretch.audio = Vec::new();
        }
    }

    /// What is known is part of the conversation that a new session is told.
    pub(super) fn settle(&mut self) {
        self.stretches.retain(|stretch| stretch.text.is_none());
    }

    /// What a new session has to hear again.
    pub(super) fn replay(&self) -> Vec<RealtimeInput> {
        let mut again = Vec::new();
        for stretch in &self.stretches {
            if let Some(text) = &stretch.text {
                let (role, text) = (Role::User, text.clone());
                again.push(RealtimeInput::Insert { role, text });
                continue;
            }
            if !stretch.audio.is_empty() {
                again.push(RealtimeInput::Audio(stretch.audio.clone()));
                let commit = stretch.commit.filter(|_| !self.hears_all);
                again.extend(commit.map(|id| RealtimeInput::Commit { id }));
            }
        }
        again
    }
}

#[cfg(test)]
mod tests;
