//! How well a call's audio travelled, as the API shows it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::types::CallQuality;

/// Figures of one call: `rx` is what came to us as we counted it, `tx` what we sent as the peer's last report says.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Quality {
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
    /// Estimated mean opinion score (ITU-T G.107, simplified); null without audio.
    pub rx_mos: Option<f64>,
    /// RTP packets sent.
    pub tx_packets: u64,
    /// Lost on the way to the peer; null without a report of it.
    pub tx_lost_packets: Option<u64>,
    /// The same as a share of those sent, percent.
    pub tx_loss_percent: Option<f64>,
    /// Jitter at the peer, milliseconds.
    pub tx_jitter_ms: Option<f64>,
    /// Estimated mean opinion score at the peer.
    pub tx_mos: Option<f64>,
    /// Round trip by RTCP, milliseconds; null if the peer does not report.
    pub rtcp_rtt_ms: Option<f64>,
}

impl From<&CallQuality> for Quality {
    fn from(quality: &CallQuality) -> Self {
        Self {
            encrypted: quality.encrypted,
            rx_packets: quality.rx_packets,
            rx_lost_packets: quality.rx_lost_packets,
            rx_loss_percent: quality.rx_loss_percent,
            rx_concealed_percent: quality.rx_concealed_percent,
            rx_jitter_ms: quality.rx_jitter_ms,
            rx_mos: quality.rx_mos,
            tx_packets: quality.tx_packets,
            tx_lost_packets: quality.tx_lost_packets,
            tx_loss_percent: quality.tx_loss_percent,
            tx_jitter_ms: quality.tx_jitter_ms,
            tx_mos: quality.tx_mos,
            rtcp_rtt_ms: quality.rtcp_rtt_ms,
        }
    }
}
