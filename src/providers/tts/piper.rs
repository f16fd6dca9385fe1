//! Piper's own HTTP server: `POST /synthesize`, a WAV a sentence. The program runs beside this one.
//!
//! The WAV's header says the rate, whatever is configured; the content type does not say that it is a WAV.
//! Servers up to 1.3 know the same request at `/` only: one that answers 404 or 405 is asked there. A
//! voice is chosen by its file's name; a server that does not have it speaks with its own.
//! Source: OHF-Voice/piper1-gpl, `docs/API_HTTP.md` and the description of the route.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::decoder::Decoder;
use super::sentences::{self, Chunks, Speaker, WARM_UP, WARM_UP_BYTES_MAX};
use super::{Tts, TtsParams, TtsSession};
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, Stage, http};
use crate::types::Secret;

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Tts> =
    Maker { capabilities: &["speed", "voice"], models: &[], build };

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Tts>, ConfigError> {
    config.pcm_only()?;
    Ok(Arc::new(PiperTts {
        name: name.to_owned(),
        base_url: config.http_url("http://127.0.0.1:5000")?,
        api_key: key,
        voice: config.voice.clone(),
    }))
}

/// Settings of one voice.
#[derive(Clone, Debug)]
pub struct PiperTts {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `http://127.0.0.1:5000`.
    pub base_url: String,
    /// Key of a proxy before the server; the server itself knows none.
    pub api_key: Secret,
    /// Voice when the agent names none; empty: the server's own.
    pub voice: String,
}

impl Tts for PiperTts {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        (!self.voice.is_empty()).then_some(&self.voice)
    }

    fn open(&self, params: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let this = self.clone();
        Box::pin(async move {
            let client = http::client()
                .map_err(|error| http::error(&this.name, Stage::Tts, "make a client", error))?;
            let url = format!("{}/voices", this.base_url.trim_end_matches('/'));
            tokio::spawn(http::warm_up(url, this.api_key.clone(), WARM_UP, WARM_UP_BYTES_MAX));
            Ok(sentences::open(Session {
                voice: this,
                client,
                params,
                is_old: AtomicBool::new(false),
            }))
        })
    }
}

struct Session {
    voice: PiperTts,
    client: reqwest::Client,
    params: TtsParams,
    /// The server knows no `/synthesize`.
    is_old: AtomicBool,
}

/// The request's body.
fn body(text: &str, voice: &str, speed: f32) -> Value {
    let mut body = json!({"text": text});
    if let Value::Object(fields) = &mut body {
        if !voice.is_empty() {
            fields.insert("voice".to_owned(), json!(voice));
        }
        if speed > 0.0 && (speed - 1.0).abs() > f32::EPSILON {
            // The server counts how long sounds are, which is the other way round.
            fields.insert("length_scale".to_owned(), json!(1.0 / speed.clamp(0.25, 4.0)));
        }
    }
    body
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
        Box::pin(async move {
            let is_old = self.is_old.load(Ordering::Relaxed);
            match self.ask(text, if is_old { "/" } else { "/synthesize" }, out).await {
                Err(error) if !is_old && error.kind == FailureKind::BadRequest => {
                    let again = self.ask(text, "/", out).await;
                    self.is_old.store(again.is_ok(), Ordering::Relaxed);
                    // What the newer path said is the better reason.
                    again.map_err(|_| error)
                }
                asked => asked,
            }
        })
    }
}

impl Session {
    async fn ask(&self, text: &str, path: &str, out: &Chunks) -> Result<(), ProviderError> {
        let Self { voice, client, params, .. } = self;
        let name = if params.voice.is_empty() { &voice.voice } else { &params.voice };
        let url = format!("{}{path}", voice.base_url.trim_end_matches('/'));
        let mut request = client.post(url).json(&body(text, name, params.speed));
        if !voice.api_key.is_empty() {
            request = request.bearer_auth(voice.api_key.expose());
        }
        sentences::stream(&voice.name, request, Decoder::wav(), out).await
    }
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn speed_is_length_the_other_way_round() {
        assert_eq!(body("a", "", 1.0), serde_json::json!({"text": "a"}));
        let quick = serde_json::json!({"text": "a", "voice": "v", "length_scale": 0.5});
        assert_eq!(body("a", "v", 2.0), quick);
    }
}
