//! What calls used and cost, and the price table behind it.

use std::sync::Arc;

use axum::extract::State;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use utoipa::IntoParams;

use super::Api;
use super::access::Principal;
use super::error::ApiError;
use super::extract::{Json, Params, bad_field, bad_param};
use crate::net::clock;
use crate::schema::ErrorBody;
use crate::schema::usage::{
    BudgetStanding, PriceTable, PutPrices, UsageLog, UsageQuantity, UsageReport, UsageSummary,
};
use crate::store::Resource;
use crate::store::usage::{UsageGroup, UsageGrouping, UsageQuery};
use crate::types::OrganizationId;
use crate::usage::accounts::PRICES_KIND;
use crate::usage::{Prices, Standing};

/// Groups of a report when nothing is asked for.
const LIMIT_DEFAULT: u32 = 50;
/// Most groups of one report.
const LIMIT_MAX: u32 = 100;
/// Days of a report that names no start.
const DAYS_DEFAULT: i64 = 30;
/// Most days of a report.
const DAYS_MAX: i64 = 366;

/// Filters of a report.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the fields are read by their names, and this documents them")]
pub(super) struct UsageParams {
    /// First day, UTC; 30 days before `end_date` unless given. A call counts on the day it ended.
    #[param(format = Date)]
    start_date: Option<String>,
    /// Last day, UTC; today unless given. At most 366 days after the first.
    #[param(format = Date)]
    end_date: Option<String>,
    /// `day` (default), `agent`, `provider` or `number`.
    group_by: Option<String>,
    /// Most groups.
    #[param(minimum = 1, maximum = 100, default = 50)]
    limit: Option<u32>,
    /// Groups to leave out before them.
    #[param(minimum = 0, default = 0)]
    offset: Option<u32>,
}

/// Show what was used
///
/// Calls, minutes, quantities and cost, by day, agent, provider (and trunk) or number of ours. Grouped by provider, a call
/// counts in the group of each provider it used.
#[utoipa::path(get, path = "/v1/usage", operation_id = "get_usage", tag = "usage", params(UsageParams), responses(
    (status = 200, description = "The report", body = UsageReport),
    (status = 400, description = "A parameter has a bad value", body = ErrorBody),
    (status = 422, description = "A parameter is unknown", body = ErrorBody),
))]
pub(super) async fn report(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<UsageReport>, ApiError> {
    params.only(&["start_date", "end_date", "group_by", "limit", "offset"])?;
    let now = clock::wall();
    let organization = principal.organization;
    let currency = api.accounts.prices(&organization).map(|prices| prices.currency().to_owned());
    let query = read_query(&params, organization.clone(), currency.clone(), now)?;
    let page = api.store.usage(&query).await?;
    Ok(axum::Json(UsageReport {
        logs: page.groups.iter().map(log).collect(),
        total: page.total,
        summary: UsageSummary {
            total_calls: page.summary.calls,
            total_minutes: minutes(page.summary.talk_seconds),
            total_cost_micros: page.summary.cost_micros.unwrap_or(0),
            currency,
        },
        budget: api.accounts.standing(&organization, now).map(standing),
    }))
}

fn read_query(
    params: &Params,
    organization_id: OrganizationId,
    currency: Option<String>,
    now: jiff::Timestamp,
) -> Result<UsageQuery, ApiError> {
    let grouping = match params.one("group_by")? {
        None | Some("day") => UsageGrouping::Day,
        Some("agent") => UsageGrouping::Agent,
        Some("provider") => UsageGrouping::Provider,
        Some("number") => UsageGrouping::Number,
        Some(_) => {
            let message = "`group_by` is `day`, `agent`, `provider` or `number`";
            return Err(bad_param("group_by", message));
        }
    };
    let limit = params.number("limit")?.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(bad_param("limit", format!("`limit` is 1 to {LIMIT_MAX}")));
    }
    let today = now.to_zoned(TimeZone::UTC).date();
    let end = date(params, "end_date")?.unwrap_or(today);
    let start = match date(params, "start_date")? {
        Some(start) => start,
        None => end.saturating_sub(jiff::Span::new().days(DAYS_DEFAULT)),
    };
    let days = (end - start).get_days();
    if start > end || i64::from(days) > DAYS_MAX {
        let message = format!("`start_date` is at most {DAYS_MAX} days before `end_date`");
        return Err(bad_param("start_date", message));
    }
    let midnight = |date: Date, name: &str| {
        let zoned = date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp());
        zoned.map_err(|_| bad_param(name, format!("`{name}` is out of range")))
    };
    let after_end = end.tomorrow().map_err(|_| bad_param("end_date", "`end_date` is too late"))?;
    Ok(UsageQuery {
        organization_id,
        from: midnight(start, "start_date")?,
        until: midnight(after_end, "end_date")?,
        grouping,
        currency,
        limit,
        offset: params.number("offset")?.unwrap_or(0),
    })
}

fn date(params: &Params, name: &str) -> Result<Option<Date>, ApiError> {
    let Some(text) = params.one(name)? else { return Ok(None) };
    let wrong = || bad_param(name, format!("`{name}` is a date, such as 2026-11-21"));
    // A date and nothing else: the parser would also take a whole timestamp.
    if text.len() != "2026-11-21".len() {
        return Err(wrong());
    }
    text.parse().map(Some).map_err(|_| wrong())
}

