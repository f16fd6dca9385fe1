//! Outgoing calls up to the ACK of the 200.

use super::*;

const TRYING: &str = "100 Trying";

#[test]
fn a_call_placed_answered_and_hung_up() {
    let (mut bench, dialog) = placed();
    let invite = bench.last().clone();
    assert_eq!(invite.start(), "INVITE sip:+15550100@192.0.2.2");
    assert_eq!(invite.header("Max-Forwards").unwrap(), "70");
    assert!(invite.header("Via").unwrap().ends_with(";rport"));
    assert_eq!(invite.body(), OFFER);
    bench.receive(&invite.response(TRYING, "", "", ""));
    bench.receive(&invite.response("180 Ringing", "tag", "", ""));
    bench.receive(&invite.response("200 OK", "tag", CONTACT, ANSWER));
    let ack = bench.last().clone();
    assert_eq!(ack.start(), "ACK sip:peer@192.0.2.2:5060");
    assert_eq!(ack.header("CSeq").unwrap(), "1 ACK");
    assert_ne!(ack.branch(), invite.branch());
    assert_eq!(ack.to_tag(), "tag");
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    let bye = bench.last().clone();
    assert_eq!(bye.header("CSeq").unwrap(), "2 BYE");
    bench.receive(&bye.response("200 OK", "", "", ""));
    assert_eq!(bench.names(), ["Progress 180", "Answered", "Terminated"]);
    bench.assert_forgotten();
}

#[test]
fn timer_a_and_b() {
    for (mut bench, expected) in
        [(Bench::new(), vec![0, 500, 1500, 3500, 7500, 15500, 31500]), (Bench::tcp(), vec![0])]
    {
        let invite = outgoing(DialogId::outbound(1), bench.flow);
        bench.command(Command::Invite(Box::new(invite)));
        bench.pass_ms(31_999);
        let at: Vec<u128> = bench.sent.iter().map(|sent| sent.at_ms).collect();
        assert_eq!(at, expected);
        assert!(bench.names().is_empty());
        bench.pass_ms(1);
        assert_eq!(bench.names(), ["Failed NoResponse 0"]);
        bench.assert_forgotten();
    }
}

