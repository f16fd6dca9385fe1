//! How fast something may go, exactly: never more than the rate in any one second, wherever that second begins.
//! Pure: time is an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The second, and a little more: what is stamped here happens on a wire a moment later, and that moment varies.
const WINDOW: Duration = Duration::from_millis(1_005);
/// Most events of a second that are remembered; a rate beyond is not limited more finely than this.
const RATE_MAX: f64 = 10_000.0;

/// A sliding window over what went out last.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Events a second.
    rate: f64,
    /// Most events in a window.
    most: usize,
    sent: VecDeque<Instant>,
    slot: Option<Instant>,
}

impl Pace {
    /// Nothing went out yet. A rate of 0 or less counts as one event in a hundred seconds.
    pub fn new(rate: f64) -> Self {
        let rate = if rate.is_finite() { rate.clamp(0.01, RATE_MAX) } else { RATE_MAX };
        // A rate below one is kept by the distance between two.
        let most = (rate.floor() as usize).max(1);
        Self { rate, most, sent: VecDeque::new(), slot: None }
    }

    /// Events a second.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Changes the rate; what went out still counts.
    pub fn set_rate(&mut self, rate: f64) {
        if (rate - self.rate).abs() > f64::EPSILON {
            let Self { sent, slot, .. } = std::mem::replace(self, Self::new(rate));
            self.sent = sent;
            self.slot = slot;
        }
    }

    /// When the next may go, which may be past.
    pub fn next(&self, now: Instant) -> Instant {
        let gap = Duration::from_secs_f64(1.0 / self.rate);
        let evenly = self.slot.map_or(now, |slot| slot + gap);
        let full = self.sent.len().checked_sub(self.most).and_then(|at| self.sent.get(at));
        full.map_or(evenly, |sent| evenly.max(*sent + WINDOW))
    }

    /// Whether one more may happen now without more than the rate in the second before it; bursts within it may.
    pub fn has_room(&self, now: Instant) -> bool {
        let window = WINDOW.max(Duration::from_secs_f64(1.0 / self.rate));
        let full = self.sent.len().checked_sub(self.most).and_then(|at| self.sent.get(at));
        full.is_none_or(|sent| *sent + window <= now)
    }

    /// Takes the slot of an event that goes now. A late one does not let the next ones hurry by more than one gap.
    pub fn take(&mut self, now: Instant) {
        let gap = Duration::from_secs_f64(1.0 / self.rate);
        let evenly = self.slot.map_or(now, |slot| slot + gap);
        self.slot = Some(evenly.min(now).max(now.checked_sub(gap).unwrap_or(now)));
    }

    /// Notes that an event is out, at or after the moment it went.
    pub fn sent(&mut self, now: Instant) {
        self.sent.push_back(now);
        while self.sent.len() > self.most {
            self.sent.pop_front();
        }
    }

    /// Counts a full second as used up: what went out before a crash is not known to the millisecond.
    pub fn exhaust(&mut self, now: Instant) {
        for _ in 0..self.most {
            self.sent(now);
        }
        self.slot = Some(now);
    }
}

#[cfg(test)]
mod tests;
