//! What the API can ask for, and the end of the call.

use std::time::Instant;

use super::{After, Agent, Delivery, Machine, Output, Phase, SAY_QUEUE_MAX, Saying};
use crate::turn::endpointing::Caller;
use crate::turn::ledger::Ledger;
use crate::types::call::{TurnOrigin, TurnRole};
use crate::types::{EndReason, Pii, TurnRecord};

impl Machine {
    /// Speaks at once if the floor is free or `interrupt`, else after the turns under way. Words
    /// after which the call ends cannot be interrupted.
    pub(super) fn say(
        &mut self,
        now: Instant,
        (text, by): (String, Delivery),
        [interrupt, interruptible, end_after]: [bool; 3],
    ) {
        if self.ending() || (text.trim().is_empty() && !end_after) {
            self.counters.ignored += 1;
            return;
        }
        let then = if end_after { After::Hangup(EndReason::ApiHangup) } else { After::Listen };
        let saying = Saying {
            text,
            origin: TurnOrigin::ApiSay,
            interruptible: interruptible && !end_after,
            then,
            by,
        };
        if interrupt {
            self.stop_agent(now, None);
            self.finish_stopping(now);
            self.start_saying(now, saying, Ledger::triggered(now), None);
        } else if self.sayings.len() < SAY_QUEUE_MAX {
            self.sayings.push_back(saying);
        } else {
            self.counters.ignored += 1;
        }
    }

    /// Puts a message into the history as a turn of its own.
    pub(super) fn inject(
        &mut self,
        now: Instant,
        role: TurnRole,
        text: Pii<String>,
        respond: bool,
    ) {
        // What is prepared does not know of it.
        self.drop_draft();
        self.transcript.push(role, text.reveal());
        let turn = self.open_turn(role, TurnOrigin::Injected);
        let offset_ms = self.offset_ms(now);
        self.emit(Output::TurnEnded(Box::new(TurnRecord {
            id: turn,
            role,
            origin: TurnOrigin::Injected,
            content: text,
            spoken_content: None,
            interrupted: false,
            offset_ms,
            duration_ms: 0,
            confidence: None,
            latency: None,
            error: None,
            tool: None,
            failovers: Vec::new(),
        })));
        self.respond_due |= respond;
    }

    pub(super) fn interrupt(&mut self, now: Instant) {
        if self.ending() || !matches!(self.agent, Agent::Replying(_)) {
            self.counters.ignored += 1;
            return;
        }
        self.stop_agent(now, None);
    }

    pub(super) fn end(&mut self, now: Instant, message: Option<Pii<String>>, reason: EndReason) {
        match message {
            Some(message) if !message.reveal().trim().is_empty() => {
                self.last_words(now, message.reveal(), reason);
            }
            Some(_) | None => self.hang_up(now, reason),
        }
    }

    /// Too many failures: says so and ends.
    pub(super) fn give_up(&mut self, now: Instant) {
        let text = self.config.texts.failure_goodbye.clone();
        self.last_words(now, &text, EndReason::ProviderError);
    }

    /// Cuts everything off, speaks and hangs up after the last word.
    pub(super) fn last_words(&mut self, now: Instant, text: &str, reason: EndReason) {
        self.stop_agent(now, None);
        self.finish_stopping(now);
        self.sayings.clear();
        self.start_saying(now, Saying::last_words(text, reason), Ledger::triggered(now), None);
    }

    /// Closes every open turn and gives out the end. Nothing follows it.
    pub(super) fn hang_up(&mut self, now: Instant, reason: EndReason) {
        if self.phase == Phase::Over {
            return;
        }
        self.drop_draft();
        self.stop_agent(now, None);
        self.finish_stopping(now);
        self.close_committed();
        match std::mem::replace(&mut self.caller, Caller::Quiet) {
            Caller::Quiet => {}
            Caller::Speaking(utterance) => self.close_user_turn(&utterance, now),
            Caller::Pausing(pause) => self.close_user_turn(&pause.utterance, pause.last_voiced),
        }
        self.digits = None;
        self.sayings.clear();
        self.respond_due = false;
        self.apology_due = None;
        self.emit(Output::Hangup(reason));
        self.phase = Phase::Over;
    }

    /// Whether the last words are being spoken.
    pub(super) fn ending(&self) -> bool {
        matches!(&self.agent, Agent::Replying(reply) if matches!(reply.then, After::Hangup(_)))
    }
}
