//! One question to a model: the whole answer, its tokens, and a second try where one can help.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;

use super::prompt;
use crate::dsl::shape::Shape;
use crate::providers::llm::{JsonShape, Llm, LlmDelta, LlmRequest, Message};
use crate::providers::{FailureKind, ProviderError, Stage};
use crate::telemetry::metrics;
use crate::usage::Tokens;

/// Longest answer, bytes: far above any form that a call could fill in.
const ANSWER_BYTES_MAX: usize = 65_536;
/// Upper limit of an answer in tokens.
const ANSWER_TOKENS_MAX: u32 = 4_096;
/// Times a provider that is down is asked for one answer, the first included.
const TRIES_MAX: u32 = 3;
/// Answers to one question: the first, and one that knows what was wrong with it.
const ANSWERS_MAX: u32 = 2;
/// Longest name of a shape that providers take.
const NAME_CHARS_MAX: usize = 64;

/// Why there is no answer. Holds no word of the call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Provider(#[from] ProviderError),
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    #[error("the answer is empty")]
    Empty,
    #[error("the second answer was no better: {0}")]
    Shape(crate::dsl::shape::ShapeError),
}

/// A conversation with one model about one call.
pub(super) struct Asker {
    pub(super) llm: Arc<dyn Llm>,
    /// Pause before a provider that is down is asked again.
    pub(super) pause: Duration,
    pub(super) conversation: String,
    pub(super) tokens: Meter,
}

/// The tokens of one question, for whoever asked and whoever pays.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter(Arc<Mutex<Tokens>>);

impl Meter {
    fn change(&self, change: impl FnOnce(&mut Tokens)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was counted so far.
    pub(super) fn total(&self) -> Tokens {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Asker {
    /// Asks for text.
    pub(super) async fn text(&mut self, messages: Vec<Message>) -> Result<String, AskError> {
        let answer = self.whole(&messages, None).await?;
        let answer = answer.trim();
        if answer.is_empty() { Err(AskError::Empty) } else { Ok(answer.to_owned()) }
    }

    /// Asks for JSON of a shape; an answer that has not got it is sent back once.
    pub(super) async fn json(
        &mut self,
        mut messages: Vec<Message>,
        name: &str,
        shape: &Shape,
    ) -> Result<Value, AskError> {
        let mut promised = Some(promise(name, shape));
        for answers in 1.. {
            let answer = match self.whole(&messages, promised.clone()).await {
                // Not every server knows shapes: the prompt asks for the same.
                Err(AskError::Provider(error))
                    if promised.is_some() && error.kind == FailureKind::BadRequest =>
                {
                    promised = None;
                    self.whole(&messages, None).await?
                }
                other => other?,
            };
            match shape.accept(&answer) {
                Ok(value) => return Ok(value),
                Err(error) if answers >= ANSWERS_MAX => return Err(AskError::Shape(error)),
                Err(error) => prompt::again(&mut messages, answer, &error.to_string()),
            }
        }
        Err(AskError::Empty)
    }

    async fn whole(
        &mut self,
        messages: &[Message],
        json: Option<JsonShape>,
    ) -> Result<String, AskError> {
        for tries in 1.. {
            let result = self.once(messages, json.clone()).await;
            let outcome = match &result {
                Ok(_) => "ok",
                Err(AskError::Provider(error)) => error.kind.as_str(),
                Err(_) => FailureKind::Protocol.as_str(),
            };
            metrics::provider_request("llm", self.llm.name(), outcome);
            match result {
                Err(AskError::Provider(error)) if tries < TRIES_MAX && may_pass(error.kind) => {
                    tokio::time::sleep(self.pause * tries).await;
                }
                other => return other,
            }
        }
        Err(AskError::Empty)
    }

    async fn once(
        &mut self,
        messages: &[Message],
        json: Option<JsonShape>,
    ) -> Result<String, AskError> {
        let chars = messages.iter().map(|m| m.content.reveal().chars().count()).sum();
        self.tokens.change(|tokens| tokens.asked(chars));
        let mut deltas = self.llm.respond(LlmRequest {
            messages: messages.to_vec(),
            temperature: None,
            max_tokens: Some(ANSWER_TOKENS_MAX),
            conversation: self.conversation.clone(),
            json,
            ..LlmRequest::default()
        });
        let mut answer = String::new();
        let mut done = false;
        while let Some(delta) = deltas.next().await {
            match delta? {
                LlmDelta::Text(text) => {
                    self.tokens.change(|tokens| tokens.answered(text.chars().count()));
                    answer.push_str(&text);
                    if answer.len() > ANSWER_BYTES_MAX {
                        return Err(AskError::TooLong);
                    }
                }
                LlmDelta::Usage { tokens_in, tokens_out } => {
                    self.tokens.change(|tokens| tokens.reported(tokens_in, tokens_out));
                }
                LlmDelta::Done => done = true,
                LlmDelta::Sent | LlmDelta::EndCall | LlmDelta::Alive | LlmDelta::ToolCall(_) => {}
            }
        }
        if done {
            return Ok(answer);
        }
        Err(AskError::Provider(ProviderError {
            provider: self.llm.name().to_owned(),
            stage: Stage::Llm,
            kind: FailureKind::Cut,
            detail: "read the answer: it ends in the middle".to_owned(),
        }))
    }
}

/// Whether waiting can help.
fn may_pass(kind: FailureKind) -> bool {
    kind.is_retryable() || kind == FailureKind::RateLimited
}

fn promise(name: &str, shape: &Shape) -> JsonShape {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = name.chars().map(plain).take(NAME_CHARS_MAX).collect();
    let mut schema = shape.schema().clone();
    if shape.is_strict()
        && let Some(object) = schema.as_object_mut()
    {
        object.insert("required".to_owned(), shape.keys().into());
    }
    JsonShape {
        name: if name.is_empty() { "answer".to_owned() } else { name },
        schema,
        strict: shape.is_strict(),
    }
}
