//! A listener's audio in the form it asked for: mixed or apart, at its own rate.

use super::recorder::{Heard, Listener};
use crate::audio::resample::Resampler;
use crate::types::SampleRate;

/// Turns pieces of a call into the PCM of one listener.
pub struct ListenerPcm {
    stereo: bool,
    /// One of the mix, or one of each side.
    sides: Vec<Resampler>,
}

impl ListenerPcm {
    /// For a listener that wants this rate. `None` if there is no way from the call's rate to it.
    pub fn new(listener: &Listener, rate: SampleRate, stereo: bool) -> Option<Self> {
        let count = if stereo { 2 } else { 1 };
        let sides = (0..count).map(|_| Resampler::new(listener.rate, rate));
        Some(Self { stereo, sides: sides.collect::<Result<_, _>>().ok()? })
    }

    /// Little-endian samples, of two sides in turn. The resampler keeps 2 ms back.
    pub fn convert(&mut self, heard: &Heard) -> Vec<u8> {
        let side = |n: usize| -> Vec<i16> {
            let of = |pair: &[i16; 2]| {
                let [caller, agent] = *pair;
                match (self.stereo, n) {
                    (false, _) => caller.saturating_add(agent),
                    (true, 0) => caller,
                    (true, _) => agent,
                }
            };
            heard.samples.iter().map(of).collect()
        };
        let inputs: Vec<Vec<i16>> = (0..self.sides.len()).map(side).collect();
        let mut outputs = vec![Vec::new(); self.sides.len()];
        for ((resampler, input), output) in self.sides.iter_mut().zip(&inputs).zip(&mut outputs) {
            resampler.push(input, output);
        }
        match outputs.as_slice() {
            [mix] => mix.iter().flat_map(|sample| sample.to_le_bytes()).collect(),
            [left, right] => {
                let pairs = left.iter().zip(right);
                pairs.flat_map(|(l, r)| [l.to_le_bytes(), r.to_le_bytes()].concat()).collect()
            }
            _ => Vec::new(),
        }
    }
}
