//! Recognition of whole utterances by decoders that block, on a few threads of their own that calls share.
//!
//! A session keeps the audio of one utterance (with pre-roll) and hands it over when VAD says that it ended.
//! There are no partials. Utterances wait in a bounded queue; one whose call is gone is not decoded.

use std::collections::VecDeque;
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::{
    PRE_ROLL_MS, STT_EVENT_QUEUE, STT_INPUT_QUEUE, SttEvent, SttInput, SttParams, SttSession,
};
use crate::providers::{FailureKind, ProviderError, Stage, clock};
use crate::telemetry::metrics;
use crate::types::{Pii, SampleRate};

/// Shorter audio than this cannot hold a word and only upsets a decoder.
const UTTERANCE_MS_MIN: u32 = 100;
/// Utterances that may wait for a decoder, over all calls: at some 50 ms each the last one waits
/// about 3 s with one decoder, after which a caller has given up.
const UTTERANCE_QUEUE: usize = 64;
/// Utterances of one call that may be under way.
const PENDING_MAX: usize = 4;
/// Rate of the audio.
pub(super) const RATE: SampleRate = SampleRate::HZ_16000;

/// One utterance for a decoder.
pub(super) struct Utterance {
    /// Audio at [`RATE`].
    pub(super) samples: Vec<i16>,
    /// What the call says of it.
    pub(super) params: Arc<SttParams>,
    /// Dead when nobody waits for the words any more.
    pub(super) caller: Weak<()>,
}

/// What came of an utterance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// There was no speech to recognise.
    Nothing,
    /// Words.
    Words(String),
    /// Speech without known words, or no decoder had time for it.
    Unknown,
    /// No decoder is left.
    Dead,
}

/// Recognises one utterance at a time, and blocks meanwhile.
pub(super) trait Decoder {
    /// What was said.
    ///
    /// # Errors
    /// What went wrong; the caller is not understood then.
    fn hear(&mut self, utterance: &Utterance) -> Result<Heard, String>;
}

struct Job {
    utterance: Utterance,
    answer: oneshot::Sender<Heard>,
}

/// Why no decoders run.
#[derive(Debug)]
pub(super) enum StartError {
    /// The system gives no thread, or one died.
    Thread(String),
    /// A decoder cannot be made.
    Decoder(String),
}

/// Decoders on threads of their own. They end when every clone and every session are gone.
#[derive(Clone)]
pub(super) struct Pool {
    jobs: std_mpsc::SyncSender<Job>,
    utterance_seconds_max: u32,
}

impl Pool {
    /// Starts `workers` threads called `name`, and returns when each has made its decoder. Of an utterance longer
    /// than `utterance_seconds_max` the start is kept.
    pub(super) fn start<D: Decoder>(
        name: &str,
        workers: usize,
        utterance_seconds_max: u32,
        make: impl Fn() -> Result<D, String> + Clone + Send + 'static,
    ) -> Result<Self, StartError> {
        let (jobs, queue) = std_mpsc::sync_channel(UTTERANCE_QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let (ready, started) = std_mpsc::sync_channel(workers);
        for index in 0..workers {
            let (queue, ready, make) = (Arc::clone(&queue), ready.clone(), make.clone());
            std::thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || match make() {
                    Ok(decoder) => {
                        let _ = ready.send(Ok(()));
                        drop(ready);
                        work(decoder, &queue);
                    }
                    Err(e) => {
                        let _ = ready.send(Err(e));
                    }
                })
                .map_err(|e| StartError::Thread(format!("cannot start a thread: {e}")))?;
        }
        drop(ready);
        for _ in 0..workers {
            match started.recv() {
                Ok(Ok(())) => {}
                Ok(Err(e)) => return Err(StartError::Decoder(e)),
                Err(_) => return Err(StartError::Thread("a decoder thread died".to_owned())),
            }
        }
        Ok(Self { jobs, utterance_seconds_max })
    }

    /// Opens a session for a call. `provider` is the name in its errors.
    pub(super) fn open(&self, provider: String, params: SttParams) -> SttSession {
        let (input, inputs) = mpsc::channel(STT_INPUT_QUEUE);
        let (events, outputs) = mpsc::channel(STT_EVENT_QUEUE);
        let desk = Desk { jobs: self.jobs.clone(), params: Arc::new(params), caller: Arc::new(()) };
        let ear = Ear::new(self.utterance_seconds_max);
        tokio::spawn(session(desk, provider, ear, inputs, events));
        SttSession { input, events: outputs }
    }
}

/// Recognises utterances until every session and the pool are gone.
fn work(mut decoder: impl Decoder, queue: &Mutex<std_mpsc::Receiver<Job>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { utterance, answer }) = next else { return };
        if utterance.caller.strong_count() == 0 {
            continue;
        }
        let heard = decoder.hear(&utterance).unwrap_or_else(|detail| {
            // A decoder that stops because the call is gone did not fail.
            if utterance.caller.strong_count() > 0 {
                tracing::warn!(detail, "recogniser failed on an utterance");
            }
            Heard::Unknown
        });
        let _ = answer.send(heard);
    }
}

