//! SIP trunks, changed while the server runs: what they say holds for the next call.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::Api;
use super::access::Principal;
use super::crud;
use super::error::ApiError;
use super::extract::{Json, JsonObject, Params, PathName};
use super::paging::PageParams;
use crate::catalog::Trunk;
use crate::schema::telephony::TrunkStatus;
use crate::schema::{ErrorBody, Page, SipTrunk, View, time};
use crate::types::TrunkName;

/// List SIP trunks
#[utoipa::path(get, path = "/v1/sip-trunks", operation_id = "list_sip_trunks", tag = "telephony",
    params(PageParams), responses(
        (status = 200, description = "Newest first; those of the configuration last", body = Page<View<SipTrunk>>),
    ))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<View<SipTrunk>>>, ApiError> {
    crud::list::<SipTrunk>(&api, &principal, &params).await
}

/// Add a SIP trunk
#[utoipa::path(post, path = "/v1/sip-trunks", operation_id = "create_sip_trunk", tag = "telephony",
    request_body(content = SipTrunk, example = json!({
        "name": "Carrier", "host": "sip.carrier.example", "username": "me", "password": "secret",
        "auth": "digest", "allowed_addresses": ["192.0.2.0/24"], "cps": 5})),
    responses(
        (status = 201, description = "Added; it takes calls from now on", body = View<SipTrunk>),
        (status = 409, description = "Taken", body = ErrorBody),
        (status = 422, description = "A field is wrong", body = ErrorBody),
    ))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<SipTrunk>,
) -> Result<Response, ApiError> {
    let answer = crud::create(&api, &principal, "/v1/sip-trunks", body).await?;
    api.switchboard.sync_trunks();
    Ok(answer)
}

/// Get a SIP trunk
#[utoipa::path(get, path = "/v1/sip-trunks/{id}", operation_id = "get_sip_trunk", tag = "telephony",
    params(("id" = String, Path, description = "Trunk")),
    responses(
        (status = 200, description = "The trunk, without its password", body = View<SipTrunk>),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<Response, ApiError> {
    crud::show::<SipTrunk>(&api, &principal, &path.id).await
}

/// Change a SIP trunk
///
/// A JSON merge patch: what is not named stays. It holds for the next call.
#[utoipa::path(patch, path = "/v1/sip-trunks/{id}", operation_id = "update_sip_trunk", tag = "telephony",
    params(("id" = String, Path, description = "Trunk")),
    request_body(content = Object, description = "Fields of the trunk; null clears one",
        example = json!({"cps": 5, "version": 1})),
    responses(
        (status = 200, description = "Changed", body = View<SipTrunk>),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "Read-only, or changed meanwhile", body = ErrorBody),
        (status = 422, description = "A field is wrong", body = ErrorBody),
    ))]
pub(super) async fn update(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let answer = crud::update::<SipTrunk>(&api, &principal, &path.id, &headers, body).await?;
    api.switchboard.sync_trunks();
    Ok(answer)
}

/// Delete a SIP trunk
#[utoipa::path(delete, path = "/v1/sip-trunks/{id}", operation_id = "delete_sip_trunk", tag = "telephony",
    params(("id" = String, Path, description = "Trunk")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "It stands in the configuration", body = ErrorBody),
    ))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<StatusCode, ApiError> {
    crud::catalog(&api).remove::<SipTrunk>(&principal.organization, &path.id).await?;
    api.switchboard.sync_trunks();
    Ok(StatusCode::NO_CONTENT)
}

/// State of a SIP trunk
#[utoipa::path(get, path = "/v1/sip-trunks/{id}/status", operation_id = "get_sip_trunk_status",
    tag = "telephony", params(("id" = String, Path, description = "Trunk")),
    responses(
        (status = 200, description = "Calls now, and what came of the last test", body = TrunkStatus),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn status(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<axum::Json<TrunkStatus>, ApiError> {
    Ok(axum::Json(state(&api, &*trunk(&api, &principal, &path.id)?)))
}

/// Test a SIP trunk
///
/// Sends OPTIONS and waits up to 5 s. Any answer shows that the peer is there.
#[utoipa::path(post, path = "/v1/sip-trunks/{id}/test", operation_id = "test_sip_trunk",
    tag = "telephony", params(("id" = String, Path, description = "Trunk")),
    responses(
        (status = 200, description = "What came of it", body = TrunkStatus),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn test(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<axum::Json<TrunkStatus>, ApiError> {
    let trunk = trunk(&api, &principal, &path.id)?;
    api.switchboard.ping(&trunk).await;
    Ok(axum::Json(state(&api, &trunk)))
}

fn trunk(api: &Api, principal: &Principal, id: &str) -> Result<Arc<Trunk>, ApiError> {
    let trunk = crud::catalog(api).trunk(&TrunkName(id.to_owned()));
    let own = trunk.filter(|trunk| trunk.organization_id == principal.organization);
    own.ok_or_else(crud::not_found::<SipTrunk>)
}

fn state(api: &Api, trunk: &Trunk) -> TrunkStatus {
    let last = api.switchboard.last_ping(&trunk.name);
    let answer = last.as_ref().and_then(|last| last.answer);
    let ms =
        |(_, took): (u16, std::time::Duration)| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let registration = api.switchboard.registration(&trunk.name);
    let word = registration.as_ref().map_or("not_required", |one| one.status.as_str());
    let refused = registration.as_ref().and_then(|one| one.error.clone());
    TrunkStatus {
        id: trunk.name.0.clone(),
        registration_status: word.to_owned(),
        registered_until: registration.as_ref().and_then(|one| one.until).map(time),
        state: api.switchboard.trunk_health(&trunk.name).as_str().to_owned(),
        active_calls: api.switchboard.live_on(&trunk.name),
        reachable: last.as_ref().map(|last| last.answer.is_some()),
        rtt_ms: answer.map(ms),
        sip_status: answer.map(|(status, _)| status),
        checked_at: last.as_ref().map(|last| time(last.at)),
        last_error: last.and_then(|last| last.error).map(str::to_owned).or(refused),
    }
}
