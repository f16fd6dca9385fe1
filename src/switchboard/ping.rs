//! Whether a trunk's peer is there: OPTIONS, by request and by themselves, and what came of the last ones.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::health::{Health, Pulse, is_alive};
use super::placing::host_of;
use super::{Handle, Trunk};
use crate::net::clock;
use crate::net::locate::LocateError;
use crate::sip::{Command, DialogId, Flow, Ping};
use crate::telemetry::metrics;
use crate::types::TrunkName;

/// Longest wait for an answer; timer F alone would take 32 s.
const WAIT: Duration = Duration::from_secs(5);

/// Targets of one trunk that are asked: those that a call would try.
const TARGETS_MAX: usize = 8;

/// How often it is looked for trunks whose turn it is.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// After the start, and after a trunk was made: listeners and names may need a moment.
const FIRST_AFTER: Duration = Duration::from_secs(2);

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
type Answer = Result<(u16, Duration), &'static str>;

/// Those under way, and the last result of each trunk.
#[derive(Default)]
pub(super) struct Pings {
    waiting: Mutex<Waiting>,
    last: Mutex<HashMap<TrunkName, PingResult>>,
    health: Mutex<HashMap<TrunkName, Health>>,
}

impl Handle {
    fn pinging<T>(&self, f: impl FnOnce(&mut Waiting) -> T) -> T {
        f(&mut self.inner.pings.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What came of the last OPTIONS to a trunk.
    pub fn last_ping(&self, trunk: &TrunkName) -> Option<PingResult> {
        let last = self.inner.pings.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(trunk).cloned()
    }

    /// How a trunk's peer stands.
    pub fn trunk_health(&self, trunk: &TrunkName) -> Health {
        let health = self.inner.pings.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.get(trunk).copied().unwrap_or_default()
    }

    /// Asks a trunk's peer with OPTIONS whether it is there.
    pub async fn ping(&self, trunk: &Trunk) -> PingResult {
        let at = clock::wall();
        let answer = match self.ways(trunk).await {
            Ok(ways) => match ways.first() {
                Some(flow) => self.exchange(trunk, *flow).await,
                None => Err("the host name cannot be looked up"),
            },
            Err(error) => Err(error),
        };
        self.keep_ping(trunk, at, answer)
    }

    fn keep_ping(&self, trunk: &Trunk, at: jiff::Timestamp, answer: Answer) -> PingResult {
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

    /// Where a trunk's OPTIONS go.
    async fn ways(&self, trunk: &Trunk) -> Result<Vec<Flow>, &'static str> {
        let target = trunk.options_target().ok_or("the trunk has no host: it only receives")?;
        let net = &self.inner.context.net;
        net.locate(&target.sought).await.map_err(|error| match error {
            LocateError::NoListener(_) => {
                "there is no listener of the trunk's protocol and address family"
            }
            _ => "the host name cannot be looked up",
        })
    }

    async fn exchange(&self, trunk: &Trunk, flow: Flow) -> Answer {
        let target = trunk.options_target().ok_or("the trunk has no host: it only receives")?;
        let id = self.new_dialog();
        let ping = Ping {
            id,
            flow,
            uri: target.uri,
            from: trunk.from_value("", &host_of(flow.local)),
            route: target.route,
        };
        let (reply, answer) = oneshot::channel();
        self.pinging(|waiting| waiting.insert(id, reply));
        let sent: Instant = clock::now();
        let sending = self.inner.context.net.command(Command::Ping(Box::new(ping)));
        let answer = match sending {
            Ok(()) => tokio::time::timeout(WAIT, answer).await,
            Err(_) => Ok(Ok(None)),
        };
        self.pinging(|waiting| waiting.remove(&id));
        match answer {
            Ok(Ok(Some(status))) => Ok((status, clock::now().saturating_duration_since(sent))),
            _ => Err("the peer does not answer"),
        }
    }

    pub(super) fn pinged(&self, dialog: DialogId, status: Option<u16>) {
        if let Some(reply) = self.pinging(|waiting| waiting.remove(&dialog)) {
            // Whoever asked may have given up.
            let _ = reply.send(status);
        }
    }
}

/// What is known of one trunk from one round to the next.
#[derive(Default)]
struct Watched {
    due: Option<Instant>,
    is_asking: bool,
    pulse: Pulse,
    targets: HashMap<Flow, Pulse>,
}

type Round = (TrunkName, Vec<(Flow, Option<u16>)>);

/// Asks every trunk in its turn, for the life of the server.
pub(super) async fn run(switchboard: Handle) {
    let mut watched: HashMap<TrunkName, Watched> = HashMap::new();
    let mut rounds: JoinSet<Round> = JoinSet::new();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                if switchboard.is_draining() {
                    return;
                }
                look(&switchboard, &mut watched, &mut rounds);
            }
            Some(round) = rounds.join_next() => match round {
                Ok((name, answers)) => judge(&switchboard, &mut watched, &name, answers),
                Err(error) => {
                    tracing::error!(%error, "a round of OPTIONS panicked");
                    watched.values_mut().for_each(|one| one.is_asking = false);
                }
            },
        }
    }
}

