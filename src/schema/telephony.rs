//! Numbers and SIP trunks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::calling::TrunkCalls;
use super::dial::DialLimits;
use super::secret::WriteOnly;

/// A phone number of ours: who answers it, and who shows it. In short: the agent that answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Number {
    /// E.164, for example `+15550100`. Exists once on a server.
    pub number: String,
    /// What a person calls it.
    pub name: String,
    /// Trunk its calls come in on and leave by. None: any.
    pub trunk_id: Option<String>,
    /// Agent that answers. None: calls get 480, unless the webhook names one.
    pub inbound_agent_id: Option<String>,
    /// Agents whose calls may show it. Empty: any.
    pub outbound_agent_ids: Vec<String>,
    /// Trunk that transfers leave by. None: the call's own.
    pub transfer_trunk_id: Option<String>,
    /// Asked for each inbound call: the signed webhook `agent.request`.
    pub request_webhook_url: Option<String>,
    /// Whether calls are taken at all; else they get 404.
    pub inbound_enabled: bool,
    /// Your own JSON object.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

impl Default for Number {
    fn default() -> Self {
        Self {
            number: String::new(),
            name: String::new(),
            trunk_id: None,
            inbound_agent_id: None,
            outbound_agent_ids: Vec::new(),
            transfer_trunk_id: None,
            request_webhook_url: None,
            inbound_enabled: true,
            metadata: serde_json::Map::new(),
        }
    }
}

super::short_form!(Number, NumberFields, String, "an agent or a table", {
    number: String, name: String, trunk_id: Option<String>, inbound_agent_id: Option<String>,
    outbound_agent_ids: Vec<String>, transfer_trunk_id: Option<String>,
    request_webhook_url: Option<String>, inbound_enabled: bool,
    metadata: serde_json::Map<String, serde_json::Value>,
}, |agent| Number { inbound_agent_id: Some(agent), ..Number::default() });

impl From<String> for Number {
    fn from(agent: String) -> Self {
        Self { inbound_agent_id: Some(agent), ..Self::default() }
    }
}

/// A SIP peer: a carrier or a PBX.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SipTrunk {
    /// What a person calls it.
    pub name: String,
    /// Host name or address of the peer. Empty: the trunk only receives calls.
    pub host: String,
    /// Port of the peer.
    pub port: u16,
    /// Protocol; `auto`: what the peer's NAPTR and SRV records say, UDP where there are none.
    pub transport: TrunkTransport,
    /// Digest user name.
    pub username: String,
    /// Digest password.
    #[serde(skip_serializing_if = "WriteOnly::is_hidden")]
    #[schema(value_type = Option<String>, write_only)]
    pub password: WriteOnly,
    /// How the peer knows us: `digest` with user name and password, `ip_acl` or `none` without; `register` is
    /// `digest` with `register` set.
    pub auth: TrunkAuth,
    /// Networks whose INVITEs this trunk takes, as `192.0.2.0/24` or one address. At most 64.
    pub allowed_addresses: Vec<String>,
    /// Whether callers must prove the trunk's user name and password as well. Without `allowed_addresses` they may
    /// come from everywhere.
    pub inbound_digest: bool,
    /// Whether to register `username` with the peer; calls to the registered Contact are this trunk's.
    pub register: bool,
    /// Seconds that a registration is asked for, 60 to 86,400.
    pub register_interval: u32,
    /// Seconds between two OPTIONS that ask whether the peer is there, up to 3,600; 0: none are sent.
    pub options_interval: u32,
    /// `host[:port]` of an outbound proxy.
    pub outbound_proxy: String,
    /// Codecs in order of preference: `opus`, `g722`, `pcmu`, `pcma`, `l16-16000`, `l16-8000`. Empty: all but L16, `pcmu`
    /// and `pcma` first.
    pub codecs: Vec<String>,
    /// How keys are sent: `rfc4733` (telephone events, tones where the peer has none), `info` or `inband`. They
    /// are understood in every way.
    pub dtmf: TrunkDtmf,
    /// Encryption of the audio (SRTP): `disabled`, `optional` (where the peer can) or `required` (or no call). A
    /// peer's offer may hand its keys over in SDP (RFC 4568) or by DTLS (RFC 5764).
    pub srtp: TrunkSrtp,
    /// How our offers hand keys over: `sdes` in SDP, `dtls` by a handshake.
    pub srtp_keys: TrunkSrtpKeys,
    /// Calls at once, both directions; 0: only the server's own limit.
    pub max_concurrent: u32,
    /// Outbound calls a second, above 0 to 1,000.
    pub cps: f64,
    /// Inbound calls a second, up to 1,000; 0: only the server's own limit.
    pub inbound_cps: f64,
    /// How dialled numbers are written: `e164` `+15550100`, `plain` `15550100`, `national` without country code.
    pub number_format: NumberFormat,
    /// Put before a dialled number.
    pub prefix_add: String,
    /// Taken off the beginning of a dialled number, where it stands.
    pub prefix_strip: String,
    /// What our From shows: the caller `number`, or the digest `username`.
    pub from_user_mode: FromUserMode,
    /// Host part of our From; empty: `host`.
    pub from_domain: String,
    /// Whether the caller number is hidden: `Privacy: id` (RFC 3325).
    pub privacy: bool,
    /// Session-Expires asked of the peer, in seconds (RFC 4028): 90 to 86,400; 0: no session timer of ours. None:
    /// the server's `sip.session_expires`.
    pub session_timer: Option<u32>,
    /// How its calls are led.
    pub calls: TrunkCalls,
    /// Where calls and transfers by it may go, and how much a day.
    pub dial_limits: DialLimits,
    /// Number that outbound calls show when nothing else says so.
    pub default_number_id: Option<String>,
    /// Caller number when neither request, agent nor trunk name one of ours.
    pub from_number: String,
    /// Agent that answers calls of this trunk to numbers that nobody registered.
    pub agent_id: Option<String>,
    /// Your own JSON object.
    #[schema(value_type = Object)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

