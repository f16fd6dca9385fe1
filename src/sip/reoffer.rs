//! Offers within a call: re-INVITE (RFC 3261 section 14) and UPDATE (RFC 3311), theirs and ours.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::agent::Agent;
use super::checks;
use super::craft::Reply;
use super::dialog::Side;
use super::event::{Event, Flow, Rejection};
use super::invite_uas::UnackedDue;
use super::key::ServerKey;
use super::leg::{Announce, Ask, Confirmed, Fate, InDialog, Leg, Offered, Session, State, later};
use super::msg::{Method, Request, Response};
use super::refer::Refer;
use super::transaction::TxnId;
use super::{facts, hop, refresh};

/// Times a re-INVITE is tried again after 491 before the old session simply stays.
const GLARES_MAX: u8 = 4;

impl Agent {
    /// A re-INVITE of theirs.
    pub(super) fn reinvited(&mut self, now: Instant, flow: Flow, leg: &mut Leg, invite: Request) {
        let txn = self.txns.open_server(
            ServerKey::of(&invite),
            None,
            hop::reply_flow(&invite.headers, flow),
        );
        let too_small = || self.too_small(Some(leg), &invite);
        if let Some(reply) = checks::invite(&invite).or_else(too_small) {
            self.reply(now, txn, &invite, reply);
            return;
        }
        let refusal = match &leg.state {
            State::Confirmed(confirmed) => match &confirmed.session {
                Session::Idle | Session::Glare { .. } => None,
                // Section 14.2: ours is under way, 491; theirs is, 500 with a short random wait.
                Session::WeAsk { .. } => Some(Reply::new(491)),
                Session::TheyAsk { .. } => Some(self.busy()),
                Session::Unacked(unacked) if unacked.offered == Offered::ByUs => {
                    Some(Reply::new(491))
                }
                // A new INVITE says that the 200 arrived: its ACK was lost.
                Session::Unacked(_) => None,
            },
            State::Incoming(_) | State::AwaitingAck { .. } => Some(self.busy()),
            State::Calling(_) => Some(Reply::new(491)),
            State::Closing(_) => Some(Reply::new(481)),
        };
        if let Some(reply) = refusal {
            self.count("offer_glare");
            self.reply(now, txn, &invite, reply);
            return;
        }
        self.reply(now, txn, &invite, Reply::new(100));
        self.they_ask(now, leg, txn, invite);
    }

    /// An UPDATE of theirs. Without SDP it only refreshes the target.
    pub(super) fn updated(&mut self, now: Instant, leg: &mut Leg, txn: TxnId, update: Request) {
        if let Some(reply) = self.too_small(Some(leg), &update) {
            self.reply(now, txn, &update, reply);
            return;
        }
        if facts::body(&update.body).is_none() {
            leg.dialog.retarget(&update.headers);
            let contact = self.contact_in(&leg.dialog, &leg.dialog.flow);
            let mut reply = Reply::new(200).contact(&contact).abilities(&leg.policy);
            if matches!(leg.state, State::Confirmed(_) | State::AwaitingAck { .. }) {
                reply = self.agree(now, leg, &update, reply);
            }
            self.reply(now, txn, &update, reply);
            return;
        }
        let reply = match &leg.state {
            State::Confirmed(confirmed) => match &confirmed.session {
                Session::Idle | Session::Glare { .. } => None,
                Session::WeAsk { .. } => Some(Reply::new(491)),
                Session::TheyAsk { .. } => Some(self.busy()),
                Session::Unacked(unacked) if unacked.offered == Offered::ByUs => {
                    Some(Reply::new(491))
                }
                Session::Unacked(_) => None,
            },
            State::Incoming(incoming) if incoming.provisional.takes_offer() => {
                return self.offer_early(now, leg, txn, update);
            }
            // RFC 3311 section 5.2: their first offer has no answer yet.
            State::Incoming(_) => Some(self.busy()),
            State::AwaitingAck { .. } | State::Calling(_) => Some(Reply::new(491)),
            State::Closing(_) => Some(Reply::new(481)),
        };
        match reply {
            Some(reply) => {
                self.count("offer_glare");
                self.reply(now, txn, &update, reply);
            }
            None => self.they_ask(now, leg, txn, update),
        }
    }

