//! Who stands in for an agent's providers.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{LOCAL, SCRIPT, Service, no_provider, service, stt_of, with_model};
use crate::call::{FallbackVoice, Fallbacks};
use crate::catalog::check::{Wrong, wrong};
use crate::catalog::table::Snapshot;
use crate::providers::config::{ConfigError, build_llm, build_tts};
use crate::providers::tts::Tts;
use crate::providers::tts::local::{LocalEngine, LocalTts, LocalTtsConfig};
use crate::schema::Agent;
use crate::schema::engine::Fallback;
use crate::types::OrganizationId;

/// Providers that one stage may fall back on.
const FALLBACKS_MAX: usize = 4;

/// Who stands in for the providers of agents that say nothing of it: names of providers in order, at most 4 each.
/// An agent's own provider is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DefaultFallbacks {
    /// Recognisers.
    pub stt: Vec<String>,
    /// Language models.
    pub llm: Vec<String>,
    /// Voices; `local` is the one that needs no key. Each speaks with its own default voice.
    pub tts: Vec<String>,
}

impl DefaultFallbacks {
    /// Every name and the key it stands under.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let lists = [("stt", &self.stt), ("llm", &self.llm), ("tts", &self.tts)];
        lists.into_iter().flat_map(|(key, names)| names.iter().map(move |name| (key, name)))
    }
}

/// One stage of an agent.
struct Stage<'a> {
    name: &'static str,
    own: &'a str,
    listed: Option<&'a Vec<Fallback>>,
    default: &'a [String],
    /// Built-in provider that can't stand in here.
    refused: &'static str,
}

fn stages<'a>(agent: &'a Agent, default: &'a DefaultFallbacks) -> [Stage<'a>; 3] {
    [
        Stage {
            name: "stt",
            own: &agent.stt.provider,
            listed: agent.stt.fallbacks.as_ref(),
            default: &default.stt,
            refused: LOCAL,
        },
        Stage {
            name: "llm",
            own: &agent.llm.provider,
            listed: agent.llm.fallbacks.as_ref(),
            default: &default.llm,
            refused: SCRIPT,
        },
        Stage {
            name: "tts",
            own: &agent.tts.provider,
            listed: agent.tts.fallbacks.as_ref(),
            default: &default.tts,
            refused: "",
        },
    ]
}

impl Stage<'_> {
    /// What the agent lists, each with the path of its field; or the server's list without the agent's own provider.
    fn wanted(&self, organization: &OrganizationId) -> Vec<(String, Fallback)> {
        if let Some(listed) = self.listed {
            let field = |at: usize| format!("{}.fallbacks[{at}].provider", self.name);
            return listed.iter().enumerate().map(|(at, own)| (field(at), own.clone())).collect();
        }
        // The built-in dialogue and recogniser belong together; the server's providers are the first organization's.
        let is_local = self.own == LOCAL || self.own == SCRIPT;
        if is_local || *organization != OrganizationId::default() {
            return Vec::new();
        }
        let others = self.default.iter().filter(|name| *name != self.own);
        let named = |name: &String| Fallback { provider: name.clone(), ..Fallback::default() };
        others.map(|name| (format!("fallbacks.{}", self.name), named(name))).collect()
    }

    fn check(&self, wanted: &[(String, Fallback)]) -> Result<(), Wrong> {
        if wanted.len() > FALLBACKS_MAX {
            let message = format!("at most {FALLBACKS_MAX} entries");
            return Err(wrong(format!("{}.fallbacks", self.name), message));
        }
        for (at, (field, own)) in wanted.iter().enumerate() {
            let name = own.provider.as_str();
            if name == self.own {
                let message = format!("`{name}` is the agent's own provider: name another one");
                return Err(wrong(field, message));
            }
            if wanted.iter().take(at).any(|(_, other)| other.provider == name) {
                return Err(wrong(field, format!("`{name}` is listed twice")));
            }
            if name == self.refused {
                let message = format!("`{name}` can't stand in: it knows only its own script");
                return Err(wrong(field, message));
            }
            if own.voice.is_some() && self.name != "tts" {
                let field = field.replace(".provider", ".voice");
                return Err(wrong(field, "only a fallback of `tts` has a voice"));
            }
        }
        Ok(())
    }
}

/// Makes the engines of one stage.
fn each<T>(
    stage: &Stage<'_>,
    (organization, snapshot): (&OrganizationId, &Snapshot),
    make: impl Fn(&Fallback, Option<&Service>) -> Result<T, ConfigError>,
) -> Result<Vec<T>, Wrong> {
    let wanted = stage.wanted(organization);
    stage.check(&wanted)?;
    let mut made = Vec::new();
    for (field, own) in wanted {
        let service = service(snapshot, organization, &own.provider);
        if service.is_none() && own.provider != LOCAL {
            return Err(no_provider(&field, &own.provider));
        }
        made.push(make(&own, service.as_ref()).map_err(|error| wrong(field, error))?);
    }
    Ok(made)
}

fn config_of(own: &Fallback, service: Option<&Service>) -> (Service, String) {
    let service = service
        .cloned()
        .unwrap_or_else(|| Service { config: Default::default(), key: Default::default() });
    (service, own.provider.clone())
}

/// Whether every fallback is there and can do what it is named for.
pub(super) fn check(
    agent: &Agent,
    snapshot: &Snapshot,
    organization: &OrganizationId,
) -> Result<(), Wrong> {
    // Whether a local voice is installed does not change what may be written.
    build(agent, organization, snapshot, LocalEngine::Auto).map(|_| ())
}

/// Makes them.
pub(super) fn build(
    agent: &Agent,
    organization: &OrganizationId,
    snapshot: &Snapshot,
    local: LocalEngine,
) -> Result<Fallbacks, Wrong> {
    let [stt, llm, tts] = stages(agent, &snapshot.directory.settings.fallbacks);
    let around = (organization, snapshot);
    let stt = each(&stt, around, |own, found| {
        let (service, name) = config_of(own, found);
        stt_of(&name, &service, own.model.as_ref())
    })?;
    let llm = each(&llm, around, |own, found| {
        let (service, name) = config_of(own, found);
        build_llm(&name, &with_model(&service, own.model.as_ref()), service.key)
    })?;
    let tts = each(&tts, around, |own, found| {
        let (service, name) = config_of(own, found);
        let mut config = with_model(&service, own.model.as_ref());
        let voice = own.voice.clone().unwrap_or_default();
        if found.is_none() {
            return Ok(local_voice(local).map(|tts| {
                let service = format!("{local:?}");
                FallbackVoice { tts, service, voice }
            }));
        }
        if !voice.is_empty() {
            config.voice.clone_from(&voice);
        }
        let service_text = format!("{config:?}");
        let tts = build_tts(&name, &config, service.key)?;
        Ok(Some(FallbackVoice { tts, service: service_text, voice }))
    })?;
    Ok(Fallbacks {
        stt,
        llm,
        tts: tts.into_iter().flatten().collect(),
        llm_hedge_ms: agent.llm.hedge_ms,
        tts_hedge_ms: agent.tts.hedge_ms,
    })
}

/// The local voice, if one is installed.
fn local_voice(engine: LocalEngine) -> Option<Arc<dyn Tts>> {
    let config = LocalTtsConfig { engine, ..LocalTtsConfig::default() };
    let made = LocalTts::detect(&config);
    if let Err(error) = &made {
        tracing::warn!(%error, "the local voice can't stand in");
    }
    made.ok().map(|tts| Arc::new(tts) as Arc<dyn Tts>)
}

#[cfg(test)]
mod tests;
