//! Gate: sockets, the SIP driver task and the clock.
//!
//! One task, [`driver`], owns the SIP user agent; readers hand it what arrives, everybody else talks to
//! it through [`Handle`]. What a message means is `sip`'s business; media sockets are `engine`'s.

pub mod clock;
mod driver;
pub mod resolve;
mod tcp;
pub mod trace;
mod udp;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::sip::{self, Transport};
use crate::types::Entropy;

/// Messages that may wait for the user agent: a flood beyond is dropped and counted, as a full
/// socket buffer would.
pub(crate) const ARRIVAL_QUEUE: usize = 4_096;

/// Commands that may wait for the user agent: every call may have a few.
pub const COMMAND_QUEUE: usize = 4_096;

/// Events that may wait for the switchboard, which never waits itself.
pub const EVENT_QUEUE: usize = 4_096;

/// Where the server listens for SIP.
#[derive(Clone, Debug)]
pub struct Config {
    /// UDP addresses.
    pub udp: Vec<SocketAddr>,
    /// TCP addresses.
    pub tcp: Vec<SocketAddr>,
}

/// Why the sockets can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address of the configuration can't be listened on.
    #[error("listen on {transport} {address} (setting `{setting}`)")]
    Listen {
        /// `udp` or `tcp`.
        transport: &'static str,
        /// Which.
        address: SocketAddr,
        /// Key of the setting.
        setting: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The driver takes no commands: it is gone, or [`COMMAND_QUEUE`] of them wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the SIP driver takes no commands")]
pub struct Refused;

/// To the user agent.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<sip::Command>,
    udp: Arc<[SocketAddr]>,
    tcp: Arc<[SocketAddr]>,
    trace: trace::Trace,
}

impl Handle {
    /// The messages of live calls.
    pub fn trace(&self) -> &trace::Trace {
        &self.trace
    }

    /// Asks the user agent for something.
    ///
    /// # Errors
    /// When the driver is gone or hopelessly behind.
    pub fn command(&self, command: sip::Command) -> Result<(), Refused> {
        self.commands.try_send(command).map_err(|_| Refused)
    }

    /// Datagrams that were lost before anybody could look at them, since the start.
    pub fn datagrams_dropped(&self) -> u64 {
        udp::dropped(&self.udp)
    }

    /// Addresses the server listens on, with the ports it really got.
    pub fn listeners(&self, transport: Transport) -> &[SocketAddr] {
        match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
        }
    }

    /// Our address on the way to `remote`: the listener of its family, with a real address where the
    /// listener has a wildcard. For TCP the port is 0: connections take any.
    pub fn local_addr(&self, transport: Transport, remote: IpAddr) -> Option<SocketAddr> {
        let listener =
            self.listeners(transport).iter().find(|local| local.is_ipv4() == remote.is_ipv4());
        let ip = match listener {
            Some(local) if !local.ip().is_unspecified() => local.ip(),
            _ => udp::route_to(remote)?,
        };
        match transport {
            Transport::Udp => Some(SocketAddr::new(ip, listener?.port())),
            Transport::Tcp => Some(SocketAddr::new(ip, 0)),
        }
    }
}

/// Opens the sockets and starts the driver.
///
/// # Errors
/// When an address can't be listened on; then nothing is left open.
pub async fn start(
    config: &Config,
    mut agent: sip::Config,
    entropy: Entropy,
) -> Result<(Handle, mpsc::Receiver<sip::Event>), StartError> {
    let mut sockets = Vec::new();
    for address in &config.udp {
        sockets.push(udp::bind(*address)?);
    }
    let mut listeners = Vec::new();
    for address in &config.tcp {
        listeners.push(tcp::bind(*address).await?);
    }
    let udp: Arc<[SocketAddr]> = sockets.iter().filter_map(|s| s.local_addr().ok()).collect();
    let tcp: Arc<[SocketAddr]> = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
    if agent.advertised_tcp.is_none() {
        agent.advertised_tcp = tcp.first().and_then(|local| reachable(*local));
    }
    let (arrivals_tx, arrivals) = mpsc::channel(ARRIVAL_QUEUE);
    let (commands_tx, commands) = mpsc::channel(COMMAND_QUEUE);
    let (events_tx, events) = mpsc::channel(EVENT_QUEUE);
    let sockets: Vec<Arc<tokio::net::UdpSocket>> = sockets.into_iter().map(Arc::new).collect();
    for socket in &sockets {
        // Until the kernel has said once that a socket takes datagrams, the first answer would be lost.
        let _ = socket.writable().await;
        tokio::spawn(udp::read(Arc::clone(socket), arrivals_tx.clone()));
    }
    for listener in listeners {
        tokio::spawn(tcp::accept(listener, arrivals_tx.clone()));
    }
    let trace = trace::Trace::default();
    let agent = sip::Agent::new(agent, entropy);
    let driver = driver::Driver::new(agent, sockets, arrivals_tx, trace.clone());
    tokio::spawn(driver.run(arrivals, commands, events_tx));
    Ok((Handle { commands: commands_tx, udp, tcp, trace }, events))
}

/// `host:port` of a TCP listener as others may reach it.
fn reachable(local: SocketAddr) -> Option<String> {
    let ip = if local.ip().is_unspecified() {
        // An address outside: only the route to it is asked for, nothing is sent.
        let outside = match local {
            SocketAddr::V4(_) => IpAddr::from([192, 0, 2, 1]),
            SocketAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
        };
        udp::route_to(outside).or_else(|| {
            let loopback = IpAddr::from([127, 0, 0, 1]);
            local.is_ipv4().then_some(loopback)
        })?
    } else {
        local.ip()
    };
    Some(SocketAddr::new(ip, local.port()).to_string())
}
