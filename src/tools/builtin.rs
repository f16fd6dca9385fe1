//! Tools that the call itself does.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::text_of;
use super::spec::ToolSpec;
use crate::schema::tool::ToolType;

/// How long a caller is on hold unless the model says otherwise, seconds.
const HOLD_SECONDS: u64 = 30;
/// Longest value of a variable, characters.
const VALUE_CHARS_MAX: usize = 1_000;

/// What the call does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Hang up after the last word.
    EndCall {
        /// Words before it.
        message: Option<String>,
    },
    /// Hand the caller to somebody else.
    Transfer {
        /// E.164 number or SIP URI.
        destination: String,
        /// Words before it.
        message: Option<String>,
    },
    /// Press keys.
    SendDtmf {
        /// Which.
        digits: String,
    },
    /// Note values.
    SetVariables(BTreeMap<String, String>),
    /// Put the caller on hold.
    Hold {
        /// For so long.
        seconds: u64,
    },
    /// Let another agent go on.
    Handoff {
        /// Which.
        agent: String,
        /// Its first words; `None`: its greeting.
        message: Option<String>,
    },
}

impl Action {
    /// The kind of tool that asks for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::EndCall { .. } => "end_call",
            Self::Transfer { .. } => "transfer",
            Self::SendDtmf { .. } => "send_dtmf",
            Self::SetVariables(_) => "set_variable",
            Self::Hold { .. } => "hold",
            Self::Handoff { .. } => "handoff",
        }
    }
}

/// The action of a built-in tool; `None`: a server has to be asked.
pub(super) fn action(spec: &ToolSpec, arguments: &Value) -> Option<Action> {
    let text = |name: &str| arguments.get(name).and_then(Value::as_str).map(str::to_owned);
    let words = |name: &str| text(name).filter(|words| !words.trim().is_empty());
    let tool = &spec.tool;
    Some(match tool.r#type {
        ToolType::Http => return None,
        ToolType::EndCall => Action::EndCall { message: words("message") },
        ToolType::Transfer => {
            let wanted = text("destination");
            let chosen = match wanted {
                Some(number) => tool.destinations.iter().find(|d| d.number == number),
                None => tool.destinations.first(),
            }?;
            Action::Transfer {
                destination: chosen.number.clone(),
                message: chosen.message.clone().filter(|words| !words.trim().is_empty()),
            }
        }
        ToolType::SendDtmf => Action::SendDtmf { digits: text("digits").unwrap_or_default() },
        ToolType::SetVariable => Action::SetVariables(variables(spec, arguments)),
        ToolType::Hold => Action::Hold {
            seconds: arguments.get("seconds").and_then(Value::as_u64).unwrap_or(HOLD_SECONDS),
        },
        ToolType::Handoff => Action::Handoff {
            agent: tool.agent_id.clone().unwrap_or_default(),
            message: words("message"),
        },
    })
}

/// One value by name, or every argument if the definition names its own.
fn variables(spec: &ToolSpec, arguments: &Value) -> BTreeMap<String, String> {
    let value = |value: &Value| text_of(value).chars().take(VALUE_CHARS_MAX).collect::<String>();
    let own = spec.tool.parameters.get("properties").and_then(Value::as_object);
    if own.is_some_and(|properties| !properties.is_empty()) {
        let fields = arguments.as_object().into_iter().flatten();
        return fields.map(|(name, field)| (name.clone(), value(field))).collect();
    }
    let name = arguments.get("name").and_then(Value::as_str).unwrap_or_default();
    let found = arguments.get("value").map(value).unwrap_or_default();
    BTreeMap::from([(name.to_owned(), found)])
}
