//! xAI voice agents: the protocol of OpenAI's, with differences.
//!
//! The session is flat, turns are found here (the server's own detection answers by itself and cannot be
//! told not to), and exact words are an item of their own kind, which is a response by itself.
//! Source: docs.x.ai, `developers/rest-api-reference/inference/voice`, and its schema of the WebSocket.

use std::sync::Arc;

use serde_json::{Value, json};

use super::protocol::{Dialect, Format, set, tools};
use super::service::Service;
use super::{Realtime, RealtimeParams, TurnDetection};
use crate::providers::config::{ConfigError, ProviderConfig, or_default};
use crate::providers::socket::ws_base;
use crate::providers::vendors::Maker;
use crate::types::Secret;

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
    Ok(Arc::new(Service {
        name: name.to_owned(),
        url: format!("{}/v1/realtime", ws_base(&config.url("wss://api.x.ai")?)),
        model: or_default(&config.model, "grok-voice-latest"),
        key,
        dialect,
        turn_detections: &[TurnDetection::Local],
    }))
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
