//! The way from call tasks to the disk: a bounded queue and one task that writes in batches.
//!
//! When the queue is full: journal entries are dropped and counted (the stream of live events does
//! not come from here); records and turns wait, at most [`WAIT_MAX`], and are then dropped and
//! counted; a final record waits until it is synced. All of it happens on a call's own task, never
//! on a media thread, so a slow disk cannot touch audio.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::{Store, StoreError, Write};
use crate::types::{CallEvent, CallId, CallRecord, TurnRecord};

/// Writes that may wait: 100 calls that each close a turn with its events at the same moment.
const QUEUE_MAX: usize = 1_024;
/// Writes of one transaction: enough to make syncs rare, few enough to keep a final record waiting
/// only milliseconds.
const BATCH_MAX: usize = 256;
/// How long writes gather that nobody waits for: a transaction costs far more than a row.
const GATHER: Duration = Duration::from_millis(30);
/// Waiting writes that are enough to stop gathering.
const ENOUGH: usize = BATCH_MAX / 2;
/// Readers that wait for the disk at once; the next one waits for a place.
const BARRIERS_MAX: usize = 64;
/// Longest wait of a call's task for a place in the queue.
pub const WAIT_MAX: Duration = Duration::from_secs(1);

struct Job {
    write: Write,
    done: Option<oneshot::Sender<Result<(), StoreError>>>,
}

/// Word of a write that was waited for.
pub type Persisted = oneshot::Receiver<Result<(), StoreError>>;

/// Writes that were lost since the start, for the metrics `trunkline_queue_full_total` and
/// `trunkline_store_failures_total`: this room does not know telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not taken, because the queue was full.
    pub dropped: u64,
    /// Refused by the store.
    pub failed: u64,
}

#[derive(Default)]
struct Lost {
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// A handle for call tasks; cheap to clone. The task ends when the last handle is gone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Job>,
    /// Whoever waits until everything before is on disk.
    barriers: mpsc::Sender<oneshot::Sender<()>>,
    /// Ends the gathering of writes.
    hurry: Arc<Notify>,
    lost: Arc<Lost>,
    store: Arc<Store>,
}

