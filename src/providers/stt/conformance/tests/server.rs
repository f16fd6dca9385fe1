//! A scripted server on loopback: one vendor's protocol, with faults.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::ear::Ear;
use crate::net::clock;

/// What a server sends.
#[derive(Clone, Debug)]
pub(super) enum Say {
    Text(String),
    Close(u16),
    /// The adapter broke the protocol.
    Violation(&'static str),
}

/// What it gets.
pub(super) enum Heard<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
}

/// A vendor's side of its protocol.
pub(super) trait Vendor: Send {
    /// The request's path and query, which begin a connection.
    fn greet(&mut self, _uri: &str) -> Vec<Say> {
        Vec::new()
    }
    fn hear(&mut self, heard: Heard<'_>) -> Vec<Say>;
    fn ear(&mut self) -> &mut Ear;
    /// Whether a message before the answer to the one before it breaks the protocol.
    fn in_lock_step(&self) -> bool {
        false
    }
}

/// Faults, and how long answers to commands take.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// The first connection is cut after so many messages with audio.
    pub(super) cut_after: Option<usize>,
    /// Said in place of the answer to the first message with audio, on the first connection.
    pub(super) instead: Vec<Say>,
    /// Every request is answered with this status.
    pub(super) status: Option<u16>,
    /// Pause before answers to text.
    pub(super) delay: Duration,
}

/// What a server saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Connected { authorization: String },
    Audio(usize),
    Text(String),
    Violation(&'static str),
    Closed,
}

pub(super) struct Server {
    pub(super) url: String,
    pub(super) log: Arc<Log>,
    task: tokio::task::JoinHandle<()>,
}

pub(super) struct Log {
    entries: Mutex<Vec<(Instant, Seen)>>,
    /// Octets of audio of all connections.
    pub(super) octets: Mutex<Vec<u8>>,
    written: watch::Sender<usize>,
}

impl Log {
    fn put(&self, seen: Seen) {
        self.entries.lock().unwrap().push((clock::now(), seen));
        self.written.send_modify(|count| *count += 1);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.entries.lock().unwrap().iter().map(|(_, seen)| seen.clone()).collect()
    }

    pub(super) fn connections(&self) -> usize {
        self.seen().iter().filter(|seen| matches!(seen, Seen::Connected { .. })).count()
    }

    /// The first entry from `from` on that is like this, and when.
    pub(super) async fn wait(
        &self,
        from: usize,
        within: Duration,
        wanted: impl Fn(&Seen) -> bool,
    ) -> Option<(Instant, Seen)> {
        let mut written = self.written.subscribe();
        let search = async {
            loop {
                written.borrow_and_update();
                let entries = self.entries.lock().unwrap().clone();
                if let Some(found) = entries.into_iter().skip(from).find(|(_, seen)| wanted(seen)) {
                    return Some(found);
                }
                written.changed().await.ok()?;
            }
        };
        tokio::time::timeout(within, search).await.ok().flatten()
    }
}

impl Server {
    pub(super) async fn start(vendor: fn() -> Box<dyn Vendor>, plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let log = Arc::new(Log {
            entries: Mutex::default(),
            octets: Mutex::default(),
            written: watch::Sender::new(0),
        });
        let task = tokio::spawn({
            let log = Arc::clone(&log);
            async move {
                let mut plan = plan;
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(stream, vendor(), plan.clone(), Arc::clone(&log)));
                    plan.cut_after = None;
                    plan.instead.clear();
                }
            }
        });
        Self { url, log, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Closing(Arc<Log>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.put(Seen::Closed);
    }
}

async fn serve(stream: TcpStream, vendor: Box<dyn Vendor>, plan: Plan, log: Arc<Log>) {
    let mut head = [0u8; 4];
    while stream.peek(&mut head).await.is_ok_and(|length| (1..4).contains(&length)) {
        tokio::task::yield_now().await;
    }
    let _closing = Closing(Arc::clone(&log));
    if &head == b"POST" {
        transcription(stream, vendor, plan, &log).await;
    } else {
        websocket(stream, vendor, plan, &log).await;
    }
}

