//! The detector of one stream: the chain of judges and the hysteresis behind it.

use std::time::{Duration, Instant};

use super::denoise::{self, Denoiser};
use super::energy::EnergyVad;
use super::gate::Gate;
use super::neural::{self, NeuralVad};
use super::tonality::{Tonality, ToneWatch};
use super::{NoiseSuppression, Vad, VadConfig, VadError, VadEvent, VadKind};
use crate::audio::EchoGate;
use crate::audio::level::FLOOR_DBFS;
use crate::audio::tone::DtmfDetector;
use crate::types::SampleRate;
use crate::types::audio::FRAME_MS;

/// Frames of quiet kept to give the network its context when a candidate comes: 60 ms.
const CONTEXT_FRAMES: usize = 3;
/// Frames for which the network listens on after the last candidate, so that a word with stops in
/// it is one stretch to it.
const LISTEN_ON_FRAMES: u8 = 5;
/// Frames below the gate that a beginning may contain: a stop consonant's closure.
const ONSET_GAP_FRAMES: u8 = 3;
/// How far before the first voiced frame, and between voiced frames, a beginning may reach: longer
/// than a fricative, short enough that noise before a word does not become its beginning.
const ONSET_REACH: Duration = Duration::from_millis(140);
/// Noise floor from which [`NoiseSuppression::Auto`] suppresses.
const NOISY_FLOOR_DBFS: f32 = -55.0;
/// While speech goes on, this part of the threshold keeps it going.
const KEEP_SHARE: f32 = 0.5;
/// Loudest frame above the floor under which the line is poor: about 12 dB of SNR.
const POOR_PEAK_DB: f32 = 18.0;
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
    keypad: DtmfDetector,
    judge: Judge,
    state: State,
    masked: bool,
    concealed: bool,
    /// Loudest frame of the running stretch of speech.
    peak_dbfs: f32,
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

/// What the spectrum says about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sound {
    /// Nothing against speech.
    Open,
    /// May go on with speech but not begin it.
    Unsure,
    /// No voice.
    Machine,
}

