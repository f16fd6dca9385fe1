//! The conversation of one call as a machine: caller's floor, agent's floor and what is queued.
//!
//! *Handle one input, drain [`Machine::poll`] to `None`, sleep until [`Machine::next_wake`] and then
//! handle [`Input::Timeout`].* Files by verb: `listening` (the caller), `replying` (the model's
//! words), `speaking` (a model that speaks itself), `playback` (audio and the end of a turn), `commands` (the API and the end of the call),
//! `tools` (what runs beside), `timers`.
//!
//! At most one agent turn is open at a time, because `Agent` holds one; a new one begins only after
//! the old one is closed. Input about an older reply is counted and ignored.

mod commands;
mod drafting;
mod interrupting;
mod listening;
mod playback;
mod replying;
mod speaking;
mod timers;
mod tools;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::completeness::Asked;
use super::config::TurnConfig;
use super::endpointing::{Caller, Pauses, Utterance};
use super::event::{Delivery, Input, Output};
use super::heard::{Heard, Pace};
use super::ledger::{CallFigures, Ledger};
use super::sentence::Segmenter;
use super::transcript::Transcript;
use crate::types::call::{CallError, TurnOrigin, TurnRole};
use crate::types::{CallLatency, EndReason, Generation, Pii, TurnId, TurnRecord};

/// Characters of one reply: about half an hour of speech. What the model says beyond it is dropped.
const REPLY_CHARS_MAX: usize = 30_000;
/// `say` commands that wait for their turn; more are dropped and counted.
const SAY_QUEUE_MAX: usize = 8;
/// Keys of one entry: the longest card or account number with room; more keys end the entry.
const DIGITS_MAX: usize = 32;
/// Speech this soon after the end-of-turn decision means that the decision was wrong.
const FALSE_ENDPOINT_WINDOW: Duration = Duration::from_millis(1_000);
/// A transcript that nothing waits for is noted if it comes so soon after the decision.
const LATE_TRANSCRIPT_MAX: Duration = Duration::from_secs(5);
/// VAD reports an onset late by its own rule; the window stays open that much longer.
const ONSET_REPORT_DELAY_MAX: Duration = Duration::from_millis(300);
/// Playback stops within one frame; if its report is lost the turn closes with the last one before.
const STOP_REPORT_WAIT_MAX: Duration = Duration::from_millis(200);
/// Playback that has all its audio and reports no progress for this long is over. Reports come
/// every 100 ms.
const PLAYBACK_STALL_MAX: Duration = Duration::from_secs(5);
/// Longest time for last words, from their first moment: the call ends then in any case.
const LAST_WORDS_MAX: Duration = Duration::from_secs(120);
/// How much longer than usual the caller waits without a filler, once they were told that a tool runs.
const TOLD_PATIENCE: u32 = 4;
/// Fillers in one reply.
const FILLERS_MAX: u32 = 8;

/// Things that should be rare, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Input of an older reply or generation.
    pub stale: u64,
    /// Final transcripts after the wait for them had run out.
    pub late_finals: u64,
    /// Decisions after which the caller went on within a second.
    pub false_endpoints: u64,
    /// Caller speech that stopped the agent.
    pub barge_ins: u64,
    /// Short words during the agent's turn that the policy lets pass.
    pub backchannels: u64,
    /// Input that means nothing in the state it came in, or above a limit.
    pub ignored: u64,
    /// Fillers spoken because a reply was late.
    pub fillers: u64,
    /// Turns closed because playback reported nothing.
    pub stalls: u64,
    /// Times the agent's voice was held back because the caller might want the floor.
    pub yields: u64,
    /// Times it went on, because they did not.
    pub resumes: u64,
    /// Replies that were prepared before the turn was over, and used.
    pub draft_hits: u64,
    /// Replies that were prepared and dropped.
    pub draft_misses: u64,
}

/// The conversation core of one call.
#[derive(Debug)]
pub struct Machine {
    config: TurnConfig,
    out: VecDeque<Output>,
    phase: Phase,
    caller: Caller,
    agent: Agent,
    /// User turn whose record is not final: the caller may go on, and then it was not over.
    committed: Option<Committed>,
    digits: Option<Digits>,
    sayings: VecDeque<Saying>,
    /// A reply that is prepared while it is not sure that the caller is done.
    draft: Option<drafting::Draft>,
    /// Drafts for the caller's turn under way.
    drafts: u32,
    /// How this caller pauses.
    pauses: Pauses,
    /// What the agent's last words ask for.
    asked: Asked,
    respond_due: bool,
    apology_due: Option<CallError>,
    greeting_due: Option<Instant>,
    idle_since: Instant,
    /// When the agent's last turn ended.
    spoke_until: Option<Instant>,
    held: bool,
    prompts: u32,
    repeats: u32,
    failures: u32,
    tts_failures: u32,
    next_turn: u32,
    next_finalize: u32,
    generation: Generation,
    transcript: Transcript,
    pace: Pace,
    figures: CallFigures,
    counters: Counters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not answered yet.
    Ringing,
    /// Answered.
    Live { answered: Instant },
    /// Hangup was given out.
    Over,
}

