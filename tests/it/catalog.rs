//! Agents, numbers and trunks as data, over real calls: routing, webhooks, changes while calls go on.

use serde_json::{Value, json};
use trunkline::sip::Transport;
use trunkline::types::call::TurnOrigin;
use trunkline::types::{CallRecord, CallStatus, EndReason};

use crate::support::http::{Answer, Asked, Client};
use crate::support::line::Line;
use crate::support::peer::{Caller, Peer, sdp};
use crate::support::server::{self, Server};
use crate::support::wait;

const NUMBER: &str = "+15550100";

/// A server whose number asks a webhook; `second` is another agent.
async fn asking(wait_ms: u64) -> (Server, Asked) {
    let asked = Asked::start().await;
    let url = format!("http://{}/agent", asked.address);
    let server = Server::with(|config| {
        config.call.agent_request_timeout_ms = wait_ms;
        let mut second = server::agent(config).clone();
        second.first_message = Some("This is the second.".to_owned());
        config.agents.insert("second".to_owned(), second);
        let mut number: trunkline::schema::Number = "demo".to_owned().into();
        number.request_webhook_url = Some(url);
        config.numbers.insert(NUMBER.to_owned(), number);
    })
    .await;
    (server, asked)
}

/// Calls the number and hangs up after the greeting; gives the record and the first words.
async fn greeted(server: &Server, number: &str) -> (CallRecord, String) {
    let mut events = server.events();
    let line = Line::new().await;
    let mut caller = Caller::new(server, Transport::Udp, number).await;
    let ok = caller.call(line.local).await;
    line.connect(ok.media());
    let id = server::event(&mut events, "the end of the greeting", |event| {
        matches!(event.kind, trunkline::types::CallEventKind::TurnEnded { .. })
            .then_some(event.call_id)
    })
    .await;
    caller.hang_up().await;
    let record = server.ended(id).await;
    let turns = server.turns(id).await;
    let greeting = turns.iter().find(|turn| turn.origin == TurnOrigin::Greeting);
    (record, greeting.map(|turn| turn.content.reveal().clone()).unwrap_or_default())
}

fn agent_of(record: &CallRecord) -> &str {
    record.agent_id.as_ref().map(|id| id.0.as_str()).unwrap_or_default()
}

// covers: S4-30 S4-62
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_gives_no_usable_answer_leaves_the_call_to_the_numbers_agent() {
    let (server, asked) = asking(400).await;
    let useless = [
        Answer::Never,
        Answer::Status(500),
        Answer::Text("no JSON"),
        Answer::Json(json!({"agent_id": 5})),
        Answer::Json(json!({"agent_id": "nobody"})),
        Answer::Json(json!({"agent": {"tts": "nowhere"}})),
        Answer::Json(json!({"agent": {"colour": "red"}})),
        Answer::Json(json!({"reject": {"sip_status": 200}})),
        Answer::Json(json!({"max_duration_seconds": 1})),
        Answer::Json(json!({})),
    ];
    for (at, answer) in useless.into_iter().enumerate() {
        asked.will(answer);
        let (record, words) = greeted(&server, NUMBER).await;
        assert_eq!((agent_of(&record), words.as_str()), ("demo", "Hello."), "answer {at}");
        assert_eq!(record.end_reason, Some(EndReason::UserHangup), "answer {at}");
    }
    let questions = asked.questions();
    assert_eq!(questions.len(), 10, "one question a call, never repeated");
    let (headers, question) = &questions[0];
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        assert!(headers.iter().any(|header| header == name), "{headers:?}");
    }
    assert_eq!(question["type"], "agent.request");
    assert_eq!(question["data"]["call"]["to_number"], NUMBER);
    assert_eq!(question["data"]["call"]["direction"], "inbound");
    assert_eq!(question["data"]["agent_id"], "demo");
}