impl Default for SipTrunk {
    fn default() -> Self {
        Self {
            name: String::new(),
            host: String::new(),
            port: 5_060,
            transport: TrunkTransport::Udp,
            username: String::new(),
            password: WriteOnly::None,
            auth: TrunkAuth::IpAcl,
            allowed_addresses: Vec::new(),
            register: false,
            inbound_digest: false,
            register_interval: 300,
            options_interval: 60,
            outbound_proxy: String::new(),
            codecs: Vec::new(),
            dtmf: TrunkDtmf::Rfc4733,
            srtp: TrunkSrtp::Disabled,
            srtp_keys: TrunkSrtpKeys::Sdes,
            max_concurrent: 0,
            cps: 1.0,
            inbound_cps: 0.0,
            number_format: NumberFormat::E164,
            prefix_add: String::new(),
            prefix_strip: String::new(),
            from_user_mode: FromUserMode::Number,
            from_domain: String::new(),
            privacy: false,
            session_timer: None,
            calls: TrunkCalls::default(),
            dial_limits: DialLimits::default(),
            default_number_id: None,
            from_number: String::new(),
            agent_id: None,
            metadata: serde_json::Map::new(),
        }
    }
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $first:ident $(, $rest:ident)* })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        #[expect(missing_docs, reason = "each value is its own description")]
        pub enum $name { #[default] $first $(, $rest)* }
    )+};
}

words! {
    /// Protocol of a trunk.
    TrunkTransport { Udp, Tcp, Tls, Auto }
    /// How a peer knows us.
    TrunkAuth { IpAcl, Digest, Register, None }
    /// How keys are sent.
    TrunkDtmf { Rfc4733, Info, Inband }
    /// Encryption of the audio.
    TrunkSrtp { Disabled, Optional, Required }
    /// How offers hand keys over.
    TrunkSrtpKeys { Sdes, Dtls }
    /// How numbers are written.
    NumberFormat { E164, Plain, National }
    /// What our From shows.
    FromUserMode { Number, Username }
}

/// Whether a trunk's peer is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TrunkStatus {
    /// The trunk.
    pub id: String,
    /// `not_required`, `trying`, `registered`, `rejected` by the registrar, `failed` for want of an answer, or
    /// `stopped`.
    pub registration_status: String,
    /// Until when the registration holds.
    #[schema(format = DateTime)]
    pub registered_until: Option<String>,
    /// Whether the peer answers the OPTIONS that are sent by themselves: `up`, `down`, or `unknown` before the
    /// first and where none are sent.
    pub state: String,
    /// Calls on it now.
    pub active_calls: u32,
    /// Whether the last OPTIONS was answered; null before the first.
    pub reachable: Option<bool>,
    /// Round trip of the last OPTIONS.
    pub rtt_ms: Option<u64>,
    /// Status of its answer.
    pub sip_status: Option<u16>,
    /// When it was sent.
    #[schema(format = DateTime)]
    pub checked_at: Option<String>,
    /// Why the peer cannot be reached.
    pub last_error: Option<String>,
}
