//! The detector of one stream: the chain of judges and the hysteresis behind it.

use std::time::Instant;

use super::denoise::{self, Denoiser};
use super::gate::{Gate, Loudness};
use super::neural::{self, NeuralVad};
use super::tonality::{Tonality, ToneWatch};
use super::{NoiseSuppression, Vad, VadConfig, VadError, VadEvent, VadKind};
use crate::types::SampleRate;
use crate::types::audio::FRAME_MS;

/// Frames of quiet kept to give the network its context when a candidate comes: 60 ms.
const CONTEXT_FRAMES: usize = 3;
/// Frames for which the network listens on after the last candidate, so that a word with stops in
/// it is one stretch to it.
const LISTEN_ON_FRAMES: u8 = 5;
/// Frames below the gate that a beginning may contain: a stop consonant's closure.
const ONSET_GAP_FRAMES: u8 = 3;
/// Noise floor from which [`NoiseSuppression::Auto`] suppresses.
const NOISY_FLOOR_DBFS: f32 = -55.0;
/// While speech goes on, this part of the threshold keeps it going.
const KEEP_SHARE: f32 = 0.5;
/// Samples of 20 ms at 16 kHz.
const WIDE: usize = 320;
/// Samples of 20 ms at 8 kHz.
const NARROW: usize = 160;

/// Finds the edges of speech in one stream of 20 ms frames.
///
/// Call [`SpeechDetector::push`] once a frame, lost ones included (concealed). Allocates nothing
/// after construction.
pub struct SpeechDetector {
    config: VadConfig,
    rate: SampleRate,
    gate: Gate,
    tones: ToneWatch,
    judge: Judge,
    state: State,
    masked: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Idle,
    /// Something began that may be speech.
    Onset {
        onset: Instant,
        last_voiced: Instant,
        voiced: u32,
        gap: u8,
    },
    Speaking {
        last_voiced: Instant,
        unvoiced: u32,
    },
}

impl SpeechDetector {
    /// A detector for frames at `rate`, 8 or 16 kHz.
    ///
    /// # Errors
    /// When a setting is out of its range or the rate is another one.
    pub fn new(config: VadConfig, rate: SampleRate) -> Result<Self, VadError> {
        config.check()?;
        if rate != SampleRate::HZ_8000 && rate != SampleRate::HZ_16000 {
            return Err(VadError::Rate(rate));
        }
        Ok(Self {
            gate: Gate::new(SampleRate::HZ_8000.hz(), config.level_min_dbfs, config.above_noise_db),
            tones: ToneWatch::new(),
            judge: Judge::new(&config),
            state: State::Idle,
            masked: false,
            config,
            rate,
        })
    }

    /// Takes the next frame, which arrived at `at`; an edge comes out when it is certain.
    pub fn push(&mut self, at: Instant, frame: &[i16]) -> Option<VadEvent> {
        let narrow = narrowed(frame, self.rate);
        let loudness = self.gate.push(&narrow);
        self.tones.listen(&narrow);
        let tonality = if loudness.candidate { self.tones.judge() } else { self.tones.broad() };
        let probability = self.judge.push(frame, self.rate, &narrow, loudness);
        let voiced = self.is_voiced(loudness, tonality, probability);
        self.step(at, loudness.candidate, voiced)
    }

    /// Whether frames are to be held for a machine's sound whatever they are like, because a keypad
    /// tone is on the line or the caller is muted.
    pub fn set_masked(&mut self, masked: bool) {
        self.masked = masked;
    }

    /// Whether the caller is speaking now.
    pub fn is_speaking(&self) -> bool {
        matches!(self.state, State::Speaking { .. })
    }

    /// The line's noise floor in dBFS.
    pub fn noise_floor_dbfs(&self) -> f32 {
        self.gate.floor_dbfs()
    }

    /// Ends a running stretch of speech at once, as when the stream stops.
    pub fn finish(&mut self) -> Option<VadEvent> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Speaking { last_voiced, .. } => Some(VadEvent::Ended { last_voiced }),
            State::Idle | State::Onset { .. } => None,
        }
    }

    fn is_voiced(&self, loudness: Loudness, tonality: Tonality, probability: f32) -> bool {
        if !loudness.candidate || self.masked || tonality == Tonality::Tone {
            return false;
        }
        let speaking = self.is_speaking();
        if tonality == Tonality::Suspect && !speaking {
            return false;
        }
        let share = if speaking { KEEP_SHARE } else { 1.0 };
        probability >= self.config.threshold * share
    }

    fn step(&mut self, at: Instant, candidate: bool, voiced: bool) -> Option<VadEvent> {
        match &mut self.state {
            State::Idle if candidate => {
                let voiced = u32::from(voiced) * FRAME_MS;
                self.state = State::Onset { onset: at, last_voiced: at, voiced, gap: 0 };
            }
            State::Idle => {}
            State::Onset { onset, last_voiced, voiced: total, gap } => {
                if voiced {
                    *total += FRAME_MS;
                    *last_voiced = at;
                }
                *gap = if candidate { 0 } else { *gap + 1 };
                if *total >= self.config.start_ms {
                    let onset = *onset;
                    self.state = State::Speaking { last_voiced: *last_voiced, unvoiced: 0 };
                    return Some(VadEvent::Started { onset });
                }
                if *gap > ONSET_GAP_FRAMES {
                    self.state = State::Idle;
                }
            }
            State::Speaking { last_voiced, unvoiced } => {
                if voiced {
                    (*last_voiced, *unvoiced) = (at, 0);
                } else {
                    *unvoiced += FRAME_MS;
                    if *unvoiced >= self.config.stop_ms {
                        return self.finish();
                    }
                }
            }
        }
        None
    }
}

