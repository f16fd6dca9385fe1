//! Two voice paths on a virtual clock, joined by a network that can lose, swap and delay.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::*;
use crate::audio::level::rms_dbfs;
use crate::types::{CodecName, CodecSpec, Entropy, Generation, SrtpKey, SrtpKeys, SrtpSuite};

mod allocations;
mod drift;
mod gaps;
mod ice;
mod srtp;
mod wide;

const ALICE: ([u8; 4], u16) = ([192, 0, 2, 1], 20_000);
const BOB: ([u8; 4], u16) = ([192, 0, 2, 2], 30_000);

/// Surroundings of one side, with everything it did.
struct Io {
    now: Instant,
    sent: Vec<(PacketKind, Vec<u8>)>,
    /// Where it went.
    went: Vec<SocketAddr>,
    events: Vec<MediaEvent>,
    taps: Vec<TapFrame>,
    queue: VecDeque<PlayoutFrame>,
}

impl FrameSource for Io {
    fn next_frame(&mut self) -> Option<PlayoutFrame> {
        self.queue.pop_front()
    }
}

impl StreamIo for Io {
    fn send(&mut self, kind: PacketKind, to: SocketAddr, datagram: &[u8]) -> Instant {
        self.went.push(to);
        self.sent.push((kind, datagram.to_vec()));
        self.now
    }

    fn event(&mut self, event: MediaEvent) {
        self.events.push(event);
    }

    fn tap(&mut self, frame: TapFrame) {
        self.taps.push(frame);
    }
}

struct Side {
    stream: Stream,
    io: Io,
    address: SocketAddr,
}

impl Side {
    fn new(start: Instant, seed: u64, address: ([u8; 4], u16)) -> Self {
        let config = Config::default();
        let mut entropy = Entropy::seeded(seed);
        let phase = Duration::from_millis(seed % 20);
        let stream = Stream::new(&config, start, phase, &mut entropy).unwrap();
        let (sent, events, taps) = (Vec::new(), Vec::new(), Vec::new());
        let io = Io { now: start, sent, went: Vec::new(), events, taps, queue: VecDeque::new() };
        Self { stream, io, address: SocketAddr::from(address) }
    }

    fn command(&mut self, now: Instant, command: MediaCommand) {
        self.io.now = now;
        self.stream.handle_command(now, command, &mut self.io);
    }

    fn say(&mut self, generation: u32, frames: usize, hz: f32, last: bool) {
        for n in 0..frames {
            let frame = Frame::new(&tone(hz, n * 160, 160));
            let last = last && n + 1 == frames;
            self.io.queue.push_back(PlayoutFrame {
                frame,
                generation: Generation(generation),
                last,
            });
        }
    }

    fn heard(&self) -> Vec<i16> {
        let frames = self.io.events.iter().filter_map(|event| match event {
            MediaEvent::Frame { frame, .. } => Some(frame),
            _ => None,
        });
        frames.flat_map(|frame| frame.samples().to_vec()).collect()
    }

    fn rtp_sent(&self) -> Vec<&[u8]> {
        let rtp = self.io.sent.iter().filter(|(kind, _)| *kind == PacketKind::Rtp);
        rtp.map(|(_, bytes)| bytes.as_slice()).collect()
    }
}

fn tone(hz: f32, from: usize, len: usize) -> Vec<i16> {
    (from..from + len)
        .map(|n| ((n as f32 * hz * std::f32::consts::TAU / 8_000.0).sin() * 8_000.0) as i16)
        .collect()
}

/// Share of a block's energy at one frequency (Goertzel).
fn share(samples: &[i16], hz: f32) -> f32 {
    let mut bank = crate::audio::tone::Goertzel::new([hz], crate::types::SampleRate::HZ_8000);
    samples.iter().for_each(|sample| bank.push(f32::from(*sample)));
    let energy: f32 = samples.iter().map(|s| f32::from(*s) * f32::from(*s)).sum();
    bank.take()[0] * 2.0 / (energy.max(1.0) * samples.len() as f32)
}

