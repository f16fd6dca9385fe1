use super::meter::{self, Service};
use super::*;
use crate::schema::usage::{Price, PriceTable};
use crate::store::{Resource, Store, Write};
use crate::types::*;

fn at(text: &str) -> jiff::Timestamp {
    text.parse().unwrap()
}

fn price(kind: UsageKind, provider: &str, unit: UsageUnit, micros: u64, per: u64) -> Price {
    Price {
        kind,
        provider: provider.to_owned(),
        model: None,
        unit,
        prefix: None,
        price_micros: micros,
        per,
    }
}

fn table() -> Prices {
    let minute = |provider: &str, prefix: Option<&str>, micros| Price {
        prefix: prefix.map(str::to_owned),
        ..price(UsageKind::Telephony, provider, UsageUnit::Minute, micros, 1)
    };
    let items = vec![
        minute("*", None, 60_000),
        minute("carrier", None, 30_000),
        minute("carrier", Some("+49"), 6_000),
        minute("carrier", Some("+4930"), 12_000),
        price(UsageKind::Stt, "deepgram", UsageUnit::Second, 4_300, 60),
        price(UsageKind::Llm, "openai", UsageUnit::TokenIn, 150_000, 1_000_000),
        Price {
            model: Some("big".to_owned()),
            ..price(UsageKind::Llm, "openai", UsageUnit::TokenIn, 2_500_000, 1_000_000)
        },
        price(UsageKind::Llm, "openai", UsageUnit::TokenOut, 600_000, 1_000_000),
        price(UsageKind::Tts, "*", UsageUnit::Character, 15, 1),
    ];
    Prices::new("USD", items).unwrap()
}

/// Seed 000's example: rings 4 s, talks 34 s.
fn call(n: u64, trunk: &str, to: &str) -> CallRecord {
    let id = CallId::new(1_793_000_000_000 + n, &mut Entropy::seeded(n));
    let created = at("2026-11-21T10:00:00Z");
    let mut record = CallRecord::new(id, Direction::Outbound, created);
    record.trunk = Some(TrunkName(trunk.to_owned()));
    record.to_number = to.to_owned().into();
    record.started_at = Some(created);
    record.answered_at = Some(at("2026-11-21T10:00:04Z"));
    record.finish(EndReason::UserHangup, at("2026-11-21T10:00:38Z"));
    record.duration_ms = Some(38_000);
    record.talk_ms = Some(33_100);
    record
}

fn used(record: &mut CallRecord, kind: UsageKind, provider: &str, unit: UsageUnit, quantity: f64) {
    let service = Service { kind, provider, model: None };
    meter::add(&mut record.usage, service, unit, quantity);
}

/// The minutes of who came are rows of a leg.
#[test]
fn a_party_that_left_by_refer_is_billed_until_then() {
    let mut record = call(1, "t", "+15550100");
    record.first_talk_ms = Some(9_200);
    meter::add_leg(
        &mut record.usage,
        &TrunkName("t".to_owned()),
        &"+15550101".to_owned().into(),
        std::time::Duration::from_millis(23_900),
    );
    Accounts::default().close(&mut record);
    let minutes: Vec<_> =
        record.usage.iter().map(|row| (row.destination.is_some(), row.quantity)).collect();
    assert_eq!(minutes, [(true, 24.0 / 60.0), (false, 10.0 / 60.0)]);
}

#[test]
fn a_request_without_a_count_is_estimated_and_one_with_a_count_is_not() {
    let mut tokens = Tokens::default();
    tokens.answered(1_000);
    assert_eq!(tokens.total(), (0, 0), "no request, no tokens");
    tokens.asked(9);
    assert_eq!(tokens.total(), (3, 0));
    tokens.answered(5);
    assert_eq!(tokens.total(), (3, 2));
    tokens.asked(400);
    tokens.answered(40);
    tokens.reported(77, 7);
    assert_eq!(tokens.total(), (80, 9), "the reported count takes the place of the estimate");
    let mut usage = Vec::new();
    tokens.add_to(&mut usage, "openai", Some("m"));
    tokens.add_to(&mut usage, "openai", Some("m"));
    let rows: Vec<_> = usage.iter().map(|row| (row.unit, row.quantity)).collect();
    assert_eq!(rows, [(UsageUnit::TokenIn, 160.0), (UsageUnit::TokenOut, 18.0)]);
}

