//! Which engines an agent uses: in short a name, in full a table.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::audio::vad::NoiseSuppression;

/// A provider that stands in for another. In short: its name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Fallback {
    /// Name of a provider; for speech also `local`.
    pub provider: String,
    /// Model instead of the provider's usual one.
    pub model: Option<String>,
    /// Text to speech only: voice of the provider. None: its default.
    pub voice: Option<String>,
}

/// Speech to text. In short: the provider's name.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Stt {
    /// `local`, or the name of a provider.
    pub provider: String,
    /// Model instead of the provider's usual one.
    pub model: Option<String>,
    /// BCP 47 tag instead of the agent's.
    pub language: Option<String>,
    /// Noise suppression before it: `off`, `auto` (while the line is noisy) or `on`. None: `auto` where it was
    /// measured to help, which is the `local` recogniser, else `off`.
    #[schema(value_type = Option<String>)]
    pub noise_suppression: Option<NoiseSuppression>,
    /// Words worth recognising. At most 100.
    pub keyterms: Vec<String>,
    /// Who recognises when the provider fails, in order; at most 4. None: the server's `fallbacks`.
    pub fallbacks: Option<Vec<Fallback>>,
    /// Further settings of the provider. Kept; no provider of this version takes any.
    #[schema(value_type = Object)]
    pub params: serde_json::Map<String, serde_json::Value>,
}

impl Default for Stt {
    fn default() -> Self {
        Self {
            provider: "local".to_owned(),
            model: None,
            language: None,
            noise_suppression: None,
            keyterms: Vec::new(),
            fallbacks: None,
            params: serde_json::Map::new(),
        }
    }
}

/// Language model. In short: the provider's name.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Llm {
    /// `script`, or the name of a provider.
    pub provider: String,
    /// Model instead of the provider's usual one.
    pub model: Option<String>,
    /// Base URL instead of the provider's.
    pub base_url: Option<String>,
    /// Sampling temperature, 0 to 2. None: the provider's own, so that models which take none work.
    pub temperature: Option<f32>,
    /// Longest reply in tokens, 1 to 100,000.
    pub max_tokens: Option<u32>,
    /// Text of the dialogue when the provider is `script`. Empty: the demo that is built in.
    pub script: String,
    /// File of the dialogue; in the configuration only.
    #[schema(value_type = String)]
    pub script_file: PathBuf,
    /// Who answers when the provider fails or is slow, in order; at most 4. None: the server's `fallbacks`.
    pub fallbacks: Option<Vec<Fallback>>,
    /// Wait for the first token before a fallback is asked as well, ms, 0 (never) to 10,000. None: the server's.
    pub hedge_ms: Option<u32>,
    /// Further settings of the provider. Kept; no provider of this version takes any.
    #[schema(value_type = Object)]
    pub params: serde_json::Map<String, serde_json::Value>,
}

impl Default for Llm {
    fn default() -> Self {
        Self {
            provider: "script".to_owned(),
            model: None,
            base_url: None,
            temperature: Some(0.7),
            max_tokens: None,
            script: String::new(),
            script_file: PathBuf::new(),
            fallbacks: None,
            hedge_ms: None,
            params: serde_json::Map::new(),
        }
    }
}

/// Text to speech. In short: the provider's name.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Tts {
    /// `local`, or the name of a provider.
    pub provider: String,
    /// Model instead of the provider's usual one.
    pub model: Option<String>,
    /// Voice of the provider. Empty: its default.
    pub voice: String,
    /// Speed of speech, 0.25 to 4; 1 is normal.
    pub speed: f32,
    /// Who speaks when the provider fails or is slow, in order, for the rest of the call; at most 4. None: the
    /// server's `fallbacks`.
    pub fallbacks: Option<Vec<Fallback>>,
    /// Wait for the first audio before a fallback is asked as well, ms, 0 (never) to 10,000. None: the server's.
    pub hedge_ms: Option<u32>,
    /// Further settings of the provider. Kept; no provider of this version takes any.
    #[schema(value_type = Object)]
    pub params: serde_json::Map<String, serde_json::Value>,
}

