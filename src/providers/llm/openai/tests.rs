use std::time::Duration;

use futures_util::StreamExt;

use super::super::sse::{Guard, Refused, Seen};
use super::{Asked, Chunk, OpenAiLlm};
use crate::net::clock;
use crate::providers::llm::{Llm, LlmDelta, LlmRequest, Message, Role, ToolCall, ToolDef};
use crate::providers::{FailureKind, ProviderError};
use crate::sim::providers::{Fault, MockProviders, MockStage, Script, What};
use crate::types::Secret;

const LONG: Duration = Duration::from_secs(15);

async fn mock() -> MockProviders {
    let mut script = Script::default();
    script.llm.replies = vec!["Hello there. How are you?".into(), "Fine.".into()];
    script.llm.first_token = Duration::from_millis(20);
    script.llm.token_gap = Duration::from_millis(2);
    MockProviders::start(script).await.unwrap()
}

fn llm(mock: &MockProviders) -> OpenAiLlm {
    OpenAiLlm {
        name: "openai".to_owned(),
        base_url: format!("{}/v1/", mock.llm_url),
        api_key: Secret::new("canary-of-the-key"),
        model: "m".to_owned(),
    }
}

fn request(turns: usize) -> LlmRequest {
    let mut messages = vec![Message::new(Role::System, "canary-of-the-prompt".to_owned())];
    for _ in 0..turns {
        messages.push(Message::new(Role::User, "hi".to_owned()));
    }
    LlmRequest {
        messages,
        temperature: Some(0.3),
        max_tokens: Some(99),
        conversation: "c".to_owned(),
        ..LlmRequest::default()
    }
}

async fn all(llm: &OpenAiLlm, turns: usize) -> Vec<Result<LlmDelta, ProviderError>> {
    tokio::time::timeout(LONG, llm.respond(request(turns)).collect()).await.unwrap()
}

