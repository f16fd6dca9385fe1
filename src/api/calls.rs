//! Calls: the list, one call, its metadata, taking it back before the answer, and erasing it.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use utoipa::IntoParams;

use super::Api;
use super::access::Principal;
use super::checks::check_object;
use super::error::{ApiError, Code};
use super::extract::{Json, Params, PathId, bad_param};
use super::paging::{NAMES, PageParams, Paging, query_error};
use super::transcript::indexed_latency;
use crate::call::{CallCommand, CommandError};
use crate::catalog::patch;
use crate::net::clock;
use crate::schema::detail::Live;
use crate::schema::usage::UsageRecord;
use crate::schema::{Call, CallDetail, CallList, CallSummary, ErrorBody, Event, PatchCall, Turn};
use crate::store::query::METADATA_FILTERS_MAX;
use crate::store::recording::RecordingError;
use crate::store::sign::{LINK_SECONDS_MAX, Signer};
use crate::store::{InlineDelivery, Order, Query, Slice, StatusFilter, query};
use crate::types::call::RecordingStatus;
use crate::types::{AgentId, CallId, CallRecord, CallStatus, EndReason, Scope, TrunkName};

/// Most `status` parameters of one list: more than there are statuses.
const STATUS_FILTERS_MAX: usize = 16;
/// What a filter begins with that looks into `metadata`.
const METADATA: &str = "metadata.";
/// Longest key or value of such a filter, characters.
const METADATA_CHARS_MAX: usize = 128;

/// Filters of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are read by their names, and this documents them")]
pub(super) struct Filters {
    /// `inbound` or `outbound`; `incoming` and `outgoing` are aliases.
    direction: Option<String>,
    /// A status, outcome or end reason, or an alias of one, such as `ongoing`. Repeat it for any of several.
    status: Option<Vec<String>>,
    /// `human`, `voicemail`, `ivr`, `screening` or `unknown`.
    answered_by: Option<String>,
    /// Identifier of an agent.
    agent_id: Option<String>,
    /// Identifier of one of our numbers.
    number_id: Option<String>,
    /// Name of a trunk.
    trunk_id: Option<String>,
    /// Identifier of a batch.
    batch_id: Option<String>,
    /// Identifier of a campaign.
    campaign_id: Option<String>,
    /// Identifier of an order.
    order_id: Option<String>,
    /// A part of either number; `+`, spaces, dots, dashes and parentheses do not count.
    search: Option<String>,
    /// Started at or after, RFC 3339.
    #[param(format = DateTime)]
    started_after: Option<String>,
    /// Started before, RFC 3339.
    #[param(format = DateTime)]
    started_before: Option<String>,
    /// Lasted at least, from ringing to the end.
    min_duration_ms: Option<u64>,
    /// Lasted at most.
    max_duration_ms: Option<u64>,
    /// `phone_call` or `web_call`.
    call_type: Option<String>,
    /// `true` or `false`.
    is_test: Option<bool>,
}

/// How a list is sorted.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the field is read by its name, and this documents it")]
pub(super) struct Sort {
    /// `-started_at` (newest first) or `started_at`.
    #[param(default = "-started_at")]
    sort: Option<String>,
}

/// Names of [`Filters`].
pub(super) const FILTERS: &[&str] = &[
    "direction",
    "status",
    "answered_by",
    "agent_id",
    "number_id",
    "trunk_id",
    "batch_id",
    "campaign_id",
    "order_id",
    "search",
    "started_after",
    "started_before",
    "min_duration_ms",
    "max_duration_ms",
    "call_type",
    "is_test",
];

/// List calls
///
/// Newest first. Rows leave out prompt, metadata, transcript, summary, variables and the recording's address.
/// `metadata.KEY=VALUE` finds calls by a plain value of their metadata.
#[utoipa::path(get, path = "/v1/calls", operation_id = "list_calls", tag = "calls", params(PageParams, Sort, Filters), responses(
    (status = 200, description = "One page", body = CallList),
    (status = 400, description = "A parameter has a bad value", body = ErrorBody),
    (status = 422, description = "A parameter is unknown", body = ErrorBody),
))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<CallList>, ApiError> {
    let names: Vec<&str> = NAMES.iter().chain(&["sort"]).chain(FILTERS).copied().collect();
    params.only_with(&names, METADATA)?;
    let query = read_query(&principal, &params)?;
    let order = match params.one("sort")? {
        None | Some("-started_at") => Order::NewestFirst,
        Some("started_at") => Order::OldestFirst,
        Some(_) => return Err(bad_param("sort", "`sort` is `-started_at` or `started_at`")),
    };
    let paging = Paging::read(&api, &principal, &params, "call").await?;
    let slice = Slice { start: paging.start, size: paging.size(), order };
    let found = api.store.slice(&query, &slice).await?;
    Ok(axum::Json(CallList {
        items: found.items.iter().map(CallSummary::from).collect(),
        total: found.total,
        total_exact: found.total_exact,
        page: paging.number(),
        page_size: paging.size(),
        next_cursor: paging.cursor(found.next),
    }))
}

