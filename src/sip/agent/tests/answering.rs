//! Incoming calls up to the ACK.

use super::*;

#[test]
fn answers_an_invite_and_ends_with_their_bye() {
    let (mut bench, _, to) = answered();
    assert_eq!(bench.starts(0), ["100 Trying", "200 OK"]);
    let ok = bench.sent[1].clone();
    assert_eq!(ok.body(), ANSWER);
    assert_eq!(ok.header("Contact").unwrap(), "<sip:192.0.2.1:5060>");
    assert!(
        ok.header("Via").unwrap().ends_with(";rport=5060;received=192.0.2.2")
            || ok.header("Via").unwrap().contains("rport=5060")
    );
    bench.receive(&request("BYE", "bye", 2, &to, "Reason: Q.850;cause=16\r\n", ""));
    assert_eq!(bench.last().start(), "200 OK");
    assert_eq!(bench.names(), ["Incoming", "Established", "ByeReceived", "Terminated"]);
    bench.assert_forgotten();
}

#[test]
fn facts_of_an_invite() {
    let mut bench = Bench::new();
    let head = "P-Asserted-Identity: <sip:+15550177@carrier.example>\r\nUser-Agent: sbc/1\r\n\
                X-Twilio-CallSid: CA1\r\n";
    bench.receive(&request("INVITE", "inv", 1, TO, head, OFFER));
    let Some(Event::Incoming { facts, offer, .. }) = bench.events.first() else { panic!() };
    assert_eq!(offer.as_deref(), Some(OFFER.as_bytes()));
    assert_eq!(facts.trunk.as_ref().unwrap().0, "carrier");
    assert_eq!(facts.from_user.reveal(), "+15550177");
    assert_eq!(facts.from_display.as_ref().unwrap().reveal(), "Caller");
    assert_eq!(facts.request_user.reveal(), "1000");
    assert_eq!(facts.to_user.reveal(), "1000");
    assert_eq!(facts.provider_call_id.as_deref(), Some("CA1"));
    assert_eq!(facts.user_agent.as_deref(), Some("sbc/1"));
    assert_eq!(facts.x_headers, [("X-Twilio-CallSid".to_owned(), "CA1".to_owned())]);
}

#[test]
fn a_200_without_ack_is_repeated_then_hung_up() {
    for mut bench in [Bench::new(), Bench::tcp()] {
        bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
        let dialog = bench.incoming();
        bench.command(Command::Accept { dialog, sdp: Bytes::from_static(b"v=0\r\n") });
        let from = bench.sent.len();
        bench.pass_ms(31_999);
        let at: Vec<u128> = bench.sent[from..].iter().map(|sent| sent.at_ms).collect();
        assert_eq!(at, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
        assert!(bench.sent[from..].iter().all(|sent| sent.start() == "200 OK"));
        bench.pass_ms(1);
        assert!(bench.last().start().starts_with("BYE sip:peer@192.0.2.2:5060"));
        assert_eq!(bench.names(), ["Incoming", "AckTimedOut"]);
        let bye = bench.last().response("200 OK", "", "", "");
        bench.receive(&bye);
        assert_eq!(bench.names(), ["Incoming", "AckTimedOut", "Terminated"]);
        bench.assert_forgotten();
    }
}

#[test]
fn a_late_ack_keeps_the_call() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
    let dialog = bench.incoming();
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(b"v=0\r\n") });
    let to = to_us(bench.last());
    bench.pass_ms(31_000);
    bench.receive(&request("ACK", "ack", 1, &to, "", ""));
    let sent = bench.sent.len();
    bench.pass_ms(60_000);
    assert_eq!(bench.sent.len(), sent);
    assert_eq!(bench.names(), ["Incoming", "Established"]);
}

