//! Tones of the telephone by Goertzel's algorithm: keypad digits sent in the voice band
//! (ITU-T Q.23, Q.24). Call-progress tones, fax and hum are `vad::tonality`'s business, because
//! there only *that* it is a tone matters.

use crate::types::SampleRate;

/// Low group of keypad frequencies, one a row, in Hz.
pub const ROWS_HZ: [f32; 4] = [697.0, 770.0, 852.0, 941.0];
/// High group of keypad frequencies, one a column, in Hz.
pub const COLUMNS_HZ: [f32; 4] = [1_209.0, 1_336.0, 1_477.0, 1_633.0];
/// Keys row by row.
pub const KEYS: [[u8; 4]; 4] = [*b"123A", *b"456B", *b"789C", *b"*0#D"];

/// Energy of a block at chosen frequencies. Resolution is the sample rate over the block's length.
#[derive(Clone, Debug)]
pub struct Goertzel<const N: usize> {
    coefficients: [f32; N],
    s1: [f32; N],
    s2: [f32; N],
}

impl<const N: usize> Goertzel<N> {
    /// A bank for `frequencies_hz`.
    pub fn new(frequencies_hz: [f32; N], rate: SampleRate) -> Self {
        let coefficients = frequencies_hz.map(|hz| {
            2.0 * (std::f64::consts::TAU * f64::from(hz) / f64::from(rate.hz())).cos() as f32
        });
        Self { coefficients, s1: [0.0; N], s2: [0.0; N] }
    }

    /// Takes one sample.
    #[inline]
    pub fn push(&mut self, sample: f32) {
        for ((c, s1), s2) in self.coefficients.iter().zip(&mut self.s1).zip(&mut self.s2) {
            let s = sample + *c * *s1 - *s2;
            (*s2, *s1) = (*s1, s);
        }
    }

    /// Squared magnitudes at the frequencies since the last call, and starts anew. A sine of
    /// amplitude `a` over `n` samples gives `(a * n / 2)^2`.
    pub fn take(&mut self) -> [f32; N] {
        let mut out = [0.0; N];
        for (((to, c), s1), s2) in
            out.iter_mut().zip(&self.coefficients).zip(&mut self.s1).zip(&mut self.s2)
        {
            *to = *s1 * *s1 + *s2 * *s2 - *c * *s1 * *s2;
            (*s1, *s2) = (0.0, 0.0);
        }
        out
    }
}

/// A key's edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DtmfEvent {
    /// A key went down: reported once, 26 to 39 ms after the tone began.
    Started {
        /// 0-9, `*`, `#`, A-D.
        digit: u8,
    },
    /// The tone ended.
    Ended {
        /// Which key.
        digit: u8,
        /// How long it was heard, to 13 ms.
        duration_ms: u32,
    },
}

/// 12.75 ms: two whole blocks always fit into the shortest tone of 40 ms.
const BLOCK_SAMPLES_8K: usize = 102;
/// Blocks that agree before a key is down. Tones under 18 ms never make two: each must be filled to
/// [`PAIR_SHARE_MIN`].
const HITS_MIN: u32 = 2;
/// Blocks without the tone before a key is up: a gap in the middle of a press is not two presses.
const MISSES_MAX: u32 = 2;
/// Weakest tone pair: -36 dBm0 in total, 6 dB under the weakest that must work.
const LEVEL_MIN_DBFS: f32 = -42.0;
/// The high tone may be louder by this much (lines lose high frequencies, so phones add some).
const TWIST_FORWARD_DB: f32 = 6.0;
/// The low tone may be louder by this much.
const TWIST_REVERSE_DB: f32 = 10.0;
/// The pair's part of all energy in the block. Speech spreads its energy: this is the talk-off guard.
const PAIR_SHARE_MIN: f32 = 0.72;
/// How far the strongest tone of a group stands above the others of its group.
const ABOVE_OTHERS_DB: f32 = 6.0;

/// Finds keypad digits in the voice band, for trunks without telephone-event (RFC 4733).
pub struct DtmfDetector {
    bank: Goertzel<8>,
    energy: f32,
    filled: usize,
    block: usize,
    block_ms: f32,
    candidate: Option<u8>,
    hits: u32,
    misses: u32,
    pressed: Option<(u8, u32)>,
    waiting: Option<DtmfEvent>,
}

