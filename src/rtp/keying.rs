//! How a stream gets its keys by DTLS (RFC 5763): whose handshakes run, and which one counts.
//!
//! Sans-IO, driven by `now`. As the server, hellos are answered without keeping anything of them; a handshake begins
//! with the one that shows where it comes from, and several run side by side, one for each address and each client's
//! random number. So nobody who says hello sooner, from elsewhere or in another's name, keeps the peer from finishing
//! its own. The first one that proves the certificate of the SDP wins and the others are gone.
//!
//! As the client we speak to the described address alone. Who has several addresses may answer from another one: of
//! those with the same host or the same port, one is taken for each try, and not again if the try came to nothing.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Policy;
use super::dtls::{
    COOKIE_BYTES, Handshake, HandshakeError, Hello, Identity, hello, is_first_of_server,
    verify_request,
};
use crate::types::{DtlsPlan, DtlsRole, Entropy, KeyingFailure, SrtpKeys};

/// A stream without keys after this long has failed. Half would cut peers that ring a human first and begin the
/// handshake when they pick up; double is twice the silence.
pub const LIMIT: Duration = Duration::from_secs(20);
/// Handshakes of one stream that run side by side.
pub const CANDIDATES_MAX: usize = 8;
/// A client whose handshake broke begins another one after this long.
const RESTART: Duration = Duration::from_millis(500);
/// A try as the client that was answered from elsewhere ends after this long.
const TRY: Duration = Duration::from_secs(4);
/// A peer that would check and does not is spoken to where it is described after this long. Checks take tens of
/// milliseconds, a second where many addresses are tried; twice this would be a long silence.
const CHECKS_MAX: Duration = Duration::from_secs(3);
/// Addresses that answered to no end.
const USELESS_MAX: usize = 8;
/// Datagrams that wait to be sent: the flights of all candidates.
const EVENTS_MAX: usize = 64;

/// What comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyingEvent {
    /// A datagram is to be sent.
    Send {
        /// Where to.
        to: SocketAddr,
        /// What.
        datagram: Vec<u8>,
    },
    /// There are keys.
    Keyed {
        /// Which.
        keys: SrtpKeys,
        /// The address that proved to be the peer.
        from: SocketAddr,
    },
    /// There are none, and will be none.
    Failed(KeyingFailure),
}

/// Whom a stream exchanges keys with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Party {
    /// What was agreed.
    pub plan: DtlsPlan,
    /// The described address, or the one that checks led to; unspecified on hold.
    pub remote: SocketAddr,
    /// Whether it stands. Else the peer checks connectivity and says where it is by that, and nothing begins before.
    pub is_found: bool,
    /// Whether a client may come from elsewhere.
    pub policy: Policy,
}

/// One handshake that may become the one.
struct Candidate {
    at: SocketAddr,
    /// The client's; zero if it is us.
    random: [u8; 32],
    handshake: Handshake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Keyed(SocketAddr),
    Failed,
}

/// The handshakes of one stream.
pub struct Keying {
    identity: Arc<Identity>,
    party: Party,
    began: Instant,
    state: State,
    /// Oldest first.
    candidates: Vec<Candidate>,
    restart_at: Option<Instant>,
    /// As the client: where the server answers from, if it is not where it is described, and until when it may.
    elsewhere: Option<(SocketAddr, Instant)>,
    /// Addresses that were taken for it and led to nothing.
    useless: Vec<SocketAddr>,
    /// Something of a handshake came from the described address.
    heard: bool,
    alert: Option<u8>,
    refused: u64,
    events: VecDeque<KeyingEvent>,
    /// What cookies are made of, beside addresses.
    secret: [u8; 32],
}

impl Keying {
    /// Begins with an agreement.
    pub fn new(now: Instant, identity: Arc<Identity>, party: Party, entropy: &mut Entropy) -> Self {
        let mut secret = [0; 32];
        entropy.fill(&mut secret);
        Self::with(now, identity, party, secret)
    }

    fn with(now: Instant, identity: Arc<Identity>, party: Party, secret: [u8; 32]) -> Self {
        let mut keying = Self {
            secret,
            identity,
            party,
            began: now,
            state: State::Open,
            candidates: Vec::new(),
            restart_at: None,
            elsewhere: None,
            useless: Vec::new(),
            heard: false,
            alert: None,
            refused: 0,
            events: VecDeque::new(),
        };
        if party.is_found {
            keying.connect(now);
        } else {
            keying.restart_at = Some(now + CHECKS_MAX);
        }
        keying
    }

