//! Host names to addresses. Literal addresses need no look-up; SRV and NAPTR are not asked for yet.

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
    let looking = tokio::net::lookup_host((bare, port));
    let found: Vec<SocketAddr> = tokio::time::timeout(LOOKUP_TIMEOUT, looking)
        .await
        .map_err(|_| ResolveError::Timeout(host.to_owned()))?
        .map_err(|source| ResolveError::Lookup { host: host.to_owned(), source })?
        .collect();
    found
        .iter()
        .find(|address| address.is_ipv4())
        .or_else(|| found.first())
        .copied()
        .ok_or_else(|| ResolveError::NoAddress(host.to_owned()))
}
