//! The language model's line: one reply at a time, retried once while nothing of it was heard.
//!
//! A reply may take several requests: the model asks for tools, [`VoiceEvent::LlmTools`] tells the session,
//! and [`LlmLine::resume`] asks again with their results. What is retried is the last request only, so
//! that no tool runs twice for one wish of the model.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::route::{Route, SLOW};
use super::{VoiceEvent, WatchdogConfig, call_error, ms};
use crate::call::agent::AgentSnapshot;
use crate::call::breaker::Breakers;
use crate::net::clock;
use crate::providers::llm::{Llm, LlmDelta, LlmRequest, Message, Role, ToolCall, ToolDef};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::telemetry::metrics;
use crate::types::call::TurnRole;
use crate::types::{Pii, TurnId, Usage};
use crate::usage::Tokens;

type Deltas = BoxStream<'static, Result<LlmDelta, ProviderError>>;

struct Reply {
    turn: TurnId,
    request: LlmRequest,
    /// Whose the reply is.
    leg: usize,
    deltas: Deltas,
    /// A fallback that is asked the same, because the model is slow: the first token wins.
    rival: Option<(usize, Deltas)>,
    attempt: u32,
    /// Until the first token: when a fallback is asked as well.
    hedge_at: Option<Instant>,
    /// Until the first token: when the watchdog gives up waiting. After words, if there is a fallback: when it goes on.
    token_by: Option<Instant>,
    stalled: bool,
    /// Text of this request.
    said: String,
    /// Tools that this request asks for.
    calls: Vec<ToolCall>,
    /// Whether the model ends the call.
    ends: bool,
    /// Rounds of tools before this request.
    rounds: u32,
    /// Whether an earlier request of this reply gave words.
    spoke: bool,
    /// Words of an earlier request that broke off; this one goes on with them.
    broken: String,
}

/// What a request is besides its text.
#[derive(Clone, Copy)]
struct Place {
    leg: usize,
    attempt: u32,
    rounds: u32,
    spoke: bool,
}

/// Tells a model to go on with a reply that another one began.
const GO_ON: &str = "The line broke after your last words. Go on exactly there; repeat nothing, and do not mention it.";

/// Rounds of tools in one reply. After the last the model is offered none, and has to talk.
pub(super) const TOOL_ROUNDS_MAX: u32 = 10;

/// The line.
pub struct LlmLine {
    agent: Arc<AgentSnapshot>,
    route: Route<Arc<dyn Llm>>,
    watchdog: WatchdogConfig,
    conversation: String,
    reply: Option<Reply>,
    tools: Arc<[ToolDef]>,
    warming: Option<futures_util::future::BoxFuture<'static, ()>>,
    /// Of each leg.
    tokens: Vec<Tokens>,
    /// What is to be told next.
    ready: VecDeque<VoiceEvent>,
}

impl LlmLine {
    /// Begins to open connections.
    pub(super) fn open(
        agent: Arc<AgentSnapshot>,
        watchdog: WatchdogConfig,
        conversation: String,
        breakers: &Breakers,
    ) -> Self {
        let models = [&agent.llm].into_iter().chain(&agent.fallbacks.llm);
        let models = models.map(|llm| (Arc::clone(llm), llm.name().to_owned()));
        let route = Route::new(Stage::Llm, models, breakers, &agent.facts.organization_id);
        let warming = Some(agent.llm.warm_up());
        let definition = |tool: &crate::tools::ToolSpec| ToolDef {
            name: tool.name.clone(),
            description: tool.description(),
            parameters: tool.parameters(),
        };
        let tools = agent.tools.iter().map(definition).collect();
        let tokens = (0..route.len()).map(|_| Tokens::default()).collect();
        let ready = VecDeque::new();
        Self { agent, route, watchdog, conversation, reply: None, tools, warming, tokens, ready }
    }

