//! The API over real calls: streams that are resumed, audio that is heard, and a call that is erased.

use std::path::Path;

use futures_util::StreamExt;
use serde_json::Value;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message as Frame};
use trunkline::sip::Transport;
use trunkline::types::CallRecord;

use crate::support::line::Line;
use crate::support::peer::Caller;
use crate::support::server::Server;
use crate::support::{sound, wait};

/// A client with the first key.
struct Client {
    base: String,
    key: String,
    http: reqwest::Client,
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

impl Client {
    fn new(server: &Server) -> Self {
        let key = server.running.first_key().expect("the first key").to_owned();
        let http = reqwest::Client::new();
        Self { base: server.running.api().to_string(), key, http }
    }

    async fn send(&self, method: &str, path: &str) -> reqwest::Response {
        let method = method.parse().expect("a method");
        let request = self.http.request(method, format!("http://{}{path}", self.base));
        wait::limit(path, request.header("x-api-key", &self.key).send()).await.expect("an answer")
    }

    async fn json(&self, path: &str) -> Value {
        self.send("GET", path).await.json().await.expect("JSON")
    }

    async fn try_socket(&self, path: &str) -> Result<Socket, tungstenite::Error> {
        let url = format!("ws://{}{path}", self.base);
        let mut request = url.into_client_request().expect("a request");
        request.headers_mut().insert("x-api-key", self.key.parse().expect("a header"));
        let opened = wait::limit(path, tokio_tungstenite::connect_async(request)).await;
        opened.map(|(socket, _)| socket)
    }

