//! Requests that may take several calls: orders, the batches and campaigns they come from, and when to call again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    AgentId, BatchId, CallId, CallStatus, CampaignId, EndReason, LeadId, OrderId, OrganizationId,
    Outcome, Pii, TrunkName,
};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($id:ident = $word:literal, $help:literal;)+ } $(alias { $($other:literal => $same:ident,)* })?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $(#[doc = $help] #[serde(rename = $word)] $id,)+ }

        impl $name {
            /// Every value.
            pub const ALL: &[Self] = &[$(Self::$id),+];

            /// Public word.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$id => $word,)+ }
            }

            /// Reads the public word or an alias of it, without regard to case.
            pub fn parse(word: &str) -> Option<Self> {
                match word.to_ascii_lowercase().as_str() {
                    $($word => Some(Self::$id),)+
                    $($($other => Some(Self::$same),)*)?
                    _ => None,
                }
            }
        }
    };
}

words! {
    /// Where an order is in its life. The last three are its end.
    OrderStatus {
        Scheduled = "scheduled", "Waits for its time.";
        Queued = "queued", "May be dialled now, and waits for its turn.";
        Calling = "calling", "An attempt is under way.";
        WaitingRetry = "waiting_retry", "An attempt came to nothing; another follows.";
        Completed = "completed", "Attempts were made, and no more follow.";
        Canceled = "canceled", "Taken back.";
        Errored = "errored", "Could not be dialled at all.";
    }
    alias {
        "cancelled" => Canceled,
        "initializing" => Queued,
        "queued_for_calling" => Queued,
        "error" => Errored,
    }
}

impl OrderStatus {
    /// Whether nothing follows.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled | Self::Errored)
    }
}

words! {
    /// What is tried again. `invalid_number`, `rejected`, `forbidden` and the rest are not on the list on purpose.
    RetryOn {
        Busy = "busy", "The line was busy.";
        NoAnswer = "no_answer", "Nobody picked up.";
        Voicemail = "voicemail", "A machine picked up.";
        Ivr = "ivr", "A phone menu picked up.";
        Unreachable = "unreachable", "The way there was broken.";
        Congestion = "congestion", "The carrier had no capacity.";
        Failed = "failed", "Other failures that are not a refusal.";
    }
    alias { "no-answer" => NoAnswer, }
}

impl RetryOn {
    /// What is tried again unless a request says otherwise.
    pub const DEFAULT: [Self; 6] = [
        Self::Busy,
        Self::NoAnswer,
        Self::Voicemail,
        Self::Ivr,
        Self::Unreachable,
        Self::Congestion,
    ];
}

words! {
    /// A day of the week.
    Day {
        Monday = "monday", "Monday.";
        Tuesday = "tuesday", "Tuesday.";
        Wednesday = "wednesday", "Wednesday.";
        Thursday = "thursday", "Thursday.";
        Friday = "friday", "Friday.";
        Saturday = "saturday", "Saturday.";
        Sunday = "sunday", "Sunday.";
    }
    alias {
        "mon" => Monday, "tue" => Tuesday, "wed" => Wednesday, "thu" => Thursday, "fri" => Friday,
        "sat" => Saturday, "sun" => Sunday,
    }
}

impl Day {
    /// All seven.
    pub fn week() -> Vec<Self> {
        Self::ALL.to_vec()
    }
}

/// When calls may be placed, by the clock on the called party's wall. An end that is not after the start lies on the
/// next day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Days it begins on.
    pub days: Vec<Day>,
    /// First minute of the day, 0 to 1439.
    pub start_minute: u16,
    /// Minute of the day it is over, 0 to 1440.
    pub end_minute: u16,
    /// Wait after an attempt in this window, instead of the plan's.
    pub delay_seconds: Option<u32>,
}

