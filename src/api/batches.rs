//! Batches: many orders from one request, as JSON or CSV.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Principal;
use super::checks::{check_caller, check_object, check_url, check_variables};
use super::error::{ApiError, Code};
use super::extract::{Bulk, Params, PathIds, bad_field, bad_param, from_object};
use super::orders::{accepted, plan, refusal};
use super::paging::{PageParams, Paging, page};
use super::table;
use crate::scheduler::campaigns;
use crate::scheduler::orders::{BatchWishes, TARGETS_MAX, Target};
use crate::schema::agent::Overrides;
use crate::schema::batch::{Batch, BatchAccepted, BatchItem, BatchTarget, CreateBatch};
use crate::schema::{ErrorBody, Page};
use crate::store::Group;
use crate::switchboard::DialRequest;
use crate::types::order::RetryPlan;
use crate::types::{AgentId, BatchId, OrganizationId, TrunkName};

/// Longest name, characters.
const NAME_CHARS_MAX: usize = 200;

/// Routes that only look.
pub(super) fn reading() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(show_alias))
}

/// Routes that change something.
pub(super) fn writing() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(create_alias))
        .routes(routes!(cancel))
}

/// What a table of recipients cannot say itself.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are read by their names, and this documents them")]
struct TableParams {
    /// With `text/csv`: what people call the batch.
    name: Option<String>,
    /// With `text/csv`: number to show.
    from_number: Option<String>,
    /// With `text/csv`: agent that talks.
    agent_id: Option<String>,
    /// With `text/csv`: trunk to leave by.
    trunk_id: Option<String>,
    /// With `text/csv`: not before, RFC 3339.
    #[param(format = DateTime)]
    scheduled_at: Option<String>,
    /// With `text/csv`: most dials a second.
    cps: Option<f64>,
    /// With `text/csv`: most calls at once.
    max_concurrent: Option<u32>,
}

const TABLE_PARAMS: &[&str] =
    &["name", "from_number", "agent_id", "trunk_id", "scheduled_at", "cps", "max_concurrent"];

/// Make a batch
///
/// At most 10,000 recipients, as `to_numbers`, as `targets`, or as a table with a header row, whose other columns are
/// template variables. A number that is none becomes a failed item.
#[utoipa::path(post, path = "/v1/batches", operation_id = "create_batch", tag = "orders", params(TableParams),
    request_body(content(
        (CreateBatch = "application/json",
            example = json!({"to_numbers": ["+15550100", "+15550101"], "agent_id": "reception"})),
        (String = "text/csv", example = "to_number,name\n+15550100,Ada\n"),
    )),
    responses(
        (status = 202, description = "Accepted", body = BatchAccepted,
            headers(("Location" = String, description = "Path of the batch"))),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
        (status = 503, description = "The server drains", body = ErrorBody),
    ))]
async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
    body: Bulk,
) -> Result<Response, ApiError> {
    make(&api, principal.organization, &params, body).await
}

/// Make a batch
///
/// The same as `POST /v1/batches`.
#[utoipa::path(post, path = "/v1/calls/batch", operation_id = "create_call_batch", tag = "orders", params(TableParams),
    request_body(content(
        (CreateBatch = "application/json",
            example = json!({"to_numbers": ["+15550100", "+15550101"], "agent_id": "reception"})),
        (String = "text/csv", example = "to_number,name\n+15550100,Ada\n"),
    )),
    responses(
        (status = 202, description = "Accepted", body = BatchAccepted),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
    ))]
async fn create_alias(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
    body: Bulk,
) -> Result<Response, ApiError> {
    make(&api, principal.organization, &params, body).await
}

