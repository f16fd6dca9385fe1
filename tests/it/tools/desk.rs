//! The agents whose tools are used, and the server that their tools ask.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Notify;
use trunkline::call::command::CallCommand;
use trunkline::config::Config;
use trunkline::net::clock;
use trunkline::providers::llm::scripted::{Script, ScriptedDialogue};
use trunkline::providers::scripted::{Plan, ScriptedTts};
use trunkline::schema::tool::{Destination, Tool, ToolPolicy, ToolType};
use trunkline::switchboard::Directory;
use trunkline::tools::ToolSpec;
use trunkline::types::call::TurnRole;
use trunkline::types::{AgentId, SampleRate, ToolUse};

use crate::conversation::Talk;
use crate::support::server::Server;
use crate::support::wait;

const DESK: &str = r#"
name = "desk"
start = "main"
greeting = "Hello."
not_understood = ["Sorry."]
[states.main]
[[states.main.options]]
keys = "1"
reply = "Let me look."
call = [
  { tool = "find", arguments = { people = 4 }, keep = { time = "/times/0" } },
  { tool = "weather", arguments = { city = "Bonn & Rhein" }, keep = { sky = "/sky" } },
]
then = [{ reply = "{time} is free, and it is {sky}." }]
[[states.main.options]]
keys = "2"
call = [{ tool = "slow" }]
then = [{ when = { tool = "slow", error = true }, reply = "It failed." }, { reply = "It is done." }]
[[states.main.options]]
keys = "3"
call = [{ tool = "fail" }, { tool = "find", arguments = { people = 99 } }]
then = [{ when = { tool = "fail", error = true }, reply = "That failed." }, { reply = "Fine." }]
[[states.main.options]]
keys = "4"
call = [{ tool = "book" }]
then = [
  { when = { tool = "book", at = "/error", is = "confirmation_required" }, reply = "Shall I book it?", goto = "confirm" },
  { reply = "Booked at once." },
]
[[states.main.options]]
keys = "5"
call = [{ tool = "handoff" }]
then = [{ reply = "Never said." }]
[[states.main.options]]
keys = "6"
reply = "I connect you."
call = [{ tool = "transfer" }]
then = [{ reply = "Never said." }]
[[states.main.options]]
keys = "7"
call = [{ tool = "set_variable", arguments = { name = "party", value = "4" } }]
then = [{ reply = "Noted." }]
[[states.main.options]]
keys = "8"
call = [{ tool = "ask", arguments = { what = "shop" }, keep = { answer = "" } }]
then = [{ reply = "So {answer}." }]
[[states.main.options]]
keys = "9"
call = [{ tool = "somebody" }]
then = [{ reply = "Never said." }]
[states.confirm]
[[states.confirm.options]]
keys = "1"
call = [{ tool = "book", keep = { ref = "/reference" } }]
then = [{ reply = "Booked as {ref}.", goto = "main" }]
[[states.confirm.options]]
keys = "2"
reply = "As you like."
goto = "main"
"#;

const SALES: &str = r#"
name = "sales"
start = "main"
greeting = "Sales speaking."
not_understood = ["Sorry?"]
[states.main]
[[states.main.options]]
keys = "1"
reply = "Sold."
"#;

/// What the tool server saw.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) asked: Mutex<Vec<(String, HeaderMap, String, Instant)>>,
    /// Requests that are being answered, and the most at one time.
    pub(super) open: AtomicUsize,
    pub(super) most: AtomicUsize,
    /// A request that nobody waits for any more.
    pub(super) dropped: AtomicBool,
    pub(super) go_on: Notify,
}

impl Seen {
    pub(super) fn names(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(name, ..)| name.clone()).collect()
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.names().iter().filter(|seen| *seen == name).count()
    }
}

/// Set unless the answer was given.
struct Drop<'a>(&'a Seen, bool);

impl std::ops::Drop for Drop<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        if !self.1 {
            self.0.dropped.store(true, Ordering::SeqCst);
        }
    }
}

async fn serve(
    State(seen): State<Arc<Seen>>,
    Path(name): Path<String>,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, axum::Json<Value>) {
    let open = seen.open.fetch_add(1, Ordering::SeqCst) + 1;
    seen.most.fetch_max(open, Ordering::SeqCst);
    let text = format!("{}{body}", uri.query().unwrap_or_default());
    seen.asked.lock().unwrap().push((name.clone(), headers, text, clock::now()));
    let mut guard = Drop(&seen, false);
    let answer = match name.as_str() {
        "find" | "weather" => {
            // Each waits until the other is there too: only parallel calls get on.
            wait::until("the other call", async || {
                (seen.most.load(Ordering::SeqCst) >= 2).then_some(())
            })
            .await;
            json!({"times": ["eight"], "sky": "sunny"})
        }
        "slow" => {
            seen.go_on.notified().await;
            json!({"ok": true})
        }
        "hook" => {
            let event: Value = serde_json::from_str(&body).unwrap_or_default();
            match event["type"].as_str() {
                Some("tool.call") => {
                    let call = &event["data"]["tool_call_list"][0];
                    assert_eq!(call["function"]["name"], "ask");
                    let result = format!("{} is open", call["function"]["arguments"]["what"]);
                    json!({"results": [{"tool_call_id": call["id"], "result": result}]})
                }
                Some("transfer.request") => {
                    json!({"destination": "+15550188", "message": "To Ann."})
                }
                _ => json!({}),
            }
        }
        "book" => json!({"reference": "B42", "echo": "canary-token"}),
        _ => {
            guard.1 = true;
            return (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(json!({"why": "closed"})));
        }
    };
    guard.1 = true;
    (StatusCode::OK, axum::Json(answer))
}