async fn websocket(stream: TcpStream, mut vendor: Box<dyn Vendor>, plan: Plan, log: &Log) {
    let mut uri = String::new();
    let mut authorization = String::new();
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let callback = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        uri = request.uri().to_string();
        let header = ["authorization", "xi-api-key", "x-api-key"]
            .iter()
            .find_map(|name| request.headers().get(*name))
            .and_then(|value| value.to_str().ok());
        authorization = header.unwrap_or_default().to_owned();
        match plan.status {
            Some(status) => {
                let mut response = ErrorResponse::new(None);
                *response.status_mut() = status.try_into().unwrap();
                Err(response)
            }
            None => Ok(response),
        }
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, callback).await else {
        return;
    };
    log.put(Seen::Connected { authorization });
    let greeting = vendor.greet(&uri);
    if say(&mut socket, greeting, log).await.is_none() {
        return;
    }
    let mut audio = 0;
    while let Some(Ok(message)) = socket.next().await {
        let before = vendor.ear().octets.len();
        let (mut said, is_text) = match &message {
            Message::Text(text) => (vendor.hear(Heard::Text(text)), true),
            Message::Binary(octets) => (vendor.hear(Heard::Binary(octets)), false),
            Message::Close(_) => return,
            _ => continue,
        };
        let heard = vendor.ear().octets.split_off(before);
        let has_audio = !heard.is_empty();
        if has_audio {
            audio += 1;
            let length = heard.len();
            log.octets.lock().unwrap().extend(heard);
            log.put(Seen::Audio(length));
        } else if let Message::Text(text) = &message {
            log.put(Seen::Text(text.to_string()));
        }
        if has_audio && plan.cut_after == Some(audio) {
            return;
        }
        if has_audio && audio == 1 && !plan.instead.is_empty() {
            said.clone_from(&plan.instead);
        }
        if is_text && !has_audio && !plan.delay.is_zero() {
            tokio::time::sleep_until((clock::now() + plan.delay).into()).await;
        }
        if vendor.in_lock_step() {
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            if let Some(Some(Ok(Message::Binary(_) | Message::Text(_)))) =
                socket.next().now_or_never()
            {
                log.put(Seen::Violation("a message before the answer to the one before it"));
            }
        }
        if say(&mut socket, said, log).await.is_none() {
            return;
        }
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, said: Vec<Say>, log: &Log) -> Option<()> {
    for say in said {
        match say {
            Say::Text(text) => socket.send(Message::text(text)).await.ok()?,
            Say::Close(code) => {
                let frame = CloseFrame { code: code.into(), reason: "canary".into() };
                socket.close(Some(frame)).await.ok()?;
                // The other side answers before the connection ends.
                while let Some(Ok(_)) = socket.next().await {}
                return None;
            }
            Say::Violation(what) => log.put(Seen::Violation(what)),
        }
    }
    Some(())
}

/// One request for the words of a WAV file.
async fn transcription(mut stream: TcpStream, mut vendor: Box<dyn Vendor>, plan: Plan, log: &Log) {
    let mut data = Vec::new();
    let (head, body) = loop {
        let end = data.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&data[..end]).to_ascii_lowercase();
            let length: usize = header(&head, "content-length").parse().unwrap();
            if data.len() >= end + length {
                break (head, data.split_off(end));
            }
        }
        if !stream.read_buf(&mut data).await.is_ok_and(|length| length > 0) {
            return;
        }
    };
    log.put(Seen::Connected { authorization: header(&head, "authorization") });
    log.put(Seen::Audio(body.len()));
    if plan.cut_after.is_some() {
        return;
    }
    let said = match plan.instead.is_empty() {
        true => vendor.hear(Heard::Binary(&body)),
        false => plan.instead.clone(),
    };
    let mut quiet = [0u8; 64];
    tokio::select! {
        () = tokio::time::sleep_until((clock::now() + plan.delay).into()) => {}
        // The other side is gone.
        _ = stream.read(&mut quiet) => return,
    }
    for say in said {
        let Say::Text(text) = say else { continue };
        let status = plan.status.unwrap_or(200);
        let answer = format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
        let _ = stream.write_all(answer.as_bytes()).await;
    }
    while stream.read(&mut quiet).await.is_ok_and(|length| length > 0) {}
}

fn header(head: &str, name: &str) -> String {
    let line = head.lines().filter_map(|line| line.split_once(": ")).find(|(key, _)| *key == name);
    line.map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
}
