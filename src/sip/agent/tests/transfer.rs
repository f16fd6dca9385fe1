//! Every way a REFER of ours can end.

use super::*;

/// An answered call with a REFER under way; its REFER is the last thing sent.
fn referred() -> (Bench, DialogId, String) {
    let (mut bench, dialog, to) = answered();
    bench.command(Command::Refer {
        dialog,
        target: "sip:+15550111@192.0.2.2".to_owned(),
        replaces: None,
        referred_by: Some("<sip:1000@192.0.2.1>".to_owned()),
        headers: vec![("X-Reason".to_owned(), "sales".to_owned())],
    });
    let refer = bench.last();
    assert_eq!(refer.header("Refer-To").unwrap(), "<sip:+15550111@192.0.2.2>");
    assert_eq!(refer.header("Referred-By").unwrap(), "<sip:1000@192.0.2.1>");
    assert_eq!(refer.header("X-Reason").unwrap(), "sales");
    (bench, dialog, to)
}

/// What the other side does.
enum Step {
    Answer(&'static str, &'static str),
    Notify(&'static str, &'static str),
    Bye,
    Wait(u64),
}
use Step::{Answer, Bye, Notify, Wait};

const ACTIVE: &str = "active;expires=60";
const OVER: &str = "terminated;reason=noresource";

#[test]
fn endings() {
    let rows: Vec<(&str, Vec<Step>, Vec<&str>)> = vec![
        (
            "the book",
            vec![
                Answer("202 Accepted", ""),
                Notify(ACTIVE, "SIP/2.0 100 Trying\r\n"),
                Notify(ACTIVE, "SIP/2.0 180 Ringing\r\n"),
                Notify(OVER, "SIP/2.0 200 OK\r\n"),
            ],
            vec!["Accepted", "Notified(100)", "Notified(180)", "Notified(200)"],
        ),
        (
            "busy target",
            vec![Answer("202 Accepted", ""), Notify(OVER, "SIP/2.0 486 Busy Here\r\n"), Wait(100)],
            vec!["Accepted", "Notified(486)"],
        ),
        (
            "NOTIFY overtakes the 202",
            vec![Notify(ACTIVE, "SIP/2.0 100 Trying\r\n"), Answer("202 Accepted", ""), Wait(61)],
            vec!["Accepted", "Notified(100)", "NoNotify"],
        ),
        (
            "final NOTIFY overtakes the 202",
            vec![Notify(OVER, "SIP/2.0 200 OK\r\n"), Answer("202 Accepted", ""), Wait(100)],
            vec!["Accepted", "Notified(200)"],
        ),
        ("refused", vec![Answer("603 Decline", ""), Wait(100)], vec!["Refused(Some(603))"]),
        ("no answer", vec![Wait(33)], vec!["Refused(None)"]),
        ("no NOTIFY", vec![Answer("202 Accepted", ""), Wait(61)], vec!["Accepted", "NoNotify"]),
        (
            "no subscription",
            vec![Answer("200 OK", "Refer-Sub: false\r\n"), Wait(1)],
            vec!["Accepted", "NoNotify"],
        ),
        (
            "BYE instead",
            vec![Answer("202 Accepted", ""), Bye],
            vec!["Accepted", "EndedByBye", "ByeReceived", "Terminated"],
        ),
        (
            "terminated before the end",
            vec![Answer("202 Accepted", ""), Notify(OVER, "SIP/2.0 100 Trying\r\n"), Wait(100)],
            vec!["Accepted", "Notified(100)", "NoNotify"],
        ),
        (
            "terminated without a word",
            vec![Answer("202 Accepted", ""), Notify(OVER, "")],
            vec!["Accepted", "NoNotify"],
        ),
    ];
    for (what, steps, expected) in rows {
        let (mut bench, _, to) = referred();
        let refer = bench.last().clone();
        let mut cseq = 1;
        for step in steps {
            cseq += 1;
            match step {
                Answer(status, head) => bench.receive(&refer.response(status, "", head, "")),
                Notify(state, fragment) => {
                    let head = format!(
                        "Event: refer;id=2\r\nSubscription-State: {state}\r\n\
                         Content-Type: message/sipfrag;version=2.0\r\n"
                    );
                    let branch = format!("n{cseq}");
                    bench.receive(&request("NOTIFY", &branch, cseq, &to, &head, fragment));
                    assert_eq!(bench.last().start(), "200 OK", "{what}");
                }
                Bye => bench.receive(&request("BYE", "bye", cseq, &to, "", "")),
                Wait(seconds) => bench.pass(Duration::from_secs(seconds)),
            }
        }
        assert_eq!(bench.names()[2..], expected, "{what}");
    }
}

#[test]
fn one_transfer_at_a_time() {
    let (mut bench, dialog, _) = referred();
    bench.command(Command::Refer {
        dialog,
        target: "sip:b@b".to_owned(),
        replaces: None,
        referred_by: None,
        headers: Vec::new(),
    });
    assert_eq!(bench.names().last().unwrap(), "CommandRefused refer");
}

#[test]
fn our_bye_ends_the_wait() {
    let (mut bench, dialog, _) = referred();
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    let Some(Event::ReferProgress { progress, .. }) = bench.events.last() else { panic!() };
    assert_eq!(*progress, ReferProgress::Refused(None));
    let bye = bench.last().clone();
    bench.receive(&bye.response("200 OK", "", "", ""));
    bench.assert_forgotten();
}

