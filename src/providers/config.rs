//! Settings of one provider, and the provider made from them.
//!
//! The configuration maps a section to a [`ProviderConfig`]; the key is resolved there and comes
//! separately, so that no settings structure ever holds one. The zero-key kinds are made elsewhere.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::llm::Llm;
use super::realtime::Realtime;
use super::stt::Stt;
use super::tts::Tts;
use super::vendors::{self, Maker, VENDORS, Vendor};
use super::{Stage, http};
use crate::types::{SampleRate, Secret};

/// Which protocol a provider speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// OpenAI and everything that copies its HTTP API: all stages.
    #[default]
    OpenAi,
    /// Deepgram: speech to text (`listen` v1) and text to speech (`speak` v1).
    Deepgram,
    /// Deepgram Flux: speech to text that ends turns (`listen` v2).
    #[serde(rename = "deepgram-flux")]
    DeepgramFlux,
    /// AssemblyAI: speech to text (Universal-Streaming v3).
    AssemblyAi,
    /// OpenAI Realtime: speech to text (transcription session) and speech to speech.
    #[serde(rename = "openai-realtime")]
    OpenAiRealtime,
    /// Soniox: speech to text and text to speech.
    Soniox,
    /// Speechmatics: speech to text.
    Speechmatics,
    /// A vosk-server: speech to text.
    Vosk,
    /// A sherpa-onnx streaming server: speech to text.
    Sherpa,
    /// whisper.cpp in this process: speech to text, in builds with the feature `whisper`.
    #[serde(rename = "whisper-cpp")]
    WhisperCpp,
    /// Cartesia: speech to text (Ink) and text to speech (`tts/websocket`).
    Cartesia,
    /// ElevenLabs: speech to text (Scribe realtime) and text to speech (`multi-stream-input`).
    ElevenLabs,
    /// Rime: text to speech (`ws3`).
    Rime,
    /// Azure speech: text to speech (REST).
    Azure,
    /// Piper's HTTP server: text to speech.
    Piper,
    /// The Wyoming protocol: text to speech.
    Wyoming,
    /// xAI: text to speech (`tts`) and speech to speech (`realtime`).
    Xai,
    /// Anthropic: language model (Messages).
    Anthropic,
    /// Gemini: language model (`streamGenerateContent`).
    Gemini,
    /// The recogniser that needs no key: pocketsphinx on this machine.
    Sphinx,
    /// The dialogue that needs no key: a script in the model's place.
    Scripted,
    /// The voice that needs no key: flite or espeak-ng on this machine.
    Local,
}

impl ProviderKind {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        self.vendor().word
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        VENDORS.iter().find(|vendor| vendor.word == word).map(|vendor| vendor.kind)
    }

    /// Whether it runs on this machine and needs neither URL nor key.
    pub fn is_zero_key(self) -> bool {
        matches!(self, Self::Sphinx | Self::Scripted | Self::Local)
    }

    /// Whether it is a service that customers have keys of their own for: not a program beside this one.
    pub fn takes_key(self) -> bool {
        !self.is_zero_key()
            && !matches!(self, Self::Piper | Self::Wyoming | Self::Vosk | Self::Sherpa)
            && !self.has_model_file()
    }

    /// Whether its model is a file of this machine, which only the configuration may name.
    pub fn has_model_file(self) -> bool {
        self == Self::WhisperCpp
    }
}

/// Settings of one provider. An empty text means the kind's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// Protocol: a word of the table in `docs/providers.md`.
    pub kind: ProviderKind,
    /// Where it is: `http://`, `https://`, `ws://` or `wss://`; for `wyoming` `tcp://`. For `openai` up
    /// to and with `/v1`.
    pub base_url: String,
    /// Model, in the provider's words.
    pub model: String,
    /// Voice of a text-to-speech provider, in its words; an agent may name another.
    pub voice: String,
    /// Rate of the audio exchanged, in Hz. 0: the kind's default.
    pub sample_rate: u32,
    /// How samples are written on the wire, where the kind lets it be chosen: `pcm` or `mulaw`,
    /// for speech to speech also `alaw`.
    pub encoding: String,
}

