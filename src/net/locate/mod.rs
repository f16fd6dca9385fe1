//! Where a SIP host is (RFC 3263): NAPTR, SRV, A and AAAA, and which of its targets to try first.
//!
//! [`Locator::locate`] gives targets in the order to be tried. Who tries them tells what came of it
//! ([`Locator::failed`], [`Locator::worked`]): what failed goes last for [`avoid::AVOID_FOR`]. Names that only the
//! system knows, from its hosts file for example, are asked for there at last.

pub mod avoid;
mod dns;
mod select;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use avoid::Avoided;
use dns::{Dns, Silent, Srv};

use super::{clock, resolve};
use crate::sip::Transport;
use crate::types::Entropy;

/// A host that needs longer is as good as unknown.
const LOCATE_TIMEOUT: Duration = Duration::from_secs(6);

/// Targets of one host that are tried at most: a caller would not wait for more.
const HOPS_MAX: usize = 8;

/// SRV records of one host whose targets are looked up.
const SRV_MAX: usize = 16;

/// What a URI says of where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// Name or address.
    pub host: String,
    /// Port, if it says one: then only the host's addresses are asked for.
    pub port: Option<u16>,
    /// Protocol; `None`: NAPTR and SRV decide, and UDP where there are none.
    pub transport: Option<Transport>,
}

/// One target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// By which protocol.
    pub transport: Transport,
    /// Where.
    pub remote: SocketAddr,
}

/// Why a host leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// Nobody knows an address.
    #[error("look up `{0}`: it has no address")]
    NoAddress(String),
    /// Its owner says that there is no SIP service (RFC 2782: target `.`).
    #[error("look up `{0}`: there is no such service")]
    NoService(String),
    /// The name servers do not answer.
    #[error("look up `{0}`: no answer in time")]
    Timeout(String),
    /// The name servers do not answer, and the system does not know.
    #[error("look up `{host}`")]
    Silent {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no listener for any of its protocols and address families.
    #[error("reach `{0}`: there is no listener of its protocol and address family")]
    NoListener(String),
}

/// Finds hosts. Cheap to clone.
#[derive(Clone)]
pub struct Locator {
    inner: Arc<Inner>,
}

struct Inner {
    dns: Result<Dns, Silent>,
    /// Whether the system may be asked as well.
    is_system: bool,
    spoken: Vec<Transport>,
    entropy: Mutex<Entropy>,
    avoided: Mutex<Avoided>,
}

impl Locator {
    /// Asks these name servers, or the system's; `spoken` are our protocols.
    pub fn new(name_servers: &[SocketAddr], spoken: Vec<Transport>, entropy: Entropy) -> Self {
        let dns = Dns::new(name_servers);
        if let Err(error) = &dns {
            tracing::warn!(%error, "no NAPTR and SRV records will be asked for");
        }
        let inner = Inner {
            dns,
            is_system: name_servers.is_empty(),
            spoken,
            entropy: Mutex::new(entropy),
            avoided: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Targets of a host, best first.
    ///
    /// # Errors
    /// When there is none.
    pub async fn locate(&self, sought: &Sought) -> Result<Vec<Hop>, LocateError> {
        let timeout = tokio::time::timeout(LOCATE_TIMEOUT, self.inner.search(sought));
        let found = timeout.await.map_err(|_| LocateError::Timeout(sought.host.clone()))??;
        Ok(self.avoided(|avoided| avoided.order(clock::now(), found)))
    }

    /// A target did not answer, or said 503: others go first for a while.
    pub fn failed(&self, hop: Hop) {
        self.avoided(|avoided| avoided.failed(clock::now(), hop));
    }

    /// A target answered: it takes its place again.
    pub fn worked(&self, hop: Hop) {
        self.avoided(|avoided| avoided.worked(&hop));
    }

    /// Whether a target failed lately.
    pub fn is_avoided(&self, hop: Hop) -> bool {
        self.avoided(|avoided| avoided.is_avoided(clock::now(), &hop))
    }

    fn avoided<T>(&self, f: impl FnOnce(&mut Avoided) -> T) -> T {
        f(&mut self.inner.avoided.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Inner {
    async fn search(&self, sought: &Sought) -> Result<Vec<Hop>, LocateError> {
        let host = sought.host.trim_start_matches('[').trim_end_matches(']');
        let plain = sought.transport.unwrap_or(Transport::Udp);
        let port = sought.port.unwrap_or(plain.default_port());
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![Hop { transport: plain, remote: SocketAddr::new(ip, port) }]);
        }
        // RFC 3263 section 4.2: a port means that the host itself is meant. A name without a dot is no domain.
        if sought.port.is_none() && host.trim_end_matches('.').contains('.') {
            let found = self.by_srv(host, sought.transport).await?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let addresses = self.addresses(host).await?;
        let hop = |ip| Hop { transport: plain, remote: SocketAddr::new(ip, port) };
        Ok(addresses.into_iter().take(HOPS_MAX).map(hop).collect())
    }

    /// What NAPTR and SRV records lead to; nothing where there are none, or nobody answers.
    async fn by_srv(&self, host: &str, wanted: Option<Transport>) -> Result<Vec<Hop>, LocateError> {
        let Ok(dns) = &self.dns else { return Ok(Vec::new()) };
        let spoken = |transport: Transport| match wanted {
            Some(wanted) => wanted == transport,
            None => self.spoken.contains(&transport),
        };
        let naptr = dns.naptr(host).await.unwrap_or_default();
        let mut names = select::naptr_order(naptr, spoken);
        if names.is_empty() {
            let all = [Transport::Udp, Transport::Tcp, Transport::Tls].into_iter();
            let name = |one| (one, select::srv_name(one, host));
            names = all.filter(|one| spoken(*one)).map(name).collect();
        }
        let mut hops = Vec::new();
        for (transport, name) in names {
            let Ok(records) = dns.srv(&name).await else { continue };
            if let [only] = records.as_slice()
                && only.target == "."
            {
                return Err(LocateError::NoService(name));
            }
            self.add(&mut hops, transport, records).await;
            // The records of a protocol that is liked less are for those who do not speak the first.
            if !hops.is_empty() {
                break;
            }
        }
        Ok(hops)
    }

    /// Adds the addresses of the targets of one name's records.
    async fn add(&self, hops: &mut Vec<Hop>, transport: Transport, records: Vec<Srv>) {
        let ordered = {
            let mut entropy = self.entropy.lock().unwrap_or_else(PoisonError::into_inner);
            select::srv_order(records, &mut entropy)
        };
        for srv in ordered.into_iter().take(SRV_MAX) {
            let addresses = self.addresses(srv.target.trim_end_matches('.')).await;
            for ip in addresses.unwrap_or_default() {
                let hop = Hop { transport, remote: SocketAddr::new(ip, srv.port) };
                if hops.len() < HOPS_MAX && !hops.contains(&hop) {
                    hops.push(hop);
                }
            }
        }
    }

    /// Addresses of a host, IPv4 first.
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, LocateError> {
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(vec![ip]);
        }
        let asked = match &self.dns {
            Ok(dns) => dns.addresses(host).await,
            Err(silent) => Err(silent.clone()),
        };
        match asked {
            Ok(found) if !found.is_empty() => Ok(found),
            _ if self.is_system => {
                let found = resolve::resolve_all(host).await;
                found.map_err(|source| LocateError::Silent {
                    host: host.to_owned(),
                    source: Box::new(source),
                })
            }
            Ok(_) => Err(LocateError::NoAddress(host.to_owned())),
            Err(source) => {
                Err(LocateError::Silent { host: host.to_owned(), source: Box::new(source) })
            }
        }
    }
}
