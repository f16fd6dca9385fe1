use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::after::worker::start_with_pause;
use crate::after::*;
use crate::call::EventBus;
use crate::providers::llm::{LlmDelta, LlmRequest, Role};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::schema::usage::Price;
use crate::store::{Resource, Store, Write};
use crate::types::call::TurnOrigin;
use crate::types::*;
use crate::usage::{Accounts, BudgetConfig, Prices};

/// What the fake model does with one request.
#[derive(Clone)]
enum Say {
    Text(&'static str),
    Fail(FailureKind),
    Nothing,
}

/// A model with a script; every request is kept. Requests for summaries and for JSON have scripts of their own.
#[derive(Default)]
struct Fake {
    json: Mutex<VecDeque<Say>>,
    text: Mutex<VecDeque<Say>>,
    seen: Mutex<Vec<LlmRequest>>,
}

impl Fake {
    fn json(says: impl IntoIterator<Item = Say>) -> Arc<Self> {
        Arc::new(Self { json: Mutex::new(says.into_iter().collect()), ..Self::default() })
    }

    fn requests(&self) -> Vec<LlmRequest> {
        self.seen.lock().unwrap().clone()
    }
}

impl Llm for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn model(&self) -> Option<&str> {
        Some("f-1")
    }

    fn warm_up(&self) -> BoxFuture<'static, ()> {
        async {}.boxed()
    }

    fn respond(&self, request: LlmRequest) -> BoxStream<'static, Result<LlmDelta, ProviderError>> {
        let wants_json = request.messages[0].content.reveal().contains("JSON");
        self.seen.lock().unwrap().push(request);
        let script = if wants_json { &self.json } else { &self.text };
        match script.lock().unwrap().pop_front().unwrap_or(Say::Nothing) {
            Say::Text(text) => stream::iter([
                Ok(LlmDelta::Sent),
                Ok(LlmDelta::Text(text.to_owned())),
                Ok(LlmDelta::Usage { tokens_in: 100, tokens_out: 10 }),
                Ok(LlmDelta::Done),
            ])
            .boxed(),
            Say::Fail(kind) => stream::iter([Err(ProviderError {
                provider: "fake".into(),
                stage: Stage::Llm,
                kind,
                detail: "fail on purpose".into(),
            })])
            .boxed(),
            Say::Nothing => stream::pending().boxed(),
        }
    }
}

struct Bench {
    store: Arc<Store>,
    bus: EventBus,
    accounts: Arc<Accounts>,
    fake: Arc<Fake>,
    stop: CancellationToken,
}

impl Bench {
    async fn new(fake: Arc<Fake>) -> Self {
        let store = Arc::new(Store::in_memory().await.unwrap());
        // Somebody listens, so events stand in the outbox.
        let at = jiff::Timestamp::UNIX_EPOCH;
        let endpoint = Resource {
            kind: "webhook_endpoint",
            id: "e".into(),
            organization_id: OrganizationId::default(),
            unique_key: None,
            version: 1,
            archived: false,
            created_at: at,
            updated_at: at,
            doc: json!({}),
            sealed: None,
        };
        store.insert_resource(&endpoint).await.unwrap();
        let price = |unit| Price {
            kind: UsageKind::Llm,
            provider: "fake".into(),
            model: None,
            unit,
            prefix: None,
            price_micros: 10,
            per: 1,
        };
        let prices =
            Prices::new("USD", vec![price(UsageUnit::TokenIn), price(UsageUnit::TokenOut)]);
        let accounts = Arc::new(Accounts::new(Some(prices.unwrap()), BudgetConfig::default()));
        Self { store, bus: EventBus::new(), accounts, fake, stop: CancellationToken::new() }
    }

    fn start(&self, timeout_seconds: u64) -> (Handle, tokio::task::JoinHandle<()>) {
        let fake = Arc::clone(&self.fake);
        let services = Services {
            store: Arc::clone(&self.store),
            bus: self.bus.clone(),
            accounts: Arc::clone(&self.accounts),
            models: Arc::new(move |_, name, _| {
                (name == "fake").then(|| Arc::clone(&fake) as Arc<dyn Llm>)
            }),
            config: Config { timeout_seconds, ..Config::default() },
            stop: self.stop.clone(),
        };
        let (handle, work) = start_with_pause(services, Duration::from_millis(5));
        (handle, tokio::spawn(work))
    }

