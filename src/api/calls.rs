//! Reading calls: the list, one call, its transcript, latency and journal.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use utoipa::IntoParams;

use super::Api;
use super::error::{ApiError, Code};
use super::extract::{Params, PathId, bad_param};
use crate::schema::turn::IndexedLatency;
use crate::schema::usage::UsageRecord;
use crate::schema::{
    Call, CallDetail, CallLatencyReport, CallSummary, ErrorBody, Event, EventList, Page,
    Transcript, Turn, TurnLatency,
};
use crate::store::{EVENTS_MAX, PageRequest, Query, QueryError, StatusFilter, query};
use crate::types::call::TurnRole;
use crate::types::{AgentId, CallId, CallRecord, TrunkName, TurnRecord};

/// Most `status` parameters of one list: more than there are statuses.
const STATUS_FILTERS_MAX: usize = 16;

/// Filters of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are read by their names, and this documents them")]
pub(super) struct ListParams {
    /// Which page, from 1.
    #[param(minimum = 1, default = 1)]
    page: Option<u32>,
    /// Rows of a page. More than 100 is an error, not cut down.
    #[param(minimum = 1, maximum = 100, default = 20)]
    page_size: Option<u32>,
    /// `inbound` or `outbound`; `incoming` and `outgoing` are aliases.
    direction: Option<String>,
    /// A status, outcome or end reason, or an alias of one, such as `ongoing`. Repeat it for any of several.
    status: Option<Vec<String>>,
    /// A part of either number; `+`, spaces, dots, dashes and parentheses do not count.
    search: Option<String>,
    /// Started at or after, RFC 3339.
    #[param(format = DateTime)]
    started_after: Option<String>,
    /// Started before, RFC 3339.
    #[param(format = DateTime)]
    started_before: Option<String>,
    /// Key of an agent.
    agent_id: Option<String>,
    /// Name of a trunk.
    trunk_id: Option<String>,
}

const LIST_PARAMS: &[&str] = &[
    "page",
    "page_size",
    "direction",
    "status",
    "search",
    "started_after",
    "started_before",
    "agent_id",
    "trunk_id",
];

/// List calls
///
/// Newest first. Rows leave out prompt, metadata, transcript and the recording's address.
#[utoipa::path(get, path = "/v1/calls", operation_id = "list_calls", tag = "calls", params(ListParams), responses(
    (status = 200, description = "One page", body = Page<CallSummary>),
    (status = 400, description = "A parameter has a bad value", body = ErrorBody),
    (status = 422, description = "A parameter is unknown", body = ErrorBody),
))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    params: Params,
) -> Result<axum::Json<Page<CallSummary>>, ApiError> {
    params.only(LIST_PARAMS)?;
    let page = PageRequest::new(params.number("page")?, params.number("page_size")?)
        .map_err(|error| query_error(&error))?;
    let query = read_query(&params)?;
    let found = api.store.list(&query, page).await?;
    Ok(axum::Json(Page {
        items: found.items.iter().map(CallSummary::from).collect(),
        total: found.total,
        page: page.page(),
        page_size: page.page_size(),
    }))
}

fn read_query(params: &Params) -> Result<Query, ApiError> {
    let words: Vec<&str> = params.all("status").flat_map(|value| value.split(',')).collect();
    if words.len() > STATUS_FILTERS_MAX {
        let message = format!("at most {STATUS_FILTERS_MAX} values of `status`");
        return Err(bad_param("status", message));
    }
    let status: Result<_, _> = words.into_iter().map(StatusFilter::parse).collect();
    let direction = params.one("direction")?.map(query::parse_direction).transpose();
    let search = params.one("search")?.map(query::search_digits).transpose();
    Ok(Query {
        direction: direction.map_err(|error| query_error(&error))?,
        status: status.map_err(|error| query_error(&error))?,
        agent_id: params.one("agent_id")?.map(|id| AgentId(id.to_owned())),
        trunk: params.one("trunk_id")?.map(|name| TrunkName(name.to_owned())),
        search: search.map_err(|error| query_error(&error))?,
        started_after: params.time("started_after")?,
        started_before: params.time("started_before")?,
    })
}

fn query_error(error: &QueryError) -> ApiError {
    let param = match error {
        QueryError::Page => "page",
        QueryError::PageSize => "page_size",
        QueryError::Status => "status",
        QueryError::Direction => "direction",
        QueryError::Search => "search",
    };
    bad_param(param, error.to_string())
}

