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
pub mod inbound;
pub mod jitter;
pub mod keying;
pub mod outbound;
pub mod pacer;
pub mod packet;
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

/// Largest payload of one packet: 80 ms of G.711 or G.722, 60 ms of Opus at 85 kbit/s. Peers packetize at 10 to
/// 60 ms.
pub const PAYLOAD_BYTES_MAX: usize = 640;

/// Comfort noise (RFC 3389).
pub const COMFORT_NOISE_PAYLOAD_TYPE: u8 = 13;
