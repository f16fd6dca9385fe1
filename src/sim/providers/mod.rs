//! Mock provider servers on 127.0.0.1: real sockets, scripted answers, known delays, switchable faults.
//!
//! One listener a stage speaks every dialect of it, told apart by the request line:
//! STT: Deepgram `listen` v1 and `/audio/transcriptions`; LLM: chat completions with SSE; TTS: Deepgram `speak`
//! v1, ElevenLabs `multi-stream-input` and `/audio/speech`. Every server stamps what it sees and sends
//! into one [`Log`], on the process's monotonic clock. Start reading at [`MockProviders::start`]; speech to
//! speech has a server of its own, [`realtime::MockRealtime`].

pub mod http;
pub mod llm;
pub mod log;
pub mod realtime;
pub mod script;
pub mod stt;
pub mod tts;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::log::{Entry, Log, MockStage, What};
pub use self::script::{Fault, LlmScript, Recognise, Script, SttScript, TtsScript};

/// Running servers. Dropping them stops them.
#[derive(Debug)]
pub struct MockProviders {
    /// Base URL of the recognisers, `http://127.0.0.1:port`; the `/v1` of OpenAI's is not in it.
    pub stt_url: String,
    /// Base URL of the models.
    pub llm_url: String,
    /// Base URL of the voices.
    pub tts_url: String,
    /// What the servers saw and sent.
    pub log: Log,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    script: Mutex<Script>,
    faults: [watch::Sender<Fault>; 3],
    hang_ups: [watch::Sender<u64>; 3],
    pub(crate) log: Log,
}

impl Shared {
    pub(crate) fn script(&self) -> Script {
        self.script.lock().map(|script| script.clone()).unwrap_or_default()
    }

    /// The fault in force; one that is to happen once is over with this.
    pub(crate) fn take_fault(&self, stage: MockStage) -> Fault {
        let mut taken = Fault::None;
        if let Some(switch) = self.faults.get(stage as usize) {
            switch.send_if_modified(|fault| {
                taken = fault.clone();
                match fault {
                    Fault::Once(inner) => {
                        taken = (**inner).clone();
                        *fault = Fault::None;
                        true
                    }
                    _ => false,
                }
            });
        }
        taken
    }
}

impl MockProviders {
    /// Starts one server a stage on a free port.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(script: Script) -> std::io::Result<Self> {
        let log = Log::default();
        let faults = [MockStage::Stt, MockStage::Llm, MockStage::Tts]
            .map(|_| watch::Sender::new(Fault::None));
        let hang_ups = [(); 3].map(|()| watch::Sender::new(0));
        let script = Mutex::new(script);
        let shared = Arc::new(Shared { script, faults, hang_ups, log: log.clone() });
        let mut tasks = Vec::new();
        let mut urls = Vec::new();
        for stage in [MockStage::Stt, MockStage::Llm, MockStage::Tts] {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            urls.push(format!("http://{address}"));
            tasks.push(tokio::spawn(listen(listener, address, stage, Arc::clone(&shared))));
        }
        let mut urls = urls.into_iter();
        let mut url = || urls.next().unwrap_or_default();
        Ok(Self { stt_url: url(), llm_url: url(), tts_url: url(), log, shared, tasks })
    }

    /// Switches a fault on or off for everything that begins after this.
    pub fn fault(&self, stage: MockStage, fault: Fault) {
        if let Some(switch) = self.shared.faults.get(stage as usize) {
            switch.send_replace(fault);
        }
    }

    /// Closes every open connection of a stage, as a server does with idle ones.
    pub fn hang_up(&self, stage: MockStage) {
        if let Some(switch) = self.shared.hang_ups.get(stage as usize) {
            switch.send_modify(|times| *times += 1);
        }
    }

    /// Changes the script for everything that begins after this.
    pub fn script(&self, script: Script) {
        if let Ok(mut now) = self.shared.script.lock() {
            *now = script;
        }
    }
}

impl Drop for MockProviders {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn listen(listener: TcpListener, address: SocketAddr, stage: MockStage, shared: Arc<Shared>) {
    let switches = (shared.faults.get(stage as usize), shared.hang_ups.get(stage as usize));
    let (Some(fault), Some(hang_up)) = switches else { return };
    let (mut fault, mut hang_up) = (fault.subscribe(), hang_up.subscribe());
    let mut listener = Some(listener);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let refuses = *fault.borrow_and_update() == Fault::Refused;
        if refuses {
            listener = None;
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = fault.changed() => if changed.is_err() {
                return;
            },
            accepted = accepted => if let Ok((stream, _)) = accepted {
                connections.spawn(serve(stream, stage, Arc::clone(&shared)));
            },
            _ = hang_up.changed() => connections.abort_all(),
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, stage: MockStage, shared: Arc<Shared>) {
    // Loopback accepts the option always; a mock without it is only slower.
    let _ = stream.set_nodelay(true);
    let connection = shared.log.connection();
    shared.log.put(stage, connection, What::Connected);
    let _closed = Closing(stage, connection, shared.log.clone());
    let peer = Peer { stage, connection, shared };
    let is_websocket = http::is_websocket(&mut stream).await;
    match (stage, is_websocket) {
        (_, None) => {}
        (MockStage::Stt, Some(true)) => stt::websocket(stream, peer).await,
        (MockStage::Tts, Some(true)) => tts::websocket(stream, peer).await,
        (MockStage::Llm, Some(true)) => {
            let _ = stream.shutdown().await;
        }
        (_, Some(false)) => http::serve(stream, peer).await,
    }
}

/// Writes the end of a connection down, however it comes.
struct Closing(MockStage, u64, Log);

impl Drop for Closing {
    fn drop(&mut self) {
        self.2.put(self.0, self.1, What::Closed);
    }
}

/// One connection's place in the log and its script.
pub(crate) struct Peer {
    pub(crate) stage: MockStage,
    pub(crate) connection: u64,
    pub(crate) shared: Arc<Shared>,
}

impl Peer {
    pub(crate) fn put(&self, what: What) {
        self.shared.log.put(self.stage, self.connection, what);
    }

    pub(crate) fn fault(&self) -> Fault {
        self.shared.take_fault(self.stage)
    }
}
