//! OpenAI-compatible `POST /v1/audio/speech`: one request a sentence, audio streamed as it comes.
//!
//! Works with OpenAI, Kokoro-FastAPI, speaches, LocalAI. `pcm` is signed 16-bit at 24 kHz, unless the
//! server says otherwise with a WAV header. The next sentence is asked for while the one before plays.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::sync::mpsc;

use super::{TTS_EVENT_QUEUE, TTS_INPUT_QUEUE, Tts, TtsEvent, TtsInput, TtsParams, TtsSession};
use crate::net::clock;
use crate::providers::{FailureKind, ProviderError, Stage, http};
use crate::types::{Generation, Pcm, Pii, SampleRate, Secret};

/// Sentences synthesised at once: the one that plays and the next.
const AHEAD: usize = 2;

/// Chunks of one sentence that may wait while the one before it plays.
const CHUNKS_MAX: usize = 256;

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
            let base = this.base_url.clone();
            let warm = client.clone();
            tokio::spawn(async move {
                let url = format!("{}/models", base.trim_end_matches('/'));
                if let Ok(response) = warm.get(url).timeout(Duration::from_secs(3)).send().await {
                    let _ = response.bytes().await;
                }
            });
            tokio::spawn(run(this, client, params, inbox, outbox));
            Ok(TtsSession { input, events })
        })
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
    loop {
        while running.len() < AHEAD
            && let Some(sentence) = waiting.pop_front()
        {
            running.push_back(begin(&this, &client, &params, sentence));
        }
        let head = async {
            match running.front_mut() {
                Some(head) => head.chunks.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            input = inbox.recv() => match input {
                Some(TtsInput::Say { generation, seq, text }) => {
                    waiting.push_back(Sentence { generation, seq, text });
                }
                Some(TtsInput::Cancel { generation }) => {
                    waiting.retain(|sentence| sentence.generation > generation);
                    running.retain(|sentence| sentence.generation > generation);
                }
                None => return,
            },
            chunk = head => {
                let Some(now_playing) = running.front() else { continue };
                let (generation, seq) = (now_playing.generation, now_playing.seq);
                let event = match chunk {
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
                if outbox.send(event).await.is_err() {
                    return;
                }
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
    let (name, rate) = (this.name.clone(), this.sample_rate);
    let task = tokio::spawn(async move {
        if let Err(error) = stream(&name, rate, request, &tx).await {
            // Nobody listens to a sentence that was canceled.
            let _ = tx.send(Err(error)).await;
        }
    });
    Running { generation, seq, chunks, task }
}

async fn stream(
    name: &str,
    rate: SampleRate,
    request: reqwest::RequestBuilder,
    out: &mpsc::Sender<Result<Pcm, ProviderError>>,
) -> Result<(), ProviderError> {
    let failed = |doing: &str, error| http::error(name, Stage::Tts, doing, error);
    let response = request.send().await.map_err(|error| failed("ask for speech", error))?;
    let response = response.error_for_status().map_err(|error| failed("ask for speech", error))?;
    let mut body = response.bytes_stream();
    let mut decoder = Decoder::new(rate);
    let mut empty = true;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| failed("read the speech", error))?;
        if let Some(pcm) = decoder.push(&chunk) {
            empty = false;
            if out.send(Ok(pcm)).await.is_err() {
                return Ok(());
            }
        }
    }
    if empty {
        return Err(ProviderError {
            provider: name.to_owned(),
            stage: Stage::Tts,
            kind: FailureKind::Protocol,
            detail: "read the speech: the answer holds no audio".to_owned(),
        });
    }
    Ok(())
}

/// Octets to samples: odd octets are kept for the next chunk, a WAV header is read and left out.
struct Decoder {
    rate: SampleRate,
    rest: Vec<u8>,
    header_seen: bool,
}

/// Length of the canonical WAV header: RIFF, `fmt ` of 16 octets, `data`.
const WAV_HEADER_BYTES: usize = 44;

impl Decoder {
    fn new(rate: SampleRate) -> Self {
        Self { rate, rest: Vec::new(), header_seen: false }
    }

    fn push(&mut self, chunk: &[u8]) -> Option<Pcm> {
        self.rest.extend_from_slice(chunk);
        if !self.header_seen {
            let begins_like_wav =
                b"RIFF".iter().zip(&self.rest).all(|(wanted, octet)| wanted == octet);
            if begins_like_wav && self.rest.len() < WAV_HEADER_BYTES {
                return None;
            }
            if begins_like_wav {
                let hz = self.rest.get(24..28).and_then(|b| b.try_into().ok());
                if let Some(rate) = hz.map(u32::from_le_bytes).and_then(SampleRate::new) {
                    self.rate = rate;
                }
                self.rest.drain(..WAV_HEADER_BYTES);
            }
            self.header_seen = true;
        }
        let whole = self.rest.len() & !1;
        if whole == 0 {
            return None;
        }
        let (pairs, _) = self.rest.as_chunks::<2>();
        let samples: Vec<i16> = pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
        self.rest.drain(..whole);
        Some(Pcm { rate: self.rate, samples })
    }
}