/// The filters of a request, for the key's organization.
pub(super) fn read_query(principal: &Principal, params: &Params) -> Result<Query, ApiError> {
    let words: Vec<&str> = params.all("status").flat_map(|value| value.split(',')).collect();
    if words.len() > STATUS_FILTERS_MAX {
        let message = format!("at most {STATUS_FILTERS_MAX} values of `status`");
        return Err(bad_param("status", message));
    }
    let status: Result<_, _> = words.into_iter().map(StatusFilter::parse).collect();
    let direction = params.one("direction")?.map(query::parse_direction).transpose();
    let search = params.one("search")?.map(query::search_digits).transpose();
    let is_test = match params.one("is_test")? {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(_) => return Err(bad_param("is_test", "`is_test` is `true` or `false`")),
    };
    Ok(Query {
        organization_id: principal.organization.clone(),
        direction: direction.map_err(|error| query_error(&error))?,
        status: status.map_err(|error| query_error(&error))?,
        agent_id: params.one("agent_id")?.map(|id| AgentId(id.to_owned())),
        trunk: params.one("trunk_id")?.map(|name| TrunkName(name.to_owned())),
        search: search.map_err(|error| query_error(&error))?,
        started_after: params.time("started_after")?,
        started_before: params.time("started_before")?,
        answered_by: params.word("answered_by")?,
        number_id: params.one("number_id")?.map(str::to_owned),
        order_id: params.id("order_id")?,
        batch_id: params.id("batch_id")?,
        campaign_id: params.id("campaign_id")?,
        duration_min_ms: params.number("min_duration_ms")?,
        duration_max_ms: params.number("max_duration_ms")?,
        call_type: params.word("call_type")?,
        is_test,
        metadata: read_metadata(params)?,
    })
}

