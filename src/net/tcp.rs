//! SIP over connections, TCP and TLS: listeners, both ways of opening one, framing, keep-alives, limits.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::driver::Arrival;
use super::tls::Tls;
use super::{StartError, qos};
use crate::net::clock;
use crate::sip::stream::{Framed, Framer, PING, PONG};
use crate::sip::{Flow, Transport};
use crate::telemetry::metrics;

/// Accepted connections at once. Each holds a descriptor and up to 128 kB of unfinished message.
const CONNECTIONS_MAX: usize = 1_024;

/// Accepted connections of one address: a carrier opens a handful, a slow-loris attack hundreds.
const CONNECTIONS_PER_IP_MAX: usize = 64;

/// Messages that may wait to be written: a peer that does not read loses its connection.
const WRITE_QUEUE: usize = 256;

/// A connection that carried nothing for this long is closed; keep-alives count.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// An unfinished message must be finished within this time.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Time to open a connection; below timer B, so that the transaction learns why it failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const READ_BUFFER_BYTES: usize = 4 * 1024;

/// A handshake must be finished within this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Between two keep-alives on a connection that we opened and that carries nothing else: RFC 5626 section 4.4.1 has
/// 95 to 120 s, firewalls forget from 180 s on.
const PING_INTERVAL: Duration = Duration::from_secs(100);

pub(super) fn bind(
    address: SocketAddr,
    transport: Transport,
    dscp: u8,
) -> Result<TcpListener, StartError> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        if address.is_ipv6() {
            SockRef::from(&socket).set_only_v6(true)?;
        }
        qos::mark(&SockRef::from(&socket), address.is_ipv4(), dscp);
        socket.bind(address)?;
        socket.listen(1_024)
    };
    let setting = if transport == Transport::Tls { "sip.listen_tls" } else { "sip.listen_tcp" };
    let transport = transport.as_str();
    open().map_err(|source| StartError::Listen { transport, address, setting, source })
}

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Hub {
    pub(super) arrivals: mpsc::Sender<Arrival>,
    pub(super) census: Arc<Mutex<Census>>,
    pub(super) tls: Arc<Tls>,
    pub(super) dscp: u8,
}

/// Accepted connections of all listeners, counted by address.
#[derive(Default)]
pub(super) struct Census {
    total: usize,
    by_ip: HashMap<IpAddr, usize>,
}

struct Seat {
    ip: IpAddr,
    census: Arc<Mutex<Census>>,
}

impl Seat {
    fn take(census: &Arc<Mutex<Census>>, ip: IpAddr) -> Option<Self> {
        let mut counts = census.lock().unwrap_or_else(PoisonError::into_inner);
        let of_ip = counts.by_ip.get(&ip).copied().unwrap_or(0);
        if counts.total >= CONNECTIONS_MAX || of_ip >= CONNECTIONS_PER_IP_MAX {
            return None;
        }
        counts.total += 1;
        counts.by_ip.insert(ip, of_ip + 1);
        Some(Self { ip, census: Arc::clone(census) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.census.lock().unwrap_or_else(PoisonError::into_inner);
        counts.total = counts.total.saturating_sub(1);
        if let Some(of_ip) = counts.by_ip.get_mut(&self.ip) {
            *of_ip = of_ip.saturating_sub(1);
            if *of_ip == 0 {
                counts.by_ip.remove(&self.ip);
            }
        }
    }
}

/// How long a broken stream may still get its answers, and then to see that it was closed. An answer takes
/// a few milliseconds; a peer that goes on sending holds its place twice as long as this.
const LINGER: Duration = Duration::from_millis(200);
/// Octets of a broken stream that are read meanwhile.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// Accepts until the driver is gone.
pub(super) async fn accept(listener: TcpListener, transport: Transport, hub: Hub) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => match Seat::take(&hub.census, remote.ip()) {
                    Some(seat) => {
                        let hub = hub.clone();
                        tokio::spawn(async move {
                            welcome(stream, transport, remote, &hub).await;
                            drop(seat);
                        });
                    }
                    None => metrics::sip_rejected(match transport {
                        Transport::Tls => "tls_connections",
                        Transport::Udp | Transport::Tcp => "tcp_connections",
                    }),
                },
                Err(error) => {
                    // Out of descriptors: accepting again at once would spin.
                    tracing::warn!(%error, "failed to accept a SIP connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = hub.arrivals.closed() => return,
        }
    }
}

/// Serves a connection that was accepted.
async fn welcome(stream: TcpStream, transport: Transport, remote: SocketAddr, hub: &Hub) {
    let Ok(local) = stream.local_addr() else { return };
    // SIP messages are small and wait for answers.
    let _ = stream.set_nodelay(true);
    let flow = Flow::new(transport, local, remote);
    if transport != Transport::Tls {
        let outgoing = register(&hub.arrivals, flow).await;
        return serve(stream, flow, Opened::ByThem, &hub.arrivals, outgoing).await;
    }
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, hub.tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let outgoing = register(&hub.arrivals, flow).await;
            serve(stream, flow, Opened::ByThem, &hub.arrivals, outgoing).await;
        }
        Ok(Err(error)) => {
            metrics::sip_rejected("tls_handshake");
            tracing::info!(source = %remote, %error, "TLS handshake failed");
        }
        Err(_) => metrics::sip_rejected("tls_handshake"),
    }
}

