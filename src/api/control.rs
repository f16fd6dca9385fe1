//! Commands to a live call, in two forms with one set of checks: `/control` with a `type`, and one
//! path each. The answer comes once the call took the command; what it does appears as events with
//! the same `command_id`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use serde_json::Value;

use super::Api;
use super::access::Principal;
use super::checks::{bad_destination, check_range, check_text};
use super::error::{ApiError, Code};
use super::extract::{Json, JsonObject, PathId, bad_field, from_object};
use crate::call::clip::Clip;
use crate::call::command::{DTMF_DIGITS_MAX, OnFail, RecordingChange};
use crate::call::{self, CallCommand, CommandError, MuteState, MuteTarget};
use crate::schema::control::{
    ChangeRecording, ContextRole, ControlReply, Dtmf, EndCall, Handoff, Hold, InjectContext,
    Interrupt, Mute, Play, RecordingAction, Resume, Say, SetVariables, Supervise, SupervisorMode,
    Transfer, TransferMode,
};
use crate::schema::{Control, ErrorBody, control};
use crate::sip::DialogId;
use crate::switchboard::trunk::refer_target;
use crate::types::call::TurnRole;
use crate::types::{AgentId, CallId, Direction, EndReason, Pii, TrunkName};

/// Longest context, characters: a long page of text.
const CONTEXT_CHARS_MAX: usize = 16_000;
/// Longest reason of an end, characters.
const REASON_CHARS_MAX: usize = 200;
/// Longest name of a voice, characters.
const VOICE_CHARS_MAX: usize = 100;
/// Longest value of a variable, characters.
const VALUE_CHARS_MAX: usize = 1_000;
/// Headers of one transfer.
const HEADERS_MAX: usize = 16;
/// Longest wait for the destination of a transfer, seconds.
const TRANSFER_SECONDS_MAX: u32 = 300;
/// Types of `/control`, for messages.
const TYPES: &str = "`say`, `inject-context`, `transfer`, `supervise`, `end-call`, `interrupt`, `mute`, `unmute`, \
    `dtmf`, `hold`, `resume`, `handoff`, `set-variables`, `play`, `recording`";

type Answer = Result<axum::Json<ControlReply>, ApiError>;

/// Control a call
///
/// One command, chosen by `type`; the other fields are those of the command's own path.
#[utoipa::path(post, path = "/v1/calls/{id}/control", tag = "control",
    params(("id" = String, Path, description = "Identifier of the call")),
    request_body(content = Control, example = json!({"type": "say", "content": "One moment, please."})),
    responses(
        (status = 200, description = "The call took the command", body = ControlReply),
        (status = 404, description = "There is no such call", body = ErrorBody),
        (status = 409, description = "The call is not live", body = ErrorBody),
        (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
        (status = 429, description = "Too many commands to this call in a minute", body = ErrorBody),
    ))]
pub(super) async fn control(
    State(api): State<Arc<Api>>,
    principal: Principal,
    PathId(id): PathId,
    JsonObject(mut body): JsonObject,
) -> Answer {
    let kind = match body.remove("type") {
        Some(serde_json::Value::String(kind)) => kind,
        Some(_) => return Err(bad_field("type", format!("`type` is one of {TYPES}"))),
        None => {
            return Err(ApiError::because(Code::MissingField, "`type` is required")
                .param("type")
                .hint(format!("the types are {TYPES}")));
        }
    };
    let command = match kind.as_str() {
        "say" => Control::Say(from_object(body)?),
        "inject-context" => Control::InjectContext(from_object(body)?),
        "transfer" => Control::Transfer(from_object(body)?),
        "supervise" => Control::Supervise(from_object(body)?),
        "end-call" | "end" => Control::EndCall(from_object(body)?),
        "interrupt" => Control::Interrupt(from_object(body)?),
        "mute" => Control::Mute(from_object(body)?),
        "unmute" => Control::Unmute(from_object(body)?),
        "dtmf" => Control::Dtmf(from_object(body)?),
        "hold" => Control::Hold(from_object(body)?),
        "resume" => Control::Resume(from_object(body)?),
        "handoff" => Control::Handoff(from_object(body)?),
        "set-variables" => Control::SetVariables(from_object(body)?),
        "play" => Control::Play(from_object(body)?),
        "recording" => Control::Recording(from_object(body)?),
        _ => return Err(bad_field("type", format!("`type` is one of {TYPES}"))),
    };
    give(&api, &principal, id, command).await
}

