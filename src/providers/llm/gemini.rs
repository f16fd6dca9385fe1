//! Gemini's `streamGenerateContent`, as server-sent events.
//!
//! Contents alternate between `user` and `model` and begin with `user`; calls of functions are answered in
//! the message after them, by order and name. A blocked prompt or reply is a failure, not an empty reply.
//! Models from the third generation on want the signature of their thoughts back with each call; it is not
//! kept, and the value that the vendor gives for histories without one stands in its place.
//! Source: ai.google.dev, `api/generate-content`, `gemini-api/docs/function-calling`,
//! `structured-output`, `thought-signatures`, `thinking`, `troubleshooting`.

mod schema;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde_json::{Map, Value, json};

use super::reply::{self, Calls, Post, Reader, Refusal, STALL, WARM_UP, WARM_UP_BYTES_MAX};
use super::{Llm, LlmDelta, LlmRequest, Message, Role, ToolCall, ToolDef};
use crate::providers::config::{ConfigError, ProviderConfig, or_default};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, http};
use crate::types::Secret;

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Llm> = Maker {
    capabilities: &["streaming", "tools", "temperature", "max_tokens"],
    models: &["gemini-2.5-flash", "gemini-2.5-flash-lite", "gemini-2.5-pro"],
    build,
};

/// Stands where the vendor wants words of the caller and there are none.
const SILENCE: &str = "\u{2026}";

/// What the vendor gives for calls whose signature is not known.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// Identifiers of calls that the model gave none.
const OWN_ID: &str = "call_";

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Llm>, ConfigError> {
    Ok(Arc::new(GeminiLlm {
        name: name.to_owned(),
        base_url: config.http_url("https://generativelanguage.googleapis.com/v1beta")?,
        api_key: key,
        model: or_default(&config.model, "gemini-2.5-flash"),
        stall: STALL,
    }))
}

/// Settings of one model.
#[derive(Clone, Debug)]
pub struct GeminiLlm {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `https://generativelanguage.googleapis.com/v1beta`.
    pub base_url: String,
    /// API key.
    pub api_key: Secret,
    /// Model, for example `gemini-2.5-flash`.
    pub model: String,
    /// Longest time without an octet of the reply.
    pub stall: Duration,
}

impl GeminiLlm {
    /// Whether calls must carry a signature.
    fn signs(&self) -> bool {
        !["gemini-1", "gemini-2"].iter().any(|old| self.model.starts_with(old))
    }

    fn body(&self, request: LlmRequest) -> Value {
        let LlmRequest { messages, tools, temperature, max_tokens, json: shape, .. } = request;
        let (system, contents) = conversation(messages, self.signs());
        let mut config = Map::new();
        if let Some(value) = temperature {
            // Four digits: what was written, not what binary makes of it.
            let value = (f64::from(value) * 1e4).round() / 1e4;
            config.insert("temperature".to_owned(), json!(value));
        }
        if let Some(limit) = max_tokens {
            config.insert("maxOutputTokens".to_owned(), json!(limit));
        }
        if self.model.starts_with("gemini-2.5-flash") {
            // Thoughts are seconds of silence on a telephone.
            config.insert("thinkingConfig".to_owned(), json!({"thinkingBudget": 0}));
        }
        let mut body = Map::new();
        body.insert("contents".to_owned(), Value::Array(contents));
        if !system.is_empty() {
            body.insert("systemInstruction".to_owned(), json!({"parts": system}));
        }
        if let Some(shape) = shape {
            // The vendor takes either a shape or functions.
            config.insert("responseMimeType".to_owned(), json!("application/json"));
            config.insert("responseSchema".to_owned(), schema::subset(&shape.schema));
        } else if !tools.is_empty() {
            let functions: Vec<Value> = tools.iter().map(function).collect();
            body.insert("tools".to_owned(), json!([{"functionDeclarations": functions}]));
        }
        if !config.is_empty() {
            body.insert("generationConfig".to_owned(), Value::Object(config));
        }
        Value::Object(body)
    }
}

fn function(tool: &ToolDef) -> Value {
    let ToolDef { name, description, parameters } = tool;
    let mut function = json!({"name": name, "description": description});
    // An object without properties is refused.
    let properties = parameters.get("properties").and_then(Value::as_object);
    if properties.is_some_and(|properties| !properties.is_empty())
        && let Value::Object(fields) = &mut function
    {
        fields.insert("parameters".to_owned(), schema::subset(parameters));
    }
    function
}

