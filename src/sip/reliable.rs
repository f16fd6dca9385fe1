//! Reliable provisional responses (RFC 3262) on both sides: PRACK for theirs, and ours repeated until
//! their PRACK comes.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::agent::Agent;
use super::checks;
use super::craft::{Frame, Reply};
use super::event::{Event, Rejection};
use super::facts;
use super::leg::{Asked, Fate, InDialog, Leg, Owner, State};
use super::msg::{HeaderName, Headers, Method, Request, Response};
use super::option::{self, RELIABLE};
use super::policy::{CallPolicy, Reliable};
use super::transaction::{Backoff, Sent, TxnId, earlier};

/// Upper end of the numbers an RSeq may begin with (section 3).
const RSEQ_FIRST_MAX: u32 = 0x7fff_ffff;

/// What goes on before our answer to an INVITE of theirs.
#[derive(Debug, Default)]
pub(crate) struct Provisional {
    /// Our last RSeq; 0: none sent.
    rseq: u32,
    /// The response whose PRACK is awaited: one at a time.
    unacked: Option<Unpracked>,
    /// What our side wanted meanwhile; the last word counts.
    waiting: Option<Waiting>,
    /// Where the first offer and answer stand.
    exchange: Exchange,
    /// A PRACK or UPDATE of theirs with an offer that waits for our side.
    open: Option<Open>,
}

#[derive(Debug)]
struct Unpracked {
    response: Sent,
    repeat: Backoff,
    until: Instant,
    has_sdp: bool,
}

#[derive(Debug)]
enum Waiting {
    Ring(Option<Bytes>),
    Accept(Bytes),
}

/// The first offer/answer exchange of the INVITE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Exchange {
    /// Not over before our 200.
    #[default]
    Open,
    /// Our offer is in a reliable response.
    Offered,
    /// Over: by our answer in a reliable response, or theirs in the PRACK.
    Done { offered_by_us: bool },
}

#[derive(Debug)]
struct Open {
    txn: TxnId,
    request: Arc<Request>,
    until: Instant,
}

impl Provisional {
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        let repeat = self.unacked.as_ref().and_then(|u| earlier(Some(u.repeat.due), Some(u.until)));
        earlier(repeat, self.open.as_ref().map(|open| open.until))
    }

    /// Whether a request of theirs may make a new offer now (RFC 3311 section 5.2).
    pub(crate) fn takes_offer(&self) -> bool {
        self.open.is_none() && matches!(self.exchange, Exchange::Done { .. })
    }

    /// Whether the 200 carries no body: the PRACK had the answer to our offer already.
    fn is_settled(&self) -> bool {
        matches!(self.exchange, Exchange::Done { offered_by_us: true } | Exchange::Offered)
    }
}

/// Whether a response to this INVITE goes out reliably.
fn wanted(invite: &Request, policy: &CallPolicy, has_sdp: bool) -> bool {
    if invite.headers.has_token(HeaderName::Require, RELIABLE) {
        return true;
    }
    let can = invite.headers.has_token(HeaderName::Supported, RELIABLE);
    can && match policy.reliable {
        Reliable::Off => false,
        Reliable::Supported => has_sdp,
        Reliable::Required => true,
    }
}

/// RAck: RSeq, CSeq and method of the response it is about.
fn rack(headers: &Headers) -> Option<(u32, u32, String)> {
    let text = headers.text(HeaderName::RAck)?;
    let mut words = text.split_ascii_whitespace();
    let (rseq, cseq) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((rseq, cseq, words.next()?.to_owned()))
}

/// RSeq of a response that wants a PRACK.
pub(super) fn rseq(response: &Response) -> Option<u32> {
    let status = response.status.code();
    let reliable = response.headers.has_token(HeaderName::Require, RELIABLE);
    let rseq = response.headers.text(HeaderName::RSeq)?.trim().parse().ok()?;
    ((101..200).contains(&status) && reliable && rseq > 0).then_some(rseq)
}

