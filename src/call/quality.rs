//! The quality of a call's audio from what its stream counted, and an opinion score from that.
//!
//! The score is the E-model of ITU-T G.107 with everything but delay and loss at its default: R = 93.2 - Id - Ie,eff
//! (section 7.4, 7.5), mapped to 1 to 4.5 (annex B). Wideband is not credited with more than narrowband, so that calls
//! of one trunk compare.

use std::time::Duration;

use super::negotiate::Negotiation;
use super::session::Session;
use crate::media::StreamStats;
use crate::telemetry::metrics;
use crate::types::{CallQuality, CodecName};

/// Rating of a connection without impairment.
const R_MAX: f64 = 93.2;
/// Frame and look-ahead of a sender, milliseconds.
const PACKET_MS: f64 = 20.0;
/// A way whose length nobody reported.
const ONE_WAY_MS: f64 = 50.0;
/// Jitter a peer's buffer adds, as a multiple of the jitter it reports.
const BUFFER_BY_JITTER: f64 = 2.0;

/// Figures for the record.
pub(super) fn of(stats: &StreamStats, codec: CodecName, encrypted: bool) -> CallQuality {
    let inbound = &stats.inbound;
    let lost = u64::try_from(inbound.cumulative_lost).unwrap_or(0);
    let rx_loss = percent(lost, inbound.packets + lost);
    let concealed = percent(inbound.express_lost, inbound.packets + inbound.express_lost);
    let rx_jitter = inbound.interarrival_jitter_us as f64 / 1_000.0;
    let rtt = stats.remote.and_then(|report| report.round_trip);
    let way = rtt.map_or(ONE_WAY_MS, |rtt| milliseconds(rtt) / 2.0);
    let rx_delay = way + PACKET_MS + f64::from(stats.jitter_delay_ms);
    let remote = stats.remote.map(|report| {
        let lost = u64::try_from(report.cumulative_lost).unwrap_or(0);
        let jitter = f64::from(report.jitter) * 1_000.0 / f64::from(codec.clock_rate());
        (lost, percent(lost, stats.outbound.packets), jitter)
    });
    CallQuality {
        encrypted,
        rx_packets: inbound.packets,
        rx_lost_packets: lost,
        rx_loss_percent: rounded(rx_loss),
        rx_concealed_percent: rounded(concealed),
        rx_jitter_ms: rounded(rx_jitter),
        rx_mos: (inbound.packets > 0).then(|| rounded(mos(codec, rx_loss, rx_delay))),
        tx_packets: stats.outbound.packets,
        tx_lost_packets: remote.map(|(lost, ..)| lost),
        tx_loss_percent: remote.map(|(_, loss, _)| rounded(loss)),
        tx_jitter_ms: remote.map(|(.., jitter)| rounded(jitter)),
        tx_mos: remote.map(|(_, loss, jitter)| {
            let delay = way + PACKET_MS + jitter * BUFFER_BY_JITTER;
            rounded(mos(codec, loss, delay))
        }),
        rtcp_rtt_ms: rtt.map(milliseconds).map(rounded),
    }
}

impl Session {
    /// What the stream counted goes into the record; no more than a second of it is missing.
    pub(super) fn note_quality(&mut self, stats: &StreamStats) {
        if stats.inbound.packets > 0 {
            let jitter = Duration::from_micros(stats.inbound.interarrival_jitter_us);
            metrics::rtp_jitter(jitter);
        }
        let Some(codec) = self.journal.record().codec else { return };
        let encrypted = self.negotiation.as_ref().is_some_and(Negotiation::is_encrypted);
        self.journal.edit().quality = Some(of(stats, codec, encrypted));
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

/// Two decimals are more than any of these figures is worth.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Impairment of a codec, and how well it stands loss (ITU-T G.113 appendix I, with concealment).
fn impairment(codec: CodecName) -> (f64, f64) {
    match codec {
        CodecName::Pcmu
        | CodecName::Pcma
        | CodecName::G722
        | CodecName::L16Narrow
        | CodecName::L16Wide => (0.0, 25.1),
        // Copies of lost frames in the packet behind them make most of single losses good.
        CodecName::Opus => (0.0, 40.0),
    }
}

/// Mean opinion score for random loss in percent and a mouth-to-ear delay in milliseconds.
fn mos(codec: CodecName, loss_percent: f64, delay_ms: f64) -> f64 {
    let (own, robustness) = impairment(codec);
    let late = (delay_ms - 177.3).max(0.0);
    let delay = 0.024 * delay_ms + 0.11 * late;
    let equipment = own + (95.0 - own) * loss_percent / (loss_percent + robustness);
    let r = R_MAX - delay - equipment;
    if r <= 0.0 {
        return 1.0;
    }
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::rtcp::RemoteReport;

    #[test]
    fn the_score_is_the_one_of_g_107() {
        // R = 93.2 is 4.41, R = 80 is 4.03, R = 70 is 3.60 (ITU-T G.107 annex B).
        assert!((mos(CodecName::Pcmu, 0.0, 0.0) - 4.41).abs() < 0.01);
        let loss_for = |r: f64| (93.2 - r) * 25.1 / (95.0 - (93.2 - r));
        assert!((mos(CodecName::Pcmu, loss_for(80.0), 0.0) - 4.03).abs() < 0.01);
        assert!((mos(CodecName::Pcma, loss_for(70.0), 0.0) - 3.60).abs() < 0.01);
        assert!(mos(CodecName::Opus, 5.0, 50.0) > mos(CodecName::Pcmu, 5.0, 50.0) + 0.2);
        assert!(mos(CodecName::Pcmu, 0.0, 400.0) < 3.8, "delay counts");
        assert!((mos(CodecName::Pcmu, 100.0, 900.0) - 1.0).abs() < 0.01);
    }

    #[test]
    fn figures_of_a_stream_become_those_of_the_record() {
        let mut stats = StreamStats::default();
        assert_eq!(of(&stats, CodecName::Pcmu, false).rx_mos, None);
        stats.inbound.packets = 950;
        stats.inbound.cumulative_lost = 50;
        stats.inbound.express_lost = 60;
        stats.inbound.interarrival_jitter_us = 3_456;
        stats.outbound.packets = 1_000;
        stats.jitter_delay_ms = 40;
        stats.remote = Some(RemoteReport {
            fraction_lost: 0,
            cumulative_lost: 10,
            jitter: 480,
            round_trip: Some(Duration::from_millis(80)),
        });
        let quality = of(&stats, CodecName::Opus, true);
        assert_eq!((quality.rx_lost_packets, quality.rx_loss_percent), (50, 5.0));
        assert_eq!((quality.rx_jitter_ms, quality.rx_concealed_percent), (3.46, 5.94));
        assert_eq!((quality.tx_lost_packets, quality.tx_loss_percent), (Some(10), Some(1.0)));
        assert_eq!((quality.tx_jitter_ms, quality.rtcp_rtt_ms), (Some(10.0), Some(80.0)));
        assert!(quality.tx_mos > quality.rx_mos && quality.encrypted);
        // Duplicates may outnumber losses.
        stats.inbound.cumulative_lost = -3;
        assert_eq!(of(&stats, CodecName::Pcmu, false).rx_lost_packets, 0);
    }
}
