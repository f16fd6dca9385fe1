//! The line of a model that hears, decides and speaks: what the cascade does with three.
//!
//! The turn machine stays the one that says whose turn it is: speech is committed when voice activity
//! detection says that it ended, and a reply is asked for when the machine decides. What the machine cuts
//! off is cancelled at once and cut, at the provider too, to what was played. A broken session is
//! replaced by one that is told the conversation as it was heard, and hears again what it had no words for.

mod ears;
mod jobs;
mod played;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;

use self::ears::Ears;
use self::jobs::Job;
use self::played::Played;
use super::{VoiceEvent, WatchdogConfig, ms};
use crate::call::agent::{AgentSnapshot, RealtimeRoute};
use crate::net::clock;
use crate::providers::llm::{Role, ToolDef};
use crate::providers::realtime::{
    HISTORY_MAX, RealtimeEvent, RealtimeInput, RealtimeParams, RealtimeSession, RealtimeUsage,
    TurnDetection,
};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::telemetry::metrics;
use crate::types::call::{TurnOrigin, TurnRole};
use crate::types::{Generation, Pii, SampleRate, TurnRecord, Usage, UsageKind, UsageUnit};
use crate::usage::meter::{self, Service};

/// Words and results that wait for a session that is being opened.
const BACKLOG_MAX: usize = 64;

type Opening = BoxFuture<'static, Result<RealtimeSession, ProviderError>>;

enum State {
    /// To be opened at the next chance, with the conversation as it is then.
    Due,
    Opening {
        opening: Opening,
        by: Instant,
    },
    Open(RealtimeSession),
    /// Given up until something is wanted of it.
    Closed,
    Dead(ProviderError),
}

/// The line.
pub struct RealtimeLine {
    agent: Arc<AgentSnapshot>,
    route: Arc<RealtimeRoute>,
    watchdog: WatchdogConfig,
    state: State,
    attempts: u32,
    was_ready: bool,
    ears: Ears,
    played: Played,
    tools: Arc<[ToolDef]>,
    history: Vec<(Role, Pii<String>)>,
    backlog: Vec<RealtimeInput>,
    jobs: VecDeque<Job>,
    /// A reply that waits for its tools.
    resting: Option<Job>,
    /// Calls of tools whose results this session waits for.
    owed: Vec<String>,
    next_response: u32,
    next_item: u32,
    /// What is to be told next, and the item that the sound in it is of.
    ready: VecDeque<(VoiceEvent, Option<u32>)>,
    audio_of: Option<u32>,
    /// When the response under way is taken for stalled.
    progress_by: Option<Instant>,
    used: RealtimeUsage,
}

impl RealtimeLine {
    /// A line that opens its session as soon as it is asked for events.
    pub(super) fn open(
        agent: Arc<AgentSnapshot>,
        route: Arc<RealtimeRoute>,
        watchdog: WatchdogConfig,
    ) -> Self {
        let definition = |tool: &crate::tools::ToolSpec| ToolDef {
            name: tool.name.clone(),
            description: tool.description(),
            parameters: tool.parameters(),
        };
        let tools = agent.tools.iter().map(definition).collect();
        let hears_all = route.turn_detection != TurnDetection::Local;
        Self {
            ears: Ears::new(route.model.sample_rate(), hears_all),
            agent,
            route,
            watchdog,
            state: State::Due,
            attempts: 1,
            was_ready: false,
            played: Played::default(),
            tools,
            history: Vec::new(),
            backlog: Vec::new(),
            jobs: VecDeque::new(),
            resting: None,
            owed: Vec::new(),
            next_response: 0,
            next_item: 0,
            ready: VecDeque::new(),
            audio_of: None,
            progress_by: None,
            used: RealtimeUsage::default(),
        }
    }

    fn opening(&self) -> State {
        let mut instructions = self.agent.prompt.reveal().clone();
        if let Some(context) = &self.agent.facts.context {
            instructions
                .push_str(&format!("\n\nContext of this call, as JSON: {}", context.reveal()));
        }
        let language = self.agent.facts.stt_language.as_ref().unwrap_or(&self.agent.language);
        let params = RealtimeParams {
            instructions: Pii::new(instructions),
            language: language.clone(),
            voice: self.route.voice.clone(),
            speed: self.route.speed,
            max_tokens: self.agent.max_tokens,
            keyterms: self.agent.keyterms.clone(),
            tools: Arc::clone(&self.tools),
            turn_detection: self.route.turn_detection,
            history: self.history.clone(),
        };
        let by = clock::now() + ms(self.watchdog.open_ms);
        State::Opening { opening: self.route.model.open(params), by }
    }

    /// Something is wanted of a session that was given up.
    fn want_session(&mut self) {
        if matches!(self.state, State::Closed) {
            self.attempts = 1;
            self.state = State::Due;
        }
    }

