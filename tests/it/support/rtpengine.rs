//! rtpengine, which relays the media of calls on the word of a proxy.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::process::{Child, Command};

use super::{free_port, wait};

/// A running rtpengine; it forwards by itself, without a part in the kernel.
pub(crate) struct RtpEngine {
    // Killed when it is dropped.
    _child: Child,
    _dir: TempDir,
    /// Where it takes orders.
    pub(crate) control: SocketAddr,
    /// Where it takes media.
    pub(crate) ports: RangeInclusive<u16>,
}

impl RtpEngine {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let control = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let first = free_port();
        let ports = first..=first + 9;
        let mut command = Command::new("rtpengine");
        command.kill_on_drop(true).args(["--foreground", "--table=-1", "--interface=127.0.0.1"]);
        // Nothing of a machine's own rtpengine, and nothing that outlives this one.
        command.args(["--config-file=none", "--log-level=3", "--num-threads=2"]);
        command.arg(format!("--listen-ng={control}")).arg(format!("--port-min={}", ports.start()));
        command.arg(format!("--port-max={}", ports.end()));
        command.arg(format!("--pidfile={}", dir.path().join("pid").display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("rtpengine starts");
        let engine = Self { _child: child, _dir: dir, control, ports };
        wait::until("rtpengine answers", async || engine.answers().await.then_some(())).await;
        engine
    }

    async fn answers(&self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        // A cookie, and a bencoded dictionary.
        if socket.send_to(b"1 d7:command4:pinge", self.control).await.is_err() {
            return false;
        }
        let mut octets = [0; 200];
        let answer = socket.recv_from(&mut octets);
        tokio::time::timeout(std::time::Duration::from_millis(200), answer)
            .await
            .is_ok_and(|one| one.is_ok_and(|(length, _)| octets[..length].ends_with(b"4:ponge")))
    }
}
