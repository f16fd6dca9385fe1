//! What goes into the turn machine and what comes out of it. Closed sets; no vendor, no clock.

use std::time::{Duration, Instant};

use super::config::{TurnConfig, Yield};
use super::heard::Kind;
use crate::types::call::{CallError, TurnOrigin, TurnRole};
use crate::types::{EndReason, Generation, Pii, ToolUse, TurnId, TurnRecord, TurnSignal};

/// Who or what makes words sound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// The agent's voice.
    #[default]
    Agent,
    /// Another voice of the same provider.
    Voice(String),
    /// A recording; the text only describes it.
    Clip,
    /// What can sound without a voice: these words if they are kept from an earlier time, else a signal.
    LastResort,
}

/// Something happened on the call.
#[derive(Clone, Debug)]
pub enum Input {
    /// The call is answered and its media runs: the greeting may start.
    Answered,
    /// VAD is sure that the caller speaks.
    SpeechStarted {
        /// Arrival of the first voiced frame.
        onset: Instant,
    },
    /// VAD is sure that the caller stopped.
    SpeechEnded {
        /// Arrival of the last voiced frame: S.
        last_voiced: Instant,
    },
    /// A key was pressed.
    Digit(char),
    /// A hypothesis that may still change: the whole utterance so far.
    SttPartial(Pii<String>),
    /// Text that will not change.
    SttFinal {
        /// Text; empty if nothing was recognised.
        text: Pii<String>,
        /// 0 to 1.
        confidence: Option<f32>,
        /// The `FinalizeStt` it answers.
        answers: Option<u32>,
        /// `false`: speech without recognisable words.
        understood: bool,
        /// When it was parsed: T.
        at: Instant,
    },
    /// What the recogniser thinks of the caller's turn; the text of it came before.
    SttTurn {
        /// What it thinks.
        signal: TurnSignal,
        /// When it was parsed.
        at: Instant,
    },
    /// Recognition failed for good (reconnects and fallbacks used up), or for now.
    SttFailed(CallError),
    /// The request to the language model left: L0.
    LlmSent {
        /// Of which reply.
        turn: TurnId,
        /// When.
        at: Instant,
    },
    /// Text of the reply.
    LlmText {
        /// Of which reply.
        turn: TurnId,
        /// Delta.
        text: String,
        /// When it was parsed.
        at: Instant,
    },
    /// The model wants the call to end after its words.
    LlmEndCall {
        /// Of which reply.
        turn: TurnId,
    },
    /// The model waits for tools: no words come until [`Input::ToolsDone`].
    ToolsStarted {
        /// Of which reply.
        turn: TurnId,
        /// Words the caller hears meanwhile.
        speak: Option<Pii<String>>,
        /// Longest wait; then the reply fails.
        limit: Duration,
    },
    /// One tool is done, now or in an earlier reply: a turn of its own.
    ToolEnded {
        /// When it was asked.
        begun: Instant,
        /// What it was asked and what it gave.
        tool: Box<ToolUse>,
    },
    /// The model goes on with the results.
    ToolsDone {
        /// Of which reply.
        turn: TurnId,
    },
    /// The reply is complete.
    LlmDone {
        /// Of which reply.
        turn: TurnId,
    },
    /// The model failed; retries are used up.
    LlmFailed {
        /// Of which reply.
        turn: TurnId,
        /// Why.
        error: CallError,
    },
    /// First audio of a sentence arrived from synthesis: A1 if it is the reply's first.
    TtsAudio {
        /// Of which reply.
        generation: Generation,
        /// Which sentence.
        seq: u32,
        /// Samples of this chunk at the codec's rate.
        samples: u64,
        /// When it was received.
        at: Instant,
    },
    /// Which part of a sentence sounds when: samples from its first one at the codec's rate, and the
    /// characters of it that were spoken until then.
    TtsAligned {
        /// Of which reply.
        generation: Generation,
        /// Which sentence.
        seq: u32,
        /// In order, after those given before.
        marks: Vec<(u64, u32)>,
    },
    /// All audio of a sentence was given.
    TtsDone {
        /// Of which reply.
        generation: Generation,
        /// Which sentence.
        seq: u32,
    },
    /// A sentence could not be spoken.
    TtsFailed {
        /// Of which reply.
        generation: Generation,
        /// Which sentence.
        seq: u32,
        /// Why.
        error: CallError,
    },
    /// The model itself speaks: words, sound, or both of a part of its reply.
    Spoken {
        /// Of which reply.
        generation: Generation,
        /// Which part, counted from 0 in the reply.
        item: u32,
        /// Words that follow those before.
        text: String,
        /// Samples that follow those before, at the codec's rate.
        samples: u64,
        /// When they were parsed.
        at: Instant,
    },
    /// All of such a part was given.
    SpokenDone {
        /// Of which reply.
        generation: Generation,
        /// Which part.
        item: u32,
    },
    /// P0.
    FirstPacket {
        /// Of which reply.
        generation: Generation,
        /// When.
        at: Instant,
    },
    /// P1.
    FirstAudible {
        /// Of which reply.
        generation: Generation,
        /// When.
        at: Instant,
    },
    /// Playback progress in samples at the codec's rate.
    Played {
        /// Of which reply.
        generation: Generation,
        /// Since the generation began.
        samples: u64,
        /// Its end was played.
        finished: bool,
    },
    /// Playback stopped on command.
    Stopped {
        /// Of which reply.
        generation: Generation,
        /// Played of it.
        samples: u64,
        /// Last packet with audio.
        at: Instant,
    },
    /// Speak this text (API `say`).
    Say {
        /// Text.
        text: Pii<String>,
        /// Cut the agent off first.
        interrupt: bool,
        /// The caller may interrupt it.
        interruptible: bool,
        /// Hang up after the last word.
        end_after: bool,
        /// Who or what makes it sound.
        by: Delivery,
    },
    /// Another agent goes on with the call.
    Handoff {
        /// Its turn-taking.
        config: Box<TurnConfig>,
        /// Its first words; `None`: its greeting.
        message: Option<Pii<String>>,
        /// Whether it knows what was said before.
        keep_context: bool,
    },
    /// The caller is on hold, or back: nobody waits for their words meanwhile.
    Held(bool),
    /// Put a message into the history (API `inject-context`).
    Inject {
        /// `system`, `user` or `assistant`.
        role: TurnRole,
        /// Text.
        text: Pii<String>,
        /// Make the agent answer it.
        respond: bool,
    },
    /// Stop speaking, keep listening (API `interrupt`).
    Interrupt,
    /// End the call, after a last message if there is one (API `end`).
    End {
        /// Last words.
        message: Option<Pii<String>>,
        /// Why.
        reason: EndReason,
    },
    /// A timer of [`super::Machine::next_wake`] is due.
    Timeout,
}

