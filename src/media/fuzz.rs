//! Body of the fuzz target `media_ops`: datagrams, commands, audio and time in any order.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{
    Config, Frame, FrameSource, MediaCommand, MediaDirection, MediaEvent, PacketKind, PlayoutFrame,
    SourcePolicy, Stream, StreamFormat, StreamIo, TapChannel, TapFrame,
};
use crate::types::{CodecName, CodecSpec, Entropy, Generation};

/// Operations of one run; more only makes it longer.
const OPS_MAX: usize = 120;
/// Frames of the agent waiting, as in the call's ring.
const QUEUE_MAX: usize = 50;

/// Drives a stream with arbitrary operations of four octets (and a payload) each.
///
/// # Panics
/// When a promise is broken: audio of a stopped generation plays, packets leave faster than real time,
/// speech edges do not alternate, two frames of sound of one recorded channel overlap, or a wake is not reached.
pub fn media_ops(data: &[u8]) {
    #[expect(clippy::disallowed_methods, reason = "any instant serves as the origin")]
    let start = Instant::now();
    let mut entropy = Entropy::seeded(1);
    let stream = Stream::new(&Config::default(), start, Duration::ZERO, &mut entropy);
    assert!(stream.is_ok(), "default settings");
    let Ok(stream) = stream else { return };
    let mut run = Run { stream, oracle: Oracle::new(start), start, sequence: 0, timestamp: 0 };
    let mut rest = data;
    for _ in 0..OPS_MAX {
        let Some((op, after)) = rest.split_first_chunk::<4>() else { break };
        rest = run.step(*op, after);
    }
    run.stream.finish(run.oracle.now, &mut run.oracle);
    run.pace();
}

struct Run {
    stream: Stream,
    oracle: Oracle,
    start: Instant,
    sequence: u16,
    timestamp: u32,
}

struct Oracle {
    now: Instant,
    queue: std::collections::VecDeque<PlayoutFrame>,
    stopped: Option<Generation>,
    speaking: bool,
    sent: u64,
    ends: [u64; 2],
}

impl Oracle {
    fn new(now: Instant) -> Self {
        let queue = std::collections::VecDeque::new();
        Self { now, queue, stopped: None, speaking: false, sent: 0, ends: [0; 2] }
    }

    fn playing(&self, generation: Generation) {
        assert!(self.stopped.is_none_or(|stopped| generation > stopped), "stale audio plays");
    }
}

impl FrameSource for Oracle {
    fn next_frame(&mut self) -> Option<PlayoutFrame> {
        self.queue.pop_front()
    }
}

impl StreamIo for Oracle {
    fn send(&mut self, kind: PacketKind, _to: SocketAddr, datagram: &[u8]) -> Instant {
        assert!(datagram.len() >= 8, "no packet at all");
        assert_eq!(datagram.first().map(|first| first >> 6), Some(2), "the version of RTP");
        // Multiplexed control shares the port; its packet types are 200 to 204.
        let control = datagram.get(1).is_some_and(|second| (200..=204).contains(second));
        self.sent += u64::from(kind == PacketKind::Rtp && !control);
        self.now
    }

    fn event(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Frame { frame, .. } => assert_eq!(frame.samples().len(), 160),
            MediaEvent::SpeechStarted { .. } => {
                assert!(!self.speaking, "speech starts twice");
                self.speaking = true;
            }
            MediaEvent::SpeechEnded { .. } => {
                assert!(self.speaking, "speech ends that did not start");
                self.speaking = false;
            }
            MediaEvent::Digit { digit } => assert!(b"0123456789*#ABCD".contains(&digit)),
            MediaEvent::FirstPacket { generation, .. }
            | MediaEvent::FirstAudible { generation, .. } => self.playing(generation),
            MediaEvent::Played { .. }
            | MediaEvent::Stopped { .. }
            | MediaEvent::DigitsSent
            | MediaEvent::MediaTimeout
            | MediaEvent::RtcpBye
            | MediaEvent::Keyed
            | MediaEvent::KeyingFailed(_) => {}
        }
    }

    fn tap(&mut self, frame: TapFrame) {
        // Silence only shows that time passes, and sound may take its place.
        if frame.frame.samples().iter().all(|sample| *sample == 0) {
            return;
        }
        let [caller, agent] = &mut self.ends;
        let end = match frame.channel {
            TapChannel::Caller => caller,
            TapChannel::Agent => agent,
        };
        assert!(frame.position >= *end, "the recording writes over itself");
        *end = frame.position + frame.frame.samples().len() as u64;
    }
}