fn read_metadata(params: &Params) -> Result<Vec<(String, String)>, ApiError> {
    let pairs: Vec<_> = params.starting_with(METADATA).collect();
    let long = |text: &str| text.is_empty() || text.chars().count() > METADATA_CHARS_MAX;
    if pairs.len() > METADATA_FILTERS_MAX {
        let message = format!("at most {METADATA_FILTERS_MAX} filters of `metadata`");
        return Err(bad_param("metadata", message));
    }
    if let Some((key, _)) = pairs.iter().find(|(key, value)| long(key) || long(value)) {
        let message = format!("a key and a value have 1 to {METADATA_CHARS_MAX} characters");
        let key: String = key.chars().take(METADATA_CHARS_MAX).collect();
        return Err(bad_param(&format!("{METADATA}{key}"), message));
    }
    Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

impl Api {
    /// A call's record, or 404, also for a call of somebody else. A call that was dialled a moment ago may not
    /// have reached the store.
    pub(super) async fn call(
        &self,
        principal: &Principal,
        id: CallId,
    ) -> Result<CallRecord, ApiError> {
        let stored = self.store.get(id).await?;
        stored
            .or_else(|| self.dialled(id))
            .filter(|record| record.organization_id == principal.organization)
            .ok_or_else(|| ApiError::new(Code::CallNotFound).param("id"))
    }

    /// What signs links and cursors.
    pub(super) async fn signer(&self) -> Result<Arc<Signer>, ApiError> {
        let fresh = || {
            let mut key = [0; 32];
            self.entropy(|entropy| entropy.fill(&mut key));
            key
        };
        Ok(self.store.signer(fresh, clock::wall()).await?)
    }

    /// The public form of a call, with how its own webhook fared; whoever may hear it gets a link to its recording.
    pub(super) async fn show_call(
        &self,
        principal: &Principal,
        record: &CallRecord,
    ) -> Result<Call, ApiError> {
        let mut call = Call::from(record);
        let inline = self.store.inline_delivery(record.id).await?;
        let (status, error) =
            InlineDelivery::summary(record.webhook_url.is_some(), inline.as_ref());
        call.webhook_status = status.to_owned();
        call.webhook_error = error;
        let playable =
            record.recording.as_ref().is_some_and(crate::types::call::RecordingInfo::is_playable);
        if playable && principal.scopes.contains(&Scope::Media) {
            let signer = self.signer().await?;
            if let Some(link) = signer.link(record.id, clock::wall(), LINK_SECONDS_MAX) {
                call.link_recording(&link.path, link.expires_at);
            }
        }
        Ok(call)
    }
}

/// Show a call
///
/// A live call shows its present status.
#[utoipa::path(get, path = "/v1/calls/{id}", operation_id = "get_call", tag = "calls",
    params(
        ("id" = String, Path, description = "Identifier of the call"),
        ("include" = Option<String>, Query,
            description = "`transcript`, `latency`, `events`, `usage`, `analysis`, separated by commas"),
    ),
    responses(
        (status = 200, description = "The call", body = CallDetail),
        (status = 404, description = "There is no such call", body = ErrorBody),
    ))]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    params: Params,
) -> Result<axum::Json<CallDetail>, ApiError> {
    params.only(&["include"])?;
    let mut include = Include::default();
    for word in params.all("include").flat_map(|value| value.split(',')) {
        match word.trim() {
            "transcript" => include.transcript = true,
            "latency" => include.latency = true,
            "events" => include.events = true,
            "usage" => include.usage = true,
            // They are always there: words for clients that ask for them.
            "analysis" | "summary" => {}
            _ => {
                let message =
                    "`include` takes `transcript`, `latency`, `events`, `usage` and `analysis`";
                return Err(bad_param("include", message));
            }
        }
    }
    let record = api.call(&principal, id).await?;
    let listeners = api.switchboard.listeners(id);
    let mut detail = CallDetail {
        call: api.show_call(&principal, &record).await?,
        transcript: None,
        turn_latency: None,
        events: None,
        usage: include.usage.then(|| record.usage.iter().map(UsageRecord::from).collect()),
        live: (!record.status.is_terminal()).then(|| {
            let now = api.switchboard.live_state(id).unwrap_or_default();
            let speaking = if now.speaking { "assistant" } else { "none" };
            Live {
                muted: now.muted,
                on_hold: now.on_hold,
                transferring: now.transferring,
                speaking: speaking.to_owned(),
                listeners,
            }
        }),
    };
    if include.transcript || include.latency {
        let turns = api.store.turns(id).await?;
        detail.transcript = include.transcript.then(|| turns.iter().map(Turn::from).collect());
        detail.turn_latency =
            include.latency.then(|| turns.iter().filter_map(indexed_latency).collect());
    }
    if include.events {
        let events = api.store.events(id, 0).await?;
        detail.events = Some(events.iter().map(Event::from).collect());
    }
    Ok(axum::Json(detail))
}

#[derive(Default)]
struct Include {
    transcript: bool,
    latency: bool,
    events: bool,
    usage: bool,
}

/// Change a call's metadata
///
/// Nothing else of a call can be changed. A live call keeps the change to its end.
#[utoipa::path(patch, path = "/v1/calls/{id}", operation_id = "patch_call", tag = "calls",
    params(("id" = String, Path, description = "Identifier of the call")),
    request_body(content = PatchCall, example = json!({"metadata": {"ticket": 42, "draft": null}})),
    responses(
        (status = 200, description = "The call as it is now", body = Call),
        (status = 404, description = "There is no such call", body = ErrorBody),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
    ))]
pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    Json(body): Json<PatchCall>,
) -> Result<axum::Json<Call>, ApiError> {
    let record = api.call(&principal, id).await?;
    let mut whole = record.metadata.as_object().cloned().unwrap_or_default();
    patch::merge(&mut whole, body.metadata.clone());
    check_object("metadata", &whole)?;
    let change = serde_json::json!({ "metadata": body.metadata });
    let changed = api.store.patch_call(id, &change, clock::wall()).await?;
    let record = changed.ok_or_else(|| ApiError::new(Code::CallNotFound).param("id"))?;
    Ok(axum::Json(api.show_call(&principal, &record).await?))
}

/// Cancel a call
///
/// Takes a call back that was not answered yet.
#[utoipa::path(post, path = "/v1/calls/{id}/cancel", operation_id = "cancel_call", tag = "calls",
    params(("id" = String, Path, description = "Identifier of the call")),
    responses(
        (status = 202, description = "It is being canceled", body = Call),
        (status = 404, description = "There is no such call", body = ErrorBody),
        (status = 409, description = "It was answered, or is over", body = ErrorBody),
    ))]
