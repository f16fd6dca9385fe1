//! Requests within an answered call.

use super::*;

const SDP: &str = "v=0\r\no=- 9 9 IN IP4 192.0.2.2\r\ns=-\r\nt=0 0\r\na=sendonly\r\n";

fn sdp(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn a_reinvite_is_answered_and_repeated_until_its_ack() {
    let (mut bench, dialog, to) = answered();
    let reinvite = request("INVITE", "re", 2, &to, "", SDP);
    bench.receive(&reinvite);
    let Some(Event::Offered { offer, .. }) = bench.events.last() else { panic!() };
    assert_eq!(offer.as_deref(), Some(SDP.as_bytes()));
    let from = bench.sent.len();
    bench.receive(&reinvite);
    assert_eq!(bench.starts(from), ["100 Trying"]);
    bench.command(Command::AnswerOffer { dialog, answer: Ok(sdp(ANSWER)) });
    bench.pass_ms(600);
    assert_eq!(bench.starts(from + 1), ["200 OK", "200 OK"]);
    assert_eq!(to_us(bench.last()), to);
    bench.receive(&request("ACK", "reack", 2, &to, "", ""));
    let sent = bench.sent.len();
    bench.pass_ms(40_000);
    assert_eq!(bench.sent.len(), sent);
    assert_eq!(bench.names(), ["Incoming", "Established", "Offered"]);
}

#[test]
fn a_reinvite_without_offer_gets_ours() {
    for (body, expected) in [(ANSWER, "OfferAnswered"), ("", "OfferAnswered 0")] {
        let (mut bench, dialog, to) = answered();
        bench.receive(&request("INVITE", "re", 2, &to, "", ""));
        assert!(matches!(bench.events.last(), Some(Event::Offered { offer: None, .. })));
        bench.command(Command::AnswerOffer { dialog, answer: Ok(sdp(OFFER)) });
        bench.receive(&request("ACK", "reack", 2, &to, "", body));
        assert_eq!(bench.names().last().unwrap(), expected);
    }
}

#[test]
fn a_refused_or_canceled_or_ignored_reinvite_keeps_the_call() {
    let (mut bench, dialog, to) = answered();
    bench.receive(&request("INVITE", "re", 2, &to, "", SDP));
    bench.command(Command::AnswerOffer { dialog, answer: Err(Rejection::status(488)) });
    assert_eq!(bench.last().start(), "488 Not Acceptable Here");
    bench.receive(&request("ACK", "re", 2, &to, "", ""));

    bench.receive(&request("INVITE", "re3", 3, &to, "", SDP));
    bench.receive(&request("CANCEL", "re3", 3, &to, "", ""));
    assert_eq!(bench.last().start(), "487 Request Terminated");
    bench.receive(&request("ACK", "re3", 3, &to, "", ""));
    bench.command(Command::AnswerOffer { dialog, answer: Ok(sdp(ANSWER)) });
    assert_eq!(bench.names().last().unwrap(), "CommandRefused answer_offer");

    bench.receive(&request("INVITE", "re4", 4, &to, "", SDP));
    bench.pass(Duration::from_secs(20));
    assert!(bench.sent.iter().any(|sent| sent.start() == "500 Server Internal Error"));
    bench.receive(&request("ACK", "re4", 4, &to, "", ""));
    bench.receive(&request("BYE", "bye", 5, &to, "", ""));
    assert_eq!(bench.names().last().unwrap(), "Terminated");
    bench.assert_forgotten();
}

#[test]
fn offers_that_collide() {
    // Theirs is open, another comes.
    let (mut bench, _, to) = answered();
    bench.receive(&request("INVITE", "re", 2, &to, "", SDP));
    bench.receive(&request("INVITE", "re3", 3, &to, "", SDP));
    assert_eq!(bench.last().start(), "500 Server Internal Error");
    let wait: u32 = bench.last().header("Retry-After").unwrap().parse().unwrap();
    assert!(wait <= 10);
    bench.receive(&request("UPDATE", "up", 4, &to, "", SDP));
    assert_eq!(bench.last().start(), "500 Server Internal Error");

    // Ours is open.
    let (mut bench, dialog, to) = answered();
    bench.command(Command::Reoffer { dialog, sdp: sdp(OFFER) });
    bench.receive(&request("INVITE", "re", 2, &to, "", SDP));
    assert_eq!(bench.last().start(), "491 Request Pending");
    bench.receive(&request("UPDATE", "up", 3, &to, "", SDP));
    assert_eq!(bench.last().start(), "491 Request Pending");
    bench.receive(&request("UPDATE", "up4", 4, &to, "", ""));
    assert_eq!(bench.last().start(), "200 OK");
}

#[test]
fn glare_is_tried_again() {
    // 0 to 2 s for the callee, 2.1 to 4 s for the caller.
    let (bench, dialog, _) = answered();
    let callee = (bench, dialog, 0..=2_000);
    let (mut bench, dialog) = placed();
    let ok = bench.last().response("200 OK", "tag", CONTACT, ANSWER);
    bench.receive(&ok);
    let caller = (bench, dialog, 2_100..=4_000);
    for (mut bench, dialog, window) in [callee, caller] {
        bench.command(Command::Reoffer { dialog, sdp: sdp(OFFER) });
        let glare = bench.last().response("491 Request Pending", "", "", "");
        bench.receive(&glare);
        let (from, at) = (bench.sent.len(), (bench.now - bench.start).as_millis());
        bench.pass_ms(4_100);
        assert!(bench.sent[from].start().starts_with("INVITE "));
        assert_eq!(bench.sent[from].body(), OFFER);
        assert!(window.contains(&(bench.sent[from].at_ms - at)), "{}", bench.sent[from].at_ms - at);
        let ok = bench.sent[from].response("200 OK", "", CONTACT, ANSWER);
        bench.receive(&ok);
        assert_eq!(bench.names().last().unwrap(), "OfferAnswered");
    }
}

#[test]
fn our_reoffer_refused() {
    for (status, starts, events) in [
        ("488 Not Acceptable Here", vec!["ACK"], "OfferAnswered 488"),
        ("481 Call/Transaction Does Not Exist", vec!["ACK", "BYE"], "OfferAnswered 481"),
    ] {
        let (mut bench, dialog, _) = answered();
        bench.command(Command::Reoffer { dialog, sdp: sdp(OFFER) });
        let refusal = bench.last().response(status, "", "", "");
        let from = bench.sent.len();
        bench.receive(&refusal);
        let methods: Vec<&str> =
            bench.starts(from).iter().map(|start| start.split(' ').next().unwrap()).collect();
        assert_eq!(methods, starts);
        assert_eq!(bench.names().last().unwrap(), events);
    }
}

#[test]
fn a_reoffer_nobody_answers_ends_the_call() {
    let (mut bench, dialog, _) = answered();
    bench.command(Command::Reoffer { dialog, sdp: sdp(OFFER) });
    bench.pass(Duration::from_secs(64));
    assert_eq!(bench.names()[2..], ["OfferAnswered 408", "Terminated"]);
    bench.assert_forgotten();
}

#[test]
fn targets_are_refreshed() {
    let moved = "Contact: <sip:moved@192.0.2.77:5099>\r\n";
    let contact = "Contact: <sip:peer@192.0.2.2:5060>\r\n";
    for method in ["INVITE", "UPDATE"] {
        let (mut bench, dialog, to) = answered();
        bench.receive(&request(method, "re", 2, &to, "", SDP).replace(contact, moved));
        bench.command(Command::AnswerOffer { dialog, answer: Ok(sdp(ANSWER)) });
        assert_eq!(bench.last().start(), "200 OK");
        bench.command(Command::Info {
            dialog,
            content_type: "application/dtmf".to_owned(),
            body: Bytes::from_static(b"1"),
            spacing: Duration::ZERO,
        });
        assert_eq!(bench.last().start(), "INFO sip:moved@192.0.2.77:5099");
        assert_eq!(bench.last().flow.remote.to_string(), "192.0.2.77:5099");
    }
    let (mut bench, dialog, _) = answered();
    bench.command(Command::Reoffer { dialog, sdp: sdp(OFFER) });
    let ok = bench.last().response("200 OK", "", moved, ANSWER);
    bench.receive(&ok);
    assert_eq!(bench.last().start(), "ACK sip:moved@192.0.2.77:5099");
}

/// A key of ours, to last 100 ms with 60 ms behind it.
fn key(dialog: DialogId, key: &'static str) -> Command {
    Command::Info {
        dialog,
        content_type: "application/dtmf-relay".to_owned(),
        body: Bytes::from_static(key.as_bytes()),
        spacing: Duration::from_millis(160),
    }
}

/// INFOs of ours since `from`, repetitions left out: when they left, and what they say.
fn infos(bench: &Bench, from: usize) -> Vec<(u128, Sent)> {
    let mut seen = Vec::new();
    for sent in bench.sent[from..].iter().filter(|sent| sent.start().starts_with("INFO ")) {
        if !seen.iter().any(|(_, before): &(u128, Sent)| before.branch() == sent.branch()) {
            seen.push((sent.at_ms, sent.clone()));
        }
    }
    seen
}

#[test]
fn keys_by_info_leave_one_after_the_other() {
    let (mut bench, dialog, _) = answered();
    let (from, begin) = (bench.sent.len(), (bench.now - bench.start).as_millis());
    for text in ["1", "2", "3", "4"] {
        bench.command(key(dialog, text));
    }
    // The first is lost and repeated: the second waits, however late it is.
    bench.pass_ms(700);
    assert_eq!(infos(&bench, from).len(), 1);
    let sent = infos(&bench, from).remove(0).1;
    bench.receive(&sent.response("200 OK", "", "", ""));
    // An answer at once, also one that refuses: the third follows as a tone would.
    for (n, status) in [(1, "200 OK"), (2, "500 Server Internal Error")] {
        let (_, sent) = infos(&bench, from).remove(n);
        bench.receive(&sent.response("100 Trying", "", "", ""));
        bench.receive(&sent.response(status, "", "", ""));
        assert_eq!(infos(&bench, from).len(), n + 1);
        bench.pass_ms(200);
    }
    let sent = infos(&bench, from);
    let texts: Vec<_> = sent.iter().map(|(_, info)| info.body()).collect();
    assert_eq!(texts, ["1", "2", "3", "4"]);
    let times: Vec<_> = sent.iter().map(|(at, _)| at - begin).collect();
    assert_eq!(times, [0, 700, 860, 1_020]);
    // Who hangs up presses no more keys.
    bench.command(key(dialog, "5"));
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    let bye = bench.last().clone();
    bench.receive(&sent[3].1.response("200 OK", "", "", ""));
    bench.receive(&bye.response("200 OK", "", "", ""));
    assert_eq!(infos(&bench, from).len(), 4);
    bench.assert_forgotten();
}

#[test]
fn keys_by_info_wait_in_bounds_and_not_for_ever() {
    let (mut bench, dialog, _) = answered();
    let from = bench.sent.len();
    for _ in 0..66 {
        bench.command(key(dialog, "1"));
    }
    assert_eq!(bench.names()[2..], ["CommandRefused info"], "one on its way, 64 behind it");
    bench.pass(Duration::from_secs(40));
    // Nobody answers INFO there: half a minute later nobody wants the rest.
    assert_eq!(infos(&bench, from).len(), 1);
    assert_eq!(bench.names()[3..], ["CommandRefused info"]);
    bench.command(key(dialog, "2"));
    assert_eq!(infos(&bench, from).len(), 2);
}

#[test]
fn updates_before_the_answer() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
    let dialog = bench.incoming();
    bench.command(Command::Ring { dialog, sdp: None });
    let to = to_us(bench.last());
    bench.receive(&request("UPDATE", "up", 2, &to, "", ""));
    assert_eq!(bench.last().start(), "200 OK");
    bench.receive(&request("UPDATE", "up3", 3, &to, "", SDP));
    assert_eq!(bench.last().start(), "500 Server Internal Error");
    bench.receive(&request("INFO", "info", 4, &to, "", ""));
    assert_eq!(bench.last().start(), "200 OK");
}

