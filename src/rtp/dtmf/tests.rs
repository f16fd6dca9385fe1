#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use proptest::prelude::*;

use super::{DIGITS_MAX, DtmfReceiver, DtmfSender, KeyEvent, RELEASE_AFTER, Tick};
use crate::rtp::fuzz::origin;

fn event(code: u8, end: bool, duration: u16) -> [u8; 4] {
    let [high, low] = duration.to_be_bytes();
    [code, if end { 0x8a } else { 0x0a }, high, low]
}

/// Milliseconds, timestamp, code, end, duration.
type Packet = (u64, u32, u8, bool, u16);

/// Feeds packets and writes down what comes out.
fn keys(packets: &[Packet]) -> String {
    let start = origin();
    let mut receiver = DtmfReceiver::default();
    let mut out = String::new();
    let mut tell = |event| {
        out += &match event {
            KeyEvent::Pressed { digit } => format!("+{} ", char::from(digit)),
            KeyEvent::Released { digit, duration } => format!("-{}:{duration} ", char::from(digit)),
        };
    };
    for (at, timestamp, code, end, duration) in packets {
        let now = start + Duration::from_millis(*at);
        receiver.tick(now).into_iter().for_each(&mut tell);
        let events = receiver.receive(now, *timestamp, &event(*code, *end, *duration));
        events.into_iter().flatten().for_each(&mut tell);
    }
    let last = packets.last().map_or(0, |p| p.0);
    let end = start + Duration::from_millis(last) + RELEASE_AFTER;
    receiver.tick(end).into_iter().for_each(&mut tell);
    out.trim_end().to_owned()
}

#[test]
fn each_press_counts_once() {
    let table: [(&str, &[Packet], &str); 16] = [
        (
            "in full",
            &[
                (0, 5, 1, false, 160),
                (20, 5, 1, false, 320),
                (40, 5, 1, true, 480),
                (40, 5, 1, true, 480),
                (40, 5, 1, true, 480),
            ],
            "+1 -1:480",
        ),
        ("lost start", &[(40, 5, 10, true, 480), (60, 5, 10, true, 480)], "+*"),
        ("lost ends", &[(0, 5, 11, false, 160), (20, 5, 11, false, 320)], "+# -#:320"),
        (
            "lost ends, next key",
            &[(0, 5, 1, false, 160), (60, 800, 2, false, 160), (80, 800, 2, true, 320)],
            "+1 -1:160 +2 -2:320",
        ),
        ("same key twice", &[(0, 5, 7, true, 160), (80, 645, 7, true, 160)], "+7 +7"),
        (
            "same key twice, lost ends",
            &[(0, 5, 7, false, 160), (80, 645, 7, true, 160)],
            "+7 -7:160 +7",
        ),
        (
            "late copy of an earlier press",
            &[(0, 5, 1, true, 160), (40, 805, 2, true, 160), (41, 5, 1, true, 160)],
            "+1 +2",
        ),
        (
            "packets after the end",
            &[(0, 5, 1, false, 160), (20, 5, 1, true, 320), (21, 5, 1, false, 160)],
            "+1 -1:320",
        ),
        ("timestamp wrap", &[(0, u32::MAX, 1, true, 160), (40, 320, 2, true, 160)], "+1 +2"),
        (
            "an end that overtakes its press",
            &[(0, 5, 4, true, 480), (1, 5, 4, false, 320), (2, 5, 4, true, 480)],
            "+4",
        ),
        (
            "reordered within the press",
            &[(0, 5, 4, false, 320), (1, 5, 4, false, 160), (20, 5, 4, true, 480)],
            "+4 -4:480",
        ),
        ("a first packet of no length", &[(0, 5, 4, false, 0), (20, 5, 4, true, 160)], "+4 -4:160"),
        (
            "only its last end came, and the next key's start was lost",
            &[(60, 5, 1, true, 480), (160, 805, 2, false, 320), (180, 805, 2, true, 480)],
            "+1 +2 -2:480",
        ),
        (
            "ends of the press before, among the next one's",
            &[
                (0, 5, 1, false, 160),
                (20, 325, 2, false, 160),
                (21, 5, 1, true, 160),
                (40, 325, 2, true, 320),
                (41, 5, 1, true, 160),
            ],
            "+1 -1:160 +2 -2:320",
        ),
        (
            "a pause of the network within a press, longer than a release",
            &[(0, 5, 4, false, 160), (400, 5, 4, false, 3_360), (420, 5, 4, true, 3_520)],
            "+4 -4:160",
        ),
        ("letters", &[(0, 5, 12, true, 160), (40, 805, 15, true, 160)], "+A +D"),
    ];
    for (name, packets, expected) in table {
        assert_eq!(keys(packets), expected, "{name}");
    }
}

