//! The agent as used by one call: a snapshot that later edits do not touch.

use std::sync::Arc;

use crate::audio::vad::VadConfig;
use crate::providers::llm::Llm;
use crate::providers::stt::Stt;
use crate::providers::tts::Tts;
use crate::turn::TurnConfig;
use crate::types::call::{ProviderUse, ProvidersUsed};
use crate::types::{AgentId, Pii};

/// Whether a call is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordingPolicy {
    /// Stereo WAV from the answer to the end.
    #[default]
    On,
    /// No audio is kept.
    Off,
}

/// Everything a call needs of its agent.
#[derive(Clone)]
pub struct AgentSnapshot {
    /// Key in the configuration.
    pub id: AgentId,
    /// Display name.
    pub name: String,
    /// System prompt.
    pub prompt: Pii<String>,
    /// BCP 47 tag.
    pub language: String,
    /// Turn-taking: greeting, waits, barge-in, inactivity, limits.
    pub turn: TurnConfig,
    /// Voice activity detection.
    pub vad: VadConfig,
    /// Words worth recognising.
    pub keyterms: Vec<String>,
    /// Voice name; empty: the provider's default.
    pub voice: String,
    /// 1.0 is normal.
    pub speed: f32,
    /// Sampling temperature.
    pub temperature: Option<f32>,
    /// Upper limit of a reply in tokens.
    pub max_tokens: Option<u32>,
    /// Whether to record.
    pub recording: RecordingPolicy,
    /// Recogniser.
    pub stt: Arc<dyn Stt>,
    /// Language model.
    pub llm: Arc<dyn Llm>,
    /// Voice.
    pub tts: Arc<dyn Tts>,
}

impl AgentSnapshot {
    /// The engines for the call's record.
    pub fn providers_used(&self) -> ProvidersUsed {
        let used = |provider: &str, model: Option<&str>| {
            Some(ProviderUse { provider: provider.to_owned(), model: model.map(str::to_owned) })
        };
        ProvidersUsed {
            stt: used(self.stt.name(), self.stt.model()),
            llm: used(self.llm.name(), self.llm.model()),
            tts: used(self.tts.name(), self.tts.model()),
        }
    }
}

impl std::fmt::Debug for AgentSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentSnapshot").field("id", &self.id).finish_non_exhaustive()
    }
}
