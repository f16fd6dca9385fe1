//! Octets to message and back (RFC 3261 sections 7, 18.3 and 25).
//!
//! The reader keeps every octet of names and values; only folding is undone. Values are slices of the
//! datagram. What the headers mean is checked in [`super::check`]. Start at [`parse`].

use bytes::{BufMut, Bytes, BytesMut};

use super::check;
use super::error::{Fault, ParseError};
use super::lex;
use super::msg::{HeaderName, Headers, Message, Method, Request, Response, StatusCode};
use super::uri::Uri;

/// Longest message in octets: the largest UDP datagram, and the cap of a stream's buffer.
pub const MESSAGE_BYTES_MAX: usize = 65_536;
/// Longest header line in octets, folds included: a full-form Identity header is about 6 kB.
pub const LINE_BYTES_MAX: usize = 8_192;
/// Most header lines: trunks send up to 40.
pub const HEADERS_MAX: usize = 128;

/// Reads one datagram. Line ends before the message and octets after its body are dropped
/// (RFC 3261 sections 7.5 and 18.3); without Content-Length the body goes on to the end.
///
/// # Errors
/// [`ParseError`] with the fault and, where an answer is possible, the request to answer.
pub fn parse(bytes: &Bytes) -> Result<Message, ParseError> {
    let start = bytes.iter().position(|octet| !matches!(octet, b'\r' | b'\n' | 0));
    let Some(start) = start else { return Err(Fault::KeepAlive.into()) };
    if bytes.len() - start > MESSAGE_BYTES_MAX {
        return Err(Fault::TooLarge.into());
    }
    let bytes = bytes.slice(start..);
    let (line, mut rest) = take_line(&bytes).ok_or(if bytes.len() <= 4 {
        Fault::KeepAlive
    } else {
        Fault::StartLine
    })?;
    let first = start_line(line)?;
    let mut headers = Headers::with_capacity(32);
    let mut fault = None;
    loop {
        match next_header(&bytes, rest, &mut headers) {
            Ok(Some(after)) => rest = after,
            Ok(None) => break,
            Err(problem) => {
                fault = Some(problem);
                break;
            }
        }
    }
    let body = match fault {
        Some(problem) => Err(problem),
        None => body(&bytes, rest, &headers),
    };
    assemble(first, headers, body)
}

/// A start line, with what is wrong in it as long as an answer is still possible.
enum First {
    Request(Method, Uri, Option<Fault>),
    Response(StatusCode, Bytes),
}

fn assemble(
    first: First,
    headers: Headers,
    body: Result<Bytes, Fault>,
) -> Result<Message, ParseError> {
    match first {
        First::Response(status, reason) => {
            let response = Response { status, reason, headers, body: body? };
            check::response(&response)?;
            Ok(Message::Response(response))
        }
        First::Request(method, uri, start_fault) => {
            let fault = start_fault.or_else(|| body.as_ref().err().copied());
            let body = body.unwrap_or_default();
            let request = Request { method, uri, headers, body };
            match fault.or_else(|| check::request(&request).err()) {
                None => Ok(Message::Request(request)),
                Some(fault) => {
                    // Even a Via that cannot be read is enough: the answer copies it and goes back to the source.
                    let answerable =
                        request.method != Method::Ack && request.headers.contains(HeaderName::Via);
                    let request = answerable.then(|| Box::new(request));
                    Err(ParseError { fault, request })
                }
            }
        }
    }
}

fn start_line(line: &[u8]) -> Result<First, Fault> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Fault::TooLarge);
    }
    let is_response = line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"));
    if is_response { status_line(line) } else { request_line(line) }
}

/// `SIP/2.0 SP code SP reason`; the second space is left out by some when there is no reason.
fn status_line(line: &[u8]) -> Result<First, Fault> {
    let (version, rest) = lex::split_once(line, b' ').ok_or(Fault::StartLine)?;
    if !version.eq_ignore_ascii_case(b"SIP/2.0") {
        return Err(Fault::Version);
    }
    let (code, reason) = lex::split_once(rest, b' ').unwrap_or((rest, b""));
    let status = lex::number(code)
        .filter(|_| code.len() == 3)
        .and_then(|code| u16::try_from(code).ok())
        .and_then(StatusCode::new)
        .ok_or(Fault::StatusCode)?;
    Ok(First::Response(status, lex::single_line(Bytes::copy_from_slice(reason))))
}

