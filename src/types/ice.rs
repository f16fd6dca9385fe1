//! What two ICE agents know each other by (RFC 8445 section 5.3).

use std::fmt;

use super::Entropy;

/// Octets of random in a user name fragment: RFC 8445 wants 24 bits.
const UFRAG_BYTES: usize = 4;
/// Octets of random in a password: RFC 8445 wants 128 bits.
const PWD_BYTES: usize = 16;

/// Our user name fragment and password of one ICE session; others of their like begin another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IceCredentials {
    ufrag: [u8; UFRAG_BYTES * 2],
    pwd: [u8; PWD_BYTES * 2],
}

impl IceCredentials {
    /// New ones.
    pub fn generate(entropy: &mut Entropy) -> Self {
        let (mut ufrag, mut pwd) = ([0; UFRAG_BYTES * 2], [0; PWD_BYTES * 2]);
        fill(&mut ufrag, &entropy.hex(UFRAG_BYTES));
        fill(&mut pwd, &entropy.hex(PWD_BYTES));
        Self { ufrag, pwd }
    }

    /// The user name fragment.
    pub fn ufrag(&self) -> &str {
        std::str::from_utf8(&self.ufrag).unwrap_or_default()
    }

    /// The password.
    pub fn pwd(&self) -> &str {
        std::str::from_utf8(&self.pwd).unwrap_or_default()
    }
}

fn fill(to: &mut [u8], from: &str) {
    to.iter_mut().zip(from.bytes()).for_each(|(to, from)| *to = from);
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IceCredentials({}, [redacted])", self.ufrag())
    }
}
