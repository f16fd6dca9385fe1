//! Objects about the service itself: errors, API keys, health.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::time;

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
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
}

impl ApiKey {
    /// Shows a stored key.
    pub fn new(id: String, name: String, prefix: String, created_at: jiff::Timestamp) -> Self {
        Self { id, name, prefix, created_at: time(created_at) }
    }
}

/// Body of the request that makes a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKey {
    /// What a person calls it.
    pub name: String,
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
