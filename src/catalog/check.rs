//! What types cannot express: ranges, lengths and names that must lead somewhere.

use super::engines;
use super::table::Around;
use crate::dsl::shape::Shape;
use crate::dsl::template;
use crate::egress::Policy;
use crate::schema::agent::Agent;
use crate::schema::control::TransferMode;
use crate::schema::telephony::TrunkAuth;
use crate::schema::tool::ToolType;
use crate::schema::{AnalysisTemplate, Number, ProviderCredential, SipTrunk, ToolTemplate};
use crate::sip::config::Network;
use crate::tools::ToolSpec;
use crate::tools::spec::TOOLS_MAX;
use crate::types::{CodecName, OrganizationId, OutboxKind, PhoneNumber};

/// Longest name, characters.
const NAME_CHARS_MAX: usize = 128;
/// Longest persona and instructions, bytes each: together they stay below [`template::RENDERED_BYTES_MAX`].
const PROMPT_BYTES_MAX: usize = 32_000;
/// Longest spoken text, characters: about two minutes of speech.
const SPEECH_CHARS_MAX: usize = 2_000;
/// Variables of an agent.
const VARIABLES_MAX: usize = 64;
/// Words worth recognising.
const KEYTERMS_MAX: usize = 100;
/// Identifiers of one list.
const IDS_MAX: usize = 32;
/// Networks of a trunk.
const NETWORKS_MAX: usize = 64;
/// Longest URL, bytes.
const URL_BYTES_MAX: usize = 2_048;
/// Largest JSON of one field, bytes.
const JSON_BYTES_MAX: usize = 16_384;
/// Longest dialogue, bytes.
const SCRIPT_BYTES_MAX: usize = 65_536;
/// Languages' tags: RFC 5646 section 4.4.1.
const LANGUAGE_CHARS_MAX: usize = 35;

