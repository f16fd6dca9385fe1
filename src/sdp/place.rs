//! Where a description says its writer is, and whether we would send anything there.

use std::net::{IpAddr, SocketAddr};

use super::{Connection, Description, Media, SdpError};

/// Where the peer of an m-line is: for RTP and for RTCP.
pub(super) fn remote_of(
    theirs: &Description,
    media: &Media,
) -> Result<(SocketAddr, SocketAddr), SdpError> {
    let connection = media.connection.as_ref().or(theirs.connection.as_ref());
    let ip = usable(connection.ok_or(SdpError::Malformed("no c= line"))?)?;
    let remote_rtp = SocketAddr::new(ip, media.port);
    let remote_rtcp = match media.rtcp {
        _ if media.rtcp_mux => remote_rtp,
        // An a=rtcp address must pass the same rules: it is a place we send packets to.
        Some((port, address)) => {
            let ip = address.map_or(Ok(ip), |ip| usable(&Connection::Ip(ip)))?;
            SocketAddr::new(ip, port)
        }
        None => SocketAddr::new(ip, media.port.checked_add(1).unwrap_or(media.port)),
    };
    Ok((remote_rtp, remote_rtcp))
}

/// Addresses we would send media to: no names, no groups, no link-local (cloud metadata) services, nothing that is
/// reserved (RFC 6890).
fn usable(connection: &Connection) -> Result<IpAddr, SdpError> {
    let Connection::Ip(ip) = connection else { return Err(SdpError::Address) };
    let refused = match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            // 240.0.0.0/4 holds broadcast; of 0.0.0.0/8 only the hold of RFC 2543 has a meaning.
            let reserved = first >= 240 || (first == 0 && !v4.is_unspecified());
            v4.is_multicast() || v4.is_link_local() || reserved
        }
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local(),
    };
    if refused { Err(SdpError::Address) } else { Ok(*ip) }
}
