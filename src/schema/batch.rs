//! Batches: many orders from one request; and the list of numbers that nobody is to call.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::order::RetryInput;
use super::time;
use crate::types::order::{BatchRecord, DoNotCallRecord, OrderCounts, OrderRecord, OrderStatus};
use crate::types::{CallRecord, CallStatus};

/// One recipient of a batch.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchTarget {
    /// Whom to call.
    #[serde(alias = "phone_number")]
    pub to_number: String,
    /// Values of template variables.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// JSON the agent may refer to.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub context: Option<serde_json::Map<String, serde_json::Value>>,
    /// Kept with the order and given back.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// Body of `POST /v1/batches`: `to_numbers` or `targets`, at most 10,000 of them.
#[derive(Clone, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateBatch {
    /// Whom to call.
    #[serde(default)]
    pub to_numbers: Option<Vec<String>>,
    /// Whom to call, each with its own values.
    #[serde(default)]
    pub targets: Option<Vec<BatchTarget>>,
    /// What people call it.
    #[serde(default)]
    pub name: Option<String>,
    /// Number to show; else the trunk's default.
    #[serde(default)]
    pub from_number: Option<String>,
    /// Agent that talks; else the trunk's default.
    #[serde(default)]
    pub agent_id: Option<String>,
    /// Trunk to leave by; else the only one that dials.
    #[serde(default)]
    pub trunk_id: Option<String>,
    /// When to call again; left out: each number is dialled once, at any time of the day.
    #[serde(default)]
    pub retry: Option<RetryInput>,
    /// Not before.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub scheduled_at: Option<String>,
    /// Most dials a second, besides the trunk's own limit.
    #[serde(default)]
    pub cps: Option<f64>,
    /// Most calls at once.
    #[serde(default)]
    pub max_concurrent: Option<u32>,
    /// Where the events of its calls and orders go besides the endpoints that subscribe.
    #[serde(default)]
    pub webhook_url: Option<String>,
    /// Kept with the batch and given back.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// Answer to `POST /v1/batches`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct BatchAccepted {
    /// Identifier of the batch.
    pub batch_id: String,
    /// Recipients, those that failed at once included.
    pub total: u64,
    /// `queued`.
    pub status: String,
}

/// How many orders stand where.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[expect(missing_docs, reason = "each field is its own description")]
pub struct Counts {
    pub total: u64,
    pub queued: u64,
    pub initiated: u64,
    pub ringing: u64,
    pub in_progress: u64,
    pub completed: u64,
    pub busy: u64,
    pub no_answer: u64,
    pub canceled: u64,
    pub failed: u64,
}

impl From<&OrderCounts> for Counts {
    fn from(counts: &OrderCounts) -> Self {
        Self {
            total: counts.total,
            queued: counts.queued,
            initiated: counts.initiated,
            ringing: counts.ringing,
            in_progress: counts.in_progress,
            completed: counts.completed,
            busy: counts.busy,
            no_answer: counts.no_answer,
            canceled: counts.canceled,
            failed: counts.failed,
        }
    }
}

/// One recipient and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct BatchItem {
    /// Whom.
    pub to_number: String,
    /// Status of the newest call, `queued` before the first, `failed` if there can be none.
    pub status: String,
    /// Its order.
    pub order_id: String,
    /// The newest call.
    pub call_id: Option<String>,
    /// The carrier's identifier of that call, if it sent one.
    pub call_sid: Option<String>,
    /// Of the newest call that is over.
    pub outcome: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
}

impl BatchItem {
    /// An order and its newest call.
    pub fn new(order: &OrderRecord, call: Option<&CallRecord>) -> Self {
        let status = match order.status {
            OrderStatus::Errored => CallStatus::Failed,
            OrderStatus::Canceled => CallStatus::Canceled,
            OrderStatus::Scheduled | OrderStatus::Queued | OrderStatus::WaitingRetry => {
                CallStatus::Queued
            }
            OrderStatus::Calling | OrderStatus::Completed => {
                call.map_or(order.result.unwrap_or(CallStatus::Queued), |call| call.status)
            }
        };
        let failed = call.filter(|call| call.status == CallStatus::Failed);
        let sentence = failed.and_then(|call| {
            Some(call.end_reason?.facts(call.answered_at.is_some()).sentence.to_owned())
        });
        Self {
            to_number: order.to_number.reveal().clone(),
            status: status.as_str().to_owned(),
            order_id: order.id.to_string(),
            call_id: order.call_id.map(|id| id.to_string()),
            call_sid: call.and_then(|call| call.provider_call_id.clone()),
            outcome: order.outcome.map(super::word),
            error: order.error.as_ref().map(|error| error.message.clone()).or(sentence),
        }
    }
}

