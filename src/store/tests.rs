mod desk;
mod usage;

use std::sync::Arc;
use std::time::Instant;

use super::query::{PAGE_SIZE_MAX, parse_direction, search_digits};
use super::recording::{RecordingError, Recordings};
use super::recover::recover;
use super::*;
use crate::types::call::{RecordingInfo, RecordingStatus, TurnOrigin};
use crate::types::*;

fn at(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn id(n: u64) -> CallId {
    CallId::new(1_800_000_000_000 + n * 1_000, &mut Entropy::seeded(n))
}

fn call(n: u64) -> CallRecord {
    let direction = if n.is_multiple_of(2) { Direction::Inbound } else { Direction::Outbound };
    let mut record = CallRecord::new(id(n), direction, at(n as i64));
    record.status = CallStatus::InProgress;
    record.started_at = Some(at(n as i64));
    record.answered_at = Some(at(n as i64));
    record.from_number = format!("+4930{n:07}").into();
    record.to_number = "+15550001111".to_owned().into();
    record
}

fn ended(n: u64, reason: EndReason) -> CallRecord {
    let mut record = call(n);
    record.finish(reason, at(n as i64 + 60));
    record
}

fn turn(n: u32) -> TurnRecord {
    TurnRecord {
        id: TurnId(n),
        role: TurnRole::User,
        origin: TurnOrigin::User,
        content: format!("words {n}").into(),
        spoken_content: None,
        interrupted: false,
        offset_ms: 10,
        duration_ms: 20,
        confidence: Some(0.5),
        latency: None,
        error: None,
        tool: None,
        failovers: Vec::new(),
    }
}

fn event(call: CallId, seq: u64) -> CallEvent {
    CallEvent { seq, call_id: call, at: at(1), kind: CallEventKind::MediaLost }
}

async fn put(store: &Store, record: CallRecord) {
    store.apply(&[Write::Put(Box::new(record))]).await.unwrap();
}

fn page(page: u32, size: u32) -> PageRequest {
    PageRequest::new(Some(page), Some(size)).unwrap()
}

/// Runs one contract in memory and on disk.
macro_rules! contract {
    ($($name:ident)+) => { $(mod $name {
        #[tokio::test]
        async fn memory() {
            super::$name(&super::Store::in_memory().await.unwrap()).await;
        }
        #[tokio::test]
        async fn file() {
            let dir = tempfile::tempdir().unwrap();
            let store = super::Store::open(&dir.path().join("a/b.db")).await.unwrap();
            super::$name(&store).await;
        }
    })+ };
}
contract! { keeps_what_it_is_given over_is_over batches_are_atomic lists_and_filters keys_by_hash }

async fn keeps_what_it_is_given(store: &Store) {
    let mut record = call(1);
    record.metadata = serde_json::json!({"order": 7});
    put(store, record.clone()).await;
    assert_eq!(store.get(record.id).await.unwrap(), Some(record.clone()));
    assert_eq!(store.get(id(99)).await.unwrap(), None);
    let mut batch: Vec<_> = [1, 0].map(|n| Write::Turn(record.id, Box::new(turn(n)))).into();
    batch.extend((1..=4).map(|seq| Write::Event(Box::new(event(record.id, seq)))));
    store.apply(&batch).await.unwrap();
    store.apply(&batch).await.unwrap();
    assert_eq!(store.turns(record.id).await.unwrap(), vec![turn(0), turn(1)]);
    let seqs = |events: Vec<CallEvent>| events.iter().map(|event| event.seq).collect::<Vec<_>>();
    assert_eq!(seqs(store.events(record.id, 0).await.unwrap()), [1, 2, 3, 4]);
    assert_eq!(seqs(store.events(record.id, 3).await.unwrap()), [4]);
    assert!(store.events(record.id, u64::MAX).await.unwrap().is_empty());
    assert!(store.turns(id(99)).await.unwrap().is_empty());
}

async fn over_is_over(store: &Store) {
    put(store, call(1)).await;
    assert_eq!(store.open_calls().await.unwrap(), vec![call(1)]);
    let over = ended(1, EndReason::UserHangup);
    store.apply(&[Write::Finish(Box::new(over.clone()))]).await.unwrap();
    put(store, call(1)).await;
    assert_eq!(store.get(id(1)).await.unwrap(), Some(over));
    assert!(store.open_calls().await.unwrap().is_empty());
}

async fn batches_are_atomic(store: &Store) {
    let batch = [Write::Put(Box::new(call(1))), Write::Turn(id(2), Box::new(turn(0)))];
    let error = store.apply(&batch).await.unwrap_err();
    assert!(matches!(error, StoreError::UnknownCall), "{error:?}");
    assert_eq!(store.get(id(1)).await.unwrap(), None);
}

async fn lists_and_filters(store: &Store) {
    for n in 0..5 {
        put(store, call(n)).await;
    }
    put(store, ended(5, EndReason::UserHangup)).await;
    put(store, ended(6, EndReason::Voicemail)).await;
    let mut queued = CallRecord::new(id(7), Direction::Outbound, at(100));
    queued.agent_id = Some(AgentId("desk".into()));
    put(store, queued).await;

    let all = store.list(&Query::default(), page(1, 3)).await.unwrap();
    let ids = |found: &CallPage| found.items.iter().map(|call| call.id).collect::<Vec<_>>();
    assert_eq!((all.total, ids(&all)), (8, vec![id(7), id(6), id(5)]));
    let last = store.list(&Query::default(), page(3, 3)).await.unwrap();
    assert_eq!(ids(&last), [id(1), id(0)]);
    assert!(store.list(&Query::default(), page(u32::MAX, 100)).await.unwrap().items.is_empty());

    let status =
        |word: &str| Query { status: vec![StatusFilter::parse(word).unwrap()], ..Query::default() };
    let search =
        |text: &str| Query { search: Some(search_digits(text).unwrap()), ..Query::default() };
    let inbound = parse_direction("incoming").unwrap();
    let rows = [
        (Query { direction: Some(inbound), ..Query::default() }, 4),
        (status("ongoing"), 5),
        (status("in-progress"), 5),
        (status("completed"), 2),
        (status("ended"), 2),
        (status("voicemail"), 1),
        (status("caller_hangup"), 1),
        (status("queued"), 1),
        (status("cancelled"), 0),
        (search("+49 30 0000003"), 1),
        (search("5550001"), 7),
        (Query { agent_id: Some(AgentId("desk".into())), ..Query::default() }, 1),
        (Query { started_after: Some(at(5)), ..Query::default() }, 3),
        (Query { started_before: Some(at(5)), ..Query::default() }, 5),
    ];
    for (query, total) in rows {
        let found = store.list(&query, page(1, 100)).await.unwrap();
        assert_eq!((found.total, found.items.len()), (total, total as usize), "{query:?}");
    }
}

async fn keys_by_hash(store: &Store) {
    let key = ApiKeyRecord {
        id: "k1".into(),
        name: "first".into(),
        prefix: "tl_ab".into(),
        hash: "00ff".into(),
        created_at: at(0),
        organization_id: OrganizationId::default(),
        scopes: Scope::ALL.to_vec(),
        expires_at: None,
        revoked_at: None,
        rate_limit_rpm: None,
        rate_limit_rpd: None,
    };
    store.insert_key(&key).await.unwrap();
    assert_eq!(store.key_by_hash("00ff").await.unwrap(), Some(key.clone()));
    assert_eq!(store.key_by_hash("00fe").await.unwrap(), None);
    assert_eq!(store.keys().await.unwrap(), vec![key]);
}

#[test]
fn refuses_what_a_list_cannot_be_asked() {
    assert_eq!(PageRequest::new(Some(0), None), Err(QueryError::Page));
    assert_eq!(PageRequest::new(None, Some(PAGE_SIZE_MAX + 1)), Err(QueryError::PageSize));
    assert_eq!(PageRequest::new(None, Some(0)), Err(QueryError::PageSize));
    assert_eq!(StatusFilter::parse("sleeping"), Err(QueryError::Status));
    for bad in ["", "+", "abc", "12'--", "1%", &"1".repeat(33)] {
        assert_eq!(search_digits(bad), Err(QueryError::Search), "{bad}");
    }
}

#[tokio::test]
async fn what_was_written_survives_a_process_that_never_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    let first = Store::open(&path).await.unwrap();
    put(&first, call(1)).await;
    first.apply(&[Write::Turn(id(1), Box::new(turn(0)))]).await.unwrap();
    // Leaked on purpose: a killed process closes nothing and checkpoints nothing.
    std::mem::forget(first);
    let second = Store::open(&path).await.unwrap();
    assert_eq!(second.open_calls().await.unwrap(), vec![call(1)]);
    assert_eq!(second.turns(id(1)).await.unwrap(), vec![turn(0)]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.db");
    std::fs::write(&path, "this is not a database, it is a text").unwrap();
    let error = Store::open(&path).await.err().unwrap();
    assert!(error.to_string().contains("t.db"), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_a_typed_error_and_reads_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("t.db")).await.unwrap();
    put(&store, call(1)).await;
    store.pragma_for_test("PRAGMA max_page_count = 1").await;
    let mut big = call(2);
    big.prompt = Some("x".repeat(1 << 20).into());
    let error = store.apply(&[Write::Put(Box::new(big))]).await.unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    assert!(store.get(id(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_read_only_file_is_a_typed_error_and_writes_resume() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("t.db")).await.unwrap();
    store.pragma_for_test("PRAGMA query_only = ON").await;
    let error = store.apply(&[Write::Put(Box::new(call(1)))]).await.unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly(_)), "{error:?}");
    store.pragma_for_test("PRAGMA query_only = OFF").await;
    put(&store, call(1)).await;
    store.close().await;
    assert!(matches!(store.get(id(1)).await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn ten_thousand_records_list_quickly() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("t.db")).await.unwrap();
    let batch: Vec<_> =
        (0..10_000).map(|n| Write::Put(Box::new(ended(n, EndReason::UserHangup)))).collect();
    store.apply(&batch).await.unwrap();
    let query = Query { search: Some("0009999".into()), ..Query::default() };
    #[expect(clippy::disallowed_methods, reason = "measures real time; no core is involved")]
    let begin = Instant::now();
    let found = store.list(&query, page(1, 20)).await.unwrap();
    let first = store.list(&Query::default(), page(1, 100)).await.unwrap();
    assert_eq!((found.total, first.items.len()), (1, 100));
    // A bound that catches a scan that decodes every record, with room for a busy machine.
    assert!(begin.elapsed().as_millis() < 2_000, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn the_writer_keeps_order_and_one_bad_row_loses_only_itself() {
    let store: Arc<Store> = Arc::new(Store::in_memory().await.unwrap());
    let (writer, task) = Writer::new(store.clone());
    writer.put(call(1)).await.unwrap();
    writer.turn(id(9), turn(0)).await.unwrap();
    writer.turn(id(1), turn(0)).await.unwrap();
    assert!(writer.event(event(id(1), 1)));
    let task = tokio::spawn(task);
    writer.finish(ended(1, EndReason::ApiHangup)).await.unwrap();
    assert_eq!(store.turns(id(1)).await.unwrap().len(), 1);
    assert_eq!(store.events(id(1), 0).await.unwrap().len(), 1);
    assert_eq!(store.get(id(1)).await.unwrap().unwrap().end_reason, Some(EndReason::ApiHangup));
    assert_eq!(writer.counts(), writer::Counts { dropped: 0, failed: 1 });
    drop(writer);
    task.await.unwrap();
}

#[tokio::test]
async fn after_a_flush_everything_that_was_queued_is_there() {
    let store: Arc<Store> = Arc::new(Store::in_memory().await.unwrap());
    let (writer, task) = Writer::new(store.clone());
    tokio::spawn(task);
    writer.put(call(1)).await.unwrap();
    for seq in 1..=300 {
        assert!(writer.event(event(id(1), seq)));
    }
    writer.flush().await;
    assert_eq!(store.events(id(1), 299).await.unwrap().len(), 1, "the last of them");
    assert!(store.get(id(1)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_stuck_writer_drops_events_and_bounds_waits() {
    let (writer, task) = Writer::new(Arc::new(Store::in_memory().await.unwrap()));
    tokio::time::pause();
    let mut taken = 0;
    while writer.event(event(id(1), taken + 1)) {
        taken += 1;
    }
    assert_eq!(taken, 1_024);
    assert!(matches!(writer.put(call(1)).await, Err(StoreError::Busy)));
    assert_eq!(writer.counts(), writer::Counts { dropped: 2, failed: 0 });
    drop(task);
    assert!(matches!(writer.finish(call(1)).await, Err(StoreError::Closed)));
}

fn wav(data: usize) -> Vec<u8> {
    let mut bytes = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0".to_vec();
    bytes.extend(8_000u32.to_le_bytes());
    bytes.extend(32_000u32.to_le_bytes());
    bytes.extend(b"\x04\0\x10\0data\0\0\0\0");
    bytes.extend(vec![7; data]);
    bytes
}

fn recorded(n: u64, dir: &Recordings, bytes: &[u8]) -> CallRecord {
    let mut record = call(n);
    let filename = Recordings::filename(record.id, record.created_at);
    std::io::Write::write_all(&mut dir.create(&filename).unwrap(), bytes).unwrap();
    record.recording = Some(RecordingInfo {
        status: RecordingStatus::Recording,
        filename,
        sample_rate: 8_000,
        channels: 2,
        duration_ms: None,
        bytes: None,
        sha256: None,
    });
    record
}

#[tokio::test]
async fn a_crash_closes_calls_and_repairs_recordings() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = Recordings::open(dir.path()).unwrap();
    let store = Store::in_memory().await.unwrap();
    // 2 s and half a frame; nothing but noise; a call without a recording.
    let cut = recorded(1, &recordings, &wav(64_002));
    put(&store, cut.clone()).await;
    put(&store, recorded(2, &recordings, b"noise")).await;
    put(&store, call(3)).await;
    let found = recover(&store, &recordings, at(500)).await.unwrap();
    assert_eq!((found.calls, found.recordings), (3, 1));
    assert!(store.open_calls().await.unwrap().is_empty());
    let record = store.get(cut.id).await.unwrap().unwrap();
    let info = record.recording.unwrap();
    assert_eq!((info.status, info.duration_ms), (RecordingStatus::Partial, Some(2_000)));
    assert_eq!(record.end_reason, Some(EndReason::InternalError));
    assert_eq!(record.error.unwrap().code, "server_restarted");
    assert_eq!((record.ended_at, record.talk_ms), (Some(at(3)), Some(2_000)));
    let bytes = recordings.read(&info.filename, 0, 44).unwrap();
    assert_eq!(bytes[4..8], 64_036u32.to_le_bytes());
    assert_eq!(bytes[40..44], 64_000u32.to_le_bytes());
    assert_eq!(recordings.len(&info.filename).unwrap(), 64_044);
    assert!(!recordings.repair(&info.filename).unwrap().repaired);
    assert_eq!(recordings.index().unwrap().len(), 2);
    let noise = store.get(id(2)).await.unwrap().unwrap().recording.unwrap();
    assert_eq!(noise.status, RecordingStatus::Failed);
}

#[tokio::test]
async fn a_recording_that_its_record_does_not_name_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = Recordings::open(dir.path()).unwrap();
    let store = Store::in_memory().await.unwrap();
    // Killed between the making of the file and the next write of the record.
    let mut cut = recorded(1, &recordings, &wav(64_000));
    cut.recording = None;
    put(&store, cut.clone()).await;
    let found = recover(&store, &recordings, at(500)).await.unwrap();
    assert_eq!((found.calls, found.recordings), (1, 1));
    let info = store.get(cut.id).await.unwrap().unwrap().recording.unwrap();
    assert_eq!(info.filename, Recordings::filename(cut.id, cut.created_at));
    assert_eq!((info.status, info.duration_ms), (RecordingStatus::Partial, Some(2_000)));
    assert_eq!((info.sample_rate, info.channels), (8_000, 2));
}

#[test]
fn no_name_leads_out_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = Recordings::open(&dir.path().join("in")).unwrap();
    let good = Recordings::filename(id(1), at(0));
    assert!(matches!(recordings.read(&good, 0, 10), Err(RecordingError::Missing)));
    let upper = good.to_uppercase();
    for bad in [
        "",
        "x",
        "../x.wav",
        "/etc/passwd",
        "2026-01-01/../x.wav",
        "..",
        &upper,
        "2026-01-01/a.wav",
        "aaaa-bb-cc/x.wav",
        &format!("../{good}"),
        &format!("{good}\0"),
    ] {
        assert!(matches!(recordings.path(bad), Err(RecordingError::Name)), "{bad}");
    }
}

#[test]
fn reads_pieces_and_never_writes_over() {
    let dir = tempfile::tempdir().unwrap();
    let recordings = Recordings::open(dir.path()).unwrap();
    let name = recorded(1, &recordings, b"0123456789").recording.unwrap().filename;
    assert_eq!(recordings.read(&name, 3, 4).unwrap(), b"3456");
    assert_eq!(recordings.read(&name, 8, 40).unwrap(), b"89");
    assert!(recordings.read(&name, 80, 4).unwrap().is_empty());
    assert!(recordings.create(&name).is_err());
}

proptest::proptest! {
    #[test]
    fn repair_survives_any_bytes(tail in proptest::collection::vec(0u8.., 0..200), riff: bool) {
        let dir = tempfile::tempdir().unwrap();
        let recordings = Recordings::open(dir.path()).unwrap();
        let mut bytes = if riff { b"RIFF\0\0\0\0WAVE".to_vec() } else { Vec::new() };
        bytes.extend(tail);
        let name = recorded(1, &recordings, &bytes).recording.unwrap().filename;
        if let Ok(facts) = recordings.repair(&name) {
            proptest::prop_assert!(facts.bytes <= bytes.len() as u64);
        }
    }
}
