#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{DELAY_MS_MAX, DELAY_MS_MIN, DEPTH_MS_MAX, Frame, Jitter, Loudness};
use crate::rtp::arrival::{ArrivalMap, Continuity};
use crate::rtp::express::Arrived;
use crate::rtp::fuzz::origin;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A sender, a network and a consumer that ticks every 20 ms.
struct Line {
    start: Instant,
    jitter: Jitter,
    arrivals: ArrivalMap,
    played: Vec<u64>,
    lost: u64,
    silent: u64,
}

impl Line {
    fn new() -> Self {
        let (jitter, arrivals) = (Jitter::new(8_000, 160), ArrivalMap::new(8_000));
        Self { start: origin(), jitter, arrivals, played: Vec::new(), lost: 0, silent: 0 }
    }

    fn put(&mut self, at: Duration, sequence: u64, loudness: Loudness) {
        let now = self.start + at;
        let timestamp = sequence * 160;
        match self.arrivals.observe(now, timestamp) {
            Continuity::Steady { late } => self.jitter.observe(late),
            Continuity::Restarted => self.jitter.restart(),
        }
        let payload = &[0; 160];
        let arrived = Arrived { sequence, timestamp, payload_type: 0, payload, samples: 160 };
        self.jitter.insert(now, arrived, loudness, &self.arrivals);
        assert!(self.jitter.depth_ms() <= DEPTH_MS_MAX);
    }

    fn tick(&mut self, at: Duration) {
        match self.jitter.next(self.start + at, &self.arrivals) {
            Frame::Payload { timestamp, .. } => self.played.push(timestamp / 160),
            Frame::Lost { samples } => {
                assert_eq!(samples, 160);
                self.lost += 1;
            }
            Frame::Silence => self.silent += 1,
        }
    }

    /// Plays packets that arrive at the given times, with a tick at 7 ms after each 20 ms.
    fn run(
        &mut self,
        mut arrivals: Vec<(Duration, u64)>,
        until: Duration,
        loudness: impl Fn(u64) -> Loudness,
    ) {
        arrivals.sort();
        let mut arrivals = arrivals.into_iter().peekable();
        let mut tick = ms(7);
        while tick < until {
            while let Some((at, sequence)) = arrivals.next_if(|(at, _)| *at <= tick) {
                self.put(at, sequence, loudness(sequence));
            }
            self.tick(tick);
            tick += ms(20);
        }
    }
}

#[test]
fn an_even_stream_plays_in_full_after_the_start_delay() {
    let mut line = Line::new();
    let arrivals = (0..500).map(|i| (ms(i * 20), i)).collect();
    line.run(arrivals, ms(10_100), |_| Loudness::Audible);
    assert_eq!(line.played, (0..500).collect::<Vec<_>>());
    assert_eq!(line.jitter.delay_ms(), DELAY_MS_MIN);
    assert_eq!(line.jitter.stats().late, 0);
}

#[test]
fn reordering_and_duplicates_do_not_show() {
    let mut line = Line::new();
    let mut arrivals: Vec<_> = (0..100_u64).map(|i| (ms(i * 20), i)).collect();
    for i in (5..95).step_by(10) {
        arrivals[i].0 += ms(25);
        arrivals.push((ms(i as u64 * 20 + 26), i as u64));
    }
    line.run(arrivals, ms(2_030), |_| Loudness::Audible);
    assert_eq!(line.played, (0..100).collect::<Vec<_>>());
    let stats = line.jitter.stats();
    assert_eq!((line.lost, stats.late + stats.duplicate), (0, 9));
}

#[test]
fn loss_is_told_once_per_frame_and_long_loss_is_silence() {
    let mut line = Line::new();
    let arrivals = (0..200).filter(|i| *i != 50 && !(100..110).contains(i));
    line.run(arrivals.map(|i| (ms(i * 20), i)).collect(), ms(4_010), |_| Loudness::Audible);
    assert_eq!(line.played.len(), 189);
    assert!(line.played.is_sorted());
    // One frame, then the first three of ten.
    assert_eq!(line.lost, 4);
}

