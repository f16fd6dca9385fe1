//! Tools in a script: what an option calls, what is kept of the results, and how they lead on.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::script::fill;
use crate::providers::phrase::{SlotKind, Slots};

/// Most calls of one option: they run at the same time.
pub(super) const CALLS_MAX: usize = 8;
/// Most branches of one option.
const BRANCHES_MAX: usize = 16;
/// Longest value that is kept of a result, characters.
const KEPT_CHARS_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallFile {
    tool: String,
    #[serde(default)]
    arguments: toml::Table,
    /// Name of a value and where it is in the result (RFC 6901).
    #[serde(default)]
    pub(super) keep: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ThenFile {
    when: Option<WhenFile>,
    reply: Option<String>,
    goto: Option<String>,
    #[serde(default)]
    end: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WhenFile {
    tool: String,
    error: Option<bool>,
    at: Option<String>,
    is: Option<toml::Value>,
}

/// What an option does besides talking.
pub(super) struct Action {
    calls: Vec<Call>,
    pub(super) branches: Vec<Branch>,
}

struct Call {
    tool: String,
    arguments: Value,
    keep: BTreeMap<String, String>,
}

/// One way on.
pub(super) struct Branch {
    when: Option<When>,
    pub(super) reply: String,
    pub(super) goto: Option<String>,
    pub(super) end: bool,
}

struct When {
    /// Position of the call it is about.
    call: usize,
    error: Option<bool>,
    at: String,
    is: Option<Value>,
}

impl Action {
    /// Checks what is written; `None` where nothing is.
    pub(super) fn check(calls: Vec<CallFile>, then: Vec<ThenFile>) -> Result<Option<Self>, String> {
        if calls.is_empty() {
            return if then.is_empty() {
                Ok(None)
            } else {
                Err("`then` needs a `call` before it".to_owned())
            };
        }
        if calls.len() > CALLS_MAX || then.len() > BRANCHES_MAX {
            return Err(format!("at most {CALLS_MAX} calls and {BRANCHES_MAX} branches"));
        }
        let calls: Vec<Call> =
            calls.into_iter().map(CallFile::check).collect::<Result<_, String>>()?;
        let branches: Vec<Branch> =
            then.into_iter().map(|then| then.check(&calls)).collect::<Result<_, String>>()?;
        if branches.last().is_none_or(|last| last.when.is_some()) {
            return Err("the last branch of `then` has no `when`: something must follow".to_owned());
        }
        Ok(Some(Self { calls, branches }))
    }

    /// Every template of the arguments.
    pub(super) fn templates(&self) -> Vec<String> {
        fn strings(value: &Value, out: &mut Vec<String>) {
            match value {
                Value::String(text) => out.push(text.clone()),
                Value::Array(values) => values.iter().for_each(|value| strings(value, out)),
                Value::Object(fields) => fields.values().for_each(|value| strings(value, out)),
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
        let mut out = Vec::new();
        self.calls.iter().for_each(|call| strings(&call.arguments, &mut out));
        out
    }

    /// Tools and arguments, with the values of slots.
    pub(super) fn calls(
        &self,
        values: &BTreeMap<String, String>,
        slots: &Slots,
    ) -> Vec<(String, Value)> {
        let filled = |call: &Call| (call.tool.clone(), filled(&call.arguments, values, slots));
        self.calls.iter().map(filled).collect()
    }

    /// Keeps what the script wants of the results.
    pub(super) fn keep(&self, results: &[Value], values: &mut BTreeMap<String, String>) {
        for (call, result) in self.calls.iter().zip(results) {
            for (name, at) in &call.keep {
                let text = match result.pointer(at) {
                    None | Some(Value::Null) => continue,
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                };
                values.insert(name.clone(), text.chars().take(KEPT_CHARS_MAX).collect());
            }
        }
    }

    /// The first branch that fits.
    pub(super) fn branch(&self, results: &[Value]) -> Option<&Branch> {
        self.branches.iter().find(|branch| match &branch.when {
            None => true,
            Some(when) => when.fits(results.get(when.call).unwrap_or(&Value::Null)),
        })
    }
}

impl CallFile {
    fn check(self) -> Result<Call, String> {
        if self.tool.is_empty() {
            return Err("a call names its `tool`".to_owned());
        }
        if let Some(wrong) = self.keep.values().find(|at| !at.is_empty() && !at.starts_with('/')) {
            return Err(format!("a place in a result begins with `/`: `{wrong}`"));
        }
        let arguments = serde_json::to_value(self.arguments).map_err(|error| error.to_string())?;
        Ok(Call { tool: self.tool, arguments, keep: self.keep })
    }
}

impl ThenFile {
    fn check(self, calls: &[Call]) -> Result<Branch, String> {
        let reply = self.reply.unwrap_or_default();
        if reply.is_empty() && self.goto.is_none() {
            return Err("a branch needs a reply or goto, or the agent stays silent".to_owned());
        }
        let when = match self.when {
            None => None,
            Some(when) => {
                let call = calls
                    .iter()
                    .position(|call| call.tool == when.tool)
                    .ok_or_else(|| format!("`when` names `{}`, which is not called", when.tool))?;
                let is = when.is.map(serde_json::to_value).transpose();
                let is = is.map_err(|error| error.to_string())?;
                Some(When { call, error: when.error, at: when.at.unwrap_or_default(), is })
            }
        };
        Ok(Branch { when, reply, goto: self.goto, end: self.end })
    }
}

impl When {
    fn fits(&self, result: &Value) -> bool {
        let failed = result.is_null() || result.get("error").is_some_and(|error| !error.is_null());
        if self.error.is_some_and(|wanted| wanted != failed) {
            return false;
        }
        let found = result.pointer(&self.at);
        match &self.is {
            Some(wanted) => found == Some(wanted),
            None => self.at.is_empty() || found.is_some_and(|found| !found.is_null()),
        }
    }
}

/// Arguments with values in place of templates. One slot alone that holds a number becomes a number.
fn filled(value: &Value, values: &BTreeMap<String, String>, slots: &Slots) -> Value {
    match value {
        Value::String(template) => {
            let alone = template.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            let number = alone
                .filter(|name| matches!(slots.get(*name), Some(SlotKind::Number { .. })))
                .and_then(|name| values.get(name)?.parse::<i64>().ok());
            number.map_or_else(|| Value::String(fill(template, values)), Value::from)
        }
        Value::Array(all) => all.iter().map(|value| filled(value, values, slots)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), filled(value, values, slots))).collect()
        }
        other @ (Value::Null | Value::Bool(_) | Value::Number(_)) => other.clone(),
    }
}
