//! Commands to a live call, in two forms with one set of checks: `/control` with a `type`, and one
//! path each. The answer comes once the call took the command; what it does appears as events with
//! the same `command_id`.

use std::sync::Arc;

use axum::extract::State;

use super::Api;
use super::access::Principal;
use super::dial::{bad_destination, check_range, check_text};
use super::error::{ApiError, Code};
use super::extract::{Json, JsonObject, PathId, bad_field, from_object};
use crate::call::command::DTMF_DIGITS_MAX;
use crate::call::{CallCommand, CommandError, MuteState, MuteTarget};
use crate::schema::control::{
    ContextRole, ControlReply, Dtmf, EndCall, InjectContext, Interrupt, Mute, Say, Transfer,
};
use crate::schema::{Control, ErrorBody, control};
use crate::switchboard::trunk::refer_target;
use crate::types::call::TurnRole;
use crate::types::{CallId, EndReason, Pii};

/// Longest context, characters: a long page of text.
const CONTEXT_CHARS_MAX: usize = 16_000;
/// Longest reason of an end, characters.
const REASON_CHARS_MAX: usize = 200;
/// Types of `/control`, for messages.
const TYPES: &str =
    "`say`, `inject-context`, `transfer`, `end-call`, `interrupt`, `mute`, `unmute`, `dtmf`";

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
        "end-call" | "end" => Control::EndCall(from_object(body)?),
        "interrupt" => Control::Interrupt(from_object(body)?),
        "mute" => Control::Mute(from_object(body)?),
        "unmute" => Control::Unmute(from_object(body)?),
        "dtmf" => Control::Dtmf(from_object(body)?),
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
    "Blind transfer by REFER. If it fails, the agent goes on.",
    {"destination": "+15550123", "message": "I will connect you."});
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

async fn give(api: &Api, principal: &Principal, id: CallId, control: Control) -> Answer {
    let name = control.name();
    let command = check(control)?;
    // Whose call it is decides before its state does: somebody else's does not exist.
    api.call(principal, id).await?;
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
        Err(CommandError::TransferPending) => Err(ApiError::new(Code::TransferPending)),
        Err(CommandError::Busy) => Err(ApiError::new(Code::TooManyCommands)),
    }
}

/// Checks a command and turns it into the call's own.
fn check(control: Control) -> Result<CallCommand, ApiError> {
    match control {
        Control::Say(Say { content, end_after, interrupt, interruptible }) => {
            check_text("content", Some(&content))?;
            let content = Pii::new(content);
            Ok(CallCommand::Say { content, interrupt, interruptible, end_after })
        }
        Control::InjectContext(InjectContext { content, role, trigger_response }) => {
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
        Control::Transfer(Transfer {
            destination,
            mode: control::TransferMode::Blind,
            message,
        }) => {
            let target =
                refer_target(&destination).ok_or_else(|| bad_destination("destination"))?;
            check_text("message", message.as_deref())?;
            let message = message.map(Pii::new);
            Ok(CallCommand::Transfer { destination: Pii::new(target), message })
        }
        Control::EndCall(EndCall { message, reason }) => {
            check_text("message", message.as_deref())?;
            if reason.is_some_and(|reason| reason.chars().count() > REASON_CHARS_MAX) {
                let message = format!("`reason` has at most {REASON_CHARS_MAX} characters");
                return Err(bad_field("reason", message));
            }
            let message = message.map(Pii::new);
            Ok(CallCommand::End { message, reason: EndReason::ApiHangup })
        }
        Control::Interrupt(Interrupt {}) => Ok(CallCommand::Interrupt),
        Control::Mute(Mute { target }) => {
            Ok(CallCommand::Mute { target: whose(target), state: MuteState::Muted })
        }
        Control::Unmute(Mute { target }) => {
            Ok(CallCommand::Mute { target: whose(target), state: MuteState::Open })
        }
        Control::Dtmf(dtmf) => check_dtmf(dtmf),
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
