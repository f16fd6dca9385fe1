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
    Frame, FrameOrigin, LINE_FRAME_SAMPLES_MAX, MediaDirection, MediaEvent, SourcePolicy,
    StreamFormat,
};
use super::io::StreamIo;
use super::outbound::narrow;
use super::tap::{TapChannel, TapClock, TapFrame};
use crate::audio::codec::PACKET_MS_MAX;
use crate::audio::level;
use crate::audio::noise::ComfortNoise;
use crate::audio::vad::VadError;
use crate::audio::{
    Concealer, Decoder, DtmfDetector, DtmfEvent, EchoGate, SpeechDetector, VadConfig, VadEvent,
};
use crate::rtp::dtmf::KeyEvent;
use crate::rtp::{self, InboundConfig, InboundStats, Piece, Policy, Received};
use crate::types::audio::FRAME_MS;
use crate::types::{CodecName, SampleRate};

/// Loudest noise in place of silence, whatever a packet asks: a line that hisses is better than one that roars.
const NOISE_DBFS_MAX: f32 = -40.0;
/// What nobody misses.
const QUIET_DBFS: f32 = -45.0;
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
    /// Samples of 20 ms.
    frame: usize,
    clock: Clock,
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
    noise: ComfortNoise,
    tones: DtmfDetector,
    keys: Keys,
    tap: TapClock,
}

/// Decoded audio of one of the two paths.
struct Path {
    concealer: Concealer,
    decoder: Option<Decoder>,
    /// Of the other codec that the peer may use, with its payload type.
    alternate: Option<(u8, Decoder)>,
    pcm: Box<[i16]>,
    /// What was decoded before the gap in front of it is filled.
    aside: Box<[i16]>,
}

impl Path {
    fn new(rate: SampleRate) -> Self {
        let pcm = vec![0; rate.samples_in_ms(PACKET_MS_MAX)].into_boxed_slice();
        let (concealer, aside) = (Concealer::new(rate), pcm.clone());
        Self { concealer, decoder: None, alternate: None, pcm, aside }
    }

    /// Takes over what was agreed; state goes on where the codec stays. A codec that cannot be built is deaf.
    fn agree(&mut self, format: &StreamFormat, line: SampleRate) {
        let build = |name| Decoder::new(name, line).ok();
        let name = format.codec.name;
        if self.decoder.as_ref().map(Decoder::name) != Some(name) {
            self.decoder = build(name);
        }
        self.alternate = format
            .alternate
            .and_then(|spec| build(spec.name).map(|decoder| (spec.payload_type, decoder)));
    }

    /// Decodes a payload; returns the samples.
    fn decode(&mut self, payload_type: u8, payload: &[u8]) -> usize {
        let other = self.alternate.as_mut().filter(|(number, _)| *number == payload_type);
        let decoder = other.map(|(_, decoder)| decoder).or(self.decoder.as_mut());
        decoder.map_or(0, |decoder| decoder.decode(payload, &mut self.pcm))
    }

    /// Takes the first `len` samples, just decoded, into account.
    fn received(&mut self, len: usize) {
        self.concealer.received(self.pcm.get_mut(..len).unwrap_or_default());
    }

    /// Fills the first `len` samples with what is likely to have been there before `next`.
    fn conceal(&mut self, len: usize, next: Next<'_>) {
        let block = self.pcm.get_mut(..len).unwrap_or_default();
        let payload = if let Next::Payload(payload) = next { Some(payload) } else { None };
        let recovered = self.decoder.as_mut().is_some_and(|codec| codec.recover(payload, block));
        match next {
            _ if recovered => self.concealer.received(block),
            Next::Decoded { len, distance } => {
                let next = self.aside.get(..len).unwrap_or_default();
                self.concealer.conceal_towards(block, next, distance);
            }
            Next::Unknown | Next::Payload(_) => self.concealer.conceal(block),
        }
    }

    /// Whether losses are filled by the codec, in the order of its packets.
    fn recovers(&self) -> bool {
        self.decoder.as_ref().is_some_and(|codec| codec.name() == CodecName::Opus)
    }
}

/// What is known of what comes after a loss.
#[derive(Clone, Copy)]
enum Next<'a> {
    Unknown,
    /// It may bear a copy of what was lost.
    Payload(&'a [u8]),
    /// So many samples stand aside; they begin `distance` samples after the end of the block.
    Decoded {
        len: usize,
        distance: usize,
    },
}

/// Between the ticks of RTP timestamps and the samples of the line.
#[derive(Clone, Copy)]
struct Clock {
    hz: u32,
    line: u32,
}

impl Clock {
    fn samples(self, ticks: u32) -> usize {
        (u64::from(ticks) * u64::from(self.line) / u64::from(self.hz)) as usize
    }

    fn ticks(self, samples: usize) -> u64 {
        samples as u64 * u64::from(self.hz) / u64::from(self.line)
    }
}

