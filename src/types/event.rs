//! What happened on a call, in order: the journal behind the event stream and `GET /v1/calls/{id}/events`.

use serde::{Deserialize, Serialize};

use super::call::{CallError, CallStatus, TurnRole};
use super::{AgentId, CallId, EndReason, Failover, Pii, TurnId};

/// One entry of a call's journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallEvent {
    /// Counts the events of one call, from 1.
    pub seq: u64,
    /// Whose.
    pub call_id: CallId,
    /// Wall time.
    pub at: jiff::Timestamp,
    /// What.
    pub kind: CallEventKind,
}

/// The closed set of things a journal can hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum CallEventKind {
    StatusChanged {
        status: CallStatus,
        end_reason: Option<EndReason>,
    },
    SpeechStarted {
        role: TurnRole,
    },
    SpeechEnded {
        role: TurnRole,
    },
    TranscriptPartial {
        content: Pii<String>,
    },
    TranscriptFinal {
        content: Pii<String>,
    },
    TurnStarted {
        turn: TurnId,
        role: TurnRole,
    },
    /// A turn is closed: its text, and for an agent's turn what was heard and the total latency.
    TurnEnded {
        turn: TurnId,
        role: TurnRole,
        content: Pii<String>,
        spoken_content: Option<Pii<String>>,
        interrupted: bool,
        total_perceived_ms: Option<u32>,
    },
    /// Digits are personal: card numbers and PINs are typed on keypads.
    DtmfReceived {
        digit: Pii<char>,
    },
    DtmfSent {
        digits: Pii<String>,
    },
    /// A command of the API took effect.
    CommandApplied {
        command_id: String,
        command: String,
    },
    TransferStarted {
        destination: Pii<String>,
    },
    TransferProgress {
        sip_status: u16,
    },
    TransferFailed {
        sip_status: Option<u16>,
        message: String,
    },
    /// The other side asked us, by REFER, to go on with somebody else: `started`, `ringing`, `completed` or `failed`.
    Referred {
        state: String,
        destination: Pii<String>,
        sip_status: Option<u16>,
    },
    /// `listen`, `whisper`, `barge`, or `leave`.
    Supervised {
        mode: String,
    },
    SupervisorFailed {
        sip_status: Option<u16>,
        message: String,
    },
    Held {
        by_remote: bool,
    },
    Resumed {
        by_remote: bool,
    },
    ProviderFailed {
        error: CallError,
    },
    ProviderRecovered {
        stage: super::call::ErrorStage,
    },
    /// The call goes on with another provider.
    ProviderFailover {
        failover: Failover,
    },
    /// A tool was asked.
    ToolStarted {
        tool_call_id: String,
        name: String,
        arguments: Pii<serde_json::Value>,
    },
    /// A tool gave its result, or was not run.
    ToolEnded {
        tool_call_id: String,
        name: String,
        result: Pii<String>,
        is_error: bool,
        status_code: Option<u16>,
        duration_ms: u64,
    },
    /// Another agent goes on with the call.
    HandedOff {
        from: AgentId,
        to: AgentId,
    },
    /// Names of variables that were set; their values are in the record.
    VariablesSet {
        names: Vec<String>,
    },
    /// `paused`, `recording` or `stopped`.
    RecordingChanged {
        state: String,
    },
    MediaLost,
    RecordingReady {
        filename: String,
    },
}
