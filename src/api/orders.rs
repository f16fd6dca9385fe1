//! Call orders: requests that may take several calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Principal;
use super::dial::{self, METADATA_BYTES_MAX, check_language, check_range, check_text, is_caller};
use super::error::{ApiError, Code};
use super::extract::{Json, Params, PathIds, bad_field, bad_param};
use crate::scheduler::orders::Wishes;
use crate::scheduler::{ScheduleError, campaigns, retry};
use crate::schema::agent::Overrides;
use crate::schema::order::{CallOrder, ConcurrencyLimit, CreateOrder, RetryInput, RetryNow};
use crate::schema::{CreateCall, ErrorBody, Page};
use crate::store::PageRequest;
use crate::store::order::OrderQuery;
use crate::switchboard::trunk::is_destination;
use crate::switchboard::{DialError, DialRequest};
use crate::types::order::{Concurrency, OrderRecord, OrderStatus, RetryPlan};
use crate::types::{AgentId, OrderId, TrunkName};

/// Most template variables of one recipient.
const VARIABLES_MAX: usize = 64;
/// Longest name of a variable, characters.
const VARIABLE_NAME_CHARS_MAX: usize = 64;
/// Longest value of a variable, characters.
const VARIABLE_CHARS_MAX: usize = 2_000;
/// Longest instructions, characters.
const INSTRUCTIONS_CHARS_MAX: usize = 50_000;
/// Longest address of a receiver, characters.
const URL_CHARS_MAX: usize = 2_048;
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
    /// Which page, from 1.
    #[param(minimum = 1, default = 1)]
    page: Option<u32>,
    /// Rows of a page. More than 100 is an error, not cut down.
    #[param(minimum = 1, maximum = 100, default = 20)]
    page_size: Option<u32>,
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
    let wishes = Wishes {
        retry: plan(body.retry.as_ref(), RetryPlan::default())?,
        concurrency: concurrency(body.concurrency.as_ref())?,
        scheduled_at: campaigns::time("scheduled_at", body.scheduled_at.as_deref())
            .map_err(refusal)?,
    };
    let mut request = check(body)?;
    request.organization_id = principal.organization;
    let order = api.scheduler.submit(request, wishes).await.map_err(refusal)?;
    Ok(accepted(&format!("/v1/call-orders/{}", order.id), CallOrder::from(&order)))
}

