//! The rest of the API: agents, numbers, trunks, templates, voices, credentials, organizations, campaigns.

use serde_json::{Value, json};

use super::{Desk, OURS, REPLY, text, time};
use crate::support::wait;

/// What every resource can: be made, listed, shown, changed and deleted. Gives what was made.
async fn lives(desk: &Desk, path: &str, body: Value, change: Value) -> Value {
    let before = desk.get(path).await["total"].as_u64().expect("a count");
    let (id, made) = desk.api.make(path, body.clone()).await;
    let one = format!("{path}/{id}");
    for (field, value) in body.as_object().expect("fields") {
        if !["password", "api_key"].contains(&field.as_str())
            && !value.is_object()
            && !value.is_array()
        {
            assert_eq!(made[field], *value, "{field} of {made}");
        }
    }
    assert_eq!(id.len(), 36, "a UUID");
    assert!(time(&made, "created_at") <= time(&made, "updated_at"));
    let list = desk.get(path).await;
    assert_eq!(list["total"], before + 1);
    assert!(list["items"].as_array().unwrap().iter().any(|item| item["id"] == id));
    assert_eq!(desk.get(&one).await, made);
    let (status, changed) = desk.api.send("PATCH", &one, change.clone()).await;
    assert_eq!(status, 200, "{changed}");
    for (field, value) in change.as_object().expect("fields") {
        assert_eq!(changed[field], *value, "{field}");
    }
    assert_eq!(desk.get(&one).await, changed);
    let (status, _) = desk.api.send("DELETE", &one, Value::Null).await;
    assert_eq!(status, 204);
    assert_eq!(desk.get(path).await["total"], before);
    made
}

async fn is_gone(desk: &Desk, path: &str, made: &Value) {
    let (status, body) =
        desk.api.send("GET", &format!("{path}/{}", text(made, "id")), Value::Null).await;
    assert_eq!(status, 404);
    let error = &body["error"];
    assert_eq!((text(error, "code"), text(error, "type")), ("not_found", "not_found"));
    assert!(!text(error, "message").is_empty() && text(error, "request_id").starts_with("req_"));
}

