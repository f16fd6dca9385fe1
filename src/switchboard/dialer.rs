//! Outbound calls: checked, queued per trunk, and dialled at the trunk's rate.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::admission::Pace;
use super::trunk::{DestinationError, Target, Trunk};
use super::{DIAL_QUEUE, Handle};
use crate::call::journal::Journal;
use crate::call::{AgentSnapshot, CallSeed, Origin};
use crate::net::{clock, resolve};
use crate::sip::{Flow, OutgoingInvite};
use crate::telemetry::metrics;
use crate::types::{
    AgentId, BatchId, CallId, CallRecord, CampaignId, Direction, EndReason, Entropy, LeadId,
    OrderId, OrganizationId, PhoneNumber, TrunkName,
};

/// While the server is full, how soon a queued call asks again.
const FULL_RETRY: Duration = Duration::from_millis(500);

/// What an operator asks for.
#[derive(Clone, Debug, Default)]
pub struct DialRequest {
    /// E.164 number or SIP URI.
    pub to: String,
    /// Caller number; else the trunk's.
    pub from: Option<String>,
    /// Agent; else the trunk's or the default one.
    pub agent: Option<AgentId>,
    /// Trunk; else the only one that dials.
    pub trunk: Option<TrunkName>,
    /// Greeting instead of the agent's.
    pub first_message: Option<String>,
    /// Language instead of the agent's.
    pub language: Option<String>,
    /// Caller's own JSON object.
    pub metadata: serde_json::Value,
    /// Seconds to ring.
    pub ring_timeout_s: Option<u32>,
    /// Longest call in seconds.
    pub max_duration_s: Option<u32>,
    /// Whose call it is; the trunk and the agent are theirs.
    pub organization_id: OrganizationId,
    /// The order it is an attempt of, and where that comes from.
    pub origin: DialOrigin,
    /// Whether it is left out of statistics.
    pub is_test: bool,
}

/// Where an outbound call comes from: nothing for one that was asked for by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DialOrigin {
    /// Its order.
    pub order: Option<OrderId>,
    /// Which attempt of the order, from 1.
    pub attempt: Option<u32>,
    /// Its order's batch.
    pub batch: Option<BatchId>,
    /// Its order's campaign.
    pub campaign: Option<CampaignId>,
    /// Its order's lead.
    pub lead: Option<LeadId>,
}

impl DialOrigin {
    fn note(self, record: &mut CallRecord) {
        record.order_id = self.order;
        record.attempt_number = self.attempt;
        record.batch_id = self.batch;
        record.campaign_id = self.campaign;
        record.lead_id = self.lead;
    }
}

/// Why a request can't be dialled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// The destination is neither number nor URI, or the trunk can't dial.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// No such agent.
    #[error("there is no agent `{0}`")]
    UnknownAgent(String),
    /// The request names no agent and neither trunk nor server has one.
    #[error("no agent is configured for this trunk")]
    NoAgent,
    /// No such trunk.
    #[error("there is no trunk `{0}`")]
    UnknownTrunk(String),
    /// The request names no trunk and there is not exactly one that dials.
    #[error("name a trunk: there is not exactly one that can place calls")]
    NoTrunk,
    /// The caller number is not E.164.
    #[error("a caller number is E.164, such as `+15550100`, or a plain SIP user name")]
    From,
    /// The server takes no more calls.
    #[error("the server is draining")]
    Draining,
    /// The store did not take the call.
    #[error("the call could not be stored: is the disk full?")]
    NotStored,
    /// The month's budget is used up.
    #[error(transparent)]
    BudgetExceeded(#[from] crate::usage::BudgetExceeded),
    /// [`DIAL_QUEUE`] calls wait already.
    #[error("{DIAL_QUEUE} calls wait to be dialled already")]
    QueueFull,
}

/// How long a request may wait for the disk.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// To the dialer's task.
pub(super) enum Request {
    Dial(Box<Job>),
    Cancel { id: CallId, reply: oneshot::Sender<bool> },
}

/// A checked request.
pub(super) struct Job {
    record: CallRecord,
    agent: Arc<AgentSnapshot>,
    trunk: Arc<Trunk>,
    target: Target,
    ring_timeout: Duration,
}

