//! From the agent's frames to packets on the line: one packet every 20 ms, whatever happens.
//!
//! While the agent is quiet, silence goes out at the same pace: carriers cut calls that send nothing,
//! and address translators forget them. Speech after silence does not wait for the grid
//! ([`Outbound::audio_waits`]).

use std::net::SocketAddr;
use std::time::Instant;

use super::aside::{ASIDES, Aside};
use super::background::Playing;
use super::event::{
    FRAME_SAMPLES_MAX_G711, Frame, LINE_FRAME_SAMPLES_MAX, MediaEvent, StreamFormat,
};
use super::io::{PacketKind, StreamIo};
use super::playout::{Playout, Stop, Tick};
use super::protection::Protection;
use super::tap::{TapChannel, TapClock, TapFrame};
use super::tones::ToneQueue;
use crate::audio::{EchoGate, Encoder, level, mix};
use crate::rtp::pacer::INTERVAL;
use crate::rtp::packet::HEADER_BYTES;
use crate::rtp::srtp;
use crate::rtp::{self, Audio, OutboundConfig, PAYLOAD_BYTES_MAX, Pacer, Sent};
use crate::types::audio::FRAME_MS;
use crate::types::{CodecName, CodecSpec, Entropy, Generation, SampleRate};

/// A frame above this is audible (call model D2, instant P1).
pub const AUDIBLE_DBFS: f32 = -50.0;
/// Packets sent to an address that never sent anything, 5 s: then we stop flooding what may be a victim
/// named in a forged offer. Twice that is what a reflection attack gains more; half cuts peers that are
/// slow to start.
pub const UNANSWERED_MAX: u32 = 250;
/// -12 dB: soft enough to talk over, loud enough to follow.
const DUCKED_GAIN: f32 = 0.25;
/// Progress is told every 100 ms of audio: closer than any transcript needs.
const REPORT_MS: u32 = 100;
/// A header, the longest payload and what encryption adds.
const PACKET_BYTES: usize = HEADER_BYTES + PAYLOAD_BYTES_MAX + srtp::OVERHEAD_BYTES_MAX;
/// Longest packet of ours.
const PTIME_MS_MAX: u32 = 60;

/// Whether packets may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// No format yet, or on hold: time passes without packets and the queue waits.
    Closed,
    Open,
}

/// How far a generation got.
#[derive(Clone, Copy)]
struct Progress {
    generation: Generation,
    samples: u64,
    reported: u64,
    packet_left: bool,
    audible_left: bool,
}

/// What one interval sends.
struct Interval {
    samples: [i16; LINE_FRAME_SAMPLES_MAX],
    audio: Audio,
    /// What playout wanted, to be reported after sending.
    tick: Tick,
}

/// The sending side of one stream's voice path.
pub struct Outbound {
    gate: Gate,
    rate: SampleRate,
    /// Samples of 20 ms.
    frame: usize,
    codec: Option<Encoder>,
    /// Ticks of the RTP clock in 20 ms.
    frame_ticks: u32,
    batch: Batch,
    rtp: rtp::Outbound,
    pacer: Pacer,
    playout: Playout,
    tones: ToneQueue,
    tone_digits: bool,
    muted: bool,
    mute_edge: bool,
    /// A generation that is to be softer, and the gain of the frame before.
    ducked: Option<Generation>,
    gain: f32,
    progress: Option<Progress>,
    last_audio: Option<Instant>,
    /// Packets to a peer that was never heard.
    unanswered: u32,
    /// Where the peer said it listens, and whether it was heard since.
    heard: (Option<std::net::SocketAddr>, bool),
    tap: TapClock,
    background: Playing,
    asides: [Aside; ASIDES],
    /// Knows again what left.
    echo: EchoGate,
    pub(super) srtp: Protection<srtp::Sender>,
    packet: [u8; PACKET_BYTES],
}

impl Outbound {
    /// A side that waits for its format. `phase_start` is its first tick.
    pub fn new(start: Instant, phase: std::time::Duration, entropy: &mut Entropy) -> Self {
        let rate = SampleRate::HZ_8000;
        let spec = CodecSpec::with_static_payload_type(CodecName::Pcmu);
        Self {
            gate: Gate::Closed,
            rate,
            frame: rate.samples_in_ms(FRAME_MS),
            codec: Encoder::new(spec.name, rate).ok(),
            frame_ticks: spec.name.clock_rate() * FRAME_MS / 1_000,
            batch: Batch::default(),
            rtp: rtp::Outbound::new(outbound_config(spec, None), entropy),
            pacer: Pacer::new(start, phase),
            playout: Playout::new(rate),
            tones: ToneQueue::new(rate),
            tone_digits: true,
            muted: false,
            mute_edge: false,
            ducked: None,
            gain: 1.0,
            progress: None,
            last_audio: None,
            unanswered: 0,
            heard: (None, false),
            tap: TapClock::new(start, rate),
            background: Playing::default(),
            asides: std::array::from_fn(Aside::new),
            echo: EchoGate::new(),
            srtp: Protection::Clear,
            packet: [0; PACKET_BYTES],
        }
    }

