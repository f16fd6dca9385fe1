//! Gate: speech and language services behind four traits. Nothing above this room knows a vendor.
//!
//! Every session is a pair of bounded channels: input one way, events the other. Dropping a session
//! (or a reply stream) cancels the work at the provider. Each vendor stands in one file.

mod clock;
pub mod config;
pub mod error;
pub mod http;
pub mod llm;
pub mod phrase;
pub mod probe;
pub mod realtime;
pub mod scripted;
pub mod socket;
pub mod stt;
pub mod tts;
pub mod turn_model;
pub mod vendors;

pub use error::{FailureKind, ProviderError, Stage};

#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
#[cfg(any(test, feature = "fuzzing"))]
pub use fuzz::provider_message;

#[cfg(test)]
#[path = "tests/conformance.rs"]
mod conformance;
