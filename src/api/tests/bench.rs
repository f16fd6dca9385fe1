//! A router over a memory store and a switchboard with real sockets, and small words to talk to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::api::{Config, Keys, Services, router};
use crate::audio::vad::VadConfig;
use crate::call::{AgentSnapshot, CallConfig, CallContext, EventBus, RecordingPolicy, recorder};
use crate::net::clock;
use crate::providers::ProviderError;
use crate::providers::llm::{Llm, LlmDelta, LlmRequest};
use crate::providers::stt::{STT_EVENT_QUEUE, STT_INPUT_QUEUE, Stt, SttParams, SttSession};
use crate::providers::tts::{Tts, TtsEvent, TtsInput, TtsParams, TtsSession};
use crate::sip::config::TrunkAccess;
use crate::store::Store;
use crate::store::recording::Recordings;
use crate::store::{Write, Writer};
use crate::switchboard::{self, AdmissionConfig, Directory, Trunk, TrunkConfig};
use crate::telemetry::metrics::Exporter;
use crate::turn::TurnConfig;
use crate::types::*;

/// A key of the environment, known to every test.
pub(super) const KEY: &str = "test-key-0123456789";

/// A recogniser that hears nothing.
struct Deaf;

impl Stt for Deaf {
    fn name(&self) -> &str {
        "deaf"
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_16000
    }

    fn open(&self, _: SttParams) -> BoxFuture<'static, Result<SttSession, ProviderError>> {
        async {
            let (input, mut audio) = mpsc::channel(STT_INPUT_QUEUE);
            let (results, events) = mpsc::channel(STT_EVENT_QUEUE);
            tokio::spawn(async move {
                while audio.recv().await.is_some() {}
                drop(results);
            });
            Ok(SttSession { input, events })
        }
        .boxed()
    }
}

/// A model that has nothing to say.
struct Mute;

impl Llm for Mute {
    fn name(&self) -> &str {
        "mute"
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn warm_up(&self) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }

    fn respond(&self, _: LlmRequest) -> BoxStream<'static, Result<LlmDelta, ProviderError>> {
        stream::iter([Ok(LlmDelta::Sent), Ok(LlmDelta::Done)]).boxed()
    }
}

/// A voice that hums 100 ms for every sentence.
struct Hum;

