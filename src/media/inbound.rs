//! From packets to what the call hears and what the recording keeps.
//!
//! Two paths leave here. The express path goes to voice activity detection and recognition with the
//! least delay: in sequence, lost frames concealed, the length of time always true. The recording path
//! goes through the jitter buffer, so that reordered packets stand where they belong, and is placed by
//! arrival times, so that the recording does not show the buffer's delay: a frame *ends* when its packet
//! arrived, which makes the gap between caller and agent in the file the one the ledger measures.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::event::{
    FRAME_SAMPLES_MAX_G711, Frame, FrameOrigin, MediaDirection, MediaEvent, SourcePolicy,
    StreamFormat,
};
use super::io::StreamIo;
use super::tap::{TapChannel, TapClock, TapFrame};
use crate::audio::vad::VadError;
use crate::audio::{
    Codec, Concealer, DtmfDetector, DtmfEvent, EchoGate, SpeechDetector, VadConfig, VadEvent,
};
use crate::rtp::dtmf::KeyEvent;
use crate::rtp::{self, InboundConfig, InboundStats, PAYLOAD_BYTES_MAX, Piece, Policy, Received};
use crate::types::SampleRate;

/// Interval of the recording path and of the clock that fills silence.
pub const TICK: Duration = Duration::from_millis(20);
/// Ticks made up for after a stall; older ones are dropped with the jitter buffer's own bounds.
const TICKS_MAX: u32 = 8;
/// A gateway that turns tones into telephone events lets this much of the tone slip through first: a
/// digit heard in the band and then as an event within this time is one press.
const SAME_PRESS: Duration = Duration::from_millis(250);

/// The receiving side of one stream's voice path.
pub struct Inbound {
    rtp: Option<rtp::Inbound>,
    rate: SampleRate,
    codec: Codec,
    direction: MediaDirection,
    muted: bool,
    express: Path,
    record: Path,
    /// Samples of the recording path decoded ahead of the tick.
    ahead: usize,
    /// Timestamp the recording path has come to.
    record_at: Option<u64>,
    next_tick: Instant,
    blocks: Blocks,
    vad: SpeechDetector,
    tones: DtmfDetector,
    keys: Keys,
    tap: TapClock,
}

/// Decoded audio of one of the two paths.
struct Path {
    concealer: Concealer,
    pcm: [i16; PAYLOAD_BYTES_MAX],
}

/// Cuts pieces of any length into frames.
struct Blocks {
    samples: [i16; FRAME_SAMPLES_MAX_G711],
    len: usize,
    at: Option<Instant>,
}

/// Which presses were told.
#[derive(Default)]
struct Keys {
    /// The peer sends telephone events: tones in the band are theirs, or an echo of ours.
    events_heard: bool,
    in_band: Option<(u8, Instant)>,
}

impl Inbound {
    /// A side that waits for its format.
    ///
    /// # Errors
    /// When the detector's settings are wrong.
    pub fn new(start: Instant, vad: &VadConfig) -> Result<Self, VadError> {
        let rate = SampleRate::HZ_8000;
        let path = || Path { concealer: Concealer::new(rate), pcm: [0; PAYLOAD_BYTES_MAX] };
        Ok(Self {
            rtp: None,
            rate,
            codec: Codec::Pcmu,
            direction: MediaDirection::Inactive,
            muted: false,
            express: path(),
            record: path(),
            ahead: 0,
            record_at: None,
            next_tick: start,
            blocks: Blocks { samples: [0; FRAME_SAMPLES_MAX_G711], len: 0, at: None },
            vad: SpeechDetector::new(vad.clone(), rate)?,
            tones: DtmfDetector::new(rate),
            keys: Keys::default(),
            tap: TapClock::new(start, rate),
        })
    }

    /// Takes over what offer and answer agreed on.
    pub fn configure(&mut self, now: Instant, format: &StreamFormat, reorder: u8) {
        let config = InboundConfig {
            codec: format.codec,
            alternate: None,
            dtmf_payload_type: format.dtmf_receive_pt,
            remote_rtp: format.remote_rtp,
            remote_rtcp: format.remote_rtcp,
            policy: match format.source_policy {
                SourcePolicy::Strict => Policy::Strict,
                SourcePolicy::Learn => Policy::Learn,
            },
            reorder,
        };
        self.codec = Codec::new(format.codec.name);
        self.direction = format.direction;
        match &mut self.rtp {
            Some(rtp) => rtp.reconfigure(now, config),
            None => self.rtp = Some(rtp::Inbound::new(now, config)),
        }
    }

