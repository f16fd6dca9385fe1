//! What the end of a call means for its order, and the end of the last order for its batch or campaign.

use super::plan::{Next, after_attempt};
use super::{Handle, ScheduleError};
use crate::net::clock;
use crate::schema::batch::Batch;
use crate::schema::campaign::Campaign;
use crate::store::Group;
use crate::types::order::{
    AttemptEnd, BatchStatus, CampaignRecord, CampaignStatus, DO_NOT_CALL, OrderError, OrderRecord,
    OrderStatus, RetryPlan,
};
use crate::types::{CallRecord, EndReason, OrganizationId, OutboxEvent, OutboxKind, Outcome};

/// Ended attempts that are read at once.
const ENDED_MAX: u32 = 500;
/// How long the outcome of an order waits for what is made of its call afterwards.
const SETTLE_WAIT: jiff::SignedDuration = jiff::SignedDuration::from_secs(120);

/// The plan an order follows: its campaign's as it is now, in the lead's own zone if it has one.
pub(super) fn plan_of(order: &OrderRecord, campaign: Option<&CampaignRecord>) -> RetryPlan {
    match campaign {
        Some(campaign) => {
            let mut plan = campaign.retry.clone();
            if order.retry.timezone.is_some() {
                plan.timezone.clone_from(&order.retry.timezone);
            }
            plan
        }
        None => order.retry.clone(),
    }
}

impl Handle {
    /// Gives every order whose attempt is over its outcome. Returns how many.
    pub(super) async fn settle_ended(&self) -> Result<usize, ScheduleError> {
        let ended = self.store().ended_attempts(ENDED_MAX).await?;
        let now = clock::wall();
        let mut settled = 0;
        for (order, call) in ended {
            let waits = call.as_ref().is_some_and(|call| {
                call.is_settling()
                    && call.ended_at.is_some_and(|at| now.duration_since(at) < SETTLE_WAIT)
            });
            if !waits && self.settle(order, call, now).await? {
                settled += 1;
            }
        }
        Ok(settled)
    }

    async fn settle(
        &self,
        mut order: OrderRecord,
        call: Option<CallRecord>,
        now: jiff::Timestamp,
    ) -> Result<bool, ScheduleError> {
        let campaign = match order.campaign_id {
            Some(id) => self.store().campaign(None, id).await?,
            None => None,
        };
        let plan = plan_of(&order, campaign.as_ref());
        let end = AttemptEnd {
            outcome: call.as_ref().and_then(|call| call.outcome).unwrap_or(Outcome::Failed),
            reason: call
                .as_ref()
                .and_then(|call| call.end_reason)
                .unwrap_or(EndReason::InternalError),
            answered: call.as_ref().is_some_and(|call| call.answered_at.is_some()),
        };
        order.outcome = Some(end.outcome);
        order.result = call.as_ref().map(|call| call.status);
        order.updated_at = now;
        order.dial_now = false;
        let next = if order.stop {
            Next::Over
        } else {
            let to = order.to_number.reveal();
            // A campaign ends its leads; the time before it began does not.
            let expires = match campaign {
                Some(_) => jiff::Timestamp::MAX,
                None => order.expires_at(),
            };
            after_attempt(&plan, to, order.attempts_count, end, now, expires)
        };
        let kind = match next {
            Next::Retry(at) => {
                order.status = OrderStatus::WaitingRetry;
                order.next_attempt_at = Some(at);
                OutboxKind::OrderRetryScheduled
            }
            Next::Over => {
                if end.reason == EndReason::DoNotCall {
                    order.fail(OrderError::new(DO_NOT_CALL, end.reason.facts(false).sentence), now);
                } else if end.outcome == Outcome::Canceled || (order.stop && !end.answered) {
                    order.finish(OrderStatus::Canceled, now);
                } else {
                    order.finish(OrderStatus::Completed, now);
                }
                OutboxKind::OrderCompleted
            }
        };
        let event = self.order_event(kind, &order, call.as_ref()).await?;
        Ok(self.store().change_order(&order, Some(&event)).await?)
    }

    /// Ends batches and campaigns that have nothing left, and starts and ends campaigns whose time has come. Returns
    /// the campaigns that run.
    pub(super) async fn settle_groups(&self) -> Result<Vec<CampaignRecord>, ScheduleError> {
        let now = clock::wall();
        for mut batch in self.store().finished_batches().await? {
            let counts = self.store().count_orders(Group::Batch(batch.id)).await?;
            batch.status = BatchStatus::Completed;
            batch.updated_at = now;
            batch.completed_at = Some(now);
            let data = serde_json::json!({ "batch": Batch::new(&batch, &counts) });
            let event = group_event(OutboxKind::BatchCompleted, &batch.organization_id, now, data);
            self.store().finish_batch(&batch, Some(&event)).await?;
        }
        let mut running = Vec::new();
        for mut campaign in self.store().open_campaigns().await? {
            if campaign.status == CampaignStatus::Scheduled {
                if campaign.start_at.is_some_and(|at| at > now) {
                    continue;
                }
                campaign.status = CampaignStatus::Running;
                campaign.updated_at = now;
                let from = CampaignStatus::Scheduled;
                if !self.store().update_campaign(&campaign, from, false, None).await? {
                    continue;
                }
            }
            let out_of_time = campaign.end_at.is_some_and(|at| at <= now);
            if out_of_time {
                let calls = self.store().cancel_orders(Group::Campaign(campaign.id), now).await?;
                self.stop_calls(&calls).await?;
            }
            if out_of_time || self.store().is_campaign_finished(campaign.id).await? {
                self.finish_campaign(campaign, now).await?;
            } else {
                running.push(campaign);
            }
        }
        Ok(running)
    }

    async fn finish_campaign(
        &self,
        mut campaign: CampaignRecord,
        now: jiff::Timestamp,
    ) -> Result<(), ScheduleError> {
        let counts = self.store().count_orders(Group::Campaign(campaign.id)).await?;
        let from = campaign.status;
        campaign.status = CampaignStatus::Completed;
        campaign.updated_at = now;
        campaign.completed_at = Some(now);
        let data = serde_json::json!({ "campaign": Campaign::new(&campaign, &counts) });
        let kind = OutboxKind::CampaignCompleted;
        let event = group_event(kind, &campaign.organization_id, now, data);
        self.store().update_campaign(&campaign, from, false, Some(&event)).await?;
        Ok(())
    }
}

fn group_event(
    kind: OutboxKind,
    organization: &OrganizationId,
    at: jiff::Timestamp,
    data: serde_json::Value,
) -> OutboxEvent {
    OutboxEvent {
        kind,
        organization_id: organization.clone(),
        call_id: None,
        order_id: None,
        at,
        inline_url: None,
        data,
    }
}
