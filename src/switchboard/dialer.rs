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
use crate::catalog::{CallFacts, PrepareError, Ready, Row, Wrong, prepare};
use crate::net::{clock, resolve};
use crate::schema::Number;
use crate::schema::agent::{Agent, Overrides};
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
    /// An agent for this call only; it goes before `agent`.
    pub inline: Option<Box<Agent>>,
    /// What this call has different from its agent.
    pub overrides: Overrides,
    /// Further headers of the INVITE, checked.
    pub sip_headers: Vec<(String, String)>,
    /// Caller's own JSON object.
    pub metadata: serde_json::Value,
    /// Seconds to ring.
    pub ring_timeout_s: Option<u32>,
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
    /// The agent takes no calls.
    #[error("the agent `{0}` is not active")]
    InactiveAgent(String),
    /// The agent in the request cannot be made.
    #[error(transparent)]
    Inline(Wrong),
    /// A text of the agent has no final form.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The number is for other agents.
    #[error("the agent may not show this number: it is not in its `outbound_agent_ids`")]
    NumberNotAllowed,
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
    headers: Vec<(String, String)>,
}

/// Checks and queues a request.
pub(super) async fn queue(
    switchboard: &Handle,
    mut request: DialRequest,
) -> Result<CallRecord, DialError> {
    if switchboard.is_draining() {
        return Err(DialError::Draining);
    }
    let chosen = choose(switchboard, &mut request).await?;
    let Chosen { trunk, agent, from, number_id } = chosen;
    let target = trunk.target(&request.to)?;
    if from.starts_with('+') && PhoneNumber::parse(&from).is_err() {
        return Err(DialError::From);
    }
    let call = CallFacts { direction: "outbound", from: &from, to: &request.to };
    let agent = prepare(&agent, &request.overrides, call)?;
    let mut record = CallRecord::new(switchboard.new_call_id(), Direction::Outbound, clock::wall());
    agent.facts.note(&mut record);
    record.prompt = Some(agent.prompt.clone());
    record.language = Some(agent.language.clone());
    record.from_number = from.into();
    record.number_id = number_id;
    record.to_number = request.to.clone().into();
    record.organization_id = request.organization_id.clone();
    record.is_test = request.is_test;
    request.origin.note(&mut record);
    record.trunk = Some(trunk.name.clone());
    record.agent_id = Some(agent.id.clone());
    record.agent_name = Some(agent.name.clone());
    if request.metadata.is_object() {
        record.metadata = request.metadata.clone();
    }
    let of_server = switchboard.inner.context.config.ring_timeout_seconds;
    let ring = request.ring_timeout_s.or(agent.facts.ring_timeout_seconds).unwrap_or(of_server);
    let ring_timeout = Duration::from_secs(u64::from(ring));
    let mut headers = request.sip_headers;
    if trunk.config.privacy {
        headers.push(("Privacy".to_owned(), "id".to_owned()));
    }
    let job = Job { record: record.clone(), agent, trunk, target, ring_timeout, headers };
    let place = switchboard.inner.dialer.try_reserve().map_err(|_| DialError::QueueFull)?;
    // What is accepted is on disk: a call that was promised and forgotten is worse than a refusal.
    let stored = switchboard.inner.context.store.try_persist(record.clone());
    let stored = tokio::time::timeout(STORE_WAIT, stored.map_err(|_| DialError::QueueFull)?).await;
    if !matches!(stored, Ok(Ok(Ok(())))) {
        return Err(DialError::NotStored);
    }
    place.send(Request::Dial(Box::new(job)));
    Ok(record)
}

/// By what a call leaves, who talks, and what it shows.
struct Chosen {
    trunk: Arc<Trunk>,
    agent: Ready,
    from: String,
    number_id: Option<String>,
}

async fn choose(switchboard: &Handle, request: &mut DialRequest) -> Result<Chosen, DialError> {
    let catalog = switchboard.directory();
    let snapshot = catalog.snapshot();
    let organization = &request.organization_id;
    let shown = request.from.as_deref().and_then(|from| snapshot.number(from));
    if shown.as_ref().is_some_and(|number| number.organization_id != *organization) {
        // Somebody else's number; who, is nobody's business.
        return Err(DialError::From);
    }
    let own = |name: &TrunkName| {
        snapshot.trunk(name).filter(|trunk| trunk.organization_id == *organization)
    };
    let of_number = shown.as_ref().and_then(|number| number.doc.trunk_id.clone()).map(TrunkName);
    let trunk = match request.trunk.as_ref().or(of_number.as_ref()) {
        Some(name) => own(name).ok_or_else(|| DialError::UnknownTrunk(name.0.clone()))?,
        None => snapshot.only_dialling_trunk(organization).ok_or(DialError::NoTrunk)?,
    };
    let agent = match (request.inline.take(), &request.agent) {
        (Some(inline), _) => {
            let (catalog, organization) = (catalog.clone(), organization.clone());
            // To make its engines can take a moment of a core.
            let made = tokio::task::spawn_blocking(move || catalog.inline(&organization, *inline));
            made.await.map_err(|_| DialError::NoAgent)?.map_err(DialError::Inline)?
        }
        (None, Some(id)) => {
            let agent = catalog.ready(organization, id);
            agent.ok_or_else(|| DialError::UnknownAgent(id.0.clone()))?
        }
        (None, None) => {
            catalog.outbound_agent(&trunk, shown.as_deref()).ok_or(DialError::NoAgent)?
        }
    };
    if !agent.is_active {
        return Err(DialError::InactiveAgent(agent.snapshot.id.0.clone()));
    }
    let allowed = |number: &Row<Number>| {
        let agents = &number.doc.outbound_agent_ids;
        agents.is_empty() || agents.contains(&agent.snapshot.id.0)
    };
    if shown.as_ref().is_some_and(|number| !allowed(number)) {
        return Err(DialError::NumberNotAllowed);
    }
    let by_id = |id: &Option<String>| snapshot.row::<Number>(organization, id.as_ref()?);
    let primary = agent.doc.as_ref().and_then(|doc| by_id(&doc.primary_number_id));
    let usual = || primary.or_else(|| by_id(&trunk.config.default_number_id));
    let (from, number_id) = match (&request.from, shown) {
        (Some(from), shown) => (from.clone(), shown.map(|number| number.id.clone())),
        (None, _) => match usual() {
            Some(number) => (number.doc.number.clone(), Some(number.id.clone())),
            None => (trunk.config.from_number.clone(), None),
        },
    };
    Ok(Chosen { trunk, agent, from, number_id })
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
    let Job { record, agent, trunk, target, ring_timeout, headers } = *job;
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
        headers,
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

pub(super) fn host_of(local: SocketAddr) -> String {
    match local.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// Ends a call that never got an INVITE.
fn end_unplaced(switchboard: &Handle, record: CallRecord, reason: EndReason) {
    let context = &switchboard.inner.context;
    let journal = Journal::open(record, context.store.clone(), context.bus.clone());
    tokio::spawn(journal.finish(reason));
}
