//! What a tool was asked during a call, and what it gave.

use serde::{Deserialize, Serialize};

use super::Pii;

/// Characters of a result that the model is reminded of in later turns.
const REMEMBERED_CHARS_MAX: usize = 2_000;

/// One use of a tool, as the transcript keeps it. Headers and secrets are not in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolUse {
    /// The model's name for this use.
    pub call_id: String,
    /// Which tool.
    pub name: String,
    /// What it was asked.
    pub arguments: Pii<serde_json::Value>,
    /// What the model was told.
    pub result: Pii<String>,
    /// Whether it failed, or was not run.
    pub is_error: bool,
    /// HTTP status, if a server answered.
    pub status_code: Option<u16>,
    /// From the request to the result.
    pub duration_ms: u64,
}

impl ToolUse {
    /// The same in one line, for the model's memory and for transcripts in words.
    pub fn note(&self) -> String {
        let result = self.result.reveal();
        let head: String = result.chars().take(REMEMBERED_CHARS_MAX).collect();
        let more = if head.len() < result.len() { " ..." } else { "" };
        let verb = if self.is_error { "failed" } else { "gave" };
        format!("{}({}) {verb}: {head}{more}", self.name, self.arguments.reveal())
    }
}
