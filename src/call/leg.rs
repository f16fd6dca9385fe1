//! A second leg of a call: somebody else on the line, without an agent.

use std::future::pending;
use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::effects::info_of;
use super::end;
use super::negotiate::Negotiation;
use super::redirect::{self, Next, Redirected, Redirector, Redirects};
use super::signalling::rejection_of;
use super::{CallContext, DtmfWay, MediaPolicy};
use crate::engine::{AttachError, Recording, Stream, StreamSeed};
use crate::media::{MediaCommand, MediaEvent};
use crate::net::clock;
use crate::sip::{Command, DialogId, Event, InviteFailure, OutgoingInvite};
use crate::telemetry::metrics;
use crate::types::{CallId, Entropy, OrganizationId, Pii, SampleRate, TrunkName, Usage};
use crate::usage::meter;

/// Who is to be called.
#[derive(Clone, Debug)]
pub struct LegRequest {
    /// The call it is a leg of; its SIP events go there.
    pub call: CallId,
    /// Whose call that is; the trunk is theirs.
    pub organization_id: OrganizationId,
    /// Trunk; else `fallback_trunk`, else the only one that dials.
    pub trunk: Option<TrunkName>,
    /// Trunk of the call itself.
    pub fallback_trunk: Option<TrunkName>,
    /// Number of ours that the call is with; its `transfer_trunk_id` goes before the call's own trunk.
    pub number: Option<String>,
    /// E.164 number, SIP URI or tel URI.
    pub destination: Pii<String>,
    /// Caller number to show where the trunk has none of its own.
    pub from: Pii<String>,
    /// How long it may ring; `None`: as long as any call.
    pub ring_timeout: Option<Duration>,
    /// Further headers of the INVITE, checked.
    pub headers: Vec<(String, String)>,
    /// Whether the other side wants it, by REFER: the call's own trunk carries it, and no stranger is shown its
    /// credentials.
    pub is_referred: bool,
}

/// Everything a leg needs to be dialled. What it counts against limits is given back when it is dropped.
pub struct LegPlan {
    /// The INVITE without body.
    pub invite: Box<OutgoingInvite>,
    /// Its trunk's media policy.
    pub media: MediaPolicy,
    /// Randomness for its stream.
    pub entropy: Entropy,
    /// Its place in the trunk.
    pub place: LegPlace,
    /// Finds where it goes on when it is redirected; `None`: that is the end of it.
    pub redirector: Option<Redirector>,
}

/// A leg's place: what was taken for it is given back at the end, and how long it was talked is told.
pub struct LegPlace {
    trunk: TrunkName,
    destination: Pii<String>,
    answered: Option<Instant>,
    release: Option<Box<dyn FnOnce(Duration) + Send + Sync>>,
}

impl LegPlace {
    /// Does `release` when it is dropped.
    pub fn new(
        trunk: TrunkName,
        destination: Pii<String>,
        release: impl FnOnce(Duration) + Send + Sync + 'static,
    ) -> Self {
        Self { trunk, destination, answered: None, release: Some(Box::new(release)) }
    }

    /// Somebody picked up.
    pub(super) fn answered(&mut self) {
        self.answered.get_or_insert_with(clock::now);
    }

    fn talk(&self) -> Duration {
        self.answered.map_or(Duration::ZERO, |at| clock::now().saturating_duration_since(at))
    }

    /// Adds what was talked to what a call used.
    pub(super) fn note(&self, usage: &mut Vec<Usage>) {
        meter::add_leg(usage, &self.trunk, &self.destination, self.talk());
    }
}

impl Drop for LegPlace {
    fn drop(&mut self) {
        let talk = self.talk();
        if let Some(release) = self.release.take() {
            release(talk);
        }
    }
}

/// Why a leg cannot be dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LegError {
    /// There is no trunk for it.
    #[error("there is no trunk that can place the call: name one in `trunk_id`")]
    NoTrunk,
    /// The trunk cannot call it.
    #[error("the destination cannot be called: {0}")]
    Destination(String),
    /// The dial limits forbid it.
    #[error("the dial limits forbid it: {0}")]
    Refused(String),
    /// The server or the trunk has no room for one more call.
    #[error("{0}")]
    Full(String),
    /// The trunk's host has no address, or no listener of ours reaches it.
    #[error("the trunk cannot be reached")]
    Unreachable,
}

/// Finds the way to a leg.
pub type LegPlanner =
    Box<dyn Fn(LegRequest) -> BoxFuture<'static, Result<LegPlan, LegError>> + Send + Sync>;

/// Who plans legs: known once there is a switchboard.
#[derive(Default)]
pub struct Legs {
    planner: OnceLock<LegPlanner>,
}

