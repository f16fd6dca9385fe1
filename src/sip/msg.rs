//! A SIP message as data: start line, ordered headers, body. Header values stay as the octets that came;
//! [`super::header`] reads them on demand, [`super::wire`] reads and writes the whole.

use std::fmt;

use bytes::Bytes;

use super::error::Fault;
use super::header::{CSeq, Challenge, NameAddr, Via};
use super::uri::Uri;

mod headers;
mod name;
mod status;

pub use headers::{Header, Headers, InvalidHeader};
pub use name::HeaderName;
pub use status::StatusCode;

/// A request method (RFC 3261 section 7.1 and its extensions). Methods are case-sensitive.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the methods' own names")]
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Register,
    Prack,
    Update,
    Info,
    Refer,
    Notify,
    Subscribe,
    Message,
    Publish,
    /// Any other token.
    Other(String),
}

impl Method {
    /// Reads a token; `None` if `text` is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let known = match text {
            "INVITE" => Self::Invite,
            "ACK" => Self::Ack,
            "BYE" => Self::Bye,
            "CANCEL" => Self::Cancel,
            "OPTIONS" => Self::Options,
            "REGISTER" => Self::Register,
            "PRACK" => Self::Prack,
            "UPDATE" => Self::Update,
            "INFO" => Self::Info,
            "REFER" => Self::Refer,
            "NOTIFY" => Self::Notify,
            "SUBSCRIBE" => Self::Subscribe,
            "MESSAGE" => Self::Message,
            "PUBLISH" => Self::Publish,
            other => {
                let token = !other.is_empty() && other.bytes().all(super::lex::is_token);
                return token.then(|| Self::Other(other.to_owned()));
            }
        };
        Some(known)
    }

    /// The token on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Options => "OPTIONS",
            Self::Register => "REGISTER",
            Self::Prack => "PRACK",
            Self::Update => "UPDATE",
            Self::Info => "INFO",
            Self::Refer => "REFER",
            Self::Notify => "NOTIFY",
            Self::Subscribe => "SUBSCRIBE",
            Self::Message => "MESSAGE",
            Self::Publish => "PUBLISH",
            Self::Other(token) => token,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Request-URI.
    pub uri: Uri,
    /// Headers in order. Content-Length is written by [`Request::to_bytes`], whatever is in here.
    pub headers: Headers,
    /// Body, empty if none.
    pub body: Bytes,
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: StatusCode,
    /// Reason phrase as it came, trimmed: any octets; a stray CR reads as a space.
    pub reason: Bytes,
    /// Headers in order. Content-Length is written by [`Response::to_bytes`], whatever is in here.
    pub headers: Headers,
    /// Body, empty if none.
    pub body: Bytes,
}

impl Response {
    /// Reason phrase as text; octets that are not UTF-8 are replaced.
    pub fn reason_text(&self) -> String {
        String::from_utf8_lossy(&self.reason).into_owned()
    }
}

/// Either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

impl Message {
    /// Headers of either.
    pub fn headers(&self) -> &Headers {
        match self {
            Self::Request(request) => &request.headers,
            Self::Response(response) => &response.headers,
        }
    }

    /// Body of either.
    pub fn body(&self) -> &Bytes {
        match self {
            Self::Request(request) => &request.body,
            Self::Response(response) => &response.body,
        }
    }

    /// The octets to send.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Request(request) => request.to_bytes(),
            Self::Response(response) => response.to_bytes(),
        }
    }
}

/// The typed headers every layer above asks for: the same on requests and responses.
macro_rules! accessors {
    ($($of:ty),*) => {$(
        impl $of {
            /// From.
            ///
            /// # Errors
            /// When it is missing or malformed; so for every accessor below.
            pub fn from(&self) -> Result<NameAddr, Fault> {
                self.headers.from()
            }
            /// To.
            ///
            /// # Errors
            /// When it is missing or malformed.
            pub fn to(&self) -> Result<NameAddr, Fault> {
                self.headers.to()
            }
            /// Tag of From.
            pub fn from_tag(&self) -> Option<String> {
                self.headers.from().ok().and_then(|value| value.tag().map(str::to_owned))
            }
            /// Tag of To; `None` outside a dialog.
            pub fn to_tag(&self) -> Option<String> {
                self.headers.to().ok().and_then(|value| value.tag().map(str::to_owned))
            }
            /// Topmost Via.
            ///
            /// # Errors
            /// When it is missing or malformed.
            pub fn top_via(&self) -> Result<Via, Fault> {
                self.headers.top_via()
            }
            /// CSeq.
            ///
            /// # Errors
            /// When it is missing or malformed.
            pub fn cseq(&self) -> Result<CSeq, Fault> {
                self.headers.cseq()
            }
            /// Call-ID.
            ///
            /// # Errors
            /// When it is missing or empty.
            pub fn call_id(&self) -> Result<&str, Fault> {
                self.headers.call_id()
            }
            /// Contact values in order; `*` is left out (see [`super::header::Contact`]).
            ///
            /// # Errors
            /// When one is malformed.
            pub fn contacts(&self) -> Result<Vec<NameAddr>, Fault> {
                self.headers.contacts()
            }
            /// Route values in order.
            ///
            /// # Errors
            /// When one is malformed.
            pub fn route(&self) -> Result<Vec<NameAddr>, Fault> {
                self.headers.name_addrs(HeaderName::Route)
            }
            /// Record-Route values in order.
            ///
            /// # Errors
            /// When one is malformed.
            pub fn record_route(&self) -> Result<Vec<NameAddr>, Fault> {
                self.headers.name_addrs(HeaderName::RecordRoute)
            }
        }
    )*};
}
accessors!(Request, Response);

impl Response {
    /// The challenges that belong to this status: WWW-Authenticate for 401, Proxy-Authenticate for 407.
    pub fn challenges(&self) -> Vec<Challenge> {
        let name = match self.status.code() {
            401 => HeaderName::WwwAuthenticate,
            407 => HeaderName::ProxyAuthenticate,
            _ => return Vec::new(),
        };
        self.headers.get_all(name).flat_map(|value| Challenge::parse_all(value)).collect()
    }
}
