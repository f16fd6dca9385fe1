//! REFER of the other side: we call somebody in its place, and the agent goes on with whoever answers.
//!
//! The line stays what it is: its stream, its port, its recording. Only who is at the other end changes, as with an
//! INVITE with Replaces. Until somebody answers the call is that of the referrer; when nobody does it stays so.

use std::future::pending;

use futures_util::future::BoxFuture;

use super::MediaPolicy;
use super::end;
use super::leg::{self, LegError, LegPlace, LegPlan};
use super::negotiate::Negotiation;
use super::redirect::{self, Next, Redirected, Redirects};
use super::session::{Phase, Session};
use crate::media::{MediaCommand, MediaDirection};
use crate::sip::{Command, DialogId, Event, Referral, Rejection};
use crate::telemetry::metrics;
use crate::types::{CallEventKind, EndReason, Pii};
use crate::usage::DialPath;

/// REFERs followed in one call: two peers that name each other would go on for ever.
const REFERRALS_MAX: u32 = 8;

/// Somebody who is called in the place of the other side.
pub(super) struct Successor {
    /// The dialog that asked for it.
    referrer: DialogId,
    destination: Pii<String>,
    /// Whether the referrer hung up without waiting for what becomes of it.
    is_alone: bool,
    stage: Stage,
}

enum Stage {
    /// The way is being found.
    Planned(BoxFuture<'static, Result<LegPlan, LegError>>),
    /// The INVITE is out.
    Dialled(Box<Dialled>),
}

struct Dialled {
    dialog: DialogId,
    negotiation: Negotiation,
    media: MediaPolicy,
    redirects: Option<Box<Redirects>>,
    place: LegPlace,
}

/// What a successor waits for.
pub(super) enum SuccessorWake {
    Planned(Result<Box<LegPlan>, LegError>),
    Redirected(Option<Redirected>),
}

/// The next thing that happens to a successor beside SIP; never if there is none.
pub(super) async fn next(slot: &mut Option<Box<Successor>>) -> SuccessorWake {
    match slot.as_mut().map(|successor| &mut successor.stage) {
        None => pending().await,
        Some(Stage::Planned(plan)) => SuccessorWake::Planned(plan.await.map(Box::new)),
        Some(Stage::Dialled(dialled)) => {
            SuccessorWake::Redirected(redirect::answered(&mut dialled.redirects).await)
        }
    }
}

/// What the referrer is told of a leg that cannot be dialled.
fn status_of(error: &LegError) -> u16 {
    match error {
        LegError::Refused(_) => 403,
        LegError::Destination(_) => 404,
        LegError::NoTrunk | LegError::Full(_) | LegError::Unreachable => 503,
    }
}

impl Session {
    /// They want us to call somebody in their place.
    pub(super) fn on_referred(&mut self, dialog: DialogId, referral: Referral) {
        let answer = self.may_follow(dialog, &referral);
        let follows = answer.is_ok();
        self.sip(Command::AnswerRefer { dialog, answer });
        if !follows {
            return;
        }
        self.referrals += 1;
        let Referral { target, replaces, user_to_user, referred_by } = referral;
        let mut request = self.leg_request(None, target.clone());
        request.is_referred = true;
        let replaces = replaces.map(|value| {
            let required = ("Require".to_owned(), "replaces".to_owned());
            [("Replaces".to_owned(), value), required]
        });
        request.headers = replaces.into_iter().flatten().collect();
        let further = [("User-to-User", user_to_user), ("Referred-By", referred_by)];
        let further = further.into_iter().filter_map(|(name, value)| Some((name, value?)));
        request
            .headers
            .extend(further.map(|(name, value)| (name.to_owned(), value.reveal().clone())));
        let plan = self.context.legs.plan(request);
        self.successor = Some(Box::new(Successor {
            referrer: dialog,
            destination: target,
            is_alone: false,
            stage: Stage::Planned(plan),
        }));
        tracing::info!(call.id = %self.journal.record().id, "the other side wants to be replaced");
        self.note_referral("started", None);
    }