impl Legs {
    /// From now on legs are planned by this one. The first one counts.
    pub fn plan_with(&self, planner: LegPlanner) {
        let _ = self.planner.set(planner);
    }

    /// Finds the way to a leg.
    pub(super) fn plan(
        &self,
        request: LegRequest,
    ) -> BoxFuture<'static, Result<LegPlan, LegError>> {
        match self.planner.get() {
            Some(planner) => planner(request),
            None => Box::pin(std::future::ready(Err(LegError::NoTrunk))),
        }
    }
}

/// A leg on its way to being one, and what the call keeps beside it.
pub(super) enum Dialling<T> {
    /// The way to it is being found.
    Planned(BoxFuture<'static, Result<LegPlan, LegError>>),
    /// It was dialled.
    Dialled(Box<T>),
}

/// What a leg waits for.
#[expect(
    clippy::large_enum_variant,
    reason = "one value lives on the task's stack; a box would allocate for every frame"
)]
pub(super) enum LegWake {
    Planned(Result<Box<LegPlan>, LegError>),
    Media(Option<MediaEvent>),
    Redirected(Option<Redirected>),
}

/// The next thing that happens to a leg; never if there is none.
pub(super) async fn next<T: AsMut<Leg>>(slot: &mut Option<Dialling<T>>) -> LegWake {
    match slot {
        None => pending().await,
        Some(Dialling::Planned(plan)) => LegWake::Planned(plan.await.map(Box::new)),
        Some(Dialling::Dialled(held)) => {
            let leg: &mut Leg = (**held).as_mut();
            tokio::select! {
                biased;
                event = leg.stream.events.recv() => LegWake::Media(event),
                target = redirect::answered(&mut leg.redirects) => LegWake::Redirected(target),
            }
        }
    }
}

/// Our address in the SDP of a stream whose dialog we lead from `near`.
pub(super) fn signalled(stream: &Stream, media: &MediaPolicy, near: IpAddr) -> SocketAddr {
    let mut local = stream.local_rtp;
    let own = if local.ip().is_unspecified() { near } else { local.ip() };
    let advertised = media.advertised.filter(|ip| ip.is_ipv4() == own.to_canonical().is_ipv4());
    local.set_ip(advertised.unwrap_or(own));
    local
}

/// What an event of a leg's dialog means for the call.
#[derive(Debug)]
pub(super) enum LegNews {
    /// Nothing.
    None,
    /// It rings, or says why it does not yet.
    Ringing(u16),
    /// Somebody picked up.
    Answered,
    /// Nobody will.
    Failed(Box<InviteFailure>),
    /// A key, by INFO.
    Digit(char),
    /// It is over: they hung up, or the dialog broke.
    Ended,
}

/// How far a leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Dialled,
    Answered,
    Over,
}

/// A leg that was dialled. Dropping it ends it: by CANCEL before the answer, else by BYE.
pub(super) struct Leg {
    pub(super) stream: Stream,
    dialog: DialogId,
    negotiation: Negotiation,
    media: MediaPolicy,
    net: crate::net::Handle,
    stage: Stage,
    redirects: Option<Box<Redirects>>,
    /// Its audio may be heard: the answer, or early media.
    audible: bool,
    /// Given back after the dialog is told to end.
    place: LegPlace,
}

impl Leg {
    /// Sends the INVITE.
    pub(super) fn dial(
        plan: LegPlan,
        call: CallId,
        context: &CallContext,
    ) -> Result<Self, AttachError> {
        let LegPlan { mut invite, media, mut entropy, place, redirector } = plan;
        let mut stream = context.engine.attach(StreamSeed {
            call,
            media: crate::media::Config {
                initial_timeout: context.media_timeout,
                timeout: context.media_timeout,
                ..Default::default()
            },
            recording: Recording::Off,
            entropy: entropy.fork(),
        })?;
        let local = signalled(&stream, &media, invite.flow.local.ip());
        let certificate = || stream.fingerprint();
        let mut negotiation = Negotiation::new(local, &media, certificate, &mut entropy);
        invite.sdp = negotiation.make_offer();
        if negotiation.offers_dtls() {
            stream.await_handshakes();
        }
        let redirects = redirector.map(|ask| Box::new(Redirects::new(ask, (*invite).clone())));
        let leg = Self {
            stream,
            dialog: invite.dialog,
            negotiation,
            media,
            net: context.net.clone(),
            stage: Stage::Dialled,
            redirects,
            audible: false,
            place,
        };
        leg.sip(Command::Invite(invite));
        Ok(leg)
    }

    /// Adds what was talked to what a call used.
    pub(super) fn note(&self, usage: &mut Vec<Usage>) {
        self.place.note(usage);
    }

    /// Its dialog.
    pub(super) fn dialog(&self) -> DialogId {
        self.dialog
    }

