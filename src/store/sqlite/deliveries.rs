//! Webhooks: events that leave the outbox, and their deliveries.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Connection, QueryBuilder, Row, Sqlite};

use super::{Store, classify, outbox};
use crate::store::delivery::{
    Attempt, DELIVERIES_MAX, Delivery, DeliveryQuery, DeliveryStatus, ENDPOINT_KIND, Expansion,
    InlineDelivery, NewDelivery, StoredEvent,
};
use crate::store::{Resource, StoreError};
use crate::types::{CallId, OrganizationId, OutboxEvent, OutboxKind};

const COLUMNS: &str =
    "id, event_id, event_type, organization_id, endpoint_id, call_id, order_id, destination, url,
     status, attempt_count, tries, manual_retry_count, next_us, last_error, last_response_status,
     delivered_us, created_us, updated_us";
/// Destinations that are looked at in one pass; the rest gets its turn when these are served.
const DESTINATIONS_MAX: i64 = 1_000;

/// Events on their way out.
impl Store {
    /// Rings when events were written to the outbox.
    pub fn news(&self) -> &tokio::sync::Notify {
        &self.news
    }

    /// Events whose destinations are not chosen yet, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new_events(&self, limit: u32) -> Result<Vec<StoredEvent>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, id, organization_id, call_id, order_id, type, at_us, inline_url, data
             FROM outbox WHERE expanded = 0 ORDER BY seq LIMIT ?1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await
        .map_err(classify)?;
        rows.iter().map(read_event).collect()
    }

    /// Writes what the events say and whom it is for, all or none. What the outbox held of them is then gone.
    ///
    /// # Errors
    /// When the store cannot be written; nothing is written then.
    pub async fn expand(
        &self,
        expansions: &[Expansion],
        now: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await.map_err(classify)?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        for expansion in expansions {
            expand(&mut transaction, expansion, now).await?;
            sqlx::query(
                "UPDATE outbox SET expanded = 1, data = '{}', inline_url = NULL WHERE seq = ?1",
            )
            .bind(expansion.event.seq)
            .execute(&mut *transaction)
            .await
            .map_err(classify)?;
        }
        transaction.commit().await.map_err(classify)
    }

    /// Writes an event that never was in the outbox, for example a test of one endpoint.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn deliver(
        &self,
        expansion: &Expansion,
        now: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await.map_err(classify)?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        expand(&mut transaction, expansion, now).await?;
        transaction.commit().await.map_err(classify)?;
        self.news.notify_one();
        Ok(())
    }

    /// Changes an endpoint; what waits for it is canceled if it is disabled, and `event` tells of it.
    ///
    /// # Errors
    /// [`StoreError::Stale`] if somebody else was faster.
    pub async fn update_endpoint(
        &self,
        endpoint: &Resource,
        disabled: Option<&OutboxEvent>,
    ) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await.map_err(classify)?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        let done = sqlx::query(
            "UPDATE resources SET version = ?4, updated_us = ?5, doc = ?6, sealed = ?7
             WHERE kind = ?1 AND id = ?2 AND organization_id = ?3 AND version = ?4 - 1",
        )
        .bind(ENDPOINT_KIND)
        .bind(&endpoint.id)
        .bind(endpoint.organization_id.as_str())
        .bind(i64::from(endpoint.version))
        .bind(endpoint.updated_at.as_microsecond())
        .bind(endpoint.doc.to_string())
        .bind(&endpoint.sealed)
        .execute(&mut *transaction)
        .await
        .map_err(classify)?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Stale);
        }
        if let Some(event) = disabled {
            cancel(&mut transaction, &endpoint.id, "the endpoint is disabled", event.at).await?;
            outbox::insert(&mut transaction, event).await?;
        }
        transaction.commit().await.map_err(classify)?;
        if disabled.is_some() {
            self.news.notify_one();
        }
        Ok(())
    }

    /// Removes an endpoint and cancels what waits for it; says whether there was one.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn delete_endpoint(
        &self,
        organization: &OrganizationId,
        id: &str,
        now: jiff::Timestamp,
    ) -> Result<bool, StoreError> {
        if !self.delete_resource(ENDPOINT_KIND, organization, id).await? {
            return Ok(false);
        }
        let mut connection = self.writer.acquire().await.map_err(classify)?;
        cancel(&mut connection, id, "the endpoint is deleted", now).await?;
        Ok(true)
    }
}

