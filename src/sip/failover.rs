//! The next target of an INVITE whose first one fails (RFC 3263 section 4.3): on 503, on a broken transport, and when
//! nothing was heard for a while.
//!
//! The INVITE that was left behind is not repeated any more, but what answers it late is still met: a provisional
//! response with CANCEL, a 2xx with ACK and BYE. Else a phone would ring for nobody.

use std::sync::Arc;
use std::time::Instant;

use super::agent::Agent;
use super::auth::Auth;
use super::craft::Frame;
use super::dialog::Dialog;
use super::event::{Event, InviteFailureCause};
use super::leg::{Asked, Fate, Leg, Owner, Phase, State};
use super::msg::{Method, Response};
use super::transaction::TxnId;

/// An INVITE that was sent elsewhere as well.
#[derive(Debug)]
pub(crate) struct Left {
    dialog: Dialog,
    sent: Frame,
    is_canceled: bool,
}

impl Agent {
    /// When nothing may be heard of an INVITE before its next target is tried.
    pub(super) fn patience(&self, now: Instant, others: usize) -> Option<Instant> {
        (others > 0).then(|| now + self.config.failover_timeout)
    }

    /// Sends the INVITE to its next target; `false`: there is none, or it is being canceled.
    pub(super) fn try_next(&mut self, now: Instant, leg: &mut Leg) -> bool {
        let State::Calling(calling) = &mut leg.state else { return false };
        let goes_on = matches!(calling.phase, Phase::Unheard | Phase::Heard);
        if calling.invite.others.is_empty() || !goes_on {
            return false;
        }
        self.event(Event::TargetFailed { dialog: leg.id, flow: calling.invite.flow });
        let left =
            Left { dialog: leg.dialog.clone(), sent: calling.sent.clone(), is_canceled: false };
        self.txns.leave(calling.txn, Owner::Left(Arc::new(left)));
        let flow = calling.invite.others.remove(0);
        calling.invite.flow = flow;
        calling.unheard_until = self.patience(now, calling.invite.others.len());
        calling.phase = Phase::Unheard;
        calling.challenges = 0;
        calling.forks.clear();
        leg.dialog.flow = flow;
        leg.dialog.is_udp_only = false;
        // Who gets both copies knows by the CSeq that they are one request (section 8.2.2.2 of RFC 3261).
        leg.dialog.local_seq = leg.dialog.local_seq.saturating_sub(1);
        leg.auth = calling.invite.credentials.as_ref().map(Auth::new);
        let wish = calling.wish;
        (calling.txn, calling.sent) =
            self.send_invite(now, &mut leg.dialog, &calling.invite, wish, Vec::new());
        true
    }

    /// Timer B, or the transport failed.
    pub(super) fn invite_unanswered(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        cause: InviteFailureCause,
    ) -> Fate {
        if cause == InviteFailureCause::Transport && self.invite_by_udp(now, leg) {
            return Fate::Keep;
        }
        if self.try_next(now, leg) { Fate::Keep } else { super::invite_uac::unanswered(leg, cause) }
    }

    /// Sends an INVITE by UDP that went by TCP for its length alone and met nobody there (RFC 3261 section 18.1.1);
    /// `false`: that is not why it failed.
    fn invite_by_udp(&mut self, now: Instant, leg: &mut Leg) -> bool {
        let State::Calling(calling) = &mut leg.state else { return false };
        if !calling.sent.is_too_long_for_udp() || !matches!(calling.phase, Phase::Unheard) {
            return false;
        }
        leg.dialog.is_udp_only = true;
        // Should the first copy have arrived after all, the CSeq says that they are one request.
        leg.dialog.local_seq = leg.dialog.local_seq.saturating_sub(1);
        calling.unheard_until = self.patience(now, calling.invite.others.len());
        let wish = calling.wish;
        (calling.txn, calling.sent) =
            self.send_invite(now, &mut leg.dialog, &calling.invite, wish, Vec::new());
        true
    }

    /// The same for a request within a dialog.
    pub(super) fn in_dialog_by_udp(&mut self, now: Instant, leg: &mut Leg, asked: &Asked) -> bool {
        if !asked.frame.is_too_long_for_udp() {
            return false;
        }
        leg.dialog.is_udp_only = true;
        self.send_in_dialog(now, leg, asked.request.clone(), Vec::new());
        true
    }

    /// The same for a PRACK, which goes where its INVITE went.
    pub(super) fn prack_by_udp(&mut self, now: Instant, leg: &mut Leg, asked: &Asked) -> Fate {
        if let Some(frame) = self.unfit(&asked.frame) {
            leg.dialog.is_udp_only = true;
            self.prack(now, leg, (asked.request.clone(), frame));
        }
        Fate::Keep
    }

    /// A response to an INVITE that was left behind.
    pub(super) fn left_answered(
        &mut self,
        now: Instant,
        txn: TxnId,
        left: &Arc<Left>,
        response: &Response,
    ) {
        match response.status.code() {
            0..=199 if left.is_canceled => {}
            0..=199 => {
                let Left { dialog, sent, .. } = &**left;
                let cancel = sent.companion(Method::Cancel);
                self.request(now, &cancel, Owner::Nobody);
                let left = Left { dialog: dialog.clone(), sent: sent.clone(), is_canceled: true };
                self.txns.leave(txn, Owner::Left(Arc::new(left)));
            }
            200..=299 => self.release_fork(now, txn, &left.dialog, response),
            _ => self.send_failure_ack(txn, &left.sent, response),
        }
    }
}
