//! The three provider lines of one call: opened before they are needed, watched, reopened when they break.
//!
//! Each line is a plain struct with a cancellation-safe `next`; the session selects over them. A line
//! retries what may be retried and reports the rest as a [`CallError`]; what to say about it is the
//! turn machine's business.

pub mod cache;
mod llm;
mod route;
mod sentence;
mod stt;
mod tts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use cache::{TtsCache, TtsCacheConfig};
pub use llm::LlmLine;
pub use stt::SttLine;
pub use tts::TtsLine;

use super::agent::AgentSnapshot;
use super::breaker::Breakers;
use crate::providers::llm::ToolCall;
use crate::providers::tts::AlignmentMark;
use crate::providers::{ProviderError, Stage};
use crate::types::call::{CallError, ErrorStage};
use crate::types::{Generation, Pcm, Pii, TurnId, TurnSignal, Usage};

/// How long a provider may take before the watchdog steps in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchdogConfig {
    /// Opening a session, milliseconds.
    pub open_ms: u64,
    /// Finalize to final transcript, milliseconds; then the session is taken for dead and reopened.
    pub stt_final_ms: u64,
    /// Request to first token, milliseconds; then the request is sent again once.
    pub llm_first_token_ms: u64,
    /// Sentence to first audio, milliseconds; then the session is taken for dead and reopened.
    pub tts_first_audio_ms: u64,
    /// Attempts at one request or session in a row before the failure is reported, the first included.
    pub attempts_max: u32,
    /// Finalize to final transcript, milliseconds, before a fallback hears the same audio; 0: not before the
    /// recogniser is taken for dead. Also how long its session may take to open.
    pub stt_hedge_ms: u64,
    /// Request to first token, milliseconds, before a fallback is asked as well and the first one wins; 0: never.
    pub llm_hedge_ms: u64,
    /// Sentence to first audio, milliseconds, before a fallback is asked as well and the first one wins; 0: never.
    /// Also how long its session may take to open.
    pub tts_hedge_ms: u64,
    /// Longest pause within a reply or a sentence, milliseconds, before a fallback goes on with it.
    pub stall_ms: u64,
}

impl Default for WatchdogConfig {
    fn default() -> Self {
        Self {
            open_ms: 3_000,
            stt_final_ms: 2_000,
            llm_first_token_ms: 4_000,
            tts_first_audio_ms: 1_500,
            attempts_max: 2,
            stt_hedge_ms: 800,
            llm_hedge_ms: 800,
            tts_hedge_ms: 800,
            stall_ms: 1_000,
        }
    }
}

/// What the lines tell the session.
#[derive(Debug)]
pub enum VoiceEvent {
    /// A line is ready for the first time, or again.
    Ready(Stage),
    /// A line works again after a failure.
    Recovered(Stage),
    /// The call goes on with another provider.
    FailedOver {
        /// Which stage.
        stage: Stage,
        /// Name of the provider that was to do it.
        from: String,
        /// Name of the one that does.
        to: String,
        /// A kind of failure, or `slow`, `empty`, `breaker_open`.
        reason: &'static str,
    },
    /// An attempt failed and another follows: for the journal and the metrics.
    Retrying(ProviderError),
    /// Recognised so far.
    SttPartial(Pii<String>),
    /// Recognised for good.
    SttFinal {
        /// Text.
        text: Pii<String>,
        /// 0 to 1.
        confidence: Option<f32>,
        /// The finalize it answers.
        answers: Option<u32>,
        /// Whether words were understood.
        understood: bool,
        /// When it was parsed.
        at: Instant,
    },
    /// What the recogniser thinks of the caller's turn.
    SttTurn(TurnSignal, Instant),
    /// Recognition failed for good.
    SttFailed(CallError),
    /// The request left.
    LlmSent(TurnId, Instant),
    /// Text of the reply.
    LlmText(TurnId, String, Instant),
    /// The agent wants to hang up after its words.
    LlmEndCall(TurnId),
    /// The model is at work on something that is not spoken.
    LlmAlive(TurnId),
    /// The model waits for these tools: [`LlmLine::resume`] or [`LlmLine::cancel`] follows.
    LlmTools(TurnId, Vec<ToolCall>),
    /// The reply is complete.
    LlmDone(TurnId),
    /// The reply failed for good.
    LlmFailed(TurnId, CallError),
    /// Audio of a sentence.
    TtsAudio {
        /// Which reply.
        generation: Generation,
        /// Which sentence.
        seq: u32,
        /// Samples.
        pcm: Pcm,
        /// Whether it was kept from an earlier time.
        is_kept: bool,
        /// When it was received.
        at: Instant,
    },
    /// Which part of a sentence sounds when.
    TtsAligned(Generation, u32, Vec<AlignmentMark>),
    /// All audio of a sentence was given.
    TtsDone(Generation, u32),
    /// A sentence could not be spoken.
    TtsFailed(Generation, u32, CallError),
}

