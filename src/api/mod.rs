//! Gate: the HTTP control plane under `/v1`, health, metrics and its own documentation.
//!
//! Handlers read the store (every state of a live call is stored as it changes), and talk to live
//! calls through the switchboard. What is public JSON is [`crate::schema`]'s. Start reading at
//! [`router`]; the errors are [`error`]'s, the listening is [`serve`]'s.

pub mod auth;
pub mod error;
mod extract;
mod limit;
mod request;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use serde::{Deserialize, Serialize};

pub use auth::{KeyError, Keys};
pub use request::Peer;

use crate::types::Entropy;

/// The `[api]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address and port to listen on.
    pub bind: SocketAddr,
    /// Largest body of a request, bytes.
    pub body_bytes_max: usize,
    /// Longest time a request's body may take to arrive, seconds.
    pub body_timeout_seconds: u64,
    /// Longest time a request may take to be answered, seconds; streams are not counted.
    pub request_timeout_seconds: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            body_bytes_max: 1_048_576,
            body_timeout_seconds: 30,
            request_timeout_seconds: 60,
        }
    }
}

impl Config {
    fn body_timeout(&self) -> Duration {
        Duration::from_secs(self.body_timeout_seconds.max(1))
    }

    fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_seconds.max(1))
    }
}

/// Everything the handlers use.
pub struct Api {
    config: Config,
    keys: Keys,
    entropy: Mutex<Entropy>,
}

impl Api {
    fn entropy<T>(&self, f: impl FnOnce(&mut Entropy) -> T) -> T {
        f(&mut self.entropy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn new_request_id(&self) -> String {
        format!("req_{}", self.entropy(|entropy| entropy.hex(8)))
    }
}

/// All routes.
pub fn router(api: Arc<Api>) -> Router {
    Router::new()
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::no_method)
        .layer(axum::middleware::from_fn_with_state(api, request::around))
}
