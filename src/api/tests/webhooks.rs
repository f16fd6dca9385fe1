//! Webhook endpoints and deliveries over the API.

use axum::body::Body;
use serde_json::{Value, json};

use super::bench::{Bench, bench, call, request, within};
use crate::types::CallStatus;

/// A receiver that answers 500 and then 200.
async fn receiver() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/", axum::routing::post(|| async { "thanks" }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn made(bench: &Bench, body: Value) -> Value {
    let answer = bench.post("/v1/webhook-endpoints", body.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    answer.json()
}

#[tokio::test]
async fn an_endpoint_is_made_shown_changed_and_removed() {
    let bench = bench().await;
    let made =
        made(&bench, json!({"url": "https://example.com/a", "headers": {"x-a": "s3cret"}})).await;
    assert!(made["signing_secret"].as_str().unwrap().starts_with("whsec_"));
    assert_eq!(made["enabled_events"], json!(["*"]));
    assert_eq!(made["status"], "enabled");
    assert_eq!(made["headers"], json!({"x-a": "***"}));
    let path = format!("/v1/webhook-endpoints/{}", made["id"].as_str().unwrap());
    let shown = bench.get(&path).await.json();
    assert_eq!(shown["signing_secret"], Value::Null);
    let list = bench.get("/v1/webhook-endpoints").await.json();
    assert_eq!((list["total"].as_u64(), &list["items"][0]), (Some(1), &shown));

    let patch = json!({"status": "disabled", "description": "off", "headers": {"x-b": "t0ken"}});
    let changed = bench.patch(&path, patch.to_string()).await.json();
    assert_eq!(changed["headers"], json!({"x-a": "***", "x-b": "***"}));
    assert_eq!(changed["disabled_reason"], "manual");
    assert!(changed["disabled_at"].is_string());
    assert_eq!(changed["url"], "https://example.com/a");
    let patch = json!({"status": "enabled", "description": null, "headers": {"x-a": null}});
    let changed = bench.patch(&path, patch.to_string()).await.json();
    assert_eq!((&changed["description"], &changed["disabled_at"]), (&json!(""), &Value::Null));
    assert_eq!(changed["headers"], json!({"x-b": "***"}));
    let text = bench.get(&path).await.json().to_string();
    assert!(!text.contains("t0ken") && !text.contains("s3cret"));

    let rotated = bench.post(&format!("{path}/rotate-secret"), "").await.json();
    assert_ne!(rotated["signing_secret"], made["signing_secret"]);
    assert_eq!(bench.delete(&path).await.status, 204);
    for answer in
        [bench.get(&path).await, bench.delete(&path).await, bench.patch(&path, "{}").await]
    {
        assert_eq!(answer.error().1, "webhook_endpoint_not_found");
    }
}

