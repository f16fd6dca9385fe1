//! How fast packets of one stream are taken: a peer that floods its own line takes no time from the others.

use std::time::{Duration, Instant};

/// One packet in so much time, in the long run: 500 a second. Packets of 10 ms are 100 a second.
const INTERVAL: Duration = Duration::from_millis(2);
/// What a network held back comes at once: 5 s of packets of 10 ms.
const BURST: u32 = 500;

/// A bucket of packets that may come.
#[derive(Debug, Default)]
pub(super) struct Rate {
    /// When the bucket is full again.
    full_at: Option<Instant>,
}

impl Rate {
    /// Whether a packet may come now.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let is_empty = full_at.saturating_duration_since(now) > INTERVAL * (BURST - 1);
        if !is_empty {
            self.full_at = Some(full_at + INTERVAL);
        }
        !is_empty
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    fn admitted(rate: &mut Rate, now: Instant, packets: u32) -> u32 {
        (0..packets).map(|_| u32::from(rate.admit(now))).sum()
    }

    #[test]
    fn what_was_held_back_comes_at_once_and_a_flood_does_not() {
        let (mut rate, start) = (Rate::default(), clock::now());
        assert_eq!(admitted(&mut rate, start, BURST + 100), BURST);
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(admitted(&mut rate, after(10), 100), 5);
        // 5,000 packets a second for 10 s.
        let flood: u32 = (11..10_011).map(|ms| admitted(&mut rate, after(ms), 5)).sum();
        assert_eq!(flood, 5_000);
        assert_eq!(admitted(&mut rate, after(20_000), BURST + 100), BURST, "full again");
    }

    #[test]
    fn ten_milliseconds_a_packet_pass_for_hours() {
        let (mut rate, start) = (Rate::default(), clock::now());
        let passed = (0..360_000_u64).all(|n| rate.admit(start + Duration::from_millis(n * 10)));
        assert!(passed);
    }
}
