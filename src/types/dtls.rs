//! The words of keys by DTLS: certificates as SDP names them, roles, what was agreed (RFC 5763, RFC 8122).

use std::fmt;

/// Octets of SHA-256.
const FINGERPRINT_BYTES: usize = 32;

/// SHA-256 of a certificate. Others are not taken: RFC 8122 section 5 asks for this one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

impl Fingerprint {
    /// From a digest.
    pub fn new(digest: [u8; FINGERPRINT_BYTES]) -> Self {
        Self(digest)
    }

    /// Reads pairs of hexadecimal digits with colons between them, of either case.
    pub fn parse(text: &str) -> Option<Self> {
        let mut octets = [0; FINGERPRINT_BYTES];
        let mut pairs = text.split(':');
        for octet in &mut octets {
            let pair = pairs.next().filter(|pair| pair.len() == 2)?;
            let digits = pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            *octet = digits.then(|| u8::from_str_radix(pair, 16).ok()).flatten()?;
        }
        pairs.next().is_none().then_some(Self(octets))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, octet) in self.0.iter().enumerate() {
            let colon = if at == 0 { "" } else { ":" };
            write!(f, "{colon}{octet:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Who begins the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtlsRole {
    /// We do: `a=setup:active`.
    Client,
    /// The peer does: `a=setup:passive`.
    Server,
}

/// How trunks that encrypt hand over keys in our offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SrtpKeying {
    /// In SDP (RFC 4568).
    #[default]
    Sdes,
    /// By a handshake on the path of the audio (RFC 5764).
    Dtls,
}

/// What offer and answer agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DtlsPlan {
    /// Counts the associations of a call: another number asks for another handshake.
    pub association: u32,
    /// Who begins.
    pub role: DtlsRole,
    /// The certificate the peer must have.
    pub peer: Fingerprint,
}

/// Why a stream has no keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyingFailure {
    /// The peer proved to have another certificate than its SDP says.
    #[error("the peer's certificate is not the one of its session description")]
    Fingerprint,
    /// The time is up, and nothing of a handshake came.
    #[error("the peer sent no DTLS handshake")]
    Silence,
    /// The time is up in the midst of it.
    #[error("the DTLS handshake did not finish in time")]
    Unfinished,
    /// The time is up after the peer said why (RFC 5246 section 7.2).
    #[error("the DTLS handshake did not finish in time; the peer sent alert {0}")]
    Alert(u8),
    /// A defect of ours.
    #[error("the DTLS handshake failed within the server")]
    Internal,
}

impl KeyingFailure {
    /// Its name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fingerprint => "fingerprint",
            Self::Silence => "silence",
            Self::Unfinished => "unfinished",
            Self::Alert(_) => "alert",
            Self::Internal => "internal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_they_are_written() {
        let fingerprint = Fingerprint::new(std::array::from_fn(|at| at as u8 * 7));
        let text = fingerprint.to_string();
        assert!(text.starts_with("00:07:0E:15:") && text.len() == 95, "{text}");
        assert_eq!(Fingerprint::parse(&text), Some(fingerprint));
        assert_eq!(Fingerprint::parse(&text.to_lowercase()), Some(fingerprint));
        for wrong in [
            String::new(),
            text[3..].to_owned(),
            format!("{text}:00"),
            text.replace("0E", "E"),
            text.replace("0E", "+E"),
            text.replace("0E", "0G"),
            text.replace(':', " "),
            format!("{text}:"),
        ] {
            assert_eq!(Fingerprint::parse(&wrong), None, "{wrong}");
        }
    }
}
