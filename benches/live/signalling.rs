//! What a call's signalling costs the server process over UDP, TCP and TLS: short calls one after the other on one
//! connection, and connections opened.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use trunkline::sim::providers::{MockProviders, Script};

use super::server::Server;

/// Numbers calls: a branch is of one transaction only, whatever the transport (RFC 3261 section 8.1.1.7).
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// Connections opened for one figure.
const CONNECTIONS: usize = 200;
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
    m=audio 9 RTP/AVP 0\r\n";

pub async fn run(calls: usize) {
    let directory = tempfile::tempdir().unwrap();
    let trust = certificates(directory.path());
    let mocks = MockProviders::start(Script::default()).await.unwrap();
    let sip = "listen_tls = [\"127.0.0.1:0\"]\nrequests_per_second_max = 100000";
    let more = format!(
        "[sip.tls]\ncertificate = \"{0}/server.pem\"\nkey = \"{0}/server.key\"\n",
        directory.path().display()
    );
    let server = Server::listening(&mocks, sip, &more).await;
    let measured = tokio::task::spawn_blocking(move || measure(&server, &trust, calls));
    measured.await.unwrap();
}

fn measure(server: &Server, trust: &Arc<ClientConfig>, calls: usize) {
    println!(
        "\nsignalling: {calls} calls one after the other on one connection, hung up when answered"
    );
    println!("{:>10} {:>16} {:>24}", "transport", "CPU a call, ms", "CPU a connection, ms");
    for _ in 0..2 {
        for transport in ["UDP", "TCP", "TLS"] {
            let open = || Line { wire: open(server, transport, trust), held: String::new() };
            let mut line = open();
            place(&mut line, transport);
            let before = server.cpu();
            (0..calls).for_each(|_| place(&mut line, transport));
            let call_ms = (server.cpu() - before).as_secs_f64() * 1e3 / calls as f64;
            let before = server.cpu();
            // A request shows that a connection is open at both ends.
            (0..CONNECTIONS).for_each(|_| ask(&mut open(), transport));
            let one_ms = (server.cpu() - before).as_secs_f64() * 1e3 / CONNECTIONS as f64;
            println!("{transport:>10} {call_ms:>16.3} {one_ms:>24.3}");
        }
    }
}

/// Writes the server's files; gives a client that trusts them.
fn certificates(directory: &std::path::Path) -> Arc<ClientConfig> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(directory.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(directory.join("server.key"), key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(issuer.der().clone()).unwrap();
    Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

/// A connection, and what was read of it beyond the last message looked at.
struct Line {
    wire: Box<dyn Wire>,
    held: String,
}

/// A datagram socket as a stream of messages.
struct Datagrams(UdpSocket);

impl Read for Datagrams {
    fn read(&mut self, octets: &mut [u8]) -> std::io::Result<usize> {
        self.0.recv(octets)
    }
}

impl Write for Datagrams {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.send(octets)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn open(server: &Server, transport: &str, trust: &Arc<ClientConfig>) -> Box<dyn Wire> {
    let limit = Some(Duration::from_secs(10));
    let address: SocketAddr = server.sip[transport].parse().unwrap();
    if transport == "UDP" {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(address).unwrap();
        socket.set_read_timeout(limit).unwrap();
        return Box::new(Datagrams(socket));
    }
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(limit).unwrap();
    if transport == "TCP" {
        return Box::new(stream);
    }
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::clone(trust), name).unwrap();
    Box::new(StreamOwned::new(connection, stream))
}

/// One call, answered and hung up.
fn place(line: &mut Line, transport: &str) {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    send(line, transport, "INVITE", n, "<sip:bench@localhost>", SDP);
    let answer = final_response(line, "INVITE");
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    let to = answer.lines().find_map(|line| line.strip_prefix("To: ")).unwrap().to_owned();
    send(line, transport, "ACK", n, &to, "");
    send(line, transport, "BYE", n, &to, "");
    let answer = final_response(line, "BYE");
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
}

fn ask(line: &mut Line, transport: &str) {
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    send(line, transport, "OPTIONS", n, "<sip:bench@localhost>", "");
    let answer = final_response(line, "OPTIONS");
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
}

fn send(line: &mut Line, transport: &str, method: &str, n: usize, to: &str, body: &str) {
    let cseq = if method == "BYE" { 2 } else { 1 };
    let text = format!(
        "{method} sip:bench@localhost SIP/2.0\r\n\
         Via: SIP/2.0/{transport} 127.0.0.1:9;rport;branch=z9hG4bK{method}{n}x{}\r\n\
         From: <sip:b@localhost>;tag=b\r\nTo: {to}\r\nCall-ID: {transport}{n}\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:b@127.0.0.1:9>\r\nMax-Forwards: 70\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        std::process::id(),
        body.len()
    );
    line.wire.write_all(text.as_bytes()).unwrap();
    line.wire.flush().unwrap();
}

/// Reads messages until the final response to a method; others are skipped.
fn final_response(line: &mut Line, method: &str) -> String {
    let mut octets = [0; 65_536];
    loop {
        while let Some((message, rest)) = first_message(&line.held) {
            let (message, rest) = (message.to_owned(), rest.to_owned());
            line.held = rest;
            let cseq = message.lines().find_map(|line| line.strip_prefix("CSeq: "));
            let of_it = cseq.is_some_and(|value| value.ends_with(method));
            if of_it && !message.starts_with("SIP/2.0 1") {
                return message;
            }
        }
        let count = line.wire.read(&mut octets).expect("a response in time");
        assert!(count > 0, "the server hung up");
        line.held.push_str(std::str::from_utf8(&octets[..count]).unwrap());
    }
}

fn first_message(held: &str) -> Option<(&str, &str)> {
    let head = held.find("\r\n\r\n")? + 4;
    let length = held[..head].lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let end = head + length.map_or(0, |value| value.trim().parse().unwrap());
    held.is_char_boundary(end).then(|| held.split_at_checked(end)).flatten()
}
