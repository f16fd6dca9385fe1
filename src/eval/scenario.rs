//! The scenario file: which agent is called, by whom, what they say, and what must come of it.
//!
//! The shapes here are the file's; `docs/eval.md` is their reference. [`Scenario::load`] checks
//! everything that can be known before a call, so that a typing mistake costs no minute of calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::pattern::Pattern;
use super::steps::{Action, Step};
use crate::config::problem::{Complaint, Validate};
use crate::config::{ConfigError, Env, SecretRef};

/// Callers of one file, repeats included: an evening of calls.
pub const CALLERS_MAX: usize = 500;
/// Steps of one caller.
pub const STEPS_MAX: usize = 100;
/// Calls at once: more would measure this machine and not the agent.
pub const PARALLEL_MAX: usize = 32;
/// Longest wait of a step.
const LIMIT_MS_MAX: u32 = 600_000;

/// A scenario file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// Title of the report.
    pub name: String,
    /// Configuration of the server that is started for the run; a path beside this file. Neither this
    /// nor `target`: the demo agent.
    pub server: Option<PathBuf>,
    /// A server that runs already.
    pub target: Option<Target>,
    /// Calls at once.
    pub parallel: Parallel,
    /// What holds for every caller that does not say otherwise.
    pub defaults: Defaults,
    /// The callers.
    pub caller: Vec<Caller>,
}

/// A server that runs already.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Host and port of its SIP, for example `127.0.0.1:5060`.
    pub sip: String,
    /// Base URL of its API.
    pub api: String,
    /// Key of that API.
    pub api_key: SecretRef,
}

/// Calls at once.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(transparent)]
pub struct Parallel(pub usize);

impl Default for Parallel {
    fn default() -> Self {
        Self(4)
    }
}

/// What holds for every caller that does not say otherwise.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Defaults {
    /// User part that is dialled: a number, or any name if only one agent takes calls.
    pub dial: String,
    /// Voice of the callers.
    pub voice: String,
    /// BCP 47 tag of the callers' speech.
    pub language: String,
    /// Longest wait for a reply, and for what a step waits for.
    pub limit_ms: u32,
    /// Silence that ends a reply of the agent.
    pub quiet_ms: u32,
    /// What is softer than this, in dBFS, is not the agent's voice but what sounds behind it.
    pub audible_dbfs: f32,
    /// Times each caller calls.
    pub repeat: u32,
    /// What must hold for every caller.
    pub expect: Expect,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            dial: "demo".to_owned(),
            voice: "slt".to_owned(),
            language: "en".to_owned(),
            limit_ms: 20_000,
            quiet_ms: 1_000,
            audible_dbfs: -50.0,
            repeat: 1,
            expect: Expect::default(),
        }
    }
}

/// One caller.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Caller {
    /// What the report calls it.
    pub name: String,
    /// User part that is dialled.
    pub dial: Option<String>,
    /// Number or name the call comes from.
    pub from: Option<String>,
    /// Its voice.
    pub voice: Option<String>,
    /// What is heard behind its words.
    pub noise: Option<Noise>,
    /// How often it calls.
    pub repeat: Option<u32>,
    /// What it does, in order.
    pub steps: Vec<Step>,
    /// What must come of it.
    pub expect: Expect,
}

/// Noise behind the caller's words.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// What it sounds like.
    pub kind: NoiseKind,
    /// How far the words stand above it, in dB.
    pub snr_db: f32,
    /// The noise itself, where `kind` is `file`; a path beside the scenario.
    pub file: Option<PathBuf>,
}

/// What noise sounds like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoiseKind {
    /// As loud at every frequency: a bad line.
    White,
    /// Louder below: a street, a car.
    Pink,
    /// A WAV file, repeated.
    File,
}

/// What must come of a call. What is not named is not checked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Phrases the caller must have heard, each within one turn of the agent.
    pub said: Vec<String>,
    /// Phrases the caller must not have heard.
    pub not_said: Vec<String>,
    /// Phrases the agent must have understood, each within one turn of the caller.
    pub heard: Vec<String>,
    /// Phrases the agent must not have understood.
    pub not_heard: Vec<String>,
    /// Tools that must have been called, in this order; others may lie between them.
    pub tools: Option<Vec<ExpectedTool>>,
    /// Values the call must have noted (`variables_extracted`).
    pub variables: BTreeMap<String, String>,
    /// Words of the call's record.
    pub outcome: Outcome,
    /// Bounds on the audio.
    pub timing: Timing,
    /// Interruptions.
    pub interruptions: Interruptions,
}

