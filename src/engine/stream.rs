//! The call's side of a stream: commands in, events out, audio to play, audio to record.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Instant;

use futures_util::task::AtomicWaker;
use rtrb::{Consumer, Producer, RingBuffer};
use tokio::sync::watch;

use super::aside::{self, AsideWriter};
use super::door::{self, Door, SeatDoor};
use super::keying::{self, Agreement, OwnIdentity};
use super::port::PortPair;
use super::seat::{Seat, SeatIo};
use super::{Config, Recording, StreamSeed, ThreadShared};
use crate::media::{
    self, MediaCommand, MediaEvent, PlayoutFrame, SourcePolicy, StreamFormat, StreamStats, TapFrame,
};
use crate::rtp::Policy;
use crate::types::{CallId, Entropy, Fingerprint, SampleRate};

/// Commands a thread has not read yet. It reads within a millisecond; a long number to dial is 30.
const COMMAND_RING: usize = 64;

/// What both sides of a stream see.
#[derive(Default)]
pub(super) struct Shared {
    /// Wakes the reader of events.
    pub(super) events: AtomicWaker,
    /// Wakes the writer of audio.
    pub(super) writable: AtomicWaker,
    /// Wakes the recorder.
    pub(super) tap: AtomicWaker,
    /// Wakes the task that exchanges keys.
    pub(super) handshakes: AtomicWaker,
    /// The writer found the ring full.
    pub(super) wants_room: AtomicBool,
    /// Somebody waits for recorded frames; a recorder that looks by itself does not.
    pub(super) tap_waits: AtomicBool,
    /// The wakers above are about to be woken.
    pub(super) announced: AtomicBool,
    /// The call did something the thread must look at.
    pub(super) attention: AtomicBool,
    /// Nothing plays: the next frame is to wake the thread.
    pub(super) silent: AtomicBool,
    /// The call has let go of the stream.
    pub(super) detached: AtomicBool,
    pub(super) events_dropped: AtomicU64,
    pub(super) tap_dropped: AtomicU64,
    pub(super) handshakes_dropped: AtomicU64,
    /// The call wants its frames one by one: they go on to somebody who listens.
    pub(super) brisk: AtomicBool,
    /// Sources the thread has not taken over yet; it only ever tries to lock this.
    pub(super) asides: Mutex<aside::Places>,
    /// A door the thread has not taken over yet; it only ever tries to lock this.
    pub(super) door: Mutex<Option<SeatDoor>>,
    /// The thread only ever tries to lock it.
    pub(super) stats: Mutex<StreamStats>,
}

/// A call's stream. Dropping it says goodbye to the peer and puts the ports to rest.
pub struct Stream {
    /// Where the peer is to send; goes into our SDP with the address it sees.
    pub local_rtp: SocketAddr,
    /// Time 0 of the media clock of recordings.
    pub start: Instant,
    /// What happens on the line.
    pub events: EventReader,
    /// What the agent says.
    pub playout: PlayoutWriter,
    call: CallId,
    media: media::Config,
    rate: Option<SampleRate>,
    commands: Producer<MediaCommand>,
    tap: Option<TapReader>,
    alarm: Alarm,
    identity: Arc<OwnIdentity>,
    /// To the task that exchanges keys, once there is one.
    keying: Option<watch::Sender<Agreement>>,
    /// For its cookies.
    entropy: Entropy,
    /// What it will have, if datagrams are kept before.
    early: Option<Door>,
}

/// The command ring is full: the media thread does not respond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("command a stream: {COMMAND_RING} commands wait already")]
pub struct CommandsFull;

/// Tells the media thread to look at this stream.
#[derive(Clone)]
pub(super) struct Alarm {
    shared: Arc<Shared>,
    thread: Arc<ThreadShared>,
}

impl Alarm {
    pub(super) fn raise(&self) {
        self.shared.attention.store(true, Ordering::Release);
        self.thread.bell.ring();
    }
}

impl Stream {
    /// Whose stream.
    pub fn call(&self) -> CallId {
        self.call
    }

    /// Tells the stream to do something; it does within a millisecond, in order.
    ///
    /// # Errors
    /// When the thread has stopped reading commands.
    pub fn command(&mut self, command: MediaCommand) -> Result<(), CommandsFull> {
        self.commands.push(command).map_err(|_| CommandsFull)?;
        if let MediaCommand::Configure(format) = command {
            self.exchange_keys(&format);
            if self.rate.is_none() {
                let rate = media::line_rate(&self.media, &format);
                self.rate = Some(rate);
                if let Some(tap) = &mut self.tap {
                    tap.rate = rate;
                }
            }
        }
        self.alarm.raise();
        Ok(())
    }

