//! Which addresses may be reached: the guard against requests that are forged through us (SSRF).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;
use serde::{Deserialize, Serialize};

/// Longest URL, octets: what common servers take.
pub const URL_BYTES_MAX: usize = 2_048;

/// What may be reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Whether loopback and private networks may be reached. Link-local addresses, where clouds keep their
    /// credentials, multicast, broadcast and reserved networks never may.
    pub allow_private_targets: bool,
    /// Ports that may be reached; empty: every port.
    pub ports: Vec<u16>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { allow_private_targets: true, ports: Vec::new() }
    }
}

/// Why a target is refused. The text goes to whoever named the target, so it holds no resolved address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a URL.
    #[error("the URL is malformed")]
    Malformed,
    /// Longer than [`URL_BYTES_MAX`].
    #[error("the URL is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// Neither `http` nor `https`.
    #[error("the URL begins with neither `https://` nor `http://`")]
    Scheme,
    /// A user or a password in the URL: it would end in logs and lists.
    #[error("the URL holds a user or a password")]
    UserInfo,
    /// A port that is not on the list.
    #[error("port {0} is not among the allowed ones")]
    Port(u16),
    /// Loopback or a private network.
    #[error("the target is in a private network, and private targets are not allowed")]
    Private,
    /// Never reachable.
    #[error("the target is a link-local, metadata, multicast or reserved address")]
    Reserved,
}

impl Refusal {
    /// Label of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Scheme => "scheme",
            Self::UserInfo => "user_info",
            Self::Port(_) => "port",
            Self::Private => "private",
            Self::Reserved => "reserved",
        }
    }
}

/// What kind of place an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The public Internet.
    Public,
    /// This machine or a private network.
    Private,
    /// Nothing that a webhook or a tool has to do with.
    Reserved,
}

impl Policy {
    /// Checks an address that a connection would be made to.
    ///
    /// # Errors
    /// When it may not be reached.
    pub fn check_address(&self, ip: IpAddr) -> Result<(), Refusal> {
        match target(ip) {
            Target::Public => Ok(()),
            Target::Private if self.allow_private_targets => Ok(()),
            Target::Private => Err(Refusal::Private),
            Target::Reserved => Err(Refusal::Reserved),
        }
    }

    /// Checks a URL as far as that goes without looking its name up. Addresses written in decimal, octal or
    /// hexadecimal are addresses here (WHATWG URL, section 3.5), not names.
    ///
    /// # Errors
    /// When it may not be reached.
    pub fn check_url(&self, text: &str) -> Result<(), Refusal> {
        self.parse(text).map(drop)
    }

    /// The host and port of a URL, to tell destinations apart.
    pub fn origin(text: &str) -> Option<String> {
        let url = Url::parse(text).ok()?;
        Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?))
    }

    pub(super) fn parse(&self, text: &str) -> Result<Url, Refusal> {
        if text.len() > URL_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let url = Url::parse(text).map_err(|_| Refusal::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        let port = url.port_or_known_default().ok_or(Refusal::Malformed)?;
        if port == 0 || !(self.ports.is_empty() || self.ports.contains(&port)) {
            return Err(Refusal::Port(port));
        }
        let host = url.host_str().ok_or(Refusal::Malformed)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = bare.parse::<IpAddr>() {
            self.check_address(ip)?;
        }
        Ok(url)
    }
}

/// Sorts an address (IANA special-purpose registries, RFC 6890, and where clouds keep their metadata).
pub fn target(ip: IpAddr) -> Target {
    match ip {
        IpAddr::V4(ip) => target_v4(ip),
        IpAddr::V6(ip) => target_v6(ip),
    }
}

fn target_v4(ip: Ipv4Addr) -> Target {
    match ip.octets() {
        // "This network", link-local with the metadata services, multicast, reserved and broadcast.
        [0, ..] | [169, 254, ..] | [224..=255, ..] => Target::Reserved,
        // Protocol assignments, documentation, 6to4 relays.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] => {
            Target::Reserved
        }
        // Metadata of Azure and Alibaba.
        [168, 63, 129, 16] | [100, 100, 100, 200] => Target::Reserved,
        [10 | 127, ..] | [172, 16..=31, ..] | [192, 168, ..] => Target::Private,
        // Carriers' shared addresses and benchmarks.
        [100, 64..=127, ..] | [198, 18 | 19, ..] => Target::Private,
        _ => Target::Public,
    }
}

fn target_v6(ip: Ipv6Addr) -> Target {
    if let Some(inner) = ip.to_ipv4_mapped() {
        return target_v4(inner);
    }
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => Target::Private,
        // NAT64: what the translator would reach.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            match target_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))) {
                Target::Public => Target::Public,
                Target::Private | Target::Reserved => Target::Reserved,
            }
        }
        // Metadata of AWS and Google in private space.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => {
            Target::Reserved
        }
        // ISATAP holds an IPv4 address that a tunnel would reach.
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => Target::Reserved,
        // Teredo, documentation and 6to4 lie inside the global block.
        [0x2001, 0 | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => Target::Reserved,
        [first, ..] if first & 0xfe00 == 0xfc00 => Target::Private,
        [first, ..] if first & 0xe000 == 0x2000 => Target::Public,
        // Unspecified, IPv4-compatible, local NAT64, discard, link-local, site-local, multicast, unassigned.
        _ => Target::Reserved,
    }
}