    /// Puts a sound behind everything that is sent.
    pub fn set_background(&mut self, sound: Option<std::sync::Arc<super::Background>>) {
        self.background = Playing::new(sound);
    }

    /// The line's rate, known with the first agreement: nothing was sent before.
    pub fn set_rate(&mut self, rate: SampleRate) {
        if rate != self.rate {
            self.rate = rate;
            self.frame = rate.samples_in_ms(FRAME_MS);
            self.codec = None;
            self.playout.set_rate(rate);
            self.tones.set_rate(rate);
            self.tap.set_rate(rate);
        }
    }

    /// Takes over what offer and answer agreed on.
    pub fn configure(&mut self, format: &StreamFormat) {
        let name = format.codec.name;
        if self.codec.as_ref().map(Encoder::name) != Some(name) {
            // One that cannot be built sends nothing.
            self.codec = Encoder::new(name, self.rate).ok();
        }
        self.frame_ticks = name.clock_rate() * FRAME_MS / 1_000;
        let ptime = u32::from(format.send_ptime_ms).min(PTIME_MS_MAX);
        self.batch.set(self.rate.samples_in_ms(ptime), self.frame, self.rate);
        let sent = CodecSpec { payload_type: format.send_payload_type, ..format.codec };
        let dtmf = format.dtmf_send_pt.map(|number| (number, format.dtmf_clock_rate));
        self.rtp.reconfigure(outbound_config(sent, dtmf));
        self.tone_digits = format.dtmf_send_pt.is_none();
        self.gate = if format.direction.sends() { Gate::Open } else { Gate::Closed };
        self.unanswered = 0;
        if self.heard.0 != Some(format.remote_rtp) {
            self.heard = (Some(format.remote_rtp), false);
        }
    }

    /// Encrypts a control packet of `len` octets, if the stream is encrypted; `None`: it must not leave.
    pub fn protect_control(&mut self, datagram: &mut [u8], len: usize) -> Option<usize> {
        match &mut self.srtp {
            Protection::Clear => Some(len),
            Protection::Keyed(sender) => sender.protect_control(datagram, len),
            Protection::Closed => None,
        }
    }

    /// The peer sent something: the address is its own, and stays it while the peer is silent, on hold for example.
    pub fn peer_heard(&mut self) {
        self.unanswered = 0;
        self.heard.1 = true;
    }

    /// Stops a generation and those before it.
    pub fn stop(&mut self, now: Instant, generation: Generation, io: &mut impl StreamIo) {
        if self.playout.stop(generation) == Stop::NotPlaying {
            self.report_stopped(now, generation, io);
        }
    }

    /// Holds a generation back; nothing of it is lost.
    pub fn pause(&mut self, generation: Generation) {
        self.playout.pause(generation);
    }

    /// Makes a generation softer.
    pub fn duck(&mut self, generation: Generation) {
        if self.progress.is_some_and(|progress| progress.generation == generation) {
            self.ducked = Some(generation);
        }
    }

    /// A generation goes on as it was.
    pub fn resume(&mut self, generation: Generation) {
        self.playout.resume(generation);
        self.ducked.take_if(|ducked| *ducked == generation);
    }

    /// Sends a digit after those before it; one that is no key, or too many, is dropped.
    pub fn send_digit(&mut self, digit: u8, duration_ms: u16, gap_ms: u16) -> bool {
        if self.tone_digits {
            self.tones.push(digit, duration_ms, gap_ms)
        } else {
            self.rtp.push_digit(digit, duration_ms, gap_ms)
        }
    }

    /// Silence instead of the agent, or the agent again.
    pub fn mute(&mut self, muted: bool) {
        self.mute_edge = self.muted != muted;
        self.muted = muted;
    }

    /// Next tick.
    pub fn next_wake(&self) -> Instant {
        self.pacer.next_wake()
    }

