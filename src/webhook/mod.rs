//! Gate: what this server tells other servers, and what it asks them.
//!
//! Events wait in the store's outbox, where they were written with the state they tell of. Everything sent is signed
//! ([`sign`]) with a secret of the [`keyring`]. A question whose answer is used is [`ask`]'s: one try, no queue.

pub mod ask;
pub mod keyring;
pub mod sign;

pub use ask::{AskError, AskKind, Asker, Question};
pub use keyring::{Keyring, KeyringError, SecretSet};
pub use sign::{SignError, SigningSecret};

use crate::schema::webhook::Envelope;

/// Version of the objects in `data`: that of the paths of the API.
pub const API_VERSION: &str = "v1";

/// An envelope.
pub fn envelope(id: String, kind: &str, at: jiff::Timestamp, data: serde_json::Value) -> Envelope {
    Envelope {
        id,
        r#type: kind.to_owned(),
        timestamp: crate::schema::time(at),
        api_version: API_VERSION.to_owned(),
        data,
    }
}

#[cfg(test)]
mod tests;
