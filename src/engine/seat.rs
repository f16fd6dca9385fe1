//! The media thread's side of a stream: its sockets, rings and voice path.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer};

use super::aside::Places;
use super::counters::Counters;
use super::door::{Order, SeatDoor};
use super::port::PortPair;
use super::stream::Shared;
use crate::media::{
    self, Frame, FrameSource, MediaCommand, MediaEvent, PacketKind, PlayoutFrame, StreamIo,
    StreamStats, TapFrame,
};
use crate::net::clock;

/// Slots kept free of audio frames for the events that may not be lost: a stop's end, a digit.
const RESERVED_EVENTS: usize = 24;
/// The caller's frames handed to the call's task at once: 40 ms. One each time would wake the task twice
/// as often, which at 100 calls costs more than the audio itself; edges of speech do not wait.
const FRAMES_PER_WAKE: u8 = 2;
/// Recorded frames after which a waiting reader is woken: 80 ms of both channels.
const TAPS_PER_WAKE: u8 = 8;
/// Statistics are passed on this often.
const STATS_EVERY: Duration = Duration::from_secs(1);

/// Whether the call or its recorder is to be woken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum News {
    /// Not yet.
    #[default]
    None,
    /// Together with others.
    Soon,
    /// At once: an edge of speech, a digit, the end of a stop.
    Now,
}

/// The surroundings of a stream on a media thread.
pub(super) struct SeatIo {
    pub(super) rtp: UdpSocket,
    pub(super) rtcp: UdpSocket,
    pub(super) port: u16,
    send_failed: u64,
    news: News,
    /// Frames and recorded frames since the call was last woken.
    frames: u8,
    taps: u8,
    shared: Arc<Shared>,
    events: Producer<MediaEvent>,
    playout: Consumer<PlayoutFrame>,
    tap: Option<Producer<TapFrame>>,
    asides: Places,
    door: Option<SeatDoor>,
}

impl SeatIo {
    pub(super) fn new(
        ports: PortPair,
        shared: Arc<Shared>,
        events: Producer<MediaEvent>,
        playout: Consumer<PlayoutFrame>,
        tap: Option<Producer<TapFrame>>,
    ) -> Self {
        let PortPair { rtp, rtcp, local_rtp } = ports;
        let (port, send_failed) = (local_rtp.port(), 0);
        let (news, frames, taps) = (News::None, 0, 0);
        let (asides, door) = (Places::default(), None);
        Self {
            rtp,
            rtcp,
            port,
            send_failed,
            news,
            frames,
            taps,
            shared,
            events,
            playout,
            tap,
            asides,
            door,
        }
    }

    /// Takes over sources that the call added. One that it changes right now is taken over the next time.
    fn take_asides(&mut self) {
        let Ok(mut new) = self.shared.asides.try_lock() else {
            self.shared.attention.store(true, Ordering::Release);
            return;
        };
        for (own, new) in self.asides.iter_mut().zip(new.iter_mut()) {
            if let Some(new) = new.take() {
                *own = Some(new);
            }
        }
    }

    /// Takes over a door that the call opened. The one before it stays with whoever opened the new one.
    fn take_door(&mut self) {
        match self.shared.door.try_lock() {
            Ok(mut new) => {
                if new.is_some() {
                    std::mem::swap(&mut self.door, &mut new);
                }
            }
            Err(_) => self.shared.attention.store(true, Ordering::Release),
        }
    }

    fn tell(&mut self, news: News) {
        self.news = self.news.max(news);
    }
}

impl FrameSource for SeatIo {
    fn next_frame(&mut self) -> Option<PlayoutFrame> {
        let frame = self.playout.pop().ok()?;
        // A writer that found the ring full is woken when it can fill half of it, not for every frame.
        if self.playout.slots() * 2 <= self.playout.buffer().capacity()
            && self.shared.wants_room.swap(false, Ordering::AcqRel)
        {
            self.tell(News::Soon);
        }
        Some(frame)
    }
}

impl StreamIo for SeatIo {
    fn send(&mut self, kind: PacketKind, to: SocketAddr, datagram: &[u8]) -> Instant {
        let socket = match kind {
            PacketKind::Rtp => &self.rtp,
            PacketKind::Rtcp => &self.rtcp,
        };
        // A full socket buffer or a missing route loses a packet, as the network does.
        if socket.send_to(datagram, to).is_err() {
            self.send_failed += 1;
        }
        clock::now()
    }

    fn event(&mut self, event: MediaEvent) {
        let is_frame = matches!(event, MediaEvent::Frame { .. });
        let room = !is_frame || self.events.slots() > RESERVED_EVENTS;
        if !room || self.events.push(event).is_err() {
            self.shared.events_dropped.fetch_add(1, Ordering::Relaxed);
        }
        if is_frame {
            self.frames = self.frames.saturating_add(1);
        }
        if !is_frame {
            self.tell(News::Now);
        } else if self.frames >= FRAMES_PER_WAKE || self.shared.brisk.load(Ordering::Relaxed) {
            self.tell(News::Soon);
        }
    }

    fn handshake(&mut self, from: SocketAddr, datagram: &[u8]) {
        if self.door.as_mut().is_some_and(|door| door.deliver(from, datagram)) {
            self.tell(News::Now);
        } else {
            self.shared.handshakes_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tap(&mut self, frame: TapFrame) {
        let Some(tap) = &mut self.tap else { return };
        if tap.push(frame).is_err() {
            self.shared.tap_dropped.fetch_add(1, Ordering::Relaxed);
        }
        // A silent caller makes no other news for as long as the call lasts.
        self.taps = self.taps.saturating_add(1);
        if self.taps >= TAPS_PER_WAKE && self.shared.tap_waits.load(Ordering::Acquire) {
            self.tell(News::Soon);
        }
    }

    fn asides(&self, place: usize) -> usize {
        self.asides.get(place).and_then(Option::as_ref).map_or(0, Consumer::slots)
    }

    fn next_aside(&mut self, place: usize) -> Option<Frame> {
        self.asides.get_mut(place)?.as_mut()?.pop().ok()
    }
}

/// Which of a seat's sockets can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    Rtp,
    Rtcp,
}

/// What became of a look at a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attended {
    Stays,
    Detached,
}

