//! Certificates made on the spot, real sockets on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ProtocolVersion;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::net::{Config, Handle, start};
use crate::sip::config::TrunkAccess;
use crate::sip::{self, Command, DialogId, Event, Ping, Transport};
use crate::types::{Entropy, TrunkName};

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Writes `FILE.pem` and `FILE.key` for a name.
    fn sign(&self, file: &str, name: &str) -> TlsConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |kind: &str| self.dir.path().join(format!("{file}.{kind}"));
        std::fs::write(path("pem"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        TlsConfig {
            certificate: Some(path("pem")),
            key: Some(path("key")),
            ca: Some(self.ca()),
            client_ca: None,
        }
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("nothing came in time")
}

async fn driver(certificates: TlsConfig) -> (Handle, mpsc::Receiver<Event>) {
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config = Config { tls: vec![loopback], certificates, ..Config::default() };
    let agent = sip::Config {
        trunks: vec![TrunkAccess::by_address(
            TrunkName("local".into()),
            vec!["127.0.0.0/8".parse().unwrap()],
        )],
        ..sip::Config::default()
    };
    start(&config, agent, Entropy::seeded(1)).await.unwrap()
}

/// A client of the test's own, with versions and perhaps a certificate.
fn connector(
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
    identity: Option<&TlsConfig>,
) -> TlsConnector {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots(&authority.ca(), "ca").unwrap());
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(files) => {
            let (chain, key) =
                super::identity(files.certificate.as_ref().unwrap(), files.key.as_ref().unwrap())
                    .unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    TlsConnector::from(Arc::new(config))
}

async fn connect(
    connector: &TlsConnector,
    server: SocketAddr,
    name: &str,
) -> io::Result<ClientStream<TcpStream>> {
    let stream = TcpStream::connect(server).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within(connector.connect(name, stream)).await
}

/// Sends OPTIONS and gives the first line of the answer; empty if the connection ends.
async fn options(stream: &mut ClientStream<TcpStream>) -> String {
    let text = "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:5099;branch=z9hG4bKx;rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:b@127.0.0.1>;tag=1\r\nTo: <sip:a@127.0.0.1>\r\nCall-ID: x@x\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    let _ = stream.write_all(text.as_bytes()).await;
    let mut octets = vec![0u8; 2_000];
    let len = within(stream.read(&mut octets)).await.unwrap_or(0);
    let text = String::from_utf8_lossy(&octets[..len]).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] =
    [&rustls::version::TLS12, &rustls::version::TLS13];

#[tokio::test]
async fn both_versions_are_spoken_and_a_ping_gets_a_pong() {
    let authority = Authority::new();
    let (handle, _events) = driver(authority.sign("sip", "sip.test")).await;
    let server = handle.listeners(Transport::Tls)[0];
    for (version, wanted) in
        VERSIONS.into_iter().zip([ProtocolVersion::TLSv1_2, ProtocolVersion::TLSv1_3])
    {
        let connector = connector(&authority, &[version], None);
        let mut stream = connect(&connector, server, "sip.test").await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(wanted));
        assert_eq!(stream.get_ref().1.alpn_protocol(), None);
        stream.write_all(b"\r\n\r\n").await.unwrap();
        let mut pong = [0u8; 2];
        within(stream.read_exact(&mut pong)).await.unwrap();
        assert_eq!(&pong, b"\r\n");
        assert_eq!(options(&mut stream).await, "SIP/2.0 200 OK");
    }
}

#[tokio::test]
async fn who_calls_us_must_show_a_certificate_where_one_is_wanted() {
    let authority = Authority::new();
    let files = TlsConfig { client_ca: Some(authority.ca()), ..authority.sign("sip", "sip.test") };
    let (handle, _events) = driver(files).await;
    let server = handle.listeners(Transport::Tls)[0];
    let peer = authority.sign("peer", "peer.test");
    let known = connector(&authority, &VERSIONS, Some(&peer));
    let mut stream = connect(&known, server, "sip.test").await.unwrap();
    assert_eq!(options(&mut stream).await, "SIP/2.0 200 OK");
    let stranger = Authority::new();
    let forged = stranger.sign("peer", "peer.test");
    for identity in [None, Some(&forged)] {
        // TLS 1.3 tells a client only after its own half that it is not let in.
        let connector = connector(&authority, &VERSIONS, identity);
        let answer = match connect(&connector, server, "sip.test").await {
            Ok(mut stream) => options(&mut stream).await,
            Err(_) => String::new(),
        };
        assert_eq!(answer, "");
    }
}