#[derive(Debug)]
enum Agent {
    Silent,
    Replying(Box<Reply>),
    /// Told to stop; how much was played is not known yet.
    Stopping {
        reply: Box<Reply>,
        until: Instant,
        onset: Option<Instant>,
    },
}

/// An agent turn under way.
#[derive(Debug)]
struct Reply {
    turn: TurnId,
    generation: Generation,
    origin: TurnOrigin,
    source: Source,
    segmenter: Segmenter,
    heard: Heard,
    content: String,
    ledger: Ledger,
    interruptible: bool,
    then: After,
    started: Instant,
    /// The caller waits since then: the decision, and later the last sign of audio.
    quiet_since: Instant,
    /// Since when synthesis owes audio.
    tts_since: Instant,
    audible: bool,
    fillers: u32,
    error: Option<CallError>,
    by: Delivery,
    /// Its voice is held back: the caller may want the floor.
    yielded: Option<interrupting::Yielded>,
    /// Times it was held back for nothing.
    false_yields: u32,
    /// Onset of the speech after which it went on: the same speech does not hold it back again.
    resumed_from: Option<Instant>,
    /// The part of its own speech that the model is giving, and its place among the sentences.
    spoken: Option<(u32, u32)>,
}

/// Where the words come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The transcript is still missing; only a filler was said.
    Transcript,
    /// The model is at work; its last sign of life.
    Model { alive: Instant },
    /// Tools are at work; the model goes on afterwards.
    Tools {
        since: Instant,
        until: Instant,
        /// Whether the caller was told in words of its own.
        told: bool,
    },
    /// No further words: `EndOfSpeech` was given.
    Complete,
}

impl Source {
    /// Whether the model has not said its last word.
    fn is_model(self) -> bool {
        matches!(self, Self::Model { .. } | Self::Tools { .. })
    }
}

/// What follows the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Listen,
    /// The model wants to hang up; a caller who goes on talking prevents it.
    HangupUnlessInterrupted(EndReason),
    /// Nothing prevents it.
    Hangup(EndReason),
}

#[derive(Debug)]
struct Committed {
    record: TurnRecord,
    utterance: Utterance,
    until: Instant,
    /// The last finalize request that is about it.
    finalize: u32,
    /// Whether its words are known.
    written: bool,
    /// When it is closed without them.
    latest: Instant,
}

#[derive(Debug)]
struct Digits {
    text: String,
    first: Instant,
    due: Instant,
}

/// Fixed words.
#[derive(Clone, Debug)]
struct Saying {
    text: String,
    origin: TurnOrigin,
    interruptible: bool,
    then: After,
    by: Delivery,
}

impl Machine {
    /// A machine for a call that is not answered yet.
    pub fn new(config: TurnConfig, now: Instant) -> Self {
        Self {
            config,
            out: VecDeque::new(),
            phase: Phase::Ringing,
            caller: Caller::Quiet,
            agent: Agent::Silent,
            committed: None,
            digits: None,
            sayings: VecDeque::new(),
            draft: None,
            drafts: 0,
            pauses: Pauses::default(),
            asked: Asked::default(),
            respond_due: false,
            apology_due: None,
            greeting_due: None,
            idle_since: now,
            spoke_until: None,
            held: false,
            prompts: 0,
            repeats: 0,
            failures: 0,
            tts_failures: 0,
            next_turn: 0,
            next_finalize: 0,
            generation: Generation::default(),
            transcript: Transcript::default(),
            pace: Pace::default(),
            figures: CallFigures::default(),
            counters: Counters::default(),
        }
    }

    /// Takes one input. The outputs of the one before must have been drained.
    pub fn handle(&mut self, now: Instant, input: Input) {
        debug_assert!(self.out.is_empty(), "drain the outputs before the next input");
        match self.phase {
            Phase::Over => self.counters.ignored += 1,
            Phase::Ringing => match input {
                Input::Answered => self.answered(now),
                Input::End { reason, .. } => self.hang_up(now, reason),
                _ => self.counters.ignored += 1,
            },
            Phase::Live { .. } => self.live(now, input),
        }
        self.run_timers(now);
    }

    /// The next thing to do, in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Whether the last `Hangup` was given out: nothing follows it.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether the caller has said nothing that is still to be answered: speech now begins a turn.
    pub fn is_caller_quiet(&self) -> bool {
        self.caller.is_quiet()
    }

    /// Percentiles over the turns so far.
    pub fn latency(&self) -> CallLatency {
        self.figures.latency()
    }

    /// Rare things so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The conversation so far, without the system prompt.
    pub fn history(&self) -> Vec<(TurnRole, Pii<String>)> {
        self.transcript.history()
    }

