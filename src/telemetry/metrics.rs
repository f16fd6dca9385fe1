//! Every metric of the process: name, help, labels and buckets in one table, and one function for
//! each thing worth counting.
//!
//! Names are a stable surface: operators build dashboards on them. Label values are static words
//! or configured names; no call id, phone number or other text from a peer can become a label,
//! which bounds the number of series. Rates are in base units (`_seconds`, `_total`).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::metrics::{Recorder, counter, gauge, histogram};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use super::fixed::FixedHistogram;
use crate::types::{Direction, EndReason};

/// What kind of series a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Seconds in buckets.
    Histogram(Buckets),
}

/// Which bounds a histogram has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buckets {
    /// 1 ms to 10 s: what a caller or a provider waits.
    Latency,
    /// 0.1 ms to 200 ms: interarrival jitter.
    Jitter,
    /// 50 us to 50 ms: how late a media tick ran. Kept in atomics, see [`super::fixed`].
    Tick,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Prometheus name.
    pub name: &'static str,
    /// Kind and buckets.
    pub kind: Kind,
    /// Label names.
    pub labels: &'static [&'static str],
    /// Help text.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($id:ident = $name:literal, $kind:expr, [$($label:literal),*], $help:literal;)+) => {
        $(#[doc = $help] pub const $id: Metric = Metric {
            name: concat!("trunkline_", $name), kind: $kind, labels: &[$($label),*], help: $help,
        };)+
        /// Every metric this process can show.
        pub const ALL: &[Metric] = &[$($id),+];
    };
}

use Kind::{Counter, Gauge, Histogram};

metrics! {
    CALLS_ACTIVE = "calls_active", Gauge, ["direction"],
        "Calls that are not over";
    CALLS_ENDED = "calls_ended_total", Counter, ["direction", "result", "reason"],
        "Calls that ended, by who is to blame (result) and why (reason)";
    TURN_LATENCY = "turn_latency_seconds", Histogram(Buckets::Latency), ["stage"],
        "One span of an agent turn; the spans may overlap";
    TURN_GAP = "turn_gap_seconds", Histogram(Buckets::Latency), [],
        "End of caller speech to the first audible packet of the answer";
    BARGE_IN_STOP = "barge_in_stop_seconds", Histogram(Buckets::Latency), [],
        "Onset of caller speech to the last agent packet with audio";
    PROVIDER_REQUESTS = "provider_requests_total", Counter, ["kind", "provider", "outcome"],
        "Requests to speech and language providers";
    PROVIDER_FAILOVERS = "provider_failovers_total", Counter, ["stage", "provider", "fallback"],
        "Times a call went on with another provider";
    PROVIDER_BREAKERS = "provider_breakers_open", Gauge, ["stage", "provider"],
        "Circuit breakers that keep requests from a provider: one an organization";
    RTP_JITTER = "rtp_jitter_seconds", Histogram(Buckets::Jitter), [],
        "Interarrival jitter of received RTP at the end of a call (RFC 3550 section 6.4.1)";
    RTP_LOST = "rtp_lost_packets_total", Counter, [],
        "RTP packets that never arrived or came too late to play";
    RTP_DROPPED = "rtp_dropped_packets_total", Counter, ["reason"],
        "Datagrams on media ports that were not taken";
    DTLS_HANDSHAKES = "dtls_handshakes_total", Counter, ["outcome"],
        "Handshakes for the keys of a call's audio that came to an end";
    ICE_CHECKS = "ice_checks_total", Counter, ["outcome"],
        "Checks of connectivity that were answered";
    RTP_TICK_LATENESS = "rtp_tick_lateness_seconds", Histogram(Buckets::Tick), [],
        "How long after its deadline a call's 20 ms tick ran";
    SIP_REQUESTS = "sip_requests_total", Counter, ["method", "dir"],
        "SIP requests sent (dir=out) and received (dir=in)";
    SIP_REJECTED = "sip_rejected_total", Counter, ["reason"],
        "SIP messages dropped or refused";
    SIP_UNREACHABLE = "sip_unreachable_total", Counter, [],
        "SIP datagrams of ours that came to nobody, as ICMP reports";
    RECORDING_FAILURES = "recording_failures_total", Counter, [],
        "Recordings that could not be written to the end";
    DIAL_REFUSED = "dial_refused_total", Counter, ["path", "reason"],
        "Calls and transfers that the dial limits refused";
    QUEUE_FULL = "queue_full_total", Counter, ["queue"],
        "Times a bounded queue was full and its policy applied";
    STORE_FAILURES = "store_failures_total", Counter, ["operation"],
        "Database operations that failed";
    WEBHOOK_DELIVERIES = "webhook_deliveries_total", Counter, ["outcome"],
        "Attempts to deliver a webhook";
    WEBHOOK_EXHAUSTED = "webhook_exhausted_total", Counter, [],
        "Webhook deliveries that failed for good";
    WEBHOOK_PENDING = "webhook_pending", Gauge, [],
        "Webhook deliveries that wait for an attempt";
    WEBHOOK_ASKS = "webhook_asks_total", Counter, ["kind", "outcome"],
        "Synchronous webhooks, whose answer is used";
    TURN_MISJUDGED = "turn_misjudged_total", Counter, ["kind"],
        "Turns that were taken for over and were not (kind=endpoint), sounds that were taken for an interruption (kind=interruption)";
    TURN_MODEL = "turn_model_seconds", Histogram(Buckets::Latency), [],
        "How long the model of the end of a turn took to answer, its queue included";
    SPECULATIVE_REPLIES = "speculative_replies_total", Counter, ["outcome"],
        "Replies prepared before the caller's turn was over: used (outcome=hit) or dropped unheard and paid for (outcome=miss)";
    TTS_CACHE_LOOKUPS = "tts_cache_lookups_total", Counter, ["outcome"],
        "Sentences that may be kept, by whether they were (outcome=hit) or not (outcome=miss)";
    TTS_CACHE_BYTES = "tts_cache_bytes", Gauge, [],
        "Memory for what voices said";
    TRUNK_UP = "sip_trunk_up", Gauge, ["trunk"],
        "Whether a trunk's peer answers OPTIONS: 1, or 0 after two without an answer";
    TRUNK_REGISTERED = "sip_trunk_registered", Gauge, ["trunk"],
        "Whether a trunk that registers is registered";
    ADMISSION_STATE = "admission_state", Gauge, [],
        "0 admitting calls, 1 refusing for load, 2 draining";
}

