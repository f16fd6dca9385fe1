//! Replies that are prepared before it is sure that the caller is done.
//!
//! A draft is asked of the model as soon as the words are there, while the end-of-turn wait still
//! runs. If the caller's turn ends with the same words, the draft becomes the reply (a hit); if other
//! words come, it is dropped (a miss) and nothing of it was heard. A draft runs no tool, opens no
//! turn and fails silently: until it is adopted it never happened, except that it was paid for.

use std::time::Instant;

use super::{After, Agent, Machine, Output, REPLY_CHARS_MAX, Reply, Source};
use crate::turn::completeness::same_words;
use crate::turn::config::SpeculationMode;
use crate::turn::endpointing::{Caller, STABLE_FOR};
use crate::turn::event::Input;
use crate::turn::heard::Kind;
use crate::turn::ledger::{Ledger, Mark};
use crate::types::call::{TurnOrigin, TurnRole};
use crate::types::{EndReason, TurnId};

/// A reply that nobody may hear yet.
#[derive(Debug)]
pub(super) struct Draft {
    /// What the caller said, as the model was told.
    text: String,
    reply: Box<Reply>,
    /// Sentences that wait for the end of the turn.
    sentences: Vec<String>,
    /// The model has said all.
    complete: bool,
}

impl Machine {
    /// Begins a draft if what is known is worth one.
    pub(super) fn consider_draft(&mut self, now: Instant) {
        if !self.may_draft() || self.drafts >= self.config.speculation.attempts_max {
            return;
        }
        let settled = matches!(&self.caller, Caller::Pausing(pause) if pause.answered.is_some());
        let Some(utterance) = self.caller.utterance_mut() else { return };
        let stable = settled || utterance.stable_for(now) >= STABLE_FOR;
        let text = utterance.text();
        if text.is_empty() || utterance.goes_on() || utterance.error.is_some() {
            return;
        }
        if !stable && !utterance.likely_over && utterance.over.is_none() {
            return;
        }
        if self.draft.as_ref().is_some_and(|draft| same_words(&draft.text, &text)) {
            return;
        }
        self.drop_draft();
        self.begin_draft(now, text);
    }

    fn may_draft(&self) -> bool {
        let waits = matches!(self.caller, Caller::Pausing(_))
            || matches!(&self.caller, Caller::Speaking(utterance) if utterance.likely_over);
        self.config.speculation.mode != SpeculationMode::Off
            && waits
            && matches!(self.agent, Agent::Silent)
            && self.digits.is_none()
            && self.sayings.is_empty()
            && self.apology_due.is_none()
            && !self.respond_due
            && !self.held
    }

    fn begin_draft(&mut self, now: Instant, text: String) {
        self.drafts += 1;
        self.generation = self.generation.next();
        let turn = TurnId(self.next_turn);
        let source = Source::Model { alive: now };
        let reply = self.new_reply(now, turn, TurnOrigin::Llm, source, Ledger::default());
        let generation = reply.generation;
        let mut transcript = self.transcript.clone();
        transcript.push(TurnRole::User, &text);
        let history = transcript.history();
        self.draft =
            Some(Draft { text, reply: Box::new(reply), sentences: Vec::new(), complete: false });
        self.emit(Output::StartReply { turn, generation, history, draft: true });
    }

    /// The caller's words changed: a draft for other words is of no use.
    pub(super) fn check_draft(&mut self) {
        let text = self.caller.utterance_mut().map(|utterance| utterance.text());
        let fits = |draft: &Draft| text.as_ref().is_some_and(|text| same_words(&draft.text, text));
        if self.draft.as_ref().is_some_and(|draft| !fits(draft)) {
            self.drop_draft();
        }
    }

    /// Drops the draft, if there is one. It is a miss: it was paid for and never heard.
    pub(super) fn drop_draft(&mut self) {
        let Some(draft) = self.draft.take() else { return };
        self.counters.draft_misses += 1;
        self.figures.speculative_misses = self.figures.speculative_misses.saturating_add(1);
        let (turn, generation) = (draft.reply.turn, draft.reply.generation);
        self.emit(Output::CancelReply { turn });
        if draft.reply.heard.count() > 0 {
            self.emit(Output::StopPlayback { generation });
        }
    }

    /// The draft for these words, if it may become the reply; any other is dropped.
    pub(super) fn take_draft(&mut self, text: &str) -> Option<Draft> {
        let draft = self.draft.take()?;
        let free = matches!(self.agent, Agent::Silent);
        // Another turn may have taken its number meanwhile.
        let next = draft.reply.turn == TurnId(self.next_turn);
        if free && next && same_words(&draft.text, text) {
            return Some(draft);
        }
        self.draft = Some(draft);
        self.drop_draft();
        None
    }