/// Gateways that write a new timestamp into each packet of a press, or into the copies of its end; and presses that are
/// as short and as close as presses get.
#[test]
fn a_press_with_a_timestamp_for_each_packet_counts_once() {
    let table: [(&str, &[Packet], &str); 9] = [
        (
            "timestamps and durations rise together",
            &[
                (0, 1_000, 1, false, 160),
                (20, 1_160, 1, false, 320),
                (40, 1_320, 1, false, 480),
                (60, 1_480, 1, true, 640),
                (80, 1_640, 1, true, 640),
                (100, 1_800, 1, true, 640),
            ],
            "+1 -1:640",
        ),
        (
            "only the copies of the end have one of their own",
            &[
                (0, 1_000, 1, false, 160),
                (20, 1_000, 1, true, 320),
                (40, 1_160, 1, true, 320),
                (60, 1_320, 1, true, 320),
            ],
            "+1 -1:320",
        ),
        (
            "durations that say nothing",
            &[(0, 1_000, 1, false, 0), (20, 1_160, 1, false, 0), (40, 1_320, 1, true, 0)],
            "+1 -1:0",
        ),
        (
            "packets of 60 ms",
            &[(0, 0, 1, false, 480), (60, 480, 1, false, 960), (120, 960, 1, true, 1_440)],
            "+1 -1:1440",
        ),
        (
            "six of them lost",
            &[(0, 0, 1, false, 160), (140, 1_120, 1, false, 1_280), (160, 1_280, 1, true, 1_440)],
            "+1 -1:1440",
        ),
        (
            "each bears the end bit",
            &[(0, 0, 1, true, 160), (20, 160, 1, true, 160), (40, 320, 1, true, 160)],
            "+1",
        ),
        (
            "one out of order",
            &[
                (0, 0, 1, false, 160),
                (20, 320, 1, false, 480),
                (21, 160, 1, false, 320),
                (40, 480, 1, true, 640),
            ],
            "+1 -1:640",
        ),
        (
            "the same key twice, as fast as can be, and a third time by a gateway of that kind",
            &[
                (0, 0, 5, false, 160),
                (20, 0, 5, true, 320),
                (80, 640, 5, false, 160),
                (100, 640, 5, true, 320),
                (160, 1_280, 5, false, 160),
                (180, 1_440, 5, false, 320),
                (200, 1_600, 5, true, 480),
            ],
            "+5 -5:320 +5 -5:320 +5 -5:480",
        ),
        (
            "the same key twice, all but one packet of each lost",
            &[(0, 0, 5, false, 160), (100, 800, 5, false, 320)],
            "+5 -5:160 +5 -5:320",
        ),
    ];
    for (name, packets, expected) in table {
        assert_eq!(keys(packets), expected, "{name}");
    }
}

