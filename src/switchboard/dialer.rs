//! Outbound calls: a request is checked, promised on disk, and handed to the dialling task ([`super::dialling`]).

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::dialling::{Job, Place, Request};
use super::trunk::{DestinationError, Trunk};
use super::{DIAL_QUEUE, Handle};
use crate::call::AgentSnapshot;
use crate::catalog::{CallFacts, PrepareError, Ready, Row, Wrong};
use crate::net::clock;
use crate::schema::Number;
use crate::schema::agent::{Agent, Overrides};
use crate::types::{
    AgentId, BatchId, CallId, CallRecord, CampaignId, Direction, LeadId, OrderId, OrganizationId,
    PhoneNumber, TrunkName, lets_through,
};
use crate::usage::{DialPath, DialRefused, Leaving};

/// What an operator asks for. It is kept as JSON until the call is dialled, so that a restart can dial it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
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
    /// Not before; the scheduler keeps it, the dialler only notes it.
    pub scheduled_at: Option<jiff::Timestamp>,
}

/// Where an outbound call comes from: nothing for one that was asked for by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
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
    fn path(self) -> DialPath {
        match (self.campaign, self.batch, self.order) {
            (Some(_), _, _) => DialPath::Campaign,
            (None, Some(_), _) => DialPath::Batch,
            (None, None, Some(_)) => DialPath::Order,
            (None, None, None) => DialPath::Api,
        }
    }

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
    /// The trunk keeps this header in.
    #[error("the trunk lets no header `{name}` out; its `calls.headers_out` has: {allowed}")]
    Header {
        /// Its name.
        name: String,
        /// What may leave.
        allowed: String,
    },
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
    /// The dial limits forbid it.
    #[error(transparent)]
    Refused(#[from] DialRefused),
    /// [`DIAL_QUEUE`] calls wait already.
    #[error("{DIAL_QUEUE} calls wait to be dialled already")]
    QueueFull,
}

/// How long a request may wait for the disk.
const STORE_WAIT: Duration = Duration::from_secs(2);

/// A request that was checked: everything but the promise.
pub struct Prepared {
    pub(super) request: DialRequest,
    pub(super) record: CallRecord,
    pub(super) agent: Arc<AgentSnapshot>,
    pub(super) trunk: Arc<Trunk>,
    pub(super) job_target: super::trunk::Target,
    pub(super) ring_timeout: Duration,
    pub(super) headers: Vec<(String, String)>,
}

impl Prepared {
    /// The call as it will be stored.
    pub fn record(&self) -> &CallRecord {
        &self.record
    }

    /// Trunk it leaves by.
    pub fn trunk(&self) -> &Arc<Trunk> {
        &self.trunk
    }

    /// What the store keeps until it is dialled.
    pub fn request(&self) -> serde_json::Value {
        serde_json::to_value(&self.request).unwrap_or_default()
    }

    /// Lets it be an attempt of a call that is promised already.
    pub fn become_call(&mut self, promised: &CallRecord) {
        self.record.id = promised.id;
        self.record.created_at = promised.created_at;
        self.record.scheduled_at = promised.scheduled_at;
    }

    fn job(self, place: Place) -> Box<Job> {
        Box::new(Job {
            record: self.record,
            agent: self.agent,
            trunk: self.trunk,
            target: self.job_target,
            ring_timeout: self.ring_timeout,
            headers: self.headers,
            place,
        })
    }
}

/// Checks a request without promising anything, and whether the dial limits allow its destination.
pub(super) async fn prepare(
    switchboard: &Handle,
    request: DialRequest,
) -> Result<Prepared, DialError> {
    let prepared = draft(switchboard, request).await?;
    let request = &prepared.request;
    let (organization, trunk) = (&request.organization_id, &prepared.trunk.name);
    let leaving = Leaving { organization, trunk, to: &request.to };
    let guard = &switchboard.inner.context.dial;
    guard.check(request.origin.path(), leaving, clock::wall())?;
    Ok(prepared)
}

