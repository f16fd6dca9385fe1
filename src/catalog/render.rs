//! Texts with variables: `{{name}}`, `{% if %}` and `{% for %}`, strict and bounded.
//!
//! The texts come from tenants: a name that nobody gave is an error, nothing is read from disk, and neither time
//! nor memory can be used up.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use minijinja::{Environment, UndefinedBehavior, Value};

/// Steps of one rendering: a text of the greatest length needs a few thousand.
const FUEL: u64 = 20_000;
/// Nested expressions and blocks.
const RECURSION_MAX: usize = 50;
/// Longest result, bytes.
pub const RENDERED_BYTES_MAX: usize = 65_536;
/// Statements that are understood. The others could build texts of any length.
const STATEMENTS: &[&str] = &["if", "elif", "else", "endif", "for", "endfor", "raw", "endraw"];

/// Why a text has no final form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The text cannot be understood.
    #[error("{0}")]
    Syntax(String),
    /// It refers to something nobody gave.
    #[error("the variable `{0}` has no value")]
    Missing(String),
    /// It is too long or takes too long.
    #[error("the text takes too long, or becomes longer than {RENDERED_BYTES_MAX} bytes")]
    TooMuch,
}

/// What texts can refer to.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    values: BTreeMap<String, Value>,
}

impl Scope {
    /// Adds a text; a later one of the same name wins.
    pub fn text(&mut self, name: &str, value: &str) {
        self.values.insert(name.to_owned(), Value::from(value));
    }

    /// Adds JSON.
    pub fn json(&mut self, name: &str, value: &serde_json::Value) {
        self.values.insert(name.to_owned(), Value::from_serialize(value));
    }

    /// Renders a text.
    ///
    /// # Errors
    /// When it cannot be understood, refers to something that is not here, or is too much.
    pub fn render(&self, source: &str) -> Result<String, RenderError> {
        if !has_tags(source) {
            return Ok(source.to_owned());
        }
        check_tags(source)?;
        let environment = environment();
        let template = environment.template_from_str(source).map_err(|error| syntax(&error))?;
        let missing: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
        let is_function = |name: &str| environment.globals().any(|(global, _)| global == name);
        let is_missing =
            |name: &String| !self.values.contains_key(name.as_str()) && !is_function(name);
        if let Some(name) = missing.into_iter().find(is_missing) {
            return Err(RenderError::Missing(name));
        }
        let mut out = Bounded(Vec::new());
        let values = Value::from_iter(self.values.iter().map(|(k, v)| (k.clone(), v.clone())));
        match template.render_captured_to(values, &mut out) {
            Ok(_) => String::from_utf8(out.0).map_err(|_| RenderError::TooMuch),
            Err(error) => Err(match error.kind() {
                minijinja::ErrorKind::UndefinedError => {
                    RenderError::Missing("a part of a value".to_owned())
                }
                minijinja::ErrorKind::OutOfFuel | minijinja::ErrorKind::WriteFailure => {
                    RenderError::TooMuch
                }
                _ => syntax(&error),
            }),
        }
    }
}

/// Checks that a text can be understood; which values it needs shows when it is used.
///
/// # Errors
/// What is wrong with it.
pub fn check(source: &str) -> Result<(), RenderError> {
    if has_tags(source) {
        check_tags(source)?;
        environment().template_from_str(source).map_err(|error| syntax(&error))?;
    }
    Ok(())
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment
}

fn has_tags(source: &str) -> bool {
    source.contains("{{") || source.contains("{%") || source.contains("{#")
}

/// minijinja's own message names places, never values.
fn syntax(error: &minijinja::Error) -> RenderError {
    let what = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let line = error.line().map_or_else(String::new, |line| format!(" (line {line})"));
    RenderError::Syntax(format!("the template cannot be understood: {what}{line}"))
}

/// Repetition (`"x" * 1000000`) and assignment could fill the memory before anything is written.
fn check_tags(source: &str) -> Result<(), RenderError> {
    let mut rest = source;
    while let Some(at) = rest.find('{') {
        let tail = rest.get(at..).unwrap_or_default();
        let close = match tail.get(..2) {
            Some("{{") => "}}",
            Some("{%") => "%}",
            _ => {
                rest = tail.get(1..).unwrap_or_default();
                continue;
            }
        };
        let body = tail.get(2..).unwrap_or_default();
        let inner = body.split(close).next().unwrap_or_default();
        if inner.contains('*') {
            let message = "templates do not multiply: take the `*` out".to_owned();
            return Err(RenderError::Syntax(message));
        }
        if close == "%}" {
            let words = inner.trim_start_matches(['-', '+']).split_whitespace();
            let word = words.map(|word| word.trim_end_matches('-')).next().unwrap_or_default();
            if !STATEMENTS.contains(&word) {
                let known = STATEMENTS.join("`, `");
                let message = format!("`{word}` is no statement of templates: they have `{known}`");
                return Err(RenderError::Syntax(message));
            }
        }
        rest = body.get(inner.len()..).unwrap_or_default();
    }
    Ok(())
}

struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_BYTES_MAX {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
