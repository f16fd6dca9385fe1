//! The models' cases. What a call relies on is the same for all of them.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::llm_wire::{TOKENS, Vendor};
use super::script::{Act, LONG, Saw, Script, Server, chunk, gone, head, request, whole};
use super::table::Table;
use crate::providers::config::{ProviderConfig, ProviderKind, build_llm};
use crate::providers::llm::anthropic::AnthropicLlm;
use crate::providers::llm::gemini::GeminiLlm;
use crate::providers::llm::{JsonShape, Llm, LlmDelta, LlmRequest, Message, Role, ToolDef};
use crate::providers::{FailureKind, ProviderError};
use crate::types::Secret;

const COLUMNS: &[&str] = &[
    "text",
    "tools",
    "JSON",
    "usage",
    "cancel",
    "keep-alive",
    "slow",
    "stalled",
    "cut",
    "error",
    "blocked",
    "status",
    "garbage",
];

const CALLS: [(&str, &str); 2] =
    [("find", r#"{"day":"Tuesday","people":4}"#), ("weather", r#"{"where":"here"}"#)];

const SHAPED: &str = r#"{"ok":true,"why":"so"}"#;

#[derive(Clone, Copy)]
struct Adapter {
    kind: ProviderKind,
    vendor: Vendor,
}

const ADAPTERS: [Adapter; 3] = [
    Adapter { kind: ProviderKind::OpenAi, vendor: Vendor::OpenAi },
    Adapter { kind: ProviderKind::Anthropic, vendor: Vendor::Anthropic },
    Adapter { kind: ProviderKind::Gemini, vendor: Vendor::Gemini },
];

async fn serve(mut stream: TcpStream, number: usize, script: Arc<Script>, vendor: Vendor) {
    while let Some((head, body)) = request(&mut stream).await {
        if head.starts_with("GET ") {
            if stream.write_all(&whole(401, "application/json", "{}")).await.is_err() {
                return;
            }
            continue;
        }
        assert!(vendor.is_asked(&head), "{head}");
        let body = String::from_utf8(body).unwrap();
        let act = script.next();
        script.put(number, Saw::Asked(body.clone()));
        if let Some(status) = script.status() {
            let said = "{\"error\":{\"message\":\"canary-of-the-provider\"}}";
            if stream.write_all(&whole(status, "application/json", said)).await.is_err() {
                return;
            }
            continue;
        }
        if reply(&mut stream, &script, vendor, act, &body).await.is_none() {
            return;
        }
    }
}

async fn wait(
    stream: &mut TcpStream,
    released: &mut tokio::sync::watch::Receiver<u64>,
) -> Option<()> {
    tokio::select! {
        released = released.changed() => released.ok(),
        () = gone(stream) => None,
    }
}

async fn reply(
    stream: &mut TcpStream,
    script: &Script,
    vendor: Vendor,
    act: Act,
    body: &str,
) -> Option<()> {
    let mut released = script.release();
    if act == Act::Hold {
        wait(stream, &mut released).await?;
    }
    stream.write_all(&head("text/event-stream")).await.ok()?;
    let is_shaped = body.contains("\"the_shape\"") || body.contains("responseSchema");
    let events = match act {
        Act::Error => vendor.begin() + &vendor.error(),
        Act::Garbage => "data: {\"choices\": canary-of-the-provider\n\n".to_owned(),
        Act::Other if body.contains("forbidden") => vendor.begin() + &vendor.blocked()?,
        Act::Other => vendor.begin() + &vendor.calls(&CALLS) + &vendor.end(true),
        _ if is_shaped => vendor.begin() + &vendor.shaped(SHAPED) + &vendor.end(false),
        _ => vendor.begin() + &vendor.text("Hello ") + &vendor.text("there."),
    };
    if act == Act::Serve && !is_shaped {
        // Cut where no event ends, as a network does.
        let all = events + &vendor.end(false);
        for piece in all.as_bytes().chunks(37) {
            stream.write_all(&chunk(piece)).await.ok()?;
        }
        return stream.write_all(&chunk(b"")).await.ok();
    }
    stream.write_all(&chunk(events.as_bytes())).await.ok()?;
    match act {
        Act::Cut => return None,
        Act::HoldAfterFirst => wait(stream, &mut released).await?,
        Act::Hold => stream.write_all(&chunk(vendor.end(false).as_bytes())).await.ok()?,
        _ => {}
    }
    stream.write_all(&chunk(b"")).await.ok()
}

/// An adapter and its server.
struct Bench {
    adapter: Adapter,
    server: Server,
    llm: Arc<dyn Llm>,
}

impl Adapter {
    async fn bench(self) -> Bench {
        let vendor = self.vendor;
        let server = Server::start(move |s, number, script| serve(s, number, script, vendor)).await;
        let base_url = self.base_url(&server);
        let (kind, model) = (self.kind, "m".to_owned());
        let settings = ProviderConfig { kind, base_url, model, ..ProviderConfig::default() };
        let llm = build_llm("v", &settings, Secret::new("canary-of-the-key")).unwrap();
        Bench { adapter: self, server, llm }
    }

    fn base_url(self, server: &Server) -> String {
        match self.vendor {
            Vendor::OpenAi => format!("{}/v1", server.url()),
            Vendor::Anthropic => server.url(),
            Vendor::Gemini => format!("{}/v1beta/", server.url()),
        }
    }
}

fn asking(words: &str) -> LlmRequest {
    let messages = vec![
        Message::new(Role::System, "canary-of-the-prompt".to_owned()),
        Message::new(Role::User, words.to_owned()),
    ];
    LlmRequest { messages, ..LlmRequest::default() }
}

type Reply = Vec<Result<LlmDelta, ProviderError>>;

impl Bench {
    async fn all(&self, request: LlmRequest) -> Reply {
        let reply: Reply =
            tokio::time::timeout(LONG, self.llm.respond(request).collect()).await.unwrap();
        assert!(!format!("{reply:?}").contains("canary"), "{reply:?}");
        reply
    }

    fn name(&self) -> &'static str {
        self.adapter.kind.as_str()
    }

    async fn fails(&self, words: &str, wanted: FailureKind) -> String {
        let reply = self.all(asking(words)).await;
        let Some(Err(error)) = reply.last() else { panic!("{}: {reply:?}", self.name()) };
        assert_eq!(error.kind, wanted, "{}: {error:?}", self.name());
        assert!(!reply.contains(&Ok(LlmDelta::Done)));
        format!("`{}`", wanted.as_str())
    }
}

fn text(reply: &Reply) -> String {
    let text = |delta: &Result<LlmDelta, ProviderError>| match delta {
        Ok(LlmDelta::Text(text)) => Some(text.clone()),
        _ => None,
    };
    reply.iter().filter_map(text).collect()
}

fn is_whole(reply: &Reply) -> bool {
    reply.first() == Some(&Ok(LlmDelta::Sent))
        && reply.last() == Some(&Ok(LlmDelta::Done))
        && reply.iter().filter(|delta| **delta == Ok(LlmDelta::Sent)).count() == 1
}

async fn words(bench: &Bench) -> String {
    let reply = bench.all(asking("hi")).await;
    assert!(is_whole(&reply), "{}: {reply:?}", bench.name());
    assert_eq!(text(&reply), "Hello there.", "{}", bench.name());
    "ok".to_owned()
}

async fn tools(bench: &Bench) -> String {
    bench.server.acts(&[Act::Other]);
    let tool = |name: &str| ToolDef {
        name: name.to_owned(),
        description: "Does.".to_owned(),
        parameters: json!({"type": "object", "properties": {"x": {"type": "string"}}}),
    };
    let mut asked = LlmRequest { tools: CALLS.map(|c| tool(c.0)).into(), ..asking("hi") };
    let reply = bench.all(asked.clone()).await;
    assert!(is_whole(&reply), "{}: {reply:?}", bench.name());
    assert!(reply.contains(&Ok(LlmDelta::Alive)));
    let calls = reply.iter().filter_map(|delta| match delta {
        Ok(LlmDelta::ToolCall(call)) => Some(call.clone()),
        _ => None,
    });
    let calls: Vec<_> = calls.collect();
    let told: Vec<_> =
        calls.iter().map(|call| (call.name.as_str(), call.arguments.reveal().as_str())).collect();
    assert_eq!(told, CALLS, "{}", bench.name());
    assert_ne!(calls[0].id, calls[1].id);
    // The results go back under the names that the model chose.
    asked.messages.push(Message::asking(String::new(), calls.clone()));
    for call in &calls {
        asked.messages.push(Message::answering(&call.id, format!("result-of-{}", call.name)));
    }
    assert_eq!(text(&bench.all(asked).await), "Hello there.");
    let carries = |saw: &Saw| {
        let Saw::Asked(body) = saw else { return false };
        calls.iter().all(|call| {
            body.contains(&call.id) && body.contains(&format!("result-of-{}", call.name))
        })
    };
    assert_eq!(bench.server.count(carries), 1, "{}", bench.name());
    "parallel, split".to_owned()
}

async fn shape(bench: &Bench) -> String {
    let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}});
    let shape = JsonShape { name: "the_shape".to_owned(), schema, strict: false };
    let reply = bench.all(LlmRequest { json: Some(shape), ..asking("hi") }).await;
    assert!(is_whole(&reply), "{}: {reply:?}", bench.name());
    assert_eq!(text(&reply), SHAPED, "{}", bench.name());
    match bench.adapter.vendor {
        Vendor::OpenAi => "`response_format`",
        Vendor::Anthropic => "forced tool",
        Vendor::Gemini => "`responseSchema`",
    }
    .to_owned()
}

