//! Batches, and the do-not-call list.

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, QueryBuilder, Row, Sqlite};

use super::page::{Sorting, page};
use super::{Store, classify, decode, decode_all, encode, orders, outbox};
use crate::store::order::Found;
use crate::store::{PageRequest, Part, StoreError};
use crate::types::order::{BatchRecord, DoNotCallRecord, OrderCounts, OrderRecord, OrderStatus};
use crate::types::{BatchId, CallId, CallStatus, CampaignId, OrderId, OrganizationId, OutboxEvent};

/// Whose orders are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// A batch's.
    Batch(BatchId),
    /// A campaign's.
    Campaign(CampaignId),
}

impl Group {
    fn column(self) -> &'static str {
        match self {
            Self::Batch(_) => "batch_id",
            Self::Campaign(_) => "campaign_id",
        }
    }

    /// Which of its orders count: those of leads that were taken out of a campaign do not.
    fn counted(self) -> &'static str {
        match self {
            Self::Batch(_) => "batch_id = ?1",
            Self::Campaign(_) => {
                "campaign_id = ?1 AND id IN (SELECT order_id FROM leads WHERE campaign_id = ?1)"
            }
        }
    }

    fn id(self) -> String {
        match self {
            Self::Batch(id) => id.to_string(),
            Self::Campaign(id) => id.to_string(),
        }
    }
}

/// Orders of a batch or campaign, together.
impl Store {
    /// How many stand where.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn count_orders(&self, group: Group) -> Result<OrderCounts, StoreError> {
        let counted = group.counted();
        let mut snapshot = self.readers.begin().await.map_err(classify)?;
        let resting = format!(
            "SELECT status, result, count(*) FROM orders WHERE {counted} GROUP BY status, result"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(resting))
            .bind(group.id())
            .fetch_all(&mut *snapshot)
            .await
            .map_err(classify)?;
        let mut counts = OrderCounts::default();
        for row in &rows {
            let status: String = row.try_get(0).map_err(classify)?;
            let result: Option<String> = row.try_get(1).map_err(classify)?;
            let n: i64 = row.try_get(2).map_err(classify)?;
            let of_call = result.as_deref().and_then(CallStatus::parse);
            let status = match OrderStatus::parse(&status) {
                Some(OrderStatus::Calling) => continue,
                Some(OrderStatus::Completed) => of_call.unwrap_or(CallStatus::Completed),
                Some(OrderStatus::Canceled) => CallStatus::Canceled,
                Some(OrderStatus::Errored) => CallStatus::Failed,
                _ => CallStatus::Queued,
            };
            counts.add(status, u64::try_from(n).unwrap_or(0));
        }
        let calling = format!(
            "SELECT c.status, count(*) FROM orders o LEFT JOIN calls c ON c.id = o.call_id
             WHERE o.id IN (SELECT id FROM orders WHERE {counted}) AND o.status = 'calling' GROUP BY c.status"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(calling))
            .bind(group.id())
            .fetch_all(&mut *snapshot)
            .await
            .map_err(classify)?;
        for row in &rows {
            let status: Option<String> = row.try_get(0).map_err(classify)?;
            let n: i64 = row.try_get(1).map_err(classify)?;
            let status = status.as_deref().and_then(CallStatus::parse);
            counts.add(status.unwrap_or(CallStatus::Queued), u64::try_from(n).unwrap_or(0));
        }
        Ok(counts)
    }

