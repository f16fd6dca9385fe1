//! The caller: speech, transcripts, keys, and the decision to answer.

use std::time::{Duration, Instant};

use super::{
    Agent, Committed, DIGITS_MAX, Digits, FALSE_ENDPOINT_WINDOW, LATE_TRANSCRIPT_MAX, Machine,
    ONSET_REPORT_DELAY_MAX, Output, Reply, Saying, Source, ms,
};
use crate::turn::completeness::is_echo;
use crate::turn::config::{EndpointingMode, TurnConfig};
use crate::turn::endpointing::{Caller, Endpoint, Known, Pause, Utterance};
use crate::turn::interruption::Interruption;
use crate::turn::ledger::{Ledger, Mark};
use crate::types::call::{CallError, TurnOrigin, TurnRole};
use crate::types::{Pii, TurnId, TurnRecord, TurnSignal};

/// A final transcript, as the input carries it.
pub(super) struct Final {
    pub(super) text: Pii<String>,
    pub(super) confidence: Option<f32>,
    pub(super) answers: Option<u32>,
    pub(super) understood: bool,
    pub(super) at: Instant,
}

impl Machine {
    pub(super) fn speech_started(&mut self, now: Instant, onset: Instant) {
        if matches!(self.caller, Caller::Speaking(_)) {
            self.counters.ignored += 1;
            return;
        }
        self.emit(Output::SttSpeechStarted);
        self.idle_since = now;
        self.caller = match std::mem::replace(&mut self.caller, Caller::Quiet) {
            Caller::Quiet => {
                self.drafts = 0;
                Caller::Speaking(Utterance::new(onset, self.next_finalize))
            }
            Caller::Speaking(utterance) => Caller::Speaking(utterance),
            Caller::Pausing(pause) => {
                if pause.decided.is_some_and(|e| onset <= e + FALSE_ENDPOINT_WINDOW) {
                    self.count_false_endpoint();
                }
                // A decision that is revised later is no pause of the caller's.
                self.pauses.learn(onset.saturating_duration_since(pause.last_voiced));
                let mut utterance = pause.utterance;
                utterance.speech_onset = onset;
                (utterance.likely_over, utterance.over) = (false, None);
                Caller::Speaking(utterance)
            }
        };
        self.consider_barge_in(now, onset);
    }

    /// The finalize request leaves at once, beside the end-of-turn wait.
    pub(super) fn speech_ended(&mut self, now: Instant, last_voiced: Instant) {
        if !matches!(self.caller, Caller::Speaking(_)) {
            self.counters.ignored += 1;
            return;
        }
        let Caller::Speaking(utterance) = std::mem::replace(&mut self.caller, Caller::Quiet) else {
            return;
        };
        let finalize = self.next_finalize;
        self.next_finalize += 1;
        // A recogniser that decides by itself must not be pushed to a decision.
        if self.config.endpointing.mode != EndpointingMode::Stt {
            self.emit(Output::FinalizeStt { id: finalize });
        }
        let last_voiced = last_voiced.max(utterance.onset);
        self.caller = Caller::Pausing(Pause::new(utterance, last_voiced, finalize));
        self.consider_draft(now);
    }

    pub(super) fn stt_partial(&mut self, now: Instant, text: Pii<String>) {
        self.emit(Output::Partial(text.clone()));
        let Some(utterance) = self.caller.utterance_mut() else {
            self.counters.ignored += 1;
            return;
        };
        let before = utterance.text();
        utterance.set_partial(text.reveal());
        let onset = utterance.speech_onset;
        if utterance.text() != before {
            self.words_changed(now);
        }
        self.consider_barge_in(now, onset);
    }

