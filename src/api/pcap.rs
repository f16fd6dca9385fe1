//! SIP messages as a capture file, for Wireshark and its kin (the classic format, draft-ietf-opsawg-pcap; each packet
//! is raw IP). Addresses, ports and times are the real ones; IP, UDP and TCP headers are made up around them, since
//! nothing was captured. A stream is told in one segment a message.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::types::{SipLadder, SipMessage, SipWay};

/// Media type of a capture file (IANA).
pub(super) const MEDIA_TYPE: &str = "application/vnd.tcpdump.pcap";

/// Little endian, microseconds.
const MAGIC: u32 = 0xa1b2_c3d4;
/// LINKTYPE_RAW: a packet begins with its IP header.
const LINK_TYPE: u32 = 101;
const UDP: u8 = 17;
const TCP: u8 = 6;
/// Largest payload: what UDP over IPv4 can carry.
const PAYLOAD_MAX: usize = 65_507;
const TCP_HEADER_BYTES: usize = 20;
const UDP_HEADER_BYTES: usize = 8;

/// The file.
pub(super) fn write(ladder: &SipLadder) -> Vec<u8> {
    let mut file = Vec::with_capacity(1_024 * ladder.messages.len());
    file.extend(MAGIC.to_le_bytes());
    file.extend(2u16.to_le_bytes());
    file.extend(4u16.to_le_bytes());
    file.extend([0; 8]);
    file.extend(65_535u32.to_le_bytes());
    file.extend(LINK_TYPE.to_le_bytes());
    let mut streams = HashMap::new();
    for message in &ladder.messages {
        let packet = packet(message, &mut streams);
        let us = message.at.as_microsecond();
        let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let seconds = u32::try_from(us.div_euclid(1_000_000)).unwrap_or(0);
        let rest = u32::try_from(us.rem_euclid(1_000_000)).unwrap_or(0);
        for word in [seconds, rest, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

/// Octets said so far from one address to another.
type Streams = HashMap<(SocketAddr, SocketAddr), u32>;

fn packet(message: &SipMessage, streams: &mut Streams) -> Vec<u8> {
    let (from, to) = match message.way {
        SipWay::Received => (message.remote, message.local),
        SipWay::Sent => (message.local, message.remote),
    };
    let text = message.text.reveal().as_bytes();
    let payload = text.get(..PAYLOAD_MAX).unwrap_or(text);
    let (protocol, segment) = if message.transport == "udp" {
        (UDP, udp(from, to, payload))
    } else {
        (TCP, tcp(from, to, payload, streams))
    };
    // A canonical pair: both of one family.
    match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            ipv4(source.octets(), target.octets(), protocol, segment)
        }
        (source, target) => ipv6(v6(source), v6(target), protocol, segment),
    }
}

fn v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// A length that is known to fit: [`PAYLOAD_MAX`] and the headers.
fn length16(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

/// Checksum still 0.
fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut segment = Vec::with_capacity(UDP_HEADER_BYTES + payload.len());
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend(length16(UDP_HEADER_BYTES + payload.len()).to_be_bytes());
    segment.extend([0, 0]);
    segment.extend(payload);
    segment
}

/// Checksum still 0. PSH and ACK; what was said before in both directions is in the numbers.
fn tcp(from: SocketAddr, to: SocketAddr, payload: &[u8], streams: &mut Streams) -> Vec<u8> {
    let acknowledged = streams.get(&(to, from)).copied().unwrap_or(0).wrapping_add(1);
    let said = streams.entry((from, to)).or_default();
    let sequence = said.wrapping_add(1);
    *said = said.wrapping_add(u32::from(length16(payload.len())));
    let mut segment = Vec::with_capacity(TCP_HEADER_BYTES + payload.len());
    segment.extend(from.port().to_be_bytes());
    segment.extend(to.port().to_be_bytes());
    segment.extend(sequence.to_be_bytes());
    segment.extend(acknowledged.to_be_bytes());
    segment.extend([0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

fn ipv4(source: [u8; 4], target: [u8; 4], protocol: u8, segment: Vec<u8>) -> Vec<u8> {
    let mut header = Vec::with_capacity(20 + segment.len());
    header.extend([0x45, 0]);
    header.extend(length16(20 + segment.len()).to_be_bytes());
    header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    header.extend(source);
    header.extend(target);
    let sum = checksum(&[&header]);
    set16(&mut header, 10, sum);
    let mut pseudo = Vec::with_capacity(12);
    pseudo.extend(source);
    pseudo.extend(target);
    pseudo.extend([0, protocol]);
    pseudo.extend(length16(segment.len()).to_be_bytes());
    header.extend(summed(protocol, segment, &pseudo));
    header
}

fn ipv6(source: [u8; 16], target: [u8; 16], protocol: u8, segment: Vec<u8>) -> Vec<u8> {
    let mut header = Vec::with_capacity(40 + segment.len());
    header.extend([0x60, 0, 0, 0]);
    header.extend(length16(segment.len()).to_be_bytes());
    header.extend([protocol, 64]);
    header.extend(source);
    header.extend(target);
    let mut pseudo = Vec::with_capacity(40);
    pseudo.extend(source);
    pseudo.extend(target);
    pseudo.extend(u32::from(length16(segment.len())).to_be_bytes());
    pseudo.extend([0, 0, 0, protocol]);
    header.extend(summed(protocol, segment, &pseudo));
    header
}

/// The segment with its checksum (RFC 768, RFC 9293 section 3.1).
fn summed(protocol: u8, mut segment: Vec<u8>, pseudo: &[u8]) -> Vec<u8> {
    let sum = checksum(&[pseudo, &segment]);
    let at = if protocol == UDP { 6 } else { 16 };
    // In UDP 0 means that there is none.
    set16(&mut segment, at, if protocol == UDP && sum == 0 { 0xffff } else { sum });
    segment
}

fn set16(octets: &mut [u8], at: usize, value: u16) {
    if let Some(place) = octets.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// RFC 1071. Every part but the last has an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        let high = u32::from(pair.first().copied().unwrap_or(0));
        let low = u32::from(pair.get(1).copied().unwrap_or(0));
        sum += high << 8 | low;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(way: SipWay, transport: &str, remote: &str, text: &str) -> SipMessage {
        SipMessage {
            at: jiff::Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(),
            way,
            transport: transport.to_owned(),
            local: if remote.starts_with('[') { "[2001:db8::1]:5060" } else { "192.0.2.1:5060" }
                .parse()
                .unwrap(),
            remote: remote.parse().unwrap(),
            text: text.to_owned().into(),
            octets: text.len(),
        }
    }

    #[test]
    fn a_datagram_in_a_file_is_right_to_the_octet() {
        let messages = vec![message(SipWay::Sent, "udp", "192.0.2.2:5070", "abc")];
        let file = write(&SipLadder { messages, omitted: 0 });
        let (head, packet) = file.split_at(24 + 16);
        assert_eq!(head[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
        assert_eq!(head[20..24], [101, 0, 0, 0]);
        assert_eq!(head[24..28], 1_700_000_000u32.to_le_bytes());
        assert_eq!(head[28..32], 123_456u32.to_le_bytes());
        assert_eq!(head[32..36], 31u32.to_le_bytes());
        assert_eq!(packet.len(), 31);
        assert_eq!(packet[12..20], [192, 0, 2, 1, 192, 0, 2, 2]);
        // A header with its checksum sums up to nothing.
        assert_eq!(checksum(&[&packet[..20]]), 0);
        let pseudo = [192, 0, 2, 1, 192, 0, 2, 2, 0, 17, 0, 11];
        assert_eq!(checksum(&[&pseudo, &packet[20..]]), 0);
        assert!(packet.ends_with(b"abc"));
    }

    #[test]
    fn a_stream_counts_its_octets_in_both_directions() {
        let messages = [
            message(SipWay::Sent, "tcp", "[2001:db8::2]:5070", "abc"),
            message(SipWay::Received, "tcp", "[2001:db8::2]:5070", "de"),
            message(SipWay::Sent, "tcp", "[2001:db8::2]:5070", "f"),
        ];
        let mut streams = Streams::new();
        let numbers = messages.iter().map(|message| {
            let packet = packet(message, &mut streams);
            assert_eq!(packet[0] >> 4, 6);
            (packet[47], packet[51])
        });
        assert_eq!(numbers.collect::<Vec<_>>(), [(1, 1), (1, 4), (4, 3)]);
    }
}
