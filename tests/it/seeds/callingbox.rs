//! CallingBox: the call object, its webhooks and its statuses.

use serde_json::{Value, json};

use super::{
    CHARACTER, Desk, HEARD, MINUTE, OURS, REPLY, THEIRS, TOKEN, TOKENS, ms_between, text, time,
};
use crate::support::hooks::{Answer, Receiver};
use crate::support::wait;

// covers: S0-01..S0-16 S0-18..S0-26 S0-36 S0-37
#[tokio::test(flavor = "multi_thread")]
async fn the_call_object_field_by_field() {
    let mut desk = Desk::open().await;
    let body = desk.order(json!({
        "instructions": "Only greet {{who}} on {{context.day}}.", "variables": {"who": "Bob"},
        "metadata": {"order": 7},
    }));
    let (dialled, call) = desk.conversation(body).await;
    assert_eq!(call["id"], dialled.id);
    assert_eq!(uuid_version(text(&call, "id")), '7');
    assert_eq!(call["agent_id"], desk.agent);
    assert_eq!((text(&call, "to_number"), text(&call, "from_number")), (THEIRS, OURS));
    assert_eq!((text(&call, "status"), text(&call, "direction")), ("completed", "outbound"));
    assert_eq!(text(&call, "persona"), "You are Bob.");
    assert_eq!(text(&call, "instructions"), "Only greet Bob on Friday.", "it replaces");
    assert_eq!(text(&call, "prompt"), "You are Bob.\n\nOnly greet Bob on Friday.");
    assert_eq!(call["context"], json!({"day": "Friday"}));
    assert_eq!(call["returns"]["reschedule_to"], "string");
    assert_eq!(text(&call, "language"), "en");
    assert_eq!(
        (&call["result"]["confirmed"], &call["result"]["reschedule_to"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!((text(&call, "result_status"), &call["result_error"]), ("completed", &Value::Null));
    assert_eq!(call["metadata"], json!({"order": 7}));
    times(&call);
    money(&call, &dialled.accepted);
    // The list has it too, and the transcript stands apart.
    let listed = desk.get("/v1/calls").await;
    assert_eq!((&listed["total"], &listed["items"][0]["id"]), (&json!(1), &call["id"]));
    assert!(call.get("transcript").is_none());
    let apart = desk.get(&format!("{}/transcript", dialled.path())).await;
    let said: Vec<&str> = apart["turns"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|turn| turn["role"] != "tool")
        .map(|turn| text(turn, "content"))
        .collect();
    assert_eq!(said, ["Hello, this is Bob.", HEARD, REPLY]);
    let inside = desk.get(&format!("{}?include=transcript", dialled.path())).await;
    assert_eq!(inside["transcript"], apart["turns"]);
    // The body of a webhook holds the same object.
    let told = desk.told(&dialled.id, 5).await;
    let report = told.iter().find(|body| body["type"] == "call.completed").expect("its end");
    for (field, value) in report["data"]["call"].as_object().expect("a call") {
        if !["recording", "recording_url", "webhook_status", "updated_at"].contains(&field.as_str())
        {
            assert_eq!(value, &call[field], "{field}");
        }
    }
}

fn uuid_version(id: &str) -> char {
    assert_eq!(id.len(), 36, "{id}");
    id.chars().nth(14).expect("a version")
}

/// Created, ringing, answered, over, changed: in this order, and the durations are theirs.
fn times(call: &Value) {
    let order = ["created_at", "started_at", "answered_at", "ended_at", "updated_at"];
    for pair in order.windows(2) {
        assert!(time(call, pair[0]) <= time(call, pair[1]), "{pair:?} of {call}");
    }
    let ms = call["duration_ms"].as_i64().expect("a duration");
    assert!((ms - ms_between(call, "started_at", "ended_at")).abs() <= 100, "{call}");
    assert_eq!(call["duration_seconds"], ms / 1_000);
    let talked = call["talk_duration_ms"].as_i64().expect("a duration");
    assert!((talked - ms_between(call, "answered_at", "ended_at")).abs() <= 100, "{call}");
    assert_eq!(call["billed_duration_seconds"], (talked + 999) / 1_000);
    assert!(talked <= ms);
}

/// What it cost by the price table, and what was held for it.
fn money(call: &Value, accepted: &Value) {
    let number = |field: &str| call["cost"][field].as_u64().unwrap_or_else(|| panic!("{call}"));
    assert_eq!(
        (text(&call["cost"], "status"), text(&call["cost"], "currency")),
        ("calculated", "USD")
    );
    let billed = call["billed_duration_seconds"].as_u64().expect("seconds");
    assert_eq!(number("telephony_micros"), billed * MINUTE / 60);
    let said = ("Hello, this is Bob.".len() + REPLY.len()) as u64;
    assert_eq!(number("tts_micros"), said * CHARACTER);
    // A reply, and what the model made of the call: result, summary and review. What it called a tool with is counted
    // by nobody, so it is estimated.
    assert!(number("llm_micros") >= 4 * (TOKENS.0 + TOKENS.1) * TOKEN, "{call}");
    let parts = ["stt_micros", "llm_micros", "tts_micros", "telephony_micros"];
    assert_eq!(number("total_micros"), parts.map(number).iter().sum::<u64>());
    assert_eq!(text(accepted, "reservation_status"), "reserved");
    assert_eq!(text(call, "reservation_status"), "settled");
}

// covers: S0-04 S0-08 S0-12 S0-25 S0-26
#[tokio::test(flavor = "multi_thread")]
async fn what_is_null_and_what_is_the_agents_own() {
    let mut desk = Desk::with(|_| {}, json!({"instructions": "Be brief."})).await;
    let (_, inbound) = desk.called("").await;
    assert_eq!((text(&inbound, "direction"), &inbound["context"]), ("inbound", &Value::Null));
    assert_eq!(text(&inbound, "webhook_url"), desk.hook.url, "the agent's");
    let own = super::agent(json!({"name": "Once", "instructions": ""}));
    let mut body = desk.order(json!({"agent": own, "webhook_url": "http://127.0.0.1:9/other"}));
    body.as_object_mut().unwrap().remove("agent_id");
    body.as_object_mut().unwrap().remove("from_number");
    let dialled = desk.dial(body).await;
    desk.carrier.answer(&dialled.invite, "486 Busy Here", "", "").await;
    desk.server.ended(dialled.call_id()).await;
    let call = desk.get(&dialled.path()).await;
    assert_eq!((&call["agent_id"], text(&call, "agent_name")), (&Value::Null, "Once"));
    assert_eq!(text(&call, "webhook_url"), "http://127.0.0.1:9/other", "the call's own");
    assert_eq!(text(&call, "reservation_status"), "released", "nobody answered");
}

// covers: S0-07 S0-29 S0-30 S0-33..S0-35
#[tokio::test(flavor = "multi_thread")]
async fn every_end_has_its_status_its_event_and_its_cause() {
    let mut desk = Desk::open().await;
    for (answer, status, reason, sip_status, cause, token) in [
        ("486 Busy Here", "busy", "busy", 486, 17, "user_busy"),
        ("480 Temporarily Unavailable", "no_answer", "no_answer", 480, 18, "no_user_response"),
        ("404 Not Found", "failed", "invalid_number", 404, 1, "unallocated_number"),
        ("603 Decline", "failed", "rejected", 603, 21, "call_rejected"),
    ] {
        let call = desk.refused(answer, "").await;
        assert_eq!((text(&call, "status"), text(&call, "end_reason")), (status, reason));
        assert_eq!((&call["sip_status"], &call["q850_cause"]), (&json!(sip_status), &json!(cause)));
        assert_eq!(text(&call, "hangup_cause"), token);
        assert_eq!(text(&call, "sip_reason"), &answer[4..]);
        let is_error = status == "failed";
        assert_eq!(call["error_code"].as_str(), is_error.then_some(reason), "{call}");
        assert_eq!(call["error_message"].is_string(), is_error);
        assert_eq!((&call["answered_at"], &call["answered_by"]), (&Value::Null, &Value::Null));
        assert_eq!(call["billed_duration_seconds"], 0);
        let told = desk.told(text(&call, "id"), 3).await;
        let types: Vec<&str> = told.iter().map(|body| text(body, "type")).collect();
        assert_eq!(types, ["call.queued", &format!("call.{status}"), "call.report"]);
    }
    let body = desk.order(json!({}));
    let dialled = desk.dial(body).await;
    desk.ring(&dialled).await;
    let (status, _) = desk.api.send("POST", &format!("{}/cancel", dialled.path()), json!({})).await;
    assert_eq!(status, 202);
    let cancel = desk.carrier.request("CANCEL").await;
    desk.carrier.answer(&cancel, "200 OK", "", "").await;
    desk.carrier.answer(&dialled.invite, "487 Request Terminated", "", "").await;
    let call = desk.reaches(&dialled, "canceled").await;
    assert_eq!((text(&call, "end_reason"), text(&call, "ended_by")), ("canceled", "api"));
    let told = desk.told(&dialled.id, 4).await;
    let types: Vec<&str> = told.iter().map(|body| text(body, "type")).collect();
    assert_eq!(types, ["call.queued", "call.ringing", "call.canceled", "call.report"]);
    let body = desk.order(json!({}));
    let (dialled, call) = desk.conversation(body).await;
    assert_eq!((text(&call, "hangup_cause"), &call["q850_cause"]), ("normal_clearing", &json!(16)));
    assert_eq!((&call["error_code"], &call["error_message"]), (&Value::Null, &Value::Null));
    let told = desk.told(&dialled.id, 5).await;
    let types: Vec<&str> = told.iter().map(|body| text(body, "type")).collect();
    let wanted = ["call.queued", "call.ringing", "call.answered", "call.completed", "call.report"];
    assert_eq!(types, wanted);
}

// covers: S0-15..S0-17 E2-02
#[tokio::test(flavor = "multi_thread")]
async fn an_extraction_is_pending_then_done_or_failed_and_the_end_waits_for_it() {
    let mut desk = Desk::open().await;
    let mut script = super::script();
    script.llm.json = r#"{"confirmed": "perhaps"}"#.to_owned();
    desk.models.script(script);
    let body = desk.order(json!({}));
    let (dialled, call) = desk.conversation(body).await;
    assert_eq!((text(&call, "result_status"), &call["result"]), ("failed", &Value::Null));
    assert!(text(&call, "result_error").contains("confirmed"), "{call}");
    let told = desk.told(&dialled.id, 5).await;
    let ends: Vec<&Value> = told.iter().filter(|body| body["type"] == "call.completed").collect();
    assert_eq!(ends.len(), 1, "one end");
    assert_eq!(ends[0]["data"]["call"]["result_status"], "failed", "told when it is known");
    // Nobody spoke: nothing is extracted.
    let body = desk.order(json!({}));
    let dialled = desk.dial(body).await;
    let _line = desk.pick_up(&dialled).await;
    desk.server.live(dialled.call_id()).await;
    assert_eq!(desk.get(&dialled.path()).await["result_status"], "pending");
    desk.hang_up(&dialled).await;
    desk.server.settled(dialled.call_id()).await;
    assert_eq!(desk.get(&dialled.path()).await["result_status"], "skipped");
}

// covers: S0-27 S0-28 S0-31 S0-32
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_are_told_by_the_call_and_listed() {
    let mut desk = Desk::open().await;
    let other = Receiver::start(|_| Answer::Status(200)).await;
    let endpoint = json!({"url": other.url, "enabled_events": ["call.busy"]});
    let (endpoint, _) = desk.api.make("/v1/webhook-endpoints", endpoint).await;
    let call = desk.refused("486 Busy Here", "").await;
    let path = format!("/v1/calls/{}", text(&call, "id"));
    let call = wait::until("the delivery", async || {
        let call = desk.get(&path).await;
        (call["webhook_status"] == "delivered").then_some(call)
    })
    .await;
    assert_eq!(call["webhook_error"], Value::Null);
    other.reaches(1).await;
    let list = wait::until("every delivery", async || {
        let list = desk
            .get(&format!("/v1/webhook-deliveries?call_id={}&status=delivered", text(&call, "id")))
            .await;
        (list["items"].as_array()?.len() == 4).then_some(list)
    })
    .await;
    // One for each event and destination: three to the call's own URL, one to the endpoint.
    let items = list["items"].as_array().unwrap();
    let to_endpoint: Vec<&Value> =
        items.iter().filter(|item| item["endpoint_id"] == endpoint).collect();
    assert_eq!(to_endpoint.len(), 1);
    assert_eq!(to_endpoint[0]["event_type"], "call.busy");
    for item in items {
        assert_eq!(
            (&item["attempt_count"], &item["last_response_status"]),
            (&json!(1), &json!(200))
        );
        assert_eq!((&item["call_id"], &item["manual_retry_count"]), (&call["id"], &json!(0)));
        assert!(item["delivered_at"].is_string() && item["next_attempt_at"].is_null());
    }
    // A receiver that wants none of it.
    let gone = Receiver::start(|_| Answer::Status(410)).await;
    let body = desk.order(json!({"webhook_url": gone.url}));
    let dialled = desk.dial(body).await;
    desk.carrier.answer(&dialled.invite, "486 Busy Here", "", "").await;
    let call = wait::until("the failed delivery", async || {
        let call = desk.get(&dialled.path()).await;
        (call["webhook_status"] == "failed").then_some(call)
    })
    .await;
    assert!(text(&call, "webhook_error").contains("410"), "{call}");
}

// covers: S0-38
#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_served_for_client_generators() {
    let desk = Desk::open().await;
    let contract = desk.get("/v1/openapi.json").await;
    assert!(text(&contract, "openapi").starts_with("3."));
    for path in ["/v1/calls", "/v1/calls/{id}", "/v1/calls/{id}/transcript"] {
        assert!(contract["paths"][path]["get"]["operationId"].is_string(), "{path}");
    }
}
