use super::*;

/// The signal of fixtures/turn_model/reference.py: noise on a square wave of 400 Hz, half a second of nothing in it.
fn signal(samples: u64) -> Vec<i16> {
    let mut state = 1_u64;
    (0..samples)
        .map(|n| {
            state = (state * 1_103_515_245 + 12_345) % (1 << 31);
            let noise = ((state >> 16) & 0x3ff) as i16 - 512;
            let square = if (n / 20).is_multiple_of(2) { 4_000 } else { -4_000 };
            if (16_000..24_000).contains(&n) { 0 } else { noise + square }
        })
        .collect()
}

fn features(audio: &[i16]) -> Vec<f32> {
    let mut features = Vec::new();
    LogMel::new().compute(audio, &mut features);
    assert_eq!(features.len(), BANDS * FRAMES);
    features
}

#[test]
fn the_features_are_those_of_the_reference() {
    // Printed by fixtures/turn_model/reference.py: band, frame, value.
    let short = [
        (0, 0, -0.145683),
        (0, 500, 1.233531),
        (3, 505, 0.525797),
        (10, 505, 1.757961),
        (10, 600, 1.616322),
        (40, 520, 0.639967),
        (79, 520, 1.022062),
        (5, 650, 1.312316),
        (20, 660, 0.776176),
        (60, 799, 1.054173),
        (79, 799, 1.026392),
    ];
    let long = [
        (0, 0, 1.214482),
        (0, 500, 0.628768),
        (3, 505, 0.637236),
        (10, 505, 1.634504),
        (10, 600, 1.634_68),
        (40, 520, 0.671491),
        (79, 520, 0.889520),
        (5, 650, 0.566811),
        (20, 660, 0.527216),
        (60, 799, 0.940916),
        (79, 799, 0.885323),
    ];
    for (samples, expected, mean) in [(48_000, short, 0.107_100), (160_000, long, 0.721_775)] {
        let features = features(&signal(samples));
        for (band, frame, value) in expected {
            let found = features[band * FRAMES + frame];
            assert!((found - value).abs() < 1e-4, "{samples}, {band}, {frame}: {found}, {value}");
        }
        let all = features.iter().map(|value| f64::from(*value)).sum::<f64>();
        assert!((all / features.len() as f64 - mean).abs() < 1e-5, "{samples}: {all}");
    }
}

#[test]
fn only_the_last_eight_seconds_count_and_silence_is_finite() {
    let long = signal(160_000);
    assert_eq!(features(&long), features(&long[160_000 - SAMPLES..]));
    for quiet in [&[][..], &[0; 16_000], &[7; SAMPLES]] {
        let features = features(quiet);
        assert!(features.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn buffers_are_used_again() {
    let (mut mel, mut features) = (LogMel::new(), Vec::new());
    mel.compute(&signal(160_000), &mut features);
    mel.compute(&signal(48_000), &mut features);
    assert_eq!(features, self::features(&signal(48_000)));
}
