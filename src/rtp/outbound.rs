//! Payloads to packets: one sequence space and one timeline for audio and keys.

use super::dtmf::{DtmfSender, Tick};
use super::packet::{HEADER_BYTES, Header};
use super::stats::OutboundStats;
use crate::types::Entropy;

/// What a stream needs to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboundConfig {
    /// Payload type of audio.
    pub payload_type: u8,
    /// Payload type of telephone-event, if negotiated.
    pub dtmf_payload_type: Option<u8>,
    /// Samples per packet: how far the timestamp goes on with every tick.
    pub frame_samples: u16,
    /// Units of an event's duration per packet: telephone-event may have a clock of its own.
    pub event_units: u16,
    /// Duration of a packet, milliseconds.
    pub frame_ms: u16,
}

/// What a packet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audio {
    /// Speech or any sound. The first after silence bears the marker.
    Talk,
    /// Silence that is sent to keep the path alive.
    Silence,
}

/// A packet that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Octets of the datagram.
    pub len: usize,
    /// Whether the audio went in; `false` if a key took its place.
    pub audio: bool,
    /// The last packet of the last digit that was asked for.
    pub digits_done: bool,
}

/// The sending side of one stream.
#[derive(Debug)]
pub struct Outbound {
    config: OutboundConfig,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    talking: bool,
    /// The next packet of audio begins a talkspurt.
    marker: bool,
    dtmf: DtmfSender,
    stats: OutboundStats,
}

impl Outbound {
    /// A stream with random identity, sequence and timestamp (RFC 3550 section 5.1).
    pub fn new(config: OutboundConfig, entropy: &mut Entropy) -> Self {
        Self {
            ssrc: entropy.u32(),
            sequence: entropy.u32() as u16,
            timestamp: entropy.u32(),
            talking: false,
            marker: false,
            dtmf: DtmfSender::new(config.event_units, config.frame_ms),
            stats: OutboundStats::default(),
            config,
        }
    }

    /// Changes payload types after another offer/answer; identity and timeline go on.
    pub fn reconfigure(&mut self, config: OutboundConfig) {
        let clocks = |config: &OutboundConfig| (config.frame_samples, config.event_units);
        let same = clocks(&config) == clocks(&self.config);
        if config.dtmf_payload_type.is_none() || !same {
            self.dtmf = DtmfSender::new(config.event_units, config.frame_ms);
        }
        self.config = config;
    }

    /// Our source identifier.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Timestamp of the next packet.
    pub fn timestamp(&self) -> u32 {
        self.timestamp
    }

    /// What was sent.
    pub fn stats(&self) -> OutboundStats {
        self.stats
    }

    /// Sends a digit after those before it; `false` if telephone-event was not negotiated, it is no key
    /// or too many wait.
    #[must_use]
    pub fn push_digit(&mut self, digit: u8, duration_ms: u16, gap_ms: u16) -> bool {
        self.config.dtmf_payload_type.is_some() && self.dtmf.push(digit, duration_ms, gap_ms)
    }

    /// Whether digits are being sent or wait.
    pub fn is_sending_digits(&self) -> bool {
        !self.dtmf.is_idle()
    }

    /// One tick: writes the next packet into `out`. `fill` writes the payload after the header and
    /// returns its length, 0 if there is no packet yet; it is not called when a key takes the place of audio,
    /// whose frame the caller then drops or keeps as it sees fit. The payload begins `behind` ticks of the
    /// clock before this one. `None` if `out` is too small: the time passes all the same.
    pub fn packet(
        &mut self,
        (audio, behind): (Audio, u32),
        out: &mut [u8],
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<Sent> {
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(u32::from(self.config.frame_samples));
        let idle_before = self.dtmf.is_idle();
        match (self.dtmf.tick(timestamp), self.config.dtmf_payload_type) {
            (Tick::Event(event), Some(payload_type)) => {
                // Speech that resumes after a key begins a talkspurt.
                self.talking = false;
                let header = Header {
                    payload_type,
                    marker: event.marker,
                    timestamp: event.timestamp,
                    ..self.header()
                };
                let len = self.write(header, out, |space| copy(&event.payload, space))?;
                Some(Sent { len, audio: false, digits_done: self.digits_done(idle_before) })
            }
            (tick, _) => {
                let talk = audio == Audio::Talk;
                self.marker |= talk && !self.talking;
                self.talking = talk;
                let timestamp = timestamp.wrapping_sub(behind);
                let len = self.audio_packet(timestamp, out, fill)?;
                let gap = matches!(tick, Tick::Gap);
                Some(Sent { len, audio: true, digits_done: gap && self.digits_done(idle_before) })
            }
        }
    }

    /// One tick whose packet may not leave: time and keys go on, and the sequence does not. Else whoever is sent to
    /// again would take the pause for a loss. What comes next begins a talkspurt.
    pub fn withhold(&mut self) -> Sent {
        let timestamp = self.timestamp;
        let idle_before = self.dtmf.is_idle();
        let audio = !matches!(self.dtmf.tick(timestamp), Tick::Event(_));
        self.skip(1);
        Sent { len: 0, audio, digits_done: self.digits_done(idle_before) }
    }

    /// Another packet of the running tick, for packets shorter than one; its payload begins `behind` ticks of
    /// the clock before the end of the tick.
    pub fn another(
        &mut self,
        behind: u32,
        out: &mut [u8],
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<usize> {
        self.audio_packet(self.timestamp.wrapping_sub(behind), out, fill)
    }

    fn audio_packet(
        &mut self,
        timestamp: u32,
        out: &mut [u8],
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<usize> {
        let header = Header { marker: self.marker, timestamp, ..self.header() };
        let len = self.write(header, out, fill)?;
        self.marker &= len == 0;
        Some(len)
    }

    /// Time passes without packets: ticks were missed, or the stream may not send. What comes next
    /// begins a talkspurt.
    pub fn skip(&mut self, ticks: u32) {
        let samples = u32::from(self.config.frame_samples).wrapping_mul(ticks);
        self.timestamp = self.timestamp.wrapping_add(samples);
        self.talking = self.talking && ticks == 0;
    }

    fn digits_done(&self, idle_before: bool) -> bool {
        !idle_before && self.dtmf.is_idle()
    }

    fn header(&self) -> Header {
        Header {
            payload_type: self.config.payload_type,
            marker: false,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        }
    }

    fn write(
        &mut self,
        header: Header,
        out: &mut [u8],
        fill: impl FnOnce(&mut [u8]) -> usize,
    ) -> Option<usize> {
        let written = header.write(out)?;
        let space = out.get_mut(written..)?;
        let room = space.len();
        let payload = fill(space).min(room);
        if payload == 0 {
            return Some(0);
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.stats.packets += 1;
        self.stats.octets += payload as u64;
        Some(HEADER_BYTES + payload)
    }
}

fn copy(from: &[u8], to: &mut [u8]) -> usize {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    from.len()
}

#[cfg(test)]
mod tests;
