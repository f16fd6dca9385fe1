//! Circuit breakers: a provider that fails is left alone for a while, then tried by one request.
//!
//! The core knows no clock: the instant comes with every call. [`Breakers`] holds one for each provider
//! of an organization and stage, for all calls of the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::providers::{FailureKind, Stage};
use crate::telemetry::metrics;
use crate::types::OrganizationId;

/// Failures in a row that open a breaker.
const FAILURES_MAX: u32 = 3;
/// How long an open breaker keeps requests away.
const COOLDOWN: Duration = Duration::from_secs(30);
/// A probe that reports nothing for so long is forgotten: its call may have ended first.
const PROBE_MAX: Duration = Duration::from_secs(30);
/// Providers that are remembered: far above what organizations configure. Beyond, the closed ones go.
const PROVIDERS_MAX: usize = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { probe_until: Instant },
}

/// One provider's breaker.
#[derive(Debug)]
pub struct Breaker(State);

impl Default for Breaker {
    fn default() -> Self {
        Self(State::Closed { failures: 0 })
    }
}

impl Breaker {
    /// Whether a request may be made now. Past the cooldown this gives out the one probe.
    pub fn admits(&mut self, now: Instant) -> bool {
        let may = match self.0 {
            State::Closed { .. } => return true,
            State::Open { until } => until <= now,
            State::HalfOpen { probe_until } => probe_until <= now,
        };
        if may {
            self.0 = State::HalfOpen { probe_until: now + PROBE_MAX };
        }
        may
    }

    /// A request was served.
    pub fn succeeded(&mut self) {
        self.0 = State::Closed { failures: 0 };
    }

    /// A request failed. What the request itself was to blame for says nothing of the provider; a key that
    /// is refused and an engine that is missing will not heal within a few more requests.
    pub fn failed(&mut self, kind: FailureKind, now: Instant) {
        let open = State::Open { until: now + COOLDOWN };
        self.0 = match (self.0, kind) {
            (state, FailureKind::BadRequest) => state,
            (_, FailureKind::Auth | FailureKind::Missing) => open,
            (State::Closed { failures }, _) if failures + 1 < FAILURES_MAX => {
                State::Closed { failures: failures + 1 }
            }
            // Requests of before the opening may fail late: they do not prolong it.
            (state @ State::Open { until }, _) if until > now => state,
            _ => open,
        };
    }

    /// Whether it keeps requests away, or has a probe out.
    pub fn is_open(&self) -> bool {
        !matches!(self.0, State::Closed { .. })
    }
}

type Key = (OrganizationId, Stage, String);

/// The breakers of all providers.
#[derive(Debug, Default)]
pub struct Breakers {
    by_provider: Mutex<HashMap<Key, Arc<Mutex<Breaker>>>>,
}

impl Breakers {
    /// The breaker of one provider. Organizations have keys of their own: each has its own breaker.
    pub fn of(&self, organization: &OrganizationId, stage: Stage, provider: &str) -> Gate {
        let key = (organization.clone(), stage, provider.to_owned());
        let mut all = self.by_provider.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= PROVIDERS_MAX && !all.contains_key(&key) {
            all.retain(|_, breaker| lock(breaker).is_open());
        }
        let breaker = if all.len() >= PROVIDERS_MAX && !all.contains_key(&key) {
            // All of them are open: this one works without a memory.
            Arc::default()
        } else {
            Arc::clone(all.entry(key).or_default())
        };
        Gate { stage, provider: provider.to_owned(), breaker }
    }
}

fn lock(breaker: &Mutex<Breaker>) -> std::sync::MutexGuard<'_, Breaker> {
    breaker.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One provider's breaker as a call uses it: changes are counted.
#[derive(Clone, Debug)]
pub struct Gate {
    stage: Stage,
    provider: String,
    breaker: Arc<Mutex<Breaker>>,
}

impl Gate {
    /// Name of the provider in the configuration.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// See [`Breaker::admits`].
    pub fn admits(&self, now: Instant) -> bool {
        lock(&self.breaker).admits(now)
    }

    /// See [`Breaker::succeeded`].
    pub fn succeeded(&self) {
        self.change(Breaker::succeeded);
    }

    /// See [`Breaker::failed`].
    pub fn failed(&self, kind: FailureKind, now: Instant) {
        self.change(|breaker| breaker.failed(kind, now));
    }

    fn change(&self, change: impl FnOnce(&mut Breaker)) {
        let (before, after) = {
            let mut breaker = lock(&self.breaker);
            let before = breaker.is_open();
            change(&mut breaker);
            (before, breaker.is_open())
        };
        if before != after {
            metrics::provider_breaker(self.stage.as_str(), &self.provider, after);
            let (stage, provider) = (self.stage.as_str(), self.provider.as_str());
            tracing::warn!(stage, provider, open = after, "circuit breaker");
        }
    }
}

#[cfg(test)]
mod tests;