/// Checks and queues a request.
pub(super) async fn queue(
    switchboard: &Handle,
    request: DialRequest,
) -> Result<CallRecord, DialError> {
    if switchboard.is_draining() {
        return Err(DialError::Draining);
    }
    let directory = switchboard.directory();
    let trunk = match &request.trunk {
        Some(name) => {
            directory.trunk(name).ok_or_else(|| DialError::UnknownTrunk(name.0.clone()))?
        }
        None => directory.only_dialling_trunk().ok_or(DialError::NoTrunk)?,
    };
    let target = trunk.target(&request.to)?;
    let agent = match &request.agent {
        Some(id) => directory.agent(id).ok_or_else(|| DialError::UnknownAgent(id.0.clone()))?,
        None => directory.outbound_agent(&trunk).ok_or(DialError::NoAgent)?,
    };
    let from = request.from.clone().unwrap_or_else(|| trunk.config.from_number.clone());
    if from.starts_with('+') && PhoneNumber::parse(&from).is_err() {
        return Err(DialError::From);
    }
    let mut record = CallRecord::new(switchboard.new_call_id(), Direction::Outbound, clock::wall());
    record.from_number = from.into();
    record.to_number = request.to.clone().into();
    agent.facts.note(&mut record);
    record.organization_id = request.organization_id.clone();
    record.is_test = request.is_test;
    request.origin.note(&mut record);
    record.trunk = Some(trunk.name.clone());
    record.agent_id = Some(agent.id.clone());
    record.agent_name = Some(agent.name.clone());
    if request.metadata.is_object() {
        record.metadata = request.metadata.clone();
    }
    let accounts = &switchboard.inner.context.accounts;
    accounts.open(&mut record);
    let ring_timeout = Duration::from_secs(u64::from(
        request.ring_timeout_s.unwrap_or(switchboard.inner.context.config.ring_timeout_seconds),
    ));
    let agent = overridden(agent, &request);
    let place = switchboard.inner.dialer.try_reserve().map_err(|_| DialError::QueueFull)?;
    record.reservation = accounts.reserve(&record.organization_id, record.id, record.created_at)?;
    let job = Job { record: record.clone(), agent, trunk, target, ring_timeout };
    // What is accepted is on disk: a call that was promised and forgotten is worse than a refusal.
    let stored = switchboard.inner.context.store.try_persist(record.clone());
    let stored = match stored {
        Ok(stored) => tokio::time::timeout(STORE_WAIT, stored).await,
        Err(_) => {
            accounts.release(record.id);
            return Err(DialError::QueueFull);
        }
    };
    if !matches!(stored, Ok(Ok(Ok(())))) {
        accounts.release(record.id);
        return Err(DialError::NotStored);
    }
    place.send(Request::Dial(Box::new(job)));
    Ok(record)
}

/// The agent with the request's overrides; the agent itself stays as it is.
fn overridden(agent: Arc<AgentSnapshot>, request: &DialRequest) -> Arc<AgentSnapshot> {
    if request.first_message.is_none()
        && request.language.is_none()
        && request.max_duration_s.is_none()
    {
        return agent;
    }
    let mut own = (*agent).clone();
    if let Some(text) = &request.first_message {
        own.turn.greeting.text.clone_from(text);
    }
    if let Some(language) = &request.language {
        own.language.clone_from(language);
    }
    if let Some(seconds) = request.max_duration_s {
        own.turn.max_duration_ms = u64::from(seconds) * 1_000;
    }
    Arc::new(own)
}

/// Takes a call out of the queue; `false` if it is not there (any more).
pub(super) async fn cancel(switchboard: &Handle, id: CallId) -> bool {
    let (reply, answer) = oneshot::channel();
    if switchboard.inner.dialer.send(Request::Cancel { id, reply }).await.is_err() {
        return false;
    }
    answer.await.unwrap_or(false)
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Box<Job>>,
    not_before: Option<Instant>,
}

/// Runs for the life of the server.
pub(super) async fn run(switchboard: Handle, mut requests: mpsc::Receiver<Request>) {
    let mut queues: HashMap<TrunkName, Queue> = HashMap::new();
    loop {
        let due = next_due(&queues);
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            request = requests.recv() => match request {
                Some(request) => on_request(&switchboard, &mut queues, request),
                None => return,
            },
            () = timer => dial_due(&switchboard, &mut queues),
        }
    }
}

fn next_due(queues: &HashMap<TrunkName, Queue>) -> Option<Instant> {
    let waiting = queues.values().filter(|queue| !queue.jobs.is_empty());
    waiting.map(|queue| queue.not_before.unwrap_or_else(clock::now)).min()
}

