//! The guard against real listeners: what is refused never sees a connection.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{any, get};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;

use super::policy::{Target, target};
use super::{Client, EgressError, Lookup, Overflow, Policy, Refusal, Request};

const REFUSED: &str = include_str!("../../fixtures/egress/refused.txt");

fn request(url: String) -> Request {
    Request {
        method: "POST".into(),
        url,
        headers: Vec::new(),
        body: Bytes::from_static(b"{}"),
        timeout: Duration::from_secs(10),
        answer_bytes_max: 1_024,
        overflow: Overflow::Refuse,
    }
}

/// Counts connections to a port of loopback.
async fn trap() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let caught = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&caught);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    (port, caught)
}

fn strict() -> Policy {
    Policy { allow_private_targets: false, ports: Vec::new() }
}

/// Answers in turn, then with the last answer for ever.
struct Fickle {
    answers: Vec<IpAddr>,
    asked: AtomicUsize,
}

impl Fickle {
    fn new(answers: &[&str]) -> Arc<Self> {
        let answers = answers.iter().map(|ip| ip.parse().unwrap()).collect();
        Arc::new(Self { answers, asked: AtomicUsize::new(0) })
    }
}

impl Lookup for Fickle {
    fn lookup(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst).min(self.answers.len() - 1);
        let answer = self.answers[turn];
        async move { Ok(vec![answer]) }.boxed()
    }
}

async fn serve(router: axum::Router) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

