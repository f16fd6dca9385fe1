//! What calls used, summed up: the question and the answer.

use crate::types::{OrganizationId, UsageKind, UsageUnit};

/// By what a report is grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum UsageGrouping {
    Day,
    Agent,
    Provider,
    Number,
}

/// Which calls, and how they are put together.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    /// Whose.
    pub organization_id: OrganizationId,
    /// Ended at or after.
    pub from: jiff::Timestamp,
    /// Ended before.
    pub until: jiff::Timestamp,
    /// By what.
    pub grouping: UsageGrouping,
    /// Costs in other currencies are not added.
    pub currency: Option<String>,
    /// Most groups.
    pub limit: u32,
    /// Groups that are left out before them.
    pub offset: u32,
}

/// Sums over some calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsageSums {
    /// How many.
    pub calls: u64,
    /// Answered to ended, each rounded up.
    pub talk_seconds: u64,
    /// Cost; `None` if none of them has one.
    pub cost_micros: Option<u64>,
}

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub struct UsageGroup {
    /// The date, agent, provider or number; `None`: of none.
    pub key: Option<String>,
    /// Its calls.
    pub sums: UsageSums,
    /// What they used.
    pub quantities: Vec<(UsageKind, UsageUnit, f64)>,
}

/// Groups, and the sums over all that were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct UsagePage {
    /// Days newest first, others by calls.
    pub groups: Vec<UsageGroup>,
    /// How many there are.
    pub total: u64,
    /// Over every call.
    pub summary: UsageSums,
}
