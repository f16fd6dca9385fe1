//! INVITE client transaction: RFC 3261 section 17.1.1 as corrected by RFC 6026 section 7.2.
//!
//! It keeps the ACK of every 2xx it was given and repeats it for every repetition of that 2xx, so
//! the ACK survives the dialog: a far end that lost ours still gets it after our BYE.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::event::Flow;
use super::timers::{Backoff, earlier};
use super::{Fired, Heard, Pace};

/// One INVITE sent.
#[derive(Debug)]
pub(crate) struct InviteClient {
    state: State,
    pace: Pace,
}

#[derive(Debug)]
enum State {
    /// Nothing heard: timers A (UDP only) and B.
    Calling { request: Bytes, repeat: Option<Backoff>, until: Instant },
    /// A provisional response was heard; how long to wait is the user agent's decision up to a limit.
    Proceeding { until: Instant },
    /// A 300-699 came; its ACK answers repetitions until timer D.
    Completed { ack: Option<Sent>, until: Instant },
    /// A 2xx came; its ACKs, one per fork, answer repetitions until timer M.
    Accepted { acks: Vec<(String, Sent)>, until: Instant },
}

/// Something sent that may have to be sent again.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) flow: Flow,
    pub(crate) bytes: Bytes,
}

/// Forks of one INVITE that may answer with 2xx: more are absorbed without ACK.
/// Real forking proxies ring ten phones at most; halved, a hunt group could leave a fork unacknowledged.
const FORKS_MAX: usize = 16;

/// Longest wait after the last provisional response: twice the longest ring timeout in use. Without it
/// a re-INVITE that is only ever answered 100 would stay for good; halved, it could end a long ring.
const PROCEEDING_MAX: Duration = Duration::from_secs(600);

/// Timer D: at least 32 s on UDP whatever T1 is (RFC 3261 section 17.1.1.2).
const TIMER_D: Duration = Duration::from_secs(32);

impl InviteClient {
    pub(crate) fn new(now: Instant, request: Bytes, pace: Pace) -> Self {
        let until = now + pace.timers.t1x64();
        // Timer A has no cap but timer B.
        let repeat = pace.repeats().then(|| Backoff::new(now, pace.timers.t1, pace.timers.t1x64()));
        Self { state: State::Calling { request, repeat, until }, pace }
    }

    /// A response with this status and To tag came.
    pub(crate) fn heard(&mut self, now: Instant, status: u16, to_tag: &str) -> Heard {
        let until = now + self.pace.timers.t1x64();
        match &self.state {
            State::Calling { .. } | State::Proceeding { .. } => {
                self.state = match status {
                    0..=199 => State::Proceeding { until: now + PROCEEDING_MAX },
                    200..=299 => State::Accepted { acks: Vec::new(), until },
                    _ => {
                        let linger = if self.pace.repeats() { TIMER_D } else { Duration::ZERO };
                        State::Completed { ack: None, until: now + linger }
                    }
                };
                Heard::Pass
            }
            State::Completed { ack: Some(ack), .. } if status >= 300 => Heard::Again(ack.clone()),
            State::Completed { .. } => Heard::Absorbed,
            State::Accepted { acks, .. } if (200..300).contains(&status) => {
                match acks.iter().find(|(tag, _)| tag == to_tag) {
                    Some((_, ack)) => Heard::Again(ack.clone()),
                    None if acks.len() < FORKS_MAX => Heard::Pass,
                    None => Heard::Absorbed,
                }
            }
            State::Accepted { .. } => Heard::Absorbed,
        }
    }

    /// The ACK that answers the response just heard, and its repetitions.
    pub(crate) fn keep_ack(&mut self, to_tag: &str, sent: Sent) {
        match &mut self.state {
            State::Completed { ack, .. } => *ack = Some(sent),
            State::Accepted { acks, .. } => acks.push((to_tag.to_owned(), sent)),
            State::Calling { .. } | State::Proceeding { .. } => {}
        }
    }

    /// Repeats the request no more.
    pub(crate) fn silence(&mut self) {
        if let State::Calling { repeat, .. } = &mut self.state {
            *repeat = None;
        }
    }

    /// Whether the final response is still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Calling { .. } | State::Proceeding { .. })
    }

    /// Whether nothing was heard so far.
    pub(crate) fn is_unheard(&self) -> bool {
        matches!(self.state, State::Calling { .. })
    }

    pub(crate) fn fire(&mut self, now: Instant) -> Fired {
        match &mut self.state {
            State::Calling { until, .. } | State::Proceeding { until } if *until <= now => {
                Fired::TimedOut
            }
            State::Calling { request, repeat: Some(backoff), .. } if backoff.due <= now => {
                backoff.advance(now);
                Fired::Send(request.clone())
            }
            State::Completed { until, .. } | State::Accepted { until, .. } if *until <= now => {
                Fired::Done
            }
            State::Calling { .. }
            | State::Proceeding { .. }
            | State::Completed { .. }
            | State::Accepted { .. } => Fired::Nothing,
        }
    }

    pub(crate) fn next_wake(&self) -> Option<Instant> {
        match &self.state {
            State::Calling { repeat, until, .. } => {
                earlier(repeat.map(|backoff| backoff.due), Some(*until))
            }
            State::Proceeding { until }
            | State::Completed { until, .. }
            | State::Accepted { until, .. } => Some(*until),
        }
    }
}
