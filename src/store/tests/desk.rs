//! Lists against a model, with cursors; and erasure against the raw files.

use super::*;
use crate::store::query::digits_of;
use crate::types::call::CallType;

fn made(n: u64) -> CallRecord {
    let reasons =
        [EndReason::UserHangup, EndReason::Busy, EndReason::NoAnswer, EndReason::NetworkError];
    // Several calls begin in the same second.
    let mut record = CallRecord::new(
        id(n),
        if n.is_multiple_of(3) { Direction::Inbound } else { Direction::Outbound },
        at((n / 4) as i64),
    );
    record.started_at = Some(at((n / 4) as i64));
    record.from_number = format!("+49301{:06}", n * 7_919 % 1_000_000).into();
    record.to_number = format!("+1555{:04}", n % 50).into();
    record.agent_id = Some(AgentId(format!("agent-{}", n % 3)));
    record.trunk = Some(TrunkName(format!("trunk-{}", n % 2)));
    record.is_test = n.is_multiple_of(11);
    record.call_type = if n.is_multiple_of(13) { CallType::WebCall } else { CallType::PhoneCall };
    record.metadata =
        serde_json::json!({"n": n % 5, "vip": n.is_multiple_of(7), "k": format!("v{}", n % 9)});
    if n.is_multiple_of(17) {
        record.organization_id = OrganizationId::new("other".to_owned());
    }
    if !n.is_multiple_of(10) {
        record.answered_at = n.is_multiple_of(4).then(|| at((n / 4) as i64));
        record.finish(reasons[(n % 4) as usize], at((n / 4) as i64 + 60));
        record.duration_ms = Some(n * 100);
    }
    record
}

fn queries() -> Vec<Query> {
    let status = |words: &[&str]| -> Vec<StatusFilter> {
        words.iter().map(|word| StatusFilter::parse(word).unwrap()).collect()
    };
    let base = Query::default;
    vec![
        base(),
        Query { organization_id: OrganizationId::new("other".into()), ..base() },
        Query { organization_id: OrganizationId::new("nobody".into()), ..base() },
        Query { direction: Some(Direction::Inbound), ..base() },
        Query { status: status(&["failed"]), ..base() },
        Query { status: status(&["busy", "queued", "no_answer"]), ..base() },
        Query { status: status(&["completed"]), direction: Some(Direction::Outbound), ..base() },
        Query {
            status: status(&["busy", "failed"]),
            agent_id: Some(AgentId("agent-1".into())),
            ..base()
        },
        Query {
            agent_id: Some(AgentId("agent-2".into())),
            trunk: Some(TrunkName("trunk-0".into())),
            ..base()
        },
        Query { answered_by: Some(AnsweredBy::Unknown), ..base() },
        Query { search: Some("1555".into()), ..base() },
        Query { search: Some("07".into()), ..base() },
        Query { search: Some("9301".into()), status: status(&["busy"]), ..base() },
        Query { search: Some("99999999".into()), ..base() },
        Query { started_after: Some(at(10)), started_before: Some(at(40)), ..base() },
        Query { started_after: Some(at(10)), status: status(&["busy", "failed"]), ..base() },
        Query { duration_min_ms: Some(5_000), duration_max_ms: Some(9_000), ..base() },
        Query { is_test: Some(true), ..base() },
        Query { is_test: Some(false), call_type: Some(CallType::WebCall), ..base() },
        Query { metadata: vec![("n".into(), "3".into())], ..base() },
        Query {
            metadata: vec![("vip".into(), "true".into()), ("k".into(), "v4".into())],
            ..base()
        },
        Query { metadata: vec![("k".into(), "v4".into())], status: status(&["busy"]), ..base() },
        Query { metadata: vec![("k".into(), "v4".into())], search: Some("1555".into()), ..base() },
    ]
}

fn place_of(record: &CallRecord) -> Place {
    let at = record.started_at.or(record.initiated_at).unwrap_or(record.created_at);
    Place { sort_us: at.as_microsecond(), id: record.id }
}

