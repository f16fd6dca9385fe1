//! What is wrong with a message that could be read (RFC 3261 sections 8.1.1, 8.2 and 20).
//!
//! [`super::wire::parse`] asks here before it hands a message over, so every layer above finds the mandatory
//! headers there, once and readable. Not here: what a well-formed request asks too much of (405, 415, 420 ...).
//! Max-Forwards of 0 is no fault: a user agent answers such a request itself (RFC 4475 section 3.3.11).

use super::error::Fault;
use super::header::{Contact, NameAddr};
use super::lex;
use super::msg::{HeaderName, Headers, Method, Request, Response};

/// Headers that may occur once.
const SINGLE: [HeaderName; 10] = [
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::MaxForwards,
    HeaderName::ContentType,
    HeaderName::Date,
    HeaderName::Expires,
    HeaderName::ReferTo,
    HeaderName::SessionExpires,
];

/// The first fault of a request.
///
/// # Errors
/// That fault; its status is the answer.
pub fn request(request: &Request) -> Result<(), Fault> {
    let headers = &request.headers;
    common(headers)?;
    if !request.uri.is_sip() && request.uri.scheme != super::uri::Scheme::Tel {
        return Err(Fault::UriScheme);
    }
    if headers.number(HeaderName::MaxForwards)?.is_some_and(|hops| hops > 255) {
        return Err(Fault::Header(HeaderName::MaxForwards));
    }
    lists(headers)?;
    date(headers)?;
    // A method nobody knows is refused for that (RFC 4475 section 3.1.2.18), not for its CSeq.
    let known = !matches!(request.method, Method::Other(_));
    if known && headers.cseq()?.method != request.method {
        return Err(Fault::CSeqMethod);
    }
    Ok(())
}

/// The first fault of a response. A response is never answered: drop it and count.
///
/// # Errors
/// That fault.
pub fn response(response: &Response) -> Result<(), Fault> {
    common(&response.headers)?;
    lists(&response.headers)
}

fn common(headers: &Headers) -> Result<(), Fault> {
    if let Some(name) = SINGLE.into_iter().find(|name| headers.count(*name) > 1) {
        return Err(Fault::Repeated(name));
    }
    headers.top_via()?;
    headers.from()?;
    headers.to()?;
    headers.call_id()?;
    headers.cseq()?;
    Ok(())
}

/// Contact, Route and Record-Route decide where our requests go: each value must be readable.
fn lists(headers: &Headers) -> Result<(), Fault> {
    for value in headers.values(HeaderName::Contact) {
        Contact::parse(value).ok_or(Fault::Header(HeaderName::Contact))?;
    }
    for name in [HeaderName::Route, HeaderName::RecordRoute] {
        for value in headers.values(name) {
            NameAddr::parse(value).ok_or(Fault::Header(name))?;
        }
    }
    Ok(())
}

/// `Date: Sat, 13 Nov 2010 23:29:00 GMT`: no other zone is allowed (section 20.17).
fn date(headers: &Headers) -> Result<(), Fault> {
    match headers.get(HeaderName::Date) {
        Some(value) if !lex::trim(value).ends_with(b" GMT") => Err(Fault::Header(HeaderName::Date)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
