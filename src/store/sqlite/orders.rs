//! Orders and their attempts. What the scheduler decides is written here, each decision in one transaction.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, QueryBuilder, Row, Sqlite};

use super::page::{Sorting, page};
use super::{Store, calls, classify, decode, decode_all, encode, outbox};
use crate::store::StoreError;
use crate::store::order::{Found, Gate, Lane, OrderQuery, Running, suppression_key};
use crate::types::order::OrderRecord;
use crate::types::{CallId, CallRecord, OrderId, OrganizationId, OutboxEvent};

/// Lanes that are looked at; more wait until one of them is empty.
const LANES_MAX: i64 = 1_000;

/// Orders.
impl Store {
    /// Adds an order and, for one whose first call is promised already, that call.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn insert_order(
        &self,
        order: &OrderRecord,
        first: Option<&CallRecord>,
    ) -> Result<(), StoreError> {
        let mut connection = self.durable().await?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        insert(&mut transaction, order).await?;
        if let Some(call) = first {
            calls::put(&mut transaction, call).await?;
            insert_attempt(&mut transaction, order, call.id, 1).await?;
        }
        transaction.commit().await.map_err(classify)?;
        self.news.notify_one();
        Ok(())
    }

    /// An order of an organization.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn order(
        &self,
        organization: &OrganizationId,
        id: OrderId,
    ) -> Result<Option<OrderRecord>, StoreError> {
        let row = sqlx::query("SELECT record FROM orders WHERE id = ?1 AND organization_id = ?2")
            .bind(id.to_string())
            .bind(organization.as_str())
            .fetch_optional(&self.readers)
            .await
            .map_err(classify)?;
        row.as_ref().map(decode).transpose()
    }

    /// A page of orders, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_orders(&self, query: &OrderQuery) -> Result<Found<OrderRecord>, StoreError> {
        let mut snapshot = self.readers.begin().await.map_err(classify)?;
        let filters = |sql: &mut QueryBuilder<Sqlite>| {
            sql.push(" FROM orders WHERE organization_id = ");
            sql.push_bind(query.organization_id.as_str().to_owned());
            if !query.status.is_empty() {
                sql.push(" AND status IN (");
                let mut words = sql.separated(", ");
                for status in &query.status {
                    words.push_bind(status.as_str());
                }
                sql.push(")");
            }
            if let Some(batch) = query.batch_id {
                sql.push(" AND batch_id = ").push_bind(batch.to_string());
            }
            if let Some(campaign) = query.campaign_id {
                sql.push(" AND campaign_id = ").push_bind(campaign.to_string());
            }
        };
        page(&mut snapshot, "record", filters, Sorting::Newest, &query.part, decode).await
    }

    /// The calls of an order, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn attempts(&self, id: OrderId) -> Result<Vec<CallRecord>, StoreError> {
        let rows = sqlx::query(
            "SELECT c.record FROM attempts a JOIN calls c ON c.id = a.call_id
             WHERE a.order_id = ?1 ORDER BY a.attempt DESC",
        )
        .bind(id.to_string())
        .fetch_all(&self.readers)
        .await
        .map_err(classify)?;
        decode_all(&rows)
    }

    /// Who has orders that wait, each with the time its first is due. Skips from lane to lane in the index, however
    /// many orders a lane has.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn lanes(&self) -> Result<Vec<Lane>, StoreError> {
        let rows = sqlx::query(
            "WITH RECURSIVE l(lane) AS (
                 SELECT min(lane) FROM orders WHERE due_us IS NOT NULL
                 UNION ALL
                 SELECT (SELECT min(o.lane) FROM orders o
                         WHERE o.due_us IS NOT NULL AND o.lane > l.lane)
                 FROM l WHERE l.lane IS NOT NULL LIMIT ?1)
             SELECT lane, (SELECT min(due_us) FROM orders o
                           WHERE o.lane = l.lane AND o.due_us IS NOT NULL)
             FROM l WHERE lane IS NOT NULL",
        )
        .bind(LANES_MAX)
        .fetch_all(&self.readers)
        .await
        .map_err(classify)?;
        rows.iter()
            .map(|row| {
                let due: i64 = row.try_get(1).map_err(classify)?;
                let due = jiff::Timestamp::from_microsecond(due).unwrap_or_default();
                Ok(Lane { name: row.try_get(0).map_err(classify)?, due })
            })
            .collect()
    }

    /// The first orders of a lane that are due, leaving out those whose concurrency key is in `busy`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn due_orders(
        &self,
        lane: &str,
        now: jiff::Timestamp,
        busy: &[String],
        limit: u32,
    ) -> Result<Vec<OrderRecord>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new(
            "SELECT record FROM orders WHERE due_us IS NOT NULL AND lane = ",
        );
        sql.push_bind(lane.to_owned()).push(" AND due_us <= ").push_bind(now.as_microsecond());
        if !busy.is_empty() {
            sql.push(" AND (concurrency_key IS NULL OR concurrency_key NOT IN (");
            let mut keys = sql.separated(", ");
            for key in busy {
                keys.push_bind(key.clone());
            }
            sql.push("))");
        }
        sql.push(" ORDER BY due_us, id LIMIT ").push_bind(i64::from(limit));
        let rows = sql.build().fetch_all(&self.readers).await.map_err(classify)?;
        decode_all(&rows)
    }

    /// Every attempt whose call is not over.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn running_attempts(&self) -> Result<Vec<Running>, StoreError> {
        let rows = sqlx::query(
            "SELECT o.lane, o.organization_id, o.concurrency_key
             FROM orders o JOIN calls c ON c.id = o.call_id
             WHERE o.status = 'calling' AND c.ended = 0",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(classify)?;
        rows.iter()
            .map(|row| {
                Ok(Running {
                    lane: row.try_get(0).map_err(classify)?,
                    organization_id: row.try_get(1).map_err(classify)?,
                    concurrency_key: row.try_get(2).map_err(classify)?,
                })
            })
            .collect()
    }

    /// Orders whose attempt is over, or lost, and which do not know it yet.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn ended_attempts(
        &self,
        limit: u32,
    ) -> Result<Vec<(OrderRecord, Option<CallRecord>)>, StoreError> {
        let rows = sqlx::query(
            "SELECT o.record, c.record FROM orders o LEFT JOIN calls c ON c.id = o.call_id
             WHERE o.status = 'calling' AND (c.ended = 1 OR c.id IS NULL) LIMIT ?1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(classify)?;
        let call = |row: &SqliteRow| -> Result<Option<CallRecord>, StoreError> {
            let text: Option<&str> = row.try_get(1).map_err(classify)?;
            text.map(|text| serde_json::from_str(text).map_err(StoreError::Decode)).transpose()
        };
        rows.iter().map(|row| Ok((decode(row)?, call(row)?))).collect()
    }

    /// Begins an attempt, all of it or nothing: the order is `calling`, the attempt counted, its call queued, and
    /// what the dialler needs kept. `false`: the order was changed meanwhile.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn begin_attempt(
        &self,
        order: &OrderRecord,
        call: &CallRecord,
        request: &serde_json::Value,
    ) -> Result<bool, StoreError> {
        let mut connection = self.relaxed().await?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        if !update(&mut transaction, order).await? {
            return Ok(false);
        }
        calls::put(&mut transaction, call).await?;
        insert_attempt(&mut transaction, order, call.id, order.attempts_count).await?;
        insert_dial(&mut transaction, call.id, request).await?;
        transaction.commit().await.map_err(classify)?;
        self.news.notify_one();
        Ok(true)
    }

    /// Writes an order that was decided on, with the event that tells of it. `false`: the order was changed meanwhile,
    /// and nothing is written.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn change_order(
        &self,
        order: &OrderRecord,
        event: Option<&OutboxEvent>,
    ) -> Result<bool, StoreError> {
        let mut connection = self.relaxed().await?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        if !update(&mut transaction, order).await? {
            return Ok(false);
        }
        if let Some(event) = event {
            outbox::insert(&mut transaction, event).await?;
        }
        transaction.commit().await.map_err(classify)?;
        self.news.notify_one();
        Ok(true)
    }
}

