//! Entries of a call's journal, as the event stream and `GET /v1/calls/{id}/events` show them.

use serde::Serialize;
use utoipa::ToSchema;

use super::time;
use crate::types::CallEvent;

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Event {
    /// Counts the events of one call, from 1; the id of the server-sent event.
    pub seq: u64,
    /// Whose.
    pub call_id: String,
    /// What, for example `turn_ended`.
    pub r#type: String,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// What the type carries.
    #[schema(value_type = Object)]
    pub data: serde_json::Map<String, serde_json::Value>,
}

impl From<&CallEvent> for Event {
    fn from(event: &CallEvent) -> Self {
        let mut data = match serde_json::to_value(&event.kind) {
            Ok(serde_json::Value::Object(data)) => data,
            _ => serde_json::Map::new(),
        };
        let kind = match data.remove("type") {
            Some(serde_json::Value::String(kind)) => kind,
            _ => String::new(),
        };
        Self {
            seq: event.seq,
            call_id: event.call_id.to_string(),
            r#type: kind,
            at: time(event.at),
            data,
        }
    }
}