    /// What tells our own voice from the caller's.
    pub fn echo(&mut self) -> &mut EchoGate {
        &mut self.echo
    }

    /// Our identity and timeline, for sender reports.
    pub fn rtp(&self) -> &rtp::Outbound {
        &self.rtp
    }

    /// Frames that never played because they came too late or were stopped: (underruns, stale).
    pub fn losses(&self) -> (u64, u64) {
        (self.playout.underruns(), self.playout.stale_frames())
    }

    /// Intervals that were skipped because we were too late for them.
    pub fn skipped(&self) -> u64 {
        self.pacer.skipped()
    }

    /// Whether a silent stream was filled, so that [`Outbound::audio_waits`] would send at once.
    pub fn is_silent(&self) -> bool {
        let aside = self.asides.iter().any(Aside::is_playing);
        self.gate == Gate::Open && self.playout.is_silent() && !aside && !self.sending_digits()
    }

    /// Audio came into a silent stream: its first packet leaves now instead of at the next tick.
    pub fn audio_waits(&mut self, now: Instant, peer: SocketAddr, io: &mut impl StreamIo) {
        if self.is_silent() && self.playout.has_audio(io) {
            self.pacer.rephase(now);
            self.handle_timeout(now, peer, io);
        }
    }

    /// Sends what is due.
    pub fn handle_timeout(&mut self, now: Instant, peer: SocketAddr, io: &mut impl StreamIo) {
        // The recording follows the schedule, not our lateness: so does the peer's jitter buffer.
        let mut scheduled = self.pacer.next_wake();
        let due = self.pacer.due(now);
        self.rtp.skip(due.skipped);
        scheduled += INTERVAL * due.skipped;
        for _ in 0..due.packets {
            let begins = scheduled;
            scheduled += INTERVAL;
            match self.gate {
                Gate::Open => self.interval((now, begins), peer, io),
                Gate::Closed => {
                    self.rtp.skip(1);
                    self.settle_stop(now, io);
                }
            }
        }
    }

    fn sending_digits(&self) -> bool {
        self.rtp.is_sending_digits() || !self.tones.is_idle()
    }

    /// A stop while nothing of the queue may be heard has nothing to fade.
    fn settle_stop(&mut self, now: Instant, io: &mut impl StreamIo) {
        if self.playout.is_stopping()
            && let Tick::Stopped { generation, .. } = self.playout.tick(io)
        {
            self.report_stopped(now, generation, io);
        }
    }

    /// One packet, whose audio begins at `begins`.
    fn interval(
        &mut self,
        (now, begins): (Instant, Instant),
        peer: SocketAddr,
        io: &mut impl StreamIo,
    ) {
        let tone = !self.tones.is_idle();
        let interval = if tone || self.rtp.is_sending_digits() {
            self.settle_stop(now, io);
            let mut samples = [0; LINE_FRAME_SAMPLES_MAX];
            self.tones.fill(samples.get_mut(..self.frame).unwrap_or_default());
            let audio = if tone { Audio::Talk } else { Audio::Silence };
            Interval { samples, audio, tick: Tick::Silence }
        } else {
            self.next_interval(io)
        };
        let mut whole = interval.samples;
        let samples = whole.get_mut(..self.frame).unwrap_or_default();
        if !self.muted {
            self.background.add_to(samples, self.rate);
        }
        let mut audio = interval.audio;
        for aside in &mut self.asides {
            if aside.add_to(samples, io) {
                audio = Audio::Talk;
            }
        }
        let may_leave = self.heard.1 || self.unanswered < UNANSWERED_MAX;
        let left = if may_leave {
            self.packets(now, (audio, samples), peer, io)
        } else {
            self.batch.clear();
            Some((now, self.rtp.withhold()))
        };
        let Some((at, sent)) = left else { return };
        if audio == Audio::Silence {
            self.pacer.silence_sent();
        }
        narrow(samples, |narrow| self.echo.sent(narrow));
        self.record(begins, (audio, samples), io);
        self.report(at, may_leave && sent.audio, &interval, io);
        if sent.digits_done || (tone && self.tones.is_idle()) {
            io.event(MediaEvent::DigitsSent);
        }
    }

