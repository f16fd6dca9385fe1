//! Revox: orders that take several attempts, and the webhook of their end.

use serde_json::{Value, json};

use super::{Desk, Dialled, HEARD, OURS, REPLY, THEIRS, text, time};
use crate::support::hooks::{Answer, Receiver};
use crate::support::wait;

impl Desk {
    /// The next call that the carrier gets, whoever asked for it.
    pub(super) async fn invited(&mut self) -> Dialled {
        let invite = self.carrier.request("INVITE").await;
        let named = invite.header("call-id").to_owned();
        let id = wait::until("the record of an INVITE", async || {
            let calls = self.server.calls().await;
            let call = calls.into_iter().find(|call| call.sip_call_id.as_ref() == Some(&named));
            call.map(|call| call.id.to_string())
        })
        .await;
        let accepted = self.get(&format!("/v1/calls/{id}")).await;
        Dialled { id, accepted, invite }
    }
}

// covers: S2-01 S3-01..S3-13 S3-16 S3-18..S3-22 S3-24 S3-26
#[tokio::test(flavor = "multi_thread")]
async fn an_order_of_two_attempts_field_by_field() {
    let mut desk = Desk::open().await;
    let hook = Receiver::start(|_| Answer::Status(204)).await;
    let endpoint = json!({"url": hook.url, "enabled_events": ["order.*"]});
    desk.api.make("/v1/webhook-endpoints", endpoint).await;
    let body = desk.order(json!({
        "retry": {"max_retry_attempts": 3, "delay_seconds": 0, "ignore_window": true},
        "prompt_variables": {"who": "Bob"},
    }));
    let (status, order) = desk.api.send("POST", "/v1/call-orders", body).await;
    assert_eq!(status, 202, "{order}");
    let path = format!("/v1/call-orders/{}", text(&order, "id"));
    let first = desk.invited().await;
    desk.carrier.answer(&first.invite, "486 Busy Here", "", "").await;
    let second = desk.invited().await;
    let midway = desk.get(&path).await;
    assert_eq!((&midway["is_completed"], text(&midway, "status")), (&json!(false), "calling"));
    assert_eq!((&midway["attempts_count"], &midway["next_attempt_at"]), (&json!(2), &Value::Null));
    let mut events = desk.server.events();
    desk.ring(&second).await;
    let line = desk.pick_up(&second).await;
    super::talk(&mut events, &line, second.call_id()).await;
    desk.hang_up(&second).await;
    let got = hook.reaches(2).await;
    assert_eq!(hook.types(), ["order.retry_scheduled", "order.completed"]);
    assert_eq!(got[1].answered, 204, "any 2xx is enough");
    let data = &got[1].json()["data"];
    let told = &data["order"];
    assert_eq!((&data["call"]["id"], &told["id"]), (&json!(second.id), &order["id"]));
    let shown = desk.get(&path).await;
    for order in [told, &shown] {
        completed(order, &first, &second);
    }
    attempts(&shown, &desk);
    let deliveries = desk.get("/v1/webhook-deliveries?event_type=order.completed").await;
    assert_eq!(deliveries["items"][0]["order_id"], order["id"], "{deliveries}");
    assert_eq!(deliveries["items"][0]["status"], "delivered");
    assert_eq!(hook.count(), 2, "once each");
}

/// The order once it is over.
fn completed(order: &Value, first: &Dialled, second: &Dialled) {
    assert_eq!((text(order, "from_number"), text(order, "to_number")), (OURS, THEIRS));
    assert_eq!((text(order, "direction"), text(order, "status")), ("outbound", "completed"));
    assert_eq!((&order["is_completed"], &order["is_canceled"]), (&json!(true), &json!(false)));
    assert_eq!((&order["attempts_count"], &order["next_attempt_at"]), (&json!(2), &Value::Null));
    assert_eq!(text(order, "outcome"), "completed");
    assert_eq!(
        (&order["retry"]["max_retry_attempts"], &order["retry"]["delay_seconds"]),
        (&json!(3), &json!(0))
    );
    assert!(time(order, "created_at") <= time(order, "completed_at"));
    assert_eq!(order["last_attempt"]["id"], second.id);
    let ids: Vec<&Value> =
        order["attempts"].as_array().expect("attempts").iter().map(|call| &call["id"]).collect();
    assert_eq!(ids, [&json!(second.id), &json!(first.id)], "newest first");
}

