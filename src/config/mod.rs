//! Typed configuration: load, check, explain. Composes every room's own `Config`.
//!
//! One TOML file, then `TRUNKLINE__SECTION__KEY` variables over it. Each room owns its section's
//! struct, with defaults and doc comments; this room only puts them together. To add a section: add
//! a field to [`Config`], a row to [`SECTIONS`], and its range checks to [`Config::problems`].

pub mod explain;
pub mod load;
pub mod problem;
pub mod resources;
pub mod secret;
pub mod sections;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::catalog::Around;
use crate::types::OrganizationId;

pub use explain::{EXAMPLE, Section, reference};
pub use load::{ENV_PREFIX, Env, load, load_str};
pub use problem::{Complaint, ConfigError, Problem, Validate};
pub use secret::SecretRef;

pub use crate::catalog::engines::{LOCAL, SCRIPT};

/// The `[api]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Address and port of the HTTP API, `/metrics` and the health checks.
    pub bind: SocketAddr,
    /// The first API key. Without it one is made and printed at the first start.
    pub key: Option<SecretRef>,
    /// Shared secret of signed tokens (JWT, HS256), at least 32 bytes; they are then taken as keys are.
    pub jwt_secret: Option<SecretRef>,
    /// File of the public keys of signed tokens (JSON Web Key Set), instead of a shared secret.
    pub jwt_keys: Option<std::path::PathBuf>,
    /// Claim that holds the organization's identifier.
    pub jwt_organization_claim: String,
    /// Claim that holds the scopes, as a list or separated by spaces.
    pub jwt_scopes_claim: String,
    /// What `iss` of a token must be; empty: anything.
    pub jwt_issuer: String,
    /// What `aud` of a token must hold; empty: anything.
    pub jwt_audience: String,
    /// Largest body of a request, bytes.
    pub body_bytes_max: usize,
    /// Longest time a request's body may take to arrive, seconds.
    pub body_timeout_seconds: u64,
    /// Longest time until a request's answer begins, seconds.
    pub request_timeout_seconds: u64,
}

impl Default for Api {
    fn default() -> Self {
        let server = crate::api::Config::default();
        let claims = crate::api::jwt::Claims::default();
        Self {
            bind: server.bind,
            key: None,
            jwt_secret: None,
            jwt_keys: None,
            jwt_organization_claim: claims.organization_claim,
            jwt_scopes_claim: claims.scopes_claim,
            jwt_issuer: claims.issuer,
            jwt_audience: claims.audience,
            body_bytes_max: server.body_bytes_max,
            body_timeout_seconds: server.body_timeout_seconds,
            request_timeout_seconds: server.request_timeout_seconds,
        }
    }
}

impl Api {
    /// What signed tokens must say of themselves.
    pub fn claims(&self) -> crate::api::jwt::Claims {
        crate::api::jwt::Claims {
            organization_claim: self.jwt_organization_claim.clone(),
            scopes_claim: self.jwt_scopes_claim.clone(),
            issuer: self.jwt_issuer.clone(),
            audience: self.jwt_audience.clone(),
        }
    }

    /// The HTTP server's half.
    pub fn server(&self) -> crate::api::Config {
        crate::api::Config {
            bind: self.bind,
            body_bytes_max: self.body_bytes_max,
            body_timeout_seconds: self.body_timeout_seconds,
            request_timeout_seconds: self.request_timeout_seconds,
        }
    }
}