/// 1 ms to 10 s. Halving the density would hide a regression of 5 ms at the fast end.
const LATENCY_S: &[f64] = &[
    0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3,
    0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0,
];

/// 0.1 ms to 200 ms, the jitter buffer's own limit.
const JITTER_S: &[f64] =
    &[0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2];

/// 50 us to 50 ms: from a real-time thread on an idle machine to a tick that missed two frames.
const TICK_NS: &[u64] = &[
    50_000, 100_000, 150_000, 250_000, 400_000, 600_000, 1_000_000, 1_500_000, 2_000_000,
    3_000_000, 5_000_000, 7_500_000, 10_000_000, 15_000_000, 20_000_000, 30_000_000, 50_000_000,
];

/// How late the ticks of every media thread ran. The engine records here: no allocation, no lock.
pub static TICK_LATENESS: FixedHistogram = FixedHistogram::new(TICK_NS);

/// Spans of `trunkline_turn_latency_seconds`, the names of `types::Breakdown` without `_ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of `types::Breakdown`")]
pub enum Stage {
    VadDelay,
    SttFinalize,
    LlmStartup,
    LlmFirstSentence,
    TtsSynthesis,
    SendOverhead,
}

impl Stage {
    /// Label value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::VadDelay => "vad_delay",
            Self::SttFinalize => "stt_finalize",
            Self::LlmStartup => "llm_startup",
            Self::LlmFirstSentence => "llm_first_sentence",
            Self::TtsSynthesis => "tts_synthesis",
            Self::SendOverhead => "send_overhead",
        }
    }
}

