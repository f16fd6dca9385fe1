//! The journals of all calls of an organization in one order: that in which they were stored.

use sqlx::Row;

use super::{Store, classify};
use crate::store::{EVENTS_MAX, StoreError};
use crate::types::{CallEvent, CallId, OrganizationId};

/// An entry of the feed.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedEvent {
    /// Counts the entries of all organizations, from 1, with holes.
    pub position: u64,
    /// The entry of the call's journal.
    pub event: CallEvent,
}

/// The feed.
impl Store {
    /// Counts the transactions; a new value means that there may be new entries.
    pub fn commits(&self) -> tokio::sync::watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Position of the newest entry of anybody.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn feed_end(&self) -> Result<u64, StoreError> {
        let end: i64 = sqlx::query_scalar("SELECT coalesce(max(position), 0) FROM event_feed")
            .fetch_one(&self.readers)
            .await
            .map_err(classify)?;
        Ok(u64::try_from(end).unwrap_or(0))
    }

    /// Entries of an organization after a position, at most [`EVENTS_MAX`]. There is one writer, so a position
    /// is never filled after a later one was seen.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn feed(
        &self,
        organization: &OrganizationId,
        after: u64,
    ) -> Result<Vec<FeedEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT record, position FROM event_feed AS feed INDEXED BY event_feed_list
             CROSS JOIN events ON events.call_id = feed.call_id AND events.seq = feed.seq
             WHERE feed.organization_id = ?1 AND feed.position > ?2
             ORDER BY feed.position LIMIT ?3",
        )
        .bind(organization.as_str())
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(EVENTS_MAX as i64)
        .fetch_all(&self.readers)
        .await
        .map_err(classify)?;
        rows.iter()
            .map(|row| {
                let record: &str = row.try_get(0).map_err(classify)?;
                let position: i64 = row.try_get(1).map_err(classify)?;
                Ok(FeedEvent {
                    position: u64::try_from(position).unwrap_or(0),
                    event: serde_json::from_str(record).map_err(StoreError::Decode)?,
                })
            })
            .collect()
    }

    /// Whose a call is; `None` for one that is not stored.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn organization_of(&self, id: CallId) -> Result<Option<OrganizationId>, StoreError> {
        let found: Option<String> =
            sqlx::query_scalar("SELECT organization_id FROM calls WHERE id = ?1")
                .bind(id.to_string())
                .fetch_optional(&self.readers)
                .await
                .map_err(classify)?;
        Ok(found.map(OrganizationId::new))
    }
}
