//! How late packets leave against their schedule: a histogram that costs one atomic addition.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds. The goal is 1 ms at the 99th percentile, so half of
/// the buckets lie below it; 20 ms is a whole frame lost.
pub const BOUNDS_US: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000, 50_000, 100_000];

/// Written by media threads, read by whoever exports metrics.
#[derive(Debug, Default)]
pub struct Lateness {
    buckets: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatenessSnapshot {
    /// Packets a bucket, in the order of [`BOUNDS_US`]; the last bucket is everything later.
    pub buckets: [u64; BOUNDS_US.len() + 1],
    /// Sum of all lateness, in microseconds.
    pub sum_us: u64,
}

impl Lateness {
    /// Counts one packet.
    pub fn record(&self, late: Duration) {
        let us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(BOUNDS_US.len());
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// The counts so far.
    pub fn snapshot(&self) -> LatenessSnapshot {
        let mut snapshot = LatenessSnapshot {
            sum_us: self.sum_us.load(Ordering::Relaxed),
            ..LatenessSnapshot::default()
        };
        for (to, from) in snapshot.buckets.iter_mut().zip(&self.buckets) {
            *to = from.load(Ordering::Relaxed);
        }
        snapshot
    }
}

impl LatenessSnapshot {
    /// Packets counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Upper bound, in microseconds, of the bucket that holds the given share (0 to 1) of the
    /// packets; `None` without packets or when it lies beyond the last bound.
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        if wanted == 0 {
            return None;
        }
        let mut seen = 0;
        for (count, bound) in self.buckets.iter().zip(BOUNDS_US) {
            seen += count;
            if seen >= wanted {
                return Some(bound);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_falls_into_one_bucket() {
        let lateness = Lateness::default();
        assert_eq!(lateness.snapshot().quantile_us(0.5), None);
        for us in [0, 50, 51, 900, 1_000, 20_000] {
            lateness.record(Duration::from_micros(us));
        }
        let snapshot = lateness.snapshot();
        assert_eq!(snapshot.count(), 6);
        assert_eq!(snapshot.sum_us, 22_001);
        assert_eq!(snapshot.quantile_us(0.5), Some(100));
        assert_eq!(snapshot.quantile_us(1.0), Some(20_000));
        lateness.record(Duration::from_secs(9));
        assert_eq!(lateness.snapshot().quantile_us(1.0), None);
    }
}