    /// Sends 20 ms of audio in packets of the agreed duration: one, several, or none yet. Returns when the
    /// last left.
    fn packets(
        &mut self,
        now: Instant,
        (audio, samples): (Audio, &[i16]),
        peer: SocketAddr,
        io: &mut impl StreamIo,
    ) -> Option<(Instant, Sent)> {
        let Self { rtp, codec, batch, packet, srtp, .. } = self;
        let per_sample = |samples: usize| samples as u32 * self.frame_ticks / self.frame as u32;
        let encode = |pcm: &[i16], payload: &mut [u8]| {
            // What protection adds must fit behind.
            let room = payload.len().saturating_sub(srtp::OVERHEAD_BYTES_MAX);
            let payload = payload.get_mut(..room).unwrap_or_default();
            codec.as_mut().map_or(0, |codec| codec.encode(pcm, payload))
        };
        let mut encode = encode;
        let behind = per_sample(batch.push(samples));
        let sent = rtp.packet((audio, behind), packet, |payload| match batch.next(samples) {
            Some(pcm) => encode(pcm, payload),
            None => 0,
        })?;
        if !sent.audio {
            batch.clear();
        }
        let mut len = sent.len;
        let mut at = now;
        loop {
            let protected = match srtp {
                _ if len == 0 => None,
                Protection::Clear => Some(len),
                Protection::Keyed(sender) => sender.protect(packet, len),
                Protection::Closed => None,
            };
            if let Some(datagram) = protected.and_then(|len| packet.get(..len)) {
                at = io.send(PacketKind::Rtp, peer, datagram);
                self.unanswered = self.unanswered.saturating_add(1);
            }
            let behind = per_sample(batch.waiting());
            let Some(pcm) = batch.another() else { break };
            len = rtp.another(behind, packet, |payload| encode(pcm, payload))?;
        }
        Some((at, sent))
    }

    /// The next 20 ms of the queue, as they are to be heard.
    fn next_interval(&mut self, io: &mut impl StreamIo) -> Interval {
        let tick = self.playout.tick(io);
        let frame = match &tick {
            Tick::Silence => &Frame::EMPTY,
            Tick::Audio { frame, .. }
            | Tick::Underrun { frame, .. }
            | Tick::Stopped { frame, .. } => frame,
        };
        let mut whole = [0; LINE_FRAME_SAMPLES_MAX];
        for (to, from) in whole.iter_mut().zip(frame.samples()) {
            *to = *from;
        }
        let samples = whole.get_mut(..self.frame).unwrap_or_default();
        self.duck_frame(&tick, samples);
        let edge = std::mem::take(&mut self.mute_edge);
        match (self.muted, edge) {
            (true, true) => {
                mix::fade_out(samples, self.rate);
            }
            (true, false) => samples.fill(0),
            (false, true) => mix::fade_in(samples, self.rate),
            (false, false) => {}
        }
        let quiet = frame.samples().is_empty() || (self.muted && !edge);
        let audio = if quiet { Audio::Silence } else { Audio::Talk };
        Interval { samples: whole, audio, tick }
    }

    /// Moves the gain within the frame, so that nothing clicks.
    fn duck_frame(&mut self, tick: &Tick, samples: &mut [i16]) {
        let generation = match tick {
            Tick::Silence => None,
            Tick::Audio { generation, .. }
            | Tick::Underrun { generation, .. }
            | Tick::Stopped { generation, .. } => Some(*generation),
        };
        let ducked = generation.is_some() && generation == self.ducked;
        let gain = if ducked { DUCKED_GAIN } else { 1.0 };
        if gain < 1.0 || self.gain < 1.0 {
            mix::ramp(samples, self.gain, gain);
            self.gain = gain;
        }
    }

    fn record(&mut self, at: Instant, (audio, samples): (Audio, &[i16]), io: &mut impl StreamIo) {
        let position = match audio {
            Audio::Talk => self.tap.place(at, samples.len()),
            Audio::Silence => self.tap.place_silence(at),
        };
        if let Some(position) = position {
            let frame = Frame::new(samples);
            io.tap(TapFrame { channel: TapChannel::Agent, position, frame });
        }
    }

    fn report(&mut self, at: Instant, left: bool, interval: &Interval, io: &mut impl StreamIo) {
        let heard = left && interval.audio == Audio::Talk;
        if heard {
            self.last_audio = Some(at);
        }
        match interval.tick {
            Tick::Silence => {}
            Tick::Audio { generation, frame, finished } => {
                let sent = interval.samples.get(..self.frame).unwrap_or_default();
                self.progressed(at, generation, heard.then_some(sent), io);
                let Some(progress) = &mut self.progress else { return };
                progress.samples += frame.samples().len() as u64;
                let step = self.rate.samples_in_ms(REPORT_MS) as u64;
                if finished || progress.samples >= progress.reported + step {
                    progress.reported = progress.samples;
                    let samples = progress.samples;
                    io.event(MediaEvent::Played { generation, samples, finished });
                }
            }
            Tick::Underrun { generation, .. } => {
                if let Some(progress) = &mut self.progress {
                    progress.reported = progress.samples;
                    let samples = progress.samples;
                    io.event(MediaEvent::Played { generation, samples, finished: false });
                }
            }
            Tick::Stopped { generation, .. } => self.report_stopped(at, generation, io),
        }
    }

