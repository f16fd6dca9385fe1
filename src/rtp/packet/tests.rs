#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::{HEADER_BYTES, Header, PACKET_BYTES_MAX, Packet, PacketError};
use crate::rtp::fuzz;

fn plain(first: u8, tail: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first, 0x80, 0x12, 0x34, 0, 0, 0, 160, 0, 0, 0, 1];
    bytes.extend_from_slice(tail);
    bytes
}

#[test]
fn reads_header_csrc_extension_and_padding() {
    let table: [(Vec<u8>, &[u8]); 7] = [
        (plain(0x80, b"abc"), b"abc"),
        (plain(0x80, b""), b""),
        (plain(0x82, b"ccccddddabc"), b"abc"),
        (plain(0x90, b"\xbe\xde\0\x01\x10\xff\0\0abc"), b"abc"),
        (plain(0x90, b"\x10\0\0\0abc"), b"abc"),
        (plain(0xa0, b"abc\0\x02"), b"abc"),
        (plain(0xb1, b"cccc\xbe\xde\0\0abc\x01"), b"abc"),
    ];
    for (bytes, payload) in table {
        let packet = Packet::parse(&bytes).unwrap();
        assert_eq!(packet.payload, payload);
        let header =
            Header { payload_type: 0, marker: true, sequence: 0x1234, timestamp: 160, ssrc: 1 };
        assert_eq!(packet.header, header);
    }
}

#[test]
fn refuses_what_is_no_packet() {
    let table = [
        (vec![], PacketError::Size),
        (vec![0x80; 11], PacketError::Size),
        (vec![0x80; PACKET_BYTES_MAX + 1], PacketError::Size),
        (plain(0x40, b"abc"), PacketError::Version),
        (plain(0x00, b"\x21\x12\xa4\x42"), PacketError::Version),
        (plain(0x8f, b"too few"), PacketError::Size),
        (plain(0x90, b"\xbe\xde"), PacketError::Size),
        (plain(0x90, b"\xbe\xde\xff\xff"), PacketError::Size),
        (plain(0xa0, b""), PacketError::Padding),
        (plain(0xa0, b"ab\0"), PacketError::Padding),
        (plain(0xa0, b"ab\x04"), PacketError::Padding),
    ];
    for (bytes, error) in table {
        assert_eq!(Packet::parse(&bytes), Err(error), "{bytes:02x?}");
    }
}

/// Octets that made other stacks panic: an extension element longer than its packet, and an RTCP packet
/// shorter than its authentication.
#[test]
fn octets_that_felled_others() {
    let extension = [0x90, 0, 0, 1, 0, 0, 0, 160, 0, 0, 0, 1, 0xBE, 0xDE, 0, 1, 0x1f, 0, 0, 0];
    assert_eq!(Packet::parse(&extension).unwrap().payload, b"");
    fuzz::rtp_packet(&extension);
    let control = [0x80, 200, 0, 1, 0, 0, 0, 1];
    fuzz::rtp_packet(&control);
    fuzz::rtcp(&control);
}

#[test]
fn does_not_write_past_the_buffer() {
    assert_eq!(Header::default().write(&mut [0; HEADER_BYTES - 1]), None);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(payload_type in 0_u8..128, marker: bool, sequence: u16,
                                    timestamp: u32, ssrc: u32, payload: [u8; 20]) {
        let header = Header { payload_type, marker, sequence, timestamp, ssrc };
        let mut bytes = [0; HEADER_BYTES + 20];
        prop_assert_eq!(header.write(&mut bytes), Some(HEADER_BYTES));
        bytes[HEADER_BYTES..].copy_from_slice(&payload);
        prop_assert_eq!(Packet::parse(&bytes), Ok(Packet { header, payload: &payload }));
    }

    #[test]
    fn no_datagram_does_harm(flags: u8, kind: u8, tail in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut bytes = vec![0x80 | (flags & 0x3f), kind];
        bytes.extend(tail);
        fuzz::rtp_packet(&bytes);
        fuzz::rtcp(&bytes);
        fuzz::dtmf(&bytes);
    }

    #[test]
    fn no_sequence_of_operations_does_harm(ops in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        fuzz::jitter_ops(&ops);
    }
}
