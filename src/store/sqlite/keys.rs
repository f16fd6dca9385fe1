//! API keys.

use super::{Store, classify, decode, decode_all, encode};
use crate::store::{ApiKeyRecord, StoreError};

/// API keys.
impl Store {
    /// Adds a key.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn insert_key(&self, key: &ApiKeyRecord) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO api_keys (hash, created_us, record) VALUES (?1, ?2, ?3)")
            .bind(&key.hash)
            .bind(key.created_at.as_microsecond())
            .bind(encode(key)?)
            .execute(&self.writer)
            .await
            .map(drop)
            .map_err(classify)
    }

    /// Every key, oldest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn keys(&self) -> Result<Vec<ApiKeyRecord>, StoreError> {
        let query = sqlx::query("SELECT record FROM api_keys ORDER BY created_us");
        decode_all(&query.fetch_all(&self.readers).await.map_err(classify)?)
    }

    /// The key with this hash.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn key_by_hash(&self, hash: &str) -> Result<Option<ApiKeyRecord>, StoreError> {
        let query = sqlx::query("SELECT record FROM api_keys WHERE hash = ?1").bind(hash);
        let row = query.fetch_optional(&self.readers).await.map_err(classify)?;
        row.as_ref().map(decode).transpose()
    }

    /// Writes a key over what is stored of it; says whether there is one.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn update_key(&self, key: &ApiKeyRecord) -> Result<bool, StoreError> {
        sqlx::query("UPDATE api_keys SET record = ?2 WHERE hash = ?1")
            .bind(&key.hash)
            .bind(encode(key)?)
            .execute(&self.writer)
            .await
            .map(|done| done.rows_affected() > 0)
            .map_err(classify)
    }

    /// Notes when keys were used.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn keys_used(&self, uses: &[(String, jiff::Timestamp)]) -> Result<(), StoreError> {
        for (id, at) in uses {
            sqlx::query(
                "INSERT INTO api_key_uses (id, last_us) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET last_us = max(last_us, excluded.last_us)",
            )
            .bind(id)
            .bind(at.as_microsecond())
            .execute(&self.writer)
            .await
            .map_err(classify)?;
        }
        Ok(())
    }

    /// When each key was used last.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn key_uses(&self) -> Result<Vec<(String, jiff::Timestamp)>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT id, last_us FROM api_key_uses")
            .fetch_all(&self.readers)
            .await
            .map_err(classify)?;
        let time = |us| jiff::Timestamp::from_microsecond(us).unwrap_or_default();
        Ok(rows.into_iter().map(|(id, us)| (id, time(us))).collect())
    }
}
