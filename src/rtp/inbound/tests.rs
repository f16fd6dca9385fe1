#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Inbound, InboundConfig, Received};
use crate::rtp::dtmf::KeyEvent;
use crate::rtp::fuzz::{config, origin};
use crate::rtp::{Frame, Header, Piece, Policy};

struct Line {
    inbound: Inbound,
    start: Instant,
    peer: SocketAddr,
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn line() -> Line {
    let peer: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    let start = origin();
    Line { inbound: Inbound::new(start, config(peer)), start, peer }
}

fn packet(header: Header, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    header.write(&mut bytes).unwrap();
    bytes.extend_from_slice(payload);
    bytes
}

fn audio(sequence: u16, timestamp: u32, ssrc: u32) -> Vec<u8> {
    packet(Header { payload_type: 0, marker: false, sequence, timestamp, ssrc }, &[0xff; 160])
}

impl Line {
    fn put(&mut self, at: u64, datagram: &[u8]) -> Received {
        self.inbound.receive(self.start + ms(at), self.peer, datagram)
    }

    /// Samples that came out of the express path: payload, lost, silence.
    fn drain(&mut self) -> (u64, u64, u64) {
        let mut sum = (0, 0, 0);
        while let Some(piece) = self.inbound.pop_express() {
            match piece {
                Piece::Payload { payload, .. } => sum.0 += payload.len() as u64,
                Piece::Lost { samples, .. } => sum.1 += u64::from(samples),
                Piece::Silence { samples, .. } => sum.2 += u64::from(samples),
            }
        }
        sum
    }
}

#[test]
fn every_gate_counts_what_it_turns_away() {
    let mut line = line();
    let other = "203.0.113.6:4000".parse().unwrap();
    assert_eq!(line.put(0, &audio(1, 0, 7)), Received::Audio);
    assert_eq!(line.put(0, &[0x80, 0, 1]), Received::Dropped);
    assert_eq!(line.put(0, &[0; 40]), Received::Dropped);
    let wrong = Header { payload_type: 96, sequence: 2, ssrc: 7, ..Header::default() };
    assert_eq!(line.put(0, &packet(wrong, &[0; 160])), Received::Dropped);
    let right = Header { payload_type: 0, ..wrong };
    assert_eq!(line.put(0, &packet(right, &[])), Received::Dropped);
    assert_eq!(line.put(0, &packet(right, &[0; 961])), Received::Dropped);
    let stray = line.inbound.receive(line.start, other, &audio(2, 160, 7));
    assert_eq!(stray, Received::Dropped);
    let control = [0x80, 201, 0, 1, 0, 0, 0, 7];
    assert_eq!(line.put(0, &control), Received::Control);
    assert_eq!(line.inbound.receive(line.start, other, &control), Received::Dropped);
    let stats = line.inbound.stats();
    assert_eq!((stats.packets, stats.malformed, stats.unexpected), (1, 2, 3));
    assert_eq!((stats.wrong_source, stats.control_packets), (2, 1));
    assert_eq!(line.drain().0, 160);
}

#[test]
fn another_ssrc_takes_over_with_its_second_packet() {
    let mut line = line();
    for i in 0..5_u16 {
        line.put(u64::from(i) * 20, &audio(i, u32::from(i) * 160, 7));
        line.drain();
    }
    let first = line.put(100, &audio(40_000, 99_000_000, 8));
    let second = line.put(120, &audio(40_001, 99_000_160, 8));
    assert_eq!((first, second), (Received::Dropped, Received::Audio));
    assert_eq!(line.drain(), (160, 0, 0));
    assert_eq!(line.inbound.remote_ssrc(), Some(8));
    assert_eq!((line.inbound.stats().ssrc_changes, line.inbound.stats().wrong_ssrc), (1, 1));
    // Stray packets of the old one in between change nothing.
    assert_eq!(line.put(121, &audio(5, 800, 7)), Received::Dropped);
    assert_eq!(line.put(140, &audio(40_002, 99_000_320, 8)), Received::Audio);
}

#[test]
fn a_silent_sender_does_not_stop_the_clock() {
    let mut line = line();
    line.put(0, &audio(1, 0, 7));
    let mut sum = line.drain();
    for tick in 1..=100_u64 {
        line.inbound.tick(line.start + ms(tick * 20));
        let (payload, lost, silence) = line.drain();
        sum = (sum.0 + payload, sum.1 + lost, sum.2 + silence);
    }
    // 2 s less the wait for jitter.
    let total = sum.0 + sum.2;
    assert_eq!(sum.1, 0);
    assert!((15_200..=16_000).contains(&total), "{total}");
    // Speech comes back where the clock is: no gap, no overlap.
    assert_eq!(line.put(2_000, &audio(2, 16_000, 7)), Received::Audio);
    let (payload, lost, silence) = line.drain();
    assert_eq!((payload, lost, total + silence), (160, 0, 16_000));
}

#[test]
fn a_key_is_no_loss_and_no_audio() {
    let mut line = line();
    line.put(0, &audio(1, 0, 7));
    assert_eq!(line.drain(), (160, 0, 0));
    for i in 0..4_u16 {
        let header =
            Header { payload_type: 101, marker: false, sequence: 2 + i, timestamp: 160, ssrc: 7 };
        let end = if i == 3 { 0x80 } else { 0 };
        line.put(20 + u64::from(i) * 20, &packet(header, &[5, end, 0, 160]));
        assert_eq!(line.drain(), (0, 0, 0));
    }
    line.put(100, &audio(6, 800, 7));
    assert_eq!(line.drain(), (160, 0, 640));
    assert_eq!(line.inbound.pop_key(), Some(KeyEvent::Pressed { digit: b'5' }));
    assert_eq!(line.inbound.pop_key(), Some(KeyEvent::Released { digit: b'5', duration: 160 }));
    assert_eq!(line.inbound.pop_key(), None);
    assert_eq!(line.inbound.summarize().unwrap().cumulative_lost, 0);
}

/// A press whose packets are mostly lost, together with the audio around it.
#[test]
fn a_key_among_losses_is_one_press_and_the_clock_stays_true() {
    let mut line = line();
    line.put(0, &audio(1, 0, 7));
    let mut sum = line.drain();
    let event = |sequence, end: u8, duration| {
        let header = Header { payload_type: 101, marker: false, sequence, timestamp: 320, ssrc: 7 };
        packet(header, &[7, end, 0, duration])
    };
    // Audio 2, the event's 3 to 5 and its second end are lost; the third comes before the first.
    for (at, datagram) in [
        (100, event(8, 0x80, 200)),
        (101, event(6, 0x80, 200)),
        (120, audio(9, 1_600, 7)),
        (140, audio(11, 1_920, 7)),
        (160, audio(12, 2_080, 7)),
    ] {
        line.put(at, &datagram);
        let (payload, lost, silence) = line.drain();
        sum = (sum.0 + payload, sum.1 + lost, sum.2 + silence);
    }
    assert_eq!(sum.0 + sum.1 + sum.2, 2_240, "{sum:?}");
    assert_eq!(line.inbound.pop_key(), Some(KeyEvent::Pressed { digit: b'7' }));
    assert_eq!(line.inbound.pop_key(), None);
}

#[test]
fn keys_may_change_their_payload_type_in_the_middle_of_a_call() {
    let mut line = line();
    line.put(0, &audio(1, 0, 7));
    let event = |payload_type, sequence, timestamp| {
        let header = Header { payload_type, marker: true, sequence, timestamp, ssrc: 7 };
        packet(header, &[1, 0x80, 1, 64])
    };
    assert_eq!(line.put(20, &event(101, 2, 160)), Received::Key);
    let agreed = InboundConfig { dtmf_payload_type: Some(96), ..config(line.peer) };
    line.inbound.reconfigure(line.start + ms(30), agreed);
    assert_eq!(line.put(100, &event(96, 3, 800)), Received::Key);
    assert_eq!(line.put(200, &event(101, 4, 1_600)), Received::Dropped);
    let keys = std::iter::from_fn(|| line.inbound.pop_key()).count();
    assert_eq!((keys, line.inbound.stats().unexpected), (2, 1));
}

#[test]
fn instant_s_is_free_of_jitter() {
    let mut line = line();
    for i in 0..20_u16 {
        let late = if i == 19 { 45 } else { 0 };
        line.put(u64::from(i) * 20 + late, &audio(i, u32::from(i) * 160, 7));
        if let Some(Piece::Payload { timestamp, .. }) = line.inbound.pop_express() {
            let at = line.inbound.arrival_of(timestamp).unwrap();
            assert_eq!(at, line.start + ms(u64::from(i) * 20));
        }
        line.drain();
    }
}

#[test]
fn a_learned_peer_is_where_media_goes() {
    let described: SocketAddr = "10.0.0.5:4000".parse().unwrap();
    let nat: SocketAddr = "198.51.100.7:61000".parse().unwrap();
    let start = origin();
    let learn = InboundConfig { policy: Policy::Learn, ..config(described) };
    let mut inbound = Inbound::new(start, learn);
    assert_eq!(inbound.peer(), described);
    for i in 0..4_u16 {
        inbound.receive(start + ms(u64::from(i) * 20), nat, &audio(i, u32::from(i) * 160, 7));
    }
    assert_eq!((inbound.peer(), inbound.control_peer()), (nat, nat));
    assert_eq!(inbound.stats().packets, 1);
}

#[test]
fn paced_frames_come_after_the_delay() {
    let mut line = line();
    let mut payloads = 0;
    for i in 0..50_u16 {
        line.put(u64::from(i) * 20, &audio(i, u32::from(i) * 160, 7));
        line.drain();
        let now = line.start + ms(u64::from(i) * 20 + 5);
        payloads += u64::from(matches!(line.inbound.next_frame(now), Frame::Payload { .. }));
    }
    assert_eq!(payloads, 48);
}

#[test]
fn what_is_held_for_a_missing_packet_comes_out_in_time() {
    let mut line = line();
    line.put(0, &audio(1, 0, 7));
    line.put(20, &audio(2, 160, 7));
    assert_eq!(line.drain(), (320, 0, 0));
    line.put(60, &audio(4, 480, 7));
    line.inbound.tick(line.start + ms(100));
    assert_eq!(line.drain(), (0, 0, 0));
    line.inbound.tick(line.start + ms(130));
    assert_eq!(line.drain(), (160, 160, 0));
    assert_eq!(line.inbound.stats().express_lost, 1);
}

#[test]
fn comfort_noise_is_silence_at_once() {
    let mut line = line();
    line.put(0, &audio(1, 0, 7));
    line.drain();
    let noise = Header { payload_type: 13, marker: false, sequence: 2, timestamp: 160, ssrc: 7 };
    assert_eq!(line.put(20, &packet(noise, &[0x50])), Received::ComfortNoise);
    assert_eq!(line.drain(), (0, 0, 0));
    line.inbound.tick(line.start + ms(40));
    assert_eq!(line.drain(), (0, 0, 160));
    // The paced path gives silence too, not concealment.
    for tick in 0..20 {
        let frame = line.inbound.next_frame(line.start + ms(41 + tick * 20));
        assert!(!matches!(frame, Frame::Lost { .. }), "{frame:?}");
    }
    assert_eq!(line.put(500, &audio(3, 4_000, 7)), Received::Audio);
    assert_eq!(line.drain(), (160, 0, 3_680));
}

#[test]
fn either_codec_of_our_offer_may_come() {
    let mut line = line();
    let header = Header { payload_type: 8, marker: true, sequence: 1, timestamp: 0, ssrc: 7 };
    line.put(0, &packet(header, &[0xd5; 160]));
    let piece = line.inbound.pop_express();
    assert!(matches!(piece, Some(Piece::Payload { payload_type: 8, .. })), "{piece:?}");
}
