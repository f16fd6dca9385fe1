//! Who or what answered an outbound call, and what is done about it.
//!
//! While that is judged the conversation has not begun: the agent neither greets nor answers. Words
//! and tones go to the judge; the turn machine starts when there is somebody to talk to.

use std::time::Instant;

use super::session::{Phase, Session};
use crate::audio::{CallToneDetector, mix};
use crate::media::event::FRAME_SAMPLES_MAX_G711;
use crate::net::clock;
use crate::turn::{Answerer, Answering, AnsweringConfig, AnsweringInput, Input, Machine, Verdict};
use crate::types::{AnsweredBy, Direction, EndReason, LineTone, Pii, TurnRole};

/// Requests to the recogniser from here on are the judge's: those of the turn machine count from 0.
const JUDGE_IDS_MIN: u32 = u32::MAX / 2;

/// What the model is told of a menu.
const MENU_NOTE: &str = "A phone menu answered this call, not a person. Press keys with the tool for it to reach \
    whom you want to speak to, or say what the menu asks for; greet when a person answers.";

/// Whether a final transcript answers a request that was made while it was judged who answered.
pub(super) fn is_of_judge(answers: Option<u32>) -> bool {
    answers.is_some_and(|id| id >= JUDGE_IDS_MIN)
}

/// What to do when an answering machine answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MachineAction {
    /// End the call.
    #[default]
    HangUp,
    /// Speak after the beep, then end the call.
    LeaveMessage,
    /// Talk as to a person.
    Continue,
}

/// What an agent does about machines that answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnsweringPolicy {
    /// At an answering machine.
    pub action: MachineAction,
    /// What is left there; empty: the greeting.
    pub message: String,
    /// Whether a phone menu is talked to; else the call ends.
    pub navigates_menus: bool,
}

/// A judgement under way.
pub(super) struct Judging {
    policy: AnsweringPolicy,
    judge: Answering,
    tones: CallToneDetector,
    heard: String,
    /// Taken for a person: the conversation runs.
    talks: bool,
    /// Number of the next request to the recogniser.
    finalize_id: u32,
}

impl Judging {
    /// When the judge wants to be asked again.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.judge.next_wake()
    }

    /// Tones of machines in 20 ms of a line of either rate: all of them lie below 4 kHz.
    fn push(&mut self, samples: &[i16]) -> Option<LineTone> {
        let mut narrow = [0; FRAME_SAMPLES_MAX_G711];
        if samples.len() <= narrow.len() {
            return self.tones.push(samples);
        }
        mix::halved(samples, &mut narrow);
        self.tones.push(&narrow)
    }
}

impl Session {
    /// Begins to judge who answered, where the agent wants to know.
    pub(super) fn begin_judging(&mut self) -> bool {
        if self.journal.record().direction != Direction::Outbound {
            return false;
        }
        let Some(policy) = self.agent.facts.answering.clone() else { return false };
        let language = self.agent.facts.stt_language.as_ref().unwrap_or(&self.agent.language);
        let config = AnsweringConfig { language: language.clone(), ..AnsweringConfig::default() };
        let mut judge = Answering::new(config);
        judge.handle(clock::now(), AnsweringInput::Answered);
        self.judging = Some(Judging {
            policy,
            judge,
            tones: CallToneDetector::new(),
            heard: String::new(),
            talks: false,
            finalize_id: JUDGE_IDS_MIN,
        });
        true
    }

    /// Takes 20 ms of the other side's audio.
    pub(super) fn judge_sound(&mut self, samples: &[i16]) {
        let Some(judging) = &mut self.judging else { return };
        let now = clock::now();
        if judging.judge.is_done(now) {
            self.judging = None;
        } else if let Some(tone) = judging.push(samples) {
            self.judge(now, AnsweringInput::Tone(tone));
        }
    }

    /// Tells the judge, if there is one, and does what follows from its verdict.
    pub(super) fn judge(&mut self, now: Instant, input: AnsweringInput<'_>) {
        let Some(judging) = &mut self.judging else { return };
        match &input {
            // The turn machine sees to the recogniser.
            _ if judging.talks => {}
            AnsweringInput::SpeechStarted { .. } => self.voice.speech_started(),
            AnsweringInput::SpeechEnded { .. } => {
                self.voice.finalize(judging.finalize_id);
                judging.finalize_id = judging.finalize_id.saturating_add(1);
            }
            AnsweringInput::Final(text) if !text.is_empty() => {
                if !judging.heard.is_empty() {
                    judging.heard.push(' ');
                }
                judging.heard.push_str(text);
            }
            _ => {}
        }
        if let Some(verdict) = judging.judge.handle(now, input) {
            self.judged(now, verdict);
        }
    }

