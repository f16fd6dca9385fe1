//! From the names in an agent to recognisers, models and voices.

mod fallback;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::check::{Wrong, wrong};
use super::table::{Around, Kind, Row, Snapshot};
use crate::call::{RealtimeRoute, clip};
use crate::media::Background;
use crate::providers::config::{
    ConfigError, ProviderConfig, ProviderKind, build_llm, build_realtime, build_stt, build_tts,
};
use crate::providers::llm::Llm;
use crate::providers::llm::scripted::{Script, ScriptedDialogue};
use crate::providers::realtime::{Realtime, TurnDetection};
use crate::providers::stt::Stt;
use crate::providers::stt::grammar::Vocabulary;
use crate::providers::stt::keypad::KeypadStt;
use crate::providers::stt::sphinx::{SphinxConfig, SphinxStt};
use crate::providers::tts::local::{LocalEngine, LocalTts, LocalTtsConfig};
use crate::providers::tts::{Tts, TtsParams, TtsSession};
use crate::providers::{FailureKind, ProviderError};
use crate::schema::agent::Pipeline;
use crate::schema::engine::{FixedTexts, RealtimeTurn};
use crate::schema::{Agent, ProviderCredential};
use crate::turn::config::EndpointingMode;
use crate::types::{OrganizationId, Secret};

pub use fallback::DefaultFallbacks;

/// Name of the recogniser and voice that need no key.
pub const LOCAL: &str = "local";
/// Name of the dialogue that stands in the language model's place.
pub const SCRIPT: &str = "script";
/// The dialogue of an agent that names none.
const DEMO_SCRIPT: &str = include_str!("../../config/agents/demo.toml");
/// Engines kept for the next agent with the same settings; beyond, all are made anew.
const CACHE_MAX: usize = 512;

/// A service of the configuration, ready to be made.
#[derive(Clone, Debug)]
pub struct Service {
    /// Settings.
    pub config: ProviderConfig,
    /// Key.
    pub key: Secret,
}

/// What the configuration says of engines.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// The local recogniser.
    pub sphinx: SphinxConfig,
    /// The local voice.
    pub voice: LocalEngine,
    /// Who stands in for the providers of agents that say nothing of it.
    pub fallbacks: DefaultFallbacks,
    /// Directory of the WAV files that calls can play.
    pub media_dir: std::path::PathBuf,
    /// Address in our SDP, for trunks of the API.
    pub advertised: Option<std::net::IpAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            services: BTreeMap::new(),
            sphinx: SphinxConfig::default(),
            voice: LocalEngine::Auto,
            fallbacks: DefaultFallbacks::default(),
            media_dir: std::path::PathBuf::from("media"),
            advertised: None,
        }
    }
}

/// The engines of one agent, and what an operator should know of them.
pub struct Engines {
    /// Recogniser.
    pub stt: Arc<dyn Stt>,
    /// Language model.
    pub llm: Arc<dyn Llm>,
    /// Voice.
    pub tts: Arc<dyn Tts>,
    /// What tells the service of the voice from others of its name.
    pub tts_service: String,
    /// One model in the place of those three.
    pub realtime: Option<Arc<RealtimeRoute>>,
    /// Who stands in for them.
    pub fallbacks: crate::call::Fallbacks,
    /// The dialogue, if there is one.
    pub script: Option<ScriptTexts>,
    /// Missing packages, and what follows.
    pub notes: Vec<String>,
}

/// What a dialogue says of itself.
pub struct ScriptTexts {
    /// Its name.
    pub name: String,
    /// Its first words.
    pub greeting: String,
    /// What it says when nothing was understood.
    pub repeat: Option<String>,
}

/// Engines by their settings: agents with the same ones share them.
#[derive(Default)]
pub struct Cache {
    stt: Mutex<HashMap<String, Arc<dyn Stt>>>,
    tts: Mutex<HashMap<String, Arc<dyn Tts>>>,
    backgrounds: Mutex<HashMap<String, Arc<Background>>>,
}

/// The sound of a room that is made here, not read from a file.
const ROOM: &str = "room";
/// Loudness of a background whose agent names none.
const BACKGROUND_VOLUME: f32 = 0.5;

