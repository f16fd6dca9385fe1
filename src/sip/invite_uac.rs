//! Outgoing calls: from the INVITE to its ACK (RFC 3261 section 13.2), CANCEL (section 9.1), digest
//! retries, forks.

use std::time::Instant;

use bytes::Bytes;

use super::agent::Agent;
use super::auth::Auth;
use super::craft::{self, Frame};
use super::dialog::{Dialog, Side, with_tag};
use super::event::{Event, InviteFailure, InviteFailureCause, OutgoingInvite};
use super::facts;
use super::invite_uas::TAG_BYTES;
use super::leg::{Announce, Calling, Fate, Fork, Leg, Owner, Phase, State, failure};
use super::msg::{HeaderName, Method, Response};
use super::refresh;
use super::reliable;
use super::session_timer::{RAISES_MAX, Wish};
use super::transaction::{Sent, TxnId};
use super::uri::Uri;

/// Challenges answered before the credentials count as refused: one is the rule, the second is a
/// stale nonce, and a proxy and the far end may both ask: two each.
pub(super) const CHALLENGES_MAX: u8 = 4;

/// Octets of random in a Call-ID: 128 bits, unique over all time without our address in it.
pub(super) const CALL_ID_BYTES: usize = 16;

/// Early dialogs remembered by tag; more still work, only their requests are unknown to us.
const FORKS_MAX: usize = 16;

impl Agent {
    /// [`super::Command::Invite`].
    pub(super) fn place(&mut self, now: Instant, invite: OutgoingInvite) {
        let id = invite.dialog;
        if self.legs.contains_key(&id) {
            self.refused(id, "invite");
            return;
        }
        let full = self.legs.len() >= self.config.limits.dialogs || self.txns.is_full();
        if self.draining || full {
            self.count(if self.draining { "draining" } else { "dialog_limit" });
            self.refused(id, "invite");
            return;
        }
        let Ok(remote_target) = Uri::parse(&invite.request_uri) else {
            self.refused(id, "invite");
            return;
        };
        let local_tag = self.entropy.hex(TAG_BYTES);
        let mut dialog = Dialog {
            call_id: invite.call_id.clone().unwrap_or_else(|| self.entropy.hex(CALL_ID_BYTES)),
            remote_tag: String::new(),
            local: with_tag(invite.from.as_bytes(), &local_tag),
            local_tag,
            remote: Bytes::from(invite.to.clone()),
            local_seq: 0,
            remote_seq: None,
            remote_target,
            route_set: invite.route.iter().map(|route| Bytes::from(route.clone())).collect(),
            flow: invite.flow,
            is_udp_only: false,
            side: Side::Caller,
        };
        let wish = self.wish(&invite.policy);
        let (txn, sent) = self.send_invite(now, &mut dialog, &invite, wish, Vec::new());
        let ring_until = now + invite.ring_timeout;
        let unheard_until = self.patience(now, invite.others.len());
        let auth = invite.credentials.as_ref().map(Auth::new);
        let policy = invite.policy;
        let calling = Calling {
            txn,
            invite,
            sent,
            challenges: 0,
            wish,
            raises: 0,
            phase: Phase::Unheard,
            forks: Vec::new(),
            ring_until,
            unheard_until,
        };
        self.add_leg(Leg::new(id, dialog, auth, policy, State::Calling(Box::new(calling))));
    }

    pub(super) fn send_invite(
        &mut self,
        now: Instant,
        dialog: &mut Dialog,
        invite: &OutgoingInvite,
        wish: Wish,
        authorization: Vec<(String, String)>,
    ) -> (TxnId, Frame) {
        dialog.local_seq = dialog.local_seq.saturating_add(1);
        let mut frame = self.frame(dialog, Method::Invite, dialog.local_seq);
        frame.headers.extend(authorization);
        frame.headers.extend(craft::abilities(&invite.policy));
        frame.headers.extend(reliable::required(&invite.policy));
        frame.headers.extend(refresh::first_headers(wish));
        frame.headers.extend(invite.headers.iter().cloned());
        frame.body =
            (!invite.sdp.is_empty()).then(|| ("application/sdp".to_owned(), invite.sdp.clone()));
        let frame = self.fit(dialog, frame);
        let txn = self.request(now, &frame, Owner::Invite(invite.dialog));
        (txn, frame)
    }