    fn they_ask(&mut self, now: Instant, leg: &mut Leg, txn: TxnId, request: Request) {
        let State::Confirmed(confirmed) = &mut leg.state else { return };
        leg.dialog.retarget(&request.headers);
        let offer = facts::body(&request.body);
        if request.method == Method::Invite {
            self.cancelable.insert(txn, leg.id);
        }
        confirmed.session = Session::TheyAsk {
            txn,
            request: Arc::new(request),
            until: now + self.config.offer_timeout,
        };
        self.event(Event::Offered { dialog: leg.id, offer });
    }

    /// 500 with a Retry-After of 0 to 10 s (RFC 3261 section 14.2).
    fn busy(&mut self) -> Reply {
        let wait = self.entropy.u32() % 11;
        Reply::from_rejection(&later(500, wait))
    }

    /// [`super::Command::AnswerOffer`].
    pub(super) fn answer_offer(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        answer: Result<Bytes, Rejection>,
    ) -> Fate {
        let State::Confirmed(confirmed) = &mut leg.state else { return Fate::Keep };
        if !matches!(confirmed.session, Session::TheyAsk { .. }) {
            self.refused(leg.id, "answer_offer");
            return Fate::Keep;
        }
        let Session::TheyAsk { txn, request, .. } = std::mem::take(&mut confirmed.session) else {
            return Fate::Keep;
        };
        self.cancelable.remove(&txn);
        match answer {
            Err(rejection) => {
                let rejection = checks::refusal_or(rejection, 488);
                self.reply(now, txn, &request, Reply::from_rejection(&rejection));
            }
            Ok(sdp) if request.method == Method::Invite => {
                let unacked = self.send_200(now, leg, txn, &request, sdp);
                if let (Some(unacked), State::Confirmed(confirmed)) = (unacked, &mut leg.state) {
                    confirmed.session = Session::Unacked(unacked);
                }
            }
            Ok(sdp) => {
                let contact = self.contact_in(&leg.dialog, &leg.dialog.flow);
                leg.local_sdp.clone_from(&sdp);
                let reply = Reply::new(200).contact(&contact).abilities(&leg.policy).sdp(Some(sdp));
                let reply = self.agree(now, leg, &request, reply);
                self.reply(now, txn, &request, reply);
            }
        }
        Fate::Keep
    }

    /// Ends their open offer with a final status: canceled, timed out, or the call is over.
    pub(super) fn drop_their_offer(&mut self, now: Instant, leg: &mut Leg, status: u16) {
        let State::Confirmed(confirmed) = &mut leg.state else { return };
        if !matches!(confirmed.session, Session::TheyAsk { .. }) {
            return;
        }
        if let Session::TheyAsk { txn, request, .. } = std::mem::take(&mut confirmed.session) {
            self.cancelable.remove(&txn);
            self.reply(now, txn, &request, Reply::new(status));
        }
    }

    /// [`super::Command::Reoffer`].
    pub(super) fn reoffer(&mut self, now: Instant, leg: &mut Leg, sdp: Bytes) -> Fate {
        let State::Confirmed(confirmed) = &mut leg.state else { return Fate::Keep };
        if !matches!(confirmed.session, Session::Idle) {
            self.refused(leg.id, "reoffer");
            return Fate::Keep;
        }
        confirmed.session = Session::WeAsk { sdp: sdp.clone(), ask: Ask::Offer };
        self.send_reinvite(now, leg, sdp, 0);
        Fate::Keep
    }

    pub(super) fn send_reinvite(&mut self, now: Instant, leg: &mut Leg, sdp: Bytes, glares: u8) {
        let request = InDialog {
            headers: refresh::session_headers(leg),
            body: (!sdp.is_empty()).then(|| ("application/sdp".to_owned(), sdp)),
            glares,
            ..InDialog::new(Method::Invite)
        };
        self.send_in_dialog(now, leg, request, Vec::new());
    }

