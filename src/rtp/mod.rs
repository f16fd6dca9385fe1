//! Workshop: packets to frames and back (RFC 3550, RFC 3551, RFC 4733).
//!
//! Not here: sockets, samples, SDP. [`Inbound`] takes datagrams and gives payloads twice: at once and in
//! order for speech recognition ([`express`]), and evenly paced for recording ([`jitter`]). [`Outbound`]
//! turns payloads into packets when [`Pacer`] says so. [`rtcp::Control`] reports on both. All are driven
//! by `now` and allocate only when built. Start reading at [`inbound`].

pub mod arrival;
pub mod dtls;
pub mod dtmf;
pub mod express;
pub mod ice;
pub mod inbound;
pub mod jitter;
pub mod keying;
pub mod outbound;
pub mod pacer;
pub mod packet;
mod rate;
pub mod rtcp;
pub mod seq;
pub mod source;
pub mod srtp;
pub mod stats;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;

pub use express::Piece;
pub use inbound::{Inbound, InboundConfig, Received};
pub use jitter::Frame;
pub use outbound::{Audio, Outbound, OutboundConfig, Sent};
pub use pacer::{Due, Pacer};
pub use packet::{Header, Packet, PacketError};
pub use source::Policy;
pub use stats::{InboundStats, OutboundStats};

/// Largest payload of one packet: 40 ms of L16 at 16 kHz, which is as much as one datagram of Ethernet takes.
pub const PAYLOAD_BYTES_MAX: usize = 1_280;

/// Longest audio of one packet, milliseconds. Peers packetize at 10 to 60 ms; Opus has no more than this.
pub const PAYLOAD_MS_MAX: u32 = 120;

/// Comfort noise (RFC 3389).
pub const COMFORT_NOISE_PAYLOAD_TYPE: u8 = 13;