#[test]
fn repeated_invites_are_absorbed() {
    let mut bench = Bench::new();
    let invite = request("INVITE", "inv", 1, TO, "", OFFER);
    bench.receive(&invite);
    bench.receive(&invite);
    let dialog = bench.incoming();
    bench.command(Command::Ring { dialog, sdp: None });
    bench.receive(&invite);
    assert_eq!(bench.starts(0), ["100 Trying", "100 Trying", "180 Ringing", "180 Ringing"]);
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(b"v=0\r\n") });
    let sent = bench.sent.len();
    bench.receive(&invite);
    assert_eq!(bench.sent.len(), sent, "the 200 has its own timer");
    assert_eq!(bench.names(), ["Incoming"]);
}

#[test]
fn refusals_are_repeated_until_their_ack() {
    for (mut bench, expected) in [
        (Bench::new(), vec![0, 500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]),
        (Bench::tcp(), vec![0]),
    ] {
        bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
        let dialog = bench.incoming();
        bench.command(Command::Reject { dialog, rejection: Rejection::status(486) });
        bench.pass_ms(32_000);
        let at: Vec<u128> = bench.sent[1..].iter().map(|sent| sent.at_ms).collect();
        assert_eq!(at, expected);
        assert!(bench.sent[1..].iter().all(|sent| sent.start() == "486 Busy Here"));
        assert_eq!(bench.names(), ["Incoming", "Terminated"]);
        bench.assert_forgotten();
    }
}

#[test]
fn an_ack_stops_the_repetition_of_a_refusal() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
    let dialog = bench.incoming();
    let rejection = Rejection {
        retry_after_s: Some(5),
        warning: Some((304, "no \"common\" codec".to_owned())),
        ..Rejection::status(488)
    };
    bench.command(Command::Reject { dialog, rejection });
    let refusal = bench.last().clone();
    assert_eq!(refusal.header("Retry-After").unwrap(), "5");
    assert_eq!(refusal.header("Warning").unwrap(), "304 trunkline \"no 'common' codec\"");
    bench.receive(&request("ACK", "inv", 1, &to_us(&refusal), "", ""));
    let sent = bench.sent.len();
    bench.pass_ms(40_000);
    assert_eq!(bench.sent.len(), sent);
    bench.assert_forgotten();
}

#[test]
fn cancel_before_the_answer() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
    let dialog = bench.incoming();
    bench.command(Command::Ring { dialog, sdp: None });
    let tag = bench.last().to_tag();
    bench.receive(&request("CANCEL", "inv", 1, TO, "Reason: SIP;cause=200\r\n", ""));
    assert_eq!(bench.starts(2), ["200 OK", "487 Request Terminated"]);
    assert!(bench.sent[2..].iter().all(|sent| sent.to_tag() == tag));
    assert_eq!(bench.names(), ["Incoming", "Canceled", "Terminated"]);
    bench.pass_ms(600);
    assert_eq!(bench.last().start(), "487 Request Terminated", "repeated until its ACK");
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(b"v=0\r\n") });
    assert_eq!(bench.names().last().unwrap(), "CommandRefused accept");
    bench.assert_forgotten();
}

#[test]
fn cancel_after_the_answer_changes_nothing() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
    let dialog = bench.incoming();
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(b"v=0\r\n") });
    let to = to_us(bench.last());
    bench.receive(&request("CANCEL", "inv", 1, TO, "", ""));
    assert_eq!(bench.starts(2), ["200 OK"]);
    assert_eq!(bench.last().header("CSeq").unwrap(), "1 CANCEL");
    bench.receive(&request("ACK", "ack", 1, &to, "", ""));
    assert_eq!(bench.names(), ["Incoming", "Established"]);
}

#[test]
fn delayed_offer() {
    for (body, expected) in [(ANSWER, Some(ANSWER)), ("", None)] {
        let mut bench = Bench::new();
        bench.receive(&request("INVITE", "inv", 1, TO, "", ""));
        let dialog = bench.incoming();
        assert!(matches!(&bench.events[0], Event::Incoming { offer: None, .. }));
        bench.command(Command::Accept { dialog, sdp: Bytes::from_static(OFFER.as_bytes()) });
        let to = to_us(bench.last());
        bench.receive(&request("ACK", "ack", 1, &to, "", body));
        let Some(Event::Established { answer, .. }) = bench.events.last() else { panic!() };
        assert_eq!(answer.as_deref(), expected.map(str::as_bytes));
    }
}

