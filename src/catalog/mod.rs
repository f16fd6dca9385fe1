//! Resources as data: agents, numbers, trunks, templates, credentials, and what calls are made of from them.
//!
//! [`Catalog`] is the living directory: what stands in the configuration and what was made over the API, in one
//! snapshot that is swapped as a whole. A call takes what it needs when it begins, so no change reaches a live one.
//! [`compile`] makes agents, [`routing`] says who answers.

pub mod check;
pub mod compile;
pub mod directory;
pub mod engines;
pub mod patch;
pub mod routing;
pub mod table;
pub mod trunk;
pub mod voices;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use check::Wrong;
pub use compile::{CallFacts, PrepareError, Ready, prepare};
pub use directory::Directory;
pub use routing::Inbound;
pub use table::{Around, Kind, Row, Snapshot, Tables};
pub use trunk::{Trunk, TrunkConfig};
pub use write::{CatalogError, SecretChange, secret_name};

use crate::call::AgentSnapshot;
use crate::providers::llm::Llm;
use crate::schema::secret::WriteOnly;
use crate::schema::{Agent, ProviderCredential};
use crate::sip::config::TrunkAccess;
use crate::store::Store;
use crate::store::seal::Sealer;
use crate::types::{AgentId, Entropy, OrganizationId, Secret, TrunkName};

/// Compiled agents kept; beyond, all are compiled anew when they are next called.
const COMPILED_MAX: usize = 2_048;

/// Id of an agent that came with the request for its only call: none, see [`AgentId::kept`].
pub const INLINE: &str = "";
/// Its name, unless it brings one.
const INLINE_NAME: &str = "inline";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CompiledKey {
    id: String,
    version: u32,
    epoch: u64,
}

struct Inner {
    snapshot: RwLock<Arc<Snapshot>>,
    /// One change at a time, from the check to the swap.
    writing: tokio::sync::Mutex<()>,
    compiled: Mutex<HashMap<CompiledKey, Ready>>,
    cache: engines::Cache,
    keeper: Option<write::Keeper>,
    entropy: Mutex<Entropy>,
}

/// Every resource; cheap to clone.
#[derive(Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

impl From<Directory> for Catalog {
    /// A catalog without a store: what is in it never changes but by [`Catalog::replace`].
    fn from(directory: Directory) -> Self {
        Self::new(directory, None, Entropy::seeded(0))
    }
}

impl Catalog {
    fn new(directory: Directory, keeper: Option<write::Keeper>, entropy: Entropy) -> Self {
        Self {
            inner: Arc::new(Inner {
                snapshot: RwLock::new(Arc::new(Snapshot::of(directory))),
                writing: tokio::sync::Mutex::new(()),
                compiled: Mutex::default(),
                cache: engines::Cache::default(),
                keeper,
                entropy: Mutex::new(entropy),
            }),
        }
    }

    /// A catalog with what is stored.
    ///
    /// # Errors
    /// When the store cannot be read, or a secret cannot be opened.
    pub async fn open(
        directory: Directory,
        store: Arc<Store>,
        sealer: Arc<Sealer>,
        entropy: Entropy,
    ) -> Result<Self, CatalogError> {
        let catalog = Self::new(directory, Some(write::Keeper { store, sealer }), entropy);
        catalog.load().await?;
        Ok(catalog)
    }

