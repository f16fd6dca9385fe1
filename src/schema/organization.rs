//! An organization: the tenant that keys, calls and resources belong to.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::NewApiKey;

/// What may be spent in a month.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Budget {
    /// Most in a calendar month (UTC), millionths of the currency; null: no limit.
    pub monthly_limit_micros: Option<u64>,
    /// ISO 4217 code.
    pub currency: Option<String>,
    /// What is held for a call until its cost is known, millionths.
    pub per_call_hold: Option<u64>,
}

/// What an organization has at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct OrganizationCounters {
    /// Calls that are not over.
    pub active_calls: u64,
    /// Agents that can take calls.
    pub active_agents: u64,
    /// Numbers.
    pub active_numbers: u64,
    /// Minutes of calls that began in this calendar month (UTC), rounded up; tests left out.
    pub monthly_usage_minutes: u64,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Organization {
    /// Identifier.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The caller's own object.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// What may be spent.
    pub budget: Option<Budget>,
    /// Whether a default webhook secret is set; it is never shown again.
    pub has_default_webhook_secret: bool,
    /// Days after which records of calls are erased; null: never.
    pub retention_days: Option<u32>,
    /// Days after which recordings are removed; null: with the record.
    pub recording_retention_days: Option<u32>,
    /// What it has at the moment.
    pub counters: OrganizationCounters,
    /// Made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Last change.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// Kind under which [`OrganizationDoc`] is stored.
pub const ORGANIZATION_KIND: &str = "organization";

/// What is stored of an organization: the fields that can be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OrganizationDoc {
    /// What people call it.
    pub name: String,
    /// The caller's own object.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// What may be spent.
    pub budget: Option<Budget>,
    /// Days after which records of calls are erased.
    pub retention_days: Option<u32>,
    /// Days after which recordings are removed.
    pub recording_retention_days: Option<u32>,
}

/// Body of `POST /v1/organizations`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateOrganization {
    /// What people call it.
    #[schema(min_length = 1, max_length = 64)]
    pub name: String,
    /// The caller's own object.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// A new organization with its first key, which is shown only here. It has no `Debug`, so no log can show it.
#[derive(Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NewOrganization {
    /// The organization.
    pub organization: Organization,
    /// Its first key, which may do everything in it.
    pub api_key: NewApiKey,
}

/// Body of `PATCH /v1/organization`, a JSON merge patch (RFC 7396): what is left out stays, null clears. It has
/// no `Debug`: it may hold a secret.
#[derive(Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PatchOrganization {
    /// What people call it.
    #[schema(min_length = 1, max_length = 64)]
    pub name: Option<String>,
    /// Merged into the object that is there.
    pub metadata: Option<serde_json::Map<String, serde_json::Value>>,
    /// What may be spent.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<Budget>)]
    pub budget: Option<Option<Budget>>,
    /// Signs webhooks that have no secret of their own: `whsec_` and Base64. Written, never shown.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<String>, max_length = 256)]
    pub default_webhook_secret: Option<Option<String>>,
    /// Days after which records of calls are erased.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 36_500)]
    pub retention_days: Option<Option<u32>>,
    /// Days after which recordings are removed.
    #[serde(deserialize_with = "present")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 36_500)]
    pub recording_retention_days: Option<Option<u32>>,
}

/// Tells a field that is null from one that is left out.
fn present<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
