//! Everything that happens because time passed.

use std::time::{Duration, Instant};

use super::listening::is_backchannel;
use super::{
    After, Agent, FILLERS_MAX, LAST_WORDS_MAX, Machine, PLAYBACK_STALL_MAX, Phase, Saying, Source,
    TOLD_PATIENCE,
};
use crate::turn::endpointing::{Caller, Known};
use crate::turn::interruption::Verdict;
use crate::turn::ledger::Ledger;
use crate::types::EndReason;
use crate::types::call::{CallError, ErrorStage, TurnOrigin};

/// What a timer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Greeting,
    MaxDuration,
    Stopping,
    Committed,
    BargeIn,
    Resume,
    UtteranceMax,
    Endpoint,
    TranscriptFiller,
    Digits,
    Filler,
    ReplyTimeout,
    TtsTimeout,
    PlaybackStall,
    LastWords,
    Inactivity,
}

/// Timers one input may set off, one after the other. More are left to the next wake.
const TIMERS_PER_INPUT_MAX: usize = 16;

impl Machine {
    /// When [`super::Input::Timeout`] is to be handled, if nothing else comes before.
    pub fn next_wake(&self) -> Option<Instant> {
        self.timers().into_iter().flatten().map(|(at, _)| at).min()
    }

    /// Runs what is due, then lets waiting work take a free floor.
    pub(super) fn run_timers(&mut self, now: Instant) {
        for _ in 0..TIMERS_PER_INPUT_MAX {
            self.next_up(now);
            let due = self.timers().into_iter().flatten().filter(|(at, _)| *at <= now);
            let Some((_, timer)) = due.min_by_key(|(at, _)| *at) else { return };
            self.fire(now, timer);
        }
    }

    /// The floor is free: what waited for it goes first to last.
    fn next_up(&mut self, now: Instant) {
        let Phase::Live { .. } = self.phase else { return };
        if !matches!(self.agent, Agent::Silent) {
            return;
        }
        self.try_commit(now);
        self.try_digits(now);
        if !matches!(self.agent, Agent::Silent) || !self.caller.is_quiet() || self.digits.is_some()
        {
            return;
        }
        if let Some(error) = self.apology_due.take() {
            let saying = Saying::new(&self.config.texts.stt_apology, TurnOrigin::Apology);
            self.start_saying(now, saying, Ledger::triggered(now), Some(error));
        } else if let Some(saying) = self.sayings.pop_front() {
            self.start_saying(now, saying, Ledger::triggered(now), None);
        } else if std::mem::take(&mut self.respond_due) {
            self.start_reply(now, Ledger::triggered(now));
        }
    }

