//! The receiving side of one stream: datagrams in; payloads in order, evenly paced frames and keys out.
//!
//! A datagram passes four gates, each of which counts what it turns away: RTP or RTCP by its second octet
//! (RFC 5761), shape ([`super::packet`]), source address ([`super::source`]), source identifier and
//! payload type; and no more of them than a talking peer sends ([`super::rate`]). What remains goes to the express path and to the jitter buffer.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::arrival::{ArrivalMap, Continuity};
use super::dtmf::{DtmfReceiver, KeyEvent};
use super::express::{Arrived, Express, Piece};
use super::jitter::{Frame, Jitter, Loudness};
use super::packet::Packet;
use super::rate::Rate;
use super::seq::{SequenceExtender, TimestampExtender};
use super::source::{Policy, SourceGuard};
use super::stats::{InboundStats, Reception, ReceptionSummary};
use super::{COMFORT_NOISE_PAYLOAD_TYPE, PAYLOAD_BYTES_MAX, PAYLOAD_MS_MAX};
use crate::types::audio::FRAME_MS;
use crate::types::{CodecName, CodecSpec};

/// Key events that wait for the caller; two can come with one packet.
const KEYS_MAX: usize = 16;
/// Sequential packets before another source identifier from the same address takes over (RFC 3550
/// appendix A.1, MIN_SEQUENTIAL): a stray packet of an old stream must not.
const SSRC_PACKETS: u8 = 2;
/// Silence of the sender before the clock fills the express timeline: more than usual jitter.
const STALL_MS_MIN: u64 = 60;
/// What the wait exceeds the jitter buffer's delay by, milliseconds.
const STALL_MARGIN_MS: u64 = 40;

/// What a stream needs to receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboundConfig {
    /// Codec of the agreement, with the payload type we receive.
    pub codec: CodecSpec,
    /// Another codec of our offer that the peer may switch to at any time (RFC 3264 section 7).
    pub alternate: Option<CodecSpec>,
    /// Payload type of telephone-event, if negotiated.
    pub dtmf_payload_type: Option<u8>,
    /// Where the peer said its RTP comes from and goes to.
    pub remote_rtp: SocketAddr,
    /// The same for RTCP; equal to `remote_rtp` if multiplexed.
    pub remote_rtcp: SocketAddr,
    /// Whose packets are taken.
    pub policy: Policy,
    /// Later packets the express path holds back for a missing one, 0 to 2; 1 is the default to choose.
    pub reorder: u8,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Audio: drain [`Inbound::pop_express`].
    Audio,
    /// A telephone event: drain [`Inbound::pop_key`] and [`Inbound::pop_express`].
    Key,
    /// Comfort noise: the sender is silent.
    ComfortNoise,
    /// RTCP from an admitted address: hand the datagram to [`super::rtcp::Control::handle`].
    Control,
    /// Counted and dropped.
    Dropped,
}

/// One remote source.
#[derive(Debug)]
struct Source {
    sequences: SequenceExtender,
    timestamps: TimestampExtender,
    reception: Reception,
}

/// Another identifier that may take over.
#[derive(Debug, Clone, Copy)]
struct Challenger {
    ssrc: u32,
    last: u16,
    run: u8,
}

/// The receiving side of one stream.
#[derive(Debug)]
pub struct Inbound {
    config: InboundConfig,
    guard: SourceGuard,
    rate: Rate,
    source: Option<Source>,
    challenger: Option<Challenger>,
    arrivals: ArrivalMap,
    express: Express,
    jitter: Jitter,
    dtmf: DtmfReceiver,
    keys: VecDeque<KeyEvent>,
    /// The last packet was comfort noise: nothing comes until speech does.
    discontinuous: bool,
    comfort_noise_dbov: Option<i8>,
    last_heard: Option<Instant>,
    stats: InboundStats,
}

impl Inbound {
    /// A stream whose offer/answer was just completed.
    pub fn new(now: Instant, config: InboundConfig) -> Self {
        let clock_rate = config.codec.name.clock_rate();
        Self {
            guard: SourceGuard::new(now, config.policy, config.remote_rtp, config.remote_rtcp),
            rate: Rate::default(),
            source: None,
            challenger: None,
            arrivals: ArrivalMap::new(clock_rate),
            express: Express::new(config.reorder, clock_rate),
            jitter: Jitter::new(clock_rate, clock_rate * FRAME_MS / 1_000),
            dtmf: DtmfReceiver::default(),
            keys: VecDeque::with_capacity(KEYS_MAX),
            discontinuous: false,
            comfort_noise_dbov: None,
            last_heard: None,
            stats: InboundStats::default(),
            config,
        }
    }

