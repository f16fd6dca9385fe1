//! Gate: logs, metrics, error chains.
//!
//! Everything this process says about itself leaves through here: log lines on standard error
//! ([`log`]), Prometheus text ([`metrics`]) and error chains as one line ([`chain`]). It opens no
//! socket; the API serves what [`metrics::Exporter::render`] returns. Start reading at [`Config`].

pub mod chain;
pub mod fixed;
pub mod log;
pub mod metrics;

use serde::{Deserialize, Serialize};

/// The `[telemetry]` section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which log lines appear, in the syntax of `tracing`'s `EnvFilter`, for example
    /// `info,trunkline::sip=debug`. The environment variable `RUST_LOG` wins over it.
    pub log_filter: String,
    /// Shape of the log lines.
    pub log_format: log::Format,
    /// Whether phone numbers, transcripts and digits appear in logs instead of `[redacted]`.
    pub log_pii: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { log_filter: "info".to_owned(), log_format: log::Format::Auto, log_pii: false }
    }
}
