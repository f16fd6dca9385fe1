//! The transcript of a call and the latency of its turns.

use serde::Serialize;
use utoipa::ToSchema;

use super::word;
use crate::types::{Breakdown, CallLatency, CallRecord, CriticalPath, TurnRecord};

/// Spans of one agent turn in milliseconds; they may overlap, so their sum is not the total.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are those of `types::Breakdown`")]
pub struct TurnLatency {
    pub vad_delay_ms: Option<u32>,
    pub stt_finalize_ms: Option<u32>,
    pub llm_startup_ms: Option<u32>,
    pub llm_first_sentence_ms: Option<u32>,
    pub tts_synthesis_ms: Option<u32>,
    pub send_overhead_ms: Option<u32>,
    /// End of caller speech to the first audible packet.
    pub total_perceived_ms: Option<u32>,
    pub stt_tail_ms: Option<u32>,
    /// Round trips of tools before the first token, added up.
    pub tool_ms: Option<u32>,
    pub dispatch_ms: Option<i32>,
    pub tts_leading_silence_ms: Option<u32>,
    pub trigger_to_audio_ms: Option<u32>,
    pub barge_in_stop_ms: Option<u32>,
    /// Parts that sum to `total_perceived_ms` within 1 ms.
    #[schema(value_type = Option<Object>)]
    pub critical_path: Option<CriticalPath>,
    pub canceled: bool,
    /// The reply was prepared before the caller's turn was over.
    pub speculative: bool,
    pub attempt: u32,
    /// Whether the first sentence came from the TTS cache; null: no voice spoke.
    pub cache_hit: Option<bool>,
}

impl From<&Breakdown> for TurnLatency {
    fn from(spans: &Breakdown) -> Self {
        Self {
            vad_delay_ms: spans.vad_delay_ms,
            stt_finalize_ms: spans.stt_finalize_ms,
            llm_startup_ms: spans.llm_startup_ms,
            llm_first_sentence_ms: spans.llm_first_sentence_ms,
            tts_synthesis_ms: spans.tts_synthesis_ms,
            send_overhead_ms: spans.send_overhead_ms,
            total_perceived_ms: spans.total_perceived_ms,
            stt_tail_ms: spans.stt_tail_ms,
            tool_ms: spans.tool_ms,
            dispatch_ms: spans.dispatch_ms,
            tts_leading_silence_ms: spans.tts_leading_silence_ms,
            trigger_to_audio_ms: spans.trigger_to_audio_ms,
            barge_in_stop_ms: spans.barge_in_stop_ms,
            critical_path: spans.critical_path.clone(),
            canceled: spans.canceled,
            speculative: spans.speculative,
            attempt: spans.attempt,
            cache_hit: spans.cache_hit,
        }
    }
}

/// What failed while a turn was made.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TurnError {
    /// Machine code.
    pub code: String,
    /// The same for people.
    pub message: String,
    /// `sip`, `media`, `stt`, `llm`, `tts` or `internal`.
    pub stage: String,
}

/// What a turn of role `tool` did. Headers and secrets are not in it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TurnTool {
    /// The model's name for this use.
    pub call_id: String,
    /// Which tool.
    pub name: String,
    /// What it was asked.
    #[schema(value_type = Object)]
    pub arguments: serde_json::Value,
    /// What the model was told.
    pub result: String,
    /// Whether it failed, or was not run.
    pub is_error: bool,
    /// HTTP status, if a server answered.
    pub status_code: Option<u16>,
    /// From the request to the result.
    pub duration_ms: u64,
}

impl From<&crate::types::ToolUse> for TurnTool {
    fn from(tool: &crate::types::ToolUse) -> Self {
        Self {
            call_id: tool.call_id.clone(),
            name: tool.name.clone(),
            arguments: tool.arguments.reveal().clone(),
            result: tool.result.reveal().clone(),
            is_error: tool.is_error,
            status_code: tool.status_code,
            duration_ms: tool.duration_ms,
        }
    }
}