    /// Everything at this moment.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.inner.snapshot.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn swap(&self, snapshot: Snapshot) {
        let mut current = self.inner.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(snapshot);
    }

    /// Puts another configuration in the place of the present one. Live calls go on with what they have.
    pub async fn replace(&self, directory: Directory) {
        let _one = self.inner.writing.lock().await;
        let mut next = (*self.snapshot()).clone();
        next.directory = Arc::new(directory);
        next.epoch += 1;
        next.index();
        self.swap(next);
    }

    /// An agent of the first organization, with its texts as they are written.
    pub fn agent(&self, id: &AgentId) -> Option<Arc<AgentSnapshot>> {
        self.ready(&OrganizationId::default(), id).map(|ready| ready.snapshot)
    }

    /// How many agents the configuration has.
    pub fn configured_agents(&self) -> usize {
        self.snapshot().directory.agents.len()
    }

    /// An agent of an organization. One that cannot be made any more is as good as gone, and logged.
    pub fn ready(&self, organization: &OrganizationId, id: &AgentId) -> Option<Ready> {
        self.ready_in(&self.snapshot(), organization, id)
    }

    fn ready_in(
        &self,
        snapshot: &Snapshot,
        organization: &OrganizationId,
        id: &AgentId,
    ) -> Option<Ready> {
        if *organization == OrganizationId::default()
            && let Some(ready) = snapshot.directory.agents.get(id)
        {
            return Some(ready.clone());
        }
        let row = snapshot.stored.agents.get(&id.0)?;
        if row.organization_id != *organization {
            return None;
        }
        let key = CompiledKey { id: id.0.clone(), version: row.version, epoch: snapshot.epoch };
        let found = self.compiled(|compiled| compiled.get(&key).cloned());
        if found.is_some() {
            return found;
        }
        let doc = Arc::new(row.doc.clone());
        let version = Some(row.version);
        match compile::compile(&id.0, version, organization, &doc, snapshot, &self.inner.cache) {
            Ok(ready) => {
                self.compiled(|compiled| {
                    if compiled.len() >= COMPILED_MAX {
                        compiled.clear();
                    }
                    // Of older versions nobody has any more use.
                    compiled.retain(|other, _| other.id != key.id);
                    compiled.insert(key, ready.clone());
                });
                Some(ready)
            }
            Err(error) => {
                tracing::warn!(agent = %id, %error, "an agent cannot be made");
                None
            }
        }
    }

    fn compiled<T>(&self, f: impl FnOnce(&mut HashMap<CompiledKey, Ready>) -> T) -> T {
        f(&mut self.inner.compiled.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An agent that came with a request: for one call, and kept nowhere.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn inline(&self, organization: &OrganizationId, agent: Agent) -> Result<Ready, Wrong> {
        self.make(organization, INLINE, None, agent)
    }

    /// An agent with some fields changed, for one call. Without an agent: a new one.
    ///
    /// # Errors
    /// The field that is wrong.
    pub fn changed(
        &self,
        organization: &OrganizationId,
        ready: Option<&Ready>,
        change: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Ready, Wrong> {
        let base = ready.and_then(|ready| ready.doc.as_deref()).cloned();
        let mut base = base.unwrap_or_default();
        // Of the configuration: a reference, which stays with the agent itself.
        base.webhook_secret = WriteOnly::None;
        let agent = patch::merged(&base, change).map_err(|error| check::wrong("agent", error))?;
        let elsewhere = agent.webhook_url != base.webhook_url;
        let (id, version) = match ready {
            Some(ready) => (ready.snapshot.id.0.clone(), ready.snapshot.facts.version),
            None => (INLINE.to_owned(), None),
        };
        let mut ready = self.make(organization, &id, version, agent)?;
        // Changed for one call: its texts may name the person called.
        Arc::make_mut(&mut ready.snapshot).fixed = crate::call::FixedSpeech::default();
        if elsewhere {
            // The stored agent's secret signs for its own receiver only.
            Arc::make_mut(&mut ready.snapshot).facts.webhook_agent = None;
        }
        Ok(ready)
    }

    fn make(
        &self,
        organization: &OrganizationId,
        id: &str,
        version: Option<u32>,
        mut agent: Agent,
    ) -> Result<Ready, Wrong> {
        if agent.name.is_empty() {
            let name = if id == INLINE { INLINE_NAME } else { id };
            name.clone_into(&mut agent.name);
        }
        if agent.webhook_secret != WriteOnly::None {
            let message =
                "an agent of one call has none: the organization's secret signs its events";
            return Err(check::wrong("webhook_secret", message));
        }
        let snapshot = self.snapshot();
        let around = Around { snapshot: &snapshot, organization, from_config: false };
        agent.check(&around)?;
        let agent = Arc::new(agent);
        compile::compile(id, version, organization, &agent, &snapshot, &self.inner.cache)
    }

    /// Makes every stored agent, so that the first call to each finds it ready. Blocks.
    pub fn warm(&self) {
        let snapshot = self.snapshot();
        for row in snapshot.stored.agents.values() {
            self.ready_in(&snapshot, &row.organization_id, &AgentId(row.id.clone()));
        }
    }

    /// Every agent that takes calls and is made: those of the configuration, and the stored ones that were asked for.
    pub fn made(&self) -> Vec<Arc<AgentSnapshot>> {
        let snapshot = self.snapshot();
        let configured = snapshot.directory.agents.values().cloned();
        let stored: Vec<Ready> = self.compiled(|compiled| compiled.values().cloned().collect());
        let active = configured.chain(stored).filter(|ready| ready.is_active);
        active.map(|ready| ready.snapshot).collect()
    }

    /// A language model an organization's agents may use, for work after a call.
    ///
    /// # Errors
    /// When there is none of this name, or it cannot be made.
    pub fn llm(
        &self,
        organization: &OrganizationId,
        provider: &str,
        model: Option<&str>,
    ) -> Result<Arc<dyn Llm>, Wrong> {
        engines::llm(&self.snapshot(), organization, provider, model)
    }

    /// The service a credential opens.
    pub fn service_of(&self, row: &Row<ProviderCredential>) -> Option<engines::Service> {
        engines::service_of(&self.snapshot(), row)
    }

    /// What signs the events of an agent's calls instead of the organization's secret; also of an agent that was put
    /// away, whose last events may still be under way.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn agent_webhook_secret(
        &self,
        organization: &OrganizationId,
        id: &AgentId,
    ) -> Result<Option<Secret>, CatalogError> {
        let row = self.find::<Agent>(organization, &id.0).await?;
        Ok(row.and_then(|row| row.secret.clone()))
    }

    /// A trunk, whoever owns it.
    pub fn trunk(&self, name: &TrunkName) -> Option<Arc<Trunk>> {
        self.snapshot().trunk(name)
    }

    /// All trunks.
    pub fn trunks(&self) -> Vec<Arc<Trunk>> {
        self.snapshot().trunks().map(Arc::clone).collect()
    }

    /// Who may send requests outside a dialog.
    pub fn access(&self) -> Vec<TrunkAccess> {
        let snapshot = self.snapshot();
        snapshot.trunks().map(|trunk| trunk.access()).collect()
    }

    /// A fresh identifier of a resource.
    pub fn new_id(&self) -> String {
        let mut entropy = self.inner.entropy.lock().unwrap_or_else(PoisonError::into_inner);
        crate::types::id::resource_id(crate::net::clock::unix_ms(), &mut entropy)
    }
}

#[cfg(test)]
mod tests;
