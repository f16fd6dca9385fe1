//! Text to speech: the trait and its session.

mod align;
pub mod azure;
pub mod cartesia;
mod contexts;
mod decoder;
pub mod deepgram;
pub mod elevenlabs;
pub mod local;
pub mod openai;
pub mod piper;
pub mod rime;
mod sentences;
pub mod soniox;
mod ws;
pub mod wyoming;
pub mod xai;

use std::time::Instant;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::ProviderError;
use crate::types::{Generation, Pcm, Pii};

/// A voice that can be opened once a call.
pub trait Tts: Send + Sync {
    /// Name in the configuration, for example `elevenlabs`.
    fn name(&self) -> &str;
    /// Model or voice, if it has one.
    fn model(&self) -> Option<&str>;
    /// Opens a session: sockets are opened now, before they are needed, and reused between sentences.
    fn open(&self, params: TtsParams) -> BoxFuture<'static, Result<TtsSession, ProviderError>>;
}

/// What a session needs to know of the call.
#[derive(Clone, Debug, Default)]
pub struct TtsParams {
    /// BCP 47 tag.
    pub language: String,
    /// Voice name of this provider; empty: its default.
    pub voice: String,
    /// 1.0 is normal.
    pub speed: f32,
}

/// One open synthesis. Dropping it closes it.
#[derive(Debug)]
pub struct TtsSession {
    /// Text in; [`TTS_INPUT_QUEUE`] deep.
    pub input: mpsc::Sender<TtsInput>,
    /// Audio out; [`TTS_EVENT_QUEUE`] deep.
    pub events: mpsc::Receiver<TtsEvent>,
}

/// What goes into a synthesis.
#[derive(Clone, Debug)]
pub enum TtsInput {
    /// Speak a sentence after those before it.
    Say {
        /// Which reply it belongs to.
        generation: Generation,
        /// Position in the reply, from 0.
        seq: u32,
        /// Text.
        text: Pii<String>,
    },
    /// Stop everything of this generation and before; late audio of it is dropped here.
    Cancel {
        /// Which.
        generation: Generation,
    },
}

/// What comes out of a synthesis, in order of `seq` within a generation.
#[derive(Clone, Debug)]
pub enum TtsEvent {
    /// Some audio of a sentence, at whatever rate the provider gives.
    Audio {
        /// Which reply.
        generation: Generation,
        /// Which sentence.
        seq: u32,
        /// Samples.
        pcm: Pcm,
        /// When the chunk was received and decoded.
        at: Instant,
    },
    /// Which part of a sentence sounds when, as far as its audio was given: more marks may follow.
    Alignment {
        /// Which reply.
        generation: Generation,
        /// Which sentence.
        seq: u32,
        /// In order.
        marks: Vec<AlignmentMark>,
    },
    /// All audio of a sentence was given.
    Done {
        /// Which reply.
        generation: Generation,
        /// Which sentence.
        seq: u32,
    },
    /// A sentence could not be spoken. The session goes on if `fatal` is false.
    Failed {
        /// Which reply.
        generation: Generation,
        /// Which sentence.
        seq: u32,
        /// Why.
        error: ProviderError,
        /// The session is over; the owner may open another.
        fatal: bool,
    },
}

/// A point of a sentence's audio, and how much of its text was spoken until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlignmentMark {
    /// From the sentence's first sample.
    pub offset_ms: u32,
    /// Characters of the sentence as it was given to [`TtsInput::Say`], from its beginning.
    pub chars: u32,
}

/// Sentences that may wait for a voice.
pub const TTS_INPUT_QUEUE: usize = 64;
/// Chunks that may wait for the call.
pub const TTS_EVENT_QUEUE: usize = 64;

#[cfg(test)]
mod tests;