/// One stream on its thread.
pub(super) struct Seat {
    pub(super) media: media::Stream,
    pub(super) io: SeatIo,
    /// The deadline in the wheel.
    pub(super) scheduled: Option<Instant>,
    commands: Consumer<MediaCommand>,
    pub(super) shared: Arc<Shared>,
    told: Told,
}

/// What the engine's counters have seen of a stream.
#[derive(Default)]
struct Told {
    stats: StreamStats,
    events_dropped: u64,
    tap_dropped: u64,
    handshakes_dropped: u64,
    send_failed: u64,
    next: Option<Instant>,
}

impl Seat {
    pub(super) fn new(
        media: media::Stream,
        io: SeatIo,
        commands: Consumer<MediaCommand>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { media, io, scheduled: None, commands, shared, told: Told::default() }
    }

    /// Reads one datagram. If more wait, the socket stays readable and gets its turn again: a flood
    /// takes no time from others, and the common case costs no second look.
    pub(super) fn read(&mut self, which: Readable, buffer: &mut [u8]) {
        let socket = match which {
            Readable::Rtp => &self.io.rtp,
            Readable::Rtcp => &self.io.rtcp,
        };
        // Errors other than "nothing there" are ICMP reports of our own packets: not about this one.
        let Ok((len, from)) = socket.recv_from(buffer) else { return };
        let Some(datagram) = buffer.get(..len) else { return };
        let now = clock::now();
        match which {
            Readable::Rtp => self.media.handle_rtp(now, from, datagram, &mut self.io),
            Readable::Rtcp => self.media.handle_rtcp(now, from, datagram, &mut self.io),
        }
    }

    /// Looks at what the call did.
    pub(super) fn attend(&mut self, now: Instant) -> Attended {
        if !self.shared.attention.swap(false, Ordering::AcqRel) {
            return Attended::Stays;
        }
        if self.shared.detached.load(Ordering::Acquire) {
            return Attended::Detached;
        }
        self.io.take_asides();
        self.io.take_door();
        while let Ok(command) = self.commands.pop() {
            self.media.handle_command(now, command, &mut self.io);
        }
        self.obey(now);
        self.media.audio_waits(now, &mut self.io);
        Attended::Stays
    }

    /// Does what the task that exchanges keys wants.
    fn obey(&mut self, now: Instant) {
        while let Some(order) = self.io.door.as_mut().and_then(SeatDoor::next_order) {
            match order {
                Order::Send(parcel) => {
                    self.io.send(PacketKind::Rtp, parcel.address(), parcel.datagram());
                }
                Order::Keyed { plan, keys, from } => {
                    self.media.keyed(now, plan, (keys, from), &mut self.io);
                }
                Order::Failed { plan, why } => self.media.keying_failed(plan, why, &mut self.io),
                Order::Nominated { ice, at } => self.media.nominated(now, ice, at),
            }
        }
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant, counters: &Counters) {
        // A command is never later than the audio that was pushed after it.
        while let Ok(command) = self.commands.pop() {
            self.media.handle_command(now, command, &mut self.io);
        }
        self.media.handle_timeout(now, &mut self.io);
        if self.told.next.is_none_or(|next| now >= next) {
            self.told.next = Some(now + STATS_EVERY);
            self.tell(counters);
        }
    }

    /// Whether the first frame in the ring is to wake the thread.
    pub(super) fn announce_silence(&self) {
        self.shared.silent.store(self.media.is_silent(), Ordering::Release);
    }

    /// Whether the call or its recorder is to be woken since the last time.
    pub(super) fn take_news(&mut self) -> News {
        let news = std::mem::take(&mut self.io.news);
        if news != News::None {
            (self.io.frames, self.io.taps) = (0, 0);
        }
        news
    }

    /// Says goodbye to the peer and passes the last counts on.
    pub(super) fn finish(&mut self, now: Instant, counters: &Counters) {
        self.media.finish(now, &mut self.io);
        self.tell(counters);
    }

    fn tell(&mut self, counters: &Counters) {
        let stats = self.media.stats();
        counters.add(&self.told.stats, &stats);
        self.told.stats = stats;
        let forward = |counter: &AtomicU64, told: &mut u64, now: u64| {
            counter.fetch_add(now - *told, Ordering::Relaxed);
            *told = now;
        };
        let events_dropped = self.shared.events_dropped.load(Ordering::Relaxed);
        let tap_dropped = self.shared.tap_dropped.load(Ordering::Relaxed);
        forward(&counters.events_dropped, &mut self.told.events_dropped, events_dropped);
        forward(&counters.tap_dropped, &mut self.told.tap_dropped, tap_dropped);
        let handshakes_dropped = self.shared.handshakes_dropped.load(Ordering::Relaxed);
        let told = &mut self.told.handshakes_dropped;
        forward(&counters.handshakes_dropped, told, handshakes_dropped);
        forward(&counters.send_failed, &mut self.told.send_failed, self.io.send_failed);
        if let Ok(mut shared) = self.shared.stats.try_lock() {
            *shared = stats;
        }
    }
}
