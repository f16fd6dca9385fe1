//! Workshop: parse, print and negotiate one audio stream (RFC 8866, RFC 3264).
//!
//! Not here: transport, SIP, RTP. A body comes in as octets, an answer goes out as text together with
//! the [`Negotiated`] facts a media stream needs. Start reading at [`negotiate::Session`].

pub mod crypto;
mod formats;
pub mod ice;
pub mod model;
pub mod negotiate;
mod numbers;
pub mod parse;
mod place;
pub mod print;
pub mod secure;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
#[cfg(test)]
mod tests;

pub use crypto::Crypto;
pub use ice::Ice;
pub use model::{Connection, Description, Direction, Media, Origin, RtpMap};
pub use negotiate::{Answer, CodecOrder, Local, Negotiated, Session};
pub use parse::parse;
pub use secure::{Dtls, Setup};

/// Why a body could not be turned into an agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Audio is offered, but in no codec or no transport profile we speak: answer 488.
    #[error("no codec or profile in common")]
    NoCommonCodec,
    /// Not SDP, or SDP that breaks a rule we cannot repair: answer 400.
    #[error("malformed session description: {0}")]
    Malformed(&'static str),
    /// The trunk or the offer demands SRTP, and there is no `a=crypto` or `a=fingerprint` both sides can use: answer
    /// 488.
    #[error("no encryption in common")]
    NoCommonCrypto,
    /// One of the limits of [`parse`](mod@parse) is exceeded: answer 413.
    #[error("session description exceeds {0}")]
    TooLarge(&'static str),
    /// No audio stream with a port: answer 488.
    #[error("no audio stream")]
    NoAudio,
    /// The peer's address is a name, multicast, broadcast or link-local: answer 488.
    #[error("unusable connection address")]
    Address,
    /// The peer's address is of another family than ours: answer 488.
    #[error("no address family in common")]
    Family,
}

/// Where the peer of an offer wants its audio; `None`: nowhere that could be told.
pub fn address_of(offer: &[u8]) -> Option<std::net::IpAddr> {
    let offer = parse(offer).ok()?;
    let audio = offer.media.iter().find(|media| media.kind == "audio" && media.port != 0)?;
    match audio.connection.as_ref().or(offer.connection.as_ref())? {
        Connection::Ip(ip) => Some(*ip),
        Connection::Name(_) => None,
    }
}
