//! The agent as used by one call: a snapshot that later edits do not touch.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fixed::FixedSpeech;
use super::voice::WatchdogConfig;
use crate::audio::vad::{NoiseSuppression, VadConfig};
use crate::media::Background;
use crate::providers::llm::Llm;
use crate::providers::realtime::{Realtime, TurnDetection};
use crate::providers::stt::Stt;
use crate::providers::tts::Tts;
use crate::speech::SpeechConfig;
use crate::tools::ToolSpec;
use crate::turn::TurnConfig;
use crate::turn::config::{EndpointingMode, SpeculationMode};
use crate::types::call::{ProviderUse, ProvidersUsed};
use crate::types::{AfterPlan, AfterStatus, AgentId, CallRecord, OrganizationId, Pii};

/// Whether a call is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordingPolicy {
    /// Stereo WAV from the answer to the end.
    #[default]
    On,
    /// No audio is kept.
    Off,
}

/// What a call's record keeps of its agent and of the request that made the call.
#[derive(Clone, Default)]
pub struct AgentFacts {
    /// Whose agent it is.
    pub organization_id: OrganizationId,
    /// Version of the agent.
    pub version: Option<u32>,
    /// Business it speaks for.
    pub business_name: Option<String>,
    /// Who it is.
    pub persona: Option<Pii<String>>,
    /// What it shall do.
    pub instructions: Option<Pii<String>>,
    /// JSON it may refer to.
    pub context: Option<Pii<serde_json::Value>>,
    /// Values of its template variables.
    pub variables: Pii<BTreeMap<String, String>>,
    /// Schema of what is extracted after the call.
    pub returns: Option<serde_json::Value>,
    /// What is made of the call once it is over.
    pub after: AfterPlan,
    /// Where the call's events go.
    pub webhook_url: Option<Pii<String>>,
    /// Agent whose own URL that is.
    pub webhook_agent: Option<AgentId>,
    /// Which events go there; empty: the usual ones.
    pub webhook_events: Vec<String>,
    /// How long an outbound call rings; `None`: the server's rule.
    pub ring_timeout_seconds: Option<u32>,
    /// Language of the recogniser, where it is not the agent's.
    pub stt_language: Option<String>,
    /// How its transfer tool transfers.
    pub transfer_mode: super::TransferMode,
    /// What to do about machines that answer an outbound call; `None`: whoever answers is talked to.
    pub answering: Option<super::AnsweringPolicy>,
}

impl AgentFacts {
    /// Writes them into a record that has none of its own.
    pub fn note(&self, record: &mut CallRecord) {
        record.organization_id = self.organization_id.clone();
        record.agent_version = self.version;
        record.business_name.clone_from(&self.business_name);
        record.persona.clone_from(&self.persona);
        record.instructions.clone_from(&self.instructions);
        record.context.clone_from(&self.context);
        record.variables = self.variables.clone();
        record.returns.clone_from(&self.returns);
        record.webhook_url.clone_from(&self.webhook_url);
        record.webhook_agent.clone_from(&self.webhook_agent);
        record.webhook_events.clone_from(&self.webhook_events);
        record.after = (!self.after.llm.is_empty()).then(|| self.after.clone());
        let wanted =
            |wanted: bool| Some(if wanted { AfterStatus::Pending } else { AfterStatus::Skipped });
        let has_model = !self.after.llm.is_empty();
        // Without a model the result can still come from what the call itself set.
        record.result_status = wanted(self.returns.is_some());
        record.summary_status = wanted(has_model && self.after.summary);
        record.analysis_status = wanted(has_model && !self.after.templates.is_empty());
    }
}