/// A group of orders made by one request.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Batch {
    /// Our identifier.
    pub id: String,
    /// The same.
    pub batch_id: String,
    /// `queued`, `completed` or `canceled`.
    pub status: String,
    /// What people call it.
    pub name: Option<String>,
    /// Number to show.
    pub from_number: Option<String>,
    /// Agent that talks.
    pub agent_id: Option<String>,
    /// Not before.
    #[schema(format = DateTime)]
    pub scheduled_at: Option<String>,
    /// Most dials a second.
    pub cps: Option<f64>,
    /// Most calls at once.
    pub max_concurrent: Option<u32>,
    /// Where its orders stand.
    pub counts: Counts,
    /// Recipients.
    pub total: u64,
    /// Those that were not dialled, or will be again.
    pub queued: u64,
    /// Those that were dialled and did not fail.
    pub initiated: u64,
    /// Those that failed.
    pub failed: u64,
    /// The caller's own object.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Value,
    /// One page of recipients; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls: Option<Vec<BatchItem>>,
    /// Which page of `calls`, from 1; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Most rows of a page; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u32>,
    /// Made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Last change.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// Over.
    #[schema(format = DateTime)]
    pub completed_at: Option<String>,
}

impl Batch {
    /// A batch and where its orders stand.
    pub fn new(batch: &BatchRecord, counts: &OrderCounts) -> Self {
        let rest = counts.queued + counts.failed + counts.canceled;
        Self {
            id: batch.id.to_string(),
            batch_id: batch.id.to_string(),
            status: batch.status.as_str().to_owned(),
            name: batch.name.clone(),
            from_number: batch.from_number.as_ref().map(|from| from.reveal().clone()),
            agent_id: batch.agent_id.as_ref().map(ToString::to_string),
            scheduled_at: batch.scheduled_at.map(time),
            cps: batch.cps,
            max_concurrent: batch.max_concurrent,
            counts: Counts::from(counts),
            total: counts.total,
            queued: counts.queued,
            initiated: counts.total.saturating_sub(rest),
            failed: counts.failed,
            metadata: batch.metadata.clone(),
            calls: None,
            page: None,
            page_size: None,
            created_at: time(batch.created_at),
            updated_at: time(batch.updated_at),
            completed_at: batch.completed_at.map(time),
        }
    }
}

/// Body of `POST /v1/do-not-call`: one number or several.
#[derive(Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateDoNotCall {
    /// E.164.
    #[serde(default, alias = "number")]
    pub phone_number: Option<String>,
    /// E.164, at most 1,000.
    #[serde(default, alias = "numbers")]
    pub phone_numbers: Option<Vec<String>>,
    /// For the records.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A number nobody is to call.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct DoNotCall {
    /// Our identifier.
    pub id: String,
    /// E.164.
    pub phone_number: String,
    /// For the records.
    pub reason: Option<String>,
    /// When it was listed.
    #[schema(format = DateTime)]
    pub created_at: String,
}

impl From<&DoNotCallRecord> for DoNotCall {
    fn from(entry: &DoNotCallRecord) -> Self {
        Self {
            id: entry.id.clone(),
            phone_number: entry.phone_number.reveal().clone(),
            reason: entry.reason.clone(),
            created_at: time(entry.created_at),
        }
    }
}

/// Answer to `POST /v1/do-not-call`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct DoNotCallAdded {
    /// Numbers that were not on the list before.
    pub added: u64,
    /// The entries of the request.
    pub items: Vec<DoNotCall>,
}
