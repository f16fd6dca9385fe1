//! Every protocol that is spoken: what it is called, what it serves, how a key is tried.
//!
//! A row a vendor; what belongs to one stage of it (models, capabilities, how it is made) stands in
//! that adapter's own file as its `MAKER`.

use std::sync::Arc;

use super::Stage;
use super::config::{ConfigError, ProviderConfig, ProviderKind};
use super::llm::{self, Llm};
use super::realtime::{self, Realtime};
use super::stt::{self, Stt};
use super::tts::{self, Tts};
use crate::types::Secret;

/// How a provider of one stage is made, and what is known of it beforehand.
pub struct Maker<T: ?Sized> {
    /// What it can do, in the words of the API.
    pub capabilities: &'static [&'static str],
    /// Models that were there when this was written, the usual one first.
    pub models: &'static [&'static str],
    /// Makes one from its name, settings and key.
    pub build: fn(&str, &ProviderConfig, Secret) -> Result<Arc<T>, ConfigError>,
}

/// A request that costs nothing and that only a good key opens.
pub struct Probe {
    /// Base URL where none is configured.
    pub base_url: &'static str,
    /// Below the base URL.
    pub path: &'static str,
    /// Header of the key.
    pub header: &'static str,
    /// In front of the key.
    pub scheme: &'static str,
    /// A header without which the service answers nothing.
    pub besides: Option<(&'static str, &'static str)>,
}

/// A voice that a vendor had when this was written.
pub struct VoiceFacts {
    /// Its name at the vendor.
    pub id: &'static str,
    /// BCP 47 tag, if it has one language.
    pub language: Option<&'static str>,
    /// `female` or `male`.
    pub gender: Option<&'static str>,
}

/// One protocol.
pub struct Vendor {
    /// Its key.
    pub kind: ProviderKind,
    /// The word in the configuration.
    pub word: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// Where its documentation is.
    pub docs_url: Option<&'static str>,
    /// How its key is tried.
    pub probe: Option<Probe>,
    /// Voices.
    pub voices: &'static [VoiceFacts],
    /// Speech to text.
    pub stt: Option<&'static Maker<dyn Stt>>,
    /// Language model.
    pub llm: Option<&'static Maker<dyn Llm>>,
    /// Text to speech.
    pub tts: Option<&'static Maker<dyn Tts>>,
    /// Speech to speech.
    pub realtime: Option<&'static Maker<dyn Realtime>>,
}

impl Vendor {
    /// Capabilities and models of a stage, if it is served over a wire.
    pub fn stage(
        &self,
        stage: Stage,
    ) -> Option<(&'static [&'static str], &'static [&'static str])> {
        match stage {
            Stage::Stt => self.stt.map(|maker| (maker.capabilities, maker.models)),
            Stage::Llm => self.llm.map(|maker| (maker.capabilities, maker.models)),
            Stage::Tts => self.tts.map(|maker| (maker.capabilities, maker.models)),
            Stage::Realtime => self.realtime.map(|maker| (maker.capabilities, maker.models)),
        }
    }
}

/// A vendor without anything; rows fill in what they have.
const NOTHING: Vendor = Vendor {
    kind: ProviderKind::OpenAi,
    word: "",
    title: "",
    docs_url: None,
    probe: None,
    voices: &[],
    stt: None,
    llm: None,
    tts: None,
    realtime: None,
};

const fn voice(
    id: &'static str,
    language: Option<&'static str>,
    gender: Option<&'static str>,
) -> VoiceFacts {
    VoiceFacts { id, language, gender }
}

/// OpenAI and everything that copies its HTTP API.
static OPENAI: Vendor = Vendor {
    kind: ProviderKind::OpenAi,
    word: "openai",
    title: "OpenAI",
    docs_url: Some("https://platform.openai.com/docs"),
    probe: Some(Probe {
        base_url: "https://api.openai.com/v1",
        path: "/models",
        header: "authorization",
        scheme: "Bearer ",
        besides: None,
    }),
    voices: &[
        voice("alloy", None, None),
        voice("ash", None, None),
        voice("ballad", None, None),
        voice("coral", None, None),
        voice("echo", None, None),
        voice("fable", None, None),
        voice("nova", None, None),
        voice("onyx", None, None),
        voice("sage", None, None),
        voice("shimmer", None, None),
    ],
    stt: Some(&stt::openai::MAKER),
    llm: Some(&llm::openai::MAKER),
    tts: Some(&tts::openai::MAKER),
    realtime: Some(&realtime::openai::MAKER),
};