/// Checks everything of a request but whether its destination is allowed.
pub(super) async fn draft(
    switchboard: &Handle,
    request: DialRequest,
) -> Result<Prepared, DialError> {
    let chosen = choose(switchboard, &request).await?;
    let Chosen { trunk, agent, from, number_id } = chosen;
    let target = super::redirects::destination(&trunk, &request.to)?;
    if from.starts_with('+') && PhoneNumber::parse(&from).is_err() {
        return Err(DialError::From);
    }
    let call = CallFacts { direction: "outbound", from: &from, to: &request.to, sip: None };
    let agent = crate::catalog::prepare(&agent, &request.overrides, call)?;
    let mut record = CallRecord::new(switchboard.new_call_id(), Direction::Outbound, clock::wall());
    agent.facts.note(&mut record);
    record.prompt = Some(agent.prompt.clone());
    record.language = Some(agent.language.clone());
    record.from_number = from.into();
    record.number_id = number_id;
    record.to_number = request.to.clone().into();
    record.organization_id = request.organization_id.clone();
    record.is_test = request.is_test;
    record.scheduled_at = request.scheduled_at;
    request.origin.note(&mut record);
    record.trunk = Some(trunk.name.clone());
    record.agent_id = agent.id.kept();
    record.agent_name = Some(agent.name.clone());
    if request.metadata.is_object() {
        record.metadata = request.metadata.clone();
    }
    let accounts = &switchboard.inner.context.accounts;
    accounts.open(&mut record);
    let of_server = switchboard.inner.context.config.ring_timeout_seconds;
    let ring = request.ring_timeout_s.or(agent.facts.ring_timeout_seconds).unwrap_or(of_server);
    let ring_timeout = Duration::from_secs(u64::from(ring));
    let headers = request.sip_headers.clone();
    let out = &trunk.config.calls.headers_out;
    if let Some((name, _)) = headers.iter().find(|(name, _)| !lets_through(out, name)) {
        return Err(DialError::Header { name: name.clone(), allowed: out.join(", ") });
    }
    Ok(Prepared { request, record, agent, trunk, job_target: target, ring_timeout, headers })
}

/// Checks and queues a request.
pub(super) async fn queue(
    switchboard: &Handle,
    request: DialRequest,
) -> Result<CallRecord, DialError> {
    if switchboard.is_draining() {
        return Err(DialError::Draining);
    }
    let mut prepared = prepare(switchboard, request).await?;
    let place = switchboard.inner.waiting.take(&prepared.trunk.name, DIAL_QUEUE);
    let place = place.ok_or(DialError::QueueFull)?;
    let accounts = &switchboard.inner.context.accounts;
    let record = &mut prepared.record;
    record.reservation = accounts.reserve(&record.organization_id, record.id, record.created_at)?;
    let record = record.clone();
    // What is accepted is on disk: a call that was promised and forgotten is worse than a refusal.
    let kept = prepared.request();
    let stored = switchboard.inner.context.store.store().queue_call(&record, &kept);
    if !matches!(tokio::time::timeout(STORE_WAIT, stored).await, Ok(Ok(()))) {
        accounts.release(record.id);
        return Err(DialError::NotStored);
    }
    send(switchboard, prepared.job(place)).await;
    Ok(record)
}

/// Hands a call that is promised on disk to the dialling task.
pub(super) async fn enqueue(switchboard: &Handle, prepared: Prepared) {
    let place = switchboard.inner.waiting.take_anyway(&prepared.trunk.name);
    send(switchboard, prepared.job(place)).await;
}

async fn send(switchboard: &Handle, job: Box<Job>) {
    // A task that is gone dials no more in this process; what is on disk is dialled by the next.
    let _ = switchboard.inner.dialer.send(Request::Dial(job)).await;
}

/// Dials a call that a former process promised, or ends it if that cannot be done any more.
pub(super) async fn redial(switchboard: &Handle, record: CallRecord, request: serde_json::Value) {
    let prepared = match serde_json::from_value(request) {
        Ok(request) => prepare(switchboard, request).await.map_err(|error| match error {
            DialError::UnknownAgent(_) | DialError::NoAgent => {
                crate::types::EndReason::AgentNotFound
            }
            DialError::Refused(_) => crate::types::EndReason::DialRefused,
            _ => crate::types::EndReason::Unreachable,
        }),
        Err(_) => Err(crate::types::EndReason::InternalError),
    };
    match prepared {
        Ok(mut prepared) => {
            prepared.become_call(&record);
            enqueue(switchboard, prepared).await;
        }
        Err(reason) => {
            tracing::warn!(call.id = %record.id, "a call of before the restart can't be dialled any more");
            super::dialling::end_unplaced(switchboard, record, reason);
        }
    }
}

/// By what a call leaves, who talks, and what it shows.
struct Chosen {
    trunk: Arc<Trunk>,
    agent: Ready,
    from: String,
    number_id: Option<String>,
}

async fn choose(switchboard: &Handle, request: &DialRequest) -> Result<Chosen, DialError> {
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
    let agent = match (request.inline.clone(), &request.agent) {
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
