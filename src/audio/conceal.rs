//! Packet loss concealment for codecs that have none of their own, after ITU-T G.711 appendix I but without its
//! 3.75 ms of delay.
//!
//! A lost frame is filled by repeating the last pitch period, which fades into the line's own background noise.
//! Where the packet behind the loss is known already, its first period is repeated backwards, and one repetition
//! slides into the other: neither edge clicks, and a word whose beginning was lost has one. Where it is not, the first
//! frame after the loss is cross-faded from the repetition.

use super::level::mean_square;
use super::noise::ComfortNoise;
use crate::types::SampleRate;
use crate::types::audio::FRAME_MS;

/// From here on there is background noise: a longer repetition sounds like a machine, not like speech.
pub const CONCEAL_MS_MAX: u32 = 160;
/// Repetition at full level before the fade.
const HOLD_MS: u32 = 20;
/// Lowest pitch looked for is 66 Hz.
const PITCH_MS_MAX: u32 = 15;
/// Highest pitch looked for is 200 Hz: shorter periods repeat audibly as a buzz.
const PITCH_MS_MIN: u32 = 5;
/// The cross-fade into the first good frame, plus as much again for each lost frame, to 10 ms.
const RESYNC_MS: u32 = 4;
const RESYNC_MS_MAX: u32 = 10;
/// What is compared to find the pitch.
const MATCH_MS: u32 = 10;
/// Loudest background, about -50 dBFS: whoever speaks without a breath is no background.
const BACKGROUND_MAX: f32 = 100.0;
/// How fast the background is taken to rise while nothing is as quiet: 2 dB a second.
const BACKGROUND_RISE: f32 = 1.005;

/// Concealment of one stream. Memory: 80 ms of samples and two periods.
pub struct Concealer {
    /// The newest samples that were played, oldest first.
    history: Box<[i16]>,
    /// What comes after a loss, the other way round.
    turned: Box<[i16]>,
    before: Repetition,
    behind: Repetition,
    noise: ComfortNoise,
    /// Root mean square of the line between the words.
    background: f32,
    rate: SampleRate,
    state: State,
}

#[derive(Clone, Copy)]
enum State {
    Good,
    Lost {
        /// Samples concealed so far.
        concealed: usize,
        /// How many of them before it was known what comes after the loss.
        alone: Option<usize>,
    },
}

/// A pitch period, made to join its own beginning.
struct Repetition {
    period: Box<[i16]>,
    /// Samples of it in use.
    len: usize,
}

impl Concealer {
    /// A concealer for a stream at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        let history = rate.samples_in_ms(PITCH_MS_MAX * 2 + MATCH_MS + HOLD_MS);
        Self {
            history: vec![0; history].into_boxed_slice(),
            turned: vec![0; rate.samples_in_ms(FRAME_MS)].into_boxed_slice(),
            before: Repetition::new(rate),
            behind: Repetition::new(rate),
            noise: ComfortNoise::new(super::level::FLOOR_DBFS, 1),
            background: 0.0,
            rate,
            state: State::Good,
        }
    }

    /// Takes a frame that arrived; after a loss its beginning is blended with the concealment.
    pub fn received(&mut self, frame: &mut [i16]) {
        if let State::Lost { concealed, alone: None } = self.state {
            let frames = concealed / self.rate.samples_in_ms(FRAME_MS).max(1);
            let ms = (RESYNC_MS * (1 + frames as u32)).min(RESYNC_MS_MAX);
            let blend = self.rate.samples_in_ms(ms).min(frame.len());
            for (at, sample) in frame.iter_mut().take(blend).enumerate() {
                let level = self.fade(concealed + at);
                let old = self.before.at(concealed + at) * level
                    + self.noise.next_sample() * (1.0 - level);
                let share = (at as f32 + 0.5) / blend as f32;
                *sample = (f32::from(*sample) * share + old * (1.0 - share)) as i16;
            }
        }
        self.state = State::Good;
        if !frame.is_empty() {
            let risen = self.background * BACKGROUND_RISE + 0.1;
            self.background = mean_square(frame).sqrt().min(risen).min(BACKGROUND_MAX);
        }
        self.remember(frame);
    }

    /// Fills a frame that did not arrive.
    pub fn conceal(&mut self, frame: &mut [i16]) {
        self.fill(frame, None);
    }

    /// The same when it is known how the loss ends: with `next`, `distance` samples after this frame.
    pub fn conceal_towards(&mut self, frame: &mut [i16], next: &[i16], distance: usize) {
        let len = next.len().min(self.turned.len());
        let turned = self.turned.get_mut(..len).unwrap_or_default();
        for (to, from) in turned.iter_mut().rev().zip(next) {
            *to = *from;
        }
        let known = self.behind.take(turned, self.rate);
        self.fill(frame, known.then_some(distance));
    }

    /// Whether the last frame was concealed.
    pub fn is_concealing(&self) -> bool {
        matches!(self.state, State::Lost { .. })
    }

    /// Forgets everything: another source speaks now.
    pub fn reset(&mut self) {
        self.history.fill(0);
        self.background = 0.0;
        self.state = State::Good;
    }

    fn fill(&mut self, frame: &mut [i16], distance: Option<usize>) {
        let (concealed, alone) = match self.state {
            State::Lost { concealed, alone } => (concealed, alone),
            State::Good => {
                self.before.take(&self.history, self.rate);
                // A uniform distribution of this half-width is 5 dB softer than the background, and has no sample
                // that is louder than its loudest.
                self.noise.set_amplitude(self.background);
                (0, None)
            }
        };
        let alone = distance.map(|_| alone.unwrap_or(concealed));
        let (len, from) = (frame.len(), alone.unwrap_or(concealed));
        for (at, sample) in frame.iter_mut().enumerate() {
            let past = concealed + at;
            let (mut old, mut new) = (self.fade(past), 0.0);
            let mut mixed = 0.0;
            if let Some(distance) = distance {
                let left = len - 1 - at + distance;
                let share = ((past - from) as f32 + 0.5) / (past - from + left + 1) as f32;
                old *= 1.0 - share;
                new = self.fade(left) * share;
                mixed = self.behind.at(left) * new;
            }
            mixed += self.before.at(past) * old + self.noise.next_sample() * (1.0 - old - new);
            *sample = mixed as i16;
        }
        self.state = State::Lost { concealed: concealed + len, alone };
        self.remember(frame);
    }

    /// Level of a repetition that has gone on for so many samples.
    fn fade(&self, samples: usize) -> f32 {
        let hold = self.rate.samples_in_ms(HOLD_MS);
        let end = self.rate.samples_in_ms(CONCEAL_MS_MAX);
        let done = samples.saturating_sub(hold) as f32 / (end - hold).max(1) as f32;
        (1.0 - done).max(0.0)
    }

    fn remember(&mut self, frame: &[i16]) {
        let len = self.history.len();
        let keep = frame.len().min(len);
        self.history.rotate_left(keep);
        let newest = frame.iter().skip(frame.len() - keep);
        for (to, from) in self.history.iter_mut().skip(len - keep).zip(newest) {
            *to = *from;
        }
    }
}