    pub(super) fn stt_final(&mut self, now: Instant, heard: Final) {
        let answers = match &self.caller {
            Caller::Quiet | Caller::Speaking(_) => false,
            Caller::Pausing(pause) => heard.answers == Some(pause.finalize),
        };
        if self.late_final(now, &heard) {
            return;
        }
        let late = self.config.late_transcripts;
        let Some(utterance) = self.caller.utterance_mut() else {
            self.words_without_speech(now, heard);
            return;
        };
        if !late && heard.answers.is_some_and(|id| id < utterance.finalize_from) {
            self.counters.late_finals += 1;
            return;
        }
        utterance.push_final(heard.text.reveal(), heard.confidence, heard.understood);
        let onset = utterance.speech_onset;
        if answers && let Caller::Pausing(pause) = &mut self.caller {
            pause.answered = Some(heard.at);
        }
        self.words_changed(now);
        self.consider_barge_in(now, onset);
        if answers {
            self.consider_draft(now);
        }
    }

    /// What the caller said so far is more, or different.
    fn words_changed(&mut self, now: Instant) {
        let (asked, language) = (self.asked, self.config.language.as_str());
        if let Some(utterance) = self.caller.utterance_mut() {
            utterance.judge(now, asked, language);
        }
        self.open_user_turn();
        self.check_draft();
    }

    /// The recogniser's opinion counts where the settings let it; speech that VAD still hears goes on,
    /// unless the recogniser alone decides.
    pub(super) fn stt_turn(&mut self, now: Instant, signal: TurnSignal, at: Instant) {
        let alone = self.config.endpointing.mode == EndpointingMode::Stt;
        let speaking = matches!(self.caller, Caller::Speaking(_));
        let Some(utterance) = self.caller.utterance_mut() else { return };
        match signal {
            TurnSignal::Started | TurnSignal::Resumed => {
                (utterance.likely_over, utterance.over) = (false, None);
            }
            TurnSignal::LikelyOver => utterance.likely_over = true,
            TurnSignal::Over => utterance.over = Some(at),
        }
        if signal == TurnSignal::Over && alone && speaking {
            self.speech_ended(now, at);
        }
        if let (TurnSignal::Over, Caller::Pausing(pause)) = (signal, &mut self.caller)
            && !pause.utterance.text().is_empty()
        {
            // The words of an ended turn came before its end: nothing is missing.
            pause.answered.get_or_insert(at);
        }
        if matches!(signal, TurnSignal::LikelyOver | TurnSignal::Over) {
            self.consider_draft(now);
        }
    }

    /// The recogniser heard what VAD did not. While the agent is silent it counts as an utterance, unless
    /// it is what the agent said last, come back late; the answer to an old finalize request is late.
    fn words_without_speech(&mut self, now: Instant, heard: Final) {
        let agent_silent = matches!(self.agent, Agent::Silent);
        let text = heard.text.reveal();
        let echo = is_echo(text, self.transcript.last_said());
        // A model that hears the caller itself answers to speech, not to words.
        let is_late = heard.answers.is_some() || self.config.late_transcripts;
        if is_late || !agent_silent || text.trim().is_empty() || echo {
            self.counters.late_finals += 1;
            return;
        }
        let mut utterance = Utterance::new(now, self.next_finalize);
        utterance.push_final(heard.text.reveal(), heard.confidence, heard.understood);
        let mut pause = Pause::new(utterance, now, u32::MAX);
        pause.answered = Some(heard.at);
        self.caller = Caller::Pausing(pause);
        self.words_changed(now);
    }

    pub(super) fn stt_failed(&mut self, now: Instant, error: CallError) {
        self.failures += 1;
        if self.failures >= self.config.failures_max {
            self.give_up(now);
        } else if let Some(utterance) = self.caller.utterance_mut() {
            // What was recognised so far is answered; without any, the apology comes in its place.
            utterance.error = Some(error);
        } else {
            self.apology_due = Some(error);
        }
    }

    fn open_user_turn(&mut self) {
        let Some(utterance) = self.caller.utterance_mut() else { return };
        if utterance.turn.is_some() || utterance.text().is_empty() {
            return;
        }
        let turn = self.open_turn(TurnRole::User, TurnOrigin::User);
        if let Some(utterance) = self.caller.utterance_mut() {
            utterance.turn = Some(turn);
        }
    }

    pub(super) fn count_false_endpoint(&mut self) {
        self.counters.false_endpoints += 1;
        self.figures.false_endpoints = self.figures.false_endpoints.saturating_add(1);
    }

