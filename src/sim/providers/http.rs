//! Just enough HTTP/1.1 for the mock servers, by hand, so that an answer can be cut or held at any octet.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Fault, MockStage, Peer, llm, stt, tts};

/// Largest request: a segment of 60 s at 16 kHz.
const REQUEST_BYTES_MAX: usize = 4 << 20;

/// First octet of a TLS connection.
const TLS_HANDSHAKE: u8 = 0x16;

/// One request.
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

/// Whether the first request upgrades to WebSocket; `None` if the connection ends before that is known.
pub(crate) async fn is_websocket(stream: &mut TcpStream) -> Option<bool> {
    let mut head = [0u8; 4096];
    loop {
        let length = stream.peek(&mut head).await.ok()?;
        if length == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(head.get(..length)?).to_ascii_lowercase();
        if head.first() == Some(&TLS_HANDSHAKE) {
            // A server that speaks no TLS, or one that died behind its socket: nothing is ever said.
            until_closed(stream).await;
            return None;
        }
        if text.starts_with("post ") {
            return Some(false);
        }
        if text.contains("\r\n\r\n") || length == head.len() {
            return Some(text.contains("upgrade: websocket"));
        }
        stream.readable().await.ok()?;
        tokio::task::yield_now().await;
    }
}

/// Reads one request; `None` at the end of the connection.
async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut data = Vec::new();
    let head_end = loop {
        if let Some(at) = data.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if data.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut data).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(data.get(..head_end)?).into_owned();
    let length: usize = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0);
    let mut body = data.split_off(head_end);
    while body.len() < length.min(REQUEST_BYTES_MAX) {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let path = head.split_whitespace().nth(1).unwrap_or_default().to_owned();
    Some(Request { path, body })
}

/// Serves requests until the connection ends.
pub(crate) async fn serve(mut stream: TcpStream, peer: Peer) {
    while let Some(request) = read(&mut stream).await {
        if request.path.ends_with("/models") {
            if whole(&mut stream, 200, "application/json", br#"{"data":[]}"#).await.is_none() {
                return;
            }
            continue;
        }
        let fault = peer.fault();
        match &fault {
            Fault::Hang => return until_closed(&mut stream).await,
            Fault::Status(status) => {
                let body = br#"{"error":{"message":"canary-of-the-provider","type":"x"}}"#;
                if whole(&mut stream, *status, "application/json", body).await.is_none() {
                    return;
                }
                continue;
            }
            _ => {}
        }
        let served = match peer.stage {
            MockStage::Llm => llm::chat(&mut stream, &peer, &request, &fault).await,
            MockStage::Stt => stt::transcription(&mut stream, &peer, &request, &fault).await,
            MockStage::Tts => tts::speech(&mut stream, &peer, &request, &fault).await,
        };
        if served.is_none() {
            return;
        }
    }
}

/// Waits for the other side to go.
pub(crate) async fn until_closed(stream: &mut TcpStream) {
    let mut sink = [0u8; 512];
    while stream.read(&mut sink).await.is_ok_and(|length| length > 0) {}
}

/// Waits; `None` if the other side goes meanwhile.
pub(crate) async fn pause(stream: &mut TcpStream, time: Duration) -> Option<()> {
    if time.is_zero() {
        return Some(());
    }
    tokio::select! {
        () = tokio::time::sleep(time) => Some(()),
        () = until_closed(stream) => None,
    }
}

/// A whole answer.
pub(crate) async fn whole(
    stream: &mut TcpStream,
    status: u16,
    kind: &str,
    body: &[u8],
) -> Option<()> {
    let mut answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    stream.write_all(&answer).await.ok()
}

/// The head of a chunked answer.
pub(crate) async fn begin(stream: &mut TcpStream, kind: &str) -> Option<()> {
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()
}

/// One chunk; an empty one ends the answer.
pub(crate) async fn chunk(stream: &mut TcpStream, data: &[u8]) -> Option<()> {
    let mut out = format!("{:x}\r\n", data.len()).into_bytes();
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
    stream.write_all(&out).await.ok()
}