#[test]
fn what_requests_within_a_call_get() {
    let rows = [
        ("OPTIONS", "", "", "200 OK", None),
        ("INFO", "", "", "200 OK", None),
        (
            "INFO",
            "Content-Type: application/dtmf-relay\r\n",
            "Signal=1\r\n",
            "200 OK",
            Some("Info"),
        ),
        ("INFO", "Content-Type: application/x-odd\r\n", "?", "200 OK", Some("Info")),
        ("INFO", "Info-Package: foo\r\n", "", "469 Bad Info Package", None),
        ("REFER", "Refer-To: <sip:a@192.0.2.9>\r\n", "", "603 Decline", None),
        ("NOTIFY", "Event: refer\r\n", "", "481 Call/Transaction Does Not Exist", None),
        ("NOTIFY", "Event: message-summary\r\n", "", "200 OK", None),
        ("NOTIFY", "Event: presence\r\n", "", "489 Bad Event", None),
        ("SUBSCRIBE", "Event: presence\r\n", "", "489 Bad Event", None),
        ("MESSAGE", "", "", "405 Method Not Allowed", None),
        ("PRACK", "RAck: 1 1 INVITE\r\n", "", "481 Call/Transaction Does Not Exist", None),
        ("DANCE", "", "", "501 Not Implemented", None),
        ("BYE", "Require: nothere\r\n", "", "420 Bad Extension", None),
    ];
    for (method, head, body, expected, event) in rows {
        let (mut bench, _, to) = answered();
        bench.receive(&request(method, "x", 2, &to, head, body));
        assert_eq!(bench.last().start(), expected, "{method} {head}");
        assert_eq!(bench.names().get(2).map(String::as_str), event, "{method} {head}");
    }
}