/// The whole file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Agent that answers when neither number nor trunk names one. Empty: the only agent there is.
    pub default_agent: String,
    /// SIP.
    pub sip: sections::Sip,
    /// RTP.
    pub media: sections::Media,
    /// The HTTP API.
    pub api: Api,
    /// Limits of the whole server.
    pub admission: crate::switchboard::AdmissionConfig,
    /// Limits and waits of a call.
    pub call: crate::call::CallConfig,
    /// What voices said, kept to be said again.
    pub tts_cache: crate::call::TtsCacheConfig,
    /// Tools that agents call during a call.
    pub tools: crate::tools::ToolsConfig,
    /// Call records and recordings.
    pub store: sections::Store,
    /// What other servers are told.
    pub webhooks: crate::webhook::Config,
    /// E-mails about events.
    pub notifications: sections::Notifications,
    /// Logs and metrics.
    pub telemetry: crate::telemetry::Config,
    /// The local recogniser and voice.
    pub local: sections::Local,
    /// A model that hears whether the caller's turn is over.
    pub turn_model: crate::providers::turn_model::Config,
    /// Speech and language services.
    pub providers: BTreeMap<String, sections::Provider>,
    /// Who stands in for the providers of agents that say nothing of it.
    pub fallbacks: crate::catalog::engines::DefaultFallbacks,
    /// Agents.
    pub agents: BTreeMap<String, sections::Agent>,
    /// SIP peers.
    pub trunks: BTreeMap<String, sections::Trunk>,
    /// Which agent answers which number.
    pub numbers: sections::Numbers,
    /// What is made of a call once it is over.
    pub after: crate::after::Config,
    /// What calls may cost.
    pub budget: crate::usage::BudgetConfig,
    /// Where calls and transfers may go, and how much of it in a day: limits of every organization.
    pub dial_limits: crate::schema::dial::DialLimits,
    /// What services cost: `kind`, `provider`, `model`, `unit`, `prefix`, `price_micros` and `per` of each, as in
    /// `PUT /v1/prices`.
    pub prices: Vec<crate::schema::usage::Price>,
    /// Tools that several agents share.
    pub tool_templates: BTreeMap<String, crate::schema::ToolTemplate>,
    /// Questions about a call once it is over, which several agents share.
    pub analysis_templates: BTreeMap<String, crate::schema::AnalysisTemplate>,
}

impl Default for Config {
    /// What a bare `trunkline serve` runs: the zero-key demo agent, for callers on this machine.
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1"];
        let local = sections::Trunk {
            allowed_networks: loopback.iter().filter_map(|text| text.parse().ok()).collect(),
            ..sections::Trunk::default()
        };
        Self {
            default_agent: String::new(),
            sip: sections::Sip::default(),
            media: sections::Media::default(),
            api: Api::default(),
            admission: crate::switchboard::AdmissionConfig::default(),
            call: crate::call::CallConfig::default(),
            tts_cache: crate::call::TtsCacheConfig::default(),
            tools: crate::tools::ToolsConfig::default(),
            store: sections::Store::default(),
            webhooks: crate::webhook::Config::default(),
            notifications: sections::Notifications::default(),
            telemetry: crate::telemetry::Config::default(),
            local: sections::Local::default(),
            turn_model: crate::providers::turn_model::Config::default(),
            providers: BTreeMap::new(),
            fallbacks: Default::default(),
            agents: BTreeMap::from([("demo".to_owned(), sections::Agent::default())]),
            trunks: BTreeMap::from([("local".to_owned(), local)]),
            numbers: sections::Numbers::new(),
            after: crate::after::Config::default(),
            budget: crate::usage::BudgetConfig::default(),
            dial_limits: Default::default(),
            prices: Vec::new(),
            tool_templates: BTreeMap::new(),
            analysis_templates: BTreeMap::new(),
        }
    }
}

impl Config {
    /// The defaults with one entry in every table that is keyed by name: what the reference shows.
    pub fn example() -> Self {
        let one = |name: &str| name.to_owned();
        Self {
            providers: BTreeMap::from([(one(EXAMPLE), sections::Provider::default())]),
            agents: BTreeMap::from([(one(EXAMPLE), sections::Agent::default())]),
            trunks: BTreeMap::from([(one(EXAMPLE), sections::Trunk::default())]),
            numbers: BTreeMap::from([(one(EXAMPLE), crate::schema::Number::default())]),
            analysis_templates: BTreeMap::from([(
                one(EXAMPLE),
                crate::schema::AnalysisTemplate { name: one(EXAMPLE), ..Default::default() },
            )]),
            tool_templates: BTreeMap::from([(
                one(EXAMPLE),
                crate::schema::ToolTemplate {
                    tool: crate::schema::tool::Tool { name: one(EXAMPLE), ..Default::default() },
                    ..Default::default()
                },
            )]),
            ..Self::default()
        }
    }
}

const SECTIONS_RS: &str = include_str!("sections.rs");
const TURN_RS: &str = include_str!("../turn/config.rs");
const AGENT_RS: &str = include_str!("../schema/agent.rs");
const ENGINE_RS: &str = include_str!("../schema/engine.rs");
const DIAL_RS: &str = include_str!("../schema/dial.rs");
const TEMPLATE_RS: &str = include_str!("../schema/template.rs");

