//! The providers of one stage in order, and which of them a call may ask now.

use std::time::Instant;

use crate::call::breaker::{Breakers, Gate};
use crate::providers::{FailureKind, Stage};
use crate::types::OrganizationId;

use super::VoiceEvent;

/// Reason of a failover whose provider answered too late.
pub(super) const SLOW: &str = "slow";
/// Reason of a failover whose provider was not asked at all.
const BREAKER_OPEN: &str = "breaker_open";

/// The providers: the agent's own first, then those that stand in for it.
pub(super) struct Route<E> {
    stage: Stage,
    legs: Vec<(E, Gate)>,
    /// Legs that failed since anything last worked, a bit each.
    tried: u32,
}

impl<E> Route<E> {
    /// `engines` come with their names in the configuration.
    pub(super) fn new(
        stage: Stage,
        engines: impl IntoIterator<Item = (E, String)>,
        breakers: &Breakers,
        organization: &OrganizationId,
    ) -> Self {
        let gate = |name: String| breakers.of(organization, stage, &name);
        let legs = engines.into_iter().map(|(engine, name)| (engine, gate(name))).collect();
        Self { stage, legs, tried: 0 }
    }

    /// Engine of a leg; the first for a number that is none.
    pub(super) fn engine(&self, leg: usize) -> Option<&E> {
        self.legs.get(leg).map(|(engine, _)| engine)
    }

    pub(super) fn name(&self, leg: usize) -> &str {
        self.legs.get(leg).map_or("", |(_, gate)| gate.provider())
    }

    pub(super) fn len(&self) -> usize {
        self.legs.len()
    }

    /// Whether nobody stands in.
    pub(super) fn is_alone(&self) -> bool {
        self.legs.len() < 2
    }

    fn admits(&self, leg: usize, now: Instant) -> bool {
        self.legs.get(leg).is_some_and(|(_, gate)| gate.admits(now))
    }

    /// Where to begin: at `from` if its breaker lets it, else at the first that may be asked. A breaker alone
    /// refuses no call: if all are open, `from` is asked.
    pub(super) fn begin(&mut self, from: usize, now: Instant) -> usize {
        self.tried = 0;
        if self.is_alone() || self.admits(from, now) {
            return from;
        }
        (0..self.legs.len()).find(|leg| *leg != from && self.admits(*leg, now)).unwrap_or(from)
    }

    fn untried(&self, not: usize) -> impl Iterator<Item = usize> {
        let tried = self.tried;
        (0..self.legs.len()).filter(move |leg| *leg != not && tried & (1 << leg) == 0)
    }

    /// Who is to be asked besides `leg`, which is slow.
    pub(super) fn rival_of(&self, leg: usize, now: Instant) -> Option<usize> {
        self.untried(leg).find(|other| self.admits(*other, now))
    }

    /// Who is to be asked instead of `leg`, which failed: whoever may be, else whoever was not asked yet.
    pub(super) fn after(&self, leg: usize, now: Instant) -> Option<usize> {
        self.rival_of(leg, now).or_else(|| self.untried(leg).next())
    }

    /// A leg worked.
    pub(super) fn worked(&mut self, leg: usize) {
        self.tried = 0;
        if let Some((_, gate)) = self.legs.get(leg) {
            gate.succeeded();
        }
    }

    /// A leg failed.
    pub(super) fn failed(&mut self, leg: usize, kind: FailureKind, now: Instant) {
        self.tried |= 1 << leg;
        if let Some((_, gate)) = self.legs.get(leg) {
            gate.failed(kind, now);
        }
    }

    /// Forgets who failed.
    pub(super) fn forget(&mut self) {
        self.tried = 0;
    }

    /// What is told of going on elsewhere.
    pub(super) fn failover(&self, from: usize, to: usize, reason: &'static str) -> VoiceEvent {
        let (from, to) = (self.name(from).to_owned(), self.name(to).to_owned());
        VoiceEvent::FailedOver { stage: self.stage, from, to, reason }
    }

    /// The same, for a leg that was passed over.
    pub(super) fn passed_over(&self, leg: usize, to: usize) -> Option<VoiceEvent> {
        (leg != to).then(|| self.failover(leg, to, BREAKER_OPEN))
    }
}
