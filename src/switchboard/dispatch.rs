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
            Event::Pinged { dialog, status } => switchboard.pinged(dialog, status),
            Event::CommandRefused { dialog, command: "ping" } => switchboard.pinged(dialog, None),
            other => switchboard.pass_on(other),
        }
    }
}
