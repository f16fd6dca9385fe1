//! Many calls at once: each says its utterances in turn and times every reply.
//!
//! One thread of audio carries all of them; what arrives is only measured for level. The figures are
//! those of the wire: a response is our last audible packet to the first audible one that came back.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::call::{CallStats, PhoneCall};
use super::pacing::Deviations;
use super::phone::{CallOptions, CallRequest, Phone};
use super::state::{Keep, PhoneError};
use crate::engine::Recording;
use crate::net::clock;
use crate::types::Pcm;

/// Calls from one process: two ports each and 50 packets a second each way.
pub const CALLS_MAX: usize = 2_000;
/// Failures kept in words.
const FAILURES_MAX: usize = 10;

/// What to do to a server.
#[derive(Clone, Debug)]
pub struct LoadRequest {
    /// Whom every call calls.
    pub uri: String,
    /// Calls at once, at most [`CALLS_MAX`].
    pub calls: usize,
    /// New calls a second.
    pub ramp_per_second: f64,
    /// How long to go on once every call is up.
    pub lasting: Duration,
    /// What each call says, from its own place on, over and over.
    pub utterances: Vec<Arc<Pcm>>,
    /// Longest wait for the beginning of a reply; then it is missed.
    pub reply_limit: Duration,
    /// Longest wait for an answer.
    pub answer_limit: Duration,
    /// Ends everything at once.
    pub stop: CancellationToken,
}

impl LoadRequest {
    /// `calls` calls for a minute, 10 new ones a second.
    pub fn to(uri: impl Into<String>, calls: usize, utterances: Vec<Arc<Pcm>>) -> Self {
        Self {
            uri: uri.into(),
            calls: calls.min(CALLS_MAX),
            ramp_per_second: 10.0,
            lasting: Duration::from_secs(60),
            utterances,
            reply_limit: Duration::from_secs(10),
            answer_limit: Duration::from_secs(10),
            stop: CancellationToken::new(),
        }
    }
}

