//! Trunks: the SIP peers that the configuration names, and how a destination becomes an INVITE on one.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::call::{DtmfWay, EarlyMedia, MediaPolicy, TrunkRules};
use crate::media::SourcePolicy;
use crate::net::locate::Sought;
use crate::schema::SipTrunk;
use crate::schema::calling::{Refers, ReliableProvisional, TrunkCalls};
use crate::schema::telephony::{
    FromUserMode, NumberFormat, TrunkAuth, TrunkDtmf, TrunkSrtp, TrunkSrtpKeys, TrunkTransport,
};
use crate::sip::config::{Network, TrunkAccess};
use crate::sip::policy::Reliable;
use crate::sip::{CallPolicy, Credentials, Transport};
use crate::types::{CodecName, OrganizationId, PhoneNumber, SrtpKeying, SrtpPolicy, TrunkName};

use super::table::Row;

/// What the configuration says of a trunk.
#[derive(Clone, Debug, Default)]
pub struct TrunkConfig {
    /// Host name or address of the peer. Empty: the trunk only receives calls.
    pub host: String,
    /// Port of the peer.
    pub port: Option<u16>,
    /// Protocol.
    pub transport: TransportName,
    /// Networks whose INVITEs this trunk takes, as `192.0.2.0/24` or one address.
    pub allowed_networks: Vec<Network>,
    /// Digest user name.
    pub username: String,
    /// `host[:port]` of an outbound proxy; its address is put into a Route header.
    pub outbound_proxy: String,
    /// Codecs in order of preference.
    pub codecs: Option<Vec<CodecName>>,
    /// Whether audio is encrypted.
    pub srtp: TrunkSrtp,
    /// How our offers hand keys over.
    pub srtp_keys: TrunkSrtpKeys,
    /// How keys are sent.
    pub dtmf: TrunkDtmf,
    /// Whose audio is taken: `strict` (the address in SDP only) or `learn` (also one address behind NAT,
    /// learnt in a window of 5 s after each offer and answer).
    pub source_policy: SourcePolicyName,
    /// Caller number when a request names none: E.164.
    pub from_number: String,
    /// Host part of our From; empty: `host`.
    pub from_domain: String,
    /// Agent that answers calls of this trunk, unless a number says otherwise.
    pub agent: String,
    /// Calls at once, both directions; 0: only the server's own limit.
    pub calls_max: u32,
    /// Outbound calls a second.
    pub calls_per_second: Option<f64>,
    /// How dialled numbers are written.
    pub number_format: NumberFormat,
    /// Put before a dialled number.
    pub prefix_add: String,
    /// Taken off the beginning of a dialled number.
    pub prefix_strip: String,
    /// What our From shows.
    pub from_user_mode: FromUserMode,
    /// Whether the caller number is hidden (RFC 3325 section 9.3).
    pub privacy: bool,
    /// Number that calls show when nothing else says so.
    pub default_number_id: Option<String>,
    /// Whether we register with the peer.
    pub register: bool,
    /// Seconds that a registration is asked for.
    pub register_interval_s: u32,
    /// Seconds between two OPTIONS; 0: none.
    pub options_interval_s: u32,
    /// Whether callers must prove user name and password.
    pub inbound_digest: bool,
    /// Inbound calls a second; `None`: only the server's own limit.
    pub inbound_calls_per_second: Option<f64>,
    /// Session-Expires asked for, in seconds; 0: no session timer; `None`: the server's.
    pub session_timer: Option<u32>,
    /// How its calls are led.
    pub calls: TrunkCalls,
    /// Where calls by it may go, and how much a day.
    pub dial_limits: crate::schema::dial::DialLimits,
}

/// Transport in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum TransportName {
    #[default]
    Udp,
    Tcp,
    Tls,
    /// What NAPTR and SRV records of the peer say; UDP without any.
    Auto,
}

/// Source policy in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum SourcePolicyName {
    Strict,
    #[default]
    Learn,
}

/// Outbound calls a second of a trunk that says nothing: what carriers allow by default.
pub const CALLS_PER_SECOND: f64 = 1.0;