fn format(remote: ([u8; 4], u16)) -> StreamFormat {
    let remote_rtp = SocketAddr::from(remote);
    StreamFormat {
        remote_rtp,
        remote_rtcp: SocketAddr::new(remote_rtp.ip(), remote_rtp.port() + 1),
        codec: CodecSpec::with_static_payload_type(CodecName::Pcmu),
        alternate: None,
        send_ptime_ms: 20,
        send_payload_type: 0,
        dtmf_receive_pt: Some(101),
        dtmf_send_pt: Some(101),
        dtmf_clock_rate: 8_000,
        direction: MediaDirection::SendRecv,
        source_policy: SourcePolicy::Strict,
        srtp: None,
        dtls: None,
        ice: None,
    }
}

/// What the network does with packet `n` from Alice to Bob.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Passes,
    Lost,
    /// Comes after the next one.
    Swapped,
}

struct Pair {
    now: Instant,
    alice: Side,
    bob: Side,
    fate: fn(usize) -> Fate,
    count: usize,
    held: Option<Vec<u8>>,
}

impl Pair {
    fn new() -> Self {
        let now = crate::net::clock::now();
        let mut alice = Side::new(now, 1, ALICE);
        let mut bob = Side::new(now, 9, BOB);
        alice.command(now, MediaCommand::Configure(format(BOB)));
        bob.command(now, MediaCommand::Configure(format(ALICE)));
        Self { now, alice, bob, fate: |_| Fate::Passes, count: 0, held: None }
    }

    /// Lets time pass in steps of 1 ms.
    fn run(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now += Duration::from_millis(1);
            for side in [&mut self.alice, &mut self.bob] {
                side.io.now = self.now;
                if side.stream.next_wake() <= self.now {
                    side.stream.handle_timeout(self.now, &mut side.io);
                }
            }
            self.deliver();
        }
    }

    fn deliver(&mut self) {
        let Self { now, alice, bob, .. } = self;
        for (kind, bytes) in alice.io.sent.drain(..) {
            if kind == PacketKind::Rtcp {
                let from = SocketAddr::new(alice.address.ip(), alice.address.port() + 1);
                bob.stream.handle_rtcp(*now, from, &bytes, &mut bob.io);
                continue;
            }
            let fate = (self.fate)(self.count);
            self.count += 1;
            if fate == Fate::Swapped {
                self.held = Some(bytes);
                continue;
            }
            if fate == Fate::Passes {
                bob.stream.handle_rtp(*now, alice.address, &bytes, &mut bob.io);
            }
            if let Some(held) = self.held.take() {
                bob.stream.handle_rtp(*now, alice.address, &held, &mut bob.io);
            }
        }
        for (kind, bytes) in bob.io.sent.drain(..) {
            if kind == PacketKind::Rtp {
                alice.stream.handle_rtp(*now, bob.address, &bytes, &mut alice.io);
            }
        }
    }
}

#[test]
fn a_tone_crosses_in_order_and_at_full_length() {
    for fate in [|_| Fate::Passes, |n| if n % 10 == 4 { Fate::Swapped } else { Fate::Passes }] {
        let mut pair = Pair::new();
        pair.fate = fate;
        pair.alice.say(1, 50, 440.0, true);
        pair.run(1_200);
        let heard = pair.bob.heard();
        let audible = heard.chunks(160).filter(|frame| share(frame, 440.0) > 0.9).count();
        assert!((49..=50).contains(&audible), "{audible} frames of the tone");
        assert!((55..=60).contains(&(heard.len() / 160)), "{}", heard.len() / 160);
    }
}

#[test]
fn lost_frames_are_concealed_and_the_length_of_time_is_true() {
    let mut pair = Pair::new();
    pair.fate = |n| if n % 10 == 4 { Fate::Lost } else { Fate::Passes };
    pair.alice.say(1, 100, 440.0, true);
    pair.run(2_000);
    let heard = pair.bob.heard();
    assert!((97..=100).contains(&(heard.len() / 160)), "{}", heard.len() / 160);
    let silent = heard.chunks(160).take(95).filter(|frame| rms_dbfs(frame) < -40.0).count();
    assert_eq!(silent, 0, "a lost frame is concealed, not silence");
    assert!(pair.bob.stream.stats().inbound.express_lost >= 9);
}

