//! The dispatcher with real receivers: who gets what, how often, and when no more.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Receiver;
use crate::schema::webhook::{
    EndpointStatus, SignatureStyle, WebhookEndpoint, WebhookEndpointInput,
};
use crate::store::{Delivery, DeliveryQuery, DeliveryStatus, InlineDelivery, Sealer, Store, Write};
use crate::types::{
    AnsweredBy, CallEvent, CallEventKind, CallId, CallRecord, CallStatus, Direction, EndReason,
    Entropy, OrganizationId, OutboxEvent, OutboxKind,
};
use crate::webhook::keyring::OldSecret;
use crate::webhook::sign::{Message, SigningSecret, headers};
use crate::webhook::{Config, EndpointError, Hooks};

pub(super) struct Bench {
    pub(super) store: Arc<Store>,
    pub(super) hooks: Hooks,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Retries that come at once.
pub(super) fn fast() -> Config {
    Config { retry_delays_seconds: vec![0.0; 3], disable_after: 2, ..Config::default() }
}

pub(super) async fn bench(config: Config) -> Bench {
    let store = Arc::new(Store::in_memory().await.unwrap());
    let sealer = Arc::new(Sealer::new(&[7; 32], Entropy::seeded(1)).unwrap());
    let (hooks, dispatcher) =
        Hooks::new(Arc::clone(&store), sealer, config, Entropy::seeded(2)).unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(dispatcher.run(stop.clone()));
    Bench { store, hooks, stop, task }
}

pub(super) fn input(url: &str, events: &[&str]) -> WebhookEndpointInput {
    WebhookEndpointInput {
        url: url.to_owned(),
        description: String::new(),
        enabled_events: events.iter().map(|name| name.to_string()).collect(),
        headers: BTreeMap::new(),
        signature_style: SignatureStyle::Standard,
        status: EndpointStatus::Enabled,
        metadata: serde_json::Map::new(),
    }
}

pub(super) fn ours() -> OrganizationId {
    OrganizationId::default()
}

pub(super) fn call(seed: u64) -> CallRecord {
    let at = jiff::Timestamp::from_second(1_800_000_000).unwrap();
    CallRecord::new(CallId::new(seed, &mut Entropy::seeded(seed)), Direction::Outbound, at)
}

impl Bench {
    pub(super) async fn endpoint(
        &self,
        url: &str,
        events: &[&str],
    ) -> (WebhookEndpoint, SigningSecret) {
        self.hooks.endpoints.create(&ours(), input(url, events)).await.unwrap()
    }

    pub(super) async fn put(&self, record: &CallRecord) {
        self.store.apply(&[Write::Put(Box::new(record.clone()))]).await.unwrap();
    }

    async fn deliveries(&self) -> Vec<Delivery> {
        let query = DeliveryQuery { limit: 200, ..DeliveryQuery::default() };
        self.store.deliveries(&query).await.unwrap()
    }

    /// Waits until a condition of the store holds.
    async fn until<T>(&self, mut found: impl AsyncFnMut() -> Option<T>) -> T {
        let wait = async {
            let mut ticks = tokio::time::interval(std::time::Duration::from_millis(5));
            loop {
                ticks.tick().await;
                if let Some(found) = found().await {
                    return found;
                }
            }
        };
        let limit = std::time::Duration::from_secs(20);
        tokio::time::timeout(limit, wait).await.expect("the condition holds in time")
    }