/// Cuts pieces of any length into frames.
struct Blocks {
    samples: [i16; LINE_FRAME_SAMPLES_MAX],
    /// Samples of a whole frame.
    whole: usize,
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
        let frame = rate.samples_in_ms(FRAME_MS);
        Ok(Self {
            rtp: None,
            rate,
            frame,
            clock: Clock { hz: rate.hz(), line: rate.hz() },
            direction: MediaDirection::Inactive,
            muted: false,
            express: Path::new(rate),
            record: Path::new(rate),
            ahead: 0,
            record_at: None,
            next_tick: start,
            blocks: Blocks { samples: [0; LINE_FRAME_SAMPLES_MAX], whole: frame, len: 0, at: None },
            vad: SpeechDetector::new(vad.clone(), rate)?,
            noise: ComfortNoise::new(NOISE_DBFS_MAX, 1),
            tones: DtmfDetector::new(rate),
            keys: Keys::default(),
            tap: TapClock::new(start, rate),
        })
    }

    /// The line's rate, known with the first agreement: everything that counts in samples begins anew. `false`:
    /// the detectors do not work at it, and the rate stays.
    pub fn set_rate(&mut self, rate: SampleRate, vad: &VadConfig) -> bool {
        if rate == self.rate {
            return true;
        }
        let Ok(vad) = SpeechDetector::new(vad.clone(), rate) else { return false };
        self.vad = vad;
        self.tones = DtmfDetector::new(rate);
        self.rate = rate;
        self.frame = rate.samples_in_ms(FRAME_MS);
        (self.blocks.whole, self.blocks.len) = (self.frame, 0);
        (self.express, self.record) = (Path::new(rate), Path::new(rate));
        self.tap.set_rate(rate);
        true
    }

    /// Takes over what offer and answer agreed on.
    pub fn configure(&mut self, now: Instant, format: &StreamFormat, reorder: u8) {
        let config = InboundConfig {
            codec: format.codec,
            alternate: format.alternate,
            dtmf_payload_type: format.dtmf_receive_pt,
            remote_rtp: format.remote_rtp,
            remote_rtcp: format.remote_rtcp,
            policy: match format.source_policy {
                SourcePolicy::Strict => Policy::Strict,
                SourcePolicy::Learn => Policy::Learn,
            },
            reorder,
        };
        self.clock = Clock { hz: format.codec.name.clock_rate(), line: self.rate.hz() };
        self.express.agree(format, self.rate);
        self.record.agree(format, self.rate);
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
        let mut gap = None;
        loop {
            let Some(rtp) = &mut self.rtp else { return };
            if let Some(key) = rtp.pop_key() {
                self.keys.event(now, key, io);
                continue;
            }
            match rtp.pop_express() {
                None => return,
                Some(Piece::Payload { timestamp, payload_type, payload }) => {
                    let len = self.express.decode(payload_type, payload);
                    self.note_quiet(timestamp, len);
                    if let Some(gap) = gap.take() {
                        // Both sides of the gap are known: it is filled from both.
                        std::mem::swap(&mut self.express.pcm, &mut self.express.aside);
                        self.fill(gap, Fill::Between { next: len }, echo, io);
                        std::mem::swap(&mut self.express.pcm, &mut self.express.aside);
                    }
                    self.express.received(len);
                    let origin = FrameOrigin::Packet { read_at: now };
                    self.hear((timestamp, len), origin, echo, io);
                }
                // The packet behind it comes next.
                Some(Piece::Lost { timestamp, samples }) if !self.express.recovers() => {
                    gap = Some((timestamp, samples));
                }
                Some(Piece::Lost { timestamp, samples }) => {
                    self.fill((timestamp, samples), Fill::Recover, echo, io);
                }
                Some(Piece::Silence { timestamp, samples }) => {
                    self.fill((timestamp, samples), Fill::Silence, echo, io);
                }
            }
        }
    }

    /// The jitter buffer may leave out what is quiet; of most codecs only the samples tell.
    fn note_quiet(&mut self, timestamp: u64, len: usize) {
        match self.express.decoder.as_ref().map(Decoder::name) {
            None | Some(CodecName::Pcmu | CodecName::Pcma) => return,
            Some(CodecName::G722 | CodecName::Opus | CodecName::L16Narrow | CodecName::L16Wide) => {
            }
        }
        let pcm = self.express.pcm.get(..len).unwrap_or_default();
        if level::rms_dbfs(pcm) < QUIET_DBFS
            && let Some(rtp) = &mut self.rtp
        {
            rtp.mark_quiet(timestamp);
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
            Fill::Recover | Fill::Between { .. } => FrameOrigin::Lost,
            Fill::Silence => FrameOrigin::Silence,
        };
        let mut done = 0;
        let all = self.clock.samples(samples);
        while done < all {
            let len = (all - done).min(self.frame);
            let distance = all - done - len;
            match fill {
                Fill::Between { next } => {
                    self.express.conceal(len, Next::Decoded { len: next, distance });
                }
                Fill::Recover => {
                    // The packet behind the gap may bear a copy of the one before it.
                    let rtp = self.rtp.as_ref().filter(|_| distance == 0);
                    let next = rtp.and_then(|rtp| rtp.peek_express());
                    self.express.conceal(len, next.map_or(Next::Unknown, Next::Payload));
                }
                Fill::Silence => self.silence(len),
            }
            self.hear((timestamp + self.clock.ticks(done), len), origin, echo, io);
            done += len;
        }
    }

    /// Fills the first `len` samples of the express path with what a silent sender sounds like.
    fn silence(&mut self, len: usize) {
        let Some(rtp) = &self.rtp else { return };
        if !rtp.is_silent() && rtp.peek_express().is_none() {
            // Nobody knows whether it was sent: what was said fades into the line's background.
            self.express.conceal(len, Next::Unknown);
            return;
        }
        let block = self.express.pcm.get_mut(..len).unwrap_or_default();
        block.fill(0);
        if let Some(dbov) = rtp.comfort_noise_dbov() {
            self.noise.set_level(f32::from(dbov).min(NOISE_DBFS_MAX));
            self.noise.fill(block);
        }
        self.express.concealer.received(block);
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
                self.blocks.at =
                    rtp.and_then(|rtp| rtp.arrival_of(timestamp + self.clock.ticks(done)));
            }
            let from = self.express.pcm.get(done..len).unwrap_or(&[]);
            let taken = self.blocks.take(from);
            if taken == 0 {
                return;
            }
            done += taken;
            if self.blocks.len >= self.blocks.whole {
                self.frame(origin, echo, io);
            }
        }
    }

    /// One whole frame of the express path.
    fn frame(&mut self, origin: FrameOrigin, echo: &mut EchoGate, io: &mut impl StreamIo) {
        self.blocks.len = 0;
        let Some(at) = self.blocks.at.take() else { return };
        let deaf = self.muted || !self.direction.receives();
        let samples = self.blocks.samples.get_mut(..self.blocks.whole).unwrap_or_default();
        if deaf {
            samples.fill(0);
        }
        if let Some(DtmfEvent::Started { digit }) = self.tones.push(samples) {
            self.keys.tone(at, digit, io);
        }
        self.vad.set_masked(self.tones.is_active());
        let lost = origin == FrameOrigin::Lost;
        self.vad.set_concealed(lost || self.express.concealer.is_concealing());
        io.event(MediaEvent::Frame { frame: Frame::new(samples), at, origin });
        narrow(samples, |narrow| echo.heard(narrow));
        match self.vad.push_beside(at, samples, echo) {
            Some(VadEvent::Started { onset }) => io.event(MediaEvent::SpeechStarted { onset }),
            Some(VadEvent::Ended { last_voiced }) => {
                io.event(MediaEvent::SpeechEnded { last_voiced });
            }
            None => {}
        }
    }

    /// One tick of the recording path.
    fn record(&mut self, now: Instant, io: &mut impl StreamIo) {
        while self.ahead < self.frame {
            let Some(rtp) = &mut self.rtp else { return };
            let (timestamp, len) = match rtp.next_frame(now) {
                rtp::Frame::Payload { timestamp, payload_type, payload } => {
                    let len = self.record.decode(payload_type, payload);
                    self.record.received(len);
                    (Some(timestamp), len)
                }
                rtp::Frame::Lost { samples } => {
                    let len = self.clock.samples(samples).min(self.record.pcm.len());
                    self.record.conceal(len, Next::Unknown);
                    (self.record_at, len)
                }
                // What is not written is silence in the file.
                rtp::Frame::Silence => (None, self.frame),
            };
            self.ahead += len.max(1);
            self.record_at = timestamp.map(|timestamp| timestamp + self.clock.ticks(len));
            if let Some(timestamp) = timestamp {
                self.write(timestamp, len, io);
            }
        }
        self.ahead -= self.frame;
    }

    fn write(&mut self, timestamp: u64, len: usize, io: &mut impl StreamIo) {
        let Some(rtp) = &self.rtp else { return };
        let pcm = self.record.pcm.get(..len).unwrap_or(&[]);
        let mut done = 0;
        for block in pcm.chunks(self.frame) {
            let length = self.rate.duration_of(block.len() as u64);
            let at = rtp.arrival_of(timestamp + self.clock.ticks(done));
            done += block.len();
            let Some(begins) = at.and_then(|at| at.checked_sub(length)) else { continue };
            if let Some(position) = self.tap.place(begins, block.len()) {
                let frame = Frame::new(block);
                io.tap(TapFrame { channel: TapChannel::Caller, position, frame });
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Fill {
    /// With what the codec makes of it.
    Recover,
    /// Towards so many samples that stand aside.
    Between {
        next: usize,
    },
    Silence,
}

impl Blocks {
    /// Takes as much as fits; returns how much.
    fn take(&mut self, from: &[i16]) -> usize {
        let space = self.samples.get_mut(self.len..self.whole).unwrap_or_default();
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
