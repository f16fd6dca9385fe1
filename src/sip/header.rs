//! Typed header values, read on demand from the octets of one value. Reading gives `None` when the value is
//! malformed; the caller knows which header it was ([`super::Fault::Header`]).
//!
//! Addresses and Via are here, challenges in `auth`, small values in `value`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::lex;
use super::msg::{HeaderName, Headers, Method};
use super::uri::{Host, Params, Uri, host_port};

mod auth;
mod value;

pub use auth::Challenge;
pub use value::{
    Reason, ReasonProtocol, SubscriptionState, Tagged, reasons, reasons_in, retry_after_s,
};

/// Takes a comma list apart: commas in quotes and angle brackets do not count, empty elements are left out.
pub fn split_commas(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    split_outside(value, b',').filter(|part| !part.is_empty())
}

/// Splits at `at` outside of quotes and angle brackets; the parts are trimmed and may be empty.
fn split_outside(value: &[u8], at: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = find_outside(text, at);
        rest = end.and_then(|end| text.get(end + 1..));
        Some(lex::trim(text.get(..end.unwrap_or(text.len())).unwrap_or_default()))
    })
}

/// Where `sought` first stands outside of quotes and angle brackets.
fn find_outside(text: &[u8], sought: u8) -> Option<usize> {
    let (mut quoted, mut escaped, mut angle) = (false, false, false);
    for (at, octet) in text.iter().enumerate() {
        if escaped {
            escaped = false;
        } else if quoted {
            escaped = *octet == b'\\';
            quoted = *octet != b'"';
        } else if *octet == sought && !angle {
            return Some(at);
        } else {
            match *octet {
                b'"' => quoted = true,
                b'<' => angle = true,
                b'>' => angle = false,
                _ => {}
            }
        }
    }
    None
}

/// Header parameters: `text` is empty or begins with `;`; blanks around `;` and `=` are allowed, empty
/// parameters are not.
pub(in crate::sip) fn header_params(text: &[u8]) -> Option<Params> {
    let text = lex::trim(text);
    let mut params = Params::default();
    if text.is_empty() {
        return Some(params);
    }
    let (first, rest) = text.split_first()?;
    if *first != b';' {
        return None;
    }
    for part in split_outside(rest, b';') {
        let (name, value) = match lex::split_once(part, b'=') {
            Some((name, value)) => (lex::trim(name), Some(lex::trim(value))),
            None => (part, None),
        };
        if !lex::token(name) || value.is_some_and(|value| !param_value(value)) {
            return None;
        }
        let value = value.map(String::from_utf8_lossy);
        params.append(lex::text(name)?, value.as_deref())?;
    }
    Some(params)
}

/// A token, a host or a quoted string.
fn param_value(value: &[u8]) -> bool {
    if value.first() == Some(&b'"') {
        return quoted_end(value).is_some_and(|end| end + 1 == value.len());
    }
    !value.is_empty() && !value.iter().any(|octet| *octet <= b' ' || b"\"<>,".contains(octet))
}

/// Index of the quote that closes the one at the start.
pub(in crate::sip) fn quoted_end(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    for (at, octet) in text.iter().enumerate().skip(1) {
        match *octet {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// Text of a quoted string without quotes and escapes; other text as it is.
pub fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(letter) = chars.next() {
        match letter {
            '\\' => out.extend(chars.next()),
            other => out.push(other),
        }
    }
    out
}

/// `text` as a quoted string; control characters become spaces.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            control if control.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// From, To, Contact, Route, Record-Route, Refer-To, P-Asserted-Identity, Diversion: an address with parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAddr {
    /// Display name without quotes and escapes; octets that are not UTF-8 are replaced.
    pub display: Option<String>,
    /// The URI.
    pub uri: Uri,
    /// Parameters of the header, not of the URI.
    pub params: Params,
}

impl NameAddr {
    /// An address without display name and parameters.
    pub fn new(uri: Uri) -> Self {
        Self { display: None, uri, params: Params::default() }
    }

    /// Reads one value.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = lex::trim(value);
        let (display, rest) = if value.first() == Some(&b'"') {
            let end = quoted_end(value)?;
            let display = unquote(&String::from_utf8_lossy(value.get(..=end)?));
            let rest = lex::trim(value.get(end + 1..)?);
            if rest.first() != Some(&b'<') {
                return None;
            }
            (Some(display), rest)
        } else if let Some(open) = value.iter().position(|octet| *octet == b'<') {
            let name = lex::trim(value.get(..open)?);
            // The grammar allows tokens only. Peers write more; what could hide a second value is refused.
            if name.iter().any(|octet| b",;\"\\>".contains(octet)) {
                return None;
            }
            let display = String::from_utf8_lossy(name).into_owned();
            ((!display.is_empty()).then_some(display), value.get(open..)?)
        } else {
            return Self::parse_bare(value);
        };
        let close = rest.iter().position(|octet| *octet == b'>')?;
        let uri = Uri::parse(lex::text(rest.get(1..close)?)?).ok()?;
        let params = header_params(rest.get(close + 1..)?)?;
        Some(Self { display, uri, params })
    }

    /// Without angle brackets every parameter is the header's, and `?` and `,` may not occur
    /// (RFC 3261 section 20.10).
    fn parse_bare(value: &[u8]) -> Option<Self> {
        let end = value.iter().position(|octet| *octet == b';').unwrap_or(value.len());
        let address = lex::trim(value.get(..end)?);
        if address.iter().any(|octet| b",?".contains(octet)) {
            return None;
        }
        let uri = Uri::parse(lex::text(address)?).ok()?;
        Some(Self { display: None, uri, params: header_params(value.get(end..)?)? })
    }

    /// The tag parameter.
    pub fn tag(&self) -> Option<&str> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }

    /// The `expires` parameter in seconds.
    pub fn expires_s(&self) -> Option<u32> {
        self.params.get("expires").and_then(|value| lex::number(value.as_bytes()))
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write!(f, "{} ", quote(display))?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

/// One Contact value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contact {
    /// `*` of a REGISTER that removes every binding.
    Star,
    /// An address.
    Addr(Box<NameAddr>),
}

