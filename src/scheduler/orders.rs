//! Making, stopping and hurrying orders and batches.

use std::collections::BTreeMap;

use super::{Handle, ScheduleError, plan};
use crate::call::CallCommand;
use crate::net::clock;
use crate::schema::order::CallOrder;
use crate::store::Group;
use crate::switchboard::trunk::is_destination;
use crate::switchboard::{DialError, DialRequest};
use crate::types::order::{
    BatchRecord, BatchStatus, Concurrency, OrderError, OrderRecord, OrderStatus, RetryPlan,
};
use crate::types::{
    BatchId, CallId, CallRecord, CallStatus, EndReason, OrderId, OrganizationId, OutboxEvent,
    OutboxKind, Outcome, Pii,
};

/// Most recipients of a batch.
pub const TARGETS_MAX: usize = 10_000;

/// What an order is besides its calls.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// When to call, and when again.
    pub retry: RetryPlan,
    /// Limit it shares with others.
    pub concurrency: Option<Concurrency>,
    /// Not before.
    pub scheduled_at: Option<jiff::Timestamp>,
}

/// What a batch is besides its orders.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields are those of the public `CreateBatch`")]
pub struct BatchWishes {
    pub name: Option<String>,
    pub retry: RetryPlan,
    pub scheduled_at: Option<jiff::Timestamp>,
    pub cps: Option<f64>,
    pub max_concurrent: Option<u32>,
    pub metadata: serde_json::Value,
}

/// One recipient.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the fields are those of the public `BatchTarget`")]
pub struct Target {
    pub to: String,
    pub variables: BTreeMap<String, String>,
    pub context: Option<serde_json::Value>,
    pub metadata: Option<serde_json::Value>,
}

/// Orders, one at a time.
impl Handle {
    /// Takes an order.
    ///
    /// # Errors
    /// When it can't be dialled as it stands, or stored.
    pub async fn submit(
        &self,
        request: DialRequest,
        wishes: Wishes,
    ) -> Result<OrderRecord, ScheduleError> {
        self.check(&request).await?;
        let order = self.draft(self.id(OrderId::new), &request, wishes)?;
        self.store().insert_order(&order, None).await?;
        self.wake();
        Ok(order)
    }

    /// Takes an order and promises its first call.
    ///
    /// # Errors
    /// As [`Handle::submit`].
    pub async fn submit_call(
        &self,
        mut request: DialRequest,
        wishes: Wishes,
    ) -> Result<CallRecord, ScheduleError> {
        self.check(&request).await?;
        request.scheduled_at = wishes.scheduled_at;
        let mut order = self.draft(self.id(OrderId::new), &request, wishes)?;
        request.origin.order = Some(order.id);
        request.origin.attempt = Some(1);
        let call = self.switchboard().prepare(request).await?.record().clone();
        order.call_id = Some(call.id);
        self.store().insert_order(&order, Some(&call)).await?;
        self.wake();
        Ok(call)
    }

    async fn check(&self, request: &DialRequest) -> Result<(), ScheduleError> {
        if self.switchboard().is_draining() {
            return Err(DialError::Draining.into());
        }
        self.switchboard().prepare(request.clone()).await.map(drop).map_err(ScheduleError::from)
    }

    /// An order as it will be stored, with the time of its first attempt.
    pub(super) fn draft(
        &self,
        id: OrderId,
        request: &DialRequest,
        wishes: Wishes,
    ) -> Result<OrderRecord, ScheduleError> {
        let now = clock::wall();
        let organization = request.organization_id.clone();
        let mut order = OrderRecord::new(id, organization, request.to.clone(), now);
        order.from_number = request.from.clone().map(Pii::new);
        order.agent_id = request.agent.clone();
        order.trunk = request.trunk.clone();
        order.variables = Pii::new(request.overrides.variables.clone());
        order.context = request.overrides.context.clone().map(Pii::new);
        order.webhook_url = request.overrides.webhook_url.clone().map(Pii::new);
        if request.metadata.is_object() {
            order.metadata = request.metadata.clone();
        }
        order.request = Pii::new(serde_json::to_value(request).unwrap_or_default());
        order.retry = wishes.retry;
        order.concurrency = wishes.concurrency;
        order.scheduled_at = wishes.scheduled_at;
        let not_before = wishes.scheduled_at.map_or(now, |at| at.max(now));
        let first = plan::when(&order.retry, order.to_number.reveal(), not_before);
        let first = first.map_err(|error| ScheduleError::invalid("retry", error.to_string()))?;
        order.next_attempt_at = Some(first);
        order.status = if first > now { OrderStatus::Scheduled } else { OrderStatus::Queued };
        Ok(order)
    }

