//! One leg: our number, its dialog and the one state it is in. Data only; what happens in a state is
//! in [`super::invite_uas`], [`super::invite_uac`], [`super::reoffer`] and [`super::in_dialog`].

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::auth::Auth;
use super::craft::Frame;
use super::dialog::Dialog;
use super::event::{DialogId, InviteFailure, InviteFailureCause, OutgoingInvite, Rejection};
use super::failover::Left;
use super::info::Infos;
use super::msg::{Method, Request};
use super::policy::CallPolicy;
use super::refer::Refer;
use super::referred::{Leaving, Referred};
use super::reliable::Provisional;
use super::session_timer::{SessionTimer, Wish};
use super::transaction::{Backoff, Sent, TxnId, earlier};

/// One leg of a call.
#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) id: DialogId,
    pub(crate) dialog: Dialog,
    /// How challenges are answered; `None` without credentials.
    pub(crate) auth: Option<Auth>,
    pub(crate) policy: CallPolicy,
    /// The session timer, if one was agreed.
    pub(crate) timer: Option<SessionTimer>,
    /// Whether the other side takes UPDATE.
    pub(crate) takes_update: bool,
    /// Our last description that stands.
    pub(crate) local_sdp: Bytes,
    /// Further headers of our BYE.
    pub(crate) farewell: Vec<(String, String)>,
    /// RSeq of our last reliable response; 0: none, or the INVITE has no final response yet.
    pub(crate) rseq: u32,
    /// INFOs of ours.
    pub(crate) infos: Infos,
    pub(crate) state: State,
}

/// Where a leg stands.
#[derive(Debug)]
pub(crate) enum State {
    /// Incoming, no final response sent.
    Incoming(Incoming),
    /// Incoming, our 200 waits for its ACK. RFC 3261 section 15: the callee sends no BYE before it.
    AwaitingAck { unacked: Unacked, hang_up: HangUp },
    /// Outgoing, no final response received.
    Calling(Box<Calling>),
    /// Both sides know the dialog.
    Confirmed(Box<Confirmed>),
    /// Our BYE waits for its final response.
    Closing(Announce),
}

/// Whether a BYE was asked for that must not go out yet.
#[derive(Debug)]
pub(crate) enum HangUp {
    No,
    AfterAck { reason: Option<String> },
}

/// What is said when the leg is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announce {
    /// `Terminated`.
    Terminated,
    /// Nothing: `Failed` was said already.
    Nothing,
}

/// What becomes of a leg after something was handled.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It goes on.
    Keep,
    /// It is over: `Terminated`, then forgotten.
    Over,
    /// The outgoing INVITE came to nothing: `Failed`, then forgotten.
    Failed(InviteFailure),
    /// Forgotten without a word, which was said before.
    Silent,
}

/// An INVITE of theirs without final response.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) txn: TxnId,
    pub(crate) invite: Arc<Request>,
    pub(crate) until: Instant,
    pub(crate) provisional: Provisional,
}

/// A 200 of ours to an INVITE, repeated until its ACK (section 13.3.1.4).
#[derive(Debug)]
pub(crate) struct Unacked {
    pub(crate) cseq: u32,
    pub(crate) response: Sent,
    pub(crate) repeat: Backoff,
    pub(crate) until: Instant,
    pub(crate) offered: Offered,
}

/// Who made the offer of an INVITE exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// The INVITE had it; our 200 has the answer.
    ByThem,
    /// The INVITE had none; our 200 has it, their ACK the answer.
    ByUs,
}

/// An INVITE of ours without final response.
#[derive(Debug)]
pub(crate) struct Calling {
    pub(crate) txn: TxnId,
    pub(crate) invite: OutgoingInvite,
    /// The INVITE as last sent, for its ACK and CANCEL.
    pub(crate) sent: Frame,
    /// Challenges answered so far.
    pub(crate) challenges: u8,
    /// The session timer asked for, and how often it was raised after 422.
    pub(crate) wish: Wish,
    pub(crate) raises: u8,
    pub(crate) phase: Phase,
    /// Early dialogs heard of, the one that spoke last at the end.
    pub(crate) forks: Vec<Fork>,
    pub(crate) ring_until: Instant,
    /// While there is another target: when it is tried if nothing was heard.
    pub(crate) unheard_until: Option<Instant>,
}

/// An early dialog of an INVITE of ours (RFC 3261 section 12.1).
#[derive(Debug)]
pub(crate) struct Fork {
    pub(crate) tag: String,
    /// RSeq of its last reliable response; 0: none.
    pub(crate) rseq: u32,
    /// Its newest early SDP.
    pub(crate) early: Option<Bytes>,
}

/// How far an outgoing INVITE is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Nothing heard.
    Unheard,
    /// Nothing heard, and a CANCEL waits for the first provisional response (section 9.1).
    CancelHeld(InviteFailureCause),
    /// A provisional response came.
    Heard,
    /// CANCEL is sent; the final response should be 487. After `until` we stop waiting.
    Canceling { cause: InviteFailureCause, until: Instant },
}

