//! A whole long call in virtual time: the user agents of both sides, the media path and the recording, joined by a
//! network that loses, with a clock on the other side that is wrong, and with holds.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;

use super::*;
use crate::audio::g711;
use crate::audio::vad::{VadConfig, VadKind};
use crate::call::negotiate::Negotiation;
use crate::call::{DtmfWay, MediaPolicy};
use crate::engine::stream::tap;
use crate::media::{
    Config, Frame, FrameSource, MediaCommand, MediaEvent, PacketKind, PlayoutFrame, SourcePolicy,
    Stream, StreamIo, TapFrame,
};
use crate::sip::config::{Network, SessionConfig, TrunkAccess};
use crate::sip::{
    Agent, CallPolicy, Command, DialogId, Event, Flow, Input, OutgoingInvite, Output, Transport,
};
use crate::types::{CodecName, Entropy, Generation, SrtpPolicy, TrunkName};

/// Length of the call.
const CALL: Duration = Duration::from_secs(70 * 60);
const OURS: &str = "192.0.2.1";
const THEIRS: &str = "192.0.2.2";
/// What a datagram takes, and what some take longer.
const DELAY: Duration = Duration::from_millis(20);
const JITTER_MS: u64 = 30;
/// Both sides speak for a second in every ten, we first.
const WE_SPEAK_AT: u64 = 2;
const THEY_SPEAK_AT: u64 = 6;

fn policy() -> MediaPolicy {
    MediaPolicy {
        codecs: vec![CodecName::Pcmu],
        srtp: SrtpPolicy::default(),
        keying: Default::default(),
        dtmf: DtmfWay::Events,
        source_policy: SourcePolicy::Strict,
        advertised: None,
    }
}

fn address(host: &str, port: u16) -> SocketAddr {
    format!("{host}:{port}").parse().unwrap()
}

/// The signalling of one side.
struct Side {
    agent: Agent,
    flow: Flow,
    dialog: Option<DialogId>,
    negotiation: Negotiation,
    /// The hold that is wanted, until the other side agreed to it.
    wanted: Option<bool>,
    /// Something was agreed since it was last looked at.
    agreed: bool,
    /// Refreshes of the session timer that this side sent.
    refreshes: usize,
    /// Whatever ends a call or should not happen in one.
    ends: Vec<String>,
}

impl Side {
    fn new(host: &str, other: &str, seed: u64) -> Self {
        let networks = vec![format!("{other}/32").parse::<Network>().unwrap()];
        let config = crate::sip::Config {
            trunks: vec![TrunkAccess::by_address(TrunkName("carrier".to_owned()), networks)],
            advertised_udp: Some(format!("{host}:5060")),
            session: SessionConfig { expires_s: 90, min_s: 90 },
            ..crate::sip::Config::default()
        };
        let mut entropy = Entropy::seeded(seed);
        Self {
            negotiation: Negotiation::new(address(host, 20_000), &policy(), || None, &mut entropy),
            agent: Agent::new(config, entropy),
            flow: Flow::new(Transport::Udp, address(host, 5_060), address(other, 5_060)),
            dialog: None,
            wanted: None,
            agreed: false,
            refreshes: 0,
            ends: Vec::new(),
        }
    }

    fn invite(&mut self) -> Command {
        let dialog = DialogId::outbound(1);
        self.dialog = Some(dialog);
        Command::Invite(Box::new(OutgoingInvite {
            dialog,
            call_id: None,
            flow: self.flow,
            others: Vec::new(),
            request_uri: format!("sip:1000@{OURS}"),
            from: format!("<sip:+15550100@{THEIRS}>"),
            to: format!("<sip:1000@{OURS}>"),
            route: Vec::new(),
            sdp: self.negotiation.make_offer(),
            credentials: None,
            headers: Vec::new(),
            policy: CallPolicy::default(),
            ring_timeout: Duration::from_secs(60),
        }))
    }