#[test]
fn bye_before_the_ack_and_in_an_early_dialog() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
    let dialog = bench.incoming();
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(b"v=0\r\n") });
    let to = to_us(bench.last());
    bench.receive(&request("BYE", "bye", 2, &to, "", ""));
    assert_eq!(bench.names(), ["Incoming", "ByeReceived", "Terminated"]);
    bench.assert_forgotten();

    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
    let dialog = bench.incoming();
    bench.command(Command::Ring { dialog, sdp: Some(Bytes::from_static(b"v=0\r\n")) });
    assert_eq!(bench.last().start(), "183 Session Progress");
    let to = to_us(bench.last());
    bench.receive(&request("BYE", "bye", 2, &to, "", ""));
    assert_eq!(bench.starts(2), ["200 OK", "487 Request Terminated"]);
    assert_eq!(bench.names(), ["Incoming", "Canceled", "Terminated"]);
    bench.assert_forgotten();
}

#[test]
fn our_bye_waits_for_the_ack() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
    let dialog = bench.incoming();
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(b"v=0\r\n") });
    let to = to_us(bench.last());
    bench.command(Command::Bye {
        dialog,
        reason: Some("Q.850;cause=16".to_owned()),
        headers: Vec::new(),
    });
    assert_eq!(bench.last().start(), "200 OK");
    bench.receive(&request("ACK", "ack", 1, &to, "", ""));
    assert_eq!(bench.last().header("Reason").unwrap(), "Q.850;cause=16");
    let ok = bench.last().response("200 OK", "", "", "");
    bench.receive(&ok);
    assert_eq!(bench.names(), ["Incoming", "Established", "Terminated"]);
    bench.assert_forgotten();
}

#[test]
fn what_outside_requests_get() {
    let tagged = "<sip:1000@192.0.2.1>;tag=unknown";
    let rows = [
        ("OPTIONS", TO, "", "", "200 OK"),
        ("OPTIONS", TO, "Require: nothere\r\n", "", "420 Bad Extension"),
        ("OPTIONS", TO, "Replaces: a;to-tag=b;from-tag=c\r\n", "", "400 Bad Request"),
        ("INVITE", TO, "Require: nothere, timer\r\n", OFFER, "420 Bad Extension"),
        ("INVITE", TO, "Content-Type: text/plain\r\n", "hello", "415 Unsupported Media Type"),
        ("INVITE", TO, "Content-Encoding: gzip\r\n", OFFER, "415 Unsupported Media Type"),
        ("INVITE", tagged, "", OFFER, "481 Call/Transaction Does Not Exist"),
        ("BYE", tagged, "", "", "481 Call/Transaction Does Not Exist"),
        ("BYE", TO, "", "", "481 Call/Transaction Does Not Exist"),
        ("CANCEL", TO, "", "", "481 Call/Transaction Does Not Exist"),
        ("REGISTER", TO, "", "", "405 Method Not Allowed"),
        ("MESSAGE", TO, "", "", "405 Method Not Allowed"),
        ("DANCE", TO, "", "", "501 Not Implemented"),
        ("SUBSCRIBE", TO, "Event: presence\r\n", "", "489 Bad Event"),
        ("NOTIFY", TO, "Event: message-summary\r\n", "", "200 OK"),
        ("NOTIFY", TO, "Event: dialog\r\n", "", "489 Bad Event"),
        ("REFER", TO, "Refer-To: <sip:a@192.0.2.9>\r\n", "", "603 Decline"),
    ];
    for (method, to, head, body, expected) in rows {
        let mut bench = Bench::new();
        bench.receive(&request(method, "x", 1, to, head, body));
        assert_eq!(bench.starts(0), [expected], "{method} {head}");
        assert!(!bench.last().to_tag().is_empty());
        if expected.starts_with("405") || expected.starts_with("501") {
            assert!(bench.last().header("Allow").unwrap().contains("INVITE"));
        }
        if expected.starts_with("415") {
            assert_eq!(bench.last().header("Accept").unwrap(), "application/sdp");
        }
        if expected.starts_with("420") {
            assert!(bench.last().header("Unsupported").is_some());
        }
        assert!(bench.events.is_empty());
        let first = bench.last().text.clone();
        bench.receive(&request(method, "x", 1, to, head, body));
        assert_eq!(bench.last().text, first, "a repetition gets the same answer");
        bench.assert_forgotten();
    }
}