/// One tool call.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedTool {
    /// Its name.
    pub name: String,
    /// Arguments it must have had, at least.
    #[serde(default)]
    pub arguments: toml::Table,
    /// Whether it failed; None: either.
    pub is_error: Option<bool>,
    /// How often it was called in the whole call; 0: never. None: at least once.
    pub times: Option<usize>,
}

/// Words of the call's record; see `docs/api.md`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outcome {
    /// For example `completed`.
    pub status: Option<String>,
    /// For example `user_hangup`.
    pub end_reason: Option<String>,
    /// For example `agent`.
    pub ended_by: Option<String>,
    /// For example `human`.
    pub answered_by: Option<String>,
    /// For example `completed`.
    pub outcome: Option<String>,
}

/// Bounds on the audio, as the caller hears it, in milliseconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// Median wait for a reply.
    pub response_p50_ms: Option<u64>,
    /// Longest wait for a reply.
    pub response_max_ms: Option<u64>,
    /// Longest time to yield; an interruption that the agent did not yield to is beyond every bound.
    pub yield_max_ms: Option<u64>,
    /// From the answer to the agent's first sound.
    pub greeting_max_ms: Option<u64>,
    /// Longest time in which nobody talks.
    pub silence_max_ms: Option<u64>,
    /// Longest turn of the agent.
    pub monologue_max_ms: Option<u64>,
    /// Time in which both talk.
    pub talk_over_max_ms: Option<u64>,
    /// Shortest call.
    pub duration_min_ms: Option<u64>,
    /// Longest call.
    pub duration_max_ms: Option<u64>,
}

/// Interruptions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Interruptions {
    /// Turns of the agent that the server's record calls interrupted.
    pub count: Option<usize>,
    /// Most silences of the agent for a sound that was no turn.
    pub false_max: Option<usize>,
    /// Most of them after which it did not come back to what it said.
    pub lost_max: Option<usize>,
    /// Most times the agent began while the caller still spoke.
    pub cut_ins_max: Option<usize>,
}

/// Why there is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// It is wrong.
    #[error(transparent)]
    Wrong(#[from] ConfigError),
}

impl Scenario {
    /// Reads and checks a file. Paths in it are beside it.
    ///
    /// # Errors
    /// When it cannot be read, or with everything that is wrong in it.
    pub fn load(path: &Path) -> Result<Self, ScenarioError> {
        // The environment overlays the server's configuration, not what the callers do.
        let mut scenario: Self = crate::config::load(path, &Env::new())?;
        let beside = path.parent().unwrap_or(Path::new("")).to_owned();
        scenario.settle(&beside);
        Ok(scenario)
    }

    fn settle(&mut self, beside: &Path) {
        let settle = |path: &mut PathBuf| *path = beside.join(&*path);
        self.server.iter_mut().for_each(settle);
        for caller in &mut self.caller {
            caller.noise.iter_mut().filter_map(|noise| noise.file.as_mut()).for_each(settle);
            caller.steps.iter_mut().filter_map(|step| step.play.as_mut()).for_each(settle);
        }
    }

    /// The user part that this caller dials.
    pub fn dial<'a>(&'a self, caller: &'a Caller) -> &'a str {
        caller.dial.as_deref().unwrap_or(&self.defaults.dial)
    }

    /// The voice of this caller.
    pub fn voice<'a>(&'a self, caller: &'a Caller) -> &'a str {
        caller.voice.as_deref().unwrap_or(&self.defaults.voice)
    }

    /// How often this caller calls.
    pub fn repeat(&self, caller: &Caller) -> u32 {
        caller.repeat.unwrap_or(self.defaults.repeat).max(1)
    }

    /// Longest wait for a reply.
    pub fn limit(&self) -> Duration {
        Duration::from_millis(self.defaults.limit_ms.into())
    }
}

