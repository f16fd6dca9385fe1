//! What a stream counted, and the reception quality of RFC 3550 (appendices A.1, A.3 and A.8).

use std::time::{Duration, Instant};

use super::jitter::JitterStats;

/// What was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboundStats {
    /// RTP packets.
    pub packets: u64,
    /// Payload octets.
    pub octets: u64,
}

/// What was received and what was turned away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboundStats {
    /// RTP packets accepted.
    pub packets: u64,
    /// Payload octets accepted.
    pub octets: u64,
    /// RTCP datagrams accepted.
    pub control_packets: u64,
    /// Datagrams that are no RTP: size, version, padding.
    pub malformed: u64,
    /// Packets of a payload type nobody negotiated, or of a size no codec of ours makes.
    pub unexpected: u64,
    /// Datagrams of an encrypted stream that are not of its key, or not encrypted.
    pub unauthenticated: u64,
    /// Datagrams of an encrypted stream that came before.
    pub replayed: u64,
    /// Packets from an address that may not speak.
    pub wrong_source: u64,
    /// Packets of another source identifier that did not take over.
    pub wrong_ssrc: u64,
    /// Packets of the peer beyond what a talking peer sends.
    pub too_fast: u64,
    /// Changes of the source identifier.
    pub ssrc_changes: u64,
    /// New timelines of the same source.
    pub restarts: u64,
    /// Packets lost on the express path.
    pub express_lost: u64,
    /// Packets too late for the express path.
    pub express_late: u64,
    /// Of the jitter buffer.
    pub jitter: JitterStats,
    /// Interarrival jitter of RFC 3550, in microseconds.
    pub interarrival_jitter_us: u64,
    /// Packets lost as RFC 3550 counts them (duplicates reduce it).
    pub cumulative_lost: i64,
}

/// The body of a report block about one source, without the fields of RTCP's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceptionSummary {
    /// The source.
    pub ssrc: u32,
    /// Share lost since the last summary, in 1/256.
    pub fraction_lost: u8,
    /// Lost since the beginning, a signed 24-bit number.
    pub cumulative_lost: i32,
    /// Highest sequence number with its cycles.
    pub highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
}

/// Reception of one source.
#[derive(Debug)]
pub struct Reception {
    ssrc: u32,
    clock_rate: u32,
    first: u64,
    highest: u64,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    /// Arrival and timestamp of the last packet.
    last: (Instant, u64),
    /// Sixteen times the jitter, in nanoseconds.
    jitter16_ns: u128,
}

impl Reception {
    /// A source whose first packet just came and is not counted yet.
    pub fn new(now: Instant, clock_rate: u32, ssrc: u32, sequence: u64, timestamp: u64) -> Self {
        Self {
            ssrc,
            clock_rate: clock_rate.max(1),
            first: sequence,
            highest: sequence,
            received: 0,
            expected_prior: 0,
            received_prior: 0,
            last: (now, timestamp),
            jitter16_ns: 0,
        }
    }

    /// Which source.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Takes a packet whose timestamp does not follow the media clock (an event, comfort noise).
    pub fn count(&mut self, sequence: u64) {
        self.received += 1;
        self.highest = self.highest.max(sequence);
    }

    /// Takes a packet of audio.
    pub fn observe(&mut self, now: Instant, sequence: u64, timestamp: u64) {
        self.count(sequence);
        let (before, stamp) = self.last;
        let media = timestamp.abs_diff(stamp);
        let nanos = u128::from(media) * 1_000_000_000 / u128::from(self.clock_rate);
        let elapsed = now.saturating_duration_since(before).as_nanos();
        let transit = if timestamp >= stamp { elapsed.abs_diff(nanos) } else { elapsed + nanos };
        self.last = (now, timestamp);
        // J += (|D| - J) / 16, kept at sixteen times its value as appendix A.8 does.
        self.jitter16_ns = self.jitter16_ns + transit - (self.jitter16_ns + 8) / 16;
    }

    /// A clock jump is no jitter: measures from this packet on.
    pub fn rebase(&mut self, now: Instant, timestamp: u64) {
        self.last = (now, timestamp);
    }

    /// Interarrival jitter.
    pub fn jitter(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.jitter16_ns / 16).unwrap_or(u64::MAX))
    }

    /// Packets lost so far; negative if duplicates outnumber losses.
    pub fn cumulative_lost(&self) -> i64 {
        self.expected() as i64 - self.received as i64
    }

    /// Summary of the time since the last one (appendix A.3).
    pub fn summarize(&mut self) -> ReceptionSummary {
        let expected = self.expected() - self.expected_prior;
        let received = self.received - self.received_prior;
        self.expected_prior = self.expected();
        self.received_prior = self.received;
        let lost = expected.saturating_sub(received);
        let fraction = (lost << 8).checked_div(expected).unwrap_or(0);
        let jitter = self.jitter16_ns / 16 * u128::from(self.clock_rate) / 1_000_000_000;
        ReceptionSummary {
            ssrc: self.ssrc,
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: self.cumulative_lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: self.highest as u32,
            jitter: u32::try_from(jitter).unwrap_or(u32::MAX),
        }
    }

    fn expected(&self) -> u64 {
        self.highest.saturating_sub(self.first) + 1
    }
}

#[cfg(test)]
mod tests;
