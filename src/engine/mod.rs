//! Gate: OS threads that carry every call's audio on time.
//!
//! The workers that serve HTTP and providers are 8 to 13 ms late at the 99th percentile under load; a
//! thread that does nothing but media, woken at absolute deadlines and with real-time priority where the
//! system permits it, stays below 1 ms. A thread owns its streams: their sockets, their
//! [`crate::media::Stream`] and one end of bounded lock-free rings, whose other end is the [`Stream`] a
//! call holds. Nothing on the 20 ms path allocates, locks or waits.
//!
//! Start reading at [`start`], then [`thread`].

mod aside;
pub mod bell;
pub mod counters;
mod door;
mod herald;
mod keying;
pub mod lateness;
pub mod port;
mod seat;
pub mod stream;
mod thread;
pub mod wheel;

use std::io;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

pub use aside::AsideWriter;
pub use counters::{Counters, CountersSnapshot};
pub use lateness::{Lateness, LatenessSnapshot};
pub use port::{PortError, Ports};
pub use stream::{CommandsFull, EventReader, PlayoutWriter, Stream, TapReader};

use crate::media;
use crate::net::clock;
use crate::types::{CallId, Entropy};
use bell::Bell;
use port::PortPool;
use seat::Seat;

/// Media threads unless configured: more do not help before each carries 500 calls.
const THREADS_MAX: usize = 4;
/// Streams on their way to a thread, 8 octets each: it takes all of them within a millisecond, so that
/// this fills only when it hangs.
const ATTACH_QUEUE: usize = 512;

/// Settings of the media threads.
#[derive(Clone, Debug)]
pub struct Config {
    /// Threads; `None`: one a core, at most four.
    pub threads: Option<NonZeroUsize>,
    /// Local address of RTP sockets.
    pub bind_ip: IpAddr,
    /// Local ports.
    pub ports: Ports,
    /// SCHED_FIFO priority 1 to 99; `None`: do not ask for it.
    pub sched_fifo: Option<u8>,
    /// Events a call may leave unread: 72 are 1 s of frames beside 24 other events, in 49 kB. A slot holds a
    /// frame of either rate.
    pub event_ring: usize,
    /// Audio of the agent between the call's task and the line, in frames of 20 ms. 20 frames survive a
    /// pause of its task of 400 ms; the backlog beyond stays with the task, where a cut is free.
    pub playout_ring: usize,
    /// Recorded frames a slow recorder may leave unread: 128 are 1.3 s of both channels, in 84 kB. The
    /// recorder looks five times a second.
    pub tap_ring: usize,
    /// Streams of one thread from which it looks once a millisecond at all that came in meanwhile, as
    /// network cards do, instead of at each packet: a wake costs more than a packet. Below, latency is
    /// free. A measuring instrument never does: its arrival times would be a millisecond coarse.
    pub moderate_from: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: None,
            bind_ip: IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
            ports: Ports::Range(16_384..=32_767),
            sched_fifo: None,
            event_ring: 72,
            playout_ring: 20,
            tap_ring: 128,
            moderate_from: 8,
        }
    }
}

