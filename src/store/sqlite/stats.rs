//! Numbers over many calls: counters of an organization, and turns for percentiles.

use sqlx::{QueryBuilder, Row, Sqlite};

use super::{Store, classify};
use crate::store::StoreError;
use crate::store::query::{Order, Query, Slice, Start};
use crate::types::{CallId, OrganizationId, TurnRecord};

/// Calls one statistic looks at, the newest ones.
pub const STATS_CALLS_MAX: usize = 5_000;
/// Calls whose turns are read at once.
const STEP: u32 = 500;

/// Statistics.
impl Store {
    /// Calls of an organization that are not over.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn active_calls(&self, organization: &OrganizationId) -> Result<u64, StoreError> {
        let n: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(n), 0) FROM call_totals WHERE organization_id = ?1
             AND status IN ('queued', 'initiated', 'ringing', 'in_progress')",
        )
        .bind(organization.as_str())
        .fetch_one(&self.readers)
        .await
        .map_err(classify)?;
        Ok(u64::try_from(n).unwrap_or(0))
    }

    /// Milliseconds of calls of an organization that started since a moment.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn duration_since(
        &self,
        organization: &OrganizationId,
        since: jiff::Timestamp,
    ) -> Result<u64, StoreError> {
        let ms: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(duration_ms), 0) FROM calls INDEXED BY calls_list
             WHERE organization_id = ?1 AND sort_us >= ?2 AND is_test = 0",
        )
        .bind(organization.as_str())
        .bind(since.as_microsecond())
        .fetch_one(&self.readers)
        .await
        .map_err(classify)?;
        Ok(u64::try_from(ms).unwrap_or(0))
    }

    /// Hands the turns of the newest calls that pass a query to `each`; returns how many calls there were and
    /// whether that is all of them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn turns_of_many(
        &self,
        query: &Query,
        mut each: impl FnMut(CallId, TurnRecord) + Send,
    ) -> Result<(usize, bool), StoreError> {
        let mut start = Start::Offset(0);
        let mut calls = 0;
        while calls < STATS_CALLS_MAX {
            let slice = Slice { start, size: STEP, order: Order::NewestFirst };
            let page = self.slice(query, &slice).await?;
            calls += page.items.len();
            let mut sql =
                QueryBuilder::<Sqlite>::new("SELECT call_id, record FROM turns WHERE call_id IN (");
            let mut ids = sql.separated(", ");
            for record in page.items.iter().filter(|record| record.answered_at.is_some()) {
                ids.push_bind(record.id.to_string());
            }
            sql.push(")");
            let rows = sql.build().fetch_all(&self.readers).await.map_err(classify)?;
            for row in &rows {
                let id: &str = row.try_get(0).map_err(classify)?;
                let record: &str = row.try_get(1).map_err(classify)?;
                let turn = serde_json::from_str(record).map_err(StoreError::Decode)?;
                if let Ok(id) = id.parse() {
                    each(id, turn);
                }
            }
            match page.next {
                Some(next) => start = Start::After(next),
                None => return Ok((calls, true)),
            }
        }
        Ok((calls, false))
    }
}
