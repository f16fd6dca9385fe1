//! Non-INVITE server transaction: RFC 3261 section 17.2.2.

use std::time::Instant;

use bytes::Bytes;

use super::{Fired, Pace};

/// One request other than INVITE and ACK received.
#[derive(Debug)]
pub(crate) struct Server {
    state: State,
    pace: Pace,
}

#[derive(Debug)]
enum State {
    /// No final response yet; repetitions get the last provisional one, if any.
    Trying { last: Option<Bytes> },
    /// The final response answers repetitions until timer J.
    Completed { response: Bytes, until: Instant },
}

impl Server {
    pub(crate) fn new(pace: Pace) -> Self {
        Self { state: State::Trying { last: None }, pace }
    }

    /// The request came again: what to send.
    pub(crate) fn repeated(&self) -> Option<Bytes> {
        match &self.state {
            State::Trying { last } => last.clone(),
            State::Completed { response, .. } => Some(response.clone()),
        }
    }

    /// Our response: whether it goes out. Only the first final one does.
    pub(crate) fn respond(&mut self, now: Instant, status: u16, response: &Bytes) -> bool {
        let State::Trying { last } = &mut self.state else { return false };
        if status < 200 {
            *last = Some(response.clone());
        } else {
            let until = now + self.pace.absorb();
            self.state = State::Completed { response: response.clone(), until };
        }
        true
    }

    pub(crate) fn fire(&mut self, now: Instant) -> Fired {
        match &self.state {
            State::Completed { until, .. } if *until <= now => Fired::Done,
            State::Completed { .. } | State::Trying { .. } => Fired::Nothing,
        }
    }

    pub(crate) fn next_wake(&self) -> Option<Instant> {
        match &self.state {
            State::Trying { .. } => None,
            State::Completed { until, .. } => Some(*until),
        }
    }
}