    fn live(&mut self, now: Instant, input: Input) {
        let Some(input) = self.draft_input(now, input) else { return };
        match input {
            Input::SpeechStarted { onset } => self.speech_started(now, onset),
            Input::SpeechEnded { last_voiced } => self.speech_ended(now, last_voiced),
            Input::Digit(digit) => self.digit(now, digit),
            Input::SttPartial(text) => self.stt_partial(now, text),
            Input::SttFinal { text, confidence, answers, understood, at } => {
                let heard = listening::Final { text, confidence, answers, understood, at };
                self.stt_final(now, heard);
            }
            Input::SttTurn { signal, at } => self.stt_turn(now, signal, at),
            Input::SttFailed(error) => self.stt_failed(now, error),
            Input::LlmSent { turn, at } => self.llm_sent(turn, at),
            Input::LlmText { turn, text, at } => self.llm_text(now, turn, &text, at),
            Input::LlmEndCall { turn } => self.llm_end_call(turn),
            Input::ToolsStarted { turn, speak, limit } => {
                self.tools_started(now, turn, speak.as_ref(), limit);
            }
            Input::ToolEnded { begun, tool } => self.tool_ended(now, begun, *tool),
            Input::ToolsDone { turn } => self.tools_done(now, turn),
            Input::Handoff { config, message, keep_context } => {
                self.handoff(now, *config, message, keep_context);
            }
            Input::Held(held) => self.hold(now, held),
            Input::LlmDone { turn } => self.llm_done(now, turn),
            Input::LlmFailed { turn, error } => self.llm_failed(now, turn, error),
            Input::TtsAudio { generation, seq, samples, at } => {
                self.tts_audio(now, (generation, seq), samples, at);
            }
            Input::TtsAligned { generation, seq, marks } => {
                if let Some(reply) = self.reply_of_generation(generation) {
                    reply.heard.align(seq, &marks);
                }
            }
            Input::TtsDone { generation, seq } => self.tts_done(now, generation, seq),
            Input::TtsFailed { generation, seq: _, error } => {
                self.tts_failed(now, generation, error);
            }
            Input::Spoken { generation, item, text, samples, at } => {
                let part = speaking::Part { item, text: &text, samples, at };
                self.spoken(now, generation, part);
            }
            Input::SpokenDone { generation, item } => self.spoken_done(now, generation, item),
            Input::FirstPacket { generation, at } => self.first_packet(generation, at),
            Input::FirstAudible { generation, at } => self.first_audible(now, generation, at),
            Input::Played { generation, samples, finished } => {
                self.played(now, generation, samples, finished);
            }
            Input::Stopped { generation, samples, at } => {
                self.stopped(now, generation, samples, at);
            }
            Input::Say { text, interrupt, interruptible, end_after, by } => {
                self.say(now, (text.into_inner(), by), [interrupt, interruptible, end_after]);
            }
            Input::Inject { role, text, respond } => self.inject(now, role, text, respond),
            Input::Interrupt => self.interrupt(now),
            Input::End { message, reason } => self.end(now, message, reason),
            Input::Timeout => {}
            Input::Answered => self.counters.ignored += 1,
        }
    }

    fn emit(&mut self, output: Output) {
        self.out.push_back(output);
    }

    fn open_turn(&mut self, role: TurnRole, origin: TurnOrigin) -> TurnId {
        let turn = TurnId(self.next_turn);
        self.next_turn += 1;
        self.emit(Output::TurnStarted { turn, role, origin });
        turn
    }

    /// Milliseconds from the answer to `at`.
    pub fn offset_ms(&self, at: Instant) -> u64 {
        match self.phase {
            Phase::Live { answered } => ms(at.saturating_duration_since(answered)),
            Phase::Ringing | Phase::Over => 0,
        }
    }

    /// The reply under way, if it is that of `turn`; else the input is stale.
    fn reply_of_turn(&mut self, turn: TurnId) -> Option<&mut Reply> {
        match &mut self.agent {
            Agent::Replying(reply) if reply.turn == turn && reply.source.is_model() => Some(reply),
            Agent::Silent | Agent::Replying(_) | Agent::Stopping { .. } => {
                self.counters.stale += 1;
                None
            }
        }
    }

    /// The reply under way, if its audio carries `generation`; else the input is stale.
    fn reply_of_generation(&mut self, generation: Generation) -> Option<&mut Reply> {
        match &mut self.agent {
            Agent::Replying(reply) if reply.generation == generation => Some(reply),
            Agent::Silent | Agent::Replying(_) | Agent::Stopping { .. } => {
                self.counters.stale += 1;
                None
            }
        }
    }
}

impl Saying {
    fn new(text: &str, origin: TurnOrigin) -> Self {
        Self {
            text: text.to_owned(),
            origin,
            interruptible: true,
            then: After::Listen,
            by: Delivery::Agent,
        }
    }

    fn last_words(text: &str, reason: EndReason) -> Self {
        Self {
            text: text.to_owned(),
            origin: TurnOrigin::Goodbye,
            interruptible: false,
            then: After::Hangup(reason),
            by: Delivery::Agent,
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
