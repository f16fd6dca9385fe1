//! Retransmission back-off (RFC 3261 section 17) and the queue of deadlines.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Instants at which something is sent again: the interval doubles up to a cap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// When next.
    pub(crate) due: Instant,
    interval: Duration,
    cap: Duration,
}

impl Backoff {
    /// The first repetition is due `first` after `now`; no interval gets longer than `cap`.
    pub(crate) fn new(now: Instant, first: Duration, cap: Duration) -> Self {
        Self { due: now + first, interval: first, cap }
    }

    /// Counts the repetition that was due and plans the next. The plan follows the due time, not
    /// `now`, so a late wake-up does not stretch the schedule; it never lies in the past either.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.interval = self.interval.saturating_mul(2).min(self.cap);
        self.due += self.interval;
        if self.due <= now {
            self.due = now + self.interval;
        }
    }

    /// From now on the longest interval (timer E after a provisional response).
    pub(crate) fn at_cap(&mut self) {
        self.interval = self.cap;
    }
}

/// At most one deadline per key, so it is bounded by the number of keys and nothing stale ever fires.
#[derive(Debug)]
pub(crate) struct Wheel<K> {
    queue: BTreeSet<(Instant, K)>,
    at: HashMap<K, Instant>,
}

impl<K: Copy + Ord + Hash> Wheel<K> {
    pub(crate) fn new() -> Self {
        Self { queue: BTreeSet::new(), at: HashMap::new() }
    }

    /// Sets, moves or (with `None`) removes the deadline of a key.
    pub(crate) fn set(&mut self, key: K, deadline: Option<Instant>) {
        let old = match deadline {
            Some(at) => self.at.insert(key, at),
            None => self.at.remove(&key),
        };
        if old == deadline {
            return;
        }
        if let Some(old) = old {
            self.queue.remove(&(old, key));
        }
        if let Some(at) = deadline {
            self.queue.insert((at, key));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes out the earliest key whose deadline is not after `now`.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<K> {
        let (at, key) = self.queue.first().copied()?;
        if at > now {
            return None;
        }
        self.queue.pop_first();
        self.at.remove(&key);
        Some(key)
    }

    /// Whether a key has a deadline.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn holds(&self, key: K) -> bool {
        self.at.contains_key(&key)
    }

    /// How many deadlines there are.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

/// The earlier of two optional instants.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, None) | (None, one) => one,
    }
}
