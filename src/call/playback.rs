//! The agent's audio between synthesis and the line: resampled, cut into frames, tagged.
//!
//! The media stream's ring holds less than half a second, so that stopping is quick and memory small;
//! whatever synthesis gives beyond that waits here. A generation that was stopped is dropped here too.

use std::collections::VecDeque;

use crate::audio::resample::Resampler;
use crate::media::{Frame, PlayoutFrame};
use crate::types::{Generation, Pcm, SampleRate};

/// Audio that may wait for the line: two minutes at 8 kHz. Synthesis that runs further ahead is cut
/// and counted; no sentence of an agent is that long.
pub const BACKLOG_SAMPLES_MAX: usize = 120 * 8_000;

/// What one chunk did to the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Samples at the line's rate that this chunk became.
    pub samples: u64,
    /// Samples beyond [`BACKLOG_SAMPLES_MAX`] that were dropped.
    pub dropped: u64,
}

/// One reply's audio on its way to the line.
pub struct Playback {
    rate: SampleRate,
    frame_samples: usize,
    generation: Generation,
    source: Option<(SampleRate, Resampler)>,
    backlog: VecDeque<i16>,
    scratch: Vec<i16>,
    ended: bool,
    last_sent: bool,
}

impl Playback {
    /// A backlog for a line at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            frame_samples: rate.samples_in_ms(crate::types::audio::FRAME_MS),
            generation: Generation(0),
            source: None,
            backlog: VecDeque::new(),
            scratch: Vec::new(),
            ended: false,
            last_sent: false,
        }
    }

    /// Takes a chunk of `generation`. A newer generation replaces what waits of an older one; an
    /// older one is ignored.
    pub fn push(&mut self, generation: Generation, pcm: &Pcm) -> Queued {
        if !self.admit(generation) {
            return Queued { samples: 0, dropped: 0 };
        }
        self.scratch.clear();
        self.convert(pcm);
        let room = BACKLOG_SAMPLES_MAX.saturating_sub(self.backlog.len());
        let taken = self.scratch.len().min(room);
        self.backlog.extend(self.scratch.iter().take(taken));
        Queued { samples: taken as u64, dropped: (self.scratch.len() - taken) as u64 }
    }

    fn convert(&mut self, pcm: &Pcm) {
        if pcm.rate == self.rate {
            self.scratch.extend_from_slice(&pcm.samples);
            return;
        }
        if self.source.as_ref().is_none_or(|(rate, _)| *rate != pcm.rate) {
            self.source =
                Resampler::new(pcm.rate, self.rate).ok().map(|resampler| (pcm.rate, resampler));
        }
        if let Some((_, resampler)) = &mut self.source {
            resampler.push(&pcm.samples, &mut self.scratch);
        }
    }

    /// Nothing of `generation` follows: its last frame, padded with silence, is marked.
    pub fn end(&mut self, generation: Generation) {
        if self.admit(generation) {
            self.ended = true;
        }
    }

    fn admit(&mut self, generation: Generation) -> bool {
        if generation < self.generation {
            return false;
        }
        if generation > self.generation {
            self.reset_to(generation);
        }
        true
    }

    fn reset_to(&mut self, generation: Generation) {
        self.generation = generation;
        self.backlog.clear();
        self.source = None;
        self.ended = false;
        self.last_sent = false;
        // A long reply must not keep its memory for the rest of the call.
        self.backlog.shrink_to(self.frame_samples * 50);
    }

    /// Drops what waits of `generation` and before.
    pub fn stop(&mut self, generation: Generation) {
        if generation >= self.generation {
            self.reset_to(generation.next());
        }
    }

    /// Whether a frame could be taken now.
    pub fn has_frame(&self) -> bool {
        self.backlog.len() >= self.frame_samples || (self.ended && !self.last_sent)
    }

    /// The next frame for the line: whole ones only, until the reply has ended.
    pub fn next_frame(&mut self) -> Option<PlayoutFrame> {
        if !self.has_frame() {
            return None;
        }
        self.scratch.clear();
        let take = self.backlog.len().min(self.frame_samples);
        self.scratch.extend(self.backlog.drain(..take));
        let last = self.ended && self.backlog.is_empty();
        self.last_sent |= last;
        Some(PlayoutFrame { frame: Frame::new(&self.scratch), generation: self.generation, last })
    }
}

#[cfg(test)]
mod tests;
