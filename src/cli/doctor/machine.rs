//! What the machine gives: ports, descriptors, scheduling, clock, disk.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::Check;
use crate::config::Config;
use crate::net::clock;

/// Descriptors of a server without calls.
const BASE_DESCRIPTORS: u64 = 256;
/// Descriptors of a call: two ports, a recording, connections to its providers.
const CALL_DESCRIPTORS: u64 = 8;
/// Less free disk than this is an hour of a few calls.
const DISK_LOW_BYTES: u64 = 2 << 30;
/// A recording's octets a second.
const RECORDING_BYTES_PER_SECOND: u64 = 32_000;
/// RTP port pairs that are tried.
const PAIRS_TRIED: usize = 16;
/// A clock before this is not set: 2025-01-01.
const CLOCK_MIN_UNIX_S: i64 = 1_735_689_600;
/// How long a server on this machine may take to say that it is there.
const HEALTH_WAIT: Duration = Duration::from_secs(2);

pub(super) async fn look(config: &Config) -> Vec<Check> {
    let runs = is_running(config.api.bind).await;
    let mut checks = Vec::new();
    for address in &config.sip.listen_udp {
        checks.push(port("sip.listen_udp", *address, UdpSocket::bind(address).err(), runs));
    }
    for address in &config.sip.listen_tcp {
        checks.push(port("sip.listen_tcp", *address, TcpListener::bind(address).err(), runs));
    }
    let api = config.api.bind;
    checks.push(port("api.bind", api, TcpListener::bind(api).err(), runs));
    checks.extend(rtp(config));
    checks.push(descriptors(config));
    checks.push(scheduling(config));
    checks.push(time());
    let database = config.store.database.parent().unwrap_or(Path::new("."));
    checks.push(disk("store.database", database));
    checks.push(disk("store.recordings", &config.store.recordings));
    checks
}

/// Whether a server of ours answers on the API's address.
async fn is_running(bind: SocketAddr) -> bool {
    let ip = if bind.ip().is_unspecified() { IpAddr::from([127, 0, 0, 1]) } else { bind.ip() };
    let url = format!("http://{}/healthz", SocketAddr::new(ip, bind.port()));
    let Ok(client) = crate::providers::http::client() else { return false };
    let answer = client.get(url).timeout(HEALTH_WAIT).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

fn port(name: &str, address: SocketAddr, error: Option<std::io::Error>, runs: bool) -> Check {
    let Some(error) = error else { return Check::ok(name, format!("{address} is free")) };
    match error.kind() {
        std::io::ErrorKind::AddrInUse if runs => {
            Check::ok(name, format!("{address} is taken: a server runs here"))
        }
        std::io::ErrorKind::AddrInUse => Check::fail(
            name,
            format!("{address} is in use by another program"),
            format!(
                "find it with `ss -lptun 'sport = :{}'` and stop it, or choose another",
                address.port()
            ),
        ),
        std::io::ErrorKind::AddrNotAvailable => Check::fail(
            name,
            format!("{address} is no address of this machine"),
            "use one that `ip address` lists, or 0.0.0.0; the public one behind NAT is `sip.advertised_address`",
        ),
        std::io::ErrorKind::PermissionDenied => Check::fail(
            name,
            format!("{address} needs more rights"),
            "use a port from 1024 on, or give the program CAP_NET_BIND_SERVICE",
        ),
        _ => Check::fail(name, format!("{address}: {error}"), "use another address or port"),
    }
}

fn rtp(config: &Config) -> Vec<Check> {
    const NAME: &str = "media.rtp_ports";
    let range = match config.media.ports() {
        Ok(Some(range)) => range,
        Ok(None) => {
            let hint = "set a range outside the kernel's, and open it in the firewall";
            return vec![Check::warn(NAME, "any port the kernel gives", hint)];
        }
        Err(message) => return vec![Check::fail(NAME, message, "for example 16384-32767")],
    };
    let mut checks = Vec::new();
    let pairs = usize::from(range.end() - range.start()).div_ceil(2);
    let step = (pairs / PAIRS_TRIED).max(1);
    let even = |n: usize| u16::try_from(n * step * 2).ok()?.checked_add(*range.start());
    let tried = (0..PAIRS_TRIED.min(pairs)).filter_map(even);
    let taken: Vec<u16> = tried
        .filter(|port| UdpSocket::bind(SocketAddr::new(config.media.bind, *port)).is_err())
        .collect();
    let calls = usize::try_from(config.admission.calls_max).unwrap_or(usize::MAX);
    if pairs < calls {
        checks.push(Check::fail(
            NAME,
            format!("{pairs} pairs of ports for `admission.calls_max` = {calls}"),
            "widen the range: a call takes a pair, which rests for 15 s after it",
        ));
    } else if taken.is_empty() {
        checks.push(Check::ok(NAME, format!("{pairs} pairs of ports, those tried are free")));
    } else {
        let hint = "other programs use the range: choose another, or they go";
        let message =
            format!("{} of the ports tried are in use, such as {:?}", taken.len(), taken.first());
        checks.push(Check::warn(NAME, message, hint));
    }
    checks.push(match kernel_range() {
        Some((first, last)) if *range.start() <= last && *range.end() >= first => Check::warn(
            "kernel's port range",
            format!("{first}-{last} overlaps with it: now and then a call finds its port taken"),
            "move the range, or set net.ipv4.ip_local_port_range",
        ),
        Some((first, last)) => {
            Check::ok("kernel's port range", format!("{first}-{last} lies outside of it"))
        }
        None => Check::warn("kernel's port range", "cannot be read", "is /proc mounted?"),
    });
    checks
}

fn kernel_range() -> Option<(u16, u16)> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut numbers = text.split_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn descriptors(config: &Config) -> Check {
    let wanted = BASE_DESCRIPTORS + CALL_DESCRIPTORS * u64::from(config.admission.calls_max);
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < wanted => Check::warn(
            "file descriptors",
            format!(
                "{limit} allowed, {wanted} may be needed for {} calls",
                config.admission.calls_max
            ),
            "`LimitNOFILE=65536` in the systemd unit, or `ulimit -n 65536`",
        ),
        Some(limit) => {
            Check::ok("file descriptors", format!("{limit} allowed, {wanted} may be needed"))
        }
        None => Check::ok("file descriptors", "no limit"),
    }
}

