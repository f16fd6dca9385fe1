//! Where calls may go, and how much of it in a day: the guard against toll fraud. One check for every way that dials
//! or transfers, so that no way is forgotten.
//!
//! [`DialGuard::check`] judges a destination by the rules; [`DialGuard::begin`] judges it again right before a call
//! leaves, and counts the call. While a call lives it counts with the longest time it may take, so that calls at once
//! cannot pass a limit together. Days are UTC. It is memory: what was used today is read from the store at the start.

mod destination;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::telemetry::metrics;
use crate::types::{CallId, CallRecord, Direction, OrganizationId, TrunkName, Usage};

pub use crate::schema::dial::DialLimits;
pub use destination::Destination;

/// Numbers of a day that are counted; beyond, calls to further numbers are refused where repeats are limited.
const NUMBERS_MAX: usize = 200_000;

/// What a trunk adds: its own limits, and the hosts that are its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrunkRules {
    /// Its limits.
    pub limits: DialLimits,
    /// Hosts whose numbers are the trunk's to carry.
    pub hosts: Vec<String>,
}

/// By which way somebody wants to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialPath {
    /// `POST /v1/calls`.
    Api,
    /// An order, with its retries.
    Order,
    /// An order of a batch.
    Batch,
    /// An order of a campaign.
    Campaign,
    /// A call that waited in a queue, right before it leaves.
    Queue,
    /// The command `transfer`.
    Transfer,
    /// The agent's own transfer, its tool's or its webhook's.
    Tool,
    /// A second leg of a call, right before it leaves.
    Leg,
    /// The command `supervise`.
    Supervise,
    /// REFER of the other side.
    Refer,
    /// 3xx of the other side.
    Redirect,
}

impl DialPath {
    /// Metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Order => "order",
            Self::Batch => "batch",
            Self::Campaign => "campaign",
            Self::Queue => "queue",
            Self::Transfer => "transfer",
            Self::Tool => "tool",
            Self::Leg => "leg",
            Self::Supervise => "supervise",
            Self::Refer => "refer",
            Self::Redirect => "redirect",
        }
    }
}

impl DialPath {
    /// Whether it leads to a call of ours; a transfer is the peer's call.
    fn is_call(self) -> bool {
        !matches!(self, Self::Transfer | Self::Tool)
    }
}

/// Which rule forbids a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialRule {
    /// It is nothing that could be judged.
    Unreadable,
    /// Nothing of `allow` fits.
    NotAllowed,
    /// Something of `deny` fits.
    Denied,
    /// `minutes_per_day` is used up.
    Minutes,
    /// `spend_micros_per_day` is used up.
    Spend,
    /// `calls_per_number_per_day` is reached.
    Repeats,
}

impl DialRule {
    /// Metric label, and machine code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::NotAllowed => "not_allowed",
            Self::Denied => "denied",
            Self::Minutes => "minutes_per_day",
            Self::Spend => "spend_per_day",
            Self::Repeats => "calls_per_number",
        }
    }

    /// Whether it is about the day and not about the destination.
    pub fn is_of_the_day(self) -> bool {
        matches!(self, Self::Minutes | Self::Spend | Self::Repeats)
    }
}

/// A call that may not be made. It names no number: of one, only where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialRefused {
    /// Which rule.
    pub rule: DialRule,
    /// Whose: `dial_limits` or `trunks.NAME.dial_limits`.
    pub of: String,
    /// Beginning of the destination.
    pub value: String,
    /// What is allowed.
    pub allowed: String,
}

impl std::error::Error for DialRefused {}

impl std::fmt::Display for DialRefused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rule, of, value, .. } = self;
        match rule {
            DialRule::Unreadable => write!(f, "`{value}` is no destination that can be judged"),
            DialRule::NotAllowed => write!(f, "`{value}` is not in `{of}.allow`"),
            DialRule::Denied => write!(f, "`{value}` is in `{of}.deny`"),
            DialRule::Minutes => write!(f, "`{of}.minutes_per_day` is used up"),
            DialRule::Spend => write!(f, "`{of}.spend_micros_per_day` is used up"),
            DialRule::Repeats => {
                write!(f, "`{of}.calls_per_number_per_day` is reached for `{value}`")
            }
        }
    }
}

