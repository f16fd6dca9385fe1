//! Erasure: after it no byte of a call is left in the database or its log.

use sqlx::Connection;

use super::{Store, classify};
use crate::store::StoreError;
use crate::types::{CallId, CallRecord, OrganizationId};

/// Tables that hold something of a call, by their column for it, in the order in which they can be emptied. Some
/// belong to rooms a server may not have: those that are missing are passed over.
const TABLES: &[(&str, &str)] = &[
    ("webhook_deliveries", "call_id"),
    ("webhook_bodies", "call_id"),
    ("outbox", "call_id"),
    ("turns", "call_id"),
    ("events", "call_id"),
    ("sip_messages", "call_id"),
    ("calls", "id"),
];
/// Tries to empty the write-ahead log, which a reader in the middle of a long list can hold up.
const CHECKPOINTS: usize = 3;

/// Erasure and retention.
impl Store {
    /// Removes a call and everything about it; says whether there was one. It cannot come back: later writes of
    /// it are ignored. The recording is the caller's to remove first.
    ///
    /// # Errors
    /// When the store cannot be written, or its log not be emptied; the call is gone in the second case too.
    pub async fn erase_call(&self, id: CallId, now: jiff::Timestamp) -> Result<bool, StoreError> {
        let mut connection = self.writer.acquire().await.map_err(classify)?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        let text = id.to_string();
        sqlx::query("INSERT OR IGNORE INTO erased_calls (id, at_us) VALUES (?1, ?2)")
            .bind(&text)
            .bind(now.as_microsecond())
            .execute(&mut *transaction)
            .await
            .map_err(classify)?;
        let mut found = false;
        for (table, column) in TABLES {
            let there: i64 =
                sqlx::query_scalar("SELECT count(*) FROM pragma_table_info(?1) WHERE name = ?2")
                    .bind(*table)
                    .bind(*column)
                    .fetch_one(&mut *transaction)
                    .await
                    .map_err(classify)?;
            if there == 0 {
                continue;
            }
            let mut sql = sqlx::QueryBuilder::<sqlx::Sqlite>::new("DELETE FROM ");
            sql.push(*table).push(" WHERE ").push(*column).push(" = ").push_bind(&text);
            let done = sql.build().execute(&mut *transaction).await.map_err(classify)?;
            found |= *table == "calls" && done.rows_affected() > 0;
        }
        sqlx::query("UPDATE idempotency SET body = NULL WHERE subject = ?1")
            .bind(&text)
            .execute(&mut *transaction)
            .await
            .map_err(classify)?;
        transaction.commit().await.map_err(classify)?;
        for _ in 0..CHECKPOINTS {
            let (busy, _, _): (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
                .fetch_one(&mut *connection)
                .await
                .map_err(classify)?;
            if busy == 0 {
                return Ok(found);
            }
        }
        Err(StoreError::Busy)
    }

    /// Changes members of a call's record by a JSON merge patch that outlasts what a live call writes. Returns the
    /// record as it is now; `None` if there is no such call.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn patch_call(
        &self,
        id: CallId,
        patch: &serde_json::Value,
        now: jiff::Timestamp,
    ) -> Result<Option<CallRecord>, StoreError> {
        let text = id.to_string();
        let mut transaction = self.writer.begin().await.map_err(classify)?;
        let before: Option<String> =
            sqlx::query_scalar("SELECT patch FROM call_patches WHERE id = ?1")
                .bind(&text)
                .fetch_optional(&mut *transaction)
                .await
                .map_err(classify)?;
        let mut whole = match before {
            Some(before) => serde_json::from_str(&before).map_err(StoreError::Decode)?,
            None => serde_json::Value::Null,
        };
        compose(&mut whole, patch);
        let exists: Option<i64> = sqlx::query_scalar("SELECT 1 FROM calls WHERE id = ?1")
            .bind(&text)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(classify)?;
        if exists.is_none() {
            return Ok(None);
        }
        sqlx::query(
            "INSERT INTO call_patches (id, patch) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET patch = excluded.patch",
        )
        .bind(&text)
        .bind(whole.to_string())
        .execute(&mut *transaction)
        .await
        .map_err(classify)?;
        // The trigger applies the patch to what is written.
        sqlx::query("UPDATE calls SET record = json_set(record, '$.updated_at', ?2) WHERE id = ?1")
            .bind(&text)
            .bind(now.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(classify)?;
        let row = sqlx::query("SELECT record FROM calls WHERE id = ?1")
            .bind(&text)
            .fetch_one(&mut *transaction)
            .await
            .map_err(classify)?;
        transaction.commit().await.map_err(classify)?;
        super::decode(&row).map(Some)
    }

    /// Calls of an organization that ended before a moment, oldest first: what retention looks through.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn ended_before(
        &self,
        organization: &OrganizationId,
        agent: Option<&str>,
        before: jiff::Timestamp,
        after: Option<(i64, CallId)>,
        most: u32,
    ) -> Result<Vec<CallRecord>, StoreError> {
        let mut sql = sqlx::QueryBuilder::<sqlx::Sqlite>::new(
            "SELECT record FROM calls INDEXED BY calls_list WHERE organization_id = ",
        );
        sql.push_bind(organization.as_str().to_owned());
        sql.push(" AND sort_us < ").push_bind(before.as_microsecond());
        if let Some((us, id)) = after {
            sql.push(" AND (sort_us, id) > (").push_bind(us).push(", ");
            sql.push_bind(id.to_string()).push(")");
        }
        if let Some(agent) = agent {
            sql.push(" AND agent_id = ").push_bind(agent.to_owned());
        }
        sql.push(" AND end_reason IS NOT NULL ORDER BY sort_us, id LIMIT ");
        sql.push_bind(i64::from(most));
        let rows = sql.build().fetch_all(&self.readers).await.map_err(classify)?;
        super::decode_all(&rows)
    }
}

/// Makes one merge patch of two, the later one last. Unlike applying a patch, it keeps what a null removes.
fn compose(into: &mut serde_json::Value, patch: &serde_json::Value) {
    let serde_json::Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = serde_json::Value::Object(serde_json::Map::new());
    }
    let serde_json::Value::Object(into) = into else { return };
    for (key, value) in patch {
        match into.get_mut(key) {
            Some(before) if before.is_object() && value.is_object() => compose(before, value),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}
