//! Toll fraud: destinations that are not allowed are refused on every way that dials or transfers, and counted.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::net::UdpSocket;
use trunkline::config::Config;
use trunkline::sip::Transport;
use trunkline::types::EndReason;

use crate::support::http::Client;
use crate::support::impair::Dice;
use crate::support::line::Line;
use crate::support::peer::{Caller, Message};
use crate::support::server::{OUT, Server};
use crate::support::wait;

/// A carrier where everybody is busy; it keeps whom it was asked for.
#[derive(Clone)]
struct Carrier {
    address: SocketAddr,
    called: Arc<Mutex<BTreeSet<String>>>,
}

impl Carrier {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let address = socket.local_addr().expect("bound");
        let carrier = Self { address, called: Arc::default() };
        let called = Arc::clone(&carrier.called);
        tokio::spawn(async move {
            let mut octets = vec![0; 65_536];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut octets).await else { continue };
                let text = String::from_utf8_lossy(&octets[..length]).into_owned();
                let invite = Message { text };
                if !invite.first().starts_with("INVITE ") {
                    continue;
                }
                let user = invite.first().split(['@', ' ']).nth(1).unwrap_or_default();
                called.lock().unwrap().insert(user.trim_start_matches("sip:").to_owned());
                let mut answer = "SIP/2.0 486 Busy Here\r\n".to_owned();
                for name in ["via", "from", "call-id", "cseq"] {
                    for value in invite.headers(name) {
                        answer.push_str(&format!("{name}: {value}\r\n"));
                    }
                }
                answer.push_str(&format!(
                    "to: {};tag=b\r\nContent-Length: 0\r\n\r\n",
                    invite.header("to")
                ));
                let _ = socket.send_to(answer.as_bytes(), from).await;
            }
        });
        carrier
    }

    fn trunk(&self, config: &mut Config) {
        let out = config.trunks.get_mut(OUT).expect("a trunk");
        out.host = "127.0.0.1".to_owned();
        out.port = Some(self.address.port());
        config.trunks.retain(|name, _| name == OUT || name == "local");
    }
}

pub(crate) fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