#[tokio::test]
async fn the_default_secret_can_be_had_by_rotating_it() {
    let bench = bench().await;
    let path = "/v1/organization/rotate-webhook-secret";
    let first = bench.post(path, "").await.json()["signing_secret"].clone();
    let second = bench.post(path, r#"{"expire_old": true}"#).await.json()["signing_secret"].clone();
    assert!(first.as_str().unwrap().starts_with("whsec_"));
    assert_ne!(first, second);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let bench = bench().await;
    for (body, code, param) in [
        (json!({}), "missing_field", "url"),
        (json!({"url": "ftp://example.com"}), "invalid_value", "url"),
        (
            json!({"url": "https://example.com", "enabled_events": ["x"]}),
            "invalid_value",
            "enabled_events",
        ),
        (
            json!({"url": "https://example.com", "signature_style": "md5"}),
            "invalid_value",
            "signature_style",
        ),
        (json!({"url": "https://example.com", "secret": "x"}), "unknown_field", "secret"),
    ] {
        let answer = bench.post("/v1/webhook-endpoints", body.to_string()).await;
        assert_eq!(answer.error(), (422, code.to_owned(), Some(param.to_owned())), "{body}");
    }
    let made = made(&bench, json!({"url": "https://example.com/"})).await;
    let path = format!("/v1/webhook-endpoints/{}", made["id"].as_str().unwrap());
    for (patch, code, param) in [
        (json!({"url": null}), "missing_field", "url"),
        (json!({"signing_secret": "x"}), "unknown_field", "signing_secret"),
        (json!({"status": "gone"}), "invalid_value", "status"),
    ] {
        let answer = bench.patch(&path, patch.to_string()).await;
        assert_eq!(answer.error(), (422, code.to_owned(), Some(param.to_owned())), "{patch}");
    }
    for (query, param) in [
        ("limit=201", "limit"),
        ("limit=0", "limit"),
        ("status=lost", "status"),
        ("event_type=x", "event_type"),
    ] {
        let answer = bench.get(&format!("/v1/webhook-deliveries?{query}")).await;
        assert_eq!(answer.error(), (400, "invalid_parameter".to_owned(), Some(param.to_owned())));
    }
}

// covers: S0-32
#[tokio::test]
async fn deliveries_are_listed_shown_and_sent_again() {
    let bench = bench().await;
    let made =
        made(&bench, json!({"url": receiver().await, "enabled_events": ["call.ringing"]})).await;
    let id = made["id"].as_str().unwrap();
    let mut record = call(1);
    record.status = CallStatus::Ringing;
    bench.put(record.clone()).await;
    let path = format!("/v1/calls/{}/webhook-deliveries", record.id);
    let wait = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(10));
        loop {
            ticks.tick().await;
            let list = bench.get(&format!("{path}?status=delivered")).await.json();
            if let Some(delivery) = list["items"].get(0) {
                return delivery.clone();
            }
        }
    };
    let delivery = within(wait).await;
    assert_eq!(delivery["event_type"], "call.ringing");
    assert_eq!(delivery["endpoint_id"], id);
    assert_eq!(delivery["call_id"], record.id.to_string());
    assert_eq!(
        (&delivery["attempt_count"], &delivery["last_response_status"]),
        (&json!(1), &json!(200))
    );
    assert_eq!(delivery["payload"], Value::Null);
    let shown = bench
        .get(&format!("/v1/webhook-deliveries/{}", delivery["id"].as_str().unwrap()))
        .await
        .json();
    assert_eq!(shown["payload"]["data"]["call"]["id"], record.id.to_string());
    assert_eq!(shown["payload"]["id"], delivery["event_id"]);
    for (query, count) in [
        (format!("endpoint_id={id}"), 1),
        ("endpoint_id=x".to_owned(), 0),
        (format!("call_id={}", record.id), 1),
        ("call_id=x".to_owned(), 0),
        ("event_type=call.ringing".to_owned(), 1),
        ("event_type=call.busy".to_owned(), 0),
        ("status=exhausted".to_owned(), 0),
        (format!("cursor={}", delivery["id"].as_str().unwrap()), 0),
    ] {
        let list = bench.get(&format!("/v1/webhook-deliveries?{query}")).await.json();
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{query}");
    }
    let again = format!("/v1/webhook-deliveries/{}/redeliver", delivery["id"].as_str().unwrap());
    let answer = bench.post(&again, "").await;
    assert_eq!((answer.status.as_u16(), &answer.json()["manual_retry_count"]), (202, &json!(1)));
    let ping = bench.post(&format!("/v1/webhook-endpoints/{id}/test"), "").await;
    assert_eq!((ping.status.as_u16(), &ping.json()["event_type"]), (202, &json!("ping")));
    bench.patch(&format!("/v1/webhook-endpoints/{id}"), r#"{"status": "disabled"}"#).await;
    assert_eq!(bench.post(&again, "").await.error().1, "webhook_endpoint_disabled");
    bench.delete(&format!("/v1/webhook-endpoints/{id}")).await;
    assert_eq!(bench.post(&again, "").await.error().1, "webhook_endpoint_disabled");
    let unknown = bench.post("/v1/webhook-deliveries/x/redeliver", "").await;
    assert_eq!(unknown.error().1, "webhook_delivery_not_found");
    let nobody = request("GET", "/v1/calls/x/webhook-deliveries").body(Body::empty()).unwrap();
    assert_eq!(bench.send(nobody).await.error().1, "call_not_found");
}

#[tokio::test]
async fn a_receiver_that_nothing_may_be_sent_to_is_refused_wherever_it_is_named() {
    let bench = bench().await;
    let metadata = "http://169.254.169.254/latest";
    let to = "+4930123456";
    for (path, body, param) in [
        ("/v1/calls", json!({"to_number": to, "webhook_url": metadata}), "webhook_url"),
        ("/v1/calls", json!({"to_number": to, "webhook_url": "ftp://x"}), "webhook_url"),
        (
            "/v1/calls",
            json!({"to_number": to, "webhook_url": "https://u:p@x.example/"}),
            "webhook_url",
        ),
        (
            "/v1/calls",
            json!({"to_number": to, "agent": {"webhook_url": metadata}}),
            "agent.webhook_url",
        ),
        ("/v1/call-orders", json!({"to_number": to, "webhook_url": metadata}), "webhook_url"),
        ("/v1/batches", json!({"to_numbers": [to], "webhook_url": metadata}), "webhook_url"),
        ("/v1/agents", json!({"name": "a", "webhook_url": metadata}), "webhook_url"),
        (
            "/v1/numbers",
            json!({"number": to, "request_webhook_url": metadata}),
            "request_webhook_url",
        ),
    ] {
        let answer = bench.post(path, body.to_string()).await;
        let refused = (422, "invalid_value".to_owned(), Some(param.to_owned()));
        assert_eq!(answer.error(), refused, "{path} {body}");
        assert!(answer.json()["error"]["hint"].is_string(), "{path} {body}");
    }
    for path in ["/v1/agents/reception", "/v1/numbers/x"] {
        let param = if path.contains("agents") { "webhook_url" } else { "request_webhook_url" };
        let answer = bench.patch(path, json!({param: metadata}).to_string()).await;
        let refused = (422, "invalid_value".to_owned(), Some(param.to_owned()));
        assert_eq!(answer.error(), refused, "{path}");
    }
}