/// One turn of the conversation.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Turn {
    /// Position in the call, from 0.
    pub index: u32,
    /// `user`, `assistant`, `tool` or `system`.
    pub role: String,
    /// Whole text: recognised, generated or commanded.
    pub content: String,
    /// What the caller heard of it; null unless role is `assistant`.
    pub spoken_content: Option<String>,
    /// Whether the caller cut it off.
    pub interrupted: bool,
    /// What made it happen.
    pub origin: String,
    /// Start, milliseconds after the answer.
    pub offset_ms: u64,
    /// How long it lasted.
    pub duration_ms: u64,
    /// Confidence of the recogniser, 0 to 1.
    pub confidence: Option<f32>,
    /// Latency of an agent's turn.
    pub latency: Option<TurnLatency>,
    /// What failed, if anything.
    pub error: Option<TurnError>,
    /// What a turn of role `tool` did.
    pub tool: Option<TurnTool>,
    /// Providers that were gone on from while the turn was made.
    pub failovers: Vec<Failover>,
}

/// A provider's work that went to another one.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Failover {
    /// `stt`, `llm` or `tts`.
    pub stage: String,
    /// Provider that was to do it.
    pub from: String,
    /// Provider that did it.
    pub to: String,
    /// `auth`, `rate_limited`, `bad_request`, `unavailable`, `stalled`, `cut`, `protocol` or `missing`: how it failed;
    /// `slow`: the other one was first; `empty`: it found no words and the other one did; `breaker_open`: it had failed
    /// before and was not asked.
    pub reason: String,
    /// Milliseconds after the answer; 0 before it.
    pub offset_ms: u64,
}

impl From<&crate::types::Failover> for Failover {
    fn from(failover: &crate::types::Failover) -> Self {
        Self {
            stage: word(failover.stage),
            from: failover.from.clone(),
            to: failover.to.clone(),
            reason: failover.reason.clone(),
            offset_ms: failover.offset_ms,
        }
    }
}

impl From<&TurnRecord> for Turn {
    fn from(turn: &TurnRecord) -> Self {
        Self {
            index: turn.id.0,
            role: word(turn.role),
            content: turn.content.reveal().clone(),
            spoken_content: turn.spoken_content.as_ref().map(|text| text.reveal().clone()),
            interrupted: turn.interrupted,
            origin: word(turn.origin),
            offset_ms: turn.offset_ms,
            duration_ms: turn.duration_ms,
            confidence: turn.confidence,
            latency: turn.latency.as_ref().map(TurnLatency::from),
            error: turn.error.as_ref().map(|error| TurnError {
                code: error.code.clone(),
                message: error.message.clone(),
                stage: word(error.stage),
            }),
            tool: turn.tool.as_ref().map(TurnTool::from),
            failovers: turn.failovers.iter().map(Failover::from).collect(),
        }
    }
}

/// Body of `GET /v1/calls/{id}/transcript`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Transcript {
    /// Which call.
    pub call_id: String,
    /// Its status; a live call's transcript grows.
    pub status: String,
    /// The turns in order.
    pub turns: Vec<Turn>,
}

impl Transcript {
    /// Puts a call and its turns together.
    pub fn new(record: &CallRecord, turns: &[TurnRecord]) -> Self {
        Self {
            call_id: record.id.to_string(),
            status: record.status.as_str().to_owned(),
            turns: turns.iter().map(Turn::from).collect(),
        }
    }
}

/// Latency of one turn of a report.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct IndexedLatency {
    /// Which turn.
    pub index: u32,
    /// Its spans.
    pub latency: TurnLatency,
}

/// Body of `GET /v1/calls/{id}/latency`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CallLatencyReport {
    /// Which call.
    pub call_id: String,
    /// Turns that have a latency, in order.
    pub turns: Vec<IndexedLatency>,
    /// Statistics over them, by field.
    #[schema(value_type = Object)]
    pub summary: CallLatency,
}

impl CallLatencyReport {
    /// Puts a call and its turns together.
    pub fn new(record: &CallRecord, turns: &[TurnRecord]) -> Self {
        let indexed = |turn: &TurnRecord| {
            let latency = turn.latency.as_ref().map(TurnLatency::from)?;
            Some(IndexedLatency { index: turn.id.0, latency })
        };
        Self {
            call_id: record.id.to_string(),
            turns: turns.iter().filter_map(indexed).collect(),
            summary: record.latency.clone(),
        }
    }
}
