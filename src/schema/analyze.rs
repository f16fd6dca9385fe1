//! The request to make something of a call again.

use serde::Deserialize;
use utoipa::ToSchema;

/// Body of `POST /v1/calls/{id}/analyze`. Without any of `returns`, `summary`, `analysis_template_ids` and `templates`,
/// everything the call's agent wanted is made again.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnalyzeCall {
    /// What to extract instead: names and types, or JSON Schema.
    #[serde(default)]
    #[schema(value_type = Option<Object>, example = json!({"confirmed": "boolean"}))]
    pub returns: Option<serde_json::Value>,
    /// Whether to summarise.
    #[serde(default)]
    pub summary: Option<bool>,
    /// Analysis templates to run.
    #[serde(default)]
    pub analysis_template_ids: Vec<String>,
    /// Further templates, which exist for this request only.
    #[serde(default)]
    pub templates: Vec<InlineTemplate>,
    /// Language model; else the one the call's agent has for it, else the one that talked.
    #[serde(default)]
    pub llm: Option<ModelChoice>,
}

/// A template that is not kept.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InlineTemplate {
    /// Key of its output in `analysis`.
    pub name: String,
    /// Instructions of the model.
    #[serde(default)]
    pub system_prompt: String,
    /// The question; `{transcript}` stands for the conversation, which follows if it is not named.
    pub user_prompt: String,
    /// JSON Schema of the output; without one it is a text.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub schema: Option<serde_json::Value>,
}

/// A language model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelChoice {
    /// Name of the provider.
    pub provider: String,
    /// Model instead of the provider's usual one.
    #[serde(default)]
    pub model: Option<String>,
}
