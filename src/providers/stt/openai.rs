//! OpenAI-compatible `POST /v1/audio/transcriptions`: recognition of VAD-cut segments.
//!
//! Works with OpenAI, Groq, speaches, vLLM and a whisper.cpp server. Audio is kept from a little
//! before the onset that VAD reports until it reports the end; then one request carries it as WAV.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{
    PRE_ROLL_MS, STT_EVENT_QUEUE, STT_INPUT_QUEUE, Stt, SttEvent, SttInput, SttParams, SttSession,
};
use crate::net::clock;
use crate::providers::config::{ConfigError, ProviderConfig, or_default};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, Stage, http};
use crate::types::{SampleRate, Secret};

/// Longest segment: a caller who speaks longer is cut, as the service would.
const SEGMENT_SECONDS_MAX: usize = 60;

/// Utterances that may wait while one is recognised.
const WAITING_MAX: usize = 4;

/// Time for one answer; the call's watchdog speaks up long before.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Stt> = Maker {
    capabilities: &["language", "keyterms"],
    models: &["gpt-4o-mini-transcribe", "gpt-4o-transcribe", "whisper-1"],
    build,
};

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Stt>, ConfigError> {
    config.rate(SampleRate::HZ_16000, "16000")?;
    Ok(Arc::new(OpenAiStt {
        name: name.to_owned(),
        base_url: config.http_url("https://api.openai.com/v1")?,
        api_key: key,
        model: or_default(&config.model, "gpt-4o-mini-transcribe"),
    }))
}

/// Settings of one recogniser.
#[derive(Clone, Debug)]
pub struct OpenAiStt {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `https://api.openai.com/v1`.
    pub base_url: String,
    /// API key; empty for local servers.
    pub api_key: Secret,
    /// Model, for example `gpt-4o-mini-transcribe` or `whisper-1`.
    pub model: String,
}

impl Stt for OpenAiStt {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_16000
    }

    fn open(&self, params: SttParams) -> BoxFuture<'static, Result<SttSession, ProviderError>> {
        let this = self.clone();
        Box::pin(async move {
            let client = http::client()
                .map_err(|error| http::error(&this.name, Stage::Stt, "make a client", error))?;
            let (input, inbox) = mpsc::channel(STT_INPUT_QUEUE);
            let (outbox, events) = mpsc::channel(STT_EVENT_QUEUE);
            let segmenter = Segmenter::new(this.sample_rate());
            let gone = outbox.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = run(this, client, params, segmenter, inbox, outbox) => {}
                    () = gone.closed() => {}
                }
            });
            Ok(SttSession { input, events })
        })
    }
}

/// Keeps the audio of one segment.
struct Segmenter {
    rate: SampleRate,
    audio: VecDeque<i16>,
    speaking: bool,
}

impl Segmenter {
    fn new(rate: SampleRate) -> Self {
        Self { rate, audio: VecDeque::new(), speaking: false }
    }

    fn push(&mut self, samples: &[i16]) {
        let most = if self.speaking {
            self.rate.hz() as usize * SEGMENT_SECONDS_MAX
        } else {
            self.rate.samples_in_ms(PRE_ROLL_MS)
        };
        self.audio.extend(samples);
        let surplus = self.audio.len().saturating_sub(most);
        self.audio.drain(..surplus);
    }

    fn start(&mut self) {
        self.speaking = true;
    }

    /// The segment as a WAV file, if there was speech.
    fn take(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.speaking) {
            return None;
        }
        let audio = std::mem::take(&mut self.audio);
        Some(wav(self.rate, audio.iter().copied()))
    }
}

/// A mono 16-bit WAV file in memory (RIFF header of 44 octets).
fn wav(rate: SampleRate, samples: impl ExactSizeIterator<Item = i16>) -> Vec<u8> {
    let data = u32::try_from(samples.len() * 2).unwrap_or(u32::MAX - 36);
    let mut out = Vec::with_capacity(44 + samples.len() * 2);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + data).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    out.extend_from_slice(&16u32.to_le_bytes());
    out.extend_from_slice(&1u16.to_le_bytes());
    out.extend_from_slice(&1u16.to_le_bytes());
    out.extend_from_slice(&rate.hz().to_le_bytes());
    out.extend_from_slice(&(rate.hz() * 2).to_le_bytes());
    out.extend_from_slice(&2u16.to_le_bytes());
    out.extend_from_slice(&16u16.to_le_bytes());
    out.extend_from_slice(b"data");
    out.extend_from_slice(&data.to_le_bytes());
    for sample in samples {
        out.extend_from_slice(&sample.to_le_bytes());
    }
    out
}

