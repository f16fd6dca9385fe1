//! OpenAI-compatible chat completions, streamed: OpenAI, Groq, Ollama, vLLM, llama.cpp and the like.
//!
//! The one file that names `async-openai`. Its client runs over our own transport, which asks once (the
//! crate's default would repeat 429 and 5xx with pauses of its own), reads no error body (the crate
//! would log it) and guards the octets of the reply. Dropping the stream drops the connection, which
//! every server of this kind takes as a cancel.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::sse::{Guard, Seen};
use super::{
    ARGUMENTS_BYTES_MAX, JsonShape, Llm, LlmDelta, LlmRequest, Message, Role, TOOL_CALLS_MAX,
    ToolCall,
};
use crate::providers::config::{ConfigError, ProviderConfig, or_default};
use crate::providers::vendors::Maker;
use crate::providers::{FailureKind, ProviderError, Stage, http};
use crate::types::Secret;

/// What a warm-up may take before it is given up.
const WARM_UP: Duration = Duration::from_secs(3);

/// Largest list of models that is read to give the connection back.
const WARM_UP_BYTES_MAX: usize = 256 * 1024;

/// Deltas that may wait for the call: two seconds of a fast model.
const DELTA_QUEUE: usize = 256;

/// Longest time without an octet of the reply; the call's watchdog speaks up long before.
const STALL: Duration = Duration::from_secs(10);

/// How it is made.
pub(in crate::providers) static MAKER: Maker<dyn Llm> = Maker {
    capabilities: &["streaming", "tools", "temperature", "max_tokens"],
    models: &["gpt-4o-mini", "gpt-4o", "gpt-4.1-mini", "gpt-4.1"],
    build,
};

fn build(name: &str, config: &ProviderConfig, key: Secret) -> Result<Arc<dyn Llm>, ConfigError> {
    Ok(Arc::new(OpenAiLlm {
        name: name.to_owned(),
        base_url: config.http_url("https://api.openai.com/v1")?,
        api_key: key,
        model: or_default(&config.model, "gpt-4o-mini"),
    }))
}

/// Settings of one model.
#[derive(Clone, Debug)]
pub struct OpenAiLlm {
    /// Name in the configuration.
    pub name: String,
    /// Base URL, by default `https://api.openai.com/v1`.
    pub base_url: String,
    /// API key; empty for local servers.
    pub api_key: Secret,
    /// Model, for example `gpt-4o-mini`.
    pub model: String,
}

impl OpenAiLlm {
    fn error(&self, kind: FailureKind, detail: impl Into<String>) -> ProviderError {
        ProviderError {
            provider: self.name.clone(),
            stage: Stage::Llm,
            kind,
            detail: detail.into(),
        }
    }

    /// The request's body: written here and not by the crate's types, because compatible servers refuse
    /// what they do not know, and the crate grows.
    fn body(&self, request: LlmRequest) -> Value {
        let mut body = json!({
            "model": self.model,
            "messages": request.messages.into_iter().map(message).collect::<Vec<_>>(),
            "stream": true,
        });
        // OpenAI's newer models refuse the old name; Ollama, llama.cpp and others ignore the new one.
        let limit = if self.base_url.contains("api.openai.com") {
            "max_completion_tokens"
        } else {
            "max_tokens"
        };
        let tools: Vec<Value> = request.tools.iter().map(function).collect();
        // Some compatible servers refuse the option; those that count send their count unasked.
        let usage = self.base_url.contains("api.openai.com");
        let more = [
            ("stream_options", usage.then(|| json!({"include_usage": true}))),
            ("response_format", request.json.map(response_format)),
            ("temperature", request.temperature.map(|value| json!(rounded(value)))),
            (limit, request.max_tokens.map(|value| json!(value))),
            ("tools", (!tools.is_empty()).then_some(Value::Array(tools))),
        ];
        if let Value::Object(fields) = &mut body {
            let more = more.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
            fields.extend(more);
        }
        body
    }

    fn classify(&self, error: OpenAIError) -> ProviderError {
        match error {
            OpenAIError::Reqwest(error) => {
                http::error(&self.name, Stage::Llm, "ask the model", error)
            }
            OpenAIError::Boxed(error) => match error.downcast::<Status>() {
                Ok(status) => {
                    let Status(status) = *status;
                    let kind = http::kind_of_status(status);
                    self.error(kind, format!("ask the model: HTTP {status}"))
                }
                Err(_) => self.error(FailureKind::Protocol, "ask the model: not an answer"),
            },
            OpenAIError::InvalidArgument(_) => {
                self.error(FailureKind::BadRequest, "ask the model: the request is not valid")
            }
            OpenAIError::StreamError(_) => {
                self.error(FailureKind::Cut, "read the reply: the stream broke")
            }
            _ => self.error(FailureKind::Protocol, "read the reply: not a chat completion"),
        }
    }

