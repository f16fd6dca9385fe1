//! What an operator may ask of a live call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::clip::Clip;
use crate::sip::DialogId;
use crate::types::call::TurnRole;
use crate::types::{AgentId, EndReason, Pii, TrunkName};
use crate::usage::DialRefused;

/// Commands that may wait for a call: an operator types slowly, and a call answers within milliseconds.
pub const COMMAND_QUEUE: usize = 16;

/// Digits one command may send: longer strings are a mistake or an attack.
pub const DTMF_DIGITS_MAX: usize = 64;

/// One command.
#[derive(Clone, Debug)]
pub enum CallCommand {
    /// Speak this.
    Say {
        /// Text.
        content: Pii<String>,
        /// Cut the agent off first.
        interrupt: bool,
        /// The caller may interrupt it.
        interruptible: bool,
        /// Hang up after its last word.
        end_after: bool,
        /// Another voice of the agent's provider.
        voice: Option<String>,
    },
    /// Put a message into the conversation.
    InjectContext {
        /// Whose.
        role: TurnRole,
        /// Text.
        content: Pii<String>,
        /// Make the agent answer it.
        trigger_response: bool,
    },
    /// Let somebody else have the caller.
    Transfer {
        /// The dialog whose other side takes our place (attended); `None`: a blind transfer.
        replaces: Option<DialogId>,
        /// SIP URI, tel URI or E.164 number, already checked.
        destination: Pii<String>,
        /// How.
        mode: TransferMode,
        /// Trunk of the second leg; else the number's, the call's or the only one.
        trunk: Option<TrunkName>,
        /// Words before it.
        message: Option<Pii<String>>,
        /// Words for the destination of a second leg, before the caller is joined.
        brief: Option<Pii<String>>,
        /// Further headers of the REFER or the INVITE, checked.
        headers: Vec<(String, String)>,
        /// Longest wait for the destination's answer, from the REFER or the INVITE on.
        timeout: Option<Duration>,
        /// What follows when the destination does not take the call.
        on_fail: OnFail,
    },
    /// Let a supervisor hear the call, or talk in it.
    Supervise {
        /// What they may do.
        mode: SupervisorMode,
        /// Who is called, already checked; `None`: the one who is on the line.
        destination: Option<Pii<String>>,
        /// Trunk of the leg.
        trunk: Option<TrunkName>,
    },
    /// Put the caller on hold.
    Hold {
        /// What they hear meanwhile.
        music: Option<Arc<Clip>>,
    },
    /// Take the caller back.
    Resume,
    /// Let another agent go on with the call.
    Handoff {
        /// Which.
        agent: AgentId,
        /// Its first words; `None`: its greeting.
        message: Option<Pii<String>>,
        /// Whether it knows what was said before.
        keep_context: bool,
    },
    /// Set template variables.
    SetVariables(BTreeMap<String, String>),
    /// Play a recording.
    Play {
        /// What.
        clip: Arc<Clip>,
        /// From the start again after its end.
        repeat: bool,
    },
    /// Change the recording of the call.
    Recording(RecordingChange),
    /// End the call.
    End {
        /// Last words.
        message: Option<Pii<String>>,
        /// Why, for the record.
        reason: EndReason,
        /// Further headers of the BYE, checked.
        headers: Vec<(String, String)>,
    },
    /// Stop speaking, keep listening.
    Interrupt,
    /// Stop sending the agent's audio, or feeding the caller's to the recogniser.
    Mute {
        /// Whose audio.
        target: MuteTarget,
        /// On or off.
        state: MuteState,
    },
    /// Send digits.
    Dtmf {
        /// 0-9, `*`, `#`, A-D, `w` (half a second), `,` (two seconds).
        digits: Pii<String>,
        /// Length of a tone.
        duration_ms: u16,
        /// Silence between tones.
        gap_ms: u16,
    },
}

impl CallCommand {
    /// Public name, as the API and the events spell it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Say { .. } => "say",
            Self::InjectContext { .. } => "inject-context",
            Self::Transfer { .. } => "transfer",
            Self::Supervise { .. } => "supervise",
            Self::End { .. } => "end-call",
            Self::Interrupt => "interrupt",
            Self::Mute { state: MuteState::Muted, .. } => "mute",
            Self::Mute { state: MuteState::Open, .. } => "unmute",
            Self::Dtmf { .. } => "dtmf",
            Self::Hold { .. } => "hold",
            Self::Resume => "resume",
            Self::Handoff { .. } => "handoff",
            Self::SetVariables(_) => "set-variables",
            Self::Play { .. } => "play",
            Self::Recording(_) => "recording",
        }
    }
}

/// How a caller is transferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransferMode {
    /// By REFER: the caller's own side calls the destination, and we leave.
    #[default]
    Blind,
    /// By a second leg: caller and destination hear each other through us.
    Bridge,
}

/// What a supervisor may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SupervisorMode {
    /// Hear everybody; nobody hears them.
    Listen,
    /// Be heard by the far side of a bridge only.
    Whisper,
    /// Be heard by everybody; the agent is silent.
    Barge,
    /// Hang up.
    Leave,
}

impl SupervisorMode {
    /// Public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Whisper => "whisper",
            Self::Barge => "barge",
            Self::Leave => "leave",
        }
    }
}

/// What follows a transfer that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFail {
    /// The agent goes on, and says so.
    #[default]
    Resume,
    /// The call ends.
    End,
}

/// What becomes of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordingChange {
    /// Silence goes into the file.
    Pause,
    /// Sound goes into it again.
    Resume,
    /// Nothing more goes into it.
    Stop,
}

impl RecordingChange {
    /// Public name of the state it leads to.
    pub fn state(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "recording",
            Self::Stop => "stopped",
        }
    }
}

/// Whose audio a mute is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MuteTarget {
    /// The agent's: synthesis is not sent.
    Agent,
    /// The caller's: it reaches neither VAD nor recogniser.
    User,
}

/// Muted or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum MuteState {
    Muted,
    Open,
}

/// Why a command was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no such call, or it is not answered yet or over.
    #[error("the call is not active")]
    NotActive,
    /// A transfer is under way.
    #[error("a transfer is already under way")]
    TransferPending,
    /// More than [`COMMAND_QUEUE`] commands wait.
    #[error("too many commands wait for this call")]
    Busy,
    /// More commands in a minute than [`super::CallConfig::commands_per_minute`].
    #[error("too many commands in a minute")]
    TooMany {
        /// Seconds until the next one is taken.
        retry_after_s: u32,
    },
    /// A supervisor is on the line already, or is being called.
    #[error("a supervisor is on the line already")]
    Supervised,
    /// Nobody supervises the call, and no destination is named.
    #[error("nobody supervises the call")]
    NoSupervisor,
    /// The dial limits forbid the destination of a transfer.
    #[error(transparent)]
    Refused(#[from] Box<DialRefused>),
    /// There is no such agent.
    #[error("there is no such agent")]
    NoAgent,
    /// The call is not recorded, or its recording was stopped.
    #[error("the call is not recorded")]
    NotRecorded,
    /// The trunk keeps a header of the transfer in.
    #[error("the trunk lets one of these headers not out: its `calls.headers_out` says which")]
    HeaderNotAllowed,
    /// A variable too many, or too long.
    #[error("a call has a limited number of variables")]
    TooManyVariables,
}

/// A command on its way to its call.
#[derive(Debug)]
pub struct CommandRequest {
    /// Identifier the effects carry in events.
    pub command_id: String,
    /// What.
    pub command: CallCommand,
    /// Answered once the command is taken or refused.
    pub reply: oneshot::Sender<Result<(), CommandError>>,
}
