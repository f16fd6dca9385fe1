//! Gate: what this server tells other servers, and what it asks them.
//!
//! Events wait in the store's outbox, where they were written with the state they tell of. [`dispatch`] makes
//! deliveries of them, one for each destination, and sends those until they arrive or the [`schedule`] is over.
//! Everything sent is signed ([`sign`]) with a secret of the [`keyring`]. A question whose answer is used is
//! [`ask`]'s: one try, no queue. Start reading at [`Hooks`].

pub mod ask;
pub mod config;
pub mod dispatch;
pub mod endpoint;
pub mod keyring;
pub mod payload;
pub mod schedule;
pub mod sign;

use std::sync::Arc;

pub use ask::{AskError, AskKind, Asker, Question, Whom};
pub use config::Config;
pub use dispatch::Dispatcher;
pub use endpoint::{EndpointError, Endpoints};
pub use keyring::{AgentSecrets, Keyring, KeyringError, SecretSet};
pub use sign::{SignError, SigningSecret};

use crate::egress::{Client, EgressError};
use crate::schema::webhook::Envelope;
use crate::store::{Sealer, Store};
use crate::types::Entropy;

/// Version of the objects in `data`: that of the paths of the API.
pub const API_VERSION: &str = "v1";

/// What the other rooms use; cheap to clone.
#[derive(Clone)]
pub struct Hooks {
    /// Where events go.
    pub endpoints: Arc<Endpoints>,
    /// Default secrets of organizations.
    pub keyring: Arc<Keyring>,
    /// Asks other servers.
    pub asker: Asker,
}

impl Hooks {
    /// Makes everything; the caller spawns the dispatcher.
    ///
    /// # Errors
    /// When the system has no usable root certificates.
    pub fn new(
        store: Arc<Store>,
        sealer: Arc<Sealer>,
        config: Config,
        entropy: Entropy,
    ) -> Result<(Self, Dispatcher), EgressError> {
        let client = Client::new(config.policy())?;
        let keyring = Arc::new(Keyring::new(Arc::clone(&store), sealer, entropy));
        let endpoints =
            Arc::new(Endpoints::new(Arc::clone(&store), Arc::clone(&keyring), config.policy()));
        let asker = Asker::new(client.clone(), Arc::clone(&keyring), Arc::clone(&endpoints));
        let dispatcher =
            Dispatcher::new(store, Arc::clone(&keyring), Arc::clone(&endpoints), client, config);
        Ok((Self { endpoints, keyring, asker }, dispatcher))
    }
}

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
