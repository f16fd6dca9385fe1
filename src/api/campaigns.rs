//! Campaigns and their leads.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Api;
use super::access::Principal;
use super::checks::{check_caller, check_object, check_variables};
use super::crud::located;
use super::error::{ApiError, Code};
use super::extract::{Bulk, Json, JsonObject, Params, PathIds, bad_param, from_object};
use super::orders::{refusal, statuses};
use super::paging::{PageParams, Paging};
use super::table;
use crate::catalog::patch;
use crate::scheduler::campaigns::{LEADS_OF_REQUEST_MAX, Move};
use crate::schema::batch::Counts;
use crate::schema::campaign::{
    Campaign, CampaignReport, CreateCampaign, CreateLead, Lead, LeadsAdded,
};
use crate::schema::{ErrorBody, Page};
use crate::store::{ErrorIs, Group, LeadFilter};
use crate::types::CampaignId;
use crate::types::order::{CampaignRecord, CampaignStatus, LeadStatus, OrderStatus};

/// Routes that only look.
pub(super) fn reading() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(list_leads))
        .routes(routes!(stats))
}

/// Routes that change something.
pub(super) fn writing() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(update, delete))
        .routes(routes!(start))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(stop))
        .routes(routes!(add_leads))
        .routes(routes!(delete_lead))
}

/// Filters of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are read by their names, and this documents them")]
struct ListParams {
    /// A status, or an alias of one, such as `cancelled`. Repeat it for any of several.
    status: Option<Vec<String>>,
}

async fn shown(api: &Api, campaign: &CampaignRecord) -> Result<Campaign, ApiError> {
    let counts = api.store.count_orders(Group::Campaign(campaign.id)).await?;
    Ok(Campaign::new(campaign, &counts))
}

async fn found(
    api: &Api,
    principal: &Principal,
    ids: &PathIds,
) -> Result<CampaignRecord, ApiError> {
    let id: CampaignId = ids.get("id", Code::CampaignNotFound)?;
    api.scheduler.campaign(&principal.organization, id).await.map_err(refusal)
}

/// Make a campaign
///
/// A list of people to call, in their own calling hours. It is a draft until it is started.
#[utoipa::path(post, path = "/v1/campaigns", operation_id = "create_campaign", tag = "campaigns",
    request_body(content = CreateCampaign, example = json!({
        "name": "Reminders", "agent_id": "reception",
        "instructions_template": "Remind {{name}} of the appointment.",
        "schedule": {"start_time": "09:00", "end_time": "17:00", "timezone": "Europe/Amsterdam"}
    })),
    responses(
        (status = 201, description = "Made", body = Campaign,
            headers(("Location" = String, description = "Path of the campaign"))),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
    ))]
async fn create(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<CreateCampaign>,
) -> Result<Response, ApiError> {
    check(&body)?;
    let made = api.scheduler.create_campaign(&principal.organization, body).await;
    let campaign = made.map_err(refusal)?;
    let body = axum::Json(shown(&api, &campaign).await?);
    let response = (StatusCode::CREATED, body).into_response();
    Ok(located(response, &format!("/v1/campaigns/{}", campaign.id)))
}

fn check(body: &CreateCampaign) -> Result<(), ApiError> {
    check_caller(body.from_number.as_deref())?;
    check_object("metadata", &body.metadata)
}

/// List campaigns
///
/// Newest first.
#[utoipa::path(get, path = "/v1/campaigns", operation_id = "list_campaigns", tag = "campaigns", params(PageParams, ListParams), responses(
    (status = 200, description = "One page", body = Page<Campaign>),
    (status = 400, description = "A parameter has a bad value", body = ErrorBody),
))]
async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<Page<Campaign>>, ApiError> {
    params.only_list(&["status"])?;
    let paging = Paging::read(&api, &principal, &params, "campaign").await?;
    let status = statuses(&params, CampaignStatus::parse)?;
    let found = api.store.list_campaigns(&principal.organization, &status, &paging.part()).await?;
    let mut items = Vec::with_capacity(found.items.len());
    for campaign in &found.items {
        items.push(shown(&api, campaign).await?);
    }
    Ok(paging.answer(items, found.total, found.next))
}

/// Show a campaign
///
/// With its counts, taken from the leads at this moment.
#[utoipa::path(get, path = "/v1/campaigns/{id}", operation_id = "get_campaign", tag = "campaigns",
    params(("id" = String, Path, description = "Identifier of the campaign")),
    responses(
        (status = 200, description = "The campaign", body = Campaign),
        (status = 404, description = "There is no such campaign", body = ErrorBody),
    ))]