impl Agent {
    /// [`super::Command::Ring`].
    pub(super) fn ring(&mut self, now: Instant, leg: &mut Leg, sdp: Option<Bytes>) -> Fate {
        let State::Incoming(incoming) = &mut leg.state else { return Fate::Keep };
        let sdp = sdp.filter(|sdp| !sdp.is_empty());
        let provisional = &mut incoming.provisional;
        let (txn, invite) = (incoming.txn, Arc::clone(&incoming.invite));
        let reliable = wanted(&invite, &leg.policy, sdp.is_some());
        if reliable && provisional.unacked.is_some() {
            if !matches!(provisional.waiting, Some(Waiting::Accept(_))) {
                provisional.waiting = Some(Waiting::Ring(sdp));
            }
            return Fate::Keep;
        }
        let offers = facts::body(&invite.body).is_none();
        if reliable && offers && sdp.is_none() && provisional.exchange == Exchange::Open {
            // Section 5: the first reliable response to an INVITE without offer carries one. Without
            // it there is nothing to send but the 100, which is out.
            return Fate::Keep;
        }
        let sdp = sdp.filter(|_| !reliable || provisional.exchange == Exchange::Open);
        if let Some(sdp) = &sdp {
            leg.local_sdp.clone_from(sdp);
        }
        let has_sdp = sdp.is_some();
        let mut reply = Reply::new(if has_sdp { 183 } else { 180 })
            .tagged(&leg.dialog.local_tag)
            .contact(&self.contact(&leg.dialog.flow))
            .record_route()
            .sdp(sdp);
        if !reliable {
            self.reply(now, txn, &invite, reply);
            return Fate::Keep;
        }
        provisional.rseq = match provisional.rseq {
            0 => (self.entropy.u32() & RSEQ_FIRST_MAX).max(1),
            last => last.saturating_add(1),
        };
        reply = reply
            .abilities(&leg.policy)
            .header(HeaderName::Require, RELIABLE)
            .header(HeaderName::RSeq, provisional.rseq.to_string());
        if has_sdp {
            provisional.exchange =
                if offers { Exchange::Offered } else { Exchange::Done { offered_by_us: false } };
        }
        let status = reply.status;
        let bytes = reply.write(&self.config, &invite);
        let Some(response) = self.txns.respond(now, txn, status, bytes) else { return Fate::Keep };
        self.transmit(response.clone());
        let timers = self.config.timers;
        // No cap at T2: section 3 lets the interval double up to 64*T1.
        let repeat = Backoff::new(now, timers.t1, timers.t1x64());
        provisional.unacked =
            Some(Unpracked { response, repeat, until: now + timers.t1x64(), has_sdp });
        Fate::Keep
    }

    /// Whether the 200 has to wait: section 3 forbids it while a description of ours is unacknowledged.
    /// Otherwise the body it carries.
    pub(super) fn accept_waits(leg: &mut Leg, sdp: Bytes) -> Option<Bytes> {
        let State::Incoming(incoming) = &mut leg.state else { return None };
        let provisional = &mut incoming.provisional;
        let unacked = provisional.unacked.as_ref().is_some_and(|unacked| unacked.has_sdp);
        if unacked || provisional.open.is_some() {
            provisional.waiting = Some(Waiting::Accept(sdp));
            return None;
        }
        Some(if provisional.is_settled() { Bytes::new() } else { sdp })
    }

    /// PRACK (section 3).
    pub(super) fn pracked(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        txn: TxnId,
        prack: Request,
    ) -> Fate {
        if let Some(reply) = checks::body(&prack) {
            self.reply(now, txn, &prack, reply);
            return Fate::Keep;
        }
        let named = rack(&prack.headers);
        let State::Incoming(incoming) = &mut leg.state else {
            // It crossed our final response. A 481 would end the dialog for some.
            let known = named.is_some_and(|(rseq, ..)| rseq == leg.rseq && rseq > 0);
            self.reply(now, txn, &prack, Reply::new(if known { 200 } else { 481 }));
            return Fate::Keep;
        };
        let provisional = &mut incoming.provisional;
        let awaited = (provisional.rseq, facts::cseq(&incoming.invite.headers));
        let matches = named.is_some_and(|(rseq, cseq, method)| {
            (rseq, cseq) == awaited && method.eq_ignore_ascii_case("INVITE")
        });
        if !matches || provisional.unacked.is_none() {
            self.reply(now, txn, &prack, Reply::new(481));
            return Fate::Keep;
        }
        provisional.unacked = None;
        let body = facts::body(&prack.body);
        match (provisional.exchange, body) {
            (Exchange::Offered, answer) => {
                provisional.exchange = Exchange::Done { offered_by_us: true };
                self.reply(now, txn, &prack, Reply::new(200));
                let answer = answer.ok_or(0);
                self.event(Event::OfferAnswered { dialog: leg.id, answer });
            }
            (Exchange::Done { .. }, Some(_)) if provisional.open.is_none() => {
                self.offer_early(now, leg, txn, prack);
                return Fate::Keep;
            }
            (Exchange::Open | Exchange::Done { .. }, Some(_)) => {
                // Their first offer has no answer yet: this one cannot have one.
                self.reply(now, txn, &prack, Reply::new(488));
            }
            (Exchange::Open | Exchange::Done { .. }, None) => {
                self.reply(now, txn, &prack, Reply::new(200));
            }
        }
        self.go_on(now, leg)
    }

    /// A PRACK or UPDATE with an offer, before our answer to the INVITE.
    pub(super) fn offer_early(&mut self, now: Instant, leg: &mut Leg, txn: TxnId, asks: Request) {
        let State::Incoming(incoming) = &mut leg.state else { return };
        leg.dialog.retarget(&asks.headers);
        let offer = facts::body(&asks.body);
        let until = now + self.config.offer_timeout;
        incoming.provisional.open = Some(Open { txn, request: Arc::new(asks), until });
        self.event(Event::Offered { dialog: leg.id, offer });
    }

