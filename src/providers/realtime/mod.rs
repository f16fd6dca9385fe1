//! Speech to speech: one model hears the caller, decides and speaks.
//!
//! A session is a pair of bounded channels. What the caller says goes in while they speak and is
//! committed when they stop; nothing is said before it is asked for ([`RealtimeInput::Respond`]), unless
//! the model is to find the end of turns itself. Audio comes as one or several items, each with the
//! provider's own name for it, by which it is cut to what was played.

pub(super) mod openai;
pub(super) mod protocol;
mod service;
mod session;
pub(super) mod xai;

#[cfg(test)]
mod tests;

use std::time::Instant;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::llm::{Role, ToolCall, ToolDef};
use super::{FailureKind, ProviderError};
use crate::types::{Pcm, Pii, SampleRate, TurnSignal};

/// Inputs that may wait for the session: two seconds of audio and what goes with it.
pub const REALTIME_INPUT_QUEUE: usize = 128;
/// Events that may wait for the call.
pub const REALTIME_EVENT_QUEUE: usize = 64;
/// Messages of an earlier conversation that a new session is told.
pub const HISTORY_MAX: usize = 400;

/// A provider of speech-to-speech sessions.
pub trait Realtime: Send + Sync {
    /// Name in the configuration, for example `openai-realtime`.
    fn name(&self) -> &str;
    /// Model.
    fn model(&self) -> &str;
    /// Rate of the audio both ways.
    fn sample_rate(&self) -> SampleRate;
    /// Who can find the end of a turn besides voice activity detection here.
    fn turn_detections(&self) -> &'static [TurnDetection];
    /// Opens a session that knows `params.history`. Returns when the provider has taken its settings.
    fn open(
        &self,
        params: RealtimeParams,
    ) -> BoxFuture<'static, Result<RealtimeSession, ProviderError>>;
}

/// Who finds the end of the caller's turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TurnDetection {
    /// Voice activity detection here.
    #[default]
    Local,
    /// The provider, by silence.
    ServerVad,
    /// The provider, by what is said.
    SemanticVad,
}

/// What a session is told at its beginning.
#[derive(Clone, Default)]
pub struct RealtimeParams {
    /// System prompt.
    pub instructions: Pii<String>,
    /// BCP 47 tag.
    pub language: String,
    /// Voice; empty: the provider's default.
    pub voice: String,
    /// 1.0 is normal.
    pub speed: f32,
    /// Upper limit of a reply in tokens.
    pub max_tokens: Option<u32>,
    /// Words worth recognising.
    pub keyterms: Vec<String>,
    /// What the model may call.
    pub tools: std::sync::Arc<[ToolDef]>,
    /// Who finds the end of a turn.
    pub turn_detection: TurnDetection,
    /// What was said before, if the conversation goes on from another session.
    pub history: Vec<(Role, Pii<String>)>,
}

/// A session. Dropping it closes the connection.
#[derive(Debug)]
pub struct RealtimeSession {
    /// Audio and requests in; [`REALTIME_INPUT_QUEUE`] deep.
    pub input: mpsc::Sender<RealtimeInput>,
    /// Results out; [`REALTIME_EVENT_QUEUE`] deep.
    pub events: mpsc::Receiver<RealtimeEvent>,
}

/// What goes into a session.
#[derive(Clone, Debug)]
pub enum RealtimeInput {
    /// The caller's audio at [`Realtime::sample_rate`], in order.
    Audio(Vec<i16>),
    /// What was sent is a whole: its transcript carries this number.
    Commit {
        /// Counts up in one call.
        id: u32,
    },
    /// Reply to the conversation. A response under way is cancelled before.
    Respond {
        /// Counts up in one call; comes back in every event of it.
        id: u32,
        /// Whether the model may call tools.
        tools: bool,
    },
    /// Speak exactly these words, which become part of the conversation.
    Say {
        /// Of the same count.
        id: u32,
        /// Words.
        text: Pii<String>,
    },
    /// Drop the response under way: nothing more of it comes but its end.
    Cancel,
    /// So much of an item was played: the model forgets the rest.
    Truncate {
        /// The provider's name of it.
        item: String,
        /// From its first sample.
        audio_end_ms: u32,
    },
    /// Result of a tool.
    ToolResult {
        /// Which call.
        call: String,
        /// Result.
        output: Pii<String>,
    },
    /// Words that came another way.
    Insert {
        /// Whose.
        role: Role,
        /// Words.
        text: Pii<String>,
    },
}

/// How a response ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The model said all, or as much as it may.
    Completed,
    /// It was told to stop.
    Cancelled,
    /// The provider failed at it; the session lives.
    Failed(FailureKind),
}

/// Tokens of one response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealtimeUsage {
    /// Text it read.
    pub text_in: u64,
    /// Sound it heard.
    pub audio_in: u64,
    /// Text it wrote.
    pub text_out: u64,
    /// Sound it made.
    pub audio_out: u64,
}

/// What comes out of a session.
#[derive(Clone, Debug)]
pub enum RealtimeEvent {
    /// The request for a response left.
    Sent {
        /// Which response.
        response: u32,
        /// When.
        at: Instant,
    },
    /// What the caller says, so far.
    Partial {
        /// Text.
        text: Pii<String>,
    },
    /// What the caller said.
    Transcript {
        /// Text; empty if nothing was recognised.
        text: Pii<String>,
        /// The commit it answers; `None` where the provider commits by itself.
        commit: Option<u32>,
        /// Whether words were understood.
        understood: bool,
        /// When it was parsed.
        at: Instant,
    },
    /// What the provider thinks of the caller's turn.
    Turn {
        /// What.
        signal: TurnSignal,
        /// When it was parsed.
        at: Instant,
    },
    /// Words of a response.
    Text {
        /// Which response.
        response: u32,
        /// Which item of it.
        item: String,
        /// Words.
        delta: String,
        /// When they were parsed.
        at: Instant,
    },
    /// Sound of a response.
    Audio {
        /// Which response.
        response: u32,
        /// Which item of it.
        item: String,
        /// Samples.
        pcm: Pcm,
        /// When they were parsed.
        at: Instant,
    },
    /// The model wants a tool.
    ToolCall {
        /// Which response.
        response: u32,
        /// Which, and with what.
        call: ToolCall,
    },
    /// Nothing more comes of a response.
    Done {
        /// Which response.
        response: u32,
        /// How it ended.
        outcome: Outcome,
        /// What it took.
        usage: RealtimeUsage,
    },
    /// The session is over.
    Failed(ProviderError),
}