#[test]
fn progress_is_told_from_the_first_packet_to_the_last() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        let frame = Frame::new(&[0; 160]);
        let quiet = PlayoutFrame { frame, generation: Generation(4), last: false };
        pair.alice.io.queue.push_back(quiet);
    }
    pair.alice.say(4, 20, 300.0, true);
    pair.run(600);
    let (mut packet, mut audible, mut played) = (None, None, Vec::new());
    for event in &pair.alice.io.events {
        match event {
            MediaEvent::FirstPacket { generation: Generation(4), at } => packet = Some(*at),
            MediaEvent::FirstAudible { generation: Generation(4), at } => audible = Some(*at),
            MediaEvent::Played { samples, finished, .. } => played.push((*samples, *finished)),
            _ => {}
        }
    }
    assert_eq!(audible.unwrap() - packet.unwrap(), Duration::from_millis(60));
    assert_eq!(played.last(), Some(&(23 * 160, true)));
    assert_eq!(played.len(), 5, "every 100 ms and at the end: {played:?}");
}

#[test]
fn a_stop_is_silence_on_the_line_within_one_frame() {
    let mut pair = Pair::new();
    pair.alice.say(1, 500, 440.0, false);
    pair.run(300);
    let decided = pair.now;
    pair.alice.command(decided, MediaCommand::StopPlayback { generation: Generation(1) });
    pair.run(20);
    let stopped = pair.alice.io.events.iter().find_map(|event| match event {
        MediaEvent::Stopped { generation: Generation(1), samples, at } => Some((*samples, *at)),
        _ => None,
    });
    let (samples, at) = stopped.expect("within one frame");
    assert!(at - decided <= Duration::from_millis(20));
    assert!((14 * 160..=16 * 160).contains(&samples), "{samples}");
    let before = pair.bob.heard().len();
    pair.alice.say(1, 20, 440.0, false);
    pair.run(400);
    let after = pair.bob.heard();
    assert!(after[before..].iter().all(|sample| sample.abs() <= 8), "stale audio was heard");
    assert_eq!(pair.alice.io.queue.len(), 0);
}

#[test]
fn speech_after_silence_leaves_at_once_and_the_debt_is_paid_back() {
    let mut pair = Pair::new();
    pair.run(1_005);
    let before = pair.count;
    assert!((49..=51).contains(&before), "silence is sent at full pace: {before}");
    let grid = pair.alice.stream.next_wake();
    assert!(grid > pair.now + Duration::from_millis(2), "the test needs a wait to save");
    pair.alice.say(1, 1, 440.0, true);
    pair.alice.io.now = pair.now;
    pair.alice.stream.audio_waits(pair.now, &mut pair.alice.io);
    assert_eq!(pair.alice.rtp_sent().len(), 1, "the first packet does not wait for the grid");
    let sent_at = pair.alice.io.events.iter().find_map(|event| match event {
        MediaEvent::FirstAudible { at, .. } => Some(*at),
        _ => None,
    });
    assert_eq!(sent_at, Some(pair.now));
    pair.run(2_000);
    let offset = pair.alice.stream.next_wake() - grid;
    assert_eq!(offset.as_millis() % 20, 0, "back on the old grid");
}

#[test]
fn an_underrun_is_survived() {
    let mut pair = Pair::new();
    pair.alice.say(1, 5, 440.0, false);
    pair.run(300);
    pair.alice.say(1, 5, 440.0, true);
    pair.run(300);
    assert_eq!(pair.alice.stream.stats().underruns, 1);
    let finished = pair.alice.io.events.iter().any(
        |event| matches!(event, MediaEvent::Played { samples, finished: true, .. } if *samples == 1_600),
    );
    assert!(finished);
}

