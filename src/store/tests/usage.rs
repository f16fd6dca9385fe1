use serde_json::json;

use super::{at, call, ended, id, turn};
use crate::store::recording::Recordings;
use crate::store::recover::{recover, recover_with};
use crate::store::usage::{UsageGrouping, UsageQuery, UsageSums};
use crate::store::{Resource, Store, Write};
use crate::types::*;

/// A call of 33.1 s that took speech and tokens; every third is unanswered.
fn used(n: u64) -> CallRecord {
    let mut record = ended(n, EndReason::UserHangup);
    record.agent_id = Some(AgentId(format!("agent-{}", n % 2)));
    if n.is_multiple_of(3) {
        return record;
    }
    record.talk_ms = Some(33_100);
    let row = |kind, provider: &str, unit, quantity, amount| Usage {
        kind,
        provider: provider.to_owned(),
        model: None,
        destination: None,
        quantity,
        unit,
        unit_price_micros: None,
        unit_price_per: 1,
        amount_micros: amount,
    };
    record.usage = vec![
        row(UsageKind::Stt, "ears", UsageUnit::Second, 33.0, Some(30)),
        row(UsageKind::Llm, "mind", UsageUnit::TokenIn, 60.0, Some(4)),
        // As a second leg has a row beside its call's own.
        row(UsageKind::Llm, "mind", UsageUnit::TokenIn, 40.0, Some(3)),
        row(UsageKind::Llm, "mind", UsageUnit::TokenOut, 10.0, None),
    ];
    record.cost = Some(Cost {
        status: AfterStatus::Completed,
        currency: "USD".to_owned(),
        total_micros: 37,
        stt_micros: 30,
        llm_micros: 7,
        tts_micros: 0,
        telephony_micros: 0,
    });
    record
}

fn query(grouping: UsageGrouping) -> UsageQuery {
    UsageQuery {
        organization_id: OrganizationId::default(),
        from: at(0),
        until: at(1_000),
        grouping,
        currency: Some("USD".to_owned()),
        limit: 10,
        offset: 0,
    }
}

fn sums(calls: u64, talk_seconds: u64, cost: Option<u64>) -> UsageSums {
    UsageSums { calls, talk_seconds, cost_micros: cost }
}

#[tokio::test]
async fn reports_sum_what_calls_used() {
    let store = Store::in_memory().await.unwrap();
    let mut writes: Vec<Write> = (1..=6).map(|n| Write::Finish(Box::new(used(n)))).collect();
    let mut foreign = used(7);
    foreign.organization_id = OrganizationId::new("another".to_owned());
    let mut early = used(8);
    early.ended_at = Some(at(-1));
    let mut other_money = used(10);
    other_money.cost.as_mut().unwrap().currency = "EUR".to_owned();
    writes.extend([foreign, early, other_money].map(|record| Write::Finish(Box::new(record))));
    // A call that is not over is no usage.
    writes.push(Write::Put(Box::new(call(11))));
    store.apply(&writes).await.unwrap();

    let page = store.usage(&query(UsageGrouping::Agent)).await.unwrap();
    assert_eq!(page.summary, sums(7, 34 * 5, Some(37 * 4)), "3 and 6 are unanswered, 10 in euros");
    let groups: Vec<_> = page.groups.iter().map(|g| (g.key.as_deref(), g.sums.clone())).collect();
    let expected = [
        (Some("agent-0"), sums(4, 34 * 3, Some(37 * 2))),
        (Some("agent-1"), sums(3, 34 * 2, Some(37 * 2))),
    ];
    assert_eq!(groups, expected);

    let page = store.usage(&query(UsageGrouping::Provider)).await.unwrap();
    let groups: Vec<_> = page.groups.iter().map(|g| (g.key.as_deref(), g.sums.clone())).collect();
    let expected =
        [(Some("ears"), sums(5, 34 * 5, Some(120))), (Some("mind"), sums(5, 34 * 5, Some(28)))];
    assert_eq!(groups, expected, "a call counts once in a group, however many rows it has there");
    let mind = &page.groups[1].quantities;
    let expected =
        [(UsageKind::Llm, UsageUnit::TokenIn, 500.0), (UsageKind::Llm, UsageUnit::TokenOut, 50.0)];
    assert_eq!(mind[..], expected);

    let page = store.usage(&query(UsageGrouping::Day)).await.unwrap();
    assert_eq!(page.groups.len(), 1);
    assert_eq!(page.groups[0].key.as_deref(), Some("2027-01-15"));
    let page = store
        .usage(&UsageQuery { limit: 1, offset: 1, ..query(UsageGrouping::Agent) })
        .await
        .unwrap();
    assert_eq!((page.total, page.groups.len()), (2, 1));
    assert_eq!(page.groups[0].key.as_deref(), Some("agent-1"));
    let spent = store.spent_since(at(0)).await.unwrap();
    assert_eq!(spent.len(), 3, "two organizations, one of them with two currencies: {spent:?}");
}

