//! The task that dials: calls wait for their trunk's turn, and leave at its rate, exactly.
//!
//! A call passes four gates in this order: its host has an address, the server and the trunk have room, the trunk's
//! [`Pace`] has a slot, and the store has written that the call leaves. The last makes it impossible to dial a call
//! twice: what is written so is never dialled again, and what is not written does not leave. Calls of one trunk pass
//! the last two one at a time, so that the pace is that of the INVITEs and not that of some queue before them.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::Handle;
use super::admission::{self, Refusal};
use super::pace::Pace;
use super::placing::Placing;
use super::redirects;
use super::trunk::{Target, Trunk};
use crate::call::journal::Journal;
use crate::call::{AgentSnapshot, CallSeed, Origin, TrunkRules};
use crate::net::clock;
use crate::net::locate::LocateError;
use crate::sip::Flow;
use crate::store::order::Gate;
use crate::telemetry::chain;
use crate::types::call::{CallError, ErrorStage};
use crate::types::{CallId, CallRecord, CallStatus, EndReason, Entropy, TrunkName};
use crate::usage::{DialPath, Leaving};

/// While the server is full, how soon a queued call asks again, should nobody tell that a call ended.
const FULL_RETRY: Duration = Duration::from_millis(500);
/// Calls of a trunk whose hosts are looked up ahead of their turn: a name that does not answer holds no more than
/// these.
const RESOLVED_AHEAD: usize = 4;
/// How far back calls of a former process may still count in a trunk's pace: its window, and the time between the
/// writing and the leaving of a call.
const FORMER_CALLS: jiff::SignedDuration = jiff::SignedDuration::from_secs(3);
/// When the INVITE of a second leg is out at the latest, after its slot was given.
const LEG_LEAVES: Duration = Duration::from_millis(50);
/// Octets of a Call-ID: 128 bits.
pub(super) const CALL_ID_BYTES: usize = 16;

/// To the dialling task.
pub(super) enum Request {
    Dial(Box<Job>),
    Cancel {
        id: CallId,
        reply: oneshot::Sender<bool>,
    },
    /// The next slot of a trunk for a second leg: somebody is on the line and waits for it.
    Slot {
        trunk: Arc<Trunk>,
        reply: oneshot::Sender<()>,
    },
}

/// A checked request that is promised on disk.
pub(super) struct Job {
    pub(super) record: CallRecord,
    pub(super) agent: Arc<AgentSnapshot>,
    pub(super) trunk: Arc<Trunk>,
    pub(super) target: Target,
    pub(super) ring_timeout: Duration,
    /// Further headers of the INVITE.
    pub(super) headers: Vec<(String, String)>,
    /// Held until the call has left or is given up.
    pub(super) place: Place,
}

/// How many calls wait, by trunk.
#[derive(Clone, Default)]
pub(super) struct Waiting {
    counts: Arc<Mutex<HashMap<TrunkName, usize>>>,
}

/// One call's place among those that wait; dropping it gives it up.
pub(super) struct Place {
    waiting: Waiting,
    trunk: TrunkName,
}

impl Waiting {
    /// A place, unless `most` wait already.
    pub(super) fn take(&self, trunk: &TrunkName, most: usize) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.values().sum::<usize>() >= most {
            return None;
        }
        *counts.entry(trunk.clone()).or_default() += 1;
        Some(Place { waiting: self.clone(), trunk: trunk.clone() })
    }

    /// A place for a call that is promised already.
    pub(super) fn take_anyway(&self, trunk: &TrunkName) -> Place {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(trunk.clone()).or_default() += 1;
        Place { waiting: self.clone(), trunk: trunk.clone() }
    }

    /// Calls that wait for a trunk.
    pub(super) fn on(&self, trunk: &TrunkName) -> usize {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(trunk).copied().unwrap_or(0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.waiting.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.trunk) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.trunk);
            }
        }
    }
}

/// Calls of one trunk.
struct Queue {
    jobs: VecDeque<Box<Job>>,
    /// Second legs that wait for a slot: they go before calls that nobody listens to yet.
    legs: VecDeque<oneshot::Sender<()>>,
    /// Their hosts have addresses, best first.
    ready: VecDeque<(Box<Job>, Vec<Flow>)>,
    resolving: usize,
    /// Away while a call passes the last gates.
    pace: Option<Pace>,
    not_before: Option<Instant>,
}

