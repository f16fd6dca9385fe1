//! What was said on a call, as data, as text and as subtitles; its latency and its journal.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::access::Principal;
use super::error::ApiError;
use super::extract::{Params, PathId, bad_param};
use crate::schema::turn::IndexedLatency;
use crate::schema::{CallLatencyReport, ErrorBody, Event, EventList, Transcript, TurnLatency};
use crate::store::EVENTS_MAX;
use crate::types::TurnRecord;
use crate::types::call::TurnRole;

/// Shortest time a subtitle stands, milliseconds: a turn may be closed without a length.
const CUE_MS_MIN: u64 = 500;

pub(super) fn indexed_latency(turn: &TurnRecord) -> Option<IndexedLatency> {
    let latency = turn.latency.as_ref().map(TurnLatency::from)?;
    Some(IndexedLatency { index: turn.id.0, latency })
}

/// Show a call's transcript
///
/// A live call's transcript grows with every closed turn.
#[utoipa::path(get, path = "/v1/calls/{id}/transcript", operation_id = "get_transcript", tag = "calls",
    params(
        ("id" = String, Path, description = "Identifier of the call"),
        ("format" = Option<String>, Query, description = "`json` (default), `text`, `srt` or `vtt`"),
    ),
    responses(
        (status = 200, description = "The turns in order; with `format` as text or subtitles",
            content((Transcript = "application/json"), (String = "text/plain"),
                (String = "application/x-subrip"), (String = "text/vtt"))),
        (status = 400, description = "Unknown format", body = ErrorBody),
        (status = 404, description = "There is no such call", body = ErrorBody),
    ))]
pub(super) async fn transcript(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    params: Params,
) -> Result<Response, ApiError> {
    params.only(&["format"])?;
    let format = params.one("format")?.unwrap_or("json");
    if !["json", "text", "srt", "vtt"].contains(&format) {
        return Err(bad_param("format", "`format` is `json`, `text`, `srt` or `vtt`"));
    }
    let record = api.call(&principal, id).await?;
    let turns = api.store.turns(id).await?;
    let (kind, text) = match format {
        "text" => ("text/plain; charset=utf-8", turns.iter().map(line).collect()),
        "srt" => ("application/x-subrip; charset=utf-8", subtitles(&turns, Subtitles::Srt)),
        "vtt" => ("text/vtt; charset=utf-8", subtitles(&turns, Subtitles::Vtt)),
        _ => return Ok(axum::Json(Transcript::new(&record, &turns)).into_response()),
    };
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// What was said or, of the agent, heard, on one line.
fn said(turn: &TurnRecord) -> String {
    let heard = turn.spoken_content.as_ref().unwrap_or(&turn.content).reveal();
    heard.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn who(turn: &TurnRecord) -> &'static str {
    match turn.role {
        TurnRole::User => "user",
        TurnRole::Assistant => "assistant",
        TurnRole::Tool => "tool",
        TurnRole::System => "system",
    }
}

/// One turn as a line: when, who, and what.
fn line(turn: &TurnRecord) -> String {
    let (minutes, ms) = (turn.offset_ms / 60_000, turn.offset_ms % 60_000);
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    let cut = if turn.interrupted { " [interrupted]" } else { "" };
    format!("[{minutes:02}:{seconds:02}.{ms:03}] {}: {}{cut}\n", who(turn), said(turn))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Subtitles {
    Srt,
    /// <https://www.w3.org/TR/webvtt1/>
    Vtt,
}

/// What was spoken, as cues; what nobody heard is left out.
fn subtitles(turns: &[TurnRecord], kind: Subtitles) -> String {
    let mut text = String::from(if kind == Subtitles::Vtt { "WEBVTT\n\n" } else { "" });
    let spoken = turns.iter().filter(|turn| {
        matches!(turn.role, TurnRole::User | TurnRole::Assistant) && !said(turn).is_empty()
    });
    for (n, turn) in (1u32..).zip(spoken) {
        let end = turn.offset_ms.saturating_add(turn.duration_ms.max(CUE_MS_MIN));
        let (from, to) = (cue_time(turn.offset_ms, kind), cue_time(end, kind));
        let words = match kind {
            Subtitles::Srt => format!("{}: {}", who(turn), said(turn)),
            Subtitles::Vtt => format!("<v {}>{}", who(turn), escaped(&said(turn))),
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "{n}\n{from} --> {to}\n{words}\n\n");
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn cue_time(ms: u64, kind: Subtitles) -> String {
    let point = if kind == Subtitles::Srt { ',' } else { '.' };
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    format!("{hours:02}:{minutes:02}:{:02}{point}{:03}", ms / 1_000 % 60, ms % 1_000)
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
    principal: Principal,
    PathId(id): PathId,
    params: Params,
) -> Result<axum::Json<CallLatencyReport>, ApiError> {
    params.only(&[])?;
    let record = api.call(&principal, id).await?;
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
    principal: Principal,
    PathId(id): PathId,
    params: Params,
) -> Result<axum::Json<EventList>, ApiError> {
    params.only(&["after"])?;
    let after = params.number("after")?.unwrap_or(0);
    api.call(&principal, id).await?;
    let events = api.store.events(id, after).await?;
    let more = events.len() >= EVENTS_MAX;
    Ok(axum::Json(EventList {
        call_id: id.to_string(),
        next_after: events.last().filter(|_| more).map(|event| event.seq),
        items: events.iter().map(Event::from).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::TurnId;
    use crate::types::call::TurnOrigin;

    fn turn(n: u32, role: TurnRole, text: &str, offset_ms: u64) -> TurnRecord {
        TurnRecord {
            id: TurnId(n),
            role,
            origin: TurnOrigin::User,
            content: text.to_owned().into(),
            spoken_content: None,
            interrupted: false,
            offset_ms,
            duration_ms: 1_500,
            confidence: None,
            latency: None,
            error: None,
            tool: None,
            failovers: Vec::new(),
        }
    }

    #[test]
    fn subtitles_hold_what_was_spoken() {
        let turns = [
            turn(0, TurnRole::Assistant, "Hello\nthere <3 & more", 0),
            turn(1, TurnRole::System, "be kind", 100),
            turn(2, TurnRole::User, "Hi", 3_723_004),
        ];
        assert_eq!(
            subtitles(&turns, Subtitles::Srt),
            "1\n00:00:00,000 --> 00:00:01,500\nassistant: Hello there <3 & more\n\n\
             2\n01:02:03,004 --> 01:02:04,504\nuser: Hi\n\n"
        );
        assert_eq!(
            subtitles(&turns, Subtitles::Vtt),
            "WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.500\n<v assistant>Hello there &lt;3 &amp; more\n\n\
             2\n01:02:03.004 --> 01:02:04.504\n<v user>Hi\n\n"
        );
    }
}
