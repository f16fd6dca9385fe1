use super::*;
use crate::types::Pii;

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
            .map(|(role, text)| Message { role: *role, content: Pii::new((*text).to_owned()) })
            .collect(),
        temperature: None,
        max_tokens: None,
        conversation: conversation.to_owned(),
        json: None,
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
        Answer { text: "Bye.".into(), end: true }
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
