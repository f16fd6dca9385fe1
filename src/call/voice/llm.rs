//! The language model's line: one reply at a time, retried once while nothing of it was heard.

use std::future::pending;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::{VoiceEvent, WatchdogConfig, call_error, ms};
use crate::call::agent::AgentSnapshot;
use crate::net::clock;
use crate::providers::llm::{LlmDelta, LlmRequest, Message, Role};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::telemetry::metrics;
use crate::types::call::TurnRole;
use crate::types::{Pii, TurnId};

type Deltas = BoxStream<'static, Result<LlmDelta, ProviderError>>;

struct Reply {
    turn: TurnId,
    request: LlmRequest,
    deltas: Deltas,
    attempt: u32,
    /// Until the first token: when the watchdog gives up waiting.
    first_token_by: Option<Instant>,
    stalled: bool,
}

/// The line.
pub struct LlmLine {
    agent: Arc<AgentSnapshot>,
    watchdog: WatchdogConfig,
    conversation: String,
    reply: Option<Reply>,
    warming: Option<futures_util::future::BoxFuture<'static, ()>>,
}

impl LlmLine {
    /// Begins to open connections.
    pub(super) fn open(
        agent: Arc<AgentSnapshot>,
        watchdog: WatchdogConfig,
        conversation: String,
    ) -> Self {
        let warming = Some(agent.llm.warm_up());
        Self { agent, watchdog, conversation, reply: None, warming }
    }

    /// Asks for the reply of `turn`; a reply under way is dropped.
    pub fn start(&mut self, turn: TurnId, history: Vec<(TurnRole, Pii<String>)>) {
        let mut messages = Vec::with_capacity(history.len() + 1);
        messages.push(Message { role: Role::System, content: self.agent.prompt.clone() });
        if let Some(context) = &self.agent.facts.context {
            let content = format!("Context of this call, as JSON: {}", context.reveal());
            messages.push(Message { role: Role::System, content: content.into() });
        }
        messages.extend(history.into_iter().map(|(role, content)| Message {
            role: match role {
                TurnRole::User => Role::User,
                TurnRole::Assistant => Role::Assistant,
                TurnRole::System | TurnRole::Tool => Role::System,
            },
            content,
        }));
        let request = LlmRequest {
            messages,
            temperature: self.agent.temperature,
            max_tokens: self.agent.max_tokens,
            conversation: self.conversation.clone(),
        };
        self.ask(turn, request, 1);
    }

    fn ask(&mut self, turn: TurnId, request: LlmRequest, attempt: u32) {
        let deltas = self.agent.llm.respond(request.clone());
        let first_token_by = Some(clock::now() + ms(self.watchdog.llm_first_token_ms));
        self.reply = Some(Reply { turn, request, deltas, attempt, first_token_by, stalled: false });
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
                Some(VoiceEvent::LlmText(turn, text, now))
            }
            Some(Ok(LlmDelta::EndCall)) => Some(VoiceEvent::LlmEndCall(turn)),
            Some(Ok(LlmDelta::Done)) | None => {
                self.reply = None;
                metrics::provider_request("llm", self.agent.llm.name(), "ok");
                Some(VoiceEvent::LlmDone(turn))
            }
            Some(Err(error)) => Some(self.on_error(error)),
        }
    }

    fn on_error(&mut self, error: ProviderError) -> VoiceEvent {
        metrics::provider_request("llm", self.agent.llm.name(), error.kind.as_str());
        let Some(reply) = self.reply.take() else { return VoiceEvent::Retrying(error) };
        let nothing_heard = reply.first_token_by.is_some();
        if nothing_heard && error.kind.is_retryable() && reply.attempt < self.watchdog.attempts_max
        {
            self.ask(reply.turn, reply.request, reply.attempt + 1);
            return VoiceEvent::Retrying(error);
        }
        VoiceEvent::LlmFailed(reply.turn, call_error(&error))
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