impl Contact {
    /// Reads one value.
    pub fn parse(value: &[u8]) -> Option<Self> {
        if lex::trim(value) == b"*" {
            return Some(Self::Star);
        }
        NameAddr::parse(value).map(|addr| Self::Addr(Box::new(addr)))
    }
}

/// One Via value (RFC 3261 section 20.42, RFC 3581).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// Transport as written: UDP, TCP, TLS, ...
    pub transport: String,
    /// Host of sent-by.
    pub host: Host,
    /// Port of sent-by.
    pub port: Option<u16>,
    /// Parameters.
    pub params: Params,
}

impl Via {
    /// Reads one value.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (protocol, rest) = lex::split_once(value, b'/')?;
        let (version, rest) = lex::split_once(rest, b'/')?;
        if !lex::trim(protocol).eq_ignore_ascii_case(b"SIP") || lex::trim(version) != b"2.0" {
            return None;
        }
        let rest = lex::trim(rest);
        let blank = rest.iter().position(|octet| lex::is_blank(*octet))?;
        let transport = rest.get(..blank)?;
        if !lex::token(transport) {
            return None;
        }
        let rest = rest.get(blank..)?;
        let end = rest.iter().position(|octet| *octet == b';').unwrap_or(rest.len());
        let (host, port) = host_port(lex::text(rest.get(..end)?)?)?;
        let params = header_params(rest.get(end..)?)?;
        Some(Self { transport: lex::text(transport)?.to_owned(), host, port, params })
    }

    /// A Via of ours that asks for the source port (RFC 3581).
    pub fn new(transport: &str, local: SocketAddr, branch: &str) -> Self {
        let mut params = Params::default();
        params.set("branch", Some(branch));
        params.set("rport", None);
        Self {
            transport: transport.to_owned(),
            host: Host::Ip(local.ip()),
            port: Some(local.port()),
            params,
        }
    }

    /// The branch parameter.
    pub fn branch(&self) -> Option<&str> {
        self.params.get("branch")
    }

    /// `None`: no rport; `Some(None)`: asked for; `Some(Some(port))`: filled in.
    pub fn rport(&self) -> Option<Option<u16>> {
        self.params.entry("rport").map(|value| value.and_then(|port| port.parse().ok()))
    }

    /// Address of the received parameter, with or without brackets.
    pub fn received(&self) -> Option<IpAddr> {
        let text = self.params.get("received")?;
        text.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The maddr parameter.
    pub fn maddr(&self) -> Option<Host> {
        self.params.get("maddr").and_then(Host::parse)
    }

    /// Port of sent-by or the default.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(if self.transport.eq_ignore_ascii_case("TLS") { 5061 } else { 5060 })
    }

    /// Writes down where the request really came from (RFC 3261 section 18.2.1, RFC 3581 section 4).
    pub fn stamp(&mut self, source: SocketAddr) {
        let asked = self.params.contains("rport");
        if asked || self.host != Host::Ip(source.ip()) {
            self.params.set("received", Some(&source.ip().to_string()));
        }
        if asked {
            self.params.set("rport", Some(&source.port().to_string()));
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        self.params.fmt(f)
    }
}

/// CSeq.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CSeq {
    /// Number, below 2^31 (RFC 3261 section 8.1.1.5).
    pub number: u32,
    /// Method.
    pub method: Method,
}

impl CSeq {
    /// Reads the value.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let value = lex::trim(value);
        let blank = value.iter().position(|octet| lex::is_blank(*octet))?;
        let number = lex::number(value.get(..blank)?).filter(|number| *number < 1 << 31)?;
        let method = Method::parse(lex::text(lex::trim(value.get(blank..)?))?)?;
        Some(Self { number, method })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

impl Headers {
    /// Changes the topmost Via and leaves the rest of its line and every other line alone.
    pub fn set_top_via(&mut self, via: &Via) {
        let Some(line) = self.get(HeaderName::Via) else {
            self.push_front(HeaderName::Via, via.to_string());
            return;
        };
        let rest = find_outside(line, b',').and_then(|comma| line.get(comma..));
        let mut value = via.to_string().into_bytes();
        value.extend_from_slice(rest.unwrap_or_default());
        self.set_first(HeaderName::Via, value);
    }
}

#[cfg(test)]
mod tests;
