//! Every way a request can be wrong, and what it gets.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use super::bench::{KEY, bench, bench_with, call, ended, request};
use crate::api::Config;
use crate::types::EndReason;

fn expected(status: u16, code: &str, param: Option<&str>) -> (u16, String, Option<String>) {
    (status, code.to_owned(), param.map(str::to_owned))
}

#[tokio::test]
async fn every_wrong_field_of_a_call_is_named() {
    let bench = bench().await;
    let to = "+15550100";
    let table = [
        (json!({}), 422, "missing_field", Some("to_number")),
        (json!({"to_number": 5}), 422, "invalid_value", Some("to_number")),
        (json!({"to_number": "+1 555 0100"}), 422, "invalid_number", Some("to_number")),
        (json!({"to_number": "5550100"}), 422, "invalid_number", Some("to_number")),
        (json!({"to_number": "+05550100"}), 422, "invalid_number", Some("to_number")),
        (json!({"to_number": "tel:+15550100"}), 422, "invalid_number", Some("to_number")),
        (json!({"to_number": "sip:"}), 422, "invalid_number", Some("to_number")),
        (json!({"to_number": "sip:a@b\r\nX: y"}), 422, "invalid_number", Some("to_number")),
        (json!({"to_number": "+15550100\r\n"}), 422, "invalid_number", Some("to_number")),
        (json!({"to_number": ""}), 422, "invalid_number", Some("to_number")),
        (
            json!({"to_number": to, "from_number": "+12"}),
            422,
            "invalid_number",
            Some("from_number"),
        ),
        (
            json!({"to_number": to, "from_number": "a b"}),
            422,
            "invalid_number",
            Some("from_number"),
        ),
        (json!({"to_number": to, "agent_id": "x"}), 422, "unknown_agent", Some("agent_id")),
        (json!({"to_number": to, "trunk_id": "x"}), 422, "unknown_trunk", Some("trunk_id")),
        (json!({"to_number": to, "trunk_id": "inward"}), 422, "unknown_trunk", Some("trunk_id")),
    ];
    for (body, status, code, param) in table {
        let answer = bench.post("/v1/calls", body.to_string()).await;
        assert_eq!(answer.error(), expected(status, code, param), "{body}");
    }
}

#[tokio::test]
async fn every_wrong_option_of_a_call_is_named() {
    let bench = bench().await;
    let to = "+15550100";
    let table = [
        (
            json!({"to_number": to, "first_message": " "}),
            422,
            "invalid_value",
            Some("first_message"),
        ),
        (
            json!({"to_number": to, "first_message": "a".repeat(2_001)}),
            422,
            "invalid_value",
            Some("first_message"),
        ),
        (json!({"to_number": to, "language": "e n"}), 422, "invalid_value", Some("language")),
        (json!({"to_number": to, "metadata": []}), 422, "invalid_value", Some("metadata")),
        (
            json!({"to_number": to, "metadata": {"a": "b".repeat(16_384)}}),
            422,
            "invalid_value",
            Some("metadata"),
        ),
        (
            json!({"to_number": to, "ring_timeout_seconds": 0}),
            422,
            "invalid_value",
            Some("ring_timeout_seconds"),
        ),
        (
            json!({"to_number": to, "ring_timeout_seconds": -5}),
            422,
            "invalid_value",
            Some("ring_timeout_seconds"),
        ),
        (
            json!({"to_number": to, "ring_timeout_seconds": 1.5}),
            422,
            "invalid_value",
            Some("ring_timeout_seconds"),
        ),
        (
            json!({"to_number": to, "max_duration_seconds": 86_401}),
            422,
            "invalid_value",
            Some("max_duration_seconds"),
        ),
        (json!({"to_number": to, "colour": "red"}), 422, "unknown_field", Some("colour")),
        (json!([1]), 422, "invalid_value", None),
        (json!([to]), 422, "invalid_value", None),
        (json!("x"), 422, "invalid_value", None),
        (json!(null), 422, "invalid_value", None),
    ];
    for (body, status, code, param) in table {
        let answer = bench.post("/v1/calls", body.to_string()).await;
        assert_eq!(answer.error(), expected(status, code, param), "{body}");
    }
    let empty = bench.post("/v1/calls", "").await;
    assert_eq!(empty.error(), expected(422, "missing_field", Some("to_number")));
}

