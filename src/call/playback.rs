//! The agent's audio between synthesis and the line: resampled, cut into frames, tagged.
//!
//! The media stream's ring holds less than half a second, so that stopping is quick and memory small;
//! whatever synthesis gives beyond that waits here. A generation that was stopped is dropped here too.

use std::collections::VecDeque;
use std::time::Duration;

use crate::audio::level;
use crate::audio::resample::Resampler;
use crate::media::outbound::AUDIBLE_DBFS;
use crate::media::{Frame, PlayoutFrame};
use crate::types::audio::FRAME_MS;
use crate::types::{Generation, Pcm, SampleRate};

/// Audio that may wait for the line: two minutes, counted at 8 kHz. Synthesis that runs further ahead is cut
/// and counted; no sentence of an agent is that long.
pub const BACKLOG_SAMPLES_MAX: u64 = 120 * 8_000;

/// Most of a reply's silent head that is cut: synthesis often begins with 100 to 200 ms of nothing,
/// which the caller would wait through. Beyond this it is taken for meant.
const HEAD_MS_MAX: u32 = 400;

/// Kept before the first stretch of [`ONSET_MS`] that is audible, so that no consonant loses its attack.
const HEAD_KEPT_MS: u32 = 5;

/// A single sample above the level is a click or a breath; 5 ms of them are a word's beginning, and make
/// the packet that holds them audible as a whole.
const ONSET_MS: u32 = 5;

/// What one chunk did to the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Samples at the line's rate that this chunk became.
    pub samples: u64,
    /// Samples beyond [`BACKLOG_SAMPLES_MAX`] that were dropped.
    pub dropped: u64,
    /// Silence at the head of the reply that was cut off.
    pub cut: Duration,
}

/// One reply's audio on its way to the line.
///
/// Synthesis may give a whole sentence at once; it is converted a frame at a time as the line takes
/// it, so that the first packet never waits for the conversion of the last.
pub struct Playback {
    rate: SampleRate,
    frame_samples: usize,
    generation: Generation,
    /// Chunks as they came, the first of them converted up to `taken`.
    chunks: VecDeque<Pcm>,
    taken: usize,
    /// Samples at the line's rate that `chunks` still holds.
    waiting: u64,
    resampler: Option<Resampler>,
    ready: VecDeque<i16>,
    scratch: Vec<i16>,
    /// A reply that is only prepared: nothing of it goes to the line.
    held: Option<Generation>,
    /// Silence at the reply's head that may still be cut.
    head_ms: u32,
    ended: bool,
    last_sent: bool,
}

