//! The room's one look at the clock: instants that providers stamp on results.

use std::time::Instant;

/// The instant of a result, on the process's monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the room's only clock door; cores never call it")]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
