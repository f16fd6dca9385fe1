//! When a trunk registers: refreshes, 423, back-off, taking it back. A pure machine: times, outcomes and wishes in,
//! requests and states out. What goes over the wire is in [`super::register`].

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::register::Registered;
use crate::types::Entropy;

/// Shortest wait after a failure (RFC 5626 section 4.5).
const BACKOFF_BASE: Duration = Duration::from_secs(30);

/// Longest wait after a failure (RFC 5626 section 4.5).
const BACKOFF_MAX: Duration = Duration::from_secs(1_800);

/// Longest time asked for: registrars that want more than a day want something else.
const EXPIRES_MAX_S: u32 = 86_400;

/// 423 answered at once; a registrar that raises its minimum each time waits like any other failure.
const TOO_BRIEF_MAX: u8 = 2;

/// Changes of our address followed at once: behind some NATs every request comes from another port.
const MOVES_MAX: u8 = 2;

/// How a registration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// The first is under way, or waits.
    Trying,
    /// It holds.
    Registered,
    /// The registrar said no; it is tried again.
    Rejected,
    /// Nobody answered; it is tried again.
    Failed,
    /// Taken back.
    Stopped,
}

impl Status {
    /// The word of the API.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Registered => "registered",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// What the machine takes.
#[derive(Debug)]
pub enum Input {
    /// What came of the request that was sent.
    Outcome(Registered),
    /// Take the registration back.
    Stop,
    /// `next_wake` is due.
    Timeout,
}

/// What the machine wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a REGISTER; exactly one [`Input::Outcome`] must come for it.
    Send(Request),
    /// It stands otherwise than before.
    Changed(Status),
}

/// What changes from one REGISTER to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its CSeq; digest may use the ones after it.
    pub cseq: u32,
    /// Seconds asked for; 0 takes it back.
    pub expires_s: u32,
    /// `host:port` of our Contact; `None`: what we advertise.
    pub contact_address: Option<String>,
    /// A Contact of ours that is not to stay.
    pub drop_contact: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// A REGISTER is to be sent then.
    Waiting(Instant),
    /// One is under way.
    Asking,
    /// One is under way that takes the registration back.
    Leaving,
    /// Nothing more happens.
    Over,
}

/// One trunk's registration.
#[derive(Debug)]
pub struct Registration {
    entropy: Entropy,
    phase: Phase,
    status: Status,
    /// Whether the Contact follows what the registrar sees.
    follows: bool,
    wanted_s: u32,
    cseq: u32,
    failures: u32,
    too_brief: u8,
    moves: u8,
    stop: bool,
    contact: Option<String>,
    contact_address: Option<String>,
    drop_contact: Option<String>,
    until: Option<Instant>,
    last: Registered,
    out: VecDeque<Output>,
}

impl Registration {
    /// One that registers at once. `follows`: our Contact names the address that the registrar saw, unless we
    /// advertise one.
    pub fn new(now: Instant, expires_s: u32, follows: bool, entropy: Entropy) -> Self {
        Self {
            entropy,
            phase: Phase::Waiting(now),
            status: Status::Trying,
            follows,
            wanted_s: expires_s.clamp(1, EXPIRES_MAX_S),
            cseq: 0,
            failures: 0,
            too_brief: 0,
            moves: 0,
            stop: false,
            contact: None,
            contact_address: None,
            drop_contact: None,
            until: None,
            last: Registered::default(),
            out: VecDeque::new(),
        }
    }

    /// Takes one thing. The outputs of the one before must have been polled.
    pub fn handle(&mut self, now: Instant, input: Input) {
        debug_assert!(self.out.is_empty(), "poll to None before the next handle");
        match (self.phase, input) {
            (Phase::Asking, Input::Outcome(outcome)) => self.answered(now, outcome),
            (Phase::Leaving, Input::Outcome(_)) => self.over(),
            (Phase::Asking, Input::Stop) => self.stop = true,
            (Phase::Waiting(_), Input::Stop) => self.leave(),
            (Phase::Waiting(at), Input::Timeout) if at <= now => self.ask(),
            (Phase::Waiting(_) | Phase::Asking | Phase::Leaving | Phase::Over, _) => {}
        }
        if self.until.is_some_and(|until| until <= now) && self.status == Status::Registered {
            self.until = None;
            self.become_(Status::Trying);
        }
    }

