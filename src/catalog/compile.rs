//! From an agent as data to what a call is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check::{Wrong, wrong};
use super::engines::{self, Cache, SCRIPT, ScriptTexts};
use super::table::{Row, Snapshot};
use crate::audio::vad::VadConfig;
use crate::call::{
    AgentFacts, AgentSnapshot, AnsweringPolicy, FixedSpeech, MachineAction, RecordingPolicy,
};
use crate::dsl::template::{Place, RenderError, Scope};
use crate::media::Background;
use crate::schema::agent::{
    Agent, FirstMessageMode, Overrides, Sensitivity, TurnMode, VoicemailAction,
};
use crate::schema::control::TransferMode;
use crate::schema::tool::{Tool, ToolType};
use crate::schema::{AnalysisTemplate, ToolTemplate};
use crate::tools::ToolSpec;
use crate::turn::TurnConfig;
use crate::turn::config::EndpointingMode;
use crate::types::{AfterPlan, AgentId, AnalysisSpec, OrganizationId, Pii, SipIdentity};

/// An agent that can take a call: its texts still have their variables.
#[derive(Clone)]
pub struct Ready {
    /// Engines, settings and texts.
    pub snapshot: Arc<AgentSnapshot>,
    /// Its data; `None` for an agent that an embedder made.
    pub doc: Option<Arc<Agent>>,
    /// Whether it takes calls.
    pub is_active: bool,
    /// What an operator should know of it.
    pub notes: Vec<String>,
}

impl Ready {
    /// An agent that was made elsewhere.
    pub fn made(snapshot: Arc<AgentSnapshot>) -> Self {
        Self { snapshot, doc: None, is_active: true, notes: Vec::new() }
    }
}

/// What a call gives to the texts of its agent.
#[derive(Clone, Copy, Debug)]
pub struct CallFacts<'a> {
    /// `inbound` or `outbound`.
    pub direction: &'static str,
    /// Calling party.
    pub from: &'a str,
    /// Called party.
    pub to: &'a str,
    /// What the INVITE says of the caller.
    pub sip: Option<&'a SipIdentity>,
}

/// Why an agent cannot take a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// A variable of the contract is missing.
    #[error("the variable `{0}` has no value")]
    Missing(String),
    /// A text has no final form.
    #[error("`{field}`: {error}")]
    Text {
        /// Which.
        field: &'static str,
        /// Why.
        error: RenderError,
    },
}

/// Settings of the conversation: `turn`, and the agent's own fields over it.
pub(super) fn turn_config(agent: &Agent) -> TurnConfig {
    let mut turn = agent.turn.clone();
    let set = |to: &mut u32, from: Option<u32>| {
        if let Some(value) = from {
            *to = value;
        }
    };
    set(&mut turn.silence_ms, agent.turn_detection.silence_ms);
    set(&mut turn.max_wait_ms, agent.turn_detection.max_wait_ms);
    if let Some(mode) = agent.turn_detection.mode {
        turn.endpointing.mode = match mode {
            TurnMode::Vad => EndpointingMode::Vad,
            TurnMode::Stt => EndpointingMode::Stt,
            TurnMode::Hybrid => EndpointingMode::Hybrid,
        };
    }
    if let Some(enabled) = agent.barge_in.enabled {
        turn.barge_in.enabled = enabled;
    }
    let by_word = agent.barge_in.sensitivity.map(|word| match word {
        Sensitivity::High => 0,
        Sensitivity::Medium => 200,
        Sensitivity::Low => 500,
    });
    set(&mut turn.barge_in.min_ms, agent.barge_in.min_ms.or(by_word));
    set(&mut turn.barge_in.min_words, agent.barge_in.min_words);
    let idle = &agent.inactivity;
    set(&mut turn.inactivity.prompt_after_ms, idle.prompt_after_ms);
    set(&mut turn.inactivity.max_prompts, idle.max_prompts);
    if let Some(prompts) = &idle.prompts {
        turn.inactivity.prompts.clone_from(prompts);
    }
    if let Some(silence) = idle.hangup_after_ms {
        let each = turn.inactivity.prompt_after_ms.max(1);
        turn.inactivity.max_prompts = (silence / each).saturating_sub(1).min(20);
    }
    if idle.enabled == Some(false) {
        turn.inactivity.prompt_after_ms = 0;
    }
    if !agent.end_phrases.is_empty() {
        turn.end_phrases.clone_from(&agent.end_phrases);
    }
    if let Some(seconds) = agent.max_duration_seconds {
        turn.max_duration_ms = u64::from(seconds) * 1_000;
    }
    if let Some(interruptible) = agent.first_message_interruptible {
        turn.greeting.interruptible = interruptible;
    }
    turn.greeting.delay_ms = agent.first_message_delay_ms;
    match agent.first_message_mode {
        FirstMessageMode::Static => {
            if let Some(text) = &agent.first_message {
                turn.greeting.text.clone_from(text);
            }
        }
        FirstMessageMode::Generated => {
            turn.greeting.text.clear();
            turn.greeting.generated = true;
        }
        FirstMessageMode::None => turn.greeting.text.clear(),
    }
    turn.language.clone_from(agent.stt.language.as_ref().unwrap_or(&agent.language));
    if let Some(text) = &agent.end_message {
        turn.end_message.clone_from(text);
    }
    turn
}

