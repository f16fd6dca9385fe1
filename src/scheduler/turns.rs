//! The task: whose turn it is, and the beginning of attempts.
//!
//! Lanes (campaigns, batches, the single orders of an organization) take turns, one attempt each, starting after
//! whoever had the last. A lane waits when its own limits are reached; an order waits when its concurrency key or its
//! trunk's queue is full. Only what is due is read, and of that only the first few of each lane.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::outcome::plan_of;
use super::{Handle, Promised, ScheduleError, plan};
use crate::net::clock;
use crate::store::order::Lane;
use crate::switchboard::pace::Pace;
use crate::switchboard::{DialError, DialRequest, Prepared};
use crate::telemetry::{chain, metrics};
use crate::types::order::{CampaignRecord, DO_NOT_CALL, OrderError, OrderRecord, OrderStatus};
use crate::types::{BatchId, CallStatus, EndReason};

/// Orders of a lane that are read at once.
const READ_AHEAD: u32 = 20;
/// Attempts begun in one pass, before ends of calls are looked at again.
const BEGINS_MAX: usize = 100;
/// Orders of a pass that are looked at and not dialled: outside their windows, expired, on the list.
const MOVES_MAX: usize = 400;
/// Longest time without a pass: what no event tells of is found after it.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// How soon a lane that waits for a trunk is looked at again.
const BUSY_WAIT: Duration = Duration::from_millis(50);
/// How soon after a failure of the store the next pass comes.
const FAILED_WAIT: Duration = Duration::from_secs(1);
/// Calls that wait for a trunk are at most what it dials in this time, so that a lane that comes late waits no longer.
const AHEAD_S: f64 = 0.25;
/// Paces of lanes that are kept.
const LANES_KEPT: usize = 2_000;

/// What the task remembers between passes; all of it may be forgotten.
#[derive(Default)]
struct Turns {
    /// Lane that had the last turn.
    last: String,
    limits: HashMap<String, Limits>,
}

/// A lane's own limits.
#[derive(Clone, Debug, Default)]
struct Limits {
    max_concurrent: Option<u32>,
    pace: Option<Pace>,
}

/// One lane in a pass.
struct Turn {
    lane: Lane,
    campaign: Option<CampaignRecord>,
    orders: VecDeque<OrderRecord>,
    running: u32,
    /// Whether the store may have more orders that are due than were read.
    more: bool,
}

/// What became of an order whose turn it was.
enum Begun {
    /// Its call waits for the trunk.
    Yes,
    /// It is not due any more.
    Moved,
    /// It waits for its trunk or its key.
    Waits,
}

