//! A steady frame costs no allocation, in and out, in every codec, quiet or not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "../benches/support/alloc.rs"]
mod alloc;
#[path = "../benches/support/line.rs"]
mod line;

use std::net::SocketAddr;
use std::time::Duration;

use alloc::Counting;
use line::{CALLER, FRAME, Packets, Sound, Wire, format};
use trunkline::media::{Config, MediaCommand, Stream};
use trunkline::net::clock;
use trunkline::types::{CodecName, Entropy};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Frames before anything is counted: buffers have their size, the detectors know the line.
const WARM_UP: usize = 200;
/// 200 s of a call.
const STEADY: u64 = 10_000;
/// A control report leaves every 2.5 s at most (RFC 3550 section 6.2). It is no frame, and may allocate.
const REPORTS_MAX: u64 = STEADY * 20 / 2_500;

#[test]
fn ten_thousand_frames_allocate_nothing() {
    for codec in CodecName::ALL {
        for sound in [Sound::Quiet, Sound::Speech] {
            let start = clock::now();
            let mut entropy = Entropy::seeded(1);
            let config = Config::default();
            let mut stream = Stream::new(&config, start, Duration::ZERO, &mut entropy).unwrap();
            let mut wire = Wire::new(start, sound);
            stream.handle_command(start, MediaCommand::Configure(format(codec)), &mut wire);
            let mut packets = Packets::new(codec, sound);
            let mut frame = |wire: &mut Wire| {
                wire.now += FRAME;
                let (now, from) = (wire.now, SocketAddr::from(CALLER));
                stream.handle_rtp(now, from, packets.next(), wire);
                stream.handle_timeout(now, wire);
            };
            (0..WARM_UP).for_each(|_| frame(&mut wire));
            let (sent, taps, reports) = (wire.sent, wire.taps, wire.reports);
            let mut allocations = 0;
            for _ in 0..STEADY {
                let (before, reported) = (Counting::count(), wire.reports);
                frame(&mut wire);
                if wire.reports == reported {
                    allocations += Counting::count() - before;
                }
            }
            assert_eq!(allocations, 0, "{codec:?} {sound:?}");
            assert_eq!(wire.sent - sent, STEADY, "{codec:?} {sound:?}: packets out");
            assert!(wire.taps - taps >= 2 * STEADY - 20, "{codec:?} {sound:?}: both recorded");
            let reports = wire.reports - reports;
            assert!((1..=REPORTS_MAX).contains(&reports), "{codec:?} {sound:?}: {reports} reports");
        }
    }
}

/// The counter itself: without this the test above could not fail.
#[test]
fn an_allocation_is_counted() {
    let before = Counting::count();
    drop(std::hint::black_box(Box::new(1_u64)));
    assert_eq!(Counting::count() - before, 1);
}