    /// Another agreement: another association begins anew, as does one that failed; everything else goes on.
    pub fn change(&mut self, now: Instant, party: Party) {
        if party.plan != self.party.plan || self.state == State::Failed {
            let refused = self.refused;
            *self = Self::with(now, Arc::clone(&self.identity), party, self.secret);
            self.refused = refused;
            return;
        }
        let (was_held, former) = (self.is_held(), self.party);
        self.party = party;
        if self.is_held() || self.state != State::Open {
            return;
        }
        if was_held {
            self.began = now;
        }
        let is_new = !former.is_found || former.remote != party.remote;
        if party.is_found && is_new {
            self.connect(now);
        }
    }

    /// Takes a datagram that is DTLS by its first octet (RFC 7983).
    pub fn handle(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        match self.state {
            State::Open => {}
            // The winner may have missed our last flight.
            State::Keyed(peer) if peer == from => {}
            State::Keyed(_) | State::Failed => {
                self.refused += 1;
                return;
            }
        }
        let hello = hello(datagram).filter(|_| self.party.plan.role == DtlsRole::Server);
        if let Some(hello) = &hello
            && !self.admit(now, from, hello)
        {
            return;
        }
        if hello.is_none() {
            self.learn(now, from, datagram);
        }
        let mine = self.addressed(from, hello);
        if mine.is_empty() {
            self.refused += 1;
        }
        self.heard |= from == self.party.remote && !mine.is_empty();
        for (at, random) in mine {
            if self.step(now, (at, random, from), datagram) {
                return;
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state != State::Open {
            return;
        }
        if self.restart_at.is_some_and(|at| at <= now) {
            self.connect(now);
        }
        let mut broken = false;
        let Self { candidates, events, .. } = self;
        candidates.retain_mut(|candidate| {
            let lives = candidate.handshake.handle_timeout(now).is_ok();
            flush(events, candidate);
            broken |= !lives;
            lives
        });
        if broken || self.elsewhere.is_some_and(|(_, until)| until <= now) {
            self.restart(now);
        }
        if !self.is_held() && now >= self.began + LIMIT {
            self.fail(match (self.alert, self.heard) {
                (Some(alert), _) => KeyingFailure::Alert(alert),
                (None, true) => KeyingFailure::Unfinished,
                (None, false) => KeyingFailure::Silence,
            });
        }
    }

    /// When [`Self::handle_timeout`] is to be called.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.state != State::Open {
            return None;
        }
        let flights = self.candidates.iter().filter_map(|c| c.handshake.next_timeout());
        let limit = (!self.is_held()).then(|| self.began + LIMIT);
        let elsewhere = self.elsewhere.map(|(_, until)| until);
        flights.chain(self.restart_at).chain(elsewhere).chain(limit).min()
    }

    /// What is to be done, in order.
    pub fn poll(&mut self) -> Option<KeyingEvent> {
        self.events.pop_front()
    }

