//! Gate: sockets, the SIP driver task and the clock.
//!
//! The driver ([`driver`]) is dull on purpose: it receives, hands to [`crate::sip::Agent`], does what
//! comes out and sleeps until the agent's next wake. What it listens on is [`udp`] and [`tcp`]; names
//! become addresses in [`resolve`]; [`clock`] is the process's only clock.

pub mod clock;
pub mod counters;
pub mod driver;
pub mod resolve;
pub mod tcp;
pub mod udp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

pub use counters::{NetCounters, NetSnapshot};
pub use driver::Stopped;

use crate::sip;
use crate::types::Entropy;

/// Commands on their way to the driver. It handles each in microseconds, so that this fills only when
/// the machine hangs; senders then wait.
const COMMANDS: usize = 1_024;
/// Events on their way to the switchboard; see [`driver`] for what happens when it does not read.
const EVENTS: usize = 1_024;

/// Where to listen.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses for SIP over UDP.
    pub udp: Vec<SocketAddr>,
    /// Addresses for SIP over TCP.
    pub tcp: Vec<SocketAddr>,
    /// TCP connections at once, both directions.
    pub tcp_connections_max: usize,
    /// TCP connections from one address at once: a trunk needs a few.
    pub tcp_connections_per_ip_max: usize,
    /// A TCP connection without traffic is closed after this long. Peers send keep-alives every 30 to
    /// 120 s; calls are longer than that without a message, so it must exceed session refreshes.
    pub tcp_idle: Duration,
    /// An outgoing TCP connection must be there by then: below timer B, so that the call can still fail
    /// over.
    pub tcp_connect_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let any = SocketAddr::from(([0, 0, 0, 0], 5060));
        Self {
            udp: vec![any],
            tcp: vec![any],
            tcp_connections_max: 1_024,
            tcp_connections_per_ip_max: 64,
            tcp_idle: Duration::from_secs(3_700),
            tcp_connect_timeout: Duration::from_secs(5),
        }
    }
}

/// Why SIP cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be bound.
    #[error("listen for SIP on {address} ({setting}){}", in_use_hint(source))]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// The setting it comes from.
        setting: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// Neither UDP nor TCP is configured.
    #[error("listen for SIP: neither `sip.udp` nor `sip.tcp` names an address")]
    NoListener,
}

fn in_use_hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => ": another program uses this port",
        std::io::ErrorKind::PermissionDenied => ": not permitted",
        std::io::ErrorKind::AddrNotAvailable => ": this machine does not have the address",
        _ => "",
    }
}

/// The running SIP endpoint. The driver ends when the last handle is gone.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<sip::Command>,
    counters: Arc<NetCounters>,
    udp: Arc<[SocketAddr]>,
    tcp: Arc<[SocketAddr]>,
}

impl Handle {
    /// Hands a command to the user agent; what becomes of it is told by events.
    ///
    /// # Errors
    /// When the driver has ended.
    pub async fn command(&self, command: sip::Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }

    /// What was counted.
    pub fn counters(&self) -> NetSnapshot {
        self.counters.snapshot()
    }

    /// Addresses we listen on for UDP, with the ports the system chose for 0.
    pub fn udp(&self) -> &[SocketAddr] {
        &self.udp
    }

    /// Addresses we listen on for TCP, with the ports the system chose for 0.
    pub fn tcp(&self) -> &[SocketAddr] {
        &self.tcp
    }
}

/// Binds every address and starts the driver. Must be called inside a runtime.
///
/// # Errors
/// When an address cannot be bound; nothing is left running then.
pub fn start(
    config: Config,
    sip: sip::Config,
    entropy: Entropy,
) -> Result<(Handle, mpsc::Receiver<sip::Event>), StartError> {
    if config.udp.is_empty() && config.tcp.is_empty() {
        return Err(StartError::NoListener);
    }
    let bind = |setting| move |(address, source)| StartError::Bind { address, setting, source };
    let udp = config.udp.iter().map(|at| udp::bind(*at).map_err(|error| (*at, error)));
    let udp: Vec<_> = udp.collect::<Result<_, _>>().map_err(bind("`sip.udp`"))?;
    let tcp = config.tcp.iter().map(|at| tcp::bind(*at).map_err(|error| (*at, error)));
    let tcp: Vec<_> = tcp.collect::<Result<_, _>>().map_err(bind("`sip.tcp`"))?;
    let counters = Arc::new(NetCounters::default());
    let (commands, command_queue) = mpsc::channel(COMMANDS);
    let (event_queue, events) = mpsc::channel(EVENTS);
    let handle = Handle {
        commands,
        counters: Arc::clone(&counters),
        udp: udp.iter().map(|(_, address)| *address).collect(),
        tcp: tcp.iter().map(|(_, address)| *address).collect(),
    };
    let agent = sip::Agent::new(sip, entropy);
    let driver = driver::Driver::new(agent, config, (udp, tcp), counters, event_queue);
    tokio::spawn(driver.run(command_queue));
    Ok((handle, events))
}

#[cfg(test)]
mod tests;