/// Where the doc comments of each section stand.
pub const SECTIONS: &[Section] = &[
    Section { name: "", source: include_str!("mod.rs"), item: "Config" },
    Section { name: "sip", source: SECTIONS_RS, item: "Sip" },
    Section { name: "sip.tls", source: SECTIONS_RS, item: "Tls" },
    Section { name: "media", source: SECTIONS_RS, item: "Media" },
    Section { name: "api", source: include_str!("mod.rs"), item: "Api" },
    Section {
        name: "admission",
        source: include_str!("../switchboard/admission.rs"),
        item: "AdmissionConfig",
    },
    Section { name: "call", source: include_str!("../call/mod.rs"), item: "CallConfig" },
    Section {
        name: "call.watchdog",
        source: include_str!("../call/voice.rs"),
        item: "WatchdogConfig",
    },
    Section {
        name: "tts_cache",
        source: include_str!("../call/voice/cache.rs"),
        item: "TtsCacheConfig",
    },
    Section { name: "tools", source: include_str!("../tools/mod.rs"), item: "ToolsConfig" },
    Section { name: "store", source: SECTIONS_RS, item: "Store" },
    Section { name: "webhooks", source: include_str!("../webhook/config.rs"), item: "Config" },
    Section { name: "notifications", source: SECTIONS_RS, item: "Notifications" },
    Section { name: "notifications.smtp", source: SECTIONS_RS, item: "Smtp" },
    Section { name: "telemetry", source: include_str!("../telemetry/mod.rs"), item: "Config" },
    Section { name: "local", source: SECTIONS_RS, item: "Local" },
    Section {
        name: "turn_model",
        source: include_str!("../providers/turn_model/mod.rs"),
        item: "Config",
    },
    Section { name: "providers.example", source: SECTIONS_RS, item: "Provider" },
    Section {
        name: "fallbacks",
        source: include_str!("../catalog/engines/fallback.rs"),
        item: "DefaultFallbacks",
    },
    Section { name: "agents.example", source: AGENT_RS, item: "Agent" },
    Section { name: "agents.example.stt", source: ENGINE_RS, item: "Stt" },
    Section { name: "agents.example.llm", source: ENGINE_RS, item: "Llm" },
    Section { name: "agents.example.tts", source: ENGINE_RS, item: "Tts" },
    Section { name: "agents.example.turn_detection", source: AGENT_RS, item: "TurnDetection" },
    Section { name: "agents.example.barge_in", source: AGENT_RS, item: "BargeIn" },
    Section { name: "agents.example.inactivity", source: AGENT_RS, item: "Inactivity" },
    Section { name: "agents.example.voicemail", source: AGENT_RS, item: "Voicemail" },
    Section { name: "agents.example.ivr", source: AGENT_RS, item: "Ivr" },
    Section { name: "agents.example.transfer", source: AGENT_RS, item: "Transfer" },
    Section { name: "agents.example.recording", source: AGENT_RS, item: "RecordingPolicy" },
    Section { name: "agents.example.turn", source: TURN_RS, item: "TurnConfig" },
    Section { name: "agents.example.turn.barge_in", source: TURN_RS, item: "BargeIn" },
    Section { name: "agents.example.turn.greeting", source: TURN_RS, item: "Greeting" },
    Section { name: "agents.example.turn.inactivity", source: TURN_RS, item: "Inactivity" },
    Section { name: "agents.example.turn.texts", source: TURN_RS, item: "Texts" },
    Section {
        name: "agents.example.vad",
        source: include_str!("../audio/vad/mod.rs"),
        item: "VadConfig",
    },
    Section {
        name: "agents.example.speech",
        source: include_str!("../speech/mod.rs"),
        item: "SpeechConfig",
    },
    Section { name: "after", source: include_str!("../after/mod.rs"), item: "Config" },
    Section { name: "budget", source: include_str!("../usage/mod.rs"), item: "BudgetConfig" },
    Section { name: "dial_limits", source: DIAL_RS, item: "DialLimits" },
    Section { name: "trunks.example", source: SECTIONS_RS, item: "Trunk" },
    Section { name: "trunks.example.dial_limits", source: DIAL_RS, item: "DialLimits" },
    Section {
        name: "trunks.example.calls",
        source: include_str!("../schema/calling.rs"),
        item: "TrunkCalls",
    },
    Section {
        name: "numbers.example",
        source: include_str!("../schema/telephony.rs"),
        item: "Number",
    },
    Section { name: "tool_templates.example", source: TEMPLATE_RS, item: "ToolTemplate" },
    Section {
        name: "tool_templates.example.tool",
        source: include_str!("../schema/tool.rs"),
        item: "Tool",
    },
    Section { name: "analysis_templates.example", source: TEMPLATE_RS, item: "AnalysisTemplate" },
];

