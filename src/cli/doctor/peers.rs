//! Whom the server needs: providers with their keys, trunks with their hosts and what they see of us.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::Check;
use crate::catalog::Trunk;
use crate::config::{Config, Env};
use crate::net::clock;
use crate::net::locate::{Hop, Locator};
use crate::sip::Transport;
use crate::sip::msg::{Message, Response};
use crate::types::{Entropy, Secret, TrunkName};

/// How long a trunk may take to answer.
const ANSWER_WAIT: Duration = Duration::from_secs(4);
/// T1 (RFC 3261): when a datagram is said again.
const REPEAT: Duration = Duration::from_millis(500);
/// Slower than this and every turn of a call waits for it.
const PROVIDER_SLOW: Duration = Duration::from_millis(500);
/// Largest answer to OPTIONS that is read.
const ANSWER_BYTES_MAX: usize = 65_535;

pub(super) async fn look(config: &Config, env: &Env) -> Vec<Check> {
    let mut checks = speech(config, env);
    checks.extend(providers(config, env).await);
    let spoken = vec![Transport::Udp, Transport::Tcp, Transport::Tls];
    let entropy = Entropy::from_system().unwrap_or_else(|_| Entropy::seeded(1));
    let locator = Locator::new(&config.sip.name_servers, spoken, entropy);
    let mut seen = BTreeSet::new();
    for (name, trunk) in &config.trunks {
        let trunk = Trunk::new(TrunkName(name.clone()), trunk.to_switchboard(), None, None);
        checks.extend(self::trunk(&locator, &trunk, &mut seen).await);
    }
    checks.push(advertised(config, &seen));
    checks.push(tolls(config));
    checks
}

/// Packages that are missing for the local recogniser and voice.
fn speech(config: &Config, env: &Env) -> Vec<Check> {
    let Ok((_, notes)) = crate::server::directory(config, env) else { return Vec::new() };
    let hint = "install what it names, or use a provider for it";
    notes.into_iter().map(|note| Check::warn("local speech", note, hint)).collect()
}

/// Providers that an agent uses, or that have a key.
async fn providers(config: &Config, env: &Env) -> Vec<Check> {
    let mut checks = Vec::new();
    for (name, provider) in &config.providers {
        let label = format!("providers.{name}");
        let used = config.agents.values().any(|agent| {
            [&agent.stt.provider, &agent.llm.provider, &agent.tts.provider].contains(&name)
        });
        let Ok(settings) = provider.settings() else { continue };
        let key = match provider.api_key.as_ref().map(|reference| reference.resolve(env)) {
            Some(Ok(key)) => key,
            Some(Err(error)) if used => {
                let hint = "set what the reference names, where the server is started";
                checks.push(Check::fail(label, error.to_string(), hint));
                continue;
            }
            Some(Err(_)) => continue,
            None => Secret::default(),
        };
        let begun = clock::now();
        let answer = crate::providers::probe::probe(&settings, &key).await;
        let took = clock::now().saturating_duration_since(begun);
        checks.push(provider_check(label, answer, took));
    }
    checks
}

fn provider_check(name: String, answer: Result<u16, String>, took: Duration) -> Check {
    let ms = took.as_millis();
    match answer {
        Ok(200..=299) if took > PROVIDER_SLOW => Check::warn(
            name,
            format!("takes the key, but needs {ms} ms for an answer"),
            "use a region of it that is nearer, or look at the network",
        ),
        Ok(200..=299) => Check::ok(name, format!("takes the key, {ms} ms with the connection")),
        Ok(status @ (401 | 403)) => Check::fail(
            name,
            format!("refuses the key ({status}), {ms} ms"),
            "give it the right key, with the rights for speech",
        ),
        Ok(status) => Check::warn(
            name,
            format!("answers {status}, {ms} ms: whether it takes the key is not known"),
            "look at its status page and at `base_url`",
        ),
        Err(why) if why.contains("no request that tries") => {
            Check::ok(name, "cannot be tried without a call")
        }
        Err(why) => {
            let hint = "open the way out to it (DNS, TCP 443), or mend its `base_url`";
            Check::fail(name, why, hint)
        }
    }
}