/// Type, body, code and field.
type Wrong = (&'static str, Value, &'static str, Option<&'static str>);

fn wrong_commands() -> Vec<Wrong> {
    vec![
        ("say", json!({}), "missing_field", Some("content")),
        ("say", json!({"content": ""}), "invalid_value", Some("content")),
        ("say", json!({"content": "a".repeat(2_001)}), "invalid_value", Some("content")),
        ("say", json!({"content": "a", "end_after": "yes"}), "invalid_value", Some("end_after")),
        ("say", json!({"content": "a", "voice": ""}), "invalid_value", Some("voice")),
        ("say", json!({"content": "a", "volume": 1}), "unknown_field", Some("volume")),
        ("inject-context", json!({"content": " "}), "invalid_value", Some("content")),
        ("inject-context", json!({"content": "a", "role": "boss"}), "invalid_value", Some("role")),
        ("transfer", json!({}), "missing_field", Some("destination")),
        ("transfer", json!({"destination": "bob"}), "invalid_number", Some("destination")),
        ("transfer", json!({"destination": "http://x/"}), "invalid_number", Some("destination")),
        (
            "transfer",
            json!({"destination": "sip:a@b>\r\nX: y"}),
            "invalid_number",
            Some("destination"),
        ),
        (
            "transfer",
            json!({"destination": "+15550100", "mode": "warm"}),
            "invalid_value",
            Some("mode"),
        ),
        (
            "transfer",
            json!({"destination": "+15550100", "mode": "attended"}),
            "missing_field",
            Some("call_id"),
        ),
        (
            "transfer",
            json!({"destination": "+15550100", "headers": {"From": "a"}}),
            "invalid_value",
            Some("headers"),
        ),
        (
            "transfer",
            json!({"destination": "+15550100", "headers": {"X-A": "a\r\nVia: b"}}),
            "invalid_value",
            Some("headers"),
        ),
        (
            "transfer",
            json!({"destination": "+15550100", "timeout_seconds": 0}),
            "invalid_value",
            Some("timeout_seconds"),
        ),
        ("end-call", json!({"message": ""}), "invalid_value", Some("message")),
        ("end-call", json!({"reason": "a".repeat(201)}), "invalid_value", Some("reason")),
        ("interrupt", json!({"now": true}), "unknown_field", Some("now")),
        ("mute", json!({"target": "everyone"}), "invalid_value", Some("target")),
        ("unmute", json!({"who": "agent"}), "unknown_field", Some("who")),
        ("dtmf", json!({}), "missing_field", Some("digits")),
        ("dtmf", json!({"digits": ""}), "invalid_value", Some("digits")),
        ("dtmf", json!({"digits": "12E"}), "invalid_value", Some("digits")),
        ("dtmf", json!({"digits": "w,"}), "invalid_value", Some("digits")),
        ("dtmf", json!({"digits": "1".repeat(65)}), "invalid_value", Some("digits")),
        ("dtmf", json!({"digits": "1", "duration_ms": 1}), "invalid_value", Some("duration_ms")),
        ("dtmf", json!({"digits": "1", "gap_ms": 70_000}), "invalid_value", Some("gap_ms")),
    ]
}

fn wrong_control() -> Vec<Wrong> {
    vec![
        ("hold", json!({"music": "../../etc/passwd"}), "invalid_value", Some("music")),
        ("resume", json!({"now": 1}), "unknown_field", Some("now")),
        ("handoff", json!({}), "missing_field", Some("agent_id")),
        ("set-variables", json!({"variables": {}}), "invalid_value", Some("variables")),
        ("set-variables", json!({"variables": {"a": [1]}}), "invalid_value", Some("variables")),
        ("play", json!({}), "missing_field", Some("file")),
        ("play", json!({"file": "/etc/passwd"}), "invalid_value", Some("file")),
        ("play", json!({"url": "http://x/a.wav"}), "invalid_value", Some("url")),
        ("recording", json!({"action": "erase"}), "invalid_value", Some("action")),
    ]
}

#[tokio::test]
async fn every_wrong_command_is_named_in_both_forms() {
    let bench = bench().await;
    bench.put(ended(0, EndReason::UserHangup)).await;
    let path = format!("/v1/calls/{}", call(0).id);
    for (kind, body, code, param) in wrong_commands().into_iter().chain(wrong_control()) {
        let answer = bench.post(&format!("{path}/{kind}"), body.to_string()).await;
        assert_eq!(answer.error(), expected(422, code, param), "{kind} {body}");
        let mut body = body;
        body["type"] = json!(kind);
        let answer = bench.post(&format!("{path}/control"), body.to_string()).await;
        assert_eq!(answer.error(), expected(422, code, param), "control {body}");
    }
    for (body, code) in [
        (json!({}), "missing_field"),
        (json!({"type": "dance"}), "invalid_value"),
        (json!({"type": 1}), "invalid_value"),
    ] {
        let answer = bench.post(&format!("{path}/control"), body.to_string()).await;
        assert_eq!(answer.error(), expected(422, code, Some("type")), "{body}");
    }
}

#[tokio::test]
async fn a_call_that_is_over_takes_no_command() {
    let bench = bench().await;
    bench.put(ended(0, EndReason::UserHangup)).await;
    let path = format!("/v1/calls/{}", call(0).id);
    let table = [
        ("say", json!({"content": "a"})),
        ("inject-context", json!({"content": "a"})),
        ("transfer", json!({"destination": "+15550100"})),
        ("transfer", json!({"destination": "tel:+15550100"})),
        ("end-call", json!({})),
        ("interrupt", json!({})),
        ("mute", json!({})),
        ("unmute", json!({"target": "user"})),
        ("dtmf", json!({"digits": "1w,#d"})),
    ];
    for (kind, body) in table {
        let answer = bench.post(&format!("{path}/{kind}"), body.to_string()).await;
        assert_eq!(answer.error(), expected(409, "call_not_active", None), "{kind}");
        let mut body = body;
        body["type"] = json!(kind);
        let answer = bench.post(&format!("{path}/control"), body.to_string()).await;
        assert_eq!(answer.error(), expected(409, "call_not_active", None), "{kind}");
    }
    assert_eq!(bench.post(&format!("{path}/end"), "").await.code(), "call_not_active");
    let snapshot = bench.post(&format!("{path}/end"), "").await.json();
    insta::with_settings!({filters => vec![("req_[0-9a-f]{16}", "[request id]")]}, {
        insta::assert_json_snapshot!(snapshot);
    });
}

#[tokio::test]
async fn bodies_that_are_no_json() {
    let bench = bench().await;
    let table: [(&[u8], &str); 6] = [
        (b"{", "malformed_body"),
        (b"{\"to_number\": ", "malformed_body"),
        (b"\xff\xfe", "malformed_body"),
        (b"{} {}", "missing_field"),
        (b"to_number=5", "malformed_body"),
        (b"{\"to_number\": \"\xff\"}", "malformed_body"),
    ];
    for (body, code) in table {
        let answer = bench.post("/v1/calls", body.to_vec()).await;
        assert_eq!(answer.code(), code, "{body:?}");
    }
    let trailing = bench.post("/v1/api-keys", "{\"name\": \"a\"} x").await;
    assert_eq!(trailing.error(), expected(400, "malformed_body", None));
    let deep = "[".repeat(100_000);
    assert_eq!(bench.post("/v1/calls", deep).await.error(), expected(400, "malformed_body", None));
    let deep = format!("{{\"metadata\": {}", "{\"a\":".repeat(10_000));
    assert_eq!(bench.post("/v1/calls", deep).await.error(), expected(400, "malformed_body", None));
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let typed = request("POST", "/v1/calls").header(header::CONTENT_TYPE, kind);
        let answer = bench.send(typed.body(Body::from("{}")).unwrap()).await;
        assert_eq!(answer.error(), expected(415, "unsupported_media_type", None), "{kind}");
    }
    let typed = request("POST", "/v1/calls")
        .header(header::CONTENT_TYPE, "Application/Problem+JSON; charset=utf-8");
    let answer = bench.send(typed.body(Body::from("{}")).unwrap()).await;
    assert_eq!(answer.code(), "missing_field");
}

