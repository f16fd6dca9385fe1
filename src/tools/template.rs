//! Templates in URLs and headers. `minijinja` is named only here.
//!
//! A name that is not there is an error, never an empty text. Values in a URL are escaped, so that what a
//! caller said stays one segment or one value; the host is never a template.

use minijinja::{Environment, UndefinedBehavior};
use serde_json::Value;

/// Steps of one template: a handful of values and filters.
const FUEL: u64 = 10_000;
/// Longest text that is made, bytes.
const TEXT_BYTES_MAX: usize = 4_096;

/// Where a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Values are escaped for a path or a query (RFC 3986 section 2.3).
    Url,
    /// Values go in as they are.
    Header,
}

fn environment(place: Place) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_formatter(move |out, _, value| {
        if value.is_undefined() {
            return Err(minijinja::ErrorKind::UndefinedError.into());
        }
        let text = value.to_string();
        let text = if place == Place::Url { escape(&text) } else { text };
        out.write_str(&text).map_err(minijinja::Error::from)
    });
    environment
}

/// Checks the grammar of a template.
pub(super) fn check(template: &str) -> Result<(), String> {
    environment(Place::Header).template_from_str(template).map(drop).map_err(|error| words(&error))
}

/// Puts values in.
pub(super) fn render(template: &str, values: &Value, place: Place) -> Result<String, String> {
    if !template.contains('{') {
        return Ok(template.to_owned());
    }
    let text = environment(place)
        .render_str(template, minijinja::Value::from(minijinja::value::Serde(values)))
        .map_err(|error| words(&error))?;
    if text.len() > TEXT_BYTES_MAX || text.contains(['\r', '\n', '\0']) {
        return Err(format!("a template made no single line of at most {TEXT_BYTES_MAX} bytes"));
    }
    Ok(text)
}

/// Without the values, which may be personal.
fn words(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

pub(super) fn escape(text: &str) -> String {
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
