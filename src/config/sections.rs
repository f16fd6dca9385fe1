//! The sections that belong to no single room: addresses, agents, numbers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::SecretRef;
use crate::providers::config::{ProviderConfig, ProviderKind};

/// The `[sip]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// Addresses to listen on for SIP over UDP.
    pub listen_udp: Vec<SocketAddr>,
    /// Addresses to listen on for SIP over TCP.
    pub listen_tcp: Vec<SocketAddr>,
    /// Addresses to listen on for SIP over TLS, mostly port 5061; `tls.certificate` and `tls.key` must be set.
    pub listen_tls: Vec<SocketAddr>,
    /// Address that others reach us at, written into Via, Contact and SDP. Empty: the local address. One that is an
    /// IP address is for listeners of its family. `stun:HOST:PORT`: the one that this server sees us at when we start.
    /// `cloud:aws`, `azure`, `digitalocean`, `gcp`, `hetzner`: the one that the metadata service of the cloud names then.
    pub advertised_address: String,
    /// The same for single listeners, by their address as it is written above: `"10.0.0.5:5060" = "203.0.113.7"`.
    pub advertised_addresses: BTreeMap<SocketAddr, String>,
    /// Networks whose peers see our own addresses, whatever others see: `["10.0.0.0/8"]`.
    pub local_networks: Vec<crate::sip::config::Network>,
    /// Mark of what is sent, a DSCP from 0 to 63; 24 is CS3.
    pub dscp: u8,
    /// Name servers for the hosts of trunks, as `192.0.2.53:53`. Empty: the system's.
    pub name_servers: Vec<SocketAddr>,
    /// Seconds without an answer after which a call goes to the trunk's next target; 0.5 to 30.
    pub failover_seconds: f64,
    /// Certificates.
    pub tls: Tls,
    /// What a source that no trunk allows gets: `forbid` (403 to an INVITE, nothing to the rest) or `silent` (nothing).
    /// Beyond 5 messages a second it gets nothing.
    pub unknown_source: UnknownSource,
    /// Hashes that callers of trunks with `inbound_digest` may answer with, `sha-256` and `md5`, in order. Some old
    /// phones read only the first.
    pub digest_algorithms: Vec<crate::sip::config::DigestAlgorithm>,
    /// Dialogs at once; beyond, new ones get 503.
    pub dialogs_max: usize,
    /// Session timer asked for (RFC 4028), in seconds; 0: none, unless the other side imposes one. A trunk's
    /// `session_timer` goes before it.
    pub session_expires: u32,
    /// Shortest session timer taken, in seconds, from 90 on: an INVITE with less gets 422.
    pub session_min: u32,
    /// Requests outside dialogs that one address of a trunk may begin in a second; those beyond are dropped and
    /// counted as `source_rate`, and SIP repeats them. 0: any number.
    pub requests_per_second_max: u32,
}

impl Default for Sip {
    fn default() -> Self {
        let any = SocketAddr::from(([0, 0, 0, 0], 5_060));
        Self {
            listen_udp: vec![any],
            listen_tcp: vec![any],
            listen_tls: Vec::new(),
            advertised_address: String::new(),
            advertised_addresses: BTreeMap::new(),
            local_networks: Vec::new(),
            dscp: crate::net::SIGNALLING_DSCP,
            name_servers: Vec::new(),
            failover_seconds: 3.0,
            tls: Tls::default(),
            unknown_source: UnknownSource::Forbid,
            digest_algorithms: crate::sip::Config::default().digest_algorithms,
            dialogs_max: 2_000,
            session_expires: 1_800,
            session_min: 90,
            requests_per_second_max: 500,
        }
    }
}

/// The `[sip.tls]` section. Files are read again when they change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// File of our certificate and those between it and the root, PEM. It is also shown to peers that ask for one.
    pub certificate: Option<PathBuf>,
    /// File of its private key, PEM.
    pub key: Option<PathBuf>,
    /// File of the authorities that peers we call must have their certificate from, PEM. None: those of the system.
    pub ca: Option<PathBuf>,
    /// File of the authorities that peers calling us must have their certificate from, PEM. None: they need none.
    pub client_ca: Option<PathBuf>,
}

