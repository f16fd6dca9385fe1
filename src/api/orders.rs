//! Call orders: requests that may take several calls.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Principal;
use super::checks::check_range;
use super::crud::located;
use super::dial;
use super::error::{ApiError, Code};
use super::extract::{Json, Params, PathIds, bad_field, bad_param};
use super::paging::{PageParams, Paging};
use crate::scheduler::orders::Wishes;
use crate::scheduler::{ScheduleError, campaigns, retry};
use crate::schema::order::{CallOrder, ConcurrencyLimit, CreateOrder, RetryInput, RetryNow};
use crate::schema::{CreateCall, ErrorBody, Page};
use crate::store::order::OrderQuery;
use crate::types::OrderId;
use crate::types::order::{Concurrency, OrderRecord, OrderStatus, RetryPlan};

/// Longest concurrency key, characters.
const KEY_CHARS_MAX: usize = 128;
/// Most calls at once of one concurrency key.
const KEY_CALLS_MAX: u32 = 1_000;

/// Routes that only look.
pub(super) fn reading() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

/// Routes that change something.
pub(super) fn writing() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(create)).routes(routes!(cancel)).routes(routes!(retry_now))
}

/// Filters of a list of orders.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are read by their names, and this documents them")]
struct ListParams {
    /// A status, or an alias of one, such as `cancelled`. Repeat it for any of several.
    status: Option<Vec<String>>,
    /// Orders of a batch.
    batch_id: Option<String>,
    /// Orders of a campaign.
    campaign_id: Option<String>,
}

/// Make a call order
///
/// Somebody is to be reached: the scheduler dials when the calling windows are open, and again while the outcome is
/// one that is tried again.
#[utoipa::path(post, path = "/v1/call-orders", operation_id = "create_order", tag = "orders",
    request_body(content = CreateOrder, example = json!({
        "to_number": "+15550100", "agent_id": "reception", "variables": {"name": "Ada"},
        "retry": {"max_retry_attempts": 2, "delay_seconds": 3600,
            "windows": [{"days": ["mon", "tue"], "start_time": "10:00", "end_time": "18:00"}]}
    })),
    responses(
        (status = 202, description = "Accepted", body = CallOrder,
            headers(("Location" = String, description = "Path of the order"))),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
        (status = 503, description = "The server drains", body = ErrorBody),
    ))]
async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<CreateOrder>,
) -> Result<Response, ApiError> {
    let body = CreateCall::from(body);
    api.check_webhook_url("webhook_url", body.webhook_url.as_deref())?;
    let wishes = wishes(&body, RetryPlan::default())?;
    api.check_webhook_url("webhook_url", body.webhook_url.as_deref())?;
    let mut request = dial::request(body)?;
    request.organization_id = principal.organization;
    let order = api.scheduler.submit(request, wishes).await.map_err(refusal)?;
    Ok(accepted(&format!("/v1/call-orders/{}", order.id), CallOrder::from(&order)))
}

/// 202 with the path of what was made.
pub(super) fn accepted(path: &str, body: impl serde::Serialize) -> Response {
    located((StatusCode::ACCEPTED, axum::Json(body)).into_response(), path)
}

/// The plan of a request; without a word of retries it is `base`.
pub(super) fn plan(input: Option<&RetryInput>, base: RetryPlan) -> Result<RetryPlan, ApiError> {
    match input {
        Some(input) => retry::plan(input, RetryPlan::default()).map_err(refusal),
        None => Ok(base),
    }
}

fn concurrency(limit: Option<&ConcurrencyLimit>) -> Result<Option<Concurrency>, ApiError> {
    let Some(limit) = limit else { return Ok(None) };
    let length = limit.key.chars().count();
    if length == 0 || length > KEY_CHARS_MAX {
        let message = format!("`key` has 1 to {KEY_CHARS_MAX} characters");
        return Err(bad_field("concurrency.key", message));
    }
    check_range("concurrency.max", Some(limit.max), 1, KEY_CALLS_MAX)?;
    Ok(Some(Concurrency { key: limit.key.clone(), max: limit.max }))
}

/// What `POST /v1/calls` wishes beyond a call: then the call is the first attempt of an order.
pub(super) fn wishes_of_call(body: &CreateCall) -> Result<Option<Wishes>, ApiError> {
    if body.retry.is_none() && body.scheduled_at.is_none() && body.concurrency.is_none() {
        return Ok(None);
    }
    wishes(body, RetryPlan::once()).map(Some)
}

fn wishes(body: &CreateCall, base: RetryPlan) -> Result<Wishes, ApiError> {
    Ok(Wishes {
        retry: plan(body.retry.as_ref(), base)?,
        concurrency: concurrency(body.concurrency.as_ref())?,
        scheduled_at: campaigns::time("scheduled_at", body.scheduled_at.as_deref())
            .map_err(refusal)?,
    })
}

