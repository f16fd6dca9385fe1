//! Endpoints: where an organization wants its events, and what is remembered of how that goes.
//!
//! An endpoint is a row of `resources`. Its signing secrets and the values of its headers are sealed; the public JSON
//! shows neither.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ask::AskKind;
use super::keyring::{AtRest, Keyring, KeyringError, OldSecret, SecretSet};
use super::sign::SigningSecret;
use crate::egress::client::check_header;
use crate::egress::{Policy, Refusal};
use crate::net::clock;
use crate::schema::webhook::{EndpointStatus, WebhookEndpoint, WebhookEndpointInput};
use crate::store::delivery::{ENDPOINT_KIND, Expansion, NewDelivery, StoredEvent};
use crate::store::{PageRequest, Part, Place, Resource, ResourceQuery, Store, StoreError};
use crate::types::{OrganizationId, OutboxEvent, OutboxKind};

/// Most endpoints of an organization: every event becomes a row for each.
pub const ENDPOINTS_MAX: u64 = 50;
/// Most headers of an endpoint.
pub const HEADERS_MAX: usize = 10;
/// Longest value of a header, octets: a token.
const HEADER_BYTES_MAX: usize = 4_096;
/// Longest description, characters.
const DESCRIPTION_CHARS_MAX: usize = 500;
/// Most patterns of an endpoint: more than there are events.
const EVENTS_MAX: usize = 64;
/// Largest metadata, octets.
const METADATA_BYTES_MAX: usize = 16_384;
/// Tries to write an endpoint that somebody else changes at the same time.
const RACES_MAX: usize = 16;
/// What stands for the value of a header.
const MASK: &str = "***";
/// Headers that are ours.
const OUR_HEADERS: &[&str] = &["content-type", "user-agent"];

