use super::*;
use crate::types::Entropy;

const NOON: i64 = 1_800_000_000 - 1_800_000_000 % 86_400 + 43_200;

fn at(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(NOON + seconds).unwrap()
}

fn call(n: u64) -> CallId {
    CallId::new(n, &mut Entropy::seeded(n))
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// Limits of everybody, and of the trunk `out`, whose host is `trunk.example`.
fn guard(base: DialLimits, trunk: DialLimits) -> DialGuard {
    DialGuard::new(base, move |_| TrunkRules {
        limits: trunk.clone(),
        hosts: vec!["trunk.example".to_owned()],
    })
}

fn leaving<'a>(organization: &'a OrganizationId, trunk: &'a TrunkName, to: &'a str) -> Leaving<'a> {
    Leaving { organization, trunk, to }
}

fn rule(guard: &DialGuard, to: &str) -> Option<DialRule> {
    let (organization, trunk) = (OrganizationId::default(), TrunkName("out".to_owned()));
    let judged = guard.check(DialPath::Api, leaving(&organization, &trunk, to), at(0));
    judged.err().map(|refused| refused.rule)
}

#[test]
fn destinations_are_judged_however_they_are_written() {
    let base = DialLimits {
        allow: texts(&["+49", "+1", "@friend.example"]),
        deny: texts(&["+49900", "+1900", "@bad.example"]),
        ..DialLimits::default()
    };
    let guard = guard(base, DialLimits::default());
    for good in [
        "+4930123456",
        "+15550100",
        "tel:+49-30-123456",
        "sip:+4930123456@trunk.example",
        "sip:004930123456@trunk.example:5070;transport=tcp",
        "sip:0114930123456@TRUNK.example.",
        "<sip:%2B4930123456@trunk.example>;x=y",
        "sip:+4930123456;phone-context=x@trunk.example",
        "sip:alice@friend.example",
        "sips:+882123456@friend.example",
    ] {
        assert_eq!(rule(&guard, good), None, "{good}");
    }
    for (bad, why) in [
        ("+88213000000", DialRule::NotAllowed),
        ("tel:+88213000000", DialRule::NotAllowed),
        ("sip:+88213000000@trunk.example", DialRule::NotAllowed),
        ("sip:0088213000000@trunk.example", DialRule::NotAllowed),
        ("sip:%2B88213000000@trunk.example", DialRule::NotAllowed),
        ("sip:+882%2D13000000@trunk.example", DialRule::NotAllowed),
        // Written as in the country of the trunk: which number that is, nobody knows.
        ("sip:0900123456@trunk.example", DialRule::NotAllowed),
        ("sip:alice@trunk.example", DialRule::NotAllowed),
        ("sip:+4930123456@elsewhere.example", DialRule::NotAllowed),
        ("sip:trunk.example", DialRule::NotAllowed),
        ("+49900123456", DialRule::Denied),
        ("tel:+49(900)123456", DialRule::Denied),
        ("sip:49900123456@trunk.example", DialRule::Denied),
        ("sip:0049-900-123456@trunk.example", DialRule::Denied),
        ("sip:+49900123456:pw@trunk.example", DialRule::Denied),
        ("sip:+19001234567@friend.example", DialRule::Denied),
        ("sip:bob@bad.example", DialRule::Denied),
        ("sip:+4930123456@friend.example@trunk.example", DialRule::Unreadable),
        ("sip:+4930%@trunk.example", DialRule::Unreadable),
        ("mailto:a@b", DialRule::Unreadable),
        ("4930123456", DialRule::Unreadable),
        ("", DialRule::Unreadable),
    ] {
        assert_eq!(rule(&guard, bad), Some(why), "{bad}");
    }
}

