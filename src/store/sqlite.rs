//! The store on disk: one SQLite file in WAL mode. The only file that names the database library.
//!
//! One connection writes, a few read. `synchronous` is FULL for a batch that finishes a call (an
//! ended call survives a power cut) and NORMAL for all others (they survive the death of the
//! process, and a power cut costs at most the last moments of a call that was cut off anyway).

use std::path::Path;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Connection, QueryBuilder, Row, Sqlite};

use super::query::{CallPage, PageRequest, Query, StatusFilter, digits_of, sort_time};
use super::{ApiKeyRecord, CallStore, EVENTS_MAX, Source, StoreError, Write};
use crate::types::{CallEvent, CallId, CallRecord, TurnRecord};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// How long SQLite waits for another process's lock before it reports busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a connection; a slow disk must not hang the API.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that read at once: lists of the API; each costs a thread.
const READERS_MAX: u32 = 4;

/// Keeps everything in one file.
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file, makes it and its directory if missing, and brings its tables up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, is not a database, or is newer than this program.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source: Source| StoreError::Open { path: path.to_owned(), source };
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir).map_err(|error| failed(error.into()))?;
        }
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool =
            |max| SqlitePoolOptions::new().max_connections(max).acquire_timeout(ACQUIRE_TIMEOUT);
        let writer =
            pool(1).connect_with(options.clone()).await.map_err(|error| failed(error.into()))?;
        MIGRATIONS.run(&writer).await.map_err(|error| failed(error.into()))?;
        let readers = pool(READERS_MAX).connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self { writer, readers })
    }

    /// Waits for running statements and closes every connection.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Puts the writing connection into a state that a test needs.
    #[cfg(test)]
    pub(super) async fn pragma_for_test(&self, pragma: &'static str) {
        let mut connection = self.writer.acquire().await.expect("a connection");
        sqlx::query(pragma).execute(&mut *connection).await.expect("the pragma");
    }

    async fn write(&self, batch: &[Write]) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await.map_err(classify)?;
        let durable = batch.iter().any(|write| matches!(write, Write::Open(_) | Write::Finish(_)));
        // Set before every transaction: one that was cut off may have left the other value behind.
        let level =
            if durable { "PRAGMA synchronous = FULL" } else { "PRAGMA synchronous = NORMAL" };
        sqlx::query(level).execute(&mut *connection).await.map_err(classify)?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        for write in batch {
            write_one(&mut transaction, write).await?;
        }
        transaction.commit().await.map_err(classify)
    }

    async fn read_page(&self, query: &Query, page: PageRequest) -> Result<CallPage, StoreError> {
        // Both statements see one snapshot, so `total` and `items` agree.
        let mut snapshot = self.readers.begin().await.map_err(classify)?;
        let mut count = QueryBuilder::<Sqlite>::new("SELECT count(*) FROM calls WHERE 1");
        push_filters(&mut count, query);
        let total: i64 =
            count.build_query_scalar().fetch_one(&mut *snapshot).await.map_err(classify)?;
        let mut rows = QueryBuilder::<Sqlite>::new("SELECT record FROM calls WHERE 1");
        push_filters(&mut rows, query);
        rows.push(" ORDER BY sort_us DESC, id DESC LIMIT ");
        rows.push_bind(i64::from(page.page_size()));
        rows.push(" OFFSET ");
        rows.push_bind(i64::try_from(page.offset()).unwrap_or(i64::MAX));
        let rows = rows.build().fetch_all(&mut *snapshot).await.map_err(classify)?;
        Ok(CallPage { items: decode_all(&rows)?, total: u64::try_from(total).unwrap_or(0) })
    }
}

async fn write_one(connection: &mut SqliteConnection, write: &Write) -> Result<(), StoreError> {
    match write {
        Write::Open(record) | Write::Put(record) | Write::Finish(record) => {
            put(connection, record).await
        }
        Write::Turn(id, turn) => sqlx::query(
            "INSERT INTO turns (call_id, seq, record) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET record = excluded.record",
        )
        .bind(id.to_string())
        .bind(i64::from(turn.id.0))
        .bind(encode(turn)?)
        .execute(connection)
        .await
        .map(drop)
        .map_err(classify),
        Write::Event(event) => sqlx::query(
            "INSERT INTO events (call_id, seq, record) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
        )
        .bind(event.call_id.to_string())
        .bind(event.seq as i64)
        .bind(encode(event)?)
        .execute(connection)
        .await
        .map(drop)
        .map_err(classify),
    }
}

async fn put(connection: &mut SqliteConnection, record: &CallRecord) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO calls (id, direction, status, outcome, end_reason, ended, from_digits,
             to_digits, agent_id, trunk, sort_us, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
         ON CONFLICT DO UPDATE SET status = excluded.status, outcome = excluded.outcome,
             end_reason = excluded.end_reason, ended = excluded.ended,
             from_digits = excluded.from_digits, to_digits = excluded.to_digits,
             agent_id = excluded.agent_id, trunk = excluded.trunk, sort_us = excluded.sort_us,
             record = excluded.record
         WHERE calls.ended = 0 OR excluded.ended = 1",
    )
    .bind(record.id.to_string())
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
    .execute(connection)
    .await
    .map(drop)
    .map_err(classify)
}

