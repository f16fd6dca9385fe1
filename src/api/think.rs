//! A language model's words without a call: for trying agents and templates.

use std::time::Duration;

use futures_util::StreamExt;

use crate::call::AgentSnapshot;
use crate::net::clock;
use crate::providers::llm::{LlmDelta, LlmRequest, Message, Role};

/// Longest wait for the whole answer; below that of a request.
const WAIT: Duration = Duration::from_secs(30);
/// Longest answer, characters.
const CHARS_MAX: usize = 30_000;

/// What a model said.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) text: String,
    pub(super) end_call: bool,
    pub(super) error: Option<String>,
    pub(super) first_token_ms: Option<u64>,
    pub(super) duration_ms: u64,
}

/// Asks an agent's model; its own prompt goes first.
pub(super) async fn think(
    agent: &AgentSnapshot,
    messages: Vec<Message>,
    conversation: String,
) -> Said {
    let mut all = vec![Message { role: Role::System, content: agent.prompt.clone() }];
    all.extend(messages);
    let request = LlmRequest {
        messages: all,
        temperature: agent.temperature,
        max_tokens: agent.max_tokens,
        conversation,
    };
    let start = clock::now();
    let ms = || {
        let took = clock::now().saturating_duration_since(start);
        u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
    };
    let mut said = Said::default();
    let mut deltas = agent.llm.respond(request);
    let reading = async {
        while let Some(delta) = deltas.next().await {
            match delta {
                Ok(LlmDelta::Text(text)) => {
                    said.first_token_ms.get_or_insert_with(ms);
                    said.text.push_str(&text);
                    if said.text.chars().count() > CHARS_MAX {
                        return;
                    }
                }
                Ok(LlmDelta::EndCall) => said.end_call = true,
                Ok(LlmDelta::Done) => return,
                Ok(_) => {}
                Err(error) => {
                    said.error = Some(error.to_string());
                    return;
                }
            }
        }
    };
    if tokio::time::timeout(WAIT, reading).await.is_err() {
        said.error = Some("the model did not answer in time".to_owned());
    }
    said.duration_ms = ms();
    said
}
