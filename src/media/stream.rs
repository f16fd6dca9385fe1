//! One stream's whole voice path: both directions, their control protocol and the watch for silence.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::background::Background;
use super::event::{MediaCommand, MediaDirection, MediaEvent, StreamFormat};
use super::inbound::Inbound;
use super::io::{PacketKind, StreamIo};
use super::outbound::Outbound;
use super::protection::Protection;
use crate::audio::VadConfig;
use crate::audio::vad::VadError;
use crate::rtp::rtcp::{Control, Farewell, RemoteReport, Sending};
use crate::rtp::srtp::{self, SrtpError};
use crate::rtp::{InboundStats, OutboundStats, Received};
use crate::types::{DtlsPlan, Entropy, IceCredentials, KeyingFailure, SampleRate, SrtpKeys};

/// A compound report with its name, and room.
const RTCP_BYTES: usize = 512;

/// Settings of a voice path.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How speech is told from everything else.
    pub vad: VadConfig,
    /// What sounds behind the agent.
    pub background: Option<Arc<Background>>,
    /// Packets held back for a missing one on the way to recognition, 0 to 2.
    pub reorder: u8,
    /// Rate of the line; `None`: that of the first codec that is agreed on.
    pub rate: Option<SampleRate>,
    /// No packet at all for this long after the format is known: the call has no audio.
    pub initial_timeout: Duration,
    /// Neither RTP nor RTCP for this long after there was some. Does not run on hold.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vad: VadConfig::default(),
            background: None,
            reorder: 1,
            rate: None,
            initial_timeout: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
        }
    }
}

/// Why a voice path cannot be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The detector's settings.
    #[error(transparent)]
    Vad(#[from] VadError),
    /// More than the express path holds.
    #[error("set `reorder`: must be from 0 to 2")]
    Reorder,
}

/// What a stream counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// Received.
    pub inbound: InboundStats,
    /// Sent.
    pub outbound: OutboundStats,
    /// What the peer says of what we sent.
    pub remote: Option<RemoteReport>,
    /// Intervals in which the agent's audio came too late.
    pub underruns: u64,
    /// Frames of the agent dropped because they were stopped.
    pub stale_frames: u64,
    /// Intervals skipped because we were woken too late.
    pub skipped: u64,
    /// Delay of the recording's jitter buffer, in milliseconds.
    pub jitter_delay_ms: u32,
}

/// Whether the peer is missed.
#[derive(Clone, Copy, Debug)]
enum Watch {
    /// No format yet, or the direction lets nothing come.
    Off,
    /// From this moment on, or from what was heard later.
    Since(Instant),
    /// Told; begins anew when something is heard.
    Told(Instant),
}

/// Both directions of one stream.
pub struct Stream {
    config: Config,
    format: Option<StreamFormat>,
    rate: SampleRate,
    inbound: Inbound,
    outbound: Outbound,
    control: Control,
    watch: Watch,
    srtp: Protection<srtp::Receiver>,
    unauthenticated: u64,
    replayed: u64,
    /// Where checks of an ICE session say that our packets go.
    nominated: Option<(IceCredentials, SocketAddr)>,
}

impl Stream {
    /// A stream that is silent until [`MediaCommand::Configure`]. `phase` spreads the streams of a
    /// thread over the 20 ms interval.
    ///
    /// # Errors
    /// When a setting is outside its range.
    pub fn new(
        config: &Config,
        start: Instant,
        phase: Duration,
        entropy: &mut Entropy,
    ) -> Result<Self, ConfigError> {
        if config.reorder > crate::rtp::express::REORDER_MAX {
            return Err(ConfigError::Reorder);
        }
        let mut outbound = Outbound::new(start, phase, entropy);
        outbound.set_background(config.background.clone());
        let control = Control::new(start, outbound.rtp().ssrc(), entropy.fork());
        Ok(Self {
            inbound: Inbound::new(start, &config.vad)?,
            outbound,
            control,
            format: None,
            rate: SampleRate::HZ_8000,
            watch: Watch::Off,
            srtp: Protection::Clear,
            unauthenticated: 0,
            replayed: 0,
            nominated: None,
            config: config.clone(),
        })
    }

