//! Recognition without keys and network: pocketsphinx with the agent's own phrases as a grammar.
//!
//! Decoders block and cost memory, so they live on a few threads of their own and calls share them:
//! a session keeps the audio of one utterance (with pre-roll) and hands it over when VAD says that
//! it ended. Whole utterances let the decoder normalise the channel over all of them, which hears
//! more voices right than its live mode and lets no caller's line colour the next one's; the price
//! is 0.1 to 0.4 s for an utterance of 1.4 to 2.5 s (two shared cores, load 2 to 11), most of it paid
//! while endpointing waits anyway. There are no partials.
//! It knows English, and nothing outside the grammar: a loop over all phones tells such speech apart,
//! and it comes back with `understood: false`.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::grammar::{Grammar, Vocabulary, plain_words};
use super::sphinx_ffi::{Decoder, Library};
use super::{
    PRE_ROLL_MS, STT_EVENT_QUEUE, STT_INPUT_QUEUE, Stt, SttEvent, SttInput, SttParams, SttSession,
};
use crate::providers::{FailureKind, ProviderError, Stage, clock};
use crate::types::{Pii, SampleRate};

/// Longest utterance that is recognised, in seconds: longer ones fit no phrase. The start is kept.
pub const UTTERANCE_SECONDS_MAX: u32 = 20;
/// Shorter audio than this cannot hold a word and only upsets the decoder.
const UTTERANCE_MS_MIN: u32 = 100;
/// Utterances that may wait for a decoder, over all calls: at some 50 ms each the last one waits
/// about 3 s with one decoder, after which a caller has given up.
pub const UTTERANCE_QUEUE: usize = 64;
/// Utterances of one call that may be under way.
const PENDING_MAX: usize = 4;
/// Most decoder threads that the configuration may ask for.
pub const WORKERS_MAX: usize = 32;

const PHRASES: &CStr = c"phrases";
const PHONES: &CStr = c"phones";
const RATE: SampleRate = SampleRate::HZ_16000;

/// Settings of the local recogniser.
#[derive(Clone, Debug, PartialEq)]
pub struct SphinxConfig {
    /// Directory with `en-us/` (acoustic model) and `cmudict-en-us.dict`.
    pub model_dir: PathBuf,
    /// Decoder threads, 1 to [`WORKERS_MAX`].
    pub workers: usize,
    /// How much worse than mere phones a phrase may score, per frame of 10 ms, -100 to 100: larger
    /// rejects more.
    pub rejection: f32,
}

impl Default for SphinxConfig {
    fn default() -> Self {
        Self {
            model_dir: PathBuf::from("/usr/share/pocketsphinx/model/en-us"),
            workers: 2,
            rejection: -4.0,
        }
    }
}

/// Pocketsphinx with one agent's grammar.
pub struct SphinxStt {
    jobs: std_mpsc::SyncSender<Job>,
}

/// One utterance for a decoder.
struct Job {
    samples: Vec<i16>,
    answer: oneshot::Sender<Heard>,
}

/// What came of an utterance.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    /// There was no speech to recognise.
    Nothing,
    /// Words of the grammar.
    Words(String),
    /// Speech outside the grammar, or no decoder had time for it.
    Unknown,
    /// No decoder is left.
    Dead,
}

fn error(kind: FailureKind, detail: impl Into<String>) -> ProviderError {
    ProviderError {
        provider: "pocketsphinx".to_owned(),
        stage: Stage::Stt,
        kind,
        detail: detail.into(),
    }
}