#[tokio::test]
async fn errors_never_repeat_a_value() {
    let bench = bench().await;
    let secret = "+4930canary123";
    for body in [
        json!({"to_number": secret}),
        json!({"to_number": "+15550100", "ring_timeout_seconds": secret}),
        json!({"to_number": "+15550100", "from_number": secret}),
        json!({"to_number": "+15550100", "metadata": secret}),
    ] {
        let answer = bench.post("/v1/calls", body.to_string()).await;
        assert_eq!(answer.status, 422);
        assert!(!String::from_utf8_lossy(&answer.body).contains("canary"), "{body}");
    }
}

#[tokio::test]
async fn large_bodies_are_refused_with_and_without_a_length() {
    let bench = bench_with(Config { body_bytes_max: 1_000, ..Config::default() }).await;
    let large = "x".repeat(1_001);
    let typed = || request("POST", "/v1/calls").header(header::CONTENT_TYPE, "application/json");
    let announced = typed().header(header::CONTENT_LENGTH, 1_001).body(Body::empty()).unwrap();
    assert_eq!(bench.send(announced).await.error(), expected(413, "body_too_large", None));
    let pieces = large.into_bytes().into_iter().map(|b| Ok::<_, std::io::Error>(vec![b]));
    let streamed = Body::from_stream(futures_util::stream::iter(pieces));
    let answer = bench.send(typed().body(streamed).unwrap()).await;
    assert_eq!(answer.error(), expected(413, "body_too_large", None));
    assert_eq!(bench.post("/v1/calls", " ".repeat(1_000)).await.code(), "malformed_body");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    // Virtual time: nothing here waits for a socket.
    let request = request("POST", "/v1/calls")
        .header(header::CONTENT_TYPE, "application/json")
        .extension(crate::api::extract::BodyLimits {
            bytes_max: 100,
            wait: std::time::Duration::from_secs(30),
        })
        .body(Body::from_stream(futures_util::stream::pending::<std::io::Result<Vec<u8>>>()))
        .unwrap();
    let read = <crate::api::extract::Json<Value> as axum::extract::FromRequest<()>>::from_request;
    let error = read(request, &()).await.err().unwrap();
    assert_eq!(error.code(), crate::api::error::Code::BodyTimeout);
}

