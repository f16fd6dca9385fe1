//! Call orders: requests that may take several calls, and when those are made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::call::Call;
use super::{time, word};
use crate::types::CallRecord;
use crate::types::order::{OrderRecord, RetryPlan, Window};

/// When calls may be placed, by the clock of the called party, as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowInput {
    /// `monday` to `sunday`, or `mon` to `sun`; all seven when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Vec<String>>,
    /// `HH:mm` or `h:mma`; 10:00 when left out.
    #[serde(default, alias = "start", skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// `HH:mm` or `h:mma`; 18:00 when left out. Not after the start: on the next day.
    #[serde(default, alias = "end", skip_serializing_if = "Option::is_none")]
    pub end_time: Option<String>,
    /// Wait after an attempt in this window.
    #[serde(default, alias = "retry_delay_seconds", skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<u32>,
}

/// When to call and when to call again, as it is asked for. What is left out has the defaults of `RetryConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryInput {
    /// Dials after the first, 0 to 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retry_attempts: Option<u32>,
    /// Wait between the end of an attempt and the next.
    #[serde(default, alias = "retry_delay_seconds", skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<u32>,
    /// When calls may be placed.
    #[serde(default, alias = "calling_windows", skip_serializing_if = "Option::is_none")]
    pub windows: Option<Vec<WindowInput>>,
    /// Start of the only window, instead of `windows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calling_window_start_time: Option<String>,
    /// End of the only window, instead of `windows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calling_window_end_time: Option<String>,
    /// IANA name; null: every zone of the number's country.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// `busy`, `no_answer`, `voicemail`, `ivr`, `unreachable`, `congestion`, `failed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<Vec<String>>,
    /// Whether the first retry goes out at once.
    #[serde(default, alias = "call_twice_in_a_row", skip_serializing_if = "Option::is_none")]
    pub immediate_redial: Option<bool>,
    /// Whether the windows do not count.
    #[serde(
        default,
        alias = "skip_calling_window",
        alias = "force_now",
        skip_serializing_if = "Option::is_none"
    )]
    pub ignore_window: Option<bool>,
    /// No dial begins later than this after the order's first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_after_seconds: Option<u32>,
}

/// When calls may be placed.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CallingWindow {
    /// Days it begins on.
    pub days: Vec<String>,
    /// `HH:mm`.
    pub start_time: String,
    /// `HH:mm`; not after the start: on the next day.
    pub end_time: String,
    /// Wait after an attempt in this window; null: the plan's.
    pub delay_seconds: Option<u32>,
}

impl From<&Window> for CallingWindow {
    fn from(window: &Window) -> Self {
        let text = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        Self {
            days: window.days.iter().map(|day| day.as_str().to_owned()).collect(),
            start_time: text(window.start_minute),
            end_time: text(window.end_minute),
            delay_seconds: window.delay_seconds,
        }
    }
}

/// When to call, and when to call again.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RetryConfig {
    /// Dials after the first.
    #[schema(example = 3)]
    pub max_retry_attempts: u32,
    /// Wait between the end of an attempt and the next.
    pub delay_seconds: u32,
    /// When calls may be placed; any of them.
    pub windows: Vec<CallingWindow>,
    /// IANA name; null: every zone of the number's country.
    pub timezone: Option<String>,
    /// Outcomes that are tried again.
    pub retry_on: Vec<String>,
    /// Whether the first retry goes out at once.
    pub immediate_redial: bool,
    /// Whether the windows do not count.
    pub ignore_window: bool,
    /// No dial begins later than this after the order's first time.
    pub expire_after_seconds: u32,
}

impl From<&RetryPlan> for RetryConfig {
    fn from(plan: &RetryPlan) -> Self {
        Self {
            max_retry_attempts: plan.max_retry_attempts,
            delay_seconds: plan.delay_seconds,
            windows: plan.windows.iter().map(CallingWindow::from).collect(),
            timezone: plan.timezone.clone(),
            retry_on: plan.retry_on.iter().map(|on| on.as_str().to_owned()).collect(),
            immediate_redial: plan.immediate_redial,
            ignore_window: plan.ignore_window,
            expire_after_seconds: plan.expire_after_seconds,
        }
    }
}

/// At most `max` calls at once of the orders that carry `key`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencyLimit {
    /// Any word.
    pub key: String,
    /// How many, 1 to 1000.
    pub max: u32,
}

/// Body of `POST /v1/call-orders`.
#[derive(Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOrder {
    /// Whom to call: E.164 or a SIP URI.
    #[serde(alias = "phone_number", alias = "to_phone_number")]
    pub to_number: String,
    /// Number to show; else the trunk's default.
    #[serde(default, alias = "from_phone_number")]
    pub from_number: Option<String>,
    /// Agent that talks; else the trunk's default.
    #[serde(default, alias = "assistant_id")]
    pub agent_id: Option<String>,
    /// Trunk to leave by; else the only one that dials.
    #[serde(default)]
    pub trunk_id: Option<String>,
    /// Instructions instead of the agent's.
    #[serde(default)]
    pub instructions: Option<String>,
    /// Opening words instead of the agent's own.
    #[serde(default)]
    pub first_message: Option<String>,
    /// BCP 47 tag.
    #[serde(default)]
    pub language: Option<String>,
    /// Values of template variables.
    #[serde(default, alias = "prompt_variables")]
    pub variables: BTreeMap<String, String>,
    /// JSON the agent may refer to.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub context: Option<serde_json::Map<String, serde_json::Value>>,
    /// Kept with the order and its calls and given back.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Not before.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub scheduled_at: Option<String>,
    /// When to call, and when again.
    #[serde(default, alias = "call_retry_config")]
    pub retry: Option<RetryInput>,
    /// Limit shared with other orders.
    #[serde(default)]
    pub concurrency: Option<ConcurrencyLimit>,
    /// Where the events go besides the endpoints that subscribe.
    #[serde(default)]
    pub webhook_url: Option<String>,
    /// How long to let it ring.
    #[serde(default)]
    pub ring_timeout_seconds: Option<u32>,
    /// Longest duration after the answer.
    #[serde(default)]
    pub max_duration_seconds: Option<u32>,
}

