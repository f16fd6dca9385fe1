//! The only source of randomness: seeded from the system once at start, from a number in tests.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A random generator handed to whoever needs tags, branches, nonces or ids.
///
/// [`Entropy::from_system`] is cryptographically strong (ChaCha seeded by the kernel);
/// [`Entropy::seeded`] makes a run repeatable.
pub struct Entropy(StdRng);

impl Entropy {
    /// Seeds from the operating system.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn from_system() -> Result<Self, rand::rngs::SysError> {
        StdRng::try_from_rng(&mut rand::rngs::SysRng).map(Self)
    }

    /// Seeds from a number: the same number gives the same sequence.
    pub fn seeded(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A child generator, so that one owner never shares its stream with another.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(StdRng::from_rng(&mut self.0))
    }

    /// Fills `bytes` with random octets.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A random 32-bit number.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A random 64-bit number.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// `bytes` random octets as lower-case hexadecimal, for SIP tags and branches.
    pub fn hex(&mut self, bytes: usize) -> String {
        let mut out = String::with_capacity(bytes * 2);
        let mut left = bytes;
        while left > 0 {
            let word = self.u64().to_be_bytes();
            for octet in word.iter().take(left) {
                out.push(char::from_digit(u32::from(octet >> 4), 16).unwrap_or('0'));
                out.push(char::from_digit(u32::from(octet & 15), 16).unwrap_or('0'));
            }
            left = left.saturating_sub(8);
        }
        out
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy")
    }
}