/// Deliveries.
impl Store {
    /// Destinations for which something is due, in an order that stays.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn due_destinations(&self, now: jiff::Timestamp) -> Result<Vec<String>, StoreError> {
        // Two steps of the index a destination, however many deliveries wait for it.
        sqlx::query_scalar(
            "WITH RECURSIVE found(name) AS (
                 SELECT min(destination) FROM webhook_deliveries WHERE status = 'pending'
                 UNION ALL
                 SELECT (SELECT min(destination) FROM webhook_deliveries
                         WHERE status = 'pending' AND destination > found.name)
                 FROM found WHERE found.name IS NOT NULL LIMIT ?1)
             SELECT name FROM found WHERE name IS NOT NULL AND (SELECT min(next_us)
                 FROM webhook_deliveries WHERE status = 'pending' AND destination = name) <= ?2",
        )
        .bind(DESTINATIONS_MAX)
        .bind(now.as_microsecond())
        .fetch_all(&self.readers)
        .await
        .map_err(classify)
    }

    /// What is due at a destination, the longest due first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn due_deliveries(
        &self,
        destination: &str,
        now: jiff::Timestamp,
        limit: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT ");
        sql.push(COLUMNS).push(" FROM webhook_deliveries WHERE status = 'pending'");
        sql.push(" AND destination = ").push_bind(destination.to_owned());
        sql.push(" AND next_us <= ").push_bind(now.as_microsecond());
        sql.push(" ORDER BY next_us, seq LIMIT ").push_bind(i64::from(limit));
        let rows = sql.build().fetch_all(&self.readers).await.map_err(classify)?;
        rows.iter().map(read).collect()
    }

    /// When the next delivery after `now` is due.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn next_delivery(
        &self,
        now: jiff::Timestamp,
    ) -> Result<Option<jiff::Timestamp>, StoreError> {
        let next: Option<i64> = sqlx::query_scalar(
            "SELECT min(next_us) FROM webhook_deliveries WHERE status = 'pending' AND next_us > ?1",
        )
        .bind(now.as_microsecond())
        .fetch_one(&self.readers)
        .await
        .map_err(classify)?;
        Ok(next.and_then(|us| jiff::Timestamp::from_microsecond(us).ok()))
    }

    /// How many deliveries wait.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn pending_deliveries(&self) -> Result<u64, StoreError> {
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM webhook_deliveries WHERE status = 'pending'")
                .fetch_one(&self.readers)
                .await
                .map_err(classify)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// What an event says, unless it was erased.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn webhook_body(&self, event_id: &str) -> Result<Option<String>, StoreError> {
        sqlx::query_scalar("SELECT body FROM webhook_bodies WHERE event_id = ?1")
            .bind(event_id)
            .fetch_optional(&self.readers)
            .await
            .map_err(classify)
    }

    /// Notes an attempt. A delivery that was canceled meanwhile stays so, unless it arrived.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn note_attempt(
        &self,
        id: &str,
        url: &str,
        attempt: &Attempt,
    ) -> Result<(), StoreError> {
        let delivered = attempt.status == DeliveryStatus::Delivered;
        sqlx::query(
            "UPDATE webhook_deliveries SET status = ?2, url = ?3,
                 attempt_count = attempt_count + ?4, tries = tries + ?4, next_us = ?5,
                 last_error = ?6, last_response_status = ?7,
                 delivered_us = coalesce(?8, delivered_us), updated_us = ?9
             WHERE id = ?1 AND (status = 'pending' OR ?2 = 'delivered')",
        )
        .bind(id)
        .bind(attempt.status.as_str())
        .bind(url)
        .bind(i64::from(attempt.counted))
        .bind(attempt.next_attempt_at.map(jiff::Timestamp::as_microsecond))
        .bind(&attempt.error)
        .bind(attempt.response_status.map(i64::from))
        .bind(delivered.then(|| attempt.at.as_microsecond()))
        .bind(attempt.at.as_microsecond())
        .execute(&self.writer)
        .await
        .map(drop)
        .map_err(classify)
    }

    /// A delivery of an organization.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn delivery(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<Option<Delivery>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT ");
        sql.push(COLUMNS).push(" FROM webhook_deliveries WHERE id = ").push_bind(id.to_owned());
        sql.push(" AND organization_id = ").push_bind(organization.as_str().to_owned());
        let row = sql.build().fetch_optional(&self.readers).await.map_err(classify)?;
        row.as_ref().map(read).transpose()
    }

    /// Deliveries of an organization, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn deliveries(&self, query: &DeliveryQuery) -> Result<Vec<Delivery>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT ");
        sql.push(COLUMNS).push(" FROM webhook_deliveries WHERE organization_id = ");
        sql.push_bind(query.organization_id.as_str().to_owned());
        let call_id = query.call_id.map(|id| id.to_string());
        let order_id = query.order_id.map(|id| id.to_string());
        let status = query.status.map(|status| status.as_str().to_owned());
        for (column, value) in [
            (" AND endpoint_id = ", query.endpoint_id.clone()),
            (" AND call_id = ", call_id),
            (" AND order_id = ", order_id),
            (" AND event_type = ", query.event_type.clone()),
            (" AND status = ", status),
            (" AND id < ", query.before.clone()),
        ] {
            if let Some(value) = value {
                sql.push(column).push_bind(value);
            }
        }
        sql.push(" ORDER BY id DESC LIMIT ");
        sql.push_bind(i64::from(query.limit.min(DELIVERIES_MAX)));
        let rows = sql.build().fetch_all(&self.readers).await.map_err(classify)?;
        rows.iter().map(read).collect()
    }

    /// Begins a new round of a delivery's schedule, now. Says whether there is such a delivery with a body.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn redeliver(
        &self,
        organization: &OrganizationId,
        id: &str,
        now: jiff::Timestamp,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE webhook_deliveries SET status = 'pending', tries = 0, next_us = ?3,
                 manual_retry_count = manual_retry_count + 1, updated_us = ?3
             WHERE id = ?1 AND organization_id = ?2
                 AND EXISTS (SELECT 1 FROM webhook_bodies AS body
                     WHERE body.event_id = webhook_deliveries.event_id)",
        )
        .bind(id)
        .bind(organization.as_str())
        .bind(now.as_microsecond())
        .execute(&self.writer)
        .await
        .map_err(classify)?;
        self.news.notify_one();
        Ok(done.rows_affected() > 0)
    }

    /// How the terminal event of a call fared at the call's own `webhook_url`; `None` before there is one.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn inline_delivery(
        &self,
        call: CallId,
    ) -> Result<Option<InlineDelivery>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new(
            "SELECT status, last_error FROM webhook_deliveries WHERE endpoint_id IS NULL AND call_id = ",
        );
        sql.push_bind(call.to_string()).push(" AND event_type IN (");
        let mut names = sql.separated(", ");
        for kind in OutboxKind::ALL.iter().filter(|kind| kind.once() == Some("terminal")) {
            names.push_bind(kind.as_str());
        }
        sql.push(") ORDER BY id DESC LIMIT 1");
        let row = sql.build().fetch_optional(&self.readers).await.map_err(classify)?;
        let Some(row) = row else { return Ok(None) };
        let error = row.try_get("last_error").map_err(classify)?;
        Ok(Some(InlineDelivery { status: read_status(&row)?, error }))
    }

    /// Forgets at most `limit` deliveries that were done before a time, and events that nobody needs any more.
    /// Says how many deliveries.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn prune_deliveries(
        &self,
        before: jiff::Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let mut connection = self.writer.acquire().await.map_err(classify)?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        let us = before.as_microsecond();
        let done = sqlx::query(
            "DELETE FROM webhook_deliveries WHERE id IN (SELECT id FROM webhook_deliveries
                 WHERE status <> 'pending' AND updated_us < ?1 LIMIT ?2)",
        )
        .bind(us)
        .bind(i64::from(limit))
        .execute(&mut *transaction)
        .await
        .map_err(classify)?;
        for sql in [
            "DELETE FROM webhook_bodies WHERE event_id IN (
                 SELECT id FROM outbox WHERE expanded = 1 AND at_us < ?1 ORDER BY seq LIMIT ?2)
                 AND NOT EXISTS (SELECT 1 FROM webhook_deliveries AS d WHERE d.event_id = webhook_bodies.event_id)",
            "DELETE FROM outbox WHERE seq IN (
                 SELECT seq FROM outbox WHERE expanded = 1 AND at_us < ?1 ORDER BY seq LIMIT ?2)
                 AND NOT EXISTS (SELECT 1 FROM webhook_deliveries AS d WHERE d.event_id = outbox.id)",
        ] {
            sqlx::query(sql)
                .bind(us)
                .bind(i64::from(limit))
                .execute(&mut *transaction)
                .await
                .map_err(classify)?;
        }
        transaction.commit().await.map_err(classify)?;
        Ok(done.rows_affected())
    }

    /// Erases what webhooks have told or would tell of a call. Rows that show that something was sent go too.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn erase_webhooks(&self, call: CallId) -> Result<(), StoreError> {
        let mut connection = self.writer.acquire().await.map_err(classify)?;
        let mut transaction = connection.begin().await.map_err(classify)?;
        erase(&mut transaction, &call.to_string()).await?;
        transaction.commit().await.map_err(classify)
    }
}