macro_rules! path {
    ($fn:ident, $path:literal, $body:ty, $variant:ident, $title:literal, $help:literal, $example:tt) => {
        #[doc = $title]
        #[doc = ""]
        #[doc = $help]
        #[utoipa::path(post, path = $path, tag = "control",
            params(("id" = String, Path, description = "Identifier of the call")),
            request_body(content = $body, example = json!($example)),
            responses(
                (status = 200, description = "The call took the command", body = ControlReply),
                (status = 404, description = "There is no such call", body = ErrorBody),
                (status = 409, description = "The call is not live", body = ErrorBody),
                (status = 422, description = "A field is wrong; `param` names it", body = ErrorBody),
                (status = 429, description = "Too many commands to this call in a minute", body = ErrorBody),
            ))]
        pub(super) async fn $fn(
            State(api): State<Arc<Api>>,
            principal: Principal,
            PathId(id): PathId,
            Json(body): Json<$body>,
        ) -> Answer {
            give(&api, &principal, id, Control::$variant(body)).await
        }
    };
}

path!(say, "/v1/calls/{id}/say", Say, Say, "Say something",
    "Speaks the text. By default it cuts off what is being said.",
    {"content": "Your table is booked.", "end_after": false});
path!(inject_context, "/v1/calls/{id}/inject-context", InjectContext, InjectContext,
    "Tell the agent something",
    "Puts a message into the conversation; the caller does not hear it.",
    {"content": "The caller is a gold member.", "role": "system", "trigger_response": false});
path!(transfer, "/v1/calls/{id}/transfer", Transfer, Transfer, "Transfer a call",
    "By REFER, or with `mode` `bridge` by a second leg that stays here. If it fails, the agent goes on.",
    {"destination": "+15550123", "message": "I will connect you."});
path!(supervise, "/v1/calls/{id}/supervise", Supervise, Supervise, "Let a supervisor on the line",
    "Calls somebody who hears the call, whispers to the far side of a bridge, or talks with everybody. Without a \
    destination it changes the mode of the one on the line; `leave` lets them go.",
    {"mode": "listen", "destination": "+15550177"});
path!(end, "/v1/calls/{id}/end", EndCall, EndCall, "End a call",
    "Hangs up, after the message if there is one. A queued or ringing call is canceled.",
    {"message": "Goodbye."});
path!(end_call, "/v1/calls/{id}/end-call", EndCall, EndCall, "End a call (alias)",
    "The same as `/end`.", {"message": "Goodbye."});
path!(
    interrupt,
    "/v1/calls/{id}/interrupt",
    Interrupt,
    Interrupt,
    "Interrupt the agent",
    "Stops what is being said; the agent keeps listening.",
    {}
);
path!(mute, "/v1/calls/{id}/mute", Mute, Mute, "Mute a side",
    "`agent`: its speech is not sent. `user`: theirs is not recognised.", {"target": "agent"});
path!(unmute, "/v1/calls/{id}/unmute", Mute, Unmute, "Unmute a side",
    "The opposite of `/mute`.", {"target": "agent"});
path!(dtmf, "/v1/calls/{id}/dtmf", Dtmf, Dtmf, "Send digits",
    "RFC 4733 events: `0` to `9`, `*`, `#`, `A` to `D`; `w` pauses half a second, `,` two.",
    {"digits": "1234#", "duration_ms": 100, "gap_ms": 50});

path!(hold, "/v1/calls/{id}/hold", Hold, Hold, "Hold a call",
    "Re-INVITE with `sendonly`; where that is refused, the caller is not listened to.",
    {"music": "hold.wav"});
path!(
    resume,
    "/v1/calls/{id}/resume",
    Resume,
    Resume,
    "Resume a call",
    "The opposite of `/hold`.",
    {}
);
path!(handoff, "/v1/calls/{id}/handoff", Handoff, Handoff, "Hand a call to another agent",
    "The other agent goes on with the call: its own words, voice and tools.",
    {"agent_id": "billing", "keep_context": true});
path!(set_variables, "/v1/calls/{id}/set-variables", SetVariables, SetVariables, "Set variables",
    "For the templates of tools, from now on; the call's record shows them.",
    {"variables": {"plan": "gold"}});
path!(play, "/v1/calls/{id}/play", Play, Play, "Play a recording",
    "A WAV file of the media directory. It stops when the caller speaks.",
    {"file": "terms.wav", "loop": false});
