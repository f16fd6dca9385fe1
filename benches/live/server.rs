//! The server under test: a process of its own, so that its CPU and memory are its own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use trunkline::sim::providers::MockProviders;

pub const KEY: &str = "bench-key-0123456789abcdef";

pub struct Server {
    child: Child,
    pub uri: String,
    /// Where it listens, by transport.
    pub sip: HashMap<String, String>,
    pub api: String,
    pub directory: tempfile::TempDir,
    /// Deliveries that a receiver of every webhook got, and bytes that a reader of every live event got.
    pub told: Arc<(AtomicU64, AtomicU64)>,
}

impl Server {
    /// Starts a server whose three providers are the mocks.
    pub async fn start(mocks: &MockProviders, more: &str) -> Self {
        Self::run(mocks, "off", "", more).await
    }

    /// Starts one with more lines in its `[sip]`.
    pub async fn listening(mocks: &MockProviders, sip: &str, more: &str) -> Self {
        Self::run(mocks, "off", sip, more).await
    }

    /// Starts one that prepares replies before the caller's turn is over.
    pub async fn speculating(mocks: &MockProviders, mode: &str) -> Self {
        Self::run(mocks, mode, "", "").await
    }

    async fn run(mocks: &MockProviders, speculation: &str, sip: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), mocks, speculation, sip, more);
        let path = directory.path().join("bench.toml");
        std::fs::write(&path, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_trunkline"))
            .args(["serve", "--config"])
            .arg(&path)
            .env("BENCH_KEY", KEY)
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let (mut sip, mut api, mut sender) = (HashMap::new(), None, Some(sender));
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let listener =
                    line.strip_prefix("SIP over ").and_then(|rest| rest.split_once(" on "));
                if let Some((transport, address)) = listener {
                    sip.insert(transport.to_owned(), address.to_owned());
                }
                if let Some(rest) = line.strip_prefix("HTTP API on ") {
                    api = rest.split("/v1").next().map(str::to_owned);
                }
                if let Some(api) = &api
                    && let Some(sender) = sender.take()
                {
                    let _ = sender.send((sip.clone(), api.clone()));
                }
                if sender.is_none() && line.contains("error") {
                    eprintln!("server: {line}");
                }
            }
        });
        let (sip, api) = tokio::time::timeout(Duration::from_secs(20), receiver)
            .await
            .expect("the server did not start")
            .unwrap();
        let uri = format!("sip:bench@{}", sip["UDP"]);
        let server = Self { child, uri, sip, api, directory, told: Arc::default() };
        if std::env::var("LIVE_TOLD").as_deref() != Ok("off") {
            server.tell().await;
        }
        server
    }

    /// Has every webhook delivered and every live event streamed to this process. `LIVE_TOLD=off` leaves it out.
    async fn tell(&self) {
        let told = Arc::clone(&self.told);
        let count = move || {
            told.0.fetch_add(1, Ordering::Relaxed);
            std::future::ready("")
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = format!("http://{}/", listener.local_addr().unwrap());
        let app = axum::Router::new().route("/", axum::routing::post(count));
        tokio::spawn(async move { axum::serve(listener, app).await });
        let client = reqwest::Client::new();
        let endpoint = serde_json::json!({"url": receiver, "enabled_events": ["*"]});
        let made = client.post(format!("{}/v1/webhook-endpoints", self.api)).bearer_auth(KEY);
        let made = made.json(&endpoint).send().await.unwrap();
        assert_eq!(made.status(), 201, "{}", made.text().await.unwrap());
        let stream = client.get(format!("{}/v1/events", self.api)).bearer_auth(KEY);
        let mut stream = stream.send().await.unwrap();
        assert_eq!(stream.status(), 200);
        let told = Arc::clone(&self.told);
        tokio::spawn(async move {
            while let Ok(Some(chunk)) = stream.chunk().await {
                told.1.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        });
    }

    /// What was told, in words.
    pub fn told(&self) -> String {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!("{} webhooks, {} kB of live events", of(&self.told.0), of(&self.told.1) / 1_000)
    }

    /// CPU time of the process so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// Resident memory, bytes.
    pub fn rss(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// A document of the API.
    pub async fn get(&self, path: &str) -> serde_json::Value {
        let client = reqwest::Client::new();
        let url = format!("{}{path}", self.api);
        client.get(url).bearer_auth(KEY).send().await.unwrap().json().await.unwrap()
    }

    /// Waits until the newest call is over, and gives its id.
    pub async fn newest_call(&self) -> String {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            let list = self.get("/v1/calls?page_size=1").await;
            let call = &list["items"][0];
            if call["ended_at"].is_string() {
                return call["id"].as_str().unwrap().to_owned();
            }
            assert!(Instant::now() < limit, "the call never ended: {list}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(
    directory: &Path,
    mocks: &MockProviders,
    speculation: &str,
    sip: &str,
    more: &str,
) -> String {
    let (stt, llm, tts) = (&mocks.stt_url, &mocks.llm_url, &mocks.tts_url);
    let directory = directory.display();
    format!(
        r#"
[sip]
listen_udp = ["127.0.0.1:0"]
listen_tcp = ["127.0.0.1:0"]
{sip}
[media]
bind = "127.0.0.1"
[api]
bind = "127.0.0.1:0"
key = {{ env = "BENCH_KEY" }}
[admission]
calls_max = 1000
calls_per_second = 2000.0
[store]
database = "{directory}/bench.db"
recordings = "{directory}/recordings"
[webhooks]
allow_private_targets = true
# What is kept would be asked for beforehand, among the sentences that are measured.
[tts_cache]
memory_bytes_max = 0
[telemetry]
log_filter = "error"
[providers.ear]
kind = "deepgram"
base_url = "{stt}"
[providers.mind]
kind = "openai"
base_url = "{llm}/v1"
model = "mock"
[providers.voice]
kind = "deepgram"
base_url = "{tts}"
[agents.bench]
prompt = "You are brief."
stt = "ear"
llm = "mind"
tts = "voice"
[agents.bench.turn]
silence_ms = 500
[agents.bench.turn.endpointing]
mode = "vad"
[agents.bench.turn.speculation]
mode = "{speculation}"
[agents.bench.turn.greeting]
text = ""
[agents.bench.turn.inactivity]
prompt_after_ms = 0
# A word to bridge the wait would be one more sentence among those that are measured.
[agents.bench.turn.texts]
fillers = []
[trunks.local]
allowed_networks = ["127.0.0.0/8"]
{more}
"#
    )
}
