//! What the server says of our call: its transcript and the latency of its turns, over its HTTP API.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::types::{Breakdown, Secret};

/// An answer takes milliseconds; a server that needs longer does not answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Newest calls looked at to find ours.
const LOOKED_AT: u32 = 20;
/// Time between two looks at a call that is not closed yet.
const POLL: Duration = Duration::from_millis(100);

/// Where the API is, and a key for it.
#[derive(Clone, Debug)]
pub struct ApiAccess {
    /// For example `http://127.0.0.1:8080`.
    pub url: String,
    /// API key.
    pub key: Secret,
}

/// Why the API gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The client can't be made, or the server can't be reached or understood.
    #[error("ask the server's API")]
    Http(#[from] reqwest::Error),
    /// The server refused.
    #[error("ask the server's API: it answers {status}")]
    Status {
        /// HTTP status.
        status: u16,
    },
    /// None of the newest calls is ours.
    #[error("find the call: the server does not list it")]
    NotFound,
}

/// One turn, as far as it is shown.
#[derive(Clone, Debug, Deserialize)]
pub struct ServerTurn {
    /// Position in the call.
    pub index: u32,
    /// `user`, `assistant`, `tool` or `system`.
    pub role: String,
    /// Whole text.
    pub content: String,
    /// What was heard of it.
    pub spoken_content: Option<String>,
    /// Whether it was cut off.
    #[serde(default)]
    pub interrupted: bool,
    /// Start, milliseconds after the answer.
    #[serde(default)]
    pub offset_ms: u64,
    /// Latency of an agent's turn.
    pub latency: Option<Breakdown>,
    /// What a turn of role `tool` did.
    #[serde(default)]
    pub tool: Option<ServerTool>,
}

/// A tool that was called.
#[derive(Clone, Debug, Deserialize)]
pub struct ServerTool {
    /// Its name.
    pub name: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: serde_json::Value,
    /// Whether it failed.
    #[serde(default)]
    pub is_error: bool,
}

/// The record of a call, as far as it is looked at.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServerCall {
    /// Identifier of the call at the server.
    pub id: String,
    /// Where in its life.
    pub status: String,
    /// Why it stopped.
    pub end_reason: Option<String>,
    /// Who stopped it.
    pub ended_by: Option<String>,
    /// Who picked up.
    pub answered_by: Option<String>,
    /// One word for lists.
    pub outcome: Option<String>,
    /// Values set during the call.
    pub variables_extracted: BTreeMap<String, String>,
    /// The turns.
    pub transcript: Vec<ServerTurn>,
}

/// A call's transcript.
#[derive(Clone, Debug, Deserialize)]
pub struct ServerTranscript {
    /// Identifier of the call at the server.
    pub call_id: String,
    /// Status of the call.
    pub status: String,
    /// Turns so far.
    pub turns: Vec<ServerTurn>,
}

impl ServerTranscript {
    /// Whether nothing will be added.
    pub fn is_final(&self) -> bool {
        is_final(&self.status)
    }
}

/// Whether a call with this status is over.
fn is_final(status: &str) -> bool {
    !matches!(status, "queued" | "initiated" | "ringing" | "in_progress")
}

#[derive(Deserialize)]
struct Listed {
    id: String,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Listed>,
}

#[derive(Deserialize)]
struct Identified {
    provider_call_id: Option<String>,
    sip_call_id: Option<String>,
}

/// A client for one call.
pub struct Api {
    access: ApiAccess,
    client: reqwest::Client,
    call: Option<String>,
}

impl Api {
    /// A client.
    ///
    /// # Errors
    /// When the system has no usable root certificates.
    pub fn new(access: ApiAccess) -> Result<Self, ApiError> {
        // Without a provider of cryptography the client below would panic. Somebody may have
        // installed one before; then that one is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { access, client, call: None })
    }

    /// Finds the call now, while it is among the newest: later there may be many that are newer.
    ///
    /// # Errors
    /// When the server does not answer or does not know the call.
    pub async fn locate(&mut self, identifier: &str) -> Result<(), ApiError> {
        match self.call {
            Some(_) => Ok(()),
            None => self.find(identifier).await.map(drop),
        }
    }

    /// The server's transcript of the call with this identifier.
    ///
    /// # Errors
    /// When the server does not answer or does not know the call.
    pub async fn transcript(&mut self, identifier: &str) -> Result<ServerTranscript, ApiError> {
        let call = match &self.call {
            Some(call) => call.clone(),
            None => self.find(identifier).await?,
        };
        self.get(&format!("/v1/calls/{call}/transcript")).await
    }

    /// The transcript once the server has closed the call, or as it is after `limit`.
    ///
    /// # Errors
    /// As [`Self::transcript`].
    pub async fn final_transcript(
        &mut self,
        identifier: &str,
        limit: Duration,
    ) -> Result<ServerTranscript, ApiError> {
        let deadline = crate::net::clock::now() + limit;
        loop {
            let transcript = self.transcript(identifier).await?;
            if transcript.is_final() || crate::net::clock::now() >= deadline {
                return Ok(transcript);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The call's record once the server has closed it, or as it is after `limit`.
    ///
    /// # Errors
    /// As [`Self::transcript`].
    pub async fn final_record(
        &mut self,
        identifier: &str,
        limit: Duration,
    ) -> Result<ServerCall, ApiError> {
        let deadline = crate::net::clock::now() + limit;
        let call = match &self.call {
            Some(call) => call.clone(),
            None => self.find(identifier).await?,
        };
        loop {
            let path = format!("/v1/calls/{call}?include=transcript");
            let record: ServerCall = self.get(&path).await?;
            if is_final(&record.status) || crate::net::clock::now() >= deadline {
                return Ok(record);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn find(&mut self, identifier: &str) -> Result<String, ApiError> {
        let list: List = self.get(&format!("/v1/calls?page_size={LOOKED_AT}")).await?;
        for listed in list.items {
            let call: Identified = self.get(&format!("/v1/calls/{}", listed.id)).await?;
            let known = [&call.provider_call_id, &call.sip_call_id];
            if known.into_iter().flatten().any(|known| known == identifier) {
                self.call = Some(listed.id.clone());
                return Ok(listed.id);
            }
        }
        Err(ApiError::NotFound)
    }

    /// What a path of the API answers.
    ///
    /// # Errors
    /// When the server does not answer, or refuses.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        Ok(self.ask(path).await?.json().await?)
    }

    /// The octets a path of the API answers.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn octets(&self, path: &str) -> Result<Vec<u8>, ApiError> {
        Ok(self.ask(path).await?.bytes().await?.to_vec())
    }

    async fn ask(&self, path: &str) -> Result<reqwest::Response, ApiError> {
        let url = format!("{}{path}", self.access.url.trim_end_matches('/'));
        let response = self.client.get(url).bearer_auth(self.access.key.expose()).send().await?;
        let status = response.status();
        if !status.is_success() {
            return Err(ApiError::Status { status: status.as_u16() });
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests;
