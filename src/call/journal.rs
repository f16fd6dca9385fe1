//! A call's record and its event journal: the one place where both change, so that they cannot disagree.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::broadcast;

use crate::net::clock;
use crate::store::{Persisted, StoreError, Write, Writer};
use crate::telemetry::{chain, metrics};
use crate::types::call::{CallError, RecordingInfo, TurnRole};
use crate::types::{
    CallEvent, CallEventKind, CallRecord, CallStatus, Direction, EndReason, FAILOVERS_MAX,
    Failover, OutboxEvent, OutboxKind, TurnRecord,
};
use crate::usage::Accounts;

/// Events a slow subscriber may lag behind before it is told that it missed some.
pub const EVENT_BUS_DEPTH: usize = 4_096;

/// Live events of every call, to whoever listens. A slow listener loses events, never a call its time.
#[derive(Clone)]
pub struct EventBus {
    sender: broadcast::Sender<Arc<CallEvent>>,
    /// The same again for listeners who want few of them: whoever wakes for every event of every call costs more
    /// than the events.
    ends: broadcast::Sender<Arc<CallEvent>>,
    partials: broadcast::Sender<Arc<CallEvent>>,
}

impl EventBus {
    /// A bus nobody listens to yet.
    pub fn new() -> Self {
        let channel = || broadcast::Sender::new(EVENT_BUS_DEPTH);
        Self { sender: channel(), ends: channel(), partials: channel() }
    }

    /// From now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<CallEvent>> {
        self.sender.subscribe()
    }

    /// From now on, only the last event of each call.
    pub fn ends(&self) -> broadcast::Receiver<Arc<CallEvent>> {
        self.ends.subscribe()
    }

    /// From now on, only partial transcripts, which no journal keeps.
    pub fn partials(&self) -> broadcast::Receiver<Arc<CallEvent>> {
        self.partials.subscribe()
    }

    /// To everybody who listens now.
    pub(crate) fn publish(&self, event: Arc<CallEvent>) {
        // No listener is the ordinary case.
        let _ = match &event.kind {
            CallEventKind::StatusChanged { status, .. } if status.is_terminal() => {
                self.ends.send(Arc::clone(&event))
            }
            CallEventKind::TranscriptPartial { .. } => self.partials.send(Arc::clone(&event)),
            _ => Ok(0),
        };
        let _ = self.sender.send(event);
    }
}

impl Default for EventBus {
    fn default() -> Self {
        Self::new()
    }
}

/// Instants of a call on the monotonic clock, for durations that no clock step can bend.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    started: Option<Instant>,
    answered: Option<Instant>,
    /// With the wall clock's time.
    over: Option<(Instant, jiff::Timestamp)>,
}

/// One call's record and events.
pub struct Journal {
    record: CallRecord,
    marks: Marks,
    seq: u64,
    writer: Writer,
    bus: EventBus,
    /// Writes the store's queue had no place for; they go first at the next chance.
    pending: VecDeque<Write>,
    /// Until the record the journal was opened with is on disk.
    storing: Option<Persisted>,
    accounts: Arc<Accounts>,
    talk: Talk,
}

/// How far a conversation came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Talk {
    /// No turn was closed.
    #[default]
    None,
    /// Only we said something.
    OneSided,
    /// The other side said something too.
    Conversation,
}

/// Writes a call keeps while the store is slow: minutes of conversation. Beyond, events are dropped first.
const PENDING_MAX: usize = 512;

impl Journal {
    /// Opens the journal of a new call and stores its record.
    pub fn open(record: CallRecord, writer: Writer, bus: EventBus) -> Self {
        metrics::call_started(record.direction);
        let mut pending = VecDeque::new();
        let storing = match writer.try_persist(record.clone()) {
            Ok(storing) => Some(storing),
            Err(write) => {
                pending.push_back(write);
                None
            }
        };
        let marks = Marks::default();
        let (accounts, talk) = (Arc::default(), Talk::None);
        let mut journal =
            Self { record, marks, seq: 0, writer, bus, pending, storing, accounts, talk };
        let status = journal.record.status;
        journal.emit(CallEventKind::StatusChanged { status, end_reason: None });
        journal
    }