    /// Asks and passes the reply on. Ends early when nobody listens.
    async fn run(
        &self,
        http: reqwest::Client,
        body: Value,
        out: &mpsc::Sender<Result<LlmDelta, ProviderError>>,
    ) -> Result<(), ProviderError> {
        let seen = Seen::default();
        let (left, has_left) = oneshot::channel();
        let transport =
            Transport { http: http.clone(), key: self.api_key.clone(), seen: seen.clone(), left };
        let config = OpenAIConfig::new().with_api_base(self.base_url.trim_end_matches('/'));
        let client = Client::build(http, config).with_http_service(transport.into_service());
        let chat = client.chat();
        let asking = chat.create_stream_byot::<_, Chunk>(body);
        tokio::pin!(asking);
        tokio::pin!(has_left);
        let mut waits_for_sent = true;
        let mut deltas = loop {
            tokio::select! {
                biased;
                sent = &mut has_left, if waits_for_sent => {
                    waits_for_sent = false;
                    if sent.is_ok() && out.send(Ok(LlmDelta::Sent)).await.is_err() {
                        return Ok(());
                    }
                }
                answer = tokio::time::timeout(STALL, &mut asking) => match answer {
                    Ok(answer) => break answer.map_err(|error| self.classify(error))?,
                    Err(_) => return Err(self.stalled()),
                },
            }
        };
        let mut finished = false;
        let mut asked = Asked::default();
        loop {
            let chunk = match tokio::time::timeout(STALL, deltas.next()).await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(_) => return Err(self.stalled()),
            };
            let chunk = chunk.map_err(|error| {
                if seen.is_refused() {
                    self.error(FailureKind::Protocol, "read the reply: not a chat completion")
                } else {
                    self.classify(error)
                }
            })?;
            if let Some(error) = chunk.failure() {
                return Err(self.error(error, "the model reports an error in its reply"));
            }
            finished |= chunk.is_last();
            if let Some((tokens_in, tokens_out)) = chunk.usage()
                && out.send(Ok(LlmDelta::Usage { tokens_in, tokens_out })).await.is_err()
            {
                return Ok(());
            }
            if asked.add(&chunk) && out.send(Ok(LlmDelta::Alive)).await.is_err() {
                return Ok(());
            }
            if let Some(text) = chunk.into_text()
                && out.send(Ok(LlmDelta::Text(text))).await.is_err()
            {
                return Ok(());
            }
        }
        if !finished && !seen.is_done() {
            return Err(self.error(FailureKind::Cut, "read the reply: it ends in the middle"));
        }
        // Nobody listens to the end of a reply that was canceled.
        for call in asked.into_calls() {
            let _ = out.send(Ok(LlmDelta::ToolCall(call))).await;
        }
        let _ = out.send(Ok(LlmDelta::Done)).await;
        Ok(())
    }

    fn stalled(&self) -> ProviderError {
        let detail = format!("read the reply: nothing within {} s", STALL.as_secs());
        self.error(FailureKind::Stalled, detail)
    }
}

/// `response_format` of a request that wants JSON of a shape.
fn response_format(shape: JsonShape) -> Value {
    let mut schema = json!({"name": shape.name, "schema": shape.schema});
    if shape.strict
        && let Value::Object(fields) = &mut schema
    {
        fields.insert("strict".to_owned(), Value::Bool(true));
    }
    json!({"type": "json_schema", "json_schema": schema})
}

fn message(message: Message) -> Value {
    let text = message.content.into_inner();
    match (message.role, message.answers) {
        (Role::System, _) => json!({"role": "system", "content": text}),
        (Role::User, _) => json!({"role": "user", "content": text}),
        (Role::Tool, id) => json!({"role": "tool", "tool_call_id": id, "content": text}),
        (Role::Assistant, _) if message.calls.is_empty() => {
            json!({"role": "assistant", "content": text})
        }
        (Role::Assistant, _) => {
            let content = if text.is_empty() { Value::Null } else { Value::String(text) };
            let calls: Vec<Value> = message.calls.into_iter().map(call).collect();
            json!({"role": "assistant", "content": content, "tool_calls": calls})
        }
    }
}

/// Four digits: what was written, not what binary makes of it.
fn rounded(value: f32) -> f64 {
    (f64::from(value) * 1e4).round() / 1e4
}

fn call(call: ToolCall) -> Value {
    let function = json!({"name": call.name, "arguments": call.arguments.into_inner()});
    json!({"id": call.id, "type": "function", "function": function})
}

fn function(tool: &super::ToolDef) -> Value {
    let super::ToolDef { name, description, parameters } = tool;
    let function = json!({"name": name, "description": description, "parameters": parameters});
    json!({"type": "function", "function": function})
}