/// Starts the rounds of those whose turn it is.
fn look(
    switchboard: &Handle,
    watched: &mut HashMap<TrunkName, Watched>,
    rounds: &mut JoinSet<Round>,
) {
    let now = clock::now();
    let all = switchboard.directory().trunks();
    let wanted =
        |trunk: &&Arc<Trunk>| trunk.config.options_interval_s > 0 && !trunk.config.host.is_empty();
    let names: HashSet<&TrunkName> = all.iter().filter(wanted).map(|one| &one.name).collect();
    watched.retain(|name, _| names.contains(name));
    {
        let pings = &switchboard.inner.pings;
        let mut health = pings.health.lock().unwrap_or_else(PoisonError::into_inner);
        health.retain(|name, _| names.contains(name));
    }
    for trunk in all.iter().filter(wanted) {
        let one = watched.entry(trunk.name.clone()).or_default();
        let due = *one.due.get_or_insert(now + FIRST_AFTER);
        if one.is_asking || due > now {
            continue;
        }
        one.is_asking = true;
        // Trunks that were made together are not asked together for good.
        let interval = Duration::from_secs(u64::from(trunk.config.options_interval_s));
        let share = switchboard.entropy(|entropy| f64::from(entropy.u32()) / f64::from(u32::MAX));
        one.due = Some(now + interval.mul_f64(0.9 + 0.1 * share));
        let (switchboard, trunk) = (switchboard.clone(), Arc::clone(trunk));
        rounds.spawn(async move { round(&switchboard, &trunk).await });
    }
}

/// Asks every target of a trunk once.
async fn round(switchboard: &Handle, trunk: &Trunk) -> Round {
    let at = clock::wall();
    let ways = match switchboard.ways(trunk).await {
        Ok(ways) => ways,
        Err(error) => {
            switchboard.keep_ping(trunk, at, Err(error));
            return (trunk.name.clone(), Vec::new());
        }
    };
    let asking = ways
        .into_iter()
        .take(TARGETS_MAX)
        .map(async |flow| (flow, switchboard.exchange(trunk, flow).await));
    let answers = futures_util::future::join_all(asking).await;
    let is_good = |answer: &Answer| answer.is_ok_and(|(status, _)| is_alive(Some(status)));
    let best = answers.iter().find(|(_, answer)| is_good(answer)).or(answers.first());
    if let Some((_, answer)) = best {
        switchboard.keep_ping(trunk, at, *answer);
    }
    let status = |answer: Answer| answer.ok().map(|(status, _)| status);
    let statuses = answers.into_iter().map(|(flow, answer)| (flow, status(answer))).collect();
    (trunk.name.clone(), statuses)
}

/// Draws the conclusions of a round.
fn judge(
    switchboard: &Handle,
    watched: &mut HashMap<TrunkName, Watched>,
    name: &TrunkName,
    answers: Vec<(Flow, Option<u16>)>,
) {
    let Some(one) = watched.get_mut(name) else { return };
    one.is_asking = false;
    let net = &switchboard.inner.context.net;
    let mut targets = HashMap::new();
    for (flow, status) in &answers {
        let mut pulse = one.targets.get(flow).copied().unwrap_or_default();
        pulse.heard(*status);
        match pulse.health() {
            Health::Down => net.failed(flow),
            Health::Up if is_alive(*status) => net.worked(flow),
            Health::Up | Health::Unknown => {}
        }
        targets.insert(*flow, pulse);
    }
    one.targets = targets;
    let alive = answers.iter().find(|(_, status)| is_alive(*status));
    let status = alive.or(answers.first()).and_then(|(_, status)| *status);
    let changed = one.pulse.heard(status);
    let health = one.pulse.health();
    if health != Health::Unknown {
        metrics::trunk_up(&name.0, health == Health::Up);
    }
    let pings = &switchboard.inner.pings;
    pings.health.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), health);
    match changed {
        Some(Health::Down) => {
            tracing::warn!(trunk = %name, ?status, "trunk.down: its peer does not answer OPTIONS");
        }
        Some(_) => tracing::info!(trunk = %name, "trunk.up"),
        None => {}
    }
}
