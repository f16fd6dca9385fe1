//! The store on disk: one SQLite file in WAL mode. The only file that names the database library.
//!
//! One connection writes, a few read. `synchronous` is FULL for a batch that finishes a call (an
//! ended call survives a power cut) and NORMAL for all others (they survive the death of the
//! process, and a power cut costs at most the last moments of a call that was cut off anyway).

mod calls;
pub mod campaigns;
mod deliveries;
mod erase;
mod feed;
pub mod groups;
mod idempotency;
mod keys;
mod ladders;
mod lists;
mod orders;
mod outbox;
mod page;
mod resources;
mod stats;
mod usage;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use super::{Source, StoreError};

pub use feed::FeedEvent;
pub use stats::STATS_CALLS_MAX;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// How long SQLite waits for another process's lock before it reports busy.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a connection; a slow disk must not hang the API.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that read at once: lists of the API; each costs a thread.
const READERS_MAX: u32 = 4;

/// Keeps everything in one file.
pub struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
    /// Rings when the outbox has something new.
    news: tokio::sync::Notify,
    /// Counts the transactions, so that whoever follows the journal knows when to look.
    commits: tokio::sync::watch::Sender<u64>,
    signer: tokio::sync::OnceCell<std::sync::Arc<super::sign::Signer>>,
}

impl Store {
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
            // What is deleted is overwritten, so that erasure leaves no byte in free pages.
            .pragma("secure_delete", "ON")
            .busy_timeout(BUSY_TIMEOUT);
        let pool =
            |max| SqlitePoolOptions::new().max_connections(max).acquire_timeout(ACQUIRE_TIMEOUT);
        let writer =
            pool(1).connect_with(options.clone()).await.map_err(|error| failed(error.into()))?;
        MIGRATIONS.run(&writer).await.map_err(|error| failed(error.into()))?;
        let readers = pool(READERS_MAX).connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Self {
            writer,
            readers,
            news: tokio::sync::Notify::new(),
            commits: Default::default(),
            signer: Default::default(),
        })
    }

    /// A store that forgets, for tests: one connection to a database in memory.
    ///
    /// # Errors
    /// When SQLite cannot make it.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let failed = |error: sqlx::Error| StoreError::Database(error.into());
        let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
        // The database lives as long as its only connection.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await
            .map_err(failed)?;
        MIGRATIONS.run(&pool).await.map_err(|error| StoreError::Database(error.into()))?;
        Ok(Self {
            writer: pool.clone(),
            readers: pool,
            news: tokio::sync::Notify::new(),
            commits: Default::default(),
            signer: Default::default(),
        })
    }

    /// What signs links and cursors. `fresh` becomes its key if there is none yet.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn signer(
        &self,
        fresh: impl FnOnce() -> [u8; 32],
        now: jiff::Timestamp,
    ) -> Result<std::sync::Arc<super::sign::Signer>, StoreError> {
        let make = async || {
            let secret = fresh();
            sqlx::query(
                "INSERT INTO signing_keys (kid, created_us, secret) SELECT 'k1', ?1, ?2
                 WHERE NOT EXISTS (SELECT 1 FROM signing_keys)",
            )
            .bind(now.as_microsecond())
            .bind(secret.as_slice())
            .execute(&self.writer)
            .await
            .map_err(classify)?;
            let (kid, secret): (String, Vec<u8>) = sqlx::query_as(
                "SELECT kid, secret FROM signing_keys ORDER BY created_us DESC LIMIT 1",
            )
            .fetch_one(&self.writer)
            .await
            .map_err(classify)?;
            Ok(std::sync::Arc::new(super::sign::Signer::new(kid, secret)))
        };
        self.signer.get_or_try_init(make).await.cloned()
    }

    /// The writing connection, set so that its next transaction is synced when it is committed.
    async fn durable(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, StoreError> {
        self.writing("PRAGMA synchronous = FULL").await
    }

    /// The writing connection, set so that its next transaction survives the process, and is synced with the next
    /// one that is.
    async fn relaxed(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, StoreError> {
        self.writing("PRAGMA synchronous = NORMAL").await
    }

    async fn writing(
        &self,
        level: &'static str,
    ) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, StoreError> {
        let mut connection = self.writer.acquire().await.map_err(classify)?;
        sqlx::query(level).execute(&mut *connection).await.map_err(classify)?;
        Ok(connection)
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
        // SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE
        Some(1555 | 2067) => StoreError::Taken,
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
