//! What every resource shows besides its own fields.

use serde::Serialize;
use utoipa::ToSchema;

/// A resource as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct View<T: ToSchema> {
    /// Identifier.
    pub id: String,
    /// Counts the changes, from 1.
    pub version: u32,
    /// Whose.
    pub organization_id: String,
    /// `api`, or `config` for what stands in the configuration and is read-only here.
    pub managed_by: String,
    /// Made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// Put away; null while it is in use.
    #[schema(format = DateTime)]
    pub archived_at: Option<String>,
    /// Its own fields.
    #[serde(flatten)]
    pub fields: T,
}