/// A trunk: its host, its answer to OPTIONS, and from where it saw us come.
async fn trunk(locator: &Locator, trunk: &Trunk, seen: &mut BTreeSet<IpAddr>) -> Vec<Check> {
    let name = format!("trunks.{}", trunk.name);
    let mut checks = Vec::new();
    if trunk.config.allowed_networks.is_empty() {
        checks.push(Check::warn(
            name.clone(),
            "has no `allowed_networks`: it cannot call in",
            "list the networks of its signalling, unless it shall only be called by us",
        ));
    }
    let Some(target) = trunk.options_target() else {
        checks.push(Check::ok(name, "has no `host`: it only receives calls"));
        return checks;
    };
    let hop = match locator.locate(&target.sought).await {
        Ok(hops) => hops.into_iter().next(),
        Err(error) => {
            let why = crate::telemetry::chain::chain(&error).to_string();
            checks.push(Check::fail(name, why, "mend `host`, or the resolver of this machine"));
            return checks;
        }
    };
    let Some(Hop { transport, remote }) = hop else { return checks };
    let begun = clock::now();
    let answer = tokio::time::timeout(ANSWER_WAIT, options(&target.uri, transport, remote));
    let word = transport.as_str();
    if transport == Transport::Tls {
        checks.push(match tokio::time::timeout(ANSWER_WAIT, TcpStream::connect(remote)).await {
            Ok(Ok(_)) => {
                let what = format!("{remote} takes connections; a call shows whether TLS agrees");
                Check::ok(name, what)
            }
            Ok(Err(_)) | Err(_) => Check::fail(
                name,
                format!("{remote} takes no connections"),
                "open the firewall to it, or mend `port` and `transport`",
            ),
        });
        return checks;
    }
    checks.push(match answer.await {
        Ok(Ok(response)) => {
            let ms = clock::now().saturating_duration_since(begun).as_millis();
            let via = response.headers.top_via().ok();
            let address = via.and_then(|via| via.received());
            seen.extend(address);
            let from = address.map_or(String::new(), |ip| format!(", sees us come from {ip}"));
            answered(name, &response, &format!("{remote} over {word} in {ms} ms{from}"))
        }
        Ok(Err(error)) => Check::fail(
            name,
            format!("{remote} over {word}: {error}"),
            "open the firewall to it, or mend `port` and `transport`",
        ),
        Err(_) => Check::fail(
            name,
            format!("{remote} over {word} does not answer OPTIONS"),
            "is this address allowed at the trunk? Else the firewall, `port` or `transport`; some trunks never answer",
        ),
    });
    checks
}

fn answered(name: String, response: &Response, what: &str) -> Check {
    let status = response.status.code();
    match status {
        200..=299 | 405 | 501 => Check::ok(name, format!("answers {status}, {what}")),
        401 | 403 | 407 => Check::warn(
            name,
            format!("answers {status}, {what}"),
            "it is there; whether it takes calls of this address or user, a call shows",
        ),
        _ => Check::warn(
            name,
            format!("answers {status}, {what}"),
            "it is there, but not well: ask the trunk, or look at `host`",
        ),
    }
}

