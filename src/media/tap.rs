//! The recording feed: both directions of a call on one media clock.
//!
//! The clock counts samples since the stream began. Each channel knows where its next frame belongs:
//! the one after the last, unless the frame's own time disagrees by more than [`SLACK_MS`]. Small
//! disagreement is jitter of the measurement, and following it would tear the sound.

use std::time::Instant;

use super::event::Frame;
use crate::types::SampleRate;

/// Whose voice a tapped frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TapChannel {
    /// What came from the line: left.
    Caller,
    /// What we sent, as it was sent: right.
    Agent,
}

/// One frame of a recording.
#[derive(Clone, Copy)]
pub struct TapFrame {
    /// Which channel.
    pub channel: TapChannel,
    /// Where its first sample lies, in samples since the start of the stream. Gaps are silence.
    pub position: u64,
    /// The samples.
    pub frame: Frame,
}

/// Half a frame. A sender's clock that is 300 ppm off gets there after 33 s and costs one step of a frame
/// then, which keeps a channel of any length within half a frame of the clock. Half of it would take
/// jitter of the measurement for drift.
pub const SLACK_MS: u32 = 10;

/// Places frames of one channel.
#[derive(Clone, Copy, Debug)]
pub struct TapClock {
    start: Instant,
    rate: SampleRate,
    /// End of the last frame.
    end: u64,
}

impl TapClock {
    /// A clock that reads 0 at `start`.
    pub fn new(start: Instant, rate: SampleRate) -> Self {
        Self { start, rate, end: 0 }
    }

    /// The line's rate is known now: nothing was placed before.
    pub fn set_rate(&mut self, rate: SampleRate) {
        self.rate = rate;
    }

    /// Where a frame of `len` samples that begins at `at` goes: never before the end of the last frame.
    /// `None`: leave it out, because it begins before the recording or the channel is ahead of the clock
    /// (the sender's runs fast).
    pub fn place(&mut self, at: Instant, len: usize) -> Option<u64> {
        let measured = self.rate.samples_in(at.checked_duration_since(self.start)?);
        let slack = self.rate.samples_in_ms(SLACK_MS) as u64;
        if self.end > measured + slack {
            return None;
        }
        let position = if measured > self.end + slack { measured } else { self.end };
        self.end = position + len as u64;
        Some(position)
    }

    /// Where silence that begins at `at` goes. It only shows that time passes: sound that comes sooner than
    /// the next frame was due takes its place, so the end of the last frame stays where it is.
    pub fn place_silence(&self, at: Instant) -> Option<u64> {
        let measured = self.rate.samples_in(at.checked_duration_since(self.start)?);
        Some(measured.max(self.end))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn frames_join_until_their_time_says_otherwise() {
        let start = crate::net::clock::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut clock = TapClock::new(start, SampleRate::HZ_8000);
        assert_eq!(clock.place(at(100), 160), Some(800));
        assert_eq!(clock.place(at(125), 160), Some(960));
        assert_eq!(clock.place(at(139), 160), Some(1_120));
        assert_eq!(clock.place(at(300), 160), Some(2_400));
        assert_eq!(clock.place(at(310), 160), Some(2_560));
        assert_eq!(clock.place(at(320), 160), None);
        assert_eq!(clock.place(start - Duration::from_millis(1), 160), None);
    }

    /// Speech after silence leaves before the next tick: all of it is recorded, where it left.
    #[test]
    fn silence_makes_room_for_sound() {
        let start = crate::net::clock::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut clock = TapClock::new(start, SampleRate::HZ_8000);
        assert_eq!(clock.place(at(100), 160), Some(800));
        assert_eq!(clock.place_silence(at(115)), Some(960));
        assert_eq!(clock.place_silence(at(140)), Some(1_120));
        assert_eq!(clock.place(at(142), 160), Some(1_136));
        assert_eq!(clock.place_silence(at(162)), Some(1_296));
    }

    /// One hour from a sender whose clock is 300 ppm off, either way.
    #[test]
    fn drift_never_takes_a_channel_from_the_wall_clock() {
        for frame_us in [20_006, 19_994] {
            let start = crate::net::clock::now();
            let mut clock = TapClock::new(start, SampleRate::HZ_8000);
            let mut at = start;
            for _ in 0..180_000 {
                at += Duration::from_micros(frame_us);
                clock.place(at, 160);
                let wall = SampleRate::HZ_8000.samples_in(at - start);
                assert!(clock.end.abs_diff(wall) <= 240, "{} {wall}", clock.end);
            }
        }
    }
}
