//! The recorder: one thread that writes every call's stereo WAV, far from the 20 ms path.
//!
//! Each call's media stream fills a bounded ring (its tap); this thread empties the rings a few times
//! a second and writes both channels where the media clock says they belong. Frames may come a little
//! out of order (the caller's are placed at their arrival, the agent's at their departure), so a
//! window of [`WINDOW_MS`] stays in memory before it goes to disk. A killed process leaves a playable
//! file: the writer flushes every second of audio.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::audio::wav::{Channels, WavError, WavWriter};
use crate::engine::TapReader;
use crate::media::TapChannel;
use crate::store::recording::{RecordingError, Recordings};
use crate::telemetry::metrics;
use crate::types::call::{RecordingInfo, RecordingStatus};
use crate::types::{CallId, SampleRate};

/// How often the rings are emptied. A ring holds 2.5 s.
const DRAIN_EVERY: Duration = Duration::from_millis(200);

/// Audio kept in memory so that late frames find their place: the jitter buffer's depth and a reserve.
const WINDOW_MS: u32 = 500;

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
}

/// To the recorder thread.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    recordings: Arc<Recordings>,
}

/// A recording under way.
pub struct Recording {
    id: CallId,
    info: RecordingInfo,
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
        match tokio::time::timeout(limit, finished).await {
            Ok(Ok(info)) => info,
            _ => partial,
        }
    }
}

impl Handle {
    /// Starts the recorder thread.
    ///
    /// # Errors
    /// When the thread can't be made.
    pub fn start(recordings: Arc<Recordings>) -> std::io::Result<Self> {
        let (requests, inbox) = mpsc::channel(REQUEST_QUEUE);
        std::thread::Builder::new().name("recorder".to_owned()).spawn(move || run(inbox))?;
        Ok(Self { requests, recordings })
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
        let filename = Recordings::filename(id, created_at);
        let file = self.recordings.create(&filename)?;
        let path = self.recordings.path(&filename)?;
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
        };
        let track = Box::new(Track {
            id,
            tap,
            writer,
            path,
            info: info.clone(),
            rate,
            origin,
            written: 0,
            window: VecDeque::new(),
            failed: false,
            silences: Vec::new(),
            end: u64::MAX,
        });
        self.requests.try_send(Request::Start(track)).map_err(|_| RecorderError::Busy)?;
        Ok(Recording { id, info, requests: self.requests.clone() })
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
        let keep = self.rate.samples_in_ms(WINDOW_MS);
        self.write(self.window.len().saturating_sub(keep));
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

/// The thread: waits for requests at most [`DRAIN_EVERY`], then empties every ring.
fn run(mut inbox: mpsc::Receiver<Request>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else {
        tracing::error!("the recorder thread has no timer: nothing will be recorded");
        return;
    };
    let mut tracks: Vec<Track> = Vec::new();
    runtime.block_on(async move {
        let mut tick = tokio::time::interval(DRAIN_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                request = inbox.recv() => match request {
                    Some(Request::Start(track)) => tracks.push(*track),
                    Some(Request::Stop { id, done }) => {
                        if let Some(at) = tracks.iter().position(|track| track.id == id) {
                            // Nobody waits any more when the call's limit is over: the file stands.
                            let _ = done.send(tracks.swap_remove(at).finish());
                        }
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
                _ = tick.tick() => tracks.iter_mut().for_each(Track::drain),
            }
        }
        for track in tracks.drain(..) {
            track.finish();
        }
    });
}
