//! Agents: kept with every version they had, and tried without a call.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::Api;
use super::access::Principal;
use super::checks::{check_names, check_text, check_variables};
use super::crud;
use super::error::ApiError;
use super::extract::{Json, JsonObject, Params, PathName, from_object};
use super::paging::{PageParams, Paging};
use crate::catalog::{CallFacts, SecretChange, prepare};
use crate::providers::llm::{Message, Role};
use crate::schema::agent::Overrides;
use crate::schema::template::{TestRole, TestTurn, TestTurnReply};
use crate::schema::{Agent, ErrorBody, Number, Page, View};
use crate::types::AgentId;

/// Messages before a test turn.
const HISTORY_MAX: usize = 100;

/// List agents
#[utoipa::path(get, path = "/v1/agents", operation_id = "list_agents", tag = "agents",
    params(PageParams), responses(
        (status = 200, description = "Newest first; those of the configuration last", body = Page<View<Agent>>),
    ))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<View<Agent>>>, ApiError> {
    crud::list::<Agent>(&api, &principal, &params).await
}

/// Create an agent
#[utoipa::path(post, path = "/v1/agents", operation_id = "create_agent", tag = "agents",
    request_body(content = Agent, example = json!({
        "name": "Front desk", "persona": "You are Ada of {{business_name}}.",
        "instructions": "Take bookings. Be brief.", "first_message": "Hello, this is Ada.",
        "llm": {"provider": "openai", "model": "gpt-4o-mini"}, "stt": "deepgram", "tts": "openai"})),
    responses(
        (status = 201, description = "Created", body = View<Agent>),
        (status = 422, description = "A field is wrong", body = ErrorBody),
    ))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<Agent>,
) -> Result<Response, ApiError> {
    api.check_webhook_url("webhook_url", body.webhook_url.as_deref())?;
    let answer = crud::create(&api, &principal, "/v1/agents", body).await?;
    warm(&api);
    Ok(answer)
}

/// Get an agent
#[utoipa::path(get, path = "/v1/agents/{id}", operation_id = "get_agent", tag = "agents",
    params(("id" = String, Path, description = "Agent")),
    responses(
        (status = 200, description = "The agent; also one that was put away", body = View<Agent>),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<Response, ApiError> {
    crud::show::<Agent>(&api, &principal, &path.id).await
}

/// Change an agent
///
/// A JSON merge patch: what is not named stays. It makes a version, which holds for the next call; calls that are
/// under way keep theirs.
#[utoipa::path(patch, path = "/v1/agents/{id}", operation_id = "update_agent", tag = "agents",
    params(("id" = String, Path, description = "Agent")),
    request_body(content = Object, description = "Fields of the agent; null clears one",
        example = json!({"instructions": "Be brief.", "version": 1})),
    responses(
        (status = 200, description = "Changed", body = View<Agent>),
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
    let url = body.get("webhook_url").and_then(serde_json::Value::as_str);
    api.check_webhook_url("webhook_url", url)?;
    let answer = crud::update::<Agent>(&api, &principal, &path.id, &headers, body).await?;
    warm(&api);
    Ok(answer)
}

/// Put an agent away
#[utoipa::path(delete, path = "/v1/agents/{id}", operation_id = "delete_agent", tag = "agents",
    params(("id" = String, Path, description = "Agent")),
    responses(
        (status = 204, description = "Put away: it takes no calls any more, its history stays"),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 409, description = "It stands in the configuration", body = ErrorBody),
    ))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<StatusCode, ApiError> {
    crud::catalog(&api).archive::<Agent>(&principal.organization, &path.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes changed agents ready before their next call, off the handlers' threads.
fn warm(api: &Api) {
    let catalog = crud::catalog(api).clone();
    tokio::task::spawn_blocking(move || catalog.warm());
}

/// List an agent's versions
#[utoipa::path(get, path = "/v1/agents/{id}/versions", operation_id = "list_agent_versions",
    tag = "agents", params(("id" = String, Path, description = "Agent"), PageParams),
    responses(
        (status = 200, description = "As it was, newest first", body = Page<View<Agent>>),
        (status = 404, description = "There is none", body = ErrorBody),
    ))]
pub(super) async fn versions(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
    params: Params,
) -> Result<axum::Json<Page<serde_json::Value>>, ApiError> {
    params.only_list(&[])?;
    let list = format!("version {}", path.id);
    let paging = Paging::read(&api, &principal, &params, &list).await?;
    let catalog = crud::catalog(&api);
    let row = catalog.find::<Agent>(&principal.organization, &path.id).await?;
    let row = row.ok_or_else(crud::not_found::<Agent>)?;
    if row.from_config {
        let only = serde_json::to_value(row.view()).unwrap_or_default();
        return Ok(paging.cut_fixed(&[only]));
    }
    let found = catalog.versions(&principal.organization, &path.id, paging.part()).await?;
    let agent = |mut doc: serde_json::Value| doc.get_mut("agent").map(serde_json::Value::take);
    let items = found.items.into_iter().filter_map(|item| agent(item.doc)).collect();
    Ok(paging.answer(items, found.total, found.next))
}

/// Body of the request that gives an agent a number.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NumberOf {
    number_id: String,
}

/// Let an agent answer a number
///
/// The number's `inbound_agent_id` becomes this agent.
#[utoipa::path(post, path = "/v1/agents/{id}/numbers", operation_id = "assign_agent_number",
    tag = "agents", params(("id" = String, Path, description = "Agent")),
    request_body(content = Object, example = json!({"number_id": "0198…"})),
    responses(
        (status = 200, description = "The number", body = View<Number>),
        (status = 404, description = "There is no such agent or number", body = ErrorBody),
        (status = 409, description = "The number stands in the configuration", body = ErrorBody),
    ))]