#[test]
fn malformed_requests_get_their_answer() {
    let rows = [
        (request("INVITE", "a", 1, TO, "", "").replace("SIP/2.0\r\n", "SIP/7.0\r\n"), "505"),
        (request("OPTIONS", "a", 1, TO, "", "").replace("sip:1000@", "nobody:1000@"), "416"),
        (
            request("OPTIONS", "a", 1, TO, "", "").replace("CSeq: 1 OPTIONS", "CSeq: 1 INVITE"),
            "400",
        ),
    ];
    for (text, expected) in rows {
        let mut bench = Bench::new();
        bench.receive(&text);
        assert_eq!(bench.sent.len(), 1, "{text}");
        assert!(bench.last().start().starts_with(expected), "{}", bench.last().text);
        assert_eq!(bench.counted.len(), 1);
        bench.assert_forgotten();
    }
    let mut bench = Bench::new();
    bench.receive("not SIP at all\r\n\r\n");
    assert!(bench.sent.is_empty());
    assert_eq!(bench.counted, ["start_line"]);
}

#[test]
fn unknown_sources() {
    let stranger: std::net::SocketAddr = "203.0.113.5:5060".parse().unwrap();
    for (policy, expected) in
        [(UnknownSource::Forbid, vec!["403 Forbidden"]), (UnknownSource::Silent, vec![])]
    {
        let mut bench = Bench::with(Config { unknown_source: policy, ..config() });
        bench.flow.remote = stranger;
        bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
        bench.receive(
            &request("OPTIONS", "opt", 1, TO, "", "").replace("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"),
        );
        assert_eq!(bench.starts(0), expected);
        assert!(
            bench.sent.iter().all(|sent| sent.header("Server").is_none()),
            "no name for scanners"
        );
        assert_eq!(bench.counted, ["unknown_source", "version"]);
        assert_eq!(bench.agent.counts(), Counts::default(), "nothing is kept for strangers");
    }
}

#[test]
fn merged_invites() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "one", 1, TO, "", OFFER));
    bench.receive(&request("INVITE", "two", 1, TO, "", OFFER));
    assert_eq!(bench.starts(0), ["100 Trying", "482 Loop Detected"]);
    assert_eq!(bench.names(), ["Incoming"]);
}

#[test]
fn overload_and_drain() {
    let limits = Limits { dialogs: 1, ..Limits::default() };
    let mut bench = Bench::with(Config { limits, ..config() });
    bench.receive(&request("INVITE", "one", 1, TO, "", OFFER));
    bench.receive(&request("INVITE", "two", 1, TO, "", OFFER).replace("call-1", "call-2"));
    assert_eq!(bench.last().start(), "503 Service Unavailable");
    assert_eq!(bench.last().header("Retry-After").unwrap(), "10");

    // The table of transactions is full: nothing begins, but what lives may end.
    let limits = Limits { transactions: 1, ..Limits::default() };
    let mut bench = Bench::with(Config { limits, ..config() });
    bench.receive(&request("INVITE", "one", 1, TO, "", OFFER));
    bench.receive(&request("OPTIONS", "opt", 1, TO, "", "").replace("call-1", "call-2"));
    assert_eq!(bench.last().start(), "503 Service Unavailable");
    bench.receive(&request("CANCEL", "one", 1, TO, "", ""));
    assert_eq!(bench.names(), ["Incoming", "Canceled", "Terminated"]);
    bench.assert_forgotten();

    let (mut bench, dialog, to) = answered();
    bench.command(Command::Drain);
    bench.receive(&request("INVITE", "two", 1, TO, "", OFFER).replace("call-1", "call-2"));
    assert_eq!(bench.last().start(), "503 Service Unavailable");
    bench.receive(&request("OPTIONS", "opt", 1, TO, "", "").replace("call-1", "call-3"));
    assert_eq!(bench.last().start(), "503 Service Unavailable");
    bench.receive(&request("OPTIONS", "opt2", 2, &to, "", ""));
    assert_eq!(bench.last().start(), "200 OK", "the call that lives is served");
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    assert!(bench.last().start().starts_with("BYE "));
}

