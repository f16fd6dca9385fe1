#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::{Audio, Outbound, OutboundConfig};
use crate::rtp::{Header, Packet};
use crate::types::Entropy;

fn outbound() -> Outbound {
    let config = OutboundConfig {
        payload_type: 8,
        dtmf_payload_type: Some(101),
        frame_samples: 160,
        event_units: 160,
        frame_ms: 20,
    };
    Outbound::new(config, &mut Entropy::seeded(3))
}

fn send(outbound: &mut Outbound, audio: Audio) -> (Header, usize, super::Sent) {
    let mut out = [0; 200];
    let sent = outbound
        .packet((audio, 0), &mut out, |space| {
            space[..160].fill(7);
            160
        })
        .unwrap();
    let packet = Packet::parse(&out[..sent.len]).unwrap();
    (packet.header, packet.payload.len(), sent)
}

#[test]
fn numbers_rise_and_talkspurts_are_marked() {
    let mut outbound = outbound();
    let (first, len, _) = send(&mut outbound, Audio::Silence);
    assert_eq!(
        (len, first.payload_type, first.marker, first.ssrc),
        (160, 8, false, outbound.ssrc())
    );
    let table =
        [(Audio::Talk, true), (Audio::Talk, false), (Audio::Silence, false), (Audio::Talk, true)];
    for (i, (audio, marker)) in (1..).zip(table) {
        let (header, ..) = send(&mut outbound, audio);
        assert_eq!(header.sequence, first.sequence.wrapping_add(i));
        assert_eq!(header.timestamp, first.timestamp.wrapping_add(160 * u32::from(i)));
        assert_eq!(header.marker, marker);
    }
    // Skipped ticks take time and no number, and begin a talkspurt.
    outbound.skip(3);
    let (header, ..) = send(&mut outbound, Audio::Talk);
    assert_eq!(header.sequence, first.sequence.wrapping_add(5));
    assert_eq!(header.timestamp, first.timestamp.wrapping_add(160 * 8));
    assert!(header.marker);
    assert_eq!((outbound.stats().packets, outbound.stats().octets), (6, 960));
}

#[test]
fn keys_share_the_sequence_and_the_timeline_goes_on() {
    let mut outbound = outbound();
    let (first, ..) = send(&mut outbound, Audio::Talk);
    assert!(outbound.push_digit(b'1', 40, 20));
    let mut seen = Vec::new();
    for _ in 0..6 {
        let (h, _, sent) = send(&mut outbound, Audio::Talk);
        let ticks = h.timestamp.wrapping_sub(first.timestamp) / 160;
        seen.push((
            h.payload_type,
            h.sequence.wrapping_sub(first.sequence),
            ticks,
            h.marker,
            sent.digits_done,
        ));
    }
    let expected = [
        (101, 1, 1, true, false),
        (101, 2, 1, false, false),
        (101, 3, 1, false, false),
        (101, 4, 1, false, false),
        (8, 5, 5, true, true),
        (8, 6, 6, false, false),
    ];
    assert_eq!(seen, expected);
    assert!(!outbound.is_sending_digits());
}

/// Events at 8,000 Hz beside Opus: durations are at their clock, timestamps at that of the stream (RFC 4733 section 2.1
/// has no timeline of their own for them).
#[test]
fn keys_last_as_long_as_their_own_clock_says() {
    let config = OutboundConfig {
        payload_type: 111,
        dtmf_payload_type: Some(101),
        frame_samples: 960,
        event_units: 160,
        frame_ms: 20,
    };
    let mut outbound = Outbound::new(config, &mut Entropy::seeded(3));
    assert!(outbound.push_digit(b'1', 100, 40) && outbound.push_digit(b'2', 60, 0));
    let mut keys = Vec::new();
    let mut first = None;
    while outbound.is_sending_digits() {
        let mut out = [0; 200];
        let sent = outbound.packet((Audio::Talk, 0), &mut out, |_| 1).unwrap();
        let packet = Packet::parse(&out[..sent.len]).unwrap();
        if let (101, [code, 0x8a, high, low]) = (packet.header.payload_type, packet.payload) {
            let begin = *first.get_or_insert(packet.header.timestamp);
            let after = packet.header.timestamp.wrapping_sub(begin);
            keys.push((*code, u16::from_be_bytes([*high, *low]), after));
        }
    }
    // Five frames, two copies of the end, two frames of pause.
    let two = 9 * 960;
    let ends = [(1, 800, 0), (1, 800, 0), (1, 800, 0), (2, 480, two), (2, 480, two), (2, 480, two)];
    assert_eq!(keys, ends);
}

#[test]
fn a_small_buffer_or_no_agreement_is_no_harm() {
    let mut outbound = outbound();
    assert_eq!(outbound.packet((Audio::Talk, 0), &mut [0; 11], |_| 0), None);
    let none = OutboundConfig {
        dtmf_payload_type: None,
        payload_type: 0,
        frame_samples: 160,
        event_units: 160,
        frame_ms: 20,
    };
    outbound.reconfigure(none);
    assert!(!outbound.push_digit(b'1', 100, 50));
}
