//! The door's rules, in virtual time.

use super::*;

fn admission(calls_max: u32, calls_per_second: f64) -> Admission {
    Admission::new(AdmissionConfig { calls_max, calls_per_second, retry_after_seconds: 5 })
}

#[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
fn origin() -> Instant {
    Instant::now()
}

#[test]
fn the_server_limit_is_exact_and_released() {
    let mut door = admission(2, 100.0);
    let now = origin();
    assert_eq!(door.admit(now, None, 0, Pace::Limited), Ok(()));
    assert_eq!(door.admit(now, None, 0, Pace::Limited), Ok(()));
    assert_eq!(door.admit(now, None, 0, Pace::Limited), Err(Refusal::ServerFull));
    door.release(None);
    assert_eq!(door.admit(now, None, 0, Pace::Limited), Ok(()));
}

#[test]
fn a_trunk_limit_leaves_other_trunks_alone() {
    let (a, b) = (TrunkName("a".into()), TrunkName("b".into()));
    let mut door = admission(10, 100.0);
    let now = origin();
    assert_eq!(door.admit(now, Some(&a), 1, Pace::Limited), Ok(()));
    assert_eq!(door.admit(now, Some(&a), 1, Pace::Limited), Err(Refusal::TrunkFull));
    assert_eq!(door.admit(now, Some(&b), 1, Pace::Limited), Ok(()));
    door.release(Some(&a));
    assert_eq!(door.admit(now, Some(&a), 1, Pace::Limited), Ok(()));
}

#[test]
fn arrivals_are_paced_and_outbound_calls_are_not() {
    let mut door = admission(100, 2.0);
    let now = origin();
    let mut taken = 0;
    for _ in 0..10 {
        taken += u32::from(door.admit(now, None, 0, Pace::Limited).is_ok());
    }
    assert_eq!(taken, 2);
    assert_eq!(door.admit(now, None, 0, Pace::Paced), Ok(()));
    let later = now + Duration::from_millis(500);
    assert_eq!(door.admit(later, None, 0, Pace::Limited), Ok(()));
    assert_eq!(door.admit(later, None, 0, Pace::Limited), Err(Refusal::TooFast));
}

#[test]
fn a_draining_door_stays_closed() {
    let mut door = admission(2, 100.0);
    door.drain();
    assert_eq!(door.admit(origin(), None, 0, Pace::Limited), Err(Refusal::Draining));
}

#[test]
fn calls_of_a_trunk_come_in_no_faster_than_it_may() {
    let (a, b) = (TrunkName("a".into()), TrunkName("b".into()));
    let mut door = admission(1_000, 1_000.0);
    let start = origin();
    let pace = Pace::Trunk(Some(3.0));
    let mut let_in = Vec::new();
    for ms in 0..5_000 {
        let now = start + Duration::from_millis(ms);
        match door.admit(now, Some(&a), 0, pace) {
            Ok(()) => let_in.push(ms),
            Err(refusal) => assert_eq!(refusal, Refusal::TrunkTooFast),
        }
    }
    for window in let_in.windows(4) {
        assert!(window[3] - window[0] > 1_000, "four calls within a second: {window:?}");
    }
    assert!(let_in.len() >= 14, "{let_in:?}");
    assert_eq!(door.admit(start, Some(&b), 0, pace), Ok(()), "other trunks go on");
    assert_eq!(door.admit(start, Some(&b), 0, Pace::Trunk(None)), Ok(()));
}
