//! What no scenario of SIPp can say: repeated and lost messages, glare, strange orders, hostile in-dialog requests.

use std::time::Duration;

use trunkline::call::CallCommand;
use trunkline::net::clock;
use trunkline::sip::Transport;
use trunkline::types::{CallStatus, EndReason};

use crate::support::line::Line;
use crate::support::peer::{Caller, Message, Peer, SILENCE, sdp};
use crate::support::server::Server;
use crate::support::wait;

const BOTH: [Transport; 2] = [Transport::Udp, Transport::Tcp];

/// A UDP peer that the server calls: its socket, and the INVITE.
async fn called(server: &Server, user: &str) -> (Peer, Message) {
    let mut peer = Peer::new(server.sip(Transport::Udp), Transport::Udp).await;
    server.dial(format!("sip:{user}@{}", peer.local), Transport::Udp).await;
    let invite = peer.request("INVITE").await;
    (peer, invite)
}

fn contact(peer: &Peer) -> String {
    format!("Contact: <sip:peer@{}>\r\n", peer.local)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_sent_thrice_is_one_call_and_is_answered_at_once() {
    for transport in BOTH {
        let server = Server::start().await;
        let line = Line::new().await;
        let mut caller = Caller::new(&server, transport, "thrice").await;
        let start = clock::now();
        caller.invite(&sdp(line.local)).await;
        let trying = caller.peer.next().await;
        assert_eq!(trying.status(), 100, "{}", trying.text);
        // 200 ms is the RFC's limit; ten times as much is a slow machine's.
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        for _ in 0..2 {
            let again = caller.text(
                "INVITE",
                "INVITE1",
                "Content-Type: application/sdp\r\n",
                &sdp(line.local),
            );
            caller.peer.send(again.as_bytes()).await;
        }
        let ok = caller.peer.final_to("INVITE").await;
        assert_eq!(ok.status(), 200);
        caller.learn(&ok);
        caller.ack("").await;
        caller.hang_up().await;
        server.ended_to("thrice").await;
        assert_eq!(server.calls().await.len(), 1, "one call");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_200_is_repeated_until_its_ack_and_no_longer() {
    for transport in BOTH {
        let server = Server::start().await;
        let line = Line::new().await;
        let mut caller = Caller::new(&server, transport, "no-ack").await;
        caller.invite(&sdp(line.local)).await;
        let first = caller.peer.final_to("INVITE").await;
        for _ in 0..2 {
            assert_eq!(caller.peer.final_to("INVITE").await.text, first.text, "the same octets");
        }
        caller.learn(&first);
        caller.ack("").await;
        // After the ACK one more may be on its way; four seconds (T2) would bring a next one.
        let quiet = wait::stays_away("a 200 after the ACK", Duration::from_secs(3), async {
            caller.peer.final_to("INVITE").await;
        });
        quiet.await;
        caller.hang_up().await;
        let record = server.ended_to("no-ack").await;
        assert_eq!(record.end_reason, Some(EndReason::UserHangup));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_repeated_200_gets_its_ack() {
    let server = Server::start().await;
    let line = Line::new().await;
    let (mut peer, invite) = called(&server, "repeats").await;
    let contact = contact(&peer);
    for _ in 0..5 {
        peer.answer(&invite, "200 OK", &contact, &sdp(line.local)).await;
        let ack = peer.request("ACK").await;
        assert_eq!(ack.header("cseq"), "1 ACK");
        assert!(
            ack.first().contains(&format!("peer@{}", peer.local)),
            "to the target: {}",
            ack.text
        );
        assert_ne!(ack.header("via"), invite.header("via"), "a transaction of its own");
    }
    let id = first_call(&server).await;
    server.live(id).await;
    let end = CallCommand::End { message: None, reason: EndReason::ApiHangup, headers: Vec::new() };
    server.running.switchboard().command(id, end).await.expect("it is live");
    let bye = peer.request("BYE").await;
    peer.answer(&bye, "200 OK", "", "").await;
    assert_eq!(server.ended(id).await.end_reason, Some(EndReason::ApiHangup));
}

/// The only call, once the store has it: its record is queued, and a peer can be quicker.
async fn first_call(server: &Server) -> trunkline::types::CallId {
    wait::until("a record", async || server.calls().await.first().map(|call| call.id)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_200_that_crosses_our_cancel_is_acknowledged_and_hung_up() {
    let server = Server::start().await;
    let line = Line::new().await;
    let (mut peer, invite) = called(&server, "race").await;
    let contact = contact(&peer);
    peer.answer(&invite, "180 Ringing", &contact, "").await;
    let id = first_call(&server).await;
    wait::until("ringing", async || {
        server.calls().await.first().filter(|c| c.status == CallStatus::Ringing).map(|_| ())
    })
    .await;
    let end = CallCommand::End { message: None, reason: EndReason::ApiHangup, headers: Vec::new() };
    server.running.switchboard().command(id, end).await.expect("it rings");
    let cancel = peer.request("CANCEL").await;
    assert_eq!(cancel.header("via"), invite.header("via"), "the branch of the INVITE");
    peer.answer(&invite, "200 OK", &contact, &sdp(line.local)).await;
    peer.answer(&cancel, "200 OK", "", "").await;
    peer.request("ACK").await;
    let bye = peer.request("BYE").await;
    peer.answer(&bye, "200 OK", "", "").await;
    let record = server.ended(id).await;
    assert_eq!(record.status, CallStatus::Canceled, "{record:?}");
    // The record is on disk a moment before the call leaves the list.
    wait::until("no live call", async || (server.running.switchboard().live() == 0).then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_ends_the_call_as_a_network_error() {
    let server = Server::start().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let record = server.dial(format!("sip:nobody@{closed}"), Transport::Tcp).await;
    let record = server.ended(record.id).await;
    assert_eq!(record.end_reason, Some(EndReason::NetworkError));
    assert_eq!(record.status, CallStatus::Failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_dialog_requests_out_of_order_get_what_the_rfc_says() {
    for transport in BOTH {
        let server = Server::start().await;
        let line = Line::new().await;
        let mut caller = Caller::new(&server, transport, "orders").await;
        caller.call(line.local).await;
        // An unknown tag: 481, never silence.
        let tag = caller.text("INFO", "tag", "", "").replace(";tag=caller", ";tag=other");
        caller.peer.send(tag.replace("1 INFO", "7 INFO").as_bytes()).await;
        assert_eq!(caller.peer.final_to("INFO").await.status(), 481);
        // A lower CSeq than before: 500.
        for _ in 0..2 {
            assert_eq!(caller.ask("INFO", "", "").await.status(), 200);
        }
        let old = caller.text("INFO", "old", "", "").replace("3 INFO", "2 INFO");
        caller.peer.send(old.as_bytes()).await;
        assert_eq!(caller.peer.final_to("INFO").await.status(), 500);
        caller.hang_up().await;
        server.ended_to("orders").await;
        // The dialog is gone.
        assert_eq!(caller.ask("INFO", "", "").await.status(), 481);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_and_a_response_of_nobody_are_not_answered() {
    let server = Server::start().await;
    let mut caller = Caller::new(&server, Transport::Udp, "stray").await;
    caller.ack("").await;
    caller.peer.send(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKx\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: stray\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n").await;
    wait::stays_away("an answer", SILENCE, caller.peer.receive()).await;
    assert_eq!(caller.peer.probe("stray").await.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_closes_does_not_end_its_call() {
    let server = Server::start().await;
    let line = Line::new().await;
    let mut caller = Caller::new(&server, Transport::Tcp, "reconnects").await;
    let ok = caller.call(line.local).await;
    line.connect(ok.media());
    line.hears(0, 100).await;
    caller.peer = Peer::new(server.sip(Transport::Tcp), Transport::Tcp).await;
    assert_eq!(caller.ask("INFO", "", "").await.status(), 200, "over a new stream");
    caller.hang_up().await;
    let record = server.ended_to("reconnects").await;
    assert_eq!(record.end_reason, Some(EndReason::UserHangup));
}
