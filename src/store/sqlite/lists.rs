//! Lists of calls that stay fast with a million of them: which index each query walks, and how rows are counted.
//!
//! A page is found by its ids, in the order of an index, and only then are its records read. Totals come from
//! `call_totals`, which triggers keep, where the filters are those it is kept by; else rows are counted up to
//! [`COUNT_MAX`]. A filter that no index narrows walks `calls_list`, which holds every filtered column, so the
//! worst query is one pass over one index.

use std::collections::BTreeSet;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::{Store, classify, word};
use crate::store::StoreError;
use crate::store::query::{CallPage, Order, PageRequest, Place, Query, Slice, Start};
use crate::types::CallRecord;

/// Rows that are counted one by one; beyond, `total` says "at least".
pub(super) const COUNT_MAX: u64 = 10_000;
/// Hits of a search that are collected and sorted; a search with more walks the calls in order.
const HITS_MAX: usize = 10_000;
/// Shortest search the index of trigrams can answer.
const TRIGRAM: usize = 3;
/// Calls that are looked up one by one for a filter the index does not hold.
const LOOK_UPS_MAX: i64 = 2_000;

type Sql = QueryBuilder<Sqlite>;
/// A column, its index, and the value it equals.
type Term = (&'static str, &'static str, String);

/// How a query finds its rows.
enum Path {
    /// Along one index, in its order.
    Index(&'static str),
    /// Several values of status columns, each along its own index, merged.
    Merge(Vec<Term>),
    /// Along the pairs of `metadata`.
    Metadata,
    /// These calls, in any order.
    Hits(String),
}

impl Store {
    /// A page of records, newest first by `started_at` (else `initiated_at`, else `created_at`).
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self, query: &Query, page: PageRequest) -> Result<CallPage, StoreError> {
        self.slice(query, &page.into()).await
    }

    /// A part of a list.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn slice(&self, query: &Query, slice: &Slice) -> Result<CallPage, StoreError> {
        // All statements see one snapshot, so `total` and `items` agree.
        let mut snapshot = self.readers.begin().await.map_err(classify)?;
        let kept = kept_total(&mut snapshot, query).await?;
        let nothing = CallPage { items: Vec::new(), total: 0, total_exact: true, next: None };
        if kept == 0 {
            return Ok(nothing);
        }
        let path = path(&mut snapshot, query).await?;
        let total = match () {
            () if is_kept(query) => (kept, true),
            // A search that found too many to collect has found more than are counted.
            () if is_search_only(query) && matches!(path, Path::Index(_)) => (COUNT_MAX, false),
            () => counted(&mut snapshot, query, &path).await?,
        };
        let nothing = CallPage { total: total.0, total_exact: total.1, ..nothing };
        if matches!(slice.start, Start::Offset(offset) if total.1 && offset >= total.0) {
            return Ok(nothing);
        }
        let mut sql = Sql::new("");
        push_page(&mut sql, query, slice, &path);
        let rows = sql.build().fetch_all(&mut *snapshot).await.map_err(classify)?;
        let mut places = rows.iter().map(place).collect::<Result<Vec<_>, _>>()?;
        let size = usize::try_from(slice.size).unwrap_or(usize::MAX);
        let more = places.len() > size;
        places.truncate(size);
        let next = places.last().filter(|_| more).copied();
        let items = records(&mut snapshot, &places).await?;
        Ok(CallPage { items, next, ..nothing })
    }

    /// How SQLite would find a page, for tests and benches.
    ///
    /// # Errors
    /// When the store cannot be read.
    #[doc(hidden)]
    pub async fn explain(&self, query: &Query, slice: &Slice) -> Result<Vec<String>, StoreError> {
        let mut snapshot = self.readers.begin().await.map_err(classify)?;
        let path = path(&mut snapshot, query).await?;
        let mut sql = Sql::new("EXPLAIN QUERY PLAN ");
        push_page(&mut sql, query, slice, &path);
        let rows = sql.build().fetch_all(&mut *snapshot).await.map_err(classify)?;
        rows.iter().map(|row| row.try_get("detail").map_err(classify)).collect()
    }
}

fn place(row: &SqliteRow) -> Result<Place, StoreError> {
    let id: &str = row.try_get(0).map_err(classify)?;
    let id = id.parse().map_err(|_| StoreError::Database("a stored id is no id".into()))?;
    Ok(Place { id, sort_us: row.try_get(1).map_err(classify)? })
}

