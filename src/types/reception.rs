//! How well the other side's audio came in.

use serde::{Deserialize, Serialize};

/// Reception of a call's audio.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reception {
    /// RTP packets that were taken.
    pub packets: u64,
    /// Packets that did not come, or came too late.
    pub lost: u64,
    /// Share of the audio that was made up for what was lost, 0 to 1.
    pub concealed_share: f64,
    /// Interarrival jitter (RFC 3550), milliseconds.
    pub jitter_ms: f64,
}

impl Reception {
    /// From what a stream counted; `None`: nothing came.
    pub fn new(packets: u64, lost: u64, jitter_us: u64) -> Option<Self> {
        let whole = packets.saturating_add(lost);
        (packets > 0).then(|| Self {
            packets,
            lost,
            concealed_share: lost as f64 / whole as f64,
            jitter_ms: jitter_us as f64 / 1_000.0,
        })
    }
}
