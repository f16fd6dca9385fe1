//! What a list of calls can be asked for, and what comes back. Independent of where calls are kept.

use serde::de::DeserializeOwned;

use crate::types::call::CallType;
use crate::types::{
    AgentId, AnsweredBy, BatchId, CallId, CallRecord, CallStatus, CampaignId, Direction, EndReason,
    OrderId, OrganizationId, Outcome, TrunkName,
};

/// Most rows of one page.
pub const PAGE_SIZE_MAX: u32 = 100;
/// Rows of a page when nothing is asked for.
pub const PAGE_SIZE_DEFAULT: u32 = 20;
/// Most digits of a search: longer than any E.164 number.
const SEARCH_DIGITS_MAX: usize = 32;

/// Rows before a page that a list walks over; who wants to go deeper takes a cursor.
pub const OFFSET_MAX: u64 = 100_000;
/// Most pairs of `metadata` in one query.
pub const METADATA_FILTERS_MAX: usize = 4;

/// What is wrong with a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Pages are counted from 1.
    #[error("`page` is 1 or more")]
    Page,
    /// Pages far from the first are reached by cursor.
    #[error("`page` is too deep: pages end {OFFSET_MAX} rows from the first; use `cursor`")]
    Depth,
    /// A page holds 1 to 100 rows. More is refused, not clamped.
    #[error("`page_size` is 1 to 100")]
    PageSize,
    /// No status, outcome or end reason has that name.
    #[error("unknown `status`")]
    Status,
    /// Neither `inbound` nor `outbound`.
    #[error("unknown `direction`: `inbound` or `outbound`")]
    Direction,
    /// A search holds digits, and separators people type.
    #[error("`search` is a phone number or a part of one")]
    Search,
}

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequest {
    page: u32,
    page_size: u32,
}

impl PageRequest {
    /// Checks the two numbers; `None` takes the default.
    ///
    /// # Errors
    /// When one is out of range.
    pub fn new(page: Option<u32>, page_size: Option<u32>) -> Result<Self, QueryError> {
        let page = page.unwrap_or(1);
        let page_size = page_size.unwrap_or(PAGE_SIZE_DEFAULT);
        if page == 0 {
            return Err(QueryError::Page);
        }
        if !(1..=PAGE_SIZE_MAX).contains(&page_size) {
            return Err(QueryError::PageSize);
        }
        Ok(Self { page, page_size })
    }

    /// From 1.
    pub fn page(self) -> u32 {
        self.page
    }

    /// 1 to 100.
    pub fn page_size(self) -> u32 {
        self.page_size
    }

    /// Rows before this page.
    pub fn offset(self) -> u64 {
        u64::from(self.page - 1) * u64::from(self.page_size)
    }
}

/// In which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Newest first.
    #[default]
    NewestFirst,
    /// Oldest first.
    OldestFirst,
}

/// A row's place in every list: two of the same microsecond are told apart by their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place<I = CallId> {
    /// Sort time, microseconds since 1970.
    pub sort_us: i64,
    /// Which row.
    pub id: I,
}

/// Where a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start<I = CallId> {
    /// After so many rows.
    Offset(u64),
    /// After this row, wherever it stands now.
    After(Place<I>),
}

/// Which part of a list that has one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins.
    pub start: Start<String>,
    /// Most rows.
    pub size: u32,
}

impl From<PageRequest> for Part {
    fn from(page: PageRequest) -> Self {
        Self { start: Start::Offset(page.offset()), size: page.page_size() }
    }
}

/// Which part of the list of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Where it begins.
    pub start: Start,
    /// Most rows.
    pub size: u32,
    /// In which order.
    pub order: Order,
}

impl From<PageRequest> for Slice {
    fn from(page: PageRequest) -> Self {
        let start = Start::Offset(page.offset());
        Self { start, size: page.page_size(), order: Order::default() }
    }
}

/// One page of records.
#[derive(Clone, Debug, PartialEq)]
pub struct CallPage {
    /// The rows.
    pub items: Vec<CallRecord>,
    /// Rows of all pages.
    pub total: u64,
    /// Whether `total` is all there are; else there are at least so many.
    pub total_exact: bool,
    /// The last row, if others follow it.
    pub next: Option<Place>,
}

/// A word that names a status, an outcome or an end reason; a call matches if any of them does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusFilter {
    /// Statuses it names.
    pub statuses: Vec<CallStatus>,
    /// Outcome it names.
    pub outcome: Option<Outcome>,
    /// End reason it names.
    pub end_reason: Option<EndReason>,
}

impl StatusFilter {
    /// Reads a word, aliases included (call-model X1, X19), without regard to case, `-` and `_`.
    ///
    /// # Errors
    /// When nothing has that name.
    pub fn parse(word: &str) -> Result<Self, QueryError> {
        let word = word.trim().to_ascii_lowercase().replace('-', "_");
        let word = match word.as_str() {
            "ongoing" => "in_progress",
            "connecting" => {
                let statuses = vec![CallStatus::Initiated, CallStatus::Ringing];
                return Ok(Self { statuses, ..Self::default() });
            }
            "dialing" => "initiated",
            "ended" => "completed",
            "error" => "failed",
            "caller_hangup" => "user_hangup",
            "cancelled" => "canceled",
            other => other,
        };
        let filter = Self {
            statuses: named::<CallStatus>(word).into_iter().collect(),
            outcome: named(word),
            end_reason: named(word),
        };
        if filter == Self::default() { Err(QueryError::Status) } else { Ok(filter) }
    }

