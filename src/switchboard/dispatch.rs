//! What becomes of each event of the SIP user agent.

use tokio::sync::mpsc;

use super::Handle;
use super::admission::Pace;
use crate::call::{CallSeed, Origin};
use crate::net::clock;
use crate::sip::{Command, DialogId, Event, InviteFacts, Rejection};
use crate::telemetry::metrics;
use crate::types::{CallRecord, Direction, EndReason};

/// Runs until the SIP driver ends.
pub(super) async fn run(switchboard: Handle, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Incoming { dialog, facts, offer } => {
                incoming(&switchboard, dialog, facts, offer);
            }
            other => {
                if let Some(call) = switchboard.call_of(other.dialog()) {
                    call.sip_event(other);
                }
            }
        }
    }
}

fn incoming(
    switchboard: &Handle,
    dialog: DialogId,
    facts: Box<InviteFacts>,
    offer: Option<bytes::Bytes>,
) {
    let refuse = |rejection: Rejection, why: &'static str| {
        metrics::sip_rejected(why);
        tracing::info!(why, source = %facts.flow.remote, "call refused");
        // A driver that is gone has no use for the refusal either.
        let _ = switchboard.inner.context.net.command(Command::Reject { dialog, rejection });
    };
    let Some(trunk) = facts.trunk.as_ref().and_then(|name| switchboard.directory().trunk(name))
    else {
        return refuse(Rejection::status(403), "unknown_trunk");
    };
    let called = if facts.request_user.reveal().is_empty() {
        facts.to_user.reveal()
    } else {
        facts.request_user.reveal()
    };
    let Some(agent) = switchboard.directory().inbound_agent(called, Some(&trunk.name)) else {
        return refuse(Rejection::status(404), "unknown_number");
    };
    let admitted = switchboard.admission(|door| {
        door.admit(clock::now(), Some(&trunk.name), trunk.config.calls_max, Pace::Limited)
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
    agent.facts.note(&mut record);
    let accounts = &switchboard.inner.context.accounts;
    match accounts.reserve(&record.organization_id, record.id, record.created_at) {
        Ok(reservation) => record.reservation = reservation,
        Err(_) => {
            switchboard.admission(|door| door.release(Some(&trunk.name)));
            refuse(Rejection::status(503), "budget_exceeded");
            record.agent_id = Some(agent.id.clone());
            record.agent_name = Some(agent.name.clone());
            super::dialling::end_unplaced(switchboard, record, EndReason::BudgetExceeded);
            return;
        }
    }
    let seed = CallSeed {
        dialog,
        record,
        agent,
        media: trunk.media.clone(),
        origin: Origin::Inbound { facts, offer },
        entropy: switchboard.entropy(crate::types::Entropy::fork),
    };
    switchboard.run_call(seed);
}
