//! Calls, their turns and journals.

use futures_util::TryStreamExt;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

use super::{Store, classify, decode, decode_all, encode, outbox, usage, word};
use crate::store::query::{digits_of, sort_time};
use crate::store::{EVENTS_MAX, StoreError, Write};
use crate::types::{CallEvent, CallId, CallRecord, TurnRecord};

impl Store {
    async fn write(&self, batch: &[Write]) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await.map_err(classify)?;
        let durable = batch.iter().any(|write| matches!(write, Write::Open(_) | Write::Finish(_)));
        // Set before every transaction: one that was cut off may have left the other value behind.
        let level =
            if durable { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
        sqlx::query(level).execute(&mut *connection).await.map_err(classify)?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        let mut news = false;
        for write in batch {
            news |= write_one(&mut transaction, write).await?;
        }
        transaction.commit().await.map_err(classify)?;
        if news {
            self.news.notify_one();
        }
        self.commits.send_modify(|commits| *commits = commits.wrapping_add(1));
        Ok(())
    }
}

/// Calls, turns and journals.
impl Store {
    /// Writes all or none, in order, in one transaction. The events that webhooks tell of a call's life are
    /// written with the state they tell of.
    ///
    /// # Errors
    /// When a turn or event names an unknown call, or the disk fails; nothing is written then.
    pub async fn apply(&self, batch: &[Write]) -> Result<(), StoreError> {
        self.write(batch).await
    }

    /// One record.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn get(&self, id: CallId) -> Result<Option<CallRecord>, StoreError> {
        let query = sqlx::query("SELECT record FROM calls WHERE id = ?1").bind(id.to_string());
        let row = query.fetch_optional(&self.readers).await.map_err(classify)?;
        row.as_ref().map(decode).transpose()
    }

    /// Turns of a call in order; empty for an unknown call.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn turns(&self, id: CallId) -> Result<Vec<TurnRecord>, StoreError> {
        let query = sqlx::query("SELECT record FROM turns WHERE call_id = ?1 ORDER BY seq")
            .bind(id.to_string());
        decode_all(&query.fetch_all(&self.readers).await.map_err(classify)?)
    }

    /// Journal entries with `seq > after`, at most [`EVENTS_MAX`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn events(&self, id: CallId, after: u64) -> Result<Vec<CallEvent>, StoreError> {
        let query = sqlx::query(
            "SELECT record FROM events WHERE call_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
        )
        .bind(id.to_string())
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(EVENTS_MAX as i64);
        decode_all(&query.fetch_all(&self.readers).await.map_err(classify)?)
    }

    /// Records that are not over: after a start, the calls a crash cut off.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open_calls(&self) -> Result<Vec<CallRecord>, StoreError> {
        let query = sqlx::query("SELECT record FROM calls WHERE ended = 0 ORDER BY id");
        decode_all(&query.fetch_all(&self.readers).await.map_err(classify)?)
    }

    /// Calls that began at or after a moment and dialled: outbound ones, and those with second legs. One by one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn dialled_since(
        &self,
        since: jiff::Timestamp,
        mut each: impl FnMut(CallRecord),
    ) -> Result<(), StoreError> {
        let query =
            // Only a row of usage of a second leg has a destination.
            sqlx::query(
                "SELECT record FROM calls WHERE sort_us >= ?1
                 AND (direction = 'outbound' OR instr(record, '\"destination\"') > 0)",
            )
            .bind(since.as_microsecond());
        let mut rows = query.fetch(&self.readers);
        while let Some(row) = rows.try_next().await.map_err(classify)? {
            each(decode(&row)?);
        }
        Ok(())
    }

    /// Calls that are over and of which something is still to be made, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn calls_to_settle(&self, limit: u32) -> Result<Vec<CallId>, StoreError> {
        let rows: Vec<String> =
            sqlx::query_scalar("SELECT id FROM calls WHERE after_due = 1 ORDER BY id LIMIT ?1")
                .bind(i64::from(limit))
                .fetch_all(&self.readers)
                .await
                .map_err(classify)?;
        Ok(rows.iter().filter_map(|id| id.parse().ok()).collect())
    }
}

