//! A resource at rest: one row, its public JSON, and what of it may never be read back.

use super::Part;
use crate::types::OrganizationId;

/// One resource.
#[derive(Clone, PartialEq)]
pub struct Resource {
    /// Which table it would be in, for example `agent`.
    pub kind: &'static str,
    /// Identifier, unique in its kind.
    pub id: String,
    /// Whose.
    pub organization_id: OrganizationId,
    /// A name that may exist once in its kind, whoever owns it.
    pub unique_key: Option<String>,
    /// Counts the writes, from 1.
    pub version: u32,
    /// Whether it is only kept for history.
    pub archived: bool,
    /// Made.
    pub created_at: jiff::Timestamp,
    /// Last written.
    pub updated_at: jiff::Timestamp,
    /// Its JSON, without secrets.
    pub doc: serde_json::Value,
    /// Its secrets, encrypted.
    pub sealed: Option<Vec<u8>>,
}

/// Which resources.
#[derive(Clone, Debug)]
pub struct ResourceQuery {
    /// Kind.
    pub kind: &'static str,
    /// Whose.
    pub organization_id: OrganizationId,
    /// Whether archived ones count.
    pub archived: bool,
    /// Fields of the JSON, by path, and the text they equal. Paths are ours, values may be a peer's.
    pub equal: Vec<(&'static str, String)>,
    /// Which page.
    pub part: Part,
}
