//! Pages of lists that have one order: how many rows there are, and those of one page.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::classify;
use crate::store::StoreError;
use crate::store::order::Found;
use crate::store::query::{Part, Place, Start};

/// The order of a list. Each is the order of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sorting {
    /// By `created_us` and `id`, newest first.
    Newest,
    /// By `created_us`, newest first, and those of one moment by `number`.
    Numbers,
    /// Leads in the order they came: by `l.id`.
    Leads,
}

impl Sorting {
    /// What makes a row's place, and the order.
    fn columns(self) -> (&'static str, &'static str) {
        match self {
            Self::Newest => ("created_us, id", "created_us DESC, id DESC"),
            Self::Numbers => ("created_us, number", "created_us DESC, number"),
            Self::Leads => ("0, l.id", "l.id"),
        }
    }

    fn push_after(self, sql: &mut QueryBuilder<Sqlite>, place: &Place<String>) {
        let id = || place.id.clone();
        match self {
            Self::Newest => {
                sql.push(" AND (created_us, id) < (").push_bind(place.sort_us);
                sql.push(", ").push_bind(id()).push(")");
            }
            Self::Numbers => {
                sql.push(" AND created_us <= ").push_bind(place.sort_us);
                sql.push(" AND (created_us < ").push_bind(place.sort_us);
                sql.push(" OR number > ").push_bind(id()).push(")");
            }
            Self::Leads => {
                sql.push(" AND l.id > ").push_bind(id());
            }
        }
    }
}

/// One page: `columns` of the rows that `filters` (from `FROM` on) leaves, each made into an item by `read`.
pub(super) async fn page<T>(
    snapshot: &mut SqliteConnection,
    columns: &str,
    filters: impl Fn(&mut QueryBuilder<Sqlite>),
    sorting: Sorting,
    part: &Part,
    read: impl Fn(&SqliteRow) -> Result<T, StoreError>,
) -> Result<Found<T>, StoreError> {
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT count(*)");
    filters(&mut sql);
    let total: i64 = sql.build_query_scalar().fetch_one(&mut *snapshot).await.map_err(classify)?;
    let (place, order) = sorting.columns();
    let mut sql = QueryBuilder::<Sqlite>::new("SELECT ");
    sql.push(columns).push(", ").push(place);
    filters(&mut sql);
    if let Start::After(place) = &part.start {
        sorting.push_after(&mut sql, place);
    }
    // One more than the page, to know whether another follows.
    sql.push(" ORDER BY ").push(order).push(" LIMIT ").push_bind(i64::from(part.size) + 1);
    if let Start::Offset(offset) = part.start {
        sql.push(" OFFSET ").push_bind(i64::try_from(offset).unwrap_or(i64::MAX));
    }
    let mut rows = sql.build().fetch_all(&mut *snapshot).await.map_err(classify)?;
    let size = usize::try_from(part.size).unwrap_or(usize::MAX);
    let more = rows.len() > size;
    rows.truncate(size);
    let next = rows.last().filter(|_| more).map(place_of).transpose()?;
    let items: Result<_, _> = rows.iter().map(read).collect();
    Ok(Found { items: items?, total: u64::try_from(total).unwrap_or(0), next })
}

/// The last two columns.
fn place_of(row: &SqliteRow) -> Result<Place<String>, StoreError> {
    let last = row.len().saturating_sub(1);
    let sort_us = row.try_get(last.saturating_sub(1)).map_err(classify)?;
    Ok(Place { sort_us, id: row.try_get(last).map_err(classify)? })
}
