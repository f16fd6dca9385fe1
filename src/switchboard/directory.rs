//! Which agent answers which number, and which agents and trunks there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::trunk::Trunk;
use crate::call::AgentSnapshot;
use crate::types::{AgentId, TrunkName};

/// The static table of agents, numbers and trunks.
#[derive(Debug, Default)]
pub struct Directory {
    agents: BTreeMap<AgentId, Arc<AgentSnapshot>>,
    trunks: BTreeMap<TrunkName, Arc<Trunk>>,
    numbers: BTreeMap<String, AgentId>,
    default_agent: Option<AgentId>,
}

impl Directory {
    /// A table. Numbers are E.164 or SIP user parts.
    pub fn new(
        agents: BTreeMap<AgentId, Arc<AgentSnapshot>>,
        trunks: BTreeMap<TrunkName, Arc<Trunk>>,
        numbers: BTreeMap<String, AgentId>,
        default_agent: Option<AgentId>,
    ) -> Self {
        Self { agents, trunks, numbers, default_agent }
    }

    /// An agent by its key.
    pub fn agent(&self, id: &AgentId) -> Option<Arc<AgentSnapshot>> {
        self.agents.get(id).cloned()
    }

    /// How many agents there are.
    pub fn agents_len(&self) -> usize {
        self.agents.len()
    }

    /// A trunk by its name.
    pub fn trunk(&self, name: &TrunkName) -> Option<Arc<Trunk>> {
        self.trunks.get(name).cloned()
    }

    /// All trunks.
    pub fn trunks(&self) -> impl Iterator<Item = &Arc<Trunk>> {
        self.trunks.values()
    }

    /// The trunk for a call that names none: the only one that can dial, else none.
    pub fn only_dialling_trunk(&self) -> Option<Arc<Trunk>> {
        let mut dialling = self.trunks.values().filter(|trunk| !trunk.config.host.is_empty());
        let first = dialling.next()?;
        dialling.next().is_none().then(|| Arc::clone(first))
    }

    /// Who answers a call to `called` on `trunk`: the number's agent, else the agent whose key was
    /// dialled, else the trunk's, else the default.
    pub fn inbound_agent(
        &self,
        called: &str,
        trunk: Option<&TrunkName>,
    ) -> Option<Arc<AgentSnapshot>> {
        let bare = called.strip_prefix('+').unwrap_or(called);
        let by_number = self.numbers.get(called).or_else(|| {
            self.numbers
                .iter()
                .find(|(number, _)| number.strip_prefix('+').unwrap_or(number) == bare)
                .map(|(_, agent)| agent)
        });
        if let Some(id) = by_number {
            return self.agent(id);
        }
        if let Some(agent) = self.agents.get(&AgentId(called.to_owned())) {
            return Some(Arc::clone(agent));
        }
        let of_trunk = trunk
            .and_then(|name| self.trunks.get(name))
            .map(|trunk| AgentId(trunk.config.agent.clone()))
            .filter(|id| !id.0.is_empty());
        let id = of_trunk.or_else(|| self.default_agent.clone())?;
        self.agent(&id)
    }

    /// The agent for an outbound call that names none.
    pub fn outbound_agent(&self, trunk: &Trunk) -> Option<Arc<AgentSnapshot>> {
        self.inbound_agent("", Some(&trunk.name))
    }
}