/// Octets of the user part of a Contact: 96 bits that nobody guesses.
const CONTACT_BYTES: usize = 12;

/// SIP's port, which a URI need not name.
const DEFAULT_PORT: u16 = 5_060;

/// A trunk that is ready to be used.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Key in the configuration.
    pub name: TrunkName,
    /// What the configuration says.
    pub config: TrunkConfig,
    /// User name and password, if the peer asks for them.
    pub credentials: Option<Credentials>,
    /// Codecs, source policy and the address in our SDP.
    pub media: MediaPolicy,
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// Whether it stands in the configuration; then it may carry numbers of every tenant.
    pub from_config: bool,
}

/// Why a destination can't be called on a trunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// Neither E.164 nor a SIP URI.
    #[error("a destination is an E.164 number such as `+15550100` or a SIP URI")]
    Format,
    /// A number needs a trunk with a host.
    #[error("the trunk has no `host`: it only receives calls")]
    ReceiveOnly,
}

/// Whether a text is a destination of a call: an E.164 number or a SIP URI with a host.
pub fn is_destination(text: &str) -> bool {
    let is_sip = |uri: crate::sip::uri::Uri| uri.is_sip() && uri.host.is_some();
    PhoneNumber::parse(text).is_ok() || crate::sip::uri::Uri::parse(text).is_ok_and(is_sip)
}

/// The URI a REFER names for a destination (RFC 3515 section 2.1): a number becomes a `tel:` URI.
/// `None`: neither number, SIP URI nor tel URI.
pub fn refer_target(text: &str) -> Option<String> {
    if let Ok(number) = PhoneNumber::parse(text) {
        return Some(format!("tel:{}", number.reveal()));
    }
    let uri = crate::sip::uri::Uri::parse(text).ok()?;
    let tel = uri.scheme == crate::sip::uri::Scheme::Tel;
    (tel || is_destination(text)).then(|| text.to_owned())
}

/// Where an INVITE goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Request-URI and To.
    pub uri: String,
    /// What to look up: the outbound proxy, the trunk or the URI's own host.
    pub sought: Sought,
    /// Route headers.
    pub route: Vec<String>,
}

/// What a trunk registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Request-URI.
    pub registrar: String,
    /// URI of To and From.
    pub aor: String,
    /// User part of our Contact.
    pub contact_user: String,
    /// What to look up.
    pub sought: Sought,
    /// Route headers.
    pub route: Vec<String>,
}

impl Trunk {
    /// A trunk from its configuration.
    pub fn new(
        name: TrunkName,
        config: TrunkConfig,
        credentials: Option<Credentials>,
        advertised: Option<IpAddr>,
    ) -> Self {
        let media = MediaPolicy {
            codecs: config.codecs.clone().unwrap_or_else(|| CodecName::DEFAULT.to_vec()),
            srtp: match config.srtp {
                TrunkSrtp::Disabled => SrtpPolicy::Disabled,
                TrunkSrtp::Optional => SrtpPolicy::Optional,
                TrunkSrtp::Required => SrtpPolicy::Required,
            },
            keying: match config.srtp_keys {
                TrunkSrtpKeys::Sdes => SrtpKeying::Sdes,
                TrunkSrtpKeys::Dtls => SrtpKeying::Dtls,
            },
            dtmf: match config.dtmf {
                TrunkDtmf::Rfc4733 => DtmfWay::Events,
                TrunkDtmf::Info => DtmfWay::Info,
                TrunkDtmf::Inband => DtmfWay::Tones,
            },
            source_policy: match config.source_policy {
                SourcePolicyName::Strict => SourcePolicy::Strict,
                SourcePolicyName::Learn => SourcePolicy::Learn,
            },
            advertised,
        };
        Self {
            name,
            config,
            credentials,
            media,
            organization_id: OrganizationId::default(),
            from_config: true,
        }
    }

