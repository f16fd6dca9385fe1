//! The SIP messages of a call as they crossed the wire: what its ladder is drawn from.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Pii;

/// Which way a message went, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum SipWay {
    Received,
    Sent,
}

impl SipWay {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Sent => "sent",
        }
    }
}

/// One message, without what nobody may read later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SipMessage {
    /// When it was read from a socket or given to one.
    pub at: jiff::Timestamp,
    /// Which way.
    pub way: SipWay,
    /// `udp`, `tcp` and so on.
    pub transport: String,
    /// Our address.
    pub local: SocketAddr,
    /// Theirs.
    pub remote: SocketAddr,
    /// The message; secrets in it are written over.
    pub text: Pii<String>,
    /// How many octets it had, should `text` be cut.
    pub octets: usize,
}

/// The messages of a call, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SipLadder {
    /// Messages.
    pub messages: Vec<SipMessage>,
    /// Messages that are not among them, because a limit was reached: they fell out of the middle.
    pub omitted: u32,
}

impl SipLadder {
    /// Takes another leg's messages in, in their order of time.
    pub fn join(&mut self, other: Self) {
        self.messages.extend(other.messages);
        // Stable: what happened at the same moment stays as it was written down.
        self.messages.sort_by_key(|message| message.at);
        self.omitted = self.omitted.saturating_add(other.omitted);
    }
}
