//! From the configuration's agents, providers and trunks to the catalog's directory.

use std::net::IpAddr;

use super::ServerError;
use crate::catalog::{Directory, Trunk};
use crate::config::resources;
use crate::config::sections;
use crate::config::{Config, Env, SecretRef};
use crate::net::clock;
use crate::sip::Credentials;
use crate::types::{Secret, TrunkName};
use crate::webhook::SigningSecret;

/// Builds agents, trunks and numbers; also says what an operator should know. `advertised` is the address
/// for SDP.
pub(super) fn directory(
    config: &Config,
    env: &Env,
    advertised: Option<IpAddr>,
) -> Result<(Directory, Vec<String>), ServerError> {
    let mut trunks = Vec::new();
    for (name, trunk) in &config.trunks {
        let credentials = credentials(name, trunk, env)?;
        let name = TrunkName(name.clone());
        trunks.push(Trunk::new(name, trunk.to_switchboard(), credentials, advertised));
    }
    let mut keys = std::collections::BTreeMap::new();
    for (name, provider) in &config.providers {
        provider.settings().map_err(|message| ServerError::Setup {
            key: format!("providers.{name}.kind"),
            message,
        })?;
        let used = config.agents.values().any(|agent| {
            [&agent.stt.provider, &agent.llm.provider, &agent.tts.provider].contains(&name)
        });
        let key = format!("providers.{name}.api_key");
        match provider.api_key.as_ref().map(|reference| fetch(reference, &key, env)) {
            Some(Ok(secret)) => {
                keys.insert(name.clone(), secret);
            }
            // A provider that nobody uses may wait for its key.
            Some(Err(error)) if used => return Err(error),
            Some(Err(_)) | None => {}
        }
    }
    let key = |name: &str| keys.get(name).cloned().unwrap_or_default();
    let mut settings = resources::settings(config, key);
    settings.advertised = advertised;
    let mut tables = resources::tables(config, clock::wall());
    let mut secrets = std::collections::BTreeMap::new();
    for (name, agent) in &config.agents {
        let key = format!("agents.{name}.webhook_secret");
        if let Some(reference) = SecretRef::of(&agent.webhook_secret) {
            let secret = fetch(&reference, &key, env)?;
            let checked = SigningSecret::new(secret.clone());
            checked.map_err(|error| ServerError::Setup { key, message: error.to_string() })?;
            secrets.insert(name.clone(), secret);
        }
    }
    tables.agents =
        resources::rows(&config.agents, clock::wall(), |name| secrets.get(name).cloned());
    Directory::default()
        .with_resources(tables, settings)
        .with_trunks(trunks)
        .with_agents(&config.default_agent)
        .map_err(|(name, wrong)| ServerError::Setup {
            key: format!("agents.{name}.{}", wrong.field),
            message: wrong.message,
        })
}

fn fetch(reference: &SecretRef, key: &str, env: &Env) -> Result<Secret, ServerError> {
    reference
        .resolve(env)
        .map_err(|error| ServerError::Setup { key: key.to_owned(), message: error.to_string() })
}

pub(crate) fn credentials(
    name: &str,
    trunk: &sections::Trunk,
    env: &Env,
) -> Result<Option<Credentials>, ServerError> {
    if trunk.username.is_empty() {
        return Ok(None);
    }
    let key = format!("trunks.{name}.password");
    let password = match &trunk.password {
        Some(reference) => fetch(reference, &key, env)?,
        None => Secret::default(),
    };
    Ok(Some(Credentials { username: trunk.username.clone(), password }))
}
