//! The recorder: one thread that writes every call's stereo WAV, far from the 20 ms path.
//!
//! Each call's media stream fills a bounded ring (its tap); this thread empties the rings a few times
//! a second and writes both channels where the media clock says they belong. Frames may come a little
//! out of order (the caller's are placed at their arrival, the agent's at their departure), so a
//! window of [`WINDOW_MS`] stays in memory before it goes to disk. A killed process leaves a playable
//! file: the writer flushes every second of audio.
//!
//! Whoever listens to a live call gets the same audio from here, over a short queue of its own: a slow listener
//! misses audio, and neither the recording nor the line ever waits for one.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};

use crate::audio::wav::{Channels, WavError, WavWriter};
use crate::engine::TapReader;
use crate::media::TapChannel;
use crate::net::clock;
use crate::store::recording::{RecordingError, Recordings};
use crate::telemetry::metrics;
use crate::types::call::{RecordingInfo, RecordingStatus};
use crate::types::{CallId, SampleRate};

/// How often the rings are emptied. A ring holds 2.5 s.
const DRAIN_EVERY: Duration = Duration::from_millis(200);

/// Audio kept in memory so that late frames find their place: the jitter buffer's depth and a reserve.
const WINDOW_MS: u32 = 500;

/// How often they are emptied while somebody listens.
const LISTEN_EVERY: Duration = Duration::from_millis(20);

/// How long a listener waits for late frames: most come within one jitter buffer's delay.
const LISTEN_WINDOW_MS: u32 = 120;

/// Pieces of audio on their way to one listener: about 5 s. Beyond, it misses some.
const LISTEN_QUEUE: usize = 256;

/// Who may listen to one call at once.
pub const LISTENERS_MAX: usize = 8;

/// Recordings that may wait to be begun or ended.
const REQUEST_QUEUE: usize = 256;

/// Why a recording could not begin.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// The file could not be made.
    #[error("create the recording file")]
    Create(#[from] RecordingError),
    /// Its header could not be written.
    #[error("begin the recording file")]
    Begin(#[from] WavError),
    /// The recorder thread is gone or overloaded.
    #[error("hand the recording to the recorder thread")]
    Busy,
}

enum Request {
    Start(Box<Track>),
    Stop {
        id: CallId,
        done: oneshot::Sender<RecordingInfo>,
    },
    /// From this instant on, silence or sound goes into the file.
    Silence {
        id: CallId,
        from: Instant,
        on: bool,
    },
    /// What comes from this instant on is not part of the file.
    Close {
        id: CallId,
        from: Instant,
    },
    /// Somebody wants to hear the call.
    Listen {
        id: CallId,
        sink: mpsc::Sender<Heard>,
        taken: oneshot::Sender<Option<SampleRate>>,
    },
}

/// A piece of a live call's audio.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Caller and agent, sample by sample.
    pub samples: Arc<[[i16; 2]]>,
    /// Samples that this listener missed before it, because it was too slow.
    pub missed: u64,
}

/// Somebody who hears a live call. Dropping it ends it.
pub struct Listener {
    /// Samples a second.
    pub rate: SampleRate,
    audio: mpsc::Receiver<Heard>,
}

impl Listener {
    /// The next piece; `None` when the call is over.
    pub async fn recv(&mut self) -> Option<Heard> {
        self.audio.recv().await
    }
}

/// One listener, as the recorder sees it.
struct Ear {
    sink: mpsc::Sender<Heard>,
    missed: u64,
}

type Counts = Arc<Mutex<HashMap<CallId, u32>>>;

/// To the recorder thread.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    recordings: Arc<Recordings>,
    listeners: Counts,
}

/// A recording under way.
pub struct Recording {
    id: CallId,
    info: RecordingInfo,
    path: PathBuf,
    requests: mpsc::Sender<Request>,
}

impl Recording {
    /// What is known of it so far.
    pub fn info(&self) -> RecordingInfo {
        self.info.clone()
    }

    /// From `from` on silence goes into the file, or sound again.
    ///
    /// # Errors
    /// When the recorder thread takes nothing more: the sound still goes into the file.
    pub fn silence(&self, from: Instant, on: bool) -> Result<(), RecorderError> {
        let request = Request::Silence { id: self.id, from, on };
        self.requests.try_send(request).map_err(|_| RecorderError::Busy)
    }

