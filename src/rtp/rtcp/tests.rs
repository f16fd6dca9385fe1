#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use super::{Control, Farewell, Heard, Sending};
use crate::rtp::fuzz::origin;
use crate::rtp::stats::{OutboundStats, ReceptionSummary};
use crate::types::Entropy;

fn sending(packets: u64) -> Sending {
    Sending { stats: OutboundStats { packets, octets: packets * 160 }, timestamp: 777 }
}

#[test]
fn two_sides_measure_loss_and_round_trip() {
    let start = origin();
    let ms = |n| start + Duration::from_millis(n);
    let mut here = Control::new(start, 1, Entropy::seeded(1));
    let mut there = Control::new(start, 2, Entropy::seeded(2));
    let mut out = [0; 1_500];
    // 40 ms there, 1 s of thinking, 60 ms back.
    let len = here.write(ms(5_000), sending(100), None, Farewell::No, &mut out).unwrap();
    assert_eq!((out[0], out[1], len % 4), (0x80, 200, 0));
    assert_eq!(out[16..20], 777_u32.to_be_bytes());
    assert_eq!(out[20..28], [0, 0, 0, 100, 0, 0, 62, 128]);
    assert_eq!(there.handle(ms(5_040), &out[..len], Some(1)), Heard::default());
    let summary = ReceptionSummary {
        ssrc: 1,
        fraction_lost: 25,
        cumulative_lost: -3,
        highest_sequence: 0x1_0005,
        jitter: 16,
    };
    let len = there.write(ms(6_040), sending(0), Some(summary), Farewell::No, &mut out).unwrap();
    assert_eq!((out[0], out[1]), (0x81, 201), "nothing sent: a receiver report");
    let report = here.handle(ms(6_100), &out[..len], Some(2)).report.unwrap();
    assert_eq!((report.fraction_lost, report.cumulative_lost, report.jitter), (25, -3, 16));
    let trip = report.round_trip.unwrap();
    assert!(trip.abs_diff(Duration::from_millis(100)) < Duration::from_millis(1), "{trip:?}");
    assert_eq!(here.remote_report(), Some(report));
}

#[test]
fn goodbye_counts_for_the_source_we_hear() {
    let start = origin();
    let mut there = Control::new(start, 2, Entropy::seeded(2));
    let mut out = [0; 1_500];
    let len = there.write(start, sending(0), None, Farewell::Bye, &mut out).unwrap();
    let mut here = Control::new(start, 1, Entropy::seeded(1));
    assert!(here.handle(start, &out[..len], Some(2)).bye);
    assert!(!here.handle(start, &out[..len], Some(3)).bye);
    assert!(!here.handle(start, &out[..len], None).bye);
}

#[test]
fn what_is_no_compound_packet_is_counted() {
    let start = origin();
    let mut here = Control::new(start, 1, Entropy::seeded(1));
    let bad: [&[u8]; 6] = [
        b"",
        &[0x80],
        &[0x80, 200, 0, 1, 0, 0, 0, 1],
        &[0x00, 201, 0, 1, 0, 0, 0, 1],
        &[0x81, 203, 0, 1, 0, 0, 0, 2],
        &[0x9f, 201, 0xff, 0xff, 0, 0, 0, 2],
    ];
    for datagram in bad {
        assert_eq!(here.handle(start, datagram, Some(2)), Heard::default());
    }
    assert_eq!(here.malformed(), 6);
    assert_eq!(here.write(start, sending(1), None, Farewell::No, &mut [0; 20]), None);
}

#[test]
fn reports_come_at_random_times_about_five_seconds_apart() {
    let mut now = origin();
    let mut control = Control::new(now, 1, Entropy::seeded(1));
    assert!(control.next_wake() - now <= Duration::from_millis(3_750));
    let (begin, mut out) = (now, [0; 1_500]);
    let mut gaps = Vec::new();
    for _ in 0..200 {
        control.write(now, sending(0), None, Farewell::No, &mut out).unwrap();
        gaps.push(control.next_wake() - now);
        now = control.next_wake();
    }
    let bounds = Duration::from_millis(2_500)..=Duration::from_millis(7_500);
    assert!(gaps.iter().all(|gap| bounds.contains(gap)));
    let mean = (now - begin) / 200;
    assert!(mean.abs_diff(Duration::from_secs(5)) < Duration::from_millis(300), "{mean:?}");
}
