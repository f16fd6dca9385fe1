//! The agent as data: body of the API, row at rest, table of the configuration. One struct for all three.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::engine::{Llm, Realtime, Stt, Tts};
use super::secret::WriteOnly;
use super::tool::Tool;
use crate::audio::vad::VadConfig;
use crate::speech::SpeechConfig;
use crate::turn::TurnConfig;

/// Who talks, how, and what becomes of the call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Agent {
    /// Display name; empty: its key.
    pub name: String,
    /// Business it speaks for.
    pub business_name: Option<String>,
    /// Whether it takes calls.
    pub is_active: bool,
    /// Who it is: first part of the system prompt. `{{name}}` stands for a variable.
    pub persona: String,
    /// What it shall do: second part of the system prompt. `{{name}}` stands for a variable.
    #[serde(alias = "prompt")]
    pub instructions: String,
    /// BCP 47 tag.
    pub language: String,
    /// How speech becomes speech: `cascade` of `stt`, `llm` and `tts`, or `realtime`.
    pub pipeline: Pipeline,
    /// First words when `first_message_mode` is `static`. `{{name}}` stands for a variable. None: the script's.
    pub first_message: Option<String>,
    /// `static`: `first_message`; `generated`: the model begins; `none`: the caller speaks first.
    pub first_message_mode: FirstMessageMode,
    /// Pause between the answer and the first words, 0 to 10,000 ms.
    pub first_message_delay_ms: u32,
    /// Whether the caller may interrupt the first words. None: what `turn.greeting` says.
    pub first_message_interruptible: Option<bool>,
    /// Last words when the agent ends the call without words of its own.
    pub end_message: Option<String>,
    /// Speech to text: `local`, or the name of a provider.
    pub stt: Stt,
    /// Language model: `script`, or the name of a provider.
    pub llm: Llm,
    /// Text to speech: `local`, or the name of a provider.
    pub tts: Tts,
    /// Speech to speech, for the pipeline `realtime`: the name of a provider.
    pub realtime: Realtime,
    /// When the caller's turn is over.
    pub turn_detection: TurnDetection,
    /// When the caller's speech stops the agent.
    pub barge_in: BargeIn,
    /// What happens when nobody speaks.
    pub inactivity: Inactivity,
    /// If a reply holds one of these, the call ends after its last word. At most 32.
    pub end_phrases: Vec<String>,
    /// Longest call from the answer, 10 to 86,400 s. None: what `turn` says, an hour.
    pub max_duration_seconds: Option<u32>,
    /// How long an outbound call rings, 1 to 600 s. None: the server's `call.ring_timeout_seconds`.
    pub ring_timeout_seconds: Option<u32>,
    /// What to do with answering machines, on calls that go out.
    pub voicemail: Voicemail,
    /// What to do with menus of machines. Acted on where `voicemail.detect` is on.
    pub ivr: Ivr,
    /// Whom the caller may be transferred to.
    pub transfer: Transfer,
    /// Whether and how calls are recorded.
    pub recording: RecordingPolicy,
    /// Sound behind the agent's voice, over and over: `room`, or a WAV file of `call.media_dir`. None: none.
    pub background_sound: Option<String>,
    /// Its loudness, 0 to 1. None: 0.5.
    pub background_volume: Option<f32>,
    /// Values its texts refer to. At most 64.
    pub variables: Vec<Variable>,
    /// What the model may do besides talking. At most 32, with those of the templates.
    pub tools: Vec<Tool>,
    /// Tool templates whose tools it has besides its own.
    pub tool_template_ids: Vec<String>,
    /// JSON Schema, or the short form `{"field": "type"}`, of what is extracted after the call.
    #[schema(value_type = Option<Object>)]
    pub returns: Option<serde_json::Value>,
    /// Analysis templates that run after the call.
    pub analysis_template_ids: Vec<String>,
    /// Whether a summary is made after the call.
    pub summary: bool,
    /// Where events of its calls go, besides the endpoints of the organization.
    pub webhook_url: Option<String>,
    /// Secret those are signed with; None: the organization's.
    #[serde(skip_serializing_if = "WriteOnly::is_hidden")]
    #[schema(value_type = Option<String>, write_only)]
    pub webhook_secret: WriteOnly,
    /// Which events go there; empty: the eight of a call's life and `call.report`.
    pub webhook_events: Vec<String>,
    /// Number that outbound calls show unless they name one.
    pub primary_number_id: Option<String>,
    /// Your own JSON object.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Every setting of the conversation; what the fields above say wins.
    #[schema(value_type = Object)]
    pub turn: TurnConfig,
    /// Every setting of voice activity detection; what `turn_detection` says wins.
    #[schema(value_type = Object)]
    pub vad: VadConfig,
    /// How its sentences are made ready for the voice.
    #[schema(value_type = Object)]
    pub speech: SpeechConfig,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            name: String::new(),
            business_name: None,
            is_active: true,
            persona: String::new(),
            instructions: String::new(),
            language: "en".to_owned(),
            pipeline: Pipeline::Cascade,
            first_message: None,
            first_message_mode: FirstMessageMode::Static,
            first_message_delay_ms: 400,
            first_message_interruptible: None,
            end_message: None,
            stt: Stt::default(),
            llm: Llm::default(),
            tts: Tts::default(),
            realtime: Realtime::default(),
            turn_detection: TurnDetection::default(),
            barge_in: BargeIn::default(),
            inactivity: Inactivity::default(),
            end_phrases: Vec::new(),
            max_duration_seconds: None,
            ring_timeout_seconds: None,
            voicemail: Voicemail::default(),
            ivr: Ivr::default(),
            transfer: Transfer::default(),
            recording: RecordingPolicy::default(),
            background_sound: None,
            background_volume: None,
            variables: Vec::new(),
            tools: Vec::new(),
            tool_template_ids: Vec::new(),
            returns: None,
            analysis_template_ids: Vec::new(),
            summary: false,
            webhook_url: None,
            webhook_secret: WriteOnly::None,
            webhook_events: Vec::new(),
            primary_number_id: None,
            metadata: serde_json::Map::new(),
            turn: TurnConfig::default(),
            vad: VadConfig::default(),
            speech: SpeechConfig::default(),
        }
    }
}

