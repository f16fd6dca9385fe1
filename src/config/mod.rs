//! Typed configuration: load, check, explain. Composes every room's own `Config`.
//!
//! One TOML file, then `TRUNKLINE__SECTION__KEY` variables over it. Each room owns its section's
//! struct, with defaults and doc comments; this room only puts them together. To add a section: add
//! a field to [`Config`], a row to [`SECTIONS`], and its range checks to [`Config::problems`].

pub mod explain;
pub mod load;
pub mod problem;
pub mod secret;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use explain::{Section, reference};
pub use load::{ENV_PREFIX, Env, load, load_str};
pub use problem::{Complaint, ConfigError, Problem, Validate};
pub use secret::SecretRef;

/// The `[api]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// Address and port of the HTTP API, `/metrics` and the health checks.
    pub bind: SocketAddr,
}

impl Default for Api {
    fn default() -> Self {
        Self { bind: SocketAddr::from(([127, 0, 0, 1], 8_080)) }
    }
}

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The HTTP API.
    pub api: Api,
    /// Call records and recordings.
    pub store: crate::store::Config,
    /// Logs and metrics.
    pub telemetry: crate::telemetry::Config,
}

/// Where the doc comments of each section stand.
pub const SECTIONS: &[Section] = &[
    Section { name: "api", source: include_str!("mod.rs"), item: "Api" },
    Section { name: "store", source: include_str!("../store/mod.rs"), item: "Config" },
    Section { name: "telemetry", source: include_str!("../telemetry/mod.rs"), item: "Config" },
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
        found
    }
}

#[cfg(test)]
mod tests;
