//! What becomes of a call of a tool: nothing runs before its arguments are checked.

use serde_json::Value;

use super::builtin::{Action, action};
use super::spec::ToolSpec;
use super::{Outcome, confirm};
use crate::dsl::json_schema::Quoting;
use crate::schema::tool::{ToolPolicy, ToolType};

/// What the model asked for, and what was said before.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The model's name for this use.
    pub call_id: &'a str,
    /// Which tool.
    pub name: &'a str,
    /// JSON as the model wrote it.
    pub arguments: &'a str,
    /// Language of the talk.
    pub language: &'a str,
    /// The agent's words before the caller's last ones.
    pub question: Option<&'a str>,
    /// The caller's last words.
    pub reply: Option<&'a str>,
}

/// A server to ask.
#[derive(Clone, Debug)]
pub struct Job {
    /// With which tool.
    pub spec: ToolSpec,
    /// The model's name for this use.
    pub call_id: String,
    /// What it is asked; checked.
    pub arguments: Value,
}

impl Job {
    /// Whether it changes something out there: then it is not cut off.
    pub fn writes(&self) -> bool {
        self.spec.tool.policy == ToolPolicy::ConfirmFirstWrite
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Ask a server with [`super::Runner::run`].
    Ask(Box<Job>),
    /// The call does it itself.
    Act(Action),
    /// Nothing; the model is told why.
    Refuse(Outcome),
}

/// Decides about one call of a tool.
pub fn plan(tools: &[ToolSpec], asked: Asked<'_>) -> Plan {
    let Some(spec) = tools.iter().find(|spec| spec.name == asked.name) else {
        let names: Vec<&str> = tools.iter().map(|spec| spec.name.as_str()).collect();
        let why = format!("there is no tool `{}`; there are: {}", asked.name, names.join(", "));
        return Plan::Refuse(Outcome::failed(why));
    };
    let text = if asked.arguments.trim().is_empty() { "{}" } else { asked.arguments };
    let arguments: Value = match serde_json::from_str(text) {
        Ok(arguments) => arguments,
        Err(_) => return Plan::Refuse(Outcome::failed("the arguments are not JSON")),
    };
    let faults = spec.arguments.faults(&arguments, Quoting::Values);
    if !faults.is_empty() {
        let why = format!("the arguments do not fit: {}", faults.join("; "));
        return Plan::Refuse(Outcome::failed(why));
    }
    if spec.tool.policy == ToolPolicy::ConfirmFirstWrite
        && !confirm::is_confirmed(asked.language, asked.question, asked.reply)
    {
        return Plan::Refuse(confirmation_required());
    }
    match (action(spec, &arguments), spec.tool.r#type) {
        (Some(action), _) => Plan::Act(action),
        (None, ToolType::Http | ToolType::Transfer) => Plan::Ask(Box::new(Job {
            spec: spec.clone(),
            call_id: asked.call_id.to_owned(),
            arguments,
        })),
        (None, _) => Plan::Refuse(Outcome::failed("this tool does nothing")),
    }
}

fn confirmation_required() -> Outcome {
    let text = serde_json::json!({
        "error": "confirmation_required",
        "message": "Nothing was done. Tell the caller what you are about to do, ask whether you shall, \
                    and call the tool again after they said yes.",
    });
    Outcome { text: text.to_string(), is_error: true, status_code: None }
}
