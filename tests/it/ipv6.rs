//! Calls over IPv6: signalling by UDP, TCP and TLS and audio, in and out, and one family that signals for the other.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use trunkline::call::CallCommand;
use trunkline::sip::Transport;
use trunkline::types::{CallRecord, EndReason};

use crate::support::authority::Authority;
use crate::support::line::Line;
use crate::support::peer::{Caller, Message, Peer, sdp};
use crate::support::server::Server;
use crate::support::sound;

const HERE: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const EVERY: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

/// A machine without an IPv6 loopback has nothing to test here, and says so.
fn has_ipv6() -> bool {
    let bound = std::net::UdpSocket::bind((HERE, 0));
    if let Err(error) = &bound {
        eprintln!("SKIPPED: this machine has no IPv6 loopback: {error}");
    }
    bound.is_ok()
}

async fn server(authority: &Authority) -> Server {
    let files = authority.sign("server", "::1");
    Server::with(|config| {
        let any = SocketAddr::new(HERE, 0);
        config.sip.listen_udp = vec![any];
        config.sip.listen_tcp = vec![any];
        config.sip.listen_tls = vec![any];
        config.sip.tls.certificate = Some(files.certificate.clone());
        config.sip.tls.key = Some(files.key.clone());
        config.sip.tls.ca = Some(authority.ca());
        config.media.bind = HERE;
        let greeting = "Hello. This is a sentence that takes a little while to say.";
        crate::support::server::agent(config).turn.greeting.text = greeting.to_owned();
    })
    .await
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A socket that calls the server.
async fn calling(server: &Server, authority: &Authority, transport: Transport) -> Peer {
    let to = server.sip(transport);
    assert!(to.is_ipv6(), "{to}");
    if transport != Transport::Tls {
        return Peer::bound(SocketAddr::new(HERE, 0), to, transport).await;
    }
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(authority.ca()).expect("a certificate");
    roots.add(ca).expect("an authority");
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(to).await.expect("a connection");
    let local = stream.local_addr().expect("bound");
    let connector = TlsConnector::from(Arc::new(config));
    let stream = connector.connect(ServerName::from(HERE), stream).await.expect("TLS");
    Peer::on(stream, local, transport)
}

/// Has the server call a socket; gives it with the INVITE and the record.
async fn called(
    server: &Server,
    authority: &Authority,
    transport: Transport,
) -> (Peer, Message, CallRecord) {
    if transport == Transport::Udp {
        let to = server.sip(transport);
        let mut peer = Peer::bound(SocketAddr::new(HERE, 0), to, transport).await;
        let record = server.dial(format!("sip:six@{}", peer.local), transport).await;
        let invite = peer.request("INVITE").await;
        return (peer, invite, record);
    }
    let listener = TcpListener::bind((HERE, 0)).await.expect("a port");
    let local = listener.local_addr().expect("bound");
    let record = server.dial(format!("sip:six@{local}"), transport).await;
    let (stream, from) = listener.accept().await.expect("a connection");
    assert_eq!(from.ip(), HERE);
    let mut peer = if transport == Transport::Tls {
        let files = authority.sign("peer", "::1");
        let certificate = CertificateDer::from_pem_file(&files.certificate).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate of its key");
        let stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.expect("TLS");
        Peer::on(stream, local, transport)
    } else {
        Peer::on(stream, local, transport)
    };
    let invite = peer.request("INVITE").await;
    (peer, invite, record)
}

/// Audio of each side where the other writes it down.
async fn both_ways(line: &Line) {
    line.hears(0, 800).await;
    line.say(&sound::tone(440.0, 1_200));
    line.said().await;
}

fn was_heard(server: &Server, record: &CallRecord) {
    let [caller, agent] = server.recording(record);
    assert!(sound::tone_ms(&caller, 440.0, 8_000) >= 1_000, "the other side's tone");
    assert!(sound::loud_ms(&agent) >= 800, "the agent");
}

/// Every address of a message that names one of ours is in brackets.
fn is_bracketed(message: &Message) {
    for name in ["via", "contact"] {
        assert!(message.header(name).contains("[::1]"), "{name}: {}", message.text);
    }
    assert!(message.body().contains("c=IN IP6 ::1\r\n"), "{}", message.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_come_in_over_ipv6() {
    if !has_ipv6() {
        return;
    }
    let authority = Authority::new();
    let server = server(&authority).await;
    for transport in EVERY {
        let user = format!("in-{}", transport.as_str());
        let line = Line::at(HERE).await;
        let peer = calling(&server, &authority, transport).await;
        let mut caller = Caller::over(peer, &user);
        let ok = caller.call(line.local).await;
        is_bracketed(&ok);
        assert!(ok.header("via").contains("received") || ok.header("via").contains("rport="));
        line.connect(ok.media());
        both_ways(&line).await;
        caller.hang_up().await;
        let record = server.ended_to(&user).await;
        assert_eq!(record.end_reason, Some(EndReason::UserHangup), "{user}");
        was_heard(&server, &record);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_out_over_ipv6() {
    if !has_ipv6() {
        return;
    }
    let authority = Authority::new();
    let server = server(&authority).await;
    for transport in EVERY {
        let (mut peer, invite, record) = called(&server, &authority, transport).await;
        is_bracketed(&invite);
        assert!(invite.first().starts_with("INVITE sip:six@[::1]:"), "{}", invite.text);
        let line = Line::at(HERE).await;
        line.connect(invite.media());
        let contact =
            format!("Contact: <sip:six@{};transport={}>\r\n", peer.local, transport.as_str());
        peer.answer(&invite, "200 OK", &contact, &sdp(line.local)).await;
        peer.request("ACK").await;
        server.live(record.id).await;
        both_ways(&line).await;
        let end =
            CallCommand::End { message: None, reason: EndReason::ApiHangup, headers: Vec::new() };
        server.running.switchboard().command(record.id, end).await.expect("it is live");
        let bye = peer.request("BYE").await;
        peer.answer(&bye, "200 OK", "", "").await;
        let record = server.ended(record.id).await;
        assert_eq!(record.end_reason, Some(EndReason::ApiHangup), "{transport:?}");
        was_heard(&server, &record);
    }
}

/// `c=` follows the offer's: audio goes by the family that the caller wants it by, if there is a socket of it.
#[tokio::test(flavor = "multi_thread")]
async fn one_family_may_signal_for_the_other() {
    if !has_ipv6() {
        return;
    }
    for wild in [true, false] {
        let server = Server::with(|config| {
            let wildcard = IpAddr::from([0, 0, 0, 0]);
            config.media.bind = if wild { wildcard } else { config.media.bind };
            let greeting = "Hello. This is a sentence that takes a little while to say.";
            crate::support::server::agent(config).turn.greeting.text = greeting.to_owned();
        })
        .await;
        let line = Line::at(HERE).await;
        let mut caller = Caller::new(&server, Transport::Udp, "mixed").await;
        if wild {
            let ok = caller.call(line.local).await;
            assert!(ok.header("contact").contains("127.0.0.1"), "{}", ok.text);
            assert!(ok.body().contains("c=IN IP6 ::1\r\n"), "{}", ok.text);
            line.connect(ok.media());
            both_ways(&line).await;
            caller.hang_up().await;
            was_heard(&server, &server.ended_to("mixed").await);
        } else {
            caller.invite(&sdp(line.local)).await;
            let refused = caller.peer.final_to("INVITE").await;
            assert_eq!(refused.status(), 488, "{}", refused.text);
            assert!(refused.header("warning").starts_with("301 "), "{}", refused.text);
            let record = server.ended_to("mixed").await;
            assert_eq!(record.end_reason, Some(EndReason::MediaNegotiationFailed));
        }
    }
}
