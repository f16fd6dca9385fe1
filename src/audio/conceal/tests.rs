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

/// Noise of about -60 dBFS.
fn line_noise(len: usize) -> Vec<i16> {
    let mut samples = vec![0; len];
    ComfortNoise::new(-60.0, 5).fill(&mut samples);
    samples
}

#[test]
fn a_long_loss_fades_into_the_background() {
    for background in [false, true] {
        let mut concealer = Concealer::new(SampleRate::HZ_8000);
        for _ in 0..150 {
            let mut quiet = if background { line_noise(160) } else { vec![0; 160] };
            concealer.received(&mut quiet);
        }
        for at in 0..50 {
            concealer.received(&mut sine(150.0, at * 160, 160));
        }
        let mut levels = Vec::new();
        for _ in 0..12 {
            let mut frame = [1_i16; 160];
            concealer.conceal(&mut frame);
            levels.push(rms_dbfs(&frame));
        }
        assert!(levels[0] > -16.0, "{levels:?}");
        assert!(levels[..8].is_sorted_by(|one, next| one > next), "{levels:?}");
        // Audible for as long as most bursts of losses last, and no longer.
        assert!(levels[5] > -30.0, "{levels:?}");
        let rest = if background { -66.0..-56.0 } else { FLOOR_DBFS..-70.0 };
        assert!(levels[8..].iter().all(|level| rest.contains(level)), "{levels:?}");
    }
}

#[test]
fn what_comes_after_a_loss_reaches_back_into_it() {
    let rms = |frame: &[i16]| rms_dbfs(frame);
    for lost in 1..8_usize {
        // A word begins within the loss.
        let mut concealer = Concealer::new(SampleRate::HZ_8000);
        (0..10).for_each(|_| concealer.received(&mut [0; 160]));
        let mut heard = vec![0; 160];
        let word = sine(150.0, 0, 320);
        for n in 0..lost {
            let mut frame = [1_i16; 160];
            concealer.conceal_towards(&mut frame, &word[..160], (lost - 1 - n) * 160);
            heard.extend(frame);
        }
        for frame in word.chunks(160) {
            let mut frame = frame.to_vec();
            concealer.received(&mut frame);
            heard.extend(frame);
        }
        let end = 160 + lost * 160;
        assert_eq!(heard[end..], word, "what came is as it came");
        assert!(
            rms(&heard[end - 80..end]) > rms(&word) - 6.0,
            "{lost}: {}",
            rms(&heard[end - 80..end])
        );
        assert!(largest_step(&heard) <= largest_step(&word) * 2, "{lost}: a click");
    }
}

#[test]
fn a_loss_within_a_sound_is_filled_from_both_sides() {
    for lost in 1..6_usize {
        let mut concealer = Concealer::new(SampleRate::HZ_8000);
        let original = sine(125.0, 0, 20 * 160);
        let mut heard = Vec::new();
        for (at, frame) in original.chunks(160).enumerate() {
            let mut frame = frame.to_vec();
            if (8..8 + lost).contains(&at) {
                let next = &original[(8 + lost) * 160..(9 + lost) * 160];
                concealer.conceal_towards(&mut frame, next, (7 + lost - at) * 160);
            } else {
                concealer.received(&mut frame);
            }
            heard.extend(frame);
        }
        // A period of 64 samples: the repetitions meet in phase.
        for (at, frame) in heard.chunks(160).enumerate() {
            assert!(rms_dbfs(frame) > rms_dbfs(&original) - 5.0, "{lost}: frame {at}");
        }
        assert!(largest_step(&heard) <= largest_step(&original) * 2, "{lost}");
    }
}

#[test]
fn the_first_good_frame_after_silence_rises_gently_and_is_itself_again_after_10_ms() {
    let mut concealer = Concealer::new(SampleRate::HZ_8000);
    for at in 0..5 {
        concealer.received(&mut sine(150.0, at * 160, 160));
    }
    for _ in 0..9 {
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
        losses in proptest::collection::vec(0..3_u8, 1..40),
        samples in proptest::collection::vec(any::<i16>(), 160),
        len in 1..400_usize,
    ) {
        let mut concealer = Concealer::new(SampleRate::HZ_8000);
        let peak = samples.iter().map(|s| s.unsigned_abs()).max().unwrap_or(0);
        for lost in losses {
            let mut frame: Vec<i16> = samples.iter().cycle().take(len).copied().collect();
            match lost {
                0 => concealer.received(&mut frame),
                1 => concealer.conceal(&mut frame),
                _ => concealer.conceal_towards(&mut frame, &samples, len),
            }
            prop_assert!(frame.iter().all(|s| s.unsigned_abs() <= peak));
        }
    }
}
