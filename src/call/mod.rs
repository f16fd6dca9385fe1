//! One call's life in one task.
//!
//! All mutable state of a call belongs to its [`session::Session`]; everybody else holds a
//! [`CallHandle`]. The session only turns the crank: what to do is decided by `turn::Machine`, by
//! `sip::Agent` and by the media stream. A panic in one call ends that call, never the process.

pub mod agent;
mod answering;
pub mod breaker;
mod bridge;
pub mod clip;
pub mod command;
mod control;
mod early;
mod effects;
pub mod end;
mod feed;
mod finish;
mod fixed;
pub mod journal;
mod keys;
pub mod leg;
mod listen;
mod live;
pub mod negotiate;
mod opening;
pub mod playback;
mod quality;
pub mod recorder;
pub mod redirect;
pub mod session;
mod signalling;
mod successor;
mod supervise;
mod tools;
mod transfer;
mod turn_ear;
pub mod voice;

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use agent::{
    AgentFacts, AgentSnapshot, FallbackVoice, Fallbacks, RealtimeRoute, RecordingPolicy,
};
pub use answering::{AnsweringPolicy, MachineAction};
pub use command::{
    CallCommand, CommandError, CommandRequest, MuteState, MuteTarget, SupervisorMode, TransferMode,
};
pub use early::EarlyMedia;
pub use fixed::FixedSpeech;
pub use journal::EventBus;
pub use listen::ListenerPcm;
pub use live::Live;
pub use recorder::{Heard, Listener};
pub use voice::cache::Occasion;
pub use voice::{TtsCache, TtsCacheConfig, WatchdogConfig};

pub use crate::turn::ledger::percentiles;

use crate::media::SourcePolicy;
use crate::sip::{self, DialogId, InviteFacts, OutgoingInvite};
use crate::types::{
    AgentId, CallId, CallRecord, CodecName, Direction, EndReason, Entropy, Pii, TrunkName,
};

/// SIP events that may wait for a call: a dialog makes a handful in a minute.
pub const SIP_EVENT_QUEUE: usize = 32;

/// Limits and waits of every call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallConfig {
    /// How long an inbound call rings at most while the voice is being opened, milliseconds.
    pub answer_wait_ms: u64,
    /// Seconds an outbound call rings before it is canceled, unless the request says otherwise.
    pub ring_timeout_seconds: u32,
    /// How long the webhook `agent.request` may take, milliseconds; then the number's own agent answers.
    pub agent_request_timeout_ms: u64,
    /// Commands that one call takes in a minute; 0: any number.
    pub commands_per_minute: u32,
    /// Directory of the WAV files that `play` and `hold` can play.
    pub media_dir: PathBuf,
    /// When the watchdogs step in.
    pub watchdog: WatchdogConfig,
}

impl Default for CallConfig {
    fn default() -> Self {
        Self {
            answer_wait_ms: 1_500,
            ring_timeout_seconds: 60,
            agent_request_timeout_ms: 5_000,
            commands_per_minute: 60,
            media_dir: PathBuf::from("media"),
            watchdog: WatchdogConfig::default(),
        }
    }
}

/// Finds an agent as it stands now.
pub type AgentLookup =
    Arc<dyn Fn(&CallRecord, &AgentId) -> Option<Arc<AgentSnapshot>> + Send + Sync>;

/// The services every call uses.
pub struct CallContext {
    /// SIP.
    pub net: crate::net::Handle,
    /// Media threads.
    pub engine: crate::engine::Handle,
    /// Records.
    pub store: crate::store::Writer,
    /// Live events.
    pub bus: EventBus,
    /// Recordings.
    pub recorder: recorder::Handle,
    /// Prices and budgets.
    pub accounts: Arc<crate::usage::Accounts>,
    /// Where calls may go.
    pub dial: Arc<crate::usage::DialGuard>,
    /// What voices said before.
    pub voices: Arc<TtsCache>,
    /// Hears whether a caller's turn is over.
    pub turn_model: Option<Arc<crate::providers::turn_model::EndOfTurn>>,
    /// Which providers are left alone for now.
    pub breakers: Arc<breaker::Breakers>,
    /// Limits and waits.
    pub config: CallConfig,
    /// Asks the servers of tools.
    pub tools: crate::tools::Runner,
    /// Finds the agent that a call is handed to.
    pub agents: AgentLookup,
    /// Finds the way to second legs.
    pub legs: leg::Legs,
    /// Neither RTP nor RTCP for this long ends a call; does not run on hold.
    pub media_timeout: Duration,
}

/// What a trunk says about media.
#[derive(Clone, Debug)]
pub struct MediaPolicy {
    /// Codecs in order of preference.
    pub codecs: Vec<CodecName>,
    /// Whether audio is encrypted.
    pub srtp: crate::types::SrtpPolicy,
    /// How our offers hand keys over.
    pub keying: crate::types::SrtpKeying,
    /// How keys are sent.
    pub dtmf: DtmfWay,
    /// Whose packets are taken.
    pub source_policy: SourcePolicy,
    /// Address in our SDP; `None`: the one the media socket is bound to.
    pub advertised: Option<IpAddr>,
}

/// How keys are sent to a trunk. They are understood in every way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DtmfWay {
    /// Telephone events (RFC 4733), tones in the voice band where the peer has none.
    #[default]
    Events,
    /// INFO requests (`application/dtmf-relay`).
    Info,
    /// Tones in the voice band, whatever the peer has.
    Tones,
}

/// How the calls of a trunk are led.
#[derive(Clone, Default)]
pub struct TrunkRules {
    /// What a caller hears before the answer.
    pub early_media: EarlyMedia,
    /// Headers of a command's own that may leave: names, `*` at the end for any rest.
    pub headers_out: Vec<String>,
    /// Finds where a redirected call goes on; `None`: a redirect is the end of it.
    pub redirector: Option<redirect::Redirector>,
}