    /// Begins a generation's progress, and tells of its first packets.
    fn progressed(
        &mut self,
        at: Instant,
        generation: Generation,
        heard: Option<&[i16]>,
        io: &mut impl StreamIo,
    ) {
        let fresh = Progress {
            generation,
            samples: 0,
            reported: 0,
            packet_left: false,
            audible_left: false,
        };
        let progress = match &mut self.progress {
            Some(progress) if progress.generation == generation => progress,
            slot => slot.insert(fresh),
        };
        let Some(samples) = heard else { return };
        if !progress.packet_left {
            progress.packet_left = true;
            io.event(MediaEvent::FirstPacket { generation, at });
        }
        if !progress.audible_left && level::rms_dbfs(samples) > AUDIBLE_DBFS {
            progress.audible_left = true;
            io.event(MediaEvent::FirstAudible { generation, at });
        }
    }

    fn report_stopped(&mut self, now: Instant, generation: Generation, io: &mut impl StreamIo) {
        let samples = match self.progress {
            Some(progress) if progress.generation <= generation => progress.samples,
            _ => 0,
        };
        let at = self.last_audio.unwrap_or(now);
        io.event(MediaEvent::Stopped { generation, samples, at });
    }
}

/// `dtmf`: payload type and clock of telephone-event.
fn outbound_config(codec: CodecSpec, dtmf: Option<(u8, u32)>) -> OutboundConfig {
    let ticks = |clock_rate: u32| (clock_rate * FRAME_MS / 1_000) as u16;
    OutboundConfig {
        payload_type: codec.payload_type,
        dtmf_payload_type: dtmf.map(|(payload_type, _)| payload_type),
        frame_samples: ticks(codec.name.clock_rate()),
        event_units: dtmf.map_or(0, |(_, clock_rate)| ticks(clock_rate)),
        frame_ms: FRAME_MS as u16,
    }
}

/// Hands a frame on at 8 kHz, which is what detectors of echoes compare.
pub(super) fn narrow(samples: &[i16], take: impl FnOnce(&[i16])) {
    if samples.len() <= FRAME_SAMPLES_MAX_G711 {
        return take(samples);
    }
    let mut narrow = [0; FRAME_SAMPLES_MAX_G711];
    mix::halved(samples, &mut narrow);
    take(&narrow);
}

/// Frames on their way into packets that are longer or shorter than one.
#[derive(Default)]
struct Batch {
    /// Samples of a packet; 0 while packets are frames, which need no batch.
    packet: usize,
    waiting: Vec<i16>,
    /// Samples at the head of `waiting` that are packed already.
    packed: usize,
}

impl Batch {
    fn set(&mut self, packet: usize, frame: usize, rate: SampleRate) {
        self.packet = if packet == frame { 0 } else { packet };
        self.clear();
        if self.packet > 0 {
            self.waiting.reserve(rate.samples_in_ms(PTIME_MS_MAX + FRAME_MS));
        }
    }

    fn clear(&mut self) {
        self.waiting.clear();
        self.packed = 0;
    }

    /// Takes a frame in; returns how many samples wait before it.
    fn push(&mut self, frame: &[i16]) -> usize {
        if self.packet == 0 {
            return 0;
        }
        self.waiting.drain(..self.packed);
        self.packed = 0;
        let before = self.waiting.len();
        self.waiting.extend_from_slice(frame);
        before
    }

    /// The first packet of a tick.
    fn next<'a>(&'a mut self, frame: &'a [i16]) -> Option<&'a [i16]> {
        if self.packet == 0 { Some(frame) } else { self.another() }
    }

    /// The next packet, if there is a whole one.
    fn another(&mut self) -> Option<&[i16]> {
        let begin = self.packed;
        let end = begin + self.packet;
        if self.packet == 0 || end > self.waiting.len() {
            return None;
        }
        self.packed = end;
        self.waiting.get(begin..end)
    }

    /// Samples not packed yet.
    fn waiting(&self) -> usize {
        self.waiting.len() - self.packed
    }
}
