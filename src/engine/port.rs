//! Which UDP ports calls use: even for RTP, the next for RTCP (RFC 3550 section 11).
//!
//! The range should lie outside the kernel's own (`net.ipv4.ip_local_port_range`), or an outgoing
//! connection of any process may sit on a port a call needs. A port whose call ended rests for
//! [`DRAIN`] before another call gets it, so that late packets of the old call cannot enter the new.

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// How long a port rests after its call. Peers that missed our BYE retransmit theirs for 32 s but
/// mostly stop media at once; Asterisk and FreeSWITCH stop within 10 s. Half would let a peer that
/// noticed late speak into the next call; double would halve the calls a range can serve in bursts.
pub const DRAIN: Duration = Duration::from_secs(15);

/// Ports tried for one call before giving up: others than us use only a few of the range.
const TRIES: usize = 32;

/// 256 kB hold 1.3 s of packets of one call at 50 a second with room to spare; the kernel's default
/// of 212 kB would do, a stall of the media thread must not.
const RECEIVE_BUFFER_BYTES: usize = 256 * 1024;

/// Expedited forwarding, DSCP 46 (RFC 3246), in the upper six bits of the TOS octet.
const TOS_EXPEDITED: u32 = 46 << 2;

/// Which ports to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// Pairs inside this range.
    Range(RangeInclusive<u16>),
    /// Any free pair the kernel gives: for tests, which run beside others.
    Any,
}

/// Two bound sockets.
#[derive(Debug)]
pub struct PortPair {
    /// On the even port.
    pub rtp: UdpSocket,
    /// On the port after it.
    pub rtcp: UdpSocket,
    /// Address of `rtp`.
    pub local_rtp: SocketAddr,
}

/// Why there is no pair.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// Every pair is in use or resting.
    #[error("find a free RTP port pair: all are in use; widen `media.rtp_ports`")]
    Exhausted,
    /// The kernel refused for another reason than a port in use.
    #[error("bind RTP port {port}")]
    Bind {
        /// Which port.
        port: u16,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// The range holds no even port followed by another.
    #[error("use RTP ports {0}-{1}: the range holds no even port with its successor")]
    EmptyRange(u16, u16),
}

/// The pairs nobody uses. Shared by all calls; locked when a call begins or ends.
#[derive(Debug)]
pub struct PortPool {
    bind_ip: IpAddr,
    ports: Ports,
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    free: VecDeque<u16>,
    /// Resting, longest first, with the end of the rest.
    draining: VecDeque<(Instant, u16)>,
    /// RTP ports of pairs in use.
    leased: BTreeSet<u16>,
}

impl PortPool {
    /// A pool on one address.
    ///
    /// # Errors
    /// When the range holds no pair.
    pub fn new(bind_ip: IpAddr, ports: Ports) -> Result<Self, PortError> {
        let mut idle = Idle::default();
        if let Ports::Range(range) = &ports {
            let (first, last) = (*range.start(), *range.end());
            idle.free = range.clone().filter(|port| port % 2 == 0 && *port < last).collect();
            if idle.free.is_empty() {
                return Err(PortError::EmptyRange(first, last));
            }
        }
        Ok(Self { bind_ip, ports, idle: Mutex::new(idle) })
    }

    /// Binds a pair. Ports that somebody else holds are put to rest and the next is tried.
    ///
    /// # Errors
    /// When none is free, or the kernel refuses.
    pub fn lease(&self, now: Instant) -> Result<PortPair, PortError> {
        self.lease_at(now, self.bind_ip)
    }

    /// The same for a call whose signalling is at `near`: where the pool has a wildcard, the pair is of that family.
    ///
    /// # Errors
    /// As [`Self::lease`].
    pub fn lease_near(&self, now: Instant, near: IpAddr) -> Result<PortPair, PortError> {
        let wild = match near.to_canonical() {
            IpAddr::V4(_) => IpAddr::from([0, 0, 0, 0]),
            IpAddr::V6(_) => IpAddr::from([0u16; 8]),
        };
        self.lease_at(now, if self.bind_ip.is_unspecified() { wild } else { self.bind_ip })
    }

    fn lease_at(&self, now: Instant, ip: IpAddr) -> Result<PortPair, PortError> {
        for _ in 0..TRIES {
            let port = match self.ports {
                Ports::Any => 0,
                Ports::Range(_) => self.take(now).ok_or(PortError::Exhausted)?,
            };
            match bind(ip, port) {
                Ok(Some(pair)) => {
                    self.lock().leased.insert(pair.local_rtp.port());
                    return Ok(pair);
                }
                Ok(None) => self.give_back(now, port),
                Err(source) => {
                    self.give_back(now, port);
                    return Err(PortError::Bind { port, source });
                }
            }
        }
        Err(PortError::Exhausted)
    }

    /// The call on this RTP port ended and its sockets are closed.
    pub fn give_back(&self, now: Instant, port: u16) {
        let mut idle = self.lock();
        idle.leased.remove(&port);
        if matches!(self.ports, Ports::Range(_)) {
            idle.draining.push_back((now + DRAIN, port));
        }
    }

    /// Ports of the pairs in use, RTP and RTCP.
    pub fn in_use(&self) -> BTreeSet<u16> {
        self.lock().leased.iter().flat_map(|rtp| [*rtp, rtp.saturating_add(1)]).collect()
    }

    fn take(&self, now: Instant) -> Option<u16> {
        let mut idle = self.lock();
        while let Some((until, port)) = idle.draining.front().copied()
            && until <= now
        {
            idle.draining.pop_front();
            idle.free.push_back(port);
        }
        idle.free.pop_front()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Idle> {
        // All lists are valid after every statement, so a panic elsewhere leaves nothing half-done.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` when one of the two is in use, or the kernel gave an odd one.
fn bind(ip: IpAddr, port: u16) -> std::io::Result<Option<PortPair>> {
    let Some(rtp) = bind_one(ip, port)? else { return Ok(None) };
    let local_rtp = rtp.local_addr()?;
    let Some(rtcp_port) = local_rtp.port().checked_add(1).filter(|port| port % 2 == 1) else {
        return Ok(None);
    };
    let Some(rtcp) = bind_one(ip, rtcp_port)? else { return Ok(None) };
    Ok(Some(PortPair { rtp, rtcp, local_rtp }))
}

fn bind_one(ip: IpAddr, port: u16) -> std::io::Result<Option<UdpSocket>> {
    let address = SocketAddr::new(ip, port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Both are wishes: a container may forbid them, and calls work without.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    let _ = match address {
        SocketAddr::V4(_) => socket.set_tos_v4(TOS_EXPEDITED),
        SocketAddr::V6(_) => socket.set_tclass_v6(TOS_EXPEDITED),
    };
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match socket.bind(&SockAddr::from(address)) {
        Ok(()) => Ok(Some(socket.into())),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Ok(None),
        Err(error) => Err(error),
    }
}

/// The kernel's own port range, if it overlaps with `ports`.
pub fn overlap_with_kernel(ports: &Ports) -> Option<RangeInclusive<u16>> {
    let Ports::Range(ours) = ports else { return None };
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let kernel = parse_kernel_range(&text)?;
    (ours.start() <= kernel.end() && kernel.start() <= ours.end()).then_some(kernel)
}

fn parse_kernel_range(text: &str) -> Option<RangeInclusive<u16>> {
    let mut words = text.split_whitespace();
    let first = words.next()?.parse().ok()?;
    let last = words.next()?.parse().ok()?;
    Some(first..=last)
}

#[cfg(test)]
mod tests;
