//! Frames come out whole, in order, of one generation.

use super::*;

fn pcm(samples: usize) -> Pcm {
    Pcm {
        rate: SampleRate::HZ_8000,
        samples: (0..samples).map(|n| 1_000 + (n % 500) as i16).collect(),
    }
}

fn drain(playback: &mut Playback) -> Vec<PlayoutFrame> {
    std::iter::from_fn(|| playback.next_frame()).collect()
}

#[test]
fn a_partial_frame_waits_for_more_or_for_the_end() {
    let mut playback = Playback::new(SampleRate::HZ_8000);
    assert_eq!(playback.push(Generation(1), pcm(200)).samples, 200);
    let first = drain(&mut playback);
    assert_eq!(first.len(), 1);
    assert!(!first[0].last);
    playback.end(Generation(1));
    let rest = drain(&mut playback);
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].frame.samples().len(), 40);
    assert!(rest[0].last);
    assert!(playback.next_frame().is_none());
}

#[test]
fn an_end_on_a_frame_boundary_still_marks_a_last_frame() {
    let mut playback = Playback::new(SampleRate::HZ_8000);
    playback.push(Generation(1), pcm(320));
    assert_eq!(drain(&mut playback).len(), 2);
    playback.end(Generation(1));
    let rest = drain(&mut playback);
    assert_eq!(rest.len(), 1);
    assert!(rest[0].last && rest[0].frame.samples().is_empty());
}

#[test]
fn stale_audio_never_comes_out() {
    let mut playback = Playback::new(SampleRate::HZ_8000);
    playback.push(Generation(1), pcm(800));
    playback.stop(Generation(1));
    assert_eq!(
        playback.push(Generation(1), pcm(800)),
        Queued { samples: 0, dropped: 0, cut: Duration::ZERO }
    );
    assert!(playback.next_frame().is_none());
    playback.push(Generation(2), pcm(160));
    assert_eq!(drain(&mut playback)[0].generation, Generation(2));
}

#[test]
fn the_backlog_is_bounded() {
    let mut playback = Playback::new(SampleRate::HZ_8000);
    let mut dropped = 0;
    for _ in 0..200 {
        dropped += playback.push(Generation(1), pcm(8_000)).dropped;
    }
    assert_eq!(dropped, 80 * 8_000);
}

#[test]
fn another_rate_keeps_its_length() {
    let mut playback = Playback::new(SampleRate::HZ_8000);
    let wide = Pcm { rate: SampleRate::HZ_24000, samples: vec![1_000; 24_000] };
    let queued = playback.push(Generation(1), wide).samples as i64;
    assert!((queued - 8_000).abs() <= 160, "{queued}");
}

#[test]
fn silence_at_the_head_of_a_reply_is_cut_and_nowhere_else() {
    let mut playback = Playback::new(SampleRate::HZ_8000);
    let mut first = vec![0i16; 800];
    first.extend([5_000; 800]);
    let chunk = |samples: Vec<i16>| Pcm { rate: SampleRate::HZ_8000, samples };
    assert_eq!(playback.push(Generation(1), chunk(vec![3; 400])).samples, 0);
    // 9 ms stay before the first audible sample: the 5 of which the last is loud, and 5 before them.
    assert_eq!(playback.push(Generation(1), chunk(first)).samples, 872);
    assert_eq!(playback.push(Generation(1), chunk(vec![0; 800])).samples, 800);
    // A word that swells from nothing: its first packet is audible as a whole.
    let mut soft = Playback::new(SampleRate::HZ_8000);
    let swell: Vec<i16> = (0..4_000).map(|n| if n % 2 == 0 { n / 16 } else { -n / 16 }).collect();
    let taken = soft.push(Generation(1), chunk(swell)).samples;
    assert!((2_300..2_600).contains(&taken), "{taken} of 4,000: cut where -50 dBFS begins");
    let packet = soft.next_frame().expect("a packet").frame;
    assert!(level::rms_dbfs(packet.samples()) > AUDIBLE_DBFS);
    // Silence that goes on is meant.
    let mut quiet = Playback::new(SampleRate::HZ_8000);
    assert_eq!(quiet.push(Generation(1), chunk(vec![0; 8_000])).samples, 8_000 - 3_200);
}
