//! A tool that the language model may call during a call: body of the API, row of an agent, table in TOML.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a tool does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolType {
    /// Asks a server of yours.
    #[default]
    Http,
    /// Hangs up after the last word.
    EndCall,
    /// Hands the caller to another number.
    Transfer,
    /// Presses keys.
    SendDtmf,
    /// Notes values in `variables_extracted`.
    SetVariable,
    /// Puts the caller on hold.
    Hold,
    /// Lets another agent go on with the call.
    Handoff,
}

/// When a tool may run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolPolicy {
    /// At once.
    #[default]
    Read,
    /// Only when the caller said yes on the turn before; else the model is told `confirmation_required`.
    ConfirmFirstWrite,
}

/// One destination of a transfer tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Destination {
    /// E.164 number or SIP URI.
    pub number: String,
    /// When the model shall choose it.
    pub description: String,
    /// Words the caller hears before the transfer.
    pub message: Option<String>,
}

/// One tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tool {
    /// What it does.
    pub r#type: ToolType,
    /// Name of the function: letters, digits, `_` and `-`, at most 64. Empty: the type.
    pub name: String,
    /// When and how the model shall use it.
    pub description: String,
    /// JSON Schema of the arguments; an object.
    #[schema(value_type = Object)]
    pub parameters: serde_json::Value,
    /// Where an `http` tool asks. Empty: the signed `tool.call` webhook of the agent or organization.
    pub url: String,
    /// Method of an `http` tool.
    pub method: String,
    /// Further headers. Values are templates; `{{name}}` is a variable of the call.
    pub headers: BTreeMap<String, String>,
    /// Whether the model goes on without the answer.
    pub r#async: bool,
    /// What the model is told when `async` is set.
    pub async_response: Option<String>,
    /// Longest wait for the answer.
    pub timeout_ms: u32,
    /// When it may run.
    pub policy: ToolPolicy,
    /// Words the caller hears while it runs.
    pub speak_during: Option<String>,
    /// Destinations of a `transfer` tool. Empty: the signed `transfer.request` webhook is asked.
    pub destinations: Vec<Destination>,
    /// Agent of a `handoff` tool.
    pub agent_id: Option<String>,
}

impl Default for Tool {
    fn default() -> Self {
        Self {
            r#type: ToolType::Http,
            name: String::new(),
            description: String::new(),
            parameters: serde_json::json!({"type": "object", "properties": {}}),
            url: String::new(),
            method: "POST".to_owned(),
            headers: BTreeMap::new(),
            r#async: false,
            async_response: None,
            timeout_ms: 10_000,
            policy: ToolPolicy::Read,
            speak_during: None,
            destinations: Vec::new(),
            agent_id: None,
        }
    }
}