/// 20 ms at 8 kHz, whatever came in: what the gate and the tone watch look at.
fn narrowed(frame: &[i16], rate: SampleRate) -> [i16; NARROW] {
    let mut out = [0; NARROW];
    if rate == SampleRate::HZ_16000 {
        for (to, pair) in out.iter_mut().zip(frame.chunks(2)) {
            let sum: i32 = pair.iter().map(|sample| i32::from(*sample)).sum();
            *to = (sum / 2) as i16;
        }
    } else {
        for (to, from) in out.iter_mut().zip(frame) {
            *to = *from;
        }
    }
    out
}

/// The judge of candidate frames, with what it needs around it.
struct Judge {
    kind: JudgeKind,
    /// The newest frames that were not judged, oldest first.
    context: [[i16; WIDE]; CONTEXT_FRAMES],
    waiting: usize,
    listen_on: u8,
    last_sample: i16,
    noise_suppression: NoiseSuppression,
}

enum JudgeKind {
    Energy,
    Neural(Box<Chain>),
}

/// Suppressor and network with the re-blocking each needs.
struct Chain {
    vad: NeuralVad,
    denoiser: Option<Denoiser>,
    block: [i16; neural::BLOCK],
    filled: usize,
    probability: f32,
}

impl Judge {
    fn new(config: &VadConfig) -> Self {
        let kind = match config.kind {
            VadKind::Energy => JudgeKind::Energy,
            VadKind::Neural => JudgeKind::Neural(Box::new(Chain {
                vad: NeuralVad::new(),
                denoiser: (config.noise_suppression != NoiseSuppression::Off).then(Denoiser::new),
                block: [0; neural::BLOCK],
                filled: 0,
                probability: 0.0,
            })),
        };
        Self {
            kind,
            context: [[0; WIDE]; CONTEXT_FRAMES],
            waiting: 0,
            listen_on: 0,
            last_sample: 0,
            noise_suppression: config.noise_suppression,
        }
    }

    fn push(
        &mut self,
        frame: &[i16],
        rate: SampleRate,
        narrow: &[i16; NARROW],
        loudness: Loudness,
    ) -> f32 {
        let JudgeKind::Neural(chain) = &mut self.kind else {
            return if loudness.candidate { 1.0 } else { 0.0 };
        };
        let mut wide = widened(frame, rate, narrow, &mut self.last_sample);
        let suppress = match self.noise_suppression {
            NoiseSuppression::Off => false,
            NoiseSuppression::Auto => loudness.floor_dbfs > NOISY_FLOOR_DBFS,
            NoiseSuppression::On => true,
        };
        if loudness.candidate {
            self.listen_on = LISTEN_ON_FRAMES;
        } else if self.listen_on == 0 {
            if suppress {
                chain.learn(&mut wide);
            }
            self.context.rotate_left(1);
            if let Some(newest) = self.context.last_mut() {
                *newest = wide;
            }
            self.waiting = (self.waiting + 1).min(CONTEXT_FRAMES);
            chain.probability = 0.0;
            return 0.0;
        } else {
            self.listen_on -= 1;
        }
        if self.waiting > 0 {
            chain.vad.reset();
            chain.filled = 0;
            for context in self.context.iter().skip(CONTEXT_FRAMES - self.waiting) {
                chain.judge(context);
            }
            self.waiting = 0;
        }
        if suppress {
            chain.clean(&mut wide);
        }
        chain.judge(&wide)
    }
}

impl Chain {
    fn learn(&mut self, wide: &mut [i16; WIDE]) {
        self.clean(wide);
    }

    fn clean(&mut self, wide: &mut [i16; WIDE]) {
        if let Some(denoiser) = &mut self.denoiser {
            for block in wide.chunks_mut(denoise::BLOCK) {
                denoiser.clean(block);
            }
        }
    }

    /// The greatest probability among the blocks this frame completes.
    fn judge(&mut self, wide: &[i16; WIDE]) -> f32 {
        let mut best: Option<f32> = None;
        for sample in wide {
            if let Some(to) = self.block.get_mut(self.filled) {
                *to = *sample;
            }
            self.filled += 1;
            if self.filled == neural::BLOCK {
                self.filled = 0;
                let probability = self.vad.push(&self.block);
                best = Some(best.map_or(probability, |best| best.max(probability)));
            }
        }
        self.probability = best.unwrap_or(self.probability);
        self.probability
    }
}

/// 20 ms at 16 kHz: as it is, or interpolated linearly.
fn widened(frame: &[i16], rate: SampleRate, narrow: &[i16; NARROW], last: &mut i16) -> [i16; WIDE] {
    let mut out = [0; WIDE];
    if rate == SampleRate::HZ_16000 {
        for (to, from) in out.iter_mut().zip(frame) {
            *to = *from;
        }
    } else {
        for (pair, sample) in out.chunks_mut(2).zip(narrow) {
            if let [between, at] = pair {
                *between = ((i32::from(*last) + i32::from(*sample)) / 2) as i16;
                *at = *sample;
            }
            *last = *sample;
        }
    }
    out
}
