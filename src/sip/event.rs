//! What goes into the SIP user agent and what comes out of it. Closed sets; bytes and times only.

use std::net::SocketAddr;

use bytes::Bytes;

use super::config::TrunkAccess;
use super::policy::CallPolicy;
use super::referred::Referral;
use super::register::{Register, Registered};
use crate::types::{Pii, Secret, SipIdentity, TrunkName};

/// Transport protocol of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words of RFC 3261 section 18")]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// The word of a `transport` parameter (RFC 3261 section 25.1).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// The protocol of a `transport` parameter; `None`: not one of ours.
    pub fn named(word: &str) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls]
            .into_iter()
            .find(|one| word.eq_ignore_ascii_case(one.as_str()))
    }

    /// Where a peer listens that names no port (RFC 3261 section 19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5_060,
            Self::Tls => 5_061,
        }
    }

    /// Whether messages travel on connections.
    pub fn is_stream(self) -> bool {
        !matches!(self, Self::Udp)
    }
}

/// The name that the peer of a TLS connection must prove, as a number that the driver gave it: two names at one
/// address are two connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerName(pub u32);

impl PeerName {
    /// None: the peer came to us, or the transport is not TLS. A connection that is opened so must prove its address.
    pub const NONE: Self = Self(0);
}

/// One transport path. For TCP and TLS the driver opens the connection if there is none to `remote`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Protocol.
    pub transport: Transport,
    /// Our address: of the listener for UDP, of the connection (or port 0 for "any") otherwise.
    pub local: SocketAddr,
    /// Theirs.
    pub remote: SocketAddr,
    /// Who they must prove to be.
    pub name: PeerName,
}

impl Flow {
    /// A path on which nobody has to prove a name.
    pub fn new(transport: Transport, local: SocketAddr, remote: SocketAddr) -> Self {
        Self { transport, local, remote, name: PeerName::NONE }
    }
}

/// Our own number for a dialog (one leg of a call), unique in the process.
/// Inbound dialogs are numbered by the agent; outbound ones by the caller through [`DialogId::outbound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialogId(pub u64);

impl DialogId {
    /// A number for an outbound dialog: the top bit keeps the two number spaces apart.
    pub fn outbound(n: u64) -> Self {
        Self(n | 1 << 63)
    }
}

/// Something for the user agent to handle.
#[derive(Debug)]
pub enum Input {
    /// One whole message (or what claims to be one) as a datagram or cut from a stream by [`super::stream::Framer`].
    Message {
        /// How it came.
        flow: Flow,
        /// Its octets, unchanged.
        bytes: Bytes,
    },
    /// A TCP or TLS connection ended or could not be opened.
    FlowFailed {
        /// Which.
        flow: Flow,
    },
    /// ICMP says that a datagram of ours came to nobody (RFC 3261 section 18.4).
    Undeliverable {
        /// Whom it was for.
        remote: SocketAddr,
        /// How it began, as far as the ICMP message quotes it.
        quote: Bytes,
    },
    /// Our side wants something.
    Command(Command),
    /// A timer of `next_wake` is due.
    Timeout,
}