/// A destination, and why it is refused.
pub(crate) type Destination = (String, Option<&'static str>);

/// Numbers and URIs as people and as fraudsters write them.
pub(crate) fn destinations(count: usize, host: SocketAddr) -> Vec<Destination> {
    let mut dice = Dice::new(2_026);
    let mut all = BTreeMap::new();
    while all.len() < count {
        let digits = format!("{:07}", dice.next() % 10_000_000);
        let (bad, denied) = (Some("not_allowed"), Some("denied"));
        let (to, why) = match dice.next() % 12 {
            0 => (format!("+1555{digits}"), None),
            1 => (format!("+882{digits}99"), bad),
            2 => (format!("+44870{digits}"), bad),
            3 => (format!("+1900{digits}"), denied),
            4 => (format!("sip:00882{digits}@{host}"), bad),
            5 => (format!("sip:%2B882{digits}@{host}"), bad),
            6 => (format!("sip:+1-900-{digits}@{host}"), denied),
            7 => (format!("sip:0900{digits}@{host}"), bad),
            8 => (format!("sip:+1555{digits}@127.0.0.2"), bad),
            9 => (format!("sip:premium{digits}@{host}"), bad),
            10 => (format!("sip:+881{digits};phone-context=+1@{host};user=phone"), bad),
            _ => (format!("sip:+1900{digits}:1234@{host}"), denied),
        };
        all.insert(to, why);
    }
    all.into_iter().collect()
}

pub(crate) fn is_number(to: &str) -> bool {
    to.starts_with('+')
}

/// What `/metrics` counts of refusals, by way and reason.
pub(crate) async fn refused(client: &Client) -> BTreeMap<(String, String), u64> {
    let page = client.request("GET", "/metrics").send().await.expect("a page").text().await;
    let page = page.expect("text");
    let lines = page.lines().filter_map(|line| {
        let (labels, count) =
            line.strip_prefix("trunkline_dial_refused_total{")?.split_once("} ")?;
        let mut values = labels.split('"').skip(1).step_by(2).map(str::to_owned);
        Some(((values.next()?, values.next()?), count.parse().ok()?))
    });
    // Tests beside this one count what they refuse in the same table, by limits of the day and on other ways.
    lines.collect()
}

/// How often the forbidden ones of some destinations should have been counted.
pub(crate) fn expected(
    path: &str,
    some: &[Destination],
    into: &mut BTreeMap<(String, String), u64>,
) {
    for why in some.iter().filter_map(|(_, why)| *why) {
        *into.entry((path.to_owned(), why.to_owned())).or_default() += 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_destinations_are_judged_on_every_way() {
    let carrier = Carrier::start().await;
    let server = Server::with(|config| {
        carrier.trunk(config);
        config.dial_limits.allow = texts(&["+1555", "+1900"]);
        config.dial_limits.deny = texts(&["+1900"]);
        config.call.commands_per_minute = 0;
    })
    .await;
    let client = Client::new(&server);
    let all = destinations(500, carrier.address);
    let numbers: Vec<Destination> = all.iter().filter(|(to, _)| is_number(to)).cloned().collect();
    assert!(numbers.len() > 100 && all.iter().filter(|(_, why)| why.is_none()).count() > 20);
    let before = refused(&client).await;
    let mut wanted = before.clone();
    for path in ["/v1/calls", "/v1/call-orders"] {
        for (to, why) in &all {
            if path != "/v1/calls" && !is_number(to) && why.is_none() {
                continue;
            }
            let (status, answer) = client.send("POST", path, json!({"to_number": to})).await;
            let code = &answer["error"]["code"];
            match why {
                None => assert_eq!(status, 202, "{to}: {answer}"),
                Some(_) => {
                    assert_eq!((status, code), (403, &json!("destination_forbidden")), "{to}");
                    assert_eq!(answer["error"]["param"], "to_number");
                    let hint = answer["error"]["hint"].as_str().expect("a hint");
                    assert!(hint.contains("dial_limits"), "{answer}");
                }
            }
        }
        expected("api", &all, &mut wanted);
    }
    batch(&client, &numbers).await;
    expected("batch", &numbers, &mut wanted);
    campaign(&client, &numbers).await;
    expected("campaign", &numbers, &mut wanted);
    transfers(&server, &client, &all).await;
    // By REFER, and by a leg of our own.
    expected("transfer", &all, &mut wanted);
    expected("transfer", &all, &mut wanted);
    // What was allowed has left by now, and nothing else.
    let allowed: BTreeSet<String> =
        all.iter().filter(|(_, why)| why.is_none()).map(|(to, _)| to.clone()).collect();
    wait::until("every allowed call", async || {
        (carrier.called.lock().unwrap().len() >= allowed.len()).then_some(())
    })
    .await;
    assert_eq!(*carrier.called.lock().unwrap(), allowed, "called");
    wanted.retain(|key, count| before.get(key) != Some(count));
    let mut counted = refused(&client).await;
    counted.retain(|key, _| wanted.contains_key(key));
    assert_eq!(counted, wanted, "counted");
}

async fn batch(client: &Client, numbers: &[Destination]) {
    let to: Vec<&String> = numbers.iter().map(|(to, _)| to).collect();
    let retry = json!({"max_retry_attempts": 0, "ignore_window": true});
    let body = json!({"to_numbers": to, "retry": retry});
    let (status, made) = client.send("POST", "/v1/batches", body).await;
    assert_eq!(status, 202, "{made}");
    let id = made["batch_id"].as_str().expect("an id").to_owned();
    wait::slow("the batch", async {
        wait_for(client, &format!("/v1/batches/{id}"), "completed").await;
    })
    .await;
}

async fn campaign(client: &Client, numbers: &[Destination]) {
    let retry = json!({"max_retry_attempts": 0, "ignore_window": true});
    let (id, _) = client.make("/v1/campaigns", json!({"name": "All", "retry": retry})).await;
    let leads: Vec<Value> = numbers.iter().map(|(to, _)| json!({"phone_number": to})).collect();
    let path = format!("/v1/campaigns/{id}");
    let (status, made) = client.send("POST", &format!("{path}/leads"), json!(leads)).await;
    assert_eq!(status, 201, "{made}");
    let (status, started) = client.send("POST", &format!("{path}/start"), json!({})).await;
    assert_eq!(status, 200, "{started}");
    wait::slow("the campaign", wait_for(client, &path, "completed")).await;
}

async fn wait_for(client: &Client, path: &str, status: &str) {
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        ticks.tick().await;
        let (_, found) = client.send("GET", path, Value::Null).await;
        if found["status"] == status {
            return;
        }
    }
}

async fn transfers(server: &Server, client: &Client, all: &[Destination]) {
    let line = Line::new().await;
    let mut caller = Caller::new(server, Transport::Udp, "moved").await;
    let ok = caller.call(line.local).await;
    line.connect(ok.media());
    let id = server.call_to("moved").await.id;
    server.live(id).await;
    for (to, _) in all.iter().filter(|(_, why)| why.is_some()) {
        for mode in ["blind", "bridge"] {
            let path = format!("/v1/calls/{id}/transfer");
            let body = json!({"destination": to, "mode": mode});
            let (status, answer) = client.send("POST", &path, body).await;
            let code = &answer["error"]["code"];
            assert_eq!((status, code), (403, &json!("destination_forbidden")), "{to}: {answer}");
            assert_eq!(answer["error"]["param"], "destination");
        }
    }
    caller.hang_up().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_called_as_often_as_it_may_be() {
    let carrier = Carrier::start().await;
    let server = Server::with(|config| {
        carrier.trunk(config);
        let out = config.trunks.get_mut(OUT).expect("a trunk");
        out.dial_limits.calls_per_number_per_day = 2;
    })
    .await;
    let client = Client::new(&server);
    let body = json!({"to_number": "+15550100"});
    for _ in 0..2 {
        let (status, call) = client.send("POST", "/v1/calls", body.clone()).await;
        assert_eq!(status, 202, "{call}");
        let id = call["id"].as_str().expect("an id").parse().expect("an id");
        assert_eq!(server.ended(id).await.end_reason, Some(EndReason::Busy));
    }
    let (status, refused) = client.send("POST", "/v1/calls", body).await;
    assert_eq!((status, &refused["error"]["code"]), (429, &json!("dial_limit_reached")));
    let message = refused["error"]["message"].as_str().expect("a message");
    assert!(message.contains("trunks.out.dial_limits.calls_per_number_per_day"), "{message}");
    assert!(!message.contains("0100"), "no number in a message: {message}");
    assert_eq!(carrier.called.lock().unwrap().len(), 1);
}