/// A peer that takes one connection after another: the names asked for, and whether a certificate was shown.
async fn peer(files: TlsConfig) -> (SocketAddr, mpsc::Receiver<(Option<String>, bool)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Material::read(&files).unwrap().server.unwrap();
    let (tell, seen) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, tell) = (TlsAcceptor::from(Arc::clone(&server)), tell.clone());
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let session = stream.get_ref().1;
                let name = session.server_name().map(str::to_owned);
                let shown = session.peer_certificates().is_some();
                let _ = tell.send((name, shown)).await;
                let mut octets = vec![0u8; 4_000];
                while let Ok(len @ 1..) = stream.read(&mut octets).await {
                    let text = String::from_utf8_lossy(&octets[..len]).into_owned();
                    let header = |name: &str| {
                        text.lines()
                            .find(|line| line.starts_with(name))
                            .unwrap_or_default()
                            .to_owned()
                    };
                    let answer = format!(
                        "SIP/2.0 200 OK\r\n{}\r\n{}\r\n{};tag=9\r\n{}\r\n{}\r\nContent-Length: 0\r\n\r\n",
                        header("Via"),
                        header("From"),
                        header("To"),
                        header("Call-ID"),
                        header("CSeq"),
                    );
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            });
        }
    });
    (address, seen)
}

async fn ping(
    (handle, events): &mut (Handle, mpsc::Receiver<Event>),
    n: u64,
    remote: SocketAddr,
    name: &str,
) -> Option<u16> {
    let flow = handle.flow(Transport::Tls, remote, name).unwrap();
    let ping = Ping {
        id: DialogId::outbound(n),
        flow,
        uri: format!("sip:{name}"),
        from: "<sip:us.test>".to_owned(),
        route: Vec::new(),
    };
    handle.command(Command::Ping(Box::new(ping))).unwrap();
    loop {
        if let Event::Pinged { status, .. } = within(events.recv()).await.unwrap() {
            return status;
        }
    }
}

#[tokio::test]
async fn a_peer_proves_the_name_it_was_called_by_and_the_connection_is_used_again() {
    let authority = Authority::new();
    let files =
        TlsConfig { client_ca: Some(authority.ca()), ..authority.sign("peer", "peer.test") };
    let (address, mut seen) = peer(files).await;
    let mut ours = driver(authority.sign("us", "us.test")).await;
    assert_eq!(ping(&mut ours, 1, address, "peer.test").await, Some(200));
    assert_eq!(within(seen.recv()).await, Some((Some("peer.test".to_owned()), true)));
    assert_eq!(ping(&mut ours, 2, address, "peer.test").await, Some(200));
    assert!(seen.try_recv().is_err(), "a second connection was opened");
    // The same address by another name is another peer, and this one is not it; neither is it its address.
    assert_eq!(ping(&mut ours, 3, address, "other.test").await, None);
    assert_eq!(ping(&mut ours, 4, address, "127.0.0.1").await, None);
}

#[tokio::test]
async fn a_peer_with_a_certificate_of_nobody_we_trust_is_refused() {
    let authority = Authority::new();
    let (address, _seen) = peer(Authority::new().sign("peer", "peer.test")).await;
    let mut ours = driver(authority.sign("us", "us.test")).await;
    assert_eq!(ping(&mut ours, 1, address, "peer.test").await, None);
}

#[tokio::test]
async fn a_new_certificate_needs_no_new_start() {
    let authority = Authority::new();
    let files = authority.sign("sip", "old.test");
    let (handle, _events) = driver(files.clone()).await;
    let server = handle.listeners(Transport::Tls)[0];
    let connector = connector(&authority, &VERSIONS, None);
    let mut before = connect(&connector, server, "old.test").await.unwrap();
    // A broken file changes nothing.
    std::fs::write(files.key.as_ref().unwrap(), "nothing").unwrap();
    assert!(handle.reload_certificates().is_err());
    assert!(connect(&connector, server, "old.test").await.is_ok());
    authority.sign("sip", "new.test");
    handle.reload_certificates().unwrap();
    assert!(connect(&connector, server, "old.test").await.is_err());
    let mut after = connect(&connector, server, "new.test").await.unwrap();
    assert_eq!(options(&mut after).await, "SIP/2.0 200 OK");
    assert_eq!(options(&mut before).await, "SIP/2.0 200 OK", "an open connection goes on");
}

#[tokio::test]
async fn a_file_that_changes_is_noticed() {
    let authority = Authority::new();
    let tls = Arc::new(Tls::new(authority.sign("sip", "old.test")).unwrap());
    let before = tls.current().unwrap().server.unwrap();
    let watching = tokio::spawn(Arc::clone(&tls).watch(std::future::pending()));
    let changed = async {
        while Arc::ptr_eq(&tls.current().unwrap().server.unwrap(), &before) {
            // Files change within a clock's tick only in tests: their lengths may be the same.
            authority.sign("sip", "another-name-that-is-longer.test");
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LOOK_EVERY * 3, changed).await.expect("the change is seen");
    watching.abort();
}

#[tokio::test]
async fn a_listener_without_a_certificate_says_what_is_missing() {
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config = Config { tls: vec![loopback], ..Config::default() };
    let error = start(&config, sip::Config::default(), Entropy::seeded(1)).await.err().unwrap();
    let text = chain::chain(&error);
    assert!(text.contains("sip.tls.certificate") && text.contains("sip.tls.key"), "{text}");
}
