//! What ICMP says of datagrams that came to nobody (RFC 3261 section 18.4), read from the error queue of a socket
//! (`IP_RECVERR`). An unconnected UDP socket hears of it in no other way.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use bytes::Bytes;
use nix::sys::socket::sockopt::{Ipv4RecvErr, Ipv6RecvErr};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::driver::Arrival;
use crate::telemetry::metrics;

/// What is kept of a datagram that came back. An ICMP message holds 576 octets over IPv4, 1,280 over IPv6.
const QUOTE_BYTES_MAX: usize = 1_280;

const DESTINATION_UNREACHABLE: u8 = 3;
/// Tells a path's MTU, after which the kernel sends smaller ones: nothing is lost for good.
const FRAGMENTATION_NEEDED: u8 = 4;
const DESTINATION_UNREACHABLE_V6: u8 = 1;

/// Has the kernel keep what ICMP says. Where it can't, time tells instead.
pub(super) fn listen(socket: &impl std::os::fd::AsFd, is_ipv4: bool) {
    let asked = if is_ipv4 {
        setsockopt(socket, Ipv4RecvErr, &true)
    } else {
        setsockopt(socket, Ipv6RecvErr, &true)
    };
    if let Err(error) = asked {
        tracing::debug!(%error, "ICMP errors will not be heard of");
    }
}

/// Reads until the driver is gone.
pub(super) async fn read(socket: Arc<UdpSocket>, arrivals: mpsc::Sender<Arrival>) {
    loop {
        let came = socket.async_io(Interest::ERROR, || next(&socket));
        let came = tokio::select! {
            came = came => came,
            () = arrivals.closed() => return,
        };
        match came {
            Ok(Some((remote, quote))) => {
                metrics::sip_unreachable();
                match arrivals.try_send(Arrival::Undeliverable { remote, quote }) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => metrics::queue_full("sip_arrivals"),
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                }
            }
            // Other errors of the queue, of which nobody learns anything.
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(%error, "failed to read the error queue");
                return;
            }
        }
    }
}

/// One entry of the queue: where a datagram did not get, and how it began. `None`: an entry of another kind.
fn next(socket: &UdpSocket) -> io::Result<Option<(SocketAddr, Bytes)>> {
    let mut quote = [0; QUOTE_BYTES_MAX];
    // The error, and who reports it: over IPv6 44 octets.
    let mut control = nix::cmsg_space!([u8; 64]);
    let mut parts = [IoSliceMut::new(&mut quote)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags)?;
    let is_lost = message.cmsgs()?.any(|control| match control {
        ControlMessageOwned::Ipv4RecvErr(error, reporter) => {
            reporter.is_some()
                && error.ee_type == DESTINATION_UNREACHABLE
                && error.ee_code != FRAGMENTATION_NEEDED
        }
        ControlMessageOwned::Ipv6RecvErr(error, reporter) => {
            reporter.is_some() && error.ee_type == DESTINATION_UNREACHABLE_V6
        }
        _ => false,
    });
    let remote = message.address.as_ref().and_then(address);
    let length = message.bytes;
    Ok(remote
        .filter(|_| is_lost)
        .map(|remote| (remote, Bytes::copy_from_slice(quote.get(..length).unwrap_or_default()))))
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|it| SocketAddr::from((it.ip(), it.port())));
    v4.or_else(|| storage.as_sockaddr_in6().map(|it| SocketAddr::from((it.ip(), it.port()))))
}
