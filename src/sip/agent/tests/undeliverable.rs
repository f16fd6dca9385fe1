//! What ICMP says of requests that came to nobody (RFC 3261 section 18.4).

use super::*;

fn came_back(bench: &mut Bench, sent: &Sent, octets: usize) {
    let text = sent.text.as_bytes();
    let quote = Bytes::copy_from_slice(&text[..octets.min(text.len())]);
    bench.handle(Input::Undeliverable { remote: sent.flow.remote, quote });
}

fn called(others: Vec<Flow>) -> (Bench, Sent) {
    let mut bench = Bench::new();
    let mut invite = outgoing(DialogId::outbound(1), bench.flow);
    invite.others = others;
    bench.command(Command::Invite(Box::new(invite)));
    let first = bench.last().clone();
    (bench, first)
}

fn next_door() -> Flow {
    let (local, remote) = ("192.0.2.1:5060", "192.0.2.9:5060");
    Flow::new(Transport::Udp, local.parse().unwrap(), remote.parse().unwrap())
}

#[test]
fn an_invite_that_came_to_nobody_goes_to_the_next_target_or_fails_at_once() {
    let (mut bench, first) = called(vec![next_door()]);
    came_back(&mut bench, &first, 500);
    let second = bench.last().clone();
    assert_eq!(second.flow, next_door());
    came_back(&mut bench, &first, 500);
    assert_eq!(bench.sent.len(), 2, "it was left behind already");
    came_back(&mut bench, &second, 500);
    assert_eq!(bench.names(), ["TargetFailed", "Failed Transport 0"]);
    bench.assert_forgotten();
}

#[test]
fn only_a_quote_of_the_request_to_that_address_counts_and_only_before_an_answer() {
    let (mut bench, first) = called(vec![next_door()]);
    let via = first.text.find("branch=").unwrap();
    let cut_in_the_branch = via + "branch=z9hG4bK".len() + 4;
    for octets in [0, 8, via, cut_in_the_branch] {
        came_back(&mut bench, &first, octets);
    }
    let mut forged = first.clone();
    forged.text = first.text.replace("z9hG4bK", "z9hG4bKx");
    came_back(&mut bench, &forged, 500);
    let mut elsewhere = first.clone();
    elsewhere.flow.remote.set_port(9);
    came_back(&mut bench, &elsewhere, 500);
    for octets in [&b"\xff\xfe INVITE"[..], b"\r\n", b"INVITE x\r\nVia: ;branch=\r\n"] {
        let quote = Bytes::from_static(octets);
        bench.handle(Input::Undeliverable { remote: first.flow.remote, quote });
    }
    bench.receive(&first.response("100 Trying", "", "", ""));
    came_back(&mut bench, &first, 500);
    assert_eq!(bench.names(), Vec::<String>::new());
    assert_eq!(bench.sent.len(), 1, "an ICMP message that comes late says nothing of who answers");
}

#[test]
fn a_call_outlives_a_peer_that_is_away_for_a_moment() {
    let (mut bench, dialog, _) = answered();
    bench.command(Command::Reoffer { dialog, sdp: Bytes::from_static(OFFER.as_bytes()) });
    let reinvite = bench.last().clone();
    came_back(&mut bench, &reinvite, 500);
    let before = bench.sent.len();
    bench.pass_ms(500);
    assert_eq!(bench.starts(before), [reinvite.start()], "repeated");
    let events = bench.events.len();
    bench.receive(&reinvite.response("200 OK", "", CONTACT, ANSWER));
    assert_eq!(bench.names()[events..], ["OfferAnswered"]);
}

#[test]
fn a_ping_that_came_to_nobody_says_so_at_once() {
    let mut bench = Bench::new();
    let ping = crate::sip::Ping {
        id: DialogId::outbound(9),
        flow: bench.flow,
        uri: "sip:192.0.2.2".to_owned(),
        from: "<sip:192.0.2.1>".to_owned(),
        route: Vec::new(),
    };
    bench.command(Command::Ping(Box::new(ping)));
    let sent = bench.last().clone();
    came_back(&mut bench, &sent, 500);
    assert!(matches!(bench.events.last(), Some(Event::Pinged { status: None, .. })));
    bench.assert_forgotten();
}
