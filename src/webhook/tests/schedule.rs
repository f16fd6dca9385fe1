//! The schedule over days of virtual time.

use std::time::Duration;

use bytes::Bytes;

use crate::egress::{EgressError, Refusal, Response};
use crate::store::DeliveryStatus;
use crate::types::Entropy;
use crate::webhook::Config;
use crate::webhook::schedule::{Outcome, Round, verdict};

const START: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

fn answer(status: u16, headers: &[(&str, &str)]) -> Outcome {
    let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    let response = Response { status, headers: headers.collect(), body: Bytes::from_static(b"no") };
    Outcome::of(Ok(response), START)
}

/// Lets every attempt end so, and gives the waits between them.
fn waits(config: &Config, outcome: &Outcome, seed: u64) -> Vec<f64> {
    let mut entropy = Entropy::seeded(seed);
    let mut now = START;
    let mut waits = Vec::new();
    for tries in 0.. {
        let attempt = verdict(config, Round::Whole, tries, outcome, now, &mut entropy);
        let Some(next) = attempt.next_attempt_at else {
            assert_eq!(attempt.status, DeliveryStatus::Exhausted);
            return waits;
        };
        assert_eq!(attempt.status, DeliveryStatus::Pending);
        waits.push(next.duration_since(now).as_secs_f64());
        now = next;
    }
    unreachable!()
}

#[test]
fn eight_attempts_over_two_days_each_off_by_at_most_a_fifth() {
    let config = Config::default();
    let wanted = [60.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 86_400.0];
    let failures = [
        answer(500, &[]),
        answer(404, &[]),
        answer(301, &[("location", "http://127.0.0.1/")]),
        Outcome::of(Err(EgressError::Timeout(Duration::from_secs(10))), START),
        Outcome::of(Err(EgressError::Refused(Refusal::Reserved)), START),
    ];
    let mut different = std::collections::BTreeSet::new();
    for failure in &failures {
        for seed in 0..200 {
            let waits = waits(&config, failure, seed);
            assert_eq!(waits.len(), wanted.len());
            for (wait, wanted) in waits.iter().zip(wanted) {
                assert!((wanted * 0.8..=wanted * 1.2).contains(wait), "{wait} for {wanted}");
            }
            different.insert(format!("{:.1}", waits[6]));
        }
    }
    assert!(different.len() > 100, "the waits do not vary");
}

#[test]
fn any_2xx_is_an_arrival() {
    let mut entropy = Entropy::seeded(1);
    for status in [200, 201, 202, 204, 299] {
        let attempt =
            verdict(&Config::default(), Round::Whole, 3, &answer(status, &[]), START, &mut entropy);
        assert_eq!((attempt.status, attempt.error), (DeliveryStatus::Delivered, None));
    }
}

#[test]
fn gone_and_a_test_have_no_second_try() {
    let mut entropy = Entropy::seeded(1);
    let config = Config::default();
    let gone = verdict(&config, Round::Whole, 0, &answer(410, &[]), START, &mut entropy);
    assert_eq!(gone.status, DeliveryStatus::Exhausted);
    let single = verdict(&config, Round::Single, 0, &answer(500, &[]), START, &mut entropy);
    assert_eq!(single.status, DeliveryStatus::Exhausted);
}

#[test]
fn a_busy_receiver_is_left_alone_as_long_as_it_asks_within_a_day() {
    let config = Config::default();
    for (status, value, at_least, at_most) in [
        (429, "600", 600.0, 600.0),
        (503, "600", 600.0, 600.0),
        (503, "Thu, 01 Jan 1970 00:20:00 GMT", 1_200.0, 1_200.0),
        // Less than the schedule's own wait changes nothing.
        (429, "1", 48.0, 72.0),
        (429, "99999999999", 86_400.0, 86_400.0),
        (429, "soon", 48.0, 72.0),
        (429, "-5", 48.0, 72.0),
        // Of another status it means nothing.
        (500, "600", 48.0, 72.0),
    ] {
        let first = waits(&config, &answer(status, &[("retry-after", value)]), 7)[0];
        assert!((at_least..=at_most).contains(&first), "{status} {value}: {first}");
    }
}

#[test]
fn the_error_repeats_a_little_of_the_answer_and_no_control_character() {
    let response = Response {
        status: 500,
        headers: Vec::new(),
        body: format!("a\r\nb{}", "x".repeat(1_000)).into(),
    };
    let error = Outcome::of(Ok(response), START).error.unwrap();
    assert!(error.starts_with("HTTP 500: abx"), "{error}");
    assert!(error.len() < 250);
}

#[test]
fn wrong_settings_are_named() {
    let wrong = Config {
        timeout_ms: 5,
        retry_delays_seconds: vec![-1.0; 21],
        concurrent_max: 0,
        concurrent_per_destination_max: 2_000,
        disable_after: 0,
        retention_days: 0,
        ..Config::default()
    };
    assert_eq!(wrong.problems().len(), 7, "{:?}", wrong.problems());
    assert!(Config::default().problems().is_empty());
}
