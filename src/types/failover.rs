//! A provider that was gone on from, as records and events tell of it.

use serde::{Deserialize, Serialize};

use super::call::ErrorStage;

impl ErrorStage {
    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sip => "sip",
            Self::Media => "media",
            Self::Stt => "stt",
            Self::Llm => "llm",
            Self::Tts => "tts",
            Self::Internal => "internal",
        }
    }
}

/// A provider's work that went to another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failover {
    /// Which stage.
    pub stage: ErrorStage,
    /// Configured name of the provider that was to do it.
    pub from: String,
    /// Configured name of the one that does.
    pub to: String,
    /// A kind of failure (`auth`, `rate_limited`, `unavailable`, `stalled`, `cut`, `protocol` and so on), or `slow`,
    /// `empty`, `breaker_open`.
    pub reason: String,
    /// Milliseconds after the answer; 0 before it.
    pub offset_ms: u64,
}

/// Failovers that one record keeps: each stage has a few providers, and each of them fails a few times.
pub const FAILOVERS_MAX: usize = 64;