    /// A trunk of the API. `advertised` is the address for SDP.
    pub fn of_row(row: &Row<SipTrunk>, advertised: Option<IpAddr>) -> Self {
        let doc = &row.doc;
        let codecs: Vec<CodecName> =
            doc.codecs.iter().filter_map(|name| super::check::codec(name)).collect();
        let networks = doc.allowed_addresses.iter().filter_map(|text| text.parse().ok());
        let config = TrunkConfig {
            host: doc.host.clone(),
            port: Some(doc.port).filter(|port| *port != DEFAULT_PORT),
            transport: match doc.transport {
                TrunkTransport::Udp => TransportName::Udp,
                TrunkTransport::Tcp => TransportName::Tcp,
                TrunkTransport::Tls => TransportName::Tls,
                TrunkTransport::Auto => TransportName::Auto,
            },
            allowed_networks: networks.collect(),
            username: doc.username.clone(),
            outbound_proxy: doc.outbound_proxy.clone(),
            codecs: Some(codecs).filter(|codecs| !codecs.is_empty()),
            srtp: doc.srtp,
            srtp_keys: doc.srtp_keys,
            dtmf: doc.dtmf,
            source_policy: SourcePolicyName::Learn,
            from_number: doc.from_number.clone(),
            from_domain: doc.from_domain.clone(),
            agent: doc.agent_id.clone().unwrap_or_default(),
            calls_max: doc.max_concurrent,
            calls_per_second: Some(doc.cps),
            number_format: doc.number_format,
            prefix_add: doc.prefix_add.clone(),
            prefix_strip: doc.prefix_strip.clone(),
            from_user_mode: doc.from_user_mode,
            privacy: doc.privacy,
            default_number_id: doc.default_number_id.clone(),
            register: doc.register || doc.auth == TrunkAuth::Register,
            register_interval_s: doc.register_interval,
            options_interval_s: doc.options_interval,
            inbound_digest: doc.inbound_digest,
            inbound_calls_per_second: Some(doc.inbound_cps).filter(|rate| *rate > 0.0),
            session_timer: doc.session_timer,
            calls: doc.calls.clone(),
            dial_limits: doc.dial_limits.clone(),
        };
        let credentials = (!doc.username.is_empty()).then(|| Credentials {
            username: doc.username.clone(),
            password: row.secret.clone().unwrap_or_default(),
        });
        Self {
            organization_id: row.organization_id.clone(),
            from_config: row.from_config,
            ..Self::new(TrunkName(row.id.clone()), config, credentials, advertised)
        }
    }

    /// A number as this trunk dials it: `prefix_strip` comes off, `prefix_add` goes before.
    fn dialled(&self, number: &PhoneNumber) -> String {
        let text = number.reveal();
        let text = match self.config.number_format {
            NumberFormat::E164 => text,
            NumberFormat::Plain | NumberFormat::National => text.trim_start_matches('+'),
        };
        let strip = self.config.prefix_strip.as_str();
        let rest = text.strip_prefix(strip).unwrap_or(text);
        format!("{}{rest}", self.config.prefix_add)
    }

    /// How its dialogs are led.
    pub fn call_policy(&self) -> CallPolicy {
        CallPolicy {
            session_expires_s: self.config.session_timer,
            reliable: match self.config.calls.reliable_provisional {
                ReliableProvisional::Off => Reliable::Off,
                ReliableProvisional::Supported => Reliable::Supported,
                ReliableProvisional::Required => Reliable::Required,
            },
            follows_refers: self.config.calls.refers == Refers::Follow,
        }
    }

    /// How its calls are led, but for what a call needs of the dialler.
    pub fn rules(&self) -> TrunkRules {
        let calls = &self.config.calls;
        TrunkRules {
            early_media: match calls.early_media.as_str() {
                "" | "off" => EarlyMedia::Off,
                "silence" => EarlyMedia::Silence,
                "ringback" => {
                    EarlyMedia::Ringback(Duration::from_secs(calls.early_media_seconds.into()))
                }
                name => EarlyMedia::Clip(name.to_owned()),
            },
            headers_out: calls.headers_out.clone(),
            redirector: None,
        }
    }