/// A field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}`: {message}")]
pub struct Wrong {
    /// Path of the field.
    pub field: String,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Makes a [`Wrong`].
pub fn wrong(field: impl Into<String>, message: impl ToString) -> Wrong {
    Wrong { field: field.into(), message: message.to_string() }
}

type Checked = Result<(), Wrong>;

fn chars(field: &str, text: &str, max: usize) -> Checked {
    if text.chars().count() > max {
        return Err(wrong(field, format!("at most {max} characters")));
    }
    Ok(())
}

fn bytes(field: &str, length: usize, max: usize) -> Checked {
    if length > max { Err(wrong(field, format!("at most {max} bytes"))) } else { Ok(()) }
}

fn count(field: &str, length: usize, max: usize) -> Checked {
    if length > max { Err(wrong(field, format!("at most {max} entries"))) } else { Ok(()) }
}

fn range<N: Copy + PartialOrd + std::fmt::Display>(
    field: &str,
    value: Option<N>,
    min: N,
    max: N,
) -> Checked {
    match value {
        Some(value) if !(min..=max).contains(&value) => {
            Err(wrong(field, format!("{min} to {max}")))
        }
        _ => Ok(()),
    }
}

fn label(field: &str, text: &str) -> Checked {
    if text.chars().any(char::is_control) {
        return Err(wrong(field, "printable characters only"));
    }
    chars(field, text, NAME_CHARS_MAX)
}

fn variables_in(field: &str, text: &str) -> Checked {
    template::check(text).map_err(|error| wrong(field, error))
}

/// A URL webhooks can be sent to. Where it leads is checked when it is used.
fn url(field: &str, text: Option<&String>) -> Checked {
    let Some(text) = text else { return Ok(()) };
    let parsed = reqwest::Url::parse(text);
    let fits = parsed.as_ref().is_ok_and(|url| {
        matches!(url.scheme(), "https" | "http")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
    });
    if !fits {
        return Err(wrong(field, "an `https://` or `http://` URL without user name and password"));
    }
    bytes(field, text.len(), URL_BYTES_MAX)
}

/// A URL of a provider. Only the first organization, which is the operator's, may name one in a private network.
fn provider_url(field: &str, text: Option<&String>, around: &Around<'_>) -> Checked {
    let Some(text) = text else { return Ok(()) };
    let own = *around.organization == OrganizationId::default();
    let policy = Policy { allow_private_targets: own, ..Policy::default() };
    // Sockets of a provider are the same places: the policy knows only the names of HTTP.
    let as_http = match text.strip_prefix("ws") {
        Some(rest) => format!("http{rest}"),
        None => text.clone(),
    };
    policy.check_url(&as_http).map_err(|refusal| wrong(field, refusal))
}

fn json(field: &str, value: Option<&serde_json::Value>) -> Checked {
    value.map_or(Ok(()), |value| bytes(field, value.to_string().len(), JSON_BYTES_MAX))
}

fn metadata(map: &serde_json::Map<String, serde_json::Value>) -> Checked {
    let length = serde_json::to_string(map).map_or(usize::MAX, |text| text.len());
    bytes("metadata", length, JSON_BYTES_MAX)
}

/// A BCP 47 tag.
pub fn language(field: &str, text: &str) -> Checked {
    let tag = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if text.is_empty() || text.len() > LANGUAGE_CHARS_MAX || !text.chars().all(tag) {
        return Err(wrong(field, "a BCP 47 tag, such as `en-GB`"));
    }
    Ok(())
}

/// A name of a template variable.
pub fn is_variable(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Agents.
pub(super) fn agents(agent: &Agent, around: &Around<'_>) -> Checked {
    if !around.from_config {
        if agent.name.trim().is_empty() {
            return Err(wrong("name", "a name is required"));
        }
        if !agent.llm.script_file.as_os_str().is_empty() {
            let message = "files are for the configuration: put the text into `llm.script`";
            return Err(wrong("llm.script_file", message));
        }
    }
    label("name", &agent.name)?;
    label("business_name", agent.business_name.as_deref().unwrap_or_default())?;
    for (field, text) in [("persona", &agent.persona), ("instructions", &agent.instructions)] {
        bytes(field, text.len(), PROMPT_BYTES_MAX)?;
        variables_in(field, text)?;
    }
    language("language", &agent.language)?;
    for (field, text) in [
        ("first_message", agent.first_message.as_ref()),
        ("end_message", agent.end_message.as_ref()),
        ("voicemail.message", agent.voicemail.message.as_ref()),
    ] {
        let text = text.map(String::as_str).unwrap_or_default();
        chars(field, text, SPEECH_CHARS_MAX)?;
        variables_in(field, text)?;
    }
    range("first_message_delay_ms", Some(agent.first_message_delay_ms), 0, 10_000)?;
    agent_engines(agent, around)?;
    agent_talk(agent)?;
    count("variables", agent.variables.len(), VARIABLES_MAX)?;
    for (at, variable) in agent.variables.iter().enumerate() {
        if !is_variable(&variable.name) {
            let message = "a letter or `_`, then letters, digits and `_`; at most 64";
            return Err(wrong(format!("variables[{at}].name"), message));
        }
        chars(&format!("variables[{at}].description"), &variable.description, SPEECH_CHARS_MAX)?;
        let default = variable.default.as_deref().unwrap_or_default();
        chars(&format!("variables[{at}].default"), default, SPEECH_CHARS_MAX)?;
    }
    agent_tools(agent, around)?;
    json("returns", agent.returns.as_ref())?;
    if agent.returns.as_ref().is_some_and(|value| !value.is_object()) {
        return Err(wrong("returns", "a JSON object"));
    }
    if let Some(returns) = &agent.returns {
        Shape::read(returns).map_err(|error| wrong("returns", error.to_string()))?;
    }
    url("webhook_url", agent.webhook_url.as_ref())?;
    count("webhook_events", agent.webhook_events.len(), IDS_MAX)?;
    for (at, pattern) in agent.webhook_events.iter().enumerate() {
        if !OutboxKind::ALL.iter().any(|kind| kind.is_of_call() && kind.matches(pattern)) {
            let message = "the name of an event of calls, such as `call.completed`, or `call.*`";
            return Err(wrong(format!("webhook_events[{at}]"), message));
        }
    }
    range("recording.channels", Some(agent.recording.channels), 1, 2)?;
    range("recording.retention_days", agent.recording.retention_days, 1, 36_500)?;
    if agent.transfer.mode == TransferMode::Attended {
        return Err(wrong("transfer.mode", "`blind` or `bridge`"));
    }
    range("background_volume", agent.background_volume, 0.0, 1.0)?;
    if !around.from_config {
        // Those of the configuration are made when the server starts.
        engines::background(agent, around.snapshot, &engines::Cache::default())?;
    }
    metadata(&agent.metadata)
}

fn agent_engines(agent: &Agent, around: &Around<'_>) -> Checked {
    for (field, name) in [
        ("stt.provider", &agent.stt.provider),
        ("llm.provider", &agent.llm.provider),
        ("tts.provider", &agent.tts.provider),
        ("realtime.provider", &agent.realtime.provider),
        ("realtime.voice", &agent.realtime.voice),
    ] {
        chars(field, name, NAME_CHARS_MAX)?;
    }
    count("stt.keyterms", agent.stt.keyterms.len(), KEYTERMS_MAX)?;
    for term in &agent.stt.keyterms {
        chars("stt.keyterms", term, NAME_CHARS_MAX)?;
    }
    if let Some(tag) = &agent.stt.language {
        language("stt.language", tag)?;
    }
    range("llm.temperature", agent.llm.temperature, 0.0, 2.0)?;
    range("llm.hedge_ms", agent.llm.hedge_ms, 0, 10_000)?;
    range("tts.hedge_ms", agent.tts.hedge_ms, 0, 10_000)?;
    range("llm.max_tokens", agent.llm.max_tokens, 1, 100_000)?;
    provider_url("llm.base_url", agent.llm.base_url.as_ref(), around)?;
    bytes("llm.script", agent.llm.script.len(), SCRIPT_BYTES_MAX)?;
    range("tts.speed", Some(agent.tts.speed), 0.25, 4.0)?;
    range("realtime.speed", Some(agent.realtime.speed), 0.25, 1.5)?;
    chars("tts.voice", &agent.tts.voice, NAME_CHARS_MAX)?;
    // What the engines themselves say, for example of a provider that is not there.
    super::engines::check(agent, around)
}

fn agent_talk(agent: &Agent) -> Checked {
    range("max_duration_seconds", agent.max_duration_seconds, 10, 86_400)?;
    range("ring_timeout_seconds", agent.ring_timeout_seconds, 1, 600)?;
    range("turn_detection.silence_ms", agent.turn_detection.silence_ms, 100, 3_000)?;
    range("turn_detection.min_speech_ms", agent.turn_detection.min_speech_ms, 20, 500)?;
    range("turn_detection.threshold", agent.turn_detection.threshold, 0.1, 0.95)?;
    range("turn_detection.max_wait_ms", agent.turn_detection.max_wait_ms, 500, 20_000)?;
    range("barge_in.min_ms", agent.barge_in.min_ms, 0, 2_000)?;
    range("barge_in.min_words", agent.barge_in.min_words, 0, 10)?;
    let idle = &agent.inactivity;
    range("inactivity.prompt_after_ms", idle.prompt_after_ms, 1_000, 600_000)?;
    range("inactivity.max_prompts", idle.max_prompts, 0, 20)?;
    range("inactivity.hangup_after_ms", idle.hangup_after_ms, 1_000, 3_600_000)?;
    for text in idle.prompts.iter().flatten().chain(&agent.end_phrases) {
        chars("inactivity.prompts", text, SPEECH_CHARS_MAX)?;
    }
    let turn = super::compile::turn_config(agent);
    turn.validate().map_err(|error| wrong(format!("turn.{}", error.key), error))?;
    super::compile::vad_config(agent).check().map_err(|error| wrong("vad", error))?;
    agent.speech.check().map_err(|(field, message)| wrong(format!("speech.{field}"), message))
}

fn agent_tools(agent: &Agent, around: &Around<'_>) -> Checked {
    count("tools", agent.tools.len() + agent.tool_template_ids.len(), TOOLS_MAX)?;
    for (at, tool) in agent.tools.iter().enumerate() {
        ToolSpec::compile(tool)
            .map_err(|error| wrong(format!("tools[{at}].{}", error.field), error.message))?;
        if let (ToolType::Handoff, Some(id)) = (tool.r#type, &tool.agent_id)
            && !around.from_config
            && !around.has::<Agent>(id)
        {
            return Err(wrong(
                format!("tools[{at}].agent_id"),
                format!("there is no agent `{id}`"),
            ));
        }
    }
    for id in &agent.tool_template_ids {
        if !around.has::<ToolTemplate>(id) {
            return Err(wrong("tool_template_ids", format!("there is no tool template `{id}`")));
        }
    }
    count("analysis_template_ids", agent.analysis_template_ids.len(), IDS_MAX)?;
    for id in &agent.analysis_template_ids {
        if !around.has::<AnalysisTemplate>(id) {
            let message = format!("there is no analysis template `{id}`");
            return Err(wrong("analysis_template_ids", message));
        }
    }
    count("transfer.destinations", agent.transfer.destinations.len(), 16)?;
    match &agent.primary_number_id {
        Some(id) if !around.has::<Number>(id) => {
            Err(wrong("primary_number_id", format!("there is no number `{id}`")))
        }
        _ => Ok(()),
    }
}

/// Numbers.
pub(super) fn numbers(number: &Number, around: &Around<'_>) -> Checked {
    if !around.from_config && PhoneNumber::parse(&number.number).is_err() {
        return Err(wrong("number", "an E.164 number, such as `+15550100`"));
    }
    label("name", &number.name)?;
    for (field, id) in
        [("trunk_id", &number.trunk_id), ("transfer_trunk_id", &number.transfer_trunk_id)]
    {
        if let Some(id) = id
            && !around.has::<SipTrunk>(id)
        {
            return Err(wrong(field, format!("there is no SIP trunk `{id}`")));
        }
    }
    count("outbound_agent_ids", number.outbound_agent_ids.len(), IDS_MAX)?;
    let outbound = number.outbound_agent_ids.iter().map(|id| ("outbound_agent_ids", id));
    let inbound = number.inbound_agent_id.iter().map(|id| ("inbound_agent_id", id));
    for (field, id) in inbound.chain(outbound) {
        if !around.has::<Agent>(id) {
            return Err(wrong(field, format!("there is no agent `{id}`")));
        }
    }
    url("request_webhook_url", number.request_webhook_url.as_ref())?;
    metadata(&number.metadata)
}

fn host(field: &str, text: &str) -> Checked {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if text.len() > 255 || !text.chars().all(plain) {
        return Err(wrong(field, "a host name or an address"));
    }
    Ok(())
}

/// SIP trunks.
/// A list of header names, `*` at the end for any rest.
fn headers(field: &str, names: &[String], fits: fn(&str) -> bool) -> Checked {
    count(field, names.len(), 32)?;
    let token = |name: &str| {
        let name = name.strip_suffix('*').unwrap_or(name);
        name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    match names.iter().find(|name| name.is_empty() || !token(name) || !fits(name)) {
        Some(name) => Err(wrong(
            field,
            format!("`{name}` is no header name that can stand here, such as `X-Order` or `X-*`"),
        )),
        None => Ok(()),
    }
}

pub(super) fn trunks(trunk: &SipTrunk, around: &Around<'_>) -> Checked {
    if !around.from_config && trunk.name.trim().is_empty() {
        return Err(wrong("name", "a name is required"));
    }
    label("name", &trunk.name)?;
    host("host", &trunk.host)?;
    host("outbound_proxy", &trunk.outbound_proxy)?;
    host("from_domain", &trunk.from_domain)?;
    range("port", Some(trunk.port), 1, u16::MAX)?;
    let registers = trunk.auth == TrunkAuth::Register || trunk.register;
    if registers && (trunk.host.is_empty() || trunk.username.is_empty()) {
        return Err(wrong("register", "a trunk that registers has a `host` and a `username`"));
    }
    if trunk.inbound_digest && trunk.username.is_empty() {
        return Err(wrong("inbound_digest", "callers need a `username` and a `password` to prove"));
    }
    range("register_interval", Some(trunk.register_interval), 60, 86_400)?;
    if trunk.options_interval != 0 {
        range("options_interval", Some(trunk.options_interval), 1, 3_600)?;
    }
    if !(0.0..=1_000.0).contains(&trunk.inbound_cps) {
        return Err(wrong("inbound_cps", "0 to 1000"));
    }
    label("username", &trunk.username)?;
    count("allowed_addresses", trunk.allowed_addresses.len(), NETWORKS_MAX)?;
    for text in &trunk.allowed_addresses {
        let network = text.parse::<Network>();
        network.map_err(|error| wrong("allowed_addresses", error))?;
    }
    count("codecs", trunk.codecs.len(), 8)?;
    for name in &trunk.codecs {
        if codec(name).is_none() {
            return Err(wrong(
                "codecs",
                format!(
                    "`{name}` is none of `opus`, `g722`, `pcmu`, `pcma`, `l16-16000`, `l16-8000`"
                ),
            ));
        }
    }
    if trunk.cps.is_nan() || trunk.cps <= 0.0 || trunk.cps > 1_000.0 {
        return Err(wrong("cps", "above 0 to 1000"));
    }
    if let Some((key, message)) = trunk.dial_limits.problems().into_iter().next() {
        return Err(wrong(format!("dial_limits.{key}"), message));
    }
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '+' | '*' | '#');
    for (field, text) in [("prefix_add", &trunk.prefix_add), ("prefix_strip", &trunk.prefix_strip)]
    {
        if text.len() > 16 || !text.chars().all(digits) {
            return Err(wrong(field, "at most 16 of the characters 0-9, `+`, `*` and `#`"));
        }
    }
    if trunk.from_number.starts_with('+') && PhoneNumber::parse(&trunk.from_number).is_err() {
        return Err(wrong("from_number", "an E.164 number, such as `+15550100`"));
    }
    label("from_number", &trunk.from_number)?;
    let own = |name: &str| name.get(..2).is_some_and(|x| x.eq_ignore_ascii_case("X-"));
    headers("calls.headers_in", &trunk.calls.headers_in, own)?;
    let out = |name: &str| {
        name.get(..2).is_some_and(|x| x.eq_ignore_ascii_case("X-"))
            || name.eq_ignore_ascii_case("User-to-User")
    };
    headers("calls.headers_out", &trunk.calls.headers_out, out)?;
    if let Some((key, allowed)) = trunk.calls.problem() {
        return Err(wrong(format!("calls.{key}"), allowed));
    }
    label("calls.from_user", &trunk.calls.from_user)?;
    let session = trunk.session_timer.filter(|seconds| *seconds != 0);
    range("session_timer", session, 90, 86_400)?;
    if let Some(id) = trunk.default_number_id.as_ref().filter(|id| !around.has::<Number>(id)) {
        return Err(wrong("default_number_id", format!("there is no number `{id}`")));
    }
    if let Some(id) = trunk.agent_id.as_ref().filter(|id| !around.has::<Agent>(id)) {
        return Err(wrong("agent_id", format!("there is no agent `{id}`")));
    }
    metadata(&trunk.metadata)
}

/// A codec by its name.
pub(super) fn codec(name: &str) -> Option<CodecName> {
    serde_json::from_value(serde_json::Value::String(name.to_ascii_lowercase())).ok()
}

/// Tool templates.
pub(super) fn tool_templates(template: &ToolTemplate, _: &Around<'_>) -> Checked {
    label("name", &template.name)?;
    chars("description", &template.description, SPEECH_CHARS_MAX)?;
    ToolSpec::compile(&template.tool)
        .map(drop)
        .map_err(|error| wrong(format!("tool.{}", error.field), error.message))
}

/// Analysis templates.
pub(super) fn analysis_templates(template: &AnalysisTemplate, around: &Around<'_>) -> Checked {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let name = &template.name;
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(wrong("name", "letters, digits, `_` and `-`; 1 to 64"));
    }
    chars("description", &template.description, SPEECH_CHARS_MAX)?;
    bytes("system_prompt", template.system_prompt.len(), PROMPT_BYTES_MAX)?;
    bytes("user_prompt", template.user_prompt.len(), PROMPT_BYTES_MAX)?;
    if !template.schema.is_object() {
        return Err(wrong("schema", "a JSON Schema object"));
    }
    Shape::of_schema(&template.schema).map_err(|error| wrong("schema", error.to_string()))?;
    if let Some(model) = &template.model {
        chars("model", model, NAME_CHARS_MAX)?;
    }
    if let Some(provider) = &template.provider {
        chars("provider", provider, NAME_CHARS_MAX)?;
        super::engines::llm(around.snapshot, around.organization, provider, None)
            .map_err(|error| wrong("provider", error.message))?;
    }
    json("schema", Some(&template.schema))
}

/// Credentials.
pub(super) fn credentials(credential: &ProviderCredential, around: &Around<'_>) -> Checked {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let name = &credential.provider;
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(wrong("provider", "letters, digits, `.`, `_` and `-`; 1 to 64"));
    }
    if matches!(name.as_str(), "local" | "script") {
        return Err(wrong("provider", format!("`{name}` is built in and needs no key")));
    }
    if super::engines::kind_of(credential).is_none() {
        let field = if credential.kind.is_some() { "kind" } else { "provider" };
        let words = crate::providers::vendors::kinds_with_key().join("`, `");
        return Err(wrong(field, format!("one of `{words}`")));
    }
    label("label", &credential.label)?;
    provider_url("base_url", credential.base_url.as_ref(), around)
}
