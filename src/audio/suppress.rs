//! Less noise for the recogniser, where there is any.

use super::resample::Resampler;
use super::vad::NoiseSuppression;
use super::vad::denoise::{BLOCK, Denoiser};
use super::vad::gate::Gate;
use crate::types::SampleRate;

/// Noise floor above which a line is noisy. A clean line is left as it is: suppression costs one phrase in
/// twelve there.
const NOISY_DBFS: f32 = -55.0;
/// Rate the suppressor works at.
const WIDE: SampleRate = SampleRate::HZ_16000;

/// The caller's audio on its way to the recogniser: the same length, a few milliseconds later while noise is
/// suppressed.
pub struct Suppressor {
    always: bool,
    rate: SampleRate,
    gate: Gate,
    /// Made when the line is first noisy: most never are.
    chain: Option<Box<Chain>>,
    out: Vec<i16>,
}

struct Chain {
    up: Resampler,
    denoiser: Denoiser,
    down: Resampler,
    wide: Vec<i16>,
}

impl Suppressor {
    /// For frames of 20 ms at `rate`; `None` if there is nothing to do.
    pub fn new(mode: NoiseSuppression, rate: SampleRate) -> Option<Self> {
        let gate = Gate::new(rate.hz(), -50.0, 8.0);
        (mode != NoiseSuppression::Off).then(|| Self {
            always: mode == NoiseSuppression::On,
            rate,
            gate,
            chain: None,
            out: Vec::new(),
        })
    }

    /// The next frame, cleaned where the line needs it.
    pub fn clean<'a>(&'a mut self, frame: &'a [i16]) -> &'a [i16] {
        let noisy = self.always || self.gate.push(frame).floor_dbfs > NOISY_DBFS;
        if !noisy {
            return frame;
        }
        if self.chain.is_none() {
            self.chain = Chain::new(self.rate).map(Box::new);
        }
        let Some(chain) = &mut self.chain else { return frame };
        self.out.clear();
        chain.clean(frame, &mut self.out);
        &self.out
    }
}

impl Chain {
    /// `None` at a rate that the resampler does not do.
    fn new(rate: SampleRate) -> Option<Self> {
        let up = Resampler::new(rate, WIDE).ok()?;
        let down = Resampler::new(WIDE, rate).ok()?;
        Some(Self { up, denoiser: Denoiser::new(), down, wide: Vec::new() })
    }

    fn clean(&mut self, frame: &[i16], out: &mut Vec<i16>) {
        self.up.push(frame, &mut self.wide);
        let whole = self.wide.len() / BLOCK * BLOCK;
        for block in self.wide.chunks_exact_mut(BLOCK) {
            self.denoiser.clean(block);
        }
        self.down.push(self.wide.get(..whole).unwrap_or_default(), out);
        self.wide.drain(..whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::level::rms_dbfs;
    use crate::audio::noise::ComfortNoise;

    fn through(mode: NoiseSuppression, noise_dbfs: f32) -> (Vec<i16>, Vec<i16>) {
        let mut suppressor = Suppressor::new(mode, SampleRate::HZ_8000).unwrap();
        let mut line = vec![0; 40_000];
        ComfortNoise::new(noise_dbfs, 3).fill(&mut line);
        let out = line.chunks(160).flat_map(|frame| suppressor.clean(frame).to_vec()).collect();
        (line, out)
    }

    #[test]
    fn a_noisy_line_gets_quieter_and_keeps_its_length() {
        for mode in [NoiseSuppression::Auto, NoiseSuppression::On] {
            let (line, out) = through(mode, -40.0);
            assert!(line.len().abs_diff(out.len()) <= 160, "{} of {}", out.len(), line.len());
            let (before, after) = (rms_dbfs(&line[20_000..]), rms_dbfs(&out[20_000..]));
            println!("{mode:?}: {before:.1} dBFS of noise, {after:.1} after it");
            assert!(after < before - 8.0, "{before} and {after}");
        }
    }

    #[test]
    fn a_clean_line_is_left_alone() {
        let (line, out) = through(NoiseSuppression::Auto, -70.0);
        assert_eq!(line, out);
        assert!(Suppressor::new(NoiseSuppression::Off, SampleRate::HZ_8000).is_none());
        let mut odd = Suppressor::new(NoiseSuppression::On, SampleRate::HZ_8000).unwrap();
        for frame in [&[][..], &[1; 7], &[i16::MIN; 500]] {
            odd.clean(frame);
        }
    }
}