/// Why something could not be done with an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// There is none.
    #[error("there is no such webhook endpoint")]
    NotFound,
    /// There are too many.
    #[error("an organization has at most {ENDPOINTS_MAX} webhook endpoints")]
    TooMany,
    /// A field is wrong.
    #[error("`{field}`: {message}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// What would be right.
        message: String,
    },
    /// The store.
    #[error("use the store")]
    Store(#[from] StoreError),
    /// A sealed value.
    #[error("use the secrets of a webhook endpoint")]
    Keyring(#[from] KeyringError),
    /// What is stored is no endpoint.
    #[error("read a webhook endpoint")]
    Decode(#[source] serde_json::Error),
}

/// What is sealed of an endpoint.
#[derive(Serialize, Deserialize)]
struct Sealed {
    secrets: AtRest,
    headers: BTreeMap<String, String>,
}

/// An endpoint with everything that a delivery needs.
pub struct Endpoint {
    row: Resource,
    /// Its public half.
    pub doc: WebhookEndpoint,
    /// Its secrets.
    pub secrets: SecretSet,
    /// Its further headers.
    pub headers: BTreeMap<String, String>,
}

impl Endpoint {
    /// Whether it gets events.
    pub fn is_enabled(&self) -> bool {
        self.doc.status == EndpointStatus::Enabled
    }
}

/// Makes, changes and finds endpoints.
pub struct Endpoints {
    store: Arc<Store>,
    keyring: Arc<Keyring>,
    policy: Policy,
}

/// Whether an endpoint gets a kind of event.
pub fn wants(endpoint: &WebhookEndpoint, kind: OutboxKind) -> bool {
    endpoint.status == EndpointStatus::Enabled
        && kind != OutboxKind::Ping
        && endpoint.enabled_events.iter().any(|pattern| kind.matches(pattern))
}

/// Whether an endpoint answers a kind of question. No prefix means one: who subscribes to everything wants to hear,
/// and would answer each question with nothing.
fn answers(endpoint: &WebhookEndpoint, kind: AskKind) -> bool {
    endpoint.status == EndpointStatus::Enabled
        && endpoint.enabled_events.iter().any(|name| name == kind.as_str())
}

impl Endpoints {
    /// Endpoints of a store that may be where the policy says.
    pub fn new(store: Arc<Store>, keyring: Arc<Keyring>, policy: Policy) -> Self {
        Self { store, keyring, policy }
    }

    /// Checks a `webhook_url` as far as that goes without looking its name up.
    ///
    /// # Errors
    /// When nothing would ever be sent there.
    pub fn check_url(&self, url: &str) -> Result<(), Refusal> {
        self.policy.check_url(url)
    }

    /// Makes an endpoint and its secret.
    ///
    /// # Errors
    /// When a field is wrong or there are too many.
    pub async fn create(
        &self,
        organization: &OrganizationId,
        input: WebhookEndpointInput,
    ) -> Result<(WebhookEndpoint, SigningSecret), EndpointError> {
        self.check(&input)?;
        let one = PageRequest::new(Some(1), Some(1)).map_err(|_| EndpointError::NotFound)?;
        if self.list(organization, one.into()).await?.1 >= ENDPOINTS_MAX {
            return Err(EndpointError::TooMany);
        }
        let now = clock::wall();
        let secret = self.keyring.generate();
        let mut doc = WebhookEndpoint {
            id: self.keyring.resource_id(),
            organization_id: organization.to_string(),
            url: String::new(),
            description: String::new(),
            enabled_events: Vec::new(),
            headers: BTreeMap::new(),
            signature_style: input.signature_style,
            status: EndpointStatus::Enabled,
            disabled_reason: None,
            disabled_at: None,
            consecutive_failures: 0,
            metadata: serde_json::Map::new(),
            created_at: crate::schema::time(now),
            updated_at: crate::schema::time(now),
        };
        let mut headers = BTreeMap::new();
        apply(&mut doc, &mut headers, input, now);
        let row = Resource {
            kind: ENDPOINT_KIND,
            id: doc.id.clone(),
            organization_id: organization.clone(),
            unique_key: None,
            version: 1,
            archived: false,
            created_at: now,
            updated_at: now,
            doc: encode(&doc)?,
            sealed: Some(self.seal(&doc.id, &SecretSet::new(secret.clone()), &headers)?),
        };
        self.store.insert_resource(&row).await?;
        Ok((doc, secret))
    }

    /// A page of endpoints, newest first, how many there are, and the last if others follow it.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(
        &self,
        organization: &OrganizationId,
        part: Part,
    ) -> Result<(Vec<WebhookEndpoint>, u64, Option<Place<String>>), EndpointError> {
        let found = self
            .store
            .list_resources(&ResourceQuery {
                kind: ENDPOINT_KIND,
                organization_id: organization.clone(),
                archived: false,
                equal: Vec::new(),
                part,
            })
            .await?;
        let items: Result<_, _> = found.items.into_iter().map(|row| decode(row.doc)).collect();
        Ok((items?, found.total, found.next))
    }

    /// Every endpoint of every organization.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn all(&self) -> Result<Vec<WebhookEndpoint>, EndpointError> {
        let rows = self.store.all_resources(ENDPOINT_KIND).await?;
        rows.into_iter().map(|row| decode(row.doc)).collect()
    }

    /// One endpoint with its secrets.
    ///
    /// # Errors
    /// [`EndpointError::NotFound`] if the organization has no such endpoint.
    pub async fn get(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<Endpoint, EndpointError> {
        let row = self.store.resource(ENDPOINT_KIND, organization, id).await?;
        let row = row.ok_or(EndpointError::NotFound)?;
        let sealed: Sealed =
            self.keyring.open_json(ENDPOINT_KIND, id, row.sealed.as_deref().unwrap_or_default())?;
        Ok(Endpoint {
            doc: decode(row.doc.clone())?,
            secrets: SecretSet::from_rest(sealed.secrets).map_err(KeyringError::Shape)?,
            headers: sealed.headers,
            row,
        })
    }

    /// The oldest endpoint of an organization that answers a kind of question.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn answering(
        &self,
        organization: &OrganizationId,
        kind: AskKind,
    ) -> Result<Option<Endpoint>, EndpointError> {
        let rows = self.store.all_resources(ENDPOINT_KIND).await?;
        let mut found: Option<WebhookEndpoint> = None;
        for row in rows.into_iter().filter(|row| row.organization_id == *organization) {
            let doc = decode(row.doc)?;
            let older = found.as_ref().is_none_or(|found| doc.id < found.id);
            if older && answers(&doc, kind) {
                found = Some(doc);
            }
        }
        match found {
            Some(doc) => self.get(organization, &doc.id).await.map(Some),
            None => Ok(None),
        }
    }

    /// Writes what `edit` makes of what a client may change.
    ///
    /// # Errors
    /// What `edit` says, or when a field is wrong.
    pub async fn change<E: From<EndpointError>>(
        &self,
        organization: &OrganizationId,
        id: &str,
        edit: impl Fn(WebhookEndpointInput) -> Result<WebhookEndpointInput, E>,
    ) -> Result<WebhookEndpoint, E> {
        for _ in 0..RACES_MAX {
            let mut endpoint = self.get(organization, id).await?;
            let input = edit(input_of(&endpoint.doc))?;
            self.check(&input)?;
            let was = endpoint.doc.status;
            apply(&mut endpoint.doc, &mut endpoint.headers, input, clock::wall());
            let disabled =
                was == EndpointStatus::Enabled && endpoint.doc.status == EndpointStatus::Disabled;
            match self.write(endpoint, disabled).await {
                Ok(doc) => return Ok(doc),
                Err(EndpointError::Store(StoreError::Stale)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(EndpointError::Store(StoreError::Stale).into())
    }

    /// Gives an endpoint a new secret.
    ///
    /// # Errors
    /// [`EndpointError::NotFound`] if there is no such endpoint.
    pub async fn rotate(
        &self,
        organization: &OrganizationId,
        id: &str,
        old: OldSecret,
    ) -> Result<(WebhookEndpoint, SigningSecret), EndpointError> {
        let next = self.keyring.generate();
        for _ in 0..RACES_MAX {
            let mut endpoint = self.get(organization, id).await?;
            endpoint.secrets = endpoint.secrets.rotated(next.clone(), clock::wall(), old);
            match self.write(endpoint, false).await {
                Ok(doc) => return Ok((doc, next)),
                Err(EndpointError::Store(StoreError::Stale)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Stale.into())
    }

    /// Removes an endpoint; what waits for it is canceled.
    ///
    /// # Errors
    /// [`EndpointError::NotFound`] if there is no such endpoint.
    pub async fn delete(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<(), EndpointError> {
        let gone = self.store.delete_endpoint(organization, id, clock::wall()).await?;
        if gone { Ok(()) } else { Err(EndpointError::NotFound) }
    }

    /// Sends a `ping` to an endpoint, enabled or not. Gives the identifier of the delivery.
    ///
    /// # Errors
    /// [`EndpointError::NotFound`] if there is no such endpoint.
    pub async fn ping(
        &self,
        organization: &OrganizationId,
        id: &str,
    ) -> Result<String, EndpointError> {
        let endpoint = self.get(organization, id).await?.doc;
        let now = clock::wall();
        let event = StoredEvent {
            seq: 0,
            id: self.keyring.new_id("evt_"),
            event: OutboxEvent {
                kind: OutboxKind::Ping,
                organization_id: organization.clone(),
                call_id: None,
                order_id: None,
                at: now,
                inline_url: None,
                data: serde_json::json!({ "endpoint": endpoint }),
            },
        };
        let data = event.event.data.clone();
        let envelope = super::envelope(event.id.clone(), OutboxKind::Ping.as_str(), now, data);
        let body = serde_json::to_string(&envelope).map_err(EndpointError::Decode)?;
        let delivery = self.delivery_to(&endpoint);
        let made = delivery.id.clone();
        let expansion = Expansion { event, body, deliveries: vec![delivery] };
        self.store.deliver(&expansion, now).await?;
        Ok(made)
    }

    /// A delivery to an endpoint.
    pub fn delivery_to(&self, endpoint: &WebhookEndpoint) -> NewDelivery {
        NewDelivery {
            id: self.keyring.resource_id(),
            endpoint_id: Some(endpoint.id.clone()),
            destination: format!("endpoint:{}", endpoint.id),
            url: endpoint.url.clone(),
        }
    }

    /// Notes that a delivery arrived.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn arrived(&self, endpoint: Endpoint) -> Result<(), EndpointError> {
        if endpoint.doc.consecutive_failures == 0 {
            return Ok(());
        }
        self.note(endpoint, |doc| {
            doc.consecutive_failures = 0;
            None
        })
        .await
    }

    /// Notes that a delivery failed for good; the `limit`th in a row disables the endpoint.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn exhausted(&self, endpoint: Endpoint, limit: u32) -> Result<(), EndpointError> {
        self.note(endpoint, |doc| {
            doc.consecutive_failures = doc.consecutive_failures.saturating_add(1);
            (doc.consecutive_failures >= limit).then_some("too_many_failures")
        })
        .await
    }

    /// Notes that the receiver wants nothing more.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn gone(&self, endpoint: Endpoint) -> Result<(), EndpointError> {
        self.note(endpoint, |_| Some("gone")).await
    }

    /// Writes a note; the reason that it gives disables the endpoint.
    async fn note(
        &self,
        mut endpoint: Endpoint,
        note: impl Fn(&mut WebhookEndpoint) -> Option<&'static str>,
    ) -> Result<(), EndpointError> {
        let (organization, id) = (endpoint.row.organization_id.clone(), endpoint.row.id.clone());
        for _ in 0..RACES_MAX {
            let reason =
                note(&mut endpoint.doc).filter(|_| endpoint.doc.status == EndpointStatus::Enabled);
            if let Some(reason) = reason {
                disable(&mut endpoint.doc, reason, clock::wall());
                tracing::warn!(endpoint = id, reason, "webhook.endpoint_disabled");
            }
            match self.write(endpoint, reason.is_some()).await {
                Ok(_) => return Ok(()),
                Err(EndpointError::Store(StoreError::Stale)) => {}
                Err(error) => return Err(error),
            }
            endpoint = match self.get(&organization, &id).await {
                Ok(endpoint) => endpoint,
                // Deleted meanwhile.
                Err(EndpointError::NotFound) => return Ok(()),
                Err(error) => return Err(error),
            };
        }
        Err(StoreError::Stale.into())
    }

    async fn write(
        &self,
        endpoint: Endpoint,
        disabled: bool,
    ) -> Result<WebhookEndpoint, EndpointError> {
        let Endpoint { mut row, mut doc, secrets, headers } = endpoint;
        let now = clock::wall();
        doc.updated_at = crate::schema::time(now);
        row.updated_at = now;
        row.version += 1;
        row.doc = encode(&doc)?;
        row.sealed = Some(self.seal(&row.id, &secrets, &headers)?);
        let event = disabled.then(|| OutboxEvent {
            kind: OutboxKind::EndpointDisabled,
            organization_id: row.organization_id.clone(),
            call_id: None,
            order_id: None,
            at: now,
            inline_url: None,
            data: serde_json::json!({ "endpoint": doc }),
        });
        self.store.update_endpoint(&row, event.as_ref()).await?;
        Ok(doc)
    }

    fn seal(
        &self,
        id: &str,
        secrets: &SecretSet,
        headers: &BTreeMap<String, String>,
    ) -> Result<Vec<u8>, KeyringError> {
        let sealed = Sealed { secrets: secrets.at_rest(), headers: headers.clone() };
        self.keyring.seal_json(ENDPOINT_KIND, id, &sealed)
    }

    fn check(&self, input: &WebhookEndpointInput) -> Result<(), EndpointError> {
        let wrong = |field, message: String| Err(EndpointError::Invalid { field, message });
        match self.policy.check_url(&input.url) {
            Ok(()) => {}
            Err(refusal @ Refusal::Malformed) if input.url.is_empty() => {
                return wrong("url", format!("{refusal}: it is empty"));
            }
            Err(refusal) => return wrong("url", refusal.to_string()),
        }
        if input.description.chars().count() > DESCRIPTION_CHARS_MAX {
            return wrong("description", format!("at most {DESCRIPTION_CHARS_MAX} characters"));
        }
        if input.enabled_events.is_empty() || input.enabled_events.len() > EVENTS_MAX {
            return wrong("enabled_events", format!("1 to {EVENTS_MAX} names or patterns"));
        }
        let known = |pattern: &String| {
            OutboxKind::ALL.iter().any(|kind| kind.matches(pattern))
                || AskKind::OF_TOOLS.iter().any(|kind| kind.as_str() == pattern)
        };
        if !input.enabled_events.iter().all(known) {
            let message = "an event's name, a prefix such as `call.*`, `*`, `tool.call` or \
                `transfer.request`"
                .to_owned();
            return wrong("enabled_events", message);
        }
        check_headers(&input.headers)?;
        let metadata = serde_json::to_string(&input.metadata).unwrap_or_default();
        if metadata.len() > METADATA_BYTES_MAX {
            return wrong("metadata", format!("at most {METADATA_BYTES_MAX} bytes of JSON"));
        }
        Ok(())
    }
}

fn check_headers(headers: &BTreeMap<String, String>) -> Result<(), EndpointError> {
    let wrong = |message| Err(EndpointError::Invalid { field: "headers", message });
    if headers.len() > HEADERS_MAX {
        return wrong(format!("at most {HEADERS_MAX}"));
    }
    for (name, value) in headers {
        let lower = name.to_ascii_lowercase();
        let ours = lower.starts_with("webhook-") || lower.starts_with("x-webhook-");
        if ours || OUR_HEADERS.contains(&lower.as_str()) {
            return wrong(format!("`{lower}` is set by the server"));
        }
        if value.len() > HEADER_BYTES_MAX {
            return wrong(format!("a value has at most {HEADER_BYTES_MAX} bytes"));
        }
        check_header(name, value).or_else(wrong)?;
    }
    Ok(())
}

/// What a client may change of an endpoint, as it stands.
fn input_of(doc: &WebhookEndpoint) -> WebhookEndpointInput {
    WebhookEndpointInput {
        url: doc.url.clone(),
        description: doc.description.clone(),
        enabled_events: doc.enabled_events.clone(),
        headers: doc.headers.clone(),
        signature_style: doc.signature_style,
        status: doc.status,
        metadata: doc.metadata.clone(),
    }
}

fn apply(
    doc: &mut WebhookEndpoint,
    headers: &mut BTreeMap<String, String>,
    input: WebhookEndpointInput,
    now: jiff::Timestamp,
) {
    let kept = std::mem::take(headers);
    for (name, value) in input.headers {
        let value = match kept.get(&name) {
            Some(kept) if value == MASK => kept.clone(),
            Some(_) | None => value,
        };
        headers.insert(name, value);
    }
    doc.headers = headers.keys().map(|name| (name.clone(), MASK.to_owned())).collect();
    doc.url = input.url;
    doc.description = input.description;
    doc.enabled_events = input.enabled_events;
    doc.signature_style = input.signature_style;
    doc.metadata = input.metadata;
    match (doc.status, input.status) {
        (EndpointStatus::Enabled, EndpointStatus::Disabled) => disable(doc, "manual", now),
        (_, EndpointStatus::Enabled) => {
            doc.status = EndpointStatus::Enabled;
            doc.disabled_reason = None;
            doc.disabled_at = None;
            doc.consecutive_failures = 0;
        }
        (EndpointStatus::Disabled, EndpointStatus::Disabled) => {}
    }
}

fn disable(doc: &mut WebhookEndpoint, reason: &str, now: jiff::Timestamp) {
    doc.status = EndpointStatus::Disabled;
    doc.disabled_reason = Some(reason.to_owned());
    doc.disabled_at = Some(crate::schema::time(now));
}

fn encode(doc: &WebhookEndpoint) -> Result<serde_json::Value, EndpointError> {
    serde_json::to_value(doc).map_err(EndpointError::Decode)
}

fn decode(doc: serde_json::Value) -> Result<WebhookEndpoint, EndpointError> {
    serde_json::from_value(doc).map_err(EndpointError::Decode)
}
