//! Resources: whatever operators make through the API and that is small in number.

use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite};

use super::page::{Sorting, page};
use super::{Store, classify};
use crate::store::{Found, Resource, ResourceQuery, StoreError};
use crate::types::OrganizationId;

const COLUMNS: &str =
    "kind, id, organization_id, unique_key, version, archived, created_us, updated_us, doc, sealed";

/// Resources.
impl Store {
    /// Adds a resource.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if its id or its unique key exists.
    pub async fn insert_resource(&self, resource: &Resource) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO resources (kind, id, organization_id, unique_key, version, archived,
                 created_us, updated_us, doc, sealed)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )
        .bind(resource.kind)
        .bind(&resource.id)
        .bind(resource.organization_id.as_str())
        .bind(&resource.unique_key)
        .bind(i64::from(resource.version))
        .bind(i64::from(resource.archived))
        .bind(resource.created_at.as_microsecond())
        .bind(resource.updated_at.as_microsecond())
        .bind(resource.doc.to_string())
        .bind(&resource.sealed)
        .execute(&self.writer)
        .await
        .map(drop)
        .map_err(classify)
    }

    /// Writes a resource over the one of version `resource.version - 1`.
    ///
    /// # Errors
    /// [`StoreError::Taken`] if its unique key exists, [`StoreError::Stale`] if somebody else was faster or
    /// it is gone.
    pub async fn update_resource(&self, resource: &Resource) -> Result<(), StoreError> {
        let done = sqlx::query(
            "UPDATE resources SET unique_key = ?4, version = ?5, archived = ?6, updated_us = ?7,
                 doc = ?8, sealed = ?9
             WHERE kind = ?1 AND id = ?2 AND organization_id = ?3 AND version = ?5 - 1",
        )
        .bind(resource.kind)
        .bind(&resource.id)
        .bind(resource.organization_id.as_str())
        .bind(&resource.unique_key)
        .bind(i64::from(resource.version))
        .bind(i64::from(resource.archived))
        .bind(resource.updated_at.as_microsecond())
        .bind(resource.doc.to_string())
        .bind(&resource.sealed)
        .execute(&self.writer)
        .await
        .map_err(classify)?;
        if done.rows_affected() == 0 { Err(StoreError::Stale) } else { Ok(()) }
    }

    /// Removes a resource; says whether there was one.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn delete_resource(
        &self,
        kind: &'static str,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<bool, StoreError> {
        sqlx::query("DELETE FROM resources WHERE kind = ?1 AND id = ?2 AND organization_id = ?3")
            .bind(kind)
            .bind(id)
            .bind(organization.as_str())
            .execute(&self.writer)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(classify)
    }

    /// A resource of an organization, archived or not.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn resource(
        &self,
        kind: &'static str,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<Option<Resource>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT ");
        sql.push(COLUMNS).push(" FROM resources WHERE kind = ").push_bind(kind);
        sql.push(" AND id = ").push_bind(id.to_owned());
        sql.push(" AND organization_id = ").push_bind(organization.as_str().to_owned());
        let row = sql.build().fetch_optional(&self.readers).await.map_err(classify)?;
        row.as_ref().map(|row| read(kind, row)).transpose()
    }

    /// Every resource of a kind, of all organizations, archived ones left out.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn all_resources(&self, kind: &'static str) -> Result<Vec<Resource>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT ");
        sql.push(COLUMNS).push(" FROM resources WHERE archived = 0 AND kind = ").push_bind(kind);
        sql.push(" ORDER BY created_us, id");
        let rows = sql.build().fetch_all(&self.readers).await.map_err(classify)?;
        rows.iter().map(|row| read(kind, row)).collect()
    }

    /// A page of an organization's resources, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_resources(
        &self,
        query: &ResourceQuery,
    ) -> Result<Found<Resource>, StoreError> {
        let mut snapshot = self.readers.begin().await.map_err(classify)?;
        let filters = |sql: &mut QueryBuilder<Sqlite>| {
            sql.push(" FROM resources WHERE kind = ").push_bind(query.kind);
            sql.push(" AND organization_id = ")
                .push_bind(query.organization_id.as_str().to_owned());
            if !query.archived {
                sql.push(" AND archived = 0");
            }
            for (path, value) in &query.equal {
                sql.push(" AND json_extract(doc, ").push_bind(format!("$.{path}"));
                sql.push(") = ").push_bind(value.clone());
            }
        };
        let read = |row: &SqliteRow| read(query.kind, row);
        page(&mut snapshot, COLUMNS, filters, Sorting::Newest, &query.part, read).await
    }
}

fn read(kind: &'static str, row: &SqliteRow) -> Result<Resource, StoreError> {
    let time = |name| -> Result<jiff::Timestamp, StoreError> {
        let us: i64 = row.try_get(name).map_err(classify)?;
        Ok(jiff::Timestamp::from_microsecond(us).unwrap_or_default())
    };
    let doc: &str = row.try_get("doc").map_err(classify)?;
    let organization: String = row.try_get("organization_id").map_err(classify)?;
    let version: i64 = row.try_get("version").map_err(classify)?;
    Ok(Resource {
        kind,
        id: row.try_get("id").map_err(classify)?,
        organization_id: OrganizationId::new(organization),
        unique_key: row.try_get("unique_key").map_err(classify)?,
        version: u32::try_from(version).unwrap_or(u32::MAX),
        archived: row.try_get("archived").map_err(classify)?,
        created_at: time("created_us")?,
        updated_at: time("updated_us")?,
        doc: serde_json::from_str(doc).map_err(StoreError::Decode)?,
        sealed: row.try_get("sealed").map_err(classify)?,
    })
}
