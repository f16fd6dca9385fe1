//! Requests a key may make: a token bucket for the minute and one for the day. Pure: time is an argument.

use std::time::{Duration, Instant};

/// A minute.
const MINUTE: Duration = Duration::from_secs(60);
/// A day.
const DAY: Duration = Duration::from_secs(86_400);

/// A bucket that holds as many requests as its period allows, and fills evenly.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    limit: u32,
    period: Duration,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new(limit: u32, period: Duration, now: Instant) -> Self {
        Self { limit, period, tokens: f64::from(limit), at: now }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let gained = passed * f64::from(self.limit) / self.period.as_secs_f64();
        self.tokens = (self.tokens + gained).min(f64::from(self.limit));
        self.at = now;
    }

    /// How long until it holds so many.
    fn wait(&self, tokens: f64) -> Duration {
        let missing = (tokens - self.tokens).max(0.0);
        let rate = f64::from(self.limit.max(1)) / self.period.as_secs_f64();
        Duration::from_secs_f64(missing / rate)
    }
}

/// What a client is told about its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// `Err`: refused, and how long to wait.
    pub pass: Result<(), Duration>,
    /// Requests of the period.
    pub limit: u32,
    /// How many are left now.
    pub remaining: u32,
    /// Seconds until all are there again.
    pub reset_s: u64,
}

/// The limits of one key.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates(Vec<Bucket>);

impl Rates {
    /// Buckets for what is limited; none when nothing is.
    pub(super) fn new(rpm: Option<u32>, rpd: Option<u32>, now: Instant) -> Self {
        let minute = rpm.map(|limit| Bucket::new(limit, MINUTE, now));
        let day = rpd.map(|limit| Bucket::new(limit, DAY, now));
        Self(minute.into_iter().chain(day).collect())
    }

    /// Takes one request out of every bucket, or none if one is empty; `None` without a limit.
    pub(super) fn take(&mut self, now: Instant) -> Option<Verdict> {
        self.0.iter_mut().for_each(|bucket| bucket.fill(now));
        let wait = self.0.iter().map(|bucket| bucket.wait(1.0)).max()?;
        let pass = if wait.is_zero() { Ok(()) } else { Err(wait) };
        if pass.is_ok() {
            self.0.iter_mut().for_each(|bucket| bucket.tokens -= 1.0);
        }
        // The one that is nearest to its end says what the client can do.
        let tight = self.0.iter().min_by(|a, b| a.tokens.total_cmp(&b.tokens))?;
        Some(Verdict {
            pass,
            limit: tight.limit,
            remaining: tight.tokens.max(0.0) as u32,
            reset_s: tight.wait(f64::from(tight.limit)).as_secs_f64().ceil() as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    #[test]
    fn a_minute_holds_as_many_as_it_says_and_fills_evenly() {
        let start = clock::now();
        let mut rates = Rates::new(Some(60), None, start);
        for n in 0..60u32 {
            let verdict = rates.take(start).unwrap();
            assert_eq!((verdict.pass, verdict.remaining), (Ok(()), 59 - n));
        }
        let refused = rates.take(start).unwrap();
        assert_eq!(refused.pass, Err(Duration::from_secs(1)));
        assert_eq!((refused.limit, refused.remaining, refused.reset_s), (60, 0, 60));
        assert!(rates.take(start + Duration::from_secs(1)).unwrap().pass.is_ok());
        assert!(rates.take(start + Duration::from_secs(1)).unwrap().pass.is_err());
    }

    #[test]
    fn the_day_counts_too_and_no_limit_is_no_bucket() {
        let start = clock::now();
        let mut rates = Rates::new(Some(100), Some(2), start);
        assert!(rates.take(start).unwrap().pass.is_ok());
        assert!(rates.take(start).unwrap().pass.is_ok());
        assert_eq!(rates.take(start).unwrap().pass, Err(Duration::from_secs(43_200)));
        assert_eq!(Rates::new(None, None, start).take(start), None);
    }
}