async fn run(
    this: OpenAiStt,
    client: reqwest::Client,
    params: SttParams,
    mut segmenter: Segmenter,
    mut inbox: mpsc::Receiver<SttInput>,
    outbox: mpsc::Sender<SttEvent>,
) {
    // Requests are answered in order: one at a time, audio keeps being taken meanwhile.
    let mut waiting: VecDeque<(u32, Option<Vec<u8>>)> = VecDeque::new();
    let mut running: Option<(u32, BoxFuture<'static, Result<String, ProviderError>>)> = None;
    loop {
        if running.is_none()
            && let Some((id, segment)) = waiting.pop_front()
        {
            match segment {
                Some(segment) => {
                    let segment = Bytes::from(segment);
                    let request = insist(this.clone(), client.clone(), params.clone(), segment);
                    running = Some((id, Box::pin(request)));
                }
                None => {
                    if outbox.send(answer(id, String::new())).await.is_err() {
                        return;
                    }
                    continue;
                }
            }
        }
        let done = async {
            match &mut running {
                Some((id, request)) => (*id, request.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            (id, result) = done => {
                running = None;
                let event = match result {
                    Ok(text) => answer(id, text),
                    Err(error) => SttEvent::Failed(error),
                };
                let over = matches!(event, SttEvent::Failed(_));
                if outbox.send(event).await.is_err() || over {
                    return;
                }
            }
            input = inbox.recv() => match input {
                Some(SttInput::Audio(samples)) => segmenter.push(&samples),
                Some(SttInput::SpeechStarted) => segmenter.start(),
                Some(SttInput::Finalize { id }) => {
                    let segment = segmenter.take();
                    if waiting.len() >= WAITING_MAX {
                        // The oldest that waits gives way and is answered as not understood.
                        if let Some((oldest, _)) = waiting.pop_front()
                            && outbox.send(answer(oldest, String::new())).await.is_err()
                        {
                            return;
                        }
                    }
                    waiting.push_back((id, segment));
                }
                None => return,
            },
        }
    }
}

fn answer(id: u32, text: String) -> SttEvent {
    let understood = !text.is_empty();
    SttEvent::Final {
        text: text.into(),
        confidence: None,
        answers: Some(id),
        understood,
        at: clock::now(),
    }
}

#[derive(Deserialize)]
struct Transcription {
    text: String,
}

/// Asks, and asks once more if that may help: the segment is at hand.
async fn insist(
    this: OpenAiStt,
    client: reqwest::Client,
    params: SttParams,
    segment: Bytes,
) -> Result<String, ProviderError> {
    match transcribe(&this, &client, &params, segment.clone()).await {
        Err(error) if matches!(error.kind, FailureKind::Unavailable | FailureKind::Cut) => {
            transcribe(&this, &client, &params, segment).await
        }
        answer => answer,
    }
}

async fn transcribe(
    this: &OpenAiStt,
    client: &reqwest::Client,
    params: &SttParams,
    segment: Bytes,
) -> Result<String, ProviderError> {
    let failed = |doing: &str, error| http::error(&this.name, Stage::Stt, doing, error);
    let length = segment.len() as u64;
    let file = reqwest::multipart::Part::stream_with_length(segment, length)
        .file_name("utterance.wav")
        .mime_str("audio/wav")
        .map_err(|error| failed("make the request", error))?;
    let mut form = reqwest::multipart::Form::new()
        .part("file", file)
        .text("model", this.model.clone())
        .text("response_format", "json");
    // The service wants ISO 639-1: `de` of `de-CH`.
    if let Some(language) = params.language.split('-').next().filter(|tag| !tag.is_empty()) {
        form = form.text("language", language.to_owned());
    }
    if !params.keyterms.is_empty() {
        form = form.text("prompt", params.keyterms.join(", "));
    }
    let url = address(&this.base_url);
    let mut request = client.post(url).multipart(form).timeout(ANSWER_TIMEOUT);
    if !this.api_key.is_empty() {
        request = request.bearer_auth(this.api_key.expose());
    }
    let response = request.send().await.map_err(|error| failed("send the segment", error))?;
    let response = http::success(&this.name, Stage::Stt, "recognise the segment", response)?;
    let body = http::bounded(response, ANSWER_BYTES_MAX)
        .await
        .map_err(|error| failed("read the transcript", error))?;
    body.as_deref().and_then(parse).ok_or_else(|| ProviderError {
        provider: this.name.clone(),
        stage: Stage::Stt,
        kind: FailureKind::Protocol,
        detail: "the answer holds no `text`".to_owned(),
    })
}

/// Where segments are sent: below the base URL, or to the path that a whisper.cpp server has of itself.
fn address(base_url: &str) -> String {
    let base = base_url.trim_end_matches('/');
    if base.ends_with("/inference") {
        base.to_owned()
    } else {
        format!("{base}/audio/transcriptions")
    }
}

/// The text of an answer.
pub(crate) fn parse(body: &[u8]) -> Option<String> {
    let transcription: Transcription = serde_json::from_slice(body).ok()?;
    Some(transcription.text.trim().to_owned())
}

#[cfg(test)]
mod tests;