    /// Silence instead of the caller for detection and recognition, or the caller again.
    pub fn mute(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// The receiver, once there is a format.
    pub fn rtp(&mut self) -> Option<&mut rtp::Inbound> {
        self.rtp.as_mut()
    }

    /// What was counted.
    pub fn stats(&self) -> InboundStats {
        self.rtp.as_ref().map_or_else(InboundStats::default, rtp::Inbound::stats)
    }

    /// Delay of the recording's jitter buffer, in milliseconds; 0 before there is a format.
    pub fn jitter_delay_ms(&self) -> u32 {
        self.rtp.as_ref().map_or(0, rtp::Inbound::jitter_delay_ms)
    }

    /// Takes a datagram of the RTP port.
    pub fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        (echo, io): (&mut EchoGate, &mut impl StreamIo),
    ) -> Received {
        let Some(rtp) = &mut self.rtp else { return Received::Dropped };
        let received = rtp.receive(now, from, datagram);
        if !matches!(received, Received::Dropped | Received::Control) {
            self.drain(now, echo, io);
        }
        received
    }

    /// Does what the clock makes due: silence, forgotten keys, the recording.
    pub fn handle_timeout(&mut self, now: Instant, echo: &mut EchoGate, io: &mut impl StreamIo) {
        let mut ticks = 0;
        while self.next_tick <= now {
            self.next_tick += TICK;
            ticks += 1;
            if ticks > TICKS_MAX {
                self.next_tick = now + TICK;
            }
            let Some(rtp) = &mut self.rtp else { continue };
            rtp.tick(now);
            self.drain(now, echo, io);
            self.record(now, io);
        }
    }

    fn drain(&mut self, now: Instant, echo: &mut EchoGate, io: &mut impl StreamIo) {
        loop {
            let Some(rtp) = &mut self.rtp else { return };
            if let Some(key) = rtp.pop_key() {
                self.keys.event(now, key, io);
                continue;
            }
            let Path { concealer, pcm } = &mut self.express;
            let (timestamp, len) = match rtp.pop_express() {
                None => return,
                Some(Piece::Payload { timestamp, payload, .. }) => {
                    let len = self.codec.decode(payload, pcm);
                    concealer.received(pcm.get_mut(..len).unwrap_or_default());
                    (timestamp, len)
                }
                Some(Piece::Lost { timestamp, samples }) => {
                    self.fill((timestamp, samples), Fill::Conceal, echo, io);
                    continue;
                }
                Some(Piece::Silence { timestamp, samples }) => {
                    self.fill((timestamp, samples), Fill::Silence, echo, io);
                    continue;
                }
            };
            self.hear((timestamp, len), FrameOrigin::Packet { read_at: now }, echo, io);
        }
    }

    /// Time without a payload, in as many pieces as the buffer needs.
    fn fill(
        &mut self,
        (timestamp, samples): (u64, u32),
        fill: Fill,
        echo: &mut EchoGate,
        io: &mut impl StreamIo,
    ) {
        let origin = match fill {
            Fill::Conceal => FrameOrigin::Lost,
            Fill::Silence => FrameOrigin::Silence,
        };
        let mut done = 0;
        while done < samples as usize {
            let Path { concealer, pcm } = &mut self.express;
            let len = (samples as usize - done).min(FRAME_SAMPLES_MAX_G711);
            let block = pcm.get_mut(..len).unwrap_or_default();
            match fill {
                Fill::Conceal => concealer.conceal(block),
                Fill::Silence => {
                    block.fill(0);
                    concealer.received(block);
                }
            }
            self.hear((timestamp + done as u64, len), origin, echo, io);
            done += len;
        }
    }

    /// Passes the first `len` samples of the express path on, frame by frame.
    fn hear(
        &mut self,
        (timestamp, len): (u64, usize),
        origin: FrameOrigin,
        echo: &mut EchoGate,
        io: &mut impl StreamIo,
    ) {
        let mut done = 0;
        while done < len {
            if self.blocks.at.is_none() {
                let rtp = self.rtp.as_ref();
                self.blocks.at = rtp.and_then(|rtp| rtp.arrival_of(timestamp + done as u64));
            }
            let from = self.express.pcm.get(done..len).unwrap_or(&[]);
            let taken = self.blocks.take(from);
            if taken == 0 {
                return;
            }
            done += taken;
            if self.blocks.len == FRAME_SAMPLES_MAX_G711 {
                self.frame(origin, echo, io);
            }
        }
    }

