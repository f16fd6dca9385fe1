//! An inbound call from the INVITE to its task: who answers, and what the `agent.request` webhook says to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::Handle;
use super::admission::Pace;
use crate::call::journal::Journal;
use crate::call::{AgentSnapshot, CallSeed, Origin};
use crate::catalog::{CallFacts, Inbound, Ready, prepare};
use crate::net::clock;
use crate::schema::agent::Overrides;
use crate::sip::{Command, DialogId, Event, InviteFacts, Rejection};
use crate::telemetry::metrics;
use crate::types::call::{CallError, ErrorStage, SipEnd};
use crate::types::{AgentId, CallRecord, Direction, EndReason, Entropy, lets_through};
use crate::webhook::{AskKind, Question, Whom};

/// Events of a dialog that wait while its agent is asked for.
const WAITING_EVENTS: usize = 8;
/// Longest refusal that is spoken, characters.
const REFUSAL_CHARS_MAX: usize = 2_000;
/// Longest call an answer may ask for, seconds.
const DURATION_RANGE: std::ops::RangeInclusive<u32> = 10..=86_400;

/// A call that was let in.
struct Arrived {
    dialog: DialogId,
    facts: Box<InviteFacts>,
    offer: Option<Bytes>,
    record: CallRecord,
    inbound: Inbound,
}

/// An INVITE that passed every check of the protocol.
pub(super) fn incoming(
    switchboard: &Handle,
    dialog: DialogId,
    facts: Box<InviteFacts>,
    offer: Option<Bytes>,
) {
    let refuse = |rejection: Rejection, why: &'static str| {
        metrics::sip_rejected(why);
        tracing::info!(why, source = %facts.flow.remote, "call refused");
        // A driver that is gone has no use for the refusal either.
        let _ = switchboard.inner.context.net.command(Command::Reject { dialog, rejection });
    };
    let catalog = switchboard.directory();
    let Some(trunk) = facts.trunk.as_ref().and_then(|name| catalog.trunk(name)) else {
        return refuse(Rejection::status(403), "unknown_trunk");
    };
    if let Some(replaced) = facts.replaces {
        // Only the trunk that carries a call may send somebody else into it (RFC 3891 section 8).
        let call = switchboard.call_of(replaced);
        let Some(call) = call.filter(|call| call.trunk.as_ref() == Some(&trunk.name)) else {
            return refuse(Rejection::status(403), "replaces_refused");
        };
        switchboard.inner.registry.add_dialog(dialog, call.id);
        call.sip_event(Event::Incoming { dialog, facts, offer });
        return;
    }
    let called = if facts.request_user.reveal().is_empty() {
        facts.to_user.reveal()
    } else {
        facts.request_user.reveal()
    };
    let Some(inbound) = catalog.inbound(called, &trunk, facts.flow.remote.ip()) else {
        return refuse(Rejection::status(404), "unknown_number");
    };
    let trunk = &inbound.trunk;
    let pace = Pace::Trunk(trunk.config.inbound_calls_per_second);
    let admitted = switchboard.admission(|door| {
        door.admit(clock::now(), Some(&trunk.name), trunk.config.calls_max, pace)
            .map_err(|refusal| (refusal, door.retry_after_s()))
    });
    if let Err((refusal, retry_after)) = admitted {
        let rejection =
            Rejection { retry_after_s: Some(retry_after), ..Rejection::status(refusal.status()) };
        return refuse(rejection, refusal.as_str());
    }
    let mut record = CallRecord::new(switchboard.new_call_id(), Direction::Inbound, clock::wall());
    record.from_number = facts.from_user.clone();
    record.to_number = called.clone().into();
    record.trunk = Some(trunk.name.clone());
    record.sip_call_id = Some(facts.sip_call_id.clone());
    record.provider_call_id = facts.provider_call_id.clone();
    record.organization_id = inbound.organization_id.clone();
    let mut identity = facts.identity.clone();
    let list = &trunk.config.calls.headers_in;
    let kept = facts.x_headers.iter().filter(|(name, _)| lets_through(list, name));
    identity.headers =
        kept.map(|(name, value)| (name.to_ascii_lowercase(), value.clone().into())).collect();
    record.sip_identity = Some(Box::new(identity));
    record.number_id = inbound.number.as_ref().map(|number| number.id.clone());
    let arrived = Arrived { dialog, facts, offer, record, inbound };
    match arrived.question(switchboard) {
        Some(question) => {
            let (events, waiting) = mpsc::channel(WAITING_EVENTS);
            switchboard.pending(|pending| pending.insert(dialog, events));
            tokio::spawn(ask(switchboard.clone(), arrived, question, waiting));
        }
        None => {
            let agent = arrived.inbound.agent.clone();
            arrived.begin(switchboard, agent, Overrides::default(), None);
        }
    }
}

