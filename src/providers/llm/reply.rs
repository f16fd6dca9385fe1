//! One request and its streamed reply, for models that answer with server-sent events of JSON.
//!
//! What differs between vendors is how an event is read. The request is sent once, at once, whenever the
//! stream is first polled; dropping the stream drops the connection, which every vendor takes as a
//! cancel. The octets pass a guard before anything is read of them.

use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::sse::{Guard, Refused};
use super::{ARGUMENTS_BYTES_MAX, LlmDelta, TOOL_CALLS_MAX, ToolCall};
use crate::providers::{FailureKind, ProviderError, Stage, http};
use crate::types::Secret;

/// Deltas that may wait for the call: two seconds of a fast model.
const DELTA_QUEUE: usize = 256;

/// Longest time without an octet of the reply; the call's watchdog speaks up long before.
pub(super) const STALL: Duration = Duration::from_secs(10);

/// What a warm-up may take before it is given up.
pub(super) const WARM_UP: Duration = Duration::from_secs(3);

/// Largest answer to a warm-up that is read to give the connection back.
pub(super) const WARM_UP_BYTES_MAX: usize = 256 * 1024;

/// Largest body of a refusal that is looked at.
const REFUSAL_BYTES_MAX: usize = 16 * 1024;

/// Longest wait for the body of a refusal.
const REFUSAL_WAIT: Duration = Duration::from_millis(500);

/// A request.
pub(super) struct Post {
    /// Name of the provider in the configuration.
    pub(super) provider: String,
    /// Without a key.
    pub(super) url: String,
    /// Header of the key, and the key.
    pub(super) key: Option<(&'static str, Secret)>,
    /// Further headers.
    pub(super) headers: &'static [(&'static str, &'static str)],
    pub(super) body: Value,
    /// Longest time without an octet.
    pub(super) stall: Duration,
}

/// Why an event ends the reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) FailureKind, pub(super) &'static str);

/// How a vendor's events are read.
pub(super) trait Reader: Send + 'static {
    /// One event.
    fn event(&mut self, event: &Value, out: &mut Vec<LlmDelta>) -> Result<(), Refusal>;
    /// Whether the vendor said that the reply is complete.
    fn is_complete(&self) -> bool;
    /// What is only known at the end.
    fn end(self, out: &mut Vec<LlmDelta>);
    /// What a refused request's status and body mean, if the status alone does not say it.
    fn refusal(_status: u16, _body: &Value) -> Option<FailureKind> {
        None
    }
}

/// Calls of tools, put together from their pieces.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: Vec<(u64, ToolCall)>,
}

impl Calls {
    /// A call begins. One too many is left out.
    pub(super) fn begin(&mut self, index: u64, id: &str, name: &str) {
        if self.calls.len() < TOOL_CALLS_MAX {
            let (id, name) = (id.to_owned(), name.to_owned());
            self.calls.push((index, ToolCall { id, name, ..ToolCall::default() }));
        }
    }

    /// More of a call's arguments; too many are cut, and are then no JSON.
    pub(super) fn add(&mut self, index: u64, more: &str) {
        let Some((_, call)) = self.calls.iter_mut().rev().find(|(of, _)| *of == index) else {
            return;
        };
        let mut arguments = std::mem::take(&mut call.arguments).into_inner();
        arguments.push_str(more);
        if arguments.len() > ARGUMENTS_BYTES_MAX {
            arguments.truncate(arguments.floor_char_boundary(ARGUMENTS_BYTES_MAX));
        }
        call.arguments = arguments.into();
    }

    /// The number of calls so far.
    pub(super) fn count(&self) -> usize {
        self.calls.len()
    }

    /// The calls in order, each as a delta. A tool without parameters has no pieces of arguments.
    pub(super) fn into_deltas(self) -> impl Iterator<Item = LlmDelta> {
        self.calls.into_iter().map(|(_, mut call)| {
            if call.arguments.reveal().trim().is_empty() {
                call.arguments = "{}".to_owned().into();
            }
            LlmDelta::ToolCall(call)
        })
    }
}

/// Whole lines of a reply, as their events.
#[derive(Default)]
struct Events {
    guard: Guard,
}

impl Events {
    fn push(&mut self, octets: &[u8]) -> Result<Vec<Value>, Refused> {
        let lines = self.guard.push(octets)?;
        let mut events = Vec::new();
        for line in lines.split(|octet| *octet == b'\n') {
            let Some(data) = line.strip_prefix(b"data:") else { continue };
            let data = data.trim_ascii();
            if !data.is_empty() && data != b"[DONE]" {
                events.push(serde_json::from_slice(data).map_err(|_| Refused::NotJson)?);
            }
        }
        Ok(events)
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Out = mpsc::Sender<Result<LlmDelta, ProviderError>>;

/// Sends a request and streams its reply.
pub(super) fn respond<R: Reader>(
    post: Post,
    reader: R,
) -> BoxStream<'static, Result<LlmDelta, ProviderError>> {
    let (out, deltas) = mpsc::channel(DELTA_QUEUE);
    // A task of its own: the request leaves at once, whenever the stream is first polled.
    let task = AbortOnDrop(tokio::spawn(async move {
        if let Err(error) = post.run(reader, &out).await {
            // Nobody listens to the failure of a reply that was canceled.
            let _ = out.send(Err(error)).await;
        }
    }));
    stream::unfold((deltas, task), |(mut deltas, task)| async move {
        deltas.recv().await.map(|delta| (delta, (deltas, task)))
    })
    .boxed()
}

impl Post {
    fn error(&self, kind: FailureKind, detail: impl Into<String>) -> ProviderError {
        let (provider, detail) = (self.provider.clone(), detail.into());
        ProviderError { provider, stage: Stage::Llm, kind, detail }
    }

