//! An event as an e-mail that a person reads.

use serde_json::Value;

use crate::schema::webhook::Envelope;

/// Characters that stay of a number at its end when it is masked.
const SHOWN_CHARS: usize = 3;
/// Most characters of a summary or an error that are repeated.
const WORDS_CHARS_MAX: usize = 4_000;

/// Subject and text of an event. `mask` hides phone numbers but for their last digits.
pub fn letter(event: &Envelope, mask: bool) -> (String, String) {
    let call = event.data.get("call").filter(|call| call.is_object());
    let number = |name: &str| {
        let number = text(call?, name).filter(|number| !number.is_empty())?;
        Some(if mask { masked(&number) } else { number })
    };
    let title = title(&event.r#type);
    let subject = match (number("from_number"), number("to_number")) {
        (Some(from), Some(to)) => format!("{title}: {from} to {to}"),
        (Some(one), None) | (None, Some(one)) => format!("{title}: {one}"),
        (None, None) => title.clone(),
    };
    let mut lines = vec![title, String::new()];
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            lines.push(format!("{:<13}{value}", format!("{name}:")));
        }
    };
    row("Time", Some(event.timestamp.clone()));
    if let Some(call) = call {
        row("Call", text(call, "id"));
        row("Direction", text(call, "direction"));
        row("From", number("from_number"));
        row("To", number("to_number"));
        row("Agent", text(call, "agent_name"));
        row("Status", text(call, "status"));
        row("Ended", text(call, "end_reason"));
        row("Outcome", text(call, "outcome"));
        row("Answered by", text(call, "answered_by"));
        row("Duration", text(call, "duration_seconds").map(|seconds| format!("{seconds} s")));
        row("Error", text(call, "error_message").map(|words| bounded(&words)));
    }
    row("Message", text(&event.data, "message").map(|words| bounded(&words)));
    for name in ["order", "batch", "campaign"] {
        let Some(object) = event.data.get(name) else { continue };
        row(&title_of(name), text(object, "id"));
        row("Name", text(object, "name"));
        row("Status", text(object, "status"));
        row("Outcome", text(object, "outcome"));
    }
    if let Some(endpoint) = event.data.get("endpoint") {
        row("Endpoint", text(endpoint, "id"));
        row("Status", text(endpoint, "status"));
        row("Reason", text(endpoint, "disabled_reason"));
    }
    row("Event", Some(event.id.clone()));
    if let Some(summary) = call.and_then(|call| text(call, "summary")) {
        lines.extend([String::new(), "Summary:".to_owned(), bounded(&summary)]);
    }
    lines.push(String::new());
    (subject, lines.join("\n"))
}

/// `call.no_answer` is `Call no answer`.
fn title(kind: &str) -> String {
    title_of(&kind.replace(['.', '_'], " "))
}

fn title_of(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn text(object: &Value, name: &str) -> Option<String> {
    match object.get(name)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn bounded(words: &str) -> String {
    words.chars().take(WORDS_CHARS_MAX).collect()
}

fn masked(number: &str) -> String {
    let hidden = number.chars().count().saturating_sub(SHOWN_CHARS);
    let mask = |(at, c): (usize, char)| if at < hidden { '*' } else { c };
    number.chars().enumerate().map(mask).collect()
}