async fn show(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
) -> Result<axum::Json<Campaign>, ApiError> {
    let campaign = found(&api, &principal, &ids).await?;
    Ok(axum::Json(shown(&api, &campaign).await?))
}

/// Change a campaign
///
/// A JSON merge patch (RFC 7396) of the body it was made with; what is not named stays. `status` changes it as the
/// commands do. Attempts that begin after it follow the new values.
#[utoipa::path(patch, path = "/v1/campaigns/{id}", operation_id = "update_campaign", tag = "campaigns",
    params(("id" = String, Path, description = "Identifier of the campaign")),
    request_body(content = CreateCampaign, example = json!({"max_concurrent": 5, "status": "paused"})),
    responses(
        (status = 200, description = "The campaign", body = Campaign),
        (status = 404, description = "There is no such campaign", body = ErrorBody),
        (status = 409, description = "Its status cannot become what is asked for", body = ErrorBody),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
    ))]
async fn update(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
    JsonObject(change): JsonObject,
) -> Result<axum::Json<Campaign>, ApiError> {
    let before = found(&api, &principal, &ids).await?;
    let mut whole = before.doc.reveal().as_object().cloned().unwrap_or_default();
    // The status it was made with says nothing about where it is.
    whole.remove("status");
    // A schedule may have been given flat, and then be changed as an object.
    let flat = ["schedule_start_time", "schedule_end_time", "timezone"];
    if change.contains_key("schedule") {
        flat.iter().for_each(|name| drop(whole.remove(*name)));
    } else if flat.iter().any(|name| change.contains_key(*name)) {
        let shown = Campaign::new(&before, &crate::types::order::OrderCounts::default());
        let days = serde_json::json!({ "days": shown.schedule.days });
        whole.insert("schedule".to_owned(), days);
        for (name, value) in flat.iter().zip([
            shown.schedule.start_time,
            shown.schedule.end_time,
            shown.schedule.timezone,
        ]) {
            if let Some(value) = value {
                whole.insert((*name).to_owned(), value.into());
            }
        }
    }
    patch::merge(&mut whole, change);
    let body: CreateCampaign = from_object(whole)?;
    check(&body)?;
    let campaign = api.scheduler.change_campaign(before, body).await.map_err(refusal)?;
    Ok(axum::Json(shown(&api, &campaign).await?))
}

/// Delete a campaign
///
/// Its leads go with it; what has not been dialled is canceled. Calls and orders that were dialled stay.
#[utoipa::path(delete, path = "/v1/campaigns/{id}", operation_id = "delete_campaign", tag = "campaigns",
    params(("id" = String, Path, description = "Identifier of the campaign")),
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is no such campaign", body = ErrorBody),
    ))]
async fn delete(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
) -> Result<StatusCode, ApiError> {
    let id: CampaignId = ids.get("id", Code::CampaignNotFound)?;
    api.scheduler.delete_campaign(&principal.organization, id).await.map_err(refusal)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn command(
    api: &Api,
    principal: &Principal,
    ids: &PathIds,
    command: Move,
) -> Result<axum::Json<Campaign>, ApiError> {
    let campaign = found(api, principal, ids).await?;
    let campaign = api.scheduler.move_campaign(campaign, command).await.map_err(refusal)?;
    Ok(axum::Json(shown(api, &campaign).await?))
}

/// Start a campaign
///
/// At once, or at `start_at` if that is still to come.
#[utoipa::path(post, path = "/v1/campaigns/{id}/start", operation_id = "start_campaign", tag = "campaigns",
    params(("id" = String, Path, description = "Identifier of the campaign")),
    responses(
        (status = 200, description = "The campaign", body = Campaign),
        (status = 409, description = "It runs already, or is over", body = ErrorBody),
    ))]
async fn start(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
) -> Result<axum::Json<Campaign>, ApiError> {
    command(&api, &principal, &ids, Move::Start).await
}

/// Pause a campaign
///
/// No further dial until it is resumed; calls under way go on.
#[utoipa::path(post, path = "/v1/campaigns/{id}/pause", operation_id = "pause_campaign", tag = "campaigns",
    params(("id" = String, Path, description = "Identifier of the campaign")),
    responses(
        (status = 200, description = "The campaign", body = Campaign),
        (status = 409, description = "It does not run", body = ErrorBody),
    ))]
async fn pause(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
) -> Result<axum::Json<Campaign>, ApiError> {
    command(&api, &principal, &ids, Move::Pause).await
}