/// Erases inside a transaction that erases more.
pub(super) async fn erase(
    connection: &mut SqliteConnection,
    call_id: &str,
) -> Result<(), StoreError> {
    for sql in [
        "DELETE FROM webhook_deliveries WHERE call_id = ?1",
        "DELETE FROM webhook_bodies WHERE call_id = ?1",
        "DELETE FROM outbox WHERE call_id = ?1",
    ] {
        sqlx::query(sql).bind(call_id).execute(&mut *connection).await.map_err(classify)?;
    }
    Ok(())
}

async fn expand(
    connection: &mut SqliteConnection,
    expansion: &Expansion,
    now: jiff::Timestamp,
) -> Result<(), StoreError> {
    if expansion.deliveries.is_empty() {
        return Ok(());
    }
    let StoredEvent { id, event, .. } = &expansion.event;
    sqlx::query(
        "INSERT INTO webhook_bodies (event_id, call_id, order_id, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO NOTHING",
    )
    .bind(id)
    .bind(event.call_id.map(|id| id.to_string()))
    .bind(event.order_id.map(|id| id.to_string()))
    .bind(&expansion.body)
    .execute(&mut *connection)
    .await
    .map_err(classify)?;
    for delivery in &expansion.deliveries {
        insert(connection, &expansion.event, delivery, now).await?;
    }
    Ok(())
}