fn scheduling(config: &Config) -> Check {
    const NAME: &str = "media.sched_fifo";
    let wanted = u64::from(config.media.sched_fifo);
    if wanted == 0 {
        return Check::ok(NAME, "ordinary scheduling is configured");
    }
    let limit = getrlimit(Resource::Rtprio).current.unwrap_or(u64::MAX);
    if limit >= wanted || rustix::process::geteuid().is_root() {
        return Check::ok(NAME, format!("priority {wanted} may be taken"));
    }
    Check::warn(
        NAME,
        format!("priority {wanted} is configured, {limit} is allowed"),
        "`LimitRTPRIO=99` in the systemd unit, or CAP_SYS_NICE; without it media runs as anything else does",
    )
}

fn time() -> Check {
    let now = clock::wall();
    if now.as_second() < CLOCK_MIN_UNIX_S {
        let hint = "set it: TLS, signatures and every record depend on it";
        return Check::fail("clock", format!("it says {now:.0}"), hint);
    }
    let kept = [
        "/run/systemd/timesync/synchronized",
        "/run/chrony/chronyd.pid",
        "/run/chronyd.pid",
        "/run/ntpd.pid",
    ];
    match kept.iter().find(|path| Path::new(path).exists()) {
        Some(_) => Check::ok("clock", format!("{now:.0}, kept by a time service")),
        None => Check::warn(
            "clock",
            format!("{now:.0}; no time service of this machine is known to keep it"),
            "run chrony or systemd-timesyncd; a virtual machine may have its host's time instead",
        ),
    }
}

fn disk(name: &str, directory: &Path) -> Check {
    // What is not there yet is made in what is.
    let there = directory.ancestors().find(|path| path.is_dir() || path.as_os_str().is_empty());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let place = directory.display();
    if rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_err() {
        let hint = format!("give the user of the server write access to `{}`", there.display());
        return Check::fail(name, format!("`{place}` cannot be written"), hint);
    }
    let Ok(found) = rustix::fs::statvfs(there) else {
        return Check::warn(name, format!("`{place}`: free space is not known"), "look with `df`");
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let (gigabytes, hours) = (free >> 30, free / RECORDING_BYTES_PER_SECOND / 3_600);
    let message = format!("`{place}`: {gigabytes} GB free, {hours} hours of recordings");
    if free < DISK_LOW_BYTES {
        return Check::warn(
            name,
            message,
            "make room, or set `retention_days` of the organization",
        );
    }
    Check::ok(name, message)
}