    /// Takes back every order that is not being dialled, and the further attempts of those that are. Returns the calls
    /// that are under way.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn cancel_orders(
        &self,
        group: Group,
        now: jiff::Timestamp,
    ) -> Result<Vec<CallId>, StoreError> {
        let column = group.column();
        let mut connection = self.relaxed().await?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        let resting = format!(
            "UPDATE orders SET status = 'canceled', over = 1, due_us = NULL, version = version + 1,
                 record = json_set(record, '$.status', 'canceled', '$.next_attempt_at', NULL,
                     '$.completed_at', ?2, '$.updated_at', ?2, '$.version', version + 1)
             WHERE {column} = ?1 AND over = 0 AND status <> 'calling'"
        );
        let calling = format!(
            "UPDATE orders SET version = version + 1,
                 record = json_set(record, '$.stop', json('true'), '$.version', version + 1)
             WHERE {column} = ?1 AND status = 'calling' RETURNING call_id"
        );
        sqlx::query(sqlx::AssertSqlSafe(resting))
            .bind(group.id())
            .bind(now.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(classify)?;
        let calls: Vec<Option<String>> = sqlx::query_scalar(sqlx::AssertSqlSafe(calling))
            .bind(group.id())
            .fetch_all(&mut *transaction)
            .await
            .map_err(classify)?;
        transaction.commit().await.map_err(classify)?;
        Ok(calls.into_iter().flatten().filter_map(|id| id.parse().ok()).collect())
    }
}

/// Batches.
impl Store {
    /// Adds a batch and its orders, all or none, synced.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn insert_batch(
        &self,
        batch: &BatchRecord,
        orders: &[OrderRecord],
    ) -> Result<(), StoreError> {
        let mut connection = self.durable().await?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        sqlx::query(
            "INSERT INTO batches (id, organization_id, status, created_us, record)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .bind(batch.id.to_string())
        .bind(batch.organization_id.as_str())
        .bind(batch.status.as_str())
        .bind(batch.created_at.as_microsecond())
        .bind(encode(batch)?)
        .execute(&mut *transaction)
        .await
        .map_err(classify)?;
        for order in orders {
            orders::insert(&mut transaction, order).await?;
        }
        transaction.commit().await.map_err(classify)
    }

    /// A batch; of any organization when none is named.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn batch(
        &self,
        organization: Option<&OrganizationId>,
        id: BatchId,
    ) -> Result<Option<BatchRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT record FROM batches WHERE id = ?1 AND (?2 IS NULL OR organization_id = ?2)",
        )
        .bind(id.to_string())
        .bind(organization.map(OrganizationId::as_str))
        .fetch_optional(&self.readers)
        .await
        .map_err(classify)?;
        row.as_ref().map(decode).transpose()
    }

    /// A page of batches, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_batches(
        &self,
        organization: &OrganizationId,
        part: &Part,
    ) -> Result<Found<BatchRecord>, StoreError> {
        let filters = |sql: &mut QueryBuilder<Sqlite>| {
            sql.push(" FROM batches WHERE organization_id = ");
            sql.push_bind(organization.as_str().to_owned());
        };
        let mut snapshot = self.readers.begin().await.map_err(classify)?;
        page(&mut snapshot, "record", filters, Sorting::Newest, part, decode).await
    }

    /// Batches that are open although each of their orders is over.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn finished_batches(&self) -> Result<Vec<BatchRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT record FROM batches b WHERE status = 'queued' AND NOT EXISTS (
                 SELECT 1 FROM orders o WHERE o.batch_id = b.id AND o.over = 0) LIMIT 100",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(classify)?;
        decode_all(&rows)
    }

    /// Ends a batch once; says whether it was open.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn finish_batch(
        &self,
        batch: &BatchRecord,
        event: Option<&OutboxEvent>,
    ) -> Result<bool, StoreError> {
        let mut connection = self.relaxed().await?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        let done = sqlx::query(
            "UPDATE batches SET status = ?2, record = ?3 WHERE id = ?1 AND status = 'queued'",
        )
        .bind(batch.id.to_string())
        .bind(batch.status.as_str())
        .bind(encode(batch)?)
        .execute(&mut *transaction)
        .await
        .map_err(classify)?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        if let Some(event) = event {
            outbox::insert(&mut transaction, event).await?;
        }
        transaction.commit().await.map_err(classify)?;
        self.news.notify_one();
        Ok(true)
    }

    /// A page of a batch's orders in the order they were given, each with the state of its newest call.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn batch_orders(
        &self,
        id: BatchId,
        page: PageRequest,
    ) -> Result<Vec<(OrderRecord, Option<crate::types::CallRecord>)>, StoreError> {
        let rows = sqlx::query(
            "SELECT o.record, c.record FROM orders o LEFT JOIN calls c ON c.id = o.call_id
             WHERE o.batch_id = ?1 ORDER BY o.id LIMIT ?2 OFFSET ?3",
        )
        .bind(id.to_string())
        .bind(i64::from(page.page_size()))
        .bind(i64::try_from(page.offset()).unwrap_or(i64::MAX))
        .fetch_all(&self.readers)
        .await
        .map_err(classify)?;
        rows.iter()
            .map(|row| {
                let call: Option<&str> = row.try_get(1).map_err(classify)?;
                let call = call.map(serde_json::from_str).transpose();
                Ok((decode(row)?, call.map_err(StoreError::Decode)?))
            })
            .collect()
    }
}

