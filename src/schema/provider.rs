//! Speech and language services, their voices, and credentials brought along.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::secret::WriteOnly;

/// A service an agent can name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Provider {
    /// What an agent names: `local`, `script`, a name of the configuration or of a credential.
    pub id: String,
    /// What it does: `stt`, `llm`, `tts` or `realtime`.
    pub category: String,
    /// Protocol it speaks.
    pub kind: String,
    /// Name for people.
    pub name: String,
    /// Where its own documentation is.
    pub docs_url: Option<String>,
    /// Models that are known; others can be named as well.
    pub models: Vec<ProviderModel>,
    /// Voice when the agent names none.
    pub default_voice: Option<String>,
    /// `not_required`, `configured` (by the server), `own` (by a credential of yours) or `missing`.
    pub credential_state: String,
    /// What it can do.
    pub capabilities: Vec<String>,
}

/// A model of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProviderModel {
    /// What an agent names.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Whether it is used when the agent names none.
    pub default: bool,
}

/// A voice of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Voice {
    /// What an agent names as `tts.voice`.
    pub id: String,
    /// What an agent names as `tts.provider`.
    pub provider: String,
    /// Name for people.
    pub name: String,
    /// BCP 47 tag; null: several.
    pub language: Option<String>,
    /// `female` or `male`, if the provider says.
    pub gender: Option<String>,
    /// Where it can be heard.
    pub preview_url: Option<String>,
    /// Models that speak with it; empty: all.
    pub models: Vec<String>,
}

/// A key of yours for a provider: used by your agents instead of the server's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderCredential {
    /// What agents name. A protocol's own name, for example `openai` or `deepgram`, speaks that protocol; any
    /// other name needs `kind`.
    pub provider: String,
    /// Protocol, as in the table of docs/providers.md. None: the provider's name.
    pub kind: Option<String>,
    /// What a person calls it.
    pub label: String,
    /// The key.
    #[serde(skip_serializing_if = "WriteOnly::is_hidden")]
    #[schema(value_type = Option<String>, write_only)]
    pub api_key: WriteOnly,
    /// Base URL instead of the vendor's own.
    pub base_url: Option<String>,
    /// Last four characters of the key. Read-only.
    #[schema(read_only)]
    pub masked: String,
    /// Whether agents use it; the last one that says so wins.
    pub is_default: bool,
}

/// Result of a credential's test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct CredentialTest {
    /// Whether the provider took the key.
    pub ok: bool,
    /// Status of its answer.
    pub status: Option<u16>,
    /// Why not.
    pub error: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
}
