//! Against a server that speaks the shape of the API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::*;

/// How often a transcript was asked for.
type Asked = Arc<AtomicU32>;

fn allowed(headers: &HeaderMap) -> Result<(), StatusCode> {
    let key = headers.get("authorization").and_then(|value| value.to_str().ok());
    if key == Some("Bearer secret") { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
}

async fn list(headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    allowed(&headers)?;
    let items = [json!({"id": "other", "status": "completed"}), json!({"id": "ours"})];
    Ok(Json(json!({"items": items, "total": 2, "page": 1, "page_size": 20})))
}

async fn call(Path(id): Path<String>) -> Json<Value> {
    let identifier = if id == "ours" { "abc" } else { "xyz" };
    Json(json!({"id": id, "provider_call_id": identifier, "sip_call_id": null}))
}

async fn transcript(State(asked): State<Asked>, Path(id): Path<String>) -> Json<Value> {
    let status = if asked.fetch_add(1, Ordering::SeqCst) < 2 { "in_progress" } else { "completed" };
    let latency = json!({
        "vad_delay_ms": 300, "stt_finalize_ms": 120, "total_perceived_ms": 420, "canceled": false,
        "attempt": 1, "critical_path": null, "a_field_of_tomorrow": 1
    });
    Json(json!({"call_id": id, "status": status, "turns": [
        {"index": 0, "role": "user", "content": "hello", "spoken_content": null, "latency": null},
        {"index": 1, "role": "assistant", "content": "hi there", "spoken_content": "hi",
         "interrupted": true, "latency": latency}
    ]}))
}

async fn server() -> String {
    let router = Router::new()
        .route("/v1/calls", get(list))
        .route("/v1/calls/{id}", get(call))
        .route("/v1/calls/{id}/transcript", get(transcript))
        .with_state(Asked::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/")
}

fn access(url: String, key: &str) -> ApiAccess {
    ApiAccess { url, key: Secret::new(key) }
}

#[tokio::test]
async fn our_call_is_found_and_waited_for() {
    let mut api = Api::new(access(server().await, "secret")).unwrap();
    let transcript = api.final_transcript("abc", Duration::from_secs(20)).await.unwrap();
    assert!(transcript.is_final());
    assert_eq!((transcript.call_id.as_str(), transcript.turns.len()), ("ours", 2));
    let turn = &transcript.turns[1];
    assert!(turn.interrupted);
    assert_eq!(turn.latency.as_ref().unwrap().total_perceived_ms, Some(420));
}

#[tokio::test]
async fn what_goes_wrong_is_told() {
    let url = server().await;
    let mut stranger = Api::new(access(url.clone(), "wrong")).unwrap();
    let refused = stranger.transcript("abc").await;
    assert!(matches!(refused, Err(ApiError::Status { status: 401 })), "{refused:?}");
    let mut api = Api::new(access(url, "secret")).unwrap();
    assert!(matches!(api.transcript("nobody").await, Err(ApiError::NotFound)));
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let mut silent = Api::new(access(nobody, "secret")).unwrap();
    assert!(matches!(silent.transcript("abc").await, Err(ApiError::Http(_))));
}
