//! From the configuration's agents, providers and trunks to the switchboard's directory.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::ServerError;
use crate::call::{AgentSnapshot, RecordingPolicy};
use crate::config::sections::{self, VoiceProgram};
use crate::config::{Config, Env, LOCAL, SCRIPT};
use crate::providers::llm::Llm;
use crate::providers::llm::scripted::{Script, ScriptedDialogue};
use crate::providers::stt::Stt;
use crate::providers::stt::grammar::Vocabulary;
use crate::providers::stt::keypad::KeypadStt;
use crate::providers::stt::sphinx::{SphinxConfig, SphinxStt};
use crate::providers::tts::Tts;
use crate::providers::tts::local::{LocalEngine, LocalTts, LocalTtsConfig};
use crate::providers::{FailureKind, ProviderError};
use crate::sip::Credentials;
use crate::switchboard::{Directory, Trunk};
use crate::types::{AgentId, Secret, TrunkName};

/// The dialogue of a server that nobody configured.
const DEMO_SCRIPT: &str = include_str!("../../config/agents/demo.toml");

/// Builds agents, trunks and numbers; also says what an operator should know. `advertised` is the address
/// for SDP.
pub(super) fn directory(
    config: &Config,
    env: &Env,
    advertised: Option<IpAddr>,
) -> Result<(Directory, Vec<String>), ServerError> {
    let mut notes = Vec::new();
    let mut agents = BTreeMap::new();
    for (name, agent) in &config.agents {
        let built = Builder { config, env, name, agent, notes: &mut notes }.build()?;
        agents.insert(AgentId(name.clone()), Arc::new(built));
    }
    let mut trunks = BTreeMap::new();
    for (name, trunk) in &config.trunks {
        let credentials = credentials(name, trunk, env)?;
        let name = TrunkName(name.clone());
        let built = Trunk::new(name.clone(), trunk.to_switchboard(), credentials, advertised);
        trunks.insert(name, Arc::new(built));
    }
    let numbers = config
        .numbers
        .iter()
        .map(|(number, agent)| (number.clone(), AgentId(agent.clone())))
        .collect();
    let only = || match agents.len() {
        1 => agents.keys().next().cloned(),
        _ => None,
    };
    let default_agent = match config.default_agent.as_str() {
        "" => only(),
        name => Some(AgentId(name.to_owned())),
    };
    Ok((Directory::new(agents, trunks, numbers, default_agent), notes))
}

fn credentials(
    name: &str,
    trunk: &sections::Trunk,
    env: &Env,
) -> Result<Option<Credentials>, ServerError> {
    if trunk.username.is_empty() {
        return Ok(None);
    }
    let key = format!("trunks.{name}.password");
    let password = match &trunk.password {
        Some(reference) => reference
            .resolve(env)
            .map_err(|error| ServerError::Setup { key, message: error.to_string() })?,
        None => Secret::default(),
    };
    Ok(Some(Credentials { username: trunk.username.clone(), password }))
}

struct Builder<'a> {
    config: &'a Config,
    env: &'a Env,
    name: &'a str,
    agent: &'a sections::Agent,
    notes: &'a mut Vec<String>,
}

