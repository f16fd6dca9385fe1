//! The latency of an agent turn: nine instants, the spans between them and one partition of the whole.
//!
//! This file is the only definition; `docs/latency.md` is generated from it by [`reference()`]. All
//! instants are of one monotonic clock at the media server. What happens in the network and in the
//! caller's phone is not in here.

use std::time::{Duration, Instant};

use crate::types::latency::{EndpointBound, Percentiles};
use crate::types::{Breakdown, CallLatency, CriticalPath};

/// The nine instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// End of caller speech: arrival of the last voiced frame.
    S,
    /// End-of-turn decision.
    E,
    /// Final transcript parsed.
    T,
    /// Request to the language model left.
    L0,
    /// First text of the reply.
    L1,
    /// First sentence handed to synthesis.
    L2,
    /// First audio of it.
    A1,
    /// First packet with any of it.
    P0,
    /// First audible packet.
    P1,
}

impl Mark {
    /// All, in the order a turn usually reaches them.
    pub const ALL: [Self; 9] =
        [Self::S, Self::E, Self::T, Self::L0, Self::L1, Self::L2, Self::A1, Self::P0, Self::P1];
}

/// What each instant is and how it is taken: symbol, name, definition.
const INSTANTS: [(Mark, &str, &str); 9] = [
    (
        Mark::S,
        "end of caller speech",
        "arrival of the packet with the last 20 ms frame that voice activity detection called \
         speech, de-jittered; its look-back is subtracted",
    ),
    (
        Mark::E,
        "end-of-turn decision",
        "as much silence after S as the words, the question and the caller's habit ask for, or the \
         recogniser's word that the turn is over",
    ),
    (
        Mark::T,
        "final transcript",
        "the last final result that goes into the request was parsed; none if the wait for it ran out",
    ),
    (Mark::L0, "request sent", "first byte of the request to the language model written"),
    (
        Mark::L1,
        "first token",
        "first delta with non-empty text parsed; of a model that speaks itself, its first words or sound",
    ),
    (
        Mark::L2,
        "first sentence",
        "first sentence (or early first clause) of the reply handed to synthesis; fillers do not count",
    ),
    (Mark::A1, "first audio", "first non-empty audio chunk of that sentence received and decoded"),
    (
        Mark::P0,
        "first packet",
        "`sendto` of the first packet with audio of this turn returned, a filler's included",
    ),
    (
        Mark::P1,
        "first audible packet",
        "the same for the first packet whose frame is louder than -50 dBFS, a filler's included",
    ),
];

/// Field, what it spans, when it is null.
const FIELDS: [(&str, &str, &str); 13] = [
    ("vad_delay_ms", "S to E", "no caller speech led to the turn"),
    (
        "stt_finalize_ms",
        "S to T; overlaps `vad_delay_ms`",
        "no final transcript, or a model that hears the caller itself",
    ),
    ("llm_startup_ms", "L0 to L1", "fixed text"),
    ("llm_first_sentence_ms", "L1 to L2", "fixed text, or a model that speaks itself"),
    (
        "tts_synthesis_ms",
        "L2 to A1, a cold connection included",
        "nothing synthesised, or the first sentence was in the TTS cache, or a model that speaks itself",
    ),
    (
        "send_overhead_ms",
        "A1 to P0: decode, resample, encode, pacing, playout queue",
        "nothing sent, or a filler was sent first",
    ),
    ("total_perceived_ms", "S to P1", "no caller speech, or cut off before P1"),
    ("stt_tail_ms", "max(0, T - E): the part of recognition the wait does not hide", "no E or T"),
    (
        "tool_ms",
        "round trips of tools before L1, added up; parallel ones count once",
        "no tool ran before L1",
    ),
    ("dispatch_ms", "L0 - max(E, T); negative if the request left earlier", "no request"),
    ("tts_leading_silence_ms", "P0 to P1", "nothing audible sent"),
    (
        "trigger_to_audio_ms",
        "trigger (answer, command, timer, key) to P1",
        "caller speech led to the turn, or nothing audible sent",
    ),
    (
        "barge_in_stop_ms",
        "onset of caller speech (first voiced frame) to the last agent packet with audio",
        "the turn was not interrupted while audible",
    ),
];

