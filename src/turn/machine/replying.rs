//! The agent's words: fixed ones, the model's, and what is said when they fail or are late.

use std::time::{Duration, Instant};

use super::{
    After, Agent, Delivery, FILLERS_MAX, Machine, Output, REPLY_CHARS_MAX, Reply, Saying, Source,
};
use crate::turn::heard::{Heard, Kind};
use crate::turn::interruption::words;
use crate::turn::ledger::{Ledger, Mark};
use crate::turn::sentence::Segmenter;
use crate::types::call::{CallError, ErrorStage, TurnOrigin, TurnRole};
use crate::types::{EndReason, Pii, TurnId};

impl Machine {
    pub(super) fn answered(&mut self, now: Instant) {
        self.phase = super::Phase::Live { answered: now };
        self.idle_since = now;
        match self.config.greeting.delay_ms {
            0 => self.greet(),
            ms => self.greeting_due = Some(now + Duration::from_millis(u64::from(ms))),
        }
    }

    /// The first words, as soon as the floor is free: a caller who speaks first is heard out.
    pub(super) fn greet(&mut self) {
        self.greeting_due = None;
        let greeting = &self.config.greeting;
        if greeting.generated {
            self.respond_due = true;
            return;
        }
        let saying = Saying {
            interruptible: greeting.interruptible,
            ..Saying::new(&greeting.text, TurnOrigin::Greeting)
        };
        let saying = match greeting.ends {
            true => Saying::last_words(&greeting.text, EndReason::AgentHangup),
            false => saying,
        };
        self.sayings.push_front(saying);
    }

    /// Opens an agent turn with a new generation. The floor must be free.
    pub(super) fn open_reply(
        &mut self,
        now: Instant,
        origin: TurnOrigin,
        source: Source,
        ledger: Ledger,
    ) {
        self.drop_draft();
        self.finish_stopping(now);
        self.generation = self.generation.next();
        let turn = self.open_turn(TurnRole::Assistant, origin);
        let reply = self.new_reply(now, turn, origin, source, ledger);
        self.agent = Agent::Replying(Box::new(reply));
    }

    /// Since when nobody has said anything, for a reply that begins: the caller's last sound, or the agent's own.
    pub(super) fn quiet_since(&self, ledger: &Ledger, now: Instant) -> Instant {
        let caller = ledger.get(Mark::S).or_else(|| ledger.get(Mark::E)).unwrap_or(now);
        self.spoke_until.map_or(caller, |agent| agent.max(caller))
    }

    /// A reply without words yet, of the newest generation.
    pub(super) fn new_reply(
        &self,
        now: Instant,
        turn: TurnId,
        origin: TurnOrigin,
        source: Source,
        ledger: Ledger,
    ) -> Reply {
        Reply {
            turn,
            generation: self.generation,
            origin,
            source,
            segmenter: Segmenter::new(self.config.first_clause_min_chars),
            heard: Heard::default(),
            content: String::new(),
            quiet_since: self.quiet_since(&ledger, now),
            ledger,
            interruptible: true,
            then: After::Listen,
            started: now,
            tts_since: now,
            audible: false,
            fillers: 0,
            error: None,
            by: Delivery::Agent,
            yielded: None,
            false_yields: 0,
            resumed_from: None,
            spoken: None,
        }
    }

    /// Asks the model for a reply, in the turn that a filler may already have opened.
    pub(super) fn start_reply(&mut self, now: Instant, ledger: Ledger) {
        let source = Source::Model { alive: now };
        match &mut self.agent {
            Agent::Replying(reply) if reply.source == Source::Transcript => {
                reply.source = source;
                for mark in [Mark::E, Mark::T] {
                    if let Some(at) = ledger.get(mark) {
                        reply.ledger.mark(mark, at);
                    }
                }
            }
            Agent::Replying(_) => return,
            Agent::Silent | Agent::Stopping { .. } => {
                self.open_reply(now, TurnOrigin::Llm, source, ledger);
            }
        }
        let history = self.transcript.history();
        if let Agent::Replying(reply) = &self.agent {
            let (turn, generation) = (reply.turn, reply.generation);
            self.emit(Output::StartReply { turn, generation, history, draft: false });
        }
    }

