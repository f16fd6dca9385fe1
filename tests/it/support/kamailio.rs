//! Kamailio on loopback: a registrar with one account, `alice` with `secret`, and proxies that stay in the way.

use std::net::SocketAddr;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::process::{Child, Command};
use trunkline::sip::Transport;

use super::rtpengine::RtpEngine;
use super::{free_port, wait};

const MODULES: &str = "/usr/lib/x86_64-linux-gnu/kamailio/modules";

/// A running Kamailio.
pub(crate) struct Kamailio {
    child: Child,
    dir: TempDir,
    pub(crate) local: SocketAddr,
}

impl Kamailio {
    /// The registrar.
    pub(crate) async fn start() -> Self {
        let local = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = include_str!("kamailio.cfg").replace("LISTEN", &local.to_string());
        Self::run(&config, &[], local).await
    }

    /// Any; `local` is where it takes UDP.
    async fn run(config: &str, defines: &[&str], local: SocketAddr) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("kamailio.cfg");
        std::fs::write(&file, config).expect("a file");
        let log = std::fs::File::create(dir.path().join("log")).expect("a file");
        let mut command = Command::new("kamailio");
        command.kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.arg("-f").arg(&file).args(["-L", MODULES, "-DD", "-E", "-m", "16", "-M", "4"]);
        command.arg("-w").arg(dir.path()).arg("-Y").arg(dir.path());
        command.arg("-P").arg(dir.path().join("pid"));
        command.args(defines.iter().flat_map(|one| ["-A", one]));
        // Its workers are of its group, and end with it.
        command.process_group(0);
        let child = command.spawn().expect("kamailio starts");
        let kamailio = Self { child, dir, local };
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

    fn log(&self) -> String {
        let octets = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&octets).into_owned()
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

/// One side of a proxy.
#[derive(Clone, Copy)]
struct Side {
    transport: Transport,
    address: SocketAddr,
}

impl Side {
    fn new(transport: Transport) -> Self {
        Self { transport, address: SocketAddr::from(([127, 0, 0, 1], free_port())) }
    }

    fn socket(self) -> String {
        format!("{}:{}", self.transport.as_str(), self.address)
    }

    fn uri(self) -> String {
        format!("sip:{};transport={}", self.address, self.transport.as_str())
    }
}

/// Two proxies, one behind the other: the edge, which telephones know, and the core, which the server knows.
///
/// Each takes a request on one socket and gives it away on the other, and puts both into Record-Route.
pub(crate) struct Proxies {
    edge: Kamailio,
    core: Kamailio,
    outside: Side,
    inside: Side,
    between: [Side; 2],
    engine: Option<RtpEngine>,
}

/// Method of a request that a proxy let pass, and whether it came from the telephones' side.
pub(crate) type Passed = (String, bool);

impl Proxies {
    /// Towards a server that takes `transport`; the telephones take UDP.
    pub(crate) async fn start(server: SocketAddr, transport: Transport) -> Self {
        Self::launch(server, transport, None, [""; 2]).await
    }

    /// The same with the media of its calls through rtpengine: profiles of the server's side and the telephones'.
    pub(crate) async fn with_media(
        server: SocketAddr,
        transport: Transport,
        profiles: [&str; 2],
    ) -> Self {
        let engine = RtpEngine::start().await;
        Self::launch(server, transport, Some(engine), profiles).await
    }

    async fn launch(
        server: SocketAddr,
        transport: Transport,
        engine: Option<RtpEngine>,
        profiles: [&str; 2],
    ) -> Self {
        // The transport changes on the way, so that each proxy has to name both of its sockets.
        let link = if transport == Transport::Udp { Transport::Tcp } else { Transport::Udp };
        let (outside, inside) = (Side::new(Transport::Udp), Side::new(transport));
        let between = [Side::new(link), Side::new(link)];
        let control = engine.as_ref().map(|engine| engine.control.to_string());
        let config = |left: Side, right: Side, ahead: Side, back: Side| {
            include_str!("proxy.cfg")
                .replace("OUTSIDE_PORT", &left.address.port().to_string())
                .replace("OUTSIDE", &left.socket())
                .replace("INSIDE", &right.socket())
                .replace("AHEAD", &ahead.uri())
                .replace("BACK", &back.uri())
                .replace("RTPENGINE", control.as_deref().unwrap_or_default())
                .replace("INWARD", profiles[0])
                .replace("OUTWARD", profiles[1])
        };
        let edge = config(outside, between[0], between[1], outside);
        let to_server = Side { transport, address: server };
        let core = config(between[1], inside, to_server, between[0]);
        let at = |left: Side, right: Side| match left.transport {
            Transport::Udp => left.address,
            _ => right.address,
        };
        let media: &[&str] = if engine.is_some() { &["WITH_MEDIA"] } else { &[] };
        let edge = Kamailio::run(&edge, media, at(outside, between[0])).await;
        let core = Kamailio::run(&core, &["WITH_NEXT"], at(between[1], inside)).await;
        Self { edge, core, outside, inside, between, engine }
    }

    /// Where telephones send their calls.
    pub(crate) fn outside(&self) -> SocketAddr {
        self.outside.address
    }

    /// Where the server sends its own, as `outbound_proxy` of a trunk.
    pub(crate) fn inside(&self) -> SocketAddr {
        self.inside.address
    }

    /// The engine that relays the media.
    pub(crate) fn engine(&self) -> &RtpEngine {
        self.engine.as_ref().expect("media is relayed")
    }

    /// What the edge and the core let pass, repetitions once. Within a dialog nothing passes but by its route set.
    pub(crate) fn passed(&self) -> [Vec<Passed>; 2] {
        [passed(&self.edge, self.outside), passed(&self.core, self.between[1])]
    }
}

fn passed(proxy: &Kamailio, outside: Side) -> Vec<Passed> {
    let log = proxy.log();
    let lines = log.lines().filter_map(|line| line.split_once("PASSED "));
    let mut lines: Vec<&str> = lines.map(|(_, rest)| rest.trim()).collect();
    lines.dedup();
    let of = |line: &str| {
        let mut words = line.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        (method, words.nth(1) == Some(&outside.address.port().to_string()))
    };
    lines.into_iter().map(of).collect()
}
