//! This server's own signatures: links to recordings, and cursors of lists. HMAC-SHA256 (RFC 2104) with a key that
//! is made at the first use and kept in the database.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::types::CallId;

/// Longest life of a link, seconds.
pub const LINK_SECONDS_MAX: u32 = 3_600;

/// Why a link is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkError {
    /// It was never signed here, or was changed.
    Invalid,
    /// It was good once.
    Expired,
}

/// A signed path to a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Path and query.
    pub path: String,
    /// From when it is refused.
    pub expires_at: jiff::Timestamp,
}

/// Signs and checks.
pub struct Signer {
    kid: String,
    secret: Vec<u8>,
}

impl Signer {
    /// A signer with this key.
    pub fn new(kid: String, secret: Vec<u8>) -> Self {
        Self { kid, secret }
    }

    fn mac(&self, purpose: &str, parts: &[&str]) -> Option<Hmac<Sha256>> {
        // A key of any length is taken.
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        mac.update(purpose.as_bytes());
        for part in parts {
            mac.update(b"\n");
            mac.update(part.as_bytes());
        }
        Some(mac)
    }

    /// A path under which anybody can download a call's recording for a while.
    pub fn link(&self, call: CallId, now: jiff::Timestamp, ttl_s: u32) -> Option<Link> {
        let exp = now.as_second().checked_add(i64::from(ttl_s.min(LINK_SECONDS_MAX)))?;
        let path = format!("/v1/recordings/{call}.wav");
        let mac = self.mac("link", &["GET", &path, &exp.to_string(), &self.kid])?;
        let sig = hex(&mac.finalize().into_bytes());
        Some(Link {
            path: format!("{path}?exp={exp}&kid={}&sig={sig}", self.kid),
            expires_at: jiff::Timestamp::from_second(exp).ok()?,
        })
    }

    /// Checks the parts of such a path, in constant time.
    ///
    /// # Errors
    /// When it is not good, or no longer.
    pub fn check_link(
        &self,
        path: &str,
        (exp, kid, sig): (&str, &str, &str),
        now: jiff::Timestamp,
    ) -> Result<(), LinkError> {
        let mac = self.mac("link", &["GET", path, exp, kid]).ok_or(LinkError::Invalid)?;
        let sig = unhex(sig).ok_or(LinkError::Invalid)?;
        mac.verify_slice(&sig).map_err(|_| LinkError::Invalid)?;
        let exp: i64 = exp.parse().map_err(|_| LinkError::Invalid)?;
        if kid != self.kid {
            return Err(LinkError::Invalid);
        }
        if now.as_second() >= exp { Err(LinkError::Expired) } else { Ok(()) }
    }

    /// Signs something that clients hold for us.
    pub fn sign(&self, purpose: &str, text: &str) -> String {
        let mac = self.mac(purpose, &[text]);
        mac.map(|mac| hex(&mac.finalize().into_bytes())).unwrap_or_default()
    }

    /// Whether it was signed here, in constant time.
    pub fn is_signed(&self, purpose: &str, text: &str, sig: &str) -> bool {
        let known = self.mac(purpose, &[text]).zip(unhex(sig));
        known.is_some_and(|(mac, sig)| mac.verify_slice(&sig).is_ok())
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
            u8::from_str_radix(pair, 16).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Entropy;

    fn parts(path: &str) -> (&str, &str, &str, &str) {
        let (path, query) = path.split_once('?').unwrap();
        let mut values = query.split('&').map(|pair| pair.split_once('=').unwrap().1);
        (path, values.next().unwrap(), values.next().unwrap(), values.next().unwrap())
    }

    // covers: E2-06
    #[test]
    fn a_link_lives_an_hour_and_not_a_second_more() {
        let signer = Signer::new("k1".into(), vec![7; 32]);
        let now = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let call = CallId::new(1, &mut Entropy::seeded(1));
        let link = signer.link(call, now, LINK_SECONDS_MAX).unwrap();
        let (path, exp, kid, sig) = parts(&link.path);
        let after =
            |s| signer.check_link(path, (exp, kid, sig), now + jiff::SignedDuration::from_secs(s));
        assert_eq!(after(0), Ok(()));
        assert_eq!(after(3_599), Ok(()));
        assert_eq!(after(3_601), Err(LinkError::Expired));
        let longer = signer.link(call, now, u32::MAX).unwrap();
        assert_eq!(longer.expires_at, link.expires_at);
    }

    #[test]
    fn a_changed_link_is_none() {
        let signer = Signer::new("k1".into(), vec![7; 32]);
        let now = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let call = CallId::new(1, &mut Entropy::seeded(1));
        let link = signer.link(call, now, 60).unwrap();
        let (path, exp, kid, sig) = parts(&link.path);
        let other = path.replace(&call.to_string()[..4], "ffff");
        let flipped = sig.replace(&sig[..1], if sig.starts_with('0') { "1" } else { "0" });
        for (path, exp, kid, sig) in [
            (other.as_str(), exp, kid, sig),
            (path, "1900000000", kid, sig),
            (path, exp, "k2", sig),
            (path, exp, kid, flipped.as_str()),
            (path, exp, kid, ""),
            (path, exp, kid, "zz"),
            (path, exp, kid, &sig[1..]),
            (path, exp, kid, "\u{e9}"),
        ] {
            assert_eq!(signer.check_link(path, (exp, kid, sig), now), Err(LinkError::Invalid));
        }
        assert!(signer.is_signed("cursor", "x", &signer.sign("cursor", "x")));
        assert!(!signer.is_signed("cursor", "x", &signer.sign("link", "x")));
    }
}
