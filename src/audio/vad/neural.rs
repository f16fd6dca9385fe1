//! The neural judge. `earshot` is named only here.
//!
//! It wants 16 ms blocks at 16 kHz. Narrow-band audio reaches it interpolated linearly, on purpose:
//! the images above 4 kHz that a good resampler would remove keep its calibration on noise.

use super::Vad;

/// 16 ms at 16 kHz.
pub const BLOCK: usize = 256;

/// The network and its memory, about 8 KiB.
pub struct NeuralVad {
    inner: Box<earshot::Detector>,
}

impl NeuralVad {
    /// Octets one judge occupies on the heap.
    pub const BYTES: usize = size_of::<earshot::Detector>();

    /// A judge that has heard nothing yet.
    pub fn new() -> Self {
        Self { inner: earshot::Detector::default_boxed() }
    }
}

impl Default for NeuralVad {
    fn default() -> Self {
        Self::new()
    }
}

impl Vad for NeuralVad {
    fn frame_len(&self) -> usize {
        BLOCK
    }

    fn push(&mut self, block: &[i16]) -> f32 {
        if block.len() != BLOCK {
            return 0.0;
        }
        self.inner.predict_i16(block).clamp(0.0, 1.0)
    }

    fn reset(&mut self) {
        self.inner.reset();
    }
}
