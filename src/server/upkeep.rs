//! What must happen now and then: histograms are folded, counters of rooms that know no metrics are exported.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::engine::{self, CountersSnapshot};
use crate::net::kernel::{self, Drops};
use crate::store::Writer;
use crate::store::writer::Counts;
use crate::telemetry::metrics::{self, Exporter};

/// The exporter's histograms grow until they are folded.
const EVERY: Duration = Duration::from_secs(5);

/// Runs until the server stops.
pub(super) async fn run(
    exporter: Exporter,
    writer: Writer,
    engine: engine::Handle,
    net: crate::net::Handle,
    stop: CancellationToken,
) {
    let mut tick = tokio::time::interval(EVERY);
    let mut store = writer.counts();
    let mut media = engine.counters();
    let sip_ports = net.udp_ports();
    let (mut sip_drops, mut rtp_drops) = (Drops::default(), Drops::default());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {
                exporter.run_upkeep();
                let now = writer.counts();
                tell_store(store, now);
                store = now;
                let now = engine.counters();
                tell_media(&media, &now);
                media = now;
                metrics::sip_dropped("socket_buffer", sip_drops.more(kernel::dropped(&sip_ports)));
                let rtp_ports = engine.ports_in_use();
                metrics::rtp_dropped("socket_buffer", rtp_drops.more(kernel::dropped(&rtp_ports)));
            }
        }
    }
}

fn tell_store(before: Counts, now: Counts) {
    for _ in before.dropped..now.dropped {
        metrics::queue_full("store");
    }
    for _ in before.failed..now.failed {
        metrics::store_failed("write");
    }
}

fn tell_media(before: &CountersSnapshot, now: &CountersSnapshot) {
    let dropped = [
        ("malformed", before.malformed, now.malformed),
        ("wrong_source", before.wrong_source, now.wrong_source),
        ("unauthenticated", before.unauthenticated, now.unauthenticated),
        ("replayed", before.replayed, now.replayed),
        ("unexpected_payload_type", before.unexpected, now.unexpected),
        ("wrong_ssrc", before.wrong_ssrc, now.wrong_ssrc),
        ("rate", before.too_fast, now.too_fast),
        ("late", before.late, now.late),
        ("handshake", before.handshakes_dropped, now.handshakes_dropped),
        ("send_failed", before.send_failed, now.send_failed),
    ];
    for (reason, before, now) in dropped {
        if now > before {
            metrics::rtp_dropped(reason, now - before);
        }
    }
    if now.lost > before.lost {
        metrics::rtp_lost(now.lost - before.lost);
    }
    for (queue, before, now) in [
        ("media_events", before.events_dropped, now.events_dropped),
        ("recording_tap", before.tap_dropped, now.tap_dropped),
    ] {
        for _ in before..now {
            metrics::queue_full(queue);
        }
    }
}
