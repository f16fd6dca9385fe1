//! The books of every organization: its prices, its budget, what is spent this month and what is held.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::meter::{self, Service};
use super::price::nothing;
use super::{BudgetConfig, Prices};
use crate::schema::organization::{ORGANIZATION_KIND, OrganizationDoc};
use crate::store::{Store, StoreError};
use crate::types::{
    AfterStatus, CallId, CallRecord, Cost, OrganizationId, Pii, ReservationStatus, TrunkName,
    UsageKind, UsageUnit,
};

/// Kind of the resource that holds an organization's own price table.
pub const PRICES_KIND: &str = "price_table";

/// The month's budget does not allow another call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the budget of this month does not allow another call")]
pub struct BudgetExceeded;

/// A budget as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The budget.
    pub budget: BudgetConfig,
    /// Cost of the calls that ended this month.
    pub spent_micros: u64,
    /// Held for calls that are not over.
    pub held_micros: u64,
}

/// Year and month, UTC.
type Month = (i16, i8);

#[derive(Default)]
struct Books {
    prices: HashMap<OrganizationId, Arc<Prices>>,
    budgets: HashMap<OrganizationId, BudgetConfig>,
    /// By organization and currency. A month that is over is forgotten with the first word of the next.
    spent: HashMap<(OrganizationId, String), (Month, u64)>,
    held: HashMap<CallId, (OrganizationId, u64)>,
}

/// All books. What happens to them is decided under one lock, so two calls never get the same money.
#[derive(Default)]
pub struct Accounts {
    base_prices: Option<Arc<Prices>>,
    base_budget: BudgetConfig,
    books: Mutex<Books>,
}

impl Accounts {
    /// Books with the prices and the budget of the configuration, which hold for every organization that has no
    /// own. By default there are neither: nothing has a cost, nothing is refused.
    pub fn new(prices: Option<Prices>, budget: BudgetConfig) -> Self {
        Self { base_prices: prices.map(Arc::new), base_budget: budget, books: Mutex::default() }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // Every change below is complete before anything can panic.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the price tables of organizations.
    ///
    /// # Errors
    /// When the store cannot be read. A table that this version does not understand is logged and left out.
    pub async fn load_prices(&self, store: &Store) -> Result<(), StoreError> {
        for row in store.all_resources(PRICES_KIND).await? {
            let table: Option<crate::schema::usage::PriceTable> =
                serde_json::from_value(row.doc).ok();
            let prices = table.and_then(|table| {
                Prices::new(&table.currency.unwrap_or_default(), table.items).ok()
            });
            match prices {
                Some(prices) => self.set_prices(&row.organization_id, Some(prices)),
                None => {
                    tracing::error!(organization = %row.organization_id, "a stored price table makes no sense")
                }
            }
        }
        Ok(())
    }

    /// Reads the budgets of organizations.
    ///
    /// # Errors
    /// When the store cannot be read. A record that this version does not understand is logged and left out.
    pub async fn load_budgets(&self, store: &Store) -> Result<(), StoreError> {
        for row in store.all_resources(ORGANIZATION_KIND).await? {
            match serde_json::from_value::<OrganizationDoc>(row.doc) {
                Ok(doc) => self.set_budget(&row.organization_id, budget_of(&doc)),
                Err(_) => {
                    tracing::error!(organization = %row.organization_id, "a stored organization makes no sense")
                }
            }
        }
        Ok(())
    }

    /// Takes what was spent this month from the store. Run it at start, once the calls of a crash are closed.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn load_spent(&self, store: &Store, now: jiff::Timestamp) -> Result<(), StoreError> {
        let spent = store.spent_since(month_start(now)).await?;
        let mut books = self.books();
        books.spent.clear();
        for (organization, currency, micros) in spent {
            books.spent.insert((organization, currency), (month_of(now), micros));
        }
        Ok(())
    }

    /// Prices in force for an organization.
    pub fn prices(&self, organization: &OrganizationId) -> Option<Arc<Prices>> {
        self.books().prices.get(organization).cloned().or_else(|| self.base_prices.clone())
    }

