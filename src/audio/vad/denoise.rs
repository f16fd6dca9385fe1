//! Noise suppression before the network. `sonora-ns` is named only here.

use sonora_ns::config::{NS_FRAME_SIZE, NsConfig, SuppressionLevel};
use sonora_ns::noise_suppressor::NoiseSuppressor;

/// 10 ms at 16 kHz.
pub const BLOCK: usize = NS_FRAME_SIZE;

/// A Wiener-filter noise suppressor with its own noise estimate. Delays by 6 ms.
pub struct Denoiser {
    inner: Box<NoiseSuppressor>,
    block: [f32; BLOCK],
}

impl Denoiser {
    /// A suppressor that has heard nothing yet.
    pub fn new() -> Self {
        let config = NsConfig { target_level: SuppressionLevel::K18dB };
        Self { inner: Box::new(NoiseSuppressor::new(config)), block: [0.0; BLOCK] }
    }

    /// Octets one suppressor occupies, for the memory budget of a call.
    pub const BYTES: usize = size_of::<NoiseSuppressor>() + size_of::<Self>();

    /// Cleans a block of [`BLOCK`] samples in place and learns from it.
    pub fn clean(&mut self, samples: &mut [i16]) {
        self.load(samples);
        self.inner.analyze(&self.block);
        self.inner.process(&mut self.block);
        for (to, from) in samples.iter_mut().zip(&self.block) {
            *to = *from as i16;
        }
    }

    fn load(&mut self, samples: &[i16]) {
        for (to, from) in self.block.iter_mut().zip(samples) {
            *to = f32::from(*from);
        }
    }
}

impl Default for Denoiser {
    fn default() -> Self {
        Self::new()
    }
}