    /// Rate of frames and recording: settled by the first agreement.
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// When [`Stream::handle_timeout`] is to be called: at most 20 ms away.
    pub fn next_wake(&self) -> Instant {
        self.outbound.next_wake()
    }

    /// Whether the next frame of audio is to be announced by [`Stream::audio_waits`].
    pub fn is_silent(&self) -> bool {
        self.outbound.is_silent()
    }

    /// Does what the call asks.
    pub fn handle_command(&mut self, now: Instant, command: MediaCommand, io: &mut impl StreamIo) {
        match command {
            MediaCommand::Configure(format) => self.configure(now, format),
            MediaCommand::StopPlayback { generation } => self.outbound.stop(now, generation, io),
            MediaCommand::PausePlayback { generation } => self.outbound.pause(generation),
            MediaCommand::DuckPlayback { generation } => self.outbound.duck(generation),
            MediaCommand::ResumePlayback { generation } => self.outbound.resume(generation),
            MediaCommand::SendDigit { digit, duration_ms, gap_ms } => {
                if !self.outbound.send_digit(digit, duration_ms, gap_ms) {
                    // Whoever waits for the end of the digits must not wait for ever.
                    io.event(MediaEvent::DigitsSent);
                }
            }
            MediaCommand::MuteAgent(muted) => self.outbound.mute(muted),
            MediaCommand::MuteCaller(muted) => self.inbound.mute(muted),
        }
    }

