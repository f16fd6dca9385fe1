//! Anthropic's Messages API, streamed.
//!
//! The system prompt stands apart and is marked for the vendor's cache; the rest alternates between `user`
//! and `assistant`, begins and ends with `user`, and answers every `tool_use` in the message after it. A
//! reply of a given shape is asked for as the arguments of a tool that must be called.
//! Source: platform.claude.com, `api/messages`, `build-with-claude/streaming`,
//! `agents-and-tools/tool-use`, `build-with-claude/prompt-caching`, `api/errors`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde_json::{Map, Value, json};

use super::reply::{self, Calls, Post, Reader, Refusal, STALL, WARM_UP, WARM_UP_BYTES_MAX};
use super::{JsonShape, Llm, LlmDelta, LlmRequest, Message, Role, ToolDef};
use crate::providers::config::{ConfigError, ProviderConfig, or_default};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, http};
use crate::types::Secret;

/// The form of the messages below.
pub(in crate::providers) const VERSION: &str = "2023-06-01";

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Llm> = Maker {
    capabilities: &["streaming", "tools", "temperature", "max_tokens"],
    models: &["claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5"],
    build,
};

/// Upper limit of a reply where none is asked for: the vendor demands one. Five minutes of speech.
const MAX_TOKENS: u32 = 1_024;

/// Stands where the vendor wants words of the caller and there are none: before a greeting, and after
/// words of the agent that nobody answered.
const SILENCE: &str = "\u{2026}";

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Llm>, ConfigError> {
    Ok(Arc::new(AnthropicLlm {
        name: name.to_owned(),
        base_url: config.http_url("https://api.anthropic.com")?,
        api_key: key,
        model: or_default(&config.model, "claude-haiku-4-5"),
        stall: STALL,
    }))
}

/// Settings of one model.
#[derive(Clone, Debug)]
pub struct AnthropicLlm {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `https://api.anthropic.com`.
    pub base_url: String,
    /// API key.
    pub api_key: Secret,
    /// Model, for example `claude-haiku-4-5`.
    pub model: String,
    /// Longest time without an octet of the reply.
    pub stall: Duration,
}

/// Whether a tool can be forced to give this shape: its arguments are an object.
fn is_object(shape: &JsonShape) -> bool {
    shape.schema.get("type").and_then(Value::as_str) == Some("object")
}

impl AnthropicLlm {
    fn body(&self, request: LlmRequest) -> Value {
        let LlmRequest { messages, tools, temperature, max_tokens, json: shape, .. } = request;
        let (system, messages) = conversation(messages);
        let mut body = Map::new();
        let mut set = |key: &str, value: Value| body.insert(key.to_owned(), value);
        set("model", json!(self.model));
        set("max_tokens", json!(max_tokens.unwrap_or(MAX_TOKENS)));
        set("stream", json!(true));
        set("messages", Value::Array(messages));
        if !system.is_empty() {
            set("system", Value::Array(system));
        }
        if let Some(value) = temperature {
            // Four digits: what was written, not what binary makes of it. The vendor takes 0 to 1.
            let value = (f64::from(value.clamp(0.0, 1.0)) * 1e4).round() / 1e4;
            set("temperature", json!(value));
        }
        if let Some(shape) = shape.filter(is_object) {
            let answer = json!({"name": shape.name, "description": "Gives the answer.",
                "input_schema": shape.schema});
            set("tools", json!([answer]));
            set("tool_choice", json!({"type": "tool", "name": shape.name}));
        } else if !tools.is_empty() {
            set("tools", Value::Array(tools.iter().map(tool).collect()));
        }
        Value::Object(body)
    }
}

fn tool(tool: &ToolDef) -> Value {
    let ToolDef { name, description, parameters } = tool;
    json!({"name": name, "description": description, "input_schema": parameters})
}

/// Turns in the vendor's order.
#[derive(Default)]
struct Turns {
    turns: Vec<(&'static str, Vec<Value>)>,
    /// Calls of the last turn that are not answered.
    open: Vec<String>,
}

impl Turns {
    fn push(&mut self, role: &'static str, block: Value) {
        match self.turns.last_mut() {
            Some((last, blocks)) if *last == role => blocks.push(block),
            _ => self.turns.push((role, vec![block])),
        }
    }

