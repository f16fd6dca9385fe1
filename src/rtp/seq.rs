//! Sequence numbers and timestamps that never wrap (RFC 3550 appendix A.1).
//!
//! The first value starts cycles above zero, so that what came before it (reordering, a clock set back)
//! stays positive. The low 32 bits of an extended sequence number are those of RFC 3550.

const FIRST_SEQUENCE_CYCLE: u64 = 1 << 32;
const FIRST_TIMESTAMP_CYCLE: u64 = 1 << 40;

/// Extends 16-bit sequence numbers to 64 bits: each to the value nearest to the highest so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct SequenceExtender {
    highest: Option<u64>,
}

/// Extends 32-bit timestamps to 64 bits: each to the value nearest to the highest so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct TimestampExtender {
    highest: Option<u64>,
}

impl SequenceExtender {
    /// The extended number of a received packet.
    pub fn extend(&mut self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else {
            let first = FIRST_SEQUENCE_CYCLE + u64::from(sequence);
            self.highest = Some(first);
            return first;
        };
        let delta = sequence.wrapping_sub(highest as u16) as i16;
        let extended = highest.saturating_add_signed(i64::from(delta));
        self.highest = Some(highest.max(extended));
        extended
    }

    /// The highest number so far.
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

impl TimestampExtender {
    /// The extended timestamp of a received packet.
    pub fn extend(&mut self, timestamp: u32) -> u64 {
        let Some(highest) = self.highest else {
            let first = FIRST_TIMESTAMP_CYCLE + u64::from(timestamp);
            self.highest = Some(first);
            return first;
        };
        let delta = timestamp.wrapping_sub(highest as u32) as i32;
        let extended = highest.saturating_add_signed(i64::from(delta));
        self.highest = Some(highest.max(extended));
        extended
    }
}

#[cfg(test)]
mod tests;
