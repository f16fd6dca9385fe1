#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use super::{ArrivalMap, Continuity};
use crate::rtp::fuzz::origin;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn jitter_does_not_move_the_mapping() {
    let start = origin();
    let mut map = ArrivalMap::new(8_000);
    assert_eq!(map.arrival_of(0), None);
    for i in 0..500_u64 {
        let late = if i % 7 == 3 { 60 } else { 0 };
        let seen = map.observe(start + ms(i * 20 + late), 1_000 + i * 160);
        if i > 0 {
            assert_eq!(seen, Continuity::Steady { late: ms(late) });
        }
        assert_eq!(map.arrival_of(1_000 + i * 160), Some(start + ms(i * 20)));
    }
}

#[test]
fn a_faster_path_pulls_the_mapping_and_a_slower_one_pushes_it_within_ten_seconds() {
    let start = origin() + ms(1_000);
    let mut map = ArrivalMap::new(8_000);
    map.observe(start + ms(50), 0);
    map.observe(start + ms(20), 160);
    assert_eq!(map.arrival_of(160), Some(start + ms(20)));
    for i in 2..520_u64 {
        map.observe(start + ms(i * 20 + 30), i * 160);
    }
    assert_eq!(map.arrival_of(160 * 519), Some(start + ms(519 * 20 + 30)));
}

#[test]
fn drift_is_followed() {
    let start = origin();
    for ppm in [-300_i64, 300] {
        let mut map = ArrivalMap::new(8_000);
        for i in 0..180_000_u64 {
            let nanos = (i as i64 * 20_000_000) + (i as i64 * 20_000_000 / 1_000_000 * ppm);
            let now = start + Duration::from_nanos(nanos as u64);
            let seen = map.observe(now, i * 160);
            assert!(
                i == 0 || matches!(seen, Continuity::Steady { late } if late < ms(4)),
                "{i} {seen:?}"
            );
        }
    }
}

#[test]
fn jumps_and_stopped_clocks_begin_a_new_timeline() {
    let start = origin();
    let steady = |map: &mut ArrivalMap| {
        for i in 0..50_u64 {
            map.observe(start + ms(i * 20), 1_000_000 + i * 160);
        }
    };
    // Forward and back by minutes: at once.
    for jump in [5_000_000_u64, 0] {
        let mut map = ArrivalMap::new(8_000);
        steady(&mut map);
        assert_eq!(map.observe(start + ms(1_000), jump), Continuity::Restarted);
        assert_eq!(map.arrival_of(jump), Some(start + ms(1_000)));
    }
    // The timestamp stood still for a second of silence: once that is sure.
    let mut map = ArrivalMap::new(8_000);
    steady(&mut map);
    let restarted = (0..20_u64).position(|i| {
        map.observe(start + ms(2_000 + i * 20), 1_008_000 + i * 160) == Continuity::Restarted
    });
    assert_eq!(restarted, Some(5));
    // A burst after an outage of 1 s is late, not new.
    let mut map = ArrivalMap::new(8_000);
    steady(&mut map);
    for i in 0..50_u64 {
        let seen = map.observe(start + ms(2_000), 1_008_000 + i * 160);
        assert_eq!(seen, Continuity::Steady { late: ms(1_000 - i * 20) });
    }
}
