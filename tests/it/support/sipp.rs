//! SIPp runs one scenario of `tests/it/sipp/` and says with its exit code whether all of it happened.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::{Child, Command};
use trunkline::sip::Transport;

use super::{free_port, wait};

/// A running SIPp.
pub(crate) struct Sipp {
    child: Child,
    dir: TempDir,
    scenario: String,
    /// Where a UAS listens.
    pub(crate) local: SocketAddr,
}

fn command(scenario: &str, transport: Transport, local: SocketAddr, dir: &TempDir) -> Command {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/sipp")
        .join(format!("{scenario}.xml"));
    let mut command = Command::new("sipp");
    command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.current_dir(dir.path());
    let mode = match transport {
        Transport::Udp => "u1",
        Transport::Tcp => "t1",
        Transport::Tls => unreachable!("this SIPp is built without TLS"),
    };
    let (port, media) = (local.port().to_string(), (local.port() + 2).to_string());
    command.arg("-sf").arg(file).args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-t", mode]);
    command.args(["-p", &port, "-mp", &media, "-m", "1", "-l", "1", "-nostdin"]);
    command.args(["-timeout", "18s", "-timeout_error", "-recv_timeout", "15000"]);
    command.args(["-trace_err", "-error_file", "errors.log"]);
    command.args(["-trace_msg", "-message_file", "messages.log"]);
    command
}

impl Sipp {
    /// Calls the server; `user` is the user part it calls.
    pub(crate) fn uac(
        scenario: &str,
        transport: Transport,
        server: SocketAddr,
        user: &str,
    ) -> Self {
        let local = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = command(scenario, transport, local, &dir);
        command.args(["-s", user]).arg(server.to_string());
        let child = command.spawn().expect("sipp starts");
        Self { child, dir, scenario: scenario.to_owned(), local }
    }

    /// Waits for a call.
    pub(crate) async fn uas(scenario: &str, transport: Transport) -> Self {
        let local = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = command(scenario, transport, local, &dir);
        let child = command.spawn().expect("sipp starts");
        wait::until("sipp listens", async || {
            let taken = match transport {
                Transport::Udp => std::net::UdpSocket::bind(local).is_err(),
                Transport::Tcp | Transport::Tls => std::net::TcpListener::bind(local).is_err(),
            };
            taken.then_some(())
        })
        .await;
        Self { child, dir, scenario: scenario.to_owned(), local }
    }

    /// Takes any number of calls, until it is dropped.
    pub(crate) async fn crowd(scenario: &str) -> Self {
        let local = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let dir = tempfile::tempdir().expect("a directory");
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/it/sipp")
            .join(format!("{scenario}.xml"));
        let mut command = Command::new("sipp");
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.current_dir(dir.path());
        let (port, media) = (local.port().to_string(), (local.port() + 2).to_string());
        command.arg("-sf").arg(file).args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-t", "u1"]);
        command.args(["-p", &port, "-mp", &media, "-nostdin", "-timeout", "300s"]);
        // A server that is killed leaves calls that never end.
        command.args(["-recv_timeout", "5000", "-aa", "-default_behaviors", "-abortunexp"]);
        command.args(["-trace_msg", "-message_file", "messages.log"]);
        let child = command.spawn().expect("sipp starts");
        wait::until("sipp listens", async || {
            std::net::UdpSocket::bind(local).is_err().then_some(())
        })
        .await;
        Self { child, dir, scenario: scenario.to_owned(), local }
    }

    /// When the first INVITE of each Call-ID came, by the answerer's own clock.
    pub(crate) fn invite_times(&self) -> Vec<jiff::civil::DateTime> {
        let log = std::fs::read(self.dir.path().join("messages.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let mut seen = std::collections::BTreeSet::new();
        let (mut at, mut arrived, mut times) = (None, false, Vec::new());
        for line in log.lines() {
            if let Some(time) = line.strip_prefix("-----------------------------------------------")
            {
                let words: Vec<&str> = time.split_whitespace().collect();
                at = words.join("T").parse().ok();
                arrived = false;
            } else if line.starts_with("INVITE sip:") {
                arrived = true;
            } else if let Some(id) = line.strip_prefix("Call-ID:")
                && arrived
                && seen.insert(id.trim().to_owned())
            {
                times.push(at.expect("a time above every message"));
            }
        }
        times
    }

    /// The called user and the Call-ID of every INVITE that came, repetitions of the same once.
    pub(crate) fn invites(&self) -> std::collections::BTreeSet<(String, String)> {
        let log = std::fs::read(self.dir.path().join("messages.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let mut found = std::collections::BTreeSet::new();
        let mut user = None;
        for line in log.lines() {
            if let Some(rest) = line.strip_prefix("INVITE sip:") {
                user = rest.split('@').next().map(str::to_owned);
            } else if line.starts_with("Call-ID:")
                && let Some(user) = user.take()
            {
                found.insert((user, line.trim_start_matches("Call-ID:").trim().to_owned()));
            }
        }
        found
    }

    /// Its SIP address.
    pub(crate) fn uri(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.local)
    }

    /// Waits for its end; fails with its log unless the whole scenario happened.
    pub(crate) async fn passes(self) {
        let Self { child, dir, scenario, .. } = self;
        let output = wait::limit(&scenario, child.wait_with_output()).await.expect("sipp ran");
        if output.status.success() {
            return;
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
        panic!(
            "sipp {scenario}: {}\n{}\n{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr),
            read("errors.log"),
            read("messages.log"),
        );
    }
}