/// How samples are written on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Signed 16 bits, little-endian.
    #[default]
    Pcm,
    /// G.711 mu-law at 8 kHz.
    Mulaw,
}

/// Settings that make no provider.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// This kind does not serve this stage.
    #[error("kind `{kind}` does not do {stage}; allowed: {allowed}")]
    WrongStage {
        /// The kind that was given.
        kind: &'static str,
        /// The stage's short name.
        stage: &'static str,
        /// Kinds that are allowed.
        allowed: String,
    },
    /// The URL is not one, or of a scheme that is not spoken.
    #[error("`base_url` is not a URL with http, https, ws or wss")]
    Url,
    /// The URL is not one of a plain TCP service.
    #[error("`base_url` is not of the form `tcp://host:port`")]
    TcpUrl,
    /// The rate is not one this kind takes.
    #[error("`sample_rate` {hz} is not allowed; allowed: {allowed}")]
    Rate {
        /// The rate that was given.
        hz: u32,
        /// Rates that are allowed.
        allowed: &'static str,
    },
    /// This is not a way to write audio, or not one of this kind.
    #[error("`encoding` {word:?} is not allowed; allowed: {allowed}")]
    Encoding {
        /// The word that was given.
        word: String,
        /// Words that are allowed.
        allowed: &'static str,
    },
    /// This kind needs a voice.
    #[error("`voice` is missing: this kind has no default")]
    Voice,
    /// The kind is not in this build.
    #[error(
        "kind `{kind}` is not in this build: build with `--features {feature}`, or run whisper.cpp's server and \
         name it with kind `openai`"
    )]
    NotBuilt {
        /// The kind that was given.
        kind: &'static str,
        /// Cargo feature that has it.
        feature: &'static str,
    },
    /// The model is not a file that can be used.
    #[error("`model` {path:?}: {problem}; allowed: the path of a ggml model file of whisper.cpp")]
    ModelFile {
        /// The path that was given.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Somebody other than the configuration names a file.
    #[error(
        "`model` cannot be chosen here: for kind `{kind}` it is a file of the server, which `[providers]` of the \
         configuration names; leave it out"
    )]
    ModelElsewhere {
        /// The provider's kind.
        kind: &'static str,
    },
    /// The HTTP client cannot be made.
    #[error("no root certificates: install `ca-certificates`")]
    Certificates,
}

/// `value`, or `default` where it is empty.
pub(super) fn or_default(value: &str, default: &str) -> String {
    if value.is_empty() { default.to_owned() } else { value.to_owned() }
}

impl ProviderConfig {
    /// The URL, checked.
    pub(super) fn url(&self, default: &str) -> Result<String, ConfigError> {
        let url = or_default(&self.base_url, default);
        let parsed = reqwest::Url::parse(&url).map_err(|_| ConfigError::Url)?;
        let is_spoken = matches!(parsed.scheme(), "http" | "https" | "ws" | "wss");
        let is_plain = parsed.query().is_none() && parsed.password().is_none();
        if is_spoken && is_plain && parsed.has_host() { Ok(url) } else { Err(ConfigError::Url) }
    }

    /// The `http` form: a `ws` URL is the same place.
    pub(super) fn http_url(&self, default: &str) -> Result<String, ConfigError> {
        let url = self.url(default)?;
        Ok(match url.strip_prefix("ws") {
            Some(rest) => format!("http{rest}"),
            None => url,
        })
    }

    /// Host and port of a `tcp://` URL.
    pub(super) fn tcp_url(&self, default: &str) -> Result<String, ConfigError> {
        let url = or_default(&self.base_url, default);
        let parsed = reqwest::Url::parse(&url).map_err(|_| ConfigError::TcpUrl)?;
        let is_plain = parsed.scheme() == "tcp" && parsed.query().is_none();
        let is_plain = is_plain && parsed.username().is_empty() && parsed.password().is_none();
        match (parsed.host_str(), parsed.port()) {
            (Some(host), Some(port)) if is_plain && matches!(parsed.path(), "" | "/") => {
                Ok(format!("{host}:{port}"))
            }
            _ => Err(ConfigError::TcpUrl),
        }
    }