impl SphinxStt {
    /// Loads the library, compiles the grammar and starts the decoder threads. Blocks for some
    /// tenths of a second; meant for the start of the server.
    ///
    /// # Errors
    /// `Missing` if the library or its model is not installed (the detail says how to get it),
    /// `BadRequest` if the grammar cannot be compiled or a setting is out of range.
    pub fn load(config: &SphinxConfig, vocabulary: &Vocabulary) -> Result<Self, ProviderError> {
        if !(1..=WORKERS_MAX).contains(&config.workers) {
            return Err(error(
                FailureKind::BadRequest,
                format!("workers must be 1 to {WORKERS_MAX}"),
            ));
        }
        if !(-100.0..=100.0).contains(&config.rejection) {
            return Err(error(FailureKind::BadRequest, "rejection must be -100 to 100"));
        }
        let library = Library::load().map_err(|e| {
            error(FailureKind::Missing, format!("{e}: apt-get install libpocketsphinx3"))
        })?;
        let acoustic = config.model_dir.join("en-us");
        let dictionary = config.model_dir.join("cmudict-en-us.dict");
        for file in [
            &acoustic.join("mdef"),
            &acoustic.join("means"),
            &acoustic.join("variances"),
            &dictionary,
        ] {
            if !file.is_file() {
                return Err(error(
                    FailureKind::Missing,
                    format!("{} is missing: apt-get install pocketsphinx-en-us", file.display()),
                ));
            }
        }
        let grammar =
            vocabulary.compile(&dictionary).map_err(|e| error(FailureKind::BadRequest, e))?;
        let (jobs, queue) = std_mpsc::sync_channel(UTTERANCE_QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let (ready, started) = std_mpsc::sync_channel(config.workers);
        for index in 0..config.workers {
            let (library, acoustic, grammar) = (library.clone(), acoustic.clone(), grammar.clone());
            let (queue, ready) = (queue.clone(), ready.clone());
            let margin = config.rejection;
            std::thread::Builder::new()
                .name(format!("sphinx-{index}"))
                .spawn(move || match decoder(library, &acoustic, &grammar) {
                    Ok(decoder) => {
                        let _ = ready.send(Ok(()));
                        drop(ready);
                        work(decoder, &queue, margin);
                    }
                    Err(e) => {
                        let _ = ready.send(Err(e));
                    }
                })
                .map_err(|e| {
                    error(FailureKind::Unavailable, format!("cannot start a thread: {e}"))
                })?;
        }
        drop(ready);
        for _ in 0..config.workers {
            match started.recv() {
                Ok(Ok(())) => {}
                Ok(Err(e)) => return Err(error(FailureKind::BadRequest, e)),
                Err(_) => return Err(error(FailureKind::Unavailable, "a decoder thread died")),
            }
        }
        Ok(Self { jobs })
    }
}

/// Makes a decoder that knows only the words of the grammar: a third of the memory that the whole
/// dictionary takes.
fn decoder(library: Arc<Library>, acoustic: &Path, grammar: &Grammar) -> Result<Decoder, String> {
    let mut decoder = Decoder::new(library, acoustic, &[("-cmn", "batch")])?;
    for (word, phones) in &grammar.words {
        decoder.add_word(word, phones)?;
    }
    decoder.add_grammar(PHRASES, &grammar.phrases)?;
    decoder.add_grammar(PHONES, &grammar.phones)?;
    Ok(decoder)
}

/// Recognises utterances until every session and the provider are gone.
fn work(mut decoder: Decoder, queue: &Mutex<std_mpsc::Receiver<Job>>, margin: f32) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        if job.answer.is_closed() {
            continue;
        }
        let heard = hear(&mut decoder, &job.samples, margin).unwrap_or_else(|detail| {
            tracing::warn!(detail, "recogniser failed on an utterance");
            Heard::Unknown
        });
        let _ = job.answer.send(heard);
    }
}

/// Recognises one utterance. A grammar alone finds a phrase in everything; so the phrase must score
/// at most `margin` a frame worse than the best sequence of mere phones.
fn hear(decoder: &mut Decoder, samples: &[i16], margin: f32) -> Result<Heard, String> {
    let Some(phrase) = decoder.recognise(PHRASES, samples)? else { return Ok(Heard::Unknown) };
    if phrase.text.is_empty() || phrase.frames == 0 {
        return Ok(Heard::Unknown);
    }
    if let Some(phones) = decoder.recognise(PHONES, samples)? {
        let gain = f64::from(phrase.score) - f64::from(phones.score);
        if gain / f64::from(phrase.frames) < f64::from(margin) {
            return Ok(Heard::Unknown);
        }
    }
    Ok(Heard::Words(plain_words(&phrase.text)))
}

impl Stt for SphinxStt {
    fn name(&self) -> &str {
        "pocketsphinx"
    }

    fn model(&self) -> Option<&str> {
        Some("en-us")
    }