    /// Gives the agent something; what it wants to send comes back.
    fn handle(&mut self, now: Instant, input: Input) -> Vec<Bytes> {
        let mut sent = Vec::new();
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            self.agent.handle(now, input);
            while let Some(output) = self.agent.poll() {
                match output {
                    Output::Transmit { bytes, .. } => sent.push(bytes),
                    Output::Event(event) => {
                        inputs.extend(self.on_event(event).map(Input::Command));
                    }
                    Output::Counted(_) | Output::Refused(_) => {}
                }
            }
        }
        self.refreshes += sent.iter().filter(|bytes| bytes.starts_with(b"UPDATE ")).count();
        sent
    }

    fn on_event(&mut self, event: Event) -> Option<Command> {
        match event {
            Event::Incoming { dialog, offer, .. } => {
                self.dialog = Some(dialog);
                self.negotiation.receive_offer(&offer.unwrap()).unwrap();
                self.agreed = true;
                Some(Command::Accept { dialog, sdp: self.negotiation.local_description() })
            }
            Event::Offered { dialog, offer } => {
                self.negotiation.receive_offer(&offer.unwrap()).unwrap();
                self.agreed = true;
                let answer = Ok(self.negotiation.local_description());
                Some(Command::AnswerOffer { dialog, answer })
            }
            Event::Answered { sdp: Some(answer), .. }
            | Event::OfferAnswered { answer: Ok(answer), .. } => {
                self.negotiation.receive_answer(&answer).unwrap();
                (self.agreed, self.wanted) = (true, None);
                None
            }
            Event::Refreshed { answer, .. } => {
                self.agreed |= self.negotiation.receive_refresh(&answer).unwrap();
                None
            }
            // Something else was under way: it is asked again.
            Event::Established { .. }
            | Event::Progress { .. }
            | Event::CommandRefused { .. }
            | Event::OfferAnswered { answer: Err(491), .. } => None,
            other => {
                self.ends.push(format!("{other:?}"));
                None
            }
        }
    }

    /// Asks for the hold that is wanted.
    fn reoffer(&mut self) -> Option<Command> {
        let (on, dialog) = (self.wanted?, self.dialog?);
        self.negotiation.hold(on);
        Some(Command::Reoffer { dialog, sdp: self.negotiation.make_offer() })
    }
}

/// Surroundings of the stream.
struct Io<'a> {
    now: Instant,
    sent: u64,
    events: Vec<MediaEvent>,
    queue: VecDeque<PlayoutFrame>,
    tap: Box<dyn FnMut(TapFrame) + 'a>,
}

impl FrameSource for Io<'_> {
    fn next_frame(&mut self) -> Option<PlayoutFrame> {
        self.queue.pop_front()
    }
}

impl StreamIo for Io<'_> {
    fn send(&mut self, kind: PacketKind, _to: SocketAddr, _datagram: &[u8]) -> Instant {
        self.sent += u64::from(kind == PacketKind::Rtp);
        self.now
    }

    fn event(&mut self, event: MediaEvent) {
        self.events.push(event);
    }

    fn tap(&mut self, frame: TapFrame) {
        (self.tap)(frame);
    }
}

fn tone() -> Vec<i16> {
    let step = std::f32::consts::TAU * 400.0 / 8_000.0;
    (0..160).map(|n| ((n as f32 * step).sin() * 8_000.0) as i16).collect()
}

/// The telephone at the other end: sends by its own clock, as long as the call is not on hold.
struct Telephone {
    start: Instant,
    /// Nanoseconds between its packets.
    period: u64,
    /// Packets it could have sent.
    count: u64,
    sequence: u16,
    loud: Vec<u8>,
}

impl Telephone {
    fn next(&self) -> Instant {
        self.start + Duration::from_nanos(self.count * self.period)
    }

    fn packet(&mut self, sends: bool, speaks: bool) -> Option<Vec<u8>> {
        let timestamp = self.count as u32 * 160;
        self.count += 1;
        if !sends {
            return None;
        }
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = vec![0x80, 0];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend([0, 0, 0, 9]);
        if speaks {
            packet.extend(&self.loud);
        } else {
            packet.extend([0xff; 160]);
        }
        Some(packet)
    }
}