impl Playback {
    /// The line's rate.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// A backlog for a line at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            frame_samples: rate.samples_in_ms(FRAME_MS),
            generation: Generation(0),
            chunks: VecDeque::new(),
            taken: 0,
            waiting: 0,
            resampler: None,
            ready: VecDeque::new(),
            scratch: Vec::new(),
            held: None,
            head_ms: HEAD_MS_MAX,
            ended: false,
            last_sent: false,
        }
    }

    /// The line's rate is known now; nothing has gone to it before.
    pub fn set_rate(&mut self, rate: SampleRate) {
        self.rate = rate;
        self.frame_samples = rate.samples_in_ms(FRAME_MS);
        self.resampler = None;
        self.ready.clear();
        self.taken = 0;
        self.waiting = self.chunks.iter().map(|pcm| rate.samples_in(pcm.duration())).sum();
    }

    /// Keeps a generation from the line until it is released.
    pub fn hold(&mut self, generation: Generation) {
        self.held = Some(generation);
    }

    /// Lets a generation go to the line.
    pub fn release(&mut self, generation: Generation) {
        self.held.take_if(|held| *held == generation);
    }

    fn is_held(&self) -> bool {
        self.held == Some(self.generation)
    }

    /// Takes a chunk of `generation`. A newer generation replaces what waits of an older one; an
    /// older one is ignored.
    pub fn push(&mut self, generation: Generation, mut pcm: Pcm) -> Queued {
        if !self.admit(generation) {
            return Queued { samples: 0, dropped: 0, cut: Duration::ZERO };
        }
        let whole = pcm.duration();
        self.cut_head(&mut pcm);
        let cut = whole.saturating_sub(pcm.duration());
        let samples = self.rate.samples_in(pcm.duration());
        let most = BACKLOG_SAMPLES_MAX * u64::from(self.rate.hz()) / 8_000;
        if self.waiting + samples > most {
            return Queued { samples: 0, dropped: samples, cut };
        }
        self.waiting += samples;
        self.chunks.push_back(pcm);
        Queued { samples, dropped: 0, cut }
    }

    /// Cuts silence at the head of a reply, so that its first packet is one that is heard.
    fn cut_head(&mut self, pcm: &mut Pcm) {
        if self.head_ms == 0 {
            return;
        }
        let most = pcm.rate.samples_in_ms(self.head_ms).min(pcm.samples.len());
        let onset = pcm.rate.samples_in_ms(ONSET_MS);
        let is_audible = |from: &usize| {
            let rest = pcm.samples.get(*from..).unwrap_or_default();
            level::rms_dbfs(rest.get(..onset).unwrap_or(rest)) > AUDIBLE_DBFS
        };
        let step = pcm.rate.samples_in_ms(1).max(1);
        let audible = (0..pcm.samples.len()).step_by(step).find(is_audible);
        let cut = match audible {
            Some(first) => {
                self.head_ms = 0;
                first.saturating_sub(pcm.rate.samples_in_ms(HEAD_KEPT_MS)).min(most)
            }
            None => {
                let ms = pcm.duration().as_millis();
                self.head_ms = self.head_ms.saturating_sub(u32::try_from(ms).unwrap_or(u32::MAX));
                most
            }
        };
        pcm.samples.drain(..cut);
    }

    /// Converts one more frame's worth of the first chunk.
    fn convert(&mut self) {
        let Some(chunk) = self.chunks.front() else { return };
        let rate = chunk.rate;
        let step = rate.samples_in_ms(FRAME_MS);
        let end = chunk.samples.len().min(self.taken + step);
        let piece = chunk.samples.get(self.taken..end).unwrap_or_default();
        let before = self.scratch.len();
        if rate == self.rate {
            self.scratch.extend_from_slice(piece);
        } else {
            if self.resampler.as_ref().is_none_or(|resampler| resampler.from() != rate) {
                self.resampler = Resampler::new(rate, self.rate).ok();
            }
            if let Some(resampler) = &mut self.resampler {
                resampler.push(piece, &mut self.scratch);
            }
        }
        let made = self.scratch.len() - before;
        self.waiting = self.waiting.saturating_sub(made as u64);
        self.ready.extend(self.scratch.drain(..));
        self.taken = end;
        if self.taken >= chunk.samples.len() {
            self.chunks.pop_front();
            self.taken = 0;
            if self.chunks.is_empty() {
                self.waiting = 0;
            }
        }
    }

    fn fill(&mut self) {
        while self.ready.len() < self.frame_samples && !self.chunks.is_empty() {
            self.convert();
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
        self.chunks.clear();
        self.taken = 0;
        self.waiting = 0;
        self.ready.clear();
        self.resampler = None;
        self.head_ms = HEAD_MS_MAX;
        self.ended = false;
        self.last_sent = false;
    }

    /// Drops what waits of `generation` and before.
    pub fn stop(&mut self, generation: Generation) {
        if generation >= self.generation {
            self.reset_to(generation.next());
        }
    }

    /// Whether a frame could be taken now.
    pub fn has_frame(&self) -> bool {
        if self.is_held() {
            return false;
        }
        let whole = self.ready.len() as u64 + self.waiting >= self.frame_samples as u64;
        whole || (self.ended && !self.last_sent)
    }

    /// The next frame for the line: whole ones only, until the reply has ended.
    pub fn next_frame(&mut self) -> Option<PlayoutFrame> {
        if self.is_held() {
            return None;
        }
        self.fill();
        let whole = self.ready.len() >= self.frame_samples;
        if !whole && (!self.ended || self.last_sent) {
            return None;
        }
        let take = self.ready.len().min(self.frame_samples);
        self.scratch.clear();
        self.scratch.extend(self.ready.drain(..take));
        let last = self.ended && self.ready.is_empty() && self.chunks.is_empty();
        self.last_sent |= last;
        let frame = Frame::new(&self.scratch);
        self.scratch.clear();
        Some(PlayoutFrame { frame, generation: self.generation, last })
    }
}

#[cfg(test)]
mod tests;