pub(super) async fn cancel(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    params: Params,
) -> Result<(StatusCode, axum::Json<Call>), ApiError> {
    params.only(&[])?;
    let record = api.call(&principal, id).await?;
    match record.status {
        CallStatus::InProgress => return Err(ApiError::new(Code::CallAnswered)),
        status if status.is_terminal() => return Err(not_active(status)),
        _ => {}
    }
    let command =
        CallCommand::End { message: None, reason: EndReason::ApiHangup, headers: Vec::new() };
    match api.switchboard.command(id, command).await {
        Ok(_) => {
            let record = api.call(&principal, id).await?;
            Ok((StatusCode::ACCEPTED, axum::Json(api.show_call(&principal, &record).await?)))
        }
        Err(CommandError::NotActive) => Err(not_active(api.call(&principal, id).await?.status)),
        Err(error) => Err(super::control::refusal(&error)),
    }
}

fn not_active(status: CallStatus) -> ApiError {
    ApiError::because(Code::CallNotActive, format!("the call is `{}`", status.as_str()))
}

/// Erase a call
///
/// Its record, transcript, journal, recording, and every event about it that waits or was delivered. Afterwards
/// no byte of it is left in the database, its log or the recordings; only its identifier is kept, so that nothing
/// writes it anew. There is no way back.
#[utoipa::path(delete, path = "/v1/calls/{id}", operation_id = "erase_call", tag = "calls",
    params(("id" = String, Path, description = "Identifier of the call")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "There is no such call", body = ErrorBody),
        (status = 409, description = "It is live, or its analysis is not finished", body = ErrorBody),
    ))]
pub(super) async fn erase(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    params: Params,
) -> Result<StatusCode, ApiError> {
    params.only(&[])?;
    let record = api.call(&principal, id).await?;
    api.erase(&record).await?;
    tracing::info!(call.id = %id, "a call was erased");
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a recording
///
/// The audio only; the call stays, and says `deleted` of its recording.
#[utoipa::path(delete, path = "/v1/calls/{id}/recording", operation_id = "delete_recording", tag = "calls",
    params(("id" = String, Path, description = "Identifier of the call")),
    responses(
        (status = 204, description = "It is gone"),
        (status = 404, description = "No such call, or it has no recording", body = ErrorBody),
        (status = 409, description = "It is still being written", body = ErrorBody),
    ))]
pub(super) async fn delete_recording(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    params: Params,
) -> Result<StatusCode, ApiError> {
    params.only(&[])?;
    let record = api.call(&principal, id).await?;
    api.drop_recording(&record).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Api {
    /// Erases a call that is over.
    pub(super) async fn erase(&self, record: &CallRecord) -> Result<(), ApiError> {
        if !record.status.is_terminal() || record.is_settling() {
            return Err(ApiError::new(Code::CallActive).param("id"));
        }
        // The audio first: should the server die in between, the record still leads here.
        if let Some(info) = &record.recording {
            self.remove_audio(&info.filename).await?;
        }
        self.dialled_lock().retain(|dialled| dialled.id != record.id);
        self.switchboard.forget_ladder(record.id);
        self.store.erase_call(record.id, clock::wall()).await?;
        Ok(())
    }

    /// Removes the audio of a call that is over.
    pub(super) async fn drop_recording(&self, record: &CallRecord) -> Result<(), ApiError> {
        let Some(info) = &record.recording else {
            return Err(ApiError::new(Code::RecordingNotFound));
        };
        match info.status {
            RecordingStatus::Recording => return Err(ApiError::new(Code::RecordingInProgress)),
            RecordingStatus::Deleted => return Err(ApiError::new(Code::RecordingNotFound)),
            RecordingStatus::Available | RecordingStatus::Partial | RecordingStatus::Failed => {}
        }
        self.remove_audio(&info.filename).await?;
        let change = serde_json::json!({"recording": {"status": "deleted", "sha256": null}});
        self.store.patch_call(record.id, &change, clock::wall()).await?;
        Ok(())
    }

    async fn remove_audio(&self, filename: &str) -> Result<(), ApiError> {
        let (recordings, filename) = (self.recordings.clone(), filename.to_owned());
        match tokio::task::spawn_blocking(move || recordings.remove(&filename)).await {
            Ok(Ok(()) | Err(RecordingError::Missing)) => Ok(()),
            Ok(Err(error)) => {
                let error = crate::telemetry::chain::chain(&error).to_string();
                tracing::error!(error, "failed to remove a recording");
                Err(ApiError::new(Code::Internal))
            }
            Err(_) => Err(ApiError::new(Code::Internal)),
        }
    }
}
