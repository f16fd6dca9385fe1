//! Retention: erases calls and recordings that an organization or an agent does not want kept longer.
//!
//! One task looks through the ended calls, oldest first, a bounded number at a time, so that a long backlog is worked
//! off over several rounds and costs a live call nothing.

use std::sync::Arc;
use std::time::Duration;

use super::Api;
use crate::net::clock;
use crate::schema::organization::{ORGANIZATION_KIND, OrganizationDoc};
use crate::store::StoreError;
use crate::types::call::RecordingStatus;
use crate::types::{CallId, CallRecord, OrganizationId};

/// Pause between two rounds.
const EVERY: Duration = Duration::from_secs(3_600);
/// Calls one round erases at most, of each organization.
const ERASED_MAX: usize = 1_000;
/// Calls one round looks at for their recordings, of each organization.
const LOOKED_AT_MAX: usize = 10_000;
/// Calls read at once.
const STEP: u32 = 200;

/// Runs until the server stops.
pub(super) async fn run(api: Arc<Api>) {
    let mut rounds = tokio::time::interval(EVERY);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            () = api.stop.cancelled() => return,
        }
        if let Err(error) = round(&api, clock::wall()).await {
            let error = crate::telemetry::chain::chain(&error).to_string();
            tracing::warn!(error, "failed to look for calls past their retention");
        }
    }
}

/// One round as of `now`: how many calls were erased, and how many recordings besides.
pub(super) async fn round(
    api: &Arc<Api>,
    now: jiff::Timestamp,
) -> Result<(usize, usize), StoreError> {
    let (mut erased, mut removed) = (0, 0);
    for organization in api.store.all_resources(ORGANIZATION_KIND).await? {
        let doc: OrganizationDoc = serde_json::from_value(organization.doc).unwrap_or_default();
        let id = OrganizationId::new(organization.id);
        if let Some(days) = doc.retention_days {
            erased += erase(api, &id, before(now, days)).await?;
        }
        if let Some(days) = doc.recording_retention_days {
            removed += silence(api, &id, None, before(now, days)).await?;
        }
    }
    for agent in api.store.all_resources("agent").await? {
        let days = agent.doc.pointer("/recording/retention_days").and_then(|days| days.as_u64());
        if let Some(days) = days.and_then(|days| u32::try_from(days).ok()) {
            let owner = &agent.organization_id;
            removed += silence(api, owner, Some(&agent.id), before(now, days)).await?;
        }
    }
    if erased + removed > 0 {
        tracing::info!(calls = erased, recordings = removed, "erased what was past its retention");
    }
    Ok((erased, removed))
}

fn before(now: jiff::Timestamp, days: u32) -> jiff::Timestamp {
    let span = jiff::SignedDuration::from_hours(i64::from(days) * 24);
    now.checked_sub(span).unwrap_or(jiff::Timestamp::MIN)
}

fn place(record: &CallRecord) -> (i64, CallId) {
    let at = record.started_at.or(record.initiated_at).unwrap_or(record.created_at);
    (at.as_microsecond(), record.id)
}

async fn erase(
    api: &Arc<Api>,
    organization: &OrganizationId,
    before: jiff::Timestamp,
) -> Result<usize, StoreError> {
    let (mut erased, mut after) = (0, None);
    while erased < ERASED_MAX {
        let calls = api.store.ended_before(organization, None, before, after, STEP).await?;
        let Some(last) = calls.last() else { break };
        after = Some(place(last));
        for record in &calls {
            // One that is not finished, or whose file cannot be removed, is tried again in the next round.
            erased += usize::from(api.erase(record).await.is_ok());
        }
    }
    Ok(erased)
}

async fn silence(
    api: &Arc<Api>,
    organization: &OrganizationId,
    agent: Option<&str>,
    before: jiff::Timestamp,
) -> Result<usize, StoreError> {
    let (mut removed, mut looked, mut after) = (0, 0, None);
    while looked < LOOKED_AT_MAX {
        let calls = api.store.ended_before(organization, agent, before, after, STEP).await?;
        let Some(last) = calls.last() else { break };
        looked += calls.len();
        after = Some(place(last));
        for record in &calls {
            let there = record.recording.as_ref().is_some_and(|info| {
                matches!(info.status, RecordingStatus::Available | RecordingStatus::Partial)
            });
            removed += usize::from(there && api.drop_recording(record).await.is_ok());
        }
    }
    Ok(removed)
}
