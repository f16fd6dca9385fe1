//! What calls used and cost: rows beside each call that is over, and sums of them.

use jiff::tz::TimeZone;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::{Store, classify, word};
use crate::store::StoreError;
use crate::store::usage::{UsageGroup, UsageGrouping, UsagePage, UsageQuery, UsageSums};
use crate::types::{CallRecord, Direction, OrganizationId};

/// Writes what a call that is over used, in the transaction that writes the call.
pub(super) async fn write(
    connection: &mut SqliteConnection,
    record: &CallRecord,
) -> Result<(), StoreError> {
    let id = record.id.to_string();
    let ended = record.ended_at.unwrap_or(record.updated_at);
    let ours = match record.direction {
        Direction::Inbound => record.to_number.reveal(),
        Direction::Outbound => record.from_number.reveal(),
    };
    let number =
        record.number_id.as_deref().or(Some(ours.as_str()).filter(|text| !text.is_empty()));
    let talk_seconds = record.talk_ms.unwrap_or(0).div_ceil(1_000);
    sqlx::query(
        "INSERT INTO usage_calls (call_id, organization_id, ended_us, day, agent_id, number,
             talk_seconds, currency, cost_micros)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT DO UPDATE SET ended_us = excluded.ended_us, day = excluded.day,
             agent_id = excluded.agent_id, number = excluded.number,
             talk_seconds = excluded.talk_seconds, currency = excluded.currency,
             cost_micros = excluded.cost_micros",
    )
    .bind(&id)
    .bind(record.organization_id.as_str())
    .bind(ended.as_microsecond())
    .bind(ended.to_zoned(TimeZone::UTC).date().to_string())
    .bind(record.agent_id.as_ref().map(|agent| agent.0.as_str()))
    .bind(number)
    .bind(i64::try_from(talk_seconds).unwrap_or(i64::MAX))
    .bind(record.cost.as_ref().map(|cost| cost.currency.as_str()))
    .bind(record.cost.as_ref().map(|cost| i64::try_from(cost.total_micros).unwrap_or(i64::MAX)))
    .execute(&mut *connection)
    .await
    .map_err(classify)?;
    sqlx::query("DELETE FROM usage WHERE call_id = ?1")
        .bind(&id)
        .execute(&mut *connection)
        .await
        .map_err(classify)?;
    for row in &record.usage {
        sqlx::query(
            "INSERT INTO usage (call_id, kind, provider, model, unit, quantity, amount_micros)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET quantity = quantity + excluded.quantity,
                 amount_micros = CASE
                     WHEN amount_micros IS NULL THEN excluded.amount_micros
                     ELSE amount_micros + coalesce(excluded.amount_micros, 0) END",
        )
        .bind(&id)
        .bind(word(&row.kind))
        .bind(&row.provider)
        .bind(row.model.as_deref().unwrap_or_default())
        .bind(word(&row.unit))
        .bind(row.quantity)
        .bind(row.amount_micros.map(|micros| i64::try_from(micros).unwrap_or(i64::MAX)))
        .execute(&mut *connection)
        .await
        .map_err(classify)?;
    }
    Ok(())
}