impl Repetition {
    fn new(rate: SampleRate) -> Self {
        Self { period: vec![0; rate.samples_in_ms(PITCH_MS_MAX)].into_boxed_slice(), len: 1 }
    }

    /// Finds the pitch at the end of `audio` and cuts one period out. `false`: there is too little of it.
    fn take(&mut self, audio: &[i16], rate: SampleRate) -> bool {
        let Some(period) = pitch(audio, rate) else { return false };
        let overlap = (period / 4).max(1);
        let end = audio.len();
        let (Some(last), Some(before)) = (
            audio.get(end - period..),
            (end - period).checked_sub(overlap).and_then(|from| audio.get(from..end - period)),
        ) else {
            return false;
        };
        // The last quarter of the period slides into the quarter before the period began, so that
        // the end of each repetition leads into its start.
        let plain = period - overlap;
        for (at, (to, last)) in self.period.iter_mut().zip(last).enumerate() {
            let other = at.checked_sub(plain).and_then(|at| before.get(at)).copied().unwrap_or(0);
            let share = at.saturating_sub(plain) as f32 / overlap as f32;
            *to = (f32::from(*last) * (1.0 - share) + f32::from(other) * share) as i16;
        }
        self.len = period.min(self.period.len()).max(1);
        true
    }

    /// The sample that is so many after the end of what it was cut from.
    fn at(&self, samples: usize) -> f32 {
        f32::from(self.period.get(samples % self.len).copied().unwrap_or(0))
    }
}

/// The lag, in samples, at which the end of the audio is most like itself.
fn pitch(audio: &[i16], rate: SampleRate) -> Option<usize> {
    let shortest = rate.samples_in_ms(PITCH_MS_MIN).max(1);
    let window = rate.samples_in_ms(MATCH_MS).min(audio.len() / 4);
    // A period, and the quarter that leads into it.
    let most = (audio.len() - window).min(audio.len() * 4 / 5);
    let longest = rate.samples_in_ms(PITCH_MS_MAX).min(most);
    let newest = audio.len() - window;
    // Every other sample suffices to find the peak at 8 kHz; more at higher rates.
    let step = (rate.hz() as usize / 4_000).max(1);
    let mut best = (f32::MIN, None);
    for lag in shortest..=longest {
        let (Some(now), Some(then)) =
            (audio.get(newest..), audio.get(newest - lag..newest - lag + window))
        else {
            continue;
        };
        let (mut product, mut energy) = (0.0_f32, 1.0_f32);
        for (now, then) in now.iter().zip(then).step_by(step) {
            let then = f32::from(*then);
            product += f32::from(*now) * then;
            energy += then * then;
        }
        let likeness = product / energy.sqrt();
        if likeness > best.0 {
            best = (likeness, Some(lag));
        }
    }
    best.1
}

#[cfg(test)]
mod tests;