#[tokio::test]
async fn forged_targets_are_refused_without_a_connection() {
    let (port, caught) = trap().await;
    let client = Client::new(strict()).unwrap();
    let targets: Vec<String> = REFUSED
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.replace("{port}", &port.to_string()))
        .collect();
    assert!(targets.len() >= 60, "{} targets", targets.len());
    for url in targets {
        let answer = client.send(request(url.clone())).await;
        assert!(matches!(answer, Err(EgressError::Refused(_))), "{url}: {answer:?}");
    }
    // The trap works: one allowed request is caught.
    let open = Client::new(Policy::default()).unwrap();
    let mut allowed = request(format!("http://127.0.0.1:{port}/"));
    allowed.timeout = Duration::from_secs(1);
    let _ = open.send(allowed).await;
    assert_eq!(caught.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn link_local_and_metadata_are_refused_even_with_private_targets() {
    let client = Client::new(Policy::default()).unwrap();
    for host in ["169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "[fe80::1]", "[::]"]
    {
        let answer = client.send(request(format!("http://{host}/"))).await;
        assert!(matches!(answer, Err(EgressError::Refused(Refusal::Reserved))), "{host}");
    }
}

#[tokio::test]
async fn a_name_that_resolves_differently_the_second_time_gains_nothing() {
    let (port, caught) = trap().await;
    // What a checker that looks names up before the client does would see: a public address first.
    let lookup = Fickle::new(&["127.0.0.1"]);
    let client = Client::with_lookup(strict(), lookup.clone()).unwrap();
    client.policy().check_url(&format!("http://rebind.example:{port}/")).unwrap();
    let answer = client.send(request(format!("http://rebind.example:{port}/"))).await;
    assert!(matches!(answer, Err(EgressError::Refused(Refusal::Private))), "{answer:?}");
    assert_eq!(
        lookup.asked.load(Ordering::SeqCst),
        1,
        "one look-up, whose answer is what is checked"
    );
    let metadata =
        Client::with_lookup(Policy::default(), Fickle::new(&["169.254.169.254"])).unwrap();
    let answer = metadata.send(request("http://metadata.google.internal/".into())).await;
    assert!(matches!(answer, Err(EgressError::Refused(Refusal::Reserved))), "{answer:?}");
    assert_eq!(caught.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn every_connection_is_checked_anew() {
    let (port, caught) = trap().await;
    let router = axum::Router::new()
        .route("/", any(|| async { ([("connection", "close")], "hello").into_response() }));
    let web = serve(router).await;
    let lookup = Fickle::new(&["127.0.0.1", "169.254.169.254"]);
    let client = Client::with_lookup(Policy::default(), lookup).unwrap();
    let first = client.send(request(format!("http://turns.example:{web}/"))).await.unwrap();
    assert_eq!(first.body, "hello");
    let second = client.send(request(format!("http://turns.example:{port}/"))).await;
    assert!(matches!(second, Err(EgressError::Refused(Refusal::Reserved))), "{second:?}");
    assert_eq!(caught.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (trapped, caught) = trap().await;
    let to = format!("http://127.0.0.1:{trapped}/");
    let router = axum::Router::new()
        .route("/trap", any(move || async move { (StatusCode::FOUND, [("location", to)]) }))
        .route(
            "/metadata",
            any(|| async {
                (StatusCode::FOUND, [("location", "http://169.254.169.254/latest/meta-data/")])
            }),
        );
    let port = serve(router).await;
    let client = Client::new(Policy::default()).unwrap();
    for path in ["trap", "metadata"] {
        let answer = client.send(request(format!("http://127.0.0.1:{port}/{path}"))).await.unwrap();
        assert_eq!(answer.status, 302);
        assert!(!answer.is_success());
    }
    assert_eq!(caught.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn answers_and_waits_are_bounded() {
    let router = axum::Router::new()
        .route("/large", any(|| async { vec![b'x'; 100_000] }))
        .route("/never", any(std::future::pending::<()>))
        .route(
            "/echo",
            get(|headers: HeaderMap| async move { headers["x-own"].to_str().unwrap().to_owned() }),
        );
    let base = format!("http://127.0.0.1:{}", serve(router).await);
    let client = Client::new(Policy::default()).unwrap();
    let large = client.send(request(format!("{base}/large"))).await;
    assert!(matches!(large, Err(EgressError::TooLarge(1_024))), "{large:?}");
    let cut = Request { overflow: Overflow::Cut, ..request(format!("{base}/large")) };
    assert_eq!(client.send(cut).await.unwrap().body.len(), 1_024);
    let timeout = Duration::from_millis(200);
    let never = Request { timeout, ..request(format!("{base}/never")) };
    let never = client.send(never).await;
    assert!(matches!(never, Err(EgressError::Timeout(limit)) if limit == timeout), "{never:?}");
    let headers = vec![("X-Own".into(), "yes".into())];
    let echo = Request { method: "GET".into(), headers, ..request(format!("{base}/echo")) };
    assert_eq!(client.send(echo).await.unwrap().body, "yes");
}

#[tokio::test]
async fn what_cannot_be_reached_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let client = Client::new(Policy::default()).unwrap();
    let refused = client.send(request(format!("http://127.0.0.1:{port}/"))).await;
    assert!(matches!(refused, Err(EgressError::Connect(_))), "{refused:?}");
    struct Nobody;
    impl Lookup for Nobody {
        fn lookup(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
            async { Ok(Vec::new()) }.boxed()
        }
    }
    let lost = Client::with_lookup(Policy::default(), Arc::new(Nobody)).unwrap();
    let lost = lost.send(request("http://nobody.example/".into())).await;
    assert!(matches!(lost, Err(EgressError::Lookup)), "{lost:?}");
    let plain = serve(axum::Router::new()).await;
    let tls = client.send(request(format!("https://127.0.0.1:{plain}/"))).await;
    assert!(matches!(tls, Err(EgressError::Tls(_))), "{tls:?}");
}

#[tokio::test]
async fn headers_of_the_connection_are_not_the_clients_to_set() {
    let client = Client::new(Policy::default()).unwrap();
    for name in ["Host", "content-length", "Transfer-Encoding", "Proxy-Authorization", "a b", ""] {
        let headers = vec![(name.to_owned(), "1".to_owned())];
        let answer =
            client.send(Request { headers, ..request("http://127.0.0.1:1/".into()) }).await;
        assert!(matches!(answer, Err(EgressError::Invalid(_))), "{name}: {answer:?}");
    }
    let split = vec![("x-a".to_owned(), "1\r\nx-b: 2".to_owned())];
    let answer =
        client.send(Request { headers: split, ..request("http://127.0.0.1:1/".into()) }).await;
    assert!(matches!(answer, Err(EgressError::Invalid(_))), "{answer:?}");
}

#[test]
fn only_listed_ports_are_reached() {
    let policy = Policy { allow_private_targets: true, ports: vec![443, 8_443] };
    for (url, wanted) in [
        ("https://example.com/", Ok(())),
        ("https://example.com:8443/", Ok(())),
        ("http://example.com/", Err(Refusal::Port(80))),
        ("https://example.com:22/", Err(Refusal::Port(22))),
        ("https://example.com:0/", Err(Refusal::Port(0))),
    ] {
        assert_eq!(policy.check_url(url), wanted, "{url}");
    }
    let long = format!("https://example.com/{}", "a".repeat(2_048));
    assert_eq!(policy.check_url(&long), Err(Refusal::TooLong));
}

#[test]
fn public_addresses_are_public() {
    for ip in
        ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "64:ff9b::808:808"]
    {
        assert_eq!(target(ip.parse().unwrap()), Target::Public, "{ip}");
    }
    assert_eq!(target(IpAddr::V4(Ipv4Addr::LOCALHOST)), Target::Private);
}
