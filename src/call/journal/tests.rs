use super::*;
use crate::schema::usage::Price;
use crate::store::{Resource, Store};
use crate::types::call::{RecordingStatus, TurnOrigin};
use crate::types::*;
use crate::usage::{BudgetConfig, Prices};

struct Bench {
    store: Arc<Store>,
    writer: Writer,
}

impl Bench {
    async fn new() -> Self {
        let store = Arc::new(Store::in_memory().await.unwrap());
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
            doc: serde_json::json!({}),
            sealed: None,
        };
        store.insert_resource(&endpoint).await.unwrap();
        let (writer, task) = Writer::new(Arc::clone(&store));
        tokio::spawn(task);
        Self { store, writer }
    }

    fn open(&self) -> Journal {
        let id = CallId::new(1_790_000_000_000, &mut Entropy::seeded(1));
        let mut record = CallRecord::new(id, Direction::Outbound, clock::wall());
        record.trunk = Some(TrunkName("t".to_owned()));
        record.returns = Some(serde_json::json!({"ok": "boolean"}));
        record.result_status = Some(AfterStatus::Pending);
        record.summary_status = Some(AfterStatus::Pending);
        record.analysis_status = Some(AfterStatus::Skipped);
        Journal::open(record, self.writer.clone(), EventBus::new())
    }

    async fn told(&self) -> Vec<String> {
        self.store.outbox_kinds_for_test().await
    }
}

fn turn(n: u32, role: TurnRole, words: &str) -> TurnRecord {
    TurnRecord {
        id: TurnId(n),
        role,
        origin: TurnOrigin::User,
        content: words.to_owned().into(),
        spoken_content: None,
        interrupted: false,
        offset_ms: 0,
        duration_ms: 1,
        confidence: None,
        latency: None,
        error: None,
        tool: None,
        failovers: Vec::new(),
    }
}

fn answered(journal: &mut Journal) {
    for status in [CallStatus::Initiated, CallStatus::Ringing, CallStatus::InProgress] {
        journal.advance(status);
    }
}

#[tokio::test]
async fn an_outbound_call_starts_when_it_rings() {
    let bench = Bench::new().await;
    let mut journal = bench.open();
    journal.initiated();
    journal.advance(CallStatus::Initiated);
    let left = journal.record().initiated_at;
    assert!(left.is_some());
    assert_eq!(journal.record().started_at, None, "nothing rings yet");
    journal.advance(CallStatus::Ringing);
    let record = journal.finish(EndReason::NoAnswer).await;
    assert_eq!(record.initiated_at, left);
    assert!(record.started_at >= left);
    assert!(record.duration_ms.is_some());

    let mut journal = bench.open();
    journal.initiated();
    let record = journal.finish(EndReason::Busy).await;
    assert_eq!((record.started_at, record.duration_ms), (None, None), "it never rang");

    let mut journal = bench.open();
    journal.edit().direction = Direction::Inbound;
    journal.initiated();
    assert_eq!(journal.record().started_at, journal.record().initiated_at);
}

#[tokio::test]
async fn a_call_nobody_answered_is_told_at_once() {
    for reason in [EndReason::Busy, EndReason::NoAnswer, EndReason::Canceled, EndReason::SipError] {
        let bench = Bench::new().await;
        let mut journal = bench.open();
        journal.advance(CallStatus::Initiated);
        let record = journal.finish(reason).await;
        assert!(!record.is_settling());
        assert_eq!(record.result_status, Some(AfterStatus::Skipped));
        assert_eq!(record.analysis_status, Some(AfterStatus::Skipped));
        let end = OutboxKind::of_status(record.status).unwrap().as_str();
        assert_eq!(bench.told().await, ["call.queued", end, "call.report"]);
    }
}

#[tokio::test]
async fn a_call_on_which_nobody_spoke_to_us_is_told_at_once() {
    let bench = Bench::new().await;
    let mut journal = bench.open();
    answered(&mut journal);
    journal.turn(turn(0, TurnRole::Assistant, "Hello."));
    journal.turn(turn(1, TurnRole::User, ""));
    let record = journal.finish(EndReason::UserHangup).await;
    assert_eq!(record.summary_status, Some(AfterStatus::Skipped));
    let told = bench.told().await;
    assert_eq!(told[3..], ["call.transcript.ready", "call.completed", "call.report"]);
}

#[tokio::test]
async fn a_conversation_keeps_its_end_back_and_tells_what_is_there() {
    let bench = Bench::new().await;
    let mut journal = bench.open();
    answered(&mut journal);
    journal.turn(turn(0, TurnRole::User, "Hello?"));
    journal.edit().recording = Some(RecordingInfo {
        status: RecordingStatus::Available,
        filename: "x".to_owned(),
        sample_rate: 8_000,
        channels: 2,
        duration_ms: Some(1),
        bytes: Some(1),
        sha256: None,
    });
    let record = journal.finish(EndReason::UserHangup).await;
    assert!(record.is_settling());
    assert_eq!(bench.store.calls_to_settle(9).await.unwrap(), [record.id]);
    let told = bench.told().await;
    let expected = [
        "call.queued",
        "call.ringing",
        "call.answered",
        "call.recording.ready",
        "call.transcript.ready",
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn the_cost_of_a_call_is_known_with_its_end_or_when_it_is_settled() {
    let minute = Price {
        kind: UsageKind::Telephony,
        provider: "t".to_owned(),
        model: None,
        unit: UsageUnit::Minute,
        prefix: None,
        price_micros: 60,
        per: 1,
    };
    for (words, status) in [("", AfterStatus::Completed), ("Hello?", AfterStatus::Pending)] {
        let bench = Bench::new().await;
        let prices = Prices::new("USD", vec![minute.clone()]).unwrap();
        let accounts = Arc::new(Accounts::new(Some(prices), BudgetConfig::default()));
        let mut journal = bench.open().priced_by(accounts);
        answered(&mut journal);
        journal.turn(turn(0, TurnRole::User, words));
        let record = journal.finish(EndReason::UserHangup).await;
        let cost = record.cost.unwrap();
        assert_eq!(cost.status, status, "{words}");
        assert!(cost.telephony_micros <= 2, "{cost:?}");
    }
}

/// A recording is complete, and its checksum known, a while after nobody hears anything any more.
#[tokio::test]
async fn a_calls_durations_end_when_it_is_over_and_not_when_it_is_stored() {
    let second = std::time::Duration::from_secs(1);
    let bench = Bench::new().await;
    let mut journal = bench.open();
    // The store has threads of its own: time stands still only while nothing waits for them.
    tokio::time::pause();
    journal.advance(CallStatus::Initiated);
    journal.advance(CallStatus::Ringing);
    tokio::time::advance(2 * second).await;
    journal.advance(CallStatus::InProgress);
    tokio::time::advance(3 * second).await;
    journal.over();
    let over = clock::wall();
    tokio::time::advance(4 * second).await;
    // Only the first word counts.
    journal.over();
    tokio::time::resume();
    let record = journal.finish(EndReason::UserHangup).await;
    assert_eq!((record.duration_ms, record.talk_ms), (Some(5_000), Some(3_000)));
    assert!(record.ended_at.is_some_and(|ended| ended <= over), "the time of day of the end");

    // Who says nothing ends with the record.
    let mut journal = bench.open();
    tokio::time::pause();
    answered(&mut journal);
    tokio::time::advance(3 * second).await;
    tokio::time::resume();
    let record = journal.finish(EndReason::UserHangup).await;
    assert!(record.talk_ms.is_some_and(|ms| ms >= 3_000), "{:?}", record.talk_ms);
}