/// `Method SP Request-URI SP SIP-Version`, exactly one space each (RFC 3261 section 7.1).
fn request_line(line: &[u8]) -> Result<First, Fault> {
    let (method, rest) = lex::split_once(line, b' ').ok_or(Fault::StartLine)?;
    let method = lex::text(method).and_then(Method::parse).ok_or(Fault::StartLine)?;
    let version_at = rest.windows(4).rposition(|four| four.eq_ignore_ascii_case(b"SIP/"));
    let version_at = version_at.ok_or(Fault::StartLine)?;
    let version = rest.get(version_at..).unwrap_or_default();
    let target = rest.get(..version_at).unwrap_or_default();
    let target = target.strip_suffix(b" ").ok_or(Fault::StartLine)?;
    let mut fault = if version.eq_ignore_ascii_case(b"SIP/2.0") {
        None
    } else if version.iter().any(|octet| lex::is_blank(*octet)) {
        Some(Fault::StartLine)
    } else {
        Some(Fault::Version)
    };
    let uri = match lex::text(target).ok_or(Fault::Uri).and_then(Uri::parse) {
        // Headers are not allowed in a Request-URI (RFC 3261 section 19.1.1, table 1).
        Ok(uri) if uri.is_sip() && uri.headers.is_some() => {
            fault = fault.or(Some(Fault::RequestUri));
            uri
        }
        Ok(uri) => uri,
        Err(_) => {
            fault = fault.or(Some(Fault::RequestUri));
            Uri::unreadable(target)
        }
    };
    Ok(First::Request(method, uri, fault))
}

/// The octets up to CRLF or LF, and what follows.
fn take_line(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, rest) = lex::split_once(octets, b'\n')?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), rest))
}

/// Reads one header with its folded lines. `Ok(None)`: that was the empty line, `rest` still begins with it.
fn next_header<'a>(
    whole: &Bytes,
    rest: &'a [u8],
    headers: &mut Headers,
) -> Result<Option<&'a [u8]>, Fault> {
    let (line, mut after) = take_line(rest).ok_or(Fault::Truncated)?;
    if line.is_empty() {
        return Ok(None);
    }
    if headers.len() >= HEADERS_MAX {
        return Err(Fault::TooLarge);
    }
    let mut end = line.len();
    let mut folded = false;
    while after.first().is_some_and(|octet| lex::is_blank(*octet)) {
        let (more, next) = take_line(after).ok_or(Fault::Truncated)?;
        end = rest.len() - after.len() + more.len();
        after = next;
        folded = true;
    }
    if end > LINE_BYTES_MAX {
        return Err(Fault::TooLarge);
    }
    let (name, value) =
        lex::split_once(rest.get(..end).unwrap_or_default(), b':').ok_or(Fault::HeaderLine)?;
    let name = name.trim_ascii_end();
    if !lex::token(name) {
        return Err(Fault::HeaderLine);
    }
    let value = lex::trim(value);
    let value = if folded { unfold(value) } else { lex::single_line(whole.slice_ref(value)) };
    headers.push_parsed(whole.slice_ref(name), value);
    Ok(Some(after))
}

/// A line end with the blanks around it is one space (RFC 3261 section 7.3.1).
fn unfold(value: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(value.len());
    for line in value.split(|octet| *octet == b'\n') {
        let line = lex::trim(line);
        if !out.is_empty() && !line.is_empty() {
            out.put_u8(b' ');
        }
        out.put_slice(line);
    }
    lex::single_line(out.freeze())
}

/// The number in Content-Length: `None` without the header.
pub(in crate::sip) fn content_length(headers: &Headers) -> Result<Option<usize>, Fault> {
    let mut found = None;
    for value in headers.get_all(HeaderName::ContentLength) {
        let length = lex::number(value).ok_or(Fault::ContentLength)?;
        if found.is_some_and(|known| known != length) {
            return Err(Fault::ContentLength);
        }
        found = Some(length);
    }
    Ok(found.and_then(|length| usize::try_from(length).ok()))
}

fn body(whole: &Bytes, rest: &[u8], headers: &Headers) -> Result<Bytes, Fault> {
    let (_, octets) = take_line(rest).ok_or(Fault::Truncated)?;
    let octets = match content_length(headers)? {
        None => octets,
        Some(length) => octets.get(..length).ok_or(Fault::ContentLength)?,
    };
    Ok(whole.slice_ref(octets))
}

impl Request {
    /// The octets to send. Content-Length is that of the body.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(1_024 + self.body.len());
        let first = format!("{} {} SIP/2.0\r\n", self.method, self.uri);
        out.put_slice(first.as_bytes());
        finish(out, &self.headers, &self.body)
    }
}

impl Response {
    /// The octets to send. Content-Length is that of the body.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(1_024 + self.body.len());
        out.put_slice(format!("SIP/2.0 {} ", self.status).as_bytes());
        out.put_slice(&lex::single_line(self.reason.clone()));
        out.put_slice(b"\r\n");
        finish(out, &self.headers, &self.body)
    }
}

fn finish(mut out: BytesMut, headers: &Headers, body: &Bytes) -> Bytes {
    for header in headers.iter().filter(|header| header.name() != HeaderName::ContentLength) {
        out.put_slice(header.written());
        out.put_slice(b": ");
        out.put_slice(header.value());
        out.put_slice(b"\r\n");
    }
    out.put_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    out.put_slice(body);
    out.freeze()
}

#[cfg(test)]
mod tests;