    /// Our transport to it; `None`: its DNS records say.
    pub fn transport(&self) -> Option<Transport> {
        match self.config.transport {
            TransportName::Udp => Some(Transport::Udp),
            TransportName::Tcp => Some(Transport::Tcp),
            TransportName::Tls => Some(Transport::Tls),
            TransportName::Auto => None,
        }
    }

    /// Outbound calls a second, never 0 (a trunk that must not dial has no host).
    pub fn calls_per_second(&self) -> f64 {
        self.config.calls_per_second.filter(|rate| *rate > 0.0).unwrap_or(CALLS_PER_SECOND)
    }

    /// Where a call to `destination` goes.
    ///
    /// # Errors
    /// When the destination is neither number nor URI, or the trunk can't place calls.
    pub fn target(&self, destination: &str) -> Result<Target, DestinationError> {
        if let Ok(number) = PhoneNumber::parse(destination) {
            if self.config.host.is_empty() {
                return Err(DestinationError::ReceiveOnly);
            }
            let user = self.dialled(&number).replace('#', "%23");
            return Ok(self.by_proxy(self.uri(&user), self.sought()));
        }
        let uri = crate::sip::uri::Uri::parse(destination).map_err(|_| DestinationError::Format)?;
        let host = uri.host.as_ref().filter(|_| uri.is_sip()).ok_or(DestinationError::Format)?;
        let named = uri.transport().and_then(Transport::named);
        let transport = match uri.scheme {
            crate::sip::uri::Scheme::Sips => Some(Transport::Tls),
            _ => named.or(self.transport()),
        };
        let sought = Sought { host: host.to_string(), port: uri.port, transport };
        Ok(self.by_proxy(destination.to_owned(), sought))
    }

    /// Hosts whose numbers it carries.
    pub fn hosts(&self) -> Vec<String> {
        let hosts = [&self.config.host, &self.config.outbound_proxy];
        let named = hosts.into_iter().filter(|host| !host.is_empty());
        named.map(|host| split_host_port(host).0).collect()
    }

    /// Where OPTIONS and REGISTER go; `None`: the trunk only receives.
    pub fn options_target(&self) -> Option<Target> {
        (!self.config.host.is_empty()).then(|| self.by_proxy(self.uri(""), self.sought()))
    }

    /// The peer itself.
    fn sought(&self) -> Sought {
        let TrunkConfig { host, port, .. } = &self.config;
        Sought { host: host.clone(), port: *port, transport: self.transport() }
    }

    /// A URI at the peer; without a user it is the peer's own.
    pub fn uri(&self, user: &str) -> String {
        let at = if user.is_empty() { String::new() } else { format!("{user}@") };
        let port = self.config.port.map_or_else(String::new, |port| format!(":{port}"));
        // RFC 3261 section 19.1.1: who reads the URI may have to find the way as well. UDP is what it finds without.
        let transport = match self.transport() {
            Some(one @ (Transport::Tcp | Transport::Tls)) => format!(";transport={}", one.as_str()),
            Some(Transport::Udp) | None => String::new(),
        };
        format!("sip:{at}{}{port}{transport}", bracketed(&self.config.host))
    }

    /// A target, by the outbound proxy if there is one.
    fn by_proxy(&self, uri: String, mut sought: Sought) -> Target {
        let mut route = Vec::new();
        if !self.config.outbound_proxy.is_empty() {
            let (host, port) = split_host_port(&self.config.outbound_proxy);
            let transport = match self.transport() {
                Some(one @ (Transport::Tcp | Transport::Tls)) => {
                    format!(";transport={}", one.as_str())
                }
                Some(Transport::Udp) | None => String::new(),
            };
            route.push(format!("<sip:{}{transport};lr>", self.config.outbound_proxy));
            sought = Sought { host, port, transport: self.transport() };
        }
        Target { uri, sought, route }
    }

