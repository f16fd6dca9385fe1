//! Cuts a TCP byte stream into messages (RFC 3261 section 18.3) and keep-alives (RFC 5626 section 4.4.1).
//! Content-Length frames; what the messages mean is [`super::wire`]'s business.

use bytes::{Buf, Bytes, BytesMut};

use super::lex;
use super::wire::MESSAGE_BYTES_MAX;

/// Most octets kept between two calls: one whole message and as much again from the next read.
pub const BUFFER_BYTES_MAX: usize = 2 * MESSAGE_BYTES_MAX;

/// One thing cut from the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framed {
    /// A whole message for [`super::event::Input::Message`].
    Message(Bytes),
    /// A double CRLF: answer with [`PONG`].
    Ping,
}

/// What keeps a connection open.
pub const PING: &[u8] = b"\r\n\r\n";

/// The answer to [`Framed::Ping`].
pub const PONG: &[u8] = b"\r\n";

/// Why a stream cannot be followed any further: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Headers or body exceed [`MESSAGE_BYTES_MAX`], or more than [`BUFFER_BYTES_MAX`] octets wait.
    #[error("message on stream too large")]
    TooLarge,
    /// Content-Length is missing: the end of the message is unknown.
    #[error("message on stream without Content-Length")]
    NoContentLength,
    /// Content-Length is not a number or contradicts itself.
    #[error("wrong Content-Length on stream")]
    ContentLength,
}

/// Octets in, messages out. Call [`Framer::push`] with what was read, then [`Framer::next`] until `None`.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// Octets of `buffer` already searched for the end of the headers.
    searched: usize,
    /// Length of the whole message, once its headers are there.
    length: Option<usize>,
    failed: Option<FrameError>,
}

impl Framer {
    /// Before the first octet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what was read. After an error nothing more is taken.
    pub fn push(&mut self, octets: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.buffer.len().saturating_add(octets.len()) > BUFFER_BYTES_MAX {
            self.failed = Some(FrameError::TooLarge);
            return;
        }
        self.buffer.extend_from_slice(octets);
    }

    /// Whether nothing of an unfinished message waits.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole thing, `None` until more octets come.
    ///
    /// # Errors
    /// [`FrameError`], again on every later call: the connection is of no more use.
    #[expect(clippy::should_implement_trait, reason = "the end of it is not the end of the stream")]
    pub fn next(&mut self) -> Result<Option<Framed>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.cut();
        self.failed = result.as_ref().err().copied();
        result
    }

    fn cut(&mut self) -> Result<Option<Framed>, FrameError> {
        if self.length.is_none() {
            match self.line_ends() {
                Leading::Ping => return Ok(Some(Framed::Ping)),
                Leading::Unclear => return Ok(None),
                Leading::Message => {}
            }
            let Some(head) = self.head_length()? else { return Ok(None) };
            let body = content_length(self.buffer.get(..head).unwrap_or_default())?;
            let length = head.saturating_add(body);
            if length > MESSAGE_BYTES_MAX {
                return Err(FrameError::TooLarge);
            }
            self.length = Some(length);
        }
        match self.length {
            Some(length) if self.buffer.len() >= length => {
                self.length = None;
                self.searched = 0;
                Ok(Some(Framed::Message(self.buffer.split_to(length).freeze())))
            }
            _ => Ok(None),
        }
    }

    /// Consumes line ends before a message.
    fn line_ends(&mut self) -> Leading {
        loop {
            match self.buffer.as_ref() {
                [b'\r', b'\n', b'\r', b'\n', ..] => {
                    self.buffer.advance(4);
                    return Leading::Ping;
                }
                [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r'] => return Leading::Unclear,
                [b'\r', b'\n', ..] => self.buffer.advance(2),
                [b'\r' | b'\n', ..] => self.buffer.advance(1),
                _ => return Leading::Message,
            }
        }
    }

    /// Length of the headers with the empty line.
    fn head_length(&mut self) -> Result<Option<usize>, FrameError> {
        let found = self.buffer.iter().enumerate().skip(self.searched).find_map(|(at, octet)| {
            if *octet != b'\n' {
                return None;
            }
            match self.buffer.get(at + 1..) {
                Some([b'\n', ..]) => Some(at + 2),
                Some([b'\r', b'\n', ..]) => Some(at + 3),
                _ => None,
            }
        });
        if found.unwrap_or(self.buffer.len()) > MESSAGE_BYTES_MAX {
            return Err(FrameError::TooLarge);
        }
        // The line end that closes the headers may be cut after its first two octets.
        self.searched = self.buffer.len().saturating_sub(2);
        Ok(found)
    }
}

/// What stands at the start of the buffer.
enum Leading {
    Ping,
    Unclear,
    Message,
}

/// The number of Content-Length among header lines. Other lines may be as malformed as they like.
fn content_length(head: &[u8]) -> Result<usize, FrameError> {
    let mut found: Option<Vec<u8>> = None;
    let mut seen = None;
    let mut settle = |value: Option<Vec<u8>>| -> Result<(), FrameError> {
        let Some(value) = value else { return Ok(()) };
        let length = lex::number(&value).ok_or(FrameError::ContentLength)?;
        if seen.is_some_and(|known| known != length) {
            return Err(FrameError::ContentLength);
        }
        seen = Some(length);
        Ok(())
    };
    for line in head.split(|octet| *octet == b'\n').skip(1) {
        if line.first().is_some_and(|octet| lex::is_blank(*octet)) {
            if let Some(value) = found.as_mut() {
                value.extend_from_slice(line.trim_ascii());
            }
            continue;
        }
        settle(found.take())?;
        if let Some((name, value)) = lex::split_once(line, b':') {
            let name = name.trim_ascii_end();
            if name.eq_ignore_ascii_case(b"Content-Length") || name.eq_ignore_ascii_case(b"l") {
                found = Some(value.trim_ascii().to_vec());
            }
        }
    }
    settle(found)?;
    let length = seen.ok_or(FrameError::NoContentLength)?;
    usize::try_from(length).map_err(|_| FrameError::TooLarge)
}

#[cfg(test)]
mod tests;