    /// The line's rate, once the codec is known.
    pub(super) fn set_line_rate(&mut self, rate: SampleRate) {
        self.ears.set_line_rate(rate);
    }

    /// Takes 20 ms of the caller, to be sent with the next [`RealtimeLine::flush`].
    pub(super) fn push(&mut self, samples: &[i16]) {
        self.ears.push(samples);
    }

    /// Sends what was pushed, and the words that were gathered.
    pub(super) fn flush(&mut self) {
        if let Some(audio) = self.ears.take() {
            self.input(RealtimeInput::Audio(audio));
        }
        self.send_words();
    }

    fn input(&mut self, input: RealtimeInput) {
        let State::Open(session) = &self.state else { return };
        if session.input.try_send(input).is_err() {
            metrics::queue_full("realtime_input");
            self.state =
                State::Dead(self.error(FailureKind::Stalled, "the session takes no input"));
        }
    }

    /// As `input`; what comes while a session is being opened is sent when it is.
    fn input_or_wait(&mut self, input: RealtimeInput) {
        match &self.state {
            State::Open(_) => self.input(input),
            State::Opening { .. } if self.backlog.len() < BACKLOG_MAX => self.backlog.push(input),
            // A session to come is told the conversation as it is then.
            State::Opening { .. } | State::Due | State::Closed | State::Dead(_) => {}
        }
    }

    /// VAD says that the caller began to speak.
    pub(super) fn speech_started(&mut self) {
        self.want_session();
        self.ears.started();
    }

    /// VAD says that the caller stopped.
    pub(super) fn speech_ended(&mut self, id: u32) {
        if let Some(audio) = self.ears.take() {
            self.input(RealtimeInput::Audio(audio));
        }
        if self.ears.ended(id) {
            self.input(RealtimeInput::Commit { id });
        }
    }

    /// The conversation as it was heard so far.
    pub(super) fn remember(&mut self, history: Vec<(TurnRole, Pii<String>)>) {
        let role = |role: TurnRole| match role {
            TurnRole::User => Role::User,
            TurnRole::Assistant => Role::Assistant,
            TurnRole::System | TurnRole::Tool => Role::System,
        };
        let skip = history.len().saturating_sub(HISTORY_MAX);
        self.history = history.into_iter().skip(skip).map(|(of, text)| (role(of), text)).collect();
        self.ears.settle();
    }

    /// A turn is closed: what the model neither heard nor said itself it is told.
    pub(super) fn turn_closed(&mut self, record: &TurnRecord) {
        let heard = record.spoken_content.as_ref().unwrap_or(&record.content);
        let role = match (record.role, record.origin) {
            (TurnRole::User, TurnOrigin::User) | (TurnRole::Assistant, TurnOrigin::Llm) => return,
            (TurnRole::Tool, _) => {
                if let Some(tool) = &record.tool {
                    self.tool_result(&tool.call_id, tool.result.clone());
                }
                return;
            }
            (TurnRole::User, _) => Role::User,
            (TurnRole::System, _) => Role::System,
            (TurnRole::Assistant, TurnOrigin::Injected) => Role::Assistant,
            (TurnRole::Assistant, _) if self.route.says_fixed_texts => return,
            (TurnRole::Assistant, _) => Role::Assistant,
        };
        self.input_or_wait(RealtimeInput::Insert { role, text: heard.clone() });
    }

    /// Gives the session a result that it waits for.
    fn tool_result(&mut self, call: &str, output: Pii<String>) {
        if let Some(at) = self.owed.iter().position(|owed| owed == call) {
            let call = self.owed.swap_remove(at);
            self.input(RealtimeInput::ToolResult { call, output });
        }
    }

    /// Audio of the event that was given out last went on to the line.
    pub(super) fn placed(
        &mut self,
        generation: Generation,
        samples: u64,
        cut: std::time::Duration,
    ) {
        let of = self.audio_of.take();
        self.played.placed(generation, of, samples, cut);
    }

    /// Playback was cut off: the model forgets what was not played.
    pub(super) fn stopped(&mut self, generation: Generation, samples: u64, line: SampleRate) {
        for (item, audio_end_ms) in self.played.stopped(generation, samples, line) {
            self.input(RealtimeInput::Truncate { item, audio_end_ms });
        }
    }

    /// Cancellation-safe.
    pub(super) async fn next(&mut self) -> VoiceEvent {
        loop {
            if let Some((event, audio_of)) = self.ready.pop_front() {
                self.audio_of = audio_of;
                return event;
            }
            match &mut self.state {
                State::Due => self.state = self.opening(),
                State::Opening { opening, by } => {
                    let by = *by;
                    let opened = tokio::time::timeout_at(by.into(), opening).await;
                    self.on_opened(opened.ok());
                }
                State::Open(session) => match session.events.recv().await {
                    Some(event) => self.on_event(event),
                    None => self.on_dead(self.error(FailureKind::Cut, "the session ended")),
                },
                State::Closed => return std::future::pending().await,
                State::Dead(error) => {
                    let error = error.clone();
                    self.on_dead(error);
                }
            }
        }
    }

