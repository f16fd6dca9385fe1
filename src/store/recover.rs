//! After a crash: every call left open is closed with a reason, and its recording made playable. Calls that were never
//! dialled stay queued.

use std::error::Error;

use super::recording::Recordings;
use super::{Store, StoreError, Write};
use crate::types::call::{CallError, ErrorStage, RecordingInfo, RecordingStatus, TurnRole};
use crate::types::{CallRecord, CallStatus, EndReason, OutboxEvent, OutboxKind, TurnRecord};

/// What a start found and put in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Calls that were open and are closed now.
    pub calls: usize,
    /// Recordings of those calls that can be played.
    pub recordings: usize,
}

/// Machine code of the error such a record carries.
pub const SERVER_RESTARTED: &str = "server_restarted";

/// Closes every open call. Run it once at start, before the first call is taken.
///
/// `now` is the wall time of the start. The length of a call is not known, because the monotonic
/// clock died with the process, so `ended_at` is taken from the last state on disk or the length of the
/// recording, whichever is later, and durations follow from it.
///
/// # Errors
/// When the store cannot be read or written. A recording that cannot be repaired is not an error:
/// its record says `failed`.
pub async fn recover(
    store: &Store,
    recordings: &Recordings,
    now: jiff::Timestamp,
) -> Result<Recovered, StoreError> {
    recover_with(store, recordings, now, |_| {}).await
}

/// As [`recover`]; `finish` does what else the end of a call brings, such as its cost.
///
/// # Errors
/// As [`recover`].
pub async fn recover_with(
    store: &Store,
    recordings: &Recordings,
    now: jiff::Timestamp,
    finish: impl Fn(&mut CallRecord),
) -> Result<Recovered, StoreError> {
    let mut found = Recovered::default();
    let mut batch = Vec::new();
    for mut record in store.open_calls().await? {
        // Nothing of it has left: it is dialled, not closed.
        if record.status == CallStatus::Queued && store.waits_to_be_dialled(record.id).await? {
            continue;
        }
        if record.recording.is_none() {
            record.recording = unnamed(recordings, &record);
        }
        if let Some(recording) = &mut record.recording {
            repair(recordings, recording);
            found.recordings += usize::from(recording.status == RecordingStatus::Partial);
        }
        close(&mut record, now);
        let turns = store.turns(record.id).await?;
        let heard =
            |turn: &TurnRecord| turn.role == TurnRole::User && !turn.content.reveal().is_empty();
        if !turns.iter().any(heard) {
            record.skip_after();
        }
        finish(&mut record);
        found.calls += 1;
        let playable = record.recording.as_ref().is_some_and(RecordingInfo::is_playable);
        let ready = [
            (playable, OutboxKind::RecordingReady),
            (!turns.is_empty(), OutboxKind::TranscriptReady),
        ];
        for (_, kind) in ready.into_iter().filter(|(ready, _)| *ready) {
            batch.push(Write::Emit(Box::new(OutboxEvent::of_call(kind, &record))));
        }
        batch.push(Write::Finish(Box::new(record)));
    }
    if !batch.is_empty() {
        store.apply(&batch).await?;
    }
    Ok(found)
}

fn close(record: &mut CallRecord, now: jiff::Timestamp) {
    let ended = ended_at(record, now);
    record.error.get_or_insert_with(|| CallError {
        code: SERVER_RESTARTED.to_owned(),
        message: "the server stopped without warning during the call".to_owned(),
        stage: ErrorStage::Internal,
    });
    record.finish(EndReason::InternalError, ended);
    let since = |start: Option<jiff::Timestamp>| {
        start.map(|start| {
            u64::try_from(ended.as_millisecond() - start.as_millisecond()).unwrap_or(0)
        })
    };
    record.duration_ms = since(record.started_at);
    record.talk_ms = since(record.answered_at);
    record.updated_at = now;
}

/// The latest moment the call is known to have lived, and never later than `now`.
fn ended_at(record: &CallRecord, now: jiff::Timestamp) -> jiff::Timestamp {
    let recorded = record.recording.as_ref().and_then(|recording| recording.duration_ms);
    let heard = record.answered_at.zip(recorded).and_then(|(answered, ms)| {
        let length = jiff::SignedDuration::from_millis(i64::try_from(ms).ok()?);
        answered.checked_add(length).ok()
    });
    let latest = heard.map_or(record.updated_at, |heard| heard.max(record.updated_at));
    latest.min(now)
}

/// The recording of a call whose record does not name it: the file is made before the record is stored
/// again, and a process may die between the two.
fn unnamed(recordings: &Recordings, record: &CallRecord) -> Option<RecordingInfo> {
    let filename = Recordings::filename(record.id, record.created_at);
    let facts = recordings.repair(&filename).ok()?;
    Some(RecordingInfo {
        status: RecordingStatus::Recording,
        filename,
        sample_rate: facts.sample_rate,
        channels: facts.channels,
        duration_ms: None,
        bytes: None,
        sha256: None,
    })
}

fn repair(recordings: &Recordings, info: &mut RecordingInfo) {
    match recordings.repair(&info.filename) {
        Ok(facts) if facts.data_bytes > 0 => {
            info.status = RecordingStatus::Partial;
            info.duration_ms = Some(facts.duration_ms());
            info.bytes = Some(facts.bytes);
        }
        Ok(_) => info.status = RecordingStatus::Failed,
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn Error,
                file = info.filename,
                "recording.repair_failed"
            );
            info.status = RecordingStatus::Failed;
        }
    }
}
