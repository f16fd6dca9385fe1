//! Core: what a call used, what that costs by the price table, and whether the month's budget allows another call.
//!
//! No money moves here. Quantities are counted by the lines of a call ([`meter`]), prices are an operator's own
//! ([`price`]), and the budget is a guard against surprises ([`Accounts`]). It is memory: the store has the sums it
//! starts from, and everything that is added here is stored with the call it belongs to.

pub mod accounts;
pub mod dial;
pub mod meter;
pub mod price;

use serde::{Deserialize, Serialize};

pub use accounts::{Accounts, BudgetExceeded, Standing};
pub use dial::{DialGuard, DialLimits, DialPath, DialRefused, DialRule, Leaving, TrunkRules};
pub use meter::Tokens;
pub use price::{PriceError, Prices};

/// The `[budget]` section, and the budget of one organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// Most that an organization's calls may cost in a calendar month (UTC), millionths of the currency; 0: no limit.
    pub monthly_limit_micros: u64,
    /// Currency of the limit and of `[[prices]]`, ISO 4217.
    pub currency: String,
    /// What is held for a call until its cost is known, millionths: the most a call may cost.
    pub per_call_hold_micros: u64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { monthly_limit_micros: 0, currency: "USD".to_owned(), per_call_hold_micros: 0 }
    }
}

#[cfg(test)]
mod tests;