/// What an order dials is what a call dials.
impl From<CreateOrder> for super::CreateCall {
    fn from(order: CreateOrder) -> Self {
        Self {
            to_number: order.to_number,
            from_number: order.from_number,
            agent_id: order.agent_id,
            trunk_id: order.trunk_id,
            first_message: order.first_message,
            metadata: order.metadata,
            ring_timeout_seconds: order.ring_timeout_seconds,
            max_duration_seconds: order.max_duration_seconds,
            language: order.language,
            scheduled_at: order.scheduled_at,
            retry: order.retry,
            concurrency: order.concurrency,
            agent: None,
            instructions: order.instructions,
            context: order.context.map(Into::into),
            variables: order.variables,
            webhook_url: order.webhook_url,
            sip_headers: BTreeMap::new(),
        }
    }
}

/// A request to reach somebody, which may take several calls.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CallOrder {
    /// Our identifier, a UUIDv7.
    pub id: String,
    /// `scheduled`, `queued`, `calling`, `waiting_retry`, `completed`, `canceled` or `errored`.
    pub status: String,
    /// Always `outbound`.
    pub direction: String,
    /// Whom to call.
    pub to_number: String,
    /// Number to show; null: the trunk's.
    pub from_number: Option<String>,
    /// Agent that talks; null: the trunk's.
    pub agent_id: Option<String>,
    /// Trunk to leave by; null: the only one that dials.
    pub trunk_id: Option<String>,
    /// Not before.
    #[schema(format = DateTime)]
    pub scheduled_at: Option<String>,
    /// When it is dialled next; null while an attempt is under way and when it is over.
    #[schema(format = DateTime)]
    pub next_attempt_at: Option<String>,
    /// Dials made.
    pub attempts_count: u32,
    /// Whether attempts were made and no more follow.
    pub is_completed: bool,
    /// Whether it was taken back.
    pub is_canceled: bool,
    /// Of the last attempt; null before its end.
    pub outcome: Option<String>,
    /// Why it could not be carried out; machine code.
    pub error_code: Option<String>,
    /// The same for people.
    pub error_message: Option<String>,
    /// When to call, and when again.
    pub retry: RetryConfig,
    /// Limit shared with other orders.
    pub concurrency: Option<ConcurrencyLimit>,
    /// Values of template variables.
    pub variables: BTreeMap<String, String>,
    /// JSON the agent may refer to.
    #[schema(value_type = Option<Object>)]
    pub context: Option<serde_json::Value>,
    /// The caller's own object.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Value,
    /// Where its events go besides the endpoints that subscribe.
    pub webhook_url: Option<String>,
    /// Its batch.
    pub batch_id: Option<String>,
    /// Its campaign.
    pub campaign_id: Option<String>,
    /// Its lead.
    pub lead_id: Option<String>,
    /// The newest attempt.
    pub last_attempt: Option<Call>,
    /// Every attempt, newest first; left out in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Vec<Call>>,
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

impl CallOrder {
    /// An order with its attempts, newest first.
    pub fn detail(order: &OrderRecord, attempts: &[CallRecord]) -> Self {
        Self {
            last_attempt: attempts.first().map(Call::from),
            attempts: Some(attempts.iter().map(Call::from).collect()),
            ..Self::from(order)
        }
    }
}

impl From<&OrderRecord> for CallOrder {
    fn from(order: &OrderRecord) -> Self {
        use crate::types::order::OrderStatus;
        Self {
            id: order.id.to_string(),
            status: order.status.as_str().to_owned(),
            direction: "outbound".to_owned(),
            to_number: order.to_number.reveal().clone(),
            from_number: order.from_number.as_ref().map(|from| from.reveal().clone()),
            agent_id: order.agent_id.as_ref().map(ToString::to_string),
            trunk_id: order.trunk.as_ref().map(ToString::to_string),
            scheduled_at: order.scheduled_at.map(time),
            next_attempt_at: order.next_attempt_at.map(time),
            attempts_count: order.attempts_count,
            is_completed: order.status == OrderStatus::Completed,
            is_canceled: order.status == OrderStatus::Canceled,
            outcome: order.outcome.map(word),
            error_code: order.error.as_ref().map(|error| error.code.clone()),
            error_message: order.error.as_ref().map(|error| error.message.clone()),
            retry: RetryConfig::from(&order.retry),
            concurrency: order
                .concurrency
                .as_ref()
                .map(|limit| ConcurrencyLimit { key: limit.key.clone(), max: limit.max }),
            variables: order.variables.reveal().clone(),
            context: order.context.as_ref().map(|context| context.reveal().clone()),
            metadata: order.metadata.clone(),
            webhook_url: order.webhook_url.as_ref().map(|url| url.reveal().clone()),
            batch_id: order.batch_id.map(|id| id.to_string()),
            campaign_id: order.campaign_id.map(|id| id.to_string()),
            lead_id: order.lead_id.map(|id| id.to_string()),
            last_attempt: None,
            attempts: None,
            created_at: time(order.created_at),
            updated_at: time(order.updated_at),
            completed_at: order.completed_at.map(time),
        }
    }
}

/// Body of `POST /v1/call-orders/{id}/retry-now`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryNow {
    /// Whether to dial outside the calling windows; true when left out.
    #[serde(default)]
    pub ignore_window: Option<bool>,
}
