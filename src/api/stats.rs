//! Latency over many calls: percentiles over the turns of the newest calls that pass a filter.

use std::sync::Arc;

use axum::extract::State;

use super::Api;
use super::access::Principal;
use super::calls::{FILTERS, Filters, read_query};
use super::error::ApiError;
use super::extract::Params;
use crate::call::percentiles;
use crate::schema::{ErrorBody, LatencyStats};
use crate::types::call::TurnRole;
use crate::types::{Breakdown, CallLatency};

/// Show latency over many calls
///
/// Percentiles over every agent turn of the calls that pass the filters, at most of the newest 5,000 calls.
#[utoipa::path(get, path = "/v1/stats/latency", operation_id = "get_latency_stats", tag = "calls", params(Filters),
    responses(
        (status = 200, description = "Percentiles by field", body = LatencyStats),
        (status = 400, description = "A parameter has a bad value", body = ErrorBody),
        (status = 422, description = "A parameter is unknown", body = ErrorBody),
    ))]
pub(super) async fn latency(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<LatencyStats>, ApiError> {
    params.only_with(FILTERS, "metadata.")?;
    let query = read_query(&principal, &params)?;
    let mut sums = Sums::default();
    let (calls, complete) = api
        .store
        .turns_of_many(&query, |_, turn| {
            if let Some(spans) = turn.latency.filter(|_| turn.role == TurnRole::Assistant) {
                sums.add(&spans);
            }
        })
        .await?;
    let turns = sums.turns;
    Ok(axum::Json(LatencyStats { calls: calls as u64, complete, turns, latency: sums.finish() }))
}

/// Values of each field; at most a few turns of 5,000 calls, 4 bytes each.
#[derive(Default)]
struct Sums {
    turns: u64,
    values: [Vec<u32>; 9],
}

impl Sums {
    fn add(&mut self, spans: &Breakdown) {
        if spans.canceled {
            return;
        }
        self.turns += 1;
        let fields = [
            spans.vad_delay_ms,
            spans.stt_finalize_ms,
            spans.llm_startup_ms,
            spans.llm_first_sentence_ms,
            spans.tts_synthesis_ms,
            spans.send_overhead_ms,
            spans.total_perceived_ms,
            spans.barge_in_stop_ms,
            spans.tool_ms,
        ];
        for (values, field) in self.values.iter_mut().zip(fields) {
            values.extend(field);
        }
    }

    fn finish(self) -> CallLatency {
        let [vad, stt, startup, sentence, tts, send, total, barge, tool] =
            self.values.map(percentiles);
        CallLatency {
            vad_delay_ms: vad,
            stt_finalize_ms: stt,
            llm_startup_ms: startup,
            llm_first_sentence_ms: sentence,
            tts_synthesis_ms: tts,
            send_overhead_ms: send,
            total_perceived_ms: total,
            barge_in_stop_ms: barge,
            tool_ms: tool,
            ..CallLatency::default()
        }
    }
}
