//! The agent's audio: what synthesis gives, how far playback is, and how a turn ends.

use std::time::{Duration, Instant};

use super::{After, Agent, Delivery, Machine, Output, Reply, STOP_REPORT_WAIT_MAX, Source, ms};
use crate::turn::completeness::asked;
use crate::turn::heard::Kind;
use crate::turn::ledger::Mark;
use crate::types::call::{CallError, TurnOrigin, TurnRole};
use crate::types::{EndReason, Generation, Pii, TurnRecord};

/// Silence after which a voice that failed is not only tried again: the caller hears something at once.
const UNEXPLAINED_MAX: Duration = Duration::from_secs(1);

/// How an agent turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its last word was played.
    Played,
    /// It was cut off.
    Cut,
}

impl Machine {
    pub(super) fn tts_audio(
        &mut self,
        now: Instant,
        (generation, seq): (Generation, u32),
        samples: u64,
        at: Instant,
    ) {
        let Some(reply) = self.reply_of_generation(generation) else { return };
        match reply.heard.audio(seq, samples) {
            Some(kind) => {
                reply.tts_since = now;
                if kind == Kind::Words && samples > 0 {
                    reply.ledger.mark(Mark::A1, at);
                }
            }
            None => self.counters.ignored += 1,
        }
    }

    pub(super) fn tts_done(&mut self, now: Instant, generation: Generation, seq: u32) {
        let mut pace = self.pace;
        let Some(reply) = self.reply_of_generation(generation) else { return };
        if reply.heard.done(seq, &mut pace) {
            reply.tts_since = now;
            self.pace = pace;
            self.tts_failures = 0;
        } else {
            self.counters.ignored += 1;
        }
    }

    /// A voice that fails cannot apologise: the sentences that were not played are spoken again in a
    /// new generation, a limited number of times in a row; then the call ends.
    pub(super) fn tts_failed(&mut self, now: Instant, generation: Generation, error: CallError) {
        if self.reply_of_generation(generation).is_none() {
            return;
        }
        self.tts_failures += 1;
        if let Agent::Replying(reply) = &mut self.agent {
            reply.error = Some(error);
        }
        if self.tts_failures >= self.config.failures_max {
            self.give_up_voice(now, generation);
            return;
        }
        self.emit(Output::StopPlayback { generation });
        self.generation = self.generation.next();
        let renewed = self.generation;
        let Agent::Replying(reply) = &mut self.agent else { return };
        reply.generation = renewed;
        // What was held back is gone.
        (reply.yielded, reply.spoken) = (None, None);
        reply.tts_since = now;
        let complete = reply.source == Source::Complete;
        let waits = now.saturating_duration_since(reply.quiet_since) >= UNEXPLAINED_MAX;
        let again = reply.heard.restart();
        if waits && !again.is_empty() {
            reply.quiet_since = now;
            let text = self.config.texts.llm_apology.clone();
            self.sound_last_resort(text);
        }
        let Agent::Replying(_) = &mut self.agent else { return };
        for sentence in &again {
            self.speak(now, sentence, Kind::Words);
        }
        if !complete {
            return;
        }
        match u32::try_from(again.len()) {
            Ok(0) => self.finish_reply(now),
            Ok(_) | Err(_) => {
                let Agent::Replying(reply) = &self.agent else { return };
                let sentences = reply.heard.count();
                self.emit(Output::EndOfSpeech { generation: renewed, sentences });
            }
        }
    }

    /// The voice does not come back: the caller is told with what sounds without one, and the call ends.
    fn give_up_voice(&mut self, now: Instant, generation: Generation) {
        let reason = self.reason_of_failure();
        if self.tts_failures > self.config.failures_max {
            // Not even that could be heard.
            self.hang_up(now, reason);
            return;
        }
        self.emit(Output::StopPlayback { generation });
        self.generation = self.generation.next();
        let renewed = self.generation;
        let Agent::Replying(reply) = &mut self.agent else { return };
        let model = reply.source.is_model().then_some(reply.turn);
        reply.generation = renewed;
        reply.yielded = None;
        reply.tts_since = now;
        reply.started = now;
        reply.source = Source::Complete;
        reply.interruptible = false;
        reply.then = After::Hangup(reason);
        reply.heard.restart();
        if let Some(turn) = model {
            self.emit(Output::CancelReply { turn });
        }
        let text = self.config.texts.failure_goodbye.clone();
        self.sound_last_resort(text);
        let Agent::Replying(reply) = &self.agent else { return };
        let sentences = reply.heard.count();
        self.emit(Output::EndOfSpeech { generation: renewed, sentences });
    }

    /// A sound that needs no voice.
    fn sound_last_resort(&mut self, text: String) {
        let Agent::Replying(reply) = &mut self.agent else { return };
        let Some(seq) = reply.heard.add(&text, Kind::Sound) else { return };
        let (generation, kind, by) = (reply.generation, Kind::Sound, Delivery::LastResort);
        self.emit(Output::Speak { generation, seq, text: text.into(), kind, by });
    }