#[test]
fn what_was_not_used_is_no_row() {
    let mut usage = Vec::new();
    let service = Service { kind: UsageKind::Stt, provider: "x", model: None };
    for quantity in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        meter::add(&mut usage, service, UsageUnit::Second, quantity);
    }
    assert!(usage.is_empty());
}

/// Trap 1: the minutes that cost are those between answer and end (34 s), not those since the ringing (38 s).
// covers: S0-22..S0-24 E2-01
#[test]
fn ringing_costs_nothing() {
    let accounts = Accounts::new(Some(table()), BudgetConfig::default());
    let mut record = call(1, "other", "+15550100");
    accounts.close(&mut record);
    let minutes = record.usage.iter().find(|row| row.kind == UsageKind::Telephony).unwrap();
    assert!((minutes.quantity * 60.0 - 34.0).abs() < 1e-9, "{}", minutes.quantity);
    assert_eq!(record.cost.as_ref().unwrap().telephony_micros, 34_000, "34 of 60 s at 60,000");
    let shown = crate::schema::Call::from(&record);
    assert_eq!((shown.duration_seconds, shown.billed_duration_seconds), (Some(38), Some(34)));
    // Closing again, as after more was used, adds nothing twice.
    accounts.close(&mut record);
    assert_eq!(record.cost.as_ref().unwrap().total_micros, 34_000);
    let mut unanswered = call(2, "other", "+15550100");
    (unanswered.talk_ms, unanswered.answered_at) = (None, None);
    accounts.close(&mut unanswered);
    assert_eq!(unanswered.cost.unwrap().total_micros, 0);
}

/// Second legs cost what their own trunk and destination cost, and closing the call again changes nothing.
#[test]
fn second_legs_cost_by_trunk_and_destination() {
    use std::time::Duration;
    let accounts = Accounts::new(Some(table()), BudgetConfig::default());
    let trunk = TrunkName("carrier".to_owned());
    let mut record = call(1, "other", "+15550100");
    let mut leg = |to: &str, ms| {
        let to = Pii::new(to.to_owned());
        meter::add_leg(&mut record.usage, &trunk, &to, Duration::from_millis(ms));
        accounts.leg_micros(&record.organization_id, &trunk, &to, Duration::from_millis(ms))
    };
    assert_eq!(leg("+493012345", 29_001), 6_000, "30 s at 12,000 a minute");
    assert_eq!(leg("+493012345", 30_000), 6_000);
    assert_eq!(leg("+15550199", 60_000), 30_000);
    assert_eq!(leg("+15550198", 0), 0, "nobody picked up");
    for _ in 0..2 {
        accounts.close(&mut record);
        assert_eq!(record.cost.as_ref().unwrap().telephony_micros, 34_000 + 12_000 + 30_000);
        assert_eq!(record.usage.len(), 3, "{:?}", record.usage);
    }
}

#[test]
fn the_price_that_says_most_counts() {
    let rows = [
        ("carrier", "+493012345", 12_000),
        ("carrier", "+4989123", 6_000),
        ("carrier", "+15550100", 30_000),
        ("another", "+493012345", 60_000),
    ];
    for (trunk, to, minute) in rows {
        let mut record = call(1, trunk, to);
        record.talk_ms = Some(60_000);
        let accounts = Accounts::new(Some(table()), BudgetConfig::default());
        accounts.close(&mut record);
        assert_eq!(record.cost.unwrap().total_micros, minute, "{trunk} {to}");
    }
    let mut record = call(1, "carrier", "+1");
    record.talk_ms = None;
    used(&mut record, UsageKind::Llm, "openai", UsageUnit::TokenIn, 1_000.0);
    record.usage[0].model = Some("big".to_owned());
    used(&mut record, UsageKind::Llm, "openai", UsageUnit::TokenIn, 1_000.0);
    record.usage[1].model = Some("small".to_owned());
    used(&mut record, UsageKind::Llm, "unpriced", UsageUnit::TokenIn, 1_000.0);
    let cost = table().apply(&mut record);
    let amounts: Vec<_> = record.usage.iter().map(|row| row.amount_micros).collect();
    assert_eq!(amounts, [Some(2_500), Some(150), None]);
    assert_eq!((cost.llm_micros, cost.total_micros), (2_650, 2_650));
}