/// Whether this server takes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Open,
    /// A limit is reached.
    Refusing,
    /// The process is about to stop.
    Draining,
}

/// Which way a SIP message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Received.
    In,
    /// Sent.
    Out,
}

/// The recorder of this process and its text.
#[derive(Clone)]
pub struct Exporter(PrometheusHandle);

/// Why metrics could not start.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The bucket table is not accepted.
    #[error("set the buckets of `{0}`")]
    Buckets(&'static str, #[source] metrics_exporter_prometheus::BuildError),
    /// Something else already took the process-wide recorder.
    #[error("install the metrics recorder")]
    Install(#[source] Box<::metrics::SetRecorderError<PrometheusRecorder>>),
}

static INSTALLED: Mutex<Option<Exporter>> = Mutex::new(None);

impl Exporter {
    /// Installs the process-wide recorder. A second call returns the first one's exporter.
    ///
    /// # Errors
    /// When something other than this function has installed a recorder.
    pub fn install() -> Result<Self, MetricsError> {
        // Two servers may start at once in one process: the second waits for the first.
        let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(exporter) = &*installed {
            return Ok(exporter.clone());
        }
        let (recorder, exporter) = Self::build()?;
        ::metrics::set_global_recorder(recorder)
            .map_err(|error| MetricsError::Install(Box::new(error)))?;
        describe_all();
        Ok(installed.insert(exporter).clone())
    }

    /// A recorder that is not installed, for tests: use it with `metrics::with_local_recorder`.
    ///
    /// # Errors
    /// When the bucket table is not accepted.
    pub fn build() -> Result<(PrometheusRecorder, Self), MetricsError> {
        let mut builder = PrometheusBuilder::new();
        for metric in ALL {
            let bounds = match metric.kind {
                Kind::Histogram(Buckets::Latency) => LATENCY_S,
                Kind::Histogram(Buckets::Jitter) => JITTER_S,
                Kind::Histogram(Buckets::Tick) | Kind::Counter | Kind::Gauge => continue,
            };
            builder = builder
                .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), bounds)
                .map_err(|source| MetricsError::Buckets(metric.name, source))?;
        }
        let recorder = builder.build_recorder();
        let exporter = Self(recorder.handle());
        Ok((recorder, exporter))
    }

    /// The page of `/metrics`, Prometheus text format.
    pub fn render(&self) -> String {
        let mut text = self.0.render();
        TICK_LATENESS.render(RTP_TICK_LATENESS.name, RTP_TICK_LATENESS.help, &mut text);
        text
    }

    /// Folds recorded samples into their buckets. Call it every 5 s: the recorder keeps every
    /// sample until then, so without it histograms grow without bound.
    pub fn run_upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// Registers help texts, and every series that has no labels, so that it is visible at zero.
fn describe_all() {
    ::metrics::with_recorder(|recorder| describe(recorder));
    for metric in ALL.iter().filter(|metric| metric.labels.is_empty()) {
        match metric.kind {
            Kind::Counter => counter!(metric.name).increment(0),
            Kind::Gauge => gauge!(metric.name).set(0.0),
            Kind::Histogram(_) => {}
        }
    }
}

fn describe(recorder: &dyn Recorder) {
    for metric in ALL {
        let (key, help) = (metric.name.into(), metric.help.into());
        match metric.kind {
            Kind::Counter => recorder.describe_counter(key, None, help),
            Kind::Gauge => recorder.describe_gauge(key, None, help),
            Kind::Histogram(_) => recorder.describe_histogram(key, None, help),
        }
    }
}