/// Sends OPTIONS and waits for an answer; without an answer it never returns.
async fn options(
    uri: &str,
    transport: Transport,
    remote: SocketAddr,
) -> Result<Response, std::io::Error> {
    let mut entropy = Entropy::from_system().map_err(std::io::Error::other)?;
    let mark = entropy.hex(8);
    let text = |local: SocketAddr, via: &str| {
        format!(
            "OPTIONS {uri} SIP/2.0\r\n\
             Via: SIP/2.0/{via} {local};branch=z9hG4bK{mark};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:doctor@{local}>;tag={mark}\r\nTo: <{uri}>\r\n\
             Call-ID: {mark}\r\nCSeq: 1 OPTIONS\r\nAccept: application/sdp\r\n\
             Content-Length: 0\r\n\r\n"
        )
    };
    let is_ours = |octets: &[u8]| match crate::sip::wire::parse(&octets.to_vec().into()) {
        Ok(Message::Response(response)) => {
            let ours = response.call_id().is_ok_and(|id| id == mark.as_str());
            (ours && response.status.code() >= 200).then_some(response)
        }
        _ => None,
    };
    match transport {
        Transport::Udp => {
            let any: SocketAddr = if remote.is_ipv4() {
                SocketAddr::from(([0, 0, 0, 0], 0))
            } else {
                SocketAddr::from(([0u16; 8], 0))
            };
            let socket = UdpSocket::bind(any).await?;
            socket.connect(remote).await?;
            let request = text(socket.local_addr()?, "UDP");
            let mut octets = vec![0; ANSWER_BYTES_MAX];
            let mut again: Instant = clock::now();
            loop {
                tokio::select! {
                    received = socket.recv(&mut octets) => {
                        let length = received?;
                        if let Some(response) = is_ours(octets.get(..length).unwrap_or_default()) {
                            return Ok(response);
                        }
                    }
                    () = tokio::time::sleep_until(again.into()) => {
                        socket.send(request.as_bytes()).await?;
                        again += REPEAT;
                    }
                }
            }
        }
        Transport::Tcp | Transport::Tls => {
            let mut stream = TcpStream::connect(remote).await?;
            stream.write_all(text(stream.local_addr()?, "TCP").as_bytes()).await?;
            let mut octets = Vec::new();
            loop {
                if stream.read_buf(&mut octets).await? == 0 || octets.len() > ANSWER_BYTES_MAX {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                if let Some(response) = is_ours(&octets) {
                    return Ok(response);
                }
            }
        }
    }
}

/// The address others are told, against the one trunks see.
fn advertised(config: &Config, seen: &BTreeSet<IpAddr>) -> Check {
    const NAME: &str = "sip.advertised_address";
    let told = &config.sip.advertised_address;
    let outside: Vec<IpAddr> =
        seen.iter().copied().filter(|ip| !is_private(ip.to_canonical())).collect();
    if told.is_empty() {
        return match outside.first() {
            Some(ip) if !is_own(*ip) => Check::fail(
                NAME,
                format!("is not set, and trunks see {ip}, which is no address of this machine"),
                format!(
                    "set it to \"{ip}\" and forward the SIP and RTP ports: this machine is behind NAT"
                ),
            ),
            Some(ip) => Check::ok(NAME, format!("is not set; trunks see {ip}, which is ours")),
            None => Check::ok(NAME, "is not set; no trunk outside said what it sees"),
        };
    }
    match (told.parse::<IpAddr>(), outside.first()) {
        (Ok(ip), Some(other)) if ip != *other => Check::fail(
            NAME,
            format!("is {ip}, and trunks see {other}"),
            format!("set it to \"{other}\", or send SIP out by the address that is advertised"),
        ),
        (Ok(ip), Some(_)) => Check::ok(NAME, format!("is {ip}, as trunks see it")),
        (Ok(ip), None) => Check::ok(NAME, format!("is {ip}; no trunk outside said what it sees")),
        (Err(_), _) => Check::ok(NAME, format!("is the name {told}, looked up at the start")),
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Whether an address is one of this machine's: then it can be bound.
fn is_own(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

/// What a stolen key could cost.
fn tolls(config: &Config) -> Check {
    const NAME: &str = "dial_limits";
    let dials = config.trunks.values().any(|trunk| !trunk.host.is_empty());
    let of_trunks = config
        .trunks
        .values()
        .filter(|trunk| !trunk.host.is_empty())
        .all(|trunk| !trunk.dial_limits.allow.is_empty());
    if !dials {
        return Check::ok(NAME, "no trunk dials out");
    }
    if config.dial_limits.allow.is_empty() && !of_trunks {
        return Check::warn(
            NAME,
            "calls may go anywhere, premium numbers included",
            "list the countries you call: `dial_limits.allow = [\"+49\"]`, and set `minutes_per_day`",
        );
    }
    Check::ok(NAME, "destinations are limited")
}
