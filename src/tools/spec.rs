//! One tool, checked: what the model is told of it and what is done when it is called.

use crate::schema::tool::{Tool, ToolType};

/// Most tools of an agent.
pub const TOOLS_MAX: usize = 32;
/// Longest name of a function: what OpenAI takes.
const NAME_CHARS_MAX: usize = 64;

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
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// Name the model calls it by.
    pub name: String,
    /// Its definition.
    pub tool: Tool,
}

impl ToolSpec {
    /// Checks a definition.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    pub fn compile(tool: &Tool) -> Result<Self, ToolError> {
        let name = match (tool.name.as_str(), tool.r#type) {
            ("", ToolType::Http) => {
                return Err(refused("name", "an `http` tool needs a name".to_owned()));
            }
            ("", built_in) => built_in_name(built_in).to_owned(),
            (name, _) => name.to_owned(),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.len() > NAME_CHARS_MAX || !name.chars().all(plain) {
            let message =
                format!("letters, digits, `_` and `-`, at most {NAME_CHARS_MAX}: `{name}`");
            return Err(refused("name", message));
        }
        if !(100..=120_000).contains(&tool.timeout_ms) {
            return Err(refused("timeout_ms", "100 to 120000".to_owned()));
        }
        Ok(Self { name, tool: tool.clone() })
    }

    /// What the model is told of it.
    pub fn description(&self) -> String {
        self.tool.description.clone()
    }

    /// JSON Schema of the arguments.
    pub fn parameters(&self) -> serde_json::Value {
        self.tool.parameters.clone()
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