    /// Whether an organization's prices are its own.
    pub fn has_own_prices(&self, organization: &OrganizationId) -> bool {
        self.books().prices.contains_key(organization)
    }

    /// Gives an organization prices of its own, or takes them away.
    pub fn set_prices(&self, organization: &OrganizationId, prices: Option<Prices>) {
        let mut books = self.books();
        match prices {
            Some(prices) => {
                books.prices.insert(organization.clone(), Arc::new(prices));
            }
            None => {
                books.prices.remove(organization);
            }
        }
    }

    /// Gives an organization a budget of its own, or takes it away.
    pub fn set_budget(&self, organization: &OrganizationId, budget: Option<BudgetConfig>) {
        let mut books = self.books();
        match budget {
            Some(budget) => {
                books.budgets.insert(organization.clone(), budget);
            }
            None => {
                books.budgets.remove(organization);
            }
        }
    }

    /// The budget of an organization and how it stands; `None` if it has none.
    pub fn standing(
        &self,
        organization: &OrganizationId,
        now: jiff::Timestamp,
    ) -> Option<Standing> {
        let books = self.books();
        self.standing_in(&books, organization, now)
    }

    fn standing_in(
        &self,
        books: &Books,
        organization: &OrganizationId,
        now: jiff::Timestamp,
    ) -> Option<Standing> {
        let budget = books.budgets.get(organization).unwrap_or(&self.base_budget).clone();
        if budget.monthly_limit_micros == 0 {
            return None;
        }
        let key = (organization.clone(), budget.currency.clone());
        let spent = books.spent.get(&key).filter(|(month, _)| *month == month_of(now));
        let held = books.held.values().filter(|(whose, _)| whose == organization);
        Some(Standing {
            spent_micros: spent.map_or(0, |(_, micros)| *micros),
            held_micros: held.fold(0, |sum, (_, micros)| sum.saturating_add(*micros)),
            budget,
        })
    }

    /// Holds what a call may cost, before anybody is dialled or answered. Asked again, it holds no more.
    ///
    /// # Errors
    /// When the month's budget does not allow it.
    pub fn reserve(
        &self,
        organization: &OrganizationId,
        call: CallId,
        now: jiff::Timestamp,
    ) -> Result<ReservationStatus, BudgetExceeded> {
        let mut books = self.books();
        let Some(standing) = self.standing_in(&books, organization, now) else {
            return Ok(ReservationStatus::None);
        };
        if books.held.contains_key(&call) {
            return Ok(ReservationStatus::Reserved);
        }
        let hold = standing.budget.per_call_hold_micros;
        // Without a hold a call still needs something to be left.
        let needed =
            standing.spent_micros.saturating_add(standing.held_micros).saturating_add(hold.max(1));
        if needed > standing.budget.monthly_limit_micros {
            return Err(BudgetExceeded);
        }
        books.held.insert(call, (organization.clone(), hold));
        Ok(ReservationStatus::Reserved)
    }

    /// Gives back what was held for a call that came to nothing. Harmless when nothing is.
    pub fn release(&self, call: CallId) {
        self.books().held.remove(&call);
    }

    /// A call begins: where there are prices, it will have a cost.
    pub fn open(&self, record: &mut CallRecord) {
        record.cost = self.prices(&record.organization_id).map(|prices| nothing(prices.currency()));
    }

    /// A call is over: its telephony is added to what it used, its cost is known, its hold is settled.
    pub fn close(&self, record: &mut CallRecord) {
        record.usage.retain(|row| row.kind != UsageKind::Telephony || row.destination.is_some());
        // Who took the first party's place has a leg of its own, which is among the rows.
        let carried_ms = record.first_talk_ms.or(record.talk_ms);
        if let (Some(trunk), Some(talk_ms)) = (&record.trunk, carried_ms) {
            let service = Service { kind: UsageKind::Telephony, provider: &trunk.0, model: None };
            let minutes = talk_ms.div_ceil(1_000) as f64 / 60.0;
            meter::add(&mut record.usage, service, UsageUnit::Minute, minutes);
        }
        self.price(record);
        if record.reservation == ReservationStatus::Reserved {
            self.books().held.remove(&record.id);
            record.reservation = match record.answered_at {
                Some(_) => ReservationStatus::Settled,
                None => ReservationStatus::Released,
            };
        }
    }

