//! Fuzz bodies: no datagram may make the room panic, grow or contradict itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::arrival::ArrivalMap;
use super::dtls::Identity;
use super::dtmf::DtmfReceiver;
use super::express::{Arrived, Express};
use super::ice::Lite;
use super::jitter::{DEPTH_MS_MAX, Jitter, Loudness};
use super::keying::{CANDIDATES_MAX, Keying, KeyingEvent, Party};
use super::packet::{HEADER_BYTES, PACKET_BYTES_MAX};
use super::rtcp::{Control, Farewell, Heard, Sending};
use super::srtp::{OVERHEAD_BYTES_MAX, Receiver, Sender, SrtpError};
use super::stats::{OutboundStats, ReceptionSummary};
use super::{Inbound, InboundConfig, Packet, Policy};
use crate::types::{
    CodecName, CodecSpec, DtlsPlan, DtlsRole, Entropy, Fingerprint, IceCredentials, SrtpKey,
    SrtpSuite,
};

/// Some instant: the cores never ask for the time, but a test must begin somewhere.
#[expect(
    clippy::disallowed_methods,
    reason = "fuzz bodies and tests need one instant to count from"
)]
pub(crate) fn origin() -> Instant {
    Instant::now()
}

/// One datagram, alone and as the first of a stream.
pub fn rtp_packet(data: &[u8]) {
    if let Ok(packet) = Packet::parse(data) {
        assert!(packet.payload.len() + HEADER_BYTES <= data.len());
        let mut again = vec![0; HEADER_BYTES];
        assert_eq!(packet.header.write(&mut again), Some(HEADER_BYTES));
        again.extend_from_slice(packet.payload);
        assert_eq!(Packet::parse(&again), Ok(packet), "the header is not written as it was read");
    }
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 4_000));
    let now = origin();
    let mut inbound = Inbound::new(now, config(from));
    inbound.receive(now, from, data);
    while inbound.pop_express().is_some() {}
    inbound.tick(now + Duration::from_secs(1));
    inbound.next_frame(now + Duration::from_secs(1));
}

/// Datagrams at a lite agent of ICE, each cut from the input behind its length. Answers stay short, whatever was asked.
pub fn ice(data: &[u8]) {
    let mut lite = Lite::new(IceCredentials::generate(&mut Entropy::seeded(1)));
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 4_000));
    let mut rest = data;
    while let [len, behind @ ..] = rest {
        let (datagram, behind) = behind.split_at(behind.len().min(usize::from(*len) * 4));
        rest = behind;
        if let Some(checked) = lite.handle(from, datagram) {
            assert!(checked.response.len() <= 128, "{} octets", checked.response.len());
        }
    }
}

/// Datagrams at a client and a server, each cut from the input: its first octet says whose address it comes from, the
/// second how long it is. Nobody gets keys, and what is sent stays bounded.
pub fn dtls(data: &[u8]) {
    static IDENTITY: std::sync::OnceLock<Option<std::sync::Arc<Identity>>> =
        std::sync::OnceLock::new();
    let made = || Identity::generate().ok().map(std::sync::Arc::new);
    let Some(identity) = IDENTITY.get_or_init(made) else { return };
    let mut now = origin();
    let remote = SocketAddr::from((Ipv4Addr::LOCALHOST, 4_000));
    let peer = Fingerprint::new([1; 32]);
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let plan = DtlsPlan { association: 1, role, peer };
        let party = Party { plan, remote, is_found: true, policy: Policy::Learn };
        let entropy = &mut Entropy::seeded(1);
        let mut keying = Keying::new(now, std::sync::Arc::clone(identity), party, entropy);
        let mut rest = data;
        while let [whose, len, behind @ ..] = rest {
            let (datagram, behind) = behind.split_at(behind.len().min(usize::from(*len) * 4));
            rest = behind;
            let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 4_000 + u16::from(*whose % 4)));
            keying.handle(now, from, datagram);
            now += Duration::from_millis(u64::from(*whose));
            keying.handle_timeout(now);
            let mut sent = 0;
            while let Some(event) = keying.poll() {
                assert!(!matches!(event, KeyingEvent::Keyed { .. }), "keys with nobody");
                if let KeyingEvent::Send { datagram, .. } = event {
                    assert!(datagram.len() <= 1_500, "too long for a datagram");
                    sent += 1;
                }
            }
            assert!(sent <= 8 * CANDIDATES_MAX, "one datagram is answered with {sent}");
        }
    }
}

pub(crate) fn config(from: SocketAddr) -> InboundConfig {
    InboundConfig {
        codec: CodecSpec::with_static_payload_type(CodecName::Pcmu),
        alternate: Some(CodecSpec::with_static_payload_type(CodecName::Pcma)),
        dtmf_payload_type: Some(101),
        remote_rtp: from,
        remote_rtcp: from,
        policy: Policy::Strict,
        reorder: 1,
    }
}

