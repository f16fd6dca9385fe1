use super::*;
use crate::audio::level::dbfs_amplitude;
use crate::audio::noise::ComfortNoise;
use crate::audio::{g711, wav};
use proptest::prelude::*;
use std::f32::consts::TAU;
use std::path::Path;

/// dBm0 of a sine to its amplitude: 3.17 dBm0 is full scale.
fn amplitude(dbm0: f32) -> f32 {
    dbfs_amplitude(dbm0 - 3.17)
}

/// A pair of tones of `samples` at 8 kHz, each at its level in dBm0.
fn pair(row: f32, column: f32, low_dbm0: f32, high_dbm0: f32, samples: usize) -> Vec<i16> {
    (0..samples)
        .map(|n| {
            let t = n as f32 / 8_000.0;
            let low = amplitude(low_dbm0) * (TAU * row * t).sin();
            let high = amplitude(high_dbm0) * (TAU * column * t + 0.7).sin();
            (low + high) as i16
        })
        .collect()
}

fn over_the_line(samples: &[i16]) -> Vec<i16> {
    samples.iter().map(|s| g711::decode_ulaw(g711::encode_ulaw(*s))).collect()
}

fn events(samples: &[i16]) -> Vec<DtmfEvent> {
    let mut detector = DtmfDetector::new(SampleRate::HZ_8000);
    over_the_line(samples).chunks(160).filter_map(|frame| detector.push(frame)).collect()
}

fn digits(samples: &[i16]) -> String {
    events(samples)
        .iter()
        .filter_map(|event| match event {
            DtmfEvent::Started { digit } => Some(char::from(*digit)),
            DtmfEvent::Ended { .. } => None,
        })
        .collect()
}

fn each_key(check: impl Fn(u8, f32, f32)) {
    for (row, keys) in ROWS_HZ.iter().zip(KEYS) {
        for (column, key) in COLUMNS_HZ.iter().zip(keys) {
            check(key, *row, *column);
        }
    }
}

/// `tones` between stretches of silence.
fn framed(tones: Vec<i16>, offset: usize) -> Vec<i16> {
    let mut samples = vec![0; 400 + offset];
    samples.extend(tones);
    samples.extend([0; 800]);
    samples
}

#[test]
fn every_key_is_heard_once_from_minus_10_to_minus_30_dbm0() {
    each_key(|key, row, column| {
        for dbm0 in [-10.0, -20.0, -30.0] {
            for ms in [40, 50, 100, 500] {
                for offset in [0, 33, 77] {
                    let samples = framed(pair(row, column, dbm0, dbm0, ms * 8), offset);
                    let expected = char::from(key).to_string();
                    assert_eq!(digits(&samples), expected, "{dbm0} dBm0, {ms} ms, {offset}");
                }
            }
        }
    });
}

#[test]
fn twist_is_taken_to_plus_4_and_minus_8_db_and_refused_far_beyond() {
    each_key(|key, row, column| {
        for (low, high) in [(-16.0, -12.0), (-12.0, -20.0), (-24.0, -20.0), (-20.0, -28.0)] {
            let samples = framed(pair(row, column, low, high, 480), 0);
            assert_eq!(digits(&samples), char::from(key).to_string(), "{low} {high}");
        }
        for (low, high) in [(-30.0, -15.0), (-10.0, -26.0)] {
            assert_eq!(digits(&framed(pair(row, column, low, high, 480), 0)), "", "{low} {high}");
        }
    });
}

#[test]
fn frequencies_off_by_one_and_a_half_percent_work_and_far_off_ones_do_not() {
    each_key(|key, row, column| {
        for factor in [0.985, 1.015] {
            let samples = framed(pair(row * factor, column * factor, -15.0, -15.0, 480), 0);
            assert_eq!(digits(&samples), char::from(key).to_string(), "{factor}");
        }
        let samples = framed(pair(row * 0.95, column * 1.06, -15.0, -15.0, 480), 0);
        assert_eq!(digits(&samples), "", "{row} {column}");
    });
}

#[test]
fn noise_15_db_below_does_not_hide_a_key() {
    each_key(|key, row, column| {
        let mut samples = framed(pair(row, column, -15.0, -15.0, 480), 0);
        let mut noise = vec![0; samples.len()];
        ComfortNoise::new(-15.0 - 3.2 - 15.0, 11).fill(&mut noise);
        samples.iter_mut().zip(noise).for_each(|(s, n)| *s = s.saturating_add(n));
        assert_eq!(digits(&samples), char::from(key).to_string());
    });
}

