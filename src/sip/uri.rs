//! URIs (RFC 3261 section 19.1, RFC 3966): `sip:` and `sips:` taken apart, `tel:` and others kept whole.
//! Printing gives back what was read, but for the case of the scheme and the spelling of an IPv6 address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::error::Fault;
use super::lex;

/// Longest URI read, in octets: four times the longest seen from a trunk; a longer one is refused.
pub const URI_BYTES_MAX: usize = 4_096;
/// Most parameters of one URI or header value.
pub const PARAMS_MAX: usize = 64;

/// Scheme of a URI.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the schemes' own names")]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    /// Any other, in lower case.
    Other(String),
}

impl Scheme {
    /// Text before the colon.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Sip => "sip",
            Self::Sips => "sips",
            Self::Tel => "tel",
            Self::Other(text) => text,
        }
    }
}

/// Host of a URI or Via.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// A domain name as written.
    Name(String),
    /// An address; IPv6 is written in brackets.
    Ip(IpAddr),
}

impl Host {
    /// Reads a name, an IPv4 address or an IPv6 address in brackets.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            return ipv6(inner.strip_suffix(']')?).map(|ip| Self::Ip(IpAddr::V6(ip)));
        }
        if let Ok(ip) = text.parse::<Ipv4Addr>() {
            return Some(Self::Ip(IpAddr::V4(ip)));
        }
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._".contains(&octet);
        (!text.is_empty() && text.len() <= 255 && text.bytes().all(plain))
            .then(|| Self::Name(text.to_owned()))
    }

    /// The address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }

    /// Whether both name the same host, whatever the case of a name.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(one), Self::Name(two)) => one.eq_ignore_ascii_case(two),
            (one, two) => one == two,
        }
    }
}

/// An IPv6 address. `:::` before an embedded IPv4 address is what RFC 3261's first grammar made of `::`
/// and is read as that (RFC 5118 section 4.10).
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().or_else(|| text.replacen(":::", "::", 1).parse().ok())
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

/// Splits `host[:port]`, blanks around the colon allowed.
pub(in crate::sip) fn host_port(text: &str) -> Option<(Host, Option<u16>)> {
    let text = text.trim();
    let name_end = if text.starts_with('[') { text.find(']')? + 1 } else { 0 };
    let after = text.get(name_end..)?;
    match after.find(':') {
        None => Some((Host::parse(text)?, None)),
        Some(colon) => {
            let host = Host::parse(text.get(..name_end + colon)?.trim_end())?;
            let port = text.get(name_end + colon + 1..)?.trim_start();
            let port = lex::number(port.as_bytes()).and_then(|port| u16::try_from(port).ok())?;
            Some((host, Some(port)))
        }
    }
}

/// `;name` and `;name=value` in order. Values keep their quotes and escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Params(Vec<(String, Option<String>)>);

impl Params {
    /// Value of `name` (any case): `None` if absent, `Some(None)` if it has no value.
    pub fn entry(&self, name: &str) -> Option<Option<&str>> {
        self.0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_deref())
    }

    /// Value of `name` as written; `None` if it is absent or has no value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.entry(name).flatten()
    }

    /// Whether `name` is there, with or without value.
    pub fn contains(&self, name: &str) -> bool {
        self.entry(name).is_some()
    }

    /// Puts `name` in, or changes its value. Text that would break out of the parameter is left out.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        let safe = |text: &&str| !text.bytes().any(|octet| octet < b' ' || octet == 127);
        let value = value.filter(safe).map(str::to_owned);
        match self.0.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some(entry) => entry.1 = value,
            None if lex::token(name.as_bytes()) => self.0.push((name.to_owned(), value)),
            None => {}
        }
    }

    /// Takes `name` out.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// Every parameter.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends one as read; `None` beyond [`PARAMS_MAX`].
    pub(in crate::sip) fn append(&mut self, name: &str, value: Option<&str>) -> Option<()> {
        (self.0.len() < PARAMS_MAX).then(|| {
            self.0.push((name.to_owned(), value.map(str::to_owned)));
        })
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}

/// A URI.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Uri {
    /// Scheme.
    pub scheme: Scheme,
    /// User part as written (escapes kept) of a `sip:` URI; number of a `tel:` URI.
    pub user: Option<String>,
    /// Password as written; never used, only kept.
    pub password: Option<String>,
    /// Host of a `sip:` URI; `None` for `tel:` and others.
    pub host: Option<Host>,
    /// Port.
    pub port: Option<u16>,
    /// Parameters.
    pub params: Params,
    /// Headers after `?`, as written.
    pub headers: Option<String>,
    /// Everything after the colon of a scheme we do not know.
    opaque: String,
}

impl Uri {
    /// `sip:user@host:port`; `user` is escaped as needed.
    pub fn sip(user: Option<&str>, host: Host, port: Option<u16>) -> Self {
        let mut uri = Self::empty(Scheme::Sip);
        uri.user = user.filter(|user| !user.is_empty()).map(escape_user);
        uri.host = Some(host);
        uri.port = port;
        uri
    }

    fn empty(scheme: Scheme) -> Self {
        Self {
            scheme,
            user: None,
            password: None,
            host: None,
            port: None,
            params: Params::default(),
            headers: None,
            opaque: String::new(),
        }
    }

    /// A stand-in for a Request-URI that cannot be read: printed as written, of no use else.
    pub(in crate::sip) fn unreadable(text: &[u8]) -> Self {
        let mut uri = Self::empty(Scheme::Other(String::new()));
        uri.opaque = String::from_utf8_lossy(text).into_owned();
        uri
    }

    /// Reads a whole URI: no angle brackets, no blanks around or inside.
    ///
    /// # Errors
    /// [`Fault::Uri`] when it is not one or is longer than [`URI_BYTES_MAX`].
    pub fn parse(text: &str) -> Result<Self, Fault> {
        Self::read(text).ok_or(Fault::Uri)
    }