/// Whose limits count a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Scope {
    Organization(OrganizationId),
    Trunk(TrunkName),
}

/// What was used today.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    talk: Duration,
    spend_micros: u64,
    /// Longest durations of live calls.
    held: Duration,
}

struct Live {
    scopes: [Scope; 2],
    held: Duration,
}

#[derive(Default)]
struct Books {
    day: Option<jiff::civil::Date>,
    used: HashMap<Scope, Used>,
    numbers: HashMap<(Scope, String), u32>,
    live: HashMap<CallId, Live>,
}

/// What a call that wants to leave is.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<'a> {
    /// Whose.
    pub organization: &'a OrganizationId,
    /// By which trunk.
    pub trunk: &'a TrunkName,
    /// Where to.
    pub to: &'a str,
}

type Rules = Box<dyn Fn(&TrunkName) -> TrunkRules + Send + Sync>;

/// The guard. One lock, held for a look-up.
pub struct DialGuard {
    base: DialLimits,
    rules: Rules,
    books: Mutex<Books>,
}

impl Default for DialGuard {
    fn default() -> Self {
        Self::new(DialLimits::default(), |_| TrunkRules::default())
    }
}

impl DialGuard {
    /// A guard with the limits of every organization, and what finds those of a trunk.
    pub fn new(
        base: DialLimits,
        rules: impl Fn(&TrunkName) -> TrunkRules + Send + Sync + 'static,
    ) -> Self {
        Self { base, rules: Box::new(rules), books: Mutex::default() }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Every change below is complete before anything can panic.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a destination may be called at all, and whether the day allows another call. A refusal is counted.
    ///
    /// # Errors
    /// The first rule that forbids it.
    pub fn check(
        &self,
        path: DialPath,
        leaving: Leaving<'_>,
        now: jiff::Timestamp,
    ) -> Result<(), DialRefused> {
        let trunk = (self.rules)(leaving.trunk);
        let mut books = self.books();
        books.turn_to(now);
        let judged = self.judge(&trunk, &books, leaving, path.is_call());
        drop(books);
        judged.map(|_| ()).inspect_err(|refused| count(path, refused))
    }

    /// Judges a call that is about to leave, and counts it: a live call counts with the longest time it may take.
    ///
    /// # Errors
    /// The first rule that forbids it; nothing is counted then but the refusal.
    pub fn begin(
        &self,
        path: DialPath,
        call: CallId,
        leaving: Leaving<'_>,
        longest: Duration,
        now: jiff::Timestamp,
    ) -> Result<(), DialRefused> {
        let trunk = (self.rules)(leaving.trunk);
        let mut books = self.books();
        books.turn_to(now);
        let judged = self.judge(&trunk, &books, leaving, true);
        let destination = match judged {
            Ok(destination) => destination,
            Err(refused) => {
                drop(books);
                count(path, &refused);
                return Err(refused);
            }
        };
        let scopes = scopes(leaving);
        let limits = [&self.base, &trunk.limits];
        for (scope, limits) in scopes.iter().zip(limits) {
            books.used.entry(scope.clone()).or_default().held += longest;
            if let Some(destination) =
                destination.as_ref().filter(|_| limits.calls_per_number_per_day > 0)
            {
                let key = (scope.clone(), destination.key());
                *books.numbers.entry(key).or_default() += 1;
            }
        }
        books.live.insert(call, Live { scopes, held: longest });
        Ok(())
    }

    /// A call that was counted is over; what it really took is used. Harmless for one that was not.
    pub fn end(&self, record: &CallRecord) {
        let (talk, spend_micros) = own_use(record);
        self.settle(record.id, talk, spend_micros);
    }

    /// A second leg that was counted is over: what it talked and what that cost is used.
    pub fn end_leg(&self, leg: CallId, talk: Duration, spend_micros: u64) {
        self.settle(leg, talk, spend_micros);
    }

    fn settle(&self, call: CallId, talk: Duration, spend_micros: u64) {
        let mut books = self.books();
        let Some(live) = books.live.remove(&call) else { return };
        for scope in live.scopes {
            let used = books.used.entry(scope).or_default();
            used.held = used.held.saturating_sub(live.held);
            used.talk += talk;
            used.spend_micros = used.spend_micros.saturating_add(spend_micros);
        }
    }

    /// A call that was counted never left.
    pub fn release(&self, call: CallId) {
        let mut books = self.books();
        let Some(live) = books.live.remove(&call) else { return };
        for scope in live.scopes {
            let used = books.used.entry(scope).or_default();
            used.held = used.held.saturating_sub(live.held);
        }
    }

    /// Whether anything is counted by the day: then the calls of today are wanted at the start.
    pub fn remembers(&self, trunks: &[TrunkName]) -> bool {
        let counts = |limits: &DialLimits| {
            limits.minutes_per_day > 0
                || limits.spend_micros_per_day > 0
                || limits.calls_per_number_per_day > 0
        };
        counts(&self.base) || trunks.iter().any(|trunk| counts(&(self.rules)(trunk).limits))
    }

    /// Counts a call of before this process with its second legs: what ended today is used, and who was called today
    /// was called. Of legs to one number the record keeps the sum, so they count as one call to it.
    pub fn remember(&self, record: &CallRecord, now: jiff::Timestamp) {
        let today = |at: Option<jiff::Timestamp>| at.is_some_and(|at| date_of(at) == date_of(now));
        let (left, ended) = (today(record.initiated_at), today(record.ended_at));
        let mut books = self.books();
        books.turn_to(now);
        if let (Direction::Outbound, Some(trunk), Some(_)) =
            (record.direction, &record.trunk, record.initiated_at)
        {
            let to = record.to_number.reveal();
            let leaving = Leaving { organization: &record.organization_id, trunk, to };
            books.add(leaving, left, ended.then(|| own_use(record)));
        }
        for row in legs(record) {
            let trunk = &TrunkName(row.provider.clone());
            let to = row.destination.as_ref().map_or("", |to| to.reveal().as_str());
            let leaving = Leaving { organization: &record.organization_id, trunk, to };
            let talk = Duration::try_from_secs_f64(row.quantity * 60.0).unwrap_or_default();
            books.add(leaving, ended, ended.then(|| (talk, row.amount_micros.unwrap_or(0))));
        }
    }

    /// The rules in their order. The day is looked at for calls; a transfer is the peer's call.
    fn judge(
        &self,
        trunk: &TrunkRules,
        books: &Books,
        leaving: Leaving<'_>,
        is_call: bool,
    ) -> Result<Option<Destination>, DialRefused> {
        let free = DialLimits::default();
        if self.base == free && trunk.limits == free {
            return Ok(None);
        }
        let of_trunk = || format!("trunks.{}.dial_limits", leaving.trunk);
        let Some(destination) = Destination::read(leaving.to) else {
            return Err(DialRefused {
                rule: DialRule::Unreadable,
                of: "dial_limits".to_owned(),
                value: "…".to_owned(),
                allowed: "a number such as `+15550100`, or a SIP or tel URI".to_owned(),
            });
        };
        let refused = |rule, of: String, allowed: String| {
            Err(DialRefused { rule, of, value: destination.shown(), allowed })
        };
        let both = [(&self.base, "dial_limits".to_owned()), (&trunk.limits, of_trunk())];
        for (limits, of) in &both {
            if limits.deny.iter().any(|rule| destination.is_denied(rule)) {
                let allowed = "anything else".to_owned();
                return refused(DialRule::Denied, of.clone(), allowed);
            }
            if !limits.allow.is_empty() && !destination.is_allowed(&limits.allow, &trunk.hosts) {
                let allowed = limits.allow.join(", ");
                return refused(DialRule::NotAllowed, of.clone(), allowed);
            }
        }
        if !is_call {
            return Ok(Some(destination));
        }
        for ((limits, of), scope) in both.iter().zip(scopes(leaving)) {
            let used = books.used.get(&scope).copied().unwrap_or_default();
            let most = Duration::from_secs(60 * u64::from(limits.minutes_per_day));
            if limits.minutes_per_day > 0 && used.talk + used.held >= most {
                let allowed = format!("{} minutes a day", limits.minutes_per_day);
                return refused(DialRule::Minutes, of.clone(), allowed);
            }
            let most = limits.spend_micros_per_day;
            if most > 0 && used.spend_micros >= most {
                let allowed = format!("{most} millionths a day");
                return refused(DialRule::Spend, of.clone(), allowed);
            }
            let most = limits.calls_per_number_per_day;
            let full = || books.numbers.len() >= NUMBERS_MAX;
            let to_it = books.numbers.get(&(scope, destination.key())).copied();
            if most > 0 && to_it.map_or_else(full, |calls| calls >= most) {
                let allowed = format!("{most} calls a day");
                return refused(DialRule::Repeats, of.clone(), allowed);
            }
        }
        Ok(Some(destination))
    }
}

impl Books {
    /// A call or leg of before: to whom, and what it used.
    fn add(&mut self, leaving: Leaving<'_>, called: bool, used: Option<(Duration, u64)>) {
        let key = Destination::read(leaving.to).map(|destination| destination.key());
        for scope in scopes(leaving) {
            if let Some((talk, spend_micros)) = used {
                let used = self.used.entry(scope.clone()).or_default();
                used.talk += talk;
                used.spend_micros = used.spend_micros.saturating_add(spend_micros);
            }
            if let Some(key) = key.as_ref().filter(|_| called && self.numbers.len() < NUMBERS_MAX) {
                *self.numbers.entry((scope, key.clone())).or_default() += 1;
            }
        }
    }

