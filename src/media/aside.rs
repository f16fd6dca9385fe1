//! Live audio of somebody else that is added to what a stream sends: the far side of a bridge, a supervisor.
//!
//! It comes as it is heard, with the jitter of its own line, and leaves by this stream's clock. Two clocks never agree:
//! what piles up is taken out by blending two frames into one, and what runs out waits until a little is there again.

use super::event::{Frame, LINE_FRAME_SAMPLES_MAX};
use super::io::StreamIo;
use crate::audio::mix;

/// Sources of one stream: the far side of a bridge, and a supervisor.
pub const ASIDES: usize = 2;
/// Frames that wait before the first one leaves: one is being gathered while the other plays.
const TARGET_MIN: usize = 2;
/// Most frames that jitter makes wait, 120 ms.
const TARGET_MAX: usize = 6;
/// Frames beyond the target that are jitter, not drift.
const SLACK: usize = 2;
/// Intervals in a row with more than that: one second. Then a frame too many has come.
const SURPLUS_TICKS: u32 = 50;
/// So many frames beyond the target waited for a closed line, and are old news.
const STALE: usize = 4;

/// Where one source is.
#[derive(Clone, Copy, Debug)]
pub struct Aside {
    place: usize,
    target: usize,
    playing: bool,
    surplus: u32,
}

impl Aside {
    /// A source that says nothing yet. `place` is below [`ASIDES`].
    pub fn new(place: usize) -> Self {
        Self { place, target: TARGET_MIN, playing: false, surplus: 0 }
    }

    /// Whether it is heard now.
    pub fn is_playing(&self) -> bool {
        self.playing
    }

    /// Adds the next 20 ms to `samples`; whether there were any.
    pub fn add_to(&mut self, samples: &mut [i16], io: &mut impl StreamIo) -> bool {
        let Some((frame, follows)) = self.next(io) else { return false };
        let Some(follows) = follows else {
            mix::mix(samples, frame.samples());
            return true;
        };
        let mut blended = [0; LINE_FRAME_SAMPLES_MAX];
        for (to, from) in blended.iter_mut().zip(frame.samples()) {
            *to = *from;
        }
        let blended = blended.get_mut(..frame.samples().len()).unwrap_or_default();
        mix::cross_fade(blended, follows.samples());
        mix::mix(samples, blended);
        true
    }

    /// The next frame, and the one it is blended with.
    fn next(&mut self, io: &mut impl StreamIo) -> Option<(Frame, Option<Frame>)> {
        let mut waiting = io.asides(self.place);
        if !self.playing {
            if waiting < self.target {
                return None;
            }
            self.playing = true;
            self.surplus = 0;
        }
        if waiting == 0 {
            self.playing = false;
            self.target = (self.target + 1).min(TARGET_MAX);
            return None;
        }
        if waiting > self.target + SLACK + STALE {
            while waiting > self.target {
                io.next_aside(self.place)?;
                waiting -= 1;
            }
        }
        let frame = io.next_aside(self.place)?;
        self.surplus = if waiting > self.target + SLACK { self.surplus + 1 } else { 0 };
        if self.surplus < SURPLUS_TICKS {
            return Some((frame, None));
        }
        self.surplus = 0;
        Some((frame, io.next_aside(self.place)))
    }
}

#[cfg(test)]
mod tests;
