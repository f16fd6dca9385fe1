//! Placing a call: every field is checked before the switchboard is asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Api;
use super::access::Principal;
use super::error::{ApiError, Code};
use super::extract::{Json, bad_field};
use crate::catalog::PrepareError;
use crate::schema::agent::Overrides;
use crate::schema::{AcceptedCall, CreateCall, ErrorBody};
use crate::switchboard::trunk::{DestinationError, is_destination};
use crate::switchboard::{DialError, DialRequest};
use crate::types::{AgentId, CallId, CallRecord, PhoneNumber, TrunkName};

/// Longest opening words, characters: about two minutes of speech.
const TEXT_CHARS_MAX: usize = 2_000;
/// Longest BCP 47 tag (RFC 5646 section 4.4.1).
const LANGUAGE_CHARS_MAX: usize = 35;
/// Longest caller name that is not a number.
const USER_CHARS_MAX: usize = 64;
/// Largest `metadata`, bytes of JSON: it is stored with every change of the call.
pub(super) const METADATA_BYTES_MAX: usize = 16_384;
/// Longest instructions, bytes.
const INSTRUCTIONS_BYTES_MAX: usize = 32_000;
/// Variables of a call.
const VARIABLES_MAX: usize = 64;
/// Longest URL, bytes.
const URL_BYTES_MAX: usize = 2_048;
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
    let wishes = super::orders::wishes_of_call(&body)?;
    let mut request = check(body)?;
    request.organization_id = principal.organization;
    let record = match wishes {
        Some(wishes) => {
            let submitted = api.scheduler.submit_call(request, wishes).await;
            submitted.map_err(super::orders::refusal)?
        }
        None => api.switchboard.dial(request).await.map_err(refusal)?,
    };
    api.remember(record.clone());
    let mut response =
        (StatusCode::ACCEPTED, axum::Json(AcceptedCall::from(&record))).into_response();
    if let Ok(location) = HeaderValue::try_from(format!("/v1/calls/{}", record.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn check(body: CreateCall) -> Result<DialRequest, ApiError> {
    if !is_destination(&body.to_number) {
        return Err(bad_destination("to_number"));
    }
    if let Some(from) = &body.from_number
        && !is_caller(from)
    {
        return Err(ApiError::because(Code::InvalidNumber, DialError::From.to_string())
            .param("from_number"));
    }
    check_text("first_message", body.first_message.as_deref())?;
    check_overrides(&body)?;
    check_language(body.language.as_deref())?;
    check_range("ring_timeout_seconds", body.ring_timeout_seconds, 1, 600)?;
    check_range("max_duration_seconds", body.max_duration_seconds, 10, 86_400)?;
    let metadata = serde_json::Value::Object(body.metadata);
    if metadata.to_string().len() > METADATA_BYTES_MAX {
        let message = format!("`metadata` has at most {METADATA_BYTES_MAX} bytes as JSON");
        return Err(bad_field("metadata", message));
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
            context: body.context.filter(|context| !context.is_null()),
            variables: body.variables,
            max_duration_seconds: body.max_duration_seconds,
            webhook_url: body.webhook_url,
        },
        sip_headers: body.sip_headers.into_iter().collect(),
        metadata,
        ring_timeout_s: body.ring_timeout_seconds,
        ..DialRequest::default()
    })
}

/// A BCP 47 tag.
pub(super) fn check_language(language: Option<&str>) -> Result<(), ApiError> {
    let Some(language) = language else { return Ok(()) };
    let tag = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let length = language.len();
    if length == 0 || length > LANGUAGE_CHARS_MAX || !language.chars().all(tag) {
        return Err(bad_field("language", "`language` is a BCP 47 tag, such as `en-GB`"));
    }
    Ok(())
}