    /// Whether a REFER is followed.
    fn may_follow(&self, dialog: DialogId, referral: &Referral) -> Result<(), Rejection> {
        let refuse = |why: &'static str, status: u16| {
            metrics::sip_rejected(why);
            Err(Rejection::status(status))
        };
        let busy = self.successor.is_some() || self.transfer.is_some();
        if self.phase != Phase::Live || dialog != self.dialog || busy {
            return refuse("refer_pending", 491);
        }
        if self.referrals >= REFERRALS_MAX {
            return refuse("refer_limit", 603);
        }
        let target = referral.target.reveal();
        let target = target.strip_prefix("tel:").unwrap_or(target);
        self.may_transfer(DialPath::Refer, None, target).or_else(|_| refuse("refer_forbidden", 403))
    }

    fn note_referral(&mut self, state: &str, sip_status: Option<u16>) {
        let Some(successor) = &self.successor else { return };
        let destination = successor.destination.clone();
        let state = state.to_owned();
        self.journal.emit(CallEventKind::Referred { state, destination, sip_status });
    }

    /// The referrer hears how far it is.
    fn tell_referrer(&mut self, status: u16) {
        if let Some(dialog) = self.successor.as_ref().filter(|s| !s.is_alone).map(|s| s.referrer) {
            self.sip(Command::NotifyRefer { dialog, status });
        }
    }

    /// Whether the agent has nobody to talk to: the referrer went, and who comes is not there yet.
    pub(super) fn is_alone(&self) -> bool {
        self.successor.as_ref().is_some_and(|successor| successor.is_alone)
    }

    pub(super) fn on_successor(&mut self, wake: SuccessorWake) {
        match wake {
            SuccessorWake::Planned(Ok(plan)) => self.dial_successor(*plan),
            SuccessorWake::Planned(Err(error)) => {
                tracing::info!(%error, "whom a REFER names cannot be called");
                self.successor_failed(status_of(&error));
            }
            SuccessorWake::Redirected(target) => {
                let Some(dialled) = self.dialled() else { return };
                match dialled.redirects.as_mut().map(|redirects| redirects.checked(target)) {
                    Some(Next::Invite(invite)) => self.sip(Command::Invite(invite)),
                    Some(Next::Failed(failure)) => {
                        self.successor_failed(failure.status.unwrap_or(503));
                    }
                    Some(Next::Wait) | None => {}
                }
            }
        }
    }

    fn dialled(&mut self) -> Option<&mut Dialled> {
        match self.successor.as_mut().map(|successor| &mut successor.stage) {
            Some(Stage::Dialled(dialled)) => Some(dialled),
            _ => None,
        }
    }

    fn dial_successor(&mut self, plan: LegPlan) {
        let LegPlan { mut invite, media, mut entropy, place, redirector } = plan;
        let Some(stream) = &self.stream else { return };
        let far = invite.flow.remote.ip().to_canonical();
        if stream.local_rtp.is_ipv4() != far.is_ipv4() {
            // The line's one socket is of the other family.
            return self.successor_failed(503);
        }
        let local = leg::signalled(stream, &media, invite.flow.local.ip());
        let certificate = || stream.fingerprint();
        let mut negotiation = Negotiation::new(local, &media, certificate, &mut entropy);
        negotiation.hold(self.our_hold.is_some());
        invite.sdp = negotiation.make_offer();
        let redirects = redirector.map(|ask| Box::new(Redirects::new(ask, (*invite).clone())));
        let dialog = invite.dialog;
        if let Some(successor) = &mut self.successor {
            let dialled = Dialled { dialog, negotiation, media, redirects, place };
            successor.stage = Stage::Dialled(Box::new(dialled));
            self.sip(Command::Invite(invite));
        }
    }

    /// Whether a SIP event is of the successor's dialog.
    pub(super) fn is_of_successor(&self, event: &Event) -> bool {
        let stage = self.successor.as_ref().map(|successor| &successor.stage);
        matches!(stage, Some(Stage::Dialled(dialled)) if dialled.dialog == event.dialog())
    }

