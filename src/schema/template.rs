//! Templates: tools and analyses that several agents share.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::tool::Tool;
use crate::types::AnalysisSpec;

/// A tool that several agents share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ToolTemplate {
    /// What a person calls it.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The tool.
    pub tool: Tool,
}

/// A question that is asked about a call once it is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AnalysisTemplate {
    /// Key of its output when there are several: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Instructions of the model.
    pub system_prompt: String,
    /// The question; `{transcript}` stands for the conversation.
    pub user_prompt: String,
    /// JSON Schema of the answer.
    #[schema(value_type = Object)]
    pub schema: serde_json::Value,
    /// Name of a language model's provider instead of the agent's.
    pub provider: Option<String>,
    /// Model instead of the provider's usual one.
    pub model: Option<String>,
}

impl Default for AnalysisTemplate {
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            system_prompt: String::new(),
            user_prompt: "{transcript}".to_owned(),
            schema: serde_json::json!({"type": "object"}),
            provider: None,
            model: None,
        }
    }
}

impl From<&AnalysisTemplate> for AnalysisSpec {
    fn from(template: &AnalysisTemplate) -> Self {
        Self {
            name: template.name.clone(),
            system_prompt: template.system_prompt.clone(),
            user_prompt: template.user_prompt.clone(),
            schema: template.schema.clone(),
            provider: template.provider.clone(),
            model: template.model.clone(),
        }
    }
}

/// Body of a tool template's test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TestTool {
    /// What the model would call it with.
    #[schema(value_type = Object)]
    pub arguments: serde_json::Map<String, serde_json::Value>,
    /// Values of the variables.
    pub variables: std::collections::BTreeMap<String, String>,
}

/// What a test of a tool gave.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct ToolTestResult {
    /// What the model would be told.
    pub text: String,
    /// Whether it failed.
    pub is_error: bool,
    /// HTTP status, if a server answered.
    pub status_code: Option<u16>,
    /// What the call would do: `end_call`, `transfer`, `send_dtmf`, `set_variable`, `hold` or `handoff`.
    pub action: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
}

/// Body of an analysis template's test.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TestAnalysis {
    /// Agent whose language model answers.
    pub agent_id: String,
    /// The conversation.
    pub transcript: String,
}

/// What a test of an analysis gave.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct AnalysisTestResult {
    /// The model's words.
    pub text: String,
    /// The same as JSON; null if it is none.
    #[schema(value_type = Option<Object>)]
    pub output: Option<serde_json::Value>,
    /// What kept the model from answering.
    pub error: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
}

/// Body of an agent's test turn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TestTurn {
    /// What the caller says.
    pub text: String,
    /// The conversation before, oldest first. At most 100.
    pub history: Vec<TestMessage>,
    /// Values of the variables.
    pub variables: std::collections::BTreeMap<String, String>,
    /// JSON the agent may refer to.
    #[schema(value_type = Option<Object>)]
    pub context: Option<serde_json::Value>,
}

/// One message of a test turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestMessage {
    /// `user` or `assistant`.
    pub role: TestRole,
    /// Text.
    pub content: String,
}

/// Whose message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum TestRole {
    User,
    Assistant,
}

/// What the agent answers.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct TestTurnReply {
    /// Its words.
    pub text: String,
    /// Whether it wants to hang up after them.
    pub end_call: bool,
    /// The system prompt as rendered.
    pub prompt: String,
    /// What kept the model from answering.
    pub error: Option<String>,
    /// From the request to the first word.
    pub first_token_ms: Option<u64>,
    /// From the request to the last word.
    pub duration_ms: u64,
}
