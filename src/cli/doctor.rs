//! `trunkline doctor`: what would keep calls from working here, line by line, with what to do about it.
//!
//! It looks from outside: nothing of a running server is touched, no call is placed, no secret is shown.

mod machine;
mod peers;
mod trunks;

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::args::DoctorArgs;
use super::{Failure, data, dial, load};
use crate::config::{Config, Env};
use crate::server;
use crate::softphone::dial::Format;
use crate::softphone::waterfall::Color;

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    /// It works, but not always, or not for everybody.
    Warn,
    /// Calls will fail.
    Fail,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    /// What was looked at, often a setting.
    name: String,
    state: State,
    /// What was found.
    message: String,
    /// What to do about it.
    hint: Option<String>,
}

impl Check {
    fn ok(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, message: message.into(), hint: None }
    }

    fn warn(name: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (name, message) = (name.into(), message.into());
        Self { name, state: State::Warn, message, hint: Some(hint.into()) }
    }

    fn fail(name: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { state: State::Fail, ..Self::warn(name, message, hint) }
    }
}

/// The whole report.
#[derive(Serialize)]
struct Report<'a> {
    /// Whether nothing failed.
    ok: bool,
    checks: &'a [Check],
}

/// Runs every check.
pub(super) async fn run(args: DoctorArgs, env: &Env) -> Result<(), Failure> {
    let config = load(args.config.as_deref(), env)?;
    let color = match dial::format(args.json, env) {
        Format::Text(style) => Some(style.color),
        Format::Json => None,
    };
    crate::providers::http::install_crypto();
    let mut checks = vec![of_config(&config, env, args.config.as_deref())];
    checks.extend(machine::look(&config).await);
    checks.extend(peers::look(&config, env).await);
    let failed = checks.iter().filter(|check| check.state == State::Fail).count();
    match color {
        Some(color) => data(&draw(&checks, color)),
        None => {
            let report = Report { ok: failed == 0, checks: &checks };
            let text = serde_json::to_string_pretty(&report)
                .map_err(|error| Failure::Run(format!("failed to write JSON: {error}")))?;
            data(&format!("{text}\n"));
        }
    }
    match failed {
        0 => Ok(()),
        1 => Err(Failure::Run("1 check failed".to_owned())),
        more => Err(Failure::Run(format!("{more} checks failed"))),
    }
}

fn of_config(config: &Config, env: &Env, path: Option<&Path>) -> Check {
    let name = path
        .map_or_else(|| "the built-in configuration".to_owned(), |path| path.display().to_string());
    match server::check(config, env) {
        Ok(()) => Check::ok("configuration", format!("{name} is right")),
        Err(error) => {
            let why = crate::telemetry::chain::chain(&error).to_string();
            Check::fail(
                "configuration",
                why,
                "mend the setting it names; the server does not start",
            )
        }
    }
}

/// The report for a terminal.
fn draw(checks: &[Check], color: Color) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let (mark, code) = match check.state {
            State::Ok => ("✓", "32"),
            State::Warn => ("!", "33"),
            State::Fail => ("✗", "31"),
        };
        let mark = match color {
            Color::On => format!("\u{1b}[{code}m{mark}\u{1b}[0m"),
            Color::Off => mark.to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{mark} {:width$}  {}", check.name, check.message);
        if let Some(hint) = &check.hint {
            let _ = writeln!(text, "  {:width$}  → {hint}", "");
        }
    }
    let count = |state| checks.iter().filter(|check| check.state == state).count();
    let _ = writeln!(
        text,
        "\n{} right, {} to look at, {} wrong",
        count(State::Ok),
        count(State::Warn),
        count(State::Fail)
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_is_wrong_and_how_to_mend_it() {
        let checks = [
            Check::ok("disk", "12 GB free"),
            Check::warn("clock", "nobody keeps it", "run chrony"),
            Check::fail("sip.listen_udp", "0.0.0.0:5060 is in use", "stop the other program"),
        ];
        let text = draw(&checks, Color::Off);
        assert_eq!(
            text,
            "✓ disk            12 GB free\n\
             ! clock           nobody keeps it\n\
             \x20                 → run chrony\n\
             ✗ sip.listen_udp  0.0.0.0:5060 is in use\n\
             \x20                 → stop the other program\n\
             \n1 right, 1 to look at, 1 wrong\n"
        );
        assert!(draw(&checks, Color::On).contains("\u{1b}[31m✗\u{1b}[0m"));
    }
}
