#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use proptest::prelude::*;

use super::{BURST_MAX, DEBT_MAX, Due, INTERVAL, Pacer};
use crate::rtp::fuzz::origin;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn ticks_on_its_grid_and_skips_what_it_missed() {
    let start = origin();
    let mut pacer = Pacer::new(start, ms(5));
    let table = [
        (0, 0, 0),
        (4, 0, 0),
        (5, 1, 0),
        (6, 0, 0),
        (26, 1, 0),
        (65, 2, 0),
        (170, 2, 3),
        (184, 0, 0),
        (185, 1, 0),
    ];
    for (at, packets, skipped) in table {
        assert_eq!(pacer.due(start + ms(at)), Due { packets, skipped }, "at {at} ms");
    }
    assert_eq!(pacer.skipped(), 3);
}

#[test]
fn speech_leaves_at_once_and_silence_pays() {
    let start = origin();
    let mut pacer = Pacer::new(start, ms(0));
    assert_eq!(pacer.due(start).packets, 1);
    let now = start + ms(8);
    assert_eq!(pacer.rephase(now), ms(12));
    assert_eq!(
        (pacer.due(now).packets, pacer.next_wake(), pacer.debt()),
        (1, start + ms(28), ms(12))
    );
    // The debt is bounded: only 7 ms are left to take.
    let now = start + ms(28);
    assert_eq!(pacer.due(now).packets, 1);
    assert_eq!(pacer.rephase(now + ms(1)), ms(7));
    assert_eq!((pacer.next_wake(), pacer.debt()), (start + ms(41), DEBT_MAX));
    for _ in 0..30 {
        let next = pacer.next_wake();
        assert_eq!(pacer.due(next).packets, 1);
        pacer.silence_sent();
    }
    // All is paid: the grid is where it began.
    assert_eq!(pacer.debt(), Duration::ZERO);
    assert_eq!((pacer.next_wake() - start).as_nanos() % INTERVAL.as_nanos(), 0);
    // A rephase when a tick is due already changes nothing.
    let next = pacer.next_wake();
    assert_eq!(pacer.rephase(next + ms(3)), Duration::ZERO);
}

proptest! {
    /// Whatever the machine's delays and however often speech begins: packets and skipped ticks together
    /// follow the wall clock, with a lead below one interval.
    #[test]
    fn never_drifts(phase in 0_u64..100, steps in proptest::collection::vec((0_u64..70_000, 0_u8..4), 1..400)) {
        let start = origin();
        let mut pacer = Pacer::new(start, ms(phase));
        let mut now = start;
        let mut media = 0_u32;
        for (wait, what) in steps {
            now += Duration::from_micros(wait);
            if what == 0 { pacer.rephase(now); }
            let due = pacer.due(now);
            prop_assert!(due.packets <= BURST_MAX);
            media += due.packets + due.skipped;
            if what == 1 { for _ in 0..due.packets { pacer.silence_sent(); } }
            prop_assert!(pacer.debt() <= DEBT_MAX);
            // Exact, not only bounded: the grid is the media clock less the lead.
            let grid = start + ms(phase % 20) + INTERVAL * media;
            prop_assert_eq!(pacer.next_wake() + pacer.debt(), grid);
            prop_assert!(pacer.next_wake() > now - INTERVAL);
        }
    }
}
