//! Objects about the service itself: errors, API keys, health.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of every 4xx and 5xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// Machine code; every code is in `docs/api.md`.
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// Field or parameter that is wrong.
    pub param: Option<String>,
    /// Class of the error, for example `invalid_request`.
    pub r#type: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Finds the request in the log.
    pub request_id: String,
}

/// A key, without the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ApiKey {
    /// Identifier.
    pub id: String,
    /// What a person calls it.
    pub name: String,
    /// First characters, to recognise it by.
    pub prefix: String,
    /// Whose.
    pub organization_id: String,
    /// What it may do: `calls:read`, `calls:write`, `control`, `media`, `admin`.
    pub scopes: Vec<String>,
    /// Requests a minute; null: as many as it likes.
    pub rate_limit_rpm: Option<u32>,
    /// Requests a day.
    pub rate_limit_rpd: Option<u32>,
    /// When it was used last, to the minute; null if never.
    #[schema(format = DateTime)]
    pub last_used_at: Option<String>,
    /// From when it is refused.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// When it was taken back.
    #[schema(format = DateTime)]
    pub revoked_at: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// Body of the request that makes a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKey {
    /// What a person calls it.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// What it may do; left out: what the key that makes it may do. None may do more than that.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
    /// From when it is refused, RFC 3339.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// Requests a minute.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub rate_limit_rpm: Option<u32>,
    /// Requests a day.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 100_000_000)]
    pub rate_limit_rpd: Option<u32>,
}

/// A new key: the only time the key itself is shown. It has no `Debug`, so no log can show it again.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NewApiKey {
    /// Its public side.
    pub api_key: ApiKey,
    /// The credential.
    pub key: String,
}

/// Body of `/healthz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// Version of the program.
    pub version: String,
}

/// One condition of readiness.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Whether it is well.
    pub ok: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// Body of `/readyz`, with status 200 or 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Ready {
    /// Whether calls are taken: every check is well.
    pub ready: bool,
    /// The checks.
    pub checks: Vec<Check>,
}

impl Ready {
    /// Draws the conclusion from the checks.
    pub fn new(checks: Vec<Check>) -> Self {
        Self { ready: checks.iter().all(|check| check.ok), checks }
    }
}
