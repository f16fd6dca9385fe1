//! The mock model: chat completions with server-sent events, a word a token.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::http::{self, Request};
use super::{Fault, LlmScript, Peer, What};

fn reply_to(body: &[u8], script: &LlmScript) -> String {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let wanted = request.pointer("/response_format/json_schema/schema");
    if !script.json.is_empty() && wanted.is_some_and(Value::is_object) {
        return script.json.clone();
    }
    let replies = &script.replies;
    let asked = request
        .get("messages")
        .and_then(Value::as_array)
        .map_or(0, |all| all.iter().filter(|m| m.get("role") == Some(&json!("user"))).count());
    let at = asked.saturating_sub(1).checked_rem(replies.len()).unwrap_or(0);
    replies.get(at).cloned().unwrap_or_default()
}

/// The last message of the agent in a request.
fn last_words(body: &[u8]) -> Option<String> {
    let request: Value = serde_json::from_slice(body).ok()?;
    let messages = request.get("messages")?.as_array()?;
    let last = messages.iter().rev().find(|m| m.get("role") == Some(&json!("assistant")))?;
    last.get("content")?.as_str().map(str::to_owned)
}

pub(super) async fn chat(
    stream: &mut TcpStream,
    peer: &Peer,
    request: &Request,
    fault: &Fault,
) -> Option<()> {
    peer.put(What::LlmRequest);
    if let Some(words) = last_words(&request.body) {
        peer.put(What::LlmHistory(words));
    }
    let script = peer.shared.script().llm;
    let reply = reply_to(&request.body, &script);
    let late = if let Fault::SlowFirstByte(late) = fault { *late } else { Duration::ZERO };
    http::pause(stream, script.first_token + late).await?;
    http::begin(stream, "text/event-stream").await?;
    if *fault == Fault::BadJson {
        http::chunk(stream, b"data: {\"choices\": canary-of-the-provider\n\n").await?;
        return http::chunk(stream, b"").await;
    }
    let mut first_sentence = true;
    let words = if *fault == Fault::Empty { "" } else { reply.as_str() };
    for (index, word) in words.split_inclusive(' ').enumerate() {
        if index > 0 {
            http::pause(stream, script.token_gap).await?;
        }
        let event = json!({"choices": [{"index": 0, "delta": {"content": word}}]});
        http::chunk(stream, format!("data: {event}\n\n").as_bytes()).await?;
        if first_sentence && word.trim_end().ends_with(['.', '!', '?']) {
            first_sentence = false;
            peer.put(What::LlmFirstSentenceSent);
        }
        match fault {
            Fault::Cut { .. } => return None,
            Fault::Stall => {
                http::until_closed(stream).await;
                return None;
            }
            _ => {}
        }
    }
    let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
    let mut end = format!("data: {last}\n\n");
    if let Some((tokens_in, tokens_out)) = script.usage {
        let counted = json!({"choices": [], "usage":
            {"prompt_tokens": tokens_in, "completion_tokens": tokens_out}});
        end.push_str(&format!("data: {counted}\n\n"));
    }
    end.push_str("data: [DONE]\n\n");
    http::chunk(stream, end.as_bytes()).await?;
    peer.put(What::LlmReplySent);
    http::chunk(stream, b"").await
}
