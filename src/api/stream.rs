//! Live events, of one call and of a whole organization.
//!
//! A call's stream is its journal and then the bus. An organization's stream reads the feed in the store and is
//! woken by its commits, so it can be resumed at any entry without holes or repetitions; only partial transcripts,
//! which no journal holds, come from the bus. One task per stream fills a short queue that the connection empties. A
//! client slower than the events costs nobody else anything: what the store has it gets later, and of what only the
//! bus had it is told by a `lagged` event.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};

use super::Api;
use super::access::Principal;
use super::auth::Session;
use super::error::{ApiError, Code};
use super::extract::{Params, PathId, bad_param};
use super::socket::{Client, KEEP_ALIVE, Message, QUEUE, respond};
use crate::net::clock;
use crate::schema::{ErrorBody, Event};
use crate::store::EVENTS_MAX;
use crate::types::{CallEvent, CallEventKind, CallId, CallStatus, OrganizationId};

/// Streams at once: each is a task and a connection.
pub(super) const STREAMS_MAX: usize = 256;
/// Most words of `types`.
const TYPES_MAX: usize = 32;
/// Calls whose owner one stream remembers.
const OWNERS_MAX: usize = 1_024;
/// Shortest time between two looks at the feed: many commits are one look.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(50);

type Sink = mpsc::Sender<Message>;

/// The client is gone, or the stream is complete.
struct Over;

/// Stream a call's events
///
/// Server-sent events: `id` is `seq`, `event` the type, `data` the entry as `/events` shows it. With an upgrade to
/// WebSocket, the same as text frames `{"id", "event", "data"}`. The stream begins after `Last-Event-ID` or `after`,
/// else at the first entry, and ends with the call. A `lagged` event says that partial transcripts were missed.
#[utoipa::path(get, path = "/v1/calls/{id}/stream", operation_id = "stream_call_events", tag = "events",
    params(
        ("id" = String, Path, description = "Identifier of the call"),
        ("after" = Option<u64>, Query, description = "Begin after this `seq`"),
        ("types" = Option<String>, Query, description = "Only these types, separated by commas"),
        ("Last-Event-ID" = Option<u64>, Header, description = "As `after`, as browsers send it; it wins"),
    ),
    responses(
        (status = 101, description = "The stream, as a WebSocket"),
        (status = 200, description = "The stream", content_type = "text/event-stream", body = Event),
        (status = 404, description = "There is no such call", body = ErrorBody),
        (status = 503, description = "Too many streams are open", body = ErrorBody),
    ))]
pub(super) async fn of_call(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    params: Params,
    client: Client,
) -> Result<Response, ApiError> {
    params.only(&["after", "types"])?;
    let types = read_types(&params)?;
    let after = match &client.last_event_id {
        Some(text) => text.parse().ok(),
        None => params.number("after")?,
    };
    let permit = permit(&api)?;
    // Before the journal is read, so that nothing falls between the two.
    let bus = api.switchboard.bus().subscribe();
    api.call(&principal, id).await?;
    let (sink, source) = mpsc::channel(QUEUE);
    let last = after.unwrap_or(0);
    let session = client.session;
    let follower = Follower { api, session, id, last, sink, types, _permit: permit };
    tokio::spawn(follower.run(bus));
    Ok(respond(client.upgrade, source))
}

/// Stream all events
///
/// Events of every call of the organization, as server-sent events or over a WebSocket. `id` counts the stored
/// entries of all calls; the stream goes on after `Last-Event-ID` or `after` without holes or repetitions, and
/// without either begins now. Partial transcripts have no `id`; a `lagged` event says that some were missed.
#[utoipa::path(get, path = "/v1/events", operation_id = "stream_events", tag = "events",
    params(
        ("types" = Option<String>, Query,
            description = "Only these types, separated by commas, for example `status_changed,turn_ended`"),
        ("after" = Option<u64>, Query, description = "Begin after this `id`"),
        ("Last-Event-ID" = Option<u64>, Header, description = "As `after`, as browsers send it; it wins"),
    ),
    responses(
        (status = 101, description = "The stream, as a WebSocket"),
        (status = 200, description = "The stream", content_type = "text/event-stream", body = Event),
        (status = 503, description = "Too many streams are open", body = ErrorBody),
    ))]
pub(super) async fn of_all(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
    client: Client,
) -> Result<Response, ApiError> {
    params.only(&["types", "after"])?;
    let types = read_types(&params)?;
    let after = match &client.last_event_id {
        Some(text) => {
            let wrong = |_| bad_param("Last-Event-ID", "`Last-Event-ID` is an `id` of this stream");
            Some(text.parse().map_err(wrong)?)
        }
        None => params.number("after")?,
    };
    let permit = permit(&api)?;
    let bus = api.switchboard.bus().partials();
    let last = match after {
        Some(after) => after,
        None => api.store.feed_end().await?,
    };
    let (sink, source) = mpsc::channel(QUEUE);
    let organization = principal.organization;
    let (session, owners) = (client.session, HashMap::new());
    let feed = Feed { api, session, organization, last, sink, types, owners, _permit: permit };
    tokio::spawn(feed.run(bus));
    Ok(respond(client.upgrade, source))
}

fn read_types(params: &Params) -> Result<Vec<String>, ApiError> {
    let words = params.all("types").flat_map(|value| value.split(','));
    let types: Vec<String> = words.map(|word| word.trim().to_owned()).collect();
    if types.len() > TYPES_MAX {
        return Err(bad_param("types", format!("`types` has at most {TYPES_MAX} words")));
    }
    Ok(types)
}