/// Runs until `stop`.
pub(super) async fn run(scheduler: Handle, promised: Vec<Promised>, stop: CancellationToken) {
    let mut events = scheduler.switchboard().bus().ends();
    for (record, request) in promised {
        scheduler.switchboard().redial(record, request).await;
    }
    let mut turns = Turns::default();
    loop {
        let wait = match scheduler.pass(&mut turns).await {
            Ok(wait) => wait,
            Err(error) => {
                metrics::store_failed("schedule");
                tracing::error!(error = %chain::chain(&error), "a pass of the scheduler failed");
                FAILED_WAIT
            }
        };
        let ended = async {
            if let Err(RecvError::Closed) = events.recv().await {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = scheduler.inner.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
            () = ended => {}
        }
    }
}

impl Handle {
    /// Settles what ended, begins what is due; says how long nothing else is to be done.
    async fn pass(&self, turns: &mut Turns) -> Result<Duration, ScheduleError> {
        self.settle_ended().await?;
        let campaigns = self.settle_groups().await?;
        if !self.switchboard().has_room() {
            return Ok(BUSY_WAIT * 4);
        }
        let now = clock::wall();
        let mut wait = IDLE_MAX;
        let mut due = Vec::new();
        for lane in self.store().lanes().await? {
            let campaign = campaigns.iter().find(|campaign| is_lane_of(&lane.name, campaign));
            if lane.name.starts_with("campaign:") && campaign.is_none() {
                continue;
            }
            match Duration::try_from(lane.due.duration_since(now)) {
                Ok(later) if !later.is_zero() => wait = wait.min(later),
                _ => due.push((lane, campaign.cloned())),
            }
        }
        if due.is_empty() {
            return Ok(wait);
        }
        let (running, keys) = self.running().await?;
        let mut queue = VecDeque::new();
        for (lane, campaign) in due {
            self.limits_of(turns, &lane.name, campaign.as_ref()).await?;
            let running = running.get(&lane.name).copied().unwrap_or(0);
            let orders = VecDeque::new();
            queue.push_back(Turn { lane, campaign, orders, running, more: true });
        }
        // Lanes come sorted by name: whoever follows the last one is first.
        let next = queue.iter().position(|turn| turn.lane.name > turns.last).unwrap_or(0);
        queue.rotate_left(next);
        Ok(self.take_turns(turns, queue, keys).await?.map_or(wait, |busy| wait.min(busy)))
    }

    /// How many calls of each lane, and of each concurrency key, are under way.
    async fn running(&self) -> Result<(HashMap<String, u32>, HashMap<String, u32>), ScheduleError> {
        let (mut lanes, mut keys) = (HashMap::new(), HashMap::new());
        for attempt in self.store().running_attempts().await? {
            *lanes.entry(attempt.lane).or_default() += 1;
            if let Some(key) = attempt.concurrency_key {
                *keys.entry(key).or_default() += 1;
            }
        }
        Ok((lanes, keys))
    }

    async fn limits_of(
        &self,
        turns: &mut Turns,
        lane: &str,
        campaign: Option<&CampaignRecord>,
    ) -> Result<(), ScheduleError> {
        let (max_concurrent, cps) = match campaign {
            Some(campaign) => (campaign.max_concurrent, campaign.cps),
            // A batch does not change.
            None if turns.limits.contains_key(lane) => return Ok(()),
            None => {
                let id: Option<BatchId> =
                    lane.strip_prefix("batch:").and_then(|id| id.parse().ok());
                let batch = match id {
                    Some(id) => self.store().batch(None, id).await?,
                    None => None,
                };
                batch.map_or((None, None), |batch| (batch.max_concurrent, batch.cps))
            }
        };
        if turns.limits.len() >= LANES_KEPT {
            turns.limits.clear();
        }
        let limits = turns.limits.entry(lane.to_owned()).or_default();
        limits.max_concurrent = max_concurrent;
        match (cps, &mut limits.pace) {
            (Some(rate), Some(pace)) => pace.set_rate(rate),
            (cps, pace) => *pace = cps.map(Pace::new),
        }
        Ok(())
    }

    /// Goes round until nobody can go on; says when somebody may again, if that is known.
    async fn take_turns(
        &self,
        turns: &mut Turns,
        mut queue: VecDeque<Turn>,
        mut keys: HashMap<String, u32>,
    ) -> Result<Option<Duration>, ScheduleError> {
        let (mut begun, mut moved) = (0, 0);
        let mut busy: Option<Duration> = None;
        let mut sooner = |wait: Duration| busy = Some(busy.map_or(wait, |busy| busy.min(wait)));
        while let Some(mut turn) = queue.pop_front() {
            if begun >= BEGINS_MAX || moved >= MOVES_MAX {
                sooner(Duration::ZERO);
                break;
            }
            let limits = turns.limits.entry(turn.lane.name.clone()).or_default();
            if limits.max_concurrent.is_some_and(|max| turn.running >= max) {
                // The end of a call of the lane wakes the task.
                continue;
            }
            let now = clock::now();
            if let Some(next) = limits.pace.as_ref().map(|pace| pace.next(now))
                && next > now
            {
                sooner(next - now);
                continue;
            }
            let Some(order) = self.next_order(&mut turn, &keys).await? else { continue };
            match self.begin(order, turn.campaign.as_ref(), &mut keys).await? {
                Begun::Yes => {
                    begun += 1;
                    turn.running += 1;
                    note_sent(turns, &turn.lane.name, clock::now());
                    turns.last.clone_from(&turn.lane.name);
                    queue.push_back(turn);
                }
                Begun::Moved => {
                    moved += 1;
                    queue.push_front(turn);
                }
                Begun::Waits => {
                    sooner(BUSY_WAIT);
                    // Another order of the lane may leave by another trunk; those that were read are enough to see.
                    turn.more = false;
                    queue.push_front(turn);
                }
            }
        }
        Ok(busy)
    }

    async fn next_order(
        &self,
        turn: &mut Turn,
        keys: &HashMap<String, u32>,
    ) -> Result<Option<OrderRecord>, ScheduleError> {
        if turn.orders.is_empty() && turn.more {
            let busy: Vec<String> = keys.keys().take(KEYS_MAX).cloned().collect();
            let now = clock::wall();
            let mut orders = self.store().due_orders(&turn.lane.name, now, &[], READ_AHEAD).await?;
            // A key that is full must not hide the orders behind it.
            let hidden = |order: &OrderRecord| {
                let limit = order.concurrency.as_ref();
                limit.is_some_and(|limit| full(order, limit.max, keys))
            };
            if !busy.is_empty() && orders.iter().all(hidden) {
                orders = self.store().due_orders(&turn.lane.name, now, &busy, READ_AHEAD).await?;
            }
            turn.more = orders.len() >= READ_AHEAD as usize;
            turn.orders = orders.into();
        }
        Ok(turn.orders.pop_front())
    }

    /// Begins an order's next attempt, if it may be.
    async fn begin(
        &self,
        mut order: OrderRecord,
        campaign: Option<&CampaignRecord>,
        keys: &mut HashMap<String, u32>,
    ) -> Result<Begun, ScheduleError> {
        let now = clock::wall();
        let limit = order.concurrency.as_ref().map(|limit| limit.max);
        if limit.is_some_and(|max| full(&order, max, keys)) {
            return Ok(Begun::Waits);
        }
        let prepared = match self.prepare(&order, campaign).await {
            Ok(prepared) => prepared,
            Err(DialError::Draining) => return Ok(Begun::Waits),
            Err(error) => {
                order.fail(OrderError::new(code_of(&error), error.to_string()), now);
                return self.give_up(order).await;
            }
        };
        let trunk = prepared.trunk();
        let ahead = (trunk.calls_per_second() * AHEAD_S).ceil().max(1.0) as usize;
        if self.switchboard().waiting(&trunk.name) >= ahead {
            return Ok(Begun::Waits);
        }
        if let Some(moved) = self.move_on(&mut order, campaign, now).await? {
            return Ok(moved);
        }
        self.begin_prepared(order, prepared, keys, now).await
    }

    async fn begin_prepared(
        &self,
        mut order: OrderRecord,
        mut prepared: Prepared,
        keys: &mut HashMap<String, u32>,
        now: jiff::Timestamp,
    ) -> Result<Begun, ScheduleError> {
        if let Some(id) = order.call_id.filter(|_| order.attempts_count == 0) {
            // The first call was promised with the order.
            match self.store().get(id).await? {
                Some(call) if call.status == CallStatus::Queued => prepared.become_call(&call),
                _ => {
                    order.finish(OrderStatus::Canceled, now);
                    return self.give_up(order).await;
                }
            }
        }
        order.status = OrderStatus::Calling;
        order.attempts_count += 1;
        order.next_attempt_at = None;
        order.call_id = Some(prepared.record().id);
        order.updated_at = now;
        let request = prepared.request();
        if !self.store().begin_attempt(&order, prepared.record(), &request).await? {
            return Ok(Begun::Moved);
        }
        if order.concurrency.is_some() {
            *keys.entry(key_of(&order)).or_default() += 1;
        }
        self.switchboard().enqueue(prepared).await;
        Ok(Begun::Yes)
    }

    /// Whether the order is not to be dialled now after all: too old, outside its windows, or on the list.
    async fn move_on(
        &self,
        order: &mut OrderRecord,
        campaign: Option<&CampaignRecord>,
        now: jiff::Timestamp,
    ) -> Result<Option<Begun>, ScheduleError> {
        let to = order.to_number.reveal().clone();
        if now > order.expires_at() && !order.dial_now && campaign.is_none() {
            if order.attempts_count > 0 {
                order.finish(OrderStatus::Completed, now);
            } else {
                order.fail(OrderError::new("expired", "it could not be dialled in time"), now);
            }
            return self.give_up(order.clone()).await.map(Some);
        }
        let plan = plan_of(order, campaign);
        if !order.dial_now && !plan::may_dial(&plan, &to, now) {
            match plan::when(&plan, &to, now) {
                Ok(at) => {
                    order.next_attempt_at = Some(at);
                    order.updated_at = now;
                    self.store().change_order(order, None).await?;
                }
                Err(error) => {
                    order.fail(OrderError::new("no_calling_window", error.to_string()), now);
                    return self.give_up(order.clone()).await.map(Some);
                }
            }
            return Ok(Some(Begun::Moved));
        }
        if self.store().is_do_not_call(&order.organization_id, &to).await? {
            let sentence = EndReason::DoNotCall.facts(false).sentence;
            order.fail(OrderError::new(DO_NOT_CALL, sentence), now);
            return self.give_up(order.clone()).await.map(Some);
        }
        Ok(None)
    }

    /// Writes the end of an order that is not dialled any more, and ends the call that was promised with it.
    async fn give_up(&self, order: OrderRecord) -> Result<Begun, ScheduleError> {
        let kind = crate::types::OutboxKind::OrderCompleted;
        let event = self.order_event(kind, &order, None).await?;
        if self.store().change_order(&order, Some(&event)).await?
            && order.attempts_count == 0
            && let Some(call) = order.call_id
        {
            let listed = order.error.as_ref().is_some_and(|error| error.code == DO_NOT_CALL);
            let reason = if listed { EndReason::DoNotCall } else { EndReason::Canceled };
            self.end_promised(call, reason).await?;
        }
        Ok(Begun::Moved)
    }

    /// The request of the next attempt: the order's own, under its campaign's as it is now.
    async fn prepare(
        &self,
        order: &OrderRecord,
        campaign: Option<&CampaignRecord>,
    ) -> Result<Prepared, DialError> {
        let kept = order.request.reveal().clone();
        let mut request: DialRequest = serde_json::from_value(kept).unwrap_or_default();
        request.to.clone_from(order.to_number.reveal());
        request.organization_id = order.organization_id.clone();
        if let Some(campaign) = campaign {
            request.agent.clone_from(&campaign.agent_id);
            request.trunk.clone_from(&campaign.trunk);
            request.from = campaign.from_number.as_ref().map(|from| from.reveal().clone());
            request.overrides.instructions =
                campaign.instructions_template.as_ref().map(|text| text.reveal().clone());
        }
        request.origin.order = Some(order.id);
        request.origin.attempt = Some(order.attempts_count + 1);
        request.origin.batch = order.batch_id;
        request.origin.campaign = order.campaign_id;
        request.origin.lead = order.lead_id;
        self.switchboard().prepare(request).await
    }
}

/// Concurrency keys that one query leaves out.
const KEYS_MAX: usize = 500;

fn is_lane_of(lane: &str, campaign: &CampaignRecord) -> bool {
    lane.strip_prefix("campaign:").is_some_and(|id| id == campaign.id.to_string())
}

fn key_of(order: &OrderRecord) -> String {
    let key = order.concurrency.as_ref().map_or("", |limit| limit.key.as_str());
    format!("{} {key}", order.organization_id)
}

fn full(order: &OrderRecord, max: u32, keys: &HashMap<String, u32>) -> bool {
    keys.get(&key_of(order)).copied().unwrap_or(0) >= max
}

fn note_sent(turns: &mut Turns, lane: &str, now: Instant) {
    if let Some(pace) = turns.limits.get_mut(lane).and_then(|limits| limits.pace.as_mut()) {
        pace.take(now);
        pace.sent(now);
    }
}

fn code_of(error: &DialError) -> &'static str {
    match error {
        DialError::Destination(_) | DialError::From => "invalid_number",
        DialError::UnknownAgent(_) | DialError::NoAgent | DialError::InactiveAgent(_) => {
            "unknown_agent"
        }
        DialError::Inline(_) => "invalid_agent",
        DialError::Prepare(_) => "invalid_variables",
        DialError::NumberNotAllowed => "number_not_allowed",
        DialError::Header { .. } => "header_not_allowed",
        DialError::UnknownTrunk(_) | DialError::NoTrunk => "unknown_trunk",
        DialError::BudgetExceeded(_) => "budget_exceeded",
        DialError::Refused(_) => "dial_refused",
        DialError::Draining | DialError::NotStored | DialError::QueueFull => "unavailable",
    }
}