#[test]
fn amounts_are_rounded_half_up() {
    let rows = [
        (UsageUnit::Second, 30.0, 1, 60, 1),
        (UsageUnit::Second, 29.9, 1, 60, 0),
        (UsageUnit::Second, 90.0, 1, 60, 2),
        (UsageUnit::TokenIn, 3.0, 500_000, 1_000_000, 2),
        (UsageUnit::TokenIn, 1e30, u64::MAX, 1, u64::MAX),
    ];
    for (unit, quantity, micros, per, expected) in rows {
        let kind = if unit == UsageUnit::Second { UsageKind::Stt } else { UsageKind::Llm };
        let micros = micros.min(price::PRICE_MICROS_MAX);
        let prices = Prices::new("EUR", vec![price(kind, "*", unit, micros, per)]).unwrap();
        let mut record = call(1, "x", "+1");
        used(&mut record, kind, "any", unit, quantity);
        assert_eq!(prices.apply(&mut record).total_micros, expected, "{unit:?} {quantity}");
    }
}

#[test]
fn senseless_prices_are_refused_by_field() {
    let good = || price(UsageKind::Llm, "openai", UsageUnit::TokenIn, 1, 1);
    let rows: [(Price, &str); 7] = [
        (Price { unit: UsageUnit::Minute, ..good() }, "items[1].unit"),
        (Price { per: 0, ..good() }, "items[1].per"),
        (Price { price_micros: u64::MAX, ..good() }, "items[1].price_micros"),
        (Price { provider: String::new(), ..good() }, "items[1].provider"),
        (Price { model: Some(String::new()), ..good() }, "items[1].model"),
        (Price { prefix: Some("+49".into()), ..good() }, "items[1].prefix"),
        (Price { provider: "x".repeat(129), ..good() }, "items[1].provider"),
    ];
    for (wrong, field) in rows {
        assert_eq!(Prices::new("USD", vec![good(), wrong]).unwrap_err().field, field);
    }
    for currency in ["", "usd", "DOLLAR", "U$D"] {
        assert_eq!(Prices::new(currency, vec![good()]).unwrap_err().field, "currency");
    }
    assert_eq!(Prices::new("USD", vec![good(); price::PRICES_MAX + 1]).unwrap_err().field, "items");
}

#[test]
fn without_a_table_there_is_no_cost() {
    let accounts = Accounts::default();
    let mut record = call(1, "carrier", "+1");
    accounts.open(&mut record);
    accounts.close(&mut record);
    assert_eq!(record.cost, None);
    assert_eq!(record.reservation, ReservationStatus::None);
    assert_eq!(record.usage.len(), 1, "what was used is known all the same");
}

fn guard(limit: u64, hold: u64) -> Accounts {
    let budget = BudgetConfig {
        monthly_limit_micros: limit,
        currency: "USD".to_owned(),
        per_call_hold_micros: hold,
    };
    Accounts::new(Some(table()), budget)
}

// covers: S0-25
#[test]
fn a_hold_is_reserved_and_settled_or_released() {
    let accounts = guard(100_000, 40_000);
    let ours = OrganizationId::default();
    let now = at("2026-11-21T10:00:00Z");
    let mut calls: Vec<_> = (1..=3).map(|n| call(n, "other", "+1555")).collect();
    for record in calls.iter_mut().take(2) {
        record.reservation = accounts.reserve(&ours, record.id, now).unwrap();
        assert_eq!(record.reservation, ReservationStatus::Reserved);
    }
    assert_eq!(accounts.reserve(&ours, calls[2].id, now), Err(BudgetExceeded), "80,000 are held");
    let other = OrganizationId::new("b".to_owned());
    assert!(accounts.reserve(&other, calls[2].id, now).is_ok(), "another's budget is its own");
    accounts.release(calls[2].id);

    accounts.close(&mut calls[0]);
    assert_eq!(calls[0].reservation, ReservationStatus::Settled);
    let standing = accounts.standing(&ours, now).unwrap();
    assert_eq!((standing.spent_micros, standing.held_micros), (34_000, 40_000));
    assert_eq!(accounts.reserve(&ours, calls[2].id, now), Err(BudgetExceeded), "74,000 and 40,000");

    (calls[1].answered_at, calls[1].talk_ms) = (None, None);
    accounts.close(&mut calls[1]);
    assert_eq!(calls[1].reservation, ReservationStatus::Released);
    assert!(accounts.reserve(&ours, calls[2].id, now).is_ok(), "34,000 and 40,000");
    let next_month = at("2026-12-01T00:00:00Z");
    assert_eq!(accounts.standing(&ours, next_month).unwrap().spent_micros, 0, "a new month");
    assert_eq!(accounts.standing(&ours, at("2026-11-30T23:59:59Z")).unwrap().spent_micros, 34_000);
}