enum Datagram {
    /// To which side.
    Sip(usize, Bytes),
    Rtp(Vec<u8>),
}

/// Loses 2 % in bursts of two on average, and delays.
struct Wire {
    entropy: Entropy,
    is_bad: bool,
    lost: u64,
    under_way: BTreeMap<(Instant, u64), Datagram>,
    count: u64,
}

impl Wire {
    fn send(&mut self, now: Instant, datagram: Datagram) {
        let dice = self.entropy.u32() % 1_000;
        self.is_bad = if self.is_bad { dice < 500 } else { dice < 10 };
        let jitter = u64::from(self.entropy.u32()) % JITTER_MS;
        self.count += 1;
        if self.is_bad {
            self.lost += 1;
            return;
        }
        let at = now + DELAY + Duration::from_millis(jitter);
        self.under_way.insert((at, self.count), datagram);
    }
}

/// When who holds the call, and for how long: sometimes for longer than a line without audio may last.
fn holds() -> Vec<(Duration, Duration, usize)> {
    let seconds = Duration::from_secs;
    let lengths = [20, 45, 100, 31, 250, 5];
    let one = |(n, length): (usize, &u64)| (seconds(240 + 600 * n as u64), seconds(*length), n % 2);
    lengths.iter().enumerate().map(one).collect()
}

const US: usize = 0;
const THEM: usize = 1;

struct Call<'a> {
    now: Instant,
    sides: [Side; 2],
    stream: Stream,
    io: Io<'a>,
    telephone: Telephone,
    wire: Wire,
    /// Who is to refresh the session.
    refresher: &'static str,
    answered: Option<Instant>,
    timeouts_on_hold: usize,
}

impl<'a> Call<'a> {
    fn new(
        refresher: &'static str,
        ppm: i64,
        start: Instant,
        tap: impl FnMut(TapFrame) + 'a,
    ) -> Self {
        let vad = VadConfig { kind: VadKind::Energy, ..VadConfig::default() };
        let config = Config { vad, ..Config::default() };
        let mut entropy = Entropy::seeded(3);
        let stream = Stream::new(&config, start, Duration::ZERO, &mut entropy).unwrap();
        let (events, queue) = (Vec::new(), VecDeque::new());
        let loud = tone().into_iter().map(g711::encode_ulaw).collect();
        let period = 20_000_000_u64.saturating_add_signed(20 * ppm);
        Self {
            now: start,
            sides: [Side::new(OURS, THEIRS, 1), Side::new(THEIRS, OURS, 2)],
            stream,
            io: Io { now: start, sent: 0, events, queue, tap: Box::new(tap) },
            telephone: Telephone { start, period, count: 0, sequence: 0, loud },
            wire: Wire { entropy, is_bad: false, lost: 0, under_way: BTreeMap::new(), count: 0 },
            refresher,
            answered: None,
            timeouts_on_hold: 0,
        }
    }

    fn sip(&mut self, at: usize, input: Input) {
        for bytes in self.sides[at].handle(self.now, input) {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let named = format!("Session-Expires: 90;refresher={}\r\n", self.refresher);
            let text = text.replace("Session-Expires: 90\r\n", &named);
            self.wire.send(self.now, Datagram::Sip(1 - at, Bytes::from(text)));
        }
        if at == US && std::mem::take(&mut self.sides[US].agreed) {
            self.answered.get_or_insert(self.now);
            let format = self.sides[US].negotiation.format(SourcePolicy::Strict).unwrap();
            self.stream.handle_command(self.now, MediaCommand::Configure(format), &mut self.io);
        }
    }

