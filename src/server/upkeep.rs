//! What must happen now and then: histograms are folded, counters of rooms that know no metrics are exported.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::Writer;
use crate::telemetry::metrics::{self, Exporter};

/// The exporter's histograms grow until they are folded.
const EVERY: Duration = Duration::from_secs(5);

/// Runs until the server stops.
pub(super) async fn run(exporter: Exporter, writer: Writer, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    let mut told = writer.counts();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {
                exporter.run_upkeep();
                let now = writer.counts();
                for _ in told.dropped..now.dropped {
                    metrics::queue_full("store");
                }
                for _ in told.failed..now.failed {
                    metrics::store_failed("write");
                }
                told = now;
            }
        }
    }
}
