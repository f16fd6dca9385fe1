//! The configuration's resources as the catalog knows them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Complaint, Config};
use crate::catalog::engines::{Service, Settings};
use crate::catalog::{Around, Directory, Kind, Row, Snapshot, Tables};
use crate::providers::stt::sphinx::SphinxConfig;
use crate::providers::tts::local::LocalEngine;
use crate::schema::secret::WriteOnly;
use crate::types::Secret;

use super::sections::VoiceProgram;

/// Rows of a table of the file; their secrets come apart.
pub fn rows<T: Kind>(
    table: &BTreeMap<String, T>,
    at: jiff::Timestamp,
    secret: impl Fn(&str) -> Option<Secret>,
) -> BTreeMap<String, Arc<Row<T>>> {
    let row =
        |(id, doc): (&String, &T)| (id.clone(), Row::of_config(id, doc.clone(), secret(id), at));
    table.iter().map(row).collect()
}

/// Every resource of the file, without secrets.
pub fn tables(config: &Config, at: jiff::Timestamp) -> Tables {
    let none = |_: &str| None;
    let trunks: BTreeMap<_, _> =
        config.trunks.iter().map(|(name, trunk)| (name.clone(), trunk.to_resource(name))).collect();
    let mut numbers = config.numbers.clone();
    for (key, number) in &mut numbers {
        number.number.clone_from(key);
    }
    Tables {
        agents: rows(&config.agents, at, none),
        numbers: rows(&numbers, at, none),
        trunks: rows(&trunks, at, none),
        tool_templates: rows(&config.tool_templates, at, none),
        analysis_templates: rows(&config.analysis_templates, at, none),
        credentials: BTreeMap::new(),
    }
}

/// What engines are made of; `key` fetches the key of a provider.
pub fn settings(config: &Config, key: impl Fn(&str) -> Secret) -> Settings {
    let service = |(name, provider): (&String, &super::sections::Provider)| {
        let config = provider.settings().ok()?;
        Some((name.clone(), Service { config, key: key(name) }))
    };
    Settings {
        services: config.providers.iter().filter_map(service).collect(),
        sphinx: SphinxConfig {
            model_dir: config.local.model_dir.clone(),
            workers: config.local.workers,
            rejection: config.local.rejection,
        },
        voice: match config.local.voice_program {
            VoiceProgram::Auto => LocalEngine::Auto,
            VoiceProgram::Flite => LocalEngine::Flite,
            VoiceProgram::EspeakNg => LocalEngine::EspeakNg,
        },
        fallbacks: config.fallbacks.clone(),
        media_dir: config.call.media_dir.clone(),
        advertised: None,
    }
}

/// The file by itself, for checks: no secret is fetched, nothing is built.
pub(super) fn snapshot(config: &Config) -> Snapshot {
    let tables = tables(config, jiff::Timestamp::UNIX_EPOCH);
    let settings = settings(config, |_| Secret::default());
    Snapshot::of(Directory::default().with_resources(tables, settings))
}

/// Checks every resource of a table.
pub(super) fn check<T: Kind>(
    table: &BTreeMap<String, T>,
    section: &str,
    around: &Around<'_>,
    found: &mut Vec<Complaint>,
) {
    for (name, doc) in table {
        let mut doc = doc.clone();
        if let Some(WriteOnly::Text(_)) = doc.secret_mut() {
            let key = format!("{section}.{name}.{}", crate::catalog::secret_name::<T>());
            let message = "a secret does not stand in the configuration: write \
                `{ env = \"NAME\" }` or `{ file = \"path\" }`";
            found.push(Complaint::new(key, message));
        }
        if let Err(wrong) = doc.check(around) {
            found.push(Complaint::new(format!("{section}.{name}.{}", wrong.field), wrong.message));
        }
    }
}
