//! The record of 10,000 calls: a page of the list, with filters, and what a call writes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use trunkline::store::Store;
use trunkline::store::{PageRequest, Query, StatusFilter, Write};
use trunkline::types::{CallId, CallRecord, Direction, EndReason, Entropy, Pii};

const RECORDS: u64 = 10_000;

fn record(n: u64) -> CallRecord {
    let at = jiff::Timestamp::from_second(1_800_000_000 + n as i64).unwrap();
    let direction = if n.is_multiple_of(2) { Direction::Inbound } else { Direction::Outbound };
    let id = CallId::new(1_800_000_000_000 + n * 1_000, &mut Entropy::seeded(n));
    let mut record = CallRecord::new(id, direction, at);
    record.from_number = format!("+4930{n:07}").into();
    record.to_number = "+15550001111".to_owned().into();
    record.prompt = Some(Pii::new("You answer the telephone of a restaurant. ".repeat(20)));
    record.started_at = Some(at);
    record.answered_at = Some(at);
    let reason = if n.is_multiple_of(5) { EndReason::NetworkError } else { EndReason::UserHangup };
    record.finish(reason, at + jiff::SignedDuration::from_secs(60));
    record
}

fn pages(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = runtime.block_on(async {
        let store = Store::open(&dir.path().join("calls.db")).await.unwrap();
        for start in (0..RECORDS).step_by(500) {
            let batch: Vec<Write> =
                (start..start + 500).map(|n| Write::Put(Box::new(record(n)))).collect();
            store.apply(&batch).await.unwrap();
        }
        store
    });
    let failed = StatusFilter::parse("failed").unwrap();
    let queries = [
        ("first page of 20", Query::default(), 1, RECORDS),
        ("page 400 of 20", Query::default(), 400, RECORDS),
        (
            "inbound",
            Query { direction: Some(Direction::Inbound), ..Query::default() },
            1,
            RECORDS / 2,
        ),
        ("failed", Query { status: vec![failed], ..Query::default() }, 1, RECORDS / 5),
        (
            "search by number",
            Query { search: Some("0004321".to_owned()), ..Query::default() },
            1,
            1,
        ),
    ];
    let mut group = c.benchmark_group("store_10k_list");
    for (name, query, number, total) in queries {
        let page = PageRequest::new(Some(number), Some(20)).unwrap();
        let found = runtime.block_on(store.list(&query, page)).unwrap();
        assert_eq!(found.total, total, "{name}");
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.to_async(&runtime).iter(|| async { store.list(&query, page).await.unwrap() });
        });
    }
    group.finish();
    let mut n = RECORDS;
    c.bench_function("store/finish one call, synced", |b| {
        b.iter(|| {
            n += 1;
            let write = [Write::Finish(Box::new(record(n)))];
            runtime.block_on(store.apply(&write)).unwrap();
        });
    });
    runtime.block_on(store.close());
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2));
    targets = pages
}
criterion_main!(benches);
