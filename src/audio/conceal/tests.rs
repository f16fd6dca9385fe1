use super::*;
use crate::audio::level::{FLOOR_DBFS, rms_dbfs};
use proptest::prelude::*;
use std::f32::consts::TAU;

fn sine(hz: f32, from: usize, len: usize) -> Vec<i16> {
    (from..from + len).map(|n| (8_000.0 * (TAU * hz * n as f32 / 8_000.0).sin()) as i16).collect()
}

fn largest_step(samples: &[i16]) -> i32 {
    samples.windows(2).map(|w| (i32::from(w[1]) - i32::from(w[0])).abs()).max().unwrap_or(0)
}

#[test]
fn a_lost_frame_continues_a_periodic_sound_without_a_click() {
    for hz in [100.0, 125.0, 160.0, 190.0, 400.0] {
        let mut concealer = Concealer::new(SampleRate::HZ_8000);
        let mut heard = Vec::new();
        for at in 0..10 {
            let mut frame = sine(hz, at * 160, 160);
            if at == 6 {
                concealer.conceal(&mut frame);
                assert!(concealer.is_concealing());
            } else {
                concealer.received(&mut frame);
                assert!(!concealer.is_concealing());
            }
            heard.extend(frame);
        }
        let steepest = largest_step(&sine(hz, 0, 800));
        let step = largest_step(&heard);
        assert!(step <= steepest * 2, "{hz} Hz: a step of {step}, the tone has {steepest}");
        // The first 10 ms are at full level.
        assert!(rms_dbfs(&heard[960..1_040]) > rms_dbfs(&heard[800..960]) - 1.5, "{hz} Hz");
    }
}

#[test]
fn a_long_loss_fades_to_silence_at_60_ms() {
    let mut concealer = Concealer::new(SampleRate::HZ_8000);
    for at in 0..5 {
        concealer.received(&mut sine(150.0, at * 160, 160));
    }
    let mut levels = Vec::new();
    for _ in 0..6 {
        let mut frame = [1_i16; 160];
        concealer.conceal(&mut frame);
        levels.push(rms_dbfs(&frame));
    }
    assert!(levels[0] > -16.0 && levels[1] < levels[0] && levels[2] < levels[1], "{levels:?}");
    assert!(levels[3..].iter().all(|level| *level == FLOOR_DBFS), "{levels:?}");
}

#[test]
fn the_first_good_frame_after_silence_rises_gently_and_is_itself_again_after_10_ms() {
    let mut concealer = Concealer::new(SampleRate::HZ_8000);
    for at in 0..5 {
        concealer.received(&mut sine(150.0, at * 160, 160));
    }
    for _ in 0..5 {
        concealer.conceal(&mut [0; 160]);
    }
    let original = vec![9_000_i16; 160];
    let mut frame = original.clone();
    concealer.received(&mut frame);
    assert!(frame[0] < 200);
    assert!(frame[..80].windows(2).all(|w| w[1] >= w[0]));
    assert_eq!(frame[80..], original[80..]);
}

#[test]
fn nothing_is_concealed_with_nothing_before_any_frame() {
    let mut concealer = Concealer::new(SampleRate::HZ_8000);
    let mut frame = [77_i16; 160];
    concealer.conceal(&mut frame);
    assert!(frame.iter().all(|sample| *sample == 0));
    concealer.received(&mut [10_000; 160]);
    concealer.reset();
    concealer.conceal(&mut frame);
    assert!(frame.iter().all(|sample| *sample == 0));
}

proptest! {
    /// Whatever is lost, the concealment is never louder than what was heard before.
    #[test]
    fn concealment_never_exceeds_the_past(
        losses in proptest::collection::vec(any::<bool>(), 1..40),
        samples in proptest::collection::vec(any::<i16>(), 160),
        len in 1..400_usize,
    ) {
        let mut concealer = Concealer::new(SampleRate::HZ_8000);
        let peak = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
        for lost in losses {
            let mut frame: Vec<i16> = samples.iter().cycle().take(len).copied().collect();
            if lost { concealer.conceal(&mut frame) } else { concealer.received(&mut frame) }
            prop_assert!(frame.iter().all(|s| s.unsigned_abs() <= peak));
        }
    }
}
