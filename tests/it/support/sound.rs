//! Tones and levels: what of a sound can be proved.

use std::path::Path;

use trunkline::audio::wav;
use trunkline::types::SampleRate;

/// Samples a second of everything here.
pub(crate) const RATE: usize = 8_000;
/// Samples of one packet.
pub(crate) const FRAME: usize = 160;

/// A mono file of 8 kHz.
pub(crate) fn load(path: &Path) -> Vec<i16> {
    let pcm = wav::read_mono(path).unwrap_or_else(|error| panic!("{}: {error:?}", path.display()));
    assert_eq!(pcm.rate.hz() as usize, RATE, "{}", path.display());
    pcm.samples
}

/// Writes a mono file of 8 kHz.
pub(crate) fn write(path: &Path, samples: &[i16]) {
    let mut wav =
        wav::WavWriter::create(path, SampleRate::HZ_8000, wav::Channels::Mono).expect("a file");
    wav.write_mono(samples).expect("a write");
    wav.finish().expect("a file");
}

/// A sine of about -12 dBFS.
pub(crate) fn tone(hz: f64, ms: usize) -> Vec<i16> {
    let step = std::f64::consts::TAU * hz / RATE as f64;
    (0..ms * RATE / 1_000).map(|n| (8_000.0 * (step * n as f64).sin()) as i16).collect()
}

/// Share of the energy of a block that lies at a frequency (Goertzel), 0 to 1.
pub(crate) fn share_at(samples: &[i16], hz: f64, rate: usize) -> f64 {
    let energy: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    if energy < samples.len() as f64 * 100.0 {
        return 0.0;
    }
    let coefficient = 2.0 * (std::f64::consts::TAU * hz / rate as f64).cos();
    let (mut last, mut before) = (0.0, 0.0);
    for sample in samples {
        let next = f64::from(*sample) + coefficient * last - before;
        before = last;
        last = next;
    }
    let power = last * last + before * before - coefficient * last * before;
    2.0 * power / (samples.len() as f64 * energy)
}

/// Milliseconds in which a tone is most of what sounds, in blocks of 40 ms.
pub(crate) fn tone_ms(samples: &[i16], hz: f64, rate: usize) -> usize {
    let block = rate / 25;
    40 * samples.chunks_exact(block).filter(|b| share_at(b, hz, rate) > 0.7).count()
}

/// Root mean square of a block.
pub(crate) fn rms(samples: &[i16]) -> f64 {
    let energy: f64 = samples.iter().map(|s| f64::from(*s).powi(2)).sum();
    (energy / samples.len().max(1) as f64).sqrt()
}

/// Milliseconds in blocks of 20 ms that are louder than -50 dBFS.
pub(crate) fn loud_ms(samples: &[i16]) -> usize {
    20 * samples.chunks(FRAME).filter(|block| rms(block) > LOUD).count()
}

/// What counts as sound: -50 dBFS, the level that the ledger calls audible.
pub(crate) const LOUD: f64 = 104.0;

/// First sample at or after `from` of a window of one packet that is loud; windows step by 5 ms.
pub(crate) fn next_loud(samples: &[i16], from: usize) -> Option<usize> {
    let mut starts = (from..samples.len().saturating_sub(FRAME)).step_by(40);
    starts.find(|start| rms(&samples[*start..start + FRAME]) > LOUD)
}

/// End of the last loud window before `to`.
pub(crate) fn last_loud(samples: &[i16], to: usize) -> Option<usize> {
    let mut ends = (FRAME..to.min(samples.len())).rev().step_by(40);
    ends.find(|end| rms(&samples[end - FRAME..*end]) > LOUD)
}