    fn tell(&mut self, event: VoiceEvent) {
        self.ready.push_back((event, None));
    }

    fn on_opened(&mut self, opened: Option<Result<RealtimeSession, ProviderError>>) {
        match opened {
            Some(Ok(session)) => {
                self.state = State::Open(session);
                self.owed.clear();
                let again = self.ears.replay();
                let waited = std::mem::take(&mut self.backlog);
                for input in again.into_iter().chain(waited) {
                    self.input(input);
                }
                self.send_jobs();
                let first = !std::mem::replace(&mut self.was_ready, true);
                self.tell(match first {
                    true => VoiceEvent::Ready(Stage::Realtime),
                    false => VoiceEvent::Recovered(Stage::Realtime),
                });
            }
            Some(Err(error)) => self.on_dead(error),
            None => {
                let detail =
                    format!("the session did not open within {} ms", self.watchdog.open_ms);
                self.on_dead(self.error(FailureKind::Stalled, &detail));
            }
        }
    }

    fn on_event(&mut self, event: RealtimeEvent) {
        match event {
            RealtimeEvent::Partial { text } => self.tell(VoiceEvent::SttPartial(text)),
            RealtimeEvent::Transcript { text, commit, understood, at } => {
                self.attempts = 1;
                self.ears.known(commit, &text);
                let (answers, confidence) = (commit, None);
                self.tell(VoiceEvent::SttFinal { text, confidence, answers, understood, at });
            }
            RealtimeEvent::Turn { signal, at } => {
                if self.route.turn_detection != TurnDetection::Local {
                    self.tell(VoiceEvent::SttTurn(signal, at));
                }
            }
            RealtimeEvent::Sent { response, at } => self.on_sent(response, at),
            RealtimeEvent::Text { response, item, delta, at } => {
                self.on_output(response, &item, jobs::Given::Words(delta), at);
            }
            RealtimeEvent::Audio { response, item, pcm, at } => {
                self.on_output(response, &item, jobs::Given::Sound(pcm), at);
            }
            RealtimeEvent::ToolCall { response, call } => self.on_tool_call(response, call),
            RealtimeEvent::Done { response, outcome, usage } => {
                self.used.text_in += usage.text_in;
                self.used.audio_in += usage.audio_in;
                self.used.text_out += usage.text_out;
                self.used.audio_out += usage.audio_out;
                self.on_done(response, &outcome);
            }
            RealtimeEvent::Failed(error) => self.on_dead(error),
        }
    }

    /// The session is gone. What was begun is over (saying it twice is worse than a cut word); the rest
    /// is asked of the next session, or reported when the attempts are used up.
    fn on_dead(&mut self, error: ProviderError) {
        metrics::provider_request("realtime", self.route.model.name(), error.kind.as_str());
        self.progress_by = None;
        self.owed.clear();
        self.backlog.clear();
        for mut job in std::mem::take(&mut self.jobs) {
            if job.begun {
                self.finish(job);
            } else {
                job.sent = false;
                self.jobs.push_back(job);
            }
        }
        if error.kind.is_retryable() && self.attempts < self.watchdog.attempts_max {
            self.attempts += 1;
            self.state = State::Due;
        } else {
            self.state = State::Closed;
            for job in std::mem::take(&mut self.jobs) {
                self.give_up(job, &error);
            }
        }
        self.tell(VoiceEvent::Retrying(error));
    }

    fn error(&self, kind: FailureKind, detail: &str) -> ProviderError {
        ProviderError {
            provider: self.route.model.name().to_owned(),
            stage: Stage::Realtime,
            kind,
            detail: detail.to_owned(),
        }
    }

    /// Adds the tokens of every response so far.
    pub(super) fn add_usage(&self, usage: &mut Vec<Usage>) {
        let (provider, model) = (self.route.model.name(), Some(self.route.model.model()));
        let service = Service { kind: UsageKind::Llm, provider, model };
        let used = self.used;
        for (unit, quantity) in [
            (UsageUnit::TokenIn, used.text_in),
            (UsageUnit::TokenOut, used.text_out),
            (UsageUnit::AudioTokenIn, used.audio_in),
            (UsageUnit::AudioTokenOut, used.audio_out),
        ] {
            meter::add(usage, service, unit, quantity as f64);
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.progress_by.filter(|_| matches!(self.state, State::Open(_)))
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        if self.next_wake().is_some_and(|by| by <= now) {
            self.progress_by = None;
            let detail = format!("nothing within {} ms", self.watchdog.llm_first_token_ms);
            self.state = State::Dead(self.error(FailureKind::Stalled, &detail));
        }
    }

    /// Whether a session is open: an answer needs a voice.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether the line gave up.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }
}
