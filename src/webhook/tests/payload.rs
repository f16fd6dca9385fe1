//! What events say.

use serde_json::{Value, json};

use crate::schema::{Call, Turn};
use crate::store::delivery::StoredEvent;
use crate::store::sign::Link;
use crate::store::{Store, Write};
use crate::types::call::TurnOrigin;
use crate::types::{
    CallId, CallRecord, Direction, EndReason, Entropy, OutboxEvent, OutboxKind, TurnId, TurnRecord,
    TurnRole,
};
use crate::webhook::payload::{BODY_BYTES_MAX, body, has_recording, with_link};

fn record() -> CallRecord {
    let at = jiff::Timestamp::from_second(1_800_000_000).unwrap();
    let mut record =
        CallRecord::new(CallId::new(1, &mut Entropy::seeded(1)), Direction::Inbound, at);
    record.from_number = "+4930123456".to_owned().into();
    record.finish(EndReason::UserHangup, at);
    record
}

fn turn(index: u32, text: String) -> TurnRecord {
    TurnRecord {
        id: TurnId(index),
        role: TurnRole::User,
        origin: TurnOrigin::User,
        content: text.into(),
        spoken_content: None,
        interrupted: false,
        offset_ms: 0,
        duration_ms: 0,
        confidence: None,
        latency: None,
        error: None,
        tool: None,
        failovers: Vec::new(),
    }
}

fn stored(kind: OutboxKind, record: &CallRecord) -> StoredEvent {
    StoredEvent { seq: 42, id: "evt_1".into(), event: OutboxEvent::of_call(kind, record) }
}

async fn with_turns(record: &CallRecord, turns: &[TurnRecord]) -> Store {
    let store = Store::in_memory().await.unwrap();
    let mut writes = vec![Write::Put(Box::new(record.clone()))];
    writes.extend(turns.iter().map(|turn| Write::Turn(record.id, Box::new(turn.clone()))));
    store.apply(&writes).await.unwrap();
    store
}

#[tokio::test]
async fn the_call_of_an_event_is_the_call_of_the_api() {
    let record = record();
    let store = Store::in_memory().await.unwrap();
    let text = body(&store, &stored(OutboxKind::CallFailed, &record)).await.unwrap();
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        said,
        json!({
            "id": "evt_1",
            "type": "call.failed",
            "timestamp": "2027-01-15T08:00:00.000Z",
            "api_version": "v1",
            "data": { "call": serde_json::to_value(Call::from(&record)).unwrap(), "seq": 42 },
        })
    );
    // Byte for byte: the same object in the same order of fields.
    let call = serde_json::to_string(&serde_json::to_value(Call::from(&record)).unwrap()).unwrap();
    assert!(text.contains(&call));
}

#[tokio::test]
async fn an_order_without_a_call_is_told_too() {
    let store = Store::in_memory().await.unwrap();
    let mut event = stored(OutboxKind::OrderCompleted, &record());
    event.event.data = json!({"order": {"id": "o"}, "call": null});
    let text = body(&store, &event).await.unwrap();
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(said["data"], json!({"order": {"id": "o"}, "call": null, "seq": 42}));
}

// covers: S4-33
#[tokio::test]
async fn a_report_has_everything() {
    let record = record();
    let turns = [turn(0, "Hello".into()), turn(1, "Bye".into())];
    let store = with_turns(&record, &turns).await;
    let text = body(&store, &stored(OutboxKind::CallReport, &record)).await.unwrap();
    let said: Value = serde_json::from_str(&text).unwrap();
    let mut fields: Vec<_> = said["data"].as_object().unwrap().keys().cloned().collect();
    fields.sort();
    let wanted =
        ["analysis", "call", "latency", "recording_url", "result", "seq", "summary", "transcript"];
    assert_eq!(fields, wanted);
    let transcript: Vec<Turn> = turns.iter().map(Turn::from).collect();
    assert_eq!(said["data"]["transcript"], serde_json::to_value(transcript).unwrap());
}

#[tokio::test]
async fn a_long_transcript_is_cut_from_its_end() {
    let record = record();
    let turns: Vec<_> = (0..40).map(|index| turn(index, "ä".repeat(20_000))).collect();
    let store = with_turns(&record, &turns).await;
    let text = body(&store, &stored(OutboxKind::CallReport, &record)).await.unwrap();
    assert!(text.len() <= BODY_BYTES_MAX, "{} octets", text.len());
    assert!(text.len() > BODY_BYTES_MAX - 80_000, "no more is cut than needed: {}", text.len());
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(said["data"]["truncated"], true);
    let kept = said["data"]["transcript"].as_array().unwrap();
    let indexes: Vec<_> = kept.iter().map(|turn| turn["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, (0..kept.len() as u64).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_call_that_is_too_large_by_itself_is_emptied_field_by_field() {
    let mut record = record();
    record.metadata = json!({"note": "x".repeat(2 * BODY_BYTES_MAX)});
    record.prompt = Some("be kind".to_owned().into());
    let store = Store::in_memory().await.unwrap();
    let text = body(&store, &stored(OutboxKind::CallFailed, &record)).await.unwrap();
    assert!(text.len() <= BODY_BYTES_MAX);
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(said["data"]["truncated"], true);
    assert_eq!(said["data"]["call"]["metadata"], Value::Null);
    assert_eq!(said["data"]["call"]["prompt"], "be kind");
    assert_eq!(said["data"]["call"]["id"], record.id.to_string());
}

#[tokio::test]
async fn a_recording_is_linked_when_it_is_sent_and_not_before() {
    let mut record = record();
    record.recording = Some(crate::types::call::RecordingInfo {
        status: crate::types::call::RecordingStatus::Available,
        filename: "call.wav".into(),
        sample_rate: 8_000,
        channels: 2,
        duration_ms: Some(1_000),
        bytes: Some(32_044),
        sha256: None,
    });
    let expires_at = jiff::Timestamp::from_second(1_800_003_600).unwrap();
    let link = Link { path: "/v1/recordings/x.wav?exp=1".into(), expires_at };
    let store = with_turns(&record, &[]).await;
    for kind in [OutboxKind::CallCompleted, OutboxKind::RecordingReady, OutboxKind::CallReport] {
        let stored = body(&store, &stored(kind, &record)).await.unwrap();
        assert!(!stored.contains("exp="), "{stored}");
        assert!(has_recording(&stored));
        let mut wanted: Value = serde_json::from_str(&stored).unwrap();
        let mut call = Call::from(&record);
        call.link_recording(&link.path, link.expires_at);
        wanted["data"]["call"] = serde_json::to_value(call).unwrap();
        if kind == OutboxKind::CallReport {
            wanted["data"]["recording_url"] = json!(link.path);
        }
        let sent: Value = serde_json::from_str(&with_link(stored, &link)).unwrap();
        assert_eq!(sent, wanted, "{kind:?}");
        assert_eq!(sent["data"]["call"]["recording"]["expires_at"], "2027-01-15T09:00:00.000Z");
    }
}

#[tokio::test]
async fn what_cannot_be_played_has_no_link() {
    let expires_at = jiff::Timestamp::from_second(1_800_003_600).unwrap();
    let link = Link { path: "/v1/recordings/x.wav?exp=1".into(), expires_at };
    let mut record = record();
    record.metadata = json!({"status": "available"});
    let store = with_turns(&record, &[]).await;
    let stored = body(&store, &stored(OutboxKind::CallReport, &record)).await.unwrap();
    assert_eq!(with_link(stored.clone(), &link), stored);
    assert_eq!(with_link("no JSON".to_owned(), &link), "no JSON");
}