/// What an unknown source gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum UnknownSource {
    Forbid,
    Silent,
}

/// The `[media]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// Local address of RTP sockets.
    pub bind: IpAddr,
    /// RTP ports as `first-last`, outside the kernel's ephemeral range; `any` for tests.
    pub rtp_ports: String,
    /// Media threads; 0: one a core, at most four.
    pub threads: usize,
    /// SCHED_FIFO priority of the media threads, 1 to 99; 0: ordinary scheduling. Measure before use:
    /// docs/media.md says how.
    pub sched_fifo: u8,
    /// Seconds without RTP and RTCP after which a call ends; it does not run on hold.
    pub timeout_seconds: u32,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            bind: IpAddr::from([0, 0, 0, 0]),
            rtp_ports: "16384-32767".to_owned(),
            threads: 0,
            sched_fifo: 0,
            timeout_seconds: 30,
        }
    }
}

impl Media {
    /// The port range; `None` for `any`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn ports(&self) -> Result<Option<RangeInclusive<u16>>, &'static str> {
        if self.rtp_ports == "any" {
            return Ok(None);
        }
        let wrong = "write the range as `first-last`, for example `16384-32767`";
        let (first, last) = self.rtp_ports.split_once('-').ok_or(wrong)?;
        let first: u16 = first.trim().parse().map_err(|_| wrong)?;
        let last: u16 = last.trim().parse().map_err(|_| wrong)?;
        if first < 1_024 || last <= first {
            return Err("the range begins at 1024 or above and ends above its beginning");
        }
        Ok(Some(first..=last))
    }
}

/// One agent, `[agents.NAME]`: the same as in the API.
pub use crate::schema::Agent;

/// The `[store]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// The SQLite file; created if missing, with `-wal` and `-shm` files beside it.
    pub database: PathBuf,
    /// Directory of the recordings; created if missing.
    pub recordings: PathBuf,
    /// Key that seals secrets in the database, at least 32 characters. Without it one is made and kept in a file
    /// beside the database, `database` with `.key` appended; who loses it must enter all secrets anew.
    pub master_key: Option<SecretRef>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            database: "data/trunkline.db".into(),
            recordings: "data/recordings".into(),
            master_key: None,
        }
    }
}

/// The `[notifications]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notifications {
    /// Whether e-mails hide phone numbers but for their last three digits.
    pub mask_numbers: bool,
    /// Whether the event is attached to its e-mail as `event.json`: with every number, and in a report with all that
    /// was said.
    pub attach_event: bool,
    /// The relay that e-mails leave through.
    pub smtp: Smtp,
}

impl Default for Notifications {
    fn default() -> Self {
        Self { mask_numbers: true, attach_event: false, smtp: Smtp::default() }
    }
}

/// The `[notifications.smtp]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smtp {
    /// Host of the relay. Empty: no e-mail is sent.
    pub host: String,
    /// Port; unless given 587 with `starttls`, 465 with `tls`, 25 with `none`.
    pub port: Option<u16>,
    /// `starttls` (TLS after the greeting, required), `tls` (from the first octet) or `none`, for a relay on this machine.
    pub security: crate::mail::Security,
    /// User name, if the relay asks for one.
    pub username: String,
    /// Its password.
    pub password: Option<SecretRef>,
    /// Sender, for example `Trunkline <calls@example.com>`.
    pub from: String,
    /// How long one message may take, the connection included, milliseconds, 100 to 120,000: relays greet slowly on
    /// purpose.
    pub timeout_ms: u64,
}

impl Default for Smtp {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: None,
            security: crate::mail::Security::default(),
            username: String::new(),
            password: None,
            from: String::new(),
            timeout_ms: 30_000,
        }
    }
}