/// Part of the critical path and its stop; it starts where the part before stops.
const PATH: [(&str, &str); 8] = [
    ("endpoint_ms", "max(E, T); `endpoint_bound` says which of the two (`vad` or `stt`) was later"),
    ("dispatch_ms", "L0"),
    ("tools_ms", "L0 + `tool_ms`: round trips of tools, wherever they lay before L1"),
    ("llm_first_token_ms", "L1"),
    ("llm_sentence_ms", "L2"),
    ("tts_ms", "A1"),
    ("send_ms", "P0"),
    ("leading_silence_ms", "P1"),
];

/// The instants of one agent turn.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    marks: [Option<Instant>; 9],
    /// What started a turn that no speech triggered.
    trigger: Option<Instant>,
    /// Onset of the speech that cut the turn off, and the last packet with audio after it.
    barge_in: Option<(Instant, Instant)>,
    /// Cut off.
    cut: bool,
    /// Round trips of tools before L1.
    tools: Option<Duration>,
    /// The reply was prepared before the turn was over.
    speculative: bool,
}

impl Ledger {
    /// A turn that nothing but `trigger` led to: an answer, a command, a timer, a key.
    pub fn triggered(trigger: Instant) -> Self {
        Self { trigger: Some(trigger), ..Self::default() }
    }

    /// A turn that answers caller speech.
    pub fn answering(speech_end: Instant, decided: Instant, transcript: Option<Instant>) -> Self {
        let mut ledger = Self::default();
        ledger.mark(Mark::S, speech_end);
        ledger.mark(Mark::E, decided);
        if let Some(transcript) = transcript {
            ledger.mark(Mark::T, transcript);
        }
        ledger
    }

    /// Notes an instant; the first of each kind counts.
    pub fn mark(&mut self, mark: Mark, at: Instant) {
        if let Some(slot) = self.marks.get_mut(mark as usize) {
            slot.get_or_insert(at);
        }
    }

    /// An instant, if it was reached.
    pub fn get(&self, mark: Mark) -> Option<Instant> {
        self.marks.get(mark as usize).copied().flatten()
    }

    /// A round of tools is over. One that ends after L1 delays nothing that is measured from there.
    pub fn tools(&mut self, took: Duration) {
        if self.get(Mark::L1).is_none() {
            self.tools = Some(self.tools.unwrap_or_default() + took);
        }
    }

    /// The reply was prepared before the caller's turn was over.
    pub fn speculative(&mut self) {
        self.speculative = true;
    }

    /// The turn was cut off.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// Caller speech from `onset` on made the last audible packet leave at `stopped`.
    pub fn barge_in(&mut self, onset: Instant, stopped: Instant) {
        self.barge_in = Some((onset, stopped));
    }

    /// The figures.
    pub fn breakdown(&self) -> Breakdown {
        use Mark::{A1, E, L0, L1, L2, P0, P1, S, T};
        let canceled = self.cut && self.get(P1).is_none();
        let ready = self.get(E).max(self.get(T));
        let transcript = self.get(T).max(self.get(S).filter(|_| self.get(T).is_some()));
        let between = |from: Mark, to: Mark| span(self.get(from), self.get(to));
        Breakdown {
            vad_delay_ms: between(S, E),
            stt_finalize_ms: span(self.get(S), transcript),
            llm_startup_ms: between(L0, L1),
            llm_first_sentence_ms: between(L1, L2),
            tts_synthesis_ms: between(L2, A1),
            send_overhead_ms: between(A1, P0),
            total_perceived_ms: between(S, P1),
            stt_tail_ms: self
                .get(E)
                .zip(self.get(T))
                .map(|(e, t)| round_ms(t.saturating_duration_since(e))),
            tool_ms: self.tools.map(round_ms),
            dispatch_ms: ready.zip(self.get(L0)).map(|(ready, sent)| signed_ms(ready, sent)),
            tts_leading_silence_ms: between(P0, P1),
            trigger_to_audio_ms: match self.get(S) {
                Some(_) => None,
                None => span(self.trigger, self.get(P1)),
            },
            barge_in_stop_ms: self
                .barge_in
                .filter(|_| !canceled)
                .and_then(|(onset, stopped)| span(Some(onset), Some(stopped))),
            critical_path: self.critical_path(),
            canceled,
            speculative: self.speculative,
            attempt: 1,
            cache_hit: None,
        }
    }