#[test]
fn digits_cross_as_events_and_as_tones() {
    for dtmf in [Some(101), None] {
        let mut pair = Pair::new();
        for (side, remote) in [(&mut pair.alice, BOB), (&mut pair.bob, ALICE)] {
            let agreed =
                StreamFormat { dtmf_receive_pt: dtmf, dtmf_send_pt: dtmf, ..format(remote) };
            side.command(pair.now, MediaCommand::Configure(agreed));
        }
        pair.run(100);
        for digit in *b"42#2" {
            let digit = MediaCommand::SendDigit { digit, duration_ms: 100, gap_ms: 80 };
            pair.alice.command(pair.now, digit);
        }
        pair.run(1_200);
        let digits = pair.bob.io.events.iter().filter_map(|event| match event {
            MediaEvent::Digit { digit } => Some(*digit),
            _ => None,
        });
        assert_eq!(digits.collect::<Vec<_>>(), *b"42#2", "{dtmf:?}");
        let sent = pair.alice.io.events.iter();
        assert_eq!(sent.filter(|event| matches!(event, MediaEvent::DigitsSent)).count(), 1);
    }
}

#[test]
fn mute_and_hold() {
    let mut pair = Pair::new();
    pair.alice.say(1, 200, 440.0, false);
    pair.run(200);
    pair.alice.command(pair.now, MediaCommand::MuteAgent(true));
    pair.run(60);
    let from = pair.bob.heard().len();
    pair.run(200);
    assert!(pair.bob.heard()[from..].iter().all(|sample| sample.abs() <= 8));
    pair.alice.command(pair.now, MediaCommand::MuteAgent(false));
    pair.bob.command(pair.now, MediaCommand::MuteCaller(true));
    pair.run(200);
    let from = pair.bob.heard().len();
    pair.run(200);
    assert!(pair.bob.heard()[from..].iter().all(|sample| *sample == 0));
    let hold = StreamFormat { direction: MediaDirection::Inactive, ..format(BOB) };
    pair.alice.command(pair.now, MediaCommand::Configure(hold));
    let (sent, waiting) = (pair.count, pair.alice.io.queue.len());
    pair.run(400);
    assert_eq!((pair.count, pair.alice.io.queue.len()), (sent, waiting));
    pair.alice.command(pair.now, MediaCommand::Configure(format(BOB)));
    pair.run(100);
    assert!(pair.count > sent && pair.alice.io.queue.len() < waiting);
}

#[test]
fn a_silent_peer_is_told_once_and_not_flooded() {
    let mut pair = Pair::new();
    pair.bob.command(pair.now, MediaCommand::Configure(format(ALICE)));
    for _ in 0..40_000 {
        pair.now += Duration::from_millis(1);
        pair.bob.io.now = pair.now;
        if pair.bob.stream.next_wake() <= pair.now {
            pair.bob.stream.handle_timeout(pair.now, &mut pair.bob.io);
        }
    }
    assert_eq!(pair.bob.rtp_sent().len(), 250);
    let timeouts = pair.bob.io.events.iter().filter(|e| matches!(e, MediaEvent::MediaTimeout));
    assert_eq!(timeouts.count(), 1);
}

#[test]
fn a_peer_that_falls_silent_is_missed_unless_on_hold() {
    for (direction, missed) in [(MediaDirection::SendRecv, 1), (MediaDirection::SendOnly, 0)] {
        let mut pair = Pair::new();
        pair.run(1_000);
        let agreed = StreamFormat { direction, ..format(ALICE) };
        pair.bob.command(pair.now, MediaCommand::Configure(agreed));
        for _ in 0..35_000 {
            pair.now += Duration::from_millis(1);
            if pair.bob.stream.next_wake() <= pair.now {
                pair.bob.stream.handle_timeout(pair.now, &mut pair.bob.io);
            }
        }
        let timeouts = pair.bob.io.events.iter().filter(|e| matches!(e, MediaEvent::MediaTimeout));
        assert_eq!(timeouts.count(), missed, "{direction:?}");
    }
}