impl Smtp {
    /// What is wrong with it: key and message.
    pub fn problems(&self) -> Vec<(&'static str, &'static str)> {
        let mut found = Vec::new();
        if !(100..=120_000).contains(&self.timeout_ms) {
            found.push(("timeout_ms", "100 to 120000"));
        }
        if !self.host.is_empty() && !crate::mail::is_sender(&self.from) {
            found
                .push(("from", "an e-mail address, or a name with one: `Desk <desk@example.com>`"));
        }
        if !self.username.is_empty() && self.password.is_none() {
            found.push(("password", "a user name needs its password"));
        }
        found
    }

    /// What the mailer needs; `None`: there is no relay.
    pub fn mailer(&self) -> Option<crate::mail::Config> {
        (!self.host.is_empty()).then(|| crate::mail::Config {
            host: self.host.clone(),
            port: self.port,
            security: self.security,
            username: self.username.clone(),
            from: self.from.clone(),
            timeout: std::time::Duration::from_millis(self.timeout_ms),
        })
    }
}

/// One trunk, `[trunks.NAME]`: what the switchboard needs, and the password.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trunk {
    /// Host name or address of the peer. Empty: the trunk only receives calls.
    pub host: String,
    /// Port of the peer; 5060 unless given.
    pub port: Option<u16>,
    /// `udp`, `tcp`, `tls`, or `auto`: what the peer's NAPTR and SRV records say, UDP where there are none.
    pub transport: crate::switchboard::trunk::TransportName,
    /// Networks whose INVITEs this trunk takes, as `192.0.2.0/24` or one address.
    #[serde(alias = "allowed_addresses")]
    pub allowed_networks: Vec<crate::sip::config::Network>,
    /// Digest user name.
    pub username: String,
    /// Digest password.
    pub password: Option<SecretRef>,
    /// `host[:port]` of an outbound proxy.
    pub outbound_proxy: String,
    /// Codecs in order of preference: `opus`, `g722`, `pcmu`, `pcma`, `l16-16000`, `l16-8000`. Not set: all but L16, `pcmu`
    /// and `pcma` first.
    pub codecs: Option<Vec<crate::types::CodecName>>,
    /// Encryption of the audio (SRTP): `disabled`, `optional` (where the peer can) or `required`.
    pub srtp: crate::schema::telephony::TrunkSrtp,
    /// How our offers hand keys over: `sdes` (in SDP) or `dtls` (by a handshake). Theirs may do either.
    pub srtp_keys: crate::schema::telephony::TrunkSrtpKeys,
    /// How keys are sent: `rfc4733` (telephone events, tones where the peer has none), `info` or `inband`.
    pub dtmf: crate::schema::telephony::TrunkDtmf,
    /// Whose audio is taken: `strict` or `learn`.
    pub source_policy: crate::switchboard::trunk::SourcePolicyName,
    /// Caller number when a request names none.
    pub from_number: String,
    /// Host part of our From; empty: `host`.
    pub from_domain: String,
    /// Agent that answers calls of this trunk, unless a number says otherwise.
    #[serde(alias = "agent_id")]
    pub agent: String,
    /// Calls at once, both directions; 0: only the server's own limit.
    #[serde(alias = "max_concurrent")]
    pub calls_max: u32,
    /// Outbound calls a second; 1 unless given.
    #[serde(alias = "cps")]
    pub calls_per_second: Option<f64>,
    /// How dialled numbers are written: `e164` `+15550100`, `plain` `15550100`, or `national`, which is `plain`
    /// with `prefix_strip` and `prefix_add` making of it what the country dials.
    pub number_format: crate::schema::telephony::NumberFormat,
    /// Put before a dialled number.
    pub prefix_add: String,
    /// Taken off the beginning of a dialled number, where it stands.
    pub prefix_strip: String,
    /// What our From shows: the caller `number`, or the digest `username`.
    pub from_user_mode: crate::schema::telephony::FromUserMode,
    /// Whether the caller number is hidden: `Privacy: id`.
    pub privacy: bool,
    /// Key of the number in `[numbers]` that outbound calls show when nothing else says so.
    pub default_number_id: String,
    /// Whether to register `username` with the peer; calls to the registered Contact are this trunk's.
    pub register: bool,
    /// Seconds that a registration is asked for, 60 to 86,400; 300 unless given.
    #[serde(alias = "register_interval")]
    pub register_interval_seconds: Option<u32>,
    /// Seconds between two OPTIONS that ask whether the peer is there; 60 unless given, 0: none are sent.
    #[serde(alias = "options_interval")]
    pub options_interval_seconds: Option<u32>,
    /// Whether callers must prove `username` and `password` as well. Without `allowed_networks` they may come from
    /// everywhere.
    pub inbound_digest: bool,
    /// Inbound calls a second; only the server's own limit unless given.
    #[serde(alias = "inbound_cps")]
    pub inbound_calls_per_second: Option<f64>,
    /// Session timer asked for, in seconds; 0: none. Unless given, `sip.session_expires`.
    pub session_timer: Option<u32>,
    /// How its calls are led.
    pub calls: crate::schema::calling::TrunkCalls,
    /// Where calls and transfers by it may go, and how much a day.
    pub dial_limits: crate::schema::dial::DialLimits,
}

