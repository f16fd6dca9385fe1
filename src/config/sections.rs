//! The sections that belong to no single room: addresses, agents, numbers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::SecretRef;
use crate::providers::config::{ProviderConfig, ProviderKind, build_llm, build_stt, build_tts};
use crate::providers::llm::Llm;
use crate::providers::stt::Stt;
use crate::providers::tts::Tts;
use crate::types::Secret;

/// The `[sip]` section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sip {
    /// Addresses to listen on for SIP over UDP.
    pub listen_udp: Vec<SocketAddr>,
    /// Addresses to listen on for SIP over TCP.
    pub listen_tcp: Vec<SocketAddr>,
    /// Address that others reach us at, written into Via, Contact and SDP. Empty: the local address.
    pub advertised_address: String,
    /// What a source that no trunk allows gets: `forbid` (403) or `silent` (nothing).
    pub unknown_source: UnknownSource,
    /// Dialogs at once; beyond, new ones get 503.
    pub dialogs_max: usize,
}

impl Default for Sip {
    fn default() -> Self {
        let any = SocketAddr::from(([0, 0, 0, 0], 5_060));
        Self {
            listen_udp: vec![any],
            listen_tcp: vec![any],
            advertised_address: String::new(),
            unknown_source: UnknownSource::Forbid,
            dialogs_max: 2_000,
        }
    }
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

/// One agent, `[agents.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agent {
    /// Display name; empty: its key.
    pub name: String,
    /// System prompt for the language model.
    pub prompt: String,
    /// BCP 47 tag.
    pub language: String,
    /// Speech to text: `local`, or the name of a provider.
    pub stt: String,
    /// Language model: `script`, or the name of a provider.
    pub llm: String,
    /// Text to speech: `local`, or the name of a provider.
    pub tts: String,
    /// File of the dialogue when `llm = "script"`; empty: the demo that is built in.
    pub script: PathBuf,
    /// Voice name of the provider; empty: its default.
    pub voice: String,
    /// Speed of speech; 1.0 is normal.
    pub speed: f32,
    /// Words worth recognising.
    pub keyterms: Vec<String>,
    /// Sampling temperature of the language model.
    pub temperature: Option<f32>,
    /// Upper limit of a reply in tokens.
    pub max_tokens: Option<u32>,
    /// Whether calls are recorded.
    pub recording: bool,
    /// Turn-taking.
    pub turn: crate::turn::TurnConfig,
    /// Voice activity detection.
    pub vad: crate::audio::VadConfig,
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            name: String::new(),
            prompt: String::new(),
            language: "en".to_owned(),
            stt: "local".to_owned(),
            llm: "script".to_owned(),
            tts: "local".to_owned(),
            script: PathBuf::new(),
            voice: String::new(),
            speed: 1.0,
            keyterms: Vec::new(),
            temperature: None,
            max_tokens: None,
            recording: true,
            turn: crate::turn::TurnConfig::default(),
            vad: crate::audio::VadConfig::default(),
        }
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
    /// `udp` or `tcp`.
    pub transport: crate::switchboard::trunk::TransportName,
    /// Networks whose INVITEs this trunk takes, as `192.0.2.0/24` or one address.
    pub allowed_networks: Vec<crate::sip::config::Network>,
    /// Digest user name.
    pub username: String,
    /// Digest password.
    pub password: Option<SecretRef>,
    /// `host[:port]` of an outbound proxy.
    pub outbound_proxy: String,
    /// Codecs in order of preference: `pcmu`, `pcma`.
    pub codecs: Option<Vec<crate::types::CodecName>>,
    /// Whose audio is taken: `strict` or `learn`.
    pub source_policy: crate::switchboard::trunk::SourcePolicyName,
    /// Caller number when a request names none.
    pub from_number: String,
    /// Host part of our From; empty: `host`.
    pub from_domain: String,
    /// Agent that answers calls of this trunk, unless a number says otherwise.
    pub agent: String,
    /// Calls at once, both directions; 0: only the server's own limit.
    pub calls_max: u32,
    /// Outbound calls a second; 1 unless given.
    pub calls_per_second: Option<f64>,
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
            source_policy: self.source_policy,
            from_number: self.from_number.clone(),
            from_domain: self.from_domain.clone(),
            agent: self.agent.clone(),
            calls_max: self.calls_max,
            calls_per_second: self.calls_per_second,
        }
    }
}

/// Numbers and the agents that answer them.
pub type Numbers = BTreeMap<String, String>;

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
    /// Protocol: `deepgram`, `openai` or `elevenlabs`. Servers that speak OpenAI's protocol are `openai`.
    pub kind: ProviderKind,
    /// Base URL: `https://`, `http://`, `wss://` or `ws://`, for `openai` up to and with `/v1`.
    /// Empty: the vendor's own.
    pub base_url: String,
    /// API key. Local servers need none.
    pub api_key: Option<SecretRef>,
    /// Model. Empty: a usual one of the kind.
    pub model: String,
    /// Voice, for synthesis, when the agent names none.
    pub voice: String,
    /// Rate of the audio in Hz; 0: the kind's usual one.
    pub sample_rate: u32,
}

impl Provider {
    fn settings(&self) -> Result<ProviderConfig, String> {
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
        })
    }

    /// The recogniser.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn stt(&self, name: &str, key: Secret) -> Result<Arc<dyn Stt>, String> {
        build_stt(name, &self.settings()?, key).map_err(|error| error.to_string())
    }

    /// The language model.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn llm(&self, name: &str, key: Secret) -> Result<Arc<dyn Llm>, String> {
        build_llm(name, &self.settings()?, key).map_err(|error| error.to_string())
    }

    /// The voice.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn tts(&self, name: &str, key: Secret) -> Result<Arc<dyn Tts>, String> {
        build_tts(name, &self.settings()?, key).map_err(|error| error.to_string())
    }
}
