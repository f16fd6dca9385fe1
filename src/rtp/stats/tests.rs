#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use super::Reception;
use crate::rtp::fuzz::origin;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn loss_is_reported_as_appendix_a3_says() {
    let start = origin();
    let mut reception = Reception::new(start, 8_000, 9, 1_000, 0);
    // 200 packets, every fourth lost.
    for i in (0..200_u64).filter(|i| i % 4 != 2) {
        reception.observe(start + ms(i * 20), 1_000 + i, i * 160);
    }
    let summary = reception.summarize();
    assert_eq!((summary.ssrc, summary.fraction_lost, summary.cumulative_lost), (9, 64, 50));
    assert_eq!((summary.highest_sequence, summary.jitter), (1_199, 0));
    // Nothing more came: nothing was expected.
    assert_eq!(
        (reception.summarize().fraction_lost, reception.summarize().cumulative_lost),
        (0, 50)
    );
    // Duplicates make it negative, never a fraction.
    for _ in 0..60 {
        reception.observe(start + ms(4_000), 1_199, 199 * 160);
    }
    let summary = reception.summarize();
    assert_eq!((summary.fraction_lost, summary.cumulative_lost), (0, -10));
}

#[test]
fn jitter_converges_to_the_mean_deviation() {
    let start = origin();
    let mut reception = Reception::new(start, 8_000, 9, 0, 0);
    for i in 0..2_000_u64 {
        // Every other packet is 8 ms late: |D| is always 8 ms.
        reception.observe(start + ms(i * 20 + i % 2 * 8), i, i * 160);
    }
    assert!((7_900..=8_100).contains(&reception.jitter().as_micros()), "{:?}", reception.jitter());
    assert!((63..=65).contains(&reception.summarize().jitter));
}