impl Default for Tts {
    fn default() -> Self {
        Self {
            provider: "local".to_owned(),
            model: None,
            voice: String::new(),
            speed: 1.0,
            fallbacks: None,
            hedge_ms: None,
            params: serde_json::Map::new(),
        }
    }
}

/// Speech to speech, for the pipeline `realtime`. In short: the provider's name.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Realtime {
    /// Name of a provider.
    pub provider: String,
    /// Model instead of the provider's usual one.
    pub model: Option<String>,
    /// Voice of the provider. Empty: its default.
    pub voice: String,
    /// Speed of speech, 0.25 to 1.5; 1 is normal.
    pub speed: f32,
    /// Who finds the end of the caller's turn: `local`, `server_vad` or `semantic_vad`.
    pub turn_detection: RealtimeTurn,
    /// Who speaks fixed texts such as `first_message`: `model` or `tts`. None: `tts` if it is not `local`.
    pub fixed_texts: Option<FixedTexts>,
}

impl Default for Realtime {
    fn default() -> Self {
        Self {
            provider: String::new(),
            model: None,
            voice: String::new(),
            speed: 1.0,
            turn_detection: RealtimeTurn::Local,
            fixed_texts: None,
        }
    }
}

/// Who finds the end of the caller's turn in the pipeline `realtime`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RealtimeTurn {
    /// This server, as `turn_detection` says.
    #[default]
    Local,
    /// The provider, by silence.
    ServerVad,
    /// The provider, by what is said.
    SemanticVad,
}

/// Who speaks fixed texts in the pipeline `realtime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FixedTexts {
    /// The model, in its own voice; it is asked to say exactly that.
    Model,
    /// The agent's `tts`, word for word.
    Tts,
}

super::short_form!(Realtime, RealtimeFields, String, "the name of a provider or a table", {
    provider: String, model: Option<String>, voice: String, speed: f32, turn_detection: RealtimeTurn,
    fixed_texts: Option<FixedTexts>,
}, |provider| Realtime { provider, ..Realtime::default() });

super::short_form!(Fallback, FallbackFields, String, "the name of a provider or a table", {
    provider: String, model: Option<String>, voice: Option<String>,
}, |provider| Fallback { provider, ..Fallback::default() });

super::short_form!(Stt, SttFields, String, "the name of a provider or a table", {
    provider: String, model: Option<String>, language: Option<String>,
    noise_suppression: Option<NoiseSuppression>, keyterms: Vec<String>,
    fallbacks: Option<Vec<Fallback>>, params: serde_json::Map<String, serde_json::Value>,
}, |provider| Stt { provider, ..Stt::default() });

super::short_form!(Llm, LlmFields, String, "the name of a provider or a table", {
    provider: String, model: Option<String>, base_url: Option<String>, temperature: Option<f32>,
    max_tokens: Option<u32>, script: String, script_file: PathBuf,
    fallbacks: Option<Vec<Fallback>>, hedge_ms: Option<u32>,
    params: serde_json::Map<String, serde_json::Value>,
}, |provider| Llm { provider, ..Llm::default() });

super::short_form!(Tts, TtsFields, String, "the name of a provider or a table", {
    provider: String, model: Option<String>, voice: String, speed: f32,
    fallbacks: Option<Vec<Fallback>>, hedge_ms: Option<u32>,
    params: serde_json::Map<String, serde_json::Value>,
}, |provider| Tts { provider, ..Tts::default() });

impl From<String> for Stt {
    fn from(provider: String) -> Self {
        Self { provider, ..Self::default() }
    }
}

impl From<String> for Llm {
    fn from(provider: String) -> Self {
        Self { provider, ..Self::default() }
    }
}

impl From<String> for Tts {
    fn from(provider: String) -> Self {
        Self { provider, ..Self::default() }
    }
}
