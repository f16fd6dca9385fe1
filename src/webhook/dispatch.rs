//! The task that sends: events become deliveries, deliveries become requests, and each request's end is noted.
//!
//! Nothing here is kept in memory that the store does not hold, but which requests are under way. A delivery is
//! marked when its answer has come, so a process that dies sends at most what was under way once more, with the same
//! `webhook-id`. One destination takes only so many requests at once, so a slow one delays nobody else; of one call
//! only one at a time, so that events arrive in order as long as none fails.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Config;
use super::endpoint::{Endpoint, EndpointError, Endpoints, wants};
use super::keyring::{Keyring, KeyringError};
use super::payload;
use super::schedule::{Outcome, Round, verdict};
use super::sign::{self, Message, SigningSecret};
use crate::egress::{Client, Overflow, Policy, Request};
use crate::net::clock;
use crate::schema::webhook::{SignatureStyle, WebhookEndpoint};
use crate::store::delivery::{Attempt, Delivery, Expansion, NewDelivery, StoredEvent};
use crate::store::sign::LINK_SECONDS_MAX;
use crate::store::{DeliveryStatus, Store, StoreError};
use crate::telemetry::{chain, metrics};
use crate::types::{AgentId, CallId, CallRecord, OutboxKind};

/// Events that become deliveries in one transaction.
const EXPAND_MAX: u32 = 64;
/// Deliveries of a destination that are looked at beyond those under way: those of calls with one under way are
/// passed over.
const LOOK_AHEAD: u32 = 32;
/// Octets of an answer that are read: enough for the words of an error.
const ANSWER_BYTES_MAX: usize = 4_096;
/// Longest sleep; a clock that is set forward is noticed after it.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// Pause after the store failed.
const PAUSE: Duration = Duration::from_secs(1);
/// How long requests under way may take to end when the server stops; what is cut off is sent again.
const STOP_WAIT: Duration = Duration::from_secs(3);
/// How often old deliveries are forgotten and waiting ones counted.
const UPKEEP_EVERY: Duration = Duration::from_secs(10);
/// Old deliveries forgotten at once, so that the transaction stays short.
const PRUNE_MAX: u32 = 1_000;

