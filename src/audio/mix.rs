//! Gains and fades on samples already decoded.

use crate::types::SampleRate;

/// Length of the fade that ends playback at a barge-in: short enough to be silence within the
/// frame of the decision, long enough not to click.
pub const FADE_MS: u32 = 10;

/// Adds `other` to `samples`, saturating; what is longer than `samples` is not used.
pub fn mix(samples: &mut [i16], other: &[i16]) {
    for (sample, other) in samples.iter_mut().zip(other) {
        *sample = sample.saturating_add(*other);
    }
}

/// Multiplies by a gain in decibels, saturating.
pub fn gain(samples: &mut [i16], gain_db: f32) {
    let factor = 10_f32.powf(gain_db / 20.0);
    for sample in samples {
        *sample = (f32::from(*sample) * factor) as i16;
    }
}

/// Multiplies by a factor that goes from `from` to `to` over the block.
pub fn ramp(samples: &mut [i16], from: f32, to: f32) {
    let step = (to - from) / samples.len().max(1) as f32;
    let mut factor = from;
    for sample in samples {
        factor += step;
        *sample = (f32::from(*sample) * factor) as i16;
    }
}

/// Averages pairs: 16 kHz to 8 kHz, for detectors and not for ears. Returns the samples written.
pub fn halved(frame: &[i16], out: &mut [i16]) -> usize {
    let mut written = 0;
    for (to, pair) in out.iter_mut().zip(frame.chunks_exact(2)) {
        let sum: i32 = pair.iter().map(|sample| i32::from(*sample)).sum();
        *to = (sum / 2) as i16;
        written += 1;
    }
    written
}

/// Fades the block to silence: a raised cosine over the first [`FADE_MS`], zero after it.
/// Returns how many samples are still heard.
pub fn fade_out(samples: &mut [i16], rate: SampleRate) -> usize {
    let fade = rate.samples_in_ms(FADE_MS).max(1);
    for (at, sample) in samples.iter_mut().enumerate() {
        *sample = (f32::from(*sample) * falling(at, fade)) as i16;
    }
    fade.min(samples.len())
}

/// Fades the block in from silence over the first [`FADE_MS`].
pub fn fade_in(samples: &mut [i16], rate: SampleRate) {
    let fade = rate.samples_in_ms(FADE_MS).max(1);
    for (at, sample) in samples.iter_mut().take(fade).enumerate() {
        *sample = (f32::from(*sample) * (1.0 - falling(at, fade))) as i16;
    }
}

/// `into` goes from what it holds to `to` along a raised cosine over its length.
pub fn cross_fade(into: &mut [i16], to: &[i16]) {
    let len = into.len().min(to.len());
    for (at, (sample, to)) in into.iter_mut().zip(to).enumerate() {
        let old = falling(at, len);
        *sample = (f32::from(*sample) * old + f32::from(*to) * (1.0 - old)) as i16;
    }
}

/// From 1 at 0 to 0 at `len`, half a period of a cosine.
fn falling(at: usize, len: usize) -> f32 {
    if at >= len {
        return 0.0;
    }
    0.5 + 0.5 * (std::f32::consts::PI * (at as f32 + 0.5) / len as f32).cos()
}

#[cfg(test)]
mod tests;