    /// An order of an organization.
    ///
    /// # Errors
    /// When there is none.
    pub async fn order(
        &self,
        organization: &OrganizationId,
        id: OrderId,
    ) -> Result<OrderRecord, ScheduleError> {
        self.store().order(organization, id).await?.ok_or(ScheduleError::NotFound("order"))
    }

    /// Takes an order back. A call of it that rings or waits is canceled; one that is answered goes on.
    ///
    /// # Errors
    /// When there is no such order, or it is over.
    pub async fn cancel_order(
        &self,
        organization: &OrganizationId,
        id: OrderId,
    ) -> Result<OrderRecord, ScheduleError> {
        // Somebody else may change it between the reading and the writing, but not for ever.
        for _ in 0..CHANGES_MAX {
            let mut order = self.order(organization, id).await?;
            if order.status.is_over() {
                let message = format!("the order is {}", order.status.as_str());
                return Err(ScheduleError::State(message));
            }
            if order.status == OrderStatus::Calling {
                order.stop = true;
                order.updated_at = clock::wall();
                if self.store().change_order(&order, None).await? {
                    self.stop_calls(order.call_id.as_slice()).await?;
                    self.wake();
                    order.version += 1;
                    return Ok(order);
                }
                continue;
            }
            let promised = order.call_id.filter(|_| order.attempts_count == 0);
            order.outcome.get_or_insert(Outcome::Canceled);
            order.finish(OrderStatus::Canceled, clock::wall());
            let event = self.order_event(OutboxKind::OrderCompleted, &order, None).await?;
            if self.store().change_order(&order, Some(&event)).await? {
                if let Some(call) = promised {
                    self.end_promised(call, EndReason::Canceled).await?;
                }
                self.wake();
                return Ok(order);
            }
        }
        Err(ScheduleError::State("the order changes too often".to_owned()))
    }

    /// Ends a call that was promised with its order and will not be dialled.
    pub(super) async fn end_promised(
        &self,
        call: CallId,
        reason: EndReason,
    ) -> Result<(), ScheduleError> {
        if let Some(record) = self.store().get(call).await?
            && record.status == CallStatus::Queued
        {
            self.switchboard().give_up(record, reason);
        }
        Ok(())
    }

    /// Cancels calls that are not answered.
    pub(super) async fn stop_calls(&self, calls: &[CallId]) -> Result<(), ScheduleError> {
        for call in calls {
            let Some(record) = self.store().get(*call).await? else { continue };
            if record.answered_at.is_none() && !record.status.is_terminal() {
                let command = CallCommand::End {
                    message: None,
                    reason: EndReason::Canceled,
                    headers: Vec::new(),
                };
                // A call that ended or was answered meanwhile needs no more.
                let _ = self.switchboard().command(*call, command).await;
            }
        }
        Ok(())
    }

    /// Dials an order that waits now, also outside its windows if `ignore_window`.
    ///
    /// # Errors
    /// When there is no such order, it is being dialled, or over.
    pub async fn retry_now(
        &self,
        organization: &OrganizationId,
        id: OrderId,
        ignore_window: bool,
    ) -> Result<OrderRecord, ScheduleError> {
        for _ in 0..CHANGES_MAX {
            let mut order = self.order(organization, id).await?;
            match order.status {
                OrderStatus::Calling => {
                    return Err(ScheduleError::State("an attempt is under way".to_owned()));
                }
                OrderStatus::Completed | OrderStatus::Canceled | OrderStatus::Errored => {
                    let message = format!("the order is {}", order.status.as_str());
                    return Err(ScheduleError::State(message));
                }
                OrderStatus::Scheduled | OrderStatus::Queued | OrderStatus::WaitingRetry => {}
            }
            let now = clock::wall();
            order.dial_now = ignore_window;
            order.next_attempt_at = Some(now);
            order.status = OrderStatus::Queued;
            order.updated_at = now;
            if self.store().change_order(&order, None).await? {
                self.wake();
                return Ok(order);
            }
        }
        Err(ScheduleError::State("the order changes too often".to_owned()))
    }

