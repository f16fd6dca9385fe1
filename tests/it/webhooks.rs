//! Webhooks of the running server: real calls, dying processes, other people's verifiers, forged targets.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use trunkline::config::SecretRef;
use trunkline::net::clock;
use trunkline::schema::secret::WriteOnly;
use trunkline::schema::webhook::{SignatureStyle, WebhookEndpoint, WebhookEndpointInput};
use trunkline::sip::Transport;
use trunkline::store::{DeliveryQuery, DeliveryStatus, Sealer, Store, Write};
use trunkline::types::{
    CallId, CallRecord, CallStatus, Direction, EndReason, Entropy, OrganizationId, Secret,
};
use trunkline::webhook::keyring::OldSecret;
use trunkline::webhook::sign::{Message, headers};
use trunkline::webhook::{Config, Endpoints, Hooks, SigningSecret};

use crate::support::child::{ServerProcess, write_config};
use crate::support::hooks::{Answer, Got, Receiver};
use crate::support::line::Line;
use crate::support::peer::{Caller, Peer};
use crate::support::server::{Server, agent};
use crate::support::trap::Trap;
use crate::support::{has_program, wait};

fn ours() -> OrganizationId {
    OrganizationId::default()
}

async fn subscribe(
    endpoints: &Endpoints,
    url: &str,
    events: &[&str],
) -> (WebhookEndpoint, SigningSecret) {
    let input: WebhookEndpointInput =
        serde_json::from_value(json!({"url": url, "enabled_events": events})).expect("an input");
    endpoints.create(&ours(), input).await.expect("an endpoint")
}

fn assert_signed(got: &Got, secret: &SigningSecret) {
    let message = Message {
        id: got.header("webhook-id"),
        kind: got.header("x-webhook-event"),
        timestamp: got.header("webhook-timestamp").parse().expect("a number"),
        body: &got.body,
    };
    let wanted = headers(SignatureStyle::Standard, std::slice::from_ref(secret), message);
    let signature = got.header("webhook-signature").to_owned();
    assert!(wanted.contains(&("webhook-signature".to_owned(), signature)));
}

/// What is told of every answered call that comes in.
const LIFE: [&str; 4] = ["call.ringing", "call.answered", "call.completed", "call.report"];

// covers: S0-29 S0-30 S4-32 S4-33
#[tokio::test(flavor = "multi_thread")]
async fn a_real_call_is_told_from_ringing_to_its_one_end() {
    let server = Server::start().await;
    let receiver = Receiver::start(|_| Answer::Status(200)).await;
    let endpoints = &server.running.hooks().endpoints;
    let (_, secret) = subscribe(endpoints, &receiver.url, &LIFE).await;
    let line = Line::new().await;
    let mut caller = Caller::new(&server, Transport::Udp, "hooked").await;
    caller.call(line.local).await;
    receiver.reaches(2).await;
    assert_eq!(receiver.types(), ["call.ringing", "call.answered"]);
    caller.hang_up().await;
    let record = server.ended_to("hooked").await;
    let got = receiver.reaches(4).await;
    let wanted = ["call.ringing", "call.answered", "call.completed", "call.report"];
    assert_eq!(receiver.types(), wanted);
    let statuses = ["ringing", "in_progress", "completed", "completed"];
    let mut before = 0;
    for (got, status) in got.iter().zip(statuses) {
        assert_signed(got, &secret);
        let body = got.json();
        assert_eq!(body["data"]["call"]["id"], record.id.to_string());
        assert_eq!(body["data"]["call"]["status"], status);
        let seq = body["data"]["seq"].as_i64().expect("a number");
        assert!(seq > before);
        before = seq;
    }
    // What is told is what the API shows.
    let base = format!("http://{}/v1/calls/{}", server.running.api(), record.id);
    let key = server.running.first_key().expect("a first start").to_owned();
    let shown: Value = reqwest::Client::new()
        .get(&base)
        .bearer_auth(key)
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    let told = &got[2].json()["data"]["call"];
    for field in told.as_object().expect("an object").keys() {
        if !["updated_at", "recording", "recording_url"].contains(&field.as_str()) {
            assert_eq!(told[field], shown[field], "{field}");
        }
    }
    // Whoever gets the event can listen, without a key.
    let report = got[3].json();
    let link = report["data"]["recording_url"].as_str().expect("a link");
    assert_eq!(report["data"]["call"]["recording"]["url"], link);
    assert_eq!(report["data"]["call"]["recording_url"], link);
    let expires = report["data"]["call"]["recording"]["expires_at"].as_str().expect("a time");
    let expires: jiff::Timestamp = expires.parse().expect("a time");
    let life = expires.duration_since(clock::wall()).as_secs();
    assert!((3_500..=3_600).contains(&life), "{life} s");
    let heard = reqwest::get(format!("http://{}{link}", server.running.api())).await;
    let heard = heard.expect("an answer");
    assert_eq!(heard.status(), 200);
    assert!(heard.bytes().await.expect("audio").starts_with(b"RIFF"));
    let delivery = format!(
        "http://{}/v1/webhook-deliveries/{}",
        server.running.api(),
        got[3].header("x-webhook-delivery")
    );
    let key = server.running.first_key().expect("a first start");
    let shown = reqwest::Client::new().get(delivery).bearer_auth(key).send().await;
    let shown: Value = shown.expect("an answer").json().await.expect("JSON");
    assert_eq!(shown["payload"]["data"]["recording_url"], Value::Null);
    let turns = got[3].json()["data"]["transcript"].as_array().expect("turns").len();
    assert_eq!(turns, server.turns(record.id).await.len());
}