#[test]
fn a_limit_without_a_hold_still_ends() {
    let accounts = guard(34_000, 0);
    let ours = OrganizationId::default();
    let now = at("2026-11-21T10:00:00Z");
    let mut record = call(1, "other", "+1555");
    record.reservation = accounts.reserve(&ours, record.id, now).unwrap();
    accounts.close(&mut record);
    assert_eq!(accounts.reserve(&ours, record.id, now), Err(BudgetExceeded));
    accounts.set_budget(&ours, Some(BudgetConfig::default()));
    assert_eq!(accounts.reserve(&ours, record.id, now), Ok(ReservationStatus::None), "no limit");
}

#[tokio::test]
async fn what_was_spent_survives_a_restart() {
    let store = Store::in_memory().await.unwrap();
    let ours = OrganizationId::default();
    let now = at("2026-11-21T12:00:00Z");
    let before = guard(100_000, 1);
    let mut total = 0;
    for n in 1..=2 {
        let mut record = call(n, "other", "+1555");
        record.status = CallStatus::Completed;
        used(&mut record, UsageKind::Tts, "voice", UsageUnit::Character, 10.0);
        before.close(&mut record);
        total += record.cost.as_ref().unwrap().total_micros;
        store.apply(&[Write::Finish(Box::new(record.clone()))]).await.unwrap();
        // Something more was used afterwards, and the record is written again: the sums follow, not double.
        used(&mut record, UsageKind::Tts, "voice", UsageUnit::Character, 100.0);
        before.price(&mut record);
        total += 1_500;
        store.apply(&[Write::Settle(Box::new(record))]).await.unwrap();
    }
    let mut long_ago = call(9, "other", "+1555");
    long_ago.ended_at = Some(at("2026-10-31T23:59:59Z"));
    before.close(&mut long_ago);
    store.apply(&[Write::Finish(Box::new(long_ago))]).await.unwrap();

    let after = guard(100_000, 1);
    after.load_spent(&store, now).await.unwrap();
    for accounts in [&before, &after] {
        assert_eq!(accounts.standing(&ours, now).unwrap().spent_micros, total);
    }
}

/// A crash between the dial and the end: the hold of a call that was never answered is given back with its record.
#[tokio::test]
async fn a_crash_gives_back_what_was_held() {
    use crate::store::recording::Recordings;
    use crate::store::recover::recover_with;
    let dir = tempfile::tempdir().unwrap();
    let recordings = Recordings::open(dir.path()).unwrap();
    let store = Store::in_memory().await.unwrap();
    let now = at("2026-11-21T10:00:00Z");
    let ours = OrganizationId::default();
    let before = guard(100_000, 60_000);
    let id = |n| CallId::new(1_793_000_000_000 + n, &mut Entropy::seeded(n));
    let mut ringing = CallRecord::new(id(1), Direction::Outbound, now);
    ringing.reservation = before.reserve(&ours, ringing.id, now).unwrap();
    let mut talking = CallRecord::new(id(2), Direction::Outbound, now);
    talking.trunk = Some(TrunkName("other".to_owned()));
    talking.reservation = ReservationStatus::Reserved;
    talking.status = CallStatus::InProgress;
    (talking.started_at, talking.answered_at) = (Some(now), Some(now));
    talking.updated_at = at("2026-11-21T10:00:30Z");
    let writes = [ringing.clone(), talking.clone()].map(|record| Write::Put(Box::new(record)));
    store.apply(&writes).await.unwrap();

    let after = guard(100_000, 60_000);
    let restart = at("2026-11-21T11:00:00Z");
    recover_with(&store, &recordings, restart, |record| after.close(record)).await.unwrap();
    after.load_spent(&store, restart).await.unwrap();
    let status = async |id| store.get(id).await.unwrap().unwrap().reservation;
    assert_eq!(status(ringing.id).await, ReservationStatus::Released);
    assert_eq!(status(talking.id).await, ReservationStatus::Settled);
    let standing = after.standing(&ours, restart).unwrap();
    assert_eq!(
        (standing.spent_micros, standing.held_micros),
        (30_000, 0),
        "30 s at 60,000 a minute"
    );
}

