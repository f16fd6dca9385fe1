//! Settings of the user agent. Plain data; the configuration room turns its sections into this.
//!
//! Not here: where the sockets listen (the driver's business) and what an agent does with a call.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::event::{Credentials, Flow, Transport};
use super::policy::CallPolicy;
use crate::types::TrunkName;

/// Settings of [`super::Agent`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Timer values; the RFC's unless a test says otherwise.
    pub timers: TimerConfig,
    /// Value of User-Agent in requests and Server in responses.
    pub user_agent: String,
    /// `host[:port]` written into Via and Contact on UDP; `None`: the local address of the flow.
    pub advertised_udp: Option<String>,
    /// The same for TCP: an address where the listener accepts connections.
    /// `None` also says that there is no TCP listener, so long requests stay on UDP.
    pub advertised_tcp: Option<String>,
    /// What the listeners are to others, where that differs from one to the next; goes before the two above.
    pub listeners: Vec<Listener>,
    /// Peers who see our own addresses instead.
    pub local_networks: Vec<Network>,
    /// Peers whose requests outside a dialog are let in.
    pub trunks: Vec<TrunkAccess>,
    /// Requests outside dialogs that one address of a trunk may begin in a second; 0: any number.
    pub requests_per_second_max: u32,
    /// What everybody else gets.
    pub unknown_source: UnknownSource,
    /// Hashes of our challenges, in order; callers that know several take the first.
    pub digest_algorithms: Vec<DigestAlgorithm>,
    /// Bounds on what may be held at once.
    pub limits: Limits,
    /// Retry-After of every 503, in seconds.
    pub retry_after_s: u32,
    /// An incoming call that our side neither answers nor refuses for this long gets 480.
    /// Callers give up after 60 to 180 s by themselves.
    pub answer_timeout: Duration,
    /// A re-INVITE that our side does not answer for this long gets 500; below timer B (32 s) of the peer.
    pub offer_timeout: Duration,
    /// How long nothing may be heard of an INVITE before its next target is tried. A target that is there says 100
    /// within 200 ms; with half, one lost datagram and a slow path look like a dead target.
    pub failover_timeout: Duration,
    /// Session timers, where a trunk says nothing of its own.
    pub session: SessionConfig,
    /// How long after an accepted REFER a final NOTIFY may take. Ringing phones take up to 60 s;
    /// half of that reports transfers as lost that still succeed.
    pub refer_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            timers: TimerConfig::default(),
            user_agent: concat!("trunkline/", env!("CARGO_PKG_VERSION")).to_owned(),
            advertised_udp: None,
            advertised_tcp: None,
            listeners: Vec::new(),
            local_networks: Vec::new(),
            trunks: Vec::new(),
            requests_per_second_max: 500,
            unknown_source: UnknownSource::Forbid,
            digest_algorithms: vec![DigestAlgorithm::Sha256, DigestAlgorithm::Md5],
            limits: Limits::default(),
            retry_after_s: 10,
            answer_timeout: Duration::from_secs(180),
            offer_timeout: Duration::from_secs(20),
            failover_timeout: Duration::from_secs(3),
            session: SessionConfig::default(),
            refer_timeout: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// What others may reach us at, for messages on a flow: `host[:port]`.
    pub(super) fn advertised(&self, flow: &Flow) -> Option<&str> {
        let listener = listener_of(&self.listeners, flow);
        if self.local_networks.iter().any(|network| network.contains(flow.remote.ip())) {
            return listener.and_then(|one| one.internal.as_deref());
        }
        listener.and_then(|one| one.advertised.as_deref()).or(match flow.transport {
            Transport::Udp => self.advertised_udp.as_deref(),
            Transport::Tcp => self.advertised_tcp.as_deref(),
            Transport::Tls => None,
        })
    }

    /// How the dialogs of a trunk are led.
    pub fn policy_of(&self, trunk: &TrunkName) -> CallPolicy {
        let known = self.trunks.iter().find(|one| one.name == *trunk);
        known.map(|one| one.policy).unwrap_or_default()
    }

    /// The trunk whose networks hold `source`; the first match wins.
    pub fn trunk_of(&self, source: IpAddr) -> Option<&TrunkAccess> {
        self.trunks
            .iter()
            .find(|trunk| trunk.networks.iter().any(|network| network.contains(source)))
    }
}

/// A socket that peers find us at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its protocol.
    pub transport: Transport,
    /// Where it is bound; the address may be a wildcard.
    pub local: SocketAddr,
    /// `host[:port]` that others reach it at; `None`: the local address of the flow.
    pub advertised: Option<String>,
    /// The same for peers of [`Config::local_networks`].
    pub internal: Option<String>,
}