/// How a call came to be.
#[derive(Debug)]
pub enum Origin {
    /// A human called.
    Inbound {
        /// What the INVITE said.
        facts: Box<InviteFacts>,
        /// Their offer; `None`: ours goes into the 200.
        offer: Option<Bytes>,
    },
    /// We call a human; the session fills in the offer.
    Outbound {
        /// The INVITE without body.
        invite: Box<OutgoingInvite>,
        /// Told when the INVITE is out; dropped if there will be none.
        sent: oneshot::Sender<()>,
    },
}

impl Origin {
    /// Our address on the way to the other side.
    fn local_ip(&self) -> IpAddr {
        match self {
            Self::Inbound { facts, .. } => facts.flow.local.ip(),
            Self::Outbound { invite, .. } => invite.flow.local.ip(),
        }
    }

    /// Their offer, if they have made one.
    fn offer(&self) -> Option<&Bytes> {
        match self {
            Self::Inbound { offer, .. } => offer.as_ref(),
            Self::Outbound { .. } => None,
        }
    }
}

/// Everything a new call needs.
pub struct CallSeed {
    /// Its dialog.
    pub dialog: DialogId,
    /// The record as far as it is known.
    pub record: CallRecord,
    /// Its agent.
    pub agent: Arc<AgentSnapshot>,
    /// Its trunk's media policy.
    pub media: MediaPolicy,
    /// How its trunk's calls are led.
    pub rules: TrunkRules,
    /// How it came to be.
    pub origin: Origin,
    /// Randomness for its stream.
    pub entropy: Entropy,
}

/// A call as others see it. Dropping every handle does not end the call.
#[derive(Clone, Debug)]
pub struct CallHandle {
    /// Identifier.
    pub id: CallId,
    /// SIP dialog.
    pub dialog: DialogId,
    /// Who placed it.
    pub direction: Direction,
    /// Trunk, for limits and lists.
    pub trunk: Option<TrunkName>,
    /// Remote party, for lists.
    pub remote: Pii<String>,
    sip: mpsc::Sender<sip::Event>,
    commands: mpsc::Sender<CommandRequest>,
    shutdown: CancellationToken,
    shown: Arc<live::Shown>,
}

impl CallHandle {
    /// Gives the call an event of its dialog. A call that does not take its events any more is
    /// stuck, and is ended.
    pub fn sip_event(&self, event: sip::Event) {
        if self.sip.try_send(event).is_err() && !self.sip.is_closed() {
            crate::telemetry::metrics::queue_full("call_sip");
            self.shutdown.cancel();
        }
    }

    /// Asks the call to do something.
    ///
    /// # Errors
    /// When the call is not in the state for it, is over, or has too many commands waiting.
    pub async fn command(
        &self,
        command_id: String,
        command: CallCommand,
    ) -> Result<(), CommandError> {
        let (reply, answer) = oneshot::channel();
        let request = CommandRequest { command_id, command, reply };
        self.commands.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CommandError::Busy,
            mpsc::error::TrySendError::Closed(_) => CommandError::NotActive,
        })?;
        answer.await.unwrap_or(Err(CommandError::NotActive))
    }

    /// Its dialog as of now: another party may have taken the place of the first.
    pub fn dialog(&self) -> DialogId {
        self.shown.dialog().unwrap_or(self.dialog)
    }

    /// What it is doing right now.
    pub fn live(&self) -> Live {
        self.shown.look()
    }

    /// Ends the call because the server stops.
    pub fn shut_down(&self) {
        self.shutdown.cancel();
    }
}

/// A call's place on the server and its trunk. It is given back once: at the end of the call, or when the other side
/// leaves the call to somebody who has a place of its own.
pub struct Place(Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Place {
    /// Does `release` when it is given back.
    pub fn new(release: impl FnOnce() + Send + 'static) -> Self {
        Self(Mutex::new(Some(Box::new(release))))
    }

    /// Gives it back, if it is still taken.
    pub fn give_back(&self) {
        let release = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(release) = release {
            release();
        }
    }
}

/// Makes a call: its handle, and its task, which gives the stored record once the call is over. The
/// handle is to be known to whoever passes SIP events on before the task runs: an answer may come sooner
/// than the next statement.
pub fn prepare(
    seed: CallSeed,
    place: Arc<Place>,
    context: Arc<CallContext>,
) -> (CallHandle, impl Future<Output = CallRecord> + Send + 'static) {
    let (sip_tx, sip_rx) = mpsc::channel(SIP_EVENT_QUEUE);
    let (command_tx, command_rx) = mpsc::channel(command::COMMAND_QUEUE);
    let shutdown = CancellationToken::new();
    let remote = match seed.record.direction {
        Direction::Inbound => seed.record.from_number.clone(),
        Direction::Outbound => seed.record.to_number.clone(),
    };
    let handle = CallHandle {
        id: seed.record.id,
        dialog: seed.dialog,
        direction: seed.record.direction,
        trunk: seed.record.trunk.clone(),
        remote,
        sip: sip_tx,
        commands: command_tx,
        shutdown: shutdown.clone(),
        shown: Arc::default(),
    };
    let shown = Arc::clone(&handle.shown);
    let inbox = session::Inbox { sip: sip_rx, commands: command_rx, shutdown, shown };
    let task = async move {
        let mut session = session::Session::new(seed, context, inbox);
        session.place = Some(place);
        // The session outlives a panic in its own loop, so that the record is closed and BYE sent.
        let reason = AssertUnwindSafe(session.run())
            .catch_unwind()
            .await
            .unwrap_or(EndReason::InternalError);
        session.finish(reason).await
    };
    (handle, task)
}