// covers: S0-30
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_outbound_call_has_one_end_too() {
    let server = Server::start().await;
    let receiver = Receiver::start(|_| Answer::Status(200)).await;
    subscribe(&server.running.hooks().endpoints, &receiver.url, &["call.*"]).await;
    let mut callee = Peer::new(server.sip(Transport::Udp), Transport::Udp).await;
    let call = server.dial(format!("sip:busy@{}", callee.local), Transport::Udp).await;
    let invite = callee.request("INVITE").await;
    callee.answer(&invite, "180 Ringing", "", "").await;
    callee.answer(&invite, "486 Busy Here", "", "").await;
    server.ended(call.id).await;
    receiver.reaches(4).await;
    assert_eq!(receiver.types(), ["call.queued", "call.ringing", "call.busy", "call.report"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_has_a_receiver_a_secret_and_events_of_its_own() {
    let receiver = Receiver::start(|_| Answer::Status(200)).await;
    let text = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let server = Server::with(|config| {
        let path = config.store.database.with_file_name("secret");
        std::fs::write(&path, text).expect("a file");
        let demo = agent(config);
        demo.webhook_url = Some(receiver.url.clone());
        demo.webhook_secret = WriteOnly::File(path);
        demo.webhook_events = vec![
            "call.answered".to_owned(),
            "call.recording.ready".to_owned(),
            "call.report".to_owned(),
        ];
    })
    .await;
    let line = Line::new().await;
    let mut caller = Caller::new(&server, Transport::Udp, "agents").await;
    caller.call(line.local).await;
    caller.hang_up().await;
    let got = receiver.reaches(3).await;
    assert_eq!(receiver.types(), ["call.answered", "call.recording.ready", "call.report"]);
    let secret = SigningSecret::parse(text).expect("a secret");
    for got in got {
        assert_signed(&got, &secret);
    }
}

/// Calls whose five events wait in the outbox.
const CALLS: u64 = 2_000;
/// Events of a call.
const EACH: usize = 5;
/// How often the process is killed.
const KILLS: usize = 5;
/// Limit of the whole run: the machine is shared.
const STORM_MAX: Duration = Duration::from_secs(300);

fn storm_config() -> Config {
    Config {
        timeout_ms: 500,
        // A receiver that fails three times in ten fails sixteen times in a row once in 10^8 events.
        retry_delays_seconds: vec![0.1; 16],
        concurrent_per_destination_max: 4,
        ..Config::default()
    }
}

/// A store with endpoints and [`CALLS`] calls, each lived through.
async fn prepare(dir: &TempDir, secret: &Secret, receivers: &[(&Receiver, &[&str])]) -> Arc<Store> {
    let path = dir.path().join("trunkline.db");
    let store = Arc::new(Store::open(&path).await.expect("a store"));
    let mut entropy = Entropy::seeded(1);
    let sealer = Sealer::from_master(Some(secret), &path, &mut entropy).expect("a sealer");
    sealer.check(&store, clock::wall()).await.expect("a fresh store");
    let (hooks, _) =
        Hooks::new(Arc::clone(&store), Arc::new(sealer), storm_config(), entropy.fork())
            .expect("webhooks");
    for (receiver, events) in receivers {
        subscribe(&hooks.endpoints, &receiver.url, events).await;
    }
    let now = clock::wall();
    let mut writes = Vec::new();
    for _ in 0..CALLS {
        let id = CallId::new(clock::unix_ms(), &mut entropy);
        let mut record = CallRecord::new(id, Direction::Outbound, now);
        let mut put = |record: &CallRecord| writes.push(Write::Put(Box::new(record.clone())));
        put(&record);
        record.status = CallStatus::Ringing;
        put(&record);
        record.status = CallStatus::InProgress;
        record.answered_at = Some(now);
        put(&record);
        record.finish(EndReason::UserHangup, now);
        put(&record);
    }
    for batch in writes.chunks(500) {
        store.apply(batch).await.expect("written");
    }
    store
}

fn fails_three_in_ten(n: usize) -> Answer {
    match n % 100 {
        7 => Answer::Never,
        _ if n.wrapping_mul(2_654_435_761) % 10 < 3 => Answer::Status(500),
        _ => Answer::Status(200),
    }
}

fn is_busy_once_in_ten(n: usize) -> Answer {
    if n % 10 == 3 { Answer::Busy } else { Answer::Status(200) }
}

/// Every event that arrived: event id by call and type, and how often it arrived beyond the first time.
fn arrived(receiver: &Receiver) -> (BTreeMap<(String, String), String>, usize) {
    let mut found = BTreeMap::new();
    let mut twice = 0;
    for got in receiver.got().into_iter().filter(|got| got.answered == 200) {
        let body = got.json();
        let id = body["id"].as_str().expect("an id").to_owned();
        assert_eq!(got.header("webhook-id"), id);
        let call = body["data"]["call"]["id"].as_str().expect("a call").to_owned();
        let kind = body["type"].as_str().expect("a type").to_owned();
        if let Some(before) = found.insert((call, kind), id.clone()) {
            assert_eq!(before, id, "the same event under two identifiers");
            twice += 1;
        }
    }
    (found, twice)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_though_receivers_fail_and_the_server_is_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let master = dir.path().join("master");
    std::fs::write(&master, "0123456789abcdef0123456789abcdef").expect("a file");
    let secret = Secret::new("0123456789abcdef0123456789abcdef");
    let flaky = Receiver::start(fails_three_in_ten).await;
    let busy = Receiver::start(is_busy_once_in_ten).await;
    let hanging = Receiver::start(|_| Answer::Never).await;
    let gone = Receiver::start(|_| Answer::Status(410)).await;
    let most = ["call.queued", "call.ringing", "call.answered", "call.completed"];
    let store = prepare(
        &dir,
        &secret,
        &[
            (&flaky, &most),
            (&busy, &["call.report"]),
            (&hanging, &["call.queued"]),
            (&gone, &["*"]),
        ],
    )
    .await;
    let config = write_config(&dir, |config| {
        config.webhooks = storm_config();
        config.store.master_key = Some(SecretRef::File(master));
    });
    let total = usize::try_from(CALLS).unwrap() * EACH;
    let seen = || flaky.count() + busy.count();
    for kill in 1..=KILLS {
        let server = ServerProcess::start(&config).await;
        storm_until("work before the next kill", async || seen() >= total * kill / (KILLS + 1))
            .await;
        server.kill().await;
    }
    let server = ServerProcess::start(&config).await;
    let answered = |receiver: &Receiver, each: usize| {
        receiver.count() >= each && arrived(receiver).0.len() >= each
    };
    let calls = usize::try_from(CALLS).unwrap();
    storm_until("every event", async || {
        store.new_events(1).await.expect("the store").is_empty()
            && answered(&busy, calls)
            && answered(&flaky, calls * most.len())
    })
    .await;
    server.terminate();
    assert_eq!(server.wait().await, 0);
    let (first, twice) = arrived(&flaky);
    let (second, again) = arrived(&busy);
    let ids: BTreeSet<_> = first.values().chain(second.values()).collect();
    assert_eq!(ids.len(), total, "every event has an identifier of its own");
    let duplicates = twice + again;
    eprintln!(
        "webhooks: {total} events, {} requests, {KILLS} kills, {duplicates} duplicates",
        seen()
    );
    assert!(duplicates * 100 <= total, "{duplicates} duplicates of {total} events");
    // The one that wants nothing more is left alone: one request at most for each place it has.
    assert!(gone.count() <= 8, "{} requests after 410", gone.count());
    let query = DeliveryQuery {
        status: Some(DeliveryStatus::Exhausted),
        event_type: Some("call.report".to_owned()),
        limit: 200,
        ..DeliveryQuery::default()
    };
    for delivery in store.deliveries(&query).await.expect("the store") {
        assert_eq!(delivery.last_response_status, Some(410), "{delivery:?}");
    }
}

/// As `wait::until`, with the storm's own limit.
async fn storm_until(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let wait = async {
        loop {
            ticks.tick().await;
            if reached().await {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(STORM_MAX, wait).await.is_ok(), "in vain: {what}");
}

/// Runs a program of others to its end; what it printed.
async fn run(program: &Path, args: &[&str], dir: &Path) -> String {
    let mut command = tokio::process::Command::new(program);
    command.args(args).current_dir(dir).kill_on_drop(true);
    let limit = Duration::from_secs(180);
    let output = tokio::time::timeout(limit, command.output()).await.expect("it ends");
    let output = output.expect("it runs");
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{} {args:?}: {out}{err}", program.display());
    out.into_owned()
}

/// A directory below `target/` with the files of the check.
fn workshop(name: &str, files: &[&str]) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).expect("a directory");
    for file in files {
        let from = root.join("tests/it/clients/webhooks").join(file);
        std::fs::copy(from, dir.join(file)).expect("a copy");
    }
    dir
}

/// Messages of a server as the verifiers read them: before, during and after a rotation.
async fn messages() -> (TempDir, PathBuf, usize) {
    let server = Server::start().await;
    let receiver = Receiver::start(|_| Answer::Status(200)).await;
    let endpoints = &server.running.hooks().endpoints;
    let (endpoint, first) = subscribe(endpoints, &receiver.url, &["*"]).await;
    endpoints.ping(&ours(), &endpoint.id).await.expect("a ping");
    receiver.reaches(1).await;
    let rotate = async |old| endpoints.rotate(&ours(), &endpoint.id, old).await;
    let (_, second) = rotate(OldSecret::Overlaps).await.expect("a rotation");
    endpoints.ping(&ours(), &endpoint.id).await.expect("a ping");
    receiver.reaches(2).await;
    let (_, third) = rotate(OldSecret::Expires).await.expect("a rotation");
    let line = Line::new().await;
    let mut caller = Caller::new(&server, Transport::Udp, "signed").await;
    caller.call(line.local).await;
    caller.hang_up().await;
    let got = receiver.reaches(6).await;
    let mut lines = String::new();
    let mut count = 0;
    let secrets = [vec![&first], vec![&second, &first], vec![&third]];
    for (number, got) in got.iter().enumerate() {
        for secret in &secrets[number.min(2)] {
            let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
            let headers: BTreeMap<_, _> =
                names.into_iter().map(|name| (name, got.header(name))).collect();
            let body = std::str::from_utf8(&got.body).expect("text");
            let message = json!({"secret": secret.expose(), "headers": headers, "body": body});
            lines.push_str(&format!("{message}\n"));
            count += 1;
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("messages.jsonl");
    std::fs::write(&path, lines).expect("a file");
    (dir, path, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_library_for_python_accepts_the_signatures() {
    if !has_program("python3") {
        return;
    }
    let (_dir, path, count) = messages().await;
    let shop = workshop("webhooks-python", &["requirements.txt", "verify.py"]);
    run("python3".as_ref(), &["-m", "venv", "venv"], &shop).await;
    let python = shop.join("venv/bin/python");
    let install = ["-m", "pip", "install", "--quiet", "--requirement", "requirements.txt"];
    run(&python, &install, &shop).await;
    let said = run(&python, &["verify.py", path.to_str().expect("text")], &shop).await;
    assert_eq!(said.trim(), format!("accepted {count}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reference_library_for_javascript_accepts_the_signatures() {
    if !has_program("npm") {
        return;
    }
    let (_dir, path, count) = messages().await;
    let shop = workshop("webhooks-node", &["package.json", "package-lock.json", "verify.js"]);
    run("npm".as_ref(), &["ci", "--silent", "--no-audit", "--no-fund"], &shop).await;
    let said = run("node".as_ref(), &["verify.js", path.to_str().expect("text")], &shop).await;
    assert_eq!(said.trim(), format!("accepted {count}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_targets_get_no_connection() {
    let server = Server::with(|config| {
        config.webhooks.allow_private_targets = false;
        config.webhooks.retry_delays_seconds = Vec::new();
    })
    .await;
    let trap = Trap::set().await;
    let api = format!("http://{}/v1", server.running.api());
    let key = server.running.first_key().expect("a first start").to_owned();
    let http = reqwest::Client::new();
    let post = |path: &str, body: Value| {
        let request = http.post(format!("{api}{path}")).bearer_auth(&key).json(&body);
        async move {
            let answer = request.send().await.expect("an answer");
            (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
        }
    };
    let own = json!({"to_number": "+4930123456", "webhook_url": trap.url()});
    let (status, refused) = post("/calls", own).await;
    assert_eq!((status, &refused["error"]["param"]), (422, &json!("webhook_url")), "{refused}");
    let hint = refused["error"]["hint"].as_str().expect("a hint");
    assert!(hint.contains("allow_private_targets"), "{hint}");
    let mut by_name = 0;
    for url in trap.forged_targets() {
        let (status, body) = post("/webhook-endpoints", json!({"url": url})).await;
        if status == 422 {
            assert_eq!(body["error"]["param"], "url", "{url}");
            continue;
        }
        // A name: whether it leads to a forbidden place shows when it is looked up.
        assert_eq!(status, 201, "{url}: {body}");
        by_name += 1;
        let id = body["id"].as_str().expect("an id");
        let (_, ping) = post(&format!("/webhook-endpoints/{id}/test"), json!({})).await;
        let delivery = ping["id"].as_str().expect("an id").to_owned();
        let over = wait::until("the end of the ping", async || {
            let path = format!("{api}/webhook-deliveries/{delivery}");
            let shown = http.get(path).bearer_auth(&key).send().await.expect("an answer");
            let shown: Value = shown.json().await.expect("JSON");
            (shown["status"] != "pending").then_some(shown)
        })
        .await;
        assert_eq!(over["status"], "exhausted", "{url}");
        let error = over["last_error"].as_str().expect("words");
        assert!(error.starts_with("refuse the target"), "{url}: {error}");
    }
    assert!(by_name >= 2, "names are tried too");
    assert_eq!(trap.caught(), 0);
}
