//! Orders: requests to reach somebody that may take several calls, from single ones to campaigns.
//!
//! Everything an order is stands in the store, and every decision about it is one transaction there; this room keeps
//! nothing that a restart would miss. A pass of the task ([`turns`]) gives orders the outcome of calls that ended,
//! and begins the attempts that are due, in turn between campaigns, batches and organizations, no faster than the
//! trunks dial. An attempt is counted in the same transaction that promises its call, and the dialler writes that a
//! call leaves before it leaves: so a crash at any moment neither loses an order nor dials an attempt twice.
//!
//! When to dial is decided by [`plan`], [`windows`] and [`zones`], which know no clock and no store. Start there.

pub mod campaigns;
pub mod orders;
mod outcome;
pub mod plan;
pub mod retry;
mod turns;
pub mod windows;
pub mod zones;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::net::clock;
use crate::store::{Store, StoreError};
use crate::switchboard::{self, DialError};
use crate::types::{CallRecord, Entropy};

/// Why the scheduler does not do what is asked.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// A field has a value it cannot have.
    #[error("{message}")]
    Invalid {
        /// Which.
        param: String,
        /// Why.
        message: String,
    },
    /// The request can't be dialled as it stands.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// There is no such thing, or it is somebody else's.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It is not in the state for this.
    #[error("{0}")]
    State(String),
    /// A number is in the campaign already.
    #[error("`{param}` is in the campaign already")]
    Duplicate {
        /// Which entry of the request.
        param: String,
    },
    /// The store can't be used.
    #[error("use the store")]
    Store(#[from] StoreError),
}

impl ScheduleError {
    fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { param: param.into(), message: message.into() }
    }
}

struct Inner {
    store: Arc<Store>,
    switchboard: switchboard::Handle,
    entropy: Mutex<Entropy>,
    wake: Notify,
}

/// The scheduler, as the API sees it.
#[derive(Clone)]
pub struct Handle {
    inner: Arc<Inner>,
}

/// A call of a former process that waits to be dialled.
type Promised = (CallRecord, serde_json::Value);

/// Makes the scheduler and its task. Calls that a former process promised and never dialled are dialled first. The
/// task ends when `stop` is canceled; what it has not done is done after the next start.
///
/// # Errors
/// When the store cannot be read.
pub async fn start(
    store: Arc<Store>,
    switchboard: switchboard::Handle,
    entropy: Entropy,
    stop: CancellationToken,
) -> Result<(Handle, impl Future<Output = ()> + Send + 'static), StoreError> {
    let promised: Vec<Promised> = store.queued_calls().await?;
    let entropy = Mutex::new(entropy);
    let inner = Inner { store, switchboard, entropy, wake: Notify::new() };
    let handle = Handle { inner: Arc::new(inner) };
    let task = turns::run(handle.clone(), promised, stop);
    Ok((handle, task))
}

impl Handle {
    /// Lets the task look at once: something was added or changed.
    pub fn wake(&self) {
        self.inner.wake.notify_one();
    }

    fn store(&self) -> &Store {
        &self.inner.store
    }

    fn switchboard(&self) -> &switchboard::Handle {
        &self.inner.switchboard
    }

    /// Fresh identifiers, in order.
    fn ids<T: Ord>(&self, count: usize, make: impl Fn(u64, &mut Entropy) -> T) -> Vec<T> {
        let mut entropy = self.inner.entropy.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::unix_ms();
        let mut ids: Vec<T> = (0..count).map(|_| make(now, &mut entropy)).collect();
        ids.sort_unstable();
        ids
    }

    fn id<T>(&self, make: impl Fn(u64, &mut Entropy) -> T) -> T {
        let mut entropy = self.inner.entropy.lock().unwrap_or_else(PoisonError::into_inner);
        make(clock::unix_ms(), &mut entropy)
    }
}
