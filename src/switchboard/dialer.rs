//! Outbound calls: a request is checked, promised on disk, and handed to the dialling task ([`super::dialling`]).

use std::sync::Arc;
use std::time::Duration;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::dialling::{Job, Place, Request};
use super::trunk::{DestinationError, Trunk};
use super::{DIAL_QUEUE, Handle};
use crate::call::AgentSnapshot;
use crate::net::clock;
use crate::types::{
    AgentId, BatchId, CallId, CallRecord, CampaignId, Direction, LeadId, OrderId, OrganizationId,
    PhoneNumber, Pii, TrunkName,
};

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
    /// Greeting instead of the agent's.
    pub first_message: Option<String>,
    /// Language instead of the agent's.
    pub language: Option<String>,
    /// Instructions instead of the agent's.
    pub instructions: Option<Pii<String>>,
    /// JSON the agent may refer to.
    pub context: Option<Pii<serde_json::Value>>,
    /// Values of template variables, over the agent's own.
    pub variables: Pii<BTreeMap<String, String>>,
    /// Where the call's events go instead of the agent's address.
    pub webhook_url: Option<Pii<String>>,
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

/// A request that was checked: everything but the promise.
pub struct Prepared {
    pub(super) request: DialRequest,
    pub(super) record: CallRecord,
    pub(super) agent: Arc<AgentSnapshot>,
    pub(super) trunk: Arc<Trunk>,
    pub(super) job_target: super::trunk::Target,
    pub(super) ring_timeout: Duration,
    /// What is held of the budget; given back if the request comes to nothing.
    pub(super) hold: crate::usage::Hold,
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
        self.hold.become_call(promised.id);
        self.record.created_at = promised.created_at;
        self.record.scheduled_at = promised.scheduled_at;
    }

    fn job(self, place: Place) -> Box<Job> {
        // From here on the end of the call gives it back.
        self.hold.keep();
        Box::new(Job {
            record: self.record,
            agent: self.agent,
            trunk: self.trunk,
            target: self.job_target,
            ring_timeout: self.ring_timeout,
            place,
        })
    }
}

/// Checks a request without promising anything.
pub(super) fn prepare(switchboard: &Handle, request: DialRequest) -> Result<Prepared, DialError> {
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
    record.organization_id = request.organization_id.clone();
    record.is_test = request.is_test;
    record.scheduled_at = request.scheduled_at;
    request.origin.note(&mut record);
    record.trunk = Some(trunk.name.clone());
    record.agent_id = Some(agent.id.clone());
    record.agent_name = Some(agent.name.clone());
    if request.metadata.is_object() {
        record.metadata = request.metadata.clone();
    }
    let ring_timeout = Duration::from_secs(u64::from(
        request.ring_timeout_s.unwrap_or(switchboard.inner.context.config.ring_timeout_seconds),
    ));
    let agent = overridden(agent, &request);
    agent.facts.note(&mut record);
    let accounts = &switchboard.inner.context.accounts;
    accounts.open(&mut record);
    let hold = accounts.hold(&mut record)?;
    Ok(Prepared { request, record, agent, trunk, job_target: target, ring_timeout, hold })
}

/// Checks and queues a request.
pub(super) async fn queue(
    switchboard: &Handle,
    request: DialRequest,
) -> Result<CallRecord, DialError> {
    if switchboard.is_draining() {
        return Err(DialError::Draining);
    }
    let prepared = prepare(switchboard, request)?;
    let record = prepared.record.clone();
    let place = switchboard.inner.waiting.take(&prepared.trunk.name, DIAL_QUEUE);
    let place = place.ok_or(DialError::QueueFull)?;
    // What is accepted is on disk: a call that was promised and forgotten is worse than a refusal.
    let kept = prepared.request();
    let stored = switchboard.inner.context.store.store().queue_call(&record, &kept);
    if !matches!(tokio::time::timeout(STORE_WAIT, stored).await, Ok(Ok(()))) {
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
    let prepared = serde_json::from_value(request)
        .map_err(|_| crate::types::EndReason::InternalError)
        .and_then(|request| {
            prepare(switchboard, request).map_err(|error| match error {
                DialError::BudgetExceeded(_) => crate::types::EndReason::BudgetExceeded,
                DialError::UnknownAgent(_) | DialError::NoAgent => {
                    crate::types::EndReason::AgentNotFound
                }
                _ => crate::types::EndReason::Unreachable,
            })
        });
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

/// The agent with the request's overrides; the agent itself stays as it is.
fn overridden(agent: Arc<AgentSnapshot>, request: &DialRequest) -> Arc<AgentSnapshot> {
    let mut own = (*agent).clone();
    own.facts.organization_id = request.organization_id.clone();
    if let Some(instructions) = &request.instructions {
        own.facts.instructions = Some(instructions.clone());
    }
    if let Some(context) = &request.context {
        own.facts.context = Some(context.clone());
    }
    if !request.variables.reveal().is_empty() {
        let mut variables = own.facts.variables.reveal().clone();
        variables.extend(request.variables.reveal().clone());
        own.facts.variables = variables.into();
    }
    if let Some(url) = &request.webhook_url {
        own.facts.webhook_url = Some(url.clone());
    }
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