pub(super) async fn tool_server() -> (SocketAddr, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let router = axum::Router::new()
        .route("/{name}", axum::routing::any(serve))
        .with_state(Arc::clone(&seen));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let at = listener.local_addr().expect("bound");
    tokio::spawn(async move { axum::serve(listener, router).await });
    (at, seen)
}

pub(super) fn tools(at: SocketAddr) -> Vec<ToolSpec> {
    let http = |name: &str| Tool {
        name: name.to_owned(),
        url: format!("http://{at}/{name}"),
        ..Tool::default()
    };
    let people = json!({"type": "object", "required": ["people"],
        "properties": {"people": {"type": "integer", "maximum": 20}}});
    let city = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let mut book = http("book");
    book.policy = ToolPolicy::ConfirmFirstWrite;
    book.headers = BTreeMap::from([("Authorization".to_owned(), "Bearer canary-token".to_owned())]);
    let destination = Destination { number: "+15550199".to_owned(), ..Destination::default() };
    let all = [
        Tool { parameters: people, ..http("find") },
        Tool { parameters: city, method: "GET".to_owned(), ..http("weather") },
        Tool {
            speak_during: Some("One moment please.".to_owned()),
            timeout_ms: 15_000,
            ..http("slow")
        },
        http("fail"),
        book,
        Tool { r#type: ToolType::Handoff, agent_id: Some("sales".to_owned()), ..Tool::default() },
        Tool { r#type: ToolType::Transfer, destinations: vec![destination], ..Tool::default() },
        Tool { url: String::new(), ..http("ask") },
        Tool { r#type: ToolType::Transfer, name: "somebody".to_owned(), ..Tool::default() },
        Tool { r#type: ToolType::SetVariable, ..Tool::default() },
    ];
    all.iter().map(|tool| ToolSpec::compile(tool).expect("a tool")).collect()
}

/// Sentences of 800 ms.
fn voice() -> Arc<ScriptedTts> {
    let plan = Plan::new(Vec::new());
    Arc::new(ScriptedTts { plan, rate: SampleRate::HZ_8000, chunk_ms: 100, chunks: 8 })
}

/// The demo agent and two more: `desk` with tools, and `sales`.
pub(super) fn with_desk(directory: Directory, tools: Vec<ToolSpec>) -> Directory {
    let demo = AgentId("demo".to_owned());
    let agent = directory.agent(&demo).expect("the demo agent");
    let mut agents = BTreeMap::from([(demo.clone(), Arc::clone(&agent))]);
    for (name, script, tools) in [("desk", DESK, tools), ("sales", SALES, Vec::new())] {
        let mut own = (*agent).clone();
        own.id = AgentId(name.to_owned());
        let script = Script::parse(script).unwrap_or_else(|error| panic!("{name}: {error}"));
        own.turn.greeting.text = script.greeting().to_owned();
        own.turn.dtmf_wait_ms = 100;
        own.turn.texts.fillers.clear();
        own.llm = Arc::new(ScriptedDialogue::new(script));
        own.tts = voice();
        own.tools = tools;
        agents.insert(own.id.clone(), Arc::new(own));
    }
    let trunks = directory.trunks().map(|trunk| (trunk.name.clone(), Arc::clone(trunk))).collect();
    Directory::new(agents, trunks, BTreeMap::new(), Some(demo))
}

pub(super) async fn desk() -> (Server, Arc<Seen>) {
    desk_where(|_| {}).await
}

/// As [`desk`], with a changed configuration.
pub(super) async fn desk_where(change: impl FnOnce(&mut Config)) -> (Server, Arc<Seen>) {
    let (at, seen) = tool_server().await;
    let server = Server::with_agents(
        |config| {
            config.tools.allow_private_targets = true;
            change(config);
        },
        |directory| with_desk(directory, tools(at)),
    )
    .await;
    (server, seen)
}

impl Talk {
    /// Presses a key and waits for the end of the agent's answer.
    pub(super) async fn ask(&mut self, key: char) {
        self.press(key).await;
        self.agent_finishes().await;
    }

    pub(crate) async fn command(&self, server: &Server, command: CallCommand) {
        let taken = server.running.switchboard().command(self.id, command).await;
        taken.expect("the call takes a command");
    }
}

/// As [`desk`]; the agent's webhook is the tool server.
pub(super) async fn desk_with_webhook() -> (Server, Arc<Seen>) {
    let (at, seen) = tool_server().await;
    let server = Server::with_agents(
        |_| {},
        |directory| {
            let directory = with_desk(directory, tools(at));
            let id = AgentId("desk".to_owned());
            let mut desk = (*directory.agent(&id).expect("the desk")).clone();
            desk.facts.webhook_url = Some(format!("http://{at}/hook").into());
            let trunks = directory.trunks();
            let trunks = trunks.map(|trunk| (trunk.name.clone(), Arc::clone(trunk))).collect();
            let agents = BTreeMap::from([(id.clone(), Arc::new(desk))]);
            Directory::new(agents, trunks, BTreeMap::new(), Some(id))
        },
    )
    .await;
    (server, seen)
}

pub(super) fn said(turns: &[trunkline::types::TurnRecord]) -> Vec<String> {
    let agent = turns.iter().filter(|turn| turn.role == TurnRole::Assistant);
    agent.map(|turn| turn.content.reveal().clone()).collect()
}

pub(super) fn used<'a>(turns: &'a [trunkline::types::TurnRecord], name: &str) -> Vec<&'a ToolUse> {
    turns.iter().filter_map(|turn| turn.tool.as_ref()).filter(|tool| tool.name == name).collect()
}