/// Calls of tools, put together from their pieces.
#[derive(Debug, Default)]
struct Asked {
    calls: Vec<(Option<u64>, ToolCall)>,
}

impl Asked {
    /// Takes the pieces of one event; whether there were any. A piece belongs to the call with its
    /// `index`; servers that give none send whole calls, each with an `id` of its own.
    fn add(&mut self, chunk: &Chunk) -> bool {
        let pieces = chunk
            .choice()
            .and_then(|choice| choice.get("delta")?.get("tool_calls")?.as_array())
            .map(Vec::as_slice)
            .unwrap_or_default();
        for piece in pieces {
            self.piece(piece);
        }
        !pieces.is_empty()
    }

    fn piece(&mut self, piece: &Value) {
        let index = piece.get("index").and_then(Value::as_u64);
        let id = piece.get("id").and_then(Value::as_str).unwrap_or_default();
        let function = piece.get("function");
        let name = function.and_then(|function| function.get("name")?.as_str()).unwrap_or_default();
        let known = match index {
            Some(_) => self.calls.iter().position(|(of, _)| *of == index),
            None if id.is_empty() => self.calls.len().checked_sub(1),
            None => self.calls.iter().position(|(_, call)| call.id == id),
        };
        let at = known.unwrap_or(self.calls.len());
        if at == self.calls.len() {
            if self.calls.len() >= TOOL_CALLS_MAX {
                return;
            }
            self.calls.push((index, ToolCall::default()));
        }
        let Some((_, call)) = self.calls.get_mut(at) else { return };
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
        }
        if call.name.is_empty() {
            name.clone_into(&mut call.name);
        }
        let mut arguments = std::mem::take(&mut call.arguments).into_inner();
        match function.and_then(|function| function.get("arguments")) {
            Some(Value::String(more)) => arguments.push_str(more),
            // Some local servers give the object itself.
            Some(Value::Object(whole)) => arguments = Value::Object(whole.clone()).to_string(),
            _ => {}
        }
        if arguments.len() > ARGUMENTS_BYTES_MAX {
            arguments.truncate(arguments.floor_char_boundary(ARGUMENTS_BYTES_MAX));
        }
        call.arguments = arguments.into();
    }

    /// The calls in order; those without an id get one.
    fn into_calls(self) -> impl Iterator<Item = ToolCall> {
        self.calls.into_iter().enumerate().map(|(at, (_, call))| {
            let id = if call.id.is_empty() { format!("call_{at}") } else { call.id };
            ToolCall { id, ..call }
        })
    }
}

impl Llm for OpenAiLlm {
    fn name(&self) -> &str {
        &self.name
    }

    fn model(&self) -> Option<&str> {
        Some(&self.model)
    }

    fn warm_up(&self) -> BoxFuture<'static, ()> {
        http::warm_up(
            format!("{}/models", self.base_url.trim_end_matches('/')),
            self.api_key.clone(),
            WARM_UP,
            WARM_UP_BYTES_MAX,
        )
        .boxed()
    }

    fn respond(&self, request: LlmRequest) -> BoxStream<'static, Result<LlmDelta, ProviderError>> {
        let http = match http::client() {
            Ok(http) => http,
            Err(error) => {
                let error = http::error(&self.name, Stage::Llm, "make a client", error);
                return stream::iter([Err(error)]).boxed();
            }
        };
        let this = self.clone();
        let body = self.body(request);
        let (out, deltas) = mpsc::channel(DELTA_QUEUE);
        // A task of its own: the request leaves at once, whenever the stream is first polled.
        let task = AbortOnDrop(tokio::spawn(async move {
            if let Err(error) = this.run(http, body, &out).await {
                // Nobody listens to the failure of a reply that was canceled.
                let _ = out.send(Err(error)).await;
            }
        }));
        stream::unfold((deltas, task), |(mut deltas, task)| async move {
            deltas.recv().await.map(|delta| (delta, (deltas, task)))
        })
        .boxed()
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer that is not a success. Its body is not read: it may quote the prompt.
#[derive(Debug, thiserror::Error)]
#[error("HTTP {0}")]
struct Status(u16);

/// Sends one request once.
struct Transport {
    http: reqwest::Client,
    key: Secret,
    seen: Seen,
    left: oneshot::Sender<()>,
}

impl Transport {
    /// The service that the client calls; `left` fires with the first call only.
    fn into_service(
        self,
    ) -> impl tower::Service<
        HttpRequestFactory,
        Response = reqwest::Response,
        Error = OpenAIError,
        Future = BoxFuture<'static, Result<reqwest::Response, OpenAIError>>,
    > + Clone
    + Send
    + Sync
    + 'static {
        let Self { http, key, seen, left } = self;
        let left = std::sync::Arc::new(std::sync::Mutex::new(Some(left)));
        tower::service_fn(move |factory: HttpRequestFactory| {
            let (http, key, seen) = (http.clone(), key.clone(), seen.clone());
            let left = left.lock().ok().and_then(|mut left| left.take());
            async move { send(http, key, seen, left, factory).await }.boxed()
        })
    }
}