    fn stalled(&self) -> ProviderError {
        let detail = format!("read the reply: nothing within {} s", self.stall.as_secs_f32());
        self.error(FailureKind::Stalled, detail)
    }

    fn request(&self, left: oneshot::Sender<()>) -> Result<reqwest::RequestBuilder, ProviderError> {
        let failed = |error| http::error(&self.provider, Stage::Llm, "make a client", error);
        let client = http::client().map_err(failed)?;
        let body = http::Departing::new(self.body.to_string().into(), Some(left));
        let mut request = client
            .post(&self.url)
            .header("content-type", "application/json")
            .header("accept", "text/event-stream");
        if let Some((name, key)) = &self.key {
            let mut value = reqwest::header::HeaderValue::from_str(key.expose()).map_err(|_| {
                self.error(FailureKind::Auth, "the key holds characters no header can carry")
            })?;
            value.set_sensitive(true);
            request = request.header(*name, value);
        }
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        Ok(request.body(body))
    }

    /// Asks, tells when the request has left, and waits for the head of the answer. `None`: nobody listens.
    async fn ask(&self, out: &Out) -> Result<Option<reqwest::Response>, ProviderError> {
        let (left, has_left) = oneshot::channel();
        let asking = self.request(left)?.send().boxed();
        let asking = tokio::time::timeout(self.stall, asking);
        tokio::pin!(asking);
        tokio::pin!(has_left);
        let mut waits_for_sent = true;
        loop {
            tokio::select! {
                biased;
                sent = &mut has_left, if waits_for_sent => {
                    waits_for_sent = false;
                    if sent.is_ok() && out.send(Ok(LlmDelta::Sent)).await.is_err() {
                        return Ok(None);
                    }
                }
                answer = &mut asking => {
                    let failed = |e| http::error(&self.provider, Stage::Llm, "ask the model", e);
                    return answer.map_err(|_| self.stalled())?.map(Some).map_err(failed);
                }
            }
        }
    }

    /// What a refusal is. Of its body only the vendor's code is read: the words may quote the prompt.
    async fn refused<R: Reader>(&self, answer: reqwest::Response) -> ProviderError {
        let status = answer.status().as_u16();
        let body = http::bounded(answer, REFUSAL_BYTES_MAX);
        let body = match tokio::time::timeout(REFUSAL_WAIT, body).await {
            Ok(Ok(Some(body))) => serde_json::from_slice(&body).unwrap_or_default(),
            _ => Value::Null,
        };
        let kind = R::refusal(status, &body).unwrap_or_else(|| http::kind_of_status(status));
        self.error(kind, format!("ask the model: HTTP {status}"))
    }

    async fn run<R: Reader>(&self, mut reader: R, out: &Out) -> Result<(), ProviderError> {
        let Some(answer) = self.ask(out).await? else { return Ok(()) };
        if !answer.status().is_success() {
            return Err(self.refused::<R>(answer).await);
        }
        let mut octets = answer.bytes_stream();
        let mut events = Events::default();
        let mut deltas = Vec::new();
        while let Some(chunk) =
            tokio::time::timeout(self.stall, octets.next()).await.map_err(|_| self.stalled())?
        {
            let failed = |error| http::error(&self.provider, Stage::Llm, "read the reply", error);
            let read = events.push(&chunk.map_err(failed)?).map_err(|refused| {
                self.error(FailureKind::Protocol, format!("read the reply: {refused}"))
            })?;
            let mut refusal = None;
            for event in read {
                if let Err(Refusal(kind, detail)) = reader.event(&event, &mut deltas) {
                    refusal = Some(self.error(kind, detail));
                    break;
                }
            }
            for delta in deltas.drain(..) {
                if out.send(Ok(delta)).await.is_err() {
                    return Ok(());
                }
            }
            if let Some(error) = refusal {
                return Err(error);
            }
        }
        if !reader.is_complete() {
            return Err(self.error(FailureKind::Cut, "read the reply: it ends in the middle"));
        }
        reader.end(&mut deltas);
        deltas.push(LlmDelta::Done);
        for delta in deltas {
            // Nobody listens to the end of a reply that was canceled.
            let _ = out.send(Ok(delta)).await;
        }
        Ok(())
    }
}

/// Reads octets as a reply is read; how many deltas they become. Never panics.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read<R: Reader>(data: &[u8], mut reader: R) -> usize {
    let mut deltas = Vec::new();
    let mut events = Events::default();
    // As lines of a stream, and as the data of one event.
    let mut all = events.push(data).unwrap_or_default();
    all.extend(serde_json::from_slice(data));
    for event in all {
        let _ = reader.event(&event, &mut deltas);
        let _ = R::refusal(400, &event);
    }
    reader.end(&mut deltas);
    deltas.len()
}