    /// Speaks fixed words. Without words the turn is not opened, but what follows them happens.
    pub(super) fn start_saying(
        &mut self,
        now: Instant,
        saying: Saying,
        ledger: Ledger,
        error: Option<CallError>,
    ) {
        let waiting =
            matches!(&self.agent, Agent::Replying(reply) if reply.source == Source::Transcript);
        if saying.text.trim().is_empty() && !waiting {
            match saying.then {
                After::Listen => {}
                After::HangupUnlessInterrupted(reason) | After::Hangup(reason) => {
                    self.hang_up(now, reason);
                }
            }
            return;
        }
        if !waiting {
            self.open_reply(now, saying.origin, Source::Complete, ledger);
        }
        let Agent::Replying(reply) = &mut self.agent else { return };
        reply.origin = saying.origin;
        reply.interruptible = saying.interruptible;
        reply.then = saying.then;
        reply.error = error;
        reply.by = saying.by;
        self.append_words(now, &saying.text);
        self.end_of_speech(now);
    }

    /// Whole sentences of fixed text, after what the turn already holds.
    fn append_words(&mut self, now: Instant, text: &str) {
        let Agent::Replying(reply) = &mut self.agent else { return };
        if !reply.content.is_empty() && !reply.content.ends_with(char::is_whitespace) {
            reply.content.push(' ');
        }
        let room = REPLY_CHARS_MAX.saturating_sub(reply.content.chars().count());
        let text: String = text.chars().take(room).collect();
        reply.content.push_str(&text);
        if reply.by == Delivery::Clip {
            self.speak(now, &text, Kind::Sound);
            return;
        }
        let mut segmenter = Segmenter::new(0);
        let mut sentences = segmenter.push(&text);
        sentences.extend(segmenter.flush());
        for sentence in sentences {
            self.speak(now, &sentence, Kind::Words);
        }
    }

    /// Hands one sentence to synthesis.
    pub(super) fn speak(&mut self, now: Instant, text: &str, kind: Kind) {
        let Agent::Replying(reply) = &mut self.agent else { return };
        if text.trim().is_empty() {
            return;
        }
        // Punctuation alone makes some voices fail and none speak; it is heard with its sentence.
        if words(text) == 0 && (kind != Kind::Words || reply.heard.append_silent(text)) {
            return;
        }
        let owed = reply.heard.outstanding();
        let Some(seq) = reply.heard.add(text, kind) else {
            self.counters.ignored += 1;
            return;
        };
        if !owed {
            reply.tts_since = now;
        }
        if kind == Kind::Words {
            reply.ledger.mark(Mark::L2, now);
        }
        let generation = reply.generation;
        let text = Pii::new(text.trim().to_owned());
        let by = reply.by.clone();
        self.emit(Output::Speak { generation, seq, text, kind, by });
    }

    /// No further words: playback of the last one ends the turn. A turn without any ends now.
    fn end_of_speech(&mut self, now: Instant) {
        let Agent::Replying(reply) = &mut self.agent else { return };
        reply.source = Source::Complete;
        let (generation, sentences) = (reply.generation, reply.heard.count());
        if sentences == 0 {
            self.finish_reply(now);
            return;
        }
        self.emit(Output::EndOfSpeech { generation, sentences });
    }

    pub(super) fn llm_sent(&mut self, turn: TurnId, at: Instant) {
        if let Some(reply) = self.reply_of_turn(turn) {
            reply.ledger.mark(Mark::L0, at);
        }
    }

    pub(super) fn llm_text(&mut self, now: Instant, turn: TurnId, text: &str, at: Instant) {
        let Some(reply) = self.reply_of_turn(turn) else { return };
        if let Source::Model { alive } = &mut reply.source {
            *alive = now;
        }
        if text.is_empty() {
            return;
        }
        reply.ledger.mark(Mark::L1, at);
        let room = REPLY_CHARS_MAX.saturating_sub(reply.content.chars().count());
        let text: String = text.chars().take(room).collect();
        reply.content.push_str(&text);
        for sentence in reply.segmenter.push(&text) {
            self.speak(now, &sentence, Kind::Words);
        }
    }