    /// A response to the INVITE that made the leg.
    pub(super) fn invite_answered(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        txn: TxnId,
        response: &Response,
    ) -> Fate {
        let status = response.status.code();
        if status >= 300 {
            return self.invite_refused(now, leg, txn, response);
        }
        if status >= 200 {
            return self.invite_accepted(now, leg, txn, response);
        }
        let State::Calling(calling) = &mut leg.state else { return Fate::Keep };
        if calling.txn != txn {
            return Fate::Keep;
        }
        let Some(rseq) = calling.heard(response) else {
            // A reliable response that was heard before, or out of turn (RFC 3262 section 4).
            self.count("provisional_repeated");
            return Fate::Keep;
        };
        leg.note_abilities(&response.headers);
        let State::Calling(calling) = &mut leg.state else { return Fate::Keep };
        match calling.phase {
            Phase::Unheard => calling.phase = Phase::Heard,
            Phase::CancelHeld(cause) => {
                self.send_cancel(now, leg, cause);
                return Fate::Keep;
            }
            Phase::Heard => {}
            Phase::Canceling { .. } => return Fate::Keep,
        }
        if status == 199 {
            self.fork_gone(leg, response);
        } else if status > 100 {
            let sdp = facts::body(&response.body);
            let provider_call_id = facts::provider_call_id(&response.headers);
            self.event(Event::Progress { dialog: leg.id, status, sdp, provider_call_id });
        }
        if rseq > 0 {
            self.send_prack(now, leg, response, rseq);
        }
        Fate::Keep
    }

    /// 199 (RFC 6228): a fork gave up. If its early media was the newest, the one before is heard again.
    fn fork_gone(&mut self, leg: &mut Leg, response: &Response) {
        let State::Calling(calling) = &mut leg.state else { return };
        let tag = response.to_tag().unwrap_or_default();
        let Some(at) = calling.forks.iter().position(|fork| fork.tag == tag) else { return };
        let newest = calling.forks.iter().rposition(|fork| fork.early.is_some());
        calling.forks.remove(at);
        if newest == Some(at)
            && let Some(sdp) = calling.forks.iter().rev().find_map(|fork| fork.early.clone())
        {
            let (status, sdp, provider_call_id) = (183, Some(sdp), None);
            self.event(Event::Progress { dialog: leg.id, status, sdp, provider_call_id });
        }
    }

    /// A 2xx: always ACKed, whatever we wanted meanwhile.
    fn invite_accepted(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        txn: TxnId,
        response: &Response,
    ) -> Fate {
        let State::Calling(calling) = &leg.state else {
            // Another fork answered too: RFC 3261 section 13.2.2.4, ACK and BYE.
            self.release_fork(now, txn, &leg.dialog.clone(), response);
            return Fate::Keep;
        };
        let cseq = calling.sent.cseq;
        leg.dialog.flow = calling.sent.flow;
        leg.dialog.answered(response);
        if let Some(auth) = &mut leg.auth {
            auth.accepted();
        }
        let canceled = match calling.phase {
            Phase::CancelHeld(cause) | Phase::Canceling { cause, .. } => Some(cause),
            Phase::Unheard | Phase::Heard => None,
        };
        // Without a body the answer is what this fork said early; one that says nothing of itself takes the newest.
        let tag = response.to_tag().unwrap_or_default();
        let early = |fork: &Fork| fork.early.clone();
        let own = calling.forks.iter().find(|fork| fork.tag == tag).and_then(early);
        let newest = || calling.forks.iter().rev().find_map(early);
        let sdp = facts::body(&response.body).or(own).or_else(newest);
        self.send_ack(&leg.dialog, txn, cseq);
        leg.local_sdp.clone_from(&calling.invite.sdp);
        leg.state = State::Confirmed(Box::default());
        self.agreed(now, leg, &response.headers);
        match canceled {
            None => {
                let provider_call_id = facts::provider_call_id(&response.headers);
                self.event(Event::Answered { dialog: leg.id, sdp, provider_call_id });
                Fate::Keep
            }
            Some(cause) => {
                self.event(Event::Failed { dialog: leg.id, failure: failure(cause) });
                self.hang_up(now, leg, None, Announce::Nothing)
            }
        }
    }

