//! What is made of a call once it is over: extraction, summary, analysis, usage and cost.

use serde::{Deserialize, Serialize};

/// Where the making of something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterStatus {
    /// Wanted; the call is not over, or the work is not done.
    Pending,
    /// Made.
    Completed,
    /// Could not be made.
    Failed,
    /// Not wanted, or there was no conversation.
    Skipped,
}

/// One analysis template, as it was when the call began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnalysisSpec {
    /// Key of its output.
    pub name: String,
    /// Instructions of the model.
    pub system_prompt: String,
    /// The question; `{transcript}` stands for the conversation.
    pub user_prompt: String,
    /// JSON Schema of the answer.
    pub schema: serde_json::Value,
    /// Provider instead of the plan's.
    #[serde(default)]
    pub provider: Option<String>,
    /// Model instead of the provider's usual one, or of the plan's if no provider is named.
    #[serde(default)]
    pub model: Option<String>,
}

/// What the agent wants made of the call: a snapshot taken when it began, kept so that a crash between the end of
/// the call and the end of the work loses nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AfterPlan {
    /// Language model, by its provider's name; empty: nothing can be made.
    pub llm: String,
    /// Model instead of the provider's usual one.
    pub model: Option<String>,
    /// Whether a summary is wanted.
    pub summary: bool,
    /// Templates to run.
    pub templates: Vec<AnalysisSpec>,
    /// Whether the call was settled before and something is made of it again: the world knows its end already.
    pub rerun: bool,
}

impl AfterPlan {
    /// Provider and model that answer for a template.
    pub fn model_of<'a>(&'a self, template: &'a AnalysisSpec) -> (&'a str, Option<&'a str>) {
        let own = template.model.as_deref();
        match &template.provider {
            Some(provider) => (provider, own),
            None => (&self.llm, own.or(self.model.as_deref())),
        }
    }
}

/// Whether the worst-case cost of a call is held against the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum ReservationStatus {
    #[default]
    None,
    Reserved,
    Settled,
    Released,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum UsageKind {
    Stt,
    Llm,
    Tts,
    Telephony,
}

/// In what it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum UsageUnit {
    Second,
    TokenIn,
    TokenOut,
    AudioTokenIn,
    AudioTokenOut,
    Character,
    Minute,
}

/// How much of one service a call used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Which stage.
    pub kind: UsageKind,
    /// Name of the provider, or of the trunk for telephony.
    pub provider: String,
    /// Its model or voice.
    pub model: Option<String>,
    /// Who was called by a second leg; `None`: the call itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<super::Pii<String>>,
    /// How much.
    pub quantity: f64,
    /// Of what.
    pub unit: UsageUnit,
    /// Price of `unit_price_per` units, millionths of the currency; `None` if no price is known.
    pub unit_price_micros: Option<u64>,
    /// How many units that price buys: a token costs less than a millionth.
    #[serde(default = "one")]
    pub unit_price_per: u64,
    /// Price of all, rounded half up; `None` if no price is known.
    pub amount_micros: Option<u64>,
}

fn one() -> u64 {
    1
}

/// What a call cost by the local price table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Pending until the call is over.
    pub status: AfterStatus,
    /// ISO 4217.
    pub currency: String,
    /// Sum.
    pub total_micros: u64,
    /// Recognition.
    pub stt_micros: u64,
    /// Language model.
    pub llm_micros: u64,
    /// Synthesis.
    pub tts_micros: u64,
    /// Trunk.
    pub telephony_micros: u64,
}
