//! The do-not-call list: numbers that no outbound call of the organization goes to.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Principal;
use super::error::{ApiError, Code};
use super::extract::{Json, Params, bad_field};
use super::paging::{PageParams, Paging};
use crate::net::clock;
use crate::schema::batch::{CreateDoNotCall, DoNotCall, DoNotCallAdded};
use crate::schema::{ErrorBody, Page};
use crate::types::PhoneNumber;
use crate::types::id::resource_id;
use crate::types::order::DoNotCallRecord;

/// Most numbers of one request.
const NUMBERS_MAX: usize = 1_000;
/// Longest reason, characters.
const REASON_CHARS_MAX: usize = 500;

/// Routes that only look.
pub(super) fn reading() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Routes that change something.
pub(super) fn writing() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(delete))
}

/// List numbers nobody is to call
///
/// Newest first, or the one entry of `phone_number`.
#[utoipa::path(get, path = "/v1/do-not-call", operation_id = "list_do_not_call", tag = "campaigns",
    params(PageParams, ("phone_number" = Option<String>, Query, description = "Only this number, E.164")),
    responses(
        (status = 200, description = "One page", body = Page<DoNotCall>),
        (status = 400, description = "A parameter has a bad value", body = ErrorBody),
    ))]
async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<DoNotCall>>, ApiError> {
    params.only_list(&["phone_number"])?;
    let paging = Paging::read(&api, &principal, &params, "do-not-call").await?;
    let organization = &principal.organization;
    if let Some(number) = params.one("phone_number")? {
        let entry = api.store.do_not_call(organization, &with_plus(number)).await?;
        let items: Vec<DoNotCall> = entry.iter().map(DoNotCall::from).collect();
        let total = items.len() as u64;
        return Ok(paging.answer(items, total, None));
    }
    let found = api.store.list_do_not_call(organization, &paging.part()).await?;
    let items = found.items.iter().map(DoNotCall::from).collect();
    Ok(paging.answer(items, found.total, found.next))
}

/// In a query a `+` that is not escaped arrives as a blank.
fn with_plus(number: &str) -> String {
    let bare = number.trim_start_matches([' ', '+']);
    format!("+{bare}")
}

/// Put numbers on the do-not-call list
///
/// Checked before each dial; calls that come in are not affected. A number that is listed already stays as it is.
#[utoipa::path(post, path = "/v1/do-not-call", operation_id = "create_do_not_call", tag = "campaigns",
    request_body(content = CreateDoNotCall, example = json!({"phone_number": "+15550100", "reason": "asked us to stop"})),
    responses(
        (status = 201, description = "Listed", body = DoNotCallAdded),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
    ))]
async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<CreateDoNotCall>,
) -> Result<Response, ApiError> {
    let mut numbers: Vec<(String, String)> = Vec::new();
    if let Some(number) = body.phone_number {
        numbers.push(("phone_number".to_owned(), number));
    }
    for (at, number) in body.phone_numbers.unwrap_or_default().into_iter().enumerate() {
        numbers.push((format!("phone_numbers[{at}]"), number));
    }
    if numbers.is_empty() || numbers.len() > NUMBERS_MAX {
        let message = format!("a request has 1 to {NUMBERS_MAX} numbers");
        return Err(ApiError::because(Code::MissingField, message).param("phone_number"));
    }
    if body.reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX) {
        let message = format!("`reason` has at most {REASON_CHARS_MAX} characters");
        return Err(bad_field("reason", message));
    }
    let now = clock::wall();
    let mut entries = Vec::with_capacity(numbers.len());
    for (param, number) in numbers {
        PhoneNumber::parse(&number).map_err(|error| {
            ApiError::because(Code::InvalidNumber, error.to_string()).param(param)
        })?;
        entries.push(DoNotCallRecord {
            id: api.entropy(|entropy| resource_id(clock::unix_ms(), entropy)),
            organization_id: principal.organization.clone(),
            phone_number: number.into(),
            reason: body.reason.clone(),
            created_at: now,
        });
    }
    let added = api.store.insert_do_not_call(&entries).await?;
    let mut items = Vec::with_capacity(entries.len());
    for entry in &entries {
        let number = entry.phone_number.reveal();
        let kept = api.store.do_not_call(&principal.organization, number).await?;
        items.push(DoNotCall::from(kept.as_ref().unwrap_or(entry)));
    }
    Ok((StatusCode::CREATED, axum::Json(DoNotCallAdded { added, items })).into_response())
}

/// Take a number off the do-not-call list
///
/// The number stands in the query, with its `+` as `%2B` or left out.
#[utoipa::path(delete, path = "/v1/do-not-call", operation_id = "delete_do_not_call", tag = "campaigns",
    params(("phone_number" = String, Query, description = "E.164")),
    responses(
        (status = 204, description = "Taken off"),
        (status = 404, description = "It is not on the list", body = ErrorBody),
    ))]
async fn delete(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<StatusCode, ApiError> {
    params.only(&["phone_number"])?;
    let missing = || {
        ApiError::because(Code::MissingField, "`phone_number` is required").param("phone_number")
    };
    let number = params.one("phone_number")?.ok_or_else(missing)?;
    if api.store.delete_do_not_call(&principal.organization, &with_plus(number)).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(ApiError::new(Code::NumberNotListed).param("phone_number"))
}
