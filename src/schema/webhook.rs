//! Webhooks: endpoints, deliveries, and the envelope that carries an event.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a delivery is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureStyle {
    /// Standard Webhooks: `webhook-signature: v1,<base64>` over `id.timestamp.body`.
    #[default]
    Standard,
    /// `x-webhook-signature: t=<unix>,v1=<hex>` over `timestamp.body`.
    TV1,
    /// `x-webhook-signature: sha256=<hex>` over `timestamp.body`.
    Sha256Ts,
}

/// What the body of every webhook looks like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Envelope {
    /// Identifier of the event: the same for every try, replay and destination. Also the header `webhook-id`.
    pub id: String,
    /// Name of the event. Also the header `x-webhook-event`.
    pub r#type: String,
    /// When it happened.
    #[schema(format = DateTime)]
    pub timestamp: String,
    /// Version of the API whose objects `data` holds.
    pub api_version: String,
    /// What happened, by type.
    #[schema(value_type = Object)]
    pub data: serde_json::Value,
}

/// Whether an endpoint gets events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndpointStatus {
    /// It does.
    #[default]
    Enabled,
    /// It does not.
    Disabled,
}

fn every_event() -> Vec<String> {
    vec!["*".to_owned()]
}

/// Body of `POST /v1/webhook-endpoints`, and what `PATCH` can change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookEndpointInput {
    /// Where events go: `https://` or `http://`.
    pub url: String,
    /// What a person calls it.
    #[serde(default)]
    pub description: String,
    /// Names of events, prefixes such as `call.*`, or `*` for all.
    #[serde(default = "every_event")]
    pub enabled_events: Vec<String>,
    /// Further headers, at most 10. Values are never shown again: they read `***`, and `***` keeps a value.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How deliveries are signed.
    #[serde(default)]
    pub signature_style: SignatureStyle,
    /// `disabled` cancels what waits; `enabled` also zeroes the count of failures.
    #[serde(default)]
    pub status: EndpointStatus,
    /// Kept with the endpoint and given back.
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebhookEndpoint {
    /// Identifier.
    pub id: String,
    /// Whose.
    pub organization_id: String,
    /// Where events go.
    pub url: String,
    /// What a person calls it.
    pub description: String,
    /// Names of events, prefixes such as `call.*`, or `*` for all.
    pub enabled_events: Vec<String>,
    /// Further headers; the values read `***`.
    pub headers: BTreeMap<String, String>,
    /// How deliveries are signed.
    pub signature_style: SignatureStyle,
    /// Whether it gets events.
    pub status: EndpointStatus,
    /// `too_many_failures`, `gone` (it answered 410) or `manual`; null while enabled.
    pub disabled_reason: Option<String>,
    /// Since when it is disabled.
    #[schema(format = DateTime)]
    pub disabled_at: Option<String>,
    /// Deliveries in a row that failed for good.
    pub consecutive_failures: u32,
    /// The caller's own object.
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// Made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Last change.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// An endpoint with its secret: shown when it is made and when the secret is rotated.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct NewWebhookEndpoint {
    /// The endpoint.
    #[serde(flatten)]
    pub endpoint: WebhookEndpoint,
    /// What deliveries are signed with: `whsec_<base64>`.
    pub signing_secret: String,
}

/// Body of `POST /v1/webhook-endpoints/{id}/rotate-secret`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RotateSecret {
    /// Whether the old secret stops signing at once, because it has leaked. Else it signs for 24 hours more.
    pub expire_old: bool,
}

/// A secret, shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ShownSecret {
    /// What deliveries are signed with: `whsec_<base64>`.
    pub signing_secret: String,
}

/// One event to one destination.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct WebhookDelivery {
    /// Identifier; also the header `x-webhook-delivery`.
    pub id: String,
    /// Whose.
    pub organization_id: String,
    /// Event; also the header `webhook-id`.
    pub event_id: String,
    /// Its name.
    pub event_type: String,
    /// Endpoint; null for the `webhook_url` of a call or agent.
    pub endpoint_id: Option<String>,
    /// Call it tells of.
    pub call_id: Option<String>,
    /// Order it tells of.
    pub order_id: Option<String>,
    /// Where it goes.
    pub url: String,
    /// `pending`, `delivered`, `exhausted` or `canceled`.
    pub status: String,
    /// Attempts made.
    pub attempt_count: u32,
    /// Times it was sent again by hand.
    pub manual_retry_count: u32,
    /// When the next attempt is due; null when there is none.
    #[schema(format = DateTime)]
    pub next_attempt_at: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// What was answered last.
    pub last_response_status: Option<u16>,
    /// When it arrived.
    #[schema(format = DateTime)]
    pub delivered_at: Option<String>,
    /// Made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Last change.
    #[schema(format = DateTime)]
    pub updated_at: String,
    /// What is sent; only when one delivery is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<Envelope>,
}

/// Body of `POST /v1/notifications/test`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestNotification {
    /// Who gets the message: one e-mail address.
    pub to: String,
}

/// What came of a test message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct NotificationTest {
    /// Whether the relay took it.
    pub ok: bool,
    /// SMTP status of its refusal; null if it took the message or gave none.
    pub status: Option<u16>,
    /// Why not.
    pub error: Option<String>,
    /// How long it took.
    pub duration_ms: u64,
}

/// Deliveries, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct WebhookDeliveryList {
    /// The deliveries.
    pub items: Vec<WebhookDelivery>,
    /// What to give as `cursor` for older ones; null if these are all.
    pub next_cursor: Option<String>,
}

/// `data` of an event about a call. Some events have further fields.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CallEventData {
    /// The call as it was at that moment, as `GET /v1/calls/{id}` shows it.
    pub call: super::Call,
    /// Counts all events of the server; a later event has a higher number.
    pub seq: i64,
    /// Whether fields were emptied because the body would be larger than 1 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
}

/// `data` of `call.report`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct CallReportData {
    /// The call.
    pub call: super::Call,
    /// Its turns in order.
    pub transcript: Vec<super::Turn>,
    /// Latency of each turn, and statistics.
    pub latency: super::CallLatencyReport,
    /// Where to download the recording; null if there is none.
    pub recording_url: Option<String>,
    /// Summary; null if none was made.
    pub summary: Option<String>,
    /// What was extracted; null if nothing was.
    #[schema(value_type = Object)]
    pub result: serde_json::Value,
    /// Output of the analysis templates; null if there are none.
    #[schema(value_type = Object)]
    pub analysis: serde_json::Value,
    /// Counts all events of the server; a later event has a higher number.
    pub seq: i64,
    /// Whether turns were left out or fields emptied because the body would be larger than 1 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truncated: Option<bool>,
}

/// `data` of `endpoint.disabled` and `ping`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct EndpointData {
    /// The endpoint.
    pub endpoint: WebhookEndpoint,
}

/// `data` of an event about an order, a batch or a campaign: the object under its name.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct JobData {
    /// Counts all events of the server; a later event has a higher number.
    pub seq: i64,
    /// The order, batch or campaign, under `order`, `batch` or `campaign`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub objects: serde_json::Map<String, serde_json::Value>,
}
