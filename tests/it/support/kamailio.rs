//! Kamailio as a registrar and proxy on loopback: one account, `alice` with `secret`.

use std::net::SocketAddr;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::process::{Child, Command};

use super::{free_port, wait};

const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules";

/// A running Kamailio.
pub(crate) struct Kamailio {
    child: Child,
    _dir: TempDir,
    pub(crate) local: SocketAddr,
}

impl Kamailio {
    pub(crate) async fn start() -> Self {
        let local = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let dir = tempfile::tempdir().expect("a directory");
        let config = include_str!("kamailio.cfg").replace("LISTEN", &local.to_string());
        let file = dir.path().join("kamailio.cfg");
        std::fs::write(&file, config).expect("a file");
        let mut command = Command::new("kamailio");
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.arg("-f").arg(&file).args(["-L", MODULES, "-DD", "-E", "-m", "16", "-M", "4"]);
        command.arg("-w").arg(dir.path()).arg("-Y").arg(dir.path());
        command.arg("-P").arg(dir.path().join("pid"));
        // Its workers are of its group, and end with it.
        command.process_group(0);
        let child = command.spawn().expect("kamailio starts");
        let kamailio = Self { child, _dir: dir, local };
        wait::until("kamailio answers", async || kamailio.answers().await.then_some(())).await;
        kamailio
    }

    async fn answers(&self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let text = format!(
            "OPTIONS sip:{0} SIP/2.0\r\nVia: SIP/2.0/UDP {1};branch=z9hG4bKup;rport\r\nMax-Forwards: 70\r\n\
             From: <sip:t@t>;tag=1\r\nTo: <sip:t@t>\r\nCall-ID: up\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
            self.local,
            socket.local_addr().expect("bound"),
        );
        let mut octets = [0; 2_000];
        if socket.send_to(text.as_bytes(), self.local).await.is_err() {
            return false;
        }
        let answer = socket.recv_from(&mut octets);
        tokio::time::timeout(std::time::Duration::from_millis(200), answer)
            .await
            .is_ok_and(|one| one.is_ok())
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        if let Some(pid) = self.child.id() {
            let _ = std::process::Command::new("kill")
                .args(["-KILL", "--", &format!("-{pid}")])
                .status();
        }
    }
}