impl Api {
    /// A call's record, or 404. A call that was dialled a moment ago may not have reached the store.
    pub(super) async fn call(&self, id: CallId) -> Result<CallRecord, ApiError> {
        if let Some(record) = self.store.get(id).await? {
            return Ok(record);
        }
        self.dialled(id).ok_or_else(|| ApiError::new(Code::CallNotFound).param("id"))
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
            // It is always there: a word for clients that ask for it.
            "analysis" => {}
            _ => {
                let message =
                    "`include` takes `transcript`, `latency`, `events`, `usage` and `analysis`";
                return Err(bad_param("include", message));
            }
        }
    }
    let record = api.call(id).await?;
    let mut detail = CallDetail {
        call: Call::from(&record),
        transcript: None,
        turn_latency: None,
        events: None,
        usage: include.usage.then(|| record.usage.iter().map(UsageRecord::from).collect()),
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

fn indexed_latency(turn: &TurnRecord) -> Option<IndexedLatency> {
    let latency = turn.latency.as_ref().map(TurnLatency::from)?;
    Some(IndexedLatency { index: turn.id.0, latency })
}

/// Show a call's transcript
///
/// A live call's transcript grows with every closed turn.
#[utoipa::path(get, path = "/v1/calls/{id}/transcript", operation_id = "get_transcript", tag = "calls",
    params(
        ("id" = String, Path, description = "Identifier of the call"),
        ("format" = Option<String>, Query, description = "`json` (default) or `text`"),
    ),
    responses(
        (status = 200, description = "The turns in order; with `format=text` as plain text",
            content((Transcript = "application/json"), (String = "text/plain"))),
        (status = 400, description = "Unknown format", body = ErrorBody),
        (status = 404, description = "There is no such call", body = ErrorBody),
    ))]
pub(super) async fn transcript(
    State(api): State<Arc<Api>>,
    PathId(id): PathId,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["format"])?;
    let text = match params.one("format")? {
        None | Some("json") => false,
        Some("text") => true,
        Some(_) => return Err(bad_param("format", "`format` is `json` or `text`")),
    };
    let record = api.call(id).await?;
    let turns = api.store.turns(id).await?;
    if !text {
        return Ok(axum::Json(Transcript::new(&record, &turns)).into_response());
    }
    let lines: String = turns.iter().map(line).collect();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], lines).into_response())
}

/// One turn as a line: when, who, and what was said or, of the agent, heard.
fn line(turn: &TurnRecord) -> String {
    let heard = turn.spoken_content.as_ref().unwrap_or(&turn.content).reveal();
    let flat: Vec<&str> = heard.split_whitespace().collect();
    let who = match turn.role {
        TurnRole::User => "user",
        TurnRole::Assistant => "assistant",
        TurnRole::Tool => "tool",
        TurnRole::System => "system",
    };
    let (minutes, ms) = (turn.offset_ms / 60_000, turn.offset_ms % 60_000);
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    let cut = if turn.interrupted { " [interrupted]" } else { "" };
    format!("[{minutes:02}:{seconds:02}.{ms:03}] {who}: {}{cut}\n", flat.join(" "))
}

/// Show a call's latency
///
/// Every agent turn, and the statistics over them. The definitions are in `docs/latency.md`.
#[utoipa::path(get, path = "/v1/calls/{id}/latency", operation_id = "get_latency", tag = "calls",
    params(("id" = String, Path, description = "Identifier of the call")),
    responses(
        (status = 200, description = "Spans of each turn and percentiles", body = CallLatencyReport),
        (status = 404, description = "There is no such call", body = ErrorBody),
    ))]
pub(super) async fn latency(
    State(api): State<Arc<Api>>,
    PathId(id): PathId,
    params: Params,
) -> Result<axum::Json<CallLatencyReport>, ApiError> {
    params.only(&[])?;
    let record = api.call(id).await?;
    let turns = api.store.turns(id).await?;
    Ok(axum::Json(CallLatencyReport::new(&record, &turns)))
}

/// List a call's events
///
/// The journal, in order, at most 1000 entries at once. Partial transcripts are only in the live stream.
#[utoipa::path(get, path = "/v1/calls/{id}/events", operation_id = "list_call_events", tag = "events",
    params(
        ("id" = String, Path, description = "Identifier of the call"),
        ("after" = Option<u64>, Query, description = "Only entries with a higher `seq`"),
    ),
    responses(
        (status = 200, description = "Entries of the journal", body = EventList),
        (status = 400, description = "`after` is not a number", body = ErrorBody),
        (status = 404, description = "There is no such call", body = ErrorBody),
    ))]
pub(super) async fn events(
    State(api): State<Arc<Api>>,
    PathId(id): PathId,
    params: Params,
) -> Result<axum::Json<EventList>, ApiError> {
    params.only(&["after"])?;
    let after = params.number("after")?.unwrap_or(0);
    api.call(id).await?;
    let events = api.store.events(id, after).await?;
    let more = events.len() >= EVENTS_MAX;
    Ok(axum::Json(EventList {
        call_id: id.to_string(),
        next_after: events.last().filter(|_| more).map(|event| event.seq),
        items: events.iter().map(Event::from).collect(),
    }))
}