impl Arrived {
    /// What the number's webhook is asked, if it has one.
    fn question(&self, switchboard: &Handle) -> Option<Question> {
        switchboard.inner.asker.get()?;
        let number = self.inbound.number.as_ref()?;
        let url = number.doc.request_webhook_url.clone()?;
        let wait = switchboard.inner.context.config.agent_request_timeout_ms;
        Some(Question {
            kind: AskKind::AgentRequest,
            organization: self.inbound.organization_id.clone(),
            whom: Whom::Url { url, agent: None },
            data: json!({
                "call": crate::schema::Call::from(&self.record),
                "number": {"id": number.id, "number": number.doc.number, "name": number.doc.name},
                "agent_id": number.doc.inbound_agent_id,
            }),
            timeout: Duration::from_millis(wait),
        })
    }

    /// Starts the call's task, or refuses the call and says why in its record.
    fn begin(
        mut self,
        switchboard: &Handle,
        agent: Option<Ready>,
        overrides: Overrides,
        words: Option<String>,
    ) {
        let Some(agent) = agent else {
            return self.refuse(switchboard, 480, EndReason::AgentNotFound, None);
        };
        if !agent.is_active {
            return self.refuse(switchboard, 480, EndReason::AgentNotFound, None);
        }
        let call = CallFacts {
            direction: "inbound",
            from: self.record.from_number.reveal(),
            to: self.record.to_number.reveal(),
            sip: self.record.sip_identity.as_deref(),
        };
        let mut snapshot = match prepare(&agent, &overrides, call) {
            Ok(snapshot) => snapshot,
            Err(error) => {
                let error = CallError {
                    code: "agent_variables".to_owned(),
                    message: error.to_string(),
                    stage: ErrorStage::Internal,
                };
                let reason = EndReason::InternalError;
                return self.refuse(switchboard, 480, reason, Some(error));
            }
        };
        if let Some(words) = words {
            snapshot = refusing(&snapshot, words);
        }
        let accounts = &switchboard.inner.context.accounts;
        let call = (self.record.id, self.record.created_at);
        match accounts.reserve(&self.record.organization_id, call.0, call.1) {
            Ok(reservation) => self.record.reservation = reservation,
            Err(_) => {
                self.record.agent_id = snapshot.id.kept();
                self.record.agent_name = Some(snapshot.name.clone());
                return self.refuse(switchboard, 503, EndReason::BudgetExceeded, None);
            }
        }
        let seed = CallSeed {
            dialog: self.dialog,
            record: self.record,
            agent: snapshot,
            media: super::media_on(switchboard, &self.inbound.trunk, &self.facts.flow),
            rules: self.inbound.trunk.rules(),
            origin: Origin::Inbound { facts: self.facts, offer: self.offer },
            entropy: switchboard.entropy(Entropy::fork),
        };
        switchboard.run_call(seed);
    }

    /// Refuses a call that was let in.
    fn refuse(
        mut self,
        switchboard: &Handle,
        status: u16,
        reason: EndReason,
        error: Option<CallError>,
    ) {
        metrics::sip_rejected(match reason {
            EndReason::BudgetExceeded => "budget_exceeded",
            _ => "no_agent",
        });
        let rejection = Rejection::status(status);
        let command = Command::Reject { dialog: self.dialog, rejection };
        let _ = switchboard.inner.context.net.command(command);
        self.record.sip = SipEnd { status: Some(status), ..SipEnd::default() };
        self.record.error = error;
        self.over(switchboard, reason);
    }

    /// Closes a call that never had a task.
    fn over(self, switchboard: &Handle, reason: EndReason) {
        let context = &switchboard.inner.context;
        let trunk = self.inbound.trunk.name.clone();
        let mut journal = Journal::open(self.record, context.store.clone(), context.bus.clone())
            .priced_by(Arc::clone(&context.accounts));
        journal.initiated();
        let id = journal.record().id;
        context.net.trace().claim(self.dialog, id);
        let switchboard = switchboard.clone();
        tokio::spawn(async move {
            journal.finish(reason).await;
            switchboard.inner.context.net.trace().call_over(id);
            switchboard.admission(|door| door.release(Some(&trunk)));
            switchboard.inner.ended.notify_waiters();
        });
    }
}

/// The agent says why and hangs up.
fn refusing(agent: &Arc<AgentSnapshot>, words: String) -> Arc<AgentSnapshot> {
    let mut own = (**agent).clone();
    own.turn.greeting.refuse(words);
    Arc::new(own)
}

/// What the webhook may answer. What is not named here is not looked at.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    agent_id: Option<String>,
    agent: Option<Map<String, Value>>,
    max_duration_seconds: Option<u32>,
    variables: std::collections::BTreeMap<String, String>,
    context: Option<Value>,
    metadata: Option<Map<String, Value>>,
    error: Option<String>,
    reject: Option<Reject>,
}

