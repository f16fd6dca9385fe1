//! Orders and batches over real calls: SIPp answers, and the server is killed in the middle of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline::config::SecretRef;
use trunkline::store::{PageRequest, Query, Store};
use trunkline::types::CallRecord;

use crate::support::child::{ServerProcess, write_config};
use crate::support::hooks::{Answer, Receiver};
use crate::support::server::{OUT, Server};
use crate::support::sipp::Sipp;
use crate::support::{free_port, has_program};

/// Orders of the large batch.
const ORDERS: usize = 1_000;
/// Calls a second of its trunk: less than a debug build dials on two cores, so that it binds.
const RATE: usize = 12;
/// How long it may take: three times what the rate asks for, because the machine is shared.
const LIMIT: Duration = Duration::from_secs(250);
const KEY: &str = "a-key-for-the-scheduler-tests";

/// The API, as a client sees it.
struct Client {
    base: String,
    key: String,
    http: reqwest::Client,
}

impl Client {
    fn new(api: SocketAddr, key: &str) -> Self {
        trunkline::providers::http::install_crypto();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(20)).build();
        Self { base: format!("http://{api}"), key: key.to_owned(), http: http.expect("a client") }
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let request = self.http.post(format!("{}{path}", self.base)).bearer_auth(&self.key);
        let request = request.header("content-type", "application/json").body(body.to_string());
        Self::answer(request).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        Self::answer(self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.key)).await
    }

    async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    async fn ready(&self) {
        eventually("the API answers", Duration::from_secs(20), async || {
            let request = self.http.get(format!("{}/healthz", self.base));
            request.send().await.is_ok().then_some(())
        })
        .await;
    }

    /// An order, once it is over.
    async fn order_over(&self, id: &str) -> Value {
        eventually("the order is over", Duration::from_secs(30), async || {
            let (status, order) = self.get(&format!("/v1/call-orders/{id}")).await;
            assert_eq!(status, 200, "{order}");
            let over = ["completed", "canceled", "errored"];
            over.iter().any(|word| order["status"] == *word).then_some(order)
        })
        .await
    }

    /// A batch, once it is over.
    async fn batch_over(&self, id: &str, limit: Duration) -> Value {
        eventually("the batch is over", limit, async || {
            let (status, batch) = self.get(&format!("/v1/batches/{id}")).await;
            assert_eq!(status, 200, "{batch}");
            (batch["status"] == "completed").then_some(batch)
        })
        .await
    }
}