/// What can end a pass.
#[derive(Debug, thiserror::Error)]
enum PassError {
    #[error("use the store")]
    Store(#[from] StoreError),
    #[error("read the webhook endpoints")]
    Endpoint(#[from] EndpointError),
}

/// Who a request under way is for.
struct Flight {
    destination: String,
    call_id: Option<String>,
}

/// A request that has ended.
struct Landed {
    id: String,
    /// Whether its end could be written down.
    noted: bool,
}

/// What requests share.
struct Parts {
    store: Arc<Store>,
    keyring: Arc<Keyring>,
    endpoints: Arc<Endpoints>,
    client: Client,
    config: Config,
}

/// Sends webhooks.
pub struct Dispatcher {
    parts: Arc<Parts>,
    flights: HashMap<String, Flight>,
    sends: JoinSet<Landed>,
    /// Which destination is served first in the next pass.
    turn: usize,
}

impl Dispatcher {
    /// A dispatcher that has not begun.
    pub fn new(
        store: Arc<Store>,
        keyring: Arc<Keyring>,
        endpoints: Arc<Endpoints>,
        client: Client,
        config: Config,
    ) -> Self {
        let parts = Arc::new(Parts { store, keyring, endpoints, client, config });
        Self { parts, flights: HashMap::new(), sends: JoinSet::new(), turn: 0 }
    }

    /// Runs until the server stops. What is not sent by then waits in the store.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut upkeep = tokio::time::interval(UPKEEP_EVERY);
        let store = Arc::clone(&self.parts.store);
        loop {
            let sleep = match self.pass().await {
                Ok(sleep) => sleep,
                Err(error) => {
                    tracing::error!(error = %chain::chain(&error), "webhook.pass_failed");
                    PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                Some(landed) = self.sends.join_next(), if !self.sends.is_empty() => {
                    if self.land(landed) == Next::Pause {
                        tokio::select! {
                            () = stop.cancelled() => break,
                            () = tokio::time::sleep(PAUSE) => {}
                        }
                    }
                }
                () = store.news().notified() => {}
                _ = upkeep.tick() => self.upkeep().await,
                () = tokio::time::sleep(sleep) => {}
            }
        }
        let landing = async { while self.sends.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_WAIT, landing).await.is_err() {
            tracing::info!("webhooks under way are cut off and will be sent again");
        }
        self.sends.shutdown().await;
    }

    /// Starts what can be started; says how long there is then nothing to do.
    async fn pass(&mut self) -> Result<Duration, PassError> {
        let more = self.parts.expand().await?;
        self.start().await?;
        if more {
            return Ok(Duration::ZERO);
        }
        let now = clock::wall();
        let next = self.parts.store.next_delivery(now).await?;
        let wait = next.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        Ok(wait.unwrap_or(SLEEP_MAX).min(SLEEP_MAX))
    }

    fn land(&mut self, landed: Result<Landed, tokio::task::JoinError>) -> Next {
        let mut next = Next::GoOn;
        let mut ended = Some(landed);
        while let Some(landed) = ended {
            match landed {
                Ok(landed) => {
                    self.flights.remove(&landed.id);
                    if !landed.noted {
                        next = Next::Pause;
                    }
                }
                Err(error) => {
                    // Its place stays taken, so it cannot be tried in a circle; a restart frees it.
                    tracing::error!(error = %error, "webhook.task_failed");
                }
            }
            ended = self.sends.try_join_next();
        }
        next
    }

    async fn start(&mut self) -> Result<(), StoreError> {
        let most = self.parts.config.concurrent_max;
        if self.flights.len() >= most {
            return Ok(());
        }
        let now = clock::wall();
        let mut destinations = self.parts.store.due_destinations(now).await?;
        if destinations.is_empty() {
            return Ok(());
        }
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn % destinations.len();
        destinations.rotate_left(first);
        for destination in destinations {
            let busy = self.flights.values().filter(|flight| flight.destination == destination);
            let busy = busy.count();
            let each = self.parts.config.concurrent_per_destination_max;
            let free = each.saturating_sub(busy).min(most.saturating_sub(self.flights.len()));
            if free == 0 {
                continue;
            }
            let limit = LOOK_AHEAD.saturating_add(u32::try_from(busy).unwrap_or(u32::MAX));
            let due = self.parts.store.due_deliveries(&destination, now, limit).await?;
            let mut started = 0;
            for delivery in due {
                if started == free {
                    break;
                }
                if self.may_start(&delivery) {
                    self.launch(delivery);
                    started += 1;
                }
            }
        }
        Ok(())
    }

    fn may_start(&self, delivery: &Delivery) -> bool {
        let same_call = |flight: &Flight| {
            flight.destination == delivery.destination
                && flight.call_id.is_some()
                && flight.call_id == delivery.call_id
        };
        !self.flights.contains_key(&delivery.id) && !self.flights.values().any(same_call)
    }

    fn launch(&mut self, delivery: Delivery) {
        let flight =
            Flight { destination: delivery.destination.clone(), call_id: delivery.call_id.clone() };
        self.flights.insert(delivery.id.clone(), flight);
        let parts = Arc::clone(&self.parts);
        self.sends.spawn(async move {
            let id = delivery.id.clone();
            let noted = match parts.send(delivery).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!(error = %chain::chain(&error), "webhook.note_failed");
                    false
                }
            };
            Landed { id, noted }
        });
    }

    async fn upkeep(&self) {
        let store = &self.parts.store;
        let days = i64::from(self.parts.config.retention_days);
        let before = clock::wall().saturating_sub(jiff::SignedDuration::from_hours(days * 24));
        let done = async {
            metrics::webhooks_pending(store.pending_deliveries().await?);
            store.prune_deliveries(before.unwrap_or_default(), PRUNE_MAX).await
        };
        if let Err(error) = done.await {
            tracing::error!(error = %chain::chain(&error), "webhook.upkeep_failed");
        }
    }
}

#[derive(PartialEq, Eq)]
enum Next {
    GoOn,
    Pause,
}

/// Where a delivery goes and how it is signed.
struct Target {
    url: String,
    secrets: Vec<SigningSecret>,
    style: SignatureStyle,
    headers: Vec<(String, String)>,
    endpoint: Option<Endpoint>,
}