    /// How a voice writes its samples, if there is a choice.
    pub(super) fn encoding(&self) -> Result<Encoding, ConfigError> {
        Ok(if self.mulaw(true)? { Encoding::Mulaw } else { Encoding::Pcm })
    }

    /// Refuses another encoding where the kind has but one.
    pub(super) fn pcm_only(&self) -> Result<(), ConfigError> {
        self.mulaw(false).map(|_| ())
    }

    /// The rate, if it is one of `allowed`: numbers with ", " between them.
    pub(super) fn rate(
        &self,
        default: SampleRate,
        allowed: &'static str,
    ) -> Result<SampleRate, ConfigError> {
        if self.sample_rate == 0 {
            return Ok(default);
        }
        let hz = self.sample_rate;
        let is_allowed = allowed.split(", ").any(|rate| rate.parse() == Ok(hz));
        SampleRate::new(hz).filter(|_| is_allowed).ok_or(ConfigError::Rate { hz, allowed })
    }

    /// Whether audio is written as mu-law, if the kind takes it.
    pub(super) fn mulaw(&self, takes_it: bool) -> Result<bool, ConfigError> {
        match self.encoding.as_str() {
            "" | "pcm" => Ok(false),
            "mulaw" if takes_it => Ok(true),
            _ => Err(ConfigError::Encoding {
                word: self.encoding.clone(),
                allowed: if takes_it { "pcm, mulaw" } else { "pcm" },
            }),
        }
    }
}

/// Makes a recogniser. `name` is its key in the configuration.
///
/// # Errors
/// When the settings do not fit. The zero-key kinds are not made here.
pub fn build_stt(
    name: &str,
    config: &ProviderConfig,
    key: Secret,
) -> Result<Arc<dyn Stt>, ConfigError> {
    build(name, config, key, Stage::Stt, |vendor| vendor.stt)
}

/// Makes a model. `name` is its key in the configuration.
///
/// # Errors
/// When the settings do not fit. The zero-key kinds are not made here.
pub fn build_llm(
    name: &str,
    config: &ProviderConfig,
    key: Secret,
) -> Result<Arc<dyn Llm>, ConfigError> {
    build(name, config, key, Stage::Llm, |vendor| vendor.llm)
}

/// Makes a voice. `name` is its key in the configuration.
///
/// # Errors
/// When the settings do not fit. The zero-key kinds are not made here.
pub fn build_tts(
    name: &str,
    config: &ProviderConfig,
    key: Secret,
) -> Result<Arc<dyn Tts>, ConfigError> {
    build(name, config, key, Stage::Tts, |vendor| vendor.tts)
}

/// Makes a speech-to-speech model. `name` is its key in the configuration.
///
/// # Errors
/// When the settings do not fit.
pub fn build_realtime(
    name: &str,
    config: &ProviderConfig,
    key: Secret,
) -> Result<Arc<dyn Realtime>, ConfigError> {
    build(name, config, key, Stage::Realtime, |vendor| vendor.realtime)
}

fn build<T: ?Sized + 'static>(
    name: &str,
    config: &ProviderConfig,
    key: Secret,
    stage: Stage,
    maker: impl Fn(&Vendor) -> Option<&'static Maker<T>>,
) -> Result<Arc<T>, ConfigError> {
    http::client().map_err(|_| ConfigError::Certificates)?;
    match maker(config.kind.vendor()) {
        Some(maker) => (maker.build)(name, config, key),
        None => Err(ConfigError::WrongStage {
            kind: config.kind.as_str(),
            stage: stage.as_str(),
            allowed: vendors::kinds_for(stage).join(", "),
        }),
    }
}

#[cfg(test)]
mod tests;