    /// A 2xx of a fork we do not want, or for a leg that is gone: `dialog` is any of the same INVITE.
    pub(super) fn release_fork(
        &mut self,
        now: Instant,
        txn: TxnId,
        dialog: &Dialog,
        response: &Response,
    ) {
        self.count("fork_released");
        let mut fork = dialog.clone();
        fork.answered(response);
        let cseq = facts::cseq(&response.headers);
        self.send_ack(&fork, txn, cseq);
        let last = dialog.local_seq.max(cseq);
        let bye = self.frame(&fork, Method::Bye, last.saturating_add(1));
        self.request(now, &bye, Owner::Nobody);
    }

    /// ACK for a 2xx: a request of its own within the dialog, kept for every repetition of the 2xx.
    pub(super) fn send_ack(&mut self, dialog: &Dialog, txn: TxnId, cseq: u32) {
        let ack = self.frame(dialog, Method::Ack, cseq);
        let sent = Sent { flow: ack.flow, bytes: ack.write() };
        self.transmit(sent.clone());
        self.txns.keep_ack(txn, &dialog.remote_tag, sent);
    }

    /// ACK for a 300-699: same branch, Request-URI and Route as the INVITE (section 17.1.1.3).
    pub(super) fn send_failure_ack(&mut self, txn: TxnId, sent: &Frame, response: &Response) {
        let mut ack = sent.companion(Method::Ack);
        if let Some(to) = response.headers.get(HeaderName::To) {
            ack.to = to.clone();
        }
        let sent = Sent { flow: ack.flow, bytes: ack.write() };
        self.transmit(sent.clone());
        self.txns.keep_ack(txn, "", sent);
    }

    fn invite_refused(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        txn: TxnId,
        response: &Response,
    ) -> Fate {
        let State::Calling(calling) = &mut leg.state else { return Fate::Keep };
        if calling.txn != txn {
            return Fate::Keep;
        }
        self.send_failure_ack(txn, &calling.sent, response);
        let status = response.status.code();
        let canceled = match calling.phase {
            Phase::CancelHeld(cause) | Phase::Canceling { cause, .. } => Some(cause),
            Phase::Unheard | Phase::Heard => None,
        };
        if status == 503 && self.try_next(now, leg) {
            return Fate::Keep;
        }
        let State::Calling(calling) = &mut leg.state else { return Fate::Keep };
        let challenged = matches!(status, 401 | 407);
        if challenged && canceled.is_none() && calling.challenges < CHALLENGES_MAX {
            let answer = leg
                .auth
                .as_mut()
                .and_then(|auth| auth.answer(&mut self.entropy, &calling.sent, response));
            if let Some(answer) = answer {
                calling.challenges += 1;
                calling.phase = Phase::Unheard;
                calling.unheard_until = self.patience(now, calling.invite.others.len());
                calling.forks.clear();
                let wish = calling.wish;
                let sent = self.send_invite(now, &mut leg.dialog, &calling.invite, wish, answer);
                (calling.txn, calling.sent) = sent;
                return Fate::Keep;
            }
        }
        // RFC 4028 section 7.3: again, with the interval the 422 asks for.
        if status == 422
            && canceled.is_none()
            && calling.raises < RAISES_MAX
            && let Some(wish) = refresh::raised(calling.wish, response)
        {
            calling.wish = wish;
            calling.raises += 1;
            calling.phase = Phase::Unheard;
            calling.forks.clear();
            let sent = self.send_invite(now, &mut leg.dialog, &calling.invite, wish, Vec::new());
            (calling.txn, calling.sent) = sent;
            return Fate::Keep;
        }
        let cause = match canceled {
            Some(cause) => cause,
            None if challenged => InviteFailureCause::Auth,
            None => InviteFailureCause::Refused,
        };
        Fate::Failed(InviteFailure {
            status: Some(status),
            reason_phrase: Some(response.reason_text()),
            q850_cause: facts::q850_cause(&response.headers),
            contacts: if status < 400 { facts::redirects(&response.headers) } else { Vec::new() },
            cause,
        })
    }