/// Looks ten times a second until there is something to see.
async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> T {
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let search = async {
        loop {
            ticks.tick().await;
            if let Some(found) = condition().await {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(limit, search).await;
    found.unwrap_or_else(|_| panic!("waited {limit:?} in vain: {what}"))
}

async fn every_call(database: &std::path::Path) -> Vec<CallRecord> {
    let store = Store::open(database).await.expect("the store");
    let mut calls = Vec::new();
    for number in 1.. {
        let page = PageRequest::new(Some(number), Some(100)).expect("a page");
        let found = store.list(&Query::default(), page).await.expect("the store");
        if found.items.is_empty() {
            break;
        }
        calls.extend(found.items);
    }
    store.close().await;
    calls
}

/// The most calls that came within a second of one of them.
fn arrived_in_a_second(arrivals: &[jiff::civil::DateTime]) -> usize {
    let from = |first: &jiff::civil::DateTime| {
        let end = *first + jiff::SignedDuration::from_secs(1);
        arrivals.iter().filter(|at| *first <= **at && **at < end).count()
    };
    arrivals.iter().map(from).max().unwrap_or(0)
}

/// The most calls that left within any one second.
fn most_in_a_second(calls: &[CallRecord]) -> usize {
    let mut left: Vec<i64> = calls
        .iter()
        .filter_map(|call| call.initiated_at)
        .map(jiff::Timestamp::as_microsecond)
        .collect();
    left.sort_unstable();
    let within =
        |from: &i64| left.iter().filter(|at| (0..1_000_000).contains(&(*at - from))).count();
    left.iter().map(within).max().unwrap_or(0)
}

/// The trunk `out` leads to SIPp at a rate; nobody speaks.
fn lead_to(config: &mut trunkline::config::Config, sipp: SocketAddr, rate: f64) {
    crate::support::server::agent(config).turn.greeting.text = String::new();
    crate::support::server::agent(config).recording.enabled = false;
    let out = config.trunks.get_mut(OUT).expect("the trunk");
    out.host = sipp.ip().to_string();
    out.port = Some(sipp.port());
    out.username = String::new();
    out.password = None;
    // One a second is the rate of a trunk that says nothing.
    out.calls_per_second = (rate != 1.0).then_some(rate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_survives_three_kills_and_dials_nobody_twice() {
    if !has_program("sipp") {
        return;
    }
    let sipp = Sipp::crowd("uas_crowd").await;
    let dir = tempfile::tempdir().expect("a directory");
    let api = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let key = dir.path().join("key");
    std::fs::write(&key, KEY).expect("a file");
    let config = write_config(&dir, |config| {
        lead_to(config, sipp.local, RATE as f64);
        config.api.bind = api;
        config.api.key = Some(SecretRef::File(key.clone()));
        config.telemetry.log_filter = "error".to_owned();
    });
    let mut server = ServerProcess::start(&config).await;
    let client = Client::new(api, KEY);
    client.ready().await;
    let numbers: Vec<String> = (0..ORDERS).map(|n| format!("+4930{n:07}")).collect();
    let (status, batch) = client.post("/v1/batches", json!({"to_numbers": numbers})).await;
    assert_eq!(status, 202, "{batch}");
    assert_eq!(batch["total"], ORDERS, "{batch}");
    let id = batch["batch_id"].as_str().expect("an id").to_owned();
    for left in [800, 500, 200] {
        eventually("a part of the batch is dialled", LIMIT, async || {
            let (_, batch) = client.get(&format!("/v1/batches/{id}?page_size=1")).await;
            (batch["counts"]["queued"].as_u64()? <= left).then_some(())
        })
        .await;
        server.kill().await;
        server = ServerProcess::start(&config).await;
        client.ready().await;
    }
    let over = client.batch_over(&id, LIMIT).await;
    let counts = &over["counts"];
    assert_eq!(counts["total"], ORDERS, "{counts}");
    let ended: u64 = ["completed", "busy", "no_answer", "canceled", "failed"]
        .iter()
        .map(|word| counts[word].as_u64().expect("a count"))
        .sum();
    assert_eq!(ended, ORDERS as u64, "every order reached one outcome: {counts}");
    // What was live at a kill is lost, and nothing else.
    let lost = ORDERS as u64 - counts["completed"].as_u64().expect("a count");
    assert!(lost <= 3 * RATE as u64, "{counts}");
    server.terminate();
    assert_eq!(server.wait().await, 0);

    let calls = every_call(&dir.path().join("trunkline.db")).await;
    assert_eq!(calls.len(), ORDERS, "one attempt each");
    assert!(calls.iter().all(|call| call.status.is_terminal()));
    let orders: BTreeSet<_> = calls.iter().map(|call| call.order_id.expect("an order")).collect();
    assert_eq!(orders.len(), ORDERS);
    assert!(calls.iter().all(|call| call.attempt_number == Some(1)));
    let mut dialled: BTreeMap<String, usize> = BTreeMap::new();
    for (user, _) in sipp.invites() {
        *dialled.entry(user).or_default() += 1;
    }
    let twice: Vec<_> = dialled.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "dialled twice: {twice:?}");
    // Those that are missing were written as leaving and did not leave: one at a kill, at most.
    assert!(dialled.len() + 3 >= ORDERS, "{} of {ORDERS} were dialled", dialled.len());
    let most = most_in_a_second(&calls);
    assert!(most <= RATE, "{most} calls left in one second");
    let arrivals = sipp.invite_times();
    assert_eq!(arrivals.len(), dialled.len());
    let most = arrived_in_a_second(&arrivals);
    eprintln!("arrived in one second: {most}");
    assert!(most <= RATE, "{most} calls came in one second");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_wait_at_a_kill_are_dialled_by_the_next_process_once() {
    if !has_program("sipp") {
        return;
    }
    let sipp = Sipp::crowd("uas_486").await;
    let dir = tempfile::tempdir().expect("a directory");
    let api = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let key = dir.path().join("key");
    std::fs::write(&key, KEY).expect("a file");
    let config = write_config(&dir, |config| {
        lead_to(config, sipp.local, 1.0);
        config.api.bind = api;
        config.api.key = Some(SecretRef::File(key.clone()));
    });
    let server = ServerProcess::start(&config).await;
    let client = Client::new(api, KEY);
    client.ready().await;
    let mut ids = Vec::new();
    for n in 0..4 {
        let body = json!({"to_number": format!("+493012345{n}"), "first_message": "Hello.", "metadata": {"n": n}});
        let (status, call) = client.post("/v1/calls", body).await;
        assert_eq!(status, 202, "{call}");
        ids.push(call["id"].as_str().expect("an id").to_owned());
    }
    let over = async |id: &str| {
        eventually("the end of a call", Duration::from_secs(30), async || {
            let (_, call) = client.get(&format!("/v1/calls/{id}")).await;
            call["ended_at"].is_string().then_some(call)
        })
        .await
    };
    over(&ids[0]).await;
    server.kill().await;
    let server = ServerProcess::start(&config).await;
    client.ready().await;
    for (n, id) in ids.iter().enumerate() {
        let call = over(id).await;
        assert_eq!((&call["metadata"]["n"], &call["is_test"]), (&json!(n), &json!(false)));
        // One may have been on its way at the kill: it is lost, and dialled no second time.
        let lost = call["error_code"] == "server_restarted";
        assert!(call["status"] == "busy" || lost, "{call}");
    }
    let invites = sipp.invites();
    let users: BTreeSet<_> = invites.iter().map(|(user, _)| user).collect();
    assert_eq!(users.len(), invites.len(), "nobody twice: {invites:?}");
    assert!(users.len() >= 3, "{invites:?}");
    server.terminate();
    assert_eq!(server.wait().await, 0);
}

async fn with_sipp(scenario: &str, rate: f64) -> (Sipp, Server, Client) {
    let sipp = Sipp::crowd(scenario).await;
    let local = sipp.local;
    let server = Server::with(|config| lead_to(config, local, rate)).await;
    let key = server.running.first_key().expect("the first key").to_owned();
    let client = Client::new(server.running.api(), &key);
    (sipp, server, client)
}

// covers: S3-09 S3-11 S3-12 S3-16 E2-11
#[tokio::test(flavor = "multi_thread")]
async fn three_retries_are_four_dials() {
    if !has_program("sipp") {
        return;
    }
    for (scenario, outcome) in [("uas_486", "busy"), ("uas_480", "no_answer")] {
        let (sipp, _server, client) = with_sipp(scenario, 100.0).await;
        let body = json!({
            "to_number": "+4930123456", "metadata": {"order": 7},
            "retry": {"max_retry_attempts": 3, "delay_seconds": 0, "ignore_window": true},
        });
        let (status, order) = client.post("/v1/call-orders", body).await;
        assert_eq!(status, 202, "{order}");
        let order = client.order_over(order["id"].as_str().expect("an id")).await;
        assert_eq!(order["status"], "completed", "{order}");
        assert_eq!(order["outcome"], outcome, "{order}");
        assert_eq!(order["attempts_count"], 4, "{order}");
        let attempts = order["attempts"].as_array().expect("attempts");
        assert_eq!(attempts.len(), 4);
        assert_eq!(attempts[0]["id"], order["last_attempt"]["id"], "newest first");
        assert!(attempts.iter().all(|call| call["metadata"]["order"] == 7), "{order}");
        assert_eq!(sipp.invites().len(), 4, "{scenario}");
    }
}

// covers: S2-24 E2-17
#[tokio::test(flavor = "multi_thread")]
async fn orders_batches_and_campaigns_are_told() {
    if !has_program("sipp") {
        return;
    }
    let (_sipp, _server, client) = with_sipp("uas_486", 100.0).await;
    let all = Receiver::start(|_| Answer::Status(200)).await;
    let own = Receiver::start(|_| Answer::Status(200)).await;
    let events = ["order.*", "batch.*", "campaign.*"];
    let endpoint = json!({"url": all.url, "enabled_events": events});
    assert_eq!(client.post("/v1/webhook-endpoints", endpoint).await.0, 201);
    let retry = json!({"max_retry_attempts": 1, "delay_seconds": 0, "ignore_window": true});
    let body = json!({"to_number": "+4930123456", "retry": retry, "webhook_url": own.url});
    let (_, order) = client.post("/v1/call-orders", body).await;
    let id = order["id"].as_str().expect("an id");
    client.order_over(id).await;
    let got = all.reaches(2).await;
    assert_eq!(all.types(), ["order.retry_scheduled", "order.completed"]);
    for (got, attempts) in got.iter().zip([1, 2]) {
        let data = got.json()["data"].clone();
        assert_eq!(data["order"]["id"], id);
        assert_eq!(data["order"]["attempts_count"], attempts);
        assert_eq!(data["call"]["order_id"], id);
        assert_eq!(data["call"]["status"], "busy");
    }
    // Its own receiver: the lives of its two calls, and its end.
    let told = eventually("its own receiver hears all", Duration::from_secs(20), async || {
        let told = own.types();
        let count = |name: &str| told.iter().filter(|told| *told == name).count();
        let all = (count("call.report"), count("order.completed")) == (2, 1);
        all.then(|| (count("call.busy"), count("order.retry_scheduled")))
    })
    .await;
    assert_eq!(told, (2, 0));

    let (_, batch) = client.post("/v1/batches", json!({"to_numbers": ["+4930123457"]})).await;
    let batch = batch["batch_id"].as_str().expect("an id").to_owned();
    client.batch_over(&batch, Duration::from_secs(30)).await;
    let got = all.reaches(4).await;
    // Order is promised within a call only, and the end of a batch is no call's.
    assert_eq!(all.types_since(2), ["batch.completed", "order.completed"]);
    let ended = got.iter().find(|got| got.json()["type"] == "batch.completed").expect("told");
    assert_eq!(ended.json()["data"]["batch"]["id"], batch);

    let retry = json!({"max_retry_attempts": 0, "ignore_window": true});
    let body = json!({"name": "Reminders", "retry": retry});
    let (status, campaign) = client.post("/v1/campaigns", body).await;
    assert_eq!(status, 201, "{campaign}");
    let campaign = campaign["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/campaigns/{campaign}");
    let lead = json!({"phone_number": "+31201234567"});
    assert_eq!(client.post(&format!("{path}/leads"), lead).await.0, 201);
    let (status, started) = client.post(&format!("{path}/start"), json!({})).await;
    assert_eq!(status, 200, "{started}");
    let got = all.reaches(6).await;
    assert_eq!(all.types_since(4), ["campaign.completed", "order.completed"]);
    let ended = got.iter().find(|got| got.json()["type"] == "campaign.completed").expect("told");
    assert_eq!(ended.json()["data"]["campaign"]["id"], campaign);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_a_second_leaves_three_in_two_seconds_at_least() {
    if !has_program("sipp") {
        return;
    }
    let (_sipp, server, client) = with_sipp("uas_crowd", 1.0).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let (status, call) =
            client.post("/v1/calls", json!({"to_number": format!("+493012345{n}")})).await;
        assert_eq!(status, 202, "{call}");
        ids.push(call["id"].as_str().expect("an id").parse().expect("an id"));
    }
    let mut calls = Vec::new();
    for id in ids {
        calls.push(server.ended(id).await);
    }
    calls.sort_by_key(|call| call.initiated_at);
    let left = |n: usize| calls[n].initiated_at.expect("it left");
    assert!(left(2).duration_since(left(0)) >= jiff::SignedDuration::from_secs(2));
    assert_eq!(most_in_a_second(&calls), 1);
}

// covers: S2-31..S2-35 E2-09
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_with_a_wrong_number_has_one_failed_item() {
    if !has_program("sipp") {
        return;
    }
    let (sipp, _server, client) = with_sipp("uas_crowd", 100.0).await;
    let body = json!({"to_numbers": ["+4930123451", "12345", "+4930123452"]});
    let (status, accepted) = client.post("/v1/calls/batch", body).await;
    assert_eq!(status, 202, "{accepted}");
    assert_eq!(accepted["total"], 3);
    let id = accepted["batch_id"].as_str().expect("an id").to_owned();
    let batch = client.batch_over(&id, Duration::from_secs(30)).await;
    assert_eq!(batch["counts"]["completed"], 2, "{batch}");
    assert_eq!(batch["counts"]["failed"], 1, "{batch}");
    assert_eq!((&batch["total"], &batch["queued"]), (&json!(3), &json!(0)));
    assert_eq!((&batch["initiated"], &batch["failed"]), (&json!(2), &json!(1)));
    let (_, alias) = client.get(&format!("/v1/calls/batch/{id}")).await;
    let item = &alias["calls"][1];
    assert_eq!(item["to_number"], "12345", "{alias}");
    assert_eq!(item["status"], "failed");
    assert_eq!(item["error"], "Invalid number");
    assert_eq!(sipp.invites().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_a_batch_and_of_a_key_hold() {
    if !has_program("sipp") {
        return;
    }
    let (_sipp, server, client) = with_sipp("uas_crowd", 100.0).await;
    let numbers: Vec<String> = (0..6).map(|n| format!("+493012345{n}")).collect();
    let body = json!({"to_numbers": numbers, "max_concurrent": 1});
    let (_, batch) = client.post("/v1/batches", body).await;
    let mut orders = Vec::new();
    for n in 0..3 {
        let body = json!({
            "to_number": format!("+493099999{n}"), "concurrency": {"key": "desk", "max": 1},
            "retry": {"ignore_window": true},
        });
        let (status, order) = client.post("/v1/call-orders", body).await;
        assert_eq!(status, 202, "{order}");
        orders.push(order["id"].as_str().expect("an id").to_owned());
    }
    client.batch_over(batch["batch_id"].as_str().expect("an id"), Duration::from_secs(30)).await;
    for id in &orders {
        assert_eq!(client.order_over(id).await["outcome"], "completed");
    }
    let calls = server.calls().await;
    let (in_batch, with_key): (Vec<_>, Vec<_>) =
        calls.into_iter().partition(|call| call.batch_id.is_some());
    assert_eq!((in_batch.len(), with_key.len()), (6, 3));
    for mut group in [in_batch, with_key] {
        group.sort_by_key(|call| call.initiated_at);
        for pair in group.windows(2) {
            assert!(pair[1].initiated_at >= pair[0].ended_at, "two at once: {pair:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_on_the_list_is_called() {
    if !has_program("sipp") {
        return;
    }
    let (sipp, server, client) = with_sipp("uas_crowd", 100.0).await;
    let listed = json!({"phone_number": "+4930123456", "reason": "asked us to stop"});
    let (status, answer) = client.post("/v1/do-not-call", listed).await;
    assert_eq!((status, &answer["added"]), (201, &json!(1)), "{answer}");
    let retry = json!({"ignore_window": true});
    let body = json!({"to_number": "+4930123456", "retry": retry});
    let (_, order) = client.post("/v1/call-orders", body.clone()).await;
    let order = client.order_over(order["id"].as_str().expect("an id")).await;
    assert_eq!(
        (&order["status"], &order["error_code"]),
        (&json!("errored"), &json!("do_not_call"))
    );
    // A call by itself, and one that is the first attempt of an order.
    for body in [json!({"to_number": "+4930123456"}), body] {
        let (status, call) = client.post("/v1/calls", body).await;
        assert_eq!(status, 202, "{call}");
        let id = call["id"].as_str().expect("an id").parse().expect("an id");
        let ended = server.ended(id).await;
        assert_eq!(ended.end_reason, Some(trunkline::types::EndReason::DoNotCall));
    }
    assert!(sipp.invites().is_empty());
}