    /// Takes a datagram of the RTP port.
    pub fn handle_rtp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        io: &mut impl StreamIo,
    ) {
        if is_handshake(datagram, self.format.as_ref()) {
            return io.handshake(from, datagram);
        }
        // Before everything else: an address or a source must not be learned from what is not authentic.
        let opened = match (&mut self.srtp, is_control(datagram)) {
            (Protection::Clear, _) => Ok(datagram),
            (Protection::Keyed(receiver), false) => receiver.open(datagram),
            (Protection::Keyed(receiver), true) => receiver.open_control(datagram),
            (Protection::Closed, _) => Err(SrtpError::Authentication),
        };
        let datagram = match opened {
            Ok(datagram) => datagram,
            Err(error) => return count(error, &mut self.unauthenticated, &mut self.replayed),
        };
        match self.inbound.handle(now, from, datagram, (self.outbound.echo(), io)) {
            Received::Dropped => {}
            Received::Control => {
                control_heard(&mut self.control, &mut self.inbound, (now, datagram), io);
            }
            Received::Audio | Received::Key | Received::ComfortNoise => self.outbound.peer_heard(),
        }
    }

    /// Takes a datagram of the RTCP port.
    pub fn handle_rtcp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        io: &mut impl StreamIo,
    ) {
        let Some(rtp) = self.inbound.rtp() else { return };
        let opened = match &mut self.srtp {
            Protection::Clear => Ok(datagram),
            Protection::Keyed(receiver) => receiver.open_control(datagram),
            Protection::Closed => Err(SrtpError::Authentication),
        };
        match opened {
            Ok(datagram) if rtp.receive_control(now, from) == Received::Control => {
                control_heard(&mut self.control, &mut self.inbound, (now, datagram), io);
            }
            Ok(_) => {}
            Err(error) => count(error, &mut self.unauthenticated, &mut self.replayed),
        }
    }

    /// The keys of an agreement are here, exchanged with whoever is at `from`.
    pub fn keyed(
        &mut self,
        now: Instant,
        plan: DtlsPlan,
        (keys, from): (SrtpKeys, SocketAddr),
        io: &mut impl StreamIo,
    ) {
        // Another agreement has taken its place.
        if self.plan() != Some(plan) {
            return;
        }
        self.protect_with(Some(keys));
        self.outbound.peer_heard();
        if let Some(rtp) = self.inbound.rtp() {
            rtp.accept(from);
        }
        if let Watch::Since(_) = self.watch {
            self.watch = Watch::Since(now);
        }
        io.event(MediaEvent::Keyed);
    }

    /// There will be no keys of an agreement. Those of the one before it may serve on.
    pub fn keying_failed(&mut self, plan: DtlsPlan, why: KeyingFailure, io: &mut impl StreamIo) {
        if self.plan() == Some(plan) && matches!(self.srtp, Protection::Closed) {
            io.event(MediaEvent::KeyingFailed(why));
        }
    }

    /// The call pushed audio into a silent stream: it leaves at once.
    pub fn audio_waits(&mut self, now: Instant, io: &mut impl StreamIo) {
        if let Some(peer) = self.peer() {
            self.outbound.audio_waits(now, peer, io);
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, io: &mut impl StreamIo) {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        // Without a format nothing is sent, but time passes.
        let peer = self.peer().unwrap_or(nowhere);
        self.outbound.handle_timeout(now, peer, io);
        self.inbound.handle_timeout(now, self.outbound.echo(), io);
        if self.format.is_some() && self.control.next_wake() <= now {
            self.send_control(now, Farewell::No, io);
        }
        self.watch(now, io);
    }

    /// The stream ends: says goodbye.
    pub fn finish(&mut self, now: Instant, io: &mut impl StreamIo) {
        if self.format.is_some() {
            self.send_control(now, Farewell::Bye, io);
        }
    }

    /// What was counted.
    pub fn stats(&self) -> StreamStats {
        let (underruns, stale_frames) = self.outbound.losses();
        StreamStats {
            inbound: InboundStats {
                unauthenticated: self.unauthenticated,
                replayed: self.replayed,
                ..self.inbound.stats()
            },
            outbound: self.outbound.rtp().stats(),
            remote: self.control.remote_report(),
            underruns,
            stale_frames,
            skipped: self.outbound.skipped(),
            jitter_delay_ms: self.inbound.jitter_delay_ms(),
        }
    }

    /// The peer's checks say where our packets go.
    pub fn nominated(&mut self, now: Instant, ice: IceCredentials, at: SocketAddr) {
        let Some(format) = self.format.filter(|format| format.ice == Some(ice)) else { return };
        self.nominated = Some((ice, at));
        self.configure(now, format);
        // Who asks for packets gets them, heard or not.
        self.outbound.peer_heard();
    }

    fn configure(&mut self, now: Instant, mut format: StreamFormat) {
        if let Some((of, at)) = self.nominated
            && format.ice == Some(of)
        {
            (format.remote_rtp, format.remote_rtcp) = (at, at);
        }
        if self.format.is_none() {
            let rate = line_rate(&self.config, &format);
            if self.inbound.set_rate(rate, &self.config.vad) {
                self.outbound.set_rate(rate);
                self.rate = rate;
            }
        }
        self.inbound.configure(now, &format, self.config.reorder);
        let mut sending = format;
        if format.remote_rtp.ip().is_unspecified() {
            // Nobody is there, or nobody knows where.
            sending.direction = match format.direction {
                MediaDirection::SendRecv => MediaDirection::RecvOnly,
                MediaDirection::SendOnly => MediaDirection::Inactive,
                other => other,
            };
        }
        self.outbound.configure(&sending);
        match (format.dtls, self.plan()) {
            (None, _) => self.protect_with(format.srtp),
            // Keys of this peer serve until there are others.
            (Some(new), Some(old)) if new.peer == old.peer => {}
            (Some(_), _) => {
                self.srtp = Protection::Closed;
                self.outbound.srtp = Protection::Closed;
            }
        }
        self.watch = match (format.direction.receives(), self.watch) {
            (false, _) => Watch::Off,
            (true, Watch::Off) => Watch::Since(now),
            (true, running) => running,
        };
        self.format = Some(format);
    }

    fn plan(&self) -> Option<DtlsPlan> {
        self.format.and_then(|format| format.dtls)
    }

    fn protect_with(&mut self, keys: Option<SrtpKeys>) {
        self.srtp.agree(keys.map(|keys| keys.receive));
        self.outbound.srtp.agree(keys.map(|keys| keys.send));
    }

    fn peer(&mut self) -> Option<SocketAddr> {
        self.inbound.rtp().map(|rtp| rtp.peer())
    }

    fn send_control(&mut self, now: Instant, farewell: Farewell, io: &mut impl StreamIo) {
        let Some(rtp) = self.inbound.rtp() else { return };
        let (media, to) = (rtp.peer(), rtp.control_peer());
        let reception = rtp.summarize();
        let outbound = self.outbound.rtp();
        let sending = Sending { stats: outbound.stats(), timestamp: outbound.timestamp() };
        let mut datagram = [0u8; RTCP_BYTES];
        let written = self.control.write(now, sending, reception, farewell, &mut datagram);
        let protected = written.and_then(|len| self.outbound.protect_control(&mut datagram, len));
        // Keys are those of one port (RFC 5764 section 4.1): beside it there are none.
        let keyed = self.plan().is_none() || to == media;
        let goes = keyed && !to.ip().is_unspecified();
        if let Some(datagram) = protected.and_then(|len| datagram.get(..len)).filter(|_| goes) {
            // Multiplexed control comes from the port media comes from (RFC 5761).
            let kind = if to == media { PacketKind::Rtp } else { PacketKind::Rtcp };
            io.send(kind, to, datagram);
        }
    }

    fn watch(&mut self, now: Instant, io: &mut impl StreamIo) {
        let heard = self.inbound.rtp().and_then(|rtp| rtp.last_heard());
        match self.watch {
            Watch::Off => {}
            Watch::Since(since) => {
                let (from, limit) = match heard {
                    Some(heard) => (heard.max(since), self.config.timeout),
                    None => (since, self.config.initial_timeout),
                };
                if now.saturating_duration_since(from) >= limit {
                    self.watch = Watch::Told(now);
                    io.event(MediaEvent::MediaTimeout);
                }
            }
            Watch::Told(at) => {
                if heard.is_some_and(|heard| heard > at) {
                    self.watch = Watch::Since(at);
                }
            }
        }
    }
}