    pub(super) fn llm_end_call(&mut self, turn: TurnId) {
        if let Some(reply) = self.reply_of_turn(turn) {
            reply.then = After::HangupUnlessInterrupted(EndReason::AgentHangup);
        }
    }

    pub(super) fn llm_done(&mut self, now: Instant, turn: TurnId) {
        let Some(reply) = self.reply_of_turn(turn) else { return };
        let rest = reply.segmenter.flush();
        if let Some(rest) = rest {
            self.speak(now, &rest, Kind::Words);
        }
        self.model_done(now);
    }

    /// The model has said all, and its sentences are on their way.
    pub(super) fn model_done(&mut self, now: Instant) {
        self.failures = 0;
        let Agent::Replying(reply) = &self.agent else { return };
        let content = reply.content.to_lowercase();
        let ends = |p: &String| !p.trim().is_empty() && content.contains(&p.trim().to_lowercase());
        let ends = self.config.end_phrases.iter().any(ends);
        let Agent::Replying(reply) = &mut self.agent else { return };
        if ends {
            reply.then = After::HangupUnlessInterrupted(EndReason::AgentHangup);
        }
        if !reply.heard.has_words() && reply.then == After::Listen {
            // The caller is owed words, and the model gave none.
            let text = self.config.texts.repeat.clone();
            self.append_words(now, &text);
        } else if !reply.heard.has_words() && !self.config.end_message.is_empty() {
            let text = self.config.end_message.clone();
            self.append_words(now, &text);
        }
        self.end_of_speech(now);
    }

    pub(super) fn llm_failed(&mut self, now: Instant, turn: TurnId, error: CallError) {
        if self.reply_of_turn(turn).is_some() {
            self.model_failed(now, error);
        }
    }

    /// The model's time is up.
    pub(super) fn reply_timed_out(&mut self, now: Instant) {
        let Agent::Replying(reply) = &self.agent else { return };
        let (turn, source) = (reply.turn, reply.source);
        self.emit(Output::CancelReply { turn });
        let message = match source {
            Source::Tools { .. } => "the tools did not come back".to_owned(),
            _ => format!("no text for {} ms", self.config.reply_timeout_ms),
        };
        let error = CallError { code: "llm_timeout".to_owned(), message, stage: ErrorStage::Llm };
        self.model_failed(now, error);
    }

    /// Words about it end the turn; what the model left unfinished is not spoken.
    fn model_failed(&mut self, now: Instant, error: CallError) {
        self.failures += 1;
        let last = self.failures >= self.config.failures_max;
        let texts = &self.config.texts;
        let text = if last { texts.failure_goodbye.clone() } else { texts.llm_apology.clone() };
        if let Agent::Replying(reply) = &mut self.agent {
            reply.error = Some(error);
            let _unspoken = reply.segmenter.flush();
            if last {
                reply.then = After::Hangup(EndReason::ProviderError);
                reply.interruptible = false;
            }
        }
        self.append_words(now, &text);
        self.end_of_speech(now);
    }

    /// Words for a wait that grows long. They belong to the turn's generation, so playback keeps
    /// their order, but not to its text.
    pub(super) fn say_filler(&mut self, now: Instant) {
        let Agent::Replying(reply) = &mut self.agent else { return };
        let fillers = &self.config.texts.fillers;
        let text = fillers.iter().cycle().nth(reply.fillers as usize).cloned();
        reply.fillers = (reply.fillers + 1).min(FILLERS_MAX);
        reply.quiet_since = now;
        if let Some(text) = text.filter(|t| words(t) > 0) {
            self.counters.fillers += 1;
            self.speak(now, &text, Kind::Filler);
        }
    }

    /// The transcript is so late that the wait needs a word: opens the turn that will answer it.
    pub(super) fn say_filler_before_transcript(&mut self, now: Instant, ledger: Ledger) {
        self.open_reply(now, TurnOrigin::Llm, Source::Transcript, ledger);
        self.say_filler(now);
    }
}