/// What the machine wants done, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Tell the recogniser that speech began.
    SttSpeechStarted,
    /// Tell the recogniser to give its final transcript now.
    FinalizeStt {
        /// Counts up in one call.
        id: u32,
    },
    /// Ask the model.
    StartReply {
        /// Which turn the reply makes.
        turn: TurnId,
        /// Tag of its audio.
        generation: Generation,
        /// Conversation so far, without the system prompt: role and text, the assistant's as heard.
        history: Vec<(TurnRole, Pii<String>)>,
        /// It is only prepared: no tool runs and nothing is heard before [`Output::CommitReply`].
        draft: bool,
    },
    /// A reply that was prepared is the one: what waits of it happens.
    CommitReply {
        /// Which.
        turn: TurnId,
        /// Tag of its audio.
        generation: Generation,
    },
    /// Drop the model's request.
    CancelReply {
        /// Which.
        turn: TurnId,
    },
    /// Synthesize a sentence.
    Speak {
        /// Tag of its audio.
        generation: Generation,
        /// Position in the reply, from 0.
        seq: u32,
        /// Text.
        text: Pii<String>,
        /// What it is to the conversation.
        kind: Kind,
        /// Who or what makes it sound.
        by: Delivery,
    },
    /// No further sentence of this generation: playback of the last one ends the turn.
    EndOfSpeech {
        /// Which.
        generation: Generation,
        /// Number of sentences.
        sentences: u32,
    },
    /// Cut playback of this generation and before, and its synthesis.
    StopPlayback {
        /// Which.
        generation: Generation,
    },
    /// Hold the voice back: the caller may want the floor.
    YieldPlayback {
        /// Which generation.
        generation: Generation,
        /// How.
        how: Yield,
    },
    /// They did not want it: go on from the same sample.
    ResumePlayback {
        /// Which generation.
        generation: Generation,
    },
    /// A turn began.
    TurnStarted {
        /// Which.
        turn: TurnId,
        /// Whose.
        role: TurnRole,
        /// Why.
        origin: TurnOrigin,
    },
    /// A turn is closed and its record final.
    TurnEnded(Box<TurnRecord>),
    /// Recognised so far, for the event stream.
    Partial(Pii<String>),
    /// Hang up now: the last word was played.
    Hangup(EndReason),
}
