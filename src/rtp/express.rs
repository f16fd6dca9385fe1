//! The least-delay path for speech recognition and voice activity detection: payloads in order, at once.
//!
//! A packet in sequence is out as soon as it is in. After a gap, `reorder` later packets are held back
//! for the missing one; one more proves the loss. The default of 1 repairs a swap of neighbours, by far
//! the most frequent reordering, and makes a real loss cost 20 ms of delay once; 0 costs nothing and
//! repairs nothing; 2 is the most a recogniser should wait. The length of the timeline is always true:
//! what is missing comes out as [`Piece::Lost`], what was never sent as [`Piece::Silence`], and while the
//! sender is silent the clock fills in ([`Express::fill`]).

use super::PAYLOAD_BYTES_MAX;

/// Largest `reorder`.
pub const REORDER_MAX: u8 = 2;
/// Packets held at most: those waiting and the one that proves a loss.
const HELD_MAX: usize = REORDER_MAX as usize + 1;
/// Missing time that may come out as one piece, in seconds. A longer hole is a new timeline.
const GAP_SECONDS_MAX: u64 = 2;

/// A stretch of the caller's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Encoded audio.
    Payload {
        /// Extended RTP timestamp of its first sample.
        timestamp: u64,
        /// Its payload type: a peer may use each codec of our offer.
        payload_type: u8,
        /// Octets of the codec.
        payload: &'a [u8],
    },
    /// Audio that was sent and did not come: conceal it.
    Lost {
        /// Extended RTP timestamp of its first sample.
        timestamp: u64,
        /// Its length.
        samples: u32,
    },
    /// The sender had nothing to say.
    Silence {
        /// Extended RTP timestamp of its first sample.
        timestamp: u64,
        /// Its length.
        samples: u32,
    },
}

/// A packet on its way into [`Express`] or the jitter buffer.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// Extended sequence number.
    pub sequence: u64,
    /// Extended timestamp.
    pub timestamp: u64,
    /// Payload type.
    pub payload_type: u8,
    /// Octets.
    pub payload: &'a [u8],
    /// Samples in the payload; 0 for a packet without audio (telephone-event, comfort noise).
    pub samples: u32,
}

/// Where the path stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cursor {
    /// Sequence number that comes next.
    sequence: u64,
    /// Timestamp up to which pieces were given.
    timestamp: u64,
}

#[derive(Debug)]
struct Held {
    sequence: u64,
    timestamp: u64,
    payload_type: u8,
    samples: u32,
    len: usize,
    bytes: [u8; PAYLOAD_BYTES_MAX],
}

/// The reorder window of one source.
#[derive(Debug)]
pub struct Express {
    reorder: usize,
    gap_max: u64,
    cursor: Option<Cursor>,
    held: [Held; HELD_MAX],
    held_len: usize,
    late: u64,
    lost: u64,
    /// What is held comes out without waiting for what is missing.
    given_up: bool,
    /// Length of silence that the clock filled in and that was not given yet.
    silence: u32,
}

impl Express {
    /// An empty window. `reorder` above [`REORDER_MAX`] counts as that.
    pub fn new(reorder: u8, clock_rate: u32) -> Self {
        Self {
            reorder: usize::from(reorder.min(REORDER_MAX)),
            gap_max: u64::from(clock_rate) * GAP_SECONDS_MAX,
            cursor: None,
            held: std::array::from_fn(|_| Held {
                sequence: 0,
                timestamp: 0,
                payload_type: 0,
                samples: 0,
                len: 0,
                bytes: [0; PAYLOAD_BYTES_MAX],
            }),
            held_len: 0,
            late: 0,
            lost: 0,
            given_up: false,
            silence: 0,
        }
    }

    /// Another clock: begins a new timeline.
    pub fn retune(&mut self, clock_rate: u32) {
        self.gap_max = u64::from(clock_rate) * GAP_SECONDS_MAX;
        self.restart();
    }

    /// The packet that comes out next, whatever is missing before it.
    pub fn peek(&self) -> Option<&[u8]> {
        let head = self.held.first().filter(|_| self.held_len > 0)?;
        head.bytes.get(..head.len).filter(|payload| !payload.is_empty())
    }

    /// Begins a new timeline with the next packet; what is held is dropped.
    pub fn restart(&mut self) {
        self.cursor = None;
        self.held_len = 0;
        self.given_up = false;
        self.silence = 0;
    }