/// Makes the connection known to the driver, so that responses and requests in dialogs use it.
async fn register(arrivals: &mpsc::Sender<Arrival>, flow: Flow) -> mpsc::Receiver<Bytes> {
    let (queue, outgoing) = mpsc::channel(WRITE_QUEUE);
    // A driver that is gone needs no connections.
    let _ = arrivals.send(Arrival::Connected { flow, queue }).await;
    outgoing
}

/// Opens a connection and serves it; failure is told to the driver.
pub(super) fn connect(flow: Flow, hub: Hub) -> mpsc::Sender<Bytes> {
    let (queue, outgoing) = mpsc::channel(WRITE_QUEUE);
    tokio::spawn(async move {
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, open(flow, hub.dscp)).await {
            Ok(Ok(stream)) => stream,
            _ => return closed(&hub.arrivals, flow).await,
        };
        let opened = Flow { local: stream.local_addr().unwrap_or(flow.local), ..flow };
        if flow.transport != Transport::Tls {
            return serve(stream, opened, Opened::ByUs, &hub.arrivals, outgoing).await;
        }
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, hub.tls.connect(stream, flow)).await {
            Ok(Ok(stream)) => serve(stream, opened, Opened::ByUs, &hub.arrivals, outgoing).await,
            Ok(Err(error)) => {
                metrics::sip_rejected("tls_handshake");
                tracing::warn!(peer = %flow.remote, %error, "TLS handshake failed");
                closed(&hub.arrivals, flow).await;
            }
            Err(_) => {
                metrics::sip_rejected("tls_handshake");
                closed(&hub.arrivals, flow).await;
            }
        }
    });
    queue
}