async fn usage(bench: &Bench) -> String {
    let reply = bench.all(asking("hi")).await;
    let (tokens_in, tokens_out) = TOKENS;
    let last = reply.iter().rev().find(|delta| matches!(delta, Ok(LlmDelta::Usage { .. })));
    assert_eq!(last, Some(&Ok(LlmDelta::Usage { tokens_in, tokens_out })), "{}", bench.name());
    "ok".to_owned()
}

async fn cancel(bench: &Bench) -> String {
    for act in [Act::Hold, Act::HoldAfterFirst] {
        bench.server.acts(&[act]);
        let before = bench.server.count(|saw| matches!(saw, Saw::Asked(_)));
        let mut reply = bench.llm.respond(asking("hi"));
        assert_eq!(reply.next().await, Some(Ok(LlmDelta::Sent)));
        if act == Act::HoldAfterFirst {
            while reply.next().await != Some(Ok(LlmDelta::Text("Hello ".to_owned()))) {}
        }
        let asked = bench.server.saw(before + 1, |_, saw| matches!(saw, Saw::Asked(_))).await;
        drop(reply);
        bench.server.saw(1, |of, saw| of == asked && *saw == Saw::Closed).await;
    }
    "closes".to_owned()
}

async fn keep_alive(bench: &Bench) -> String {
    bench.llm.warm_up().await;
    let before = bench.server.count(|saw| matches!(saw, Saw::Asked(_)));
    let mut by = std::collections::BTreeSet::new();
    for times in 1..=3 {
        assert!(is_whole(&bench.all(asking("hi")).await));
        by.insert(bench.server.saw(before + times, |_, saw| matches!(saw, Saw::Asked(_))).await);
    }
    assert_eq!(by.len(), 1, "{}: one connection serves all", bench.name());
    let one = by.pop_first().unwrap();
    bench.server.hang_up();
    bench.server.saw(1, |of, saw| of == one && *saw == Saw::Closed).await;
    assert!(is_whole(&bench.all(asking("hi")).await), "{}", bench.name());
    "reused, reopened".to_owned()
}