/// Percentiles of a list of times, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[expect(missing_docs, reason = "each field is its own description")]
pub struct Times {
    pub n: usize,
    pub min: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Times {
    /// Of durations in any order; all zero without any.
    pub fn of(mut durations: Vec<Duration>) -> Self {
        durations.sort_unstable();
        let at = |percent: usize| {
            // The smallest value that at least `percent` of them do not exceed.
            let rank = (durations.len() * percent).div_ceil(100).max(1) - 1;
            durations.get(rank).copied().map_or(0.0, ms)
        };
        Self {
            n: durations.len(),
            min: durations.first().copied().map_or(0.0, ms),
            p50: at(50),
            p90: at(90),
            p99: at(99),
            max: durations.last().copied().map_or(0.0, ms),
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LoadReport {
    /// Calls placed.
    pub calls: usize,
    /// Calls answered.
    pub answered: usize,
    /// Calls the other side ended before we did.
    pub dropped: usize,
    /// Calls that were up together to the end.
    pub at_once: usize,
    /// Utterances said.
    pub utterances: usize,
    /// Utterances nobody replied to in time.
    pub missed: usize,
    /// INVITE to answer.
    pub setup: Times,
    /// Our last audible packet to the first audible one of the reply.
    pub response: Times,
    /// RTP packets received.
    pub packets: u64,
    /// Frames lost on the way.
    pub lost: u64,
    /// Packets that came too late to be heard.
    pub late: u64,
    /// Frames this process was too slow to take. If it is not 0, the machine is too small for this test.
    pub unread: u64,
    /// Packets of speech whose pace was measured.
    pub paced: u64,
    /// Deviation of their distance from 20 ms.
    pub pacing_p50_ms: f64,
    /// The same, 99th percentile.
    pub pacing_p99_ms: f64,
    /// The same, largest.
    pub pacing_max_ms: f64,
    /// The same for all packets, 99th percentile: here the first word after silence comes early.
    pub pacing_all_p99_ms: f64,
    /// From the first INVITE to the last BYE.
    pub seconds: f64,
    /// The first failures, in words.
    pub failures: Vec<String>,
}

/// What came of one call.
#[derive(Default)]
struct CallOutcome {
    setup: Option<Duration>,
    responses: Vec<Duration>,
    utterances: usize,
    dropped: bool,
    failure: Option<String>,
    stats: CallStats,
}

/// Runs the load to its end.
pub async fn run(phone: Arc<Phone>, request: LoadRequest) -> LoadReport {
    let begun = clock::now();
    let calls = request.calls.clamp(1, CALLS_MAX);
    let request = Arc::new(request);
    // Every call holds a permit while it is up; the last one to come up starts the clock.
    let up = Arc::new(Semaphore::new(0));
    let over = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let apart = Duration::from_secs_f64(1.0 / request.ramp_per_second.max(0.01));
    let mut next = clock::now();
    for number in 0..calls {
        let wait = tokio::time::sleep_until(next.into());
        tokio::select! {
            () = wait => {}
            () = request.stop.cancelled() => break,
        }
        next += apart;
        let call = one_call(
            Arc::clone(&phone),
            Arc::clone(&request),
            number,
            (Arc::clone(&up), over.clone()),
        );
        tasks.spawn(call);
    }
    let placed = tasks.len();
    let lasting = async {
        // Each call adds one permit when it is answered or has failed.
        let _ = up.acquire_many(u32::try_from(placed).unwrap_or(u32::MAX)).await;
        tokio::time::sleep(request.lasting).await;
    };
    tokio::select! {
        () = lasting => {}
        () = request.stop.cancelled() => {}
    }
    over.cancel();
    let outcomes = tasks.join_all().await;
    summarize(placed, outcomes, clock::now().saturating_duration_since(begun))
}

async fn one_call(
    phone: Arc<Phone>,
    request: Arc<LoadRequest>,
    number: usize,
    (up, over): (Arc<Semaphore>, CancellationToken),
) -> CallOutcome {
    let mut outcome = CallOutcome::default();
    let call = match place(&phone, &request, number).await {
        Ok(call) => call,
        Err(error) => {
            up.add_permits(1);
            outcome.failure = Some(error.to_string());
            return outcome;
        }
    };
    outcome.setup = call.setup_time();
    up.add_permits(1);
    tokio::select! {
        talked = converse(&call, &request, number, &mut outcome) => {
            if let Err(error) = talked {
                outcome.dropped = true;
                outcome.failure = Some(error.to_string());
            }
        }
        () = over.cancelled() => {}
    }
    if !outcome.dropped
        && let Err(error) = call.hang_up().await
    {
        outcome.failure.get_or_insert(error.to_string());
    }
    outcome.stats = call.stats();
    outcome
}

async fn place(
    phone: &Phone,
    request: &LoadRequest,
    number: usize,
) -> Result<PhoneCall, PhoneError> {
    let options = CallOptions { keep: Keep::Times, tape: Recording::Off, ..CallOptions::default() };
    let call = phone
        .call(CallRequest {
            from: format!("load{number}"),
            ring_timeout: request.answer_limit,
            options,
            ..CallRequest::to(&request.uri)
        })
        .await?;
    call.answered(request.answer_limit).await?;
    Ok(call)
}

/// Talks until canceled. Only the end of the call is an error.
async fn converse(
    call: &PhoneCall,
    request: &LoadRequest,
    number: usize,
    outcome: &mut CallOutcome,
) -> Result<(), PhoneError> {
    // The greeting is nobody's reply; an agent without one is talked to.
    let greeted = call.hear_reply(request.reply_limit).await;
    ended(greeted.map(|_| ()))?;
    // Calls begin at different utterances, so that not all say the same at the same time.
    let first = number.checked_rem(request.utterances.len()).unwrap_or(0);
    for utterance in request.utterances.iter().cycle().skip(first) {
        let said = call.say(utterance).await?;
        let Some(last) = said.last_audible else { continue };
        let began = call.remote_began(last, request.reply_limit).await;
        // Counted with its result, so that the end of the test makes no missed reply.
        match began {
            Ok(began) => {
                outcome.utterances += 1;
                outcome.responses.push(began.saturating_duration_since(last));
            }
            Err(error) => {
                outcome.utterances += 1;
                ended(Err(error))?;
                continue;
            }
        }
        ended(call.quiet(request.reply_limit * 6).await)?;
    }
    Ok(())
}

/// A wait that timed out is a result; a call that is over is an error.
fn ended(waited: Result<(), PhoneError>) -> Result<(), PhoneError> {
    match waited {
        Ok(()) | Err(PhoneError::Timeout { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn summarize(calls: usize, outcomes: Vec<CallOutcome>, lasted: Duration) -> LoadReport {
    let mut report = LoadReport { calls, seconds: lasted.as_secs_f64(), ..LoadReport::default() };
    let (mut talk, mut all) = (Deviations::default(), Deviations::default());
    let (mut setups, mut responses) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        setups.extend(outcome.setup);
        report.answered += usize::from(outcome.setup.is_some());
        report.dropped += usize::from(outcome.dropped);
        report.utterances += outcome.utterances;
        report.missed += outcome.utterances.saturating_sub(outcome.responses.len());
        responses.extend(outcome.responses);
        report.packets += outcome.stats.stream.inbound.packets;
        report.late += outcome.stats.stream.inbound.express_late;
        report.lost += outcome.stats.frames_lost;
        report.unread += outcome.stats.frames_unread;
        talk.merge(&outcome.stats.pacing.talk);
        all.merge(&outcome.stats.pacing.all);
        if let Some(failure) = outcome.failure
            && report.failures.len() < FAILURES_MAX
        {
            report.failures.push(failure);
        }
    }
    // Calls only end at the end, so that all that were not dropped were up together.
    report.at_once = report.answered.saturating_sub(report.dropped);
    report.setup = Times::of(setups);
    report.response = Times::of(responses);
    report.paced = talk.count();
    report.pacing_p50_ms = ms(talk.percentile(50.0));
    report.pacing_p99_ms = ms(talk.percentile(99.0));
    report.pacing_max_ms = ms(talk.max());
    report.pacing_all_p99_ms = ms(all.percentile(99.0));
    report
}

impl LoadReport {
    /// For people.
    pub fn table(&self) -> String {
        let times = |times: &Times| {
            format!(
                "n {:>6}  min {:>7.1}  p50 {:>7.1}  p90 {:>7.1}  p99 {:>7.1}  max {:>7.1} ms",
                times.n, times.min, times.p50, times.p90, times.p99, times.max
            )
        };
        let mut out = String::new();
        let mut row = |name: &str, text: String| out.push_str(&format!("{name:<14}{text}\n"));
        row(
            "calls",
            format!(
                "{} placed, {} answered, {} dropped, {} at once, {:.1} s",
                self.calls, self.answered, self.dropped, self.at_once, self.seconds
            ),
        );
        row("utterances", format!("{} said, {} without a reply", self.utterances, self.missed));
        row("setup", times(&self.setup));
        row("response", times(&self.response));
        row("audio", format!("{} packets, {} lost, {} late", self.packets, self.lost, self.late));
        row(
            "pacing",
            format!(
                "off 20 ms by p50 {:.2}  p99 {:.2}  max {:.2} ms within speech ({} packets); p99 {:.2} ms overall",
                self.pacing_p50_ms,
                self.pacing_p99_ms,
                self.pacing_max_ms,
                self.paced,
                self.pacing_all_p99_ms
            ),
        );
        if self.unread > 0 {
            row(
                "warning",
                format!("{} frames were not measured in time: use a larger machine", self.unread),
            );
        }
        for failure in &self.failures {
            row("failure", failure.clone());
        }
        out
    }

    /// For machines.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

#[cfg(test)]
mod tests;
