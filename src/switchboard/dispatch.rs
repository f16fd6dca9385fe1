//! What becomes of each event of the SIP user agent.

use tokio::sync::mpsc;

use super::{Handle, inbound};
use crate::sip::Event;

/// Runs until the SIP driver ends.
pub(super) async fn run(switchboard: Handle, mut events: mpsc::Receiver<Event>) {
    while let Some(event) = events.recv().await {
        match event {
            Event::Incoming { dialog, facts, offer } => {
                inbound::incoming(&switchboard, dialog, facts, offer);
            }
            Event::TargetFailed { flow, .. } => {
                tracing::info!(target = %flow.remote, "a target did not answer a call");
                switchboard.inner.context.net.failed(&flow);
            }
            Event::Pinged { dialog, status, .. } => switchboard.pinged(dialog, status),
            Event::Registered { dialog, outcome } => {
                switchboard.registered(dialog, Some(*outcome));
            }
            Event::CommandRefused { dialog, command: "register" } => {
                switchboard.registered(dialog, None);
            }
            Event::CommandRefused { dialog, command: "ping" } => switchboard.pinged(dialog, None),
            other => switchboard.pass_on(other),
        }
    }
}