/// What sounds behind an agent.
///
/// # Errors
/// When the file cannot be had.
pub(super) fn background(
    agent: &Agent,
    snapshot: &Snapshot,
    cache: &Cache,
) -> Result<Option<Arc<Background>>, Wrong> {
    let Some(name) = agent.background_sound.as_deref().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let volume = agent.background_volume.unwrap_or(BACKGROUND_VOLUME);
    let made = cached(&cache.backgrounds, format!("{volume} {name}"), || {
        let field = "background_sound";
        if name == ROOM {
            return Ok(Arc::new(Background::room(volume)));
        }
        let clip = clip::read(&snapshot.directory.settings.media_dir, name.to_owned()).map_err(
            |error| wrong(field, format!("`{ROOM}`, or a file of `call.media_dir`: {error}")),
        )?;
        let made = Background::of(&clip.pcm, volume);
        made.map(Arc::new).map_err(|error| wrong(field, error.to_string()))
    });
    made.map(Some)
}

fn cached<T: ?Sized>(
    cache: &Mutex<HashMap<String, Arc<T>>>,
    key: String,
    make: impl FnOnce() -> Result<Arc<T>, Wrong>,
) -> Result<Arc<T>, Wrong> {
    let found = cache.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
    if let Some(found) = found {
        return Ok(found);
    }
    let made = make()?;
    let mut cache = cache.lock().unwrap_or_else(PoisonError::into_inner);
    if cache.len() >= CACHE_MAX {
        cache.clear();
    }
    cache.insert(key, Arc::clone(&made));
    Ok(made)
}

/// Protocol of a credential.
pub(super) fn kind_of(credential: &ProviderCredential) -> Option<ProviderKind> {
    let word = credential.kind.as_deref().unwrap_or(&credential.provider);
    ProviderKind::from_word(word).filter(|kind| kind.takes_key())
}

/// The service an organization's agent means by a name: its own credential before the server's.
pub(super) fn service(
    snapshot: &Snapshot,
    organization: &OrganizationId,
    name: &str,
) -> Option<Service> {
    let rows = snapshot.rows::<ProviderCredential>(organization);
    let own = rows.iter().filter(|row| row.doc.provider == name);
    // Newest first: the last one that says it is the default wins, else the last one.
    let mut own: Vec<_> = own.collect();
    own.sort_by_key(|row| !row.doc.is_default);
    if let Some(row) = own.first() {
        return service_of(snapshot, row);
    }
    // The server's keys are the first organization's: what they cost is its own.
    let first = *organization == OrganizationId::default();
    snapshot.directory.settings.services.get(name).filter(|_| first).cloned()
}

/// The service of a credential: the server's settings of the same name and kind, with the organization's own key.
pub(super) fn service_of(snapshot: &Snapshot, row: &Row<ProviderCredential>) -> Option<Service> {
    let kind = kind_of(&row.doc)?;
    let first = row.organization_id == OrganizationId::default();
    let server = snapshot.directory.settings.services.get(&row.doc.provider);
    let server = server.filter(|service| first && service.config.kind == kind);
    let mut config = server.map(|service| service.config.clone()).unwrap_or_default();
    config.kind = kind;
    if let Some(url) = &row.doc.base_url {
        config.base_url.clone_from(url);
    }
    Some(Service { config, key: row.secret.clone().unwrap_or_default() })
}

/// Whether every provider an agent names is there and can do what it is named for.
pub(super) fn check(agent: &Agent, around: &Around<'_>) -> Result<(), Wrong> {
    if agent.pipeline == Pipeline::Realtime {
        return check_realtime(agent, around);
    }
    script(agent)?;
    if agent.stt.provider == LOCAL && agent.llm.provider != SCRIPT {
        let message = "the local recogniser needs a script: it knows only the script's phrases";
        return Err(wrong("stt.provider", message));
    }
    let find = |field: &str, name: &str| {
        service(around.snapshot, around.organization, name).ok_or_else(|| no_provider(field, name))
    };
    let mut ends_turns = false;
    if agent.stt.provider != LOCAL {
        let stt = make_stt(agent, &find("stt.provider", &agent.stt.provider)?)?;
        ends_turns = stt.ends_turns();
    }
    let mode = super::compile::turn_config(agent).endpointing.mode;
    if mode == EndpointingMode::Stt && !ends_turns {
        let message = format!(
            "`stt` leaves the end of a turn to the recogniser, and `{}` does not tell it; allowed: vad, hybrid",
            agent.stt.provider
        );
        return Err(wrong("turn_detection.mode", message));
    }
    if agent.llm.provider != SCRIPT {
        make_llm(agent, &find("llm.provider", &agent.llm.provider)?)?;
    }
    if agent.tts.provider != LOCAL {
        make_tts(agent, &find("tts.provider", &agent.tts.provider)?)?;
    }
    fallback::check(agent, around.snapshot, around.organization)?;
    Ok(())
}

