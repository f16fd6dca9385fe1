//! Objects that put others together: a call with its turns and events, and the state of the server.

use serde::Serialize;
use utoipa::ToSchema;

use super::turn::IndexedLatency;
use super::usage::UsageRecord;
use super::{Call, Event, Turn};

/// One call, with what `include` asks for.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CallDetail {
    /// The call.
    #[serde(flatten)]
    pub call: Call,
    /// With `include=transcript`: the turns in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<Vec<Turn>>,
    /// With `include=latency`: latency of each turn; the statistics are in `latency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn_latency: Option<Vec<IndexedLatency>>,
    /// With `include=events`: the first 1000 entries of the journal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<Event>>,
    /// With `include=usage`: what it used, and the price of each part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Vec<UsageRecord>>,
}

/// Entries of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct EventList {
    /// Whose.
    pub call_id: String,
    /// The entries, at most 1000, in order.
    pub items: Vec<Event>,
    /// What to give as `after` for the entries that follow; null if these are all there are now.
    pub next_after: Option<u64>,
}

/// Body of `/v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Calls that are live.
    pub active_calls: u64,
    /// Whether the server takes no more calls.
    pub draining: bool,
    /// Names of the trunks.
    pub trunks: Vec<String>,
    /// Event streams that are open.
    pub event_streams: u64,
}
