//! Keys as tones in the voice band (ITU-T Q.23), for lines without telephone-event.

use std::collections::VecDeque;

use crate::audio::tone::{COLUMNS_HZ, KEYS, ROWS_HZ};
use crate::types::SampleRate;

/// Digits that may wait: a card number with its check code, twice.
pub const DIGITS_MAX: usize = 64;
/// Amplitude of each tone of the pair: -9 dBm0 as most exchanges send, without clipping their sum.
const AMPLITUDE: f32 = 6_000.0;

#[derive(Clone, Copy)]
struct Tone {
    low_hz: f32,
    high_hz: f32,
    samples: u32,
    gap_samples: u32,
    at: u32,
}

/// Digits to be heard, one after the other.
pub struct ToneQueue {
    rate: SampleRate,
    waiting: VecDeque<Tone>,
}

impl ToneQueue {
    /// An empty queue.
    pub fn new(rate: SampleRate) -> Self {
        Self { rate, waiting: VecDeque::with_capacity(DIGITS_MAX) }
    }

    /// The line's rate is known now.
    pub fn set_rate(&mut self, rate: SampleRate) {
        self.rate = rate;
    }

    /// Adds a digit; `false` if it is no key or too many wait.
    #[must_use]
    pub fn push(&mut self, digit: u8, duration_ms: u16, gap_ms: u16) -> bool {
        if self.waiting.len() >= DIGITS_MAX {
            return false;
        }
        let found = KEYS.iter().zip(ROWS_HZ).find_map(|(row, low_hz)| {
            let column = row.iter().position(|key| *key == digit)?;
            Some((low_hz, COLUMNS_HZ.get(column).copied()?))
        });
        let Some((low_hz, high_hz)) = found else { return false };
        let samples = self.rate.samples_in_ms(u32::from(duration_ms)) as u32;
        let gap_samples = self.rate.samples_in_ms(u32::from(gap_ms)) as u32;
        self.waiting.push_back(Tone { low_hz, high_hz, samples, gap_samples, at: 0 });
        true
    }

    /// Whether nothing is left to be heard.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Writes the next frame; the rest of it is silence when the queue ends.
    pub fn fill(&mut self, frame: &mut [i16]) {
        let turn = std::f32::consts::TAU / self.rate.hz() as f32;
        for sample in frame {
            *sample = 0;
            let Some(tone) = self.waiting.front_mut() else { continue };
            if tone.at < tone.samples {
                let at = tone.at as f32 * turn;
                let sum = (at * tone.low_hz).sin() + (at * tone.high_hz).sin();
                *sample = (sum * AMPLITUDE) as i16;
            }
            tone.at += 1;
            if tone.at >= tone.samples + tone.gap_samples {
                self.waiting.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::{DtmfDetector, DtmfEvent};

    #[test]
    fn the_detector_hears_what_was_pushed() {
        let mut tones = ToneQueue::new(SampleRate::HZ_8000);
        let mut detector = DtmfDetector::new(SampleRate::HZ_8000);
        for digit in *b"159*0#D" {
            assert!(tones.push(digit, 80, 80));
        }
        assert!(!tones.push(b'x', 80, 80));
        let mut heard = Vec::new();
        while !tones.is_idle() {
            let mut frame = [0; 160];
            tones.fill(&mut frame);
            if let Some(DtmfEvent::Started { digit }) = detector.push(&frame) {
                heard.push(digit);
            }
        }
        assert_eq!(heard, *b"159*0#D");
    }
}
