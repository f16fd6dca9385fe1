//! The mock of a speech-to-speech model: OpenAI's protocol and xAI's, both ways.
//!
//! It is a strict reader: what a client may not send, or not then, is noted as [`Seen::Wrong`] and
//! answered as the vendors do. What it says is scripted, a [`Turn`] for every reply, over all connections.

mod peer;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use self::peer::Peer;

/// Sound in one message, milliseconds.
const CHUNK_MS: u32 = 100;
/// Pitch of its voice, Hz.
pub const VOICE_HZ: f64 = 440.0;
/// What its own turn detection takes for sound.
const LOUD: u16 = 400;
/// Silence after which its own turn detection ends a turn, milliseconds.
const QUIET_MS: u64 = 400;
/// What is kept of what was seen.
const SEEN_MAX: usize = 10_000;

/// How a reply goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wrongly {
    /// It does not.
    #[default]
    Not,
    /// The connection is cut after so many messages of sound.
    Cut(usize),
    /// Nothing comes.
    Silence,
    /// An error of this code in the place of the reply.
    Refused(String),
    /// The response ends as failed, with this code.
    Failed(String),
    /// A message that is no JSON.
    Garbage,
    /// A message larger than any may be.
    Oversize,
    /// Sound of a response that nobody asked for, and an end before any beginning, come first.
    OutOfOrder,
}

/// One reply.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// Its words.
    pub words: String,
    /// Its sound, milliseconds.
    pub sound_ms: u32,
    /// Tools it asks for: call, name, arguments.
    pub tools: Vec<(String, String, String)>,
    /// Time before its first message.
    pub delay: Duration,
    /// Time between its messages of sound; none: all of it comes at once.
    pub gap: Duration,
    /// How it goes wrong.
    pub wrongly: Wrongly,
}

impl Turn {
    /// Words with as much sound.
    pub fn says(words: &str, sound_ms: u32) -> Self {
        Self { words: words.to_owned(), sound_ms, ..Self::default() }
    }

    /// A tool.
    pub fn calls(call: &str, name: &str, arguments: &str) -> Self {
        let tools = vec![(call.to_owned(), name.to_owned(), arguments.to_owned())];
        Self { tools, ..Self::default() }
    }

    /// The same, gone wrong.
    #[must_use]
    pub fn wrongly(mut self, wrongly: Wrongly) -> Self {
        self.wrongly = wrongly;
        self
    }
}

/// What the server saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A connection: its path with the query, and its credential.
    Connected(String, Option<String>),
    /// The session's settings.
    Settings(Value),
    /// A message of audio: so many samples.
    Audio(usize),
    /// A stretch of speech, milliseconds.
    Commit(u64),
    /// An item of the conversation.
    Item(Value),
    /// A reply is asked for.
    Respond(Value),
    /// Exact words are asked for.
    Say(String),
    /// The response is to stop.
    Cancel,
    /// An item is cut.
    Truncate(String, u64),
    /// A connection ended.
    Closed,
    /// Something that the protocol does not have, or not then.
    Wrong(String),
}

#[derive(Debug, Default)]
struct Script {
    turns: VecDeque<Turn>,
    transcripts: VecDeque<String>,
    transcript_delay: Duration,
    refuse: Option<u16>,
    next: u64,
}

#[derive(Debug)]
struct Shared {
    script: Mutex<Script>,
    seen: Mutex<Vec<Seen>>,
    written: watch::Sender<u64>,
    hang_up: watch::Sender<u64>,
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct MockRealtime {
    /// Base URL, `http://127.0.0.1:port`.
    pub url: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for MockRealtime {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MockRealtime {
    /// Starts on a free port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            script: Mutex::default(),
            seen: Mutex::default(),
            written: watch::Sender::new(0),
            hang_up: watch::Sender::new(0),
        });
        let task = tokio::spawn(listen(listener, Arc::clone(&shared)));
        Ok(Self { url, shared, task })
    }

    /// Adds a reply.
    pub fn turn(&self, turn: Turn) {
        locked(&self.shared.script).turns.push_back(turn);
    }

    /// Adds what the next stretch of speech is recognised as.
    pub fn transcript(&self, text: &str) {
        locked(&self.shared.script).transcripts.push_back(text.to_owned());
    }

    /// How long recognition takes.
    pub fn transcript_delay(&self, delay: Duration) {
        locked(&self.shared.script).transcript_delay = delay;
    }

    /// Refuses connections with this status, or takes them again.
    pub fn refuse(&self, status: Option<u16>) {
        locked(&self.shared.script).refuse = status;
    }

    /// Cuts every connection.
    pub fn hang_up(&self) {
        self.shared.hang_up.send_modify(|times| *times += 1);
    }

    /// Everything seen, in order.
    pub fn seen(&self) -> Vec<Seen> {
        locked(&self.shared.seen).clone()
    }

    /// Waits until `times` things like this were seen, and gives the last of them; `None` after `within`.
    pub async fn wait<T>(
        &self,
        times: usize,
        within: Duration,
        wanted: impl Fn(&Seen) -> Option<T>,
    ) -> Option<T> {
        let mut written = self.shared.written.subscribe();
        let search = async {
            loop {
                written.borrow_and_update();
                let found = locked(&self.shared.seen)
                    .iter()
                    .filter_map(&wanted)
                    .nth(times.saturating_sub(1));
                if found.is_some() || written.changed().await.is_err() {
                    return found;
                }
            }
        };
        tokio::time::timeout(within, search).await.ok().flatten()
    }
}

impl Shared {
    fn note(&self, seen: Seen) {
        let mut all = locked(&self.seen);
        if all.len() < SEEN_MAX {
            all.push(seen);
        }
        drop(all);
        self.written.send_modify(|written| *written += 1);
    }

    fn name(&self, kind: &str) -> String {
        let mut script = locked(&self.script);
        script.next += 1;
        format!("{kind}_{}", script.next)
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>) {
    let mut hang_up = shared.hang_up.subscribe();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(serve(stream, Arc::clone(&shared)));
            },
            _ = hang_up.changed() => connections.abort_all(),
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

/// Notes the end of a connection, however it comes.
struct Closing(Arc<Shared>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.note(Seen::Closed);
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let refuse = locked(&shared.script).refuse;
    let noting = Arc::clone(&shared);
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let callback = move |request: &Request, response: Response| {
        let key = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        noting.note(Seen::Connected(request.uri().to_string(), key.map(str::to_owned)));
        match refuse {
            None => Ok(response),
            Some(status) => {
                let mut refusal = ErrorResponse::new(None);
                *refusal.status_mut() = status.try_into().unwrap_or_default();
                Err(refusal)
            }
        }
    };
    let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, callback).await else { return };
    let _closing = Closing(Arc::clone(&shared));
    let _ended = Peer::new(socket, shared).run().await;
}
