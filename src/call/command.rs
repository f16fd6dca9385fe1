//! What an operator may ask of a live call.

use tokio::sync::oneshot;

use crate::types::call::TurnRole;
use crate::types::{EndReason, Pii};

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
    /// Blind transfer by REFER.
    Transfer {
        /// SIP URI, tel URI or E.164 number, already checked.
        destination: Pii<String>,
        /// Words before it.
        message: Option<Pii<String>>,
    },
    /// End the call.
    End {
        /// Last words.
        message: Option<Pii<String>>,
        /// Why, for the record.
        reason: EndReason,
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
            Self::End { .. } => "end-call",
            Self::Interrupt => "interrupt",
            Self::Mute { state: MuteState::Muted, .. } => "mute",
            Self::Mute { state: MuteState::Open, .. } => "unmute",
            Self::Dtmf { .. } => "dtmf",
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
