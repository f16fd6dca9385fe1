//! Campaigns and their leads.

use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, QueryBuilder, Row, Sqlite};

use super::page::{Sorting, page};
use super::{Store, classify, decode, decode_all, encode, groups, orders, outbox};
use crate::store::order::Found;
use crate::store::{Part, StoreError};
use crate::types::order::{CampaignRecord, CampaignStatus, LeadRecord, OrderRecord, OrderStatus};
use crate::types::{CallId, CampaignId, LeadId, OrganizationId, OutboxEvent};

/// What a campaign's calls came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CampaignStats {
    /// Calls by outcome.
    pub outcomes: Vec<(String, u64)>,
    /// Calls that are over.
    pub calls: u64,
    /// Those that were answered.
    pub answered: u64,
    /// Of the answered ones, together.
    pub talk_ms: u64,
    /// Longest of them.
    pub talk_ms_max: u64,
}

/// Campaigns.
impl Store {
    /// Adds a campaign.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn insert_campaign(&self, campaign: &CampaignRecord) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO campaigns (id, organization_id, status, created_us, record)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(campaign.id.to_string())
        .bind(campaign.organization_id.as_str())
        .bind(campaign.status.as_str())
        .bind(campaign.created_at.as_microsecond())
        .bind(encode(campaign)?)
        .execute(&self.writer)
        .await
        .map(drop)
        .map_err(classify)
    }

    /// A campaign; of any organization when none is named.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn campaign(
        &self,
        organization: Option<&OrganizationId>,
        id: CampaignId,
    ) -> Result<Option<CampaignRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT record FROM campaigns WHERE id = ?1 AND (?2 IS NULL OR organization_id = ?2)",
        )
        .bind(id.to_string())
        .bind(organization.map(OrganizationId::as_str))
        .fetch_optional(&self.readers)
        .await
        .map_err(classify)?;
        row.as_ref().map(decode).transpose()
    }

    /// A page of campaigns, newest first; any of `status`, or all when there is none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_campaigns(
        &self,
        organization: &OrganizationId,
        status: &[CampaignStatus],
        part: &Part,
    ) -> Result<Found<CampaignRecord>, StoreError> {
        let filters = |sql: &mut QueryBuilder<Sqlite>| {
            sql.push(" FROM campaigns WHERE organization_id = ");
            sql.push_bind(organization.as_str().to_owned());
            if !status.is_empty() {
                sql.push(" AND status IN (");
                let mut words = sql.separated(", ");
                for status in status {
                    words.push_bind(status.as_str());
                }
                sql.push(")");
            }
        };
        let mut snapshot = self.readers.begin().await.map_err(classify)?;
        page(&mut snapshot, "record", filters, Sorting::Newest, part, decode).await
    }

    /// Campaigns that run or will start by themselves.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open_campaigns(&self) -> Result<Vec<CampaignRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT record FROM campaigns WHERE status IN ('running', 'scheduled') LIMIT 1000",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(classify)?;
        decode_all(&rows)
    }

    /// Whether a campaign has leads, and none that is open.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn is_campaign_finished(&self, id: CampaignId) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM orders WHERE campaign_id = ?1) AND NOT EXISTS (
                 SELECT 1 FROM orders WHERE campaign_id = ?1 AND over = 0)",
        )
        .bind(id.to_string())
        .fetch_one(&self.readers)
        .await
        .map_err(classify)
    }

    /// Writes a campaign, if its status is still `from`; says whether it was. `look_again` puts every lead that waits
    /// for a window before the scheduler once more, because the windows changed.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn update_campaign(
        &self,
        campaign: &CampaignRecord,
        from: CampaignStatus,
        look_again: bool,
        event: Option<&OutboxEvent>,
    ) -> Result<bool, StoreError> {
        let mut connection = self.durable().await?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        let done = sqlx::query(
            "UPDATE campaigns SET status = ?2, record = ?3 WHERE id = ?1 AND status = ?4",
        )
        .bind(campaign.id.to_string())
        .bind(campaign.status.as_str())
        .bind(encode(campaign)?)
        .bind(from.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(classify)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        if look_again {
            sqlx::query(
                "UPDATE orders SET due_us = ?2 WHERE campaign_id = ?1 AND over = 0
                     AND status IN ('queued', 'scheduled') AND due_us > ?2",
            )
            .bind(campaign.id.to_string())
            .bind(campaign.updated_at.as_microsecond())
            .execute(&mut *transaction)
            .await
            .map_err(classify)?;
        }
        if let Some(event) = event {
            outbox::insert(&mut transaction, event).await?;
        }
        transaction.commit().await.map_err(classify)?;
        self.news.notify_one();
        Ok(true)
    }

    /// Removes a campaign and its leads; orders that were dialled stay, the others are canceled. Says whether it was.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn delete_campaign(
        &self,
        organization: &OrganizationId,
        id: CampaignId,
    ) -> Result<bool, StoreError> {
        sqlx::query("DELETE FROM campaigns WHERE id = ?1 AND organization_id = ?2")
            .bind(id.to_string())
            .bind(organization.as_str())
            .execute(&self.writer)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(classify)
    }

    /// What the calls of a campaign came to.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn campaign_stats(&self, id: CampaignId) -> Result<CampaignStats, StoreError> {
        let rows = sqlx::query(
            "SELECT c.outcome, count(*), count(t.ms), coalesce(sum(t.ms), 0), coalesce(max(t.ms), 0)
             FROM orders o JOIN attempts a ON a.order_id = o.id
             JOIN (SELECT id, outcome, ended, json_extract(record, '$.talk_ms') AS ms FROM calls) t
                 ON t.id = a.call_id
             JOIN calls c ON c.id = a.call_id
             WHERE o.campaign_id = ?1 AND c.ended = 1 GROUP BY c.outcome",
        )
        .bind(id.to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(classify)?;
        let mut stats = CampaignStats::default();
        for row in &rows {
            let number = |at: usize| -> Result<u64, StoreError> {
                let n: i64 = row.try_get(at).map_err(classify)?;
                Ok(u64::try_from(n).unwrap_or(0))
            };
            let outcome: Option<String> = row.try_get(0).map_err(classify)?;
            stats.outcomes.push((outcome.unwrap_or_default(), number(1)?));
            stats.calls += number(1)?;
            stats.answered += number(2)?;
            stats.talk_ms += number(3)?;
            stats.talk_ms_max = stats.talk_ms_max.max(number(4)?);
        }
        Ok(stats)
    }
}