impl Run {
    /// Does one operation; returns what follows it.
    fn step<'a>(&mut self, [op, a, b, c]: [u8; 4], after: &'a [u8]) -> &'a [u8] {
        match op % 10 {
            0..=2 => {
                self.pass(Duration::from_millis(20));
                return self.voice([a, b, c], after);
            }
            3 => self.pass(Duration::from_micros(u64::from(a) * u64::from(b) * 2)),
            4 => self.say(a, b, c),
            5 => self.command(a, b, c),
            6 => self.configure(a, b),
            7 | 8 => {
                let (datagram, after) = after.split_at(usize::from(c).min(after.len()));
                let from = peer(a);
                if op % 10 == 7 {
                    self.stream.handle_rtp(self.oracle.now, from, datagram, &mut self.oracle);
                } else {
                    self.stream.handle_rtcp(self.oracle.now, from, datagram, &mut self.oracle);
                }
                return after;
            }
            _ => {
                self.oracle.now += Duration::from_millis(u64::from(a) * u64::from(b));
                self.stream.handle_timeout(self.oracle.now, &mut self.oracle);
            }
        }
        after
    }

    /// Time passes as an attentive thread would let it.
    fn pass(&mut self, duration: Duration) {
        let end = self.oracle.now + duration;
        for _ in 0..=duration.as_millis() / 20 + 2 {
            let wake = self.stream.next_wake();
            if wake > end {
                self.oracle.now = end;
                return;
            }
            self.oracle.now = self.oracle.now.max(wake);
            self.stream.handle_timeout(self.oracle.now, &mut self.oracle);
        }
        assert!(self.stream.next_wake() > end, "a wake is never reached");
        self.oracle.now = end;
    }

    /// A well-formed packet of the expected source, whose order the octets disturb.
    fn voice<'a>(&mut self, [a, b, c]: [u8; 3], after: &'a [u8]) -> &'a [u8] {
        let jump = if a < 16 { i16::from(b as i8) } else { 1 };
        self.sequence = self.sequence.wrapping_add_signed(jump);
        self.timestamp = self.timestamp.wrapping_add_signed(i32::from(jump) * 160);
        let (payload, after) = after.split_at(usize::from(c).min(after.len()));
        let mut datagram = vec![0x80, 0];
        datagram.extend(self.sequence.to_be_bytes());
        datagram.extend(self.timestamp.to_be_bytes());
        datagram.extend([0, 0, 0, 1]);
        let silence = [0xff];
        let pattern = if payload.is_empty() { &silence[..] } else { payload };
        datagram.extend(pattern.iter().cycle().take(160));
        self.stream.handle_rtp(self.oracle.now, peer(0), &datagram, &mut self.oracle);
        after
    }

    fn say(&mut self, a: u8, b: u8, c: u8) {
        let silent = self.stream.is_silent();
        let frame = Frame::new(&[i16::from(c) * 100; 160]);
        for n in 0..usize::from(b % 16) {
            if self.oracle.queue.len() < QUEUE_MAX {
                let last = c & 1 == 1 && n + 1 == usize::from(b % 16);
                let generation = Generation(u32::from(a % 8));
                self.oracle.queue.push_back(PlayoutFrame { frame, generation, last });
            }
        }
        if silent {
            self.stream.audio_waits(self.oracle.now, &mut self.oracle);
        }
    }

    fn command(&mut self, a: u8, b: u8, c: u8) {
        let command = match a % 4 {
            0 => {
                let generation = Generation(u32::from(b % 8));
                self.oracle.stopped = self.oracle.stopped.max(Some(generation));
                MediaCommand::StopPlayback { generation }
            }
            1 => MediaCommand::SendDigit {
                digit: b,
                duration_ms: u16::from(c) * 8,
                gap_ms: u16::from(a),
            },
            2 => MediaCommand::MuteAgent(b & 1 == 0),
            _ => MediaCommand::MuteCaller(b & 1 == 0),
        };
        self.stream.handle_command(self.oracle.now, command, &mut self.oracle);
    }

    fn configure(&mut self, a: u8, b: u8) {
        let name = if a & 1 == 0 { CodecName::Pcmu } else { CodecName::Pcma };
        let codec = CodecSpec::with_static_payload_type(name);
        let events = (a & 2 == 0).then_some(101);
        let direction = match b & 7 {
            0 => MediaDirection::Inactive,
            1 => MediaDirection::SendOnly,
            2 => MediaDirection::RecvOnly,
            _ => MediaDirection::SendRecv,
        };
        let mut remote_rtcp = peer(0);
        remote_rtcp.set_port(if a & 8 == 0 { 4_001 } else { 4_000 });
        let format = StreamFormat {
            remote_rtp: peer(0),
            remote_rtcp,
            codec,
            alternate: None,
            send_ptime_ms: 20,
            send_payload_type: codec.payload_type,
            dtmf_receive_pt: events,
            dtmf_send_pt: events,
            dtmf_clock_rate: 8_000,
            direction,
            source_policy: if a & 4 == 0 { SourcePolicy::Strict } else { SourcePolicy::Learn },
            srtp: None,
            dtls: None,
            ice: None,
        };
        let now = self.oracle.now;
        self.stream.handle_command(now, MediaCommand::Configure(format), &mut self.oracle);
    }

    /// One packet every 20 ms, plus the first and the one that leaves before its time.
    fn pace(&self) {
        let passed = self.oracle.now - self.start;
        let due = passed.as_millis() as u64 / 20 + 2;
        assert!(self.oracle.sent <= due, "{} packets instead of {due}", self.oracle.sent);
    }
}

/// Who sends: the agreed address, or one of a few others.
fn peer(which: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1 + which % 3], 4_000 + u16::from(which / 128)))
}
