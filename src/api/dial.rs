//! Placing a call: every field is checked before the switchboard is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::access::Principal;
use super::checks::{
    check_caller, check_destination, check_instructions, check_language, check_names, check_object,
    check_range, check_text, check_variables,
};
use super::crud::located;
use super::error::{ApiError, Code};
use super::extract::{Json, bad_field};
use crate::catalog::PrepareError;
use crate::schema::agent::Overrides;
use crate::schema::{AcceptedCall, CreateCall, ErrorBody};
use crate::switchboard::trunk::DestinationError;
use crate::switchboard::{DialError, DialRequest};
use crate::types::{AgentId, CallId, CallRecord, TrunkName};
use crate::usage::DialRefused;

/// Further headers of an INVITE.
const HEADERS_MAX: usize = 16;
/// Longest value of one, bytes.
const HEADER_BYTES_MAX: usize = 256;
/// Records of calls dialled last, for readers that are faster than the store's queue.
const DIALLED_MAX: usize = 256;

impl Api {
    fn remember(&self, record: CallRecord) {
        let mut dialled = self.dialled_lock();
        if dialled.len() >= DIALLED_MAX {
            dialled.pop_front();
        }
        dialled.push_back(record);
    }

    /// The record of a call that was dialled a moment ago, as it was queued.
    pub(super) fn dialled(&self, id: CallId) -> Option<CallRecord> {
        self.dialled_lock().iter().find(|record| record.id == id).cloned()
    }
}

/// Place a call
///
/// The call is queued and dialled at its trunk's rate. Follow it under `Location`, or by its event stream.
#[utoipa::path(post, path = "/v1/calls", operation_id = "create_call", tag = "calls",
    request_body(content = CreateCall, example = json!({
        "to_number": "+15550100", "agent_id": "reception", "first_message": "Hello, this is Ada.",
        "metadata": {"order": 42}, "ring_timeout_seconds": 30
    })),
    responses(
        (status = 202, description = "Queued", body = AcceptedCall,
            headers(("Location" = String, description = "Path of the call"))),
        (status = 400, description = "The body is not JSON", body = ErrorBody),
        (status = 402, description = "The month's budget is used up", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody,
            example = json!({"error": {"code": "invalid_number",
                "message": "a destination is an E.164 number such as `+15550100` or a SIP URI",
                "param": "to_number", "type": "validation", "hint": null,
                "request_id": "req_6d1f0c2b9a7e4f35"}})),
        (status = 503, description = "The server drains, or too many calls wait", body = ErrorBody),
    ))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<CreateCall>,
) -> Result<Response, ApiError> {
    api.check_webhook_url("webhook_url", body.webhook_url.as_deref())?;
    let inline = body.agent.as_ref().and_then(|agent| agent.webhook_url.as_deref());
    api.check_webhook_url("agent.webhook_url", inline)?;
    check(&body)?;
    let wishes = super::orders::wishes_of_call(&body)?;
    let mut request = request(body)?;
    request.organization_id = principal.organization;
    let record = match wishes {
        Some(wishes) => {
            let submitted = api.scheduler.submit_call(request, wishes).await;
            submitted.map_err(super::orders::refusal)?
        }
        None => api.switchboard.dial(request).await.map_err(refusal)?,
    };
    api.remember(record.clone());
    let response = (StatusCode::ACCEPTED, axum::Json(AcceptedCall::from(&record))).into_response();
    Ok(located(response, &format!("/v1/calls/{}", record.id)))
}

fn check(body: &CreateCall) -> Result<(), ApiError> {
    if body.agent.is_some() && body.agent_id.is_some() {
        return Err(bad_field("agent", "a call has `agent_id` or `agent`, not both"));
    }
    check_names(&body.variables)?;
    check_headers(&body.sip_headers)
}

