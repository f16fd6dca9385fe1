//! Is this a machine's tone? Dial tone, ringback, busy, fax, beeps and hum put nearly all of their
//! energy into one or two lines that do not move. A voice's lines do.

use std::f32::consts::{PI, TAU};

/// 32 ms at 8 kHz.
const WINDOW: usize = 256;
const HALF: usize = WINDOW / 2;
/// Bins on each side of a peak that the Hann window spreads a steady line over.
const LOBE: usize = 2;
/// Share of the energy in the two strongest lines from which a frame is like a tone.
const SHARE_MIN: f32 = 0.90;
/// How far a line may move from frame to frame and still be the same tone.
const DRIFT_HZ_MAX: f32 = 10.0;
/// Frames after which a steady line is a tone for sure: 100 ms.
const STEADY_FRAMES: u8 = 5;

/// Bins of the telephone band, 250 to 3,400 Hz, whose flatness tells noise from voice.
const BAND: std::ops::Range<usize> = 8..109;
/// Flatness (geometric by arithmetic mean of the power) from which a frame is like noise. White
/// noise measures 0.56 on average, pink 0.42, vowels below 0.1.
const FLATNESS_MIN: f32 = 0.28;
/// Frames of noise in a row that are no fricative any more: 240 ms.
const HISS_FRAMES: u8 = 12;

/// What a frame is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tonality {
    /// Neither a tone nor noise.
    Broad,
    /// Flat like noise: a fricative, or the line.
    Hiss,
    /// Noise for longer than any fricative.
    LongHiss,
    /// Could be the beginning of a tone, or a vowel.
    Suspect,
    /// A tone that has stood still for 100 ms.
    Tone,
}

/// Watches the spectrum of frames at 8 kHz.
pub struct ToneWatch {
    samples: [f32; WINDOW],
    window: [f32; WINDOW],
    twiddle: [(f32, f32); HALF],
    power: [f32; HALF + 1],
    work: [(f32, f32); HALF],
    /// Strongest line of the frame before, and for how many frames it has stood.
    line_hz: f32,
    steady: u8,
    hiss: u8,
}

impl ToneWatch {
    /// A watch that has heard nothing yet.
    pub fn new() -> Self {
        let angle = |at: usize| TAU * at as f32 / WINDOW as f32;
        Self {
            samples: [0.0; WINDOW],
            window: std::array::from_fn(|at| 0.5 - 0.5 * angle(at).cos()),
            twiddle: std::array::from_fn(|at| (angle(at).cos(), -angle(at).sin())),
            power: [0.0; HALF + 1],
            work: [(0.0, 0.0); HALF],
            line_hz: 0.0,
            steady: 0,
            hiss: 0,
        }
    }

    /// Takes a frame's samples without looking at them.
    pub fn listen(&mut self, frame: &[i16]) {
        let keep = frame.len().min(WINDOW);
        self.samples.rotate_left(keep);
        let newest = frame.iter().skip(frame.len() - keep);
        for (to, from) in self.samples.iter_mut().skip(WINDOW - keep).zip(newest) {
            *to = f32::from(*from);
        }
    }

    /// Judges the last 32 ms.
    pub fn judge(&mut self) -> Tonality {
        self.transform();
        if self.flatness() >= FLATNESS_MIN {
            self.steady = 0;
            self.hiss = self.hiss.saturating_add(1);
            return if self.hiss >= HISS_FRAMES { Tonality::LongHiss } else { Tonality::Hiss };
        }
        self.hiss = 0;
        let total: f32 = self.power.iter().skip(1).sum();
        let Some((first, mut held)) = self.take_peak() else { return self.broad() };
        let line_hz = first;
        if let Some((_, second)) = self.take_peak() {
            held += second;
        }
        if held < SHARE_MIN * total {
            return self.broad();
        }
        let same = (line_hz - self.line_hz).abs() <= DRIFT_HZ_MAX;
        self.steady = if same { self.steady.saturating_add(1) } else { 1 };
        self.line_hz = line_hz;
        if self.steady >= STEADY_FRAMES { Tonality::Tone } else { Tonality::Suspect }
    }

