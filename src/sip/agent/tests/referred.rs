//! REFER of theirs: what it gets, what its sender hears, and when our BYE goes.

use super::*;

/// A call of a trunk that lets the other side be replaced.
fn followed() -> (Bench, DialogId, String) {
    let mut config = config();
    config.trunks[0].policy.follows_refers = true;
    let mut bench = Bench::with(config);
    bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
    let dialog = bench.incoming();
    bench.command(Command::Accept { dialog, sdp: Bytes::from_static(ANSWER.as_bytes()) });
    let to = to_us(bench.last());
    bench.receive(&request("ACK", "ack", 1, &to, "", ""));
    (bench, dialog, to)
}

fn refer(cseq: u32, to: &str, head: &str) -> String {
    request("REFER", &format!("refer{cseq}"), cseq, to, head, "")
}

const REFER_TO: &str = "Refer-To: <sip:+15550111@192.0.2.3>\r\n";

/// Answers the NOTIFY that was sent last; gives its state and its sipfrag.
fn heard(bench: &mut Bench, status: &str) -> (String, String) {
    let notify = bench.sent.iter().rev().find(|sent| sent.start().starts_with("NOTIFY")).unwrap();
    let notify = notify.clone();
    bench.receive(&notify.response(status, "", "", ""));
    assert_eq!(notify.header("Content-Type").unwrap(), "message/sipfrag;version=2.0");
    assert!(notify.header("Contact").is_some());
    (notify.header("Subscription-State").unwrap(), notify.body().to_owned())
}

fn notifies(bench: &Bench) -> usize {
    bench.sent.iter().filter(|sent| sent.start().starts_with("NOTIFY")).count()
}

#[test]
fn a_refer_is_refused_unless_the_trunk_wants_it() {
    let (mut bench, _, to) = answered();
    bench.receive(&refer(2, &to, REFER_TO));
    assert_eq!(bench.last().start(), "603 Decline");
    assert_eq!(bench.counted, ["refer_refused"]);
}

#[test]
fn what_a_refer_may_name() {
    let rows = [
        ("", "400 One Refer-To Expected"),
        ("Refer-To: <sip:a@b>, <sip:c@d>\r\n", "400 One Refer-To Expected"),
        ("Refer-To: <sip:a@b\r\n", "400 Bad Refer-To"),
        ("Refer-To: <sip:a@b;method=BYE>\r\n", "400 Bad Refer-To"),
        ("Refer-To: <http://example.com>\r\n", "416 Unsupported URI Scheme"),
        ("Refer-To: <sip:a@b?Replaces=call>\r\n", "400 Bad Replaces"),
        (
            "Refer-To: <sip:a@b?Replaces=call%0D%0A%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\n",
            "400 Bad Refer-To",
        ),
    ];
    for (head, expected) in rows {
        let (mut bench, _, to) = followed();
        bench.receive(&refer(2, &to, head));
        assert_eq!(bench.last().start(), expected, "{head}");
        assert!(!bench.names().contains(&"Referred".to_owned()), "{head}");
    }
    // Two headers are two values as well; that is found before anything else.
    let (mut bench, _, to) = followed();
    bench.receive(&refer(2, &to, &format!("{REFER_TO}{REFER_TO}")));
    assert!(bench.last().start().starts_with("400 "), "{}", bench.last().text);
}

#[test]
fn what_a_refer_says_reaches_our_side() {
    let (mut bench, _, to) = followed();
    let head = "r: \"C\" <sip:c@192.0.2.3:5070;method=INVITE;transport=tcp?Replaces=x%40y%3Bto-tag%3Da%3Bfrom-tag%3Db\
                &User-to-User=56a3%3Bencoding%3Dhex&Subject=ignored>\r\n\
                Referred-By: <sip:boss@192.0.2.2>\r\n";
    bench.receive(&refer(2, &to, head));
    let Some(Event::Referred { referral, .. }) = bench.events.last() else { panic!() };
    assert_eq!(referral.target.reveal(), "sip:c@192.0.2.3:5070;transport=tcp");
    assert_eq!(referral.replaces.as_deref(), Some("x@y;to-tag=a;from-tag=b"));
    assert_eq!(referral.user_to_user.as_ref().unwrap().reveal(), "56a3;encoding=hex");
    assert_eq!(referral.referred_by.as_ref().unwrap().reveal(), "<sip:boss@192.0.2.2>");
}

#[test]
fn the_referrer_hears_how_it_goes_and_our_bye_waits_for_that() {
    let (mut bench, dialog, to) = followed();
    bench.receive(&refer(2, &to, REFER_TO));
    assert_eq!(bench.names().last().unwrap(), "Referred");
    // One at a time.
    bench.receive(&refer(3, &to, REFER_TO));
    assert_eq!(bench.last().start(), "491 Request Pending");
    let from = bench.sent.len();
    bench.command(Command::AnswerRefer { dialog, answer: Ok(()) });
    let starts = bench.starts(from);
    assert_eq!(starts[0], "202 Accepted");
    assert!(starts[1].starts_with("NOTIFY "));
    assert_eq!(bench.last().header("Event").unwrap(), "refer;id=2");
    // Nothing overtakes what is on its way, and of what rang meanwhile only the newest is told.
    bench.command(Command::NotifyRefer { dialog, status: 180 });
    bench.command(Command::NotifyRefer { dialog, status: 183 });
    assert_eq!(notifies(&bench), 1);
    let (state, fragment) = heard(&mut bench, "200 OK");
    assert!(state.starts_with("active;expires="), "{state}");
    assert_eq!(fragment, "SIP/2.0 100 Trying\r\n");
    bench.command(Command::NotifyRefer { dialog, status: 200 });
    bench.command(Command::NotifyRefer { dialog, status: 180 });
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    assert_eq!(heard(&mut bench, "200 OK").1, "SIP/2.0 183 Session Progress\r\n");
    let (state, fragment) = heard(&mut bench, "200 OK");
    assert_eq!(
        (state.as_str(), fragment.as_str()),
        ("terminated;reason=noresource", "SIP/2.0 200 OK\r\n")
    );
    assert_eq!(notifies(&bench), 3);
    // They have two seconds to hang up themselves.
    bench.pass_ms(1_900);
    assert!(!bench.last().start().starts_with("BYE"));
    bench.pass_ms(200);
    let bye = bench.last().clone();
    assert!(bye.start().starts_with("BYE "), "{}", bye.text);
    bench.receive(&bye.response("200 OK", "", "", ""));
    bench.assert_forgotten();
}

