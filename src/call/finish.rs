//! The end of a call: SIP is told, what runs is stopped, the record is closed.

use std::time::Duration;

use super::session::{Phase, Session};
use crate::net::clock;
use crate::sip;
use crate::turn;
use crate::types::{CallEventKind, CallRecord, Direction, EndReason, Reception};

impl Session {
    /// Ends the call from our side: SIP is told what the state asks for.
    pub(super) fn hang_up(&mut self, reason: EndReason) {
        if matches!(self.phase, Phase::Over(_)) {
            return;
        }
        self.drop_successor();
        match self.phase {
            Phase::Setup if self.journal.record().direction == Direction::Inbound => {
                let status = if reason == EndReason::Shutdown { 503 } else { 480 };
                self.refuse(status, (status == 503).then_some(5));
            }
            Phase::Setup => self.sip(sip::Command::Cancel { dialog: self.dialog }),
            Phase::Accepted | Phase::Live => {
                let cause = super::end::q850_of_end(reason);
                self.note_cause(cause);
                let headers = std::mem::take(&mut self.farewell);
                let reason = Some(format!("Q.850;cause={cause}"));
                self.sip(sip::Command::Bye { dialog: self.dialog, reason, headers });
            }
            Phase::Over(_) => {}
        }
        self.phase = Phase::Over(reason);
    }

    /// Closes the record: turns, recording, percentiles, then the row on disk.
    pub(super) async fn finish(mut self, reason: EndReason) -> CallRecord {
        self.journal.over();
        self.note_legs();
        self.drop_successor();
        if !matches!(self.phase, Phase::Over(_)) {
            // Only a panic or a failed set-up comes here with SIP still open.
            self.hang_up(reason);
        }
        self.close_tools();
        self.drain_turns();
        self.machine.handle(clock::now(), turn::Input::End { message: None, reason });
        self.drain_turns();
        // The stream goes first: the recorder then sees the end of its tap.
        if let Some(stream) = self.stream.take() {
            let stats = stream.stats();
            let inbound = &stats.inbound;
            let jitter_us = inbound.interarrival_jitter_us;
            self.journal.edit().reception =
                Reception::new(inbound.packets, inbound.express_lost, jitter_us);
            self.note_quality(&stats);
        }
        if let Some(recording) = self.recording.take() {
            let info = recording.finish(Duration::from_secs(5)).await;
            self.journal.emit(CallEventKind::RecordingReady { filename: info.filename.clone() });
            self.journal.edit().recording = Some(info);
        }
        self.journal.edit().latency = self.machine.latency();
        let legs = std::mem::take(&mut self.leg_usage);
        self.journal.edit().usage = self.voice.usage().into_iter().chain(legs).collect();
        self.journal.finish(reason).await
    }
}
