//! Live audio of somebody else on its way into what a stream sends.

use rtrb::{Consumer, Producer, RingBuffer};

use crate::media::{ASIDES, Frame};

/// Frames that may wait: jitter of 120 ms, and as much again while the line is on hold.
const ASIDE_RING: usize = 12;

/// Sources of one stream, by place.
pub(super) type Places = [Option<Consumer<Frame>>; ASIDES];

/// Writes live audio of somebody else. Dropping it ends that audio.
pub struct AsideWriter {
    ring: Producer<Frame>,
}

impl AsideWriter {
    /// Adds 20 ms. What does not fit is old news for a line that takes nothing; whether it fitted.
    pub fn push(&mut self, frame: Frame) -> bool {
        self.ring.push(frame).is_ok()
    }
}

pub(super) fn pair() -> (AsideWriter, Consumer<Frame>) {
    let (ring, reader) = RingBuffer::new(ASIDE_RING);
    (AsideWriter { ring }, reader)
}