/// A place among the streams.
pub(super) fn permit(api: &Api) -> Result<OwnedSemaphorePermit, ApiError> {
    let permit = Arc::clone(&api.streams).try_acquire_owned();
    permit.map_err(|_| ApiError::new(Code::TooManyStreams))
}

/// Says that something was missed that cannot be had again.
pub(super) fn lagged(missed: u64) -> Message {
    let data = serde_json::json!({ "missed": missed }).to_string();
    Message::Entry { id: None, event: "lagged".to_owned(), data }
}

/// An entry, unless its type is not wanted.
pub(super) fn render(event: &CallEvent, id: Option<String>, types: &[String]) -> Option<Message> {
    let entry = Event::from(event);
    if !types.is_empty() && !types.contains(&entry.r#type) {
        return None;
    }
    let data = serde_json::to_string(&entry).unwrap_or_else(|_| "{}".to_owned());
    Some(Message::Entry { id, event: entry.r#type, data })
}

/// Whether an entry is the last of its call.
pub(super) fn ends_call(event: &CallEvent) -> bool {
    matches!(&event.kind, CallEventKind::StatusChanged { status, .. } if CallStatus::is_terminal(*status))
}

/// Follows an organization.
struct Feed {
    api: Arc<Api>,
    session: Arc<Session>,
    organization: OrganizationId,
    /// Position of the last entry that was sent or passed over.
    last: u64,
    sink: Sink,
    types: Vec<String>,
    /// Whose the calls are whose partial transcripts come by.
    owners: HashMap<CallId, bool>,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    async fn run(mut self, mut bus: broadcast::Receiver<Arc<CallEvent>>) {
        let session = Arc::clone(&self.session);
        let stop = self.api.stop.clone();
        let sink = self.sink.clone();
        tokio::select! {
            // All ends of the stream are ordinary.
            _ = self.follow(&mut bus) => {}
            () = session.over() => {}
            () = stop.cancelled() => {}
            () = sink.closed() => {}
        }
    }

    async fn follow(&mut self, bus: &mut broadcast::Receiver<Arc<CallEvent>>) -> Result<(), Over> {
        let mut commits = self.api.store.commits();
        loop {
            commits.mark_unchanged();
            self.send_stored().await?;
            let looked = tokio::time::Instant::from_std(clock::now());
            loop {
                tokio::select! {
                    biased;
                    next = bus.recv() => self.send_partial(next).await?,
                    changed = commits.changed() => {
                        changed.map_err(|_| Over)?;
                        tokio::time::sleep_until(looked + LOOK_EVERY).await;
                        break;
                    }
                    // Another process may have written.
                    () = tokio::time::sleep(KEEP_ALIVE) => break,
                }
            }
        }
    }

    async fn send_stored(&mut self) -> Result<(), Over> {
        loop {
            let entries = self.api.store.feed(&self.organization, self.last).await;
            let entries = entries.map_err(|_| Over)?;
            let full = entries.len() >= EVENTS_MAX;
            for entry in entries {
                let id = entry.position.to_string();
                if let Some(message) = render(&entry.event, Some(id), &self.types) {
                    self.sink.send(message).await.map_err(|_| Over)?;
                }
                self.last = entry.position;
            }
            if !full {
                return Ok(());
            }
        }
    }

    async fn send_partial(&mut self, next: Result<Arc<CallEvent>, RecvError>) -> Result<(), Over> {
        let message = match next {
            Ok(event) if self.is_ours(event.call_id).await => render(&event, None, &self.types),
            Ok(_) => None,
            Err(RecvError::Lagged(missed)) => Some(lagged(missed)),
            Err(RecvError::Closed) => return Err(Over),
        };
        match message {
            Some(message) => self.sink.send(message).await.map_err(|_| Over),
            None => Ok(()),
        }
    }

    async fn is_ours(&mut self, call: CallId) -> bool {
        if let Some(known) = self.owners.get(&call) {
            return *known;
        }
        let Ok(Some(owner)) = self.api.store.organization_of(call).await else { return false };
        if self.owners.len() >= OWNERS_MAX {
            self.owners.clear();
        }
        let ours = owner == self.organization;
        self.owners.insert(call, ours);
        ours
    }
}

/// Follows one call: the journal first, then the bus, then the journal again where the bus had holes.
struct Follower {
    api: Arc<Api>,
    session: Arc<Session>,
    id: CallId,
    /// `seq` of the last entry that was sent or passed over.
    last: u64,
    sink: Sink,
    types: Vec<String>,
    _permit: OwnedSemaphorePermit,
}

impl Follower {
    async fn run(mut self, mut bus: broadcast::Receiver<Arc<CallEvent>>) {
        let session = Arc::clone(&self.session);
        tokio::select! {
            // All ends of the stream are ordinary.
            _ = self.follow(&mut bus) => {}
            () = session.over() => {}
        }
    }

    async fn follow(&mut self, bus: &mut broadcast::Receiver<Arc<CallEvent>>) -> Result<(), Over> {
        self.replay().await?;
        let mut look_again = tokio::time::interval(KEEP_ALIVE);
        look_again.reset();
        loop {
            let api = Arc::clone(&self.api);
            let next = tokio::select! {
                next = bus.recv() => next,
                // The end may have been published before the stream began.
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
                    self.sink.send(lagged(missed)).await.map_err(|_| Over)?;
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
        // What the bus told before this stream listened may not be on disk yet.
        self.api.switchboard.flush().await;
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
        if let Some(entry) = render(event, Some(event.seq.to_string()), &self.types) {
            self.sink.send(entry).await.map_err(|_| Over)?;
        }
        self.last = event.seq;
        if ends_call(event) { Err(Over) } else { Ok(()) }
    }
}