/// The attempts are calls.
fn attempts(order: &Value, desk: &Desk) {
    let (second, first) = (&order["attempts"][0], &order["attempts"][1]);
    assert_eq!((&first["attempt_number"], &second["attempt_number"]), (&json!(1), &json!(2)));
    for call in [first, second] {
        assert_eq!((&call["order_id"], text(call, "to_number")), (&order["id"], THEIRS));
        assert_eq!(call["agent_id"], desk.agent);
    }
    assert_eq!((text(first, "status"), &first["answered_by"]), ("busy", &Value::Null));
    assert_eq!((&first["answered_at"], &first["result"]), (&Value::Null, &Value::Null));
    // Nothing tells a person from a machine that answers, so nothing is claimed.
    assert_eq!((text(second, "status"), text(second, "answered_by")), ("completed", "unknown"));
    assert!(time(second, "started_at") <= time(second, "answered_at"));
    assert!(time(second, "answered_at") < time(second, "ended_at"));
    assert_eq!(
        (text(&second["providers"]["llm"], "provider"), text(&second["providers"]["llm"], "model")),
        ("mind", "gpt-4o")
    );
    assert_eq!(second["result"]["confirmed"], true);
    assert_eq!(text(second, "result_status"), "completed");
}

// covers: S3-07 S3-22 S3-23 S3-25
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_a_call_with_transcript_and_recording() {
    let mut desk = Desk::open().await;
    let (_, inbound) = desk.called("").await;
    assert_eq!(inbound["order_id"], Value::Null, "nobody ordered it");
    assert_eq!(text(&inbound, "answered_by"), "human");
    let body = desk.order(json!({"retry": {"ignore_window": true}}));
    let (dialled, call) = desk.conversation(body).await;
    assert!(call["order_id"].is_string());
    let order = desk.get(&format!("/v1/call-orders/{}", text(&call, "order_id"))).await;
    assert!(
        text(&order["last_attempt"], "recording_url").starts_with("/v1/recordings/"),
        "{order}"
    );
    let transcript = desk.get(&format!("{}/transcript", dialled.path())).await;
    let said: Vec<&str> = transcript["turns"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|turn| turn["role"] != "tool")
        .map(|turn| text(turn, "content"))
        .collect();
    assert_eq!(said[1..], [HEARD, REPLY]);
}

// covers: S3-10 S3-13..S3-17
#[tokio::test(flavor = "multi_thread")]
async fn when_an_order_is_dialled() {
    let desk = Desk::open().await;
    let order = async |retry: Value| {
        let body =
            desk.order(json!({"call_retry_config": retry, "scheduled_at": "2099-03-02T00:00:00Z"}));
        let (status, order) = desk.api.send("POST", "/v1/call-orders", body).await;
        assert_eq!(status, 202, "{order}");
        order
    };
    let usual = order(json!({})).await;
    let retry = &usual["retry"];
    assert_eq!((&retry["delay_seconds"], &retry["max_retry_attempts"]), (&json!(7_200), &json!(3)));
    assert_eq!(retry["timezone"], Value::Null);
    let window = &retry["windows"][0];
    assert_eq!((text(window, "start_time"), text(window, "end_time")), ("10:00", "18:00"));
    // 10:00 in Berlin, where the number is.
    assert_eq!(text(&usual, "next_attempt_at"), "2099-03-02T09:00:00.000Z");
    let flat = order(json!({
        "calling_window_start_time": "9:30am", "calling_window_end_time": "17:00",
        "retry_delay_seconds": 60, "max_retry_attempts": 1, "timezone": "America/New_York",
    }))
    .await;
    let retry = &flat["retry"];
    assert_eq!((&retry["delay_seconds"], &retry["max_retry_attempts"]), (&json!(60), &json!(1)));
    assert_eq!(text(retry, "timezone"), "America/New_York");
    let windows = retry["windows"].as_array().expect("windows");
    assert_eq!(
        (windows.len(), text(&windows[0], "start_time"), text(&windows[0], "end_time")),
        (1, "09:30", "17:00")
    );
    assert_eq!(text(&flat, "next_attempt_at"), "2099-03-02T14:30:00.000Z");
}
