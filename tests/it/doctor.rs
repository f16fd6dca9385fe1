//! `trunkline doctor`: it finds what is wrong on this machine and with the trunks, and says what to do.

use serde_json::Value;
use trunkline::config::sections::Trunk;
use trunkline::sip::Transport;
use trunkline::types::TrunkName;

use crate::support::authority::Authority;
use crate::support::child::{Ran, run, write_config};
use crate::support::kamailio::Kamailio;
use crate::support::server::{OUT, Server};
use crate::support::{has_program, wait};

async fn doctor(change: impl FnOnce(&mut trunkline::config::Config)) -> (Ran, Value) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = write_config(&dir, |config| {
        config.trunks.retain(|name, _| name == OUT);
        change(config);
    });
    let path = path.to_str().expect("a path");
    let ran = run(&["doctor", "--config", path, "--json"], &[]).await;
    let report =
        serde_json::from_str(&ran.out).unwrap_or_else(|_| panic!("{}{}", ran.out, ran.err));
    (ran, report)
}

/// State, message and hint of a check.
fn check<'a>(report: &'a Value, name: &str) -> (&'a str, &'a str, &'a str) {
    let checks = report["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["name"] == name);
    let check = check.unwrap_or_else(|| panic!("no {name} in {report:#}"));
    let text = |key: &str| check[key].as_str().unwrap_or_default();
    (text("state"), text("message"), text("hint"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_right_is_said_to_be() {
    // Another server of ours is the trunk: it answers OPTIONS.
    let peer = Server::start().await;
    for transport in [Transport::Udp, Transport::Tcp] {
        let sip = peer.sip(transport);
        let (ran, report) = doctor(|config| {
            let out = config.trunks.get_mut(OUT).expect("a trunk");
            out.host = sip.ip().to_string();
            out.port = Some(sip.port());
            out.allowed_networks = vec!["127.0.0.0/8".parse().expect("a network")];
            if transport == Transport::Tcp {
                out.transport = trunkline::switchboard::trunk::TransportName::Tcp;
            }
            config.dial_limits.allow = vec!["+49".to_owned()];
        })
        .await;
        assert_eq!(ran.code, 0, "{report:#}");
        assert_eq!(report["ok"], true);
        for name in ["configuration", "sip.listen_udp", "api.bind", "dial_limits", "store.database"]
        {
            assert_eq!(check(&report, name).0, "ok", "{report:#}");
        }
        let (state, message, _) = check(&report, "trunks.out");
        assert_eq!(state, "ok");
        assert!(message.contains("answers 200") && message.contains("127.0.0.1"), "{message}");
        assert!(!ran.out.contains("secret"), "a password in {}", ran.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_over_tls_is_asked_over_tls() {
    let authority = Authority::new();
    let files = authority.sign("server", "127.0.0.1");
    let peer = Server::with(|config| {
        config.sip.listen_tls = vec!["127.0.0.1:0".parse().expect("an address")];
        config.sip.tls.certificate = Some(files.certificate.clone());
        config.sip.tls.key = Some(files.key.clone());
    })
    .await;
    let sip = peer.sip(Transport::Tls);
    for (knows, state, words) in [(true, "ok", "answers 200"), (false, "fail", "cannot be reached")]
    {
        let (_, report) = doctor(|config| {
            if knows {
                config.sip.tls.ca = Some(authority.ca());
            }
            let out = config.trunks.get_mut(OUT).expect("a trunk");
            out.host = sip.ip().to_string();
            out.port = Some(sip.port());
            out.transport = trunkline::switchboard::trunk::TransportName::Tls;
            out.allowed_networks = vec!["127.0.0.0/8".parse().expect("a network")];
        })
        .await;
        let found = check(&report, "trunks.out");
        assert!(found.0 == state && found.1.contains(words), "{report:#}");
        assert!(found.1.contains("over tls") || found.1.contains("over TLS"), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registrar_is_asked_what_it_has_of_each_account() {
    if !has_program("kamailio") {
        return;
    }
    let kamailio = Kamailio::start().await;
    let (ip, port) = (kamailio.local.ip().to_string(), kamailio.local.port());
    let registering = |config: &mut trunkline::config::Config| {
        let out = config.trunks.get_mut(OUT).expect("a trunk");
        (out.host, out.port, out.register) = (ip.clone(), Some(port), true);
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let closed = silent.local_addr().expect("bound").port();
        let refused = Trunk { password: None, ..out.clone() };
        let gone = Trunk { port: Some(closed), ..out.clone() };
        config.trunks.insert("refused".to_owned(), refused);
        config.trunks.insert("gone".to_owned(), gone);
    };
    let (_, report) = doctor(registering).await;
    let found = check(&report, "trunks.out.register");
    assert!(found.0 == "ok" && found.1.contains("takes the account"), "{report:#}");
    let found = check(&report, "trunks.refused.register");
    assert!(found.0 == "fail" && found.1.contains("401") && found.2.contains("password"));
    let found = check(&report, "trunks.gone.register");
    assert!(found.0 == "fail" && found.1.contains("does not answer"), "{report:#}");
    // What it asked has changed nothing, and once a server registers it sees that.
    let server = Server::with(registering).await;
    let name = TrunkName(OUT.to_owned());
    wait::until("the registration", async || {
        let state = server.running.switchboard().registration(&name)?;
        state.until.map(|_| ())
    })
    .await;
    let (_, report) = doctor(registering).await;
    let found = check(&report, "trunks.out.register");
    assert!(found.0 == "ok" && found.1.contains("is registered with us for"), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_with_how_to_mend_it() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let taken_by = taken.local_addr().expect("bound");
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let silent_port = silent.local_addr().expect("bound").port();
    let (ran, report) = doctor(|config| {
        config.sip.listen_udp = vec![taken_by];
        config.sip.listen_tcp = vec!["192.0.2.1:5060".parse().expect("an address")];
        config.media.rtp_ports = "40000-40100".to_owned();
        config.media.sched_fifo = 10;
        let out = config.trunks.get_mut(OUT).expect("a trunk");
        out.host = "127.0.0.1".to_owned();
        out.port = Some(silent_port);
        let nowhere = Trunk { host: "no-such-host.invalid".to_owned(), ..Trunk::default() };
        config.trunks.insert("nowhere".to_owned(), nowhere);
    })
    .await;
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert_eq!(report["ok"], false);
    for (name, state, words, hint) in [
        ("sip.listen_udp", "fail", "in use by another program", "ss -lptun"),
        ("sip.listen_tcp", "fail", "no address of this machine", "ip address"),
        ("media.rtp_ports", "fail", "pairs of ports", "widen"),
        ("kernel's port range", "warn", "overlaps", "ip_local_port_range"),
        ("dial_limits", "warn", "anywhere", "dial_limits.allow"),
    ] {
        let found = check(&report, name);
        assert_eq!(found.0, state, "{name}: {report:#}");
        assert!(found.1.contains(words) && found.2.contains(hint), "{found:?}");
    }
    let text = report.to_string();
    assert!(text.contains("does not answer OPTIONS"), "{report:#}");
    assert!(text.contains("look up `no-such-host.invalid`"), "{report:#}");
}