#[derive(Debug, Deserialize)]
struct Reject {
    sip_status: u16,
}

/// What an answer comes to.
struct Decision {
    agent: Option<Ready>,
    overrides: Overrides,
    metadata: Option<Map<String, Value>>,
    words: Option<String>,
    reject: Option<u16>,
}

/// Asks while the call rings; whatever goes wrong, the number's own agent answers.
async fn ask(
    switchboard: Handle,
    mut arrived: Arrived,
    question: Question,
    mut waiting: mpsc::Receiver<Event>,
) {
    let dialog = arrived.dialog;
    let net = &switchboard.inner.context.net;
    let _ = net.command(Command::Ring { dialog, sdp: None });
    let Some(asker) = switchboard.inner.asker.get().cloned() else { return };
    let answer = tokio::select! {
        answer = asker.ask(question) => answer.ok(),
        // The only event of a dialog that was not answered is that the caller gave up.
        event = waiting.recv() => {
            switchboard.pending(|pending| pending.remove(&dialog));
            tracing::debug!(?event, "the caller gave up while the agent was asked for");
            return arrived.over(&switchboard, EndReason::Canceled);
        }
    };
    let decided = match answer {
        Some(answer) => {
            // An agent may have to be made of what was answered: that can take a moment of a core.
            let (handle, inbound) = (switchboard.clone(), arrived.inbound);
            let decided = tokio::task::spawn_blocking(move || {
                let decided = decide(&handle, &inbound, answer);
                (decided, inbound)
            });
            let Ok((decided, inbound)) = decided.await else { return };
            arrived.inbound = inbound;
            decided.unwrap_or_else(|why| {
                tracing::warn!(why, "webhook.answer_refused");
                fallback(&arrived.inbound)
            })
        }
        None => fallback(&arrived.inbound),
    };
    if let Some(metadata) = decided.metadata {
        arrived.record.metadata = Value::Object(metadata);
    }
    // Under the lock, so that no event falls between the two that take them.
    switchboard.pending(|pending| {
        match decided.reject {
            Some(status) => {
                let reason = match status {
                    486 => EndReason::Busy,
                    480 => EndReason::NoAnswer,
                    _ => EndReason::Rejected,
                };
                arrived.refuse(&switchboard, status, reason, None);
            }
            None => {
                arrived.begin(&switchboard, decided.agent, decided.overrides, decided.words);
            }
        }
        pending.remove(&dialog);
        while let Ok(event) = waiting.try_recv() {
            if let Some(call) = switchboard.call_of(dialog) {
                call.sip_event(event);
            }
        }
    });
}

fn fallback(inbound: &Inbound) -> Decision {
    Decision {
        agent: inbound.agent.clone(),
        overrides: Overrides::default(),
        metadata: None,
        words: None,
        reject: None,
    }
}

/// Reads an answer; one that cannot be followed is refused as a whole.
fn decide(
    switchboard: &Handle,
    inbound: &Inbound,
    answer: Value,
) -> Result<Decision, &'static str> {
    let answer: Answer =
        serde_json::from_value(answer).map_err(|_| "a field has another type than it should")?;
    let organization = &inbound.organization_id;
    let catalog = switchboard.directory();
    let mut decided = fallback(inbound);
    if let Some(Reject { sip_status }) = answer.reject {
        if !matches!(sip_status, 403 | 404 | 480 | 486 | 603) {
            return Err("`reject.sip_status` is none of 403, 404, 480, 486, 603");
        }
        decided.reject = Some(sip_status);
        return Ok(decided);
    }
    if let Some(id) = answer.agent_id {
        let named = catalog.ready(organization, &AgentId(id));
        decided.agent = Some(named.ok_or("there is no agent of this `agent_id`")?);
    }
    if let Some(change) = answer.agent {
        let changed = catalog.changed(organization, decided.agent.as_ref(), change);
        decided.agent = Some(changed.map_err(|_| "`agent` makes no agent")?);
    }
    if answer.max_duration_seconds.is_some_and(|s| !DURATION_RANGE.contains(&s)) {
        return Err("`max_duration_seconds` is 10 to 86400");
    }
    decided.overrides = Overrides {
        max_duration_seconds: answer.max_duration_seconds,
        variables: answer.variables,
        context: answer.context.filter(|context| !context.is_null()),
        ..Overrides::default()
    };
    decided.metadata = answer.metadata;
    if let Some(words) = answer.error {
        decided.words = Some(words.chars().take(REFUSAL_CHARS_MAX).collect());
        if decided.agent.is_none() {
            // Somebody has to say it.
            decided.agent = catalog.changed(organization, None, Map::new()).ok();
        }
    }
    Ok(decided)
}