    /// When something is to be done next.
    fn next(&self) -> Instant {
        let arrival = self.wire.under_way.keys().next().map(|(at, _)| *at);
        let timers = self.sides.iter().filter_map(|side| side.agent.next_wake());
        let media = [self.stream.next_wake(), self.telephone.next()];
        timers.chain(arrival).chain(media).min().unwrap().max(self.now)
    }

    fn step(&mut self) {
        self.now = self.next();
        self.io.now = self.now;
        while let Some(entry) = self.wire.under_way.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            match entry.remove() {
                Datagram::Sip(at, bytes) => {
                    let flow = self.sides[at].flow;
                    self.sip(at, Input::Message { flow, bytes });
                }
                Datagram::Rtp(packet) => {
                    let from = address(THEIRS, 20_000);
                    self.stream.handle_rtp(self.now, from, &packet, &mut self.io);
                }
            }
        }
        for at in [US, THEM] {
            if self.sides[at].agent.next_wake().is_some_and(|wake| wake <= self.now) {
                self.sip(at, Input::Timeout);
            }
        }
        if self.stream.next_wake() <= self.now {
            self.stream.handle_timeout(self.now, &mut self.io);
        }
        while self.telephone.next() <= self.now {
            // Whoever holds is silent here, and so is whoever is held.
            let side = &self.sides[THEM].negotiation;
            let talks = side
                .format(SourcePolicy::Strict)
                .is_some_and(|format| format.direction == crate::media::MediaDirection::SendRecv);
            let since = self.answered.map(|answered| (self.now - answered).as_secs());
            let speaks = since.is_some_and(|second| second % 10 == THEY_SPEAK_AT);
            if let Some(packet) = self.telephone.packet(talks, speaks) {
                self.wire.send(self.now, Datagram::Rtp(packet));
            }
        }
        for event in std::mem::take(&mut self.io.events) {
            if matches!(event, MediaEvent::MediaTimeout) {
                assert!(self.is_on_hold(), "no audio for too long");
                self.timeouts_on_hold += 1;
            }
        }
    }

    fn is_on_hold(&self) -> bool {
        let format = self.sides[US].negotiation.format(SourcePolicy::Strict).unwrap();
        format.direction != crate::media::MediaDirection::SendRecv
    }

    /// What happens at the beginning of a second: we speak, or somebody holds or resumes.
    fn second(&mut self, second: u64, holds: &[(Duration, Duration, usize)]) {
        if second % 10 == WE_SPEAK_AT {
            for n in 0..50 {
                let generation = Generation(second as u32);
                let frame = PlayoutFrame { frame: Frame::new(&tone()), generation, last: n == 49 };
                self.io.queue.push_back(frame);
            }
            self.stream.audio_waits(self.now, &mut self.io);
        }
        let at = Duration::from_secs(second);
        for (from, length, who) in holds {
            if at == *from || at == *from + *length {
                self.sides[*who].wanted = Some(at == *from);
            }
        }
        for who in [US, THEM] {
            if let Some(command) = self.sides[who].reoffer() {
                self.sip(who, Input::Command(command));
            }
        }
    }
}

/// Which blocks of 10 ms of each channel are loud.
fn loudness(path: &Path) -> [Vec<bool>; 2] {
    let octets = std::fs::read(path).unwrap();
    let (pairs, _) = octets[44..].as_chunks::<4>();
    let mut loud = [Vec::new(), Vec::new()];
    for block in pairs.chunks(80) {
        for (channel, loud) in loud.iter_mut().enumerate() {
            let sample = |pair: &[u8; 4]| {
                i16::from_le_bytes([pair[2 * channel], pair[2 * channel + 1]]).unsigned_abs()
            };
            loud.push(block.iter().any(|pair| sample(pair) > 1_000));
        }
    }
    loud
}