async fn slow(bench: &Bench) -> String {
    bench.server.acts(&[Act::Hold]);
    let before = bench.server.count(|saw| matches!(saw, Saw::Asked(_)));
    let mut reply = bench.llm.respond(asking("hi"));
    assert_eq!(reply.next().await, Some(Ok(LlmDelta::Sent)));
    bench.server.saw(before + 1, |_, saw| matches!(saw, Saw::Asked(_))).await;
    assert!(futures_util::FutureExt::now_or_never(reply.next()).is_none());
    bench.server.release();
    let rest: Reply = tokio::time::timeout(LONG, reply.collect()).await.unwrap();
    assert_eq!(text(&rest), "Hello there.");
    "waits".to_owned()
}

/// A server that says nothing more, and an adapter with little patience.
async fn stalled(adapter: Adapter) -> String {
    let mut bench = adapter.bench().await;
    let base_url = adapter.base_url(&bench.server);
    let (name, model) = ("v".to_owned(), "m".to_owned());
    let (api_key, stall) = (Secret::new("canary-of-the-key"), Duration::from_millis(50));
    bench.llm = match adapter.vendor {
        Vendor::Anthropic => Arc::new(AnthropicLlm { name, base_url, api_key, model, stall }),
        Vendor::Gemini => Arc::new(GeminiLlm { name, base_url, api_key, model, stall }),
        // Its patience is fixed; `sse` and the watchdog of the call have tests of their own.
        Vendor::OpenAi => return "\u{2014}".to_owned(),
    };
    for act in [Act::Hold, Act::HoldAfterFirst] {
        bench.server.acts(&[act]);
        bench.fails("hi", FailureKind::Stalled).await;
    }
    "`stalled`".to_owned()
}

