//! Hearing a live call: raw audio over a WebSocket, with the call's events between.
//!
//! The audio comes from the recorder, not from the line: it is about 150 ms old, and a listener that is too slow
//! misses some, is told so, and costs nobody else anything.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::Api;
use super::access::Principal;
use super::error::{ApiError, Code};
use super::extract::{Params, PathId, bad_param};
use super::socket::{Client, Message, QUEUE, as_socket};
use super::stream::{ends_call, lagged, permit, render};
use crate::call::{Heard, Listener, ListenerPcm};
use crate::schema::ErrorBody;
use crate::types::{CallId, CallStatus, SampleRate};

/// Longest wait for a call's last event when its audio is over.
const LAST_WAIT: Duration = Duration::from_secs(10);

/// Listen to a call
///
/// A WebSocket. Binary frames are PCM, 16 bits, little endian: both sides mixed, or with `channels=2` the caller
/// left and the agent right. The first text frame says `listening` with `rate` and `channels`; the others are the
/// call's events. `lagged` says how many samples were missed. It ends with the call. At most 8 listen to one call.
#[utoipa::path(get, path = "/v1/calls/{id}/listen", operation_id = "listen_to_call", tag = "events",
    params(
        ("id" = String, Path, description = "Identifier of the call"),
        ("channels" = Option<u8>, Query, minimum = 1, maximum = 2, description = "1 (default) or 2"),
        ("rate" = Option<u32>, Query, description = "8000 (default) or 16000"),
    ),
    responses(
        (status = 101, description = "The audio, as a WebSocket"),
        (status = 400, description = "A parameter has a bad value", body = ErrorBody),
        (status = 404, description = "There is no such call", body = ErrorBody),
        (status = 409, description = "The call is not live or not recorded, or 8 listen already", body = ErrorBody),
        (status = 426, description = "The request asks for no WebSocket", body = ErrorBody),
        (status = 503, description = "Too many streams are open", body = ErrorBody),
    ))]
pub(super) async fn listen(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    params: Params,
    client: Client,
) -> Result<Response, ApiError> {
    params.only(&["channels", "rate"])?;
    let stereo = match params.number::<u8>("channels")? {
        None | Some(1) => false,
        Some(2) => true,
        Some(_) => return Err(bad_param("channels", "`channels` is 1 or 2")),
    };
    let rate = match params.number::<u32>("rate")? {
        None | Some(8_000) => SampleRate::HZ_8000,
        Some(16_000) => SampleRate::HZ_16000,
        Some(_) => return Err(bad_param("rate", "`rate` is 8000 or 16000")),
    };
    let record = api.call(&principal, id).await?;
    if record.status != CallStatus::InProgress {
        let message = format!("the call is `{}`", record.status.as_str());
        return Err(ApiError::because(Code::CallNotActive, message));
    }
    let session = client.session;
    let upgrade = client.upgrade.map_err(|_| {
        ApiError::new(Code::UpgradeRequired)
            .header(header::UPGRADE, HeaderValue::from_static("websocket"))
            .header(header::CONNECTION, HeaderValue::from_static("upgrade"))
    })?;
    let permit = permit(&api)?;
    let bus = api.switchboard.bus().subscribe();
    let heard = api.switchboard.listen(id).await.ok_or(ApiError::new(Code::CannotListen))?;
    let pcm = ListenerPcm::new(&heard, rate, stereo).ok_or(ApiError::new(Code::CannotListen))?;
    let (sink, source) = mpsc::channel(QUEUE);
    let stop = api.stop.clone();
    tokio::spawn(async move {
        let ear = Ear { id, sink, pcm, _permit: permit };
        tokio::select! {
            () = ear.run(heard, bus, rate, stereo) => {}
            () = session.over() => {}
            () = stop.cancelled() => {}
        }
    });
    Ok(as_socket(upgrade, source))
}

struct Ear {
    id: CallId,
    sink: mpsc::Sender<Message>,
    pcm: ListenerPcm,
    _permit: OwnedSemaphorePermit,
}

impl Ear {
    async fn run(
        mut self,
        mut heard: Listener,
        mut bus: tokio::sync::broadcast::Receiver<Arc<crate::types::CallEvent>>,
        rate: SampleRate,
        stereo: bool,
    ) {
        let channels = if stereo { 2 } else { 1 };
        let format = serde_json::json!({
            "call_id": self.id.to_string(), "encoding": "pcm_s16le", "rate": rate.hz(), "channels": channels,
        });
        let data = format.to_string();
        let begin = Message::Entry { id: None, event: "listening".to_owned(), data };
        if self.sink.send(begin).await.is_err() {
            return;
        }
        // The audio ends a moment before the call's last event is published.
        let mut last = None;
        loop {
            let message = tokio::select! {
                piece = heard.recv(), if last.is_none() => match piece {
                    Some(piece) => self.audio(&piece).await,
                    None => {
                        last = Some(Box::pin(tokio::time::sleep(LAST_WAIT)));
                        None
                    }
                },
                () = async { match &mut last { Some(wait) => wait.await, None => std::future::pending().await } } => return,
                event = bus.recv() => match event {
                    Ok(event) if event.call_id == self.id => {
                        let over = ends_call(&event);
                        let entry = render(&event, Some(event.seq.to_string()), &[]);
                        if over {
                            if let Some(entry) = entry {
                                // The last word; nobody may be left to hear it.
                                let _ = self.sink.send(entry).await;
                            }
                            return;
                        }
                        entry
                    }
                    Ok(_) => None,
                    Err(RecvError::Lagged(_)) => Some(lagged(0)),
                    Err(RecvError::Closed) => return,
                },
                () = self.sink.closed() => return,
            };
            if let Some(message) = message
                && self.sink.send(message).await.is_err()
            {
                return;
            }
        }
    }

    async fn audio(&mut self, piece: &Heard) -> Option<Message> {
        if piece.missed > 0 && self.sink.send(lagged(piece.missed)).await.is_err() {
            return None;
        }
        let octets = self.pcm.convert(piece);
        (!octets.is_empty()).then(|| Message::Audio(Bytes::from(octets)))
    }
}
