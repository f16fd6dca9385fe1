//! Gate: call records and recordings at rest.
//!
//! [`Store`] is one SQLite file; what is in it stands in `migrations/`. Call tasks never wait for the disk:
//! they hold a [`writer::Writer`]. Audio files are [`recording`]'s. Start reading at [`Write`].

pub mod delivery;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod order;
pub mod query;
pub mod recording;
pub mod recover;
pub mod resource;
pub mod seal;
pub mod sign;
pub mod sqlite;
pub mod usage;
pub mod writer;

use std::error::Error;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use delivery::{Delivery, DeliveryQuery, DeliveryStatus, InlineDelivery};
pub use order::Found;
pub use query::{
    CallPage, Order, PageRequest, Part, Place, Query, QueryError, Slice, Start, StatusFilter,
};
pub use resource::{Resource, ResourceQuery};
pub use seal::{SealError, Sealer};
pub use sqlite::campaigns::{CampaignStats, ErrorIs, LeadFilter};
pub use sqlite::groups::Group;
pub use sqlite::{FeedEvent, STATS_CALLS_MAX, Store};
pub use writer::{Persisted, Writer};

use crate::types::{CallEvent, CallId, CallRecord, OrganizationId, OutboxEvent, Scope, TurnRecord};

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
    /// A record that is over, with what was made of the call afterwards. One that was erased meanwhile stays so.
    Settle(Box<CallRecord>),
    /// Something webhooks tell of, besides the eight events of a call's life, which follow from its status.
    Emit(Box<OutboxEvent>),
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
    /// Whose.
    #[serde(default)]
    pub organization_id: OrganizationId,
    /// What it may do. A key of version 0.1 may do everything.
    #[serde(default = "every_scope")]
    pub scopes: Vec<Scope>,
    /// From when it is refused.
    #[serde(default)]
    pub expires_at: Option<jiff::Timestamp>,
    /// When it was taken back.
    #[serde(default)]
    pub revoked_at: Option<jiff::Timestamp>,
    /// Requests a minute; `None`: as many as it likes.
    #[serde(default)]
    pub rate_limit_rpm: Option<u32>,
    /// Requests a day.
    #[serde(default)]
    pub rate_limit_rpd: Option<u32>,
}

/// What a request with an `Idempotency-Key` was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// HTTP status.
    pub status: u16,
    /// Header `Location`.
    pub location: Option<String>,
    /// Body; `None` once what it told of was erased.
    pub body: Option<String>,
    /// Identifier of what it tells of.
    pub subject: Option<String>,
}

/// What is known of an `Idempotency-Key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Nobody has used it: it is the caller's now.
    Mine,
    /// A request with it is being served.
    Running {
        /// Whether that request is the same.
        same: bool,
    },
    /// A request with it was served.
    Answered {
        /// Whether that request is the same.
        same: bool,
        /// What it was answered.
        answer: StoredAnswer,
    },
    /// So many keys are remembered that no other fits.
    Full,
}

fn every_scope() -> Vec<Scope> {
    Scope::ALL.to_vec()
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
    /// Another row has its id or its unique name.
    #[error("write to the store: it exists already")]
    Taken,
    /// Somebody else changed it first.
    #[error("write to the store: it was changed meanwhile")]
    Stale,
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

/// Most journal entries one read returns; a reader goes on with `after`.
pub const EVENTS_MAX: usize = 1_000;

#[cfg(test)]
mod tests;