    /// [`super::Command::Cancel`], or the ring timeout.
    pub(super) fn cancel(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        cause: InviteFailureCause,
    ) -> Fate {
        let State::Calling(calling) = &mut leg.state else { return Fate::Keep };
        match calling.phase {
            // Section 9.1: no CANCEL before a provisional response; timer B ends the wait.
            Phase::Unheard => calling.phase = Phase::CancelHeld(cause),
            Phase::Heard => self.send_cancel(now, leg, cause),
            Phase::CancelHeld(_) | Phase::Canceling { .. } => {}
        }
        Fate::Keep
    }

    fn send_cancel(&mut self, now: Instant, leg: &mut Leg, cause: InviteFailureCause) {
        let State::Calling(calling) = &mut leg.state else { return };
        calling.phase = Phase::Canceling { cause, until: now + self.config.timers.t1x64() };
        let mut cancel = calling.sent.companion(Method::Cancel);
        // Q.850: nobody answered, or we changed our mind.
        let q850 = if cause == InviteFailureCause::RingTimeout { 19 } else { 16 };
        cancel.headers.push(("Reason".to_owned(), format!("Q.850;cause={q850}")));
        self.request(now, &cancel, Owner::Nobody);
    }

    /// Nobody answered in time, or nobody answered our CANCEL.
    pub(super) fn calling_due(&mut self, now: Instant, leg: &mut Leg) -> Fate {
        let State::Calling(calling) = &leg.state else { return Fate::Keep };
        match calling.phase {
            Phase::Unheard | Phase::Heard if calling.ring_until <= now => {
                self.cancel(now, leg, InviteFailureCause::RingTimeout)
            }
            Phase::Unheard if calling.unheard_until.is_some_and(|until| until <= now) => {
                self.try_next(now, leg);
                Fate::Keep
            }
            Phase::Canceling { cause, until } if until <= now => {
                // Section 9.1: 64*T1 after the CANCEL the INVITE counts as canceled.
                self.txns.abandon(calling.txn);
                Fate::Failed(failure(cause))
            }
            Phase::Unheard | Phase::Heard | Phase::CancelHeld(_) | Phase::Canceling { .. } => {
                Fate::Keep
            }
        }
    }
}

impl Calling {
    /// Takes note of the early dialog of a provisional response. Gives the RSeq to acknowledge, 0 for
    /// none; `None`: the response is to be ignored.
    fn heard(&mut self, response: &Response) -> Option<u32> {
        let tag = response.to_tag().unwrap_or_default();
        let rseq = reliable::rseq(response);
        if tag.is_empty() {
            return Some(0);
        }
        let mut fork = match self.forks.iter().position(|fork| fork.tag == tag) {
            Some(at) => self.forks.remove(at),
            None if self.forks.len() < FORKS_MAX => Fork { tag, rseq: 0, early: None },
            None => return Some(0),
        };
        let turn = rseq.is_none_or(|rseq| fork.rseq == 0 || Some(rseq) == fork.rseq.checked_add(1));
        if turn {
            fork.rseq = rseq.unwrap_or(fork.rseq);
            fork.early = facts::body(&response.body).or(fork.early);
        }
        self.forks.push(fork);
        turn.then_some(rseq.unwrap_or(0))
    }
}

/// Timer B, or the transport failed.
pub(super) fn unanswered(leg: &Leg, cause: InviteFailureCause) -> Fate {
    match &leg.state {
        State::Calling(calling) => match calling.phase {
            Phase::CancelHeld(cause) | Phase::Canceling { cause, .. } => {
                Fate::Failed(failure(cause))
            }
            Phase::Unheard | Phase::Heard => Fate::Failed(failure(cause)),
        },
        State::Incoming(_)
        | State::AwaitingAck { .. }
        | State::Confirmed(_)
        | State::Closing(_) => Fate::Keep,
    }
}
