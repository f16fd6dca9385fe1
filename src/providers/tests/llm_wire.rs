//! The server's side of each model's stream, from the vendors' documentation.

use serde_json::{Value, json};

/// A vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    OpenAi,
    Anthropic,
    Gemini,
}

/// Tokens that the server counts.
pub(super) const TOKENS: (u64, u64) = (123, 45);

fn event(name: Option<&str>, data: &Value) -> String {
    let name = name.map(|name| format!("event: {name}\n")).unwrap_or_default();
    format!("{name}data: {data}\n\n")
}

fn named(data: &Value) -> String {
    event(data["type"].as_str(), data)
}

impl Vendor {
    /// What comes before anything else.
    pub(super) fn begin(self) -> String {
        match self {
            Self::OpenAi => {
                event(None, &json!({"choices": [{"index": 0, "delta": {"role": "assistant"}}]}))
            }
            Self::Anthropic => {
                let usage = json!({"input_tokens": 23, "cache_creation_input_tokens": 60,
                    "cache_read_input_tokens": 40, "output_tokens": 1});
                let start = json!({"type": "message_start", "message": {"id": "msg_1",
                    "type": "message", "role": "assistant", "content": [], "usage": usage}});
                let text = json!({"type": "content_block_start", "index": 0,
                    "content_block": {"type": "text", "text": ""}});
                named(&start) + &named(&text) + &named(&json!({"type": "ping"}))
            }
            Self::Gemini => String::new(),
        }
    }

