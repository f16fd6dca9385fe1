//! Answers that are given once more to the same request.

use sqlx::Row;

use super::{Store, classify};
use crate::store::{Claim, StoreError, StoredAnswer};
use crate::types::OrganizationId;

/// Keys an organization may have in use at once; beyond, the oldest answered one is forgotten.
const KEYS_MAX: i64 = 100_000;
/// How long a key is remembered.
const KEPT: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// Idempotency keys.
impl Store {
    /// Takes a key for a request, or says what became of the one that has it.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn claim_key(
        &self,
        organization: &OrganizationId,
        key: &str,
        fingerprint: &str,
        now: jiff::Timestamp,
    ) -> Result<Claim, StoreError> {
        let oldest = now.checked_sub(KEPT).unwrap_or(now).as_microsecond();
        let mut transaction = self.writer.begin().await.map_err(classify)?;
        sqlx::query("DELETE FROM idempotency WHERE created_us <= ?1")
            .bind(oldest)
            .execute(&mut *transaction)
            .await
            .map_err(classify)?;
        let row = sqlx::query(
            "SELECT fingerprint, status, location, body, subject FROM idempotency
             WHERE organization_id = ?1 AND key = ?2",
        )
        .bind(organization.as_str())
        .bind(key)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(classify)?;
        let claim = match row {
            Some(row) => known(&row, fingerprint)?,
            None => {
                let count: i64 = sqlx::query_scalar(
                    "SELECT count(*) FROM idempotency WHERE organization_id = ?1",
                )
                .bind(organization.as_str())
                .fetch_one(&mut *transaction)
                .await
                .map_err(classify)?;
                if count >= KEYS_MAX {
                    return Ok(Claim::Full);
                }
                sqlx::query(
                    "INSERT INTO idempotency (organization_id, key, fingerprint, created_us)
                     VALUES (?1, ?2, ?3, ?4)",
                )
                .bind(organization.as_str())
                .bind(key)
                .bind(fingerprint)
                .bind(now.as_microsecond())
                .execute(&mut *transaction)
                .await
                .map_err(classify)?;
                Claim::Mine
            }
        };
        transaction.commit().await.map_err(classify)?;
        Ok(claim)
    }

    /// Keeps the answer to the request that took the key.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn answer_key(
        &self,
        organization: &OrganizationId,
        key: &str,
        answer: &StoredAnswer,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE idempotency SET status = ?3, location = ?4, body = ?5, subject = ?6
             WHERE organization_id = ?1 AND key = ?2",
        )
        .bind(organization.as_str())
        .bind(key)
        .bind(i64::from(answer.status))
        .bind(&answer.location)
        .bind(&answer.body)
        .bind(&answer.subject)
        .execute(&self.writer)
        .await
        .map(drop)
        .map_err(classify)
    }

    /// Gives a key back whose request was refused or came to nothing.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn free_key(
        &self,
        organization: &OrganizationId,
        key: &str,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM idempotency WHERE organization_id = ?1 AND key = ?2")
            .bind(organization.as_str())
            .bind(key)
            .execute(&self.writer)
            .await
            .map(drop)
            .map_err(classify)
    }
}

fn known(row: &sqlx::sqlite::SqliteRow, fingerprint: &str) -> Result<Claim, StoreError> {
    let before: &str = row.try_get("fingerprint").map_err(classify)?;
    let same = before == fingerprint;
    let status: Option<i64> = row.try_get("status").map_err(classify)?;
    let Some(status) = status else { return Ok(Claim::Running { same }) };
    let answer = StoredAnswer {
        status: u16::try_from(status).unwrap_or(500),
        location: row.try_get("location").map_err(classify)?,
        body: row.try_get("body").map_err(classify)?,
        subject: row.try_get("subject").map_err(classify)?,
    };
    Ok(Claim::Answered { same, answer })
}