async fn insert(
    connection: &mut SqliteConnection,
    stored: &StoredEvent,
    delivery: &NewDelivery,
    now: jiff::Timestamp,
) -> Result<(), StoreError> {
    let event = &stored.event;
    sqlx::query(
        "INSERT INTO webhook_deliveries (id, seq, event_id, event_type, organization_id, endpoint_id,
             call_id, order_id, destination, url, status, next_us, created_us, updated_us)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'pending', ?11, ?12, ?12)
         ON CONFLICT DO NOTHING",
    )
    .bind(&delivery.id)
    .bind(stored.seq)
    .bind(&stored.id)
    .bind(event.kind.as_str())
    .bind(event.organization_id.as_str())
    .bind(&delivery.endpoint_id)
    .bind(event.call_id.map(|id| id.to_string()))
    .bind(event.order_id.map(|id| id.to_string()))
    .bind(&delivery.destination)
    .bind(&delivery.url)
    // In the order of the events, and due even if the clock was set back meanwhile.
    .bind(event.at.min(now).as_microsecond())
    .bind(now.as_microsecond())
    .execute(connection)
    .await
    .map(drop)
    .map_err(classify)
}

async fn cancel(
    connection: &mut SqliteConnection,
    endpoint_id: &str,
    why: &str,
    now: jiff::Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE webhook_deliveries SET status = 'canceled', next_us = NULL, last_error = ?2, updated_us = ?3
         WHERE endpoint_id = ?1 AND status = 'pending'",
    )
    .bind(endpoint_id)
    .bind(why)
    .bind(now.as_microsecond())
    .execute(connection)
    .await
    .map(drop)
    .map_err(classify)
}