#[test]
fn a_key_heard_both_ways_is_one_press() {
    let mut pair = Pair::new();
    pair.run(100);
    // A gateway lets the tone through and sends the event as well.
    let mut tones = tones::ToneQueue::new(crate::types::SampleRate::HZ_8000);
    assert!(tones.push(b'7', 60, 0));
    while !tones.is_idle() {
        let mut samples = [0; 160];
        tones.fill(&mut samples);
        let (frame, generation) = (Frame::new(&samples), Generation(1));
        let frame = PlayoutFrame { frame, generation, last: tones.is_idle() };
        pair.alice.io.queue.push_back(frame);
    }
    pair.run(100);
    let digit = MediaCommand::SendDigit { digit: b'7', duration_ms: 100, gap_ms: 50 };
    pair.alice.command(pair.now, digit);
    pair.run(400);
    let digits = pair.bob.io.events.iter().filter(|e| matches!(e, MediaEvent::Digit { .. }));
    assert_eq!(digits.count(), 1);
}

#[test]
fn a_stranger_is_not_heard() {
    let mut pair = Pair::new();
    pair.run(100);
    let stranger = SocketAddr::from(([203, 0, 113, 7], 20_000));
    let mut packet = vec![0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
    packet.extend([0x10; 160]);
    let heard = pair.bob.heard().len();
    for n in 0..200u16 {
        packet[2..4].copy_from_slice(&n.to_be_bytes());
        pair.bob.stream.handle_rtp(pair.now, stranger, &packet, &mut pair.bob.io);
    }
    assert_eq!(pair.bob.heard().len(), heard);
    assert_eq!(pair.bob.stream.stats().inbound.wrong_source, 200);
}

#[test]
fn the_recording_shows_true_times() {
    let mut pair = Pair::new();
    let start = pair.now;
    pair.fate = |n| if n % 10 == 4 { Fate::Swapped } else { Fate::Passes };
    pair.run(503);
    pair.alice.say(1, 25, 440.0, true);
    // As the engine does when audio comes into silence.
    pair.alice.stream.audio_waits(pair.now, &mut pair.alice.io);
    pair.run(1_500);
    let sent = pair.alice.io.events.iter().find_map(|event| match event {
        MediaEvent::FirstAudible { at, .. } => Some((*at - start).as_millis() as i64),
        _ => None,
    });
    let sent = sent.unwrap();
    let first = |side: &Side, channel: TapChannel| {
        let is_sound = |tap: &&TapFrame| tap.frame.samples().iter().any(|sample| *sample != 0);
        let own = side.io.taps.iter().filter(|tap| tap.channel == channel);
        let mut frames: Vec<_> = own.filter(is_sound).collect();
        frames.sort_by_key(|tap| tap.position);
        assert!(frames.windows(2).all(|w| w[0].position + 160 <= w[1].position), "overlap");
        let tones: Vec<_> =
            frames.iter().filter(|tap| share(tap.frame.samples(), 440.0) > 0.9).collect();
        (tones[0].position as i64 / 8, tones.len())
    };
    // All of what is said is recorded, where it left: also the first packet, which does not wait for the
    // tick at which silence would have left.
    let (agent, tones) = first(&pair.alice, TapChannel::Agent);
    assert_eq!(tones, 25);
    assert!((agent - sent).abs() <= 1, "{agent} {sent}");
    let (caller, tones) = first(&pair.bob, TapChannel::Caller);
    assert!((24..=25).contains(&tones), "{tones}");
    // The network takes no time here: a frame ends when it arrives, so it begins 20 ms before.
    assert!((caller - (sent - 20)).abs() <= 11, "{caller} {sent}");
}

#[test]
fn a_frame_in_and_a_frame_out_allocate_nothing() {
    /// Everything is looked at and nothing kept.
    struct Quiet(Instant, u64);
    impl FrameSource for Quiet {
        fn next_frame(&mut self) -> Option<PlayoutFrame> {
            let frame = Frame::new(&[1_000; 160]);
            Some(PlayoutFrame { frame, generation: Generation(1), last: false })
        }
    }
    impl StreamIo for Quiet {
        fn send(&mut self, kind: PacketKind, _to: SocketAddr, _datagram: &[u8]) -> Instant {
            self.1 += u64::from(kind == PacketKind::Rtp);
            self.0
        }
        fn event(&mut self, _event: MediaEvent) {}
        fn tap(&mut self, _frame: TapFrame) {}
    }
    for suite in [None].into_iter().chain(SrtpSuite::ALL.map(Some)) {
        let key = suite.map(|suite| SrtpKey::generate(suite, &mut Entropy::seeded(1)));
        let mut sender = key.map(|key| crate::rtp::srtp::Sender::new(key).unwrap());
        let srtp = key.map(|key| SrtpKeys { send: key, receive: key });
        let start = crate::net::clock::now();
        let mut side = Side::new(start, 3, BOB);
        side.command(start, MediaCommand::Configure(StreamFormat { srtp, ..format(ALICE) }));
        let mut io = Quiet(start, 0);
        let mut run = |count: u16, first: u16| {
            // Some are lost: what is made up for them costs no memory either.
            for n in (first..first + count).filter(|n| n % 10 != 4) {
                let now = start + Duration::from_millis(20 * u64::from(n));
                let mut datagram = [0u8; 192];
                datagram[0] = 0x80;
                datagram[2..4].copy_from_slice(&n.to_be_bytes());
                datagram[4..8].copy_from_slice(&(u32::from(n) * 160).to_be_bytes());
                let octets = datagram[..172].iter_mut().skip(12).enumerate();
                octets.for_each(|(at, octet)| *octet = (at as u8).wrapping_mul(37) ^ n as u8);
                io.0 = now;
                let sealed = sender.as_mut().and_then(|sender| sender.protect(&mut datagram, 172));
                let datagram = &datagram[..sealed.unwrap_or(172)];
                side.stream.handle_rtp(now, SocketAddr::from(ALICE), datagram, &mut io);
                side.stream.handle_timeout(now, &mut io);
            }
            io.1
        };
        run(100, 0);
        // 2 s without a report: those come every 2.5 to 7.5 s and may allocate.
        let mut least = u64::MAX;
        for round in 0..5 {
            let before = allocations::count();
            let sent = run(50, 100 + round * 50);
            assert!(sent >= 100 + u64::from(round) * 50);
            least = least.min(allocations::count() - before);
        }
        assert_eq!(least, 0, "allocations in 50 steady frames, {suite:?}");
        assert_eq!(side.stream.stats().inbound.packets, 315);
    }
}

/// The room is heard whether the agent speaks or not, and is nobody's speech.
#[test]
fn what_sounds_behind_the_agent_is_sent_recorded_and_no_turn_of_its() {
    let mut pair = Pair::new();
    let config = Config {
        background: Some(std::sync::Arc::new(Background::room(1.0))),
        ..Config::default()
    };
    let mut entropy = Entropy::seeded(1);
    pair.alice.stream = Stream::new(&config, pair.now, Duration::ZERO, &mut entropy).unwrap();
    pair.alice.command(pair.now, MediaCommand::Configure(format(BOB)));
    pair.run(1_000);
    let level = rms_dbfs(&pair.bob.heard()[4_000..]);
    assert!((-44.0..-38.0).contains(&level), "{level} dBFS before the agent speaks");
    let told = |event: &MediaEvent| matches!(event, MediaEvent::FirstAudible { .. });
    assert!(!pair.alice.io.events.iter().any(told), "the room is not the agent's voice");
    let speech = |event: &MediaEvent| matches!(event, MediaEvent::SpeechStarted { .. });
    assert!(!pair.bob.io.events.iter().any(speech));
    let agent = pair.alice.io.taps.iter().filter(|tap| tap.channel == TapChannel::Agent);
    let recorded: Vec<i16> = agent.flat_map(|tap| tap.frame.samples().to_vec()).collect();
    assert!(rms_dbfs(&recorded) > -44.0, "the recording has it too");
    pair.alice.say(1, 20, 440.0, true);
    pair.run(500);
    assert!(pair.alice.io.events.iter().any(told));
    pair.alice.command(pair.now, MediaCommand::MuteAgent(true));
    pair.run(500);
    let heard = pair.bob.heard();
    assert!(rms_dbfs(&heard[heard.len() - 1_600..]) < -60.0, "muted is silent");
}