    /// Whose prices and budget the call comes under; by default nobody's.
    #[must_use]
    pub fn priced_by(mut self, accounts: Arc<Accounts>) -> Self {
        self.accounts = accounts;
        self
    }

    /// Whether the record the journal was opened with is on disk, or will not be before others are.
    pub fn is_stored(&self) -> bool {
        self.storing.is_none()
    }

    /// Returns when [`Journal::is_stored`]. Cancellation-safe.
    pub async fn stored(&mut self) {
        if let Some(storing) = &mut self.storing {
            // A failure is counted and logged where the store is written; the call goes on without.
            let _ = storing.await;
            self.storing = None;
        }
    }

    /// The record as it stands.
    pub fn record(&self) -> &CallRecord {
        &self.record
    }

    /// Changes facts of the record other than its status; the next save stores them.
    pub fn edit(&mut self) -> &mut CallRecord {
        &mut self.record
    }

    /// Moves the call along its life cycle. A transition the life cycle does not allow is ignored:
    /// late provisional responses are ordinary.
    pub fn advance(&mut self, next: CallStatus) {
        if !self.record.status.allows(next) {
            return;
        }
        let (now, wall) = (clock::now(), clock::wall());
        self.record.status = next;
        match next {
            CallStatus::Initiated => {
                self.record.initiated_at.get_or_insert(wall);
            }
            CallStatus::Ringing => {
                self.record.started_at.get_or_insert(wall);
                self.marks.started.get_or_insert(now);
            }
            CallStatus::InProgress => {
                self.record.started_at.get_or_insert(wall);
                self.marks.started.get_or_insert(now);
                self.record.answered_at = Some(wall);
                self.marks.answered = Some(now);
            }
            CallStatus::Queued
            | CallStatus::Completed
            | CallStatus::Busy
            | CallStatus::NoAnswer
            | CallStatus::Canceled
            | CallStatus::Failed => {}
        }
        self.record.updated_at = wall;
        self.save();
        self.emit(CallEventKind::StatusChanged { status: next, end_reason: None });
    }

    /// Marks the arrival or departure of the INVITE without a change of status. An inbound call starts with it;
    /// an outbound one when the other side rings.
    pub fn initiated(&mut self) {
        let wall = clock::wall();
        self.record.initiated_at.get_or_insert(wall);
        if self.record.direction == Direction::Inbound {
            self.record.started_at.get_or_insert(wall);
            self.marks.started.get_or_insert(clock::now());
        }
    }

    /// Adds a closed turn.
    pub fn turn(&mut self, turn: TurnRecord) {
        let total = turn.latency.as_ref().and_then(|l| l.total_perceived_ms);
        self.talk = self.talk.max(match turn.role {
            TurnRole::User if !turn.content.reveal().is_empty() => Talk::Conversation,
            _ => Talk::OneSided,
        });
        if let Some(latency) = &turn.latency {
            metrics::turn_closed(latency);
        }
        self.emit(CallEventKind::TurnEnded {
            turn: turn.id,
            role: turn.role,
            content: turn.content.clone(),
            spoken_content: turn.spoken_content.clone(),
            interrupted: turn.interrupted,
            total_perceived_ms: total,
        });
        self.write(Write::Turn(self.record.id, Box::new(turn)));
    }

    /// Notes a failure; the first one stays in the record.
    pub fn failed(&mut self, error: CallError) {
        self.record.error.get_or_insert_with(|| error.clone());
        self.emit(CallEventKind::ProviderFailed { error });
        self.save();
    }

    /// Notes that the call goes on with another provider.
    pub fn failed_over(&mut self, failover: Failover) {
        metrics::provider_failover(failover.stage.as_str(), &failover.from, &failover.to);
        if self.record.failovers.len() < FAILOVERS_MAX {
            self.record.failovers.push(failover.clone());
        }
        self.emit(CallEventKind::ProviderFailover { failover });
        self.save();
    }

    /// Whether speech of a side is on, for the event stream.
    pub fn speech(&mut self, role: TurnRole, on: Speech) {
        self.emit(match on {
            Speech::Started => CallEventKind::SpeechStarted { role },
            Speech::Ended => CallEventKind::SpeechEnded { role },
        });
    }

    /// Publishes and stores an event.
    pub fn emit(&mut self, kind: CallEventKind) {
        let event = self.enter(kind);
        self.bus.publish(event);
    }

