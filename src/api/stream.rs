//! Live events as server-sent events (WHATWG HTML, section 9.2).
//!
//! One task per stream reads the bus and the store and fills a short queue that the connection
//! empties. A client that is slower than the events makes the bus overrun for its task alone: it is
//! told by a `gap` event, gets what the journal has of the missed entries, and goes on.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::Api;
use super::error::{ApiError, Code};
use super::extract::{Params, PathId, bad_param};
use crate::schema::{ErrorBody, Event};
use crate::store::EVENTS_MAX;
use crate::types::{CallEvent, CallEventKind, CallId, CallStatus};

/// Streams at once: each is a task and a connection.
pub(super) const STREAMS_MAX: usize = 256;
/// Events on their way to one connection.
const QUEUE: usize = 64;
/// A comment goes out after this long without an event, so that proxies keep the connection; the
/// journal is also looked at again, in case the end was published before the stream began.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Most words of `types`.
const TYPES_MAX: usize = 32;

type Sink = mpsc::Sender<Result<SseEvent, Infallible>>;

/// The client is gone, or the stream is complete.
struct Over;

/// Stream a call's events
///
/// Server-sent events: `id` is `seq`, `event` the type, `data` the entry as `/events` shows it. The
/// stream begins after `Last-Event-ID` or `after`, else at the first entry, and ends with the call.
/// A `gap` event says that entries were missed; partial transcripts among them are lost.
#[utoipa::path(get, path = "/v1/calls/{id}/stream", operation_id = "stream_call_events", tag = "events",
    params(
        ("id" = String, Path, description = "Identifier of the call"),
        ("after" = Option<u64>, Query, description = "Begin after this `seq`"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The same, as browsers send it; it wins"),
    ),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = Event),
        (status = 404, description = "There is no such call", body = ErrorBody),
        (status = 503, description = "Too many streams are open", body = ErrorBody),
    ))]
pub(super) async fn of_call(
    State(api): State<Arc<Api>>,
    PathId(id): PathId,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.only(&["after"])?;
    let after = match last_event_id(&headers) {
        Some(text) => text.parse().ok(),
        None => params.number("after")?,
    };
    let permit = permit(&api)?;
    // Before the journal is read, so that nothing falls between the two.
    let bus = api.switchboard.bus().subscribe();
    api.call(id).await?;
    let (sink, source) = mpsc::channel(QUEUE);
    let follower = Follower { api, id, last: after.unwrap_or(0), sink, _permit: permit };
    tokio::spawn(follower.run(bus));
    Ok(respond(source))
}

/// Stream all events
///
/// Events of every call from now on; `id` is `<call id>:<seq>`. There is no journal over all calls:
/// after a reconnect a `gap` event says that entries may be missing, and `/v1/calls/{id}/events` has them.
#[utoipa::path(get, path = "/v1/events", operation_id = "stream_events", tag = "events",
    params(("types" = Option<String>, Query,
        description = "Only these types, separated by commas, for example `status_changed,turn_ended`")),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = Event),
        (status = 503, description = "Too many streams are open", body = ErrorBody),
    ))]
pub(super) async fn of_all(
    State(api): State<Arc<Api>>,
    params: Params,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    params.only(&["types"])?;
    let types: Vec<String> = params
        .all("types")
        .flat_map(|value| value.split(','))
        .map(|t| t.trim().to_owned())
        .collect();
    if types.len() > TYPES_MAX {
        return Err(bad_param("types", format!("`types` has at most {TYPES_MAX} words")));
    }
    let permit = permit(&api)?;
    let bus = api.switchboard.bus().subscribe();
    let (sink, source) = mpsc::channel(QUEUE);
    let resumed = last_event_id(&headers).is_some();
    tokio::spawn(async move {
        let _permit = permit;
        if resumed && sink.send(Ok(gap(None))).await.is_err() {
            return;
        }
        // The client's end is the only other way out of here.
        let _ = follow_all(&api, bus, &sink, &types).await;
    });
    Ok(respond(source))
}

fn permit(api: &Api) -> Result<OwnedSemaphorePermit, ApiError> {
    let permit = Arc::clone(&api.streams).try_acquire_owned();
    permit.map_err(|_| ApiError::new(Code::TooManyStreams))
}

fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("last-event-id")?.to_str().ok().map(str::trim).filter(|id| !id.is_empty())
}

