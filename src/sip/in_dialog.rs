//! Everything within a dialog but INVITE: BYE, INFO, NOTIFY, REFER, and our own requests with their
//! digest retries (RFC 3261 section 12.2, 15; RFC 3515; RFC 6086).

use std::sync::Arc;
use std::time::Instant;

use super::agent::Agent;
use super::checks;
use super::craft::Reply;
use super::dialog::SeqCheck;
use super::event::{DialogId, Event, Flow, ReferProgress};
use super::facts;
use super::hop;
use super::invite_uac::CHALLENGES_MAX;
use super::key::ServerKey;
use super::leg::{Announce, Ask, Asked, Fate, InDialog, Leg, Owner, Session, State};
use super::msg::{HeaderName, Method, Request, Response};
use super::refer::{Refer, sipfrag_status};
use super::transaction::{Sent, TxnId};

impl InDialog {
    pub(super) fn new(method: Method) -> Self {
        Self { method, headers: Vec::new(), body: None, challenges: 0, glares: 0 }
    }
}

impl Agent {
    /// A request with our To tag that found its leg. ACK is handled before.
    pub(super) fn in_dialog(&mut self, now: Instant, flow: Flow, id: DialogId, request: Request) {
        self.with_leg(id, |agent, leg| agent.in_dialog_request(now, flow, leg, request));
    }

    fn in_dialog_request(
        &mut self,
        now: Instant,
        flow: Flow,
        leg: &mut Leg,
        request: Request,
    ) -> Fate {
        if leg.dialog.check_seq(facts::cseq(&request.headers)) == SeqCheck::TooLow {
            // Section 12.2.2.
            let txn = self.open(&request, flow);
            self.count("cseq_too_low");
            self.reply(now, txn, &request, Reply::new(500));
            return Fate::Keep;
        }
        if request.method == Method::Invite {
            self.reinvited(now, flow, leg, request);
            return Fate::Keep;
        }
        let txn = self.open(&request, flow);
        // Our BYE is out: for us the dialog is over, only theirs may still cross it.
        if matches!(leg.state, State::Closing(_)) && request.method != Method::Bye {
            self.reply(now, txn, &request, Reply::new(481));
            return Fate::Keep;
        }
        if let Some(reply) = checks::common(&request) {
            self.reply(now, txn, &request, reply);
            return Fate::Keep;
        }
        match request.method {
            Method::Bye => return self.bye_received(now, leg, txn, &request),
            Method::Prack => return self.pracked(now, leg, txn, request),
            Method::Update => self.updated(now, leg, txn, request),
            Method::Info => self.info_received(now, leg, txn, &request),
            Method::Notify => self.notified(now, leg, txn, &request),
            Method::Refer => self.referred(now, leg, txn, request),
            Method::Subscribe => self.reply(now, txn, &request, checks::bad_event()),
            Method::Options => {
                let reply = Reply::new(200).abilities(&leg.policy).accept();
                self.reply(now, txn, &request, reply);
            }
            _ => self.reply(now, txn, &request, checks::method_refused(&request)),
        }
        Fate::Keep
    }

    pub(super) fn open(&mut self, request: &Request, flow: Flow) -> TxnId {
        self.txns.open_server(ServerKey::of(request), None, hop::reply_flow(&request.headers, flow))
    }

    fn bye_received(&mut self, now: Instant, leg: &mut Leg, txn: TxnId, bye: &Request) -> Fate {
        self.reply(now, txn, bye, Reply::new(200));
        match &leg.state {
            // Both sides hang up at once: ours is answered or times out.
            State::Closing(_) => Fate::Keep,
            // Only the caller may end an early dialog with BYE (section 15); the callee refuses the INVITE.
            State::Calling(_) => Fate::Keep,
            State::Incoming(incoming) => {
                let (invite_txn, invite) = (incoming.txn, Arc::clone(&incoming.invite));
                let reply = Reply::new(487).tagged(&leg.dialog.local_tag);
                self.drop_provisional(now, leg);
                self.reply(now, invite_txn, &invite, reply);
                self.event(Event::Canceled { dialog: leg.id, reason: facts::reason(&bye.headers) });
                Fate::Over
            }
            State::AwaitingAck { .. } | State::Confirmed(_) => {
                self.settle(now, leg, SettledBy::Them);
                self.event(Event::ByeReceived {
                    dialog: leg.id,
                    reason: facts::reason(&bye.headers),
                });
                Fate::Over
            }
        }
    }