impl Builder<'_> {
    fn build(mut self) -> Result<AgentSnapshot, ServerError> {
        let agent = self.agent;
        let script = self.script()?;
        let mut turn = agent.turn.clone();
        if let Some(script) = &script
            && turn.greeting.text.is_empty()
        {
            script.greeting().clone_into(&mut turn.greeting.text);
        }
        let generic = crate::turn::TurnConfig::default().texts.repeat;
        if let Some(own) = script.as_ref().and_then(|script| script.not_understood().first())
            && turn.texts.repeat == generic
        {
            // The script knows what could have been said.
            turn.texts.repeat.clone_from(own);
        }
        let name = match (&script, agent.name.as_str()) {
            (Some(script), "") => script.name().to_owned(),
            (None, "") => self.name.to_owned(),
            (_, name) => name.to_owned(),
        };
        let vocabulary = script.as_ref().map(Script::vocabulary);
        let stt = self.stt(vocabulary.as_ref())?;
        let tts = self.tts()?;
        let llm: Arc<dyn Llm> = match script {
            Some(script) => Arc::new(ScriptedDialogue::new(script)),
            None => self.llm()?,
        };
        Ok(AgentSnapshot {
            id: AgentId(self.name.to_owned()),
            name,
            prompt: agent.prompt.clone().into(),
            language: agent.language.clone(),
            turn,
            vad: agent.vad.clone(),
            keyterms: agent.keyterms.clone(),
            voice: agent.voice.clone(),
            speed: agent.speed,
            temperature: agent.temperature,
            max_tokens: agent.max_tokens,
            recording: if agent.recording { RecordingPolicy::On } else { RecordingPolicy::Off },
            facts: crate::call::AgentFacts::default(),
            tools: Vec::new(),
            stt,
            llm,
            tts,
        })
    }

    fn key(&self, key: &str) -> String {
        format!("agents.{}.{key}", self.name)
    }

    fn refuse(&self, key: &str, message: impl ToString) -> ServerError {
        ServerError::Setup { key: self.key(key), message: message.to_string() }
    }

    fn script(&self) -> Result<Option<Script>, ServerError> {
        if self.agent.llm != SCRIPT {
            return Ok(None);
        }
        let script = if self.agent.script.as_os_str().is_empty() {
            Script::parse(DEMO_SCRIPT)
        } else {
            Script::load(&self.agent.script)
        };
        script.map(Some).map_err(|error| self.refuse("script", error))
    }

    fn stt(&mut self, vocabulary: Option<&Vocabulary>) -> Result<Arc<dyn Stt>, ServerError> {
        if self.agent.stt != LOCAL {
            return self.provider("stt", &self.agent.stt, sections::Provider::stt);
        }
        let Some(vocabulary) = vocabulary else {
            let message = "the local recogniser needs a script: it knows only the script's phrases";
            return Err(self.refuse("stt", message));
        };
        let local = &self.config.local;
        let sphinx = SphinxConfig {
            model_dir: local.model_dir.clone(),
            workers: local.workers,
            rejection: local.rejection,
        };
        match SphinxStt::load(&sphinx, vocabulary) {
            Ok(stt) => Ok(Arc::new(stt)),
            Err(error) if error.kind == FailureKind::Missing => {
                self.missing(&error, "callers can only use the keypad");
                Ok(Arc::new(KeypadStt))
            }
            Err(error) => Err(self.refuse("stt", error.detail)),
        }
    }

    fn tts(&mut self) -> Result<Arc<dyn Tts>, ServerError> {
        if self.agent.tts != LOCAL {
            return self.provider("tts", &self.agent.tts, sections::Provider::tts);
        }
        let engine = match self.config.local.voice_program {
            VoiceProgram::Auto => LocalEngine::Auto,
            VoiceProgram::Flite => LocalEngine::Flite,
            VoiceProgram::EspeakNg => LocalEngine::EspeakNg,
        };
        match LocalTts::detect(&LocalTtsConfig { engine, ..LocalTtsConfig::default() }) {
            Ok(tts) => Ok(Arc::new(tts)),
            Err(error) => {
                self.missing(&error, "calls to this agent are refused with 503");
                Ok(Arc::new(MissingTts(error)))
            }
        }
    }

    fn llm(&self) -> Result<Arc<dyn Llm>, ServerError> {
        self.provider("llm", &self.agent.llm, sections::Provider::llm)
    }

    fn missing(&mut self, error: &ProviderError, consequence: &str) {
        let note = format!("agent `{}`: {}; until then {consequence}", self.name, error.detail);
        tracing::warn!("{note}");
        self.notes.push(note);
    }

    fn provider<T: ?Sized>(
        &self,
        stage: &str,
        name: &str,
        build: impl Fn(&sections::Provider, &str, Secret) -> Result<Arc<T>, String>,
    ) -> Result<Arc<T>, ServerError> {
        let Some(provider) = self.config.providers.get(name) else {
            return Err(self.refuse(stage, format!("there is no provider `{name}`")));
        };
        let key = format!("providers.{name}.api_key");
        let secret = match &provider.api_key {
            Some(reference) => reference
                .resolve(self.env)
                .map_err(|error| ServerError::Setup { key, message: error.to_string() })?,
            None => Secret::default(),
        };
        build(provider, name, secret).map_err(|message| self.refuse(stage, message))
    }
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
        _params: crate::providers::tts::TtsParams,
    ) -> futures_util::future::BoxFuture<
        'static,
        Result<crate::providers::tts::TtsSession, ProviderError>,
    > {
        let error = self.0.clone();
        Box::pin(async move { Err(error) })
    }
}
