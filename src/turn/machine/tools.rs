//! What runs beside the talk: tools of the model, a hand-off to another agent, and holds.

use std::time::{Duration, Instant};

use super::{Agent, Machine, Output, Saying, Source, ms};
use crate::turn::config::TurnConfig;
use crate::turn::heard::Kind;
use crate::turn::ledger::Ledger;
use crate::types::call::{TurnOrigin, TurnRole};
use crate::types::{Pii, ToolUse, TurnId, TurnRecord};

impl Machine {
    /// The model said what it says before its tools: that is spoken whole, and the clock of the model
    /// stands still.
    pub(super) fn tools_started(
        &mut self,
        now: Instant,
        turn: TurnId,
        speak: Option<&Pii<String>>,
        limit: Duration,
    ) {
        let Some(reply) = self.reply_of_turn(turn) else { return };
        let rest = reply.segmenter.flush();
        if !reply.content.is_empty() && !reply.content.ends_with(char::is_whitespace) {
            reply.content.push(' ');
        }
        let told = speak.is_some();
        reply.source = Source::Tools { since: now, until: now + limit, told };
        if let Some(rest) = rest {
            // The next words are a sentence of their own, in the ear as in the text.
            self.speak(now, &format!("{} ", rest.trim_end()), Kind::Words);
        }
        if let Some(text) = speak {
            self.speak(now, text.reveal(), Kind::Filler);
        }
    }

    pub(super) fn tools_done(&mut self, now: Instant, turn: TurnId) {
        let Some(reply) = self.reply_of_turn(turn) else { return };
        if let Source::Tools { since, .. } = reply.source {
            reply.ledger.tools(now.saturating_duration_since(since));
            reply.source = Source::Model { alive: now };
            // The wait for the model begins again.
            reply.quiet_since = reply.quiet_since.max(now);
        }
    }

    /// A turn of its own, and for the model to remember whatever becomes of the reply.
    pub(super) fn tool_ended(&mut self, now: Instant, begun: Instant, tool: ToolUse) {
        self.drop_draft();
        let turn = self.open_turn(TurnRole::Tool, TurnOrigin::Tool);
        let note = tool.note();
        self.transcript.push(TurnRole::Tool, &note);
        self.emit(Output::TurnEnded(Box::new(TurnRecord {
            id: turn,
            role: TurnRole::Tool,
            origin: TurnOrigin::Tool,
            content: Pii::new(note),
            spoken_content: None,
            interrupted: false,
            offset_ms: self.offset_ms(begun),
            duration_ms: ms(now.saturating_duration_since(begun)),
            confidence: None,
            latency: None,
            error: None,
            tool: Some(tool),
            failovers: Vec::new(),
        })));
    }

    /// What the agent before was saying is cut off; what is owed to the caller is owed by the new one.
    pub(super) fn handoff(
        &mut self,
        now: Instant,
        config: TurnConfig,
        message: Option<Pii<String>>,
        keep_context: bool,
    ) {
        if self.ending() {
            self.counters.ignored += 1;
            return;
        }
        self.drop_draft();
        self.stop_agent(now, None);
        self.finish_stopping(now);
        if !keep_context {
            self.transcript.clear();
        }
        self.config = config;
        self.sayings.clear();
        (self.prompts, self.repeats, self.failures, self.tts_failures) = (0, 0, 0, 0);
        self.idle_since = now;
        let greeting = &self.config.greeting;
        let saying = match message {
            Some(message) => Saying::new(message.reveal(), TurnOrigin::Greeting),
            None => Saying {
                interruptible: greeting.interruptible,
                ..Saying::new(&greeting.text, TurnOrigin::Greeting)
            },
        };
        if saying.text.trim().is_empty() {
            self.respond_due = true;
        } else {
            self.start_saying(now, saying, Ledger::triggered(now), None);
        }
    }

    pub(super) fn hold(&mut self, now: Instant, held: bool) {
        if held == self.held {
            return;
        }
        self.held = held;
        self.idle_since = now;
        self.drop_draft();
        if held && matches!(self.agent, Agent::Replying(_)) && !self.ending() {
            self.stop_agent(now, None);
        }
    }
}
