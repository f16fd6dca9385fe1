use serde_json::json;

use super::{AnthropicLlm, STALL};
use crate::providers::llm::{JsonShape, LlmRequest, Message, Role, ToolCall, ToolDef};
use crate::types::Secret;

fn llm() -> AnthropicLlm {
    AnthropicLlm {
        name: "anthropic".to_owned(),
        base_url: "https://api.anthropic.com".to_owned(),
        api_key: Secret::new("k"),
        model: "m".to_owned(),
        stall: STALL,
    }
}

fn call(id: &str, arguments: &str) -> ToolCall {
    let (id, name) = (id.to_owned(), "find".to_owned());
    ToolCall { id, name, arguments: arguments.to_owned().into() }
}

#[test]
fn turns_alternate_and_every_call_is_answered() {
    let messages = vec![
        Message::new(Role::System, "Be kind.".to_owned()),
        Message::new(Role::Assistant, "Hello! ".to_owned()),
        Message::new(Role::User, "Find".to_owned()),
        Message::new(Role::User, "a table.".to_owned()),
        Message::asking(String::new(), vec![call("a", r#"{"n":4}"#), call("b", "not json")]),
        Message::answering("a", "eight".to_owned()),
        Message::answering("nobody's", "lost".to_owned()),
        Message::new(Role::System, "Now in French.".to_owned()),
        Message::new(Role::User, "And?".to_owned()),
        Message::new(Role::Assistant, "Well\n".to_owned()),
    ];
    let tool = ToolDef {
        name: "find".to_owned(),
        description: "Finds.".to_owned(),
        parameters: json!({"type": "object"}),
    };
    let request = LlmRequest {
        messages,
        tools: [tool].into(),
        temperature: Some(1.3),
        ..LlmRequest::default()
    };
    let said = |text: &str| json!({"type": "text", "text": text});
    let used = |id: &str, input: serde_json::Value| json!({"type": "tool_use", "id": id, "name": "find", "input": input});
    let wanted = json!({
        "model": "m",
        "max_tokens": 1024,
        "stream": true,
        "temperature": 1.0,
        "system": [
            {"type": "text", "text": "Be kind.", "cache_control": {"type": "ephemeral"}},
            said("Now in French."),
        ],
        "tools": [{"name": "find", "description": "Finds.", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": [said("\u{2026}")]},
            {"role": "assistant", "content": [said("Hello!")]},
            {"role": "user", "content": [said("Find"), said("a table.")]},
            {"role": "assistant", "content": [used("a", json!({"n": 4})), used("b", json!({}))]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "eight"},
                {"type": "tool_result", "tool_use_id": "b", "content": "no result", "is_error": true},
                said("And?"),
            ]},
            {"role": "assistant", "content": [said("Well")]},
            {"role": "user", "content": [said("\u{2026}")]},
        ],
    });
    assert_eq!(llm().body(request), wanted);
}

#[test]
fn a_shape_is_a_tool_that_must_be_called() {
    let shape = |schema| JsonShape { name: "result".to_owned(), schema, strict: true };
    let asked = |schema| LlmRequest { json: Some(shape(schema)), ..LlmRequest::default() };
    let body = llm().body(asked(json!({"type": "object"})));
    assert_eq!(body["tool_choice"], json!({"type": "tool", "name": "result"}));
    assert_eq!(body["tools"][0]["input_schema"], json!({"type": "object"}));
    // Arguments are objects: another shape is left to the prompt.
    assert!(llm().body(asked(json!({"type": "array"}))).get("tools").is_none());
}
