//! New requests and the responses to those that came. Values cannot hold CR or LF (see
//! [`super::msg::Headers::push`]) and Content-Length is written from the body, so what is built here is well formed.

use bytes::Bytes;

use super::msg::{HeaderName, Headers, Method, Request, Response, StatusCode};
use super::uri::Uri;

/// Max-Forwards of every request we send (RFC 3261 section 8.1.1.6).
pub const MAX_FORWARDS: u8 = 70;

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, uri: Uri) -> Self {
        Self { method, uri, headers: Headers::new(), body: Bytes::new() }
    }

    /// With one more header line.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<Bytes>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// With this body and its Content-Type.
    #[must_use]
    pub fn with_body(mut self, content_type: &str, body: Bytes) -> Self {
        set_body(&mut self.headers, content_type);
        self.body = body;
        self
    }
}

impl Response {
    /// The response to `request` (RFC 3261 sections 8.2.6 and 12.1.1): Via, From, To, Call-ID and CSeq copied as
    /// they came, Record-Route where the response can make a dialog, Timestamp into a 100.
    /// `to_tag` is added to a To that has none, except in a 100.
    pub fn to_request(request: &Request, status: StatusCode, to_tag: Option<&str>) -> Self {
        let theirs = &request.headers;
        let mut headers = Headers::new();
        headers.copy_all(HeaderName::Via, theirs);
        if may_make_dialog(&request.method, status) {
            headers.copy_all(HeaderName::RecordRoute, theirs);
        }
        headers.copy_all(HeaderName::From, theirs);
        if let Some(to) = theirs.get(HeaderName::To) {
            let tagged = theirs.to().is_ok_and(|to| to.tag().is_some());
            match to_tag.filter(|_| !tagged && status != StatusCode::TRYING) {
                Some(tag) => {
                    let mut value = to.to_vec();
                    value.extend_from_slice(b";tag=");
                    value.extend_from_slice(tag.as_bytes());
                    headers.push(HeaderName::To, value);
                }
                None => headers.push(HeaderName::To, to.clone()),
            }
        }
        headers.copy_all(HeaderName::CallId, theirs);
        headers.copy_all(HeaderName::CSeq, theirs);
        if status == StatusCode::TRYING
            && let Some(timestamp) = theirs.get_named("Timestamp")
        {
            // The name is a token, so this cannot fail.
            let _ = headers.push_named("Timestamp", timestamp.clone());
        }
        let reason = Bytes::from_static(status.reason().as_bytes());
        Self { status, reason, headers, body: Bytes::new() }
    }

    /// With one more header line.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<Bytes>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// With another reason phrase; an empty one leaves the RFC's.
    #[must_use]
    pub fn with_reason(mut self, reason: &str) -> Self {
        if !reason.is_empty() {
            self.reason = Bytes::copy_from_slice(reason.as_bytes());
        }
        self
    }

    /// With this body and its Content-Type.
    #[must_use]
    pub fn with_body(mut self, content_type: &str, body: Bytes) -> Self {
        set_body(&mut self.headers, content_type);
        self.body = body;
        self
    }
}

fn set_body(headers: &mut Headers, content_type: &str) {
    headers.set(HeaderName::ContentType, Bytes::copy_from_slice(content_type.as_bytes()));
}

fn may_make_dialog(method: &Method, status: StatusCode) -> bool {
    matches!(method, Method::Invite | Method::Subscribe | Method::Refer | Method::Notify)
        && (101..300).contains(&status.code())
}

#[cfg(test)]
mod tests;
