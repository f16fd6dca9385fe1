//! The sound of last resort: three falling tones, understood in every language as a line in trouble.

use std::f32::consts::TAU;

use crate::types::{Pcm, SampleRate};

/// Frequencies, Hz: those of the special information tone (ITU-T E.180), from high to low.
const TONES_HZ: [f32; 3] = [1_800.0, 1_400.0, 950.0];
/// Length of each, in samples: 330 ms.
const TONE_SAMPLES: u16 = 2_640;
/// Peak level of 32,767.
const PEAK: f32 = 6_000.0;

/// Makes it.
pub(super) fn falling() -> Pcm {
    let rate = SampleRate::HZ_8000;
    let tone = |hz: f32| {
        let step = TAU * hz / 8_000.0;
        (0..TONE_SAMPLES).map(move |n| (PEAK * (step * f32::from(n)).sin()) as i16)
    };
    Pcm { rate, samples: TONES_HZ.into_iter().flat_map(tone).collect() }
}