#[test]
fn who_refers_may_hang_up_at_any_time() {
    for told in [false, true] {
        let (mut bench, dialog, to) = followed();
        bench.receive(&refer(2, &to, REFER_TO));
        if told {
            bench.command(Command::AnswerRefer { dialog, answer: Ok(()) });
            bench.command(Command::NotifyRefer { dialog, status: 200 });
            bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
        }
        let from = bench.sent.len();
        bench.receive(&request("BYE", "bye", 3, &to, "", ""));
        let expected: &[&str] =
            if told { &["200 OK"] } else { &["200 OK", "487 Request Terminated"] };
        assert_eq!(bench.starts(from), expected);
        assert_eq!(bench.names().last().unwrap(), "Terminated");
        bench.assert_forgotten();
    }
}

#[test]
fn a_failure_leaves_the_call_and_another_refer_may_follow() {
    let (mut bench, dialog, to) = followed();
    bench.receive(&refer(2, &to, REFER_TO));
    bench.command(Command::AnswerRefer { dialog, answer: Ok(()) });
    heard(&mut bench, "200 OK");
    bench.command(Command::NotifyRefer { dialog, status: 486 });
    // A hang-up of the agent's while that is told waits for its answer, and no longer.
    let (_, fragment) = heard(&mut bench, "200 OK");
    assert_eq!(fragment, "SIP/2.0 486 Busy Here\r\n");
    bench.receive(&refer(3, &to, REFER_TO));
    bench.command(Command::AnswerRefer { dialog, answer: Err(Rejection::status(403)) });
    assert_eq!(bench.last().start(), "403 Forbidden");
    bench.receive(&refer(4, &to, REFER_TO));
    bench.command(Command::AnswerRefer { dialog, answer: Ok(()) });
    bench.command(Command::NotifyRefer { dialog, status: 487 });
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    heard(&mut bench, "200 OK");
    heard(&mut bench, "200 OK");
    let bye = bench.last().clone();
    assert!(bye.start().starts_with("BYE "));
    bench.receive(&bye.response("200 OK", "", "", ""));
    bench.assert_forgotten();
}

/// RFC 4488, and a subscriber that knows of no subscription.
#[test]
fn who_does_not_want_to_hear_does_not() {
    let (mut bench, dialog, to) = followed();
    bench.receive(&refer(
        2,
        &to,
        &format!("{REFER_TO}Refer-Sub: false\r\nRequire: norefersub\r\n"),
    ));
    bench.command(Command::AnswerRefer { dialog, answer: Ok(()) });
    assert_eq!(bench.last().start(), "200 OK");
    assert_eq!(bench.last().header("Refer-Sub").unwrap(), "false");
    bench.command(Command::NotifyRefer { dialog, status: 200 });
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    assert_eq!(notifies(&bench), 0);
    assert!(bench.last().start().starts_with("BYE "));

    let (mut bench, dialog, to) = followed();
    bench.receive(&refer(2, &to, REFER_TO));
    bench.command(Command::AnswerRefer { dialog, answer: Ok(()) });
    heard(&mut bench, "481 Subscription Does Not Exist");
    bench.command(Command::NotifyRefer { dialog, status: 180 });
    bench.command(Command::NotifyRefer { dialog, status: 200 });
    assert_eq!(notifies(&bench), 1);
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    assert!(bench.last().start().starts_with("BYE "));
}

#[test]
fn a_refer_that_nobody_answers_and_a_notify_that_nobody_answers() {
    let (mut bench, dialog, to) = followed();
    bench.receive(&refer(2, &to, REFER_TO));
    bench.pass(Duration::from_secs(21));
    assert_eq!(bench.last().start(), "603 Decline");
    assert_eq!(bench.counted, ["refer_timeout"]);
    bench.command(Command::AnswerRefer { dialog, answer: Ok(()) });
    assert_eq!(bench.names().last().unwrap(), "CommandRefused answer_refer");
    bench.receive(&refer(3, &to, REFER_TO));
    bench.command(Command::AnswerRefer { dialog, answer: Ok(()) });
    bench.command(Command::NotifyRefer { dialog, status: 200 });
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    // Timer F of the NOTIFY, then the two seconds.
    bench.pass(Duration::from_secs(35));
    let bye = bench.sent.iter().find(|sent| sent.start().starts_with("BYE ")).unwrap().clone();
    bench.receive(&bye.response("200 OK", "", "", ""));
    bench.assert_forgotten();
}