impl DtmfDetector {
    /// A detector for a stream at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        let block = BLOCK_SAMPLES_8K * rate.hz() as usize / 8_000;
        let [a, b, c, d] = ROWS_HZ;
        let [e, f, g, h] = COLUMNS_HZ;
        Self {
            bank: Goertzel::new([a, b, c, d, e, f, g, h], rate),
            energy: 0.0,
            filled: 0,
            block,
            block_ms: block as f32 * 1_000.0 / rate.hz() as f32,
            candidate: None,
            hits: 0,
            misses: 0,
            pressed: None,
            waiting: None,
        }
    }

    /// Takes a frame of at most 20 ms. When one key follows another without a gap both edges may fall
    /// into one frame; the second is then given with the next frame.
    pub fn push(&mut self, frame: &[i16]) -> Option<DtmfEvent> {
        let mut event = self.waiting.take();
        for sample in frame {
            let sample = f32::from(*sample);
            self.energy += sample * sample;
            self.bank.push(sample);
            self.filled += 1;
            if self.filled == self.block {
                let edge = self.end_of_block();
                match event {
                    None => event = edge,
                    Some(_) => self.waiting = edge.or(self.waiting),
                }
            }
        }
        event
    }

    /// Whether the last block sounded like a key, pressed long enough or not: mask speech detection.
    pub fn is_active(&self) -> bool {
        self.pressed.is_some() || self.candidate.is_some()
    }

    /// Forgets the stream so far.
    pub fn reset(&mut self) {
        self.bank.take();
        (self.energy, self.filled) = (0.0, 0);
        (self.candidate, self.hits, self.misses) = (None, 0, 0);
        (self.pressed, self.waiting) = (None, None);
    }

    fn end_of_block(&mut self) -> Option<DtmfEvent> {
        let powers = self.bank.take();
        let found = self.digit_of(powers);
        (self.energy, self.filled) = (0.0, 0);
        if found.is_some() && found == self.candidate {
            self.hits += 1;
        } else {
            (self.candidate, self.hits) = (found, u32::from(found.is_some()));
        }
        match &mut self.pressed {
            Some((digit, blocks)) if found == Some(*digit) => {
                *blocks += 1 + self.misses;
                self.misses = 0;
                None
            }
            Some((digit, blocks)) => {
                self.misses += 1;
                if self.misses < MISSES_MAX {
                    return None;
                }
                let duration_ms = (*blocks as f32 * self.block_ms) as u32;
                let ended = DtmfEvent::Ended { digit: *digit, duration_ms };
                self.pressed = None;
                Some(ended)
            }
            None => {
                let digit = self.candidate.filter(|_| self.hits >= HITS_MIN)?;
                (self.pressed, self.misses) = (Some((digit, self.hits)), 0);
                Some(DtmfEvent::Started { digit })
            }
        }
    }

    /// The key whose pair of tones makes up the block, if any.
    fn digit_of(&self, [r0, r1, r2, r3, c0, c1, c2, c3]: [f32; 8]) -> Option<u8> {
        let samples = self.block as f32;
        // Mean square of full scale times the block's length.
        let least = crate::audio::level::dbfs_power(LEVEL_MIN_DBFS) * samples;
        if self.energy < least {
            return None;
        }
        let (row, low) = strongest([r0, r1, r2, r3])?;
        let (column, high) = strongest([c0, c1, c2, c3])?;
        let twist_db = 10.0 * (high / low).log10();
        if !(-TWIST_REVERSE_DB..=TWIST_FORWARD_DB).contains(&twist_db) {
            return None;
        }
        if (low + high) < PAIR_SHARE_MIN * self.energy * samples / 2.0 {
            return None;
        }
        KEYS.get(row).and_then(|keys| keys.get(column)).copied()
    }
}

/// Index and power of the one that stands out of its group.
fn strongest(group: [f32; 4]) -> Option<(usize, f32)> {
    let (at, best) = group.into_iter().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let bar = best / 10_f32.powf(ABOVE_OTHERS_DB / 10.0);
    let alone = group.iter().enumerate().all(|(other, power)| other == at || *power < bar);
    (alone && best > 0.0).then_some((at, best))
}

#[cfg(test)]
mod tests;