    /// Where the tools would have ended, had they run at once: the model works before them and after
    /// them, and its part is one.
    fn tools_end(&self) -> Option<Instant> {
        let end = self.get(Mark::L0)? + self.tools?;
        Some(self.get(Mark::L1).map_or(end, |first| end.min(first)))
    }

    /// Every stop is clamped between the stop before it and P1, so the parts are never negative and
    /// telescope. Parts are differences of rounded distances from S, so that they sum to the total
    /// exactly; each is within 1 ms of its own rounding.
    fn critical_path(&self) -> Option<CriticalPath> {
        use Mark::{A1, E, L0, L1, L2, P0, P1, S, T};
        let start = self.get(S)?;
        let end = self.get(P1).filter(|&end| end >= start)?;
        let mut reached = 0;
        let mut part = |stop: Option<Instant>| {
            let stop = stop.map_or(reached, |stop| {
                round_ms(stop.min(end).saturating_duration_since(start)).max(reached)
            });
            let part = stop - reached;
            reached = stop;
            part
        };
        Some(CriticalPath {
            endpoint_ms: part(self.get(E).max(self.get(T))),
            endpoint_bound: if self.get(T) > self.get(E) {
                EndpointBound::Stt
            } else {
                EndpointBound::Vad
            },
            dispatch_ms: part(self.get(L0)),
            tools_ms: part(self.tools_end()),
            llm_first_token_ms: part(self.get(L1)),
            llm_sentence_ms: part(self.get(L2)),
            tts_ms: part(self.get(A1)),
            send_ms: part(self.get(P0)),
            leading_silence_ms: part(Some(end)),
        })
    }
}

/// Distance in whole milliseconds; `None` if an end is missing or they are the wrong way round.
fn span(from: Option<Instant>, to: Option<Instant>) -> Option<u32> {
    to?.checked_duration_since(from?).map(round_ms)
}

fn signed_ms(from: Instant, to: Instant) -> i32 {
    let later = round_signed(to.saturating_duration_since(from), 1);
    later - round_signed(from.saturating_duration_since(to), 0)
}

/// Rounds half up, away from zero if `half` is 1 and towards it if 0: half up on the number line.
fn round_signed(distance: Duration, half: u128) -> i32 {
    i32::try_from((distance.as_micros() + 499 + half) / 1_000).unwrap_or(i32::MAX)
}

/// Whole milliseconds, rounded half up from microseconds.
fn round_ms(distance: Duration) -> u32 {
    u32::try_from((distance.as_micros() + 500) / 1_000).unwrap_or(u32::MAX)
}

/// Turns of a call that enter its percentiles: an hour and a half at one turn a second. Later ones
/// are left out.
pub const TURNS_MAX: usize = 5_000;

/// The figures of a call's turns.
#[derive(Clone, Debug, Default)]
pub struct CallFigures {
    turns: Vec<[Option<u32>; 9]>,
    /// Turns where the caller went on within a second of the decision.
    pub false_endpoints: u32,
    /// Times the agent was held back by a caller who did not want the floor.
    pub false_interruptions: u32,
    /// Replies that were prepared before the turn was over, and used.
    pub speculative_hits: u32,
    /// Replies that were prepared, paid for, and dropped.
    pub speculative_misses: u32,
}

impl CallFigures {
    /// Adds a turn; canceled ones do not count.
    pub fn add(&mut self, turn: &Breakdown) {
        if turn.canceled || self.turns.len() >= TURNS_MAX {
            return;
        }
        self.turns.push([
            turn.vad_delay_ms,
            turn.stt_finalize_ms,
            turn.llm_startup_ms,
            turn.llm_first_sentence_ms,
            turn.tts_synthesis_ms,
            turn.send_overhead_ms,
            turn.total_perceived_ms,
            turn.barge_in_stop_ms,
            turn.tool_ms,
        ]);
    }

