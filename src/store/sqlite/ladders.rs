//! The SIP messages of calls.

use super::{Store, classify, decode, encode};
use crate::store::StoreError;
use crate::types::{CallId, SipLadder};

/// SIP messages.
impl Store {
    /// Keeps a call's messages; what was kept of it before is replaced. A call that is not there, because it was
    /// erased, gets none.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn put_ladder(&self, id: CallId, ladder: &SipLadder) -> Result<(), StoreError> {
        let mut connection = self.relaxed().await?;
        sqlx::query(
            "INSERT INTO sip_messages (call_id, record) SELECT id, ?2 FROM calls WHERE id = ?1
             ON CONFLICT DO UPDATE SET record = excluded.record",
        )
        .bind(id.to_string())
        .bind(encode(ladder)?)
        .execute(&mut *connection)
        .await
        .map_err(classify)?;
        Ok(())
    }

    /// A call's messages; `None` if none are kept.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn ladder(&self, id: CallId) -> Result<Option<SipLadder>, StoreError> {
        let query =
            sqlx::query("SELECT record FROM sip_messages WHERE call_id = ?1").bind(id.to_string());
        let row = query.fetch_optional(&self.readers).await.map_err(classify)?;
        row.as_ref().map(decode).transpose()
    }
}
