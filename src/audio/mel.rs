//! Log-mel spectrogram of the last eight seconds of speech, as Whisper's feature extractor makes it: what models of
//! the end of a turn hear.
//!
//! The signal has mean 0 and variance 1 (over all of it, the zeros before a short one included); frames of 25 ms every
//! 10 ms, periodic Hann window, reflected at both ends; power in 80 triangles, equally spaced on Slaney's mel scale up
//! to 8 kHz and each of area 1; then `(max(l, max(l) - 8) + 4) / 4` with `l = log10(max(1e-10, power))`. The Fourier
//! transform of 400 real samples is taken as 16 by 25, and only for the rows that the symmetry does not give.

use std::f64::consts::TAU;

use crate::types::SampleRate;

/// Rate of the audio.
pub const RATE: SampleRate = SampleRate::HZ_16000;
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
/// Factors of the window's length.
const ROWS: usize = 16;
const COLUMNS: usize = 25;
/// What is added to the variance, so that silence stays silence.
const VARIANCE_MIN: f64 = 1e-7;
const POWER_MIN: f32 = 1e-10;
/// What is quieter than the loudest by more is cut, in powers of ten.
const RANGE: f32 = 8.0;

/// Makes spectrograms. Keeps its tables and buffers.
pub struct LogMel {
    hann: Vec<f32>,
    rows: Vec<Row>,
    bands: Vec<Band>,
    wave: Vec<f32>,
}

/// What makes the bins `k` with `k mod 16 = r`, and by symmetry those of `-r`.
struct Row {
    /// `e^(-i TAU r n / 16)`.
    turns: Vec<(f32, f32)>,
    /// `e^(-i TAU n (r + 16 k) / 400)`, one for each `n`, over `k`.
    columns: Vec<Column>,
}

struct Column {
    re: [f32; COLUMNS],
    im: [f32; COLUMNS],
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
        Self {
            hann: hann.collect(),
            rows: (0..=ROWS / 2).map(Row::new).collect(),
            bands: bands(),
            wave: Vec::with_capacity(SAMPLES + WINDOW),
        }
    }

    /// The features of the end of `audio`, at 16 kHz, band by band: [`BANDS`] times [`FRAMES`] numbers in the place of
    /// what `features` holds. Before audio that is shorter than 8 s there is silence.
    pub fn compute(&mut self, audio: &[i16], features: &mut Vec<f32>) {
        self.load(audio);
        features.clear();
        features.resize(BANDS * FRAMES, 0.0);
        let mut mels = [0.0; BANDS];
        let mut before: Option<&[f32]> = None;
        for (at, frame) in self.wave.windows(WINDOW).step_by(HOP).take(FRAMES).enumerate() {
            // The silence before a short turn is the same over and over.
            if before != Some(frame) {
                let power = self.power(frame);
                for (mel, band) in mels.iter_mut().zip(&self.bands) {
                    *mel = band.of(&power).max(POWER_MIN).log10();
                }
            }
            before = Some(frame);
            for (feature, mel) in features.iter_mut().skip(at).step_by(FRAMES).zip(&mels) {
                *feature = *mel;
            }
        }
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

    /// Power of each bin of one frame.
    fn power(&self, frame: &[f32]) -> [f32; BINS] {
        let mut windowed = [0.0; WINDOW];
        for ((to, sample), weight) in windowed.iter_mut().zip(frame).zip(&self.hann) {
            *to = sample * weight;
        }
        let mut power = [0.0; BINS];
        for (r, row) in self.rows.iter().enumerate() {
            let (re, im) = row.transform(&windowed);
            for (k, (re, im)) in re.iter().zip(&im).enumerate() {
                let bin = r + ROWS * k;
                if let Some(power) = power.get_mut(bin.min(WINDOW - bin)) {
                    *power = re * re + im * im;
                }
            }
        }
        power
    }
}

impl Row {
    fn new(r: usize) -> Self {
        let unit = |part: usize, of: usize| {
            let angle = -TAU * (part % of) as f64 / of as f64;
            (angle.cos() as f32, angle.sin() as f32)
        };
        let column = |n: usize| {
            let mut column = Column { re: [0.0; COLUMNS], im: [0.0; COLUMNS] };
            for (k, (re, im)) in column.re.iter_mut().zip(&mut column.im).enumerate() {
                (*re, *im) = unit(n * (r + ROWS * k), WINDOW);
            }
            column
        };
        Self {
            turns: (0..ROWS).map(|n| unit(r * n, ROWS)).collect(),
            columns: (0..COLUMNS).map(column).collect(),
        }
    }

    fn transform(&self, frame: &[f32; WINDOW]) -> ([f32; COLUMNS], [f32; COLUMNS]) {
        let (mut part_re, mut part_im) = ([0.0; COLUMNS], [0.0; COLUMNS]);
        for (samples, (cos, sin)) in frame.chunks_exact(COLUMNS).zip(&self.turns) {
            for ((re, im), sample) in part_re.iter_mut().zip(&mut part_im).zip(samples) {
                *re += sample * cos;
                *im += sample * sin;
            }
        }
        let (mut out_re, mut out_im) = ([0.0; COLUMNS], [0.0; COLUMNS]);
        for ((a, b), column) in part_re.iter().zip(&part_im).zip(&self.columns) {
            let units = column.re.iter().zip(&column.im);
            for ((re, im), (cos, sin)) in out_re.iter_mut().zip(&mut out_im).zip(units) {
                *re += a * cos - b * sin;
                *im += a * sin + b * cos;
            }
        }
        (out_re, out_im)
    }
}

impl Band {
    fn of(&self, power: &[f32; BINS]) -> f32 {
        let bins = power.iter().skip(self.first);
        bins.zip(&self.weights).map(|(power, weight)| power * weight).sum()
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