// covers: S4-20..S4-22 S4-26 S4-34 S4-50 S4-51 S4-53 S4-54 S4-60 S4-63 S4-65 S4-66
#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_made_can_be_listed_shown_changed_and_deleted() {
    let desk = Desk::open().await;
    let tools = json!([
        {"type": "http", "name": "lookup", "description": "Finds a table.", "url": "https://example.com/find",
            "parameters": {"type": "object", "properties": {"people": {"type": "integer"}}}},
        {"type": "end_call"}, {"type": "send_dtmf"}, {"type": "hold"},
        {"type": "transfer", "destinations": [{"number": "+15550111", "description": "Billing", "message": "One moment."}]},
    ]);
    let agent = super::agent(json!({
        "name": "Eve", "tools": tools, "max_duration_seconds": 300,
        "stt": {"provider": "ears", "model": "nova-3", "language": "en-GB", "keyterms": ["Bistro"]},
        "llm": {"provider": "mind", "model": "gpt-4.1", "temperature": 0.25, "max_tokens": 200},
        "tts": {"provider": "mouth", "voice": "aura-2-apollo-en", "speed": 1.5},
        "voicemail": {"detect": true, "action": "leave_message", "message": "Please call back."},
    }));
    let made =
        lives(&desk, "/v1/agents", agent.clone(), json!({"name": "Eva", "is_active": false})).await;
    for engine in ["stt", "llm", "tts"] {
        for (field, value) in agent[engine].as_object().unwrap() {
            assert_eq!(made[engine][field], *value, "{engine}.{field}");
        }
    }
    let shown: Vec<&Value> =
        made["tools"].as_array().unwrap().iter().map(|tool| &tool["type"]).collect();
    assert_eq!(shown, ["http", "end_call", "send_dtmf", "hold", "transfer"]);
    assert_eq!(made["tools"][4]["destinations"], tools[4]["destinations"]);
    assert_eq!(made["tools"][0]["parameters"], tools[0]["parameters"]);
    assert_eq!(made["voicemail"]["message"], "Please call back.");
    let template = json!({"name": "Find", "description": "For guests.", "tool": tools[0]});
    let made = lives(&desk, "/v1/tool-templates", template, json!({"name": "Search"})).await;
    assert_eq!(made["tool"]["url"], "https://example.com/find");
    is_gone(&desk, "/v1/tool-templates", &made).await;
    let number = json!({"number": "+15550188", "name": "Second", "inbound_agent_id": desk.agent, "trunk_id": desk.trunk});
    let made =
        lives(&desk, "/v1/numbers", number, json!({"name": "Third", "inbound_agent_id": null}))
            .await;
    is_gone(&desk, "/v1/numbers", &made).await;
    let (status, taken) = desk.api.send("POST", "/v1/numbers", json!({"number": OURS})).await;
    assert_eq!((status, text(&taken["error"], "code")), (409, "already_exists"));
    let trunk = json!({"name": "Other", "host": "192.0.2.7", "port": 5070, "username": "u", "password": "hidden-word"});
    let made = lives(&desk, "/v1/sip-trunks", trunk, json!({"host": "192.0.2.8"})).await;
    assert!(!made.to_string().contains("hidden-word"), "{made}");
    is_gone(&desk, "/v1/sip-trunks", &made).await;
    let template = json!({"name": "mood", "description": "How they felt.", "system_prompt": "You judge.",
        "user_prompt": "Look: {transcript}", "schema": {"type": "object", "properties": {"mood": {"type": "string"}}}});
    let made =
        lives(&desk, "/v1/analysis-templates", template.clone(), json!({"name": "feeling"})).await;
    assert_eq!(made["schema"], template["schema"]);
    is_gone(&desk, "/v1/analysis-templates", &made).await;
    let path = format!("/v1/agents/{}", desk.agent);
    assert_eq!(desk.get(&path).await["analysis_template_ids"], json!([desk.template]));
    let (status, refused) =
        desk.api.send("PATCH", &path, json!({"analysis_template_ids": ["nothing"]})).await;
    assert_eq!((status, &refused["error"]["param"]), (422, &json!("analysis_template_ids")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_and_a_template_are_tried_without_a_call() {
    let desk = Desk::open().await;
    let path = format!("/v1/agents/{}/test-turn", desk.agent);
    let turn = json!({"text": "When are you open?", "variables": {"day": "Monday"},
        "history": [{"role": "assistant", "content": "Hello."}]});
    let (status, said) = desk.api.send("POST", &path, turn).await;
    assert_eq!((status, &said["error"]), (200, &Value::Null), "{said}");
    assert_eq!(text(&said, "prompt"), "You are Ada.\n\nConfirm the table of Monday.");
    assert!(said["duration_ms"].as_u64() >= Some(80), "{said}");
    let mut script = super::script();
    script.llm.replies = vec!["We open at nine.".to_owned()];
    script.llm.json = r#"{"sentiment": 9}"#.to_owned();
    script.llm.calls.clear();
    desk.models.script(script);
    let (_, said) =
        desk.api.send("POST", &path, json!({"text": "Hi", "variables": {"day": "Monday"}})).await;
    assert_eq!(text(&said, "text"), "We open at nine.");
    let path = format!("/v1/analysis-templates/{}/test", desk.template);
    let body = json!({"agent_id": desk.agent, "transcript": "user: Thank you!"});
    let (status, made) = desk.api.send("POST", &path, body).await;
    assert_eq!((status, &made["output"]), (200, &json!({"sentiment": 9})), "{made}");
    assert_eq!(desk.get("/v1/calls").await["total"], 0, "nobody was called");
}

// covers: S4-27 S4-28 S4-61
#[tokio::test(flavor = "multi_thread")]
async fn voices_providers_and_keys_of_ones_own() {
    let desk = Desk::open().await;
    let voices = desk.get("/v1/voices?provider=local&language=de").await;
    assert_eq!(voices["total"], 1);
    let voice = &voices["items"][0];
    assert_eq!(
        (text(voice, "provider"), text(voice, "name"), text(voice, "language")),
        ("local", "de", "de")
    );
    assert!(voice["id"].is_string() && voice["models"].is_array(), "{voice}");
    let all = desk.get("/v1/voices?page_size=100").await;
    let women = all["items"].as_array().unwrap().iter().filter(|voice| voice["gender"] == "female");
    assert!(women.count() >= 2, "{all}");
    let body = json!({"provider": "openai", "label": "Production", "api_key": "sk-0123456789abcdef-last",
        "base_url": format!("{}/v1", desk.models.llm_url)});
    let state = async || {
        let providers = desk.get("/v1/byok/config").await;
        let items = providers["items"].as_array().unwrap().clone();
        let openai = items.into_iter().find(|one| one["id"] == "openai").expect("a provider");
        assert!(
            openai["models"].as_array().unwrap().iter().any(|model| model["default"] == true),
            "{openai}"
        );
        text(&openai, "credential_state").to_owned()
    };
    let without = state().await;
    for path in ["/v1/provider-credentials", "/v1/byok"] {
        let (_, made) = desk.api.make(path, body.clone()).await;
        assert_eq!((text(&made, "provider"), text(&made, "masked")), ("openai", "last"));
        let list = desk.get(path).await;
        assert!(!list.to_string().contains("0123456789abcdef"), "the key is never shown: {list}");
        assert_eq!(list["total"], 1);
        assert_eq!(state().await, "own");
        assert_eq!(desk.get("/v1/provider-credentials/openai").await["label"], "Production");
        let (status, _) = desk.api.send("DELETE", &format!("{path}/openai"), Value::Null).await;
        assert_eq!(status, 204);
        assert_eq!(state().await, without);
    }
    assert_eq!(
        desk.get("/v1/providers?page_size=100").await,
        desk.get("/v1/byok/config?page_size=100").await
    );
}

// covers: S4-35 S4-58
#[tokio::test(flavor = "multi_thread")]
async fn organizations_are_flat_and_have_keys_of_their_own() {
    let mut desk = Desk::open().await;
    let body = desk.order(json!({}));
    let (_, call) = desk.conversation(body).await;
    let ours = desk.get("/v1/organization").await;
    assert_eq!(ours["id"], call["organization_id"]);
    let counters = &ours["counters"];
    assert_eq!((&counters["active_calls"], &counters["active_numbers"]), (&json!(0), &json!(1)));
    // The demo of the configuration and the desk's.
    assert_eq!(
        (&counters["active_agents"], &counters["monthly_usage_minutes"]),
        (&json!(2), &json!(1))
    );
    let (status, made) =
        desk.api.send("POST", "/v1/organizations", json!({"name": "Second"})).await;
    assert_eq!((status, text(&made["organization"], "name")), (201, "Second"), "{made}");
    let key = text(&made["api_key"], "key");
    let url = format!("http://{}", desk.server.running.api());
    let theirs = async |path: &str| -> (u16, Value) {
        let answer =
            reqwest::Client::new().get(format!("{url}{path}")).bearer_auth(key).send().await;
        let answer = answer.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    };
    assert_eq!(theirs("/v1/organization").await.1["id"], made["organization"]["id"]);
    assert_eq!(theirs("/v1/calls").await.1["total"], 0);
    assert_eq!(theirs(&format!("/v1/calls/{}", text(&call, "id"))).await.0, 404, "not theirs");
}

// covers: S2-01 S4-36 S4-37 S4-68
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_calls_its_leads() {
    let mut desk = Desk::open().await;
    let hook =
        crate::support::hooks::Receiver::start(|_| crate::support::hooks::Answer::Status(200))
            .await;
    let endpoint = json!({"url": hook.url, "enabled_events": ["campaign.*"]});
    desk.api.make("/v1/webhook-endpoints", endpoint).await;
    let body = json!({"name": "Reminders", "agent_id": desk.agent, "number_id": desk.number, "trunk_id": desk.trunk,
        "system_message_template": "Remind {{name}} of {{what}}.", "max_concurrent": 1,
        "schedule": {"start_time": "00:00", "end_time": "00:00", "timezone": "UTC"},
        "retry": {"max_retry_attempts": 0}});
    let (id, made) = desk.api.make("/v1/campaigns", body).await;
    let path = format!("/v1/campaigns/{id}");
    assert_eq!((text(&made, "status"), &made["total_leads"]), ("draft", &json!(0)));
    let leads = format!("{path}/leads");
    let one = json!({"phone_number": "+4930123451", "name": "Ada", "variables": {"what": "tea"}});
    let (status, added) = desk.api.send("POST", &leads, one.clone()).await;
    assert_eq!((status, &added["added"]), (201, &json!(1)), "{added}");
    let more = json!([{"phone_number": "+4930123452", "name": "Bob", "variables": {"what": "tea"}},
        {"phone_number": "+4930123453"}]);
    let (_, added) = desk.api.send("POST", &leads, more).await;
    let third = text(&added["items"][1], "id");
    assert_eq!(desk.api.send("POST", &leads, one).await.0, 409, "once is enough");
    assert_eq!(desk.api.send("DELETE", &format!("{leads}/{third}"), Value::Null).await.0, 204);
    let list = desk.get(&leads).await;
    assert_eq!((&list["total"], text(&list["items"][0], "status")), (&json!(2), "pending"));
    let (status, running) = desk.api.send("PATCH", &path, json!({"status": "running"})).await;
    assert_eq!((status, text(&running, "status")), (200, "running"), "{running}");
    let first = desk.invited().await;
    assert!(first.invite.header("from").contains(OURS));
    assert_eq!(
        (&first.accepted["campaign_id"], text(&first.accepted, "instructions")),
        (&json!(id), "Remind Ada of tea.")
    );
    let mut events = desk.server.events();
    let line = desk.pick_up(&first).await;
    super::talk(&mut events, &line, first.call_id()).await;
    desk.hang_up(&first).await;
    let second = desk.invited().await;
    assert_eq!(text(&second.accepted, "instructions"), "Remind Bob of tea.");
    desk.carrier.answer(&second.invite, "486 Busy Here", "", "").await;
    let over = wait::until("the end of the campaign", async || {
        let campaign = desk.get(&path).await;
        (campaign["status"] == "completed").then_some(campaign)
    })
    .await;
    assert_eq!((&over["total_leads"], &over["completed_leads"]), (&json!(2), &json!(2)));
    assert_eq!((&over["counts"]["completed"], &over["counts"]["busy"]), (&json!(1), &json!(1)));
    let list = desk.get(&leads).await;
    let lead = |at: usize| {
        let lead = &list["items"][at];
        (
            text(lead, "status").to_owned(),
            text(lead, "last_outcome").to_owned(),
            lead["attempts_count"].as_u64(),
        )
    };
    assert_eq!(lead(0), ("completed".to_owned(), "completed".to_owned(), Some(1)));
    assert_eq!(lead(1), ("completed".to_owned(), "busy".to_owned(), Some(1)));
    assert_eq!(list["items"][0]["last_call_id"], first.id);
    let call = desk.get(&first.path()).await;
    assert_eq!((&call["lead_id"], text(&call, "summary")), (&list["items"][0]["id"], REPLY));
    let stats = desk.get(&format!("{path}/stats")).await;
    assert_eq!(
        (&stats["calls"], &stats["answered"], &stats["answer_rate"]),
        (&json!(2), &json!(1), &json!(0.5))
    );
    let got = hook.reaches(1).await;
    assert_eq!(hook.types(), ["campaign.completed"]);
    assert_eq!(got[0].json()["data"]["campaign"]["id"], id);
    assert_eq!(desk.get("/v1/campaigns").await["total"], 1);
    assert_eq!(desk.api.send("DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(desk.api.send("GET", &path, Value::Null).await.0, 404);
}
