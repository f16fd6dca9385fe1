//! Resources without calls: checks, secrets, owners, what agents become.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::schema::agent::{FirstMessageMode, Overrides};
use crate::schema::{Number, ProviderCredential, ToolTemplate};
use crate::types::Pii;

async fn catalog() -> (Catalog, Arc<Store>) {
    let store = Arc::new(Store::in_memory().await.unwrap());
    let catalog = open(&store).await;
    (catalog, store)
}

async fn open(store: &Arc<Store>) -> Catalog {
    let sealer = Arc::new(Sealer::new(&[9; 32], Entropy::seeded(1)).unwrap());
    Catalog::open(Directory::default(), Arc::clone(store), sealer, Entropy::seeded(2))
        .await
        .unwrap()
}

fn agent(value: serde_json::Value) -> Agent {
    serde_json::from_value(value).unwrap()
}

fn first() -> OrganizationId {
    OrganizationId::default()
}

const CALL: CallFacts<'_> =
    CallFacts { direction: "inbound", from: "+15550123", to: "+15550100", sip: None };

#[tokio::test]
async fn what_an_agent_says_reaches_the_machine_and_the_engines() {
    let (catalog, _) = catalog().await;
    let doc = agent(json!({
        "name": "Ada", "stt": {"language": "de", "keyterms": ["Bluebird"]},
        "tts": {"speed": 1.5, "voice": "slt"}, "llm": {"max_tokens": 50, "temperature": 0.2},
        "turn_detection": {"silence_ms": 700, "min_speech_ms": 60, "threshold": 0.6, "max_wait_ms": 4000},
        "barge_in": {"sensitivity": "low", "min_words": 2},
        "inactivity": {"prompt_after_ms": 5000, "hangup_after_ms": 20000, "prompts": ["Hello?"]},
        "max_duration_seconds": 90, "ring_timeout_seconds": 33, "end_phrases": ["bye"],
        "first_message_mode": "generated", "recording": false, "end_message": "Bye {{who}}.",
        "variables": [{"name": "who", "default": "you"}],
        "transfer": {"destinations": [{"number": "+15550199"}]},
    }));
    let ready = catalog.inline(&first(), doc).unwrap();
    let made = prepare(&ready, &Overrides::default(), CALL).unwrap();
    assert_eq!((made.turn.silence_ms, made.turn.max_wait_ms), (700, 4_000));
    assert_eq!((made.vad.start_ms, made.vad.threshold), (60, 0.6));
    assert_eq!((made.turn.barge_in.min_ms, made.turn.barge_in.min_words), (500, 2));
    assert_eq!(
        (made.turn.inactivity.prompt_after_ms, made.turn.inactivity.max_prompts),
        (5_000, 3)
    );
    assert_eq!(made.turn.max_duration_ms, 90_000);
    assert_eq!(made.turn.end_phrases, ["bye"]);
    assert!(made.turn.greeting.generated && made.turn.greeting.text.is_empty());
    assert_eq!(made.turn.greeting.delay_ms, 400);
    assert_eq!(made.turn.end_message, "Bye you.");
    assert_eq!((made.speed, made.voice.as_str()), (1.5, "slt"));
    assert_eq!((made.temperature, made.max_tokens), (Some(0.2), Some(50)));
    assert_eq!(made.keyterms, ["Bluebird"]);
    assert_eq!(made.facts.stt_language.as_deref(), Some("de"));
    assert_eq!(made.facts.ring_timeout_seconds, Some(33));
    assert_eq!(made.recording, crate::call::RecordingPolicy::Off);
    assert_eq!(made.tools[0].name, "transfer");
    assert_eq!(made.background, None);
    let german = Overrides { language: Some("fr".into()), ..Overrides::default() };
    let made = prepare(&ready, &german, CALL).unwrap();
    assert_eq!((made.language.as_str(), made.facts.stt_language.as_deref()), ("fr", None));
}