#[test]
fn nobody_answers_on_our_side() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
    bench.pass(Duration::from_secs(180));
    assert_eq!(bench.sent[1].start(), "480 Temporarily Unavailable");
    assert_eq!(bench.names(), ["Incoming", "Terminated"]);
    bench.assert_forgotten();
}

#[test]
fn responses_find_their_way_back() {
    let rows = [
        // Via host and port, rport, where the response goes: source is 192.0.2.2:40000
        ("192.0.2.2:5070;branch=z9hG4bKx;rport", "192.0.2.2:40000"),
        ("192.0.2.2:5070;branch=z9hG4bKx", "192.0.2.2:5070"),
        ("192.0.2.2;branch=z9hG4bKx", "192.0.2.2:5060"),
        ("10.0.0.7:5070;branch=z9hG4bKx", "192.0.2.2:40000"),
        ("pbx.example:5070;branch=z9hG4bKx", "192.0.2.2:40000"),
        ("10.0.0.7:5070;branch=z9hG4bKx;maddr=192.0.2.2", "192.0.2.2:5070"),
        ("192.0.2.2:5070;branch=z9hG4bKx;maddr=198.51.100.1", "192.0.2.2:40000"),
    ];
    for (via, expected) in rows {
        let mut bench = Bench::new();
        bench.flow.remote = "192.0.2.2:40000".parse().unwrap();
        let text = request("OPTIONS", "x", 1, TO, "", "")
            .replace("192.0.2.2:5060;branch=z9hG4bKx;rport", via);
        bench.receive(&text);
        assert_eq!(bench.last().flow.remote.to_string(), expected, "{via}");
        let stamped = bench.last().header("Via").unwrap();
        assert_eq!(stamped.contains("rport=40000"), via.contains("rport"));
    }
}

#[test]
fn record_route_is_copied_and_followed() {
    let mut bench = Bench::new();
    let head = "Record-Route: <sip:192.0.2.8;lr>, <sip:192.0.2.9;lr=on>\r\n";
    bench.receive(&request("INVITE", "inv", 1, TO, head, OFFER));
    let dialog = bench.incoming();
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(b"v=0\r\n") });
    let record = "<sip:192.0.2.8;lr>, <sip:192.0.2.9;lr=on>";
    assert_eq!(bench.last().header("Record-Route").unwrap(), record);
    let to = to_us(bench.last());
    bench.receive(&request("ACK", "ack", 1, &to, "", ""));
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    let bye = bench.last();
    assert_eq!(bye.start(), "BYE sip:peer@192.0.2.2:5060");
    assert_eq!(bye.all("Route"), ["<sip:192.0.2.8;lr>", "<sip:192.0.2.9;lr=on>"]);
    assert_eq!(bye.flow.remote.to_string(), "192.0.2.8:5060");
    assert_eq!(bye.header("From").unwrap(), to);
    assert_eq!(bye.header("To").unwrap(), "\"Caller\" <sip:+15550100@192.0.2.2>;tag=their");
}

