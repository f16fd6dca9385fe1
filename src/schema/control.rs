//! Commands to a live call. `POST /v1/calls/{id}/control` takes [`Control`], with its `type`; each
//! sub-path (`/say`, `/transfer`, ...) takes the body of its type without it. Same structs, same checks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `say`.
#[derive(Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Say {
    /// What to say.
    pub content: String,
    /// Hang up after the last word.
    #[serde(default)]
    pub end_after: bool,
    /// Cut off what is being said, instead of waiting for its end.
    #[serde(default = "yes")]
    pub interrupt: bool,
    /// Whether the caller can cut this off.
    #[serde(default = "yes")]
    pub interruptible: bool,
    /// Another voice of the agent's provider.
    #[serde(default)]
    pub voice: Option<String>,
}

/// Role of injected text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum ContextRole {
    #[default]
    System,
    User,
    Assistant,
}

/// Body of `inject-context`.
#[derive(Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InjectContext {
    /// What the agent shall know.
    pub content: String,
    /// As whom it is put into the history.
    #[serde(default)]
    pub role: ContextRole,
    /// Whether the agent answers to it at once.
    #[serde(default)]
    pub trigger_response: bool,
}

/// How a call is transferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TransferMode {
    /// REFER without a consultation (RFC 5589 section 6).
    #[default]
    Blind,
    /// To the other side of `call_id`, another live call: REFER with Replaces (RFC 5589 section 7).
    Attended,
    /// A second leg is dialled, and both hear each other through us: for trunks that refuse REFER.
    Bridge,
}

/// What follows a transfer that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFail {
    /// The agent goes on, and says so.
    #[default]
    Resume,
    /// The call ends.
    End,
}

/// Body of `transfer`.
#[derive(Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// E.164 number or SIP URI; not read in an attended transfer.
    #[serde(default)]
    pub destination: Option<String>,
    /// The other live call of an attended transfer.
    #[serde(default)]
    pub call_id: Option<String>,
    /// How.
    #[serde(default)]
    pub mode: TransferMode,
    /// Words the caller hears before it.
    #[serde(default)]
    pub message: Option<String>,
    /// Words the destination of a `bridge` hears, and the caller does not, before they are joined.
    #[serde(default)]
    pub brief: Option<String>,
    /// Trunk of the second leg of a `bridge`. None: the number's `transfer_trunk_id`, else the call's own.
    #[serde(default)]
    pub trunk_id: Option<String>,
    /// Further headers of the REFER or of the second leg's INVITE.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Longest wait for the destination's answer.
    #[serde(default)]
    pub timeout_seconds: Option<u32>,
    /// What follows when it does not answer, or refuses.
    #[serde(default)]
    pub on_fail: OnFail,
}

/// What a supervisor may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SupervisorMode {
    /// Hear caller, agent and the far side of a bridge; be heard by nobody.
    Listen,
    /// Be heard by the far side of a bridge only.
    Whisper,
    /// Be heard by everybody; the agent is silent meanwhile.
    Barge,
    /// Hang up.
    Leave,
}

/// Body of `supervise`.
#[derive(Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Supervise {
    /// What they may do.
    pub mode: SupervisorMode,
    /// E.164 number or SIP URI of the supervisor who is called. None: the one on the line changes their mode.
    #[serde(default)]
    pub destination: Option<String>,
    /// Trunk of the leg. None: the number's `transfer_trunk_id`, else the call's own.
    #[serde(default)]
    pub trunk_id: Option<String>,
}

/// Body of `hold`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hold {
    /// WAV file of the media directory that the caller hears meanwhile.
    pub music: Option<String>,
}

/// Body of `resume`: no fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resume {}

/// Body of `handoff`.
#[derive(Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Handoff {
    /// Agent that goes on with the call.
    pub agent_id: String,
    /// Its first words; without them its greeting.
    #[serde(default)]
    pub message: Option<String>,
    /// Whether it knows what was said before.
    #[serde(default = "yes")]
    pub keep_context: bool,
}

/// Body of `set-variables`.
#[derive(Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetVariables {
    /// Names and values: texts, numbers or booleans.
    #[schema(value_type = Object)]
    pub variables: BTreeMap<String, serde_json::Value>,
}

/// Body of `play`.
#[derive(Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Play {
    /// WAV file of the media directory.
    #[serde(default)]
    pub file: Option<String>,
    /// Not fetched: files come from the media directory.
    #[serde(default)]
    pub url: Option<String>,
    /// From the start again after its end.
    #[serde(default)]
    pub r#loop: bool,
}

/// What becomes of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordingAction {
    /// Silence goes into the file.
    Pause,
    /// Sound goes into it again.
    Resume,
    /// Nothing more goes into it.
    Stop,
}

/// Body of `recording`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRecording {
    /// What.
    pub action: RecordingAction,
}

/// Body of `end-call`.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EndCall {
    /// Last words.
    pub message: Option<String>,
    /// Why, for the log.
    pub reason: Option<String>,
    /// Further headers of the BYE, as of a transfer.
    pub headers: BTreeMap<String, String>,
}

/// Whom `mute` and `unmute` mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MuteTarget {
    /// Its speech is not sent.
    #[default]
    Agent,
    /// Their speech is not recognised.
    User,
}

/// Body of `mute` and `unmute`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mute {
    /// Whom.
    pub target: MuteTarget,
}

/// Body of `interrupt`: no fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Interrupt {}

/// Body of `dtmf`.
#[derive(Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Dtmf {
    /// `0` to `9`, `*`, `#`, `A` to `D`; `w` and `,` pause.
    pub digits: String,
    /// Length of a tone.
    #[serde(default = "tone_ms")]
    pub duration_ms: u32,
    /// Silence after it.
    #[serde(default = "gap_ms")]
    pub gap_ms: u32,
}

/// A command with its type.
#[derive(Clone, PartialEq, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each value is described by its body")]
pub enum Control {
    Say(Say),
    InjectContext(InjectContext),
    Transfer(Transfer),
    Supervise(Supervise),
    #[serde(alias = "end")]
    EndCall(EndCall),
    Interrupt(Interrupt),
    Mute(Mute),
    Unmute(Mute),
    Dtmf(Dtmf),
    Hold(Hold),
    Resume(Resume),
    Handoff(Handoff),
    SetVariables(SetVariables),
    Play(Play),
    Recording(ChangeRecording),
}

impl Control {
    /// Name in the journal, the log and the path.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Say(_) => "say",
            Self::InjectContext(_) => "inject-context",
            Self::Transfer(_) => "transfer",
            Self::Supervise(_) => "supervise",
            Self::EndCall(_) => "end-call",
            Self::Interrupt(_) => "interrupt",
            Self::Mute(_) => "mute",
            Self::Unmute(_) => "unmute",
            Self::Dtmf(_) => "dtmf",
            Self::Hold(_) => "hold",
            Self::Resume(_) => "resume",
            Self::Handoff(_) => "handoff",
            Self::SetVariables(_) => "set-variables",
            Self::Play(_) => "play",
            Self::Recording(_) => "recording",
        }
    }
}

/// Answer to a command; its effects appear as events with the same `command_id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ControlReply {
    /// Whether the call took it.
    pub success: bool,
    /// The same for people.
    pub message: String,
    /// Finds its effects in the journal.
    pub command_id: String,
}

fn yes() -> bool {
    true
}

fn tone_ms() -> u32 {
    100
}

fn gap_ms() -> u32 {
    50
}
