//! Health, status, keys, request ids, headers, panics.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use serde_json::json;
use tower::ServiceExt;

use super::bench::{bench, request};
use crate::api::auth::{KEY_PREFIX, KeyError};
use crate::api::{Keys, Peer};
use crate::store::Store;
use crate::types::{Entropy, Secret};

#[tokio::test]
async fn ready_until_it_drains() {
    let bench = bench().await;
    assert_eq!(bench.get("/healthz").await.json()["status"], "ok");
    let ready = bench.get("/readyz").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["ready"]), (200, &json!(true)));
    for _ in 0..2 {
        let drain = bench.post("/v1/admin/drain", "").await;
        assert_eq!((drain.status.as_u16(), &drain.json()["draining"]), (202, &json!(true)));
    }
    let ready = bench.get("/readyz").await;
    assert_eq!(ready.status, 503);
    insta::assert_json_snapshot!(ready.json());
    let refused = bench.post("/v1/calls", json!({"to_number": "+15550100"}).to_string()).await;
    assert_eq!(refused.error(), (503, "draining".into(), None));
    assert_eq!(refused.header("retry-after"), "5");
    assert_eq!(bench.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn status_and_metrics() {
    let bench = bench().await;
    let status = bench.get("/v1/status").await.json();
    assert_eq!((&status["active_calls"], &status["draining"]), (&json!(0), &json!(false)));
    assert_eq!(status["trunks"], json!(["inward", "local"]));
    let metrics = bench.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(
        String::from_utf8(metrics.body).unwrap().contains("trunkline_rtp_tick_lateness_seconds")
    );
}

#[tokio::test]
async fn a_made_key_works_and_is_shown_once() {
    let bench = bench().await;
    let made = bench.post("/v1/api-keys", json!({"name": " dashboard "}).to_string()).await;
    assert_eq!(made.status, 201);
    let made = made.json();
    let key = made["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with(KEY_PREFIX) && key.len() == KEY_PREFIX.len() + 64, "{key}");
    assert_eq!(made["api_key"]["name"], "dashboard");
    let request = Request::get("/v1/api-keys").header("x-api-key", &key);
    let list = bench.send(request.body(Body::empty()).unwrap()).await;
    let text = String::from_utf8(list.body.clone()).unwrap();
    let mut shown = list.json()["items"][0].clone();
    shown["last_used_at"] = json!(null);
    assert_eq!(shown, made["api_key"]);
    assert!(!text.contains(&key) && !text.contains("hash"), "{text}");
    for name in ["", "  ", "a\u{7}", &"a".repeat(65)] {
        let refused = bench.post("/v1/api-keys", json!({"name": name}).to_string()).await;
        assert_eq!(refused.error(), (422, "invalid_value".into(), Some("name".into())), "{name}");
    }
}

#[tokio::test]
async fn the_first_start_makes_one_key_and_keeps_only_its_hash() {
    let store: Arc<Store> = Arc::new(Store::in_memory().await.unwrap());
    let mut entropy = Entropy::seeded(1);
    let (_, first) = Keys::open(Arc::clone(&store), None, &mut entropy).await.unwrap();
    let key = first.unwrap();
    let stored = store.keys().await.unwrap();
    assert_eq!(stored.len(), 1);
    assert!(!format!("{stored:?}").contains(key.expose()));
    assert!(key.expose().starts_with(&stored[0].prefix));
    let (_, second) = Keys::open(Arc::clone(&store), None, &mut entropy).await.unwrap();
    assert!(second.is_none());
    for weak in ["", "short", "with space 0123456789", &"x".repeat(257)] {
        let secret = Secret::new(weak);
        let opened = Keys::open(Arc::clone(&store), Some(&secret), &mut entropy).await;
        assert!(matches!(opened, Err(KeyError::Weak)), "{weak}");
    }
    let empty: Arc<Store> = Arc::new(Store::in_memory().await.unwrap());
    let secret = Secret::new("from-the-environment");
    let (_, first) = Keys::open(Arc::clone(&empty), Some(&secret), &mut entropy).await.unwrap();
    assert!(first.is_none());
    assert!(empty.keys().await.unwrap().is_empty());
}

#[tokio::test]
async fn request_ids_are_taken_if_harmless() {
    let bench = bench().await;
    let long = "a".repeat(65);
    let send = async |id: &str| {
        let request = request("GET", "/v1/calls/x").header("x-request-id", id);
        bench.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(send("trace-1_a.b").await.header("x-request-id"), "trace-1_a.b");
    for id in ["", "a b", "a\"b", "<script>", long.as_str()] {
        let answer = send(id).await;
        assert!(answer.header("x-request-id").starts_with("req_"), "{id}");
        assert_eq!(answer.code(), "call_not_found");
    }
}

#[tokio::test]
async fn every_answer_has_the_safe_headers() {
    let bench = bench().await;
    for path in ["/v1/calls", "/v1/nothing", "/healthz", "/docs/", "/v1/openapi.json"] {
        let answer = bench.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
        assert!(
            answer.header("content-security-policy").contains("frame-ancestors 'none'"),
            "{path}"
        );
        for absent in ["server", "access-control-allow-origin", "x-powered-by"] {
            assert!(!answer.headers.contains_key(absent), "{path}: {absent}");
        }
    }
    assert_eq!(bench.get("/v1/calls").await.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_panic_is_a_500_with_a_body() {
    let api = super::bench::api().await;
    let around = axum::middleware::from_fn_with_state(api, crate::api::request::around);
    let boom = axum::routing::get(|| async {
        if true {
            panic!("canary")
        }
    });
    let router: Router = Router::new().route("/boom", boom).layer(around);
    let request = Request::get("/boom").body(Body::empty()).unwrap();
    let response = router.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 500);
    let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["code"], "internal_error");
    assert!(!body.to_string().contains("canary"));
}

#[tokio::test]
async fn wrong_keys_are_counted_by_address() {
    let bench = bench().await;
    let send = async |from: &str| {
        let request = Request::get("/v1/status").header("x-api-key", "tk_wrong");
        let request = request.extension(Peer(from.parse().unwrap()));
        bench.send(request.body(Body::empty()).unwrap()).await.status.as_u16()
    };
    for port in 0..10 {
        assert_eq!(send(&format!("192.0.2.1:{}", 1_000 + port)).await, 401);
    }
    assert_eq!(send("192.0.2.1:5").await, 429);
    assert_eq!(send("[::ffff:192.0.2.1]:5").await, 429);
    assert_eq!(send("192.0.2.2:5").await, 401);
}