/// When to call, and when to call again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPlan {
    /// Dials after the first.
    pub max_retry_attempts: u32,
    /// Wait between the end of an attempt and the next.
    pub delay_seconds: u32,
    /// When calls may be placed; any of them.
    pub windows: Vec<Window>,
    /// IANA name; `None`: every zone of the number's country.
    pub timezone: Option<String>,
    /// Outcomes that are tried again.
    pub retry_on: Vec<RetryOn>,
    /// Whether the first retry goes out at once.
    pub immediate_redial: bool,
    /// Whether the windows do not count.
    pub ignore_window: bool,
    /// No dial begins later than this after the order's first time.
    pub expire_after_seconds: u32,
}

/// Wait between attempts when nothing is said, seconds.
pub const RETRY_DELAY_S: u32 = 7_200;
/// How long an order lives when nothing is said, seconds: three days.
pub const EXPIRE_AFTER_S: u32 = 259_200;

impl Default for RetryPlan {
    fn default() -> Self {
        Self {
            max_retry_attempts: 3,
            delay_seconds: RETRY_DELAY_S,
            windows: vec![Window {
                days: Day::week(),
                start_minute: 10 * 60,
                end_minute: 18 * 60,
                delay_seconds: None,
            }],
            timezone: None,
            retry_on: RetryOn::DEFAULT.to_vec(),
            immediate_redial: false,
            ignore_window: false,
            expire_after_seconds: EXPIRE_AFTER_S,
        }
    }
}

impl RetryPlan {
    /// One dial, at any time of the day: a request that says nothing of retries.
    pub fn once() -> Self {
        Self { max_retry_attempts: 0, ignore_window: true, ..Self::default() }
    }
}

/// At most `max` calls at once of the orders of an organization that carry `key`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    /// Any word.
    pub key: String,
    /// How many.
    pub max: u32,
}

/// Why an order could not be carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderError {
    /// Machine code.
    pub code: String,
    /// One sentence, without personal data.
    pub message: String,
}

impl OrderError {
    /// An error.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}

/// A request to reach somebody, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderRecord {
    /// Our identifier.
    pub id: OrderId,
    /// Whose.
    pub organization_id: OrganizationId,
    /// Where it is in its life.
    pub status: OrderStatus,
    /// Whom to call.
    pub to_number: Pii<String>,
    /// Number to show.
    pub from_number: Option<Pii<String>>,
    /// Who talks.
    pub agent_id: Option<AgentId>,
    /// Trunk to leave by.
    pub trunk: Option<TrunkName>,
    /// The request of each attempt, as the dialler reads it.
    pub request: Pii<serde_json::Value>,
    /// Not before.
    pub scheduled_at: Option<jiff::Timestamp>,
    /// When it is dialled next; `None` while an attempt is under way and when it is over.
    pub next_attempt_at: Option<jiff::Timestamp>,
    /// Dials made.
    pub attempts_count: u32,
    /// Of the last attempt.
    pub outcome: Option<Outcome>,
    /// Status of the last attempt's call, once it is over.
    pub result: Option<CallStatus>,
    /// Why it could not be carried out.
    pub error: Option<OrderError>,
    /// When to call, and when again.
    pub retry: RetryPlan,
    /// Limit it shares with others.
    pub concurrency: Option<Concurrency>,
    /// Values of the template variables.
    pub variables: Pii<BTreeMap<String, String>>,
    /// JSON the agent may refer to.
    pub context: Option<Pii<serde_json::Value>>,
    /// Caller's own JSON object.
    pub metadata: serde_json::Value,
    /// Where its events go besides the endpoints that subscribe.
    pub webhook_url: Option<Pii<String>>,
    /// Its batch.
    pub batch_id: Option<BatchId>,
    /// Its campaign.
    pub campaign_id: Option<CampaignId>,
    /// Its lead.
    pub lead_id: Option<LeadId>,
    /// The newest attempt.
    pub call_id: Option<CallId>,
    /// Whether it was taken back while an attempt was under way.
    pub stop: bool,
    /// Counts the changes, so that two writers cannot undo each other.
    pub version: u64,
    /// Row created.
    pub created_at: jiff::Timestamp,
    /// Last change.
    pub updated_at: jiff::Timestamp,
    /// Over.
    pub completed_at: Option<jiff::Timestamp>,
}