fn respond(source: mpsc::Receiver<Result<SseEvent, Infallible>>) -> Response {
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
    let mut response = Sse::new(ReceiverStream::new(source)).keep_alive(keep_alive).into_response();
    // Proxies that collect an answer before they pass it on would hold every event back.
    let headers = response.headers_mut();
    headers.insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    response
}

fn gap(missed: Option<u64>) -> SseEvent {
    let data = serde_json::json!({ "missed": missed });
    SseEvent::default().event("gap").data(data.to_string())
}

fn render(event: &CallEvent, id: String) -> SseEvent {
    let entry = Event::from(event);
    let data = serde_json::to_string(&entry).unwrap_or_else(|_| "{}".to_owned());
    SseEvent::default().id(id).event(entry.r#type).data(data)
}

fn ends_call(event: &CallEvent) -> bool {
    matches!(&event.kind, CallEventKind::StatusChanged { status, .. } if CallStatus::is_terminal(*status))
}

async fn follow_all(
    api: &Api,
    mut bus: broadcast::Receiver<Arc<CallEvent>>,
    sink: &Sink,
    types: &[String],
) -> Result<(), Over> {
    loop {
        let next = tokio::select! {
            next = bus.recv() => next,
            () = sink.closed() => return Err(Over),
            () = api.stop.cancelled() => return Ok(()),
        };
        let event = match next {
            Ok(event) => {
                let entry = render(&event, format!("{}:{}", event.call_id, event.seq));
                let wanted = types.is_empty() || types.contains(&Event::from(&*event).r#type);
                wanted.then_some(entry)
            }
            Err(RecvError::Lagged(missed)) => Some(gap(Some(missed))),
            Err(RecvError::Closed) => return Ok(()),
        };
        if let Some(event) = event {
            sink.send(Ok(event)).await.map_err(|_| Over)?;
        }
    }
}

/// Follows one call: the journal first, then the bus, then the journal again where the bus had holes.
struct Follower {
    api: Arc<Api>,
    id: CallId,
    /// `seq` of the last entry that was sent.
    last: u64,
    sink: Sink,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    async fn run(mut self, mut bus: broadcast::Receiver<Arc<CallEvent>>) {
        // Both ends of the stream are ordinary.
        let _ = self.follow(&mut bus).await;
    }

    async fn follow(&mut self, bus: &mut broadcast::Receiver<Arc<CallEvent>>) -> Result<(), Over> {
        self.replay().await?;
        let mut look_again = tokio::time::interval(KEEP_ALIVE);
        look_again.reset();
        loop {
            let api = Arc::clone(&self.api);
            let next = tokio::select! {
                next = bus.recv() => next,
                _ = look_again.tick() => {
                    self.replay().await?;
                    continue;
                }
                () = self.sink.closed() => return Err(Over),
                () = api.stop.cancelled() => return Err(Over),
            };
            match next {
                Ok(event) if event.call_id == self.id && event.seq > self.last => {
                    if event.seq > self.last + 1 {
                        self.replay_before(event.seq).await?;
                    }
                    self.send(&event).await?;
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => {
                    self.sink.send(Ok(gap(Some(missed)))).await.map_err(|_| Over)?;
                    self.replay().await?;
                }
                Err(RecvError::Closed) => return Err(Over),
            }
        }
    }

    /// Sends what the journal has after the last entry, and ends the stream if the call is over.
    async fn replay(&mut self) -> Result<(), Over> {
        // The record first: if it is over, the journal read after it is complete.
        let record = self.api.store.get(self.id).await.map_err(|_| Over)?;
        self.replay_before(u64::MAX).await?;
        match record {
            Some(record) if record.status.is_terminal() => Err(Over),
            _ => Ok(()),
        }
    }

    async fn replay_before(&mut self, seq: u64) -> Result<(), Over> {
        loop {
            let events = self.api.store.events(self.id, self.last).await.map_err(|_| Over)?;
            let full = events.len() >= EVENTS_MAX;
            for event in events.iter().take_while(|event| event.seq < seq) {
                self.send(event).await?;
            }
            if !full || self.last.saturating_add(1) >= seq {
                return Ok(());
            }
        }
    }

    async fn send(&mut self, event: &CallEvent) -> Result<(), Over> {
        let entry = render(event, event.seq.to_string());
        self.sink.send(Ok(entry)).await.map_err(|_| Over)?;
        self.last = event.seq;
        if ends_call(event) { Err(Over) } else { Ok(()) }
    }
}
