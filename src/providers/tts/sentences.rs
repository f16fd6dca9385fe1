//! Synthesis with one request a sentence: the next is asked for while the one before plays, and dropping
//! a request is its cancel. What differs between vendors is a [`Speaker`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::decoder::Decoder;
use super::{TTS_EVENT_QUEUE, TTS_INPUT_QUEUE, TtsEvent, TtsInput, TtsSession};
use crate::net::clock;
use crate::providers::{FailureKind, ProviderError, Stage, http};
use crate::types::{Generation, Pcm, Pii};

/// Sentences synthesised at once: the one that plays and the next.
const AHEAD: usize = 2;

/// Chunks of one sentence that may wait while the one before it plays; the provider is held back then.
const CHUNKS_MAX: usize = 16;

/// Longest time without an octet of a sentence; the call's watchdog speaks up long before.
pub(super) const STALL: Duration = Duration::from_secs(4);

/// What a warm-up may take before it is given up.
pub(super) const WARM_UP: Duration = Duration::from_secs(3);

/// Largest list of models or voices that is read to give the connection back.
pub(super) const WARM_UP_BYTES_MAX: usize = 256 * 1024;

/// Where a sentence's audio goes.
pub(super) type Chunks = mpsc::Sender<Result<Pcm, ProviderError>>;

/// A vendor's way to one sentence.
pub(super) trait Speaker: Send + Sync + 'static {
    /// Name in the configuration.
    fn name(&self) -> &str;
    /// Speaks a sentence that is not blank. It ends early when nobody takes the chunks.
    fn speak<'a>(
        &'a self,
        text: &'a str,
        out: &'a Chunks,
    ) -> BoxFuture<'a, Result<(), ProviderError>>;
}

/// An error of a voice.
pub(super) fn error(provider: &str, kind: FailureKind, detail: &str) -> ProviderError {
    let (provider, detail) = (provider.to_owned(), detail.to_owned());
    ProviderError { provider, stage: Stage::Tts, kind, detail }
}

/// Runs a session.
pub(super) fn open(speaker: impl Speaker) -> TtsSession {
    let (input, inbox) = mpsc::channel(TTS_INPUT_QUEUE);
    let (outbox, events) = mpsc::channel(TTS_EVENT_QUEUE);
    let gone = outbox.clone();
    tokio::spawn(async move {
        tokio::select! {
            () = run(Arc::new(speaker), inbox, outbox) => {}
            () = gone.closed() => {}
        }
    });
    TtsSession { input, events }
}

struct Sentence {
    generation: Generation,
    seq: u32,
    text: Pii<String>,
}

struct Running {
    generation: Generation,
    seq: u32,
    chunks: mpsc::Receiver<Result<Pcm, ProviderError>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Dropping the request is the cancel.
        self.task.abort();
    }
}

async fn run<S: Speaker>(
    speaker: Arc<S>,
    mut inbox: mpsc::Receiver<TtsInput>,
    outbox: mpsc::Sender<TtsEvent>,
) {
    let mut waiting: VecDeque<Sentence> = VecDeque::new();
    let mut running: VecDeque<Running> = VecDeque::new();
    // Events wait for room here, where a cancel can still take them back.
    let mut events: VecDeque<(Generation, TtsEvent)> = VecDeque::new();
    loop {
        while running.len() < AHEAD
            && let Some(sentence) = waiting.pop_front()
        {
            running.push_back(begin(&speaker, sentence));
        }
        let has_event = !events.is_empty();
        let head = async {
            match running.front_mut() {
                Some(head) if !has_event => head.chunks.recv().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            input = inbox.recv() => match input {
                Some(TtsInput::Say { generation, seq, text }) => {
                    if waiting.len() < TTS_INPUT_QUEUE {
                        waiting.push_back(Sentence { generation, seq, text });
                    } else if events.len() < TTS_EVENT_QUEUE {
                        let detail = "too many sentences wait";
                        let error = error(speaker.name(), FailureKind::BadRequest, detail);
                        let told = TtsEvent::Failed { generation, seq, error, fatal: false };
                        events.push_back((generation, told));
                    }
                }
                Some(TtsInput::Cancel { generation }) => {
                    waiting.retain(|sentence| sentence.generation > generation);
                    running.retain(|sentence| sentence.generation > generation);
                    events.retain(|(of, _)| *of > generation);
                }
                None => return,
            },
            permit = outbox.reserve(), if has_event => match permit {
                Ok(permit) => {
                    if let Some((_, event)) = events.pop_front() {
                        permit.send(event);
                    }
                }
                Err(_) => return,
            },
            chunk = head => {
                let Some(front) = running.front() else { continue };
                let (generation, seq) = (front.generation, front.seq);
                let told = match chunk {
                    Some(Ok(pcm)) => TtsEvent::Audio { generation, seq, pcm, at: clock::now() },
                    Some(Err(error)) => {
                        running.pop_front();
                        TtsEvent::Failed { generation, seq, error, fatal: false }
                    }
                    None => {
                        running.pop_front();
                        TtsEvent::Done { generation, seq }
                    }
                };
                events.push_back((generation, told));
            }
        }
    }
}

fn begin<S: Speaker>(speaker: &Arc<S>, sentence: Sentence) -> Running {
    let (out, chunks) = mpsc::channel(CHUNKS_MAX);
    let Sentence { generation, seq, text } = sentence;
    let speaker = Arc::clone(speaker);
    let task = tokio::spawn(async move {
        if text.reveal().trim().is_empty() {
            return;
        }
        if let Err(error) = speaker.speak(text.reveal(), &out).await {
            // Nobody listens to a sentence that was canceled.
            let _ = out.send(Err(error)).await;
        }
    });
    Running { generation, seq, chunks, task }
}

/// Sends a request and passes its audio on.
pub(super) async fn stream(
    provider: &str,
    request: reqwest::RequestBuilder,
    mut decoder: Decoder,
    out: &Chunks,
) -> Result<(), ProviderError> {
    let failed = |doing: &str, error| http::error(provider, Stage::Tts, doing, error);
    let stalled = || error(provider, FailureKind::Stalled, "read the speech: nothing within 4 s");
    let response = tokio::time::timeout(STALL, request.send())
        .await
        .map_err(|_| stalled())?
        .map_err(|error| failed("ask for speech", error))?;
    let response = http::success(provider, Stage::Tts, "ask for speech", response)?;
    let kind = response.headers().get(reqwest::header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let others = ["application/json", "text/", "audio/mpeg", "audio/ogg"];
    // One that must begin with a header shows by that what it is.
    if !decoder.needs_header() && others.iter().any(|other| kind.starts_with(other)) {
        let detail = "the answer is not linear PCM";
        return Err(error(provider, FailureKind::Protocol, detail));
    }
    let mut body = response.bytes_stream();
    let mut empty = true;
    while let Some(chunk) = tokio::time::timeout(STALL, body.next()).await.map_err(|_| stalled())? {
        let chunk = chunk.map_err(|error| failed("read the speech", error))?;
        let pcm = decoder
            .push(&chunk)
            .map_err(|_| error(provider, FailureKind::Protocol, "a WAV that is not mono PCM"))?;
        if let Some(pcm) = pcm {
            empty = false;
            if out.send(Ok(pcm)).await.is_err() {
                return Ok(());
            }
        }
    }
    if empty {
        return Err(error(provider, FailureKind::Protocol, "the answer holds no audio"));
    }
    Ok(())
}
