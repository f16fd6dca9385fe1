//! The server about itself: alive, ready, its numbers, its state, and the request to stop taking calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Api;
use super::access::Principal;
use super::error::ApiError;
use super::extract::Params;
use super::stream::STREAMS_MAX;
use crate::net::clock;
use crate::schema::detail::StatusLimits;
use crate::schema::service::Check;
use crate::schema::{ErrorBody, Health, Ready, Status};
use crate::store::{PageRequest, Query};
use crate::types::OrganizationId;

/// A store that does not answer in this time makes the server not ready.
const STORE_WAIT: Duration = Duration::from_secs(2);
/// Room for an hour of ten recordings; with less, the server is not ready.
const DISK_BYTES_MIN: u64 = 64 * 1_048_576;
/// How long calls may go on after a drain was asked for here: as long as a call may last. Whoever
/// stops the process sets the shorter limit.
const DRAIN_DEADLINE: Duration = Duration::from_secs(86_400);

/// Is the process alive?
#[utoipa::path(get, path = "/healthz", tag = "service", security(()), responses(
    (status = 200, description = "It is", body = Health),
))]
pub(super) async fn healthz() -> axum::Json<Health> {
    axum::Json(Health { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// Does the server take calls?
///
/// The checks say why not.
#[utoipa::path(get, path = "/readyz", tag = "service", security(()), responses(
    (status = 200, description = "It does", body = Ready),
    (status = 503, description = "It does not", body = Ready),
))]
pub(super) async fn readyz(State(api): State<Arc<Api>>) -> Response {
    let draining = api.switchboard.is_draining();
    let mut checks = vec![
        check("admission", draining.then_some("the server drains")),
        check("store", store_trouble(&api).await),
        check("disk", disk_trouble(&api).await),
    ];
    checks.extend((api.checks)());
    let ready = Ready::new(checks);
    let status = if ready.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(ready)).into_response()
}

fn check(name: &str, trouble: Option<&str>) -> Check {
    Check { name: name.to_owned(), ok: trouble.is_none(), reason: trouble.map(str::to_owned) }
}

async fn store_trouble(api: &Api) -> Option<&'static str> {
    let Ok(page) = PageRequest::new(None, Some(1)) else { return None };
    let query = Query::default();
    match tokio::time::timeout(STORE_WAIT, api.store.list(&query, page)).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => {
            let error = crate::telemetry::chain::chain(&error).to_string();
            tracing::error!(error, "failed to read the store for readiness");
            Some("the database cannot be read")
        }
        Err(_) => Some("the database does not answer"),
    }
}

/// Whether recordings can be written, and have room for a while.
async fn disk_trouble(api: &Api) -> Option<&'static str> {
    let recordings = api.recordings.clone();
    let look = tokio::task::spawn_blocking(move || recordings.free_bytes());
    match tokio::time::timeout(STORE_WAIT, look).await {
        Ok(Ok(Ok(free))) if free < DISK_BYTES_MIN => Some("the volume of the recordings is full"),
        Ok(Ok(Ok(_))) => None,
        Ok(_) => Some("the directory of the recordings cannot be used"),
        Err(_) => Some("the volume of the recordings does not answer"),
    }
}

/// Numbers for Prometheus
///
/// Text format 0.0.4.
#[utoipa::path(get, path = "/metrics", tag = "service", security(()), responses(
    (status = 200, description = "Every metric", content_type = "text/plain", body = String),
))]
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], api.metrics.render()).into_response()
}

/// Show the server's state
#[utoipa::path(get, path = "/v1/status", operation_id = "get_status", tag = "service", responses(
    (status = 200, description = "Version, load and trunks", body = Status),
))]
pub(super) async fn status(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Status>, ApiError> {
    params.only(&[])?;
    Ok(axum::Json(state(&api, &principal).await?))
}

async fn state(api: &Api, principal: &Principal) -> Result<Status, ApiError> {
    let organization = &principal.organization;
    let active_calls = match *organization == OrganizationId::default() {
        true => api.switchboard.live() as u64,
        false => api.store.active_calls(organization).await?,
    };
    let trunks = api.switchboard.directory().trunks();
    let streams = STREAMS_MAX.saturating_sub(api.streams.available_permits());
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: clock::now().saturating_duration_since(api.started_at).as_secs(),
        active_calls,
        draining: api.switchboard.is_draining(),
        trunks: trunks
            .iter()
            .filter(|trunk| trunk.organization_id == *organization)
            .map(|trunk| trunk.name.to_string())
            .collect(),
        event_streams: streams as u64,
        limits: StatusLimits {
            calls_max: api.switchboard.calls_max(),
            dial_queue_max: crate::switchboard::DIAL_QUEUE as u64,
            event_streams_max: STREAMS_MAX as u64,
            body_bytes_max: api.config.body_bytes_max as u64,
        },
    })
}

/// Stop taking calls
///
/// Live calls go on to their end; the process stays until it is stopped. There is no way back.
#[utoipa::path(post, path = "/v1/admin/drain", tag = "service", responses(
    (status = 202, description = "No more calls are taken", body = Status),
    (status = 401, description = "No key", body = ErrorBody),
))]
pub(super) async fn drain(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<(StatusCode, axum::Json<Status>), ApiError> {
    params.only(&[])?;
    if !api.drain_asked.swap(true, Ordering::Relaxed) {
        tracing::info!("a drain was asked for by the API");
        let switchboard = api.switchboard.clone();
        tokio::spawn(async move { switchboard.drain(DRAIN_DEADLINE).await });
        // The task closes the door at its first step; the answer must not say otherwise.
        while !api.switchboard.is_draining() {
            tokio::task::yield_now().await;
        }
    }
    Ok((StatusCode::ACCEPTED, axum::Json(state(&api, &principal).await?)))
}
