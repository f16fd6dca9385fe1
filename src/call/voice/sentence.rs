//! One sentence on its way through the voice: its spoken form, where its audio comes from, and the way back to its text.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cache::{Rendering, Take};
use crate::net::clock;
use crate::providers::tts::{AlignmentMark, TtsInput};
use crate::speech::Spoken;
use crate::types::{Generation, Pcm, Pii};

/// A sentence that waits for its audio.
pub(super) struct Sentence {
    pub(super) generation: Generation,
    pub(super) seq: u32,
    spoken: Spoken,
    /// Whether any of its audio came.
    pub(super) heard: bool,
    /// What it sounds like, if that is known already.
    pub(super) kept: Option<Arc<Rendering>>,
    /// What becomes of its audio, if it is to be kept.
    pub(super) take: Option<Take>,
    audio: Duration,
    /// When its first and its last audio came.
    came: Option<(Instant, Instant)>,
    /// Times it was begun again.
    again: u32,
    is_aligned: bool,
}

/// Times a sentence is begun again because its voice broke off: then what was heard of it has to do.
const AGAIN_MAX: u32 = 3;

/// What a character of speech takes at the least: fast voices say 20 in a second.
const CHARACTER_MIN: Duration = Duration::from_millis(50);

impl Sentence {
    pub(super) fn new(of: (Generation, u32), spoken: Spoken) -> Self {
        let (generation, seq) = of;
        Self {
            generation,
            seq,
            spoken,
            heard: false,
            kept: None,
            take: None,
            audio: Duration::ZERO,
            came: None,
            again: 0,
            is_aligned: false,
        }
    }

    /// Characters that synthesis is asked for.
    pub(super) fn characters(&self) -> u64 {
        self.spoken.chars().into()
    }

    /// Its spoken form.
    pub(super) fn text(&self) -> &str {
        self.spoken.text()
    }

    pub(super) fn input(&self) -> TtsInput {
        let text = Pii::new(self.spoken.text().to_owned());
        TtsInput::Say { generation: self.generation, seq: self.seq, text }
    }

    /// Some of its audio came.
    pub(super) fn audio(&mut self, pcm: &Pcm) {
        let now = clock::now();
        self.came = Some((self.came.map_or(now, |(first, _)| first), now));
        self.heard = true;
        self.audio += pcm.duration();
        if let Some(take) = &mut self.take {
            take.audio(pcm);
        }
    }

    /// When a voice that says no more has left the caller without a sound for too long: not while what it gave is
    /// still being played.
    pub(super) fn stalls_at(&self, stall: Duration) -> Option<Instant> {
        let (first, last) = self.came?;
        Some((last + stall).max(first + self.audio.saturating_sub(stall)))
    }

    /// Whether so little of it was given that the caller needs to hear it again from its beginning.
    pub(super) fn is_hardly_begun(&self) -> bool {
        self.again < AGAIN_MAX && self.audio * 2 < CHARACTER_MIN * self.spoken.chars()
    }

    /// Another voice says it from its beginning. What is kept of it would be of two voices.
    pub(super) fn begin_again(&mut self) {
        self.again += u32::from(self.heard);
        self.heard = false;
        self.audio = Duration::ZERO;
        self.came = None;
        self.is_aligned = false;
        self.take = None;
    }

    /// Marks of the spoken form, as marks of the text.
    pub(super) fn align(&mut self, marks: Vec<AlignmentMark>) -> Vec<AlignmentMark> {
        self.is_aligned |= !marks.is_empty();
        if let Some(take) = &mut self.take {
            take.marks(&marks);
        }
        self.back(marks)
    }

    fn back(&self, mut marks: Vec<AlignmentMark>) -> Vec<AlignmentMark> {
        for mark in &mut marks {
            mark.chars = self.spoken.original_chars(mark.chars);
        }
        marks
    }

    /// What is known of its alignment once all its audio is: if the voice gave none and says something else than the
    /// text, the text's characters do not sound evenly, those of the spoken form do.
    pub(super) fn estimated(&self) -> Vec<AlignmentMark> {
        let all = self.spoken.chars();
        if self.is_aligned || self.spoken.is_verbatim() || all == 0 || self.audio.is_zero() {
            return Vec::new();
        }
        let length = self.audio.as_millis() as u64;
        let at = |chars: u32| {
            let offset = length * u64::from(chars) / u64::from(all);
            AlignmentMark { offset_ms: u32::try_from(offset).unwrap_or(u32::MAX), chars }
        };
        let spaces = (0..).zip(self.spoken.text().chars()).filter(|(_, c)| c.is_whitespace());
        let ends = spaces.map(|(chars, _)| chars).chain([all]);
        self.back(ends.map(at).collect())
    }
}