#[tokio::test]
async fn every_list_is_what_its_filters_say_in_both_orders_by_page_and_by_cursor() {
    let store = Store::in_memory().await.unwrap();
    let mut all: Vec<CallRecord> = (0..300).map(made).collect();
    for record in &all {
        put(&store, record.clone()).await;
    }
    // Changed records move in every index.
    for n in [10, 20, 30] {
        let record = &mut all[n];
        record.finish(EndReason::Busy, at(500));
        record.started_at = Some(at(200 + n as i64));
        record.from_number = "+4477007".to_owned().into();
        record.metadata = serde_json::json!({"n": 3});
        put(&store, record.clone()).await;
    }
    for query in queries() {
        for order in [Order::NewestFirst, Order::OldestFirst] {
            let mut wanted: Vec<_> = all.iter().filter(|record| query.matches(record)).collect();
            wanted.sort_by_key(|record| place_of(record));
            if order == Order::NewestFirst {
                wanted.reverse();
            }
            let wanted: Vec<CallId> = wanted.iter().map(|record| record.id).collect();
            let mut walked = Vec::new();
            let mut start = Start::Offset(0);
            loop {
                let page = store.slice(&query, &Slice { start, size: 7, order }).await.unwrap();
                assert_eq!(
                    (page.total, page.total_exact),
                    (wanted.len() as u64, true),
                    "{query:?}"
                );
                walked.extend(page.items.iter().map(|record| record.id));
                let Some(next) = page.next else { break };
                start = Start::After(next);
            }
            assert_eq!(walked, wanted, "{query:?} {order:?} by cursor");
            let slice = Slice { start: Start::Offset(7), size: 7, order };
            let page = store.slice(&query, &slice).await.unwrap();
            let ids: Vec<_> = page.items.iter().map(|record| record.id).collect();
            let second: Vec<_> = wanted.iter().skip(7).take(7).copied().collect();
            assert_eq!(ids, second, "{query:?} {order:?} by page");
        }
    }
}

#[tokio::test]
async fn a_cursor_is_stable_while_calls_arrive() {
    let store = Store::in_memory().await.unwrap();
    for n in 0..50 {
        put(&store, call(n)).await;
    }
    let slice = |start| Slice { start, size: 10, order: Order::NewestFirst };
    let first = store.slice(&Query::default(), &slice(Start::Offset(0))).await.unwrap();
    for n in 50..80 {
        put(&store, call(n)).await;
    }
    let after = Start::After(first.next.unwrap());
    let second = store.slice(&Query::default(), &slice(after)).await.unwrap();
    let ids: Vec<_> = second.items.iter().map(|record| record.id).collect();
    assert_eq!(ids, (30..40).rev().map(id).collect::<Vec<_>>());
}

#[tokio::test]
async fn no_list_scans_a_table_and_simple_ones_sort_nothing() {
    let store = Store::in_memory().await.unwrap();
    for n in 0..300 {
        put(&store, made(n)).await;
    }
    for query in queries() {
        let slice = Slice { start: Start::Offset(0), size: 20, order: Order::NewestFirst };
        let plan = store.explain(&query, &slice).await.unwrap().join("\n");
        for scan in ["SCAN calls", "SCAN call_digits", "SCAN m", "SCAN call_metadata"] {
            assert!(!plan.contains(scan), "{query:?}:\n{plan}");
        }
        let sorts = plan.contains("TEMP B-TREE FOR ORDER BY");
        let may = query.search.is_some()
            || query.status.len() > 1
            || query.status.iter().any(|s| s.outcome.is_some() || s.end_reason.is_some());
        assert!(!sorts || may, "{query:?}:\n{plan}");
    }
}

#[tokio::test]
async fn a_patch_outlasts_what_a_live_call_writes() {
    let store = Store::in_memory().await.unwrap();
    let mut record = call(1);
    record.metadata = serde_json::json!({"keep": 1, "drop": 2, "in": {"a": 1}});
    put(&store, record.clone()).await;
    let patch = serde_json::json!({"metadata": {"drop": null, "new": "x", "in": {"b": 2}}});
    store.patch_call(record.id, &patch, at(5)).await.unwrap().unwrap();
    let again = serde_json::json!({"metadata": {"new": null, "other": true}});
    let patched = store.patch_call(record.id, &again, at(6)).await.unwrap().unwrap();
    let wanted = serde_json::json!({"keep": 1, "in": {"a": 1, "b": 2}, "other": true});
    assert_eq!((&patched.metadata, patched.updated_at), (&wanted, at(6)));
    record.finish(EndReason::UserHangup, at(9));
    put(&store, record.clone()).await;
    let stored = store.get(record.id).await.unwrap().unwrap();
    assert_eq!((stored.metadata, stored.status), (wanted, CallStatus::Completed));
    let by = |key: &str, value: &str| Query {
        metadata: vec![(key.to_owned(), value.to_owned())],
        ..Query::default()
    };
    assert_eq!(store.list(&by("other", "true"), page(1, 5)).await.unwrap().total, 1);
    assert_eq!(store.list(&by("drop", "2"), page(1, 5)).await.unwrap().total, 0);
    assert!(store.patch_call(id(9), &patch, at(5)).await.unwrap().is_none());
}

const CANARY: &str = "canary-7f3a";