/// Calls that wait to be dialled.
impl Store {
    /// Promises a call: its record and what it takes to dial it, on disk and synced.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn queue_call(
        &self,
        call: &CallRecord,
        request: &serde_json::Value,
    ) -> Result<(), StoreError> {
        let mut connection = self.durable().await?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        calls::put(&mut transaction, call).await?;
        insert_dial(&mut transaction, call.id, request).await?;
        transaction.commit().await.map_err(classify)?;
        self.news.notify_one();
        Ok(())
    }

    /// Asks whether a queued call may leave, and writes that it does, synced: `call` is its record as `initiated`.
    /// Whatever happens afterwards, it is never dialled again.
    ///
    /// # Errors
    /// When the store cannot be written; the call must not leave then.
    pub async fn begin_dial(&self, call: &CallRecord) -> Result<Gate, StoreError> {
        let mut connection = self.durable().await?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        let status: Option<String> = sqlx::query_scalar("SELECT status FROM calls WHERE id = ?1")
            .bind(call.id.to_string())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(classify)?;
        if status.as_deref() != Some("queued") {
            return Ok(Gate::Gone);
        }
        if is_suppressed(&mut transaction, &call.organization_id, call.to_number.reveal()).await? {
            return Ok(Gate::DoNotCall);
        }
        calls::put(&mut transaction, call).await?;
        transaction.commit().await.map_err(classify)?;
        self.news.notify_one();
        Ok(Gate::Go)
    }

    /// Calls that were promised and never dialled, oldest first, with what it takes to dial them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn queued_calls(&self) -> Result<Vec<(CallRecord, serde_json::Value)>, StoreError> {
        let rows = sqlx::query(
            "SELECT c.record, d.request FROM dials d JOIN calls c ON c.id = d.call_id
             WHERE c.status = 'queued' ORDER BY c.id",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(classify)?;
        rows.iter()
            .map(|row| {
                let request: &str = row.try_get(1).map_err(classify)?;
                Ok((decode(row)?, serde_json::from_str(request).map_err(StoreError::Decode)?))
            })
            .collect()
    }

    /// Whether a queued call waits for something that will come: its dial, or the time of its order.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn waits_to_be_dialled(&self, id: CallId) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM dials WHERE call_id = ?1)
                 OR EXISTS (SELECT 1 FROM orders WHERE call_id = ?1 AND due_us IS NOT NULL)",
        )
        .bind(id.to_string())
        .fetch_one(&self.readers)
        .await
        .map_err(classify)
    }

    /// Trunks by which a call left at or after `since`.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn trunks_dialled_since(
        &self,
        since: jiff::Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        // `sort_us` is never before `initiated_at`, and the index on it makes this a look at the newest rows.
        sqlx::query_scalar(
            "SELECT DISTINCT trunk FROM calls
             WHERE sort_us >= ?1 AND direction = 'outbound' AND trunk IS NOT NULL",
        )
        .bind(since.as_microsecond())
        .fetch_all(&self.readers)
        .await
        .map_err(classify)
    }

    /// Whether nobody of the organization is to call a number.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn is_do_not_call(
        &self,
        organization: &OrganizationId,
        destination: &str,
    ) -> Result<bool, StoreError> {
        let mut connection = self.readers.acquire().await.map_err(classify)?;
        is_suppressed(&mut connection, organization, destination).await
    }
}

