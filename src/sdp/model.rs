//! A session description as far as we need it (RFC 8866): one audio stream to use and the m-lines
//! around it that an answer must repeat.
//!
//! Lines without effect on a call (`i u e p b z r k`, unknown attributes) are not kept.

use std::fmt;
use std::net::IpAddr;

/// A session description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The `o=` line.
    pub origin: Origin,
    /// Session-level `c=`.
    pub connection: Option<Connection>,
    /// Session-level direction attribute.
    pub direction: Option<Direction>,
    /// Whether the writer is a lite agent of ICE (RFC 8839 section 5.3).
    pub ice_lite: bool,
    /// The m-lines, in order.
    pub media: Vec<Media>,
}

/// The `o=` line (RFC 8866 section 5.2). The user name is always `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Unique for the session. Ours fits a signed 64-bit number.
    pub session_id: u64,
    /// Rises by one with every change.
    pub version: u64,
    /// The creator's address.
    pub address: Connection,
}

/// Address of a `c=` or `o=` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// A literal.
    Ip(IpAddr),
    /// A host name. We resolve none: a call never waits for a name server because of its peer's SDP.
    Name(String),
}

impl Connection {
    /// Whether the address is `0.0.0.0` or `::`, the hold of RFC 2543.
    pub fn is_unspecified(&self) -> bool {
        matches!(self, Self::Ip(ip) if ip.is_unspecified())
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => write!(f, "IN IP4 {ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "IN IP6 {ip}"),
            Self::Name(name) => write!(f, "IN IP4 {name}"),
        }
    }
}

/// Direction of a stream, from the side of whoever wrote it (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// The writer only sends.
    SendOnly,
    /// The writer only receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// The direction of one who sends and receives as told.
    pub fn from_parts(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same stream seen from the other side.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self::from_parts(self.receives(), self.sends())
    }

    /// What both allow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::from_parts(self.sends() && other.sends(), self.receives() && other.receives())
    }

    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Reads the attribute's name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|d| text.eq_ignore_ascii_case(d.as_str()))
    }
}

/// One m-line and its attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video`, `image` and so on, as written.
    pub kind: String,
    /// Port; 0 means refused or disabled.
    pub port: u16,
    /// Transport profile as written, for example `RTP/AVP`.
    pub protocol: String,
    /// Formats in order of preference, as written.
    pub formats: Vec<String>,
    /// Media-level `c=`; without it the session's stands.
    pub connection: Option<Connection>,
    /// Identification tag (RFC 5888).
    pub mid: Option<String>,
    /// `a=rtpmap`, in order.
    pub rtpmaps: Vec<RtpMap>,
    /// `a=fmtp`, in order: payload type and parameters.
    pub fmtps: Vec<(u8, String)>,
    /// `a=ptime`, milliseconds.
    pub ptime_ms: Option<u16>,
    /// `a=maxptime`, milliseconds.
    pub maxptime_ms: Option<u16>,
    /// Media-level direction; without it the session's stands.
    pub direction: Option<Direction>,
    /// `a=rtcp` (RFC 3605): port, and address if it differs from the `c=` line.
    pub rtcp: Option<(u16, Option<IpAddr>)>,
    /// Whether `a=rtcp-mux` is present (RFC 5761).
    pub rtcp_mux: bool,
    /// Usable `a=crypto` lines, in order (RFC 4568).
    pub crypto: Vec<super::Crypto>,
    /// What it says of DTLS, here or for the whole session.
    pub dtls: Option<super::Dtls>,
    /// What it says of ICE, here or for the whole session.
    pub ice: Option<super::Ice>,
}

/// One `a=rtpmap` (RFC 8866 section 6.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RtpMap {
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Encoding name as written.
    pub encoding: String,
    /// Clock rate in Hz.
    pub clock_rate: u32,
    /// Channels, if stated.
    pub channels: Option<u8>,
}

impl Media {
    /// The rtpmap of a payload type.
    pub fn rtpmap(&self, payload_type: u8) -> Option<&RtpMap> {
        self.rtpmaps.iter().find(|m| m.payload_type == payload_type)
    }

    /// Formats that are payload types, in order.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> + '_ {
        self.formats.iter().filter_map(|f| f.parse().ok()).filter(|pt| *pt < 128)
    }
}
