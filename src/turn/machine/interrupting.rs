//! Barge-in: the agent yields at the first sign of speech, and stops when it is sure that the caller
//! wants the floor; if they did not, it goes on from the same sample.

use std::time::{Duration, Instant};

use super::{Agent, Machine, Output, Source};
use crate::turn::completeness::{is_acknowledgement, is_echo, is_interruption};
use crate::turn::config::Yield;
use crate::turn::endpointing::Caller;
use crate::turn::interruption::{Interruption, Verdict, words};
use crate::turn::ledger::Mark;

/// Longest time the agent yields without a decision: noise that never ends must not silence it.
const YIELD_MAX: Duration = Duration::from_secs(3);

/// How late an end of speech is told at most on a clear line, with VAD's usual settings: speech that goes
/// on for so much longer than asked was voiced for as long as asked.
const SPEECH_END_REPORT: Duration = Duration::from_millis(300);

/// While the agent pauses, a longer wait for words costs nobody anything, and the longest "mm-hm" is over
/// by then, for recognisers that say nothing before the end of speech.
const PAUSE_PATIENCE: Duration = Duration::from_millis(1_000);

/// Times the agent yields in one turn without being interrupted; a line that goes on making such
/// sounds no longer makes it stutter.
const FALSE_YIELDS_MAX: u32 = 3;

/// The agent's voice is held back since this moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Yielded {
    pub(super) since: Instant,
}

impl Machine {
    /// Stops the agent if the policy says so, else lets it yield until that is decided.
    pub(super) fn consider_barge_in(&mut self, now: Instant, onset: Instant) {
        match self.judge_barge_in(now) {
            Some(Verdict::Interrupt) => self.barge_in(now, onset),
            Some(Verdict::At(_) | Verdict::Keep) => {
                self.yield_floor(now);
                self.reconsider_yield(now);
            }
            None => {}
        }
    }

    pub(super) fn judge_barge_in(&self, now: Instant) -> Option<Verdict> {
        let Agent::Replying(reply) = &self.agent else { return None };
        if !reply.interruptible {
            return None;
        }
        let (utterance, speaking) = match &self.caller {
            Caller::Quiet => return None,
            Caller::Speaking(utterance) => (utterance, true),
            Caller::Pausing(pause) => (&pause.utterance, false),
        };
        let barge_in = &self.config.barge_in;
        let (policy, language) = (barge_in.policy(), self.config.language.as_str());
        let text = utterance.text();
        let count = words(&text);
        if barge_in.tentative == Yield::Off {
            let decides = speaking || matches!(policy, Interruption::MinWords { .. });
            return decides.then(|| policy.judge(now, utterance.speech_onset, count));
        }
        let idle =
            count > 0 && (is_acknowledgement(&text, language) || is_echo(&text, &reply.content));
        Some(match policy {
            Interruption::Off => Verdict::Keep,
            _ if idle => Verdict::Keep,
            Interruption::MinWords { n } => {
                let enough = count >= n as usize || is_interruption(&text, language);
                if enough { Verdict::Interrupt } else { Verdict::Keep }
            }
            Interruption::AnySpeech { .. } if count > 0 => Verdict::Interrupt,
            Interruption::AnySpeech { .. } if speaking => {
                let patience = match (reply.yielded, barge_in.tentative) {
                    (None, _) => Duration::ZERO,
                    (Some(_), Yield::Pause) => PAUSE_PATIENCE,
                    (Some(_), _) => SPEECH_END_REPORT,
                };
                policy.judge(now, utterance.speech_onset + patience, count)
            }
            Interruption::AnySpeech { .. } => Verdict::Keep,
        })
    }

    /// The first sign of speech: the agent's voice is held back, and nothing of it is lost.
    pub(super) fn yield_floor(&mut self, now: Instant) {
        let tentative = self.config.barge_in.tentative;
        let enabled = self.config.barge_in.enabled && tentative != Yield::Off;
        let Caller::Speaking(utterance) = &self.caller else { return };
        let onset = utterance.speech_onset;
        let Agent::Replying(reply) = &mut self.agent else { return };
        let may = enabled && reply.interruptible && reply.audible && reply.yielded.is_none();
        if !may || reply.false_yields >= FALSE_YIELDS_MAX || reply.resumed_from >= Some(onset) {
            return;
        }
        reply.yielded = Some(Yielded { since: now });
        let generation = reply.generation;
        self.counters.yields += 1;
        self.emit(Output::YieldPlayback { generation, how: tentative });
    }

    /// Lets a yielding agent go on when the caller did not want the floor.
    pub(super) fn reconsider_yield(&mut self, now: Instant) {
        let Some(until) = self.yields_until() else { return };
        let answered = match &self.caller {
            Caller::Quiet => true,
            Caller::Speaking(_) => false,
            Caller::Pausing(pause) => pause.answered.is_some() || pause.utterance.error.is_some(),
        };
        if answered || now >= until {
            self.resume_agent(now);
        }
    }

    /// When a yielding agent goes on, if nothing decides before.
    pub(super) fn yields_until(&self) -> Option<Instant> {
        let Agent::Replying(reply) = &self.agent else { return None };
        let Yielded { since } = reply.yielded?;
        let wait = Duration::from_millis(self.config.barge_in.resume_ms.into());
        Some(match &self.caller {
            Caller::Quiet => since,
            Caller::Speaking(_) => since + YIELD_MAX,
            Caller::Pausing(pause) => (pause.last_voiced + wait).min(since + YIELD_MAX),
        })
    }

    fn resume_agent(&mut self, now: Instant) {
        let onset = self.caller.utterance_mut().map(|utterance| utterance.speech_onset);
        let Agent::Replying(reply) = &mut self.agent else { return };
        if reply.yielded.take().is_none() {
            return;
        }
        reply.false_yields += 1;
        reply.resumed_from = reply.resumed_from.max(onset);
        reply.quiet_since = now;
        reply.tts_since = now;
        let generation = reply.generation;
        self.counters.resumes += 1;
        self.figures.false_interruptions = self.figures.false_interruptions.saturating_add(1);
        self.emit(Output::ResumePlayback { generation });
    }

    fn barge_in(&mut self, now: Instant, onset: Instant) {
        let Agent::Replying(reply) = &self.agent else { return };
        self.counters.barge_ins += 1;
        let decided = reply.ledger.get(Mark::E);
        let continues = !reply.audible && reply.source != Source::Transcript;
        let counted = reply.source == Source::Transcript;
        let voiced = reply.ledger.get(Mark::S);
        if !counted && decided.is_some_and(|e| onset <= e + super::FALSE_ENDPOINT_WINDOW) {
            self.count_false_endpoint();
            if let Some(pause) = voiced.and_then(|s| onset.checked_duration_since(s)) {
                self.pauses.learn(pause);
            }
        }
        // While nothing of the reply was heard, the caller still speaks the same turn.
        let fresh = self.caller.utterance_mut().is_some_and(|u| u.turn.is_none());
        let earlier = if continues && fresh { self.committed.take() } else { None };
        self.stop_agent(now, Some(onset));
        if let Some(utterance) = self.caller.utterance_mut() {
            utterance.interrupted_agent = true;
            if let Some(committed) = earlier {
                let known = !committed.utterance.text().is_empty();
                utterance.prepend(committed.utterance);
                if known {
                    self.transcript.retract_user();
                }
            }
        }
    }
}