async fn is_suppressed(
    connection: &mut SqliteConnection,
    organization: &OrganizationId,
    destination: &str,
) -> Result<bool, StoreError> {
    let Some(number) = suppression_key(destination) else { return Ok(false) };
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM do_not_call WHERE organization_id = ?1 AND number = ?2)",
    )
    .bind(organization.as_str())
    .bind(number)
    .fetch_one(connection)
    .await
    .map_err(classify)
}

pub(super) async fn insert(
    connection: &mut SqliteConnection,
    order: &OrderRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO orders (id, organization_id, status, result, over, lane, due_us,
             concurrency_key, attempts, batch_id, campaign_id, call_id, version, created_us, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )
    .bind(order.id.to_string())
    .bind(order.organization_id.as_str())
    .bind(order.status.as_str())
    .bind(order.result.map(|status| status.as_str()))
    .bind(i64::from(order.status.is_over()))
    .bind(order.lane())
    .bind(order.next_attempt_at.map(jiff::Timestamp::as_microsecond))
    .bind(concurrency_key(order))
    .bind(i64::from(order.attempts_count))
    .bind(order.batch_id.map(|id| id.to_string()))
    .bind(order.campaign_id.map(|id| id.to_string()))
    .bind(order.call_id.map(|id| id.to_string()))
    .bind(i64::try_from(order.version).unwrap_or(i64::MAX))
    .bind(order.created_at.as_microsecond())
    .bind(encode(order)?)
    .execute(connection)
    .await
    .map(drop)
    .map_err(classify)
}