    /// Asks for the reply of `turn`; a reply under way is dropped.
    pub fn start(&mut self, turn: TurnId, history: Vec<(TurnRole, Pii<String>)>) {
        let mut messages = Vec::with_capacity(history.len() + 1);
        messages.push(Message::new(Role::System, self.agent.prompt.clone().into_inner()));
        if let Some(context) = &self.agent.facts.context {
            let content = format!("Context of this call, as JSON: {}", context.reveal());
            messages.push(Message::new(Role::System, content));
        }
        messages.extend(history.into_iter().map(|(role, content)| {
            let role = match role {
                TurnRole::User => Role::User,
                TurnRole::Assistant => Role::Assistant,
                // The results of earlier replies: as words, since their calls may be forgotten by now.
                TurnRole::System | TurnRole::Tool => Role::System,
            };
            Message::new(role, content.into_inner())
        }));
        let request = LlmRequest {
            messages,
            tools: Arc::clone(&self.tools),
            temperature: self.agent.temperature,
            max_tokens: self.agent.max_tokens,
            conversation: self.conversation.clone(),
            json: None,
        };
        // The agent's own model is the best one: it is asked again as soon as it may be.
        let leg = self.route.begin(0, clock::now());
        self.ready.extend(self.route.passed_over(0, leg));
        self.ask(turn, request, Place { leg, attempt: 1, rounds: 0, spoke: false });
    }

    fn model(&self, leg: usize) -> &Arc<dyn Llm> {
        self.route.engine(leg).unwrap_or(&self.agent.llm)
    }

    fn respond(&mut self, leg: usize, request: LlmRequest) -> Deltas {
        let chars = request.messages.iter().map(|m| m.content.reveal().chars().count()).sum();
        if let Some(tokens) = self.tokens.get_mut(leg) {
            tokens.asked(chars);
        }
        self.model(leg).respond(request)
    }

    fn ask(&mut self, turn: TurnId, request: LlmRequest, place: Place) {
        let deltas = self.respond(place.leg, request.clone());
        let now = clock::now();
        let wait = self.watchdog.llm_hedge_ms;
        let hedges =
            wait > 0 && !self.route.is_alone() && self.model(place.leg).may_be_asked_twice();
        self.reply = Some(Reply {
            turn,
            request,
            leg: place.leg,
            deltas,
            rival: None,
            attempt: place.attempt,
            hedge_at: hedges.then(|| now + ms(wait)),
            token_by: Some(now + ms(self.watchdog.llm_first_token_ms)),
            stalled: false,
            said: String::new(),
            calls: Vec::new(),
            ends: false,
            rounds: place.rounds,
            spoke: place.spoke,
            broken: String::new(),
        });
    }

    /// Goes on with the results of the tools that the reply of `turn` waits for.
    pub fn resume(&mut self, turn: TurnId, results: Vec<(String, Pii<String>)>) {
        let Some(reply) = self.reply.take_if(|reply| reply.turn == turn) else { return };
        let Reply { mut request, said, calls, rounds, spoke, leg, .. } = reply;
        let spoke = spoke || !said.trim().is_empty();
        request.messages.push(Message::asking(said, calls));
        let answers = results.into_iter();
        request
            .messages
            .extend(answers.map(|(call, text)| Message::answering(call, text.into_inner())));
        let rounds = rounds + 1;
        if rounds >= TOOL_ROUNDS_MAX {
            request.tools = Arc::new([]);
        }
        // Who asked for the tools makes something of their results.
        let now = clock::now();
        let from = leg;
        let leg = self.route.begin(from, now);
        self.ready.extend(self.route.passed_over(from, leg));
        self.ask(turn, request, Place { leg, attempt: 1, rounds, spoke });
    }

    /// Whether the reply of `turn` has any words yet.
    pub fn has_spoken(&self, turn: TurnId) -> bool {
        let of = self.reply.as_ref().filter(|reply| reply.turn == turn);
        of.is_some_and(|reply| reply.spoke || !reply.said.trim().is_empty())
    }

    /// Drops the request of `turn`, if it is still the one under way.
    pub fn cancel(&mut self, turn: TurnId) {
        if self.reply.as_ref().is_some_and(|reply| reply.turn == turn) {
            self.reply = None;
        }
    }

