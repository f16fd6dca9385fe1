//! What servers answer, made into bounded text for the model.

use serde_json::Value;

use super::Outcome;

/// Most of an answer that the model is told, bytes: four thousand tokens.
pub(super) const TOLD_BYTES_MAX: usize = 16 * 1_024;
/// Of the body of a refusal, bytes: it only helps to say what was wrong.
const REFUSAL_BYTES_MAX: usize = 500;
/// Shorter values of headers are no secrets, and would be found in any text.
const SECRET_CHARS_MIN: usize = 6;

/// Whole or cut, and said so.
pub(super) fn bounded(text: String) -> String {
    if text.len() <= TOLD_BYTES_MAX {
        return text;
    }
    let head = text.get(..text.floor_char_boundary(TOLD_BYTES_MAX)).unwrap_or_default();
    format!("{head} [cut: the answer has {} bytes]", text.len())
}

/// JSON without needless blanks, strings without quotes.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The answer of a tool's own server.
pub(super) fn of_server(status: u16, body: &[u8]) -> Outcome {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(value) => text_of(&value),
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    if (200..300).contains(&status) {
        let text = if text.is_empty() { "done".to_owned() } else { bounded(text) };
        return Outcome { text, is_error: false, status_code: Some(status) };
    }
    let head = text.get(..text.floor_char_boundary(REFUSAL_BYTES_MAX)).unwrap_or_default();
    let why = format!("the server answered with HTTP status {status}: {head}");
    Outcome { status_code: Some(status), ..Outcome::failed(why.trim_end_matches([':', ' '])) }
}

/// The answer to a `tool.call`: `{"results": [{"tool_call_id", "result"}]}`, `{"result"}`, `{"error"}`, or
/// any JSON, which is then the result itself.
pub(super) fn of_webhook(call_id: &str, answer: &Value) -> Outcome {
    let told =
        |value: &Value| Outcome { status_code: Some(200), ..Outcome::ok(bounded(text_of(value))) };
    let failed = |value: &Value| Outcome {
        status_code: Some(200),
        ..Outcome::failed(bounded(text_of(value)))
    };
    let one = |entry: &Value| match (entry.get("error"), entry.get("result")) {
        (Some(error), _) if !error.is_null() => Some(failed(error)),
        (_, Some(result)) => Some(told(result)),
        _ => None,
    };
    if let Some(results) = answer.get("results").and_then(Value::as_array) {
        let named =
            |entry: &&Value| entry.get("tool_call_id").and_then(Value::as_str) == Some(call_id);
        return match results.iter().find(named).and_then(one) {
            Some(outcome) => outcome,
            None => Outcome::failed("the server's answer holds no result of this call"),
        };
    }
    one(answer).unwrap_or_else(|| told(answer))
}

/// Takes values of headers out of a text, should the server have echoed one.
pub(super) fn redacted(text: String, headers: &[(String, String)]) -> String {
    headers.iter().fold(text, |text, (_, value)| {
        let bare = value.split_once(' ').map_or(value.as_str(), |(_, token)| token);
        if bare.chars().count() < SECRET_CHARS_MIN {
            text
        } else {
            text.replace(bare, "[REDACTED]")
        }
    })
}