/// Turns in the vendor's order.
#[derive(Default)]
struct Turns {
    turns: Vec<(&'static str, Vec<Value>)>,
    /// Calls of the last turn, and what each gave.
    open: Vec<(ToolCall, Option<String>)>,
    signs: bool,
}

/// A call's identifier, if it is the model's own.
fn with_id(mut part: Value, id: &str) -> Value {
    if !id.starts_with(OWN_ID)
        && let Value::Object(fields) = &mut part
    {
        fields.insert("id".to_owned(), json!(id));
    }
    part
}

impl Turns {
    fn push(&mut self, role: &'static str, part: Value) {
        match self.turns.last_mut() {
            Some((last, parts)) if *last == role => parts.push(part),
            _ => self.turns.push((role, vec![part])),
        }
    }

    /// Answers the open calls, all of them and in order.
    fn close(&mut self) {
        for (call, result) in std::mem::take(&mut self.open) {
            let response = match result {
                Some(text) => match serde_json::from_str(&text) {
                    Ok(value @ Value::Object(_)) => value,
                    _ => json!({"result": text}),
                },
                None => json!({"error": "no result"}),
            };
            let answer = with_id(json!({"name": call.name, "response": response}), &call.id);
            self.push("user", json!({"functionResponse": answer}));
        }
    }

    fn add(&mut self, message: Message) {
        let text = message.content.into_inner();
        match (message.role, message.answers) {
            (Role::Tool, Some(id)) => {
                let mut open = self.open.iter_mut().filter(|(_, result)| result.is_none());
                if let Some((_, result)) = open.find(|(call, _)| call.id == id) {
                    *result = Some(text);
                }
            }
            (Role::Assistant, _) => {
                self.close();
                if self.turns.is_empty() {
                    self.push("user", json!({"text": SILENCE}));
                }
                if !text.trim().is_empty() {
                    self.push("model", json!({"text": text}));
                }
                for call in message.calls {
                    let arguments = serde_json::from_str(call.arguments.reveal());
                    let args = arguments.ok().filter(Value::is_object).unwrap_or(json!({}));
                    let asked = with_id(json!({"name": call.name, "args": args}), &call.id);
                    let mut part = json!({"functionCall": asked});
                    if self.signs
                        && let Value::Object(fields) = &mut part
                    {
                        fields.insert("thoughtSignature".to_owned(), json!(NO_SIGNATURE));
                    }
                    self.push("model", part);
                    self.open.push((call, None));
                }
            }
            _ => {
                self.close();
                if !text.trim().is_empty() {
                    self.push("user", json!({"text": text}));
                }
            }
        }
    }
}

/// The system instruction's parts, and the contents.
fn conversation(messages: Vec<Message>, signs: bool) -> (Vec<Value>, Vec<Value>) {
    let mut system = Vec::new();
    let mut turns = Turns { signs, ..Turns::default() };
    for message in messages {
        if message.role != Role::System {
            turns.add(message);
        } else if !message.content.reveal().trim().is_empty() {
            system.push(json!({"text": message.content.reveal()}));
        }
    }
    turns.close();
    if turns.turns.last().is_none_or(|(role, _)| *role != "user") {
        turns.push("user", json!({"text": SILENCE}));
    }
    let content = |(role, parts)| json!({"role": role, "parts": parts});
    (system, turns.turns.into_iter().map(content).collect())
}

/// What is known of a reply.
#[derive(Debug, Default)]
struct Content {
    calls: Calls,
    /// Number of the reply's first call in the conversation: identifiers of our own must not repeat.
    first_call: usize,
    usage: Option<(u64, u64)>,
    complete: bool,
}

impl Content {
    fn part(&mut self, part: &Value, out: &mut Vec<LlmDelta>) {
        if let Some(call) = part.get("functionCall") {
            let text = |key: &str| call.get(key).and_then(Value::as_str).unwrap_or_default();
            let at = self.calls.count();
            let own = format!("{OWN_ID}{}", self.first_call.saturating_add(at));
            let id = if text("id").is_empty() { &own } else { text("id") };
            self.calls.begin(at as u64, id, text("name"));
            if let Some(args) = call.get("args").filter(|args| args.is_object()) {
                self.calls.add(at as u64, &args.to_string());
            }
            out.push(LlmDelta::Alive);
        } else if part.get("thought") == Some(&Value::Bool(true)) {
            out.push(LlmDelta::Alive);
        } else if let Some(text) = part.get("text").and_then(Value::as_str)
            && !text.is_empty()
        {
            out.push(LlmDelta::Text(text.to_owned()));
        }
    }

