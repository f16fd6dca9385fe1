//! The judge that only listens to level, for lines that carry nothing but voice, and for tests.

use super::Vad;
use crate::audio::level::rms_dbfs;

/// Width of the step from 0 to 1, in dB.
const SLOPE_DB: f32 = 12.0;

/// A probability from level alone: one half at the threshold, 1 at 6 dB above it.
#[derive(Clone, Copy, Debug)]
pub struct EnergyVad {
    frame_len: usize,
    threshold_dbfs: f32,
}

impl EnergyVad {
    /// A judge of blocks of `frame_len` samples.
    pub fn new(frame_len: usize, threshold_dbfs: f32) -> Self {
        Self { frame_len, threshold_dbfs }
    }
}

impl Vad for EnergyVad {
    fn frame_len(&self) -> usize {
        self.frame_len
    }

    fn push(&mut self, block: &[i16]) -> f32 {
        if block.len() != self.frame_len {
            return 0.0;
        }
        ((rms_dbfs(block) - self.threshold_dbfs) / SLOPE_DB + 0.5).clamp(0.0, 1.0)
    }

    fn reset(&mut self) {}
}
