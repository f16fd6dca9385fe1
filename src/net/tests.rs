//! Real sockets on loopback: the driver answers, frames and refuses.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::*;
use crate::sip::config::TrunkAccess;
use crate::types::TrunkName;

async fn driver() -> (Handle, mpsc::Receiver<sip::Event>) {
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let config = Config { udp: vec![loopback], tcp: vec![loopback], ..Config::default() };
    let agent = sip::Config {
        trunks: vec![TrunkAccess::by_address(
            TrunkName("local".into()),
            vec!["127.0.0.0/8".parse().unwrap()],
        )],
        ..sip::Config::default()
    };
    start(&config, agent, Entropy::seeded(1)).await.unwrap()
}

fn options(transport: &str, branch: &str) -> String {
    format!(
        "OPTIONS sip:a@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:5099;branch=z9hG4bK{branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:b@127.0.0.1>;tag=1\r\nTo: <sip:a@127.0.0.1>\r\nCall-ID: {branch}@x\r\n\
         CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("nothing came in time")
}

#[tokio::test]
async fn options_over_udp_are_answered_to_the_source() {
    let (handle, _events) = driver().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let server = handle.listeners(Transport::Udp)[0];
    socket.send_to(options("UDP", "u1").as_bytes(), server).await.unwrap();
    let mut buffer = [0u8; 2_000];
    let (len, from) = within(socket.recv_from(&mut buffer)).await.unwrap();
    let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
    assert_eq!(from, server);
    assert!(text.starts_with("SIP/2.0 200 "), "{text}");
    assert!(text.contains(&format!("rport={}", socket.local_addr().unwrap().port())), "{text}");
}

#[tokio::test]
async fn one_octet_at_a_time_over_tcp_is_one_message_and_a_ping_gets_a_pong() {
    let (handle, _events) = driver().await;
    let server = handle.listeners(Transport::Tcp)[0];
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0u8; 2];
    within(stream.read_exact(&mut pong)).await.unwrap();
    assert_eq!(&pong, b"\r\n");
    for octet in options("TCP", "t1").as_bytes() {
        stream.write_all(&[*octet]).await.unwrap();
    }
    let mut answer = vec![0u8; 2_000];
    let len = within(stream.read(&mut answer)).await.unwrap();
    assert!(answer[..len].starts_with(b"SIP/2.0 200 "));
}

#[tokio::test]
async fn a_stream_that_is_not_sip_is_closed_and_the_driver_lives() {
    let (handle, _events) = driver().await;
    let server = handle.listeners(Transport::Tcp)[0];
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
    let mut again = TcpStream::connect(server).await.unwrap();
    again.write_all(options("TCP", "t2").as_bytes()).await.unwrap();
    let mut answer = vec![0u8; 2_000];
    let len = within(again.read(&mut answer)).await.unwrap();
    assert!(answer[..len].starts_with(b"SIP/2.0 200 "));
}

#[tokio::test]
async fn a_port_in_use_names_its_setting() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let config = Config { udp: vec![taken.local_addr().unwrap()], ..Config::default() };
    let error = start(&config, sip::Config::default(), Entropy::seeded(1)).await.err().unwrap();
    let text = error.to_string();
    assert!(
        text.contains("sip.listen_udp") && text.contains(&taken.local_addr().unwrap().to_string()),
        "{text}"
    );
}

#[tokio::test]
async fn names_and_literals_resolve() {
    let expected: SocketAddr = "[::1]:5".parse().unwrap();
    assert_eq!(resolve::resolve("[::1]", 5).await.unwrap(), expected);
    assert!(resolve::resolve("localhost", 5060).await.unwrap().ip().is_loopback());
    assert!(resolve::resolve("no-such-host.invalid", 5060).await.is_err());
}

#[tokio::test]
async fn sip_sockets_are_marked() {
    let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let socket = udp::bind(loopback, SIGNALLING_DSCP).unwrap();
    assert_eq!(socket2::SockRef::from(&socket).tos_v4().unwrap(), 0x60, "CS3");
    let listener = tcp::bind(loopback, Transport::Tcp, SIGNALLING_DSCP).unwrap();
    assert_eq!(socket2::SockRef::from(&listener).tos_v4().unwrap(), 0x60, "CS3");
}

#[tokio::test]
async fn two_listeners_have_two_addresses_for_sdp() {
    let loopback = |n: u8| SocketAddr::from(([127, 0, 0, n], 0));
    let external = |n: u8, ip: &str| External {
        listener: Some(loopback(n)),
        host: ip.to_owned(),
        ip: ip.parse().ok(),
    };
    let config = Config {
        udp: vec![loopback(1), loopback(2), loopback(3)],
        external: vec![external(1, "203.0.113.1"), external(2, "203.0.113.2")],
        local_networks: vec!["127.0.0.77".parse().unwrap()],
        ..Config::default()
    };
    let (handle, _events) =
        start(&config, sip::Config::default(), Entropy::seeded(1)).await.unwrap();
    let of = |index: usize| {
        let local = handle.listeners(Transport::Udp)[index];
        handle.media_address(&Flow::new(Transport::Udp, local, loopback(9)))
    };
    assert_eq!(of(0), "203.0.113.1".parse().ok());
    assert_eq!(of(1), "203.0.113.2".parse().ok());
    assert_eq!(of(2), None);
    let local = handle.listeners(Transport::Udp)[0];
    let inside = Flow::new(Transport::Udp, local, loopback(77));
    assert_eq!((handle.media_address(&inside), handle.is_advertised(&inside)), (None, false));
}

#[tokio::test]
async fn a_closed_port_is_known_at_once_in_both_families() {
    for ip in ["127.0.0.1", "::1"] {
        let any = SocketAddr::new(ip.parse().unwrap(), 0);
        let config = Config { udp: vec![any], ..Config::default() };
        let (handle, mut events) =
            start(&config, sip::Config::default(), Entropy::seeded(1)).await.unwrap();
        let gone = UdpSocket::bind(any).await.unwrap().local_addr().unwrap();
        let local = handle.listeners(Transport::Udp)[0];
        // Twice: an error is told to whoever sends next.
        for n in [1, 2] {
            let ping = sip::Ping {
                id: sip::DialogId::outbound(n),
                flow: Flow::new(Transport::Udp, local, gone),
                uri: format!("sip:{gone}"),
                from: format!("<sip:{local}>"),
                route: Vec::new(),
            };
            handle.command(sip::Command::Ping(Box::new(ping))).unwrap();
            // Timer F is 32 s.
            let event = within(events.recv()).await.unwrap();
            let is_it = matches!(event, sip::Event::Pinged { status: None, .. });
            assert!(is_it, "{ip}: {event:?}");
        }
    }
}
