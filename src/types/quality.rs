//! How well a call's audio travelled, both ways.

use serde::{Deserialize, Serialize};

/// Figures of one call: `rx` is what came to us as we counted it, `tx` what we sent as the peer's last report says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallQuality {
    /// Whether audio was encrypted.
    pub encrypted: bool,
    /// RTP packets received.
    pub rx_packets: u64,
    /// RTP packets lost on the way to us.
    pub rx_lost_packets: u64,
    /// The same as a share of those sent, percent.
    pub rx_loss_percent: f64,
    /// Share of the caller's audio that was concealed, percent: lost and late.
    pub rx_concealed_percent: f64,
    /// Interarrival jitter (RFC 3550), milliseconds.
    pub rx_jitter_ms: f64,
    /// Estimated mean opinion score (ITU-T G.107, simplified); `None` without audio.
    pub rx_mos: Option<f64>,
    /// RTP packets sent.
    pub tx_packets: u64,
    /// Lost on the way to the peer; `None` without a report of it.
    pub tx_lost_packets: Option<u64>,
    /// The same as a share of those sent, percent.
    pub tx_loss_percent: Option<f64>,
    /// Jitter at the peer, milliseconds.
    pub tx_jitter_ms: Option<f64>,
    /// Estimated mean opinion score at the peer.
    pub tx_mos: Option<f64>,
    /// Round trip by RTCP, milliseconds; `None` if the peer does not report.
    pub rtcp_rtt_ms: Option<f64>,
}
