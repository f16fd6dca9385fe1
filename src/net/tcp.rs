//! SIP over TCP: listeners, connections both ways, framing, keep-alives, limits.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::StartError;
use super::driver::Arrival;
use crate::net::clock;
use crate::sip::stream::{Framed, Framer, PONG};
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

pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(1_024)
    };
    open().map_err(|source| StartError::Listen {
        transport: "tcp",
        address,
        setting: "sip.listen_tcp",
        source,
    })
}

/// Accepted connections, counted by address.
#[derive(Default)]
struct Census {
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
pub(super) async fn accept(listener: TcpListener, arrivals: mpsc::Sender<Arrival>) {
    let census = Arc::new(Mutex::new(Census::default()));
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => match Seat::take(&census, remote.ip()) {
                    Some(seat) => {
                        let arrivals = arrivals.clone();
                        tokio::spawn(async move {
                            let (_queue, outgoing) = register(&arrivals, remote).await;
                            serve(stream, remote, arrivals, outgoing).await;
                            drop(seat);
                        });
                    }
                    None => metrics::sip_rejected("tcp_connections"),
                },
                Err(error) => {
                    // Out of descriptors: accepting again at once would spin.
                    tracing::warn!(%error, "failed to accept a SIP connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            () = arrivals.closed() => return,
        }
    }
}

/// Makes the connection known to the driver, so that responses and requests in dialogs use it.
async fn register(
    arrivals: &mpsc::Sender<Arrival>,
    remote: SocketAddr,
) -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
    let (queue, outgoing) = mpsc::channel(WRITE_QUEUE);
    // A driver that is gone needs no connections.
    let _ = arrivals.send(Arrival::Connected { remote, queue: queue.clone() }).await;
    (queue, outgoing)
}

/// Opens a connection and serves it; failure is told to the driver.
pub(super) fn connect(
    local: SocketAddr,
    remote: SocketAddr,
    arrivals: mpsc::Sender<Arrival>,
) -> mpsc::Sender<Bytes> {
    let (queue, outgoing) = mpsc::channel(WRITE_QUEUE);
    tokio::spawn(async move {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(remote)).await {
            Ok(Ok(stream)) => serve(stream, remote, arrivals, outgoing).await,
            _ => closed(&arrivals, local, remote).await,
        }
    });
    queue
}

async fn closed(arrivals: &mpsc::Sender<Arrival>, local: SocketAddr, remote: SocketAddr) {
    let flow = Flow { transport: Transport::Tcp, local, remote };
    let _ = arrivals.send(Arrival::Closed { flow }).await;
}

/// Reads and writes one connection until either side ends it.
async fn serve(
    stream: TcpStream,
    remote: SocketAddr,
    arrivals: mpsc::Sender<Arrival>,
    mut outgoing: mpsc::Receiver<Bytes>,
) {
    let Ok(local) = stream.local_addr() else { return };
    // SIP messages are small and wait for answers.
    let _ = stream.set_nodelay(true);
    let flow = Flow { transport: Transport::Tcp, local, remote };
    let (mut reader, mut writer) = stream.into_split();
    let mut framer = Framer::new();
    let mut buffer = [0u8; READ_BUFFER_BYTES];
    let mut unfinished_since: Option<std::time::Instant> = None;
    loop {
        let limit = unfinished_since
            .map_or_else(|| clock::now() + IDLE_TIMEOUT, |since| since + MESSAGE_TIMEOUT);
        tokio::select! {
            read = reader.read(&mut buffer) => {
                let Ok(len @ 1..) = read else { break };
                framer.push(buffer.get(..len).unwrap_or_default());
                match deliver(&mut framer, flow, &arrivals).await {
                    Ok(Pings(0)) => {}
                    Ok(Pings(_)) => {
                        if writer.write_all(PONG).await.is_err() {
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
                let written = tokio::time::timeout(MESSAGE_TIMEOUT, writer.write_all(&message));
                if !matches!(written.await, Ok(Ok(()))) {
                    break;
                }
            }
            () = tokio::time::sleep_until(limit.into()) => break,
        }
    }
    closed(&arrivals, local, remote).await;
}

/// The stream has lost its framing: nothing after it can be trusted, but what was whole before it is still
/// answered. What comes meanwhile is thrown away: closing a socket with unread octets resets the
/// connection, and the peer would lose the answers that are on their way.
async fn linger(
    reader: &mut OwnedReadHalf,
    writer: &mut OwnedWriteHalf,
    outgoing: &mut mpsc::Receiver<Bytes>,
) {
    let mut buffer = [0u8; READ_BUFFER_BYTES];
    let answers = async {
        while let Some(message) = outgoing.recv().await {
            if writer.write_all(&message).await.is_err() {
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
                metrics::sip_rejected("tcp_framing");
                tracing::info!(source = %flow.remote, %error, "connection closed");
                return Err(Broken);
            }
        }
    }
}
