//! One frame of 20 ms through one direction of a call's voice path, per codec, and its allocations.
//!
//! *In* is a packet parsed, decoded, listened to for keys and speech, handed to recognition and put
//! through the jitter buffer into the recording. *Out* is a frame of the agent (or silence) encoded,
//! sent and recorded. The clock is virtual: every iteration is 20 ms later than the last.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

#[path = "support/alloc.rs"]
mod alloc;
#[path = "support/line.rs"]
mod line;

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use alloc::Counting;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use line::{CALLER, FRAME, Packets, Sound, Wire, format};
use trunkline::audio::VadConfig;
use trunkline::audio::vad::NoiseSuppression;
use trunkline::media::{Inbound, Outbound};
use trunkline::net::clock;
use trunkline::types::{CodecName, Entropy};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Frames before anything is counted: buffers have their size, the detectors know the line.
const WARM_UP: usize = 500;
/// Frames that must not allocate.
const STEADY: usize = 1_000;

struct In {
    inbound: Inbound,
    packets: Packets,
    wire: Wire,
}

impl In {
    fn new(codec: CodecName, sound: Sound, noise_suppression: NoiseSuppression) -> Self {
        let now = clock::now();
        let vad = VadConfig { noise_suppression, ..VadConfig::default() };
        let mut inbound = Inbound::new(now, &vad).unwrap();
        inbound.configure(now, &format(codec), 1);
        Self { inbound, packets: Packets::new(codec, sound), wire: Wire::new(now, Sound::Quiet) }
    }

    fn frame(&mut self) {
        self.wire.now += FRAME;
        let (now, from) = (self.wire.now, SocketAddr::from(CALLER));
        black_box(self.inbound.handle(now, from, self.packets.next(), &mut self.wire));
        self.inbound.handle_timeout(now, &mut self.wire);
    }
}

struct Out {
    outbound: Outbound,
    wire: Wire,
}

impl Out {
    fn new(codec: CodecName, sound: Sound) -> Self {
        let now = clock::now();
        let mut outbound = Outbound::new(now, Duration::ZERO, &mut Entropy::seeded(1));
        outbound.configure(&format(codec));
        Self { outbound, wire: Wire::new(now, sound) }
    }

    fn frame(&mut self) {
        self.wire.now = self.outbound.next_wake();
        // Nobody answers a bench; packets to a silent peer would stop after 5 s.
        self.outbound.peer_heard();
        self.outbound.handle_timeout(self.wire.now, SocketAddr::from(CALLER), &mut self.wire);
    }
}

/// Warms up, then insists that frames cost no allocation and really went through.
fn steady<T>(line: &mut T, frame: fn(&mut T), passed: fn(&T) -> u64) {
    (0..WARM_UP).for_each(|_| frame(line));
    let (allocations, before) = (Counting::count(), passed(line));
    (0..STEADY).for_each(|_| frame(line));
    assert_eq!(Counting::count() - allocations, 0, "allocations in {STEADY} steady frames");
    assert!(passed(line) - before >= STEADY as u64 - 2, "frames got lost");
}

fn frames_in(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame_in");
    for codec in CodecName::ALL {
        for (name, sound, suppression) in [
            ("quiet", Sound::Quiet, NoiseSuppression::Off),
            ("speech", Sound::Speech, NoiseSuppression::Off),
            ("speech, noise suppression", Sound::Speech, NoiseSuppression::On),
        ] {
            let mut line = In::new(codec, sound, suppression);
            steady(&mut line, In::frame, |line| line.wire.taps);
            group.bench_function(BenchmarkId::new(format!("{codec:?}"), name), |b| {
                b.iter(|| line.frame());
            });
        }
    }
    group.finish();
}

fn frames_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame_out");
    for codec in CodecName::ALL {
        for (name, sound) in [("silence", Sound::Quiet), ("speech", Sound::Speech)] {
            let mut line = Out::new(codec, sound);
            steady(&mut line, Out::frame, |line| line.wire.sent);
            group.bench_function(BenchmarkId::new(format!("{codec:?}"), name), |b| {
                b.iter(|| line.frame());
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = frames_in, frames_out
}
criterion_main!(benches);