fn time(row: &SqliteRow, name: &str) -> Result<Option<jiff::Timestamp>, StoreError> {
    let us: Option<i64> = row.try_get(name).map_err(classify)?;
    Ok(us.and_then(|us| jiff::Timestamp::from_microsecond(us).ok()))
}

fn read_event(row: &SqliteRow) -> Result<StoredEvent, StoreError> {
    let text = |name: &str| row.try_get::<Option<String>, _>(name).map_err(classify);
    let data: &str = row.try_get("data").map_err(classify)?;
    let kind = text("type")?.and_then(|name| OutboxKind::parse(&name));
    let event = OutboxEvent {
        // What a newer version wrote, this one cannot tell; its row is passed over as nobody's.
        kind: kind.unwrap_or(OutboxKind::Ping),
        organization_id: OrganizationId::new(text("organization_id")?.unwrap_or_default()),
        call_id: text("call_id")?.and_then(|id| id.parse().ok()),
        order_id: text("order_id")?.and_then(|id| id.parse().ok()),
        at: time(row, "at_us")?.unwrap_or_default(),
        inline_url: text("inline_url")?.filter(|_| kind.is_some()),
        data: serde_json::from_str(data).map_err(StoreError::Decode)?,
    };
    let seq = row.try_get("seq").map_err(classify)?;
    Ok(StoredEvent { seq, id: text("id")?.unwrap_or_default(), event })
}

fn read_status(row: &SqliteRow) -> Result<DeliveryStatus, StoreError> {
    let word: String = row.try_get("status").map_err(classify)?;
    Ok(DeliveryStatus::parse(&word).unwrap_or(DeliveryStatus::Canceled))
}

fn read(row: &SqliteRow) -> Result<Delivery, StoreError> {
    let text = |name: &str| row.try_get::<String, _>(name).map_err(classify);
    let maybe = |name: &str| row.try_get::<Option<String>, _>(name).map_err(classify);
    let count = |name: &str| -> Result<u32, StoreError> {
        let count: i64 = row.try_get(name).map_err(classify)?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    };
    let response: Option<i64> = row.try_get("last_response_status").map_err(classify)?;
    Ok(Delivery {
        id: text("id")?,
        event_id: text("event_id")?,
        event_type: text("event_type")?,
        organization_id: OrganizationId::new(text("organization_id")?),
        endpoint_id: maybe("endpoint_id")?,
        call_id: maybe("call_id")?,
        order_id: maybe("order_id")?,
        destination: text("destination")?,
        url: text("url")?,
        status: read_status(row)?,
        attempt_count: count("attempt_count")?,
        tries: count("tries")?,
        manual_retry_count: count("manual_retry_count")?,
        next_attempt_at: time(row, "next_us")?,
        last_error: maybe("last_error")?,
        last_response_status: response.and_then(|status| u16::try_from(status).ok()),
        delivered_at: time(row, "delivered_us")?,
        created_at: time(row, "created_us")?.unwrap_or_default(),
        updated_at: time(row, "updated_us")?.unwrap_or_default(),
    })
}
