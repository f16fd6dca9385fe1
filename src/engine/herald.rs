//! Wakes the calls' tasks on behalf of a media thread.
//!
//! Waking a task takes a lock of its runtime. A media thread with real-time priority that waits for that
//! lock waits for whoever holds it, and the holder has no priority at all. So the media thread only
//! writes to an `eventfd`, and a thread of ordinary priority does the waking, some tens of microseconds
//! later and for all streams that have news at once. Frames of audio wait a few milliseconds for those of
//! other calls ([`GATHER`]): a wake costs more than what is done in it. Edges do not wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rtrb::{Consumer, Producer, RingBuffer};
use rustix::event::{PollFd, PollFlags, poll};

use super::bell::Bell;
use super::stream::Shared;

/// Streams that may wait to be woken. Each waits at most once, so this is a bound on the streams of one
/// thread; beyond it the media thread wakes them itself.
const WAITING_MAX: usize = 4_096;

/// How long news that can wait is gathered. Half would wake twice as often; double would be seen in the
/// time from a word to its transcript.
pub(super) const GATHER: Duration = Duration::from_millis(4);

/// The media thread's end.
pub(super) struct Herald {
    waiting: Producer<Arc<Shared>>,
    bell: Arc<Bell>,
    /// When the bell is to be rung for what waits.
    ring_at: Option<Instant>,
}

impl Herald {
    /// Starts the thread that wakes.
    pub(super) fn start(name: String) -> std::io::Result<Self> {
        let bell = Arc::new(Bell::new()?);
        let (waiting, queue) = RingBuffer::new(WAITING_MAX);
        let ear = Arc::clone(&bell);
        std::thread::Builder::new().name(name).spawn(move || listen(queue, &ear))?;
        Ok(Self { waiting, bell, ring_at: None })
    }

    /// Something is there for the holders of this stream; they are told by `by`, when
    /// [`Herald::ring`] is called.
    pub(super) fn announce(&mut self, shared: &Arc<Shared>, by: Instant) {
        if !shared.announced.swap(true, Ordering::SeqCst)
            && self.waiting.push(Arc::clone(shared)).is_err()
        {
            wake(shared);
            return;
        }
        self.ring_at = Some(self.ring_at.map_or(by, |at| at.min(by)));
    }

    /// Rings if it is time for any that wait; otherwise says when.
    pub(super) fn ring(&mut self, now: Instant) -> Option<Instant> {
        if self.ring_at.is_some_and(|at| at <= now) {
            self.ring_at = None;
            self.bell.ring();
        }
        self.ring_at
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        let (gone, _) = RingBuffer::new(1);
        drop(std::mem::replace(&mut self.waiting, gone));
        self.bell.ring();
    }
}

fn listen(mut queue: Consumer<Arc<Shared>>, bell: &Bell) {
    loop {
        // Interrupted or not: the queue says what there is to do.
        let _ = poll(&mut [PollFd::new(bell, PollFlags::IN)], None);
        bell.hush();
        let over = queue.is_abandoned();
        while let Ok(shared) = queue.pop() {
            wake(&shared);
        }
        if over {
            return;
        }
    }
}

fn wake(shared: &Shared) {
    // First: what comes after this is announced again.
    shared.announced.swap(false, Ordering::SeqCst);
    shared.events.wake();
    shared.writable.wake();
    shared.tap.wake();
    shared.handshakes.wake();
}
