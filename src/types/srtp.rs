//! The words of media encryption: suites, keys and what a trunk wants (RFC 4568, RFC 3711).

use std::fmt;

use super::Entropy;

/// What a trunk says of encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SrtpPolicy {
    /// Audio in the clear; an offer of nothing but SRTP is refused.
    #[default]
    Disabled,
    /// Encrypted where the peer can (RFC 8643), else in the clear.
    Optional,
    /// Encrypted, or no call.
    Required,
}

/// A crypto suite of SDES.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SrtpSuite {
    /// RFC 7714.
    AeadAes256Gcm,
    /// RFC 7714.
    AeadAes128Gcm,
    /// RFC 6188.
    Aes256CmHmacSha1_80,
    /// RFC 6188.
    Aes256CmHmacSha1_32,
    /// RFC 4568: what every peer with SRTP speaks.
    AesCm128HmacSha1_80,
    /// RFC 4568.
    AesCm128HmacSha1_32,
}

impl SrtpSuite {
    /// Every suite, in the order of our offers: the strongest first, short tags last.
    pub const ALL: [Self; 6] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::Aes256CmHmacSha1_80,
        Self::AesCm128HmacSha1_80,
        Self::Aes256CmHmacSha1_32,
        Self::AesCm128HmacSha1_32,
    ];

    /// Its name in `a=crypto`.
    pub fn name(self) -> &'static str {
        match self {
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::Aes256CmHmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::Aes256CmHmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// The suite of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| name.eq_ignore_ascii_case(suite.name()))
    }

    /// Octets of the master key.
    pub fn key_bytes(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::Aes256CmHmacSha1_80 | Self::Aes256CmHmacSha1_32 => 32,
            Self::AeadAes128Gcm | Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 16,
        }
    }

    /// Octets of the master salt.
    pub fn salt_bytes(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 12,
            _ => 14,
        }
    }
}

impl fmt::Display for SrtpSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Octets of the longest master key with its salt.
const MASTER_BYTES_MAX: usize = 46;

/// Master key and salt of one direction. Never shown: its `Debug` names the suite only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SrtpKey {
    suite: SrtpSuite,
    /// Key, then salt; zero behind.
    octets: [u8; MASTER_BYTES_MAX],
}

impl SrtpKey {
    /// A key from the octets of a key parameter; `None` unless there are exactly as many as the suite has.
    pub fn new(suite: SrtpSuite, octets: &[u8]) -> Option<Self> {
        if octets.len() != suite.key_bytes() + suite.salt_bytes() {
            return None;
        }
        let mut key = Self { suite, octets: [0; MASTER_BYTES_MAX] };
        key.octets.get_mut(..octets.len())?.copy_from_slice(octets);
        Some(key)
    }

    /// A fresh key.
    pub fn generate(suite: SrtpSuite, entropy: &mut Entropy) -> Self {
        let mut octets = [0; MASTER_BYTES_MAX];
        let len = suite.key_bytes() + suite.salt_bytes();
        entropy.fill(octets.get_mut(..len).unwrap_or_default());
        Self { suite, octets }
    }

    /// Its suite.
    pub fn suite(&self) -> SrtpSuite {
        self.suite
    }

    /// Master key.
    pub fn master_key(&self) -> &[u8] {
        self.octets.get(..self.suite.key_bytes()).unwrap_or_default()
    }

    /// Master salt.
    pub fn master_salt(&self) -> &[u8] {
        let begin = self.suite.key_bytes();
        self.octets.get(begin..begin + self.suite.salt_bytes()).unwrap_or_default()
    }

    /// Key and salt, as a key parameter holds them.
    pub fn octets(&self) -> &[u8] {
        let len = self.suite.key_bytes() + self.suite.salt_bytes();
        self.octets.get(..len).unwrap_or_default()
    }
}

impl fmt::Debug for SrtpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SrtpKey({})", self.suite)
    }
}

/// The keys of a stream: each side chose the one it protects with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrtpKeys {
    /// Of what we send.
    pub send: SrtpKey,
    /// Of what we receive.
    pub receive: SrtpKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_length_of_their_suite_and_are_not_shown() {
        let mut entropy = Entropy::seeded(1);
        for suite in SrtpSuite::ALL {
            assert_eq!(SrtpSuite::parse(&suite.name().to_lowercase()), Some(suite));
            let key = SrtpKey::generate(suite, &mut entropy);
            let octets = key.octets().to_vec();
            assert_eq!(octets.len(), suite.key_bytes() + suite.salt_bytes());
            assert_eq!([key.master_key(), key.master_salt()].concat(), octets);
            assert_eq!(SrtpKey::new(suite, &octets), Some(key));
            assert_eq!(SrtpKey::new(suite, &octets[1..]), None);
            assert_eq!(SrtpKey::new(suite, &[octets.as_slice(), &[0]].concat()), None);
            assert_eq!(format!("{key:?}"), format!("SrtpKey({})", suite.name()));
        }
        assert_eq!(SrtpSuite::parse("F8_128_HMAC_SHA1_80"), None);
    }
}
