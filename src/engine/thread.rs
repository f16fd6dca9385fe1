//! The loop of one media thread: sleep until a packet, a deadline or the bell; then do all that is due.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Once;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use super::counters::Counters;
use super::herald::{GATHER, Herald};
use super::lateness::Lateness;
use super::port::PortPool;
use super::seat::{Attended, News, Readable, Seat};
use super::wheel::Wheel;
use super::{ThreadShared, slot_of};
use crate::net::clock;

/// Ready descriptors taken from the kernel at once.
const READY_MAX: usize = 128;
/// The largest datagram we read whole; longer ones are cut and then fail to parse.
const DATAGRAM_BYTES: usize = 2_048;
const SLOT: Duration = Duration::from_millis(1);
const TIMER: u64 = u64::MAX;
const BELL: u64 = u64::MAX - 1;

/// A media thread before and while it runs.
pub(super) struct MediaThread {
    shared: Arc<ThreadShared>,
    arrivals: Receiver<Box<Seat>>,
    pool: Arc<PortPool>,
    lateness: Arc<Lateness>,
    counters: Arc<Counters>,
    herald: Herald,
    epoll: OwnedFd,
    timer: OwnedFd,
    armed: Option<Instant>,
    /// One moment on both clocks: the kernel's timer takes times, not [`Instant`]s.
    epoch: (Instant, Timespec),
    wheel: Wheel,
    seats: Vec<Option<Box<Seat>>>,
    seated: usize,
    buffer: [u8; DATAGRAM_BYTES],
}

impl MediaThread {
    pub(super) fn new(
        shared: Arc<ThreadShared>,
        arrivals: Receiver<Box<Seat>>,
        pool: Arc<PortPool>,
        lateness: Arc<Lateness>,
        counters: Arc<Counters>,
        herald: Herald,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        add(&epoll, &timer, TIMER)?;
        add(&epoll, &shared.bell, BELL)?;
        let epoch = (clock::now(), clock_gettime(ClockId::Monotonic));
        let wheel = Wheel::new(shared.epoch);
        let (armed, seats, seated, buffer) = (None, Vec::new(), 0, [0; DATAGRAM_BYTES]);
        Ok(Self {
            shared,
            arrivals,
            pool,
            lateness,
            counters,
            herald,
            epoll,
            timer,
            armed,
            epoch,
            wheel,
            seats,
            seated,
            buffer,
        })
    }