impl OrderRecord {
    /// A fresh order to one number.
    pub fn new(
        id: OrderId,
        organization: OrganizationId,
        to: String,
        now: jiff::Timestamp,
    ) -> Self {
        Self {
            id,
            organization_id: organization,
            status: OrderStatus::Queued,
            to_number: to.into(),
            from_number: None,
            agent_id: None,
            trunk: None,
            request: Pii::new(serde_json::Value::Null),
            scheduled_at: None,
            next_attempt_at: Some(now),
            attempts_count: 0,
            outcome: None,
            result: None,
            error: None,
            retry: RetryPlan::once(),
            concurrency: None,
            variables: Pii::default(),
            context: None,
            metadata: serde_json::Value::Object(serde_json::Map::new()),
            webhook_url: None,
            batch_id: None,
            campaign_id: None,
            lead_id: None,
            call_id: None,
            stop: false,
            version: 1,
            created_at: now,
            updated_at: now,
            completed_at: None,
        }
    }

    /// Who takes turns with others: campaigns, batches, and each organization's single orders.
    pub fn lane(&self) -> String {
        match (self.campaign_id, self.batch_id) {
            (Some(campaign), _) => format!("campaign:{campaign}"),
            (None, Some(batch)) => format!("batch:{batch}"),
            (None, None) => format!("organization:{}", self.organization_id),
        }
    }

    /// Ends it.
    pub fn finish(&mut self, status: OrderStatus, at: jiff::Timestamp) {
        self.status = status;
        self.next_attempt_at = None;
        self.completed_at = Some(at);
        self.updated_at = at;
    }

    /// Ends it because it cannot be carried out.
    pub fn fail(&mut self, error: OrderError, at: jiff::Timestamp) {
        if error.code == "invalid_number" {
            self.outcome = Some(Outcome::InvalidNumber);
        }
        self.outcome.get_or_insert(Outcome::Failed);
        self.error = Some(error);
        self.finish(OrderStatus::Errored, at);
    }

    /// When it is given up.
    pub fn expires_at(&self) -> jiff::Timestamp {
        let from = self.scheduled_at.map_or(self.created_at, |at| at.max(self.created_at));
        let life = jiff::SignedDuration::from_secs(i64::from(self.retry.expire_after_seconds));
        from.checked_add(life).unwrap_or(jiff::Timestamp::MAX)
    }
}

/// How an attempt ended, as far as retries care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptEnd {
    /// The computed word.
    pub outcome: Outcome,
    /// Why it stopped.
    pub reason: EndReason,
    /// Whether somebody picked up.
    pub answered: bool,
}

words! {
    /// Where a batch is in its life.
    BatchStatus {
        Queued = "queued", "Orders wait or are dialled.";
        Completed = "completed", "Every order is over.";
        Canceled = "canceled", "Taken back.";
    }
    alias { "cancelled" => Canceled, }
}

/// A group of orders made by one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public `Batch`")]
pub struct BatchRecord {
    pub id: BatchId,
    pub organization_id: OrganizationId,
    pub status: BatchStatus,
    pub name: Option<String>,
    pub from_number: Option<Pii<String>>,
    pub agent_id: Option<AgentId>,
    pub scheduled_at: Option<jiff::Timestamp>,
    pub cps: Option<f64>,
    pub max_concurrent: Option<u32>,
    pub metadata: serde_json::Value,
    pub total: u64,
    pub created_at: jiff::Timestamp,
    pub updated_at: jiff::Timestamp,
    pub completed_at: Option<jiff::Timestamp>,
}

words! {
    /// Where a campaign is in its life.
    CampaignStatus {
        Draft = "draft", "Not started.";
        Scheduled = "scheduled", "Starts by itself at its time.";
        Running = "running", "Leads are called.";
        Paused = "paused", "No further dials until it is resumed.";
        Completed = "completed", "Every lead is done.";
        Canceled = "canceled", "Stopped for good.";
    }
    alias { "cancelled" => Canceled, "active" => Running, }
}