#[test]
fn requests_out_of_order() {
    let (mut bench, _, to) = answered();
    bench.receive(&request("INFO", "five", 5, &to, "", ""));
    bench.receive(&request("INFO", "three", 3, &to, "", ""));
    assert_eq!(bench.last().start(), "500 Server Internal Error");
    assert_eq!(bench.counted, ["cseq_too_low"]);
    // The tag of another dialog.
    bench.receive(&request("BYE", "bye", 6, &to, "", "").replace("tag=their", "tag=other"));
    assert_eq!(bench.last().start(), "481 Call/Transaction Does Not Exist");
    assert_eq!(bench.names(), ["Incoming", "Established"]);
}

#[test]
fn both_sides_hang_up_at_once() {
    let (mut bench, dialog, to) = answered();
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    let ours = bench.last().clone();
    bench.receive(&request("BYE", "bye", 2, &to, "", ""));
    assert_eq!(bench.last().start(), "200 OK");
    bench.receive(&ours.response("481 Call/Transaction Does Not Exist", "", "", ""));
    assert_eq!(bench.names(), ["Incoming", "Established", "Terminated"]);
    bench.assert_forgotten();
}

#[test]
fn a_bye_ends_an_open_offer_with_487() {
    let (mut bench, _, to) = answered();
    bench.receive(&request("INVITE", "re", 2, &to, "", SDP));
    let from = bench.sent.len();
    bench.receive(&request("BYE", "bye", 3, &to, "", ""));
    assert_eq!(bench.starts(from), ["200 OK", "487 Request Terminated"]);
    bench.assert_forgotten();
}

#[test]
fn a_late_answer_to_a_reinvite_is_acked_after_the_end() {
    let (mut bench, dialog, to) = answered();
    bench.command(Command::Reoffer { dialog, sdp: sdp(OFFER) });
    let reinvite = bench.last().clone();
    bench.receive(&request("BYE", "bye", 2, &to, "", ""));
    assert_eq!(bench.names().last().unwrap(), "Terminated");
    bench.receive(&reinvite.response("200 OK", "", CONTACT, ANSWER));
    assert!(bench.last().start().starts_with("ACK "));
    bench.assert_forgotten();
}