/// What the pipeline `realtime` needs: its model, and the engines that do the rest.
fn check_realtime(agent: &Agent, around: &Around<'_>) -> Result<(), Wrong> {
    let find = |field: &str, name: &str| {
        service(around.snapshot, around.organization, name).ok_or_else(|| no_provider(field, name))
    };
    if agent.realtime.provider.is_empty() {
        let message =
            "the pipeline `realtime` needs a provider of speech to speech; see docs/providers.md";
        return Err(wrong("realtime.provider", message));
    }
    let model = make_realtime(agent, &find("realtime.provider", &agent.realtime.provider)?)?;
    if !model.turn_detections().contains(&turn_detection(agent)) {
        let allowed: Vec<&str> = model.turn_detections().iter().map(|of| word_of(*of)).collect();
        let message = format!(
            "`{}` does not find the end of turns so; allowed: {}",
            agent.realtime.provider,
            allowed.join(", ")
        );
        return Err(wrong("realtime.turn_detection", message));
    }
    let mode = super::compile::turn_config(agent).endpointing.mode;
    if mode == EndpointingMode::Stt {
        let message = "there is no recogniser in the pipeline `realtime`: `realtime.turn_detection` says who \
            finds the end of a turn; allowed: vad, hybrid";
        return Err(wrong("turn_detection.mode", message));
    }
    if agent.llm.provider != SCRIPT {
        make_llm(agent, &find("llm.provider", &agent.llm.provider)?)?;
    }
    if agent.tts.provider != LOCAL {
        make_tts(agent, &find("tts.provider", &agent.tts.provider)?)?;
    }
    Ok(())
}

fn word_of(turn_detection: TurnDetection) -> &'static str {
    match turn_detection {
        TurnDetection::Local => "local",
        TurnDetection::ServerVad => "server_vad",
        TurnDetection::SemanticVad => "semantic_vad",
    }
}

fn turn_detection(agent: &Agent) -> TurnDetection {
    match agent.realtime.turn_detection {
        RealtimeTurn::Local => TurnDetection::Local,
        RealtimeTurn::ServerVad => TurnDetection::ServerVad,
        RealtimeTurn::SemanticVad => TurnDetection::SemanticVad,
    }
}

fn make_realtime(agent: &Agent, service: &Service) -> Result<Arc<dyn Realtime>, Wrong> {
    let config = with_model(service, agent.realtime.model.as_ref());
    build_realtime(&agent.realtime.provider, &config, service.key.clone())
        .map_err(|error| wrong("realtime.provider", error))
}

/// The model of the pipeline `realtime`, and how it is used.
fn realtime(agent: &Agent, model: Arc<dyn Realtime>) -> Arc<RealtimeRoute> {
    let usual = if agent.tts.provider == LOCAL { FixedTexts::Model } else { FixedTexts::Tts };
    Arc::new(RealtimeRoute {
        model,
        voice: agent.realtime.voice.clone(),
        speed: agent.realtime.speed,
        turn_detection: turn_detection(agent),
        says_fixed_texts: agent.realtime.fixed_texts.unwrap_or(usual) == FixedTexts::Model,
    })
}

fn no_provider(field: &str, name: &str) -> Wrong {
    if field.starts_with("realtime") {
        return wrong(field, format!("there is no provider `{name}`"));
    }
    let builtin = if field.starts_with("llm") { SCRIPT } else { LOCAL };
    wrong(field, format!("there is no provider `{name}`; `{builtin}` is built in"))
}

