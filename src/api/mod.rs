//! Gate: the HTTP control plane under `/v1`, health, metrics and its own documentation.
//!
//! Handlers read the store (every state of a live call is stored as it changes), and talk to live
//! calls through the switchboard. What is public JSON is [`crate::schema`]'s. Start reading at
//! [`router`]; the errors are [`error`]'s, the listening is [`mod@serve`]'s.

mod access;
mod agents;
mod analysis_templates;
mod analyze;
pub mod auth;
mod batches;
mod calls;
mod campaigns;
mod checks;
mod control;
mod crud;
mod dial;
mod dnc;
pub mod error;
mod extract;
mod health;
mod hookdoc;
mod idempotency;
pub mod jwt;
mod keys;
mod ladder;
mod limit;
mod listen;
mod notifications;
mod numbers;
mod openapi;
mod orders;
mod organizations;
mod paging;
mod pcap;
mod providers;
mod range;
mod rate;
mod recordings;
mod request;
mod retention;
pub mod serve;
mod socket;
mod stats;
mod stream;
mod table;
mod think;
mod tool_templates;
mod transcript;
mod trunks;
mod usage;
mod webhooks;

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
use crate::types::{CallId, CallRecord, Entropy, Scope};

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
    /// Orders, batches and campaigns.
    pub scheduler: crate::scheduler::Handle,
    /// The page of `/metrics`.
    pub metrics: Exporter,
    /// Who is let in.
    pub keys: Keys,
    /// What is made of calls that are over.
    pub after: crate::after::Handle,
    /// Prices and budgets.
    pub accounts: Arc<crate::usage::Accounts>,
    /// Further conditions of readiness.
    pub checks: Checks,
    /// Webhooks.
    pub hooks: crate::webhook::Hooks,
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
    scheduler: crate::scheduler::Handle,
    metrics: Exporter,
    keys: Keys,
    after: crate::after::Handle,
    accounts: Arc<crate::usage::Accounts>,
    checks: Checks,
    hooks: crate::webhook::Hooks,
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
            scheduler: services.scheduler,
            metrics: services.metrics,
            keys: services.keys,
            after: services.after,
            accounts: services.accounts,
            checks: services.checks,
            hooks: services.hooks,
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

    fn new_call_id(&self) -> CallId {
        self.entropy(|entropy| CallId::new(clock::unix_ms(), entropy))
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
        .routes(routes!(ladder::sip))
        .routes(routes!(stats::latency))
        .routes(routes!(stream::of_call))
        .routes(routes!(stream::of_all))
        .routes(routes!(webhooks::of_call))
        .routes(routes!(health::status))
        .routes(routes!(usage::report))
        .merge(orders::reading())
        .merge(batches::reading())
        .merge(campaigns::reading())
        .merge(dnc::reading())
        .merge(readable());
    let dialling = OpenApiRouter::new()
        .routes(routes!(dial::create))
        .merge(orders::writing())
        .merge(batches::writing())
        .merge(campaigns::writing());
    let calls_write = OpenApiRouter::new()
        .merge(idempotency::once(dialling))
        .routes(routes!(analyze::analyze))
        .merge(dnc::writing())
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
        .routes(routes!(control::supervise))
        .routes(routes!(control::end))
        .routes(routes!(control::end_call))
        .routes(routes!(control::interrupt))
        .routes(routes!(control::mute))
        .routes(routes!(control::unmute))
        .routes(routes!(control::dtmf))
        .routes(routes!(control::hold))
        .routes(routes!(control::resume))
        .routes(routes!(control::handoff))
        .routes(routes!(control::set_variables))
        .routes(routes!(control::play))
        .routes(routes!(control::recording));
    let admin = OpenApiRouter::new()
        .routes(routes!(health::drain))
        .routes(routes!(keys::list, keys::create))
        .merge(resources())
        .routes(routes!(webhooks::list, webhooks::create))
        .routes(routes!(webhooks::show, webhooks::update, webhooks::delete))
        .routes(routes!(webhooks::rotate_secret))
        .routes(routes!(webhooks::rotate_default))
        .routes(routes!(webhooks::test))
        .routes(routes!(webhooks::deliveries))
        .routes(routes!(webhooks::show_delivery))
        .routes(routes!(webhooks::redeliver))
        .routes(routes!(notifications::test))
        .routes(routes!(usage::prices, usage::put_prices))
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

/// Resources that whoever sees calls may see.
fn readable() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(agents::list))
        .routes(routes!(agents::show))
        .routes(routes!(agents::versions))
        .routes(routes!(numbers::list))
        .routes(routes!(numbers::show))
        .routes(routes!(providers::voices))
}

/// Resources, to be changed.
fn resources() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(agents::create))
        .routes(routes!(agents::update, agents::delete))
        .routes(routes!(agents::assign))
        .routes(routes!(agents::unassign))
        .routes(routes!(agents::set_primary))
        .routes(routes!(agents::test_turn))
        .routes(routes!(numbers::create))
        .routes(routes!(numbers::update, numbers::delete))
        .routes(routes!(trunks::list, trunks::create))
        .routes(routes!(trunks::show, trunks::update, trunks::delete))
        .routes(routes!(trunks::status))
        .routes(routes!(trunks::test))
        .routes(routes!(tool_templates::list, tool_templates::create))
        .routes(routes!(tool_templates::show, tool_templates::update, tool_templates::delete))
        .routes(routes!(tool_templates::test))
        .routes(routes!(analysis_templates::list, analysis_templates::create))
        .routes(routes!(
            analysis_templates::show,
            analysis_templates::update,
            analysis_templates::delete
        ))
        .routes(routes!(analysis_templates::test))
        .routes(routes!(providers::list))
        .routes(routes!(providers::credentials, providers::create))
        .routes(routes!(providers::show, providers::delete))
        .routes(routes!(providers::test))
        .merge(former())
}

/// Paths that others give to what has another name here.
#[expect(deprecated, reason = "they are kept, and told to be deprecated in the document")]
fn former() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(providers::byok, providers::byok_create))
        .routes(routes!(providers::byok_config))
        .routes(routes!(providers::byok_delete))
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
    document.webhooks = hookdoc::webhooks();
    openapi::join_parts(&mut document);
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
