//! Which services and voices an agent can name: what the configuration and credentials give, and static lists of
//! what vendors had when this was written. A name that is not listed can be used all the same.

use super::engines::{LOCAL, SCRIPT, kind_of};
use super::table::Snapshot;
use crate::providers::config::ProviderKind;
use crate::schema::ProviderCredential;
use crate::schema::provider::{Provider, ProviderModel, Voice};
use crate::types::OrganizationId;

/// Stage, model, whether it is the usual one.
type Models = &'static [(&'static str, &'static str, bool)];

const OPENAI: Models = &[
    ("stt", "gpt-4o-mini-transcribe", true),
    ("stt", "gpt-4o-transcribe", false),
    ("stt", "whisper-1", false),
    ("llm", "gpt-4o-mini", true),
    ("llm", "gpt-4o", false),
    ("llm", "gpt-4.1-mini", false),
    ("llm", "gpt-4.1", false),
    ("tts", "gpt-4o-mini-tts", true),
    ("tts", "tts-1", false),
];
const DEEPGRAM: Models = &[
    ("stt", "nova-3", true),
    ("stt", "nova-2", false),
    ("tts", "aura-2-thalia-en", true),
    ("tts", "aura-2-andromeda-en", false),
];
const ELEVENLABS: Models = &[
    ("tts", "eleven_flash_v2_5", true),
    ("tts", "eleven_turbo_v2_5", false),
    ("tts", "eleven_multilingual_v2", false),
];

/// Voice, language, gender.
type Voices = &'static [(&'static str, Option<&'static str>, Option<&'static str>)];

const OPENAI_VOICES: Voices = &[
    ("alloy", None, None),
    ("ash", None, None),
    ("ballad", None, None),
    ("coral", None, None),
    ("echo", None, None),
    ("fable", None, None),
    ("nova", None, None),
    ("onyx", None, None),
    ("sage", None, None),
    ("shimmer", None, None),
];
const DEEPGRAM_VOICES: Voices = &[
    ("aura-2-thalia-en", Some("en"), Some("female")),
    ("aura-2-andromeda-en", Some("en"), Some("female")),
    ("aura-2-helena-en", Some("en"), Some("female")),
    ("aura-2-apollo-en", Some("en"), Some("male")),
    ("aura-2-arcas-en", Some("en"), Some("male")),
];
/// flite's, and a few of the languages of espeak-ng, which speaks with a language's name.
const LOCAL_VOICES: Voices = &[
    ("rms", Some("en-US"), Some("male")),
    ("slt", Some("en-US"), Some("female")),
    ("awb", Some("en-GB"), Some("male")),
    ("kal", Some("en-US"), Some("male")),
    ("en", Some("en"), None),
    ("de", Some("de"), None),
    ("fr", Some("fr"), None),
    ("es", Some("es"), None),
    ("it", Some("it"), None),
];

fn models(kind: ProviderKind) -> Models {
    match kind {
        ProviderKind::OpenAi => OPENAI,
        ProviderKind::Deepgram => DEEPGRAM,
        ProviderKind::ElevenLabs => ELEVENLABS,
        ProviderKind::Sphinx | ProviderKind::Scripted | ProviderKind::Local => &[],
    }
}

fn vendor(kind: ProviderKind) -> (&'static str, Option<&'static str>) {
    match kind {
        ProviderKind::OpenAi => ("OpenAI", Some("https://platform.openai.com/docs")),
        ProviderKind::Deepgram => ("Deepgram", Some("https://developers.deepgram.com/docs")),
        ProviderKind::ElevenLabs => ("ElevenLabs", Some("https://elevenlabs.io/docs")),
        ProviderKind::Sphinx => ("pocketsphinx on this machine", None),
        ProviderKind::Scripted => ("Scripted dialogue", None),
        ProviderKind::Local => ("flite or espeak-ng on this machine", None),
    }
}

/// A named service: its kind, settings and where its key comes from.
struct Named {
    name: String,
    kind: ProviderKind,
    model: String,
    voice: String,
    key: &'static str,
}