    /// Runs until the engine is dropped and every stream is gone.
    pub(super) fn run(mut self, sched_fifo: Option<u8>) {
        if let Some(priority) = sched_fifo {
            become_real_time(priority);
        }
        let mut ready = Vec::with_capacity(READY_MAX);
        loop {
            let ring_at = self.herald.ring(clock::now());
            self.arm(ring_at);
            let waited = epoll::wait(&self.epoll, spare_capacity(&mut ready), None);
            match waited {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(%error, "wait for media packets: this media thread ends");
                    (0..self.seats.len()).for_each(|index| self.evict(index));
                    return;
                }
            }
            self.counters.wakes.fetch_add(1, Ordering::Relaxed);
            // What is due goes first: packets that came in can wait, packets that go out may not.
            self.run_due();
            let mut bell = false;
            for event in ready.drain(..) {
                let event: epoll::Event = event;
                match event.data.u64() {
                    TIMER => self.clear_timer(),
                    BELL => bell = true,
                    token => self.read(token),
                }
            }
            if bell && self.answer_bell() == Loop::Ends {
                return;
            }
            self.pause();
        }
    }

    /// With many streams something is due or comes in all the time, and each wake costs more than a
    /// packet: then the thread looks once a millisecond, as network cards do. Packets leave on the same
    /// grid, so that their distances stay exact.
    fn pause(&mut self) {
        if self.seated < self.shared.moderate_from {
            return;
        }
        let until = self.timespec(slot_of(self.shared.epoch, clock::now()) + SLOT);
        // Interrupted or not: the loop looks at everything anyway.
        let _ = clock_nanosleep_absolute(ClockId::Monotonic, &until);
    }

    fn run_due(&mut self) {
        loop {
            let now = clock::now();
            let Some((index, deadline)) = self.wheel.pop_due(now) else { return };
            let late = now.saturating_duration_since(deadline);
            self.lateness.record(late);
            // Atomics only: the page of `/metrics` reads them.
            crate::telemetry::metrics::TICK_LATENESS.record(late);
            let Some(Some(seat)) = self.seats.get_mut(index as usize) else { continue };
            seat.scheduled = None;
            match contain(|| seat.tick(now, &self.counters)) {
                Some(()) => self.reschedule(index),
                None => self.evict(index as usize),
            }
        }
    }

    fn read(&mut self, token: u64) {
        let index = (token >> 1) as u32;
        let which = if token & 1 == 0 { Readable::Rtp } else { Readable::Rtcp };
        let Some(Some(seat)) = self.seats.get_mut(index as usize) else { return };
        match contain(|| seat.read(which, &mut self.buffer)) {
            Some(()) => self.reschedule(index),
            None => self.evict(index as usize),
        }
    }

    fn answer_bell(&mut self) -> Loop {
        self.shared.bell.hush();
        while let Ok(seat) = self.arrivals.try_recv() {
            self.sit(seat);
        }
        for index in 0..self.seats.len() {
            let Some(Some(seat)) = self.seats.get_mut(index) else { continue };
            match contain(|| seat.attend(clock::now())) {
                Some(Attended::Stays) => self.reschedule(index as u32),
                Some(Attended::Detached) => self.leave(index),
                None => self.evict(index),
            }
        }
        let closing = self.shared.closing.load(Ordering::Acquire);
        if closing && self.seats.iter().all(Option::is_none) { Loop::Ends } else { Loop::GoesOn }
    }

    fn sit(&mut self, seat: Box<Seat>) {
        let free = self.seats.iter().position(Option::is_none);
        self.seated += 1;
        let index = free.unwrap_or_else(|| {
            self.seats.push(None);
            self.seats.len() - 1
        });
        let token = (index as u64) << 1;
        let added = add(&self.epoll, &seat.io.rtp, token)
            .and_then(|()| add(&self.epoll, &seat.io.rtcp, token | 1));
        if let Some(slot) = self.seats.get_mut(index) {
            *slot = Some(seat);
        }
        if let Err(error) = added {
            tracing::error!(%error, "watch a stream's sockets: the stream ends");
            self.leave(index);
            return;
        }
        self.reschedule(index as u32);
    }

    fn leave(&mut self, index: usize) {
        if let Some(Some(seat)) = self.seats.get_mut(index) {
            let _ = contain(|| seat.finish(clock::now(), &self.counters));
        }
        self.evict(index);
    }

    /// Takes a stream away without a word. Its call learns of it by the end of its events.
    fn evict(&mut self, index: usize) {
        let Some(seat) = self.seats.get_mut(index).and_then(Option::take) else { return };
        self.wheel.cancel(index as u32);
        self.seated -= 1;
        let (port, shared) = (seat.io.port, Arc::clone(&seat.shared));
        // Closing the sockets takes them out of epoll; events already read find an empty seat.
        drop(seat);
        // Readers learn of the end by the abandoned rings, which are so by now.
        self.herald.announce(&shared, clock::now());
        self.pool.give_back(clock::now(), port);
        self.shared.streams.fetch_sub(1, Ordering::Relaxed);
    }

    fn reschedule(&mut self, index: u32) {
        let Some(Some(seat)) = self.seats.get_mut(index as usize) else { return };
        seat.announce_silence();
        match seat.take_news() {
            News::None => {}
            News::Soon if self.seated >= self.shared.moderate_from => {
                self.herald.announce(&seat.shared, clock::now() + GATHER);
            }
            News::Soon | News::Now => self.herald.announce(&seat.shared, clock::now()),
        }
        let wake = seat.media.next_wake();
        if seat.scheduled != Some(wake) {
            seat.scheduled = Some(wake);
            self.wheel.schedule(index, wake);
        }
    }

    fn arm(&mut self, ring_at: Option<Instant>) {
        let deadline = [self.wheel.next_deadline(), ring_at].into_iter().flatten().min();
        if deadline == self.armed {
            return;
        }
        // All zero disarms.
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let at = deadline.map_or(zero, |deadline| self.timespec(deadline));
        let timer = Itimerspec { it_interval: zero, it_value: at };
        match timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &timer) {
            Ok(_) => self.armed = deadline,
            Err(error) => tracing::error!(%error, "arm the timer of a media thread"),
        }
    }

    fn clear_timer(&mut self) {
        let mut expirations = [0u8; 8];
        let _ = rustix::io::read(&self.timer, &mut expirations);
        self.armed = None;
    }

    fn timespec(&self, at: Instant) -> Timespec {
        let (epoch, base) = &self.epoch;
        let after = at.saturating_duration_since(*epoch);
        let nanos = base.tv_nsec + i64::from(after.subsec_nanos());
        Timespec {
            tv_sec: base.tv_sec + after.as_secs() as i64 + nanos / 1_000_000_000,
            tv_nsec: nanos % 1_000_000_000,
        }
    }
}

#[derive(PartialEq, Eq)]
enum Loop {
    GoesOn,
    Ends,
}

/// A defect met by one stream's packets must not end the other calls of its thread: `None` after a panic
/// (which the panic hook has reported). The stream is thrown away then, so that nobody sees it half-done.
fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).ok()
}

fn add(epoll: &OwnedFd, fd: impl AsFd, token: u64) -> io::Result<()> {
    let data = epoll::EventData::new_u64(token);
    Ok(epoll::add(epoll, fd, data, epoll::EventFlags::IN)?)
}

/// Asks for SCHED_FIFO; without the permission the thread runs as any other.
fn become_real_time(priority: u8) {
    static WARNED: Once = Once::new();
    let Ok(value) = ThreadPriorityValue::try_from(priority.min(99)) else { return };
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let wanted = ThreadPriority::Crossplatform(value);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), wanted, policy) {
        WARNED.call_once(|| {
            tracing::warn!(
                ?error,
                "media threads run without real-time priority: packets may leave late under load; \
                 grant CAP_SYS_NICE or LimitRTPRIO, or set `media.sched_fifo = 0`"
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::contain;

    #[test]
    fn a_panic_is_contained() {
        assert_eq!(contain(|| 1), Some(1));
        assert_eq!(contain(|| -> u8 { panic!("on purpose") }), None);
    }
}
