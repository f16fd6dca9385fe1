//! Flireo, HMS Sovereign and VoiceDock: the call object, its webhooks, what was used.

use serde_json::{Value, json};

use super::{Desk, HEARD, OURS, REPLY, THEIRS, text, time};

// covers: S4-01..S4-14 S4-23 S4-55 S4-57
#[tokio::test(flavor = "multi_thread")]
async fn the_call_object_in_both_directions() {
    let mut desk = Desk::open().await;
    let (_, inbound) = desk.called("").await;
    let own = json!({"first_message": "Good day.", "agent": super::agent(json!({"name": "Once"}))});
    let mut body = desk.order(own);
    for gone in ["agent_id", "from_number"] {
        body.as_object_mut().unwrap().remove(gone);
    }
    let inline = desk.dial(body).await;
    desk.carrier.answer(&inline.invite, "404 Not Found", "", "").await;
    desk.server.settled(inline.call_id()).await;
    let body = desk.order(json!({}));
    let (_, outbound) = desk.conversation(body).await;
    for (call, theirs) in [(&inbound, "+15550123"), (&outbound, THEIRS)] {
        assert_eq!((text(call, "remote_number"), text(call, "local_number")), (theirs, OURS));
        assert!(!text(call, "id").contains("555"), "no number in an identifier");
        assert_eq!(text(call, "status"), "completed");
        assert_eq!(call["error_message"], Value::Null);
        assert!(time(call, "started_at") < time(call, "ended_at"));
        assert!(time(call, "created_at") <= time(call, "updated_at"));
        assert_eq!(call["duration_seconds"], call["duration_ms"].as_u64().unwrap() / 1_000);
        assert_eq!(text(call, "summary"), REPLY);
        assert_eq!(call["analysis"]["review"]["sentiment"], 8, "{call}");
        assert_eq!(text(call, "analysis_status"), "completed");
        assert_eq!(
            (&call["agent_id"], &call["number_id"]),
            (&json!(desk.agent), &json!(desk.number))
        );
        assert_eq!((text(call, "agent_name"), text(call, "business_name")), ("Ada", "Bistro"));
        let number = desk.get(&format!("/v1/numbers/{}", text(call, "number_id"))).await;
        assert_eq!(text(&number, "number"), OURS);
        let detail = desk.get(&format!("/v1/calls/{}?include=transcript", text(call, "id"))).await;
        let messages: Vec<(&str, &str)> = detail["transcript"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|turn| turn["role"] != "tool")
            .map(|turn| (text(turn, "role"), text(turn, "content")))
            .collect();
        assert_eq!(
            messages,
            [("assistant", "Hello, this is Ada."), ("user", HEARD), ("assistant", REPLY)]
        );
    }
    let failed = desk.get(&inline.path()).await;
    assert_eq!(text(&failed, "error_message"), "the number does not exist or is incomplete");
    assert_eq!(text(&failed, "agent_name"), "Once");
    let list = desk.get("/v1/calls?page_size=2").await;
    assert_eq!((&list["total"], list["items"].as_array().unwrap().len()), (&json!(3), 2));
}

// covers: S4-32 S4-33 S4-67
#[tokio::test(flavor = "multi_thread")]
async fn the_states_and_the_report_are_told_with_their_headers() {
    let mut desk = Desk::open().await;
    let body = desk.order(json!({}));
    let (dialled, call) = desk.conversation(body).await;
    let told = desk.told(&dialled.id, 5).await;
    for (body, status) in
        told.iter().zip(["queued", "ringing", "in_progress", "completed", "completed"])
    {
        assert_eq!(text(&body["data"]["call"], "status"), status);
        assert_eq!(text(body, "api_version"), "v1");
        time(body, "timestamp");
    }
    for got in desk.hook.got() {
        let body = got.json();
        assert_eq!(got.header("webhook-id"), text(&body, "id"));
        assert_eq!(got.header("x-webhook-event"), text(&body, "type"));
        assert!(got.header("webhook-signature").starts_with("v1,"));
        assert!(got.header("webhook-timestamp").parse::<u64>().is_ok());
        assert!(!got.header("x-webhook-delivery").is_empty());
        assert!(got.header("user-agent").starts_with("trunkline/"));
        assert_eq!(got.header("content-type"), "application/json");
    }
    let report = &told[4];
    assert_eq!(text(report, "type"), "call.report");
    let data = &report["data"];
    assert_eq!(data["call"]["duration_seconds"], call["duration_seconds"]);
    assert_eq!((text(data, "summary"), &data["analysis"]), (REPLY, &call["analysis"]));
    assert_eq!(data["result"], call["result"]);
    assert_eq!(text(&data["transcript"][1], "content"), HEARD);
    assert_eq!(data["latency"]["summary"], call["latency"]);
    assert!(text(data, "recording_url").contains("/v1/recordings/"), "{data}");
}

// covers: S4-25 S4-59
#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_is_added_up() {
    let mut desk = Desk::open().await;
    let body = desk.order(json!({}));
    let (_, call) = desk.conversation(body).await;
    desk.refused("486 Busy Here", "").await;
    let report = desk.get("/v1/usage").await;
    let summary = &report["summary"];
    assert_eq!((&summary["total_calls"], text(summary, "currency")), (&json!(2), "USD"));
    assert_eq!(summary["total_cost_micros"], call["cost"]["total_micros"]);
    let billed = call["billed_duration_seconds"].as_f64().expect("seconds");
    let minutes = summary["total_minutes"].as_f64().expect("minutes");
    assert!((minutes * 60.0 - billed).abs() <= 0.3, "{minutes} min of {billed} s");
    assert_eq!(report["budget"]["spent_micros"], call["cost"]["total_micros"]);
    assert_eq!(report["budget"]["held_micros"], 0);
    for (group, key) in [("agent", desk.agent.as_str()), ("provider", "mind"), ("number", OURS)] {
        let report = desk.get(&format!("/v1/usage?group_by={group}")).await;
        let logs = report["logs"].as_array().expect("logs");
        let log = logs.iter().find(|log| log["key"] == key || log["key"] == desk.number);
        let log = log.unwrap_or_else(|| panic!("{group}: {report}"));
        assert!(log["calls"].as_u64() >= Some(1), "{report}");
    }
    let rows = desk.get(&format!("/v1/calls/{}?include=usage", text(&call, "id"))).await;
    let rows = rows["usage"].as_array().expect("usage").clone();
    let amount: u64 = rows.iter().filter_map(|row| row["amount_micros"].as_u64()).sum();
    assert_eq!(call["cost"]["total_micros"], amount);
    for row in &rows {
        assert!(row["quantity"].as_f64() > Some(0.0) && row["unit"].is_string(), "{row}");
    }
}