    pub(super) fn text(self, text: &str) -> String {
        match self {
            Self::OpenAi => {
                event(None, &json!({"choices": [{"index": 0, "delta": {"content": text}}]}))
            }
            Self::Anthropic => named(&json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": text}})),
            Self::Gemini => {
                let content = json!({"parts": [{"text": text}], "role": "model"});
                let usage = json!({"promptTokenCount": 123, "totalTokenCount": 124});
                event(
                    None,
                    &json!({"candidates": [{"content": content, "index": 0}],
                    "usageMetadata": usage, "modelVersion": "m"}),
                )
            }
        }
    }

    /// Two calls at once, the arguments in pieces where the vendor cuts them.
    pub(super) fn calls(self, calls: &[(&str, &str)]) -> String {
        let halves = |arguments: &str| {
            let (head, tail) = arguments.split_at(arguments.len() / 2);
            [head.to_owned(), tail.to_owned()]
        };
        let mut out = String::new();
        for (n, (name, arguments)) in calls.iter().enumerate() {
            let id = format!("call-{n}");
            match self {
                Self::OpenAi => {
                    let delta = |call: Value| {
                        event(None, &json!({"choices": [{"delta": {"tool_calls": [call]}}]}))
                    };
                    out += &delta(json!({"index": n, "id": id, "type": "function",
                        "function": {"name": name, "arguments": ""}}));
                    for half in halves(arguments) {
                        out += &delta(json!({"index": n, "function": {"arguments": half}}));
                    }
                }
                Self::Anthropic => {
                    let index = n + 1;
                    out += &named(&json!({"type": "content_block_stop", "index": n}));
                    out += &named(&json!({"type": "content_block_start", "index": index,
                        "content_block": {"type": "tool_use", "id": id, "name": name,
                            "input": {}}}));
                    for half in halves(arguments).into_iter().chain([String::new()]) {
                        out += &named(&json!({"type": "content_block_delta", "index": index,
                            "delta": {"type": "input_json_delta", "partial_json": half}}));
                    }
                }
                Self::Gemini => {
                    let args: Value = serde_json::from_str(arguments).unwrap();
                    let call = json!({"functionCall": {"name": name, "args": args, "id": id},
                        "thoughtSignature": "c2ln"});
                    let content = json!({"parts": [call], "role": "model"});
                    out += &event(None, &json!({"candidates": [{"content": content}]}));
                }
            }
        }
        out
    }

    /// A reply of a shape, in two pieces.
    pub(super) fn shaped(self, text: &str) -> String {
        let (head, tail) = text.split_at(text.len() / 2);
        if self != Self::Anthropic {
            return self.text(head) + &self.text(tail);
        }
        let start = json!({"type": "content_block_start", "index": 1, "content_block":
            {"type": "tool_use", "id": "x", "name": "the_shape", "input": {}}});
        let delta = |half: &str| {
            named(&json!({"type": "content_block_delta", "index": 1,
                "delta": {"type": "input_json_delta", "partial_json": half}}))
        };
        named(&start) + &delta(head) + &delta(tail)
    }

    pub(super) fn end(self, has_calls: bool) -> String {
        match self {
            Self::OpenAi => {
                let reason = if has_calls { "tool_calls" } else { "stop" };
                let last = json!({"choices": [{"delta": {}, "finish_reason": reason}]});
                let usage = json!({"prompt_tokens": TOKENS.0, "completion_tokens": TOKENS.1});
                event(None, &last)
                    + &event(None, &json!({"choices": [], "usage": usage}))
                    + "data: [DONE]\n\n"
            }
            Self::Anthropic => {
                let reason = if has_calls { "tool_use" } else { "end_turn" };
                named(&json!({"type": "content_block_stop", "index": 0}))
                    + &named(&json!({"type": "message_delta",
                        "delta": {"stop_reason": reason, "stop_sequence": null},
                        "usage": {"output_tokens": TOKENS.1}}))
                    + &named(&json!({"type": "message_stop"}))
            }
            Self::Gemini => {
                let content = json!({"parts": [{"text": ""}], "role": "model"});
                let usage = json!({"promptTokenCount": TOKENS.0, "candidatesTokenCount": 40,
                    "thoughtsTokenCount": 5, "totalTokenCount": 168});
                event(
                    None,
                    &json!({"candidates": [{"content": content,
                    "finishReason": "STOP", "index": 0}], "usageMetadata": usage}),
                )
            }
        }
    }

    /// An error in the middle of a reply: too many asked.
    pub(super) fn error(self) -> String {
        match self {
            Self::OpenAi => event(
                None,
                &json!({"error": {"message": "canary-of-the-provider",
                "type": "server_error", "code": 503}}),
            ),
            Self::Anthropic => named(&json!({"type": "error", "error":
                {"type": "overloaded_error", "message": "canary-of-the-provider"}})),
            Self::Gemini => event(
                None,
                &json!({"error": {"code": 503,
                "message": "canary-of-the-provider", "status": "UNAVAILABLE"}}),
            ),
        }
    }

    /// The reply that the vendor does not give; `None`: it has no word for it.
    pub(super) fn blocked(self) -> Option<String> {
        match self {
            Self::OpenAi => None,
            Self::Anthropic => Some(named(&json!({"type": "message_delta",
                "delta": {"stop_reason": "refusal"}, "usage": {"output_tokens": 1}}))),
            Self::Gemini => {
                Some(event(None, &json!({"promptFeedback": {"blockReason": "SAFETY"}})))
            }
        }
    }

    /// Path and header of a request, as the documentation has them.
    pub(super) fn is_asked(self, head: &str) -> bool {
        let head = head.to_ascii_lowercase();
        let key = "canary-of-the-key\r\n";
        match self {
            Self::OpenAi => {
                head.starts_with("post /v1/chat/completions ")
                    && head.contains(&format!("authorization: bearer {key}"))
            }
            Self::Anthropic => {
                head.starts_with("post /v1/messages ")
                    && head.contains(&format!("x-api-key: {key}"))
                    && head.contains("anthropic-version: 2023-06-01\r\n")
            }
            Self::Gemini => {
                head.starts_with("post /v1beta/models/m:streamgeneratecontent?alt=sse ")
                    && head.contains(&format!("x-goog-api-key: {key}"))
            }
        }
    }
}