async fn make(
    api: &Api,
    organization: OrganizationId,
    params: &Params,
    body: Bulk,
) -> Result<Response, ApiError> {
    let (body, targets) = match body {
        Bulk::Csv(bytes) => {
            params.only(TABLE_PARAMS)?;
            (of_params(params)?, of_table(&bytes)?)
        }
        Bulk::Json(serde_json::Value::Object(map)) => {
            params.only(&[])?;
            let body: CreateBatch = from_object(map)?;
            let targets = of_body(&body)?;
            (body, targets)
        }
        Bulk::Json(_) => {
            return Err(ApiError::because(Code::InvalidValue, "the body is a JSON object"));
        }
    };
    if targets.is_empty() || targets.len() > TARGETS_MAX {
        let message = format!("a batch has 1 to {TARGETS_MAX} recipients");
        return Err(bad_field("targets", message));
    }
    check_caller(body.from_number.as_deref())?;
    check_url("webhook_url", body.webhook_url.as_deref())?;
    check_object("metadata", &body.metadata)?;
    campaigns::limits(body.cps, body.max_concurrent).map_err(refusal)?;
    if body.name.as_ref().is_some_and(|name| name.chars().count() > NAME_CHARS_MAX) {
        return Err(bad_field("name", format!("`name` has at most {NAME_CHARS_MAX} characters")));
    }
    let wishes = BatchWishes {
        retry: plan(body.retry.as_ref(), RetryPlan::once())?,
        scheduled_at: campaigns::time("scheduled_at", body.scheduled_at.as_deref())
            .map_err(refusal)?,
        cps: body.cps,
        max_concurrent: body.max_concurrent,
        metadata: body.metadata.into(),
        name: body.name,
    };
    let base = DialRequest {
        from: body.from_number,
        agent: body.agent_id.map(AgentId),
        trunk: body.trunk_id.map(TrunkName),
        overrides: Overrides { webhook_url: body.webhook_url, ..Overrides::default() },
        organization_id: organization,
        ..DialRequest::default()
    };
    let batch = api.scheduler.submit_batch(base, wishes, targets).await.map_err(refusal)?;
    let answer = BatchAccepted {
        batch_id: batch.id.to_string(),
        total: batch.total,
        status: "queued".to_owned(),
    };
    Ok(accepted(&format!("/v1/batches/{}", batch.id), answer))
}

fn of_body(body: &CreateBatch) -> Result<Vec<Target>, ApiError> {
    match (&body.to_numbers, &body.targets) {
        (Some(numbers), None) => {
            let target = |to: &String| Target { to: to.clone(), ..Target::default() };
            Ok(numbers.iter().map(target).collect())
        }
        (None, Some(targets)) => targets.iter().enumerate().map(target).collect(),
        (Some(_), Some(_)) => Err(bad_field("targets", "name `to_numbers` or `targets`, not both")),
        (None, None) => {
            let message = "`to_numbers` or `targets` is required";
            Err(ApiError::because(Code::MissingField, message).param("to_numbers"))
        }
    }
}

fn target((at, target): (usize, &BatchTarget)) -> Result<Target, ApiError> {
    check_variables(&format!("targets[{at}].variables"), &target.variables)?;
    check_object(&format!("targets[{at}].metadata"), &target.metadata)?;
    if let Some(context) = &target.context {
        check_object(&format!("targets[{at}].context"), context)?;
    }
    Ok(Target {
        to: target.to_number.clone(),
        variables: target.variables.clone(),
        context: target.context.clone().map(Into::into),
        metadata: Some(target.metadata.clone().into()),
    })
}

fn of_table(bytes: &[u8]) -> Result<Vec<Target>, ApiError> {
    let rows = table::read(bytes, TARGETS_MAX)?;
    rows.into_iter()
        .enumerate()
        .map(|(at, row)| {
            check_variables(&format!("rows[{at}]"), &row.variables)?;
            Ok(Target { to: row.number, variables: row.variables, ..Target::default() })
        })
        .collect()
}

fn of_params(params: &Params) -> Result<CreateBatch, ApiError> {
    let text = |name: &str| params.one(name).map(|value| value.map(str::to_owned));
    let cps = params.one("cps")?.map(|value| {
        value.parse().map_err(|_| bad_param("cps", "`cps` is a number of calls a second"))
    });
    Ok(CreateBatch {
        name: text("name")?,
        from_number: text("from_number")?,
        agent_id: text("agent_id")?,
        trunk_id: text("trunk_id")?,
        scheduled_at: text("scheduled_at")?,
        cps: cps.transpose()?,
        max_concurrent: params.number("max_concurrent")?,
        ..CreateBatch::default()
    })
}

