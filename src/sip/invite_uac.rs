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
use super::leg::{Announce, Calling, Fate, Leg, Owner, Phase, State, failure};
use super::msg::{HeaderName, Method, Response};
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
            side: Side::Caller,
        };
        let (txn, sent) = self.send_invite(now, &mut dialog, &invite, Vec::new());
        let ring_until = now + invite.ring_timeout;
        let unheard_until = self.patience(now, invite.others.len());
        let auth = invite.credentials.as_ref().map(Auth::new);
        self.add_leg(Leg {
            id,
            dialog,
            auth,
            state: State::Calling(Box::new(Calling {
                txn,
                invite,
                sent,
                challenges: 0,
                phase: Phase::Unheard,
                forks: Vec::new(),
                early: None,
                ring_until,
                unheard_until,
            })),
        });
    }

    pub(super) fn send_invite(
        &mut self,
        now: Instant,
        dialog: &mut Dialog,
        invite: &OutgoingInvite,
        authorization: Vec<(String, String)>,
    ) -> (TxnId, Frame) {
        dialog.local_seq = dialog.local_seq.saturating_add(1);
        let mut frame = self.frame(dialog, Method::Invite, dialog.local_seq);
        frame.headers.extend(authorization);
        frame.headers.extend(craft::abilities());
        frame.headers.extend(invite.headers.iter().cloned());
        frame.body =
            (!invite.sdp.is_empty()).then(|| ("application/sdp".to_owned(), invite.sdp.clone()));
        let frame = self.fit(frame);
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
        let tag = response.to_tag().unwrap_or_default();
        if !tag.is_empty() && calling.forks.len() < FORKS_MAX && !calling.forks.contains(&tag) {
            calling.forks.push(tag);
        }
        match calling.phase {
            Phase::Unheard => calling.phase = Phase::Heard,
            Phase::CancelHeld(cause) => {
                self.send_cancel(now, leg, cause);
                return Fate::Keep;
            }
            Phase::Heard => {}
            Phase::Canceling { .. } => return Fate::Keep,
        }
        if status > 100 {
            let sdp = facts::body(&response.body);
            if sdp.is_some() {
                calling.early.clone_from(&sdp);
            }
            let provider_call_id = facts::provider_call_id(&response.headers);
            self.event(Event::Progress { dialog: leg.id, status, sdp, provider_call_id });
        }
        Fate::Keep
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
        let sdp = facts::body(&response.body).or_else(|| calling.early.clone());
        self.send_ack(&leg.dialog, txn, cseq);
        leg.state = State::Confirmed(Box::default());
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
        let bye = self.frame(&fork, Method::Bye, cseq.saturating_add(1));
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
                let sent = self.send_invite(now, &mut leg.dialog, &calling.invite, answer);
                (calling.txn, calling.sent) = sent;
                return Fate::Keep;
            }
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
        let cancel = calling.sent.companion(Method::Cancel);
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
