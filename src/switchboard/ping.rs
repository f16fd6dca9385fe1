//! Whether a trunk's peer is there: OPTIONS, and what came of the last one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::dialer::host_of;
use super::{Handle, Trunk};
use crate::net::{clock, resolve};
use crate::sip::{Command, DialogId, Flow, Ping};
use crate::types::TrunkName;

/// Longest wait for an answer; timer F alone would take 32 s.
const WAIT: Duration = Duration::from_secs(5);

/// What came of an OPTIONS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PingResult {
    /// When it was sent.
    pub at: jiff::Timestamp,
    /// Status of the answer and the time it took.
    pub answer: Option<(u16, Duration)>,
    /// Why there is none.
    pub error: Option<&'static str>,
}

type Waiting = HashMap<DialogId, oneshot::Sender<Option<u16>>>;

/// Those under way, and the last result of each trunk.
#[derive(Default)]
pub(super) struct Pings {
    waiting: Mutex<Waiting>,
    last: Mutex<HashMap<TrunkName, PingResult>>,
}

impl Handle {
    fn waiting<T>(&self, f: impl FnOnce(&mut Waiting) -> T) -> T {
        f(&mut self.inner.pings.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What came of the last OPTIONS to a trunk.
    pub fn last_ping(&self, trunk: &TrunkName) -> Option<PingResult> {
        let last = self.inner.pings.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(trunk).cloned()
    }

    /// Asks a trunk's peer with OPTIONS whether it is there.
    pub async fn ping(&self, trunk: &Trunk) -> PingResult {
        let at = clock::wall();
        let answer = self.exchange(trunk).await;
        let result = match answer {
            Ok(answer) => PingResult { at, answer: Some(answer), error: None },
            Err(error) => PingResult { at, answer: None, error: Some(error) },
        };
        let mut last = self.inner.pings.last.lock().unwrap_or_else(PoisonError::into_inner);
        // Trunks that are gone leave nothing behind.
        last.retain(|name, _| self.inner.directory.trunk(name).is_some());
        last.insert(trunk.name.clone(), result.clone());
        result
    }

    async fn exchange(&self, trunk: &Trunk) -> Result<(u16, Duration), &'static str> {
        let target = trunk.options_target().ok_or("the trunk has no host: it only receives")?;
        let remote = resolve::resolve(&target.host, target.port)
            .await
            .map_err(|_| "the host name cannot be looked up")?;
        let net = &self.inner.context.net;
        let local = net
            .local_addr(target.transport, remote.ip())
            .ok_or("there is no listener of the trunk's protocol and address family")?;
        let id = self.new_dialog();
        let ping = Ping {
            id,
            flow: Flow { transport: target.transport, local, remote },
            uri: target.uri,
            from: trunk.from_value("", &host_of(local)),
            route: target.route,
        };
        let (reply, answer) = oneshot::channel();
        self.waiting(|waiting| waiting.insert(id, reply));
        let sent: Instant = clock::now();
        let sending = net.command(Command::Ping(Box::new(ping)));
        let answer = match sending {
            Ok(()) => tokio::time::timeout(WAIT, answer).await,
            Err(_) => Ok(Ok(None)),
        };
        self.waiting(|waiting| waiting.remove(&id));
        match answer {
            Ok(Ok(Some(status))) => Ok((status, clock::now().saturating_duration_since(sent))),
            _ => Err("the peer does not answer"),
        }
    }

    pub(super) fn pinged(&self, dialog: DialogId, status: Option<u16>) {
        if let Some(reply) = self.waiting(|waiting| waiting.remove(&dialog)) {
            // Whoever asked may have given up.
            let _ = reply.send(status);
        }
    }
}