fn bytes_of(dir: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    files
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect()
}

fn holding(dir: &std::path::Path, needle: &str) -> Vec<String> {
    let holds = |bytes: &[u8]| bytes.windows(needle.len()).any(|part| part == needle.as_bytes());
    bytes_of(dir).into_iter().filter(|(_, bytes)| holds(bytes)).map(|(name, _)| name).collect()
}

#[tokio::test]
async fn no_byte_of_an_erased_call_is_left_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("calls.db")).await.unwrap();
    for n in 0..40 {
        put(&store, made(n)).await;
    }
    let hook = Resource {
        kind: "webhook_endpoint",
        id: "e1".into(),
        organization_id: OrganizationId::default(),
        unique_key: None,
        version: 1,
        archived: false,
        created_at: at(0),
        updated_at: at(0),
        doc: serde_json::json!({}),
        sealed: None,
    };
    store.insert_resource(&hook).await.unwrap();
    let mut record = call(100);
    record.from_number = "+49666777888999".to_owned().into();
    record.prompt = Some(format!("prompt {CANARY} ").repeat(400).into());
    record.metadata = serde_json::json!({"note": CANARY});
    put(&store, record.clone()).await;
    let mut said = turn(1);
    said.content = format!("I said {CANARY}").into();
    let heard = CallEventKind::TranscriptFinal { content: format!("heard {CANARY}").into() };
    let event = CallEvent { seq: 1, call_id: record.id, at: at(1), kind: heard };
    store
        .apply(&[
            Write::Turn(record.id, Box::new(said.clone())),
            Write::Event(Box::new(event.clone())),
        ])
        .await
        .unwrap();
    let organization = OrganizationId::default();
    store.claim_key(&organization, "key", "print", at(1)).await.unwrap();
    let answer = StoredAnswer {
        status: 202,
        location: None,
        body: Some(format!("{{\"note\": \"{CANARY}\"}}")),
        subject: Some(record.id.to_string()),
    };
    store.answer_key(&organization, "key", &answer).await.unwrap();
    store
        .patch_call(record.id, &serde_json::json!({"metadata": {"more": CANARY}}), at(2))
        .await
        .unwrap();
    record.finish(EndReason::UserHangup, at(200));
    put(&store, record.clone()).await;
    assert!(!holding(dir.path(), CANARY).is_empty(), "the canary was there");
    assert!(store.erase_call(record.id, at(300)).await.unwrap());
    assert_eq!(holding(dir.path(), CANARY), Vec::<String>::new());
    assert_eq!(holding(dir.path(), &digits_of("+49666777888999")), Vec::<String>::new());
    // It does not come back, and what is written late breaks nothing.
    put(&store, record.clone()).await;
    assert!(store.get(record.id).await.unwrap().is_none());
    let late = [Write::Settle(Box::new(record.clone()))];
    store.apply(&late).await.unwrap();
    let found = Query { search: Some("66677788".into()), ..Query::default() };
    assert_eq!(store.list(&found, page(1, 5)).await.unwrap().total, 0);
    assert_eq!(holding(dir.path(), CANARY), Vec::<String>::new());
    let replayed = store.claim_key(&organization, "key", "print", at(2)).await.unwrap();
    assert!(matches!(replayed, Claim::Answered { same: true, answer } if answer.body.is_none()));
    assert!(!store.erase_call(id(9_999), at(300)).await.unwrap(), "there was none");
    store.close().await;
}

#[tokio::test]
async fn a_key_is_claimed_once_and_forgotten_after_a_day() {
    let store = Store::in_memory().await.unwrap();
    let (ours, theirs) = (OrganizationId::default(), OrganizationId::new("other".into()));
    let claim = async |whose: &OrganizationId, print: &str, second: i64| {
        store.claim_key(whose, "k", print, at(second)).await.unwrap()
    };
    assert_eq!(claim(&ours, "a", 0).await, Claim::Mine);
    assert_eq!(claim(&ours, "a", 1).await, Claim::Running { same: true });
    assert_eq!(claim(&ours, "b", 1).await, Claim::Running { same: false });
    assert_eq!(claim(&theirs, "b", 1).await, Claim::Mine);
    store.free_key(&ours, "k").await.unwrap();
    assert_eq!(claim(&ours, "b", 2).await, Claim::Mine);
    let answer =
        StoredAnswer { status: 202, location: None, body: Some("{}".into()), subject: None };
    store.answer_key(&ours, "k", &answer).await.unwrap();
    assert_eq!(claim(&ours, "b", 3).await, Claim::Answered { same: true, answer });
    assert_eq!(claim(&ours, "b", 86_402 + 1).await, Claim::Mine);
}