#[test]
fn a_caller_who_cannot_read_sdp_gets_406() {
    for (accept, status) in [
        ("Accept: text/nobodyKnowsThis\r\n", "406 Not Acceptable"),
        ("Accept: application/sdp;level=1, text/plain\r\n", "100 Trying"),
        ("Accept: text/plain\r\nAccept: */*\r\n", "100 Trying"),
        ("", "100 Trying"),
    ] {
        let mut bench = Bench::new();
        bench.receive(&request("INVITE", "inv", 1, TO, accept, OFFER));
        assert_eq!(bench.last().start(), status, "{accept}");
    }
}

#[test]
fn who_a_caller_is_said_to_be() {
    let token = "e".repeat(5_000);
    let head = format!(
        "P-Asserted-Identity: \"Ada\" <sip:+15550177;verstat=TN-Validation-Passed-A@c.example;user=phone>\r\n\
         P-Asserted-Identity: <tel:+15550178>\r\nP-Preferred-Identity: <sip:p@c.example>\r\n\
         Remote-Party-ID: <sip:r@c.example>;party=calling;privacy=full\r\nPrivacy: id; critical\r\n\
         Diversion: <sip:+15550188@c.example>;reason=no-answer, <sip:+15550199@c.example>;reason=unconditional\r\n\
         History-Info: <sip:a@c.example?Reason=SIP%3Bcause%3D302>;index=1\r\nUser-to-User: 56a3;encoding=hex\r\n\
         Identity: {token};info=<https://c.example/a.pem>;ppt=shaken\r\ny: second\r\nX-Customer: 4711\r\n"
    );
    let mut bench = Bench::new();
    let anonymous = request("INVITE", "inv", 1, TO, &head, OFFER)
        .replace("sip:+15550100@192.0.2.2>", "sip:anonymous@anonymous.invalid>");
    bench.receive(&anonymous);
    let Some(Event::Incoming { facts, .. }) = bench.events.first() else { panic!() };
    let said = &facts.identity;
    let texts = |values: &[crate::types::Pii<String>]| {
        values.iter().map(|value| value.reveal().clone()).collect::<Vec<_>>()
    };
    assert_eq!(facts.from_user.reveal(), "+15550177", "without its parameters");
    assert_eq!(said.from.reveal(), "sip:anonymous@anonymous.invalid");
    assert!(said.is_anonymous);
    assert_eq!(said.asserted.len(), 2);
    assert_eq!(said.asserted[1].reveal(), "tel:+15550178");
    assert_eq!(texts(&said.preferred), ["sip:p@c.example"]);
    assert_eq!(texts(&said.remote_party), ["<sip:r@c.example>;party=calling;privacy=full"]);
    assert_eq!(said.privacy, ["id", "critical"]);
    let diverted = [
        "<sip:+15550188@c.example>;reason=no-answer",
        "<sip:+15550199@c.example>;reason=unconditional",
    ];
    assert_eq!(texts(&said.diversion), diverted);
    assert_eq!(texts(&said.history), ["<sip:a@c.example?Reason=SIP%3Bcause%3D302>;index=1"]);
    assert_eq!(texts(&said.user_to_user), ["56a3;encoding=hex"]);
    let identity = format!("{token};info=<https://c.example/a.pem>;ppt=shaken");
    assert_eq!(texts(&said.identity), [identity.as_str(), "second"]);
    assert_eq!(said.verstat.as_deref(), Some("TN-Validation-Passed-A"));
    // Whoever says nothing is not anonymous, and Twilio's word counts where the number has none.
    for (head, verstat) in [
        ("X-Twilio-VerStat: TN-Validation-Failed-B\r\n", Some("TN-Validation-Failed-B")),
        ("X-Twilio-VerStat: <b>\r\n", None),
        ("Privacy: none\r\n", None),
    ] {
        let mut bench = Bench::new();
        bench.receive(&request("INVITE", "inv", 1, TO, head, OFFER));
        let Some(Event::Incoming { facts, .. }) = bench.events.first() else { panic!() };
        assert_eq!(facts.identity.verstat.as_deref(), verstat);
        assert!(!facts.identity.is_anonymous, "{head}");
    }
}
