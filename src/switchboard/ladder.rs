//! The SIP messages of calls: whose they are, and their way to the store.

use std::sync::Arc;
use std::time::Duration;

use crate::call::{CallContext, CallSeed, Origin};
use crate::net::Handle;
use crate::telemetry::{chain, metrics};

/// How long a server that stops waits for its last messages to be stored.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// How soon it looks again.
const SETTLE_LOOK: Duration = Duration::from_millis(20);

/// Says that a dialog is a call's, before it has a task.
pub(super) fn claim(net: &Handle, seed: &CallSeed) {
    let (dialog, call) = (seed.dialog, seed.record.id);
    match (&seed.origin, &seed.record.sip_call_id) {
        (Origin::Outbound { .. }, Some(sip_call_id)) => {
            net.trace().begin(dialog, sip_call_id, call);
        }
        (Origin::Outbound { .. }, None) => {}
        (Origin::Inbound { .. }, _) => net.trace().claim(dialog, call),
    }
}

/// Stores the messages of calls that are over, for the life of the server.
pub(super) async fn run(context: Arc<CallContext>) {
    let trace = context.net.trace().clone();
    loop {
        let (call, ladder) = trace.ready().await;
        if let Err(error) = context.store.store().put_ladder(call, &ladder).await {
            metrics::store_failed("sip_messages");
            tracing::warn!(call.id = %call, error = %chain::chain(&error), "failed to store a call's SIP messages");
        }
        trace.forget(call);
    }
}

/// Returns when everything is stored, or cannot be soon.
pub(super) async fn settle(net: &Handle) {
    let trace = net.trace();
    trace.hurry();
    let settled = async {
        while !trace.is_settled() {
            tokio::time::sleep(SETTLE_LOOK).await;
        }
    };
    let _ = tokio::time::timeout(SETTLE_MAX, settled).await;
}
