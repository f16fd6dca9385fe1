//! The door: how many calls at once and a second, in total and on a trunk. Pure: time is an argument.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::types::TrunkName;

/// Trunks whose pace is remembered.
const PACES_MAX: usize = 4_096;

/// Limits of the whole server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdmissionConfig {
    /// Calls at once, both directions. Each takes about 0.5 MB and a third of a percent of a core (benches/README.md).
    pub calls_max: u32,
    /// Inbound calls a second; bursts of as many are taken.
    pub calls_per_second: f64,
    /// Retry-After of a refusal, seconds.
    pub retry_after_seconds: u32,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self { calls_max: 500, calls_per_second: 50.0, retry_after_seconds: 5 }
    }
}

/// Why a call is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The server finishes its calls and takes no more.
    Draining,
    /// `admission.calls_max` is reached.
    ServerFull,
    /// The trunk's `calls_max` is reached.
    TrunkFull,
    /// `admission.calls_per_second` is exceeded.
    TooFast,
    /// The trunk's `inbound_calls_per_second` is exceeded.
    TrunkTooFast,
}

impl Refusal {
    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::ServerFull => "server_full",
            Self::TrunkFull => "trunk_full",
            Self::TooFast => "calls_per_second",
            Self::TrunkTooFast => "trunk_calls_per_second",
        }
    }

    /// SIP status (call-model B4: capacity reached 486, otherwise 503 with Retry-After).
    pub fn status(self) -> u16 {
        503
    }
}

/// Counts the calls inside.
pub struct Admission {
    config: AdmissionConfig,
    live: u32,
    per_trunk: HashMap<TrunkName, u32>,
    /// How fast calls of a trunk come in, exactly.
    paces: HashMap<TrunkName, super::pace::Pace>,
    draining: bool,
    tokens: f64,
    refilled: Option<Instant>,
}

impl Admission {
    /// Nobody inside.
    pub fn new(config: AdmissionConfig) -> Self {
        let tokens = config.calls_per_second.max(1.0);
        Self {
            config,
            live: 0,
            per_trunk: HashMap::new(),
            paces: HashMap::new(),
            draining: false,
            tokens,
            refilled: None,
        }
    }

    /// Calls it lets in at once.
    pub fn calls_max(&self) -> u32 {
        self.config.calls_max
    }

    /// Lets a call in or says why not. `trunk_max` 0 means no limit of its own.
    ///
    /// # Errors
    /// The first rule that forbids it.
    pub fn admit(
        &mut self,
        now: Instant,
        trunk: Option<&TrunkName>,
        trunk_max: u32,
        pace: Pace,
    ) -> Result<(), Refusal> {
        if self.draining {
            return Err(Refusal::Draining);
        }
        if self.live >= self.config.calls_max {
            return Err(Refusal::ServerFull);
        }
        let on_trunk = trunk.and_then(|name| self.per_trunk.get(name)).copied().unwrap_or(0);
        if trunk_max > 0 && on_trunk >= trunk_max {
            return Err(Refusal::TrunkFull);
        }
        if let (Pace::Trunk(Some(rate)), Some(name)) = (pace, trunk)
            && !self.is_in_pace(now, name, rate)
        {
            return Err(Refusal::TrunkTooFast);
        }
        if pace != Pace::Paced && !self.take_token(now) {
            return Err(Refusal::TooFast);
        }
        if let (Pace::Trunk(Some(_)), Some(name)) = (pace, trunk)
            && let Some(pace) = self.paces.get_mut(name)
        {
            pace.sent(now);
        }
        self.live += 1;
        if let Some(name) = trunk {
            *self.per_trunk.entry(name.clone()).or_default() += 1;
        }
        Ok(())
    }

    /// Whether a call of a trunk comes in no faster than it may: in no second more than its rate.
    fn is_in_pace(&mut self, now: Instant, trunk: &TrunkName, rate: f64) -> bool {
        if self.paces.len() >= PACES_MAX && !self.paces.contains_key(trunk) {
            self.paces.clear();
        }
        let pace = self.paces.entry(trunk.clone()).or_insert_with(|| super::pace::Pace::new(rate));
        pace.set_rate(rate);
        pace.has_room(now)
    }

    fn take_token(&mut self, now: Instant) -> bool {
        let burst = self.config.calls_per_second.max(1.0);
        let since = self.refilled.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.refilled = Some(now);
        self.tokens = (self.tokens + since.as_secs_f64() * self.config.calls_per_second).min(burst);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    /// A call that was let in is over.
    pub fn release(&mut self, trunk: Option<&TrunkName>) {
        self.live = self.live.saturating_sub(1);
        if let Some(name) = trunk
            && let Some(count) = self.per_trunk.get_mut(name)
        {
            *count = count.saturating_sub(1);
        }
    }

    /// From now on nobody gets in.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Whether the door is closed for good.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether the next call of any trunk would be let in.
    pub fn is_full(&self) -> bool {
        self.live >= self.config.calls_max
    }

    /// Calls inside.
    pub fn live(&self) -> u32 {
        self.live
    }

    /// Calls on a trunk.
    pub fn live_on(&self, trunk: &TrunkName) -> u32 {
        self.per_trunk.get(trunk).copied().unwrap_or(0)
    }

    /// Retry-After of a refusal.
    pub fn retry_after_s(&self) -> u32 {
        self.config.retry_after_seconds
    }
}

/// Whether a call counts against the rate of arrivals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Inbound calls.
    Limited,
    /// Inbound calls of a trunk that has a rate of its own.
    Trunk(Option<f64>),
    /// Outbound calls: their trunk's queue paces them already.
    Paced,
}

#[cfg(test)]
mod tests;