async fn send(
    http: reqwest::Client,
    key: Secret,
    seen: Seen,
    left: Option<oneshot::Sender<()>>,
    factory: HttpRequestFactory,
) -> Result<reqwest::Response, OpenAIError> {
    let mut request = factory.build().await?;
    let headers = request.headers_mut();
    // The client writes `Bearer ` even for no key, which some local servers refuse.
    headers.remove(reqwest::header::AUTHORIZATION);
    if !key.is_empty() {
        let mut value = format!("Bearer {}", key.expose())
            .parse::<reqwest::header::HeaderValue>()
            .map_err(|_| OpenAIError::Boxed(Box::new(Status(401))))?;
        value.set_sensitive(true);
        headers.insert(reqwest::header::AUTHORIZATION, value);
    }
    if let Some(body) = request.body_mut().take() {
        let octets = body.as_bytes().map(Bytes::copy_from_slice);
        *request.body_mut() =
            Some(octets.map_or(body, |octets| http::Departing::new(octets, left).into()));
    }
    let response = http.execute(request).await.map_err(OpenAIError::Reqwest)?;
    let status = response.status();
    if !status.is_success() {
        return Err(OpenAIError::Boxed(Box::new(Status(status.as_u16()))));
    }
    let guard = Guard::new(seen);
    let octets = response.bytes_stream().scan(guard, |guard, chunk| {
        let passed = match chunk {
            Ok(chunk) => guard.push(&chunk).map_err(std::io::Error::from),
            Err(error) => Err(std::io::Error::other(error.without_url())),
        };
        std::future::ready(Some(passed))
    });
    Ok(http::response_of(Guarded(octets.boxed())))
}

/// A body that was guarded.
struct Guarded(BoxStream<'static, Result<Bytes, std::io::Error>>);

impl futures_util::Stream for Guarded {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

/// One event, with nothing required: compatible servers leave out what they do not know.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Value")]
pub(super) struct Chunk {
    value: Value,
}

impl From<Value> for Chunk {
    fn from(value: Value) -> Self {
        Self { value }
    }
}

impl Chunk {
    /// What kind of failure the event reports, if it does.
    fn failure(&self) -> Option<FailureKind> {
        let error = self.value.get("error").filter(|error| !error.is_null())?;
        let code = error.get("code").or_else(|| error.get("status_code"));
        let status = code.and_then(|code| match code {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        });
        if let Some(status) = status.and_then(|status| u16::try_from(status).ok()) {
            return Some(http::kind_of_status(status));
        }
        let named = |word: &str| {
            ["code", "type"]
                .iter()
                .filter_map(|key| error.get(key)?.as_str())
                .any(|text| text.contains(word))
        };
        Some(if named("rate_limit") || named("quota") {
            FailureKind::RateLimited
        } else if named("auth") || named("api_key") {
            FailureKind::Auth
        } else if named("invalid_request") {
            FailureKind::BadRequest
        } else {
            FailureKind::Unavailable
        })
    }

    fn choice(&self) -> Option<&Value> {
        self.value.get("choices")?.get(0)
    }

    /// Whether the model says that it is finished.
    fn is_last(&self) -> bool {
        self.choice()
            .and_then(|choice| choice.get("finish_reason"))
            .is_some_and(|reason| !reason.is_null())
    }

    /// Tokens in and out, if the event counts them: the last event of a reply, by most servers.
    fn usage(&self) -> Option<(u64, u64)> {
        let usage = ["/usage", "/x_groq/usage"]
            .iter()
            .find_map(|path| self.value.pointer(path).filter(|usage| usage.is_object()))?;
        let count = |name: &str| usage.get(name)?.as_u64();
        Some((count("prompt_tokens")?, count("completion_tokens")?))
    }

    fn into_text(self) -> Option<String> {
        let text = self.choice()?.get("delta")?.get("content")?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// Reads one event as the reply's reader does. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn parse(data: &[u8]) -> Option<String> {
    let mut guard = Guard::default();
    let _ = guard.push(data);
    let chunk: Chunk = serde_json::from_slice(data).ok()?;
    let _ = (chunk.failure(), chunk.is_last(), chunk.usage());
    let mut asked = Asked::default();
    asked.add(&chunk);
    asked.add(&chunk);
    assert!(asked.into_calls().all(|call| call.arguments.reveal().len() <= ARGUMENTS_BYTES_MAX));
    chunk.into_text()
}

#[cfg(test)]
mod tests;