async fn records(
    snapshot: &mut SqliteConnection,
    places: &[Place],
) -> Result<Vec<CallRecord>, StoreError> {
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<String> = places.iter().map(|place| place.id.to_string()).collect();
    let mut sql = Sql::new("SELECT id, record FROM calls WHERE id IN (");
    let mut list = sql.separated(", ");
    for id in &ids {
        list.push_bind(id);
    }
    sql.push(")");
    let rows = sql.build().fetch_all(snapshot).await.map_err(classify)?;
    let mut found = std::collections::HashMap::new();
    for row in &rows {
        let id: String = row.try_get(0).map_err(classify)?;
        let record: &str = row.try_get(1).map_err(classify)?;
        let record: CallRecord = serde_json::from_str(record).map_err(StoreError::Decode)?;
        found.insert(id, record);
    }
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// Columns that `call_totals` is kept by, with the index of each.
fn kept_terms(query: &Query) -> Vec<Term> {
    let mut terms: Vec<Term> = Vec::new();
    if let Some(direction) = query.direction {
        terms.push(("direction", "calls_direction", word(&direction)));
    }
    if let Some(by) = query.answered_by {
        terms.push(("answered_by", "calls_answered_by", word(&by)));
    }
    if let Some(agent) = &query.agent_id {
        terms.push(("agent_id", "calls_agent", agent.0.clone()));
    }
    if let Some(trunk) = &query.trunk {
        terms.push(("trunk", "calls_trunk", trunk.0.clone()));
    }
    if let Some(kind) = query.call_type {
        terms.push(("call_type", "calls_list", word(&kind)));
    }
    terms
}

/// Columns that have an index and are not counted.
fn other_terms(query: &Query) -> Vec<Term> {
    let mut terms: Vec<Term> = Vec::new();
    if let Some(order) = query.order_id {
        terms.push(("order_id", "calls_order", order.to_string()));
    }
    if let Some(batch) = query.batch_id {
        terms.push(("batch_id", "calls_batch", batch.to_string()));
    }
    if let Some(campaign) = query.campaign_id {
        terms.push(("campaign_id", "calls_campaign", campaign.to_string()));
    }
    if let Some(number) = &query.number_id {
        terms.push(("number_id", "calls_number", number.clone()));
    }
    terms
}

fn status_terms(query: &Query) -> Vec<Term> {
    let mut terms = BTreeSet::new();
    for filter in &query.status {
        for status in &filter.statuses {
            terms.insert(("status", "calls_status", status.as_str().to_owned()));
        }
        if let Some(outcome) = filter.outcome {
            terms.insert(("outcome", "calls_outcome", word(&outcome)));
        }
        if let Some(reason) = filter.end_reason {
            terms.insert(("end_reason", "calls_end_reason", word(&reason)));
        }
    }
    terms.into_iter().collect()
}

/// Whether `call_totals` knows the total.
fn is_kept(query: &Query) -> bool {
    other_terms(query).is_empty()
        && query.search.is_none()
        && query.started_after.is_none()
        && query.started_before.is_none()
        && query.duration_min_ms.is_none()
        && query.duration_max_ms.is_none()
        && query.metadata.is_empty()
}

/// Whether nothing but a search that the index of trigrams answers filters.
fn is_search_only(query: &Query) -> bool {
    let others = Query { search: None, ..query.clone() };
    let long = query.search.as_ref().is_some_and(|digits| digits.len() >= TRIGRAM);
    long && others == Query { organization_id: query.organization_id.clone(), ..Query::default() }
}

/// Whether a filter looks at more of a call than its metadata and its sort time.
fn needs_calls(query: &Query) -> bool {
    let others = Query {
        organization_id: query.organization_id.clone(),
        metadata: query.metadata.clone(),
        started_after: query.started_after,
        started_before: query.started_before,
        ..Query::default()
    };
    *query != others || query.metadata.len() > 1
}

fn push_any(sql: &mut Sql, terms: &[Term]) {
    if terms.is_empty() {
        return;
    }
    sql.push(" AND (0");
    for (column, _, value) in terms {
        sql.push(" OR ").push(*column).push(" = ").push_bind(value.clone());
    }
    sql.push(")");
}

fn totals(query: &Query) -> Sql {
    let mut sql = Sql::new("SELECT coalesce(sum(n), 0) FROM call_totals WHERE organization_id = ");
    sql.push_bind(query.organization_id.as_str().to_owned());
    sql
}

/// Rows that pass the filters `call_totals` knows: the total, or an upper bound of it.
async fn kept_total(snapshot: &mut SqliteConnection, query: &Query) -> Result<u64, StoreError> {
    let mut sql = totals(query);
    for (column, _, value) in kept_terms(query) {
        sql.push(" AND ").push(column).push(" = ").push_bind(value);
    }
    if let Some(test) = query.is_test {
        sql.push(" AND is_test = ").push_bind(i64::from(test));
    }
    push_any(&mut sql, &status_terms(query));
    let n: i64 = sql.build_query_scalar().fetch_one(snapshot).await.map_err(classify)?;
    Ok(u64::try_from(n).unwrap_or(0))
}

async fn counted(
    snapshot: &mut SqliteConnection,
    query: &Query,
    path: &Path,
) -> Result<(u64, bool), StoreError> {
    let mut sql = Sql::new("SELECT count(*) FROM (SELECT 1");
    push_rows(&mut sql, query, path, None);
    sql.push(" LIMIT ").push_bind(i64::try_from(COUNT_MAX + 1).unwrap_or(i64::MAX)).push(")");
    let n: i64 = sql.build_query_scalar().fetch_one(snapshot).await.map_err(classify)?;
    let n = u64::try_from(n).unwrap_or(0);
    Ok((n.min(COUNT_MAX), n <= COUNT_MAX))
}

async fn path(snapshot: &mut SqliteConnection, query: &Query) -> Result<Path, StoreError> {
    if let Some(digits) = query.search.as_deref().filter(|digits| digits.len() >= TRIGRAM)
        && let Some(hits) = hits(snapshot, query, digits).await?
    {
        return Ok(Path::Hits(hits));
    }
    if query.search.is_some() {
        return Ok(Path::Index("calls_list"));
    }
    // What is filtered by an order, a batch, a campaign or a number is few rows in most cases.
    if let Some((_, index, _)) = other_terms(query).first() {
        return Ok(Path::Index(index));
    }
    if !query.metadata.is_empty() {
        return Ok(Path::Metadata);
    }
    let (kept, statuses) = (kept_terms(query), status_terms(query));
    let ranged = query.duration_min_ms.is_some() || query.duration_max_ms.is_some();
    match (kept.as_slice(), statuses.as_slice()) {
        _ if ranged || query.is_test.is_some() => {}
        ([], []) => return Ok(Path::Index("calls_list")),
        ([(_, index, _)], []) | ([], [(_, index, _)]) => return Ok(Path::Index(index)),
        ([], _) => return Ok(Path::Merge(statuses)),
        _ => {}
    }
    // Several filters: the rarest, if it is rare enough to look each of its calls up.
    let mut best = (LOOK_UPS_MAX, "calls_list");
    for (column, index, value) in kept.into_iter().chain(statuses.into_iter().take(1)) {
        let mut sql = totals(query);
        // Of several statuses each may match, so no single one narrows.
        if query.status.len() > 1 && matches!(column, "status" | "outcome" | "end_reason") {
            continue;
        }
        sql.push(" AND ").push(column).push(" = ").push_bind(value);
        let n: i64 = sql.build_query_scalar().fetch_one(&mut *snapshot).await.map_err(classify)?;
        let whole = !matches!(column, "status" | "outcome" | "end_reason")
            || status_terms(query).len() == 1;
        if whole && n < best.0 {
            best = (n, index);
        }
    }
    Ok(Path::Index(best.1))
}

/// Calls whose numbers hold these digits, as a JSON list; `None` if there are too many.
async fn hits(
    snapshot: &mut SqliteConnection,
    query: &Query,
    digits: &str,
) -> Result<Option<String>, StoreError> {
    let mut sql = Sql::new(
        "SELECT d.id FROM call_search CROSS JOIN call_digits AS d ON d.row = call_search.rowid
         WHERE call_search MATCH ",
    );
    sql.push_bind(format!("\"{digits}\"")).push(" AND d.organization_id = ");
    sql.push_bind(query.organization_id.as_str().to_owned());
    sql.push(" LIMIT ").push_bind(i64::try_from(HITS_MAX + 1).unwrap_or(i64::MAX));
    let found: Vec<String> =
        sql.build_query_scalar().fetch_all(snapshot).await.map_err(classify)?;
    if found.len() > HITS_MAX {
        return Ok(None);
    }
    serde_json::to_string(&found).map(Some).map_err(StoreError::Decode)
}

fn push_page(sql: &mut Sql, query: &Query, slice: &Slice, path: &Path) {
    let offset = match slice.start {
        Start::Offset(offset) => i64::try_from(offset).unwrap_or(i64::MAX),
        Start::After(_) => 0,
    };
    // One more than the page, to know whether another follows.
    let rows = i64::from(slice.size).saturating_add(1);
    let order = match slice.order {
        Order::NewestFirst => "DESC",
        Order::OldestFirst => "ASC",
    };
    let Path::Merge(terms) = path else {
        let at = table(path);
        sql.push(format!("SELECT {at}.id, {at}.sort_us"));
        push_rows(sql, query, path, Some(slice));
        sql.push(format!(" ORDER BY {at}.sort_us {order}, {at}.id {order} LIMIT "));
        sql.push_bind(rows).push(" OFFSET ").push_bind(offset);
        return;
    };
    sql.push("SELECT id, sort_us FROM (");
    for (n, (column, index, value)) in terms.iter().enumerate() {
        sql.push(if n == 0 { "SELECT * FROM (" } else { " UNION SELECT * FROM (" });
        sql.push("SELECT calls.id, calls.sort_us");
        let others = Query { status: Vec::new(), ..query.clone() };
        push_rows(sql, &others, &Path::Index(index), Some(slice));
        sql.push(format!(" AND {column} = ")).push_bind(value.clone());
        sql.push(format!(" ORDER BY calls.sort_us {order}, calls.id {order} LIMIT "));
        sql.push_bind(rows.saturating_add(offset)).push(")");
    }
    sql.push(format!(") ORDER BY sort_us {order}, id {order} LIMIT "));
    sql.push_bind(rows).push(" OFFSET ").push_bind(offset);
}

/// The table whose index gives the order.
fn table(path: &Path) -> &'static str {
    match path {
        Path::Metadata => "m",
        Path::Index(_) | Path::Merge(_) | Path::Hits(_) => "calls",
    }
}

