//! What an endpoint may be: its URL, events, headers and sizes.

use std::collections::BTreeMap;

use super::super::ask::AskKind;
use super::super::post::MAILTO;
use super::{EndpointError, Endpoints};
use crate::egress::Refusal;
use crate::egress::client::check_header;
use crate::mail::is_address;
use crate::schema::webhook::WebhookEndpointInput;
use crate::types::OutboxKind;

/// Most headers of an endpoint.
const HEADERS_MAX: usize = 10;
/// Longest value of a header, octets: a token.
const HEADER_BYTES_MAX: usize = 4_096;
/// Longest description, characters.
const DESCRIPTION_CHARS_MAX: usize = 500;
/// Most patterns of an endpoint: more than there are events.
const EVENTS_MAX: usize = 64;
/// Largest metadata, octets.
const METADATA_BYTES_MAX: usize = 16_384;
/// Headers that are ours.
const OUR_HEADERS: &[&str] = &["content-type", "user-agent"];

impl Endpoints {
    pub(super) fn check(&self, input: &WebhookEndpointInput) -> Result<(), EndpointError> {
        let wrong = |field, message: String| Err(EndpointError::Invalid { field, message });
        match input.url.strip_prefix(MAILTO) {
            Some(address) => self.check_mail(address, input)?,
            None => match self.policy.check_url(&input.url) {
                Ok(()) => {}
                Err(refusal @ Refusal::Malformed) if input.url.is_empty() => {
                    return wrong("url", format!("{refusal}: it is empty"));
                }
                Err(refusal) => return wrong("url", refusal.to_string()),
            },
        }
        if input.description.chars().count() > DESCRIPTION_CHARS_MAX {
            return wrong("description", format!("at most {DESCRIPTION_CHARS_MAX} characters"));
        }
        if input.enabled_events.is_empty() || input.enabled_events.len() > EVENTS_MAX {
            return wrong("enabled_events", format!("1 to {EVENTS_MAX} names or patterns"));
        }
        let known = |pattern: &String| {
            OutboxKind::ALL.iter().any(|kind| kind.matches(pattern))
                || AskKind::OF_TOOLS.iter().any(|kind| kind.as_str() == pattern)
        };
        if !input.enabled_events.iter().all(known) {
            let message = "an event's name, a prefix such as `call.*`, `*`, `tool.call` or \
                `transfer.request`"
                .to_owned();
            return wrong("enabled_events", message);
        }
        check_headers(&input.headers)?;
        let metadata = serde_json::to_string(&input.metadata).unwrap_or_default();
        if metadata.len() > METADATA_BYTES_MAX {
            return wrong("metadata", format!("at most {METADATA_BYTES_MAX} bytes of JSON"));
        }
        Ok(())
    }
}

impl Endpoints {
    /// Checks what an endpoint at an e-mail address cannot have.
    fn check_mail(&self, address: &str, input: &WebhookEndpointInput) -> Result<(), EndpointError> {
        let wrong = |field, message: &str| {
            Err(EndpointError::Invalid { field, message: message.to_owned() })
        };
        if !self.has_mail {
            let message =
                "no e-mail is sent here: `notifications.smtp` in the configuration names no relay";
            return wrong("url", message);
        }
        if !is_address(address) {
            return wrong(
                "url",
                "one e-mail address follows `mailto:`, such as mailto:ops@example.com",
            );
        }
        if !input.headers.is_empty() {
            return wrong("headers", "headers are for web addresses; an e-mail has none of yours");
        }
        let asks = |name: &String| AskKind::OF_TOOLS.iter().any(|kind| kind.as_str() == name);
        if input.enabled_events.iter().any(asks) {
            return wrong("enabled_events", "an e-mail address cannot answer a question");
        }
        Ok(())
    }
}

fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), EndpointError> {
    let wrong = |message| Err(EndpointError::Invalid { field: "headers", message });
    if headers.len() > HEADERS_MAX {
        return wrong(format!("at most {HEADERS_MAX}"));
    }
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let ours = lower.starts_with("webhook-") || lower.starts_with("x-webhook-");
        if ours || OUR_HEADERS.contains(&lower.as_str()) {
            return wrong(format!("`{lower}` is set by the server"));
        }
        if value.len() > HEADER_BYTES_MAX {
            return wrong(format!("a value has at most {HEADER_BYTES_MAX} bytes"));
        }
        check_header(name, value).or_else(wrong)?;
    }
    Ok(())
}
