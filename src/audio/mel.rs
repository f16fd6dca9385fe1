//! Log-mel spectrogram of the last eight seconds of speech, as Whisper's feature extractor makes it: what models of
//! the end of a turn hear.
//!
//! The signal has mean 0 and variance 1 (over all of it, the zeros before a short one included); frames of 25 ms every
//! 10 ms, periodic Hann window, reflected at both ends; power in 80 triangles, equally spaced on Slaney's mel scale up
//! to 8 kHz and each of area 1; then `(max(l, max(l) - 8) + 4) / 4` with `l = log10(max(1e-10, power))`.

use std::f64::consts::TAU;
use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{RealFftPlanner, RealToComplex};

use crate::types::SampleRate;

/// Rate of the audio.
const RATE: SampleRate = SampleRate::HZ_16000;
/// Mel bands.
pub const BANDS: usize = 80;
/// Frames of 10 ms.
pub const FRAMES: usize = 800;
/// Samples that are looked at: 8 s.
pub const SAMPLES: usize = FRAMES * HOP;

const HOP: usize = 160;
const WINDOW: usize = 400;
/// Bins of the transform of real samples.
const BINS: usize = WINDOW / 2 + 1;
/// What is added to the variance, so that silence stays silence.
const VARIANCE_MIN: f64 = 1e-7;
const POWER_MIN: f32 = 1e-10;
/// What is quieter than the loudest by more is cut, in powers of ten.
const RANGE: f32 = 8.0;

/// Makes spectrograms. Keeps its tables and buffers.
pub struct LogMel {
    hann: Vec<f32>,
    bands: Vec<Band>,
    wave: Vec<f32>,
    fourier: Arc<dyn RealToComplex<f32>>,
    windowed: Vec<f32>,
    bins: Vec<Complex32>,
    scratch: Vec<Complex32>,
}

/// One triangle.
struct Band {
    first: usize,
    weights: Vec<f32>,
}

impl Default for LogMel {
    fn default() -> Self {
        Self::new()
    }
}

impl LogMel {
    /// Computes the tables.
    pub fn new() -> Self {
        let hann = (0..WINDOW).map(|n| (0.5 - 0.5 * (TAU * n as f64 / WINDOW as f64).cos()) as f32);
        let fourier = RealFftPlanner::new().plan_fft_forward(WINDOW);
        Self {
            hann: hann.collect(),
            bands: bands(),
            wave: Vec::with_capacity(SAMPLES + WINDOW),
            windowed: fourier.make_input_vec(),
            bins: fourier.make_output_vec(),
            scratch: fourier.make_scratch_vec(),
            fourier,
        }
    }

    /// The features of the end of `audio`, at 16 kHz, band by band: [`BANDS`] times [`FRAMES`] numbers in the place of
    /// what `features` holds. Before audio that is shorter than 8 s there is silence.
    pub fn compute(&mut self, audio: &[i16], features: &mut Vec<f32>) {
        self.load(audio);
        features.clear();
        features.resize(BANDS * FRAMES, 0.0);
        let mut mels = [0.0; BANDS];
        let wave = std::mem::take(&mut self.wave);
        let mut before: Option<&[f32]> = None;
        for (at, frame) in wave.windows(WINDOW).step_by(HOP).take(FRAMES).enumerate() {
            // The silence before a short turn is the same over and over.
            if before != Some(frame) {
                self.transform(frame);
                for (mel, band) in mels.iter_mut().zip(&self.bands) {
                    *mel = band.of(&self.bins).max(POWER_MIN).log10();
                }
            }
            before = Some(frame);
            for (feature, mel) in features.iter_mut().skip(at).step_by(FRAMES).zip(&mels) {
                *feature = *mel;
            }
        }
        self.wave = wave;
        let floor = features.iter().copied().fold(f32::MIN, f32::max) - RANGE;
        for feature in features {
            *feature = (feature.max(floor) + 4.0) / 4.0;
        }
    }

    /// Brings the signal to mean 0 and variance 1 and reflects its ends.
    fn load(&mut self, audio: &[i16]) {
        let audio = audio.get(audio.len().saturating_sub(SAMPLES)..).unwrap_or_default();
        let value = |sample: &i16| f64::from(*sample) / 32_768.0;
        let mean = audio.iter().map(value).sum::<f64>() / SAMPLES as f64;
        let squares = audio.iter().map(|sample| value(sample).powi(2)).sum::<f64>();
        let variance = (squares / SAMPLES as f64 - mean * mean).max(0.0);
        let scale = 1.0 / (variance + VARIANCE_MIN).sqrt();
        let silence = std::iter::repeat_n(0.0, SAMPLES - audio.len());
        let signal: Vec<f32> = silence
            .chain(audio.iter().map(value))
            .map(|value| ((value - mean) * scale) as f32)
            .collect();
        let edge = WINDOW / 2;
        self.wave.clear();
        self.wave.extend(signal.iter().skip(1).take(edge).rev());
        self.wave.extend(&signal);
        self.wave.extend(signal.iter().rev().skip(1).take(edge));
    }

    /// The bins of one frame.
    fn transform(&mut self, frame: &[f32]) {
        for ((to, sample), weight) in self.windowed.iter_mut().zip(frame).zip(&self.hann) {
            *to = sample * weight;
        }
        let (windowed, bins) = (&mut self.windowed, &mut self.bins);
        let done = self.fourier.process_with_scratch(windowed, bins, &mut self.scratch);
        debug_assert!(done.is_ok(), "the buffers are of the plan's lengths");
    }
}

impl Band {
    /// Power within the triangle.
    fn of(&self, bins: &[Complex32]) -> f32 {
        let bins = bins.iter().skip(self.first);
        bins.zip(&self.weights).map(|(bin, weight)| bin.norm_sqr() * weight).sum()
    }
}

/// Hertz of a place on Slaney's scale: linear up to 1 kHz, then 27 steps for a factor of 6.4.
fn hertz(mel: f64) -> f64 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1_000.0 * 6.4_f64.powf((mel - 15.0) / 27.0) }
}

fn bands() -> Vec<Band> {
    let top = 15.0 + 27.0 * 8.0_f64.ln() / 6.4_f64.ln();
    let edge = |n: usize| hertz(top * n as f64 / (BANDS + 1) as f64);
    let bin_hz = f64::from(RATE.hz()) / WINDOW as f64;
    let band = |n: usize| {
        let (low, middle, high) = (edge(n), edge(n + 1), edge(n + 2));
        let weight = |bin: usize| {
            let hz = bin as f64 * bin_hz;
            let side = ((hz - low) / (middle - low)).min((high - hz) / (high - middle));
            (side.max(0.0) * 2.0 / (high - low)) as f32
        };
        let first = (low / bin_hz) as usize;
        let last = ((high / bin_hz) as usize).min(BINS - 1);
        Band { first, weights: (first..=last).map(weight).collect() }
    };
    (0..BANDS).map(band).collect()
}

#[cfg(test)]
mod tests;