fn direction_label(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

fn seconds(ms: u32) -> f64 {
    f64::from(ms) / 1_000.0
}

/// A call began.
pub fn call_started(direction: Direction) {
    gauge!(CALLS_ACTIVE.name, "direction" => direction_label(direction)).increment(1.0);
}

/// A call ended; `answered` says whether it was ever picked up.
pub fn call_ended(direction: Direction, reason: EndReason, answered: bool) {
    let direction = direction_label(direction);
    let facts = reason.facts(answered);
    gauge!(CALLS_ACTIVE.name, "direction" => direction).decrement(1.0);
    counter!(CALLS_ENDED.name, "direction" => direction, "result" => facts.blame.as_str(),
        "reason" => facts.label)
    .increment(1);
}

/// What turn-taking got right and wrong in a call.
pub fn turns_judged(latency: &crate::types::CallLatency) {
    let count = |kind: &'static str, n: u32| {
        counter!(TURN_MISJUDGED.name, "kind" => kind).increment(n.into());
    };
    count("endpoint", latency.false_endpoints);
    count("interruption", latency.false_interruptions);
    let count = |outcome: &'static str, n: u32| {
        counter!(SPECULATIVE_REPLIES.name, "outcome" => outcome).increment(n.into());
    };
    count("hit", latency.speculative_hits);
    count("miss", latency.speculative_misses);
}

/// The model of the end of a turn answered.
pub fn turn_model_answered(took: Duration) {
    histogram!(TURN_MODEL.name).record(took.as_secs_f64());
}

/// One span of a turn.
pub fn turn_latency(stage: Stage, ms: u32) {
    histogram!(TURN_LATENCY.name, "stage" => stage.as_str()).record(seconds(ms));
}

/// Everything a closed agent turn knows about its latency.
pub fn turn_closed(latency: &crate::types::Breakdown) {
    if let Some(ms) = latency.barge_in_stop_ms {
        histogram!(BARGE_IN_STOP.name).record(seconds(ms));
    }
    // A turn cut before its first packet says nothing about how fast we answer.
    if latency.canceled {
        return;
    }
    let spans = [
        (Stage::VadDelay, latency.vad_delay_ms),
        (Stage::SttFinalize, latency.stt_finalize_ms),
        (Stage::LlmStartup, latency.llm_startup_ms),
        (Stage::LlmFirstSentence, latency.llm_first_sentence_ms),
        (Stage::TtsSynthesis, latency.tts_synthesis_ms),
        (Stage::SendOverhead, latency.send_overhead_ms),
    ];
    for (stage, ms) in spans {
        if let Some(ms) = ms {
            turn_latency(stage, ms);
        }
    }
    if let Some(ms) = latency.total_perceived_ms {
        histogram!(TURN_GAP.name).record(seconds(ms));
    }
}

/// A provider was asked. `kind` is `stt`, `llm` or `tts`; `outcome` is `ok` or the kind of error;
/// `provider` is a configured name.
pub fn provider_request(kind: &'static str, provider: &str, outcome: &'static str) {
    counter!(PROVIDER_REQUESTS.name, "kind" => kind, "provider" => provider.to_owned(),
        "outcome" => outcome)
    .increment(1);
}

/// A call went on with another provider; both names are configured ones.
pub fn provider_failover(stage: &'static str, from: &str, to: &str) {
    counter!(PROVIDER_FAILOVERS.name, "stage" => stage, "provider" => from.to_owned(),
        "fallback" => to.to_owned())
    .increment(1);
}

/// A circuit breaker opened or closed.
pub fn provider_breaker(stage: &'static str, provider: &str, open: bool) {
    let gauge = gauge!(PROVIDER_BREAKERS.name, "stage" => stage, "provider" => provider.to_owned());
    if open { gauge.increment(1.0) } else { gauge.decrement(1.0) }
}

/// Interarrival jitter of a call's received audio (RFC 3550 section 6.4.1), as it stood at its end.
pub fn rtp_jitter(jitter: Duration) {
    histogram!(RTP_JITTER.name).record(jitter.as_secs_f64());
}

/// Packets lost since the last report.
pub fn rtp_lost(packets: u64) {
    counter!(RTP_LOST.name).increment(packets);
}

/// Datagrams on media ports that were not taken since the last report.
pub fn rtp_dropped(reason: &'static str, packets: u64) {
    counter!(RTP_DROPPED.name, "reason" => reason).increment(packets);
}

/// A handshake for keys came to an end. `outcome` is `keyed`, or what [`KeyingFailure`](crate::types::KeyingFailure) is.
pub fn dtls_handshake(outcome: &'static str) {
    counter!(DTLS_HANDSHAKES.name, "outcome" => outcome).increment(1);
}

