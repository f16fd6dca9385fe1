//! Analysis templates: questions about a call once it is over.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::Api;
use super::access::Principal;
use super::crud;
use super::error::{ApiError, Code};
use super::extract::{Json, JsonObject, Params, PathName, bad_field};
use super::paging::PageParams;
use crate::after::trial;
use crate::net::clock;
use crate::schema::template::{AnalysisTestResult, TestAnalysis};
use crate::schema::{AnalysisTemplate, ErrorBody, Page, View};
use crate::types::{AgentId, AnalysisSpec, CallRecord, Direction};

/// Longest transcript of a test, characters.
const TRANSCRIPT_CHARS_MAX: usize = 50_000;
/// Longest wait for the model's answers; below that of a request.
const TRIAL_WAIT: Duration = Duration::from_secs(30);

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
    request_body(content = Object, description = "Fields of the template; null clears one",
        example = json!({"user_prompt": "How did the caller feel?\n\n{transcript}"})),
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
    if body.transcript.chars().count() > TRANSCRIPT_CHARS_MAX {
        let message = format!("`transcript` has at most {TRANSCRIPT_CHARS_MAX} characters");
        return Err(bad_field("transcript", message));
    }
    let catalog = crud::catalog(&api);
    let row = catalog.snapshot().row::<AnalysisTemplate>(&principal.organization, &path.id);
    let template = row.ok_or_else(crud::not_found::<AnalysisTemplate>)?;
    let agent = catalog.ready(&principal.organization, &AgentId(body.agent_id));
    let agent = agent.ok_or_else(|| ApiError::new(Code::UnknownAgent).param("agent_id"))?;
    let spec = AnalysisSpec::from(&template.doc);
    let llm = match (&spec.provider, &spec.model) {
        (None, None) => Arc::clone(&agent.snapshot.llm),
        _ => {
            let (provider, model) = agent.snapshot.facts.after.model_of(&spec);
            catalog
                .llm(&principal.organization, provider, model)
                .map_err(|error| bad_field("agent_id", error.message))?
        }
    };
    let record = CallRecord::new(api.new_call_id(), Direction::Inbound, clock::wall());
    let start = clock::now();
    let asking = trial(llm, spec, record, body.transcript);
    let answer = tokio::time::timeout(TRIAL_WAIT, asking).await;
    let answer = answer.unwrap_or_else(|_| Err("the model did not answer in time".to_owned()));
    let took = clock::now().saturating_duration_since(start);
    let (output, error) = match answer {
        Ok(output) => (Some(output), None),
        Err(error) => (None, Some(error)),
    };
    Ok(axum::Json(AnalysisTestResult {
        text: output.as_ref().map(text_of).unwrap_or_default(),
        output,
        error,
        duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }))
}

/// Text as it is, anything else as JSON.
fn text_of(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
