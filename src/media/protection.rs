//! Encryption of one direction of a stream, from one agreement to the next.

use crate::rtp::srtp::{KeyError, Receiver, Sender};
use crate::types::SrtpKey;

/// What one direction does with its packets.
pub(super) enum Protection<T> {
    /// They are as they are.
    Clear,
    /// They are encrypted. Boxed: most streams are not.
    Keyed(Box<T>),
    /// They ought to be, and cannot, or not yet: none passes.
    Closed,
}

/// A side of SRTP.
pub(super) trait Side: Sized {
    /// Begins with a key.
    fn begin(key: SrtpKey) -> Result<Self, KeyError>;
    /// Its key.
    fn key(&self) -> &SrtpKey;
}

impl Side for Sender {
    fn begin(key: SrtpKey) -> Result<Self, KeyError> {
        Self::new(key)
    }

    fn key(&self) -> &SrtpKey {
        Self::key(self)
    }
}

impl Side for Receiver {
    fn begin(key: SrtpKey) -> Result<Self, KeyError> {
        Self::new(key)
    }

    fn key(&self) -> &SrtpKey {
        Self::key(self)
    }
}

impl<T: Side> Protection<T> {
    /// Takes over what was agreed. Packet indices go on while the key stays: so they do over hold.
    pub(super) fn agree(&mut self, key: Option<SrtpKey>) {
        let Some(key) = key else {
            *self = Self::Clear;
            return;
        };
        if matches!(self, Self::Keyed(side) if *side.key() == key) {
            return;
        }
        *self = T::begin(key).map_or(Self::Closed, |side| Self::Keyed(Box::new(side)));
    }
}
