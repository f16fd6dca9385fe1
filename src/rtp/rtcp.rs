//! Reports about the stream (RFC 3550 section 6): what we send, what we hear of the peer, round-trip time.
//! The only file that names `rtc-rtcp`.
//!
//! Runs every 5 s, not every 20 ms: the few allocations of the compound packets are of no account. The
//! NTP clock of our sender reports is the time since the stream began (section 6.4.1 allows it): only
//! differences are ever used.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_rtcp::goodbye::Goodbye;
use rtc_rtcp::packet::{Packet, marshal, unmarshal};
use rtc_rtcp::receiver_report::ReceiverReport;
use rtc_rtcp::reception_report::ReceptionReport;
use rtc_rtcp::sender_report::SenderReport;
use rtc_rtcp::source_description::{
    SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
};

use super::packet::PACKET_BYTES_MAX;
use super::stats::{OutboundStats, ReceptionSummary};
use crate::types::Entropy;

/// Mean time between two reports (section 6.2); each is drawn from half to one and a half of it.
const INTERVAL: Duration = Duration::from_secs(5);
/// Round trips beyond this are a peer's arithmetic, not a network's.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(60);

/// What the peer reports about our stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteReport {
    /// Share of our packets lost lately, in 1/256.
    pub fraction_lost: u8,
    /// Our packets lost in all.
    pub cumulative_lost: i32,
    /// Jitter of our packets at the peer, in timestamp units.
    pub jitter: u32,
    /// Round-trip time, if the peer has had a sender report of ours.
    pub round_trip: Option<Duration>,
}

/// What a control datagram held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// A report about our stream.
    pub report: Option<RemoteReport>,
    /// The peer's source says goodbye.
    pub bye: bool,
}

/// Whether a compound packet is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// Reports go on.
    No,
    /// The stream ends: says BYE.
    Bye,
}

/// Our own stream, as a sender report needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sending {
    /// Counters of [`super::Outbound::stats`].
    pub stats: OutboundStats,
    /// [`super::Outbound::timestamp`] at `now`.
    pub timestamp: u32,
}

/// The control protocol of one stream.
#[derive(Debug)]
pub struct Control {
    ssrc: u32,
    name: String,
    entropy: Entropy,
    began: Instant,
    next: Instant,
    /// Middle 32 bits of the NTP time in the peer's last sender report, and its arrival.
    last_sender_report: Option<(u32, Instant)>,
    sent_packets: u64,
    report: Option<RemoteReport>,
    malformed: u64,
}

impl Control {
    /// A stream that begins now. Its name (CNAME) is random and says nothing about us (RFC 7022).
    pub fn new(now: Instant, ssrc: u32, mut entropy: Entropy) -> Self {
        let name = entropy.hex(12);
        let mut control = Self {
            ssrc,
            name,
            entropy,
            began: now,
            next: now,
            last_sender_report: None,
            sent_packets: 0,
            report: None,
            malformed: 0,
        };
        // The first report comes after half the time (section 6.2).
        control.next = now + control.interval() / 2;
        control
    }

    /// When the next report is due.
    pub fn next_wake(&self) -> Instant {
        self.next
    }

    /// The peer's last report about our stream.
    pub fn remote_report(&self) -> Option<RemoteReport> {
        self.report
    }

    /// Datagrams that were no RTCP.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Takes a datagram from an admitted address. A goodbye counts only for the source we hear.
    pub fn handle(&mut self, now: Instant, datagram: &[u8], remote_ssrc: Option<u32>) -> Heard {
        let mut heard = Heard::default();
        let Some(packets) = read(datagram) else {
            self.malformed += 1;
            return heard;
        };
        for packet in &packets {
            let packet = packet.as_any();
            if let Some(sender) = packet.downcast_ref::<SenderReport>() {
                if remote_ssrc.is_none_or(|ssrc| ssrc == sender.ssrc) {
                    self.last_sender_report = Some(((sender.ntp_time >> 16) as u32, now));
                }
                heard.report = self.about_us(now, &sender.reports).or(heard.report);
            } else if let Some(receiver) = packet.downcast_ref::<ReceiverReport>() {
                heard.report = self.about_us(now, &receiver.reports).or(heard.report);
            } else if let Some(goodbye) = packet.downcast_ref::<Goodbye>() {
                heard.bye |= remote_ssrc.is_some_and(|ssrc| goodbye.sources.contains(&ssrc));
            }
        }
        self.report = heard.report.or(self.report);
        heard
    }

