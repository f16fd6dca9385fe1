#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::net::clock;

const LOUD: [i16; 160] = [2_000; 160];
const SILENT: [i16; 160] = [0; 160];

fn at(start: Instant, frame: u64) -> Instant {
    start + Duration::from_millis(20 * frame)
}

/// Hears one frame a letter: `x` loud, `.` silent.
fn hear(ear: &mut Ear, start: Instant, line: &str) -> Vec<(u64, EarEvent)> {
    let frames = line.chars().filter(|c| *c != ' ').zip(0..);
    frames
        .filter_map(|(letter, n)| {
            let samples = if letter == 'x' { &LOUD } else { &SILENT };
            ear.hear(at(start, n), samples).map(|event| (n, event))
        })
        .collect()
}

#[test]
fn edges_lie_on_the_first_and_last_audible_packet() {
    let start = clock::now();
    let mut ear = Ear::new(Duration::from_millis(400));
    let events = hear(&mut ear, start, "...xxxxx.x .......... .......... ..........");
    let began = EarEvent::Began { at: at(start, 3) };
    let ended = EarEvent::Ended { at: at(start, 9) };
    let settled = EarEvent::Settled { at: at(start, 9) };
    assert_eq!(events, [(4, began), (19, ended), (29, settled)]);
    assert!(!ear.is_speaking());
}

#[test]
fn one_audible_frame_is_a_click() {
    let start = clock::now();
    let mut ear = Ear::default();
    assert_eq!(hear(&mut ear, start, ".x.............................................."), []);
    assert_eq!(ear.spurts().count(), 0);
    assert_eq!(ear.reply_after(start), None);
}

#[test]
fn sentences_of_one_reply_belong_together() {
    let start = clock::now();
    let mut ear = Ear::new(Duration::from_millis(400));
    let pause = ".".repeat(15);
    let line = format!("..xxxx{pause}xxxx{}xxxx{}", ".".repeat(25), ".".repeat(25));
    hear(&mut ear, start, &line);
    assert_eq!(ear.spurts().count(), 3);
    let first = ear.reply_after(start).unwrap();
    assert_eq!((first.began_at, first.ended_at), (at(start, 2), at(start, 24)));
    let second = ear.reply_after(first.ended_at).unwrap();
    assert_eq!((second.began_at, second.ended_at), (at(start, 50), at(start, 53)));
    assert_eq!(ear.reply_after(second.ended_at), None);
}

#[test]
fn a_reply_that_goes_on_is_not_given() {
    let start = clock::now();
    let mut ear = Ear::new(Duration::from_millis(400));
    hear(&mut ear, start, "..xxxxxxxxxxxxxxxxxxxxxxxxxx...............");
    assert_eq!(ear.reply_after(start), None);
}

#[test]
fn what_is_interrupted_ends_with_its_last_audible_packet() {
    let start = clock::now();
    let mut ear = Ear::default();
    hear(&mut ear, start, "..xxxxxxxx............xxxxx");
    assert_eq!(ear.silence_after(at(start, 5)), Some(at(start, 9)));
    assert_eq!(ear.silence_after(at(start, 15)), None, "nobody spoke then");
    assert_eq!(ear.silence_after(at(start, 24)), None, "it goes on");
}

#[test]
fn a_tone_is_told_from_its_neighbours() {
    let rate = SampleRate::HZ_8000;
    let sine = |hz: f32| -> Vec<i16> {
        let step = std::f32::consts::TAU * hz / 8_000.0;
        (0..1_600).map(|n| ((n as f32 * step).sin() * 9_000.0) as i16).collect()
    };
    for hz in [350.0, 1_000.0, 2_150.0] {
        assert!(tone_share(&sine(hz), rate, hz) > 0.95, "{hz}");
        assert!(tone_share(&sine(hz), rate, hz + 100.0) < 0.1, "{hz}");
    }
    assert_eq!(tone_share(&[0; 1_600], rate, 440.0), 0.0);
    assert_eq!(tone_share(&[], rate, 440.0), 0.0);
}

proptest! {
    /// Whatever arrives, talkspurts are in order, apart by the hangover, and every edge told is one of theirs.
    #[test]
    fn talkspurts_are_in_order(loud in proptest::collection::vec(any::<bool>(), 1..600)) {
        let start = clock::now();
        let mut ear = Ear::default();
        let mut began = 0;
        for (n, loud) in loud.iter().enumerate() {
            let samples = if *loud { &LOUD } else { &SILENT };
            began += usize::from(matches!(
                ear.hear(at(start, n as u64), samples),
                Some(EarEvent::Began { .. })
            ));
        }
        let spurts: Vec<Spurt> = ear.spurts().copied().collect();
        prop_assert_eq!(began, spurts.len());
        for spurt in &spurts {
            prop_assert!(spurt.began_at < spurt.ended_at);
        }
        for pair in spurts.windows(2) {
            prop_assert!(pair[1].began_at >= pair[0].ended_at + HANGOVER);
        }
    }
}