    /// One whole frame of the express path.
    fn frame(&mut self, origin: FrameOrigin, echo: &mut EchoGate, io: &mut impl StreamIo) {
        self.blocks.len = 0;
        let Some(at) = self.blocks.at.take() else { return };
        let deaf = self.muted || !self.direction.receives();
        if deaf {
            self.blocks.samples.fill(0);
        }
        if let Some(DtmfEvent::Started { digit }) = self.tones.push(&self.blocks.samples) {
            self.keys.tone(at, digit, io);
        }
        self.vad.set_masked(self.tones.is_active());
        io.event(MediaEvent::Frame { frame: Frame::new(&self.blocks.samples), at, origin });
        echo.heard(&self.blocks.samples);
        match self.vad.push_beside(at, &self.blocks.samples, echo) {
            Some(VadEvent::Started { onset }) => io.event(MediaEvent::SpeechStarted { onset }),
            Some(VadEvent::Ended { last_voiced }) => {
                io.event(MediaEvent::SpeechEnded { last_voiced });
            }
            None => {}
        }
    }

    /// One tick of the recording path.
    fn record(&mut self, now: Instant, io: &mut impl StreamIo) {
        while self.ahead < FRAME_SAMPLES_MAX_G711 {
            let Some(rtp) = &mut self.rtp else { return };
            let Path { concealer, pcm } = &mut self.record;
            let (timestamp, len) = match rtp.next_frame(now) {
                rtp::Frame::Payload { timestamp, payload, .. } => {
                    let len = self.codec.decode(payload, pcm);
                    concealer.received(pcm.get_mut(..len).unwrap_or_default());
                    (Some(timestamp), len)
                }
                rtp::Frame::Lost { samples } => {
                    let len = (samples as usize).min(pcm.len());
                    concealer.conceal(pcm.get_mut(..len).unwrap_or_default());
                    (self.record_at, len)
                }
                // What is not written is silence in the file.
                rtp::Frame::Silence => (None, FRAME_SAMPLES_MAX_G711),
            };
            self.ahead += len.max(1);
            self.record_at = timestamp.map(|timestamp| timestamp + len as u64);
            if let Some(timestamp) = timestamp {
                self.write(timestamp, len, io);
            }
        }
        self.ahead -= FRAME_SAMPLES_MAX_G711;
    }

    fn write(&mut self, timestamp: u64, len: usize, io: &mut impl StreamIo) {
        let Some(rtp) = &self.rtp else { return };
        let pcm = self.record.pcm.get(..len).unwrap_or(&[]);
        let mut timestamp = timestamp;
        for block in pcm.chunks(FRAME_SAMPLES_MAX_G711) {
            let length = self.rate.duration_of(block.len() as u64);
            let begins = rtp.arrival_of(timestamp).and_then(|at| at.checked_sub(length));
            timestamp += block.len() as u64;
            let Some(begins) = begins else { continue };
            if let Some(position) = self.tap.place(begins, block.len()) {
                let frame = Frame::new(block);
                io.tap(TapFrame { channel: TapChannel::Caller, position, frame });
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Fill {
    Conceal,
    Silence,
}

impl Blocks {
    /// Takes as much as fits; returns how much.
    fn take(&mut self, from: &[i16]) -> usize {
        let space = self.samples.get_mut(self.len..).unwrap_or_default();
        let mut taken = 0;
        for (to, from) in space.iter_mut().zip(from) {
            *to = *from;
            taken += 1;
        }
        self.len += taken;
        taken
    }
}

impl Keys {
    fn event(&mut self, now: Instant, key: KeyEvent, io: &mut impl StreamIo) {
        let KeyEvent::Pressed { digit } = key else { return };
        self.events_heard = true;
        let told = self.in_band.take().is_some_and(|(in_band, at)| {
            in_band == digit && now.saturating_duration_since(at) < SAME_PRESS
        });
        if !told {
            io.event(MediaEvent::Digit { digit });
        }
    }

    fn tone(&mut self, at: Instant, digit: u8, io: &mut impl StreamIo) {
        if !self.events_heard {
            self.in_band = Some((digit, at));
            io.event(MediaEvent::Digit { digit });
        }
    }
}
