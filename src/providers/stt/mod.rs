//! Speech to text: the trait and its session.

pub(super) mod assemblyai;
pub(super) mod cartesia;
pub mod deepgram;
pub(super) mod flux;
pub mod grammar;
pub mod keypad;
pub mod openai;
pub(super) mod openai_realtime;
pub(super) mod scribe;
pub(super) mod sherpa;
pub(super) mod soniox;
pub(super) mod speechmatics;
pub mod sphinx;
mod sphinx_ffi;
mod utterances;
pub(super) mod vosk;
pub(super) mod whisper;
pub(super) mod ws;

#[cfg(test)]
mod conformance;

use std::time::Instant;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::ProviderError;
use crate::types::{Pii, SampleRate};

pub use crate::types::TurnSignal;

/// A recogniser that can be opened once a call.
pub trait Stt: Send + Sync {
    /// Name in the configuration, for example `deepgram`.
    fn name(&self) -> &str;
    /// Model, if it has one.
    fn model(&self) -> Option<&str>;
    /// Rate the audio must have.
    fn sample_rate(&self) -> SampleRate;
    /// Whether its sessions tell when a turn ends ([`SttEvent::Turn`]).
    fn ends_turns(&self) -> bool {
        false
    }
    /// Whether it hears more words right when noise is suppressed before it. Most recognisers are trained on noise,
    /// and miss what suppression takes away with it.
    fn wants_quiet(&self) -> bool {
        false
    }
    /// Opens a session. Returns when audio can be sent; the connection may still be under way.
    fn open(&self, params: SttParams) -> BoxFuture<'static, Result<SttSession, ProviderError>>;
}

/// What a session needs to know of the call.
#[derive(Clone, Debug, Default)]
pub struct SttParams {
    /// BCP 47 tag, for example `en` or `de-CH`.
    pub language: String,
    /// Words worth recognising: names, products, the agent's own phrases.
    pub keyterms: Vec<String>,
}

/// One open recognition. Dropping it closes it.
#[derive(Debug)]
pub struct SttSession {
    /// Audio and commands in; [`STT_INPUT_QUEUE`] deep.
    pub input: mpsc::Sender<SttInput>,
    /// Results out; [`STT_EVENT_QUEUE`] deep.
    pub events: mpsc::Receiver<SttEvent>,
}

/// What goes into a recogniser.
#[derive(Clone, Debug)]
pub enum SttInput {
    /// The caller's audio at [`Stt::sample_rate`], in order, silence included: 20 ms or a few times that.
    Audio(Vec<i16>),
    /// VAD says that the caller began to speak: a segmenting recogniser starts to keep audio
    /// (with [`PRE_ROLL_MS`] before this point).
    SpeechStarted,
    /// VAD says that the caller stopped: give the final transcript now.
    /// `id` comes back in the matching [`SttEvent::Final`].
    Finalize {
        /// Counts up in one call.
        id: u32,
    },
}

/// What comes out of a recogniser.
#[derive(Clone, Debug)]
pub enum SttEvent {
    /// A hypothesis that may still change: the whole utterance so far.
    Partial {
        /// Text.
        text: Pii<String>,
    },
    /// Text that will not change. Several finals may make one utterance.
    Final {
        /// Text; empty if nothing was understood (then `understood` says which).
        text: Pii<String>,
        /// 0 to 1, if the provider says.
        confidence: Option<f32>,
        /// The [`SttInput::Finalize`] this answers, if any: nothing further comes for it.
        answers: Option<u32>,
        /// `false`: there was speech but no words were recognised (out of grammar, noise).
        understood: bool,
        /// When the message was parsed.
        at: Instant,
    },
    /// What the provider thinks of the caller's turn. The text stands in the results around it:
    /// those of an ended turn come before its end.
    Turn {
        /// What it thinks.
        signal: TurnSignal,
        /// When the message was parsed.
        at: Instant,
    },
    /// The session is over and will give nothing more. The owner may open another.
    Failed(ProviderError),
    /// The session lost its connection and has another; unacknowledged audio was sent again.
    Reconnected,
}

/// Chunks a session may lag behind before words are lost and counted: 4 s, as chunks are mostly 40 ms.
pub const STT_INPUT_QUEUE: usize = 100;
/// Results a session may pile up: far above what a recogniser sends in a second.
pub const STT_EVENT_QUEUE: usize = 64;
/// Audio kept from before VAD's onset, since VAD needs some speech to be sure.
pub const PRE_ROLL_MS: u32 = 300;
