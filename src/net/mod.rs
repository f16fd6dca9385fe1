//! Gate: sockets, the SIP driver task and the clock.
//!
//! One task, [`driver`], owns the SIP user agent; readers hand it what arrives, everybody else talks to
//! it through [`Handle`]. What a message means is `sip`'s business; media sockets are `engine`'s.

pub mod clock;
mod driver;
mod icmp;
pub mod kernel;
pub mod locate;
mod qos;
pub mod resolve;
pub mod stun;
mod tcp;
mod tls;
pub mod trace;
mod udp;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::sip::config::{Listener, listener_of};
use crate::sip::{self, Flow, PeerName, Transport};
use crate::types::Entropy;

use locate::{Hop, LocateError, Locator, Sought};
pub use qos::SIGNALLING as SIGNALLING_DSCP;
use tls::Tls;
pub use tls::{TlsConfig, TlsError};

/// Messages that may wait for the user agent: a flood beyond is dropped and counted, as a full
/// socket buffer would.
pub(crate) const ARRIVAL_QUEUE: usize = 4_096;

/// Commands that may wait for the user agent: every call may have a few.
pub const COMMAND_QUEUE: usize = 4_096;

/// Events that may wait for the switchboard, which never waits itself.
pub const EVENT_QUEUE: usize = 4_096;

/// Where the server listens for SIP, and how it speaks.
#[derive(Clone, Debug)]
pub struct Config {
    /// UDP addresses.
    pub udp: Vec<SocketAddr>,
    /// TCP addresses.
    pub tcp: Vec<SocketAddr>,
    /// TLS addresses.
    pub tls: Vec<SocketAddr>,
    /// Certificates.
    pub certificates: TlsConfig,
    /// What others see instead of a listener's own address.
    pub external: Vec<External>,
    /// DSCP of what is sent.
    pub dscp: u8,
    /// Name servers; empty: the system's.
    pub name_servers: Vec<SocketAddr>,
    /// Peers who see our own addresses, whatever others see.
    pub local_networks: Vec<sip::config::Network>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            udp: Vec::new(),
            tcp: Vec::new(),
            tls: Vec::new(),
            certificates: TlsConfig::default(),
            external: Vec::new(),
            dscp: SIGNALLING_DSCP,
            local_networks: Vec::new(),
            name_servers: Vec::new(),
        }
    }
}

/// What others see instead of a listener's own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// The listeners, as they are configured; `None`: every one of the address's family.
    pub listener: Option<SocketAddr>,
    /// Host name or address for Via and Contact.
    pub host: String,
    /// Address for SDP, if it is known.
    pub ip: Option<IpAddr>,
}

impl External {
    fn fits(&self, listener: SocketAddr) -> bool {
        match (self.listener, self.ip) {
            (Some(one), _) => one == listener,
            (None, Some(ip)) => ip.is_ipv4() == listener.is_ipv4(),
            (None, None) => true,
        }
    }
}