/// Why a delivery can't be tried.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("use the store")]
    Store(#[from] StoreError),
    #[error("use a webhook endpoint")]
    Endpoint(#[from] EndpointError),
    #[error("sign a webhook")]
    Keyring(#[from] KeyringError),
}

impl Parts {
    /// Chooses destinations for new events; says whether there are more.
    async fn expand(&self) -> Result<bool, PassError> {
        let events = self.store.new_events(EXPAND_MAX).await?;
        if events.is_empty() {
            return Ok(false);
        }
        let endpoints = self.endpoints.all().await?;
        let more = u32::try_from(events.len()).is_ok_and(|count| count >= EXPAND_MAX);
        let mut expansions = Vec::with_capacity(events.len());
        for event in events {
            expansions.push(self.expansion(event, &endpoints).await?);
        }
        self.store.expand(&expansions, clock::wall()).await?;
        Ok(more)
    }

    async fn expansion(
        &self,
        event: StoredEvent,
        endpoints: &[WebhookEndpoint],
    ) -> Result<Expansion, StoreError> {
        let kind = event.event.kind;
        let organization = event.event.organization_id.as_str();
        let mut deliveries: Vec<NewDelivery> = endpoints
            .iter()
            .filter(|endpoint| endpoint.organization_id == organization && wants(endpoint, kind))
            .map(|endpoint| self.endpoints.delivery_to(endpoint))
            .collect();
        if let Some(url) = event.event.inline_url.as_ref() {
            let origin = Policy::origin(url).unwrap_or_default();
            deliveries.push(NewDelivery {
                id: self.keyring.resource_id(),
                endpoint_id: None,
                destination: format!("inline:{organization}:{origin}"),
                url: url.clone(),
            });
        }
        if deliveries.is_empty() {
            return Ok(Expansion { event, body: String::new(), deliveries });
        }
        match payload::body(&self.store, &event).await {
            Ok(body) => Ok(Expansion { event, body, deliveries }),
            Err(payload::PayloadError::Store(error)) => Err(error),
            Err(error) => {
                // It would be no better the next time, and must not hold back the others.
                tracing::error!(error = %chain::chain(&error), event = event.id, "webhook.unreadable");
                Ok(Expansion { event, body: String::new(), deliveries: Vec::new() })
            }
        }
    }

    /// One attempt and everything that follows from it.
    async fn send(&self, delivery: Delivery) -> Result<(), SendError> {
        let now = clock::wall();
        let target = match self.target(&delivery, now).await? {
            Ok(target) => target,
            Err(why) => return Ok(self.cancel(&delivery, why, now).await?),
        };
        let Some(body) = self.store.webhook_body(&delivery.event_id).await? else {
            return Ok(self.cancel(&delivery, "what it would say is erased", now).await?);
        };
        let body = self.linked(&delivery, body, now).await?;
        let answer = self.client.send(self.request(&delivery, &target, body, now)).await;
        let at = clock::wall();
        let outcome = Outcome::of(answer, at);
        metrics::webhook_attempt(outcome.label);
        let is_ping = delivery.event_type == OutboxKind::Ping.as_str();
        let round = if is_ping { Round::Single } else { Round::Whole };
        let attempt = self.keyring.with_entropy(|entropy| {
            verdict(&self.config, round, delivery.tries, &outcome, at, entropy)
        });
        self.store.note_attempt(&delivery.id, &target.url, &attempt).await?;
        if let Some(error) = &attempt.error {
            tracing::debug!(delivery = delivery.id, error, "webhook.failed");
        }
        if attempt.status == DeliveryStatus::Exhausted {
            metrics::webhook_exhausted();
        }
        let Some(endpoint) = target.endpoint else { return Ok(()) };
        match attempt.status {
            DeliveryStatus::Delivered => self.endpoints.arrived(endpoint).await?,
            _ if outcome.is_gone() => self.endpoints.gone(endpoint).await?,
            DeliveryStatus::Exhausted if !is_ping => {
                self.endpoints.exhausted(endpoint, self.config.disable_after).await?;
            }
            DeliveryStatus::Exhausted | DeliveryStatus::Pending | DeliveryStatus::Canceled => {}
        }
        Ok(())
    }

    /// The body with a link to the recording, if it tells of one.
    async fn linked(
        &self,
        delivery: &Delivery,
        body: String,
        now: jiff::Timestamp,
    ) -> Result<String, StoreError> {
        let call: Option<CallId> = delivery.call_id.as_ref().and_then(|id| id.parse().ok());
        let Some(call) = call.filter(|_| payload::has_recording(&body)) else { return Ok(body) };
        let fresh = || {
            let mut key = [0; 32];
            self.keyring.with_entropy(|entropy| entropy.fill(&mut key));
            key
        };
        let signer = self.store.signer(fresh, now).await?;
        let link = signer.link(call, now, LINK_SECONDS_MAX);
        Ok(link.map(|link| payload::with_link(body.clone(), &link)).unwrap_or(body))
    }

    async fn cancel(
        &self,
        delivery: &Delivery,
        why: &str,
        at: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        let attempt = Attempt {
            status: DeliveryStatus::Canceled,
            counted: false,
            next_attempt_at: None,
            error: Some(why.to_owned()),
            response_status: delivery.last_response_status,
            at,
        };
        self.store.note_attempt(&delivery.id, &delivery.url, &attempt).await
    }

    async fn target(
        &self,
        delivery: &Delivery,
        now: jiff::Timestamp,
    ) -> Result<Result<Target, &'static str>, SendError> {
        let organization = &delivery.organization_id;
        let Some(id) = &delivery.endpoint_id else {
            let agent = self.agent(delivery).await?;
            let secrets = match self.keyring.of_agent(organization, agent.as_ref(), now).await {
                // It would be no better the next time.
                Err(KeyringError::Shape(_)) => {
                    return Ok(Err("the agent's `webhook_secret` is no signing secret"));
                }
                secrets => secrets?,
            };
            return Ok(Ok(Target {
                url: delivery.url.clone(),
                secrets,
                style: SignatureStyle::Standard,
                headers: Vec::new(),
                endpoint: None,
            }));
        };
        let endpoint = match self.endpoints.get(organization, id).await {
            Ok(endpoint) => endpoint,
            Err(EndpointError::NotFound) => return Ok(Err("the endpoint is deleted")),
            Err(error) => return Err(error.into()),
        };
        let is_ping = delivery.event_type == OutboxKind::Ping.as_str();
        if !endpoint.is_enabled() && !is_ping {
            return Ok(Err("the endpoint is disabled"));
        }
        let headers = &endpoint.headers;
        Ok(Ok(Target {
            url: endpoint.doc.url.clone(),
            secrets: endpoint.secrets.active(now),
            style: endpoint.doc.signature_style,
            headers: headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            endpoint: Some(endpoint),
        }))
    }

    /// The agent whose own URL a delivery goes to.
    async fn agent(&self, delivery: &Delivery) -> Result<Option<AgentId>, StoreError> {
        let Some(call) = delivery.call_id.as_ref().and_then(|id| id.parse().ok()) else {
            return Ok(None);
        };
        let record = self.store.get(call).await?;
        let there = |record: &CallRecord| {
            record.webhook_url.as_ref().is_some_and(|url| *url.reveal() == delivery.url)
        };
        Ok(record.filter(there).and_then(|record| record.webhook_agent))
    }

    fn request(
        &self,
        delivery: &Delivery,
        target: &Target,
        body: String,
        now: jiff::Timestamp,
    ) -> Request {
        let message = Message {
            id: &delivery.event_id,
            kind: &delivery.event_type,
            timestamp: now.as_second(),
            body: body.as_bytes(),
        };
        let mut headers = sign::headers(target.style, &target.secrets, message);
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        headers.push(("x-webhook-delivery".to_owned(), delivery.id.clone()));
        headers.extend(target.headers.iter().cloned());
        Request {
            method: "POST".to_owned(),
            url: target.url.clone(),
            headers,
            body: body.into(),
            timeout: self.config.timeout(),
            answer_bytes_max: ANSWER_BYTES_MAX,
            overflow: Overflow::Cut,
        }
    }
}