/// Settings of voice activity detection.
pub(super) fn vad_config(agent: &Agent) -> VadConfig {
    let mut vad = agent.vad.clone();
    if let Some(ms) = agent.turn_detection.min_speech_ms {
        vad.start_ms = ms;
    }
    if let Some(threshold) = agent.turn_detection.threshold {
        vad.threshold = threshold;
    }
    vad
}

/// What the script knows better than the defaults.
fn from_script(agent: &Agent, script: &ScriptTexts, turn: &mut TurnConfig) {
    let is_static = agent.first_message_mode == FirstMessageMode::Static;
    if is_static && agent.first_message.is_none() && turn.greeting.text.is_empty() {
        turn.greeting.text.clone_from(&script.greeting);
    }
    let generic = TurnConfig::default().texts.repeat;
    if let Some(own) = &script.repeat
        && turn.texts.repeat == generic
    {
        // The script knows what could have been said.
        turn.texts.repeat.clone_from(own);
    }
}

/// Its own tools, those of its templates, one for the destinations of its transfers, and keys for menus.
fn tools(
    agent: &Agent,
    organization: &OrganizationId,
    snapshot: &Snapshot,
) -> Result<Vec<ToolSpec>, Wrong> {
    let mut specs = Vec::new();
    for tool in &agent.tools {
        specs.push(ToolSpec::compile(tool).map_err(|error| wrong("tools", error))?);
    }
    for id in &agent.tool_template_ids {
        // A template that was deleted since takes nothing with it.
        let Some(row) = snapshot.row::<ToolTemplate>(organization, id) else { continue };
        let spec = ToolSpec::compile(&row.doc.tool);
        specs.push(spec.map_err(|error| wrong("tool_template_ids", error))?);
    }
    let has_transfer = specs.iter().any(|spec| spec.tool.r#type == ToolType::Transfer);
    if !has_transfer && !agent.transfer.destinations.is_empty() {
        let tool = Tool {
            r#type: ToolType::Transfer,
            description: "Hands the caller over to a person.".to_owned(),
            destinations: agent.transfer.destinations.clone(),
            ..Tool::default()
        };
        specs.push(ToolSpec::compile(&tool).map_err(|error| wrong("transfer", error))?);
    }
    // A menu is answered with keys.
    let has_keys = specs.iter().any(|spec| spec.tool.r#type == ToolType::SendDtmf);
    if !has_keys && agent.ivr.navigate && agent.voicemail.detect {
        let tool = Tool { r#type: ToolType::SendDtmf, ..Tool::default() };
        specs.push(ToolSpec::compile(&tool).map_err(|error| wrong("ivr.navigate", error))?);
    }
    for (at, spec) in specs.iter().enumerate() {
        if specs.iter().take(at).any(|other| other.name == spec.name) {
            return Err(wrong("tools", format!("two tools are named `{}`", spec.name)));
        }
    }
    Ok(specs)
}

fn after(agent: &Agent, organization: &OrganizationId, snapshot: &Snapshot) -> AfterPlan {
    if agent.llm.provider == SCRIPT {
        return AfterPlan::default();
    }
    let template = |id: &String| {
        let row: Arc<Row<AnalysisTemplate>> = snapshot.row(organization, id)?;
        Some(AnalysisSpec::from(&row.doc))
    };
    AfterPlan {
        llm: agent.llm.provider.clone(),
        model: agent.llm.model.clone(),
        summary: agent.summary,
        templates: agent.analysis_template_ids.iter().filter_map(template).collect(),
        rerun: false,
    }
}

/// What to do about machines that answer.
fn answering(agent: &Agent) -> Option<AnsweringPolicy> {
    let action = match agent.voicemail.action {
        VoicemailAction::Hangup => MachineAction::HangUp,
        VoicemailAction::LeaveMessage => MachineAction::LeaveMessage,
        VoicemailAction::Continue => MachineAction::Continue,
    };
    agent.voicemail.detect.then(|| AnsweringPolicy {
        action,
        message: agent.voicemail.message.clone().unwrap_or_default(),
        navigates_menus: agent.ivr.navigate,
    })
}

/// A file that went away is no reason to refuse calls; whoever names one that is not there is told.
fn background(
    id: &str,
    agent: &Agent,
    snapshot: &Snapshot,
    cache: &Cache,
) -> Option<Arc<Background>> {
    let made = engines::background(agent, snapshot, cache);
    made.unwrap_or_else(|wrong| {
        tracing::warn!(agent.id = id, field = %wrong.field, allowed = %wrong.message, "no background sound");
        None
    })
}

/// Makes an agent ready.
///
/// # Errors
/// The field that cannot be had.
pub(super) fn compile(
    id: &str,
    version: Option<u32>,
    organization: &OrganizationId,
    agent: &Arc<Agent>,
    snapshot: &Snapshot,
    cache: &Cache,
) -> Result<Ready, Wrong> {
    let engines = engines::build(agent, id, organization, snapshot, cache)?;
    let mut turn = turn_config(agent);
    if let Some(script) = &engines.script {
        from_script(agent, script, &mut turn);
    }
    let own = [Some(&agent.name), engines.script.as_ref().map(|script| &script.name)];
    let name = own.into_iter().flatten().find(|name| !name.is_empty());
    let name = name.map_or_else(|| id.to_owned(), String::clone);
    let facts = AgentFacts {
        organization_id: organization.clone(),
        version,
        business_name: agent.business_name.clone(),
        persona: some_text(&agent.persona),
        instructions: some_text(&agent.instructions),
        returns: agent.returns.clone(),
        after: after(agent, organization, snapshot),
        webhook_url: agent.webhook_url.clone().map(Pii::new),
        // One that came with a request is kept nowhere, and with it no secret.
        webhook_agent: (id != super::INLINE).then(|| AgentId(id.to_owned())),
        webhook_events: agent.webhook_events.clone(),
        ring_timeout_seconds: agent.ring_timeout_seconds,
        stt_language: agent.stt.language.clone(),
        transfer_mode: match agent.transfer.mode {
            TransferMode::Bridge => crate::call::TransferMode::Bridge,
            TransferMode::Blind | TransferMode::Attended => crate::call::TransferMode::Blind,
        },
        answering: answering(agent),
        ..AgentFacts::default()
    };
    let tools = tools(agent, organization, snapshot)?;
    let background = background(id, agent, snapshot, cache);
    let made = AgentSnapshot {
        id: AgentId(id.to_owned()),
        name,
        prompt: joined(&agent.persona, &agent.instructions).into(),
        language: agent.language.clone(),
        vad: vad_config(agent),
        background,
        speech: agent.speech.clone(),
        noise_suppression: agent.stt.noise_suppression,
        keyterms: agent.stt.keyterms.clone(),
        voice: agent.tts.voice.clone(),
        speed: agent.tts.speed,
        temperature: agent.llm.temperature,
        max_tokens: agent.llm.max_tokens,
        recording: if agent.recording.enabled { RecordingPolicy::On } else { RecordingPolicy::Off },
        facts,
        // What came with one request is nobody's fixed text: it may name the person called.
        fixed: match id {
            super::INLINE => FixedSpeech::default(),
            _ => FixedSpeech::of(&turn, tools.iter().filter_map(ToolSpec::speaks)),
        },
        turn,
        tools,
        stt: engines.stt,
        llm: engines.llm,
        tts: engines.tts,
        tts_service: engines.tts_service,
        realtime: engines.realtime,
        fallbacks: engines.fallbacks,
    };
    Ok(Ready {
        snapshot: Arc::new(made),
        doc: Some(Arc::clone(agent)),
        is_active: agent.is_active,
        notes: engines.notes,
    })
}

fn some_text(text: &str) -> Option<Pii<String>> {
    (!text.is_empty()).then(|| Pii::new(text.to_owned()))
}

/// Persona and instructions, with a blank line between.
fn joined(persona: &str, instructions: &str) -> String {
    let parts = [persona.trim(), instructions.trim()];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// The agent of one call: overrides applied, texts rendered. The agent itself stays as it is.
///
/// # Errors
/// When a variable has no value, or a text no final form.
pub fn prepare(
    ready: &Ready,
    overrides: &Overrides,
    call: CallFacts<'_>,
) -> Result<Arc<AgentSnapshot>, PrepareError> {
    let mut own = (*ready.snapshot).clone();
    if let Some(language) = &overrides.language {
        own.language.clone_from(language);
        // A language of the call is meant for everybody who listens to it.
        own.facts.stt_language = None;
    }
    if let Some(seconds) = overrides.max_duration_seconds {
        own.turn.max_duration_ms = u64::from(seconds) * 1_000;
    }
    if let Some(url) = &overrides.webhook_url {
        own.facts.webhook_url = Some(Pii::new(url.clone()));
        // Whoever asked for the call listens there: the agent's choice and secret are not theirs.
        own.facts.webhook_agent = None;
        own.facts.webhook_events = Vec::new();
    }
    if let Some(text) = &overrides.first_message {
        own.turn.greeting.text.clone_from(text);
        own.turn.greeting.generated = false;
    }
    own.facts.context = overrides.context.clone().map(Pii::new);
    let variables = variables(ready.doc.as_deref(), &overrides.variables)?;
    let scope = scope(&own, overrides, &variables, call);
    let render = |field: &'static str, text: &str| {
        scope.render(text, Place::Text).map_err(|error| match error {
            RenderError::Missing(name) => PrepareError::Missing(name),
            error => PrepareError::Text { field, error },
        })
    };
    if let Some(doc) = &ready.doc {
        let persona = render("persona", &doc.persona)?;
        let source = overrides.instructions.as_ref().unwrap_or(&doc.instructions);
        let instructions = render("instructions", source)?;
        own.prompt = joined(&persona, &instructions).into();
        own.facts.persona = some_text(&persona);
        own.facts.instructions = some_text(&instructions);
        own.turn.greeting.text = render("first_message", &own.turn.greeting.text)?;
        own.turn.end_message = render("end_message", &own.turn.end_message)?;
        if let Some(policy) = &mut own.facts.answering {
            policy.message = render("voicemail.message", &policy.message)?;
        }
    } else if let Some(source) = &overrides.instructions {
        let instructions = render("instructions", source)?;
        own.prompt = instructions.clone().into();
        own.facts.instructions = some_text(&instructions);
    }
    own.facts.variables = Pii::new(variables);
    Ok(Arc::new(own))
}

/// What a call gave, and the defaults of what it did not.
fn variables(
    doc: Option<&Agent>,
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, PrepareError> {
    let mut variables = given.clone();
    for variable in doc.map(|doc| doc.variables.as_slice()).unwrap_or_default() {
        if variables.contains_key(&variable.name) {
            continue;
        }
        let Some(default) = &variable.default else {
            return Err(PrepareError::Missing(variable.name.clone()));
        };
        variables.insert(variable.name.clone(), default.clone());
    }
    Ok(variables)
}

fn scope(
    agent: &AgentSnapshot,
    overrides: &Overrides,
    variables: &BTreeMap<String, String>,
    call: CallFacts<'_>,
) -> Scope {
    let mut scope = Scope::default();
    scope.text("agent_name", &agent.name);
    scope.text("business_name", agent.facts.business_name.as_deref().unwrap_or_default());
    scope.text("language", &agent.language);
    scope.text("direction", call.direction);
    scope.text("from_number", call.from);
    scope.text("to_number", call.to);
    let said = call.sip.map(crate::schema::identity::SipIdentity::from).unwrap_or_default();
    scope.json("sip", &serde_json::to_value(said).unwrap_or_default());
    scope.json("context", overrides.context.as_ref().unwrap_or(&serde_json::Value::Null));
    for (name, value) in variables {
        scope.text(name, value);
    }
    scope
}
