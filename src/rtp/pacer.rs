//! When the next packets are due: absolute deadlines every 20 ms, so that delays of the machine never
//! add up, in a phase of its own per call, so that the calls' packets never bunch.
//!
//! After silence the grid is moved so that the first packet of speech leaves at once ([`Pacer::rephase`]):
//! 10 ms less on average. The media timeline then runs ahead of the wall clock by that debt, never more
//! than [`DEBT_MAX`] in all; every packet of silence pays 1 ms of it back. Missed ticks are skipped, not
//! caught up: at most [`BURST_MAX`] packets leave at once.

use std::time::{Duration, Instant};

/// Time between two packets.
pub const INTERVAL: Duration = Duration::from_millis(crate::types::audio::FRAME_MS as u64);
/// Packets that may leave at once; more would only fill the peer's jitter buffer.
pub const BURST_MAX: u32 = 2;
/// Lead of the media timeline over the wall clock, at most: below one interval.
pub const DEBT_MAX: Duration = Duration::from_millis(19);
/// What one packet of silence pays back.
const REPAY: Duration = Duration::from_millis(1);

/// What a wake-up is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Packets to send now, 0 to [`BURST_MAX`].
    pub packets: u32,
    /// Ticks that were missed before them: their time passes on the media timeline without a packet
    /// ([`super::Outbound::skip`], to be called first).
    pub skipped: u32,
}

/// The clockwork of one stream.
#[derive(Debug)]
pub struct Pacer {
    next: Instant,
    debt: Duration,
    skipped: u64,
}

impl Pacer {
    /// A grid whose first tick comes `phase` after `now`; phases beyond one interval wrap.
    pub fn new(now: Instant, phase: Duration) -> Self {
        let phase = Duration::from_nanos((phase.as_nanos() % INTERVAL.as_nanos()) as u64);
        Self { next: now + phase, debt: Duration::ZERO, skipped: 0 }
    }

    /// The next tick.
    pub fn next_wake(&self) -> Instant {
        self.next
    }

    /// What is due at `now`.
    pub fn due(&mut self, now: Instant) -> Due {
        let Some(late) = now.checked_duration_since(self.next) else { return Due::default() };
        let ticks =
            u32::try_from(late.as_nanos() / INTERVAL.as_nanos()).unwrap_or(u32::MAX - 1) + 1;
        let packets = ticks.min(BURST_MAX);
        let skipped = ticks - packets;
        self.next += INTERVAL * ticks;
        self.skipped += u64::from(skipped);
        Due { packets, skipped }
    }

    /// Speech begins after silence: the next tick is now, as far as the debt allows. Returns how much
    /// sooner the packet leaves. It is whole milliseconds, rounded up, so that ticks stay in the slots in
    /// which threads look for what is due.
    pub fn rephase(&mut self, now: Instant) -> Duration {
        let ahead = self.next.saturating_duration_since(now);
        let ahead = Duration::from_millis(ahead.as_nanos().div_ceil(1_000_000) as u64);
        let early = ahead.min(DEBT_MAX - self.debt.min(DEBT_MAX));
        self.next -= early;
        self.debt += early;
        early
    }

    /// A packet of silence was sent: the grid falls back a little towards the wall clock.
    pub fn silence_sent(&mut self) {
        let pay = self.debt.min(REPAY);
        self.debt -= pay;
        self.next += pay;
    }

    /// How far the media timeline is ahead of the wall clock.
    pub fn debt(&self) -> Duration {
        self.debt
    }

    /// Ticks skipped so far.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

#[cfg(test)]
mod tests;
