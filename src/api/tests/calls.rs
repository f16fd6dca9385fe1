//! Reading calls.

use serde_json::{Value, json};

use super::bench::{Bench, bench, call, ended, id};
use crate::store::Write;
use crate::types::call::{TurnOrigin, TurnRole};
use crate::types::*;

/// Twelve calls: 0 to 5 ended in various ways, 6 to 11 live.
async fn filled() -> Bench {
    let bench = bench().await;
    let reasons = [
        EndReason::UserHangup,
        EndReason::NoAnswer,
        EndReason::Busy,
        EndReason::UserHangup,
        EndReason::Transferred,
        EndReason::InternalError,
    ];
    for (n, reason) in (0..).zip(reasons) {
        let mut record = call(n);
        if matches!(reason, EndReason::NoAnswer | EndReason::Busy) {
            record.answered_at = None;
            record.status = CallStatus::Ringing;
        }
        record.finish(reason, super::bench::at(100));
        record.agent_id = Some(AgentId("reception".into()));
        record.trunk = Some(TrunkName(if n < 3 { "local" } else { "other" }.into()));
        bench.put(record).await;
    }
    for n in 6..12 {
        bench.put(call(n)).await;
    }
    bench
}

fn ids(page: &Value) -> Vec<u64> {
    let number = |item: &Value| {
        let wanted = item["id"].as_str().unwrap();
        (0..200).find(|n| id(*n).to_string() == wanted).unwrap()
    };
    page["items"].as_array().unwrap().iter().map(number).collect()
}

