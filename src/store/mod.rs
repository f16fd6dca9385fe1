//! Gate: call records and recordings at rest.
//!
//! [`CallStore`] is the contract, with two keepers: [`sqlite::SqliteStore`] and
//! [`memory::MemoryStore`] (tests). Call tasks never wait for the disk: they hold a
//! [`writer::Writer`]. Audio files are [`recording`]'s. Start reading at [`CallStore`].

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod memory;
pub mod query;
pub mod recording;
pub mod recover;
pub mod sqlite;
pub mod writer;

use std::error::Error;
use std::path::PathBuf;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

pub use query::{CallPage, PageRequest, Query, QueryError, StatusFilter};
pub use writer::{Persisted, Writer};

use crate::types::{CallEvent, CallId, CallRecord, TurnRecord};

/// The `[store]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The SQLite file; created if missing, with `-wal` and `-shm` files beside it.
    pub database: PathBuf,
    /// Directory of the recordings; created if missing.
    pub recordings: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self { database: "data/trunkline.db".into(), recordings: "data/recordings".into() }
    }
}

/// One thing to write down.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// The first record of a call: on disk, synced, when the write returns, because the call is then
    /// promised to somebody.
    Open(Box<CallRecord>),
    /// A record in its present state. A record that is over cannot be reopened by it.
    Put(Box<CallRecord>),
    /// A closed turn; the same turn id again replaces it.
    Turn(CallId, Box<TurnRecord>),
    /// A journal entry; the same `seq` again is ignored.
    Event(Box<CallEvent>),
    /// The final record: on disk, synced, when the write returns.
    Finish(Box<CallRecord>),
}

/// A credential of the HTTP API, without the credential.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    /// Public identifier.
    pub id: String,
    /// What a person calls it.
    pub name: String,
    /// First characters of the key, to recognise it by.
    pub prefix: String,
    /// SHA-256 of the key, lower-case hexadecimal.
    pub hash: String,
    /// When it was made.
    pub created_at: jiff::Timestamp,
}

/// Source of a store error. Boxed, so that the database's own type stays in its file.
pub type Source = Box<dyn Error + Send + Sync>;

/// What a store could not do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database or its directory cannot be opened.
    #[error("open `{path}`")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Source,
    },
    /// The volume is full.
    #[error("write to the store: no space left")]
    Full(#[source] Source),
    /// The file or the volume is read-only.
    #[error("write to the store: it is read-only")]
    ReadOnly(#[source] Source),
    /// A turn or event names a call that is not stored.
    #[error("write to the store: unknown call")]
    UnknownCall,
    /// The store did not take the write in time.
    #[error("write to the store: it is too slow")]
    Busy,
    /// The writer task is gone.
    #[error("write to the store: it is closed")]
    Closed,
    /// Any other failed read or write.
    #[error("use the store")]
    Database(#[source] Source),
    /// What is stored is not what this version understands.
    #[error("decode a stored record")]
    Decode(#[source] serde_json::Error),
}

/// Keeper of calls, turns, events and API keys.
pub trait CallStore: Send + Sync + 'static {
    /// Writes all or none, in order, in one transaction.
    fn apply<'a>(&'a self, batch: &'a [Write]) -> BoxFuture<'a, Result<(), StoreError>>;
    /// One record.
    fn get(&self, id: CallId) -> BoxFuture<'_, Result<Option<CallRecord>, StoreError>>;
    /// A page of records, newest first by `started_at` (else `initiated_at`, else `created_at`).
    fn list<'a>(
        &'a self,
        query: &'a Query,
        page: PageRequest,
    ) -> BoxFuture<'a, Result<CallPage, StoreError>>;
    /// Turns of a call in order; empty for an unknown call.
    fn turns(&self, id: CallId) -> BoxFuture<'_, Result<Vec<TurnRecord>, StoreError>>;
    /// Journal entries with `seq > after`, at most [`EVENTS_MAX`].
    fn events(&self, id: CallId, after: u64) -> BoxFuture<'_, Result<Vec<CallEvent>, StoreError>>;
    /// Records that are not over: after a start, the calls a crash cut off.
    fn open_calls(&self) -> BoxFuture<'_, Result<Vec<CallRecord>, StoreError>>;
    /// Adds a key.
    fn insert_key<'a>(&'a self, key: &'a ApiKeyRecord) -> BoxFuture<'a, Result<(), StoreError>>;
    /// Every key, oldest first.
    fn keys(&self) -> BoxFuture<'_, Result<Vec<ApiKeyRecord>, StoreError>>;
    /// The key with this hash.
    fn key_by_hash<'a>(
        &'a self,
        hash: &'a str,
    ) -> BoxFuture<'a, Result<Option<ApiKeyRecord>, StoreError>>;
}

/// Most journal entries one read returns; a reader goes on with `after`.
pub const EVENTS_MAX: usize = 1_000;

#[cfg(test)]
mod tests;
