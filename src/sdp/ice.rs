//! ICE in SDP (RFC 8839), from the side of a lite agent (RFC 8445 section 2.5): an offer that checks connectivity is
//! answered with our one address; our own offers ask for it only where it was agreed before.

use std::fmt;
use std::net::SocketAddr;

use super::{Description, Media};
use crate::types::{Entropy, IceCredentials};

/// Characters of a user name fragment (RFC 8839 section 5.4).
const UFRAG_CHARS: std::ops::RangeInclusive<usize> = 4..=256;
/// Characters of a password.
const PWD_CHARS: std::ops::RangeInclusive<usize> = 22..=256;
/// Priority of our one candidate: a host, of the one address we have (RFC 8445 section 5.1.2).
const PRIORITY: u32 = (126 << 24) | (65_535 << 8) | 255;

/// What an m-line says of ICE.
#[derive(Clone, PartialEq, Eq)]
pub struct Ice {
    /// User name fragment.
    pub ufrag: String,
    /// Password.
    pub pwd: String,
    /// The writer's one address, where that is us. Those of a peer are its own business: it checks them.
    pub candidate: Option<SocketAddr>,
}

impl fmt::Debug for Ice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ice({}, [redacted], {:?})", self.ufrag, self.candidate)
    }
}

impl Ice {
    /// From the values of `a=ice-ufrag` and `a=ice-pwd`; `None`: they are no use.
    pub(super) fn new(ufrag: Option<&str>, pwd: Option<&str>) -> Option<Self> {
        let read = |text: Option<&str>, chars: std::ops::RangeInclusive<usize>| {
            let text = text?.trim();
            let are_right = text.bytes().all(|c| c.is_ascii_alphanumeric() || b"+/".contains(&c));
            (are_right && chars.contains(&text.len())).then(|| text.to_owned())
        };
        let (ufrag, pwd) = (read(ufrag, UFRAG_CHARS)?, read(pwd, PWD_CHARS)?);
        Some(Self { ufrag, pwd, candidate: None })
    }

    fn ours(credentials: &IceCredentials, at: SocketAddr) -> Self {
        let (ufrag, pwd) = (credentials.ufrag().to_owned(), credentials.pwd().to_owned());
        Self { ufrag, pwd, candidate: Some(at) }
    }
}

impl fmt::Display for Ice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", self.ufrag, self.pwd)?;
        let Some(at) = self.candidate else { return Ok(()) };
        let (ip, port) = (at.ip().to_canonical(), at.port());
        write!(f, "a=candidate:1 1 UDP {PRIORITY} {ip} {port} typ host\r\n")
    }
}

/// Whether we take part. Without multiplexed RTCP there would be two addresses to check; of two lite agents neither
/// checks anything.
pub(super) fn is_usable(theirs: &Description, media: &Media) -> bool {
    media.ice.is_some() && media.rtcp_mux && !theirs.ice_lite
}

/// Where an association of keys is. Nowhere of its own, where checks say it: a peer describes what it settled on, and
/// goes on with the keys it has (RFC 8842 section 6).
pub(super) fn place(by_ice: bool, described: SocketAddr) -> SocketAddr {
    if by_ice { SocketAddr::from(([0, 0, 0, 0], 0)) } else { described }
}

/// The ICE session of a call.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// What the peer is known by, and we are.
    agreed: Option<(Ice, IceCredentials)>,
}

impl Session {
    /// Takes what a description of theirs says; `None`: media goes where the description says, and nowhere else.
    pub(super) fn agree(
        &mut self,
        theirs: &Description,
        media: &Media,
        entropy: &mut Entropy,
    ) -> Option<IceCredentials> {
        let Some(ice) = media.ice.as_ref().filter(|_| is_usable(theirs, media)) else {
            self.agreed = None;
            return None;
        };
        let credentials = match self.agreed.take() {
            Some((known, ours)) if known == *ice => ours,
            // RFC 8839 section 4.4.3: other words of theirs are another session.
            _ => IceCredentials::generate(entropy),
        };
        self.agreed = Some((ice.clone(), credentials));
        Some(credentials)
    }

    /// What our m-line says.
    pub(super) fn line(&self, at: SocketAddr) -> Option<Ice> {
        self.agreed.as_ref().map(|(_, ours)| Ice::ours(ours, at))
    }
}
