//! One tool, checked: what the model is told of it and what is done when it is called.

use serde_json::{Value, json};

use crate::dsl::json_schema::JsonSchema;
use crate::dsl::template;
use crate::schema::tool::{Tool, ToolType};

/// Most tools of an agent.
pub const TOOLS_MAX: usize = 32;
/// Longest name of a function: what OpenAI takes.
const NAME_CHARS_MAX: usize = 64;
/// Longest description, characters: it goes into every request to the model.
const DESCRIPTION_CHARS_MAX: usize = 4_000;
/// Headers of one tool.
const HEADERS_MAX: usize = 32;
/// Destinations of one transfer tool.
const DESTINATIONS_MAX: usize = 32;
/// Longest words that are spoken around a tool, characters.
const WORDS_CHARS_MAX: usize = 1_000;
/// Methods of an `http` tool.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

/// What is wrong with a tool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {message}")]
pub struct ToolError {
    /// Field of the tool.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// A tool that can be used.
#[derive(Clone)]
pub struct ToolSpec {
    /// Name the model calls it by.
    pub name: String,
    /// Its definition.
    pub tool: Tool,
    pub(super) arguments: JsonSchema,
}

impl PartialEq for ToolSpec {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.tool == other.tool
    }
}

impl std::fmt::Debug for ToolSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The headers of a tool are secrets.
        f.debug_struct("ToolSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

impl ToolSpec {
    /// What is said while it runs.
    pub fn speaks(&self) -> Option<&str> {
        self.tool.speak_during.as_deref()
    }

    /// Checks a definition.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn compile(tool: &Tool) -> Result<Self, ToolError> {
        let name = name(tool)?;
        if tool.description.chars().count() > DESCRIPTION_CHARS_MAX {
            let message = format!("at most {DESCRIPTION_CHARS_MAX} characters");
            return Err(refused("description", message));
        }
        if !(100..=120_000).contains(&tool.timeout_ms) {
            return Err(refused("timeout_ms", "100 to 120000".to_owned()));
        }
        let spoken =
            [("speak_during", &tool.speak_during), ("async_response", &tool.async_response)];
        for (field, words) in spoken {
            if words.as_ref().is_some_and(|words| words.chars().count() > WORDS_CHARS_MAX) {
                return Err(refused(field, format!("at most {WORDS_CHARS_MAX} characters")));
            }
        }
        let schema = match tool.r#type {
            ToolType::Http => {
                check_http(tool)?;
                tool.parameters.clone()
            }
            ToolType::Transfer => {
                check_destinations(tool)?;
                built_in(tool)
            }
            ToolType::Handoff if tool.agent_id.as_ref().is_none_or(String::is_empty) => {
                return Err(refused("agent_id", "a `handoff` tool names an agent".to_owned()));
            }
            _ => built_in(tool),
        };
        if schema.get("type").and_then(Value::as_str) != Some("object") {
            let message = "the schema of the arguments has `\"type\": \"object\"`";
            return Err(refused("parameters", message.to_owned()));
        }
        let arguments = JsonSchema::compile(schema)
            .map_err(|error| refused("parameters", format!("the schema {error}")))?;
        Ok(Self { name, tool: tool.clone(), arguments })
    }

    /// What the model is told of it.
    pub fn description(&self) -> String {
        let own = self.tool.description.trim();
        let mut text = if own.is_empty() { purpose(self.tool.r#type) } else { own }.to_owned();
        for destination in &self.tool.destinations {
            text.push_str(&format!("\n- {}: {}", destination.number, destination.description));
        }
        text
    }

    /// JSON Schema of the arguments.
    pub fn parameters(&self) -> Value {
        self.arguments.schema().clone()
    }
}

fn name(tool: &Tool) -> Result<String, ToolError> {
    let name = match (tool.name.as_str(), tool.r#type) {
        ("", ToolType::Http) => {
            return Err(refused("name", "an `http` tool needs a name".to_owned()));
        }
        ("", built_in) => built_in_name(built_in).to_owned(),
        (name, _) => name.to_owned(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.len() > NAME_CHARS_MAX || !name.chars().all(plain) {
        let message = format!("letters, digits, `_` and `-`, at most {NAME_CHARS_MAX}: `{name}`");
        return Err(refused("name", message));
    }
    Ok(name)
}

fn check_http(tool: &Tool) -> Result<(), ToolError> {
    let method = tool.method.to_ascii_uppercase();
    if !METHODS.contains(&method.as_str()) {
        return Err(refused("method", format!("one of {}", METHODS.join(", "))));
    }
    if !tool.url.is_empty() {
        let rest = ["https://", "http://"].iter().find_map(|scheme| tool.url.strip_prefix(scheme));
        let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
        if host.is_empty() || host.contains(['{', '}', '@', ' ']) {
            let message = "begins with `https://` or `http://` and a host that is no template";
            return Err(refused("url", message.to_owned()));
        }
        template::check(&tool.url).map_err(|error| refused("url", error.to_string()))?;
    }
    if tool.headers.len() > HEADERS_MAX {
        return Err(refused("headers", format!("at most {HEADERS_MAX} headers")));
    }
    for (name, value) in &tool.headers {
        crate::egress::client::check_header(name, value)
            .and_then(|()| template::check(value).map_err(|error| error.to_string()))
            .map_err(|message| refused("headers", message))?;
    }
    Ok(())
}

fn check_destinations(tool: &Tool) -> Result<(), ToolError> {
    if tool.destinations.len() > DESTINATIONS_MAX {
        return Err(refused("destinations", format!("at most {DESTINATIONS_MAX} destinations")));
    }
    for destination in &tool.destinations {
        let number = destination.number.as_str();
        let is_uri = ["sip:", "sips:", "tel:"].iter().any(|scheme| number.starts_with(scheme));
        let is_one = crate::types::PhoneNumber::parse(number).is_ok() || is_uri;
        if !is_one || number.contains(['<', '>', '\r', '\n', ' ']) {
            let message = format!("an E.164 number or a SIP URI: `{number}`");
            return Err(refused("destinations", message));
        }
    }
    Ok(())
}

/// Whether a schema names any argument.
fn names_arguments(schema: &Value) -> bool {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.is_some_and(|properties| !properties.is_empty())
}

/// Arguments of a built-in tool, unless the definition names its own.
fn built_in(tool: &Tool) -> Value {
    if tool.r#type == ToolType::SetVariable && names_arguments(&tool.parameters) {
        return tool.parameters.clone();
    }
    let text = |description: &str| json!({"type": "string", "description": description});
    match tool.r#type {
        ToolType::Http => tool.parameters.clone(),
        ToolType::EndCall => json!({"type": "object", "properties": {
            "message": text("Last words to the caller, if they were not said yet."),
            "reason": text("Why the call ends."),
        }}),
        ToolType::Transfer if tool.destinations.len() > 1 => {
            let numbers: Vec<&str> = tool.destinations.iter().map(|d| d.number.as_str()).collect();
            json!({"type": "object", "required": ["destination"], "properties": {
                "destination": {"type": "string", "enum": numbers},
            }})
        }
        ToolType::Transfer => json!({"type": "object", "properties": {
            "reason": text("Why the caller is transferred."),
        }}),
        ToolType::SendDtmf => json!({"type": "object", "required": ["digits"], "properties": {
            "digits": {"type": "string", "pattern": "^[0-9*#A-Dw,]{1,64}$",
                "description": "Keys to press; `w` pauses half a second, `,` two."},
        }}),
        ToolType::SetVariable => {
            json!({"type": "object", "required": ["name", "value"], "properties": {
                "name": text("Name of the value."),
                "value": {"type": ["string", "number", "boolean"]},
            }})
        }
        ToolType::Hold => json!({"type": "object", "properties": {
            "seconds": {"type": "integer", "minimum": 5, "maximum": 600,
                "description": "How long; 30 unless given. Then the caller is back."},
        }}),
        ToolType::Handoff => json!({"type": "object", "properties": {
            "message": text("First words of the other agent to the caller; its greeting unless given."),
        }}),
    }
}

fn purpose(kind: ToolType) -> &'static str {
    match kind {
        ToolType::Http => "",
        ToolType::EndCall => "Ends the call. Say goodbye first.",
        ToolType::Transfer => "Transfers the caller to a person.",
        ToolType::SendDtmf => "Presses keys of the telephone.",
        ToolType::SetVariable => "Notes a value that the caller gave.",
        ToolType::Hold => "Puts the caller on hold for a while.",
        ToolType::Handoff => "Lets another agent go on with this call.",
    }
}

/// Name of a built-in tool that has none of its own.
fn built_in_name(kind: ToolType) -> &'static str {
    match kind {
        ToolType::Http => "http",
        ToolType::EndCall => "end_call",
        ToolType::Transfer => "transfer",
        ToolType::SendDtmf => "send_dtmf",
        ToolType::SetVariable => "set_variable",
        ToolType::Hold => "hold",
        ToolType::Handoff => "handoff",
    }
}

fn refused(field: &'static str, message: String) -> ToolError {
    ToolError { field, message }
}
