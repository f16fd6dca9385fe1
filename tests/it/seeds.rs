//! Five call APIs, page by page: a real server is brought into the state a page shows, and every field it names is
//! read. What stands for a field of theirs is in `fixtures/coverage/rows.tsv`.

mod callingbox;
mod control;
mod resources;
mod revox;
mod vocals;
mod voicedock;
mod voicy;

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::broadcast;
use trunkline::config::{Config, sections};
use trunkline::providers::config::ProviderKind;
use trunkline::schema::usage::Price;
use trunkline::sim::providers::{MockProviders, Script};
use trunkline::sip::Transport;
use trunkline::types::call::TurnRole;
use trunkline::types::{CallEvent, CallEventKind, CallId, UsageKind, UsageUnit};

use crate::support::hooks::{Answer, Receiver};
use crate::support::http::Client;
use crate::support::line::Line;
use crate::support::peer::{Caller, Message, Peer, sdp};
use crate::support::server::{self, Server};
use crate::support::{fixture, sound, wait};

/// Our number.
const OURS: &str = "+15550100";
/// Whom the tests call.
const THEIRS: &str = "+4930123456";
/// What the recogniser understands of whatever is said.
const HEARD: &str = "yes friday at eight is fine";
/// What the model answers.
const REPLY: &str = "Good, I noted it.";
/// What the model makes of every call.
const MADE: &str =
    r#"{"confirmed": true, "reschedule_to": null, "sentiment": 8, "detected_gender": "female"}"#;
/// Price of a minute, of a token and of a character, millionths.
const MINUTE: u64 = 60_000;
const TOKEN: u64 = 3;
const CHARACTER: u64 = 7;
const TOKENS: (u64, u64) = (200, 20);
/// What is held for a call.
const HOLD: u64 = 50_000;

/// A server, engines that do as they are told, a carrier, and a receiver of webhooks.
struct Desk {
    server: Server,
    api: Client,
    models: MockProviders,
    hook: Receiver,
    /// The carrier: whoever is called rings here.
    carrier: Peer,
    trunk: String,
    number: String,
    agent: String,
    template: String,
}

/// An outbound call that the carrier has got.
struct Dialled {
    id: String,
    accepted: Value,
    invite: Message,
}

impl Dialled {
    fn path(&self) -> String {
        format!("/v1/calls/{}", self.id)
    }

    fn call_id(&self) -> CallId {
        self.id.parse().expect("an id")
    }
}

fn script() -> Script {
    let mut script = Script::default();
    script.stt.recognise = trunkline::sim::providers::Recognise::Scripted(vec![HEARD.to_owned()]);
    script.llm.replies = vec![REPLY.to_owned()];
    let noted = (r#"set_variable"#.to_owned(), r#"{"name": "party", "value": "4"}"#.to_owned());
    script.llm.calls = vec![vec![noted]];
    script.llm.json = MADE.to_owned();
    script.llm.usage = Some(TOKENS);
    // A second of tone for any sentence is long enough to be heard and short enough to wait for.
    script.tts.per_char = std::time::Duration::from_millis(20);
    script
}

fn price(kind: UsageKind, unit: UsageUnit, price_micros: u64) -> Price {
    let provider = "*".to_owned();
    Price { kind, provider, model: None, unit, prefix: None, price_micros, per: 1 }
}

fn configure(config: &mut Config, models: &MockProviders) {
    let provider = |kind, base_url: String, model: &str| sections::Provider {
        kind,
        base_url,
        model: model.to_owned(),
        ..sections::Provider::default()
    };
    let services = [
        ("ears", provider(ProviderKind::Deepgram, models.stt_url.clone(), "nova-2")),
        ("mind", provider(ProviderKind::OpenAi, format!("{}/v1", models.llm_url), "gpt-4o")),
        ("mouth", provider(ProviderKind::Deepgram, models.tts_url.clone(), "eleven")),
    ];
    config.providers.extend(services.map(|(name, provider)| (name.to_owned(), provider)));
    config.prices = vec![
        price(UsageKind::Telephony, UsageUnit::Minute, MINUTE),
        price(UsageKind::Llm, UsageUnit::TokenIn, TOKEN),
        price(UsageKind::Llm, UsageUnit::TokenOut, TOKEN),
        price(UsageKind::Tts, UsageUnit::Character, CHARACTER),
    ];
    config.budget.monthly_limit_micros = 1_000_000_000;
    config.budget.per_call_hold_micros = HOLD;
    config.tools.allow_private_targets = true;
}

/// An agent that uses the engines of the desk; `more` takes the place of what is here.
fn agent(more: Value) -> Value {
    let mut agent = json!({
        "name": "Ada", "business_name": "Bistro", "language": "en",
        "persona": "You are {{who}}.", "instructions": "Confirm the table of {{day}}.",
        "variables": [{"name": "who", "default": "Ada"}, {"name": "day", "default": "Friday"}],
        "first_message": "Hello, this is {{who}}.", "first_message_delay_ms": 0,
        "stt": {"provider": "ears"}, "llm": {"provider": "mind"}, "tts": {"provider": "mouth"},
        "tools": [{"type": "set_variable"}],
        "returns": {"confirmed": "boolean", "reschedule_to": "string", "sentiment": "integer",
            "detected_gender": "string"},
        "summary": true,
    });
    merge(&mut agent, more);
    agent
}

fn merge(into: &mut Value, more: Value) {
    let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) else { panic!("objects") };
    into.extend(more);
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {value}"))
}

