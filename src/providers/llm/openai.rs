//! OpenAI-compatible chat completions, streamed: OpenAI, Groq, Ollama, vLLM, llama.cpp and the like.
//!
//! The one file that names `async-openai`. Dropping the stream drops the connection, which every
//! server of this kind takes as a cancel.

use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::types::chat::{
    ChatCompletionRequestAssistantMessage, ChatCompletionRequestMessage,
    ChatCompletionRequestSystemMessage, ChatCompletionRequestUserMessage,
    CreateChatCompletionRequest,
};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};

use super::{Llm, LlmDelta, LlmRequest, Message, Role};
use crate::providers::{FailureKind, ProviderError, Stage, http};
use crate::types::Secret;

/// What a warm-up may take before it is given up.
const WARM_UP: Duration = Duration::from_secs(3);

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

    fn client(&self) -> Result<Client<OpenAIConfig>, ProviderError> {
        let http = http::client()
            .map_err(|error| http::error(&self.name, Stage::Llm, "make a client", error))?;
        let config = OpenAIConfig::new()
            .with_api_base(self.base_url.trim_end_matches('/'))
            .with_api_key(self.api_key.expose());
        Ok(Client::with_config(config).with_http_client(http))
    }

    fn body(&self, request: LlmRequest) -> CreateChatCompletionRequest {
        CreateChatCompletionRequest {
            model: self.model.clone(),
            messages: request.messages.into_iter().map(message).collect(),
            temperature: request.temperature,
            max_completion_tokens: request.max_tokens,
            stream: Some(true),
            ..CreateChatCompletionRequest::default()
        }
    }

    fn classify(&self, error: OpenAIError) -> ProviderError {
        match error {
            OpenAIError::Reqwest(error) => {
                http::error(&self.name, Stage::Llm, "ask the model", error)
            }
            OpenAIError::ApiError(error) => {
                let status = error.status_code.as_u16();
                // The provider's own words may quote the prompt: only the status is kept.
                self.error(http::kind_of_status(status), format!("ask the model: HTTP {status}"))
            }
            OpenAIError::InvalidArgument(_) => {
                self.error(FailureKind::BadRequest, "ask the model: the request is not valid")
            }
            OpenAIError::StreamError(_) => {
                self.error(FailureKind::Cut, "read the reply: the stream broke")
            }
            _ => self.error(FailureKind::Protocol, "read the reply: not a chat completion"),
        }
    }
}

fn message(message: Message) -> ChatCompletionRequestMessage {
    let text = message.content.into_inner();
    match message.role {
        Role::System => ChatCompletionRequestSystemMessage::from(text).into(),
        Role::User => ChatCompletionRequestUserMessage::from(text).into(),
        Role::Assistant => ChatCompletionRequestAssistantMessage::from(text).into(),
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
        let url = format!("{}/models", self.base_url.trim_end_matches('/'));
        let key = self.api_key.clone();
        async move {
            let Ok(client) = http::client() else { return };
            let mut request = client.get(url).timeout(WARM_UP);
            if !key.is_empty() {
                request = request.bearer_auth(key.expose());
            }
            // Only the open connection matters; reading the body gives it back to the pool.
            if let Ok(response) = request.send().await {
                let _ = response.bytes().await;
            }
        }
        .boxed()
    }

    fn respond(&self, request: LlmRequest) -> BoxStream<'static, Result<LlmDelta, ProviderError>> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let this = self.clone();
        let body = self.body(request);
        let sent = stream::iter([Ok(LlmDelta::Sent)]);
        let reply = async move {
            match client.chat().create_stream(body).await {
                Ok(deltas) => deltas
                    .filter_map(move |item| {
                        let delta = match item {
                            Ok(chunk) => text_of(&chunk).map(|text| Ok(LlmDelta::Text(text))),
                            Err(error) => Some(Err(this.classify(error))),
                        };
                        std::future::ready(delta)
                    })
                    .chain(stream::iter([Ok(LlmDelta::Done)]))
                    .boxed(),
                Err(error) => stream::iter([Err(this.classify(error))]).boxed(),
            }
        };
        sent.chain(reply.into_stream().flatten()).boxed()
    }
}

fn text_of(
    chunk: &async_openai::types::chat::CreateChatCompletionStreamResponse,
) -> Option<String> {
    let text = chunk.choices.first()?.delta.content.clone()?;
    (!text.is_empty()).then_some(text)
}
