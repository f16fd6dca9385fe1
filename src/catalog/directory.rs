//! What does not change while the server runs, but by a reload: the configuration's resources and engines.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check::Wrong;
use super::compile::{self, Ready};
use super::engines::{self, Cache, Settings};
use super::table::{Snapshot, Tables};
use super::trunk::Trunk;
use crate::call::AgentSnapshot;
use crate::types::{AgentId, TrunkName};

/// Agents, trunks and numbers of the configuration, or of an embedder.
#[derive(Clone, Default)]
pub struct Directory {
    pub(super) agents: BTreeMap<AgentId, Ready>,
    pub(super) trunks: BTreeMap<TrunkName, Arc<Trunk>>,
    pub(super) numbers: BTreeMap<String, AgentId>,
    pub(super) default_agent: Option<AgentId>,
    pub(super) tables: Tables,
    pub(super) settings: Settings,
}

impl Directory {
    /// A table of what was made elsewhere. Numbers are E.164 or SIP user parts.
    pub fn new(
        agents: BTreeMap<AgentId, Arc<AgentSnapshot>>,
        trunks: BTreeMap<TrunkName, Arc<Trunk>>,
        numbers: BTreeMap<String, AgentId>,
        default_agent: Option<AgentId>,
    ) -> Self {
        let agents = agents.into_iter().map(|(id, agent)| (id, Ready::made(agent))).collect();
        Self { agents, trunks, numbers, default_agent, ..Self::default() }
    }

    /// With one more agent that was made elsewhere, or another one of its key.
    #[must_use]
    pub fn with_made(mut self, agent: Arc<AgentSnapshot>) -> Self {
        self.agents.insert(agent.id.clone(), Ready::made(agent));
        self
    }

    /// With what stands in a configuration beside the trunks.
    #[must_use]
    pub fn with_resources(mut self, tables: Tables, settings: Settings) -> Self {
        (self.tables, self.settings) = (tables, settings);
        self
    }

    /// With trunks.
    #[must_use]
    pub fn with_trunks(mut self, trunks: impl IntoIterator<Item = Trunk>) -> Self {
        self.trunks =
            trunks.into_iter().map(|trunk| (trunk.name.clone(), Arc::new(trunk))).collect();
        self
    }

    /// Makes every agent of the tables, the default one among them.
    ///
    /// # Errors
    /// Key of the agent and what is wrong with it.
    pub fn with_agents(mut self, default: &str) -> Result<(Self, Vec<String>), (String, Wrong)> {
        let mut notes = Vec::new();
        let cache = Cache::default();
        let snapshot = Snapshot::of(self.clone());
        for (id, row) in &self.tables.agents {
            let doc = Arc::new(row.doc.clone());
            let organization = &row.organization_id;
            engines::background(&doc, &snapshot, &cache).map_err(|wrong| (id.clone(), wrong))?;
            let ready = compile::compile(id, None, organization, &doc, &snapshot, &cache)
                .map_err(|wrong| (id.clone(), wrong))?;
            notes.extend(ready.notes.iter().cloned());
            self.agents.insert(AgentId(id.clone()), ready);
        }
        self.default_agent = match (default, self.agents.len()) {
            ("", 1) => self.agents.keys().next().cloned(),
            ("", _) => None,
            (name, _) => Some(AgentId(name.to_owned())),
        };
        Ok((self, notes))
    }

    /// An agent by its key.
    pub fn agent(&self, id: &AgentId) -> Option<Arc<AgentSnapshot>> {
        self.agents.get(id).map(|ready| Arc::clone(&ready.snapshot))
    }

    /// All trunks.
    pub fn trunks(&self) -> impl Iterator<Item = &Arc<Trunk>> {
        self.trunks.values()
    }
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory").field("agents", &self.agents.keys()).finish_non_exhaustive()
    }
}
