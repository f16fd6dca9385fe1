//! Questions: webhooks whose answer is used. A caller waits meanwhile, so there is one try and no queue.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::keyring::{Keyring, KeyringError};
use super::sign::{self, Message, SigningSecret};
use crate::egress::{Client, EgressError, Overflow, Refusal, Request};
use crate::net::clock;
use crate::schema::webhook::SignatureStyle;
use crate::telemetry::{chain, metrics};
use crate::types::OrganizationId;

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
    /// Public name: the `type` of the envelope.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AgentRequest => "agent.request",
            Self::ToolCall => "tool.call",
            Self::TransferRequest => "transfer.request",
        }
    }
}

/// One question.
#[derive(Clone, Debug)]
pub struct Question {
    /// What is asked.
    pub kind: AskKind,
    /// On whose behalf; its default secret signs.
    pub organization: OrganizationId,
    /// Whom.
    pub url: String,
    /// Signs instead of the organization's.
    pub secret: Option<SigningSecret>,
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
            Self::Unsigned(_) => "unsigned",
        }
    }
}

/// Asks other servers; cheap to clone.
#[derive(Clone)]
pub struct Asker {
    client: Client,
    keyring: Arc<Keyring>,
}

impl Asker {
    /// Asks with a client and signs with a keyring.
    pub fn new(client: Client, keyring: Arc<Keyring>) -> Self {
        Self { client, keyring }
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

    async fn exchange(&self, question: Question) -> Result<Value, AskError> {
        let id = self.keyring.new_id("evt_");
        let now = clock::wall();
        let secrets = match question.secret {
            Some(secret) => vec![secret],
            None => {
                let set = self.keyring.of_organization(&question.organization).await;
                set.map_err(AskError::Unsigned)?.active(now)
            }
        };
        let kind = question.kind.as_str();
        let envelope = super::envelope(id.clone(), kind, now, question.data);
        // An envelope of strings and a JSON value cannot fail to be JSON.
        let body = serde_json::to_vec(&envelope).unwrap_or_default();
        let message = Message { id: &id, kind, timestamp: now.as_second(), body: &body };
        let mut headers = sign::headers(SignatureStyle::Standard, &secrets, message);
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        headers.push(("accept".to_owned(), "application/json".to_owned()));
        let request = Request {
            method: "POST".to_owned(),
            url: question.url,
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
