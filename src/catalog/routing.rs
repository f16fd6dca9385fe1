//! Who answers an inbound call; by what an outbound one leaves.

use std::net::IpAddr;
use std::sync::Arc;

use super::Catalog;
use super::compile::Ready;
use super::table::{Row, Snapshot};
use super::trunk::Trunk;
use crate::schema::Number;
use crate::types::{AgentId, OrganizationId, TrunkName};

/// An inbound call that has a place to go.
pub struct Inbound {
    /// Whose call it is.
    pub organization_id: OrganizationId,
    /// Trunk it came in on.
    pub trunk: Arc<Trunk>,
    /// The number, if it is registered.
    pub number: Option<Arc<Row<Number>>>,
    /// The agent, if there is one; it may be inactive.
    pub agent: Option<Ready>,
}

/// Digits and signs that may stand between them: `+` is left out by some peers.
fn bare(number: &str) -> &str {
    number.strip_prefix('+').unwrap_or(number)
}

impl Snapshot {
    /// The trunk of a name.
    pub fn trunk(&self, name: &TrunkName) -> Option<Arc<Trunk>> {
        self.directory.trunks.get(name).or_else(|| self.trunks.get(name)).cloned()
    }

    /// All trunks; those of the configuration first.
    pub fn trunks(&self) -> impl Iterator<Item = &Arc<Trunk>> {
        self.directory.trunks.values().chain(self.trunks.values())
    }

    /// A registered number, whoever owns it.
    pub fn number(&self, called: &str) -> Option<Arc<Row<Number>>> {
        let id = self.by_number.get(bare(called))?;
        let tables = [&self.stored, &self.directory.tables];
        tables.into_iter().find_map(|tables| tables.numbers.get(id)).cloned()
    }

    /// The trunk for a call that names none: the only one of its organization that can dial.
    pub fn only_dialling_trunk(&self, organization: &OrganizationId) -> Option<Arc<Trunk>> {
        let mut dialling = self.trunks().filter(|trunk| {
            trunk.organization_id == *organization && !trunk.config.host.is_empty()
        });
        let first = dialling.next()?;
        dialling.next().is_none().then(|| Arc::clone(first))
    }
}

impl Catalog {
    /// Where a call to `called` goes that came in on `trunk` from `source`. `None`: nowhere, 404.
    pub fn inbound(&self, called: &str, trunk: &Arc<Trunk>, source: IpAddr) -> Option<Inbound> {
        let snapshot = self.snapshot();
        if let Some(number) = snapshot.number(called) {
            let trunk = trunk_of(&snapshot, &number, trunk, source)?;
            if !number.doc.inbound_enabled {
                return None;
            }
            let id = number.doc.inbound_agent_id.clone().map(AgentId);
            let organization_id = number.organization_id.clone();
            let agent = id.and_then(|id| self.ready_in(&snapshot, &organization_id, &id));
            return Some(Inbound { organization_id, trunk, number: Some(number), agent });
        }
        let organization_id = trunk.organization_id.clone();
        let agent = self.unregistered(&snapshot, called, trunk)?;
        Some(Inbound {
            organization_id,
            trunk: Arc::clone(trunk),
            number: None,
            agent: Some(agent),
        })
    }

    /// Calls to what is no registered number: the embedder's number, the agent whose key was dialled, the
    /// trunk's agent, the default.
    fn unregistered(&self, snapshot: &Snapshot, called: &str, trunk: &Trunk) -> Option<Ready> {
        let directory = &snapshot.directory;
        let organization = &trunk.organization_id;
        let by_number = directory.numbers.iter().find(|(number, _)| bare(number) == bare(called));
        if let Some((_, id)) = by_number {
            return self.ready_in(snapshot, organization, id);
        }
        if let Some(agent) = self.ready_in(snapshot, organization, &AgentId(called.to_owned())) {
            return Some(agent);
        }
        self.default_of(snapshot, trunk)
    }

    fn default_of(&self, snapshot: &Snapshot, trunk: &Trunk) -> Option<Ready> {
        let organization = &trunk.organization_id;
        let first = *organization == OrganizationId::default();
        let of_trunk = Some(AgentId(trunk.config.agent.clone())).filter(|id| !id.0.is_empty());
        let of_server = || snapshot.directory.default_agent.clone().filter(|_| first);
        self.ready_in(snapshot, organization, &of_trunk.or_else(of_server)?)
    }

    /// The agent for an outbound call that names none: that of the number it shows, else the trunk's, else the
    /// default one.
    pub fn outbound_agent(&self, trunk: &Trunk, from: Option<&Row<Number>>) -> Option<Ready> {
        let snapshot = self.snapshot();
        let of_number = from.and_then(|number| {
            let first = number.doc.outbound_agent_ids.first();
            first.or(number.doc.inbound_agent_id.as_ref()).cloned()
        });
        let by_number =
            of_number.and_then(|id| self.ready_in(&snapshot, &trunk.organization_id, &AgentId(id)));
        by_number.or_else(|| self.default_of(&snapshot, trunk))
    }
}

/// The trunk of a call to a number: that of the number if the peer is one of its, too, since two tenants may have
/// the same carrier. `None`: the number is not to be reached by this trunk.
fn trunk_of(
    snapshot: &Snapshot,
    number: &Row<Number>,
    came: &Arc<Trunk>,
    source: IpAddr,
) -> Option<Arc<Trunk>> {
    if let Some(id) = &number.doc.trunk_id {
        if came.name.0 == *id {
            return Some(Arc::clone(came));
        }
        let trunk = snapshot.trunk(&TrunkName(id.clone()))?;
        let is_peer = trunk.config.allowed_networks.iter().any(|network| network.contains(source));
        return is_peer.then_some(trunk);
    }
    // A trunk of the configuration may carry numbers of every tenant.
    let fits = came.organization_id == number.organization_id || came.from_config;
    fits.then(|| Arc::clone(came))
}
