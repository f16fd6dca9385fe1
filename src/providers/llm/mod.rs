//! The language model: the trait, its request and its deltas.

pub mod openai;
pub mod scripted;
pub(super) mod sse;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use super::ProviderError;
use crate::types::Pii;

/// A model that answers a conversation.
pub trait Llm: Send + Sync {
    /// Name in the configuration, for example `openai`.
    fn name(&self) -> &str;
    /// Model, if it has one.
    fn model(&self) -> Option<&str>;
    /// Opens connections before they are needed. Failure is not an error: the request will tell.
    fn warm_up(&self) -> BoxFuture<'static, ()>;
    /// Whether its tokens are counted: not those of a dialogue that only stands in a model's place.
    fn is_metered(&self) -> bool {
        true
    }
    /// Whether a question may be asked that is perhaps not the one: not of a dialogue that moves on
    /// with each of them.
    fn may_be_asked_twice(&self) -> bool {
        true
    }
    /// Starts a reply. Dropping the stream cancels the request at the provider.
    fn respond(&self, request: LlmRequest) -> BoxStream<'static, Result<LlmDelta, ProviderError>>;
}

/// Role of a message, in the words of a chat completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

/// Calls of tools that one reply may ask for; further ones are left out.
pub const TOOL_CALLS_MAX: usize = 32;
/// Longest arguments of one call, bytes: a long page. Longer ones are cut, and are then no JSON.
pub const ARGUMENTS_BYTES_MAX: usize = 64 * 1024;

/// A function that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolDef {
    /// Name the model calls it by.
    pub name: String,
    /// When and how to use it.
    pub description: String,
    /// JSON Schema of the arguments.
    pub parameters: serde_json::Value,
}

/// A call of a tool that the model asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// Chosen by the model; the answer names it.
    pub id: String,
    /// Which tool.
    pub name: String,
    /// JSON as the model wrote it, unchecked.
    pub arguments: Pii<String>,
}

/// One message of the conversation so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whose.
    pub role: Role,
    /// Text; for the assistant only what the caller heard, for a tool its result.
    pub content: Pii<String>,
    /// What the assistant asked for besides talking.
    pub calls: Vec<ToolCall>,
    /// Which call a tool's message answers.
    pub answers: Option<String>,
}

impl Message {
    /// Words of somebody.
    pub fn new(role: Role, content: impl Into<Pii<String>>) -> Self {
        Self { role, content: content.into(), calls: Vec::new(), answers: None }
    }

    /// What the assistant said and asked for.
    pub fn asking(content: impl Into<Pii<String>>, calls: Vec<ToolCall>) -> Self {
        Self { calls, ..Self::new(Role::Assistant, content) }
    }

    /// Result of a tool.
    pub fn answering(call: impl Into<String>, result: impl Into<Pii<String>>) -> Self {
        Self { answers: Some(call.into()), ..Self::new(Role::Tool, result) }
    }
}

/// A request for the next reply.
#[derive(Clone, Debug, Default)]
pub struct LlmRequest {
    /// System prompt, then the conversation in order.
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: std::sync::Arc<[ToolDef]>,
    /// Sampling temperature.
    pub temperature: Option<f32>,
    /// Upper limit of the reply.
    pub max_tokens: Option<u32>,
    /// Stable identifier of the call, for providers that keep a cache or (like the scripted dialogue) a state.
    pub conversation: String,
    /// The reply is JSON of this shape, where the provider can promise it; the prompt says so besides.
    pub json: Option<JsonShape>,
}

/// JSON that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonShape {
    /// Name of the shape: letters, digits, `_` and `-`, at most 64.
    pub name: String,
    /// JSON Schema.
    pub schema: serde_json::Value,
    /// Whether the schema keeps to what a strict mode takes.
    pub strict: bool,
}

/// One piece of a streamed reply.
#[derive(Clone, Debug, PartialEq)]
pub enum LlmDelta {
    /// The request has left (first byte written): instant L0 of the ledger is taken here.
    Sent,
    /// Text to speak.
    Text(String),
    /// The model is at work on something that is not spoken.
    Alive,
    /// A tool to call, whole. The reply ends after the last one; the next request carries the results.
    ToolCall(ToolCall),
    /// The agent wants the call to end once its words are spoken.
    EndCall,
    /// What the request took, in the provider's own count; of several the last is right.
    Usage {
        /// Tokens of the request.
        tokens_in: u64,
        /// Tokens of the reply.
        tokens_out: u64,
    },
    /// The reply is complete.
    Done,
}