fn on_request(switchboard: &Handle, queues: &mut HashMap<TrunkName, Queue>, request: Request) {
    match request {
        Request::Dial(job) => {
            let waiting: usize = queues.values().map(|queue| queue.jobs.len()).sum();
            if waiting >= DIAL_QUEUE || switchboard.is_draining() {
                metrics::queue_full("dial");
                end_unplaced(switchboard, job.record, EndReason::Shutdown);
                return;
            }
            queues.entry(job.trunk.name.clone()).or_default().jobs.push_back(job);
            dial_due(switchboard, queues);
        }
        Request::Cancel { id, reply } => {
            let mut found = None;
            for queue in queues.values_mut() {
                if let Some(at) = queue.jobs.iter().position(|job| job.record.id == id) {
                    found = queue.jobs.remove(at);
                }
            }
            let canceled = found.is_some();
            if let Some(job) = found {
                end_unplaced(switchboard, job.record, EndReason::Canceled);
            }
            // Whoever asked may have gone away; the call is canceled all the same.
            let _ = reply.send(canceled);
        }
    }
}

fn dial_due(switchboard: &Handle, queues: &mut HashMap<TrunkName, Queue>) {
    let now = clock::now();
    for queue in queues.values_mut() {
        if queue.not_before.is_some_and(|at| at > now) {
            continue;
        }
        let Some(job) = queue.jobs.pop_front() else { continue };
        let name = job.trunk.name.clone();
        let calls_max = job.trunk.config.calls_max;
        let admitted =
            switchboard.admission(|door| door.admit(now, Some(&name), calls_max, Pace::Paced));
        match admitted {
            Ok(()) => {
                let gap = Duration::from_secs_f64(1.0 / job.trunk.calls_per_second());
                queue.not_before = Some(now + gap);
                tokio::spawn(place(switchboard.clone(), job));
            }
            Err(super::Refusal::Draining) => {
                end_unplaced(switchboard, job.record, EndReason::Shutdown);
            }
            Err(_) => {
                // Nothing already accepted is lost: the call waits until somebody leaves.
                queue.jobs.push_front(job);
                queue.not_before = Some(now + FULL_RETRY);
            }
        }
    }
}

/// Resolves the peer and starts the call.
async fn place(switchboard: Handle, job: Box<Job>) {
    let Job { record, agent, trunk, target, ring_timeout } = *job;
    let remote = match resolve::resolve(&target.host, target.port).await {
        Ok(remote) => remote,
        Err(error) => {
            tracing::warn!(trunk = %trunk.name, error = %crate::telemetry::chain::chain(&error), "failed to resolve the trunk");
            switchboard.admission(|door| door.release(Some(&trunk.name)));
            end_unplaced(&switchboard, record, EndReason::NetworkError);
            switchboard.inner.ended.notify_waiters();
            return;
        }
    };
    let net = &switchboard.inner.context.net;
    let Some(local) = net.local_addr(target.transport, remote.ip()) else {
        switchboard.admission(|door| door.release(Some(&trunk.name)));
        end_unplaced(&switchboard, record, EndReason::NetworkError);
        switchboard.inner.ended.notify_waiters();
        return;
    };
    let dialog = switchboard.new_dialog();
    let invite = OutgoingInvite {
        dialog,
        flow: Flow { transport: target.transport, local, remote },
        request_uri: target.uri.clone(),
        from: trunk.from_value(record.from_number.reveal(), &host_of(local)),
        to: format!("<{}>", target.uri),
        route: target.route,
        sdp: bytes::Bytes::new(),
        credentials: trunk.credentials.clone(),
        headers: Vec::new(),
        ring_timeout,
    };
    let seed = CallSeed {
        dialog,
        record,
        agent,
        media: trunk.media.clone(),
        origin: Origin::Outbound { invite: Box::new(invite) },
        entropy: switchboard.entropy(Entropy::fork),
    };
    switchboard.run_call(seed);
}

fn host_of(local: SocketAddr) -> String {
    match local.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Ends a call that never got an INVITE.
pub(super) fn end_unplaced(switchboard: &Handle, record: CallRecord, reason: EndReason) {
    let context = &switchboard.inner.context;
    let journal = Journal::open(record, context.store.clone(), context.bus.clone())
        .priced_by(Arc::clone(&context.accounts));
    tokio::spawn(journal.finish(reason));
}
