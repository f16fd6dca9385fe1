//! Which services and voices an agent can name: what the configuration and credentials give, and static lists of
//! what vendors had when this was written. A name that is not listed can be used all the same.

use super::engines::{LOCAL, SCRIPT, kind_of};
use super::table::Snapshot;
use crate::providers::Stage;
use crate::providers::config::ProviderKind;
use crate::providers::vendors::{VENDORS, VoiceFacts};
use crate::schema::ProviderCredential;
use crate::schema::provider::{Provider, ProviderModel, Voice};
use crate::types::OrganizationId;

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
    for vendor in VENDORS.iter().filter(|vendor| !vendor.kind.is_zero_key()) {
        if named.iter().all(|own| own.name != vendor.word) {
            let (name, model, voice) = (vendor.word.to_owned(), String::new(), String::new());
            named.push(Named { name, kind: vendor.kind, model, voice, key: "missing" });
        }
    }
    for own in &named {
        for stage in [Stage::Stt, Stage::Llm, Stage::Tts, Stage::Realtime] {
            all.extend(provider(own, stage));
        }
    }
    all
}

fn provider(own: &Named, stage: Stage) -> Option<Provider> {
    let vendor = own.kind.vendor();
    let (capabilities, known) = vendor.stage(stage)?;
    let is_known = known.contains(&own.model.as_str());
    let usual = if own.model.is_empty() { known.first() } else { None };
    let mut models: Vec<ProviderModel> = known
        .iter()
        .map(|id| ProviderModel {
            id: (*id).to_owned(),
            name: (*id).to_owned(),
            default: usual == Some(id) || *id == own.model,
        })
        .collect();
    if !own.model.is_empty() && !is_known {
        let id = own.model.clone();
        models.insert(0, ProviderModel { name: id.clone(), id, default: true });
    }
    let is_voice = stage == Stage::Tts && !own.voice.is_empty();
    Some(Provider {
        id: own.name.clone(),
        category: stage.as_str().to_owned(),
        kind: vendor.word.to_owned(),
        name: vendor.title.to_owned(),
        docs_url: vendor.docs_url.map(str::to_owned),
        models,
        default_voice: is_voice.then(|| own.voice.clone()),
        credential_state: own.key.to_owned(),
        capabilities: capabilities.iter().map(|word| (*word).to_owned()).collect(),
    })
}

fn builtin(id: &str, stage: &str, kind: ProviderKind, capabilities: &[&str]) -> Provider {
    Provider {
        id: id.to_owned(),
        category: stage.to_owned(),
        kind: kind.as_str().to_owned(),
        name: kind.vendor().title.to_owned(),
        docs_url: None,
        models: Vec::new(),
        default_voice: None,
        credential_state: "not_required".to_owned(),
        capabilities: capabilities.iter().map(|word| (*word).to_owned()).collect(),
    }
}

/// Voices an organization's agents can name.
pub fn voices(snapshot: &Snapshot, organization: &OrganizationId) -> Vec<Voice> {
    let mut all = listed(LOCAL, ProviderKind::Local);
    for own in named(snapshot, organization) {
        let mut voices = listed(&own.name, own.kind);
        if !own.voice.is_empty() && voices.iter().all(|voice| voice.id != own.voice) {
            let mut own_voice =
                voice(&own.name, &VoiceFacts { id: "", language: None, gender: None });
            own_voice.id.clone_from(&own.voice);
            own_voice.name.clone_from(&own.voice);
            voices.push(own_voice);
        }
        all.extend(voices);
    }
    all
}

fn listed(provider: &str, kind: ProviderKind) -> Vec<Voice> {
    kind.vendor().voices.iter().map(|row| voice(provider, row)).collect()
}

fn voice(provider: &str, facts: &VoiceFacts) -> Voice {
    Voice {
        id: facts.id.to_owned(),
        provider: provider.to_owned(),
        name: facts.id.to_owned(),
        language: facts.language.map(str::to_owned),
        gender: facts.gender.map(str::to_owned),
        preview_url: None,
        models: Vec::new(),
    }
}