impl Validate for Config {
    fn problems(&self) -> Vec<Complaint> {
        let mut found = Vec::new();
        if let Err(error) = crate::telemetry::log::filter(&self.telemetry, None) {
            found.push(Complaint::new("telemetry.log_filter", error.to_string()));
        }
        for (key, path) in
            [("store.database", &self.store.database), ("store.recordings", &self.store.recordings)]
        {
            if path.as_os_str().is_empty() {
                found.push(Complaint::new(key, "the path is empty"));
            }
        }
        let session_least = crate::sip::config::SessionConfig::default().min_s;
        if self.sip.session_min < session_least {
            let message = "90 or more: RFC 4028 allows no shorter session";
            found.push(Complaint::new("sip.session_min", message));
        }
        if (1..session_least).contains(&self.sip.session_expires) {
            found.push(Complaint::new("sip.session_expires", "0 for none, or 90 and more"));
        }
        if self.sip.listen_udp.is_empty() && self.sip.listen_tcp.is_empty() {
            found.push(Complaint::new("sip.listen_udp", "there is no address to listen on"));
        }
        if let Err(message) = self.media.ports() {
            found.push(Complaint::new("media.rtp_ports", message));
        }
        if self.media.timeout_seconds == 0 {
            found.push(Complaint::new("media.timeout_seconds", "a call needs at least 1 s"));
        }
        if self.media.sched_fifo > 99 {
            found.push(Complaint::new("media.sched_fifo", "a priority is 0 to 99"));
        }
        if self.admission.calls_per_second.is_nan() || self.admission.calls_per_second <= 0.0 {
            found.push(Complaint::new("admission.calls_per_second", "a rate is above 0"));
        }
        for (key, message) in self.webhooks.problems() {
            found.push(Complaint::new(format!("webhooks.{key}"), message));
        }
        for (key, message) in self.notifications.smtp.problems() {
            found.push(Complaint::new(format!("notifications.smtp.{key}"), message));
        }
        for (key, message) in self.turn_model.problems() {
            found.push(Complaint::new(format!("turn_model.{key}"), message));
        }
        if let Err(error) = crate::usage::Prices::new(&self.budget.currency, self.prices.clone()) {
            let field = error.field.strip_prefix("items").unwrap_or_default();
            let key = match error.field.as_str() {
                "currency" => "budget.currency".to_owned(),
                _ => format!("prices{field}"),
            };
            found.push(Complaint::new(key, error.message));
        }
        for (key, message) in self.dial_limits.problems() {
            found.push(Complaint::new(format!("dial_limits.{key}"), message));
        }
        if let Err((key, message)) = self.after.check() {
            found.push(Complaint::new(format!("after.{key}"), message));
        }
        self.reference_problems(&mut found);
        for (key, name) in self.fallbacks.names() {
            let is_local = key == "tts" && name == LOCAL;
            if !is_local && !self.providers.contains_key(name) {
                let message = format!("there is no provider `{name}`");
                found.push(Complaint::new(format!("fallbacks.{key}"), message));
            }
        }
        self.resource_problems(&mut found);
        found
    }
}

impl Config {
    fn reference_problems(&self, found: &mut Vec<Complaint>) {
        let mut check = |key: String, agent: &str| {
            if !agent.is_empty() && !self.agents.contains_key(agent) {
                found.push(Complaint::new(key, format!("there is no agent `{agent}`")));
            }
        };
        check("default_agent".to_owned(), &self.default_agent);
        for (name, trunk) in &self.trunks {
            check(format!("trunks.{name}.agent"), &trunk.agent);
        }
        for name in [LOCAL, SCRIPT] {
            if self.providers.contains_key(name) {
                let message = format!("`{name}` is built in: choose another name");
                found.push(Complaint::new(format!("providers.{name}"), message));
            }
        }
    }
}

impl Config {
    /// What a resource refuses in the API, it refuses here: one check for both.
    fn resource_problems(&self, found: &mut Vec<Complaint>) {
        let snapshot = resources::snapshot(self);
        let organization = OrganizationId::default();
        let around = Around { snapshot: &snapshot, organization: &organization, from_config: true };
        resources::check(&self.agents, "agents", &around, found);
        resources::check(&self.numbers, "numbers", &around, found);
        resources::check(&self.tool_templates, "tool_templates", &around, found);
        resources::check(&self.analysis_templates, "analysis_templates", &around, found);
        for (name, trunk) in &self.trunks {
            let resource = BTreeMap::from([(name.clone(), trunk.to_resource(name))]);
            resources::check(&resource, "trunks", &around, found);
        }
    }
}

#[cfg(test)]
mod tests;
