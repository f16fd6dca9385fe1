//! What the caller said and no final transcript accounts for: a recogniser that takes over hears it again.

use std::collections::VecDeque;
use std::time::Duration;

use crate::audio::g711;
use crate::types::SampleRate;

/// Longest audio that is kept.
const KEPT_MAX: Duration = Duration::from_secs(10);
/// What is kept while nobody speaks: VAD needs some speech to be sure, and tells it up to 200 ms late.
const QUIET_MAX: Duration = Duration::from_millis(500);
/// What is kept behind a final transcript that nobody asked for: providers lag behind the caller.
const LAG_MAX: Duration = Duration::from_secs(1);
/// Length of one piece that is given to a session: 10 s are 50 of its queue's 100 places.
const PIECE: Duration = Duration::from_millis(200);

/// The newest audio, at the line's rate, in pieces: what is let go is memory for other calls, and nothing is copied
/// to grow.
pub(super) struct Ring {
    rate: SampleRate,
    /// As G.711: what came over a telephone line loses next to nothing by it, and takes half the memory.
    pieces: VecDeque<Vec<u8>>,
    /// Samples of the first piece that are let go.
    skip: usize,
    /// Samples that are kept.
    len: usize,
    /// Samples of the call up to the newest one.
    position: u64,
    speaking: bool,
}

impl Ring {
    pub(super) fn new(rate: SampleRate) -> Self {
        let pieces = VecDeque::new();
        Self { rate, pieces, skip: 0, len: 0, position: 0, speaking: false }
    }

    pub(super) fn rate(&self) -> SampleRate {
        self.rate
    }

    /// Samples of the call so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn push(&mut self, samples: &[i16]) {
        self.position += samples.len() as u64;
        let most = size(self.rate, if self.speaking { KEPT_MAX } else { QUIET_MAX });
        let mut rest = samples.get(samples.len().saturating_sub(most)..).unwrap_or_default();
        let whole = size(self.rate, PIECE).max(1);
        while !rest.is_empty() {
            if self.pieces.back().is_none_or(|piece| piece.len() >= whole) {
                self.pieces.push_back(Vec::with_capacity(whole));
            }
            let Some(piece) = self.pieces.back_mut() else { return };
            let (now, later) = rest.split_at(rest.len().min(whole - piece.len()));
            piece.extend(now.iter().map(|sample| g711::encode_ulaw(*sample)));
            self.len += now.len();
            rest = later;
        }
        self.keep(most);
    }

    fn keep(&mut self, most: usize) {
        while self.len > most {
            let Some(first) = self.pieces.front() else { return };
            let surplus = self.len - most;
            let there = first.len() - self.skip;
            if there > surplus {
                (self.skip, self.len) = (self.skip + surplus, most);
            } else {
                self.len -= there;
                self.skip = 0;
                self.pieces.pop_front();
            }
        }
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
        }
    }

    /// A final transcript came within the utterance, and does not say how far it reaches.
    pub(super) fn partly_accounted(&mut self) {
        self.keep(size(self.rate, LAG_MAX));
    }

    /// Everything that is kept, in pieces.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Vec<i16>> + '_ {
        self.pieces.iter().enumerate().map(|(n, piece)| {
            let skip = if n == 0 { self.skip } else { 0 };
            piece.iter().skip(skip).map(|octet| g711::decode_ulaw(*octet)).collect()
        })
    }
}

fn size(rate: SampleRate, time: Duration) -> usize {
    usize::try_from(rate.samples_in(time)).unwrap_or(0)
}
