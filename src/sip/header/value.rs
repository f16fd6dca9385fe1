//! Small typed values: a word with parameters, Reason, Retry-After, Subscription-State.

use super::super::lex;
use super::super::msg::{HeaderName, Headers};
use super::super::uri::Params;
use super::{header_params, unquote};

/// A word with parameters: Content-Type, Event, Content-Disposition, Session-Expires, Replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// What stands before the first `;`, for example `application/sdp` or `refer`.
    pub value: String,
    /// Parameters.
    pub params: Params,
}

impl Tagged {
    /// Reads one value.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = lex::trim(value);
        let end = value.iter().position(|octet| *octet == b';').unwrap_or(value.len());
        let word = lex::text(lex::trim(value.get(..end)?)).filter(|word| !word.is_empty())?;
        Some(Self { value: word.to_owned(), params: header_params(value.get(end..)?)? })
    }

    /// Whether the word is `other`, any case.
    pub fn is(&self, other: &str) -> bool {
        self.value.eq_ignore_ascii_case(other)
    }
}

/// Protocol of a Reason value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReasonProtocol {
    /// `Q.850`.
    Q850,
    /// `SIP`.
    Sip,
    /// Any other.
    Other(String),
}

/// One Reason value (RFC 3326): `Q.850;cause=16;text="Normal"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Whose number it is.
    pub protocol: ReasonProtocol,
    /// The number, if one is given.
    pub cause: Option<u16>,
    /// The text without quotes.
    pub text: Option<String>,
}

/// Every Reason value; malformed ones are left out, a cause that is no number reads as absent.
pub fn reasons(headers: &Headers) -> Vec<Reason> {
    headers.values(HeaderName::Reason).filter_map(reason).collect()
}

/// The same of one text, such as the lines of a header joined by commas.
pub fn reasons_in(text: &str) -> Vec<Reason> {
    super::split_commas(text.as_bytes()).filter_map(reason).collect()
}

fn reason(value: &[u8]) -> Option<Reason> {
    let tagged = Tagged::parse(value)?;
    let protocol = match tagged.value.to_ascii_uppercase().as_str() {
        "Q.850" => ReasonProtocol::Q850,
        "SIP" => ReasonProtocol::Sip,
        _ => ReasonProtocol::Other(tagged.value),
    };
    let cause = tagged.params.get("cause").and_then(|text| unquote(text).parse().ok());
    Some(Reason { protocol, cause, text: tagged.params.get("text").map(unquote) })
}

/// Seconds of Retry-After; comment and parameters are ignored (RFC 3261 section 20.33).
pub fn retry_after_s(headers: &Headers) -> Option<u32> {
    let value = headers.get(HeaderName::RetryAfter)?;
    let end = value.iter().position(|octet| !octet.is_ascii_digit()).unwrap_or(value.len());
    lex::number(value.get(..end)?)
}

/// Subscription-State (RFC 6665 section 8.2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionState {
    /// `active`, `pending` or `terminated`, lower case.
    pub state: String,
    /// Reason parameter.
    pub reason: Option<String>,
    /// Expires parameter.
    pub expires_s: Option<u32>,
}

impl SubscriptionState {
    /// Reads the value.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let tagged = Tagged::parse(value)?;
        Some(Self {
            state: tagged.value.to_ascii_lowercase(),
            reason: tagged.params.get("reason").map(str::to_owned),
            expires_s: tagged.params.get("expires").and_then(|text| lex::number(text.as_bytes())),
        })
    }

    /// Whether no further NOTIFY comes.
    pub fn is_terminated(&self) -> bool {
        self.state == "terminated"
    }
}