static DEEPGRAM: Vendor = Vendor {
    kind: ProviderKind::Deepgram,
    word: "deepgram",
    title: "Deepgram",
    docs_url: Some("https://developers.deepgram.com/docs"),
    probe: Some(Probe {
        base_url: "https://api.deepgram.com",
        path: "/v1/projects",
        header: "authorization",
        scheme: "Token ",
        besides: None,
    }),
    voices: &[
        voice("aura-2-thalia-en", Some("en"), Some("female")),
        voice("aura-2-andromeda-en", Some("en"), Some("female")),
        voice("aura-2-helena-en", Some("en"), Some("female")),
        voice("aura-2-apollo-en", Some("en"), Some("male")),
        voice("aura-2-arcas-en", Some("en"), Some("male")),
    ],
    stt: Some(&stt::deepgram::MAKER),
    tts: Some(&tts::deepgram::MAKER),
    ..NOTHING
};

/// The same keys as Deepgram's other services, but a protocol of its own.
static DEEPGRAM_FLUX: Vendor = Vendor {
    kind: ProviderKind::DeepgramFlux,
    word: "deepgram-flux",
    title: "Deepgram Flux",
    docs_url: Some("https://developers.deepgram.com/docs/flux"),
    probe: Some(Probe {
        base_url: "https://api.deepgram.com",
        path: "/v1/projects",
        header: "authorization",
        scheme: "Token ",
        besides: None,
    }),
    stt: Some(&stt::flux::MAKER),
    ..NOTHING
};

/// The list of transcripts is on another host than the streams.
static ASSEMBLYAI: Vendor = Vendor {
    kind: ProviderKind::AssemblyAi,
    word: "assemblyai",
    title: "AssemblyAI",
    docs_url: Some("https://www.assemblyai.com/docs"),
    stt: Some(&stt::assemblyai::MAKER),
    ..NOTHING
};

/// Voices of the speech-to-speech models; they are not those of the speech service.
const REALTIME_VOICES: &[VoiceFacts] = &[
    voice("marin", None, None),
    voice("cedar", None, None),
    voice("alloy", None, None),
    voice("ash", None, None),
    voice("ballad", None, None),
    voice("coral", None, None),
    voice("echo", None, None),
    voice("sage", None, None),
    voice("shimmer", None, None),
    voice("verse", None, None),
];

static OPENAI_REALTIME: Vendor = Vendor {
    kind: ProviderKind::OpenAiRealtime,
    word: "openai-realtime",
    title: "OpenAI Realtime",
    docs_url: Some("https://platform.openai.com/docs/guides/realtime-transcription"),
    probe: Some(Probe {
        base_url: "https://api.openai.com/v1",
        path: "/models",
        header: "authorization",
        scheme: "Bearer ",
        besides: None,
    }),
    voices: REALTIME_VOICES,
    stt: Some(&stt::openai_realtime::MAKER),
    realtime: Some(&realtime::openai::MAKER),
    ..NOTHING
};

static SONIOX: Vendor = Vendor {
    kind: ProviderKind::Soniox,
    word: "soniox",
    title: "Soniox",
    docs_url: Some("https://soniox.com/docs"),
    probe: Some(Probe {
        base_url: "https://api.soniox.com",
        path: "/v1/models",
        header: "authorization",
        scheme: "Bearer ",
        besides: None,
    }),
    voices: &[voice("Adrian", None, None), voice("Maya", None, None)],
    stt: Some(&stt::soniox::MAKER),
    tts: Some(&tts::soniox::MAKER),
    ..NOTHING
};

static SPEECHMATICS: Vendor = Vendor {
    kind: ProviderKind::Speechmatics,
    word: "speechmatics",
    title: "Speechmatics",
    docs_url: Some("https://docs.speechmatics.com"),
    stt: Some(&stt::speechmatics::MAKER),
    ..NOTHING
};

static VOSK: Vendor = Vendor {
    kind: ProviderKind::Vosk,
    word: "vosk",
    title: "vosk-server",
    docs_url: Some("https://alphacephei.com/vosk/server"),
    stt: Some(&stt::vosk::MAKER),
    ..NOTHING
};

static SHERPA: Vendor = Vendor {
    kind: ProviderKind::Sherpa,
    word: "sherpa",
    title: "sherpa-onnx streaming server",
    docs_url: Some("https://k2-fsa.github.io/sherpa/onnx"),
    stt: Some(&stt::sherpa::MAKER),
    ..NOTHING
};

static WHISPER_CPP: Vendor = Vendor {
    kind: ProviderKind::WhisperCpp,
    word: "whisper-cpp",
    title: "whisper.cpp in this process",
    docs_url: Some("https://github.com/ggml-org/whisper.cpp"),
    stt: Some(&stt::whisper::MAKER),
    ..NOTHING
};