    fn read(text: &str) -> Option<Self> {
        let forbidden = |octet: u8| octet <= b' ' || octet >= 127 || b"<>\"".contains(&octet);
        if text.len() > URI_BYTES_MAX || text.bytes().any(forbidden) {
            return None;
        }
        let (scheme, rest) = text.split_once(':')?;
        let mut letters = scheme.bytes();
        let first = letters.next()?;
        let in_scheme = |octet: u8| octet.is_ascii_alphanumeric() || b"+-.".contains(&octet);
        if rest.is_empty() || !first.is_ascii_alphabetic() || !letters.all(in_scheme) {
            return None;
        }
        if scheme.eq_ignore_ascii_case("sip") {
            Self::read_sip(Scheme::Sip, rest)
        } else if scheme.eq_ignore_ascii_case("sips") {
            Self::read_sip(Scheme::Sips, rest)
        } else if scheme.eq_ignore_ascii_case("tel") {
            let (number, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
            let digits = |octet: u8| octet.is_ascii_hexdigit() || b"+-.()*#%".contains(&octet);
            if number.is_empty() || !number.bytes().all(digits) {
                return None;
            }
            let mut uri = Self::empty(Scheme::Tel);
            uri.user = Some(number.to_owned());
            uri.params = uri_params(params)?;
            Some(uri)
        } else {
            let mut uri = Self::empty(Scheme::Other(scheme.to_ascii_lowercase()));
            uri.opaque = rest.to_owned();
            Some(uri)
        }
    }

    fn read_sip(scheme: Scheme, rest: &str) -> Option<Self> {
        let mut uri = Self::empty(scheme);
        // An unescaped `@` occurs nowhere but after the user part, which may itself hold `;` and `?`.
        let rest = match rest.split_once('@') {
            Some((userinfo, rest)) => {
                let (user, password) = match userinfo.split_once(':') {
                    Some((user, password)) => (user, Some(password.to_owned())),
                    None => (userinfo, None),
                };
                if user.is_empty() || !lex::escapes_are_whole(userinfo) {
                    return None;
                }
                uri.user = Some(user.to_owned());
                uri.password = password;
                rest
            }
            None => rest,
        };
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers.to_owned())),
            None => (rest, None),
        };
        let (address, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
        let (host, port) = host_port(address)?;
        uri.host = Some(host);
        uri.port = port;
        uri.params = uri_params(params)?;
        uri.headers = headers;
        Some(uri)
    }

    /// Whether it is `sip:` or `sips:`.
    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// User part or telephone number without escapes; empty if there is none.
    pub fn user_text(&self) -> String {
        let octets = lex::unescape(self.user.as_deref().unwrap_or_default());
        String::from_utf8_lossy(&octets).into_owned()
    }

    /// Whether the `lr` parameter says that this is a loose router (RFC 3261 section 19.1.1).
    pub fn lr(&self) -> bool {
        self.params.contains("lr")
    }

    /// Value of `transport`.
    pub fn transport(&self) -> Option<&str> {
        self.params.get("transport")
    }

    /// Value of `maddr`.
    pub fn maddr(&self) -> Option<&str> {
        self.params.get("maddr")
    }

    /// Port, or the default of the scheme: 5061 for `sips:`, else 5060.
    pub fn port_or_default(&self) -> u16 {
        self.port.unwrap_or(if self.scheme == Scheme::Sips { 5061 } else { 5060 })
    }

    /// Where it points when its host (or `maddr`) is a literal address.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let host = match self.maddr() {
            Some(maddr) => Host::parse(maddr)?,
            None => self.host.clone()?,
        };
        Some(SocketAddr::new(host.ip()?, self.port_or_default()))
    }

    /// Whether both name the same resource as far as a user agent must tell: scheme, user, host, port and
    /// the parameters `user`, `ttl`, `method`, `maddr`, `transport` (RFC 3261 section 19.1.4).
    pub fn same(&self, other: &Self) -> bool {
        let hosts = match (&self.host, &other.host) {
            (Some(one), Some(two)) => one.same(two),
            (None, None) => self.opaque == other.opaque,
            _ => false,
        };
        let params = ["user", "ttl", "method", "maddr", "transport"].iter().all(|name| {
            match (self.params.entry(name), other.params.entry(name)) {
                (Some(Some(one)), Some(Some(two))) => one.eq_ignore_ascii_case(two),
                (one, two) => one == two,
            }
        });
        let user = |uri: &Self| uri.user.as_deref().map(lex::unescape);
        hosts
            && params
            && self.scheme == other.scheme
            && user(self) == user(other)
            && self.port == other.port
    }
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scheme != Scheme::Other(String::new()) {
            write!(f, "{}:", self.scheme.as_str())?;
        }
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
        }
        if let Some(host) = &self.host {
            if self.user.is_some() {
                f.write_str("@")?;
            }
            host.fmt(f)?;
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}{}", self.opaque, self.params)?;
        if let Some(headers) = &self.headers {
            write!(f, "?{headers}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Uri {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        Self::parse(text)
    }
}

/// Parameters of a URI: `text` is empty or begins with `;`. Empty ones, which some peers leave behind, are skipped.
fn uri_params(text: &str) -> Option<Params> {
    let mut params = Params::default();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (part, None),
        };
        if name.is_empty() || part.contains([',', '@']) {
            return None;
        }
        params.append(name, value)?;
    }
    Some(params)
}

/// Escapes what a user part may not hold (RFC 3261 section 25.1 `user`).
fn escape_user(user: &str) -> String {
    let mut out = String::with_capacity(user.len());
    for octet in user.bytes() {
        if octet.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests;