    /// The next thing to do; `None`: nothing until the next input or wake.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When to hand in [`Input::Timeout`].
    pub fn next_wake(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting(at) => Some(self.until.map_or(at, |until| until.min(at))),
            Phase::Asking => self.until,
            Phase::Leaving | Phase::Over => None,
        }
    }

    /// How it stands.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The last outcome.
    pub fn last(&self) -> &Registered {
        &self.last
    }

    /// Until when it holds.
    pub fn until(&self) -> Option<Instant> {
        self.until
    }

    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    fn become_(&mut self, status: Status) {
        if self.status != status {
            self.status = status.clone();
            self.out.push_back(Output::Changed(status));
        }
    }

    fn ask(&mut self) {
        self.phase = Phase::Asking;
        self.send(self.wanted_s);
    }

    fn send(&mut self, expires_s: u32) {
        self.cseq = self.cseq.saturating_add(1);
        self.out.push_back(Output::Send(Request {
            cseq: self.cseq,
            expires_s,
            contact_address: self.contact_address.clone(),
            drop_contact: self.drop_contact.take(),
        }));
    }

    fn leave(&mut self) {
        if self.contact.is_none() {
            return self.over();
        }
        self.phase = Phase::Leaving;
        self.send(0);
    }

    fn over(&mut self) {
        self.phase = Phase::Over;
        self.until = None;
        self.become_(Status::Stopped);
    }

    fn answered(&mut self, now: Instant, outcome: Registered) {
        self.cseq = self.cseq.max(outcome.cseq);
        self.last = outcome.clone();
        let status = outcome.status;
        match status {
            Some(200..=299) => self.granted(now, &outcome),
            Some(423) if self.too_brief < TOO_BRIEF_MAX && !self.stop => {
                self.too_brief += 1;
                let least = outcome.min_expires_s.unwrap_or(self.wanted_s.saturating_mul(2));
                self.wanted_s = least.max(self.wanted_s).clamp(1, EXPIRES_MAX_S);
                return self.ask();
            }
            _ => self.failed(now, &outcome),
        }
        if self.stop {
            self.leave();
        }
    }

    fn granted(&mut self, now: Instant, outcome: &Registered) {
        self.failures = 0;
        self.too_brief = 0;
        self.contact = Some(outcome.contact.clone());
        // A registrar that grants nothing takes us for somebody who leaves: asking all the time helps nobody.
        let granted = outcome.granted_s.unwrap_or(self.wanted_s).clamp(1, EXPIRES_MAX_S);
        let life = Duration::from_secs(u64::from(granted));
        self.until = Some(now + life);
        self.become_(Status::Registered);
        if let Some(address) = outcome.seen.filter(|seen| self.has_moved(*seen, &outcome.contact)) {
            self.moves += 1;
            self.drop_contact = self.contact.clone();
            self.contact_address = Some(address.to_string());
            return self.ask();
        }
        self.moves = 0;
        // 50 to 85 % of what was granted: late enough to be cheap, early enough for another try.
        let share = 0.5 + 0.35 * self.chance();
        self.phase = Phase::Waiting(now + life.mul_f64(share));
    }

    /// Whether the registrar saw us elsewhere than our Contact says.
    fn has_moved(&self, seen: SocketAddr, contact: &str) -> bool {
        let named = super::uri::Uri::parse(contact).ok().and_then(|uri| uri.socket_addr());
        self.follows && !self.stop && self.moves < MOVES_MAX && named.is_some_and(|at| at != seen)
    }

    fn failed(&mut self, now: Instant, outcome: &Registered) {
        self.failures = self.failures.saturating_add(1);
        let still = self.until.is_some_and(|until| until > now);
        // A registration that still holds is not lost by a refresh that failed, unless the registrar says so.
        if outcome.status.is_some_and(|status| status != 503 && status != 408) {
            self.until = None;
            self.become_(Status::Rejected);
        } else if !still {
            self.until = None;
            self.become_(Status::Failed);
        }
        let doubled = BACKOFF_BASE.saturating_mul(1u32 << self.failures.min(16));
        let most = doubled.min(BACKOFF_MAX);
        let wait = most.mul_f64(0.5 + 0.5 * self.chance());
        let told = Duration::from_secs(u64::from(outcome.retry_after_s.unwrap_or(0)));
        self.phase = Phase::Waiting(now + wait.max(told.min(BACKOFF_MAX)));
    }

    /// From 0 to 1.
    fn chance(&mut self) -> f64 {
        f64::from(self.entropy.u32()) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
