//! Phone numbers: who answers them, and who shows them.

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
use crate::schema::{ErrorBody, Number, Page, View};

/// List phone numbers
#[utoipa::path(get, path = "/v1/numbers", operation_id = "list_numbers", tag = "telephony",
    params(PageParams), responses(
        (status = 200, description = "Newest first; those of the configuration last", body = Page<View<Number>>),
    ))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<View<Number>>>, ApiError> {
    crud::list::<Number>(&api, &principal, &params).await
}

/// Register a phone number
#[utoipa::path(post, path = "/v1/numbers", operation_id = "create_number", tag = "telephony",
    request_body(content = Number, example = json!({"number": "+15550100", "name": "Front desk"})),
    responses(
        (status = 201, description = "Registered", body = View<Number>),
        (status = 409, description = "The number is registered already", body = ErrorBody),
        (status = 422, description = "A field is wrong", body = ErrorBody),
    ))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<Number>,
) -> Result<Response, ApiError> {
    api.check_webhook_url("request_webhook_url", body.request_webhook_url.as_deref())?;
    crud::create(&api, &principal, "/v1/numbers", body).await
}

/// Get a phone number
#[utoipa::path(get, path = "/v1/numbers/{id}", operation_id = "get_number", tag = "telephony",
    params(("id" = String, Path, description = "Number")),
    responses(
        (status = 200, description = "The number", body = View<Number>),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<Response, ApiError> {
    crud::show::<Number>(&api, &principal, &path.id).await
}

/// Change a phone number
///
/// A JSON merge patch: what is not named stays. It holds for the next call.
#[utoipa::path(patch, path = "/v1/numbers/{id}", operation_id = "update_number", tag = "telephony",
    params(("id" = String, Path, description = "Number")),
    request_body(content = Object, description = "Fields of the number; null clears one",
        example = json!({"name": "Night desk", "inbound_enabled": true})),
    responses(
        (status = 200, description = "Changed", body = View<Number>),
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
    let url = body.get("request_webhook_url").and_then(serde_json::Value::as_str);
    api.check_webhook_url("request_webhook_url", url)?;
    crud::update::<Number>(&api, &principal, &path.id, &headers, body).await
}

/// Delete a phone number
#[utoipa::path(delete, path = "/v1/numbers/{id}", operation_id = "delete_number", tag = "telephony",
    params(("id" = String, Path, description = "Number")),
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
    crud::catalog(&api).remove::<Number>(&principal.organization, &path.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
