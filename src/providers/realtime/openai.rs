//! OpenAI Realtime: conversations with `gpt-realtime`.
//!
//! The server's turn detection is off unless an agent asks for it; then it finds the end of a turn, and
//! the reply is asked for here all the same, so that only one side decides who speaks.
//! Source: OpenAI API reference, `realtime`, client and server events.

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
    capabilities: &["tools", "transcripts", "truncation", "voice", "speed", "turn_detection"],
    models: &["gpt-realtime", "gpt-realtime-mini"],
    build,
};

/// What makes the words of the caller; the model itself hears their sound.
const TRANSCRIBER: &str = "gpt-4o-mini-transcribe";

fn build(
    name: &str,
    config: &ProviderConfig,
    key: Secret,
) -> Result<Arc<dyn Realtime>, ConfigError> {
    let dialect = Dialect {
        format: Format::of(config, "24000")?,
        voice: or_default(&config.voice, "marin"),
        session: settings,
        say,
    };
    Ok(Arc::new(Service {
        name: name.to_owned(),
        url: format!("{}/realtime", ws_base(&config.url("wss://api.openai.com/v1")?)),
        model: or_default(&config.model, "gpt-realtime"),
        key,
        dialect,
        turn_detections: &[
            TurnDetection::Local,
            TurnDetection::ServerVad,
            TurnDetection::SemanticVad,
        ],
    }))
}

fn settings(dialect: &Dialect, params: &RealtimeParams) -> Value {
    let mut transcription = json!({"model": TRANSCRIBER});
    let language = params.language.split('-').next().unwrap_or_default();
    if !language.is_empty() {
        set(&mut transcription, "", "language", language.into());
    }
    if !params.keyterms.is_empty() {
        set(&mut transcription, "", "prompt", params.keyterms.join(", ").into());
    }
    let decided =
        |kind: &str| json!({"type": kind, "create_response": false, "interrupt_response": false});
    let turn_detection = match params.turn_detection {
        TurnDetection::Local => Value::Null,
        TurnDetection::ServerVad => decided("server_vad"),
        TurnDetection::SemanticVad => decided("semantic_vad"),
    };
    let voice = if params.voice.is_empty() { &dialect.voice } else { &params.voice };
    let mut session = json!({
        "type": "realtime",
        "instructions": params.instructions.reveal(),
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "format": dialect.format.json(),
                "transcription": transcription,
                "turn_detection": turn_detection,
            },
            "output": {"format": dialect.format.json(), "voice": voice},
        },
        "tools": tools(params),
        "tool_choice": "auto",
    });
    if let Some(limit) = params.max_tokens {
        set(&mut session, "", "max_output_tokens", limit.into());
    }
    if params.speed > 0.0 && (params.speed - 1.0).abs() > f32::EPSILON {
        set(&mut session, "/audio/output", "speed", json!(params.speed.clamp(0.25, 1.5)));
    }
    session
}

/// The model is asked to read the words out: the protocol has no message for it.
fn say(event_id: &str, text: &str) -> Value {
    let instructions = format!(
        "Read out the text between the marks, word for word, in its own language. Say nothing else \
         before or after it.\n<<<\n{text}\n>>>"
    );
    json!({
        "type": "response.create",
        "event_id": event_id,
        "response": {"instructions": instructions, "tools": [], "tool_choice": "none"},
    })
}
