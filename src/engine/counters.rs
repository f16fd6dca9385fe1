//! What all streams carried and what they dropped, by reason.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::media::StreamStats;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Written by media threads, read by whoever exports metrics.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)+
        }

        /// The counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CountersSnapshot {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            /// The counts so far.
            pub fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot { $($name: self.$name.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// RTP packets accepted.
    packets_received,
    /// RTP packets sent.
    packets_sent,
    /// Datagrams the kernel did not take.
    send_failed,
    /// Datagrams that are no RTP or RTCP.
    malformed,
    /// Datagrams from an address that may not speak.
    wrong_source,
    /// Datagrams of encrypted streams that are not of their key.
    unauthenticated,
    /// Datagrams of encrypted streams that came before.
    replayed,
    /// Packets of a payload type nobody negotiated.
    unexpected,
    /// Packets of a source identifier that did not take over.
    wrong_ssrc,
    /// Packets of the peer beyond what a talking peer sends.
    too_fast,
    /// Packets lost on the way to us.
    lost,
    /// Packets too late for recognition.
    late,
    /// Intervals in which the agent's audio came too late.
    underruns,
    /// Frames of the agent dropped because they were stopped.
    stale_frames,
    /// Intervals skipped because a media thread was late by more than two of them.
    skipped,
    /// Times a media thread woke.
    wakes,
    /// Events a call's task did not read in time.
    events_dropped,
    /// Frames a recorder did not read in time.
    tap_dropped,
    /// Datagrams of handshakes that are too long, that nobody waits for or that nobody read in time.
    handshakes_dropped,
}

impl Counters {
    /// Adds what a stream counted since `before`.
    pub fn add(&self, before: &StreamStats, now: &StreamStats) {
        let add = |counter: &AtomicU64, before: u64, now: u64| {
            counter.fetch_add(now.saturating_sub(before), Ordering::Relaxed);
        };
        let (old, new) = (&before.inbound, &now.inbound);
        add(&self.packets_received, old.packets, new.packets);
        add(&self.malformed, old.malformed, new.malformed);
        add(&self.wrong_source, old.wrong_source, new.wrong_source);
        add(&self.unauthenticated, old.unauthenticated, new.unauthenticated);
        add(&self.replayed, old.replayed, new.replayed);
        add(&self.unexpected, old.unexpected, new.unexpected);
        add(&self.wrong_ssrc, old.wrong_ssrc, new.wrong_ssrc);
        add(&self.too_fast, old.too_fast, new.too_fast);
        add(&self.lost, old.express_lost, new.express_lost);
        add(&self.late, old.express_late, new.express_late);
        add(&self.packets_sent, before.outbound.packets, now.outbound.packets);
        add(&self.underruns, before.underruns, now.underruns);
        add(&self.stale_frames, before.stale_frames, now.stale_frames);
        add(&self.skipped, before.skipped, now.skipped);
    }
}
