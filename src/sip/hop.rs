//! Where messages go: next hops of requests (RFC 3261 section 8.1.2, with RFC 3581 and NAT in mind) and
//! the way back for responses (section 18.2.2). Names are not resolved here: a dialog stays on the
//! flow it was set up on unless the next hop is an address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::event::{Flow, Transport};
use super::header::NameAddr;
use super::msg::{Headers, Response};
use super::uri::{Scheme, Uri};

/// The URI of a Route value.
pub(super) fn route_uri(route: &[u8]) -> Option<Uri> {
    NameAddr::parse(route).map(|addr| addr.uri)
}

/// Where a response goes. RFC 3581: with rport to the source. Without it the RFC wants the port of
/// sent-by, which is right unless NAT rewrote the source: so only if sent-by names the source's own
/// address. A maddr is honoured on UDP when it names that address as well; anything else would let a
/// stranger direct our packets at others.
pub(super) fn reply_flow(headers: &Headers, flow: Flow) -> Flow {
    let Ok(via) = headers.top_via() else { return flow };
    if flow.transport != Transport::Udp || via.rport().is_some() {
        return flow;
    }
    let source = flow.remote.ip().to_canonical();
    let named = via.maddr().unwrap_or_else(|| via.host.clone()).ip();
    if named.map(|ip| ip.to_canonical()) != Some(source) {
        return flow;
    }
    Flow { remote: SocketAddr::new(flow.remote.ip(), via.port_or_default()), ..flow }
}

/// Where the peer saw a request of ours come from, by its response (RFC 3581 section 4).
pub(super) fn seen_from(response: &Response) -> Option<SocketAddr> {
    let via = response.headers.top_via().ok()?;
    let ip = via.received().or_else(|| via.host.ip())?;
    Some(SocketAddr::new(ip, via.rport().flatten()?))
}

/// Where a request with this next hop goes, for a dialog on `flow`.
pub(super) fn next_flow(next_hop: &Uri, flow: Flow) -> Flow {
    let maddr = next_hop.maddr().and_then(super::uri::Host::parse);
    let Some(ip) = maddr.or_else(|| next_hop.host.clone()).and_then(|host| host.ip()) else {
        return flow;
    };
    // A private address of a peer behind NAT leads nowhere; its source does.
    if reach(ip) != Reach::Global && reach(ip) != reach(flow.remote.ip()) {
        return flow;
    }
    let transport = transport_of(next_hop).unwrap_or(flow.transport);
    if transport.is_stream()
        && flow.transport == transport
        && ip.to_canonical() == flow.remote.ip().to_canonical()
    {
        // The connection that is open is as good as a new one, and the only way through NAT.
        return flow;
    }
    let remote = SocketAddr::new(ip, next_hop.port.unwrap_or(transport.default_port()));
    let local = if transport == flow.transport && transport == Transport::Udp {
        flow.local
    } else {
        SocketAddr::new(flow.local.ip(), 0)
    };
    // A peer that moves within its network proves the name it was called by: an address has none of its own.
    Flow { transport, local, remote, ..flow }
}

/// The protocol a URI asks for; `None`: it does not say.
pub(super) fn transport_of(uri: &Uri) -> Option<Transport> {
    let named = uri.transport().and_then(Transport::named);
    match (&uri.scheme, named) {
        // RFC 3261 section 26.2.2: `sips` is TLS, whatever `transport` says of what is below it.
        (Scheme::Sips, _) => Some(Transport::Tls),
        (_, named) => named,
    }
}

/// The same way by TCP; the driver picks the port.
pub(super) fn over_tcp(flow: Flow) -> Flow {
    Flow { transport: Transport::Tcp, local: SocketAddr::new(flow.local.ip(), 0), ..flow }
}

/// From how far an address can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Nowhere,
    Host,
    Site,
    Global,
}

fn reach(ip: IpAddr) -> Reach {
    match ip.to_canonical() {
        ip if ip.is_unspecified() || ip.is_multicast() => Reach::Nowhere,
        ip if ip.is_loopback() => Reach::Host,
        IpAddr::V4(ip) if ip == Ipv4Addr::BROADCAST => Reach::Nowhere,
        IpAddr::V4(ip) if ip.is_private() || ip.is_link_local() || is_shared(ip) => Reach::Site,
        IpAddr::V6(ip) if ip.is_unique_local() || ip.is_unicast_link_local() => Reach::Site,
        IpAddr::V4(_) | IpAddr::V6(_) => Reach::Global,
    }
}

/// 100.64.0.0/10: carrier-grade NAT (RFC 6598).
fn is_shared(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && second & 0xc0 == 64
}

/// Writes into the top Via where the request really came from (section 18.2.1, RFC 3581).
pub(super) fn stamp(headers: &mut Headers, flow: Flow) {
    if let Ok(mut via) = headers.top_via() {
        via.stamp(flow.remote);
        headers.set_top_via(&via);
    }
}