/// One control datagram: counted or heard, and our own reports stay readable whatever it said.
pub fn rtcp(data: &[u8]) {
    let now = origin();
    let later = now + Duration::from_secs(1);
    let mut control = Control::new(now, 1, Entropy::seeded(1));
    let heard = control.handle(later, data, Some(2));
    assert!(heard == Heard::default() || control.malformed() == 0, "counted and heard");
    assert_eq!(control.remote_report(), heard.report);
    let sending = Sending { stats: OutboundStats::default(), timestamp: 0 };
    let reception = summary(data);
    let mut out = [0; 512];
    let written = control.write(later, sending, reception, Farewell::Bye, &mut out);
    let report = written.and_then(|len| out.get(..len)).unwrap_or_default();
    let mut peer = Control::new(now, 2, Entropy::seeded(2));
    let heard = peer.handle(later, report, Some(1));
    assert!(heard.bye, "our goodbye is not heard: {report:?}");
    assert_eq!(heard.report.is_some(), reception.is_some_and(|reception| reception.ssrc == 2));
}

/// One datagram to every suite: nothing is authentic by chance, and what we protect is opened once.
pub fn srtp(data: &[u8]) {
    let mut entropy = Entropy::seeded(1);
    for suite in SrtpSuite::ALL {
        let key = SrtpKey::generate(suite, &mut entropy);
        let (Ok(mut sender), Ok(mut receiver)) = (Sender::new(key), Receiver::new(key)) else {
            continue;
        };
        assert!(receiver.open(data).is_err() && receiver.open_control(data).is_err());
        let mut space = data.to_vec();
        space.resize(data.len() + OVERHEAD_BYTES_MAX, 0);
        let sealed = sender.protect(&mut space, data.len()).and_then(|len| space.get(..len));
        if let Some(sealed) = sealed.filter(|sealed| sealed.len() <= PACKET_BYTES_MAX) {
            assert_eq!(receiver.open(sealed), Ok(data));
            assert_eq!(receiver.open(sealed), Err(SrtpError::Replay));
        }
        let mut space = data.to_vec();
        space.resize(data.len() + OVERHEAD_BYTES_MAX, 0);
        let sealed = sender.protect_control(&mut space, data.len());
        let sealed = sealed.and_then(|len| space.get(..len));
        if let Some(sealed) = sealed.filter(|sealed| sealed.len() <= PACKET_BYTES_MAX) {
            assert_eq!(receiver.open_control(sealed), Ok(data));
            assert_eq!(receiver.open_control(sealed), Err(SrtpError::Replay));
        }
    }
}

/// What we heard of the peer, drawn from the same octets.
fn summary(data: &[u8]) -> Option<ReceptionSummary> {
    let &[fraction_lost, a, b, c, .., ssrc] = data else { return None };
    let word = u32::from_be_bytes([fraction_lost, a, b, c]);
    Some(ReceptionSummary {
        ssrc: u32::from(ssrc),
        fraction_lost,
        cumulative_lost: (word as i32) >> 8,
        highest_sequence: word,
        jitter: word.rotate_left(7),
    })
}

/// A sequence of events: two octets of timestamp and four of payload each.
pub fn dtmf(data: &[u8]) {
    let mut now = origin();
    let mut receiver = DtmfReceiver::default();
    let mut open = 0_i64;
    for chunk in data.chunks(6) {
        let Some((head, payload)) = chunk.split_first_chunk::<2>() else { return };
        let timestamp = u32::from(u16::from_be_bytes(*head)) << 8;
        let events = receiver.receive(now, timestamp, payload);
        for event in events.into_iter().chain([receiver.tick(now)]).flatten() {
            open += match event {
                super::dtmf::KeyEvent::Pressed { .. } => 1,
                super::dtmf::KeyEvent::Released { .. } => -1,
            };
        }
        assert!(open >= 0, "a key cannot be released more often than pressed");
        now += Duration::from_millis(u64::from(head[0]));
    }
}

/// Packets and ticks in any order: six octets are one operation.
pub fn jitter_ops(data: &[u8]) {
    let mut now = origin();
    let mut jitter = Jitter::new(8_000, 160);
    let mut express = Express::new(2, 8_000);
    let mut arrivals = ArrivalMap::new(8_000);
    let payload = [0_u8; 240];
    let mut sequence = 1_u64 << 32;
    for chunk in data.chunks_exact(6) {
        let &[op, step, shift, len, wait, quiet] = chunk else { return };
        now += Duration::from_millis(u64::from(wait));
        if op & 1 == 0 {
            jitter.next(now, &arrivals);
            continue;
        }
        sequence = sequence.saturating_add_signed(i64::from(step as i8));
        let len = usize::from(len).min(payload.len());
        let arrived = Arrived {
            sequence,
            timestamp: sequence * 160 + u64::from(shift) * 40,
            payload_type: 0,
            payload: payload.get(..len).unwrap_or(&[]),
            samples: len as u32,
        };
        arrivals.observe(now, arrived.timestamp);
        let loudness = if quiet & 1 == 0 { Loudness::Quiet } else { Loudness::Audible };
        jitter.insert(now, arrived, loudness, &arrivals);
        assert!(jitter.depth_ms() <= DEPTH_MS_MAX);
        express.insert(arrived);
        let mut pieces = 0;
        while express.pop().is_some() {
            pieces += 1;
            assert!(pieces < 16, "one packet cannot make more pieces");
        }
    }
}