    /// Answers a finished utterance, if there is one and the agent's floor is free.
    pub(super) fn try_commit(&mut self, now: Instant) {
        if self.digits.is_some() {
            return;
        }
        let Caller::Pausing(pause) = &mut self.caller else { return };
        let known = Known { config: &self.config, pauses: self.pauses };
        let Endpoint::Over { decided } = pause.decide(now, known) else { return };
        match &self.agent {
            Agent::Stopping { .. } => return,
            Agent::Replying(reply) if reply.source != Source::Transcript => {
                if is_backchannel(reply, pause, &self.config) {
                    self.drop_backchannel();
                }
                return;
            }
            Agent::Replying(_) | Agent::Silent => {}
        }
        let Caller::Pausing(pause) = std::mem::replace(&mut self.caller, Caller::Quiet) else {
            return;
        };
        self.idle_since = now;
        // A transcript that nothing waited for is no part of the wait.
        let transcript = pause.answered.filter(|_| !self.config.late_transcripts);
        let mut ledger = Ledger::answering(pause.last_voiced, decided, transcript);
        if pause.finalize == u32::MAX {
            // No VAD edge, so no S: the moment of the words is the trigger.
            ledger = Ledger::triggered(pause.last_voiced);
        }
        if pause.utterance.text().is_empty() && self.knows_words(&pause) {
            self.nothing_understood(now, pause, ledger);
        } else {
            self.commit(now, pause, ledger);
        }
    }

    fn commit(&mut self, now: Instant, pause: Pause, ledger: Ledger) {
        let written = self.knows_words(&pause);
        let Pause { mut utterance, last_voiced, finalize, .. } = pause;
        utterance.settle();
        let text = utterance.text();
        let turn = match utterance.turn {
            Some(turn) => turn,
            None => self.open_turn(TurnRole::User, TurnOrigin::User),
        };
        utterance.turn = Some(turn);
        let record =
            self.user_record(turn, TurnOrigin::User, &text, (utterance.onset, last_voiced));
        let record = TurnRecord {
            confidence: utterance.confidence(),
            error: utterance.error.clone(),
            ..record
        };
        self.close_committed();
        self.transcript.push(TurnRole::User, &text);
        self.repeats = 0;
        self.prompts = 0;
        let decided = ledger.get(Mark::E).unwrap_or(now);
        let until = decided + FALSE_ENDPOINT_WINDOW + ONSET_REPORT_DELAY_MAX;
        let latest = decided + LATE_TRANSCRIPT_MAX;
        utterance.error = None;
        self.committed = Some(Committed { record, utterance, until, finalize, written, latest });
        match self.take_draft(&text) {
            Some(draft) => self.adopt(now, draft, &ledger),
            None => self.start_reply(now, ledger),
        }
    }

    /// Speech without words: asks again, a limited number of times in a row.
    fn nothing_understood(&mut self, now: Instant, pause: Pause, ledger: Ledger) {
        let utterance = pause.utterance;
        self.close_user_turn(&utterance, pause.last_voiced);
        let waiting = matches!(self.agent, Agent::Replying(_));
        let texts = &self.config.texts;
        let saying = match &utterance.error {
            Some(_) => Saying::new(&texts.stt_apology, TurnOrigin::Apology),
            None => Saying::new(&texts.repeat, TurnOrigin::Apology),
        };
        let unanswered = pause.answered.is_none();
        let owed = utterance.unclear() || unanswered || utterance.interrupted_agent || waiting;
        if !owed || (self.repeats >= self.config.repeat_max && !waiting) {
            return;
        }
        self.repeats += 1;
        self.start_saying(now, saying, ledger, utterance.error);
    }

    fn drop_backchannel(&mut self) {
        self.counters.backchannels += 1;
        if let Caller::Pausing(pause) = std::mem::replace(&mut self.caller, Caller::Quiet) {
            self.close_user_turn(&pause.utterance, pause.last_voiced);
        }
    }