    /// What so much talk by a second leg costs, millionths.
    pub fn leg_micros(
        &self,
        organization: &OrganizationId,
        trunk: &TrunkName,
        to: &Pii<String>,
        talk: Duration,
    ) -> u64 {
        let mut rows = Vec::new();
        meter::add_leg(&mut rows, trunk, to, talk);
        let prices = self.prices(organization);
        prices.map_or(0, |prices| rows.iter().map(|row| prices.of_leg(row)).sum())
    }

    /// Works out the cost of a call that is over, again if more was used. The difference is spent.
    pub fn price(&self, record: &mut CallRecord) {
        let spending = self.work_out(record);
        self.spend(spending);
    }

    /// Writes the cost of a call that is over into its record; the books change with [`Accounts::spend`], once the
    /// record is stored.
    #[must_use]
    pub fn work_out(&self, record: &mut CallRecord) -> Spending {
        let month = month_of(record.ended_at.unwrap_or(record.updated_at));
        let organization = record.organization_id.clone();
        let sum = |cost: &Cost| (cost.currency.clone(), cost.total_micros);
        let before = record.cost.as_ref().filter(|cost| cost.total_micros > 0).map(sum);
        let after = self.prices(&organization).map(|prices| {
            let mut cost = prices.apply(record);
            if !record.is_settling() {
                cost.status = AfterStatus::Completed;
            }
            cost
        });
        match after {
            Some(cost) => {
                let after = sum(&cost);
                record.cost = Some(cost);
                Spending { organization, month, before, after: Some(after) }
            }
            None => {
                // The table is gone: what has a cost keeps it, what has none gets none.
                if before.is_none() {
                    record.cost = None;
                } else if let Some(cost) = record.cost.as_mut() {
                    cost.status = AfterStatus::Completed;
                }
                Spending { organization, month, before: None, after: None }
            }
        }
    }

    /// Notes what was spent.
    pub fn spend(&self, spending: Spending) {
        let Spending { organization, month, before, after } = spending;
        let mut books = self.books();
        for (sum, was) in [(before, true), (after, false)] {
            let Some((currency, micros)) = sum else { continue };
            let known = books.spent.entry((organization.clone(), currency)).or_insert((month, 0));
            if known.0 < month {
                *known = (month, 0);
            }
            // What ended in a month before the one that is counted is not of this month's money.
            if known.0 == month {
                known.1 = if was {
                    known.1.saturating_sub(micros)
                } else {
                    known.1.saturating_add(micros)
                };
            }
        }
    }
}

/// What the books have to note of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spending {
    organization: OrganizationId,
    month: Month,
    before: Option<(String, u64)>,
    after: Option<(String, u64)>,
}

/// What an organization may spend, if it has a limit of its own.
pub fn budget_of(doc: &OrganizationDoc) -> Option<BudgetConfig> {
    let budget = doc.budget.as_ref()?;
    Some(BudgetConfig {
        monthly_limit_micros: budget.monthly_limit_micros?,
        currency: budget.currency.clone().unwrap_or_else(|| BudgetConfig::default().currency),
        per_call_hold_micros: budget.per_call_hold.unwrap_or(0),
    })
}

fn month_of(at: jiff::Timestamp) -> Month {
    let date = at.to_zoned(TimeZone::UTC).date();
    (date.year(), date.month())
}

fn month_start(at: jiff::Timestamp) -> jiff::Timestamp {
    let first = at.to_zoned(TimeZone::UTC).date().first_of_month();
    first.to_zoned(TimeZone::UTC).map_or(at, |start| start.timestamp())
}