    /// [`super::Command::AnswerOffer`] before our answer to the INVITE.
    pub(super) fn answer_early(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        answer: Result<Bytes, Rejection>,
    ) -> Fate {
        let State::Incoming(incoming) = &mut leg.state else { return Fate::Keep };
        let Some(Open { txn, request, .. }) = incoming.provisional.open.take() else {
            self.refused(leg.id, "answer_offer");
            return Fate::Keep;
        };
        let reply = match answer {
            Ok(sdp) => {
                leg.local_sdp.clone_from(&sdp);
                let contact = self.contact(&leg.dialog.flow);
                Reply::new(200).contact(&contact).abilities(&leg.policy).sdp(Some(sdp))
            }
            Err(rejection) => Reply::from_rejection(&checks::refusal_or(rejection, 488)),
        };
        self.reply(now, txn, &request, reply);
        self.go_on(now, leg)
    }

    /// Does what our side wanted while a PRACK or an answer was missing.
    fn go_on(&mut self, now: Instant, leg: &mut Leg) -> Fate {
        let State::Incoming(incoming) = &mut leg.state else { return Fate::Keep };
        if incoming.provisional.open.is_some() {
            return Fate::Keep;
        }
        match incoming.provisional.waiting.take() {
            None => Fate::Keep,
            Some(Waiting::Ring(sdp)) => self.ring(now, leg, sdp),
            Some(Waiting::Accept(sdp)) => self.accept(now, leg, sdp),
        }
    }

    /// The INVITE has its final response: what is open with it ends.
    pub(super) fn drop_provisional(&mut self, now: Instant, leg: &mut Leg) {
        let State::Incoming(incoming) = &mut leg.state else { return };
        leg.rseq = incoming.provisional.rseq;
        let provisional = std::mem::take(&mut incoming.provisional);
        if let Some(Open { txn, request, .. }) = provisional.open {
            self.reply(now, txn, &request, Reply::new(487));
        }
    }

    /// Repeats a reliable response, or gives up; `Some`: the INVITE was refused.
    pub(super) fn provisional_due(&mut self, now: Instant, leg: &mut Leg) -> Option<Fate> {
        let State::Incoming(incoming) = &mut leg.state else { return None };
        let provisional = &mut incoming.provisional;
        if let Some(open) = provisional.open.take_if(|open| open.until <= now) {
            self.count("offer_timeout");
            self.reply(now, open.txn, &open.request, Reply::new(500));
            return Some(self.go_on(now, leg)).filter(|fate| !matches!(fate, Fate::Keep));
        }
        let unacked = provisional.unacked.as_mut()?;
        if unacked.until <= now {
            // Section 3: 64*T1 without PRACK, the INVITE gets a 5xx.
            self.count("prack_timeout");
            return Some(self.refuse_invite(now, leg, Reply::new(504)));
        }
        if unacked.repeat.due <= now {
            unacked.repeat.advance(now);
            let sent = unacked.response.clone();
            self.transmit(sent);
        }
        None
    }

    // --- theirs -----------------------------------------------------------------------------

    /// Sends the PRACK for a response of theirs (section 4).
    pub(super) fn send_prack(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        response: &Response,
        rseq: u32,
    ) {
        let State::Calling(calling) = &leg.state else { return };
        let mut dialog = leg.dialog.clone();
        dialog.flow = calling.sent.flow;
        dialog.answered(response);
        let rack = format!("{rseq} {} INVITE", calling.sent.cseq);
        let mut frame = self.frame(&dialog, Method::Prack, 0);
        frame.headers.push(("RAck".to_owned(), rack));
        self.prack(now, leg, (InDialog::new(Method::Prack), frame));
    }

    /// Sends a PRACK with the next CSeq.
    pub(super) fn prack(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        (request, mut frame): (InDialog, Frame),
    ) {
        leg.dialog.local_seq = leg.dialog.local_seq.saturating_add(1);
        frame.cseq = leg.dialog.local_seq;
        let frame = self.fit(&leg.dialog, frame);
        let asked = Arc::new(Asked { request, frame });
        self.request(now, &asked.frame, Owner::Prack(leg.id, Arc::clone(&asked)));
    }

    /// An answer to our PRACK: only a challenge asks for more.
    pub(super) fn prack_answered(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        asked: &Asked,
        response: &Response,
    ) -> Fate {
        let Asked { request, frame } = asked;
        let challenged = matches!(response.status.code(), 401 | 407);
        if !challenged || request.challenges >= super::invite_uac::CHALLENGES_MAX {
            return Fate::Keep;
        }
        let answer =
            leg.auth.as_mut().and_then(|auth| auth.answer(&mut self.entropy, frame, response));
        let Some(answer) = answer else { return Fate::Keep };
        let mut frame = frame.clone();
        frame.branch = self.branch();
        frame.headers.retain(|(name, _)| name == "RAck");
        frame.headers.extend(answer);
        let request = InDialog { challenges: request.challenges + 1, ..request.clone() };
        self.prack(now, leg, (request, frame));
        Fate::Keep
    }
}

/// Require of our INVITE, where the trunk wants every provisional response to be reliable.
pub(super) fn required(policy: &CallPolicy) -> Option<(String, String)> {
    (policy.reliable == Reliable::Required)
        .then(|| ("Require".to_owned(), option::RELIABLE.to_owned()))
}