    /// Closes the user turn of an utterance that is not answered, if it was opened.
    pub(super) fn close_user_turn(&mut self, utterance: &Utterance, end: Instant) {
        let Some(turn) = utterance.turn else { return };
        let text = utterance.text();
        let record = self.user_record(turn, TurnOrigin::User, &text, (utterance.onset, end));
        let record = TurnRecord {
            confidence: utterance.confidence(),
            error: utterance.error.clone(),
            ..record
        };
        self.emit(Output::TurnEnded(Box::new(record)));
    }

    /// The user turn before the reply can no longer be continued.
    pub(super) fn close_committed(&mut self) {
        if let Some(committed) = self.committed.take() {
            self.emit(Output::TurnEnded(Box::new(committed.record)));
        }
    }

    pub(super) fn user_record(
        &self,
        turn: TurnId,
        origin: TurnOrigin,
        text: &str,
        (start, end): (Instant, Instant),
    ) -> TurnRecord {
        TurnRecord {
            id: turn,
            role: TurnRole::User,
            origin,
            content: Pii::new(text.to_owned()),
            spoken_content: None,
            interrupted: false,
            offset_ms: self.offset_ms(start),
            duration_ms: ms(end.saturating_duration_since(start)),
            confidence: None,
            latency: None,
            error: None,
            tool: None,
            failovers: Vec::new(),
        }
    }

    /// A key: stops the agent like speech does, and is collected with those that follow.
    pub(super) fn digit(&mut self, now: Instant, digit: char) {
        let digit = digit.to_ascii_uppercase();
        if !matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D') {
            self.counters.ignored += 1;
            return;
        }
        self.idle_since = now;
        if matches!(&self.agent, Agent::Replying(reply) if reply.interruptible) {
            self.stop_agent(now, None);
        }
        self.drop_draft();
        self.close_committed();
        let wait = Duration::from_millis(self.config.dtmf_wait_ms.into());
        let digits =
            self.digits.get_or_insert(Digits { text: String::new(), first: now, due: now });
        let complete = digit == '#' && !digits.text.is_empty();
        if digits.text.len() >= DIGITS_MAX {
            self.counters.ignored += 1;
        } else if !complete {
            digits.text.push(digit);
        }
        let full = digits.text.len() >= DIGITS_MAX;
        digits.due = if complete || full { now } else { now + wait };
    }

    /// Answers the keys, once they are complete and the agent's floor is free. They end the caller's
    /// turn: what was said before them belongs to it.
    pub(super) fn try_digits(&mut self, now: Instant) {
        if !matches!(self.agent, Agent::Silent) || self.digits.as_ref().is_none_or(|d| d.due > now)
        {
            return;
        }
        let Some(digits) = self.digits.take() else { return };
        self.idle_since = now;
        self.prompts = 0;
        self.end_with_digits(now);
        let text = format!("pressed {}", digits.text);
        let turn = self.open_turn(TurnRole::User, TurnOrigin::Dtmf);
        let record = self.user_record(turn, TurnOrigin::Dtmf, &text, (digits.first, now));
        self.emit(Output::TurnEnded(Box::new(record)));
        self.transcript.push(TurnRole::User, &text);
        self.start_reply(now, Ledger::triggered(now));
    }
}

impl Machine {
    /// What the caller said before they pressed keys, as a turn of its own that the keys answer for.
    fn end_with_digits(&mut self, now: Instant) {
        let (utterance, end) = match std::mem::replace(&mut self.caller, Caller::Quiet) {
            Caller::Quiet => return,
            Caller::Speaking(utterance) => (utterance, now),
            Caller::Pausing(pause) => (pause.utterance, pause.last_voiced),
        };
        self.close_user_turn(&utterance, end);
        self.transcript.push(TurnRole::User, &utterance.text());
    }
}

/// Whether words under the agent's need no answer: the policy let them pass, or there are none.
/// Those that the agent's turn began over, or that could not interrupt it, are answered after it.
pub(super) fn is_backchannel(reply: &Reply, pause: &Pause, config: &TurnConfig) -> bool {
    let listens = reply.interruptible && config.barge_in.policy() != Interruption::Off;
    let utterance = &pause.utterance;
    let under = utterance.speech_onset >= reply.started;
    let knows = !config.late_transcripts || pause.answered.is_some();
    (listens && under) || (knows && utterance.text().is_empty())
}
