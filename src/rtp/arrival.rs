//! When a sample arrived, without the network's jitter: RTP timestamps mapped to instants by the
//! smallest transit time of the last seconds (call model D2: a late packet does not move instant S).
//!
//! The same numbers say how late each packet was against the fastest, and whether the sender's clock
//! jumped. Sender drift of 300 ppm moves the mapping 1.5 ms in one window: it follows.

use std::time::{Duration, Instant};

/// Length of one of the two windows whose minimum counts: 5 to 10 s of memory.
const WINDOW: Duration = Duration::from_secs(5);
/// A packet this much earlier than the mapping allows proves a timestamp jump forward: no network is
/// suddenly a second faster.
const EARLY_JUMP_NS: i128 = 1_000_000_000;
/// A packet this much later proves a jump back: no peer's jitter buffer would still play it.
const LATE_JUMP_NS: i128 = 2_000_000_000;
/// Lateness that is a new timeline if it lasts for [`SHIFT_TIME`]: beyond the deepest jitter buffer.
const SHIFT_NS: i128 = 200_000_000;
/// A burst after an outage arrives faster than this; a sender whose timestamp stood still does not.
const SHIFT_TIME: Duration = Duration::from_millis(100);

/// What a packet says about the sender's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// The timeline goes on; the packet was this much later than the fastest.
    Steady {
        /// Against the running minimum.
        late: Duration,
    },
    /// The timeline begins anew at this packet.
    Restarted,
}

/// The mapping of one source.
#[derive(Debug)]
pub struct ArrivalMap {
    clock_rate: u32,
    base: Option<Base>,
}

#[derive(Debug)]
struct Base {
    instant: Instant,
    timestamp: u64,
    /// Smallest transit of the closed window and of the running one, relative to the base.
    previous_ns: i128,
    current_ns: i128,
    window_ends: Instant,
    shifted_since: Option<Instant>,
}

impl ArrivalMap {
    /// A mapping that has seen nothing.
    pub fn new(clock_rate: u32) -> Self {
        Self { clock_rate: clock_rate.max(1), base: None }
    }

    /// Another clock: begins anew.
    pub fn retune(&mut self, clock_rate: u32) {
        *self = Self::new(clock_rate);
    }

    /// Takes the arrival of a packet in.
    pub fn observe(&mut self, now: Instant, timestamp: u64) -> Continuity {
        let clock_rate = self.clock_rate;
        let Some(base) = &mut self.base else {
            self.restart(now, timestamp);
            return Continuity::Restarted;
        };
        let transit = base.transit_ns(now, timestamp, clock_rate);
        let late = transit - base.minimum_ns();
        if !(-EARLY_JUMP_NS..=LATE_JUMP_NS).contains(&late) {
            self.restart(now, timestamp);
            return Continuity::Restarted;
        }
        if late > SHIFT_NS {
            let since = *base.shifted_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= SHIFT_TIME {
                self.restart(now, timestamp);
                return Continuity::Restarted;
            }
        } else {
            base.shifted_since = None;
        }
        if now >= base.window_ends {
            base.previous_ns = base.current_ns;
            base.current_ns = transit;
            base.window_ends = now + WINDOW;
        }
        base.current_ns = base.current_ns.min(transit);
        Continuity::Steady { late: Duration::from_nanos(u64::try_from(late).unwrap_or(0)) }
    }

    /// Forgets everything and begins at this packet.
    pub fn restart(&mut self, now: Instant, timestamp: u64) {
        self.base = Some(Base {
            instant: now,
            timestamp,
            previous_ns: 0,
            current_ns: 0,
            window_ends: now + WINDOW,
            shifted_since: None,
        });
    }

    /// When the packet that begins with this sample would have arrived over the fastest path seen lately;
    /// `None` before the first packet. Also defined for timestamps that never came.
    pub fn arrival_of(&self, timestamp: u64) -> Option<Instant> {
        let base = self.base.as_ref()?;
        let ns = base.media_ns(timestamp, self.clock_rate) + base.minimum_ns();
        let distance = Duration::from_nanos(u64::try_from(ns.unsigned_abs()).unwrap_or(u64::MAX));
        if ns < 0 { base.instant.checked_sub(distance) } else { base.instant.checked_add(distance) }
    }
}

impl Base {
    fn media_ns(&self, timestamp: u64, clock_rate: u32) -> i128 {
        (i128::from(timestamp) - i128::from(self.timestamp)) * 1_000_000_000
            / i128::from(clock_rate)
    }

    fn transit_ns(&self, now: Instant, timestamp: u64, clock_rate: u32) -> i128 {
        let elapsed = match now.checked_duration_since(self.instant) {
            Some(after) => after.as_nanos() as i128,
            None => -(self.instant.saturating_duration_since(now).as_nanos() as i128),
        };
        elapsed - self.media_ns(timestamp, clock_rate)
    }

    fn minimum_ns(&self) -> i128 {
        self.previous_ns.min(self.current_ns)
    }
}

#[cfg(test)]
mod tests;