    fn fire(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::MaxDuration => {
                let text = self.config.texts.max_duration_goodbye.clone();
                self.last_words(now, &text, EndReason::MaxDuration);
            }
            Timer::Greeting => self.greet(),
            Timer::Stopping => self.finish_stopping(now),
            Timer::Committed => self.settle_committed(now),
            Timer::BargeIn => {
                if let Caller::Speaking(utterance) = &self.caller {
                    self.consider_barge_in(now, utterance.speech_onset);
                }
            }
            Timer::Resume => self.reconsider_yield(now),
            Timer::UtteranceMax => self.speech_ended(now, now),
            Timer::Endpoint => self.try_commit(now),
            Timer::TranscriptFiller => self.transcript_filler(now),
            Timer::Digits => self.try_digits(now),
            Timer::Filler => self.say_filler(now),
            Timer::ReplyTimeout => self.reply_timed_out(now),
            Timer::TtsTimeout => self.tts_timed_out(now),
            Timer::PlaybackStall => {
                self.counters.stalls += 1;
                self.finish_reply(now);
            }
            Timer::LastWords => {
                self.counters.stalls += 1;
                self.finish_reply(now);
            }
            Timer::Inactivity => self.inactive(now),
        }
    }

    fn timers(&self) -> [Option<(Instant, Timer)>; 11] {
        let Phase::Live { answered } = self.phase else { return [None; 11] };
        let config = &self.config;
        let max_duration = answered + Duration::from_millis(config.max_duration_ms);
        let mut timers = [None; 11];
        let agent = self.agent_timers();
        let caller = self.caller_timers();
        let rest = [
            (!self.ending()).then_some((max_duration, Timer::MaxDuration)),
            self.committed.as_ref().map(|c| (c.until, Timer::Committed)),
            self.greeting_due.map(|at| (at, Timer::Greeting)),
            self.inactivity_timer(),
        ];
        let all = agent.into_iter().chain(caller).chain(rest);
        for (slot, timer) in timers.iter_mut().zip(all) {
            *slot = timer;
        }
        timers
    }

    fn agent_timers(&self) -> [Option<(Instant, Timer)>; 4] {
        let config = &self.config;
        let reply = match &self.agent {
            Agent::Silent => return [None; 4],
            Agent::Stopping { until, .. } => {
                return [Some((*until, Timer::Stopping)), None, None, None];
            }
            Agent::Replying(reply) => reply,
        };
        if let Some(until) = self.yields_until() {
            // Nothing plays, so nothing can be late.
            return [Some((until, Timer::Resume)), None, None, None];
        }
        let outstanding = reply.heard.outstanding();
        let last_audio = reply.quiet_since.max(reply.tts_since);
        let filler = (reply.source != Source::Complete
            && !outstanding
            && reply.fillers < FILLERS_MAX
            && !config.texts.fillers.is_empty())
        .then(|| {
            let patience = match reply.source {
                Source::Tools { told: true, .. } => TOLD_PATIENCE,
                _ => 1,
            };
            let wait = config.filler_after_ms.saturating_mul(patience);
            (reply.quiet_since + millis(wait), Timer::Filler)
        });
        let model = match reply.source {
            Source::Model { alive } => {
                Some((alive + millis(config.reply_timeout_ms), Timer::ReplyTimeout))
            }
            Source::Tools { until, .. } => Some((until, Timer::ReplyTimeout)),
            Source::Transcript | Source::Complete => None,
        };
        let sound = if outstanding {
            Some((last_audio + millis(config.tts_timeout_ms), Timer::TtsTimeout))
        } else if reply.source == Source::Complete {
            Some((last_audio + PLAYBACK_STALL_MAX, Timer::PlaybackStall))
        } else {
            None
        };
        let last = matches!(reply.then, After::Hangup(_))
            .then(|| (reply.started + LAST_WORDS_MAX, Timer::LastWords));
        [filler, model, sound, last]
    }

    fn caller_timers(&self) -> [Option<(Instant, Timer)>; 3] {
        let config = &self.config;
        let digits = match (&self.digits, &self.agent) {
            (Some(digits), Agent::Silent) => Some((digits.due, Timer::Digits)),
            (Some(_) | None, _) => None,
        };
        match &self.caller {
            Caller::Quiet => [None, None, digits],
            Caller::Speaking(utterance) => {
                let max = utterance.speech_onset + millis(config.utterance_max_ms);
                let barge_in = match self.judge_barge_in(utterance.speech_onset) {
                    Some(Verdict::At(at)) => Some((at, Timer::BargeIn)),
                    Some(Verdict::Interrupt | Verdict::Keep) | None => None,
                };
                [Some((max, Timer::UtteranceMax)), barge_in, digits]
            }
            Caller::Pausing(pause) => {
                let free = match &self.agent {
                    Agent::Silent => true,
                    Agent::Replying(reply) => {
                        reply.source == Source::Transcript || pause.decided.is_none()
                    }
                    Agent::Stopping { .. } => pause.decided.is_none(),
                };
                let wait = pause.wait(Known { config, pauses: self.pauses });
                let at = wait.or(pause.decided).unwrap_or(pause.last_voiced);
                let blocked = !free && !self.backchannel_can_go();
                let blocked = blocked || self.digits.is_some();
                let endpoint = (!blocked).then_some((at, Timer::Endpoint));
                let filler = match (&self.agent, pause.decided) {
                    (Agent::Silent, Some(_)) if wait.is_some() => {
                        let quiet = self
                            .spoke_until
                            .map_or(pause.last_voiced, |agent| agent.max(pause.last_voiced));
                        Some((quiet + millis(config.filler_after_ms), Timer::TranscriptFiller))
                            .filter(|_| !config.texts.fillers.is_empty())
                    }
                    _ => None,
                };
                [endpoint, filler, digits]
            }
        }
    }

    /// Whether an utterance under the agent's words can be dropped or must wait for their end.
    fn backchannel_can_go(&self) -> bool {
        match (&self.agent, &self.caller) {
            (Agent::Replying(reply), Caller::Pausing(pause)) => {
                is_backchannel(reply, pause, &self.config)
            }
            _ => false,
        }
    }

    fn inactivity_timer(&self) -> Option<(Instant, Timer)> {
        let after = self.config.inactivity.prompt_after_ms;
        let quiet =
            matches!(self.agent, Agent::Silent) && self.caller.is_quiet() && self.digits.is_none();
        (quiet && after > 0 && !self.held)
            .then(|| (self.idle_since + millis(after), Timer::Inactivity))
    }

    fn inactive(&mut self, now: Instant) {
        self.idle_since = now;
        let inactivity = &self.config.inactivity;
        if self.prompts >= inactivity.max_prompts {
            let text = inactivity.goodbye.clone();
            self.last_words(now, &text, EndReason::Inactivity);
            return;
        }
        let texts = &inactivity.prompts;
        let text = texts.iter().cycle().nth(self.prompts as usize).cloned().unwrap_or_default();
        self.prompts += 1;
        let saying = Saying::new(&text, TurnOrigin::InactivityPrompt);
        self.start_saying(now, saying, Ledger::triggered(now), None);
    }

    fn transcript_filler(&mut self, now: Instant) {
        let Caller::Pausing(pause) = &self.caller else { return };
        let decided = pause.decided.unwrap_or(now);
        let ledger = Ledger::answering(pause.last_voiced, decided, None);
        self.say_filler_before_transcript(now, ledger);
    }

    fn tts_timed_out(&mut self, now: Instant) {
        let message = format!("no audio for {} ms", self.config.tts_timeout_ms);
        let error = CallError { code: "tts_timeout".to_owned(), message, stage: ErrorStage::Tts };
        self.tts_failed(now, self.generation, error);
    }
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}