fn script(agent: &Agent) -> Result<Option<Script>, Wrong> {
    if agent.llm.provider != SCRIPT {
        return Ok(None);
    }
    let llm = &agent.llm;
    let (field, script) = if !llm.script_file.as_os_str().is_empty() {
        ("llm.script_file", Script::load(&llm.script_file))
    } else if llm.script.is_empty() {
        ("llm.script", Script::parse(DEMO_SCRIPT))
    } else {
        ("llm.script", Script::parse(&llm.script))
    };
    script.map(Some).map_err(|error| wrong(field, error))
}

/// Stands where no model is ever asked.
fn demo() -> Result<Script, Wrong> {
    Script::parse(DEMO_SCRIPT).map_err(|error| wrong("llm.script", error))
}

fn with_model(service: &Service, model: Option<&String>) -> ProviderConfig {
    let mut config = service.config.clone();
    if let Some(model) = model {
        config.model.clone_from(model);
    }
    config
}

/// Makes a recogniser with the model an agent names. Where a model is a file, agents name none: whoever writes them
/// would learn of the server's files.
fn stt_of(
    name: &str,
    service: &Service,
    model: Option<&String>,
) -> Result<Arc<dyn Stt>, ConfigError> {
    let kind = service.config.kind;
    if kind.has_model_file() && model.is_some_and(|model| *model != service.config.model) {
        return Err(ConfigError::ModelElsewhere { kind: kind.as_str() });
    }
    build_stt(name, &with_model(service, model), service.key.clone())
}

fn make_stt(agent: &Agent, service: &Service) -> Result<Arc<dyn Stt>, Wrong> {
    let made = stt_of(&agent.stt.provider, service, agent.stt.model.as_ref());
    made.map_err(|error| {
        let is_model = matches!(error, ConfigError::ModelElsewhere { .. });
        wrong(if is_model { "stt.model" } else { "stt.provider" }, error)
    })
}

fn make_llm(agent: &Agent, service: &Service) -> Result<Arc<dyn Llm>, Wrong> {
    let mut config = with_model(service, agent.llm.model.as_ref());
    if let Some(url) = &agent.llm.base_url {
        config.base_url.clone_from(url);
    }
    build_llm(&agent.llm.provider, &config, service.key.clone())
        .map_err(|error| wrong("llm.provider", error))
}

fn tts_config(agent: &Agent, service: &Service) -> ProviderConfig {
    let mut config = with_model(service, agent.tts.model.as_ref());
    if !agent.tts.voice.is_empty() {
        config.voice.clone_from(&agent.tts.voice);
    }
    config
}

fn make_tts(agent: &Agent, service: &Service) -> Result<Arc<dyn Tts>, Wrong> {
    let config = tts_config(agent, service);
    build_tts(&agent.tts.provider, &config, service.key.clone())
        .map_err(|error| wrong("tts.provider", error))
}

/// A language model by its provider's name.
///
/// # Errors
/// When there is none, or it cannot be made.
pub(super) fn llm(
    snapshot: &Snapshot,
    organization: &OrganizationId,
    provider: &str,
    model: Option<&str>,
) -> Result<Arc<dyn Llm>, Wrong> {
    let service = service(snapshot, organization, provider)
        .ok_or_else(|| no_provider("llm.provider", provider))?;
    let config = with_model(&service, model.map(str::to_owned).as_ref());
    build_llm(provider, &config, service.key).map_err(|error| wrong("llm.provider", error))
}

