//! REGISTER over the wire.

use super::super::super::register::{Register, Registered};
use super::*;

fn register(bench: &Bench) -> Register {
    Register {
        id: DialogId::outbound(9),
        flow: bench.flow,
        registrar: "sip:carrier.test".to_owned(),
        aor: "sip:alice@carrier.test".to_owned(),
        call_id: "one".to_owned(),
        cseq: 7,
        contact_user: "tl0123".to_owned(),
        contact_address: None,
        drop_contact: None,
        expires_s: Some(600),
        route: Vec::new(),
        credentials: Some(Credentials {
            username: "alice".to_owned(),
            password: Secret::new("secret"),
        }),
    }
}

fn outcome(bench: &Bench) -> Registered {
    match bench.events.last() {
        Some(Event::Registered { outcome, .. }) => (**outcome).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_registration_and_all_that_its_answer_says() {
    let mut bench = Bench::new();
    let wanted = register(&bench);
    bench.command(Command::Register(Box::new(wanted)));
    let first = bench.last().clone();
    assert_eq!(first.start(), "REGISTER sip:carrier.test");
    assert_eq!(first.header("To").unwrap(), "<sip:alice@carrier.test>");
    assert_eq!(first.header("CSeq").unwrap(), "7 REGISTER");
    assert_eq!(first.header("Contact").unwrap(), "<sip:tl0123@192.0.2.1:5060>;expires=600");
    assert_eq!(first.header("Supported").unwrap(), "path");
    let challenge = "WWW-Authenticate: Digest realm=\"x\", nonce=\"n\", qop=\"auth\"\r\n";
    bench.receive(&first.response("401 Unauthorized", "a", challenge, ""));
    let second = bench.last().clone();
    assert_eq!(second.header("CSeq").unwrap(), "8 REGISTER");
    assert_eq!(second.header("Call-ID").unwrap(), "one");
    assert!(second.header("Authorization").unwrap().contains("uri=\"sip:carrier.test\""));
    // Other devices of the account are listed as well; ours is the one with our user part.
    let more = "Contact: <sip:other@192.0.2.77>;expires=3000, <sip:tl0123@192.0.2.1:5060>;expires=120\r\n\
        Service-Route: <sip:p1.carrier.test;lr>, <sip:p2.carrier.test;lr>\r\nPath: <sip:edge.carrier.test;lr>\r\n";
    let answer = second.response("200 OK", "a", more, "");
    let answer = answer.replacen(";rport", ";rport=40000;received=198.51.100.7", 1);
    bench.receive(&answer);
    let outcome = outcome(&bench);
    assert_eq!((outcome.status, outcome.granted_s, outcome.cseq), (Some(200), Some(120), 8));
    assert_eq!(outcome.service_route, ["<sip:p1.carrier.test;lr>", "<sip:p2.carrier.test;lr>"]);
    assert_eq!(outcome.path, ["<sip:edge.carrier.test;lr>"]);
    assert_eq!(outcome.seen, Some("198.51.100.7:40000".parse().unwrap()));
    assert_eq!(outcome.contact, "sip:tl0123@192.0.2.1:5060");
    bench.assert_forgotten();
}

#[test]
fn a_question_changes_nothing_and_says_whether_ours_is_there() {
    let own = "<sip:tl0123@192.0.2.1:5060>;expires=120";
    let other = "<sip:other@192.0.2.77>;expires=3000";
    for (listed, granted) in [(own, Some(120)), (other, None), ("", None)] {
        let mut bench = Bench::new();
        let asked = Register { expires_s: None, ..register(&bench) };
        bench.command(Command::Register(Box::new(asked)));
        let sent = bench.last().clone();
        assert_eq!((sent.header("Contact"), sent.header("Expires")), (None, None));
        let more = if listed.is_empty() { String::new() } else { format!("Contact: {listed}\r\n") };
        bench.receive(&sent.response("200 OK", "a", &more, ""));
        let outcome = outcome(&bench);
        assert_eq!((outcome.status, outcome.granted_s), (Some(200), granted), "{listed}");
        bench.assert_forgotten();
    }
}

#[test]
fn a_former_contact_is_taken_out_with_the_new_one() {
    let mut bench = Bench::new();
    let wanted = Register {
        contact_address: Some("198.51.100.7:40000".to_owned()),
        drop_contact: Some("sip:tl0123@192.0.2.1:5060".to_owned()),
        ..register(&bench)
    };
    bench.command(Command::Register(Box::new(wanted)));
    assert_eq!(
        bench.last().all("Contact"),
        ["<sip:tl0123@198.51.100.7:40000>;expires=600", "<sip:tl0123@192.0.2.1:5060>;expires=0"]
    );
}

#[test]
fn what_goes_wrong_is_told_once() {
    for (status, more, min, retry) in [
        ("423 Interval Too Brief", "Min-Expires: 1800\r\n", Some(1_800), None),
        ("503 Service Unavailable", "Retry-After: 77\r\n", None, Some(77)),
        ("403 Forbidden", "", None, None),
    ] {
        let mut bench = Bench::new();
        let wanted = register(&bench);
        bench.command(Command::Register(Box::new(wanted)));
        let sent = bench.last().clone();
        bench.receive(&sent.response("100 Trying", "", "", ""));
        assert!(bench.events.is_empty());
        bench.receive(&sent.response(status, "a", more, ""));
        let outcome = outcome(&bench);
        assert_eq!((outcome.min_expires_s, outcome.retry_after_s), (min, retry), "{status}");
        assert_eq!(outcome.granted_s, None);
        bench.assert_forgotten();
        assert_eq!(bench.events.len(), 1);
    }
    let mut silent = Bench::new();
    let wanted = register(&silent);
    silent.command(Command::Register(Box::new(wanted)));
    silent.pass_ms(32_000);
    assert_eq!(outcome(&silent).status, None);
    silent.assert_forgotten();
}