/// An INVITE of somebody else with this Replaces value.
fn replacing(branch: &str, value: &str) -> String {
    request("INVITE", branch, 1, TO, "Replaces: VALUE\r\n", OFFER)
        .replace("call-1", &format!("other-{branch}"))
        .replace("tag=their", "tag=third")
        .replace("VALUE", value)
}

/// RFC 3891 section 3.
#[test]
fn what_an_invite_with_replaces_gets() {
    let (mut bench, dialog, to) = answered();
    let tag = to.split(";tag=").nth(1).unwrap().to_owned();
    let rows = [
        ("call-1".to_owned(), "400 Bad Request"),
        (format!("call-1;to-tag={tag}"), "400 Bad Request"),
        (format!("call-1;to-tag={tag};from-tag=other"), "481 Call/Transaction Does Not Exist"),
        (format!("call-9;to-tag={tag};from-tag=their"), "481 Call/Transaction Does Not Exist"),
        (format!("call-1;to-tag={tag};from-tag=their;early-only"), "486 Busy Here"),
    ];
    for (at, (value, expected)) in rows.iter().enumerate() {
        bench.receive(&replacing(&format!("r{at}"), value));
        assert_eq!(bench.last().start(), *expected, "{value}");
    }
    bench.receive(&replacing("r", &format!("call-1;from-tag=their;to-tag={tag}")));
    assert_eq!(bench.last().start(), "100 Trying");
    let Some(Event::Incoming { dialog: new, facts, .. }) = bench.events.last() else { panic!() };
    assert_eq!(facts.replaces, Some(dialog));
    let new = *new;
    bench.command(Command::Accept { dialog: new, sdp: Bytes::from_static(b"v=0\r\n") });
    bench.command(Command::Bye { dialog, reason: None, headers: Vec::new() });
    let bye = bench.last().clone();
    assert!(bye.start().starts_with("BYE "));
    // It is on its way out: too late.
    let again = replacing("s", &format!("call-1;from-tag=their;to-tag={tag}"));
    bench.receive(&again);
    assert_eq!(bench.last().start(), "603 Decline");
    bench.receive(&bye.response("200 OK", "", "", ""));
    bench.command(Command::Bye { dialog: new, reason: None, headers: Vec::new() });
    bench.assert_forgotten();
}

#[test]
fn an_early_call_of_ours_is_replaced_and_one_of_theirs_is_not() {
    let (mut bench, dialog) = placed();
    let invite = bench.last().clone();
    let call_id = invite.header("Call-ID").unwrap();
    let tag = invite.header("From").unwrap().split(";tag=").nth(1).unwrap().to_owned();
    bench.receive(&invite.response("180 Ringing", "ringing", CONTACT, ""));
    bench.receive(&replacing("a", &format!("{call_id};to-tag={tag};from-tag=x;early-only")));
    assert_eq!(bench.last().start(), "481 Call/Transaction Does Not Exist");
    bench.receive(&replacing("b", &format!("{call_id};to-tag={tag};from-tag=ringing;early-only")));
    let Some(Event::Incoming { facts, .. }) = bench.events.last() else { panic!() };
    assert_eq!(facts.replaces, Some(dialog));
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "inv", 1, TO, "", OFFER));
    let ringing = bench.incoming();
    bench.command(Command::Ring { dialog: ringing, sdp: None });
    let tag = bench.last().to_tag();
    bench.receive(&replacing("c", &format!("call-1;to-tag={tag};from-tag=their")));
    assert_eq!(bench.last().start(), "481 Call/Transaction Does Not Exist");
}

#[test]
fn a_refer_names_the_other_call_as_its_far_end_sees_it() {
    let (mut bench, dialog, to) = answered();
    let second = request("INVITE", "two", 1, TO, "", OFFER)
        .replace("call-1", "call-two@x")
        .replace("tag=their", "tag=far");
    bench.receive(&second);
    let Some(Event::Incoming { dialog: other, .. }) = bench.events.last() else { panic!() };
    let other = *other;
    let refer = |replaces| Command::Refer {
        dialog,
        target: String::new(),
        replaces: Some(replaces),
        referred_by: None,
        headers: Vec::new(),
    };
    bench.command(refer(other));
    assert_eq!(bench.names().last().unwrap(), "CommandRefused refer", "it is not answered");
    bench.command(Command::Accept { dialog: other, sdp: Bytes::from_static(b"v=0\r\n") });
    let tag = bench.last().to_tag();
    let ack = request("ACK", "acktwo", 1, &to_us(bench.last()), "", "");
    bench.receive(&ack.replace("call-1", "call-two@x").replace("tag=their", "tag=far"));
    bench.command(refer(other));
    let sent = bench.last();
    let replaces = format!("call-two%40x%3Bto-tag%3Dfar%3Bfrom-tag%3D{tag}");
    let expected = format!("<sip:peer@192.0.2.2:5060?Replaces={replaces}>");
    assert_eq!(sent.header("Refer-To").unwrap(), expected);
    assert_eq!(sent.header("Referred-By").unwrap(), "<sip:1000@192.0.2.1>");
    assert!(sent.header("To").unwrap().contains("their"), "{to}");
    bench.command(refer(dialog));
    assert_eq!(bench.names().last().unwrap(), "CommandRefused refer");
}