/// Of the seconds of speech of one side: how many there were, and how many do not begin in the recording where they
/// should. Those around a hold do not count.
fn misplaced(loud: &[bool], speaks_at: u64, holds: &[(Duration, Duration, usize)]) -> [usize; 2] {
    let is_held = |at: u64| {
        let at = Duration::from_secs(at);
        let around = Duration::from_secs(10);
        holds.iter().any(|(from, length, _)| at + around > *from && at < *from + *length + around)
    };
    let seconds = (10..CALL.as_secs() - 10).filter(|at| at % 10 == speaks_at && !is_held(*at));
    let mut counts = [0; 2];
    for at in seconds {
        // Within 0.1 s either way, and quiet before.
        let at = at as usize * 100;
        let onset = loud[at - 50..at + 50].iter().position(|loud| *loud);
        counts[0] += 1;
        counts[1] += usize::from(!onset.is_some_and(|onset| (40..=60).contains(&onset)));
    }
    counts
}

#[test]
fn seventy_minutes_with_drift_loss_and_holds_refreshed_by_us() {
    seventy_minutes("uas", 300);
}

#[test]
fn seventy_minutes_with_drift_loss_and_holds_refreshed_by_them() {
    seventy_minutes("uac", -300);
}

fn seventy_minutes(refresher: &'static str, ppm: i64) {
    let what = format!("{refresher} refreshes, {ppm} ppm");
    let start = clock::now();
    let (put, tap) = tap(start, SampleRate::HZ_8000);
    let dir = tempfile::tempdir().unwrap();
    let recordings = Recordings::open(dir.path()).unwrap();
    let mut tap = Some(tap);
    let mut call = Call::new(refresher, ppm, start, put);
    let mut track: Option<Track> = None;
    let invite = call.sides[THEM].invite();
    call.sip(THEM, Input::Command(invite));
    let (holds, mut seconds, mut drained) = (holds(), 0, start);
    let end = loop {
        call.step();
        let Some(answered) = call.answered else { continue };
        let track = track.get_or_insert_with(|| {
            let id = CallId::new(0, &mut Entropy::seeded(1));
            let tap = tap.take().unwrap();
            Track::begin(&recordings, (id, jiff::Timestamp::UNIX_EPOCH), tap, answered).unwrap()
        });
        if call.now >= drained + DRAIN_EVERY {
            (drained, _) = (call.now, track.drain());
        }
        let since = call.now - answered;
        if since >= CALL {
            break call.now;
        }
        while seconds <= since.as_secs() {
            call.second(seconds, &holds);
            seconds += 1;
        }
    };
    let (track, answered) = (track.unwrap(), call.answered.unwrap());
    let (dropped, path) = (track.tap.dropped(), track.path.clone());
    let info = track.finish();

    for side in &call.sides {
        assert!(side.ends.is_empty(), "{what}: {:?}", side.ends);
        assert_eq!(side.agent.counts().dialogs, 1, "{what}");
    }
    let refreshes = [US, THEM].map(|at| call.sides[at].refreshes);
    let (by, not_by) = if refresher == "uas" { (US, THEM) } else { (THEM, US) };
    assert!(refreshes[by] > 60 && refreshes[not_by] == 0, "{what}: {refreshes:?}");
    assert!(call.timeouts_on_hold > 0, "{what}: a hold was longer than silence may be");
    let stats = call.stream.stats().inbound;
    assert!(stats.express_lost > 3_000 && stats.restarts == 0, "{what}: {stats:?}");

    let wall = end - answered;
    let length = Duration::from_millis(info.duration_ms.unwrap());
    assert_eq!((info.status, dropped), (RecordingStatus::Available, 0), "{what}");
    assert!(length.abs_diff(wall) < Duration::from_millis(100), "{what}: {length:?} of {wall:?}");
    let [theirs, ours] = loudness(&path);
    let placed = [misplaced(&ours, WE_SPEAK_AT, &holds), misplaced(&theirs, THEY_SPEAK_AT, &holds)];
    let lost = stats.express_lost;
    println!("{what}: refreshed {refreshes:?}, lost {lost}, {length:?} of {wall:?}, {placed:?}");
    for [all, wrong] in placed {
        assert!(all > 350 && wrong * 20 < all, "{what}: {placed:?}");
    }
}
