//! Analysis templates: questions about a call once it is over.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::Api;
use super::access::Principal;
use super::crud;
use super::error::{ApiError, Code};
use super::extract::{Json, JsonObject, Params, PathName};
use super::paging::PageParams;
use crate::providers::llm::{Message, Role};
use crate::schema::template::{AnalysisTestResult, TestAnalysis};
use crate::schema::{AnalysisTemplate, ErrorBody, Page, View};
use crate::types::AgentId;

/// List analysis templates
#[utoipa::path(get, path = "/v1/analysis-templates", operation_id = "list_analysis_templates", tag = "templates",
    params(PageParams), responses(
        (status = 200, description = "Newest first; those of the configuration last", body = Page<View<AnalysisTemplate>>),
    ))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<View<AnalysisTemplate>>>, ApiError> {
    crud::list::<AnalysisTemplate>(&api, &principal, &params).await
}

/// Create an analysis template
#[utoipa::path(post, path = "/v1/analysis-templates", operation_id = "create_analysis_template", tag = "templates",
    request_body(content = AnalysisTemplate, example = json!({"name": "mood",
        "user_prompt": "How did the caller feel?\n\n{transcript}",
        "schema": {"type": "object", "properties": {"mood": {"type": "string"}}}})),
    responses(
        (status = 201, description = "Created", body = View<AnalysisTemplate>),
        (status = 422, description = "A field is wrong", body = ErrorBody),
    ))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<AnalysisTemplate>,
) -> Result<Response, ApiError> {
    crud::create(&api, &principal, "/v1/analysis-templates", body).await
}

/// Get an analysis template
#[utoipa::path(get, path = "/v1/analysis-templates/{id}", operation_id = "get_analysis_template", tag = "templates",
    params(("id" = String, Path, description = "Template")),
    responses(
        (status = 200, description = "The template", body = View<AnalysisTemplate>),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<Response, ApiError> {
    crud::show::<AnalysisTemplate>(&api, &principal, &path.id).await
}

/// Change an analysis template
///
/// A JSON merge patch: what is not named stays. It holds for the next call.
#[utoipa::path(patch, path = "/v1/analysis-templates/{id}", operation_id = "update_analysis_template", tag = "templates",
    params(("id" = String, Path, description = "Template")),
    request_body(content = Object, description = "Fields of the template"),
    responses(
        (status = 200, description = "Changed", body = View<AnalysisTemplate>),
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
    crud::update::<AnalysisTemplate>(&api, &principal, &path.id, &headers, body).await
}

/// Delete an analysis template
#[utoipa::path(delete, path = "/v1/analysis-templates/{id}", operation_id = "delete_analysis_template", tag = "templates",
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
    crud::catalog(&api).remove::<AnalysisTemplate>(&principal.organization, &path.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Try an analysis template
///
/// Asks the language model of an agent about a transcript, as after a call.
#[utoipa::path(post, path = "/v1/analysis-templates/{id}/test",
    operation_id = "test_analysis_template", tag = "templates",
    params(("id" = String, Path, description = "Template")),
    request_body(content = TestAnalysis, example = json!({
        "agent_id": "0198…", "transcript": "user: Thank you, that was quick!"})),
    responses(
        (status = 200, description = "What the model said", body = AnalysisTestResult),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 422, description = "There is no such agent", body = ErrorBody),
    ))]
pub(super) async fn test(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
    Json(body): Json<TestAnalysis>,
) -> Result<axum::Json<AnalysisTestResult>, ApiError> {
    let catalog = crud::catalog(&api);
    let row = catalog.snapshot().row::<AnalysisTemplate>(&principal.organization, &path.id);
    let template = row.ok_or_else(crud::not_found::<AnalysisTemplate>)?;
    let agent = catalog.ready(&principal.organization, &AgentId(body.agent_id));
    let agent = agent.ok_or_else(|| ApiError::new(Code::UnknownAgent).param("agent_id"))?;
    let mut agent = (*agent.snapshot).clone();
    let schema = &template.doc.schema;
    agent.prompt = format!(
        "{}\n\nAnswer with JSON only, of this JSON Schema: {schema}",
        template.doc.system_prompt
    )
    .trim()
    .to_owned()
    .into();
    let question = template.doc.user_prompt.replace("{transcript}", &body.transcript);
    let messages = vec![Message::new(Role::User, question)];
    let said = super::think::think(&agent, messages, api.new_request_id()).await;
    let bare = said.text.trim().trim_start_matches("```json").trim_matches('`').trim();
    Ok(axum::Json(AnalysisTestResult {
        output: serde_json::from_str(bare).ok(),
        text: said.text,
        error: said.error,
        duration_ms: said.duration_ms,
    }))
}
