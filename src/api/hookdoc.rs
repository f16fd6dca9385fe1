//! The `webhooks` section of the OpenAPI document: every event and every question, with what it carries.

use serde_json::{Map, Value, json};
use utoipa::openapi::path::Paths;

use crate::types::OutboxKind;

/// Questions whose answer is used, and the schema of nothing more than their name: what they carry is the matter of
/// the rooms that ask.
const QUESTIONS: &[(&str, &str)] = &[
    ("agent.request", "Who answers an inbound call? Asked while it rings."),
    ("tool.call", "What does a tool give? Asked while the caller waits."),
    ("transfer.request", "Where does a transfer go? Asked while the caller waits."),
];

/// Every webhook of this server.
pub(super) fn webhooks() -> Option<Paths> {
    let mut items = Map::new();
    for kind in OutboxKind::ALL.iter().copied() {
        let name = kind.as_str();
        let data = json!({ "$ref": format!("#/components/schemas/{}", data_schema(kind)) });
        let inline =
            if kind.is_inline() { " Also sent to the `webhook_url` of a call." } else { "" };
        let text = format!("{}{inline}", summary(kind));
        items.insert(name.to_owned(), item(name, &text, &data, "Any 2xx acknowledges it"));
    }
    for (name, text) in QUESTIONS {
        let data = json!({ "type": "object" });
        items.insert((*name).to_owned(), item(name, text, &data, "The answer, as JSON"));
    }
    serde_json::from_value(Value::Object(items)).ok()
}

fn item(name: &str, text: &str, data: &Value, answer: &str) -> Value {
    let header = |name: &str, description: &str| {
        json!({ "name": name, "in": "header", "required": true, "description": description,
            "schema": { "type": "string" } })
    };
    json!({ "post": {
        "tags": ["webhooks"],
        "summary": text,
        "operationId": format!("webhook_{}", name.replace('.', "_")),
        "security": [],
        "parameters": [
            header("webhook-id", "Identifier of the event: the same for every try and replay"),
            header("webhook-timestamp", "When it was sent, Unix seconds"),
            header("webhook-signature", "`v1,<base64>`, one for each secret, separated by spaces"),
        ],
        "requestBody": { "required": true, "content": { "application/json": { "schema": {
            "type": "object",
            "required": ["id", "type", "timestamp", "api_version", "data"],
            "properties": {
                "id": { "type": "string" },
                "type": { "type": "string", "enum": [name] },
                "timestamp": { "type": "string", "format": "date-time" },
                "api_version": { "type": "string" },
                "data": data,
            },
        } } } },
        "responses": { "200": { "description": answer } },
    } })
}

fn data_schema(kind: OutboxKind) -> &'static str {
    match kind {
        OutboxKind::CallReport => "CallReportData",
        OutboxKind::EndpointDisabled | OutboxKind::Ping => "EndpointData",
        OutboxKind::OrderCompleted
        | OutboxKind::OrderRetryScheduled
        | OutboxKind::BatchCompleted
        | OutboxKind::CampaignCompleted => "JobData",
        OutboxKind::CallQueued
        | OutboxKind::CallRinging
        | OutboxKind::CallAnswered
        | OutboxKind::CallCompleted
        | OutboxKind::CallFailed
        | OutboxKind::CallNoAnswer
        | OutboxKind::CallBusy
        | OutboxKind::CallCanceled
        | OutboxKind::TranscriptReady
        | OutboxKind::RecordingReady
        | OutboxKind::AnalysisReady
        | OutboxKind::CallTransferred
        | OutboxKind::TransferFailed
        | OutboxKind::AnsweredBy
        | OutboxKind::CallDtmf
        | OutboxKind::ProviderFailover => "CallEventData",
    }
}

fn summary(kind: OutboxKind) -> &'static str {
    match kind {
        OutboxKind::CallQueued => "A call waits for its turn.",
        OutboxKind::CallRinging => "A call rings.",
        OutboxKind::CallAnswered => "A call was answered.",
        OutboxKind::CallCompleted => "An answered call is over, and what was to be made of it is.",
        OutboxKind::CallFailed => "A call failed.",
        OutboxKind::CallNoAnswer => "Nobody picked up.",
        OutboxKind::CallBusy => "The called party was busy.",
        OutboxKind::CallCanceled => "A call was canceled before the answer.",
        OutboxKind::CallReport => "Everything about a call that is over.",
        OutboxKind::TranscriptReady => "The transcript of a call is whole.",
        OutboxKind::RecordingReady => "The recording of a call can be downloaded.",
        OutboxKind::AnalysisReady => "The analysis of a call is done.",
        OutboxKind::CallTransferred => "A call was transferred.",
        OutboxKind::TransferFailed => "A transfer failed.",
        OutboxKind::AnsweredBy => "Who or what picked up is known.",
        OutboxKind::CallDtmf => "The caller pressed a key.",
        OutboxKind::ProviderFailover => "A call goes on with another provider.",
        OutboxKind::OrderCompleted => "A call order has its outcome.",
        OutboxKind::OrderRetryScheduled => "A call order will be tried again.",
        OutboxKind::BatchCompleted => "Every order of a batch has its outcome.",
        OutboxKind::CampaignCompleted => "Every lead of a campaign has its outcome.",
        OutboxKind::EndpointDisabled => "Another webhook endpoint was disabled.",
        OutboxKind::Ping => "Somebody tests the endpoint.",
    }
}
