//! The dial limits on the ways that begin within a call: a supervisor, a REFER of the other side, a redirect.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::json;
use trunkline::schema::calling::{Redirects, Refers};
use trunkline::sip::Transport;
use trunkline::types::EndReason;

use crate::dial_limits::{Destination, destinations, expected, refused, texts};
use crate::support::http::Client;
use crate::support::line::Line;
use crate::support::peer::{Caller, Peer};
use crate::support::server::{OUT, Server};

/// Contacts that one call may try.
const CONTACTS: usize = 5;

/// A server that carries a peer's calls and follows wherever it may; nobody but the peer is ever called.
async fn server(peer: SocketAddr) -> Server {
    Server::with(|config| {
        let out = config.trunks.get_mut(OUT).expect("a trunk");
        out.host = "127.0.0.1".to_owned();
        out.port = Some(peer.port());
        out.calls.redirects = Redirects::Follow;
        config.trunks.retain(|name, _| name == OUT || name == "local");
        let local = config.trunks.get_mut("local").expect("a trunk");
        local.calls.refers = Refers::Follow;
        config.dial_limits.allow = texts(&["+1555", "+1900"]);
        config.dial_limits.deny = texts(&["+1900"]);
        config.call.commands_per_minute = 0;
        config.sip.requests_per_second_max = 0;
    })
    .await
}

fn uri(to: &str) -> String {
    if to.starts_with('+') { format!("tel:{to}") } else { to.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_destinations_are_judged_within_calls() {
    // Its port is known before the server is.
    let reserved = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = reserved.local_addr().expect("bound");
    let server = server(address).await;
    drop(reserved);
    let mut peer = Peer::bound(address, server.sip(Transport::Udp), Transport::Udp).await;
    let client = Client::new(&server);
    let mut forbidden = destinations(500, address);
    forbidden.retain(|(_, why)| why.is_some());
    assert!(forbidden.len() > 400);
    let before = refused(&client).await;
    let mut wanted = BTreeMap::new();

    let line = Line::new().await;
    let mut caller = Caller::new(&server, Transport::Udp, "judged").await;
    let ok = caller.call(line.local).await;
    line.connect(ok.media());
    let id = server.call_to("judged").await.id;
    server.live(id).await;
    for (to, _) in &forbidden {
        let path = format!("/v1/calls/{id}/supervise");
        let body = json!({"mode": "listen", "destination": to});
        let (status, answer) = client.send("POST", &path, body).await;
        let code = &answer["error"]["code"];
        assert_eq!((status, code), (403, &json!("destination_forbidden")), "{to}: {answer}");
        let head = format!("Refer-To: <{}>\r\n", uri(to));
        let answer = caller.ask("REFER", &head, "").await;
        assert_eq!(answer.status(), 403, "{to}: {}", answer.text);
    }
    expected("supervise", &forbidden, &mut wanted);
    expected("refer", &forbidden, &mut wanted);
    caller.hang_up().await;

    for some in forbidden.chunks(CONTACTS) {
        redirected(&server, &mut peer, some).await;
    }
    expected("redirect", &forbidden, &mut wanted);
    let mut counted = refused(&client).await;
    counted.retain(|key, _| wanted.contains_key(key));
    for (key, count) in &mut counted {
        *count -= before.get(key).copied().unwrap_or(0);
    }
    assert_eq!(counted, wanted, "counted");
}

/// A call that is allowed is sent to where none may go, and ends there.
async fn redirected(server: &Server, peer: &mut Peer, some: &[Destination]) {
    let record = server.dial("+15550100".to_owned(), Transport::Udp).await;
    let invite = peer.request("INVITE").await;
    assert!(invite.first().starts_with("INVITE sip:+15550100@"), "nobody else: {}", invite.text);
    let contacts: String =
        some.iter().map(|(to, _)| format!("Contact: <{}>\r\n", uri(to))).collect();
    peer.answer(&invite, "302 Moved Temporarily", &contacts, "").await;
    peer.request("ACK").await;
    let record = server.ended(record.id).await;
    assert_eq!(record.end_reason, Some(EndReason::Unreachable), "{record:?}");
    assert_eq!(record.sip.status, Some(302));
}
