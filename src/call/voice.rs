//! The provider lines of one call: opened before they are needed, watched, reopened when they break.
//!
//! Three lines make a cascade; one, of a model that hears and speaks itself, may stand in their place.
//!
//! Each line is a plain struct with a cancellation-safe `next`; the session selects over them. A line
//! retries what may be retried and reports the rest as a [`CallError`]; what to say about it is the
//! turn machine's business.

pub mod cache;
mod llm;
mod realtime;
mod route;
mod sentence;
mod stt;
mod tts;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use cache::{TtsCache, TtsCacheConfig};
pub use llm::LlmLine;
pub use realtime::RealtimeLine;
pub use stt::SttLine;
pub use tts::TtsLine;

use super::agent::AgentSnapshot;
use super::breaker::Breakers;
use super::playback::Queued;
use crate::providers::llm::ToolCall;
use crate::providers::tts::AlignmentMark;
use crate::providers::{ProviderError, Stage};
use crate::turn::heard::Kind;
use crate::types::call::{CallError, ErrorStage, TurnRole};
use crate::types::{Generation, Pcm, Pii, SampleRate, TurnId, TurnRecord, TurnSignal, Usage};

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
    /// The model itself speaks: words, sound, or both of a part of its reply.
    Spoken {
        /// Of which reply.
        turn: TurnId,
        /// Tag of its audio.
        generation: Generation,
        /// Which part.
        item: u32,
        /// Words that follow those before.
        text: String,
        /// Sound that follows that before.
        pcm: Option<Pcm>,
        /// When they were parsed.
        at: Instant,
    },
    /// All of such a part was given.
    SpokenDone(Generation, u32),
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

struct Cascade {
    stt: SttLine,
    llm: LlmLine,
}

/// Who hears the caller and thinks of the words.
enum Brain {
    /// A recogniser and a language model.
    Cascade(Box<Cascade>),
    /// One model, which speaks as well.
    Realtime(Box<RealtimeLine>),
}