impl Trunk {
    /// The switchboard's half.
    pub fn to_switchboard(&self) -> crate::switchboard::TrunkConfig {
        crate::switchboard::TrunkConfig {
            host: self.host.clone(),
            port: self.port,
            transport: self.transport,
            allowed_networks: self.allowed_networks.clone(),
            username: self.username.clone(),
            outbound_proxy: self.outbound_proxy.clone(),
            codecs: self.codecs.clone(),
            srtp: self.srtp,
            srtp_keys: self.srtp_keys,
            dtmf: self.dtmf,
            source_policy: self.source_policy,
            from_number: self.from_number.clone(),
            from_domain: self.from_domain.clone(),
            agent: self.agent.clone(),
            calls_max: self.calls_max,
            calls_per_second: self.calls_per_second,
            number_format: self.number_format,
            prefix_add: self.prefix_add.clone(),
            prefix_strip: self.prefix_strip.clone(),
            from_user_mode: self.from_user_mode,
            privacy: self.privacy,
            default_number_id: Some(self.default_number_id.clone()).filter(|id| !id.is_empty()),
            register: self.register,
            register_interval_s: self.register_interval_seconds.unwrap_or(300),
            options_interval_s: self.options_interval_seconds.unwrap_or(60),
            inbound_digest: self.inbound_digest,
            inbound_calls_per_second: self.inbound_calls_per_second.filter(|rate| *rate > 0.0),
            session_timer: self.session_timer,
            calls: self.calls.clone(),
            dial_limits: self.dial_limits.clone(),
        }
    }

    /// As the API shows it.
    pub fn to_resource(&self, name: &str) -> crate::schema::SipTrunk {
        use crate::schema::telephony::{TrunkAuth, TrunkTransport};
        use crate::switchboard::trunk::TransportName;
        let some = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let codecs = self.codecs.iter().flatten().map(crate::schema::word);
        crate::schema::SipTrunk {
            name: name.to_owned(),
            host: self.host.clone(),
            port: self.port.unwrap_or(5_060),
            transport: match self.transport {
                TransportName::Udp => TrunkTransport::Udp,
                TransportName::Tcp => TrunkTransport::Tcp,
                TransportName::Tls => TrunkTransport::Tls,
                TransportName::Auto => TrunkTransport::Auto,
            },
            username: self.username.clone(),
            auth: if self.username.is_empty() { TrunkAuth::IpAcl } else { TrunkAuth::Digest },
            allowed_addresses: self.allowed_networks.iter().map(ToString::to_string).collect(),
            inbound_digest: self.inbound_digest,
            register: self.register,
            register_interval: self.register_interval_seconds.unwrap_or(300),
            options_interval: self.options_interval_seconds.unwrap_or(60),
            inbound_cps: self.inbound_calls_per_second.unwrap_or(0.0),
            outbound_proxy: self.outbound_proxy.clone(),
            codecs: codecs.collect(),
            srtp: self.srtp,
            srtp_keys: self.srtp_keys,
            dtmf: self.dtmf,
            max_concurrent: self.calls_max,
            cps: self.calls_per_second.unwrap_or(crate::switchboard::trunk::CALLS_PER_SECOND),
            number_format: self.number_format,
            prefix_add: self.prefix_add.clone(),
            prefix_strip: self.prefix_strip.clone(),
            from_user_mode: self.from_user_mode,
            from_domain: self.from_domain.clone(),
            privacy: self.privacy,
            default_number_id: some(&self.default_number_id),
            dial_limits: self.dial_limits.clone(),
            from_number: self.from_number.clone(),
            agent_id: some(&self.agent),
            session_timer: self.session_timer,
            calls: self.calls.clone(),
            ..crate::schema::SipTrunk::default()
        }
    }
}