    /// Fingerprint of our certificate, for SDP; `None`: there is none, and DTLS is out of the question.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.identity.get().map(|identity| identity.fingerprint())
    }

    /// Keeps datagrams of handshakes from now on: whoever gets our offer may begin before we have the answer.
    pub fn await_handshakes(&mut self) {
        if self.early.is_none() {
            let (door, seat) = door::pair(&self.alarm.shared, &self.alarm);
            *self.alarm.shared.door.lock().unwrap_or_else(PoisonError::into_inner) = Some(seat);
            self.early = Some(door);
            self.alarm.raise();
        }
    }

    /// Tells the task that exchanges keys what was agreed, or starts it. Without an agreement on DTLS or ICE it goes.
    fn exchange_keys(&mut self, format: &StreamFormat) {
        if format.dtls.is_none() && format.ice.is_none() {
            self.keying = None;
            return;
        }
        let policy = match format.source_policy {
            SourcePolicy::Strict => Policy::Strict,
            SourcePolicy::Learn => Policy::Learn,
        };
        let StreamFormat { dtls, ice, remote_rtp: remote, .. } = *format;
        let agreement = Agreement { dtls, ice, remote, policy };
        if self.keying.as_ref().is_some_and(|agreements| agreements.send(agreement).is_ok()) {
            return;
        }
        self.await_handshakes();
        let Some(door) = self.early.take() else { return };
        let (agreements, watched) = watch::channel(agreement);
        keying::start(door, watched, (Arc::clone(&self.identity), self.entropy.fork()));
        self.keying = Some(agreements);
    }

    /// Rate of the line: what frames, playout and recording have. Settled by the first agreement.
    pub fn rate(&self) -> SampleRate {
        self.rate.unwrap_or(SampleRate::HZ_8000)
    }

    /// A way for live audio of somebody else into what this stream sends; it takes the place of the one before.
    /// `place` is below [`media::ASIDES`].
    pub fn aside(&mut self, place: usize) -> AsideWriter {
        let (writer, reader) = aside::pair();
        let mut places = self.alarm.shared.asides.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = places.get_mut(place) {
            *slot = Some(reader);
        }
        drop(places);
        self.alarm.raise();
        writer
    }

    /// Whether frames of the line come one by one instead of two at a time.
    pub fn set_brisk(&self, brisk: bool) {
        self.alarm.shared.brisk.store(brisk, Ordering::Relaxed);
    }

    /// The next event; see [`EventReader::recv`].
    pub async fn recv(&mut self) -> Option<MediaEvent> {
        self.events.recv().await
    }

    /// The feed for a recorder, once, to be taken when the line has its rate; `None` without recording.
    pub fn take_tap(&mut self) -> Option<TapReader> {
        self.tap.take()
    }

    /// What the stream counted, at most 1 s old.
    pub fn stats(&self) -> StreamStats {
        *self.alarm.shared.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events that were dropped because they were not read in time.
    pub fn events_dropped(&self) -> u64 {
        self.alarm.shared.events_dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.alarm.shared.detached.store(true, Ordering::Release);
        self.alarm.raise();
    }
}

/// Reads a stream's events.
pub struct EventReader {
    ring: Consumer<MediaEvent>,
    shared: Arc<Shared>,
}

impl EventReader {
    /// The next event, in order; `None` when the media thread is gone. Dropping the future loses nothing.
    pub async fn recv(&mut self) -> Option<MediaEvent> {
        let Self { ring, shared } = self;
        next_of(ring, &shared.events).await
    }

    /// The next event, if one is there.
    pub fn try_recv(&mut self) -> Option<MediaEvent> {
        self.ring.pop().ok()
    }
}

/// Writes the agent's audio.
pub struct PlayoutWriter {
    ring: Producer<PlayoutFrame>,
    alarm: Alarm,
}

impl PlayoutWriter {
    /// Frames that can be pushed now.
    pub fn free_frames(&self) -> usize {
        self.ring.slots()
    }

    /// Queues a frame. The first one after silence leaves at once.
    ///
    /// # Errors
    /// Gives the frame back when the ring is full; see [`PlayoutWriter::writable`].
    #[expect(clippy::result_large_err, reason = "the frame is given back; a box would allocate")]
    pub fn push(&mut self, frame: PlayoutFrame) -> Result<(), PlayoutFrame> {
        self.ring.push(frame).map_err(|rtrb::PushError::Full(frame)| frame)?;
        if self.alarm.shared.silent.swap(false, Ordering::AcqRel) {
            self.alarm.raise();
        }
        Ok(())
    }

