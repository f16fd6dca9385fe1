//! What the mock servers saw and sent, with the instant of each, in a bounded log that a test can wait on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::net::clock;

/// Entries kept: 100 calls of 50 turns with some 10 entries a turn. The oldest give way.
const ENTRIES_MAX: usize = 65_536;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MockStage {
    /// The recogniser.
    Stt = 0,
    /// The model.
    Llm = 1,
    /// The voice.
    Tts = 2,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A connection was accepted.
    Connected,
    /// A connection ended, from whichever side.
    Closed,
    /// STT: told to finalize.
    FinalizeReceived,
    /// STT: told that the line is alive.
    KeepAliveReceived,
    /// STT: a final transcript was handed to the kernel.
    FinalSent(String),
    /// STT: a segment was received, octets.
    SegmentReceived(usize),
    /// LLM: a whole request was read.
    LlmRequest,
    /// LLM: the agent's last words in that request, as the caller's history has them.
    LlmHistory(String),
    /// LLM: the token that completes the first sentence was handed to the kernel.
    LlmFirstSentenceSent,
    /// LLM: the whole reply was sent.
    LlmReplySent,
    /// TTS: a session was opened with this voice.
    TtsVoice(String),
    /// TTS: the text of a sentence was received.
    TtsText(String),
    /// TTS: the first audio of a sentence was handed to the kernel.
    TtsFirstAudio,
    /// TTS: all audio of a sentence was sent.
    TtsAudioSent,
    /// TTS: told to drop what it is speaking.
    TtsCanceled,
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When, on [`clock::now`].
    pub at: Instant,
    /// Which server.
    pub stage: MockStage,
    /// Which connection, from 1 over all servers.
    pub connection: u64,
    /// What.
    pub what: What,
}

/// The log of all servers; a cheap handle.
#[derive(Clone, Debug)]
pub struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    entries: Mutex<VecDeque<Entry>>,
    connections: AtomicU64,
    written: watch::Sender<u64>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                entries: Mutex::default(),
                connections: AtomicU64::new(0),
                written: watch::Sender::new(0),
            }),
        }
    }
}

impl Log {
    pub(crate) fn connection(&self) -> u64 {
        self.inner.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn put(&self, stage: MockStage, connection: u64, what: What) {
        let entry = Entry { at: clock::now(), stage, connection, what };
        if let Ok(mut entries) = self.inner.entries.lock() {
            if entries.len() >= ENTRIES_MAX {
                entries.pop_front();
            }
            entries.push_back(entry);
        }
        self.inner.written.send_modify(|written| *written += 1);
    }

    /// A copy of everything that is kept, in order.
    pub fn entries(&self) -> Vec<Entry> {
        self.inner.entries.lock().map(|e| e.iter().cloned().collect()).unwrap_or_default()
    }

    /// How many entries are like this.
    pub fn count(&self, wanted: impl Fn(&Entry) -> bool) -> usize {
        self.inner.entries.lock().map(|e| e.iter().filter(|e| wanted(e)).count()).unwrap_or(0)
    }

    /// Waits until `times` entries are like this and gives the last of them; `None` after `within`.
    pub async fn wait(
        &self,
        times: usize,
        within: Duration,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Option<Entry> {
        let mut written = self.inner.written.subscribe();
        let search = async {
            loop {
                written.borrow_and_update();
                let found = self.inner.entries.lock().ok().and_then(|entries| {
                    entries.iter().filter(|e| wanted(e)).nth(times.saturating_sub(1)).cloned()
                });
                if found.is_some() || written.changed().await.is_err() {
                    return found;
                }
            }
        };
        tokio::time::timeout(within, search).await.ok().flatten()
    }
}