    /// Stores an event that is published later.
    fn enter(&mut self, kind: CallEventKind) -> Arc<CallEvent> {
        self.seq += 1;
        let event =
            Arc::new(CallEvent { seq: self.seq, call_id: self.record.id, at: clock::wall(), kind });
        // Partial transcripts come many times a second and are worth nothing a second later.
        if !matches!(event.kind, CallEventKind::TranscriptPartial { .. }) {
            self.write(Write::Event(Box::new((*event).clone())));
        }
        event
    }

    /// Stores the record as it stands.
    pub(super) fn save(&mut self) {
        self.write(Write::Put(Box::new(self.record.clone())));
    }

    /// Hands a write to the store without waiting for it.
    fn write(&mut self, write: Write) {
        self.pending.push_back(write);
        while let Some(next) = self.pending.pop_front() {
            if let Err(refused) = self.writer.try_write(next) {
                self.pending.push_front(refused);
                break;
            }
        }
        if self.pending.len() > PENDING_MAX {
            metrics::queue_full("call_store");
            let event = self.pending.iter().position(|write| matches!(write, Write::Event(_)));
            self.pending.remove(event.unwrap_or(0));
        }
    }

    /// Somebody with a leg of its own takes the place of the other side: what the call's trunk carried ends here.
    pub fn first_left(&mut self) {
        let talked = |at: Instant| clock::now().saturating_duration_since(at);
        let Some(talk) = self.marks.answered.map(talked) else { return };
        let ms = u64::try_from(talk.as_millis()).unwrap_or(u64::MAX);
        self.record.first_talk_ms.get_or_insert(ms);
        self.save();
    }

    /// Nobody hears anything any more: the call's durations end here, and not when its recording is complete.
    pub fn over(&mut self) {
        self.marks.over.get_or_insert_with(|| (clock::now(), clock::wall()));
    }

    /// Ends the record: status, reason and outcome by the one table, durations by the monotonic clock,
    /// percentiles over the turns. Returns once the end is on disk.
    pub async fn finish(mut self, reason: EndReason) -> CallRecord {
        self.over();
        let (now, wall) = self.marks.over.unwrap_or_else(|| (clock::now(), clock::wall()));
        let ms = |since: Option<Instant>| {
            since.map(|at| u64::try_from(now.duration_since(at).as_millis()).unwrap_or(u64::MAX))
        };
        self.record.duration_ms = ms(self.marks.started);
        self.record.talk_ms = ms(self.marks.answered);
        self.record.finish(reason, wall);
        if self.talk < Talk::Conversation {
            self.record.skip_after();
        }
        self.accounts.close(&mut self.record);
        self.tell_of_leftovers();
        let status = self.record.status;
        let last = self.enter(CallEventKind::StatusChanged { status, end_reason: Some(reason) });
        let answered = self.record.answered_at.is_some();
        metrics::call_ended(self.record.direction, reason, answered);
        metrics::turns_judged(&self.record.latency);
        if let Err(error) = self.store_all().await {
            metrics::store_failed("finish");
            tracing::error!(
                call.id = %self.record.id,
                error = %chain::chain(&error),
                "failed to store the end of a call"
            );
        }
        // Whoever hears of the end may ask for the record at once, and must find it complete.
        self.bus.publish(last);
        self.record
    }

    /// What is there to be fetched from now on. Written before the end, so that a crash between the two is told
    /// of it again and not never.
    fn tell_of_leftovers(&mut self) {
        let playable = self.record.recording.as_ref().is_some_and(RecordingInfo::is_playable);
        let ready = [
            (playable, OutboxKind::RecordingReady),
            (self.talk > Talk::None, OutboxKind::TranscriptReady),
        ];
        for (_, kind) in ready.into_iter().filter(|(ready, _)| *ready) {
            let event = OutboxEvent::of_call(kind, &self.record);
            self.pending.push_back(Write::Emit(Box::new(event)));
        }
    }

    async fn store_all(&mut self) -> Result<(), StoreError> {
        while let Some(write) = self.pending.pop_front() {
            self.writer.write(write).await?;
        }
        self.writer.finish(self.record.clone()).await
    }
}

/// Edge of one side's speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum Speech {
    Started,
    Ended,
}

#[cfg(test)]
mod tests;
