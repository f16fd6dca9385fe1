//! Texts with variables: `{{name}}`, `{% if %}` and `{% for %}`, strict and bounded. `minijinja` is named only here.
//!
//! The texts come from tenants: a name that nobody gave is an error, nothing is read from disk, and neither time
//! nor memory can be used up. Values in a URL are escaped, so that what a caller said stays one segment or one value.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value};

/// Steps of one rendering: a text of the greatest length needs a few thousand.
const FUEL: u64 = 20_000;
/// Nested expressions and blocks.
const RECURSION_MAX: usize = 50;
/// Longest result, bytes.
pub const RENDERED_BYTES_MAX: usize = 65_536;
/// Longest URL or header that is made, bytes.
const LINE_BYTES_MAX: usize = 4_096;
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
    /// It goes where a single line goes.
    #[error("the text is no single line of at most {LINE_BYTES_MAX} bytes")]
    Line,
}

/// Where a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Into words: values go in as they are.
    Text,
    /// Into a header: as they are, on one line.
    Header,
    /// Into a URL: escaped for a path or a query (RFC 3986 section 2.3), on one line.
    Url,
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
        self.values.insert(name.to_owned(), Value::from(minijinja::value::Serde(value)));
    }

    /// Renders a text for a place.
    ///
    /// # Errors
    /// When it cannot be understood, refers to something that is not here, or is too much.
    pub fn render(&self, source: &str, place: Place) -> Result<String, RenderError> {
        if !has_tags(source) {
            return Ok(source.to_owned());
        }
        let text = self.text_of(source, place)?;
        let one_line = text.len() <= LINE_BYTES_MAX && !text.contains(['\r', '\n', '\0']);
        if place == Place::Text || one_line { Ok(text) } else { Err(RenderError::Line) }
    }

    fn text_of(&self, source: &str, place: Place) -> Result<String, RenderError> {
        check_tags(source)?;
        let environment = environment(place);
        let template = environment.template_from_str(source).map_err(|error| syntax(&error))?;
        let missing: BTreeSet<String> = template.undeclared_variables(false).into_iter().collect();
        let is_function = |name: &str| environment.globals().any(|(global, _)| global == name);
        let is_missing =
            |name: &String| !self.values.contains_key(name.as_str()) && !is_function(name);
        if let Some(name) = missing.into_iter().find(is_missing) {
            return Err(RenderError::Missing(name));
        }
        let mut out = Bounded(Vec::new());
        let values = Value::from_pairs(self.values.iter().map(|(k, v)| (k.clone(), v.clone())));
        match template.render_captured_to(values, &mut out) {
            Ok(_) => String::from_utf8(out.0).map_err(|_| RenderError::TooMuch),
            Err(error) => Err(match error.kind() {
                ErrorKind::UndefinedError => RenderError::Missing("a part of a value".to_owned()),
                ErrorKind::OutOfFuel | ErrorKind::WriteFailure => RenderError::TooMuch,
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
        environment(Place::Text).template_from_str(source).map_err(|error| syntax(&error))?;
    }
    Ok(())
}

fn environment(place: Place) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_MAX);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    if place == Place::Url {
        environment.set_formatter(|out, _, value| {
            if value.is_undefined() {
                return Err(ErrorKind::UndefinedError.into());
            }
            out.write_str(&escape(&value.to_string())).map_err(minijinja::Error::from)
        });
    }
    environment
}

/// A text as one segment of a path, or one value of a query.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // A segment of dots alone would climb the path.
    if text.bytes().all(|byte| byte == b'.') { out.replace('.', "%2E") } else { out }
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
