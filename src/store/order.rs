//! What the store is asked about orders, and what it answers.

use crate::types::order::OrderStatus;
use crate::types::{BatchId, CampaignId, OrganizationId};

use super::{Part, Place};

/// Filters of a list of orders.
#[derive(Clone, Debug)]
pub struct OrderQuery {
    /// Whose.
    pub organization_id: OrganizationId,
    /// Any of these; empty: all.
    pub status: Vec<OrderStatus>,
    /// Of this batch.
    pub batch_id: Option<BatchId>,
    /// Of this campaign.
    pub campaign_id: Option<CampaignId>,
    /// Which page.
    pub part: Part,
}

/// One page of anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Rows of all pages.
    pub total: u64,
    /// The last row, if others follow it.
    pub next: Option<Place<String>>,
}

/// Orders that take turns with others, and when the first of them is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Its name; see [`lane`](crate::types::order::OrderRecord::lane).
    pub name: String,
    /// When its first order is due.
    pub due: jiff::Timestamp,
}

/// An attempt under way, as limits count it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Lane of its order.
    pub lane: String,
    /// Whose.
    pub organization_id: String,
    /// The limit it shares.
    pub concurrency_key: Option<String>,
}

/// What the store says to a dial that is about to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It is written that the call leaves; it may.
    Go,
    /// Nobody is to call this number.
    DoNotCall,
    /// The call is not queued any more.
    Gone,
}

/// What a number on the do-not-call list is compared by: E.164, also as the user part of a SIP URI. `None`: no number.
pub fn suppression_key(destination: &str) -> Option<&str> {
    let user = destination
        .strip_prefix("sip:")
        .or_else(|| destination.strip_prefix("sips:"))
        .map_or(destination, |rest| rest.split(['@', ';', '?']).next().unwrap_or(rest));
    let digits = user.strip_prefix('+')?;
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then_some(user)
}