    /// Returns when half of the ring is free (or the media thread is gone), so that a writer fills it in
    /// one go. Dropping the future loses nothing.
    pub async fn writable(&mut self) {
        // The ring is moved in as `&mut`: a shared borrow over an await would not be `Send`.
        let Self { ring, alarm } = self;
        poll_fn(move |context| {
            let ready = |ring: &Producer<PlayoutFrame>| {
                ring.slots() * 2 >= ring.buffer().capacity() || ring.is_abandoned()
            };
            if ready(ring) {
                return Poll::Ready(());
            }
            alarm.shared.writable.register(context.waker());
            alarm.shared.wants_room.store(true, Ordering::Release);
            // What was freed between the look and the registration woke nobody.
            if ready(ring) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Reads what is to be recorded. It outlives the [`Stream`]: what is left can be read to the end.
pub struct TapReader {
    /// Time of position 0.
    pub start: Instant,
    /// Samples a second of both channels.
    pub rate: SampleRate,
    ring: Consumer<TapFrame>,
    shared: Arc<Shared>,
}

impl TapReader {
    /// The next frame of either channel; `None` when the stream has ended and everything is read.
    pub async fn recv(&mut self) -> Option<TapFrame> {
        let Self { ring, shared, .. } = self;
        shared.tap_waits.store(true, Ordering::Release);
        next_of(ring, &shared.tap).await
    }

    /// The next frame, if one is there.
    pub fn try_recv(&mut self) -> Option<TapFrame> {
        self.ring.pop().ok()
    }

    /// Frames that were dropped because they were not read in time: they are silence in the recording.
    pub fn dropped(&self) -> u64 {
        self.shared.tap_dropped.load(Ordering::Relaxed)
    }
}

/// A feed for a recorder without a stream: what is put in comes out.
#[cfg(test)]
pub(crate) fn tap(start: Instant, rate: SampleRate) -> (impl FnMut(TapFrame), TapReader) {
    let (mut writer, ring) = RingBuffer::new(Config::default().tap_ring);
    let shared = Arc::new(Shared::default());
    let dropped = Arc::clone(&shared);
    let put = move |frame| {
        if writer.push(frame).is_err() {
            dropped.tap_dropped.fetch_add(1, Ordering::Relaxed);
        }
    };
    (put, TapReader { start, rate, ring, shared })
}

pub(super) async fn next_of<T>(ring: &mut Consumer<T>, waker: &AtomicWaker) -> Option<T> {
    poll_fn(|context| {
        if let Ok(item) = ring.pop() {
            return Poll::Ready(Some(item));
        }
        waker.register(context.waker());
        // Abandonment is looked at before the ring: what was pushed before it is then visible.
        let over = ring.is_abandoned();
        match ring.pop() {
            Ok(item) => Poll::Ready(Some(item)),
            Err(_) if over => Poll::Ready(None),
            Err(_) => Poll::Pending,
        }
    })
    .await
}

/// Makes both sides.
pub(super) fn pair(
    config: &Config,
    seed: &mut StreamSeed,
    media: media::Stream,
    ports: PortPair,
    (start, thread): (Instant, Arc<ThreadShared>),
    identity: &Arc<OwnIdentity>,
) -> (Stream, Seat) {
    let shared = Arc::new(Shared::default());
    let (event_in, event_out) = RingBuffer::new(config.event_ring);
    let (command_in, command_out) = RingBuffer::new(COMMAND_RING);
    let (frame_in, frame_out) = RingBuffer::new(config.playout_ring);
    let (tap_in, tap_out) = match seed.recording {
        Recording::Off => (None, None),
        Recording::On => {
            let (tap_in, tap_out) = RingBuffer::new(config.tap_ring);
            let rate = media.rate();
            let reader = TapReader { start, rate, ring: tap_out, shared: Arc::clone(&shared) };
            (Some(tap_in), Some(reader))
        }
    };
    let alarm = Alarm { shared: Arc::clone(&shared), thread };
    let stream = Stream {
        local_rtp: ports.local_rtp,
        start,
        events: EventReader { ring: event_out, shared: Arc::clone(&shared) },
        playout: PlayoutWriter { ring: frame_in, alarm: alarm.clone() },
        call: seed.call,
        media: seed.media.clone(),
        rate: None,
        commands: command_in,
        tap: tap_out,
        alarm,
        identity: Arc::clone(identity),
        keying: None,
        entropy: seed.entropy.fork(),
        early: None,
    };
    let io = SeatIo::new(ports, Arc::clone(&shared), event_in, frame_out, tap_in);
    (stream, Seat::new(media, io, command_out, shared))
}
