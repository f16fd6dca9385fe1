//! SIP over UDP: one socket an address, read by a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::counters::NetCounters;
use super::driver::Arrival;
use crate::sip::{Flow, Transport};

/// The largest datagram UDP can carry.
const DATAGRAM_BYTES_MAX: usize = 65_535;
/// A burst of calls after an outage waits here rather than being lost: 2 MB hold some 1,500 INVITEs.
const RECEIVE_BUFFER_BYTES: usize = 2 * 1024 * 1024;
/// Class selector 3, DSCP 24, for signalling (RFC 4594), in the upper six bits of the TOS octet.
const TOS_SIGNALLING: u32 = 24 << 2;

/// Binds an address.
pub(super) fn bind(address: SocketAddr) -> std::io::Result<(Arc<UdpSocket>, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Both are wishes: a container may forbid them, and calls work without.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    let _ = match address {
        SocketAddr::V4(_) => socket.set_tos_v4(TOS_SIGNALLING),
        SocketAddr::V6(_) => socket.set_tclass_v6(TOS_SIGNALLING),
    };
    socket.bind(&SockAddr::from(address))?;
    let socket = UdpSocket::from_std(socket.into())?;
    let local = socket.local_addr()?;
    Ok((Arc::new(socket), local))
}

/// Reads until the driver is gone. A datagram that finds the queue full is dropped: the sender repeats
/// it, and waiting would only fill the kernel's buffer with requests nobody waits for any more.
pub(super) async fn read(
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    arrivals: mpsc::Sender<Arrival>,
    counters: Arc<NetCounters>,
) {
    let mut buffer = vec![0u8; DATAGRAM_BYTES_MAX];
    loop {
        let (len, remote) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                // A report about an earlier datagram of ours; it does not say which.
                Err(_) => {
                    counters.count(|c| &c.icmp_errors);
                    continue;
                }
            },
            () = arrivals.closed() => return,
        };
        let Some(datagram) = buffer.get(..len) else { continue };
        let flow = Flow { transport: Transport::Udp, local, remote };
        let arrival = Arrival::Message { flow, bytes: Bytes::copy_from_slice(datagram) };
        if arrivals.try_send(arrival).is_err() {
            counters.count(|c| &c.receive_queue_full);
        }
    }
}
