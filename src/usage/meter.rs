//! Counting: tokens that a model reports or that are estimated, and sums of everything.

use std::time::Duration;

use crate::types::{Pii, TrunkName, Usage, UsageKind, UsageUnit};

/// Characters of a token where no model says better: the rule of thumb for English.
const CHARS_PER_TOKEN: u64 = 4;
/// Destinations of second legs that one call keeps apart.
const LEGS_MAX: usize = 32;

/// Tokens of one model over several requests. A request that reports nothing (it was cut off, or its server does
/// not count) is estimated from its characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    done: (u64, u64),
    request: Option<Request>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    chars: (u64, u64),
    reported: Option<(u64, u64)>,
}

impl Request {
    fn tokens(self) -> (u64, u64) {
        let estimate = |chars: u64| chars.div_ceil(CHARS_PER_TOKEN);
        self.reported.unwrap_or((estimate(self.chars.0), estimate(self.chars.1)))
    }
}

impl Tokens {
    /// A request of so many characters left.
    pub fn asked(&mut self, chars: usize) {
        self.done = self.total();
        self.request = Some(Request { chars: (chars as u64, 0), reported: None });
    }

    /// So many characters of its reply came.
    pub fn answered(&mut self, chars: usize) {
        if let Some(request) = &mut self.request {
            request.chars.1 += chars as u64;
        }
    }

    /// The model says what the request took.
    pub fn reported(&mut self, tokens_in: u64, tokens_out: u64) {
        if let Some(request) = &mut self.request {
            request.reported = Some((tokens_in, tokens_out));
        }
    }

    /// Tokens in and out so far.
    pub fn total(&self) -> (u64, u64) {
        let request = self.request.map_or((0, 0), Request::tokens);
        (self.done.0.saturating_add(request.0), self.done.1.saturating_add(request.1))
    }

    /// Adds them to what was used.
    pub fn add_to(&self, usage: &mut Vec<Usage>, provider: &str, model: Option<&str>) {
        let (tokens_in, tokens_out) = self.total();
        let service = Service { kind: UsageKind::Llm, provider, model };
        add(usage, service, UsageUnit::TokenIn, tokens_in as f64);
        add(usage, service, UsageUnit::TokenOut, tokens_out as f64);
    }
}

/// Adds what somebody talked by a second leg, rounded up to a second as calls are.
pub fn add_leg(usage: &mut Vec<Usage>, trunk: &TrunkName, to: &Pii<String>, talk: Duration) {
    let seconds = talk.as_millis().div_ceil(1_000);
    let minutes = seconds as f64 / 60.0;
    let same = |row: &&mut Usage| {
        let to_same = row.destination.as_ref().is_some_and(|one| one.reveal() == to.reveal());
        row.kind == UsageKind::Telephony && row.provider == trunk.0 && to_same
    };
    if let Some(row) = usage.iter_mut().find(same) {
        row.quantity += minutes;
    } else if seconds > 0 && usage.len() < LEGS_MAX {
        let service = Service { kind: UsageKind::Telephony, provider: &trunk.0, model: None };
        let mut own = Vec::new();
        add(&mut own, service, UsageUnit::Minute, minutes);
        usage.extend(own.into_iter().map(|row| Usage { destination: Some(to.clone()), ..row }));
    }
}

/// What is used.
#[derive(Clone, Copy, Debug)]
pub struct Service<'a> {
    /// Which stage.
    pub kind: UsageKind,
    /// Provider or trunk.
    pub provider: &'a str,
    /// Model or voice.
    pub model: Option<&'a str>,
}

/// Adds a quantity to the row of its service, or a row. Nothing used is no row.
pub fn add(usage: &mut Vec<Usage>, service: Service<'_>, unit: UsageUnit, quantity: f64) {
    if !(quantity.is_finite() && quantity > 0.0) {
        return;
    }
    let same = |row: &&mut Usage| {
        row.kind == service.kind
            && row.unit == unit
            && row.provider == service.provider
            && row.model.as_deref() == service.model
            && row.destination.is_none()
    };
    if let Some(row) = usage.iter_mut().find(same) {
        row.quantity += quantity;
        return;
    }
    usage.push(Usage {
        kind: service.kind,
        provider: service.provider.to_owned(),
        model: service.model.map(str::to_owned),
        destination: None,
        quantity,
        unit,
        unit_price_micros: None,
        unit_price_per: 1,
        amount_micros: None,
    });
}
