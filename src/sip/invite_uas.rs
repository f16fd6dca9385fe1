//! Incoming calls: from the INVITE to the ACK of our 200 (RFC 3261 section 13.3), CANCEL (section 9.2).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::agent::Agent;
use super::craft::Reply;
use super::dialog::Dialog;
use super::event::{DialogId, Event, Flow, InviteFacts, Rejection};
use super::key::{MergeKey, ServerKey};
use super::leg::{
    Announce, Confirmed, Fate, HangUp, Incoming, Leg, Offered, Session, State, Unacked, later,
};
use super::msg::Request;
use super::policy::CallPolicy;
use super::reliable::Provisional;
use super::transaction::{Backoff, Sent, TxnId};
use super::{checks, facts, hop};
use crate::types::{Pii, TrunkName};

/// Octets of random in a tag: 64 bits, twice what RFC 3261 section 19.3 asks.
pub(super) const TAG_BYTES: usize = 8;

impl Agent {
    /// A new INVITE outside any dialog; `trunk` is whose it is.
    pub(super) fn invited(
        &mut self,
        now: Instant,
        flow: Flow,
        invite: Request,
        (trunk, policy): (TrunkName, CallPolicy),
    ) {
        let key = ServerKey::of(&invite);
        let merge = MergeKey::of(&invite);
        let merged = self.txns.merged(&merge).is_some();
        let reply_flow = hop::reply_flow(&invite.headers, flow);
        let txn = self.txns.open_server(key, (!merged).then_some(merge), reply_flow);
        let tag = self.entropy.hex(TAG_BYTES);
        if merged {
            self.count("merged");
            self.reply(now, txn, &invite, Reply::new(482).tagged(&tag));
            return;
        }
        let too_small = || self.too_small(None, &invite);
        if let Some(reply) = checks::invite(&invite).or_else(too_small) {
            self.count("invite_unacceptable");
            self.reply(now, txn, &invite, reply.tagged(&tag));
            return;
        }
        if self.draining || self.legs.len() >= self.config.limits.dialogs {
            self.count(if self.draining { "draining" } else { "dialog_limit" });
            let reply = Reply::from_rejection(&later(503, self.config.retry_after_s));
            self.reply(now, txn, &invite, reply.tagged(&tag));
            return;
        }
        let replaces = match self.replaced(&invite) {
            Ok(replaces) => replaces,
            Err(status) => {
                self.count("replaces_refused");
                self.reply(now, txn, &invite, Reply::new(status).tagged(&tag));
                return;
            }
        };
        let Some(dialog) = Dialog::called(&invite, &tag, flow) else {
            self.count("invite_unacceptable");
            self.reply(now, txn, &invite, Reply::new(400).tagged(&tag));
            return;
        };
        self.reply(now, txn, &invite, Reply::new(100));
        let id = self.number();
        let offer = facts::body(&invite.body);
        let facts = facts::invite(&invite, flow, Some(trunk));
        let mut facts = Box::new(InviteFacts { replaces, ..facts });
        if self.config.trunks.iter().any(|one| one.is_contact(facts.request_user.reveal())) {
            // What a registrar puts there is our own word; whom the caller called is in To.
            facts.request_user = Pii::default();
        }
        self.cancelable.insert(txn, id);
        let until = now + self.config.answer_timeout;
        let provisional = Provisional::default();
        let incoming = Incoming { txn, invite: Arc::new(invite), until, provisional };
        self.add_leg(Leg::new(id, dialog, None, policy, State::Incoming(incoming)));
        self.event(Event::Incoming { dialog: id, facts, offer });
    }

    /// [`super::Command::Accept`].
    pub(super) fn accept(&mut self, now: Instant, leg: &mut Leg, sdp: Bytes) -> Fate {
        let Some(sdp) = Self::accept_waits(leg, sdp) else { return Fate::Keep };
        let State::Incoming(incoming) = &leg.state else { return Fate::Keep };
        let (txn, invite) = (incoming.txn, Arc::clone(&incoming.invite));
        self.drop_provisional(now, leg);
        self.cancelable.remove(&txn);
        match self.send_200(now, leg, txn, &invite, sdp) {
            Some(unacked) => {
                leg.state = State::AwaitingAck { unacked, hang_up: HangUp::No };
                Fate::Keep
            }
            None => Fate::Over,
        }
    }

