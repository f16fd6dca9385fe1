//! Trunks against others: a registrar that others wrote, a caller that proves its password, targets that fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::net::UdpSocket;
use trunkline::call::CallCommand;
use trunkline::config::{Config, SecretRef, sections};
use trunkline::sim::dns::NameServer;
use trunkline::sip::Transport;
use trunkline::sip::config::DigestAlgorithm;
use trunkline::switchboard::DialRequest;
use trunkline::types::{EndReason, TrunkName};

use crate::support::http::Client;
use crate::support::kamailio::Kamailio;
use crate::support::server::Server;
use crate::support::sipp::Sipp;
use crate::support::{has_program, wait};

fn trunk(config: &mut Config, name: &str, change: impl FnOnce(&mut sections::Trunk)) {
    let mut trunk = sections::Trunk {
        username: "alice".to_owned(),
        password: Some(SecretRef::Env("TRUNK_PASSWORD".to_owned())),
        calls_per_second: Some(1_000.0),
        options_interval_seconds: Some(0),
        ..sections::Trunk::default()
    };
    change(&mut trunk);
    config.trunks.insert(name.to_owned(), trunk);
}

async fn status(client: &Client, trunk: &str) -> Value {
    client.send("GET", &format!("/v1/sip-trunks/{trunk}/status"), Value::Null).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn kamailio_registers_a_trunk_and_sends_it_calls_until_it_leaves() {
    if !has_program("kamailio") || !has_program("sipp") {
        return;
    }
    let kamailio = Kamailio::start().await;
    let (ip, port) = (kamailio.local.ip().to_string(), kamailio.local.port());
    let server = Server::with(|config| {
        trunk(config, "registered", |trunk| {
            trunk.host.clone_from(&ip);
            trunk.port = Some(port);
            trunk.register = true;
        });
        trunk(config, "refused", |trunk| {
            trunk.host.clone_from(&ip);
            trunk.port = Some(port);
            trunk.register = true;
            trunk.password = None;
        });
    })
    .await;
    let client = Client::new(&server);
    let held = wait::until("the registration", async || {
        let status = status(&client, "registered").await;
        (status["registration_status"] == "registered").then_some(status)
    })
    .await;
    assert!(held["registered_until"].is_string(), "{held}");
    let refused = wait::until("the refusal", async || {
        let status = status(&client, "refused").await;
        (status["registration_status"] == "rejected").then_some(status)
    })
    .await;
    assert!(refused["last_error"].as_str().expect("a reason").contains("401"), "{refused}");
    // No network of the trunk is configured: the Contact alone says whose the call is.
    Sipp::uac("uac_plain", Transport::Udp, kamailio.local, "alice").passes().await;
    let record = server.ended_to("alice").await;
    assert_eq!(record.trunk, Some(TrunkName("registered".to_owned())));
    assert_eq!(record.end_reason, Some(EndReason::UserHangup));
    // Who stops takes the registration back.
    server.running.drain(Duration::from_secs(1)).await;
    Sipp::uac("uac_404", Transport::Udp, kamailio.local, "alice").passes().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sipp_proves_its_password() {
    if !has_program("sipp") {
        return;
    }
    let server = Server::with(|config| {
        // Else the address would be enough for the trunk of this machine.
        config.trunks.values_mut().for_each(|trunk| trunk.allowed_networks.clear());
        trunk(config, "roaming", |trunk| trunk.inbound_digest = true);
        // This SIPp reads only the first challenge, and knows only MD5.
        config.sip.digest_algorithms = vec![DigestAlgorithm::Md5];
    })
    .await;
    let address = server.sip(Transport::Udp);
    Sipp::uac("uac_digest", Transport::Udp, address, "proved").passes().await;
    let record = server.ended_to("proved").await;
    assert_eq!(record.trunk, Some(TrunkName("roaming".to_owned())));
    assert_eq!(record.end_reason, Some(EndReason::UserHangup));
    Sipp::uac("uac_digest_wrong", Transport::Udp, address, "guessed").passes().await;
    assert!(server.calls().await.iter().all(|call| call.to_number.reveal() != "guessed"));
}

/// A call to a name with two targets, the second of which is SIPp, hung up once it is live.
async fn called_by_name(dead_port: u16, failover_seconds: f64) {
    let answerer = Sipp::uas("uas_plain", Transport::Udp).await;
    let names = NameServer::start(&format!(
        "_sip._udp.carrier.test 60 SRV 10 0 {dead_port} dead.test\n\
         _sip._udp.carrier.test 60 SRV 20 0 {} live.test\n\
         dead.test 60 A 127.0.0.1\nlive.test 60 A 127.0.0.1",
        answerer.local.port(),
    ))
    .await
    .expect("a name server");
    let server = Server::with(|config| {
        config.sip.name_servers = vec![names.address()];
        config.sip.failover_seconds = failover_seconds;
        trunk(config, "carrier", |trunk| trunk.host = "carrier.test".to_owned());
    })
    .await;
    let request = DialRequest {
        to: "+15550100".to_owned(),
        trunk: Some(TrunkName("carrier".to_owned())),
        ..DialRequest::default()
    };
    let record = server.running.switchboard().dial(request).await.expect("the call is queued");
    server.live(record.id).await;
    let end = CallCommand::End { message: None, reason: EndReason::ApiHangup, headers: Vec::new() };
    server.running.switchboard().command(record.id, end).await.expect("it is live");
    answerer.passes().await;
    let record = server.ended(record.id).await;
    assert_eq!(record.end_reason, Some(EndReason::ApiHangup));
    assert_eq!(names.asked("_sip._udp.carrier.test", "SRV"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_to_the_next_srv_target_when_the_first_is_silent() {
    if !has_program("sipp") {
        return;
    }
    // A socket that nobody reads is a machine that hangs.
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    called_by_name(silent.local_addr().expect("bound").port(), 0.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_to_the_next_srv_target_when_nobody_is_at_the_first() {
    if !has_program("sipp") {
        return;
    }
    let gone = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let port = gone.local_addr().expect("bound").port();
    drop(gone);
    // Silence would be waited for longer than `Server::live` waits.
    called_by_name(port, 30.0).await;
}

/// A peer that answers OPTIONS while it is told to.
async fn options_peer(answers: Arc<AtomicBool>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let local = socket.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut octets = [0; 4_000];
        while let Ok((len, from)) = socket.recv_from(&mut octets).await {
            let text = String::from_utf8_lossy(&octets[..len]).into_owned();
            let header = |name: &str| {
                text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
            };
            let status = if answers.load(Ordering::SeqCst) { "404 Not Found" } else { "503 Busy" };
            let answer = format!(
                "SIP/2.0 {status}\r\n{}\r\n{}\r\n{};tag=9\r\n{}\r\n{}\r\nContent-Length: 0\r\n\r\n",
                header("Via"),
                header("From"),
                header("To"),
                header("Call-ID"),
                header("CSeq"),
            );
            let _ = socket.send_to(answer.as_bytes(), from).await;
        }
    });
    local
}

#[tokio::test(flavor = "multi_thread")]
async fn options_tell_whether_a_trunk_is_up() {
    let answers = Arc::new(AtomicBool::new(true));
    let peer = options_peer(Arc::clone(&answers)).await;
    let server = Server::with(|config| {
        trunk(config, "watched", |trunk| {
            trunk.host = peer.ip().to_string();
            trunk.port = Some(peer.port());
            trunk.options_interval_seconds = Some(1);
        });
    })
    .await;
    let client = Client::new(&server);
    let becomes = async |state: &str| {
        wait::until(state, async || {
            let status = status(&client, "watched").await;
            (status["state"] == *state).then_some(status)
        })
        .await
    };
    let up = becomes("up").await;
    assert_eq!(up["sip_status"], 404, "any answer but 408 and 503 shows life: {up}");
    answers.store(false, Ordering::SeqCst);
    becomes("down").await;
    answers.store(true, Ordering::SeqCst);
    becomes("up").await;
}