fn push_filters(sql: &mut QueryBuilder<Sqlite>, query: &Query) {
    if let Some(direction) = query.direction {
        sql.push(" AND direction = ").push_bind(word(&direction));
    }
    if !query.status.is_empty() {
        sql.push(" AND (0");
        query.status.iter().for_each(|status| push_status(sql, status));
        sql.push(")");
    }
    if let Some(agent) = &query.agent_id {
        sql.push(" AND agent_id = ").push_bind(agent.0.clone());
    }
    if let Some(trunk) = &query.trunk {
        sql.push(" AND trunk = ").push_bind(trunk.0.clone());
    }
    if let Some(search) = &query.search {
        sql.push(" AND (instr(from_digits, ").push_bind(search.clone());
        sql.push(") > 0 OR instr(to_digits, ").push_bind(search.clone()).push(") > 0)");
    }
    if let Some(limit) = query.started_after {
        sql.push(" AND sort_us >= ").push_bind(limit.as_microsecond());
    }
    if let Some(limit) = query.started_before {
        sql.push(" AND sort_us < ").push_bind(limit.as_microsecond());
    }
}

fn push_status(sql: &mut QueryBuilder<Sqlite>, filter: &StatusFilter) {
    for status in &filter.statuses {
        sql.push(" OR status = ").push_bind(status.as_str());
    }
    if let Some(outcome) = filter.outcome {
        sql.push(" OR outcome = ").push_bind(word(&outcome));
    }
    if let Some(reason) = filter.end_reason {
        sql.push(" OR end_reason = ").push_bind(word(&reason));
    }
}

/// The public name of a value of a closed set.
fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

fn encode<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(StoreError::Decode)
}

fn decode<T: DeserializeOwned>(row: &sqlx::sqlite::SqliteRow) -> Result<T, StoreError> {
    let text: &str = row.try_get(0).map_err(classify)?;
    serde_json::from_str(text).map_err(StoreError::Decode)
}

fn decode_all<T: DeserializeOwned>(rows: &[sqlx::sqlite::SqliteRow]) -> Result<Vec<T>, StoreError> {
    rows.iter().map(decode).collect()
}

/// Sorts an error by SQLite's result code (its low byte; the rest only refines it).
fn classify(error: sqlx::Error) -> StoreError {
    let code = error
        .as_database_error()
        .and_then(|error| error.code())
        .and_then(|code| code.parse::<u32>().ok());
    match code {
        // SQLITE_CONSTRAINT_FOREIGNKEY
        Some(787) => StoreError::UnknownCall,
        Some(code) => match code & 0xff {
            5 | 6 => StoreError::Busy,
            8 => StoreError::ReadOnly(error.into()),
            13 => StoreError::Full(error.into()),
            _ => StoreError::Database(error.into()),
        },
        None => match error {
            sqlx::Error::PoolTimedOut => StoreError::Busy,
            sqlx::Error::PoolClosed => StoreError::Closed,
            other => StoreError::Database(other.into()),
        },
    }
}

impl CallStore for SqliteStore {
    fn apply<'a>(&'a self, batch: &'a [Write]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.write(batch).boxed()
    }

    fn get(&self, id: CallId) -> BoxFuture<'_, Result<Option<CallRecord>, StoreError>> {
        async move {
            let query = sqlx::query("SELECT record FROM calls WHERE id = ?1").bind(id.to_string());
            let row = query.fetch_optional(&self.readers).await.map_err(classify)?;
            row.as_ref().map(decode).transpose()
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        query: &'a Query,
        page: PageRequest,
    ) -> BoxFuture<'a, Result<CallPage, StoreError>> {
        self.read_page(query, page).boxed()
    }

    fn turns(&self, id: CallId) -> BoxFuture<'_, Result<Vec<TurnRecord>, StoreError>> {
        async move {
            let query = sqlx::query("SELECT record FROM turns WHERE call_id = ?1 ORDER BY seq")
                .bind(id.to_string());
            decode_all(&query.fetch_all(&self.readers).await.map_err(classify)?)
        }
        .boxed()
    }

    fn events(&self, id: CallId, after: u64) -> BoxFuture<'_, Result<Vec<CallEvent>, StoreError>> {
        async move {
            let query = sqlx::query(
                "SELECT record FROM events WHERE call_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3",
            )
            .bind(id.to_string())
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(EVENTS_MAX as i64);
            decode_all(&query.fetch_all(&self.readers).await.map_err(classify)?)
        }
        .boxed()
    }

    fn open_calls(&self) -> BoxFuture<'_, Result<Vec<CallRecord>, StoreError>> {
        async move {
            let query = sqlx::query("SELECT record FROM calls WHERE ended = 0 ORDER BY id");
            decode_all(&query.fetch_all(&self.readers).await.map_err(classify)?)
        }
        .boxed()
    }

    fn insert_key<'a>(&'a self, key: &'a ApiKeyRecord) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            sqlx::query("INSERT INTO api_keys (hash, created_us, record) VALUES (?1, ?2, ?3)")
                .bind(&key.hash)
                .bind(key.created_at.as_microsecond())
                .bind(encode(key)?)
                .execute(&self.writer)
                .await
                .map(drop)
                .map_err(classify)
        }
        .boxed()
    }

    fn keys(&self) -> BoxFuture<'_, Result<Vec<ApiKeyRecord>, StoreError>> {
        async move {
            let query = sqlx::query("SELECT record FROM api_keys ORDER BY created_us");
            decode_all(&query.fetch_all(&self.readers).await.map_err(classify)?)
        }
        .boxed()
    }

    fn key_by_hash<'a>(
        &'a self,
        hash: &'a str,
    ) -> BoxFuture<'a, Result<Option<ApiKeyRecord>, StoreError>> {
        async move {
            let query = sqlx::query("SELECT record FROM api_keys WHERE hash = ?1").bind(hash);
            let row = query.fetch_optional(&self.readers).await.map_err(classify)?;
            row.as_ref().map(decode).transpose()
        }
        .boxed()
    }
}