/// A model that hears, decides and speaks, and how it is used.
#[derive(Clone)]
pub struct RealtimeRoute {
    /// The model.
    pub model: Arc<dyn Realtime>,
    /// Voice name; empty: the provider's default.
    pub voice: String,
    /// 1.0 is normal.
    pub speed: f32,
    /// Who finds the end of the caller's turn.
    pub turn_detection: TurnDetection,
    /// Whether fixed texts are the model's to speak, and not those of the agent's voice.
    pub says_fixed_texts: bool,
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
    /// What sounds behind it.
    pub background: Option<Arc<Background>>,
    /// How its sentences are made ready for the voice.
    pub speech: SpeechConfig,
    /// Noise suppression before the recogniser; `None`: as the recogniser wants it.
    pub noise_suppression: Option<NoiseSuppression>,
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
    /// What the record keeps.
    pub facts: AgentFacts,
    /// What the model may do besides talking.
    pub tools: Vec<ToolSpec>,
    /// Recogniser.
    pub stt: Arc<dyn Stt>,
    /// Language model.
    pub llm: Arc<dyn Llm>,
    /// Voice.
    pub tts: Arc<dyn Tts>,
    /// What tells the service behind `tts` from others of its name: its address, model and voice.
    pub tts_service: String,
    /// One model in the place of those three; the voice may still speak the fixed texts.
    pub realtime: Option<Arc<RealtimeRoute>>,
    /// Its sentences that are known before any call.
    pub fixed: FixedSpeech,
    /// Who stands in for its engines.
    pub fallbacks: Fallbacks,
}

/// A voice that stands in.
#[derive(Clone)]
pub struct FallbackVoice {
    /// Engine.
    pub tts: Arc<dyn Tts>,
    /// As [`AgentSnapshot::tts_service`].
    pub service: String,
    /// Voice name; empty: the provider's default.
    pub voice: String,
}

/// Who stands in for an agent's engines, in order, and when they are asked as well.
#[derive(Clone, Default)]
pub struct Fallbacks {
    /// Recognisers.
    pub stt: Vec<Arc<dyn Stt>>,
    /// Models.
    pub llm: Vec<Arc<dyn Llm>>,
    /// Voices.
    pub tts: Vec<FallbackVoice>,
    /// As [`WatchdogConfig::llm_hedge_ms`]; `None`: what that says.
    pub llm_hedge_ms: Option<u32>,
    /// As [`WatchdogConfig::tts_hedge_ms`]; `None`: what that says.
    pub tts_hedge_ms: Option<u32>,
}

impl Fallbacks {
    /// The server's patience, with the agent's own.
    pub(super) fn hedges(&self, watchdog: &WatchdogConfig) -> WatchdogConfig {
        let mut own = watchdog.clone();
        own.llm_hedge_ms = self.llm_hedge_ms.map_or(own.llm_hedge_ms, u64::from);
        own.tts_hedge_ms = self.tts_hedge_ms.map_or(own.tts_hedge_ms, u64::from);
        own
    }
}

impl AgentSnapshot {
    /// Turn-taking, without what the agent's model cannot do.
    pub fn turn_config(&self) -> TurnConfig {
        let mut turn = self.turn.clone();
        if self.realtime.is_some() || !self.llm.may_be_asked_twice() {
            turn.speculation.mode = SpeculationMode::Off;
        }
        if let Some(route) = &self.realtime {
            turn.late_transcripts = true;
            if route.turn_detection != TurnDetection::Local {
                turn.endpointing.mode = EndpointingMode::Stt;
            }
        }
        turn
    }

    /// Whether noise is suppressed before the recogniser.
    pub fn suppression(&self) -> NoiseSuppression {
        let wanted = match self.stt.wants_quiet() {
            true => NoiseSuppression::Auto,
            false => NoiseSuppression::Off,
        };
        self.noise_suppression.unwrap_or(wanted)
    }

    /// The engines for the call's record.
    pub fn providers_used(&self) -> ProvidersUsed {
        let used = |provider: &str, model: Option<&str>| {
            Some(ProviderUse { provider: provider.to_owned(), model: model.map(str::to_owned) })
        };
        if let Some(route) = &self.realtime {
            let tts = used(self.tts.name(), self.tts.model()).filter(|_| !route.says_fixed_texts);
            let llm = used(route.model.name(), Some(route.model.model()));
            return ProvidersUsed { stt: None, llm, tts };
        }
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
