//! Deliveries of webhooks at rest: one event to one destination.

use serde::{Deserialize, Serialize};

use crate::types::{CallId, OrderId, OrganizationId, OutboxEvent};

/// Kind of the resources that are webhook endpoints.
pub const ENDPOINT_KIND: &str = "webhook_endpoint";
/// Most deliveries one read returns.
pub const DELIVERIES_MAX: u32 = 200;

/// Where a delivery is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// It waits for its next attempt.
    Pending,
    /// The destination answered with 2xx.
    Delivered,
    /// Every attempt failed.
    Exhausted,
    /// Its endpoint is disabled or gone, or what it would say is erased.
    Canceled,
}

impl DeliveryStatus {
    /// Public name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Exhausted => "exhausted",
            Self::Canceled => "canceled",
        }
    }

    /// Reads a public name.
    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Delivered, Self::Exhausted, Self::Canceled];
        all.into_iter().find(|status| status.as_str() == word)
    }
}

/// An event of the outbox.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredEvent {
    /// Its place among all events.
    pub seq: i64,
    /// Its identifier: `webhook-id`.
    pub id: String,
    /// The event.
    pub event: OutboxEvent,
}

/// A destination that was chosen for an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDelivery {
    /// Identifier.
    pub id: String,
    /// Endpoint; `None` for a URL of a call or agent.
    pub endpoint_id: Option<String>,
    /// What must not be sent to too often at once.
    pub destination: String,
    /// Where.
    pub url: String,
}

/// An event with its destinations and what they get.
#[derive(Clone, Debug, PartialEq)]
pub struct Expansion {
    /// The event; its data is not looked at.
    pub event: StoredEvent,
    /// The body.
    pub body: String,
    /// Destinations; none: nobody wants it.
    pub deliveries: Vec<NewDelivery>,
}

/// One delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Identifier.
    pub id: String,
    /// Event: `webhook-id`.
    pub event_id: String,
    /// Its name.
    pub event_type: String,
    /// Whose.
    pub organization_id: OrganizationId,
    /// Endpoint; `None` for a URL of a call or agent.
    pub endpoint_id: Option<String>,
    /// Call it tells of.
    pub call_id: Option<String>,
    /// Order it tells of.
    pub order_id: Option<String>,
    /// What must not be sent to too often at once.
    pub destination: String,
    /// Where.
    pub url: String,
    /// Where in its life.
    pub status: DeliveryStatus,
    /// Attempts made, all rounds.
    pub attempt_count: u32,
    /// Attempts made in this round of the schedule.
    pub tries: u32,
    /// Rounds asked for by hand.
    pub manual_retry_count: u32,
    /// When the next attempt is due.
    pub next_attempt_at: Option<jiff::Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// What was answered last.
    pub last_response_status: Option<u16>,
    /// When it arrived.
    pub delivered_at: Option<jiff::Timestamp>,
    /// Made.
    pub created_at: jiff::Timestamp,
    /// Last change.
    pub updated_at: jiff::Timestamp,
}

/// What an attempt changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where the delivery is now.
    pub status: DeliveryStatus,
    /// Whether something was sent, or at least tried.
    pub counted: bool,
    /// When the next one is due, if it is pending.
    pub next_attempt_at: Option<jiff::Timestamp>,
    /// What went wrong.
    pub error: Option<String>,
    /// What was answered.
    pub response_status: Option<u16>,
    /// When.
    pub at: jiff::Timestamp,
}

/// Which deliveries, newest first.
#[derive(Clone, Debug, Default)]
pub struct DeliveryQuery {
    /// Whose.
    pub organization_id: OrganizationId,
    /// Of an endpoint.
    pub endpoint_id: Option<String>,
    /// Of a call.
    pub call_id: Option<CallId>,
    /// Of an order.
    pub order_id: Option<OrderId>,
    /// Of a kind of event.
    pub event_type: Option<String>,
    /// In a state.
    pub status: Option<DeliveryStatus>,
    /// Older than this one.
    pub before: Option<String>,
    /// At most so many, and never more than [`DELIVERIES_MAX`].
    pub limit: u32,
}

/// How the terminal event of a call fared at the call's own `webhook_url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineDelivery {
    /// Where it is.
    pub status: DeliveryStatus,
    /// What went wrong last.
    pub error: Option<String>,
}

impl InlineDelivery {
    /// `webhook_status` and `webhook_error` of a call: `none` without a URL, then `pending`, `delivered` or `failed`.
    pub fn summary(has_url: bool, delivery: Option<&Self>) -> (&'static str, Option<String>) {
        match (has_url, delivery) {
            (false, None) => ("none", None),
            (true, None) => ("pending", None),
            (_, Some(delivery)) => {
                let word = match delivery.status {
                    DeliveryStatus::Pending => "pending",
                    DeliveryStatus::Delivered => "delivered",
                    DeliveryStatus::Exhausted | DeliveryStatus::Canceled => "failed",
                };
                let arrived = delivery.status == DeliveryStatus::Delivered;
                (word, delivery.error.clone().filter(|_| !arrived))
            }
        }
    }
}