/// The do-not-call list.
impl Store {
    /// Adds numbers; says how many were not on the list.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn insert_do_not_call(&self, entries: &[DoNotCallRecord]) -> Result<u64, StoreError> {
        let mut connection = self.durable().await?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        let mut added = 0;
        for entry in entries {
            let done = sqlx::query(
                "INSERT INTO do_not_call (organization_id, number, created_us, record)
                 VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            )
            .bind(entry.organization_id.as_str())
            .bind(entry.phone_number.reveal())
            .bind(entry.created_at.as_microsecond())
            .bind(encode(entry)?)
            .execute(&mut *transaction)
            .await
            .map_err(classify)?;
            added += done.rows_affected();
        }
        transaction.commit().await.map_err(classify)?;
        Ok(added)
    }

    /// An entry by its number.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn do_not_call(
        &self,
        organization: &OrganizationId,
        number: &str,
    ) -> Result<Option<DoNotCallRecord>, StoreError> {
        let row = sqlx::query(
            "SELECT record FROM do_not_call WHERE organization_id = ?1 AND number = ?2",
        )
        .bind(organization.as_str())
        .bind(number)
        .fetch_optional(&self.readers)
        .await
        .map_err(classify)?;
        row.as_ref().map(decode).transpose()
    }

    /// A page of the list, newest first, or the one entry with this number.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_do_not_call(
        &self,
        organization: &OrganizationId,
        part: &Part,
    ) -> Result<Found<DoNotCallRecord>, StoreError> {
        let filters = |sql: &mut QueryBuilder<Sqlite>| {
            sql.push(" FROM do_not_call WHERE organization_id = ");
            sql.push_bind(organization.as_str().to_owned());
        };
        let mut snapshot = self.readers.begin().await.map_err(classify)?;
        page(&mut snapshot, "record", filters, Sorting::Numbers, part, decode).await
    }

    /// Removes a number; says whether it was on the list.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn delete_do_not_call(
        &self,
        organization: &OrganizationId,
        number: &str,
    ) -> Result<bool, StoreError> {
        sqlx::query("DELETE FROM do_not_call WHERE organization_id = ?1 AND number = ?2")
            .bind(organization.as_str())
            .bind(number)
            .execute(&self.writer)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(classify)
    }
}

/// Writes that an order is canceled, wherever it stands, in a transaction of others.
pub(super) async fn cancel_one(
    connection: &mut SqliteConnection,
    id: OrderId,
    now: jiff::Timestamp,
) -> Result<Option<CallId>, StoreError> {
    let calling: Option<Option<String>> = sqlx::query_scalar(
        "UPDATE orders SET version = version + 1,
             record = json_set(record, '$.stop', json('true'), '$.version', version + 1)
         WHERE id = ?1 AND status = 'calling' RETURNING call_id",
    )
    .bind(id.to_string())
    .fetch_optional(&mut *connection)
    .await
    .map_err(classify)?;
    if let Some(call) = calling {
        return Ok(call.and_then(|id| id.parse().ok()));
    }
    sqlx::query(
        "UPDATE orders SET status = 'canceled', over = 1, due_us = NULL, version = version + 1,
             record = json_set(record, '$.status', 'canceled', '$.next_attempt_at', NULL,
                 '$.completed_at', ?2, '$.updated_at', ?2, '$.version', version + 1)
         WHERE id = ?1 AND over = 0",
    )
    .bind(id.to_string())
    .bind(now.to_string())
    .execute(connection)
    .await
    .map(|_| None)
    .map_err(classify)
}