    /// A final response to our re-INVITE; its ACK is sent.
    pub(super) fn reinvite_answered(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        glares: u8,
        response: &Response,
    ) -> Fate {
        let status = response.status.code();
        let wait = self.glare_wait(leg);
        let State::Confirmed(confirmed) = &mut leg.state else { return Fate::Keep };
        let Session::WeAsk { sdp, ask } = &mut confirmed.session else { return Fate::Keep };
        let (sdp, ask) = (std::mem::take(sdp), *ask);
        if status == 491 && glares < GLARES_MAX {
            let (at, tries) = (now + wait, glares + 1);
            confirmed.session = Session::Glare { sdp, ask, at, tries };
            return Fate::Keep;
        }
        confirmed.session = Session::Idle;
        let is_success = (200..300).contains(&status);
        if is_success {
            leg.dialog.retarget(&response.headers);
            leg.local_sdp = sdp;
            self.agreed(now, leg, &response.headers);
        }
        let body = facts::body(&response.body);
        if ask == Ask::Refresh {
            match body {
                _ if !is_success => return self.refresh_refused(now, leg, response),
                Some(answer) => self.event(Event::Refreshed { dialog: leg.id, answer }),
                None => {}
            }
            return Fate::Keep;
        }
        let answer = body.filter(|_| is_success).ok_or(status);
        self.event(Event::OfferAnswered { dialog: leg.id, answer });
        // Section 12.2.1.2: these two say that the other side knows no such dialog.
        if matches!(status, 408 | 481) {
            return self.hang_up(now, leg, None, Announce::Terminated);
        }
        Fate::Keep
    }

    /// Section 14.1: 2.1 to 4 s for the owner of the Call-ID, 0 to 2 s for the other, in steps of 10 ms.
    pub(super) fn glare_wait(&mut self, leg: &Leg) -> Duration {
        let random = u64::from(self.entropy.u32());
        let ms = if leg.dialog.side == Side::Caller {
            2_100 + random % 191 * 10
        } else {
            random % 201 * 10
        };
        Duration::from_millis(ms)
    }

    /// Timers of a confirmed dialog.
    pub(super) fn confirmed_due(&mut self, now: Instant, leg: &mut Leg) -> Fate {
        self.refer_due(now, leg);
        if let Some(fate) = self.referred_due(now, leg) {
            return fate;
        }
        if let Some(fate) = self.session_due(now, leg) {
            return fate;
        }
        let State::Confirmed(confirmed) = &mut leg.state else { return Fate::Keep };
        match &mut confirmed.session {
            Session::Idle | Session::WeAsk { .. } => Fate::Keep,
            Session::TheyAsk { until, .. } => {
                if *until <= now {
                    self.count("offer_timeout");
                    self.drop_their_offer(now, leg, 500);
                }
                Fate::Keep
            }
            Session::Unacked(unacked) => match unacked.due(now) {
                UnackedDue::Nothing => Fate::Keep,
                UnackedDue::Repeat(sent) => {
                    self.transmit(sent);
                    Fate::Keep
                }
                UnackedDue::GiveUp => {
                    self.event(Event::AckTimedOut { dialog: leg.id });
                    self.hang_up(now, leg, None, Announce::Terminated)
                }
            },
            Session::Glare { at, .. } if *at > now => Fate::Keep,
            Session::Glare { sdp, ask, tries, .. } => {
                let (sdp, ask, tries) = (std::mem::take(sdp), *ask, *tries);
                confirmed.session = Session::WeAsk { sdp: sdp.clone(), ask };
                self.send_reinvite(now, leg, sdp, tries);
                Fate::Keep
            }
        }
    }

    fn refer_due(&mut self, now: Instant, leg: &mut Leg) {
        let State::Confirmed(confirmed) = &mut leg.state else { return };
        let Confirmed { refer, .. } = &mut **confirmed;
        if refer.as_ref().and_then(Refer::next_wake).is_some_and(|until| until <= now) {
            *refer = None;
            let progress = super::event::ReferProgress::NoNotify;
            self.event(Event::ReferProgress { dialog: leg.id, progress });
        }
    }
}
