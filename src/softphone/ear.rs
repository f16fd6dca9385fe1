//! What is heard and when: the remote's talkspurts, by level, one frame at a time.
//!
//! Pure: arrivals come in with the frames. A frame is audible above the level at which the server
//! itself calls a packet audible ([`AUDIBLE_DBFS`]), so that both sides measure the same edge.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::audio::level;
use crate::audio::tone::Goertzel;
use crate::media::outbound::AUDIBLE_DBFS;
use crate::types::SampleRate;

/// Silence that ends a talkspurt: stops between words are shorter than this, pauses longer.
pub const HANGOVER: Duration = Duration::from_millis(200);
/// Silence that ends a reply, unless told otherwise: sentences of one reply follow each other sooner.
pub const QUIET: Duration = Duration::from_millis(700);
/// Audible frames that make a talkspurt count: one alone is a click.
const FRAMES_MIN: u32 = 2;
/// Talkspurts remembered; a call of an hour has about a thousand.
pub const SPURTS_MAX: usize = 4_096;

/// A stretch of the remote's speech, bounded by silences of [`HANGOVER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spurt {
    /// Arrival of its first audible packet.
    pub began_at: Instant,
    /// Arrival of its last audible packet so far.
    pub ended_at: Instant,
    /// Audible frames.
    pub frames: u32,
}

/// Edges of the remote's speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarEvent {
    /// A talkspurt is sure.
    Began {
        /// Arrival of its first audible packet.
        at: Instant,
    },
    /// It ended [`HANGOVER`] ago.
    Ended {
        /// Arrival of its last audible packet.
        at: Instant,
    },
    /// The remote has been silent for the time that ends a reply.
    Settled {
        /// Arrival of the last audible packet.
        at: Instant,
    },
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing audible; what ended last has been told as settled, or there was nothing.
    Silent,
    /// Within a talkspurt: the last of the list.
    Speaking,
    /// Its end was told, the longer silence not yet.
    Pausing,
}

/// Hears one direction of one call.
#[derive(Debug)]
pub struct Ear {
    quiet: Duration,
    audible_dbfs: f32,
    state: State,
    spurts: VecDeque<Spurt>,
    heard_until: Option<Instant>,
}

impl Default for Ear {
    fn default() -> Self {
        Self::new(QUIET)
    }
}

impl Ear {
    /// An ear for which a reply ends with `quiet` of silence.
    pub fn new(quiet: Duration) -> Self {
        Self {
            quiet: quiet.max(HANGOVER),
            audible_dbfs: AUDIBLE_DBFS,
            state: State::Silent,
            spurts: VecDeque::new(),
            heard_until: None,
        }
    }

    /// An ear for a remote with a sound behind its voice: only what is above this level is the voice.
    #[must_use]
    pub fn above(mut self, audible_dbfs: f32) -> Self {
        self.audible_dbfs = audible_dbfs;
        self
    }

    /// Silence that ends a reply.
    pub fn quiet(&self) -> Duration {
        self.quiet
    }

    /// Takes 20 ms that arrived at `at`.
    pub fn hear(&mut self, at: Instant, samples: &[i16]) -> Option<EarEvent> {
        self.heard_until = self.heard_until.max(Some(at));
        if level::rms_dbfs(samples) > self.audible_dbfs {
            self.audible(at)
        } else {
            self.silent(at)
        }
    }

    fn audible(&mut self, at: Instant) -> Option<EarEvent> {
        if !matches!(self.state, State::Speaking) {
            self.state = State::Speaking;
            if self.spurts.len() == SPURTS_MAX {
                self.spurts.pop_front();
            }
            self.spurts.push_back(Spurt { began_at: at, ended_at: at, frames: 0 });
        }
        let spurt = self.spurts.back_mut()?;
        spurt.ended_at = at;
        spurt.frames = spurt.frames.saturating_add(1);
        (spurt.frames == FRAMES_MIN).then_some(EarEvent::Began { at: spurt.began_at })
    }

    fn silent(&mut self, at: Instant) -> Option<EarEvent> {
        let last = *self.spurts.back()?;
        let silence = at.saturating_duration_since(last.ended_at);
        match self.state {
            State::Silent => None,
            State::Speaking if silence < HANGOVER => None,
            State::Speaking if last.frames < FRAMES_MIN => {
                self.spurts.pop_back();
                // What came before the click may still have to settle.
                self.state = if self.spurts.is_empty() { State::Silent } else { State::Pausing };
                None
            }
            State::Speaking => {
                self.state = State::Pausing;
                Some(EarEvent::Ended { at: last.ended_at })
            }
            State::Pausing if silence < self.quiet => None,
            State::Pausing => {
                self.state = State::Silent;
                Some(EarEvent::Settled { at: last.ended_at })
            }
        }
    }

    /// Every talkspurt that counts, oldest first; the last may go on.
    pub fn spurts(&self) -> impl DoubleEndedIterator<Item = &Spurt> {
        self.spurts.iter().filter(|spurt| spurt.frames >= FRAMES_MIN)
    }

    /// Whether the remote speaks now.
    pub fn is_speaking(&self) -> bool {
        matches!(self.state, State::Speaking)
            && self.spurts.back().is_some_and(|spurt| spurt.frames >= FRAMES_MIN)
    }

    /// Arrival of the latest frame.
    pub fn heard_until(&self) -> Option<Instant> {
        self.heard_until
    }

    /// The first stretch of speech that began after `after`: talkspurts with less than the quiet time
    /// between them. `None` while there is none or it goes on.
    pub fn reply_after(&self, after: Instant) -> Option<Spurt> {
        let mut spurts = self.spurts().filter(|spurt| spurt.began_at > after);
        let mut reply = *spurts.next()?;
        for spurt in spurts {
            if spurt.began_at.saturating_duration_since(reply.ended_at) >= self.quiet {
                return Some(reply);
            }
            reply.ended_at = spurt.ended_at;
            reply.frames = reply.frames.saturating_add(spurt.frames);
        }
        let silence = self.heard_until?.saturating_duration_since(reply.ended_at);
        (silence >= self.quiet).then_some(reply)
    }

    /// When the speech going on at `at` fell silent: its last audible packet. `None` while it goes on,
    /// or if nothing was audible around then.
    pub fn silence_after(&self, at: Instant) -> Option<Instant> {
        let spurt = self.spurts().find(|spurt| spurt.ended_at >= at)?;
        if spurt.began_at > at {
            return None;
        }
        let silence = self.heard_until?.saturating_duration_since(spurt.ended_at);
        (silence >= HANGOVER).then_some(spurt.ended_at)
    }
}

/// Share of the energy of `samples` at one frequency, 0 to 1. The resolution is the rate over the
/// number of samples: 20 ms tell 50 Hz apart, 200 ms 5 Hz.
pub fn tone_share(samples: &[i16], rate: SampleRate, frequency_hz: f32) -> f32 {
    let energy: f64 = samples.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
    if energy < 1.0 {
        return 0.0;
    }
    // In blocks of 20 ms, so that the filter's rounding does not grow with the length.
    let block = rate.samples_in_ms(20).max(1);
    let mut held = 0.0;
    for part in samples.chunks_exact(block) {
        let mut filter = Goertzel::new([frequency_hz], rate);
        part.iter().for_each(|sample| filter.push(f32::from(*sample)));
        let [power] = filter.take();
        held += f64::from(power) * 2.0 / block as f64;
    }
    (held / energy).clamp(0.0, 1.0) as f32
}

#[cfg(test)]
mod tests;
