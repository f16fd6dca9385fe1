//! Whose packets a stream takes: the defence against RTPBleed and injection, and the help for peers
//! behind address translation.
//!
//! [`Policy::Strict`]: the address of the SDP alone. [`Policy::Learn`]: that address at once; else, for
//! [`LEARNING`] after each offer/answer, one other address that sends [`LEARNING_PACKETS`] sequential
//! packets spanning at least [`LEARNING_SPAN`]. Whoever is accepted first closes the door: no second
//! address is learned before the next offer/answer. Our own packets follow the accepted address only.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Packets in sequence before an unknown address is believed, as Asterisk's `strictrtp`.
pub const LEARNING_PACKETS: u8 = 4;
/// Time these packets must span: a burst from a port scanner is shorter than one packet interval.
pub const LEARNING_SPAN: Duration = Duration::from_millis(22);
/// How long an address may be learned after an offer/answer.
pub const LEARNING: Duration = Duration::from_secs(5);

/// Which source addresses may speak to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The SDP address only.
    Strict,
    /// The SDP address, or one learned address.
    Learn,
}

/// The gate of one stream.
#[derive(Debug)]
pub struct SourceGuard {
    policy: Policy,
    remote_rtp: SocketAddr,
    remote_rtcp: SocketAddr,
    state: State,
    refused: u64,
}

#[derive(Debug)]
enum State {
    /// Nobody was accepted yet; others than the SDP address may be learned until then.
    Learning {
        until: Instant,
        candidate: Option<Candidate>,
        /// The address accepted before an offer/answer that did not move the peer: still welcome.
        known: Option<SocketAddr>,
    },
    /// One address, until the next offer/answer.
    Locked(SocketAddr),
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    from: SocketAddr,
    last: u16,
    run: u8,
    since: Instant,
}

impl SourceGuard {
    /// A gate for the addresses of an offer/answer that was just completed.
    pub fn new(
        now: Instant,
        policy: Policy,
        remote_rtp: SocketAddr,
        remote_rtcp: SocketAddr,
    ) -> Self {
        let state = State::Learning { until: now + LEARNING, candidate: None, known: None };
        Self { policy, remote_rtp, remote_rtcp, state, refused: 0 }
    }

    /// Another offer/answer was completed: the window opens again. A peer whose described address did not
    /// change keeps speaking from the learned one, without a gap.
    pub fn reopen(
        &mut self,
        now: Instant,
        policy: Policy,
        remote_rtp: SocketAddr,
        remote_rtcp: SocketAddr,
    ) {
        let moved = self.remote_rtp != remote_rtp || self.policy != policy;
        let known = (!moved).then(|| self.peer()).filter(|peer| *peer != remote_rtp);
        self.state = State::Learning { until: now + LEARNING, candidate: None, known };
        (self.policy, self.remote_rtp, self.remote_rtcp) = (policy, remote_rtp, remote_rtcp);
    }

    /// Whether a media packet from `from` may enter. Counts those that may not.
    pub fn admit(&mut self, now: Instant, from: SocketAddr, sequence: u16) -> bool {
        let admitted = match &mut self.state {
            State::Locked(peer) => *peer == from,
            State::Learning { known, .. } if from == self.remote_rtp || Some(from) == *known => {
                self.state = State::Locked(from);
                true
            }
            State::Learning { until, candidate, .. } => {
                let open = self.policy == Policy::Learn && now < *until;
                let learned = open && learn(candidate, now, from, sequence);
                if learned {
                    self.state = State::Locked(from);
                }
                learned
            }
        };
        self.refused += u64::from(!admitted);
        admitted
    }

    /// Whether a control packet from `from` may enter: from the described RTCP address, or from the host
    /// that was accepted for media. Control packets are never learned from.
    pub fn admit_control(&mut self, from: SocketAddr) -> bool {
        let admitted = from == self.remote_rtcp || from.ip() == self.peer().ip();
        self.refused += u64::from(!admitted);
        admitted
    }

    /// The peer has proved to be at this address: nobody else is, until the next offer/answer.
    pub fn accept(&mut self, peer: SocketAddr) {
        self.state = State::Locked(peer);
    }

    /// Where our media goes: the accepted address, else the described one.
    pub fn peer(&self) -> SocketAddr {
        match &self.state {
            State::Locked(peer) => *peer,
            State::Learning { known, .. } => known.unwrap_or(self.remote_rtp),
        }
    }

    /// Where our RTCP goes: the described address unless media came from elsewhere (address translation:
    /// only the next port of the accepted host has a chance, RFC 3550 section 11).
    pub fn control_peer(&self) -> SocketAddr {
        let peer = self.peer();
        if peer == self.remote_rtp {
            self.remote_rtcp
        } else if self.remote_rtp == self.remote_rtcp {
            peer
        } else {
            SocketAddr::new(peer.ip(), peer.port().checked_add(1).unwrap_or(peer.port()))
        }
    }

    /// Packets that were turned away.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

/// Follows one candidate at a time; `true` once it is believed.
fn learn(slot: &mut Option<Candidate>, now: Instant, from: SocketAddr, sequence: u16) -> bool {
    match slot {
        Some(c) if c.from == from && sequence == c.last.wrapping_add(1) => {
            c.last = sequence;
            c.run = c.run.saturating_add(1);
            c.run >= LEARNING_PACKETS && now.saturating_duration_since(c.since) >= LEARNING_SPAN
        }
        // Another address does not push out a candidate that is still in its run.
        Some(c) if c.from != from && now.saturating_duration_since(c.since) < LEARNING_SPAN * 4 => {
            false
        }
        _ => {
            *slot = Some(Candidate { from, last: sequence, run: 1, since: now });
            false
        }
    }
}

#[cfg(test)]
mod tests;
