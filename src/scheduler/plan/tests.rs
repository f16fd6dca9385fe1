use proptest::prelude::*;

use super::*;
use crate::types::order::{Day, Window};

const BERLIN: &str = "+4930123456";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn ended(reason: EndReason) -> AttemptEnd {
    AttemptEnd { outcome: reason.facts(false).outcome, reason, answered: false }
}

fn follows(plan: &RetryPlan, to: &str, attempt: u32, reason: EndReason, now: &str) -> Next {
    after_attempt(plan, to, attempt, ended(reason), at(now), Timestamp::MAX)
}

// covers: S3-16 E2-11
#[test]
fn three_retries_are_four_dials() {
    let plan = RetryPlan { ignore_window: true, ..RetryPlan::default() };
    let mut dials = 1;
    while let Next::Retry(_) =
        follows(&plan, BERLIN, dials, EndReason::Busy, "2026-11-21T10:00:00Z")
    {
        dials += 1;
    }
    assert_eq!(dials, 4);
}

#[test]
fn the_delay_first_then_the_window() {
    let plan = RetryPlan::default();
    let rows = [
        // 12:00 in Berlin: two hours later is within 10:00 to 18:00.
        ("2026-11-21T11:00:00Z", "2026-11-21T13:00:00Z"),
        // 17:00: two hours later is past the end.
        ("2026-11-21T16:00:00Z", "2026-11-22T09:00:00Z"),
        // 07:30: two hours later is before the start.
        ("2026-11-21T06:30:00Z", "2026-11-21T09:00:00Z"),
        // The evening before clocks go forward: 10:00 comes an hour sooner.
        ("2027-03-27T16:30:00Z", "2027-03-28T08:00:00Z"),
        // And before they go back.
        ("2026-10-24T15:30:00Z", "2026-10-25T09:00:00Z"),
    ];
    for (now, next) in rows {
        let found = follows(&plan, BERLIN, 1, EndReason::NoAnswer, now);
        assert_eq!(found, Next::Retry(at(next)), "{now}");
    }
}

// covers: S3-17 E2-10
#[test]
fn clock_changes_in_three_zones() {
    let rows = [
        ("+12125550100", Some("America/New_York"), "2027-03-13T22:30:00Z", "2027-03-14T14:00:00Z"),
        ("+12125550100", Some("America/New_York"), "2026-10-31T21:30:00Z", "2026-11-01T15:00:00Z"),
        ("+4930123456", None, "2027-03-27T16:30:00Z", "2027-03-28T08:00:00Z"),
        ("+4930123456", None, "2026-10-24T15:30:00Z", "2026-10-25T09:00:00Z"),
        (
            "+61255501234",
            Some("Australia/Lord_Howe"),
            "2026-10-03T06:00:00Z",
            "2026-10-03T23:00:00Z",
        ),
        (
            "+61255501234",
            Some("Australia/Lord_Howe"),
            "2027-04-03T06:00:00Z",
            "2027-04-03T23:30:00Z",
        ),
    ];
    for (to, timezone, now, next) in rows {
        let plan = RetryPlan { timezone: timezone.map(str::to_owned), ..RetryPlan::default() };
        assert_eq!(follows(&plan, to, 1, EndReason::Busy, now), Next::Retry(at(next)), "{now}");
    }
}

#[test]
fn what_is_tried_again() {
    let plan = RetryPlan { ignore_window: true, ..RetryPlan::default() };
    use EndReason as E;
    for reason in
        [E::Busy, E::NoAnswer, E::Voicemail, E::Ivr, E::Unreachable, E::Congestion, E::NetworkError]
    {
        assert_ne!(
            follows(&plan, BERLIN, 1, reason, "2026-11-21T10:00:00Z"),
            Next::Over,
            "{reason:?}"
        );
    }
    let everything = RetryPlan { retry_on: RetryOn::ALL.to_vec(), ..plan.clone() };
    for reason in [
        E::InvalidNumber,
        E::Rejected,
        E::Forbidden,
        E::DoNotCall,
        E::Blocked,
        E::UserHangup,
        E::AgentHangup,
        E::Transferred,
        E::Canceled,
    ] {
        assert_eq!(
            follows(&everything, BERLIN, 1, reason, "2026-11-21T10:00:00Z"),
            Next::Over,
            "{reason:?}"
        );
    }
    assert_eq!(follows(&plan, BERLIN, 1, E::SipError, "2026-11-21T10:00:00Z"), Next::Over);
    assert_ne!(follows(&everything, BERLIN, 1, E::SipError, "2026-11-21T10:00:00Z"), Next::Over);
}

