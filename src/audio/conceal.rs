//! Packet loss concealment for G.711, after ITU-T G.711 appendix I but without its 3.75 ms of delay.
//!
//! A lost frame is filled by repeating the last pitch period, fading from 10 ms on to silence at
//! 60 ms. The first frame after a loss is cross-faded from the repetition, so that neither edge clicks.

use crate::types::SampleRate;
use crate::types::audio::FRAME_MS;

/// From here on there is silence: a longer repetition sounds like a machine, not like speech.
pub const CONCEAL_MS_MAX: u32 = 60;
/// Repetition at full level before the fade.
const HOLD_MS: u32 = 10;
/// Lowest pitch looked for is 66 Hz.
const PITCH_MS_MAX: u32 = 15;
/// Highest pitch looked for is 200 Hz: shorter periods repeat audibly as a buzz.
const PITCH_MS_MIN: u32 = 5;
/// The cross-fade into the first good frame, plus as much again for each lost frame, to 10 ms.
const RESYNC_MS: u32 = 4;
const RESYNC_MS_MAX: u32 = 10;
/// What is compared to find the pitch.
const MATCH_MS: u32 = 10;

/// Concealment of one stream. Memory: 45 ms of samples and one period.
pub struct Concealer {
    /// The newest samples that were played, oldest first.
    history: Box<[i16]>,
    /// One pitch period, made to join its own beginning.
    period: Box<[i16]>,
    rate: SampleRate,
    state: State,
}

enum State {
    Good,
    Lost {
        /// Samples of `period` in use.
        period_len: usize,
        /// Position in the period.
        at: usize,
        /// Samples concealed so far.
        concealed: usize,
    },
}

impl Concealer {
    /// A concealer for a stream at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        let history = rate.samples_in_ms(PITCH_MS_MAX * 2 + MATCH_MS + HOLD_MS);
        let period = rate.samples_in_ms(PITCH_MS_MAX);
        Self {
            history: vec![0; history].into_boxed_slice(),
            period: vec![0; period].into_boxed_slice(),
            rate,
            state: State::Good,
        }
    }

    /// Takes a frame that arrived; after a loss its beginning is blended with the concealment.
    pub fn received(&mut self, frame: &mut [i16]) {
        if let State::Lost { concealed, .. } = self.state {
            let frames = concealed / self.rate.samples_in_ms(FRAME_MS).max(1);
            let ms = (RESYNC_MS * (1 + frames as u32)).min(RESYNC_MS_MAX);
            let blend = self.rate.samples_in_ms(ms).min(frame.len());
            for (at, sample) in frame.iter_mut().take(blend).enumerate() {
                let old = self.next_sample();
                let share = (at as f32 + 0.5) / blend as f32;
                *sample = (f32::from(*sample) * share + f32::from(old) * (1.0 - share)) as i16;
            }
            self.state = State::Good;
        }
        self.remember(frame);
    }

    /// Fills a frame that did not arrive.
    pub fn conceal(&mut self, frame: &mut [i16]) {
        if matches!(self.state, State::Good) {
            self.start();
        }
        for sample in frame.iter_mut() {
            *sample = self.next_sample();
        }
        self.remember(frame);
    }

    /// Whether the last frame was concealed.
    pub fn is_concealing(&self) -> bool {
        matches!(self.state, State::Lost { .. })
    }

    /// Forgets everything: another source speaks now.
    pub fn reset(&mut self) {
        self.history.fill(0);
        self.state = State::Good;
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

    /// Finds the pitch and cuts one period out of the history.
    fn start(&mut self) {
        let period_len = self.pitch();
        let len = self.history.len();
        let (Some(last), Some(before)) = (
            self.history.get(len - period_len..),
            self.history.get(len - 2 * period_len..len - period_len),
        ) else {
            return;
        };
        // The last quarter of the period slides into the quarter before the period began, so that
        // the end of each repetition leads into its start.
        let overlap = (period_len / 4).max(1);
        let plain = period_len - overlap;
        for (at, (to, (last, before))) in
            self.period.iter_mut().zip(last.iter().zip(before)).enumerate()
        {
            let share = at.saturating_sub(plain) as f32 / overlap as f32;
            *to = (f32::from(*last) * (1.0 - share) + f32::from(*before) * share) as i16;
        }
        self.state = State::Lost { period_len, at: 0, concealed: 0 };
    }

    /// The lag, in samples, at which the end of the history is most like itself.
    fn pitch(&self) -> usize {
        let rate = self.rate;
        let (shortest, longest) =
            (rate.samples_in_ms(PITCH_MS_MIN).max(1), rate.samples_in_ms(PITCH_MS_MAX));
        let window = rate.samples_in_ms(MATCH_MS);
        let newest = self.history.len() - window;
        // Every other sample suffices to find the peak at 8 kHz; more at higher rates.
        let step = (rate.hz() as usize / 4_000).max(1);
        let mut best = (f32::MIN, longest);
        for lag in shortest..=longest {
            let (Some(now), Some(then)) =
                (self.history.get(newest..), self.history.get(newest - lag..newest - lag + window))
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
                best = (likeness, lag);
            }
        }
        best.1
    }

    fn next_sample(&mut self) -> i16 {
        let State::Lost { period_len, at, concealed } = &mut self.state else { return 0 };
        let hold = self.rate.samples_in_ms(HOLD_MS);
        let end = self.rate.samples_in_ms(CONCEAL_MS_MAX);
        let done = concealed.saturating_sub(hold) as f32 / (end - hold).max(1) as f32;
        let sample = f32::from(self.period.get(*at).copied().unwrap_or(0));
        *at = (*at + 1) % (*period_len).max(1);
        *concealed += 1;
        (sample * (1.0 - done).max(0.0)) as i16
    }
}

#[cfg(test)]
mod tests;
