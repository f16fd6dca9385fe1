//! When a delivery is tried again, and when no more: the whole rule, without a clock.

use std::time::Duration;

use super::Config;
use crate::egress::{EgressError, Response};
use crate::store::DeliveryStatus;
use crate::store::delivery::Attempt;
use crate::types::Entropy;

/// How far a wait may be off, so that the retries of a broken receiver do not all come at once.
const JITTER: f64 = 0.2;
/// Longest wait that a receiver can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Characters of an answer that an error repeats.
const ANSWER_CHARS_MAX: usize = 200;

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Status of the answer, if there was one.
    pub response_status: Option<u16>,
    /// What went wrong; `None`: it arrived.
    pub error: Option<String>,
    /// How long the receiver wants to be left alone.
    pub retry_after: Option<Duration>,
    /// Whether another try would come to the same.
    pub is_final: bool,
    /// Label of metrics.
    pub label: &'static str,
}

impl Outcome {
    /// Reads what the client says.
    pub fn of(answer: Result<Response, EgressError>, now: jiff::Timestamp) -> Self {
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                let label = error.as_str();
                let error = Some(error.to_string());
                return Self {
                    response_status: None,
                    error,
                    retry_after: None,
                    is_final: false,
                    label,
                };
            }
        };
        let status = response.status;
        if response.is_success() {
            let response_status = Some(status);
            return Self { response_status, ..Self::arrived() };
        }
        let busy = matches!(status, 429 | 503);
        let retry_after = response.header("retry-after").filter(|_| busy);
        Self {
            response_status: Some(status),
            error: Some(words(&response)),
            retry_after: retry_after.and_then(|value| read_retry_after(value, now)),
            is_final: false,
            label: "status",
        }
    }

    fn arrived() -> Self {
        Self { response_status: None, error: None, retry_after: None, is_final: false, label: "ok" }
    }

    /// Of an e-mail: what went wrong, if anything did, as the relay's status, words and whether that is final.
    pub fn of_mail(failure: Option<(Option<u16>, String, bool)>) -> Self {
        let Some((response_status, error, is_final)) = failure else { return Self::arrived() };
        let label = if response_status.is_some() { "status" } else { "mail" };
        Self { response_status, error: Some(error), is_final, label, ..Self::arrived() }
    }

    /// Whether the receiver says that it wants nothing more, ever.
    pub fn is_gone(&self) -> bool {
        self.response_status == Some(410)
    }
}

fn words(response: &Response) -> String {
    let status = response.status;
    match status {
        300..=399 => format!("HTTP {status}: redirects are not followed"),
        410 => "HTTP 410: the receiver wants nothing more".to_owned(),
        _ => {
            let text = String::from_utf8_lossy(&response.body);
            let text: String =
                text.chars().filter(|c| !c.is_control()).take(ANSWER_CHARS_MAX).collect();
            if text.is_empty() {
                format!("HTTP {status}")
            } else {
                format!("HTTP {status}: {text}")
            }
        }
    }
}

/// Seconds or a date (RFC 9110 section 10.2.3).
fn read_retry_after(value: &str, now: jiff::Timestamp) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
            Duration::try_from(at.duration_since(now)).unwrap_or_default()
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// How many attempts a round has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// As many as the schedule says.
    Whole,
    /// One: somebody waits for the answer and will ask again.
    Single,
}

/// What an attempt means for its delivery, which was tried `tries` times before in this round.
pub fn verdict(
    config: &Config,
    round: Round,
    tries: u32,
    outcome: &Outcome,
    at: jiff::Timestamp,
    entropy: &mut Entropy,
) -> Attempt {
    let mut attempt = Attempt {
        status: DeliveryStatus::Delivered,
        counted: true,
        next_attempt_at: None,
        error: outcome.error.clone(),
        response_status: outcome.response_status,
        at,
    };
    if outcome.error.is_none() {
        return attempt;
    }
    let delay = config.retry_delays_seconds.get(usize::try_from(tries).unwrap_or(usize::MAX));
    let again = round == Round::Whole && !outcome.is_final && !outcome.is_gone();
    let Some(delay) = delay.filter(|_| again) else {
        attempt.status = DeliveryStatus::Exhausted;
        return attempt;
    };
    let wait = jittered(*delay, entropy).max(outcome.retry_after.unwrap_or_default());
    attempt.status = DeliveryStatus::Pending;
    attempt.next_attempt_at = Some(at.saturating_add(wait).unwrap_or(at));
    attempt
}

fn jittered(seconds: f64, entropy: &mut Entropy) -> Duration {
    let unit = f64::from(entropy.u32()) / f64::from(u32::MAX);
    let factor = 1.0 - JITTER + 2.0 * JITTER * unit;
    Duration::try_from_secs_f64(seconds * factor).unwrap_or_default()
}
