//! Every way a REFER of ours can end.

use super::*;

/// An answered call with a REFER under way; its REFER is the last thing sent.
fn referred() -> (Bench, DialogId, String) {
    let (mut bench, dialog, to) = answered();
    bench.command(Command::Refer {
        dialog,
        target: "sip:+15550111@192.0.2.2".to_owned(),
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
        referred_by: None,
        headers: Vec::new(),
    });
    assert_eq!(bench.names().last().unwrap(), "CommandRefused refer");
}

#[test]
fn our_bye_ends_the_wait() {
    let (mut bench, dialog, _) = referred();
    bench.command(Command::Bye { dialog, reason: None });
    let Some(Event::ReferProgress { progress, .. }) = bench.events.last() else { panic!() };
    assert_eq!(*progress, ReferProgress::Refused(None));
    let bye = bench.last().clone();
    bench.receive(&bye.response("200 OK", "", "", ""));
    bench.assert_forgotten();
}
