//! A server in this process, on ports of its own, with a directory of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::broadcast;
use trunkline::config::{Config, Env, SecretRef, sections};
use trunkline::server::{self, Running};
use trunkline::sip::Transport;
use trunkline::store::Store;
use trunkline::store::{PageRequest, Query};
use trunkline::switchboard::{DialRequest, Directory};
use trunkline::types::ladder::{SipMessage, SipWay};
use trunkline::types::{CallEvent, CallEventKind, CallId, CallRecord, TrunkName, TurnRecord};

use super::peer::Message;
use super::wait;

/// Trunk by which the tests call out over UDP; `alice` and `secret` are its credentials.
pub(crate) const OUT: &str = "out";
/// The same over TCP.
pub(crate) const OUT_TCP: &str = "out-tcp";
/// The same over TLS.
pub(crate) const OUT_TLS: &str = "out-tls";

/// A running server and what tests ask of it.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) dir: TempDir,
    store: Store,
}

/// A configuration for loopback: a demo agent that listens to the keypad only, which starts at once.
pub(crate) fn config(dir: &TempDir) -> Config {
    let mut config = Config::default();
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    config.sip.listen_udp = vec![loopback];
    config.sip.listen_tcp = vec![loopback];
    config.api.bind = loopback;
    config.media.rtp_ports = "any".to_owned();
    config.media.bind = loopback.ip();
    config.media.threads = 1;
    config.store.database = dir.path().join("trunkline.db");
    config.store.recordings = dir.path().join("recordings");
    config.local.model_dir = dir.path().join("no-model");
    config.admission.calls_per_second = 1_000.0;
    // Every call of a test asks its voice, so that what it costs and how long it takes can be told.
    config.tts_cache.memory_bytes_max = 0;
    agent(&mut config).turn.greeting.text = "Hello.".to_owned();
    agent(&mut config).first_message_delay_ms = 0;
    let out = sections::Trunk {
        username: "alice".to_owned(),
        password: Some(SecretRef::Env("TRUNK_PASSWORD".to_owned())),
        calls_per_second: Some(1_000.0),
        ..sections::Trunk::default()
    };
    let mut out_tcp = out.clone();
    out_tcp.transport = trunkline::switchboard::trunk::TransportName::Tcp;
    let mut out_tls = out.clone();
    out_tls.transport = trunkline::switchboard::trunk::TransportName::Tls;
    config.trunks.insert(OUT_TLS.to_owned(), out_tls);
    config.trunks.insert(OUT.to_owned(), out);
    config.trunks.insert(OUT_TCP.to_owned(), out_tcp);
    config
}

/// The demo agent of a configuration.
pub(crate) fn agent(config: &mut Config) -> &mut sections::Agent {
    config.agents.get_mut("demo").expect("the demo agent")
}

/// Lets the demo agent understand speech.
pub(crate) fn listening(config: &mut Config) {
    config.local = sections::Local { workers: 2, ..sections::Local::default() };
}

