//! The cases, and the table of what every recogniser does in each.

mod cases;
mod ear;
mod more;
mod server;
mod vendors;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use serde_json::json;

use self::server::{Say, Vendor};
use super::super::ws::Recogniser;
use super::super::{
    Stt, assemblyai, cartesia, deepgram, flux, openai, openai_realtime, scribe, sherpa, soniox,
};
use super::super::{speechmatics, vosk};
use crate::providers::FailureKind::{self, Auth, BadRequest, Cut, RateLimited, Unavailable};
use crate::providers::config::{ConfigError, ProviderConfig};
use crate::types::Secret;

/// A key that must never be seen but where it belongs.
const KEY: &str = "canary-of-the-key";

/// How an adapter is made.
enum Make {
    WebSocket(fn(&str, &ProviderConfig, Secret) -> Result<Recogniser, ConfigError>),
    Http,
}

/// An error of the vendor's, and what it must become.
struct Failing {
    name: &'static str,
    says: fn() -> Vec<Say>,
    status: Option<u16>,
    kind: FailureKind,
}

/// One row.
struct Subject {
    kind: &'static str,
    make: Make,
    vendor: fn() -> Box<dyn Vendor>,
    /// What the server must see in the header of the key.
    authorization: &'static str,
    mulaw: bool,
    failing: Vec<Failing>,
}

impl Subject {
    /// The adapter with waits that suit a test, or what its settings say.
    fn try_stt(&self, config: &ProviderConfig) -> Result<Arc<dyn Stt>, ConfigError> {
        match self.make {
            Make::WebSocket(make) => {
                let mut recogniser = make("provider", config, Secret::new(KEY))?;
                recogniser.habits.keep_alive.1 = Duration::from_millis(300);
                recogniser.habits.grace = Duration::from_millis(500);
                Ok(Arc::new(recogniser))
            }
            Make::Http => (openai::MAKER.build)("provider", config, Secret::new(KEY)),
        }
    }

    fn stt(&self, url: &str) -> Arc<dyn Stt> {
        let config = ProviderConfig { base_url: url.to_owned(), ..ProviderConfig::default() };
        self.try_stt(&config).unwrap()
    }

    fn is_http(&self) -> bool {
        matches!(self.make, Make::Http)
    }
}

fn said(name: &'static str, says: fn() -> Vec<Say>, kind: FailureKind) -> Failing {
    Failing { name, says, status: None, kind }
}