    async fn socket(&self, path: &str) -> Socket {
        self.try_socket(path).await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// The next frame that is no ping; `None` at the end.
async fn next(socket: &mut Socket) -> Option<Frame> {
    loop {
        match wait::limit("a frame", socket.next()).await? {
            Ok(Frame::Ping(_) | Frame::Pong(_)) => {}
            Ok(Frame::Close(_)) | Err(_) => return None,
            Ok(frame) => return Some(frame),
        }
    }
}

fn entry(frame: &Frame) -> Option<Value> {
    match frame {
        Frame::Text(text) => Some(serde_json::from_str(text).expect("JSON")),
        _ => None,
    }
}

async fn call(server: &Server, user: &str) -> (Caller, Line, CallRecord) {
    let line = Line::new().await;
    let mut caller = Caller::new(server, Transport::Udp, user).await;
    let ok = caller.call(line.local).await;
    line.connect(ok.media());
    let record = server.call_to(user).await;
    server.live(record.id).await;
    (caller, line, record)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_hears_both_sides_and_the_events() {
    let server = Server::start().await;
    let client = Client::new(&server);
    let (mut caller, line, record) = call(&server, "listened").await;
    let path = format!("/v1/calls/{}", record.id);
    assert_eq!(client.send("GET", &format!("{path}/listen")).await.status(), 426);
    let mut stereo = client.socket(&format!("{path}/listen?channels=2&rate=16000")).await;
    let mut mono = client.socket(&format!("{path}/listen")).await;
    let first = entry(&next(&mut stereo).await.expect("a frame")).expect("text");
    assert_eq!(first["event"], "listening");
    assert_eq!((&first["data"]["rate"], &first["data"]["channels"]), (&16_000.into(), &2.into()));
    assert_eq!(client.json(&path).await["live"]["listeners"], 2);
    line.say(&sound::tone(440.0, 1_500));
    line.said().await;
    caller.hang_up().await;
    let (mut left, mut right, mut over) = (Vec::new(), Vec::new(), false);
    while let Some(frame) = next(&mut stereo).await {
        if let Frame::Binary(octets) = &frame {
            for pair in octets.chunks_exact(4) {
                left.push(i16::from_le_bytes([pair[0], pair[1]]));
                right.push(i16::from_le_bytes([pair[2], pair[3]]));
            }
        }
        over |= entry(&frame).is_some_and(|entry| entry["data"]["data"]["status"] == "completed");
    }
    let heard = sound::tone_ms(&left, 440.0, 16_000);
    assert!(heard >= 1_000, "{heard} ms of the caller's tone");
    assert_eq!(sound::tone_ms(&right, 440.0, 16_000), 0, "the agent does not hum along");
    assert!(over, "the end was told");
    let mut mixed = Vec::new();
    while let Some(frame) = next(&mut mono).await {
        if let Frame::Binary(octets) = frame {
            mixed.extend(octets.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
        }
    }
    assert!(sound::tone_ms(&mixed, 440.0, 8_000) >= 1_000);
    server.ended(record.id).await;
    let refused = client.try_socket(&format!("{path}/listen")).await;
    assert!(matches!(refused, Err(tungstenite::Error::Http(answer)) if answer.status() == 409));
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_over_sockets_are_resumed_without_holes_or_repetitions() {
    let server = Server::start().await;
    let client = Client::new(&server);
    let mut all = client.socket("/v1/events").await;
    let (mut caller, _line, record) = call(&server, "streamed").await;
    let mut one = client.socket(&format!("/v1/calls/{}/stream", record.id)).await;
    caller.hang_up().await;
    let mut seqs = Vec::new();
    while let Some(frame) = next(&mut one).await {
        let entry = entry(&frame).expect("text");
        assert_eq!(entry["id"], entry["data"]["seq"].to_string());
        seqs.push(entry["data"]["seq"].as_u64().expect("a number"));
    }
    server.ended(record.id).await;
    let journal = client.json(&format!("/v1/calls/{}/events", record.id)).await;
    let stored: Vec<u64> = journal["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|e| e["seq"].as_u64())
        .collect();
    let kept: Vec<u64> = seqs.iter().copied().filter(|seq| stored.contains(seq)).collect();
    assert_eq!(kept, stored, "in order, each once, none missing");
    let of_this_call = |entry: &Value| {
        (entry["data"]["call_id"] == record.id.to_string() && !entry["id"].is_null()).then(|| {
            (entry["id"].as_str().unwrap_or_default().to_owned(), entry["data"]["seq"].clone())
        })
    };
    let mut followed = Vec::new();
    while followed.len() < stored.len() {
        let frame = next(&mut all).await.expect("the stream goes on");
        followed.extend(entry(&frame).as_ref().and_then(of_this_call));
    }
    let (place, _) = followed[1].clone();
    let mut resumed = client.socket(&format!("/v1/events?after={place}")).await;
    let mut rest = Vec::new();
    while rest.len() < stored.len() - 2 {
        let frame = next(&mut resumed).await.expect("the stream goes on");
        rest.extend(entry(&frame).as_ref().and_then(of_this_call));
    }
    assert_eq!(rest, followed[2..]);
}

/// Files below a directory that hold some bytes.
fn holding(dir: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(dir).expect("the directory") {
        let path = file.expect("an entry").path();
        if path.is_dir() {
            found.extend(holding(&path, needle));
        } else {
            let octets = std::fs::read(&path).expect("a file");
            if octets.windows(needle.len()).any(|part| part == needle.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_call_leaves_no_byte_behind() {
    let server = Server::start().await;
    let client = Client::new(&server);
    let canary = "canary8c1f";
    let (mut caller, line, record) = call(&server, canary).await;
    line.say(&sound::tone(440.0, 300));
    line.said().await;
    let path = format!("/v1/calls/{}", record.id);
    let live = client.send("DELETE", &path).await;
    assert_eq!(live.status(), 409);
    caller.hang_up().await;
    let over = server.ended(record.id).await;
    let shown = client.json(&path).await;
    let digest = shown["recording"]["sha256"].as_str().expect("a digest").to_owned();
    let link = shown["recording_url"].as_str().expect("a link").to_owned();
    let plain = |path: String| {
        let request = client.http.get(format!("http://{}{path}", client.base));
        async { request.send().await.expect("an answer") }
    };
    let audio = plain(link.clone()).await.bytes().await.expect("the audio");
    let heard: String = sha256(&audio);
    assert_eq!(heard, digest, "the digest is the file's");
    assert!(!holding(server.dir.path(), canary).is_empty(), "it was there");
    wait::until("the call is erased", async || {
        let answer = client.send("DELETE", &path).await;
        (answer.status() == 204).then_some(())
    })
    .await;
    assert_eq!(client.send("GET", &path).await.status(), 404);
    assert_eq!(plain(link).await.status(), 404);
    assert_eq!(holding(server.dir.path(), canary), Vec::<String>::new());
    let name = over.recording.expect("a recording").filename;
    assert!(!server.dir.path().join("recordings").join(name).exists());
}

fn sha256(octets: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let digest: [u8; 32] = Sha256::digest(octets).into();
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}
