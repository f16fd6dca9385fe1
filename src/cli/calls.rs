//! `trunkline calls show`: one call of a running server, with its SIP messages as a ladder.

mod ladder;

use std::path::Path;

use serde::Deserialize;

use super::args::{ApiArgs, CallsCommand, ShowCallArgs};
use super::{Failure, data, dial, say};
use crate::config::Env;
use crate::schema::ladder::SipMessages;
use crate::softphone::api::{Api, ApiAccess, ApiError};
use crate::softphone::dial::Format;
use crate::types::Secret;

/// What is shown of a call besides its messages.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    id: String,
    direction: String,
    status: String,
    end_reason: Option<String>,
    started_at: Option<String>,
    duration_ms: Option<u64>,
    trunk_id: Option<String>,
    agent_id: Option<String>,
}

/// Runs a command of `trunkline calls`.
pub(super) async fn run(command: CallsCommand, env: &Env) -> Result<(), Failure> {
    match command {
        CallsCommand::Show(show) => self::show(show, env).await,
    }
}

async fn show(args: ShowCallArgs, env: &Env) -> Result<(), Failure> {
    let format = dial::format(args.json, env);
    let api = client(args.api)?;
    let call = percent(&args.id);
    let failed = |error: ApiError| match error {
        ApiError::Status { status: 404 } => {
            Failure::Run(format!("there is no call `{}` for this key", args.id))
        }
        other => Failure::Run(format!("failed to {}", crate::telemetry::chain::chain(&other))),
    };
    if let Some(path) = &args.pcap {
        let file = api.octets(&format!("/v1/calls/{call}/sip?format=pcap")).await;
        return keep(path, &file.map_err(failed)?);
    }
    let messages: SipMessages = api.get(&format!("/v1/calls/{call}/sip")).await.map_err(failed)?;
    match format {
        Format::Json => {
            let text = serde_json::to_string_pretty(&messages)
                .map_err(|error| Failure::Run(format!("failed to write JSON: {error}")))?;
            data(&format!("{text}\n"));
        }
        Format::Text(style) => {
            let shown: Shown = api.get(&format!("/v1/calls/{call}")).await.map_err(failed)?;
            data(&head(&shown));
            data(&ladder::draw(&messages, style.color, args.messages));
        }
    }
    Ok(())
}

fn client(args: ApiArgs) -> Result<Api, Failure> {
    let Some(key) = args.api_key else {
        let hint = "the API needs a key: give --api-key or set TRUNKLINE_API_KEY";
        return Err(Failure::Usage(hint.to_owned()));
    };
    Api::new(ApiAccess { url: args.api, key: Secret::new(key) }).map_err(|error| {
        Failure::Run(format!("failed to {}", crate::telemetry::chain::chain(&error)))
    })
}

fn keep(path: &Path, file: &[u8]) -> Result<(), Failure> {
    let failed = |error| Failure::Run(format!("failed to write `{}`: {error}", path.display()));
    std::fs::write(path, file).map_err(failed)?;
    say(&format!("{} bytes in {}", file.len(), path.display()));
    Ok(())
}

fn head(call: &Shown) -> String {
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let length = call
        .duration_ms
        .map_or_else(|| "-".to_owned(), |ms| format!("{}.{:01} s", ms / 1_000, ms % 1_000 / 100));
    let end = call.end_reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
    format!(
        "call      {}\nstatus    {}{end}, {}\nstarted   {}, {length}\ntrunk     {}, agent {}\n\n",
        call.id,
        call.status,
        call.direction,
        or(&call.started_at),
        or(&call.trunk_id),
        or(&call.agent_id),
    )
}

/// An identifier in a path: what a person typed may hold anything.
fn percent(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