#[test]
fn the_delay_follows_the_network() {
    let mut line = Line::new();
    let wave = |i: u64| (i * 7_919) % 80;
    let arrivals = (0..1_000).map(|i| (ms(i * 20 + wave(i)), i)).collect();
    line.run(arrivals, ms(20_200), |_| Loudness::Quiet);
    assert!((70..=90).contains(&line.jitter.delay_ms()), "{}", line.jitter.delay_ms());
    let late = line.jitter.stats().late;
    assert!(late <= 30, "{late} late of 1000");
    // And back, when the network calms.
    let calm = (1_000..3_000).map(|i| (ms(i * 20), i)).collect::<Vec<_>>();
    for (at, sequence) in calm {
        line.put(at, sequence, Loudness::Quiet);
        line.tick(at + ms(7));
    }
    assert!(line.jitter.delay_ms() <= 30, "{}", line.jitter.delay_ms());
    assert!(line.jitter.depth_ms() <= 60, "{}", line.jitter.depth_ms());
}

/// A pause without packets, then speech again: nothing of it is lost, and the pause is silence.
#[test]
fn a_talkspurt_after_a_pause_keeps_its_delay() {
    let mut line = Line::new();
    let arrivals = (0..50).chain(150..200).map(|i| (ms(i * 20), i)).collect();
    line.run(arrivals, ms(4_100), |_| Loudness::Audible);
    assert_eq!(line.played, (0..50).chain(150..200).collect::<Vec<_>>());
    // Three frames in the pause and three after the end.
    assert_eq!(line.lost, 6);
}

#[test]
fn drift_of_300_ppm_is_absorbed_in_quiet_frames() {
    for ppm in [-300_i64, 300] {
        let mut line = Line::new();
        let sent = |i: u64| {
            let nanos = i as i64 * 20_000_000;
            Duration::from_nanos((nanos + nanos / 1_000_000 * ppm) as u64)
        };
        let arrivals: Vec<_> = (0..90_000).map(|i| (sent(i), i)).collect();
        // Every tenth packet is a pause between words.
        let pause = |i| if i % 10 == 0 { Loudness::Quiet } else { Loudness::Audible };
        line.run(arrivals, sent(90_000), pause);
        let stats = line.jitter.stats();
        // 30 min at 300 ppm are 540 ms or 27 frames.
        let moved = stats.shortened + stats.lengthened;
        assert!((20..=60).contains(&moved), "{ppm} ppm: {stats:?}");
        assert_eq!((stats.overflow, stats.late), (0, 0), "{ppm} ppm: {stats:?}");
        assert!(stats.lost <= 3, "{ppm} ppm: {stats:?}");
        assert!(line.jitter.depth_ms() <= 100);
    }
}

#[test]
fn a_burst_is_bounded() {
    let mut line = Line::new();
    for sequence in 0..1_000 {
        line.put(ms(1), sequence, Loudness::Audible);
    }
    assert!(line.jitter.depth_ms() <= DEPTH_MS_MAX);
    assert!(line.jitter.stats().overflow > 0);
}

#[test]
fn packets_of_any_duration_play_once() {
    let mut line = Line::new();
    let now = line.start;
    let mut out = 0;
    for (i, len) in [80_usize, 240, 480, 160].into_iter().enumerate() {
        let timestamp = [0, 80, 320, 800][i];
        line.arrivals.observe(now, timestamp);
        let payload = vec![1; len];
        let arrived = Arrived {
            sequence: i as u64,
            timestamp,
            payload_type: 0,
            payload: &payload,
            samples: len as u32,
        };
        line.jitter.insert(now, arrived, Loudness::Audible, &line.arrivals);
    }
    while let Frame::Payload { payload, timestamp, .. } =
        line.jitter.next(now + ms(41), &line.arrivals)
    {
        assert_eq!(timestamp, out);
        out += payload.len() as u64;
    }
    assert_eq!(out, 960);
}

proptest! {
    /// Any order, duplication and loss: output rises, depth is bounded, and every packet is accounted for.
    #[test]
    fn nothing_that_came_in_time_is_lost(delays in proptest::collection::vec((0_u64..200, 0_u8..20), 10..300)) {
        let mut line = Line::new();
        let mut arrivals = Vec::new();
        for (i, (delay, fate)) in delays.iter().enumerate() {
            let at = ms(i as u64 * 20 + delay);
            if *fate != 0 { arrivals.push((at, i as u64)); }
            if *fate == 1 { arrivals.push((at + ms(3), i as u64)); }
        }
        let sent = arrivals.len() as u64;
        let end = ms(delays.len() as u64 * 20 + 1_000);
        line.run(arrivals, end, |_| Loudness::Audible);
        prop_assert!(line.played.windows(2).all(|w| w[0] < w[1]));
        let stats = line.jitter.stats();
        prop_assert!((DELAY_MS_MIN..=DELAY_MS_MAX).contains(&line.jitter.delay_ms()));
        prop_assert_eq!(line.played.len() as u64 + stats.late + stats.duplicate + stats.overflow, sent);
    }
}
