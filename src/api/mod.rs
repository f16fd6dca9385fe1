//! Gate: the HTTP control plane under `/v1`, health, metrics and its own documentation.
//!
//! Handlers read the store (every state of a live call is stored as it changes), and talk to live
//! calls through the switchboard. What is public JSON is [`crate::schema`]'s. Start reading at
//! [`router`]; the errors are [`error`]'s, the listening is [`mod@serve`]'s.

mod access;
pub mod auth;
mod calls;
mod control;
mod dial;
pub mod error;
mod extract;
mod health;
mod idempotency;
pub mod jwt;
mod keys;
mod limit;
mod listen;
mod openapi;
mod organizations;
mod range;
mod rate;
mod recordings;
mod request;
mod retention;
pub mod serve;
mod socket;
mod stats;
mod stream;
mod transcript;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use auth::{KeyError, Keys};
pub use request::Peer;
pub use serve::{STOP_WAIT, serve};

use crate::net::clock;
use crate::schema::service::Check;
use crate::store::Store;
use crate::store::recording::Recordings;
use crate::switchboard;
use crate::telemetry::metrics::Exporter;
use crate::types::{CallRecord, Entropy, Scope};

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
    /// Longest time until a request's answer begins, seconds.
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

/// Conditions of readiness that only the server knows, such as a missing speech package.
pub type Checks = Box<dyn Fn() -> Vec<Check> + Send + Sync>;

/// What the control plane is made of.
pub struct Services {
    /// Where calls are kept.
    pub store: Arc<Store>,
    /// Where their audio is kept.
    pub recordings: Recordings,
    /// Live calls.
    pub switchboard: switchboard::Handle,
    /// The page of `/metrics`.
    pub metrics: Exporter,
    /// Who is let in.
    pub keys: Keys,
    /// Further conditions of readiness.
    pub checks: Checks,
    /// For request ids and new keys.
    pub entropy: Entropy,
    /// Ends the event streams when the server stops.
    pub stop: CancellationToken,
}

/// Everything the handlers use.
struct Api {
    config: Config,
    store: Arc<Store>,
    recordings: Recordings,
    switchboard: switchboard::Handle,
    metrics: Exporter,
    keys: Keys,
    checks: Checks,
    entropy: Mutex<Entropy>,
    stop: CancellationToken,
    started_at: Instant,
    drain_asked: AtomicBool,
    streams: Arc<Semaphore>,
    dialled: Mutex<VecDeque<CallRecord>>,
}

impl Api {
    fn new(config: Config, services: Services) -> Self {
        Self {
            config,
            store: services.store,
            recordings: services.recordings,
            switchboard: services.switchboard,
            metrics: services.metrics,
            keys: services.keys,
            checks: services.checks,
            entropy: Mutex::new(services.entropy),
            stop: services.stop,
            started_at: clock::now(),
            drain_asked: AtomicBool::new(false),
            streams: Arc::new(Semaphore::new(stream::STREAMS_MAX)),
            dialled: Mutex::default(),
        }
    }

    fn entropy<T>(&self, f: impl FnOnce(&mut Entropy) -> T) -> T {
        f(&mut self.entropy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn new_request_id(&self) -> String {
        format!("req_{}", self.entropy(|entropy| entropy.hex(8)))
    }

    fn dialled_lock(&self) -> MutexGuard<'_, VecDeque<CallRecord>> {
        self.dialled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Routes that need a key, by the scope they need.
fn private() -> OpenApiRouter<Arc<Api>> {
    let calls_read = OpenApiRouter::new()
        .routes(routes!(calls::list))
        .routes(routes!(calls::show))
        .routes(routes!(transcript::transcript))
        .routes(routes!(transcript::latency))
        .routes(routes!(transcript::events))
        .routes(routes!(stats::latency))
        .routes(routes!(stream::of_call))
        .routes(routes!(stream::of_all))
        .routes(routes!(health::status));
    let dialling = OpenApiRouter::new().routes(routes!(dial::create));
    let calls_write = OpenApiRouter::new()
        .merge(idempotency::once(dialling))
        .routes(routes!(calls::patch))
        .routes(routes!(calls::erase))
        .routes(routes!(calls::delete_recording))
        .routes(routes!(calls::cancel));
    let media = OpenApiRouter::new()
        .routes(routes!(recordings::download))
        .routes(routes!(recordings::url))
        .routes(routes!(listen::listen));
    let control = OpenApiRouter::new()
        .routes(routes!(control::control))
        .routes(routes!(control::say))
        .routes(routes!(control::inject_context))
        .routes(routes!(control::transfer))
        .routes(routes!(control::end))
        .routes(routes!(control::end_call))
        .routes(routes!(control::interrupt))
        .routes(routes!(control::mute))
        .routes(routes!(control::unmute))
        .routes(routes!(control::dtmf));
    let admin = OpenApiRouter::new()
        .routes(routes!(health::drain))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::revoke))
        .routes(routes!(organizations::one, organizations::patch))
        .routes(routes!(organizations::list, organizations::create));
    OpenApiRouter::new()
        .merge(access::group(Scope::CallsRead, calls_read))
        .merge(access::group(Scope::CallsWrite, calls_write))
        .merge(access::group(Scope::Media, media))
        .merge(access::group(Scope::Control, control))
        .merge(access::group(Scope::Admin, admin))
}

/// Routes for probes, scrapers and signed links, which have no key.
fn public() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(recordings::signed))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
}

/// The OpenAPI document of this version.
pub fn document() -> utoipa::openapi::OpenApi {
    let mut document = openapi::ApiDoc::openapi();
    document.merge(private().into_openapi());
    document.merge(public().into_openapi());
    openapi::add_errors(&mut document);
    openapi::join_tags(&mut document);
    document
}

/// All routes.
pub fn router(config: Config, services: Services) -> Router {
    let api = Arc::new(Api::new(config, services));
    // Without a runtime (the document alone is wanted) there is nothing to keep in order.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(retention::run(Arc::clone(&api)));
    }
    let (private, _) = private().split_for_parts();
    let (public, _) = public().split_for_parts();
    let key = axum::middleware::from_fn_with_state(Arc::clone(&api), auth::require);
    private
        .route_layer(key)
        .merge(public)
        .merge(openapi::routes(&document()))
        .fallback(error::no_route)
        .method_not_allowed_fallback(error::no_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&api), request::around))
        .with_state(api)
}

#[cfg(test)]
mod tests;