    /// The caller is done, and the draft answers what they said.
    pub(super) fn adopt(&mut self, now: Instant, draft: Draft, ledger: &Ledger) {
        let Draft { mut reply, sentences, complete, .. } = draft;
        self.counters.draft_hits += 1;
        self.figures.speculative_hits = self.figures.speculative_hits.saturating_add(1);
        let generation = reply.generation;
        let turn = self.open_turn(TurnRole::Assistant, TurnOrigin::Llm);
        for mark in [Mark::S, Mark::E, Mark::T] {
            if let Some(at) = ledger.get(mark) {
                reply.ledger.mark(mark, at);
            }
        }
        reply.ledger.speculative();
        reply.started = now;
        reply.quiet_since = self.quiet_since(ledger, now);
        reply.tts_since = now;
        reply.source = Source::Model { alive: now };
        self.agent = Agent::Replying(reply);
        self.emit(Output::CommitReply { turn, generation });
        for sentence in &sentences {
            self.speak(now, sentence, Kind::Words);
        }
        if complete {
            self.model_done(now);
        }
    }

    /// Takes an input that is about the draft; any other is given back.
    pub(super) fn draft_input(&mut self, now: Instant, input: Input) -> Option<Input> {
        let Some(draft) = &self.draft else { return Some(input) };
        let (turn, generation) = (draft.reply.turn, draft.reply.generation);
        match input {
            Input::LlmSent { turn: of, at } if of == turn => self.on_draft(|draft| {
                draft.reply.ledger.mark(Mark::L0, at);
            }),
            Input::LlmText { turn: of, text, at } if of == turn => {
                self.draft_text(now, &text, at);
            }
            Input::LlmEndCall { turn: of } if of == turn => self.on_draft(|draft| {
                draft.reply.then = After::HangupUnlessInterrupted(EndReason::AgentHangup);
            }),
            Input::LlmDone { turn: of } if of == turn => {
                let rest = self.draft.as_mut().and_then(|draft| draft.reply.segmenter.flush());
                if let Some(rest) = rest {
                    self.draft_sentence(now, rest);
                }
                self.on_draft(|draft| draft.complete = true);
            }
            // The reply is asked for again when the turn is over.
            Input::LlmFailed { turn: of, .. } if of == turn => self.drop_draft(),
            Input::TtsFailed { generation: of, .. } if of == generation => self.drop_draft(),
            Input::TtsAudio { generation: of, seq, samples, at } if of == generation => {
                self.on_draft(|draft| {
                    let kind = draft.reply.heard.audio(seq, samples);
                    if kind == Some(Kind::Words) && samples > 0 {
                        draft.reply.ledger.mark(Mark::A1, at);
                    }
                });
            }
            Input::TtsAligned { generation: of, seq, marks } if of == generation => {
                self.on_draft(|draft| draft.reply.heard.align(seq, &marks));
            }
            Input::TtsDone { generation: of, seq } if of == generation => {
                let mut pace = self.pace;
                self.on_draft(|draft| {
                    draft.reply.heard.done(seq, &mut pace);
                });
                self.pace = pace;
            }
            other => return Some(other),
        }
        None
    }

    fn on_draft(&mut self, change: impl FnOnce(&mut Draft)) {
        if let Some(draft) = &mut self.draft {
            change(draft);
        }
    }

    fn draft_text(&mut self, now: Instant, text: &str, at: Instant) {
        let Some(draft) = &mut self.draft else { return };
        if text.is_empty() {
            return;
        }
        let reply = &mut draft.reply;
        reply.ledger.mark(Mark::L1, at);
        let room = REPLY_CHARS_MAX.saturating_sub(reply.content.chars().count());
        let text: String = text.chars().take(room).collect();
        reply.content.push_str(&text);
        for sentence in reply.segmenter.push(&text) {
            self.draft_sentence(now, sentence);
        }
    }

    /// A sentence waits, or is synthesised already, as the settings say.
    fn draft_sentence(&mut self, now: Instant, sentence: String) {
        let Some(mut draft) = self.draft.take() else { return };
        if self.config.speculation.mode != SpeculationMode::LlmAndTts {
            draft.sentences.push(sentence);
            self.draft = Some(draft);
            return;
        }
        // `speak` works on the reply that has the floor: nobody else has it while there is a draft.
        let held = std::mem::replace(&mut self.agent, Agent::Replying(draft.reply));
        self.speak(now, &sentence, Kind::Words);
        match std::mem::replace(&mut self.agent, held) {
            Agent::Replying(reply) => {
                draft.reply = reply;
                self.draft = Some(draft);
            }
            Agent::Silent | Agent::Stopping { .. } => {}
        }
    }
}