    /// Percentiles over the turns so far.
    pub fn latency(&self) -> CallLatency {
        let of = |field: usize| {
            percentiles(self.turns.iter().filter_map(|t| t.get(field).copied().flatten()).collect())
        };
        CallLatency {
            vad_delay_ms: of(0),
            stt_finalize_ms: of(1),
            llm_startup_ms: of(2),
            llm_first_sentence_ms: of(3),
            tool_ms: of(8),
            tts_synthesis_ms: of(4),
            send_overhead_ms: of(5),
            total_perceived_ms: of(6),
            barge_in_stop_ms: of(7),
            false_endpoints: self.false_endpoints,
            false_interruptions: self.false_interruptions,
            speculative_hits: self.speculative_hits,
            speculative_misses: self.speculative_misses,
        }
    }
}

/// Statistics by the nearest-rank method: the p-th percentile of n sorted values is the one at rank
/// ceil(p / 100 * n), counted from 1. It is always a value that occurred. `None` without values.
pub fn percentiles(mut values: Vec<u32>) -> Option<Percentiles> {
    values.sort_unstable();
    let n = values.len();
    let rank = |p: usize| values.get((p * n).div_ceil(100).saturating_sub(1)).copied();
    let sum: u64 = values.iter().map(|&v| u64::from(v)).sum();
    Some(Percentiles {
        n: u32::try_from(n).ok()?,
        min: *values.first()?,
        p50: rank(50)?,
        p90: rank(90)?,
        p95: rank(95)?,
        p99: rank(99)?,
        max: *values.last()?,
        mean: sum as f64 / n as f64,
    })
}

/// The text of `docs/latency.md`.
pub fn reference() -> String {
    let mut out = String::from(
        "# Latency of a turn\n\n\
         Generated from `src/turn/ledger.rs`; a test compares them. Do not edit.\n\n\
         ## Instants\n\n\
         One monotonic clock at the media server.\n\n\
         | Symbol | Instant | How it is taken |\n|---|---|---|\n",
    );
    for (mark, name, how) in INSTANTS {
        out.push_str(&format!("| {mark:?} | {name} | {how} |\n"));
    }
    out.push_str(
        "\n## Spans\n\n\
         Whole milliseconds, rounded half up from microseconds after the subtraction. Spans may \
         overlap (recognition runs beside the end-of-turn wait), so their sum is not the total. A \
         span whose stop lies before its start is null.\n\n\
         | Field | From and to | Null when |\n|---|---|---|\n",
    );
    for (field, from_to, null) in FIELDS {
        out.push_str(&format!("| `{field}` | {from_to} | {null} |\n"));
    }
    out.push_str(
        "\n`canceled` says that the turn was cut off before P1; it has no total and no critical \
         path. `speculative` says that the reply was prepared before E: then L0, L1, L2 and A1 may lie \
         before E, and the parts of the path that they end are 0. `attempt` counts retries of the \
         turn, from 1. `cache_hit` says whether the audio of its first sentence was in the TTS cache; \
         it is null where no voice spoke.\n\n\
         ## Critical path\n\n\
         A partition of S to P1. Each part starts where the one before stops; a stop that is \
         missing adds nothing, one after P1 counts as P1 (a filler was heard first). Parts are \
         differences of rounded distances from S, so they sum to `total_perceived_ms` exactly.\n\n\
         | Part | Stops at |\n|---|---|\n",
    );
    for (part, stop) in PATH {
        out.push_str(&format!("| `{part}` | {stop} |\n"));
    }
    out.push_str(
        "\n## Per call\n\n\
         `n`, `min`, `p50`, `p90`, `p95`, `p99`, `max` and `mean` of each span over the turns that \
         have a value and were not canceled. Percentiles are nearest-rank: the value at rank \
         ceil(p / 100 * n) of the sorted values. `false_endpoints` counts the decisions after which \
         the caller went on within 1 s: a short `vad_delay_ms` bought with interruptions shows there. \
         `false_interruptions` counts the times the agent's voice was held back by somebody who did \
         not want the floor. `speculative_hits` and `speculative_misses` count the replies that were \
         prepared before E: used, or dropped unheard and paid for.\n\n\
         ## What is not in it\n\n\
         One-way network delay, transcoding by carriers and the jitter buffer of the caller's phone.\n",
    );
    out
}

#[cfg(test)]
mod tests;