/// Numbers and the agents that answer them, in full or in short: the same as in the API.
pub type Numbers = BTreeMap<String, crate::schema::Number>;

/// The `[local]` section: recognition and speech without keys, by programs of this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Local {
    /// Directory of pocketsphinx' English model.
    pub model_dir: PathBuf,
    /// Decoder threads of pocketsphinx, 1 to 32; each recognises one utterance at a time.
    pub workers: usize,
    /// How much worse than mere sounds a phrase may score before it is not understood, -100 to 100;
    /// larger rejects more.
    pub rejection: f32,
    /// Program that speaks: `auto` (flite for English if installed, else espeak-ng), `flite` or `espeak-ng`.
    pub voice_program: VoiceProgram,
}

impl Default for Local {
    fn default() -> Self {
        let sphinx = crate::providers::stt::sphinx::SphinxConfig::default();
        Self {
            model_dir: sphinx.model_dir,
            workers: sphinx.workers,
            rejection: sphinx.rejection,
            voice_program: VoiceProgram::Auto,
        }
    }
}

/// Program that speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "each value is its own description")]
pub enum VoiceProgram {
    Auto,
    Flite,
    EspeakNg,
}

/// One speech or language service, `[providers.NAME]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Provider {
    /// Protocol, for example `deepgram`, `openai`, `elevenlabs`, `anthropic`: docs/providers.md has all of
    /// them. Servers that speak OpenAI's protocol are `openai`.
    pub kind: ProviderKind,
    /// Base URL: `https://`, `http://`, `wss://` or `ws://`, for `openai` up to and with `/v1`; `tcp://` for
    /// `wyoming`.
    /// Empty: the vendor's own.
    pub base_url: String,
    /// API key. Local servers need none.
    pub api_key: Option<SecretRef>,
    /// Model. Empty: a usual one of the kind. For `whisper-cpp` the path of a model file.
    pub model: String,
    /// Voice, for synthesis, when the agent names none.
    pub voice: String,
    /// Rate of the audio in Hz; 0: the kind's usual one.
    pub sample_rate: u32,
    /// How audio is written on the wire: `pcm`, or `mulaw` (8 kHz) where the kind takes or gives it: G.711
    /// passes through untouched. Empty: `pcm`. Speech to speech also takes `alaw`; empty there: `mulaw`.
    pub encoding: String,
}

impl Provider {
    /// The settings of the provider without its key.
    ///
    /// # Errors
    /// When the kind is built in.
    pub fn settings(&self) -> Result<ProviderConfig, String> {
        if self.kind.is_zero_key() {
            return Err(format!(
                "kind `{}` is built in: write `local` or `script` in the agent instead",
                self.kind.as_str()
            ));
        }
        Ok(ProviderConfig {
            kind: self.kind,
            base_url: self.base_url.clone(),
            model: self.model.clone(),
            voice: self.voice.clone(),
            sample_rate: self.sample_rate,
            encoding: self.encoding.clone(),
        })
    }
}
