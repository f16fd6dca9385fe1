//! Targets that failed go last for a while. Pure: time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Hop;

/// How long a target that failed goes last. Half would send every tenth call of a busy trunk into the same hole
/// again; with double, a carrier that restarted one of two machines leaves it idle for minutes.
pub const AVOID_FOR: Duration = Duration::from_secs(60);

/// Targets remembered: each carrier has a handful.
const TARGETS_MAX: usize = 1_024;

/// Those that failed lately.
#[derive(Debug, Default)]
pub(super) struct Avoided {
    until: HashMap<Hop, Instant>,
}

impl Avoided {
    /// A target did not answer, or said 503.
    pub(super) fn failed(&mut self, now: Instant, hop: Hop) {
        if self.until.len() >= TARGETS_MAX {
            self.until.retain(|_, until| *until > now);
        }
        if self.until.len() < TARGETS_MAX {
            self.until.insert(hop, now + AVOID_FOR);
        }
    }

    /// A target answered.
    pub(super) fn worked(&mut self, hop: &Hop) {
        self.until.remove(hop);
    }

    /// Whether a target goes last now.
    pub(super) fn is_avoided(&self, now: Instant, hop: &Hop) -> bool {
        self.until.get(hop).is_some_and(|until| *until > now)
    }

    /// The same targets, those that failed lately last: when all did, they are still better than nothing.
    pub(super) fn order(&self, now: Instant, mut hops: Vec<Hop>) -> Vec<Hop> {
        hops.sort_by_key(|hop| self.is_avoided(now, hop));
        hops
    }
}