/// Usage and cost.
impl Store {
    /// Cost of the calls that ended since `start`, by organization and currency.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn spent_since(
        &self,
        start: jiff::Timestamp,
    ) -> Result<Vec<(OrganizationId, String, u64)>, StoreError> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT organization_id, currency, sum(cost_micros) FROM usage_calls
             WHERE ended_us >= ?1 AND cost_micros IS NOT NULL AND currency IS NOT NULL
             GROUP BY organization_id, currency",
        )
        .bind(start.as_microsecond())
        .fetch_all(&self.readers)
        .await
        .map_err(classify)?;
        let sums = rows.into_iter().map(|(organization, currency, micros)| {
            (OrganizationId::new(organization), currency, u64::try_from(micros).unwrap_or(0))
        });
        Ok(sums.collect())
    }

    /// A usage report.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn usage(&self, query: &UsageQuery) -> Result<UsagePage, StoreError> {
        // All statements see one snapshot, so the sums agree.
        let mut snapshot = self.readers.begin().await.map_err(classify)?;
        let mut all = QueryBuilder::<Sqlite>::new(
            "SELECT count(*), coalesce(sum(talk_seconds), 0), sum(cost_micros) FROM (",
        );
        push_calls(&mut all, query, "NULL");
        all.push(")");
        let all = all.build().fetch_one(&mut *snapshot).await.map_err(classify)?;
        let mut count =
            QueryBuilder::<Sqlite>::new("SELECT count(*) FROM (SELECT DISTINCT key FROM (");
        push_keyed(&mut count, query);
        count.push("))");
        let total: i64 =
            count.build_query_scalar().fetch_one(&mut *snapshot).await.map_err(classify)?;
        let mut groups = QueryBuilder::<Sqlite>::new(
            "SELECT count(*), coalesce(sum(talk_seconds), 0), sum(cost_micros), key FROM (",
        );
        push_keyed(&mut groups, query);
        groups.push(") GROUP BY key ORDER BY ");
        groups.push(match query.grouping {
            UsageGrouping::Day => "key DESC",
            _ => "count(*) DESC, key",
        });
        groups.push(" LIMIT ").push_bind(i64::from(query.limit));
        groups.push(" OFFSET ").push_bind(i64::from(query.offset));
        let rows = groups.build().fetch_all(&mut *snapshot).await.map_err(classify)?;
        let mut groups = Vec::with_capacity(rows.len());
        for row in &rows {
            let key = row.try_get(3).map_err(classify)?;
            groups.push(UsageGroup { key, sums: sums(row)?, quantities: Vec::new() });
        }
        let mut quantities = QueryBuilder::<Sqlite>::new("SELECT ");
        quantities.push(column(query.grouping)).push(" AS key, u.kind, u.unit, sum(u.quantity)");
        quantities.push(" FROM usage_calls c JOIN usage u USING (call_id)");
        push_range(&mut quantities, query);
        quantities.push(" GROUP BY key, u.kind, u.unit ORDER BY key, u.kind, u.unit");
        for row in quantities.build().fetch_all(&mut *snapshot).await.map_err(classify)? {
            let key: Option<String> = row.try_get(0).map_err(classify)?;
            let Some(group) = groups.iter_mut().find(|group| group.key == key) else { continue };
            group.quantities.push((
                named(&row, 1)?,
                named(&row, 2)?,
                row.try_get(3).map_err(classify)?,
            ));
        }
        Ok(UsagePage { groups, total: u64::try_from(total).unwrap_or(0), summary: sums(&all)? })
    }
}

fn column(grouping: UsageGrouping) -> &'static str {
    match grouping {
        UsageGrouping::Day => "c.day",
        UsageGrouping::Agent => "c.agent_id",
        UsageGrouping::Number => "c.number",
        UsageGrouping::Provider => "u.provider",
    }
}

/// One row for each call of a group.
fn push_keyed(sql: &mut QueryBuilder<Sqlite>, query: &UsageQuery) {
    if query.grouping != UsageGrouping::Provider {
        return push_calls(sql, query, column(query.grouping));
    }
    sql.push("SELECT u.provider AS key, max(c.talk_seconds) AS talk_seconds, sum(CASE WHEN c.currency = ");
    sql.push_bind(query.currency.clone().unwrap_or_default());
    sql.push(
        " THEN u.amount_micros END) AS cost_micros FROM usage_calls c JOIN usage u USING (call_id)",
    );
    push_range(sql, query);
    sql.push(" GROUP BY u.provider, c.call_id");
}

fn push_calls(sql: &mut QueryBuilder<Sqlite>, query: &UsageQuery, key: &str) {
    sql.push("SELECT ").push(key);
    sql.push(" AS key, c.talk_seconds AS talk_seconds, CASE WHEN c.currency = ");
    sql.push_bind(query.currency.clone().unwrap_or_default());
    sql.push(" THEN c.cost_micros END AS cost_micros FROM usage_calls c");
    push_range(sql, query);
}

fn push_range(sql: &mut QueryBuilder<Sqlite>, query: &UsageQuery) {
    sql.push(" WHERE c.organization_id = ").push_bind(query.organization_id.as_str().to_owned());
    sql.push(" AND c.ended_us >= ").push_bind(query.from.as_microsecond());
    sql.push(" AND c.ended_us < ").push_bind(query.until.as_microsecond());
}

fn sums(row: &SqliteRow) -> Result<UsageSums, StoreError> {
    let number = |at: usize| -> Result<Option<u64>, StoreError> {
        let number: Option<i64> = row.try_get(at).map_err(classify)?;
        Ok(number.map(|number| u64::try_from(number).unwrap_or(0)))
    };
    Ok(UsageSums {
        calls: number(0)?.unwrap_or(0),
        talk_seconds: number(1)?.unwrap_or(0),
        cost_micros: number(2)?,
    })
}

fn named<T: serde::de::DeserializeOwned>(row: &SqliteRow, at: usize) -> Result<T, StoreError> {
    let text: String = row.try_get(at).map_err(classify)?;
    serde_json::from_value(serde_json::Value::String(text)).map_err(StoreError::Decode)
}
