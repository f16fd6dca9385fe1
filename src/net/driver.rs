//! The one task that owns the SIP user agent: receive, handle, drain, sleep.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use super::trace::{Passing, Trace};
use super::{clock, tcp};
use crate::sip::{self, Flow, Input, Output, PeerName, Transport};
use crate::telemetry::metrics::{self, Way};
use crate::types::SipWay;

/// What readers hand to the driver.
pub(super) enum Arrival {
    /// A whole message.
    Message { flow: Flow, bytes: Bytes },
    /// A connection was accepted.
    Connected { flow: Flow, queue: mpsc::Sender<Bytes> },
    /// A connection ended or could not be opened.
    Closed { flow: Flow },
    /// ICMP says that a datagram did not get to `remote`, and quotes its beginning.
    Undeliverable { remote: SocketAddr, quote: Bytes },
}

/// Messages handled before the driver lets other tasks run.
const BATCH: usize = 64;

pub(super) struct Driver {
    agent: sip::Agent,
    sockets: Vec<Arc<UdpSocket>>,
    connections: HashMap<Line, mpsc::Sender<Bytes>>,
    hub: tcp::Hub,
    trace: Trace,
    /// What came in and went out with the input that is being handled.
    passed: Vec<Passing>,
}

/// What makes two messages share a connection: protocol, the peer's address, and the name it proved.
type Line = (Transport, SocketAddr, PeerName);

fn line(flow: Flow) -> Line {
    (flow.transport, flow.remote, flow.name)
}

enum Wake {
    Arrival(Option<Arrival>),
    Command(Option<sip::Command>),
    Timer,
}

impl Driver {
    pub(super) fn new(
        agent: sip::Agent,
        sockets: Vec<Arc<UdpSocket>>,
        hub: tcp::Hub,
        trace: Trace,
    ) -> Self {
        let (connections, passed) = (HashMap::new(), Vec::new());
        Self { agent, sockets, connections, hub, trace, passed }
    }

