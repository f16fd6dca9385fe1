//! One RTP packet on the wire (RFC 3550 section 5.1). The only file that names `rtc-rtp`.
//!
//! `rtc-rtp` reads and writes the fixed header of 12 octets, which costs it no allocation. Its reader of
//! CSRC lists and header extensions allocates a vector per list and a buffer per element (3 allocations
//! a packet for the usual two elements) for values nobody here uses, and its whole-packet reader copies
//! the payload. So lists and extensions are skipped in place and the payload is a view.

use rtc_rtp::header::Header as WireHeader;
use rtc_shared::marshal::{Marshal, Unmarshal};

/// Octets of a header without CSRC list and extension: all we ever send.
pub const HEADER_BYTES: usize = 12;

/// Datagrams beyond this are not audio: an Ethernet frame holds no more.
pub const PACKET_BYTES_MAX: usize = 1_500;

/// The fields of a fixed header we use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// 0 to 127.
    pub payload_type: u8,
    /// Start of a talkspurt, for audio (RFC 3551 section 4.1).
    pub marker: bool,
    /// Rises by one with every packet.
    pub sequence: u16,
    /// Clock of the first sample, in units of the codec's clock rate.
    pub timestamp: u32,
    /// Which source.
    pub ssrc: u32,
}

/// A packet as received: a view into the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The fixed header.
    pub header: Header,
    /// The payload without padding.
    pub payload: &'a [u8],
}

/// Why a datagram is not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than its header, CSRC list or extension says, or beyond [`PACKET_BYTES_MAX`].
    #[error("wrong size")]
    Size,
    /// Not version 2.
    #[error("wrong version")]
    Version,
    /// Padding of 0 octets or more than there are.
    #[error("wrong padding")]
    Padding,
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// Says which rule of RFC 3550 appendix A.1 the datagram breaks.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, PacketError> {
        if datagram.len() > PACKET_BYTES_MAX {
            return Err(PacketError::Size);
        }
        let (fixed, mut rest) =
            datagram.split_first_chunk::<HEADER_BYTES>().ok_or(PacketError::Size)?;
        let flags = fixed[0];
        if flags >> 6 != 2 {
            return Err(PacketError::Version);
        }
        let csrc_bytes = usize::from(flags & 0x0f) * 4;
        rest = rest.get(csrc_bytes..).ok_or(PacketError::Size)?;
        if flags & 0x10 != 0 {
            let (extension, after) = rest.split_first_chunk::<4>().ok_or(PacketError::Size)?;
            let words = usize::from(u16::from_be_bytes([extension[2], extension[3]]));
            rest = after.get(words * 4..).ok_or(PacketError::Size)?;
        }
        if flags & 0x20 != 0 {
            let padding = usize::from(*rest.last().ok_or(PacketError::Padding)?);
            let kept = rest.len().checked_sub(padding).filter(|_| padding > 0);
            rest = kept.and_then(|len| rest.get(..len)).ok_or(PacketError::Padding)?;
        }
        // Without the bits for what is skipped above, the reader touches 12 octets and no heap.
        let mut bare = *fixed;
        bare[0] &= 0xc0;
        let wire = WireHeader::unmarshal(&mut bare.as_slice()).map_err(|_| PacketError::Size)?;
        Ok(Self {
            header: Header {
                payload_type: wire.payload_type,
                marker: wire.marker,
                sequence: wire.sequence_number,
                timestamp: wire.timestamp,
                ssrc: wire.ssrc,
            },
            payload: rest,
        })
    }
}

impl Header {
    /// Writes the header to the start of `out`; `None` if it does not fit.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let wire = WireHeader {
            version: 2,
            marker: self.marker,
            payload_type: self.payload_type & 0x7f,
            sequence_number: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
            ..WireHeader::default()
        };
        wire.marshal_to(out).ok()
    }
}

#[cfg(test)]
mod tests;