/// Resume a campaign
///
/// Goes on where it was paused.
#[utoipa::path(post, path = "/v1/campaigns/{id}/resume", operation_id = "resume_campaign", tag = "campaigns",
    params(("id" = String, Path, description = "Identifier of the campaign")),
    responses(
        (status = 200, description = "The campaign", body = Campaign),
        (status = 409, description = "It is not paused", body = ErrorBody),
    ))]
async fn resume(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
) -> Result<axum::Json<Campaign>, ApiError> {
    command(&api, &principal, &ids, Move::Resume).await
}

/// Stop a campaign
///
/// For good: what has not been dialled is canceled.
#[utoipa::path(post, path = "/v1/campaigns/{id}/stop", operation_id = "stop_campaign", tag = "campaigns",
    params(("id" = String, Path, description = "Identifier of the campaign")),
    responses(
        (status = 200, description = "The campaign", body = Campaign),
        (status = 409, description = "It is over", body = ErrorBody),
    ))]
async fn stop(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
) -> Result<axum::Json<Campaign>, ApiError> {
    command(&api, &principal, &ids, Move::Stop).await
}

/// List leads
///
/// First come, first.
#[utoipa::path(get, path = "/v1/campaigns/{id}/leads", operation_id = "list_leads", tag = "campaigns",
    params(("id" = String, Path, description = "Identifier of the campaign"), PageParams, ListParams),
    responses(
        (status = 200, description = "One page", body = Page<Lead>),
        (status = 404, description = "There is no such campaign", body = ErrorBody),
    ))]
async fn list_leads(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
    params: Params,
) -> Result<axum::Json<Page<Lead>>, ApiError> {
    params.only_list(&["status"])?;
    let wanted = statuses(&params, LeadStatus::parse)?;
    let campaign = found(&api, &principal, &ids).await?;
    let list = format!("lead {}", campaign.id);
    let paging = Paging::read(&api, &principal, &params, &list).await?;
    let filter = filter(&wanted, campaign.status);
    let leads = api.store.list_leads(campaign.id, &filter, &paging.part()).await?;
    let lead = |(lead, order): &(_, _)| Lead::new(lead, order, campaign.status);
    Ok(paging.answer(leads.items.iter().map(lead).collect(), leads.total, leads.next))
}

/// The states of orders that mean these states of leads.
fn filter(wanted: &[LeadStatus], campaign: CampaignStatus) -> LeadFilter {
    if wanted.is_empty() {
        return LeadFilter::default();
    }
    let begun = !matches!(campaign, CampaignStatus::Draft | CampaignStatus::Scheduled);
    let mut orders = Vec::new();
    for status in wanted {
        match status {
            LeadStatus::Pending if begun => {}
            LeadStatus::Queued if !begun => {}
            LeadStatus::Pending | LeadStatus::Queued => {
                orders.push((OrderStatus::Queued, None));
                orders.push((OrderStatus::Scheduled, None));
            }
            LeadStatus::Calling => orders.push((OrderStatus::Calling, None)),
            LeadStatus::WaitingRetry => orders.push((OrderStatus::WaitingRetry, None)),
            LeadStatus::Completed => orders.push((OrderStatus::Completed, None)),
            LeadStatus::Skipped => orders.push((OrderStatus::Canceled, None)),
            LeadStatus::Failed => orders.push((OrderStatus::Errored, Some(ErrorIs(false)))),
            LeadStatus::DoNotCall => orders.push((OrderStatus::Errored, Some(ErrorIs(true)))),
        }
    }
    LeadFilter { orders: Some(orders) }
}

/// Add leads
///
/// One, an array of at most 1,000, or a table with a header row, whose other columns are template variables. All of
/// them or none: a number that is none, or is in the campaign already, refuses the request.
#[utoipa::path(post, path = "/v1/campaigns/{id}/leads", operation_id = "create_leads", tag = "campaigns",
    params(
        ("id" = String, Path, description = "Identifier of the campaign"),
        ("allow_duplicates" = Option<bool>, Query, description = "Whether a number may be there more than once"),
    ),
    request_body(content(
        (CreateLead = "application/json",
            example = json!({"phone_number": "+15550100", "name": "Ada", "variables": {"city": "London"}})),
        (String = "text/csv", example = "phone_number,name\n+15550100,Ada\n"),
    )),
    responses(
        (status = 201, description = "Added", body = LeadsAdded),
        (status = 404, description = "There is no such campaign", body = ErrorBody),
        (status = 409, description = "A number is there already, or the campaign is over or full", body = ErrorBody),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
    ))]
