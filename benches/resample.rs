//! Changing the rate of 20 ms of audio, for the pairs of rates that calls use.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use trunkline::audio::Resampler;
use trunkline::types::SampleRate;

fn resample(c: &mut Criterion) {
    let mut group = c.benchmark_group("resample_20_ms");
    for (from, to) in [
        // Line to recogniser and back; voices to the line; wideband to narrow.
        (SampleRate::HZ_8000, SampleRate::HZ_16000),
        (SampleRate::HZ_16000, SampleRate::HZ_8000),
        (SampleRate::HZ_24000, SampleRate::HZ_8000),
        (SampleRate::HZ_48000, SampleRate::HZ_16000),
    ] {
        let mut resampler = Resampler::new(from, to).unwrap();
        let tone = |n: usize| {
            let turns = n as f32 * 440.0 / from.hz() as f32;
            ((turns * std::f32::consts::TAU).sin() * 8_000.0) as i16
        };
        let block: Vec<i16> = (0..from.samples_in_ms(20)).map(tone).collect();
        let mut out = Vec::with_capacity(to.samples_in_ms(20) * 4);
        let name = format!("{} to {} kHz", from.hz() / 1_000, to.hz() / 1_000);
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                out.clear();
                resampler.push(black_box(&block), &mut out);
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2));
    targets = resample
}
criterion_main!(benches);
