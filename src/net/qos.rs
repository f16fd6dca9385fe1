//! The mark that tells routers what packets carry (RFC 2474): signalling has CS3, as RFC 4594 section 2.3 wants it.

use socket2::SockRef;

/// Class selector 3, for signalling.
pub const SIGNALLING: u8 = 24;

/// Marks what a socket sends. A kernel that refuses only costs the mark.
pub(super) fn mark(socket: &SockRef<'_>, is_ipv4: bool, dscp: u8) {
    let octet = u32::from(dscp & 0x3f) << 2;
    let marked = if is_ipv4 { socket.set_tos_v4(octet) } else { socket.set_tclass_v6(octet) };
    if let Err(error) = marked {
        tracing::debug!(%error, dscp, "failed to mark a SIP socket");
    }
}
