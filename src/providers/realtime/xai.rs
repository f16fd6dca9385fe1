//! xAI voice agents: the protocol of OpenAI's, with differences.
//!
//! The session is flat, turns are found here (the server's own detection answers by itself and cannot be
//! told not to), and exact words are an item of their own kind, which is a response by itself.
//! Source: docs.x.ai, `developers/rest-api-reference/inference/voice`, and its schema of the WebSocket.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::protocol::{Dialect, Format, set, tools};
use super::{Realtime, RealtimeParams, RealtimeSession, TurnDetection, session};
use crate::providers::config::{ConfigError, ProviderConfig, or_default};
use crate::providers::socket::{Endpoint, push_query, ws_base};
use crate::providers::vendors::Maker;
use crate::providers::{ProviderError, Stage};
use crate::types::{SampleRate, Secret};

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Realtime> = Maker {
    capabilities: &["tools", "transcripts", "truncation", "voice", "speed"],
    models: &["grok-voice-latest", "grok-voice-think-fast-1.0"],
    build,
};

const RATES: &str = "8000, 16000, 22050, 24000, 32000, 44100, 48000";

/// Most words worth recognising, and the longest: beyond, the service refuses the session.
const KEYTERMS_MAX: usize = 100;
const KEYTERM_CHARS_MAX: usize = 50;

fn build(
    name: &str,
    config: &ProviderConfig,
    key: Secret,
) -> Result<Arc<dyn Realtime>, ConfigError> {
    let dialect = Dialect {
        format: Format::of(config, RATES)?,
        voice: or_default(&config.voice, "eve"),
        session: settings,
        say,
    };
    Ok(Arc::new(XaiRealtime {
        name: name.to_owned(),
        base_url: config.url("wss://api.x.ai")?,
        model: or_default(&config.model, "grok-voice-latest"),
        key,
        dialect,
    }))
}

struct XaiRealtime {
    name: String,
    base_url: String,
    model: String,
    key: Secret,
    dialect: Dialect,
}

impl Realtime for XaiRealtime {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> &str {
        &self.model
    }

    fn sample_rate(&self) -> SampleRate {
        self.dialect.format.rate()
    }

    fn turn_detections(&self) -> &'static [TurnDetection] {
        &[TurnDetection::Local]
    }

    fn open(
        &self,
        params: RealtimeParams,
    ) -> BoxFuture<'static, Result<RealtimeSession, ProviderError>> {
        let mut url = format!("{}/v1/realtime", ws_base(&self.base_url));
        push_query(&mut url, "model", &self.model);
        let auth = (!self.key.is_empty())
            .then(|| ("authorization", Secret::new(format!("Bearer {}", self.key.expose()))));
        let provider = self.name.clone();
        let endpoint = Endpoint { provider, stage: Stage::Realtime, url, auth };
        session::open(endpoint, self.dialect.clone(), params).boxed()
    }
}

fn settings(dialect: &Dialect, params: &RealtimeParams) -> Value {
    let mut transcription = json!({});
    if !params.language.is_empty() {
        set(&mut transcription, "", "language_hint", params.language.as_str().into());
    }
    if !params.keyterms.is_empty() {
        let fits = |term: &&String| term.chars().count() <= KEYTERM_CHARS_MAX;
        let terms = params.keyterms.iter().filter(fits).take(KEYTERMS_MAX).cloned().collect();
        set(&mut transcription, "", "keyterms", terms);
    }
    let voice = if params.voice.is_empty() { &dialect.voice } else { &params.voice };
    let mut session = json!({
        "instructions": params.instructions.reveal(),
        "voice": voice,
        "turn_detection": {"type": null},
        "audio": {
            "input": {"format": dialect.format.json(), "transcription": transcription},
            "output": {"format": dialect.format.json()},
        },
        "tools": tools(params),
    });
    if params.speed > 0.0 && (params.speed - 1.0).abs() > f32::EPSILON {
        set(&mut session, "/audio/output", "speed", json!(params.speed.clamp(0.7, 1.5)));
    }
    session
}

fn say(event_id: &str, text: &str) -> Value {
    json!({
        "type": "conversation.item.create",
        "event_id": event_id,
        "item": {
            "type": "force_message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": text}],
        },
    })
}
