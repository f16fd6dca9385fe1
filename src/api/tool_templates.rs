//! Tool templates: tools that several agents share.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::Api;
use super::access::Principal;
use super::checks::{check_names, check_variables};
use super::crud;
use super::error::ApiError;
use super::extract::{Json, JsonObject, Params, PathName, bad_field};
use super::paging::PageParams;
use crate::net::clock;
use crate::schema::template::{TestTool, ToolTestResult};
use crate::schema::{ErrorBody, Page, ToolTemplate, View};
use crate::tools::{Facts, ToolSpec};
use crate::types::{CallRecord, Direction};

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
    request_body(content = Object, description = "Fields of the template; null clears one",
        example = json!({"description": "When we are open"})),
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

/// Try a tool template
///
/// Asks the tool's server as a call would, with a call that never was. A tool that the call does itself is only told.
#[utoipa::path(post, path = "/v1/tool-templates/{id}/test", operation_id = "test_tool_template", tag = "templates",
    params(("id" = String, Path, description = "Template")),
    request_body(content = TestTool, example = json!({"arguments": {"day": "2026-11-23"}})),
    responses(
        (status = 200, description = "What the model would be told", body = ToolTestResult),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 422, description = "A field is wrong", body = ErrorBody),
    ))]
pub(super) async fn test(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
    Json(body): Json<TestTool>,
) -> Result<axum::Json<ToolTestResult>, ApiError> {
    check_names(&body.variables)?;
    check_variables("variables", &body.variables)?;
    let row = crud::catalog(&api).snapshot();
    let row = row.row::<ToolTemplate>(&principal.organization, &path.id);
    let template = row.ok_or_else(crud::not_found::<ToolTemplate>)?;
    let spec = ToolSpec::compile(&template.doc.tool)
        .map_err(|error| bad_field(&format!("tool.{}", error.field), error.message))?;
    let mut record = CallRecord::new(api.new_call_id(), Direction::Outbound, clock::wall());
    record.organization_id = principal.organization.clone();
    record.is_test = true;
    let facts = Facts { record, variables: body.variables, webhook_url: None };
    let start = clock::now();
    let arguments = serde_json::Value::Object(body.arguments);
    let done = api.switchboard.tools().trial(&spec, &arguments, facts).await;
    let took = clock::now().saturating_duration_since(start);
    Ok(axum::Json(ToolTestResult {
        text: done.outcome.text,
        is_error: done.outcome.is_error,
        status_code: done.outcome.status_code,
        action: done.action.map(|action| action.as_str().to_owned()),
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }))
}