/// What a side task of the dialling task came back with.
enum Done {
    Resolved(Box<Job>, Result<Vec<Flow>, LocateError>),
    Placed(TrunkName, Pace),
}

struct Dialling {
    switchboard: Handle,
    queues: HashMap<TrunkName, Queue>,
    side: JoinSet<Done>,
    /// Trunks by which a former process dialled a moment ago.
    former: HashSet<TrunkName>,
}

/// Runs for the life of the server.
pub(super) async fn run(switchboard: Handle, mut requests: mpsc::Receiver<Request>) {
    let former = former_trunks(&switchboard).await;
    let side = JoinSet::new();
    let mut dialling = Dialling { switchboard, queues: HashMap::new(), side, former };
    loop {
        let due = dialling.next_due();
        let timer = async {
            match due {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let full = dialling.queues.values().any(|queue| queue.not_before.is_some());
        let inner = Arc::clone(&dialling.switchboard.inner);
        let somebody_left = inner.ended.notified();
        tokio::select! {
            request = requests.recv() => match request {
                Some(request) => dialling.on_request(request),
                None => return,
            },
            Some(done) = dialling.side.join_next() => dialling.on_done(done),
            () = somebody_left, if full => {
                dialling.queues.values_mut().for_each(|queue| queue.not_before = None);
            }
            () = timer => {}
        }
        dialling.turn();
    }
}

/// Trunks that count as used up for a second: a crash does not make a trunk's limit forget.
async fn former_trunks(switchboard: &Handle) -> HashSet<TrunkName> {
    let since = clock::wall().checked_sub(FORMER_CALLS).unwrap_or_default();
    match switchboard.inner.context.store.store().trunks_dialled_since(since).await {
        Ok(names) => names.into_iter().map(TrunkName).collect(),
        Err(error) => {
            tracing::warn!(error = %chain::chain(&error), "failed to read the last calls");
            switchboard.directory().trunks().into_iter().map(|trunk| trunk.name.clone()).collect()
        }
    }
}

impl Dialling {
    fn next_due(&self) -> Option<Instant> {
        let now = clock::now();
        let due = |queue: &Queue| {
            let waits = !queue.ready.is_empty() || !queue.legs.is_empty();
            let pace = queue.pace.as_ref().filter(|_| waits)?;
            if !queue.legs.is_empty() {
                return Some(pace.next(now));
            }
            Some(queue.not_before.map_or(pace.next(now), |at| at.max(pace.next(now))))
        };
        self.queues.values().filter_map(due).min()
    }

    fn queue(&mut self, trunk: &Trunk) -> &mut Queue {
        let rate = trunk.calls_per_second();
        let former = self.former.remove(&trunk.name);
        let queue = self.queues.entry(trunk.name.clone()).or_insert_with(|| {
            let mut pace = Pace::new(rate);
            if former {
                pace.exhaust(clock::now());
            }
            Queue {
                jobs: VecDeque::new(),
                legs: VecDeque::new(),
                ready: VecDeque::new(),
                resolving: 0,
                pace: Some(pace),
                not_before: None,
            }
        });
        if let Some(pace) = &mut queue.pace {
            pace.set_rate(rate);
        }
        queue
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Dial(job) => {
                let queue = self.queue(&job.trunk);
                queue.jobs.push_back(job);
            }
            Request::Slot { trunk, reply } => {
                let queue = self.queue(&trunk);
                // They are bounded by the calls that are live.
                queue.legs.push_back(reply);
            }
            Request::Cancel { id, reply } => {
                let found = self.take_out(id);
                let canceled = found.is_some();
                if let Some(job) = found {
                    end_unplaced(&self.switchboard, job.record, EndReason::Canceled);
                }
                // Whoever asked may have gone away; the call is canceled all the same.
                let _ = reply.send(canceled);
            }
        }
    }

    fn take_out(&mut self, id: CallId) -> Option<Box<Job>> {
        self.queues.values_mut().find_map(|queue| {
            if let Some(at) = queue.jobs.iter().position(|job| job.record.id == id) {
                return queue.jobs.remove(at);
            }
            let at = queue.ready.iter().position(|(job, _)| job.record.id == id)?;
            queue.ready.remove(at).map(|(job, _)| job)
        })
    }

    fn on_done(&mut self, done: Result<Done, tokio::task::JoinError>) {
        match done {
            Ok(Done::Resolved(job, ways)) => {
                let Some(queue) = self.queues.get_mut(&job.trunk.name) else { return };
                queue.resolving = queue.resolving.saturating_sub(1);
                match ways {
                    Ok(ways) => queue.ready.push_back((job, ways)),
                    Err(error) => {
                        tracing::warn!(trunk = %job.trunk.name, error = %chain::chain(&error), "failed to resolve the trunk");
                        end_unplaced(&self.switchboard, job.record, EndReason::NetworkError);
                    }
                }
            }
            Ok(Done::Placed(name, pace)) => {
                if let Some(queue) = self.queues.get_mut(&name) {
                    queue.pace = Some(pace);
                }
            }
            Err(error) => {
                // A pace that is lost with its task is replaced by one that has to wait.
                tracing::error!(%error, "a dial panicked");
                let now = clock::now();
                for queue in self.queues.values_mut().filter(|queue| queue.pace.is_none()) {
                    let mut pace = Pace::new(super::trunk::CALLS_PER_SECOND);
                    pace.exhaust(now);
                    queue.pace = Some(pace);
                }
            }
        }
    }

    /// Moves every queue as far as it goes.
    fn turn(&mut self) {
        let now = clock::now();
        let draining = self.switchboard.is_draining();
        for (name, queue) in &mut self.queues {
            if draining {
                // They stay queued on disk, for the next process.
                queue.jobs.clear();
                queue.ready.clear();
                continue;
            }
            while queue.resolving + queue.ready.len() < RESOLVED_AHEAD {
                let Some(mut job) = queue.jobs.pop_front() else { break };
                if let Some((route, sought)) = self.switchboard.service_route(&job.trunk) {
                    (job.target.route, job.target.sought) = (route, sought);
                }
                queue.resolving += 1;
                let net = self.switchboard.inner.context.net.clone();
                self.side.spawn(async move {
                    let ways = net.locate(&job.target.sought).await;
                    Done::Resolved(job, ways)
                });
            }
            let_legs_go(queue, now);
            let Some((job, _)) = queue.ready.front() else { continue };
            let Some(pace) = &mut queue.pace else { continue };
            pace.set_rate(job.trunk.calls_per_second());
            if queue.not_before.is_some_and(|at| at > now) || pace.next(now) > now {
                continue;
            }
            queue.not_before = None;
            let calls_max = job.trunk.config.calls_max;
            let admitted = self
                .switchboard
                .admission(|door| door.admit(now, Some(name), calls_max, admission::Pace::Paced));
            match admitted {
                Ok(()) => {
                    let (Some((job, ways)), Some(pace)) =
                        (queue.ready.pop_front(), queue.pace.take())
                    else {
                        continue;
                    };
                    let name = name.clone();
                    let switchboard = self.switchboard.clone();
                    self.side.spawn(async move {
                        Done::Placed(name, place(switchboard, job, ways, pace).await)
                    });
                }
                Err(Refusal::Draining) => {}
                // Nothing already accepted is lost: the call waits until somebody leaves.
                Err(_) => queue.not_before = Some(now + FULL_RETRY),
            }
        }
    }
}

/// Gives second legs the slots that are free. Who waits no more takes none.
fn let_legs_go(queue: &mut Queue, now: Instant) {
    let Some(pace) = &mut queue.pace else { return };
    while pace.next(now) <= now {
        let Some(reply) = queue.legs.pop_front() else { return };
        if reply.send(()).is_ok() {
            pace.take(now);
            pace.sent(now + LEG_LEAVES);
        }
    }
}

/// Lets one call through the last two gates; gives the pace back when its INVITE is out.
async fn place(switchboard: Handle, mut job: Box<Job>, ways: Vec<Flow>, mut pace: Pace) -> Pace {
    let trunk = Arc::clone(&job.trunk);
    let give_up = |record: CallRecord, reason: EndReason| {
        switchboard.admission(|door| door.release(Some(&trunk.name)));
        end_unplaced(&switchboard, record, reason);
        switchboard.inner.ended.notify_waiters();
    };
    let accounts = &switchboard.inner.context.accounts;
    // An order's call holds nothing before it leaves, nor does one that waited for this process to start.
    match accounts.reserve(&job.record.organization_id, job.record.id, clock::wall()) {
        Ok(reserved) => job.record.reservation = reserved,
        Err(_) => {
            give_up(job.record, EndReason::BudgetExceeded);
            return pace;
        }
    }
    // Judged again: the limits may have changed while it waited, and now it counts.
    if let Err(refused) = begin_counting(&switchboard, &job) {
        accounts.release(job.record.id);
        job.record.error = Some(CallError {
            code: refused.rule.as_str().to_owned(),
            message: refused.to_string(),
            stage: ErrorStage::Internal,
        });
        give_up(job.record, EndReason::DialRefused);
        return pace;
    }
    pace.take(clock::now());
    let mut leaving = job.record.clone();
    leaving.status = CallStatus::Initiated;
    leaving.initiated_at = Some(clock::wall());
    leaving.updated_at = clock::wall();
    leaving.sip_call_id = Some(switchboard.entropy(|entropy| entropy.hex(CALL_ID_BYTES)));
    match switchboard.inner.context.store.store().begin_dial(&leaving).await {
        Ok(Gate::Go) => {}
        Ok(Gate::DoNotCall) => {
            switchboard.inner.context.dial.release(job.record.id);
            give_up(job.record, EndReason::DoNotCall);
            return pace;
        }
        Ok(Gate::Gone) => {
            switchboard.inner.context.dial.release(job.record.id);
            switchboard.inner.context.accounts.release(job.record.id);
            switchboard.admission(|door| door.release(Some(&trunk.name)));
            return pace;
        }
        Err(error) => {
            switchboard.inner.context.dial.release(job.record.id);
            crate::telemetry::metrics::store_failed("dial");
            tracing::error!(call.id = %job.record.id, error = %chain::chain(&error), "failed to store that a call leaves");
            give_up(job.record, EndReason::InternalError);
            return pace;
        }
    }
    job.record.sip_call_id = leaving.sip_call_id;
    let (sent, is_sent) = oneshot::channel();
    start_call(&switchboard, *job, ways, sent);
    // A call that ends before its INVITE is as good as sent.
    let _ = is_sent.await;
    pace.sent(clock::now());
    pace
}

/// Counts a call under the dial limits, with the longest time it may take.
fn begin_counting(switchboard: &Handle, job: &Job) -> Result<(), crate::usage::DialRefused> {
    let record = &job.record;
    let leaving = Leaving {
        organization: &record.organization_id,
        trunk: &job.trunk.name,
        to: record.to_number.reveal(),
    };
    let longest = Duration::from_millis(job.agent.turn.max_duration_ms) + job.ring_timeout;
    let guard = &switchboard.inner.context.dial;
    guard.begin(DialPath::Queue, record.id, leaving, longest, clock::wall())
}

fn start_call(switchboard: &Handle, job: Job, ways: Vec<Flow>, sent: oneshot::Sender<()>) {
    let Job { record, agent, trunk, target, ring_timeout, headers, place } = job;
    let dialog = switchboard.new_dialog();
    let call_id = record.sip_call_id.clone();
    let from = record.from_number.reveal();
    let placing =
        Placing { dialog, call_id, trunk: &trunk, target, ways, from, headers, ring_timeout };
    let Some(invite) = placing.invite() else {
        // Never: what is located has a way.
        return end_unplaced(switchboard, record, EndReason::NetworkError);
    };
    let flow = invite.flow;
    let redirector = redirects::redirector(switchboard, &trunk, &record.organization_id);
    let seed = CallSeed {
        dialog,
        record,
        agent,
        media: super::media_on(switchboard, &trunk, &flow),
        rules: TrunkRules { redirector, ..trunk.rules() },
        origin: Origin::Outbound { invite: Box::new(invite), sent },
        entropy: switchboard.entropy(Entropy::fork),
    };
    switchboard.run_call(seed);
    drop(place);
}

/// Ends a call that never got an INVITE.
pub(super) fn end_unplaced(switchboard: &Handle, record: CallRecord, reason: EndReason) {
    let context = &switchboard.inner.context;
    let journal = Journal::open(record, context.store.clone(), context.bus.clone())
        .priced_by(Arc::clone(&context.accounts));
    tokio::spawn(journal.finish(reason));
}