/// How speech becomes speech.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pipeline {
    /// Recognition, language model, synthesis.
    #[default]
    Cascade,
    /// One model that hears, decides and speaks.
    Realtime,
}

/// Who says the first words, and where they come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirstMessageMode {
    /// A fixed text.
    #[default]
    Static,
    /// The language model's words.
    Generated,
    /// The agent waits for the caller.
    None,
}

/// When the caller's turn is over. What is None is as `turn` and `vad` say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TurnDetection {
    /// Who decides: silence alone, the recogniser's word (for recognisers that give one), or silence whose
    /// length follows from the words. None: `hybrid`.
    pub mode: Option<TurnMode>,
    /// Silence that ends the turn if nothing else is known, 100 to 3,000 ms. None: 500.
    pub silence_ms: Option<u32>,
    /// Voiced time that makes a start, 20 to 500 ms. None: 48.
    pub min_speech_ms: Option<u32>,
    /// Probability from which sound is speech, 0.1 to 0.95. None: 0.5.
    pub threshold: Option<f32>,
    /// Longest time from the caller's last sound to the reply's start, 500 to 20,000 ms. None: 3,000.
    pub max_wait_ms: Option<u32>,
}

/// Who decides that a turn is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum TurnMode {
    Vad,
    Stt,
    Hybrid,
}

/// When the caller's speech stops the agent. What is None is as `turn.barge_in` says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BargeIn {
    /// Whether it ever does.
    pub enabled: Option<bool>,
    /// Short for `min_ms`: `high` 0, `medium` 200, `low` 500 ms.
    pub sensitivity: Option<Sensitivity>,
    /// Speech that interrupts whatever was said, 0 to 2,000 ms; wins over `sensitivity`. None: 500. Shorter
    /// speech interrupts with its words, unless they only say that the caller listens.
    pub min_ms: Option<u32>,
    /// Recognised words needed, 0 to 10; above 0 it replaces the time.
    pub min_words: Option<u32>,
}

/// How easily the agent is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum Sensitivity {
    Low,
    Medium,
    High,
}

/// What happens when nobody speaks. What is None is as `turn.inactivity` says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Inactivity {
    /// Whether the agent asks and hangs up at all.
    pub enabled: Option<bool>,
    /// Silence of both sides before a prompt, 1,000 to 600,000 ms.
    pub prompt_after_ms: Option<u32>,
    /// Prompts, in turn. At most 16.
    pub prompts: Option<Vec<String>>,
    /// Prompts before the goodbye, 0 to 20.
    pub max_prompts: Option<u32>,
    /// Silence after which the call ends; makes `max_prompts` as many as fit before.
    pub hangup_after_ms: Option<u32>,
}

/// What to do with answering machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Voicemail {
    /// Whether to find out who or what answers; until that is known the agent says nothing.
    pub detect: bool,
    /// What to do when one answers: `hangup`; `leave_message` after its beep; `continue` as with a person.
    pub action: VoicemailAction,
    /// Words for it. None: `first_message`. `{{name}}` stands for a variable.
    pub message: Option<String>,
}

/// What to do when a machine answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum VoicemailAction {
    #[default]
    Hangup,
    LeaveMessage,
    Continue,
}

/// What to do with menus of machines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ivr {
    /// Whether the agent talks to them; else the call ends when one answers.
    pub navigate: bool,
}

/// Whom the caller may be transferred to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Transfer {
    /// Destinations; they become a `transfer` tool if the agent has none. At most 16.
    pub destinations: Vec<super::tool::Destination>,
    /// How: `blind` by REFER, or `bridge` by a second leg that stays here, for trunks that refuse REFER.
    pub mode: super::control::TransferMode,
}

/// Whether and how calls are recorded. In short `true` or `false`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct RecordingPolicy {
    /// Whether at all.
    pub enabled: bool,
    /// 2: caller and agent apart. 1 is kept; recordings have two channels in this version.
    pub channels: u8,
    /// Days after which the audio is deleted. None: the server's rule.
    pub retention_days: Option<u32>,
}

impl Default for RecordingPolicy {
    fn default() -> Self {
        Self { enabled: true, channels: 2, retention_days: None }
    }
}

super::short_form!(RecordingPolicy, RecordingPolicyFields, bool, "a boolean or a table", {
    enabled: bool, channels: u8, retention_days: Option<u32>,
}, |enabled| RecordingPolicy { enabled, ..RecordingPolicy::default() });

/// A value that texts of the agent refer to as `{{name}}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Variable {
    /// A letter or `_`, then letters, digits and `_`; at most 64.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Value when a call gives none. Without it, every call must.
    pub default: Option<String>,
}

/// Fields that one call may have different from its agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overrides {
    /// Instead of the agent's.
    pub instructions: Option<String>,
    /// Instead of the agent's; the mode becomes `static`.
    pub first_message: Option<String>,
    /// Instead of the agent's.
    pub language: Option<String>,
    /// JSON the agent may refer to.
    pub context: Option<serde_json::Value>,
    /// Values of the variables.
    pub variables: BTreeMap<String, String>,
    /// Instead of the agent's.
    pub max_duration_seconds: Option<u32>,
    /// Instead of the agent's.
    pub webhook_url: Option<String>,
}