    /// Somebody decided otherwise: the conversation begins.
    pub(super) fn stop_judging(&mut self) {
        self.begin_talk();
        self.judging = None;
    }

    fn judged(&mut self, now: Instant, verdict: Verdict) {
        let Verdict { answerer, reason, after } = verdict;
        let id = self.journal.record().id;
        tracing::info!(call.id = %id, answerer = answerer.label(), reason = reason.label(), after_ms = after.as_millis(), "judged who answered");
        self.journal.edit().answered_by = Some(match answerer {
            Answerer::Human => AnsweredBy::Human,
            Answerer::MachineGreeting | Answerer::MachineBeep => AnsweredBy::Voicemail,
            Answerer::Ivr => AnsweredBy::Ivr,
            Answerer::Screening => AnsweredBy::Screening,
            Answerer::Carrier | Answerer::Fax | Answerer::Unknown => AnsweredBy::Unknown,
        });
        self.journal.save();
        let Some(judging) = &self.judging else { return };
        let (action, navigates) = (judging.policy.action, judging.policy.navigates_menus);
        match (answerer, action) {
            (Answerer::MachineGreeting | Answerer::MachineBeep, MachineAction::HangUp) => {
                self.hang_up(EndReason::Voicemail);
            }
            // Its beep is waited for.
            (Answerer::MachineGreeting, MachineAction::LeaveMessage) => {}
            (Answerer::MachineBeep, MachineAction::LeaveMessage) => self.leave_message(now),
            (Answerer::Ivr, MachineAction::HangUp | MachineAction::LeaveMessage) if !navigates => {
                self.hang_up(EndReason::Ivr);
            }
            (Answerer::Carrier | Answerer::Fax, _) => self.hang_up(EndReason::Unreachable),
            // Its beep would tell that it is a machine.
            (Answerer::Human, _) => self.begin_talk(),
            (Answerer::Ivr, _) => self.begin_menu(now),
            (
                Answerer::Screening
                | Answerer::Unknown
                | Answerer::MachineGreeting
                | Answerer::MachineBeep,
                _,
            ) => self.stop_judging(),
        }
    }

    /// The conversation begins as if the call were answered now; the model knows what was heard so far.
    fn begin_talk(&mut self) {
        let Some(judging) = self.judging.as_mut().filter(|judging| !judging.talks) else { return };
        judging.talks = true;
        let heard = std::mem::take(&mut judging.heard);
        if self.phase != Phase::Live {
            return;
        }
        self.tell(Input::Answered);
        self.inject(TurnRole::User, heard, false);
    }

    /// A menu is not greeted: the model knows what listens, and answers what it heard so far.
    fn begin_menu(&mut self, now: Instant) {
        let Some(judging) = self.judging.take() else { return };
        if judging.talks || self.phase != Phase::Live {
            return;
        }
        let mut config = self.agent.turn_config();
        config.greeting.text.clear();
        config.greeting.generated = false;
        self.machine = Machine::new(config, now);
        self.tell(Input::Answered);
        self.inject(TurnRole::System, MENU_NOTE.to_owned(), false);
        self.inject(TurnRole::User, judging.heard, true);
    }

    /// Words for the model.
    fn inject(&mut self, role: TurnRole, text: String, respond: bool) {
        if !text.is_empty() {
            self.tell(Input::Inject { role, text: Pii::new(text), respond });
        }
    }

    /// Words from before the conversation that come when it runs: known to the model, not a turn to answer.
    pub(super) fn heard_before_talk(&mut self, text: Pii<String>) {
        let talks = self.judging.as_ref().is_none_or(|judging| judging.talks);
        if talks {
            self.inject(TurnRole::User, text.into_inner(), false);
        }
    }

    /// Speaks to the machine that listens now, then ends the call.
    fn leave_message(&mut self, now: Instant) {
        let Some(judging) = self.judging.take() else { return };
        let mut config = self.agent.turn_config();
        let greeting = std::mem::take(&mut config.greeting.text);
        let message = Some(judging.policy.message).filter(|text| !text.trim().is_empty());
        let message = Some(Pii::new(message.unwrap_or(greeting)));
        if !judging.talks {
            // A turn machine that greets nobody. The one it replaces has not begun.
            config.greeting.generated = false;
            self.machine = Machine::new(config, now);
            self.tell(Input::Answered);
        }
        let end = Input::End { message, reason: EndReason::Voicemail };
        self.tell(end);
    }
}

#[cfg(test)]
mod tests;
