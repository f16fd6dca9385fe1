//! The server as a process of its own, for what only a process can show: signals, exit codes, kill -9.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use trunkline::config::Config;

use super::{server, wait};

/// The program under test.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command.kill_on_drop(true).stdin(Stdio::null());
    // What the developer's shell holds must not change what the tests see.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("TRUNK_PASSWORD", "secret");
    command
}

/// What a run of the program gave.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the program to its end.
pub(crate) async fn run(args: &[&str], env: &[(&str, &str)]) -> Ran {
    let mut command = program();
    command.args(args).envs(env.iter().copied());
    let output = wait::limit("the program's end", command.output()).await.expect("it runs");
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Writes a configuration as a file.
pub(crate) fn write_config(dir: &TempDir, change: impl FnOnce(&mut Config)) -> PathBuf {
    let mut config = server::config(dir);
    change(&mut config);
    let path = dir.path().join("server.toml");
    let text = toml::to_string_pretty(&config).expect("a configuration is TOML");
    std::fs::write(&path, text).expect("a file");
    path
}

/// A server process.
pub(crate) struct ServerProcess {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    pub(crate) sip: SocketAddr,
    pub(crate) talk: Vec<String>,
}

impl ServerProcess {
    /// Starts it and waits until it says where it listens.
    pub(crate) async fn start(config: &Path) -> Self {
        let mut command = program();
        command.arg("serve").arg("--config").arg(config);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let mut talk = Vec::new();
        let sip = wait::limit("the server's announcement", async {
            loop {
                let line = lines.next_line().await.expect("text");
                let line = line.unwrap_or_else(|| panic!("it ended: {talk:?}"));
                let found = line.strip_prefix("SIP over UDP on ").and_then(|a| a.parse().ok());
                talk.push(line);
                if let Some(address) = found {
                    return address;
                }
            }
        })
        .await;
        Self { child, lines, sip, talk }
    }

    /// SIGKILL, and waits until it is dead.
    pub(crate) async fn kill(mut self) {
        wait::limit("death", self.child.kill()).await.expect("it can be killed");
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// SIGHUP; gives what the server says of it, up to a line with these words.
    pub(crate) async fn reload(&mut self, words: &str) -> String {
        self.signal(rustix::process::Signal::HUP);
        let mut said = Vec::new();
        let reading = async {
            loop {
                let line = self.lines.next_line().await.expect("text").expect("it runs");
                let found = line.contains(words);
                said.push(line);
                if found {
                    return;
                }
            }
        };
        wait::limit("a word on the reload", reading).await;
        said.join("\n")
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = self.child.id().expect("it runs");
        let pid = rustix::process::Pid::from_raw(id.try_into().unwrap()).expect("a process");
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    /// Waits for its end; its exit code.
    pub(crate) async fn wait(mut self) -> i32 {
        // Its talk is read to the end, so that a full pipe cannot hold it.
        let reading = async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                self.talk.push(line)
            }
        };
        let status =
            wait::limit("the end", async { tokio::join!(self.child.wait(), reading).0 }).await;
        let status = status.expect("a status");
        status.code().unwrap_or_else(|| panic!("killed by a signal: {:?}", self.talk))
    }
}
