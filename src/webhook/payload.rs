//! What an event says: the envelope with public objects, never larger than a receiver takes.

use serde_json::{Map, Value, json};

use crate::schema::webhook::Envelope;
use crate::schema::{Call, CallLatencyReport, Turn};
use crate::store::delivery::StoredEvent;
use crate::store::sign::Link;
use crate::store::{Store, StoreError};
use crate::types::{CallRecord, OutboxKind, TurnRecord};

/// Largest body, octets.
pub const BODY_BYTES_MAX: usize = 1_048_576;
/// What is left free of it for the link to the recording, which stands in a report three times.
const LINK_BYTES: usize = 1_024;

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
    // An order that never came to a call has none.
    if let Some(record) = data.get("call").filter(|call| !call.is_null()).cloned() {
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
    data.insert("transcript".to_owned(), value(&turned)?);
    data.insert("latency".to_owned(), value(&CallLatencyReport::new(record, turns))?);
    data.insert("recording_url".to_owned(), Value::Null);
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
    let most = BODY_BYTES_MAX - LINK_BYTES;
    if body.len() <= most {
        return Ok(body);
    }
    data.insert("truncated".to_owned(), Value::Bool(true));
    let mut over = body.len() - most + "\"truncated\":true,".len();
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
    while body.len() > most {
        if !empty_largest(&mut data) {
            break;
        }
        body = write(stored, &data)?;
    }
    Ok(body)
}

/// Whether a body tells of a recording that can be downloaded.
pub fn has_recording(body: &str) -> bool {
    // Most bodies tell of none, and a string that looks like it costs no more than a look.
    body.contains(r#""status":"available""#) || body.contains(r#""status":"partial""#)
}

/// Puts a link to the recording into a body that is about to be sent.
///
/// The link is no part of the stored body: it lives for an hour and the last retry comes after days, and whoever may
/// read deliveries may not hear calls. So the tries of a delivery differ in it, and each is signed as it is sent.
pub fn with_link(body: String, link: &Link) -> String {
    let Ok(mut envelope) = serde_json::from_str::<Envelope>(&body) else { return body };
    let is_playable = |call: &Value| {
        let status = call.get("recording").and_then(|recording| recording.get("status"));
        matches!(status.and_then(Value::as_str), Some("available" | "partial"))
    };
    let Some(data) = envelope.data.as_object_mut() else { return body };
    let Some(call) = data.get_mut("call").filter(|call| is_playable(call)) else { return body };
    let url = || Value::String(link.path.clone());
    if let Some(Value::Object(recording)) = call.get_mut("recording") {
        recording.insert("url".to_owned(), url());
        let expires_at = crate::schema::time(link.expires_at);
        recording.insert("expires_at".to_owned(), Value::String(expires_at));
    }
    if let Value::Object(call) = call {
        call.insert("recording_url".to_owned(), url());
    }
    // Of a report.
    if let Some(field) = data.get_mut("recording_url") {
        *field = url();
    }
    serde_json::to_string(&envelope).unwrap_or(body)
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