    pub(super) fn on_successor_sip(&mut self, event: Event) {
        let Some(dialled) = self.dialled() else { return };
        match event {
            Event::Progress { status, sdp, .. } => {
                // What is heard before the answer is not for the agent; the answer may rest on it.
                if let Some(sdp) = sdp {
                    let _ = dialled.negotiation.receive_answer(&sdp);
                }
                self.tell_referrer(status);
                self.note_referral("ringing", Some(status));
            }
            Event::Answered { sdp, .. } => {
                let agreed = match sdp {
                    Some(sdp) => dialled.negotiation.receive_answer(&sdp).is_ok(),
                    None => dialled.negotiation.is_complete(),
                };
                if agreed {
                    return self.succeed();
                }
                let (dialog, headers) = (dialled.dialog, Vec::new());
                let reason = Some("Q.850;cause=88".to_owned());
                self.sip(Command::Bye { dialog, reason, headers });
                self.successor_failed(488);
            }
            Event::Failed { failure, .. } => {
                let redirects = dialled.redirects.as_mut();
                if !redirects.is_some_and(|redirects| redirects.goes_on(&failure)) {
                    self.successor_failed(failure.status.unwrap_or(503));
                }
            }
            Event::CommandRefused { command: "invite", .. } => self.successor_failed(503),
            Event::ByeReceived { .. } | Event::Terminated { .. } => self.successor_failed(480),
            _ => {}
        }
    }

    /// The agent talks with who answered from now on.
    fn succeed(&mut self) {
        self.note_referral("completed", Some(200));
        self.tell_referrer(200);
        let Some(successor) = self.successor.take() else { return };
        let is_alone = successor.is_alone;
        let Stage::Dialled(dialled) = successor.stage else { return };
        let Dialled { dialog, negotiation, media, mut place, .. } = *dialled;
        place.answered();
        self.first_leaves();
        let old = std::mem::replace(&mut self.dialog, dialog);
        if !is_alone {
            // It goes out after the last NOTIFY, and leaves them time for one of their own.
            let reason = Some("SIP;cause=200;text=\"transferred\"".to_owned());
            self.sip(Command::Bye { dialog: old, reason, headers: Vec::new() });
        }
        self.inbox.shown.set_dialog(dialog);
        tracing::info!(call.id = %self.journal.record().id, "the agent goes on with somebody else");
        (self.negotiation, self.media) = (Some(negotiation), media);
        if let Some(former) = self.succeeded.replace(place) {
            former.note(&mut self.leg_usage);
        }
        self.line_is_new();
        if is_alone {
            self.hold_agent();
        }
    }

    /// The first trunk carries the call no longer: neither its minutes nor its places are used by who comes.
    fn first_leaves(&mut self) {
        if let Some(place) = self.place.take() {
            self.journal.first_left();
            place.give_back();
        }
    }

    /// Nobody comes: the call is what it was, if anybody is left.
    fn successor_failed(&mut self, status: u16) {
        self.note_referral("failed", Some(status));
        let status = if status < 300 { 503 } else { status };
        self.tell_referrer(status);
        if self.successor.take().is_some_and(|successor| successor.is_alone) {
            self.note_cause(end::q850_of_end(EndReason::UserHangup));
            self.phase = Phase::Over(EndReason::UserHangup);
        }
    }

    /// The call ends: whoever is being called need not answer any more.
    pub(super) fn drop_successor(&mut self) {
        self.tell_referrer(487);
        let Some(successor) = self.successor.take() else { return };
        if let Stage::Dialled(dialled) = successor.stage {
            self.sip(Command::Cancel { dialog: dialled.dialog });
        }
    }

    /// Whether a BYE leaves the agent waiting for who comes instead of ending the call: many who refer hang up at once.
    pub(super) fn referrer_left(&mut self) -> bool {
        let dialog = self.dialog;
        let Some(successor) = self.successor.as_mut().filter(|s| s.referrer == dialog) else {
            return false;
        };
        successor.is_alone = true;
        self.first_leaves();
        // Nobody is to hear the agent, and nobody's silence ends the call.
        let format = self.negotiation.as_ref().and_then(|n| n.format(self.media.source_policy));
        if let Some(mut format) = format {
            format.direction = MediaDirection::Inactive;
            self.line(MediaCommand::Configure(format));
        }
        if !std::mem::replace(&mut self.on_hold, true) {
            self.journal.emit(CallEventKind::Held { by_remote: true });
        }
        self.hold_agent();
        true
    }
}