proptest! {
    /// Whatever is lost, up to 100 ms in a row: of a telephone every press is told that was heard of. Of a gateway with a
    /// timestamp for each packet no more than there were, up to 40 ms in a row.
    #[test]
    fn presses_are_told_apart_whatever_is_lost(
        presses in proptest::collection::vec((0_u8..3, 2_u32..20, 2_u32..10), 1..8),
        lost in proptest::collection::vec(any::<bool>(), 200),
        restamped in any::<bool>(),
    ) {
        let (mut tick, mut packets, mut heard, mut n, mut run) = (0_u32, Vec::new(), 0, 0, 0);
        for (code, frames, gap) in presses {
            let begin = tick * 160;
            let mut came = false;
            for frame in 1..=frames + 2 {
                let duration = frame.min(frames) * 160;
                let timestamp = if restamped { tick * 160 } else { begin };
                let most = if restamped { 2 } else { 5 };
                run = if lost[n % lost.len()] && run < most { run + 1 } else { 0 };
                if run == 0 {
                    came = true;
                    let end = frame >= frames;
                    packets.push((u64::from(tick) * 20, timestamp, code, end, duration as u16));
                }
                n += 1;
                tick += 1;
            }
            heard += usize::from(came);
            tick += gap;
        }
        let told = keys(&packets).matches('+').count();
        if restamped {
            prop_assert!(told <= heard, "{told} presses told of {heard}: {packets:?}");
        } else {
            prop_assert_eq!(told, heard, "{:?}", packets);
        }
    }
}

#[test]
fn a_press_longer_than_a_segment_is_one_press() {
    let segment = u32::from(u16::MAX);
    let packets = [
        (0, 5, 3, false, 160),
        (20, 5, 3, false, 65_440),
        (40, 5 + segment, 3, false, 100),
        (60, 5 + segment, 3, true, 500),
    ];
    assert_eq!(keys(&packets), "+3 -3:66035");
}

#[test]
fn a_long_press_whose_segments_lost_their_edges_is_one_press() {
    let segment = u32::from(u16::MAX);
    // The last 900 ms of the first segment and the first 100 ms of the second did not come.
    let packets = [
        (0, 5, 3, false, 160),
        (20, 5, 3, false, 58_400),
        (40, 5 + segment, 3, false, 800),
        (60, 5 + segment, 3, true, 960),
    ];
    assert_eq!(keys(&packets), "+3 -3:66495");
    // Around the end of the timestamps, too.
    let first = u32::MAX - 1_000;
    let second = first.wrapping_add(segment);
    let packets = [(0, first, 3, false, 65_440), (20, second, 3, true, 160)];
    assert_eq!(keys(&packets), "+3 -3:65695");
}

#[test]
fn volume_and_reserved_bits_change_nothing() {
    for flags in [0, 0x0a, 0x3f, 0x40, 0x7f] {
        let mut receiver = DtmfReceiver::default();
        let pressed = receiver.receive(origin(), 1, &[9, flags, 0, 160]);
        assert_eq!(pressed, [None, Some(KeyEvent::Pressed { digit: b'9' })], "{flags:#x}");
        let released = receiver.receive(origin(), 1, &[9, flags | 0x80, 1, 64]);
        let key = KeyEvent::Released { digit: b'9', duration: 320 };
        assert_eq!(released, [Some(key), None], "{flags:#x}");
    }
    // Octets behind the event, as some gateways pad it.
    let mut receiver = DtmfReceiver::default();
    assert!(receiver.receive(origin(), 1, &[9, 0, 0, 160, 0, 0])[1].is_some());
}

#[test]
fn what_is_no_key_is_ignored() {
    let mut receiver = DtmfReceiver::default();
    let now = origin();
    for payload in [&b""[..], b"\x01\x80\0", &event(16, true, 160), &event(255, false, 160)] {
        assert_eq!(receiver.receive(now, 1, payload), [None, None]);
    }
    assert_eq!(receiver.ignored(), 4);
    assert!(!receiver.is_pressed());
}