/// What our side asks of the user agent. A command for a dialog in the wrong state is answered by
/// [`Event::CommandRefused`], never by silence.
#[derive(Debug)]
pub enum Command {
    /// Place a call.
    Invite(Box<OutgoingInvite>),
    /// Send 180 (no body) or 183 (with SDP) on an incoming call.
    Ring {
        /// Which.
        dialog: DialogId,
        /// Early media, if any.
        sdp: Option<Bytes>,
    },
    /// Answer an incoming call with 200: the answer, or our offer if the INVITE had none.
    Accept {
        /// Which.
        dialog: DialogId,
        /// Body.
        sdp: Bytes,
    },
    /// Refuse an incoming call.
    Reject {
        /// Which.
        dialog: DialogId,
        /// Status and extra headers.
        rejection: Rejection,
    },
    /// Give up an outgoing call that is not answered.
    Cancel {
        /// Which.
        dialog: DialogId,
    },
    /// Hang up an answered call; on an unanswered one this cancels or rejects.
    Bye {
        /// Which.
        dialog: DialogId,
        /// Value of a Reason header (RFC 3326), for example `Q.850;cause=16`.
        reason: Option<String>,
        /// Further headers of a BYE, checked.
        headers: Vec<(String, String)>,
    },
    /// Send a re-INVITE with this offer.
    Reoffer {
        /// Which.
        dialog: DialogId,
        /// Body.
        sdp: Bytes,
    },
    /// Answer an [`Event::Offered`].
    AnswerOffer {
        /// Which.
        dialog: DialogId,
        /// Body of the 200, or the refusal.
        answer: Result<Bytes, Rejection>,
    },
    /// Ask the other side to call `target` instead (blind transfer, RFC 3515).
    Refer {
        /// Which.
        dialog: DialogId,
        /// SIP or tel URI; of no meaning with `replaces`.
        target: String,
        /// Let the other side take our place in this dialog instead (RFC 5589 section 7).
        replaces: Option<DialogId>,
        /// Value of Referred-By (RFC 3892), if wanted.
        referred_by: Option<String>,
        /// Further headers, in order; one with a CR or LF refuses the command.
        headers: Vec<(String, String)>,
    },
    /// Answer an [`Event::Referred`]: 202, or the refusal.
    AnswerRefer {
        /// Which.
        dialog: DialogId,
        /// Whether it is followed.
        answer: Result<(), Rejection>,
    },
    /// Tell whoever sent the REFER how far the call to its target is. A final status ends it.
    NotifyRefer {
        /// Which.
        dialog: DialogId,
        /// 101 to 699.
        status: u16,
    },
    /// Send INFO with this body, once those before it have their final response.
    Info {
        /// Which.
        dialog: DialogId,
        /// Content-Type.
        content_type: String,
        /// Body.
        body: Bytes,
        /// How long after it the next may leave at the soonest.
        spacing: std::time::Duration,
    },
    /// From now on let in requests outside a dialog from these peers only. Dialogs that exist go on.
    SetTrunks(Vec<TrunkAccess>),
    /// Send REGISTER; [`Event::Registered`] tells what came.
    Register(Box<Register>),
    /// Send OPTIONS outside any dialog; [`Event::Pinged`] tells what came.
    Ping(Box<Ping>),
    /// From now on refuse new dialogs with 503 and answer OPTIONS with 503.
    Drain,
}

/// A call to place.
#[derive(Clone, Debug)]
pub struct OutgoingInvite {
    /// Our number for it.
    pub dialog: DialogId,
    /// Its Call-ID, a word nobody can guess; `None`: one is made.
    pub call_id: Option<String>,
    /// Where the first packet goes: the trunk's resolved address or its outbound proxy.
    pub flow: Flow,
    /// Where it goes if nobody is there, in order.
    pub others: Vec<Flow>,
    /// Request-URI, for example `sip:+15550100@trunk.example`.
    pub request_uri: String,
    /// Whole From value without tag: display name and URI.
    pub from: String,
    /// Whole To value.
    pub to: String,
    /// Route header values to put in, outbound proxy first.
    pub route: Vec<String>,
    /// Body: our offer; empty for a delayed offer.
    pub sdp: Bytes,
    /// Answer to 401 and 407.
    pub credentials: Option<Credentials>,
    /// Further headers, in order; names and values already checked for CR and LF.
    pub headers: Vec<(String, String)>,
    /// How the trunk's dialogs are led.
    pub policy: CallPolicy,
    /// Give up (CANCEL) when nobody answered after this long.
    pub ring_timeout: std::time::Duration,
}

/// An OPTIONS to send.
#[derive(Debug)]
pub struct Ping {
    /// Our number for it, as for an outbound dialog.
    pub id: DialogId,
    /// Where it goes.
    pub flow: Flow,
    /// Request-URI and To.
    pub uri: String,
    /// Whole From value without tag.
    pub from: String,
    /// Route header values to put in.
    pub route: Vec<String>,
}

/// User name and password of a trunk.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
}

/// A refusal with what the RFC wants beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// 300 to 699.
    pub status: u16,
    /// Reason phrase; empty: the RFC's.
    pub reason: String,
    /// Retry-After in seconds.
    pub retry_after_s: Option<u32>,
    /// Text of a Warning header with this code (RFC 3261 section 20.43), for example 304 or 305.
    pub warning: Option<(u16, String)>,
}

impl Rejection {
    /// A bare status with the RFC's reason phrase.
    pub fn status(status: u16) -> Self {
        Self { status, reason: String::new(), retry_after_s: None, warning: None }
    }
}