/// Writes one thing; says whether webhooks have something to tell of it.
async fn write_one(connection: &mut SqliteConnection, write: &Write) -> Result<bool, StoreError> {
    match write {
        Write::Open(record) | Write::Put(record) | Write::Finish(record) => {
            put(connection, record).await
        }
        Write::Settle(record) => {
            let known: Option<i64> = sqlx::query_scalar("SELECT 1 FROM calls WHERE id = ?1")
                .bind(record.id.to_string())
                .fetch_optional(&mut *connection)
                .await
                .map_err(classify)?;
            if known.is_some() { put(connection, record).await } else { Ok(false) }
        }
        Write::Emit(event) => outbox::insert(connection, event).await,
        Write::Turn(id, turn) => sqlx::query(
            "INSERT INTO turns (call_id, seq, record) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET record = excluded.record",
        )
        .bind(id.to_string())
        .bind(i64::from(turn.id.0))
        .bind(encode(turn)?)
        .execute(connection)
        .await
        .map(|_| false)
        .map_err(classify),
        Write::Event(event) => {
            let done = sqlx::query(
                "INSERT INTO events (call_id, seq, record) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            )
            .bind(event.call_id.to_string())
            .bind(event.seq as i64)
            .bind(encode(event)?)
            .execute(&mut *connection)
            .await
            .map_err(classify)?;
            // An entry that was there already was told then.
            Ok(done.rows_affected() > 0 && outbox::tell_of_journal(connection, event).await?)
        }
    }
}

pub(super) async fn put(
    connection: &mut SqliteConnection,
    record: &CallRecord,
) -> Result<bool, StoreError> {
    let id = record.id.to_string();
    let before: Option<outbox::Before> =
        sqlx::query_as("SELECT status, after_due, answered_by FROM calls WHERE id = ?1")
            .bind(&id)
            .fetch_optional(&mut *connection)
            .await
            .map_err(classify)?;
    let after_due = record.is_settling();
    sqlx::query(
        "INSERT INTO calls (id, direction, status, outcome, end_reason, ended, from_digits,
             to_digits, agent_id, trunk, sort_us, record, organization_id, number_id, order_id,
             batch_id, campaign_id, answered_by, call_type, is_test, duration_ms, after_due)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
             ?19, ?20, ?21, ?22)
         ON CONFLICT DO UPDATE SET status = excluded.status, outcome = excluded.outcome,
             end_reason = excluded.end_reason, ended = excluded.ended,
             from_digits = excluded.from_digits, to_digits = excluded.to_digits,
             agent_id = excluded.agent_id, trunk = excluded.trunk, sort_us = excluded.sort_us,
             record = excluded.record, number_id = excluded.number_id,
             answered_by = excluded.answered_by, duration_ms = excluded.duration_ms,
             after_due = excluded.after_due
         WHERE (calls.ended = 0 OR excluded.ended = 1)
             AND (excluded.status <> 'queued' OR calls.status = 'queued')",
    )
    .bind(&id)
    .bind(word(&record.direction))
    .bind(record.status.as_str())
    .bind(record.outcome.map(|outcome| word(&outcome)))
    .bind(record.end_reason.map(|reason| word(&reason)))
    .bind(i64::from(record.status.is_terminal()))
    .bind(digits_of(record.from_number.reveal()))
    .bind(digits_of(record.to_number.reveal()))
    .bind(record.agent_id.as_ref().map(|agent| agent.0.as_str()))
    .bind(record.trunk.as_ref().map(|trunk| trunk.0.as_str()))
    .bind(sort_time(record).as_microsecond())
    .bind(encode(record)?)
    .bind(record.organization_id.as_str())
    .bind(record.number_id.as_deref())
    .bind(record.order_id.map(|id| id.to_string()))
    .bind(record.batch_id.map(|id| id.to_string()))
    .bind(record.campaign_id.map(|id| id.to_string()))
    .bind(record.answered_by.map(|by| word(&by)))
    .bind(word(&record.call_type))
    .bind(i64::from(record.is_test))
    .bind(record.duration_ms.and_then(|ms| i64::try_from(ms).ok()))
    .bind(i64::from(after_due))
    .execute(&mut *connection)
    .await
    .map_err(classify)?;
    if record.status.is_terminal() {
        usage::write(connection, record).await?;
    }
    outbox::tell_of_change(connection, record, before).await
}