#[test]
fn a_table_that_is_taken_away_takes_no_cost_away() {
    let accounts = Accounts::default();
    let ours = OrganizationId::default();
    accounts.set_prices(&ours, Some(table()));
    let mut record = call(1, "other", "+1555");
    accounts.open(&mut record);
    assert_eq!(record.cost.as_ref().unwrap().status, AfterStatus::Pending);
    accounts.close(&mut record);
    accounts.set_prices(&ours, None);
    accounts.price(&mut record);
    assert_eq!(record.cost.unwrap().total_micros, 34_000);
    let mut late = call(2, "other", "+1555");
    late.cost = Some(price::nothing("USD"));
    accounts.close(&mut late);
    assert_eq!(late.cost, None, "what can't be calculated does not stay pending");
}

#[tokio::test]
async fn own_budgets_survive_a_restart() {
    let store = Store::in_memory().await.unwrap();
    let tenant = OrganizationId::new("tenant".to_owned());
    let now = at("2026-11-21T12:00:00Z");
    let row = |id: &OrganizationId, doc| Resource {
        kind: crate::schema::organization::ORGANIZATION_KIND,
        id: id.to_string(),
        organization_id: id.clone(),
        unique_key: None,
        version: 1,
        archived: false,
        created_at: now,
        updated_at: now,
        doc,
        sealed: None,
    };
    let budget =
        serde_json::json!({"monthly_limit_micros": 50, "currency": "EUR", "per_call_hold": 60});
    let doc = serde_json::json!({"name": "Tenant", "budget": budget});
    store.insert_resource(&row(&tenant, doc)).await.unwrap();
    let other = OrganizationId::new("other".to_owned());
    store.insert_resource(&row(&other, serde_json::json!({"name": "Other"}))).await.unwrap();
    let accounts = guard(0, 0);
    accounts.load_budgets(&store).await.unwrap();
    let standing = accounts.standing(&tenant, now).unwrap();
    assert_eq!(
        (standing.budget.monthly_limit_micros, standing.budget.currency.as_str()),
        (50, "EUR")
    );
    let id = CallId::new(1_793_000_000_000, &mut Entropy::seeded(1));
    assert_eq!(accounts.reserve(&tenant, id, now), Err(BudgetExceeded), "60 do not fit in 50");
    assert!(accounts.standing(&other, now).is_none());
}

#[tokio::test]
async fn own_prices_take_the_place_of_the_configured_ones() {
    let store = Store::in_memory().await.unwrap();
    let ours = OrganizationId::default();
    let doc = PriceTable {
        currency: Some("EUR".into()),
        items: vec![price(UsageKind::Telephony, "*", UsageUnit::Minute, 600, 1)],
        managed_by: Some("api".into()),
    };
    let now = at("2026-11-21T12:00:00Z");
    let row = Resource {
        kind: accounts::PRICES_KIND,
        id: ours.to_string(),
        organization_id: ours.clone(),
        unique_key: None,
        version: 1,
        archived: false,
        created_at: now,
        updated_at: now,
        doc: serde_json::to_value(doc).unwrap(),
        sealed: None,
    };
    store.insert_resource(&row).await.unwrap();
    let accounts = guard(0, 0);
    assert_eq!(accounts.prices(&ours).unwrap().currency(), "USD");
    accounts.load_prices(&store).await.unwrap();
    assert_eq!(accounts.prices(&ours).unwrap().currency(), "EUR");
    let mut record = call(1, "other", "+1555");
    accounts.close(&mut record);
    let cost = record.cost.unwrap();
    assert_eq!((cost.currency.as_str(), cost.total_micros), ("EUR", 340));
    accounts.set_prices(&ours, None);
    assert_eq!(accounts.prices(&ours).unwrap().currency(), "USD");
}