/// Writes an order over the version it was read as; says whether it still stood.
async fn update(
    connection: &mut SqliteConnection,
    order: &OrderRecord,
) -> Result<bool, StoreError> {
    let mut next = order.clone();
    next.version += 1;
    let done = sqlx::query(
        "UPDATE orders SET status = ?2, result = ?3, over = ?4, due_us = ?5, attempts = ?6,
             call_id = ?7, record = ?8, version = version + 1
         WHERE id = ?1 AND version = ?9",
    )
    .bind(order.id.to_string())
    .bind(order.status.as_str())
    .bind(order.result.map(|status| status.as_str()))
    .bind(i64::from(order.status.is_over()))
    .bind(order.next_attempt_at.map(jiff::Timestamp::as_microsecond))
    .bind(i64::from(order.attempts_count))
    .bind(order.call_id.map(|id| id.to_string()))
    .bind(encode(&next)?)
    .bind(i64::try_from(order.version).unwrap_or(i64::MAX))
    .execute(connection)
    .await
    .map_err(classify)?;
    Ok(done.rows_affected() == 1)
}

async fn insert_attempt(
    connection: &mut SqliteConnection,
    order: &OrderRecord,
    call: CallId,
    attempt: u32,
) -> Result<(), StoreError> {
    // The first call may have been promised with the order; any other call for the same attempt is an error.
    sqlx::query(
        "INSERT INTO attempts (order_id, attempt, call_id) VALUES (?1, ?2, ?3)
         ON CONFLICT (order_id, attempt) DO UPDATE SET call_id = excluded.call_id
         WHERE attempts.call_id = excluded.call_id",
    )
    .bind(order.id.to_string())
    .bind(i64::from(attempt))
    .bind(call.to_string())
    .execute(connection)
    .await
    .map_err(classify)
    .and_then(|done| if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Taken) })
}

async fn insert_dial(
    connection: &mut SqliteConnection,
    call: CallId,
    request: &serde_json::Value,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO dials (call_id, request) VALUES (?1, ?2)")
        .bind(call.to_string())
        .bind(encode(request)?)
        .execute(connection)
        .await
        .map(drop)
        .map_err(classify)
}

/// A key is an organization's own: the same word of another is another key.
fn concurrency_key(order: &OrderRecord) -> Option<String> {
    order.concurrency.as_ref().map(|limit| format!("{} {}", order.organization_id, limit.key))
}