/// Everybody has voices of their own there as well.
static CARTESIA: Vendor = Vendor {
    kind: ProviderKind::Cartesia,
    word: "cartesia",
    title: "Cartesia",
    docs_url: Some("https://docs.cartesia.ai"),
    probe: Some(Probe {
        base_url: "https://api.cartesia.ai",
        path: "/voices?limit=1",
        header: "x-api-key",
        scheme: "",
        besides: Some(("cartesia-version", tts::cartesia::VERSION)),
    }),
    stt: Some(&stt::cartesia::MAKER),
    tts: Some(&tts::cartesia::MAKER),
    ..NOTHING
};

/// Everybody has voices of their own there; the service's own list needs its key.
static ELEVENLABS: Vendor = Vendor {
    kind: ProviderKind::ElevenLabs,
    word: "elevenlabs",
    title: "ElevenLabs",
    docs_url: Some("https://elevenlabs.io/docs"),
    probe: Some(Probe {
        base_url: "https://api.elevenlabs.io",
        path: "/v1/user",
        header: "xi-api-key",
        scheme: "",
        besides: None,
    }),
    stt: Some(&stt::scribe::MAKER),
    tts: Some(&tts::elevenlabs::MAKER),
    ..NOTHING
};

/// The list of its voices needs no key, and nothing that is free does.
static RIME: Vendor = Vendor {
    kind: ProviderKind::Rime,
    word: "rime",
    title: "Rime",
    docs_url: Some("https://docs.rime.ai"),
    voices: &[voice("astra", Some("en"), None), voice("cove", Some("en"), None)],
    tts: Some(&tts::rime::MAKER),
    ..NOTHING
};

static AZURE: Vendor = Vendor {
    kind: ProviderKind::Azure,
    word: "azure",
    title: "Azure Speech",
    docs_url: Some("https://learn.microsoft.com/azure/ai-services/speech-service/"),
    probe: Some(Probe {
        base_url: "https://eastus.tts.speech.microsoft.com",
        path: "/cognitiveservices/voices/list",
        header: tts::azure::KEY_HEADER,
        scheme: "",
        besides: None,
    }),
    voices: &[
        voice("en-US-AvaNeural", Some("en-US"), Some("female")),
        voice("en-US-AndrewNeural", Some("en-US"), Some("male")),
        voice("en-US-JennyNeural", Some("en-US"), Some("female")),
        voice("en-GB-SoniaNeural", Some("en-GB"), Some("female")),
        voice("de-DE-KatjaNeural", Some("de-DE"), Some("female")),
        voice("fr-FR-DeniseNeural", Some("fr-FR"), Some("female")),
        voice("es-ES-ElviraNeural", Some("es-ES"), Some("female")),
        voice("zh-CN-XiaoxiaoNeural", Some("zh-CN"), Some("female")),
    ],
    tts: Some(&tts::azure::MAKER),
    ..NOTHING
};

static PIPER: Vendor = Vendor {
    kind: ProviderKind::Piper,
    word: "piper",
    title: "Piper",
    docs_url: Some("https://github.com/OHF-Voice/piper1-gpl/blob/main/docs/API_HTTP.md"),
    tts: Some(&tts::piper::MAKER),
    ..NOTHING
};

static WYOMING: Vendor = Vendor {
    kind: ProviderKind::Wyoming,
    word: "wyoming",
    title: "Wyoming",
    docs_url: Some("https://github.com/rhasspy/wyoming"),
    tts: Some(&tts::wyoming::MAKER),
    ..NOTHING
};

static XAI: Vendor = Vendor {
    kind: ProviderKind::Xai,
    word: "xai",
    title: "xAI",
    docs_url: Some("https://docs.x.ai"),
    probe: Some(Probe {
        base_url: "https://api.x.ai",
        path: "/v1/tts/voices",
        header: "authorization",
        scheme: "Bearer ",
        besides: None,
    }),
    voices: &[
        voice("eve", None, None),
        voice("ara", None, None),
        voice("rex", None, None),
        voice("sal", None, None),
        voice("leo", None, None),
    ],
    tts: Some(&tts::xai::MAKER),
    realtime: Some(&realtime::xai::MAKER),
    ..NOTHING
};