/// A list of people to call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public `Campaign`")]
pub struct CampaignRecord {
    pub id: CampaignId,
    pub organization_id: OrganizationId,
    pub name: String,
    pub status: CampaignStatus,
    pub agent_id: Option<AgentId>,
    pub number_id: Option<String>,
    pub from_number: Option<Pii<String>>,
    pub trunk: Option<TrunkName>,
    pub instructions_template: Option<Pii<String>>,
    /// The schedule stands in its windows.
    pub retry: RetryPlan,
    pub start_at: Option<jiff::Timestamp>,
    pub end_at: Option<jiff::Timestamp>,
    pub max_concurrent: Option<u32>,
    pub cps: Option<f64>,
    pub metadata: serde_json::Value,
    pub created_at: jiff::Timestamp,
    pub updated_at: jiff::Timestamp,
    pub completed_at: Option<jiff::Timestamp>,
}

words! {
    /// What became of a lead; it follows from its order.
    LeadStatus {
        Pending = "pending", "The campaign has not come to it.";
        Queued = "queued", "Waits for its turn or its window.";
        Calling = "calling", "Is being called.";
        WaitingRetry = "waiting_retry", "Is called again later.";
        Completed = "completed", "Was reached, or all attempts are used up.";
        Failed = "failed", "Could not be called.";
        Skipped = "skipped", "The campaign ended before.";
        DoNotCall = "do_not_call", "Is on the do-not-call list.";
    }
    alias { "canceled" => Skipped, "cancelled" => Skipped, }
}

/// One person of a campaign's list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public `Lead`")]
pub struct LeadRecord {
    pub id: LeadId,
    pub campaign_id: CampaignId,
    pub organization_id: OrganizationId,
    pub phone_number: Pii<String>,
    pub name: Option<Pii<String>>,
    pub variables: Pii<BTreeMap<String, String>>,
    pub timezone: Option<String>,
    pub metadata: serde_json::Value,
    pub order_id: OrderId,
    pub created_at: jiff::Timestamp,
}

impl LeadRecord {
    /// What its order makes of it, while the campaign stands as it does.
    pub fn status(&self, order: &OrderRecord, campaign: CampaignStatus) -> LeadStatus {
        let begun = !matches!(campaign, CampaignStatus::Draft | CampaignStatus::Scheduled);
        match order.status {
            OrderStatus::Scheduled | OrderStatus::Queued if begun => LeadStatus::Queued,
            OrderStatus::Scheduled | OrderStatus::Queued => LeadStatus::Pending,
            OrderStatus::Calling => LeadStatus::Calling,
            OrderStatus::WaitingRetry => LeadStatus::WaitingRetry,
            OrderStatus::Completed => LeadStatus::Completed,
            OrderStatus::Canceled => LeadStatus::Skipped,
            OrderStatus::Errored => {
                let listed = order.error.as_ref().is_some_and(|error| error.code == DO_NOT_CALL);
                if listed { LeadStatus::DoNotCall } else { LeadStatus::Failed }
            }
        }
    }
}

/// Code of the error of an order whose number is on the list.
pub const DO_NOT_CALL: &str = "do_not_call";

/// A number nobody of the organization is to call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the public `DoNotCall`")]
pub struct DoNotCallRecord {
    pub id: String,
    pub organization_id: OrganizationId,
    pub phone_number: Pii<String>,
    pub reason: Option<String>,
    pub created_at: jiff::Timestamp,
}

/// How many orders stand where; all of it counted from the orders and their calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is its own description")]
pub struct OrderCounts {
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

impl OrderCounts {
    /// Counts `n` orders whose call, or whose own end, is `status`.
    pub fn add(&mut self, status: CallStatus, n: u64) {
        self.total += n;
        *match status {
            CallStatus::Queued => &mut self.queued,
            CallStatus::Initiated => &mut self.initiated,
            CallStatus::Ringing => &mut self.ringing,
            CallStatus::InProgress => &mut self.in_progress,
            CallStatus::Completed => &mut self.completed,
            CallStatus::Busy => &mut self.busy,
            CallStatus::NoAnswer => &mut self.no_answer,
            CallStatus::Canceled => &mut self.canceled,
            CallStatus::Failed => &mut self.failed,
        } += n;
    }
}
