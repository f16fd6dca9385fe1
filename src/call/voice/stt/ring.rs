//! What the caller said and no final transcript accounts for: a recogniser that takes over hears it again.

use std::collections::VecDeque;
use std::time::Duration;

use crate::types::SampleRate;

/// Longest audio that is kept.
const KEPT_MAX: Duration = Duration::from_secs(10);
/// What is kept while nobody speaks: VAD needs some speech to be sure, and a session some time to open.
const QUIET_MAX: Duration = Duration::from_secs(2);
/// What is kept behind a final transcript that nobody asked for: providers lag behind the caller.
const LAG_MAX: Duration = Duration::from_secs(1);
/// Length of one piece that is given to a session: 10 s are 50 of its queue's 100 places.
const PIECE: Duration = Duration::from_millis(200);

/// The newest audio, at the line's rate. Memory for what is kept in a pause is there from the beginning; a long
/// utterance takes more in a few steps, and gives it back.
pub(super) struct Ring {
    rate: SampleRate,
    samples: VecDeque<i16>,
    /// Samples of the call up to the newest one.
    position: u64,
    speaking: bool,
}

impl Ring {
    pub(super) fn new(rate: SampleRate) -> Self {
        let samples = VecDeque::with_capacity(size(rate, QUIET_MAX));
        Self { rate, samples, position: 0, speaking: false }
    }

    pub(super) fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Samples of the call so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn push(&mut self, samples: &[i16]) {
        let most = size(self.rate, if self.speaking { KEPT_MAX } else { QUIET_MAX });
        let newest = samples.get(samples.len().saturating_sub(most)..).unwrap_or_default();
        self.keep(most - newest.len());
        self.samples.extend(newest);
        self.position += samples.len() as u64;
    }

    fn keep(&mut self, most: usize) {
        let surplus = self.samples.len().saturating_sub(most);
        self.samples.drain(..surplus);
    }

    /// The caller speaks: everything is kept from here on.
    pub(super) fn speech_started(&mut self) {
        self.speaking = true;
    }

    pub(super) fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// A final transcript accounts for the call up to `position`. `over`: the utterance ended there.
    pub(super) fn accounted(&mut self, position: u64, over: bool) {
        let newer = usize::try_from(self.position.saturating_sub(position)).unwrap_or(usize::MAX);
        self.keep(newer);
        if over {
            self.speaking = false;
            self.samples.shrink_to(size(self.rate, QUIET_MAX));
        }
    }

    /// A final transcript came within the utterance, and does not say how far it reaches.
    pub(super) fn partly_accounted(&mut self) {
        self.keep(size(self.rate, LAG_MAX));
    }

    /// Everything that is kept, in pieces.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Vec<i16>> + '_ {
        let piece = size(self.rate, PIECE).max(1);
        (0..self.samples.len().div_ceil(piece))
            .map(move |n| self.samples.iter().skip(n * piece).take(piece).copied().collect())
    }
}

fn size(rate: SampleRate, time: Duration) -> usize {
    usize::try_from(rate.samples_in(time)).unwrap_or(0)
}
