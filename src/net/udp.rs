//! SIP over UDP: one socket a listener, one reader a socket.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::driver::Arrival;
use super::{StartError, icmp, qos};
use crate::sip::{Flow, Transport};
use crate::telemetry::metrics;

/// Largest datagram IP can carry.
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Kernel buffer for bursts: 4 MB are about two seconds of a flood of 1,500 INVITEs a second.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Remote addresses whose route is remembered when the listener has a wildcard address.
const ROUTES_MAX: usize = 4_096;

pub(super) fn bind(address: SocketAddr, dscp: u8) -> Result<UdpSocket, StartError> {
    let listen = |source| StartError::Listen {
        transport: "udp",
        address,
        setting: "sip.listen_udp",
        source,
    };
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))
        .map_err(listen)?;
    // The kernel may grant less; a smaller buffer only drops earlier.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    if address.is_ipv6() {
        socket.set_only_v6(true).map_err(listen)?;
    }
    qos::mark(&SockRef::from(&socket), address.is_ipv4(), dscp);
    icmp::listen(&socket, address.is_ipv4());
    socket.set_nonblocking(true).map_err(listen)?;
    socket.bind(&address.into()).map_err(listen)?;
    UdpSocket::from_std(socket.into()).map_err(listen)
}

/// Our address on the way to `remote`. Connecting a UDP socket sends nothing.
pub(super) fn route_to(remote: IpAddr) -> Option<IpAddr> {
    let any: SocketAddr = match remote {
        IpAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
        IpAddr::V6(_) => SocketAddr::from(([0u16; 8], 0)),
    };
    let socket = StdUdpSocket::bind(any).ok()?;
    socket.connect(SocketAddr::new(remote, 5060)).ok()?;
    socket.local_addr().ok().map(|local| local.ip())
}

/// Reads until the driver is gone.
pub(super) async fn read(socket: Arc<UdpSocket>, arrivals: mpsc::Sender<Arrival>) {
    let Ok(local) = socket.local_addr() else { return };
    let mut routes = Routes::new(local);
    let mut buffer = BytesMut::zeroed(DATAGRAM_BYTES_MAX);
    loop {
        let (len, remote) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // ICMP errors of earlier sends surface here too; the socket lives on.
                tracing::debug!(%error, "failed to receive a datagram");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let Some(octets) = buffer.get(..len) else { continue };
        let flow = Flow::new(Transport::Udp, routes.local_for(remote.ip()), remote);
        let bytes = Bytes::copy_from_slice(octets);
        match arrivals.try_send(Arrival::Message { flow, bytes }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => metrics::queue_full("sip_arrivals"),
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
    }
}

/// Real local addresses behind a wildcard listener.
struct Routes {
    listener: SocketAddr,
    known: HashMap<IpAddr, IpAddr>,
}

impl Routes {
    fn new(listener: SocketAddr) -> Self {
        Self { listener, known: HashMap::new() }
    }

    fn local_for(&mut self, remote: IpAddr) -> SocketAddr {
        if !self.listener.ip().is_unspecified() {
            return self.listener;
        }
        if self.known.len() >= ROUTES_MAX {
            // A scan from many addresses must not grow this; routes are cheap to ask for again.
            self.known.clear();
        }
        let listener = self.listener;
        let ip =
            *self.known.entry(remote).or_insert_with(|| route_to(remote).unwrap_or(listener.ip()));
        SocketAddr::new(ip, listener.port())
    }
}
