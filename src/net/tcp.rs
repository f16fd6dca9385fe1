//! SIP over TCP (RFC 3261 section 18.3): connections taken and opened, cut into messages by
//! [`crate::sip::stream::Framer`], kept while anything moves on them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::driver::Arrival;
use crate::sip::stream::{Framed, Framer, PONG};
use crate::sip::{Flow, Transport};

/// Messages a slow peer may leave unread before its connection is given up: all of one call's many times
/// over.
const WRITE_QUEUE: usize = 256;
/// Read from a connection at once.
const READ_BYTES: usize = 8 * 1024;
/// A peer that does not read for this long is gone: timer B would have ended its transactions.
const WRITE_TIMEOUT: Duration = Duration::from_secs(32);
/// Connections that may wait to be taken.
const BACKLOG: i32 = 256;

/// Binds an address.
pub(super) fn bind(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the kernel to forget the last connections.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from_std(socket.into())?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// Takes connections until the driver is gone.
pub(super) async fn accept(listener: TcpListener, arrivals: mpsc::Sender<Arrival>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = arrivals.closed() => return,
        };
        match accepted {
            Ok((stream, remote)) => {
                if arrivals.send(Arrival::Accepted { stream, remote }).await.is_err() {
                    return;
                }
            }
            // No descriptors left, or the peer is gone already: others may still get through, but
            // asking at once again would spin.
            Err(error) => {
                tracing::warn!(%error, "take a SIP connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// A connection's number: addresses may come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ConnectionId(u64);

/// The connections of the driver.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    last: u64,
    by_remote: HashMap<SocketAddr, Connection>,
    per_ip: HashMap<IpAddr, usize>,
}

/// Bounds on connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) total: usize,
    pub(super) per_ip: usize,
    pub(super) idle: Duration,
    pub(super) connect: Duration,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    writes: mpsc::Sender<Bytes>,
}

/// Why a message cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendFailed {
    /// Too many connections, of all or with this peer.
    Limit,
    /// The peer does not read.
    Slow,
    /// The connection has just ended.
    Gone,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, last: 0, by_remote: HashMap::new(), per_ip: HashMap::new() }
    }

    /// Takes an accepted connection over; `false` if a limit is reached (it is closed then).
    pub(super) fn accept(
        &mut self,
        stream: TcpStream,
        remote: SocketAddr,
        arrivals: &mpsc::Sender<Arrival>,
    ) -> bool {
        let Ok(local) = stream.local_addr() else { return false };
        let Some((id, writes)) = self.enter(remote) else { return false };
        let flow = Flow { transport: Transport::Tcp, local, remote };
        tokio::spawn(serve(stream, flow, id, writes, (arrivals.clone(), self.limits.idle)));
        true
    }

    /// Sends a message, over a new connection if there is none.
    pub(super) fn send(
        &mut self,
        flow: Flow,
        bytes: Bytes,
        arrivals: &mpsc::Sender<Arrival>,
    ) -> Result<(), SendFailed> {
        if !self.by_remote.contains_key(&flow.remote) {
            let (id, writes) = self.enter(flow.remote).ok_or(SendFailed::Limit)?;
            tokio::spawn(connect(flow, id, writes, arrivals.clone(), self.limits));
        }
        let connection = self.by_remote.get(&flow.remote).ok_or(SendFailed::Gone)?;
        connection.writes.try_send(bytes).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => SendFailed::Slow,
            mpsc::error::TrySendError::Closed(_) => SendFailed::Gone,
        })
    }

    /// Forgets a connection that ended (or is given up: its task ends when its queue is dropped).
    pub(super) fn remove(&mut self, remote: SocketAddr, id: Option<ConnectionId>) {
        let known = self.by_remote.get(&remote).map(|connection| connection.id);
        if known.is_none() || id.is_some_and(|id| Some(id) != known) {
            return;
        }
        self.by_remote.remove(&remote);
        if let Some(count) = self.per_ip.get_mut(&remote.ip()) {
            *count -= 1;
            if *count == 0 {
                self.per_ip.remove(&remote.ip());
            }
        }
    }

    fn enter(&mut self, remote: SocketAddr) -> Option<(ConnectionId, mpsc::Receiver<Bytes>)> {
        let of_ip = self.per_ip.get(&remote.ip()).copied().unwrap_or(0);
        let known = self.by_remote.contains_key(&remote);
        if known || self.by_remote.len() >= self.limits.total || of_ip >= self.limits.per_ip {
            return None;
        }
        self.last += 1;
        let id = ConnectionId(self.last);
        let (sender, writes) = mpsc::channel(WRITE_QUEUE);
        self.by_remote.insert(remote, Connection { id, writes: sender });
        *self.per_ip.entry(remote.ip()).or_default() += 1;
        Some((id, writes))
    }
}

