//! The language model's line: one reply at a time, retried once while nothing of it was heard.
//!
//! A reply may take several requests: the model asks for tools, [`VoiceEvent::LlmTools`] tells the session,
//! and [`LlmLine::resume`] asks again with their results. What is retried is the last request only, so
//! that no tool runs twice for one wish of the model.

use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::{VoiceEvent, WatchdogConfig, call_error, ms};
use crate::call::agent::AgentSnapshot;
use crate::net::clock;
use crate::providers::llm::{LlmDelta, LlmRequest, Message, Role, ToolCall, ToolDef};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::telemetry::metrics;
use crate::types::call::TurnRole;
use crate::types::{Pii, TurnId, Usage};
use crate::usage::Tokens;

type Deltas = BoxStream<'static, Result<LlmDelta, ProviderError>>;

struct Reply {
    turn: TurnId,
    request: LlmRequest,
    deltas: Deltas,
    attempt: u32,
    /// Until the first token: when the watchdog gives up waiting.
    first_token_by: Option<Instant>,
    stalled: bool,
    /// Text of this request.
    said: String,
    /// Tools that this request asks for.
    calls: Vec<ToolCall>,
    /// Rounds of tools before this request.
    rounds: u32,
    /// Whether an earlier request of this reply gave words.
    spoke: bool,
}

/// Rounds of tools in one reply. After the last the model is offered none, and has to talk.
pub(super) const TOOL_ROUNDS_MAX: u32 = 10;

/// The line.
pub struct LlmLine {
    agent: Arc<AgentSnapshot>,
    watchdog: WatchdogConfig,
    conversation: String,
    reply: Option<Reply>,
    tools: Arc<[ToolDef]>,
    warming: Option<futures_util::future::BoxFuture<'static, ()>>,
    tokens: Tokens,
}

impl LlmLine {
    /// Begins to open connections.
    pub(super) fn open(
        agent: Arc<AgentSnapshot>,
        watchdog: WatchdogConfig,
        conversation: String,
    ) -> Self {
        let warming = Some(agent.llm.warm_up());
        let definition = |tool: &crate::tools::ToolSpec| ToolDef {
            name: tool.name.clone(),
            description: tool.description(),
            parameters: tool.parameters(),
        };
        let tools = agent.tools.iter().map(definition).collect();
        let tokens = Tokens::default();
        Self { agent, watchdog, conversation, reply: None, tools, warming, tokens }
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
        self.ask(turn, request, (1, 0, false));
    }

    fn ask(
        &mut self,
        turn: TurnId,
        request: LlmRequest,
        (attempt, rounds, spoke): (u32, u32, bool),
    ) {
        let chars = request.messages.iter().map(|m| m.content.reveal().chars().count()).sum();
        self.tokens.asked(chars);
        let deltas = self.agent.llm.respond(request.clone());
        let first_token_by = Some(clock::now() + ms(self.watchdog.llm_first_token_ms));
        self.reply = Some(Reply {
            turn,
            request,
            deltas,
            attempt,
            first_token_by,
            stalled: false,
            said: String::new(),
            calls: Vec::new(),
            rounds,
            spoke,
        });
    }

    /// Goes on with the results of the tools that the reply of `turn` waits for.
    pub fn resume(&mut self, turn: TurnId, results: Vec<(String, Pii<String>)>) {
        let Some(reply) = self.reply.take_if(|reply| reply.turn == turn) else { return };
        let Reply { mut request, said, calls, rounds, spoke, .. } = reply;
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
        self.ask(turn, request, (1, rounds, spoke));
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
            let item = if reply.stalled {
                Some(Err(ProviderError {
                    provider: self.agent.llm.name().to_owned(),
                    stage: Stage::Llm,
                    kind: FailureKind::Stalled,
                    detail: format!(
                        "no token within {} ms of the request",
                        self.watchdog.llm_first_token_ms
                    ),
                }))
            } else {
                reply.deltas.next().await
            };
            if let Some(event) = self.on_item(item) {
                return event;
            }
        }
    }

    fn on_item(&mut self, item: Option<Result<LlmDelta, ProviderError>>) -> Option<VoiceEvent> {
        let now = clock::now();
        let reply = self.reply.as_mut()?;
        let turn = reply.turn;
        match item {
            Some(Ok(LlmDelta::Sent)) => Some(VoiceEvent::LlmSent(turn, now)),
            Some(Ok(LlmDelta::Text(text))) => {
                if text.is_empty() {
                    return None;
                }
                reply.first_token_by = None;
                reply.said.push_str(&text);
                self.tokens.answered(text.chars().count());
                Some(VoiceEvent::LlmText(turn, text, now))
            }
            Some(Ok(LlmDelta::Usage { tokens_in, tokens_out })) => {
                self.tokens.reported(tokens_in, tokens_out);
                None
            }
            Some(Ok(LlmDelta::Alive)) => {
                reply.first_token_by = None;
                Some(VoiceEvent::LlmAlive(turn))
            }
            Some(Ok(LlmDelta::ToolCall(call))) => {
                reply.first_token_by = None;
                reply.calls.push(call);
                Some(VoiceEvent::LlmAlive(turn))
            }
            Some(Ok(LlmDelta::EndCall)) => Some(VoiceEvent::LlmEndCall(turn)),
            Some(Ok(LlmDelta::Done)) | None => {
                metrics::provider_request("llm", self.agent.llm.name(), "ok");
                if reply.calls.is_empty() {
                    self.reply = None;
                    return Some(VoiceEvent::LlmDone(turn));
                }
                reply.deltas = futures_util::stream::pending().boxed();
                Some(VoiceEvent::LlmTools(turn, reply.calls.clone()))
            }
            Some(Err(error)) => Some(self.on_error(error)),
        }
    }

    fn on_error(&mut self, error: ProviderError) -> VoiceEvent {
        metrics::provider_request("llm", self.agent.llm.name(), error.kind.as_str());
        let Some(reply) = self.reply.take() else { return VoiceEvent::Retrying(error) };
        let nothing_heard = reply.said.is_empty();
        if nothing_heard && error.kind.is_retryable() && reply.attempt < self.watchdog.attempts_max
        {
            self.ask(reply.turn, reply.request, (reply.attempt + 1, reply.rounds, reply.spoke));
            return VoiceEvent::Retrying(error);
        }
        VoiceEvent::LlmFailed(reply.turn, call_error(&error))
    }

    /// Adds the tokens of every request so far.
    pub(super) fn add_usage(&self, usage: &mut Vec<Usage>) {
        if self.agent.llm.is_metered() {
            self.tokens.add_to(usage, self.agent.llm.name(), self.agent.llm.model());
        }
    }

    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.reply.as_ref().filter(|reply| !reply.stalled).and_then(|reply| reply.first_token_by)
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        if let Some(reply) = &mut self.reply {
            reply.stalled |= reply.first_token_by.is_some_and(|by| by <= now);
        }
    }
}
