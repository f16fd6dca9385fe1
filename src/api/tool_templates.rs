//! Tool templates: tools that several agents share.

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
use crate::schema::{ErrorBody, Page, ToolTemplate, View};

/// List tool templates
#[utoipa::path(get, path = "/v1/tool-templates", operation_id = "list_tool_templates", tag = "templates",
    params(PageParams), responses(
        (status = 200, description = "Newest first; those of the configuration last", body = Page<View<ToolTemplate>>),
    ))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<View<ToolTemplate>>>, ApiError> {
    crud::list::<ToolTemplate>(&api, &principal, &params).await
}

/// Create a tool template
#[utoipa::path(post, path = "/v1/tool-templates", operation_id = "create_tool_template", tag = "templates",
    request_body(content = ToolTemplate, example = json!({"name": "Opening hours", "tool": {
        "type": "http", "name": "hours", "description": "When we are open",
        "url": "https://tools.example/hours"}})),
    responses(
        (status = 201, description = "Created", body = View<ToolTemplate>),
        (status = 422, description = "A field is wrong", body = ErrorBody),
    ))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<ToolTemplate>,
) -> Result<Response, ApiError> {
    crud::create(&api, &principal, "/v1/tool-templates", body).await
}

/// Get a tool template
#[utoipa::path(get, path = "/v1/tool-templates/{id}", operation_id = "get_tool_template", tag = "templates",
    params(("id" = String, Path, description = "Template")),
    responses(
        (status = 200, description = "The template", body = View<ToolTemplate>),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<Response, ApiError> {
    crud::show::<ToolTemplate>(&api, &principal, &path.id).await
}

/// Change a tool template
///
/// A JSON merge patch: what is not named stays. It holds for the next call.
#[utoipa::path(patch, path = "/v1/tool-templates/{id}", operation_id = "update_tool_template", tag = "templates",
    params(("id" = String, Path, description = "Template")),
    request_body(content = Object, description = "Fields of the template"),
    responses(
        (status = 200, description = "Changed", body = View<ToolTemplate>),
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
    crud::update::<ToolTemplate>(&api, &principal, &path.id, &headers, body).await
}

/// Delete a tool template
#[utoipa::path(delete, path = "/v1/tool-templates/{id}", operation_id = "delete_tool_template", tag = "templates",
    params(("id" = String, Path, description = "Template")),
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
    crud::catalog(&api).remove::<ToolTemplate>(&principal.organization, &path.id).await?;
    Ok(StatusCode::NO_CONTENT)
}