impl Writer {
    /// The store itself, for what must be read, or be written before anything else happens.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Makes the queue and the task; the caller spawns the task and, to stop, drops every handle
    /// and awaits it: whatever is queued is then on disk.
    pub fn new(store: Arc<Store>) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        let lost = Arc::new(Lost::default());
        let hurry = Arc::new(Notify::new());
        let (barriers, waiting) = mpsc::channel(BARRIERS_MAX);
        let writer = Self {
            queue: sender,
            barriers,
            hurry: Arc::clone(&hurry),
            lost: lost.clone(),
            store: Arc::clone(&store),
        };
        (writer, run(store, receiver, waiting, hurry, lost))
    }

    /// Returns when everything that was queued before is on disk, or lost.
    pub async fn flush(&self) {
        let (done, answer) = oneshot::channel();
        if self.barriers.send(done).await.is_ok() {
            self.hurry.notify_one();
            let _ = answer.await;
        }
    }

    /// After a write was queued: one that is waited for, or one too many, ends the gathering.
    fn queued(&self, awaited: bool) {
        if awaited || self.queue.max_capacity() - self.queue.capacity() >= ENOUGH {
            self.hurry.notify_one();
        }
    }

    /// Writes the record in its present state, soon.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if the queue stayed full, [`StoreError::Closed`] if the task is gone.
    pub async fn put(&self, record: CallRecord) -> Result<(), StoreError> {
        self.send(Write::Put(Box::new(record))).await
    }

    /// Queues the record; word comes when it is on disk, or that it cannot be.
    ///
    /// # Errors
    /// The write itself, when there is no place for it now.
    pub fn try_persist(&self, record: CallRecord) -> Result<Persisted, Write> {
        let (done, answer) = oneshot::channel();
        let job = Job { write: Write::Open(Box::new(record)), done: Some(done) };
        match self.queue.try_send(job) {
            Ok(()) => {
                self.queued(true);
                Ok(answer)
            }
            Err(refused) => Err(refused.into_inner().write),
        }
    }

    /// Writes a closed turn, soon.
    ///
    /// # Errors
    /// As [`Writer::put`].
    pub async fn turn(&self, call: CallId, turn: TurnRecord) -> Result<(), StoreError> {
        self.send(Write::Turn(call, Box::new(turn))).await
    }

    /// Writes a journal entry, soon, or drops it when the queue is full. Says whether it was taken.
    pub fn event(&self, event: CallEvent) -> bool {
        let taken = self.queue.try_send(Job { write: Write::Event(Box::new(event)), done: None });
        match taken {
            Ok(()) => self.queued(false),
            Err(_) => {
                self.lost.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        taken.is_ok()
    }

    /// Queues a write without waiting, or gives it back when the queue is full: a call's task keeps
    /// it and tries again, because waiting would delay its conversation.
    ///
    /// # Errors
    /// The write itself, when there is no place for it now.
    pub fn try_write(&self, write: Write) -> Result<(), Write> {
        let sent = self.queue.try_send(Job { write, done: None });
        sent.map_err(|refused| refused.into_inner().write).inspect(|()| self.queued(false))
    }

    /// Waits for a place for a write, as long as it takes.
    ///
    /// # Errors
    /// [`StoreError::Closed`] if the task is gone.
    pub async fn write(&self, write: Write) -> Result<(), StoreError> {
        let sent = self.queue.send(Job { write, done: None }).await;
        sent.map_err(|_| StoreError::Closed).inspect(|()| self.queued(false))
    }

    /// Writes the final record and returns when it, and all that was queued before it, is on disk.
    ///
    /// # Errors
    /// What the store says, or [`StoreError::Closed`].
    pub async fn finish(&self, record: CallRecord) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        let job = Job { write: Write::Finish(Box::new(record)), done: Some(done) };
        self.queue.send(job).await.map_err(|_| StoreError::Closed)?;
        self.queued(true);
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Writes lost since the start.
    pub fn counts(&self) -> Counts {
        Counts {
            dropped: self.lost.dropped.load(Ordering::Relaxed),
            failed: self.lost.failed.load(Ordering::Relaxed),
        }
    }

    async fn send(&self, write: Write) -> Result<(), StoreError> {
        match self.queue.send_timeout(Job { write, done: None }, WAIT_MAX).await {
            Ok(()) => {
                self.queued(false);
                Ok(())
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(StoreError::Closed),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                self.lost.dropped.fetch_add(1, Ordering::Relaxed);
                Err(StoreError::Busy)
            }
        }
    }
}

async fn run(
    store: Arc<Store>,
    mut queue: mpsc::Receiver<Job>,
    mut waiting: mpsc::Receiver<oneshot::Sender<()>>,
    hurry: Arc<Notify>,
    lost: Arc<Lost>,
) {
    let mut jobs = Vec::with_capacity(BATCH_MAX);
    loop {
        let mut barriers = Vec::new();
        tokio::select! {
            count = queue.recv_many(&mut jobs, BATCH_MAX) => {
                if count == 0 {
                    return;
                }
            }
            Some(barrier) = waiting.recv() => barriers.push(barrier),
        }
        // Nothing wakes this task for every write: it sleeps, and takes what came meanwhile. A word that was left over
        // from the batch before only makes one wait shorter.
        let is_lazy = barriers.is_empty() && jobs.iter().all(|job| job.done.is_none());
        if is_lazy && jobs.len() < ENOUGH && !queue.is_closed() {
            tokio::select! {
                () = hurry.notified() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
        }
        // Before the queue, so that all that was queued before a barrier is taken with it.
        while let Ok(barrier) = waiting.try_recv() {
            barriers.push(barrier);
        }
        while (jobs.len() < BATCH_MAX || !barriers.is_empty() && jobs.len() < QUEUE_MAX)
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        let (writes, answers): (Vec<_>, Vec<_>) =
            jobs.drain(..).map(|job| (job.write, job.done)).unzip();
        match store.apply(&writes).await {
            Ok(()) => answers.into_iter().flatten().for_each(|done| {
                // A caller that no longer waits has lost nothing: the record is written.
                let _ = done.send(Ok(()));
            }),
            // One bad row rolls all back; one at a time, only the bad one is lost.
            Err(_) => write_each(&store, writes, answers, &lost).await,
        }
        barriers.into_iter().for_each(|barrier| {
            let _ = barrier.send(());
        });
    }
}

async fn write_each(
    store: &Store,
    writes: Vec<Write>,
    answers: Vec<Option<oneshot::Sender<Result<(), StoreError>>>>,
    lost: &Lost,
) {
    for (write, done) in writes.into_iter().zip(answers) {
        let result = store.apply(std::slice::from_ref(&write)).await;
        if let Err(error) = &result {
            let operation = operation(&write);
            lost.failed.fetch_add(1, Ordering::Relaxed);
            tracing::error!(operation, error = error as &dyn Error, "store.write_failed");
        }
        if let Some(done) = done {
            let _ = done.send(result);
        }
    }
}

fn operation(write: &Write) -> &'static str {
    match write {
        Write::Open(_) => "open",
        Write::Put(_) => "put",
        Write::Turn(..) => "turn",
        Write::Event(_) => "event",
        Write::Finish(_) => "finish",
        Write::Settle(_) => "settle",
        Write::Emit(_) => "emit",
    }
}
