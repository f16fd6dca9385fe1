//! Objects that put others together: a call with its turns and events, and the state of the server.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::turn::IndexedLatency;
use super::usage::UsageRecord;
use super::{Call, Event, Turn};
use crate::types::CallLatency;

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
    /// While the call is live: what of it is no status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
}

/// State of a live call beside its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Live {
    /// The agent or the caller is muted.
    pub muted: bool,
    /// Either side has the other on hold.
    pub on_hold: bool,
    /// A transfer is under way.
    pub transferring: bool,
    /// `assistant` while the agent is heard, else `none`.
    pub speaking: String,
    /// Who listens to its audio over the API.
    pub listeners: u32,
}

/// Body of `PATCH /v1/calls/{id}`.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchCall {
    /// A JSON merge patch of the object that is there: null removes a member.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// A link that needs no key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RecordingUrl {
    /// Path and query under this server's address.
    pub url: String,
    /// From when it is refused.
    #[schema(format = DateTime)]
    pub expires_at: String,
}

/// Body of `GET /v1/stats/latency`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LatencyStats {
    /// Calls that were looked at.
    pub calls: u64,
    /// Whether these are all that pass the filters; else they are the newest ones.
    pub complete: bool,
    /// Agent turns that were counted: those that were not canceled.
    pub turns: u64,
    /// Statistics over the turns, by field: `n`, `min`, `p50`, `p90`, `p95`, `p99`, `max`, `mean`.
    #[schema(value_type = Object)]
    pub latency: CallLatency,
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
    /// Calls of the organization that are live; for the default organization, those of all.
    pub active_calls: u64,
    /// Whether the server takes no more calls.
    pub draining: bool,
    /// Names of the trunks.
    pub trunks: Vec<String>,
    /// Event streams that are open.
    pub event_streams: u64,
    /// What the server takes at once.
    pub limits: StatusLimits,
}

/// What a server takes at once. Beyond, it answers 503 with `Retry-After`, and SIP 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct StatusLimits {
    /// Calls.
    pub calls_max: u32,
    /// Calls that wait to be dialled.
    pub dial_queue_max: u64,
    /// Event and audio streams.
    pub event_streams_max: u64,
    /// Bytes of a request's body.
    pub body_bytes_max: u64,
}