/// Everything the switchboard needs to decide on an incoming call.
#[derive(Clone, Debug)]
pub struct InviteFacts {
    /// How it came.
    pub flow: Flow,
    /// Trunk whose allowed networks or credentials matched.
    pub trunk: Option<TrunkName>,
    /// Call-ID.
    pub sip_call_id: String,
    /// Request-URI, whole.
    pub request_uri: Pii<String>,
    /// User part of the Request-URI (or number of a tel URI), unescaped; empty if none.
    pub request_user: Pii<String>,
    /// User part of To.
    pub to_user: Pii<String>,
    /// User part of From, or of P-Asserted-Identity when the trunk sends one.
    pub from_user: Pii<String>,
    /// Display name of From.
    pub from_display: Option<Pii<String>>,
    /// User-Agent or Server of the other side.
    pub user_agent: Option<String>,
    /// Carrier's own call identifier (`X-Twilio-CallSid` and the like).
    pub provider_call_id: Option<String>,
    /// Further headers that begin with `X-`, at most 32, in order.
    pub x_headers: Vec<(String, String)>,
    /// The call of ours that this one takes the place of (RFC 3891); whether it may is not decided yet.
    pub replaces: Option<DialogId>,
    /// Who the caller is said to be, and the way of the call. Its `headers` are empty: see `x_headers`.
    pub identity: SipIdentity,
    /// Whether provisional responses must be reliable: `Require: 100rel` (RFC 3262).
    pub needs_reliable: bool,
}

/// What the user agent tells the rest of the server.
#[derive(Debug)]
pub enum Event {
    /// A new call that passed every check of the protocol; 100 is sent or due.
    Incoming {
        /// Its number from now on.
        dialog: DialogId,
        /// What is known.
        facts: Box<InviteFacts>,
        /// SDP offer; `None` for a delayed offer (our 200 must carry one).
        offer: Option<Bytes>,
    },
    /// The caller gave up before we answered; 487 is sent.
    Canceled {
        /// Which.
        dialog: DialogId,
        /// Reason header, if any.
        reason: Option<String>,
    },
    /// ACK came for our 200. `answer` is its body when our 200 carried the offer.
    Established {
        /// Which.
        dialog: DialogId,
        /// SDP answer.
        answer: Option<Bytes>,
    },
    /// No ACK for our 200 within 64*T1; BYE is sent, the dialog is over.
    AckTimedOut {
        /// Which.
        dialog: DialogId,
    },
    /// 101 to 199 on our INVITE; SDP means early media.
    Progress {
        /// Which.
        dialog: DialogId,
        /// Status.
        status: u16,
        /// Early SDP.
        sdp: Option<Bytes>,
        /// The carrier's identifier of the call, if it sent one.
        provider_call_id: Option<String>,
    },
    /// 2xx on our INVITE; ACK is sent. `sdp` is the answer (or the last early one if the 200 had none).
    Answered {
        /// Which.
        dialog: DialogId,
        /// Answer.
        sdp: Option<Bytes>,
        /// The carrier's identifier of the call, if it sent one.
        provider_call_id: Option<String>,
    },
    /// Our INVITE failed: nothing further comes for this dialog.
    Failed {
        /// Which.
        dialog: DialogId,
        /// Why.
        failure: InviteFailure,
    },
    /// A re-INVITE or UPDATE with an offer, or (offer `None`) a re-INVITE that wants ours in the 200:
    /// answer with [`Command::AnswerOffer`].
    Offered {
        /// Which.
        dialog: DialogId,
        /// Their offer.
        offer: Option<Bytes>,
    },
    /// Answer to our [`Command::Reoffer`], or ACK's body after we offered in a 200 to a re-INVITE.
    OfferAnswered {
        /// Which.
        dialog: DialogId,
        /// Their answer, or the status that refused ours (the old session goes on).
        answer: Result<Bytes, u16>,
    },
    /// A re-INVITE of ours repeated our last description for the session timer; this is their answer to it.
    Refreshed {
        /// Which.
        dialog: DialogId,
        /// Their answer, as a rule what they said before.
        answer: Bytes,
    },
    /// The session timer ended the call; BYE is sent, the dialog is over.
    SessionExpired {
        /// Which.
        dialog: DialogId,
        /// Why.
        why: SessionEnd,
    },
    /// INFO with a body we understand (DTMF) or not.
    Info {
        /// Which.
        dialog: DialogId,
        /// Content-Type.
        content_type: String,
        /// Body.
        body: Bytes,
    },
    /// They ask us to call somebody in their place: answer with [`Command::AnswerRefer`].
    Referred {
        /// Which.
        dialog: DialogId,
        /// Whom, and how.
        referral: Box<Referral>,
    },
    /// Progress of our REFER.
    ReferProgress {
        /// Which.
        dialog: DialogId,
        /// What.
        progress: ReferProgress,
    },
    /// The other side hung up.
    ByeReceived {
        /// Which.
        dialog: DialogId,
        /// Reason header, if any.
        reason: Option<String>,
    },
    /// The dialog is over and forgotten: the last event of every dialog that got past `Incoming` or `Invite`.
    Terminated {
        /// Which.
        dialog: DialogId,
    },
    /// A target of our INVITE did not answer, or said 503; the call may go on with the next.
    TargetFailed {
        /// Which.
        dialog: DialogId,
        /// The target.
        flow: Flow,
    },
    /// What became of a [`Command::Register`].
    Registered {
        /// Its number.
        dialog: DialogId,
        /// What the registrar said.
        outcome: Box<Registered>,
    },
    /// What became of a [`Command::Ping`].
    Pinged {
        /// Its number.
        dialog: DialogId,
        /// Final status; `None` if none came.
        status: Option<u16>,
        /// Where the peer saw us (RFC 3581), if it said.
        seen: Option<SocketAddr>,
    },
    /// A command came too late or at the wrong time.
    CommandRefused {
        /// Which.
        dialog: DialogId,
        /// Name of the command.
        command: &'static str,
    },
}

