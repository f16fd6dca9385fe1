//! One stream, two dresses: server-sent events (WHATWG HTML, section 9.2) or a WebSocket (RFC 6455).
//!
//! Whoever makes a stream fills a short queue of [`Message`]s; the connection empties it. A peer of a WebSocket
//! sends nothing but control frames, so whatever else it sends is read and dropped, in small pieces.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade, close_code};
use axum::http::HeaderValue;
use axum::http::request::Parts;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::auth::Session;
use super::error::{ApiError, Code};

/// Messages on their way to one connection.
pub(super) const QUEUE: usize = 64;
/// Something goes out after this long without a message, so that proxies keep the connection.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Largest frame a peer may send, bytes: it has nothing to say.
const FRAME_BYTES_MAX: usize = 4_096;
/// Longest time a WebSocket's peer may take for one message, and to answer our goodbye.
const SEND_WAIT: Duration = Duration::from_secs(30);

/// What a stream sends.
#[derive(Clone, Debug)]
pub(super) enum Message {
    /// An entry.
    Entry {
        /// Where to resume after it; `None` for what cannot be had again.
        id: Option<String>,
        /// Its type.
        event: String,
        /// Its JSON.
        data: String,
    },
    /// Audio; over WebSocket only.
    Audio(Bytes),
}

/// Who asks for a stream, and how.
pub(super) struct Client {
    /// Ends the stream when its key does.
    pub session: Arc<Session>,
    /// Where to resume, from the header that browsers send.
    pub last_event_id: Option<String>,
    /// The upgrade that was asked for, if one was.
    pub upgrade: Upgrade,
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let session = parts.extensions.get::<Arc<Session>>().cloned();
        let last = parts.headers.get("last-event-id").and_then(|value| value.to_str().ok());
        let last = last.map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned);
        Ok(Self {
            session: session.ok_or(ApiError::new(Code::Internal))?,
            last_event_id: last,
            upgrade: WebSocketUpgrade::from_request_parts(parts, state).await,
        })
    }
}

/// Answers with a stream in the dress the client asked for.
pub(super) fn respond(upgrade: Upgrade, source: mpsc::Receiver<Message>) -> Response {
    match upgrade {
        Ok(upgrade) => as_socket(upgrade, source),
        Err(_) => as_events(source),
    }
}

/// As a WebSocket.
pub(super) fn as_socket(upgrade: WebSocketUpgrade, source: mpsc::Receiver<Message>) -> Response {
    upgrade
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .on_upgrade(move |socket| pump(socket, source))
}

fn as_events(source: mpsc::Receiver<Message>) -> Response {
    let events = ReceiverStream::new(source).filter_map(async |message| {
        let Message::Entry { id, event, data } = message else { return None };
        let sent = SseEvent::default().event(event).data(data);
        Some(Ok::<_, Infallible>(match id {
            Some(id) => sent.id(id),
            None => sent,
        }))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
    let mut response = Sse::new(events).keep_alive(keep_alive).into_response();
    // Proxies that collect an answer before they pass it on would hold every event back.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// One entry as a WebSocket shows it: the three parts of a server-sent event in one object.
fn text(id: Option<&str>, event: &str, data: &str) -> String {
    let id = id.map_or("null".to_owned(), |id| serde_json::Value::from(id).to_string());
    format!("{{\"id\":{id},\"event\":{},\"data\":{data}}}", serde_json::Value::from(event))
}

async fn pump(mut socket: WebSocket, mut source: mpsc::Receiver<Message>) {
    let mut ping = tokio::time::interval(KEEP_ALIVE);
    ping.reset();
    loop {
        let frame = tokio::select! {
            message = source.recv() => match message {
                Some(Message::Entry { id, event, data }) => {
                    Frame::Text(text(id.as_deref(), &event, &data).into())
                }
                Some(Message::Audio(octets)) => Frame::Binary(octets),
                None => break,
            },
            received = socket.recv() => match received {
                Some(Ok(Frame::Close(_))) | Some(Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            _ = ping.tick() => Frame::Ping(Bytes::new()),
        };
        match tokio::time::timeout(SEND_WAIT, socket.send(frame)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
    let bye = Frame::Close(Some(CloseFrame { code: close_code::NORMAL, reason: "the end".into() }));
    if let Ok(Ok(())) = tokio::time::timeout(SEND_WAIT, socket.send(bye)).await {
        // The peer's own goodbye, so that what was sent before ours is not cut off by a reset.
        let _ = tokio::time::timeout(KEEP_ALIVE, socket.recv()).await;
    }
}
