//! A histogram with fixed buckets in atomics: recording allocates nothing and takes no lock.
//!
//! The media threads may do neither (ARCHITECTURE.md, invariant 7), and the general recorder keeps
//! every sample until its next upkeep. So what those threads measure is counted here and printed by
//! [`super::metrics::Exporter::render`] beside the rest.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Most buckets of one histogram, without the last one that takes everything.
const BUCKETS_MAX: usize = 24;

/// Counts of samples at or below fixed bounds, with their sum.
pub struct FixedHistogram {
    /// Upper bounds in nanoseconds, ascending.
    bounds_ns: &'static [u64],
    /// One count a bound (not cumulative), and one for everything above.
    counts: [AtomicU64; BUCKETS_MAX + 1],
    sum_ns: AtomicU64,
}

impl FixedHistogram {
    /// A histogram with these ascending upper bounds in nanoseconds. Bounds beyond the 24th are not counted apart.
    pub const fn new(bounds_ns: &'static [u64]) -> Self {
        Self {
            bounds_ns,
            counts: [const { AtomicU64::new(0) }; BUCKETS_MAX + 1],
            sum_ns: AtomicU64::new(0),
        }
    }

    /// Counts one sample.
    pub fn record(&self, sample: Duration) {
        let ns = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.bounds_ns.partition_point(|bound| *bound < ns).min(BUCKETS_MAX);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
    }

    /// Samples counted so far.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// The smallest bound, in nanoseconds, that `quantile` (0 to 1) of the samples do not exceed;
    /// `None` without samples, and `u64::MAX` if that is above the last bound.
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let wanted = ((total as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count.load(Ordering::Relaxed);
            if seen >= wanted {
                return Some(self.bounds_ns.get(index).copied().unwrap_or(u64::MAX));
            }
        }
        Some(u64::MAX)
    }

    /// Appends the histogram in Prometheus text format, in seconds.
    pub fn render(&self, name: &str, help: &str, out: &mut String) {
        let mut seen = 0;
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (bound, count) in self.bounds_ns.iter().zip(&self.counts) {
            seen += count.load(Ordering::Relaxed);
            let le = *bound as f64 / 1e9;
            let _ = writeln!(out, "{name}_bucket{{le=\"{le}\"}} {seen}");
        }
        // The total is what was just added up, so the buckets stay monotone under concurrent writes.
        let beyond = self.counts.iter().skip(self.bounds_ns.len());
        seen += beyond.map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
        let sum = self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9;
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {seen}");
        let _ = writeln!(out, "{name}_sum {sum}\n{name}_count {seen}\n");
    }
}