#[tokio::test]
async fn unknown_paths_and_methods_have_the_same_body() {
    let bench = bench().await;
    for path in ["/", "/v1", "/v1/", "/v2/calls", "/v1/calls/", "/v1/calls/x/y/z", "/V1/calls"] {
        let answer = bench.get(path).await;
        assert_eq!(answer.error(), expected(404, "route_not_found", None), "{path}");
    }
    let without_key = Request::get("/v1/nothing").body(Body::empty()).unwrap();
    assert_eq!(bench.send(without_key).await.code(), "route_not_found");
    for (method, path, allow) in [
        ("DELETE", "/v1/calls", "GET,HEAD,POST"),
        ("PUT", "/healthz", "GET,HEAD"),
        ("GET", "/v1/admin/drain", "POST"),
        ("TRACE", "/v1/status", "GET,HEAD"),
        ("BREW", "/v1/status", "GET,HEAD"),
    ] {
        let answer = bench.send(request(method, path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.error(), expected(405, "method_not_allowed", None), "{method} {path}");
        let mut have: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
        have.sort_unstable();
        assert_eq!(have.join(","), allow, "{method} {path}");
    }
    let head = bench.send(request("HEAD", "/v1/nothing").body(Body::empty()).unwrap()).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (404, 0));
}

#[tokio::test]
async fn a_key_is_needed_and_may_come_in_two_headers() {
    let bench = bench().await;
    let send = async |name: &str, value: &str| {
        let request = Request::get("/v1/status").header(name, value);
        bench.send(request.body(Body::empty()).unwrap()).await
    };
    for (name, value) in [
        ("authorization", format!("Bearer {KEY}")),
        ("authorization", format!("bearer  {KEY}")),
        ("x-api-key", KEY.to_owned()),
    ] {
        assert_eq!(send(name, &value).await.status, 200, "{name}: {value}");
    }
    for (name, value) in [
        ("authorization", KEY.to_owned()),
        ("authorization", format!("Basic {KEY}")),
        ("authorization", "Bearer ".to_owned()),
        ("x-api-key", String::new()),
        ("x-api-key", "x".repeat(257)),
        ("cookie", format!("key={KEY}")),
        ("x-api-key", format!("{KEY}0")),
        ("authorization", format!("Bearer {}", &KEY[..KEY.len() - 1])),
    ] {
        let answer = send(name, &value).await;
        assert_eq!(answer.error(), expected(401, "unauthorized", None), "{name}: {value}");
        assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"trunkline\"");
        assert!(!String::from_utf8_lossy(&answer.body).contains(KEY));
    }
    for path in ["/healthz", "/readyz", "/metrics", "/v1/openapi.json", "/docs/"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(bench.send(request).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn every_documented_path_but_the_open_ones_needs_a_key() {
    let bench = bench().await;
    let document = serde_json::to_value(crate::api::document()).unwrap();
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let open = ["/healthz", "/readyz", "/metrics", "/v1/recordings/{file}"];
            let open = open.contains(&path.as_str());
            let path = path.replace("{id}", &call(0).id.to_string());
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(&path);
            // A wrong key that comes often is limited: come without one.
            let answer = bench.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status == 401, !open, "{method} {path}");
            assert_eq!(operation["security"] == json!([{}]), open, "{method} {path}");
            seen += 1;
        }
    }
    assert!(seen >= 25, "{seen}");
}

#[tokio::test]
async fn guessing_keys_is_slowed_down_and_locks_nobody_out() {
    let bench = bench().await;
    let send = async |key: &str| {
        let request = Request::get("/v1/status").header("x-api-key", key);
        bench.send(request.body(Body::empty()).unwrap()).await
    };
    for n in 0..10 {
        assert_eq!(send(&format!("tk_guess{n}")).await.status, 401);
    }
    let limited = send("tk_guess10").await;
    assert_eq!(limited.error(), expected(429, "too_many_attempts", None));
    let wait: u32 = limited.header("retry-after").parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    assert_eq!(send(KEY).await.status, 200);
}
