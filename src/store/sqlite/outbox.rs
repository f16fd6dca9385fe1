//! Events for webhooks, written in the transaction of the state change they tell of.
//!
//! The eight events of a call's life follow from its status and nothing else, so they are made here, where the
//! status is written: no path that ends a call can forget one, and a unique key makes each happen once.

use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteConnection;

use super::{classify, encode};
use crate::store::StoreError;
use crate::types::{CallRecord, CallStatus, OutboxEvent, OutboxKind};

/// Writes the lifecycle event that a change of status means, if it means one; says whether it is news.
pub(super) async fn tell_of_change(
    connection: &mut SqliteConnection,
    record: &CallRecord,
    before: Option<(String, bool)>,
) -> Result<bool, StoreError> {
    let (status_before, settling_before) = before.unwrap_or_default();
    let changed = status_before != record.status.as_str();
    let settled = settling_before && !record.is_settling();
    if !(changed || settled) || record.is_settling() {
        return Ok(false);
    }
    // A record that is over stays as it is; a late write of an earlier state is no news.
    let was_over = CallStatus::parse(&status_before).is_some_and(CallStatus::is_terminal);
    if was_over && !settled {
        return Ok(false);
    }
    let Some(kind) = OutboxKind::of_status(record.status) else { return Ok(false) };
    let mut news = insert(connection, &OutboxEvent::of_call(kind, record)).await?;
    if record.status.is_terminal() {
        news |= insert(connection, &OutboxEvent::of_call(OutboxKind::CallReport, record)).await?;
    }
    Ok(news)
}

/// Writes an event, unless nobody listens or it was written before; says whether it was written.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    event: &OutboxEvent,
) -> Result<bool, StoreError> {
    let call_id = event.call_id.map(|id| id.to_string());
    let once = event.kind.once();
    sqlx::query(
        "INSERT INTO outbox (id, organization_id, call_id, order_id, type, once, at_us, inline_url, data)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9
         WHERE ?8 IS NOT NULL OR EXISTS (SELECT 1 FROM resources
             WHERE kind = 'webhook_endpoint' AND organization_id = ?2 AND archived = 0)
         ON CONFLICT DO NOTHING",
    )
    .bind(event_id(event))
    .bind(event.organization_id.as_str())
    .bind(&call_id)
    .bind(event.order_id.map(|id| id.to_string()))
    .bind(event.kind.as_str())
    .bind(once)
    .bind(event.at.as_microsecond())
    .bind(event.inline_url.as_deref().filter(|_| event.kind.is_inline()))
    .bind(encode(&event.data)?)
    .execute(connection)
    .await
    .map(|done| done.rows_affected() > 0)
    .map_err(classify)
}

/// `evt_` and 128 bits that follow from what the event is about, so that the same event written twice is one.
fn event_id(event: &OutboxEvent) -> String {
    let mut hash = Sha256::new();
    for part in [
        event.organization_id.as_str(),
        &event.call_id.map(|id| id.to_string()).unwrap_or_default(),
        &event.order_id.map(|id| id.to_string()).unwrap_or_default(),
        event.kind.as_str(),
        &match event.kind.once() {
            Some(_) => String::new(),
            None => format!("{} {}", event.at.as_nanosecond(), event.data),
        },
    ] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let hex: String = digest.iter().take(16).map(|octet| format!("{octet:02x}")).collect();
    format!("evt_{hex}")
}
