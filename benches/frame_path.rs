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
use trunkline::audio::vad::NoiseSuppression;
use trunkline::audio::{EchoGate, VadConfig};
use trunkline::media::{FrameSource, Inbound, Outbound};
use trunkline::net::clock;
use trunkline::rtp::srtp::{Receiver, Sender};
use trunkline::types::{CodecName, Entropy, SrtpKey, SrtpSuite};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Frames before anything is counted: buffers have their size, the detectors know the line.
const WARM_UP: usize = 500;
/// Frames that must not allocate.
const STEADY: usize = 1_000;

struct In {
    inbound: Inbound,
    echo: EchoGate,
    packets: Packets,
    wire: Wire,
}

impl In {
    fn new(codec: CodecName, sound: Sound, noise_suppression: NoiseSuppression) -> Self {
        let now = clock::now();
        let vad = VadConfig { noise_suppression, ..VadConfig::default() };
        let mut inbound = Inbound::new(now, &vad).unwrap();
        assert!(inbound.set_rate(codec.sample_rate(), &vad));
        inbound.configure(now, &format(codec), 1);
        let (echo, packets) = (EchoGate::new(), Packets::new(codec, sound));
        Self { inbound, echo, packets, wire: Wire::new(now, Sound::Quiet) }
    }

    fn frame(&mut self) {
        self.wire.now += FRAME;
        let (now, from) = (self.wire.now, SocketAddr::from(CALLER));
        let io = (&mut self.echo, &mut self.wire);
        black_box(self.inbound.handle(now, from, self.packets.next(), io));
        self.inbound.handle_timeout(now, &mut self.echo, &mut self.wire);
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
        outbound.set_rate(codec.sample_rate());
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

/// A packet of 20 ms of G.711 protected and opened, here and by the library that is the oracle of the tests.
fn srtp(c: &mut Criterion) {
    let mut group = c.benchmark_group("srtp");
    let mut plain = [0x55_u8; 172];
    plain[0] = 0x80;
    for suite in SrtpSuite::ALL {
        let key = SrtpKey::generate(suite, &mut Entropy::seeded(1));
        let (mut sender, mut receiver) = (Sender::new(key).unwrap(), Receiver::new(key).unwrap());
        let mut sequence = 0_u16;
        let mut both = || {
            sequence = sequence.wrapping_add(1);
            let mut packet = [0; 192];
            packet[..172].copy_from_slice(&plain);
            packet[2..4].copy_from_slice(&sequence.to_be_bytes());
            let len = sender.protect(&mut packet, 172).unwrap();
            black_box(receiver.open(&packet[..len]).unwrap().len())
        };
        (0..WARM_UP).for_each(|_| assert_eq!(both(), 172));
        let before = Counting::count();
        (0..STEADY).for_each(|_| assert_eq!(both(), 172));
        assert_eq!(Counting::count() - before, 0, "allocations in {STEADY} packets");
        group.bench_function(BenchmarkId::new(suite.name(), "here"), |b| b.iter(&mut both));

        let (mut sender, mut receiver) = (library(&key), library(&key));
        let mut sequence = 0_u16;
        let mut both = || {
            sequence = sequence.wrapping_add(1);
            let mut packet = plain;
            packet[2..4].copy_from_slice(&sequence.to_be_bytes());
            let sealed = sender.encrypt_rtp(&packet).unwrap();
            black_box(receiver.decrypt_rtp(&sealed).unwrap().len())
        };
        let before = Counting::count();
        (0..STEADY).for_each(|_| assert_eq!(both(), 172));
        let allocations = Counting::count() - before;
        assert!(allocations >= 2 * STEADY as u64, "the library works in place now: decision 0019");
        group.bench_function(BenchmarkId::new(suite.name(), "library"), |b| b.iter(&mut both));
    }
    group.finish();
}

fn library(key: &SrtpKey) -> rtc_srtp::context::Context {
    use rtc_srtp::protection_profile::ProtectionProfile as Profile;
    let profile = match key.suite() {
        SrtpSuite::AeadAes256Gcm => Profile::AeadAes256Gcm,
        SrtpSuite::AeadAes128Gcm => Profile::AeadAes128Gcm,
        SrtpSuite::Aes256CmHmacSha1_80 => Profile::Aes256CmHmacSha1_80,
        SrtpSuite::Aes256CmHmacSha1_32 => Profile::Aes256CmHmacSha1_32,
        SrtpSuite::AesCm128HmacSha1_80 => Profile::Aes128CmHmacSha1_80,
        SrtpSuite::AesCm128HmacSha1_32 => Profile::Aes128CmHmacSha1_32,
    };
    let crypto = rtc_srtp::crypto::providers::RingCrypto;
    let (key, salt) = (key.master_key(), key.master_salt());
    let window = rtc_srtp::option::srtp_replay_protection(64);
    rtc_srtp::context::Context::new(key, salt, profile, Some(window), None, &crypto).unwrap()
}

/// A beginning of speech while the agent is audible: every delay of the last 800 ms is looked at.
fn echo_search(c: &mut Criterion) {
    let (mut ours, mut theirs) = (Wire::new(clock::now(), Sound::Speech), EchoGate::new());
    let mut frame = || ours.next_frame().expect("speech").frame;
    for _ in 0..50 {
        theirs.sent(frame().samples());
    }
    for _ in 0..4 {
        // Not among what was sent: nothing ends the search early.
        let reversed: Vec<i16> = frame().samples().iter().rev().copied().collect();
        theirs.heard(&reversed);
    }
    c.bench_function("echo_search", |b| b.iter(|| black_box(theirs.is_echo())));
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = frames_in, frames_out, srtp, echo_search
}
criterion_main!(benches);