    /// Ends what is still open in a dialog that ends.
    fn settle(&mut self, now: Instant, leg: &mut Leg, by: SettledBy) {
        // Section 15.1.2: pending requests get 487.
        self.drop_their_offer(now, leg, 487);
        self.drop_referred(now, leg);
        let State::Confirmed(confirmed) = &mut leg.state else { return };
        if let Some(refer) = confirmed.refer.take() {
            let progress = match (by, refer) {
                (SettledBy::Them, Refer::Asked | Refer::Accepted { .. }) => {
                    ReferProgress::EndedByBye
                }
                (SettledBy::Us, Refer::Asked) => ReferProgress::Refused(None),
                (SettledBy::Us, Refer::Accepted { .. }) => ReferProgress::NoNotify,
            };
            self.event(Event::ReferProgress { dialog: leg.id, progress });
        }
    }

    fn info_received(&mut self, now: Instant, leg: &Leg, txn: TxnId, info: &Request) {
        // RFC 6086 section 4.2.2: packages need negotiation, and we offer none.
        if info.headers.get_named("Info-Package").is_some() {
            let reply = Reply::new(469).named("Recv-Info", "");
            self.reply(now, txn, info, reply);
            return;
        }
        self.reply(now, txn, info, Reply::new(200));
        if let Some(body) = facts::body(&info.body) {
            let content_type = facts::text(&info.headers, HeaderName::ContentType);
            self.event(Event::Info { dialog: leg.id, content_type, body });
        }
    }

    fn notified(&mut self, now: Instant, leg: &mut Leg, txn: TxnId, notify: &Request) {
        match facts::event_package(notify).as_str() {
            "refer" => {}
            "message-summary" => return self.reply(now, txn, notify, Reply::new(200)),
            _ => return self.reply(now, txn, notify, checks::bad_event()),
        }
        let State::Confirmed(confirmed) = &mut leg.state else {
            return self.reply(now, txn, notify, Reply::new(481));
        };
        let asked = match confirmed.refer {
            Some(Refer::Asked) => true,
            Some(Refer::Accepted { .. }) => false,
            // No subscription of ours (any more): RFC 6665 section 4.1.3.
            None => return self.reply(now, txn, notify, Reply::new(481)),
        };
        let status = facts::body(&notify.body).and_then(|body| sipfrag_status(&body));
        let over = facts::subscription_over(notify);
        self.reply(now, txn, notify, Reply::new(200));
        let State::Confirmed(confirmed) = &mut leg.state else { return };
        let progress = match status {
            Some(status) => ReferProgress::Notified(status),
            None if over => ReferProgress::NoNotify,
            None => return,
        };
        if over || status.is_some_and(|status| status >= 200) {
            confirmed.refer = None;
        } else {
            let until = now + self.config.refer_timeout;
            confirmed.refer = Some(Refer::Accepted { until });
        }
        if asked {
            // A NOTIFY may overtake the 202 it follows: it says as much.
            let progress = ReferProgress::Accepted;
            self.event(Event::ReferProgress { dialog: leg.id, progress });
        }
        self.event(Event::ReferProgress { dialog: leg.id, progress });
        if over && status.is_some_and(|status| status < 200) {
            let progress = ReferProgress::NoNotify;
            self.event(Event::ReferProgress { dialog: leg.id, progress });
        }
    }

    // --- ours -------------------------------------------------------------------------------

