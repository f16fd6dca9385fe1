//! The table and the JSON of calls that are made up.

use super::*;
use crate::score::Gap;

fn caller(name: &str, passed: bool) -> CallerReport {
    let check = |name: &str, passed| Check {
        check: name.to_owned(),
        expected: "at most 300 ms".to_owned(),
        found: "420 ms\u{1b}[2J".to_owned(),
        passed,
    };
    CallerReport {
        name: name.to_owned(),
        run: 1,
        passed,
        call_id: Some("c1".to_owned()),
        end: "we hung up".to_owned(),
        steps: Vec::new(),
        checks: vec![check("steps", true), check("timing.yield_max_ms", passed)],
        score: Some(Score {
            duration_ms: 12_340,
            response: Spread::of([500, 700]),
            gaps: vec![Gap { at_ms: 1_000, ms: 500 }, Gap { at_ms: 5_000, ms: 700 }],
            agent_ms: 6_000,
            caller_ms: 2_000,
            talk_over_ms: 400,
            ..Score::default()
        }),
        server: Comparison::from_differences(vec![-20, 12]),
        transcript: Vec::new(),
        recording: Some("/tmp/x.wav".to_owned()),
    }
}

#[test]
fn the_table_shows_every_call_and_why_one_failed() {
    let report =
        Report::new("Bistro".to_owned(), vec![caller("asks", true), caller("interrupts", false)]);
    assert!(!report.passed);
    insta::assert_snapshot!(report.table(Color::Off));
    assert!(!report.table(Color::On).contains("\u{1b}[2J"), "what the network says is only text");
}

#[test]
fn the_json_has_its_version_and_the_same_verdicts() {
    let report = Report::new("Bistro".to_owned(), vec![caller("asks", true)]);
    // The shape is a promise: a change of this snapshot is a change of `SCHEMA` or an addition.
    insta::assert_snapshot!("the_shape_of_the_json", report.json());
    let json: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
    assert_eq!(json["schema"], "trunkline.eval/1");
    assert_eq!(json["passed"], true);
    assert_eq!(json["totals"]["response"]["max_ms"], 700);
    assert_eq!(json["totals"]["server"]["difference_max_ms"], -20);
    assert_eq!(json["callers"][0]["checks"][1]["check"], "timing.yield_max_ms");
    assert_eq!(json["callers"][0]["score"]["gaps"][0]["at_ms"], 1_000);
}

#[test]
fn our_gaps_meet_the_servers_turns_by_their_time() {
    let record: ServerCall = serde_json::from_value(serde_json::json!({
        "transcript": [
            {"index": 0, "role": "assistant", "content": "Hi", "spoken_content": "Hi", "offset_ms": 400},
            {"index": 1, "role": "assistant", "content": "Yes", "spoken_content": "Yes",
             "offset_ms": 1_510, "latency": {"total_perceived_ms": 520}},
            {"index": 2, "role": "assistant", "content": "No", "spoken_content": "No",
             "offset_ms": 9_000, "latency": {"total_perceived_ms": 100}},
        ]
    }))
    .unwrap();
    let comparison = Comparison::of(&caller("asks", true).score.unwrap(), &record);
    assert_eq!(comparison, Comparison::from_differences(vec![-20]));
}
