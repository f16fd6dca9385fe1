//! What a well-formed request is refused for before anybody is asked (RFC 3261 section 8.2).
//!
//! Max-Forwards 0 is not among it: RFC 4475 section 3.3.11 wants an endpoint to process such a request.

use super::craft::{ACCEPT, ALLOW, Reply};
use super::event::Rejection;
use super::msg::{HeaderName, Headers, Method, Request};
use super::option;

/// Refusals that any request but ACK and CANCEL may earn.
pub(super) fn common(request: &Request) -> Option<Reply> {
    // RFC 3891 section 3: only an INVITE can take the place of a call.
    if request.method != Method::Invite && request.headers.contains(HeaderName::Replaces) {
        return Some(Reply::new(400));
    }
    let unsupported = unsupported(&request.headers);
    if unsupported.is_empty() {
        return None;
    }
    Some(Reply::new(420).header(HeaderName::Unsupported, unsupported.join(", ")))
}

/// Refusals an INVITE may earn, within a dialog or without.
pub(super) fn invite(invite: &Request) -> Option<Reply> {
    common(invite).or_else(|| body(invite)).or_else(|| answer_unwanted(&invite.headers))
}

/// A caller who lists what it accepts, and no SDP among it, could not read our answer (section 21.4.7;
/// RFC 4475 section 3.3.15). Without the header SDP is accepted (section 20.1).
fn answer_unwanted(headers: &Headers) -> Option<Reply> {
    let mut listed = headers.values(HeaderName::Accept).peekable();
    listed.peek()?;
    let fits = |range: &[u8]| {
        let range = String::from_utf8_lossy(range).to_ascii_lowercase();
        let media_type = range.split(';').next().unwrap_or_default().trim().to_owned();
        [ACCEPT, "application/*", "*/*"].contains(&media_type.as_str())
    };
    (!listed.any(fits)).then(|| Reply::new(406))
}

/// A body that is there must be SDP as it is (section 8.2.3); other optional parts are not for us.
pub(super) fn body(request: &Request) -> Option<Reply> {
    if request.body.is_empty() {
        return None;
    }
    let headers = &request.headers;
    let encoded = headers
        .values(HeaderName::ContentEncoding)
        .any(|coding| !coding.eq_ignore_ascii_case(b"identity"));
    let content_type = headers.text(HeaderName::ContentType).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let optional = headers
        .text(HeaderName::ContentDisposition)
        .is_some_and(|value| value.to_ascii_lowercase().contains("handling=optional"));
    if optional || (media_type.eq_ignore_ascii_case(ACCEPT) && !encoded) {
        return None;
    }
    let reply = Reply::new(415).accept();
    Some(if encoded { reply.named("Accept-Encoding", "identity") } else { reply })
}

/// The answer to a method we do not serve: 405 for one we know, 501 for one nobody knows
/// (sections 8.2.1, 21.5.2).
pub(super) fn method_refused(request: &Request) -> Reply {
    let status = match request.method {
        Method::Other(_) => 501,
        _ => 405,
    };
    Reply::new(status).header(HeaderName::Allow, ALLOW)
}

/// The answer to a subscription or notification of something we know nothing of (RFC 6665 section 4.2.1.1).
pub(super) fn bad_event() -> Reply {
    Reply::new(489).header(HeaderName::AllowEvents, "refer")
}

/// A refusal with a status that is one: anything else becomes `status`.
pub(super) fn refusal_or(rejection: Rejection, status: u16) -> Rejection {
    if (300..700).contains(&rejection.status) {
        rejection
    } else {
        Rejection { status, ..rejection }
    }
}

fn unsupported(headers: &Headers) -> Vec<String> {
    headers
        .values(HeaderName::Require)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
        .filter(|tag| !option::is_honoured(tag))
        .map(str::to_owned)
        .collect()
}