/// The three lines.
pub struct Voice {
    /// Recogniser.
    pub stt: SttLine,
    /// Language model.
    pub llm: LlmLine,
    /// Voice.
    pub tts: TtsLine,
    /// Another voice for words of an operator, once it was asked for.
    guest: Option<(String, TtsLine)>,
    agent: Arc<AgentSnapshot>,
    watchdog: WatchdogConfig,
    cache: Arc<TtsCache>,
    breakers: Arc<Breakers>,
}

impl Voice {
    /// Begins to open everything at once.
    pub fn open(
        agent: &Arc<AgentSnapshot>,
        watchdog: &WatchdogConfig,
        conversation: String,
        cache: &Arc<TtsCache>,
        breakers: &Arc<Breakers>,
    ) -> Self {
        let watchdog = &agent.fallbacks.hedges(watchdog);
        let tts = TtsLine::open(
            Arc::clone(agent),
            watchdog.clone(),
            agent.voice.clone(),
            Arc::clone(cache),
            breakers,
        );
        cache.warm(agent, cache::Occasion::Call);
        Self {
            stt: SttLine::open(Arc::clone(agent), watchdog.clone(), breakers),
            llm: LlmLine::open(Arc::clone(agent), watchdog.clone(), conversation, breakers),
            tts,
            guest: None,
            agent: Arc::clone(agent),
            watchdog: watchdog.clone(),
            cache: Arc::clone(cache),
            breakers: Arc::clone(breakers),
        }
    }

    /// Speaks a sentence with another voice, which stays open for the next.
    pub fn say_as(&mut self, voice: &str, of: (Generation, u32), text: Pii<String>) {
        if self.guest.as_ref().is_none_or(|(name, _)| name != voice) {
            let agent = Arc::clone(&self.agent);
            let cache = Arc::clone(&self.cache);
            let (watchdog, voice_name) = (self.watchdog.clone(), voice.to_owned());
            let line = TtsLine::open(agent, watchdog, voice_name, cache, &self.breakers);
            self.guest = Some((voice.to_owned(), line));
        }
        if let Some((_, line)) = &mut self.guest {
            line.say(of.0, of.1, text);
        }
    }

    /// Stops synthesis of `generation` and before.
    pub fn hush(&mut self, generation: Generation) {
        self.tts.cancel(generation);
        if let Some((_, line)) = &mut self.guest {
            line.cancel(generation);
        }
    }

    /// The next event of any line. Cancellation-safe.
    pub async fn next(&mut self) -> VoiceEvent {
        let guest = async {
            match &mut self.guest {
                Some((_, line)) => line.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            event = self.tts.next() => event,
            event = guest => event,
            event = self.llm.next() => event,
            event = self.stt.next() => event,
        }
    }

    /// What the three lines used so far.
    pub fn usage(&self) -> Vec<Usage> {
        let mut usage = Vec::new();
        self.stt.add_usage(&mut usage);
        self.llm.add_usage(&mut usage);
        self.tts.add_usage(&mut usage);
        usage
    }

    /// When a watchdog is due.
    pub fn next_wake(&self) -> Option<Instant> {
        let guest = self.guest.as_ref().and_then(|(_, line)| line.next_wake());
        [self.stt.next_wake(), self.llm.next_wake(), self.tts.next_wake(), guest]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets the watchdogs look.
    pub fn on_timeout(&mut self, now: Instant) {
        self.stt.on_timeout(now);
        self.llm.on_timeout(now);
        self.tts.on_timeout(now);
        if let Some((_, line)) = &mut self.guest {
            line.on_timeout(now);
        }
    }
}

/// The record's words for a provider's failure.
pub(super) fn call_error(error: &ProviderError) -> CallError {
    CallError {
        code: format!("{}_{}", error.stage.as_str(), error.kind.as_str()),
        message: error.to_string(),
        stage: match error.stage {
            Stage::Stt => ErrorStage::Stt,
            Stage::Llm => ErrorStage::Llm,
            Stage::Tts => ErrorStage::Tts,
        },
    }
}

pub(super) fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

#[cfg(test)]
mod tests;
