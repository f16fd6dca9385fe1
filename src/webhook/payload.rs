//! What an event says: the envelope with public objects, never larger than a receiver takes.

use serde_json::{Map, Value, json};

use crate::schema::{Call, CallLatencyReport, Turn};
use crate::store::delivery::StoredEvent;
use crate::store::{Store, StoreError};
use crate::types::{CallRecord, OutboxKind, TurnRecord};

/// Largest body, octets.
pub const BODY_BYTES_MAX: usize = 1_048_576;

/// Why an event can't be told.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The store.
    #[error("read what the event is about")]
    Store(#[from] StoreError),
    /// It is not JSON, or not a call.
    #[error("read the event")]
    Decode(#[source] serde_json::Error),
}

/// The body of an event.
///
/// # Errors
/// When the store fails or the event is not what this version understands.
pub async fn body(store: &Store, stored: &StoredEvent) -> Result<String, PayloadError> {
    let event = &stored.event;
    let mut data = match &event.data {
        Value::Object(data) => data.clone(),
        _ => Map::new(),
    };
    // Counts all events of the server, so that a receiver can put them in order.
    data.insert("seq".to_owned(), json!(stored.seq));
    if let Some(record) = data.get("call").cloned() {
        let record: CallRecord = serde_json::from_value(record).map_err(PayloadError::Decode)?;
        data.insert("call".to_owned(), value(&Call::from(&record))?);
        if event.kind == OutboxKind::CallReport {
            let turns = store.turns(record.id).await?;
            report(&mut data, &record, &turns)?;
        }
    }
    fit(stored, data)
}

/// What a report says beyond the call: everything that was made of it.
fn report(
    data: &mut Map<String, Value>,
    record: &CallRecord,
    turns: &[TurnRecord],
) -> Result<(), PayloadError> {
    let turned: Vec<Turn> = turns.iter().map(Turn::from).collect();
    let recording = data.get("call").and_then(|call| call.get("recording_url")).cloned();
    data.insert("transcript".to_owned(), value(&turned)?);
    data.insert("latency".to_owned(), value(&CallLatencyReport::new(record, turns))?);
    data.insert("recording_url".to_owned(), recording.unwrap_or_default());
    data.insert("summary".to_owned(), value(&record.summary)?);
    data.insert("result".to_owned(), value(&record.result)?);
    data.insert("analysis".to_owned(), value(&record.analysis)?);
    Ok(())
}

fn value<T: serde::Serialize>(object: &T) -> Result<Value, PayloadError> {
    serde_json::to_value(object).map_err(PayloadError::Decode)
}

/// Cuts the transcript from its end, and then the largest fields of the call, until the body fits.
fn fit(stored: &StoredEvent, mut data: Map<String, Value>) -> Result<String, PayloadError> {
    let mut body = write(stored, &data)?;
    if body.len() <= BODY_BYTES_MAX {
        return Ok(body);
    }
    data.insert("truncated".to_owned(), Value::Bool(true));
    let mut over = body.len() - BODY_BYTES_MAX + "\"truncated\":true,".len();
    for key in ["transcript", "latency"] {
        let list = match data.get_mut(key) {
            Some(Value::Object(report)) => report.get_mut("turns"),
            other => other,
        };
        let Some(Value::Array(list)) = list else { continue };
        while over > 0 {
            let Some(last) = list.pop() else { break };
            // The comma goes too.
            over = over.saturating_sub(last.to_string().len() + 1);
        }
    }
    body = write(stored, &data)?;
    while body.len() > BODY_BYTES_MAX {
        if !empty_largest(&mut data) {
            break;
        }
        body = write(stored, &data)?;
    }
    Ok(body)
}

/// Empties the largest field that an object of the data holds; says whether there was one worth it.
fn empty_largest(data: &mut Map<String, Value>) -> bool {
    // What every object has and what identifies it is small.
    const WORTH_BYTES: usize = 256;
    let mut largest: Option<(usize, &mut Value)> = None;
    for object in data.values_mut() {
        let fields: Vec<&mut Value> = match object {
            Value::Object(fields) => fields.values_mut().collect(),
            other => vec![other],
        };
        for field in fields {
            let size = field.to_string().len();
            if size > largest.as_ref().map_or(WORTH_BYTES, |(most, _)| *most) {
                largest = Some((size, field));
            }
        }
    }
    largest.is_some_and(|(_, field)| {
        *field = Value::Null;
        true
    })
}

fn write(stored: &StoredEvent, data: &Map<String, Value>) -> Result<String, PayloadError> {
    let event = &stored.event;
    let data = Value::Object(data.clone());
    let envelope = super::envelope(stored.id.clone(), event.kind.as_str(), event.at, data);
    serde_json::to_string(&envelope).map_err(PayloadError::Decode)
}