/// Why the engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configured range cannot be used.
    #[error(transparent)]
    Ports(#[from] PortError),
    /// The system gives no thread, timer or descriptor.
    #[error("start a media thread")]
    Thread(#[from] io::Error),
}

/// Why a stream cannot be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No port pair is free: the call is to be refused with 503.
    #[error(transparent)]
    NoPorts(#[from] PortError),
    /// The voice activity detector's settings are wrong.
    #[error(transparent)]
    Media(#[from] media::ConfigError),
    /// The media thread does not take it.
    #[error("hand a stream to a media thread: it does not respond")]
    Unresponsive,
}

/// What the engine must know of a call.
#[derive(Debug)]
pub struct StreamSeed {
    /// Whose stream, for logs.
    pub call: CallId,
    /// Voice path settings.
    pub media: media::Config,
    /// Whether to keep a feed for a recorder.
    pub recording: Recording,
    /// For identity, sequence number and timestamp.
    pub entropy: Entropy,
}

/// Whether a stream feeds a recorder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// [`Stream::take_tap`] gives the feed.
    On,
    /// There is none.
    Off,
}

/// The running engine. Threads end when the last handle and the last stream are gone.
#[derive(Clone)]
pub struct Handle {
    engine: Arc<Engine>,
}

struct Engine {
    config: Config,
    pool: Arc<PortPool>,
    threads: Vec<ThreadHandle>,
    lateness: Arc<Lateness>,
    counters: Arc<Counters>,
    attached: AtomicU64,
    identity: Arc<keying::OwnIdentity>,
}

/// Another thread's side of a media thread.
struct ThreadHandle {
    seats: SyncSender<Box<Seat>>,
    shared: Arc<ThreadShared>,
}

/// What a media thread shares.
struct ThreadShared {
    bell: Bell,
    /// Where the slots of 1 ms begin, in which threads look for what is due.
    epoch: Instant,
    /// See [`Config::moderate_from`].
    moderate_from: usize,
    streams: AtomicUsize,
    closing: AtomicBool,
}

/// Starts the media threads.
///
/// # Errors
/// When the port range cannot be used or the system gives no thread.
pub fn start(config: Config) -> Result<Handle, StartError> {
    let pool = Arc::new(PortPool::new(config.bind_ip, config.ports.clone())?);
    if let Some(kernel) = port::overlap_with_kernel(&config.ports) {
        tracing::warn!(
            kernel_first = *kernel.start(),
            kernel_last = *kernel.end(),
            "RTP ports overlap with net.ipv4.ip_local_port_range: now and then a call will find its \
             port taken; change `media.rtp_ports` or the kernel's range"
        );
    }
    let count = config.threads.map_or_else(default_threads, NonZeroUsize::get);
    let lateness = Arc::new(Lateness::default());
    let counters = Arc::new(Counters::default());
    let mut threads = Vec::with_capacity(count);
    let epoch = clock::now();
    for number in 0..count {
        let shared = Arc::new(ThreadShared {
            bell: Bell::new()?,
            epoch,
            moderate_from: config.moderate_from,
            streams: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        });
        let (sender, receiver) = sync_channel(ATTACH_QUEUE);
        let thread = thread::MediaThread::new(
            Arc::clone(&shared),
            receiver,
            Arc::clone(&pool),
            Arc::clone(&lateness),
            Arc::clone(&counters),
            herald::Herald::start(format!("herald-{number}"))?,
        )?;
        let priority = config.sched_fifo;
        std::thread::Builder::new().name(format!("media-{number}")).spawn(move || {
            thread.run(priority);
        })?;
        threads.push(ThreadHandle { seats: sender, shared });
    }
    let (attached, identity) = (AtomicU64::new(0), Arc::default());
    let engine = Engine { config, pool, threads, lateness, counters, attached, identity };
    Ok(Handle { engine: Arc::new(engine) })
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(THREADS_MAX)
}

impl Handle {
    /// Binds a port pair and gives a stream to the least loaded thread. The stream is silent until
    /// [`media::MediaCommand::Configure`].
    ///
    /// # Errors
    /// When no port is free, a setting is wrong or the thread does not respond.
    pub fn attach(&self, seed: StreamSeed) -> Result<Stream, AttachError> {
        self.attach_pair(seed, |pool, now| pool.lease(now))
    }

    /// The same for a call whose signalling is at `near`: its sockets are of that family where they may be anywhere.
    ///
    /// # Errors
    /// As [`Self::attach`].
    pub fn attach_near(
        &self,
        seed: StreamSeed,
        near: std::net::IpAddr,
    ) -> Result<Stream, AttachError> {
        self.attach_pair(seed, |pool, now| pool.lease_near(now, near))
    }

    fn attach_pair(
        &self,
        seed: StreamSeed,
        lease: impl FnOnce(&PortPool, Instant) -> Result<port::PortPair, port::PortError>,
    ) -> Result<Stream, AttachError> {
        let engine = &self.engine;
        let now = clock::now();
        let pair = lease(&engine.pool, now)?;
        let port = pair.local_rtp.port();
        let attached = self.attach_to(seed, pair, now);
        if attached.is_err() {
            engine.pool.give_back(now, port);
        }
        attached
    }

    /// How late packets left.
    pub fn lateness(&self) -> LatenessSnapshot {
        self.engine.lateness.snapshot()
    }

    /// What was carried and what was dropped, for all streams together.
    pub fn counters(&self) -> CountersSnapshot {
        self.engine.counters.snapshot()
    }

    /// Local ports in use, RTP and RTCP.
    pub fn ports_in_use(&self) -> std::collections::BTreeSet<u16> {
        self.engine.pool.in_use()
    }

    /// Streams attached now.
    pub fn streams(&self) -> usize {
        self.engine.threads.iter().map(|t| t.shared.streams.load(Ordering::Relaxed)).sum()
    }

    fn attach_to(
        &self,
        mut seed: StreamSeed,
        pair: port::PortPair,
        now: Instant,
    ) -> Result<Stream, AttachError> {
        let engine = &self.engine;
        let least = engine.threads.iter().min_by_key(|t| t.shared.streams.load(Ordering::Relaxed));
        let thread = least.ok_or(AttachError::Unresponsive)?;
        // Calls take the 20 slots of 1 ms in turn, so that their packets never bunch.
        let number = engine.attached.fetch_add(1, Ordering::Relaxed);
        let now = slot_of(thread.shared.epoch, now);
        let phase = Duration::from_millis(number * 7 % u64::from(crate::types::audio::FRAME_MS));
        let media = media::Stream::new(&seed.media, now, phase, &mut seed.entropy)?;
        let begins = (now, Arc::clone(&thread.shared));
        let (stream, seat) =
            stream::pair(&engine.config, &mut seed, media, pair, begins, &engine.identity);
        thread.shared.streams.fetch_add(1, Ordering::Relaxed);
        match thread.seats.try_send(Box::new(seat)) {
            Ok(()) => {
                thread.shared.bell.ring();
                Ok(stream)
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                thread.shared.streams.fetch_sub(1, Ordering::Relaxed);
                Err(AttachError::Unresponsive)
            }
        }
    }
}

/// The beginning of the slot of 1 ms that `at` lies in.
fn slot_of(epoch: Instant, at: Instant) -> Instant {
    let since = at.saturating_duration_since(epoch);
    at.checked_sub(Duration::from_nanos(u64::from(since.subsec_nanos() % 1_000_000))).unwrap_or(at)
}

impl Drop for Engine {
    fn drop(&mut self) {
        for thread in &self.threads {
            thread.shared.closing.store(true, Ordering::Release);
            thread.shared.bell.ring();
        }
    }
}

#[cfg(test)]
mod tests;