    /// A new day begins with nothing; what lives goes over into it.
    fn turn_to(&mut self, now: jiff::Timestamp) {
        let today = date_of(now);
        if self.day == Some(today) {
            return;
        }
        self.day = Some(today);
        self.numbers.clear();
        self.used.retain(|_, used| {
            *used = Used { held: used.held, ..Used::default() };
            !used.held.is_zero()
        });
    }
}

/// Rows of second legs.
fn legs(record: &CallRecord) -> impl Iterator<Item = &Usage> {
    record.usage.iter().filter(|row| row.destination.is_some())
}

/// What a call itself talked and cost. Second legs are settled by themselves, on trunks of their own.
fn own_use(record: &CallRecord) -> (Duration, u64) {
    let talk = Duration::from_millis(record.first_talk_ms.or(record.talk_ms).unwrap_or(0));
    let all = record.cost.as_ref().map_or(0, |cost| cost.total_micros);
    let of_legs: u64 = legs(record).filter_map(|row| row.amount_micros).sum();
    (talk, all.saturating_sub(of_legs))
}

fn scopes(leaving: Leaving<'_>) -> [Scope; 2] {
    [Scope::Organization(leaving.organization.clone()), Scope::Trunk(leaving.trunk.clone())]
}

fn date_of(at: jiff::Timestamp) -> jiff::civil::Date {
    at.to_zoned(TimeZone::UTC).date()
}

fn count(path: DialPath, refused: &DialRefused) {
    metrics::dial_refused(path.as_str(), refused.rule.as_str());
    tracing::warn!(
        path = path.as_str(),
        rule = refused.rule.as_str(),
        limits = refused.of,
        "a destination was refused"
    );
}

#[cfg(test)]
mod tests;
