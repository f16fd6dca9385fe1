//! The `[webhooks]` section.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::egress::Policy;

/// Most attempts of one round: a schedule is days long, not a queue for ever.
const RETRIES_MAX: usize = 20;
/// Longest wait between two attempts, seconds: a week.
const DELAY_SECONDS_MAX: f64 = 604_800.0;
/// Most requests at once; each is a socket and a task.
const CONCURRENT_MAX: usize = 1_024;

/// The `[webhooks]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether webhooks may go to this machine and to private networks, where the receivers of a server of one's own
    /// usually are. Link-local addresses, where clouds keep credentials, are refused in any case.
    pub allow_private_targets: bool,
    /// Ports that may be reached; empty: every port.
    pub ports: Vec<u16>,
    /// Longest wait for an answer, milliseconds, 100 to 60,000.
    pub timeout_ms: u64,
    /// Waits before the second and each further attempt, seconds, each varied by a fifth; at most 20.
    pub retry_delays_seconds: Vec<f64>,
    /// Requests at once, 1 to 1,024.
    pub concurrent_max: usize,
    /// Requests at once to one endpoint, or to one host that calls and agents name, 1 to 1,024.
    pub concurrent_per_destination_max: usize,
    /// Deliveries in a row that fail for good before their endpoint is disabled; at least 1.
    pub disable_after: u32,
    /// Days that finished deliveries are kept, 1 to 3,650.
    pub retention_days: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            allow_private_targets: true,
            ports: Vec::new(),
            timeout_ms: 10_000,
            retry_delays_seconds: vec![60.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 86_400.0],
            concurrent_max: 64,
            concurrent_per_destination_max: 4,
            disable_after: 10,
            retention_days: 30,
        }
    }
}

impl Config {
    /// What is wrong with it: key and message.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let mut found = Vec::new();
        let mut check = |good: bool, key, message| {
            if !good {
                found.push((key, message));
            }
        };
        check((100..=60_000).contains(&self.timeout_ms), "timeout_ms", "100 to 60000");
        let delays = &self.retry_delays_seconds;
        check(delays.len() <= RETRIES_MAX, "retry_delays_seconds", "at most 20");
        let good = delays.iter().all(|delay| (0.0..=DELAY_SECONDS_MAX).contains(delay));
        check(good, "retry_delays_seconds", "each is 0 to 604800");
        let range = 1..=CONCURRENT_MAX;
        check(range.contains(&self.concurrent_max), "concurrent_max", "1 to 1024");
        let each = range.contains(&self.concurrent_per_destination_max);
        check(each, "concurrent_per_destination_max", "1 to 1024");
        check(self.disable_after > 0, "disable_after", "at least 1");
        check((1..=3_650).contains(&self.retention_days), "retention_days", "1 to 3650");
        found
    }

    /// What may be reached.
    pub fn policy(&self) -> Policy {
        Policy { allow_private_targets: self.allow_private_targets, ports: self.ports.clone() }
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }
}
