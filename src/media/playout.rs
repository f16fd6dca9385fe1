//! What the agent says, frame by frame: a queue tagged by generation that can be cut at any frame.
//!
//! The frames wait in a ring of the call ([`FrameSource`]); this decides which of them play. Audio of
//! a generation that was stopped can never play, whenever it arrives. The first frame after a stop or
//! an underrun still fades, so that nothing clicks.

use super::event::{Frame, LINE_FRAME_SAMPLES_MAX, PlayoutFrame};
use crate::audio::mix;
use crate::types::audio::FRAME_MS;
use crate::types::{Generation, SampleRate};

/// Where the frames come from, oldest first.
pub trait FrameSource {
    /// Takes the next one.
    fn next_frame(&mut self) -> Option<PlayoutFrame>;
}

/// What is to be sent in one 20 ms interval.
#[derive(Clone, Copy)]
pub enum Tick {
    /// Nothing of the agent's.
    Silence,
    /// Audio that goes out as it is.
    Audio {
        /// Whose.
        generation: Generation,
        /// What.
        frame: Frame,
        /// The generation ends with this frame.
        finished: bool,
    },
    /// The fade after audio ran out: the generation goes on when more arrives.
    Underrun {
        /// Whose.
        generation: Generation,
        /// What.
        frame: Frame,
    },
    /// The fade after a stop: the last audio of the generation.
    Stopped {
        /// Whose.
        generation: Generation,
        /// What.
        frame: Frame,
    },
}

/// Which frame plays next.
pub struct Playout {
    rate: SampleRate,
    state: State,
    /// The last generation that may not play any more.
    stale: Option<Generation>,
    /// A frame looked at by [`Playout::has_audio`].
    ahead: Option<PlayoutFrame>,
    underruns: u64,
    stale_frames: u64,
}

#[derive(Clone, Copy)]
enum State {
    Silent,
    /// The last frame sent, to fade from.
    Playing {
        generation: Generation,
        sent: Frame,
    },
    /// Audio of this generation ran out before its end.
    Starved,
    /// Told to pause: fade in the next interval.
    Pausing {
        generation: Generation,
        sent: Frame,
    },
    /// Held back; the frame that faded waits to be heard whole.
    Paused {
        generation: Generation,
    },
    /// Told to stop: fade in the next interval.
    Stopping {
        stop: Generation,
        sent: Frame,
    },
}

/// What becomes of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// [`Tick::Stopped`] comes with the next interval.
    Fading,
    /// Nothing of it was playing: there is nothing to wait for.
    NotPlaying,
}

impl Playout {
    /// An empty playout at the codec's rate.
    pub fn new(rate: SampleRate) -> Self {
        Self { rate, state: State::Silent, stale: None, ahead: None, underruns: 0, stale_frames: 0 }
    }

    /// The line's rate is known now: nothing has played before.
    pub fn set_rate(&mut self, rate: SampleRate) {
        self.rate = rate;
    }

    /// `generation` and all before it may not play any more. What plays of it fades in the next interval.
    pub fn stop(&mut self, generation: Generation) -> Stop {
        self.stale = self.stale.max(Some(generation));
        let (playing, stop, sent) = match self.state {
            State::Playing { generation: playing, sent } => (playing, generation, sent),
            State::Stopping { stop, sent } => (stop, stop.max(generation), sent),
            State::Pausing { generation: playing, sent } => (playing, generation, sent),
            State::Paused { generation: paused } => {
                if paused <= generation {
                    self.state = State::Silent;
                }
                return Stop::NotPlaying;
            }
            State::Silent | State::Starved => return Stop::NotPlaying,
        };
        if playing > generation {
            return Stop::NotPlaying;
        }
        self.state = State::Stopping { stop, sent };
        Stop::Fading
    }

    /// Fades `generation` out in the next interval and holds back what follows, the faded frame included.
    pub fn pause(&mut self, generation: Generation) {
        self.state = match self.state {
            State::Playing { generation: playing, sent } if playing == generation => {
                State::Pausing { generation, sent }
            }
            State::Starved => State::Paused { generation },
            other => other,
        };
    }

    /// `generation` goes on with the frame that faded when it was paused.
    pub fn resume(&mut self, generation: Generation) {
        self.state = match self.state {
            // Its fade has not begun.
            State::Pausing { generation: paused, sent } if paused == generation => {
                State::Playing { generation, sent }
            }
            State::Paused { generation: paused } if paused == generation => State::Starved,
            other => other,
        };
    }

