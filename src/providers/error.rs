//! One error for every provider, classified by what can be done about it.

use std::fmt;

/// Which stage of the pipeline a provider serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Speech to text.
    Stt,
    /// Language model.
    Llm,
    /// Text to speech.
    Tts,
    /// Speech to speech.
    Realtime,
}

impl Stage {
    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stt => "stt",
            Self::Llm => "llm",
            Self::Tts => "tts",
            Self::Realtime => "realtime",
        }
    }
}

/// What kind of failure, whatever the vendor calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The key is missing, wrong or not allowed (401, 403, WebSocket 1008).
    Auth,
    /// Too many requests or concurrent sessions (429).
    RateLimited,
    /// The provider refuses the request as it stands (other 4xx).
    BadRequest,
    /// Nothing listens, the name does not resolve, or the server answers 5xx.
    Unavailable,
    /// No byte within the budget although the connection is open.
    Stalled,
    /// The connection ended in the middle.
    Cut,
    /// The provider sent something that is not its protocol.
    Protocol,
    /// The local engine or package is missing.
    Missing,
}

impl FailureKind {
    /// Whether the same provider may be asked again at once.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Stalled | Self::Cut)
    }

    /// Metric label and the end of the record's error code (`stt_auth`).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::RateLimited => "rate_limited",
            Self::BadRequest => "bad_request",
            Self::Unavailable => "unavailable",
            Self::Stalled => "stalled",
            Self::Cut => "cut",
            Self::Protocol => "protocol",
            Self::Missing => "missing",
        }
    }
}

/// A provider failed. The text never holds a key, a transcript or a prompt.
#[derive(Clone, PartialEq, Eq)]
pub struct ProviderError {
    /// Name of the provider in the configuration, for example `deepgram`.
    pub provider: String,
    /// Which stage it serves.
    pub stage: Stage,
    /// What kind of failure.
    pub kind: FailureKind,
    /// One lower-case fragment: what was being done and what came back.
    pub detail: String,
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.provider, self.stage.as_str(), self.detail)
    }
}

impl fmt::Debug for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({})", self.kind.as_str())
    }
}

impl std::error::Error for ProviderError {}
