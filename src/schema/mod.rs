//! Workshop: the public JSON objects and their conversions; source of the OpenAPI document.
//!
//! What `types` keeps and what the API shows are different things on purpose: names here are a
//! stable surface. Times are RFC 3339 UTC with milliseconds. Requests refuse unknown fields.
//! Personal data is revealed here, because the reader holds a key. Start reading at [`call::Call`].

pub mod call;
pub mod control;
pub mod detail;
pub mod event;
pub mod organization;
pub mod page;
pub mod service;
pub mod tool;
pub mod turn;

pub use call::{Call, CallSummary, CreateCall};
pub use control::{Control, ControlReply};
pub use detail::{CallDetail, EventList, LatencyStats, PatchCall, RecordingUrl, Status};
pub use event::Event;
pub use organization::{CreateOrganization, NewOrganization, Organization, PatchOrganization};
pub use page::{CallList, Page};
pub use service::{ApiKey, CreateApiKey, ErrorBody, Health, NewApiKey, Ready};
pub use turn::{CallLatencyReport, Transcript, Turn, TurnLatency};

use serde::Serialize;

/// RFC 3339 in UTC with milliseconds.
pub fn time(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

/// The public name of a value of a closed set.
fn word<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
