//! Comfort noise: what is played where the sender sent nothing (RFC 3389), or where a line would
//! otherwise sound dead.

use super::level::dbfs_amplitude;

/// A level that a listener takes for an open line and a recogniser for silence.
pub const COMFORT_DBFS: f32 = -65.0;

/// White noise from a fixed sequence: the same seed gives the same samples, without entropy.
#[derive(Clone, Debug)]
pub struct ComfortNoise {
    state: u32,
    /// Half the width of the uniform distribution.
    amplitude: f32,
}

impl ComfortNoise {
    /// Noise of `dbfs` RMS. The seed only keeps two streams from being equal.
    pub fn new(dbfs: f32, seed: u32) -> Self {
        let mut noise = Self { state: seed | 1, amplitude: 0.0 };
        noise.set_level(dbfs);
        noise
    }

    /// Changes the level, as a comfort noise packet asks (RFC 3389 section 3.1: -level dBov).
    pub fn set_level(&mut self, dbfs: f32) {
        // A uniform distribution of half-width a has a root mean square of a / sqrt(3).
        self.amplitude = dbfs_amplitude(dbfs.min(0.0)) * 3_f32.sqrt();
    }

    /// Changes the level to samples of at most this magnitude.
    pub fn set_amplitude(&mut self, amplitude: f32) {
        self.amplitude = amplitude;
    }

    /// The next sample.
    pub fn next_sample(&mut self) -> f32 {
        // Marsaglia's xorshift32: full period, cheap, and nothing depends on its quality.
        self.state ^= self.state << 13;
        self.state ^= self.state >> 17;
        self.state ^= self.state << 5;
        self.state as i32 as f32 / 2_147_483_648.0 * self.amplitude
    }

    /// Fills the block.
    pub fn fill(&mut self, samples: &mut [i16]) {
        for sample in samples {
            *sample = self.next_sample().round() as i16;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::level::rms_dbfs;

    #[test]
    fn the_level_is_the_one_asked_for_and_the_sequence_repeats() {
        for dbfs in [-30.0, -50.0, COMFORT_DBFS] {
            let mut samples = vec![0; 8_000];
            ComfortNoise::new(dbfs, 7).fill(&mut samples);
            assert!((rms_dbfs(&samples) - dbfs).abs() < 0.5, "{dbfs}: {}", rms_dbfs(&samples));
            let mut again = vec![0; 8_000];
            ComfortNoise::new(dbfs, 7).fill(&mut again);
            assert_eq!(samples, again);
            ComfortNoise::new(dbfs, 9).fill(&mut again);
            assert_ne!(samples, again);
        }
    }
}