    /// The strongest line of the last 32 ms in Hz, and its and the second line's share of all energy.
    pub fn lines(&mut self) -> Option<(f32, [f32; 2])> {
        self.transform();
        let total: f32 = self.power.iter().skip(1).sum();
        let (hz, first) = self.take_peak()?;
        let second = self.take_peak().map_or(0.0, |(_, held)| held);
        Some((hz, [first / total, second / total]))
    }

    /// Whatever stood there has ended.
    pub fn broad(&mut self) -> Tonality {
        (self.steady, self.hiss) = (0, 0);
        Tonality::Broad
    }

    /// Geometric by arithmetic mean of the power in the telephone band.
    fn flatness(&self) -> f32 {
        let (mut sum, mut product, mut exponent) = (1e-9_f32, 1.0_f32, 0_i32);
        for power in self.power.get(BAND).unwrap_or(&[]) {
            let power = power.max(1e-9);
            sum += power;
            // The product runs in a float; its exponent is taken out of it at every step.
            product *= power;
            let bits = product.to_bits();
            exponent += (bits >> 23) as i32 - 127;
            product = f32::from_bits((bits & 0x007F_FFFF) | 0x3F80_0000);
        }
        let bins = BAND.len() as f32;
        let mean_log2 = (exponent as f32 + product.log2()) / bins;
        mean_log2.exp2() / (sum / bins)
    }

    /// Frequency and energy of the strongest line; its bins are emptied.
    fn take_peak(&mut self) -> Option<(f32, f32)> {
        let (at, peak) = self
            .power
            .iter()
            .enumerate()
            .skip(1)
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map(|(at, power)| (at, *power))?;
        if peak <= 0.0 {
            return None;
        }
        let near = |at: usize| self.power.get(at).copied().unwrap_or(0.0);
        let (below, above) = (near(at - 1).sqrt(), near(at + 1).sqrt());
        // Two neighbouring bins of a Hann window place a line between them exactly.
        let (side, sign) = if above > below { (above, 1.0) } else { (below, -1.0) };
        let ratio = side / peak.sqrt();
        let offset = sign * ((2.0 * ratio - 1.0) / (1.0 + ratio)).clamp(-0.5, 0.5);
        let hz = (at as f32 + offset) * 8_000.0 / WINDOW as f32;
        let mut held = 0.0;
        for bin in self.power.iter_mut().take(at + LOBE + 1).skip(at.saturating_sub(LOBE).max(1)) {
            held += *bin;
            *bin = 0.0;
        }
        Some((hz, held))
    }

    /// Power spectrum of the windowed samples: a real transform as a complex one of half the length.
    #[expect(clippy::indexing_slicing, reason = "every index is a masked or halved loop bound")]
    fn transform(&mut self) {
        let bits = HALF.trailing_zeros();
        for at in 0..HALF {
            let re = self.samples[2 * at] * self.window[2 * at];
            let im = self.samples[2 * at + 1] * self.window[2 * at + 1];
            self.work[at.reverse_bits() >> (usize::BITS - bits)] = (re, im);
        }
        let mut len = 2;
        while len <= HALF {
            let step = WINDOW / len;
            for start in (0..HALF).step_by(len) {
                for at in 0..len / 2 {
                    let (wr, wi) = self.twiddle[at * step];
                    let (ar, ai) = self.work[start + at];
                    let (br, bi) = self.work[start + at + len / 2];
                    let (tr, ti) = (br * wr - bi * wi, br * wi + bi * wr);
                    self.work[start + at] = (ar + tr, ai + ti);
                    self.work[start + at + len / 2] = (ar - tr, ai - ti);
                }
            }
            len *= 2;
        }
        for at in 0..=HALF {
            let (ar, ai) = self.work[at % HALF];
            let (br, bi) = self.work[(HALF - at) % HALF];
            let (er, ei) = ((ar + br) / 2.0, (ai - bi) / 2.0);
            let (or, oi) = ((ai + bi) / 2.0, (br - ar) / 2.0);
            let angle = PI * at as f32 / HALF as f32;
            let (wr, wi) = if at < HALF { self.twiddle[at] } else { (angle.cos(), -angle.sin()) };
            let (re, im) = (er + or * wr - oi * wi, ei + or * wi + oi * wr);
            self.power[at] = re * re + im * im;
        }
    }
}

impl Default for ToneWatch {
    fn default() -> Self {
        Self::new()
    }
}