impl Tts for Hum {
    fn name(&self) -> &str {
        "hum"
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn open(&self, _: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>> {
        async {
            let (input, mut says) = mpsc::channel(64);
            let (heard, events) = mpsc::channel(64);
            tokio::spawn(async move {
                while let Some(say) = says.recv().await {
                    let TtsInput::Say { generation, seq, .. } = say else { continue };
                    let samples = (0..800).map(|n| if n % 16 < 8 { 4_000 } else { -4_000 });
                    let pcm = Pcm { rate: SampleRate::HZ_8000, samples: samples.collect() };
                    let audio = TtsEvent::Audio { generation, seq, pcm, at: clock::now() };
                    if heard.send(audio).await.is_err()
                        || heard.send(TtsEvent::Done { generation, seq }).await.is_err()
                    {
                        return;
                    }
                }
            });
            Ok(TtsSession { input, events })
        }
        .boxed()
    }
}

fn agent(id: &str) -> Arc<AgentSnapshot> {
    let mut turn = TurnConfig::default();
    turn.greeting.text = String::new();
    Arc::new(AgentSnapshot {
        id: AgentId(id.into()),
        name: "Ada".into(),
        prompt: Pii::new("be kind".into()),
        language: "en".into(),
        turn,
        vad: VadConfig::default(),
        background: None,
        noise_suppression: None,
        speech: Default::default(),
        keyterms: Vec::new(),
        voice: String::new(),
        speed: 1.0,
        temperature: None,
        max_tokens: None,
        recording: RecordingPolicy::On,
        facts: crate::call::AgentFacts::default(),
        tools: Vec::new(),
        stt: Arc::new(Deaf),
        llm: Arc::new(Mute),
        tts: Arc::new(Hum),
        tts_service: String::new(),
        realtime: None,
        fixed: Default::default(),
        fallbacks: Default::default(),
    })
}

/// Everything one test needs.
pub(super) struct Bench {
    pub(super) router: Router,
    pub(super) store: Arc<Store>,
    pub(super) recordings: Recordings,
    pub(super) bus: EventBus,
    pub(super) accounts: Arc<crate::usage::Accounts>,
    pub(super) stop: CancellationToken,
    /// Port our user agent listens on, UDP on loopback.
    pub(super) sip_port: u16,
    _dir: tempfile::TempDir,
}

/// A router whose switchboard can dial anybody on loopback and answers everybody from there.
pub(super) async fn bench() -> Bench {
    bench_with(Config::default()).await
}

/// The handlers' state without routes.
pub(super) async fn api() -> Arc<crate::api::Api> {
    let (services, ..) = parts().await;
    Arc::new(crate::api::Api::new(Config::default(), services))
}

pub(super) async fn bench_with(config: Config) -> Bench {
    let (services, bus, sip_port, dir) = parts().await;
    let store = Arc::clone(&services.store);
    let recordings = services.recordings.clone();
    let stop = services.stop.clone();
    let accounts = Arc::clone(&services.accounts);
    let router = router(config, services);
    Bench { router, store, recordings, bus, accounts, stop, sip_port, _dir: dir }
}

/// One agent and two trunks: one dials us, one dials nobody.
fn directory(local: &TrunkName, sip_port: u16) -> Directory {
    let trunk = |name: &TrunkName, host: &str| {
        let config = TrunkConfig {
            host: host.into(),
            port: Some(sip_port),
            from_number: "+15550000000".into(),
            calls_per_second: Some(50.0),
            ..TrunkConfig::default()
        };
        (name.clone(), Arc::new(Trunk::new(name.clone(), config, None, None)))
    };
    Directory::new(
        BTreeMap::from([(AgentId("reception".into()), agent("reception"))]),
        BTreeMap::from([trunk(local, "127.0.0.1"), trunk(&TrunkName("inward".into()), "")]),
        BTreeMap::new(),
        Some(AgentId("reception".into())),
    )
}

/// A worker whose only model is the mute one.
fn after_worker(
    store: &Arc<Store>,
    bus: &EventBus,
    accounts: &Arc<crate::usage::Accounts>,
    stop: &CancellationToken,
) -> crate::after::Handle {
    let (after, working) = crate::after::start(crate::after::Services {
        store: Arc::clone(store),
        bus: bus.clone(),
        accounts: Arc::clone(accounts),
        models: Arc::new(|_, name, _| (name == "mute").then(|| Arc::new(Mute) as Arc<dyn Llm>)),
        config: crate::after::Config::default(),
        stop: stop.clone(),
    });
    tokio::spawn(working);
    after
}

async fn parts() -> (Services, EventBus, u16, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let recordings = Recordings::open(dir.path()).unwrap();
    let store: Arc<Store> = Arc::new(Store::in_memory().await.unwrap());
    let (writer, task) = Writer::new(Arc::clone(&store));
    tokio::spawn(task);
    let local = TrunkName("local".into());
    let loopback = "127.0.0.1:0".parse().unwrap();
    let net_config = crate::net::Config { udp: vec![loopback], ..crate::net::Config::default() };
    let sip = crate::sip::Config {
        trunks: vec![TrunkAccess::by_address(local.clone(), vec!["127.0.0.0/8".parse().unwrap()])],
        ..crate::sip::Config::default()
    };
    let (net, events) = crate::net::start(&net_config, sip, Entropy::seeded(1)).await.unwrap();
    let sip_port = net.listeners(crate::sip::Transport::Udp)[0].port();
    let engine = crate::engine::start(crate::engine::Config {
        threads: std::num::NonZeroUsize::new(1),
        bind_ip: [127, 0, 0, 1].into(),
        ports: crate::engine::Ports::Any,
        sched_fifo: None,
        ..crate::engine::Config::default()
    })
    .unwrap();
    let bus = EventBus::new();
    let accounts: Arc<crate::usage::Accounts> = Arc::default();
    let stop = CancellationToken::new();
    let after = after_worker(&store, &bus, &accounts, &stop);
    let context = CallContext {
        net,
        engine,
        store: writer,
        bus: bus.clone(),
        recorder: recorder::Handle::start(Arc::new(recordings.clone())).unwrap(),
        accounts: Arc::clone(&accounts),
        dial: Arc::default(),
        voices: crate::call::TtsCache::off(),
        turn_model: None,
        breakers: Arc::default(),
        config: CallConfig::default(),
        tools: crate::tools::Runner::new(crate::tools::ToolsConfig::default(), None).unwrap(),
        agents: Arc::new(|_, _| None),
        legs: crate::call::leg::Legs::default(),
        media_timeout: Duration::from_secs(60),
    };
    let catalog = catalog(directory(&local, sip_port), &store).await;
    let switchboard = switchboard::start(
        catalog,
        AdmissionConfig::default(),
        Arc::new(context),
        events,
        Entropy::seeded(2),
    );
    let stop = CancellationToken::new();
    let scheduler = scheduler(&store, &switchboard, &stop).await;
    let secret = Secret::new(KEY);
    let (keys, first) =
        Keys::open(Arc::clone(&store), Some(&secret), &mut Entropy::seeded(3)).await.unwrap();
    assert!(first.is_none());
    let hooks = hooks(&store);
    let services = Services {
        store,
        recordings,
        switchboard,
        scheduler,
        metrics: Exporter::build().unwrap().1,
        keys,
        after,
        accounts,
        checks: Box::new(Vec::new),
        hooks,
        entropy: Entropy::seeded(4),
        stop,
    };
    (services, bus, sip_port, dir)
}

/// Agents and trunks that can be changed.
async fn catalog(directory: Directory, store: &Arc<Store>) -> crate::catalog::Catalog {
    let sealer = Arc::new(crate::store::Sealer::new(&[7; 32], Entropy::seeded(5)).unwrap());
    let store = Arc::clone(store);
    crate::catalog::Catalog::open(directory, store, sealer, Entropy::seeded(9)).await.unwrap()
}

async fn scheduler(
    store: &Arc<Store>,
    switchboard: &switchboard::Handle,
    stop: &CancellationToken,
) -> crate::scheduler::Handle {
    let (store, stop) = (Arc::clone(store), stop.clone());
    let started =
        crate::scheduler::start(store, switchboard.clone(), Entropy::seeded(5), stop).await;
    let (handle, task) = started.unwrap();
    tokio::spawn(task);
    handle
}

/// Webhooks that are sent.
fn hooks(store: &Arc<Store>) -> crate::webhook::Hooks {
    let sealer = Arc::new(crate::store::Sealer::new(&[7; 32], Entropy::seeded(5)).unwrap());
    let config = crate::webhook::Config::default();
    let made =
        crate::webhook::Hooks::new(Arc::clone(store), sealer, config, Entropy::seeded(6)).unwrap();
    tokio::spawn(made.1.run(CancellationToken::new()));
    made.0
}

/// An answer that was read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }

    /// The code, after checking that the body is an error body of this request.
    #[track_caller]
    pub(super) fn code(&self) -> String {
        let json = self.json();
        let error = &json["error"];
        let mut fields: Vec<_> = error.as_object().unwrap().keys().cloned().collect();
        fields.sort();
        assert_eq!(fields, ["code", "hint", "message", "param", "request_id", "type"]);
        assert_eq!(error["request_id"], self.header("x-request-id"));
        assert_eq!(self.header("content-type"), "application/json");
        error["code"].as_str().unwrap().to_owned()
    }

    /// Status, code and param of an error.
    #[track_caller]
    pub(super) fn error(&self) -> (u16, String, Option<String>) {
        let param = self.json()["error"]["param"].as_str().map(str::to_owned);
        (self.status.as_u16(), self.code(), param)
    }
}

pub(super) fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {KEY}"))
}