/// 202 with the path of what was made.
pub(super) fn accepted(path: &str, body: impl serde::Serialize) -> Response {
    let mut response = (StatusCode::ACCEPTED, axum::Json(body)).into_response();
    if let Ok(location) = HeaderValue::try_from(path) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn check(body: CreateOrder) -> Result<DialRequest, ApiError> {
    if !is_destination(&body.to_number) {
        return Err(dial::bad_destination("to_number"));
    }
    check_caller(body.from_number.as_deref())?;
    check_text("first_message", body.first_message.as_deref())?;
    check_language(body.language.as_deref())?;
    check_instructions("instructions", body.instructions.as_deref())?;
    check_range("ring_timeout_seconds", body.ring_timeout_seconds, 1, 600)?;
    check_range("max_duration_seconds", body.max_duration_seconds, 10, 86_400)?;
    check_url(body.webhook_url.as_deref())?;
    check_variables("variables", &body.variables)?;
    Ok(DialRequest {
        to: body.to_number,
        from: body.from_number,
        agent: body.agent_id.map(AgentId),
        trunk: body.trunk_id.map(TrunkName),
        overrides: Overrides {
            first_message: body.first_message,
            language: body.language,
            instructions: body.instructions,
            context: object("context", body.context)?,
            variables: body.variables,
            max_duration_seconds: body.max_duration_seconds,
            webhook_url: body.webhook_url,
        },
        metadata: object("metadata", Some(body.metadata))?.unwrap_or_default(),
        ring_timeout_s: body.ring_timeout_seconds,
        ..DialRequest::default()
    })
}

pub(super) fn check_caller(from: Option<&str>) -> Result<(), ApiError> {
    if from.is_some_and(|from| !is_caller(from)) {
        return Err(ApiError::because(Code::InvalidNumber, DialError::From.to_string())
            .param("from_number"));
    }
    Ok(())
}

fn check_instructions(param: &str, text: Option<&str>) -> Result<(), ApiError> {
    if text.is_some_and(|text| text.chars().count() > INSTRUCTIONS_CHARS_MAX) {
        let message = format!("`{param}` has at most {INSTRUCTIONS_CHARS_MAX} characters");
        return Err(bad_field(param, message));
    }
    Ok(())
}

pub(super) fn check_url(url: Option<&str>) -> Result<(), ApiError> {
    let Some(url) = url else { return Ok(()) };
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let good = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    if good && url.chars().count() <= URL_CHARS_MAX && !url.contains(char::is_whitespace) {
        return Ok(());
    }
    Err(bad_field("webhook_url", "`webhook_url` is an address with `http` or `https`"))
}

pub(super) fn check_variables(
    param: &str,
    variables: &BTreeMap<String, String>,
) -> Result<(), ApiError> {
    if variables.len() > VARIABLES_MAX {
        return Err(bad_field(param, format!("at most {VARIABLES_MAX} variables")));
    }
    for (name, value) in variables {
        let length = name.chars().count();
        if length == 0 || length > VARIABLE_NAME_CHARS_MAX {
            let message =
                format!("the name of a variable has 1 to {VARIABLE_NAME_CHARS_MAX} characters");
            return Err(bad_field(param, message));
        }
        if value.chars().count() > VARIABLE_CHARS_MAX {
            let message = format!("a variable has at most {VARIABLE_CHARS_MAX} characters");
            return Err(bad_field(param, message));
        }
    }
    Ok(())
}

/// An object of the client's own, not larger than is kept with every change of a call.
pub(super) fn object(
    param: &str,
    object: Option<serde_json::Map<String, serde_json::Value>>,
) -> Result<Option<serde_json::Value>, ApiError> {
    let Some(object) = object.map(serde_json::Value::Object) else { return Ok(None) };
    if object.to_string().len() > METADATA_BYTES_MAX {
        let message = format!("`{param}` has at most {METADATA_BYTES_MAX} bytes as JSON");
        return Err(bad_field(param, message));
    }
    Ok(Some(object))
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
    Ok(Some(Wishes {
        retry: plan(body.retry.as_ref(), RetryPlan::once())?,
        concurrency: concurrency(body.concurrency.as_ref())?,
        scheduled_at: campaigns::time("scheduled_at", body.scheduled_at.as_deref())
            .map_err(refusal)?,
    }))
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

/// The page that a list asks for.
pub(super) fn page(params: &Params) -> Result<PageRequest, ApiError> {
    PageRequest::new(params.number("page")?, params.number("page_size")?).map_err(|error| {
        let param = if error == crate::store::QueryError::Page { "page" } else { "page_size" };
        bad_param(param, error.to_string())
    })
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
#[utoipa::path(get, path = "/v1/call-orders", operation_id = "list_orders", tag = "orders", params(ListParams), responses(
    (status = 200, description = "One page", body = Page<CallOrder>),
    (status = 400, description = "A parameter has a bad value", body = ErrorBody),
))]
async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<CallOrder>>, ApiError> {
    params.only(&["page", "page_size", "status", "batch_id", "campaign_id"])?;
    let page = page(&params)?;
    let query = OrderQuery {
        organization_id: principal.organization,
        status: statuses(&params, OrderStatus::parse)?,
        batch_id: id_param(&params, "batch_id")?,
        campaign_id: id_param(&params, "campaign_id")?,
        page,
    };
    let found = api.store.list_orders(&query).await?;
    Ok(axum::Json(Page {
        items: found.items.iter().map(CallOrder::from).collect(),
        total: found.total,
        page: page.page(),
        page_size: page.page_size(),
    }))
}

fn id_param<T: std::str::FromStr>(params: &Params, name: &str) -> Result<Option<T>, ApiError> {
    let Some(text) = params.one(name)? else { return Ok(None) };
    text.parse().map(Some).map_err(|_| bad_param(name, format!("`{name}` is an identifier")))
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