/// The engines of an agent.
///
/// # Errors
/// The field that names one which is not there or cannot be made.
pub(super) fn build(
    agent: &Agent,
    id: &str,
    organization: &OrganizationId,
    snapshot: &Snapshot,
    cache: &Cache,
) -> Result<Engines, Wrong> {
    let mut notes = Vec::new();
    let speaks = agent.pipeline == Pipeline::Realtime;
    // A model that hears the caller itself needs no dialogue and no recogniser.
    let script = if speaks { None } else { script(agent)? };
    let vocabulary = script.as_ref().map(Script::vocabulary);
    let find = |field: &str, name: &str| {
        service(snapshot, organization, name).ok_or_else(|| no_provider(field, name))
    };
    let settings = &snapshot.directory.settings;
    let stt = if speaks {
        Arc::new(KeypadStt) as Arc<dyn Stt>
    } else if agent.stt.provider == LOCAL {
        local_stt(&settings.sphinx, vocabulary.as_ref(), cache, id, &mut notes)?
    } else {
        make_stt(agent, &find("stt.provider", &agent.stt.provider)?)?
    };
    let (tts, tts_service) = if agent.tts.provider == LOCAL {
        (local_tts(settings.voice, cache, id, &mut notes)?, format!("{:?}", settings.voice))
    } else {
        let service = find("tts.provider", &agent.tts.provider)?;
        (make_tts(agent, &service)?, format!("{:?}", tts_config(agent, &service)))
    };
    let texts = script.as_ref().map(|script| ScriptTexts {
        name: script.name().to_owned(),
        greeting: script.greeting().to_owned(),
        repeat: script.not_understood().first().cloned(),
    });
    let llm: Arc<dyn Llm> = match script {
        Some(script) => Arc::new(ScriptedDialogue::new(script)),
        None if agent.llm.provider == SCRIPT => Arc::new(ScriptedDialogue::new(demo()?)),
        None => make_llm(agent, &find("llm.provider", &agent.llm.provider)?)?,
    };
    let realtime = match speaks {
        true => {
            let service = find("realtime.provider", &agent.realtime.provider)?;
            Some(realtime(agent, make_realtime(agent, &service)?))
        }
        false => None,
    };
    let fallbacks = fallback::build(agent, organization, snapshot, settings.voice)?;
    Ok(Engines { stt, llm, tts, tts_service, realtime, fallbacks, script: texts, notes })
}

fn local_stt(
    sphinx: &SphinxConfig,
    vocabulary: Option<&Vocabulary>,
    cache: &Cache,
    id: &str,
    notes: &mut Vec<String>,
) -> Result<Arc<dyn Stt>, Wrong> {
    let Some(vocabulary) = vocabulary else {
        let message = "the local recogniser needs a script: it knows only the script's phrases";
        return Err(wrong("stt.provider", message));
    };
    let key = format!("{sphinx:?} {vocabulary:?}");
    let mut note = None;
    let made = cached(&cache.stt, key, || match SphinxStt::load(sphinx, vocabulary) {
        Ok(stt) => Ok(Arc::new(stt) as Arc<dyn Stt>),
        Err(error) if error.kind == FailureKind::Missing => {
            note = Some(missing(id, &error, "callers can only use the keypad"));
            Ok(Arc::new(KeypadStt) as Arc<dyn Stt>)
        }
        Err(error) => Err(wrong("stt.provider", error.detail)),
    })?;
    notes.extend(note);
    Ok(made)
}

fn local_tts(
    engine: LocalEngine,
    cache: &Cache,
    id: &str,
    notes: &mut Vec<String>,
) -> Result<Arc<dyn Tts>, Wrong> {
    let mut note = None;
    let made = cached(&cache.tts, format!("{engine:?}"), || {
        match LocalTts::detect(&LocalTtsConfig { engine, ..LocalTtsConfig::default() }) {
            Ok(tts) => Ok(Arc::new(tts) as Arc<dyn Tts>),
            Err(error) => {
                note = Some(missing(id, &error, "calls to this agent are refused with 503"));
                Ok(Arc::new(MissingTts(error)) as Arc<dyn Tts>)
            }
        }
    })?;
    notes.extend(note);
    Ok(made)
}

fn missing(id: &str, error: &ProviderError, consequence: &str) -> String {
    let note = format!("agent `{id}`: {}; until then {consequence}", error.detail);
    tracing::warn!("{note}");
    note
}

/// Stands in where no voice is installed: the server runs, calls are refused in words.
struct MissingTts(ProviderError);

impl Tts for MissingTts {
    fn name(&self) -> &str {
        LOCAL
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn open(
        &self,
        _params: TtsParams,
    ) -> futures_util::future::BoxFuture<'static, Result<TtsSession, ProviderError>> {
        let error = self.0.clone();
        Box::pin(async move { Err(error) })
    }
}

/// Kinds whose change makes compiled agents stale.
pub(super) fn shapes_agents<T: Kind>() -> bool {
    matches!(T::KIND, "tool_template" | "analysis_template" | "provider_credential")
}