/// A peer's check of connectivity was answered. `outcome` is `answered`, or `nominated` if media goes elsewhere by it.
pub fn ice_check(outcome: &'static str) {
    counter!(ICE_CHECKS.name, "outcome" => outcome).increment(1);
}

/// A SIP request went by. `method` comes from a closed set (an unknown method is `other`).
pub fn sip_request(method: &'static str, way: Way) {
    let dir = match way {
        Way::In => "in",
        Way::Out => "out",
    };
    counter!(SIP_REQUESTS.name, "method" => method, "dir" => dir).increment(1);
}

/// SIP messages were lost before they could be looked at.
pub fn sip_dropped(reason: &'static str, count: u64) {
    counter!(SIP_REJECTED.name, "reason" => reason).increment(count);
}

/// A SIP message was dropped or refused.
pub fn sip_rejected(reason: &'static str) {
    counter!(SIP_REJECTED.name, "reason" => reason).increment(1);
}

/// ICMP says that a SIP datagram of ours came to nobody.
pub fn sip_unreachable() {
    counter!(SIP_UNREACHABLE.name).increment(1);
}

/// A recording could not be written to the end.
pub fn recording_failed() {
    counter!(RECORDING_FAILURES.name).increment(1);
}

/// The dial limits refused a destination.
pub fn dial_refused(path: &'static str, reason: &'static str) {
    counter!(DIAL_REFUSED.name, "path" => path, "reason" => reason).increment(1);
}

/// A bounded queue was full.
pub fn queue_full(queue: &'static str) {
    counter!(QUEUE_FULL.name, "queue" => queue).increment(1);
}

/// A database operation failed.
pub fn store_failed(operation: &'static str) {
    counter!(STORE_FAILURES.name, "operation" => operation).increment(1);
}

/// A webhook was tried. `outcome` is `ok`, `status` or the kind of error.
pub fn webhook_attempt(outcome: &'static str) {
    counter!(WEBHOOK_DELIVERIES.name, "outcome" => outcome).increment(1);
}

/// A webhook failed for good.
pub fn webhook_exhausted() {
    counter!(WEBHOOK_EXHAUSTED.name).increment(1);
}

/// How many webhooks wait.
pub fn webhooks_pending(deliveries: u64) {
    gauge!(WEBHOOK_PENDING.name).set(f64::from(u32::try_from(deliveries).unwrap_or(u32::MAX)));
}

/// A synchronous webhook was asked. `outcome` is `ok`, `status`, `answer` or the kind of error.
pub fn webhook_ask(kind: &'static str, outcome: &'static str) {
    counter!(WEBHOOK_ASKS.name, "kind" => kind, "outcome" => outcome).increment(1);
}

/// A sentence that may be kept was looked for.
pub fn tts_cache_lookup(found: bool) {
    let outcome = if found { "hit" } else { "miss" };
    counter!(TTS_CACHE_LOOKUPS.name, "outcome" => outcome).increment(1);
}

/// Memory that what is kept takes.
pub fn tts_cache_bytes(bytes: u64) {
    gauge!(TTS_CACHE_BYTES.name).set(bytes as f64);
}

/// Whether a trunk's peer is there.
pub fn trunk_up(trunk: &str, is_up: bool) {
    gauge!(TRUNK_UP.name, "trunk" => trunk.to_owned()).set(f64::from(u8::from(is_up)));
}

/// Whether a trunk is registered.
pub fn trunk_registered(trunk: &str, is_registered: bool) {
    let value = f64::from(u8::from(is_registered));
    gauge!(TRUNK_REGISTERED.name, "trunk" => trunk.to_owned()).set(value);
}

/// Whether calls are taken has changed.
pub fn admission(state: Admission) {
    let value = match state {
        Admission::Open => 0.0,
        Admission::Refusing => 1.0,
        Admission::Draining => 2.0,
    };
    gauge!(ADMISSION_STATE.name).set(value);
}

#[cfg(test)]
mod tests;
