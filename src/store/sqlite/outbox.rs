//! Events for webhooks, written in the transaction of the state change they tell of.
//!
//! The eight events of a call's life follow from its status and nothing else, so they are made here, where the
//! status is written: no path that ends a call can forget one, and a unique key makes each happen once.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteConnection;

use super::{classify, decode, encode, word};
use crate::store::StoreError;
use crate::types::{
    AnsweredBy, CallEvent, CallEventKind, CallRecord, CallStatus, EndReason, OutboxEvent,
    OutboxKind,
};

/// What a call's row held before: status, whether it was settling, who picked up.
pub(super) type Before = (String, bool, Option<String>);

/// Writes the events that a change of a call means, if it means one; says whether it is news.
pub(super) async fn tell_of_change(
    connection: &mut SqliteConnection,
    record: &CallRecord,
    before: Option<Before>,
) -> Result<bool, StoreError> {
    let (status_before, settling_before, by_before) = before.unwrap_or_default();
    let news = tell_of_answer(connection, record, by_before.as_deref()).await?;
    let told = tell_of_status(connection, record, (&status_before, settling_before)).await?;
    Ok(news || told)
}

/// Who or what picked up, as soon as that is known; `unknown` at the end is no knowledge.
async fn tell_of_answer(
    connection: &mut SqliteConnection,
    record: &CallRecord,
    before: Option<&str>,
) -> Result<bool, StoreError> {
    let known = record.answered_by.filter(|by| *by != AnsweredBy::Unknown);
    let Some(by) = known.map(|by| word(&by)).filter(|by| Some(by.as_str()) != before) else {
        return Ok(false);
    };
    let mut event = OutboxEvent::of_call(OutboxKind::AnsweredBy, record);
    if let Value::Object(data) = &mut event.data {
        data.insert("answered_by".to_owned(), by.into());
    }
    insert(connection, &event).await
}

async fn tell_of_status(
    connection: &mut SqliteConnection,
    record: &CallRecord,
    (status_before, settling_before): (&str, bool),
) -> Result<bool, StoreError> {
    let changed = status_before != record.status.as_str();
    let settled = settling_before && !record.is_settling();
    // What is made of a call again is no news of its life.
    let again = record.after.as_ref().is_some_and(|plan| plan.rerun);
    if !(changed || settled) || record.is_settling() || again {
        return Ok(false);
    }
    // A record that is over stays as it is; a late write of an earlier state is no news.
    let was_over = CallStatus::parse(status_before).is_some_and(CallStatus::is_terminal);
    if was_over && !settled {
        return Ok(false);
    }
    let Some(kind) = OutboxKind::of_status(record.status) else { return Ok(false) };
    let mut news = false;
    if record.end_reason == Some(EndReason::Transferred) {
        let told = OutboxEvent::of_call(OutboxKind::CallTransferred, record);
        news |= insert(connection, &told).await?;
    }
    news |= insert(connection, &OutboxEvent::of_call(kind, record)).await?;
    if record.status.is_terminal() {
        news |= insert(connection, &OutboxEvent::of_call(OutboxKind::CallReport, record)).await?;
    }
    Ok(news)
}

/// Writes the event that an entry of a journal means, if it means one; says whether it is news.
pub(super) async fn tell_of_journal(
    connection: &mut SqliteConnection,
    entry: &CallEvent,
) -> Result<bool, StoreError> {
    let (kind, more) = match &entry.kind {
        CallEventKind::DtmfReceived { digit } => {
            (OutboxKind::CallDtmf, json!({ "digit": digit.reveal() }))
        }
        CallEventKind::TransferFailed { sip_status, message } => {
            let more = json!({ "sip_status": sip_status, "message": message });
            (OutboxKind::TransferFailed, more)
        }
        CallEventKind::ProviderFailover { failover } => {
            (OutboxKind::ProviderFailover, json!({ "failover": failover }))
        }
        _ => return Ok(false),
    };
    let row = sqlx::query("SELECT record FROM calls WHERE id = ?1")
        .bind(entry.call_id.to_string())
        .fetch_optional(&mut *connection)
        .await
        .map_err(classify)?;
    let Some(row) = row else { return Ok(false) };
    let mut event = OutboxEvent::of_call(kind, &decode(&row)?);
    event.at = entry.at;
    if let (Value::Object(data), Value::Object(more)) = (&mut event.data, more) {
        data.extend(more);
    }
    insert(connection, &event).await
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
    .bind(event.inline_url.as_deref())
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

#[cfg(test)]
impl super::Store {
    /// Names of all events, in order.
    pub(crate) async fn outbox_kinds_for_test(&self) -> Vec<String> {
        let query = sqlx::query_scalar("SELECT type FROM outbox ORDER BY seq");
        query.fetch_all(&self.readers).await.expect("the outbox")
    }

    /// Removes a call, as its erasure does.
    pub(crate) async fn delete_call_for_test(&self, id: crate::types::CallId) {
        let query = sqlx::query("DELETE FROM calls WHERE id = ?1").bind(id.to_string());
        query.execute(&self.writer).await.expect("the call");
    }

    /// Empties the outbox, as its upkeep does with what was delivered.
    pub(crate) async fn forget_outbox_for_test(&self) {
        sqlx::query("DELETE FROM outbox").execute(&self.writer).await.expect("the outbox");
    }
}