    /// Writes a compound packet (report, SDES, and BYE at the end) and sets the next time. A sender
    /// report if we sent since the last, else a receiver report. `None` if it does not fit into `out`.
    pub fn write(
        &mut self,
        now: Instant,
        sending: Sending,
        reception: Option<ReceptionSummary>,
        farewell: Farewell,
        out: &mut [u8],
    ) -> Option<usize> {
        self.next = now + self.interval();
        let reports: Vec<_> = reception.map(|r| self.report_block(now, r)).into_iter().collect();
        let first: Box<dyn Packet> = if sending.stats.packets > self.sent_packets {
            Box::new(SenderReport {
                ssrc: self.ssrc,
                ntp_time: self.ntp(now),
                rtp_time: sending.timestamp,
                packet_count: sending.stats.packets as u32,
                octet_count: sending.stats.octets as u32,
                reports,
                ..SenderReport::default()
            })
        } else {
            Box::new(ReceiverReport { ssrc: self.ssrc, reports, ..ReceiverReport::default() })
        };
        self.sent_packets = sending.stats.packets;
        let text = Bytes::copy_from_slice(self.name.as_bytes());
        let item = SourceDescriptionItem { sdes_type: SdesType::SdesCname, text };
        let chunk = SourceDescriptionChunk { source: self.ssrc, items: vec![item] };
        let mut packets = vec![first, Box::new(SourceDescription { chunks: vec![chunk] })];
        if farewell == Farewell::Bye {
            packets.push(Box::new(Goodbye { sources: vec![self.ssrc], reason: Bytes::new() }));
        }
        let octets = marshal(&packets).ok()?;
        out.get_mut(..octets.len())?.copy_from_slice(&octets);
        Some(octets.len())
    }

    fn report_block(&self, now: Instant, reception: ReceptionSummary) -> ReceptionReport {
        let (last_sender_report, delay) = match self.last_sender_report {
            Some((stamp, at)) => (stamp, units(now.saturating_duration_since(at))),
            None => (0, 0),
        };
        ReceptionReport {
            ssrc: reception.ssrc,
            fraction_lost: reception.fraction_lost,
            // 24 bits in two's complement.
            total_lost: reception.cumulative_lost as u32 & 0x00ff_ffff,
            last_sequence_number: reception.highest_sequence,
            jitter: reception.jitter,
            last_sender_report,
            delay,
        }
    }

    fn about_us(&self, now: Instant, reports: &[ReceptionReport]) -> Option<RemoteReport> {
        let report = reports.iter().find(|report| report.ssrc == self.ssrc)?;
        let here = (self.ntp(now) >> 16) as u32;
        let trip = here.wrapping_sub(report.last_sender_report).wrapping_sub(report.delay);
        let trip = Duration::from_nanos((u64::from(trip) * 1_000_000_000) >> 16);
        let known = report.last_sender_report != 0 && trip <= ROUND_TRIP_MAX;
        Some(RemoteReport {
            fraction_lost: report.fraction_lost,
            cumulative_lost: ((report.total_lost << 8) as i32) >> 8,
            jitter: report.jitter,
            round_trip: known.then_some(trip),
        })
    }

    /// Seconds since the stream began, from 1 on: 0 would read as "no report yet" in the peer's answer.
    fn ntp(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.began);
        let fraction = (u64::from(elapsed.subsec_nanos()) << 32) / 1_000_000_000;
        ((elapsed.as_secs() + 1) << 32) | fraction
    }

    fn interval(&mut self) -> Duration {
        let share = (u64::from(self.entropy.u32()) * INTERVAL.as_micros() as u64) >> 32;
        INTERVAL / 2 + Duration::from_micros(share)
    }
}

/// Units of 1/65,536 s.
fn units(duration: Duration) -> u32 {
    u32::try_from((duration.as_nanos() << 16) / 1_000_000_000).unwrap_or(u32::MAX)
}

/// Reads a compound packet; its first part must be a report (appendix A.2).
fn read(datagram: &[u8]) -> Option<Vec<Box<dyn Packet>>> {
    let [flags, 200 | 201, ..] = datagram else { return None };
    if flags >> 6 != 2 || datagram.len() > PACKET_BYTES_MAX {
        return None;
    }
    unmarshal(&mut Bytes::copy_from_slice(datagram)).ok()
}

#[cfg(test)]
mod tests;
