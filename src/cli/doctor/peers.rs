//! Whom the server needs: providers with their keys, trunks with their hosts and what they see of us.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Check;
use crate::config::{Config, Env};
use crate::net::clock;
use crate::types::Secret;

/// Slower than this and every turn of a call waits for it.
const PROVIDER_SLOW: Duration = Duration::from_millis(500);

pub(super) async fn look(config: &Config, env: &Env) -> Vec<Check> {
    let mut checks = speech(config, env);
    checks.extend(providers(config, env).await);
    let (of_trunks, seen) = super::trunks::look(config, env).await;
    checks.extend(of_trunks);
    checks.push(advertised(config, &seen).await);
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

/// The address others are told, against the one trunks see.
async fn advertised(config: &Config, seen: &BTreeSet<IpAddr>) -> Check {
    const NAME: &str = "sip.advertised_address";
    let said = &config.sip.advertised_address;
    let told = match crate::server::external::ask(said).await {
        Ok(asked) => asked.map_or_else(|| said.clone(), |ip| ip.to_string()),
        Err(error) => {
            let hint = "the server does not start without it: an IP address needs nobody to ask";
            return Check::fail(NAME, format!("asks `{said}`: {error}"), hint);
        }
    };
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
