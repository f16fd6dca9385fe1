//! What is said and when it left: utterances cut into frames, with generations as marks.
//!
//! The media stream tells the exact instant at which the first packet of a generation left. An
//! utterance therefore takes up to three: up to its last audible frame, from that frame on, and its
//! last frame. Nothing is estimated from lengths. Pure: frames out, the stream's events in.

use std::collections::VecDeque;
use std::time::Instant;

use crate::audio::level;
use crate::media::event::FRAME_SAMPLES_MAX_G711;
use crate::media::outbound::AUDIBLE_DBFS;
use crate::media::{Frame, MediaEvent, PlayoutFrame};
use crate::types::Generation;

/// Utterances that wait or play at once.
pub const UTTERANCES_MAX: usize = 64;

/// Number of an utterance within its call, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UtteranceId(pub u32);

/// How far an utterance got. Instants are when `sendto` returned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Its first packet left.
    pub started: Option<Instant>,
    /// Its first audible packet left.
    pub onset: Option<Instant>,
    /// Its last audible packet left; `None` also for one that was cut or is silence.
    pub last_audible: Option<Instant>,
    /// Its last packet left, or the fade of one that was cut.
    pub finished: Option<Instant>,
    /// It was cut.
    pub cut: bool,
}

/// Where one utterance's marks are.
#[derive(Clone, Copy, Debug)]
struct Marks {
    id: UtteranceId,
    first: Generation,
    last_audible: Option<Generation>,
    last: Generation,
}

/// Everything that is to be said on one call.
#[derive(Default)]
pub struct Mouth {
    frames: VecDeque<PlayoutFrame>,
    next: Generation,
    marks: VecDeque<(Marks, Said)>,
}

/// [`UTTERANCES_MAX`] utterances wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("queue an utterance: {UTTERANCES_MAX} wait already")]
pub struct Full;

impl Mouth {
    /// Queues samples at the line's rate. An empty utterance is one frame of silence.
    ///
    /// # Errors
    /// When too many wait.
    pub fn say(&mut self, id: UtteranceId, samples: &[i16]) -> Result<(), Full> {
        if self.marks.len() == UTTERANCES_MAX {
            return Err(Full);
        }
        let mut frames: Vec<Frame> = samples.chunks(FRAME_SAMPLES_MAX_G711).map(whole).collect();
        if frames.is_empty() {
            frames.push(whole(&[]));
        }
        let end = frames.len() - 1;
        let audible = frames.iter().rposition(|f| level::rms_dbfs(f.samples()) > AUDIBLE_DBFS);
        let first = self.next;
        let mut generation = first;
        let mut last_audible = None;
        for (at, frame) in frames.into_iter().enumerate() {
            let is_mark = audible == Some(at) || at == end;
            if is_mark && at > 0 {
                generation = generation.next();
            }
            if audible == Some(at) {
                last_audible = Some(generation);
            }
            self.frames.push_back(PlayoutFrame { frame, generation, last: at == end });
        }
        self.next = generation.next();
        let marks = Marks { id, first, last_audible, last: generation };
        self.marks.push_back((marks, Said::default()));
        Ok(())
    }

    /// Whether a frame waits.
    pub fn has_frame(&self) -> bool {
        !self.frames.is_empty()
    }

    /// The next frame for the line.
    pub fn next_frame(&mut self) -> Option<PlayoutFrame> {
        self.frames.pop_front()
    }

    /// Forgets what has not left. The generation up to which the stream is to stop; `None` if nothing
    /// is being said.
    pub fn cut(&mut self) -> Option<Generation> {
        self.frames.clear();
        let (marks, _) = self.marks.iter().rev().find(|(_, said)| said.finished.is_none())?;
        Some(marks.last)
    }

    /// Takes an event of the stream; `tell` is given every utterance whose state changed by it.
    pub fn on_event(&mut self, event: &MediaEvent, mut tell: impl FnMut(UtteranceId, Said)) {
        match *event {
            MediaEvent::FirstPacket { generation, at } => {
                let Some((marks, said)) = self.owner(generation) else { return };
                if generation == marks.first {
                    said.started = Some(at);
                }
                if Some(generation) == marks.last_audible {
                    said.last_audible = Some(at);
                }
                if generation == marks.last {
                    said.finished = Some(at);
                }
                tell(marks.id, *said);
                self.forget_before(generation);
            }
            MediaEvent::FirstAudible { generation, at } => {
                let Some((marks, said)) = self.owner(generation) else { return };
                said.onset.get_or_insert(at);
                tell(marks.id, *said);
            }
            MediaEvent::Stopped { generation, at, .. } => {
                for (marks, said) in &mut self.marks {
                    if marks.last <= generation && said.finished.is_none() {
                        said.finished = Some(at);
                        said.cut = true;
                        tell(marks.id, *said);
                    }
                }
                self.marks.retain(|(_, said)| !said.cut);
            }
            _ => {}
        }
    }

    fn owner(&mut self, generation: Generation) -> Option<(Marks, &mut Said)> {
        let (marks, said) = self
            .marks
            .iter_mut()
            .find(|(marks, _)| (marks.first..=marks.last).contains(&generation))?;
        Some((*marks, said))
    }

    /// Drops the utterances before this generation. Its own stays: its first audible packet is told
    /// after its first one.
    fn forget_before(&mut self, generation: Generation) {
        while self.marks.front().is_some_and(|(marks, _)| marks.last < generation) {
            self.marks.pop_front();
        }
    }
}

/// A frame of full length: the line knows no shorter ones.
fn whole(samples: &[i16]) -> Frame {
    let mut full = [0; FRAME_SAMPLES_MAX_G711];
    for (to, from) in full.iter_mut().zip(samples) {
        *to = *from;
    }
    Frame::new(&full)
}

#[cfg(test)]
mod tests;
