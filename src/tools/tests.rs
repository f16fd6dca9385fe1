//! Definitions, arguments, agreement, templates, answers; servers are asked in `tests/it/tools.rs`.

use serde_json::{Value, json};

use super::answer::{TOLD_BYTES_MAX, of_server, of_webhook, redacted};
use super::confirm::is_confirmed;
use super::*;
use crate::schema::tool::{Destination, Tool, ToolPolicy, ToolType};

fn http(change: impl FnOnce(&mut Tool)) -> Tool {
    let mut tool = Tool {
        name: "book".to_owned(),
        url: "https://tools.example/book".to_owned(),
        parameters: json!({"type": "object", "required": ["people"], "additionalProperties": false,
            "properties": {"people": {"type": "integer", "minimum": 1, "maximum": 20}}}),
        ..Tool::default()
    };
    change(&mut tool);
    tool
}

fn asked<'a>(name: &'a str, arguments: &'a str) -> Asked<'a> {
    Asked { call_id: "c1", name, arguments, language: "en-GB", question: None, reply: None }
}

#[test]
fn a_wrong_definition_names_its_field() {
    type Change = fn(&mut Tool);
    let cases: [(&str, Change); 10] = [
        ("name", |tool| tool.name = "no blanks".to_owned()),
        ("name", |tool| tool.name.clear()),
        ("method", |tool| tool.method = "CONNECT".to_owned()),
        ("url", |tool| tool.url = "ftp://tools.example".to_owned()),
        ("url", |tool| tool.url = "https://{{host}}/x".to_owned()),
        ("url", |tool| tool.url = "https://tools.example/{{".to_owned()),
        ("headers", |tool| drop(tool.headers.insert("Host".to_owned(), "x".to_owned()))),
        ("parameters", |tool| {
            tool.parameters = json!({"type": "object", "properties": {"a": {"type": "nope"}}})
        }),
        ("parameters", |tool| tool.parameters = json!({"type": "string"})),
        ("timeout_ms", |tool| tool.timeout_ms = 5),
    ];
    for (field, change) in cases {
        let error = ToolSpec::compile(&http(change)).unwrap_err();
        assert_eq!(error.field, field, "{error}");
    }
    // A reference into the network is not followed.
    let fetching =
        http(|tool| tool.parameters = json!({"type": "object", "$ref": "http://127.0.0.1:1/x"}));
    assert_eq!(ToolSpec::compile(&fetching).unwrap_err().field, "parameters");
    let greedy = http(|tool| tool.url = "https://tools.example/{{ 'x' * 1000000000 }}".to_owned());
    assert_eq!(ToolSpec::compile(&greedy).unwrap_err().field, "url");
    let nowhere = Tool {
        r#type: ToolType::Transfer,
        destinations: vec![Destination { number: "12".to_owned(), ..Destination::default() }],
        ..Tool::default()
    };
    assert_eq!(ToolSpec::compile(&nowhere).unwrap_err().field, "destinations");
    let handoff = Tool { r#type: ToolType::Handoff, ..Tool::default() };
    assert_eq!(ToolSpec::compile(&handoff).unwrap_err().field, "agent_id");
}

#[test]
fn arguments_are_checked_before_anything_runs() {
    let tools = [ToolSpec::compile(&http(|_| {})).unwrap()];
    for (name, arguments, why) in [
        ("book", "{\"people\": 40}", "maximum"),
        ("book", "{\"people\": \"four\"}", "at `/people`"),
        ("book", "{}", "people"),
        ("book", "{\"people\": 4, \"x\": 1}", "x"),
        ("book", "{\"people\":", "not JSON"),
        ("bok", "{}", "there are: book"),
    ] {
        let Plan::Refuse(outcome) = plan(&tools, asked(name, arguments)) else {
            panic!("{arguments}")
        };
        assert!(outcome.is_error && outcome.text.contains(why), "{arguments}: {}", outcome.text);
    }
    let Plan::Ask(job) = plan(&tools, asked("book", "{\"people\": 4}")) else { panic!("refused") };
    assert_eq!(job.arguments, json!({"people": 4}));
}

#[test]
fn a_write_needs_a_spoken_yes_to_a_question() {
    let writes = http(|tool| tool.policy = ToolPolicy::ConfirmFirstWrite);
    let tools = [ToolSpec::compile(&writes).unwrap()];
    let with = |question, reply| Asked { question, reply, ..asked("book", "{\"people\": 4}") };
    let runs = |question, reply| matches!(plan(&tools, with(question, reply)), Plan::Ask(_));
    let question = Some("A table for four. Shall I book it?");
    for yes in ["yes", "Yes, please.", "yeah go ahead", "Sure!", "Okay.", "pressed 1"] {
        assert!(runs(question, Some(yes)), "{yes}");
    }
    for no in [
        "no",
        "no, not yes",
        "yes but wait",
        "eight o'clock",
        "",
        "yesterday",
        "pressed 2",
        "don't, okay?",
    ] {
        assert!(!runs(question, Some(no)), "{no}");
    }
    assert!(!runs(Some("I will book it."), Some("yes")), "nobody asked");
    assert!(!runs(None, Some("yes")) && !runs(question, None));
    let Plan::Refuse(outcome) = plan(&tools, with(None, None)) else { panic!("it ran") };
    let told: Value = serde_json::from_str(&outcome.text).unwrap();
    assert_eq!(told["error"], "confirmation_required");
}

#[test]
fn agreement_is_heard_in_the_language_of_the_talk() {
    let asked = Some("?");
    for (language, yes, no) in [
        ("de-DE", "Ja, gerne", "nein, noch nicht"),
        ("fr", "oui d’accord", "non"),
        ("es-ES", "Sí, claro", "no gracias"),
        ("it", "va bene", "non ancora"),
        ("pt-BR", "sim", "não"),
        ("nl", "ja hoor", "nee"),
        ("pl", "tak", "nie"),
        ("xx", "yes", "no"),
    ] {
        assert!(is_confirmed(language, asked, Some(yes)), "{language}: {yes}");
        assert!(!is_confirmed(language, asked, Some(no)), "{language}: {no}");
    }
}

#[test]
fn four_forms_of_an_answer() {
    let told = |answer: Value| {
        let outcome = of_webhook("c1", &answer);
        (outcome.text, outcome.is_error)
    };
    let results = json!({"results": [{"tool_call_id": "c0", "result": "a"}, {"tool_call_id": "c1", "result": {"b": 1}}]});
    assert_eq!(told(results), ("{\"b\":1}".to_owned(), false));
    assert_eq!(told(json!({"result": "eight"})), ("eight".to_owned(), false));
    assert_eq!(told(json!({"error": "full"})), ("{\"error\":\"full\"}".to_owned(), true));
    assert_eq!(told(json!(["eight", "nine"])), ("[\"eight\",\"nine\"]".to_owned(), false));
    assert!(told(json!({"results": []})).1);
    let failed = of_server(503, b"{\"why\": \"closed\"}");
    assert!(
        failed.is_error && failed.text.contains("503") && failed.text.contains("closed"),
        "{failed:?}"
    );
    assert_eq!(failed.status_code, Some(503));
    let long = of_server(200, &vec![b'a'; 60_000]);
    assert!(long.text.len() < TOLD_BYTES_MAX + 100 && long.text.ends_with("60000 bytes]"));
    let headers = [("authorization".to_owned(), "Bearer canary-secret".to_owned())];
    assert_eq!(redacted("you sent canary-secret".to_owned(), &headers), "you sent [REDACTED]");
}

#[test]
fn built_in_tools_become_actions() {
    let act = |tool: Tool, arguments: &str| {
        let spec = ToolSpec::compile(&tool).unwrap();
        let name = spec.name.clone();
        match plan(&[spec], asked(&name, arguments)) {
            Plan::Act(action) => Some(action),
            Plan::Ask(_) | Plan::Refuse(_) => None,
        }
    };
    let of = |r#type| Tool { r#type, ..Tool::default() };
    assert_eq!(act(of(ToolType::EndCall), ""), Some(Action::EndCall { message: None }));
    let digits = "12#".to_owned();
    assert_eq!(
        act(of(ToolType::SendDtmf), "{\"digits\":\"12#\"}"),
        Some(Action::SendDtmf { digits })
    );
    assert_eq!(act(of(ToolType::SendDtmf), "{\"digits\":\"x\"}"), None);
    let set = |pairs: &[(&str, &str)]| {
        let own = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Some(Action::SetVariables(own.collect()))
    };
    assert_eq!(
        act(of(ToolType::SetVariable), "{\"name\":\"size\",\"value\":4}"),
        set(&[("size", "4")])
    );
    let own = Tool {
        parameters: json!({"type": "object", "properties": {"city": {"type": "string"}, "n": {}}}),
        ..of(ToolType::SetVariable)
    };
    assert_eq!(act(own, "{\"city\":\"Bonn\",\"n\":2}"), set(&[("city", "Bonn"), ("n", "2")]));
    let destination =
        |number: &str| Destination { number: number.to_owned(), ..Destination::default() };
    let transfer = Tool {
        destinations: vec![destination("+15550001"), destination("+15550002")],
        ..of(ToolType::Transfer)
    };
    let second = Action::Transfer { destination: "+15550002".to_owned(), message: None };
    assert_eq!(act(transfer.clone(), "{\"destination\":\"+15550002\"}"), Some(second));
    assert_eq!(act(transfer, "{\"destination\":\"+15550003\"}"), None);
}