async fn status(bench: &Bench) -> String {
    for (status, wanted) in [
        (400, FailureKind::BadRequest),
        (401, FailureKind::Auth),
        (403, FailureKind::Auth),
        (404, FailureKind::BadRequest),
        (429, FailureKind::RateLimited),
        (500, FailureKind::Unavailable),
        (503, FailureKind::Unavailable),
        (529, FailureKind::Unavailable),
    ] {
        let before = bench.server.count(|saw| matches!(saw, Saw::Asked(_)));
        bench.server.set_status(Some(status));
        bench.fails("hi", wanted).await;
        let asked = bench.server.count(|saw| matches!(saw, Saw::Asked(_)));
        assert_eq!(asked, before + 1, "{}: one request is one request", bench.name());
    }
    bench.server.set_status(None);
    "by kind".to_owned()
}

async fn act(bench: &Bench, act: Act, words: &str, wanted: FailureKind) -> String {
    bench.server.acts(&[act]);
    bench.fails(words, wanted).await
}

async fn blocked(bench: &Bench) -> String {
    if bench.adapter.vendor.blocked().is_none() {
        return "\u{2014}".to_owned();
    }
    act(bench, Act::Other, "forbidden", FailureKind::BadRequest).await
}

#[tokio::test]
async fn every_model_passes_the_same_cases() {
    let mut table = Table::new("llm", COLUMNS);
    for adapter in ADAPTERS {
        let bench = adapter.bench().await;
        let cells = vec![
            words(&bench).await,
            tools(&bench).await,
            shape(&bench).await,
            usage(&bench).await,
            cancel(&bench).await,
            keep_alive(&bench).await,
            slow(&bench).await,
            stalled(adapter).await,
            act(&bench, Act::Cut, "hi", FailureKind::Cut).await,
            act(&bench, Act::Error, "hi", FailureKind::Unavailable).await,
            blocked(&bench).await,
            status(&bench).await,
            act(&bench, Act::Garbage, "hi", FailureKind::Protocol).await,
        ];
        table.row(adapter.kind.as_str(), cells);
    }
    table.check();
}
