//! What the configuration says of sockets: where to listen, and what others see instead.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::ServerError;
use crate::config::Config;
use crate::net::{External, TlsConfig};

/// How long a name in the configuration may take to be looked up at the start.
const LOOK_UP_MAX: Duration = Duration::from_secs(5);

/// Sockets for SIP. Host names among the advertised addresses are looked up for SDP.
pub(super) async fn listen(config: &Config) -> Result<crate::net::Config, ServerError> {
    let sip = &config.sip;
    let mut external = Vec::new();
    if !sip.advertised_address.is_empty() {
        // A host name may have addresses of both families; which of them SDP names is the trunk's business.
        let ip = sip.advertised_address.parse().ok();
        external.push(External { listener: None, host: sip.advertised_address.clone(), ip });
    }
    for (listener, host) in &sip.advertised_addresses {
        let bare = match host.parse::<SocketAddr>() {
            Ok(address) => address.ip().to_string(),
            Err(_) => host
                .rsplit_once(':')
                .map_or(host.as_str(), |(name, port)| {
                    if port.parse::<u16>().is_ok() && !name.contains(':') { name } else { host }
                })
                .to_owned(),
        };
        let ip = resolve_advertised(&bare).await?;
        external.push(External { listener: Some(*listener), host: host.clone(), ip });
    }
    Ok(crate::net::Config {
        udp: sip.listen_udp.clone(),
        tcp: sip.listen_tcp.clone(),
        tls: sip.listen_tls.clone(),
        certificates: certificates(config),
        external,
        dscp: sip.dscp,
        name_servers: sip.name_servers.clone(),
        local_networks: sip.local_networks.clone(),
    })
}

/// Where the certificates are.
pub(crate) fn certificates(config: &Config) -> TlsConfig {
    let tls = &config.sip.tls;
    TlsConfig {
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
        ca: tls.ca.clone(),
        client_ca: tls.client_ca.clone(),
    }
}

/// The address that SDP names: a `c=` line could hold a host name (RFC 4566 section 5.7), but few peers
/// look one up. Via and Contact keep the name.
pub(super) async fn resolve_advertised(host: &str) -> Result<Option<IpAddr>, ServerError> {
    if host.is_empty() {
        return Ok(None);
    }
    if let Ok(ip) = host.parse() {
        return Ok(Some(ip));
    }
    let refused = |message: String| ServerError::Setup {
        key: "sip.advertised_address".to_owned(),
        message: format!("look up `{host}`: {message}; hint: an IP address needs no look-up"),
    };
    let looked_up = tokio::time::timeout(LOOK_UP_MAX, tokio::net::lookup_host((host, 0))).await;
    let found: Vec<IpAddr> = match looked_up {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        Ok(Err(error)) => return Err(refused(error.to_string())),
        Err(_) => return Err(refused("no answer".to_owned())),
    };
    // Trunks are on IPv4 unless they are told otherwise.
    let first = found.iter().find(|ip| ip.is_ipv4()).or(found.first()).copied();
    first.map(Some).ok_or_else(|| refused("it has no address".to_owned()))
}