/// What a call and an order have in common.
pub(super) fn request(body: CreateCall) -> Result<DialRequest, ApiError> {
    check_destination("to_number", &body.to_number)?;
    check_caller(body.from_number.as_deref())?;
    check_text("first_message", body.first_message.as_deref())?;
    check_instructions(body.instructions.as_deref())?;
    check_language(body.language.as_deref())?;
    check_range("ring_timeout_seconds", body.ring_timeout_seconds, 1, 600)?;
    check_range("max_duration_seconds", body.max_duration_seconds, 10, 86_400)?;
    check_variables("variables", &body.variables)?;
    check_object("metadata", &body.metadata)?;
    let context = body.context.filter(|context| !context.is_null());
    if let Some(context) = &context {
        let wrong = || bad_field("context", "`context` is an object");
        check_object("context", context.as_object().ok_or_else(wrong)?)?;
    }
    Ok(DialRequest {
        to: body.to_number,
        from: body.from_number,
        agent: body.agent_id.map(AgentId),
        trunk: body.trunk_id.map(TrunkName),
        inline: body.agent,
        overrides: Overrides {
            instructions: body.instructions,
            first_message: body.first_message,
            language: body.language,
            context,
            variables: body.variables,
            max_duration_seconds: body.max_duration_seconds,
            webhook_url: body.webhook_url,
        },
        sip_headers: body.sip_headers.into_iter().collect(),
        metadata: body.metadata.into(),
        ring_timeout_s: body.ring_timeout_seconds,
        ..DialRequest::default()
    })
}

/// Headers of a caller's own: none that SIP itself knows, and nothing that could begin another line.
fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if headers.len() > HEADERS_MAX {
        return Err(bad_field("sip_headers", format!("a call has at most {HEADERS_MAX} headers")));
    }
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let token = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let own = lower.starts_with("x-") || lower == "user-to-user";
        if !own || name.len() > 64 || !name.chars().all(token) {
            let message =
                "a header of your own is `User-to-User`, or `X-` and letters, digits and `-`";
            return Err(bad_field("sip_headers", message));
        }
        if value.len() > HEADER_BYTES_MAX || value.chars().any(char::is_control) {
            let message =
                format!("the value has at most {HEADER_BYTES_MAX} bytes and is on one line");
            return Err(bad_field(&format!("sip_headers.{name}"), message));
        }
    }
    Ok(())
}

/// The refusal of an agent whose texts have no final form.
pub(super) fn prepare_refusal(error: PrepareError) -> ApiError {
    let message = error.to_string();
    match error {
        PrepareError::Missing(name) => ApiError::because(Code::MissingField, message)
            .param(format!("variables.{name}"))
            .hint("give the value in `variables`, or the agent's variable a default"),
        PrepareError::Text { field, .. } => {
            ApiError::because(Code::InvalidValue, message).param(field)
        }
    }
}

/// The refusal of a destination by the dial limits.
pub(super) fn forbidden(refused: &DialRefused, field: &str) -> ApiError {
    let code = match refused.rule.is_of_the_day() {
        true => Code::DialLimitReached,
        false => Code::DestinationForbidden,
    };
    let hint = format!("allowed: {}; change `{}`, or ask who may", refused.allowed, refused.of);
    ApiError::because(code, refused.to_string()).param(field).hint(hint)
}

pub(super) fn refusal(error: DialError) -> ApiError {
    if let DialError::Inline(wrong) = &error {
        let param = format!("agent.{}", wrong.field);
        return ApiError::because(Code::InvalidValue, wrong.message.clone()).param(param);
    }
    if let DialError::Refused(refused) = &error {
        return forbidden(refused, "to_number");
    }
    if let DialError::Prepare(error) = error {
        return prepare_refusal(error);
    }
    let message = error.to_string();
    let (code, param) = match error {
        DialError::Destination(DestinationError::Format) => {
            (Code::InvalidNumber, Some("to_number"))
        }
        DialError::Destination(DestinationError::ReceiveOnly)
        | DialError::UnknownTrunk(_)
        | DialError::NoTrunk => (Code::UnknownTrunk, Some("trunk_id")),
        DialError::UnknownAgent(_) | DialError::NoAgent => (Code::UnknownAgent, Some("agent_id")),
        DialError::InactiveAgent(_) => (Code::UnknownAgent, Some("agent_id")),
        DialError::Refused(_) => (Code::DestinationForbidden, Some("to_number")),
        DialError::Inline(_) => (Code::InvalidValue, Some("agent")),
        DialError::Prepare(_) => (Code::InvalidValue, Some("instructions")),
        DialError::NumberNotAllowed => (Code::InvalidValue, Some("from_number")),
        DialError::Header { .. } => (Code::InvalidValue, Some("sip_headers")),
        DialError::From => (Code::InvalidNumber, Some("from_number")),
        DialError::BudgetExceeded(_) => (Code::BudgetExceeded, None),
        DialError::Draining => (Code::Draining, None),
        DialError::QueueFull => (Code::QueueFull, None),
        DialError::NotStored => (Code::StoreUnavailable, None),
    };
    let refused = ApiError::because(code, message);
    match param {
        Some(param) => refused.param(param),
        None => refused,
    }
}