    /// Nothing that comes from `from` on goes into the file.
    ///
    /// # Errors
    /// As [`Recording::silence`].
    pub fn close(&self, from: Instant) -> Result<(), RecorderError> {
        let request = Request::Close { id: self.id, from };
        self.requests.try_send(request).map_err(|_| RecorderError::Busy)
    }

    /// Ends it and waits until the file is complete, at most `limit`.
    pub async fn finish(self, limit: Duration) -> RecordingInfo {
        let (done, finished) = oneshot::channel();
        let request = Request::Stop { id: self.id, done };
        let partial = RecordingInfo { status: RecordingStatus::Partial, ..self.info };
        if self.requests.send_timeout(request, limit).await.is_err() {
            return partial;
        }
        let Ok(Ok(mut info)) = tokio::time::timeout(limit, finished).await else { return partial };
        let path = self.path;
        let hash = tokio::task::spawn_blocking(move || hash(&path));
        // Without it the recording is as good.
        info.sha256 = tokio::time::timeout(limit, hash).await.ok().and_then(Result::ok).flatten();
        info
    }
}

/// SHA-256 of a file in lower-case hexadecimal.
fn hash(path: &Path) -> Option<String> {
    let mut hash = Sha256::new();
    std::io::copy(&mut std::fs::File::open(path).ok()?, &mut HashWriter(&mut hash)).ok()?;
    let digest: [u8; 32] = hash.finalize().into();
    Some(digest.iter().map(|octet| format!("{octet:02x}")).collect())
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.update(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Handle {
    /// Starts the recorder thread.
    ///
    /// # Errors
    /// When the thread can't be made.
    pub fn start(recordings: Arc<Recordings>) -> std::io::Result<Self> {
        let (requests, inbox) = mpsc::channel(REQUEST_QUEUE);
        let listeners = Counts::default();
        let counts = Arc::clone(&listeners);
        let body = move || run(inbox, &counts);
        std::thread::Builder::new().name("recorder".to_owned()).spawn(body)?;
        Ok(Self { requests, recordings, listeners })
    }

    /// Hears a call that is being recorded; `None` if it is not, or [`LISTENERS_MAX`] listen already.
    pub async fn listen(&self, id: CallId) -> Option<Listener> {
        let (sink, audio) = mpsc::channel(LISTEN_QUEUE);
        let (taken, answer) = oneshot::channel();
        self.requests.try_send(Request::Listen { id, sink, taken }).ok()?;
        let rate = answer.await.ok().flatten()?;
        Some(Listener { rate, audio })
    }

    /// How many listen to a call.
    pub fn listeners(&self, id: CallId) -> u32 {
        let counts = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&id).copied().unwrap_or(0)
    }

    /// Begins a recording whose first sample is at `from` (the answer).
    ///
    /// # Errors
    /// When the file can't be made or the recorder takes no more.
    pub fn start_recording(
        &self,
        id: CallId,
        created_at: jiff::Timestamp,
        tap: TapReader,
        from: Instant,
    ) -> Result<Recording, RecorderError> {
        let track = Track::begin(&self.recordings, (id, created_at), tap, from)?;
        let info = track.info.clone();
        let path = self.recordings.path(&info.filename)?;
        self.requests.try_send(Request::Start(Box::new(track))).map_err(|_| RecorderError::Busy)?;
        Ok(Recording { id, info, path, requests: self.requests.clone() })
    }
}

/// One call's file and the window of audio that is not on disk yet.
struct Track {
    id: CallId,
    tap: TapReader,
    writer: WavWriter,
    path: PathBuf,
    info: RecordingInfo,
    rate: SampleRate,
    /// Position of the file's first sample on the media clock: the answer.
    origin: u64,
    written: u64,
    window: VecDeque<[i16; 2]>,
    failed: bool,
    /// Where nothing is kept of what was said, in samples of the file; the last may be open.
    silences: Vec<(u64, u64)>,
    /// Where the file ends, if it was closed.
    end: u64,
    ears: Vec<Ear>,
    /// Position up to which listeners were served.
    heard: u64,
}

/// Silence before the moment of a pause: a packet that comes then holds what was said a frame and a jitter
/// before, and nothing that comes after the command may be heard. It still lies in the window.
const PAUSE_MARGIN_MS: u32 = 100;
const _: () = assert!(PAUSE_MARGIN_MS < WINDOW_MS);

/// Pauses of one recording; a further one lasts until its end, which errs on the side of silence.
const SILENCES_MAX: usize = 256;

/// A frame further ahead than this is a broken clock, not audio.
const AHEAD_SECONDS_MAX: u64 = 60;

impl Track {
    /// Makes the file.
    fn begin(
        recordings: &Recordings,
        (id, created_at): (CallId, jiff::Timestamp),
        tap: TapReader,
        from: Instant,
    ) -> Result<Self, RecorderError> {
        let filename = Recordings::filename(id, created_at);
        let file = recordings.create(&filename)?;
        let path = recordings.path(&filename)?;
        let rate = tap.rate;
        let writer = WavWriter::new(std::io::BufWriter::new(file), rate, Channels::Stereo)?;
        let origin = rate.samples_in(from.saturating_duration_since(tap.start));
        let info = RecordingInfo {
            status: RecordingStatus::Recording,
            filename,
            sample_rate: rate.hz(),
            channels: 2,
            duration_ms: None,
            bytes: None,
            sha256: None,
        };
        Ok(Self {
            id,
            tap,
            writer,
            path,
            info,
            rate,
            origin,
            written: 0,
            window: VecDeque::new(),
            failed: false,
            silences: Vec::new(),
            end: u64::MAX,
            ears: Vec::new(),
            heard: 0,
        })
    }

    fn position(&self, at: Instant) -> u64 {
        let since = self.rate.samples_in(at.saturating_duration_since(self.tap.start));
        since.saturating_sub(self.origin)
    }

    /// Sound that was taken before but belongs after `from` is silenced too: it may wait in the window.
    fn silence(&mut self, from: Instant, on: bool) {
        let at = self.position(from);
        match (on, self.silences.last_mut()) {
            (true, Some((_, end))) if *end == u64::MAX => {}
            (true, _) => {
                let margin = self.rate.samples_in_ms(PAUSE_MARGIN_MS) as u64;
                let at = at.saturating_sub(margin);
                self.silences.push((at, u64::MAX));
                self.blank(at, u64::MAX);
            }
            (false, Some((_, end))) if *end == u64::MAX => {
                let count = self.silences.len();
                if count < SILENCES_MAX
                    && let Some((_, end)) = self.silences.last_mut()
                {
                    *end = at;
                }
            }
            (false, _) => {}
        }
    }

    fn close(&mut self, from: Instant) {
        self.end = self.end.min(self.position(from).max(self.written));
        let keep = usize::try_from(self.end - self.written).unwrap_or(usize::MAX);
        self.window.truncate(keep);
    }

    /// Takes the sound out of what is in memory between two positions of the file.
    fn blank(&mut self, from: u64, to: u64) {
        let skip = usize::try_from(from.saturating_sub(self.written)).unwrap_or(usize::MAX);
        let length = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        self.window.iter_mut().skip(skip).take(length).for_each(|pair| *pair = [0, 0]);
    }

    /// Takes what the ring holds and writes what is old enough.
    fn drain(&mut self) {
        while let Some(frame) = self.tap.try_recv() {
            // What lies before the answer (early media) is not part of the recording.
            let Some(at) = frame.position.checked_sub(self.origin) else { continue };
            let Some(offset) = at.checked_sub(self.written) else {
                metrics::queue_full("recording_late");
                continue;
            };
            if offset > AHEAD_SECONDS_MAX * u64::from(self.rate.hz()) {
                continue;
            }
            let offset = usize::try_from(offset).unwrap_or(usize::MAX);
            if at >= self.end {
                continue;
            }
            let samples = frame.frame.samples();
            let needed = offset + samples.len();
            if self.window.len() < needed {
                self.window.resize(needed, [0, 0]);
            }
            for ([left, right], sample) in self.window.iter_mut().skip(offset).zip(samples) {
                match frame.channel {
                    TapChannel::Caller => *left = *sample,
                    TapChannel::Agent => *right = *sample,
                }
            }
        }
        for at in 0..self.silences.len() {
            if let Some(&(from, to)) = self.silences.get(at)
                && to > self.written
            {
                let from = from.max(self.written);
                self.blank(from, to);
            }
        }
        self.tell();
        let keep = self.rate.samples_in_ms(WINDOW_MS);
        self.write(self.window.len().saturating_sub(keep));
    }

    /// Hands listeners what is old enough for them.
    fn tell(&mut self) {
        let late = self.rate.samples_in_ms(LISTEN_WINDOW_MS) as u64;
        let end = (self.written + self.window.len() as u64).saturating_sub(late);
        let from = self.heard.max(self.written);
        if self.ears.is_empty() || end <= from {
            self.heard = self.heard.max(end);
            return;
        }
        let skip = usize::try_from(from - self.written).unwrap_or(usize::MAX);
        let count = usize::try_from(end - from).unwrap_or(usize::MAX);
        let samples: Arc<[[i16; 2]]> = self.window.iter().skip(skip).take(count).copied().collect();
        self.heard = end;
        self.ears.retain_mut(|ear| {
            let piece = Heard { samples: Arc::clone(&samples), missed: ear.missed };
            match ear.sink.try_send(piece) {
                Ok(()) => ear.missed = 0,
                Err(mpsc::error::TrySendError::Full(_)) => ear.missed += samples.len() as u64,
                Err(mpsc::error::TrySendError::Closed(_)) => return false,
            }
            true
        });
    }

    fn listen(&mut self, sink: mpsc::Sender<Heard>) -> Option<SampleRate> {
        self.ears.retain(|ear| !ear.sink.is_closed());
        if self.ears.len() >= LISTENERS_MAX {
            return None;
        }
        self.ears.push(Ear { sink, missed: 0 });
        Some(self.rate)
    }

    fn write(&mut self, samples: usize) {
        if samples == 0 {
            return;
        }
        let (left, right): (Vec<i16>, Vec<i16>) =
            self.window.drain(..samples).map(|[left, right]| (left, right)).unzip();
        self.written += samples as u64;
        if !self.failed && self.writer.write_stereo(&left, &right).is_err() {
            // The call goes on without its recording; the record says so.
            self.failed = true;
            metrics::recording_failed();
        }
    }

    fn finish(mut self) -> RecordingInfo {
        self.drain();
        self.write(self.window.len());
        let closed = self.writer.finish().is_ok();
        let bytes = std::fs::metadata(&self.path).map(|meta| meta.len()).ok();
        RecordingInfo {
            status: if closed && !self.failed {
                RecordingStatus::Available
            } else {
                RecordingStatus::Partial
            },
            duration_ms: Some(
                u64::try_from(self.rate.duration_of(self.written).as_millis()).unwrap_or(u64::MAX),
            ),
            bytes,
            ..self.info
        }
    }
}

/// The thread: waits for requests until the rings are to be emptied again.
fn run(mut inbox: mpsc::Receiver<Request>, counts: &Counts) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
        tracing::error!("the recorder thread has no timer: nothing will be recorded");
        return;
    };
    let mut tracks: Vec<Track> = Vec::new();
    runtime.block_on(async move {
        let mut drained = tokio::time::Instant::from_std(clock::now());
        loop {
            let listened = tracks.iter().any(|track| !track.ears.is_empty());
            let every = if listened { LISTEN_EVERY } else { DRAIN_EVERY };
            tokio::select! {
                biased;
                request = inbox.recv() => match request {
                    Some(Request::Start(track)) => tracks.push(*track),
                    Some(Request::Stop { id, done }) => {
                        if let Some(at) = tracks.iter().position(|track| track.id == id) {
                            // Nobody waits any more when the call's limit is over: the file stands.
                            let _ = done.send(tracks.swap_remove(at).finish());
                        }
                        count(&tracks, counts);
                    }
                    Some(Request::Listen { id, sink, taken }) => {
                        let track = tracks.iter_mut().find(|track| track.id == id);
                        // Whoever asked may be gone; the next look at its queue finds that out.
                        let _ = taken.send(track.and_then(|track| track.listen(sink)));
                        count(&tracks, counts);
                    }
                    Some(Request::Silence { id, from, on }) => {
                        if let Some(track) = tracks.iter_mut().find(|track| track.id == id) {
                            track.silence(from, on);
                        }
                    }
                    Some(Request::Close { id, from }) => {
                        if let Some(track) = tracks.iter_mut().find(|track| track.id == id) {
                            track.drain();
                            track.close(from);
                        }
                    }
                    None => break,
                },
                () = tokio::time::sleep_until(drained + every) => {
                    drained = tokio::time::Instant::from_std(clock::now());
                    tracks.iter_mut().for_each(Track::drain);
                    if listened {
                        count(&tracks, counts);
                    }
                }
            }
        }
        for track in tracks.drain(..) {
            track.finish();
        }
    });
}

fn count(tracks: &[Track], counts: &Counts) {
    let listened = tracks.iter().filter(|track| !track.ears.is_empty());
    let now = listened.map(|track| (track.id, u32::try_from(track.ears.len()).unwrap_or(u32::MAX)));
    *counts.lock().unwrap_or_else(PoisonError::into_inner) = now.collect();
}

#[cfg(test)]
mod tests;