    /// Another offer/answer was completed. The timeline goes on; the source may change at once.
    pub fn reconfigure(&mut self, now: Instant, config: InboundConfig) {
        self.guard.reopen(now, config.policy, config.remote_rtp, config.remote_rtcp);
        self.challenger = None;
        let clock_rate = config.codec.name.clock_rate();
        if clock_rate != self.config.codec.name.clock_rate() {
            self.source = None;
            self.arrivals.retune(clock_rate);
            self.express.retune(clock_rate);
            self.jitter.retune(clock_rate, clock_rate * FRAME_MS / 1_000);
        }
        self.config = config;
    }

    /// The peer has proved to be at this address.
    pub fn accept(&mut self, peer: SocketAddr) {
        self.guard.accept(peer);
    }

    /// Takes a datagram of the RTP port.
    pub fn receive(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) -> Received {
        // RFC 5761 section 4: RTCP packet types are where RTP has marker and payload types 64 to 95.
        if let [first, 192..=223, ..] = datagram
            && first >> 6 == 2
        {
            return self.receive_control(now, from);
        }
        let Ok(packet) = Packet::parse(datagram) else {
            self.stats.malformed += 1;
            return Received::Dropped;
        };
        let Some(kind) = self.classify(&packet) else {
            self.stats.unexpected += 1;
            return Received::Dropped;
        };
        if !self.guard.admit(now, from, packet.header.sequence) {
            self.stats.wrong_source += 1;
            return Received::Dropped;
        }
        if !self.admit_ssrc(&packet) {
            self.stats.wrong_ssrc += 1;
            return Received::Dropped;
        }
        if !self.rate.admit(now) {
            self.stats.too_fast += 1;
            return Received::Dropped;
        }
        self.last_heard = Some(now);
        self.stats.packets += 1;
        self.stats.octets += packet.payload.len() as u64;
        match kind {
            Kind::Audio(codec) => self.audio(now, &packet, codec),
            Kind::Key => self.key(now, &packet),
            Kind::ComfortNoise => {
                self.no_audio(now, &packet);
                self.discontinuous = true;
                // RFC 3389 section 3.1: the level is the first octet, its highest bit is zero.
                let level = packet.payload.first().map(|octet| -((octet & 0x7f) as i8));
                self.comfort_noise_dbov = level;
                Received::ComfortNoise
            }
        }
    }

    /// Takes the arrival of a datagram at the RTCP port (or one that looks like RTCP at the RTP port).
    pub fn receive_control(&mut self, now: Instant, from: SocketAddr) -> Received {
        if !self.guard.admit_control(from) {
            self.stats.wrong_source += 1;
            return Received::Dropped;
        }
        if !self.rate.admit(now) {
            self.stats.too_fast += 1;
            return Received::Dropped;
        }
        self.last_heard = Some(now);
        self.stats.control_packets += 1;
        Received::Control
    }