    /// Whether somebody picked up.
    pub(super) fn is_answered(&self) -> bool {
        self.stage == Stage::Answered
    }

    /// Whether there is something to hear: early media, or the answer.
    pub(super) fn is_audible(&self) -> bool {
        self.audible
    }

    /// Samples a second of its frames.
    pub(super) fn rate(&self) -> SampleRate {
        self.stream.rate()
    }

    /// Takes an event of its dialog.
    pub(super) fn on_sip(&mut self, event: Event) -> LegNews {
        match event {
            Event::Progress { status, sdp, .. } => {
                if let Some(sdp) = sdp
                    && self.negotiation.receive_answer(&sdp).is_ok()
                {
                    self.configure();
                }
                LegNews::Ringing(status)
            }
            Event::Answered { sdp, .. } => self.on_answered(sdp),
            Event::Failed { failure, .. } => {
                if self.redirects.as_mut().is_some_and(|redirects| redirects.goes_on(&failure)) {
                    return LegNews::None;
                }
                self.stage = Stage::Over;
                LegNews::Failed(Box::new(failure))
            }
            Event::CommandRefused { command: "invite", .. } => {
                self.stage = Stage::Over;
                LegNews::Failed(Box::new(InviteFailure::not_placed()))
            }
            Event::Offered { offer, .. } => {
                self.on_offered(offer);
                LegNews::None
            }
            Event::Info { content_type, body, .. } => {
                super::signalling::digit_of_info(&content_type, &body)
                    .map_or(LegNews::None, LegNews::Digit)
            }
            Event::ByeReceived { .. } | Event::Terminated { .. } => {
                self.stage = Stage::Over;
                LegNews::Ended
            }
            _ => LegNews::None,
        }
    }

    /// A target of a redirect was checked.
    pub(super) fn on_redirected(&mut self, target: Option<Redirected>) -> LegNews {
        match self.redirects.as_mut().map(|redirects| redirects.checked(target)) {
            Some(Next::Invite(invite)) => self.sip(Command::Invite(invite)),
            Some(Next::Failed(failure)) => {
                self.stage = Stage::Over;
                return LegNews::Failed(failure);
            }
            Some(Next::Wait) | None => {}
        }
        LegNews::None
    }

    fn on_answered(&mut self, sdp: Option<Bytes>) -> LegNews {
        self.stage = Stage::Answered;
        self.place.answered();
        self.redirects = None;
        let agreed = match sdp {
            Some(sdp) => self.negotiation.receive_answer(&sdp).is_ok(),
            None => self.negotiation.is_complete(),
        };
        if !agreed {
            // BYE, which says why; the call hears of it as of any other end.
            self.bye(88);
            return LegNews::Ended;
        }
        self.configure();
        LegNews::Answered
    }

    fn on_offered(&mut self, offer: Option<Bytes>) {
        let changed = offer.is_some();
        let answer = match offer {
            Some(offer) => self
                .negotiation
                .receive_offer(&offer)
                .map(|()| self.negotiation.local_description())
                .map_err(rejection_of),
            None => Ok(self.negotiation.make_offer()),
        };
        let accepted = answer.is_ok();
        self.sip(Command::AnswerOffer { dialog: self.dialog, answer });
        if accepted && changed {
            self.configure();
        }
    }

    fn configure(&mut self) {
        if let Some(format) = self.negotiation.format(self.media.source_policy) {
            self.audible = true;
            self.command(MediaCommand::Configure(format));
        }
    }

    /// One key, by the way of its trunk.
    pub(super) fn send_digit(&mut self, digit: u8, duration_ms: u16, gap_ms: u16) {
        if self.media.dtmf == DtmfWay::Info {
            self.sip(info_of(self.dialog, digit, (duration_ms, gap_ms)));
        } else {
            self.command(MediaCommand::SendDigit { digit, duration_ms, gap_ms });
        }
    }

    /// Tells its stream.
    pub(super) fn command(&mut self, command: MediaCommand) {
        if self.stream.command(command).is_err() {
            metrics::queue_full("media_command");
        }
    }

    fn sip(&self, command: Command) {
        // A driver that takes nothing is gone, and so is the call itself.
        let _ = self.net.command(command);
    }

    fn bye(&mut self, cause: u8) {
        self.stage = Stage::Over;
        let reason = Some(format!("Q.850;cause={cause}"));
        self.sip(Command::Bye { dialog: self.dialog, reason, headers: Vec::new() });
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        match self.stage {
            Stage::Dialled => self.sip(Command::Cancel { dialog: self.dialog }),
            Stage::Answered => self.bye(end::q850_of_end(crate::types::EndReason::Transferred)),
            Stage::Over => {}
        }
    }
}