    fn finish(&mut self, reason: &str) -> Result<(), Refusal> {
        match reason {
            "STOP" | "MAX_TOKENS" => {
                self.complete = true;
                Ok(())
            }
            "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "MALFORMED_RESPONSE" => {
                Err(Refusal(FailureKind::Protocol, "the model's call of a function is not one"))
            }
            "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "LANGUAGE"
            | "IMAGE_SAFETY" => {
                Err(Refusal(FailureKind::BadRequest, "the provider blocks the reply"))
            }
            _ => Err(Refusal(FailureKind::Unavailable, "the model gives up")),
        }
    }

    fn count(&mut self, usage: &Value) {
        let count = |name: &str| usage.get(name).and_then(Value::as_u64);
        if let Some(tokens_in) = count("promptTokenCount") {
            let said = count("candidatesTokenCount").unwrap_or_default();
            let thought = count("thoughtsTokenCount").unwrap_or_default();
            self.usage = Some((tokens_in, said.saturating_add(thought)));
        }
    }
}

/// A refused key is a bad request to this vendor; only the reason among the details tells.
fn is_key(error: &Value) -> bool {
    let details = error.get("details").and_then(Value::as_array);
    details.is_some_and(|details| {
        details.iter().any(|detail| detail.get("reason") == Some(&json!("API_KEY_INVALID")))
    })
}

impl Reader for Content {
    fn event(&mut self, event: &Value, out: &mut Vec<LlmDelta>) -> Result<(), Refusal> {
        if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
            let code = error.get("code").and_then(Value::as_u64);
            let code = code.and_then(|code| u16::try_from(code).ok());
            let kind = match code {
                _ if is_key(error) => FailureKind::Auth,
                Some(code) => http::kind_of_status(code),
                None => FailureKind::Unavailable,
            };
            return Err(Refusal(kind, "the model reports an error in its reply"));
        }
        if event.pointer("/promptFeedback/blockReason").is_some_and(Value::is_string) {
            return Err(Refusal(FailureKind::BadRequest, "the provider blocks the prompt"));
        }
        if let Some(usage) = event.get("usageMetadata") {
            self.count(usage);
        }
        let parts = event.pointer("/candidates/0/content/parts").and_then(Value::as_array);
        for part in parts.map(Vec::as_slice).unwrap_or_default() {
            self.part(part, out);
        }
        match event.pointer("/candidates/0/finishReason").and_then(Value::as_str) {
            Some(reason) => self.finish(reason),
            None => Ok(()),
        }
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn end(self, out: &mut Vec<LlmDelta>) {
        if let Some((tokens_in, tokens_out)) = self.usage {
            out.push(LlmDelta::Usage { tokens_in, tokens_out });
        }
        out.extend(self.calls.into_deltas());
    }

    fn refusal(status: u16, body: &Value) -> Option<FailureKind> {
        // Without `alt=sse` in force the error stands in a list.
        let error = body.get("error").or_else(|| body.pointer("/0/error"))?;
        (status == 400 && is_key(error)).then_some(FailureKind::Auth)
    }
}

impl Llm for GeminiLlm {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn warm_up(&self) -> BoxFuture<'static, ()> {
        // Refused for want of a key, which opens the connection all the same.
        let url = format!("{}/models", self.base_url.trim_end_matches('/'));
        http::warm_up(url, Secret::default(), WARM_UP, WARM_UP_BYTES_MAX).boxed()
    }

    fn respond(&self, request: LlmRequest) -> BoxStream<'static, Result<LlmDelta, ProviderError>> {
        let first_call = request.messages.iter().map(|message| message.calls.len()).sum();
        let base = self.base_url.trim_end_matches('/');
        let model = self.model.strip_prefix("models/").unwrap_or(&self.model);
        let post = Post {
            provider: self.name.clone(),
            url: format!("{base}/models/{model}:streamGenerateContent?alt=sse"),
            key: (!self.api_key.is_empty()).then(|| ("x-goog-api-key", self.api_key.clone())),
            headers: &[],
            body: self.body(request),
            stall: self.stall,
        };
        reply::respond(post, Content { first_call, ..Content::default() })
    }
}

/// Reads octets as a reply is read. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(data: &[u8]) -> usize {
    reply::read(data, Content::default())
}

#[cfg(test)]
mod tests;