    /// Why a call ends whose voice fails: words to a silent caller that could not be said are an end of their own.
    fn reason_of_failure(&self) -> EndReason {
        let Agent::Replying(reply) = &self.agent else { return EndReason::ProviderError };
        let asks = reply.origin == TurnOrigin::InactivityPrompt;
        if asks || matches!(reply.then, After::Hangup(EndReason::Inactivity)) {
            EndReason::ErrorInactivity
        } else {
            EndReason::ProviderError
        }
    }

    pub(super) fn first_packet(&mut self, generation: Generation, at: Instant) {
        if let Some(reply) = self.reply_of_generation(generation) {
            reply.ledger.mark(Mark::P0, at);
            reply.quiet_since = reply.quiet_since.max(at);
        }
    }

    pub(super) fn first_audible(&mut self, now: Instant, generation: Generation, at: Instant) {
        let Some(reply) = self.reply_of_generation(generation) else { return };
        reply.ledger.mark(Mark::P1, at);
        reply.audible = true;
        reply.quiet_since = reply.quiet_since.max(at);
        self.idle_since = now;
        self.settle_committed(now);
        // Somebody who began before the first word could be heard.
        self.yield_floor(now);
    }

    pub(super) fn played(
        &mut self,
        now: Instant,
        generation: Generation,
        samples: u64,
        finished: bool,
    ) {
        let Some(reply) = self.reply_of_generation(generation) else { return };
        if reply.heard.played(samples) {
            reply.quiet_since = now;
        }
        // The end of a generation that gets further sentences is only a pause.
        if finished && reply.source == Source::Complete {
            self.finish_reply(now);
        }
    }

    pub(super) fn stopped(
        &mut self,
        now: Instant,
        generation: Generation,
        samples: u64,
        at: Instant,
    ) {
        match &mut self.agent {
            Agent::Stopping { reply, onset, .. } if reply.generation == generation => {
                reply.heard.played(samples);
                if let Some(onset) = *onset {
                    reply.ledger.barge_in(onset, at);
                }
                self.finish_stopping(now);
            }
            Agent::Silent | Agent::Replying(_) | Agent::Stopping { .. } => self.counters.stale += 1,
        }
    }

    /// Cuts the agent off. What was audible of it is known when playback reports its stop; until
    /// then, or for [`STOP_REPORT_WAIT_MAX`], the turn stays open.
    pub(super) fn stop_agent(&mut self, now: Instant, onset: Option<Instant>) {
        let Some(mut reply) = self.take_reply() else { return };
        let (turn, generation) = (reply.turn, reply.generation);
        self.emit(Output::StopPlayback { generation });
        if reply.source.is_model() {
            self.emit(Output::CancelReply { turn });
        }
        self.idle_since = now;
        reply.ledger.cut();
        if reply.audible {
            self.agent = Agent::Stopping { reply, until: now + STOP_REPORT_WAIT_MAX, onset };
        } else {
            self.close_reply(now, *reply, End::Cut);
        }
    }

    /// Closes a turn that was told to stop, with what is known.
    pub(super) fn finish_stopping(&mut self, now: Instant) {
        match std::mem::replace(&mut self.agent, Agent::Silent) {
            Agent::Stopping { reply, .. } => self.close_reply(now, *reply, End::Cut),
            other @ (Agent::Silent | Agent::Replying(_)) => self.agent = other,
        }
    }

    /// The last word was played.
    pub(super) fn finish_reply(&mut self, now: Instant) {
        let Some(reply) = self.take_reply() else { return };
        let then = reply.then;
        self.idle_since = now;
        self.spoke_until = Some(now);
        self.close_reply(now, *reply, End::Played);
        match then {
            After::Listen => {}
            After::HangupUnlessInterrupted(reason) | After::Hangup(reason) => {
                self.hang_up(now, reason);
            }
        }
    }

    /// Frees the floor of a reply that is not told to stop yet.
    fn take_reply(&mut self) -> Option<Box<Reply>> {
        match std::mem::replace(&mut self.agent, Agent::Silent) {
            Agent::Replying(reply) => Some(reply),
            other @ (Agent::Silent | Agent::Stopping { .. }) => {
                self.agent = other;
                None
            }
        }
    }

    fn close_reply(&mut self, now: Instant, reply: Reply, end: End) {
        self.close_committed();
        let heard = match end {
            End::Played => reply.heard.all(),
            End::Cut if reply.audible => reply.heard.text(self.pace),
            End::Cut => String::new(),
        };
        self.transcript.push(TurnRole::Assistant, &heard);
        if !heard.trim().is_empty() {
            self.asked = asked(&heard, &self.config.language);
        }
        let latency = reply.ledger.breakdown();
        self.figures.add(&latency);
        let start = reply.ledger.get(Mark::P1).unwrap_or(reply.started);
        self.emit(Output::TurnEnded(Box::new(TurnRecord {
            id: reply.turn,
            role: TurnRole::Assistant,
            origin: reply.origin,
            content: Pii::new(reply.content.trim().to_owned()),
            spoken_content: Some(Pii::new(heard.trim().to_owned())),
            interrupted: end == End::Cut,
            offset_ms: self.offset_ms(start),
            duration_ms: ms(now.saturating_duration_since(start)),
            confidence: None,
            latency: Some(latency),
            error: reply.error,
            tool: None,
            failovers: Vec::new(),
        })));
    }
}