/// Rate of a line whose first agreement is `format`.
pub fn line_rate(config: &Config, format: &StreamFormat) -> SampleRate {
    config.rate.unwrap_or_else(|| format.codec.name.sample_rate())
}

/// Whether a datagram of the RTP port is RTCP (RFC 5761 section 4).
fn is_control(datagram: &[u8]) -> bool {
    matches!(datagram, [_, 192..=223, ..])
}

/// Whether a datagram of the RTP port is DTLS or a check of connectivity (RFC 7983 section 7), where the agreement has
/// either. Before it, it may.
fn is_handshake(datagram: &[u8], format: Option<&StreamFormat>) -> bool {
    match datagram {
        [0..=3, ..] => format.is_none_or(|format| format.ice.is_some()),
        [20..=63, ..] => format.is_none_or(|format| format.dtls.is_some()),
        _ => false,
    }
}

fn count(error: SrtpError, unauthenticated: &mut u64, replayed: &mut u64) {
    match error {
        SrtpError::Replay => *replayed += 1,
        SrtpError::Size | SrtpError::Authentication => *unauthenticated += 1,
    }
}

fn control_heard(
    control: &mut Control,
    inbound: &mut Inbound,
    (now, datagram): (Instant, &[u8]),
    io: &mut impl StreamIo,
) {
    let ssrc = inbound.rtp().and_then(|rtp| rtp.remote_ssrc());
    if control.handle(now, datagram, ssrc).bye {
        io.event(MediaEvent::RtcpBye);
    }
}
