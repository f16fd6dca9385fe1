//! The header names we know, their compact forms and canonical spellings.

use std::fmt;

/// A header name we act on. Everything else is [`HeaderName::Other`]: kept in order, found by
/// [`super::Headers::get_named`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the headers' own names")]
pub enum HeaderName {
    Accept,
    Allow,
    AllowEvents,
    Authorization,
    CallId,
    Contact,
    ContentDisposition,
    ContentEncoding,
    ContentLength,
    ContentType,
    CSeq,
    Date,
    Diversion,
    Event,
    Expires,
    From,
    Identity,
    MaxForwards,
    MinExpires,
    MinSe,
    PAssertedIdentity,
    Privacy,
    ProxyAuthenticate,
    ProxyAuthorization,
    ProxyRequire,
    RAck,
    Reason,
    RecordRoute,
    ReferTo,
    ReferredBy,
    RemotePartyId,
    Replaces,
    Require,
    RetryAfter,
    Route,
    RSeq,
    Server,
    SessionExpires,
    Subject,
    SubscriptionState,
    Supported,
    To,
    Unsupported,
    UserAgent,
    Via,
    Warning,
    WwwAuthenticate,
    Other,
}

/// Name, canonical spelling, compact form (0: none).
const NAMES: [(HeaderName, &str, u8); 47] = [
    (HeaderName::Via, "Via", b'v'),
    (HeaderName::From, "From", b'f'),
    (HeaderName::To, "To", b't'),
    (HeaderName::CallId, "Call-ID", b'i'),
    (HeaderName::CSeq, "CSeq", 0),
    (HeaderName::Contact, "Contact", b'm'),
    (HeaderName::MaxForwards, "Max-Forwards", 0),
    (HeaderName::ContentLength, "Content-Length", b'l'),
    (HeaderName::ContentType, "Content-Type", b'c'),
    (HeaderName::Route, "Route", 0),
    (HeaderName::RecordRoute, "Record-Route", 0),
    (HeaderName::Accept, "Accept", 0),
    (HeaderName::Allow, "Allow", 0),
    (HeaderName::AllowEvents, "Allow-Events", b'u'),
    (HeaderName::Authorization, "Authorization", 0),
    (HeaderName::ContentDisposition, "Content-Disposition", 0),
    (HeaderName::ContentEncoding, "Content-Encoding", b'e'),
    (HeaderName::Date, "Date", 0),
    (HeaderName::Diversion, "Diversion", 0),
    (HeaderName::Event, "Event", b'o'),
    (HeaderName::Expires, "Expires", 0),
    (HeaderName::Identity, "Identity", b'y'),
    (HeaderName::MinExpires, "Min-Expires", 0),
    (HeaderName::MinSe, "Min-SE", 0),
    (HeaderName::PAssertedIdentity, "P-Asserted-Identity", 0),
    (HeaderName::Privacy, "Privacy", 0),
    (HeaderName::ProxyAuthenticate, "Proxy-Authenticate", 0),
    (HeaderName::ProxyAuthorization, "Proxy-Authorization", 0),
    (HeaderName::ProxyRequire, "Proxy-Require", 0),
    (HeaderName::RAck, "RAck", 0),
    (HeaderName::Reason, "Reason", 0),
    (HeaderName::ReferTo, "Refer-To", b'r'),
    (HeaderName::ReferredBy, "Referred-By", b'b'),
    (HeaderName::RemotePartyId, "Remote-Party-ID", 0),
    (HeaderName::Replaces, "Replaces", 0),
    (HeaderName::Require, "Require", 0),
    (HeaderName::RetryAfter, "Retry-After", 0),
    (HeaderName::RSeq, "RSeq", 0),
    (HeaderName::Server, "Server", 0),
    (HeaderName::SessionExpires, "Session-Expires", b'x'),
    (HeaderName::Subject, "Subject", b's'),
    (HeaderName::SubscriptionState, "Subscription-State", 0),
    (HeaderName::Supported, "Supported", b'k'),
    (HeaderName::Unsupported, "Unsupported", 0),
    (HeaderName::UserAgent, "User-Agent", 0),
    (HeaderName::Warning, "Warning", 0),
    (HeaderName::WwwAuthenticate, "WWW-Authenticate", 0),
];

impl HeaderName {
    /// The name for a spelling of any case, long or compact (RFC 3261 section 7.3.3).
    pub fn from_written(written: &[u8]) -> Self {
        let found = if let [letter] = written {
            let letter = letter.to_ascii_lowercase();
            NAMES.iter().find(|(_, _, compact)| *compact == letter)
        } else {
            NAMES.iter().find(|(_, long, _)| {
                long.len() == written.len() && long.as_bytes().eq_ignore_ascii_case(written)
            })
        };
        found.map_or(Self::Other, |(name, _, _)| *name)
    }

    /// Canonical spelling; empty for [`HeaderName::Other`].
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(name, _, _)| *name == self).map_or("", |(_, long, _)| long)
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