#[test]
fn bye_is_repeated_by_timer_e_until_f() {
    let (mut bench, dialog, _) = answered();
    let (from, start) = (bench.sent.len(), bench.now);
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    bench.pass_ms(31_999);
    let zero = (start - bench.start).as_millis();
    let at: Vec<u128> = bench.sent[from..].iter().map(|sent| sent.at_ms - zero).collect();
    assert_eq!(at, [0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    bench.pass_ms(1);
    assert_eq!(bench.names().last().unwrap(), "Terminated");
    bench.assert_forgotten();
}

#[test]
fn every_repeated_200_gets_its_ack() {
    let (mut bench, dialog) = placed();
    let invite = bench.last().clone();
    let ok = invite.response("200 OK", "tag", CONTACT, ANSWER);
    bench.receive(&ok);
    let ack = bench.last().clone();
    for _ in 0..4 {
        bench.receive(&ok);
        assert_eq!(bench.last().text, ack.text);
    }
    assert_eq!(bench.sent.len(), 6);
    // Also while a re-INVITE of ours is under way, and after our BYE.
    bench.command(Command::Reoffer { dialog, sdp: Bytes::from_static(b"v=0\r\n") });
    bench.receive(&ok);
    assert_eq!(bench.last().text, ack.text);
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    let bye = bench.last().clone();
    bench.receive(&bye.response("200 OK", "", "", ""));
    bench.receive(&ok);
    assert_eq!(bench.last().text, ack.text);
    assert_eq!(bench.names(), ["Answered", "Terminated"]);
}

#[test]
fn refusals() {
    let rows = [
        ("486 Busy Here", "Failed Refused 486"),
        ("302 Moved Temporarily", "Failed Refused 302"),
        ("603 Decline", "Failed Refused 603"),
        ("401 Unauthorized", "Failed Auth 401"),
    ];
    for (status, expected) in rows {
        let (mut bench, _) = placed();
        let invite = bench.last().clone();
        let refusal =
            invite.response(status, "tag", "Reason: Q.850;cause=17;text=\"a, b\"\r\n", "");
        bench.receive(&refusal);
        let ack = bench.last().clone();
        assert_eq!(ack.start(), "ACK sip:+15550100@192.0.2.2");
        assert_eq!(ack.branch(), invite.branch());
        assert_eq!(ack.to_tag(), "tag");
        bench.receive(&refusal);
        assert_eq!(bench.last().text, ack.text);
        assert_eq!(bench.names(), [expected]);
        let Some(Event::Failed { failure, .. }) = bench.events.first() else { panic!() };
        assert_eq!(failure.q850_cause, Some(17));
        bench.assert_forgotten();
    }
}

#[test]
fn early_media() {
    let (mut bench, _) = placed();
    let invite = bench.last().clone();
    bench.receive(&invite.response("183 Session Progress", "tag", "", ANSWER));
    bench.receive(&invite.response("180 Ringing", "tag", "", ""));
    bench.receive(&invite.response("200 OK", "tag", CONTACT, ""));
    assert_eq!(bench.names(), ["Progress 183 sdp", "Progress 180", "Answered"]);
    let Some(Event::Answered { sdp, .. }) = bench.events.last() else { panic!() };
    assert_eq!(sdp.as_deref(), Some(ANSWER.as_bytes()), "the early answer stands");
}

#[test]
fn cancel_waits_for_a_provisional_response() {
    let (mut bench, dialog) = placed();
    let invite = bench.last().clone();
    bench.command(Command::Cancel { dialog });
    assert_eq!(bench.sent.len(), 1, "nothing heard yet");
    bench.receive(&invite.response(TRYING, "", "", ""));
    let cancel = bench.last().clone();
    assert_eq!(cancel.start(), "CANCEL sip:+15550100@192.0.2.2");
    assert_eq!(cancel.branch(), invite.branch());
    assert_eq!(cancel.header("CSeq").unwrap(), "1 CANCEL");
    assert_eq!(cancel.header("To").unwrap(), invite.header("To").unwrap());
    assert_eq!(cancel.header("Reason").unwrap(), "Q.850;cause=16");
    bench.receive(&cancel.response("200 OK", "tag", "", ""));
    bench.receive(&invite.response("487 Request Terminated", "tag", "", ""));
    assert!(bench.last().start().starts_with("ACK "));
    assert_eq!(bench.names(), ["Failed Canceled 487"]);
    bench.assert_forgotten();
}

#[test]
fn cancel_meets_the_answer() {
    let (mut bench, dialog) = placed();
    let invite = bench.last().clone();
    bench.receive(&invite.response("180 Ringing", "tag", "", ""));
    bench.command(Command::Cancel { dialog });
    bench.receive(&invite.response("200 OK", "tag", CONTACT, ANSWER));
    let starts = bench.starts(2);
    assert_eq!(starts, ["ACK sip:peer@192.0.2.2:5060", "BYE sip:peer@192.0.2.2:5060"]);
    let bye = bench.last().clone();
    bench.receive(&bye.response("200 OK", "", "", ""));
    assert_eq!(bench.names(), ["Progress 180", "Failed Canceled 0"]);
    bench.assert_forgotten();
}

#[test]
fn ring_timeout() {
    let (mut bench, _) = placed();
    let invite = bench.last().clone();
    bench.receive(&invite.response("180 Ringing", "tag", "", ""));
    bench.pass_ms(59_999);
    assert_eq!(bench.sent.len(), 1);
    bench.pass_ms(1);
    assert!(bench.last().start().starts_with("CANCEL "));
    // The other side never ends its INVITE transaction: section 9.1 gives it 64*T1.
    bench.pass_ms(32_000);
    assert_eq!(bench.names(), ["Progress 180", "Failed RingTimeout 0"]);
    bench.assert_forgotten();
}

fn with_credentials() -> (Bench, DialogId) {
    let mut bench = Bench::new();
    let dialog = DialogId::outbound(1);
    let mut invite = outgoing(dialog, bench.flow);
    invite.credentials =
        Some(Credentials { username: "bob".to_owned(), password: Secret::new("zanzibar") });
    bench.command(Command::Invite(Box::new(invite)));
    (bench, dialog)
}

const WWW: &str = "WWW-Authenticate: Digest realm=\"a\", nonce=\"n1\", qop=\"auth\"\r\n";
const PROXY: &str = "Proxy-Authenticate: Digest realm=\"p\", nonce=\"n2\", algorithm=MD5\r\n";

#[test]
fn challenges_are_answered() {
    let (mut bench, dialog) = with_credentials();
    let first = bench.last().clone();
    bench.receive(&first.response("407 Proxy Authentication Required", "t1", PROXY, ""));
    let second = bench.last().clone();
    bench.receive(&second.response("401 Unauthorized", "t2", WWW, ""));
    let third = bench.last().clone();
    assert_eq!(third.header("CSeq").unwrap(), "3 INVITE");
    for name in ["Call-ID", "From", "To"] {
        assert_eq!(third.header(name), first.header(name), "{name}");
    }
    assert_ne!(third.branch(), first.branch());
    assert!(third.header("Authorization").unwrap().contains("uri=\"sip:+15550100@192.0.2.2\""));
    assert!(third.header("Proxy-Authorization").unwrap().contains("realm=\"p\""));
    bench.receive(&third.response("200 OK", "tag", CONTACT, ANSWER));
    // Requests within the dialog are challenged anew.
    bench.command(Command::Reoffer { dialog, sdp: Bytes::from_static(b"v=0\r\n") });
    let reinvite = bench.last().clone();
    bench.receive(&reinvite.response("401 Unauthorized", "", WWW, ""));
    let again = bench.last().clone();
    assert_eq!(again.header("CSeq").unwrap(), "5 INVITE");
    assert!(again.header("Authorization").unwrap().contains("uri=\"sip:peer@192.0.2.2:5060\""));
    bench.receive(&again.response("200 OK", "", CONTACT, ANSWER));
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    let bye = bench.last().clone();
    bench.receive(&bye.response("401 Unauthorized", "", WWW, ""));
    let again = bench.last().clone();
    assert!(again.header("Authorization").is_some());
    bench.receive(&again.response("200 OK", "", "", ""));
    assert_eq!(bench.names(), ["Answered", "OfferAnswered", "Terminated"]);
    bench.assert_forgotten();
}

#[test]
fn refused_credentials() {
    let (mut bench, _) = with_credentials();
    let first = bench.last().clone();
    bench.receive(&first.response("401 Unauthorized", "t1", WWW, ""));
    let second = bench.last().clone();
    let stale = WWW.replace("n1\"", "n2\", stale=true");
    bench.receive(&second.response("401 Unauthorized", "t2", &stale, ""));
    let third = bench.last().clone();
    assert!(third.header("Authorization").unwrap().contains("nonce=\"n2\""));
    bench.receive(&third.response("401 Unauthorized", "t3", WWW, ""));
    assert_eq!(bench.names(), ["Failed Auth 401"]);
    let invites = bench.starts(0).iter().filter(|start| start.starts_with("INVITE")).count();
    assert_eq!(invites, 3);
    bench.assert_forgotten();
}

#[test]
fn a_second_fork_that_answers_is_released() {
    let (mut bench, dialog) = placed();
    let invite = bench.last().clone();
    bench.receive(&invite.response("183 Session Progress", "one", "", ANSWER));
    bench.receive(&invite.response("180 Ringing", "two", "", ""));
    bench.receive(&invite.response("200 OK", "two", CONTACT, ANSWER));
    let loser = "Contact: <sip:loser@192.0.2.3:5070>\r\n";
    bench.receive(&invite.response("200 OK", "one", loser, ANSWER));
    let starts = bench.starts(1);
    assert_eq!(
        starts,
        [
            "ACK sip:peer@192.0.2.2:5060",
            "ACK sip:loser@192.0.2.3:5070",
            "BYE sip:loser@192.0.2.3:5070"
        ]
    );
    assert_eq!(bench.last().to_tag(), "one");
    assert_eq!(bench.last().header("CSeq").unwrap(), "2 BYE");
    assert_eq!(bench.last().flow.remote.to_string(), "192.0.2.3:5070");
    let bye = bench.last().clone();
    bench.receive(&bye.response("200 OK", "", "", ""));
    bench.receive(&invite.response("200 OK", "one", loser, ANSWER));
    assert_eq!(bench.last().to_tag(), "one", "the loser's 200 is ACKed again");
    assert!(bench.last().start().starts_with("ACK "));
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    assert_eq!(bench.last().to_tag(), "two");
    assert_eq!(bench.names(), ["Progress 183 sdp", "Progress 180", "Answered"]);
}

#[test]
fn route_sets() {
    let rows = [
        // Record-Route of the 200, expected start line of the ACK, its Route values, where it goes
        (
            "Record-Route: <sip:192.0.2.9;lr>\r\nRecord-Route: <sip:192.0.2.8:5080;lr>\r\n",
            "ACK sip:peer@192.0.2.2:5060",
            vec!["<sip:192.0.2.8:5080;lr>", "<sip:192.0.2.9;lr>"],
            "192.0.2.8:5080",
        ),
        (
            "Record-Route: <sip:192.0.2.9>\r\n",
            "ACK sip:192.0.2.9",
            vec!["<sip:peer@192.0.2.2:5060>"],
            "192.0.2.9:5060",
        ),
        (
            "Record-Route: <sip:proxy.example;r2=on;lr>, <sip:10.1.1.1;r2=on;lr=true>\r\n",
            "ACK sip:peer@192.0.2.2:5060",
            vec!["<sip:10.1.1.1;r2=on;lr=true>", "<sip:proxy.example;r2=on;lr>"],
            // A private first hop of a public peer: the flow that worked.
            "192.0.2.2:5060",
        ),
    ];
    for (head, start, routes, remote) in rows {
        let (mut bench, _) = placed();
        let invite = bench.last().clone();
        let ok = invite.response("200 OK", "tag", &format!("{CONTACT}{head}"), ANSWER);
        bench.receive(&ok);
        assert_eq!(bench.last().start(), start);
        assert_eq!(bench.last().all("Route"), routes);
        assert_eq!(bench.last().flow.remote.to_string(), remote);
    }
}

#[test]
fn the_ack_of_a_refusal_keeps_the_route_of_the_invite() {
    let mut bench = Bench::new();
    let mut invite = outgoing(DialogId::outbound(1), bench.flow);
    invite.route = vec!["<sip:192.0.2.2;lr>".to_owned()];
    bench.command(Command::Invite(Box::new(invite)));
    let invite = bench.last().clone();
    let head = "Record-Route: <sip:192.0.2.9;lr>\r\n";
    bench.receive(&invite.response("486 Busy Here", "tag", head, ""));
    assert_eq!(bench.last().all("Route"), ["<sip:192.0.2.2;lr>"]);
    assert_eq!(bench.last().flow, invite.flow);
}

#[test]
fn long_requests_go_by_tcp_if_there_is_tcp() {
    for (advertised_tcp, transport) in
        [(None, Transport::Udp), (Some("192.0.2.1:5060".to_owned()), Transport::Tcp)]
    {
        let mut bench = Bench::with(Config { advertised_tcp, ..config() });
        let mut invite = outgoing(DialogId::outbound(1), bench.flow);
        invite.headers = vec![("X-Long".to_owned(), "x".repeat(1_300))];
        bench.command(Command::Invite(Box::new(invite)));
        assert_eq!(bench.last().flow.transport, transport);
        let via = bench.last().header("Via").unwrap();
        let expected = if transport == Transport::Udp { "SIP/2.0/UDP" } else { "SIP/2.0/TCP" };
        assert!(via.starts_with(expected), "{via}");
    }
}

#[test]
fn a_failed_flow_ends_what_waits_on_it() {
    let (mut bench, _) = placed();
    bench.handle(Input::FlowFailed { flow: bench.flow });
    assert_eq!(bench.names(), ["Failed Transport 0"]);
    bench.assert_forgotten();
}

#[test]
fn commands_in_the_wrong_state_are_refused() {
    let nobody = DialogId(77);
    let (mut bench, dialog) = placed();
    let sdp = Bytes::from_static(b"v=0\r\n");
    bench.command(Command::Ring { dialog: nobody, sdp: None });
    bench.command(Command::Accept { dialog, sdp: sdp.clone() });
    bench.command(Command::Reoffer { dialog, sdp: sdp.clone() });
    bench.command(Command::Refer {
        dialog,
        target: "sip:a@b".to_owned(),
        replaces: None,
        referred_by: None,
        headers: Vec::new(),
    });
    bench.command(Command::AnswerOffer { dialog, answer: Ok(sdp) });
    let again = outgoing(dialog, bench.flow);
    bench.command(Command::Invite(Box::new(again)));
    let expected = ["ring", "accept", "reoffer", "refer", "answer_offer", "invite"];
    assert_eq!(bench.names(), expected.map(|name| format!("CommandRefused {name}")));
}

#[test]
fn the_contacts_of_a_redirect() {
    let contacts = |head: &str| {
        let (mut bench, _) = placed();
        let moved = bench.last().response("302 Moved Temporarily", "tag", head, "");
        bench.receive(&moved);
        let Some(Event::Failed { failure, .. }) = bench.events.last() else { panic!() };
        failure.contacts.clone()
    };
    let head = "Contact: <sip:c@c.example>;q=0.1, \"A\" <sip:a@a.example;transport=tcp>\r\n\
                Contact: <tel:+15550100>;q=0.5, *\r\nm: sip:b@b.example;q=0.9\r\n";
    let order =
        ["sip:a@a.example;transport=tcp", "sip:b@b.example", "tel:+15550100", "sip:c@c.example"];
    assert_eq!(contacts(head), order);
    let many: String = (0..9).map(|n| format!("Contact: <sip:{n}@a.example>\r\n")).collect();
    assert_eq!(contacts(&many).len(), 5);
    assert!(contacts("").is_empty());
}