/// A connection from the listener's own address, where it has one: peers tell us by it.
async fn open(flow: Flow, dscp: u8) -> std::io::Result<TcpStream> {
    let is_ipv4 = flow.remote.is_ipv4();
    let socket = if is_ipv4 { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    qos::mark(&SockRef::from(&socket), is_ipv4, dscp);
    let local = flow.local.ip();
    if !local.is_unspecified() && local.is_ipv4() == is_ipv4 {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let stream = socket.connect(flow.remote).await?;
    let _ = stream.set_nodelay(true);
    // A peer that is gone without a word is noticed at last.
    let _ = SockRef::from(&stream).set_keepalive(true);
    Ok(stream)
}

async fn closed(arrivals: &mpsc::Sender<Arrival>, flow: Flow) {
    let _ = arrivals.send(Arrival::Closed { flow }).await;
}

/// Who opened a connection, and so keeps it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opened {
    ByThem,
    ByUs,
}

/// Reads and writes one connection until either side ends it.
async fn serve<S: AsyncRead + AsyncWrite>(
    stream: S,
    flow: Flow,
    opened: Opened,
    arrivals: &mpsc::Sender<Arrival>,
    mut outgoing: mpsc::Receiver<Bytes>,
) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut framer = Framer::new();
    let mut buffer = [0u8; READ_BUFFER_BYTES];
    let mut unfinished_since: Option<std::time::Instant> = None;
    let mut heard = clock::now();
    let mut ping_at = clock::now() + PING_INTERVAL;
    loop {
        let limit = unfinished_since.map_or(heard + IDLE_TIMEOUT, |since| since + MESSAGE_TIMEOUT);
        tokio::select! {
            read = reader.read(&mut buffer) => {
                let Ok(len @ 1..) = read else { break };
                heard = clock::now();
                framer.push(buffer.get(..len).unwrap_or_default());
                match deliver(&mut framer, flow, arrivals).await {
                    Ok(Pings(0)) => {}
                    Ok(Pings(_)) => {
                        if write(&mut writer, PONG).await.is_err() {
                            break;
                        }
                    }
                    Err(Broken) => {
                        linger(&mut reader, &mut writer, &mut outgoing).await;
                        break;
                    }
                }
                unfinished_since = if framer.is_empty() {
                    None
                } else {
                    unfinished_since.or_else(|| Some(clock::now()))
                };
            }
            message = outgoing.recv() => {
                let Some(message) = message else { break };
                if write(&mut writer, &message).await.is_err() {
                    break;
                }
                ping_at = clock::now() + PING_INTERVAL;
            }
            () = tokio::time::sleep_until(ping_at.into()), if opened == Opened::ByUs => {
                if write(&mut writer, PING).await.is_err() {
                    break;
                }
                ping_at = clock::now() + PING_INTERVAL;
            }
            () = tokio::time::sleep_until(limit.into()) => break,
        }
    }
    closed(arrivals, flow).await;
}

/// Writes all of it and sends it off, in time.
async fn write<W: AsyncWrite + Unpin>(writer: &mut W, octets: &[u8]) -> Result<(), Broken> {
    let written = async {
        writer.write_all(octets).await?;
        writer.flush().await
    };
    match tokio::time::timeout(MESSAGE_TIMEOUT, written).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Broken),
    }
}

/// The stream has lost its framing: nothing after it can be trusted, but what was whole before it is still
/// answered. What comes meanwhile is thrown away: closing a socket with unread octets resets the
/// connection, and the peer would lose the answers that are on their way.
async fn linger<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    reader: &mut R,
    writer: &mut W,
    outgoing: &mut mpsc::Receiver<Bytes>,
) {
    let mut buffer = [0u8; READ_BUFFER_BYTES];
    let answers = async {
        while let Some(message) = outgoing.recv().await {
            if write(writer, &message).await.is_err() {
                return;
            }
        }
    };
    let waste = async {
        let mut octets = 0;
        while let Ok(len @ 1..) = reader.read(&mut buffer).await {
            octets += len;
            if octets > LINGER_BYTES_MAX {
                break;
            }
        }
    };
    // Neither's end is the other's: who has said all may still listen.
    let both = async { tokio::join!(answers, waste) };
    let _ = tokio::time::timeout(LINGER, both).await;
    // The peer may be gone already.
    let _ = writer.shutdown().await;
    let rest = async { while let Ok(1..) = reader.read(&mut buffer).await {} };
    let _ = tokio::time::timeout(LINGER, rest).await;
}

struct Pings(u32);
struct Broken;

/// Hands on every whole message.
async fn deliver(
    framer: &mut Framer,
    flow: Flow,
    arrivals: &mpsc::Sender<Arrival>,
) -> Result<Pings, Broken> {
    let mut pings = 0;
    loop {
        match framer.next() {
            Ok(Some(Framed::Message(bytes))) => {
                // Back-pressure: a stream waits where a datagram is dropped.
                arrivals.send(Arrival::Message { flow, bytes }).await.map_err(|_| Broken)?;
            }
            Ok(Some(Framed::Ping)) => pings += 1,
            Ok(None) => return Ok(Pings(pings)),
            Err(error) => {
                metrics::sip_rejected(match flow.transport {
                    Transport::Tls => "tls_framing",
                    Transport::Udp | Transport::Tcp => "tcp_framing",
                });
                tracing::info!(source = %flow.remote, %error, "connection closed");
                return Err(Broken);
            }
        }
    }
}
