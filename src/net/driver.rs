//! The one task that owns the SIP user agent: receive, handle, drain, sleep.
//!
//! Events go to the switchboard over a bounded queue. When it is full the driver waits: it stops reading
//! sockets and timers then, peers retransmit, and nothing is lost or reordered. The switchboard must
//! therefore never wait for room in the queue of commands while events are unread: it reads events in
//! one task and sends commands from others (the calls).
//!
//! An ICMP report about a datagram of ours does not say on an unconnected socket which one it means, so
//! an unreachable UDP peer shows by the transaction's own timeout (timers B and F), not sooner.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

use super::counters::NetCounters;
use super::tcp::{ConnectionId, Connections, Limits, SendFailed};
use super::{Config, clock, tcp, udp};
use crate::sip::{Agent, Command, Event, Flow, Input, Output, Transport};

/// Messages the driver has not handled yet: at 50 us each, 50 ms of work.
const ARRIVALS: usize = 1_024;

/// The driver has ended: the server is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the SIP driver has ended")]
pub struct Stopped;

/// What sockets tell the driver.
#[derive(Debug)]
pub(super) enum Arrival {
    Message { flow: Flow, bytes: Bytes },
    Accepted { stream: TcpStream, remote: SocketAddr },
    Closed { flow: Flow, id: ConnectionId, opened: bool },
}

/// Why the driver woke.
enum Wake {
    Arrival(Arrival),
    Command(Command),
    Timer,
    Shutdown,
}

type Listeners = (Vec<(Arc<UdpSocket>, SocketAddr)>, Vec<(TcpListener, SocketAddr)>);

/// The user agent with its sockets.
pub(super) struct Driver {
    agent: Agent,
    udp: Vec<(Arc<UdpSocket>, SocketAddr)>,
    connections: Connections,
    counters: Arc<NetCounters>,
    events: mpsc::Sender<Event>,
    arrivals: mpsc::Receiver<Arrival>,
    /// For connections opened later.
    arrival_sender: mpsc::Sender<Arrival>,
    /// Flows that failed while outputs were drained: the agent learns of them afterwards.
    failed: Vec<Flow>,
}

impl Driver {
    pub(super) fn new(
        agent: Agent,
        config: Config,
        (udp, tcp): Listeners,
        counters: Arc<NetCounters>,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let (arrival_sender, arrivals) = mpsc::channel(ARRIVALS);
        for (socket, local) in &udp {
            let (socket, counters) = (Arc::clone(socket), Arc::clone(&counters));
            tokio::spawn(udp::read(socket, *local, arrival_sender.clone(), counters));
        }
        for (listener, _) in tcp {
            tokio::spawn(tcp::accept(listener, arrival_sender.clone()));
        }
        let connections = Connections::new(Limits {
            total: config.tcp_connections_max,
            per_ip: config.tcp_connections_per_ip_max,
            idle: config.tcp_idle,
            connect: config.tcp_connect_timeout,
        });
        let failed = Vec::new();
        Self { agent, udp, connections, counters, events, arrivals, arrival_sender, failed }
    }

    /// Runs until every handle is gone or nobody reads events.
    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let input = match self.wake(&mut commands).await {
                Wake::Shutdown => return,
                Wake::Timer => Input::Timeout,
                Wake::Command(command) => Input::Command(command),
                Wake::Arrival(arrival) => match self.arrived(arrival) {
                    Some(input) => input,
                    None => continue,
                },
            };
            self.agent.handle(clock::now(), input);
            if self.drain().await.is_err() {
                return;
            }
            // A failure can make the agent send again, over another flow that fails too; each dialog
            // gives up after a bounded number of tries, so this ends.
            while let Some(flow) = self.failed.pop() {
                self.agent.handle(clock::now(), Input::FlowFailed { flow });
                if self.drain().await.is_err() {
                    return;
                }
            }
        }
    }

    async fn wake(&mut self, commands: &mut mpsc::Receiver<Command>) -> Wake {
        let next = self.agent.next_wake();
        let timer = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Timers first: under a flood of packets, transactions still end in time.
            biased;
            () = timer => Wake::Timer,
            command = commands.recv() => command.map_or(Wake::Shutdown, Wake::Command),
            // `arrival_sender` lives as long as `self`: the queue never ends.
            arrival = self.arrivals.recv() => arrival.map_or(Wake::Shutdown, Wake::Arrival),
        }
    }

    fn arrived(&mut self, arrival: Arrival) -> Option<Input> {
        match arrival {
            Arrival::Message { flow, bytes } => {
                self.counters.count(|c| &c.received);
                Some(Input::Message { flow, bytes })
            }
            Arrival::Accepted { stream, remote } => {
                let taken = self.connections.accept(stream, remote, &self.arrival_sender);
                self.counters.count(|c| if taken { &c.tcp_accepted } else { &c.tcp_refused });
                None
            }
            Arrival::Closed { flow, id, opened } => {
                self.connections.remove(flow.remote, Some(id));
                if !opened {
                    self.counters.count(|c| &c.tcp_failed);
                }
                Some(Input::FlowFailed { flow })
            }
        }
    }

    async fn drain(&mut self) -> Result<(), Stopped> {
        while let Some(output) = self.agent.poll() {
            match output {
                Output::Transmit { flow, bytes } => self.transmit(flow, bytes),
                Output::Counted(reason) => self.counters.reason(reason),
                Output::Event(event) => match self.events.try_send(event) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(event)) => {
                        self.counters.count(|c| &c.event_waits);
                        self.events.send(event).await.map_err(|_| Stopped)?;
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => return Err(Stopped),
                },
            }
        }
        Ok(())
    }

    fn transmit(&mut self, flow: Flow, bytes: Bytes) {
        let sent = match flow.transport {
            Transport::Udp => self.transmit_udp(flow, &bytes),
            Transport::Tcp => match self.connections.send(flow, bytes, &self.arrival_sender) {
                Ok(()) => true,
                Err(SendFailed::Slow | SendFailed::Gone) => {
                    self.connections.remove(flow.remote, None);
                    false
                }
                Err(SendFailed::Limit) => false,
            },
        };
        if sent {
            self.counters.count(|c| &c.sent);
        } else {
            self.counters.count(|c| &c.send_failed);
            self.failed.push(flow);
        }
    }

    /// Sends at once or not at all. `false`: the network says that the peer cannot be reached.
    fn transmit_udp(&self, flow: Flow, bytes: &Bytes) -> bool {
        let exact = self.udp.iter().find(|(_, local)| *local == flow.local);
        let family = |local: &SocketAddr| local.is_ipv4() == flow.remote.is_ipv4();
        let socket = exact.or_else(|| self.udp.iter().find(|(_, local)| family(local)));
        let Some((socket, _)) = socket else { return false };
        // Straight to the kernel: tokio's own try would fail until its reactor has seen the socket once.
        match SockRef::from(&**socket).send_to(bytes, &flow.remote.into()) {
            Ok(_) => true,
            // A full socket buffer loses a datagram as the network does: it is retransmitted. So is one
            // in whose place the kernel reports an earlier datagram's refusal.
            Err(error) => {
                matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::ConnectionRefused
                )
            }
        }
    }
}
