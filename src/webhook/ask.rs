//! Questions: webhooks whose answer is used. A caller waits meanwhile, so there is one try and no queue.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::endpoint::{EndpointError, Endpoints};
use super::keyring::{Keyring, KeyringError};
use super::sign::{self, Message, SigningSecret};
use crate::egress::{Client, EgressError, Overflow, Refusal, Request};
use crate::net::clock;
use crate::schema::webhook::SignatureStyle;
use crate::telemetry::{chain, metrics};
use crate::types::{AgentId, OrganizationId};

/// Largest answer, octets: an agent with its prompt fits many times over.
pub const ANSWER_BYTES_MAX: usize = 64 * 1_024;
/// Longest wait for an answer, whatever the question says.
const WAIT_MAX: Duration = Duration::from_secs(120);

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskKind {
    /// Who answers this call?
    AgentRequest,
    /// What does this tool give?
    ToolCall,
    /// Where does this transfer go?
    TransferRequest,
}

impl AskKind {
    /// Those that an endpoint of the organization can answer: the ones of tools.
    pub const OF_TOOLS: &[Self] = &[Self::ToolCall, Self::TransferRequest];

    /// Public name: the `type` of the envelope.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentRequest => "agent.request",
            Self::ToolCall => "tool.call",
            Self::TransferRequest => "transfer.request",
        }
    }
}

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// This URL.
    Url {
        /// Where.
        url: String,
        /// Agent whose own URL it is, and whose secret signs; else, and without one, the organization's does.
        agent: Option<AgentId>,
    },
    /// The oldest endpoint of the organization that names the question among its events.
    Organization {
        /// Asked when there is none, signed with the organization's secret.
        otherwise: Option<String>,
    },
}

/// One question.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is asked.
    pub kind: AskKind,
    /// On whose behalf.
    pub organization: OrganizationId,
    /// Whom.
    pub whom: Whom,
    /// `data` of the envelope.
    pub data: Value,
    /// Longest wait.
    pub timeout: Duration,
}

/// Why there is no answer. The texts can be told to a language model.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The target may not be reached.
    #[error("the server may not be asked: {0}")]
    Refused(Refusal),
    /// Too late.
    #[error("the server did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// Another status than 2xx.
    #[error("the server answered with HTTP status {0}")]
    Status(u16),
    /// More than [`ANSWER_BYTES_MAX`].
    #[error("the server's answer is larger than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
    /// No JSON.
    #[error("the server's answer is not JSON")]
    NotJson,
    /// No connection, or it broke off.
    #[error("the server cannot be reached")]
    Unreachable(#[source] EgressError),
    /// There is nobody to ask.
    #[error(
        "there is no server to ask: this tool has no URL, its agent has no webhook, and no webhook endpoint \
         answers such questions"
    )]
    Nobody,
    /// Endpoints could not be read.
    #[error("the server that answers could not be found")]
    Endpoint(#[source] EndpointError),
    /// The question could not be signed.
    #[error("the question could not be signed")]
    Unsigned(#[source] KeyringError),
}

impl AskError {
    /// Label of metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Timeout(_) => "timeout",
            Self::Status(_) => "status",
            Self::TooLarge => "too_large",
            Self::NotJson => "answer",
            Self::Unreachable(error) => error.as_str(),
            Self::Nobody => "nobody",
            Self::Endpoint(_) => "endpoint",
            Self::Unsigned(_) => "unsigned",
        }
    }
}

/// Asks other servers; cheap to clone.
#[derive(Clone)]
pub struct Asker {
    client: Client,
    keyring: Arc<Keyring>,
    endpoints: Arc<Endpoints>,
}

/// Where a question goes and what goes with it.
struct Route {
    url: String,
    secrets: Vec<SigningSecret>,
    style: SignatureStyle,
    headers: Vec<(String, String)>,
}

impl Asker {
    /// Asks with a client and signs with a keyring.
    pub fn new(client: Client, keyring: Arc<Keyring>, endpoints: Arc<Endpoints>) -> Self {
        Self { client, keyring, endpoints }
    }

    /// Asks once. An empty answer is `{}`.
    ///
    /// # Errors
    /// When there is no usable answer in time.
    pub async fn ask(&self, question: Question) -> Result<Value, AskError> {
        let kind = question.kind.as_str();
        let answer = self.exchange(question).await;
        match &answer {
            Ok(_) => metrics::webhook_ask(kind, "ok"),
            Err(error) => {
                metrics::webhook_ask(kind, error.as_str());
                tracing::warn!(kind, error = %chain::chain(error), "webhook.ask_failed");
            }
        }
        answer
    }

    async fn route(&self, question: &Question, now: jiff::Timestamp) -> Result<Route, AskError> {
        let organization = &question.organization;
        let (url, agent) = match &question.whom {
            Whom::Url { url, agent } => (url, agent.as_ref()),
            Whom::Organization { otherwise } => {
                let found = self.endpoints.answering(organization, question.kind).await;
                if let Some(endpoint) = found.map_err(AskError::Endpoint)? {
                    return Ok(Route {
                        secrets: endpoint.secrets.active(now),
                        url: endpoint.doc.url,
                        style: endpoint.doc.signature_style,
                        headers: endpoint.headers.into_iter().collect(),
                    });
                }
                (otherwise.as_ref().ok_or(AskError::Nobody)?, None)
            }
        };
        let secrets = self.keyring.of_agent(organization, agent, now).await;
        Ok(Route {
            url: url.clone(),
            secrets: secrets.map_err(AskError::Unsigned)?,
            style: SignatureStyle::Standard,
            headers: Vec::new(),
        })
    }

    async fn exchange(&self, question: Question) -> Result<Value, AskError> {
        let id = self.keyring.new_id("evt_");
        let now = clock::wall();
        let route = self.route(&question, now).await?;
        let kind = question.kind.as_str();
        let envelope = super::envelope(id.clone(), kind, now, question.data);
        // An envelope of strings and a JSON value cannot fail to be JSON.
        let body = serde_json::to_vec(&envelope).unwrap_or_default();
        let message = Message { id: &id, kind, timestamp: now.as_second(), body: &body };
        let mut headers = sign::headers(route.style, &route.secrets, message);
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        headers.push(("accept".to_owned(), "application/json".to_owned()));
        headers.extend(route.headers);
        let request = Request {
            method: "POST".to_owned(),
            url: route.url,
            headers,
            body: body.into(),
            timeout: question.timeout.min(WAIT_MAX),
            answer_bytes_max: ANSWER_BYTES_MAX,
            overflow: Overflow::Refuse,
        };
        let response = self.client.send(request).await.map_err(|error| match error {
            EgressError::Refused(refusal) => AskError::Refused(refusal),
            EgressError::Timeout(limit) => AskError::Timeout(limit),
            EgressError::TooLarge(_) => AskError::TooLarge,
            other => AskError::Unreachable(other),
        })?;
        if !response.is_success() {
            return Err(AskError::Status(response.status));
        }
        if response.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        serde_json::from_slice(&response.body).map_err(|_| AskError::NotJson)
    }
}
