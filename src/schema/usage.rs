//! What was used and what it costs: the price table, and reports over both.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::word;
use crate::types::{AfterStatus, Cost, Usage, UsageKind, UsageUnit};

/// Price of one service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// `stt`, `llm`, `tts` or `telephony`.
    #[schema(value_type = String, example = "llm")]
    pub kind: UsageKind,
    /// Name of the provider, or of the trunk for telephony; `*` is any.
    #[schema(example = "openai")]
    pub provider: String,
    /// Its model or voice; without one the price is for all that have no price of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What is counted: `second` of `stt`, `token_in`, `token_out`, `audio_token_in` and `audio_token_out` of `llm`, `character` of `tts`, `minute` of
    /// `telephony`.
    #[schema(value_type = String, example = "token_in")]
    pub unit: UsageUnit,
    /// Telephony: how the called number begins, for example `+49`. The longest that fits counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Price of `per` units in millionths of the currency.
    #[schema(example = 150_000)]
    pub price_micros: u64,
    /// How many units the price is for; 1 unless given.
    #[serde(default = "one")]
    #[schema(example = 1_000_000)]
    pub per: u64,
}

fn one() -> u64 {
    1
}

/// Body of `PUT /v1/prices`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutPrices {
    /// ISO 4217.
    #[schema(example = "USD")]
    pub currency: String,
    /// The whole table; empty: no table of one's own.
    pub items: Vec<Price>,
}

/// The price table in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PriceTable {
    /// ISO 4217; null without a table.
    pub currency: Option<String>,
    /// The prices; empty: nothing has a cost.
    pub items: Vec<Price>,
    /// `config` if it stands in the configuration file, `api` if it was put; null without a table.
    pub managed_by: Option<String>,
}

/// How much of one service was used.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct UsageRecord {
    /// `stt`, `llm`, `tts` or `telephony`.
    pub kind: String,
    /// Name of the provider, or of the trunk for telephony.
    pub provider: String,
    /// Its model or voice.
    pub model: Option<String>,
    /// How much.
    pub quantity: f64,
    /// Of what: `second`, `token_in`, `token_out`, `audio_token_in`, `audio_token_out`, `character` or
    /// `minute`.
    pub unit: String,
    /// Price of `unit_price_per` units; null if none is known.
    pub unit_price_micros: Option<u64>,
    /// How many units that price buys.
    pub unit_price_per: u64,
    /// Price of all, rounded half up; null if no price is known.
    pub amount_micros: Option<u64>,
}

impl From<&Usage> for UsageRecord {
    fn from(usage: &Usage) -> Self {
        Self {
            kind: word(usage.kind),
            provider: usage.provider.clone(),
            model: usage.model.clone(),
            quantity: usage.quantity,
            unit: word(usage.unit),
            unit_price_micros: usage.unit_price_micros,
            unit_price_per: usage.unit_price_per,
            amount_micros: usage.amount_micros,
        }
    }
}

/// What a call cost by the local price table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CallCost {
    /// `pending` until the call is over and all that is made of it is done, then `calculated`.
    pub status: String,
    /// ISO 4217.
    pub currency: String,
    /// Sum, in millionths of the currency.
    pub total_micros: u64,
    /// Recognition.
    pub stt_micros: u64,
    /// Language model, what is made of the call afterwards included.
    pub llm_micros: u64,
    /// Synthesis.
    pub tts_micros: u64,
    /// Trunk.
    pub telephony_micros: u64,
}

impl From<&Cost> for CallCost {
    fn from(cost: &Cost) -> Self {
        let status = if cost.status == AfterStatus::Pending { "pending" } else { "calculated" };
        Self {
            status: status.to_owned(),
            currency: cost.currency.clone(),
            total_micros: cost.total_micros,
            stt_micros: cost.stt_micros,
            llm_micros: cost.llm_micros,
            tts_micros: cost.tts_micros,
            telephony_micros: cost.telephony_micros,
        }
    }
}

/// One group of a usage report.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct UsageLog {
    /// What the group is of: a date, an agent, a provider or trunk, or a number of ours; null: of none.
    pub key: Option<String>,
    /// Calls that ended.
    pub calls: u64,
    /// Minutes between answer and end, every call rounded up to a second.
    pub minutes: f64,
    /// What they cost, in millionths of the currency; null if nothing had a price.
    pub cost_micros: Option<u64>,
    /// What they used.
    pub usage: Vec<UsageQuantity>,
}

/// A sum of one unit.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct UsageQuantity {
    /// `stt`, `llm`, `tts` or `telephony`.
    pub kind: String,
    /// `second`, `token_in`, `token_out`, `audio_token_in`, `audio_token_out`, `character` or
    /// `minute`.
    pub unit: String,
    /// How much.
    pub quantity: f64,
}

/// All of a usage report in three numbers.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct UsageSummary {
    /// Calls that ended.
    pub total_calls: u64,
    /// Minutes between answer and end.
    pub total_minutes: f64,
    /// What they cost, in millionths of `currency`.
    pub total_cost_micros: u64,
    /// Currency of the price table in force; null without one.
    pub currency: Option<String>,
}

/// The month's budget as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct BudgetStanding {
    /// Most that calls may cost in a calendar month, UTC.
    pub monthly_limit_micros: u64,
    /// ISO 4217.
    pub currency: String,
    /// Cost of the calls that ended this month.
    pub spent_micros: u64,
    /// Held for calls that are not over.
    pub held_micros: u64,
}

/// Body of `GET /v1/usage`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct UsageReport {
    /// The groups: days newest first, others by calls.
    pub logs: Vec<UsageLog>,
    /// How many groups there are.
    pub total: u64,
    /// Over all groups.
    pub summary: UsageSummary,
    /// The budget of this month; null if there is none.
    pub budget: Option<BudgetStanding>,
}