fn minutes(seconds: u64) -> f64 {
    // Two digits: a report is read by people.
    (seconds as f64 / 60.0 * 100.0).round() / 100.0
}

fn log(group: &UsageGroup) -> UsageLog {
    let quantity = |(kind, unit, quantity): &(_, _, f64)| UsageQuantity {
        kind: crate::schema::word(kind),
        unit: crate::schema::word(unit),
        quantity: *quantity,
    };
    UsageLog {
        key: group.key.clone(),
        calls: group.sums.calls,
        minutes: minutes(group.sums.talk_seconds),
        cost_micros: group.sums.cost_micros,
        usage: group.quantities.iter().map(quantity).collect(),
    }
}

fn standing(standing: Standing) -> BudgetStanding {
    BudgetStanding {
        monthly_limit_micros: standing.budget.monthly_limit_micros,
        currency: standing.budget.currency,
        spent_micros: standing.spent_micros,
        held_micros: standing.held_micros,
    }
}

impl Api {
    fn price_table(&self, organization: &OrganizationId) -> PriceTable {
        let prices = self.accounts.prices(organization);
        let own = self.accounts.has_own_prices(organization);
        PriceTable {
            currency: prices.as_ref().map(|prices| prices.currency().to_owned()),
            items: prices.as_ref().map(|prices| prices.items().to_vec()).unwrap_or_default(),
            managed_by: prices.map(|_| if own { "api" } else { "config" }.to_owned()),
        }
    }
}

/// Show the prices
///
/// What services cost, for the cost of calls. The table is an operator's own; no money moves.
#[utoipa::path(get, path = "/v1/prices", operation_id = "get_prices", tag = "usage", responses(
    (status = 200, description = "The table in force", body = PriceTable),
))]
pub(super) async fn prices(
    State(api): State<Arc<Api>>,
    principal: Principal,
    params: Params,
) -> Result<axum::Json<PriceTable>, ApiError> {
    params.only(&[])?;
    Ok(axum::Json(api.price_table(&principal.organization)))
}

/// Put the prices
///
/// The whole table. It takes the place of the one in the configuration file; without items that one counts again.
/// Calls that are over keep their cost.
#[utoipa::path(put, path = "/v1/prices", operation_id = "put_prices", tag = "usage",
    request_body(content = PutPrices, example = json!({"currency": "USD", "items": [
        {"kind": "llm", "provider": "openai", "model": "gpt-4o-mini", "unit": "token_in",
            "price_micros": 150_000, "per": 1_000_000},
        {"kind": "stt", "provider": "deepgram", "unit": "second", "price_micros": 4_300, "per": 60},
        {"kind": "telephony", "provider": "carrier", "prefix": "+49", "unit": "minute", "price_micros": 8_000}
    ]})),
    responses(
        (status = 200, description = "The table in force", body = PriceTable),
        (status = 422, description = "A price makes no sense; `param` names it", body = ErrorBody),
    ))]
pub(super) async fn put_prices(
    State(api): State<Arc<Api>>,
    principal: Principal,
    Json(body): Json<PutPrices>,
) -> Result<axum::Json<PriceTable>, ApiError> {
    let organization = principal.organization;
    let prices = Prices::new(&body.currency, body.items)
        .map_err(|error| bad_field(&error.field, error.message))?;
    if let Some(standing) = api.accounts.standing(&organization, clock::wall())
        && standing.budget.currency != prices.currency()
        && !prices.items().is_empty()
    {
        let message = format!("the budget is in {}", standing.budget.currency);
        return Err(bad_field("currency", message));
    }
    if prices.items().is_empty() {
        api.store.delete_resource(PRICES_KIND, &organization, organization.as_str()).await?;
        api.accounts.set_prices(&organization, None);
        return Ok(axum::Json(api.price_table(&organization)));
    }
    let table = PriceTable {
        currency: Some(prices.currency().to_owned()),
        items: prices.items().to_vec(),
        managed_by: Some("api".to_owned()),
    };
    let doc = serde_json::to_value(&table).unwrap_or_default();
    api.put_resource(PRICES_KIND, &organization, doc).await?;
    api.accounts.set_prices(&organization, Some(prices));
    Ok(axum::Json(table))
}

/// Times a write is tried when somebody else writes the same row.
const WRITES_MAX: u32 = 3;

impl Api {
    /// Writes the one resource of a kind that an organization has.
    async fn put_resource(
        &self,
        kind: &'static str,
        organization: &OrganizationId,
        doc: serde_json::Value,
    ) -> Result<(), ApiError> {
        let now = clock::wall();
        for tries in 1.. {
            let before = self.store.resource(kind, organization, organization.as_str()).await?;
            let resource = Resource {
                kind,
                id: organization.to_string(),
                organization_id: organization.clone(),
                unique_key: None,
                version: before.as_ref().map_or(1, |row| row.version + 1),
                archived: false,
                created_at: before.as_ref().map_or(now, |row| row.created_at),
                updated_at: now,
                doc: doc.clone(),
                sealed: None,
            };
            let written = match before {
                Some(_) => self.store.update_resource(&resource).await,
                None => self.store.insert_resource(&resource).await,
            };
            match written {
                Err(crate::store::StoreError::Stale | crate::store::StoreError::Taken)
                    if tries < WRITES_MAX => {}
                other => return other.map_err(ApiError::from),
            }
        }
        Ok(())
    }
}