#[test]
fn sends_a_digit_with_three_ends_and_a_gap() {
    let mut sender = DtmfSender::new(160, 20);
    assert!(sender.push(b'5', 50, 50) && sender.push(b'#', 40, 0));
    let mut timestamp = 1_000;
    let mut out = Vec::new();
    while !sender.is_idle() {
        match sender.tick(timestamp) {
            Tick::Event(e) => out.push(format!(
                "{}{} {} @{}{}",
                e.payload[0],
                if e.payload[1] & 0x80 == 0 { "" } else { "!" },
                u16::from_be_bytes([e.payload[2], e.payload[3]]),
                e.timestamp,
                if e.marker { " M" } else { "" },
            )),
            Tick::Gap => out.push("gap".to_owned()),
            Tick::Audio => out.push("audio".to_owned()),
        }
        timestamp += 160;
    }
    assert_eq!(
        out,
        [
            "5 160 @1000 M",
            "5 320 @1000",
            "5! 480 @1000",
            "5! 480 @1000",
            "5! 480 @1000",
            "gap",
            "gap",
            "gap",
            "11 160 @2280 M",
            "11! 320 @2280",
            "11! 320 @2280",
            "11! 320 @2280",
        ]
    );
}

#[test]
fn another_key_may_have_the_timestamp_of_the_one_before_it() {
    let packets = [
        (0, 5, 1, false, 160),
        (20, 5, 1, true, 320),
        (120, 5, 2, false, 160),
        (121, 5, 1, true, 320),
        (140, 5, 2, true, 320),
        (141, 5, 2, true, 320),
    ];
    assert_eq!(keys(&packets), "+1 -1:320 +2 -2:320");
}

/// A key that is longer than can be written goes on in segments (RFC 4733 section 2.5.1.3), and is one press.
#[test]
fn a_long_key_is_sent_in_segments_and_heard_as_one() {
    for (units, ms, segments) in
        [(960, 5_000, 4), (320, 5_000, 2), (160, 5_000, 1), (960, 1_360, 1)]
    {
        let mut sender = DtmfSender::new(units, 20);
        assert!(sender.push(b'1', ms, 20));
        let (mut receiver, mut now) = (DtmfReceiver::default(), origin());
        let (mut heard, mut begins, mut markers, mut longest) = (Vec::new(), Vec::new(), 0, 0);
        for timestamp in (7_u32..).step_by(usize::from(units)) {
            let Tick::Event(event) = sender.tick(timestamp) else { break };
            let [_, flags, high, low] = event.payload;
            if begins.last() != Some(&event.timestamp) {
                assert_eq!(flags & 0x80, 0, "no segment begins with the end");
                assert!(begins.is_empty() || longest == u16::MAX, "{longest}");
                begins.push(event.timestamp);
            }
            longest = u16::from_be_bytes([high, low]);
            markers += usize::from(event.marker);
            now += Duration::from_millis(20);
            heard.extend(
                receiver.receive(now, event.timestamp, &event.payload).into_iter().flatten(),
            );
        }
        let begun: Vec<u32> = (0..segments).map(|n| 7 + n * u32::from(u16::MAX)).collect();
        assert_eq!((begins, markers), (begun, 1), "{units}, {ms} ms");
        let duration = u32::from(units) * u32::from(ms) / 20;
        let press =
            [KeyEvent::Pressed { digit: b'1' }, KeyEvent::Released { digit: b'1', duration }];
        assert_eq!(heard, press, "{units}, {ms} ms");
    }
}

/// A pause within a number is as long as it was asked for.
#[test]
fn a_long_gap_is_kept() {
    let mut sender = DtmfSender::new(160, 20);
    assert!(sender.push(b'1', 40, 4_060) && sender.push(b'2', 40, 0));
    let ticks: Vec<_> = (0_u32..300).map(|n| sender.tick(n * 160)).collect();
    assert_eq!(ticks.iter().filter(|tick| **tick == Tick::Gap).count(), 4_060 / 20);
}

#[test]
fn the_queue_is_bounded_and_takes_keys_only() {
    let mut sender = DtmfSender::new(160, 20);
    assert!(!sender.push(b'x', 100, 50) && !sender.push(0, 100, 50));
    assert!((0..DIGITS_MAX).all(|_| sender.push(b'a', 100, 50)));
    assert!(!sender.push(b'1', 100, 50));
}
