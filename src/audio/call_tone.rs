//! Tones by which machines are known once a call is answered: an answering machine's beep, fax,
//! special information tones, ringback and busy. Keypad digits are [`super::tone`]'s business.

use super::vad::tonality::ToneWatch;
use crate::types::LineTone;

/// Samples of one judgement: 20 ms at 8 kHz.
const FRAME_SAMPLES: usize = 160;
/// Time of one judgement.
const FRAME_MS: u16 = 20;
/// Weakest tone.
const LEVEL_MIN_DBFS: f32 = -38.0;
/// Share of the energy in the one line. Two tones of a key or of ringback stay below it, speech too.
const SHARE_MIN: f32 = 0.85;
/// How far the line may move while it is the same tone.
const DRIFT_HZ_MAX: f32 = 18.0;
/// Weakest by strongest eighth of a frame: two tones too close to be told apart beat deeper.
const BEAT_MIN: f32 = 0.35;
/// Frames without the tone that do not end it: the phase reversals of a modem's answer tone, a lost packet.
const GAP_FRAMES_MAX: u16 = 2;
/// Shortest tone that counts at all.
const TONE_MS_MIN: u16 = 160;
/// Shortest and longest beep. What is heard longer is a melody, a test tone or a line fault.
const BEEP_MS: std::ops::RangeInclusive<u16> = 180..=2_500;
/// Pitch of a beep.
const BEEP_HZ: std::ops::RangeInclusive<f32> = 390.0..=2_520.0;
/// Pitch of ringback, busy and congestion in most of the world (ITU-T E.180).
const PROGRESS_HZ: std::ops::RangeInclusive<f32> = 412.0..=436.0;
/// Quiet after a beep: a tone that another follows at once is a part of a melody.
const QUIET_FRAMES: u16 = 6;
/// CNG of ITU-T T.30: 1,100 Hz ± 38 Hz for 0.5 s ± 15 %, with the edges of our frames.
const CNG_HZ: std::ops::RangeInclusive<f32> = 1_060.0..=1_140.0;
const CNG_MS: std::ops::RangeInclusive<u16> = 400..=600;
/// CED: 2,100 Hz ± 15 Hz.
const CED_HZ: std::ops::RangeInclusive<f32> = 2_080.0..=2_120.0;
/// No machine beeps at this pitch for so long.
const CED_MS_MIN: u16 = 1_000;
/// Steps of the special information tones, with the high and low variants.
const SIT_HZ: [std::ops::RangeInclusive<f32>; 3] =
    [890.0..=1_010.0, 1_345.0..=1_455.0, 1_740.0..=1_815.0];

/// A tone that sounds or has just ended.
#[derive(Clone, Copy, Debug)]
struct Run {
    hz: f32,
    frames: u16,
    gap: u16,
    /// Reported while it lasted.
    told: bool,
}

/// Finds them in a stream at 8 kHz. Allocates nothing.
pub struct CallToneDetector {
    watch: ToneWatch,
    frame: [i16; FRAME_SAMPLES],
    filled: usize,
    run: Option<Run>,
    /// A tone that has ended and is told when nothing follows it.
    waiting: Option<(LineTone, u16)>,
    /// Special information tones heard in sequence.
    steps: usize,
    /// Tones that followed one another without a pause.
    in_melody: bool,
}

impl CallToneDetector {
    /// A detector that has heard nothing yet.
    pub fn new() -> Self {
        Self {
            watch: ToneWatch::new(),
            frame: [0; FRAME_SAMPLES],
            filled: 0,
            run: None,
            waiting: None,
            steps: 0,
            in_melody: false,
        }
    }

    /// Takes at most 20 ms. A tone is told once: when it has ended and nothing followed at once, or,
    /// for what cannot be a beep any more, while it lasts.
    pub fn push(&mut self, samples: &[i16]) -> Option<LineTone> {
        let mut told = None;
        for sample in samples {
            if let Some(to) = self.frame.get_mut(self.filled) {
                *to = *sample;
            }
            self.filled += 1;
            if self.filled == FRAME_SAMPLES {
                self.filled = 0;
                told = self.judge().or(told);
            }
        }
        told
    }

