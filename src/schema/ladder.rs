//! The SIP messages of a call: `GET /v1/calls/{id}/sip`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::types::{CallId, SipLadder, SipMessage};

/// The SIP messages of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SipMessages {
    /// Whose.
    pub call_id: String,
    /// Oldest first.
    pub items: Vec<SipMessageItem>,
    /// Messages that fell out of the middle of a very long call.
    pub omitted: u32,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SipMessageItem {
    /// When it was read from a socket or given to one, to the microsecond.
    #[schema(format = DateTime)]
    pub at: String,
    /// Milliseconds since the first one.
    pub offset_ms: u64,
    /// `received` or `sent`.
    pub direction: String,
    /// `udp`, `tcp`, `tls` and so on.
    pub transport: String,
    /// Our address and port.
    pub local: String,
    /// Theirs.
    pub remote: String,
    /// Call-ID: the legs of a transfer have their own.
    pub sip_call_id: String,
    /// Method of a request, or of the request a response answers.
    pub method: String,
    /// Status of a response.
    pub status: Option<u16>,
    /// First line.
    pub summary: String,
    /// Whether it says the same as one before, in the same direction.
    pub repeated: bool,
    /// The message. Credentials and keys in it are written over with `x`; so are parts of numbers and names unless
    /// `telemetry.log_pii` is on.
    pub message: String,
    /// Octets it had; more than `message` has if its end was cut off.
    pub bytes: u64,
}

impl SipMessages {
    /// What the API shows of a call's messages.
    pub fn new(call: CallId, ladder: &SipLadder) -> Self {
        let first = ladder.messages.first().map(|message| message.at);
        let mut items: Vec<SipMessageItem> = Vec::with_capacity(ladder.messages.len());
        for message in &ladder.messages {
            let mut item = SipMessageItem::from(message);
            let since = first.map(|first| message.at.duration_since(first).as_millis());
            item.offset_ms = since.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
            item.repeated = items
                .iter()
                .any(|before| before.direction == item.direction && before.message == item.message);
            items.push(item);
        }
        Self { call_id: call.to_string(), items, omitted: ladder.omitted }
    }
}

impl From<&SipMessage> for SipMessageItem {
    fn from(message: &SipMessage) -> Self {
        let text = message.text.reveal();
        let first = text.lines().next().unwrap_or_default();
        let header = |long: &str, short: &str| {
            let lines = text.lines().skip(1).take_while(|line| !line.is_empty());
            let mut pairs = lines.filter_map(|line| line.split_once(':'));
            let is_it = |name: &str| {
                let name = name.trim();
                name.eq_ignore_ascii_case(long) || name.eq_ignore_ascii_case(short)
            };
            pairs.find(|(name, _)| is_it(name)).map(|(_, value)| value.trim().to_owned())
        };
        let status = first.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok());
        let method = match status {
            None => first.split(' ').next().map(str::to_owned),
            Some(_) => {
                header("CSeq", "CSeq").and_then(|v| v.split(' ').next_back().map(str::to_owned))
            }
        };
        Self {
            at: format!("{:.6}", message.at),
            offset_ms: 0,
            direction: message.way.as_str().to_owned(),
            transport: message.transport.clone(),
            local: message.local.to_string(),
            remote: message.remote.to_string(),
            sip_call_id: header("Call-ID", "i").unwrap_or_default(),
            method: method.unwrap_or_default(),
            status,
            summary: first.to_owned(),
            repeated: false,
            message: text.clone(),
            bytes: message.octets as u64,
        }
    }
}