    /// [`super::Command::Bye`] on a dialog both sides know.
    pub(super) fn hang_up(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        reason: Option<String>,
        announce: Announce,
    ) -> Fate {
        self.settle(now, leg, SettledBy::Us);
        leg.state = State::Closing(announce);
        let mut headers: Vec<_> =
            reason.map(|reason| ("Reason".to_owned(), reason)).into_iter().collect();
        headers.append(&mut leg.farewell);
        let request = InDialog { headers, ..InDialog::new(Method::Bye) };
        self.send_in_dialog(now, leg, request, Vec::new());
        Fate::Keep
    }

    /// [`super::Command::Refer`].
    pub(super) fn refer(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        target: Option<&str>,
        (referred_by, further): (Option<String>, Vec<(String, String)>),
    ) -> Fate {
        let State::Confirmed(confirmed) = &mut leg.state else { return Fate::Keep };
        // The call to be taken over is not there any more.
        let Some(target) = target else {
            self.refused(leg.id, "refer");
            return Fate::Keep;
        };
        let torn = |text: &String| text.contains(['\r', '\n']);
        let torn = further.iter().any(|(name, value)| torn(name) || torn(value));
        if confirmed.refer.is_some() || torn || target.contains(['<', '>', '\r', '\n']) {
            self.refused(leg.id, "refer");
            return Fate::Keep;
        }
        confirmed.refer = Some(Refer::Asked);
        let ourselves = super::header::NameAddr::parse(&leg.dialog.local);
        let referred_by = referred_by.or_else(|| Some(format!("<{}>", ourselves?.uri)));
        let mut headers = vec![("Refer-To".to_owned(), format!("<{target}>"))];
        headers.extend(referred_by.map(|value| ("Referred-By".to_owned(), value)));
        headers.extend(further);
        let request = InDialog { headers, ..InDialog::new(Method::Refer) };
        self.send_in_dialog(now, leg, request, Vec::new());
        Fate::Keep
    }

    /// Sends a request within the dialog, with the next CSeq.
    pub(super) fn send_in_dialog(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        request: InDialog,
        authorization: Vec<(String, String)>,
    ) {
        leg.dialog.local_seq = leg.dialog.local_seq.saturating_add(1);
        let mut frame = self.frame(&leg.dialog, request.method.clone(), leg.dialog.local_seq);
        frame.headers.extend(authorization);
        frame.headers.extend(request.headers.iter().cloned());
        frame.body.clone_from(&request.body);
        let frame = self.fit(&leg.dialog, frame);
        let asked = Arc::new(Asked { request, frame });
        self.request(now, &asked.frame, Owner::InDialog(leg.id, Arc::clone(&asked)));
    }

    /// A response to a request of ours within the dialog.
    pub(super) fn in_dialog_answered(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        txn: TxnId,
        asked: &Asked,
        response: &Response,
    ) -> Fate {
        let Asked { request, frame } = asked;
        let status = response.status.code();
        if status < 200 {
            return Fate::Keep;
        }
        if request.method == Method::Invite {
            if status < 300 {
                leg.dialog.retarget(&response.headers);
                self.send_ack(&leg.dialog, txn, frame.cseq);
            } else {
                self.send_failure_ack(txn, frame, response);
            }
        }
        if matches!(status, 401 | 407)
            && request.challenges < CHALLENGES_MAX
            && let Some(answer) =
                leg.auth.as_mut().and_then(|auth| auth.answer(&mut self.entropy, frame, response))
        {
            let again = InDialog { challenges: request.challenges + 1, ..request.clone() };
            self.send_in_dialog(now, leg, again, answer);
            return Fate::Keep;
        }
        if let Some(auth) = &mut leg.auth {
            auth.accepted();
        }
        match request.method {
            Method::Invite => self.reinvite_answered(now, leg, request.glares, response),
            Method::Update => self.update_answered(now, leg, response),
            Method::Bye => closed(leg),
            Method::Notify => self.notify_answered(now, leg, status),
            Method::Info => self.info_answered(now, leg),
            Method::Refer => {
                self.refer_answered(now, leg, status, response);
                Fate::Keep
            }
            _ => Fate::Keep,
        }
    }

