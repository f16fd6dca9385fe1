//! What a caller hears before the answer, where the trunk wants it: a ringback tone, or a recording such as a notice.
//!
//! It goes the way of the agent's own audio, as the generation before the first of the agent's, so that the media
//! thread keeps its pace and the answer cuts it like any other playback.

use std::f32::consts::TAU;
use std::future::pending;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use super::clip::{self, Clip, ClipError};
use super::session::{Phase, Session};
use crate::media::{MediaCommand, MediaEvent};
use crate::net::clock;
use crate::types::call::ErrorStage;
use crate::types::{Generation, Pcm, SampleRate};

/// The agent's first is the one after it.
const EARLY: Generation = Generation(0);
/// The last frames of a recording need to be sent before the answer cuts them: a hand-over and a frame.
const TAIL: Duration = Duration::from_millis(60);
/// Rounds of ringback that are made at most: 60 s, as long as a trunk can ask for, and one for the answer's delay.
const ROUNDS_MAX: usize = 11;

/// What a trunk's callers hear before the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EarlyMedia {
    /// Nothing: 180 without description.
    #[default]
    Off,
    /// Silence: the audio path is open.
    Silence,
    /// A ringback tone, for so long at least.
    Ringback(Duration),
    /// A WAV file below the media directory, to its end.
    Clip(String),
}

/// What is played before the answer.
#[derive(Default)]
pub(super) enum Early {
    /// Nothing, or nothing any more.
    #[default]
    None,
    /// The recording is being read.
    Loading(BoxFuture<'static, Result<Clip, ClipError>>),
    /// Something plays; the answer waits so long.
    Until(Instant),
}

impl Early {
    /// Whether the answer has to wait.
    pub(super) fn holds(&self, now: Instant) -> bool {
        match self {
            Self::None => false,
            Self::Loading(_) => true,
            Self::Until(until) => *until > now,
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        match self {
            Self::Until(until) => Some(*until),
            Self::None | Self::Loading(_) => None,
        }
    }
}

/// Waits until a recording is read; for ever while none is.
pub(super) async fn loaded(early: &mut Early) -> Result<Clip, ClipError> {
    match early {
        Early::Loading(clip) => clip.await,
        Early::None | Early::Until(_) => pending().await,
    }
}

/// The tone a caller hears while it rings: 440 and 480 Hz, 2 s of 6 (the North American plan).
#[derive(Default)]
pub(super) struct Ringback {
    at: usize,
}

impl Ringback {
    const HZ: [f32; 2] = [440.0, 480.0];
    /// Of each tone, -19 dBm0.
    const AMPLITUDE: f32 = 2_600.0;
    const ON: usize = 16_000;
    const ROUND: usize = 48_000;

    /// The next 20 ms at 8 kHz.
    pub(super) fn next(&mut self) -> [i16; 160] {
        let mut frame = [0; 160];
        for (n, sample) in frame.iter_mut().enumerate() {
            let at = self.at + n;
            if at < Self::ON {
                let seconds = at as f32 / 8_000.0;
                let tone = |hz: f32| (TAU * (hz * seconds).fract()).sin() * Self::AMPLITUDE;
                *sample = Self::HZ.into_iter().map(tone).sum::<f32>() as i16;
            }
        }
        self.at = (self.at + frame.len()) % Self::ROUND;
        frame
    }

    /// Whole rounds that last as long as `time` at least.
    fn rounds(time: Duration) -> Pcm {
        let round = Duration::from_secs(6);
        let count = (time.as_millis() / round.as_millis()) as usize + 1;
        let mut ringback = Self::default();
        let frames = count.min(ROUNDS_MAX) * Self::ROUND / 160;
        let samples = (0..frames).flat_map(|_| ringback.next()).collect();
        Pcm { rate: SampleRate::HZ_8000, samples }
    }
}

impl Session {
    /// The audio path of a caller is open before the answer.
    pub(super) fn begin_early_media(&mut self) {
        if self.phase != Phase::Setup || !matches!(self.early, Early::None) {
            return;
        }
        self.early = match &self.rules.early_media {
            EarlyMedia::Off | EarlyMedia::Silence => Early::None,
            EarlyMedia::Ringback(least) => {
                let least = *least;
                let most = least + Duration::from_millis(self.context.config.answer_wait_ms);
                self.playback.push(EARLY, Ringback::rounds(most));
                Early::Until(clock::now() + least)
            }
            EarlyMedia::Clip(name) => {
                let dir = self.context.config.media_dir.clone();
                Early::Loading(Box::pin(clip::load(dir, name.clone())))
            }
        };
    }

    /// The recording is read, or cannot be: then the call goes on without it.
    pub(super) fn on_early_clip(&mut self, clip: Result<Clip, ClipError>) {
        self.early = match clip {
            Ok(clip) => {
                let until = clock::now() + clip.pcm.duration() + TAIL;
                self.playback.push(EARLY, clip.pcm);
                self.playback.end(EARLY);
                Early::Until(until)
            }
            Err(error) => {
                let message = crate::telemetry::chain::chain(&error).to_string();
                self.fail("early_media", &message, ErrorStage::Media);
                Early::None
            }
        };
    }

    /// The answer is given: what is left of it is not heard.
    pub(super) fn end_early_media(&mut self) {
        if matches!(std::mem::take(&mut self.early), Early::None) {
            return;
        }
        self.playback.stop(EARLY);
        self.line(MediaCommand::StopPlayback { generation: EARLY });
    }
}

/// Whether an event of the line is about what was played before the answer: it is nobody's turn.
pub(super) fn is_of_early(event: &MediaEvent) -> bool {
    matches!(event,
        MediaEvent::FirstPacket { generation, .. }
        | MediaEvent::FirstAudible { generation, .. }
        | MediaEvent::Played { generation, .. }
        | MediaEvent::Stopped { generation, .. } if *generation == EARLY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::level;

    #[test]
    fn ringback_rings_two_seconds_of_six() {
        let mut ringback = Ringback::default();
        let loud: Vec<bool> = (0..600).map(|_| level::rms_dbfs(&ringback.next()) > -40.0).collect();
        let round = |from: usize| loud[from..from + 300].iter().filter(|loud| **loud).count();
        assert_eq!((round(0), round(300)), (100, 100));
        assert!(loud[..100].iter().all(|loud| *loud) && !loud[100]);
        let level = level::rms_dbfs(&Ringback::default().next());
        assert!((-23.0..-17.0).contains(&level), "{level} dBFS");
        let rounds = |seconds| Ringback::rounds(Duration::from_secs(seconds)).samples.len();
        assert_eq!((rounds(2), rounds(7), rounds(1_000)), (48_000, 96_000, 528_000));
    }
}
