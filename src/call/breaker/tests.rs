#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::net::clock;

const SECOND: Duration = Duration::from_secs(1);

fn opened(now: Instant) -> Breaker {
    let mut breaker = Breaker::default();
    for _ in 0..FAILURES_MAX {
        assert!(breaker.admits(now));
        breaker.failed(FailureKind::Unavailable, now);
    }
    breaker
}

#[test]
fn three_failures_in_a_row_open_it_for_thirty_seconds_then_one_probe_decides() {
    let now = clock::now();
    let mut breaker = opened(now);
    assert!(!breaker.admits(now) && !breaker.admits(now + 29 * SECOND));
    let later = now + 30 * SECOND;
    assert!(breaker.admits(later), "the probe");
    assert!(!breaker.admits(later), "one only");
    breaker.failed(FailureKind::Stalled, later);
    assert!(!breaker.admits(later + 29 * SECOND));
    assert!(breaker.admits(later + 30 * SECOND));
    breaker.succeeded();
    assert!(!breaker.is_open());
    assert!(breaker.admits(later) && breaker.admits(later));
}

#[test]
fn a_success_in_between_begins_the_count_anew() {
    let now = clock::now();
    let mut breaker = Breaker::default();
    for _ in 0..10 {
        breaker.failed(FailureKind::Cut, now);
        breaker.failed(FailureKind::Cut, now);
        breaker.succeeded();
    }
    assert!(!breaker.is_open());
}

#[test]
fn a_refused_key_opens_at_once_and_a_bad_request_never_does() {
    let now = clock::now();
    let mut breaker = Breaker::default();
    for _ in 0..10 {
        breaker.failed(FailureKind::BadRequest, now);
    }
    assert!(!breaker.is_open());
    breaker.failed(FailureKind::Auth, now);
    assert!(breaker.is_open());
}

#[test]
fn a_probe_whose_call_ended_makes_room_for_another() {
    let now = clock::now();
    let mut breaker = opened(now);
    let later = now + COOLDOWN;
    assert!(breaker.admits(later));
    assert!(breaker.admits(later + PROBE_MAX));
}

#[test]
fn organizations_do_not_share_a_breaker_and_calls_of_one_do() {
    let breakers = Breakers::default();
    let (one, other) = (OrganizationId::default(), OrganizationId::new("org_other".to_owned()));
    let now = clock::now();
    breakers.of(&one, Stage::Tts, "voice").failed(FailureKind::Auth, now);
    assert!(!breakers.of(&one, Stage::Tts, "voice").admits(now));
    assert!(breakers.of(&one, Stage::Stt, "voice").admits(now));
    assert!(breakers.of(&other, Stage::Tts, "voice").admits(now));
}

proptest! {
    /// Whatever happens: while it is open nothing passes, and in each cooldown at most one probe does.
    #[test]
    fn an_open_breaker_lets_at_most_one_request_through_in_a_cooldown(
        steps in proptest::collection::vec((0u64..20_000, 0u8..3), 0..200),
    ) {
        let mut now = clock::now();
        let mut breaker = Breaker::default();
        let mut probe: Option<Instant> = None;
        for (ms, step) in steps {
            now += Duration::from_millis(ms);
            match step {
                0 => {
                    let was_open = breaker.is_open();
                    if breaker.admits(now) && was_open {
                        prop_assert!(probe.is_none_or(|at| now >= at + COOLDOWN.min(PROBE_MAX)));
                        probe = Some(now);
                    }
                }
                1 => breaker.failed(FailureKind::Unavailable, now),
                _ => {
                    breaker.succeeded();
                    probe = None;
                }
            }
        }
    }
}