    pub(super) async fn settled(&self, count: usize) -> Vec<Delivery> {
        self.until(async || {
            let all = self.deliveries().await;
            let over = all.iter().all(|delivery| delivery.status != DeliveryStatus::Pending);
            (all.len() == count && over).then_some(all)
        })
        .await
    }
}

pub(super) fn types(receiver: &Receiver) -> Vec<String> {
    receiver.got().iter().map(|got| got.body["type"].as_str().unwrap().to_owned()).collect()
}

/// A whole call, written state by state.
pub(super) async fn live(bench: &Bench, record: &mut CallRecord) {
    for status in [CallStatus::Queued, CallStatus::Initiated, CallStatus::Ringing] {
        record.status = status;
        bench.put(record).await;
    }
    record.status = CallStatus::InProgress;
    record.answered_at = Some(record.created_at);
    bench.put(record).await;
    record.finish(EndReason::UserHangup, record.created_at);
    bench.put(record).await;
    // A repeated write of the end is no second end.
    bench.put(record).await;
}

// covers: S0-30 S0-31 S4-67
#[tokio::test]
async fn subscribers_get_what_they_want_in_order_and_signed() {
    let bench = bench(fast()).await;
    let [all, calls, ends, none] = [(); 4].map(|()| Receiver::start(&[]));
    let (all, calls, ends, none) = (all.await, calls.await, ends.await, none.await);
    let (_, secret) = bench.endpoint(&all.url, &["*"]).await;
    bench.endpoint(&calls.url, &["call.*"]).await;
    bench.endpoint(&ends.url, &["call.completed", "order.completed"]).await;
    bench.endpoint(&none.url, &["batch.*"]).await;
    let mut record = call(1);
    live(&bench, &mut record).await;
    let wanted = ["call.queued", "call.ringing", "call.answered", "call.completed", "call.report"];
    all.reaches(5).await;
    calls.reaches(5).await;
    ends.reaches(1).await;
    bench.settled(11).await;
    assert_eq!(types(&all), wanted);
    assert_eq!(types(&calls), wanted);
    assert_eq!(types(&ends), ["call.completed"]);
    assert!(none.got().is_empty());
    for got in all.got() {
        let (id, kind) = (got.header("webhook-id"), got.header("x-webhook-event"));
        assert_eq!(got.body["id"], id);
        assert_eq!(got.body["type"], kind);
        assert!(got.header("user-agent").starts_with("trunkline/"));
        let timestamp = got.header("webhook-timestamp").parse().unwrap();
        let message = Message { id: &id, kind: &kind, timestamp, body: &got.octets };
        let signed = headers(SignatureStyle::Standard, std::slice::from_ref(&secret), message);
        let signature = got.header("webhook-signature");
        assert!(signed.contains(&("webhook-signature".to_owned(), signature)));
    }
    // The same event has the same identifier everywhere, and each delivery its own.
    let ids = |receiver: &Receiver, name: &str| -> Vec<String> {
        receiver.got().iter().map(|got| got.header(name)).collect()
    };
    assert_eq!(ids(&all, "webhook-id"), ids(&calls, "webhook-id"));
    assert_ne!(ids(&all, "x-webhook-delivery"), ids(&calls, "x-webhook-delivery"));
}

#[tokio::test]
async fn keys_and_transfers_are_told_once() {
    let bench = bench(fast()).await;
    let receiver = Receiver::start(&[]).await;
    let wanted = ["call.dtmf", "call.transfer_failed", "call.transferred", "call.completed"];
    bench.endpoint(&receiver.url, &wanted).await;
    let mut record = call(1);
    bench.put(&record).await;
    let failed = CallEventKind::TransferFailed { sip_status: Some(486), message: "busy".into() };
    let kinds = [
        CallEventKind::DtmfReceived { digit: '5'.into() },
        CallEventKind::DtmfSent { digits: "1".to_owned().into() },
        failed,
    ];
    for (seq, kind) in (1..).zip(kinds) {
        let at = record.created_at.saturating_add(std::time::Duration::from_secs(seq)).unwrap();
        let entry = CallEvent { seq, call_id: record.id, at, kind };
        // Written twice, told once.
        let write = Write::Event(Box::new(entry));
        bench.store.apply(&[write.clone(), write]).await.unwrap();
    }
    record.answered_at = Some(record.created_at);
    record.updated_at =
        record.created_at.saturating_add(jiff::SignedDuration::from_mins(1)).unwrap();
    record.finish(EndReason::Transferred, record.updated_at);
    bench.put(&record).await;
    bench.settled(4).await;
    assert_eq!(types(&receiver), wanted);
    let got = receiver.got();
    assert_eq!(got[0].body["data"]["digit"], "5");
    assert_eq!(got[0].body["data"]["call"]["id"], record.id.to_string());
    assert_eq!(got[1].body["data"]["sip_status"], 486);
    assert_eq!(got[2].body["data"]["call"]["end_reason"], "transferred");
}

// covers: S0-26..S0-28
#[tokio::test]
async fn who_picked_up_is_told_once_it_is_known() {
    let bench = bench(fast()).await;
    let receiver = Receiver::start(&[]).await;
    bench.endpoint(&receiver.url, &["call.answered_by", "call.completed"]).await;
    let mut record = call(1);
    bench.put(&record).await;
    record.answered_at = Some(record.created_at);
    // The verdict on a first word, and a better one.
    for by in [AnsweredBy::Human, AnsweredBy::Human, AnsweredBy::Voicemail] {
        record.answered_by = Some(by);
        bench.put(&record).await;
    }
    record.finish(EndReason::UserHangup, record.created_at);
    bench.put(&record).await;
    let mut never_known = call(2);
    live(&bench, &mut never_known).await;
    bench.settled(4).await;
    let got = receiver.got();
    let of_first = got.iter().filter(|got| got.body["data"]["call"]["id"] == record.id.to_string());
    let told: Vec<_> = of_first.map(|got| got.body["data"]["answered_by"].clone()).collect();
    assert_eq!(told, [json!("human"), json!("voicemail"), json!(null)]);
}

#[tokio::test]
async fn every_end_of_a_call_has_its_event() {
    let bench = bench(fast()).await;
    let receiver = Receiver::start(&[]).await;
    let ends = [
        (EndReason::UserHangup, "call.completed"),
        (EndReason::InternalError, "call.failed"),
        (EndReason::NoAnswer, "call.no_answer"),
        (EndReason::Busy, "call.busy"),
        (EndReason::Canceled, "call.canceled"),
    ];
    bench.endpoint(&receiver.url, &ends.map(|(_, name)| name)).await;
    for (seed, (reason, _)) in (1..).zip(ends) {
        let mut record = call(seed);
        bench.put(&record).await;
        record.answered_at = (reason == EndReason::UserHangup).then_some(record.created_at);
        record.finish(reason, record.created_at);
        bench.put(&record).await;
    }
    bench.settled(5).await;
    let mut told = types(&receiver);
    told.sort();
    let mut wanted = ends.map(|(_, name)| name);
    wanted.sort_unstable();
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn a_call_with_a_url_of_its_own_is_told_there_and_sums_it_up() {
    let bench = bench(fast()).await;
    let receiver = Receiver::start(&[]).await;
    let mut record = call(1);
    record.webhook_url = Some(receiver.url.clone().into());
    let summary = async |record: &CallRecord| {
        let found = bench.store.inline_delivery(record.id).await.unwrap();
        InlineDelivery::summary(record.webhook_url.is_some(), found.as_ref())
    };
    assert_eq!(summary(&record).await, ("pending", None));
    live(&bench, &mut record).await;
    let deliveries = bench.settled(5).await;
    assert!(deliveries.iter().all(|delivery| delivery.endpoint_id.is_none()));
    assert_eq!(summary(&record).await, ("delivered", None));
    let secret = bench.hooks.keyring.of_organization(&ours()).await.unwrap().current().clone();
    let got = &receiver.got()[0];
    let (id, timestamp) = (got.header("webhook-id"), got.header("webhook-timestamp"));
    let timestamp = timestamp.parse().unwrap();
    let message = Message { id: &id, kind: "call.queued", timestamp, body: &got.octets };
    let signed = headers(SignatureStyle::Standard, &[secret], message);
    assert!(signed.contains(&("webhook-signature".into(), got.header("webhook-signature"))));

    let gone = Receiver::start(&[410; 8]).await;
    let mut failing = call(2);
    failing.webhook_url = Some(gone.url.clone().into());
    live(&bench, &mut failing).await;
    bench.settled(10).await;
    let (word, error) = summary(&failing).await;
    assert_eq!((word, error.unwrap().contains("410")), ("failed", true));
    let silent = call(3);
    assert_eq!(summary(&silent).await, ("none", None));
}

// covers: S0-32 E2-14
#[tokio::test]
async fn a_failure_is_tried_again_with_the_same_id_and_a_new_signature() {
    let bench = bench(fast()).await;
    let receiver = Receiver::start(&[500, 302, 429]).await;
    bench.endpoint(&receiver.url, &["call.queued"]).await;
    bench.put(&call(1)).await;
    let got = receiver.reaches(4).await;
    let delivery = bench.settled(1).await.remove(0);
    assert_eq!(delivery.status, DeliveryStatus::Delivered);
    assert_eq!((delivery.attempt_count, delivery.last_response_status), (4, Some(200)));
    assert_eq!(delivery.last_error, None);
    for name in ["webhook-id", "x-webhook-delivery"] {
        assert!(got.iter().all(|each| each.header(name) == got[0].header(name)), "{name}");
    }
    assert!(got.iter().all(|each| each.octets == got[0].octets), "the payload is frozen");
    // By hand, a second later: a new round, the same identifier, a new time and signature.
    let sent: i64 = got[3].header("webhook-timestamp").parse().unwrap();
    let now = bench
        .until(async || {
            let now = crate::net::clock::wall();
            (now.as_second() > sent).then_some(now)
        })
        .await;
    assert!(bench.store.redeliver(&ours(), &delivery.id, now).await.unwrap());
    let again = receiver.reaches(5).await;
    assert_eq!(again[4].header("webhook-id"), got[0].header("webhook-id"));
    assert!(again[4].header("webhook-timestamp").parse::<i64>().unwrap() > sent);
    assert_ne!(again[4].header("webhook-signature"), got[3].header("webhook-signature"));
    let delivery = bench.settled(1).await.remove(0);
    assert_eq!((delivery.attempt_count, delivery.manual_retry_count), (5, 1));
}

#[tokio::test]
async fn an_endpoint_that_only_fails_is_disabled_and_others_are_told() {
    let bench = bench(fast()).await;
    let failing = Receiver::start(&[500; 100]).await;
    let watcher = Receiver::start(&[]).await;
    let (endpoint, _) = bench.endpoint(&failing.url, &["call.queued"]).await;
    bench.endpoint(&watcher.url, &["endpoint.disabled"]).await;
    for seed in 1..=2 {
        bench.put(&call(seed)).await;
        failing.reaches(usize::try_from(seed).unwrap() * 4).await;
    }
    let told = watcher.reaches(1).await.remove(0).body;
    assert_eq!(told["data"]["endpoint"]["id"], endpoint.id);
    let doc = bench.hooks.endpoints.get(&ours(), &endpoint.id).await.unwrap().doc;
    assert_eq!(doc.status, EndpointStatus::Disabled);
    assert_eq!(doc.disabled_reason.as_deref(), Some("too_many_failures"));
    assert!(doc.disabled_at.is_some());
    assert_eq!(doc.consecutive_failures, 2);
    // Nothing is sent while it is disabled.
    bench.put(&call(3)).await;
    let enable = |mut input: WebhookEndpointInput| {
        input.status = EndpointStatus::Enabled;
        Ok::<_, EndpointError>(input)
    };
    let settled = bench.settled(3).await;
    assert!(!settled.iter().any(|delivery| delivery.call_id == Some(call(3).id.to_string())));
    let doc = bench.hooks.endpoints.change(&ours(), &endpoint.id, enable).await.unwrap();
    assert_eq!((doc.status, doc.consecutive_failures), (EndpointStatus::Enabled, 0));
    assert_eq!((doc.disabled_reason, doc.disabled_at), (None, None));
    bench.put(&call(4)).await;
    failing.reaches(9).await;
}

#[tokio::test]
async fn a_success_between_failures_keeps_an_endpoint_enabled() {
    let bench = bench(Config { retry_delays_seconds: Vec::new(), ..fast() }).await;
    let receiver = Receiver::start(&[500, 200, 500, 200]).await;
    let (endpoint, _) = bench.endpoint(&receiver.url, &["call.queued"]).await;
    for seed in 1..=4 {
        bench.put(&call(seed)).await;
        bench.settled(usize::try_from(seed).unwrap()).await;
    }
    let doc = bench
        .until(async || {
            let doc = bench.hooks.endpoints.get(&ours(), &endpoint.id).await.unwrap().doc;
            (doc.consecutive_failures == 0).then_some(doc)
        })
        .await;
    assert_eq!(doc.status, EndpointStatus::Enabled);
}

#[tokio::test]
async fn gone_disables_at_once_and_cancels_what_waits() {
    let bench = bench(Config { concurrent_per_destination_max: 1, ..fast() }).await;
    let receiver = Receiver::start(&[410]).await;
    let (endpoint, _) = bench.endpoint(&receiver.url, &["call.*"]).await;
    // In one transaction: an event that came after the 410 would find the endpoint disabled and never be a delivery.
    let mut record = call(1);
    let mut writes = Vec::new();
    for status in [CallStatus::Queued, CallStatus::Initiated, CallStatus::Ringing] {
        record.status = status;
        writes.push(Write::Put(Box::new(record.clone())));
    }
    record.status = CallStatus::InProgress;
    record.answered_at = Some(record.created_at);
    writes.push(Write::Put(Box::new(record.clone())));
    record.finish(EndReason::UserHangup, record.created_at);
    writes.push(Write::Put(Box::new(record.clone())));
    bench.store.apply(&writes).await.unwrap();
    let settled = bench.settled(5).await;
    let count = |status| settled.iter().filter(|delivery| delivery.status == status).count();
    assert_eq!((count(DeliveryStatus::Exhausted), count(DeliveryStatus::Canceled)), (1, 4));
    assert_eq!(receiver.got().len(), 1);
    let doc = bench.hooks.endpoints.get(&ours(), &endpoint.id).await.unwrap().doc;
    assert_eq!(doc.disabled_reason.as_deref(), Some("gone"));
}

#[tokio::test]
async fn a_ping_reaches_even_a_disabled_endpoint_once() {
    let bench = bench(fast()).await;
    let receiver = Receiver::start(&[500]).await;
    let disabled =
        WebhookEndpointInput { status: EndpointStatus::Disabled, ..input(&receiver.url, &["*"]) };
    let (endpoint, _) = bench.hooks.endpoints.create(&ours(), disabled).await.unwrap();
    let id = bench.hooks.endpoints.ping(&ours(), &endpoint.id).await.unwrap();
    let delivery = bench.settled(1).await.remove(0);
    assert_eq!((delivery.id, delivery.status), (id, DeliveryStatus::Exhausted));
    bench.hooks.endpoints.ping(&ours(), &endpoint.id).await.unwrap();
    bench.settled(2).await;
    assert_eq!(types(&receiver), ["ping", "ping"]);
    let doc = bench.hooks.endpoints.get(&ours(), &endpoint.id).await.unwrap().doc;
    assert_eq!(doc.consecutive_failures, 0, "a test is no failure");
}

#[tokio::test]
async fn headers_go_along_and_a_rotated_secret_signs_beside_the_old_one() {
    let bench = bench(fast()).await;
    let receiver = Receiver::start(&[]).await;
    let mut wanted = input(&receiver.url, &["call.queued"]);
    wanted.headers = BTreeMap::from([("x-token".to_owned(), "abc".to_owned())]);
    let (endpoint, first) = bench.hooks.endpoints.create(&ours(), wanted).await.unwrap();
    assert_eq!(endpoint.headers["x-token"], "***");
    // Given back as it is shown, a value stays.
    let same = |input: WebhookEndpointInput| Ok::<_, EndpointError>(input);
    bench.hooks.endpoints.change(&ours(), &endpoint.id, same).await.unwrap();
    let rotate = async |old| bench.hooks.endpoints.rotate(&ours(), &endpoint.id, old).await;
    let (_, second) = rotate(OldSecret::Overlaps).await.unwrap();
    bench.put(&call(1)).await;
    let (_, third) = {
        receiver.reaches(1).await;
        rotate(OldSecret::Expires).await.unwrap()
    };
    bench.put(&call(2)).await;
    let got = receiver.reaches(2).await;
    for (got, secrets) in [(&got[0], vec![second, first]), (&got[1], vec![third])] {
        assert_eq!(got.header("x-token"), "abc");
        let id = got.header("webhook-id");
        let timestamp = got.header("webhook-timestamp").parse().unwrap();
        let message = Message { id: &id, kind: "call.queued", timestamp, body: &got.octets };
        let signed = headers(SignatureStyle::Standard, &secrets, message);
        assert!(signed.contains(&("webhook-signature".into(), got.header("webhook-signature"))));
    }
}

#[tokio::test]
async fn one_that_hangs_delays_nobody_else() {
    let bench = bench(Config { concurrent_max: 8, ..fast() }).await;
    // It takes connections and never answers.
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    bench.endpoint(&url, &["*"]).await;
    let receiver = Receiver::start(&[]).await;
    bench.endpoint(&receiver.url, &["*"]).await;
    for seed in 1..=100 {
        bench.put(&call(seed)).await;
    }
    receiver.reaches(100).await;
}

#[tokio::test]
async fn what_was_not_sent_is_sent_after_the_next_start() {
    let mut first = bench(fast()).await;
    let receiver = Receiver::start(&[]).await;
    first.endpoint(&receiver.url, &["call.queued"]).await;
    first.stop.cancel();
    (&mut first.task).await.unwrap();
    first.put(&call(1)).await;
    assert!(receiver.got().is_empty());
    let sealer = Arc::new(Sealer::new(&[7; 32], Entropy::seeded(1)).unwrap());
    let (_, dispatcher) =
        Hooks::new(Arc::clone(&first.store), sealer, fast(), Entropy::seeded(9)).unwrap();
    tokio::spawn(dispatcher.run(CancellationToken::new()));
    receiver.reaches(1).await;
}

#[tokio::test]
async fn a_stop_waits_a_moment_for_what_is_under_way_and_loses_none_of_it() {
    let mut bench = bench(fast()).await;
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", hanging.local_addr().unwrap());
    bench.endpoint(&url, &["call.queued"]).await;
    bench.put(&call(1)).await;
    let _under_way = hanging.accept().await.unwrap();
    bench.stop.cancel();
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, &mut bench.task).await.expect("it stops").unwrap();
    let left = bench.deliveries().await.remove(0);
    assert_eq!((left.status, left.attempt_count), (DeliveryStatus::Pending, 0));
}

#[tokio::test]
async fn a_deleted_call_leaves_nothing_behind() {
    let bench = bench(fast()).await;
    let receiver = Receiver::start(&[]).await;
    bench.endpoint(&receiver.url, &["*"]).await;
    let mut record = call(1);
    live(&bench, &mut record).await;
    let deliveries = bench.settled(5).await;
    bench.store.erase_webhooks(record.id).await.unwrap();
    assert!(bench.deliveries().await.is_empty());
    for delivery in deliveries {
        assert_eq!(bench.store.webhook_body(&delivery.event_id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn old_deliveries_are_forgotten_and_waiting_ones_are_kept() {
    let bench = bench(fast()).await;
    let receiver = Receiver::start(&[]).await;
    bench.endpoint(&receiver.url, &["call.queued"]).await;
    bench.put(&call(1)).await;
    let delivery = bench.settled(1).await.remove(0);
    let now = crate::net::clock::wall();
    assert_eq!(bench.store.prune_deliveries(delivery.created_at, 10).await.unwrap(), 0);
    let later = now.saturating_add(std::time::Duration::from_secs(400 * 86_400)).unwrap();
    assert_eq!(bench.store.prune_deliveries(later, 10).await.unwrap(), 1);
    assert_eq!(bench.store.webhook_body(&delivery.event_id).await.unwrap(), None);
}

#[tokio::test]
async fn another_organization_hears_nothing() {
    let bench = bench(fast()).await;
    let theirs = OrganizationId::new("11111111-1111-7111-8111-111111111111".into());
    let (stranger, receiver) = (Receiver::start(&[]).await, Receiver::start(&[]).await);
    let made = bench.hooks.endpoints.create(&theirs, input(&stranger.url, &["*"])).await.unwrap();
    bench.endpoint(&receiver.url, &["*"]).await;
    bench.put(&call(1)).await;
    receiver.reaches(1).await;
    bench.settled(1).await;
    assert!(stranger.got().is_empty());
    let found = bench.hooks.endpoints.get(&ours(), &made.0.id).await;
    assert!(matches!(found, Err(EndpointError::NotFound)));
    assert!(bench.hooks.endpoints.ping(&ours(), &made.0.id).await.is_err());
}

#[tokio::test]
async fn wrong_endpoints_are_refused_field_by_field() {
    let bench = bench(fast()).await;
    let good = || input("https://example.com/", &["*"]);
    let many = |count: usize| (0..count).map(|n| (format!("x-{n}"), "1".to_owned())).collect();
    let header = |name: &str| BTreeMap::from([(name.to_owned(), "1".to_owned())]);
    let metadata = serde_json::from_value(json!({"a": "x".repeat(20_000)})).unwrap();
    for (wrong, field) in [
        (input("", &["*"]), "url"),
        (input("ftp://example.com/", &["*"]), "url"),
        (input("http://169.254.169.254/", &["*"]), "url"),
        (input("https://a:b@example.com/", &["*"]), "url"),
        (input("https://example.com/", &[]), "enabled_events"),
        (input("https://example.com/", &["call"]), "enabled_events"),
        (input("https://example.com/", &["cal*"]), "enabled_events"),
        (input("https://example.com/", &["nothing.*"]), "enabled_events"),
        (WebhookEndpointInput { headers: many(11), ..good() }, "headers"),
        (WebhookEndpointInput { headers: header("Host"), ..good() }, "headers"),
        (WebhookEndpointInput { headers: header("webhook-id"), ..good() }, "headers"),
        (WebhookEndpointInput { headers: header("Content-Type"), ..good() }, "headers"),
        (WebhookEndpointInput { headers: header("a b"), ..good() }, "headers"),
        (WebhookEndpointInput { description: "x".repeat(501), ..good() }, "description"),
        (WebhookEndpointInput { metadata, ..good() }, "metadata"),
    ] {
        let refused = bench.hooks.endpoints.create(&ours(), wrong).await;
        let Err(EndpointError::Invalid { field: named, .. }) = refused else {
            panic!("{field} was taken");
        };
        assert_eq!(named, field);
    }
    bench.hooks.endpoints.create(&ours(), good()).await.unwrap();
}

#[tokio::test]
async fn an_event_without_a_destination_leaves_the_outbox() {
    let bench = bench(fast()).await;
    bench.endpoint("https://example.com/", &["batch.completed"]).await;
    let event = OutboxEvent::of_call(OutboxKind::CallDtmf, &call(1));
    bench.put(&call(1)).await;
    bench.store.apply(&[Write::Emit(Box::new(event))]).await.unwrap();
    bench.until(async || bench.store.new_events(10).await.unwrap().is_empty().then_some(())).await;
    assert!(bench.deliveries().await.is_empty());
}