    /// Stores the end of a call, and tells of it as a call does.
    async fn end(&self, record: &CallRecord, turns: &[TurnRecord]) {
        let mut writes = vec![Write::Finish(Box::new(record.clone()))];
        writes.extend(turns.iter().map(|turn| Write::Turn(record.id, Box::new(turn.clone()))));
        self.store.apply(&writes).await.unwrap();
        let kind = CallEventKind::StatusChanged { status: record.status, end_reason: None };
        let event = CallEvent { seq: 1, call_id: record.id, at: record.updated_at, kind };
        self.bus.publish(Arc::new(event));
    }

    async fn settled(&self, id: CallId) -> CallRecord {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        let wait = async {
            loop {
                ticks.tick().await;
                let record = self.store.get(id).await.unwrap().unwrap();
                if !record.is_settling() {
                    return record;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it settles")
    }

    /// Names of the events in the outbox, in order.
    async fn events(&self) -> Vec<String> {
        self.store.outbox_kinds_for_test().await
    }
}

fn record(n: u64) -> CallRecord {
    let at = |second: i64| jiff::Timestamp::from_second(1_790_000_000 + second).unwrap();
    let id = CallId::new(1_790_000_000_000 + n, &mut Entropy::seeded(n));
    let mut record = CallRecord::new(id, Direction::Inbound, at(0));
    record.answered_at = Some(at(1));
    record.language = Some("en".into());
    record.returns = Some(json!({"confirmed": "boolean", "reschedule_to": "string"}));
    record.result_status = Some(AfterStatus::Pending);
    record.summary_status = Some(AfterStatus::Skipped);
    record.analysis_status = Some(AfterStatus::Skipped);
    record.after = Some(AfterPlan { llm: "fake".into(), ..AfterPlan::default() });
    record.finish(EndReason::UserHangup, at(60));
    record
}

fn turn(n: u32, role: TurnRole, words: &str) -> TurnRecord {
    TurnRecord {
        id: TurnId(n),
        role,
        origin: if role == TurnRole::User { TurnOrigin::User } else { TurnOrigin::Llm },
        content: words.to_owned().into(),
        spoken_content: None,
        interrupted: false,
        offset_ms: 10,
        duration_ms: 20,
        confidence: None,
        latency: None,
        error: None,
        tool: None,
        failovers: Vec::new(),
    }
}

fn turns() -> Vec<TurnRecord> {
    vec![
        turn(0, TurnRole::Assistant, "Can you come on Friday?"),
        turn(1, TurnRole::User, "Yes, Friday is fine."),
    ]
}

const GOOD: Say = Say::Text(r#"{"confirmed": true}"#);
const BAD: Say = Say::Text(r#"{"confirmed": "canary"}"#);

/// Trap 2: the end is told once, and only when the result is there.
// covers: S0-15..S0-17 E2-02
#[tokio::test]
async fn the_end_is_told_once_and_after_the_extraction() {
    let bench = Bench::new(Fake::json([GOOD])).await;
    let record = record(1);
    bench.end(&record, &turns()).await;
    assert_eq!(bench.events().await, Vec::<String>::new(), "nothing before the extraction");
    let (_handle, _task) = bench.start(60);
    let settled = bench.settled(record.id).await;
    let result = settled.result.as_ref().unwrap().reveal();
    assert_eq!(
        *result,
        json!({"confirmed": true, "reschedule_to": null}),
        "absent values are null"
    );
    assert_eq!(settled.result_status, Some(AfterStatus::Completed));
    assert_eq!(settled.result_error, None);
    assert!(settled.updated_at > settled.ended_at.unwrap());
    let told = ["call.analysis.ready", "call.completed", "call.report"];
    assert_eq!(bench.events().await, told);
    // Whatever is written late changes nothing of it.
    let late = [Write::Settle(Box::new(settled.clone())), Write::Finish(Box::new(settled.clone()))];
    bench.store.apply(&late).await.unwrap();
    assert_eq!(bench.events().await, told);
    let tokens: f64 = settled.usage.iter().map(|row| row.quantity).sum();
    assert_eq!(tokens, 110.0, "{:?}", settled.usage);
    let cost = settled.cost.unwrap();
    assert_eq!((cost.llm_micros, cost.status), (1_100, AfterStatus::Completed));
}

#[tokio::test]
async fn a_wrong_answer_is_sent_back_once_with_what_is_wrong() {
    let bench = Bench::new(Fake::json([BAD, GOOD])).await;
    let record = record(1);
    let (_handle, _task) = bench.start(60);
    bench.end(&record, &turns()).await;
    let settled = bench.settled(record.id).await;
    assert_eq!(settled.result_status, Some(AfterStatus::Completed));
    let requests = bench.fake.requests();
    assert_eq!(requests.len(), 2);
    let roles: Vec<Role> = requests[1].messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User]);
    let complaint = requests[1].messages[3].content.reveal();
    assert!(complaint.contains("/confirmed") && complaint.contains("boolean"), "{complaint}");
    assert!(requests[0].messages[1].content.reveal().contains("user: Yes, Friday is fine."));
    let shape = requests[0].json.as_ref().unwrap();
    assert!(shape.strict && shape.schema["required"] == json!(["confirmed", "reschedule_to"]));
}

// covers: S0-16 S0-17
#[tokio::test]
async fn two_wrong_answers_are_a_failure_that_says_why() {
    let bench = Bench::new(Fake::json([BAD, BAD, GOOD])).await;
    let record = record(1);
    let (_handle, _task) = bench.start(60);
    bench.end(&record, &turns()).await;
    let settled = bench.settled(record.id).await;
    assert_eq!((settled.result_status, settled.result), (Some(AfterStatus::Failed), None));
    let error = settled.result_error.unwrap();
    assert!(error.contains("/confirmed") && !error.contains("canary"), "{error}");
    assert_eq!(bench.fake.requests().len(), 2, "once means once");
    assert_eq!(bench.events().await, ["call.completed", "call.report"]);
    assert_eq!(settled.cost.unwrap().llm_micros, 2_200, "a failure costs too");
}

#[tokio::test]
async fn a_slow_model_does_not_keep_the_end_from_being_told() {
    let fake = Fake::json([]);
    fake.text.lock().unwrap().push_back(Say::Text("They agreed on Friday."));
    let bench = Bench::new(fake).await;
    let mut record = record(1);
    record.summary_status = Some(AfterStatus::Pending);
    let (_handle, _task) = bench.start(1);
    bench.end(&record, &turns()).await;
    let settled = bench.settled(record.id).await;
    assert_eq!(
        settled.summary.unwrap().reveal(),
        "They agreed on Friday.",
        "what was made is kept"
    );
    assert_eq!(settled.summary_status, Some(AfterStatus::Completed));
    assert_eq!(settled.result_status, Some(AfterStatus::Failed));
    assert_eq!(settled.result_error.as_deref(), Some("not made within the time it may take"));
    assert_eq!(bench.events().await, ["call.analysis.ready", "call.completed", "call.report"]);
    let asked = settled.usage.iter().find(|row| row.unit == UsageUnit::TokenIn).unwrap();
    assert!(asked.quantity > 100.0, "what was cut off is estimated: {asked:?}");
}

#[tokio::test]
async fn a_crash_between_the_end_and_the_work_loses_nothing() {
    let bench = Bench::new(Fake::json([Say::Nothing, GOOD])).await;
    let record = record(1);
    let (_handle, task) = bench.start(60);
    bench.end(&record, &turns()).await;
    let asked = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while bench.fake.requests().is_empty() {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
    // The process dies in the middle of the work.
    task.abort();
    let _ = task.await;
    assert!(bench.store.get(record.id).await.unwrap().unwrap().is_settling());
    let (_handle, _task) = bench.start(60);
    let settled = bench.settled(record.id).await;
    assert_eq!(settled.result_status, Some(AfterStatus::Completed));
    assert_eq!(bench.events().await, ["call.analysis.ready", "call.completed", "call.report"]);
}

#[tokio::test]
async fn a_provider_that_is_down_for_a_moment_is_asked_again() {
    let fake = Fake::json([
        Say::Fail(FailureKind::Unavailable),
        Say::Fail(FailureKind::RateLimited),
        Say::Fail(FailureKind::BadRequest),
        GOOD,
    ]);
    let bench = Bench::new(fake).await;
    let record = record(1);
    let (_handle, _task) = bench.start(60);
    bench.end(&record, &turns()).await;
    let settled = bench.settled(record.id).await;
    assert_eq!(settled.result_status, Some(AfterStatus::Completed), "{:?}", settled.result_error);
    let promised: Vec<bool> = bench.fake.requests().iter().map(|r| r.json.is_some()).collect();
    assert_eq!(promised, [true, true, true, false], "a server without shapes gets the prompt only");
}

#[tokio::test]
async fn refusals_and_missing_models_fail_with_a_reason() {
    let bench = Bench::new(Fake::json([Say::Fail(FailureKind::Auth)])).await;
    let first = record(1);
    let mut second = record(2);
    second.after = Some(AfterPlan { llm: "nobody".into(), ..AfterPlan::default() });
    let (_handle, _task) = bench.start(60);
    for (record, reason) in [(first, "fail on purpose"), (second, "no language model `nobody`")] {
        bench.end(&record, &turns()).await;
        let settled = bench.settled(record.id).await;
        assert_eq!(settled.result_status, Some(AfterStatus::Failed));
        let error = settled.result_error.unwrap();
        assert!(error.contains(reason), "{error}");
    }
}

#[tokio::test]
async fn without_a_model_the_result_is_what_the_call_set() {
    let bench = Bench::new(Fake::json([])).await;
    let (_handle, _task) = bench.start(60);
    for (n, set, status) in [
        (1, Some(("confirmed", "true")), AfterStatus::Completed),
        (2, Some(("confirmed", "perhaps")), AfterStatus::Failed),
        (3, Some(("another", "true")), AfterStatus::Skipped),
        (4, None, AfterStatus::Skipped),
    ] {
        let mut record = record(n);
        record.after = None;
        let texts = set.map(|(name, text)| (name.to_owned(), text.to_owned()));
        record.variables_extracted = Pii::new(texts.into_iter().collect());
        bench.end(&record, &turns()).await;
        let settled = bench.settled(record.id).await;
        assert_eq!(settled.result_status, Some(status), "{set:?}");
        let result = settled.result.map(Pii::into_inner);
        let expected = json!({"confirmed": true, "reschedule_to": null});
        assert_eq!(result, (status == AfterStatus::Completed).then_some(expected));
    }
    assert!(bench.fake.requests().is_empty());
}

// covers: S1-29 S4-09
#[tokio::test]
async fn templates_are_kept_by_name_and_may_report_a_gender() {
    let fake = Fake::json([Say::Text(r#"{"sentiment": 8, "detected_gender": "female"}"#)]);
    fake.text.lock().unwrap().push_back(Say::Text("Short call."));
    let bench = Bench::new(fake).await;
    let mut record = record(1);
    record.result_status = Some(AfterStatus::Skipped);
    record.analysis_status = Some(AfterStatus::Pending);
    let template = |name: &str, schema| AnalysisSpec {
        name: name.into(),
        system_prompt: "You judge calls.".into(),
        user_prompt: "Look at this: {transcript}".into(),
        schema,
        provider: None,
        model: None,
    };
    let schema = json!({"type": "object", "properties": {"sentiment": {"type": "integer"}}});
    record.after = Some(AfterPlan {
        llm: "fake".into(),
        templates: vec![template("mood", schema), template("notes", json!(null))],
        ..AfterPlan::default()
    });
    let (_handle, _task) = bench.start(60);
    bench.end(&record, &turns()).await;
    let settled = bench.settled(record.id).await;
    assert_eq!(settled.analysis_status, Some(AfterStatus::Completed));
    let analysis = settled.analysis.unwrap().into_inner();
    assert_eq!(analysis["mood"]["sentiment"], 8);
    assert_eq!(analysis["notes"], "Short call.");
    assert_eq!(settled.detected_gender.as_deref(), Some("female"));
    let asked = &bench.fake.requests()[0].messages[1];
    assert!(asked.content.reveal().starts_with("Look at this: agent: Can you come"));
}

/// A template's provider answers for it, also beside an agent whose own is not there.
#[tokio::test]
async fn a_template_may_have_a_model_of_its_own() {
    let bench = Bench::new(Fake::json([Say::Text(r#"{"mood": "good"}"#)])).await;
    let mut record = record(1);
    record.result_status = Some(AfterStatus::Skipped);
    record.analysis_status = Some(AfterStatus::Pending);
    let template = |name: &str, provider: Option<&str>| AnalysisSpec {
        name: name.into(),
        system_prompt: "You judge calls.".into(),
        user_prompt: "{transcript}".into(),
        schema: json!({"type": "object", "properties": {"mood": {"type": "string"}}}),
        provider: provider.map(str::to_owned),
        model: None,
    };
    let mut plan =
        AfterPlan { llm: "fake".into(), model: Some("m".into()), ..AfterPlan::default() };
    let own = AnalysisSpec { model: Some("own".into()), ..template("own", None) };
    assert_eq!(plan.model_of(&own), ("fake", Some("own")));
    assert_eq!(plan.model_of(&template("t", None)), ("fake", Some("m")));
    assert_eq!(plan.model_of(&template("t", Some("other"))), ("other", None));
    plan.templates = vec![template("here", Some("fake")), template("gone", Some("nobody"))];
    record.after = Some(plan);
    let (_handle, _task) = bench.start(60);
    bench.end(&record, &turns()).await;
    let settled = bench.settled(record.id).await;
    assert_eq!(settled.analysis_status, Some(AfterStatus::Failed), "one of the two is missing");
    assert_eq!(settled.analysis.unwrap().into_inner(), json!({"here": {"mood": "good"}}));
}

/// Making something of a call again is no second end of it, and what fails leaves what was there.
#[tokio::test]
async fn a_rerun_tells_of_its_results_but_not_of_the_end() {
    let bench = Bench::new(Fake::json([GOOD, BAD, BAD])).await;
    let record = record(1);
    let (handle, _task) = bench.start(60);
    bench.end(&record, &turns()).await;
    let mut settled = bench.settled(record.id).await;
    bench.store.forget_outbox_for_test().await;
    if let Some(plan) = &mut settled.after {
        plan.rerun = true;
    }
    settled.result_status = Some(AfterStatus::Pending);
    bench.store.apply(&[Write::Settle(Box::new(settled))]).await.unwrap();
    handle.nudge(record.id);
    let again = bench.settled(record.id).await;
    assert_eq!(again.result_status, Some(AfterStatus::Failed));
    assert_eq!(again.result.unwrap().reveal()["confirmed"], true);
    assert_eq!(bench.events().await, Vec::<String>::new(), "nothing was made, nothing is told");
    assert_eq!(again.cost.unwrap().llm_micros, 3_300);
}

#[tokio::test]
async fn an_erased_call_stays_erased() {
    let bench = Bench::new(Fake::json([])).await;
    let record = record(1);
    bench.store.apply(&[Write::Settle(Box::new(record.clone()))]).await.unwrap();
    assert_eq!(bench.store.get(record.id).await.unwrap(), None);
}

#[tokio::test]
async fn more_calls_than_are_worked_on_at_once_all_settle() {
    let bench = Bench::new(Fake::json(vec![GOOD; 40])).await;
    let ids: Vec<CallId> = (1..=40).map(|n| record(n).id).collect();
    for n in 1..=20 {
        // These ended before the start.
        let record = record(n);
        bench.end(&record, &turns()).await;
    }
    let (_handle, _task) = bench.start(60);
    for n in 21..=40 {
        bench.end(&record(n), &turns()).await;
    }
    for id in ids {
        assert_eq!(bench.settled(id).await.result_status, Some(AfterStatus::Completed));
    }
    let ends = bench.events().await.into_iter().filter(|kind| kind == "call.completed").count();
    assert_eq!(ends, 40);
}

#[tokio::test]
async fn the_bus_may_lag() {
    let bench = Bench::new(Fake::json([GOOD, GOOD])).await;
    let (_handle, task) = bench.start(60);
    let first = record(1);
    bench.end(&first, &turns()).await;
    // The worker has looked into the store by now; from here on it learns of ends by the bus alone.
    bench.settled(first.id).await;
    let missed = record(2);
    let mut writes = vec![Write::Finish(Box::new(missed.clone()))];
    writes.extend(turns().into_iter().map(|turn| Write::Turn(missed.id, Box::new(turn))));
    bench.store.apply(&writes).await.unwrap();
    // More calls end at once than the bus keeps, and none of them is this one.
    for seq in 0..=crate::call::journal::EVENT_BUS_DEPTH as u64 {
        let kind = CallEventKind::StatusChanged { status: CallStatus::Busy, end_reason: None };
        let event = CallEvent { seq, call_id: first.id, at: first.updated_at, kind };
        bench.bus.publish(Arc::new(event));
    }
    assert_eq!(bench.settled(missed.id).await.result_status, Some(AfterStatus::Completed));
    bench.stop.cancel();
    task.await.unwrap();
}

#[test]
fn limits_are_checked() {
    assert_eq!(Config::default().check(), Ok(()));
    for (config, key) in [
        (Config { timeout_seconds: 0, ..Config::default() }, "timeout_seconds"),
        (Config { calls_at_once: 0, ..Config::default() }, "calls_at_once"),
        (Config { calls_at_once: 65, ..Config::default() }, "calls_at_once"),
    ] {
        assert_eq!(config.check().unwrap_err().0, key);
    }
}
