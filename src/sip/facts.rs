//! Reads out of messages what the agent needs, with the laxity real peers need. Nothing here fails:
//! what cannot be read is absent.

use bytes::Bytes;

use super::event::{Flow, InviteFacts};
use super::header::{NameAddr, ReasonProtocol, reasons};
use super::msg::{HeaderName, Headers, Request, Response};
use super::uri::Uri;
use crate::types::{Pii, TrunkName};

/// Headers that begin with `X-` kept of an INVITE: carriers send up to a dozen.
const X_HEADERS_MAX: usize = 32;

/// Contacts of a 3xx that are kept.
pub const REDIRECTS_MAX: usize = 5;

/// Names of headers in which carriers put their own identifier of a call.
const CALL_IDENTIFIERS: [&str; 5] = [
    "X-Twilio-CallSid",
    "X-Telnyx-Call-Control-Id",
    "X-PH-CallUUID",
    "X-Vonage-Call-UUID",
    "X-Call-ID",
];

/// The body, if there is one.
pub(super) fn body(body: &Bytes) -> Option<Bytes> {
    (!body.is_empty()).then(|| body.clone())
}

/// CSeq number; 0 where it cannot be read (the reader lets no such request through).
pub(super) fn cseq(headers: &Headers) -> u32 {
    headers.cseq().map_or(0, |cseq| cseq.number)
}

/// A header as text, empty if absent.
pub(super) fn text(headers: &Headers, name: HeaderName) -> String {
    headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

/// Every Reason value in one line.
pub(super) fn reason(headers: &Headers) -> Option<String> {
    let lines: Vec<String> = headers
        .get_all(HeaderName::Reason)
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .collect();
    (!lines.is_empty()).then(|| lines.join(", "))
}

/// Cause of the first Q.850 value of the Reason headers (RFC 3326) that names one.
pub(super) fn q850_cause(headers: &Headers) -> Option<u8> {
    reasons(headers)
        .into_iter()
        .filter(|reason| reason.protocol == ReasonProtocol::Q850)
        .find_map(|reason| reason.cause.and_then(|cause| cause.try_into().ok()))
}

/// Event package without parameters, in lower case; implied `refer` is not: an empty one is unknown.
pub(super) fn event_package(notify: &Request) -> String {
    let event = text(&notify.headers, HeaderName::Event);
    event.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a NOTIFY says that it is the last.
pub(super) fn subscription_over(notify: &Request) -> bool {
    let state = text(&notify.headers, HeaderName::SubscriptionState);
    state.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("terminated")
}

/// Whether the answer to a REFER says that no NOTIFY will come (RFC 4488).
pub(super) fn no_subscription(response: &Response) -> bool {
    response.headers.has_token(HeaderName::Require, "norefersub")
        || response
            .headers
            .get_named("Refer-Sub")
            .is_some_and(|value| value.to_ascii_lowercase().starts_with(b"false"))
}

/// What the switchboard is told of an INVITE.
pub(super) fn invite(invite: &Request, flow: Flow, trunk: Option<TrunkName>) -> InviteFacts {
    let headers = &invite.headers;
    let from = invite.from().ok();
    let asserted = headers
        .name_addrs(HeaderName::PAssertedIdentity)
        .ok()
        .and_then(|list| list.into_iter().next());
    let from_user = asserted.as_ref().or(from.as_ref()).map(|addr| user(&addr.uri));
    let display = from.as_ref().and_then(|addr| addr.display.clone());
    let agent = [HeaderName::UserAgent, HeaderName::Server]
        .into_iter()
        .find_map(|name| headers.get(name))
        .map(|value| String::from_utf8_lossy(value).into_owned());
    InviteFacts {
        flow,
        trunk,
        sip_call_id: invite.call_id().unwrap_or_default().to_owned(),
        request_uri: Pii::new(invite.uri.to_string()),
        request_user: Pii::new(user(&invite.uri)),
        to_user: Pii::new(invite.to().ok().map(|to| user(&to.uri)).unwrap_or_default()),
        from_user: Pii::new(from_user.unwrap_or_default()),
        from_display: display.map(Pii::new),
        user_agent: agent,
        provider_call_id: provider_call_id(headers),
        x_headers: x_headers(headers),
        replaces: None,
        identity: super::identity::identity(headers),
        needs_reliable: headers.has_token(HeaderName::Require, super::option::RELIABLE),
    }
}

/// Contacts of a 3xx by their `q`, 1 where none is given (RFC 3261 section 8.1.3.4). What is no address is left out.
pub(super) fn redirects(headers: &Headers) -> Vec<String> {
    let mut found: Vec<(u32, String)> = headers
        .values(HeaderName::Contact)
        .filter_map(NameAddr::parse)
        .map(|contact| {
            let q = contact.params.get("q").and_then(|q| q.trim().parse::<f32>().ok());
            let thousandths = q.filter(|q| (0.0..=1.0).contains(q)).unwrap_or(1.0) * 1_000.0;
            (thousandths as u32, contact.uri.to_string())
        })
        .collect();
    // Stable: equals keep the order they came in.
    found.sort_by_key(|(q, _)| std::cmp::Reverse(*q));
    found.into_iter().map(|(_, uri)| uri).take(REDIRECTS_MAX).collect()
}

/// The carrier's identifier of a call.
pub(super) fn provider_call_id(headers: &Headers) -> Option<String> {
    let value = CALL_IDENTIFIERS.into_iter().find_map(|name| headers.get_named(name))?;
    Some(String::from_utf8_lossy(value).into_owned())
}

fn x_headers(headers: &Headers) -> Vec<(String, String)> {
    headers
        .iter()
        .filter(|header| header.written().get(..2).is_some_and(|x| x.eq_ignore_ascii_case(b"X-")))
        .take(X_HEADERS_MAX)
        .map(|header| {
            (
                String::from_utf8_lossy(header.written()).into_owned(),
                String::from_utf8_lossy(header.value()).into_owned(),
            )
        })
        .collect()
}

/// Without the parameters that `user=phone` allows in it (RFC 3261 section 19.1.6).
fn user(uri: &Uri) -> String {
    let text = uri.user_text();
    text.split(';').next().unwrap_or_default().to_owned()
}

/// A To tag that follows from the request alone (section 8.2.7): FNV-1a over what names the
/// transaction. It need not be secret, only the same for every repetition.
pub(super) fn stateless_tag(request: &Request) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |octets: &[u8]| {
        for octet in octets {
            hash = (hash ^ u64::from(*octet)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    // The branch and not the whole Via, the number and not the method: so that an ACK has the tag of its INVITE.
    let branch = request.top_via().ok().and_then(|via| via.branch().map(str::to_owned));
    add(branch.unwrap_or_default().as_bytes());
    for name in [HeaderName::CallId, HeaderName::From] {
        add(request.headers.get(name).map(|value| value.as_ref()).unwrap_or_default());
    }
    add(&cseq(&request.headers).to_be_bytes());
    format!("{hash:016x}")
}