    /// A response for a leg that is gone: a 2xx to a re-INVITE still wants its ACK (section 13.2.2.4).
    pub(super) fn late_answer(&mut self, txn: TxnId, asked: &Asked, response: &Response) {
        let Asked { request, frame } = asked;
        if request.method != Method::Invite || !response.status.is_final() {
            return;
        }
        if response.status.is_success() {
            let mut ack = frame.companion(Method::Ack);
            ack.branch = self.branch();
            let sent = Sent { flow: ack.flow, bytes: ack.write() };
            self.transmit(sent.clone());
            self.txns.keep_ack(txn, &response.to_tag().unwrap_or_default(), sent);
        } else {
            self.send_failure_ack(txn, frame, response);
        }
    }

    fn refer_answered(&mut self, now: Instant, leg: &mut Leg, status: u16, response: &Response) {
        let State::Confirmed(confirmed) = &mut leg.state else { return };
        if !matches!(confirmed.refer, Some(Refer::Asked)) {
            // A NOTIFY came first, perhaps the final one: nothing new.
            return;
        }
        let progress = if status < 300 {
            // RFC 4488: without a subscription there is nothing to wait for.
            confirmed.refer = (!facts::no_subscription(response))
                .then(|| Refer::Accepted { until: now + self.config.refer_timeout });
            ReferProgress::Accepted
        } else {
            confirmed.refer = None;
            ReferProgress::Refused(Some(status))
        };
        let unwatched = confirmed.refer.is_none() && status < 300;
        self.event(Event::ReferProgress { dialog: leg.id, progress });
        if unwatched {
            let progress = ReferProgress::NoNotify;
            self.event(Event::ReferProgress { dialog: leg.id, progress });
        }
    }

    /// Timer F (or B of a re-INVITE), or the transport failed.
    pub(super) fn in_dialog_unanswered(
        &mut self,
        now: Instant,
        leg: &mut Leg,
        request: &InDialog,
    ) -> Fate {
        match request.method {
            Method::Bye => closed(leg),
            Method::Invite => {
                let State::Confirmed(confirmed) = &mut leg.state else { return Fate::Keep };
                if let Session::WeAsk { ask, .. } = confirmed.session {
                    confirmed.session = Session::Idle;
                    if ask == Ask::Refresh {
                        return self.refresh_unanswered(now, leg);
                    }
                    self.event(Event::OfferAnswered { dialog: leg.id, answer: Err(408) });
                    // Section 12.2.1.2: no answer at all counts as 408, which ends the dialog.
                    return self.hang_up(now, leg, None, Announce::Terminated);
                }
                Fate::Keep
            }
            Method::Update => self.refresh_unanswered(now, leg),
            Method::Notify => self.notify_answered(now, leg, 408),
            Method::Info => self.info_unanswered(leg),
            Method::Refer => {
                if let State::Confirmed(confirmed) = &mut leg.state
                    && matches!(confirmed.refer, Some(Refer::Asked))
                {
                    confirmed.refer = None;
                    let progress = ReferProgress::Refused(None);
                    self.event(Event::ReferProgress { dialog: leg.id, progress });
                }
                Fate::Keep
            }
            _ => Fate::Keep,
        }
    }
}

/// Who ended the dialog.
#[derive(Clone, Copy, Debug)]
enum SettledBy {
    Us,
    Them,
}

/// Our BYE was answered, or never will be.
fn closed(leg: &Leg) -> Fate {
    match leg.state {
        State::Closing(Announce::Terminated) => Fate::Over,
        State::Closing(Announce::Nothing) => Fate::Silent,
        State::Incoming(_)
        | State::AwaitingAck { .. }
        | State::Calling(_)
        | State::Confirmed(_) => Fate::Keep,
    }
}