    fn judge(&mut self) -> Option<LineTone> {
        self.watch.listen(&self.frame);
        let hz = self.tone_hz();
        match (&mut self.run, hz) {
            (Some(run), Some(hz)) if (run.hz - hz).abs() <= DRIFT_HZ_MAX => {
                run.frames = run.frames.saturating_add(1 + run.gap);
                run.gap = 0;
                self.lasting()
            }
            (Some(run), None) if run.gap < GAP_FRAMES_MAX => {
                run.gap += 1;
                None
            }
            (_, hz) => {
                let ended = self.run.take();
                self.run = hz.map(|hz| Run { hz, frames: 1, gap: 0, told: false });
                let told = ended.and_then(|run| self.ended(run));
                told.or_else(|| self.quiet())
            }
        }
    }

    /// The pitch, if the last frame is one steady tone.
    fn tone_hz(&mut self) -> Option<f32> {
        let mut energy = 0.0;
        let (mut least, mut most) = (f32::INFINITY, 0.0_f32);
        for part in self.frame.chunks(FRAME_SAMPLES / 5) {
            let sum: f32 = part.iter().map(|sample| f32::from(*sample).powi(2)).sum();
            energy += sum;
            (least, most) = (least.min(sum), most.max(sum));
        }
        let level = energy / FRAME_SAMPLES as f32 / (32_768.0 * 32_768.0);
        if 10.0 * level.max(1e-12).log10() < LEVEL_MIN_DBFS || least < BEAT_MIN * most {
            return None;
        }
        let (hz, [first, _]) = self.watch.lines()?;
        (first >= SHARE_MIN && BEEP_HZ.contains(&hz)).then_some(hz)
    }

    /// What a tone is that still sounds.
    fn lasting(&mut self) -> Option<LineTone> {
        let run = self.run.as_mut()?;
        let is_answer = CED_HZ.contains(&run.hz) && run.frames * FRAME_MS >= CED_MS_MIN;
        if is_answer && !run.told {
            run.told = true;
            return Some(LineTone::FaxAnswer);
        }
        None
    }

    /// What a tone was that has ended.
    fn ended(&mut self, run: Run) -> Option<LineTone> {
        let duration_ms = run.frames.saturating_mul(FRAME_MS);
        if run.told || duration_ms < TONE_MS_MIN {
            return None;
        }
        self.in_melody = self.waiting.take().is_some();
        let step = SIT_HZ.get(self.steps).is_some_and(|range| range.contains(&run.hz));
        let first = SIT_HZ.first().is_some_and(|range| range.contains(&run.hz));
        self.steps = if step && (self.in_melody || self.steps == 0) {
            self.steps + 1
        } else {
            usize::from(first)
        };
        if self.steps == SIT_HZ.len() {
            self.steps = 0;
            return Some(LineTone::SpecialInformation);
        }
        let tone = if PROGRESS_HZ.contains(&run.hz) {
            LineTone::Progress { duration_ms }
        } else if CNG_HZ.contains(&run.hz) && CNG_MS.contains(&duration_ms) {
            LineTone::FaxCalling
        } else {
            LineTone::Beep { hz: run.hz as u16, duration_ms }
        };
        self.waiting = Some((tone, 0));
        None
    }

    /// One frame without a tone that lasts: what waited is told when it was quiet for long enough.
    fn quiet(&mut self) -> Option<LineTone> {
        let (tone, frames) = self.waiting.as_mut()?;
        *frames += 1;
        if *frames < QUIET_FRAMES {
            return None;
        }
        let tone = *tone;
        self.waiting = None;
        self.steps = 0;
        let melody = std::mem::take(&mut self.in_melody);
        match tone {
            LineTone::Beep { duration_ms, .. } if melody || !BEEP_MS.contains(&duration_ms) => None,
            tone => Some(tone),
        }
    }
}

impl Default for CallToneDetector {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