/// The audio of one call: what came just before speech, or the utterance so far.
struct Ear {
    utterance_max: usize,
    sound: Sound,
}

enum Sound {
    Idle(VecDeque<i16>),
    Speech(Vec<i16>),
}

impl Ear {
    fn new(utterance_seconds_max: u32) -> Self {
        Self {
            utterance_max: RATE.samples_in_ms(utterance_seconds_max.saturating_mul(1_000)),
            sound: Sound::Idle(VecDeque::new()),
        }
    }

    fn push(&mut self, frame: &[i16]) {
        match &mut self.sound {
            Sound::Idle(pre_roll) => {
                pre_roll.extend(frame);
                let excess = pre_roll.len().saturating_sub(RATE.samples_in_ms(PRE_ROLL_MS));
                pre_roll.drain(..excess);
            }
            Sound::Speech(samples) => {
                let room = self.utterance_max.saturating_sub(samples.len());
                samples.extend(frame.iter().take(room));
            }
        }
    }

    fn start(&mut self) {
        if let Sound::Idle(pre_roll) = &mut self.sound {
            self.sound = Sound::Speech(std::mem::take(pre_roll).into());
        }
    }

    /// The utterance, if there was one.
    fn finish(&mut self) -> Option<Vec<i16>> {
        match std::mem::replace(&mut self.sound, Sound::Idle(VecDeque::new())) {
            Sound::Speech(samples) => Some(samples),
            idle @ Sound::Idle(_) => {
                self.sound = idle;
                None
            }
        }
    }
}

/// Where a session hands its utterances over.
struct Desk {
    jobs: std_mpsc::SyncSender<Job>,
    params: Arc<SttParams>,
    caller: Arc<()>,
}

/// Serves one call until its handle is dropped. Answers come in the order of the questions.
async fn session(
    desk: Desk,
    provider: String,
    mut ear: Ear,
    mut inputs: mpsc::Receiver<SttInput>,
    events: mpsc::Sender<SttEvent>,
) {
    let mut pending = FuturesOrdered::new();
    loop {
        tokio::select! {
            input = inputs.recv() => match input {
                None => return,
                Some(SttInput::Audio(frame)) => ear.push(&frame),
                Some(SttInput::SpeechStarted) => ear.start(),
                Some(SttInput::Finalize { id }) => {
                    let answer = desk.submit(ear.finish(), pending.len());
                    pending.push_back(async move { (id, answer.await.unwrap_or(Heard::Dead)) });
                }
            },
            Some((id, heard)) = pending.next(), if !pending.is_empty() => {
                let dead = heard == Heard::Dead;
                if events.send(event_of(&provider, id, heard)).await.is_err() || dead {
                    return;
                }
            }
        }
    }
}

impl Desk {
    /// Hands an utterance to the decoders, or answers at once where that makes no sense.
    fn submit(&self, samples: Option<Vec<i16>>, pending: usize) -> oneshot::Receiver<Heard> {
        let (answer, heard) = oneshot::channel();
        let Some(samples) = samples else {
            let _ = answer.send(Heard::Nothing);
            return heard;
        };
        if samples.len() < RATE.samples_in_ms(UTTERANCE_MS_MIN) || pending >= PENDING_MAX {
            let _ = answer.send(Heard::Unknown);
            return heard;
        }
        let (params, caller) = (Arc::clone(&self.params), Arc::downgrade(&self.caller));
        let utterance = Utterance { samples, params, caller };
        match self.jobs.try_send(Job { utterance, answer }) {
            Ok(()) => {}
            Err(std_mpsc::TrySendError::Full(job)) => {
                metrics::queue_full("stt_utterances");
                tracing::warn!(
                    limit = UTTERANCE_QUEUE,
                    "every decoder is busy: utterance given up"
                );
                let _ = job.answer.send(Heard::Unknown);
            }
            Err(std_mpsc::TrySendError::Disconnected(job)) => {
                let _ = job.answer.send(Heard::Dead);
            }
        }
        heard
    }
}

fn event_of(provider: &str, id: u32, heard: Heard) -> SttEvent {
    let (text, understood) = match heard {
        Heard::Dead => {
            return SttEvent::Failed(ProviderError {
                provider: provider.to_owned(),
                stage: Stage::Stt,
                kind: FailureKind::Unavailable,
                detail: "no decoder is left".to_owned(),
            });
        }
        Heard::Nothing => (String::new(), true),
        Heard::Words(text) => (text, true),
        Heard::Unknown => (String::new(), false),
    };
    SttEvent::Final {
        text: Pii::new(text),
        confidence: None,
        answers: Some(id),
        understood,
        at: clock::now(),
    }
}

#[cfg(test)]
mod tests;