#[test]
fn a_trunk_narrows_what_everybody_may_and_nothing_is_said_of_a_number() {
    let base = DialLimits { allow: texts(&["+49", "+43"]), ..DialLimits::default() };
    let trunk = DialLimits { allow: texts(&["+49"]), ..DialLimits::default() };
    let guard = guard(base, trunk);
    assert_eq!(rule(&guard, "+4930123456"), None);
    let (organization, trunk) = (OrganizationId::default(), TrunkName("out".to_owned()));
    let asked = leaving(&organization, &trunk, "+4319876543");
    let refused = guard.check(DialPath::Tool, asked, at(0)).unwrap_err();
    assert_eq!(refused.to_string(), "`+4319…` is not in `trunks.out.dial_limits.allow`");
    assert_eq!(refused.allowed, "+49");
    // Without limits nothing is judged, however odd.
    assert_eq!(rule(&DialGuard::default(), "sip:a%zz@b@c"), None);
}

fn begin(guard: &DialGuard, n: u64, to: &str, seconds: i64) -> Result<(), DialRule> {
    let (organization, trunk) = (OrganizationId::default(), TrunkName("out".to_owned()));
    let longest = Duration::from_secs(600);
    let begun = guard.begin(
        DialPath::Queue,
        call(n),
        leaving(&organization, &trunk, to),
        longest,
        at(seconds),
    );
    begun.map_err(|refused| refused.rule)
}

fn over(n: u64, talk_ms: u64, micros: u64) -> CallRecord {
    let mut record = CallRecord::new(call(n), Direction::Outbound, at(0));
    record.trunk = Some(TrunkName("out".to_owned()));
    record.to_number = "+4930123456".to_owned().into();
    record.initiated_at = Some(at(0));
    record.ended_at = Some(at(0));
    record.talk_ms = Some(talk_ms);
    let mut cost = crate::usage::price::nothing("USD");
    cost.total_micros = micros;
    record.cost = Some(cost);
    record
}

#[test]
fn minutes_of_a_day_hold_also_against_calls_at_once() {
    let base = DialLimits { minutes_per_day: 15, ..DialLimits::default() };
    let guard = guard(base, DialLimits::default());
    // Ten minutes each: the second may pass the limit, by less than one call.
    assert_eq!(begin(&guard, 1, "+4930123456", 0), Ok(()));
    assert_eq!(begin(&guard, 2, "+4930123456", 1), Ok(()));
    assert_eq!(begin(&guard, 3, "+4930123456", 2), Err(DialRule::Minutes));
    // What was short gives room again.
    guard.end(&over(1, 60_000, 0));
    guard.end(&over(2, 60_000, 0));
    guard.release(call(9));
    assert_eq!(begin(&guard, 3, "+4930123456", 3), Ok(()));
    // Most of the third was talked with somebody who came by REFER, and whose leg is counted by itself.
    guard.end(&CallRecord { first_talk_ms: Some(12 * 60_000), ..over(3, 60 * 60_000, 0) });
    assert_eq!(begin(&guard, 4, "+4930123456", 4), Ok(()));
    guard.end(&over(4, 60_000, 0));
    assert_eq!(begin(&guard, 8, "+4930123456", 4), Err(DialRule::Minutes));
    // Tomorrow is another day, and a call that lives is in it.
    let tomorrow = 86_400;
    assert_eq!(begin(&guard, 5, "+4930123456", tomorrow), Ok(()));
    assert_eq!(begin(&guard, 6, "+4930123456", 2 * tomorrow), Ok(()));
    assert_eq!(begin(&guard, 7, "+4930123456", 2 * tomorrow), Err(DialRule::Minutes));
}

