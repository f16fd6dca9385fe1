use serde_json::{Value, json};

use super::*;
use crate::types::call::{RecordingInfo, RecordingStatus, TurnOrigin};
use crate::types::*;

fn record() -> CallRecord {
    let at = |ms: i64| jiff::Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap();
    let id = CallId::new(1_800_000_000_000, &mut Entropy::seeded(1));
    let mut record = CallRecord::new(id, Direction::Outbound, at(0));
    record.from_number = "+15550001111".to_owned().into();
    record.to_number = "+4930123456".to_owned().into();
    record.prompt = Some("be kind".to_owned().into());
    record.started_at = Some(at(1_000));
    record.answered_at = Some(at(4_200));
    record.finish(EndReason::UserHangup, at(39_100));
    record.duration_ms = Some(38_100);
    record.talk_ms = Some(33_100);
    record.codec = Some(CodecName::Pcmu);
    record.recording = Some(RecordingInfo {
        status: RecordingStatus::Available,
        filename: "2027-01-15/a.wav".into(),
        sample_rate: 8_000,
        channels: 2,
        duration_ms: Some(33_100),
        bytes: Some(1_059_244),
        sha256: None,
    });
    record
}

#[test]
fn a_call_in_full() {
    insta::assert_json_snapshot!(Call::from(&record()));
}

#[test]
fn a_row_of_a_list_is_light() {
    let page = Page {
        items: vec![CallSummary::from(&record())],
        total: 1,
        page: 1,
        page_size: 20,
        next_cursor: None,
    };
    let text = serde_json::to_string(&page).unwrap();
    for heavy in ["prompt", "persona", "transcript", "recording_url", "metadata", "be kind"] {
        assert!(!text.contains(heavy), "{heavy}");
    }
    insta::assert_json_snapshot!(page);
}

#[test]
fn durations_round_as_a_bill_does() {
    let mut record = record();
    let of = |record: &CallRecord| {
        let call = Call::from(record);
        (call.duration_seconds, call.billed_duration_seconds)
    };
    assert_eq!(of(&record), (Some(38), Some(34)));
    record.talk_ms = None;
    assert_eq!(of(&record), (Some(38), Some(0)));
    record.status = CallStatus::InProgress;
    assert_eq!(of(&record).1, None);
}

#[test]
fn turns_and_latency() {
    let turn = TurnRecord {
        id: TurnId(3),
        role: TurnRole::Assistant,
        origin: TurnOrigin::ApiSay,
        content: "Hello there".to_owned().into(),
        spoken_content: Some("Hello".to_owned().into()),
        interrupted: true,
        offset_ms: 1_200,
        duration_ms: 800,
        confidence: None,
        latency: Some(Breakdown { total_perceived_ms: Some(1_530), ..Breakdown::default() }),
        error: None,
        tool: None,
        failovers: Vec::new(),
    };
    let turns = [turn.clone(), TurnRecord { latency: None, ..turn }];
    insta::assert_json_snapshot!(Transcript::new(&record(), &turns[..1]));
    assert_eq!(CallLatencyReport::new(&record(), &turns).turns.len(), 1);
}

#[test]
fn events_split_type_and_data() {
    let kind = CallEventKind::DtmfReceived { digit: '5'.into() };
    let event = CallEvent { seq: 7, call_id: record().id, at: record().created_at, kind };
    let shown = serde_json::to_value(Event::from(&event)).unwrap();
    assert_eq!(shown["type"], "dtmf_received");
    assert_eq!(shown["data"], json!({"digit": "5"}));
    assert_eq!(shown["at"], "2027-01-15T08:00:00.000Z");
}

fn control(body: Value) -> Result<&'static str, String> {
    let control = serde_json::from_value::<Control>(body);
    control.map(|control| control.name()).map_err(|error| error.to_string())
}

#[test]
fn every_command_has_its_two_forms() {
    let rows = [
        (json!({"type": "say", "content": "x"}), "say"),
        (json!({"type": "inject-context", "content": "x", "role": "user"}), "inject-context"),
        (json!({"type": "transfer", "destination": "+4930123456"}), "transfer"),
        (json!({"type": "end-call"}), "end-call"),
        (json!({"type": "end", "message": "bye"}), "end-call"),
        (json!({"type": "interrupt"}), "interrupt"),
        (json!({"type": "mute"}), "mute"),
        (json!({"type": "unmute", "target": "user"}), "unmute"),
        (json!({"type": "dtmf", "digits": "1#"}), "dtmf"),
    ];
    for (body, name) in rows {
        assert_eq!(control(body.clone()), Ok(name), "{body}");
        let mut unknown = body.clone();
        unknown["surprise"] = json!(1);
        assert!(control(unknown).unwrap_err().contains("surprise"), "{body}");
    }
    let say: control::Say = serde_json::from_value(json!({"content": "x"})).unwrap();
    assert!(say.interrupt && say.interruptible && !say.end_after);
    let dtmf: control::Dtmf = serde_json::from_value(json!({"digits": "1"})).unwrap();
    assert_eq!((dtmf.duration_ms, dtmf.gap_ms), (100, 50));
}

#[test]
fn wrong_requests_are_refused() {
    assert!(control(json!({"type": "say"})).unwrap_err().contains("content"));
    assert!(control(json!({"type": "fly"})).unwrap_err().contains("fly"));
    for body in [json!({}), json!({"to_number": 5}), json!({"to_number": "x", "speed": 1})] {
        assert!(serde_json::from_value::<CreateCall>(body).is_err());
    }
    let least: CreateCall = serde_json::from_value(json!({"to_number": "+4930123456"})).unwrap();
    assert!(least.metadata.is_empty() && least.agent_id.is_none());
}

#[test]
fn readiness_follows_its_checks() {
    let check = |ok| service::Check { name: "disk".into(), ok, reason: None };
    assert!(Ready::new(vec![check(true)]).ready);
    assert!(!Ready::new(vec![check(true), check(false)]).ready);
}
