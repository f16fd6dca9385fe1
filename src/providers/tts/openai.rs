//! OpenAI-compatible `POST /v1/audio/speech`: one request a sentence, audio streamed as it comes.
//!
//! Works with OpenAI, Kokoro-FastAPI, speaches, LocalAI. `pcm` is signed 16-bit at 24 kHz, unless the
//! server says otherwise with a WAV header. The next sentence is asked for while the one before plays.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::Serialize;

use super::decoder::Decoder;
use super::sentences::{self, Chunks, Speaker, WARM_UP, WARM_UP_BYTES_MAX};
use super::{Tts, TtsParams, TtsSession};
use crate::providers::config::{ConfigError, Encoding, ProviderConfig, or_default};
use crate::providers::vendors::Maker;
use crate::providers::{ProviderError, Stage, http};
use crate::types::{SampleRate, Secret};

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Tts> = Maker {
    capabilities: &["streaming", "speed", "voice"],
    models: &["gpt-4o-mini-tts", "tts-1"],
    build,
};

const RATES: &str = "8000, 16000, 22050, 24000, 44100, 48000";

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Tts>, ConfigError> {
    config.pcm_only()?;
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
            // The first sentence must not wait for a handshake.
            let url = format!("{}/models", this.base_url.trim_end_matches('/'));
            tokio::spawn(http::warm_up(url, this.api_key.clone(), WARM_UP, WARM_UP_BYTES_MAX));
            Ok(sentences::open(Session { voice: this, client, params }))
        })
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

struct Session {
    voice: OpenAiTts,
    client: reqwest::Client,
    params: TtsParams,
}

impl Speaker for Session {
    fn name(&self) -> &str {
        &self.voice.name
    }

    fn speak<'a>(
        &'a self,
        text: &'a str,
        out: &'a Chunks,
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        let Self { voice, client, params } = self;
        let body = SpeechRequest {
            model: &voice.model,
            input: text,
            voice: if params.voice.is_empty() { &voice.voice } else { &params.voice },
            response_format: "pcm",
            speed: (params.speed > 0.0 && (params.speed - 1.0).abs() > f32::EPSILON)
                .then_some(params.speed),
        };
        let url = format!("{}/audio/speech", voice.base_url.trim_end_matches('/'));
        let mut request = client.post(url).json(&body);
        if !voice.api_key.is_empty() {
            request = request.bearer_auth(voice.api_key.expose());
        }
        let decoder = Decoder::new(voice.sample_rate, Encoding::Pcm);
        Box::pin(sentences::stream(&voice.name, request, decoder, out))
    }
}

/// Reads any answer as a session does, in two pieces. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(data: &[u8]) -> usize {
    let mut decoder = Decoder::new(SampleRate::HZ_24000, Encoding::Pcm);
    let (head, tail) = data.split_at(data.len() / 3);
    [head, tail]
        .into_iter()
        .filter_map(|piece| decoder.push(piece).ok().flatten())
        .map(|pcm| pcm.samples.len())
        .sum()
}
