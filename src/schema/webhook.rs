//! Webhooks: endpoints, deliveries, and the envelope that carries an event.

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