    /// The next piece for recognition, in order and with the least delay. Drain after every
    /// [`Inbound::receive`] and [`Inbound::tick`].
    pub fn pop_express(&mut self) -> Option<Piece<'_>> {
        self.express.pop()
    }

    /// The packet behind what [`Inbound::pop_express`] gave as lost, if it is there already.
    pub fn peek_express(&self) -> Option<&[u8]> {
        self.express.peek()
    }

    /// The packet with this timestamp was found to be quiet; see [`super::jitter::Jitter::mark_quiet`].
    pub fn mark_quiet(&mut self, timestamp: u64) {
        self.jitter.mark_quiet(timestamp);
    }

    /// Whether the sender told that it sends no audio now: comfort noise, or a key.
    pub fn is_silent(&self) -> bool {
        self.dtmf.is_pressed() || self.discontinuous
    }

    /// Level of the noise that the silent sender asks for, dBov; `None` while it is not silent.
    pub fn comfort_noise_dbov(&self) -> Option<i8> {
        self.comfort_noise_dbov
    }

    /// The next key event.
    pub fn pop_key(&mut self) -> Option<KeyEvent> {
        self.keys.pop_front()
    }

    /// To be called every 20 ms: ends forgotten key presses, gives up on packets that are overdue and
    /// fills the express timeline while the sender is silent.
    pub fn tick(&mut self, now: Instant) {
        if let Some(event) = self.dtmf.tick(now) {
            self.push_key(event);
        }
        let Some(position) = self.express.position() else { return };
        let Some(due) = self.arrivals.arrival_of(position) else { return };
        let wait = if self.discontinuous {
            Duration::from_millis(u64::from(FRAME_MS))
        } else {
            let delay = u64::from(self.jitter.delay_ms()) + STALL_MARGIN_MS;
            Duration::from_millis(delay.max(STALL_MS_MIN))
        };
        let overdue = now.saturating_duration_since(due);
        let Some(excess) = overdue.checked_sub(wait) else { return };
        if self.express.is_waiting() {
            self.express.give_up();
            return;
        }
        let frame = Duration::from_millis(u64::from(FRAME_MS));
        let frames = u64::try_from(excess.as_nanos() / frame.as_nanos()).unwrap_or(0) + 1;
        let samples = u64::from(self.config.codec.name.clock_rate() * FRAME_MS / 1_000);
        self.express.fill(position + frames * samples);
    }

    /// What to play or record now: to be called whenever less than 20 ms of decoded audio is left.
    pub fn next_frame(&mut self, now: Instant) -> Frame<'_> {
        let silent = self.is_silent();
        match self.jitter.next(now, &self.arrivals) {
            // What was never sent needs no concealment.
            Frame::Lost { .. } if silent => Frame::Silence,
            frame => frame,
        }
    }

    /// When the packet with this sample arrived, without jitter: the base of instant S.
    pub fn arrival_of(&self, timestamp: u64) -> Option<Instant> {
        self.arrivals.arrival_of(timestamp)
    }

    /// When the peer last gave a sign of life, RTCP included.
    pub fn last_heard(&self) -> Option<Instant> {
        self.last_heard
    }

    /// Where our RTP goes.
    pub fn peer(&self) -> SocketAddr {
        self.guard.peer()
    }

    /// Where our RTCP goes.
    pub fn control_peer(&self) -> SocketAddr {
        self.guard.control_peer()
    }

    /// The remote source, once heard.
    pub fn remote_ssrc(&self) -> Option<u32> {
        self.source.as_ref().map(|source| source.reception.ssrc())
    }

    /// Report block about the time since the last call; for [`super::rtcp::Control::write`] only.
    pub fn summarize(&mut self) -> Option<ReceptionSummary> {
        self.source.as_mut().map(|source| source.reception.summarize())
    }

    /// Delay of the jitter buffer, milliseconds.
    pub fn jitter_delay_ms(&self) -> u32 {
        self.jitter.delay_ms()
    }

    /// What was counted so far.
    pub fn stats(&self) -> InboundStats {
        let reception = self.source.as_ref().map(|source| &source.reception);
        InboundStats {
            express_lost: self.express.lost(),
            express_late: self.express.late(),
            jitter: self.jitter.stats(),
            interarrival_jitter_us: reception
                .map_or(0, |r| u64::try_from(r.jitter().as_micros()).unwrap_or(u64::MAX)),
            cumulative_lost: reception.map_or(0, Reception::cumulative_lost),
            ..self.stats
        }
    }

    fn classify(&self, packet: &Packet<'_>) -> Option<Kind> {
        let payload_type = packet.header.payload_type;
        if Some(payload_type) == self.config.dtmf_payload_type {
            return Some(Kind::Key);
        }
        if payload_type == COMFORT_NOISE_PAYLOAD_TYPE {
            return Some(Kind::ComfortNoise);
        }
        let codecs = [Some(self.config.codec), self.config.alternate];
        let codec = codecs.into_iter().flatten().find(|c| c.payload_type == payload_type)?;
        let ticks_max = codec.name.clock_rate() / 1_000 * PAYLOAD_MS_MAX;
        let fits = packet.payload.len() <= PAYLOAD_BYTES_MAX
            && (1..=ticks_max).contains(&codec.name.ticks(packet.payload));
        fits.then_some(Kind::Audio(codec.name))
    }

    /// The rule for changes of the source identifier: another one takes over with its second sequential
    /// packet, and everything that belongs to a source begins anew.
    fn admit_ssrc(&mut self, packet: &Packet<'_>) -> bool {
        let header = packet.header;
        let Some(current) = self.remote_ssrc() else { return true };
        if header.ssrc == current {
            self.challenger = None;
            return true;
        }
        let run = match self.challenger {
            Some(c) if c.ssrc == header.ssrc && c.last.wrapping_add(1) == header.sequence => {
                c.run + 1
            }
            _ => 1,
        };
        if run < SSRC_PACKETS {
            let last = header.sequence;
            self.challenger = Some(Challenger { ssrc: header.ssrc, last, run });
            return false;
        }
        self.challenger = None;
        self.source = None;
        self.stats.ssrc_changes += 1;
        true
    }

    /// Extends the numbers of a packet and takes its arrival in.
    fn place(&mut self, now: Instant, packet: &Packet<'_>) -> (u64, u64) {
        let header = packet.header;
        if let Some(source) = &mut self.source {
            let sequence = source.sequences.extend(header.sequence);
            return (sequence, source.timestamps.extend(header.timestamp));
        }
        let mut sequences = SequenceExtender::default();
        let mut timestamps = TimestampExtender::default();
        let sequence = sequences.extend(header.sequence);
        let timestamp = timestamps.extend(header.timestamp);
        let rate = self.config.codec.name.clock_rate();
        let reception = Reception::new(now, rate, header.ssrc, sequence, timestamp);
        self.source = Some(Source { sequences, timestamps, reception });
        self.dtmf = DtmfReceiver::default();
        self.restart(now, timestamp);
        (sequence, timestamp)
    }

    fn restart(&mut self, now: Instant, timestamp: u64) {
        self.arrivals.restart(now, timestamp);
        self.express.restart();
        self.jitter.restart();
    }

    fn audio(&mut self, now: Instant, packet: &Packet<'_>, codec: CodecName) -> Received {
        let (sequence, timestamp) = self.place(now, packet);
        self.discontinuous = false;
        self.comfort_noise_dbov = None;
        match self.arrivals.observe(now, timestamp) {
            Continuity::Steady { late } => self.jitter.observe(late),
            Continuity::Restarted => {
                self.stats.restarts += 1;
                self.restart(now, timestamp);
                if let Some(source) = &mut self.source {
                    source.reception.rebase(now, timestamp);
                }
            }
        }
        if let Some(source) = &mut self.source {
            source.reception.observe(now, sequence, timestamp);
        }
        let arrived = Arrived {
            sequence,
            timestamp,
            payload_type: packet.header.payload_type,
            payload: packet.payload,
            samples: codec.ticks(packet.payload),
        };
        self.express.insert(arrived);
        self.jitter.insert(now, arrived, loudness(codec, packet.payload), &self.arrivals);
        Received::Audio
    }

    fn key(&mut self, now: Instant, packet: &Packet<'_>) -> Received {
        self.no_audio(now, packet);
        let events = self.dtmf.receive(now, packet.header.timestamp, packet.payload);
        events.into_iter().flatten().for_each(|event| self.push_key(event));
        Received::Key
    }

    /// A packet that takes a sequence number and no time.
    fn no_audio(&mut self, now: Instant, packet: &Packet<'_>) {
        let (sequence, timestamp) = self.place(now, packet);
        if let Some(source) = &mut self.source {
            source.reception.count(sequence);
        }
        let payload_type = packet.header.payload_type;
        self.express.insert(Arrived {
            sequence,
            timestamp,
            payload_type,
            payload: &[],
            samples: 0,
        });
    }

    fn push_key(&mut self, event: KeyEvent) {
        if self.keys.len() < KEYS_MAX {
            self.keys.push_back(event);
        }
    }
}

enum Kind {
    Audio(CodecName),
    Key,
    ComfortNoise,
}

/// Quiet: every sample in the lowest of G.711's eight segments, below about -45 dBFS. The exponent bits
/// tell, without decoding.
fn loudness(codec: CodecName, payload: &[u8]) -> Loudness {
    let mask = match codec {
        CodecName::Pcmu => 0xff,
        CodecName::Pcma => 0x55,
        // Their octets do not tell; whoever decodes them does.
        CodecName::G722 | CodecName::Opus | CodecName::L16Narrow | CodecName::L16Wide => {
            return Loudness::Audible;
        }
    };
    if payload.iter().all(|octet| (octet ^ mask) & 0x70 == 0) {
        Loudness::Quiet
    } else {
        Loudness::Audible
    }
}

#[cfg(test)]
mod tests;