path!(recording, "/v1/calls/{id}/recording", ChangeRecording, Recording, "Pause the recording",
    "While it is paused, silence goes into the file: for card numbers. `stop` is for good.",
    {"action": "pause"});

async fn give(api: &Api, principal: &Principal, id: CallId, control: Control) -> Answer {
    let name = control.name();
    // Somebody else's call does not exist, whatever is asked of it.
    api.call(principal, id).await?;
    let command = match control {
        Control::Transfer(transfer) if transfer.mode == TransferMode::Attended => {
            attended(api, principal, id, transfer).await?
        }
        control => check(api, control).await?,
    };
    match api.switchboard.command(id, command).await {
        Ok(command_id) => {
            tracing::info!(call.id = %id, command = name, command_id, "a call took a command");
            let message = format!("the call took `{name}`");
            Ok(axum::Json(ControlReply { success: true, message, command_id }))
        }
        Err(CommandError::NotActive) => {
            let record = api.call(principal, id).await?;
            let message = format!("the call is `{}`", record.status.as_str());
            Err(ApiError::because(Code::CallNotActive, message))
        }
        Err(error) => Err(refusal(&error)),
    }
}

/// What a client is told of a command that a call does not take.
pub(super) fn refusal(error: &CommandError) -> ApiError {
    match error {
        CommandError::NotActive => ApiError::new(Code::CallNotActive),
        CommandError::TransferPending => ApiError::new(Code::TransferPending),
        CommandError::Busy => ApiError::new(Code::TooManyCommands),
        CommandError::TooMany { retry_after_s } => {
            ApiError::because(Code::TooManyCommands, error.to_string())
                .header(header::RETRY_AFTER, *retry_after_s)
        }
        CommandError::Supervised => ApiError::new(Code::AlreadySupervised),
        CommandError::NoSupervisor => {
            bad_field("destination", "nobody supervises the call".to_owned())
                .hint("name the number or SIP URI of the supervisor")
        }
        CommandError::Refused(refused) => super::dial::forbidden(refused, "destination"),
        CommandError::NoAgent => ApiError::new(Code::UnknownAgent).param("agent_id"),
        CommandError::NotRecorded => ApiError::new(Code::NotRecorded),
        CommandError::HeaderNotAllowed => {
            ApiError::because(Code::InvalidValue, error.to_string()).param("headers")
        }
        CommandError::TooManyVariables => bad_field("variables", error.to_string()),
    }
}

