//! Non-INVITE client transaction: RFC 3261 section 17.1.2.

use std::time::Instant;

use bytes::Bytes;

use super::timers::{Backoff, earlier};
use super::{Fired, Heard, Pace};

/// One request other than INVITE and ACK sent.
#[derive(Debug)]
pub(crate) struct Client {
    state: State,
    pace: Pace,
}

#[derive(Debug)]
enum State {
    /// Repeated (timer E, UDP only) until a final response or timer F.
    Trying { request: Bytes, repeat: Option<Backoff>, until: Instant },
    /// Timer K absorbs repetitions of the final response.
    Completed { until: Instant },
}

impl Client {
    pub(crate) fn new(now: Instant, request: Bytes, pace: Pace) -> Self {
        let until = now + pace.timers.t1x64();
        Self { state: State::Trying { request, repeat: pace.backoff(now), until }, pace }
    }

    /// A response came.
    pub(crate) fn heard(&mut self, now: Instant, status: u16) -> Heard {
        match &mut self.state {
            State::Trying { repeat, .. } if status < 200 => {
                if let Some(backoff) = repeat {
                    backoff.at_cap();
                }
                Heard::Pass
            }
            State::Trying { .. } => {
                self.state = State::Completed { until: now + self.pace.linger() };
                Heard::Pass
            }
            State::Completed { .. } => Heard::Absorbed,
        }
    }

    /// Whether the final response is still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Trying { .. })
    }

    pub(crate) fn fire(&mut self, now: Instant) -> Fired {
        match &mut self.state {
            State::Trying { until, .. } if *until <= now => Fired::TimedOut,
            State::Trying { request, repeat: Some(backoff), .. } if backoff.due <= now => {
                backoff.advance(now);
                Fired::Send(request.clone())
            }
            State::Completed { until } if *until <= now => Fired::Done,
            State::Trying { .. } | State::Completed { .. } => Fired::Nothing,
        }
    }

    pub(crate) fn next_wake(&self) -> Option<Instant> {
        match &self.state {
            State::Trying { repeat, until, .. } => {
                earlier(repeat.map(|backoff| backoff.due), Some(*until))
            }
            State::Completed { until } => Some(*until),
        }
    }
}