    /// Datagrams that were nobody's.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn is_held(&self) -> bool {
        self.party.remote.ip().is_unspecified() || self.party.remote.port() == 0
    }

    /// As the client, says hello.
    fn connect(&mut self, now: Instant) {
        self.restart_at = None;
        let Party { plan, remote, .. } = self.party;
        if plan.role != DtlsRole::Client || self.is_held() {
            return;
        }
        self.candidates.clear();
        self.elsewhere = None;
        self.begin(now, remote, None);
    }

    /// Begins with a client that brought its cookie, or as one.
    fn begin(&mut self, now: Instant, at: SocketAddr, client: Option<[u8; 32]>) {
        let (identity, peer) = (&self.identity, self.party.plan.peer);
        let handshake = match client {
            Some(_) => Handshake::server(now, identity, peer, self.cookie(at)),
            None => Handshake::client(now, identity, peer),
        };
        let random = client.unwrap_or_default();
        match handshake {
            Ok(handshake) => {
                let mut candidate = Candidate { at, random, handshake };
                flush(&mut self.events, &mut candidate);
                self.candidates.push(candidate);
            }
            Err(_) => self.fail(KeyingFailure::Internal),
        }
    }

    /// The cookie of an address: nobody can know it who does not get what is sent there.
    fn cookie(&self, of: SocketAddr) -> [u8; COOKIE_BYTES] {
        let digest =
            Sha256::new().chain_update(self.secret).chain_update(of.to_string()).finalize();
        let mut cookie = [0; COOKIE_BYTES];
        for (to, from) in cookie.iter_mut().zip(digest) {
            *to = from;
        }
        cookie
    }

    /// Takes a client's hello: whether it belongs to a handshake. One that has not shown where it comes from is
    /// asked to, and forgotten.
    fn admit(&mut self, now: Instant, from: SocketAddr, hello: &Hello) -> bool {
        let Party { remote, policy, .. } = self.party;
        if from != remote && policy != Policy::Learn {
            self.refused += 1;
            return false;
        }
        let cookie = self.cookie(from);
        if hello.cookie != cookie {
            self.heard |= from == remote;
            if self.events.len() < EVENTS_MAX {
                let datagram = verify_request(&cookie);
                self.events.push_back(KeyingEvent::Send { to: from, datagram });
            }
            return false;
        }
        let known = |c: &Candidate| (c.at, c.random) == (from, hello.random);
        if self.state == State::Open && !self.candidates.iter().any(known) {
            if self.candidates.len() >= CANDIDATES_MAX {
                self.make_room();
            }
            self.begin(now, from, Some(hello.random));
        }
        true
    }

    /// The oldest gives way, first of those from elsewhere.
    fn make_room(&mut self) {
        let remote = self.party.remote;
        let stranger = self.candidates.iter().position(|c| c.at != remote);
        self.candidates.remove(stranger.unwrap_or_default());
    }

    /// As the client, takes the first answer that comes from elsewhere.
    fn learn(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let Party { plan, remote, policy, .. } = self.party;
        let near = from != remote && (from.ip() == remote.ip() || from.port() == remote.port());
        let may = plan.role == DtlsRole::Client && policy == Policy::Learn && near;
        if may
            && self.state == State::Open
            && self.elsewhere.is_none()
            && !self.useless.contains(&from)
            && is_first_of_server(datagram)
        {
            self.elsewhere = Some((from, now + TRY));
        }
    }

    /// Whose a datagram is. A hello names its client; what follows is of all from there.
    fn addressed(&self, from: SocketAddr, hello: Option<Hello>) -> Vec<(SocketAddr, [u8; 32])> {
        let at = match self.elsewhere {
            Some((elsewhere, _)) if elsewhere == from => self.party.remote,
            _ => from,
        };
        let of = |c: &&Candidate| {
            c.at == at && hello.as_ref().is_none_or(|hello| hello.random == c.random)
        };
        self.candidates.iter().filter(of).map(|c| (c.at, c.random)).collect()
    }

    /// Gives a candidate a datagram; whether that was the end of it all.
    fn step(
        &mut self,
        now: Instant,
        (at, random, from): (SocketAddr, [u8; 32], SocketAddr),
        datagram: &[u8],
    ) -> bool {
        let is = |c: &Candidate| (c.at, c.random) == (at, random);
        let Some(candidate) = self.candidates.iter_mut().find(|c| is(c)) else { return false };
        let outcome = candidate.handshake.handle(now, datagram);
        self.alert = candidate.handshake.alert().or(self.alert);
        flush(&mut self.events, candidate);
        match outcome {
            Ok(None) => false,
            Ok(Some(keys)) => {
                self.candidates.retain(is);
                self.restart_at = None;
                self.elsewhere = self.elsewhere.map(|(_, _)| (from, now));
                self.state = State::Keyed(from);
                self.events.push_back(KeyingEvent::Keyed { keys, from });
                true
            }
            Err(error) => {
                self.candidates.retain(|c| !is(c));
                // Whoever comes from elsewhere may be anybody.
                if error == HandshakeError::Fingerprint && from == self.party.remote {
                    self.fail(KeyingFailure::Fingerprint);
                    return true;
                }
                self.restart(now);
                false
            }
        }
    }

    /// The client's handshake broke.
    fn restart(&mut self, now: Instant) {
        if let Some((from, _)) = self.elsewhere.take() {
            self.useless.truncate(USELESS_MAX - 1);
            self.useless.insert(0, from);
        }
        if self.party.plan.role == DtlsRole::Client {
            self.restart_at = Some(now + RESTART);
        }
    }

    fn fail(&mut self, why: KeyingFailure) {
        self.state = State::Failed;
        self.candidates.clear();
        (self.restart_at, self.elsewhere) = (None, None);
        self.events.push_back(KeyingEvent::Failed(why));
    }
}

/// Takes over what a candidate wants to send; what is too much is lost, as on the way.
fn flush(events: &mut VecDeque<KeyingEvent>, candidate: &mut Candidate) {
    while let Some(datagram) = candidate.handshake.poll_transmit() {
        if events.len() < EVENTS_MAX {
            let event = KeyingEvent::Send { to: candidate.at, datagram: datagram.to_vec() };
            events.push_back(event);
        }
    }
}

#[cfg(test)]
mod tests;
