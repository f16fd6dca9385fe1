//! What a stream needs from whoever drives it: a wire, a way to tell, a place to record.
//!
//! The cores elsewhere hand out effects as data. Here they go through this trait, because a packet is
//! written once into one buffer and `sendto`'s return is the instant the latency ledger wants.

use std::net::SocketAddr;
use std::time::Instant;

use super::event::{Frame, MediaEvent};
use super::playout::FrameSource;
use super::tap::TapFrame;

/// Which of a stream's two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// Media.
    Rtp,
    /// Control.
    Rtcp,
}

/// The surroundings of one stream. None of these may wait, lock or allocate.
pub trait StreamIo: FrameSource {
    /// Sends a datagram; what cannot be sent is dropped. Returns the time after sending.
    fn send(&mut self, kind: PacketKind, to: SocketAddr, datagram: &[u8]) -> Instant;
    /// Tells the call's task; what does not fit its ring is dropped and counted.
    fn event(&mut self, event: MediaEvent);
    /// Passes a datagram of a handshake on; what does not fit its ring is dropped and counted.
    fn handshake(&mut self, _from: SocketAddr, _datagram: &[u8]) {}
    /// Records; what does not fit the recorder's ring is dropped and counted.
    fn tap(&mut self, frame: TapFrame);
    /// Frames that wait at a place below [`super::aside::ASIDES`].
    fn asides(&self, _place: usize) -> usize {
        0
    }
    /// The next of them.
    fn next_aside(&mut self, _place: usize) -> Option<Frame> {
        None
    }
}