    /// Sends a 200 to an INVITE or re-INVITE and says how to repeat it. RFC 3261 section 13.3.1.4:
    /// repeated on every transport, since the next hop may use another.
    pub(super) fn send_200(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        txn: TxnId,
        invite: &Request,
        sdp: Bytes,
    ) -> Option<Unacked> {
        if !sdp.is_empty() {
            leg.local_sdp.clone_from(&sdp);
        }
        let offered = if facts::body(&invite.body).is_some() || sdp.is_empty() {
            Offered::ByThem
        } else {
            Offered::ByUs
        };
        let reply = Reply::new(200)
            .tagged(&leg.dialog.local_tag)
            .contact(&self.contact_in(&leg.dialog, &leg.dialog.flow))
            .record_route()
            .abilities(&leg.policy)
            .sdp(Some(sdp));
        let reply = self.agree(now, leg, invite, reply);
        let bytes = reply.write(&self.config, invite);
        let response: Sent = self.txns.respond(now, txn, 200, bytes)?;
        self.transmit(response.clone());
        let timers = self.config.timers;
        Some(Unacked {
            cseq: facts::cseq(&invite.headers),
            response,
            repeat: Backoff::new(now, timers.t1, timers.t2),
            until: now + timers.t1x64(),
            offered,
        })
    }

    /// [`super::Command::Reject`].
    pub(super) fn reject(&mut self, now: Instant, leg: &mut Leg, rejection: &Rejection) -> Fate {
        if !(300..700).contains(&rejection.status) {
            self.refused(leg.id, "reject");
            return Fate::Keep;
        }
        self.refuse_invite(now, leg, Reply::from_rejection(rejection))
    }

    /// [`super::Command::Bye`] on an unanswered call. 603 would stop every other phone of the callee, 480 does not.
    pub(super) fn reject_by_bye(&mut self, now: Instant, leg: &mut Leg) -> Fate {
        self.refuse_invite(now, leg, Reply::new(480))
    }

    pub(super) fn refuse_invite(&mut self, now: Instant, leg: &mut Leg, reply: Reply) -> Fate {
        self.drop_provisional(now, leg);
        if let State::Incoming(incoming) = &leg.state {
            let (txn, invite) = (incoming.txn, Arc::clone(&incoming.invite));
            self.reply(now, txn, &invite, reply.tagged(&leg.dialog.local_tag));
        }
        Fate::Over
    }

    /// CANCEL. It has its own transaction, answered 200 when the INVITE is known (section 9.2).
    pub(super) fn canceled(&mut self, now: Instant, flow: Flow, cancel: &Request) {
        let key = ServerKey::of(cancel);
        let target = self.txns.server(&key.as_invite());
        let txn = self.txns.open_server(key, None, hop::reply_flow(&cancel.headers, flow));
        let Some(invite_txn) = target else {
            let tag = self.entropy.hex(TAG_BYTES);
            self.reply(now, txn, cancel, Reply::new(481).tagged(&tag));
            return;
        };
        let leg_id = self.cancelable.get(&invite_txn).copied();
        let tag = leg_id
            .and_then(|id| self.legs.get(&id))
            .map(|leg| leg.dialog.local_tag.clone())
            .unwrap_or_else(|| self.entropy.hex(TAG_BYTES));
        self.reply(now, txn, cancel, Reply::new(200).tagged(&tag));
        let Some(id) = leg_id else { return };
        let reason = facts::reason(&cancel.headers);
        self.with_leg(id, |agent, leg| agent.give_up_incoming(now, leg, id, reason));
    }

