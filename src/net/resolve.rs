//! Host names to addresses as the system knows them. What SIP needs beyond is in [`super::locate`].

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A resolver that needs longer is down.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(4);

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver said no, or can't be asked.
    #[error("look up `{host}`")]
    Lookup {
        /// The name.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No answer in time.
    #[error("look up `{0}`: no answer in time")]
    Timeout(String),
    /// The name exists but has no address.
    #[error("look up `{0}`: it has no address")]
    NoAddress(String),
}

/// The first address of a host, IPv4 before IPv6.
///
/// # Errors
/// When the name has none.
pub async fn resolve(host: &str, port: u16) -> Result<SocketAddr, ResolveError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let first = resolve_all(bare).await?.first().copied();
    first
        .map(|ip| SocketAddr::new(ip, port))
        .ok_or_else(|| ResolveError::NoAddress(host.to_owned()))
}

/// The addresses of a host name, IPv4 before IPv6; at least one.
///
/// # Errors
/// When the name has none.
pub async fn resolve_all(host: &str) -> Result<Vec<IpAddr>, ResolveError> {
    let looking = tokio::net::lookup_host((host, 0));
    let found = tokio::time::timeout(LOOKUP_TIMEOUT, looking)
        .await
        .map_err(|_| ResolveError::Timeout(host.to_owned()))?
        .map_err(|source| ResolveError::Lookup { host: host.to_owned(), source })?;
    let mut found: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    found.sort_by_key(IpAddr::is_ipv6);
    found.dedup();
    if found.is_empty() {
        return Err(ResolveError::NoAddress(host.to_owned()));
    }
    Ok(found)
}