/// A time as the API writes it: RFC 3339 in UTC with milliseconds.
fn time(value: &Value, field: &str) -> jiff::Timestamp {
    let text = text(value, field);
    assert!(text.len() == 24 && text.ends_with('Z'), "`{field}` is {text}");
    text.parse().expect("a time")
}

fn ms_between(value: &Value, from: &str, to: &str) -> i64 {
    time(value, to).as_millisecond() - time(value, from).as_millisecond()
}

impl Desk {
    async fn open() -> Self {
        Self::with(|_| {}, json!({})).await
    }

    /// With a changed configuration and an agent of other fields.
    async fn with(change: impl FnOnce(&mut Config), more: Value) -> Self {
        let models = MockProviders::start(script()).await.expect("the mock engines");
        let server = Server::with(|config| {
            configure(config, &models);
            change(config);
        })
        .await;
        let api = Client::new(&server);
        let hook = Receiver::start(|_| Answer::Status(200)).await;
        let carrier = Peer::new(server.sip(Transport::Udp), Transport::Udp).await;
        let trunk = json!({"name": "Carrier", "host": "127.0.0.1", "port": carrier.local.port(),
            "allowed_addresses": ["127.0.0.1"], "cps": 50, "from_number": "+15550199"});
        let (trunk, _) = api.make("/v1/sip-trunks", trunk).await;
        let template = json!({"name": "review", "system_prompt": "You review calls.",
            "user_prompt": "{transcript}",
            "schema": {"type": "object", "required": ["sentiment"]}});
        let (template, _) = api.make("/v1/analysis-templates", template).await;
        let mut body = agent(json!({"analysis_template_ids": [template], "webhook_url": hook.url}));
        merge(&mut body, more);
        let (agent, _) = api.make("/v1/agents", body).await;
        let number = json!({"number": OURS, "name": "Desk", "trunk_id": trunk,
            "inbound_agent_id": agent, "outbound_agent_ids": [agent]});
        let (number, _) = api.make("/v1/numbers", number).await;
        Self { server, api, models, hook, carrier, trunk, number, agent, template }
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.api.send("GET", path, Value::Null).await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// A body for `POST /v1/calls`.
    fn order(&self, more: Value) -> Value {
        let mut body = json!({"to_number": THEIRS, "from_number": OURS, "agent_id": self.agent,
            "context": {"day": "Friday"}, "trunk_id": self.trunk});
        merge(&mut body, more);
        body
    }

    /// Places a call and waits for its INVITE.
    async fn dial(&mut self, body: Value) -> Dialled {
        let (status, accepted) = self.api.send("POST", "/v1/calls", body).await;
        assert_eq!(status, 202, "{accepted}");
        let invite = self.carrier.request("INVITE").await;
        Dialled { id: text(&accepted, "id").to_owned(), accepted, invite }
    }

    /// The carrier rings, and the server knows.
    async fn ring(&mut self, dialled: &Dialled) {
        self.carrier.answer(&dialled.invite, "180 Ringing", "", "").await;
        self.reaches(dialled, "ringing").await;
    }

    async fn reaches(&self, dialled: &Dialled, status: &str) -> Value {
        let path = dialled.path();
        wait::until(&format!("`{status}`"), async || {
            let call = self.get(&path).await;
            (call["status"] == status).then_some(call)
        })
        .await
    }

    /// The carrier answers; the line of whoever picked up.
    async fn pick_up(&mut self, dialled: &Dialled) -> Line {
        let line = Line::new().await;
        line.connect(dialled.invite.media());
        let contact = format!("Contact: <sip:callee@{}>\r\n", self.carrier.local);
        self.carrier.answer(&dialled.invite, "200 OK", &contact, &sdp(line.local)).await;
        self.carrier.request("ACK").await;
        line
    }

    /// Whoever picked up hangs up.
    async fn hang_up(&mut self, dialled: &Dialled) {
        let invite = &dialled.invite;
        let contact = invite.header("contact");
        let target = contact.trim_start_matches('<').split('>').next().unwrap_or_default();
        let tag = if invite.header("to").contains(";tag=") { "" } else { ";tag=peer" };
        let bye = format!(
            "BYE {target} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKbye{};rport\r\n\
             From: {}{tag}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: 1 BYE\r\nMax-Forwards: 70\r\n\
             Content-Length: 0\r\n\r\n",
            self.carrier.local,
            dialled.id,
            invite.header("to"),
            invite.header("from"),
            invite.header("call-id"),
        );
        self.carrier.send(bye.as_bytes()).await;
        self.carrier.final_to("BYE").await;
    }

    /// A whole outbound call: it rings, somebody answers, hears the greeting, says something, is answered and hangs
    /// up; and everything is made of it.
    async fn conversation(&mut self, body: Value) -> (Dialled, Value) {
        let mut events = self.server.events();
        let dialled = self.dial(body).await;
        self.ring(&dialled).await;
        let line = self.pick_up(&dialled).await;
        talk(&mut events, &line, dialled.call_id()).await;
        self.hang_up(&dialled).await;
        self.server.settled(dialled.call_id()).await;
        let call = self.get(&dialled.path()).await;
        (dialled, call)
    }

    /// The same the other way round: somebody calls us.
    async fn called(&self, extra: &str) -> (CallId, Value) {
        let mut events = self.server.events();
        let line = Line::new().await;
        let mut caller = Caller::new(&self.server, Transport::Udp, OURS).await;
        caller.extra = extra.to_owned();
        let ok = caller.call(line.local).await;
        line.connect(ok.media());
        let id = self.server.call_to(OURS).await.id;
        talk(&mut events, &line, id).await;
        caller.hang_up().await;
        self.server.settled(id).await;
        (id, self.get(&format!("/v1/calls/{id}")).await)
    }

    /// A call that the carrier refuses.
    async fn refused(&mut self, answer: &str, extra: &str) -> Value {
        let body = self.order(json!({}));
        let dialled = self.dial(body).await;
        self.carrier.answer(&dialled.invite, answer, extra, "").await;
        self.server.settled(dialled.call_id()).await;
        self.get(&dialled.path()).await
    }

    /// Bodies of the webhooks about a call, once so many have come.
    async fn told(&self, id: &str, count: usize) -> Vec<Value> {
        wait::until(&format!("{count} webhooks of a call"), async || {
            let bodies = self.hook.got().into_iter().map(|got| got.json());
            let told: Vec<Value> = bodies.filter(|body| body["data"]["call"]["id"] == id).collect();
            (told.len() >= count).then_some(told)
        })
        .await
    }
}

/// Waits for the greeting, speaks, and waits for the answer.
async fn talk(events: &mut broadcast::Receiver<Arc<CallEvent>>, line: &Line, id: CallId) {
    agent_finishes(events, id).await;
    line.say(&sound::load(&fixture("wav/demo/01_hours.wav")));
    agent_finishes(events, id).await;
}

/// Waits for the end of a turn of the agent.
async fn agent_finishes(events: &mut broadcast::Receiver<Arc<CallEvent>>, id: CallId) {
    server::event(events, "the end of an agent's turn", |event| {
        let ended =
            matches!(&event.kind, CallEventKind::TurnEnded { role: TurnRole::Assistant, .. });
        (event.call_id == id && ended).then_some(())
    })
    .await;
}
