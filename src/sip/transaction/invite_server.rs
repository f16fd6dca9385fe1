//! INVITE server transaction: RFC 3261 section 17.2.1 as corrected by RFC 6026 section 7.1.
//!
//! Repeating a 2xx until its ACK comes is the business of the user agent (section 13.3.1.4), not of
//! this machine, which only absorbs repeated INVITEs for 64*T1 then.

use std::time::Instant;

use bytes::Bytes;

use super::timers::{Backoff, earlier};
use super::{Fired, Pace};

/// One INVITE received.
#[derive(Debug)]
pub(crate) struct InviteServer {
    state: State,
    pace: Pace,
}

#[derive(Debug)]
enum State {
    /// No final response yet; the last provisional one answers repeated INVITEs.
    Proceeding { last: Option<Bytes> },
    /// A 300-699 went out and is repeated (timer G, UDP only) until its ACK or timer H.
    Completed { response: Bytes, repeat: Option<Backoff>, until: Instant },
    /// The ACK came; timer I absorbs its repetitions.
    Confirmed { until: Instant },
    /// A 2xx went out; timer L.
    Accepted { until: Instant },
}

impl InviteServer {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { state: State::Proceeding { last: None }, pace }
    }

    /// The INVITE came again: what to send.
    pub(crate) fn repeated(&self) -> Option<Bytes> {
        match &self.state {
            State::Proceeding { last } => last.clone(),
            State::Completed { response, .. } => Some(response.clone()),
            State::Confirmed { .. } | State::Accepted { .. } => None,
        }
    }

    /// Our response: whether it goes out. Only the first final one does.
    pub(crate) fn respond(&mut self, now: Instant, status: u16, response: &Bytes) -> bool {
        if !self.is_proceeding() {
            return false;
        }
        let until = now + self.pace.timers.t1x64();
        self.state = match status {
            0..=199 => State::Proceeding { last: Some(response.clone()) },
            200..=299 => State::Accepted { until },
            _ => State::Completed {
                response: response.clone(),
                repeat: self.pace.backoff(now),
                until,
            },
        };
        true
    }

    /// An ACK with our branch: whether it was the awaited one.
    pub(crate) fn acknowledged(&mut self, now: Instant) -> bool {
        if let State::Completed { .. } = self.state {
            self.state = State::Confirmed { until: now + self.pace.linger() };
            return true;
        }
        false
    }

    /// Whether no final response was sent yet.
    fn is_proceeding(&self) -> bool {
        matches!(self.state, State::Proceeding { .. })
    }

    pub(crate) fn fire(&mut self, now: Instant) -> Fired {
        match &mut self.state {
            State::Proceeding { .. } => Fired::Nothing,
            State::Completed { response, repeat, until } => {
                if *until <= now {
                    return Fired::TimedOut;
                }
                match repeat {
                    Some(backoff) if backoff.due <= now => {
                        backoff.advance(now);
                        Fired::Send(response.clone())
                    }
                    Some(_) | None => Fired::Nothing,
                }
            }
            State::Confirmed { until } | State::Accepted { until } if *until <= now => Fired::Done,
            State::Confirmed { .. } | State::Accepted { .. } => Fired::Nothing,
        }
    }

    pub(crate) fn next_wake(&self) -> Option<Instant> {
        match &self.state {
            State::Proceeding { .. } => None,
            State::Completed { repeat, until, .. } => {
                earlier(repeat.map(|backoff| backoff.due), Some(*until))
            }
            State::Confirmed { until } | State::Accepted { until } => Some(*until),
        }
    }
}
