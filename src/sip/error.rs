//! What can be wrong with a message, and which answer RFC 3261 wants for it.

use super::msg::{HeaderName, Request, StatusCode};

/// One thing wrong with a message or a header value. The text reads after "failed to read: ".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing but line ends or stray octets: a keep-alive, not a message.
    #[error("keep-alive")]
    KeepAlive,
    /// The first line is neither a request line nor a status line.
    #[error("malformed start line")]
    StartLine,
    /// The Request-URI cannot be read.
    #[error("malformed Request-URI")]
    RequestUri,
    /// A URI scheme we do not speak.
    #[error("unsupported URI scheme")]
    UriScheme,
    /// A SIP version other than 2.0.
    #[error("unsupported SIP version")]
    Version,
    /// A status code outside 100 to 699.
    #[error("status code out of range")]
    StatusCode,
    /// A header line without colon or with an invalid name.
    #[error("malformed header line")]
    HeaderLine,
    /// The empty line after the headers is missing.
    #[error("headers without end")]
    Truncated,
    /// One of the limits of [`super::wire`] is exceeded.
    #[error("message too large")]
    TooLarge,
    /// Content-Length is not a number, contradicts itself or exceeds the octets that came.
    #[error("wrong Content-Length")]
    ContentLength,
    /// A mandatory header is missing.
    #[error("missing header: {0}")]
    Missing(HeaderName),
    /// A header that may occur once occurs again.
    #[error("repeated header: {0}")]
    Repeated(HeaderName),
    /// A header value cannot be read.
    #[error("malformed header: {0}")]
    Header(HeaderName),
    /// The method in CSeq is not that of the request line.
    #[error("CSeq method differs from the request method")]
    CSeqMethod,
    /// A URI text cannot be read.
    #[error("malformed URI")]
    Uri,
}

impl Fault {
    /// Status of the answer to a request with this fault (RFC 3261 sections 8.2 and 21.4).
    pub fn status(self) -> StatusCode {
        match self {
            Self::Version => StatusCode::VERSION_NOT_SUPPORTED,
            Self::UriScheme => StatusCode::UNSUPPORTED_URI_SCHEME,
            Self::TooLarge => StatusCode::MESSAGE_TOO_LARGE,
            Self::KeepAlive
            | Self::StartLine
            | Self::RequestUri
            | Self::StatusCode
            | Self::HeaderLine
            | Self::Truncated
            | Self::ContentLength
            | Self::Missing(_)
            | Self::Repeated(_)
            | Self::Header(_)
            | Self::CSeqMethod
            | Self::Uri => StatusCode::BAD_REQUEST,
        }
    }

    /// Metric label of `sip_rejected_total{reason}`.
    pub fn label(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep_alive",
            Self::StartLine => "start_line",
            Self::RequestUri => "request_uri",
            Self::UriScheme => "uri_scheme",
            Self::Version => "version",
            Self::StatusCode => "status_code",
            Self::HeaderLine => "header_line",
            Self::Truncated => "truncated",
            Self::TooLarge => "too_large",
            Self::ContentLength => "content_length",
            Self::Missing(_) => "missing_header",
            Self::Repeated(_) => "repeated_header",
            Self::Header(_) => "malformed_header",
            Self::CSeqMethod => "cseq_method",
            Self::Uri => "malformed_uri",
        }
    }
}

/// Why octets are not an acceptable message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct ParseError {
    /// What is wrong.
    pub fault: Fault,
    /// As much of the request as can be read, when that is enough to send an answer: a Via is there, though
    /// perhaps not a readable one, and From, To, Call-ID and CSeq may be missing or malformed.
    /// `None`: drop it and count.
    pub request: Option<Box<Request>>,
}

impl ParseError {
    /// The answer the other side has earned: status and the request to build it from.
    /// An ACK and a response earn none.
    pub fn answer(&self) -> Option<(StatusCode, &Request)> {
        self.request.as_deref().map(|request| (self.fault.status(), request))
    }
}

impl From<Fault> for ParseError {
    fn from(fault: Fault) -> Self {
        Self { fault, request: None }
    }
}
