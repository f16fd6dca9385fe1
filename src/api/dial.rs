//! Placing a call: every field is checked before the switchboard is asked.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Api;
use super::access::Principal;
use super::error::{ApiError, Code};
use super::extract::{Json, bad_field};
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
        first_message: body.first_message,
        language: body.language,
        metadata,
        ring_timeout_s: body.ring_timeout_seconds,
        max_duration_s: body.max_duration_seconds,
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

pub(super) fn refusal(error: DialError) -> ApiError {
    let message = error.to_string();
    let (code, param) = match error {
        DialError::Destination(DestinationError::Format) => {
            (Code::InvalidNumber, Some("to_number"))
        }
        DialError::Destination(DestinationError::ReceiveOnly)
        | DialError::UnknownTrunk(_)
        | DialError::NoTrunk => (Code::UnknownTrunk, Some("trunk_id")),
        DialError::UnknownAgent(_) | DialError::NoAgent => (Code::UnknownAgent, Some("agent_id")),
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