impl Validate for Scenario {
    fn problems(&self) -> Vec<Complaint> {
        let mut found = Vec::new();
        if self.server.is_some() && self.target.is_some() {
            let text =
                "`server` and `target` cannot both be: a server is started, or it runs already";
            found.push(Complaint::new("server", text));
        }
        if self.caller.is_empty() {
            let text =
                "nobody calls; hint: a caller is a table `[[caller]]` with `name` and `steps`";
            found.push(Complaint::new("caller", text));
        }
        if !(1..=PARALLEL_MAX).contains(&self.parallel.0) {
            found.push(Complaint::new("parallel", format!("expected 1 to {PARALLEL_MAX}")));
        }
        let runs: usize = self.caller.iter().map(|caller| self.repeat(caller) as usize).sum();
        if runs > CALLERS_MAX {
            let text = format!("{runs} calls with `repeat`; expected at most {CALLERS_MAX}");
            found.push(Complaint::new("caller", text));
        }
        if !(100..=LIMIT_MS_MAX).contains(&self.defaults.limit_ms) {
            let text = format!("expected 100 to {LIMIT_MS_MAX}");
            found.push(Complaint::new("defaults.limit_ms", text));
        }
        if !(-70.0..=-20.0).contains(&self.defaults.audible_dbfs) {
            found.push(Complaint::new("defaults.audible_dbfs", "expected -70 to -20"));
        }
        self.defaults.expect.problems("defaults.expect", &mut found);
        let mut names = std::collections::BTreeSet::new();
        for (index, caller) in self.caller.iter().enumerate() {
            // Names are what people look for; positions are what the file's reader finds.
            let key = format!("caller[{index}]");
            let mut own = Vec::new();
            if caller.name.trim().is_empty() {
                own.push(Complaint::new(format!("{key}.name"), "a caller needs a name"));
            } else if !names.insert(&caller.name) {
                own.push(Complaint::new(format!("{key}.name"), "another caller has this name"));
            }
            caller.problems(&key, &mut own);
            found.extend(own.into_iter().map(|complaint| Complaint {
                message: format!("caller \"{}\": {}", caller.name, complaint.message),
                ..complaint
            }));
        }
        found
    }
}

impl Caller {
    fn problems(&self, key: &str, found: &mut Vec<Complaint>) {
        if self.steps.is_empty() || self.steps.len() > STEPS_MAX {
            found.push(Complaint::new(
                format!("{key}.steps"),
                format!("expected 1 to {STEPS_MAX} steps"),
            ));
        }
        for (index, step) in self.steps.iter().enumerate() {
            let key = format!("{key}.steps[{index}]");
            match step.action() {
                Err(message) => found.push(Complaint::new(key, message)),
                Ok(Action::HangUp) if index + 1 < self.steps.len() => {
                    found.push(Complaint::new(key, "nothing can follow `hang_up`"));
                }
                Ok(_) if step.limit_ms.is_some_and(|ms| !(1..=LIMIT_MS_MAX).contains(&ms)) => {
                    let text = format!("`limit_ms`: expected 1 to {LIMIT_MS_MAX}");
                    found.push(Complaint::new(key, text));
                }
                Ok(_) => {}
            }
        }
        if let Some(noise) = &self.noise {
            if !(-10.0..=60.0).contains(&noise.snr_db) {
                let text = format!("expected -10 to 60, found {}", noise.snr_db);
                found.push(Complaint::new(format!("{key}.noise.snr_db"), text));
            }
            if (noise.kind == NoiseKind::File) != noise.file.is_some() {
                let text = "expected a path where `kind` is `file`, and only there";
                found.push(Complaint::new(format!("{key}.noise.file"), text));
            }
        }
        self.expect.problems(&format!("{key}.expect"), found);
    }
}

impl Expect {
    fn problems(&self, key: &str, found: &mut Vec<Complaint>) {
        let lists = [
            ("said", &self.said),
            ("not_said", &self.not_said),
            ("heard", &self.heard),
            ("not_heard", &self.not_heard),
        ];
        for (name, phrases) in lists {
            for (index, phrase) in phrases.iter().enumerate() {
                if let Err(message) = Pattern::parse(phrase) {
                    found.push(Complaint::new(format!("{key}.{name}[{index}]"), message));
                }
            }
        }
        for (index, tool) in self.tools.iter().flatten().enumerate() {
            if tool.times == Some(0) && !tool.arguments.is_empty() {
                let text =
                    "`times = 0` forbids every call of the tool; hint: leave `arguments` out";
                found.push(Complaint::new(format!("{key}.tools[{index}]"), text));
            }
        }
    }
}

#[cfg(test)]
mod tests;