/// Checks a command and turns it into the call's own.
async fn check(api: &Api, control: Control) -> Result<CallCommand, ApiError> {
    match control {
        Control::Say(say) => check_say(say),
        Control::InjectContext(context) => check_context(context),
        Control::Transfer(transfer) => check_transfer(transfer),
        Control::Supervise(supervise) => check_supervise(supervise),
        Control::EndCall(EndCall { message, reason, headers }) => {
            check_text("message", message.as_deref())?;
            if reason.is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX) {
                let message = format!("`reason` has at most {REASON_CHARS_MAX} characters");
                return Err(bad_field("reason", message));
            }
            let message = message.map(Pii::new);
            let headers = own_headers(headers)?;
            Ok(CallCommand::End { message, reason: EndReason::ApiHangup, headers })
        }
        Control::Interrupt(Interrupt {}) => Ok(CallCommand::Interrupt),
        Control::Mute(Mute { target }) => {
            Ok(CallCommand::Mute { target: whose(target), state: MuteState::Muted })
        }
        Control::Unmute(Mute { target }) => {
            Ok(CallCommand::Mute { target: whose(target), state: MuteState::Open })
        }
        Control::Dtmf(dtmf) => check_dtmf(dtmf),
        Control::Hold(Hold { music }) => {
            let music = match music {
                Some(name) => Some(clip(api, "music", name).await?),
                None => None,
            };
            Ok(CallCommand::Hold { music })
        }
        Control::Resume(Resume {}) => Ok(CallCommand::Resume),
        Control::Handoff(Handoff { agent_id, message, keep_context }) => {
            check_text("message", message.as_deref())?;
            let (agent, message) = (AgentId(agent_id), message.map(Pii::new));
            Ok(CallCommand::Handoff { agent, message, keep_context })
        }
        Control::SetVariables(SetVariables { variables }) => check_variables(variables),
        Control::Play(Play { file, url, r#loop }) => {
            if url.is_some() {
                return Err(bad_field("url", "recordings are not fetched".to_owned())
                    .hint("put the file into `call.media_dir` and name it in `file`"));
            }
            let Some(file) = file else {
                return Err(
                    ApiError::because(Code::MissingField, "`file` is required").param("file")
                );
            };
            Ok(CallCommand::Play { clip: clip(api, "file", file).await?, repeat: r#loop })
        }
        Control::Recording(ChangeRecording { action }) => {
            Ok(CallCommand::Recording(match action {
                RecordingAction::Pause => RecordingChange::Pause,
                RecordingAction::Resume => RecordingChange::Resume,
                RecordingAction::Stop => RecordingChange::Stop,
            }))
        }
    }
}

fn check_say(say: Say) -> Result<CallCommand, ApiError> {
    let Say { content, end_after, interrupt, interruptible, voice } = say;
    check_text("content", Some(&content))?;
    let whole = |voice: &String| voice.is_empty() || voice.chars().count() > VOICE_CHARS_MAX;
    if voice.as_ref().is_some_and(whole) {
        let message = format!("`voice` has 1 to {VOICE_CHARS_MAX} characters");
        return Err(bad_field("voice", message));
    }
    let content = Pii::new(content);
    Ok(CallCommand::Say { content, interrupt, interruptible, end_after, voice })
}

fn check_context(context: InjectContext) -> Result<CallCommand, ApiError> {
    let InjectContext { content, role, trigger_response } = context;
    if content.trim().is_empty() || content.chars().count() > CONTEXT_CHARS_MAX {
        let message = format!("`content` has 1 to {CONTEXT_CHARS_MAX} characters");
        return Err(bad_field("content", message));
    }
    let role = match role {
        ContextRole::System => TurnRole::System,
        ContextRole::User => TurnRole::User,
        ContextRole::Assistant => TurnRole::Assistant,
    };
    Ok(CallCommand::InjectContext { role, content: Pii::new(content), trigger_response })
}

/// A transfer to the other side of another live call, which takes our place (RFC 5589 section 7).
async fn attended(
    api: &Api,
    principal: &Principal,
    id: CallId,
    transfer: Transfer,
) -> Result<CallCommand, ApiError> {
    let Some(other) = &transfer.call_id else {
        return Err(ApiError::because(Code::MissingField, "`call_id` is required")
            .param("call_id")
            .hint(
                "an attended transfer names the other live call; a blind one its `destination`",
            ));
    };
    let wrong = || bad_field("call_id", "`call_id` is another live call of yours".to_owned());
    let other: CallId = other.parse().map_err(|_| wrong())?;
    let record = api.call(principal, other).await.map_err(|_| wrong())?;
    let dialog = api.switchboard.dialog_of(other).filter(|_| other != id).ok_or_else(wrong)?;
    let destination = match record.direction {
        Direction::Inbound => record.from_number,
        Direction::Outbound => record.to_number,
    };
    transfer_to(transfer, destination, Some(dialog))
}

fn check_transfer(transfer: Transfer) -> Result<CallCommand, ApiError> {
    if transfer.trunk_id.is_some() && transfer.mode != TransferMode::Bridge {
        let message = "a REFER leaves by the call's own trunk".to_owned();
        return Err(bad_field("trunk_id", message).hint("leave it out, or set `mode` to `bridge`"));
    }
    if transfer.brief.is_some() && transfer.mode != TransferMode::Bridge {
        let message = "only a second leg of ours can be told something first".to_owned();
        return Err(bad_field("brief", message).hint("leave it out, or set `mode` to `bridge`"));
    }
    let Some(destination) = &transfer.destination else {
        let message = "`destination` is required";
        return Err(ApiError::because(Code::MissingField, message).param("destination"));
    };
    let target = refer_target(destination);
    let target = target.ok_or_else(|| bad_destination("destination"))?;
    transfer_to(transfer, Pii::new(target), None)
}

fn transfer_to(
    transfer: Transfer,
    destination: Pii<String>,
    replaces: Option<DialogId>,
) -> Result<CallCommand, ApiError> {
    let Transfer { mode, trunk_id, message, brief, headers, timeout_seconds, on_fail, .. } =
        transfer;
    // An attended transfer is a REFER too.
    let mode = match mode {
        TransferMode::Blind | TransferMode::Attended => call::TransferMode::Blind,
        TransferMode::Bridge => call::TransferMode::Bridge,
    };
    check_text("message", message.as_deref())?;
    check_text("brief", brief.as_deref())?;
    check_range("timeout_seconds", timeout_seconds, 1, TRANSFER_SECONDS_MAX)?;
    Ok(CallCommand::Transfer {
        destination,
        replaces,
        mode,
        trunk: trunk_id.map(TrunkName),
        message: message.map(Pii::new),
        brief: brief.map(Pii::new),
        headers: own_headers(headers)?,
        timeout: timeout_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        on_fail: match on_fail {
            control::OnFail::Resume => OnFail::Resume,
            control::OnFail::End => OnFail::End,
        },
    })
}

/// Headers of a client's own: none that SIP itself knows, and nothing that could begin another line.
fn own_headers(headers: BTreeMap<String, String>) -> Result<Vec<(String, String)>, ApiError> {
    let named = |name: &str| {
        let own = name.get(..2).is_some_and(|head| head.eq_ignore_ascii_case("x-"));
        let token = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        (own || name.eq_ignore_ascii_case("user-to-user")) && token && name.len() <= 64
    };
    let fits = |value: &str| value.len() <= 256 && value.chars().all(|c| !c.is_control());
    if headers.len() > HEADERS_MAX
        || !headers.iter().all(|(name, value)| named(name) && fits(value))
    {
        let message = format!(
            "at most {HEADERS_MAX} headers, named `X-...` or `User-to-User`, with values of one line"
        );
        return Err(bad_field("headers", message));
    }
    Ok(headers.into_iter().collect())
}

fn check_supervise(supervise: Supervise) -> Result<CallCommand, ApiError> {
    let Supervise { mode, destination, trunk_id } = supervise;
    let destination = match destination {
        Some(text) => Some(refer_target(&text).ok_or_else(|| bad_destination("destination"))?),
        None => None,
    };
    let mode = match mode {
        SupervisorMode::Listen => call::SupervisorMode::Listen,
        SupervisorMode::Whisper => call::SupervisorMode::Whisper,
        SupervisorMode::Barge => call::SupervisorMode::Barge,
        SupervisorMode::Leave => call::SupervisorMode::Leave,
    };
    let destination = destination.map(Pii::new);
    Ok(CallCommand::Supervise { mode, destination, trunk: trunk_id.map(TrunkName) })
}

fn check_variables(variables: BTreeMap<String, Value>) -> Result<CallCommand, ApiError> {
    let mut values = BTreeMap::new();
    for (name, value) in variables {
        let text = match value {
            Value::String(text) => text,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => {
                let message = format!("`{name}` is neither text nor number nor boolean");
                return Err(bad_field("variables", message));
            }
        };
        if text.chars().count() > VALUE_CHARS_MAX {
            let message = format!("`{name}` has more than {VALUE_CHARS_MAX} characters");
            return Err(bad_field("variables", message));
        }
        values.insert(name, text);
    }
    if values.is_empty() {
        return Err(bad_field("variables", "`variables` names at least one".to_owned()));
    }
    Ok(CallCommand::SetVariables(values))
}

async fn clip(api: &Api, field: &str, name: String) -> Result<Arc<Clip>, ApiError> {
    let dir = api.switchboard.media_dir().to_owned();
    match crate::call::clip::load(dir, name).await {
        Ok(clip) => Ok(Arc::new(clip)),
        Err(error) => Err(bad_field(field, error.to_string())),
    }
}

fn check_dtmf(dtmf: Dtmf) -> Result<CallCommand, ApiError> {
    let Dtmf { digits, duration_ms, gap_ms } = dtmf;
    let known = |b: u8| b.is_ascii_digit() || b"*#ABCDabcdw,".contains(&b);
    let tones = digits.bytes().any(|b| !matches!(b, b'w' | b','));
    if digits.len() > DTMF_DIGITS_MAX || !tones || !digits.bytes().all(known) {
        let message = format!(
            "`digits` has 1 to {DTMF_DIGITS_MAX} of `0` to `9`, `*`, `#`, `A` to `D`, and the pauses `w` and `,`"
        );
        return Err(bad_field("digits", message));
    }
    check_range("duration_ms", Some(duration_ms), 40, 5_000)?;
    check_range("gap_ms", Some(gap_ms), 30, 5_000)?;
    Ok(CallCommand::Dtmf {
        digits: Pii::new(digits),
        duration_ms: u16::try_from(duration_ms).unwrap_or(u16::MAX),
        gap_ms: u16::try_from(gap_ms).unwrap_or(u16::MAX),
    })
}

fn whose(target: control::MuteTarget) -> MuteTarget {
    match target {
        control::MuteTarget::Agent => MuteTarget::Agent,
        control::MuteTarget::User => MuteTarget::User,
    }
}
