//! The secrets that are signed with, sealed in the store: one set an endpoint, one an organization.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::sign::{SignError, SigningSecret};
use crate::net::clock;
use crate::store::{Resource, SealError, Sealer, Store, StoreError};
use crate::types::{AgentId, Entropy, OrganizationId, Secret};

/// Kind of the row that holds an organization's default secret; its id is the organization's.
const KIND: &str = "webhook_secret";
/// How long an old secret still signs after a rotation: a day to change it at the receivers.
pub const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);
/// Old secrets that still sign: each makes a header longer. Beyond it the oldest goes at once.
const PREVIOUS_MAX: usize = 3;
/// Tries to write a set that somebody else changes at the same time.
const RACES_MAX: usize = 8;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The store.
    #[error("use the store")]
    Store(#[from] StoreError),
    /// The sealed value.
    #[error("use a sealed signing secret")]
    Seal(#[from] SealError),
    /// What was sealed is not a set of secrets.
    #[error("read a signing secret")]
    Decode(#[source] serde_json::Error),
    /// One of them is no secret.
    #[error("read a signing secret")]
    Shape(#[from] SignError),
    /// Agents cannot be read.
    #[error("find the agent whose secret signs")]
    Agent(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Finds the secret that an agent has of its own; agents are another room's.
pub type AgentSecrets = Arc<
    dyn Fn(OrganizationId, AgentId) -> BoxFuture<'static, Result<Option<Secret>, KeyringError>>
        + Send
        + Sync,
>;

/// A secret and those before it that still sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSet {
    current: SigningSecret,
    previous: Vec<(SigningSecret, jiff::Timestamp)>,
}

/// A set as it is sealed.
#[derive(Serialize, Deserialize)]
pub(super) struct AtRest {
    current: String,
    #[serde(default)]
    previous: Vec<(String, jiff::Timestamp)>,
}

impl SecretSet {
    /// A set of one.
    pub fn new(current: SigningSecret) -> Self {
        Self { current, previous: Vec::new() }
    }

    /// The newest.
    pub fn current(&self) -> &SigningSecret {
        &self.current
    }

    /// Every secret that signs at this time, the newest first.
    pub fn active(&self, now: jiff::Timestamp) -> Vec<SigningSecret> {
        let previous = self.previous.iter().filter(|(_, until)| now < *until);
        std::iter::once(&self.current).chain(previous.map(|(old, _)| old)).cloned().collect()
    }

    /// Puts a new secret in front. The old ones sign for [`OVERLAP`] longer, or no more.
    #[must_use]
    pub fn rotated(self, next: SigningSecret, now: jiff::Timestamp, old: OldSecret) -> Self {
        let mut previous = Vec::new();
        if old == OldSecret::Overlaps {
            previous.push((self.current, now.saturating_add(OVERLAP).unwrap_or(now)));
            previous.extend(self.previous.into_iter().filter(|(_, until)| now < *until));
            previous.truncate(PREVIOUS_MAX);
        }
        Self { current: next, previous }
    }

    pub(super) fn at_rest(&self) -> AtRest {
        let previous = self.previous.iter();
        AtRest {
            current: self.current.expose().to_owned(),
            previous: previous.map(|(old, until)| (old.expose().to_owned(), *until)).collect(),
        }
    }

    pub(super) fn from_rest(at_rest: AtRest) -> Result<Self, SignError> {
        let previous = at_rest.previous.into_iter();
        let previous: Result<_, SignError> =
            previous.map(|(text, until)| Ok((SigningSecret::parse(&text)?, until))).collect();
        Ok(Self { current: SigningSecret::parse(&at_rest.current)?, previous: previous? })
    }
}

/// What a rotation does to the old secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldSecret {
    /// It signs for [`OVERLAP`] longer, so that no event is refused.
    Overlaps,
    /// It signs no more: it has leaked.
    Expires,
}

/// Makes, keeps and finds secrets.
pub struct Keyring {
    store: Arc<Store>,
    sealer: Arc<Sealer>,
    entropy: Mutex<Entropy>,
    agents: OnceLock<AgentSecrets>,
}

impl Keyring {
    /// A keyring over the sealed rows of a store.
    pub fn new(store: Arc<Store>, sealer: Arc<Sealer>, entropy: Entropy) -> Self {
        Self { store, sealer, entropy: Mutex::new(entropy), agents: OnceLock::new() }
    }

    /// Says where the secrets of agents are. Until then they have none.
    pub fn look_up_agents(&self, secrets: AgentSecrets) {
        let _ = self.agents.set(secrets);
    }

    /// What signs for an agent, or for nobody's in particular: the agent's own secret, else the organization's.
    ///
    /// # Errors
    /// When the store or the seal fails.
    pub async fn of_agent(
        &self,
        organization: &OrganizationId,
        agent: Option<&AgentId>,
        now: jiff::Timestamp,
    ) -> Result<Vec<SigningSecret>, KeyringError> {
        if let Some((find, agent)) = self.agents.get().zip(agent)
            && let Some(secret) = find(organization.clone(), agent.clone()).await?
        {
            return Ok(vec![SigningSecret::new(secret)?]);
        }
        Ok(self.of_organization(organization).await?.active(now))
    }

    /// The default secrets of an organization, which sign what goes to the `webhook_url` of calls and of agents
    /// without a secret of their own. Made when they are first needed.
    ///
    /// # Errors
    /// When the store or the seal fails.
    pub async fn of_organization(
        &self,
        organization: &OrganizationId,
    ) -> Result<SecretSet, KeyringError> {
        match self.row(organization).await? {
            Some((_, set)) => Ok(set),
            None => self.make(organization).await,
        }
    }

    /// Gives an organization a new default secret.
    ///
    /// # Errors
    /// When the store or the seal fails.
    pub async fn rotate_organization(
        &self,
        organization: &OrganizationId,
        old: OldSecret,
    ) -> Result<SecretSet, KeyringError> {
        self.set_organization(organization, self.generate(), old).await
    }

    /// Gives an organization a default secret that it has chosen.
    ///
    /// # Errors
    /// When the store or the seal fails.
    pub async fn set_organization(
        &self,
        organization: &OrganizationId,
        secret: SigningSecret,
        old: OldSecret,
    ) -> Result<SecretSet, KeyringError> {
        self.of_organization(organization).await?;
        for _ in 0..RACES_MAX {
            let Some((mut row, set)) = self.row(organization).await? else { break };
            let now = clock::wall();
            let set = set.rotated(secret.clone(), now, old);
            row.sealed = Some(self.seal_json(KIND, organization.as_str(), &set.at_rest())?);
            row.version += 1;
            row.updated_at = now;
            match self.store.update_resource(&row).await {
                Ok(()) => return Ok(set),
                Err(StoreError::Stale) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Stale.into())
    }

    /// Whether an organization has a default secret already.
    ///
    /// # Errors
    /// When the store or the seal fails.
    pub async fn has_organization(
        &self,
        organization: &OrganizationId,
    ) -> Result<bool, KeyringError> {
        Ok(self.row(organization).await?.is_some())
    }

    /// Forgets the default secrets of an organization; a new one is made when one is needed.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn clear_organization(
        &self,
        organization: &OrganizationId,
    ) -> Result<(), KeyringError> {
        self.store.delete_resource(KIND, organization, organization.as_str()).await?;
        Ok(())
    }

    /// A new secret.
    pub fn generate(&self) -> SigningSecret {
        self.with_entropy(SigningSecret::generate)
    }

    /// An identifier that nobody has: a prefix and 128 random bits.
    pub fn new_id(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.with_entropy(|entropy| entropy.hex(16)))
    }

    /// An identifier of a resource.
    pub fn resource_id(&self) -> String {
        self.with_entropy(|entropy| crate::types::id::resource_id(clock::unix_ms(), entropy))
    }

    /// Seals an object for a row.
    ///
    /// # Errors
    /// When the cipher refuses.
    pub(super) fn seal_json<T: Serialize>(
        &self,
        kind: &str,
        id: &str,
        object: &T,
    ) -> Result<Vec<u8>, KeyringError> {
        let plain = serde_json::to_vec(object).map_err(KeyringError::Decode)?;
        Ok(self.sealer.seal(kind, id, &plain)?)
    }

    /// Opens the object of a row.
    ///
    /// # Errors
    /// When it was not sealed for that row.
    pub(super) fn open_json<T: DeserializeOwned>(
        &self,
        kind: &str,
        id: &str,
        sealed: &[u8],
    ) -> Result<T, KeyringError> {
        let plain = self.sealer.open(kind, id, sealed)?;
        serde_json::from_slice(&plain).map_err(KeyringError::Decode)
    }

    /// Something random.
    pub fn with_entropy<T>(&self, f: impl FnOnce(&mut Entropy) -> T) -> T {
        f(&mut self.entropy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn row(
        &self,
        organization: &OrganizationId,
    ) -> Result<Option<(Resource, SecretSet)>, KeyringError> {
        let id = organization.as_str();
        let Some(row) = self.store.resource(KIND, organization, id).await? else { return Ok(None) };
        let sealed = row.sealed.as_deref().unwrap_or_default();
        let set = SecretSet::from_rest(self.open_json(KIND, id, sealed)?)?;
        Ok(Some((row, set)))
    }

    async fn make(&self, organization: &OrganizationId) -> Result<SecretSet, KeyringError> {
        let set = SecretSet::new(self.generate());
        let id = organization.as_str();
        let now = clock::wall();
        let row = Resource {
            kind: KIND,
            id: id.to_owned(),
            organization_id: organization.clone(),
            unique_key: None,
            version: 1,
            archived: false,
            created_at: now,
            updated_at: now,
            doc: serde_json::json!({}),
            sealed: Some(self.seal_json(KIND, id, &set.at_rest())?),
        };
        match self.store.insert_resource(&row).await {
            Ok(()) => Ok(set),
            // Somebody else made it meanwhile: theirs counts.
            Err(StoreError::Taken) => match self.row(organization).await? {
                Some((_, set)) => Ok(set),
                None => Err(StoreError::Stale.into()),
            },
            Err(error) => Err(error.into()),
        }
    }
}