    fn sample_rate(&self) -> SampleRate {
        RATE
    }

    fn wants_quiet(&self) -> bool {
        true
    }

    fn open(&self, _params: SttParams) -> BoxFuture<'static, Result<SttSession, ProviderError>> {
        let jobs = self.jobs.clone();
        Box::pin(async move {
            let (input, inputs) = mpsc::channel(STT_INPUT_QUEUE);
            let (events, outputs) = mpsc::channel(STT_EVENT_QUEUE);
            tokio::spawn(session(jobs, inputs, events));
            Ok(SttSession { input, events: outputs })
        })
    }
}

/// The audio of one call: what came just before speech, or the utterance so far.
enum Ear {
    Idle(VecDeque<i16>),
    Speech(Vec<i16>),
}

impl Ear {
    fn push(&mut self, frame: &[i16]) {
        match self {
            Self::Idle(pre_roll) => {
                pre_roll.extend(frame);
                let excess = pre_roll.len().saturating_sub(RATE.samples_in_ms(PRE_ROLL_MS));
                pre_roll.drain(..excess);
            }
            Self::Speech(samples) => {
                let room = RATE
                    .samples_in_ms(UTTERANCE_SECONDS_MAX.saturating_mul(1_000))
                    .saturating_sub(samples.len());
                samples.extend(frame.iter().take(room));
            }
        }
    }

    fn start(&mut self) {
        if let Self::Idle(pre_roll) = self {
            *self = Self::Speech(std::mem::take(pre_roll).into());
        }
    }

    /// The utterance, if there was one.
    fn finish(&mut self) -> Option<Vec<i16>> {
        match std::mem::replace(self, Self::Idle(VecDeque::new())) {
            Self::Speech(samples) => Some(samples),
            idle @ Self::Idle(_) => {
                *self = idle;
                None
            }
        }
    }
}

/// Serves one call until its handle is dropped. Answers come in the order of the questions.
async fn session(
    jobs: std_mpsc::SyncSender<Job>,
    mut inputs: mpsc::Receiver<SttInput>,
    events: mpsc::Sender<SttEvent>,
) {
    let mut ear = Ear::Idle(VecDeque::new());
    let mut pending = FuturesOrdered::new();
    loop {
        tokio::select! {
            input = inputs.recv() => match input {
                None => return,
                Some(SttInput::Audio(frame)) => ear.push(&frame),
                Some(SttInput::SpeechStarted) => ear.start(),
                Some(SttInput::Finalize { id }) => {
                    let answer = submit(&jobs, ear.finish(), pending.len());
                    pending.push_back(async move { (id, answer.await.unwrap_or(Heard::Dead)) });
                }
            },
            Some((id, heard)) = pending.next(), if !pending.is_empty() => {
                let dead = heard == Heard::Dead;
                if events.send(event_of(id, heard)).await.is_err() || dead {
                    return;
                }
            }
        }
    }
}

/// Hands an utterance to the decoders, or answers at once where that makes no sense.
fn submit(
    jobs: &std_mpsc::SyncSender<Job>,
    samples: Option<Vec<i16>>,
    pending: usize,
) -> oneshot::Receiver<Heard> {
    let (answer, heard) = oneshot::channel();
    let Some(samples) = samples else {
        let _ = answer.send(Heard::Nothing);
        return heard;
    };
    if samples.len() < RATE.samples_in_ms(UTTERANCE_MS_MIN) || pending >= PENDING_MAX {
        let _ = answer.send(Heard::Unknown);
        return heard;
    }
    match jobs.try_send(Job { samples, answer }) {
        Ok(()) => {}
        Err(std_mpsc::TrySendError::Full(job)) => {
            tracing::warn!(limit = UTTERANCE_QUEUE, "every decoder is busy: utterance given up");
            let _ = job.answer.send(Heard::Unknown);
        }
        Err(std_mpsc::TrySendError::Disconnected(job)) => {
            let _ = job.answer.send(Heard::Dead);
        }
    }
    heard
}

fn event_of(id: u32, heard: Heard) -> SttEvent {
    let (text, understood) = match heard {
        Heard::Dead => {
            return SttEvent::Failed(error(FailureKind::Unavailable, "no decoder is left"));
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
