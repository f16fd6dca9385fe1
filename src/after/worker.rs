//! The queue: calls that ended, a few at a time.
//!
//! What waits here stands in the store too. When more wait than the queue holds, or events of ends were missed, the
//! store is asked for what is due as soon as the queue is empty; so nothing is lost, and nothing grows.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::settle::{self, Tools};
use super::{Config, Models};
use crate::call::EventBus;
use crate::net::clock;
use crate::store::Store;
use crate::telemetry::metrics;
use crate::types::{CallEvent, CallEventKind, CallId, CallStatus, OrganizationId};
use crate::usage::Accounts;

/// Calls that wait at most; the rest waits in the store.
const QUEUE_MAX: usize = 1_024;
/// Requests of the API that wait for the queue.
const NUDGES: usize = 64;
/// Pause before a provider or a disk that failed is asked again; it grows with every time.
pub(super) const PAUSE: Duration = Duration::from_secs(1);
/// When a store that could not be asked what is due is asked again.
const SWEEP_RETRY: Duration = Duration::from_secs(30);

/// What the work needs.
pub struct Services {
    /// Where calls are.
    pub store: Arc<Store>,
    /// Tells of their ends.
    pub bus: EventBus,
    /// Prices.
    pub accounts: Arc<Accounts>,
    /// Language models.
    pub models: Models,
    /// Limits.
    pub config: Config,
    /// Ends it; what is unfinished is taken up at the next start.
    pub stop: CancellationToken,
}

/// The worker, as the API sees it.
#[derive(Clone)]
pub struct Handle {
    nudges: mpsc::Sender<CallId>,
    models: Models,
}

impl Handle {
    /// Something is pending of a call that ended before. What finds no place now is found in the store later.
    pub fn nudge(&self, id: CallId) {
        if self.nudges.try_send(id).is_err() {
            metrics::queue_full("after_nudges");
        }
    }

    /// Whether there is such a language model.
    pub fn has_model(
        &self,
        organization: &OrganizationId,
        name: &str,
        model: Option<&str>,
    ) -> bool {
        (self.models)(organization, name, model).is_some()
    }
}

/// Starts the work, first on what an earlier run left.
pub fn start(services: Services) -> (Handle, impl Future<Output = ()> + Send + 'static) {
    start_with_pause(services, PAUSE)
}

pub(super) fn start_with_pause(
    services: Services,
    pause: Duration,
) -> (Handle, impl Future<Output = ()> + Send + 'static) {
    let Services { store, bus, accounts, models, config, stop } = services;
    let (nudges, asked) = mpsc::channel(NUDGES);
    let handle = Handle { nudges: nudges.clone(), models: Arc::clone(&models) };
    // From here on no end is missed, however late the task itself begins.
    let ends = bus.ends();
    let worker = Worker {
        tools: Arc::new(Tools { store, accounts, models, pause }),
        config,
        waiting: VecDeque::new(),
        known: HashMap::new(),
        running: JoinSet::new(),
        behind: true,
        sweep_at: None,
        _keep: (bus, nudges),
    };
    (handle, worker.run(ends, asked, stop))
}

/// What the worker knows of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It waits, or is worked on.
    Busy,
    /// The same, and something else became pending meanwhile.
    Again,
    /// Nothing more is to be done.
    Done,
    /// It could not be written; the next start or a request takes it up.
    GivenUp,
}

struct Worker {
    tools: Arc<Tools>,
    config: Config,
    waiting: VecDeque<(CallId, Instant)>,
    known: HashMap<CallId, Known>,
    running: JoinSet<(CallId, Known)>,
    /// There may be more in the store than here.
    behind: bool,
    sweep_at: Option<Instant>,
    /// Both channels stay open as long as the worker lives.
    _keep: (EventBus, mpsc::Sender<CallId>),
}

impl Worker {
    async fn run(
        mut self,
        mut ends: broadcast::Receiver<Arc<CallEvent>>,
        mut asked: mpsc::Receiver<CallId>,
        stop: CancellationToken,
    ) {
        loop {
            self.sweep().await;
            self.begin();
            let due =
                self.waiting.front().map(|(_, by)| *by).into_iter().chain(self.sweep_at).min();
            let timer = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = self.running.join_next(), if !self.running.is_empty() => {
                    if let Ok((id, how)) = done {
                        self.on_done(id, how);
                    }
                }
                end = ends.recv() => match end {
                    Ok(event) => self.on_event(&event),
                    Err(_) => self.behind = true,
                },
                Some(id) = asked.recv() => self.on_asked(id),
                () = timer => {}
            }
        }
        self.running.shutdown().await;
    }

    fn on_event(&mut self, event: &CallEvent) {
        // Only these two follow a conversation.
        if let CallEventKind::StatusChanged {
            status: CallStatus::Completed | CallStatus::Failed,
            ..
        } = event.kind
        {
            self.queue(event.call_id);
        }
    }

    fn on_asked(&mut self, id: CallId) {
        match self.known.get_mut(&id) {
            Some(known @ Known::Busy) => *known = Known::Again,
            Some(Known::GivenUp) => {
                self.known.remove(&id);
                self.queue(id);
            }
            Some(Known::Again | Known::Done) => {}
            None => self.queue(id),
        }
    }

    fn on_done(&mut self, id: CallId, how: Known) {
        let before = self.known.remove(&id);
        if before == Some(Known::Again) {
            self.queue(id);
        } else if how == Known::GivenUp {
            self.known.insert(id, how);
        }
    }

    fn queue(&mut self, id: CallId) {
        if self.known.contains_key(&id) {
            return;
        }
        if self.waiting.len() >= QUEUE_MAX {
            metrics::queue_full("after");
            self.behind = true;
        } else {
            self.known.insert(id, Known::Busy);
            let limit = Duration::from_secs(self.config.timeout_seconds);
            self.waiting.push_back((id, clock::now() + limit));
        }
    }

    /// Looks into the store for what is due and not known here.
    async fn sweep(&mut self) {
        let is_time = self.sweep_at.is_none_or(|at| at <= clock::now());
        if !(self.behind && self.waiting.is_empty() && is_time) {
            return;
        }
        let limit = QUEUE_MAX + self.known.len();
        match self.tools.store.calls_to_settle(u32::try_from(limit).unwrap_or(u32::MAX)).await {
            Ok(due) => {
                (self.behind, self.sweep_at) = (false, None);
                due.into_iter().for_each(|id| self.queue(id));
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "after.sweep_failed");
                self.sweep_at = Some(clock::now() + SWEEP_RETRY);
            }
        }
    }

    /// Begins what there is room for, and ends what has waited too long: that needs no room.
    fn begin(&mut self) {
        while let Some((id, by)) = self.waiting.front().copied() {
            if self.running.len() >= self.config.calls_at_once && by > clock::now() {
                return;
            }
            self.waiting.pop_front();
            let tools = Arc::clone(&self.tools);
            self.running.spawn(async move {
                match settle::settle(&tools, id, by).await {
                    Ok(()) => (id, Known::Done),
                    Err(error) => {
                        tracing::error!(
                            call.id = %id,
                            error = &error as &dyn std::error::Error,
                            "after.given_up"
                        );
                        (id, Known::GivenUp)
                    }
                }
            });
        }
    }
}