#[test]
fn the_first_retry_may_go_out_at_once() {
    let plan = RetryPlan { immediate_redial: true, ignore_window: true, ..RetryPlan::default() };
    let now = "2026-11-21T10:00:00Z";
    assert_eq!(follows(&plan, BERLIN, 1, EndReason::Busy, now), Next::Retry(at(now)));
    assert_eq!(
        follows(&plan, BERLIN, 2, EndReason::Busy, now),
        Next::Retry(at("2026-11-21T12:00:00Z"))
    );
}

#[test]
fn an_attempt_that_a_stop_cut_off_is_made_again_within_the_limit() {
    let plan = RetryPlan { ignore_window: true, ..RetryPlan::default() };
    let now = "2026-11-21T10:00:00Z";
    assert_eq!(follows(&plan, BERLIN, 3, EndReason::Shutdown, now), Next::Retry(at(now)));
    assert_eq!(follows(&plan, BERLIN, 4, EndReason::Shutdown, now), Next::Over);
}

#[test]
fn a_window_has_its_own_delay() {
    let mut plan = RetryPlan::default();
    plan.windows[0].delay_seconds = Some(60);
    assert_eq!(
        follows(&plan, BERLIN, 1, EndReason::Busy, "2026-11-21T11:00:00Z"),
        Next::Retry(at("2026-11-21T11:01:00Z"))
    );
    assert_eq!(
        follows(&plan, BERLIN, 1, EndReason::Busy, "2026-11-21T06:30:00Z"),
        Next::Retry(at("2026-11-21T09:00:00Z")),
        "the plan's delay where no window was open"
    );
}

#[test]
fn an_order_that_is_too_old_is_given_up() {
    let plan = RetryPlan { ignore_window: true, ..RetryPlan::default() };
    let end = ended(EndReason::Busy);
    let now = at("2026-11-21T10:00:00Z");
    let next = |expires: &str| after_attempt(&plan, BERLIN, 1, end, now, at(expires));
    assert_eq!(next("2026-11-21T11:59:59Z"), Next::Over);
    assert_eq!(next("2026-11-21T12:00:00Z"), Next::Retry(at("2026-11-21T12:00:00Z")));
}

// covers: S3-17 E2-10
#[test]
fn a_country_with_several_zones_is_called_when_all_are_awake() {
    let plan = RetryPlan {
        windows: vec![Window {
            days: Day::week(),
            start_minute: 8 * 60,
            end_minute: 21 * 60,
            delay_seconds: None,
        }],
        ..RetryPlan::default()
    };
    // 08:00 in Honolulu is 18:00Z; 21:00 in Newfoundland is 00:30Z.
    let now = at("2026-11-21T14:00:00Z");
    assert_eq!(when(&plan, "+15550100", now), Ok(at("2026-11-21T18:00:00Z")));
    assert!(may_dial(&plan, "+15550100", at("2026-11-22T00:29:00Z")));
    assert!(!may_dial(&plan, "+15550100", at("2026-11-22T00:30:00Z")));
    let unknown = RetryPlan { timezone: Some("Mars/Olympus".to_owned()), ..plan };
    assert_eq!(when(&unknown, "+15550100", now), Err(PlanError::Zone));
    assert!(!may_dial(&unknown, "+15550100", now));
}

proptest! {
    /// In virtual time: every dial of an order that is always busy lies in a window, after its delay, in its life,
    /// and there are never more than the plan allows.
    // covers: E2-10
    #[test]
    fn a_whole_life_keeps_the_rules(
        retries in 0u32..8,
        delay in 0u32..40_000,
        start in 0u16..24,
        length in 1u16..24,
        zone in 0usize..3,
        begin in 0i64..31_536_000,
    ) {
        let names = ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe"];
        let plan = RetryPlan {
            max_retry_attempts: retries,
            delay_seconds: delay,
            windows: vec![Window {
                days: Day::week(),
                start_minute: start * 60,
                end_minute: (start + length) % 24 * 60,
                delay_seconds: None,
            }],
            timezone: Some(names[zone].to_owned()),
            ..RetryPlan::default()
        };
        let created = at("2026-09-01T00:00:00Z") + SignedDuration::from_secs(begin);
        let expires = created + SignedDuration::from_secs(i64::from(plan.expire_after_seconds));
        let mut dial = when(&plan, BERLIN, created).unwrap();
        let mut dials = 1;
        loop {
            prop_assert!(may_dial(&plan, BERLIN, dial), "{dial} is in no window");
            match after_attempt(&plan, BERLIN, dials, ended(EndReason::Busy), dial, expires) {
                Next::Over => break,
                Next::Retry(next) => {
                    prop_assert!(next >= dial + SignedDuration::from_secs(i64::from(delay)));
                    prop_assert!(next <= expires);
                    dial = next;
                    dials += 1;
                }
            }
        }
        prop_assert!(dials <= retries + 1);
    }
}
