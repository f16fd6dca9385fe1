//! Log lines on standard error: for people on a terminal, JSON for machines.
//!
//! Standard output is data (`trunkline call --json`), so no log line ever goes there.

use std::io::IsTerminal;

use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::Config;

/// Shape of the log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `pretty` when standard error is a terminal, else `json`.
    #[default]
    Auto,
    /// One coloured line an event; `NO_COLOR` turns the colours off.
    Pretty,
    /// One JSON object an event.
    Json,
}

/// Why logging could not start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `telemetry.log_filter` or `RUST_LOG` does not parse.
    #[error("read the log filter `{filter}`")]
    Filter {
        /// The offending text.
        filter: String,
        /// What the parser says.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Something else already took the process-wide subscriber.
    #[error("install the log subscriber")]
    Install(#[source] tracing_subscriber::util::TryInitError),
}

/// Starts logging for the whole process, and opens or closes the view of personal data.
///
/// `env_filter` is the value of `RUST_LOG`, read by the caller; it wins over the configuration.
///
/// # Errors
/// When the filter does not parse, or a subscriber is already installed.
pub fn init(config: &Config, env_filter: Option<&str>) -> Result<(), LogError> {
    crate::types::pii::set_log_pii(config.log_pii);
    let filter = filter(config, env_filter)?;
    let terminal = std::io::stderr().is_terminal();
    subscriber(filter, resolve(config.log_format, terminal), terminal, std::io::stderr)
        .try_init()
        .map_err(LogError::Install)
}

/// Checks a filter without installing anything; used by `check-config`.
///
/// # Errors
/// When it does not parse.
pub fn filter(config: &Config, env_filter: Option<&str>) -> Result<EnvFilter, LogError> {
    let text = env_filter.filter(|text| !text.is_empty()).unwrap_or(&config.log_filter);
    EnvFilter::builder()
        .parse(text)
        .map_err(|source| LogError::Filter { filter: text.to_owned(), source })
}

/// What `auto` means here.
fn resolve(format: Format, terminal: bool) -> Format {
    match (format, terminal) {
        (Format::Auto, true) => Format::Pretty,
        (Format::Auto, false) => Format::Json,
        (fixed, _) => fixed,
    }
}

fn subscriber<W>(
    filter: EnvFilter,
    format: Format,
    terminal: bool,
    writer: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        // Span fields carry the call and turn ids: `flatten_event` leaves them under `spans`.
        Format::Json => Box::new(registry.with(layer.json().flatten_event(true))),
        Format::Pretty | Format::Auto => {
            // `with_ansi` alone would override `NO_COLOR`, which the layer's default honours.
            let layer = if terminal { layer } else { layer.with_ansi(false) };
            Box::new(registry.with(layer))
        }
    }
}

#[cfg(test)]
mod tests;