    /// Cancellation-safe.
    pub(super) async fn next(&mut self) -> VoiceEvent {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event;
            }
            if let Some(warming) = &mut self.warming {
                // Warming is a courtesy: a reply that is wanted does not wait for it.
                if self.reply.is_none() {
                    warming.await;
                    self.warming = None;
                    return VoiceEvent::Ready(Stage::Llm);
                }
                self.warming = None;
            }
            let Some(reply) = &mut self.reply else { return pending().await };
            let rival = async {
                match &mut reply.rival {
                    Some((_, deltas)) => deltas.next().await,
                    None => pending().await,
                }
            };
            let (of_rival, item) = if reply.stalled {
                (false, Some(Err(self.stalled())))
            } else {
                tokio::select! {
                    biased;
                    item = reply.deltas.next() => (false, item),
                    item = rival => (true, item),
                }
            };
            let event = if of_rival { self.on_rival(item) } else { self.on_item(item) };
            if let Some(event) = event {
                return event;
            }
        }
    }

    fn stalled(&self) -> ProviderError {
        let begun = self.reply.as_ref().is_some_and(|reply| !reply.said.is_empty());
        let detail = if begun {
            format!("no token for {} ms within a reply", self.watchdog.stall_ms)
        } else {
            format!("no token within {} ms of the request", self.watchdog.llm_first_token_ms)
        };
        self.error(FailureKind::Stalled, detail)
    }

    fn error(&self, kind: FailureKind, detail: String) -> ProviderError {
        let leg = self.reply.as_ref().map_or(0, |reply| reply.leg);
        let provider = self.route.name(leg).to_owned();
        ProviderError { provider, stage: Stage::Llm, kind, detail }
    }

    /// The rival's first token makes the reply its own; its failure costs nothing.
    fn on_rival(&mut self, item: Option<Result<LlmDelta, ProviderError>>) -> Option<VoiceEvent> {
        let reply = self.reply.as_mut()?;
        let (leg, deltas) = reply.rival.take()?;
        match item {
            Some(Ok(LlmDelta::Sent | LlmDelta::Usage { .. })) => {
                reply.rival = Some((leg, deltas));
                None
            }
            Some(Ok(LlmDelta::Done)) | None => {
                self.lost(leg, FailureKind::Protocol);
                None
            }
            Some(Err(error)) => {
                self.lost(leg, error.kind);
                Some(VoiceEvent::Retrying(error))
            }
            Some(Ok(delta)) => {
                let from = std::mem::replace(&mut reply.leg, leg);
                reply.deltas = deltas;
                reply.attempt += 1;
                self.lost(from, FailureKind::Stalled);
                self.ready.push_back(self.route.failover(from, leg, SLOW));
                let event = self.on_item(Some(Ok(delta)));
                self.ready.extend(event);
                self.ready.pop_front()
            }
        }
    }

    fn lost(&mut self, leg: usize, kind: FailureKind) {
        metrics::provider_request("llm", self.route.name(leg), kind.as_str());
        self.route.failed(leg, kind, clock::now());
    }

    /// A first token came: nobody else needs to be asked.
    fn begun(&mut self, is_text: bool) {
        let stall = (is_text && !self.route.is_alone()).then(|| ms(self.watchdog.stall_ms));
        let Some(reply) = &mut self.reply else { return };
        reply.rival = None;
        reply.hedge_at = None;
        reply.token_by = stall.map(|stall| clock::now() + stall);
        self.route.worked(reply.leg);
    }

    fn on_item(&mut self, item: Option<Result<LlmDelta, ProviderError>>) -> Option<VoiceEvent> {
        let now = clock::now();
        let turn = self.reply.as_ref()?.turn;
        match item {
            Some(Ok(LlmDelta::Sent)) => Some(VoiceEvent::LlmSent(turn, now)),
            Some(Ok(LlmDelta::Text(text))) => {
                if text.is_empty() {
                    return None;
                }
                self.begun(true);
                let reply = self.reply.as_mut()?;
                let joint = if reply.said.is_empty() { joint(&reply.broken, &text) } else { "" };
                reply.said.push_str(&text);
                if let Some(tokens) = self.tokens.get_mut(reply.leg) {
                    tokens.answered(text.chars().count());
                }
                Some(VoiceEvent::LlmText(turn, format!("{joint}{text}"), now))
            }
            Some(Ok(LlmDelta::Usage { tokens_in, tokens_out })) => {
                let leg = self.reply.as_ref()?.leg;
                self.tokens.get_mut(leg)?.reported(tokens_in, tokens_out);
                None
            }
            Some(Ok(LlmDelta::Alive)) => {
                self.begun(false);
                Some(VoiceEvent::LlmAlive(turn))
            }
            Some(Ok(LlmDelta::ToolCall(call))) => {
                self.begun(false);
                self.reply.as_mut()?.calls.push(call);
                Some(VoiceEvent::LlmAlive(turn))
            }
            Some(Ok(LlmDelta::EndCall)) => {
                self.reply.as_mut()?.ends = true;
                Some(VoiceEvent::LlmEndCall(turn))
            }
            Some(Ok(LlmDelta::Done)) | None => self.on_done(turn),
            Some(Err(error)) => Some(self.on_error(error)),
        }
    }

    fn on_done(&mut self, turn: TurnId) -> Option<VoiceEvent> {
        let reply = self.reply.as_mut()?;
        let is_empty = reply.said.trim().is_empty() && reply.calls.is_empty();
        let owes = is_empty && !reply.ends && !reply.spoke && reply.broken.is_empty();
        if owes && !self.route.is_alone() {
            let error = self.error(FailureKind::Protocol, "a reply without a word".to_owned());
            return Some(self.on_error(error));
        }
        metrics::provider_request("llm", self.route.name(reply.leg), "ok");
        self.route.worked(reply.leg);
        if reply.calls.is_empty() {
            self.reply = None;
            return Some(VoiceEvent::LlmDone(turn));
        }
        reply.token_by = None;
        reply.deltas = futures_util::stream::pending().boxed();
        Some(VoiceEvent::LlmTools(turn, reply.calls.clone()))
    }

    fn on_error(&mut self, error: ProviderError) -> VoiceEvent {
        let Some(mut reply) = self.reply.take() else { return VoiceEvent::Retrying(error) };
        let now = clock::now();
        self.lost(reply.leg, error.kind);
        let (from, kind) = (reply.leg, error.kind);
        if let Some((leg, deltas)) = reply.rival.take() {
            // It was asked already.
            self.ready.push_back(self.route.failover(from, leg, kind.as_str()));
            (reply.leg, reply.deltas, reply.stalled) = (leg, deltas, false);
            reply.attempt += 1;
            reply.token_by = Some(now + ms(self.watchdog.llm_first_token_ms));
            self.reply = Some(reply);
            return VoiceEvent::Retrying(error);
        }
        let nothing_heard = reply.said.is_empty();
        let again = nothing_heard && kind.is_retryable();
        let again = again && reply.attempt < self.watchdog.attempts_max;
        // One that says nothing is not waited for twice if there is another.
        let again = again && (kind != FailureKind::Stalled || self.route.is_alone());
        let most = self.watchdog.attempts_max as usize + self.route.len();
        let leg = if again { Some(from) } else { self.route.after(from, now) };
        let Some(leg) = leg.filter(|_| (reply.attempt as usize) < most) else {
            self.route.forget();
            return VoiceEvent::LlmFailed(reply.turn, call_error(&error));
        };
        if leg != from {
            self.ready.push_back(self.route.failover(from, leg, kind.as_str()));
        }
        let Reply { turn, mut request, attempt, rounds, spoke, said, broken, .. } = reply;
        let place = Place { leg, attempt: attempt + 1, rounds, spoke };
        if !nothing_heard {
            // The words are out: another model goes on with them.
            request.messages.push(Message::new(Role::Assistant, said.clone()));
            request.messages.push(Message::new(Role::System, GO_ON.to_owned()));
        }
        self.ask(turn, request, place);
        if let Some(reply) = &mut self.reply {
            reply.broken = if nothing_heard { broken } else { said };
        }
        VoiceEvent::Retrying(error)
    }

    /// Adds the tokens of every request so far.
    pub(super) fn add_usage(&self, usage: &mut Vec<Usage>) {
        for (leg, tokens) in self.tokens.iter().enumerate() {
            let model = self.model(leg);
            if model.is_metered() {
                tokens.add_to(usage, model.name(), model.model());
            }
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        let reply = self.reply.as_ref().filter(|reply| !reply.stalled)?;
        [reply.token_by, reply.hedge_at].into_iter().flatten().min()
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        let Some(reply) = &mut self.reply else { return };
        reply.stalled |= reply.token_by.is_some_and(|by| by <= now);
        if reply.stalled || reply.hedge_at.is_none_or(|at| now < at) {
            return;
        }
        reply.hedge_at = None;
        let (leg, request) = (reply.leg, reply.request.clone());
        if let Some(other) = self.route.rival_of(leg, now) {
            let deltas = self.respond(other, request);
            if let Some(reply) = &mut self.reply {
                reply.rival = Some((other, deltas));
            }
        }
    }
}

/// What belongs between words that broke off and those that go on with them.
fn joint(broken: &str, text: &str) -> &'static str {
    let is_word = |c: char| c.is_alphanumeric();
    let ends = broken.chars().next_back().is_some_and(|c| !c.is_whitespace());
    if ends && text.starts_with(is_word) { " " } else { "" }
}

#[cfg(test)]
mod tests;
