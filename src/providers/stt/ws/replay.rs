//! Audio that no result accounts for yet: what waits to be sent, what a new connection gets again, and
//! where all of it lies on the connection's time axis.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::types::SampleRate;

struct Chunk {
    octets: Bytes,
    samples: usize,
    /// May be sent. What was heard before speech waits until there is some.
    free: bool,
}

/// Audio in order: first what was sent, then what waits.
pub(in crate::providers::stt) struct Replay {
    rate: SampleRate,
    samples_max: usize,
    chunks: VecDeque<Chunk>,
    /// Chunks that were sent on this connection: the first so many.
    sent: usize,
    samples: usize,
    samples_sent: usize,
    /// Samples of this connection that are accounted for.
    acknowledged: u64,
    /// Samples that gave way before they were sent: the server does not count them.
    skipped: u64,
}

impl Replay {
    pub(in crate::providers::stt) fn new(rate: SampleRate, seconds_max: usize) -> Self {
        Self {
            rate,
            samples_max: rate.hz() as usize * seconds_max,
            chunks: VecDeque::new(),
            sent: 0,
            samples: 0,
            samples_sent: 0,
            acknowledged: 0,
            skipped: 0,
        }
    }

    /// Keeps a chunk; the oldest gives way beyond the limit.
    pub(in crate::providers::stt) fn push(&mut self, octets: Bytes, samples: usize) {
        self.add(Chunk { octets, samples, free: true });
    }

    /// Keeps a chunk that is not sent before [`Replay::free`].
    pub(super) fn push_held(&mut self, octets: Bytes, samples: usize) {
        self.add(Chunk { octets, samples, free: false });
    }

    fn add(&mut self, chunk: Chunk) {
        if chunk.samples == 0 {
            return;
        }
        self.samples += chunk.samples;
        self.chunks.push_back(chunk);
        self.keep(self.samples_max);
    }

    /// Everything that is held may be sent.
    pub(super) fn free(&mut self) {
        for chunk in self.chunks.iter_mut().rev().take_while(|chunk| !chunk.free) {
            chunk.free = true;
        }
    }

    /// Keeps the newest samples, of those that are held.
    pub(super) fn keep_held(&mut self, most: usize) {
        let held = self.chunks.iter().rev().take_while(|chunk| !chunk.free);
        let (count, samples) = held.fold((0, 0), |(n, sum), chunk| (n + 1, sum + chunk.samples));
        let mut surplus = samples.saturating_sub(most);
        let first = self.chunks.len() - count;
        while let Some(chunk) = self.chunks.get(first)
            && !chunk.free
            && chunk.samples <= surplus
        {
            surplus -= chunk.samples;
            self.samples -= chunk.samples;
            self.chunks.remove(first);
        }
    }

    /// Keeps the newest samples.
    pub(super) fn keep(&mut self, most: usize) {
        while self.samples > most && !self.chunks.is_empty() {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        let Some(chunk) = self.chunks.pop_front() else { return };
        self.samples -= chunk.samples;
        self.acknowledged += chunk.samples as u64;
        if self.sent > 0 {
            self.sent -= 1;
            self.samples_sent -= chunk.samples;
        } else {
            self.skipped += chunk.samples as u64;
        }
    }

    /// The next chunk to send.
    pub(in crate::providers::stt) fn take_next(&mut self) -> Option<(Bytes, usize)> {
        let chunk = self.chunks.get(self.sent).filter(|chunk| chunk.free)?;
        let next = (chunk.octets.clone(), chunk.samples);
        self.sent += 1;
        self.samples_sent += next.1;
        Some(next)
    }

    /// Whether a chunk waits to be sent.
    pub(super) fn has_next(&self) -> bool {
        self.chunks.get(self.sent).is_some_and(|chunk| chunk.free)
    }

    /// Whether anything waits for its result.
    pub(super) fn has_audio(&self) -> bool {
        self.chunks.front().is_some_and(|chunk| chunk.free)
    }

    /// The samples of this connection, those that wait to be sent included.
    pub(in crate::providers::stt) fn position(&self) -> u64 {
        let held: usize = self.chunks.iter().rev().take_while(|c| !c.free).map(|c| c.samples).sum();
        self.acknowledged + (self.samples - held) as u64
    }

    /// The samples that were sent on this connection, or gave way.
    pub(super) fn position_sent(&self) -> u64 {
        self.acknowledged + self.samples_sent as u64
    }

    /// Samples of this connection that are accounted for, or gave way.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// How much the server got on this connection, as a time.
    pub(super) fn sent_for(&self) -> std::time::Duration {
        self.rate.duration_of(self.position_sent().saturating_sub(self.skipped))
    }

    /// A result covers the connection's audio up to `seconds`. Gives the sample it means.
    pub(in crate::providers::stt) fn acknowledge(&mut self, seconds: f64) -> u64 {
        if !seconds.is_finite() || seconds < 0.0 {
            return 0;
        }
        // Saturates for absurd values, which then mean everything that was sent.
        let samples = (seconds * f64::from(self.rate.hz())).round() as u64;
        let upto = samples.saturating_add(self.skipped);
        self.acknowledge_samples(upto);
        upto
    }

    /// A result covers the connection's audio up to this sample.
    pub(super) fn acknowledge_samples(&mut self, upto: u64) {
        while self.sent > 0
            && let Some(chunk) = self.chunks.front()
            && self.acknowledged + chunk.samples as u64 <= upto
        {
            self.drop_front();
        }
    }

    /// A new connection counts from zero and gets everything again.
    pub(in crate::providers::stt) fn restart(&mut self) {
        self.acknowledged = 0;
        self.skipped = 0;
        self.sent = 0;
        self.samples_sent = 0;
    }

    /// Chunks that are kept.
    #[cfg(test)]
    pub(in crate::providers::stt) fn len(&self) -> usize {
        self.chunks.len()
    }
}
