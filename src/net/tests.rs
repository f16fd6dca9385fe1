//! The driver on real sockets of the loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

use super::*;
use crate::sip::config::TrunkAccess;
use crate::sip::{
    Command, DialogId, Event, Flow, InviteFailureCause, OutgoingInvite, Rejection, Transport,
};
use crate::types::TrunkName;

/// Far beyond what anything here takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(20);

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

fn sip_config() -> sip::Config {
    let networks = vec!["127.0.0.0/8".parse().unwrap()];
    let trunk = TrunkAccess { name: TrunkName("test".to_owned()), networks };
    sip::Config { trunks: vec![trunk], ..sip::Config::default() }
}

fn start_with(config: Config) -> (Handle, mpsc::Receiver<Event>) {
    start(config, sip_config(), Entropy::seeded(1)).unwrap()
}

fn config() -> Config {
    Config { udp: vec![loopback()], tcp: vec![loopback()], ..Config::default() }
}

fn request(method: &str, transport: &str, local: SocketAddr) -> String {
    format!(
        "{method} sip:agent@127.0.0.1 SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {local};branch=z9hG4bK{method}1;rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:caller@127.0.0.1>;tag=a1\r\n\
         To: <sip:agent@127.0.0.1>\r\n\
         Call-ID: {method}-{transport}@127.0.0.1\r\n\
         CSeq: 1 {method}\r\n\
         Contact: <sip:caller@{local}>\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(LIMIT, future).await else { panic!("waited for {what}") };
    value
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Event {
    within("an event", events.recv()).await.expect("the driver lives")
}

/// Reads from a stream until the text is there.
async fn read_until(stream: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0u8; 1_024];
    while !text.contains(wanted) {
        let len = within(wanted, stream.read(&mut buffer)).await.unwrap();
        assert!(len > 0, "closed before {wanted}: {text}");
        text.push_str(std::str::from_utf8(&buffer[..len]).unwrap());
    }
    text
}

#[tokio::test]
async fn an_invite_over_udp_becomes_an_event_and_a_rejection_a_response() {
    let (handle, mut events) = start_with(config());
    let phone = UdpSocket::bind(loopback()).await.unwrap();
    let local = phone.local_addr().unwrap();
    let invite = request("INVITE", "UDP", local);
    phone.send_to(invite.as_bytes(), handle.udp()[0]).await.unwrap();
    let Event::Incoming { dialog, facts, offer } = next(&mut events).await else { panic!() };
    assert_eq!((facts.flow.remote, offer), (local, None));
    let rejection = Rejection::status(486);
    handle.command(Command::Reject { dialog, rejection }).await.unwrap();
    let mut buffer = [0u8; 2_048];
    within("486", async {
        loop {
            let len = phone.recv(&mut buffer).await.unwrap();
            if buffer[..len].starts_with(b"SIP/2.0 486 ") {
                return;
            }
        }
    })
    .await;
    let counters = handle.counters();
    assert!(counters.received >= 1 && counters.sent >= 1, "{counters:?}");
}

#[tokio::test]
async fn tcp_carries_single_octets_and_answers_keep_alives() {
    let (handle, mut events) = start_with(config());
    let mut phone = TcpStream::connect(handle.tcp()[0]).await.unwrap();
    phone.set_nodelay(true).unwrap();
    phone.write_all(b"\r\n\r\n").await.unwrap();
    read_until(&mut phone, "\r\n").await;
    let invite = request("INVITE", "TCP", phone.local_addr().unwrap());
    for octet in invite.as_bytes() {
        phone.write_all(&[*octet]).await.unwrap();
    }
    let Event::Incoming { dialog, facts, .. } = next(&mut events).await else { panic!() };
    assert_eq!(facts.flow.transport, Transport::Tcp);
    let rejection = Rejection::status(603);
    handle.command(Command::Reject { dialog, rejection }).await.unwrap();
    read_until(&mut phone, "SIP/2.0 603 ").await;
}

#[tokio::test]
async fn garbage_and_the_connections_beyond_the_limit_are_closed() {
    let limited = Config { tcp_connections_per_ip_max: 1, ..config() };
    let (handle, _events) = start_with(limited);
    let address = handle.tcp()[0];
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"\r\n\r\n").await.unwrap();
    read_until(&mut first, "\r\n").await;
    let mut second = TcpStream::connect(address).await.unwrap();
    let mut buffer = [0u8; 16];
    assert!(matches!(within("the refusal", second.read(&mut buffer)).await, Ok(0) | Err(_)));
    assert_eq!(handle.counters().tcp_refused, 1);
    // The same data for ever, and never the end of a header.
    within("the end of the flood", async {
        while first.write_all(&[b'x'; 4_096]).await.is_ok() {}
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let (handle, _events) = start_with(Config { tcp_idle: Duration::from_millis(100), ..config() });
    let mut phone = TcpStream::connect(handle.tcp()[0]).await.unwrap();
    let mut buffer = [0u8; 16];
    assert!(matches!(within("the close", phone.read(&mut buffer)).await, Ok(0)));
}

fn outgoing(transport: Transport, remote: SocketAddr) -> Command {
    Command::Invite(Box::new(OutgoingInvite {
        dialog: DialogId::outbound(1),
        flow: Flow { transport, local: loopback(), remote },
        request_uri: format!("sip:bob@{remote}"),
        from: "<sip:agent@127.0.0.1>".to_owned(),
        to: format!("<sip:bob@{remote}>"),
        route: Vec::new(),
        sdp: bytes::Bytes::new(),
        credentials: None,
        headers: Vec::new(),
        ring_timeout: Duration::from_secs(30),
    }))
}

#[tokio::test]
async fn the_driver_opens_connections() {
    let (handle, _events) = start_with(config());
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let remote = listener.local_addr().unwrap();
    handle.command(outgoing(Transport::Tcp, remote)).await.unwrap();
    let (mut stream, _) = within("the connection", listener.accept()).await.unwrap();
    read_until(&mut stream, "INVITE sip:bob@").await;
}

#[tokio::test]
async fn a_refused_connection_fails_the_call() {
    let (handle, mut events) = start_with(config());
    let closed = {
        let listener = TcpListener::bind(loopback()).await.unwrap();
        listener.local_addr().unwrap()
    };
    handle.command(outgoing(Transport::Tcp, closed)).await.unwrap();
    let Event::Failed { failure, .. } = next(&mut events).await else { panic!() };
    assert_eq!(failure.cause, InviteFailureCause::Transport);
    assert_eq!(handle.counters().tcp_failed, 1);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_setting() {
    let holder = UdpSocket::bind(loopback()).await.unwrap();
    let taken = holder.local_addr().unwrap();
    let refused = Config { udp: vec![taken], ..config() };
    let error = start(refused, sip_config(), Entropy::seeded(1)).unwrap_err().to_string();
    let expected = format!("listen for SIP on {taken} (`sip.udp`): another program uses this port");
    assert_eq!(error, expected);
    let nothing = Config { udp: Vec::new(), tcp: Vec::new(), ..config() };
    let refused = start(nothing, sip_config(), Entropy::seeded(1));
    assert!(matches!(refused, Err(StartError::NoListener)));
}

#[tokio::test]
async fn the_driver_ends_with_its_last_handle() {
    let (handle, mut events) = start_with(config());
    let address = handle.udp()[0];
    drop(handle);
    assert!(within("the end", events.recv()).await.is_none());
    within("the port", async {
        while UdpSocket::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn hosts_become_addresses() {
    for host in ["127.0.0.1", "::1", "[::1]"] {
        let found = resolve::resolve(host, 5_060).await.unwrap();
        assert_eq!(found.len(), 1, "{host}");
        assert_eq!(found[0].port(), 5_060);
    }
    let found = resolve::resolve("localhost", 5_061).await.unwrap();
    assert!(found.iter().all(|address| address.ip().is_loopback()));
    assert!(resolve::resolve("does-not-exist.invalid", 5_060).await.is_err());
}