#[tokio::test]
async fn what_was_spent_outlives_the_call_but_not_its_number() {
    let store = Store::in_memory().await.unwrap();
    let record = used(1);
    store.apply(&[Write::Finish(Box::new(record.clone()))]).await.unwrap();
    let page = store.usage(&query(UsageGrouping::Number)).await.unwrap();
    assert_eq!(page.groups[0].key.as_deref(), Some("+49300000001"), "ours, of an outbound call");
    store.delete_call_for_test(record.id).await;
    let page = store.usage(&query(UsageGrouping::Number)).await.unwrap();
    assert_eq!((page.groups[0].key.as_deref(), page.summary), (None, sums(1, 34, Some(37))));
}

/// The limits of a day read who was dialled: outbound calls, and inbound ones with a second leg.
#[tokio::test]
async fn who_was_dialled_is_found_with_second_legs() {
    let store = Store::in_memory().await.unwrap();
    let mut with_leg = used(4);
    with_leg.usage[2].destination = Some("+4930777".to_owned().into());
    let records = [used(1), with_leg.clone(), used(8), used(11)];
    for record in &records {
        store.apply(&[Write::Finish(Box::new(record.clone()))]).await.unwrap();
    }
    let mut found = Vec::new();
    store.dialled_since(at(2), |record| found.push(record)).await.unwrap();
    found.sort_by_key(|record| record.created_at);
    assert_eq!(found, [with_leg, used(11)]);
}

fn wanting(n: u64) -> CallRecord {
    let mut record = call(n);
    record.returns = Some(json!({"ok": "boolean"}));
    record.result_status = Some(AfterStatus::Pending);
    record.summary_status = Some(AfterStatus::Pending);
    record.analysis_status = Some(AfterStatus::Skipped);
    record.after = Some(AfterPlan { llm: "x".into(), ..AfterPlan::default() });
    record
}

async fn listened(store: &Store) {
    let endpoint = Resource {
        kind: "webhook_endpoint",
        id: "e".into(),
        organization_id: OrganizationId::default(),
        unique_key: None,
        version: 1,
        archived: false,
        created_at: at(0),
        updated_at: at(0),
        doc: json!({}),
        sealed: None,
    };
    store.insert_resource(&endpoint).await.unwrap();
}

/// What a crash cut off is settled later if somebody said something, and told at once if nobody did.
#[tokio::test]
async fn a_crash_leaves_what_can_be_made_of_a_call() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = Recordings::open(dir.path()).unwrap();
    let store = Store::in_memory().await.unwrap();
    listened(&store).await;
    let (talked, silent) = (wanting(1), wanting(2));
    let writes = [
        Write::Put(Box::new(talked.clone())),
        Write::Put(Box::new(silent.clone())),
        Write::Turn(talked.id, Box::new(turn(0))),
    ];
    store.apply(&writes).await.unwrap();
    store.forget_outbox_for_test().await;
    let priced = |record: &mut CallRecord| record.error = None;
    recover_with(&store, &recordings, at(500), priced).await.unwrap();
    assert_eq!(store.calls_to_settle(10).await.unwrap(), [talked.id]);
    assert_eq!(store.calls_to_settle(0).await.unwrap(), []);
    let silent = store.get(silent.id).await.unwrap().unwrap();
    assert_eq!(silent.result_status, Some(AfterStatus::Skipped));
    assert_eq!(silent.summary_status, Some(AfterStatus::Skipped));
    assert_eq!(silent.error, None, "whoever closes the books sees the record before it is stored");
    let told = ["call.transcript.ready", "call.failed", "call.report"];
    assert_eq!(store.outbox_kinds_for_test().await, told);
    // A second start finds nothing to do.
    assert_eq!(recover(&store, &recordings, at(600)).await.unwrap().calls, 0);
    assert_eq!(store.outbox_kinds_for_test().await, told);
    let mut settled = store.get(id(1)).await.unwrap().unwrap();
    settled.result_status = Some(AfterStatus::Failed);
    settled.summary_status = Some(AfterStatus::Completed);
    store.apply(&[Write::Settle(Box::new(settled))]).await.unwrap();
    let all = store.outbox_kinds_for_test().await;
    assert_eq!(all[3..], ["call.failed", "call.report"]);
    assert!(store.calls_to_settle(10).await.unwrap().is_empty());
}
