//! Verdicts over evidence that is made up.

use serde_json::json;

use super::*;
use crate::score::{Gap, Spread, Yield};

fn record() -> ServerCall {
    serde_json::from_value(json!({
        "id": "c1", "status": "completed", "end_reason": "user_hangup", "ended_by": "user",
        "variables_extracted": {"party": "6"},
        "transcript": [
            {"index": 0, "role": "assistant", "content": "How can I help? More.", "spoken_content": "How can I help?", "interrupted": true},
            {"index": 1, "role": "user", "content": "Book a table.", "spoken_content": null},
            {"index": 2, "role": "tool", "content": "", "spoken_content": null,
             "tool": {"name": "book", "arguments": {"party": 6, "at": {"day": "Friday", "time": "7:30"}}}},
            {"index": 3, "role": "tool", "content": "", "spoken_content": null,
             "tool": {"name": "mail", "arguments": {}, "is_error": true}},
        ]
    }))
    .unwrap()
}

fn verdicts(expect: &str, defaults: &str, score: Option<&Score>) -> Vec<(String, bool)> {
    let (own, defaults): (Expect, Expect) =
        (toml::from_str(expect).unwrap(), toml::from_str(defaults).unwrap());
    let (take, record) = (Take::default(), record());
    let evidence = Evidence { take: &take, record: Ok(&record), score };
    let checks = check(&own, &defaults, &evidence);
    assert_eq!(checks[0].check, "steps");
    checks.into_iter().skip(1).map(|check| (check.check, check.passed)).collect()
}

#[track_caller]
fn holds(expect: &str, wanted: &[bool]) {
    let found: Vec<bool> =
        verdicts(expect, "", None).into_iter().map(|(_, passed)| passed).collect();
    assert_eq!(found, wanted, "{expect}");
}

#[test]
fn words_are_those_that_were_heard() {
    holds("said = ['how can i help', 'more']", &[true, false]);
    holds("not_said = ['how can i help', 'more']", &[false, true]);
    holds("heard = ['book [a] table', 'chair']\nnot_heard = ['chair']", &[true, false, true]);
}

#[test]
fn tools_are_compared_by_name_order_arguments_errors_and_count() {
    holds("tools = [{ name = 'book' }, { name = 'mail' }]", &[true, true]);
    holds("tools = [{ name = 'mail' }, { name = 'book' }]", &[true, false]);
    holds(
        "tools = [{ name = 'book', arguments = { party = 6.0, at = { day = 'Friday' } } }]",
        &[true],
    );
    holds("tools = [{ name = 'book', arguments = { party = 7 } }]", &[false]);
    holds("tools = [{ name = 'book', arguments = { name = 'x' } }]", &[false]);
    holds("tools = [{ name = 'mail', is_error = true, times = 1 }]", &[true]);
    holds("tools = [{ name = 'mail', is_error = false }]", &[false]);
    holds("tools = [{ name = 'book', times = 2 }]", &[false]);
    holds("tools = [{ name = 'pay', times = 0 }, { name = 'book', times = 0 }]", &[true, false]);
    holds("tools = []", &[false]);
}

#[test]
fn the_records_words_are_compared_exactly() {
    holds("outcome = { status = 'completed', ended_by = 'agent' }", &[true, false]);
    holds("outcome = { answered_by = 'human' }", &[false]);
    holds("variables = { party = '6', day = 'Friday' }", &[false, true]);
    holds("interruptions = { count = 1 }", &[true]);
    holds("interruptions = { count = 0 }", &[false]);
}

#[test]
fn bounds_of_a_callers_own_need_something_to_measure() {
    let own = "timing = { response_max_ms = 900, yield_max_ms = 300, duration_min_ms = 1 }";
    let none = Score { duration_ms: 5_000, ..Score::default() };
    let named = |rows: &[(&str, bool)]| -> Vec<(String, bool)> {
        rows.iter().map(|(name, passed)| (format!("timing.{name}_ms"), *passed)).collect()
    };
    assert_eq!(
        verdicts(own, "", Some(&none)),
        named(&[("response_max", false), ("yield_max", false), ("duration_min", true)])
    );
    assert_eq!(verdicts("", own, Some(&none)), named(&[("duration_min", true)]));
    let some = Score {
        gaps: vec![Gap { at_ms: 1_000, ms: 800 }],
        response: Spread::of([800]),
        yields: vec![Yield { at_ms: 2_000, did_yield: true, ms: 301 }],
        ..none.clone()
    };
    assert_eq!(
        verdicts("", own, Some(&some)),
        named(&[("response_max", true), ("yield_max", false), ("duration_min", true)])
    );
    // The caller's own bound wins.
    let wide = "timing = { yield_max_ms = 400 }";
    assert_eq!(verdicts(wide, own, Some(&some))[1], ("timing.yield_max_ms".to_owned(), true));
    // Whoever talks on has not yielded, however late the bound is.
    let on = Score {
        yields: vec![Yield { at_ms: 2_000, did_yield: false, ms: 200 }],
        not_yielded: 1,
        ..some
    };
    assert_eq!(verdicts(wide, own, Some(&on))[1], ("timing.yield_max_ms".to_owned(), false));
}

#[test]
fn without_a_record_or_a_recording_nothing_passes() {
    let own: Expect = toml::from_str("said = ['x']\ninterruptions = { false_max = 9 }").unwrap();
    let take = Take { trouble: Some("no answer".to_owned()), ..Take::default() };
    let evidence = Evidence { take: &take, record: Err("gone"), score: None };
    let checks = check(&own, &Expect::default(), &evidence);
    let names: Vec<&str> = checks.iter().map(|check| check.check.as_str()).collect();
    assert_eq!(names, ["steps", "record", "interruptions.false_max"]);
    assert!(checks.iter().all(|check| !check.passed));
    assert_eq!((checks[0].found.as_str(), checks[1].found.as_str()), ("no answer", "gone"));
}