    fn give_up_incoming(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        id: DialogId,
        reason: Option<String>,
    ) -> Fate {
        match &leg.state {
            State::Incoming(_) => {
                let fate = self.refuse_invite(now, leg, Reply::new(487));
                self.event(Event::Canceled { dialog: id, reason });
                fate
            }
            // A re-INVITE canceled: the session goes on as it was.
            State::Confirmed(_) => {
                self.drop_their_offer(now, leg, 487);
                Fate::Keep
            }
            State::AwaitingAck { .. } | State::Calling(_) | State::Closing(_) => Fate::Keep,
        }
    }

    /// ACK for a 2xx: it belongs to the dialog, not to a transaction.
    pub(super) fn acked(&mut self, now: Instant, leg: &mut Leg, ack: &Request) -> Fate {
        let body = facts::body(&ack.body);
        match &mut leg.state {
            State::AwaitingAck { unacked, hang_up }
                if unacked.cseq == facts::cseq(&ack.headers) =>
            {
                let answer = if unacked.offered == Offered::ByUs { body } else { None };
                let hang_up = std::mem::replace(hang_up, HangUp::No);
                leg.state = State::Confirmed(Box::default());
                self.event(Event::Established { dialog: leg.id, answer });
                match hang_up {
                    HangUp::No => Fate::Keep,
                    HangUp::AfterAck { reason } => {
                        self.hang_up(now, leg, reason, Announce::Terminated)
                    }
                }
            }
            State::Confirmed(confirmed) => {
                let Confirmed { session, .. } = &mut **confirmed;
                if let Session::Unacked(unacked) = session
                    && unacked.cseq == facts::cseq(&ack.headers)
                {
                    let offered = unacked.offered;
                    *session = Session::Idle;
                    if offered == Offered::ByUs {
                        // Without an answer in the ACK the exchange failed and the old session stands.
                        let answer = body.ok_or(0);
                        self.event(Event::OfferAnswered { dialog: leg.id, answer });
                    }
                }
                Fate::Keep
            }
            State::AwaitingAck { .. }
            | State::Incoming(_)
            | State::Calling(_)
            | State::Closing(_) => Fate::Keep,
        }
    }

    /// Our side took too long.
    pub(super) fn incoming_due(&mut self, now: Instant, leg: &mut Leg) -> Fate {
        if let Some(fate) = self.provisional_due(now, leg) {
            return fate;
        }
        let State::Incoming(incoming) = &leg.state else { return Fate::Keep };
        if incoming.until > now {
            return Fate::Keep;
        }
        self.count("answer_timeout");
        self.refuse_invite(now, leg, Reply::new(480))
    }

    /// The 200 is due again, or its ACK is overdue.
    pub(super) fn awaiting_ack_due(&mut self, now: Instant, leg: &mut Leg) -> Fate {
        let State::AwaitingAck { unacked, .. } = &mut leg.state else { return Fate::Keep };
        match unacked.due(now) {
            UnackedDue::Repeat(sent) => {
                self.transmit(sent);
                Fate::Keep
            }
            UnackedDue::Nothing => Fate::Keep,
            UnackedDue::GiveUp => {
                self.event(Event::AckTimedOut { dialog: leg.id });
                self.hang_up(now, leg, None, Announce::Terminated)
            }
        }
    }
}

/// What is due for a 200 without ACK.
#[derive(Debug)]
pub(super) enum UnackedDue {
    Nothing,
    Repeat(Sent),
    GiveUp,
}

impl Unacked {
    pub(super) fn due(&mut self, now: Instant) -> UnackedDue {
        if self.until <= now {
            UnackedDue::GiveUp
        } else if self.repeat.due <= now {
            self.repeat.advance(now);
            UnackedDue::Repeat(self.response.clone())
        } else {
            UnackedDue::Nothing
        }
    }
}

/// [`super::Command::Bye`] while the ACK is missing: RFC 3261 section 15 forbids the callee to send it now.
pub(super) fn hang_up_later(leg: &mut Leg, reason: Option<String>) -> Fate {
    if let State::AwaitingAck { hang_up, .. } = &mut leg.state {
        *hang_up = HangUp::AfterAck { reason };
    }
    Fate::Keep
}
