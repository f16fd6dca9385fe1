//! How evenly packets arrive: deviations of the time between two of them from 20 ms, as a histogram.
//!
//! Within speech and over all packets apart: a sender may move its grid when speech begins after
//! silence, so that the first word does not wait, and that is no unevenness of the pace.

use std::time::{Duration, Instant};

use crate::types::audio::FRAME_MS;

/// Width of a bin.
const BIN_US: u64 = 50;
/// Bins: up to 20 ms, a whole packet; the last holds everything above.
const BINS: usize = 401;

/// Deviations, in bins of 50 µs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviations {
    bins: Box<[u32; BINS]>,
    count: u64,
    max: Duration,
}

impl Default for Deviations {
    fn default() -> Self {
        Self { bins: Box::new([0; BINS]), count: 0, max: Duration::ZERO }
    }
}

impl Deviations {
    /// Counts one.
    pub fn record(&mut self, deviation: Duration) {
        let bin = u64::try_from(deviation.as_micros()).unwrap_or(u64::MAX) / BIN_US;
        let bin = usize::try_from(bin).unwrap_or(BINS).min(BINS - 1);
        if let Some(count) = self.bins.get_mut(bin) {
            *count = count.saturating_add(1);
        }
        self.count += 1;
        self.max = self.max.max(deviation);
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Self) {
        for (to, from) in self.bins.iter_mut().zip(other.bins.iter()) {
            *to = to.saturating_add(*from);
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The largest.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The deviation that `percent` of them do not exceed, rounded up to the bin; zero without any.
    pub fn percentile(&self, percent: f64) -> Duration {
        let rank =
            ((self.count as f64 * percent / 100.0).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (bin, count) in self.bins.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return Duration::from_micros((bin as u64 + 1) * BIN_US).min(self.max);
            }
        }
        self.max
    }
}

/// The pace of one stream.
#[derive(Clone, Debug, Default)]
pub struct Pacing {
    last: Option<(Instant, Sound)>,
    /// Between two packets of speech.
    pub talk: Deviations,
    /// Between any two packets.
    pub all: Deviations,
}

/// What a packet held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// Something audible.
    Audible,
    /// Nothing audible.
    Silent,
}

impl Pacing {
    /// Takes a packet that follows the last one in the sender's timeline.
    pub fn packet(&mut self, read_at: Instant, sound: Sound) {
        if let Some((before, was)) = self.last.replace((read_at, sound)) {
            let apart = read_at.saturating_duration_since(before);
            let deviation = apart.abs_diff(Duration::from_millis(u64::from(FRAME_MS)));
            self.all.record(deviation);
            if (was, sound) == (Sound::Audible, Sound::Audible) {
                self.talk.record(deviation);
            }
        }
    }

    /// The timeline has a hole here: what comes next is measured from itself.
    pub fn interrupt(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_from_the_bins() {
        let mut deviations = Deviations::default();
        assert_eq!(deviations.percentile(99.0), Duration::ZERO);
        for us in 1..=100 {
            deviations.record(Duration::from_micros(us * 100));
        }
        assert_eq!(deviations.percentile(50.0), Duration::from_micros(5_050));
        assert_eq!(deviations.percentile(99.0), Duration::from_micros(9_950));
        assert_eq!(deviations.percentile(100.0), Duration::from_micros(10_000));
        let mut other = Deviations::default();
        other.record(Duration::from_millis(300));
        other.merge(&deviations);
        assert_eq!((other.count(), other.max()), (101, Duration::from_millis(300)));
        assert_eq!(other.percentile(100.0), Duration::from_millis(20).max(other.percentile(100.0)));
    }

    #[test]
    fn the_first_word_after_silence_is_not_uneven() {
        let start = crate::net::clock::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pacing = Pacing::default();
        pacing.packet(at(0), Sound::Silent);
        pacing.packet(at(5), Sound::Audible);
        pacing.packet(at(25), Sound::Audible);
        pacing.packet(at(48), Sound::Audible);
        assert_eq!((pacing.all.count(), pacing.talk.count()), (3, 2));
        assert_eq!(pacing.talk.max(), Duration::from_millis(3));
        assert_eq!(pacing.all.max(), Duration::from_millis(15));
        pacing.interrupt();
        pacing.packet(at(500), Sound::Audible);
        assert_eq!(pacing.all.count(), 3);
    }
}
