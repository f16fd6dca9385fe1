//! The price table: which price a service has, and what a call costs by it. Integers only.

use crate::schema::usage::Price;
use crate::types::{AfterStatus, CallRecord, Cost, Usage, UsageKind, UsageUnit};

/// Prices of one table: every model of every provider, and the destinations of a trunk's price list.
pub const PRICES_MAX: usize = 5_000;
/// Highest price, millionths: a million of any currency.
pub const PRICE_MICROS_MAX: u64 = 1_000_000_000_000;
/// Most units one price is for.
pub const PER_MAX: u64 = 1_000_000_000;
/// Longest name of a provider, trunk or model, and longest prefix.
const NAME_CHARS_MAX: usize = 128;
/// Stands for any provider or trunk.
const ANY: &str = "*";

/// A price that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PriceError {
    /// Field, as in `items[3].unit`; `items` for the table.
    pub field: String,
    /// What is wrong.
    pub message: String,
}

/// A checked table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices {
    currency: String,
    items: Vec<Price>,
}

impl Prices {
    /// Checks a table.
    ///
    /// # Errors
    /// The first price that makes no sense.
    pub fn new(currency: &str, items: Vec<Price>) -> Result<Self, PriceError> {
        let wrong = |field: String, message: String| Err(PriceError { field, message });
        if !is_currency(currency) {
            return wrong("currency".into(), "a currency is three capitals, such as USD".into());
        }
        if items.len() > PRICES_MAX {
            return wrong("items".into(), format!("a table has at most {PRICES_MAX} prices"));
        }
        for (index, price) in items.iter().enumerate() {
            if let Err((field, message)) = check(price) {
                return wrong(format!("items[{index}].{field}"), message);
            }
        }
        Ok(Self { currency: currency.to_owned(), items })
    }

    /// ISO 4217.
    pub fn currency(&self) -> &str {
        &self.currency
    }

    /// The prices, in the order they were given.
    pub fn items(&self) -> &[Price] {
        &self.items
    }

    /// Writes prices and amounts into what was used, and adds them up.
    pub fn apply(&self, record: &mut CallRecord) -> Cost {
        let mut cost = nothing(&self.currency);
        let called = record.to_number.reveal().as_str();
        for row in &mut record.usage {
            let called = row.destination.as_ref().map_or(called, |to| to.reveal().as_str());
            let price = self.price_of(row, called);
            row.unit_price_micros = price.map(|price| price.price_micros);
            row.unit_price_per = price.map_or(1, |price| price.per);
            row.amount_micros = price.map(|price| amount(row, price));
            let amount = row.amount_micros.unwrap_or(0);
            let sum = match row.kind {
                UsageKind::Stt => &mut cost.stt_micros,
                UsageKind::Llm => &mut cost.llm_micros,
                UsageKind::Tts => &mut cost.tts_micros,
                UsageKind::Telephony => &mut cost.telephony_micros,
            };
            *sum = sum.saturating_add(amount);
            cost.total_micros = cost.total_micros.saturating_add(amount);
        }
        cost
    }

    /// What a row of a second leg costs; 0 without a price.
    pub(super) fn of_leg(&self, row: &Usage) -> u64 {
        let called = row.destination.as_ref().map_or("", |to| to.reveal().as_str());
        self.price_of(row, called).map_or(0, |price| amount(row, price))
    }

    /// The price that says most about the row: by provider, then by model, then by destination.
    fn price_of(&self, row: &Usage, called: &str) -> Option<&Price> {
        let fits = |price: &&Price| {
            price.kind == row.kind
                && price.unit == row.unit
                && (price.provider == ANY || price.provider == row.provider)
                && (price.model.is_none() || price.model == row.model)
                && price.prefix.as_ref().is_none_or(|prefix| called.starts_with(prefix.as_str()))
        };
        self.items.iter().filter(fits).max_by_key(|price| {
            let prefix = price.prefix.as_ref().map_or(0, String::len);
            (price.provider != ANY, price.model.is_some(), prefix)
        })
    }
}

/// A cost that is not known yet.
pub(super) fn nothing(currency: &str) -> Cost {
    Cost {
        status: AfterStatus::Pending,
        currency: currency.to_owned(),
        total_micros: 0,
        stt_micros: 0,
        llm_micros: 0,
        tts_micros: 0,
        telephony_micros: 0,
    }
}

/// Whether a text can be an ISO 4217 code.
pub fn is_currency(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|octet| octet.is_ascii_uppercase())
}

fn check(price: &Price) -> Result<(), (&'static str, String)> {
    let unit_fits = match price.kind {
        UsageKind::Stt => price.unit == UsageUnit::Second,
        UsageKind::Llm => matches!(
            price.unit,
            UsageUnit::TokenIn
                | UsageUnit::TokenOut
                | UsageUnit::AudioTokenIn
                | UsageUnit::AudioTokenOut
        ),
        UsageKind::Tts => price.unit == UsageUnit::Character,
        UsageKind::Telephony => price.unit == UsageUnit::Minute,
    };
    if !unit_fits {
        let message = "`stt` is counted in `second`, `llm` in `token_in` and `token_out` (and `audio_` before them, of models that hear and speak), `tts` in `character`, \
            `telephony` in `minute`; write the price of a minute of speech with `per = 60`";
        return Err(("unit", message.to_owned()));
    }
    if price.price_micros > PRICE_MICROS_MAX {
        return Err(("price_micros", format!("a price is at most {PRICE_MICROS_MAX} micros")));
    }
    if !(1..=PER_MAX).contains(&price.per) {
        return Err(("per", format!("a price is for 1 to {PER_MAX} units")));
    }
    let fits = |text: &str| !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX;
    if !fits(&price.provider) {
        return Err(("provider", format!("a name has 1 to {NAME_CHARS_MAX} characters")));
    }
    if !price.model.as_deref().is_none_or(fits) {
        return Err(("model", format!("a name has 1 to {NAME_CHARS_MAX} characters")));
    }
    if !price.prefix.as_deref().is_none_or(fits) {
        return Err(("prefix", format!("a prefix has 1 to {NAME_CHARS_MAX} characters")));
    }
    if price.prefix.is_some() && price.kind != UsageKind::Telephony {
        return Err(("prefix", "only telephony has destinations".to_owned()));
    }
    Ok(())
}

/// Quantity times price, rounded half up. Times are counted in milliseconds, so that nothing is lost.
fn amount(row: &Usage, price: &Price) -> u64 {
    let parts: u32 = match row.unit {
        UsageUnit::Second => 1_000,
        UsageUnit::Minute => 60_000,
        UsageUnit::TokenIn
        | UsageUnit::TokenOut
        | UsageUnit::AudioTokenIn
        | UsageUnit::AudioTokenOut
        | UsageUnit::Character => 1,
    };
    // A quantity is finite and not negative; beyond 2^64 parts it saturates.
    let count = (row.quantity * f64::from(parts)).round() as u64;
    let divisor = u128::from(parts) * u128::from(price.per.max(1));
    let total = u128::from(count) * u128::from(price.price_micros);
    u64::try_from((total + divisor / 2) / divisor).unwrap_or(u64::MAX)
}
