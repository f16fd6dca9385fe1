//! Waiting for a condition, never for a time.

use std::time::Duration;

/// Generous: the machine is shared, and a limit is only there to end a test that failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Polls until `condition` gives a value; panics with `what` after [`LIMIT`].
pub(crate) async fn until<T, F, Fut>(what: &str, mut condition: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    let search = async {
        loop {
            ticks.tick().await;
            if let Some(found) = condition().await {
                return found;
            }
        }
    };
    match tokio::time::timeout(LIMIT, search).await {
        Ok(found) => found,
        Err(_) => panic!("waited {LIMIT:?} in vain: {what}"),
    }
}

/// Waits for a future at most [`LIMIT`].
pub(crate) async fn limit<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LIMIT:?} in vain: {what}"),
    }
}

/// Waits for a package manager or another program that may fetch from afar.
pub(crate) async fn slow<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(LIMIT * 20, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {:?} in vain: {what}", LIMIT * 20),
    }
}

/// Watches for as long as `time` that nothing happens: the only way to show an absence.
pub(crate) async fn stays_away<T>(what: &str, time: Duration, future: impl Future<Output = T>) {
    assert!(tokio::time::timeout(time, future).await.is_err(), "it happened: {what}");
}