/// What goes on in a dialog both sides know.
#[derive(Debug, Default)]
pub(crate) struct Confirmed {
    pub(crate) session: Session,
    pub(crate) refer: Option<Refer>,
    /// A REFER of theirs.
    pub(crate) referred: Option<Referred>,
    /// A BYE of ours that waits.
    pub(crate) leaving: Option<Leaving>,
}

/// The offer/answer exchange going on, if any: one at a time (RFC 3264 section 4).
#[derive(Debug, Default)]
pub(crate) enum Session {
    #[default]
    Idle,
    /// A re-INVITE or UPDATE of theirs waits for our side.
    TheyAsk { txn: TxnId, request: Arc<Request>, until: Instant },
    /// Our 200 to their re-INVITE waits for its ACK.
    Unacked(Unacked),
    /// Our re-INVITE waits for its final response.
    WeAsk { sdp: Bytes, ask: Ask },
    /// Our re-INVITE met theirs (491) and is tried again.
    Glare { sdp: Bytes, ask: Ask, at: Instant, tries: u8 },
}

/// What a re-INVITE of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// A new offer.
    Offer,
    /// The session timer: our last description again.
    Refresh,
}

/// What a request of ours within the dialog says; kept to say it again with credentials.
#[derive(Clone, Debug)]
pub(crate) struct InDialog {
    pub(crate) method: Method,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<(String, Bytes)>,
    /// Challenges answered so far.
    pub(crate) challenges: u8,
    /// 491 answers so far.
    pub(crate) glares: u8,
}

/// A request of ours within the dialog, as it went out.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) request: InDialog,
    pub(crate) frame: Frame,
}

/// Whose a client transaction is.
#[derive(Clone, Debug)]
pub(crate) enum Owner {
    /// The INVITE that made the leg.
    Invite(DialogId),
    /// A PRACK before the final response to our INVITE.
    Prack(DialogId, Arc<Asked>),
    /// A CANCEL, or the BYE for a fork we do not want: its answer changes nothing.
    Nobody,
    /// An INVITE that was sent to its next target meanwhile.
    Left(Arc<Left>),
    /// A REGISTER.
    Register(DialogId),
    /// An OPTIONS outside any dialog.
    Ping(DialogId),
    /// A request within the leg's dialog.
    InDialog(DialogId, Arc<Asked>),
}

impl Leg {
    pub(crate) fn new(
        id: DialogId,
        dialog: Dialog,
        auth: Option<Auth>,
        policy: CallPolicy,
        state: State,
    ) -> Self {
        let (takes_update, local_sdp) = (false, Bytes::new());
        Self {
            id,
            dialog,
            auth,
            policy,
            timer: None,
            takes_update,
            local_sdp,
            farewell: Vec::new(),
            rseq: 0,
            infos: Infos::default(),
            state,
        }
    }

    /// When something is due that no transaction takes care of.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        match &self.state {
            State::Incoming(incoming) => {
                earlier(Some(incoming.until), incoming.provisional.next_wake())
            }
            State::AwaitingAck { unacked, .. } => {
                earlier(unacked.next_wake(), self.infos.next_wake())
            }
            State::Calling(calling) => match &calling.phase {
                Phase::Unheard => earlier(Some(calling.ring_until), calling.unheard_until),
                Phase::Heard => Some(calling.ring_until),
                Phase::CancelHeld(_) => None,
                Phase::Canceling { until, .. } => Some(*until),
            },
            State::Confirmed(confirmed) => {
                let session = match &confirmed.session {
                    Session::Idle | Session::WeAsk { .. } => None,
                    Session::TheyAsk { until, .. } => Some(*until),
                    Session::Unacked(unacked) => unacked.next_wake(),
                    Session::Glare { at, .. } => Some(*at),
                };
                let refer = confirmed.refer.as_ref().and_then(Refer::next_wake);
                let timer = self.timer.as_ref().and_then(SessionTimer::next_wake);
                let own = earlier(earlier(session, refer), timer);
                earlier(earlier(own, confirmed.referred_wake()), self.infos.next_wake())
            }
            State::Closing(_) => None,
        }
    }
}

impl Unacked {
    fn next_wake(&self) -> Option<Instant> {
        earlier(Some(self.repeat.due), Some(self.until))
    }
}

/// A failure without any response.
pub(crate) fn failure(cause: InviteFailureCause) -> InviteFailure {
    let contacts = Vec::new();
    InviteFailure { status: None, reason_phrase: None, q850_cause: None, contacts, cause }
}

/// A refusal with Retry-After.
pub(crate) fn later(status: u16, retry_after_s: u32) -> Rejection {
    Rejection { retry_after_s: Some(retry_after_s), ..Rejection::status(status) }
}
