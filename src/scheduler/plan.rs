//! When an order is dialled, and what follows from the end of an attempt. Pure: time is an argument.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::windows::{is_open, next_open, open_window};
use super::zones::zones_of;
use crate::types::order::{AttemptEnd, RetryOn, RetryPlan};
use crate::types::{EndReason, Outcome};

/// Why a plan cannot be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The named zone is unknown.
    #[error("`timezone` is the name of an IANA time zone, such as `Europe/Berlin`")]
    Zone,
    /// The windows are never open in all zones at once.
    #[error("the calling windows are never open in all time zones of the number's country at once")]
    NeverOpen,
}

/// What follows from the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another dial, then.
    Retry(Timestamp),
    /// No more.
    Over,
}

/// The zones a plan's windows are read in.
///
/// # Errors
/// When the plan names a zone that does not exist.
pub fn zones(plan: &RetryPlan, destination: &str) -> Result<Vec<TimeZone>, PlanError> {
    let get = |name: &str| TimeZone::get(name).map_err(|_| PlanError::Zone);
    match &plan.timezone {
        Some(name) => Ok(vec![get(name)?]),
        None => zones_of(destination).iter().map(|name| get(name)).collect(),
    }
}

/// The first moment at or after `not_before` at which the plan lets a number be dialled.
///
/// # Errors
/// When the plan never does.
pub fn when(
    plan: &RetryPlan,
    destination: &str,
    not_before: Timestamp,
) -> Result<Timestamp, PlanError> {
    if plan.ignore_window {
        return Ok(not_before);
    }
    let zones = zones(plan, destination)?;
    next_open(not_before, &zones, &plan.windows).ok_or(PlanError::NeverOpen)
}

/// Whether the plan lets a number be dialled now.
pub fn may_dial(plan: &RetryPlan, destination: &str, now: Timestamp) -> bool {
    plan.ignore_window
        || zones(plan, destination).is_ok_and(|zones| is_open(now, &zones, &plan.windows))
}

/// What follows from the end of attempt number `attempt` (from 1), which came at `now`.
pub fn after_attempt(
    plan: &RetryPlan,
    destination: &str,
    attempt: u32,
    end: AttemptEnd,
    now: Timestamp,
    expires_at: Timestamp,
) -> Next {
    if !is_retried(plan, end) || attempt > plan.max_retry_attempts {
        return Next::Over;
    }
    let at_once = (plan.immediate_redial && attempt == 1) || cut_off(end);
    let delay = if at_once { 0 } else { delay_after(plan, destination, now) };
    let earliest = now.checked_add(SignedDuration::from_secs(i64::from(delay)));
    let Ok(earliest) = earliest else { return Next::Over };
    match when(plan, destination, earliest) {
        Ok(at) if at <= expires_at => Next::Retry(at),
        Ok(_) | Err(_) => Next::Over,
    }
}

/// The wait of the window the attempt ended in, else the plan's.
fn delay_after(plan: &RetryPlan, destination: &str, now: Timestamp) -> u32 {
    let own = zones(plan, destination).ok().and_then(|zones| {
        let zone = zones.first()?;
        open_window(now, zone, &plan.windows)?.delay_seconds
    });
    own.unwrap_or(plan.delay_seconds)
}

/// Whether this server ended the attempt before anybody answered, because it was stopped.
fn cut_off(end: AttemptEnd) -> bool {
    end.reason == EndReason::Shutdown && !end.answered
}

fn is_retried(plan: &RetryPlan, end: AttemptEnd) -> bool {
    if cut_off(end) {
        return true;
    }
    // A trunk that says nothing is a way that is broken: another attempt may find a better one.
    let wanted = match end.outcome {
        Outcome::Busy => RetryOn::Busy,
        Outcome::NoAnswer => RetryOn::NoAnswer,
        Outcome::Voicemail => RetryOn::Voicemail,
        Outcome::Ivr => RetryOn::Ivr,
        Outcome::Unreachable => RetryOn::Unreachable,
        Outcome::Congestion => RetryOn::Congestion,
        Outcome::Failed if end.reason == EndReason::NetworkError && !end.answered => {
            RetryOn::Unreachable
        }
        Outcome::Failed if !is_refusal(end.reason) => RetryOn::Failed,
        Outcome::Failed
        | Outcome::Transferred
        | Outcome::Completed
        | Outcome::Rejected
        | Outcome::InvalidNumber
        | Outcome::Canceled => return false,
    };
    plan.retry_on.contains(&wanted)
}

/// Ends that another dial cannot change, or must not try to.
fn is_refusal(reason: EndReason) -> bool {
    matches!(
        reason,
        EndReason::Forbidden
            | EndReason::Blocked
            | EndReason::DoNotCall
            | EndReason::DialRefused
            | EndReason::InvalidNumber
            | EndReason::Rejected
            | EndReason::BudgetExceeded
            | EndReason::AgentNotFound
    )
}

#[cfg(test)]
mod tests;