/// Why the sockets can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address of the configuration can't be listened on.
    #[error("listen on {transport} {address} (setting `{setting}`)")]
    Listen {
        /// `udp`, `tcp` or `tls`.
        transport: &'static str,
        /// Which.
        address: SocketAddr,
        /// Key of the setting.
        setting: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificates are no use.
    #[error("set up TLS")]
    Tls(#[from] TlsError),
}

/// The driver takes no commands: it is gone, or [`COMMAND_QUEUE`] of them wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the SIP driver takes no commands")]
pub struct Refused;

/// To the user agent.
#[derive(Clone)]
pub struct Handle {
    commands: mpsc::Sender<sip::Command>,
    listening: Arc<[Listening]>,
    local_networks: Arc<[sip::config::Network]>,
    udp: Arc<[SocketAddr]>,
    tcp: Arc<[SocketAddr]>,
    tls: Arc<[SocketAddr]>,
    certificates: Arc<Tls>,
    locator: Locator,
    trace: trace::Trace,
}

/// One socket, and what it is to others.
#[derive(Clone, Debug)]
struct Listening {
    listener: Listener,
    /// Address for SDP, where it is not the socket's own.
    media: Option<IpAddr>,
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

    /// Ports of the UDP listeners.
    pub fn udp_ports(&self) -> BTreeSet<u16> {
        self.udp.iter().map(SocketAddr::port).collect()
    }

    /// Addresses the server listens on, with the ports it really got.
    pub fn listeners(&self, transport: Transport) -> &[SocketAddr] {
        match transport {
            Transport::Udp => &self.udp,
            Transport::Tcp => &self.tcp,
            Transport::Tls => &self.tls,
        }
    }

    /// Our address on the way to `remote`: the listener of its family that the route leads by, with a real address
    /// where the listener has a wildcard. For connections the port is 0: they take any.
    pub fn local_addr(&self, transport: Transport, remote: IpAddr) -> Option<SocketAddr> {
        let of_family = || {
            let all = self.listeners(transport).iter();
            all.filter(|local| local.is_ipv4() == remote.is_ipv4())
        };
        let route = || udp::route_to(remote);
        let listener = match of_family().count() {
            0 | 1 => of_family().next(),
            _ => {
                let route = route();
                let fits =
                    |local: &&SocketAddr| local.ip().is_unspecified() || Some(local.ip()) == route;
                of_family().find(fits).or_else(|| of_family().next())
            }
        };
        let ip = match listener {
            Some(local) if !local.ip().is_unspecified() => local.ip(),
            _ => route()?,
        };
        match transport {
            Transport::Udp => Some(SocketAddr::new(ip, listener?.port())),
            Transport::Tcp | Transport::Tls => Some(SocketAddr::new(ip, 0)),
        }
    }

    /// Our address on the way to another.
    pub fn route_to(&self, remote: IpAddr) -> Option<IpAddr> {
        udp::route_to(remote)
    }

    /// The way to a peer. `host` is the name it was looked up by, which it must prove on TLS.
    pub fn flow(&self, transport: Transport, remote: SocketAddr, host: &str) -> Option<Flow> {
        let local = self.local_addr(transport, remote.ip())?;
        let name = match transport {
            Transport::Tls => self.certificates.name(host)?,
            Transport::Udp | Transport::Tcp => PeerName::NONE,
        };
        Some(Flow { name, ..Flow::new(transport, local, remote) })
    }

    /// The ways to a host, in the order to be tried; at least one.
    ///
    /// # Errors
    /// When it has no address, or none that a listener of ours can reach.
    pub async fn locate(&self, sought: &Sought) -> Result<Vec<Flow>, LocateError> {
        let hops = self.locator.locate(sought).await?;
        let flow = |hop: Hop| self.flow(hop.transport, hop.remote, &sought.host);
        let flows: Vec<Flow> = hops.into_iter().filter_map(flow).collect();
        if flows.is_empty() {
            return Err(LocateError::NoListener(sought.host.clone()));
        }
        Ok(flows)
    }

    /// Nobody answered there, or with 503: other targets of its host go first for a while.
    pub fn failed(&self, flow: &Flow) {
        self.locator.failed(hop(flow));
    }

    /// Somebody answered there.
    pub fn worked(&self, flow: &Flow) {
        self.locator.worked(hop(flow));
    }

    /// Whether a target failed lately.
    pub fn is_avoided(&self, flow: &Flow) -> bool {
        self.locator.is_avoided(hop(flow))
    }

    /// Whether a peer sees our own addresses, whatever others see.
    pub fn is_local(&self, peer: IpAddr) -> bool {
        self.local_networks.iter().any(|network| network.contains(peer))
    }

    /// The address for SDP on a flow, where it is not our own.
    pub fn media_address(&self, flow: &Flow) -> Option<IpAddr> {
        if self.is_local(flow.remote.ip()) {
            return None;
        }
        let listeners: Vec<Listener> =
            self.listening.iter().map(|one| one.listener.clone()).collect();
        let found = listener_of(&listeners, flow)?;
        self.listening.iter().find(|one| one.listener == *found)?.media
    }

    /// Whether the configuration says what others see instead of a flow's own address.
    pub fn is_advertised(&self, flow: &Flow) -> bool {
        if self.is_local(flow.remote.ip()) {
            return false;
        }
        let listeners: Vec<Listener> =
            self.listening.iter().map(|one| one.listener.clone()).collect();
        listener_of(&listeners, flow).is_some_and(|one| one.advertised.is_some())
    }

    /// Reads the certificates again, whether their files look changed or not.
    ///
    /// # Errors
    /// With what is wrong with them; then those that were read last stay.
    pub fn reload_certificates(&self) -> Result<(), TlsError> {
        self.certificates.reload()
    }
}

/// Opens the sockets and starts the driver.
///
/// # Errors
/// When an address can't be listened on; then nothing is left open.
pub async fn start(
    config: &Config,
    mut agent: sip::Config,
    mut entropy: Entropy,
) -> Result<(Handle, mpsc::Receiver<sip::Event>), StartError> {
    let certificates = Arc::new(Tls::new(config.certificates.clone())?);
    if !config.tls.is_empty() && !certificates.can_listen() {
        return Err(TlsError::NoCertificate.into());
    }
    let open = Sockets::open(config)?;
    let listening: Arc<[Listening]> = open.listening(config).into();
    agent.listeners = listening.iter().map(|one| one.listener.clone()).collect();
    agent.local_networks.clone_from(&config.local_networks);
    let local_networks = config.local_networks.clone().into();
    let addresses = |transport| -> Arc<[SocketAddr]> {
        let all = open.bound().filter(|(one, _, _)| *one == transport);
        all.map(|(_, _, local)| local).collect()
    };
    let (udp, tcp, tls) =
        (addresses(Transport::Udp), addresses(Transport::Tcp), addresses(Transport::Tls));
    if agent.advertised_tcp.is_none() {
        agent.advertised_tcp = tcp.first().and_then(|local| reachable(*local));
    }
    let spoken = [Transport::Udp, Transport::Tcp, Transport::Tls].into_iter();
    let spoken = spoken.filter(|one| open.bound().any(|(bound, _, _)| bound == *one)).collect();
    let locator = Locator::new(&config.name_servers, spoken, entropy.fork());
    let (arrivals_tx, arrivals) = mpsc::channel(ARRIVAL_QUEUE);
    let (commands_tx, commands_rx) = mpsc::channel(COMMAND_QUEUE);
    let (events_tx, events) = mpsc::channel(EVENT_QUEUE);
    let hub = tcp::Hub {
        arrivals: arrivals_tx.clone(),
        census: Arc::default(),
        tls: Arc::clone(&certificates),
        dscp: config.dscp,
    };
    let sockets: Vec<Arc<tokio::net::UdpSocket>> =
        open.udp.into_iter().map(|(_, socket)| Arc::new(socket)).collect();
    for socket in &sockets {
        // Until the kernel has said once that a socket takes datagrams, the first answer would be lost.
        let _ = socket.writable().await;
        tokio::spawn(udp::read(Arc::clone(socket), arrivals_tx.clone()));
        tokio::spawn(icmp::read(Arc::clone(socket), arrivals_tx.clone()));
    }
    for (transport, _, listener) in open.streams {
        tokio::spawn(tcp::accept(listener, transport, hub.clone()));
    }
    let gone = async move { arrivals_tx.closed().await };
    tokio::spawn(Arc::clone(&certificates).watch(gone));
    let trace = trace::Trace::default();
    let agent = sip::Agent::new(agent, entropy);
    let driver = driver::Driver::new(agent, sockets, hub, trace.clone());
    tokio::spawn(driver.run(arrivals, commands_rx, events_tx));
    let commands = commands_tx;
    let handle =
        Handle { commands, listening, local_networks, udp, tcp, tls, certificates, locator, trace };
    Ok((handle, events))
}

fn hop(flow: &Flow) -> Hop {
    Hop { transport: flow.transport, remote: flow.remote }
}

/// What was opened, with the addresses of the configuration.
struct Sockets {
    udp: Vec<(SocketAddr, tokio::net::UdpSocket)>,
    streams: Vec<(Transport, SocketAddr, tokio::net::TcpListener)>,
}

impl Sockets {
    fn open(config: &Config) -> Result<Self, StartError> {
        let mut open = Self { udp: Vec::new(), streams: Vec::new() };
        for address in &config.udp {
            open.udp.push((*address, udp::bind(*address, config.dscp)?));
        }
        for (transport, addresses) in [(Transport::Tcp, &config.tcp), (Transport::Tls, &config.tls)]
        {
            for address in addresses {
                let listener = tcp::bind(*address, transport, config.dscp)?;
                open.streams.push((transport, *address, listener));
            }
        }
        Ok(open)
    }

    /// Protocol, configured and real address of each.
    fn bound(&self) -> impl Iterator<Item = (Transport, SocketAddr, SocketAddr)> {
        let udp = self.udp.iter().filter_map(|(asked, socket)| {
            Some((Transport::Udp, *asked, socket.local_addr().ok()?))
        });
        let streams = self.streams.iter().filter_map(|(transport, asked, listener)| {
            Some((*transport, *asked, listener.local_addr().ok()?))
        });
        udp.chain(streams)
    }

    /// What each is to others. A datagram socket without an external address is what its flow says.
    fn listening(&self, config: &Config) -> Vec<Listening> {
        let external = |asked: SocketAddr| {
            let named = config.external.iter().filter(|one| one.fits(asked));
            named.max_by_key(|one| one.listener.is_some())
        };
        let listening = |(transport, asked, local): (Transport, SocketAddr, SocketAddr)| {
            let internal = transport.is_stream().then(|| reachable(local)).flatten();
            let (advertised, media) = match external(asked) {
                Some(one) => (Some(with_port(&one.host, local.port())), one.ip),
                None => (internal.clone(), None),
            };
            Listening { listener: Listener { transport, local, advertised, internal }, media }
        };
        self.bound().map(listening).collect()
    }
}

/// `host:port` of a host that may name a port of its own.
fn with_port(host: &str, port: u16) -> String {
    match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) if host.parse::<SocketAddr>().is_ok() => host.to_owned(),
        Err(_) if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
            host.to_owned()
        }
        Err(_) => format!("{host}:{port}"),
    }
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
