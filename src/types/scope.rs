//! What an API key may do.

use serde::{Deserialize, Serialize};

/// One permission. Every route of the API needs exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// See calls, transcripts, events, statistics and everything that `calls:write` makes.
    #[serde(rename = "calls:read")]
    CallsRead,
    /// Place calls; make and change orders, batches and campaigns; erase.
    #[serde(rename = "calls:write")]
    CallsWrite,
    /// Command live calls.
    #[serde(rename = "control")]
    Control,
    /// Agents, numbers, trunks, templates, credentials, webhooks, keys, prices, the server itself.
    #[serde(rename = "admin")]
    Admin,
    /// Recordings and live audio.
    #[serde(rename = "media")]
    Media,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] =
        [Self::CallsRead, Self::CallsWrite, Self::Control, Self::Admin, Self::Media];

    /// Public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallsRead => "calls:read",
            Self::CallsWrite => "calls:write",
            Self::Control => "control",
            Self::Admin => "admin",
            Self::Media => "media",
        }
    }
}
