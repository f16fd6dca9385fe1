//! What a language model may do during a call besides talking: the tools of an agent, checked and ready.
//!
//! Definitions are public JSON ([`crate::schema::tool`]); [`ToolSpec::compile`] checks one. When the model
//! calls a tool, [`plan()`] decides what becomes of it: the call itself acts ([`Action`]), a server is asked
//! ([`Runner`]), or the model is told in words why not. Whatever comes back is bounded text for the model.
//! Start reading at [`plan()`].

mod answer;
mod builtin;
pub mod confirm;
mod plan;
mod run;
pub mod spec;

use serde::{Deserialize, Serialize};

pub use builtin::Action;
pub use plan::{Asked, Job, Plan, plan};
pub use run::{Done, Facts, Runner};
pub use spec::{ToolError, ToolSpec};

/// The `[tools]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolsConfig {
    /// Whether tools may ask servers on loopback and in private networks.
    pub allow_private_targets: bool,
    /// Where `tool.call` and `transfer.request` go for agents that have no webhook; empty: nowhere.
    pub webhook_url: String,
    /// How long `transfer.request` may take, milliseconds.
    pub transfer_request_ms: u32,
}

impl Default for ToolsConfig {
    fn default() -> Self {
        Self {
            allow_private_targets: false,
            webhook_url: String::new(),
            transfer_request_ms: 5_000,
        }
    }
}

/// What the model is told of a tool that is done or was not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Text for the model; of a failure it is an object with `error`.
    pub text: String,
    /// Whether it failed, or was not run.
    pub is_error: bool,
    /// HTTP status, if a server answered.
    pub status_code: Option<u16>,
}

impl Outcome {
    /// It worked.
    pub fn ok(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_error: false, status_code: None }
    }

    /// It did not; the words say why and what to do.
    pub fn failed(why: impl Into<String>) -> Self {
        let text = serde_json::json!({"error": why.into()}).to_string();
        Self { text, is_error: true, status_code: None }
    }
}

#[cfg(test)]
mod tests;