fn text(deltas: &[Result<LlmDelta, ProviderError>]) -> String {
    deltas
        .iter()
        .filter_map(|delta| match delta {
            Ok(LlmDelta::Text(text)) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

#[tokio::test]
async fn a_reply_streams_from_sent_to_done() {
    let mock = mock().await;
    let llm = llm(&mock);
    llm.warm_up().await;
    for (turns, wanted) in [(1, "Hello there. How are you?"), (2, "Fine.")] {
        let deltas = all(&llm, turns).await;
        assert_eq!(deltas.first(), Some(&Ok(LlmDelta::Sent)));
        assert_eq!(deltas.last(), Some(&Ok(LlmDelta::Done)));
        assert_eq!(text(&deltas), wanted);
    }
    // The connection of the warm-up served both.
    assert_eq!(mock.log.count(|e| e.what == What::Connected), 1);
}

#[tokio::test]
async fn json_is_asked_for_and_tokens_are_counted() {
    let mock = mock().await;
    let mut script = Script::default();
    script.llm.json = r#"{"ok": true}"#.to_owned();
    script.llm.usage = Some((123, 45));
    mock.script(script);
    let llm = llm(&mock);
    let shape = crate::providers::llm::JsonShape {
        name: "result".to_owned(),
        schema: serde_json::json!({"type": "object"}),
        strict: true,
    };
    let asked = LlmRequest { json: Some(shape), ..request(1) };
    let deltas: Vec<_> = tokio::time::timeout(LONG, llm.respond(asked).collect()).await.unwrap();
    assert_eq!(text(&deltas), r#"{"ok": true}"#, "the server saw the shape");
    let counted = Ok(LlmDelta::Usage { tokens_in: 123, tokens_out: 45 });
    assert_eq!(deltas[deltas.len() - 2..], [counted, Ok(LlmDelta::Done)]);
    assert_ne!(text(&all(&llm, 1).await), r#"{"ok": true}"#, "nobody else gets it");
}

#[test]
fn counts_are_read_wherever_servers_put_them() {
    let usage = |event: serde_json::Value| Chunk::from(event).usage();
    let counts = serde_json::json!({"prompt_tokens": 7, "completion_tokens": 2});
    assert_eq!(usage(serde_json::json!({"choices": [], "usage": counts})), Some((7, 2)));
    let groq = serde_json::json!({"choices": [{}], "usage": null, "x_groq": {"usage": counts}});
    assert_eq!(usage(groq), Some((7, 2)));
    for nothing in [
        serde_json::json!({"usage": null}),
        serde_json::json!({"usage": {"prompt_tokens": -1, "completion_tokens": 2}}),
        serde_json::json!({"usage": []}),
        serde_json::json!([]),
    ] {
        assert_eq!(usage(nothing.clone()), None, "{nothing}");
    }
}

#[tokio::test]
async fn the_request_leaves_at_once_and_sent_says_when() {
    let mock = mock().await;
    let llm = llm(&mock);
    llm.warm_up().await;
    let mut worst = Duration::ZERO;
    for turn in 1..=20 {
        let asked = clock::now();
        let mut deltas = llm.respond(request(1));
        // Not polled: the request must leave all the same.
        let seen = mock.log.wait(turn, LONG, |e| e.what == What::LlmRequest).await.unwrap();
        worst = worst.max(seen.at.saturating_duration_since(asked));
        assert_eq!(deltas.next().await, Some(Ok(LlmDelta::Sent)));
        while deltas.next().await.is_some() {}
    }
    assert!(worst < Duration::from_millis(20), "{worst:?} from respond() to the server");
}

#[tokio::test]
async fn every_fault_is_told_apart_at_once() {
    let mock = mock().await;
    let llm = llm(&mock);
    for (fault, kind) in [
        (Fault::Status(401), FailureKind::Auth),
        (Fault::Status(429), FailureKind::RateLimited),
        (Fault::Status(500), FailureKind::Unavailable),
        (Fault::Status(503), FailureKind::Unavailable),
        (Fault::Status(404), FailureKind::BadRequest),
        (Fault::Cut { after: 1 }, FailureKind::Cut),
        (Fault::BadJson, FailureKind::Protocol),
    ] {
        mock.fault(MockStage::Llm, fault.clone());
        let begun = clock::now();
        let requests = mock.log.count(|e| e.what == What::Connected);
        let deltas = all(&llm, 1).await;
        let Some(Err(error)) = deltas.last() else { panic!("{fault:?}: {deltas:?}") };
        assert_eq!(error.kind, kind, "{fault:?}: {error}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
        assert!(!deltas.contains(&Ok(LlmDelta::Done)));
        // No hidden retry: the library's own would wait half a second and more.
        let took = clock::now() - begun;
        assert!(took < Duration::from_millis(400), "{fault:?} took {took:?}");
        assert!(mock.log.count(|e| e.what == What::Connected) <= requests + 1);
    }
    mock.fault(MockStage::Llm, Fault::Empty);
    assert_eq!(all(&llm, 1).await.last(), Some(&Ok(LlmDelta::Done)));
    mock.fault(MockStage::Llm, Fault::SlowFirstByte(Duration::from_millis(200)));
    assert_eq!(text(&all(&llm, 2).await), "Fine.");
}

#[tokio::test]
async fn a_refused_connection_is_unavailable() {
    let mock = mock().await;
    let llm = llm(&mock);
    drop(mock);
    // The port closes when the server's task has ended.
    loop {
        let deltas = all(&llm, 1).await;
        if let Some(Err(error)) = deltas.last()
            && error.kind == FailureKind::Unavailable
        {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn dropping_the_stream_closes_the_connection_within_100_ms() {
    let mock = mock().await;
    let llm = llm(&mock);
    for (turn, fault) in [Fault::Stall, Fault::Hang].into_iter().enumerate() {
        mock.fault(MockStage::Llm, fault.clone());
        let mut deltas = llm.respond(request(1));
        assert_eq!(deltas.next().await, Some(Ok(LlmDelta::Sent)));
        if fault == Fault::Stall {
            assert_eq!(deltas.next().await, Some(Ok(LlmDelta::Text("Hello ".into()))));
        }
        let dropped = clock::now();
        drop(deltas);
        let closed = mock.log.wait(turn + 1, LONG, |e| e.what == What::Closed).await.unwrap();
        let took = closed.at.saturating_duration_since(dropped);
        assert!(took < Duration::from_millis(100), "{fault:?}: {took:?}");
    }
}

#[test]
fn the_guard_passes_whole_lines_and_refuses_the_rest() {
    let seen = Seen::default();
    let mut guard = Guard::new(seen.clone());
    assert_eq!(guard.push(b"data: {\"a\":").unwrap(), "");
    assert_eq!(guard.push(b"1}\n\nda").unwrap(), "data: {\"a\":1}\n\n");
    assert!(!seen.is_done());
    assert_eq!(guard.push(b"ta: [DONE]\r\n").unwrap(), "data: [DONE]\r\n");
    assert!(seen.is_done() && !seen.is_refused());
    assert_eq!(guard.push(b": ping\nevent: x\ndata:\n").unwrap().len(), 22);
    assert_eq!(guard.push(b"data: {\n"), Err(Refused::NotJson));
    assert!(seen.is_refused());
    let mut guard = Guard::default();
    assert_eq!(guard.push(&[b'x'; 70_000]), Err(Refused::LongLine));
    let mut guard = Guard::default();
    let line = [b"data: \"".as_slice(), &[b'y'; 60_000], b"\"\n"].concat();
    assert!((0..100).any(|_| guard.push(&line) == Err(Refused::LargeReply)));
}

#[test]
fn chunks_of_compatible_servers_are_understood() {
    let chunk = |text: &str| serde_json::from_str::<Chunk>(text).unwrap();
    let said = |text: &str| chunk(text).into_text();
    // Ollama, llama.cpp and vLLM leave fields out, send null, or send an event without choices.
    assert_eq!(said(r#"{"choices":[{"delta":{"content":"a"}}]}"#), Some("a".into()));
    assert_eq!(said(r#"{"choices":[{"delta":{"role":"assistant","content":null}}]}"#), None);
    assert_eq!(said(r#"{"choices":[],"usage":{"total_tokens":3}}"#), None);
    assert_eq!(said(r#"{"choices":null}"#), None);
    assert_eq!(said(r#"{"choices":[{"delta":null,"finish_reason":"stop"}]}"#), None);
    assert_eq!(said("[1]"), None);
    assert!(chunk(r#"{"choices":[{"delta":{},"finish_reason":"eos_token"}]}"#).is_last());
    assert!(!chunk(r#"{"choices":[{"delta":{},"finish_reason":null}]}"#).is_last());
    for (text, kind) in [
        (r#"{"error":{"code":429,"message":"x"}}"#, FailureKind::RateLimited),
        (r#"{"error":{"code":"401"}}"#, FailureKind::Auth),
        (r#"{"error":{"type":"insufficient_quota"}}"#, FailureKind::RateLimited),
        (r#"{"error":{"type":"invalid_request_error"}}"#, FailureKind::BadRequest),
        (r#"{"error":"model runner has crashed"}"#, FailureKind::Unavailable),
    ] {
        assert_eq!(chunk(text).failure(), Some(kind), "{text}");
    }
    assert_eq!(chunk(r#"{"error":null}"#).failure(), None);
}

#[tokio::test]
async fn the_body_names_the_limit_as_the_server_knows_it() {
    let mock = mock().await;
    let mut llm = llm(&mock);
    let body = serde_json::to_value(llm.body(request(1))).unwrap();
    assert_eq!(body["max_tokens"], 99);
    assert_eq!(body["stream"], true);
    assert_eq!(body["messages"][0]["role"], "system");
    llm.base_url = "https://api.openai.com/v1".into();
    let body = serde_json::to_value(llm.body(request(1))).unwrap();
    assert_eq!(body["max_completion_tokens"], 99);
    assert!(body.get("max_tokens").is_none());
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Sink(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Sink {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_of_key_prompt_or_answer_is_logged_even_at_trace() {
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::trace!("the sink works");
    let mock = mock().await;
    let llm = llm(&mock);
    for fault in [Fault::None, Fault::Status(401), Fault::Status(500), Fault::BadJson] {
        mock.fault(MockStage::Llm, fault);
        all(&llm, 1).await;
    }
    let logged = String::from_utf8_lossy(&sink.0.lock().unwrap()).into_owned();
    assert!(logged.contains("the sink works"));
    assert!(!logged.contains("canary"), "{logged}");
    assert!(!logged.contains("Hello there"), "{logged}");
}

#[tokio::test]
async fn a_pooled_connection_that_the_server_closed_does_not_fail_the_next_reply() {
    let mock = mock().await;
    let llm = llm(&mock);
    for turn in 1..=10 {
        assert_eq!(all(&llm, 2).await.last(), Some(&Ok(LlmDelta::Done)), "turn {turn}");
        mock.hang_up(MockStage::Llm);
        assert!(mock.log.wait(turn, LONG, |e| e.what == What::Closed).await.is_some());
    }
}

/// The mock streams each call in pieces, as OpenAI does.
#[tokio::test]
async fn parallel_calls_of_tools_are_put_together_and_answered() {
    let mock = mock().await;
    let mut script = Script::default();
    script.llm.replies = vec!["It is {result}.".to_owned()];
    script.llm.calls = vec![vec![
        ("find".to_owned(), r#"{"people":4,"day":"Tuesday"}"#.to_owned()),
        ("weather".to_owned(), "{}".to_owned()),
    ]];
    mock.script(script);
    let llm = llm(&mock);
    let mut asked = request(1);
    let parameters = serde_json::json!({"type": "object"});
    let description = "Finds a table.".to_owned();
    let tool = ToolDef { name: "find".to_owned(), description, parameters };
    asked.tools = [tool].into();
    let deltas: Vec<_> =
        tokio::time::timeout(LONG, llm.respond(asked.clone()).collect()).await.unwrap();
    let calls: Vec<ToolCall> = deltas
        .iter()
        .filter_map(|delta| match delta {
            Ok(LlmDelta::ToolCall(call)) => Some(call.clone()),
            _ => None,
        })
        .collect();
    let told: Vec<_> =
        calls.iter().map(|call| (call.name.as_str(), call.arguments.reveal().as_str())).collect();
    assert_eq!(told, [("find", r#"{"people":4,"day":"Tuesday"}"#), ("weather", "{}")]);
    assert_eq!(deltas.last(), Some(&Ok(LlmDelta::Done)));
    assert_ne!(calls[0].id, calls[1].id);
    asked.messages.push(Message::asking(String::new(), calls.clone()));
    asked.messages.push(Message::answering(&calls[0].id, "eight".to_owned()));
    asked.messages.push(Message::answering(&calls[1].id, "sunny".to_owned()));
    let deltas: Vec<_> = tokio::time::timeout(LONG, llm.respond(asked).collect()).await.unwrap();
    assert_eq!(text(&deltas), "It is eight, sunny.");
}

#[test]
fn servers_that_give_whole_calls_without_index_are_understood() {
    let mut asked = Asked::default();
    for piece in [
        r#"{"id":"a","function":{"name":"f","arguments":{"x":1}}}"#,
        r#"{"id":"b","function":{"name":"g","arguments":"{}"}}"#,
        r#"{"function":{"arguments":" "}}"#,
    ] {
        let event = format!(r#"{{"choices":[{{"delta":{{"tool_calls":[{piece}]}}}}]}}"#);
        assert!(asked.add(&serde_json::from_str(&event).unwrap()));
    }
    let calls: Vec<_> =
        asked.into_calls().map(|call| (call.id, call.name, call.arguments.into_inner())).collect();
    let wanted = [("a", "f", r#"{"x":1}"#), ("b", "g", "{} ")];
    let wanted = wanted.map(|(id, name, text)| (id.to_owned(), name.to_owned(), text.to_owned()));
    assert_eq!(calls, wanted);
}
