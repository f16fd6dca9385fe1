//! Over real connections: limits of peers, dawdlers, and the stop.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::bench::{Bench, KEY, bench, call, within};
use crate::api::serve::{Limits, serve_with};

struct Served {
    bench: Bench,
    address: std::net::SocketAddr,
    task: JoinHandle<()>,
}

async fn served(limits: Limits) -> Served {
    let bench = bench().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve = serve_with(listener, bench.router.clone(), bench.stop.clone(), limits);
    Served { bench, address, task: tokio::spawn(serve) }
}

impl Served {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends bytes on a new connection and reads until the server closes it.
    async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes).await.unwrap();
        read_all(&mut stream).await
    }
}

/// What comes until the end; a reset is an end too.
async fn read_all(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut buffer = [0u8; 4_096];
    loop {
        match within(stream.read(&mut buffer)).await {
            Ok(0) | Err(_) => return String::from_utf8_lossy(&text).into_owned(),
            Ok(count) => text.extend_from_slice(&buffer[..count]),
        }
    }
}

const HEALTH: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn answers_also_when_octets_come_one_by_one() {
    let served = served(Limits::default()).await;
    let whole = served.exchange(HEALTH).await;
    assert!(whole.starts_with("HTTP/1.1 200 OK\r\n"), "{whole}");
    assert!(!whole.to_ascii_lowercase().contains("\r\nserver:"), "{whole}");
    let mut stream = served.connect().await;
    stream.set_nodelay(true).unwrap();
    for octet in HEALTH {
        stream.write_all(&[*octet]).await.unwrap();
    }
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn nonsense_ends_its_connection_only() {
    let served = served(Limits::default()).await;
    let many: String = (0..65).map(|n| format!("x-{n}: y\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n");
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(64 * 1_024));
    for (bytes, status) in [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), ""),
        (b"INVITE sip:a@b SIP/2.0\r\n\r\n", "HTTP/1.1 400"),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 400"),
        (many.as_bytes(), "HTTP/1.1 431"),
        (large.as_bytes(), "HTTP/1.1 431"),
    ] {
        let answer = served.exchange(bytes).await;
        assert!(answer.starts_with(status), "{answer}");
    }
    assert!(served.exchange(HEALTH).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn dawdlers_are_cut_off() {
    let limits = Limits { header_wait: Duration::from_millis(50), ..Limits::default() };
    let served = served(limits).await;
    let silent = served.exchange(b"").await;
    assert_eq!(silent, "");
    let half = served.exchange(b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-").await;
    assert!(half.is_empty() || half.starts_with("HTTP/1.1 408"), "{half}");
    // After an answer the same limit ends an idle connection.
    let idle = served.exchange(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(idle.starts_with("HTTP/1.1 200"), "{idle}");
}

#[tokio::test]
async fn an_address_has_a_limit_and_gets_its_places_back() {
    let served = served(Limits { per_ip: 2, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = served.connect().await;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut first = [0u8; 8];
        within(stream.read_exact(&mut first)).await.unwrap();
        held.push(stream);
    }
    assert_eq!(served.exchange(HEALTH).await, "");
    held.clear();
    within(async { while !served.exchange(HEALTH).await.starts_with("HTTP/1.1 200") {} }).await;
}

#[tokio::test]
async fn the_stop_ends_streams_and_idle_connections() {
    let served = served(Limits::default()).await;
    served.bench.put(call(0)).await;
    let mut idle = served.connect().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut stream = served.connect().await;
    let request = format!("GET /v1/events HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0u8; 15];
    within(stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    served.bench.stop.cancel();
    assert!(read_all(&mut stream).await.ends_with("0\r\n\r\n"));
    read_all(&mut idle).await;
    within(served.task).await.unwrap();
    assert!(TcpStream::connect(served.address).await.is_err());
}