impl Event {
    /// Whose it is.
    pub fn dialog(&self) -> DialogId {
        match self {
            Self::Incoming { dialog, .. }
            | Self::Canceled { dialog, .. }
            | Self::Established { dialog, .. }
            | Self::AckTimedOut { dialog }
            | Self::Progress { dialog, .. }
            | Self::Answered { dialog, .. }
            | Self::Failed { dialog, .. }
            | Self::Offered { dialog, .. }
            | Self::OfferAnswered { dialog, .. }
            | Self::Refreshed { dialog, .. }
            | Self::SessionExpired { dialog, .. }
            | Self::Info { dialog, .. }
            | Self::Referred { dialog, .. }
            | Self::ReferProgress { dialog, .. }
            | Self::ByeReceived { dialog, .. }
            | Self::Terminated { dialog }
            | Self::TargetFailed { dialog, .. }
            | Self::Registered { dialog, .. }
            | Self::Pinged { dialog, .. }
            | Self::CommandRefused { dialog, .. } => *dialog,
        }
    }
}

/// Why an outgoing INVITE came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteFailure {
    /// Final status; `None` if nothing final came.
    pub status: Option<u16>,
    /// Reason phrase.
    pub reason_phrase: Option<String>,
    /// Q.850 cause of a Reason header.
    pub q850_cause: Option<u8>,
    /// Contacts of a 3xx, at most [`super::REDIRECTS_MAX`], the most wanted first.
    pub contacts: Vec<String>,
    /// Whose doing.
    pub cause: InviteFailureCause,
}

impl InviteFailure {
    /// The user agent took no INVITE: it holds as many dialogs as it may.
    pub fn not_placed() -> Self {
        let refused = super::leg::failure(InviteFailureCause::Refused);
        Self { status: Some(503), ..refused }
    }
}

/// Whose doing a failed INVITE is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteFailureCause {
    /// The other side answered with a final status.
    Refused,
    /// We canceled by command.
    Canceled,
    /// Our ring timeout canceled it.
    RingTimeout,
    /// Timer B: nothing was heard at all.
    NoResponse,
    /// The transport failed.
    Transport,
    /// Digest was refused again after valid credentials, or none are configured.
    Auth,
}

/// Why the session timer ended a call (RFC 4028 section 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// Whoever had to refresh the session did not.
    NotRefreshed,
    /// Our refresh was answered 408 or 481, or not at all.
    RefreshFailed,
}

/// What became of a REFER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferProgress {
    /// 202 (or 2xx).
    Accepted,
    /// NOTIFY with this status line in its sipfrag.
    Notified(u16),
    /// The REFER itself was refused, or it timed out.
    Refused(Option<u16>),
    /// The other side's BYE came before any final NOTIFY: taken for success when the REFER was accepted.
    EndedByBye,
    /// No final NOTIFY within the limit.
    NoNotify,
}

/// What the shell must do, in order.
#[derive(Debug)]
pub enum Output {
    /// Send these octets.
    Transmit {
        /// Where.
        flow: Flow,
        /// What.
        bytes: Bytes,
    },
    /// Tell the switchboard.
    Event(Event),
    /// A source was refused: tell whoever bans addresses.
    Refused(super::gate::Notice),
    /// Something was ignored: count it under this label (`sip_rejected_total{reason}`).
    Counted(&'static str),
}