/// What a frame is, all told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// Speech.
    Voice,
    /// Loud enough, but not held for speech.
    Sound,
    /// Not loud enough, but the network still hears speech through the noise.
    Tail,
    /// Nothing.
    Quiet,
    /// A tone, a key or lasting noise.
    Machine,
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
            keypad: DtmfDetector::new(SampleRate::HZ_8000),
            judge: Judge::new(&config),
            state: State::Idle,
            masked: false,
            concealed: false,
            peak_dbfs: FLOOR_DBFS,
            config,
            rate,
        })
    }

    /// Takes the next frame, which arrived at `at`; an edge comes out when it is certain.
    pub fn push(&mut self, at: Instant, frame: &[i16]) -> Option<VadEvent> {
        self.hear(at, frame, None)
    }

    /// The same beside a stream of our own, which `echo` knows: it has heard this frame.
    pub fn push_beside(
        &mut self,
        at: Instant,
        frame: &[i16],
        echo: &mut EchoGate,
    ) -> Option<VadEvent> {
        let echo = self.config.echo_rejection.then_some(echo);
        self.hear(at, frame, echo)
    }

    fn hear(
        &mut self,
        at: Instant,
        frame: &[i16],
        echo: Option<&mut EchoGate>,
    ) -> Option<VadEvent> {
        let narrow = narrowed(frame, self.rate);
        let loudness = self.gate.push(&narrow);
        self.tones.listen(&narrow);
        let candidate = match self.state {
            State::Idle | State::Onset { .. } => loudness.candidate,
            State::Speaking { .. } => loudness.keeps,
        };
        let speaking = self.is_speaking();
        let sound = if candidate { self.look(&narrow) } else { self.quiet() };
        let judged = candidate || speaking;
        let probability = self.judge.push(frame, self.rate, &narrow, judged, loudness.floor_dbfs);
        let like_speech = match sound {
            Sound::Machine => false,
            Sound::Unsure => speaking && probability >= self.config.threshold * KEEP_SHARE,
            Sound::Open if speaking => probability >= self.config.threshold * KEEP_SHARE,
            Sound::Open => probability >= self.config.threshold,
        };
        let heard = match (candidate, like_speech, sound) {
            (_, _, Sound::Machine) => Heard::Machine,
            (true, true, _) if speaking && returns(echo.as_deref()) => Heard::Sound,
            (true, true, _) => Heard::Voice,
            (true, false, _) => Heard::Sound,
            (false, ..) if probability >= self.config.threshold => Heard::Tail,
            (false, ..) => Heard::Quiet,
        };
        self.peak_dbfs = match self.state {
            State::Idle => loudness.dbfs,
            State::Onset { .. } | State::Speaking { .. } => self.peak_dbfs.max(loudness.dbfs),
        };
        let stop_ms = self.stop_ms(heard, loudness.floor_dbfs);
        if self.concealed && matches!(heard, Heard::Voice | Heard::Sound | Heard::Tail) {
            return None;
        }
        self.step(at, heard, stop_ms, echo)
    }

    /// Whether frames are to be held for a machine's sound whatever they are like, because a keypad
    /// tone is on the line or the caller is muted.
    pub fn set_masked(&mut self, masked: bool) {
        self.masked = masked;
    }

    /// Whether frames from now on are made up for lost ones: what they sound like is what was heard before. They
    /// begin nothing and prolong nothing, and as long as they sound like speech they end nothing.
    pub fn set_concealed(&mut self, concealed: bool) {
        self.concealed = concealed;
    }

    /// Whether the caller is speaking now.
    pub fn is_speaking(&self) -> bool {
        matches!(self.state, State::Speaking { .. })
    }

    /// The line's noise floor in dBFS.
    pub fn noise_floor_dbfs(&self) -> f32 {
        self.gate.floor_dbfs()
    }

    /// Octets this detector occupies, its boxes included.
    pub fn bytes(&self) -> usize {
        let judge = match &self.judge.kind {
            JudgeKind::Energy(_) => 0,
            JudgeKind::Neural(chain) => {
                let suppressor = chain.denoiser.as_ref().map_or(0, |_| Denoiser::BYTES);
                size_of::<Chain>() + NeuralVad::BYTES + suppressor
            }
        };
        size_of::<Self>() + judge
    }

    /// Ends a running stretch of speech at once, as when the stream stops.
    pub fn finish(&mut self) -> Option<VadEvent> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Speaking { last_voiced, .. } => Some(VadEvent::Ended { last_voiced }),
            State::Idle | State::Onset { .. } => None,
        }
    }

    /// Looks at a candidate frame's spectrum.
    fn look(&mut self, narrow: &[i16; NARROW]) -> Sound {
        self.keypad.push(narrow);
        match self.tones.judge() {
            _ if self.masked || self.keypad.is_active() => Sound::Machine,
            Tonality::Tone | Tonality::LongHiss => Sound::Machine,
            Tonality::Suspect | Tonality::Hiss => Sound::Unsure,
            Tonality::Broad => Sound::Open,
        }
    }

    fn quiet(&mut self) -> Sound {
        self.keypad.reset();
        self.tones.broad();
        if self.masked { Sound::Machine } else { Sound::Open }
    }

    /// How long the line must stay without voice. In noise weak syllables drown, so that pauses look
    /// longer than they are.
    fn stop_ms(&self, heard: Heard, floor_dbfs: f32) -> u32 {
        let stop_ms = self.config.stop_ms;
        match heard {
            Heard::Tail => stop_ms * 2,
            _ if self.peak_dbfs - floor_dbfs < POOR_PEAK_DB => stop_ms * 3 / 2,
            _ => stop_ms,
        }
    }

    fn step(
        &mut self,
        at: Instant,
        heard: Heard,
        stop_ms: u32,
        echo: Option<&mut EchoGate>,
    ) -> Option<VadEvent> {
        match &mut self.state {
            State::Idle => {
                if matches!(heard, Heard::Voice | Heard::Sound) {
                    let voiced = if heard == Heard::Voice { FRAME_MS } else { 0 };
                    self.state = State::Onset { onset: at, last_voiced: at, voiced, gap: 0 };
                }
            }
            State::Onset { .. } if heard == Heard::Machine => self.state = State::Idle,
            State::Onset { onset, last_voiced, voiced, gap } => {
                match heard {
                    Heard::Voice => (*voiced, *last_voiced, *gap) = (*voiced + FRAME_MS, at, 0),
                    Heard::Sound if at.duration_since(*last_voiced) > ONSET_REACH => {
                        (*onset, *last_voiced, *voiced, *gap) = (at, at, 0, 0);
                    }
                    Heard::Sound => *gap = 0,
                    Heard::Tail | Heard::Quiet | Heard::Machine => *gap += 1,
                }
                if *voiced >= self.config.start_ms {
                    if echo.is_some_and(EchoGate::is_echo) {
                        self.state = State::Idle;
                        return None;
                    }
                    let onset = *onset;
                    self.state = State::Speaking { last_voiced: *last_voiced, unvoiced: 0 };
                    return Some(VadEvent::Started { onset });
                }
                if *gap > ONSET_GAP_FRAMES {
                    self.state = State::Idle;
                }
            }
            State::Speaking { last_voiced, .. } if heard == Heard::Voice => {
                self.state = State::Speaking { last_voiced: at.max(*last_voiced), unvoiced: 0 };
            }
            State::Speaking { unvoiced, .. } => {
                *unvoiced += FRAME_MS;
                if *unvoiced >= stop_ms {
                    return self.finish();
                }
            }
        }
        None
    }
}

/// Whether what is heard is our own voice, at the delay it had before.
fn returns(echo: Option<&EchoGate>) -> bool {
    echo.is_some_and(EchoGate::is_known_echo)
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
    Energy(EnergyVad),
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
            VadKind::Energy => JudgeKind::Energy(EnergyVad::new(NARROW, config.level_min_dbfs)),
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
        candidate: bool,
        floor_dbfs: f32,
    ) -> f32 {
        let chain = match &mut self.kind {
            JudgeKind::Energy(vad) => return if candidate { vad.push(narrow) } else { 0.0 },
            JudgeKind::Neural(chain) => chain,
        };
        let mut wide = widened(frame, rate, narrow, &mut self.last_sample);
        let suppress = match self.noise_suppression {
            NoiseSuppression::Off => false,
            NoiseSuppression::Auto => floor_dbfs > NOISY_FLOOR_DBFS,
            NoiseSuppression::On => true,
        };
        if candidate {
            self.listen_on = LISTEN_ON_FRAMES;
        } else if self.listen_on == 0 {
            // The noise estimate needs what is no speech, too; the context is then already clean.
            if suppress {
                chain.clean(&mut wide);
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
