//! `trunkline demo`: a server on loopback, a caller with recorded words, and what the server made of it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::args::DemoArgs;
use super::{Failure, dial, say};
use crate::config::secret::SecretRef;
use crate::config::{Config, Env};
use crate::server;
use crate::sip::Transport;
use crate::softphone::api::ApiAccess;
use crate::softphone::dial::{DialOptions, Format};
use crate::types::{Entropy, Secret};

/// The demo's configuration; the program needs no file.
const CONFIG: &str = include_str!("../../config/demo.toml");

/// What the caller says, by voices other than the agent's (fixtures/wav/demo/README.md).
const UTTERANCES: [(&str, &[u8]); 6] = [
    ("1-opening-hours.wav", include_bytes!("../../fixtures/wav/demo/01_hours.wav")),
    ("2-book-a-table.wav", include_bytes!("../../fixtures/wav/demo/02_book.wav")),
    ("3-six-people.wav", include_bytes!("../../fixtures/wav/demo/04_party.wav")),
    ("4-on-friday.wav", include_bytes!("../../fixtures/wav/demo/05_day.wav")),
    ("5-half-past-seven.wav", include_bytes!("../../fixtures/wav/demo/06_time.wav")),
    ("6-goodbye.wav", include_bytes!("../../fixtures/wav/demo/12_bye.wav")),
];

/// How long the demo's server may take to stop.
const STOP: Duration = Duration::from_secs(5);

/// Runs the demo.
pub(super) async fn run(demo: &DemoArgs, env: &Env) -> Result<(), Failure> {
    let out = &demo.out;
    let io = |error: std::io::Error| {
        Failure::Run(format!("failed to write to `{}`: {error}", out.display()))
    };
    std::fs::create_dir_all(out).map_err(io)?;
    let wav = if demo.wav.is_empty() { utterances(out).map_err(io)? } else { demo.wav.clone() };
    let mut config: Config = crate::config::load_str("config/demo.toml", CONFIG, env)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    config.store.database = out.join("trunkline.db");
    config.store.recordings = out.join("recordings");
    // The server's own first key is shown once; the demo can be run again.
    let (key, key_file) = own_key(out).map_err(io)?;
    config.api.key = Some(SecretRef::File(key_file.clone()));
    super::init_log(&config, env)?;
    let started = server::start(config, env).await;
    // It is in memory now, or of no use.
    let _ = std::fs::remove_file(&key_file);
    let running = started.map_err(super::start_failure)?;
    for note in running.notes() {
        say(&format!("note: {note}"));
    }
    let Some(address) = running.sip(Transport::Udp).first().copied() else {
        return Err(Failure::Run("the demo's server listens nowhere".to_owned()));
    };
    say(&format!("server: SIP on {address}, HTTP API on http://{}/v1", running.api()));
    let mut options = DialOptions::to(format!("sip:demo@{address}"));
    options.wav = wav;
    options.out = Some(out.join("heard-by-the-caller.wav"));
    options.format = dial::format(demo.json, env);
    options.api = Some(ApiAccess { url: format!("http://{}", running.api()), key });
    let is_text = matches!(options.format, Format::Text(_));
    let called = dial::run(options).await;
    let mut recordings = recorded(&out.join("recordings"));
    recordings.sort();
    running.drain(STOP).await;
    called?;
    if is_text && let Some(newest) = recordings.last() {
        say(&format!("recording (caller left, agent right): {}", newest.display()));
        say("next: `trunkline serve`, then `trunkline call sip:demo@127.0.0.1` or any softphone");
    }
    Ok(())
}

/// A key for this run, and the file that tells the server of it; nobody else may read it.
fn own_key(out: &Path) -> std::io::Result<(Secret, PathBuf)> {
    let mut entropy = Entropy::from_system().map_err(std::io::Error::other)?;
    let key = format!("tk_{}", entropy.hex(32));
    let path = out.join("api-key");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(key.as_bytes())?;
    Ok((Secret::new(key), path))
}

/// Puts the built-in words where the softphone can read them.
fn utterances(out: &Path) -> std::io::Result<Vec<PathBuf>> {
    let directory = out.join("caller");
    std::fs::create_dir_all(&directory)?;
    UTTERANCES
        .iter()
        .map(|(name, bytes)| {
            let path = directory.join(name);
            std::fs::write(&path, bytes)?;
            Ok(path)
        })
        .collect()
}

/// WAV files below a directory of days.
fn recorded(root: &Path) -> Vec<PathBuf> {
    let files = |path: &Path| {
        std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path())
    };
    files(root).flat_map(|day| files(&day).collect::<Vec<_>>()).collect()
}