    /// A request with a call that has no answer is refused.
    fn close(&mut self) {
        for id in std::mem::take(&mut self.open) {
            self.push("user", result(&id, "no result", true));
        }
    }

    fn add(&mut self, message: Message) {
        let text = message.content.into_inner();
        match (message.role, message.answers) {
            (Role::Tool, Some(id)) => {
                // One that answers no open call would be refused.
                if let Some(at) = self.open.iter().position(|open| *open == id) {
                    self.open.remove(at);
                    self.push("user", result(&id, &text, false));
                }
            }
            (Role::Assistant, _) => {
                self.close();
                if self.turns.is_empty() {
                    self.push("user", words(SILENCE));
                }
                // Blank blocks are refused, and so is space at the end of the last one.
                if !text.trim().is_empty() {
                    self.push("assistant", words(text.trim_end()));
                }
                for call in message.calls {
                    let arguments = serde_json::from_str(call.arguments.reveal());
                    let input = arguments.ok().filter(Value::is_object).unwrap_or(json!({}));
                    self.push(
                        "assistant",
                        json!({"type": "tool_use", "id": call.id,
                        "name": call.name, "input": input}),
                    );
                    self.open.push(call.id);
                }
            }
            _ => {
                self.close();
                if !text.trim().is_empty() {
                    self.push("user", words(&text));
                }
            }
        }
    }
}

fn words(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn result(id: &str, text: &str, is_error: bool) -> Value {
    let mut block = json!({"type": "tool_result", "tool_use_id": id});
    if let Value::Object(fields) = &mut block {
        if !text.is_empty() {
            fields.insert("content".to_owned(), json!(text));
        }
        if is_error {
            fields.insert("is_error".to_owned(), json!(true));
        }
    }
    block
}

/// The system prompt's blocks, and the turns.
fn conversation(messages: Vec<Message>) -> (Vec<Value>, Vec<Value>) {
    let mut system = Vec::new();
    let mut turns = Turns::default();
    for message in messages {
        if message.role != Role::System {
            turns.add(message);
        } else if !message.content.reveal().trim().is_empty() {
            let mut block = words(message.content.reveal());
            // The first one stays the same for the whole call; what comes later changes.
            if system.is_empty()
                && let Value::Object(fields) = &mut block
            {
                fields.insert("cache_control".to_owned(), json!({"type": "ephemeral"}));
            }
            system.push(block);
        }
    }
    turns.close();
    if turns.turns.last().is_none_or(|(role, _)| *role != "user") {
        turns.push("user", words(SILENCE));
    }
    let message = |(role, content)| json!({"role": role, "content": content});
    (system, turns.turns.into_iter().map(message).collect())
}

/// What the vendor's name of an error means.
fn kind_of(name: &str) -> FailureKind {
    match name {
        "authentication_error" | "permission_error" => FailureKind::Auth,
        "rate_limit_error" | "billing_error" => FailureKind::RateLimited,
        "invalid_request_error" | "not_found_error" | "request_too_large" => {
            FailureKind::BadRequest
        }
        // `overloaded_error`, `api_error`, `timeout_error`.
        _ => FailureKind::Unavailable,
    }
}

/// What is known of a reply.
#[derive(Debug, Default)]
struct Messages {
    calls: Calls,
    /// The reply is the arguments of the tool that gives the shape.
    is_shaped: bool,
    tokens_in: u64,
    complete: bool,
}

impl Messages {
    /// Tokens of the request: those the cache gave and took are counted apart.
    fn count(&mut self, usage: Option<&Value>) {
        let Some(usage) = usage else { return };
        let names = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];
        let counts = names.map(|name| usage.get(name).and_then(Value::as_u64));
        if counts.iter().any(Option::is_some) {
            let sum = counts.iter().flatten().fold(0u64, |sum, count| sum.saturating_add(*count));
            self.tokens_in = self.tokens_in.max(sum);
        }
    }

    fn delta(&mut self, event: &Value, out: &mut Vec<LlmDelta>) {
        let index = event.get("index").and_then(Value::as_u64).unwrap_or_default();
        let Some(delta) = event.get("delta") else { return };
        let text = |name: &str| delta.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("type") {
            "text_delta" if self.is_shaped => {}
            "text_delta" if !text("text").is_empty() => {
                out.push(LlmDelta::Text(text("text").to_owned()));
            }
            "input_json_delta" if self.is_shaped => {
                if !text("partial_json").is_empty() {
                    out.push(LlmDelta::Text(text("partial_json").to_owned()));
                }
            }
            "input_json_delta" => {
                self.calls.add(index, text("partial_json"));
                out.push(LlmDelta::Alive);
            }
            _ => out.push(LlmDelta::Alive),
        }
    }

    fn last(&mut self, event: &Value, out: &mut Vec<LlmDelta>) -> Result<(), Refusal> {
        self.count(event.get("usage"));
        let tokens_out = event.pointer("/usage/output_tokens").and_then(Value::as_u64);
        if let Some(tokens_out) = tokens_out {
            out.push(LlmDelta::Usage { tokens_in: self.tokens_in, tokens_out });
        }
        match event.pointer("/delta/stop_reason").and_then(Value::as_str) {
            Some("refusal") => Err(Refusal(FailureKind::BadRequest, "the model refuses to answer")),
            Some(_) => {
                self.complete = true;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Reader for Messages {
    fn event(&mut self, event: &Value, out: &mut Vec<LlmDelta>) -> Result<(), Refusal> {
        match event.get("type").and_then(Value::as_str).unwrap_or_default() {
            "message_start" => self.count(event.pointer("/message/usage")),
            "content_block_start" => {
                let block = event.get("content_block");
                let text = |key: &str| block.and_then(|b| b.get(key)?.as_str()).unwrap_or_default();
                let index = event.get("index").and_then(Value::as_u64).unwrap_or_default();
                if text("type") == "tool_use" && !self.is_shaped {
                    self.calls.begin(index, text("id"), text("name"));
                    out.push(LlmDelta::Alive);
                } else if text("type") == "text" && !text("text").is_empty() && !self.is_shaped {
                    out.push(LlmDelta::Text(text("text").to_owned()));
                }
            }
            "content_block_delta" => self.delta(event, out),
            "message_delta" => self.last(event, out)?,
            "message_stop" => self.complete = true,
            "error" => {
                let name = event.pointer("/error/type").and_then(Value::as_str).unwrap_or_default();
                return Err(Refusal(kind_of(name), "the model reports an error in its reply"));
            }
            // `ping`, `content_block_stop`, and what is still to be invented.
            _ => {}
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn end(self, out: &mut Vec<LlmDelta>) {
        out.extend(self.calls.into_deltas());
    }
}

impl Llm for AnthropicLlm {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn warm_up(&self) -> BoxFuture<'static, ()> {
        // Refused for want of a key, which opens the connection all the same.
        let url = format!("{}/v1/models", self.base_url.trim_end_matches('/'));
        http::warm_up(url, Secret::default(), WARM_UP, WARM_UP_BYTES_MAX).boxed()
    }

    fn respond(&self, request: LlmRequest) -> BoxStream<'static, Result<LlmDelta, ProviderError>> {
        let is_shaped = request.json.as_ref().is_some_and(is_object);
        let post = Post {
            provider: self.name.clone(),
            url: format!("{}/v1/messages", self.base_url.trim_end_matches('/')),
            key: (!self.api_key.is_empty()).then(|| ("x-api-key", self.api_key.clone())),
            headers: &[("anthropic-version", VERSION)],
            body: self.body(request),
            stall: self.stall,
        };
        reply::respond(post, Messages { is_shaped, ..Messages::default() })
    }
}

/// Reads octets as a reply is read. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(data: &[u8]) -> usize {
    reply::read(data, Messages::default())
}

#[cfg(test)]
mod tests;