/// Which page of a batch's recipients.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are read by their names, and this documents them")]
struct RecipientParams {
    /// Which page, from 1.
    #[param(minimum = 1, default = 1)]
    page: Option<u32>,
    /// Rows of a page. More than 100 is an error, not cut down.
    #[param(minimum = 1, maximum = 100, default = 20)]
    page_size: Option<u32>,
}

/// List batches
///
/// Newest first, without the recipients.
#[utoipa::path(get, path = "/v1/batches", operation_id = "list_batches", tag = "orders", params(PageParams), responses(
    (status = 200, description = "One page", body = Page<Batch>),
    (status = 400, description = "A parameter has a bad value", body = ErrorBody),
))]
async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<Batch>>, ApiError> {
    params.only_list(&[])?;
    let paging = Paging::read(&api, &principal, &params, "batch").await?;
    let found = api.store.list_batches(&principal.organization, &paging.part()).await?;
    let mut items = Vec::with_capacity(found.items.len());
    for batch in &found.items {
        let counts = api.store.count_orders(Group::Batch(batch.id)).await?;
        items.push(Batch::new(batch, &counts));
    }
    Ok(paging.answer(items, found.total, found.next))
}

/// Show a batch
///
/// Its counts, and one page of its recipients in the order they were given.
#[utoipa::path(get, path = "/v1/batches/{id}", operation_id = "get_batch", tag = "orders",
    params(("id" = String, Path, description = "Identifier of the batch"), RecipientParams),
    responses(
        (status = 200, description = "The batch", body = Batch),
        (status = 404, description = "There is no such batch", body = ErrorBody),
    ))]
async fn show(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
    params: Params,
) -> Result<axum::Json<Batch>, ApiError> {
    detail(&api, &principal.organization, &ids, &params).await
}

/// Show a batch
///
/// The same as `GET /v1/batches/{id}`.
#[utoipa::path(get, path = "/v1/calls/batch/{id}", operation_id = "get_call_batch", tag = "orders",
    params(("id" = String, Path, description = "Identifier of the batch"), RecipientParams),
    responses(
        (status = 200, description = "The batch", body = Batch),
        (status = 404, description = "There is no such batch", body = ErrorBody),
    ))]
async fn show_alias(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
    params: Params,
) -> Result<axum::Json<Batch>, ApiError> {
    detail(&api, &principal.organization, &ids, &params).await
}

async fn detail(
    api: &Api,
    organization: &OrganizationId,
    ids: &PathIds,
    params: &Params,
) -> Result<axum::Json<Batch>, ApiError> {
    params.only(&["page", "page_size"])?;
    let page = page(params)?;
    let id: BatchId = ids.get("id", Code::BatchNotFound)?;
    let unknown = || ApiError::new(Code::BatchNotFound).param("id");
    let batch = api.store.batch(Some(organization), id).await?.ok_or_else(unknown)?;
    let counts = api.store.count_orders(Group::Batch(id)).await?;
    let orders = api.store.batch_orders(id, page).await?;
    let mut shown = Batch::new(&batch, &counts);
    let item = |(order, call): &(_, Option<_>)| BatchItem::new(order, call.as_ref());
    shown.calls = Some(orders.iter().map(item).collect());
    shown.page = Some(page.page());
    shown.page_size = Some(page.page_size());
    Ok(axum::Json(shown))
}

/// Cancel a batch
///
/// What has not been dialled is not dialled; calls that ring are canceled, answered ones go on.
#[utoipa::path(post, path = "/v1/batches/{id}/cancel", operation_id = "cancel_batch", tag = "orders",
    params(("id" = String, Path, description = "Identifier of the batch")),
    responses(
        (status = 200, description = "The batch", body = Batch),
        (status = 404, description = "There is no such batch", body = ErrorBody),
        (status = 409, description = "It is over", body = ErrorBody),
    ))]
async fn cancel(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
) -> Result<axum::Json<Batch>, ApiError> {
    let id: BatchId = ids.get("id", Code::BatchNotFound)?;
    let batch = api.scheduler.cancel_batch(&principal.organization, id).await.map_err(refusal)?;
    let counts = api.store.count_orders(Group::Batch(id)).await?;
    Ok(axum::Json(Batch::new(&batch, &counts)))
}