/// `FROM` and `WHERE`.
fn push_rows(sql: &mut Sql, query: &Query, path: &Path, slice: Option<&Slice>) {
    let organization = query.organization_id.as_str().to_owned();
    let mut pairs = query.metadata.iter();
    match path {
        Path::Index(index) => {
            sql.push(format!(" FROM calls INDEXED BY {index} WHERE calls.organization_id = "));
        }
        Path::Merge(_) => {
            sql.push(" FROM calls INDEXED BY calls_list WHERE calls.organization_id = ");
        }
        Path::Hits(ids) => {
            sql.push(" FROM json_each(").push_bind(ids.clone());
            sql.push(
                ") AS hit CROSS JOIN calls ON calls.id = hit.value WHERE calls.organization_id = ",
            );
        }
        Path::Metadata => {
            sql.push(" FROM call_metadata AS m");
            if needs_calls(query) {
                sql.push(" CROSS JOIN calls ON calls.id = m.id");
            }
            sql.push(" WHERE");
            if let Some((key, value)) = pairs.next() {
                sql.push(" m.key = ").push_bind(key.clone());
                sql.push(" AND m.value = ").push_bind(value.clone()).push(" AND");
            }
            sql.push(" m.organization_id = ");
        }
    }
    sql.push_bind(organization.clone());
    for (key, value) in pairs {
        sql.push(" AND EXISTS (SELECT 1 FROM call_metadata AS x WHERE x.organization_id = ");
        sql.push_bind(organization.clone()).push(" AND x.key = ").push_bind(key.clone());
        sql.push(" AND x.value = ").push_bind(value.clone());
        sql.push(" AND x.sort_us = calls.sort_us AND x.id = calls.id)");
    }
    for (column, _, value) in kept_terms(query).into_iter().chain(other_terms(query)) {
        sql.push(format!(" AND calls.{column} = ")).push_bind(value);
    }
    push_any(sql, &status_terms(query));
    if let Some(test) = query.is_test {
        sql.push(" AND calls.is_test = ").push_bind(i64::from(test));
    }
    if let Some(search) = query.search.as_ref().filter(|_| !matches!(path, Path::Hits(_))) {
        sql.push(" AND (instr(calls.from_digits, ").push_bind(search.clone());
        sql.push(") > 0 OR instr(calls.to_digits, ").push_bind(search.clone()).push(") > 0)");
    }
    let whole = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    if let Some(ms) = query.duration_min_ms {
        sql.push(" AND calls.duration_ms >= ").push_bind(whole(ms));
    }
    if let Some(ms) = query.duration_max_ms {
        sql.push(" AND calls.duration_ms <= ").push_bind(whole(ms));
    }
    push_range(sql, query, table(path), slice);
}

fn push_range(sql: &mut Sql, query: &Query, at: &str, slice: Option<&Slice>) {
    if let Some(limit) = query.started_after {
        sql.push(format!(" AND {at}.sort_us >= ")).push_bind(limit.as_microsecond());
    }
    if let Some(limit) = query.started_before {
        sql.push(format!(" AND {at}.sort_us < ")).push_bind(limit.as_microsecond());
    }
    if let Some(Slice { start: Start::After(place), order, .. }) = slice {
        let sign = match order {
            Order::NewestFirst => "<",
            Order::OldestFirst => ">",
        };
        sql.push(format!(" AND ({at}.sort_us, {at}.id) {sign} (")).push_bind(place.sort_us);
        sql.push(", ").push_bind(place.id.to_string()).push(")");
    }
}