    /// Runs until nobody holds a handle any more.
    pub(super) async fn run(
        mut self,
        mut arrivals: mpsc::Receiver<Arrival>,
        mut commands: mpsc::Receiver<sip::Command>,
        events: mpsc::Sender<sip::Event>,
    ) {
        let mut handled = 0;
        loop {
            let wake_at = self.agent.next_wake();
            let timer = async {
                match wake_at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let wake = tokio::select! {
                // Commands first: hanging up must work during a flood.
                biased;
                command = commands.recv() => Wake::Command(command),
                () = timer => Wake::Timer,
                arrival = arrivals.recv() => Wake::Arrival(arrival),
            };
            let input = match wake {
                Wake::Arrival(None) | Wake::Command(None) => return,
                Wake::Command(Some(command)) => Some(Input::Command(command)),
                Wake::Timer => Some(Input::Timeout),
                Wake::Arrival(Some(arrival)) => self.on_arrival(arrival),
            };
            if let Some(input) = input {
                self.agent.handle(clock::now(), input);
                if self.drain(&events).await.is_err() {
                    return;
                }
            }
            handled += 1;
            if handled % BATCH == 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    fn on_arrival(&mut self, arrival: Arrival) -> Option<Input> {
        match arrival {
            Arrival::Message { flow, bytes } => {
                if let Some(method) = method_of(&bytes) {
                    metrics::sip_request(method, Way::In);
                }
                self.pass(SipWay::Received, flow, &bytes);
                Some(Input::Message { flow, bytes })
            }
            Arrival::Connected { flow, queue } => {
                self.connections.insert(line(flow), queue);
                None
            }
            Arrival::Closed { flow } => {
                // A connection that was replaced by a newer one says nothing about the newer one.
                let open = self.connections.get(&line(flow));
                let gone = open.is_none_or(mpsc::Sender::is_closed);
                if gone {
                    self.connections.remove(&line(flow));
                }
                gone.then_some(Input::FlowFailed { flow })
            }
            Arrival::Undeliverable { remote, quote } => {
                Some(Input::Undeliverable { remote, quote })
            }
        }
    }

    async fn drain(&mut self, events: &mpsc::Sender<sip::Event>) -> Result<(), ()> {
        let mut over = Vec::new();
        while let Some(output) = self.agent.poll() {
            match output {
                Output::Transmit { flow, bytes } => {
                    self.pass(SipWay::Sent, flow, &bytes);
                    self.transmit(flow, bytes);
                }
                Output::Event(event) => {
                    match &event {
                        // Before anybody hears of the dialog and says whose it is.
                        sip::Event::Incoming { dialog, facts, .. } => {
                            self.trace.opened(*dialog, &facts.sip_call_id);
                        }
                        sip::Event::Terminated { dialog } | sip::Event::Failed { dialog, .. } => {
                            over.push(*dialog);
                        }
                        _ => {}
                    }
                    events.send(event).await.map_err(|_| ())?;
                }
                Output::Counted(reason) => metrics::sip_rejected(reason),
                // One line a source and minute: what fail2ban reads, documented in docs/operating.md.
                Output::Refused(sip::Notice { source, reason, refused }) => {
                    tracing::warn!(%source, reason, refused, "sip source refused");
                }
            }
        }
        self.trace.note(&mut self.passed);
        for dialog in over {
            self.trace.dialog_over(dialog);
        }
        Ok(())
    }

    fn pass(&mut self, way: SipWay, flow: Flow, bytes: &Bytes) {
        self.passed.push(Passing { way, flow, bytes: bytes.clone() });
    }

    fn transmit(&mut self, flow: Flow, bytes: Bytes) {
        if let Some(method) = method_of(&bytes) {
            metrics::sip_request(method, Way::Out);
        }
        match flow.transport {
            Transport::Udp => self.transmit_udp(flow, &bytes),
            Transport::Tcp | Transport::Tls => self.transmit_by_connection(flow, bytes),
        }
    }

    fn transmit_udp(&self, flow: Flow, bytes: &[u8]) {
        let of_flow = |socket: &&Arc<UdpSocket>| {
            socket.local_addr().is_ok_and(|local| {
                local.port() == flow.local.port()
                    && local.is_ipv4() == flow.remote.is_ipv4()
                    && (local.ip() == flow.local.ip() || local.ip().is_unspecified())
            })
        };
        let of_family = |socket: &&Arc<UdpSocket>| {
            socket.local_addr().is_ok_and(|local| local.is_ipv4() == flow.remote.is_ipv4())
        };
        let socket =
            self.sockets.iter().find(of_flow).or_else(|| self.sockets.iter().find(of_family));
        let Some(socket) = socket else {
            metrics::sip_rejected("no_udp_listener");
            return;
        };
        // An error that ICMP reported of another peer is told to whoever sends next, who tries again.
        let sent = socket.try_send_to(bytes, flow.remote).or_else(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => Err(error),
            _ => socket.try_send_to(bytes, flow.remote),
        });
        // A full socket buffer loses the datagram as the network would; SIP repeats it.
        if let Err(error) = sent {
            metrics::queue_full("sip_udp_send");
            tracing::debug!(%error, "failed to send a datagram");
        }
    }

    fn transmit_by_connection(&mut self, flow: Flow, bytes: Bytes) {
        let open = self.connections.get(&line(flow)).filter(|queue| !queue.is_closed());
        let queue = match open {
            Some(queue) => queue.clone(),
            None => {
                let queue = tcp::connect(flow, self.hub.clone());
                self.connections.insert(line(flow), queue.clone());
                queue
            }
        };
        if queue.try_send(bytes).is_err() {
            // The peer does not read: its connection is of no more use to anybody.
            metrics::queue_full("sip_tcp_write");
            self.connections.remove(&line(flow));
        }
    }
}

/// The method of a request, as a metric label; `None` for responses and what is neither.
fn method_of(bytes: &[u8]) -> Option<&'static str> {
    let token = bytes.split(|b| *b == b' ').next()?;
    Some(match token {
        b"INVITE" => "INVITE",
        b"ACK" => "ACK",
        b"BYE" => "BYE",
        b"CANCEL" => "CANCEL",
        b"OPTIONS" => "OPTIONS",
        b"REGISTER" => "REGISTER",
        b"INFO" => "INFO",
        b"UPDATE" => "UPDATE",
        b"PRACK" => "PRACK",
        b"REFER" => "REFER",
        b"NOTIFY" => "NOTIFY",
        b"SUBSCRIBE" => "SUBSCRIBE",
        b"MESSAGE" => "MESSAGE",
        b"PUBLISH" => "PUBLISH",
        other if other.starts_with(b"SIP/") => return None,
        _ => "other",
    })
}