/// The listener a flow belongs to, or for a connection that we open the one of the same address: the closest that
/// there is of the flow's protocol and family.
pub fn listener_of<'a>(listeners: &'a [Listener], flow: &Flow) -> Option<&'a Listener> {
    let closeness = |one: &Listener| {
        let same_ip = one.local.ip().to_canonical() == flow.local.ip().to_canonical();
        let wild = one.local.ip().is_unspecified();
        let same_port = one.local.port() == flow.local.port();
        (same_ip, wild, same_port)
    };
    listeners
        .iter()
        .rev()
        .filter(|one| one.transport == flow.transport)
        .filter(|one| one.local.is_ipv4() == flow.remote.ip().to_canonical().is_ipv4())
        .max_by_key(|one| closeness(one))
}

/// The base values all timers of RFC 3261 section 17 are made of (table 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimerConfig {
    /// Estimate of the round trip.
    pub t1: Duration,
    /// Longest interval between retransmissions.
    pub t2: Duration,
    /// Longest life of a message in the network.
    pub t4: Duration,
}

impl Default for TimerConfig {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
        }
    }
}

impl TimerConfig {
    /// 64*T1: timers B, F, H, L, M and J of the RFC.
    pub fn t1x64(&self) -> Duration {
        self.t1.saturating_mul(64)
    }
}

/// Session timers (RFC 4028).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Session-Expires we ask for, in seconds; 0: none.
    pub expires_s: u32,
    /// Shortest interval we take: less gets 422. RFC 4028 section 4 allows none below 90.
    pub min_s: u32,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self { expires_s: 1_800, min_s: super::session_timer::MIN_SE_DEFAULT_S }
    }
}

/// Who may send requests outside a dialog, and under which name.
#[derive(Clone, Debug)]
pub struct TrunkAccess {
    /// Name of the trunk.
    pub name: TrunkName,
    /// Source networks. With `digest` and none of these, every source may prove who it is.
    pub networks: Vec<Network>,
    /// User part of the Contact that we registered: calls to it are the trunk's, wherever they come from.
    pub contact: Option<String>,
    /// How its dialogs are led.
    pub policy: CallPolicy,
    /// What callers must prove in addition.
    pub digest: Option<Credentials>,
}

/// Hash of a challenge of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[expect(missing_docs, reason = "the functions' own names")]
pub enum DigestAlgorithm {
    #[serde(rename = "sha-256")]
    Sha256,
    #[serde(rename = "md5")]
    Md5,
}

impl DigestAlgorithm {
    /// The word of the header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }
}

/// What a request outside a dialog from an unknown source gets. Both are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownSource {
    /// To an INVITE a stateless 403, to anything else nothing: a trunk that is set up wrongly learns it, a scan that
    /// looks for servers does not.
    Forbid,
    /// Nothing: scanners learn nothing, and neither does a misconfigured trunk.
    Silent,
}

/// Bounds on what the agent holds. Hitting one is counted and answered with 503 where there is
/// somebody to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Dialogs at once, both directions. Half a kilobyte to 4 kB each.
    pub dialogs: usize,
    /// Transactions at once: a finished call leaves three behind for up to 32 s, so this is
    /// a bound on calls per second as well (20,000 / 3 / 32 s = 208 a second).
    pub transactions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { dialogs: 2_000, transactions: 20_000 }
    }
}

/// An IPv4 or IPv6 network: address and prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The part before `/` is no IP address.
    #[error("a network begins with an IPv4 or IPv6 address")]
    Address,
    /// The part after `/` is no number from 0 to 32 (IPv4) or 128 (IPv6).
    #[error("a prefix length is a number from 0 to 32 for IPv4, to 128 for IPv6")]
    Prefix,
}

impl Network {
    /// Whether the address lies in the network. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address.to_canonical(), address.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let shift = 32u32.saturating_sub(u32::from(self.prefix));
                let differ = u32::from(net) ^ u32::from(ip);
                differ.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let shift = 128u32.saturating_sub(u32::from(self.prefix));
                let differ = u128::from(net) ^ u128::from(ip);
                differ.checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// `192.0.2.0/24`, `2001:db8::/32`, or one address alone.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| NetworkError::Address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => most,
            Some(text) => text.trim().parse().map_err(|_| NetworkError::Prefix)?,
        };
        if prefix > most {
            return Err(NetworkError::Prefix);
        }
        Ok(Self { address, prefix })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl serde::Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Network {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
