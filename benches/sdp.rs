//! SDP: offers as real peers make them, read, answered, and an answer taken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use trunkline::sdp::{self, Direction, Local, Session};
use trunkline::types::Entropy;

fn negotiate(c: &mut Criterion) {
    let local = || Local::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000)));
    let mut group = c.benchmark_group("sdp");
    for peer in ["asterisk", "twilio", "linphone"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/sdp/{peer}.sdp"));
        let offer = std::fs::read(&file).unwrap();
        group.bench_function(BenchmarkId::new("parse", peer), |b| {
            b.iter(|| sdp::parse(black_box(&offer)).unwrap());
        });
        group.bench_function(BenchmarkId::new("answer", peer), |b| {
            let mut entropy = Entropy::seeded(1);
            b.iter(|| {
                let mut session = Session::new(local(), &mut entropy);
                session.answer(black_box(&offer), Direction::SendRecv).unwrap()
            });
        });
    }
    let mut entropy = Entropy::seeded(1);
    let offer = Session::new(local(), &mut entropy).offer(Direction::SendRecv);
    let answered =
        Session::new(local(), &mut entropy).answer(offer.as_bytes(), Direction::SendRecv);
    let answer = answered.unwrap().body;
    group.bench_function("offer and take the answer", |b| {
        b.iter(|| {
            let mut session = Session::new(local(), &mut entropy);
            session.offer(Direction::SendRecv);
            session.accept_answer(black_box(answer.as_bytes())).unwrap()
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2));
    targets = negotiate
}
criterion_main!(benches);
