//! Whose a request outside a dialog is: by the Contact that we registered, by its source, by digest credentials.

use std::time::Instant;

use super::agent::Agent;
use super::config::TrunkAccess;
use super::craft::Reply;
use super::digest::server::Verdict;
use super::event::Flow;
use super::msg::{HeaderName, Request};
use super::policy::CallPolicy;
use crate::types::TrunkName;

/// What becomes of an INVITE.
#[derive(Debug)]
pub(super) enum Access {
    /// It is this trunk's.
    Known(TrunkName),
    /// Its sender must prove who it is.
    Challenge(Verdict),
    /// Nobody knows the sender.
    Unknown,
}

impl Agent {
    /// The trunk that an INVITE comes from. One that an address alone lets in wins over those that ask for a
    /// password; a Contact that we registered wins over both, but its trunk may ask as well.
    pub(super) fn access(&mut self, now: Instant, flow: Flow, request: &Request) -> Access {
        let source = flow.remote.ip();
        let user = request.uri.user_text();
        let trunks = &self.config.trunks;
        let registered = trunks.iter().find(|trunk| trunk.is_contact(&user));
        let by_source = || trunks.iter().find(|one| one.digest.is_none() && one.holds(source));
        if let Some(known) = registered.filter(|one| one.digest.is_none()).or_else(|| {
            // A trunk whose Contact was called is the only one that may answer for it.
            if registered.is_some() { None } else { by_source() }
        }) {
            return Access::Known(known.name.clone());
        }
        let name = registered.map(|trunk| &trunk.name);
        let asked = trunks.iter().filter(|trunk| match name {
            Some(name) => trunk.name == *name,
            None => trunk.networks.is_empty() || trunk.holds(source),
        });
        let callers = asked.filter_map(|trunk| Some((&trunk.name, trunk.digest.as_ref()?)));
        if callers.clone().next().is_none() {
            return Access::Unknown;
        }
        match self.digest.check(now, request, callers) {
            Verdict::Good(trunk) => Access::Known(trunk),
            verdict => Access::Challenge(verdict),
        }
    }

    /// The 401 of an INVITE. Nothing is kept: its ACK is answered by silence anyway.
    pub(super) fn challenge(&mut self, now: Instant, verdict: &Verdict) -> Reply {
        let algorithms = &self.config.digest_algorithms;
        let challenges = self.digest.challenges(now, &mut self.entropy, verdict, algorithms);
        let with = |reply: Reply, value| reply.header(HeaderName::WwwAuthenticate, value);
        challenges.into_iter().fold(Reply::new(401), with).unsigned()
    }
}

impl TrunkAccess {
    /// A trunk that is known by its networks alone.
    pub fn by_address(name: TrunkName, networks: Vec<super::config::Network>) -> Self {
        Self { name, networks, policy: CallPolicy::default(), contact: None, digest: None }
    }

    fn holds(&self, source: std::net::IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(source))
    }

    /// Whether a Request-URI's user part is that of the Contact which we registered.
    pub(super) fn is_contact(&self, user: &str) -> bool {
        self.contact.as_deref().is_some_and(|contact| contact == user)
    }
}