/// Leads.
impl Store {
    /// Adds leads and their orders, all or none, synced. A number that is there already is refused, unless the lead may
    /// be a copy.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if a number is in the campaign already.
    pub async fn insert_leads(
        &self,
        leads: &[(LeadRecord, OrderRecord)],
        copies: bool,
    ) -> Result<(), StoreError> {
        let mut connection = self.durable().await?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        for (lead, order) in leads {
            let id = lead.id.to_string();
            sqlx::query(
                "INSERT INTO leads (id, campaign_id, number, copy, order_id, record)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )
            .bind(&id)
            .bind(lead.campaign_id.to_string())
            .bind(lead.phone_number.reveal())
            .bind(if copies { id.as_str() } else { "" })
            .bind(lead.order_id.to_string())
            .bind(encode(lead)?)
            .execute(&mut *transaction)
            .await
            .map_err(classify)?;
            orders::insert(&mut transaction, order).await?;
        }
        transaction.commit().await.map_err(classify)
    }

    /// Which of these numbers are in a campaign already.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn known_leads(
        &self,
        campaign: CampaignId,
        numbers: &[&str],
    ) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        let mut snapshot = self.readers.begin().await.map_err(classify)?;
        for number in numbers {
            let known: bool = sqlx::query_scalar(
                "SELECT EXISTS (SELECT 1 FROM leads WHERE campaign_id = ?1 AND number = ?2)",
            )
            .bind(campaign.to_string())
            .bind(*number)
            .fetch_one(&mut *snapshot)
            .await
            .map_err(classify)?;
            if known {
                found.push((*number).to_owned());
            }
        }
        Ok(found)
    }

    /// Leads of a campaign.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn count_leads(&self, campaign: CampaignId) -> Result<u64, StoreError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM leads WHERE campaign_id = ?1")
            .bind(campaign.to_string())
            .fetch_one(&self.readers)
            .await
            .map_err(classify)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// A page of a campaign's leads, first come first, each with its order; any of `status`, or all.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_leads(
        &self,
        campaign: CampaignId,
        status: &LeadFilter,
        part: &Part,
    ) -> Result<Found<(LeadRecord, OrderRecord)>, StoreError> {
        let filters = |sql: &mut QueryBuilder<Sqlite>| {
            sql.push(" FROM leads l JOIN orders o ON o.id = l.order_id WHERE l.campaign_id = ");
            sql.push_bind(campaign.to_string());
            if let Some(orders) = &status.orders {
                sql.push(" AND (0");
                for (status, error) in orders {
                    sql.push(" OR (o.status = ").push_bind(status.as_str());
                    match error {
                        None => {}
                        Some(ErrorIs(true)) => {
                            sql.push(" AND json_extract(o.record, '$.error.code') = 'do_not_call'");
                        }
                        Some(ErrorIs(false)) => {
                            sql.push(
                                " AND json_extract(o.record, '$.error.code') IS NOT 'do_not_call'",
                            );
                        }
                    }
                    sql.push(")");
                }
                sql.push(")");
            }
        };
        let read = |row: &SqliteRow| {
            let order: &str = row.try_get(1).map_err(classify)?;
            Ok((decode(row)?, serde_json::from_str(order).map_err(StoreError::Decode)?))
        };
        let mut snapshot = self.readers.begin().await.map_err(classify)?;
        page(&mut snapshot, "l.record, o.record", filters, Sorting::Leads, part, read).await
    }

    /// Removes a lead and cancels its order. `None`: there is no such lead; otherwise the call that is under way.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn delete_lead(
        &self,
        campaign: CampaignId,
        lead: LeadId,
        now: jiff::Timestamp,
    ) -> Result<Option<Option<CallId>>, StoreError> {
        let mut connection = self.relaxed().await?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        let order: Option<String> = sqlx::query_scalar(
            "DELETE FROM leads WHERE id = ?1 AND campaign_id = ?2 RETURNING order_id",
        )
        .bind(lead.to_string())
        .bind(campaign.to_string())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(classify)?;
        let Some(order) = order.and_then(|id| id.parse().ok()) else { return Ok(None) };
        let call = groups::cancel_one(&mut transaction, order, now).await?;
        transaction.commit().await.map_err(classify)?;
        Ok(Some(call))
    }
}

/// Whether an order's error is that its number is on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorIs(
    /// `do_not_call`, or anything else.
    pub bool,
);

/// Which leads, by the state of their orders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeadFilter {
    /// Any of these; `None`: all.
    pub orders: Option<Vec<(OrderStatus, Option<ErrorIs>)>>,
}
