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
}
