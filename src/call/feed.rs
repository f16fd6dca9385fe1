//! One direction of live audio between two lines.

use crate::audio::Resampler;
use crate::engine::{AsideWriter, Stream};
use crate::media::{Frame, PlayoutFrame};
use crate::types::SampleRate;
use crate::types::audio::FRAME_MS;

/// Joins two rates. Rates that no filter joins stay apart: then nothing is changed, and the log says so.
fn between(from: SampleRate, to: SampleRate) -> Option<Resampler> {
    if from == to {
        return None;
    }
    let made = Resampler::new(from, to);
    if let Err(error) = &made {
        tracing::error!(error = %crate::telemetry::chain::chain(error), "failed to join two lines");
    }
    made.ok()
}

fn joins(resampler: Option<&Resampler>, from: SampleRate, to: SampleRate) -> bool {
    resampler.map_or(from == to, |resampler| (resampler.from(), resampler.to()) == (from, to))
}

/// Frames of one line, as they are heard, become frames of the other.
pub(super) struct Feed {
    writer: AsideWriter,
    resampler: Option<Resampler>,
    /// What is not a whole frame yet.
    rest: Vec<i16>,
}

impl Feed {
    /// Into what `stream` sends; `place` is that of the source there.
    pub(super) fn into(stream: &mut Stream, place: usize) -> Self {
        Self { writer: stream.aside(place), resampler: None, rest: Vec::new() }
    }

    /// Says at which rates the two lines run.
    pub(super) fn set_rates(&mut self, from: SampleRate, to: SampleRate) {
        if !joins(self.resampler.as_ref(), from, to) {
            self.resampler = between(from, to);
        }
    }

    /// 20 ms, or what a line calls so.
    pub(super) fn push(&mut self, samples: &[i16]) {
        let Some(resampler) = &mut self.resampler else {
            // A line that takes nothing is on hold: what it missed is old news.
            self.writer.push(Frame::new(samples));
            return;
        };
        resampler.push(samples, &mut self.rest);
        let whole = resampler.to().samples_in_ms(FRAME_MS);
        while self.rest.len() >= whole {
            let later = self.rest.split_off(whole);
            self.writer.push(Frame::new(&self.rest));
            self.rest = later;
        }
    }
}

/// The agent's frames, for somebody who listens: they play by the listener's clock and stop with the agent.
#[derive(Default)]
pub(super) struct Mirror {
    resampler: Option<Resampler>,
    rest: Vec<i16>,
}

impl Mirror {
    /// One frame of the agent's. A listener whose ring is full has a slower clock, and misses it.
    pub(super) fn push(
        &mut self,
        frame: &PlayoutFrame,
        (from, to): (SampleRate, SampleRate),
        stream: &mut Stream,
    ) {
        if !joins(self.resampler.as_ref(), from, to) {
            self.resampler = between(from, to);
        }
        let mut frame = *frame;
        if let Some(resampler) = &mut self.resampler {
            resampler.push(frame.frame.samples(), &mut self.rest);
            let whole = to.samples_in_ms(FRAME_MS).min(self.rest.len());
            let later = self.rest.split_off(whole);
            frame.frame = Frame::new(&self.rest);
            self.rest = later;
        }
        let _ = stream.playout.push(frame);
    }
}
