//! Latency figures as data. `turn::ledger` computes them; `docs/latency.md` says what each means.

use serde::{Deserialize, Serialize};

/// Latency of one agent turn, in whole milliseconds. Spans may overlap: their sum is not the total.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Breakdown {
    /// End of caller speech to the end-of-turn decision.
    pub vad_delay_ms: Option<u32>,
    /// End of caller speech to the final transcript.
    pub stt_finalize_ms: Option<u32>,
    /// Request to the language model to its first token.
    pub llm_startup_ms: Option<u32>,
    /// First token to the first speakable sentence.
    pub llm_first_sentence_ms: Option<u32>,
    /// First sentence handed to synthesis to its first audio.
    pub tts_synthesis_ms: Option<u32>,
    /// First audio from synthesis to the first RTP packet that holds any of it.
    pub send_overhead_ms: Option<u32>,
    /// End of caller speech to the first audible RTP packet.
    pub total_perceived_ms: Option<u32>,
    /// Part of the final transcript's delay that the end-of-turn wait does not hide.
    pub stt_tail_ms: Option<u32>,
    /// Round trips of tools before the first token, added up.
    pub tool_ms: Option<u32>,
    /// Later of decision and transcript to the request; negative if the request left earlier.
    pub dispatch_ms: Option<i32>,
    /// Silence at the head of the synthesised audio.
    pub tts_leading_silence_ms: Option<u32>,
    /// For turns that no speech triggered: trigger (answer, command, timer) to the first audible packet.
    pub trigger_to_audio_ms: Option<u32>,
    /// On an interrupted turn: onset of caller speech to the last agent packet with audio.
    pub barge_in_stop_ms: Option<u32>,
    /// The partition of the total, if there is one.
    pub critical_path: Option<CriticalPath>,
    /// Whether the turn was cut off before its first audible packet.
    pub canceled: bool,
    /// Whether the reply was prepared before the caller's turn was over.
    pub speculative: bool,
    /// Retry or fallback that produced the reply, from 1.
    pub attempt: u32,
    /// Whether its first sentence was kept from an earlier time; `None`: no voice spoke.
    pub cache_hit: Option<bool>,
}

/// What bound the end of the caller's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointBound {
    /// The end-of-turn wait.
    Vad,
    /// The final transcript.
    Stt,
}

/// A partition of end of speech to first audible packet: the parts sum to `total_perceived_ms` within 1 ms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CriticalPath {
    /// End of speech to the later of decision and transcript.
    pub endpoint_ms: u32,
    /// Which of the two was later.
    pub endpoint_bound: EndpointBound,
    /// From there to the request.
    pub dispatch_ms: u32,
    /// Round trips of tools before the first token.
    #[serde(default)]
    pub tools_ms: u32,
    /// To the first token, without the tools.
    pub llm_first_token_ms: u32,
    /// To the first sentence.
    pub llm_sentence_ms: u32,
    /// To the first audio.
    pub tts_ms: u32,
    /// To the first packet.
    pub send_ms: u32,
    /// To the first audible packet.
    pub leading_silence_ms: u32,
}

/// Statistics of one field over the turns that have a value and were not canceled, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is its own description")]
pub struct Percentiles {
    pub n: u32,
    pub min: u32,
    pub p50: u32,
    pub p90: u32,
    pub p95: u32,
    pub p99: u32,
    pub max: u32,
    pub mean: f64,
}

/// Percentiles over a call's turns, a field each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "the names are those of `Breakdown`")]
pub struct CallLatency {
    pub vad_delay_ms: Option<Percentiles>,
    pub stt_finalize_ms: Option<Percentiles>,
    pub llm_startup_ms: Option<Percentiles>,
    pub llm_first_sentence_ms: Option<Percentiles>,
    pub tool_ms: Option<Percentiles>,
    pub tts_synthesis_ms: Option<Percentiles>,
    pub send_overhead_ms: Option<Percentiles>,
    pub total_perceived_ms: Option<Percentiles>,
    pub barge_in_stop_ms: Option<Percentiles>,
    /// Turns where the caller went on within a second of the end-of-turn decision.
    pub false_endpoints: u32,
    /// Times the agent's voice was held back by a caller who did not want the floor.
    pub false_interruptions: u32,
    /// Replies that were prepared before the caller's turn was over, and used.
    pub speculative_hits: u32,
    /// Replies that were prepared, paid for, and dropped unheard.
    pub speculative_misses: u32,
}
