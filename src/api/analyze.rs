//! Making something of a call again: other values, other templates, another model.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::access::Principal;
use super::error::{ApiError, Code};
use super::extract::{Json, PathId, bad_field};
use crate::dsl::shape::Shape;
use crate::net::clock;
use crate::schema::analyze::{AnalyzeCall, InlineTemplate};
use crate::schema::{AnalysisTemplate, Call, ErrorBody};
use crate::store::Write;
use crate::types::{AfterPlan, AfterStatus, AnalysisSpec, CallRecord, OrganizationId, TurnRole};

/// Most templates of one request; each is a question to the model.
const TEMPLATES_MAX: usize = 16;
/// Longest name of a template, characters.
const NAME_CHARS_MAX: usize = 64;
/// Longest prompt of a template, characters.
const PROMPT_CHARS_MAX: usize = 20_000;

/// Analyse a call again
///
/// A call that is over gets another result, summary or analysis. Its statuses are `pending` until they are made; then
/// `call.analysis.ready` is told, and the end of the call is not told again. What fails leaves the value that was
/// there; outputs of other templates stay.
#[utoipa::path(post, path = "/v1/calls/{id}/analyze", operation_id = "analyze_call", tag = "calls",
    params(("id" = String, Path, description = "Identifier of the call")),
    request_body(content = AnalyzeCall, example = json!({
        "returns": {"confirmed": "boolean", "reschedule_to": "datetime", "mood": ["good", "bad"]},
        "summary": true
    })),
    responses(
        (status = 202, description = "Begun", body = Call,
            headers(("Location" = String, description = "Path of the call"))),
        (status = 404, description = "There is no such call", body = ErrorBody),
        (status = 409, description = "The call is live, held no conversation, or is being analysed",
            body = ErrorBody),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
    ))]
pub(super) async fn analyze(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    Json(body): Json<AnalyzeCall>,
) -> Result<Response, ApiError> {
    let mut record = api.call(&principal, id).await?;
    if !record.status.is_terminal() {
        return Err(ApiError::new(Code::CallNotOver));
    }
    if record.is_settling() {
        return Err(ApiError::new(Code::AnalysisPending));
    }
    let turns = api.store.turns(id).await?;
    if !turns.iter().any(|turn| turn.role == TurnRole::User) {
        return Err(ApiError::new(Code::NoConversation));
    }
    let templates = api.templates(&principal.organization, &body)?;
    plan(&api, &mut record, body, templates)?;
    record.updated_at = clock::wall();
    api.store.apply(&[Write::Settle(Box::new(record.clone()))]).await?;
    api.after.nudge(id);
    let response = (StatusCode::ACCEPTED, axum::Json(Call::from(&record))).into_response();
    Ok(super::crud::located(response, &format!("/v1/calls/{id}")))
}

/// Writes into the record what is wanted of it.
fn plan(
    api: &Api,
    record: &mut CallRecord,
    body: AnalyzeCall,
    templates: Vec<AnalysisSpec>,
) -> Result<(), ApiError> {
    let before = record.after.take().unwrap_or_default();
    let (llm, model) = match body.llm {
        Some(choice) => (choice.provider, choice.model),
        None if !before.llm.is_empty() => (before.llm, before.model),
        None => (
            record.providers.llm.as_ref().map(|used| used.provider.clone()).unwrap_or_default(),
            None,
        ),
    };
    if !api.after.has_model(&record.organization_id, &llm, model.as_deref()) {
        return Err(bad_field("llm", "there is no such language model: name one"));
    }
    let everything = body.returns.is_none()
        && body.summary.is_none()
        && body.analysis_template_ids.is_empty()
        && body.templates.is_empty();
    let templates = if everything { before.templates } else { templates };
    let summary = if everything { before.summary } else { body.summary.unwrap_or(false) };
    let result = body.returns.is_some() || (everything && record.returns.is_some());
    if !(result || summary || !templates.is_empty()) {
        return Err(bad_field("returns", "the call's agent wants nothing made: say what to make"));
    }
    if let Some(returns) = body.returns {
        Shape::read(&returns).map_err(|error| bad_field("returns", error.to_string()))?;
        record.returns = Some(returns);
    }
    let pending = Some(AfterStatus::Pending);
    if result {
        record.result_status = pending;
        record.result_error = None;
    }
    if summary {
        record.summary_status = pending;
    }
    if !templates.is_empty() {
        record.analysis_status = pending;
    }
    record.after = Some(AfterPlan { llm, model, summary, templates, rerun: true });
    Ok(())
}

impl Api {
    fn templates(
        &self,
        organization: &OrganizationId,
        body: &AnalyzeCall,
    ) -> Result<Vec<AnalysisSpec>, ApiError> {
        if body.analysis_template_ids.len() + body.templates.len() > TEMPLATES_MAX {
            let message = format!("at most {TEMPLATES_MAX} templates at once");
            return Err(bad_field("templates", message));
        }
        let snapshot = self.switchboard.directory().snapshot();
        let mut found = Vec::new();
        for (index, id) in body.analysis_template_ids.iter().enumerate() {
            let param = format!("analysis_template_ids[{index}]");
            let row = snapshot
                .row::<AnalysisTemplate>(organization, id)
                .ok_or_else(|| bad_field(&param, "there is no such analysis template"))?;
            found.push(AnalysisSpec::from(&row.doc));
        }
        for (index, template) in body.templates.iter().enumerate() {
            found.push(inline(template, &format!("templates[{index}]"))?);
        }
        let mut names: Vec<&str> = found.iter().map(|spec| spec.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() < found.len() {
            return Err(bad_field("templates", "two templates have the same name"));
        }
        Ok(found)
    }
}

fn inline(template: &InlineTemplate, param: &str) -> Result<AnalysisSpec, ApiError> {
    let length = template.name.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&length) {
        let message = format!("a name has 1 to {NAME_CHARS_MAX} characters");
        return Err(bad_field(&format!("{param}.name"), message));
    }
    for (field, text) in
        [("system_prompt", &template.system_prompt), ("user_prompt", &template.user_prompt)]
    {
        if text.chars().count() > PROMPT_CHARS_MAX {
            let message = format!("a prompt has at most {PROMPT_CHARS_MAX} characters");
            return Err(bad_field(&format!("{param}.{field}"), message));
        }
    }
    if let Some(schema) = &template.schema {
        Shape::of_schema(schema)
            .map_err(|error| bad_field(&format!("{param}.schema"), error.to_string()))?;
    }
    Ok(AnalysisSpec {
        name: template.name.clone(),
        system_prompt: template.system_prompt.clone(),
        user_prompt: template.user_prompt.clone(),
        schema: template.schema.clone().unwrap_or_default(),
        provider: None,
        model: None,
    })
}
