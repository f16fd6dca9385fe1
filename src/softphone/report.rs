//! What came of one call: a summary for people with the waterfall, and the same as JSON.

use std::time::Duration;

use serde::Serialize;

use super::api::ServerTurn;
use super::call::{PhoneCall, Reply};
use super::state::CallEnd;
use super::waterfall::{self, Style, WaterfallTurn};
use crate::types::Breakdown;

/// One utterance of ours and the reply to it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Exchange {
    /// What we played; empty for the greeting.
    pub said: String,
    /// From our last audible packet to the first one of the reply, measured on our side.
    pub gap_ms: Option<f64>,
    /// First audible packet of the reply, after the answer; null if none came.
    pub began_ms: Option<u64>,
    /// Length of the reply.
    pub duration_ms: Option<u64>,
}

impl Exchange {
    /// An exchange on an answered call.
    pub fn new(call: &PhoneCall, said: &str, reply: Option<&Reply>) -> Self {
        let answered = call.setup_time().map(|setup| call.placed_at() + setup);
        let began = reply
            .zip(answered)
            .map(|(reply, at)| millis(reply.began_at.saturating_duration_since(at)));
        Self {
            said: said.to_owned(),
            gap_ms: reply.and_then(|reply| reply.gap).map(exact_ms),
            began_ms: began,
            duration_ms: reply.map(|reply| millis(reply.duration())),
        }
    }
}

/// What the server says of one turn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReportedTurn {
    /// Position in the call.
    pub index: u32,
    /// Role.
    pub role: String,
    /// Text: of an agent's turn what was heard of it.
    pub content: String,
    /// Whether it was cut off.
    pub interrupted: bool,
    /// Latency of an agent's turn.
    pub latency: Option<Breakdown>,
    /// The same gap measured on our side, where the turn has one.
    pub wire_gap_ms: Option<f64>,
}

/// The audio as it arrived.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AudioReport {
    /// RTP packets received.
    pub packets: u64,
    /// Frames lost on the way and concealed.
    pub frames_lost: u64,
    /// Packets too late to be heard.
    pub packets_late: u64,
    /// Interarrival jitter of RFC 3550.
    pub jitter_ms: f64,
    /// Deviation of the pace from 20 ms within speech.
    pub pacing_p50_ms: f64,
    /// The same, 99th percentile.
    pub pacing_p99_ms: f64,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallReport {
    /// Whom we called.
    pub uri: String,
    /// What both sides know the call by.
    pub identifier: String,
    /// From INVITE to the answer.
    pub setup_ms: Option<f64>,
    /// How it ended, in words.
    pub end: String,
    /// Final status of a failed INVITE.
    pub sip_status: Option<u16>,
    /// Utterances and replies.
    pub exchanges: Vec<Exchange>,
    /// What arrived.
    pub audio: AudioReport,
    /// File with both directions.
    pub recording: Option<String>,
    /// Identifier of the call at the server, if its API was asked.
    pub server_call_id: Option<String>,
    /// Its turns, if its API was asked.
    pub turns: Vec<ReportedTurn>,
}

/// Puts everything together once the call is over.
pub(super) fn collect(
    call: &PhoneCall,
    uri: &str,
    exchanges: Vec<Exchange>,
    server: Option<(String, Vec<ServerTurn>)>,
) -> CallReport {
    let stats = call.stats();
    let inbound = stats.stream.inbound;
    let end = call.end();
    let (server_call_id, turns) =
        server.map_or((None, Vec::new()), |(id, turns)| (Some(id), turns));
    CallReport {
        uri: uri.to_owned(),
        identifier: call.identifier().to_owned(),
        setup_ms: call.setup_time().map(exact_ms),
        sip_status: end.as_ref().and_then(CallEnd::status),
        end: end.map_or_else(|| "it goes on".to_owned(), |end| end.to_string()),
        audio: AudioReport {
            packets: inbound.packets,
            frames_lost: stats.frames_lost,
            packets_late: inbound.express_late,
            jitter_ms: exact_ms(Duration::from_micros(inbound.interarrival_jitter_us)),
            pacing_p50_ms: exact_ms(stats.pacing.talk.percentile(50.0)),
            pacing_p99_ms: exact_ms(stats.pacing.talk.percentile(99.0)),
        },
        recording: None,
        server_call_id,
        turns: with_gaps(turns, &exchanges),
        exchanges,
    }
}

