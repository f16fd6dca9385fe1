//! A guard around the octets of a streamed reply, before any parser sees them.
//!
//! It ends the stream on a line that is too long, on a reply that is too large and on an event that is
//! not JSON, and it remembers whether the closing `[DONE]` came: without it a reply that was cut looks
//! like a reply that ended. The parser behind it may therefore buffer as it likes and never gets
//! text that it would log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Bytes, BytesMut};
use serde::de::IgnoredAny;

/// Longest line: one delta of a chat completion is well below 2 kB.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Longest reply: an hour of speech.
const REPLY_BYTES_MAX: usize = 4 << 20;

/// Why a reply is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// A line beyond [`LINE_BYTES_MAX`].
    #[error("a line is too long")]
    LongLine,
    /// A reply beyond [`REPLY_BYTES_MAX`].
    #[error("the reply is too large")]
    LargeReply,
    /// An event whose data is not JSON.
    #[error("an event is not JSON")]
    NotJson,
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        Self::new(io::ErrorKind::InvalidData, refused)
    }
}

/// What the guard saw; shared with the reader of the reply.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    done: Arc<AtomicBool>,
    refused: Arc<AtomicBool>,
}

impl Seen {
    /// Whether `[DONE]` came.
    pub(super) fn is_done(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Whether the guard ended the stream.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Acquire)
    }
}

/// The guard of one reply.
#[derive(Debug, Default)]
pub(super) struct Guard {
    rest: BytesMut,
    total: usize,
    seen: Seen,
}

impl Guard {
    pub(super) fn new(seen: Seen) -> Self {
        Self { seen, ..Self::default() }
    }

    /// Takes octets and gives the whole lines that may pass.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<Bytes, Refused> {
        let passed = self.check(chunk);
        if passed.is_err() {
            self.seen.refused.store(true, Ordering::Release);
        }
        passed
    }

    fn check(&mut self, chunk: &[u8]) -> Result<Bytes, Refused> {
        self.total = self.total.saturating_add(chunk.len());
        if self.total > REPLY_BYTES_MAX {
            return Err(Refused::LargeReply);
        }
        self.rest.extend_from_slice(chunk);
        let Some(last) = self.rest.iter().rposition(|octet| *octet == b'\n') else {
            return if self.rest.len() > LINE_BYTES_MAX {
                Err(Refused::LongLine)
            } else {
                Ok(Bytes::new())
            };
        };
        let whole = self.rest.split_to(last + 1).freeze();
        for line in whole.split(|octet| *octet == b'\n') {
            self.line(line)?;
        }
        Ok(whole)
    }

    fn line(&self, line: &[u8]) -> Result<(), Refused> {
        if line.len() > LINE_BYTES_MAX {
            return Err(Refused::LongLine);
        }
        let Some(data) = line.strip_prefix(b"data:") else { return Ok(()) };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.seen.done.store(true, Ordering::Release);
            return Ok(());
        }
        if data.is_empty() {
            return Ok(());
        }
        serde_json::from_slice::<IgnoredAny>(data).map(|_| ()).map_err(|_| Refused::NotJson)
    }
}

/// What passes the guard when a reply comes in pieces of `size` octets; `None`: it was refused.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn guard(data: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut guard = Guard::default();
    let mut passed = Vec::new();
    for chunk in data.chunks(size) {
        passed.extend_from_slice(&guard.push(chunk).ok()?);
    }
    Some(passed)
}