    /// Whether a stop waits for its fade.
    pub fn is_stopping(&self) -> bool {
        matches!(self.state, State::Stopping { .. })
    }

    /// Whether the next interval carries audio. Drops stale frames on the way.
    pub fn has_audio(&mut self, source: &mut impl FrameSource) -> bool {
        if self.ahead.is_some_and(|frame| self.is_stale(frame.generation)) {
            self.ahead = None;
            self.stale_frames += 1;
        }
        if let State::Paused { .. } = self.state {
            return false;
        }
        if self.ahead.is_none() {
            self.ahead = self.fresh(source);
        }
        self.ahead.is_some() || self.is_stopping()
    }

    /// Nothing plays, and nothing is about to fade.
    pub fn is_silent(&self) -> bool {
        matches!(self.state, State::Silent | State::Starved | State::Paused { .. })
    }

    /// Decides the next 20 ms.
    pub fn tick(&mut self, source: &mut impl FrameSource) -> Tick {
        if let State::Stopping { stop, sent } = self.state {
            self.state = State::Silent;
            // The frame that would have come next fades best; it is stale by now and would be dropped.
            let next = self.ahead.take().or_else(|| source.next_frame());
            let frame = match next {
                Some(next) if self.is_stale(next.generation) => self.faded(next.frame),
                next => {
                    self.ahead = next;
                    self.mirrored(sent)
                }
            };
            return Tick::Stopped { generation: stop, frame };
        }
        if let State::Pausing { generation, sent } = self.state {
            self.state = State::Paused { generation };
            self.ahead = self.ahead.take().or_else(|| self.fresh(source));
            let frame = match self.ahead {
                Some(next) => self.faded(next.frame),
                None => self.mirrored(sent),
            };
            return Tick::Underrun { generation, frame };
        }
        if !self.has_audio(source) {
            return self.without_audio();
        }
        let Some(next) = self.ahead.take() else { return Tick::Silence };
        let PlayoutFrame { mut frame, generation, last } = next;
        if matches!(self.state, State::Starved) {
            let mut samples = [0i16; LINE_FRAME_SAMPLES_MAX];
            let len = frame.samples().len();
            for (to, from) in samples.iter_mut().zip(frame.samples()) {
                *to = *from;
            }
            let samples = samples.get_mut(..len).unwrap_or_default();
            mix::fade_in(samples, self.rate);
            frame = Frame::new(samples);
        }
        self.state = if last { State::Silent } else { State::Playing { generation, sent: frame } };
        Tick::Audio { generation, frame, finished: last }
    }

    /// Intervals for which audio came too late.
    pub fn underruns(&self) -> u64 {
        self.underruns
    }

    /// Frames dropped because their generation was stopped.
    pub fn stale_frames(&self) -> u64 {
        self.stale_frames
    }

    fn without_audio(&mut self) -> Tick {
        let State::Playing { generation, sent } = self.state else { return Tick::Silence };
        self.underruns += 1;
        self.state = State::Starved;
        Tick::Underrun { generation, frame: self.mirrored(sent) }
    }

    fn is_stale(&self, generation: Generation) -> bool {
        self.stale.is_some_and(|stale| generation <= stale)
    }

    fn fresh(&mut self, source: &mut impl FrameSource) -> Option<PlayoutFrame> {
        // Ends with the ring: what a slow producer adds meanwhile is one frame, not a stream.
        while let Some(frame) = source.next_frame() {
            if !self.is_stale(frame.generation) {
                return Some(frame);
            }
            self.stale_frames += 1;
        }
        None
    }

    /// One whole frame, fading.
    fn out(&self, samples: &mut [i16]) -> Frame {
        let len = self.rate.samples_in_ms(FRAME_MS).min(samples.len());
        let samples = samples.get_mut(..len).unwrap_or_default();
        mix::fade_out(samples, self.rate);
        Frame::new(samples)
    }

    fn faded(&self, frame: Frame) -> Frame {
        let mut samples = [0i16; LINE_FRAME_SAMPLES_MAX];
        for (to, from) in samples.iter_mut().zip(frame.samples()) {
            *to = *from;
        }
        self.out(&mut samples)
    }

    /// The last frame backwards, fading: it joins where that frame ended, without a step.
    fn mirrored(&self, sent: Frame) -> Frame {
        let mut samples = [0i16; LINE_FRAME_SAMPLES_MAX];
        for (to, from) in samples.iter_mut().zip(sent.samples().iter().rev()) {
            *to = *from;
        }
        self.out(&mut samples)
    }
}

#[cfg(test)]
mod tests;
