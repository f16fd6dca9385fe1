//! The mock model: chat completions with server-sent events, a word a token.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::http::{self, Request};
use super::{Fault, LlmScript, Peer, What};

/// Between tokens that come at the wrong rate.
const CRAWL: Duration = Duration::from_secs(3);

/// What the model does: words, or calls of tools first.
enum Reply {
    Words(String),
    Calls(Vec<(String, String)>),
}

fn reply_to(body: &[u8], script: &LlmScript) -> Reply {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let wanted = request.pointer("/response_format/json_schema/schema");
    if !script.json.is_empty() && wanted.is_some_and(Value::is_object) {
        return Reply::Words(script.json.clone());
    }
    let messages = request.get("messages").and_then(Value::as_array);
    let messages = messages.map(Vec::as_slice).unwrap_or_default();
    let role = |message: &Value, role: &str| message.get("role") == Some(&json!(role));
    let asked = messages.iter().filter(|m| role(m, "user")).count();
    let at = asked.saturating_sub(1).checked_rem(script.replies.len()).unwrap_or(0);
    let after = messages.iter().rposition(|m| role(m, "user")).unwrap_or(0);
    let results: Vec<&str> = messages
        .iter()
        .skip(after)
        .filter(|m| role(m, "tool"))
        .filter_map(|m| m.get("content")?.as_str())
        .collect();
    let offered = request.get("tools").is_some();
    match script.calls.get(at).filter(|calls| !calls.is_empty()) {
        Some(calls) if results.is_empty() && offered => Reply::Calls(calls.clone()),
        _ => {
            let words = script.replies.get(at).cloned().unwrap_or_default();
            let said = messages.get(after).and_then(|m| m.get("content")?.as_str());
            let words = words.replace("{said}", said.unwrap_or_default());
            Reply::Words(words.replace("{result}", &results.join(", ")))
        }
    }
}

/// Each call in pieces: its name, then its arguments in two halves.
fn pieces(calls: &[(String, String)]) -> Vec<Value> {
    let mut events = Vec::new();
    for (index, (name, arguments)) in calls.iter().enumerate() {
        let half = arguments.floor_char_boundary(arguments.len() / 2);
        let (head, tail) = arguments.split_at(half);
        let named = json!({"name": name, "arguments": ""});
        let id = format!("call_{name}_{index}");
        events.push(json!({"index": index, "id": id, "type": "function", "function": named}));
        for part in [head, tail] {
            events.push(json!({"index": index, "function": {"arguments": part}}));
        }
    }
    let delta = |piece: Value| json!({"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]});
    events.into_iter().map(delta).collect()
}

async fn give_calls(stream: &mut TcpStream, peer: &Peer, calls: &[(String, String)]) -> Option<()> {
    for event in pieces(calls) {
        http::chunk(stream, format!("data: {event}\n\n").as_bytes()).await?;
    }
    let last = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]});
    http::chunk(stream, format!("data: {last}\n\ndata: [DONE]\n\n").as_bytes()).await?;
    peer.put(What::LlmReplySent);
    http::chunk(stream, b"").await
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
    let reply = match reply {
        Reply::Calls(calls) => return give_calls(stream, peer, &calls).await,
        Reply::Words(words) => words,
    };
    let mut first_sentence = true;
    let words = if *fault == Fault::Empty { "" } else { reply.as_str() };
    for (index, word) in words.split_inclusive(' ').enumerate() {
        if index > 0 {
            let crawl = *fault == Fault::WrongRate;
            http::pause(stream, if crawl { CRAWL } else { script.token_gap }).await?;
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