#[tokio::test]
async fn instructions_of_a_call_replace_and_variables_are_strict() {
    let (catalog, _) = catalog().await;
    let doc = agent(json!({"name": "Ada", "persona": "You are {{who}}.", "instructions": "Old.",
        "variables": [{"name": "who"}]}));
    let ready = catalog.inline(&first(), doc).unwrap();
    let missing = prepare(&ready, &Overrides::default(), CALL).unwrap_err();
    assert_eq!(missing, PrepareError::Missing("who".into()));
    let overrides = Overrides {
        instructions: Some("New for {{from_number}}.".into()),
        variables: [("who".to_owned(), "Ada".to_owned())].into(),
        ..Overrides::default()
    };
    let made = prepare(&ready, &overrides, CALL).unwrap();
    assert_eq!(made.prompt, Pii::new("You are Ada.\n\nNew for +15550123.".to_owned()));
    assert_eq!(made.facts.instructions.as_ref().unwrap().reveal(), "New for +15550123.");
    assert_eq!(ready.snapshot.prompt.reveal(), "You are {{who}}.\n\nOld.", "the agent stays");
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let (catalog, _) = catalog().await;
    let rows = [
        (json!({"name": " "}), "name"),
        (json!({"name": "a", "language": "e n"}), "language"),
        (json!({"name": "a", "instructions": "{{ open"}), "instructions"),
        (json!({"name": "a", "pipeline": "realtime"}), "realtime.provider"),
        (json!({"name": "a", "pipeline": "realtime", "realtime": "nobody"}), "realtime.provider"),
        (json!({"name": "a", "llm": "nobody"}), "stt.provider"),
        (json!({"name": "a", "tts": "nobody"}), "tts.provider"),
        (json!({"name": "a", "tts": {"speed": 9.0}}), "tts.speed"),
        (json!({"name": "a", "llm": {"temperature": 3.0}}), "llm.temperature"),
        (json!({"name": "a", "llm": {"script": "no script"}}), "llm.script"),
        (json!({"name": "a", "llm": {"script_file": "/etc/passwd"}}), "llm.script_file"),
        (json!({"name": "a", "turn_detection": {"silence_ms": 1}}), "turn_detection.silence_ms"),
        (json!({"name": "a", "turn": {"filler_after_ms": 1}}), "turn.filler_after_ms"),
        (json!({"name": "a", "max_duration_seconds": 1}), "max_duration_seconds"),
        (json!({"name": "a", "variables": [{"name": "1"}]}), "variables[0].name"),
        (json!({"name": "a", "tools": [{"type": "http"}]}), "tools[0].name"),
        (json!({"name": "a", "tool_template_ids": ["x"]}), "tool_template_ids"),
        (json!({"name": "a", "analysis_template_ids": ["x"]}), "analysis_template_ids"),
        (json!({"name": "a", "webhook_url": "ftp://x"}), "webhook_url"),
        (json!({"name": "a", "webhook_events": ["order.completed"]}), "webhook_events[0]"),
        (json!({"name": "a", "webhook_events": ["call.*", "cal*"]}), "webhook_events[1]"),
        (json!({"name": "a", "webhook_secret": "whsec_c2hvcnQ="}), "webhook_secret"),
        (json!({"name": "a", "primary_number_id": "x"}), "primary_number_id"),
        (json!({"name": "a", "recording": {"channels": 3}}), "recording.channels"),
    ];
    for (doc, field) in rows {
        let refused = catalog.create(&first(), agent(doc.clone())).await;
        match refused.map(|row| row.id.clone()) {
            Err(CatalogError::Invalid(wrong)) => assert_eq!(wrong.field, field, "{doc}"),
            other => panic!("{doc}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn secrets_are_sealed_kept_and_never_shown() {
    let (catalog, store) = catalog().await;
    let credential = ProviderCredential {
        provider: "openai".into(),
        api_key: crate::schema::secret::WriteOnly::Text(crate::types::Secret::new("sk-canary")),
        ..ProviderCredential::default()
    };
    let row = catalog.create(&first(), credential).await.unwrap();
    let shown = serde_json::to_string(&row.view()).unwrap();
    assert!(!shown.contains("canary"), "{shown}");
    let stored = store.resource("provider_credential", &first(), &row.id).await.unwrap().unwrap();
    assert!(!stored.doc.to_string().contains("canary"));
    let sealed = String::from_utf8_lossy(stored.sealed.as_deref().unwrap()).into_owned();
    assert!(!sealed.contains("canary"));
    let again = open(&store).await;
    let opened = again.snapshot().row::<ProviderCredential>(&first(), &row.id).unwrap();
    assert_eq!(opened.secret.as_ref().unwrap().expose(), "sk-canary");
    // A change of something else keeps it, and agents may now name the provider.
    let change = |doc: &ProviderCredential| -> Result<_, CatalogError> {
        Ok((ProviderCredential { label: "x".into(), ..doc.clone() }, SecretChange::Keep))
    };
    let row = again.update(&first(), &row.id, Some(1), change).await.unwrap();
    assert_eq!(row.secret.as_ref().unwrap().expose(), "sk-canary");
    crate::providers::http::install_crypto();
    let doc = json!({"name": "a", "llm": {"provider": "openai", "model": "gpt-4o"},
        "stt": "openai", "tts": "openai", "summary": true});
    let agent = again.create(&first(), agent(doc)).await.unwrap();
    let ready = again.ready(&first(), &AgentId(agent.id.clone())).unwrap();
    assert_eq!(ready.snapshot.llm.model(), Some("gpt-4o"));
    assert!(ready.snapshot.facts.after.summary);
    assert!(again.llm(&first(), "openai", None).is_ok());
    let key = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
    let doc = json!({"name": "b", "webhook_url": "https://x.example/h", "webhook_secret": key});
    let id = AgentId(again.create(&first(), self::agent(doc)).await.unwrap().id.clone());
    let secret = async || again.agent_webhook_secret(&first(), &id).await.unwrap();
    assert_eq!(secret().await.unwrap().expose(), key);
    assert_eq!(again.ready(&first(), &id).unwrap().snapshot.facts.webhook_agent, Some(id.clone()));
    // Its last events may be under way.
    again.archive::<Agent>(&first(), &id.0).await.unwrap();
    assert_eq!(secret().await.unwrap().expose(), key);
    let other = OrganizationId::new("other".into());
    assert!(again.agent_webhook_secret(&other, &id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_webhook_of_a_call_is_not_the_agents() {
    let (catalog, _) = catalog().await;
    let doc = json!({"name": "b", "webhook_url": "https://x.example/h",
        "webhook_events": ["call.completed"]});
    let row = catalog.create(&first(), agent(doc)).await.unwrap();
    let ready = catalog.ready(&first(), &AgentId(row.id.clone())).unwrap();
    let call = || CallFacts { direction: "inbound", from: "", to: "", sip: None };
    let own = prepare(&ready, &Overrides::default(), call()).unwrap();
    assert_eq!(own.facts.webhook_events, ["call.completed"]);
    assert!(own.facts.webhook_agent.is_some());
    let overrides =
        Overrides { webhook_url: Some("https://y.example/h".into()), ..Overrides::default() };
    let own = prepare(&ready, &overrides, call()).unwrap();
    assert_eq!(own.facts.webhook_url.as_ref().unwrap().reveal(), "https://y.example/h");
    assert!(own.facts.webhook_agent.is_none() && own.facts.webhook_events.is_empty());
    let change = |value: serde_json::Value| value.as_object().unwrap().clone();
    let elsewhere = change(json!({"webhook_url": "https://y.example/h"}));
    let made = catalog.changed(&first(), Some(&ready), elsewhere).unwrap();
    assert!(made.snapshot.facts.webhook_agent.is_none());
    let made = catalog.changed(&first(), Some(&ready), change(json!({"persona": "Bo"}))).unwrap();
    assert!(made.snapshot.facts.webhook_agent.is_some());
    let wrong = catalog.inline(&first(), agent(json!({"name": "a", "webhook_secret": "x"})));
    assert_eq!(wrong.err().unwrap().field, "webhook_secret");
}

#[tokio::test]
async fn another_organization_sees_nothing_and_a_number_exists_once() {
    let (catalog, _) = catalog().await;
    let other = OrganizationId::new("other".into());
    let row = catalog.create(&first(), agent(json!({"name": "a"}))).await.unwrap();
    assert!(catalog.ready(&other, &AgentId(row.id.clone())).is_none());
    assert!(catalog.find::<Agent>(&other, &row.id).await.unwrap().is_none());
    assert!(matches!(catalog.archive::<Agent>(&other, &row.id).await, Err(CatalogError::NotFound)));
    let number = Number { number: "+15550100".into(), ..Number::default() };
    catalog.create(&first(), number.clone()).await.unwrap();
    assert!(matches!(catalog.create(&other, number).await, Err(CatalogError::Taken)));
    let theirs = Number {
        number: "+15550101".into(),
        inbound_agent_id: Some(row.id.clone()),
        ..Number::default()
    };
    let refused = catalog.create(&other, theirs).await;
    assert!(
        matches!(refused, Err(CatalogError::Invalid(wrong)) if wrong.field == "inbound_agent_id")
    );
}

#[tokio::test]
async fn a_changed_template_reaches_the_next_call_of_its_agents() {
    let (catalog, _) = catalog().await;
    let template = |name: &str| -> ToolTemplate {
        serde_json::from_value(
            json!({"name": "t", "tool": {"name": name, "url": "https://x.example"}}),
        )
        .unwrap()
    };
    let row = catalog.create(&first(), template("one")).await.unwrap();
    let doc = agent(json!({"name": "a", "tool_template_ids": [row.id]}));
    let id = AgentId(catalog.create(&first(), doc).await.unwrap().id.clone());
    let tool = || catalog.ready(&first(), &id).unwrap().snapshot.tools[0].name.clone();
    assert_eq!(tool(), "one");
    let change =
        |_: &ToolTemplate| -> Result<_, CatalogError> { Ok((template("two"), SecretChange::Keep)) };
    catalog.update(&first(), &row.id, None, change).await.unwrap();
    assert_eq!(tool(), "two");
    catalog.remove::<ToolTemplate>(&first(), &row.id).await.unwrap();
    assert!(catalog.ready(&first(), &id).unwrap().snapshot.tools.is_empty());
}

#[test]
fn first_messages_have_three_modes() {
    let of = |mode, text: Option<&str>| {
        let agent = Agent {
            first_message_mode: mode,
            first_message: text.map(str::to_owned),
            ..Agent::default()
        };
        let turn = compile::turn_config(&agent);
        (turn.greeting.text, turn.greeting.generated)
    };
    assert_eq!(of(FirstMessageMode::Static, Some("Hi.")), ("Hi.".to_owned(), false));
    assert_eq!(of(FirstMessageMode::Generated, Some("Hi.")), (String::new(), true));
    assert_eq!(of(FirstMessageMode::None, Some("Hi.")), (String::new(), false));
}

#[tokio::test]
async fn an_agent_of_one_model_needs_no_recogniser_and_no_dialogue() {
    let (catalog, _) = catalog().await;
    crate::providers::http::install_crypto();
    for provider in ["xai", "deepgram"] {
        let credential =
            ProviderCredential { provider: provider.into(), ..ProviderCredential::default() };
        catalog.create(&first(), credential).await.unwrap();
    }
    let doc = |realtime: serde_json::Value| json!({"name": "a", "pipeline": "realtime", "realtime": realtime, "first_message": "Hi."});
    for (realtime, field) in [
        (json!("deepgram"), "realtime.provider"),
        (json!({"provider": "xai", "turn_detection": "server_vad"}), "realtime.turn_detection"),
        (json!({"provider": "xai", "speed": 3.0}), "realtime.speed"),
    ] {
        match catalog.create(&first(), agent(doc(realtime.clone()))).await.map(|_| ()) {
            Err(CatalogError::Invalid(wrong)) => assert_eq!(wrong.field, field, "{realtime}"),
            other => panic!("{realtime}: {other:?}"),
        }
    }
    let mut stt = doc(json!("xai"));
    stt["turn_detection"] = json!({"mode": "stt"});
    match catalog.create(&first(), agent(stt)).await.map(|_| ()) {
        Err(CatalogError::Invalid(wrong)) => assert_eq!(wrong.field, "turn_detection.mode"),
        other => panic!("{other:?}"),
    }
    let made = catalog.inline(&first(), agent(doc(json!({"provider": "xai", "voice": "rex"}))));
    let snapshot = made.unwrap().snapshot;
    let route = snapshot.realtime.as_ref().unwrap();
    assert_eq!((route.voice.as_str(), route.model.name()), ("rex", "xai"));
    assert!(route.says_fixed_texts, "no voice is named");
    assert_eq!(snapshot.turn.greeting.text, "Hi.");
    assert!(snapshot.turn_config().late_transcripts);
    let mut voiced = doc(json!("xai"));
    voiced["tts"] = json!("xai");
    let snapshot = catalog.inline(&first(), agent(voiced)).unwrap().snapshot;
    assert!(!snapshot.realtime.as_ref().unwrap().says_fixed_texts);
}

#[tokio::test]
async fn a_background_is_a_room_or_a_file_that_is_there() {
    let (catalog, _) = catalog().await;
    let with = |sound: &str| agent(json!({"name": "a", "background_sound": sound}));
    let ready = catalog.inline(&first(), with("room")).unwrap();
    assert!(ready.snapshot.background.is_some());
    for missing in ["none.wav", "../secret.wav", "office"] {
        let error = catalog.inline(&first(), with(missing)).err().expect("refused");
        assert_eq!(error.field, "background_sound");
        assert!(error.message.contains("`room`, or a file of `call.media_dir`"), "{error:?}");
    }
}

/// What the INVITE says reaches the agent's texts; what it does not say is empty.
#[tokio::test]
async fn texts_know_what_the_invite_says() {
    let (catalog, _) = catalog().await;
    let doc = agent(json!({
        "name": "Ada",
        "persona": "Order {{sip.headers['x-order'] | default('none')}}, {{sip.verstat}}, {{sip.diversion | length}}.",
    }));
    let ready = catalog.inline(&first(), doc).unwrap();
    let mut said = crate::types::SipIdentity {
        verstat: Some("TN-Validation-Passed-A".to_owned()),
        diversion: vec!["<sip:a@b>".to_owned().into()],
        ..crate::types::SipIdentity::default()
    };
    said.headers.insert("x-order".to_owned(), "4711".to_owned().into());
    let call = CallFacts { sip: Some(&said), ..CALL };
    let made = prepare(&ready, &Overrides::default(), call).unwrap();
    assert!(made.prompt.reveal().starts_with("Order 4711, TN-Validation-Passed-A, 1."));
    let made = prepare(&ready, &Overrides::default(), CALL).unwrap();
    assert!(made.prompt.reveal().starts_with("Order none, "), "{}", made.prompt.reveal());
}