// covers: S2-03..S2-08
#[tokio::test]
async fn every_filter_of_the_list() {
    let bench = filled().await;
    let table: &[(&str, &[u64])] = &[
        ("direction=inbound&status=completed", &[4, 0]),
        ("direction=outgoing&status=in-progress", &[11, 9, 7]),
        ("status=ongoing", &[11, 10, 9, 8, 7, 6]),
        ("status=busy&status=no_answer", &[2, 1]),
        ("status=busy,no-answer", &[2, 1]),
        ("status=transferred", &[4]),
        ("status=caller_hangup", &[3, 0]),
        ("status=error", &[5]),
        ("search=%2B49300000003", &[3]),
        ("search=49300000003", &[3]),
        ("search=+49+30+000-0003", &[3]),
        ("search=0001111&status=busy", &[2]),
        ("search=999", &[]),
        ("started_after=2027-01-15T08:00:09Z", &[11, 10, 9]),
        ("started_before=2027-01-15T09:00:02%2B01:00", &[1, 0]),
        ("started_after=2027-01-15T08:00:01Z&started_before=2027-01-15T08:00:03Z", &[2, 1]),
        ("agent_id=reception&status=completed", &[4, 3, 0]),
        ("agent_id=nobody", &[]),
        ("trunk_id=local", &[2, 1, 0]),
        ("page=2&page_size=5", &[6, 5, 4, 3, 2]),
        ("page=3&page_size=5", &[1, 0]),
        ("page=9&page_size=5", &[]),
        ("status=", &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
    ];
    for (query, expected) in table {
        let answer = bench.get(&format!("/v1/calls?{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
        assert_eq!(ids(&answer.json()), *expected, "{query}");
    }
    let page = bench.get("/v1/calls?page=2&page_size=5").await.json();
    assert_eq!(
        (&page["total"], &page["page"], &page["page_size"]),
        (&json!(12), &json!(2), &json!(5))
    );
    let page = bench.get("/v1/calls").await.json();
    assert_eq!((&page["page"], &page["page_size"]), (&json!(1), &json!(20)));
}

// covers: S2-04 E2-07
#[tokio::test]
async fn bad_filters_are_named() {
    let bench = bench().await;
    let table = [
        ("page_size=101", 400, "invalid_parameter", "page_size"),
        ("page_size=0", 400, "invalid_parameter", "page_size"),
        ("page=0", 400, "invalid_parameter", "page"),
        ("page=-1", 400, "invalid_parameter", "page"),
        ("page=one", 400, "invalid_parameter", "page"),
        ("page=99999999999", 400, "invalid_parameter", "page"),
        ("page=1&page=2", 400, "invalid_parameter", "page"),
        ("direction=sideways", 400, "invalid_parameter", "direction"),
        ("status=sleeping", 400, "invalid_parameter", "status"),
        ("search=abc", 400, "invalid_parameter", "search"),
        ("search=%27%20OR%201=1", 400, "invalid_parameter", "search"),
        ("started_after=yesterday", 400, "invalid_parameter", "started_after"),
        ("started_before=2027-01-15", 400, "invalid_parameter", "started_before"),
        ("pagesize=5", 422, "unknown_field", "pagesize"),
        ("limit=5", 422, "unknown_field", "limit"),
    ];
    for (query, status, code, param) in table {
        let answer = bench.get(&format!("/v1/calls?{query}")).await;
        assert_eq!(answer.error(), (status, code.to_owned(), Some(param.to_owned())), "{query}");
    }
    let many = "status=busy&".repeat(17);
    assert_eq!(bench.get(&format!("/v1/calls?{many}")).await.code(), "invalid_parameter");
    let many = "a=b&".repeat(65);
    assert_eq!(bench.get(&format!("/v1/calls?{many}")).await.code(), "invalid_parameter");
}

#[tokio::test]
async fn rows_are_light() {
    let bench = filled().await;
    let answer = bench.get("/v1/calls?page_size=1").await;
    let page = answer.json();
    let row = page["items"][0].as_object().unwrap();
    for heavy in ["prompt", "metadata", "transcript", "recording_url", "summary", "latency"] {
        assert!(!row.contains_key(heavy), "{heavy}");
    }
}

fn turn(n: u32, role: TurnRole, text: &str) -> TurnRecord {
    let assistant = role == TurnRole::Assistant;
    TurnRecord {
        id: TurnId(n),
        role,
        origin: if assistant { TurnOrigin::Llm } else { TurnOrigin::User },
        content: text.to_owned().into(),
        spoken_content: assistant.then(|| "It is\n eight".to_owned().into()),
        interrupted: assistant,
        offset_ms: 63_005 + u64::from(n),
        duration_ms: 900,
        confidence: None,
        latency: assistant.then(|| Breakdown {
            total_perceived_ms: Some(640),
            attempt: 1,
            ..Breakdown::default()
        }),
        error: None,
        tool: None,
        failovers: Vec::new(),
    }
}

async fn with_turns() -> (Bench, String) {
    let bench = bench().await;
    let record = ended(0, EndReason::UserHangup);
    let id = record.id;
    bench.put(record).await;
    let event = |seq| CallEvent {
        seq,
        call_id: id,
        at: super::bench::at(1),
        kind: CallEventKind::MediaLost,
    };
    let user = turn(0, TurnRole::User, "what time is it");
    let agent = turn(1, TurnRole::Assistant, "It is eight o'clock.");
    bench
        .store
        .apply(&[
            Write::Turn(id, Box::new(user)),
            Write::Turn(id, Box::new(agent)),
            Write::Event(Box::new(event(1))),
            Write::Event(Box::new(event(2))),
            Write::Event(Box::new(event(3))),
        ])
        .await
        .unwrap();
    (bench, format!("/v1/calls/{id}"))
}

#[tokio::test]
async fn a_call_with_what_include_asks_for() {
    let (bench, path) = with_turns().await;
    let bare = bench.get(&path).await.json();
    for part in ["transcript", "turn_latency", "events"] {
        assert!(bare.get(part).is_none(), "{part}");
    }
    assert_eq!(
        (&bare["duration_seconds"], &bare["billed_duration_seconds"]),
        (&json!(38), &json!(34))
    );
    let full = bench.get(&format!("{path}?include=transcript,latency,events")).await.json();
    insta::assert_json_snapshot!(full);
    let one = bench.get(&format!("{path}?include=events")).await.json();
    assert_eq!(one["events"].as_array().unwrap().len(), 3);
    assert!(one.get("transcript").is_none());
    let error = bench.get(&format!("{path}?include=secrets")).await.error();
    assert_eq!(error, (400, "invalid_parameter".into(), Some("include".into())));
}

#[tokio::test]
async fn transcript_latency_and_events() {
    let (bench, path) = with_turns().await;
    let transcript = bench.get(&format!("{path}/transcript")).await.json();
    assert_eq!(transcript["status"], "completed");
    assert_eq!(transcript["turns"][1]["content"], "It is eight o'clock.");
    let text = bench.get(&format!("{path}/transcript?format=text")).await;
    assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(
        String::from_utf8(text.body).unwrap(),
        "[01:03.005] user: what time is it\n[01:03.006] assistant: It is eight [interrupted]\n"
    );
    let error = bench.get(&format!("{path}/transcript?format=doc")).await.error();
    assert_eq!(error, (400, "invalid_parameter".into(), Some("format".into())));
    let latency = bench.get(&format!("{path}/latency")).await.json();
    assert_eq!(latency["turns"][0]["index"], 1);
    assert_eq!(latency["turns"][0]["latency"]["total_perceived_ms"], 640);
    let events = bench.get(&format!("{path}/events?after=1")).await.json();
    let seqs: Vec<_> =
        events["items"].as_array().unwrap().iter().map(|e| e["seq"].clone()).collect();
    assert_eq!(seqs, [json!(2), json!(3)]);
    assert_eq!(events["next_after"], Value::Null);
}

#[tokio::test]
async fn a_long_journal_comes_in_pieces() {
    let bench = bench().await;
    let id = call(0).id;
    bench.put(call(0)).await;
    let kind = CallEventKind::MediaLost;
    let writes: Vec<_> = (1..=1_500)
        .map(|seq| CallEvent { seq, call_id: id, at: super::bench::at(1), kind: kind.clone() })
        .map(|event| Write::Event(Box::new(event)))
        .collect();
    bench.store.apply(&writes).await.unwrap();
    let first = bench.get(&format!("/v1/calls/{id}/events")).await.json();
    assert_eq!(
        (first["items"].as_array().unwrap().len(), &first["next_after"]),
        (1_000, &json!(1_000))
    );
    let rest = bench.get(&format!("/v1/calls/{id}/events?after=1000")).await.json();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next_after"]), (500, &Value::Null));
}

#[tokio::test]
async fn unknown_calls_are_404_whatever_is_asked() {
    let bench = bench().await;
    let missing = id(77);
    for id in [missing.to_string(), "17".into(), "%2e%2e".into(), "'".into()] {
        for part in ["", "/transcript", "/latency", "/events", "/recording", "/stream"] {
            let answer = bench.get(&format!("/v1/calls/{id}{part}")).await;
            assert_eq!(
                answer.error(),
                (404, "call_not_found".into(), Some("id".into())),
                "{id}{part}"
            );
        }
        let answer = bench.post(&format!("/v1/calls/{id}/interrupt"), "").await;
        assert_eq!(answer.error().1, "call_not_found", "{id}");
    }
}
