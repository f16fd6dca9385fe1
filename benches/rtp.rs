//! RTP: one header read and written; one packet through the jitter buffer, with and without loss.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

#[path = "support/line.rs"]
#[expect(dead_code, reason = "only the caller's packets are needed here")]
mod line;

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use line::{CALLER, FRAME, Packets, Sound};
use trunkline::net::clock;
use trunkline::rtp::{Frame, Header, Inbound, InboundConfig, Packet, Policy};
use trunkline::types::{CodecName, CodecSpec};

fn headers(c: &mut Criterion) {
    let mut packets = Packets::new(CodecName::Pcmu, Sound::Speech);
    let datagram = packets.next().to_vec();
    c.bench_function("rtp/parse", |b| b.iter(|| Packet::parse(black_box(&datagram)).unwrap()));
    let header = Header { payload_type: 0, marker: false, sequence: 1, timestamp: 160, ssrc: 7 };
    let mut out = [0; 172];
    c.bench_function("rtp/build", |b| b.iter(|| black_box(&header).write(&mut out).unwrap()));
}

/// A receiver and a network that loses packets.
struct Lossy {
    inbound: Inbound,
    packets: Packets,
    now: Instant,
    /// One of this many packets is lost.
    lost: Option<u32>,
    random: u32,
    concealed: u64,
    played: u64,
}

impl Lossy {
    fn new(lost: Option<u32>) -> Self {
        let now = clock::now();
        let (ip, port) = CALLER;
        let config = InboundConfig {
            codec: CodecSpec::with_static_payload_type(CodecName::Pcmu),
            alternate: None,
            dtmf_payload_type: Some(101),
            remote_rtp: SocketAddr::from((ip, port)),
            remote_rtcp: SocketAddr::from((ip, port + 1)),
            policy: Policy::Strict,
            reorder: 1,
        };
        let packets = Packets::new(CodecName::Pcmu, Sound::Speech);
        let inbound = Inbound::new(now, config);
        Self { inbound, packets, now, lost, random: 1, concealed: 0, played: 0 }
    }

    /// 20 ms: a packet in (or lost), its piece out of the express path, a frame out of the buffer.
    fn frame(&mut self) {
        self.now += FRAME;
        self.random = self.random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let datagram = self.packets.next();
        if self.lost.is_none_or(|one_of| !(self.random >> 8).is_multiple_of(one_of)) {
            self.inbound.receive(self.now, SocketAddr::from(CALLER), datagram);
        }
        while let Some(piece) = self.inbound.pop_express() {
            black_box(piece);
        }
        self.inbound.tick(self.now);
        match black_box(self.inbound.next_frame(self.now)) {
            Frame::Payload { .. } => self.played += 1,
            Frame::Lost { .. } => self.concealed += 1,
            Frame::Silence => {}
        }
    }
}

fn jitter(c: &mut Criterion) {
    let mut group = c.benchmark_group("rtp/receive_and_play");
    for (name, lost) in [("0 %", None), ("1 %", Some(100)), ("5 %", Some(20))] {
        let mut line = Lossy::new(lost);
        (0..10_000).for_each(|_| line.frame());
        // The network is as bad as the name says, and the buffer plays on.
        let share = line.concealed as f64 / 10_000.0;
        let expected = lost.map_or(0.0, |one_of| 1.0 / f64::from(one_of));
        assert!((share - expected).abs() <= expected * 0.5, "{name}: {share}");
        assert!(line.played > 9_000, "{name}: {}", line.played);
        group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(|| line.frame()));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2));
    targets = headers, jitter
}
criterion_main!(benches);