    /// The account that is registered: user name at the domain; `None`: the trunk registers nowhere.
    pub fn account(&self) -> Option<Account> {
        let config = &self.config;
        if !config.register || config.host.is_empty() || config.username.is_empty() {
            return None;
        }
        let domain = if config.from_domain.is_empty() { &config.host } else { &config.from_domain };
        let Target { uri, sought, route } = self.options_target()?;
        Some(Account {
            registrar: uri,
            aor: format!("sip:{}@{}", escape_user(&config.username), bracketed(domain)),
            contact_user: self.contact_user(),
            sought,
            route,
        })
    }

    /// User part of the Contact that we register: the same after a restart, and nobody's guess.
    fn contact_user(&self) -> String {
        use sha2::{Digest, Sha256};
        let password =
            self.credentials.as_ref().map(|one| one.password.expose()).unwrap_or_default();
        let text = format!("contact\0{}\0{}\0{password}", self.name.0, self.config.username);
        let octets = Sha256::digest(text.as_bytes());
        octets.iter().take(CONTACT_BYTES).fold("tl".to_owned(), |mut out, octet| {
            use std::fmt::Write;
            // Writing to a String cannot fail.
            let _ = write!(out, "{octet:02x}");
            out
        })
    }

    /// Whose requests outside a dialog are this trunk's.
    pub fn access(&self) -> TrunkAccess {
        TrunkAccess {
            name: self.name.clone(),
            networks: self.config.allowed_networks.clone(),
            policy: self.call_policy(),
            contact: self.account().map(|account| account.contact_user),
            digest: self.credentials.clone().filter(|_| self.config.inbound_digest),
        }
    }

    /// Host part of our own URIs.
    fn domain(&self, fallback_host: &str) -> String {
        [&self.config.from_domain, &self.config.host]
            .into_iter()
            .find(|domain| !domain.is_empty())
            .map_or_else(|| fallback_host.to_owned(), |domain| bracketed(domain))
    }

    /// Headers that say who calls beside From: what the peer wants of P-Asserted-Identity, P-Preferred-Identity,
    /// Remote-Party-ID and Privacy.
    pub fn identity_headers(&self, from: &str, fallback_host: &str) -> Vec<(String, String)> {
        let calls = &self.config.calls;
        let mut headers = Vec::new();
        if !from.is_empty() {
            let uri = format!("<sip:{}@{}>", escape_user(from), self.domain(fallback_host));
            if calls.asserted_identity {
                headers.push(("P-Asserted-Identity".to_owned(), uri.clone()));
            }
            if calls.preferred_identity {
                headers.push(("P-Preferred-Identity".to_owned(), uri.clone()));
            }
            if calls.remote_party_id {
                let privacy = if self.config.privacy { "full" } else { "off" };
                let value = format!("{uri};party=calling;screen=no;privacy={privacy}");
                headers.push(("Remote-Party-ID".to_owned(), value));
            }
        }
        if self.config.privacy {
            headers.push(("Privacy".to_owned(), "id".to_owned()));
        }
        headers
    }

    /// Value of From for a caller number, without tag.
    pub fn from_value(&self, from: &str, fallback_host: &str) -> String {
        let domain = self.domain(fallback_host);
        let from = match self.config.from_user_mode {
            _ if !self.config.calls.from_user.is_empty() => self.config.calls.from_user.as_str(),
            FromUserMode::Username if !self.config.username.is_empty() => {
                self.config.username.as_str()
            }
            FromUserMode::Username | FromUserMode::Number => from,
        };
        // An empty user part before `@` is no SIP URI (RFC 3261 section 25.1): peers drop the INVITE.
        if from.is_empty() {
            return format!("<sip:{domain}>");
        }
        format!("<sip:{}@{domain}>", escape_user(from))
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// Splits `host`, `host:port`, `[v6]` and `[v6]:port`.
fn split_host_port(text: &str) -> (String, Option<u16>) {
    if let Some(rest) = text.strip_prefix('[')
        && let Some((host, tail)) = rest.split_once(']')
    {
        return (host.to_owned(), tail.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host.to_owned(), port.parse().ok()),
        _ => (text.to_owned(), None),
    }
}

/// A user part may hold only what RFC 3261 section 25.1 allows: the rest is escaped.
fn escape_user(user: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(user.len());
    for byte in user.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
