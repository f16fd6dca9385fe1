//! OpenAI-compatible `POST /v1/audio/speech`: one request a sentence, audio streamed as it comes.
//!
//! Works with OpenAI, Kokoro-FastAPI, speaches, LocalAI. `pcm` is signed 16-bit at 24 kHz, unless the
//! server says otherwise with a WAV header. The next sentence is asked for while the one before plays.

mod decoder;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::sync::mpsc;

use self::decoder::{Decoder, NotPcm};
use super::{TTS_EVENT_QUEUE, TTS_INPUT_QUEUE, Tts, TtsEvent, TtsInput, TtsParams, TtsSession};
use crate::net::clock;
use crate::providers::config::{ConfigError, ProviderConfig, or_default};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, Stage, http};
use crate::types::{Generation, Pcm, Pii, SampleRate, Secret};

/// Sentences synthesised at once: the one that plays and the next.
const AHEAD: usize = 2;

/// Chunks of one sentence that may wait while the one before it plays; the provider is held back then.
const CHUNKS_MAX: usize = 16;

/// Longest time without an octet of a sentence; the call's watchdog speaks up long before.
const STALL: Duration = Duration::from_secs(4);

/// What a warm-up may take before it is given up.
const WARM_UP: Duration = Duration::from_secs(3);

/// Largest list of models that is read to give the connection back.
const WARM_UP_BYTES_MAX: usize = 256 * 1024;

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Tts> = Maker {
    capabilities: &["streaming", "speed", "voice"],
    models: &["gpt-4o-mini-tts", "tts-1"],
    build,
};

const RATES: &str = "8000, 16000, 22050, 24000, 44100, 48000";

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Tts>, ConfigError> {
    Ok(Arc::new(OpenAiTts {
        name: name.to_owned(),
        base_url: config.http_url("https://api.openai.com/v1")?,
        api_key: key,
        model: or_default(&config.model, "gpt-4o-mini-tts"),
        voice: or_default(&config.voice, "alloy"),
        sample_rate: config.rate(SampleRate::HZ_24000, RATES)?,
    }))
}

/// Settings of one voice.
#[derive(Clone, Debug)]
pub struct OpenAiTts {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `https://api.openai.com/v1`.
    pub base_url: String,
    /// API key; empty for local servers.
    pub api_key: Secret,
    /// Model, for example `gpt-4o-mini-tts`.
    pub model: String,
    /// Voice when the agent names none, for example `alloy`.
    pub voice: String,
    /// Rate of headerless audio.
    pub sample_rate: SampleRate,
}

impl Tts for OpenAiTts {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn open(&self, params: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let this = self.clone();
        Box::pin(async move {
            let client = http::client()
                .map_err(|error| http::error(&this.name, Stage::Tts, "make a client", error))?;
            let (input, inbox) = mpsc::channel(TTS_INPUT_QUEUE);
            let (outbox, events) = mpsc::channel(TTS_EVENT_QUEUE);
            // The first sentence must not wait for a handshake.
            let url = format!("{}/models", this.base_url.trim_end_matches('/'));
            tokio::spawn(http::warm_up(url, this.api_key.clone(), WARM_UP, WARM_UP_BYTES_MAX));
            let gone = outbox.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = run(this, client, params, inbox, outbox) => {}
                    () = gone.closed() => {}
                }
            });
            Ok(TtsSession { input, events })
        })
    }
}

impl OpenAiTts {
    fn error(&self, kind: FailureKind, detail: &str) -> ProviderError {
        let (provider, detail) = (self.name.clone(), detail.to_owned());
        ProviderError { provider, stage: Stage::Tts, kind, detail }
    }
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

async fn run(
    this: OpenAiTts,
    client: reqwest::Client,
    params: TtsParams,
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
            running.push_back(begin(&this, &client, &params, sentence));
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
                        let error = this.error(FailureKind::BadRequest, "too many sentences wait");
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

#[derive(Serialize)]
struct SpeechRequest<'a> {
    model: &'a str,
    input: &'a str,
    voice: &'a str,
    response_format: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<f32>,
}

fn begin(
    this: &OpenAiTts,
    client: &reqwest::Client,
    params: &TtsParams,
    sentence: Sentence,
) -> Running {
    let (tx, chunks) = mpsc::channel(CHUNKS_MAX);
    let Sentence { generation, seq, text } = sentence;
    let voice = if params.voice.is_empty() { &this.voice } else { &params.voice };
    let body = SpeechRequest {
        model: &this.model,
        input: text.reveal(),
        voice,
        response_format: "pcm",
        speed: (params.speed > 0.0 && (params.speed - 1.0).abs() > f32::EPSILON)
            .then_some(params.speed),
    };
    let url = format!("{}/audio/speech", this.base_url.trim_end_matches('/'));
    let mut request = client.post(url).json(&body);
    if !this.api_key.is_empty() {
        request = request.bearer_auth(this.api_key.expose());
    }
    let speaker = Speaker { voice: this.clone(), out: tx };
    let silent = text.reveal().trim().is_empty();
    let task = tokio::spawn(async move {
        if silent {
            return;
        }
        if let Err(error) = speaker.stream(request).await {
            // Nobody listens to a sentence that was canceled.
            let _ = speaker.out.send(Err(error)).await;
        }
    });
    Running { generation, seq, chunks, task }
}

/// One request under way.
struct Speaker {
    voice: OpenAiTts,
    out: mpsc::Sender<Result<Pcm, ProviderError>>,
}

impl Speaker {
    fn stalled(&self) -> ProviderError {
        self.voice.error(FailureKind::Stalled, "read the speech: nothing within 4 s")
    }

    async fn stream(&self, request: reqwest::RequestBuilder) -> Result<(), ProviderError> {
        let failed = |doing: &str, error| http::error(&self.voice.name, Stage::Tts, doing, error);
        let response = tokio::time::timeout(STALL, request.send())
            .await
            .map_err(|_| self.stalled())?
            .map_err(|error| failed("ask for speech", error))?;
        let response = http::success(&self.voice.name, Stage::Tts, "ask for speech", response)?;
        let kind = response.headers().get(reqwest::header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if ["application/json", "text/", "audio/mpeg", "audio/ogg"]
            .iter()
            .any(|k| kind.starts_with(k))
        {
            return Err(self.voice.error(FailureKind::Protocol, "the answer is not linear PCM"));
        }
        let mut body = response.bytes_stream();
        let mut decoder = Decoder::new(self.voice.sample_rate);
        let mut empty = true;
        while let Some(chunk) =
            tokio::time::timeout(STALL, body.next()).await.map_err(|_| self.stalled())?
        {
            let chunk = chunk.map_err(|error| failed("read the speech", error))?;
            let pcm = decoder.push(&chunk).map_err(|NotPcm| {
                self.voice.error(FailureKind::Protocol, "a WAV that is not mono PCM")
            })?;
            if let Some(pcm) = pcm {
                empty = false;
                if self.out.send(Ok(pcm)).await.is_err() {
                    return Ok(());
                }
            }
        }
        if empty {
            return Err(self.voice.error(FailureKind::Protocol, "the answer holds no audio"));
        }
        Ok(())
    }
}

/// Reads any answer as a session does, in two pieces. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(data: &[u8]) -> usize {
    let mut decoder = Decoder::new(SampleRate::HZ_24000);
    let (head, tail) = data.split_at(data.len() / 3);
    [head, tail]
        .into_iter()
        .filter_map(|piece| decoder.push(piece).ok().flatten())
        .map(|pcm| pcm.samples.len())
        .sum()
}

#[cfg(test)]
mod tests;