/// The scheduler's refusals in the words of the API.
pub(super) fn refusal(error: ScheduleError) -> ApiError {
    let message = error.to_string();
    match error {
        ScheduleError::Invalid { param, .. } => bad_field(&param, message),
        ScheduleError::Dial(error) => dial::refusal(error),
        ScheduleError::NotFound(what) => ApiError::new(match what {
            "batch" => Code::BatchNotFound,
            "campaign" => Code::CampaignNotFound,
            "lead" => Code::LeadNotFound,
            _ => Code::OrderNotFound,
        })
        .param("id"),
        ScheduleError::State(_) => ApiError::because(Code::WrongState, message),
        ScheduleError::Duplicate { param } => ApiError::new(Code::DuplicateLead).param(param),
        ScheduleError::Store(error) => error.into(),
    }
}

/// Every `status` of a list, repeated or separated by commas.
pub(super) fn statuses<T>(
    params: &Params,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, ApiError> {
    let words: Vec<&str> = params.all("status").flat_map(|value| value.split(',')).collect();
    if words.len() > STATUS_FILTERS_MAX {
        let message = format!("at most {STATUS_FILTERS_MAX} values of `status`");
        return Err(bad_param("status", message));
    }
    let read = |word: &str| {
        parse(&word.trim().replace('-', "_")).ok_or_else(|| bad_param("status", "unknown `status`"))
    };
    words.into_iter().map(read).collect()
}

/// Most `status` parameters of one list.
const STATUS_FILTERS_MAX: usize = 16;

/// List call orders
///
/// Newest first, without the attempts.
#[utoipa::path(get, path = "/v1/call-orders", operation_id = "list_orders", tag = "orders", params(PageParams, ListParams), responses(
    (status = 200, description = "One page", body = Page<CallOrder>),
    (status = 400, description = "A parameter has a bad value", body = ErrorBody),
))]
async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<CallOrder>>, ApiError> {
    params.only_list(&["status", "batch_id", "campaign_id"])?;
    let paging = Paging::read(&api, &principal, &params, "order").await?;
    let query = OrderQuery {
        organization_id: principal.organization,
        status: statuses(&params, OrderStatus::parse)?,
        batch_id: params.id("batch_id")?,
        campaign_id: params.id("campaign_id")?,
        part: paging.part(),
    };
    let found = api.store.list_orders(&query).await?;
    let items = found.items.iter().map(CallOrder::from).collect();
    Ok(paging.answer(items, found.total, found.next))
}

/// Show a call order
///
/// With its attempts, newest first.
#[utoipa::path(get, path = "/v1/call-orders/{id}", operation_id = "get_order", tag = "orders",
    params(("id" = String, Path, description = "Identifier of the order")),
    responses(
        (status = 200, description = "The order", body = CallOrder),
        (status = 404, description = "There is no such order", body = ErrorBody),
    ))]
async fn show(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
) -> Result<axum::Json<CallOrder>, ApiError> {
    let id: OrderId = ids.get("id", Code::OrderNotFound)?;
    let order = api.scheduler.order(&principal.organization, id).await.map_err(refusal)?;
    detail(&api, &principal, &order).await.map(axum::Json)
}

/// An order with its attempts, each as the call is shown by itself.
async fn detail(
    api: &Api,
    principal: &Principal,
    order: &OrderRecord,
) -> Result<CallOrder, ApiError> {
    let mut attempts = Vec::new();
    for record in api.store.attempts(order.id).await? {
        attempts.push(api.show_call(principal, &record).await?);
    }
    Ok(CallOrder {
        last_attempt: attempts.first().cloned(),
        attempts: Some(attempts),
        ..CallOrder::from(order)
    })
}

/// Cancel a call order
///
/// No further dial. A call of it that waits or rings is canceled, an answered one goes on.
#[utoipa::path(post, path = "/v1/call-orders/{id}/cancel", operation_id = "cancel_order", tag = "orders",
    params(("id" = String, Path, description = "Identifier of the order")),
    responses(
        (status = 200, description = "The order", body = CallOrder),
        (status = 404, description = "There is no such order", body = ErrorBody),
        (status = 409, description = "It is over", body = ErrorBody),
    ))]
async fn cancel(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
) -> Result<axum::Json<CallOrder>, ApiError> {
    let id: OrderId = ids.get("id", Code::OrderNotFound)?;
    let order = api.scheduler.cancel_order(&principal.organization, id).await.map_err(refusal)?;
    detail(&api, &principal, &order).await.map(axum::Json)
}

/// Dial a call order now
///
/// Without waiting for its time, its delay or its calling windows. The limits of trunks still hold.
#[utoipa::path(post, path = "/v1/call-orders/{id}/retry-now", operation_id = "retry_order", tag = "orders",
    params(("id" = String, Path, description = "Identifier of the order")),
    request_body(content = RetryNow, example = json!({"ignore_window": true})),
    responses(
        (status = 202, description = "The order", body = CallOrder),
        (status = 404, description = "There is no such order", body = ErrorBody),
        (status = 409, description = "It is being dialled, or over", body = ErrorBody),
    ))]
async fn retry_now(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
    Json(body): Json<RetryNow>,
) -> Result<Response, ApiError> {
    let id: OrderId = ids.get("id", Code::OrderNotFound)?;
    let ignore = body.ignore_window.unwrap_or(true);
    let retried = api.scheduler.retry_now(&principal.organization, id, ignore).await;
    let order = retried.map_err(refusal)?;
    let body = detail(&api, &principal, &order).await?;
    Ok(accepted(&format!("/v1/call-orders/{}", order.id), body))
}
