use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::net::clock;

/// Sends `count` as fast as the pace allows; each is on the wire `lag` after its slot.
fn run(rate: f64, lags_us: &[u64]) -> Vec<Instant> {
    let mut pace = Pace::new(rate);
    let mut now = clock::now();
    let mut sent = Vec::new();
    for lag in lags_us {
        now = now.max(pace.next(now));
        pace.take(now);
        now += Duration::from_micros(*lag);
        sent.push(now);
        pace.sent(now);
    }
    sent
}

fn most_in_a_second(sent: &[Instant]) -> usize {
    let within = |from: &Instant| {
        sent.iter().filter(|at| *at >= from && **at - *from < Duration::from_secs(1)).count()
    };
    sent.iter().map(within).max().unwrap_or(0)
}

#[test]
fn one_a_second_is_one_in_any_second() {
    let sent = run(1.0, &[0, 700_000, 0]);
    assert_eq!(most_in_a_second(&sent), 1);
    assert!(sent[2] - sent[0] >= Duration::from_secs(2), "three leave in two seconds at least");
}

#[test]
fn less_than_one_a_second_keeps_its_distance() {
    let sent = run(0.5, &[0, 0, 0]);
    assert!(sent[1] - sent[0] >= Duration::from_secs(2));
}

#[test]
fn a_full_rate_is_nearly_reached() {
    let sent = run(40.0, &[0; 401]);
    let took = sent[400] - sent[0];
    assert!(took >= Duration::from_secs(10) && took < Duration::from_millis(10_100), "{took:?}");
}

#[test]
fn after_a_start_with_an_unknown_past_a_second_passes() {
    let mut pace = Pace::new(20.0);
    let now = clock::now();
    pace.exhaust(now);
    assert!(pace.next(now) - now > Duration::from_secs(1));
}

proptest! {
    #[test]
    fn never_more_than_the_rate_in_any_second(
        rate in 0.2f64..60.0,
        lags in proptest::collection::vec(0u64..120_000, 1..200),
    ) {
        let most = most_in_a_second(&run(rate, &lags));
        prop_assert!(most <= (rate.floor() as usize).max(1), "{most} in a second at {rate}");
    }
}