impl Bench {
    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = within(axum::body::to_bytes(body, usize::MAX)).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body: body.to_vec() }
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(request("GET", path).body(Body::empty()).unwrap()).await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = request("POST", path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(super) async fn patch(&self, path: &str, body: impl Into<Body>) -> Answer {
        let request = request("PATCH", path).header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        self.send(request("DELETE", path).body(Body::empty()).unwrap()).await
    }

    pub(super) async fn put(&self, record: CallRecord) {
        self.store.apply(&[Write::Put(Box::new(record))]).await.unwrap();
    }
}

pub(super) fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(super) fn id(n: u64) -> CallId {
    CallId::new(1_800_000_000_000 + n * 1_000, &mut Entropy::seeded(n))
}

/// A call under way: even numbers inbound, odd ones outbound.
pub(super) fn call(n: u64) -> CallRecord {
    let direction = if n.is_multiple_of(2) { Direction::Inbound } else { Direction::Outbound };
    let started = at(i64::try_from(n).unwrap());
    let mut record = CallRecord::new(id(n), direction, started);
    record.status = CallStatus::InProgress;
    record.started_at = Some(started);
    record.answered_at = Some(started);
    record.from_number = format!("+4930{n:07}").into();
    record.to_number = "+15550001111".to_owned().into();
    record
}

pub(super) fn ended(n: u64, reason: EndReason) -> CallRecord {
    let mut record = call(n);
    record.finish(reason, at(i64::try_from(n).unwrap() + 60));
    record.duration_ms = Some(38_100);
    record.talk_ms = Some(33_100);
    record
}

/// Whatever is waited for comes soon, or the test fails.
pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing came in time")
}
