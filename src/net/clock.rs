//! The one clock door: every other file takes `now` as an argument or asks here.
//!
//! The monotonic clock is tokio's, so that under a paused runtime it follows virtual time; outside a
//! runtime it is the system's `CLOCK_MONOTONIC`.

use std::time::Instant;

/// The monotonic time. Works inside and outside a runtime; follows virtual time when tokio's is paused.
#[expect(clippy::disallowed_methods, reason = "this is the door the lint points to")]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time of day, for records and logs; it may jump.
#[expect(clippy::disallowed_methods, reason = "this is the door the lint points to")]
pub fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The time of day in Unix milliseconds; 0 before 1970.
pub fn unix_ms() -> u64 {
    u64::try_from(wall().as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{now, unix_ms, wall};

    #[test]
    fn answers_outside_a_runtime() {
        let first = now();
        assert!(now() >= first);
        assert!(unix_ms() > 1_600_000_000_000);
        assert!(wall().as_millisecond() > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn follows_virtual_time() {
        let first = now();
        tokio::time::advance(Duration::from_secs(30)).await;
        assert_eq!(now() - first, Duration::from_secs(30));
    }
}