// covers: E2-13
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_silent_for_five_seconds_is_waited_for_no_longer() {
    let usual = trunkline::config::Config::default().call.agent_request_timeout_ms;
    let (server, asked) = asking(usual).await;
    asked.will(Answer::Never);
    let start = trunkline::net::clock::now();
    let (record, words) = greeted(&server, NUMBER).await;
    assert_eq!((agent_of(&record), words.as_str()), ("demo", "Hello."));
    let waited = record.answered_at.unwrap().duration_since(record.created_at).as_secs_f64();
    assert!((5.0..8.0).contains(&waited), "{waited} s until the answer");
    assert!(start.elapsed().as_secs() >= 5);
    assert_eq!(asked.questions().len(), 1);
}

// covers: S4-30 S4-62
#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_says_who_answers_with_what_and_for_how_long() {
    let (server, asked) = asking(5_000).await;
    asked.will(Answer::Json(json!({"agent_id": "second"})));
    let (record, words) = greeted(&server, NUMBER).await;
    assert_eq!((agent_of(&record), words.as_str()), ("second", "This is the second."));
    asked.will(Answer::Json(json!({
        "agent": {"first_message": "Hello {{name}}, order {{context.order}}.", "business_name": "B"},
        "variables": {"name": "Bob"}, "context": {"order": 7}, "metadata": {"crm": 1},
        "max_duration_seconds": 60,
    })));
    let (record, words) = greeted(&server, NUMBER).await;
    assert_eq!((agent_of(&record), words.as_str()), ("demo", "Hello Bob, order 7."));
    assert_eq!(record.business_name.as_deref(), Some("B"));
    assert_eq!(record.variables.reveal()["name"], "Bob");
    assert_eq!(record.context.as_ref().unwrap().reveal(), &json!({"order": 7}));
    assert_eq!(record.metadata, json!({"crm": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_refuses_in_words_or_by_status_and_a_caller_may_give_up_meanwhile() {
    let (server, asked) = asking(30_000).await;
    asked.will(Answer::Json(json!({"error": "We are closed today."})));
    let line = Line::new().await;
    let mut caller = Caller::new(&server, Transport::Udp, NUMBER).await;
    let ok = caller.call(line.local).await;
    line.connect(ok.media());
    caller.hung_up().await;
    let record = server.ended_to(NUMBER).await;
    assert_eq!(record.status, CallStatus::Completed);
    let turns = server.turns(record.id).await;
    assert_eq!(turns[0].content.reveal(), "We are closed today.");
    for (status, reason) in
        [(486, EndReason::Busy), (603, EndReason::Rejected), (480, EndReason::NoAnswer)]
    {
        asked.will(Answer::Json(json!({"reject": {"sip_status": status}})));
        let mut caller = Caller::new(&server, Transport::Udp, NUMBER).await;
        caller.invite(&sdp(line.local)).await;
        assert_eq!(caller.peer.final_to("INVITE").await.status(), status);
        wait::until("the refused call's record", async || {
            let calls = server.calls().await;
            calls.into_iter().find(|call| call.end_reason == Some(reason)).map(drop)
        })
        .await;
    }
    asked.will(Answer::Never);
    let mut caller = Caller::new(&server, Transport::Udp, NUMBER).await;
    caller.invite(&sdp(line.local)).await;
    caller.peer.find(|message| message.status() == 180).await;
    let cancel = caller.text("CANCEL", "INVITE1", "", "");
    caller.peer.send(cancel.as_bytes()).await;
    assert_eq!(caller.peer.final_to("INVITE").await.status(), 487);
    wait::until("the record of the caller who gave up", async || {
        let calls = server.calls().await;
        calls.into_iter().find(|call| call.end_reason == Some(EndReason::Canceled)).map(drop)
    })
    .await;
}

// covers: S4-20 S4-53 E2-12
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_an_agent_reaches_the_next_call_and_never_a_live_one() {
    let server = Server::start().await;
    let api = Client::new(&server);
    let (agent, made) = api
        .make(
            "/v1/agents",
            json!({"name": "Ada", "persona": "You are {{who}}.", "instructions": "Be brief.",
                "variables": [{"name": "who", "default": "Ada"}], "first_message": "I am {{who}}."}),
        )
        .await;
    assert_eq!((&made["version"], &made["managed_by"]), (&json!(1), &json!("api")));
    let number = json!({"number": NUMBER, "inbound_agent_id": agent});
    let (number, _) = api.make("/v1/numbers", number).await;
    let line = Line::new().await;
    let mut live = Caller::new(&server, Transport::Udp, NUMBER).await;
    let ok = live.call(line.local).await;
    line.connect(ok.media());
    let id = server.call_to(NUMBER).await.id;
    server.live(id).await;
    let change = json!({"instructions": "Be long.", "first_message": "Changed.", "version": 1});
    let path = format!("/v1/agents/{agent}");
    let (status, changed) = api.send("PATCH", &path, change.clone()).await;
    assert_eq!((status, &changed["version"]), (200, &json!(2)), "{changed}");
    let (status, stale) = api.send("PATCH", &path, change).await;
    assert_eq!((status, &stale["error"]["code"]), (409, &json!("version_conflict")));
    // The configuration is read again as well, and once it is wrong.
    let mut config = server::config(&server.dir);
    config.default_agent = "demo".to_owned();
    config.numbers.insert("+15550177".to_owned(), "demo".to_owned().into());
    let env = [("TRUNK_PASSWORD".to_owned(), "secret".to_owned())].into();
    server.running.reload(config.clone(), &env).await.expect("a configuration that is right");
    server::agent(&mut config).llm.script_file = "/nowhere".into();
    let refused = server.running.reload(config, &env).await.expect_err("there is no such file");
    assert!(refused.to_string().contains("agents.demo.llm.script_file"), "{refused}");
    assert_eq!(live.ask("INFO", "", "").await.status(), 200, "the live call goes on");
    live.hang_up().await;
    let record = server.ended(id).await;
    assert_eq!((agent_of(&record), record.agent_version), (agent.as_str(), Some(1)));
    assert_eq!(record.prompt.unwrap().reveal(), "You are Ada.\n\nBe brief.");
    assert_eq!(record.instructions.unwrap().reveal(), "Be brief.");
    assert_eq!(record.number_id.as_deref(), Some(number.as_str()));
    let (record, words) = greeted(&server, NUMBER).await;
    assert_eq!((record.agent_version, words.as_str()), (Some(2), "Changed."));
    assert_eq!(record.persona.unwrap().reveal(), "You are Ada.");
    let (record, _) = greeted(&server, "+15550177").await;
    assert_eq!(agent_of(&record), "demo", "the number of the new configuration");
    let (_, versions) = api.send("GET", &format!("{path}/versions"), Value::Null).await;
    assert_eq!(versions["total"], 2);
    assert_eq!(versions["items"][1]["instructions"], "Be brief.");
    // Inactive: 480; put away: the number has no agent any more.
    api.send("PATCH", &path, json!({"is_active": false})).await;
    let mut caller = Caller::new(&server, Transport::Udp, NUMBER).await;
    caller.invite(&sdp(line.local)).await;
    assert_eq!(caller.peer.final_to("INVITE").await.status(), 480);
    assert_eq!(api.send("DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(api.send("GET", &path, Value::Null).await.0, 200, "its history stays");
    let (status, refused) = api.send("DELETE", "/v1/agents/demo", Value::Null).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("managed_by_config")));
}

// covers: S4-26 S4-60
#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_of_the_api_takes_calls_at_once_and_none_when_it_is_gone() {
    let server = Server::with(|config| {
        let local = config.trunks.get_mut("local").expect("the local trunk");
        local.allowed_networks = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let api = Client::new(&server);
    let other = async || {
        let peer = Peer::from_ip([127, 0, 0, 9], server.sip(Transport::Udp), Transport::Udp).await;
        let mut caller = Caller::over(peer, "anybody");
        caller.try_call("127.0.0.9:4000".parse().unwrap()).await.status()
    };
    assert_eq!(other().await, 403);
    let peer = Peer::from_ip([127, 0, 0, 9], server.sip(Transport::Udp), Transport::Udp).await;
    let trunk = json!({"name": "Carrier", "host": "127.0.0.9", "port": peer.local.port(),
        "allowed_addresses": ["127.0.0.9"], "agent_id": "demo", "username": "u", "password": "p"});
    let (id, made) = api.make("/v1/sip-trunks", trunk).await;
    assert!(made.get("password").is_none(), "{made}");
    assert_eq!(other().await, 200);
    let call = server.call_to("anybody").await;
    assert_eq!(call.trunk.as_ref().map(|name| name.0.as_str()), Some(id.as_str()));
    // OPTIONS reaches the peer, which answers.
    let mut peer = peer;
    let path = format!("/v1/sip-trunks/{id}");
    let test = format!("{path}/test");
    let (tested, ()) = tokio::join!(api.send("POST", &test, json!({})), async {
        let options = peer.request("OPTIONS").await;
        peer.answer(&options, "200 OK", "", "").await;
    });
    assert_eq!((&tested.1["reachable"], &tested.1["sip_status"]), (&json!(true), &json!(200)));
    let (_, status) = api.send("GET", &format!("{path}/status"), Value::Null).await;
    assert!(status["rtt_ms"].is_u64(), "{status}");
    assert_eq!(api.send("PATCH", &path, json!({"allowed_addresses": []})).await.0, 200);
    assert_eq!(other().await, 403);
    assert_eq!(api.send("DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(api.send("GET", &path, Value::Null).await.0, 404);
}

// covers: S0-04 S0-11 S1-27 S4-57
#[tokio::test(flavor = "multi_thread")]
async fn a_call_brings_its_own_agent_and_every_variable_it_needs() {
    let server = Server::start().await;
    let api = Client::new(&server);
    let mut callee = Peer::new(server.sip(Transport::Udp), Transport::Udp).await;
    let to = format!("sip:bob@{}", callee.local);
    let agent = json!({"name": "Once", "persona": "You are brief.", "first_message": "Hi.",
        "instructions": "Remind {{name}} of {{context.what}}."});
    let call = |more: Value| {
        let mut body = json!({"to_number": to, "trunk_id": "out", "from_number": "+15550111"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let refusals = [
        (json!({"agent": agent}), "variables.name"),
        (json!({"agent": agent, "agent_id": "demo"}), "agent"),
        (json!({"agent": {"name": "x", "tts": "nowhere"}}), "agent.tts.provider"),
        (
            json!({"agent": {"name": "x", "llm": {"script_file": "/etc/passwd"}}}),
            "agent.llm.script_file",
        ),
        (json!({"instructions": "{{nobody}}"}), "variables.nobody"),
        (json!({"instructions": "{% include 'x' %}"}), "instructions"),
        (json!({"sip_headers": {"Via": "x"}}), "sip_headers"),
        (json!({"sip_headers": {"X-A": "b\r\nVia: c"}}), "sip_headers.X-A"),
    ];
    for (more, param) in refusals {
        let (status, refused) = api.send("POST", "/v1/calls", call(more)).await;
        assert_eq!((status, &refused["error"]["param"]), (422, &json!(param)), "{refused}");
    }
    let more = json!({"agent": agent, "variables": {"name": "Bob"}, "context": {"what": "tea"},
        "sip_headers": {"X-Order": "42"}, "metadata": {"a": 1}});
    let (status, queued) = api.send("POST", "/v1/calls", call(more)).await;
    assert_eq!((status, &queued["agent_id"]), (202, &Value::Null), "{queued}");
    let invite = callee.request("INVITE").await;
    assert_eq!(invite.header("x-order"), "42");
    assert!(invite.header("from").contains("+15550111"));
    callee.answer(&invite, "486 Busy Here", "", "").await;
    let record = server.ended_to(&to).await;
    assert_eq!(record.status, CallStatus::Busy);
    assert_eq!(record.prompt.unwrap().reveal(), "You are brief.\n\nRemind Bob of tea.");
    assert_eq!(record.variables.reveal()["name"], "Bob");
}