/// Joins the server's turns with our measurements: both are in order, and every turn that has a total
/// is a reply to an utterance of ours.
fn with_gaps(turns: Vec<ServerTurn>, exchanges: &[Exchange]) -> Vec<ReportedTurn> {
    let has_total =
        |turn: &ServerTurn| turn.latency.as_ref().is_some_and(|l| l.total_perceived_ms.is_some());
    let gaps: Vec<f64> = exchanges.iter().filter_map(|exchange| exchange.gap_ms).collect();
    // Where the numbers differ (an utterance was two turns for the server) nothing is claimed.
    let same = turns.iter().filter(|turn| has_total(turn)).count() == gaps.len();
    let mut gaps = gaps.into_iter();
    turns
        .into_iter()
        .map(|turn| ReportedTurn {
            wire_gap_ms: if same && has_total(&turn) { gaps.next() } else { None },
            index: turn.index,
            role: turn.role,
            content: turn.spoken_content.unwrap_or(turn.content),
            interrupted: turn.interrupted,
            latency: turn.latency,
        })
        .collect()
}

impl CallReport {
    /// Whether the call was answered and every utterance got a reply.
    pub fn succeeded(&self) -> bool {
        self.setup_ms.is_some()
            && self.exchanges.iter().all(|one| one.said.is_empty() || one.began_ms.is_some())
    }

    /// For people.
    pub fn text(&self, style: Style) -> String {
        let mut out = String::from("\n");
        let waterfall = waterfall::render(&self.waterfall(), style);
        out.push_str(&waterfall);
        if waterfall.is_empty() {
            for exchange in self.exchanges.iter().filter(|one| !one.said.is_empty()) {
                out.push_str(&exchange.line());
            }
        } else {
            out.push('\n');
        }
        let setup = self
            .setup_ms
            .map_or("never answered".to_owned(), |ms| format!("answered after {ms:.0} ms"));
        out.push_str(&format!("{setup}; {}\n", self.end));
        let gaps = self.gaps();
        if let (Some(p50), Some(max)) = (gaps.get(gaps.len().saturating_sub(1) / 2), gaps.last()) {
            out.push_str(&format!(
                "response gap on the wire: {} replies, p50 {p50:.0} ms, max {max:.0} ms\n",
                gaps.len()
            ));
        }
        let AudioReport { packets, frames_lost, jitter_ms, pacing_p50_ms, pacing_p99_ms, .. } =
            self.audio;
        if packets > 0 {
            out.push_str(&format!(
                "audio: {packets} packets, {frames_lost} lost, jitter {jitter_ms:.1} ms, pace off by \
                 {pacing_p50_ms:.2} ms (p50), {pacing_p99_ms:.2} ms (p99)\n"
            ));
        }
        if let Some(recording) = &self.recording {
            out.push_str(&format!("recording: {recording} (caller left, agent right)\n"));
        }
        if let Some(id) = &self.server_call_id {
            out.push_str(&format!("call at the server: {id}\n"));
        }
        out
    }

    /// For machines.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Response gaps in milliseconds, in ascending order.
    pub fn gaps(&self) -> Vec<f64> {
        let mut gaps: Vec<f64> = self.exchanges.iter().filter_map(|one| one.gap_ms).collect();
        gaps.sort_by(f64::total_cmp);
        gaps
    }

    fn waterfall(&self) -> Vec<WaterfallTurn> {
        let mut caller = None;
        let mut turns = Vec::new();
        for turn in &self.turns {
            match turn.role.as_str() {
                "user" => caller = Some(turn.content.clone()),
                "assistant" => turns.push(WaterfallTurn {
                    index: turn.index,
                    caller: caller.take(),
                    agent: Some(turn.content.clone()),
                    latency: turn.latency.clone().unwrap_or_default(),
                    wire_gap_ms: turn.wire_gap_ms.map(|ms| ms.round() as u32),
                }),
                _ => {}
            }
        }
        turns
    }
}

impl Exchange {
    fn line(&self) -> String {
        match (self.gap_ms, self.duration_ms) {
            (Some(gap), Some(lasts)) => format!(
                "{:<24} reply after {gap:>6.0} ms, {:.1} s long\n",
                self.said,
                lasts as f64 / 1_000.0
            ),
            _ => format!("{:<24} no reply\n", self.said),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds with three decimals.
fn exact_ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

#[cfg(test)]
mod tests;
