use std::f32::consts::TAU;

use super::*;

/// Parts of `(frequencies, ms)` at -12 dBFS in all, with silence for no frequency.
fn sound(parts: &[(&[f32], u32)]) -> Vec<i16> {
    let mut out = Vec::new();
    for (tones, ms) in parts {
        let each = 8_000.0 / (tones.len().max(1) as f32);
        out.extend((0..ms * 8).map(|n| {
            let at = n as f32 / 8_000.0;
            tones.iter().map(|hz| (TAU * hz * at).sin() * each).sum::<f32>() as i16
        }));
    }
    out
}

fn heard(samples: &[i16]) -> Vec<LineTone> {
    let mut detector = CallToneDetector::new();
    samples.chunks(160).filter_map(|frame| detector.push(frame)).collect()
}

#[test]
fn a_beep_of_any_usual_pitch_and_length_is_told_once_with_both() {
    for hz in [440.0, 620.0, 850.0, 1_000.0, 1_400.0, 2_000.0, 2_450.0] {
        for ms in [220, 500, 1_000, 2_000] {
            let tones = heard(&sound(&[(&[], 410), (&[hz], ms), (&[], 600)]));
            let [LineTone::Beep { hz: pitch, duration_ms }] = tones.as_slice() else {
                panic!("{hz} Hz for {ms} ms: {tones:?}");
            };
            assert!((f32::from(*pitch) - hz).abs() < 12.0, "{hz}: {pitch}");
            assert!(u32::from(*duration_ms).abs_diff(ms) <= 40, "{ms}: {duration_ms}");
        }
    }
}

#[test]
fn a_beep_in_noise_and_at_a_low_level_is_still_one() {
    let mut seed = 7_u32;
    let mut samples = sound(&[(&[], 400), (&[1_000.0], 400), (&[], 600)]);
    for sample in &mut samples {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let noise = (seed >> 16) as i16 / 400;
        *sample = *sample / 8 + noise;
    }
    assert!(matches!(heard(&samples).as_slice(), [LineTone::Beep { .. }]), "{:?}", heard(&samples));
}

/// Frequencies that sound together, and for how many milliseconds.
type Part<'a> = (&'a [f32], u32);

#[test]
fn keys_ringback_dial_tone_and_short_blips_are_no_beeps() {
    let cases: [(&str, &[Part<'_>]); 5] = [
        ("a key", &[(&[770.0, 1_336.0], 400), (&[], 600)]),
        ("american ringback", &[(&[440.0, 480.0], 2_000), (&[], 600)]),
        ("british ringback", &[(&[400.0, 450.0], 400), (&[], 600)]),
        ("american busy", &[(&[480.0, 620.0], 500), (&[], 600)]),
        ("a blip", &[(&[1_000.0], 80), (&[], 600)]),
    ];
    for (name, parts) in cases {
        assert_eq!(heard(&sound(parts)), [], "{name}");
    }
    let melody = sound(&[(&[660.0], 300), (&[880.0], 300), (&[1_100.0], 300), (&[], 600)]);
    assert_eq!(heard(&melody), [], "a melody");
    let beat = sound(&[(&[425.0], 500), (&[], 500), (&[425.0], 500), (&[], 500)]);
    assert!(
        matches!(heard(&beat).as_slice(), [LineTone::Progress { .. }, LineTone::Progress { .. }]),
        "{:?}",
        heard(&beat)
    );
}

#[test]
fn fax_and_special_information_tones_are_told_apart() {
    let calling = sound(&[(&[], 300), (&[1_100.0], 500), (&[], 3_000)]);
    assert_eq!(heard(&calling), [LineTone::FaxCalling]);
    let answer = sound(&[(&[], 300), (&[2_100.0], 3_000), (&[], 600)]);
    assert_eq!(heard(&answer), [LineTone::FaxAnswer]);
    for [a, b, c] in
        [[950.0, 1_400.0, 1_800.0], [913.8, 1_370.6, 1_776.7], [985.2, 1_428.5, 1_776.7]]
    {
        let sit = sound(&[(&[], 300), (&[a], 330), (&[b], 330), (&[c], 330), (&[], 600)]);
        assert_eq!(heard(&sit), [LineTone::SpecialInformation], "{a} {b} {c}");
        let gaps =
            sound(&[(&[a], 276), (&[], 20), (&[b], 276), (&[], 20), (&[c], 380), (&[], 600)]);
        assert_eq!(heard(&gaps), [LineTone::SpecialInformation], "{a} {b} {c} with gaps");
    }
}
