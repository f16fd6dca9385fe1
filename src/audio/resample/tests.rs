use super::*;
use crate::audio::level::rms_dbfs;
use proptest::prelude::*;
use std::f64::consts::TAU;

const PAIRS: [(u32, u32); 8] = [
    (8_000, 16_000),
    (16_000, 8_000),
    (24_000, 8_000),
    (22_050, 8_000),
    (48_000, 8_000),
    (24_000, 16_000),
    (8_000, 48_000),
    (44_100, 8_000),
];

fn rate(hz: u32) -> SampleRate {
    SampleRate::new(hz).unwrap()
}

fn sine(hz: f64, rate_hz: u32, len: usize) -> Vec<i16> {
    (0..len).map(|n| (10_000.0 * (TAU * hz * n as f64 / f64::from(rate_hz)).sin()) as i16).collect()
}

fn resampled(from: u32, to: u32, samples: &[i16]) -> Vec<i16> {
    let mut resampler = Resampler::new(rate(from), rate(to)).unwrap();
    let mut out = Vec::new();
    resampler.push(samples, &mut out);
    out
}

#[test]
fn every_20_ms_in_are_20_ms_out_from_the_first_frame_on() {
    for (from, to) in PAIRS {
        let mut resampler = Resampler::new(rate(from), rate(to)).unwrap();
        for _ in 0..500 {
            let mut out = Vec::new();
            resampler.push(&vec![100; from as usize / 50], &mut out);
            assert_eq!(out.len(), to as usize / 50, "{from} to {to}");
        }
    }
}

#[test]
fn an_impulse_comes_out_after_the_stated_delay_of_about_2_ms() {
    for (from, to) in PAIRS {
        let mut samples = vec![0; from as usize / 5];
        let at = from as usize / 10;
        samples[at] = 30_000;
        let out = resampled(from, to, &samples);
        let peak = out.iter().enumerate().max_by_key(|(_, s)| s.unsigned_abs()).unwrap().0;
        let mut resampler = Resampler::new(rate(from), rate(to)).unwrap();
        resampler.push(&samples, &mut Vec::new());
        let delay = resampler.delay() as i64;
        let measured = peak as i64 - (at as u64 * u64::from(to) / u64::from(from)) as i64;
        println!("{from} to {to}: delay {measured}, stated {delay}");
        assert!((measured - delay).abs() <= 2, "{from} to {to}: {measured} and {delay}");
        assert!(delay as f64 / f64::from(to) < 0.003, "{from} to {to}: {delay}");
    }
}

#[test]
fn speech_passes_and_what_would_alias_does_not() {
    for (from, to) in PAIRS {
        let lower = from.min(to);
        for hz in [300.0, 1_000.0, 3_400.0 * f64::from(lower) / 8_000.0] {
            let out = resampled(from, to, &sine(hz, from, from as usize));
            let loss = rms_dbfs(&sine(hz, to, 8_000)) - rms_dbfs(&out[1_000..]);
            assert!(loss.abs() < 0.5, "{from} to {to}: {hz} Hz loses {loss} dB");
        }
        if from > to {
            let hz = 4_700.0 * f64::from(to) / 8_000.0;
            let out = resampled(from, to, &sine(hz, from, from as usize));
            assert!(rms_dbfs(&out[1_000..]) < -70.0, "{from} to {to}: {}", rms_dbfs(&out[1_000..]));
        }
    }
}

#[test]
fn equal_rates_copy() {
    let samples = sine(440.0, 8_000, 333);
    assert_eq!(resampled(8_000, 8_000, &samples), samples);
    assert_eq!(Resampler::new(rate(8_000), rate(8_000)).unwrap().delay(), 0);
}

#[test]
fn loud_input_saturates_instead_of_wrapping() {
    let square: Vec<i16> =
        (0..4_800).map(|n| if n / 24 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
    let out = resampled(24_000, 8_000, &square);
    // A wrapped overshoot would be a jump of 65,535 inside a half-wave of 8 samples.
    assert!(out[100..].windows(3).all(|w| !(w[0] > 20_000 && w[1] < -20_000 && w[2] > 20_000)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn output_does_not_depend_on_how_the_input_is_cut(
        pair in 0..PAIRS.len(),
        samples in proptest::collection::vec(any::<i16>(), 0..5_000),
        cuts in proptest::collection::vec(1..900_usize, 1..20),
    ) {
        let (from, to) = PAIRS[pair];
        let mut whole = Vec::new();
        let mut resampler = Resampler::new(rate(from), rate(to)).unwrap();
        resampler.push(&samples, &mut whole);
        resampler.finish(&mut whole);

        let mut pieces = Vec::new();
        let mut rest = samples.as_slice();
        for cut in cuts.iter().cycle() {
            let (piece, later) = rest.split_at((*cut).min(rest.len()));
            resampler.push(piece, &mut pieces);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let delay = resampler.delay();
        resampler.finish(&mut pieces);
        prop_assert_eq!(&whole, &pieces);

        let exact = samples.len() as u64 * u64::from(to) / u64::from(from);
        if !samples.is_empty() && delay > 0 {
            let extra = whole.len() as i64 - exact as i64;
            prop_assert!(extra >= 0 && extra as f64 / f64::from(to) < 0.004, "{extra}");
        }

        let mut again = Vec::new();
        resampler.push(&samples, &mut Vec::new());
        resampler.reset();
        resampler.push(&samples, &mut again);
        resampler.finish(&mut again);
        prop_assert_eq!(whole, again);
    }
}
