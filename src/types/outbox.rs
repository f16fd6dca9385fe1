//! What webhooks tell of: the closed set of events and one event as it waits in the outbox.

use serde::{Deserialize, Serialize};

use super::{CallId, CallRecord, CallStatus, OrderId, OrganizationId};

macro_rules! kinds {
    ($($id:ident = $name:literal, $inline:literal;)+) => {
        /// Every event that a webhook can be told. The first eight are a call's life.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "the name of each is its description")]
        pub enum OutboxKind { $(#[serde(rename = $name)] $id,)+ }

        impl OutboxKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$id),+];

            /// Public name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$id => $name,)+ }
            }

            /// Whether the `webhook_url` of a call, order or agent that names no events gets it, besides the
            /// endpoints that subscribe.
            pub fn is_inline(self) -> bool {
                match self { $(Self::$id => $inline,)+ }
            }

            /// Reads a public name.
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
            }
        }
    };
}

kinds! {
    CallQueued = "call.queued", true;
    CallRinging = "call.ringing", true;
    CallAnswered = "call.answered", true;
    CallCompleted = "call.completed", true;
    CallFailed = "call.failed", true;
    CallNoAnswer = "call.no_answer", true;
    CallBusy = "call.busy", true;
    CallCanceled = "call.canceled", true;
    CallReport = "call.report", true;
    TranscriptReady = "call.transcript.ready", false;
    RecordingReady = "call.recording.ready", false;
    AnalysisReady = "call.analysis.ready", false;
    CallTransferred = "call.transferred", false;
    TransferFailed = "call.transfer_failed", false;
    AnsweredBy = "call.answered_by", false;
    CallDtmf = "call.dtmf", false;
    ProviderFailover = "provider.failover", false;
    OrderCompleted = "order.completed", true;
    OrderRetryScheduled = "order.retry_scheduled", false;
    BatchCompleted = "batch.completed", false;
    CampaignCompleted = "campaign.completed", false;
    EndpointDisabled = "endpoint.disabled", false;
    Ping = "ping", false;
}

impl OutboxKind {
    /// Whether a name, a prefix such as `call.*`, or `*` means this kind.
    pub fn matches(self, pattern: &str) -> bool {
        match pattern.strip_suffix('*') {
            Some("") => true,
            // `call.*` is a prefix with its dot; `cal*` is none.
            Some(prefix) => prefix.ends_with('.') && self.as_str().starts_with(prefix),
            None => pattern == self.as_str(),
        }
    }

    /// Whether it tells of a call, and not of what calls belong to.
    pub fn is_of_call(self) -> bool {
        self == Self::ProviderFailover || self.as_str().starts_with("call.")
    }

    /// The lifecycle event of a status. `initiated` has none (call-model B4).
    pub fn of_status(status: CallStatus) -> Option<Self> {
        match status {
            CallStatus::Queued => Some(Self::CallQueued),
            CallStatus::Initiated => None,
            CallStatus::Ringing => Some(Self::CallRinging),
            CallStatus::InProgress => Some(Self::CallAnswered),
            CallStatus::Completed => Some(Self::CallCompleted),
            CallStatus::Busy => Some(Self::CallBusy),
            CallStatus::NoAnswer => Some(Self::CallNoAnswer),
            CallStatus::Canceled => Some(Self::CallCanceled),
            CallStatus::Failed => Some(Self::CallFailed),
        }
    }

    /// What may happen to a call once only: events with the same word exclude each other.
    pub fn once(self) -> Option<&'static str> {
        match self {
            Self::CallCompleted
            | Self::CallFailed
            | Self::CallNoAnswer
            | Self::CallBusy
            | Self::CallCanceled => Some("terminal"),
            Self::CallQueued
            | Self::CallRinging
            | Self::CallAnswered
            | Self::CallReport
            | Self::TranscriptReady
            | Self::RecordingReady
            | Self::OrderCompleted => Some(self.as_str()),
            Self::AnalysisReady
            | Self::CallTransferred
            | Self::TransferFailed
            | Self::AnsweredBy
            | Self::CallDtmf
            | Self::ProviderFailover
            | Self::OrderRetryScheduled
            | Self::BatchCompleted
            | Self::CampaignCompleted
            | Self::EndpointDisabled
            | Self::Ping => None,
        }
    }
}

/// One event, as it is written beside the state it tells of.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxEvent {
    /// What happened.
    pub kind: OutboxKind,
    /// To whose things.
    pub organization_id: OrganizationId,
    /// To which call, if to one.
    pub call_id: Option<CallId>,
    /// To which order, if to one.
    pub order_id: Option<OrderId>,
    /// When.
    pub at: jiff::Timestamp,
    /// Where to tell it besides the endpoints that subscribe.
    pub inline_url: Option<String>,
    /// The domain's record at that moment: `{"call": CallRecord}` and whatever else the kind carries.
    pub data: serde_json::Value,
}

impl OutboxEvent {
    /// An event about a call.
    pub fn of_call(kind: OutboxKind, record: &CallRecord) -> Self {
        Self {
            kind,
            organization_id: record.organization_id.clone(),
            call_id: Some(record.id),
            order_id: record.order_id,
            at: record.updated_at,
            inline_url: record
                .webhook_url
                .as_ref()
                .filter(|_| record.tells_inline(kind))
                .map(|url| url.reveal().clone()),
            data: serde_json::json!({ "call": record }),
        }
    }
}
