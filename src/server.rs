//! Builds everything from the configuration, runs it, and takes it down in order.

mod agents;
mod dial;
pub(crate) mod external;
mod sockets;
mod tools;
mod upkeep;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::api::auth::{KeyError, Keys};
use crate::api::jwt::Verifier;
use crate::call::{CallContext, EventBus, Occasion, TtsCache, recorder};
use crate::catalog::Catalog;
use crate::config::sections::UnknownSource;
use crate::config::{Config, Env};
use crate::engine::port::Ports;
use crate::net::clock;
use crate::providers::turn_model::EndOfTurn;
use crate::sip::Transport;
use crate::sip::config::{Limits, SessionConfig, TrunkAccess};
use crate::store::recording::Recordings;
use crate::store::{Sealer, Store, Writer};
use crate::switchboard;
use crate::telemetry::metrics::Exporter;
use crate::types::{CallRecord, Entropy, TrunkName};
use crate::usage::{Accounts, Prices};
use crate::webhook;

pub(crate) use agents::credentials as trunk_credentials;
pub(crate) use sockets::certificates;

/// Why the server did not start. Nothing is left half-started.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No randomness.
    #[error("get random bytes from the system")]
    Entropy(#[from] rand::rngs::SysError),
    /// Metrics.
    #[error("install the metrics recorder")]
    Metrics(#[from] crate::telemetry::metrics::MetricsError),
    /// Records.
    #[error("open the call store (setting `store.database`)")]
    Store(#[from] crate::store::StoreError),
    /// API keys.
    #[error("set up the API keys (setting `api.key`)")]
    Keys(#[from] KeyError),
    /// Secrets at rest.
    #[error("set up the sealing of secrets (setting `store.master_key`)")]
    Seal(#[from] crate::store::SealError),
    /// Webhooks.
    #[error("set up webhooks")]
    Webhooks(#[from] crate::egress::EgressError),
    /// Agents, numbers and trunks that were made over the API.
    #[error("read the stored agents, numbers and trunks")]
    Catalog(#[from] crate::catalog::CatalogError),
    /// Recordings.
    #[error("open the recordings (setting `store.recordings`)")]
    Recordings(#[from] crate::store::recording::RecordingError),
    /// The directory of renderings.
    #[error("open the renderings (setting `tts_cache.dir`)")]
    TtsCache(#[source] std::io::Error),
    /// The recorder thread.
    #[error("start the recorder thread")]
    Recorder(#[source] std::io::Error),
    /// Media threads.
    #[error("start the media engine")]
    Engine(#[from] crate::engine::StartError),
    /// SIP sockets.
    #[error("start SIP")]
    Net(#[from] crate::net::StartError),
    /// The HTTP socket.
    #[error("listen on {0} for the HTTP API (setting `api.bind`)")]
    Api(SocketAddr, #[source] std::io::Error),
    /// An agent, a trunk or a provider can't be made.
    #[error("set up `{key}`: {message}")]
    Setup {
        /// Dotted key of the configuration.
        key: String,
        /// What is wrong.
        message: String,
    },
}

/// How long the sender of webhooks may take to stop; longer than it takes by itself.
const HOOKS_STOP_MAX: Duration = Duration::from_secs(5);

/// A server that runs.
pub struct Running {
    switchboard: switchboard::Handle,
    net: crate::net::Handle,
    api: SocketAddr,
    first_key: Option<String>,
    notes: Vec<String>,
    store: Arc<Store>,
    writer_task: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
    api_task: tokio::task::JoinHandle<()>,
    hooks: webhook::Hooks,
    hooks_task: tokio::task::JoinHandle<()>,
    scheduler_task: tokio::task::JoinHandle<()>,
    after_task: tokio::task::JoinHandle<()>,
}

/// Starts everything.
///
/// # Errors
/// With what could not be had, and the setting it comes from.
pub async fn start(config: Config, env: &Env) -> Result<Running, ServerError> {
    let config = external::discovered(config).await?;
    let advertised = sockets::resolve_advertised(&config.sip.advertised_address).await?;
    let (directory, notes) = agents::directory(&config, env, advertised)?;
    start_with(config, env, directory, notes).await
}

/// As [`start`], with agents and trunks that were made elsewhere: providers of the embedder's own.
///
/// # Errors
/// As [`start`].
pub async fn start_with(
    config: Config,
    env: &Env,
    directory: switchboard::Directory,
    notes: Vec<String>,
) -> Result<Running, ServerError> {
    crate::providers::http::install_crypto();
    let config = external::discovered(config).await?;
    let mut entropy = Entropy::from_system()?;
    let exporter = Exporter::install()?;
    let (store, recordings, accounts) = open_store(&config).await?;
    let sealer = sealer(&config, env, &store, &mut entropy).await?;
    let engine = crate::engine::start(engine_config(&config)?)?;
    let (net, events, listener) = sockets(&config, entropy.fork()).await?;
    let api = listener.local_addr().map_err(|source| ServerError::Api(config.api.bind, source))?;
    let (writer, writing) = Writer::new(Arc::clone(&store));
    let writer_task = tokio::spawn(writing);
    let (hooks, dispatcher) = hooks(&config, env, &store, &sealer, entropy.fork())?;
    let voices = TtsCache::open(config.tts_cache.clone()).map_err(ServerError::TtsCache)?;
    let catalog = catalog(directory, &store, &sealer, entropy.fork(), &voices).await?;
    hooks.keyring.look_up_agents(tools::agent_secrets(&catalog));
    let (bus, stop) = (EventBus::new(), CancellationToken::new());
    let (after, after_task) = after(&config, &store, &bus, &accounts, &catalog, &stop);
    let context = Arc::new(CallContext {
        net: net.clone(),
        engine: engine.clone(),
        store: writer.clone(),
        bus,
        recorder: recorder::Handle::start(recordings.clone()).map_err(ServerError::Recorder)?,
        accounts: Arc::clone(&accounts),
        dial: dial::guard(&config, &catalog, &store).await?,
        voices,
        turn_model: turn_model(&config, env)?.map(Arc::new),
        breakers: Arc::default(),
        config: config.call.clone(),
        tools: tools::runner(&config, hooks.asker.clone())?,
        agents: tools::agents(&catalog),
        legs: Default::default(),
        media_timeout: Duration::from_secs(u64::from(config.media.timeout_seconds)),
    });
    let switchboard =
        switchboard::start(catalog, config.admission.clone(), context, events, entropy.fork());
    // Trunks that were made over the API are let in as well.
    switchboard.sync_trunks();
    tokio::spawn(upkeep::run(exporter.clone(), writer, engine.clone(), net.clone(), stop.clone()));
    switchboard.ask_with(hooks.asker.clone());
    let scheduled = scheduler(&store, &switchboard, entropy.fork(), &stop).await?;
    let (keys, first_key) = api_keys(Arc::clone(&store), &config, env, &mut entropy).await?;
    let services = crate::api::Services {
        store: Arc::clone(&store),
        recordings: (*recordings).clone(),
        switchboard: switchboard.clone(),
        scheduler: scheduled.0,
        metrics: exporter,
        keys,
        after,
        accounts,
        checks: readiness(notes.clone()),
        hooks: hooks.clone(),
        entropy: entropy.fork(),
        stop: stop.clone(),
    };
    let router = crate::api::router(config.api.server(), services);
    let api_task = tokio::spawn(crate::api::serve(listener, router, stop.clone()));
    Ok(Running {
        switchboard,
        net,
        api,
        first_key,
        notes,
        store,
        writer_task,
        hooks_task: tokio::spawn(dispatcher.run(stop.clone())),
        stop,
        api_task,
        hooks,
        scheduler_task: scheduled.1,
        after_task,
    })
}

/// Sockets for SIP and HTTP.
async fn sockets(
    config: &Config,
    entropy: Entropy,
) -> Result<
    (crate::net::Handle, tokio::sync::mpsc::Receiver<crate::sip::Event>, tokio::net::TcpListener),
    ServerError,
> {
    let listen = sockets::listen(config).await?;
    let (net, events) = crate::net::start(&listen, sip_config(config), entropy).await?;
    let listener = tokio::net::TcpListener::bind(config.api.bind)
        .await
        .map_err(|source| ServerError::Api(config.api.bind, source))?;
    Ok((net, events, listener))
}

/// Webhooks and their dispatcher.
fn hooks(
    config: &Config,
    env: &Env,
    store: &Arc<Store>,
    sealer: &Arc<Sealer>,
    entropy: Entropy,
) -> Result<(webhook::Hooks, webhook::Dispatcher), ServerError> {
    let (store, sealer) = (Arc::clone(store), Arc::clone(sealer));
    let post = tools::post(config, env)?.map(Arc::new);
    Ok(webhook::Hooks::with_post(store, sealer, config.webhooks.clone(), post, entropy)?)
}

fn readiness(notes: Vec<String>) -> crate::api::Checks {
    Box::new(move || notes.iter().map(|note| missing_part(note)).collect())
}

/// Starts what dials orders.
async fn scheduler(
    store: &Arc<Store>,
    switchboard: &switchboard::Handle,
    entropy: Entropy,
    stop: &CancellationToken,
) -> Result<(crate::scheduler::Handle, tokio::task::JoinHandle<()>), ServerError> {
    let (store, board, stop) = (Arc::clone(store), switchboard.clone(), stop.clone());
    let (handle, work) = crate::scheduler::start(store, board, entropy, stop).await?;
    Ok((handle, tokio::spawn(work)))
}

/// Starts the work on calls that are over.
fn after(
    config: &Config,
    store: &Arc<Store>,
    bus: &EventBus,
    accounts: &Arc<Accounts>,
    catalog: &Catalog,
    stop: &CancellationToken,
) -> (crate::after::Handle, tokio::task::JoinHandle<()>) {
    let (handle, work) = crate::after::start(crate::after::Services {
        store: Arc::clone(store),
        bus: bus.clone(),
        accounts: Arc::clone(accounts),
        models: models(catalog),
        config: config.after.clone(),
        stop: stop.clone(),
    });
    (handle, tokio::spawn(work))
}

/// What the configuration says and what is stored; stored agents are made in the background.
async fn catalog(
    directory: switchboard::Directory,
    store: &Arc<Store>,
    sealer: &Arc<Sealer>,
    entropy: Entropy,
    voices: &Arc<TtsCache>,
) -> Result<Catalog, ServerError> {
    let (store, sealer) = (Arc::clone(store), Arc::clone(sealer));
    let catalog = Catalog::open(directory, store, sealer, entropy).await?;
    let (warm, voices) = (catalog.clone(), Arc::clone(voices));
    tokio::task::spawn_blocking(move || {
        warm.warm();
        for agent in warm.made() {
            voices.warm(&agent, Occasion::Start);
        }
    });
    Ok(catalog)
}

/// Language models for what is made of calls after they end.
fn models(catalog: &Catalog) -> crate::after::Models {
    let catalog = catalog.clone();
    Arc::new(move |organization, provider, model| catalog.llm(organization, provider, model).ok())
}

/// Opens what is kept on disk and puts in order what a crash left: calls are closed, with their cost.
async fn open_store(
    config: &Config,
) -> Result<(Arc<Store>, Arc<Recordings>, Arc<Accounts>), ServerError> {
    let store = Arc::new(Store::open(&config.store.database).await?);
    let recordings = Arc::new(Recordings::open(&config.store.recordings)?);
    let accounts = accounts(config)?;
    accounts.load_prices(&store).await?;
    accounts.load_budgets(&store).await?;
    let finish = |record: &mut CallRecord| accounts.close(record);
    let recovered =
        crate::store::recover::recover_with(&store, &recordings, clock::wall(), finish).await?;
    accounts.load_spent(&store, clock::wall()).await?;
    if recovered.calls > 0 {
        tracing::warn!(
            calls = recovered.calls,
            recordings = recovered.recordings,
            "closed calls that a crash had left open"
        );
    }
    Ok((store, recordings, accounts))
}

/// A part that is missing is told, but the server takes calls without it.
fn missing_part(note: &str) -> crate::schema::service::Check {
    crate::schema::service::Check {
        name: "local_speech".to_owned(),
        ok: true,
        reason: Some(note.to_owned()),
    }
}

/// What hears whether turns are over.
fn turn_model(config: &Config, env: &Env) -> Result<Option<EndOfTurn>, ServerError> {
    let system = env.get("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
    EndOfTurn::load(&config.turn_model, system.map(Path::new)).map_err(|error| ServerError::Setup {
        key: format!("turn_model.{}", error.key),
        message: error.message,
    })
}

/// What seals secrets, after it is clear that it opens those of the database.
async fn sealer(
    config: &Config,
    env: &Env,
    store: &Store,
    entropy: &mut Entropy,
) -> Result<Arc<Sealer>, ServerError> {
    let master = config.store.master_key.as_ref().map(|reference| reference.resolve(env));
    let master = master.transpose().map_err(|error| ServerError::Setup {
        key: "store.master_key".to_owned(),
        message: error.to_string(),
    })?;
    let key_file = Sealer::key_file(&config.store.database);
    let sealer = Sealer::from_master(master.as_ref(), &key_file, entropy)?;
    sealer.check(store, clock::wall()).await?;
    Ok(Arc::new(sealer))
}

fn accounts(config: &Config) -> Result<Arc<Accounts>, ServerError> {
    let prices = match config.prices.as_slice() {
        [] => None,
        prices => Some(Prices::new(&config.budget.currency, prices.to_vec()).map_err(|error| {
            ServerError::Setup { key: "prices".to_owned(), message: error.to_string() }
        })?),
    };
    Ok(Arc::new(Accounts::new(prices, config.budget.clone())))
}

async fn api_keys(
    store: Arc<Store>,
    config: &Config,
    env: &Env,
    entropy: &mut Entropy,
) -> Result<(Keys, Option<String>), ServerError> {
    let configured = match &config.api.key {
        Some(reference) => Some(reference.resolve(env).map_err(|error| ServerError::Setup {
            key: "api.key".to_owned(),
            message: error.to_string(),
        })?),
        None => None,
    };
    let (keys, first) = Keys::open(store, configured.as_ref(), entropy).await?;
    let keys = keys.with_jwt(tokens(config, env)?);
    Ok((keys, first.map(|key| key.expose().to_owned())))
}

/// What verifies signed tokens, if they are taken.
fn tokens(config: &Config, env: &Env) -> Result<Option<Verifier>, ServerError> {
    let wrong = |key: &str, message: String| ServerError::Setup { key: key.to_owned(), message };
    match (&config.api.jwt_secret, &config.api.jwt_keys) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            Err(wrong("api.jwt_keys", "set either it or `api.jwt_secret`".to_owned()))
        }
        (Some(reference), None) => {
            let refused = |message: String| wrong("api.jwt_secret", message);
            let secret = reference.resolve(env).map_err(|error| refused(error.to_string()))?;
            let made = Verifier::with_secret(&secret, config.api.claims());
            made.map(Some).map_err(|error| refused(error.to_string()))
        }
        (None, Some(path)) => {
            let refused = |message: String| wrong("api.jwt_keys", message);
            let text = std::fs::read_to_string(path);
            let text =
                text.map_err(|error| refused(format!("read `{}`: {error}", path.display())))?;
            let made = Verifier::with_keys(&text, config.api.claims());
            made.map(Some).map_err(|error| refused(error.to_string()))
        }
    }
}

fn engine_config(config: &Config) -> Result<crate::engine::Config, ServerError> {
    let ports = config.media.ports().map_err(|message| ServerError::Setup {
        key: "media.rtp_ports".to_owned(),
        message: message.to_owned(),
    })?;
    Ok(crate::engine::Config {
        threads: NonZeroUsize::new(config.media.threads),
        bind_ip: config.media.bind,
        ports: ports.map_or(Ports::Any, Ports::Range),
        sched_fifo: (config.media.sched_fifo > 0).then_some(config.media.sched_fifo),
        ..crate::engine::Config::default()
    })
}

fn sip_config(config: &Config) -> crate::sip::Config {
    crate::sip::Config {
        trunks: config
            .trunks
            .iter()
            // Those that ask for a password have to wait for it: the catalog tells them a moment later.
            .filter(|(_, trunk)| !trunk.inbound_digest)
            .map(|(name, trunk)| {
                let name = TrunkName(name.clone());
                TrunkAccess::by_address(name, trunk.allowed_networks.clone())
            })
            .collect(),
        requests_per_second_max: config.sip.requests_per_second_max,
        unknown_source: match config.sip.unknown_source {
            UnknownSource::Forbid => crate::sip::config::UnknownSource::Forbid,
            UnknownSource::Silent => crate::sip::config::UnknownSource::Silent,
        },
        digest_algorithms: config.sip.digest_algorithms.clone(),
        failover_timeout: Duration::from_secs_f64(config.sip.failover_seconds.clamp(0.5, 30.0)),
        limits: Limits { dialogs: config.sip.dialogs_max, ..Limits::default() },
        session: SessionConfig {
            expires_s: config.sip.session_expires,
            min_s: config.sip.session_min,
        },
        ..crate::sip::Config::default()
    }
}

impl Running {
    /// Address of the HTTP API.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Addresses SIP is served on.
    pub fn sip(&self, transport: Transport) -> &[SocketAddr] {
        self.net.listeners(transport)
    }

    /// The API key that was made at this start, if it was the first: shown once.
    pub fn first_key(&self) -> Option<&str> {
        self.first_key.as_deref()
    }

    /// What an operator should know of this start, for example missing packages.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Webhooks: endpoints and questions.
    pub fn hooks(&self) -> &webhook::Hooks {
        &self.hooks
    }

    /// Calls and their commands.
    pub fn switchboard(&self) -> &switchboard::Handle {
        &self.switchboard
    }

    /// Takes over agents, numbers, trunks, templates and providers of another configuration, whole or not at all.
    /// Live calls go on with what they have. Other sections wait for the next start.
    ///
    /// # Errors
    /// With the key of what can't be made; then everything stays as it was.
    pub async fn reload(&self, config: Config, env: &Env) -> Result<Vec<String>, ServerError> {
        let config = external::discovered(config).await?;
        let advertised = sockets::resolve_advertised(&config.sip.advertised_address).await?;
        let env = env.clone();
        // To make engines can take a moment of a core, and calls need theirs.
        let made =
            tokio::task::spawn_blocking(move || agents::directory(&config, &env, advertised));
        let (directory, notes) = made.await.map_err(|error| ServerError::Setup {
            key: "agents".to_owned(),
            message: error.to_string(),
        })??;
        // Files that are broken leave the old certificates in place: whoever asked for the reload is told.
        self.net.reload_certificates().map_err(crate::net::StartError::from)?;
        self.switchboard.directory().replace(directory).await;
        self.switchboard.sync_trunks();
        Ok(notes)
    }

    /// Takes no more calls, waits for the live ones at most `deadline`, then stops everything.
    pub async fn drain(self, deadline: Duration) {
        self.switchboard.drain(deadline).await;
        self.stop.cancel();
        // It gives what is open a moment by itself; the limit is only there should it not come back.
        let _ = tokio::time::timeout(crate::api::STOP_WAIT * 2, self.api_task).await;
        // It gives what is under way a moment by itself; what is left waits in the store for the next start.
        let _ = tokio::time::timeout(HOOKS_STOP_MAX, self.hooks_task).await;
        // It is between two transactions, or in one that ends soon.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.scheduler_task).await;
        // What it has not done is done after the next start.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.after_task).await;
        drop(self.switchboard);
        // The writer ends when its last handle is gone; what is queued is then on disk.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.writer_task).await;
        self.store.close().await;
    }
}

/// Agents, trunks and numbers of a configuration, and what an operator should know of them. A host name in
/// `sip.advertised_address` is not looked up here.
///
/// # Errors
/// With the key of the agent or trunk that can't be made.
pub fn directory(
    config: &Config,
    env: &Env,
) -> Result<(switchboard::Directory, Vec<String>), ServerError> {
    agents::directory(config, env, config.sip.advertised_address.parse().ok())
}

/// Builds what can be built without opening a socket or a file of the server's own.
///
/// # Errors
/// As [`start`] would, for agents, providers, trunks and the model of the end of a turn.
pub fn check(config: &Config, env: &Env) -> Result<(), ServerError> {
    turn_model(config, env)?;
    directory(config, env).map(|_| ())
}

#[cfg(test)]
mod tests;
