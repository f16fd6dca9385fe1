//! The scripted server of voices over WebSocket: one loop, whatever the vendor's words are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::{SinkExt, StreamExt};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::script::{Act, Saw, Script, whole};
use super::tts_wire::{Heard, Out, Piece, Wire, pieces};

enum Step {
    Wait,
    Audio(Piece),
    Out(Out),
    Cut,
}

struct Job {
    id: String,
    steps: VecDeque<Step>,
    canceled: bool,
}

impl Job {
    fn new(wire: &dyn Wire, id: String, text: &str, act: Act, mulaw: bool) -> Self {
        let mut pieces = pieces(text, mulaw).into_iter().map(Step::Audio);
        let mut steps = VecDeque::new();
        match act {
            Act::Error => steps.push_back(Step::Out(wire.error(&id))),
            Act::Garbage => {
                steps.push_back(Step::Out(Out::Text("{\"canary-of-the-provider".to_owned())));
            }
            Act::Cut => steps.extend(pieces.next().into_iter().chain([Step::Cut])),
            Act::Serve | Act::Hold | Act::HoldAfterFirst | Act::Other => {
                steps.extend((act == Act::Hold).then_some(Step::Wait));
                steps.extend(pieces.next());
                steps.extend(wire.marks(&id, text).map(Step::Out));
                steps.extend((act == Act::HoldAfterFirst).then_some(Step::Wait));
                steps.extend(pieces);
                steps.extend(wire.done(&id).into_iter().map(Step::Out));
            }
        }
        Self { id, steps, canceled: false }
    }
}

type Socket = WebSocketStream<TcpStream>;

async fn send(socket: &mut Socket, out: Out) -> Option<()> {
    let message = match out {
        Out::Text(text) => Message::text(text),
        Out::Binary(octets) => Message::binary(octets),
    };
    socket.send(message).await.ok()
}

async fn accept(mut stream: TcpStream, number: usize, script: &Script) -> Option<Socket> {
    if let Some(status) = script.status() {
        // The request is read first: what is unread at the close would be a reset.
        super::script::request(&mut stream).await?;
        stream.write_all(&whole(status, "application/json", "{}")).await.ok()?;
        return None;
    }
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let callback = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        script.put(number, Saw::Raw(format!("{} {:?}", request.uri(), request.headers())));
        Ok(response)
    };
    tokio_tungstenite::accept_hdr_async(stream, callback).await.ok()
}

/// Serves one connection.
pub(super) async fn serve(
    stream: TcpStream,
    number: usize,
    script: Arc<Script>,
    mut wire: Box<dyn Wire>,
) {
    let Some(mut socket) = accept(stream, number, &script).await else { return };
    let mut jobs: VecDeque<Job> = VecDeque::new();
    let mut released = script.release();
    loop {
        let waits = jobs.front().is_none_or(|job| matches!(job.steps.front(), Some(Step::Wait)));
        let goes = tokio::select! {
            biased;
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    hear(&mut socket, &mut *wire, &mut jobs, (number, &script), &text).await
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => None,
                Some(Ok(_)) => Some(()),
            },
            _ = released.changed() => {
                if let Some(job) = jobs.front_mut() {
                    job.steps.pop_front_if(|step| matches!(step, Step::Wait));
                }
                Some(())
            }
            () = std::future::ready(()), if !waits => step(&mut socket, &*wire, &mut jobs).await,
        };
        if goes.is_none() {
            return;
        }
    }
}

async fn step(socket: &mut Socket, wire: &dyn Wire, jobs: &mut VecDeque<Job>) -> Option<()> {
    let job = jobs.front_mut()?;
    match job.steps.pop_front() {
        Some(Step::Audio(piece)) => send(socket, wire.audio(&job.id, &piece)).await,
        Some(Step::Out(out)) => send(socket, out).await,
        Some(Step::Cut) => None,
        Some(Step::Wait) => Some(()),
        None => {
            jobs.pop_front();
            Some(())
        }
    }
}

async fn hear(
    socket: &mut Socket,
    wire: &mut dyn Wire,
    jobs: &mut VecDeque<Job>,
    (number, script): (usize, &Script),
    text: &str,
) -> Option<()> {
    script.put(number, Saw::Raw(text.to_owned()));
    let message = serde_json::from_str(text).unwrap();
    for heard in wire.hear(&message) {
        match heard {
            Heard::KeepAlive => script.put(number, Saw::KeptAlive),
            Heard::Say { id, text } => {
                let live = jobs.iter().any(|job| !job.canceled && !job.steps.is_empty());
                assert!(!(wire.one_at_a_time() && live), "two sentences would become one");
                let mulaw = script.mulaw.load(Ordering::Relaxed);
                jobs.push_back(Job::new(wire, id, &text, script.next(), mulaw));
                script.put(number, Saw::Asked(text));
            }
            Heard::Cancel(id) => {
                script.put(number, Saw::Canceled);
                cancel(socket, wire, jobs, id.as_deref()).await?;
            }
        }
    }
    Some(())
}

/// A sentence that goes on does so at once; of one that stops, what was on the way still comes.
async fn cancel(
    socket: &mut Socket,
    wire: &dyn Wire,
    jobs: &mut VecDeque<Job>,
    id: Option<&str>,
) -> Option<()> {
    let mut late = Vec::new();
    jobs.retain_mut(|job| {
        if id.is_some_and(|id| id != job.id) {
            return true;
        }
        job.canceled = true;
        job.steps.retain(|step| !matches!(step, Step::Wait));
        if let Some(Step::Audio(piece)) = job.steps.front() {
            late.push(wire.audio(&job.id, piece));
        }
        wire.goes_on()
    });
    if !wire.goes_on() {
        for out in late.into_iter().chain(wire.canceled(id)) {
            send(socket, out).await?;
        }
    }
    Some(())
}
