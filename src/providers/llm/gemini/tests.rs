use serde_json::json;

use super::schema::subset;
use super::{GeminiLlm, STALL};
use crate::providers::llm::{JsonShape, LlmRequest, Message, Role, ToolCall, ToolDef};
use crate::types::Secret;

fn llm(model: &str) -> GeminiLlm {
    GeminiLlm {
        name: "gemini".to_owned(),
        base_url: "https://generativelanguage.googleapis.com/v1beta".to_owned(),
        api_key: Secret::new("k"),
        model: model.to_owned(),
        stall: STALL,
    }
}

fn call(id: &str, name: &str) -> ToolCall {
    let (id, name) = (id.to_owned(), name.to_owned());
    ToolCall { id, name, arguments: r#"{"n":4}"#.to_owned().into() }
}

#[test]
fn turns_alternate_and_calls_are_answered_in_order() {
    let messages = vec![
        Message::new(Role::System, "Be kind.".to_owned()),
        Message::new(Role::Assistant, "Hello!".to_owned()),
        Message::new(Role::User, "Go.".to_owned()),
        Message::asking(
            String::new(),
            vec![call("call_0", "f"), call("x1", "g"), call("call_2", "h")],
        ),
        Message::answering("x1", r#"{"a":1}"#.to_owned()),
        Message::answering("call_0", "eight".to_owned()),
    ];
    let tools = [
        ToolDef {
            name: "f".to_owned(),
            description: "F.".to_owned(),
            parameters: json!({"type": "object", "properties": {"n": {"type": "integer"}},
                "additionalProperties": false}),
        },
        ToolDef {
            name: "h".to_owned(),
            description: "H.".to_owned(),
            parameters: json!({"type": "object", "properties": {}}),
        },
    ];
    let request = LlmRequest {
        messages,
        tools: tools.into(),
        temperature: Some(0.3),
        max_tokens: Some(99),
        ..LlmRequest::default()
    };
    let wanted = json!({
        "systemInstruction": {"parts": [{"text": "Be kind."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "\u{2026}"}]},
            {"role": "model", "parts": [{"text": "Hello!"}]},
            {"role": "user", "parts": [{"text": "Go."}]},
            {"role": "model", "parts": [
                {"functionCall": {"name": "f", "args": {"n": 4}}},
                {"functionCall": {"id": "x1", "name": "g", "args": {"n": 4}}},
                {"functionCall": {"name": "h", "args": {"n": 4}}},
            ]},
            {"role": "user", "parts": [
                {"functionResponse": {"name": "f", "response": {"result": "eight"}}},
                {"functionResponse": {"id": "x1", "name": "g", "response": {"a": 1}}},
                {"functionResponse": {"name": "h", "response": {"error": "no result"}}},
            ]},
        ],
        "tools": [{"functionDeclarations": [
            {"name": "f", "description": "F.",
                "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}},
            {"name": "h", "description": "H."},
        ]}],
        "generationConfig": {"temperature": 0.3, "maxOutputTokens": 99},
    });
    assert_eq!(llm("gemini-2.0-flash").body(request.clone()), wanted);
    let newer = llm("gemini-3-flash").body(request.clone());
    let signed = &newer["contents"][3]["parts"][0]["thoughtSignature"];
    assert_eq!(signed, "skip_thought_signature_validator");
    let quick = llm("gemini-2.5-flash").body(request);
    assert_eq!(quick["generationConfig"]["thinkingConfig"], json!({"thinkingBudget": 0}));
}

#[test]
fn a_shape_takes_the_place_of_functions() {
    let shape = JsonShape {
        name: "result".to_owned(),
        schema: json!({"type": "object", "properties": {"ok": {"type": ["boolean", "null"]}}}),
        strict: true,
    };
    let body = llm("m").body(LlmRequest { json: Some(shape), ..LlmRequest::default() });
    let wanted = json!({
        "responseMimeType": "application/json",
        "responseSchema": {"type": "object",
            "properties": {"ok": {"type": "boolean", "nullable": true}}},
    });
    assert_eq!(body["generationConfig"], wanted);
}

#[test]
fn only_known_words_of_a_schema_pass() {
    let schema = json!({
        "$schema": "x", "type": "object", "additionalProperties": false, "required": ["a"],
        "properties": {
            "a": {"type": "string", "format": "email", "enum": ["x", "y"]},
            "b": {"const": "z"},
            "c": {"type": "integer", "enum": [1, 2], "exclusiveMinimum": 0},
            "d": {"type": "array", "items": {"$ref": "#/x"}},
            "e": {"oneOf": [{"type": "string"}, true]},
        },
    });
    let wanted = json!({
        "type": "object", "required": ["a"],
        "properties": {
            "a": {"type": "string", "enum": ["x", "y"]},
            "b": {"type": "string", "enum": ["z"]},
            "c": {"type": "integer"},
            "d": {"type": "array", "items": {}},
            "e": {"anyOf": [{"type": "string"}, {"type": "string"}]},
        },
    });
    assert_eq!(subset(&schema), wanted);
    let deep = (0..100).fold(json!({}), |inner, _| json!({"items": inner}));
    assert!(subset(&deep).to_string().len() < 300);
}