    /// What webhooks are told of an order: its public form, and the record of the call that just ended.
    pub(super) async fn order_event(
        &self,
        kind: OutboxKind,
        order: &OrderRecord,
        call: Option<&CallRecord>,
    ) -> Result<OutboxEvent, ScheduleError> {
        let attempts = self.store().attempts(order.id).await?;
        Ok(OutboxEvent {
            kind,
            organization_id: order.organization_id.clone(),
            call_id: call.map(|call| call.id),
            order_id: Some(order.id),
            at: order.updated_at,
            inline_url: order
                .webhook_url
                .as_ref()
                .filter(|_| kind.is_inline())
                .map(|url| url.reveal().clone()),
            data: serde_json::json!({
                "order": CallOrder::detail(order, &attempts),
                "call": call,
            }),
        })
    }
}

/// How often a change is tried again because somebody else was faster.
const CHANGES_MAX: usize = 8;

/// Batches.
impl Handle {
    /// Takes a batch. A number that is none, and one whose windows are never open, becomes a failed item.
    ///
    /// # Errors
    /// When the agent or the trunk is unknown, or the batch can't be stored.
    pub async fn submit_batch(
        &self,
        base: DialRequest,
        wishes: BatchWishes,
        targets: Vec<Target>,
    ) -> Result<BatchRecord, ScheduleError> {
        let now = clock::wall();
        if let Some(sample) = targets.iter().find(|target| is_destination(&target.to)) {
            self.check(&DialRequest { to: sample.to.clone(), ..base.clone() }).await?;
        }
        let id = self.id(BatchId::new);
        let batch = BatchRecord {
            id,
            organization_id: base.organization_id.clone(),
            status: BatchStatus::Queued,
            name: wishes.name,
            from_number: base.from.clone().map(Pii::new),
            agent_id: base.agent.clone(),
            scheduled_at: wishes.scheduled_at,
            cps: wishes.cps,
            max_concurrent: wishes.max_concurrent,
            metadata: wishes.metadata,
            total: targets.len() as u64,
            created_at: now,
            updated_at: now,
            completed_at: None,
        };
        let ids = self.ids(targets.len(), OrderId::new);
        let of_each =
            Wishes { retry: wishes.retry, concurrency: None, scheduled_at: wishes.scheduled_at };
        let mut orders = Vec::with_capacity(targets.len());
        for (id, target) in ids.into_iter().zip(targets) {
            let mut order = self.of_target(id, &base, target, &of_each, now);
            order.batch_id = Some(batch.id);
            orders.push(order);
        }
        self.store().insert_batch(&batch, &orders).await?;
        self.wake();
        Ok(batch)
    }

    fn of_target(
        &self,
        id: OrderId,
        base: &DialRequest,
        target: Target,
        wishes: &Wishes,
        now: jiff::Timestamp,
    ) -> OrderRecord {
        let mut request = DialRequest { to: target.to, ..base.clone() };
        request.overrides.variables = target.variables;
        request.overrides.context = target.context;
        if let Some(metadata) = target.metadata {
            request.metadata = metadata;
        }
        let drafted = is_destination(&request.to).then(|| self.draft(id, &request, wishes.clone()));
        let error = match drafted {
            Some(Ok(order)) => return order,
            Some(Err(error)) => OrderError::new("no_calling_window", error.to_string()),
            None => OrderError::new("invalid_number", "Invalid number"),
        };
        let organization = request.organization_id.clone();
        let mut order = OrderRecord::new(id, organization, request.to.clone(), now);
        order.from_number = base.from.clone().map(Pii::new);
        order.agent_id = base.agent.clone();
        order.retry = wishes.retry.clone();
        order.scheduled_at = wishes.scheduled_at;
        order.variables = Pii::new(request.overrides.variables);
        order.fail(error, now);
        order
    }

    /// Takes back what has not been dialled. Calls that ring are canceled, answered ones go on.
    ///
    /// # Errors
    /// When there is no such batch, or it is over.
    pub async fn cancel_batch(
        &self,
        organization: &OrganizationId,
        id: BatchId,
    ) -> Result<BatchRecord, ScheduleError> {
        let batch = self.store().batch(Some(organization), id).await?;
        let mut batch = batch.ok_or(ScheduleError::NotFound("batch"))?;
        if batch.status != BatchStatus::Queued {
            let message = format!("the batch is {}", batch.status.as_str());
            return Err(ScheduleError::State(message));
        }
        let now = clock::wall();
        batch.status = BatchStatus::Canceled;
        batch.updated_at = now;
        batch.completed_at = Some(now);
        let calls = self.store().cancel_orders(Group::Batch(id), now).await?;
        self.store().finish_batch(&batch, None).await?;
        self.stop_calls(&calls).await?;
        self.wake();
        Ok(batch)
    }
}