static ANTHROPIC: Vendor = Vendor {
    kind: ProviderKind::Anthropic,
    word: "anthropic",
    title: "Anthropic",
    docs_url: Some("https://platform.claude.com/docs"),
    probe: Some(Probe {
        base_url: "https://api.anthropic.com",
        path: "/v1/models",
        header: "x-api-key",
        scheme: "",
        besides: Some(("anthropic-version", llm::anthropic::VERSION)),
    }),
    llm: Some(&llm::anthropic::MAKER),
    ..NOTHING
};

static GEMINI: Vendor = Vendor {
    kind: ProviderKind::Gemini,
    word: "gemini",
    title: "Gemini",
    docs_url: Some("https://ai.google.dev/gemini-api/docs"),
    probe: Some(Probe {
        base_url: "https://generativelanguage.googleapis.com/v1beta",
        path: "/models?pageSize=1",
        header: "x-goog-api-key",
        scheme: "",
        besides: None,
    }),
    llm: Some(&llm::gemini::MAKER),
    ..NOTHING
};

static SPHINX: Vendor = Vendor {
    kind: ProviderKind::Sphinx,
    word: "sphinx",
    title: "pocketsphinx on this machine",
    ..NOTHING
};

static SCRIPTED: Vendor = Vendor {
    kind: ProviderKind::Scripted,
    word: "scripted",
    title: "Scripted dialogue",
    ..NOTHING
};

/// flite's voices, and a few of the languages of espeak-ng, which speaks with a language's name.
static LOCAL: Vendor = Vendor {
    kind: ProviderKind::Local,
    word: "local",
    title: "flite or espeak-ng on this machine",
    voices: &[
        voice("rms", Some("en-US"), Some("male")),
        voice("slt", Some("en-US"), Some("female")),
        voice("awb", Some("en-GB"), Some("male")),
        voice("kal", Some("en-US"), Some("male")),
        voice("en", Some("en"), None),
        voice("de", Some("de"), None),
        voice("fr", Some("fr"), None),
        voice("es", Some("es"), None),
        voice("it", Some("it"), None),
    ],
    ..NOTHING
};

/// All of them, in the order they are shown.
pub static VENDORS: &[&Vendor] = &[
    &OPENAI,
    &DEEPGRAM,
    &DEEPGRAM_FLUX,
    &ASSEMBLYAI,
    &OPENAI_REALTIME,
    &SONIOX,
    &SPEECHMATICS,
    &VOSK,
    &SHERPA,
    &WHISPER_CPP,
    &CARTESIA,
    &ELEVENLABS,
    &RIME,
    &AZURE,
    &PIPER,
    &WYOMING,
    &XAI,
    &ANTHROPIC,
    &GEMINI,
    &SPHINX,
    &SCRIPTED,
    &LOCAL,
];

impl ProviderKind {
    /// What is known of it.
    pub fn vendor(self) -> &'static Vendor {
        // Every kind has a row: `every_kind_has_its_row`.
        VENDORS.iter().find(|vendor| vendor.kind == self).unwrap_or(&&OPENAI)
    }
}

/// Words of the kinds that serve a stage, the zero-key one last.
pub fn kinds_for(stage: Stage) -> Vec<&'static str> {
    let mut words: Vec<_> =
        VENDORS.iter().filter(|vendor| vendor.stage(stage).is_some()).map(|v| v.word).collect();
    words.extend(match stage {
        Stage::Stt => Some(SPHINX.word),
        Stage::Llm => Some(SCRIPTED.word),
        Stage::Tts => Some(LOCAL.word),
        Stage::Realtime => None,
    });
    words
}

/// Words of the kinds that customers have keys of their own for.
pub fn kinds_with_key() -> Vec<&'static str> {
    VENDORS.iter().filter(|vendor| vendor.kind.takes_key()).map(|vendor| vendor.word).collect()
}

#[cfg(test)]
mod tests {
    use super::{VENDORS, kinds_for};
    use crate::providers::Stage;

    #[test]
    fn every_kind_has_its_row_under_the_word_serde_knows() {
        for vendor in VENDORS {
            assert_eq!(vendor.kind.vendor().word, vendor.word);
            let word = serde_json::to_value(vendor.kind).unwrap();
            assert_eq!(word, vendor.word);
            let stages = [Stage::Stt, Stage::Llm, Stage::Tts, Stage::Realtime];
            let serves = stages.iter().any(|stage| vendor.stage(*stage).is_some());
            assert_eq!(serves, !vendor.kind.is_zero_key(), "{word}");
        }
    }

    #[test]
    fn a_stage_names_those_that_serve_it() {
        assert_eq!(kinds_for(Stage::Llm).first(), Some(&"openai"));
        assert_eq!(kinds_for(Stage::Tts).last(), Some(&"local"));
    }
}