    fn matches(&self, record: &CallRecord) -> bool {
        self.statuses.contains(&record.status)
            || (self.outcome.is_some() && self.outcome == record.outcome)
            || (self.end_reason.is_some() && self.end_reason == record.end_reason)
    }
}

/// The value of a closed set that has this public name.
fn named<T: DeserializeOwned>(word: &str) -> Option<T> {
    serde_json::from_value(serde_json::Value::String(word.to_owned())).ok()
}

/// Reads `direction`, with the aliases `incoming` and `outgoing`.
///
/// # Errors
/// For any other word.
pub fn parse_direction(word: &str) -> Result<Direction, QueryError> {
    match word.to_ascii_lowercase().as_str() {
        "inbound" | "incoming" => Ok(Direction::Inbound),
        "outbound" | "outgoing" => Ok(Direction::Outbound),
        _ => Err(QueryError::Direction),
    }
}

/// Filters of a list. Empty means all; several statuses mean any of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Whose calls.
    pub organization_id: OrganizationId,
    /// Who placed the call.
    pub direction: Option<Direction>,
    /// Any of these.
    pub status: Vec<StatusFilter>,
    /// Handled by.
    pub agent_id: Option<AgentId>,
    /// Came in on or left by.
    pub trunk: Option<TrunkName>,
    /// Digits contained in either number; see [`search_digits`].
    pub search: Option<String>,
    /// Sort time at or after.
    pub started_after: Option<jiff::Timestamp>,
    /// Sort time before.
    pub started_before: Option<jiff::Timestamp>,
    /// Who picked up.
    pub answered_by: Option<AnsweredBy>,
    /// Our registered number.
    pub number_id: Option<String>,
    /// Attempt of this order.
    pub order_id: Option<OrderId>,
    /// Of this batch.
    pub batch_id: Option<BatchId>,
    /// Of this campaign.
    pub campaign_id: Option<CampaignId>,
    /// Started to ended, at least.
    pub duration_min_ms: Option<u64>,
    /// Started to ended, at most.
    pub duration_max_ms: Option<u64>,
    /// How it reached us.
    pub call_type: Option<CallType>,
    /// Whether it is a test.
    pub is_test: Option<bool>,
    /// Plain values of `metadata`, as text; all of them.
    pub metadata: Vec<(String, String)>,
}

impl Query {
    /// Whether a record passes every filter.
    pub fn matches(&self, record: &CallRecord) -> bool {
        let at = sort_time(record);
        let found = |digits: &String| {
            digits_of(record.from_number.reveal()).contains(digits.as_str())
                || digits_of(record.to_number.reveal()).contains(digits.as_str())
        };
        let same = |wanted: &Option<String>, has: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| Some(wanted) == has.as_ref())
        };
        let in_metadata = |(key, value): &(String, String)| {
            record.metadata.get(key).and_then(metadata_text).as_ref() == Some(value)
        };
        self.organization_id == record.organization_id
            && same(&self.number_id, &record.number_id)
            && self.answered_by.is_none_or(|by| Some(by) == record.answered_by)
            && self.order_id.is_none_or(|id| Some(id) == record.order_id)
            && self.batch_id.is_none_or(|id| Some(id) == record.batch_id)
            && self.campaign_id.is_none_or(|id| Some(id) == record.campaign_id)
            && self.call_type.is_none_or(|kind| kind == record.call_type)
            && self.is_test.is_none_or(|test| test == record.is_test)
            && self.duration_min_ms.is_none_or(|ms| record.duration_ms.is_some_and(|it| it >= ms))
            && self.duration_max_ms.is_none_or(|ms| record.duration_ms.is_some_and(|it| it <= ms))
            && self.metadata.iter().all(in_metadata)
            && self.direction.is_none_or(|direction| direction == record.direction)
            && (self.status.is_empty() || self.status.iter().any(|status| status.matches(record)))
            && self.agent_id.as_ref().is_none_or(|agent| Some(agent) == record.agent_id.as_ref())
            && self.trunk.as_ref().is_none_or(|trunk| Some(trunk) == record.trunk.as_ref())
            && self.search.as_ref().is_none_or(found)
            && self.started_after.is_none_or(|limit| at >= limit)
            && self.started_before.is_none_or(|limit| at < limit)
    }
}

/// A plain value of `metadata` as a filter writes it; lists and objects have none.
fn metadata_text(value: &serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

/// Digits of a search typed with or without `+`, spaces, `-`, `.` and parentheses.
///
/// # Errors
/// When there are other characters, no digit, or too many.
pub fn search_digits(text: &str) -> Result<String, QueryError> {
    let digits = digits_of(text);
    let typed = |c: char| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '.' | '(' | ')');
    if digits.is_empty() || digits.len() > SEARCH_DIGITS_MAX || !text.chars().all(typed) {
        return Err(QueryError::Search);
    }
    Ok(digits)
}

/// The digits of a number, which is all a search compares.
pub(super) fn digits_of(number: &str) -> String {
    number.chars().filter(char::is_ascii_digit).collect()
}

/// What a list is sorted by.
pub(super) fn sort_time(record: &CallRecord) -> jiff::Timestamp {
    record.started_at.or(record.initiated_at).unwrap_or(record.created_at)
}