/// What a call has different from its agent.
fn check_overrides(body: &CreateCall) -> Result<(), ApiError> {
    if body.agent.is_some() && body.agent_id.is_some() {
        return Err(bad_field("agent", "a call has `agent_id` or `agent`, not both"));
    }
    if body.instructions.as_ref().is_some_and(|text| text.len() > INSTRUCTIONS_BYTES_MAX) {
        let message = format!("`instructions` has at most {INSTRUCTIONS_BYTES_MAX} bytes");
        return Err(bad_field("instructions", message));
    }
    if let Some(text) = &body.instructions {
        crate::dsl::template::check(text)
            .map_err(|error| bad_field("instructions", error.to_string()))?;
    }
    if let Some(context) = body.context.as_ref().filter(|context| !context.is_null())
        && (!context.is_object() || context.to_string().len() > METADATA_BYTES_MAX)
    {
        let message = format!("`context` is an object of at most {METADATA_BYTES_MAX} bytes");
        return Err(bad_field("context", message));
    }
    check_variables(&body.variables)?;
    check_url("webhook_url", body.webhook_url.as_deref())?;
    check_headers(&body.sip_headers)
}

/// Values of variables: few, short and well named.
pub(super) fn check_variables(variables: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if variables.len() > VARIABLES_MAX {
        let message = format!("a call has at most {VARIABLES_MAX} variables");
        return Err(bad_field("variables", message));
    }
    for (name, value) in variables {
        if !crate::catalog::check::is_variable(name) {
            let message = "a variable is a letter or `_`, then letters, digits and `_`; at most 64";
            return Err(bad_field("variables", message));
        }
        if value.chars().count() > TEXT_CHARS_MAX {
            let message = format!("a variable has at most {TEXT_CHARS_MAX} characters");
            return Err(bad_field(&format!("variables.{name}"), message));
        }
    }
    Ok(())
}

fn check_url(param: &str, url: Option<&str>) -> Result<(), ApiError> {
    let Some(url) = url else { return Ok(()) };
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    if !is_web || url.len() > URL_BYTES_MAX || url.chars().any(|c| c.is_control() || c == ' ') {
        return Err(bad_field(param, format!("`{param}` is an `https://` or `http://` URL")));
    }
    Ok(())
}

/// Headers of a caller's own: none that SIP itself knows, and nothing that could begin another line.
fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if headers.len() > HEADERS_MAX {
        return Err(bad_field("sip_headers", format!("a call has at most {HEADERS_MAX} headers")));
    }
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let token = |c: char| c.is_ascii_alphanumeric() || c == '-';
        if !lower.starts_with("x-") || name.len() > 64 || !name.chars().all(token) {
            let message = "a header of your own is named `X-` and letters, digits and `-`";
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

/// The refusal of a destination.
pub(super) fn bad_destination(param: &str) -> ApiError {
    ApiError::because(Code::InvalidNumber, DestinationError::Format.to_string()).param(param)
}

pub(super) fn is_caller(text: &str) -> bool {
    if text.starts_with('+') {
        return PhoneNumber::parse(text).is_ok();
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= USER_CHARS_MAX && text.bytes().all(plain)
}

/// Text to be spoken: not empty, not endless.
pub(super) fn check_text(param: &str, text: Option<&str>) -> Result<(), ApiError> {
    let Some(text) = text else { return Ok(()) };
    if text.trim().is_empty() {
        return Err(bad_field(param, format!("`{param}` is empty")));
    }
    if text.chars().count() > TEXT_CHARS_MAX {
        let message = format!("`{param}` has at most {TEXT_CHARS_MAX} characters");
        return Err(bad_field(param, message));
    }
    Ok(())
}

/// A number in its range.
pub(super) fn check_range(
    param: &str,
    value: Option<u32>,
    min: u32,
    max: u32,
) -> Result<(), ApiError> {
    match value {
        Some(value) if !(min..=max).contains(&value) => {
            Err(bad_field(param, format!("`{param}` is {min} to {max}")))
        }
        _ => Ok(()),
    }
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

pub(super) fn refusal(error: DialError) -> ApiError {
    if let DialError::Inline(wrong) = &error {
        let param = format!("agent.{}", wrong.field);
        return ApiError::because(Code::InvalidValue, wrong.message.clone()).param(param);
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
        DialError::Inline(_) => (Code::InvalidValue, Some("agent")),
        DialError::Prepare(_) => (Code::InvalidValue, Some("instructions")),
        DialError::NumberNotAllowed => (Code::InvalidValue, Some("from_number")),
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
