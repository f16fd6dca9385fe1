//! A million calls in SQLite: how long lists take, by what plan, and in how much memory.
//!
//! `cargo bench --bench lists` fills a database under `target/lists` once (a few minutes) and keeps it; it fails when
//! a list takes 50 ms or more at the 95th percentile, or a plan scans a table. `LISTS_CALLS` sets another number.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench fails by panicking, prints its results and reads the clock"
)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use trunkline::store::{Order, Query, Slice, Start, StatusFilter, Store, Write};
use trunkline::types::{
    AgentId, CallId, CallRecord, Direction, EndReason, Entropy, Pii, TrunkName,
};

const CALLS: u64 = 1_000_000;
const BATCH: u64 = 2_000;
const ROUNDS: usize = 100;
const LIMIT: Duration = Duration::from_millis(50);

/// A call a second, on 20 agents and 4 trunks; one in 5 failed, one in 500 was busy.
fn record(n: u64) -> CallRecord {
    let at = jiff::Timestamp::from_second(1_700_000_000 + n as i64).unwrap();
    let direction = if n.is_multiple_of(2) { Direction::Inbound } else { Direction::Outbound };
    let id = CallId::new(1_700_000_000_000 + n * 1_000, &mut Entropy::seeded(n));
    let mut record = CallRecord::new(id, direction, at);
    // Spread over the whole range, as numbers are.
    record.from_number = format!("+4930{:08}", n.wrapping_mul(2_654_435_761) % 100_000_000).into();
    record.to_number = format!("+1555{:07}", n % 1_000).into();
    record.agent_id = Some(AgentId(format!("agent-{}", n % 20)));
    record.trunk = Some(TrunkName(format!("trunk-{}", n % 4)));
    record.prompt = Some(Pii::new("You answer the telephone of a restaurant. ".repeat(10)));
    record.metadata = serde_json::json!({"order": n, "tier": n % 3});
    record.started_at = Some(at);
    record.answered_at = Some(at);
    let reason = match n {
        n if n.is_multiple_of(500) => EndReason::Busy,
        n if n.is_multiple_of(5) => EndReason::NetworkError,
        _ => EndReason::UserHangup,
    };
    if reason == EndReason::Busy {
        record.answered_at = None;
    }
    record.finish(reason, at + jiff::SignedDuration::from_secs(60));
    record.duration_ms = Some(n % 600_000);
    record
}

fn memory_kb(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).unwrap_or(0)
}

async fn filled(calls: u64) -> Store {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("target/lists/{calls}.db"));
    let store = Store::open(&path).await.unwrap();
    let page = trunkline::store::PageRequest::new(None, Some(1)).unwrap();
    let have = store.list(&Query::default(), page).await.unwrap().total;
    let begun = Instant::now();
    for start in (have..calls).step_by(BATCH as usize) {
        let end = calls.min(start + BATCH);
        let batch: Vec<Write> = (start..end).map(|n| Write::Put(Box::new(record(n)))).collect();
        store.apply(&batch).await.unwrap();
    }
    if have < calls {
        println!("filled {} calls in {:.0?}", calls - have, begun.elapsed());
    }
    store
}

fn queries() -> Vec<(&'static str, Query, Option<Order>)> {
    let base = Query::default;
    let status = |word| vec![StatusFilter::parse(word).unwrap()];
    vec![
        ("first page", base(), None),
        ("first page, oldest first", base(), Some(Order::OldestFirst)),
        ("inbound", Query { direction: Some(Direction::Inbound), ..base() }, None),
        ("status=failed", Query { status: status("failed"), ..base() }, None),
        ("status=busy (1 in 500)", Query { status: status("busy"), ..base() }, None),
        (
            "agent and status",
            Query { agent_id: Some(AgentId("agent-5".into())), status: status("failed"), ..base() },
            None,
        ),
        (
            "one day",
            Query {
                started_after: jiff::Timestamp::from_second(1_700_300_000).ok(),
                started_before: jiff::Timestamp::from_second(1_700_386_400).ok(),
                ..base()
            },
            None,
        ),
        ("search, 8 digits", Query { search: Some("30123456".into()), ..base() }, None),
        ("search, 4 digits", Query { search: Some("1234".into()), ..base() }, None),
        ("search, in every number", Query { search: Some("1555".into()), ..base() }, None),
        (
            "metadata.order=777777",
            Query { metadata: vec![("order".into(), "777777".into())], ..base() },
            None,
        ),
        ("metadata.tier=1", Query { metadata: vec![("tier".into(), "1".into())], ..base() }, None),
    ]
}

async fn measure(store: &Store, name: &str, query: &Query, slice: Slice) -> Duration {
    let plan = store.explain(query, &slice).await.unwrap();
    for scan in ["SCAN calls", "SCAN call_digits", "SCAN m", "SCAN call_metadata"] {
        let scans = |line: &&String| {
            line.as_str() == scan
                || line.starts_with(&format!("{scan} ")) && !line.contains("INDEX")
        };
        assert!(!plan.iter().any(|line| scans(&line)), "{name}: {plan:?}");
    }
    let mut times = Vec::new();
    let mut found = None;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        found = Some(store.slice(query, &slice).await.unwrap());
        times.push(begun.elapsed());
    }
    times.sort();
    let found = found.unwrap();
    let (p50, p95) = (times[ROUNDS / 2], times[ROUNDS * 95 / 100]);
    println!(
        "{name:32} p50 {:7.2} ms  p95 {:7.2} ms  rows {:3}  total {}{}",
        p50.as_secs_f64() * 1e3,
        p95.as_secs_f64() * 1e3,
        found.items.len(),
        found.total,
        if found.total_exact { "" } else { "+" },
    );
    p95
}

fn main() {
    let calls = std::env::var("LISTS_CALLS").ok().and_then(|n| n.parse().ok()).unwrap_or(CALLS);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = filled(calls).await;
        let before = memory_kb("VmRSS");
        let mut slow = Vec::new();
        for (name, query, order) in queries() {
            let order = order.unwrap_or_default();
            let slice = Slice { start: Start::Offset(0), size: 20, order };
            let p95 = measure(&store, name, &query, slice).await;
            if p95 >= LIMIT {
                slow.push(name);
            }
        }
        // The place of a call in the middle: nine tenths of the way is as far for an index.
        let slice = Slice { start: Start::Offset(0), size: 1, order: Order::NewestFirst };
        let deep = Query {
            started_before: jiff::Timestamp::from_second(1_700_000_000 + calls as i64 / 10).ok(),
            ..Query::default()
        };
        let place = store.slice(&deep, &slice).await.unwrap().next.unwrap();
        let slice = Slice { start: Start::After(place), size: 20, order: Order::NewestFirst };
        for (name, query) in [
            ("deep cursor", Query::default()),
            (
                "deep cursor, outbound",
                Query { direction: Some(Direction::Outbound), ..Query::default() },
            ),
        ] {
            if measure(&store, name, &query, slice).await >= LIMIT {
                slow.push(name);
            }
        }
        let after = memory_kb("VmRSS");
        println!(
            "resident: {before} kB before, {after} kB after, {} kB at most",
            memory_kb("VmHWM")
        );
        store.close().await;
        assert!(slow.is_empty(), "too slow: {slow:?}");
    });
}