impl Server {
    /// Starts with [`config`].
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// Starts with a changed [`config`].
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::with_agents(change, |directory| directory).await
    }

    /// Starts with a changed [`config`] and changed agents.
    pub(crate) async fn with_agents(
        change: impl FnOnce(&mut Config),
        agents: impl FnOnce(Directory) -> Directory,
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = config(&dir);
        change(&mut config);
        Self::run(dir, config, agents).await
    }

    async fn run(
        dir: TempDir,
        config: Config,
        agents: impl FnOnce(Directory) -> Directory,
    ) -> Self {
        let env = Env::from([("TRUNK_PASSWORD".to_owned(), "secret".to_owned())]);
        let database = config.store.database.clone();
        let (directory, notes) = server::directory(&config, &env).expect("agents");
        let running = server::start_with(config, &env, agents(directory), notes)
            .await
            .unwrap_or_else(|error| panic!("the server starts: {error:?}"));
        let store = Store::open(&database).await.expect("a second reader of the store");
        Self { running, dir, store }
    }

    /// Where it takes SIP.
    pub(crate) fn sip(&self, transport: Transport) -> SocketAddr {
        self.running.sip(transport)[0]
    }

    /// Live events from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<Arc<CallEvent>> {
        self.running.switchboard().bus().subscribe()
    }

    /// Places a call to a SIP URI.
    pub(crate) async fn dial(&self, uri: String, transport: Transport) -> CallRecord {
        self.dial_with(uri, transport, |_| {}).await
    }

    /// Places a call with more wishes.
    pub(crate) async fn dial_with(
        &self,
        uri: String,
        transport: Transport,
        change: impl FnOnce(&mut DialRequest),
    ) -> CallRecord {
        let trunk = match transport {
            Transport::Udp => OUT,
            Transport::Tcp => OUT_TCP,
            Transport::Tls => OUT_TLS,
        };
        let mut request = DialRequest {
            to: uri,
            trunk: Some(TrunkName(trunk.to_owned())),
            ..DialRequest::default()
        };
        change(&mut request);
        self.running.switchboard().dial(request).await.expect("the call is queued")
    }

    /// Every stored call, newest first.
    pub(crate) async fn calls(&self) -> Vec<CallRecord> {
        let page = PageRequest::new(Some(1), Some(100)).expect("a page");
        self.store.list(&Query::default(), page).await.expect("the store").items
    }

    /// The call that was made to a user part, as soon as it is stored.
    pub(crate) async fn call_to(&self, user: &str) -> CallRecord {
        wait::until(&format!("a call to {user}"), async || {
            self.calls().await.into_iter().find(|call| call.to_number.reveal() == user)
        })
        .await
    }

    /// Waits until a call is answered.
    pub(crate) async fn live(&self, id: CallId) {
        let answered = |record: &CallRecord| record.answered_at.is_some();
        let record = self.reaches(id, |record| answered(record) || record.status.is_terminal());
        let record = record.await;
        assert!(answered(&record), "never answered: {record:?}");
    }

    /// A record, once it is closed.
    pub(crate) async fn ended(&self, id: CallId) -> CallRecord {
        self.reaches(id, |record| record.status.is_terminal()).await
    }

    /// A record, once everything is made of its call.
    pub(crate) async fn settled(&self, id: CallId) -> CallRecord {
        self.reaches(id, |record| record.status.is_terminal() && !record.is_settling()).await
    }

    /// A record, once it is as wanted; how it stood if it never was.
    async fn reaches(&self, id: CallId, wanted: impl Fn(&CallRecord) -> bool) -> CallRecord {
        let mut last = None;
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        let search = async {
            loop {
                ticks.tick().await;
                last = self.store.get(id).await.expect("the store");
                if let Some(record) = last.take_if(|record| wanted(record)) {
                    return record;
                }
            }
        };
        match tokio::time::timeout(wait::LIMIT, search).await {
            Ok(record) => record,
            Err(_) => panic!("the call stands still: {last:?}"),
        }
    }

    /// The record of the call to a user part, once it is closed.
    pub(crate) async fn ended_to(&self, user: &str) -> CallRecord {
        let id = self.call_to(user).await.id;
        self.ended(id).await
    }

    /// Turns of a call.
    pub(crate) async fn turns(&self, id: CallId) -> Vec<TurnRecord> {
        self.store.turns(id).await.expect("the store")
    }

    /// Journal of a call.
    pub(crate) async fn journal(&self, id: CallId) -> Vec<CallEventKind> {
        let events = self.store.events(id, 0).await.expect("the store");
        events.into_iter().map(|event| event.kind).collect()
    }

    /// The signalling of a closed call: whether we sent it, and the message.
    pub(crate) async fn ladder(&self, id: CallId) -> Vec<(bool, Message)> {
        let ladder = wait::until("the stored ladder", async || {
            self.store.ladder(id).await.expect("the store")
        });
        let message = |one: SipMessage| {
            (one.way == SipWay::Sent, Message { text: one.text.reveal().clone() })
        };
        ladder.await.messages.into_iter().map(message).collect()
    }

    /// The recording of a closed call: caller, agent.
    pub(crate) fn recording(&self, record: &CallRecord) -> [Vec<i16>; 2] {
        let info = record.recording.as_ref().expect("a recording");
        let path = self.dir.path().join("recordings").join(&info.filename);
        let audio = trunkline::audio::wav::read_file(&path).expect("a playable recording");
        audio.channels.try_into().expect("two channels")
    }
}

/// Waits for an event that `wanted` turns into something.
pub(crate) async fn event<T>(
    events: &mut broadcast::Receiver<Arc<CallEvent>>,
    what: &str,
    mut wanted: impl FnMut(&CallEvent) -> Option<T>,
) -> T {
    wait::limit(what, async {
        loop {
            let event = events.recv().await.expect("the bus lives");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    })
    .await
}
