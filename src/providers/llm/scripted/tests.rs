use super::*;

const SCRIPT: &str = r#"
name = "test"
start = "main"
greeting = "Hello."
not_understood = ["Once.", "Twice."]
[slots]
n = { kind = "digits", length = 2 }
[[everywhere]]
say = ["goodbye"]
reply = "Bye."
end = true
[states.main]
[[states.main.options]]
say = ["order"]
keys = "1"
goto = "number"
[states.number]
prompt = "Which number?"
[[states.number.options]]
say = ["{n}"]
keys = "{n}"
reply = "Number {n}."
goto = "main"
"#;

fn request(conversation: &str, messages: &[(Role, &str)]) -> LlmRequest {
    LlmRequest {
        messages: messages
            .iter()
            .map(|(role, text)| Message::new(*role, (*text).to_owned()))
            .collect(),
        conversation: conversation.to_owned(),
        ..LlmRequest::default()
    }
}

#[test]
fn a_conversation_goes_on_and_a_retry_starts_from_the_same_place() {
    let agent = ScriptedDialogue::new(Script::parse(SCRIPT).unwrap());
    let now = clock::now();
    let mut history = vec![(Role::User, "1")];
    let first = agent.answer(&request("a", &history), now);
    assert_eq!(first.text, "Which number?");
    assert_eq!(agent.answer(&request("a", &history), now), first, "a retry moved the state");
    history.extend([(Role::Assistant, "Which number?"), (Role::User, "four two")]);
    assert_eq!(agent.answer(&request("a", &history), now).text, "Number 4 2.");
    assert_eq!(agent.answer(&request("b", &[(Role::User, "42")]), now).text, "Once.");
    history.extend([(Role::Assistant, "Number 4 2."), (Role::User, "")]);
    assert_eq!(agent.answer(&request("a", &history), now).text, "Once.");
    history.extend([(Role::Assistant, "Once."), (Role::User, "goodbye")]);
    assert_eq!(
        agent.answer(&request("a", &history), now),
        Answer { text: "Bye.".into(), end: true, calls: Vec::new() }
    );
}

#[test]
fn memory_is_bounded_and_forgets() {
    let agent = ScriptedDialogue::new(Script::parse(SCRIPT).unwrap());
    let now = clock::now();
    for i in 0..CONVERSATIONS_MAX + 10 {
        agent.answer(&request(&i.to_string(), &[(Role::User, "1")]), now);
    }
    assert_eq!(agent.conversations.lock().unwrap().len(), CONVERSATIONS_MAX);
    let later = now + CONVERSATION_IDLE_MAX;
    let last = (CONVERSATIONS_MAX + 9).to_string();
    let messages = [(Role::User, "1"), (Role::Assistant, "x"), (Role::User, "42")];
    assert_eq!(agent.answer(&request(&last, &messages), later).text, "Once.");
}

#[tokio::test]
async fn replies_stream_word_by_word_and_end_the_call() {
    let agent = ScriptedDialogue::new(Script::parse(SCRIPT).unwrap());
    let deltas: Vec<_> = agent.respond(request("a", &[(Role::User, "goodbye")])).collect().await;
    let deltas: Vec<LlmDelta> = deltas.into_iter().map(Result::unwrap).collect();
    assert_eq!(
        deltas,
        [LlmDelta::Sent, LlmDelta::Text("Bye.".into()), LlmDelta::EndCall, LlmDelta::Done]
    );
}

#[test]
fn mistakes_in_a_script_name_line_and_hint() {
    let cases = [
        ("goto = \"number\"", "goto = \"numbr\"", "did you mean \"number\"?"),
        ("end = true", "ends = true", "line 11: unknown field `ends`"),
        ("end = true", "ends = true", "did you mean \"end\"?"),
        ("Number {n}", "Number {m}", "there is no slot \"m\""),
        ("say = [\"order\"]", "say = [\"(order\"]", "never closed"),
        ("Number {n}", "Number n}", "never opened"),
        ("Number {n}", "Number {n}}", "never opened"),
        ("prompt = \"Which number?\"", "", "needs a prompt"),
        ("length = 2", "length = 99", "slots.n"),
    ];
    for (from, to, expected) in cases {
        let error = Script::parse(&SCRIPT.replace(from, to)).err().unwrap().to_string();
        assert!(error.contains(expected), "{error} lacks {expected}");
    }
}

const BOOKING: &str = r#"
name = "booking"
start = "main"
greeting = "Hello."
not_understood = ["Sorry."]
[slots]
n = { kind = "number", min = 1, max = 9 }
[states.main]
[[states.main.options]]
say = ["[a] table for {n}"]
reply = "Let me look."
call = [
  { tool = "find", arguments = { people = "{n}", words = "for {n}" }, keep = { time = "/times/0" } },
  { tool = "weather" },
]
then = [
  { when = { tool = "find", error = true }, reply = "That failed.", goto = "main" },
  { when = { tool = "weather", at = "/sky", is = "rain" }, reply = "{time}, inside." },
  { reply = "{time}.", end = true },
]
"#;

fn with_results(conversation: &str, [find, weather]: [&str; 2]) -> LlmRequest {
    let mut request = request(conversation, &[(Role::User, "table for four")]);
    let call = |id: &str| ToolCall { id: id.to_owned(), ..ToolCall::default() };
    request.messages.push(Message::asking("Let me look.".to_owned(), vec![call("a"), call("b")]));
    // The order of the answers is not that of the calls.
    request.messages.push(Message::answering("b", weather.to_owned()));
    request.messages.push(Message::answering("a", find.to_owned()));
    request
}

#[test]
fn a_script_calls_tools_and_branches_on_their_results() {
    let agent = ScriptedDialogue::new(Script::parse(BOOKING).unwrap());
    let now = clock::now();
    let first = agent.answer(&request("a", &[(Role::User, "a table for four")]), now);
    assert_eq!(first.text, "Let me look.");
    let find = serde_json::json!({"people": 4, "words": "for 4"});
    let none = serde_json::json!({});
    assert_eq!(first.calls, [("find".to_owned(), find), ("weather".to_owned(), none)]);
    for (results, text, end) in [
        ([r#"{"times":["eight"]}"#, r#"{"sky":"rain"}"#], "eight, inside.", false),
        ([r#"{"times":["eight"]}"#, r#"{"sky":"sun"}"#], "eight.", true),
        ([r#"{"error":"timeout"}"#, r#"{"sky":"rain"}"#], "That failed.", false),
    ] {
        let answer = agent.answer(&with_results("a", results), now);
        assert_eq!((answer.text.as_str(), answer.end, answer.calls.len()), (text, end, 0));
    }
}

#[test]
fn a_script_whose_calls_lead_nowhere_is_refused() {
    for (from, to, why) in [
        ("tool = \"weather\", at", "tool = \"wether\", at", "which is not called"),
        ("  { reply = \"{time}.\", end = true },\n", "", "has no `when`"),
        ("words = \"for {n}\"", "words = \"for {m}\"", "there is no slot"),
        ("goto = \"main\"", "goto = \"mein\"", "there is no state"),
        ("\"/times/0\"", "\"times\"", "begins with `/`"),
    ] {
        let script = BOOKING.replace(from, to);
        assert_ne!(script, BOOKING, "{from}");
        let error = Script::parse(&script).err().map(|error| error.to_string());
        assert!(error.as_ref().is_some_and(|error| error.contains(why)), "{from}: {error:?}");
    }
}
