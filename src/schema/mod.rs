//! Workshop: the public JSON objects and their conversions; source of the OpenAPI document.
//!
//! What `types` keeps and what the API shows are different things on purpose: names here are a
//! stable surface. Times are RFC 3339 UTC with milliseconds. Requests refuse unknown fields.
//! Personal data is revealed here, because the reader holds a key. Start reading at [`call::Call`].

mod short;

pub mod agent;
pub mod analyze;
pub mod batch;
pub mod call;
pub mod calling;
pub mod campaign;
pub mod control;
pub mod detail;
pub mod dial;
pub mod engine;
pub mod event;
pub mod identity;
pub mod ladder;
pub mod order;
pub mod organization;
pub mod page;
pub mod provider;
pub mod quality;
pub mod resource;
pub mod secret;
pub mod service;
pub mod telephony;
pub mod template;
pub mod tool;
pub mod turn;
pub mod usage;
pub mod webhook;

pub use agent::Agent;
pub use call::{AcceptedCall, Call, CallSummary, CreateCall};
pub use control::{Control, ControlReply};
pub use detail::{CallDetail, EventList, LatencyStats, PatchCall, RecordingUrl, Status};
pub use event::Event;
pub use organization::{CreateOrganization, NewOrganization, Organization, PatchOrganization};
pub use page::{CallList, Page};
pub use provider::ProviderCredential;
pub use resource::View;
pub use service::{ApiKey, CreateApiKey, ErrorBody, Health, NewApiKey, Ready};
pub use telephony::{Number, SipTrunk};
pub use template::{AnalysisTemplate, ToolTemplate};
pub use turn::{CallLatencyReport, Transcript, Turn, TurnLatency};

use serde::Serialize;
use short::short_form;

/// RFC 3339 in UTC with milliseconds.
pub fn time(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

/// The public name of a value of a closed set.
pub fn word<T: Serialize>(value: T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