/// The lines.
pub struct Voice {
    brain: Brain,
    /// Voice; `None` where the model speaks all by itself.
    tts: Option<TtsLine>,
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
        let speaks = |route: &Arc<super::agent::RealtimeRoute>| route.says_fixed_texts;
        let tts = (!agent.realtime.as_ref().is_some_and(speaks)).then(|| {
            cache.warm(agent, cache::Occasion::Call);
            let (agent, voice) = (Arc::clone(agent), agent.voice.clone());
            TtsLine::open(agent, watchdog.clone(), voice, Arc::clone(cache), breakers)
        });
        let (own, watchdog) = (Arc::clone(agent), watchdog.clone());
        let brain = match &agent.realtime {
            Some(route) => {
                let line = RealtimeLine::open(own, Arc::clone(route), watchdog.clone());
                Brain::Realtime(Box::new(line))
            }
            None => Brain::Cascade(Box::new(Cascade {
                stt: SttLine::open(Arc::clone(&own), watchdog.clone(), breakers),
                llm: LlmLine::open(own, watchdog.clone(), conversation, breakers),
            })),
        };
        let (agent, cache) = (Arc::clone(agent), Arc::clone(cache));
        let breakers = Arc::clone(breakers);
        Self { brain, tts, guest: None, agent, watchdog, cache, breakers }
    }

    /// The line's rate, once the codec is known.
    pub fn set_line_rate(&mut self, rate: SampleRate) {
        match &mut self.brain {
            Brain::Cascade(lines) => lines.stt.set_line_rate(rate),
            Brain::Realtime(line) => line.set_line_rate(rate),
        }
    }

    /// Takes 20 ms of the caller, to be sent with the next [`Voice::flush`].
    pub fn push(&mut self, samples: &[i16]) {
        match &mut self.brain {
            Brain::Cascade(lines) => lines.stt.push(samples),
            Brain::Realtime(line) => line.push(samples),
        }
    }

    /// Sends what was gathered in this wake.
    pub fn flush(&mut self) {
        match &mut self.brain {
            Brain::Cascade(lines) => lines.stt.flush(),
            Brain::Realtime(line) => line.flush(),
        }
    }

    /// VAD says that the caller began to speak.
    pub fn speech_started(&mut self) {
        match &mut self.brain {
            Brain::Cascade(lines) => lines.stt.speech_started(),
            Brain::Realtime(line) => line.speech_started(),
        }
    }

    /// VAD says that the caller stopped.
    pub fn finalize(&mut self, id: u32) {
        match &mut self.brain {
            Brain::Cascade(lines) => lines.stt.finalize(id),
            Brain::Realtime(line) => line.speech_ended(id),
        }
    }

    /// Asks for the reply of `turn`.
    pub fn reply(
        &mut self,
        (turn, generation): (TurnId, Generation),
        history: Vec<(TurnRole, Pii<String>)>,
    ) {
        match &mut self.brain {
            Brain::Cascade(lines) => lines.llm.start(turn, history),
            Brain::Realtime(line) => line.respond(turn, generation, history),
        }
    }

    /// Goes on with the results of the tools that the reply of `turn` waits for.
    pub fn resume(&mut self, turn: TurnId, results: Vec<(String, Pii<String>)>) {
        match &mut self.brain {
            Brain::Cascade(lines) => lines.llm.resume(turn, results),
            Brain::Realtime(line) => line.resume(turn, results),
        }
    }

    /// Whether the reply of `turn` has any words yet.
    pub fn has_spoken(&self, turn: TurnId) -> bool {
        match &self.brain {
            Brain::Cascade(lines) => lines.llm.has_spoken(turn),
            Brain::Realtime(line) => line.has_spoken(turn),
        }
    }

    /// Drops the reply of `turn`.
    pub fn cancel(&mut self, turn: TurnId) {
        match &mut self.brain {
            Brain::Cascade(lines) => lines.llm.cancel(turn),
            Brain::Realtime(line) => line.cancel(turn),
        }
    }

    /// Speaks a sentence after those before it.
    pub fn say(&mut self, of: (Generation, u32), text: Pii<String>, kind: Kind) {
        match (&mut self.tts, &mut self.brain) {
            (Some(tts), _) => tts.say(of.0, of.1, text),
            (None, Brain::Realtime(line)) => line.say(of, &text, kind),
            // A cascade has a voice.
            (None, Brain::Cascade(_)) => {}
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

    /// What sounds when no voice comes back: the words if they are kept, else a signal.
    pub fn last_resort(&self, text: &str) -> Pcm {
        self.tts.as_ref().map_or_else(tts::signal::falling, |tts| tts.last_resort(text))
    }

    /// Stops synthesis of `generation` and before.
    pub fn hush(&mut self, generation: Generation) {
        if let Brain::Realtime(line) = &mut self.brain {
            line.hush(generation);
        }
        for line in self.voices() {
            line.cancel(generation);
        }
    }

    fn voices(&mut self) -> impl Iterator<Item = &mut TtsLine> {
        self.tts.iter_mut().chain(self.guest.iter_mut().map(|(_, line)| line))
    }

    /// The audio of the last event went on to the line.
    pub fn placed(&mut self, generation: Generation, queued: &Queued) {
        if let Brain::Realtime(line) = &mut self.brain {
            line.placed(generation, queued.samples, queued.cut);
        }
    }

    /// Playback was cut off after so many samples at this rate.
    pub fn stopped(&mut self, generation: Generation, samples: u64, rate: SampleRate) {
        if let Brain::Realtime(line) = &mut self.brain {
            line.stopped(generation, samples, rate);
        }
    }

    /// A turn is closed: what a model that keeps the conversation itself does not know, it is told.
    pub fn turn_closed(&mut self, record: &TurnRecord) {
        if let Brain::Realtime(line) = &mut self.brain {
            line.turn_closed(record);
        }
    }

    /// The conversation so far, for a model that keeps it itself and may have to be told again.
    pub fn remember(&mut self, history: impl FnOnce() -> Vec<(TurnRole, Pii<String>)>) {
        if let Brain::Realtime(line) = &mut self.brain {
            line.remember(history());
        }
    }

    /// The next event of any line. Cancellation-safe.
    pub async fn next(&mut self) -> VoiceEvent {
        let Self { brain, tts, guest, .. } = self;
        let voice = async {
            match tts {
                Some(line) => line.next().await,
                None => std::future::pending().await,
            }
        };
        let guest = async {
            match guest {
                Some((_, line)) => line.next().await,
                None => std::future::pending().await,
            }
        };
        let brain = async {
            match brain {
                Brain::Cascade(lines) => tokio::select! {
                    biased;
                    event = lines.llm.next() => event,
                    event = lines.stt.next() => event,
                },
                Brain::Realtime(line) => line.next().await,
            }
        };
        tokio::select! {
            biased;
            event = voice => event,
            event = guest => event,
            event = brain => event,
        }
    }

    /// What the lines used so far.
    pub fn usage(&self) -> Vec<Usage> {
        let mut usage = Vec::new();
        match &self.brain {
            Brain::Cascade(lines) => {
                lines.stt.add_usage(&mut usage);
                lines.llm.add_usage(&mut usage);
            }
            Brain::Realtime(line) => line.add_usage(&mut usage),
        }
        if let Some(tts) = &self.tts {
            tts.add_usage(&mut usage);
        }
        usage
    }

    /// When a watchdog is due.
    pub fn next_wake(&self) -> Option<Instant> {
        let guest = self.guest.as_ref().and_then(|(_, line)| line.next_wake());
        let voice = self.tts.as_ref().and_then(TtsLine::next_wake);
        let brain = match &self.brain {
            Brain::Cascade(lines) => [lines.stt.next_wake(), lines.llm.next_wake()],
            Brain::Realtime(line) => [line.next_wake(), None],
        };
        brain.into_iter().chain([voice, guest]).flatten().min()
    }

    /// Lets the watchdogs look.
    pub fn on_timeout(&mut self, now: Instant) {
        match &mut self.brain {
            Brain::Cascade(lines) => {
                lines.stt.on_timeout(now);
                lines.llm.on_timeout(now);
            }
            Brain::Realtime(line) => line.on_timeout(now),
        }
        for line in self.voices() {
            line.on_timeout(now);
        }
    }

    /// Whether there is a voice to answer with.
    pub fn is_open(&self) -> bool {
        let model = match &self.brain {
            Brain::Cascade(_) => true,
            Brain::Realtime(line) => line.is_open(),
        };
        model && self.tts.as_ref().is_none_or(TtsLine::is_open)
    }

    /// Whether what speaks gave up.
    pub fn is_closed(&self) -> bool {
        let model = match &self.brain {
            Brain::Cascade(_) => false,
            Brain::Realtime(line) => line.is_closed(),
        };
        model || self.tts.as_ref().is_some_and(TtsLine::is_closed)
    }
}

/// The record's words for a provider's failure.
pub(super) fn call_error(error: &ProviderError) -> CallError {
    CallError {
        code: format!("{}_{}", error.stage.as_str(), error.kind.as_str()),
        message: error.to_string(),
        stage: match error.stage {
            Stage::Stt => ErrorStage::Stt,
            // One model hears, decides and speaks.
            Stage::Llm | Stage::Realtime => ErrorStage::Llm,
            Stage::Tts => ErrorStage::Tts,
        },
    }
}

pub(super) fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

#[cfg(test)]
mod tests;
