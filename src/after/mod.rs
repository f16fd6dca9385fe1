//! Core: what is made of a call once it is over: the result its agent asks for, a summary, the analysis templates.
//!
//! A few calls at a time, on tasks of their own, never on a call's. What is to be made stands in the record
//! (`CallRecord::after` and the three statuses), so a crash between the end of a call and the end of the work loses
//! nothing: the next start takes it up. The event of the end leaves with [`crate::store::Write::Settle`], at the
//! latest when the time is up. Start reading at `settle.rs`; the queue is `worker.rs`.

mod ask;
mod prompt;
mod settle;
mod worker;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use settle::trial;
pub use worker::{Handle, Services, start};

use crate::providers::llm::Llm;
use crate::types::OrganizationId;

/// Gives the language model of a provider, by the provider's name and a model instead of its usual one.
pub type Models =
    Arc<dyn Fn(&OrganizationId, &str, Option<&str>) -> Option<Arc<dyn Llm>> + Send + Sync>;

/// The `[after]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Longest time between the end of a call and its `call.completed`, seconds: what is not made by then has failed.
    pub timeout_seconds: u64,
    /// Calls that are worked on at once; the others wait their turn, within the same time.
    pub calls_at_once: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { timeout_seconds: 60, calls_at_once: 8 }
    }
}

impl Config {
    /// Says which key is out of range.
    ///
    /// # Errors
    /// The key and the range.
    pub fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !(1..=3_600).contains(&self.timeout_seconds) {
            return Err(("timeout_seconds", "1 to 3600 seconds"));
        }
        if !(1..=64).contains(&self.calls_at_once) {
            return Err(("calls_at_once", "1 to 64 calls"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