fn named(snapshot: &Snapshot, organization: &OrganizationId) -> Vec<Named> {
    let mut all: Vec<Named> = Vec::new();
    for row in snapshot.rows::<ProviderCredential>(organization) {
        let Some(kind) = kind_of(&row.doc) else { continue };
        let name = row.doc.provider.clone();
        if all.iter().all(|other| other.name != name) {
            let (model, voice) = (String::new(), String::new());
            all.push(Named { name, kind, model, voice, key: "own" });
        }
    }
    let first = *organization == OrganizationId::default();
    for (name, service) in snapshot.directory.settings.services.iter().filter(|_| first) {
        if let Some(own) = all.iter_mut().find(|own| own.name == *name) {
            own.model.clone_from(&service.config.model);
            own.voice.clone_from(&service.config.voice);
            continue;
        }
        all.push(Named {
            name: name.clone(),
            kind: service.config.kind,
            model: service.config.model.clone(),
            voice: service.config.voice.clone(),
            key: if service.key.is_empty() { "not_required" } else { "configured" },
        });
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Services an organization's agents can name, and those that a credential would make usable.
pub fn providers(snapshot: &Snapshot, organization: &OrganizationId) -> Vec<Provider> {
    let mut all = vec![
        builtin(LOCAL, "stt", ProviderKind::Sphinx, &["scripted_phrases"]),
        builtin(SCRIPT, "llm", ProviderKind::Scripted, &["streaming"]),
        builtin(LOCAL, "tts", ProviderKind::Local, &["speed", "language"]),
    ];
    let mut named = named(snapshot, organization);
    for kind in [ProviderKind::OpenAi, ProviderKind::Deepgram, ProviderKind::ElevenLabs] {
        if named.iter().all(|own| own.name != kind.as_str()) {
            let (name, model, voice) = (kind.as_str().to_owned(), String::new(), String::new());
            named.push(Named { name, kind, model, voice, key: "missing" });
        }
    }
    for own in &named {
        for stage in ["stt", "llm", "tts"] {
            all.extend(provider(own, stage));
        }
    }
    all
}

fn provider(own: &Named, stage: &str) -> Option<Provider> {
    let known: Vec<_> = models(own.kind).iter().filter(|(of, ..)| *of == stage).collect();
    if known.is_empty() {
        return None;
    }
    let is_known = known.iter().any(|(_, id, _)| *id == own.model);
    let mut models: Vec<ProviderModel> = known
        .iter()
        .map(|(_, id, usual)| ProviderModel {
            id: (*id).to_owned(),
            name: (*id).to_owned(),
            default: if own.model.is_empty() { *usual } else { *id == own.model },
        })
        .collect();
    if !own.model.is_empty() && !is_known {
        let id = own.model.clone();
        models.insert(0, ProviderModel { name: id.clone(), id, default: true });
    }
    let (vendor, docs_url) = vendor(own.kind);
    let capabilities: &[&str] = match (own.kind, stage) {
        (ProviderKind::OpenAi, "llm") => &["streaming", "tools", "temperature", "max_tokens"],
        (ProviderKind::OpenAi, "tts") => &["streaming", "speed", "voice"],
        (ProviderKind::ElevenLabs, _) => &["streaming", "speed", "voice", "language"],
        (ProviderKind::Deepgram, "stt") => &["streaming", "language", "keyterms"],
        (ProviderKind::OpenAi, _) => &["language", "keyterms"],
        _ => &["streaming", "voice"],
    };
    Some(Provider {
        id: own.name.clone(),
        category: stage.to_owned(),
        kind: own.kind.as_str().to_owned(),
        name: vendor.to_owned(),
        docs_url: docs_url.map(str::to_owned),
        models,
        default_voice: Some(own.voice.clone()).filter(|voice| stage == "tts" && !voice.is_empty()),
        credential_state: own.key.to_owned(),
        capabilities: capabilities.iter().map(|word| (*word).to_owned()).collect(),
    })
}

fn builtin(id: &str, stage: &str, kind: ProviderKind, capabilities: &[&str]) -> Provider {
    Provider {
        id: id.to_owned(),
        category: stage.to_owned(),
        kind: kind.as_str().to_owned(),
        name: vendor(kind).0.to_owned(),
        docs_url: None,
        models: Vec::new(),
        default_voice: None,
        credential_state: "not_required".to_owned(),
        capabilities: capabilities.iter().map(|word| (*word).to_owned()).collect(),
    }
}

/// Voices an organization's agents can name.
pub fn voices(snapshot: &Snapshot, organization: &OrganizationId) -> Vec<Voice> {
    let mut all = listed(LOCAL, LOCAL_VOICES);
    for own in named(snapshot, organization) {
        let known = match own.kind {
            ProviderKind::OpenAi => OPENAI_VOICES,
            ProviderKind::Deepgram => DEEPGRAM_VOICES,
            // Everybody has voices of their own there; the service's own list needs its key.
            _ => &[],
        };
        let mut voices = listed(&own.name, known);
        if !own.voice.is_empty() && voices.iter().all(|voice| voice.id != own.voice) {
            voices.push(voice(&own.name, (&own.voice, None, None)));
        }
        all.extend(voices);
    }
    all
}

fn listed(provider: &str, voices: Voices) -> Vec<Voice> {
    voices.iter().map(|row| voice(provider, *row)).collect()
}

fn voice(provider: &str, (id, language, gender): (&str, Option<&str>, Option<&str>)) -> Voice {
    Voice {
        id: id.to_owned(),
        provider: provider.to_owned(),
        name: id.to_owned(),
        language: language.map(str::to_owned),
        gender: gender.map(str::to_owned),
        preview_url: None,
        models: Vec::new(),
    }
}
