//! Host and port to an address, by the system's resolver (A and AAAA). SRV and NAPTR (RFC 3263) are not
//! looked up: a trunk that needs them is given by its host and port.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Longer than two tries of a resolver, shorter than a caller's patience.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver failed.
    #[error("look up {host}")]
    Lookup {
        /// Which name.
        host: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// The resolver did not answer.
    #[error("look up {0}: no answer within 5 s")]
    TimedOut(String),
    /// The name has no address.
    #[error("look up {0}: no address")]
    Empty(String),
}

/// Every address of a host, in the resolver's order. Literals, also in brackets, are not looked up.
///
/// # Errors
/// When the name cannot be resolved in time or has no address.
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let lookup = tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((bare, port)));
    let found = lookup.await.map_err(|_| ResolveError::TimedOut(host.to_owned()))?;
    let found = found.map_err(|source| ResolveError::Lookup { host: host.to_owned(), source })?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() { Err(ResolveError::Empty(host.to_owned())) } else { Ok(addresses) }
}