#[test]
fn spend_and_repeats_of_a_day_have_their_limits_also_after_a_restart() {
    let base = DialLimits { spend_micros_per_day: 1_000, ..DialLimits::default() };
    let trunk = DialLimits { calls_per_number_per_day: 2, ..DialLimits::default() };
    let guard = guard(base.clone(), trunk.clone());
    assert_eq!(begin(&guard, 1, "+4930123456", 0), Ok(()));
    assert_eq!(begin(&guard, 2, "sip:004930123456@trunk.example", 0), Ok(()));
    assert_eq!(begin(&guard, 3, "tel:+49-30-123456", 0), Err(DialRule::Repeats));
    assert_eq!(begin(&guard, 4, "+4930123457", 0), Ok(()));
    guard.end(&over(4, 1_000, 1_000));
    assert_eq!(begin(&guard, 5, "+4930123458", 0), Err(DialRule::Spend));
    // A transfer is no call of ours.
    let (organization, trunk_name) = (OrganizationId::default(), TrunkName("out".to_owned()));
    let asked = leaving(&organization, &trunk_name, "+4930123458");
    assert_eq!(guard.check(DialPath::Transfer, asked, at(0)), Ok(()));
    assert!(guard.check(DialPath::Redirect, asked, at(0)).is_err());
    let again = self::guard(base, trunk);
    assert!(again.remembers(&[]));
    again.remember(&over(1, 1_000, 0), at(10));
    again.remember(&over(2, 1_000, 0), at(10));
    assert_eq!(begin(&again, 3, "+4930123456", 11), Err(DialRule::Repeats));
    again.remember(&over(4, 1_000, 1_000), at(12));
    assert_eq!(begin(&again, 5, "+4930123459", 13), Err(DialRule::Spend));
}

/// A second leg counts on its own trunk, whoever began the call, and what ended today is used today.
#[test]
fn a_restart_forgets_no_second_leg_and_no_call_over_midnight() {
    let to = "+4930123456";
    let with_leg = |direction| {
        let mut record = over(1, 60_000, 700);
        record.direction = direction;
        if direction == Direction::Inbound {
            record.initiated_at = None;
        }
        let (trunk, to) = (TrunkName("second".to_owned()), "+4930777".to_owned().into());
        crate::usage::meter::add_leg(&mut record.usage, &trunk, &to, Duration::from_secs(600));
        record.usage.iter_mut().for_each(|row| row.amount_micros = Some(400));
        record
    };
    let ask = |guard: &DialGuard, trunk: &str, to: &str, seconds| {
        let (organization, trunk) = (OrganizationId::default(), TrunkName(trunk.to_owned()));
        let judged = guard.check(DialPath::Leg, leaving(&organization, &trunk, to), at(seconds));
        judged.map_err(|refused| refused.rule)
    };
    let minutes = DialLimits { minutes_per_day: 10, ..DialLimits::default() };
    let spend = DialLimits { spend_micros_per_day: 400, ..DialLimits::default() };
    let repeats = DialLimits { calls_per_number_per_day: 1, ..DialLimits::default() };
    for (limits, rule) in [(minutes, DialRule::Minutes), (spend, DialRule::Spend)] {
        for direction in [Direction::Inbound, Direction::Outbound] {
            let guard = guard(DialLimits::default(), limits.clone());
            guard.remember(&with_leg(direction), at(1));
            assert_eq!(ask(&guard, "second", to, 1), Err(rule), "{direction:?}");
            assert_eq!(ask(&guard, "out", to, 1), Ok(()), "{direction:?}");
        }
    }
    let called = guard(DialLimits::default(), repeats);
    called.remember(&with_leg(Direction::Inbound), at(1));
    assert_eq!(ask(&called, "second", "+4930777", 1), Err(DialRule::Repeats));
    assert_eq!(ask(&called, "second", to, 1), Ok(()));

    // From before midnight until after it: used on the second day, called on the first.
    let midnight = 43_200;
    let mut over = over(2, 600_000, 0);
    (over.initiated_at, over.ended_at) = (Some(at(midnight - 60)), Some(at(midnight + 540)));
    let limits =
        DialLimits { minutes_per_day: 10, calls_per_number_per_day: 1, ..DialLimits::default() };
    for (seconds, rule) in [(midnight - 1, DialRule::Repeats), (midnight + 600, DialRule::Minutes)]
    {
        let guard = guard(limits.clone(), DialLimits::default());
        guard.remember(&over, at(seconds));
        assert_eq!(ask(&guard, "out", to, seconds), Err(rule));
    }
}

#[test]
fn rules_are_checked_before_they_hold() {
    let limits = DialLimits {
        allow: texts(&["+49", "@pbx.example", "49", "+49x", "@"]),
        deny: texts(&["*"]),
        ..DialLimits::default()
    };
    let keys: Vec<String> = limits.problems().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["allow[2]", "allow[3]", "allow[4]", "deny[0]"]);
}