fn refused(name: &'static str, status: u16, kind: FailureKind) -> Failing {
    Failing {
        name,
        says: || vec![Say::Text(r#"{"error":{"message":"canary"}}"#.to_owned())],
        status: Some(status),
        kind,
    }
}

fn text(value: serde_json::Value) -> Vec<Say> {
    vec![Say::Text(value.to_string())]
}

fn handshakes() -> Vec<Failing> {
    vec![
        refused("401", 401, FailureKind::Auth),
        refused("429", 429, FailureKind::RateLimited),
        refused("503", 503, FailureKind::Unavailable),
    ]
}

fn with(mut own: Vec<Failing>) -> Vec<Failing> {
    let mut all = handshakes();
    all.append(&mut own);
    all
}

/// Every adapter.
fn subjects() -> Vec<Subject> {
    [turn_takers(), streamers(), own_machines()].into_iter().flatten().collect()
}

/// Those that say when a turn ends.
fn turn_takers() -> Vec<Subject> {
    vec![
        Subject {
            kind: "deepgram-flux",
            make: Make::WebSocket(flux::recogniser),
            vendor: || Box::new(vendors::Flux::default()),
            authorization: "Token canary-of-the-key",
            mulaw: true,
            failing: with(vec![
                said("INTERNAL_SERVER_ERROR", || flux_error("INTERNAL_SERVER_ERROR"), Unavailable),
                said("NET-0001", || flux_error("NET-0001"), Cut),
                said("DATA-0000", || flux_error("DATA-0000"), BadRequest),
            ]),
        },
        Subject {
            kind: "assemblyai",
            make: Make::WebSocket(assemblyai::recogniser),
            vendor: || Box::new(vendors::AssemblyAi::default()),
            authorization: "canary-of-the-key",
            mulaw: true,
            failing: with(vec![
                said("1008", || vec![Say::Close(1008)], Auth),
                said("3005", || vec![Say::Close(3005)], Unavailable),
                said("3006", || vec![Say::Close(3006)], BadRequest),
                said("3007", || vec![Say::Close(3007)], BadRequest),
                said("3008", || vec![Say::Close(3008)], Cut),
                said("3009", || vec![Say::Close(3009)], RateLimited),
                said(
                    "Error 3009",
                    || text(json!({"type": "Error", "error_code": 3009, "error": "canary"})),
                    RateLimited,
                ),
            ]),
        },
        Subject {
            kind: "soniox",
            make: Make::WebSocket(soniox::recogniser),
            vendor: || Box::new(vendors::Soniox::default()),
            authorization: "Bearer canary-of-the-key",
            mulaw: true,
            failing: with(vec![
                said("error_code 401", || soniox_error(401), Auth),
                said("error_code 402", || soniox_error(402), RateLimited),
                said("error_code 400", || soniox_error(400), BadRequest),
                said("error_code 503", || soniox_error(503), Unavailable),
            ]),
        },
        Subject {
            kind: "speechmatics",
            make: Make::WebSocket(speechmatics::recogniser),
            vendor: || Box::new(vendors::Speechmatics::default()),
            authorization: "Bearer canary-of-the-key",
            mulaw: true,
            failing: with(vec![
                said("not_authorised", || speechmatics_error("not_authorised"), Auth),
                said("quota_exceeded", || speechmatics_error("quota_exceeded"), RateLimited),
                said("invalid_model", || speechmatics_error("invalid_model"), BadRequest),
                said("session_timeout", || speechmatics_error("session_timeout"), Cut),
                said("job_error", || speechmatics_error("job_error"), Unavailable),
                said("4001", || vec![Say::Close(4001)], Auth),
                said("4005", || vec![Say::Close(4005)], RateLimited),
            ]),
        },
    ]
}

/// Those that are asked for the final text.
fn streamers() -> Vec<Subject> {
    vec![
        Subject {
            kind: "deepgram",
            make: Make::WebSocket(deepgram::recogniser),
            vendor: || Box::new(vendors::Deepgram::default()),
            authorization: "Token canary-of-the-key",
            mulaw: true,
            failing: with(vec![
                said("1008", || vec![Say::Close(1008)], Auth),
                said("1011", || vec![Say::Close(1011)], Unavailable),
            ]),
        },
        Subject {
            kind: "openai-realtime",
            make: Make::WebSocket(openai_realtime::recogniser),
            vendor: || Box::new(vendors::OpenAiRealtime::default()),
            authorization: "Bearer canary-of-the-key",
            mulaw: true,
            failing: with(vec![
                said("invalid_api_key", || openai_error("invalid_api_key"), Auth),
                said("insufficient_quota", || openai_error("insufficient_quota"), RateLimited),
                said("session_expired", || openai_error("session_expired"), Cut),
                said("server_error", || openai_error("server_error"), Unavailable),
                said("unknown_parameter", || openai_error("unknown_parameter"), BadRequest),
            ]),
        },
        Subject {
            kind: "cartesia",
            make: Make::WebSocket(cartesia::recogniser),
            vendor: || Box::new(more::Cartesia::default()),
            authorization: "canary-of-the-key",
            mulaw: true,
            failing: with(vec![
                said("status_code 401", || cartesia_error(401), Auth),
                said("status_code 402", || cartesia_error(402), RateLimited),
                said("status_code 400", || cartesia_error(400), BadRequest),
                said("status_code 500", || cartesia_error(500), Unavailable),
            ]),
        },
        Subject {
            kind: "elevenlabs",
            make: Make::WebSocket(scribe::recogniser),
            vendor: || Box::new(more::Scribe::default()),
            authorization: "canary-of-the-key",
            mulaw: true,
            failing: with(vec![
                said("auth_error", || scribe_error("auth_error"), Auth),
                said("quota_exceeded", || scribe_error("quota_exceeded"), RateLimited),
                said("input_error", || scribe_error("input_error"), BadRequest),
                said(
                    "session_time_limit_exceeded",
                    || scribe_error("session_time_limit_exceeded"),
                    Cut,
                ),
                said("transcriber_error", || scribe_error("transcriber_error"), Unavailable),
            ]),
        },
    ]
}

/// Those that run on a machine of one's own, the last one for segments.
fn own_machines() -> Vec<Subject> {
    vec![
        Subject {
            kind: "vosk",
            make: Make::WebSocket(vosk::recogniser),
            vendor: || Box::new(vendors::Vosk::default()),
            authorization: "Bearer canary-of-the-key",
            mulaw: false,
            failing: with(vec![said("1011", || vec![Say::Close(1011)], Unavailable)]),
        },
        Subject {
            kind: "sherpa",
            make: Make::WebSocket(sherpa::recogniser),
            vendor: || Box::new(vendors::Sherpa::default()),
            authorization: "Bearer canary-of-the-key",
            mulaw: false,
            failing: with(vec![said("1011", || vec![Say::Close(1011)], Unavailable)]),
        },
        Subject {
            kind: "openai",
            make: Make::Http,
            vendor: || Box::new(vendors::Transcriptions::default()),
            authorization: "Bearer canary-of-the-key",
            mulaw: false,
            failing: with(vec![refused("400", 400, BadRequest), refused("500", 500, Unavailable)]),
        },
    ]
}

fn flux_error(code: &str) -> Vec<Say> {
    text(json!({"type": "Error", "sequence_id": 1, "code": code, "description": "canary"}))
}

fn openai_error(code: &str) -> Vec<Say> {
    text(json!({"type": "error", "error": {"type": code, "code": code, "message": "canary"}}))
}

fn soniox_error(code: u16) -> Vec<Say> {
    let mut said = text(json!({"tokens": [], "error_code": code, "error_message": "canary"}));
    said.push(Say::Close(1000));
    said
}

fn speechmatics_error(kind: &str) -> Vec<Say> {
    text(json!({"message": "Error", "type": kind, "reason": "canary"}))
}

fn cartesia_error(code: u16) -> Vec<Say> {
    text(json!({"type": "error", "title": "canary", "message": "canary", "status_code": code}))
}

fn scribe_error(kind: &str) -> Vec<Say> {
    text(json!({"message_type": kind, "error": "canary"}))
}

const HEADINGS: [&str; 12] = [
    "happy path",
    "partials",
    "turns",
    "flush",
    "drop",
    "keep-alive",
    "slow",
    "cut",
    "error",
    "garbage",
    "G.711",
    "wrong rate",
];

/// What a case gives; a failed one lets the others run.
async fn cell(case: impl Future<Output = String>) -> String {
    AssertUnwindSafe(case).catch_unwind().await.unwrap_or_else(|_| FAILED.to_owned())
}

const FAILED: &str = "FAILED";

async fn row(subject: Subject) -> String {
    let cells = [
        cell(cases::happy_path(&subject)).await,
        cell(cases::partials(&subject)).await,
        cell(cases::turns(&subject)).await,
        cell(cases::flush(&subject)).await,
        cell(cases::dropped(&subject)).await,
        cell(cases::keep_alive(&subject)).await,
        cell(cases::slow(&subject)).await,
        cell(cases::cut(&subject)).await,
        cell(cases::errors(&subject)).await,
        cell(cases::garbage(&subject)).await,
        cell(cases::g711(&subject)).await,
        cell(async { cases::wrong_rate(&subject) }).await,
    ];
    format!("| `{}` | {} |\n", subject.kind, cells.join(" | "))
}

/// The table, and its copy in the documentation.
#[tokio::test]
async fn every_recogniser_passes_every_case() {
    let rows = futures_util::future::join_all(subjects().into_iter().map(row)).await;
    let heads = HEADINGS.join(" | ");
    let rule = "---|".repeat(HEADINGS.len() + 1);
    let table = format!("| `kind` | {heads} |\n|{rule}\n{}", rows.concat());
    println!("{table}");
    assert!(!table.contains(FAILED), "a case failed");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/providers.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("<!-- conformance: stt -->\n", "<!-- /conformance -->");
    let (head, rest) = docs.split_once(begin).unwrap();
    let (kept, tail) = rest.split_once(end).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, format!("{head}{begin}{table}{end}{tail}")).unwrap();
    } else {
        assert_eq!(kept, table, "docs/providers.md: run with UPDATE_GOLDEN=1");
    }
}
