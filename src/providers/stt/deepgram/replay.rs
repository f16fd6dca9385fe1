//! Audio sent but not accounted for by a result, and where it lies on the connection's time axis.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::types::SampleRate;

/// Audio kept for a replay: no utterance waits longer for its words.
const REPLAY_SECONDS_MAX: usize = 10;

pub(super) struct Replay {
    rate: SampleRate,
    chunks: VecDeque<Bytes>,
    samples: usize,
    /// Samples of this connection that are accounted for.
    acknowledged: u64,
}

impl Replay {
    pub(super) fn new(rate: SampleRate) -> Self {
        Self { rate, chunks: VecDeque::new(), samples: 0, acknowledged: 0 }
    }

    /// Keeps a chunk; the oldest gives way beyond [`REPLAY_SECONDS_MAX`].
    pub(super) fn push(&mut self, chunk: Bytes) {
        if chunk.len() < 2 {
            return;
        }
        self.samples += chunk.len() / 2;
        self.chunks.push_back(chunk);
        let most = self.rate.hz() as usize * REPLAY_SECONDS_MAX;
        while self.samples > most {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            let samples = chunk.len() / 2;
            self.samples -= samples;
            self.acknowledged += samples as u64;
        }
    }

    /// Whether anything waits for its result.
    pub(super) fn has_audio(&self) -> bool {
        !self.chunks.is_empty()
    }

    /// Samples sent on this connection.
    pub(super) fn position(&self) -> u64 {
        self.acknowledged + self.samples as u64
    }

    /// A final result covers the connection's audio up to `seconds`. Gives the sample it means.
    pub(super) fn acknowledge(&mut self, seconds: f64) -> u64 {
        if !seconds.is_finite() || seconds < 0.0 {
            return 0;
        }
        // Saturates for absurd values, which then mean everything that was sent.
        let upto = (seconds * f64::from(self.rate.hz())).round() as u64;
        while let Some(chunk) = self.chunks.front()
            && self.acknowledged + (chunk.len() / 2) as u64 <= upto
        {
            self.drop_front();
        }
        upto
    }

    /// A new connection counts from zero and gets everything again.
    pub(super) fn restart(&mut self) -> Vec<Bytes> {
        self.acknowledged = 0;
        self.chunks.iter().cloned().collect()
    }
}