async fn add_leads(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
    params: Params,
    body: Bulk,
) -> Result<Response, ApiError> {
    params.only(&["allow_duplicates"])?;
    let copies = match params.one("allow_duplicates")? {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(bad_param("allow_duplicates", "`true` or `false`")),
    };
    let campaign = found(&api, &principal, &ids).await?;
    let leads = read_leads(body)?;
    for (at, lead) in leads.iter().enumerate() {
        check_variables(&format!("[{at}].variables"), &lead.variables)?;
        check_object(&format!("[{at}].metadata"), &lead.metadata)?;
    }
    let added = api.scheduler.add_leads(&campaign, leads, copies).await.map_err(refusal)?;
    let lead = |(lead, order): &(_, _)| Lead::new(lead, order, campaign.status);
    let body = LeadsAdded { added: added.len() as u64, items: added.iter().map(lead).collect() };
    Ok((StatusCode::CREATED, axum::Json(body)).into_response())
}

fn read_leads(body: Bulk) -> Result<Vec<CreateLead>, ApiError> {
    let one = |value: serde_json::Value| match value {
        serde_json::Value::Object(map) => from_object(map),
        _ => Err(ApiError::because(Code::InvalidValue, "a lead is a JSON object")),
    };
    match body {
        Bulk::Json(serde_json::Value::Array(list)) => {
            if list.len() > LEADS_OF_REQUEST_MAX {
                let message = format!("a request has 1 to {LEADS_OF_REQUEST_MAX} leads");
                return Err(ApiError::because(Code::InvalidValue, message));
            }
            list.into_iter().map(one).collect()
        }
        Bulk::Json(value) => Ok(vec![one(value)?]),
        Bulk::Csv(bytes) => {
            let rows = table::read(&bytes, LEADS_OF_REQUEST_MAX)?;
            let lead = |row: table::Row| CreateLead {
                phone_number: row.number,
                name: row.name,
                variables: row.variables,
                timezone: row.timezone,
                ..CreateLead::default()
            };
            Ok(rows.into_iter().map(lead).collect())
        }
    }
}

/// Remove a lead
///
/// Its order is canceled; its calls stay.
#[utoipa::path(delete, path = "/v1/campaigns/{id}/leads/{lead_id}", operation_id = "delete_lead", tag = "campaigns",
    params(
        ("id" = String, Path, description = "Identifier of the campaign"),
        ("lead_id" = String, Path, description = "Identifier of the lead"),
    ),
    responses(
        (status = 204, description = "Removed"),
        (status = 404, description = "There is no such campaign or lead", body = ErrorBody),
    ))]
async fn delete_lead(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
) -> Result<StatusCode, ApiError> {
    let campaign = found(&api, &principal, &ids).await?;
    let lead = ids.get("lead_id", Code::LeadNotFound)?;
    api.scheduler.remove_lead(&campaign, lead).await.map_err(refusal)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show what a campaign came to
///
/// Counts by outcome, the share of answered calls, and how long people talked.
#[utoipa::path(get, path = "/v1/campaigns/{id}/stats", operation_id = "get_campaign_stats", tag = "campaigns",
    params(("id" = String, Path, description = "Identifier of the campaign")),
    responses(
        (status = 200, description = "The figures", body = CampaignReport),
        (status = 404, description = "There is no such campaign", body = ErrorBody),
    ))]
async fn stats(
    State(api): State<Arc<Api>>,
    principal: Principal,
    ids: PathIds,
) -> Result<axum::Json<CampaignReport>, ApiError> {
    let campaign = found(&api, &principal, &ids).await?;
    let counts = api.store.count_orders(Group::Campaign(campaign.id)).await?;
    let stats = api.store.campaign_stats(campaign.id).await?;
    let talked = stats.answered > 0;
    Ok(axum::Json(CampaignReport {
        campaign_id: campaign.id.to_string(),
        counts: Counts::from(&counts),
        calls: stats.calls,
        answered: stats.answered,
        answer_rate: (stats.calls > 0).then(|| stats.answered as f64 / stats.calls as f64),
        outcomes: stats.outcomes.into_iter().collect::<BTreeMap<_, _>>(),
        talk_seconds_total: stats.talk_ms / 1_000,
        talk_seconds_mean: talked.then(|| stats.talk_ms as f64 / stats.answered as f64 / 1_000.0),
        talk_seconds_max: talked.then_some(stats.talk_ms_max as f64 / 1_000.0),
    }))
}