pub(super) async fn assign(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let NumberOf { number_id } = from_object(body)?;
    exists(&api, &principal, &path.id)?;
    set_agent(&api, &principal, &number_id, Some(path.id)).await
}

/// Take a number from an agent
#[utoipa::path(delete, path = "/v1/agents/{id}/numbers/{number_id}",
    operation_id = "unassign_agent_number", tag = "agents",
    params(("id" = String, Path, description = "Agent"),
        ("number_id" = String, Path, description = "Number")),
    responses(
        (status = 204, description = "The agent answers it no more"),
        (status = 404, description = "The agent does not answer this number", body = ErrorBody),
    ))]
pub(super) async fn unassign(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
) -> Result<StatusCode, ApiError> {
    exists(&api, &principal, &path.id)?;
    let snapshot = crud::catalog(&api).snapshot();
    let number = snapshot.row::<Number>(&principal.organization, &path.other);
    let is_its = |agent: &Option<String>| agent.as_deref() == Some(path.id.as_str());
    if !number.is_some_and(|number| is_its(&number.doc.inbound_agent_id)) {
        return Err(crud::not_found::<Number>());
    }
    set_agent(&api, &principal, &path.other, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Choose the number an agent shows
#[utoipa::path(put, path = "/v1/agents/{id}/primary-number",
    operation_id = "set_agent_primary_number", tag = "agents",
    params(("id" = String, Path, description = "Agent")),
    request_body(content = Object, example = json!({"number_id": "0198…"})),
    responses(
        (status = 200, description = "The agent, in a new version", body = View<Agent>),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 422, description = "There is no such number", body = ErrorBody),
    ))]
pub(super) async fn set_primary(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let NumberOf { number_id } = from_object(body)?;
    let mut change = serde_json::Map::new();
    change.insert("primary_number_id".to_owned(), number_id.into());
    let answer = crud::update::<Agent>(&api, &principal, &path.id, &headers, change).await?;
    warm(&api);
    Ok(answer)
}

fn exists(api: &Api, principal: &Principal, id: &str) -> Result<(), ApiError> {
    let row = crud::catalog(api).snapshot().row::<Agent>(&principal.organization, id);
    row.map(drop).ok_or_else(crud::not_found::<Agent>)
}

async fn set_agent(
    api: &Api,
    principal: &Principal,
    number: &str,
    agent: Option<String>,
) -> Result<Response, ApiError> {
    let change = |number: &Number| -> Result<(Number, SecretChange), ApiError> {
        Ok((Number { inbound_agent_id: agent, ..number.clone() }, SecretChange::Keep))
    };
    let row = crud::catalog(api).update(&principal.organization, number, None, change).await?;
    Ok(crud::answer(StatusCode::OK, &*row))
}

/// Try an agent
///
/// Text in, text out, with the agent's real language model and prompt; no call is made. Tools are not run.
#[utoipa::path(post, path = "/v1/agents/{id}/test-turn", operation_id = "test_agent_turn",
    tag = "agents", params(("id" = String, Path, description = "Agent")),
    request_body(content = TestTurn, example = json!({"text": "When are you open?"})),
    responses(
        (status = 200, description = "What it would say", body = TestTurnReply),
        (status = 404, description = "There is none", body = ErrorBody),
        (status = 422, description = "A variable has no value", body = ErrorBody),
    ))]
pub(super) async fn test_turn(
    State(api): State<Arc<Api>>,
    principal: Principal,
    path: PathName,
    Json(body): Json<TestTurn>,
) -> Result<axum::Json<TestTurnReply>, ApiError> {
    check_text("text", Some(&body.text))?;
    check_names(&body.variables)?;
    check_variables("variables", &body.variables)?;
    if body.history.len() > HISTORY_MAX {
        let message = format!("`history` has at most {HISTORY_MAX} messages");
        return Err(super::extract::bad_field("history", message));
    }
    exists(&api, &principal, &path.id)?;
    let agent = crud::catalog(&api).ready(&principal.organization, &AgentId(path.id));
    let agent = agent.ok_or_else(crud::not_found::<Agent>)?;
    let overrides = Overrides {
        variables: body.variables,
        context: body.context.filter(|context| !context.is_null()),
        ..Overrides::default()
    };
    let call = CallFacts { direction: "inbound", from: "", to: "", sip: None };
    let agent = prepare(&agent, &overrides, call).map_err(super::dial::prepare_refusal)?;
    if agent.realtime.is_some() && agent.facts.after.llm.is_empty() {
        let message =
            "a text is tried with `llm`, and this agent of the pipeline `realtime` names none";
        return Err(super::extract::bad_field("llm", message));
    }
    let mut messages = Vec::new();
    if let Some(context) = &agent.facts.context {
        let content = format!("Context of this call, as JSON: {}", context.reveal());
        messages.push(Message::new(Role::System, content));
    }
    messages.extend(body.history.into_iter().map(|message| {
        let role = match message.role {
            TestRole::User => Role::User,
            TestRole::Assistant => Role::Assistant,
        };
        Message::new(role, message.content)
    }));
    messages.push(Message::new(Role::User, body.text));
    let said = super::think::think(&agent, messages, api.new_request_id()).await;
    Ok(axum::Json(TestTurnReply {
        text: said.text,
        end_call: said.end_call,
        prompt: agent.prompt.reveal().clone(),
        error: said.error,
        first_token_ms: said.first_token_ms,
        duration_ms: said.duration_ms,
    }))
}