    /// Takes a packet. Call [`Express::pop`] until `None` before the next.
    pub fn insert(&mut self, packet: Arrived<'_>) {
        let cursor = *self
            .cursor
            .get_or_insert(Cursor { sequence: packet.sequence, timestamp: packet.timestamp });
        let known = self.held.iter().take(self.held_len).any(|h| h.sequence == packet.sequence);
        let too_long = packet.payload.len() > PAYLOAD_BYTES_MAX;
        if packet.sequence < cursor.sequence || known || too_long {
            self.late += u64::from(packet.sequence < cursor.sequence);
            return;
        }
        let index = self
            .held
            .iter()
            .take(self.held_len)
            .position(|h| h.sequence > packet.sequence)
            .unwrap_or(self.held_len);
        if self.held_len == HELD_MAX {
            // Only a caller that does not drain gets here.
            self.late += 1;
            return;
        }
        if let Some(range) = self.held.get_mut(index..=self.held_len) {
            range.rotate_right(1);
        }
        if let Some(slot) = self.held.get_mut(index) {
            slot.sequence = packet.sequence;
            slot.timestamp = packet.timestamp;
            slot.payload_type = packet.payload_type;
            slot.samples = packet.samples;
            slot.len = packet.payload.len();
            for (to, from) in slot.bytes.iter_mut().zip(packet.payload) {
                *to = *from;
            }
            self.held_len += 1;
        }
    }

    /// The sender is silent and wall time went on: the timeline is now true up to `timestamp`.
    pub fn fill(&mut self, timestamp: u64) {
        let Some(cursor) = &self.cursor else { return };
        let given = cursor.timestamp + u64::from(self.silence);
        let missing = timestamp.saturating_sub(given).min(self.gap_max);
        self.silence += u32::try_from(missing).unwrap_or(0);
    }

    /// Whether a packet is held for a missing one.
    pub fn is_waiting(&self) -> bool {
        self.held_len > 0
    }

    /// Gives up on what is missing before the packets held: they come out with the next [`Express::pop`]s.
    pub fn give_up(&mut self) {
        self.given_up = self.held_len > 0;
    }

    /// Timestamp up to which the timeline is complete.
    pub fn position(&self) -> Option<u64> {
        self.cursor.as_ref().map(|c| c.timestamp + u64::from(self.silence))
    }

    /// Packets that came after their place was given up.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Packets given up.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The next piece, if one can be given now.
    pub fn pop(&mut self) -> Option<Piece<'_>> {
        if self.silence > 0 {
            let cursor = self.cursor.as_mut()?;
            let (timestamp, samples) = (cursor.timestamp, std::mem::take(&mut self.silence));
            cursor.timestamp += u64::from(samples);
            return Some(Piece::Silence { timestamp, samples });
        }
        loop {
            let cursor = self.cursor.as_mut()?;
            let Some(head) = self.held.first().filter(|_| self.held_len > 0) else {
                self.given_up = false;
                return None;
            };
            let missing = head.sequence.saturating_sub(cursor.sequence);
            if missing > 0 && self.held_len <= self.reorder && !self.given_up {
                return None;
            }
            if head.samples == 0 {
                // An event or comfort noise takes a number and no time.
                self.lost += missing;
                cursor.sequence = head.sequence + 1;
                self.drop_head();
                continue;
            }
            let gap = head.timestamp.saturating_sub(cursor.timestamp);
            if gap > 0 && gap <= self.gap_max {
                let (timestamp, samples) = (cursor.timestamp, u32::try_from(gap).unwrap_or(0));
                cursor.timestamp = head.timestamp;
                cursor.sequence = head.sequence;
                self.lost += missing;
                return Some(if missing > 0 {
                    Piece::Lost { timestamp, samples }
                } else {
                    Piece::Silence { timestamp, samples }
                });
            }
            self.lost += missing;
            cursor.sequence = head.sequence + 1;
            if gap == 0 && head.timestamp < cursor.timestamp {
                // The clock has already filled this time with silence: it may not pass twice.
                self.late += 1;
                self.drop_head();
                continue;
            }
            cursor.timestamp = head.timestamp + u64::from(head.samples);
            return self.take_head();
        }
    }

    fn drop_head(&mut self) {
        if let Some(range) = self.held.get_mut(..self.held_len) {
            range.rotate_left(1);
        }
        self.held_len = self.held_len.saturating_sub(1);
    }

    /// Moves the head behind the packets held and gives a view of it.
    fn take_head(&mut self) -> Option<Piece<'_>> {
        self.drop_head();
        let head = self.held.get(self.held_len)?;
        Some(Piece::Payload {
            timestamp: head.timestamp,
            payload_type: head.payload_type,
            payload: head.bytes.get(..head.len)?,
        })
    }
}

#[cfg(test)]
mod tests;