async fn connect(
    flow: Flow,
    id: ConnectionId,
    writes: mpsc::Receiver<Bytes>,
    arrivals: mpsc::Sender<Arrival>,
    limits: Limits,
) {
    let opened = tokio::time::timeout(limits.connect, TcpStream::connect(flow.remote)).await;
    match opened {
        Ok(Ok(stream)) => serve(stream, flow, id, writes, (arrivals, limits.idle)).await,
        Ok(Err(_)) | Err(_) => {
            let _ = arrivals.send(Arrival::Closed { flow, id, opened: false }).await;
        }
    }
}

/// Reads and writes one connection until it ends, then says so.
async fn serve(
    stream: TcpStream,
    flow: Flow,
    id: ConnectionId,
    writes: mpsc::Receiver<Bytes>,
    (arrivals, idle): (mpsc::Sender<Arrival>, Duration),
) {
    // Messages are whole when written: waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    let why = carry(stream, flow, writes, &arrivals, idle).await;
    tracing::debug!(remote = %flow.remote, why, "SIP connection ended");
    let _ = arrivals.send(Arrival::Closed { flow, id, opened: true }).await;
}

async fn carry(
    mut stream: TcpStream,
    flow: Flow,
    mut writes: mpsc::Receiver<Bytes>,
    arrivals: &mpsc::Sender<Arrival>,
    idle: Duration,
) -> &'static str {
    let mut framer = Framer::new();
    let mut buffer = vec![0u8; READ_BYTES];
    loop {
        let out = tokio::select! {
            read = stream.read(&mut buffer) => {
                let len = match read {
                    Ok(0) => return "closed by the peer",
                    Ok(len) => len,
                    Err(_) => return "reset",
                };
                framer.push(buffer.get(..len).unwrap_or(&[]));
                match take(&mut framer, flow, arrivals).await {
                    Ok(None) => continue,
                    Ok(Some(pong)) => pong,
                    Err(why) => return why,
                }
            }
            message = writes.recv() => match message {
                Some(message) => message,
                None => return "given up by us",
            },
            () = tokio::time::sleep(idle) => return "idle",
        };
        match tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(&out)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return "reset",
            Err(_) => return "the peer does not read",
        }
    }
}

/// Passes on every whole message; waits when the driver is behind, which slows this peer alone.
async fn take(
    framer: &mut Framer,
    flow: Flow,
    arrivals: &mpsc::Sender<Arrival>,
) -> Result<Option<Bytes>, &'static str> {
    let mut pong = None;
    loop {
        match framer.next() {
            Ok(None) => return Ok(pong),
            // However many keep-alives came at once, one answer says that we are there.
            Ok(Some(Framed::Ping)) => pong = Some(Bytes::from_static(PONG)),
            Ok(Some(Framed::Message(bytes))) => {
                let sent = arrivals.send(Arrival::Message { flow, bytes }).await;
                sent.map_err(|_| "the driver ended")?;
            }
            Err(_) => return Err("not SIP"),
        }
    }
}