#[test]
fn a_tone_of_17_ms_is_no_key_and_a_gap_of_7_ms_is_no_release() {
    each_key(|key, row, column| {
        for offset in 0..51 {
            let short = framed(pair(row, column, -12.0, -12.0, 136), offset * 2);
            assert_eq!(digits(&short), "", "{offset}");
        }
        let mut broken = pair(row, column, -12.0, -12.0, 480);
        broken.extend([0; 56]);
        broken.extend(pair(row, column, -12.0, -12.0, 480));
        assert_eq!(digits(&framed(broken, 0)), char::from(key).to_string());
    });
}

#[test]
fn the_same_key_twice_is_two_digits_and_durations_are_right() {
    let mut twice = pair(770.0, 1_336.0, -12.0, -12.0, 800);
    twice.extend([0; 400]);
    twice.extend(pair(770.0, 1_336.0, -12.0, -12.0, 800));
    let samples = framed(twice, 0);
    assert_eq!(digits(&samples), "55");
    for event in events(&samples) {
        if let DtmfEvent::Ended { digit, duration_ms } = event {
            assert_eq!(digit, b'5');
            assert!((75..=115).contains(&duration_ms), "{duration_ms}");
        }
    }
}

#[test]
fn one_key_after_another_without_a_gap_has_all_its_edges() {
    for offset in 0..160 {
        let mut keys = pair(697.0, 1_209.0, -12.0, -12.0, 640);
        keys.extend(pair(941.0, 1_477.0, -12.0, -12.0, 640));
        let edges: Vec<(bool, u8)> = events(&framed(keys, offset))
            .iter()
            .map(|event| match *event {
                DtmfEvent::Started { digit } => (true, digit),
                DtmfEvent::Ended { digit, .. } => (false, digit),
            })
            .collect();
        let expected = [(true, b'1'), (false, b'1'), (true, b'#'), (false, b'#')];
        assert_eq!(edges, expected, "{offset}");
    }
}

#[test]
fn the_keypad_made_by_another_generator_is_read_in_order() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wav");
    let keypad = wav::read_mono(&root.join("line/dtmf_keypad.wav")).unwrap();
    assert_eq!(digits(&keypad.samples), "123A456B789C*0#D");
    let mut up = crate::audio::Resampler::new(SampleRate::HZ_8000, SampleRate::HZ_16000).unwrap();
    let mut wide = Vec::new();
    up.push(&keypad.samples, &mut wide);
    let mut detector = DtmfDetector::new(SampleRate::HZ_16000);
    let presses = wide
        .chunks(320)
        .filter(|frame| matches!(detector.push(frame), Some(DtmfEvent::Started { .. })))
        .count();
    assert_eq!(presses, 16);
}

#[test]
fn nobody_talks_a_key_off() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wav");
    for folder in ["speech", "line"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("dtmf_keypad.wav") {
                continue;
            }
            let samples = wav::read_mono(&path).unwrap().samples;
            // Every shift of the block border against the speech is another chance to be wrong,
            // and so is every speed: a hundred variants stand for a longer corpus.
            for shift in (0..102).step_by(6) {
                for (rise, fall) in [(1, 1), (9, 8), (8, 9), (6, 5), (5, 6)] {
                    let len = samples.len() * fall / rise;
                    let spoken: Vec<i16> = (shift..len)
                        .filter_map(|at| samples.get(at * rise / fall).copied())
                        .collect();
                    assert_eq!(digits(&spoken), "", "{path:?}, shift {shift}, {rise}/{fall}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_key_sequence_is_read_back(
        keys in proptest::collection::vec((0..4_usize, 0..4_usize, 45..120_usize, 45..120_usize), 1..8),
    ) {
        let mut samples = vec![0; 200];
        let mut expected = String::new();
        for (row, column, on_ms, off_ms) in keys {
            samples.extend(pair(ROWS_HZ[row], COLUMNS_HZ[column], -14.0, -13.0, on_ms * 8));
            samples.extend(vec![0; off_ms * 8]);
            expected.push(char::from(KEYS[row][column]));
        }
        samples.extend([0; 400]);
        prop_assert_eq!(digits(&samples), expected);
    }
}

#[test]
fn a_bank_measures_the_power_of_a_sine() {
    let mut bank = Goertzel::new([1_000.0, 2_000.0], SampleRate::HZ_8000);
    for n in 0..160 {
        bank.push(1_000.0 * (TAU * n as f32 / 8.0).sin());
    }
    let [at, beside] = bank.take();
    assert!((at / (1_000.0_f32 * 80.0).powi(2) - 1.0).abs() < 1e-3);
    assert!(beside < at * 1e-6);
}
