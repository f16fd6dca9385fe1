//! What a scripted server does, and what it saw.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Longest wait for anything: a machine under load.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// What the server does with one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Act {
    /// What it is for.
    #[default]
    Serve,
    /// Nothing until it is released.
    Hold,
    /// Nothing more after the first piece, until it is released or told to stop.
    HoldAfterFirst,
    /// The connection is cut after the first piece.
    Cut,
    /// The vendor's message of an error.
    Error,
    /// Something else than the protocol.
    Garbage,
    /// Tools are called, or audio has a rate of its own.
    Other,
}

/// What the server saw, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Saw {
    Connected,
    /// Anything as it came.
    Raw(String),
    /// The text of a request.
    Asked(String),
    /// Told to stop a sentence.
    Canceled,
    KeptAlive,
    /// The connection with this number ended.
    Closed,
}

/// Shared by a test and its server.
#[derive(Debug)]
pub(super) struct Script {
    acts: Mutex<VecDeque<Act>>,
    always: Mutex<Act>,
    /// Every request or handshake is answered with this.
    status: Mutex<Option<u16>>,
    saw: Mutex<Vec<(usize, Saw)>>,
    changed: watch::Sender<u64>,
    released: watch::Sender<u64>,
    hung_up: watch::Sender<u64>,
    /// Audio is mu-law.
    pub(super) mulaw: std::sync::atomic::AtomicBool,
}

impl Script {
    pub(super) fn next(&self) -> Act {
        let next = self.acts.lock().unwrap().pop_front();
        next.unwrap_or(*self.always.lock().unwrap())
    }

    pub(super) fn status(&self) -> Option<u16> {
        *self.status.lock().unwrap()
    }

    pub(super) fn put(&self, connection: usize, saw: Saw) {
        self.saw.lock().unwrap().push((connection, saw));
        self.changed.send_modify(|times| *times += 1);
    }

    /// For the server: waits until what it holds may go on.
    pub(super) fn release(&self) -> watch::Receiver<u64> {
        let mut released = self.released.subscribe();
        released.borrow_and_update();
        released
    }
}

/// A server on loopback. Dropping it stops it.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    pub(super) script: Arc<Script>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Serves each connection with `serve`, which gets its number.
    pub(super) async fn start<F, S>(serve: S) -> Self
    where
        S: Fn(TcpStream, usize, Arc<Script>) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Script {
            acts: Mutex::default(),
            always: Mutex::default(),
            status: Mutex::default(),
            saw: Mutex::default(),
            changed: watch::Sender::new(0),
            released: watch::Sender::new(0),
            hung_up: watch::Sender::new(0),
            mulaw: false.into(),
        });
        let shared = Arc::clone(&script);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            let mut hung_up = shared.hung_up.subscribe();
            let mut number = 0;
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { return };
                        stream.set_nodelay(true).unwrap();
                        number += 1;
                        shared.put(number, Saw::Connected);
                        let closing = Closing(number, Arc::clone(&shared));
                        let served = serve(stream, number, Arc::clone(&shared));
                        connections.spawn(async move {
                            served.await;
                            drop(closing);
                        });
                    }
                    _ = hung_up.changed() => connections.abort_all(),
                    Some(_) = connections.join_next(), if !connections.is_empty() => {}
                }
            }
        });
        Self { address, script, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What the next requests meet; those after them are served.
    pub(super) fn acts(&self, acts: &[Act]) {
        *self.script.acts.lock().unwrap() = acts.iter().copied().collect();
    }

    /// What all further requests meet.
    pub(super) fn always(&self, act: Act) {
        *self.script.always.lock().unwrap() = act;
    }

    pub(super) fn set_status(&self, status: Option<u16>) {
        *self.script.status.lock().unwrap() = status;
    }

    pub(super) fn release(&self) {
        self.script.released.send_modify(|times| *times += 1);
    }

    /// Closes all connections.
    pub(super) fn hang_up(&self) {
        self.script.hung_up.send_modify(|times| *times += 1);
    }

    pub(super) fn count(&self, wanted: impl Fn(&Saw) -> bool) -> usize {
        self.script.saw.lock().unwrap().iter().filter(|(_, saw)| wanted(saw)).count()
    }

    /// Waits until so many things like this were seen; the connection of the last of them.
    pub(super) async fn saw(&self, times: usize, wanted: impl Fn(usize, &Saw) -> bool) -> usize {
        let mut changed = self.script.changed.subscribe();
        let search = async {
            loop {
                changed.borrow_and_update();
                let saw = self.script.saw.lock().unwrap().clone();
                if let Some((of, _)) = saw.iter().filter(|(of, s)| wanted(*of, s)).nth(times - 1) {
                    return *of;
                }
                changed.changed().await.unwrap();
            }
        };
        let found = tokio::time::timeout(LONG, search).await;
        found.unwrap_or_else(|_| panic!("not seen: {:?}", self.script.saw.lock().unwrap()))
    }
}

/// Writes the end of a connection down, however it comes.
struct Closing(usize, Arc<Script>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.1.put(self.0, Saw::Closed);
    }
}

/// One HTTP request: its head as it came, and its body.
pub(super) async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut data = Vec::new();
    let ends = loop {
        if let Some(at) = data.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut data).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = data.split_off(ends);
    let head = String::from_utf8_lossy(&data).into_owned();
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap());
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

/// A chunk of a chunked answer; an empty one ends it.
pub(super) fn chunk(octets: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", octets.len()).as_bytes(), octets, b"\r\n"].concat()
}

/// The head of a chunked answer.
pub(super) fn head(kind: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n")
        .into_bytes()
}

/// A whole answer.
pub(super) fn whole(status: u16, kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// Waits for the other side to go.
pub(super) async fn gone(stream: &mut TcpStream) {
    let mut sink = [0u8; 512];
    while stream.read(&mut sink).await.is_ok_and(|length| length > 0) {}
}
